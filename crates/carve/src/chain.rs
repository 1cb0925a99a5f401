//! Messages that lie in one piece: from a head block by block, as long as each goes on with the
//! last, to an end that shows.

use crate::blocks::{BlockKind, Blocks, filled};
use crate::language::Language;
use crate::pool::Pool;
use crate::reader::Reader;

/// What the next block must be worth, in nats, to be taken for the next of the message where it
/// lies behind it: files seldom break, so a little may speak against it.
const BREAK: f64 = -8.0;
/// That another message begins in a block speaks so much against its being part of one, in nats.
const HEAD: f64 = 10.0;
/// What is behind the end of a message is of another if so much speaks against its being the same,
/// in nats.
const FOREIGN: f64 = 5.0;
/// No message is longer.
const MOST_BYTES: u64 = mail::codec::MAX_MESSAGE_BYTES;

/// Why a message ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Zeros follow up to the end of the block.
    Zeros,
    /// The block is full, and what is in the next cannot go on.
    Edge,
    /// A body hash verifies here, and what follows cannot be of this message.
    Hash,
    /// A body hash verifies here, or the last part is closed, and what follows may be of this message
    /// or not: what a list added, or what the block held before.
    Open,
}

impl End {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Zeros => "zeros follow up to the end of the block",
            Self::Edge => "the block is full, and the next cannot go on",
            Self::Hash => "its body hash verifies here, and something else follows",
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

    /// Whether it ends as a message does that nothing proves.
    ///
    /// At the edge of a block only what had to be closed shows that it is: a file of text breaks at
    /// the end of a line as often as one ends there.
    pub(crate) fn is_whole(&self) -> bool {
        match self.end {
            Some((_, End::Zeros)) => self.reader.may_end(),
            Some((_, End::Edge)) => self.reader.may_end() && self.reader.closed().is_some(),
            Some((_, End::Hash)) => self.reader.verifies(),
            Some((_, End::Open)) | None => false,
        }
    }
}

/// What the blocks of a device are judged with.
pub(crate) struct Judge<'a> {
    pub(crate) blocks: &'a Blocks<'a>,
    pub(crate) language: &'a Language,
}

impl Judge<'_> {
    /// Reads block `number`, which is `block`, behind `before`: the state after it, and how much
    /// speaks for its being the next block, in nats.
    pub(crate) fn link(&self, before: &Reader, number: u64, block: &[u8]) -> (Reader, f64) {
        let mut after = before.clone();
        after.feed(block.get(..filled(block)).unwrap_or_default());
        let mut nats = before.cost() - after.cost();
        let met = after.boundaries().saturating_sub(before.boundaries());
        nats += 8.0 * f64::from(met.min(2));
        if let Some((length, _)) = before.base64_phase() {
            // One block of base64 in so many has the right phase by chance.
            if after.base64_lines() > before.base64_lines() {
                nats += (length.saturating_add(before.line_end_bytes()) as f64).ln();
            }
        } else {
            let (line, is_text) = before.unfinished();
            let line = if line.is_empty() { b"\n" } else { line };
            if is_text {
                nats += self.language.goes_on(line, block);
            }
        }
        if self.blocks.heads().contains(&number) {
            nats -= HEAD;
        }
        (after, nats)
    }

    /// Follows a message from its first block on, as long as it lies in one piece.
    pub(crate) fn follow(&self, head: u64) -> Chain {
        let mut chain = Chain {
            blocks: vec![head],
            links: Vec::new(),
            reader: Reader::watching(),
            end: None,
        };
        let first = self.blocks.read(head);
        chain
            .reader
            .feed(first.get(..filled(&first)).unwrap_or_default());
        self.extend(&mut chain, &first);
        chain
    }

    /// The first `count` blocks of a chain, which does not end there.
    pub(crate) fn first(&self, chain: &Chain, count: usize) -> Chain {
        let mut reader = Reader::new();
        let blocks = chain.blocks.get(..count).unwrap_or_default().to_vec();
        for number in &blocks {
            let bytes = self.blocks.read(*number);
            reader.feed(bytes.get(..filled(&bytes)).unwrap_or_default());
        }
        Chain {
            blocks,
            links: chain
                .links
                .get(..count.saturating_sub(1))
                .unwrap_or_default()
                .to_vec(),
            reader,
            end: None,
        }
    }

    /// Goes on behind the last block of a chain, whose bytes are `last`.
    fn extend(&self, chain: &mut Chain, last: &[u8]) {
        self.extend_while(chain, last, &|_| true);
    }

    /// As [`extend`](Self::extend), with blocks that are free only.
    pub(crate) fn extend_within(&self, chain: &mut Chain, last: &[u8], pool: &Pool) {
        self.extend_while(chain, last, &|number| pool.has(number));
    }

    fn extend_while(&self, chain: &mut Chain, last: &[u8], is_free: &dyn Fn(u64) -> bool) {
        let mut last = last.to_vec();
        loop {
            let number = chain.blocks.last().copied().unwrap_or_default();
            // Behind text something else: only the message itself can say where it ends.
            if self.blocks.kind(number) == BlockKind::Mixed {
                return self.settle(chain);
            }
            if filled(&last) < last.len() || last.is_empty() {
                chain.end = Some((chain.reader.bytes(), End::Zeros));
                return;
            }
            let Some((next, block, after, nats)) = self.next(chain, is_free) else {
                if chain.reader.may_end() {
                    chain.end = Some((chain.reader.bytes(), End::Edge));
                }
                return self.settle(chain);
            };
            chain.blocks.push(next);
            chain.links.push(nats);
            chain.reader = after;
            last = block;
        }
    }

    /// The block behind the last one of a chain, if the chain can go on in it.
    fn next(
        &self,
        chain: &Chain,
        is_free: &dyn Fn(u64) -> bool,
    ) -> Option<(u64, Vec<u8>, Reader, f64)> {
        let next = chain.blocks.last()?.checked_add(1)?;
        let is_text = matches!(self.blocks.kind(next), BlockKind::Text | BlockKind::Mixed);
        let longer = chain.reader.bytes().saturating_add(self.blocks.grid.block);
        if !is_text || !is_free(next) || longer > MOST_BYTES {
            return None;
        }
        let block = self.blocks.read(next);
        let (after, nats) = self.link(&chain.reader, next, &block);
        let goes_on = nats >= BREAK && !self.ends_before(&chain.reader, &block);
        goes_on.then_some((next, block, after, nats))
    }

    /// Whether a message that is closed at the end of a block goes on in the next: only with empty
    /// lines.
    fn ends_before(&self, reader: &Reader, next: &[u8]) -> bool {
        let content = next.get(..filled(next)).unwrap_or_default();
        let blank = content.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        reader.closed() == Some(reader.bytes()) && !blank
    }

    /// Cuts a chain that ran on behind its end, where its own structure says that it ended.
    fn settle(&self, chain: &mut Chain) {
        let end = chain.reader.bytes();
        let ran_on = |at: &u64| *at < end;
        let verified = chain.reader.verified();
        let closed = chain.reader.closed().filter(|_| verified.is_none());
        let Some(at) = verified.or(closed).filter(ran_on) else {
            return;
        };
        let cost = chain.reader.cost();
        self.cut(chain, at);
        // What a list adds below is text like any other.
        let is_foreign = cost - chain.reader.cost() >= FOREIGN;
        let why = if verified.is_some() && is_foreign {
            End::Hash
        } else {
            End::Open
        };
        chain.end = Some((at, why));
    }

    /// Drops what a chain has behind byte `at`.
    fn cut(&self, chain: &mut Chain, at: u64) {
        let blocks = usize::try_from(at.div_ceil(self.blocks.grid.block)).unwrap_or(usize::MAX);
        chain.blocks.truncate(blocks.max(1));
        chain.links.truncate(blocks.saturating_sub(1));
        let mut reader = Reader::watching();
        let mut left = usize::try_from(at).unwrap_or(usize::MAX);
        for number in &chain.blocks {
            let bytes = self.blocks.read(*number);
            let own = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            reader.feed(own);
            left = left.saturating_sub(own.len());
        }
        chain.reader = reader;
    }
}
