//! Checksums of data: the items of the checksum tree.

use std::collections::HashSet;
use std::ops::Range;

use super::key::{EXTENT_CSUM, EXTENT_CSUM_OBJECTID, Key};
use super::sighting::Sighting;
use super::tree::{Entry, Leaf, Seen, Tree};
use super::volume::{Format, Volume};

/// What is known of the checksum of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// This is it.
    Known([u8; 32]),
    /// The tree has none: the file asked for none, or nothing lies there.
    None,
    /// The part of the tree that may have had it is lost.
    Lost,
}

/// The key of the item that begins with the sum of the sector at `logical`.
const fn key(logical: u64) -> Key {
    Key::new(EXTENT_CSUM_OBJECTID, EXTENT_CSUM, logical)
}

/// The checksum tree, and leaves of it that were replaced since.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) tree: Tree,
    /// Replaced leaves by their first key, each with the end of the one that reaches furthest up
    /// to it.
    former: Vec<(Leaf, Key)>,
    /// The newest generation of a leaf of the tree.
    pub(super) newest: u64,
}

impl Sums {
    /// `tree` with what else was seen of it.
    pub(super) fn new(tree: Tree, seen: &[Sighting]) -> Self {
        let live: HashSet<(u64, u64)> = tree
            .leaves
            .iter()
            .map(|leaf| (leaf.bytenr, leaf.generation))
            .collect();
        let mut former: Vec<(Leaf, Key)> = seen
            .iter()
            .filter(|s| s.header.level == 0)
            .filter(|s| !live.contains(&(s.header.bytenr, s.header.generation)))
            .filter_map(|s| {
                let (first, last) = s.proof?.bounds;
                let leaf = Leaf {
                    first,
                    end: last.next(),
                    bytenr: s.header.bytenr,
                    generation: s.header.generation,
                    as_of: s.header.generation,
                };
                Some((leaf, leaf.end))
            })
            .collect();
        former.sort_by_key(|(leaf, _)| (leaf.first, leaf.generation));
        let mut reach = Key::MIN;
        for (leaf, end) in &mut former {
            reach = reach.max(leaf.end);
            *end = reach;
        }
        let newest = tree.leaves.iter().map(|leaf| leaf.generation).max();
        Self {
            tree,
            former,
            newest: newest.unwrap_or(0),
        }
    }

    /// The sums of the sectors in `range` in leaves that were written in one of the generations
    /// `written`: those of the data that was there then.
    pub(super) fn of_then(
        &self,
        volume: &Volume,
        range: Range<u64>,
        written: Range<u64>,
    ) -> Vec<Sum> {
        let mut sums = self.of(volume, range.clone(), Some(written.clone()));
        // An item that reaches into the range may be the last of a leaf and begin long before it.
        let reach =
            u64::from(volume.format.nodesize).saturating_mul(volume.format.sectorsize.into());
        let start = key(range.start.saturating_sub(reach));
        let from = self
            .former
            .partition_point(|(leaf, _)| leaf.first < key(range.end));
        for (leaf, furthest) in self.former.iter().take(from).rev() {
            if *furthest <= start || sums.iter().all(|sum| matches!(sum, Sum::Known(_))) {
                break;
            }
            if !written.contains(&leaf.generation) || leaf.end <= start {
                continue;
            }
            let alone = Self {
                tree: Tree {
                    leaves: vec![*leaf],
                    lost: Vec::new(),
                },
                ..Self::default()
            };
            let of_leaf = alone.of(volume, range.clone(), None);
            for (sum, other) in sums.iter_mut().zip(of_leaf) {
                if !matches!(sum, Sum::Known(_)) {
                    *sum = other;
                }
            }
        }
        sums
    }

    /// The sums of the sectors in `range`, which begins and ends with one; `written` looks at
    /// nothing but leaves from those generations.
    pub(super) fn of(
        &self,
        volume: &Volume,
        range: Range<u64>,
        written: Option<Range<u64>>,
    ) -> Vec<Sum> {
        let format = volume.format;
        let sector = u64::from(format.sectorsize);
        let length = range.end.saturating_sub(range.start);
        let count = length.checked_div(sector).unwrap_or(0);
        let mut sums = vec![Sum::None; usize::try_from(count).unwrap_or(0)];
        let wanted = |entry: &Entry<'_>| {
            written
                .as_ref()
                .is_none_or(|written| written.contains(&entry.leaf.generation))
        };
        // The item before may reach into the range.
        let before = self.tree.last(volume, Key::MIN..key(range.start), |entry| {
            wanted(&entry).then(|| (entry.key, entry.data.to_vec()))
        });
        if let Some(Some((at, data))) = before {
            fill(&mut sums, range.start, at, &data, format);
        }
        let part = key(range.start)..key(range.end);
        self.tree.visit(volume, part, &mut |seen| match seen {
            Seen::Item(entry) if wanted(&entry) => {
                fill(&mut sums, range.start, entry.key, entry.data, format);
            }
            Seen::Item(_) => {}
            Seen::NoData(lost) => lose(&mut sums, &range, lost.offset..u64::MAX, format),
            Seen::Lost(from, to) => lose(&mut sums, &range, from.offset..offset(to), format),
        });
        if self
            .tree
            .is_lost(volume, before_key(range.start)..key(range.start))
        {
            // An item that began before may have reached into the range.
            let first = sums.iter().position(|sum| *sum != Sum::None);
            let end = first.unwrap_or(sums.len());
            sums.iter_mut().take(end).for_each(|sum| *sum = Sum::Lost);
        }
        sums
    }
}

/// Where the item that reaches to `logical` may begin at the latest: just before it.
fn before_key(logical: u64) -> Key {
    key(logical.saturating_sub(1))
}

/// The offset of a key that ends a lost part.
const fn offset(end: Key) -> u64 {
    if end.objectid > EXTENT_CSUM_OBJECTID || end.item_type > EXTENT_CSUM {
        u64::MAX
    } else {
        end.offset
    }
}

/// Takes over the sums of the item of `at` into `sums`, which begin at `start`.
fn fill(sums: &mut [Sum], start: u64, at: Key, data: &[u8], format: Format) {
    if (at.objectid, at.item_type) != (EXTENT_CSUM_OBJECTID, EXTENT_CSUM) {
        return;
    }
    let sectors = |bytes: u64| {
        let count = bytes.checked_div(format.sectorsize.into());
        count
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(usize::MAX)
    };
    let ahead = sectors(at.offset.saturating_sub(start));
    let behind = sectors(start.saturating_sub(at.offset));
    let each = data.chunks_exact(format.csum.size()).skip(behind);
    for (sum, stored) in sums.iter_mut().skip(ahead).zip(each) {
        let mut known = [0; 32];
        if let Some(part) = known.get_mut(..stored.len()) {
            part.copy_from_slice(stored);
        }
        *sum = Sum::Known(known);
    }
}

/// Says that the sums of `lost` may be lost.
fn lose(sums: &mut [Sum], range: &Range<u64>, lost: Range<u64>, format: Format) {
    let sector = u64::from(format.sectorsize).max(1);
    let starts = (range.start..).step_by(usize::try_from(sector).unwrap_or(usize::MAX));
    for (sum, at) in sums.iter_mut().zip(starts) {
        if *sum == Sum::None && lost.contains(&at) {
            *sum = Sum::Lost;
        }
    }
}
