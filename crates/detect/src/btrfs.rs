//! Nodes of btrfs trees.
//!
//! Source: `struct btrfs_header` in Linux `include/uapi/linux/btrfs_tree.h`. A node has no magic:
//! it is known by its flags, its own address and, where that is CRC-32C, its checksum.

use evidence::Fields;
use scan::{Detector, Family, Found, Place, SECTOR_ALIGN, Trigger};

use crate::hex;

/// The largest node, in bytes: `BTRFS_MAX_METADATA_BLOCKSIZE`.
const MOST_NODE: usize = 64 << 10;
/// Bytes of `csum`.
const CSUM_BYTES: usize = 32;
/// Bytes in `struct btrfs_header`.
const HEADER_BYTES: usize = 101;
/// `BTRFS_MIXED_BACKREF_REV`, where the flags have the revision of back references.
const MIXED_BACKREF_REV: u64 = 1 << 56;
/// `BTRFS_HEADER_FLAG_WRITTEN` and `BTRFS_HEADER_FLAG_RELOC`.
const FLAGS: u64 = 3;

/// Addresses, generations and numbers of trees are smaller than this.
const MOST_NUMBER: u64 = 1 << 56;
/// Trees with a number above this are the special ones, counted down from 2^64.
const LAST_SPECIAL: u64 = u64::MAX - 256;

/// The detector of nodes.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    vec![Box::new(Node)]
}

struct Node;

impl Detector for Node {
    fn triggers(&self) -> Vec<Trigger> {
        vec![Trigger::Every {
            align: SECTOR_ALIGN,
        }]
    }

    fn reach(&self) -> usize {
        MOST_NODE
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        let fields = Fields::new(place.bytes);
        // Most places end here: a number of 64 bits of which only two vary.
        if fields.le_u64(56)? & !FLAGS != MIXED_BACKREF_REV {
            return None;
        }
        let (bytenr, generation) = (fields.le_u64(48)?, fields.le_u64(80)?);
        let (owner, items, level) = (fields.le_u64(88)?, fields.le_u32(96)?, fields.u8(100)?);
        let (fsid, chunk_tree) = (fields.slice(32, 16)?, fields.slice(64, 16)?);
        let plausible = bytenr.is_multiple_of(4096)
            && bytenr > 0
            && generation > 0
            && generation.max(bytenr) < MOST_NUMBER
            && !(MOST_NUMBER..=LAST_SPECIAL).contains(&owner)
            && looks_random(fsid)
            && looks_random(chunk_tree)
            && level < 8
            && items > 0
            // An item takes 25 bytes in a leaf, a pointer 33 in a node.
            && usize::try_from(items).ok()? <= MOST_NODE.saturating_sub(HEADER_BYTES) / 25;
        plausible.then(|| Found {
            bytes: checked_size(place.bytes),
            number: Some(bytenr),
            owner: Some(owner),
            part_of: fields.slice(32, 16).map(hex),
            family: Some(Family::Btrfs),
            ..Found::new("btrfs-node")
        })
    }
}

/// Whether 16 bytes may be a UUID: hardly any of its bytes occur twice.
fn looks_random(uuid: &[u8]) -> bool {
    let distinct: std::collections::BTreeSet<&u8> = uuid.iter().collect();
    distinct.len() >= 10
}

/// The size for which the node's CRC-32C holds; `None` if it holds for none, or another checksum
/// is in use.
fn checked_size(bytes: &[u8]) -> Option<u64> {
    let stored = Fields::new(bytes).le_u32(0)?;
    (12..=16)
        .map(|bits| 1_usize << bits)
        .take_while(|size| *size <= bytes.len())
        .find(|size| {
            let body = bytes.get(CSUM_BYTES..*size).unwrap_or_default();
            crc32c::crc32c(body) == stored
        })
        .map(|size| size as u64)
}
