//! The sizes of an XFS of which no superblock is left.
//!
//! The number of a block holds the number of its AG in its upper bits, which is as many times the
//! size of an AG away as it says. So that size follows from blocks of which both is known, the number
//! and the place: the only block of a directory, which its inode names and which states its own
//! address and whose it is; and inodes that the log names (`xfs_inode_log_format`).
//!
//! mkfs gives four AGs to all but the largest file systems, and their superblocks may all lie on one
//! member of an array: each AG begins in the same column if its size is a multiple of a row's.
//!
//! Source: the kernel's `fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h` and `xfs_log_format.h`, by
//! their names.

use std::collections::{BTreeMap, BTreeSet};

use evidence::Fields;

use super::super::sample::BLOCK;
use super::xfs::{INODE, SECTOR, Sizes};

/// Most of each that are kept.
const MOST_KEPT: usize = 1 << 16;

/// Fewer blocks in AGs behind the first one, of which number and place are known, say nothing; and
/// of ten so many must agree.
const LEAST: usize = 3;
const AGREE_IN_10: usize = 9;

/// `sb_agblklog` of the smallest and the largest AGs.
const AGBLKLOG: std::ops::RangeInclusive<u32> = 6..=31;

/// Sizes of inodes.
const INODES: [u64; 4] = [256, 512, 1024, 2048];

/// `S_IFMT` and `S_IFDIR` of a mode, and `XFS_DINODE_FMT_EXTENTS`.
const FORMAT: u16 = 0xF000;
const DIRECTORY: u16 = 0x4000;
const EXTENTS: u8 = 2;

type Uuid = [u8; 16];

/// A block whose number and place are known, both in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    number: u64,
    block: u64,
}

/// What was seen of blocks whose numbers are known.
#[derive(Debug, Default)]
pub(super) struct Clues {
    /// The block that the inode of a directory names as its only one.
    named: BTreeMap<(Uuid, u64), u64>,
    /// The only blocks of directories: whose they are, and their addresses in bytes.
    blocks: BTreeSet<(Uuid, u64, u64)>,
}

impl Clues {
    /// Looks at what begins in a sector.
    pub(super) fn look(&mut self, bytes: Fields<'_>) {
        if let Some((of, block)) = named(bytes)
            && self.named.len() < MOST_KEPT
        {
            self.named.insert(of, block);
        } else if let Some(block) = only_block(bytes)
            && self.blocks.len() < MOST_KEPT
        {
            self.blocks.insert(block);
        }
    }

    /// The sizes of the file system of `uuid`, whose blocks state their addresses if `states` says
    /// so, and of which a log names these inodes, with their addresses in bytes.
    pub(super) fn sizes(&self, uuid: Uuid, states: bool, logged: &[(u64, u64)]) -> Option<Sizes> {
        let usual = if states { 512 } else { 256 };
        let inode = inode_size(logged).unwrap_or(usual);
        let inopblog = BLOCK.checked_div(inode)?.checked_ilog2()?;
        let of_blocks = self.blocks.iter().filter(|(of, ..)| *of == uuid);
        let of_blocks = of_blocks.filter_map(|(of, owner, address)| {
            Some(Known {
                number: *self.named.get(&(*of, *owner))?,
                block: address / BLOCK,
            })
        });
        let of_inodes = logged.iter().map(|(number, address)| Known {
            number: number >> inopblog,
            block: address / BLOCK,
        });
        let known: BTreeSet<Known> = of_blocks.chain(of_inodes).collect();
        let (agblklog, ag_blocks) = groups(&known)?;
        Some(Sizes {
            block: BLOCK,
            sector: SECTOR,
            inode,
            ag_blocks,
            inopblog,
            agblklog,
            inode_uuid: uuid,
            version: if states { 5 } else { 4 },
        })
    }
}

/// The inode of a directory with one block, and that block: `xfs_dinode` of version 3.
fn named(bytes: Fields<'_>) -> Option<((Uuid, u64), u64)> {
    // di_magic, di_mode, di_version, di_format.
    let is_directory = bytes.be_u16(0)? == INODE
        && bytes.be_u16(2)? & FORMAT == DIRECTORY
        && bytes.u8(4)? == 3
        && bytes.u8(5)? == EXTENTS;
    // di_size, and the one record behind the core, `xfs_bmbt_rec`, with its length.
    (is_directory && bytes.be_u64(56)? == BLOCK).then_some(())?;
    let (high, low) = (bytes.be_u64(176)?, bytes.be_u64(184)?);
    (high >> 9 == 0 && low & ((1 << 21) - 1) == 1).then_some(())?;
    let block = (high & 0x1FF) << 43 | low >> 21;
    // di_uuid, di_ino.
    Some(((bytes.array(160)?, bytes.be_u64(152)?), block))
}

/// The only block of a directory, `xfs_dir3_blk_hdr`: its file system, its owner, its address.
fn only_block(bytes: Fields<'_>) -> Option<(Uuid, u64, u64)> {
    (bytes.array::<4>(0)? == *b"XDB3").then_some(())?;
    let address = bytes.be_u64(8)?.checked_mul(SECTOR)?;
    Some((bytes.array(24)?, bytes.be_u64(40)?, address))
}

/// How long inodes are by the places of some: they lie one after the other in their block.
fn inode_size(logged: &[(u64, u64)]) -> Option<u64> {
    let fits = |size: u64, (number, address): (u64, u64)| {
        let index = number.checked_rem(BLOCK.checked_div(size)?)?;
        (address % BLOCK == index.checked_mul(size)?).then_some(())
    };
    let enough = |size: &u64| {
        let count = logged.iter().filter(|one| fits(*size, **one).is_some());
        is_most(count.count(), logged.len())
    };
    INODES.into_iter().find(enough)
}

/// Whether so many of `all` say enough.
const fn is_most(count: usize, all: usize) -> bool {
    count >= LEAST && count.saturating_mul(10) >= all.saturating_mul(AGREE_IN_10)
}

/// How many bits of a block's number say where in its AG it is, and how many blocks an AG has.
///
/// With a bit more an AG would be twice as long, and those of even numbers half as many: of those
/// that agree with all that is known the largest is taken, which needs the fewest AGs.
fn groups(known: &BTreeSet<Known>) -> Option<(u32, u64)> {
    AGBLKLOG.rev().find_map(|agblklog| {
        let most = 1_u64.checked_shl(agblklog)?;
        let first = known.iter().filter(|one| one.number < most);
        let first = first.filter(|one| one.number == one.block).count();
        let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
        for size in known.iter().filter_map(|one| one.group_size(agblklog)) {
            let count = votes.entry(size).or_default();
            *count = count.saturating_add(1);
        }
        let (size, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        let agree = is_most(count.saturating_add(first), known.len());
        (count >= LEAST && agree).then_some((agblklog, size))
    })
}

impl Known {
    /// How many blocks an AG has by this one, if it is in none but the first: `agblklog` bits of its
    /// number say where in its AG it is.
    fn group_size(self, agblklog: u32) -> Option<u64> {
        let most = 1_u64.checked_shl(agblklog)?;
        let (group, inside) = (
            self.number.checked_div(most)?,
            self.number.checked_rem(most)?,
        );
        let before = self.block.checked_sub(inside)?;
        let size = before.checked_div(group)?;
        let is_whole = before.checked_rem(group)? == 0;
        let fits = is_whole && inside < size && size.checked_next_power_of_two()? == most;
        fits.then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(agblklog: u32, ag_blocks: u64, of: &[(u64, u64)]) -> BTreeSet<Known> {
        let one = |(group, inside): &(u64, u64)| Known {
            number: group << agblklog | inside,
            block: group * ag_blocks + inside,
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn the_size_of_groups_follows_from_blocks_in_them() {
        let blocks = [(0, 40), (1, 8), (1, 16_000), (2, 77), (3, 20_000), (3, 12)];
        let mut all = known(15, 20_480, &blocks);
        assert_eq!(groups(&all), Some((15, 20_480)));
        // Blocks in the first AG alone do not tell.
        assert_eq!(
            groups(&known(15, 20_480, &[(0, 1), (0, 2), (0, 3), (0, 9)])),
            None
        );
        // What agrees with nothing.
        all.extend((0..6).map(|n| Known {
            number: 70_000 + n * n,
            block: 5 * n,
        }));
        assert_eq!(groups(&all), None);
    }

    #[test]
    fn a_log_tells_how_long_inodes_are() {
        let inode = |number: u64| (number, 80 * BLOCK + number % 16 * 256 + number / 16 * BLOCK);
        let logged: Vec<(u64, u64)> = (3..20).map(inode).collect();
        assert_eq!(inode_size(&logged), Some(256));
        assert_eq!(inode_size(&[]), None);
        let inode = |number: u64| {
            let group = 1 + number % 3;
            let number = 64 + number;
            let address = (group * 5000 + (number >> 4)) * BLOCK + number % 16 * 256;
            (group << (13 + 4) | number, address)
        };
        let logged: Vec<(u64, u64)> = (0..40).map(inode).collect();
        let sizes = Clues::default().sizes([7; 16], false, &logged).unwrap();
        assert_eq!(sizes.inode(1 << 17 | 64), Some(5004 * BLOCK));
        assert_eq!(sizes.block(2 << 13 | 9), Some(10_009 * BLOCK));
    }
}
