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
/// No message is longer.
const MOST_BYTES: u64 = mail::codec::MAX_MESSAGE_BYTES;

/// Why a message ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Zeros follow up to the end of the block.
    Zeros,
    /// The block is full, and what is in the next cannot go on.
    Edge,
    /// A body hash verifies here, and what follows is something else.
    Hash,
    /// The last part is closed here, and what follows is something else.
    Closed,
}

impl End {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Zeros => "zeros follow up to the end of the block",
            Self::Edge => "the block is full, and the next cannot go on",
            Self::Hash => "its body hash verifies here, and something else follows",
            Self::Closed => "its last part is closed here, and something else follows",
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
            if filled(&last) < last.len() || last.is_empty() {
                chain.end = Some((chain.reader.bytes(), End::Zeros));
                return self.settle(chain);
            }
            let Some(next) = chain.blocks.last().and_then(|last| last.checked_add(1)) else {
                return;
            };
            let kind = self.blocks.kind(next);
            let follows = matches!(kind, BlockKind::Text | BlockKind::Mixed)
                && is_free(next)
                && chain.reader.bytes() < MOST_BYTES;
            let block = if follows {
                self.blocks.read(next)
            } else {
                Vec::new()
            };
            let (after, nats) = self.link(&chain.reader, next, &block);
            if !follows || nats < BREAK || self.ends_before(&chain.reader, &block) {
                if chain.reader.may_end() {
                    chain.end = Some((chain.reader.bytes(), End::Edge));
                }
                return self.settle(chain);
            }
            chain.blocks.push(next);
            chain.links.push(nats);
            chain.reader = after;
            last = block;
        }
    }

    /// Whether a message that is closed at the end of a block goes on in the next: only with empty
    /// lines.
    fn ends_before(&self, reader: &Reader, next: &[u8]) -> bool {
        let content = next.get(..filled(next)).unwrap_or_default();
        let blank = content.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        reader.closed() == Some(reader.bytes()) && !blank
    }

    /// Cuts a chain that ran on into something else where its own structure says that it ended.
    fn settle(&self, chain: &mut Chain) {
        // Zeros behind the last byte show that it is the last: lists add below what was signed, and
        // below the last part.
        if matches!(chain.end, Some((_, End::Zeros))) {
            return;
        }
        let end = chain.reader.bytes();
        let ends_here = |at: u64| at < end;
        let signed = chain.reader.verified().filter(|at| ends_here(*at));
        let closed = chain.reader.closed().filter(|at| ends_here(*at));
        let cut = match (signed, closed) {
            (Some(at), _) => Some((at, End::Hash)),
            (None, Some(at)) if chain.reader.verified().is_none() => Some((at, End::Closed)),
            _ => None,
        };
        if let Some((at, why)) = cut {
            self.cut(chain, at, why);
        }
    }

    /// Ends a chain at byte `at`.
    fn cut(&self, chain: &mut Chain, at: u64, why: End) {
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
        chain.end = Some((at, why));
    }
}
