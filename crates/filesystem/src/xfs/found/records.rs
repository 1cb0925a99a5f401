//! Log records: transactions out of the ring of blocks.
//!
//! Specification: *Journaling Log*; kernel: `struct xlog_rec_header`, `struct xlog_op_header` in
//! `libxfs/xfs_log_format.h`. Every block of a record begins with the cycle in which it was
//! written, and the word that belongs there stands in the record's header. Where blocks are
//! missing, or of another lap, what is before and behind them is read still: behind them the next
//! header of an operation is looked for. What comes of it is a part of a transaction, which is
//! told apart from a whole one.

use std::collections::HashMap;

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

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
const XLOG_CONTINUE_TRANS: u8 = 0x04;
const XLOG_WAS_CONT_TRANS: u8 = 0x08;
const XLOG_UNMOUNT_TRANS: u8 = 0x20;
/// All of them.
const XLOG_KNOWN_FLAGS: u8 = 0x3F;

/// A transaction, or a part of one: its regions, in order.
#[derive(Default)]
pub(super) struct Transaction {
    /// The LSN of the record that it begins in.
    pub(super) lsn: u64,
    pub(super) regions: Vec<Vec<u8>>,
    /// It began, nothing of it is missing, and it was committed.
    pub(super) whole: bool,
    /// The last region goes on in the next record.
    pub(super) continues: bool,
}

/// What the log says of how it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// From this LSN on records may not have been written back; `None` if the file system was
    /// unmounted.
    pub(super) dirty_from: Option<u64>,
}

/// A record.
struct Record {
    h_lsn: u64,
    h_tail_lsn: u64,
    /// The block behind its last, counted in the log.
    end: u64,
    ops: Vec<u8>,
    /// For each 512 bytes of `ops`, whether they are this record's.
    sound: Vec<bool>,
}

impl Record {
    /// Whether all of `length` bytes at `at` are this record's.
    fn is_sound(&self, at: usize, length: usize) -> bool {
        let end = at.saturating_add(length).div_ceil(512);
        let blocks = self.sound.get(at / 512..end);
        blocks.is_some_and(|blocks| blocks.iter().all(|sound| *sound))
    }
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
    let mut open: Open = HashMap::new();
    let mut last: Option<Record> = None;
    let mut unmounted = false;
    for seen in records {
        let Some(record) = read(view, seen.place) else {
            continue;
        };
        let follows = last.as_ref().is_some_and(|last| follows(last, &record));
        if !follows {
            flush(&mut open, &mut take);
        }
        unmounted = operations(&record, &mut open, &mut take);
        last = Some(record);
    }
    flush(&mut open, &mut take);
    let last = last?;
    Some(Tail {
        dirty_from: (!unmounted).then_some(last.h_tail_lsn),
    })
}

/// Transactions that are not committed yet, by `oh_tid`.
type Open = HashMap<u32, Transaction>;

/// Hands on what there is of open transactions: something behind is missing.
fn flush(open: &mut Open, take: &mut impl FnMut(&Transaction)) {
    let mut parts: Vec<Transaction> = open.drain().map(|(_, part)| part).collect();
    parts.sort_by_key(|part| part.lsn);
    for mut part in parts {
        part.whole = false;
        if part.continues {
            part.regions.pop();
        }
        take(&part);
    }
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
    let length = length.min(usize::try_from(view.len().checked_sub(place)?).ok()?);
    let (mut whole, gaps) = view.read_vec(at, length).ok()?;
    let data_at = usize::try_from(headers.checked_mul(BLOCK)?).ok()?;
    if data_at > whole.len() {
        return None;
    }
    let mut data = whole.split_off(data_at);
    let cycle = fields.be_u32(4)?;
    let mut sound = Vec::new();
    for (number, block) in data.chunks_exact_mut(512).enumerate() {
        let from = number.saturating_mul(512).saturating_add(data_at);
        let is_ours =
            Fields::new(block).be_u32(0)? == cycle && !gaps.touch(from..from.saturating_add(512));
        let word = word(&whole, number, cycle).filter(|_| is_ours);
        if let (Some(word), Some(first)) = (word, block.get_mut(..4)) {
            first.copy_from_slice(word);
        }
        sound.push(word.is_some());
    }
    let h_lsn = fields.be_u64(16)?;
    data.truncate(usize::try_from(h_len).ok()?);
    Some(Record {
        h_lsn,
        h_tail_lsn: fields.be_u64(24)?,
        end: (h_lsn & 0xFFFF_FFFF).checked_add(blocks)?,
        ops: data,
        sound,
    })
}

/// The word that belongs at the start of the data block `number`: `h_cycle_data`,
/// `xh_cycle_data`.
fn word(headers: &[u8], number: usize, cycle: u32) -> Option<&[u8]> {
    let header = number.checked_div(CYCLES)?;
    let own_cycle = header
        .checked_mul(512)
        .and_then(|at| Fields::new(headers).be_u32(at));
    if header > 0 && own_cycle != Some(cycle) {
        return None;
    }
    let inside = number.checked_rem(CYCLES)?.checked_mul(4)?;
    let list_at = if header == 0 { 44 } else { 4 };
    let at = header
        .checked_mul(512)?
        .checked_add(list_at)?
        .checked_add(inside)?;
    Fields::new(headers).slice(at, 4)
}

/// Goes through the operations of a record; whether it says that the file system was unmounted.
fn operations(record: &Record, open: &mut Open, take: &mut impl FnMut(&Transaction)) -> bool {
    let mut at = 0_usize;
    let mut unmounted = false;
    while at.saturating_add(OP_HEADER) <= record.ops.len() {
        let Some(op) = Operation::read(record, at) else {
            flush(open, take);
            match resume(record, at) {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        at = op.end;
        unmounted = op.oh_flags & XLOG_UNMOUNT_TRANS != 0;
        if op.oh_clientid == XFS_TRANSACTION {
            op.add(record.h_lsn, open, take);
        }
    }
    unmounted
}

/// Where the operations go on behind damage at `at`: the first place from which two headers follow
/// on each other.
fn resume(record: &Record, at: usize) -> Option<usize> {
    let mut next = at.saturating_add(4).next_multiple_of(4);
    while next.saturating_add(OP_HEADER) <= record.ops.len() {
        let is_op = |op: &Operation<'_>| {
            let plain = op.oh_flags & !XLOG_KNOWN_FLAGS == 0;
            op.oh_clientid == XFS_TRANSACTION && plain && op.oh_res2 == 0
        };
        let follows = |op: Operation<'_>| {
            op.end == record.ops.len() || Operation::read(record, op.end).is_some_and(|o| is_op(&o))
        };
        if Operation::read(record, next)
            .filter(is_op)
            .is_some_and(follows)
        {
            return Some(next);
        }
        next = next.saturating_add(4);
    }
    None
}

/// `struct xlog_op_header` and its region.
struct Operation<'a> {
    oh_tid: u32,
    oh_clientid: u8,
    oh_flags: u8,
    oh_res2: u16,
    region: &'a [u8],
    end: usize,
}

impl<'a> Operation<'a> {
    /// The operation at `at`, if it is sound.
    fn read(record: &'a Record, at: usize) -> Option<Self> {
        let fields = Fields::new(&record.ops);
        let oh_len = usize::try_from(fields.be_u32(at.checked_add(4)?)?).ok()?;
        let start = at.checked_add(OP_HEADER)?;
        let region = fields.slice(start, oh_len)?;
        let sound = record.is_sound(at, OP_HEADER.checked_add(oh_len)?);
        sound.then_some(Self {
            oh_tid: fields.be_u32(at)?,
            oh_clientid: fields.u8(at.checked_add(8)?)?,
            oh_flags: fields.u8(at.checked_add(9)?)?,
            oh_res2: fields.be_u16(at.checked_add(10)?)?,
            region,
            end: start.checked_add(oh_len)?,
        })
    }

    /// Adds it to its transaction, and hands that on if it is committed.
    fn add(&self, lsn: u64, open: &mut Open, take: &mut impl FnMut(&Transaction)) {
        let has = |flag: u8| self.oh_flags & flag != 0;
        if has(XLOG_START_TRANS) {
            let whole = true;
            let new = Transaction {
                lsn,
                whole,
                ..Transaction::default()
            };
            open.insert(self.oh_tid, new);
        }
        let transaction = open.entry(self.oh_tid).or_insert_with(|| Transaction {
            lsn,
            ..Transaction::default()
        });
        match transaction.regions.last_mut() {
            Some(last) if has(XLOG_WAS_CONT_TRANS) && transaction.continues => {
                last.extend_from_slice(self.region);
            }
            // The end of a region whose start is missing.
            _ if has(XLOG_WAS_CONT_TRANS) => transaction.whole = false,
            _ if !self.region.is_empty() => transaction.regions.push(self.region.to_vec()),
            _ => {}
        }
        transaction.continues = has(XLOG_CONTINUE_TRANS);
        if has(XLOG_COMMIT_TRANS)
            && let Some(all) = open.remove(&self.oh_tid)
        {
            take(&all);
        }
    }
}
