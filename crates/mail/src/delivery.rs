//! Who a message was delivered to, by what the last server wrote above it.
//!
//! A server that takes mail in puts its own lines on top of the header (RFC 5321, section 4.4):
//! `Return-Path`, `Delivered-To` or a name of its own for that, then `Received`. So only what
//! stands above the first `Received`, and that field itself, is the last server's word. Below it
//! stand the words of earlier servers, of lists, of whoever forwarded the mail; an attached or
//! quoted message has a header of its own, which is not looked at.
//!
//! A mail system of several programs writes several `Received`: one that says that the mail came by
//! LMTP, or from the machine itself, was written behind another one of the same system.

use mail_parser::parsers::MessageStream;
use mail_parser::{Header, HeaderName, HeaderValue, Host, MessageParser, Protocol, Received};

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
    /// The last server names several recipients: which, in words.
    Split(String),
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
        let headers = message.headers();
        let top = Top::of(headers, head);
        if top.was_delivered {
            return Some(top.trace());
        }
        let from = message.from().filter(|from| from.iter().count() == 1);
        let from = from.and_then(|from| Address::parse(from.first()?.address()?));
        let domain = from.as_ref().map(Address::domain);
        // What bears the marks of servers was not kept by its author: its trace is lost. A server that
        // signs what its users send may keep it so for them.
        let is_foreign = |header: &&Header<'_>| !is_signature_of(domain, header, head);
        if headers.iter().filter(is_foreign).any(is_of_server) {
            return Some(Self::Silent);
        }
        (!headers.is_empty()).then_some(Self::From(from))
    }
}

/// The server that wrote the topmost `Received`.
pub(crate) fn server_of(content: &[u8]) -> Option<String> {
    let head = content.get(..HEAD.min(content.len()))?;
    let message = MessageParser::default().parse_headers(head)?;
    match message.received_all().next()?.by()? {
        Host::Name(name) => Some(name.to_ascii_lowercase()),
        Host::IpAddr(address) => Some(address.to_string()),
    }
}

/// What one field says of the recipient.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Address(Address),
    /// A name without a domain, or with one that only the machine itself knows.
    Local(String),
    /// Several, or something else.
    Unclear,
}

/// What the last server wrote.
#[derive(Debug, Default)]
struct Top {
    was_delivered: bool,
    delivered_to: Option<Said>,
    /// What other fields say, each once.
    others: Vec<(Field, Said)>,
    /// Whether the server is qmail.
    is_qmail: bool,
}

impl Top {
    fn of(headers: &[Header<'_>], head: &[u8]) -> Self {
        let mut top = Self::default();
        for header in headers {
            if header
                .name
                .as_str()
                .get(..7)
                .is_some_and(|name| name.eq_ignore_ascii_case("resent-"))
            {
                // Somebody sent on what had been delivered before: to them, not to whom this went.
                top.was_delivered = true;
                break;
            }
            top.was_delivered |=
                matches!(header.name, HeaderName::Received | HeaderName::ReturnPath);
            if let HeaderValue::Received(received) = &header.value {
                let raw = raw(header, head);
                top.is_qmail = raw.trim_ascii_start().starts_with(b"(qmail ");
                let for_ = for_of(received, raw).map(|address| (Field::ReceivedFor, address));
                top.others.extend(for_);
                if top.says_something() || !is_inner(received, raw) {
                    break;
                }
                continue;
            }
            if header.name == HeaderName::Received {
                break;
            }
            if let Some(field) = field_of(&header.name) {
                top.add(field, said(raw(header, head)));
            }
        }
        top
    }

    fn says_something(&self) -> bool {
        self.delivered_to.is_some() || !self.others.is_empty()
    }

    /// Adds what a field says. Of several of one name the topmost is the last server's.
    fn add(&mut self, field: Field, said: Said) {
        self.was_delivered = true;
        if field == Field::DeliveredTo {
            self.delivered_to.get_or_insert(said);
        } else if self.others.iter().all(|(known, _)| *known != field) {
            self.others.push((field, said));
        }
    }

    fn trace(self) -> Trace {
        let is_qmail = self.is_qmail;
        match self.delivered_to {
            Some(Said::Address(address)) => {
                let address = without_qmail_prefix(&address, is_qmail).unwrap_or(address);
                return Trace::To(address, Field::DeliveredTo);
            }
            Some(Said::Unclear) => return Trace::Silent,
            // The machine's own name for the mailbox: another field may say the rest of it.
            Some(Said::Local(local)) => {
                let same = |said: &Said| matches!(said, Said::Address(address) if address.local().eq_ignore_ascii_case(&local));
                if !self.others.iter().all(|(_, said)| same(said)) {
                    return Trace::Silent;
                }
            }
            None => {}
        }
        one_of(self.others)
    }
}

/// What the fields say that stand before all aliases: one address, or nothing that can be told.
fn one_of(mut said: Vec<(Field, Said)>) -> Trace {
    said.sort_by_key(|(field, _)| *field);
    let mut addresses: Vec<(Field, Address)> = Vec::new();
    for (field, said) in said {
        let Said::Address(address) = said else {
            return Trace::Silent;
        };
        let same = |(_, known): &(Field, Address)| {
            known.domain() == address.domain()
                && known.local().eq_ignore_ascii_case(address.local())
        };
        if !addresses.iter().any(same) {
            addresses.push((field, address));
        }
    }
    if addresses.len() > 1 {
        let sides = addresses.iter();
        let sides = sides.map(|(field, address)| format!("{address} in {}", field.name()));
        return Trace::Split(sides.collect::<Vec<_>>().join(" and "));
    }
    match addresses.pop() {
        Some((field, address)) => Trace::To(address, field),
        None => Trace::Silent,
    }
}

/// The field of a name in a header, if it names the recipient.
fn field_of(name: &HeaderName<'_>) -> Option<Field> {
    Some(match name.as_str().to_ascii_lowercase().as_str() {
        "delivered-to" => Field::DeliveredTo,
        "envelope-to" | "x-envelope-to" | "x-delivered-to" | "delivery-to" | "x-rcpt-to" => {
            Field::EnvelopeTo
        }
        "x-original-to" => Field::OriginalTo,
        _ => return None,
    })
}

/// Whether only a server writes such a field.
fn is_of_server(header: &Header<'_>) -> bool {
    let name = header.name.as_str().to_ascii_lowercase();
    let beginnings = ["arc-", "x-spam-", "x-virus-", "x-mailman-"];
    let names = [
        "authentication-results",
        "dkim-signature",
        "domainkey-signature",
        "list-id",
        "list-post",
        "received-spf",
        "x-received",
    ];
    names.contains(&name.as_str())
        || beginnings
            .iter()
            .any(|beginning| name.starts_with(beginning))
        || field_of(&header.name).is_some()
}

/// Whether a field is the DKIM signature (RFC 6376, section 3.5) of `domain` itself.
fn is_signature_of(domain: Option<&str>, header: &Header<'_>, head: &[u8]) -> bool {
    let Some(domain) =
        domain.filter(|_| header.name.as_str().eq_ignore_ascii_case("dkim-signature"))
    else {
        return false;
    };
    let value = String::from_utf8_lossy(raw(header, head));
    let mut signers = value
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .filter(|(name, _)| name.trim() == "d");
    let first = signers.next();
    first.is_some_and(|(_, signer)| signer.trim().eq_ignore_ascii_case(domain))
        && signers.next().is_none()
}

/// The bytes of a field behind its name.
fn raw<'h>(header: &Header<'_>, head: &'h [u8]) -> &'h [u8] {
    let from = usize::try_from(header.offset_start).unwrap_or(usize::MAX);
    let to = usize::try_from(header.offset_end).unwrap_or(usize::MAX);
    head.get(from..to).unwrap_or_default()
}

/// The recipient in a field: one address, with comments, in angle brackets, or folded.
fn said(raw: &[u8]) -> Said {
    // The parser wants to see where the field ends.
    let mut text = raw.trim_ascii().to_vec();
    text.extend_from_slice(b"\r\n\r\n");
    let HeaderValue::Address(list) = MessageStream::new(&text).parse_address() else {
        return Said::Unclear;
    };
    let is_named_group = list.as_group().is_some_and(|groups| {
        let mut names = groups.iter().filter_map(|group| group.name.as_deref());
        // `@relay.example:ada@x.example` is a source route (RFC 5321, appendix C).
        names.any(|name| !name.starts_with('@'))
    });
    let mut one: Option<Said> = None;
    for found in list.iter() {
        let said = match (found.name(), found.address()) {
            // A quoted local part outside of angle brackets.
            (Some(name), Some(address)) if address.starts_with('@') && !raw.contains(&b'<') => {
                said_text(&format!("{name}{address}"))
            }
            (_, Some(address)) => said_text(address),
            (Some(name), None) => said_text(name),
            (None, None) => Said::Unclear,
        };
        if one.as_ref().is_some_and(|known| *known != said) {
            return Said::Unclear;
        }
        one = Some(said);
    }
    one.filter(|_| !is_named_group).unwrap_or(Said::Unclear)
}

fn said_text(text: &str) -> Said {
    // A source route leads to the address behind the colon.
    let route = text.strip_prefix('@').and_then(|rest| rest.split_once(':'));
    let text = route.map_or(text, |(_, address)| address);
    if let Some(address) = Address::parse(text) {
        return Said::Address(address);
    }
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    if !local.is_empty() && is_plain(local) && is_plain(domain) && !domain.contains('.') {
        return Said::Local(local.to_owned());
    }
    Said::Unclear
}

/// The only recipient that a `Received` names.
fn for_of(received: &Received<'_>, raw: &[u8]) -> Option<Said> {
    let address = received.for_.as_deref()?;
    let text = String::from_utf8_lossy(raw);
    let (_, behind) = text.rsplit_once(address)?;
    let is_one = !behind.trim_start_matches('>').trim_start().starts_with(',');
    match said_text(address) {
        Said::Address(address) if is_one => Some(Said::Address(address)),
        _ => None,
    }
}

/// Whether a `Received` was written behind another one of the same mail system: the mail came by
/// LMTP, which is no way into a system, or from the machine itself.
fn is_inner(received: &Received<'_>, raw: &[u8]) -> bool {
    if matches!(
        received.with,
        Some(Protocol::LMTP | Protocol::LMTPA | Protocol::LMTPS | Protocol::LMTPSA)
    ) {
        return true;
    }
    // The sender chooses the name that it gives to itself, which may look like an address.
    let text = String::from_utf8_lossy(raw).to_ascii_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    let from = words.iter().take_while(|word| **word != "by");
    let mut addresses = from
        .flat_map(|word| word.split(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.'))
        .map(|word| word.trim_matches('.'))
        .filter_map(|word| word.parse::<std::net::IpAddr>().ok())
        .peekable();
    addresses.peek().is_some() && addresses.all(|address| address.is_loopback())
}

/// An address without what qmail puts before it: the domain (qmail-send(8), "virtualdomains"), or in
/// Plesk the number of the domain.
fn without_qmail_prefix(address: &Address, is_qmail: bool) -> Option<Address> {
    let (prefix, local) = if let Some(local) = address.local().strip_prefix(address.domain()) {
        ("", local.strip_prefix('-')?)
    } else {
        address.local().split_once('-')?
    };
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (is_qmail || prefix.is_empty())).then_some(())?;
    Address::new(local, address.domain())
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
