//! Where a btrfs begins, by copies of its superblock: each states where on its device it lies.
//!
//! The addresses in its trees are logical and say nothing of that. Copies lie 64 KiB, 64 MiB and 256
//! GiB from the start of each device; the first is lost with the head of the volume, and any other
//! says where that was. Source: the kernel's `include/uapi/linux/btrfs_tree.h`,
//! `struct btrfs_super_block` and `struct btrfs_dev_item`.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::bounds::Plan;
use super::layout::{Area, Layout, Run};
use crate::infer::Source;

const MAGIC: &[u8] = b"_BHRfS_M";
const SUPERBLOCK_BYTES: usize = 4096;
/// Where copies lie on a device.
const MIRRORS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Longer devices are not believed.
const MOST_BYTES: u64 = 1 << 56;
/// Most devices of file systems that are noted.
const MOST_SYSTEMS: usize = 4096;

/// How much of a device is searched for nodes of trees, and how many tell.
const LOOKED_AT: u64 = 256 << 20;
const LEAST_NODES: usize = 8;

/// A device of a btrfs: the UUID of the file system, and `devid`.
pub(crate) type Part = ([u8; 16], u64);

/// The copies of one part by where it would begin: `bytenr` and `total_bytes` of each.
type Begins = BTreeMap<Area, Vec<(u64, u64)>>;

/// The copies that were seen.
#[derive(Default)]
pub(super) struct Copies {
    seen: BTreeMap<Part, Begins>,
}

impl Copies {
    /// Looks for copies in a window of `device` that begins at `start`.
    pub(super) fn look(&mut self, device: usize, start: u64, bytes: &[u8]) {
        for (number, block) in bytes.chunks_exact(SUPERBLOCK_BYTES).enumerate() {
            let at = start.saturating_add((number * SUPERBLOCK_BYTES) as u64);
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

    /// The linear volumes whose begin is stated, and in one way by most copies. What begins with its
    /// device is no volume, nor is what is `elsewhere`.
    pub(super) fn plans(&self, elsewhere: &BTreeSet<Part>) -> Vec<(Source, Plan)> {
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
            let is_here = area.1 > 0 && !elsewhere.contains(part);
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
    // btrfs_header: csum, fsid.
    let nodes = places.filter(|at| {
        let fsid = device.read_whole(ByteOffset::new(at.saturating_add(0x20)), uuid.len());
        !MIRRORS.contains(at) && fsid.is_some_and(|fsid| fsid == uuid)
    });
    is_same && nodes.take(LEAST_NODES).count() == LEAST_NODES
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
        let mut copies = Copies::default();
        let mut window = vec![0; 8192];
        window.extend(copy(64 << 20, 300 << 20));
        copies.look(2, (65 << 20) - 8192, &window);
        let plans = copies.plans(&BTreeSet::new());
        let [(Source::Btrfs(uuid), plan)] = plans.as_slice() else {
            panic!("{} plans", plans.len());
        };
        assert_eq!((uuid[0], plan.length), (7, Some(300 << 20)));
        assert_eq!(plan.runs[0].layout.place(0), Some((2, 1 << 20)));
        let mut wrong = copy(64 << 20, 300 << 20);
        wrong[0x100] ^= 1;
        let mut copies = Copies::default();
        copies.look(0, 65 << 20, &wrong);
        assert!(copies.plans(&BTreeSet::new()).is_empty());
    }
}
