//! Inline data: short files and directories that live in their inode.
//!
//! Source: Linux `Documentation/filesystems/ext4/inlinedata.rst` and `attributes.rst`: the first
//! 60 bytes are in `i_block`, the rest is the value of the extended attribute `system.data` in
//! the space of the inode after `i_extra_isize`.

use std::ops::Range;

use evidence::{Cause, Fields};

use super::inode::{I_BLOCK_AT, I_BLOCK_BYTES, OLD_BYTES, RawInode};
use super::map::{Map, all_lost};
use super::volume::{Volume, corrupt};
use crate::{Inode, Place};

/// `h_magic` of `struct ext4_xattr_ibody_header`.
const XATTR_MAGIC: u32 = 0xEA02_0000;
/// `EXT4_XATTR_INDEX_SYSTEM`.
const INDEX_SYSTEM: u8 = 7;
/// The length of `struct ext4_xattr_entry` without the name.
const ENTRY_BYTES: usize = 16;

/// Where in the inode the bytes lie that do not fit into `i_block`; empty if there are none.
fn system_data(inode: &[u8], i_extra_isize: u16) -> Result<Range<usize>, String> {
    let header = OLD_BYTES.saturating_add(i_extra_isize.into());
    let f = Fields::new(inode);
    if f.le_u32(header) != Some(XATTR_MAGIC) {
        return Ok(0..0);
    }
    // Offsets of values count from the first entry.
    let first = header.saturating_add(4);
    let mut at = first;
    loop {
        match f.le_u32(at) {
            None => return Err("its list of attributes has no end".to_owned()),
            Some(0) => return Ok(0..0),
            Some(_) => {}
        }
        let entry = f.from(at).and_then(XattrEntry::parse);
        let entry = entry.ok_or("an attribute is cut short")?;
        if entry.system_data {
            return entry.value(first, inode.len());
        }
        at = at.saturating_add(entry.length);
    }
}

/// What matters of `struct ext4_xattr_entry`.
struct XattrEntry {
    system_data: bool,
    e_value_offs: u16,
    e_value_inum: u32,
    e_value_size: u32,
    /// With its name and padding.
    length: usize,
}

impl XattrEntry {
    fn parse(f: Fields<'_>) -> Option<Self> {
        let e_name_len = usize::from(f.u8(0x0)?);
        let name = f.slice(ENTRY_BYTES, e_name_len)?;
        Some(Self {
            system_data: f.u8(0x1)? == INDEX_SYSTEM && name == b"data",
            e_value_offs: f.le_u16(0x2)?,
            e_value_inum: f.le_u32(0x4)?,
            e_value_size: f.le_u32(0x8)?,
            length: ENTRY_BYTES.saturating_add(e_name_len).next_multiple_of(4),
        })
    }

    fn value(&self, first: usize, end: usize) -> Result<Range<usize>, String> {
        if self.e_value_inum != 0 {
            return Err("the value of system.data is in another inode".to_owned());
        }
        let start = first.saturating_add(self.e_value_offs.into());
        let size = usize::try_from(self.e_value_size).unwrap_or(usize::MAX);
        let stop = start.saturating_add(size);
        if stop > end {
            return Err("the value of system.data reaches past the inode".to_owned());
        }
        Ok(start..stop)
    }
}

/// The places of inline data in its inode, in the order of the contents.
pub(super) fn regions(inode: &[u8], raw: &RawInode) -> Result<[Range<usize>; 2], String> {
    let end = I_BLOCK_AT.saturating_add(I_BLOCK_BYTES);
    Ok([I_BLOCK_AT..end, system_data(inode, raw.i_extra_isize)?])
}

impl Volume {
    /// The map of a file whose contents are in its inode.
    pub(super) fn inline_map(&self, file: &Inode, raw: &RawInode) -> Map {
        let lost = |cause: Cause| {
            let what = format!("inline contents of inode {}", file.number);
            self.loss(what, file.place, cause)
        };
        let regions = match regions(&file.raw, raw) {
            Ok(regions) => regions,
            Err(what) => return all_lost(file.size, lost(corrupt(what))),
        };
        let mut map = Map::new(1, file.size);
        let mut done = 0_u64;
        for region in regions {
            let length = region.len() as u64;
            let place = file.place.checked_add(region.start as u64);
            map.push(done, length, place.map_or(Place::Lost, Place::At));
            done = done.saturating_add(length);
        }
        if done < file.size {
            let cause = corrupt(format!(
                "{done} bytes are in the inode, and its size is {}",
                file.size
            ));
            map.lose(done, file.size.saturating_sub(done), lost(cause));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn with_attribute(name: &[u8], offset: u16, size: u32) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[160..164].copy_from_slice(&XATTR_MAGIC.to_le_bytes());
        bytes[164] = name.len() as u8;
        bytes[165] = INDEX_SYSTEM;
        bytes[166..168].copy_from_slice(&offset.to_le_bytes());
        bytes[172..176].copy_from_slice(&size.to_le_bytes());
        bytes[180..180 + name.len()].copy_from_slice(name);
        bytes
    }

    #[test]
    fn the_value_of_system_data_is_found_and_no_other() {
        assert_eq!(
            system_data(&with_attribute(b"data", 60, 20), 32),
            Ok(224..244)
        );
        assert_eq!(system_data(&with_attribute(b"date", 60, 20), 32), Ok(0..0));
        assert!(system_data(&with_attribute(b"data", 60, 40), 32).is_err());
        assert_eq!(system_data(&[0; 256], 32), Ok(0..0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 128..520),
            extra in any::<u16>(),
            at in 128..200_usize,
        ) {
            if let Some(magic) = bytes.get_mut(at..at + 4) {
                magic.copy_from_slice(&XATTR_MAGIC.to_le_bytes());
            }
            for extra in [extra, (at - 128) as u16] {
                if let Ok(range) = system_data(&bytes, extra) {
                    assert!(range.end <= bytes.len());
                }
            }
        }
    }
}
