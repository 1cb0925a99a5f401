//! What btrfs says of places: every node of its trees begins with the address it was written for.
//!
//! The addresses are logical: each chunk of the file system, a gibibyte or a tenth of the device,
//! lies as a piece of its own on the device, at a constant distance from its address. Source: the
//! kernel's `include/uapi/linux/btrfs_tree.h`, `struct btrfs_header`.

use evidence::Fields;

use super::{Kind, Stated};

/// `BTRFS_MAX_LEVEL`.
const MAX_LEVEL: u8 = 8;

/// Items of a leaf of the largest node, of the smallest items.
const MOST_ITEMS: u32 = 65536 / 25;

/// A node, if this looks like one: there is no magic number, so the checksum must hold.
pub(super) fn node(bytes: Fields<'_>) -> Option<Stated> {
    let uuid: [u8; 16] = bytes.array(32)?;
    let address = bytes.le_u64(48)?;
    let (items, level) = (bytes.le_u32(96)?, bytes.u8(100)?);
    let sound = uuid != [0; 16]
        && address != 0
        && address.is_multiple_of(4096)
        && level < MAX_LEVEL
        && (1..=MOST_ITEMS).contains(&items)
        && has_checksum(bytes);
    sound.then_some(Stated {
        uuid,
        kind: Kind::Address(address),
    })
}

/// Whether the CRC-32C of the node holds, for one of the node sizes that there are.
fn has_checksum(bytes: Fields<'_>) -> bool {
    let stated = bytes.le_u32(0);
    let holds = |size: usize| {
        let body = size
            .checked_sub(32)
            .and_then(|length| bytes.slice(32, length));
        body.is_some_and(|body| Some(crc32c::crc32c(body)) == stated)
    };
    [16384, 4096, 8192, 32768, 65536].into_iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_with_its_checksum_only() {
        let mut node = vec![7; 16384];
        node[48..56].copy_from_slice(&(30_u64 << 20).to_le_bytes());
        node[96..100].copy_from_slice(&12_u32.to_le_bytes());
        node[100] = 0;
        let sum = crc32c::crc32c(&node[32..]);
        node[..4].copy_from_slice(&sum.to_le_bytes());
        let found = super::node(Fields::new(&node)).map(|stated| stated.kind);
        assert!(matches!(found, Some(Kind::Address(address)) if address == 30 << 20));
        node[5000] ^= 1;
        assert!(super::node(Fields::new(&node)).is_none());
    }
}
