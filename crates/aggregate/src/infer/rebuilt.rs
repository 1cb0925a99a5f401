//! Whether what a hypothesis rebuilds looks like what lies beside it.
//!
//! Where as many members are missing as there is parity, no relation is left that could be
//! wrong. But with wrong factors, or the wrong member for parity, noise comes out; with the
//! right ones the text of the chunk before goes on.

use std::collections::BTreeSet;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::anchors::{Addresses, FileEnd, Source};
use super::contents::{Contents, Texture};
use super::hypothesis::Hypothesis;
use super::sample::{BLOCK, Candidate, Row};
use super::verify;
use crate::raid::GroupReader;

/// Rows of chunks that are looked at, and ends of files.
const MOST_ROWS: usize = 128;
const MOST_ENDS: usize = 96;

/// The same of rows, where a first look does not decide.
const MOST_ROWS_OF_CLOSE: usize = 4096;

/// Blocks beside anchors that are looked at for addresses of their own, and what one is worth that
/// states the right one, in nats.
const MOST_BESIDE: usize = 256;
const STATED_HIT: f64 = 4.0;

/// What is rebuilt to look for more of these, where a first look does not decide.
const MOST_STATED_BYTES: u64 = 32 << 20;

/// The longest node of a file system: its checksum is over all of it.
const NODE: u64 = 64 << 10;

/// What an end of a file is worth that is rebuilt where its inode says, and one that is not, in
/// nats: a file may have been written anew since.
const END_HIT: f64 = 4.0;
const END_MISS: f64 = 1.0;

/// What a hypothesis rebuilds.
pub(super) struct Rebuilt<'a> {
    hypothesis: &'a Hypothesis,
    candidates: &'a [Candidate],
    group: GroupReader,
}

impl<'a> Rebuilt<'a> {
    /// `None` if no member is missing, or more than can be rebuilt.
    pub(super) fn new(hypothesis: &'a Hypothesis, candidates: &'a [Candidate]) -> Option<Self> {
        rebuilds(hypothesis, candidates).then_some(())?;
        let group = verify::open(hypothesis, candidates, hypothesis.row_0, &|_| true)?;
        Some(Self {
            hypothesis,
            candidates,
            group,
        })
    }

    /// Whether the data chunk of this number in a row is not there.
    fn is_lost(&self, row: u64, number: u64) -> bool {
        let holders = self.hypothesis.shape.row(row);
        let holder = usize::try_from(number)
            .ok()
            .and_then(|number| holders.data.get(number));
        let device = holder.and_then(|role| self.hypothesis.device(*role));
        let device = device.and_then(|device| self.candidates.get(device));
        let chunk = self.hypothesis.chunk;
        let at = self
            .hypothesis
            .row_0
            .saturating_add(row.saturating_mul(chunk));
        device.is_none_or(|device| device.is_lost(at, chunk))
    }

    /// How much files whose ends are rebuilt speak for it, in nats, if their file systems begin
    /// at these places. A sum is as long as the longest of its parts: that a file ends there says
    /// something where one of them goes on behind, and the rest is rebuilt as zeros.
    pub(super) fn ends(&self, begins: &[(Source, i64)], ends: &[FileEnd]) -> f64 {
        let map = self.hypothesis.map();
        let mut places: Vec<(u64, &FileEnd)> = Vec::new();
        for (source, begin) in begins {
            let own = ends.iter().filter(|end| end.source == *source);
            let own = own.filter_map(|end| Some((begin.checked_add_unsigned(end.address)?, end)));
            let own = own.filter_map(|(at, end)| Some((u64::try_from(at).ok()?, end)));
            places.extend(own.filter(|(at, _)| {
                let chunks = at / self.hypothesis.chunk;
                let width = self.hypothesis.shape.width().max(1);
                self.is_lost(chunks / width, chunks % width)
            }));
        }
        let goes_on = |position: u64, end: &FileEnd| {
            let position = i64::try_from(position).ok();
            let Some(at) = position.and_then(|position| map.at(position)) else {
                return false;
            };
            let length = usize::try_from(end.block_bytes).unwrap_or(usize::MAX);
            let devices = self.hypothesis.devices();
            let mut devices = devices.filter_map(|device| self.candidates.get(device));
            devices.any(|one| {
                let block = one.device.read_whole(ByteOffset::new(at), length);
                block.is_some_and(|block| end.is_passed_by(&block))
            })
        };
        let step = places.len().div_ceil(MOST_ENDS).max(1);
        let worth = |(at, end): &(u64, &FileEnd)| {
            let length = usize::try_from(end.block_bytes).unwrap_or(usize::MAX);
            match self.group.read_whole(ByteOffset::new(*at), length) {
                Some(block) if end.fits(&block) && goes_on(*at, end) => END_HIT,
                Some(block) if end.fits(&block) => 0.0,
                Some(_) => -END_MISS,
                None => 0.0,
            }
        };
        places.iter().step_by(step).map(worth).sum()
    }

    /// How much blocks speak for it, in nats, that are rebuilt beside `anchors` that agree, and that
    /// state the place where they come to lie, if the pieces of their file systems begin at these places.
    ///
    /// Noise states nothing. None that does is no evidence: beside metadata there may be data.
    pub(super) fn stated_beside(
        &self,
        anchors: &[(usize, u64)],
        begins: &[(Source, i64)],
        addresses: &Addresses,
    ) -> f64 {
        let map = self.hypothesis.map();
        let row_of = |(_, at): &(usize, u64)| {
            let (row, column) = map.row_of(*at)?;
            Some((u64::try_from(row).ok()?, column / BLOCK * BLOCK))
        };
        let rows: BTreeSet<(u64, u64)> = anchors.iter().filter_map(row_of).collect();
        let step = rows.len().div_ceil(MOST_BESIDE).max(1);
        let beside = rows.into_iter().step_by(step).flat_map(|(row, column)| {
            let lost = self.lost_in(row);
            lost.map(move |chunk| (chunk + column, BLOCK))
        });
        let stating = beside.map(|(at, length)| self.stating(at, length, begins, addresses));
        stating.sum::<usize>() as f64 * STATED_HIT
    }

    /// The same of all blocks that are rebuilt in a sample of the rows.
    pub(super) fn stated(
        &self,
        rows: &[Row],
        begins: &[(Source, i64)],
        addresses: &Addresses,
    ) -> f64 {
        let chunk = self.hypothesis.chunk;
        let most = MOST_STATED_BYTES / chunk.saturating_add(tail(begins));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let numbers = self.numbers(rows, most.max(1));
        let lost = numbers.flat_map(|number| self.lost_in(number));
        let stating = lost.map(|at| self.stating(at, chunk, begins, addresses));
        stating.sum::<usize>() as f64 * STATED_HIT
    }

    /// How many blocks of the group's data in `length` bytes from `at` on state that they lie where they do.
    fn stating(
        &self,
        at: u64,
        length: u64,
        begins: &[(Source, i64)],
        addresses: &Addresses,
    ) -> usize {
        let room = self.group.len().saturating_sub(at);
        let bytes = usize::try_from(room.min(length.saturating_add(tail(begins))))
            .ok()
            .and_then(|length| self.group.read_whole(ByteOffset::new(at), length))
            .unwrap_or_default();
        let states = |from: &u64| {
            let block = usize::try_from(*from)
                .ok()
                .and_then(|from| bytes.get(from..));
            let mut stated = addresses.stated_in(block.unwrap_or_default());
            stated.any(|(inside, source, address)| {
                let place = i64::try_from(at + from + inside).ok();
                let begin = place.and_then(|place| place.checked_sub_unsigned(address));
                begin.is_some_and(|begin| begins.contains(&(source, begin)))
            })
        };
        (0..length).step_by(BLOCK as usize).filter(states).count()
    }

    /// Where in the group's data the chunks of a row begin that are not there.
    fn lost_in(&self, row: u64) -> impl Iterator<Item = u64> + '_ {
        let (chunk, width) = (self.hypothesis.chunk, self.hypothesis.shape.width());
        let lost = (0..width).filter(move |number| self.is_lost(row, *number));
        lost.map(move |number| (row * width + number) * chunk)
    }

    /// The numbers of at most so many rows of chunks, evenly taken from those that were sampled.
    fn numbers(&self, rows: &[Row], most: usize) -> impl Iterator<Item = u64> + use<> {
        let (row_0, chunk) = (self.hypothesis.row_0, self.hypothesis.chunk);
        let later = rows.iter().filter(|row| row.at >= row_0);
        let mut numbers: Vec<u64> = later.map(|row| (row.at - row_0) / chunk).collect();
        numbers.dedup();
        let step = numbers.len().div_ceil(most).max(1);
        numbers.into_iter().step_by(step)
    }

    /// How much the texts beside what is rebuilt speak for it, in nats; `is_close` is whether a
    /// first look did not decide. Chunks of a block say something only where all are so short.
    pub(super) fn texts(&self, rows: &[Row], contents: &Contents<'_>, is_close: bool) -> f64 {
        if self.hypothesis.chunk <= BLOCK && !contents.chunks_are_blocks() {
            return 0.0;
        }
        let most = if is_close {
            MOST_ROWS_OF_CLOSE
        } else {
            MOST_ROWS
        };
        let (chunk, group) = (self.hypothesis.chunk, &self.group);
        let mut sum = 0.0;
        for start in self
            .numbers(rows, most)
            .flat_map(|number| self.lost_in(number))
        {
            // From text into what is rebuilt, and out of it into text: noise goes on in noise.
            sum += pair(group, start, contents, true).unwrap_or(0.0);
            sum += pair(group, start + chunk, contents, false).unwrap_or(0.0);
        }
        sum
    }
}

/// What is read behind a block that may state its address, for its checksum.
fn tail(begins: &[(Source, i64)]) -> u64 {
    let has_nodes = |(source, _): &(Source, i64)| matches!(source, Source::Btrfs(_));
    if begins.iter().any(has_nodes) {
        NODE
    } else {
        BLOCK
    }
}

/// Whether something is missing, of members or of what these hold, and not more members than can be
/// rebuilt.
pub(super) fn rebuilds(hypothesis: &Hypothesis, candidates: &[Candidate]) -> bool {
    let (missing, most) = (hypothesis.missing(), hypothesis.shape.parities());
    missing <= most && (missing > 0 || (most > 0 && are_overwritten(hypothesis, candidates)))
}

/// Whether something is known to have written over members since.
pub(super) fn are_overwritten(hypothesis: &Hypothesis, candidates: &[Candidate]) -> bool {
    let mut members = hypothesis.devices().filter_map(|at| candidates.get(at));
    members.any(|member| !member.lost.is_empty())
}

/// How much the block before a place speaks for being continued by the one there, if the one
/// that is not rebuilt is text.
fn pair(group: &dyn ReadAt, edge: u64, contents: &Contents<'_>, is_into: bool) -> Option<f64> {
    let block = usize::try_from(BLOCK).ok()?;
    let pair = group.read_whole(ByteOffset::new(edge.checked_sub(BLOCK)?), 2 * block)?;
    let (tail, head) = pair.split_at_checked(block)?;
    let (tail, head) = (Texture::of(tail), Texture::of(head));
    let known = if is_into { &tail } else { &head };
    known.is_text().then(|| contents.weigh(&tail, &head))
}
