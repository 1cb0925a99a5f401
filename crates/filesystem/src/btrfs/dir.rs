//! Names: directory items of parents (`struct btrfs_dir_item`) and references of their children
//! (`struct btrfs_inode_ref`, `btrfs_inode_extref`).

use evidence::Fields;

use super::checksum::name_hash;
use super::key::{DIR_ITEM, INODE_EXTREF, INODE_REF, Key};

/// `sizeof(struct btrfs_dir_item)`.
const DIR_ITEM_BYTES: usize = 30;

/// What a directory lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirEntryItem {
    /// The inode, or the root of the subvolume, that the name stands for.
    pub(super) location: Key,
    pub(super) name: Vec<u8>,
}

/// The names in the directory item of `key`; the flag says whether some of it contradicts itself.
pub(super) fn dir_items(key: Key, item: &[u8]) -> (Vec<DirEntryItem>, bool) {
    let mut all = Vec::new();
    let mut rest = Fields::new(item);
    while !rest.bytes().is_empty() {
        let Some((entry, length)) = dir_item(rest) else {
            return (all, true);
        };
        // The hash of the name is in the key: what does not fit stands in the wrong item.
        if key.item_type == DIR_ITEM && name_hash(&entry.name) != key.offset {
            return (all, true);
        }
        all.push(entry);
        match rest.from(length) {
            Some(next) => rest = next,
            None => return (all, true),
        }
    }
    (all, false)
}

fn dir_item(fields: Fields<'_>) -> Option<(DirEntryItem, usize)> {
    let data_len = usize::from(fields.le_u16(25)?);
    let name_len = usize::from(fields.le_u16(27)?);
    let name = name(fields.slice(DIR_ITEM_BYTES, name_len)?)?;
    let entry = DirEntryItem {
        location: Key::parse(fields, 0)?,
        name,
    };
    let length = DIR_ITEM_BYTES
        .checked_add(name_len)?
        .checked_add(data_len)?;
    Some((entry, length))
}

/// A name, if it can be one.
fn name(bytes: &[u8]) -> Option<Vec<u8>> {
    let good = !bytes.is_empty()
        && bytes.len() <= 255
        && !bytes.contains(&b'/')
        && !bytes.contains(&0)
        && !matches!(bytes, b"." | b"..");
    good.then(|| bytes.to_vec())
}

/// The names in the reference item of `key`, with the directories that they stand in.
pub(super) fn references(key: Key, item: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut rest = Fields::new(item);
    loop {
        let reference = match key.item_type {
            INODE_REF => inode_ref(rest).map(|(length, name)| (length, key.offset, name)),
            INODE_EXTREF => inode_extref(rest),
            _ => None,
        };
        let Some((length, parent, name)) = reference else {
            return all;
        };
        all.push((parent, name));
        match rest.from(length) {
            Some(next) => rest = next,
            None => return all,
        }
    }
}

fn inode_ref(fields: Fields<'_>) -> Option<(usize, Vec<u8>)> {
    let length = usize::from(fields.le_u16(8)?);
    let name = name(fields.slice(10, length)?)?;
    Some((length.checked_add(10)?, name))
}

fn inode_extref(fields: Fields<'_>) -> Option<(usize, u64, Vec<u8>)> {
    let length = usize::from(fields.le_u16(16)?);
    let name = name(fields.slice(18, length)?)?;
    Some((length.checked_add(18)?, fields.le_u64(0)?, name))
}

#[cfg(test)]
mod tests {
    use super::super::key::{DIR_INDEX, INODE_ITEM};
    use super::*;
    use proptest::prelude::*;

    fn item(inode: u64, name: &[u8]) -> Vec<u8> {
        let mut item = vec![0; DIR_ITEM_BYTES];
        item[..8].copy_from_slice(&inode.to_le_bytes());
        item[8] = INODE_ITEM;
        item[27] = name.len() as u8;
        item.extend_from_slice(name);
        item
    }

    #[test]
    fn a_name_in_the_wrong_item_is_not_believed() {
        let raw = item(300, b"cur");
        let right = Key::new(256, DIR_ITEM, name_hash(b"cur"));
        let (found, broken) = dir_items(right, &raw);
        assert_eq!((found.len(), broken), (1, false));
        assert_eq!(found[0].location, Key::new(300, INODE_ITEM, 0));
        let wrong = Key::new(256, DIR_ITEM, name_hash(b"new"));
        assert_eq!(dir_items(wrong, &raw), (Vec::new(), true));
        let index = Key::new(256, DIR_INDEX, 2);
        assert_eq!(dir_items(index, &item(300, b"a/b")), (Vec::new(), true));
        assert_eq!(dir_items(index, &item(300, b"..")), (Vec::new(), true));
    }

    #[test]
    fn every_name_of_a_reference_is_given() {
        let raw = [
            b"\x02\0\0\0\0\0\0\0\x01\0a".as_slice(),
            b"\x03\0\0\0\0\0\0\0\x02\0bc",
        ]
        .concat();
        let names = references(Key::new(300, INODE_REF, 256), &raw);
        assert_eq!(names, [(256, b"a".to_vec()), (256, b"bc".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(raw in prop::collection::vec(any::<u8>(), 0..200), offset: u64) {
            for kind in [DIR_ITEM, DIR_INDEX, INODE_REF, INODE_EXTREF] {
                let key = Key::new(256, kind, offset);
                let _ = (dir_items(key, &raw), references(key, &raw));
            }
        }
    }
}
