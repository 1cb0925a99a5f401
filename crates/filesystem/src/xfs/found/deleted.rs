//! What is left of deleted inodes and deleted names.
//!
//! A freed inode loses its mode, its size and the count of its extents; the extents themselves
//! stay where they were (kernel: `xfs_ifree`, `xfs_iflush_fork`). A deleted entry loses the first
//! four bytes of its inode number to `struct xfs_dir2_data_unused`; inode numbers have zeros there
//! unless the file system is very large, and name and tag stay.

use std::ops::Range;

use evidence::{ByteOffset, Fields, ReadAtExt};

use crate::xfs::data::{ALIGN, FREE_TAG};
use crate::xfs::extent::{RECORD_BYTES, Record, record_of};
use crate::xfs::inode::{self, LITERAL_V2, LITERAL_V3};
use crate::xfs::superblock::Version;
use crate::xfs::volume::Volume;
use crate::{Inode, InodeNumber, Standing};

/// `S_IFREG` with the permissions that nobody remembers.
const REGULAR: u16 = 0o100_600;
/// `XFS_DINODE_FMT_EXTENTS`.
const FMT_EXTENTS: u8 = 2;
/// XFS allocates at most so many bytes ahead of a file's end (kernel: `XFS_MAX_BMBT_EXTLEN` blocks; of smaller files
/// as much again as they have), and a file of zeros is no mail.
const MOST_ZEROS: u64 = 64 << 20;
/// The first bytes of a deleted entry's inode number: `freetag` and `length` stand there now.
const OVERWRITTEN: usize = 4;

/// Whether the freed inode `raw` still has an extent of a file.
pub(super) fn has_extents(volume: &Volume, raw: &[u8]) -> bool {
    let is_freed = is_freed(raw);
    is_freed && extents(volume, raw).next().is_some()
}

/// Whether an inode was freed, and its extents may be where they were.
fn is_freed(raw: &[u8]) -> bool {
    let fields = Fields::new(raw);
    fields.be_u16(2) == Some(0) && fields.u8(5) == Some(FMT_EXTENTS)
}

/// The extents of the file that a freed inode was, from its beginning on: behind the last lie those of an
/// earlier file, which begin somewhere else.
fn extents(volume: &Volume, raw: &[u8]) -> impl Iterator<Item = Record> {
    let fork_at = match volume.sb.version {
        Version::V4 => LITERAL_V2,
        Version::V5 => LITERAL_V3,
    };
    let fork = raw.get(fork_at..).unwrap_or_default();
    let mut blocks = 0_u64;
    fork.chunks_exact(RECORD_BYTES).map_while(move |record| {
        let record = record_of(Fields::new(record), &volume.sb)
            .filter(|record| record.br_startoff == blocks && !record.unwritten)?;
        blocks = blocks.checked_add(record.br_blockcount)?;
        Some(record)
    })
}

/// The file that the freed inode `raw` at `place` was, if its extents are still there.
///
/// How long it was is not known any more: it ends at the last byte of its last block that is not
/// zero, since XFS fills the rest of a block with zeros. Text never ends in zeros.
pub(super) fn remains(
    volume: &Volume,
    number: InodeNumber,
    place: ByteOffset,
    mut raw: Vec<u8>,
) -> Option<Inode> {
    is_freed(&raw).then_some(())?;
    let records: Vec<Record> = extents(volume, &raw).collect();
    let count = u32::try_from(records.len()).ok()?;
    let last = records.last()?;
    let blocks = last.br_startoff.checked_add(last.br_blockcount)?;
    let block = u64::from(volume.sb.block.get());
    let length = last.br_blockcount.checked_mul(block)?;
    let end = used(volume, last.at, length)?;
    let size = blocks
        .checked_mul(block)?
        .checked_sub(length)?
        .checked_add(end)?;
    let mut put = |at: usize, bytes: &[u8]| {
        let target = raw.get_mut(at..at.checked_add(bytes.len())?)?;
        target.copy_from_slice(bytes);
        Some(())
    };
    put(2, &REGULAR.to_be_bytes())?;
    put(56, &size.to_be_bytes())?;
    put(76, &count.to_be_bytes())?;
    put(82, &[0])?;
    let inode = inode::of_raw(volume.sb.version, number, place, raw).ok()?;
    Some(Inode {
        standing: Standing::Deleted,
        ..inode
    })
}

/// How many of the `length` bytes at `at` come before the zeros at their end, of which no file has more
/// than [`MOST_ZEROS`].
fn used(volume: &Volume, at: ByteOffset, length: u64) -> Option<u64> {
    const STEP: u64 = 65536;
    let mut end = length;
    while end > 0 {
        if length.saturating_sub(end) > MOST_ZEROS {
            return None;
        }
        let start = end.saturating_sub(1) & !(STEP - 1);
        let part = usize::try_from(end.checked_sub(start)?).ok()?;
        let bytes = volume.view.read_whole(at.checked_add(start)?, part)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return start.checked_add(last as u64)?.checked_add(1);
        }
        end = start;
    }
    Some(0)
}

/// A deleted entry: its name, and what is left of its inode number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeletedEntry<'a> {
    pub(super) name: &'a [u8],
    /// The number; its upper half is taken to be zero where it was written over.
    pub(super) inumber: u64,
}

/// The deleted entries in the free space of `block[within]`.
pub(super) fn entries(block: &[u8], within: Range<usize>, ftype: bool) -> Vec<DeletedEntry<'_>> {
    let fields = Fields::new(block);
    let mut all = Vec::new();
    let mut at = within.start;
    while at < within.end {
        let length = fields.be_u16(at.saturating_add(2)).unwrap_or(0);
        let end = at.saturating_add(length.into());
        let is_free = fields.be_u16(at) == Some(FREE_TAG) && end > at && end <= within.end;
        if !is_free {
            at = at.saturating_add(ALIGN);
            continue;
        }
        let mut next = at;
        while next < end {
            match former(fields, next, at..end, ftype) {
                Some((entry, stop)) => {
                    all.push(entry);
                    next = stop;
                }
                None => next = next.saturating_add(ALIGN),
            }
        }
        at = end.next_multiple_of(ALIGN);
    }
    all
}

/// The entry that was at `at`, inside the free space `free`, and where it ended.
fn former<'a>(
    fields: Fields<'a>,
    at: usize,
    free: Range<usize>,
    ftype: bool,
) -> Option<(DeletedEntry<'a>, usize)> {
    let namelen = usize::from(fields.u8(at.checked_add(8)?)?);
    let name = fields.slice(at.checked_add(9)?, namelen)?;
    let stop = at
        .checked_add(9)?
        .checked_add(namelen)?
        .checked_add(usize::from(ftype))?
        .checked_add(2)?
        .checked_next_multiple_of(ALIGN)?;
    if namelen == 0 || stop > free.end || name.contains(&0) || name.contains(&b'/') {
        return None;
    }
    let tag = usize::from(fields.be_u16(stop.checked_sub(2)?)?);
    // The tag of the last entry is that of the free space now.
    if tag != at && !(stop == free.end && tag == free.start) {
        return None;
    }
    let inumber = fields.be_u64(at)?;
    let inumber = if fields.be_u16(at)? == FREE_TAG {
        u64::from(fields.be_u32(at.checked_add(OVERWRITTEN)?)?)
    } else {
        inumber
    };
    let dots = name == b"." || name == b"..";
    (!dots && inumber > 0).then_some((DeletedEntry { name, inumber }, stop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfs::data::tests::entry_bytes;
    use proptest::prelude::*;

    #[test]
    fn entries_in_free_space_keep_their_names_and_the_lower_half_of_their_numbers() {
        let mut block = entry_bytes(0, b"alive", 11);
        let start = block.len();
        block.extend(entry_bytes(start, b"first that was deleted", 4711));
        let second = block.len();
        block.extend(entry_bytes(second, b"second", 4712));
        let end = block.len();
        block[start..start + 2].fill(0xFF);
        block[start + 2..start + 4].copy_from_slice(&((end - start) as u16).to_be_bytes());
        block[end - 2..].copy_from_slice(&(start as u16).to_be_bytes());
        let found = entries(&block, 0..end, true);
        let found: Vec<(&[u8], u64)> = found.iter().map(|e| (e.name, e.inumber)).collect();
        assert_eq!(
            found,
            [
                (&b"first that was deleted"[..], 4711),
                (&b"second"[..], 4712)
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            frees in prop::collection::vec((0_usize..36, 0_u16..300), 0..4),
            ftype: bool,
        ) {
            for (at, length) in frees {
                if let Some(head) = bytes.get_mut(at * 8..at * 8 + 4) {
                    head[..2].fill(0xFF);
                    head[2..].copy_from_slice(&length.to_be_bytes());
                }
            }
            let _ = entries(&bytes, 0..bytes.len(), ftype);
        }
    }
}
