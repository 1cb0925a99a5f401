//! Checksums of data: the items of the checksum tree.

use std::ops::Range;

use super::key::{EXTENT_CSUM, EXTENT_CSUM_OBJECTID, Key};
use super::tree::{Entry, Seen, Tree};
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

/// The checksum tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) tree: Tree,
}

impl Sums {
    /// The sums of the sectors in `range`, which begins and ends with one; `as_of` looks at nothing
    /// but leaves from those generations.
    pub(super) fn of(
        &self,
        volume: &Volume,
        range: Range<u64>,
        written: Option<Range<u64>>,
    ) -> Vec<Sum> {
        let format = volume.format;
        let sector = u64::from(format.sectorsize);
        let count = range.end.saturating_sub(range.start) / sector.max(1);
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
    let sector = u64::from(format.sectorsize).max(1);
    let ahead = at.offset.saturating_sub(start) / sector;
    let behind = start.saturating_sub(at.offset) / sector;
    let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
    let behind = usize::try_from(behind).unwrap_or(usize::MAX);
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
