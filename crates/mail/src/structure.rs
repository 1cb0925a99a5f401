//! Whether the bytes of a file look like one message from its first byte to its last.
//!
//! A file in use needs none of this: its file system says that its bytes are its own. The blocks of
//! a deleted file were free to be written over, also by other mail, and then only the message
//! itself can show that they were not. What is looked for here is what breaks at the edge of a
//! block that is somebody else's: a header where none belongs, lines of base64 whose length
//! changes, a boundary that never closes, bytes behind the end.

use crate::header::{field, is_from_line};
use crate::turned;
use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};

/// The smallest block that a file system gives to a file.
pub(crate) const LEAST_BLOCK: usize = 1024;
/// Lines of base64 shorter than this are not counted as broken in their length.
const MOST_BASE64_LINE: usize = 1000;

/// What the structure of a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    /// It closes: everything that was begun is ended, and there is something that had to be.
    pub(crate) closes: bool,
    /// It begins as a message does.
    pub(crate) has_header: bool,
    /// What shows that not all bytes are this message's, in words.
    pub(crate) contradictions: Vec<String>,
}

impl Structure {
    /// The structure of a message with these bytes.
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut this = Self {
            has_header: begins_with_header(content),
            ..Self::default()
        };
        if !this.has_header {
            this.contradict("it does not begin with the header of a message");
        }
        if content.contains(&0) {
            this.contradict("there are zero bytes in it, which no message has");
        }
        if let Some(at) = second_header(content) {
            this.contradict(&format!("another message begins at byte {at}"));
        }
        this.parts(content);
        this
    }

    /// As [`of`](Self::of), of a message of which parts are missing: how it begins is all that
    /// can be judged.
    pub(crate) fn of_part(content: &[u8]) -> Self {
        Self {
            has_header: begins_with_header(content),
            ..Self::default()
        }
    }

    fn contradict(&mut self, what: &str) {
        self.contradictions.push(what.to_owned());
    }

    /// Judges the parts: their encodings, and the boundaries between them.
    fn parts(&mut self, content: &[u8]) {
        let Some(message) = MessageParser::default().parse(content) else {
            self.contradict("it cannot be read as a message");
            return;
        };
        let (mut begun, mut closed) = (0_u32, 0_u32);
        for part in &message.parts {
            if let PartType::Multipart(_) = part.body {
                begun = begun.saturating_add(1);
                closed = closed.saturating_add(u32::from(is_closed(part, content)));
            } else if let Some(why) = encoding_problem(part, content) {
                self.contradict(why);
            }
        }
        if closed < begun {
            self.contradict("its parts do not end where they should");
        }
        self.closes = begun > 0 && self.contradictions.is_empty();
    }
}

/// Whether `content` begins with a header block: names and values, one that every message has,
/// and the empty line; or two of those before a line that is no field, as broken senders write it. What is
/// looked for is another's block at the beginning, and that has none.
fn begins_with_header(content: &[u8]) -> bool {
    let mut known = 0_u32;
    let mut first = true;
    for line in content.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if !is_from_line(line) && (first || !continues) {
            let Some((name, _)) = field(line) else {
                return known >= 2;
            };
            known = known.saturating_add(u32::from(is_known(name)));
        }
        first = false;
    }
    // Mail of a header alone has no empty line.
    known >= 1
}

/// Fields of which every message has at least one.
fn is_known(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"Received",
        b"From",
        b"Date",
        b"Message-ID",
        b"Return-Path",
        b"Delivered-To",
        b"To",
        b"Subject",
        b"X-Original-To",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Where another message begins at a place where a block may: with a field that servers write
/// first. An attached message may begin there by chance, one in a thousand.
fn second_header(content: &[u8]) -> Option<usize> {
    const FIRST: [&[u8]; 4] = [
        b"Return-Path: <",
        b"Delivered-To: ",
        b"X-Original-To: ",
        b"Received: from ",
    ];
    // In the header itself such a line may stand at any place.
    let ends = [find(content, b"\n\n"), find(content, b"\n\r\n")];
    let header = ends.into_iter().flatten().min()?;
    let blocks = content.chunks(LEAST_BLOCK).enumerate().skip(1);
    let mut places = blocks.filter_map(|(number, block)| {
        let at = number.checked_mul(LEAST_BLOCK)?;
        let begins = FIRST.iter().any(|first| block.starts_with(first));
        (begins && at > header.saturating_add(1)).then_some(at)
    });
    places.next()
}

/// The bytes of a part between two of the parser's offsets.
fn slice(content: &[u8], from: u32, to: u32) -> Option<&[u8]> {
    content.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

/// Whether the boundary of a multipart part is closed (RFC 2046, section 5.1.1).
pub(crate) fn is_closed(part: &MessagePart<'_>, content: &[u8]) -> bool {
    let boundary = part
        .content_type()
        .and_then(|kind| kind.attribute("boundary"));
    let Some(boundary) = boundary.filter(|text| !text.is_empty()) else {
        return false;
    };
    let end = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let Some(body) = slice(content, part.offset_body, end) else {
        return false;
    };
    find(body, format!("--{boundary}--").as_bytes()).is_some()
}

/// What is wrong with how the body of a part is encoded.
fn encoding_problem(part: &MessagePart<'_>, content: &[u8]) -> Option<&'static str> {
    let encoding = part.content_transfer_encoding()?;
    let body = slice(content, part.offset_body, part.offset_end)?;
    if encoding.trim().eq_ignore_ascii_case("base64") {
        return (!is_base64(body)).then_some("a part in base64 is broken inside");
    }
    let is_quoted = encoding.trim().eq_ignore_ascii_case("quoted-printable");
    (is_quoted && !is_quoted_printable(body)).then_some("a part in quoted-printable is broken")
}

/// Whether lines of base64 (RFC 2045, section 6.8) have one length, all but the last.
fn is_base64(body: &[u8]) -> bool {
    let lines = body.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.trim_ascii_end());
    let mut length = None;
    let mut ended = false;
    for line in lines.filter(|line| !line.is_empty()) {
        let wrong = !turned::is_base64(line);
        let longer = length.is_some_and(|length| line.len() > length);
        if ended || wrong || longer || line.len() > MOST_BASE64_LINE {
            return false;
        }
        ended = length.is_some_and(|length| line.len() < length) || line.ends_with(b"=");
        length.get_or_insert(line.len());
    }
    true
}

/// Whether every `=` begins an octet in hexadecimal or ends a line (RFC 2045, section 6.7), and
/// all other bytes are ASCII.
fn is_quoted_printable(body: &[u8]) -> bool {
    body.is_ascii()
        && body.split(|byte| *byte == b'\n').all(|line| {
            let line = line.trim_ascii_end();
            let mut after = line.split(|byte| *byte == b'=').skip(1).peekable();
            std::iter::from_fn(|| Some((after.next()?, after.peek().is_none()))).all(
                |(text, is_last)| match text {
                    [a, b, ..] => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
                    [] => is_last,
                    _ => false,
                },
            )
        })
}

/// Where `needle` first stands in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(close: &str) -> Vec<u8> {
        let lines = format!("{}\n", "QUJD".repeat(19)).repeat(60);
        format!(
            "Received: from a\nFrom: a@b.example\nContent-Type: multipart/mixed; boundary=\"xyz\"\n\n\
             --xyz\nContent-Type: text/plain\n\nhello\n--xyz\nContent-Type: application/pdf\n\
             Content-Transfer-Encoding: base64\n\n{lines}QUI=\n{close}\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_message_whose_parts_end_closes() {
        let good = Structure::of(&mixed("--xyz--"));
        assert_eq!(good.contradictions, Vec::<String>::new());
        assert!(good.closes);
        let cut = Structure::of(&mixed(""));
        assert!(!cut.closes && cut.contradictions.len() == 1, "{cut:?}");
    }

    #[test]
    fn base64_of_another_message_in_the_middle_is_seen_by_the_length_of_its_lines() {
        let mut wrong = mixed("--xyz--");
        let other = format!("{}\n", "REVG".repeat(19)).repeat(60).into_bytes();
        wrong[2048..3072].copy_from_slice(&other[40..1064]);
        let got = Structure::of(&wrong);
        assert_eq!(got.contradictions, ["a part in base64 is broken inside"]);
    }

    #[test]
    fn a_header_at_the_start_of_a_later_block_is_another_message() {
        let mut text = b"From: a@b.example\n\n".to_vec();
        text.extend(b"words and words\n".repeat(100));
        assert_eq!(Structure::of(&text).contradictions, Vec::<String>::new());
        text[1024..1038].copy_from_slice(b"Return-Path: <");
        assert_eq!(Structure::of(&text).contradictions.len(), 1);
    }

    #[test]
    fn what_is_no_message_does_not_begin_as_one() {
        for text in [
            &b"QUJDREVGR0g=\nQUJD\n"[..],
            b"hello: there\n\nx\n",
            b"\0\0\0\0",
            b"",
            b" folded: x\n\n",
        ] {
            assert!(!Structure::of(text).has_header, "{text:?}");
        }
        for text in [
            &b"From x@y Mon\nSubject: x\n\ny\n"[..],
            b"Return-Path: <a@b.example>\nFrom x@y Mon\nSubject: x\n\ny\n",
            b"Return-Path: <a@b.example>\nTo: a@b.example\nFrom\n : <x@y.example>\n\ny\n",
        ] {
            assert!(Structure::of(text).has_header, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
            let _ = Structure::of(&bytes);
            let mut mail = b"From: a@b.example\nContent-Type: multipart/mixed; boundary=x\n\n".to_vec();
            mail.extend(&bytes);
            let _ = Structure::of(&mail);
        }
    }
}
