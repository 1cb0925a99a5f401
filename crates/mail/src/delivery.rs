//! Who a message was delivered to, by what the last server wrote above it.
//!
//! A server that takes mail in puts its own lines on top of the header (RFC 5321, section 4.4):
//! `Return-Path`, `Delivered-To` or a name of its own for that, then `Received`. So only what
//! stands above the first `Received`, and that field itself, is the last server's word. Below it
//! stand the words of earlier servers, of lists, of whoever forwarded the mail; an attached or
//! quoted message has a header of its own, which is not looked at.

use mail_parser::{Header, HeaderName, HeaderValue, MessageParser};

use crate::Address;

/// Headers are looked for in so many bytes.
const HEAD: usize = 64 << 10;

/// Which field names the recipient; the first is the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `Delivered-To`: whose mailbox it was put into, after all aliases.
    DeliveredTo,
    /// `Envelope-To`, `X-Envelope-To` or `Delivery-To`: the recipient of the envelope.
    EnvelopeTo,
    /// `X-Original-To`: the recipient before aliases.
    OriginalTo,
    /// `Received … for <>`.
    ReceivedFor,
}

impl Field {
    /// As it stands in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeliveredTo => "Delivered-To",
            Self::EnvelopeTo => "Envelope-To",
            Self::OriginalTo => "X-Original-To",
            Self::ReceivedFor => "Received … for",
        }
    }
}

/// What a message's own header says of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It was delivered to this address.
    To(Address, Field),
    /// It was delivered by a server that does not say to whom.
    Silent,
    /// No server delivered it, as mail that its owner wrote: by whom it says it is.
    From(Option<Address>),
}

impl Trace {
    /// The trace in the header of a message; `None` if there is no header.
    pub fn of(content: &[u8]) -> Option<Self> {
        let head = content.get(..HEAD.min(content.len()))?;
        let message = MessageParser::default().parse_headers(head)?;
        let mut best: Option<(Field, Address)> = None;
        let mut delivered = false;
        for header in message.headers() {
            let is_received = header.name == HeaderName::Received;
            delivered |= is_received || matches!(header.name, HeaderName::ReturnPath);
            if let Some((field, address)) = recipient(header, head) {
                delivered = true;
                if best.as_ref().is_none_or(|(known, _)| field < *known) {
                    best = Some((field, address));
                }
            }
            if is_received {
                break;
            }
        }
        if let Some((field, address)) = best {
            return Some(Self::To(address, field));
        }
        if delivered {
            return Some(Self::Silent);
        }
        let from = message.from().filter(|from| from.iter().count() == 1);
        let from = from.and_then(|from| Address::parse(from.first()?.address()?));
        (!message.headers().is_empty()).then_some(Self::From(from))
    }
}

/// The recipient that a field names.
fn recipient(header: &Header<'_>, head: &[u8]) -> Option<(Field, Address)> {
    let field = match &header.name {
        HeaderName::DeliveredTo => Field::DeliveredTo,
        HeaderName::Received => {
            let HeaderValue::Received(received) = &header.value else {
                return None;
            };
            let address = received.for_.as_deref()?;
            return Some((Field::ReceivedFor, parse(address)?));
        }
        HeaderName::Other(name) => match name.to_ascii_lowercase().as_str() {
            "delivered-to" => Field::DeliveredTo,
            "envelope-to" | "x-envelope-to" | "delivery-to" => Field::EnvelopeTo,
            "x-original-to" => Field::OriginalTo,
            _ => return None,
        },
        _ => return None,
    };
    let from = usize::try_from(header.offset_start).ok()?;
    let to = usize::try_from(header.offset_end).ok()?;
    let value = std::str::from_utf8(head.get(from..to)?).ok()?;
    Some((field, parse(value)?))
}

/// One address, alone or in angle brackets.
fn parse(text: &str) -> Option<Address> {
    let text = text.trim();
    let text = text.strip_prefix('<').unwrap_or(text);
    Address::parse(text.strip_suffix('>').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(header: &str) -> Option<(String, &'static str)> {
        match Trace::of(header.as_bytes())? {
            Trace::To(address, field) => Some((address.to_string(), field.name())),
            _ => None,
        }
    }

    #[test]
    fn the_last_server_says_to_whom() {
        let table = [
            (
                "Delivered-To: ada@x.example\nFrom: b@y.example\n\n",
                Some(("ada@x.example", "Delivered-To")),
            ),
            (
                "Return-Path: <b@y.example>\nX-Original-To: info@x.example\nDelivered-To: ada@X.example\n\
                 Received: from y by x for <info@x.example>; Mon, 1 Jan 2024 00:00:00 +0000\n\n",
                Some(("ada@x.example", "Delivered-To")),
            ),
            (
                "Received: from y.example (y.example [192.0.2.1]) by x.example (Postfix) with ESMTP id 1\n\
                 \tfor <ada@x.example>; Mon, 1 Jan 2024 00:00:00 +0000\nDelivered-To: list@y.example\n\n",
                Some(("ada@x.example", "Received … for")),
            ),
            (
                "Envelope-to: <ada@x.example>\nReceived: from y by x; Mon, 1 Jan 2024 00:00:00 +0000\n\n",
                Some(("ada@x.example", "Envelope-To")),
            ),
            (
                "Delivered-To: mailing list l@y.example\nFrom: b@y.example\n\n",
                None,
            ),
        ];
        for (header, want) in table {
            let want = want.map(|(address, field)| (address.to_owned(), field));
            assert_eq!(to(header), want, "{header}");
        }
    }

    #[test]
    fn what_an_earlier_server_or_an_attached_message_says_is_not_believed() {
        let relayed = "Received: from list by x.example; Mon, 1 Jan 2024 00:00:00 +0000\n\
            Delivered-To: somebody@elsewhere.example\nFrom: b@y.example\n\n";
        assert_eq!(Trace::of(relayed.as_bytes()), Some(Trace::Silent));
        let forwarded =
            "From: Ada <ada@x.example>\nSubject: fw\n\nDelivered-To: bob@y.example\n\nx\n";
        let ada = Address::parse("ada@x.example");
        assert_eq!(Trace::of(forwarded.as_bytes()), Some(Trace::From(ada)));
        assert_eq!(
            Trace::of(b"From: a@x.example, b@x.example\n\n"),
            Some(Trace::From(None))
        );
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..800)) {
            let _ = Trace::of(&bytes);
            let mut mail = b"Received: from a for <".to_vec();
            mail.extend(bytes);
            let _ = Trace::of(&mail);
        }
    }
}
