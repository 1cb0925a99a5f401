//! Bodies, line by line.

use std::borrow::Cow;

use mail::turned::is_base64_byte;

use super::{Flaw, Reader, Stage};

/// Lines of base64 longer than this have no length of their own.
const MOST_BASE64_LINE: usize = 1000;
/// Quoted-printable allows 76 (RFC 2045, section 6.7); some senders write a little more.
const MOST_QUOTED_LINE: usize = 80;
/// A line of text that is so much base64 is no text.
const STRANGE_BASE64_LINE: usize = 60;
/// A line of uuencode but for the last is so long: `M` for 45 bytes, and 60 characters.
pub(crate) const UUENCODE_LINE: usize = 61;
/// A boundary is known by so many characters where something else stands behind what closes it.
const LEAST_CUT_BOUNDARY: usize = 10;

/// What begins a page of HTML, and what closes it.
const PAGE: &[u8] = b"<html";
const PAGE_END: &[u8] = b"</html>";

/// How the body of a part is encoded (RFC 2045, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `7bit`, or nothing said.
    #[default]
    Seven,
    /// `8bit` or `binary`.
    Eight,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// The encoding that a `Content-Transfer-Encoding` names.
    pub(super) fn of(value: &[u8]) -> Self {
        let value = value.trim_ascii().to_ascii_lowercase();
        if value.starts_with(b"base64") {
            Self::Base64
        } else if value.starts_with(b"quoted-printable") {
            Self::QuotedPrintable
        } else if value.starts_with(b"8bit") || value.starts_with(b"binary") {
            Self::Eight
        } else {
            Self::Seven
        }
    }
}

/// The part that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) encoding: Encoding,
    /// The boundary of the multipart that it begins.
    pub(super) boundary: Option<Vec<u8>>,
    /// It is a message itself.
    pub(super) is_message: bool,
    is_utf8: bool,
    is_html: bool,
    is_epilogue: bool,
    /// The length of its lines of base64.
    base64_length: Option<usize>,
    /// A line of base64 was shorter: it was the last.
    base64_ended: bool,
    /// A page of HTML was begun (`<html>`) and is not closed.
    page_open: bool,
    /// The last line that is not empty closes it (`</html>`).
    page_ended: bool,
    /// The end of a line of it that goes on in the next.
    tag: Vec<u8>,
    /// In text: the lines of one length that it is in the middle of.
    run: Option<Run>,
    longest: usize,
}

/// Lines of one length within text, that no language is in: what PGP makes, a message in pieces
/// (`message/partial`), or uuencode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    alphabet: Alphabet,
    /// How long its lines are.
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    Base64,
    /// The characters of uuencode (POSIX.1-2017, `uuencode`), whose lines begin with their length.
    Uuencode,
}

impl Run {
    /// The run that a line begins.
    fn begins(line: &[u8]) -> Option<Self> {
        if is_uuencode_begin(line) {
            return Some(Self {
                alphabet: Alphabet::Uuencode,
                length: UUENCODE_LINE,
            });
        }
        let is_base64 = line.len() >= STRANGE_BASE64_LINE
            && all(line, is_base64_byte)
            && line.iter().any(u8::is_ascii_uppercase)
            && line.iter().any(u8::is_ascii_digit);
        is_base64.then_some(Self {
            alphabet: Alphabet::Base64,
            length: line.len(),
        })
    }

    /// How long the line is that begins with `line`.
    fn length_of(self, line: &[u8]) -> usize {
        match (self.alphabet, line.first()) {
            (Alphabet::Uuencode, Some(first)) => uuencode_length(*first),
            _ => self.length,
        }
    }

    /// Whether a line is one of it.
    fn has(self, line: &[u8]) -> bool {
        let length = self.length_of(line);
        let short_by = length.checked_sub(line.len());
        // Spaces at its end are often taken off, and some write a sum behind it.
        let fits = match self.alphabet {
            Alphabet::Base64 => short_by == Some(0),
            Alphabet::Uuencode => short_by.map_or(line.len() == length + 1, |by| by < length),
        };
        fits && match self.alphabet {
            Alphabet::Base64 => all(line, is_base64_byte),
            Alphabet::Uuencode => all(line, is_uuencode_byte),
        }
    }

    /// Whether a line is the last of it.
    fn ends_with(self, line: &[u8]) -> bool {
        match self.alphabet {
            Alphabet::Base64 => line.len() < self.length && all(line, is_base64_byte),
            Alphabet::Uuencode => line == b"end" || line == b"`",
        }
    }
}

impl Part {
    /// Takes a `Content-Type`.
    pub(super) fn content_type(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        self.is_message = lower.trim_ascii_start().starts_with(b"message/rfc822");
        self.is_utf8 = memchr::memmem::find(&lower, b"utf-8").is_some();
        self.is_html = lower.trim_ascii_start().starts_with(b"text/html");
        if lower.trim_ascii_start().starts_with(b"multipart/") {
            self.boundary = parameter(value, &lower, b"boundary");
        }
    }

    pub(super) fn is_base64(&self) -> bool {
        self.encoding == Encoding::Base64 && !self.is_epilogue
    }

    pub(super) const fn is_ended(&self) -> bool {
        self.base64_ended
    }

    /// Takes a line of HTML, which quoted-printable may go on with in the next.
    fn page_line(&mut self, line: &[u8]) {
        let soft = line.strip_suffix(b"=");
        let soft = soft.filter(|_| self.encoding == Encoding::QuotedPrintable);
        let own = soft.unwrap_or(line);
        let joined = match self.tag.as_slice() {
            [] => Cow::Borrowed(own),
            tag => Cow::Owned([tag, own].concat()),
        };
        let line = joined.trim_ascii_end();
        let last = line.len().saturating_sub(PAGE_END.len());
        let last = line.get(last..).unwrap_or_default();
        self.page_ended = last.eq_ignore_ascii_case(PAGE_END) && soft.is_none();
        let closing = PAGE_END.strip_suffix(b">").unwrap_or(PAGE_END);
        self.page_open = (self.page_open || has_tag(line, PAGE)) && !has_tag(line, closing);
        self.tag = soft.map_or_else(Vec::new, |_| last.to_vec());
    }

    /// Whether its last line is one that nothing comes behind: of base64, or of a page.
    pub(super) const fn shows_end(&self) -> bool {
        self.base64_ended || self.page_ended
    }

    /// Whether it is a page of HTML that is to be closed yet.
    pub(super) const fn is_open_page(&self) -> bool {
        self.page_open
    }

    /// The length of the lines of base64, or of others that no language is in, of which `line` is
    /// the one that is not ended yet.
    pub(super) fn encoded_length(&self, line: &[u8]) -> Option<usize> {
        if self.is_base64() {
            return self.base64_length;
        }
        self.run.map(|run| run.length_of(line))
    }

    /// Whether it is in the middle of lines of one length, though its encoding is that of text.
    pub(super) const fn is_in_run(&self) -> bool {
        self.run.is_some()
    }
}

/// Whether a line is the first of uuencode: `begin`, a mode, a name.
fn is_uuencode_begin(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"begin ") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (3..=4).contains(&digits) && rest.get(digits) == Some(&b' ')
}

/// How long a line of uuencode is that begins with `first`.
const fn uuencode_length(first: u8) -> usize {
    let bytes = (first.wrapping_sub(b' ') & 0x3F) as usize;
    bytes.div_ceil(3) * 4 + 1
}

pub(crate) const fn is_uuencode_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'`')
}

/// The value of a parameter of a field (RFC 2045, section 5.1); `lower` is `value` in lower case.
fn parameter(value: &[u8], lower: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(lower, name)?.checked_add(name.len())?;
    let rest = value.get(start..)?.trim_ascii_start();
    let rest = rest.strip_prefix(b"=")?.trim_ascii_start();
    let text = match rest.strip_prefix(b"\"") {
        Some(quoted) => quoted.get(..memchr::memchr(b'"', quoted)?)?,
        None => {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
            rest.get(..rest.iter().position(ends).unwrap_or(rest.len()))?
        }
    };
    (!text.is_empty() && text.len() <= 200).then(|| text.to_vec())
}

/// Whether a line has a tag that begins so, in letters of either case.
fn has_tag(line: &[u8], tag: &[u8]) -> bool {
    let mut places = memchr::memchr_iter(b'<', line);
    places.any(|at| {
        let own = line.get(at..at.saturating_add(tag.len()));
        own.is_some_and(|own| own.eq_ignore_ascii_case(tag))
    })
}

/// Whether a line is `--boundary`, and whether it closes it.
fn boundary_of(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// Behind how many bytes of a line a boundary is closed if something else stands behind that: it must be
/// long enough for no text to have it by chance.
pub(super) fn closes_within(line: &[u8], boundary: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let behind = rest.strip_prefix(b"--")?;
    let is_cut = boundary.len() >= LEAST_CUT_BOUNDARY && !behind.trim_ascii_end().is_empty();
    is_cut.then(|| line.len().saturating_sub(behind.len()))
}

impl Reader {
    pub(super) fn is_boundary(&self, line: &[u8]) -> bool {
        self.boundary_at(line).is_some()
    }

    /// The level whose boundary a line is, from the innermost on, and whether it closes it.
    fn boundary_at(&self, line: &[u8]) -> Option<(usize, bool)> {
        if !line.starts_with(b"--") {
            return None;
        }
        let levels = self.levels.iter().enumerate().rev();
        levels
            .filter_map(|(depth, level)| Some((depth, boundary_of(line, &level.boundary)?)))
            .next()
    }

    pub(super) fn body_line(&mut self, line: &[u8]) {
        if let Some((depth, closes)) = self.boundary_at(line) {
            self.boundary(depth, closes);
            return;
        }
        if line.is_empty() {
            return;
        }
        if self.part.is_epilogue {
            self.flaw(Flaw::Epilogue);
        }
        if self.part.is_base64() {
            self.base64_line(line);
            return;
        }
        if self.part.is_html {
            self.part.page_line(line);
        }
        if !self.run_line(line) {
            self.text_line(line);
        }
        if self.part.encoding == Encoding::QuotedPrintable && !is_quoted_printable(line) {
            self.flaw(Flaw::QuotedPrintable);
        }
    }

    fn boundary(&mut self, depth: usize, closes: bool) {
        let known_before = if self.piece > 0 {
            self.piece
        } else {
            self.border
        };
        let begun = self.levels.get(depth).map_or(0, |level| level.begun);
        self.boundaries = self
            .boundaries
            .saturating_add(u32::from(begun <= known_before));
        if self.levels.len() > depth.saturating_add(1) {
            self.flaw(Flaw::OpenPart);
        }
        self.levels.truncate(depth.saturating_add(1));
        self.part = Part::default();
        if !closes {
            self.stage = Stage::Header;
            return;
        }
        self.levels.pop();
        self.part.is_epilogue = self.levels.is_empty();
        if self.levels.is_empty() {
            self.closed = Some(self.at);
            self.closed_begun = begun;
        }
    }

    fn base64_line(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if !all(line, is_base64_byte) {
            self.flaw(Flaw::Base64Byte);
            if line.iter().filter(|byte| !is_base64_byte(**byte)).count() > 2 {
                self.flaw(Flaw::Base64Length);
            }
        }
        let length = *self.part.base64_length.get_or_insert(line.len());
        let wrong = line.len() > length || self.part.base64_ended;
        if wrong && length <= MOST_BASE64_LINE {
            self.flaw(Flaw::Base64Length);
            // What follows is measured by itself.
            self.part.base64_length = Some(line.len());
            self.part.base64_ended = false;
            return;
        }
        self.part.base64_ended |= line.len() < length || line.ends_with(b"=");
        self.base64_lines = self.base64_lines.saturating_add(1);
    }

    /// Takes a line of text if it is one of many of one length that no language is in.
    fn run_line(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        let crosses_border = self.line_start < self.border;
        if let Some(run) = self.part.run.take() {
            if run.has(line) {
                self.part.run = Some(run);
                self.base64_lines = self.base64_lines.saturating_add(1);
                return true;
            }
            if run.ends_with(line) {
                return true;
            }
            if crosses_border {
                self.flaw(Flaw::Base64Length);
            }
        }
        self.part.run = Run::begins(line);
        let Some(run) = self.part.run else {
            return false;
        };
        // Further behind a border text has begun it.
        let reach = self.border.saturating_add(run.length as u64);
        if self.border > 0 && self.line_start <= reach && run.alphabet == Alphabet::Base64 {
            self.flaw(Flaw::StrangeBase64);
        }
        true
    }

    fn text_line(&mut self, line: &[u8]) {
        if line.contains(&0) {
            self.flaw(Flaw::Nul);
        }
        let has_high = !line.is_ascii();
        let allowed = match self.part.encoding {
            Encoding::Eight => !self.part.is_utf8 || std::str::from_utf8(line).is_ok(),
            _ => !has_high,
        };
        let has_control = !all(line, |byte| !is_control(byte));
        if !allowed || has_control {
            self.flaw(Flaw::Byte);
        }
        if is_strange_boundary(line) {
            self.flaw(Flaw::StrangeBoundary);
        }
        if self.part.longest > 0 && line.len() > 100.max(self.part.longest.saturating_mul(2)) {
            self.flaw(Flaw::LongLine);
        }
        self.part.longest = self.part.longest.max(line.len());
    }
}

/// Whether a line looks like a boundary, which none of this message is. A line of dashes, or the
/// mark of a signature, is text.
fn is_strange_boundary(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"--") else {
        return false;
    };
    let rest = rest.trim_ascii_end();
    let plain = rest.iter().filter(|byte| **byte != b'-').count();
    let digits = rest.iter().filter(|byte| byte.is_ascii_digit()).count();
    plain >= 12 && digits >= 3 && !rest.contains(&b' ')
}

/// Whether all bytes of a line are of a kind. It looks at each, so that the compiler can look at many at once
/// where `is` does not branch.
fn all(line: &[u8], is: impl Fn(u8) -> bool) -> bool {
    let others = line
        .iter()
        .fold(0, |others, byte| others | u8::from(!is(*byte)));
    others == 0
}

/// Whether a byte is a control character that no text has: not those of white space, nor escape.
const fn is_control(byte: u8) -> bool {
    let white_or_nul = (byte == 0) | (byte.wrapping_sub(9) < 5);
    (byte < 32) & !white_or_nul & (byte != 27) | (byte == 127)
}

/// Whether every `=` of a line begins an octet in hexadecimal or ends the line, and the line is
/// no longer than it may be.
fn is_quoted_printable(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
        let fits = match rest {
            [] => true,
            [a, b, ..] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
            [_] => false,
        };
        if !fits {
            return false;
        }
    }
    line.len() <= MOST_QUOTED_LINE
}
