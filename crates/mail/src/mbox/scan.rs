//! What of an mbox is seen in one pass: lines that may begin a message, lines that were quoted so
//! that they do not, and what was wiped.

use evidence::{ByteOffset, ReadAt};
use filesystem::{Extent, Place};
use memchr::memmem;

use super::postmark::{MOST_LINE, date_of};
use crate::store::{Wiped, wiped_sectors};

/// What is read at a time: a multiple of a sector.
const WINDOW: usize = 1 << 20;
/// What is read behind it, so that lines that begin in it are whole: a postmark and a field.
const OVERLAP: usize = 4 * MOST_LINE;
/// Quoted lines that are kept; what has more is no mail.
const MOST_QUOTED: usize = 1 << 20;

/// A line that may begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Postmark {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Where the line behind it begins.
    pub(super) end: u64,
    /// When the message was put into the file, in seconds since 1970.
    pub(super) seconds: i64,
    /// The length of the empty line before it, 0 if there is none; at the beginning of the file
    /// and behind damage there need be none.
    pub(super) blank: u64,
    /// Whether nothing that was read stands before it.
    pub(super) is_first: bool,
    /// Whether a header begins behind it.
    pub(super) has_header: bool,
}

/// A line that begins with `>From `, or more of `>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// How many of `>` it has.
    pub(super) depth: usize,
}

/// What was seen in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) postmarks: Vec<Postmark>,
    pub(super) quoted: Vec<Quoted>,
    pub(super) wiped: Wiped,
    pub(super) bytes: u64,
}

/// Looks through `file`, whose extents are `pieces`.
pub(super) fn scan(file: &dyn ReadAt, pieces: &[Extent]) -> Scan {
    let mut seen = Scan {
        bytes: file.len(),
        ..Scan::default()
    };
    let mut at = 0_u64;
    while at < file.len() {
        let unread = pieces.partition_point(|piece| end(piece) <= at);
        if let Some(piece) = pieces.get(unread)
            && matches!(piece.place, Place::Hole | Place::Unwritten | Place::Lost)
        {
            // Nothing is there; such a piece may be longer than any disk.
            seen.wiped.add(at..end(piece));
            at = end(piece);
            continue;
        }
        let rest = file.len().saturating_sub(at);
        // Windows keep to sectors of the file.
        let aligned = WINDOW.saturating_sub(usize::try_from(at % WINDOW as u64).unwrap_or(0));
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(aligned);
        let with_rest = length.saturating_add(OVERLAP);
        let with_rest = usize::try_from(rest).unwrap_or(usize::MAX).min(with_rest);
        // A few bytes of what was before say how the lines before ended.
        let before = at.min(4);
        let head = usize::try_from(before).unwrap_or(0);
        let mut window = vec![0; with_rest.saturating_add(head)];
        let from = at.saturating_sub(before);
        let Ok(gaps) = file.read_at(ByteOffset::new(from), &mut window) else {
            break;
        };
        let own = window.get(head..head.saturating_add(length));
        let mut lost: Vec<std::ops::Range<u64>> =
            wiped_sectors(own.unwrap_or_default(), at).collect();
        for gap in gaps.iter() {
            let start = from.saturating_add(gap.range.start as u64).max(at);
            let stop = from.saturating_add(gap.range.end as u64);
            lost.push(start..stop.min(at.saturating_add(length as u64)));
        }
        lost.sort_by_key(|range| range.start);
        for range in lost.into_iter().filter(|range| range.start < range.end) {
            seen.wiped.add(range);
        }
        seen.lines(&window, from, head, length);
        at = at.saturating_add(length as u64);
    }
    seen
}

fn end(piece: &Extent) -> u64 {
    piece.file_offset.saturating_add(piece.length)
}

impl Scan {
    /// Notes the lines of `window`, which begins at `from` in the file, that begin in the `length`
    /// bytes behind the first `head`.
    fn lines(&mut self, window: &[u8], from: u64, head: usize, length: usize) {
        for hit in memmem::find_iter(window, b"From ") {
            // Before it there may be `>`, down to the beginning of the line.
            let before = window.get(..hit).unwrap_or_default();
            let depth = before
                .iter()
                .rev()
                .take_while(|byte| **byte == b'>')
                .count();
            let start = hit.saturating_sub(depth);
            if start < head || start >= head.saturating_add(length) {
                continue;
            }
            let before = window.get(..start).unwrap_or_default();
            let at = from.saturating_add(start as u64);
            let behind_damage =
                matches!(before, [.., 0]) || self.wiped.end_at(at.saturating_sub(1)) == at;
            let is_first = at == 0 || behind_damage;
            if !(is_first || before.ends_with(b"\n")) {
                continue;
            }
            if depth > 0 {
                if self.quoted.len() < MOST_QUOTED {
                    self.quoted.push(Quoted { at, depth });
                }
            } else if let Some(postmark) = postmark(window, start, at, is_first) {
                self.postmarks.push(postmark);
            }
        }
    }
}

/// The postmark that stands at `start` of `window`, which is `at` in the file.
fn postmark(window: &[u8], start: usize, at: u64, is_first: bool) -> Option<Postmark> {
    let rest = window.get(start..)?;
    let line = rest.get(..MOST_LINE.min(rest.len()))?;
    let length = memchr::memchr(b'\n', line)?;
    let line = line.get(..length)?;
    let seconds = date_of(line.strip_suffix(b"\r").unwrap_or(line))?;
    let next = rest.get(length.checked_add(1)?..)?;
    let before = window.get(..start)?;
    // What was read of a line that ended before the window is its end.
    let blank = if before.ends_with(b"\n\n") || before == b"\n" {
        1
    } else if before.ends_with(b"\n\r\n") || before == b"\r\n" {
        2
    } else {
        0
    };
    Some(Postmark {
        at,
        end: at.checked_add(length as u64)?.checked_add(1)?,
        seconds,
        blank,
        is_first,
        has_header: is_field(next),
    })
}

/// Whether `text` begins with a field of a header (RFC 5322, section 2.2): a name and a colon.
/// Some writers put a second postmark, quoted, above the header.
pub(super) fn is_field(text: &[u8]) -> bool {
    let text = match text.strip_prefix(b">From ") {
        Some(rest) => {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at.saturating_add(1));
            rest.get(end..).unwrap_or_default()
        }
        None => text,
    };
    let name = text
        .iter()
        .take_while(|byte| byte.is_ascii_graphic() && **byte != b':');
    let length = name.count();
    let rest = text.get(length..).unwrap_or_default();
    let rest = rest.trim_ascii_start();
    (1..=200).contains(&length) && rest.starts_with(b":")
}
