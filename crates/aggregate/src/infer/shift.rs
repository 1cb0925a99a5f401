//! Members whose data begins at different offsets.
//!
//! Where a row holds one block of data and zeros, parity is a copy of it; and mirrors are copies
//! throughout. So blocks that two devices have in common, at a distance that is mostly the
//! same, tell by how much one's data begins later than the other's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};

use super::relations::Set;
use super::sample::{Candidate, Row};

/// So many common blocks must have one distance, and so many times more than have the next.
const LEAST_COMMON: u32 = 12;
const CLEAR: u32 = 3;

/// A block that more devices have says nothing.
const MOST_HOLDERS: usize = 4;

/// By how many bytes each device's data begins later than it would if all began at the same
/// offset; `None` if they all do. Those that are `settled` agree with others where they are.
pub(super) fn shifts(rows: &[Row], count: usize, settled: Set) -> Option<Vec<u64>> {
    let mut ties = distances(rows, 1);
    ties.retain(|tie| !settled.has(tie.pair.0) && !settled.has(tie.pair.1));
    ties.retain(|tie| tie.distance != 0 || tie.common >= LEAST_COMMON);
    if ties.iter().all(|tie| tie.distance == 0) {
        return None;
    }
    ties.sort_by_key(|tie| (std::cmp::Reverse(tie.common), tie.pair));
    // Each device with the set that it is tied to, and where it lies relative to that.
    let mut places: Vec<(usize, i64)> = (0..count).map(|device| (device, 0)).collect();
    for tie in &ties {
        let (Some(one), Some(other)) = (
            places.get(tie.pair.0).copied(),
            places.get(tie.pair.1).copied(),
        ) else {
            continue;
        };
        let apart = one.1.checked_add(tie.distance)?.checked_sub(other.1)?;
        if one.0 == other.0 {
            if apart != 0 {
                // Copies of RAID-10 that lie further down go round in a circle: no offsets.
                return None;
            }
            continue;
        }
        for (set, place) in &mut places {
            if *set == other.0 {
                (*set, *place) = (one.0, place.checked_add(apart)?);
            }
        }
    }
    let mut first: BTreeMap<usize, i64> = BTreeMap::new();
    for (set, place) in &places {
        let least = first.entry(*set).or_insert(*place);
        *least = (*least).min(*place);
    }
    let shift = |(set, place): &(usize, i64)| {
        let least = first.get(set).copied().unwrap_or(0);
        u64::try_from(place.saturating_sub(least)).unwrap_or(0)
    };
    Some(places.iter().map(shift).collect())
}

/// What two devices have in common.
pub(super) struct Tie {
    pub(super) pair: (usize, usize),
    /// How much further the second one has it.
    pub(super) distance: i64,
    /// How many blocks have this distance.
    pub(super) common: u32,
}

/// The distances of the common blocks of each two devices, at most so `many`, where they stand
/// out.
pub(super) fn distances(rows: &[Row], many: usize) -> Vec<Tie> {
    let mut holders: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
    for row in rows {
        for (device, print) in row
            .prints
            .iter()
            .enumerate()
            .filter(|(_, print)| **print != 0)
        {
            let found = holders.entry(*print).or_default();
            if found.len() <= MOST_HOLDERS {
                found.push((device, row.at));
            }
        }
    }
    let mut counts: BTreeMap<(usize, usize), BTreeMap<i64, u32>> = BTreeMap::new();
    for found in holders
        .into_values()
        .filter(|found| found.len() <= MOST_HOLDERS)
    {
        for (index, (device, at)) in found.iter().enumerate() {
            for (other, place) in found.iter().skip(index + 1).filter(|(o, _)| o != device) {
                let ((a, from), (b, to)) = if device < other {
                    ((device, at), (other, place))
                } else {
                    ((other, place), (device, at))
                };
                let distance = i64::try_from(*to).unwrap_or(0) - i64::try_from(*from).unwrap_or(0);
                *counts
                    .entry((*a, *b))
                    .or_default()
                    .entry(distance)
                    .or_default() += 1;
            }
        }
    }
    let clear = counts.into_iter().flat_map(|(pair, counts)| {
        let mut counts: Vec<(u32, i64)> = counts.into_iter().map(|(d, n)| (n, d)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let rest = counts.get(many).map_or(0, |(common, _)| *common);
        counts.truncate(many);
        counts.into_iter().filter_map(move |(common, distance)| {
            let is_clear = common >= LEAST_COMMON && common >= rest.saturating_mul(CLEAR);
            is_clear.then_some(Tie {
                pair,
                distance,
                common,
            })
        })
    });
    clear.collect()
}

/// The devices from where their data would begin if all began at the same offset.
pub(super) fn shifted(candidates: &[Candidate], shifts: &[u64]) -> Vec<Candidate> {
    let shift = |(candidate, shift): (&Candidate, &u64)| {
        let length = candidate.device.len().saturating_sub(*shift);
        let all = Arc::clone(&candidate.device);
        Candidate {
            name: candidate.name.clone(),
            device: Arc::new(Slice::new(all, ByteOffset::new(*shift), length)),
            shift: candidate.shift.saturating_add(*shift),
            lost: candidate.lost.clone(),
        }
    };
    candidates.iter().zip(shifts).map(shift).collect()
}
