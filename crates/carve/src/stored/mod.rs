//! Messages that lie in files of mail stores with others, or compressed: they say themselves where
//! they end, and need not begin where blocks do.
//!
//! | module | takes |
//! |---|---|
//! | [`compressed`] | files that begin at a sector and whose checksum holds, or whose stream ends |
//! | [`dbox`] | records of sdbox and mdbox, by the sizes before and behind each message |
//! | [`embedded`] | what begins within a file of another format, by a number before it that is its length |
//! | [`mbox`] | what lies between two postmarks of an mbox |
//!
//! What a record says proves a message; so it is taken before all that only looks like one, and
//! with the file its sectors are.

mod compressed;
mod dbox;
pub(crate) mod embedded;
mod mbox;
mod read;

use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::carved::Stored;
use mail::codec::Codec;
use mail::dbox::loose;
use mail::header::{Header, REACH, header};
use mail::mbox::loose as mbox_file;

use crate::blocks::Grid;
use crate::chain::End;
use crate::judge::Judge;
use crate::survey::{SECTOR, Sector, Survey};
use crate::{Carved, Carving};

/// A postmark and the first field behind it are looked for in so many bytes.
const MOST_POSTMARK: usize = 4 << 10;

/// Where files of mail stores seem to be, as the pass over the device saw them.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Sectors that begin as compressed files do.
    compressed: Vec<u64>,
    /// Headers of messages in a dbox.
    records: Vec<u64>,
    /// Metadata behind messages in a dbox.
    metadata: Vec<u64>,
    /// Sectors that begin as a file of a dbox does.
    dbox_files: Vec<u64>,
    /// Postmarks of an mbox.
    postmarks: Vec<u64>,
    /// Lines of headers that begin within something else.
    lines: Vec<u64>,
}

impl Sightings {
    /// Notes what begins in the first `own` bytes of `window`, which lies at `start`, where it
    /// `is_free`.
    pub(crate) fn look(
        &mut self,
        window: &[u8],
        own: usize,
        start: u64,
        is_free: &dyn Fn(u64) -> bool,
    ) {
        let place = |at: usize| start.saturating_add(at as u64);
        for at in (0..own).step_by(SECTOR) {
            let rest = window.get(at..).unwrap_or_default();
            let places = if Codec::of(rest) != Codec::Plain {
                &mut self.compressed
            } else if loose::begins(rest) {
                &mut self.dbox_files
            } else {
                continue;
            };
            places.extend(Some(place(at)).filter(|at| is_free(*at)));
        }
        let hits = |needle| {
            let hits = memchr::memmem::find_iter(window, needle);
            hits.take_while(move |hit| *hit < own)
        };
        let free = |hit: &usize| is_free(place(*hit));
        self.records
            .extend(hits(loose::HEADER).filter(free).map(place));
        self.metadata
            .extend(hits(loose::METADATA).filter(free).map(place));
        let begins = hits(mbox_file::POSTMARK).filter(|hit| {
            let starts_line = match hit.checked_sub(1).and_then(|before| window.get(before)) {
                Some(before) => *before == b'\n' || hit.is_multiple_of(SECTOR),
                None => true,
            };
            let end = hit.saturating_add(MOST_POSTMARK).min(window.len());
            starts_line && mbox_file::begins(window.get(*hit..end).unwrap_or_default())
        });
        self.postmarks.extend(begins.filter(free).map(place));
        let lines = embedded::lines(window, own).into_iter();
        let lines = lines.filter(|line| embedded::may_be_embedded(window, *line));
        self.lines.extend(lines.filter(free).map(place));
    }

    /// Whether a file of a store begins at a place.
    pub(crate) fn begins_at(&self, place: u64) -> bool {
        let places = [&self.compressed, &self.dbox_files, &self.postmarks];
        places
            .iter()
            .any(|places| places.binary_search(&place).is_ok())
    }

    /// Whether a range has a postmark of an mbox.
    pub(crate) fn has_postmark(&self, range: &Range<u64>) -> bool {
        let next = self.postmarks.partition_point(|at| *at < range.start);
        self.postmarks.get(next).is_some_and(|at| *at < range.end)
    }

    /// Adds what another window has.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.compressed.append(&mut other.compressed);
        self.records.append(&mut other.records);
        self.metadata.append(&mut other.metadata);
        self.dbox_files.append(&mut other.dbox_files);
        self.postmarks.append(&mut other.postmarks);
        self.lines.append(&mut other.lines);
    }
}

/// A message of a file of a store, with all of the file that is its own.
struct Taken {
    /// What it takes of the device: the message with all that its store puts around it.
    spans: Vec<Range<u64>>,
    carving: Carving,
}

impl Taken {
    /// A message whose file takes one span.
    fn one(span: Range<u64>, carving: Carving) -> Self {
        Self {
            spans: std::iter::once(span).collect(),
            carving,
        }
    }
}

/// What was taken from files of stores.
pub(crate) struct Stores {
    /// On which grid the blocks of the file system lay.
    pub(crate) grid: Grid,
    /// The messages, in the order of the device.
    pub(crate) messages: Vec<Carving>,
    /// Messages within files of other formats, that nothing beside them proves.
    pub(crate) embedded: Vec<embedded::Embedded>,
}

/// What is known of where blocks begin before what begins there is looked at.
pub(crate) enum Known {
    /// That they begin there.
    Surely(Grid),
    /// What maps of files say, if there are any: where more files begin, these tell.
    Perhaps(Option<Grid>),
}

impl Known {
    /// Where blocks begin, with files at `starts`, which `tell`.
    fn grid(&self, starts: &[u64], tell: impl FnOnce() -> Grid) -> Grid {
        match self {
            Self::Surely(grid) => *grid,
            Self::Perhaps(Some(grid)) if Grid::are_few(starts) => *grid,
            Self::Perhaps(_) => tell(),
        }
    }
}

/// Takes all messages that lie in files of stores; their sectors and the heads in them are taken
/// out of `survey`. So much is `known` of where blocks begin.
pub(crate) fn take(device: &dyn ReadAt, survey: &mut Survey, known: &Known) -> Stores {
    let mut seen = std::mem::take(&mut survey.stores);
    // Some deliveries leave a postmark within a header.
    seen.postmarks
        .retain(|place| !is_in_header(device, &survey.heads, *place));
    seen.postmarks = mbox::of_mboxes(device, &survey.heads, &seen.postmarks);
    let mut messages = Vec::new();
    let mut records = dbox::records(device, &seen.records);
    for record in std::mem::take(&mut records.whole) {
        claim(survey, record, &mut messages);
    }
    // A compressed message within a record may begin at a sector, and is no file of its own.
    let compressed = seen.compressed.iter().copied();
    let compressed: Vec<u64> = compressed
        .filter(|at| survey.sector(*at) != Sector::Taken)
        .collect();
    let mut starts = Vec::new();
    let packed = compressed::files(device, &compressed);
    for file in packed.whole {
        starts.extend(file.spans.first().map(|span| span.start));
        claim(survey, file, &mut messages);
    }
    for record in &records.open {
        // Whatever becomes of it, no file begins behind its header.
        survey.take(&(record.header..record.message.start.saturating_add(1)));
    }
    survey
        .heads
        .retain(|head| !mbox::is_inside(device, &seen.postmarks, *head));
    let starts = starts_of_files(survey, &seen, starts);
    let grid = known.grid(&starts, || {
        Grid::of(&starts).with_blocks_of(device, &starts)
    });
    let sure = known.grid(&starts, || Grid::sure(&starts));
    let pieces = with_judge(device, survey, sure, &records.open, |judge| {
        let mut pieces = dbox::Pieces::new(judge, device, &seen.metadata, &records);
        pieces.put_together(&records.open)
    });
    for record in pieces {
        claim(survey, record, &mut messages);
    }
    let pieces = with_judge(device, survey, sure, &packed.open, |judge| {
        compressed::joined(judge, device, &packed.open)
    });
    for file in pieces {
        claim(survey, file, &mut messages);
    }
    // Where hardly a file begins that says how large blocks are, no border may be missed.
    let of_mboxes = if Grid::are_few(&starts) { sure } else { grid };
    let mail = with_judge(device, survey, of_mboxes, &seen.postmarks, |judge| {
        mbox::messages(judge, device, &seen.postmarks)
    });
    for message in mail {
        claim(survey, message, &mut messages);
    }
    let lines = seen.lines.iter().copied();
    let lines: Vec<u64> = lines
        .filter(|at| survey.sector(*at) != Sector::Taken)
        .collect();
    let mut embedded = embedded::find(device, survey, &lines);
    for message in embedded::take_proven(device, &mut embedded) {
        claim(survey, message, &mut messages);
    }
    messages.sort_by_key(|message| message.found.pieces.first().copied());
    Stores {
        grid,
        messages,
        embedded,
    }
}

/// What those of the `embedded` messages are that none of `others` has bytes of.
pub(crate) fn within_others(
    device: &dyn ReadAt,
    survey: &Survey,
    embedded: &[embedded::Embedded],
    carved: &Carved,
) -> Vec<Carving> {
    with_judge(device, survey, carved.grid, embedded, |judge| {
        embedded::rest(judge, device, embedded, &carved.messages)
    })
}

/// Calls `with` with what blocks are judged with, if there is anything in `open` to judge.
fn with_judge<O, T: Default>(
    device: &dyn ReadAt,
    survey: &Survey,
    grid: Grid,
    open: &[O],
    with: impl FnOnce(&Judge<'_>) -> T,
) -> T {
    if open.is_empty() {
        return T::default();
    }
    Judge::of(device, survey, grid, |judge| with(judge))
}

/// The header that begins at `head`, in so many bytes.
fn header_at(device: &dyn ReadAt, head: u64, reach: usize) -> Option<Header> {
    let rest = usize::try_from(device.len().saturating_sub(head)).unwrap_or(reach);
    let text = device.read_vec(ByteOffset::new(head), rest.min(reach));
    header(&text.ok()?.0)
}

/// Whether `place` lies in the header of a message that begins before it, where a file does: at one of
/// `heads`.
fn is_in_header(device: &dyn ReadAt, heads: &[u64], place: u64) -> bool {
    let next = heads.partition_point(|head| *head < place);
    let head = next.checked_sub(1).and_then(|last| heads.get(last));
    let Some(head) = head.filter(|head| place.saturating_sub(**head) <= REACH as u64) else {
        return false;
    };
    let header = header_at(device, *head, REACH);
    header.is_some_and(|header| place < head.saturating_add(header.seen))
}

/// Takes a message, and its sectors from all that is looked for later.
fn claim(survey: &mut Survey, taken: Taken, messages: &mut Vec<Carving>) {
    for span in &taken.spans {
        survey.take(span);
    }
    messages.push(taken.carving);
}

/// Where files begin: messages, files of a dbox, compressed ones, and an mbox where nothing stands
/// before its postmark.
fn starts_of_files(survey: &Survey, seen: &Sightings, compressed: Vec<u64>) -> Vec<u64> {
    let mut starts = survey.heads.clone();
    starts.extend(&seen.dbox_files);
    starts.extend(compressed);
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// A carving of `pieces` of the device.
fn carving(
    pieces: &[Range<u64>],
    proof: Option<Proof>,
    why: Option<String>,
    stored: Option<Stored>,
) -> Carving {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for piece in pieces {
        let length = piece.end.saturating_sub(piece.start);
        match joined.last_mut() {
            Some((start, before)) if start.saturating_add(*before) == piece.start => {
                *before = before.saturating_add(length);
            }
            _ => joined.push((piece.start, length)),
        }
    }
    joined.retain(|(_, length)| *length > 0);
    Carving {
        found: mail::carved::Carved {
            pieces: joined,
            proof,
            repairs: Vec::new(),
            contradictions: why.into_iter().collect(),
            stored,
        },
        end: proof.map(|_| End::Stored),
        borders: Vec::new(),
    }
}
