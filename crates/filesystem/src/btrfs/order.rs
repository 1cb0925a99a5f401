//! The order of the stripes of a chunk whose item is gone.
//!
//! Device extents say which places belong to a chunk, not which of its stripes each of them is. Tree
//! blocks say it where they were seen; data says it by the checksums that it fits.

use std::collections::{BTreeSet, HashMap};

use evidence::{ByteOffset, ReadAtExt};

use super::chunk::{Chunk, Profile, STRIPE_LEN, Stripe};
use super::find::Identity;
use super::sums::{Sum, Sums};
use super::volume::Volume;

/// So many stripes of a chunk are looked at before the rest is given up.
const MOST_STRIPES: u64 = 4096;
/// So many hits prove each stripe.
const ENOUGH: u64 = 8;
/// The number of a device that nobody has.
pub(super) const NOBODY: u64 = u64::MAX / 2;

/// A chunk whose stripes are known, in no order.
#[derive(Clone, Debug)]
pub(super) struct Unordered {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) block_group_type: u64,
    pub(super) stripes: Vec<Stripe>,
}

/// Where something lies that belongs to one group of equal stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Hit {
    pub(super) group: usize,
    /// The index of the device.
    pub(super) device: usize,
    /// Where on it the stripe begins.
    pub(super) offset: u64,
}

impl Unordered {
    /// The chunk with its stripes as they come.
    pub(super) fn as_it_is(&self) -> Option<Chunk> {
        self.with(self.stripes.clone())
    }

    fn with(&self, stripes: Vec<Stripe>) -> Option<Chunk> {
        Chunk::new(self.start, self.length, self.block_group_type, 2, stripes)
    }

    /// The chunk in the order in which its tree blocks were seen.
    pub(super) fn by_nodes(
        &self,
        identity: &Identity<'_>,
        devids: &HashMap<usize, u64>,
    ) -> Option<Chunk> {
        let chunk = self.as_it_is()?;
        let seen = identity.nodes.iter().filter(|s| s.sighting.proof.is_some());
        let hits = seen.filter_map(|seen| {
            let (group, within) = group_of(&chunk, seen.sighting.header.bytenr)?;
            let offset = seen.sighting.place.checked_sub(within)?.get();
            Some(Hit {
                group,
                device: seen.device,
                offset,
            })
        });
        let known = hits.filter(|hit| self.stripes.iter().any(|s| s.offset == hit.offset));
        self.ordered(&chunk, votes(known), devids)
    }

    /// The chunk in the order in which its data fits the checksums.
    pub(super) fn by_sums(
        &self,
        identity: &Identity<'_>,
        devids: &HashMap<usize, u64>,
        volume: &Volume,
        sums: &Sums,
    ) -> Option<Chunk> {
        let chunk = self.as_it_is()?;
        let offsets: BTreeSet<u64> = self.stripes.iter().map(|stripe| stripe.offset).collect();
        let mut hits: Vec<Hit> = Vec::new();
        let mut counts: HashMap<usize, u64> = HashMap::new();
        let groups = groups(&chunk).0;
        for number in 0..self.length.div_ceil(STRIPE_LEN).min(MOST_STRIPES) {
            let at = number.saturating_mul(STRIPE_LEN).saturating_add(self.start);
            let Some((group, _)) = group_of(&chunk, at) else {
                break;
            };
            if counts.get(&group).is_some_and(|count| *count >= ENOUGH) {
                continue;
            }
            for (logical, sum) in known_sums(volume, sums, chunk.end(), at) {
                let Some((_, within)) = group_of(&chunk, logical) else {
                    continue;
                };
                for device in devids.keys() {
                    for offset in &offsets {
                        let place = offset.saturating_add(within);
                        if fits(identity, volume, *device, place, &sum) {
                            hits.push(Hit {
                                group,
                                device: *device,
                                offset: *offset,
                            });
                            let count = counts.entry(group).or_default();
                            *count = count.saturating_add(1);
                        }
                    }
                }
            }
            let proven = counts.values().filter(|count| **count >= ENOUGH).count();
            if proven >= groups {
                break;
            }
        }
        self.ordered(&chunk, votes(hits.into_iter()), devids)
    }

    /// The chunk with each stripe where most of `votes` are; stripes without any are missing.
    pub(super) fn ordered(
        &self,
        chunk: &Chunk,
        votes: HashMap<Hit, u64>,
        devids: &HashMap<usize, u64>,
    ) -> Option<Chunk> {
        let (groups, copies) = groups(chunk);
        let mut votes: Vec<(Hit, u64)> = votes.into_iter().collect();
        votes.sort_by_key(|(hit, count)| (std::cmp::Reverse(*count), *hit));
        let mut filled: Vec<Vec<Stripe>> = vec![Vec::new(); groups];
        let mut used: BTreeSet<(usize, u64)> = BTreeSet::new();
        for (hit, _) in votes {
            let Some(group) = filled.get_mut(hit.group).filter(|g| g.len() < copies) else {
                continue;
            };
            if let Some(devid) = devids.get(&hit.device)
                && used.insert((hit.device, hit.offset))
            {
                group.push(Stripe {
                    devid: *devid,
                    offset: hit.offset,
                });
            }
        }
        if used.is_empty() {
            return None;
        }
        let missing = Stripe {
            devid: NOBODY,
            offset: 0,
        };
        for group in &mut filled {
            group.resize(copies, missing);
        }
        self.with(filled.concat())
    }
}

/// How often each of `hits` is among them.
pub(super) fn votes(hits: impl Iterator<Item = Hit>) -> HashMap<Hit, u64> {
    let mut votes: HashMap<Hit, u64> = HashMap::new();
    for hit in hits {
        let count = votes.entry(hit).or_default();
        *count = count.saturating_add(1);
    }
    votes
}

/// How many groups of equal stripes a chunk has, and how many stripes are in each.
pub(super) fn groups(chunk: &Chunk) -> (usize, usize) {
    let count = chunk.stripes.len();
    match chunk.profile {
        Profile::Copies => (1, count),
        Profile::Raid10 => (count / 2, 2),
        Profile::Raid0 | Profile::Raid5 | Profile::Raid6 => (count, 1),
    }
}

/// The group of stripes that holds `logical`, and where in each of them.
pub(super) fn group_of(chunk: &Chunk, logical: u64) -> Option<(usize, u64)> {
    let spot = chunk.spot(logical)?;
    let copies = groups(chunk).1;
    Some((spot.stripe.checked_div(copies)?, spot.within))
}

/// Two sectors of the stripe at `logical`, of a chunk up to `end`, whose sums are known.
pub(super) fn known_sums(
    volume: &Volume,
    sums: &Sums,
    end: u64,
    logical: u64,
) -> Vec<(u64, [u8; 32])> {
    let end = logical.saturating_add(STRIPE_LEN).min(end);
    let sector = u64::from(volume.format.sectorsize).max(1);
    let places = (logical..end).step_by(usize::try_from(sector).unwrap_or(usize::MAX));
    let all = sums.of(volume, logical..end, None);
    let known = places.zip(all).filter_map(|(at, sum)| match sum {
        Sum::Known(sum) => Some((at, sum)),
        Sum::None | Sum::Lost => None,
    });
    known.take(2).collect()
}

/// Whether the sector at `place` of a device fits `sum`, and is not just zeros.
fn fits(identity: &Identity<'_>, volume: &Volume, device: usize, place: u64, sum: &[u8]) -> bool {
    let length = volume.format.sectorsize as usize;
    identity
        .devices
        .get(device)
        .and_then(|device| device.bytes.read_whole(ByteOffset::new(place), length))
        .is_some_and(|bytes| {
            bytes.iter().any(|byte| *byte != 0) && volume.format.csum.fits(sum, &bytes)
        })
}
