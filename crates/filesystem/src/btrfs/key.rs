//! Keys: what the items of all trees are sorted by (`struct btrfs_disk_key`).

use evidence::Fields;

/// `BTRFS_ROOT_TREE_OBJECTID`.
pub(super) const ROOT_TREE: u64 = 1;
/// `BTRFS_EXTENT_TREE_OBJECTID`.
pub(super) const EXTENT_TREE: u64 = 2;
/// `BTRFS_CHUNK_TREE_OBJECTID`.
pub(super) const CHUNK_TREE: u64 = 3;
/// `BTRFS_DEV_TREE_OBJECTID`.
pub(super) const DEV_TREE: u64 = 4;
/// `BTRFS_FS_TREE_OBJECTID`: the subvolume that all others hang below.
pub(super) const FS_TREE: u64 = 5;
/// `BTRFS_CSUM_TREE_OBJECTID`.
pub(super) const CSUM_TREE: u64 = 7;
/// `BTRFS_BLOCK_GROUP_TREE_OBJECTID`.
pub(super) const BLOCK_GROUP_TREE: u64 = 11;
/// `BTRFS_FIRST_FREE_OBJECTID`: the first subvolume, and the root directory of each.
pub(super) const FIRST_FREE: u64 = 256;
/// `BTRFS_LAST_FREE_OBJECTID`: numbers above it have meanings of their own.
pub(super) const LAST_FREE: u64 = u64::MAX.wrapping_sub(255);
/// `BTRFS_EXTENT_CSUM_OBJECTID`.
pub(super) const EXTENT_CSUM_OBJECTID: u64 = u64::MAX.wrapping_sub(9);

/// `BTRFS_INODE_ITEM_KEY`.
pub(super) const INODE_ITEM: u8 = 1;
/// `BTRFS_INODE_REF_KEY`.
pub(super) const INODE_REF: u8 = 12;
/// `BTRFS_INODE_EXTREF_KEY`.
pub(super) const INODE_EXTREF: u8 = 13;
/// `BTRFS_DIR_ITEM_KEY`.
pub(super) const DIR_ITEM: u8 = 84;
/// `BTRFS_DIR_INDEX_KEY`.
pub(super) const DIR_INDEX: u8 = 96;
/// `BTRFS_EXTENT_DATA_KEY`.
pub(super) const EXTENT_DATA: u8 = 108;
/// `BTRFS_EXTENT_CSUM_KEY`.
pub(super) const EXTENT_CSUM: u8 = 128;
/// `BTRFS_ROOT_ITEM_KEY`.
pub(super) const ROOT_ITEM: u8 = 132;
/// `BTRFS_ROOT_BACKREF_KEY`.
pub(super) const ROOT_BACKREF: u8 = 144;
/// `BTRFS_EXTENT_ITEM_KEY`.
pub(super) const EXTENT_ITEM: u8 = 168;
/// `BTRFS_METADATA_ITEM_KEY`.
pub(super) const METADATA_ITEM: u8 = 169;
/// `BTRFS_BLOCK_GROUP_ITEM_KEY`.
pub(super) const BLOCK_GROUP_ITEM: u8 = 192;
/// `BTRFS_DEV_EXTENT_KEY`.
pub(super) const DEV_EXTENT: u8 = 204;
/// `BTRFS_CHUNK_ITEM_KEY`.
pub(super) const CHUNK_ITEM: u8 = 228;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) objectid: u64,
    /// `type`.
    pub(super) item_type: u8,
    pub(super) offset: u64,
}

impl Key {
    /// How many bytes a key has on the disk.
    pub(super) const LEN: usize = 17;
    /// Below all keys.
    pub(super) const MIN: Self = Self::new(0, 0, 0);
    /// Above all keys of items.
    pub(super) const MAX: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    pub(super) const fn new(objectid: u64, item_type: u8, offset: u64) -> Self {
        Self {
            objectid,
            item_type,
            offset,
        }
    }

    /// The key at `at` of `fields`.
    pub(super) fn parse(fields: Fields<'_>, at: usize) -> Option<Self> {
        Some(Self {
            objectid: fields.le_u64(at)?,
            item_type: fields.u8(at.checked_add(8)?)?,
            offset: fields.le_u64(at.checked_add(9)?)?,
        })
    }

    /// The key behind this one.
    pub(super) fn next(self) -> Self {
        if let Some(offset) = self.offset.checked_add(1) {
            return Self { offset, ..self };
        }
        match self.item_type.checked_add(1) {
            Some(item_type) => Self::new(self.objectid, item_type, 0),
            None => Self::new(self.objectid.saturating_add(1), 0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_key_is_the_least_that_is_greater() {
        let key = Key::new(5, 7, 9);
        assert_eq!(key.next(), Key::new(5, 7, 10));
        assert_eq!(Key::new(5, 7, u64::MAX).next(), Key::new(5, 8, 0));
        assert_eq!(Key::new(5, u8::MAX, u64::MAX).next(), Key::new(6, 0, 0));
        assert!(Key::new(1, 255, 255) < Key::new(2, 0, 0));
    }
}
