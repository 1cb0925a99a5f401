//! The blocks of text that nobody has claimed, and how to find among them one that goes on where
//! a message broke off.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mail::turned::is_base64_byte;
use rayon::prelude::*;

use crate::blocks::{BlockKind, Blocks, Grid, filled};
use crate::judge::Judge;
use crate::reader::{Reader, UUENCODE_LINE, is_uuencode_byte};
use crate::search::LEAST_LINK;
use crate::times::{MOST_DATES, dates};

/// A line that is so much base64 is base64.
const LEAST_BASE64_LINE: usize = 40;

/// Places that are tried at one break.
const PLACES: usize = 200;
/// As many, where a body hash will tell which is the right one.
const SIGNED_PLACES: usize = 2000;

/// Where the lines of a boundary stand.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// In which blocks.
    pub(crate) blocks: Vec<u64>,
    /// Whether one of them closes it.
    pub(crate) is_closed: bool,
}

/// How a block begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    /// Of a block of base64: the length of its lines.
    base64: Option<u16>,
    /// Bytes before the first line end.
    first: u16,
    /// Bytes behind the last line end.
    last: u16,
    /// It is filled to its last byte.
    full: bool,
    /// A message begins in it.
    is_head: bool,
    /// It begins with a rest of base64 and a boundary.
    ends_base64: bool,
    /// Its first bytes.
    begins: [u8; 32],
}

impl Edge {
    fn of(block: &[u8], is_head: bool) -> Self {
        let content = block.get(..filled(block)).unwrap_or_default();
        let ends: Vec<usize> = memchr::memchr_iter(b'\n', content).take(4).collect();
        let first = ends.first().copied().unwrap_or(content.len());
        let last = memchr::memrchr(b'\n', content).map_or(content.len(), |at| {
            content.len().saturating_sub(at).saturating_sub(1)
        });
        Self {
            base64: base64_length(content, &ends),
            first: u16::try_from(first).unwrap_or(u16::MAX),
            last: u16::try_from(last).unwrap_or(u16::MAX),
            full: content.len() == block.len(),
            is_head,
            ends_base64: ends_base64(content, &ends),
            begins: block.first_chunk().copied().unwrap_or_default(),
        }
    }
}

/// The length of the lines of a block that begins with base64, or with uuencode.
fn base64_length(content: &[u8], ends: &[usize]) -> Option<u16> {
    let [first, second, ..] = ends else {
        return None;
    };
    let head = content.get(..*first)?;
    let line = content.get(first.saturating_add(1)..*second)?;
    let all = |has: fn(u8) -> bool| {
        let both = head.iter().chain(line);
        both.filter(|byte| **byte != b'\r').all(|byte| has(*byte))
    };
    let is_base64 = line.len() >= LEAST_BASE64_LINE && all(is_base64_byte);
    let bare = line.strip_suffix(b"\r").unwrap_or(line);
    let is_full = bare.len() == UUENCODE_LINE && bare.starts_with(b"M");
    let is_uuencode = is_full && all(is_uuencode_byte);
    (is_base64 || is_uuencode).then(|| u16::try_from(line.len()).ok())?
}

/// Whether a block begins with a last line of base64, and a boundary soon after it.
fn ends_base64(content: &[u8], ends: &[usize]) -> bool {
    let Some(first) = ends.first().and_then(|end| content.get(..*end)) else {
        return false;
    };
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    let is_base64 = first.iter().all(|byte| is_base64_byte(*byte));
    let boundary = ends.iter().take(3).any(|end| {
        let next = end.saturating_add(1);
        content
            .get(next..)
            .is_some_and(|rest| rest.starts_with(b"--"))
    });
    is_base64 && (boundary || first.ends_with(b"="))
}

/// The length of the lines of the base64 that a reader is in, and what is missing of the last one: as
/// edges count them, with their CR if they have one.
fn rest_of_line(reader: &Reader) -> Option<(usize, usize)> {
    let (length, column) = reader.base64_phase()?;
    let whole = length
        .saturating_add(reader.line_end_bytes())
        .saturating_sub(1);
    Some((whole, whole.saturating_sub(column)))
}

/// Blocks that are free.
pub(crate) struct Pool {
    grid: Grid,
    edges: HashMap<u64, Edge>,
    /// Blocks that do not go on with the one before them.
    starts: BTreeMap<u64, Edge>,
    /// Blocks of base64 that do not, by the length of their lines and of the rest that they begin
    /// with.
    base64: BTreeMap<(u16, u16), BTreeSet<u64>>,
    /// The dates in blocks that begin with a part of a header, or with what looks like one.
    dates: BTreeMap<u64, Vec<i64>>,
}

impl Pool {
    /// All blocks of text.
    pub(crate) fn of(blocks: &Blocks<'_>) -> Self {
        let read: Vec<(u64, Edge, Vec<i64>)> = (0..blocks.count())
            .into_par_iter()
            .filter(|number| matches!(blocks.kind(*number), BlockKind::Text | BlockKind::Mixed))
            .map(|number| {
                let block = blocks.read(number);
                let edge = Edge::of(&block, blocks.heads().contains(&number));
                let dates = dates(block.get(..filled(&block)).unwrap_or_default());
                (number, edge, dates.take(MOST_DATES).collect())
            })
            .collect();
        let is_dated =
            |(_, edge, dates): &&(u64, Edge, Vec<i64>)| !edge.is_head && !dates.is_empty();
        let dates = read.iter().filter(is_dated);
        let dates = dates
            .map(|(number, _, dates)| (*number, dates.clone()))
            .collect();
        let edges = read
            .into_iter()
            .map(|(number, edge, _)| (number, edge))
            .collect();
        let mut pool = Self {
            grid: blocks.grid,
            edges,
            starts: BTreeMap::new(),
            base64: BTreeMap::new(),
            dates,
        };
        let starts = pool.edges.keys().copied();
        let starts: Vec<u64> = starts.filter(|number| pool.is_start(*number)).collect();
        for number in starts {
            pool.add_start(number);
        }
        pool
    }

    fn add_start(&mut self, number: u64) {
        let edge = self.edges.get(&number).filter(|edge| !edge.is_head);
        let Some(edge) = edge.copied().filter(|_| self.grid.begins_cluster(number)) else {
            return;
        };
        if let Some(length) = edge.base64 {
            self.base64
                .entry((length, edge.first))
                .or_default()
                .insert(number);
        }
        self.starts.insert(number, edge);
    }

    /// Whether a block does not go on with the one before it, by what its edges show.
    fn is_start(&self, number: u64) -> bool {
        let before = number
            .checked_sub(1)
            .and_then(|before| self.edges.get(&before));
        let (Some(before), Some(edge)) = (before, self.edges.get(&number)) else {
            return true;
        };
        if !before.full || edge.is_head {
            return true;
        }
        match (before.base64, edge.base64) {
            (Some(a), Some(b)) => a != b || before.last.saturating_add(edge.first) != b,
            (None, Some(length)) => before.last.saturating_add(edge.first) != length,
            _ => false,
        }
    }

    /// Whether a block is free.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.edges.contains_key(&number)
    }

    /// In which free blocks the lines of boundaries stand that are `named`.
    pub(crate) fn boundaries(
        &self,
        blocks: &Blocks<'_>,
        named: &HashSet<&[u8]>,
    ) -> HashMap<Vec<u8>, Standing> {
        let numbers: Vec<u64> = self.edges.keys().copied().collect();
        let in_block = |number: &u64| {
            let block = blocks.read(*number);
            let lines = block.split(|byte| *byte == b'\n');
            let boundary = |line: &[u8]| {
                let line = line.strip_prefix(b"--")?.trim_ascii_end();
                if named.contains(line) {
                    return Some((line.to_vec(), false));
                }
                let closed = line.strip_suffix(b"--").filter(|line| named.contains(line));
                closed.map(|line| (line.to_vec(), true))
            };
            let found: Vec<(Vec<u8>, bool)> = lines.filter_map(boundary).collect();
            let with_number = |(boundary, closes)| (boundary, *number, closes);
            found.into_iter().map(with_number).collect::<Vec<_>>()
        };
        let mut all: HashMap<Vec<u8>, Standing> = HashMap::new();
        let found: Vec<_> = numbers.par_iter().flat_map_iter(in_block).collect();
        for (boundary, number, closes) in found {
            let standing = all.entry(boundary).or_default();
            standing.blocks.push(number);
            standing.is_closed |= closes;
        }
        all
    }

    /// How many bytes the blocks have that are free.
    pub(crate) fn bytes(&self) -> u64 {
        (self.edges.len() as u64).saturating_mul(self.grid.block)
    }

    /// Takes blocks out.
    pub(crate) fn claim(&mut self, numbers: &[u64]) {
        for number in numbers {
            let Some(edge) = self.edges.remove(number) else {
                continue;
            };
            self.starts.remove(number);
            if let Some(length) = edge.base64
                && let Some(starts) = self.base64.get_mut(&(length, edge.first))
            {
                starts.remove(number);
            }
            if let Some(next) = number.checked_add(1).filter(|next| self.has(*next)) {
                self.add_start(next);
            }
        }
    }

    /// How many blocks there are at which something begins that goes on in base64, or in text.
    pub(crate) fn starts(&self, in_base64: bool) -> usize {
        let base64: usize = self.base64.values().map(BTreeSet::len).sum();
        if in_base64 { base64 } else { self.starts.len() }
    }

    /// The free blocks at which something begins that may go on behind `reader`, the likeliest
    /// first; `near` is the last block of the message so far.
    pub(crate) fn candidates(&self, reader: &Reader, judge: &Judge<'_>, near: u64) -> Vec<u64> {
        let far = |number: u64| (number.abs_diff(near) as f64 + 1.0).ln();
        let (line, _) = reader.unfinished();
        let least = if reader.is_signed() {
            f64::MIN
        } else {
            LEAST_LINK
        };
        let mut behind = judge.borders.behind(line);
        let (before, own) = reader.dates();
        let sent = [before, own].concat();
        let in_header = reader.body_start().is_none();
        let text = |(number, edge): (&u64, &Edge)| {
            let dates = in_header.then(|| self.dates.get(number)).flatten();
            let nats =
                behind(&edge.begins) + dates.map_or(0.0, |dates| judge.times.nats(&sent, dates));
            (nats > least).then(|| (*number, nats - far(*number)))
        };
        let mut found: Vec<(u64, f64)> = match rest_of_line(reader) {
            Some((_, rest)) => {
                let exact = self.fitting(reader, near, usize::MAX);
                let mut found: Vec<(u64, f64)> =
                    exact.map(|number| (number, -far(number))).collect();
                // The part may end in the next block, whose first lines are then no base64.
                found.extend(
                    self.last_of_base64(rest)
                        .map(|number| (number, -4.0 - far(number))),
                );
                found
            }
            None => self.starts.iter().filter_map(text).collect(),
        };
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(if reader.is_signed() {
            SIGNED_PLACES
        } else {
            PLACES
        });
        found.into_iter().map(|(number, _)| number).collect()
    }

    /// The blocks at which something begins whose base64 has the phase that must follow `reader`: so many
    /// on either side of block `near`, the nearest first on each.
    pub(crate) fn fitting(
        &self,
        reader: &Reader,
        near: u64,
        count: usize,
    ) -> impl Iterator<Item = u64> {
        let key = rest_of_line(reader).and_then(|(whole, rest)| {
            let whole = u16::try_from(whole).ok()?;
            Some((whole, u16::try_from(rest).ok()?))
        });
        let fitting = key.and_then(|key| self.base64.get(&key)).into_iter();
        fitting.flat_map(move |places| {
            let before = places.range(..near).rev().take(count);
            let behind = places.range(near..).take(count);
            behind.chain(before).copied()
        })
    }

    /// How many blocks of base64 follow each other from `start` on, by what their edges show.
    pub(crate) fn run(&self, start: u64) -> u64 {
        let is_base64 = |number: &u64| {
            let edge = self.edges.get(number);
            edge.is_some_and(|edge| edge.base64.is_some() || edge.ends_base64)
        };
        let next = start.saturating_add(1)..;
        let run = next.take_while(|number| is_base64(number) && !self.is_start(*number));
        (run.count() as u64).saturating_add(1)
    }

    /// The blocks in which base64 ends with a boundary of `reader`'s.
    pub(crate) fn ends_of(&self, blocks: &Blocks<'_>, reader: &Reader) -> Vec<u64> {
        let lines: Vec<Vec<u8>> = reader
            .open_boundaries()
            .map(|boundary| [b"--", boundary].concat())
            .collect();
        let ends = self.last_of_base64(usize::MAX).filter(|number| {
            let block = blocks.read(*number);
            let mut lines = lines.iter();
            lines.any(|line| memchr::memmem::find(&block, line).is_some())
        });
        ends.collect()
    }

    /// Blocks in which a part in base64 may end: at most `rest` characters, and a boundary.
    fn last_of_base64(&self, rest: usize) -> impl Iterator<Item = u64> {
        let starts = self.starts.iter();
        let ends =
            starts.filter(move |(_, edge)| edge.ends_base64 && usize::from(edge.first) <= rest);
        ends.map(|(number, _)| *number)
    }
}
