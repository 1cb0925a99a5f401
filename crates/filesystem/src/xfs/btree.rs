//! The tree of a data fork that has more extents than fit into the inode.
//!
//! The root stands in the inode (`struct xfs_bmdr_block`), the other blocks are long-form
//! B+tree blocks (`struct xfs_btree_block`, `bb_u.l`). Specification: *B+tree Extent List*.

use std::collections::HashSet;
use std::ops::Range;

use evidence::{ByteOffset, Cause, Fields};

use super::ag::FsBlock;
use super::checksum::{self, BTREE_LONG};
use super::extent::{END_OF_FILE_BLOCKS, Map, RECORD_BYTES, records};
use super::inode::Dinode;
use super::superblock::Superblock;
use super::volume::{Volume, corrupt};
use crate::Inode;

/// `XFS_BMAP_MAGIC`: `BMAP`, version 4.
const BMAP_MAGIC: u32 = 0x424D_4150;
/// `XFS_BMAP_CRC_MAGIC`: `BMA3`, version 5.
const BMAP_CRC_MAGIC: u32 = 0x424D_4133;
/// `XFS_BTREE_LBLOCK_LEN` and `XFS_BTREE_LBLOCK_CRC_LEN`: where the records begin.
const HEADER_V4: usize = 24;
const HEADER_V5: usize = 72;
/// `bb_level` and `bb_numrecs` of the root in the inode.
const ROOT_HEADER: usize = 4;
/// A key and a pointer are as long as a record.
const KEY_BYTES: usize = 8;
/// No tree is higher: 2^48 extents in blocks of the smallest size need fewer levels.
const MAX_LEVELS: u16 = 12;
/// `NULLFSBLOCK`: no sibling.
const NULLFSBLOCK: u64 = u64::MAX;

/// A block of the tree, as its parent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    block: FsBlock,
    /// The blocks of the file whose records are below it.
    range: Range<u64>,
}

/// The map that the tree of `inode` holds.
pub(super) fn map(volume: &Volume, inode: &Inode, dinode: &Dinode<'_>) -> Map {
    let mut walk = Walk {
        volume,
        inode,
        used: HashSet::new(),
        map: Map::default(),
    };
    match root(dinode.fork) {
        Ok((level, children)) => walk.descend(level, children.into_iter().map(Some).collect()),
        Err(why) => walk.lose(&(0..END_OF_FILE_BLOCKS), inode.place, corrupt(why)),
    }
    let mut map = walk.map;
    map.lost.sort_by_key(|range| range.start);
    let found = map.records.len() as u64;
    if map.lost.is_empty() && found != dinode.di_nextents {
        let why = format!(
            "the tree holds {found} extents, the inode says {}",
            dinode.di_nextents
        );
        let what = format!("map of inode {}", inode.number);
        map.losses
            .push(volume.loss(what, inode.place, corrupt(why)));
        map.holes_doubted = true;
    }
    map
}

/// The level of the root and what is below it.
fn root(fork: &[u8]) -> Result<(u16, Vec<Child>), String> {
    let fields = Fields::new(fork);
    let (Some(bb_level), Some(bb_numrecs), Some(body)) =
        (fields.be_u16(0), fields.be_u16(2), fork.get(ROOT_HEADER..))
    else {
        return Err("the root of its tree is cut short".to_owned());
    };
    if bb_level == 0 || bb_level > MAX_LEVELS {
        return Err(format!("its tree cannot have {bb_level} levels"));
    }
    let children = children(body, bb_numrecs, &(0..END_OF_FILE_BLOCKS))?;
    Ok((bb_level, children))
}

/// The children that the keys and pointers in `body` name, all inside `range`.
fn children(body: &[u8], bb_numrecs: u16, range: &Range<u64>) -> Result<Vec<Child>, String> {
    let room = body.len() / RECORD_BYTES;
    let count = usize::from(bb_numrecs);
    if count == 0 || count > room {
        return Err(format!("a node has {count} children of at most {room}"));
    }
    let fields = Fields::new(body);
    let pointers = room.saturating_mul(KEY_BYTES);
    let number = |from: usize, index: usize| {
        fields.be_u64(index.saturating_mul(KEY_BYTES).saturating_add(from))
    };
    let mut all: Vec<Child> = Vec::with_capacity(count);
    for index in 0..count {
        let (Some(key), Some(pointer)) = (number(0, index), number(pointers, index)) else {
            return Err("a node is cut short".to_owned());
        };
        let least = match all.last_mut() {
            Some(last) => {
                last.range.end = key;
                last.range.start.saturating_add(1)
            }
            None => range.start,
        };
        if key < least || key >= range.end {
            return Err("the keys of a node are out of order or of their range".to_owned());
        }
        all.push(Child {
            block: FsBlock(pointer),
            range: key..range.end,
        });
    }
    Ok(all)
}

/// A tree while it is read, level by level from the root.
struct Walk<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    /// Blocks that were read: a tree that comes back to one has no end.
    used: HashSet<FsBlock>,
    map: Map,
}

impl Walk<'_> {
    /// Reads all that is below `nodes`, whose parents have the level `level`. `None` among them
    /// stands for any number of blocks that a lost parent would have named.
    fn descend(&mut self, level: u16, mut nodes: Vec<Option<Child>>) {
        for level in (0..level).rev() {
            let mut below = Vec::new();
            let mut left = Some(NULLFSBLOCK);
            for (index, node) in nodes.iter().enumerate() {
                let Some(node) = node else {
                    below.push(None);
                    left = None;
                    continue;
                };
                let right = match index.checked_add(1).and_then(|next| nodes.get(next)) {
                    None => Some(NULLFSBLOCK),
                    Some(next) => next.as_ref().map(|next| next.block.0),
                };
                match self.read(node, level, [left, right]) {
                    Ok(children) => below.extend(children.into_iter().map(Some)),
                    Err(cause) => {
                        let at = self.volume.sb.run(node.block, 1);
                        self.lose(&node.range, at.unwrap_or(self.inode.place), cause);
                        below.push(None);
                    }
                }
                left = Some(node.block.0);
            }
            nodes = below;
        }
    }

    /// Reads one block: a leaf's records go into the map, a node's children are given.
    fn read(
        &mut self,
        node: &Child,
        level: u16,
        siblings: [Option<u64>; 2],
    ) -> Result<Vec<Child>, Cause> {
        if !self.used.insert(node.block) {
            return Err(corrupt("another part of the tree is in the same block"));
        }
        let sb = &self.volume.sb;
        let (at, block) = self.volume.block(node.block)?;
        let bb_numrecs = header(sb, &block, level, siblings).map_err(Cause::Corrupt)?;
        if sb.has_crc() {
            let expected = self.volume.expected(at, self.inode.number);
            checksum::check(&block, BTREE_LONG, expected)
                .map_err(|doubt| Cause::Corrupt(doubt.describe()))?;
        }
        let start = if sb.has_crc() { HEADER_V5 } else { HEADER_V4 };
        let body = block.get(start..).unwrap_or_default();
        if level > 0 {
            return children(body, bb_numrecs, &node.range).map_err(Cause::Corrupt);
        }
        let length = usize::from(bb_numrecs).saturating_mul(RECORD_BYTES);
        let list = body
            .get(..length)
            .ok_or_else(|| corrupt("more extents than fit into it"))?;
        let mut found = records(list, &node.range, sb).map_err(Cause::Corrupt)?;
        self.map.records.append(&mut found);
        Ok(Vec::new())
    }

    /// Notes that the records of `range`, which should have been at `at`, are lost.
    fn lose(&mut self, range: &Range<u64>, at: ByteOffset, cause: Cause) {
        let what = format!(
            "map of inode {}, blocks {} to {} of the file",
            self.inode.number, range.start, range.end
        );
        self.map.losses.push(self.volume.loss(what, at, cause));
        self.map.lost.push(range.clone());
    }
}

/// `bb_numrecs` of a block, if its magic, level and siblings are what its parent makes of it.
///
/// A sibling of another number means that the parent is older or newer than the block: records
/// may have moved, and a hole need not be one.
fn header(
    sb: &Superblock,
    block: &[u8],
    level: u16,
    siblings: [Option<u64>; 2],
) -> Result<u16, String> {
    let fields = Fields::new(block);
    let magic = if sb.has_crc() {
        BMAP_CRC_MAGIC
    } else {
        BMAP_MAGIC
    };
    if fields.be_u32(0) != Some(magic) {
        return Err("it is no block of an extent tree".to_owned());
    }
    if fields.be_u16(4) != Some(level) {
        return Err("it is of another level".to_owned());
    }
    for (at, expected) in [8, 16].into_iter().zip(siblings) {
        // Where the sibling's parent is lost, any number will do.
        if expected.is_some() && fields.be_u64(at) != expected {
            return Err("its siblings are others than its parent's children".to_owned());
        }
    }
    Ok(fields.be_u16(6).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfs::checksum::Expected;
    use crate::xfs::checksum::tests::describe;
    use crate::xfs::extent::extents;
    use crate::xfs::extent::tests::record;
    use crate::xfs::inode::read;
    use crate::xfs::inode::tests::{NUMBER, image};
    use crate::xfs::volume::tests::volume;
    use crate::{Extents, Place};
    use proptest::prelude::*;

    const LEAVES: [u64; 3] = [70, 60, 80];

    fn leaf(index: usize, records: &[Vec<u8>]) -> Vec<u8> {
        let sibling = |index: Option<usize>| {
            index
                .and_then(|i| LEAVES.get(i))
                .map_or(NULLFSBLOCK, |b| *b)
        };
        let mut block = vec![0; 4096];
        block[..4].copy_from_slice(b"BMA3");
        block[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        block[8..16].copy_from_slice(&sibling(index.checked_sub(1)).to_be_bytes());
        block[16..24].copy_from_slice(&sibling(index.checked_add(1)).to_be_bytes());
        let list = records.concat();
        block[HEADER_V5..HEADER_V5 + list.len()].copy_from_slice(&list);
        let expected = Expected {
            place: ByteOffset::new(LEAVES[index] * 4096),
            uuid: [7; 16],
            owner: NUMBER.0,
        };
        describe(&mut block, BTREE_LONG, expected);
        block
    }

    /// Three leaves with a record each, at the file blocks 1, 10 and 20; `damage` comes last.
    fn extents_of(nextents: u32, damage: &[(u64, &[u8])]) -> Extents {
        let mut fork = vec![0; 336];
        fork[..4].copy_from_slice(&[0, 1, 0, 3]);
        let room = (336 - ROOT_HEADER) / RECORD_BYTES;
        for (i, (key, block)) in [1_u64, 10, 20].into_iter().zip(LEAVES).enumerate() {
            let at = ROOT_HEADER + i * 8;
            fork[at..at + 8].copy_from_slice(&key.to_be_bytes());
            fork[at + room * 8..at + room * 8 + 8].copy_from_slice(&block.to_be_bytes());
        }
        let raw = image(0o100_644, 3, nextents, 30 * 4096, &fork);
        let leaves: Vec<Vec<u8>> = [1, 10, 20]
            .into_iter()
            .enumerate()
            .map(|(i, start)| leaf(i, &[record(start, 100 + start, 2, false)]))
            .collect();
        let mut pieces: Vec<(u64, &[u8])> = vec![(NUMBER.0 * 512, &raw)];
        for (block, leaf) in LEAVES.iter().zip(&leaves) {
            pieces.push((block * 4096, leaf));
        }
        pieces.extend_from_slice(damage);
        let volume = volume(&pieces);
        extents(&volume, &read(&volume, NUMBER).unwrap())
    }

    fn places(found: &Extents) -> Vec<(u64, Place)> {
        let pieces = found.pieces.iter();
        pieces.map(|p| (p.file_offset / 4096, p.place)).collect()
    }

    fn at(block: u64) -> Place {
        Place::At(ByteOffset::new(block * 4096))
    }

    #[test]
    fn a_tree_is_read_in_the_order_of_the_file() {
        let found = extents_of(3, &[]);
        assert_eq!(found.losses, []);
        let want = [
            (0, Place::Hole),
            (1, at(101)),
            (3, Place::Hole),
            (10, at(110)),
            (12, Place::Hole),
            (20, at(120)),
            (22, Place::Hole),
        ];
        assert_eq!(places(&found), want);
    }

    #[test]
    fn a_damaged_leaf_loses_its_range_and_no_more() {
        let want = [
            (0, Place::Hole),
            (1, at(101)),
            (3, Place::Hole),
            (10, Place::Lost),
            (20, at(120)),
            (22, Place::Hole),
        ];
        for (inside, byte) in [(0, b'X'), (5, 1), (15, 1), (23, 1), (63, 9), (4000, 1)] {
            let damage: &[u8] = &[byte];
            let found = extents_of(3, &[(60 * 4096 + inside, damage)]);
            assert_eq!(places(&found), want, "byte {inside}");
            assert_eq!(found.losses.len(), 1);
            assert_eq!(found.losses[0].origin.offset, ByteOffset::new(60 * 4096));
        }
    }

    #[test]
    fn holes_are_doubted_where_the_inode_counts_more_extents() {
        let found = extents_of(4, &[]);
        assert_eq!(found.losses.len(), 1);
        assert!(!places(&found).iter().any(|(_, p)| *p == Place::Hole));
    }

    proptest! {
        #[test]
        fn any_tree_is_read_without_panic(fork in prop::collection::vec(any::<u8>(), 0..336), small in 0_u16..40) {
            let _ = root(&fork);
            let _ = children(&fork, small, &(0..END_OF_FILE_BLOCKS));
            let _ = header(&crate::xfs::superblock::tests::superblock(), &fork, small, [None; 2]);
            let raw = image(0o100_644, 3, 3, 1 << 40, &fork);
            let volume = volume(&[(NUMBER.0 * 512, &raw)]);
            let _ = extents(&volume, &read(&volume, NUMBER).unwrap());
        }
    }
}
