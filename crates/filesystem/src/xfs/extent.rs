//! The map of a data fork: extents in the inode, or a tree of them (`btree.rs`).
//!
//! Specification: *Data Extents*; kernel: `struct xfs_bmbt_rec`, `xfs_bmap_btree.c`.

use std::ops::Range;

use evidence::{ByteOffset, Cause, Fields, Loss};

use super::ag::FsBlock;
use super::btree;
use super::inode::{Dinode, Format};
use super::superblock::Superblock;
use super::volume::{Volume, corrupt};
use crate::pieces::Pieces;
use crate::{Extent, Extents, Inode, Place};

/// The bytes of a record: `xfs_bmbt_rec_t`.
pub(super) const RECORD_BYTES: usize = 16;
/// The end of the file blocks that a record can name: `br_startoff` has 54 bits.
pub(super) const END_OF_FILE_BLOCKS: u64 = 1 << 54;

/// `xfs_bmbt_irec`: a run of blocks, inside the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The first block in the file.
    pub(super) br_startoff: u64,
    /// The first block in the file system.
    pub(super) br_startblock: FsBlock,
    /// Where that lies.
    pub(super) at: ByteOffset,
    /// How many blocks, at least one.
    pub(super) br_blockcount: u64,
    /// `br_state`: allocated, never written.
    pub(super) unwritten: bool,
}

impl Record {
    /// The blocks of the file that it covers.
    pub(super) fn range(&self) -> Range<u64> {
        self.br_startoff..self.br_startoff.saturating_add(self.br_blockcount)
    }
}

/// What is known of a data fork's map.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// The records by file block, apart from each other.
    pub(super) records: Vec<Record>,
    /// The ranges of file blocks whose records were lost, by file block.
    pub(super) lost: Vec<Range<u64>>,
    /// Whether the tree has another number of extents than the inode says, so that what no
    /// record covers need not be a hole.
    pub(super) holes_doubted: bool,
    pub(super) losses: Vec<Loss>,
}

/// Reads records that have to lie in `range`, each behind the one before.
///
/// One that does not makes the whole list worthless: which of them is wrong cannot be told.
pub(super) fn records(
    bytes: &[u8],
    range: &Range<u64>,
    sb: &Superblock,
) -> Result<Vec<Record>, String> {
    let mut all = Vec::with_capacity(bytes.len() / RECORD_BYTES);
    let mut end = range.start;
    for record in bytes.chunks_exact(RECORD_BYTES) {
        let record = record_of(Fields::new(record), sb).ok_or("an extent lies nowhere")?;
        let covers = record.range();
        if covers.start < end || covers.end > range.end {
            return Err("its extents overlap or are out of their range".to_owned());
        }
        end = covers.end;
        all.push(record);
    }
    Ok(all)
}

/// Takes one record apart: 1 bit state, 54 bits offset, 52 bits block, 21 bits length.
pub(super) fn record_of(fields: Fields<'_>, sb: &Superblock) -> Option<Record> {
    let (l0, l1) = (fields.be_u64(0)?, fields.be_u64(8)?);
    let br_startblock = FsBlock((l0 & 0x1FF) << 43 | l1 >> 21);
    let br_blockcount = l1 & 0x1F_FFFF;
    if br_blockcount == 0 {
        return None;
    }
    Some(Record {
        br_startoff: (l0 >> 9) & (END_OF_FILE_BLOCKS - 1),
        br_startblock,
        at: sb.run(br_startblock, br_blockcount)?,
        br_blockcount,
        unwritten: l0 >> 63 == 1,
    })
}

/// The map of the data fork of `inode`.
pub(super) fn map(volume: &Volume, inode: &Inode, dinode: &Dinode<'_>) -> Map {
    let all = 0..END_OF_FILE_BLOCKS;
    let cause = match dinode.format {
        // No blocks belong to the contents.
        Format::Dev | Format::Local => return Map::default(),
        _ if dinode.realtime => {
            Cause::Unsupported("files on the realtime device are not read".to_owned())
        }
        Format::Btree => return btree::map(volume, inode, dinode),
        Format::Extents => {
            let length = usize::try_from(dinode.di_nextents)
                .unwrap_or(usize::MAX)
                .saturating_mul(RECORD_BYTES);
            let found = match dinode.fork.get(..length) {
                Some(bytes) => records(bytes, &all, &volume.sb),
                None => Err(format!("{} extents do not fit into it", dinode.di_nextents)),
            };
            match found {
                Ok(records) => {
                    return Map {
                        records,
                        ..Map::default()
                    };
                }
                Err(why) => corrupt(why),
            }
        }
    };
    let what = format!("map of inode {}", inode.number);
    Map {
        lost: vec![all],
        losses: vec![volume.loss(what, inode.place, cause)],
        ..Map::default()
    }
}

/// Where the contents of `inode` lie.
pub(super) fn extents(volume: &Volume, inode: &Inode) -> Extents {
    let dinode = match Dinode::parse(&inode.raw, volume.sb.version) {
        Ok(dinode) => dinode,
        Err(why) => return all_lost(volume, inode, corrupt(why)),
    };
    if dinode.format == Format::Local {
        let place = match inode.place.checked_add(dinode.fork_at as u64) {
            Some(at) if inode.size <= dinode.fork.len() as u64 => Place::At(at),
            _ => return all_lost(volume, inode, corrupt("its contents do not fit into it")),
        };
        return Extents {
            pieces: whole(inode.size, place),
            losses: Vec::new(),
        };
    }
    let map = map(volume, inode, &dinode);
    Extents {
        pieces: pieces(&map, inode.size, volume.sb.block.get()),
        losses: map.losses,
    }
}

/// A map that says only that all was lost.
pub(super) fn all_lost(volume: &Volume, inode: &Inode, cause: Cause) -> Extents {
    let what = format!("contents of inode {}", inode.number);
    Extents {
        pieces: whole(inode.size, Place::Lost),
        losses: vec![volume.loss(what, inode.place, cause)],
    }
}

/// One piece from 0 to `size`, or none.
fn whole(size: u64, place: Place) -> Vec<Extent> {
    let mut pieces = Pieces::new(size, Place::Hole);
    pieces.push(0..size, place);
    pieces.finish()
}

/// The map in bytes, from 0 to `size` without a break.
pub(super) fn pieces(map: &Map, size: u64, block_bytes: u32) -> Vec<Extent> {
    let between = match map.holes_doubted {
        true => Place::Lost,
        false => Place::Hole,
    };
    let bytes = |range: Range<u64>| {
        let block = u64::from(block_bytes);
        range.start.saturating_mul(block)..range.end.saturating_mul(block)
    };
    let mut pieces = Pieces::new(size, between);
    let mut lost = map.lost.iter().peekable();
    for record in &map.records {
        while let Some(range) = lost.next_if(|range| range.start <= record.br_startoff) {
            pieces.push(bytes(range.clone()), Place::Lost);
        }
        let place = match record.unwritten {
            true => Place::Unwritten,
            false => Place::At(record.at),
        };
        pieces.push(bytes(record.range()), place);
    }
    for range in lost {
        pieces.push(bytes(range.clone()), Place::Lost);
    }
    pieces.finish()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::xfs::checksum::tests::seal;
    use crate::xfs::inode::read;
    use crate::xfs::inode::tests::{NUMBER, image};
    use crate::xfs::superblock::tests::superblock;
    use crate::xfs::volume::tests::volume;
    use proptest::prelude::*;

    /// The bytes of a record.
    pub(in crate::xfs) fn record(offset: u64, block: u64, count: u64, unwritten: bool) -> Vec<u8> {
        let l0 = u64::from(unwritten) << 63 | offset << 9 | block >> 43;
        let l1 = block << 21 | count;
        [l0.to_be_bytes(), l1.to_be_bytes()].concat()
    }

    fn extents_of(size: u64, list: &[Vec<u8>]) -> Extents {
        let raw = image(0o100_644, 2, list.len() as u32, size, &list.concat());
        let volume = volume(&[(NUMBER.0 * 512, &raw)]);
        let inode = read(&volume, NUMBER).unwrap();
        extents(&volume, &inode)
    }

    fn piece(file_offset: u64, length: u64, place: Place) -> Extent {
        Extent {
            file_offset,
            length,
            place,
        }
    }

    #[test]
    fn neighbours_join_holes_are_named_and_the_size_cuts() {
        let list = [
            record(1, 40, 1, false),
            record(2, 41, 2, false),
            record(4, 50, 1, true),
            record(5, 1024, 9, false),
        ];
        let found = extents_of(6 * 4096 + 5, &list);
        assert_eq!(found.losses, []);
        assert_eq!(
            found.pieces,
            [
                piece(0, 4096, Place::Hole),
                piece(4096, 3 * 4096, Place::At(ByteOffset::new(40 * 4096))),
                piece(4 * 4096, 4096, Place::Unwritten),
                piece(5 * 4096, 4096 + 5, Place::At(ByteOffset::new(1000 * 4096))),
            ]
        );
        assert_eq!(extents_of(0, &list).pieces, []);
    }

    #[test]
    fn a_list_that_contradicts_itself_is_lost_as_a_whole() {
        for list in [
            [record(1, 40, 2, false), record(2, 50, 1, false)],
            [record(2, 40, 1, false), record(1, 50, 1, false)],
            [record(0, 40, 1, false), record(1, 999, 2, false)],
            [record(0, 40, 1, false), record(1, 50, 0, false)],
        ] {
            let found = extents_of(9000, &list);
            assert_eq!(found.pieces, [piece(0, 9000, Place::Lost)]);
            assert_eq!(found.losses.len(), 1);
        }
    }

    #[test]
    fn files_on_the_realtime_device_are_lost_as_our_limit() {
        let list = record(0, 40, 1, false);
        let mut raw = image(0o100_644, 2, 1, 9000, &list);
        raw[91] = 1;
        seal(&mut raw, 100);
        let volume = volume(&[(NUMBER.0 * 512, &raw)]);
        let found = extents(&volume, &read(&volume, NUMBER).unwrap());
        assert_eq!(found.pieces, [piece(0, 9000, Place::Lost)]);
        assert!(matches!(found.losses[0].cause, Cause::Unsupported(_)));
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were_written(
            offset in 0..END_OF_FILE_BLOCKS,
            block in 0_u64..1000,
            unwritten: bool,
        ) {
            let count = 1000 - block;
            let bytes = record(offset, block, count, unwritten);
            let found = record_of(Fields::new(&bytes), &superblock()).unwrap();
            prop_assert_eq!(found.br_startoff, offset);
            prop_assert_eq!(found.br_startblock, FsBlock(block));
            prop_assert_eq!(found.br_blockcount, count);
            prop_assert_eq!(found.unwritten, unwritten);
        }

        #[test]
        fn pieces_reach_from_zero_to_the_size_whatever_the_map(
            ranges in prop::collection::vec((0_u64..60, 1_u64..9, 0_u8..3), 0..12),
            size in 0_u64..300_000,
            holes_doubted: bool,
        ) {
            let mut map = Map { holes_doubted, ..Map::default() };
            for (br_startoff, br_blockcount, kind) in ranges {
                if kind == 2 {
                    map.lost.push(br_startoff..br_startoff + br_blockcount);
                } else {
                    map.records.push(Record {
                        br_startoff,
                        br_startblock: FsBlock(br_startoff),
                        at: ByteOffset::new(br_startoff * 4096),
                        br_blockcount,
                        unwritten: kind == 1,
                    });
                }
            }
            let mut end = 0;
            for piece in pieces(&map, size, 4096) {
                prop_assert_eq!(piece.file_offset, end);
                prop_assert!(piece.length > 0);
                end += piece.length;
            }
            prop_assert_eq!(end, size);
        }
    }
}
