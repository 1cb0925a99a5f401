//! Which deleted files claim the same blocks.
//!
//! A block that was freed may have been given to another file, which may have been deleted in its
//! turn: then neither is in use, and the file system's own maps do not say whose bytes are there.
//! But the file that had the block last was changed last: whoever let go of it before cannot be
//! what it holds.

use std::ops::Range;

use filesystem::{Extent, Inode, Place, Timestamp};

use crate::proof::{Hole, HoleCause};

/// A file that a block belonged to: when it was changed last, and what tells two versions of
/// one file from two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claimant {
    changed: Timestamp,
    modified: Timestamp,
    size: u64,
}

impl Claimant {
    const fn of(inode: &Inode) -> Self {
        Self {
            changed: inode.changed,
            modified: inode.modified,
            size: inode.size,
        }
    }

    /// Whether `other` may have written over what this one held. Versions of one file hold the
    /// same; of two files that cannot be put in order either may be the last.
    fn may_be_overwritten_by(&self, other: &Self) -> bool {
        let same = self.modified == other.modified && self.size == other.size;
        !same && other.changed >= self.changed
    }
}

/// The blocks of the deleted files of one file system, and what another one has of its device.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// What the file system has that was made over this one, merged, as far as that is known; `None`
    /// if there is none.
    newer: Option<Vec<Range<u64>>>,
    /// Ranges of the view by their starts.
    ranges: Vec<(Range<u64>, Claimant)>,
    /// The length of the longest range: how far back one must look for those that reach a place.
    longest: u64,
}

impl Claims {
    /// Notes that `inode`, which is deleted, had its contents at `pieces`.
    pub fn add(&mut self, inode: &Inode, pieces: &[Extent]) {
        for range in pieces.iter().filter_map(in_view) {
            self.longest = self.longest.max(range.end.saturating_sub(range.start));
            self.ranges.push((range, Claimant::of(inode)));
        }
    }

    /// The claims in a file system over which another one was made, that has at least the ranges
    /// `newer`, which are merged.
    #[must_use]
    pub fn of_replaced(newer: Vec<Range<u64>>) -> Self {
        Self {
            newer: Some(newer),
            ..Self::default()
        }
    }

    /// Whether another file system was made over this one: it may have written anywhere.
    pub(crate) const fn is_replaced(&self) -> bool {
        self.newer.is_some()
    }

    /// The parts of `pieces` that a newer file system has.
    pub(crate) fn replaced(&self, pieces: &[Extent]) -> Vec<Hole> {
        let newer = self.newer.as_deref().unwrap_or_default();
        let mut holes = Vec::new();
        for piece in pieces {
            let Some(range) = in_view(piece) else {
                continue;
            };
            let first = newer.partition_point(|other| other.end <= range.start);
            let others = newer.get(first..).unwrap_or_default().iter();
            for other in others.take_while(|other| other.start < range.end) {
                let start = other.start.max(range.start);
                let end = other.end.min(range.end);
                holes.push(Hole {
                    why: HoleCause::Replaced,
                    ..hole(
                        piece,
                        start.saturating_sub(range.start),
                        end.saturating_sub(start),
                    )
                });
            }
        }
        merged(holes)
    }

    /// Brings the claims into order, before they are asked.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.ranges
            .sort_by_key(|(range, who)| (range.start, range.end, who.changed));
        self
    }

    /// The parts of `inode`, whose contents are at `pieces`, that another deleted file may have
    /// written over.
    pub(crate) fn holes(&self, inode: &Inode, pieces: &[Extent]) -> Vec<Hole> {
        let own = Claimant::of(inode);
        let mut holes: Vec<Hole> = Vec::new();
        for piece in pieces {
            let Some(range) = in_view(piece) else {
                continue;
            };
            let from = range.start.saturating_sub(self.longest);
            let first = self.ranges.partition_point(|(other, _)| other.start < from);
            let others = self.ranges.get(first..).unwrap_or_default();
            let others = others
                .iter()
                .take_while(|(other, _)| other.start < range.end);
            for (other, who) in others {
                let start = other.start.max(range.start);
                let end = other.end.min(range.end);
                if start < end && own.may_be_overwritten_by(who) {
                    holes.push(hole(
                        piece,
                        start.saturating_sub(range.start),
                        end.saturating_sub(start),
                    ));
                }
            }
        }
        merged(holes)
    }
}

/// What of `piece` is gone with `bytes` of what is stored of it: of what is compressed, all.
fn hole(piece: &Extent, inside: u64, bytes: u64) -> Hole {
    let (inside, bytes) = match piece.place {
        Place::Compressed { .. } => (0, piece.length),
        _ => (inside, bytes),
    };
    Hole {
        start: piece.file_offset.saturating_add(inside),
        bytes,
        why: HoleCause::WrittenOver,
    }
}

/// Where in the view the bytes of a piece lie.
fn in_view(piece: &Extent) -> Option<Range<u64>> {
    match piece.place {
        Place::At(at) => Some(at.get()..at.get().checked_add(piece.length)?),
        Place::Compressed { at, stored, .. } => Some(at.get()..at.get().checked_add(stored)?),
        Place::Hole | Place::Unwritten | Place::Lost => None,
    }
}

/// Holes without overlaps, by their starts.
fn merged(mut holes: Vec<Hole>) -> Vec<Hole> {
    holes.sort_by_key(|hole| (hole.start, hole.bytes));
    let mut apart: Vec<Hole> = Vec::new();
    for hole in holes {
        let end = hole.start.saturating_add(hole.bytes);
        match apart.last_mut() {
            Some(last) if hole.start <= last.start.saturating_add(last.bytes) => {
                let end = end.max(last.start.saturating_add(last.bytes));
                last.bytes = end.saturating_sub(last.start);
            }
            _ => apart.push(hole),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ByteOffset;
    use filesystem::{FileKind, InodeNumber, Standing};

    fn inode(number: u64, changed: i64, size: u64) -> Inode {
        let at = |seconds| Timestamp {
            seconds,
            nanoseconds: 0,
        };
        Inode {
            number: InodeNumber(number),
            standing: Standing::Deleted,
            kind: FileKind::Regular,
            mode: 0o100_600,
            uid: 0,
            gid: 0,
            links: 0,
            size,
            accessed: at(0),
            modified: at(number.try_into().unwrap()),
            changed: at(changed),
            created: None,
            place: ByteOffset::ZERO,
            raw: Vec::new(),
        }
    }

    fn piece(file_offset: u64, length: u64, at: u64) -> Extent {
        Extent {
            file_offset,
            length,
            place: Place::At(ByteOffset::new(at)),
        }
    }

    #[test]
    fn only_the_file_that_was_changed_last_keeps_a_block_that_two_claim() {
        let (older, newer) = (inode(1, 10, 12_000), inode(2, 20, 3000));
        let old_pieces = [piece(0, 8192, 40_960), piece(8192, 3808, 0)];
        let new_pieces = [piece(0, 3000, 45_056)];
        let mut claims = Claims::default();
        claims.add(&newer, &new_pieces);
        claims.add(&older, &old_pieces);
        let claims = claims.sorted();
        assert_eq!(claims.holes(&newer, &new_pieces), []);
        let want = Hole {
            start: 4096,
            bytes: 3000,
            why: HoleCause::WrittenOver,
        };
        assert_eq!(claims.holes(&older, &old_pieces), [want]);
    }

    #[test]
    fn what_a_newer_file_system_has_is_no_part_of_an_old_file() {
        let claims = Claims::of_replaced(vec![0..4096, 45_056..49_152]);
        let pieces = [piece(0, 8192, 40_960), piece(8192, 3808, 8192)];
        let want = Hole {
            start: 4096,
            bytes: 4096,
            why: HoleCause::Replaced,
        };
        assert_eq!(claims.replaced(&pieces), [want]);
        assert!(claims.is_replaced() && !Claims::default().is_replaced());
        assert_eq!(Claims::default().replaced(&pieces), []);
    }

    #[test]
    fn versions_of_one_file_do_not_contradict_each_other() {
        let (first, mut second) = (inode(1, 10, 5000), inode(1, 20, 5000));
        second.number = InodeNumber(1 << 63);
        let pieces = [piece(0, 5000, 4096)];
        let mut claims = Claims::default();
        claims.add(&first, &pieces);
        claims.add(&second, &pieces);
        let claims = claims.sorted();
        assert_eq!(claims.holes(&first, &pieces), []);
        assert_eq!(claims.holes(&second, &pieces), []);
    }

    #[test]
    fn of_two_that_were_changed_at_one_time_neither_is_believed() {
        let (one, other) = (inode(1, 10, 5000), inode(2, 10, 4000));
        let (a, b) = ([piece(0, 5000, 4096)], [piece(0, 4000, 4096)]);
        let mut claims = Claims::default();
        claims.add(&one, &a);
        claims.add(&other, &b);
        let claims = claims.sorted();
        assert_eq!(claims.holes(&one, &a).len(), 1);
        assert_eq!(claims.holes(&other, &b).len(), 1);
    }
}
