//! Log records: transactions out of the ring of blocks.
//!
//! Specification: *Journaling Log*; kernel: `struct xlog_rec_header`, `struct xlog_op_header` in
//! `libxfs/xfs_log_format.h`. Every block of a record begins with the cycle in which it was
//! written, and the word that belongs there stands in the record's header. A record of an
//! earlier lap that was partly written over is left out, as is a transaction of which a part is
//! missing.

use std::collections::HashMap;

use evidence::{ByteOffset, Fields, ReadAt};

use super::geometry::most;
use super::seen::SeenRecord;
use crate::cache::read_whole;

/// `BBSIZE`.
const BLOCK: u64 = 512;
/// `XLOG_VERSION_2`.
const XLOG_VERSION_2: u32 = 2;
/// `XLOG_HEADER_CYCLE_SIZE`.
const HEADER_CYCLE_SIZE: u64 = 32 * 1024;
/// How many words of data blocks one header keeps.
const CYCLES: usize = 64;
/// `XLOG_MAX_RECORD_BSIZE`.
const MAX_RECORD: u64 = 256 * 1024;
/// `XLOG_FMT_LINUX_LE`: the only byte order of items that is read.
const XLOG_FMT_LINUX_LE: u32 = 1;
/// `sizeof(struct xlog_op_header)`.
const OP_HEADER: usize = 12;
/// `XFS_TRANSACTION`, of `oh_clientid`.
const XFS_TRANSACTION: u8 = 0x69;
/// `XLOG_START_TRANS` and others, of `oh_flags`.
const XLOG_START_TRANS: u8 = 0x01;
const XLOG_COMMIT_TRANS: u8 = 0x02;
const XLOG_WAS_CONT_TRANS: u8 = 0x08;
const XLOG_UNMOUNT_TRANS: u8 = 0x20;

/// A transaction: its regions, in order.
pub(super) struct Transaction {
    /// The LSN of the record that it begins in.
    pub(super) lsn: u64,
    pub(super) regions: Vec<Vec<u8>>,
}

/// What the log says of how it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// From this LSN on records may not have been written back; `None` if the file system was
    /// unmounted.
    pub(super) dirty_from: Option<u64>,
}

/// A record whose blocks are all of one write.
struct Record {
    h_lsn: u64,
    h_tail_lsn: u64,
    /// Its first block and the one behind its last, counted in the log.
    end: u64,
    ops: Vec<u8>,
}

/// Reads all records of one log that can still be read, oldest first, and hands on their
/// transactions. `None` if there is not one record.
pub(super) fn transactions(
    view: &dyn ReadAt,
    seen: &[SeenRecord],
    mut take: impl FnMut(&Transaction),
) -> Option<Tail> {
    let start_of = |record: &SeenRecord| {
        let position = record.h_lsn & 0xFFFF_FFFF;
        record.place.checked_sub(position.checked_mul(BLOCK)?)
    };
    let start = most(seen.iter().filter_map(start_of))?;
    let mut records: Vec<&SeenRecord> =
        seen.iter().filter(|r| start_of(r) == Some(start)).collect();
    records.sort_by_key(|record| record.h_lsn);
    let mut open: HashMap<u32, Transaction> = HashMap::new();
    let mut last: Option<Record> = None;
    let mut unmounted = false;
    for seen in records {
        let Some(record) = read(view, seen.place) else {
            continue;
        };
        let follows = last.as_ref().is_some_and(|last| follows(last, &record));
        if !follows {
            open.clear();
        }
        unmounted = operations(&record, &mut open, &mut take);
        last = Some(record);
    }
    let last = last?;
    Some(Tail {
        dirty_from: (!unmounted).then_some(last.h_tail_lsn),
    })
}

/// Whether `next` is the record behind `last`: right behind it, or at the start of the next lap.
fn follows(last: &Record, next: &Record) -> bool {
    let (cycle, position) = (next.h_lsn >> 32, next.h_lsn & 0xFFFF_FFFF);
    let same = cycle == last.h_lsn >> 32;
    let lap = cycle.checked_sub(last.h_lsn >> 32) == Some(1);
    (same && position == last.end) || (lap && position <= last.h_lsn & 0xFFFF_FFFF)
}

/// The record whose header is at `place`.
fn read(view: &dyn ReadAt, place: u64) -> Option<Record> {
    let at = ByteOffset::new(place);
    let head = read_whole(view, at, 512).ok()?;
    let fields = Fields::new(&head);
    let h_len = u64::from(fields.be_u32(12)?);
    let h_size = u64::from(fields.be_u32(320)?).min(MAX_RECORD);
    if h_len > MAX_RECORD || h_len == 0 || fields.be_u32(300)? != XLOG_FMT_LINUX_LE {
        return None;
    }
    let headers = match fields.be_u32(8)? & XLOG_VERSION_2 {
        0 => 1,
        _ => h_size.div_ceil(HEADER_CYCLE_SIZE).max(1),
    };
    let blocks = headers.checked_add(h_len.div_ceil(BLOCK))?;
    let length = usize::try_from(blocks.checked_mul(BLOCK)?).ok()?;
    let mut whole = read_whole(view, at, length).ok()?;
    let data_at = usize::try_from(headers.checked_mul(BLOCK)?).ok()?;
    let mut data = whole.split_off(data_at);
    let cycle = fields.be_u32(4)?;
    for (number, block) in data.chunks_exact_mut(512).enumerate() {
        if Fields::new(block).be_u32(0)? != cycle {
            return None;
        }
        block.get_mut(..4)?.copy_from_slice(word(&whole, number)?);
    }
    let h_lsn = fields.be_u64(16)?;
    data.truncate(usize::try_from(h_len).ok()?);
    Some(Record {
        h_lsn,
        h_tail_lsn: fields.be_u64(24)?,
        end: (h_lsn & 0xFFFF_FFFF).checked_add(blocks)?,
        ops: data,
    })
}

/// The word that belongs at the start of the data block `number`: `h_cycle_data`,
/// `xh_cycle_data`.
fn word(headers: &[u8], number: usize) -> Option<&[u8]> {
    let header = number.checked_div(CYCLES)?;
    let inside = number.checked_rem(CYCLES)?.checked_mul(4)?;
    let list_at = if header == 0 { 44 } else { 4 };
    let at = header
        .checked_mul(512)?
        .checked_add(list_at)?
        .checked_add(inside)?;
    Fields::new(headers).slice(at, 4)
}

/// Goes through the operations of a record; whether it says that the file system was unmounted.
fn operations(
    record: &Record,
    open: &mut HashMap<u32, Transaction>,
    take: &mut impl FnMut(&Transaction),
) -> bool {
    let fields = Fields::new(&record.ops);
    let mut at = 0_usize;
    let mut unmounted = false;
    while let Some((oh_tid, oh_len, oh_clientid, oh_flags)) = header(fields, at) {
        let start = at.saturating_add(OP_HEADER);
        let Some(region) = fields.slice(start, oh_len) else {
            break;
        };
        at = start.saturating_add(oh_len);
        unmounted = oh_flags & XLOG_UNMOUNT_TRANS != 0;
        if oh_clientid != XFS_TRANSACTION {
            continue;
        }
        if oh_flags & XLOG_START_TRANS != 0 {
            let lsn = record.h_lsn;
            let regions = Vec::new();
            open.insert(oh_tid, Transaction { lsn, regions });
        }
        let Some(transaction) = open.get_mut(&oh_tid) else {
            continue;
        };
        match transaction.regions.last_mut() {
            Some(last) if oh_flags & XLOG_WAS_CONT_TRANS != 0 => last.extend_from_slice(region),
            _ if oh_len > 0 => transaction.regions.push(region.to_vec()),
            _ => {}
        }
        if oh_flags & XLOG_COMMIT_TRANS != 0
            && let Some(whole) = open.remove(&oh_tid)
        {
            take(&whole);
        }
    }
    unmounted
}

/// `struct xlog_op_header` at `at`.
fn header(fields: Fields<'_>, at: usize) -> Option<(u32, usize, u8, u8)> {
    let oh_len = fields.be_u32(at.checked_add(4)?)?;
    Some((
        fields.be_u32(at)?,
        usize::try_from(oh_len).ok()?,
        fields.u8(at.checked_add(8)?)?,
        fields.u8(at.checked_add(9)?)?,
    ))
}
