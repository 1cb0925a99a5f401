//! Where the inodes of an ext4 with `metadata_csum` lie: each states its number, for its checksum was
//! begun with it.
//!
//! The checksum of an inode is made from the seed of the file system, the number of the inode, its
//! generation, and its bytes, in this order. Gone backwards it gives the seed exclusive-or the number.
//! A group's descriptor, of which copies stand behind each copy of the superblock, says where the
//! table of its inodes is; those in the first 64 KiB behind it are read. A block of inodes may be a copy in
//! the journal: of several that are of one place, that one counts which is one of the newest and has more of
//! its neighbours beside it than the others.
//!
//! Source: kernel documentation, `Documentation/filesystems/ext4/{checksums,inodes,group_descr}.rst`.

use std::collections::{BTreeMap, BTreeSet};

use evidence::checksum::{crc32c, crc32c_seed};
use evidence::{ByteOffset, Fields, ReadAtExt};

use super::super::relations::Set;
use super::super::sample::{BLOCK, Candidate, read_window};
use super::{Anchor, MOST_ADDRESS, Source};

/// `EXT4_FEATURE_*` and `EXT4_BG_*`.
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const INCOMPAT_64BIT: u32 = 0x80;

/// `S_IFMT` of a mode, and what it may be: a directory, a file, a symbolic link.
const FORMAT: u16 = 0xF000;
const KINDS: [u16; 3] = [0x4000, 0x8000, 0xA000];

/// Where `bg_checksum` lies in a descriptor.
const DESCRIPTOR_SUM: usize = 30;
/// Bytes behind a superblock copy in which descriptors are looked for: a chunk may end there.
const DESCRIPTORS: u64 = 64 << 10;
/// Most superblock copies behind which they are looked for, and file systems whose inodes are.
const MOST_COPIES: usize = 256;
const MOST_LAYOUTS: usize = 8;
/// Most blocks of inodes that are kept of one file system.
const MOST_PLACES: usize = 1 << 20;
/// Inodes are of so many bytes, if they keep their whole checksum.
const LEAST_INODE: usize = 256;

/// Superblock copies of file systems whose inodes state their numbers: device and place.
#[derive(Default)]
pub(super) struct Inodes {
    copies: BTreeSet<(usize, u64)>,
}

/// What a superblock copy says of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Layout {
    uuid: [u8; 16],
    seed: u32,
    block: u64,
    inode: usize,
    descriptor: usize,
    inodes_per_group: u32,
    inodes: u32,
}

impl Layout {
    /// By a superblock copy, if its inodes have whole checksums.
    fn of(superblock: Fields<'_>) -> Option<Self> {
        (superblock.le_u16(56)? == 0xEF53).then_some(())?;
        // s_log_block_size, s_feature_*, s_inode_size, s_desc_size.
        let log = superblock.le_u32(24)?;
        (log <= 6).then_some(())?;
        let block = 1024_u64.checked_shl(log)?;
        let incompat = superblock.le_u32(96)?;
        let is_checked = superblock.le_u32(100)? & RO_COMPAT_METADATA_CSUM != 0;
        let inode = usize::from(superblock.le_u16(88)?);
        let is_wide = incompat & INCOMPAT_64BIT != 0;
        let descriptor = if is_wide {
            usize::from(superblock.le_u16(254)?)
        } else {
            32
        };
        let uuid: [u8; 16] = superblock.array(104)?;
        let seed = if incompat & INCOMPAT_CSUM_SEED != 0 {
            superblock.le_u32(624)?
        } else {
            crc32c(!0, &uuid)
        };
        let layout = Self {
            uuid,
            seed,
            block,
            inode,
            descriptor,
            inodes_per_group: superblock.le_u32(40)?,
            inodes: superblock.le_u32(0)?,
        };
        let has_sizes = (LEAST_INODE..=4096).contains(&inode)
            && inode.is_power_of_two()
            && (32..=1024).contains(&descriptor)
            && layout.inodes_per_group > 0;
        (is_checked && has_sizes).then_some(layout)
    }

    /// Where the tables begin by the descriptors in `bytes`, of which the first is that of group 0, in a file
    /// system of so many `blocks`.
    fn tables(&self, bytes: &[u8], blocks: u64) -> BTreeMap<u32, u64> {
        let all = (0_u32..).zip(bytes.chunks_exact(self.descriptor));
        all.filter_map(|(group, descriptor)| {
            let fields = Fields::new(descriptor);
            let mut covered = descriptor.to_vec();
            covered
                .get_mut(DESCRIPTOR_SUM..DESCRIPTOR_SUM.saturating_add(2))?
                .fill(0);
            let sum = crc32c(crc32c(self.seed, &group.to_le_bytes()), &covered);
            (u32::from(fields.le_u16(DESCRIPTOR_SUM)?) == sum & 0xFFFF).then_some(())?;
            // bg_inode_table_lo, bg_inode_table_hi.
            let high = fields.le_u32(40).map_or(0, u64::from);
            let block = high.checked_shl(32)? | u64::from(fields.le_u32(8)?);
            let table = block.checked_mul(self.block)?;
            ((1..blocks).contains(&block) && table < MOST_ADDRESS).then_some((group, table))
        })
        .collect()
    }

    /// Which inode it is whose checksum was begun so behind its number, if it is one of this file system's.
    fn number(&self, stated: u32) -> Option<u32> {
        let number = crc32c_seed(stated, &[0; 4]) ^ self.seed;
        (1..=self.inodes).contains(&number).then_some(number)
    }

    /// The blocks of inodes on all devices but the `silent` ones, by where they belong in the file system.
    fn places(
        &self,
        tables: &BTreeMap<u32, u64>,
        candidates: &[Candidate],
        windows: &[u64],
        silent: Set,
    ) -> BTreeMap<u64, Vec<Place>> {
        let mut places: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
        let length = usize::try_from(self.block.min(BLOCK)).unwrap_or(usize::MAX);
        let heard = (0..candidates.len()).filter(|device| !silent.has(*device));
        for (device, start) in heard.flat_map(|device| windows.iter().map(move |at| (device, *at)))
        {
            let Some(candidate) = candidates.get(device) else {
                continue;
            };
            let bytes = read_window(&*candidate.device, start);
            for (block, at) in bytes.chunks_exact(length).zip((start..).step_by(length)) {
                let slots = block
                    .chunks_exact(self.inode)
                    .zip((0_u64..).step_by(self.inode));
                let stated = slots.filter_map(|(slot, inside)| {
                    let changed = Fields::new(slot).le_u32(12)?;
                    Some((inside, stated(slot)?, changed))
                });
                let stated: Vec<(u64, u32, u32)> = stated.collect();
                let found = stated.iter().filter_map(|(inside, stated, changed)| {
                    let address = self.address(self.number(*stated)?, tables)?;
                    Some((address.checked_sub(*inside)?, *changed))
                });
                let found: Vec<(u64, u32)> = found.collect();
                // All of a block are of one place, and most of what looks like an inode is one.
                let one = found.first().copied().filter(|first| {
                    found.iter().all(|other| other.0 == first.0)
                        && found.len().saturating_mul(2) >= stated.len()
                });
                let Some((address, _)) = one.filter(|_| places.len() < MOST_PLACES) else {
                    continue;
                };
                let changed = found.iter().map(|(_, changed)| *changed).max().unwrap_or(0);
                places.entry(address).or_default().push(Place {
                    device,
                    at,
                    changed,
                });
            }
        }
        places
    }

    /// Which of the places at which the block of an address is `found` is its own, if that can be told: the
    /// others are copies in the journal. It is one of the newest, and those of its neighbours lie beside it.
    fn home(
        &self,
        places: &BTreeMap<u64, Vec<Place>>,
        address: u64,
        found: &[Place],
    ) -> Option<Place> {
        let newest = found.iter().map(|place| place.changed).max()?;
        let step = self.block.min(BLOCK);
        let is_at = |address: Option<u64>, device: usize, at: Option<u64>| {
            let others = address
                .and_then(|address| places.get(&address))
                .into_iter()
                .flatten();
            let mut others = others.map(|other| (other.device, Some(other.at)));
            at.is_some() && others.any(|other| other == (device, at))
        };
        let beside = |place: &Place| {
            let before = is_at(
                address.checked_sub(step),
                place.device,
                place.at.checked_sub(step),
            );
            let behind = is_at(
                address.checked_add(step),
                place.device,
                place.at.checked_add(step),
            );
            [before, behind]
                .into_iter()
                .filter(|beside| *beside)
                .count()
        };
        let newest = found.iter().filter(|place| place.changed == newest);
        let mut ranked: Vec<(usize, Place)> = newest.map(|place| (beside(place), *place)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        match ranked.as_slice() {
            [(_, only)] => Some(*only),
            [(best, place), (next, _), ..] if best > next => Some(*place),
            _ => None,
        }
    }

    /// Where an inode lies in the file system, by where the tables begin.
    fn address(&self, number: u32, tables: &BTreeMap<u32, u64>) -> Option<u64> {
        let index = number.checked_sub(1)?;
        let table = tables.get(&index.checked_div(self.inodes_per_group)?)?;
        let within = u64::from(index.checked_rem(self.inodes_per_group)?);
        table.checked_add(within.checked_mul(self.inode as u64)?)
    }
}

/// What the checksum of the inode in `slot` was begun with behind its number: `None` if it holds none with
/// a whole checksum.
fn stated(slot: &[u8]) -> Option<u32> {
    let fields = Fields::new(slot);
    // i_mode, i_extra_isize, i_checksum_lo, i_checksum_hi, i_generation.
    let is_kind = KINDS.contains(&(fields.le_u16(0)? & FORMAT));
    let extra = usize::from(fields.le_u16(128)?);
    let most = slot.len().checked_sub(128)?;
    (is_kind && (4..=most).contains(&extra) && extra.is_multiple_of(4)).then_some(())?;
    let sum = u32::from(fields.le_u16(130)?) << 16 | u32::from(fields.le_u16(124)?);
    let behind = crc32c_seed(sum, fields.from(132)?.bytes());
    let between = crc32c_seed(crc32c_seed(behind, &[0; 2]), fields.slice(126, 4)?);
    let before = crc32c_seed(crc32c_seed(between, &[0; 2]), fields.slice(0, 124)?);
    Some(crc32c_seed(before, fields.slice(100, 4)?))
}

/// How many blocks a file system has: `s_blocks_count_lo` and, with `64bit`, `s_blocks_count_hi`.
fn blocks(superblock: Fields<'_>) -> Option<u64> {
    let is_wide = superblock.le_u32(96)? & INCOMPAT_64BIT != 0;
    let high = if is_wide {
        u64::from(superblock.le_u32(336)?)
    } else {
        0
    };
    Some(high << 32 | u64::from(superblock.le_u32(4)?))
}

/// A block of inodes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    device: usize,
    at: u64,
    /// When its newest inode changed: `i_ctime`.
    changed: u32,
}

impl Inodes {
    /// Takes note of a superblock copy.
    pub(super) fn look(&mut self, device: usize, at: u64, superblock: Fields<'_>) {
        if self.copies.len() < MOST_COPIES && Layout::of(superblock).is_some() {
            self.copies.insert((device, at));
        }
    }

    /// The file systems, with where their tables begin.
    fn layouts(&self, candidates: &[Candidate]) -> BTreeMap<Layout, BTreeMap<u32, u64>> {
        let mut layouts: BTreeMap<Layout, BTreeMap<u32, u64>> = BTreeMap::new();
        for (device, at) in &self.copies {
            let Some(candidate) = candidates.get(*device) else {
                continue;
            };
            let read = |at: u64, length: u64| {
                let length = length.min(candidate.device.len().saturating_sub(at));
                let length = usize::try_from(length).ok()?;
                candidate.device.read_whole(ByteOffset::new(at), length)
            };
            let superblock = read(*at, 1024).unwrap_or_default();
            let superblock = Fields::new(&superblock);
            let (Some(layout), Some(blocks)) = (Layout::of(superblock), blocks(superblock)) else {
                continue;
            };
            if layouts.len() == MOST_LAYOUTS && !layouts.contains_key(&layout) {
                continue;
            }
            let tables = layouts.entry(layout).or_default();
            // The first copy lies behind 1 KiB of its block.
            let behind = [layout.block, layout.block.saturating_sub(1024)];
            for behind in behind.into_iter().filter(|behind| *behind > 0) {
                let bytes = read(at.saturating_add(behind), DESCRIPTORS).unwrap_or_default();
                for (group, table) in layout.tables(&bytes, blocks) {
                    tables.entry(group).or_insert(table);
                }
            }
        }
        layouts
    }

    /// What the inodes on all devices but the `silent` ones say of places: one of each [`BLOCK`].
    pub(super) fn anchors(
        &self,
        candidates: &[Candidate],
        windows: &[u64],
        silent: Set,
    ) -> Vec<Anchor> {
        let layouts = self.layouts(candidates).into_iter();
        let all = layouts.flat_map(|(layout, tables)| {
            let places = if tables.is_empty() {
                BTreeMap::new()
            } else {
                layout.places(&tables, candidates, windows, silent)
            };
            let homes = places.iter().filter_map(|(address, found)| {
                Some((*address, layout.home(&places, *address, found)?))
            });
            let homes =
                homes.map(|(address, place)| ((place.device, place.at / BLOCK), (address, place)));
            let homes: BTreeMap<_, _> = homes.collect();
            homes
                .into_values()
                .map(move |(address, place)| Anchor {
                    source: Source::Ext(layout.uuid),
                    address,
                    device: place.device,
                    at: place.at,
                    together: Some((place.at, place.at)),
                    stated_on: place.device,
                })
                .collect::<Vec<_>>()
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evidence::view::Memory;

    use super::super::super::sample::windows_of;
    use super::*;
    use crate::document::DeviceName;

    const UUID: [u8; 16] = [0x5E; 16];
    const TABLE: usize = 16 * 4096;

    /// An ext4 whose only table has `count` inodes in use: superblock, descriptor, table.
    fn filesystem(count: u32) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        for (at, value) in [(0, 1024_u32), (4, 256), (24, 2), (32, 32768), (40, 1024)] {
            put(1024 + at, &value.to_le_bytes());
        }
        put(1024 + 56, &0xEF53_u16.to_le_bytes());
        put(1024 + 88, &256_u16.to_le_bytes());
        put(1024 + 96, &INCOMPAT_64BIT.to_le_bytes());
        put(1024 + 100, &RO_COMPAT_METADATA_CSUM.to_le_bytes());
        put(1024 + 104, &UUID);
        put(1024 + 254, &64_u16.to_le_bytes());
        let seed = crc32c(!0, &UUID);
        let mut descriptor = [0; 64];
        descriptor[8..12].copy_from_slice(&16_u32.to_le_bytes());
        let sum = crc32c(crc32c(seed, &0_u32.to_le_bytes()), &descriptor);
        descriptor[30..32].copy_from_slice(&sum.to_le_bytes()[..2]);
        put(4096, &descriptor);
        for number in 1..=count {
            put(
                TABLE + 256 * (number as usize - 1),
                &inode(seed, number, number),
            );
        }
        bytes
    }

    fn inode(seed: u32, number: u32, changed: u32) -> [u8; 256] {
        let mut inode = [0; 256];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[12..16].copy_from_slice(&changed.to_le_bytes());
        inode[100..104].copy_from_slice(&(number * 77).to_le_bytes());
        inode[128..130].copy_from_slice(&32_u16.to_le_bytes());
        let begun = crc32c(crc32c(seed, &number.to_le_bytes()), &inode[100..104]);
        let sum = crc32c(begun, &inode).to_le_bytes();
        inode[124..126].copy_from_slice(&sum[..2]);
        inode[130..132].copy_from_slice(&sum[2..]);
        inode
    }

    /// Device, place and address of what is found on some devices.
    fn found(devices: Vec<Vec<u8>>) -> Vec<(usize, u64, u64)> {
        let mut inodes = Inodes::default();
        let mut candidates = Vec::new();
        for (number, bytes) in devices.into_iter().enumerate() {
            for at in (0..bytes.len()).step_by(1024) {
                inodes.look(number, at as u64, Fields::new(&bytes[at..]));
            }
            let name = DeviceName::disk(&number.to_string());
            candidates.push(Candidate::new(name, Arc::new(Memory::new(bytes))));
        }
        let windows = windows_of(1 << 20, 64);
        let anchors = inodes.anchors(&candidates, &windows, Set::default());
        let mut found: Vec<_> = anchors
            .iter()
            .map(|a| (a.device, a.at, a.address))
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn inodes_state_where_they_lie_on_whichever_device() {
        let whole = filesystem(40);
        // A stripe of the table on another device, further down.
        let mut other = vec![0; 1 << 20];
        let mut one = whole.clone();
        other[9 * 4096..][..4096].copy_from_slice(&whole[TABLE + 4096..][..4096]);
        one[TABLE + 4096..][..4096].fill(0);
        let table = TABLE as u64;
        let own = [
            (0, table, table),
            (0, table + 8192, table + 8192),
            (1, 9 * 4096, table + 4096),
        ];
        assert_eq!(found(vec![one.clone(), other.clone()]), own);
        // Where a bit turned in one, the others of its block say so.
        other[9 * 4096 + 7] ^= 1;
        assert_eq!(found(vec![one.clone(), other.clone()]), own);
        for inode in other[9 * 4096..][..4096].chunks_mut(256) {
            inode[8] ^= 1;
        }
        assert_eq!(found(vec![one, other]), own[..2]);
    }

    #[test]
    fn copies_in_a_journal_are_no_homes() {
        let mut bytes = filesystem(48);
        let table = TABLE as u64;
        let own = [0, 4096, 8192].map(|at| (0, table + at, table + at));
        // One as it is now, and one as it was: inodes that the table has since.
        let now = bytes[TABLE + 4096..][..4096].to_vec();
        bytes[100 * 4096..][..4096].copy_from_slice(&now);
        let seed = crc32c(!0, &UUID);
        bytes[200 * 4096..][..256].copy_from_slice(&inode(seed, 1, 0));
        assert_eq!(found(vec![bytes.clone()]), own);
        // Alone, one of two cannot be told.
        bytes[TABLE..][..4096].fill(0);
        bytes[TABLE + 8192..][..4096].fill(0);
        bytes[200 * 4096..][..256].fill(0);
        assert_eq!(found(vec![bytes]), []);
    }
}
