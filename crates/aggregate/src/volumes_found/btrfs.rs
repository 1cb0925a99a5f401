//! Where a btrfs begins, by copies of its superblock: each states where on its device it lies.
//!
//! The addresses in its trees are logical and say nothing of that. Copies lie 64 KiB, 64 MiB and 256
//! GiB from the start of each device; the first is lost with the head of the volume, and any other
//! says where that was. Source: the kernel's `include/uapi/linux/btrfs_tree.h`,
//! `struct btrfs_super_block` and `struct btrfs_dev_item`.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::bounds::Plan;
use super::layout::{Area, Layout, Run, unit_of};
use crate::infer::Source;

const MAGIC: &[u8] = b"_BHRfS_M";
const SUPERBLOCK_BYTES: usize = 4096;
/// So much of a block tells whether it is a node.
const HEAD_BYTES: usize = 0x48;
/// Where copies lie on a device.
const MIRRORS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Longer devices are not believed.
const MOST_BYTES: u64 = 1 << 56;
/// Most devices of file systems that are noted.
const MOST_SYSTEMS: usize = 4096;

/// How much of a device is searched for nodes of trees, and how many tell.
const LOOKED_AT: u64 = 256 << 20;
const LEAST_NODES: usize = 8;

/// So many times the pieces of a volume that lies across a btrfs that of the btrfs are, if the volume is none.
const OUTNUMBERED: usize = 32;

/// A device of a btrfs: the UUID of the file system, and `devid`.
pub(crate) type Part = ([u8; 16], u64);

/// The copies of one part by where it would begin: `bytenr` and `total_bytes` of each.
type Begins = BTreeMap<Area, Vec<(u64, u64)>>;

/// A file system that begins where its device does, by a copy of its superblock there.
struct Whole {
    fsid: [u8; 16],
    /// The pieces of the device that begin with a node of its trees.
    nodes: BTreeSet<u64>,
}

/// The copies that were seen.
pub(super) struct Copies<'k> {
    seen: BTreeMap<Part, Begins>,
    /// The file systems that are devices as a whole, by these.
    whole: BTreeMap<usize, Vec<Whole>>,
    /// What lies below the devices.
    below: &'k BTreeSet<Part>,
}

impl<'k> Copies<'k> {
    /// Nothing seen yet on `devices`, below which some parts lie.
    pub(super) fn new<'d>(
        devices: impl Iterator<Item = &'d dyn ReadAt>,
        below: &'k BTreeSet<Part>,
    ) -> Self {
        let whole = |device| {
            let parts = own_btrfs(device).into_iter();
            let here = parts.filter(|part| !below.contains(part));
            let whole = here.map(|(fsid, _)| Whole {
                fsid,
                nodes: BTreeSet::new(),
            });
            whole.collect()
        };
        Self {
            seen: BTreeMap::new(),
            whole: devices.map(whole).enumerate().collect(),
            below,
        }
    }

    /// Looks for copies, and for nodes of what is a device as a whole, in a window of `device` that begins at `start`.
    pub(super) fn look(&mut self, device: usize, start: u64, bytes: &[u8]) {
        for (number, block) in bytes.chunks_exact(SUPERBLOCK_BYTES).enumerate() {
            let at = start.saturating_add((number * SUPERBLOCK_BYTES) as u64);
            for whole in self.whole.get_mut(&device).into_iter().flatten() {
                if is_node_of(&whole.fsid, Fields::new(block)) {
                    whole.nodes.insert(unit_of(at));
                }
            }
            let Some((part, bytenr, length)) = superblock(Fields::new(block)) else {
                continue;
            };
            let begin = i64::try_from(at).ok().zip(i64::try_from(bytenr).ok());
            let Some(begin) = begin.and_then(|(at, bytenr)| at.checked_sub(bytenr)) else {
                continue;
            };
            if self.seen.len() < MOST_SYSTEMS || self.seen.contains_key(&part) {
                let begins = self.seen.entry(part).or_default();
                begins
                    .entry((device, begin))
                    .or_default()
                    .push((bytenr, length));
            }
        }
    }

    /// Whether a volume lies on a device elsewhere than from its start on that is a btrfs as a whole, by so many more
    /// pieces of that than the volume has that it is no more than what another aggregate on the same disks left there.
    /// Of a btrfs that was there before the volume many nodes may be left.
    pub(super) fn contradicts(&self, plan: &Plan) -> bool {
        let units: usize = plan.runs.iter().map(|run| run.units).sum();
        let mut areas = plan.runs.iter().flat_map(|run| &run.layout.areas);
        areas.any(|(device, start)| {
            let mut whole = self.whole.get(device).into_iter().flatten();
            let most = units.saturating_mul(OUTNUMBERED);
            *start != 0 && whole.any(|whole| whole.nodes.len() > most)
        })
    }

    /// The linear volumes whose begin is stated, and in one way by most copies. What begins with its
    /// device is no volume, nor is what lies below.
    pub(super) fn plans(&self) -> Vec<(Source, Plan)> {
        let plan = |(part, begins): (&Part, &Begins)| {
            let most = begins.values().map(Vec::len).max()?;
            let mut best = begins.iter().filter(|(_, copies)| copies.len() == most);
            let (Some((area, copies)), None) = (best.next(), best.next()) else {
                return None;
            };
            let first = copies.iter().map(|(bytenr, _)| *bytenr).min()?;
            let last = copies.iter().map(|(bytenr, _)| *bytenr).max()?;
            let (_, length) = copies.first()?;
            let run = Run {
                layout: Layout {
                    areas: vec![*area],
                    stripe: 1 << 16,
                },
                first,
                last: last.checked_add(SUPERBLOCK_BYTES as u64 - 1)?,
                units: copies.len(),
                against: begins.values().map(Vec::len).sum::<usize>() - most,
                follows: false,
            };
            let plan = Plan {
                runs: vec![run],
                length: Some(*length),
            };
            let is_here = area.1 > 0 && !self.below.contains(part);
            is_here.then_some((Source::Btrfs(part.0), plan))
        };
        self.seen.iter().filter_map(plan).collect()
    }
}

/// Whether `device` is one of several of a btrfs by all copies of its superblock behind the first, where these
/// belong, and by nodes of its trees: its chunks may lie there as those of a RAID group do, in an order that its
/// trees say.
pub(crate) fn is_one_of_several(device: &dyn ReadAt) -> bool {
    let shared = |block: Fields<'_>| {
        // num_devices
        (block.le_u64(0x88)? > 1).then_some(superblock(block)?.0)
    };
    let parts: Vec<Option<Part>> = own_copies(device, &shared).collect();
    let Some(Some((uuid, devid))) = parts.first().copied() else {
        return false;
    };
    let is_same = parts.iter().all(|part| *part == Some((uuid, devid)));
    let places = (0..device.len().min(LOOKED_AT)).step_by(SUPERBLOCK_BYTES);
    let nodes = places.filter(|at| {
        let head = device.read_whole(ByteOffset::new(*at), HEAD_BYTES);
        head.is_some_and(|head| is_node_of(&uuid, Fields::new(&head)))
    });
    is_same && nodes.take(LEAST_NODES).count() == LEAST_NODES
}

/// Whether a block begins like a node of a file system: `csum`, `fsid` and `bytenr` of `struct btrfs_header`. A copy
/// of the superblock, which begins alike, is none.
fn is_node_of(fsid: &[u8; 16], block: Fields<'_>) -> bool {
    block.slice(0x20, fsid.len()) == Some(fsid) && block.slice(0x40, 8) != Some(MAGIC)
}

/// The devices of a btrfs that `device` itself is, by the copies of its superblock behind the first.
pub(crate) fn own_btrfs(device: &dyn ReadAt) -> BTreeSet<Part> {
    own_copies(device, &|block| Some(superblock(block)?.0))
        .flatten()
        .collect()
}

/// What `of` makes of the copies of a superblock behind the first that lie on `device` where these belong.
fn own_copies<'d, T>(
    device: &'d dyn ReadAt,
    of: &'d dyn Fn(Fields<'_>) -> Option<T>,
) -> impl Iterator<Item = Option<T>> + 'd {
    let copies = MIRRORS.into_iter().skip(1);
    let copies = copies.take_while(|at| at.saturating_add(SUPERBLOCK_BYTES as u64) <= device.len());
    copies.map(move |at| {
        let block = device.read_whole(ByteOffset::new(at), SUPERBLOCK_BYTES)?;
        let (_, bytenr, length) = superblock(Fields::new(&block))?;
        let is_own = bytenr == at && length <= device.len();
        is_own.then(|| of(Fields::new(&block)))?
    })
}

/// The part, `bytenr` and `dev_item.total_bytes` of a superblock whose CRC-32C holds.
fn superblock(block: Fields<'_>) -> Option<(Part, u64, u64)> {
    (block.slice(0x40, 8)? == MAGIC).then_some(())?;
    let stated = block.le_u32(0)?;
    let body = block.slice(0x20, SUPERBLOCK_BYTES - 0x20)?;
    (block.le_u16(0xC4)? == 0 && crc32c::crc32c(body) == stated).then_some(())?;
    let bytenr = block.le_u64(0x30).filter(|at| MIRRORS.contains(at))?;
    let (devid, length) = (block.le_u64(0xC9)?, block.le_u64(0xD1)?);
    let sound = (1..MOST_BYTES).contains(&length);
    sound.then_some(((block.array(0x20)?, devid), bytenr, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(bytenr: u64, length: u64) -> Vec<u8> {
        let mut block = vec![0; SUPERBLOCK_BYTES];
        block[0x20..0x30].fill(7);
        block[0x30..0x38].copy_from_slice(&bytenr.to_le_bytes());
        block[0x40..0x48].copy_from_slice(MAGIC);
        block[0xC9..0xD1].copy_from_slice(&1_u64.to_le_bytes());
        block[0xD1..0xD9].copy_from_slice(&length.to_le_bytes());
        let sum = crc32c::crc32c(&block[0x20..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
        block
    }

    #[test]
    fn a_device_of_several_is_known_by_a_copy_where_that_belongs_and_by_nodes() {
        let disk = |count: u64, at: usize, nodes: usize| {
            let mut block = copy(64 << 20, 65 << 20);
            block[0x88..0x90].copy_from_slice(&count.to_le_bytes());
            let sum = crc32c::crc32c(&block[0x20..]);
            block[..4].copy_from_slice(&sum.to_le_bytes());
            let mut disk = vec![0; 66 << 20];
            disk[at..at + block.len()].copy_from_slice(&block);
            for node in 0..nodes {
                disk[(8 << 20) + node * 16384 + 0x20..][..16].fill(7);
            }
            is_one_of_several(&evidence::view::Memory::new(disk))
        };
        assert!(disk(4, 64 << 20, 8));
        assert!(!disk(4, 64 << 20, 7), "what an older file system left");
        assert!(!disk(1, 64 << 20, 8) && !disk(4, 65 << 20, 8));
    }

    #[test]
    fn any_copy_says_where_the_device_begins() {
        let nothing = BTreeSet::new();
        let mut copies = Copies::new(std::iter::empty(), &nothing);
        let mut window = vec![0; 8192];
        window.extend(copy(64 << 20, 300 << 20));
        copies.look(2, (65 << 20) - 8192, &window);
        let plans = copies.plans();
        let [(Source::Btrfs(uuid), plan)] = plans.as_slice() else {
            panic!("{} plans", plans.len());
        };
        assert_eq!((uuid[0], plan.length), (7, Some(300 << 20)));
        assert_eq!(plan.runs[0].layout.place(0), Some((2, 1 << 20)));
        let mut wrong = copy(64 << 20, 300 << 20);
        wrong[0x100] ^= 1;
        let mut copies = Copies::new(std::iter::empty(), &nothing);
        copies.look(0, 65 << 20, &wrong);
        assert!(copies.plans().is_empty());
    }

    #[test]
    fn a_device_that_is_a_btrfs_is_no_place_for_a_volume_with_fewer_blocks() {
        let mut device = vec![0; 66 << 20];
        device[64 << 20..][..SUPERBLOCK_BYTES].copy_from_slice(&copy(64 << 20, 66 << 20));
        for node in 0..=2 * OUTNUMBERED {
            device[(8 << 20) + node * 16384 + 0x20..][..16].fill(7);
        }
        let memory = evidence::view::Memory::new(device.clone());
        let plan = |start: i64, units: usize| {
            let run = Run {
                layout: Layout {
                    areas: vec![(0, start)],
                    stripe: 1 << 16,
                },
                first: 0,
                last: 32 << 20,
                units,
                against: 0,
                follows: false,
            };
            Plan {
                runs: vec![run],
                length: None,
            }
        };
        let contradicts = |below: &BTreeSet<Part>, plan: &Plan| {
            let devices: [&dyn ReadAt; 1] = [&memory];
            let mut copies = Copies::new(devices.into_iter(), below);
            copies.look(0, 0, &device);
            copies.contradicts(plan)
        };
        let nothing = BTreeSet::new();
        assert!(contradicts(&nothing, &plan(1 << 20, 2)));
        assert!(!contradicts(&nothing, &plan(1 << 20, 3)), "the later one");
        assert!(!contradicts(&nothing, &plan(0, 2)), "made over it");
        let below = BTreeSet::from([([7; 16], 1)]);
        assert!(!contradicts(&below, &plan(1 << 20, 2)), "that of a disk");
    }
}
