//! Messages in files of formats that are not known here: they begin at any byte, behind bytes that
//! are no text.
//!
//! Most stores write before a message how long it is. So each number that stands there is tried: one
//! that leads to just where the text ends is its length, for hardly one in a million would do so by
//! chance. Else the hash of the body proves it, or it shows itself where it ends.

use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::carved::Stored;
use mail::codec::MAX_MESSAGE_BYTES;
use mail::header::{REACH, begin_of_field, header, may_lack_its_top};
use mail::store::Known;
use rayon::prelude::*;

use super::read::Read;
use super::{Taken, carving, is_in_header};
use crate::Carving;
use crate::judge::Judge;
use crate::reader::Reader;
use crate::search::LEAST_BORDER;
use crate::survey::{SECTOR, Survey, is_control};

/// Lines that messages have (RFC 5322, section 3.6): one of them may be the first, and is not seen.
const LINES: [&[u8]; 2] = [b"\nDate: ", b"\nFrom: "];
/// A header has at least so many fields.
const LEAST_FIELDS: u64 = 3;
/// The length of a message stands at most so far before it, in bytes.
const MOST_BEFORE: u64 = 32;
/// What a store writes behind a message, or before the next, may look like text for so many bytes.
const MOST_BEHIND: u64 = 32;
/// So many zeros are the end of what was written.
const ZEROS: usize = 16;
/// Read at a time.
const STRIDE: usize = 64 << 10;

/// A message that begins within a file of something else.
pub(crate) struct Embedded {
    /// The message from its first byte on, up to the first that is no text.
    text: Range<u64>,
    /// Bytes in its header.
    header: u64,
}

/// Lines of headers in the first `own` bytes of `window`.
pub(crate) fn lines(window: &[u8], own: usize) -> Vec<usize> {
    let hits = LINES.map(|line| memchr::memmem::find_iter(window, line));
    let mut lines: Vec<usize> = hits
        .into_iter()
        .flat_map(|hits| hits.take_while(|hit| *hit < own))
        .collect();
    lines.sort_unstable();
    lines
}

/// Whether the text around a line of `window` may begin within a sector: what begins with one is a file.
pub(super) fn may_be_embedded(window: &[u8], line: usize) -> bool {
    let from = line.saturating_sub(REACH);
    let before = window.get(from..line).unwrap_or_default();
    match before.iter().rposition(|byte| is_control(*byte)) {
        Some(last) => !from
            .saturating_add(last)
            .saturating_add(1)
            .is_multiple_of(SECTOR),
        // What lies before the window is not seen.
        None => from == 0,
    }
}

/// The messages whose headers have lines at `lines`.
pub(super) fn find(device: &dyn ReadAt, survey: &Survey, lines: &[u64]) -> Vec<Embedded> {
    let found: Vec<Option<(u64, u64)>> = lines
        .par_iter()
        .map(|line| header_around(device, survey, *line))
        .collect();
    let mut headers: Vec<(u64, u64)> = found.into_iter().flatten().collect();
    headers.sort_unstable();
    // Several lines of one header lead to it.
    headers.dedup();
    let messages = headers.into_par_iter().map(|(start, header)| Embedded {
        text: start..end_of_text(device, start.saturating_add(header)),
        header,
    });
    messages.collect()
}

/// Where the header begins that has a line at `line`, and its bytes, if it is one that does not begin
/// where a file does.
fn header_around(device: &dyn ReadAt, survey: &Survey, line: u64) -> Option<(u64, u64)> {
    let from = line.saturating_sub(REACH as u64);
    let until = device.len().min(line.saturating_add(REACH as u64));
    let length = usize::try_from(until.checked_sub(from)?).ok()?;
    let bytes = device.read_whole(ByteOffset::new(from), length)?;
    let start = beginning(&bytes, usize::try_from(line.checked_sub(from)?).ok()?)?;
    let header = header(bytes.get(start..)?)?;
    let start = from.saturating_add(start as u64);
    let is_own = header.fields >= LEAST_FIELDS
        && !begins_file(device, survey, start..line)
        // One of that header's bytes was turned into none of text.
        && !is_in_header(device, &survey.heads, start);
    header.bytes.filter(|_| is_own).map(|bytes| (start, bytes))
}

/// Whether a file begins in `range`, a part of a header: what stands before its first field may look like
/// a name.
fn begins_file(device: &dyn ReadAt, survey: &Survey, range: Range<u64>) -> bool {
    let from = survey.heads.partition_point(|head| *head < range.start);
    let heads = survey.heads.get(from..).unwrap_or_default().iter();
    let is_first = |head: u64| {
        let line = device.read_whole(ByteOffset::new(head), SECTOR);
        line.is_some_and(|line| !may_lack_its_top(&line)) && !ends_line(device, head)
    };
    let mut heads = heads.take_while(|head| **head <= range.end);
    range.start.is_multiple_of(SECTOR as u64) || heads.any(|head| is_first(*head))
}

/// Whether a line ends just before `at`.
fn ends_line(device: &dyn ReadAt, at: u64) -> bool {
    let last = at.checked_sub(1).map(ByteOffset::new);
    last.and_then(|at| device.read_whole(at, 1)) == Some(b"\n".to_vec())
}

/// Where in `bytes` the first field begins of the header that has a line at `line`: behind the last byte
/// before it that is no text.
pub(crate) fn beginning(bytes: &[u8], line: usize) -> Option<usize> {
    let before = bytes.get(line.saturating_sub(REACH)..line)?;
    let text = before.iter().rposition(|byte| is_control(*byte))?;
    let text = line
        .checked_sub(before.len())?
        .checked_add(text)?
        .checked_add(1)?;
    text.checked_add(begin_of_field(bytes.get(text..)?)?)
}

/// Where the first byte behind `from` is that is no text, or cannot be read.
fn end_of_text(device: &dyn ReadAt, from: u64) -> u64 {
    let limit = device.len().min(from.saturating_add(MAX_MESSAGE_BYTES));
    let mut at = from;
    while at < limit {
        let length = usize::try_from(limit.saturating_sub(at)).unwrap_or(STRIDE);
        let Some(bytes) = device.read_whole(ByteOffset::new(at), length.min(STRIDE)) else {
            return at;
        };
        if let Some(end) = bytes.iter().position(|byte| is_control(*byte)) {
            return at.saturating_add(end as u64);
        }
        at = at.saturating_add(bytes.len() as u64);
    }
    limit
}

/// Takes from `messages` those whose length stands before them or whose body hash verifies.
pub(super) fn take_proven(device: &dyn ReadAt, messages: &mut Vec<Embedded>) -> Vec<Taken> {
    let proven: Vec<Option<(u64, Proof)>> =
        messages.par_iter().map(|one| proven(device, one)).collect();
    let mut taken = Vec::new();
    let mut verdicts = proven.into_iter();
    messages.retain(|message| {
        let Some((end, proof)) = verdicts.next().flatten() else {
            return true;
        };
        let span = message.text.start..end;
        let stored = (proof == Proof::Size).then(|| measured(&span));
        let carving = carving(std::slice::from_ref(&span), Some(proof), None, stored);
        taken.push(Taken::one(span, carving));
        false
    });
    taken
}

/// What its store says of a message that has the length of `span`.
fn measured(span: &Range<u64>) -> Stored {
    Stored {
        known: Known {
            size: Some(span.end.saturating_sub(span.start)),
            ..Known::default()
        },
        file: span.start,
        ..Stored::default()
    }
}

/// Where a message ends, and what proves that.
fn proven(device: &dyn ReadAt, message: &Embedded) -> Option<(u64, Proof)> {
    if let Some(end) = stated_end(device, message) {
        return Some((end, Proof::Size));
    }
    let mut reader = Reader::watching();
    feed(device, &message.text, &mut reader)?;
    if !reader.is_signed() {
        return None;
    }
    let end = message.text.start.saturating_add(reader.verified()?);
    Some((end, Proof::BodyHash))
}

/// Gives the bytes of `span` to `reader`; nothing if they cannot all be read.
fn feed(device: &dyn ReadAt, span: &Range<u64>, reader: &mut Reader) -> Option<()> {
    let mut at = span.start;
    while at < span.end {
        let length = usize::try_from(span.end.saturating_sub(at)).unwrap_or(STRIDE);
        let bytes = device.read_whole(ByteOffset::new(at), length.min(STRIDE))?;
        reader.feed(&bytes);
        at = at.saturating_add(bytes.len() as u64);
    }
    Some(())
}

/// Where a number before a message says that it ends: with its text, or just before. If several do,
/// the one at whose end a line ends.
fn stated_end(device: &dyn ReadAt, message: &Embedded) -> Option<u64> {
    let Range { start, end: stop } = message.text;
    let before = start.min(MOST_BEFORE);
    let bytes = device.read_whole(
        ByteOffset::new(start.checked_sub(before)?),
        usize::try_from(before).ok()?,
    )?;
    let ends_line = |end: u64| ends_line(device, end);
    let mut ends: Vec<(bool, u64)> = Vec::new();
    for (number, is_written_out) in numbers(&bytes) {
        let Some(end) = start.checked_add(number) else {
            continue;
        };
        let is_end =
            number > message.header && end <= stop && stop.saturating_sub(end) <= MOST_BEHIND;
        // A number in digits is a short one, and may be a year.
        if is_end && (!is_written_out || ends_line(end)) {
            ends.push((ends_line(end), end));
        }
    }
    ends.sort_unstable();
    ends.dedup();
    match ends.as_slice() {
        [(_, end)] | [.., (false, _), (true, end)] => Some(*end),
        _ => None,
    }
}

/// All numbers that `bytes` can be read as: of four and eight bytes, in either order, anywhere; and
/// in digits (`true`).
fn numbers(bytes: &[u8]) -> Vec<(u64, bool)> {
    let mut numbers = Vec::new();
    for window in bytes.windows(4) {
        let number = <[u8; 4]>::try_from(window).unwrap_or_default();
        numbers.push((u64::from(u32::from_le_bytes(number)), false));
        numbers.push((u64::from(u32::from_be_bytes(number)), false));
    }
    for window in bytes.windows(8) {
        let number = <[u8; 8]>::try_from(window).unwrap_or_default();
        numbers.push((u64::from_le_bytes(number), false));
        numbers.push((u64::from_be_bytes(number), false));
    }
    let digits = bytes.split(|byte| !byte.is_ascii_digit());
    let digits = digits.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    numbers.extend(digits.map(|number| (number, true)));
    numbers
}

/// What those are that nothing beside them proves, where none of `others` lies.
pub(super) fn rest(
    judge: &Judge<'_>,
    device: &dyn ReadAt,
    messages: &[Embedded],
    others: &[Carving],
) -> Vec<Carving> {
    let mut pieces: Vec<(u64, u64)> = others
        .iter()
        .flat_map(|other| other.found.pieces.iter().copied())
        .collect();
    pieces.sort_unstable();
    let is_free = |message: &&Embedded| {
        let before = pieces.partition_point(|(at, _)| *at < message.text.end);
        let last = before.checked_sub(1).and_then(|last| pieces.get(last));
        last.is_none_or(|(at, length)| at.saturating_add(*length) <= message.text.start)
    };
    let free: Vec<&Embedded> = messages.iter().filter(is_free).collect();
    free.par_iter()
        .filter_map(|message| judged(judge, device, message))
        .collect()
}

/// What a message is worth by what it shows itself.
fn judged(judge: &Judge<'_>, device: &dyn ReadAt, message: &Embedded) -> Option<Carving> {
    let text = &message.text;
    let length = usize::try_from(text.end.checked_sub(text.start)?).ok()?;
    let bytes = device.read_whole(ByteOffset::new(text.start), length)?;
    let lines = memchr::memrchr(b'\n', &bytes)?.checked_add(1)?;
    let behind = bytes.get(lines..)?;
    // What stands behind the last line could be its rest, but for bytes that its text does not have.
    let shows_end = match behind.first() {
        None => true,
        Some(byte) => !byte.is_ascii() && bytes.get(..lines)?.is_ascii(),
    };
    let span = text.start..text.start.saturating_add(lines as u64);
    let read = Read::of(judge, device, &span);
    let weak = read.borders.iter().find(|(_, nats)| *nats < LEAST_BORDER);
    let is_sound = read.is_closed && !read.is_signed && shows_end;
    // At the edge of a sector its file may go on elsewhere.
    let is_cut = text.end.is_multiple_of(SECTOR as u64) && !are_zeros(device, text.end);
    let (end, proof, why) = if let Some((at, _)) = weak {
        let why = format!(
            "how it goes on after {at} bytes may lie elsewhere: the border between two blocks says \
             too little"
        );
        (*at, None, Some(why))
    } else if follows_broken_field(device, text.start) {
        let why =
            "what stands before it is like a field of its header of which bytes were written over"
                .to_owned();
        (lines as u64, None, Some(why))
    } else if is_sound && (!is_cut || read.has_closed_parts) {
        (lines as u64, Some(Proof::Structure), None)
    } else {
        let why = "it lies within something else, and nothing says where it ends".to_owned();
        (lines as u64, None, Some(why))
    };
    let span = span.start..span.start.saturating_add(end);
    let mut carving = carving(&[span], proof, why, None);
    carving.borders = read.borders;
    Some(carving)
}

/// Whether the sector in which a message begins at `start` begins as a file does of which some bytes of the first field
/// were written over: with one line that is mostly text, where a store would write numbers or end another message.
fn follows_broken_field(device: &dyn ReadAt, start: u64) -> bool {
    let inside = start.checked_rem(SECTOR as u64).unwrap_or(0);
    let before = usize::try_from(inside).ok().and_then(|length| {
        let from = ByteOffset::new(start.checked_sub(inside)?);
        device.read_whole(from, length)
    });
    before.is_some_and(|bytes| {
        let printable = bytes.iter().filter(|byte| matches!(byte, b' '..=b'~'));
        !bytes.iter().any(|byte| matches!(byte, 0 | b'\n'))
            && printable.count().saturating_mul(3) > bytes.len().saturating_mul(2)
    })
}

/// Whether zeros begin at `at`.
fn are_zeros(device: &dyn ReadAt, at: u64) -> bool {
    let zeros = device.read_whole(ByteOffset::new(at), ZEROS);
    zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0))
}
