//! What inodes say of places: in which block a file ends, and how much of that block it fills.
//!
//! Behind the end of a file its last block holds zeros, so that block is known by its length
//! wherever it lies. Lengths repeat: each place at which one is found is an anchor, and those
//! that are true agree with each other. Nothing here needs a checksum, a journal or text.
//!
//! Sources: kernel documentation, `Documentation/filesystems/ext4/{inodes,ifork}.rst`; the kernel's
//! `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dinode` and `xfs_bmbt_rec`.

use std::collections::{BTreeMap, BTreeSet};

use evidence::Fields;

use super::super::relations::Set;
use super::super::sample::BLOCK;
use super::{Anchor, MOST_ADDRESS, Source, xfs};

/// Lengths are looked up in so many places; one that is found at more says little.
const MOST_PLACES: usize = 8;

/// A file may end in so many zeros of its own: gzip ends in a length whose upper bytes are zeros.
const OWN_ZEROS: u64 = 2;

/// Most inodes, and ends of files, that are kept.
const MOST_KEPT: usize = 1 << 20;

/// Sizes of inodes are multiples of this.
const SLOT: usize = 128;

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
enum Named {
    /// By its number in an ext file system.
    Ext(u64),
    /// By its number in an XFS of this UUID, which inodes of version 2 do not carry.
    Xfs(u64, Option<[u8; 16]>),
}

/// The last block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    block: Named,
    /// How much of the block the file fills, in bytes.
    filled: u64,
}

/// Where a file ends, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileEnd {
    pub(crate) source: Source,
    /// Where the last block lies in its file system.
    pub(crate) address: u64,
    filled: u64,
    /// The device that the inode is on.
    stated_on: usize,
}

/// Inodes, and blocks that look like ends of files.
#[derive(Default)]
pub(super) struct Ends {
    /// What inodes state, with the device that they are on.
    stated: Vec<(usize, End)>,
    /// Device and place of blocks, by how many bytes lie before the zeros at their ends.
    places: BTreeMap<u64, Vec<(usize, u64)>>,
    kept: usize,
}

impl Ends {
    /// Looks at a block of a device.
    pub(super) fn look(&mut self, device: usize, at: u64, block: &[u8]) {
        if self.kept.max(self.stated.len()) >= MOST_KEPT {
            return;
        }
        if let Some(filled) = filled_of(block) {
            self.places.entry(filled).or_default().push((device, at));
            self.kept = self.kept.saturating_add(1);
        }
        for start in (0..block.len()).step_by(SLOT) {
            let end = Fields::new(block).from(start).and_then(end);
            self.stated.extend(end.map(|end| (device, end)));
        }
    }

    /// What is stated on all devices but the `silent` ones.
    pub(super) fn stated(&self, sizes: &BTreeSet<xfs::Sizes>, silent: Set) -> Vec<FileEnd> {
        let heard = self.stated.iter().filter(|(on, _)| !silent.has(*on));
        let resolved = heard.filter_map(|(device, end)| {
            let (source, address) = end.block.resolve(sizes)?;
            Some(FileEnd {
                source,
                address,
                filled: end.filled,
                stated_on: *device,
            })
        });
        let mut all: Vec<FileEnd> = resolved.filter(|end| end.address < MOST_ADDRESS).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The anchors on all devices but the `silent` ones.
    pub(super) fn anchors(&self, sizes: &BTreeSet<xfs::Sizes>, silent: Set) -> Vec<Anchor> {
        let mut anchors = Vec::new();
        for end in self.stated(sizes, silent) {
            let places = end.lengths().filter_map(|filled| self.places.get(&filled));
            let places = places.flatten().filter(|(on, _)| !silent.has(*on));
            let places: Vec<&(usize, u64)> = places.take(MOST_PLACES.saturating_add(1)).collect();
            if places.len() > MOST_PLACES {
                continue;
            }
            anchors.extend(places.into_iter().map(|(on, at)| Anchor {
                source: end.source,
                address: end.address,
                device: *on,
                at: *at,
                together: None,
                stated_on: end.stated_on,
            }));
        }
        anchors
    }
}

impl FileEnd {
    /// How many bytes may lie before the zeros at the end of the block.
    fn lengths(&self) -> impl Iterator<Item = u64> {
        let filled = self.filled;
        (0..=OWN_ZEROS).filter_map(move |zeros| filled.checked_sub(zeros))
    }

    /// Whether `block` may be the one in which the file ends.
    pub(crate) fn fits(&self, block: &[u8]) -> bool {
        filled_of(block).is_some_and(|filled| self.lengths().any(|length| length == filled))
    }
}

/// How many bytes lie before the zeros at the end of a block, if there are any.
fn filled_of(block: &[u8]) -> Option<u64> {
    let last = block.iter().rposition(|byte| *byte != 0)? as u64;
    Some(last.saturating_add(1)).filter(|filled| *filled < BLOCK)
}

impl Named {
    /// The file system, and the address in bytes.
    fn resolve(self, sizes: &BTreeSet<xfs::Sizes>) -> Option<(Source, u64)> {
        match self {
            Self::Ext(block) => Some((Source::Files(OF_EXT), block.checked_mul(BLOCK)?)),
            Self::Xfs(block, uuid) => {
                let fits = |sizes: &&xfs::Sizes| match uuid {
                    Some(uuid) => sizes.uuid() == uuid,
                    None => !sizes.states_addresses(),
                };
                let mut fitting = sizes.iter().filter(fits);
                let only = fitting.next().filter(|_| fitting.next().is_none())?;
                Some((Source::Files(only.uuid()), only.block(block)?))
            }
        }
    }
}

/// What the slot at the start of `bytes` says, if it holds the inode of a regular file whose
/// last block is not full.
fn end(bytes: Fields<'_>) -> Option<End> {
    if bytes.be_u16(0)? == XFS_INODE {
        return xfs_end(bytes);
    }
    // i_mode, i_dtime, i_links_count.
    let is_file = bytes.le_u16(0)? & FORMAT == REGULAR;
    let is_used = bytes.le_u32(20)? == 0 && (1..1000).contains(&bytes.le_u16(26)?);
    (is_file && is_used).then_some(())?;
    // i_size_lo, i_size_high.
    let size = u64::from(bytes.le_u32(108)?).checked_shl(32)? | u64::from(bytes.le_u32(4)?);
    let blocks = size.div_ceil(BLOCK);
    let body = bytes.from(40)?;
    let block = match bytes.le_u32(32)? & EXTENTS {
        0 => mapped(bytes, body, blocks)?,
        _ => extent(body, blocks)?,
    };
    filled(size, Named::Ext(block))
}

fn filled(size: u64, block: Named) -> Option<End> {
    let filled = size % BLOCK;
    (filled > 0).then_some(End { block, filled })
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
fn mapped(inode: Fields<'_>, body: Fields<'_>, blocks: u64) -> Option<u64> {
    let sectors = blocks.checked_mul(BLOCK / 512)?;
    // i_blocks_lo.
    let is_whole = u64::from(inode.le_u32(28)?) == sectors && (1..=DIRECT).contains(&blocks);
    is_whole.then_some(())?;
    let pointer = |number: u64| body.le_u32(usize::try_from(number.checked_mul(4)?).ok()?);
    let fits = |number: u64| pointer(number).is_some_and(|at| (at != 0) == (number < blocks));
    (0..POINTERS).all(fits).then_some(())?;
    pointer(blocks.checked_sub(1)?).map(u64::from)
}

/// What an inode of XFS says whose extents it holds itself.
fn xfs_end(bytes: Fields<'_>) -> Option<End> {
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
    (is_written && length > 0 && ends == size.div_ceil(BLOCK)).then_some(())?;
    filled(
        size,
        Named::Xfs(start.checked_add(length)?.checked_sub(1)?, uuid),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_of_ext4_names_the_last_block_of_its_file() {
        let mut inode = vec![0; 256];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[4..8].copy_from_slice(&(2 * 4096_u32 + 700).to_le_bytes());
        inode[26] = 1;
        inode[32..36].copy_from_slice(&EXTENTS.to_le_bytes());
        inode[40..42].copy_from_slice(&EXTENT_MAGIC.to_le_bytes());
        inode[42] = 1;
        inode[56] = 3;
        inode[60..64].copy_from_slice(&9000_u32.to_le_bytes());
        let found = end(Fields::new(&inode));
        let block = Named::Ext(9002);
        assert_eq!(found, Some(End { block, filled: 700 }));
        // An extent that ends elsewhere than the file is not the last.
        inode[56] = 2;
        assert_eq!(end(Fields::new(&inode)), None);
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
        let block = Named::Ext(71);
        let found = end(Fields::new(&inode));
        assert_eq!(found, Some(End { block, filled: 904 }));
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
        let block = Named::Xfs(0x1235, None);
        let found = end(Fields::new(&inode));
        assert_eq!(found, Some(End { block, filled: 1 }));
    }

    #[test]
    fn every_place_of_a_length_is_an_anchor() {
        let mut ends = Ends::default();
        let mut block = vec![1; 4096];
        block[300..].fill(0);
        ends.look(3, 8192, &block);
        ends.look(4, 4096, &block);
        let block = Named::Ext(5);
        ends.stated.push((1, End { block, filled: 301 }));
        let anchors = ends.anchors(&BTreeSet::new(), Set::default());
        let places: Vec<_> = anchors
            .iter()
            .map(|a| (a.device, a.at, a.address))
            .collect();
        assert_eq!(places, [(3, 8192, 5 * 4096), (4, 4096, 5 * 4096)]);
        let silent = [4].into_iter().collect();
        assert_eq!(ends.anchors(&BTreeSet::new(), silent).len(), 1);
    }
}
