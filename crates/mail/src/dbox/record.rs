//! The files of a dbox: a line for the file, then messages, each with a header before it and its
//! metadata behind it.
//!
//! ```text
//! 2 M1e C6b04f4a0⏎                                version, size of message headers, creation
//! ␁␂N          00000000000008B5⏎                  magic, type, 8 unused, size of the message
//! …the message…
//! ⏎␁␃⏎                                            magic
//! R4effa200⏎ V8ed⏎ Gc16f…⏎ BINBOX⏎ ⏎              keys with values, an empty line
//! ```
//! Source: Dovecot's `src/lib-storage/index/dbox-common/dbox-file.h`.

use std::collections::BTreeMap;
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{Extent, Place};
use memchr::memmem;

use crate::store::{Wiped, wiped_sectors};

/// `DBOX_MAGIC_PRE` and the type of a message, `DBOX_MESSAGE_TYPE_NORMAL`.
pub(super) const MAGIC_PRE: &[u8] = b"\x01\x02N ";
/// `DBOX_MAGIC_POST`, with the line ends around it.
pub(super) const MAGIC_POST: &[u8] = b"\n\x01\x03\n";
/// The length of `struct dbox_message_header`.
const MESSAGE_HEADER: usize = 30;
/// Metadata is no longer: names of folders and of files with attachments.
const MOST_METADATA: usize = 8 << 10;
/// What is read at a time: a multiple of a sector.
const WINDOW: usize = 1 << 20;

/// A message in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Where its header begins; of what lost that, where the rest of it begins.
    pub(super) offset: u64,
    /// The message.
    pub(super) message: Range<u64>,
    /// What stands behind it, by key.
    pub(super) metadata: BTreeMap<u8, String>,
    /// Whether its header, and perhaps more of its beginning, is lost.
    pub(super) is_beginless: bool,
}

impl Record {
    /// The number in hexadecimal that stands under `key`.
    pub(super) fn number(&self, key: u8) -> Option<u64> {
        u64::from_str_radix(self.metadata.get(&key)?, 16).ok()
    }
}

/// Whether a file begins as one of a dbox does.
pub(super) fn begins(head: &[u8]) -> bool {
    let Some(line) = head.split(|byte| *byte == b'\n').next() else {
        return false;
    };
    line.starts_with(b"2 M")
        && line.len() < 200
        && line.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// What is in a file.
pub(super) struct Records {
    /// By their offsets.
    pub(super) records: Vec<Record>,
    pub(super) wiped: Wiped,
}

/// Reads `file`, whose extents are `pieces`.
pub(super) fn read(file: &dyn ReadAt, pieces: &[Extent]) -> Records {
    let (candidates, wiped) = scan(file, pieces);
    let mut records = Vec::new();
    let mut at = first(file);
    let end = file.len();
    while at < end {
        if let Some((record, next)) = record_at(file, at) {
            records.push(record);
            at = next.max(at.saturating_add(1));
            continue;
        }
        // Damage took a header, or a size is wrong: on to the next header that there is.
        let next = candidates.partition_point(|candidate| *candidate <= at);
        let next = candidates.get(next).copied().unwrap_or(end);
        // What stands before the damage is the end of what was read.
        let lost = wiped.inside(&(at..next)).next();
        let rest = lost.map_or(at, |lost| lost.end)..next;
        records.extend(beginless(file, rest, &wiped));
        at = next;
    }
    Records { records, wiped }
}

/// Where the first message of a file begins: behind its first line.
fn first(file: &dyn ReadAt) -> u64 {
    let length = usize::try_from(file.len().min(200)).unwrap_or(0);
    let head = file
        .read_vec(ByteOffset::ZERO, length)
        .unwrap_or_default()
        .0;
    match memchr::memchr(b'\n', &head) {
        Some(end) if begins(&head) => (end as u64).saturating_add(1),
        _ => 0,
    }
}

/// The message whose header is at `at`, and where the next one begins.
pub(super) fn record_at(file: &dyn ReadAt, at: u64) -> Option<(Record, u64)> {
    let header = file.read_whole(ByteOffset::new(at), MESSAGE_HEADER)?;
    let start = at.checked_add(MESSAGE_HEADER as u64)?;
    let size = size_of(&header)?;
    let end = start.checked_add(size).filter(|end| *end <= file.len())?;
    let mut record = Record {
        offset: at,
        message: start..end,
        ..Record::default()
    };
    let metadata = metadata_at(file, end);
    let next = metadata.as_ref().and_then(|metadata| metadata.next);
    record.metadata = metadata.map(|metadata| metadata.lines).unwrap_or_default();
    Some((record, next.unwrap_or(end)))
}

/// The size in a header.
fn size_of(header: &[u8]) -> Option<u64> {
    let header = header.strip_prefix(MAGIC_PRE)?;
    let (unused, rest) = header.split_at_checked(8)?;
    let is_unused = unused
        .iter()
        .all(|byte| *byte == b' ' || byte.is_ascii_hexdigit());
    let digits = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let is_number = digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_unused && is_number)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Metadata that was read.
pub(super) struct Metadata {
    pub(super) lines: BTreeMap<u8, String>,
    /// Where what is behind it begins; `None` if it breaks off before its end.
    pub(super) next: Option<u64>,
}

/// The metadata whose magic is at `at`: its lines up to the empty one, or up to damage.
pub(super) fn metadata_at(file: &dyn ReadAt, at: u64) -> Option<Metadata> {
    let rest = file.len().checked_sub(at)?;
    let length = usize::try_from(rest)
        .unwrap_or(usize::MAX)
        .min(MOST_METADATA);
    let magic = file.read_whole(ByteOffset::new(at), length.min(MAGIC_POST.len()))?;
    (magic == MAGIC_POST).then_some(())?;
    let text = file.read_vec(ByteOffset::new(at), length).ok()?.0;
    let mut metadata = Metadata {
        lines: BTreeMap::new(),
        next: None,
    };
    let mut from = MAGIC_POST.len();
    while let Some(length) = memchr::memchr(b'\n', text.get(from..)?) {
        let end = from.checked_add(length)?;
        let line = text.get(from..end)?;
        from = end.checked_add(1)?;
        match line.split_first() {
            None => {
                metadata.next = at.checked_add(from as u64);
                break;
            }
            Some((key, value))
                if key.is_ascii_uppercase() && !value.iter().any(u8::is_ascii_control) =>
            {
                let value = String::from_utf8_lossy(value).into_owned();
                metadata.lines.insert(*key, value);
            }
            Some(_) => break,
        }
    }
    Some(metadata)
}

/// What is left of a message whose header is lost, in `range`, with the metadata if that is there.
fn beginless(file: &dyn ReadAt, range: Range<u64>, wiped: &Wiped) -> Option<Record> {
    let length = range.end.checked_sub(range.start)?;
    if length < 8 {
        return None;
    }
    let mut record = Record {
        offset: range.start,
        message: range.clone(),
        is_beginless: true,
        ..Record::default()
    };
    // The metadata ends where the next header begins.
    let tail = range
        .end
        .saturating_sub(MOST_METADATA as u64)
        .max(range.start);
    let length = usize::try_from(range.end.saturating_sub(tail)).ok()?;
    let text = file.read_vec(ByteOffset::new(tail), length).ok()?.0;
    if let Some(magic) = memmem::rfind(&text, MAGIC_POST) {
        let at = tail.saturating_add(magic as u64);
        if let Some(metadata) = metadata_at(file, at).filter(|found| found.next.is_some()) {
            record.metadata = metadata.lines;
            record.message.end = at;
        }
    }
    let all = record.message.clone();
    let lost: u64 = wiped
        .inside(&all)
        .map(|range| range.end.saturating_sub(range.start))
        .sum();
    (lost < all.end.saturating_sub(all.start)).then_some(record)
}

/// Where in a file headers of messages seem to be, and what of it was wiped.
fn scan(file: &dyn ReadAt, pieces: &[Extent]) -> (Vec<u64>, Wiped) {
    let mut candidates = Vec::new();
    let mut wiped = Wiped::default();
    let mut at = 0_u64;
    while at < file.len() {
        let unread = pieces.partition_point(|piece| end(piece) <= at);
        if let Some(piece) = pieces.get(unread)
            && matches!(piece.place, Place::Hole | Place::Unwritten | Place::Lost)
        {
            wiped.add(at..end(piece));
            at = end(piece);
            continue;
        }
        let rest = usize::try_from(file.len().saturating_sub(at)).unwrap_or(usize::MAX);
        // Windows keep to sectors of the file.
        let aligned = WINDOW.saturating_sub(usize::try_from(at % WINDOW as u64).unwrap_or(0));
        let length = rest.min(aligned);
        let with_rest = rest.min(length.saturating_add(MESSAGE_HEADER));
        let Ok((window, gaps)) = file.read_vec(ByteOffset::new(at), with_rest) else {
            break;
        };
        let own = window.get(..length).unwrap_or_default();
        let mut lost: Vec<Range<u64>> = wiped_sectors(own, at).collect();
        lost.extend(gaps.iter().map(|gap| {
            let end = gap.range.end.min(length);
            at.saturating_add(gap.range.start as u64)..at.saturating_add(end as u64)
        }));
        lost.sort_by_key(|range| range.start);
        for range in lost.into_iter().filter(|range| range.start < range.end) {
            wiped.add(range);
        }
        for hit in memmem::find_iter(&window, MAGIC_PRE).take_while(|hit| *hit < length) {
            let header = window.get(hit..hit.saturating_add(MESSAGE_HEADER));
            if header.and_then(size_of).is_some() {
                candidates.push(at.saturating_add(hit as u64));
            }
        }
        at = at.saturating_add(length as u64);
    }
    (candidates, wiped)
}

fn end(piece: &Extent) -> u64 {
    piece.file_offset.saturating_add(piece.length)
}
