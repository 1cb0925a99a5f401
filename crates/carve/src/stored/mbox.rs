//! Messages of an mbox: from one postmark to the next, or to the end of the file.
//!
//! Nothing stands beside a message that would prove it. It is whole if its ends show and every
//! border of blocks in it fits, or the hash of its body verifies.

use std::ops::Range;

use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt, ReadAtExt};
use mail::Proof;
use mail::carved::Stored;
use mail::header::REACH;
use mail::mbox::loose::{Loose, begins, messages as messages_in};
use rayon::prelude::*;

use super::read::Read;
use super::{MOST_POSTMARK, Taken, carving, header_at};
use crate::blocks::filled;
use crate::device::MOST_LUCK;
use crate::judge::Judge;
use crate::search::LEAST_BORDER;
use crate::survey::{SECTOR, Sector};

/// A stretch is no longer: files of mail are split above that, and what is cut is damaged.
const MOST_STRETCH: u64 = 1 << 30;

/// So much of other bytes may lie before the next postmark.
const MOST_OTHER: u64 = 64 << 10;

/// So far before a postmark the beginning of its file is looked for.
const MOST_BEFORE: u64 = 4 << 20;

/// Read at a time.
const STRIDE: u64 = 64 << 10;

/// A border that looks worse than this is a break even where the message has just the length that it
/// states, in nats: in a thousand bytes hardly one next postmark would fit by chance.
const LEAST_MEASURED: f64 = -12.0;

/// A border that says so much, in nats, says whether it is a break.
const CLEAR: f64 = 4.0;
/// So many borders count with those of a device, and so many breaks among them.
const USUAL: (f64, f64) = (25.0, 0.1);

/// A stretch of a device in which one file seems to lie.
struct Stretch<'a> {
    device: &'a dyn ReadAt,
    range: Range<u64>,
    /// Whether the end of the file shows: zeros follow.
    is_ended: bool,
}

impl Stretch<'_> {
    /// Where a range of it lies on the device.
    const fn on_device(&self, range: &Range<u64>) -> Range<u64> {
        self.range.start.saturating_add(range.start)..self.range.start.saturating_add(range.end)
    }
}

impl ReadAt for Stretch<'_> {
    fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn read_at(&self, offset: ByteOffset, buffer: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let at = self.range.start.saturating_add(offset.get());
        self.device.read_at(ByteOffset::new(at), buffer)
    }
}

/// The messages behind the postmarks at `places` of `device`.
pub(super) fn messages(judge: &Judge<'_>, device: &dyn ReadAt, places: &[u64]) -> Vec<Taken> {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    for place in places {
        let is_inside = stretches
            .last()
            .is_some_and(|stretch| *place < stretch.range.end);
        if !is_inside && judge.blocks.sector(*place) == Sector::Text {
            stretches.push(stretch(judge, device, *place, places));
        }
    }
    let read: Vec<Vec<(Loose, Read)>> = stretches
        .par_iter()
        .map(|stretch| read(judge, stretch))
        .collect();
    let least = least_border(read.iter().flatten().flat_map(|(_, read)| &read.borders));
    let taken = stretches.iter().zip(read);
    taken
        .flat_map(|(stretch, read)| taken_of(stretch, read, least))
        .collect()
}

/// What a border must say for no more of those that are taken for none to be breaks than may be by chance. How many
/// are breaks is told by those that say much, one way or the other, as within base64. Mboxes that grow by turns break
/// often.
fn least_border<'b>(borders: impl Iterator<Item = &'b (u64, f64)>) -> f64 {
    let (mut all, mut broken) = USUAL;
    for (_, nats) in borders.filter(|(_, nats)| nats.abs() >= CLEAR) {
        all += 1.0;
        broken += if *nats < 0.0 { 1.0 } else { 0.0 };
    }
    LEAST_BORDER.max((broken / all / MOST_LUCK).ln())
}

/// Whether what looks like the header of a file at `head` stands within an mbox: behind a postmark
/// or in the header there, or as a postmark behind text.
pub(super) fn is_inside(device: &dyn ReadAt, postmarks: &[u64], head: u64) -> bool {
    let next = postmarks.partition_point(|place| *place < head);
    if postmarks.get(next) == Some(&head) {
        let before = head.checked_sub(1).map(ByteOffset::new);
        let before = before.and_then(|at| device.read_whole(at, 1));
        return before.is_some_and(|byte| byte != [0]);
    }
    let last = next.checked_sub(1).and_then(|last| postmarks.get(last));
    let reach = MOST_POSTMARK.saturating_add(REACH);
    let Some(last) = last.filter(|last| head.saturating_sub(**last) <= reach as u64) else {
        return false;
    };
    // The postmark counts as the first line of the header.
    let header = header_at(device, *last, reach);
    header.is_some_and(|header| head < last.saturating_add(header.seen))
}

/// Those of the `postmarks` that are of mboxes: not in a file that begins as a message does, at one of
/// `heads`, and has an mbox in it.
pub(super) fn of_mboxes(device: &dyn ReadAt, heads: &[u64], postmarks: &[u64]) -> Vec<u64> {
    let mut kept = Vec::new();
    let mut last: Option<(u64, bool)> = None;
    for place in postmarks {
        let from = last.map_or(0, |(place, _)| place);
        let from = from.max(place.saturating_sub(MOST_BEFORE));
        let run = behind_last_zero(device, from..*place);
        let of_mbox = match (last, run) {
            // The same file goes on.
            (Some((_, of_mbox)), None) => of_mbox,
            _ => {
                let run = run.unwrap_or(from);
                let heads = heads.iter().skip(heads.partition_point(|head| *head < run));
                let mut inside = heads.take_while(|head| **head < *place);
                inside
                    .next()
                    .is_none_or(|head| postmarks.binary_search(head).is_ok())
            }
        };
        let of_mbox = of_mbox || place.is_multiple_of(SECTOR as u64);
        if of_mbox {
            kept.push(*place);
        }
        last = Some((*place, of_mbox));
    }
    kept
}

/// The place behind the last zero in a range of `device`; `None` if there is none.
fn behind_last_zero(device: &dyn ReadAt, range: Range<u64>) -> Option<u64> {
    let mut end = range.end;
    while end > range.start {
        let start = end.saturating_sub(STRIDE).max(range.start);
        let length = usize::try_from(end - start).ok()?;
        let (bytes, _) = device.read_vec(ByteOffset::new(start), length).ok()?;
        if let Some(last) = memchr::memrchr(0, &bytes) {
            return start.checked_add(last as u64)?.checked_add(1);
        }
        end = start;
    }
    None
}

/// How far text goes on from the postmark at `start`.
///
/// Mail with other bytes in it is no text; where the next postmark is near, its file goes on.
fn stretch<'a>(
    judge: &Judge<'_>,
    device: &'a dyn ReadAt,
    start: u64,
    postmarks: &[u64],
) -> Stretch<'a> {
    let sector = SECTOR as u64;
    let mut at = start - start % sector;
    let limit = device.len().min(start.saturating_add(MOST_STRETCH));
    let ended = |end: u64, is_ended: bool| Stretch {
        device,
        range: start..end.max(start),
        is_ended,
    };
    while at < limit {
        let kind = judge.blocks.sector(at);
        let goes_on = || {
            let next = postmarks.partition_point(|place| *place < at);
            let next = postmarks.get(next);
            next.is_some_and(|next| next.saturating_sub(at) <= MOST_OTHER)
        };
        if kind == Sector::Other && goes_on() {
            at = at.saturating_add(sector);
            continue;
        }
        if kind != Sector::Text {
            // A file that fills its last sector has zeros in the next.
            return ended(at, kind == Sector::Zero);
        }
        let Some(bytes) = device.read_whole(ByteOffset::new(at), SECTOR) else {
            return ended(at, false);
        };
        if at > start && judge.blocks.begins_message(at) && !is_postmark(device, at) {
            return ended(at, false);
        }
        let text = filled(&bytes);
        if text < SECTOR {
            return ended(at.saturating_add(text as u64), true);
        }
        at = at.saturating_add(sector);
    }
    ended(limit, false)
}

fn is_postmark(device: &dyn ReadAt, at: u64) -> bool {
    let rest = usize::try_from(device.len().saturating_sub(at)).unwrap_or(MOST_POSTMARK);
    let head = device.read_vec(ByteOffset::new(at), rest.min(MOST_POSTMARK));
    head.is_ok_and(|(head, _)| begins(&head))
}

/// The messages in a stretch, and how they read.
fn read(judge: &Judge<'_>, stretch: &Stretch<'_>) -> Vec<(Loose, Read)> {
    let messages = messages_in(stretch).into_iter();
    let read = messages.map(|message| {
        let read = Read::of(judge, stretch.device, &stretch.on_device(&message.span));
        (message, read)
    });
    read.collect()
}

/// What is taken of the messages in a stretch, where a border must say so much.
fn taken_of(stretch: &Stretch<'_>, messages: Vec<(Loose, Read)>, least: f64) -> Vec<Taken> {
    let count = messages.len();
    let mut all = Vec::new();
    let mut from = stretch.range.start;
    let mut file = InFile::begun(from);
    for (number, (message, read)) in messages.into_iter().enumerate() {
        let span = from..stretch.on_device(&message.span).end;
        from = span.end;
        if message.is_pseudo {
            file = InFile::begun(span.start);
            continue;
        }
        if !file.goes_on(span.start, message.known.uid) {
            file = InFile::begun(span.start);
        }
        let is_last = number.saturating_add(1) == count;
        let shows_end = !is_last || stretch.is_ended;
        let ends = Ends {
            shows_end: shows_end && (read.has_closed_parts || !may_end_a_sector(span.end)),
            least,
        };
        let (carving, is_cut) = judged(stretch, &message, read, &ends, file.start);
        file.is_cut |= is_cut;
        file.uid = message.known.uid.or(file.uid);
        all.push(Taken::one(span, carving));
    }
    all
}

/// The file that the messages of a stretch lie in, as far as it was read.
///
/// Files that follow each other on a device, or whose blocks do, make one stretch.
struct InFile {
    /// Where on the device it was first met.
    start: u64,
    /// The last UID in it.
    uid: Option<u32>,
    /// Whether the last message goes on elsewhere, and with it maybe the file.
    is_cut: bool,
}

impl InFile {
    const fn begun(start: u64) -> Self {
        Self {
            start,
            uid: None,
            is_cut: false,
        }
    }

    /// Whether a message at `at` with this UID may lie in it: UIDs ascend in a file, and where a
    /// sector begins with a postmark, a file may as well.
    fn goes_on(&self, at: u64, uid: Option<u32>) -> bool {
        let ascends = uid.zip(self.uid).map(|(uid, last)| uid > last);
        let is_aligned = at.is_multiple_of(SECTOR as u64);
        !self.is_cut && ascends.unwrap_or(!is_aligned || at == self.start)
    }
}

/// Whether a sector ends where a message does, or behind the empty line that follows it: there another file may begin,
/// and the rest of this one lie elsewhere.
const fn may_end_a_sector(end: u64) -> bool {
    // With CR LF line ends the empty line has two.
    end.next_multiple_of(SECTOR as u64).saturating_sub(end) <= 2
}

/// What shows where a message ends, and what a border in it must say.
struct Ends {
    shows_end: bool,
    least: f64,
}

/// What a message in `file` is worth, and whether it is cut at a border that does not fit.
fn judged(
    stretch: &Stretch<'_>,
    message: &Loose,
    read: Read,
    ends: &Ends,
    file: u64,
) -> (crate::Carving, bool) {
    let shows_end = ends.shows_end;
    let span = stretch.on_device(&message.span);
    let pieces = message.ranges.iter().map(|range| stretch.on_device(range));
    let stored = Stored {
        known: message.known.clone(),
        keywords: message.keywords.clone(),
        folder: None,
        file,
    };
    let weak = read.borders.iter().find(|(_, nats)| *nats < ends.least);
    let broken = read.borders.iter().any(|(_, nats)| *nats < LEAST_MEASURED);
    let is_sound = message.known.damage.is_empty() && shows_end && read.is_closed;
    let proof = if read.verifies {
        Some(Proof::BodyHash)
    } else if message.is_measured && is_sound && !broken {
        Some(Proof::Size)
    } else {
        (is_sound && weak.is_none()).then_some(Proof::Structure)
    };
    let mut carving = match (proof, weak) {
        (Some(proof), _) => {
            let pieces: Vec<Range<u64>> = pieces.collect();
            carving(&pieces, Some(proof), None, Some(stored))
        }
        (None, Some((at, _))) => {
            let end = span.start.saturating_add(*at);
            let cut = pieces.map(|piece| piece.start.min(end)..piece.end.min(end));
            let pieces: Vec<Range<u64>> = cut.collect();
            let why = format!(
                "how it goes on after {at} bytes may lie elsewhere: the border between two blocks \
                 says too little"
            );
            carving(&pieces, None, Some(why), Some(stored))
        }
        (None, None) => {
            let why = if shows_end {
                "it ends before all that it began is ended"
            } else {
                "its file goes on elsewhere, and nothing says where"
            };
            let pieces: Vec<Range<u64>> = pieces.collect();
            carving(&pieces, None, Some(why.to_owned()), Some(stored))
        }
    };
    let is_cut = proof.is_none() && weak.is_some();
    carving.borders = read.borders;
    (carving, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_with_uids_that_ascend_and_without_them_within_a_sector() {
        let file = |uid, is_cut| InFile {
            start: 0,
            uid,
            is_cut,
        };
        assert!(file(Some(7), false).goes_on(4096, Some(9)));
        assert!(!file(Some(7), false).goes_on(4100, Some(7)));
        assert!(file(None, false).goes_on(4100, Some(1)));
        assert!(!file(None, false).goes_on(4096, None));
        assert!(file(None, false).goes_on(0, None));
        assert!(!file(Some(7), true).goes_on(4100, Some(8)));
    }
}
