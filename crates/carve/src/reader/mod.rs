//! A message read block by block: at every border it can be copied, and go on with either of two
//! blocks.
//!
//! The [`Reader`] knows what it is in: a header, a part in base64 with lines of 76 characters of
//! which 31 are there, a text whose boundary is still to come. What does not fit that is a
//! [`Flaw`], with a weight in nats: how much less probable it is in the message than behind a
//! border to something else. A flaw of a kind that the message had before weighs little: then its
//! sender writes that way.

mod body;
mod ending;
mod fields;

use crate::dkim::{BodyHash, BodySignature};
use crate::survey::SECTOR;
use crate::times::{MOST_DATES, dates};
use body::Part;
pub(crate) use body::{UUENCODE_LINE, is_uuencode_byte};

/// Longer lines are judged by their beginning.
const MOST_LINE: usize = 16 << 10;
/// Multiparts in each other: as many as mail programs make, and more.
const MOST_LEVELS: usize = 32;
/// Signatures whose body hash is computed.
const MOST_SIGNATURES: usize = 8;

/// Something that does not fit a message where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A line of a header that is no field.
    HeaderLine = 0,
    /// The line ends change between LF and CR LF.
    LineEnd = 1,
    /// A line of base64 of the wrong length.
    Base64Length = 2,
    /// A character that base64 does not have.
    Base64Byte = 3,
    /// A line that is no quoted-printable.
    QuotedPrintable = 4,
    /// A byte that the encoding of the part does not allow.
    Byte = 5,
    /// A zero byte.
    Nul = 6,
    /// A boundary line of another message.
    StrangeBoundary = 7,
    /// Text behind the end.
    Epilogue = 8,
    /// A part ends although parts inside it have not.
    OpenPart = 9,
    /// Base64 where text is due.
    StrangeBase64 = 10,
    /// A line much longer than those before.
    LongLine = 11,
    /// A field that a header has once, and had before the border.
    Repeated = 12,
}

/// How many kinds of flaws there are.
const KINDS: usize = 13;

impl Flaw {
    /// What the first of its kind weighs, in nats.
    const fn weight(self) -> f64 {
        match self {
            Self::HeaderLine | Self::Base64Byte | Self::Repeated => 6.0,
            Self::LineEnd => 5.0,
            Self::Base64Length => 7.0,
            Self::QuotedPrintable | Self::Byte | Self::StrangeBoundary => 4.0,
            Self::Nul | Self::OpenPart => 2.0,
            Self::Epilogue => 1.5,
            Self::StrangeBase64 => 5.0,
            Self::LongLine => 2.5,
        }
    }
}

/// Which line ends a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
}

/// Where in a message the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the header of the message, or of a part of it.
    Header,
    /// In the body of a part.
    Body,
}

/// A multipart that was begun.
#[derive(Clone, Debug)]
struct Level {
    boundary: Vec<u8>,
    /// Where its header ends.
    begun: u64,
}

/// The state of reading a message.
#[derive(Clone)]
pub(crate) struct Reader {
    /// Bytes read.
    at: u64,
    /// The line that is not ended yet, and where it begins.
    line: Vec<u8>,
    line_start: u64,
    line_end: Option<LineEnd>,
    /// Where the last border was at which something else may have begun.
    border: u64,
    /// Where the piece begins that it reads.
    piece: u64,
    stage: Stage,
    /// The field that may go on in the next line.
    field: Vec<u8>,
    levels: Vec<Level>,
    part: Part,
    /// Where the body begins.
    body_start: Option<u64>,
    /// Where the line behind the last closing boundary begins.
    closed: Option<u64>,
    /// Where the header ended that named that boundary.
    closed_begun: u64,
    is_multipart: bool,
    /// Where the last message in it begins (`message/rfc822`).
    message_due: Option<u64>,
    /// What signatures say of the body, and where each ends in the header.
    hashes: Vec<(u64, BodyHash)>,
    /// Fields of the header of the message itself that have ended.
    fields: u32,
    /// Those of them that may be there once, by their place in [`fields::ONCE`], and which of these were
    /// there before the last border.
    once: u16,
    once_before: u16,
    /// The dates in the header of the message itself, and how many of them stand before the block.
    dates: Vec<i64>,
    dates_before: usize,
    /// A mailing list sent it on, and may have changed its body.
    is_from_list: bool,
    /// Where a body hash verified at the end of a line or of a block.
    verified: Option<u64>,
    /// Whether to look for that at each line.
    watches: bool,
    /// How often each kind of flaw was seen.
    flaws: [u32; KINDS],
    /// The weight of all flaws.
    cost: f64,
    /// Boundaries that were met of those that were named before the piece, in the first one before the
    /// block.
    boundaries: u32,
    /// Lines of base64 that fitted those before.
    base64_lines: u32,
}

impl Reader {
    /// Before the first byte of a message.
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            line: Vec::new(),
            line_start: 0,
            line_end: None,
            border: 0,
            piece: 0,
            stage: Stage::Header,
            field: Vec::new(),
            levels: Vec::new(),
            part: Part::default(),
            body_start: None,
            closed: None,
            closed_begun: 0,
            is_multipart: false,
            message_due: None,
            hashes: Vec::new(),
            fields: 0,
            once: 0,
            once_before: 0,
            dates: Vec::new(),
            dates_before: 0,
            is_from_list: false,
            verified: None,
            watches: false,
            flaws: [0; KINDS],
            cost: 0.0,
            boundaries: 0,
            base64_lines: 0,
        }
    }

    /// As [`new`](Self::new), and looks at each end of a line whether the body hash verifies there.
    pub(crate) fn watching() -> Self {
        Self {
            watches: true,
            ..Self::new()
        }
    }

    /// Whether it looks for that.
    pub(crate) const fn watches(&self) -> bool {
        self.watches
    }

    /// Stops looking for that.
    pub(crate) const fn stop_watching(&mut self) {
        self.watches = false;
    }

    /// Reads the next block: what comes may be of something else.
    pub(crate) fn feed_block(&mut self, bytes: &[u8]) {
        if self.watches && self.is_signed() && self.verifies_at_edge() {
            self.verified = Some(self.at);
        }
        self.border = self.at;
        self.once_before = self.once;
        self.dates_before = self.dates.len();
        if self.body_start.is_none() {
            let room = MOST_DATES.saturating_sub(self.dates.len());
            self.dates.extend(dates(bytes).take(room));
        }
        self.feed(bytes);
    }

    /// Goes on with another piece.
    pub(crate) const fn begin_piece(&mut self) {
        self.piece = self.at;
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.at = self.at.saturating_add(end as u64).saturating_add(1);
            if self.line.is_empty() {
                self.end_line(line);
            } else {
                self.append(line);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line);
                self.line = line;
                self.line.clear();
            }
            self.line_start = self.at;
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
        self.append(bytes);
    }

    /// Ends the last line where zeros follow, if nothing else does: a file may end without a line's end.
    /// At the edge of a sector it may have been cut there, or wiped.
    pub(crate) fn end_with_zeros(&mut self) {
        if !self.at.is_multiple_of(SECTOR as u64) {
            self.end_unended();
        }
    }

    /// Ends the last line if nothing has: its file ends there.
    pub(crate) fn end_unended(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
    }

    fn end_line(&mut self, line: &[u8]) {
        let (line, ended_by) = match line.strip_suffix(b"\r") {
            Some(line) => (line, LineEnd::CrLf),
            None => (line, LineEnd::Lf),
        };
        if *self.line_end.get_or_insert(ended_by) != ended_by {
            self.flaw(Flaw::LineEnd);
        }
        if self.body_start.is_some() {
            for (_, hash) in &mut self.hashes {
                hash.line(line);
            }
            if self.watches && self.whole_hashes().any(|(_, hash)| hash.verifies(b"")) {
                self.verified = Some(self.at);
            }
        }
        let judged = line.get(..MOST_LINE.min(line.len())).unwrap_or_default();
        match self.stage {
            Stage::Header => self.header_line(judged),
            Stage::Body => self.body_line(judged),
        }
    }

    fn flaw(&mut self, flaw: Flaw) {
        let Some(seen) = self.flaws.get_mut(flaw as usize) else {
            return;
        };
        self.cost += flaw.weight() / f64::from(1 + *seen * 4);
        *seen = seen.saturating_add(1);
    }

    /// The weight of all flaws so far, in nats.
    pub(crate) const fn cost(&self) -> f64 {
        self.cost
    }

    /// How often boundaries were met that were named before the piece that it reads, in the first one
    /// before the block: these tie what they are met in to what is before it.
    pub(crate) const fn boundaries(&self) -> u32 {
        self.boundaries
    }

    /// How many lines of base64 fitted.
    pub(crate) const fn base64_lines(&self) -> u32 {
        self.base64_lines
    }

    /// Bytes read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.at
    }

    /// Where the body begins, if the header has ended.
    pub(crate) const fn body_start(&self) -> Option<u64> {
        self.body_start
    }

    /// The signatures over the whole body, not a first part of it.
    fn whole_hashes(&self) -> impl Iterator<Item = &(u64, BodyHash)> {
        let all = self.hashes.iter();
        all.filter(|(_, hash)| !hash.signature().is_partial())
    }

    /// Whether the message has a signature over its whole body.
    pub(crate) fn is_signed(&self) -> bool {
        self.whole_hashes().next().is_some()
    }

    /// How many fields of its header have ended.
    pub(crate) const fn fields(&self) -> u32 {
        self.fields
    }

    /// The dates in its header before the last block, and in it.
    pub(crate) fn dates(&self) -> (&[i64], &[i64]) {
        self.dates.split_at(self.dates_before.min(self.dates.len()))
    }

    /// Whether a mailing list sent it on: then a body hash that does not verify says nothing.
    pub(crate) const fn is_from_list(&self) -> bool {
        self.is_from_list
    }

    /// What its signatures say of the body.
    pub(crate) fn signatures(&self) -> Vec<BodySignature> {
        self.hashes
            .iter()
            .map(|(_, hash)| hash.signature().clone())
            .collect()
    }

    /// Whether a body hash verifies if the message ends here, over all of its body.
    pub(crate) fn verifies(&self) -> bool {
        self.verifying().is_some()
    }

    /// The same, behind a line that the edge of a block may cut: not within its end, nor one that is longer
    /// than any is.
    pub(crate) fn verifies_at_edge(&self) -> bool {
        let is_cut = self.line.ends_with(b"\r") || self.line.len() > MOST_LINE;
        !self.line.is_empty() && !is_cut && self.verifies()
    }

    /// Where the first signature ends whose hash verifies if the message ends here.
    pub(crate) fn verifying(&self) -> Option<u64> {
        self.body_start?;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut all = self.hashes.iter();
        all.find(|(_, hash)| hash.verifies_all(line))
            .map(|(end, _)| *end)
    }

    /// Whether signatures over a first part of the body say that it is another one, or longer, if the message
    /// ends here.
    pub(crate) fn contradicts_partial(&self) -> bool {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let partial = self.hashes.iter().map(|(_, hash)| hash);
        let mut partial = partial
            .filter(|hash| hash.signature().is_partial())
            .peekable();
        partial.peek().is_some() && !partial.any(|hash| hash.verifies(line))
    }

    /// The last end of a line, or of a block, at which a body hash verified, for a reader that watches.
    pub(crate) const fn verified(&self) -> Option<u64> {
        self.verified
    }

    /// Behind the line that closes the outermost multipart.
    pub(crate) const fn closed(&self) -> Option<u64> {
        self.closed
    }

    /// Whether what it read last shows its end: what closes all of its parts, or base64 or a page, if it
    /// has no parts; or it is as long as a signature says.
    pub(crate) fn shows_end(&self) -> bool {
        let in_body = self.stage == Stage::Body && !self.is_multipart;
        self.closed.is_some() || in_body && self.part.shows_end() || self.verifies()
    }

    /// Where it ended by what it says itself, whatever was read behind that: where a body hash verified,
    /// for a reader that watches, or behind the line that closes it.
    pub(crate) fn ended(&self) -> Option<u64> {
        self.verified.or(self.closed)
    }

    /// Whether it is closed by a boundary that was named within its first `bytes`.
    pub(crate) fn is_closed_within(&self, bytes: u64) -> bool {
        self.closed.is_some() && self.closed_begun <= bytes
    }

    /// Whether a message may end here: in a line's end, with all parts closed.
    pub(crate) fn may_end(&self) -> bool {
        self.is_closed() && self.line_has_ended()
    }

    /// Whether something that its header named may tie what comes later to it: a signature or a boundary.
    pub(crate) const fn may_be_tied(&self) -> bool {
        self.body_start.is_none() || self.is_multipart || !self.hashes.is_empty()
    }

    /// Whether it is a page of HTML that is to be closed yet, which some senders never do.
    pub(crate) const fn leaves_page_open(&self) -> bool {
        !self.is_multipart && self.part.is_open_page()
    }

    /// Whether it is between two lines.
    pub(crate) const fn line_has_ended(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether its header and all parts that it began are ended.
    pub(crate) const fn is_closed(&self) -> bool {
        self.body_start.is_some() && (!self.is_multipart || self.closed.is_some())
    }

    /// The unfinished line, and whether it is text that a model of language can judge.
    pub(crate) fn unfinished(&self) -> (&[u8], bool) {
        let is_encoded = self.part.is_base64() || self.part.is_in_run();
        (&self.line, self.stage == Stage::Header || !is_encoded)
    }

    /// Whether a message in it begins here.
    pub(crate) fn expects_message(&self) -> bool {
        self.message_due == Some(self.at)
    }

    /// Whether it is in the middle of base64, or of other lines of one length that no language is in.
    pub(crate) fn is_in_base64(&self) -> bool {
        let is_in_part = self.part.is_base64() && !self.part.is_ended();
        self.stage == Stage::Body && (is_in_part || self.part.is_in_run())
    }

    /// How long the lines of the base64 are that it is in, and how much of the last one is there.
    pub(crate) fn base64_phase(&self) -> Option<(usize, usize)> {
        let line = &self.line;
        self.is_in_base64()
            .then(|| Some((self.part.encoded_length(line)?, line.len())))?
    }

    /// How often a piece of base64 fits here by chance: one in as many as a line has places.
    pub(crate) fn luck(&self) -> Option<f64> {
        let (length, _) = self.base64_phase()?;
        Some(1.0 / length.saturating_add(self.line_end_bytes()) as f64)
    }

    /// The boundaries that are to be closed yet.
    pub(crate) fn open_boundaries(&self) -> impl Iterator<Item = &[u8]> {
        self.levels.iter().map(|level| level.boundary.as_slice())
    }

    /// How many bytes the end of a line has, as the message writes it.
    pub(crate) const fn line_end_bytes(&self) -> usize {
        match self.line_end {
            Some(LineEnd::CrLf) => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
