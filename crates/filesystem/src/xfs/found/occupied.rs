//! Which bytes of a device belong to whom.
//!
//! What was deleted, or is of an older file system, may be written over since. Where somebody
//! else's extents or metadata lie now, its bytes are gone.

use std::ops::Range;

use crate::{Extent, Extents, FileKind, Filesystem, Place, walk};

/// Ranges of bytes that are in use, and by what.
#[derive(Clone, Debug, Default)]
pub(super) struct Occupied {
    /// By start; they may overlap. The second number is the inode, or 0 for metadata.
    ranges: Vec<(Range<u64>, u64)>,
    /// The greatest end of all ranges up to each.
    ends: Vec<u64>,
}

impl Occupied {
    /// The ranges in `list`.
    pub(super) fn new(mut list: Vec<(Range<u64>, u64)>) -> Self {
        list.retain(|(range, _)| range.start < range.end);
        list.sort_by_key(|(range, owner)| (range.start, range.end, *owner));
        let mut end = 0;
        let ends = list.iter().map(|(range, _)| {
            end = range.end.max(end);
            end
        });
        let ends = ends.collect();
        Self { ranges: list, ends }
    }

    /// The first occupied part of `range`, and its owner.
    fn first(&self, range: &Range<u64>) -> Option<(Range<u64>, u64)> {
        let from = self.ends.partition_point(|end| *end <= range.start);
        let behind = self.ranges.iter().skip(from);
        let mut hits = behind
            .take_while(|(other, _)| other.start < range.end)
            .filter(|(other, _)| other.end > range.start);
        let (other, owner) = hits.next()?;
        let start = other.start.max(range.start);
        Some((start..other.end.min(range.end), *owner))
    }

    /// Cuts out of `extents` what is occupied by others than `but`; gives the owners.
    pub(super) fn cut(&self, extents: &mut Extents, but: u64) -> Vec<u64> {
        let mut owners = Vec::new();
        let mut pieces = Vec::with_capacity(extents.pieces.len());
        for piece in &extents.pieces {
            self.cut_piece(*piece, but, &mut pieces, &mut owners);
        }
        extents.pieces = pieces;
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    fn cut_piece(&self, piece: Extent, but: u64, pieces: &mut Vec<Extent>, owners: &mut Vec<u64>) {
        let Place::At(at) = piece.place else {
            pieces.push(piece);
            return;
        };
        let end = at.get().saturating_add(piece.length);
        let mut next = at.get();
        let mut push = |range: Range<u64>, lost: bool| {
            let inside = range.start.saturating_sub(at.get());
            if range.start < range.end {
                pieces.push(Extent {
                    file_offset: piece.file_offset.saturating_add(inside),
                    length: range.end.saturating_sub(range.start),
                    place: match lost {
                        true => Place::Lost,
                        false => at.checked_add(inside).map_or(Place::Lost, Place::At),
                    },
                });
            }
        };
        while next < end
            && let Some((hit, owner)) = self.first(&(next..end))
        {
            let ours = but != 0 && owner == but;
            push(next..hit.start, false);
            push(hit.clone(), !ours);
            if !ours {
                owners.push(owner);
            }
            next = hit.end;
        }
        push(next..end, false);
    }
}

/// Where the files and directories lie that `fs` leads to.
pub(super) fn of(fs: &dyn Filesystem) -> Vec<(Range<u64>, u64)> {
    let mut all = Vec::new();
    for entry in walk(fs).flatten() {
        if entry.inode.kind == FileKind::Special {
            continue;
        }
        all.extend(ranges(&fs.extents(&entry.inode), entry.inode.number.0));
    }
    all
}

/// Where the pieces of `extents` lie.
pub(super) fn ranges(extents: &Extents, owner: u64) -> impl Iterator<Item = (Range<u64>, u64)> {
    extents
        .pieces
        .iter()
        .filter_map(move |piece| match piece.place {
            Place::At(at) => Some((at.get()..at.get().checked_add(piece.length)?, owner)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ByteOffset;
    use proptest::prelude::*;

    #[test]
    fn only_what_others_occupy_is_cut_out() {
        let occupied = Occupied::new(vec![(10..20, 5), (15..18, 6), (40..100, 7)]);
        let mut extents = Extents {
            pieces: vec![Extent {
                file_offset: 100,
                length: 50,
                place: Place::At(ByteOffset::new(5)),
            }],
            losses: Vec::new(),
        };
        assert_eq!(occupied.cut(&mut extents, 7), [5]);
        let got: Vec<_> = extents
            .pieces
            .iter()
            .map(|p| (p.file_offset, p.length, p.place))
            .collect();
        let at = |n| Place::At(ByteOffset::new(n));
        assert_eq!(
            got,
            [
                (100, 5, at(5)),
                (105, 10, Place::Lost),
                (115, 20, at(20)),
                (135, 15, at(40))
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_cut_keeps_its_length(
            list in prop::collection::vec((0_u64..200, 0_u64..50, 0_u64..3), 0..12),
            start in 0_u64..200,
            length in 1_u64..100,
        ) {
            let occupied = Occupied::new(list.iter().map(|(s, l, o)| (*s..s + l, *o)).collect());
            let place = Place::At(ByteOffset::new(start));
            let mut extents = Extents {
                pieces: vec![Extent { file_offset: 0, length, place }],
                losses: Vec::new(),
            };
            occupied.cut(&mut extents, 0);
            let mut end = 0;
            for piece in &extents.pieces {
                prop_assert_eq!(piece.file_offset, end);
                end += piece.length;
                for byte in piece.file_offset..end {
                    let taken = list.iter().any(|(s, l, _)| (*s..s + l).contains(&(start + byte)));
                    prop_assert_eq!(taken, piece.place == Place::Lost);
                }
            }
            prop_assert_eq!(end, length);
        }
    }
}
