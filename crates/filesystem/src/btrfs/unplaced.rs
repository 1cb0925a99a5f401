//! Chunks of data of which only the block group is left.
//!
//! Where neither a chunk item nor the device extents say where a chunk lies, its data still does:
//! the sectors of all devices are summed, and where a sum of the chunk is met, a stripe of it lies.
//! How many stripes there are is not known either; with any other number than the right one the
//! stripes that are met do not begin at the same places.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use evidence::{ByteOffset, ReadAtExt, merged};

use super::chunk::{Chunk, Profile, STRIPE_LEN, Stripe};
use super::find::Identity;
use super::order::{Hit, NOBODY, Unordered, group_of, groups, known_sums, votes};
use super::sums::Sums;
use super::volume::Volume;

/// Of so many stripes of a chunk sums are looked for.
const SOUGHT_STRIPES: usize = 512;
/// A sum that so many sectors have says nothing of any of them.
const TOO_COMMON: usize = 8;
/// So much of a device is read at a time.
const WINDOW_BYTES: usize = 1 << 20;
/// So many sums must be met where a stripe would begin.
const ENOUGH: u64 = 2;

/// A block group whose places are not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unplaced {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) block_group_type: u64,
}

/// A sector that has a sum that was looked for.
struct Met {
    /// The index of the block group.
    chunk: usize,
    logical: u64,
    /// The index of the device.
    device: usize,
    place: u64,
}

/// Sectors that are looked for, by their sums: the index of their block group and their address.
type Sought = HashMap<[u8; 32], Vec<(usize, u64)>>;

/// The chunks of those of `all` whose data is met on the devices.
pub(super) fn place(
    all: &[Unplaced],
    identity: &Identity<'_>,
    devids: &HashMap<usize, u64>,
    volume: &Volume,
    sums: &Sums,
) -> Vec<Chunk> {
    let sought = sought(all, volume, sums);
    if sought.is_empty() {
        return Vec::new();
    }
    let mut met: Vec<Met> = Vec::new();
    for (device, devid) in devids {
        meet(&sought, identity, (*device, *devid), volume, &mut met);
    }
    let each = all.iter().enumerate();
    each.filter_map(|(index, one)| {
        let met = met.iter().filter(|met| met.chunk == index);
        one.placed(&met.collect::<Vec<_>>(), devids)
    })
    .collect()
}

/// The sums of the first stripes of `all` that have any.
fn sought(all: &[Unplaced], volume: &Volume, sums: &Sums) -> Sought {
    let mut sought = Sought::new();
    let step = usize::try_from(STRIPE_LEN).unwrap_or(usize::MAX);
    for (index, one) in all.iter().enumerate() {
        let end = one.start.saturating_add(one.length);
        let stripes = (one.start..end).step_by(step);
        let known = stripes.map(|at| known_sums(volume, sums, end, at));
        let known = known.filter(|known| !known.is_empty()).take(SOUGHT_STRIPES);
        for (logical, sum) in known.flatten() {
            sought.entry(sum).or_default().push((index, logical));
        }
    }
    sought.retain(|_, sectors| sectors.len() < TOO_COMMON);
    sought
}

/// Adds the sectors of `device`, as far as no chunk is known to lie there, that have a sum of
/// `sought`.
fn meet(
    sought: &Sought,
    identity: &Identity<'_>,
    (device, devid): (usize, u64),
    volume: &Volume,
    met: &mut Vec<Met>,
) {
    let Some(bytes) = identity.devices.get(device).map(|device| &device.bytes) else {
        return;
    };
    let sector = volume.format.sectorsize.max(512) as usize;
    let taken = taken(volume, devid);
    let mut at = 0_u64;
    while at < bytes.len() {
        let inside = taken.iter().find(|range| range.contains(&at));
        if let Some(range) = inside {
            at = range.end;
            continue;
        }
        let next = taken.iter().map(|range| range.start).find(|s| *s > at);
        let end = next.unwrap_or(u64::MAX).min(bytes.len());
        let length = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(WINDOW_BYTES);
        let Ok((window, _)) = bytes.read_vec(ByteOffset::new(at), length) else {
            return;
        };
        let mut place = at;
        for part in window.chunks_exact(sector) {
            if part.iter().any(|byte| *byte != 0)
                && let Some(sectors) = sought.get(&volume.format.csum.sum(part))
            {
                met.extend(sectors.iter().map(|(chunk, logical)| Met {
                    chunk: *chunk,
                    logical: *logical,
                    device,
                    place,
                }));
            }
            place = place.saturating_add(sector as u64);
        }
        at = at.saturating_add(length.max(1) as u64);
    }
}

/// Where known chunks lie on the device, in order.
fn taken(volume: &Volume, devid: u64) -> Vec<Range<u64>> {
    let chunks = volume.pool.chunks();
    let ranges = chunks.flat_map(|chunk| {
        let here = chunk.stripes.iter().filter(|stripe| stripe.devid == devid);
        here.map(|s| s.offset..s.offset.saturating_add(chunk.stripe_bytes()))
    });
    merged(ranges.collect())
}

impl Unplaced {
    /// The chunk over as many stripes as make what was met agree best, if one number does.
    fn placed(&self, met: &[&Met], devids: &HashMap<usize, u64>) -> Option<Chunk> {
        let numbers = self.numbers(devids.len());
        let mut tries: Vec<(u64, Chunk)> = numbers
            .into_iter()
            .filter_map(|number| self.over(number, met, devids))
            .collect();
        tries.sort_by_key(|(agreeing, _)| Reverse(*agreeing));
        let second = tries.get(1).map_or(0, |(agreeing, _)| *agreeing);
        let (first, chunk) = tries.into_iter().next()?;
        (first > second).then_some(chunk)
    }

    /// How many stripes there may be, where `devices` devices are there: each may hold one, and as
    /// many again may be missing.
    fn numbers(&self, devices: usize) -> Vec<usize> {
        let most = devices.saturating_mul(2).max(4);
        match Profile::of(self.block_group_type) {
            Some(Profile::Copies) => {
                vec![Chunk::copies_of(self.block_group_type).unwrap_or(1)]
            }
            Some(Profile::Raid10) => (4..=most).step_by(2).collect(),
            Some(Profile::Raid0) => (1..=most).collect(),
            Some(Profile::Raid5) => (2..=most).collect(),
            Some(Profile::Raid6) => (3..=most).collect(),
            None => Vec::new(),
        }
    }

    /// The chunk over `number` stripes, and how much of what was met agrees with it.
    fn over(
        &self,
        number: usize,
        met: &[&Met],
        devids: &HashMap<usize, u64>,
    ) -> Option<(u64, Chunk)> {
        let nowhere = Stripe {
            devid: NOBODY,
            offset: 0,
        };
        let unordered = Unordered {
            start: self.start,
            length: self.length,
            block_group_type: self.block_group_type,
            stripes: vec![nowhere; number],
        };
        let chunk = unordered.as_it_is()?;
        let mut votes = votes(met.iter().filter_map(|met| {
            let (group, within) = group_of(&chunk, met.logical)?;
            Some(Hit {
                group,
                device: met.device,
                offset: met.place.checked_sub(within)?,
            })
        }));
        votes.retain(|_, count| *count >= ENOUGH);
        let (count, copies) = groups(&chunk);
        let mut agreeing = 0_u64;
        for group in 0..count {
            let here = votes.iter().filter(|(hit, _)| hit.group == group);
            let mut counts: Vec<u64> = here.map(|(_, count)| *count).collect();
            counts.sort_unstable_by_key(|count| Reverse(*count));
            agreeing = counts
                .iter()
                .take(copies)
                .fold(agreeing, |a, b| a.saturating_add(*b));
        }
        let chunk = unordered.ordered(&chunk, votes, devids)?;
        Some((agreeing, chunk))
    }
}
