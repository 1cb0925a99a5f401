//! Records of sdbox and mdbox: the length of a message stands before it, and behind it a mark, its
//! length with CR LF line ends, when it came, and the folder that it was saved to.
//!
//! Where the mark is not behind the message, its file goes on elsewhere. Its rest is looked for
//! among the marks that no message has: it stands at the same place of a block as the end of the
//! message would, and both lengths must come out.

use std::collections::BTreeSet;
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::carved::Stored;
use mail::codec::{self, Codec, MAX_MESSAGE_BYTES};
use mail::dbox::loose::{Loose, Metadata, message_at, metadata_at};
use mail::proof::virtual_size;
use rayon::prelude::*;

use super::{Taken, carving};
use crate::blocks::{BlockKind, filled};
use crate::device::WEAK;
use crate::judge::{BREAK, Judge};
use crate::reader::Reader;

/// How much better than all others one way to put a message together must be, in nats.
const MARGIN: f64 = 5.0;
/// Bytes that are read for one message in two pieces.
const BUDGET: u64 = 64 << 20;

/// The messages of a device, by their headers.
#[derive(Default)]
pub(super) struct Records {
    /// Those that are whole where they lie.
    pub(super) whole: Vec<Taken>,
    /// Those whose file goes on elsewhere.
    pub(super) open: Vec<Loose>,
    /// Where the metadata is of those that are whole.
    used: BTreeSet<u64>,
}

/// The messages whose headers are at `places`.
pub(super) fn records(device: &dyn ReadAt, places: &[u64]) -> Records {
    let read = |at: &u64| message_at(device, *at);
    let found: Vec<Option<Loose>> = places.par_iter().map(read).collect();
    let mut records = Records::default();
    let (mut file, mut next) = (0, 0);
    for record in found.into_iter().flatten() {
        // What looks like a header within a message is text of that.
        if record.header < next || length(&record.message) > MAX_MESSAGE_BYTES {
            continue;
        }
        let Some(metadata) = &record.metadata else {
            records.open.push(record);
            continue;
        };
        if record.header != next {
            file = record.header;
        }
        next = metadata.end;
        let stored = stored(&record, metadata, file, is_plain(device, &record));
        let piece = std::slice::from_ref(&record.message);
        let carving = carving(piece, Some(Proof::Size), None, Some(stored));
        records
            .whole
            .push(Taken::one(record.header..metadata.end, carving));
    }
    records
}

const fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Whether a message is stored as it is.
fn is_plain(device: &dyn ReadAt, record: &Loose) -> bool {
    let start = record.message.start;
    let most = length(&record.message).min(32);
    let head = usize::try_from(most)
        .ok()
        .and_then(|most| device.read_whole(ByteOffset::new(start), most));
    head.is_some_and(|head| Codec::of(&head) == Codec::Plain)
}

/// What is known of a message with this header and this metadata.
fn stored(record: &Loose, metadata: &Metadata, file: u64, is_plain: bool) -> Stored {
    let mut known = metadata.known.clone();
    if is_plain {
        known.size = Some(length(&record.message));
    }
    Stored {
        known,
        keywords: Vec::new(),
        folder: metadata.folder.clone(),
        file,
    }
}

/// At which of `breaks` a message may go over from `here` to `there`, so that its length with
/// CR LF line ends comes out; at all of them if it is compressed.
fn fitting(here: &[u8], there: &[u8], breaks: &[usize], wanted: Option<u64>) -> Vec<usize> {
    if Codec::of(here) != Codec::Plain {
        return breaks.to_vec();
    }
    let Some(wanted) = wanted.and_then(|all| all.checked_sub(here.len() as u64)) else {
        return Vec::new();
    };
    let mut after = bare_line_feeds(there, None);
    let (mut before, mut at) = (0_u64, 0_usize);
    let mut found = Vec::new();
    for next in breaks {
        let passed = |bytes: &[u8]| {
            let piece = bytes.get(at..*next).unwrap_or_default();
            bare_line_feeds(piece, byte_before(bytes, at))
        };
        before = before.saturating_add(passed(here));
        after = after.saturating_sub(passed(there));
        at = *next;
        let is_line_feed = there.get(at) == Some(&b'\n');
        // The first byte behind the break has another one before it now.
        let was_bare = is_line_feed && byte_before(there, at) != Some(b'\r');
        let is_bare = is_line_feed && byte_before(here, at) != Some(b'\r');
        let sum = before
            .saturating_add(after)
            .saturating_add(u64::from(is_bare))
            .saturating_sub(u64::from(was_bare));
        if sum == wanted {
            found.push(at);
        }
    }
    found
}

fn byte_before(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at.checked_sub(1)?).copied()
}

/// How many LF have no CR before them; `before` is the byte before the first.
fn bare_line_feeds(bytes: &[u8], before: Option<u8>) -> u64 {
    let bare = |at: &usize| {
        let last = match at.checked_sub(1) {
            Some(last) => bytes.get(last).copied(),
            None => before,
        };
        last != Some(b'\r')
    };
    memchr::memchr_iter(b'\n', bytes).filter(bare).count() as u64
}

/// Messages whose files lie in pieces, and the marks that no message has.
pub(super) struct Pieces<'a> {
    judge: &'a Judge<'a>,
    device: &'a dyn ReadAt,
    /// Where metadata begins that no message has yet.
    marks: BTreeSet<u64>,
    /// Where headers are.
    headers: BTreeSet<u64>,
}

/// A way to put a message together.
struct Way {
    /// Where its first piece ends.
    first_end: u64,
    /// Where its second one lies.
    second: Range<u64>,
    metadata: Metadata,
    nats: f64,
    is_verified: bool,
}

impl<'a> Pieces<'a> {
    /// Of the metadata that begins at `marks`, what no message of `records` has that is whole.
    pub(super) fn new(
        judge: &'a Judge<'a>,
        device: &'a dyn ReadAt,
        marks: &[u64],
        records: &Records,
    ) -> Self {
        let free = marks.iter().filter(|mark| !records.used.contains(mark));
        Self {
            judge,
            device,
            marks: free.copied().collect(),
            headers: records.open.iter().map(|record| record.header).collect(),
        }
    }

    /// Puts the messages together whose rest is found, and gives the others as far as they go.
    pub(super) fn put_together(&mut self, open: &[Loose]) -> Vec<Taken> {
        let mut all = Vec::new();
        for record in open {
            all.push(match self.best(record) {
                Some(way) => self.joined(record, &way),
                None => self.beginning(record),
            });
        }
        all
    }

    fn joined(&mut self, record: &Loose, way: &Way) -> Taken {
        self.marks.remove(&way.metadata.at);
        let pieces = [record.message.start..way.first_end, way.second.clone()];
        let is_plain = is_plain(self.device, record);
        let stored = stored(record, &way.metadata, record.header, is_plain);
        Taken {
            spans: vec![
                record.header..way.first_end,
                way.second.start..way.metadata.end,
            ],
            carving: carving(&pieces, Some(Proof::Size), None, Some(stored)),
        }
    }

    /// The best way to put a message together, if it stands out from all others.
    fn best(&self, record: &Loose) -> Option<Way> {
        let mut ways = self.ways(record);
        let verified = ways.iter().position(|way| way.is_verified);
        if let Some(verified) = verified {
            return Some(ways.swap_remove(verified));
        }
        ways.sort_by(|a, b| b.nats.total_cmp(&a.nats));
        let mut ways = ways.into_iter();
        let best = ways.next()?;
        let second = ways.next().map_or(f64::MIN, |way| way.nats);
        (best.nats >= BREAK && best.nats - second >= MARGIN).then_some(best)
    }

    /// All ways to put a message together by which its lengths come out.
    fn ways(&self, record: &Loose) -> Vec<Way> {
        let grid = self.judge.blocks.grid;
        let all = &record.message;
        let Some(here) = self.read(all) else {
            return Vec::new();
        };
        let borders = grid.borders(all.start).take_while(|at| *at < all.end);
        let breaks: Vec<usize> = borders
            .filter_map(|at| usize::try_from(at.saturating_sub(all.start)).ok())
            .collect();
        let place = grid.within(all.end);
        let fits = |mark: &u64| grid.within(*mark) == place;
        // The nearest first, should there be too many.
        let mut marks: Vec<u64> = self.marks.iter().copied().filter(fits).collect();
        marks.sort_by_key(|mark| (mark.abs_diff(all.end), *mark));
        let mut budget = BUDGET;
        let mut ways = Vec::new();
        for mark in marks {
            let Some(metadata) = metadata_at(self.device, mark) else {
                continue;
            };
            budget = budget.saturating_sub(here.len() as u64);
            let Some(there) = self.before(mark, here.len()).filter(|_| budget > 0) else {
                continue;
            };
            for at in fitting(&here, &there, &breaks, metadata.known.virtual_size) {
                budget = budget.saturating_sub(here.len() as u64);
                if budget == 0 {
                    return ways;
                }
                let left = here.len().saturating_sub(at) as u64;
                let first_end = all.end.saturating_sub(left);
                let second = mark.saturating_sub(left)..mark;
                let (Some(first), Some(rest)) = (here.get(..at), there.get(at..)) else {
                    continue;
                };
                let is_apart = second.start >= first_end || second.end <= all.start;
                if is_apart && second.start != first_end {
                    let content = [first, rest].concat();
                    ways.extend(self.way(&content, first_end, second, &metadata));
                }
            }
        }
        ways
    }

    /// The `length` bytes before `mark`; zeros where the device has not begun yet.
    fn before(&self, mark: u64, length: usize) -> Option<Vec<u8>> {
        let there = usize::try_from(mark).unwrap_or(length).min(length);
        let mut bytes = vec![0; length.saturating_sub(there)];
        let from = mark.checked_sub(there as u64)?;
        bytes.extend(self.read(&(from..mark))?);
        Some(bytes)
    }

    /// The way whose second piece is `second`, if the lengths of `content` come out.
    fn way(
        &self,
        content: &[u8],
        first_end: u64,
        second: Range<u64>,
        metadata: &Metadata,
    ) -> Option<Way> {
        let codec = Codec::of(content);
        let known = &metadata.known;
        let (nats, is_verified) = if codec == Codec::Plain {
            let fits = known.virtual_size == Some(virtual_size(content));
            fits.then(|| self.judged(content, &second))?
        } else {
            let decoded = codec::decode(codec, content);
            let fits = decoded.error.is_none()
                && known
                    .size
                    .is_none_or(|size| size == decoded.bytes.len() as u64)
                && known.virtual_size == Some(virtual_size(&decoded.bytes));
            fits.then(|| (0.0, codec.verifies()))?
        };
        Some(Way {
            first_end,
            second,
            metadata: metadata.clone(),
            nats,
            is_verified,
        })
    }

    fn read(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let length = usize::try_from(length(range)).ok()?;
        self.device.read_whole(ByteOffset::new(range.start), length)
    }

    /// How much speaks for a message whose second piece is `second`; and whether the hash of its
    /// body says so.
    fn judged(&self, content: &[u8], second: &Range<u64>) -> (f64, bool) {
        let grid = self.judge.blocks.grid;
        let block = usize::try_from(grid.block).unwrap_or(usize::MAX);
        let place = second.start;
        let left = usize::try_from(length(second)).unwrap_or(usize::MAX);
        let split = content.len().saturating_sub(left);
        let (first, second) = content.split_at_checked(split).unwrap_or_default();
        let mut reader = Reader::new();
        let mut nats = 0.0;
        let before = split.checked_rem(block).unwrap_or(0);
        let (head, rest) = first.split_at_checked(before).unwrap_or_default();
        reader.feed(head);
        for piece in rest.chunks(block) {
            // Heads are taken out of what records hold: the number of a block says nothing.
            let (after, link) = self.judge.link(&reader, u64::MAX, piece);
            nats += link.min(0.0);
            reader = after;
        }
        for (number, piece) in second.chunks(block).enumerate() {
            let is_jump = number == 0;
            let at = if is_jump { grid.number_at(place) } else { None };
            let (after, link) = self.judge.link(&reader, at.unwrap_or(u64::MAX), piece);
            nats += if is_jump { link } else { link.min(0.0) };
            reader = after;
        }
        (nats, reader.is_signed() && reader.verifies())
    }

    /// A message as far as it goes on where it lies.
    fn beginning(&self, record: &Loose) -> Taken {
        let mut end = record.message.start;
        let mut reader = Reader::new();
        let is_plain = is_plain(self.device, record);
        let borders = self.judge.blocks.grid.borders(record.message.start);
        for border in borders {
            let stop = border.min(record.message.end);
            let Some(piece) = self.read(&(end..stop)) else {
                break;
            };
            if end > record.message.start && !self.goes_on(&mut reader, end, &piece, is_plain) {
                break;
            }
            if end == record.message.start {
                reader.feed(&piece);
            }
            end = stop;
            if end >= record.message.end {
                break;
            }
        }
        let size = length(&record.message);
        let why = format!(
            "its record says {size} bytes; how it goes on after {} lies elsewhere, and nothing \
             says where",
            end.saturating_sub(record.message.start)
        );
        let piece = record.message.start..end;
        let carving = carving(std::slice::from_ref(&piece), None, Some(why), None);
        Taken::one(record.header..end, carving)
    }

    /// Whether a message goes on with `piece`, which begins a block at `at`.
    fn goes_on(&self, reader: &mut Reader, at: u64, piece: &[u8], is_plain: bool) -> bool {
        let Some(number) = self.judge.blocks.grid.number_at(at) else {
            return false;
        };
        let end = at.saturating_add(piece.len() as u64);
        if self.headers.range(at..end).next().is_some() || filled(piece) < piece.len() {
            return false;
        }
        let kind = self.judge.blocks.kind(number);
        if !is_plain {
            return kind == BlockKind::Other && !self.judge.blocks.is_taken(number);
        }
        if !matches!(kind, BlockKind::Text | BlockKind::Mixed) {
            return false;
        }
        let (after, link) = self.judge.link(reader, number, piece);
        *reader = after;
        link >= WEAK
    }
}
