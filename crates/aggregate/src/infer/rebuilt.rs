//! Whether what a hypothesis rebuilds looks like what lies beside it.
//!
//! Where as many members are missing as there is parity, no relation is left that could be
//! wrong. But with wrong factors, or the wrong member for parity, noise comes out; with the
//! right ones the text of the chunk before goes on.

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::anchors::{FileEnd, Source};
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
        let (hypothesis, group) = (self.hypothesis, &self.group);
        let chunk = hypothesis.chunk;
        let later = rows.iter().filter(|row| row.at >= hypothesis.row_0);
        let mut numbers: Vec<u64> = later
            .map(|row| (row.at - hypothesis.row_0) / chunk)
            .collect();
        numbers.dedup();
        let step = numbers.len().div_ceil(most).max(1);
        let width = hypothesis.shape.width();
        let mut sum = 0.0;
        for number in numbers.into_iter().step_by(step) {
            for index in (0..width).filter(|index| self.is_lost(number, *index)) {
                // From text into what is rebuilt, and out of it into text: noise goes on in noise.
                let start = (number * width + index) * chunk;
                sum += pair(group, start, contents, true).unwrap_or(0.0);
                sum += pair(group, start + chunk, contents, false).unwrap_or(0.0);
            }
        }
        sum
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
