//! Entries of directories: in the inode, and in data blocks.
//!
//! Kernel: `struct xfs_dir2_sf_entry`, `struct xfs_dir2_data_entry`,
//! `struct xfs_dir2_data_unused` in `libxfs/xfs_da_format.h`.

use std::ops::Range;

use evidence::Fields;

use crate::InodeNumber;

/// `XFS_DIR2_DATA_FREE_TAG`: no entry, free space.
pub(super) const FREE_TAG: u16 = 0xFFFF;
/// `XFS_DIR2_DATA_ALIGN`: entries begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// `inumber` and `namelen`.
const ENTRY_HEADER: usize = 9;
/// The tag at the end of entries and free space: their own offset in the block.
const TAG_BYTES: usize = 2;

/// An entry as it stands on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inumber: InodeNumber,
    /// The bytes of the block that it takes.
    pub(super) range: Range<usize>,
}

/// The entries in `block[within]`, and where they stopped to make sense, if they did.
pub(super) fn parse(
    block: &[u8],
    within: Range<usize>,
    ftype: bool,
) -> (Vec<RawEntry<'_>>, Option<usize>) {
    let mut entries = Vec::new();
    let mut at = within.start;
    while at < within.end {
        if let Some(end) = free_space(block, at, within.end) {
            at = end;
            continue;
        }
        let Some(entry) = entry(block, at, within.end, ftype) else {
            return (entries, Some(at));
        };
        at = entry.range.end;
        entries.push(entry);
    }
    (entries, None)
}

/// The end of the free space at `at`, if there is some.
fn free_space(block: &[u8], at: usize, end: usize) -> Option<usize> {
    let fields = Fields::new(block);
    if fields.be_u16(at)? != FREE_TAG {
        return None;
    }
    let length = usize::from(fields.be_u16(at.checked_add(2)?)?);
    let stop = at.checked_add(length)?;
    let fits = length >= ALIGN && length.is_multiple_of(ALIGN) && stop <= end;
    (fits && tag_fits(fields, at, stop)).then_some(stop)
}

/// The entry at `at`, if one is there that ends before `end`.
pub(super) fn entry(block: &[u8], at: usize, end: usize, ftype: bool) -> Option<RawEntry<'_>> {
    let fields = Fields::new(block);
    let inumber = fields.be_u64(at)?;
    let namelen = usize::from(fields.u8(at.checked_add(8)?)?);
    if namelen == 0 {
        return None;
    }
    let name_at = at.checked_add(ENTRY_HEADER)?;
    let stop = name_at
        .checked_add(namelen)?
        .checked_add(usize::from(ftype))?
        .checked_add(TAG_BYTES)?
        .checked_next_multiple_of(ALIGN)?;
    if stop > end || !tag_fits(fields, at, stop) {
        return None;
    }
    Some(RawEntry {
        name: fields.slice(name_at, namelen)?,
        inumber: InodeNumber(inumber),
        range: at..stop,
    })
}

/// Whether the tag before `stop` names `at`.
fn tag_fits(fields: Fields<'_>, at: usize, stop: usize) -> bool {
    let tag = stop
        .checked_sub(TAG_BYTES)
        .and_then(|tag_at| fields.be_u16(tag_at));
    tag.is_some_and(|tag| usize::from(tag) == at)
}

/// The entries of a short directory, and whether all that it counts were there.
///
/// `struct xfs_dir2_sf_hdr`: if `i8count` is not zero, inode numbers have 8 bytes and not 4.
pub(super) fn short_form(fork: &[u8], ftype: bool) -> (Vec<RawEntry<'_>>, bool) {
    let fields = Fields::new(fork);
    let (Some(count), Some(i8count)) = (fields.u8(0), fields.u8(1)) else {
        return (Vec::new(), false);
    };
    let wide = i8count > 0;
    // A directory that counts only numbers of 8 bytes has its count in `i8count`.
    let count = if count == 0 { i8count } else { count };
    let mut at: usize = if wide { 10 } else { 6 };
    let mut entries = Vec::new();
    for _ in 0..count {
        let Some(entry) = short_entry(fields, at, wide, ftype) else {
            return (entries, false);
        };
        at = entry.range.end;
        entries.push(entry);
    }
    (entries, true)
}

/// `struct xfs_dir2_sf_entry` at `at`.
fn short_entry(fields: Fields<'_>, at: usize, wide: bool, ftype: bool) -> Option<RawEntry<'_>> {
    let namelen = usize::from(fields.u8(at)?);
    let name_at = at.checked_add(3)?;
    let inumber_at = name_at
        .checked_add(namelen)?
        .checked_add(usize::from(ftype))?;
    let (inumber, stop) = if wide {
        (fields.be_u64(inumber_at)?, inumber_at.checked_add(8)?)
    } else {
        (
            fields.be_u32(inumber_at)?.into(),
            inumber_at.checked_add(4)?,
        )
    };
    Some(RawEntry {
        name: fields.slice(name_at, namelen)?,
        inumber: InodeNumber(inumber),
        range: at..stop,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes of an entry at `at`, with `ftype`.
    pub(in crate::xfs) fn entry_bytes(at: usize, name: &[u8], inumber: u64) -> Vec<u8> {
        let mut bytes = inumber.to_be_bytes().to_vec();
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        bytes.push(1);
        bytes.resize(
            (bytes.len() + TAG_BYTES).next_multiple_of(ALIGN) - TAG_BYTES,
            0,
        );
        bytes.extend_from_slice(&(at as u16).to_be_bytes());
        bytes
    }

    /// The bytes of free space at `at`.
    pub(in crate::xfs) fn free_bytes(at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[..2].fill(0xFF);
        bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        bytes[length - 2..].copy_from_slice(&(at as u16).to_be_bytes());
        bytes
    }

    #[test]
    fn entries_follow_on_each_other_over_free_space() {
        let mut block = entry_bytes(0, b"one", 11);
        let at = block.len();
        block.extend(free_bytes(at, 24));
        let at = block.len();
        block.extend(entry_bytes(at, b"a longer name", 12));
        let (entries, stopped) = parse(&block, 0..block.len(), true);
        let names: Vec<_> = entries.iter().map(|e| (e.name, e.inumber.0)).collect();
        assert_eq!(names, [(&b"one"[..], 11), (&b"a longer name"[..], 12)]);
        assert_eq!(stopped, None);
        for broken in [8, at - 1, at - 2, block.len() - 1] {
            let mut bad = block.clone();
            bad[broken] ^= 0x40;
            assert!(parse(&bad, 0..bad.len(), true).1.is_some(), "byte {broken}");
        }
    }

    #[test]
    fn a_short_directory_that_is_cut_keeps_what_is_before_the_cut() {
        let fork = b"\x02\x00\0\0\0\x80\x01\0\x60a\x01\0\0\0\x83\x02\0\x70bc\x01\0\0\0\x84";
        let (entries, complete) = short_form(fork, true);
        let names: Vec<_> = entries.iter().map(|e| (e.name, e.inumber.0)).collect();
        assert!(complete);
        assert_eq!(names, [(&b"a"[..], 0x83), (&b"bc"[..], 0x84)]);
        let (entries, complete) = short_form(&fork[..fork.len() - 1], true);
        assert!(!complete);
        assert_eq!(entries.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            start in 0_usize..400,
            end in 0_usize..400,
            ftype: bool,
        ) {
            let (entries, _) = parse(&bytes, start..end, ftype);
            for pair in entries.windows(2) {
                prop_assert!(pair[0].range.end <= pair[1].range.start);
            }
            let _ = short_form(&bytes, ftype);
        }
    }
}
