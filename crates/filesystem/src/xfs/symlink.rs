//! Symbolic links whose target does not fit into the inode.
//!
//! In version 5 each run of blocks begins with a `struct xfs_dsymlink_hdr`, and the target
//! lies between these. Specification: *Symbolic Links*; kernel: `xfs_symlink_remote.c`.

use evidence::{Cause, Fields};

use super::checksum::{self, SYMLINK};
use super::extent::{self, Record, all_lost};
use super::inode::{Dinode, Format};
use super::volume::{Volume, corrupt};
use crate::{Extent, Extents, Inode, Place};

/// `XFS_SYMLINK_MAXLEN`.
const MAX_TARGET: u64 = 1024;
/// `XFS_SYMLINK_MAGIC`: `XSLM`.
const XFS_SYMLINK_MAGIC: u32 = 0x5853_4C4D;
/// `sizeof(struct xfs_dsymlink_hdr)`.
const HEADER: usize = 56;
/// The longest target takes no more blocks, whatever their size: `XFS_SYMLINK_MAPS`.
const MAX_BLOCKS: u64 = 3;

/// Where the target of the link `inode` lies.
pub(super) fn extents(volume: &Volume, inode: &Inode) -> Extents {
    if inode.size > MAX_TARGET {
        let why = format!("a target of {} bytes is too long", inode.size);
        return all_lost(volume, inode, corrupt(why));
    }
    let dinode = match Dinode::parse(&inode.raw, volume.sb.version) {
        Ok(dinode) => dinode,
        Err(why) => return all_lost(volume, inode, corrupt(why)),
    };
    if dinode.format == Format::Local || !volume.sb.has_crc() {
        return extent::extents(volume, inode);
    }
    let mut map = extent::map(volume, inode, &dinode);
    if let Some(loss) = map.losses.pop() {
        return all_lost(volume, inode, loss.cause);
    }
    match pieces(volume, inode, &map.records) {
        Ok(pieces) => Extents {
            pieces,
            losses: Vec::new(),
        },
        Err(cause) => all_lost(volume, inode, cause),
    }
}

/// The pieces of the target behind the header of each run.
fn pieces(volume: &Volume, inode: &Inode, records: &[Record]) -> Result<Vec<Extent>, Cause> {
    let mut pieces = Vec::new();
    let mut done = 0_u64;
    for record in records {
        let rest = inode.size.saturating_sub(done);
        if rest == 0 {
            break;
        }
        let length = run(volume, inode, record, done, rest)?;
        let at = record.at.checked_add(HEADER as u64);
        pieces.push(Extent {
            file_offset: done,
            length,
            place: at.map_or(Place::Lost, Place::At),
        });
        done = done.saturating_add(length);
    }
    if done < inode.size {
        return Err(corrupt("its target ends early"));
    }
    Ok(pieces)
}

/// Checks one run of blocks and gives how much of the target it holds.
fn run(
    volume: &Volume,
    inode: &Inode,
    record: &Record,
    done: u64,
    rest: u64,
) -> Result<u64, Cause> {
    if record.br_blockcount > MAX_BLOCKS {
        return Err(corrupt("it has more blocks than any target needs"));
    }
    let blocks = usize::try_from(record.br_blockcount).unwrap_or(0);
    let bytes = blocks.saturating_mul(volume.sb.block.len());
    let block = volume.cache.read(record.at, bytes)?;
    let fields = Fields::new(&block);
    if fields.be_u32(0) != Some(XFS_SYMLINK_MAGIC) {
        return Err(corrupt("its block is no target of a link"));
    }
    let expected = volume.expected(record.at, inode.number);
    checksum::check(&block, SYMLINK, expected).map_err(|doubt| Cause::Corrupt(doubt.describe()))?;
    let room = bytes.saturating_sub(HEADER) as u64;
    let length = rest.min(room);
    let says = (fields.be_u32(4), fields.be_u32(8));
    let is = |field: Option<u32>, want: u64| field.map(u64::from) == Some(want);
    if !is(says.0, done) || !is(says.1, length) {
        return Err(corrupt("its block is another part of a target"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfs::checksum::Expected;
    use crate::xfs::checksum::tests::describe;
    use crate::xfs::extent::tests::record;
    use crate::xfs::inode::read;
    use crate::xfs::inode::tests::{NUMBER, image};
    use crate::xfs::volume::tests::volume;
    use evidence::ByteOffset;
    use proptest::prelude::*;

    fn remote(size: u64) -> Vec<u8> {
        let mut block = vec![b't'; 4096];
        block[..4].copy_from_slice(b"XSLM");
        block[4..8].fill(0);
        block[8..12].copy_from_slice(&(size as u32).to_be_bytes());
        let expected = Expected {
            place: ByteOffset::new(40 * 4096),
            uuid: [7; 16],
            owner: NUMBER.0,
        };
        describe(&mut block, SYMLINK, expected);
        block
    }

    fn extents_of(size: u64, block: &[u8]) -> Extents {
        let raw = image(0o120_777, 2, 1, size, &record(0, 40, 1, false));
        let volume = volume(&[(NUMBER.0 * 512, &raw), (40 * 4096, block)]);
        extents(&volume, &read(&volume, NUMBER).unwrap())
    }

    #[test]
    fn a_target_lies_behind_its_header() {
        let found = extents_of(600, &remote(600));
        assert_eq!(found.losses, []);
        let at = ByteOffset::new(40 * 4096 + 56);
        assert_eq!(found.pieces[0].place, Place::At(at));
        assert_eq!(found.pieces[0].length, 600);
    }

    #[test]
    fn a_target_that_is_not_sound_is_lost() {
        for inside in [0, 7, 11, 47, 2000] {
            let mut block = remote(600);
            block[inside] ^= 1;
            let found = extents_of(600, &block);
            assert_eq!(found.pieces[0].place, Place::Lost, "byte {inside}");
            assert_eq!(found.losses.len(), 1);
        }
        assert_eq!(extents_of(1025, &remote(1025)).losses.len(), 1);
    }

    proptest! {
        #[test]
        fn any_block_is_read_without_panic(block in prop::collection::vec(any::<u8>(), 0..500), size in 0_u64..2000) {
            let _ = extents_of(size, &block);
        }
    }
}
