//! Where a message ends that runs on into something else: what a block held before, or what somebody
//! added below.

use crate::blocks::filled;
use crate::chain::{Chain, End};
use crate::reader::Reader;

use super::Judge;

/// What is behind the end of a message is of another if so much speaks against its being the same,
/// in nats.
const FOREIGN: f64 = 5.0;
/// A line that sets off what is added below a message has so many characters.
const LEAST_RULE: usize = 4;

/// Whether a text has nothing but line ends.
pub(super) fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

impl Judge<'_> {
    /// Takes the next block into a chain that could not go on in it, if the chain ends in it all the same: what
    /// the block held before, behind that, looks like nothing of it. Gives whether it does.
    pub(super) fn end_in_next(&self, chain: &mut Chain, is_free: &dyn Fn(u64) -> bool) -> bool {
        let ends =
            !chain.reader.watches() || chain.reader.verifies() || chain.reader.ended().is_some();
        let next = self.behind(chain, is_free).filter(|_| !ends);
        let Some(next) = next.filter(|next| !self.blocks.heads().contains(next)) else {
            return false;
        };
        let block = self.blocks.read(next);
        let content = block.get(..filled(&block)).unwrap_or_default();
        let Some(ending) = chain.reader.ending_in(content) else {
            return false;
        };
        let at = chain.reader.bytes().saturating_add(ending.at as u64);
        let own = block.get(..ending.at).unwrap_or_default();
        let (_, nats) = self.link(&chain.reader, next, own);
        chain.reader.feed_block(content);
        chain.blocks.push(next);
        chain.links.push(nats);
        let is_full = content.len() == block.len();
        if ending.is_within_line {
            self.end_within_line(chain, at);
        } else if at == chain.reader.bytes() {
            chain.end = Some((at, if is_full { End::Edge } else { End::Zeros }));
        } else if !is_full && chain.reader.verified() == Some(at) && self.is_set_off(chain, at) {
            // What somebody added below the end, and the end of the file.
            chain.end = Some((chain.reader.bytes(), End::Zeros));
        } else {
            self.cut(chain, at);
            chain.end = Some((at, self.end_by_older(chain, at)));
        }
        true
    }

    /// Ends a chain that runs on behind its end into another block, where its own structure says that it ended:
    /// for a device that leaves what blocks held before, which is longer than what anybody adds below.
    pub(crate) fn end_before_older(&self, chain: &mut Chain) {
        let end = chain.reader.bytes();
        let runs_on = matches!(chain.end, Some((_, End::Zeros | End::Edge)));
        let at = chain
            .reader
            .ended()
            .filter(|_| runs_on && !chain.is_proven());
        let block = self.blocks.grid.block;
        let Some(at) = at.filter(|at| at.next_multiple_of(block) < end) else {
            return;
        };
        let is_longer = end.saturating_sub(at) > block && !chain.reader.is_from_list();
        let mut own = chain.clone();
        self.cut(&mut own, at);
        if self.is_set_off(&own, at) {
            return;
        }
        let is_older = is_longer && self.is_older_from(&own, at);
        own.end = Some((at, if is_older { End::Older } else { End::Open }));
        *chain = own;
    }

    /// Ends a chain at byte `at`, behind which something else stands in the same line.
    fn end_within_line(&self, chain: &mut Chain, at: u64) {
        self.cut(chain, at);
        chain.reader.end_unended();
        let why = if self.may_be_added(chain, at) {
            End::Open
        } else if chain.reader.verifies() {
            End::Hash
        } else if self.leaves_older {
            End::Older
        } else {
            End::Open
        };
        chain.end = Some((at, why));
    }

    /// Cuts a chain that ran on behind its end, where its own structure says that it ended: also within a
    /// line of `last`, its last block, where the state `before` it is known.
    pub(super) fn settle(&self, chain: &mut Chain, before: Option<&Reader>, last: &[u8]) {
        let end = chain.reader.bytes();
        let is_open =
            chain.reader.watches() && chain.reader.verified().is_none() && !chain.is_proven();
        if let Some(before) = before.filter(|_| is_open) {
            let ending = before.ending_in(last.get(..filled(last)).unwrap_or_default());
            if let Some(ending) = ending.filter(|ending| ending.is_within_line) {
                let at = before.bytes().saturating_add(ending.at as u64);
                return self.end_within_line(chain, at);
            }
        }
        let Some(at) = chain.reader.ended().filter(|at| *at < end) else {
            return;
        };
        let is_full = at.next_multiple_of(self.blocks.grid.block) == end;
        if is_full && self.is_blank_from(chain, at) {
            return;
        }
        let is_verified = chain.reader.verified().is_some();
        let cost = chain.reader.cost();
        self.cut(chain, at);
        // What a list adds below is text like any other.
        let is_foreign = cost - chain.reader.cost() >= FOREIGN;
        let why = if is_verified && is_foreign && !self.is_set_off(chain, at) {
            End::Hash
        } else if is_full {
            self.end_by_older(chain, at)
        } else {
            End::Open
        };
        chain.end = Some((at, why));
    }

    /// How a chain ends at byte `at`, where all that it began is ended, if what fills up its last block may be its
    /// own.
    fn end_by_older(&self, chain: &Chain, at: u64) -> End {
        let is_older =
            self.leaves_older && !chain.reader.is_from_list() && self.is_older_from(chain, at);
        if is_older { End::Older } else { End::Open }
    }

    /// What the last block of a chain holds before byte `at` of the message, and what stands from there on, up to
    /// zeros: in the next one, if it is the edge of the block.
    fn around(&self, chain: &Chain, at: u64) -> (Vec<u8>, Vec<u8>) {
        let number = chain.blocks.last().copied().unwrap_or_default();
        let mut before = self.blocks.read(number);
        let own = at.checked_rem(self.blocks.grid.block).unwrap_or(0);
        let own = usize::try_from(own).unwrap_or(usize::MAX).min(before.len());
        let mut behind = match own {
            0 => self.blocks.read(number.saturating_add(1)),
            _ => before.split_off(own),
        };
        let end = memchr::memchr(0, &behind).unwrap_or(behind.len());
        behind.truncate(end);
        (before, behind)
    }

    /// Whether nothing but line ends is in the last block of a chain from byte `at` on.
    fn is_blank_from(&self, chain: &Chain, at: u64) -> bool {
        is_blank(&self.around(chain, at).1)
    }

    /// Whether what is in the last block of a chain from byte `at` on may be what it held before: at the edge of
    /// a block nothing is, nor what may have been added below. Next to an empty line nobody can say whose that is.
    fn is_older_from(&self, chain: &Chain, at: u64) -> bool {
        let (before, behind) = self.around(chain, at);
        let last = before.rsplit(|byte| *byte == b'\n').nth(1);
        let next = behind.split(|byte| *byte == b'\n').next();
        let is_text = |line: Option<&[u8]>| line.is_some_and(|line| !is_blank(line));
        let is_within = !at.is_multiple_of(self.blocks.grid.block);
        is_within && is_text(last) && is_text(next) && !self.may_be_added(chain, at)
    }

    /// Whether what stands behind byte `at` in the last block of a chain may be what somebody added below: it ends
    /// as a message does, with a line, or is set off, or a list sent the message on.
    fn may_be_added(&self, chain: &Chain, at: u64) -> bool {
        let ends_as_text = self.around(chain, at).1.ends_with(b"\n");
        ends_as_text || self.is_set_off(chain, at) || chain.reader.is_from_list()
    }

    /// Whether a line that sets off what is added below a message follows behind byte `at` of a chain: one of
    /// dashes or the like.
    fn is_set_off(&self, chain: &Chain, at: u64) -> bool {
        let behind = self.around(chain, at).1;
        let line = behind.split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default().trim_ascii_end();
        let is_rule = |byte: &u8| matches!(byte, b'-' | b'_' | b'=' | b'*' | b'~' | b'#');
        line == b"--" || line.len() >= LEAST_RULE && line.iter().all(is_rule)
    }

    /// Drops what a chain has behind byte `at`.
    fn cut(&self, chain: &mut Chain, at: u64) {
        let blocks = usize::try_from(at.div_ceil(self.blocks.grid.block)).unwrap_or(usize::MAX);
        chain.blocks.truncate(blocks.max(1));
        chain.links.truncate(blocks.saturating_sub(1));
        let mut reader = Reader::watching();
        let mut left = usize::try_from(at).unwrap_or(usize::MAX);
        for (index, number) in chain.blocks.iter().enumerate() {
            let bytes = self.blocks.read(*number);
            let own = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            let link = index.checked_sub(1);
            match link.and_then(|link| chain.links.get_mut(link)) {
                // What stood behind the end said nothing of the border.
                Some(link) if own.len() < bytes.len() => {
                    (reader, *link) = self.link(&reader, *number, own);
                }
                _ => reader.feed_block(own),
            }
            left = left.saturating_sub(own.len());
        }
        chain.reader = reader;
    }
}
