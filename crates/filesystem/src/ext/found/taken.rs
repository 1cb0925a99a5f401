//! Who holds which bytes now: what of a deleted file may have been written over since.

use std::ops::Range;

use crate::{Extent, Place};

/// Who holds bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// An inode in use, with its contents or the blocks of its map.
    Inode(u64),
    /// The file system itself.
    Metadata,
    /// An inode that was deleted, too, but held them later.
    Later(u64),
    /// Another file system on the same device.
    Foreign,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inode(number) => write!(f, "inode {number}, which is in use"),
            Self::Metadata => f.write_str("the file system's own metadata"),
            Self::Later(number) => write!(f, "inode {number}, which was deleted later"),
            Self::Foreign => f.write_str("a newer file system"),
        }
    }
}

/// When something held bytes, in the order of the journal and then of the clock.
pub(super) type Epoch = (u32, i64);

/// The epoch of what holds them now.
pub(super) const NOW: Epoch = (u32::MAX, i64::MAX);

/// Bytes that somebody held until some time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: u64,
    end: u64,
    until: Epoch,
    owner: Owner,
}

/// All bytes that are held, or were.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    spans: Vec<Span>,
    /// How far the spans up to each reach, for searching.
    reach: Vec<u64>,
    /// Whether another file system holds anything: every file is asked, so that looking through all
    /// spans each time takes the square of the files.
    foreign: bool,
}

impl Taken {
    /// Adds the pieces of a map that lie somewhere.
    pub(super) fn add(&mut self, pieces: &[Extent], until: Epoch, owner: Owner) {
        for piece in pieces {
            if let Place::At(at) = piece.place {
                let end = at.get().saturating_add(piece.length);
                self.add_range(at.get()..end, until, owner);
            }
        }
    }

    /// Adds one range of bytes.
    pub(super) fn add_range(&mut self, range: Range<u64>, until: Epoch, owner: Owner) {
        self.foreign |= owner == Owner::Foreign;
        self.spans.push(Span {
            start: range.start,
            end: range.end,
            until,
            owner,
        });
    }

    /// Gets it ready to be asked.
    pub(super) fn sort(&mut self) {
        self.spans.sort_unstable();
        self.spans.dedup();
        let mut reach = 0;
        self.reach = self
            .spans
            .iter()
            .map(|span| {
                reach = span.end.max(reach);
                reach
            })
            .collect();
    }

    /// All that is held now.
    pub(super) fn now(&self) -> impl Iterator<Item = Range<u64>> {
        let now = self.spans.iter().filter(|span| span.until == NOW);
        now.map(|span| span.start..span.end)
    }

    /// Whether another file system holds anything.
    pub(super) const fn has_foreign(&self) -> bool {
        self.foreign
    }

    /// The pieces without what another file system holds.
    pub(super) fn cut_foreign(&self, pieces: Vec<Extent>) -> (Vec<Extent>, Vec<(u64, Owner)>) {
        self.cut_by(pieces, |range| {
            let mut over = self.over(range, NOW);
            over.retain(|(_, owner)| *owner == Owner::Foreign);
            over
        })
    }

    /// Who held bytes of `range` for longer than `until`, and which, in their order.
    fn over(&self, range: &Range<u64>, until: Epoch) -> Vec<(Range<u64>, Owner)> {
        let mut index = self.spans.partition_point(|span| span.start < range.end);
        let mut found = Vec::new();
        while let Some(before) = index.checked_sub(1) {
            if self.reach.get(before).is_none_or(|end| *end <= range.start) {
                break;
            }
            index = before;
            let Some(span) = self.spans.get(before) else {
                break;
            };
            if span.end > range.start && (span.until > until || span.until == NOW) {
                let both = span.start.max(range.start)..span.end.min(range.end);
                found.push((both, span.owner));
            }
        }
        found.sort_unstable_by_key(|(range, owner)| (range.start, range.end, *owner));
        found
    }

    /// Whether any byte of `range` is held now.
    pub(super) fn is_held(&self, range: &Range<u64>) -> bool {
        !self.over(range, NOW).is_empty()
    }

    /// Whether a file in use holds any byte of `range`.
    pub(super) fn is_held_by_file(&self, range: &Range<u64>) -> bool {
        let over = self.over(range, NOW);
        over.iter()
            .any(|(_, owner)| matches!(owner, Owner::Inode(_)))
    }

    /// The pieces of what was held until `until`, without what others held after that; and who did.
    pub(super) fn cut(
        &self,
        pieces: Vec<Extent>,
        until: Epoch,
    ) -> (Vec<Extent>, Vec<(u64, Owner)>) {
        self.cut_by(pieces, |range| self.over(range, until))
    }

    fn cut_by(
        &self,
        pieces: Vec<Extent>,
        over: impl Fn(&Range<u64>) -> Vec<(Range<u64>, Owner)>,
    ) -> (Vec<Extent>, Vec<(u64, Owner)>) {
        let mut rest = Vec::with_capacity(pieces.len());
        let mut by = Vec::new();
        for piece in pieces {
            let Place::At(at) = piece.place else {
                rest.push(piece);
                continue;
            };
            let start = at.get();
            let end = start.saturating_add(piece.length);
            let mut next = start;
            let mut push = |range: Range<u64>, lost: bool| {
                if range.start >= range.end {
                    return;
                }
                let inside = range.start.saturating_sub(start);
                rest.push(Extent {
                    file_offset: piece.file_offset.saturating_add(inside),
                    length: range.end.saturating_sub(range.start),
                    place: match at.checked_add(inside) {
                        Some(at) if !lost => Place::At(at),
                        _ => Place::Lost,
                    },
                });
            };
            for (held, owner) in over(&(start..end)) {
                push(next..held.start, false);
                push(held.start.max(next)..held.end, true);
                next = next.max(held.end);
                by.push((held.start, owner));
            }
            push(next..end, false);
        }
        (rest, by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ByteOffset;

    #[test]
    fn what_others_held_later_is_cut_out_and_what_they_held_before_is_not() {
        let mut taken = Taken::default();
        taken.add_range(0..10, (5, 0), Owner::Later(7));
        taken.add_range(20..30, NOW, Owner::Inode(8));
        taken.add_range(25..40, NOW, Owner::Metadata);
        taken.sort();
        let whole = vec![Extent {
            file_offset: 0,
            length: 50,
            place: Place::At(ByteOffset::new(0)),
        }];
        let shape = |until| -> Vec<(u64, u64, bool)> {
            let (rest, _) = taken.cut(whole.clone(), until);
            rest.iter()
                .map(|p| (p.file_offset, p.length, p.place == Place::Lost))
                .collect()
        };
        let late = [
            (0, 20, false),
            (20, 10, true),
            (30, 10, true),
            (40, 10, false),
        ];
        assert_eq!(shape((6, 0)), late);
        assert_eq!(shape((4, 0))[..2], [(0, 10, true), (10, 10, false)]);
        assert!(taken.is_held(&(39..41)));
        assert!(!taken.is_held(&(10..20)));
    }
}
