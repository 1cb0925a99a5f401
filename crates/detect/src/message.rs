//! Where messages begin: header blocks, known by the syntax of RFC 5322 and not by the names of
//! fields, and the `From ` lines of mboxes.
//!
//! What makes a header block is said in [`mail::header`].
//!
//! A message is looked for where files begin, at the beginning of sectors, and behind bytes that
//! are no text. One inside another, behind text, is not a beginning.

use mail::header::{REACH, header};
use scan::{Detector, Found, Place, SECTOR_ALIGN, Trigger};

/// What the beginning of a message is called.
pub const NAME: &str = "message";
/// Bytes in a line at most, without its end. RFC 5322, section 2.1.1, says 998, not everyone keeps
/// to it.
const MOST_LINE: usize = 8 << 10;
/// Characters in a field's name at most: RFC 5322, section 2.1.1, leaves no room for more.
const MOST_NAME: usize = 76;

/// The detectors of messages and of `From ` lines.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    vec![Box::new(HeaderBlock), Box::new(FromLine)]
}

/// The first line of `bytes` without its end, and how long it is with it. `Some(None)` if no
/// end is there, `None` if it holds what no header does.
#[expect(
    clippy::option_option,
    reason = "cut short is another thing than wrong"
)]
fn line(bytes: &[u8]) -> Option<Option<(&[u8], usize)>> {
    let most = bytes.get(..bytes.len().min(MOST_LINE)).unwrap_or_default();
    let end = memchr::memchr(b'\n', most);
    let whole = most.get(..end.unwrap_or(most.len())).unwrap_or_default();
    // RFC 5322, section 4.1, has had to put up with every other control character.
    if memchr::memchr(0, whole).is_some() {
        return None;
    }
    match end {
        Some(end) => Some(Some((
            whole.strip_suffix(b"\r").unwrap_or(whole),
            end.saturating_add(1),
        ))),
        None if most.len() < MOST_LINE => Some(None),
        None => None,
    }
}

/// The name of the field that `line` begins with (RFC 5322, section 2.2; of the characters that
/// are allowed those that are in use).
fn name(line: &[u8]) -> Option<&[u8]> {
    let end = line
        .iter()
        .take(MOST_NAME.saturating_add(1))
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')))?;
    let name = line.get(..end)?;
    let starts = name.first()?.is_ascii_alphabetic();
    (starts && line.get(end) == Some(&b':')).then_some(name)
}

fn is_number(word: &[u8], digits: std::ops::RangeInclusive<usize>) -> bool {
    digits.contains(&word.len()) && word.iter().all(u8::is_ascii_digit)
}

fn is_month(word: &[u8]) -> bool {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    MONTHS.iter().any(|month| word == month.as_slice())
}

struct HeaderBlock;

impl Detector for HeaderBlock {
    fn triggers(&self) -> Vec<Trigger> {
        vec![
            Trigger::Every {
                align: SECTOR_ALIGN,
            },
            Trigger::NameAfterOther,
        ]
    }

    fn reach(&self) -> usize {
        REACH
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        // Most places are turned away here: it is asked of every sector.
        name(place.bytes)?;
        if place
            .before
            .is_some_and(|before| is_inside(before, place.bytes))
        {
            return None;
        }
        let header = header(place.bytes)?;
        Some(Found {
            bytes: header.bytes,
            number: Some(header.fields),
            ..Found::new(NAME)
        })
    }
}

/// Whether a field's name that a sector begins with is the rest of a longer one.
fn is_inside(before: u8, bytes: &[u8]) -> bool {
    before == b'-'
        || before.is_ascii_alphanumeric() && bytes.first().is_some_and(u8::is_ascii_lowercase)
}

/// The line that a message in an mbox begins with: `From sender date` (RFC 4155, appendix A).
struct FromLine;

impl Detector for FromLine {
    fn triggers(&self) -> Vec<Trigger> {
        vec![Trigger::Needle(b"From ")]
    }

    fn reach(&self) -> usize {
        512
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        let begins_line = place.before.is_none_or(|before| before == b'\n')
            || place.offset.get().is_multiple_of(SECTOR_ALIGN.get());
        if !begins_line {
            return None;
        }
        let (line, length) = line(place.bytes)??;
        is_from_line(line).then(|| Found {
            bytes: Some(length as u64),
            ..Found::new("mbox-from")
        })
    }
}

/// Whether `line` ends in a date as `asctime` writes it, with a zone before or after the year at
/// most: `From ada@example.org Tue Jun  3 09:05:11 2014`.
fn is_from_line(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
        .collect();
    // The sender is one word, or none where the server knew none.
    words.windows(4).skip(1).any(|date| {
        let [weekday, month, day, time] = date else {
            return false;
        };
        is_weekday(weekday) && is_month(month) && is_number(day, 1..=2) && is_time(time)
    }) && words
        .iter()
        .rev()
        .take(3)
        .any(|word| is_number(word, 4..=4))
}

fn is_weekday(word: &[u8]) -> bool {
    const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    DAYS.iter().any(|day| word == day.as_slice())
}

/// `hh:mm` or `hh:mm:ss`.
fn is_time(word: &[u8]) -> bool {
    let parts: Vec<&[u8]> = word.split(|byte| *byte == b':').collect();
    (2..=3).contains(&parts.len()) && parts.iter().all(|part| is_number(part, 2..=2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "Return-Path: <hiro@customer.example>\nX-Odd_name.2: yes\n\
        Received: from mx0.relay.example (mx0.relay.example [192.0.2.134])\n\tby imap1.example;\n\
        \tTue, 03 Jun 2014 09:05:11 +0200\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nHello\n";

    #[test]
    fn a_header_is_known_by_its_syntax_with_any_line_ends() {
        let head = MESSAGE.find("\n\n").unwrap() + 2;
        let found = header(MESSAGE.as_bytes()).unwrap();
        assert_eq!((found.fields, found.bytes), (4, Some(head as u64)));
        let crlf = MESSAGE.replace('\n', "\r\n");
        let found = header(crlf.as_bytes()).unwrap();
        assert_eq!(found.fields, 4);
        assert_eq!(found.bytes, Some(crlf.find("\r\n\r\n").unwrap() as u64 + 4));
        // Cut short behind what decides.
        let cut = MESSAGE.find("Gr=").unwrap();
        let found = header(&MESSAGE.as_bytes()[..cut]).unwrap();
        assert_eq!((found.fields, found.bytes), (3, None));
        let lower = MESSAGE.to_lowercase().replace("jun", "Jun");
        assert!(header(lower.as_bytes()).is_some());
    }

    #[test]
    fn what_only_looks_like_a_header_is_none() {
        let decoys = [
            "Package: bash\nVersion: 5.2\nMaintainer: Ada <ada@example.org>\nSection: shells\n\n",
            "HTTP/1.1 200 OK\nDate: Tue, 03 Jun 2014 09:05:11 GMT\nServer: x\nFrom: a@b.example\n\n",
            "name: ada\nmail: ada@example.org\nborn: 3 Jun 2014\n\n",
            "> From: ada@example.org\n> Date: Tue, 03 Jun 2014 09:05:11 +0200\n> To: b@c.example\n\n",
            "From: ada@example.org\nDate: Tue, 03 Jun 2014 09:05:11 +0200\nand so on\n\n",
            "Date: Tue, 03 Jun 2014 09:05:11 +0200\nTo: ada@example.org\n\n",
            " folded\nDate: Tue, 03 Jun 2014 09:05:11 +0200\nTo: ada@example.org\nX: y\n\n",
            "Date: Tue, 03 Jun 2014 09:05:11 +0200\nTo: ada@example.org\nX: \0\n\n",
            "",
        ];
        for decoy in decoys {
            assert_eq!(header(decoy.as_bytes()), None, "{decoy}");
        }
    }

    #[test]
    fn from_lines_are_known_by_their_date() {
        for line in [
            "From ada@example.org Tue Jun  3 09:05:11 2014",
            "From MAILER-DAEMON Tue Jun 13 09:05 2014",
            "From ada@example.org Tue Jun  3 09:05:11 CEST 2014",
            "From ada@example.org Tue Jun  3 09:05:11 2014 +0200",
            "From \"ada b\"@example.org Tue Jun  3 09:05:11 2014",
        ] {
            assert!(is_from_line(line.as_bytes()), "{line}");
        }
        for line in [
            "From here on it is Tuesday",
            "From June 3 at 09:05 on",
            "From ada Tue Jun 3 2014",
        ] {
            assert!(!is_from_line(line.as_bytes()), "{line}");
        }
    }
}
