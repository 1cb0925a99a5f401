//! What inodes say of places: in which block a file ends, and how much of that block it fills.
//!
//! Sources: kernel documentation, `Documentation/filesystems/ext4/{inodes,ifork}.rst`; the kernel's
//! `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dinode` and `xfs_bmbt_rec`.

use std::collections::BTreeSet;

use evidence::Fields;

use super::super::sample::BLOCK;
use super::{Source, xfs};

/// File systems have blocks of these sizes, in bytes.
pub(super) const BLOCKS: [u64; 3] = [1024, 2048, BLOCK];

/// Sizes of inodes are multiples of this.
pub(super) const SLOT: usize = 128;

/// `S_IFMT` and `S_IFREG` of a mode.
const FORMAT: u16 = 0xF000;
const REGULAR: u16 = 0x8000;

/// `EXT4_EXTENTS_FL` and `EXT4_EXT_MAGIC`; blocks that an inode names without extents.
const EXTENTS: u32 = 0x80000;
const EXTENT_MAGIC: u16 = 0xF30A;
const DIRECT: u64 = 12;
const POINTERS: u64 = 15;

/// `XFS_DINODE_MAGIC`, `XFS_DINODE_FMT_EXTENTS` and `XFS_DIFLAG2_NREXT64`.
const XFS_INODE: u16 = 0x494E;
const XFS_EXTENTS: u8 = 2;
const XFS_MANY_EXTENTS: u64 = 1 << 4;

/// What stands for the UUID of ext file systems, which their inodes do not name.
pub(super) const OF_EXT: [u8; 16] = [0; 16];

/// How an inode names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// By its number in an ext file system.
    Ext(u64),
    /// By its number in an XFS of this UUID, which inodes of version 2 do not carry.
    Xfs(u64, Option<[u8; 16]>),
}

/// The last block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    block: Named,
    /// How long blocks are, one of [`BLOCKS`].
    pub(super) block_bytes: u64,
    /// How much of the block the file fills, in bytes.
    pub(super) filled: u64,
}

impl End {
    /// The file system, and where in it the block lies.
    pub(super) fn resolve(&self, sizes: &BTreeSet<xfs::Sizes>) -> Option<(Source, u64)> {
        match self.block {
            Named::Ext(block) => {
                Some((Source::Files(OF_EXT), block.checked_mul(self.block_bytes)?))
            }
            Named::Xfs(block, uuid) => {
                let fits = |sizes: &&xfs::Sizes| match uuid {
                    Some(uuid) => sizes.uuid() == uuid,
                    None => !sizes.states_addresses(),
                };
                let mut fitting = sizes.iter().filter(fits);
                let only = fitting.next().filter(|_| fitting.next().is_none())?;
                // A file of one block may be one of several lengths.
                (only.block == self.block_bytes).then_some(())?;
                Some((Source::Files(only.uuid()), only.block(block)?))
            }
        }
    }
}

/// What the slot at the start of `bytes` says, if it holds the inode of a regular file whose
/// last block is not full: for each length that blocks may have.
pub(super) fn ends(bytes: Fields<'_>) -> impl Iterator<Item = End> {
    let is_xfs = bytes.be_u16(0) == Some(XFS_INODE);
    let end = move |block_bytes| {
        if is_xfs {
            xfs_end(bytes, block_bytes)
        } else {
            ext_end(bytes, block_bytes)
        }
    };
    BLOCKS.into_iter().filter_map(end)
}

/// What an inode of ext says, if blocks are so long.
fn ext_end(bytes: Fields<'_>, block_bytes: u64) -> Option<End> {
    // i_mode, i_dtime, i_links_count.
    let is_file = bytes.le_u16(0)? & FORMAT == REGULAR;
    let is_used = bytes.le_u32(20)? == 0 && (1..1000).contains(&bytes.le_u16(26)?);
    (is_file && is_used).then_some(())?;
    // i_size_lo, i_size_high.
    let size = u64::from(bytes.le_u32(108)?).checked_shl(32)? | u64::from(bytes.le_u32(4)?);
    let blocks = size.div_ceil(block_bytes);
    let sectors = blocks.checked_mul(block_bytes / xfs::SECTOR)?;
    // i_blocks_lo: a block of attributes, or of a tree of extents, is counted too. Of a short file it
    // alone says how long blocks are.
    let counted = u64::from(bytes.le_u32(28)?);
    let is_counted = counted == sectors || (block_bytes == BLOCK && counted > sectors);
    is_counted.then_some(())?;
    let body = bytes.from(40)?;
    let block = match bytes.le_u32(32)? & EXTENTS {
        0 if counted == sectors => mapped(body, blocks)?,
        0 => return None,
        _ => extent(body, blocks)?,
    };
    filled(size, block_bytes, Named::Ext(block))
}

fn filled(size: u64, block_bytes: u64, block: Named) -> Option<End> {
    let filled = size.checked_rem(block_bytes)?;
    (filled > 0).then_some(End {
        block,
        block_bytes,
        filled,
    })
}

/// The last block by a tree of extents without branches, if that ends with the file.
fn extent(body: Fields<'_>, blocks: u64) -> Option<u64> {
    // eh_magic, eh_entries, eh_depth; ee_block, ee_len, ee_start_hi, ee_start_lo.
    let entries = body.le_u16(2)?;
    let is_leaf = body.le_u16(0)? == EXTENT_MAGIC && body.le_u16(6)? == 0;
    (is_leaf && (1..=4).contains(&entries)).then_some(())?;
    let last = body.from(usize::from(entries).checked_mul(12)?)?;
    let length = u64::from(last.le_u16(4)?);
    let ends = u64::from(last.le_u32(0)?).checked_add(length)?;
    // Longer extents are not written yet.
    ((1..=32768).contains(&length) && ends == blocks).then_some(())?;
    let start = u64::from(last.le_u16(6)?) << 32 | u64::from(last.le_u32(8)?);
    start.checked_add(length)?.checked_sub(1)
}

/// The last block by the list of ext2 and ext3, if that is all there is.
fn mapped(body: Fields<'_>, blocks: u64) -> Option<u64> {
    (1..=DIRECT).contains(&blocks).then_some(())?;
    let pointer = |number: u64| body.le_u32(usize::try_from(number.checked_mul(4)?).ok()?);
    let fits = |number: u64| pointer(number).is_some_and(|at| (at != 0) == (number < blocks));
    (0..POINTERS).all(fits).then_some(())?;
    pointer(blocks.checked_sub(1)?).map(u64::from)
}

/// What an inode of XFS says whose extents it holds itself, if blocks are so long.
fn xfs_end(bytes: Fields<'_>, block_bytes: u64) -> Option<End> {
    let is_file = bytes.be_u16(2)? & FORMAT == REGULAR && bytes.u8(5)? == XFS_EXTENTS;
    is_file.then_some(())?;
    // di_size, di_nextents, di_flags2, di_big_nextents, di_uuid.
    let size = bytes.be_u64(56)?;
    let (count, fork, uuid) = match bytes.u8(4)? {
        2 => (u64::from(bytes.be_u32(76)?), 100, None),
        3 if bytes.be_u64(120)? & XFS_MANY_EXTENTS != 0 => {
            (bytes.be_u64(24)?, 176, Some(bytes.array(160)?))
        }
        3 => (u64::from(bytes.be_u32(76)?), 176, Some(bytes.array(160)?)),
        _ => return None,
    };
    (1..=20).contains(&count).then_some(())?;
    let last = usize::try_from(count.checked_sub(1)?)
        .ok()?
        .checked_mul(16)?;
    let record = bytes.from(last.checked_add(fork)?)?;
    let (high, low) = (record.be_u64(0)?, record.be_u64(8)?);
    let length = low & ((1 << 21) - 1);
    let start = (high & 0x1FF) << 43 | low >> 21;
    let is_written = high >> 63 == 0;
    let ends = (high >> 9).checked_add(length)?;
    (is_written && length > 0 && ends == size.div_ceil(block_bytes)).then_some(())?;
    let last = start.checked_add(length)?.checked_sub(1)?;
    filled(size, block_bytes, Named::Xfs(last, uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end for blocks of 4 KiB, and whether it is the only one.
    fn only(inode: &[u8]) -> Option<(Named, u64)> {
        let all: Vec<End> = ends(Fields::new(inode)).collect();
        let [end] = all.as_slice() else { return None };
        assert_eq!(end.block_bytes, 4096);
        Some((end.block, end.filled))
    }

    #[test]
    fn an_inode_of_ext4_names_the_last_block_of_its_file() {
        let mut inode = vec![0; 256];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[4..8].copy_from_slice(&(2 * 4096_u32 + 700).to_le_bytes());
        inode[26] = 1;
        inode[28] = 24;
        inode[32..36].copy_from_slice(&EXTENTS.to_le_bytes());
        inode[40..42].copy_from_slice(&EXTENT_MAGIC.to_le_bytes());
        inode[42] = 1;
        inode[56] = 3;
        inode[60..64].copy_from_slice(&9000_u32.to_le_bytes());
        assert_eq!(only(&inode), Some((Named::Ext(9002), 700)));
        // An extent that ends elsewhere than the file is not the last.
        inode[56] = 2;
        assert_eq!(only(&inode), None);
    }

    #[test]
    fn an_inode_of_ext3_names_the_last_block_of_its_file() {
        let mut inode = vec![0; 128];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[4..8].copy_from_slice(&5000_u32.to_le_bytes());
        inode[26] = 1;
        inode[28] = 16;
        inode[40..44].copy_from_slice(&70_u32.to_le_bytes());
        inode[44..48].copy_from_slice(&71_u32.to_le_bytes());
        assert_eq!(only(&inode), Some((Named::Ext(71), 904)));
    }

    #[test]
    fn the_count_of_sectors_says_how_long_the_blocks_of_a_short_file_are() {
        let mut inode = vec![0; 128];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[4..8].copy_from_slice(&900_u32.to_le_bytes());
        inode[26] = 1;
        inode[32..36].copy_from_slice(&EXTENTS.to_le_bytes());
        inode[40..42].copy_from_slice(&EXTENT_MAGIC.to_le_bytes());
        inode[42] = 1;
        inode[56] = 1;
        inode[60..64].copy_from_slice(&9000_u32.to_le_bytes());
        for (sectors, block_bytes) in [(2, 1024), (4, 2048), (8, 4096)] {
            inode[28] = sectors;
            let all: Vec<End> = ends(Fields::new(&inode)).collect();
            let block = Named::Ext(9000);
            let filled = 900;
            let end = End {
                block,
                block_bytes,
                filled,
            };
            assert_eq!(all, [end]);
        }
    }

    #[test]
    fn an_inode_of_xfs_names_the_last_block_of_its_file() {
        let mut inode = vec![0; 256];
        inode[..2].copy_from_slice(b"IN");
        inode[2..4].copy_from_slice(&0x81A4_u16.to_be_bytes());
        inode[4..6].copy_from_slice(&[2, XFS_EXTENTS]);
        inode[56..64].copy_from_slice(&4097_u64.to_be_bytes());
        inode[79] = 1;
        let (start, length) = (0x1234_u64, 2_u64);
        inode[108..116].copy_from_slice(&(start << 21 | length).to_be_bytes());
        assert_eq!(only(&inode), Some((Named::Xfs(0x1235, None), 1)));
    }
}
