//! Which inodes are in use, by the inode trees of the groups.
//!
//! A chunk of 64 inodes that was given back keeps on the disk whatever was written there last,
//! in-use modes too; only the tree tells it from one in use. Specification: *Inode B+trees*;
//! kernel: `struct xfs_agi`, `struct xfs_inobt_rec`.

use std::collections::{BTreeMap, HashSet};

use evidence::Fields;

use crate::xfs::ag::FsBlock;
use crate::xfs::checksum::crc_fits;
use crate::xfs::volume::Volume;

/// `XFS_AGI_MAGIC`.
const AGI_MAGIC: &[u8; 4] = b"XAGI";
/// Where `agi_crc` stands.
const AGI_CRC_AT: usize = 312;
/// `XFS_IBT_MAGIC`, `XFS_IBT_CRC_MAGIC`.
const MAGIC_V4: &[u8; 4] = b"IABT";
const MAGIC_V5: &[u8; 4] = b"IAB3";
/// `XFS_BTREE_SBLOCK_LEN`, `XFS_BTREE_SBLOCK_CRC_LEN`.
const HEADER_V4: usize = 16;
const HEADER_V5: usize = 56;
/// Where `bb_crc` and `bb_owner` of a short-form block stand.
const CRC_AT: usize = 52;
const OWNER_AT: usize = 48;
/// `XFS_INODES_PER_CHUNK`.
const PER_CHUNK: u64 = 64;
/// No tree is higher.
const MAX_LEVELS: u32 = 8;

/// Whether an inode is in use, by the trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Taken,
    Free,
    /// The tree of its group cannot be read.
    Unknown,
}

/// The inode trees of all groups.
pub(super) struct Chunks {
    /// Groups whose trees were read whole.
    whole: HashSet<u64>,
    /// `ir_free` by the number of the first inode.
    chunks: BTreeMap<u64, u64>,
    /// How many low bits of an inode number count inside its group.
    bits: u32,
}

impl Chunks {
    /// Reads the trees of `volume`.
    pub(super) fn read(volume: &Volume) -> Self {
        let sb = &volume.sb;
        let bits = u32::from(sb.sb_agblklog).saturating_add(sb.sb_inopblog.into());
        let mut all = Self {
            whole: HashSet::new(),
            chunks: BTreeMap::new(),
            bits,
        };
        for agno in 0..u64::from(sb.sb_agcount) {
            let Some(group) = group(volume, agno) else {
                continue;
            };
            all.whole.insert(agno);
            let first = agno.checked_shl(bits).unwrap_or(0);
            let chunks = group.into_iter();
            all.chunks
                .extend(chunks.map(|(startino, free)| (first | u64::from(startino), free)));
        }
        all
    }

    /// Whether the inode `ino` is in use.
    pub(super) fn standing(&self, ino: u64) -> Use {
        let agno = ino.checked_shr(self.bits).unwrap_or(0);
        if !self.whole.contains(&agno) {
            return Use::Unknown;
        }
        match self.free(ino) {
            Some(false) => Use::Taken,
            _ => Use::Free,
        }
    }

    /// Whether some chunk holds `ino`.
    pub(super) fn claims(&self, ino: u64) -> bool {
        self.free(ino).is_some()
    }

    /// Whether the tree says that `ino` is free; `None` if no chunk holds it.
    fn free(&self, ino: u64) -> Option<bool> {
        let (start, free) = self.chunks.range(..=ino).next_back()?;
        let index = ino.checked_sub(*start).filter(|index| *index < PER_CHUNK)?;
        Some(free.checked_shr(u32::try_from(index).ok()?)? & 1 == 1)
    }

    /// The first inodes of all chunks.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> {
        self.chunks.keys().copied()
    }
}

/// The chunks of one group; `None` unless the whole tree can be read.
fn group(volume: &Volume, agno: u64) -> Option<Vec<(u32, u64)>> {
    let sb = &volume.sb;
    let first = agno.checked_shl(sb.sb_agblklog.into())?;
    let sector = u64::from(sb.sb_sectsize);
    let at = sb
        .run(FsBlock(first), 1)?
        .checked_add(sector.checked_mul(2)?)?;
    let agi = volume.cache.read(at, sb.sb_sectsize.into()).ok()?;
    let fields = Fields::new(&agi);
    if !agi.starts_with(AGI_MAGIC) || fields.be_u32(8).map(u64::from) != Some(agno) {
        return None;
    }
    if sb.has_crc() && (!crc_fits(&agi, AGI_CRC_AT) || fields.array(296) != Some(sb.meta_uuid)) {
        return None;
    }
    let levels = fields.be_u32(24)?;
    if levels == 0 || levels > MAX_LEVELS {
        return None;
    }
    let mut blocks = vec![fields.be_u32(20)?];
    let mut used: HashSet<u32> = HashSet::new();
    let mut chunks = Vec::new();
    for level in (0..levels).rev() {
        let mut below = Vec::new();
        for agbno in blocks {
            if !used.insert(agbno) {
                return None;
            }
            let block = FsBlock(first.checked_add(agbno.into())?);
            node(volume, agno, block, level, &mut below, &mut chunks)?;
        }
        blocks = below;
    }
    // A tree that contradicts the count of its group is not this group's any more.
    let allocated: u32 = fields.be_u32(16)?;
    let most = u64::try_from(chunks.len()).ok()?.checked_mul(PER_CHUNK)?;
    (u64::from(allocated) <= most).then_some(chunks)
}

/// Reads one block of a tree: children of a node, chunks of a leaf.
fn node(
    volume: &Volume,
    agno: u64,
    block: FsBlock,
    level: u32,
    below: &mut Vec<u32>,
    chunks: &mut Vec<(u32, u64)>,
) -> Option<()> {
    let crc = volume.sb.has_crc();
    let (_, bytes) = volume.block(block).ok()?;
    let fields = Fields::new(&bytes);
    let magic = if crc { MAGIC_V5 } else { MAGIC_V4 };
    let header = if crc { HEADER_V5 } else { HEADER_V4 };
    let fits = bytes.starts_with(magic) && fields.be_u16(4).map(u32::from) == Some(level);
    let owned = fields.be_u32(OWNER_AT).map(u64::from) == Some(agno);
    if !fits || (crc && (!owned || !crc_fits(&bytes, CRC_AT))) {
        return None;
    }
    let count = usize::from(fields.be_u16(6)?);
    if level > 0 {
        let room = bytes.len().checked_sub(header)?.checked_div(8)?;
        let pointers = header.checked_add(room.checked_mul(4)?)?;
        let list = fields.slice(pointers, count.checked_mul(4)?)?;
        let numbers = list.chunks_exact(4);
        below.extend(numbers.filter_map(|number| Fields::new(number).be_u32(0)));
        return Some(());
    }
    let list = fields.slice(header, count.checked_mul(16)?)?;
    for record in list.chunks_exact(16) {
        let record = Fields::new(record);
        chunks.push((record.be_u32(0)?, record.be_u64(8)?));
    }
    Some(())
}
