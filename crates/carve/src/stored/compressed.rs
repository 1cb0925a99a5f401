//! Compressed messages, each in a file of its own.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::codec::{self, Codec, MAX_MESSAGE_BYTES};
use mail::header::header;
use rayon::prelude::*;

use super::{Taken, carving};
use crate::blocks::{BlockKind, Grid};
use crate::judge::Judge;
use crate::survey::SECTOR;

/// Read at a time.
const WINDOW: usize = 256 << 10;
/// What of a file is decoded to see whether it begins as mail does.
const HEAD: usize = 16 << 10;
/// A file that does not decode is looked through up to here.
const MOST_SECTORS: u64 = (32 << 20) / SECTOR as u64;
/// Borders before the place where a decoder failed that may be the break.
const MOST_BREAKS: usize = 16;
/// Blocks before and behind a file in which it may go on.
const MOST_FAR: u64 = 1 << 15;
/// As many are tried.
const MOST_PLACES: usize = 4096;
/// Bytes that are decoded for one file in two pieces.
const BUDGET: u64 = 64 << 20;

/// Compressed files with messages in them.
#[derive(Default)]
pub(super) struct Files {
    /// Those that are whole where they lie.
    pub(super) whole: Vec<Taken>,
    /// Those that go on elsewhere.
    pub(super) open: Vec<Open>,
}

/// A compressed file that begins with a message, or may, and does not decode to its end.
pub(super) struct Open {
    /// Where it begins.
    at: u64,
    codec: Codec,
    /// How far it decodes without a contradiction.
    reached: u64,
    /// Whether what came out begins as mail does; else nothing came out yet.
    is_mail: bool,
}

/// What begins at a place.
enum File {
    Whole(Range<u64>, Codec),
    Open(Open),
}

/// The messages in the compressed files that begin at `places`, each of which ends where its own
/// format says.
pub(super) fn files(device: &dyn ReadAt, places: &[u64]) -> Files {
    let mut covered = 0_u64;
    let found: Vec<Option<File>> = places.par_iter().map(|at| file(device, *at)).collect();
    let mut files = Files::default();
    for file in found.into_iter().flatten() {
        match file {
            // A file within another is what that one holds.
            File::Whole(span, codec) if span.start >= covered => {
                covered = span.end;
                files.whole.push(whole(&[span], codec));
            }
            File::Open(open) if open.at >= covered => files.open.push(open),
            File::Whole(..) | File::Open(_) => {}
        }
    }
    files
}

/// A message in a file that lies in `spans`.
fn whole(spans: &[Range<u64>], codec: Codec) -> Taken {
    // What has no checksum ended as its format says, which chance seldom does.
    let proof = if codec.verifies() {
        Proof::Checksum
    } else {
        Proof::Structure
    };
    Taken {
        spans: spans.to_vec(),
        carving: carving(spans, Some(proof), None, None),
    }
}

/// The message in the compressed file at `at`.
fn file(device: &dyn ReadAt, at: u64) -> Option<File> {
    let rest = usize::try_from(device.len().checked_sub(at)?).unwrap_or(HEAD);
    let head = device.read_vec(ByteOffset::new(at), rest.min(HEAD)).ok()?.0;
    let codec = Codec::of(&head);
    // Most compressed files hold no mail, and need not be decoded to their end.
    let begin = codec::decode(codec, &head).bytes;
    if !begin.is_empty() && header(&begin).is_none() {
        return None;
    }
    let mut stream = Stream::new(device, at..device.len());
    let decoded = codec::decode_one(codec, &mut stream);
    // Nothing comes out of bzip2 before a whole block is there.
    let is_mail = header(&decoded.bytes).is_some();
    let may_be = decoded.bytes.is_empty() && codec == Codec::Bzip2;
    if decoded.error.is_none() && is_mail {
        return Some(File::Whole(at..at.saturating_add(stream.taken), codec));
    }
    (decoded.error.is_some() && (is_mail || may_be)).then_some(())?;
    let reached = reached(device, at, codec);
    Some(File::Open(Open {
        at,
        codec,
        reached,
        is_mail,
    }))
}

/// How far the file at `at` decodes without a contradiction, to a sector: so far, a decoder wants
/// more of it.
fn reached(device: &dyn ReadAt, at: u64, codec: Codec) -> u64 {
    let end = |sectors: u64| at.saturating_add(sectors.saturating_mul(SECTOR as u64));
    let wants_more = |sectors: u64| {
        let mut stream = Stream::new(device, at..end(sectors));
        let decoded = codec::decode_one(codec, &mut stream);
        decoded.error.is_some() && stream.is_exhausted
    };
    let mut good = 0;
    let mut bad = 1;
    while end(bad) <= device.len() && bad <= MOST_SECTORS && wants_more(bad) {
        good = bad;
        bad = bad.saturating_mul(2);
    }
    while bad.saturating_sub(good) > 1 {
        let middle = good.midpoint(bad);
        if end(middle) <= device.len() && wants_more(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    end(good)
}

/// Puts files together that lie in two pieces, and gives the others as far as they go.
///
/// A decoder fails soon behind a break, and a checksum says which of the blocks that nobody has goes
/// on. The likeliest are tried first: where a piece begins, and near.
pub(super) fn joined(judge: &Judge<'_>, device: &dyn ReadAt, open: &[Open]) -> Vec<Taken> {
    let grid = judge.blocks.grid;
    let mut claimed: BTreeSet<u64> = BTreeSet::new();
    let join = |file: &Open| {
        let found = rest(judge, device, file, &claimed);
        let found = found.or_else(|| file.is_mail.then(|| beginning(grid, file)))?;
        for span in &found.spans {
            let borders = grid.borders(span.start).take_while(|at| *at < span.end);
            claimed.extend(std::iter::once(span.start).chain(borders));
        }
        Some(found)
    };
    open.iter().filter_map(join).collect()
}

/// The file with its second piece, if that is found among the blocks that are not `claimed`.
fn rest(
    judge: &Judge<'_>,
    device: &dyn ReadAt,
    file: &Open,
    claimed: &BTreeSet<u64>,
) -> Option<Taken> {
    // Without a checksum nothing would tell a wrong piece.
    file.codec.verifies().then_some(())?;
    let grid = judge.blocks.grid;
    let borders = grid.borders(file.at).take_while(|at| *at <= file.reached);
    let mut breaks: Vec<u64> = borders.collect();
    breaks.reverse();
    breaks.truncate(MOST_BREAKS);
    let mut budget = BUDGET;
    for place in places(judge, file, claimed) {
        for stop in &breaks {
            let length = stop.saturating_sub(file.at);
            budget = budget.checked_sub(length.saturating_add(grid.block))?;
            let first = usize::try_from(length).ok()?;
            let first = device.read_whole(ByteOffset::new(file.at), first)?;
            let mut second = Stream::new(device, place..device.len());
            let decoded = codec::decode_one(file.codec, &mut (&first[..]).chain(&mut second));
            let spans = [file.at..*stop, place..place.saturating_add(second.taken)];
            let is_whole = decoded.error.is_none() && header(&decoded.bytes).is_some();
            if is_whole && place != *stop && second.taken > 0 {
                return Some(whole(&spans, file.codec));
            }
        }
    }
    None
}

/// The blocks in which a file may go on: such as are no text and nobody's, those first that do not
/// go on from another, and the near ones first.
fn places(judge: &Judge<'_>, file: &Open, claimed: &BTreeSet<u64>) -> Vec<u64> {
    let blocks = judge.blocks;
    let grid = blocks.grid;
    let own = file.at.saturating_sub(grid.phase) / grid.block;
    let near = own.saturating_sub(MOST_FAR)..own.saturating_add(MOST_FAR).min(blocks.count());
    let is_open = |number: u64| {
        blocks.kind(number) == BlockKind::Other
            && !blocks.is_taken(number)
            && !claimed.contains(&grid.offset(number))
    };
    let mut found: Vec<(bool, u64, u64)> = Vec::new();
    let mut before = false;
    for number in near {
        let open = is_open(number);
        if open && number != own {
            found.push((before, number.abs_diff(own), grid.offset(number)));
        }
        before = open;
    }
    found.sort_unstable();
    found.truncate(MOST_PLACES);
    found.into_iter().map(|(.., at)| at).collect()
}

/// A file up to the last border before the decoder failed.
fn beginning(grid: Grid, file: &Open) -> Taken {
    let borders = grid.borders(file.at);
    let last = borders.take_while(|at| *at <= file.reached).last();
    let span = file.at..last.unwrap_or(file.reached);
    let why = "the compressed file goes on elsewhere, and nothing says where";
    let carving = carving(
        std::slice::from_ref(&span),
        None,
        Some(why.to_owned()),
        None,
    );
    Taken::one(span, carving)
}

/// The bytes of a part of a device, up to what cannot be read.
struct Stream<'a> {
    device: &'a dyn ReadAt,
    range: Range<u64>,
    /// How many bytes were taken.
    taken: u64,
    /// Whether more was asked for than there is.
    is_exhausted: bool,
    /// What was read, and how much of it was taken.
    window: Vec<u8>,
    at: usize,
}

impl<'a> Stream<'a> {
    const fn new(device: &'a dyn ReadAt, range: Range<u64>) -> Self {
        Self {
            device,
            range,
            taken: 0,
            is_exhausted: false,
            window: Vec::new(),
            at: 0,
        }
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.window.len() {
            let from = self.range.start.saturating_add(self.taken);
            let rest = self.range.end.saturating_sub(from);
            let length = usize::try_from(rest).unwrap_or(WINDOW).min(WINDOW);
            self.window.clear();
            self.at = 0;
            if self.taken <= MAX_MESSAGE_BYTES
                && length > 0
                && let Ok((mut bytes, gaps)) = self.device.read_vec(ByteOffset::new(from), length)
            {
                let gap = gaps.iter().map(|gap| gap.range.start).min();
                bytes.truncate(gap.unwrap_or(length));
                self.window = bytes;
            }
        }
        self.is_exhausted |= self.at >= self.window.len();
        Ok(self.window.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
        self.taken = self.taken.saturating_add(bytes as u64);
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(into.len());
        let (Some(from), Some(to)) = (there.get(..count), into.get_mut(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.consume(count);
        Ok(count)
    }
}
