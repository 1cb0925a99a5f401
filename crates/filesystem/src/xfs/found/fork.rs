//! Maps of which the tree is damaged, completed from leaves that name the inode themselves.

use std::ops::Range;

use evidence::{ByteOffset, Fields};

use super::rebuilt::Source;
use crate::xfs::checksum::{self, BTREE_LONG};
use crate::xfs::extent::{self, END_OF_FILE_BLOCKS, Map, RECORD_BYTES, Record, records};
use crate::xfs::inode::{Dinode, Format};
use crate::{Extents, Inode};

/// `XFS_BTREE_LBLOCK_CRC_LEN`.
const HEADER: usize = 72;

/// Where the contents of `inode` lie.
pub(super) fn extents(source: &Source, inode: &Inode) -> Extents {
    let volume = &source.volume;
    let dinode = match Dinode::parse(&inode.raw, volume.sb.version) {
        Ok(dinode) if dinode.format == Format::Btree => dinode,
        _ => return extent::extents(volume, inode),
    };
    let mut map = extent::map(volume, inode, &dinode);
    if !map.lost.is_empty() {
        complete(source, inode, &dinode, &mut map);
    }
    Extents {
        pieces: extent::pieces(&map, inode.size, volume.sb.block.get()),
        losses: map.losses,
    }
}

/// Puts what leaves of `inode` say into the lost ranges of its map.
///
/// The leaves of an attribute fork look the same; their records do not fit between those that are
/// known, or give more extents than the inode has: then nothing is taken.
fn complete(source: &Source, inode: &Inode, dinode: &Dinode<'_>, map: &mut Map) {
    let leaves = source.leaves.get(&inode.number.0);
    let mut all = map.records.clone();
    for place in leaves.into_iter().flatten() {
        let Some(found) = leaf(source, inode, ByteOffset::new(*place)) else {
            continue;
        };
        let is_lost = |record: &Record| {
            let range = record.range();
            let inside = |lost: &Range<u64>| lost.start <= range.start && range.end <= lost.end;
            map.lost.iter().any(inside)
        };
        all.extend(found.into_iter().filter(is_lost));
    }
    all.sort_by_key(|record| record.br_startoff);
    all.dedup();
    let apart = all.windows(2).all(|pair| match pair {
        [one, next] => one.range().end <= next.br_startoff,
        _ => true,
    });
    let count = all.len() as u64;
    if !apart || count > dinode.di_nextents {
        return;
    }
    map.records = all;
    if count == dinode.di_nextents {
        map.lost.clear();
        map.losses.clear();
    } else {
        // Between them, what is no hole cannot be told from what is one.
        map.lost.clear();
        map.holes_doubted = true;
    }
}

/// The records of the leaf at `place`, if it is one of `inode`.
fn leaf(source: &Source, inode: &Inode, place: ByteOffset) -> Option<Vec<Record>> {
    let volume = &source.volume;
    let block = volume.cache.read(place, volume.sb.block.len()).ok()?;
    checksum::check(&block, BTREE_LONG, volume.expected(place, inode.number)).ok()?;
    let count = usize::from(Fields::new(&block).be_u16(6)?);
    let list = Fields::new(&block).slice(HEADER, count.checked_mul(RECORD_BYTES)?)?;
    records(list, &(0..END_OF_FILE_BLOCKS), &volume.sb).ok()
}
