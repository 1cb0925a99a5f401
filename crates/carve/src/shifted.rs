//! Streams whose bits are shifted: after bits that were lost, or came twice, on the way to a disk, all
//! that was written behind them begins within sectors, and within bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use evidence::view::{BitShifted, shift_left};
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::header::{REACH, header};
use rayon::prelude::*;

use crate::stored::embedded;
use crate::survey::{SECTOR, WINDOW};
use crate::{Carved, carve};

/// Sectors begin at multiples of so many bits.
const SECTOR_BITS: u64 = 8 * SECTOR as u64;
/// Where bytes begin as they should, so many messages must begin at one place of sectors to be taken
/// for a stream: single ones lie within files.
const LEAST_IN_BYTES: usize = 3;
/// On no more offsets of one device is mail looked for; those with most messages come first.
const MOST_OFFSETS: usize = 64;

/// What was carved out of a stream whose bits are shifted.
pub struct Shifted {
    /// At which bit of each sector its sectors begin, 1 to 4095; 0 is the most significant bit of the
    /// first byte.
    pub bits: u64,
    /// What was carved; places are those of [`BitShifted`] by these bits.
    pub carved: Carved,
}

/// Takes mail from streams on `device` that are shifted by any number of bits, but for what is
/// `taken` (sorted, in bytes). `progress` is told how many bytes were read since it was last called, in
/// the one pass that looks for such streams.
pub fn carve_shifted(
    device: &Arc<dyn ReadAt>,
    taken: &[Range<u64>],
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Shifted> {
    let offsets = offsets(device.as_ref(), taken, progress);
    let all: BTreeSet<u64> = offsets.iter().copied().collect();
    let mut taken = taken.to_vec();
    let mut streams = Vec::new();
    for bits in offsets {
        let view = BitShifted::new(Arc::clone(device), bits);
        let within: Vec<Range<u64>> = taken
            .iter()
            .map(|range| range_within(range, bits))
            .collect();
        let mut carved = carve(&view, &within, &|_| ());
        // A message of another stream is seen in this one too, where both are of the same bytes.
        carved.messages.retain(|message| {
            let first = message.found.pieces.first();
            let own = first.map_or(0, |(at, _)| at.saturating_mul(8).saturating_add(bits));
            let own = own % SECTOR_BITS;
            own == bits || !all.contains(&own)
        });
        for (at, length) in carved.whole().flat_map(|one| &one.found.pieces) {
            let start = at.saturating_add(bits / 8);
            taken.push(start..start.saturating_add(*length).saturating_add(1));
        }
        taken = evidence::merged(taken);
        streams.push(Shifted { bits, carved });
    }
    streams
}

/// The range of the view from bit `bits` on that has any bit of `range`.
const fn range_within(range: &Range<u64>, bits: u64) -> Range<u64> {
    range.start.saturating_sub(bits.div_ceil(8))..range.end.saturating_sub(bits / 8)
}

/// At which bits of sectors messages begin, but for the first: those with most of them first.
fn offsets(device: &dyn ReadAt, taken: &[Range<u64>], progress: &(dyn Fn(u64) + Sync)) -> Vec<u64> {
    let windows = device.len().div_ceil(WINDOW);
    let found: Vec<Vec<u64>> = (0..windows)
        .into_par_iter()
        .map(|window| {
            let start = window.saturating_mul(WINDOW);
            let own = WINDOW.min(device.len().saturating_sub(start));
            let begun = beginnings(device, start, own, taken);
            progress(own);
            begun
        })
        .collect();
    let mut count: BTreeMap<u64, usize> = BTreeMap::new();
    for bit in found.into_iter().flatten() {
        let seen = count.entry(bit % SECTOR_BITS).or_default();
        *seen = seen.saturating_add(1);
    }
    let mut offsets: Vec<(u64, usize)> = count
        .into_iter()
        .filter(|(bits, seen)| *bits > 0 && (bits % 8 != 0 || *seen >= LEAST_IN_BYTES))
        .collect();
    offsets.sort_by_key(|(bits, seen)| (std::cmp::Reverse(*seen), *bits));
    offsets.truncate(MOST_OFFSETS);
    offsets.into_iter().map(|(bits, _)| bits).collect()
}

/// The bits of the device at which headers of messages begin, that have a line in `own` bytes from
/// `start` on.
fn beginnings(device: &dyn ReadAt, start: u64, own: u64, taken: &[Range<u64>]) -> Vec<u64> {
    let from = start.saturating_sub(REACH as u64);
    let end = start.saturating_add(own).saturating_add(REACH as u64);
    let end = end.min(device.len());
    let Ok(length) = usize::try_from(end.saturating_sub(from)) else {
        return Vec::new();
    };
    let Ok((mut bytes, _)) = device.read_vec(ByteOffset::new(from), length) else {
        return Vec::new();
    };
    let first = taken.partition_point(|range| range.end <= from);
    let within = taken.get(first..).unwrap_or_default().iter();
    for range in within.take_while(|range| range.start < end) {
        let cut = |at: u64| usize::try_from(at.min(end).saturating_sub(from)).unwrap_or(0);
        if let Some(part) = bytes.get_mut(cut(range.start)..cut(range.end)) {
            part.fill(0);
        }
    }
    let mut begun = Vec::new();
    for bits in 0..8 {
        let own = start..start.saturating_add(own);
        for line in embedded::lines(&bytes, bytes.len()) {
            if !own.contains(&from.saturating_add(line as u64)) {
                continue;
            }
            let head = embedded::beginning(&bytes, line)
                .filter(|head| header(bytes.get(*head..).unwrap_or_default()).is_some());
            let place = head.map(|head| from.saturating_add(head as u64));
            begun.extend(place.map(|at| at.saturating_mul(8).saturating_add(bits)));
        }
        shift_left(&mut bytes, 0, 1);
    }
    begun.sort_unstable();
    begun.dedup();
    begun
}
