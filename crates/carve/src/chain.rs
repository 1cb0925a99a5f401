//! Messages that lie in one piece: from a head block by block, as long as each goes on with the
//! last, to an end that shows.

use std::ops::Range;

use crate::blocks::{BlockKind, Blocks, filled};
use crate::borders::Borders;
use crate::breaks::Breaks;
use crate::device::WEAK;
use crate::pool::Pool;
use crate::reader::Reader;
use crate::times::Times;
use crate::words::Words;
use mail::header::may_lack_its_top;

/// What the next block must be worth, in nats, to be taken for the next of the message where it
/// lies behind it: files seldom break, so a little may speak against it.
pub(crate) const BREAK: f64 = -8.0;
/// A full block is followed by another of the same file, if both are of one cluster, but for one file
/// in 4,096 that ends just there: in nats, with which what speaks against it is made up for.
const WITHIN_CLUSTER: f64 = 9.0;
/// A boundary of the message that is met in a block says so much for it, in nats.
pub(crate) const BOUNDARY: f64 = 8.0;
/// That another message begins in a block speaks so much against its being part of one, in nats.
const HEAD: f64 = 10.0;
/// What is behind the end of a message is of another if so much speaks against its being the same,
/// in nats.
const FOREIGN: f64 = 5.0;
/// So many fields of a header in a block say so much for its going on with one, in nats: hardly one
/// block in seven has any.
const LEAST_FIELDS: u32 = 2;
const FIELDS: f64 = 2.0;
/// A jump in a header must say so much more than chance, in nats.
const CLEAR: f64 = 3.0;
/// A line that sets off what is added below a message has so many characters.
const LEAST_RULE: usize = 4;
/// Characters of base64 on either side of a border by which it is known.
const BASE64_RUN: usize = 6;
/// The name of a field has so many characters.
const LEAST_NAME: usize = 2;
const MOST_NAME: usize = 60;
/// Names of fields that are one word (RFC 5322, section 3.6).
const PLAIN_FIELDS: [&[u8]; 11] = [
    b"Bcc",
    b"Cc",
    b"Comments",
    b"Date",
    b"From",
    b"Keywords",
    b"Received",
    b"References",
    b"Sender",
    b"Subject",
    b"To",
];
/// Blocks on either side of a border whose words are compared.
const MOST_READ: usize = 16;
const SECTOR: u64 = crate::survey::SECTOR as u64;
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

/// How much speaks for a header's going on behind the unfinished `line` with `next`, in nats, where
/// its form tells: within a line no other field begins, and of the base64 of a signature no
/// language says what comes next.
fn header_goes_on(line: &[u8], next: &[u8]) -> Option<f64> {
    let in_value = line.contains(&b':') || matches!(line.first(), Some(b' ' | b'\t'));
    let in_subject = line
        .get(..8)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"subject:"));
    if in_value && begins_field(next, in_subject) {
        return Some(-HEAD);
    }
    let run = |bytes: &mut dyn Iterator<Item = &u8>| {
        bytes
            .take(BASE64_RUN)
            .filter(|byte| crate::reader::is_base64_byte(**byte))
            .count()
            == BASE64_RUN
    };
    (run(&mut line.iter().rev()) && run(&mut next.iter())).then_some(0.0)
}

/// Whether a text begins with the name of a field and its colon. In a subject any word may have
/// one behind it (`Re:`, `Fwd:`), but not what is a field's name alone.
fn begins_field(text: &[u8], in_subject: bool) -> bool {
    let name = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        .count();
    let own = text.get(..name).unwrap_or_default();
    if in_subject && !own.contains(&b'-') && !PLAIN_FIELDS.contains(&own) {
        return false;
    }
    let capital = text.first().is_some_and(u8::is_ascii_uppercase);
    capital
        && (LEAST_NAME..=MOST_NAME).contains(&name)
        && text.get(name) == Some(&b':')
        && matches!(
            text.get(name.saturating_add(1)),
            Some(b' ' | b'\t' | b'A'..=b'z')
        )
}

/// Whether a text has nothing but line ends.
fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// What the blocks of a device are judged with.
pub(crate) struct Judge<'a> {
    pub(crate) blocks: &'a Blocks<'a>,
    pub(crate) borders: &'a Borders<'a>,
    pub(crate) words: &'a Words,
    pub(crate) times: &'a Times,
    /// Whether what a block held before is left behind the end of a file.
    pub(crate) leaves_older: bool,
    /// How often files break here.
    pub(crate) breaks: Breaks,
}

impl Judge<'_> {
    /// Reads block `number`, which is `block`, behind `before`: the state after it, and how much
    /// speaks for its being the next block, in nats.
    pub(crate) fn link(&self, before: &Reader, number: u64, block: &[u8]) -> (Reader, f64) {
        let mut after = before.clone();
        after.feed_block(block.get(..filled(block)).unwrap_or_default());
        let mut nats = before.cost() - after.cost();
        let met = after.boundaries().saturating_sub(before.boundaries());
        nats += BOUNDARY * f64::from(met.min(2));
        if let Some(luck) = before.luck() {
            // One block of base64 in so many has the right phase by chance.
            if after.base64_lines() > before.base64_lines() {
                nats -= luck.ln();
            }
        } else {
            let (line, is_text) = before.unfinished();
            let in_header = before.body_start().is_none();
            let header = in_header.then(|| header_goes_on(line, block)).flatten();
            if let Some(header) = header {
                nats += header;
            } else if is_text {
                nats += self.borders.nats(line, block);
            }
        }
        nats += self.dated(&after).min(0.0);
        if after.fields() >= before.fields().saturating_add(LEAST_FIELDS) {
            nats += FIELDS;
        }
        if number != u64::MAX && !self.blocks.grid.begins_cluster(number) {
            nats = nats.max(BREAK) + WITHIN_CLUSTER;
        }
        let (line, _) = before.unfinished();
        let is_rest_of_line = !line.is_empty() && may_lack_its_top(block);
        if self.blocks.heads().contains(&number) && !is_rest_of_line {
            // That it goes on well is explained by the message that begins there; and so is that one does
            // where one is due.
            nats = if before.expects_message() {
                nats + FIELDS
            } else {
                nats.min(0.0) - HEAD
            };
        }
        (after, nats)
    }

    /// How much the dates before the last block that `reader` read and in it speak for its being of the same header,
    /// in nats. Copies of one mailing are sent at the same time: what they say for a border tells where to look,
    /// and proves nothing.
    pub(crate) fn dated(&self, reader: &Reader) -> f64 {
        let (before, own) = reader.dates();
        self.times.nats(before, own)
    }

    /// How much the words on both sides of border `number` of a chain speak for its being none between
    /// two messages, and how much the lines do, in nats; `until` is the next border that says little.
    pub(crate) fn likeness(&self, chain: &Chain, number: usize, until: usize) -> (f64, f64) {
        let text = |range: Range<usize>| {
            let blocks = chain.blocks.get(range).unwrap_or_default().iter();
            let mut text = Vec::new();
            for block in blocks {
                let bytes = self.blocks.read(*block);
                text.extend_from_slice(bytes.get(..filled(&bytes)).unwrap_or_default());
            }
            text
        };
        let border = number.saturating_add(1);
        let before = text(border.saturating_sub(MOST_READ)..border);
        let after = text(
            border
                ..until
                    .saturating_add(1)
                    .min(border.saturating_add(MOST_READ)),
        );
        let words = self.words.shared(&before, &after);
        (words, self.borders.habit(&before, &after))
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
    fn behind(&self, chain: &Chain, is_free: &dyn Fn(u64) -> bool) -> Option<u64> {
        let next = chain.blocks.last()?.checked_add(1)?;
        let is_text = matches!(self.blocks.kind(next), BlockKind::Text | BlockKind::Mixed);
        let longer = chain.reader.bytes().saturating_add(self.blocks.grid.block);
        (is_text && is_free(next) && longer <= MOST_BYTES).then_some(next)
    }

    /// Takes the next block into a chain that could not go on in it, if the chain ends in it all the same: what
    /// the block held before, behind that, looks like nothing of it. Gives whether it does.
    fn end_in_next(&self, chain: &mut Chain, is_free: &dyn Fn(u64) -> bool) -> bool {
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

    /// Whether a message that is closed at the end of a block goes on in the next: only with empty
    /// lines.
    fn ends_before(&self, reader: &Reader, next: &[u8]) -> bool {
        let content = next.get(..filled(next)).unwrap_or_default();
        reader.closed() == Some(reader.bytes()) && !is_blank(content)
    }

    /// Cuts a chain that ran on behind its end, where its own structure says that it ended: also within a
    /// line of `last`, its last block, where the state `before` it is known.
    fn settle(&self, chain: &mut Chain, before: Option<&Reader>, last: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_does_not_begin_within_a_line_and_base64_says_nothing() {
        let table: [(&[u8], &[u8], Option<f64>); 13] = [
            (
                b"\tfor <ada@salt",
                b"Return-Path: <x@y.example>\n",
                Some(-HEAD),
            ),
            (b"Subject: hel", b"X-Sieve: dovecot 2.3\n", Some(-HEAD)),
            (b"Subject: hel", b"Date: 1 Oct 2013\n", Some(-HEAD)),
            (b"Subject: Re: [list] ", b"Fwd: a note\n", None),
            (b"Date: Thu, 10 Oct 2013 17:2", b"4:10 +0200\n", None),
            (b"Rec", b"eived: from mx.example\n", None),
            (b"", b"Received: from mx.example\n", None),
            (b"Subject: a note", b" on b: c\n", None),
            (
                b"\tb=hn4BBhkG2Eq8pXu2",
                b"9lU6DSJkgzI9HQ0v+QBG\n",
                Some(0.0),
            ),
            (
                b"\tb=hn4BBhkG2Eq8pXu2",
                b"X-UIDL: aa2c99e80aa80f\n",
                Some(-HEAD),
            ),
            (b"\tfor <ada@salt", b"marsh.example>;\n", None),
            (b"List-Post: <", b"mailto:list@salt.example>\n", None),
            (b"X-Warning: host.salt.o", b"rg: ada owned process\n", None),
        ];
        for (line, next, want) in table {
            let shown = String::from_utf8_lossy(next);
            assert_eq!(header_goes_on(line, next), want, "{shown}");
        }
    }
}
