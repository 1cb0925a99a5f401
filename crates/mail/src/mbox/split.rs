//! Where the messages of an mbox begin and end.
//!
//! What is certain comes first. A length in the header (`Content-Length`) is right where it leads
//! to the end of the file or exactly to the next postmark; then all between is the message's,
//! whatever it looks like. Otherwise a message ends at the next postmark that has an empty line
//! before it and a header behind it, unless a multipart message is still open there and is closed
//! behind it: then somebody's text has the look of a postmark.

use std::cell::Cell;
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::header::Header;
use super::postmark::MOST_LINE;
use super::scan::{Postmark, Scan};

/// Headers are looked for in so many bytes.
const MOST_HEADER: u64 = 1 << 20;
/// How far behind a postmark the end of a multipart message is looked for.
const MOST_OPEN: u64 = 16 << 20;
/// So many lengths that are right, and none that is wrong, make the others believed that damage
/// keeps from being proved.
const LEAST_RIGHT: usize = 3;

/// A message of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    /// The postmark; `None` of what lost its beginning.
    pub(super) postmark: Option<Postmark>,
    /// What of the file is this message: its header and its body.
    pub(super) range: Range<u64>,
    pub(super) header: Header,
    /// Whether the length in the header is right.
    pub(super) is_measured: bool,
    /// What is wrong with it, in words.
    pub(super) damage: Vec<String>,
}

impl Item {
    /// Where the body begins in the file.
    pub(super) fn body(&self) -> u64 {
        let start = self.range.start.saturating_add(self.header.bytes as u64);
        start.min(self.range.end)
    }
}

/// Splits a file into its messages.
pub(super) fn split(file: &dyn ReadAt, seen: &Scan) -> Vec<Item> {
    let mut splitter = Splitter {
        file,
        seen,
        believes: true,
        trusts: false,
        looks: Cell::new(seen.bytes.saturating_mul(8).saturating_add(MOST_OPEN)),
    };
    let mut items = splitter.items();
    let (right, wrong) = (count(&items, true), count(&items, false));
    if items.iter().any(|item| splitter.swallows(item)) && right < wrong {
        // Lengths are the habit of who writes the whole file: alone, one that reaches over what
        // looks like other messages is not believed.
        splitter.believes = false;
        items = splitter.items();
    } else if right >= LEAST_RIGHT && wrong_lengths(&items, seen) == 0 {
        splitter.trusts = true;
        items = splitter.items();
    }
    items
}

/// How many messages have a length that is right, or none or another.
fn count(items: &[Item], is_measured: bool) -> usize {
    let items = items.iter().filter(|item| item.postmark.is_some());
    items.filter(|item| item.is_measured == is_measured).count()
}

/// How many messages that damage does not touch have a length that is wrong.
fn wrong_lengths(items: &[Item], seen: &Scan) -> usize {
    let items = items.iter();
    let wrong = items.filter(|item| {
        let near = item.range.start..item.range.end.saturating_add(2);
        item.header.content_length.is_some() && !item.is_measured && !seen.wiped.touches(&near)
    });
    wrong.count()
}

struct Splitter<'a> {
    file: &'a dyn ReadAt,
    seen: &'a Scan,
    /// Whether a length is believed that leads to a postmark.
    believes: bool,
    /// Whether a length is believed that leads into damage.
    trusts: bool,
    /// How many bytes are still looked at to see whether messages are open: a file of nothing but
    /// postmarks must not take for ever.
    looks: Cell<u64>,
}

impl Splitter<'_> {
    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut at = 0_u64;
        let mut next = 0_usize;
        while at < self.seen.bytes {
            let Some(postmark) = self.boundary(next) else {
                items.extend(self.beginless(at..self.seen.bytes));
                break;
            };
            if postmark.at > at {
                items.extend(self.beginless(at..postmark.at));
            }
            let (item, end) = self.item(postmark);
            items.push(item);
            at = end.max(postmark.end);
            next = self.after(at);
        }
        items
    }

    /// The first postmark at or behind `at`.
    fn after(&self, at: u64) -> usize {
        self.seen.postmarks.partition_point(|mark| mark.at < at)
    }

    /// The first postmark from the number `from` on that begins a message by its looks.
    fn boundary(&self, from: usize) -> Option<Postmark> {
        let marks = self.seen.postmarks.get(from..)?;
        let mut begins = marks.iter().filter(|mark| begins(mark));
        begins.next().copied()
    }

    /// What lies before the first postmark, or behind damage that took one.
    fn beginless(&self, range: Range<u64>) -> Option<Item> {
        let start = self.seen.wiped.end_at(range.start).max(range.start);
        // A line end or two between messages are nobody's.
        let length = usize::try_from(range.end.saturating_sub(start).min(4)).ok()?;
        let head = self.file.read_vec(ByteOffset::new(start), length).ok()?.0;
        if head.len() < 4 && head.iter().all(|byte| byte.is_ascii_whitespace()) {
            return None;
        }
        let what = if range.start == 0 && start == 0 {
            "the file does not begin with a message"
        } else {
            "its beginning is lost with a part of the file"
        };
        (start < range.end).then(|| Item {
            range: start..range.end,
            damage: vec![what.to_owned()],
            ..Item::default()
        })
    }

    /// The message behind `postmark`, and where what comes next begins.
    fn item(&self, postmark: Postmark) -> (Item, u64) {
        let mut item = Item {
            postmark: Some(postmark),
            header: self.header(postmark.end),
            ..Item::default()
        };
        let body = postmark.end.saturating_add(item.header.bytes as u64);
        if let Some((end, next)) = self.measured(&item.header, body) {
            item.range = postmark.end..end;
            item.is_measured = true;
            return (item, next);
        }
        let (end, next) = self.end_by_looks(&item.header, postmark.end, body);
        item.range = postmark.end..end;
        if self.trusts
            && let Some((end, lost)) = self.believed(&item.header, body, next)
        {
            item.range.end = end;
            return (item, lost);
        }
        (item, next)
    }

    /// The header at `at`. One that does not end before the next message, or before damage, has no
    /// end: what stands behind that may be another message's.
    fn header(&self, at: u64) -> Header {
        let marks = self.seen.postmarks.get(self.after(at)..);
        let mut marks = marks.into_iter().flatten();
        let stop = marks.find(|mark| begins(mark));
        let stop = stop.map_or(self.seen.bytes, |mark| mark.at);
        let lost = self.seen.wiped.inside(&(at..stop)).next();
        let stop = lost.map_or(stop, |lost| lost.start);
        let length = stop.saturating_sub(at).min(MOST_HEADER);
        let parse = |length: u64| {
            let length = usize::try_from(length).unwrap_or(0);
            let text = self.file.read_vec(ByteOffset::new(at), length);
            Header::parse(&text.unwrap_or_default().0)
        };
        // Most headers are short.
        let header = parse(length.min(8192));
        if header.is_ended || length <= 8192 {
            return header;
        }
        parse(length)
    }

    /// The end of the body at `body` and where the next message begins, if the length in the header
    /// proves right.
    fn measured(&self, header: &Header, body: u64) -> Option<(u64, u64)> {
        let end = body.checked_add(header.content_length?)?;
        if !header.is_ended || end > self.seen.bytes {
            return None;
        }
        let next = [0, 1, 2]
            .into_iter()
            .filter_map(|between| end.checked_add(between))
            .find(|next| *next == self.seen.bytes || self.is_postmark(*next))?;
        let between = usize::try_from(next.saturating_sub(end)).ok()?;
        let between = self.file.read_whole(ByteOffset::new(end), between)?;
        if !matches!(between.as_slice(), b"" | b"\n" | b"\r\n") {
            return None;
        }
        let skips = self.boundary(self.after(body));
        let skips = skips.is_some_and(|mark| mark.at < end);
        (self.believes || !skips).then_some((end, next))
    }

    fn is_postmark(&self, at: u64) -> bool {
        let marks = &self.seen.postmarks;
        marks.binary_search_by_key(&at, |mark| mark.at).is_ok()
    }

    /// Whether a message reaches over what looks like the beginning of others.
    fn swallows(&self, item: &Item) -> bool {
        let inside = self.boundary(self.after(item.body()));
        inside.is_some_and(|mark| mark.at < item.range.end)
    }

    /// The end of a body by the length in its header, which leads into damage before `next`, or to
    /// a postmark that damage cut off; and the end of the damage.
    fn believed(&self, header: &Header, body: u64, next: u64) -> Option<(u64, u64)> {
        let end = body.checked_add(header.content_length?)?;
        let line = end..end.checked_add(MOST_LINE as u64)?.min(next);
        let lost = self.seen.wiped.inside(&line).next()?;
        let length = usize::try_from(lost.start.checked_sub(end)?).ok()?;
        let between = self.file.read_whole(ByteOffset::new(end), length)?;
        let between = between.strip_prefix(b"\r").unwrap_or(&between);
        let line = between.strip_prefix(b"\n").unwrap_or(between);
        let is_postmark = line.starts_with(b"From ") || b"From ".starts_with(line);
        let is_cut_off = is_postmark && !line.contains(&b'\n');
        (header.is_ended && is_cut_off).then(|| (end, self.seen.wiped.end_at(lost.start)))
    }

    /// The end of a message and where the next one begins, by how the file looks.
    fn end_by_looks(&self, header: &Header, start: u64, body: u64) -> (u64, u64) {
        let marks = self.seen.postmarks.get(self.after(start)..);
        let marks = marks.unwrap_or_default().iter();
        let begin = marks.filter(|mark| begins(mark));
        for mark in begin {
            if mark.at >= body && self.is_open(header, body, mark.at) {
                continue;
            }
            return (mark.at.saturating_sub(mark.blank), mark.at);
        }
        let end = self.seen.bytes;
        let tail = end.saturating_sub(4).max(body);
        let length = usize::try_from(end.saturating_sub(tail)).unwrap_or(0);
        let tail = self.file.read_whole(ByteOffset::new(tail), length);
        let tail = tail.unwrap_or_default();
        let blank = match tail.as_slice() {
            text if text.ends_with(b"\n\r\n") => 2,
            text if text.ends_with(b"\n\n") => 1,
            _ => 0,
        };
        (end.saturating_sub(blank), end)
    }

    /// Whether a message of several parts is open at `at` and closed behind that.
    fn is_open(&self, header: &Header, body: u64, at: u64) -> bool {
        let Some(boundary) = &header.boundary else {
            return false;
        };
        let closing = [b"--", boundary.as_slice(), b"--"].concat();
        let declared = [b"=\"", boundary.as_slice(), b"\""].concat();
        let text = |range: Range<u64>| {
            let length = range.end.saturating_sub(range.start).min(MOST_OPEN);
            let length = length.min(self.looks.get());
            self.looks.set(self.looks.get().saturating_sub(length));
            let length = usize::try_from(length).unwrap_or(0);
            let text = self.file.read_vec(ByteOffset::new(range.start), length);
            text.unwrap_or_default().0
        };
        let before = at.saturating_sub(MOST_OPEN).max(body);
        if memchr::memmem::find(&text(before..at), &closing).is_some() {
            return false;
        }
        let behind = text(at..self.seen.bytes);
        let Some(closed) = memchr::memmem::find(&behind, &closing) else {
            return false;
        };
        // Another message with the same boundary, such as a second copy, closes its own.
        let between = behind.get(..closed).unwrap_or_default();
        memchr::memmem::find(between, &declared).is_none()
    }
}

/// Whether a postmark begins a message by its looks.
const fn begins(mark: &Postmark) -> bool {
    mark.has_header && (mark.blank > 0 || mark.is_first)
}
