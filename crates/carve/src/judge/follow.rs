//! Messages that lie in one piece: from a head block by block, as long as each goes on with the
//! last, to an end that shows.

use crate::blocks::{BlockKind, filled};
use crate::chain::{Chain, End};
use crate::device::WEAK;
use crate::pool::Pool;
use crate::reader::Reader;

use super::ends::is_blank;
use super::{BREAK, Judge};

/// No message is longer.
const MOST_BYTES: u64 = mail::codec::MAX_MESSAGE_BYTES;

impl Judge<'_> {
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
            .feed_block(first.get(..filled(&first)).unwrap_or_default());
        self.extend(&mut chain, &first);
        chain
    }

    /// The first `count` blocks of a chain, which does not end there.
    pub(crate) fn first(&self, chain: &Chain, count: usize) -> Chain {
        let mut reader = Reader::new();
        let blocks = chain.blocks.get(..count).unwrap_or_default().to_vec();
        for number in &blocks {
            let bytes = self.blocks.read(*number);
            reader.feed_block(bytes.get(..filled(&bytes)).unwrap_or_default());
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
        self.extend_while(chain, last, BREAK, &|_| true);
    }

    /// As [`extend`](Self::extend), with blocks that are free only.
    pub(crate) fn extend_within(&self, chain: &mut Chain, last: &[u8], pool: &Pool) {
        self.extend_while(chain, last, BREAK, &|number| pool.has(number));
    }

    /// As [`extend_within`](Self::extend_within), up to the first border that may be a break.
    pub(crate) fn extend_strongly(&self, chain: &mut Chain, last: &[u8], pool: &Pool) {
        self.extend_while(chain, last, WEAK, &|number| pool.has(number));
    }

    /// Goes on as long as the next block is free, and as much speaks for it as `least`, in nats.
    fn extend_while(
        &self,
        chain: &mut Chain,
        last: &[u8],
        least: f64,
        is_free: &dyn Fn(u64) -> bool,
    ) {
        let mut last = last.to_vec();
        // Before the last block.
        let mut before = (chain.blocks.len() == 1).then(Reader::watching);
        loop {
            let number = chain.blocks.last().copied().unwrap_or_default();
            // Behind text something else: only the message itself can say where it ends.
            if self.blocks.kind(number) == BlockKind::Mixed {
                return self.settle(chain, before.as_ref(), &last);
            }
            if filled(&last) < last.len() || last.is_empty() {
                chain.reader.end_with_zeros();
                chain.end = Some((chain.reader.bytes(), End::Zeros));
                return;
            }
            let Some((next, block, after, nats)) = self.next(chain, least, is_free) else {
                if chain.reader.may_end() || chain.reader.verifies_at_edge() {
                    chain.end = Some((chain.reader.bytes(), End::Edge));
                }
                if !self.end_in_next(chain, is_free) {
                    self.settle(chain, before.as_ref(), &last);
                }
                return;
            };
            chain.blocks.push(next);
            chain.links.push(nats);
            before = Some(std::mem::replace(&mut chain.reader, after));
            last = block;
        }
    }

    /// The block behind the last one of a chain, if the chain can go on in it.
    fn next(
        &self,
        chain: &Chain,
        least: f64,
        is_free: &dyn Fn(u64) -> bool,
    ) -> Option<(u64, Vec<u8>, Reader, f64)> {
        let next = self.behind(chain, is_free)?;
        let block = self.blocks.read(next);
        let (after, nats) = self.link(&chain.reader, next, &block);
        let goes_on = nats >= least && !self.ends_before(&chain.reader, &block);
        goes_on.then_some((next, block, after, nats))
    }

    /// The number of the block behind the last one of a chain, if it has text and is free.
    pub(super) fn behind(&self, chain: &Chain, is_free: &dyn Fn(u64) -> bool) -> Option<u64> {
        let next = chain.blocks.last()?.checked_add(1)?;
        let is_text = matches!(self.blocks.kind(next), BlockKind::Text | BlockKind::Mixed);
        let longer = chain.reader.bytes().saturating_add(self.blocks.grid.block);
        (is_text && is_free(next) && longer <= MOST_BYTES).then_some(next)
    }

    /// Whether a message that is closed at the end of a block goes on in the next: only with empty
    /// lines.
    fn ends_before(&self, reader: &Reader, next: &[u8]) -> bool {
        let content = next.get(..filled(next)).unwrap_or_default();
        reader.closed() == Some(reader.bytes()) && !is_blank(content)
    }
}
