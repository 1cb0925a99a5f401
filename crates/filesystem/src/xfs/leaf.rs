//! The index of a directory: the hash and the address of each name.
//!
//! Listing does without it. It is read when a data block is damaged, to find the entries that
//! follow the damage. Kernel: `struct xfs_dir2_leaf_entry`, `struct xfs_dir3_leaf`.

use evidence::{BlockNumber, Fields};

use super::checksum::{self, DA3};
use super::data::ALIGN;
use super::extent::{Map, Record};
use super::volume::Volume;
use crate::InodeNumber;

/// `XFS_DIR2_LEAF1_MAGIC`, `XFS_DIR2_LEAFN_MAGIC`.
const MAGICS_V4: [u16; 2] = [0xD2F1, 0xD2FF];
/// `XFS_DIR3_LEAF1_MAGIC`, `XFS_DIR3_LEAFN_MAGIC`.
const MAGICS_V5: [u16; 2] = [0x3DF1, 0x3DFF];
/// `hashval` and `address`.
const ENTRY_BYTES: usize = 8;
/// `struct xfs_dir2_block_tail`: `count` and `stale`.
const TAIL_BYTES: usize = 8;

/// `struct xfs_dir2_leaf_entry`: where the entry of a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// The offset of the entry in the directory's data, in bytes.
    pub(super) offset: u64,
    /// The hash of its name.
    pub(super) hash: u32,
}

/// The leaf at the end of a single-block directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Where in the block it begins: the data end there.
    pub(super) start: usize,
    /// What it says, by offset.
    pub(super) addresses: Vec<Address>,
}

/// `xfs_da_hashname`.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.iter()
        .fold(0_u32, |hash, byte| hash.rotate_left(7) ^ u32::from(*byte))
}

/// The leaf at the end of `block`, if it fits into it.
pub(super) fn tail(block: &[u8]) -> Option<Tail> {
    let fields = Fields::new(block);
    let end = block.len().checked_sub(TAIL_BYTES)?;
    let count = usize::try_from(fields.be_u32(end)?).ok()?;
    let start = end.checked_sub(count.checked_mul(ENTRY_BYTES)?)?;
    let mut addresses = addresses(block.get(start..end)?);
    addresses.sort_unstable();
    Some(Tail { start, addresses })
}

/// The addresses in a list of leaf entries; deleted ones have none.
fn addresses(list: &[u8]) -> Vec<Address> {
    list.chunks_exact(ENTRY_BYTES)
        .filter_map(|entry| {
            let fields = Fields::new(entry);
            let address = u64::from(fields.be_u32(4)?);
            (address > 0).then_some(Address {
                offset: address.checked_mul(ALIGN as u64)?,
                hash: fields.be_u32(0)?,
            })
        })
        .collect()
}

/// All that the sound leaf blocks of the directory `owner` say, by offset.
///
/// Nodes and free-space blocks lie among them and are left out, as are leaves that are not
/// believed: without them less is found again.
pub(super) fn index(volume: &Volume, owner: InodeNumber, map: &Map) -> Vec<Address> {
    let leaf_offset = volume.sb.leaf_offset();
    // Above the leaves, at twice their offset, only free-space blocks come.
    let end = leaf_offset.saturating_mul(2);
    let per_block = volume.sb.dirblock_blocks();
    let mut all = Vec::new();
    for record in &map.records {
        let covers = record.range();
        let mut next = covers.start.max(leaf_offset);
        while next < covers.end.min(end) {
            if let Some(mut found) = leaf(volume, owner, record, next) {
                all.append(&mut found);
            }
            next = next.saturating_add(per_block);
        }
    }
    all.sort_unstable();
    all
}

/// What the leaf at the block `first` of the file says; `None` if it is none, or not believed.
fn leaf(volume: &Volume, owner: InodeNumber, record: &Record, first: u64) -> Option<Vec<Address>> {
    let inside = BlockNumber::new(first.checked_sub(record.br_startoff)?);
    let at = record
        .at
        .checked_add(volume.sb.block.offset_of(inside)?.get())?;
    let block = volume.cache.read(at, volume.sb.dirblock_bytes()).ok()?;
    let fields = Fields::new(&block);
    let magic = fields.be_u16(8)?;
    let (count_at, start) = if volume.sb.has_crc() {
        checksum::check(&block, DA3, volume.expected(at, owner)).ok()?;
        MAGICS_V5.contains(&magic).then_some((56, 64))?
    } else {
        MAGICS_V4.contains(&magic).then_some((12, 16))?
    };
    let length = usize::from(fields.be_u16(count_at)?).checked_mul(ENTRY_BYTES)?;
    Some(addresses(fields.slice(start, length)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_hash_as_the_kernel_hashes_them() {
        // From `xfs_db -c "hash NAME"`.
        for (name, want) in [
            (".", 0x2E),
            ("..", 0x172E),
            ("cur", 0x0018_FAF2),
            ("hello-world-mail", 0x5490_FD22),
        ] {
            assert_eq!(hash(name.as_bytes()), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_tail_is_read_without_panic(block in prop::collection::vec(any::<u8>(), 0..200), count in 0_u8..30) {
            let _ = tail(&block);
            let mut block = block;
            block.extend([0, 0, 0, count, 0, 0, 0, 0]);
            if let Some(tail) = tail(&block) {
                prop_assert!(tail.start + 8 * usize::from(count) + 8 == block.len());
            }
        }
    }
}
