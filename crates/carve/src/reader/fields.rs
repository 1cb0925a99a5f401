//! Header fields, of messages and of their parts.

use super::body::{Encoding, Part};
use super::{Flaw, Level, MOST_LEVELS, MOST_SIGNATURES, Reader, Stage};
use crate::dkim::{BodyHash, BodySignature};
use mail::header::{field, is_from_line};

/// Fields are kept up to this length; longer ones say nothing that is needed.
const MOST_FIELD: usize = 16 << 10;

/// Fields that a header has once (RFC 5322, section 3.6; RFC 2045, section 3).
pub(super) const ONCE: [&[u8]; 12] = [
    b"date",
    b"from",
    b"sender",
    b"to",
    b"cc",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"subject",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
];

impl Reader {
    pub(super) fn header_line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.end_field();
            self.begin_body();
            return;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if self.field.len() < MOST_FIELD {
                self.field.extend_from_slice(line);
            }
            return;
        }
        self.end_field();
        let is_top = self.body_start.is_none();
        if field(line).is_some() {
            self.field.extend_from_slice(line);
        } else if !(is_top && is_from_line(line)) {
            // A part may have no header at all, and go on without an empty line.
            if !is_top && self.is_boundary(line) {
                self.begin_body();
                self.body_line(line);
                return;
            }
            self.flaw(Flaw::HeaderLine);
        }
    }

    /// Takes what a field says, now that it is known to have ended.
    fn end_field(&mut self) {
        let text = std::mem::take(&mut self.field);
        let Some((name, value)) = field(&text) else {
            return;
        };
        let is_top = self.body_start.is_none();
        let name = name.to_ascii_lowercase();
        if is_top {
            self.fields = self.fields.saturating_add(1);
            let once = ONCE.iter().position(|once| **once == name);
            let bit = once.map_or(0, |place| 1 << place);
            if self.once_before & bit != 0 {
                self.flaw(Flaw::Repeated);
            }
            self.once |= bit;
        }
        match name.as_slice() {
            b"content-type" => self.part.content_type(value),
            b"content-transfer-encoding" => self.part.encoding = Encoding::of(value),
            b"dkim-signature" | b"arc-message-signature"
                if is_top && self.hashes.len() < MOST_SIGNATURES =>
            {
                let hash = BodySignature::parse(value).map(BodyHash::new);
                let end = self.line_start;
                self.hashes.extend(hash.map(|hash| (end, hash)));
            }
            b"list-id" | b"list-post" | b"mailing-list" | b"x-mailman-version" => {
                self.is_from_list |= is_top;
            }
            _ => {}
        }
    }

    /// The header has ended.
    fn begin_body(&mut self) {
        self.body_start.get_or_insert(self.at);
        self.stage = Stage::Body;
        if let Some(boundary) = self.part.boundary.take() {
            self.is_multipart |= self.levels.is_empty() && self.closed.is_none();
            if self.levels.len() < MOST_LEVELS {
                let begun = self.at;
                self.levels.push(Level { boundary, begun });
            }
            self.part = Part::default();
        } else if self.part.is_message {
            self.part = Part::default();
            self.stage = Stage::Header;
            self.message_due = Some(self.at);
        }
    }
}
