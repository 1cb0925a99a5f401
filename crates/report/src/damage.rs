//! What is wrong with a message, in words: the one place that says it, for pages, tables and the
//! terminal.

use mail::Message;
use mail::broken::{BrokenPart, PartKind};

use crate::words::{bytes, number};

/// What is wrong with a message, in words: the parts that are not whole, what contradicts itself,
/// and which bytes are missing, why.
pub fn reasons(message: &Message) -> Vec<String> {
    let parts = message.broken_parts.iter().map(part);
    let contradictions = message.contradictions.iter().cloned();
    let holes = message.holes.iter().map(|hole| {
        let last = hole.start.saturating_add(hole.bytes).saturating_sub(1);
        format!(
            "bytes {} to {} are missing: {}",
            number(hole.start),
            number(last),
            hole.why.describe()
        )
    });
    parts.chain(contradictions).chain(holes).collect()
}

/// What is wrong with a part.
pub(crate) fn part(part: &BrokenPart) -> String {
    let what = called(part);
    let mut said = Vec::new();
    let whole = part.missing == part.bytes && part.bytes > 0;
    match (part.missing, whole) {
        (0, _) => {}
        (_, true) => said.push(format!("{what} is missing altogether")),
        (missing, false) => said.push(format!("{} of {what} are missing", bytes(missing))),
    }
    if part.doubtful > 0 {
        said.push(format!(
            "{} of {what} may be something else",
            bytes(part.doubtful)
        ));
    }
    if part.ends_early {
        said.push(format!(
            "it breaks off in {what}: the rest of it, and all that came after it, is missing"
        ));
    }
    said.join("; ")
}

/// A part as its owner would call it.
fn called(part: &BrokenPart) -> String {
    let detail = || {
        let media = part.media.iter().cloned();
        media
            .chain([bytes(part.bytes)])
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (part.what, &part.name) {
        (PartKind::Header, _) => "its header".to_owned(),
        (PartKind::Text, _) => "its text".to_owned(),
        (PartKind::Html, _) => "its text as HTML".to_owned(),
        (PartKind::Attachment, Some(name)) => format!("the attachment “{name}” ({})", detail()),
        (PartKind::Attachment, None) => format!("an attachment ({})", detail()),
        (PartKind::Message, Some(name)) => format!("the attached message “{name}”"),
        (PartKind::Message, None) => "an attached message".to_owned(),
        (PartKind::Between, _) => "what stands between its parts".to_owned(),
    }
}

/// What a reader misses of a message, as short as it can be said; `None` if nothing names a part.
pub(crate) fn misses(parts: &[BrokenPart]) -> Option<&'static str> {
    let has = |kinds: &[PartKind]| parts.iter().any(|part| kinds.contains(&part.what));
    let header = has(&[PartKind::Header]);
    let text = has(&[PartKind::Text, PartKind::Html]);
    let attachment = has(&[PartKind::Attachment, PartKind::Message]);
    match (header, text, attachment) {
        (true, _, _) => Some("the header is not whole: sender, date or subject may be missing"),
        (false, true, true) => Some("neither the text nor all attachments are whole"),
        (false, true, false) => Some("the text is not whole"),
        (false, false, true) => Some("the text is whole, and an attachment is not"),
        (false, false, false) if parts.is_empty() => None,
        (false, false, false) => Some("nothing that a mail program shows is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(what: PartKind, name: Option<&str>, missing: u64) -> BrokenPart {
        BrokenPart {
            what,
            name: name.map(str::to_owned),
            media: name.map(|_| "application/pdf".to_owned()),
            start: 100,
            bytes: 20_480,
            missing,
            doubtful: 0,
            ends_early: false,
        }
    }

    #[test]
    fn a_part_is_called_as_its_owner_calls_it() {
        let pdf = broken(PartKind::Attachment, Some("Angebot.pdf"), 4096);
        assert_eq!(
            part(&pdf),
            "4.0\u{a0}kB of the attachment “Angebot.pdf” (application/pdf, 20.4\u{a0}kB) are missing"
        );
        assert_eq!(
            part(&broken(PartKind::Text, None, 20_480)),
            "its text is missing altogether"
        );
        let early = BrokenPart {
            ends_early: true,
            ..broken(PartKind::Message, None, 0)
        };
        assert!(part(&early).starts_with("it breaks off in an attached message"));
    }

    #[test]
    fn what_is_missed_is_the_worst_of_the_parts() {
        let text = broken(PartKind::Html, None, 1);
        let file = broken(PartKind::Attachment, None, 1);
        let header = broken(PartKind::Header, None, 1);
        assert_eq!(misses(&[]), None);
        assert_eq!(
            misses(std::slice::from_ref(&file)),
            Some("the text is whole, and an attachment is not")
        );
        assert_eq!(
            misses(&[text.clone(), file.clone()]),
            Some("neither the text nor all attachments are whole")
        );
        assert!(misses(&[file, header]).is_some_and(|words| words.contains("header")));
    }
}
