//! The header of a message in an mbox, and what mailbox software keeps in it.
//!
//! Flags, keywords and UIDs of an mbox stand in fields among those of the message. IMAP servers do
//! not show them: they are not the message's, and what a server stores in an mbox loses such
//! fields if it had any. Source: Dovecot's `mbox-file.h` and `mbox_hide_headers` of
//! `src/lib-storage/index/mbox/mbox-storage.c`.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::maildir::{Flags, is_keyword};

/// The fields that are mailbox software's own.
const HIDDEN: [&str; 7] = [
    "content-length",
    "status",
    "x-imap",
    "x-imapbase",
    "x-keywords",
    "x-status",
    "x-uid",
];

/// A header that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Its length in bytes, with the empty line.
    pub(super) bytes: usize,
    /// Whether it ends with an empty line.
    pub(super) is_ended: bool,
    /// Which bytes of it are fields that are not the message's.
    pub(super) hidden: Vec<Range<usize>>,
    pub(super) content_length: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) keywords: BTreeSet<String>,
    /// `X-IMAP`, which marks a message that is none but software's own notes.
    pub(super) is_pseudo: bool,
    /// The boundary of its parts.
    pub(super) boundary: Option<Vec<u8>>,
    letters: String,
}

impl Header {
    /// Reads the header that `text` begins with; it ends with `text` at the latest.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut this = Self::default();
        let mut at = 0_usize;
        let mut field: Option<Range<usize>> = None;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let length =
                memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
            let line = rest.get(..length).unwrap_or_default();
            let end = at.saturating_add(length);
            match line {
                b"\n" | b"\r\n" => {
                    at = end;
                    this.is_ended = true;
                    break;
                }
                [b' ' | b'\t', ..] => {
                    if let Some(field) = &mut field {
                        field.end = end;
                    }
                }
                _ => {
                    this.take(text, field.replace(at..end));
                }
            }
            at = end;
        }
        this.take(text, field);
        this.bytes = at;
        this
    }

    /// Takes in a field with its continuations.
    fn take(&mut self, text: &[u8], field: Option<Range<usize>>) {
        let Some(field) = field else {
            return;
        };
        let raw = text.get(field.clone()).unwrap_or_default();
        let Some(colon) = memchr::memchr(b':', raw).filter(|colon| *colon < 100) else {
            return;
        };
        let (name, value) = raw.split_at_checked(colon).unwrap_or_default();
        let name = String::from_utf8_lossy(name)
            .trim_end()
            .to_ascii_lowercase();
        let value = value.get(1..).unwrap_or_default();
        if name == "content-type" {
            self.boundary = boundary(value);
        }
        if !HIDDEN.contains(&name.as_str()) {
            return;
        }
        self.hidden.push(field);
        let value = String::from_utf8_lossy(value);
        let value = value.trim();
        match name.as_str() {
            "content-length" => self.content_length = value.parse().ok(),
            "x-uid" => self.uid = value.parse().ok(),
            "x-imap" => self.is_pseudo = true,
            "x-keywords" => {
                let words = value.split_ascii_whitespace();
                let words = words.filter(|word| is_keyword(word));
                self.keywords.extend(words.map(str::to_owned));
            }
            "status" => self.letters.extend(value.chars().filter_map(of_status)),
            "x-status" => self.letters.extend(value.chars().filter_map(of_x_status)),
            _ => {}
        }
    }

    /// Its flags.
    pub(super) fn flags(&self) -> Flags {
        Flags::new(&self.letters)
    }
}

/// A letter of `Status` in those of Maildir: `R`ead.
const fn of_status(letter: char) -> Option<char> {
    match letter {
        'R' => Some('S'),
        _ => None,
    }
}

/// A letter of `X-Status` in those of Maildir: `A`nswered, `F`lagged, draf`T`, `D`eleted.
const fn of_x_status(letter: char) -> Option<char> {
    match letter {
        'A' => Some('R'),
        'F' => Some('F'),
        'T' => Some('D'),
        'D' => Some('T'),
        _ => None,
    }
}

/// The boundary that the value of a `Content-Type` names.
fn boundary(value: &[u8]) -> Option<Vec<u8>> {
    let lower = value.to_ascii_lowercase();
    let at = memchr::memmem::find(&lower, b"boundary")?;
    let rest = value.get(at.checked_add(8)?..)?.trim_ascii_start();
    let rest = rest.strip_prefix(b"=")?.trim_ascii_start();
    let text = match rest.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next()?,
        None => rest
            .split(|byte| *byte == b';' || byte.is_ascii_whitespace())
            .next()?,
    };
    (1..=200).contains(&text.len()).then(|| text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_software_wrote_is_told_from_what_is_the_messages() {
        let text = b"From: a@x\nStatus: RO\nSubject: s\n t\nX-Status: AF\nX-Keywords: b\n a\n\
            X-UID: 12\nContent-Length: 3\nContent-Type: multipart/mixed;\n boundary=\"=_x y\"\n\nabc";
        let header = Header::parse(text);
        assert!(header.is_ended && !header.is_pseudo);
        assert_eq!(text.get(header.bytes..).unwrap(), b"abc");
        assert_eq!(header.flags().letters(), "FRS");
        assert_eq!((header.uid, header.content_length), (Some(12), Some(3)));
        let keywords: Vec<&str> = header.keywords.iter().map(String::as_str).collect();
        assert_eq!(keywords, ["a", "b"]);
        assert_eq!(header.boundary.as_deref(), Some(&b"=_x y"[..]));
        let mut kept = text.to_vec();
        for range in header.hidden.iter().rev() {
            kept.drain(range.clone());
        }
        assert!(kept.starts_with(b"From: a@x\nSubject: s\n t\nContent-Type"));
    }

    #[test]
    fn a_header_without_an_end_is_all_header() {
        let header = Header::parse(b"From: a@x\r\nStatus: R");
        assert!(!header.is_ended);
        assert_eq!(header.bytes, 20);
        assert!(header.hidden.iter().eq([&(11..20)]));
    }
}
