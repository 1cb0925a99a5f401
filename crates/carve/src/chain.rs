//! Blocks that follow each other in a message.

use std::ops::Range;

use crate::device::WEAK;
use crate::reader::Reader;

/// A jump in a header must say so much more than chance, in nats.
const CLEAR: f64 = 3.0;
const SECTOR: u64 = crate::survey::SECTOR as u64;

/// Why a message ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Zeros follow up to the end of the block.
    Zeros,
    /// The block is full, and what is in the next cannot go on.
    Edge,
    /// A body hash verifies here, and what follows cannot be of this message.
    Hash,
    /// A body hash verifies here, or the last part is closed, and what the block held before follows up
    /// to its end: this device leaves that there.
    Older,
    /// A body hash verifies here, or the last part is closed, and what follows may be of this message
    /// or not: what a list added, or what the block held before.
    Open,
    /// The file that it lies in with others says so, or the end of its compression.
    Stored,
}

impl End {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Zeros => "zeros follow up to the end of the block",
            Self::Edge => "the block is full, and the next cannot go on",
            Self::Hash => "its body hash verifies here, and something else follows",
            Self::Older => {
                "all that it began is ended here, and what the block held before follows up to its end"
            }
            Self::Stored => "its length stands beside it, or the next message begins behind it",
            Self::Open => "all that it began is ended here, and what follows may be its own or not",
        }
    }
}

/// Blocks that follow each other in a message.
#[derive(Clone)]
pub(crate) struct Chain {
    /// Their numbers.
    pub(crate) blocks: Vec<u64>,
    /// By border: how much speaks for it, in nats.
    pub(crate) links: Vec<f64>,
    /// The state behind the last.
    pub(crate) reader: Reader,
    /// How it ends: `None` if it breaks off.
    pub(crate) end: Option<(u64, End)>,
}

impl Chain {
    /// Whether a body hash verifies over all of it.
    pub(crate) fn is_proven(&self) -> bool {
        self.end.is_some_and(|(_, end)| end != End::Open) && self.reader.verifies()
    }

    /// It with `block` behind it, after which the state is `reader`, and for which `link` speaks.
    pub(crate) fn followed_by(&self, block: u64, link: f64, reader: Reader) -> Self {
        let mut longer = Self {
            blocks: self.blocks.clone(),
            links: self.links.clone(),
            reader,
            end: None,
        };
        longer.blocks.push(block);
        longer.links.push(link);
        longer
    }

    /// The next border behind number `border` that says little; how many there are if none does.
    pub(crate) fn next_weak(&self, border: usize) -> usize {
        let behind = self.links.iter().enumerate().skip(border.saturating_add(1));
        let mut weak = behind.filter(|(_, link)| **link < WEAK);
        weak.next().map_or(self.links.len(), |(number, _)| number)
    }

    /// The pieces that it lies in, in blocks.
    pub(crate) fn pieces(&self) -> Vec<Range<u64>> {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        for block in &self.blocks {
            match pieces.last_mut() {
                Some(last) if last.end == *block => last.end = block.saturating_add(1),
                _ => pieces.push(*block..block.saturating_add(1)),
            }
        }
        pieces
    }

    /// The borders that lie in its header, from 0.
    fn header_borders(&self, block: u64) -> usize {
        let header = self
            .reader
            .body_start()
            .unwrap_or_else(|| self.reader.bytes());
        let borders = header.saturating_sub(1).checked_div(block).unwrap_or(0);
        usize::try_from(borders)
            .unwrap_or(usize::MAX)
            .min(self.links.len())
    }

    /// Whether a body hash proves all of it: it says nothing of what is before the signature, where
    /// the top of one message may stand before the rest of another.
    pub(crate) fn is_proven_whole(&self, block: u64) -> bool {
        self.is_proven() && self.header_support(block, 1).is_infinite()
    }

    /// How much speaks for the weakest border in its header that no body hash proves, in nats: clearly
    /// above chance, where blocks were jumped among `starts`. Infinite if there is none.
    ///
    /// What lies in one piece between a signature and the body that it proves is of the same message.
    pub(crate) fn header_support(&self, block: u64, starts: usize) -> f64 {
        let chance = (starts.max(1) as f64).ln() + CLEAR;
        let signed = self.reader.verifying().unwrap_or(u64::MAX);
        let pairs = self.blocks.iter().zip(self.blocks.iter().skip(1));
        (1_u64..)
            .zip(pairs)
            .zip(&self.links)
            .take(self.header_borders(block))
            .filter_map(|((number, (one, next)), link)| {
                let goes_on = one.checked_add(1) == Some(*next);
                if !goes_on {
                    return Some(*link - chance);
                }
                (number.saturating_mul(block) < signed).then_some(*link)
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// Whether it lies in one block, within which its file ends: then all of it is there, whatever its
    /// sender left open. At the edge of a sector it may have been cut.
    pub(crate) fn is_one_block(&self) -> bool {
        self.links.is_empty() && self.ends_within_sector()
    }

    /// Whether zeros follow behind its last line, within a sector: its file ends there.
    pub(crate) fn ends_within_sector(&self) -> bool {
        let is_within = !self.reader.bytes().is_multiple_of(SECTOR);
        let by_zeros = matches!(self.end, Some((_, End::Zeros)));
        by_zeros && is_within && self.reader.line_has_ended()
    }

    /// Whether it ends as a message does that nothing proves.
    ///
    /// At the edge of a block only what had to be closed shows that it is: a file of text breaks at
    /// the end of a line as often as one ends there.
    pub(crate) fn is_whole(&self) -> bool {
        match self.end {
            Some((_, End::Zeros)) => self.reader.may_end() || self.is_one_block(),
            Some((_, End::Edge)) => self.reader.may_end() && self.reader.shows_end(),
            Some((_, End::Hash)) => self.reader.verifies(),
            Some((_, End::Older)) => self.reader.may_end(),
            Some((_, End::Open | End::Stored)) | None => false,
        }
    }
}
