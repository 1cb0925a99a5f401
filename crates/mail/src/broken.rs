//! Which parts of a damaged message the damage falls into: what its owner wants to know of it.
//!
//! Parts are those of MIME (RFC 2045, RFC 2046) as the parser finds them in what is left. Where a hole
//! took the line between two parts, both are one part to it, so that what is said to be broken is; of
//! what is not named nothing is missing that the message still speaks of.

use std::ops::Range;

use mail_parser::{MessageParser, MessagePart, MimeHeaders, PartType};
use serde::{Deserialize, Serialize};

use crate::proof::{Hole, HoleCause};
use crate::record::cut;
use crate::structure::is_closed;

/// Parts listed of one message; one of ten thousand is no attachment that somebody misses.
const MOST: usize = 50;

/// A part of a message that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenPart {
    /// What it is.
    pub what: PartKind,
    /// The name of the file that is attached, or the subject of the message that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type, where it says one: `application/pdf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// Where in the message it begins, in bytes.
    pub start: u64,
    /// How long it is in the message, in bytes, in the encoding that it was sent in.
    pub bytes: u64,
    /// How many of these bytes are missing.
    #[serde(default, skip_serializing_if = "is_none")]
    pub missing: u64,
    /// How many of these bytes may be others than were stored.
    #[serde(default, skip_serializing_if = "is_none")]
    pub doubtful: u64,
    /// Whether the message breaks off in it: its end, and what came after it, is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_early: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What a part of a message is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// The header of the message: who sent it, when, to whom, its subject.
    Header,
    /// Its text.
    Text,
    /// Its text as HTML.
    Html,
    /// A file that came with it, shown in the text or not.
    Attachment,
    /// A message that is attached.
    Message,
    /// What stands between the parts, which no mail program shows.
    Between,
}

/// A part while the holes are laid over it.
struct Section<'a> {
    range: Range<u64>,
    what: PartKind,
    part: Option<&'a MessagePart<'a>>,
}

impl BrokenPart {
    /// The parts of `content` that `holes` fall into, which are ranges of it; in the order of the
    /// message. If `breaks_off`, it ends before its end.
    pub(crate) fn of(content: &[u8], holes: &[Hole], breaks_off: bool) -> Vec<Self> {
        let Some(message) = MessageParser::default().parse(content) else {
            return Vec::new();
        };
        let length = content.len() as u64;
        let sections = sections(&message.parts, length);
        let root_is_open = message.parts.first().is_some_and(|root| {
            matches!(root.body, PartType::Multipart(_)) && !is_closed(root, content)
        });
        let breaks_off = breaks_off
            || (holes.is_empty() && root_is_open)
            || holes.iter().any(|hole| end(hole) > length);
        let last = sections
            .iter()
            .rposition(|section| section.what != PartKind::Between);
        let broken = sections.iter().enumerate().filter_map(|(index, section)| {
            let (mut missing, mut doubtful) = (0_u64, 0_u64);
            for hole in holes {
                let start = hole.start.max(section.range.start);
                let common = end(hole).min(section.range.end).saturating_sub(start);
                let sum = match hole.why {
                    HoleCause::Suspect => &mut doubtful,
                    _ => &mut missing,
                };
                *sum = sum.saturating_add(common);
            }
            let ends_early = breaks_off && last == Some(index);
            (missing > 0 || doubtful > 0 || ends_early).then(|| {
                let bytes = section.range.end.saturating_sub(section.range.start);
                Self {
                    what: section.what,
                    name: section.part.and_then(name),
                    media: section.part.and_then(media),
                    start: section.range.start,
                    bytes,
                    // Holes may overlap.
                    missing: missing.min(bytes),
                    doubtful: doubtful.min(bytes),
                    ends_early,
                }
            })
        });
        broken.take(MOST).collect()
    }
}

const fn end(hole: &Hole) -> u64 {
    hole.start.saturating_add(hole.bytes)
}

/// The sections of a message without gaps between them, in their order.
fn sections<'a>(parts: &'a [MessagePart<'a>], length: u64) -> Vec<Section<'a>> {
    let mut sections = Vec::new();
    let mut at = 0_u64;
    let mut push = |to: u64, what, part| {
        let to = to.min(length);
        if to > at {
            let range = at..to;
            sections.push(Section { range, what, part });
            at = to;
        }
    };
    for (index, part) in parts.iter().enumerate() {
        let (header, body) = (u64::from(part.offset_header), u64::from(part.offset_body));
        if index == 0 {
            push(body, PartKind::Header, None);
        }
        if let Some(what) = kind(part) {
            push(header, PartKind::Between, None);
            push(u64::from(part.offset_end), what, Some(part));
        }
    }
    push(length, PartKind::Between, None);
    sections
}

/// What a part is; `None` for one that is made of others.
fn kind(part: &MessagePart<'_>) -> Option<PartKind> {
    let is_file = part.attachment_name().is_some()
        || part
            .content_disposition()
            .is_some_and(mail_parser::ContentType::is_attachment);
    match &part.body {
        PartType::Multipart(_) => None,
        PartType::Message(_) => Some(PartKind::Message),
        PartType::Text(_) if !is_file => Some(PartKind::Text),
        PartType::Html(_) if !is_file => Some(PartKind::Html),
        _ => Some(PartKind::Attachment),
    }
}

/// What a reader knows the part by.
fn name(part: &MessagePart<'_>) -> Option<String> {
    let name = match &part.body {
        PartType::Message(message) => message.subject(),
        _ => part.attachment_name(),
    };
    name.map(cut).filter(|name| !name.is_empty())
}

/// The media type that a part says.
fn media(part: &MessagePart<'_>) -> Option<String> {
    let said = part.content_type()?;
    let kind = match said.subtype() {
        Some(subtype) => format!("{}/{subtype}", said.ctype()),
        None => said.ctype().to_owned(),
    };
    Some(cut(&kind.to_ascii_lowercase())).filter(|kind| !kind.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with text, HTML, a PDF and a message, and where each of some words stands.
    fn letter() -> String {
        let lines = format!("{}\n", "QUJD".repeat(19)).repeat(40);
        format!(
            "From: a@b.example\nSubject: offer\nContent-Type: multipart/mixed; boundary=m\n\n\
             nobody reads this\n\
             --m\nContent-Type: multipart/alternative; boundary=a\n\n\
             --a\nContent-Type: text/plain\n\nplain words\n\
             --a\nContent-Type: text/html\n\n<p>marked words</p>\n--a--\n\
             --m\nContent-Type: application/pdf; name=\"Angebot 7.pdf\"\n\
             Content-Transfer-Encoding: base64\n\n{lines}UERG\n\
             --m\nContent-Type: message/rfc822\n\n\
             From: c@d.example\nSubject: forwarded\n\ninner words\n\
             --m--\n"
        )
    }

    fn hole(text: &str, word: &str, bytes: u64) -> Hole {
        Hole {
            start: text.find(word).unwrap() as u64,
            bytes,
            why: HoleCause::Wiped,
        }
    }

    /// What is broken, by kind, name and missing bytes.
    fn broken(text: &str, holes: &[Hole]) -> Vec<(PartKind, Option<String>, u64)> {
        let parts = BrokenPart::of(text.as_bytes(), holes, false);
        let parts = parts.into_iter();
        parts
            .map(|part| (part.what, part.name, part.missing))
            .collect()
    }

    #[test]
    fn a_hole_is_told_by_the_part_that_it_falls_into() {
        let text = letter();
        for (word, what, name) in [
            ("offer", PartKind::Header, None),
            ("plain words", PartKind::Text, None),
            ("marked", PartKind::Html, None),
            ("QUJD", PartKind::Attachment, Some("Angebot 7.pdf")),
            ("inner", PartKind::Message, Some("forwarded")),
            ("nobody", PartKind::Between, None),
        ] {
            let got = broken(&text, &[hole(&text, word, 5)]);
            assert_eq!(got, [(what, name.map(str::to_owned), 5)], "{word}");
        }
    }

    #[test]
    fn one_hole_may_fall_into_several_parts() {
        let text = letter();
        let start = hole(&text, "plain", 0).start;
        let long = Hole {
            start,
            bytes: text.find("marked").unwrap() as u64 - start,
            why: HoleCause::Wiped,
        };
        let kinds: Vec<PartKind> = broken(&text, &[long]).iter().map(|part| part.0).collect();
        assert!(kinds.starts_with(&[PartKind::Text]), "{kinds:?}");
        assert!(kinds.contains(&PartKind::Html), "{kinds:?}");
        assert!(!kinds.contains(&PartKind::Attachment), "{kinds:?}");
    }

    #[test]
    fn a_message_that_breaks_off_names_the_part_that_it_breaks_off_in() {
        let text = letter();
        let cut = text.find("QUJD").unwrap() + 500;
        let parts = BrokenPart::of(&text.as_bytes()[..cut], &[], false);
        let [part] = parts.as_slice() else {
            panic!("{parts:?}");
        };
        assert_eq!(part.what, PartKind::Attachment);
        assert_eq!(part.media.as_deref(), Some("application/pdf"));
        assert!(part.ends_early && part.missing == 0);
        assert_eq!(BrokenPart::of(text.as_bytes(), &[], false), []);
    }

    #[test]
    fn what_is_in_doubt_is_not_missing() {
        let text = letter();
        let hole = Hole {
            why: HoleCause::Suspect,
            ..hole(&text, "plain words", 5)
        };
        let parts = BrokenPart::of(text.as_bytes(), &[hole], false);
        assert_eq!((parts[0].missing, parts[0].doubtful), (0, 5));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000),
            start in proptest::num::u64::ANY,
            length in proptest::num::u64::ANY,
        ) {
            let hole = Hole { start, bytes: length, why: HoleCause::Wiped };
            let _ = BrokenPart::of(&bytes, std::slice::from_ref(&hole), true);
            let mut mail = b"From: a@b.example\nContent-Type: multipart/mixed; boundary=x\n\n--x\n".to_vec();
            mail.extend(&bytes);
            for part in BrokenPart::of(&mail, &[hole], false) {
                proptest::prop_assert!(part.start + part.bytes <= mail.len() as u64);
            }
        }
    }
}
