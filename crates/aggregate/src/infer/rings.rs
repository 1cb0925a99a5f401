//! RAID-10 with far or offset copies: what one device holds, the next one holds further down.
//!
//! Blocks that two devices have in common lie at one distance from the first device to the
//! second, from the second to the third, and from the last to the first again: the order of the
//! roles. With offset copies the distance is the chunk; with far copies it is the length of a
//! part, and the chunk is the one with which file systems' blocks lie at their addresses and
//! text goes on (`drivers/md/raid10.c`, `__raid10_find_phys`). Where nothing is left of what the
//! group begins with, the end of the devices, the length of a part, and what is there twice say where.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::anchored::{chunks, distinct};
use super::anchors::{Anchor, Source};
use super::contents::{Contents, Spread, Texture};
use super::sample::{BLOCK, Candidate, Row};
use super::score::{ANCHOR_HIT, ANCHOR_MISS, LEAST_CLUSTER};
use super::shift::distances;
use super::start::{Start, start};
use crate::document::{Group, Member};
use crate::raid::{FarSets, Geometry, GroupReader, Level, Raid10Layout};

/// Where the data of a group may begin on its members.
const NEAR: u64 = 8 << 20;

/// mdadm lets the data of members begin at multiples of this, unless they are very small.
const USUAL: u64 = 1 << 20;

/// Edges of chunks at which the contents are asked.
const MOST_EDGES: u64 = 2048;

/// One block in so many of a device is one that the next device has further down: half of them,
/// but for blocks that are found at other places too.
const LEAST_SHARE: usize = 5;

/// Devices of a ring that is not closed: two may be neighbours in any.
const LEAST_OPEN: usize = 3;

/// What must speak for a chunk, in nats, alone and against every other.
const LEAST: f64 = 64.0;
const LEAD: f64 = 16.0;

/// Devices in the order in which each holds what the one before it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) devices: Vec<usize>,
    /// By how many bytes further down.
    pub(super) stride: u64,
    /// Whether the first one follows the last; else one is missing between them.
    closed: bool,
}

/// The rings among the devices that do not agree with others already.
pub(super) fn rings(rows: &[Row]) -> Vec<Ring> {
    let full = |device: usize| rows.iter().filter(|row| row.full.has(device)).count();
    let mut steps: Vec<(u64, usize, usize)> = Vec::new();
    for tie in distances(rows, 2) {
        let (pair, distance) = (tie.pair, tie.distance);
        let (from, to) = if distance > 0 { pair } else { (pair.1, pair.0) };
        let least = full(from).min(full(to)) / LEAST_SHARE;
        if distance != 0 && usize::try_from(tie.common).is_ok_and(|common| common >= least) {
            steps.push((distance.unsigned_abs(), from, to));
        }
    }
    steps.sort_unstable();
    let strides = steps.chunk_by(|a, b| a.0 == b.0);
    let mut rings: Vec<Ring> = strides.filter_map(ring).collect();
    // The distance around the ring the other way is none.
    rings.sort_by_key(|ring| (!ring.closed, std::cmp::Reverse(ring.devices.len())));
    let mut kept: Vec<Ring> = Vec::new();
    for ring in rings {
        let taken = |other: &Ring| other.devices.iter().any(|d| ring.devices.contains(d));
        if !kept.iter().any(taken) {
            kept.push(ring);
        }
    }
    kept
}

/// The ring of steps that all have one distance, if each device has one before and one after it.
fn ring(steps: &[(u64, usize, usize)]) -> Option<Ring> {
    let stride = steps.first()?.0;
    let next = |device: usize| {
        let mut own = steps.iter().filter(|(_, from, _)| *from == device);
        let only = own.next().map(|(_, _, to)| *to);
        only.filter(|_| own.next().is_none())
    };
    let has_before = |device: usize| steps.iter().any(|(_, _, to)| *to == device);
    let starts = steps.iter().map(|(_, from, _)| *from);
    let first = starts.clone().find(|d| !has_before(*d)).or(starts.min())?;
    let mut devices = vec![first];
    let mut last = first;
    while let Some(device) = next(last).filter(|device| !devices.contains(device)) {
        devices.push(device);
        last = device;
    }
    let closed = next(last) == Some(first);
    let whole = steps.len() == devices.len() - usize::from(!closed);
    (whole && devices.len() >= 2).then_some(Ring {
        devices,
        stride,
        closed,
    })
}

/// A way in which a ring may be a group, with what it reads.
struct Try {
    layout: Raid10Layout,
    chunk: u64,
    begin: Begin,
    roles: Vec<Option<usize>>,
    score: f64,
}

/// The group that a ring is, or why that is not decided. If there are `strangers`, devices that
/// nothing explains, a ring that is not closed may lack more members than one.
pub(super) fn decide(
    ring: &Ring,
    strangers: bool,
    candidates: &[Candidate],
    rows: &[Row],
    anchors: &[Anchor],
) -> Result<Group, String> {
    if !ring.closed && (strangers || ring.devices.len() < LEAST_OPEN) {
        return Err("more than one of the others may be missing between them".to_owned());
    }
    let contents = Contents::learn(rows, &ring.devices, Spread::Alone);
    let found = begins(ring, candidates);
    let first_parts = first_parts(ring, rows);
    let mut tries: Vec<Try> = Vec::new();
    for chunk in chunks().filter(|chunk| ring.stride.is_multiple_of(*chunk)) {
        for is_offset in [true, false] {
            if is_offset && chunk != ring.stride {
                continue;
            }
            // What looks like a start may be a part of one, or of a volume: others must say less.
            let mut begins = found.clone();
            for begin in anywhere(ring, candidates, (chunk, is_offset), &first_parts) {
                let period = if is_offset { 2 * chunk } else { chunk };
                let is_same = |other: &Begin| {
                    other.offset.abs_diff(begin.offset).is_multiple_of(period)
                        && roles(ring, other) == roles(ring, &begin)
                };
                if !found.iter().any(is_same) {
                    begins.push(begin);
                }
            }
            for begin in begins {
                let mut one = Try {
                    layout: Raid10Layout {
                        near: 1,
                        far: 2,
                        offset: is_offset,
                        far_sets: FarSets::Whole,
                    },
                    chunk,
                    begin,
                    roles: roles(ring, &begin),
                    score: 0.0,
                };
                let Some(addresses) = one.addresses(ring, anchors) else {
                    continue;
                };
                if let Some(group) = one.open(ring, candidates) {
                    one.score = addresses + texts(&group, chunk, &contents);
                    tries.push(one);
                }
            }
        }
    }
    tries.sort_by(|a, b| b.score.total_cmp(&a.score));
    let best = tries
        .first()
        .ok_or("no chunk fits the distance of the copies")?;
    let next = tries.get(1).map_or(f64::MIN, |other| other.score);
    if best.score < LEAST || best.score < next + LEAD {
        return Err("too little tells the chunk".to_owned());
    }
    best.statement(ring, candidates)
        .ok_or_else(|| "its geometry does not fit the devices".to_owned())
}

/// Where a group may begin.
#[derive(Clone, Copy)]
struct Begin {
    /// The device on which its start is found.
    device: usize,
    /// Where the data of the members begins, in bytes.
    offset: u64,
    /// Whether what was found is the copy further down, on the member of role 1.
    is_copy: bool,
    /// What the group begins with, if that is left.
    start: Option<Start>,
}

/// Where the group may begin: with the first thing that begins on one of the devices, which may
/// be a copy, or with what begins as far down as copies lie.
fn begins(ring: &Ring, candidates: &[Candidate]) -> Vec<Begin> {
    let find = |from: u64| {
        let mut places = (0..NEAR / BLOCK).map(|number| number * BLOCK);
        places.find_map(|place| {
            let at = from.checked_add(place)?;
            ring.devices.iter().find_map(|device| {
                let candidate = candidates.get(*device)?;
                let room = candidate.device.len().checked_sub(at)?;
                let all = Arc::clone(&candidate.device);
                let rest = Slice::new(all, ByteOffset::new(at), room);
                Some((*device, at, start(&rest)?))
            })
        })
    };
    let of = |(device, at, start): (usize, u64, Start), is_copy: bool| {
        let offset = at.checked_sub(if is_copy { ring.stride } else { 0 })?;
        Some(Begin {
            device,
            offset,
            is_copy,
            start: Some(start),
        })
    };
    match find(0) {
        Some(found) => [of(found, false), of(found, true)]
            .into_iter()
            .flatten()
            .collect(),
        None => find(ring.stride)
            .and_then(|found| of(found, true))
            .into_iter()
            .collect(),
    }
}

/// Where the members' data may begin if copies lie far down: what the first part holds, and no other
/// place, is there once more a stride further down on the next device. So it begins behind the place
/// that is a stride before the last of these, and no later than the first.
fn first_parts(ring: &Ring, rows: &[Row]) -> RangeInclusive<u64> {
    let by_place: BTreeMap<u64, &Row> = rows.iter().map(|row| (row.at, row)).collect();
    let next = ring.devices.iter().skip(1).chain(ring.devices.first());
    let next = ring.devices.iter().zip(next);
    let next: Vec<(usize, usize)> = next.map(|(a, b)| (*a, *b)).collect();
    let is_first = |row: &&Row| {
        let further = row.at.checked_add(ring.stride);
        let Some(further) = further.and_then(|at| by_place.get(&at)) else {
            return false;
        };
        next.iter().any(|(a, b)| {
            let (here, there) = (row.prints.get(*a), further.prints.get(*b));
            here == there && here.is_some_and(|print| *print != 0)
        })
    };
    let own = rows.iter().filter(is_first).map(|row| row.at);
    let earliest = own.clone().max().unwrap_or(0).saturating_add(BLOCK);
    earliest.saturating_sub(ring.stride)..=own.min().unwrap_or(u64::MAX)
}

/// Where the group may begin if nothing shows it: on any of the devices. Of far copies the parts
/// reach to the end of the members, or not so far where the devices are longer. To begin some rows
/// earlier only moves what lies on it.
fn anywhere(
    ring: &Ring,
    candidates: &[Candidate],
    (chunk, is_offset): (u64, bool),
    first_parts: &RangeInclusive<u64>,
) -> Vec<Begin> {
    let members = ring.devices.iter().filter_map(|d| candidates.get(*d));
    let shortest = members.map(|c| c.device.len()).min().unwrap_or(0);
    let offsets = if is_offset {
        vec![0, chunk]
    } else {
        let parts = ring.stride.saturating_mul(2);
        let latest = shortest.saturating_sub(parts).min(*first_parts.end());
        let usual = [USUAL, chunk, BLOCK].map(|unit| latest - latest % unit);
        let mut usual: Vec<u64> = usual
            .into_iter()
            .filter(|offset| first_parts.contains(offset))
            .collect();
        usual.sort_unstable();
        usual.dedup_by_key(|offset| *offset % chunk);
        usual
    };
    let begin = |device: &usize, offset: u64| Begin {
        device: *device,
        offset,
        is_copy: false,
        start: None,
    };
    let each = ring.devices.iter();
    each.flat_map(|device| offsets.iter().map(move |offset| begin(device, *offset)))
        .collect()
}

/// The devices by role: the one with the start has the role 0, or 1 if it holds the copy.
fn roles(ring: &Ring, begin: &Begin) -> Vec<Option<usize>> {
    let mut around: Vec<Option<usize>> = ring.devices.iter().copied().map(Some).collect();
    if !ring.closed {
        around.push(None);
    }
    let at = around
        .iter()
        .position(|device| *device == Some(begin.device));
    let count = around.len();
    let at = at.unwrap_or(0) + if begin.is_copy { count - 1 } else { 0 };
    around.rotate_left(at % count.max(1));
    around
}

impl Try {
    fn geometry(&self, ring: &Ring, candidates: &[Candidate]) -> Option<Geometry> {
        let there = self
            .roles
            .iter()
            .flatten()
            .filter_map(|d| candidates.get(*d));
        let room = there
            .map(|c| c.device.len().saturating_sub(self.begin.offset))
            .min()?;
        let level = Level::Raid10 {
            layout: self.layout,
            chunk_bytes: self.chunk,
            members: u32::try_from(self.roles.len()).ok()?,
            member_bytes: if self.layout.offset {
                room - room % self.chunk
            } else {
                ring.stride.checked_mul(2)?
            },
        };
        Geometry::filling(level, room).ok()
    }

    /// How much the anchors speak for it, in nats: most of those of one file system agree on where it
    /// begins. `None` if it begins with a file system, and they say that none begins there.
    fn addresses(&self, ring: &Ring, anchors: &[Anchor]) -> Option<f64> {
        let own = anchors.iter().filter(|a| ring.devices.contains(&a.device));
        let sources: BTreeSet<Source> = own.map(|anchor| anchor.source).collect();
        let mut starts: Vec<i128> = Vec::new();
        let mut sum = 0.0;
        for source in sources.into_iter().filter(|source| source.is_direct()) {
            let own = distinct(anchors, source, &ring.devices);
            let mut begins: BTreeMap<i128, u32> = BTreeMap::new();
            for anchor in &own {
                let at = self.position(ring, anchor.device, anchor.at);
                if let Some(at) = at {
                    let begin = i128::from(at) - i128::from(anchor.address);
                    *begins.entry(begin).or_default() += 1;
                }
            }
            let most = begins.into_iter().max_by_key(|(_, count)| *count);
            let most = most.filter(|(_, count)| *count >= LEAST_CLUSTER);
            starts.extend(most.map(|(begin, _)| begin));
            let agree = most.map_or(0, |(_, count)| count);
            let all = u32::try_from(own.len()).unwrap_or(u32::MAX);
            let against = all.saturating_sub(agree);
            sum += f64::from(agree) * ANCHOR_HIT - f64::from(against) * ANCHOR_MISS;
        }
        let of_filesystem = self.begin.start.is_some_and(|start| start.is_filesystem);
        let elsewhere = of_filesystem && !starts.is_empty() && !starts.contains(&0);
        (!elsewhere).then_some(sum)
    }

    /// Which byte of the group a byte of a device is, or a copy of.
    fn position(&self, ring: &Ring, device: usize, at: u64) -> Option<u64> {
        let role = self.roles.iter().position(|own| *own == Some(device))? as u64;
        let members = self.roles.len() as u64;
        let inside = at.checked_sub(self.begin.offset)?;
        let (row, is_copy) = if self.layout.offset {
            let row = inside / self.chunk;
            (row / 2, row % 2 == 1)
        } else {
            let part = inside / ring.stride;
            (part < 2).then_some(())?;
            (inside % ring.stride / self.chunk, part == 1)
        };
        let first = if is_copy { role + members - 1 } else { role } % members;
        let number = row.checked_mul(members)?.checked_add(first)?;
        number
            .checked_mul(self.chunk)?
            .checked_add(inside % self.chunk)
    }

    fn open(&self, ring: &Ring, candidates: &[Candidate]) -> Option<GroupReader> {
        let members = self.roles.iter().map(|device| {
            let all = Arc::clone(&candidates.get((*device)?)?.device);
            let room = all.len().checked_sub(self.begin.offset)?;
            let area = Slice::new(all, ByteOffset::new(self.begin.offset), room);
            Some(Arc::new(area) as Arc<dyn ReadAt>)
        });
        GroupReader::new(self.geometry(ring, candidates)?, members.collect()).ok()
    }

    fn statement(&self, ring: &Ring, candidates: &[Candidate]) -> Option<Group> {
        let members = (0..).zip(&self.roles).map(|(role, device)| {
            let device = device.and_then(|device| candidates.get(device));
            let room = |c: &Candidate| c.device.len().saturating_sub(self.begin.offset);
            Member {
                role,
                device: device.map(|candidate| candidate.name.clone()),
                data_offset: device.map_or(0, |c| self.begin.offset.saturating_add(c.shift)),
                data_size: device.map_or(0, room),
                left_out: None,
                bad_blocks: Vec::new(),
            }
        });
        Some(Group {
            name: String::new(),
            geometry: self.geometry(ring, candidates)?,
            members: members.collect(),
            evidence: vec![
                format!(
                    "no label: worked out from the contents; each device holds what the one before it holds, {} bytes further down",
                    ring.stride
                ),
                self.begin.start.map_or_else(
                    || format!(
                        "where the group begins is not known, since nothing that lies at the start of groups is left: {} bytes into its members is taken, and what lies on it is found by its own addresses",
                        self.begin.offset
                    ),
                    |start| format!(
                        "the group begins with {}, {} bytes into its members",
                        start.what, self.begin.offset
                    ),
                ),
                format!(
                    "addresses of file systems' blocks, and text that goes on, speak for this chunk ({:.0} nats)",
                    self.score
                ),
            ],
            confidence: 0.95,
            over: Vec::new(),
        })
    }
}

/// How much the texts of a group speak for its chunk, in nats.
fn texts(group: &GroupReader, chunk: u64, contents: &Contents<'_>) -> f64 {
    let mut sum = 0.0;
    let edges = group.len() / chunk;
    let step = edges.div_ceil(MOST_EDGES).max(1);
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let mut number = 1;
    while number < edges {
        let at = number.saturating_mul(chunk);
        let pair = at.checked_sub(BLOCK);
        let pair = pair.and_then(|at| group.read_whole(ByteOffset::new(at), 2 * block));
        if let Some((tail, head)) = pair
            .as_deref()
            .and_then(|pair| pair.split_at_checked(block))
        {
            sum += contents.weigh(&Texture::of(tail), &Texture::of(head)) * 0.5;
        }
        number = number.saturating_add(step);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_one_distance_are_a_ring_or_one_with_a_gap() {
        let closed = ring(&[(8, 0, 2), (8, 1, 0), (8, 2, 1)]).unwrap();
        assert_eq!((closed.devices, closed.closed), (vec![0, 2, 1], true));
        let open = ring(&[(8, 3, 0), (8, 0, 2)]).unwrap();
        assert_eq!((open.devices, open.closed), (vec![3, 0, 2], false));
        assert_eq!(ring(&[(8, 0, 1), (8, 0, 2)]), None);
    }

    #[test]
    fn the_device_with_the_start_has_role_0_and_the_gap_its_place() {
        let ring = Ring {
            devices: vec![3, 0, 2],
            stride: 8,
            closed: false,
        };
        let begin = |device, is_copy| Begin {
            device,
            offset: 0,
            is_copy,
            start: None,
        };
        let role_0 = roles(&ring, &begin(0, false));
        assert_eq!(role_0, [Some(0), Some(2), None, Some(3)]);
        let role_1 = roles(&ring, &begin(3, true));
        assert_eq!(role_1, [None, Some(3), Some(0), Some(2)]);
    }
}
