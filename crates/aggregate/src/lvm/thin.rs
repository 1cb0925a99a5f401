//! The metadata of a thin pool: which chunk of which volume lies where in the pool's data.
//!
//! Blocks of 4 KiB, each with a checksum and its own number. The superblock names the root of a
//! tree in two levels: from the number of a device to the root of that device's tree, and from a
//! chunk of the device to a chunk of the data and the time when it was given. Snapshots share
//! blocks of these trees. All numbers are little endian.
//!
//! Source: the kernel's `drivers/md/dm-thin-metadata.c` (`struct thin_disk_superblock`) and
//! `drivers/md/persistent-data/dm-btree-internal.h` (`struct node_header`), and
//! Documentation/admin-guide/device-mapper/thin-provisioning.rst.

use std::num::NonZeroU64;
use std::ops::Range;

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use crate::chunks::ChunkMap;

/// `THIN_METADATA_BLOCK_SIZE`.
const BLOCK: usize = 4096;
/// `THIN_SUPERBLOCK_MAGIC`.
const MAGIC: u64 = 27_022_010;
/// `SUPERBLOCK_CSUM_XOR` and `BTREE_CSUM_XOR`: so that no block is taken for one of another kind.
const SUPERBLOCK_CSUM_XOR: u32 = 160_774;
const BTREE_CSUM_XOR: u32 = 121_107;
/// `INTERNAL_NODE` and `LEAF_NODE` in the flags of a node.
const INTERNAL_NODE: u32 = 1;
const LEAF_NODE: u32 = 2;
/// The length of a node's header, behind which its keys stand.
const NODE_HEADER: usize = 32;
/// A tree over 2^64 keys with 126 in a node is no deeper.
const MOST_LEVELS: usize = 12;
/// `DATA_DEV_BLOCK_SIZE_MIN_SECTORS` and `…_MAX_SECTORS`, in bytes.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
/// Bits of the time below the number of a chunk.
const TIME_BITS: u32 = 24;

/// What the metadata say of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThinDevice {
    /// `data_block_size` in bytes.
    pub(crate) chunk_bytes: NonZeroU64,
    /// Where its chunks lie in the pool's data.
    pub(crate) map: ChunkMap,
    /// Whether parts of the tree cannot be read.
    pub(crate) has_losses: bool,
}

impl ThinDevice {
    /// Reads the map of the device `id`; the error says why there is none.
    pub(crate) fn read(metadata: &dyn ReadAt, id: u64) -> Result<Self, &'static str> {
        let superblock = metadata.read_whole(ByteOffset::ZERO, BLOCK);
        let superblock =
            superblock.ok_or("the superblock of the pool's metadata cannot be read")?;
        let fields = Fields::new(&superblock);
        let is_one = fields.le_u64(32) == Some(MAGIC)
            && checksum(&superblock, SUPERBLOCK_CSUM_XOR) == fields.le_u32(0);
        if !is_one {
            return Err("the superblock of the pool's metadata is no sound one");
        }
        let bytes = fields.le_u32(336).map(u64::from);
        let chunk_bytes = bytes
            .and_then(|sectors| sectors.checked_mul(SECTOR_BYTES))
            .filter(|bytes| CHUNK_BYTES.contains(bytes))
            .and_then(NonZeroU64::new)
            .ok_or("the pool's chunks have a length that cannot be")?;
        let root = fields.le_u64(320).ok_or("the pool names no root")?;
        let mut devices = Tree::new(metadata);
        devices.walk(root, id..id.saturating_add(1));
        let Some((_, root)) = devices.found.iter().find(|(key, _)| *key == id).copied() else {
            return Err(match devices.lost.is_empty() {
                true => "the pool does not know it",
                false => "the part of the pool's metadata that knows it cannot be read",
            });
        };
        let mut chunks = Tree::new(metadata);
        chunks.walk(root, 0..u64::MAX);
        let pairs = chunks.found.into_iter();
        let pairs = pairs.map(|(chunk, value)| (chunk, value >> TIME_BITS));
        Ok(Self {
            chunk_bytes,
            has_losses: !chunks.lost.is_empty(),
            map: ChunkMap::new(pairs.collect(), chunks.lost),
        })
    }
}

/// The checksum that a block should begin with; `xor` is that of its kind.
fn checksum(block: &[u8], xor: u32) -> Option<u32> {
    // The kernel leaves out the last inversion.
    Some(!crc32c::crc32c(block.get(4..)?) ^ xor)
}

/// What was found in a tree.
struct Tree<'a> {
    metadata: &'a dyn ReadAt,
    /// Keys and values of eight bytes.
    found: Vec<(u64, u64)>,
    /// Keys of which a block that would list them cannot be read.
    lost: Vec<Range<u64>>,
    /// How many more blocks may be read: as many as there are.
    left: u64,
}

/// A node to be read: its block, the keys that it may have, and how deep it lies.
type Step = (u64, Range<u64>, usize);

impl<'a> Tree<'a> {
    fn new(metadata: &'a dyn ReadAt) -> Self {
        Self {
            metadata,
            found: Vec::new(),
            lost: Vec::new(),
            left: metadata.len().checked_div(BLOCK as u64).unwrap_or(0),
        }
    }

    /// Finds what the tree at `root` has for `keys`.
    fn walk(&mut self, root: u64, keys: Range<u64>) {
        let mut steps: Vec<Step> = vec![(root, keys, 0)];
        while let Some((block, keys, depth)) = steps.pop() {
            let next = self.left.checked_sub(1).filter(|_| depth < MOST_LEVELS);
            let read = next.and_then(|left| {
                self.left = left;
                self.node(block, &keys, depth, &mut steps)
            });
            if read.is_none() {
                self.lost.push(keys);
            }
        }
    }

    /// Reads one node; `None` if it is no sound one.
    fn node(
        &mut self,
        block: u64,
        keys: &Range<u64>,
        depth: usize,
        steps: &mut Vec<Step>,
    ) -> Option<()> {
        let at = block.checked_mul(BLOCK as u64)?;
        let bytes = self.metadata.read_whole(ByteOffset::new(at), BLOCK)?;
        let fields = Fields::new(&bytes);
        if fields.le_u32(0) != checksum(&bytes, BTREE_CSUM_XOR) || fields.le_u64(8)? != block {
            return None;
        }
        let entries = usize::try_from(fields.le_u32(16)?).ok()?;
        let most = usize::try_from(fields.le_u32(20)?).ok()?;
        let values = NODE_HEADER.checked_add(most.checked_mul(8)?)?;
        if entries > most || values.checked_add(most.checked_mul(8)?)? > BLOCK {
            return None;
        }
        let key = |index: usize| fields.le_u64(NODE_HEADER.checked_add(index.checked_mul(8)?)?);
        let value = |index: usize| fields.le_u64(values.checked_add(index.checked_mul(8)?)?);
        match (fields.le_u32(4)?, fields.le_u32(24)?) {
            (LEAF_NODE, 8) => {
                for index in 0..entries {
                    let (key, value) = (key(index)?, value(index)?);
                    if keys.contains(&key) {
                        self.found.push((key, value));
                    }
                }
            }
            (INTERNAL_NODE, 8) => {
                for index in 0..entries {
                    // The first child also has what comes before its key.
                    let from = if index == 0 { keys.start } else { key(index)? };
                    let next = index.checked_add(1)?;
                    let to = if next < entries { key(next)? } else { keys.end };
                    let child = from.max(keys.start)..to.min(keys.end);
                    if !child.is_empty() {
                        steps.push((value(index)?, child, depth.checked_add(1)?));
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    fn seal(block: &mut [u8], xor: u32) {
        let sum = checksum(block, xor).unwrap();
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }

    fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
        block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn node(metadata: &mut [u8], number: usize, flags: u32, entries: &[(u64, u64)]) {
        let block = &mut metadata[number * BLOCK..(number + 1) * BLOCK];
        put(block, 4, &flags.to_le_bytes());
        put(block, 8, &(number as u64).to_le_bytes());
        put(block, 16, &(entries.len() as u32).to_le_bytes());
        put(block, 20, &252_u32.to_le_bytes());
        put(block, 24, &8_u32.to_le_bytes());
        for (index, (key, value)) in entries.iter().enumerate() {
            put(block, 32 + index * 8, &key.to_le_bytes());
            put(block, 32 + 252 * 8 + index * 8, &value.to_le_bytes());
        }
        seal(block, BTREE_CSUM_XOR);
    }

    fn pool() -> Vec<u8> {
        let mut metadata = vec![0; 6 * BLOCK];
        put(&mut metadata, 32, &MAGIC.to_le_bytes());
        put(&mut metadata, 320, &1_u64.to_le_bytes());
        put(&mut metadata, 336, &128_u32.to_le_bytes());
        seal(&mut metadata[..BLOCK], SUPERBLOCK_CSUM_XOR);
        node(&mut metadata, 1, LEAF_NODE, &[(3, 2), (8, 9)]);
        node(&mut metadata, 2, INTERNAL_NODE, &[(0, 3), (100, 4)]);
        node(
            &mut metadata,
            3,
            LEAF_NODE,
            &[(5, 7 << 24 | 1), (6, 8 << 24)],
        );
        node(&mut metadata, 4, LEAF_NODE, &[(100, 2 << 24)]);
        metadata
    }

    #[test]
    fn chunks_are_found_through_both_levels_of_the_tree() {
        let read = ThinDevice::read(&Memory::new(pool()), 3).unwrap();
        let want = ChunkMap::new(vec![(5, 7), (6, 8), (100, 2)], Vec::new());
        assert_eq!((read.chunk_bytes.get(), read.map), (64 << 10, want));
        let unknown = ThinDevice::read(&Memory::new(pool()), 4);
        assert_eq!(unknown.unwrap_err(), "the pool does not know it");
        assert!(
            ThinDevice::read(&Memory::new(pool()), 8)
                .unwrap()
                .has_losses
        );
    }

    #[test]
    fn a_broken_block_of_the_tree_loses_the_keys_that_it_had() {
        let mut metadata = pool();
        metadata[3 * BLOCK + 100] ^= 1;
        let read = ThinDevice::read(&Memory::new(metadata), 3).unwrap();
        let lost = std::iter::once(0..100).collect();
        assert_eq!(read.map, ChunkMap::new(vec![(100, 2)], lost));
        assert!(read.has_losses);
    }

    #[test]
    fn a_tree_that_leads_into_itself_ends() {
        let mut metadata = pool();
        node(
            &mut metadata,
            2,
            INTERNAL_NODE,
            &[(0, 2), (100, 2), (200, 3)],
        );
        assert!(
            ThinDevice::read(&Memory::new(metadata), 3)
                .unwrap()
                .has_losses
        );
    }

    proptest::proptest! {
        #[test]
        fn no_node_makes_it_panic(
            head in proptest::collection::vec(proptest::num::u8::ANY, 28),
            keys in proptest::collection::vec(0_u64..8, 0..504),
        ) {
            let mut metadata = pool();
            let block = &mut metadata[2 * BLOCK..3 * BLOCK];
            block[16..32].copy_from_slice(&head[..16]);
            block[4] = head[16] % 3;
            for (index, key) in keys.iter().enumerate() {
                put(block, 32 + index * 8, &key.to_le_bytes());
            }
            seal(block, BTREE_CSUM_XOR);
            let _ = ThinDevice::read(&Memory::new(metadata), 3);
        }
    }
}
