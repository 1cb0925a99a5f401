//! Where a message begins: a header block, recognised by its syntax (RFC 5322, section 2.2) and by
//! values that only mail has, with a few wrong bits allowed in the names.

/// So much of a header block is looked at, in bytes.
pub const REACH: usize = 16 << 10;
/// Where a disk may go on with something else.
const SECTOR: usize = 512;
/// A header whose lines are longer is not told apart from any other text.
const MOST_NAME: usize = 76;
/// Names have at least so many letters: `To` and `Cc` are the shortest.
const LEAST_NAME: usize = 2;
/// A header that does not end has at least so many fields, for two facts to be enough.
const LEAST_FIELDS: u64 = 3;
/// So many different facts show a header that no empty line ends.
const LEAST_UNPARTED: u32 = 4;
/// Wrong bits in a field name that is still taken for the one that it resembles.
const WRONG_BITS: u32 = 2;

/// What stands before the boundary of a multipart message, in lower case.
const BOUNDARY: &[u8] = b"boundary=";

/// What a field proves if its value is of the right form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fact {
    From = 0,
    Address = 1,
    Trace = 2,
    Date = 3,
    MessageId = 4,
    Received = 5,
    Subject = 6,
    Mime = 7,
    Signature = 8,
    /// The boundary that it names stands behind it.
    Parts = 9,
}

/// Fields that are looked for, and what each proves.
const FIELDS: [(&[u8], Fact); 20] = [
    (b"from", Fact::From),
    (b"sender", Fact::Address),
    (b"to", Fact::Address),
    (b"cc", Fact::Address),
    (b"reply-to", Fact::Address),
    (b"return-path", Fact::Trace),
    (b"delivered-to", Fact::Trace),
    (b"x-original-to", Fact::Trace),
    (b"envelope-to", Fact::Trace),
    (b"date", Fact::Date),
    (b"message-id", Fact::MessageId),
    (b"received", Fact::Received),
    (b"subject", Fact::Subject),
    (b"mime-version", Fact::Mime),
    (b"content-type", Fact::Mime),
    (b"dkim-signature", Fact::Signature),
    (b"arc-seal", Fact::Signature),
    (b"arc-message-signature", Fact::Signature),
    (b"authentication-results", Fact::Signature),
    (b"received-spf", Fact::Signature),
];

/// Names whose ends look like names of fields themselves.
const LONG: [&[u8]; 12] = [
    b"user-agent",
    b"in-reply-to",
    b"references",
    b"x-mailer",
    b"content-type",
    b"content-transfer-encoding",
    b"content-disposition",
    b"list-unsubscribe",
    b"list-id",
    b"domainkey-signature",
    b"errors-to",
    b"disposition-notification-to",
];

/// A header block that was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// How many fields were seen.
    pub fields: u64,
    /// The bytes up to and with the empty line, if that was seen.
    pub bytes: Option<u64>,
    /// The bytes that are a header: as many, or up to where it breaks off.
    pub seen: u64,
    /// Where the first line begins whose value is one that mail has.
    pub first_fact: u64,
}

/// The header block of a message, if `bytes` begin with one. They may end anywhere in it; at most
/// [`REACH`] of them are looked at.
///
/// Three different facts, or two in a block that ends or is long: a sender with an address, a date, a trace
/// of a server, an identifier, the boundary of its parts behind it. One line may be broken by a wrong bit; the first only if it is
/// nearly a field that is known, for else it may be the rest of a line. Templates, source code and
/// texts about mail have the names, but seldom the values, and not from the first byte on. Where the
/// syntax breaks across the border of a sector, what was seen before it decides: the rest of the
/// file may lie elsewhere. Four facts, one of them of a delivery, are enough for a header that text follows
/// without an empty line.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..REACH.min(bytes.len())).unwrap_or_default();
    let mut seen = Seen::default();
    let mut rest = bytes;
    // Where the text begins that an empty line does not part from the header, if that is one.
    let mut unparted = None;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let start = bytes.len().saturating_sub(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            let length = bytes.len().saturating_sub(rest.len());
            let block = bytes.get(..length).unwrap_or_default();
            seen.facts |= u16::from(begins_part(block, rest)) << Fact::Parts as u16;
            return seen.header(Some(length as u64), length as u64);
        }
        let was_sound = seen.broken == 0;
        if !is_from_line(line) && !seen.line(line, start as u64) {
            let stop = start.saturating_add(end);
            let crosses = start.next_multiple_of(SECTOR) <= stop;
            return seen
                .header(None, start as u64)
                .filter(|_| crosses && start > 0)
                .or_else(|| unparted.filter(|_| is_text(line)));
        }
        if was_sound && seen.broken > 0 && is_text(line) {
            unparted = seen.is_delivered().then_some(Header {
                bytes: Some(start as u64),
                seen: start as u64,
                fields: seen.fields,
                first_fact: seen.first_fact,
            });
        }
    }
    seen.header(None, bytes.len() as u64)
}

/// Whether the boundary that a header block names begins a part in the `body` behind it (RFC 2046, section
/// 5.1.1).
fn begins_part(block: &[u8], body: &[u8]) -> bool {
    let lower = block.to_ascii_lowercase();
    let Some(at) = memchr::memmem::find(&lower, BOUNDARY) else {
        return false;
    };
    let value = block.get(at.saturating_add(BOUNDARY.len())..);
    let value = value.unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b'"' | b';' | b'\r' | b'\n');
    let own = value.strip_prefix(b"\"").unwrap_or(value);
    let length = own.iter().position(ends).unwrap_or(own.len());
    let boundary = own.get(..length).unwrap_or_default().trim_ascii_end();
    let line = [b"\n--", boundary].concat();
    let is_first = body
        .strip_prefix(b"--")
        .is_some_and(|rest| rest.starts_with(boundary));
    !boundary.is_empty() && (is_first || memchr::memmem::find(body, &line).is_some())
}

/// Whether a line is what mbox files put above a message, and some deliveries leave in its header.
pub fn is_from_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// Whether a line has no control characters.
fn is_text(line: &[u8]) -> bool {
    line.iter().all(|byte| *byte >= b' ' || *byte == b'\t')
}

/// The names of fields that are known, in lower case.
fn known() -> impl Iterator<Item = &'static [u8]> {
    FIELDS.iter().map(|(known, _)| *known).chain(LONG)
}

/// Whether a name is that of a field that is known.
fn is_known(name: &[u8]) -> bool {
    known().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a message, by its first line, may have lost what stood before it: it seems to be the
/// rest of a line. It is no field, or one in a list of their names, or its name is the end of a longer one, or too short, or begins
/// as no name does, or in lower case where the next does not, or is one word with several capital and
/// small letters, as where parity has the start of a known name and something else.
pub fn may_lack_its_top(message: &[u8]) -> bool {
    let mut lines = message.split(|byte| *byte == b'\n');
    let Some((name, value)) = lines.next().and_then(field) else {
        return true;
    };
    let lower = name.to_ascii_lowercase();
    // As in `h=` of a signature (RFC 6376, section 3.5).
    let mut listed = value.split(|byte| matches!(byte, b':' | b';'));
    let is_list = listed.next().is_some_and(is_known) && listed.next().is_some();
    if is_known(name) {
        return is_list;
    }
    let next = lines.find(|line| !matches!(line.first(), Some(b' ' | b'\t')));
    let next_is_capital = next.is_some_and(|next| next.first().is_some_and(u8::is_ascii_uppercase));
    let first = name.first().copied().unwrap_or_default();
    let is_end = known().any(|known| known.ends_with(&lower));
    let capitals = name
        .windows(2)
        .any(|two| two.iter().all(u8::is_ascii_uppercase));
    let is_mixed = capitals && !name.contains(&b'-') && name.iter().any(u8::is_ascii_lowercase);
    name.len() < 3
        || !first.is_ascii_alphabetic()
        || is_end
        || is_mixed
        || first.is_ascii_lowercase() && next_is_capital
}

/// Whether the header that `text` begins with can't go on with the `line` before it: in a name begins another
/// that is known, or `X-`; in a value one that is known, with a value of its own that mail has, or `X-`, but in a
/// subject or a list of names.
pub fn begins_anew(line: &[u8], text: &[u8], header: &Header) -> bool {
    let Some((name, value)) = field(text).filter(|_| !line.is_empty()) else {
        return false;
    };
    let is_field = matches!(value.first(), Some(b' ' | b'\t'));
    let may_be_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if line.iter().all(may_be_name) {
        let is_whole = is_field && is_known(name) && header.first_fact == 0;
        let begins = is_whole && !line.starts_with(b"X-")
            || name.starts_with(b"X-") && !line.contains(&b'-');
        return begins && !line.ends_with(b"-") && !is_known(&[line, name].concat());
    }
    let in_subject = line
        .get(..8)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"subject:"));
    let is_listed = field(value.trim_ascii_start()).is_some_and(|(name, _)| is_known(name));
    let is_own = name.starts_with(b"X-") && !in_subject && !is_listed;
    is_field && (is_known(name) && header.first_fact == 0 || is_own)
}

/// Where the field begins in the first line of `text`, if other bytes stand before it that belong to something
/// else: where the longest name begins that is known, else the longest that could be one.
pub fn begin_of_field(text: &[u8]) -> Option<usize> {
    let line = text.split(|byte| *byte == b'\n').next()?;
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?;
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let other = name.iter().rposition(|byte| !is_letter(byte));
    let letters = other.map_or(0, |other| other.saturating_add(1));
    let own = name.get(letters..)?;
    let could_be = LEAST_NAME..=MOST_NAME;
    if letters == 0 {
        return could_be.contains(&own.len()).then_some(0);
    }
    let starts = known().filter_map(|known| {
        let start = colon.checked_sub(known.len())?;
        let own = name.get(start..)?;
        own.eq_ignore_ascii_case(known).then_some(start)
    });
    let is_name = could_be.contains(&own.len()) && own.first().is_some_and(u8::is_ascii_uppercase);
    starts.min().or_else(|| is_name.then_some(letters))
}

/// What was seen in the lines of a header block.
#[derive(Default)]
struct Seen {
    facts: u16,
    first_fact: u64,
    broken: u32,
    fields: u64,
}

impl Seen {
    /// Takes the line that begins at `at`; `false` if the block cannot be a header.
    fn line(&mut self, line: &[u8], at: u64) -> bool {
        let first = at == 0;
        // One zero byte may be a space with a wrong bit.
        let zeros = memchr::memchr_iter(0, line).count();
        self.broken = self.broken.saturating_add(u32::from(zeros > 0));
        if zeros > 1 || self.broken > 1 {
            return false;
        }
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if continues && !first {
            return true;
        }
        let Some((name, value)) = field(line) else {
            self.broken = self.broken.saturating_add(1);
            return self.broken <= 1 && (!first || is_nearly_field(line));
        };
        self.fields = self.fields.saturating_add(1);
        if let Some(fact) = fact_of(name).filter(|fact| holds(*fact, value)) {
            if self.facts == 0 {
                self.first_fact = at;
            }
            self.facts |= 1 << fact as u16;
        }
        true
    }

    /// Whether so much tells of a delivered message that text may follow without an empty line, as
    /// programs leave it that part the two in another way.
    fn is_delivered(&self) -> bool {
        let has = |fact: Fact| self.facts & (1 << fact as u16) != 0;
        let is_whole = has(Fact::From) && (has(Fact::Trace) || has(Fact::Received));
        is_whole && self.facts.count_ones() >= LEAST_UNPARTED
    }

    /// The header that ends at `bytes` or breaks off behind `seen`, if it is that of a message.
    fn header(&self, bytes: Option<u64>, seen: u64) -> Option<Header> {
        let count = self.facts.count_ones();
        let has = |fact: Fact| self.facts & (1 << fact as u16) != 0;
        let mail_only = [
            Fact::Trace,
            Fact::Date,
            Fact::MessageId,
            Fact::Received,
            Fact::Signature,
            Fact::Parts,
        ];
        let is_mail = mail_only.into_iter().any(has);
        let many = bytes.is_some() || self.fields >= LEAST_FIELDS;
        let enough = if many && self.broken == 0 { 2 } else { 3 };
        let is_message = is_mail && count >= enough && (has(Fact::From) || has(Fact::Received));
        is_message.then_some(Header {
            fields: self.fields,
            bytes,
            seen,
            first_fact: self.first_fact,
        })
    }
}

/// The name and the value of the field that a line is, unfolded or not (RFC 5322, section 2.2).
pub fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line.get(..MOST_NAME.min(line.len()))?)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let value = line.get(colon.saturating_add(1)..)?;
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name, value))
}

/// What the field called `name` proves, where a few of its bits may be wrong.
fn fact_of(name: &[u8]) -> Option<Fact> {
    let distance = |known: &[u8]| -> u32 {
        let pairs = name.iter().zip(known);
        pairs
            .map(|(a, b)| (a.to_ascii_lowercase() ^ b).count_ones())
            .sum()
    };
    let same_length = FIELDS.iter().filter(|(known, _)| known.len() == name.len());
    let best = same_length.min_by_key(|(known, _)| distance(known))?;
    // Of a short name little would be left to recognise.
    let allowed = WRONG_BITS.min(u32::try_from(name.len() / 3).unwrap_or(0));
    (distance(best.0) <= allowed).then_some(best.1)
}

/// Whether a line begins with the name of a known field and its colon, but for a few wrong bits.
fn is_nearly_field(line: &[u8]) -> bool {
    FIELDS.iter().any(|(known, _)| {
        let Some((name, rest)) = line.split_at_checked(known.len()) else {
            return false;
        };
        let pairs = name.iter().zip(*known);
        let wrong: u32 = pairs.map(|(a, b)| ((a ^ b) & !0x20).count_ones()).sum();
        let colon = rest.first().map_or(8, |byte| (byte ^ b':').count_ones());
        wrong.saturating_add(colon) <= WRONG_BITS && known.len() > 3
    })
}

/// Whether a value is what the field needs.
fn holds(fact: Fact, value: &[u8]) -> bool {
    let has = |byte: u8| memchr::memchr(byte, value).is_some();
    match fact {
        Fact::From | Fact::Address => is_address(value),
        Fact::Trace => is_address(value) || value.trim_ascii() == b"<>",
        Fact::Date => is_date(value),
        Fact::MessageId => has(b'<') && has(b'@'),
        Fact::Received => {
            let text = value.trim_ascii_start();
            text.starts_with(b"from ") || text.starts_with(b"by ") || text.starts_with(b"(")
        }
        Fact::Subject => true,
        // What stands behind the header does.
        Fact::Parts => false,
        Fact::Mime => has(b'.') || has(b'/'),
        Fact::Signature => has(b'=') || has(b'.') || has(b'('),
    }
}

/// Whether there is an address in `value`: something on both sides of an at sign.
fn is_address(value: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', value) else {
        return false;
    };
    let before = at.checked_sub(1).and_then(|before| value.get(before));
    let after = value.get(at.saturating_add(1));
    let word = |byte: Option<&u8>| {
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80 || b"-_.+\"'=!~[".contains(b))
    };
    word(before) && word(after)
}

/// Whether `value` is a date as mail writes it: a day, the name of a month, a time.
fn is_date(value: &[u8]) -> bool {
    const MONTHS: [&[u8]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let lower = value.to_ascii_lowercase();
    let has_month = lower.windows(3).any(|three| MONTHS.contains(&three));
    let digits = lower.iter().filter(|byte| byte.is_ascii_digit()).count();
    has_month && digits >= 6 && memchr::memchr(b':', value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_with_fields_whose_values_are_those_of_mail() {
        for head in [
            "Return-Path: <a@b.example>\nReceived: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\nSubject: hi\n\nx",
            "Date: Mon, 1 Jan 2024 00:00:00 +0000\nFrom: Ada <ada@b.example>\n\n",
            "X-Account-Key: account2\r\nFrom: a@b.example\r\nMessage-ID: <1@b.example>\r\n\r\n",
            "From ada@b.example Mon Jan  1\nFrom: a@b.example\nDate: 1 Jan 2024 10:00:00 GMT\n\n",
            "Return-Path: <a@b.example>\nFrom ada@b.example Mon Jan  1\nFrom: a@b.example\nSubject: x\n\n",
            "Return-Path: <a@b.example>\nFrom: a@b.example\nTo: b@b.example\nSubject: x\n--text follows--\nDear Bo,\n\n",
            "From: a@b.example\nContent-Type: multipart/mixed;\n boundary=\"x1\"\n\nhi\n--x1\n\nhi\n--x1--\n",
            "From: a@b.example\nContent-Type: multipart/mixed; boundary=x1\n\n--x1\n",
            "From: a@b.example\nSubject: x\nDKIM-Signature: v=1; a=rsa-sha256;\n bh=x\n\nhi\n",
        ] {
            assert!(header(head.as_bytes()).is_some(), "{head}");
        }
    }

    #[test]
    fn what_begins_within_a_field_lacks_its_top() {
        for (message, lacks) in [
            ("Return-Path: <a@b.example>\n\n", false),
            ("X-Sieve: dovecot\n\n", false),
            ("DKIM-Signature: v=1;\n\n", false),
            ("Shelf-Number: 12\nFrom: a@b.example\n\n", false),
            ("shelf-number: 12\nfrom: a@b.example\n\n", false),
            ("elf-Number: 12\nFrom: a@b.example\n\n", true),
            ("-Number: 12\nFrom: a@b.example\n\n", true),
            ("Agent: Mutt\nFrom: a@b.example\n\n", true),
            ("eturn-Path: <a@b.example>\n\n", true),
            ("37:11 +0100\nFrom: a@b.example\n\n", true),
            ("h: <a@b.example>\n\n", true),
            ("ignature: v=1;\n\n", true),
            ("and so on\n", true),
            ("DWO2ath: <a@b.example>\nTo: b\n\n", true),
            ("XOriginating: a\nTo: b\n\n", true),
            ("X-MSMailPriority: high\nTo: b\n\n", false),
            ("EmailTo: a\nTo: b\n\n", false),
            (
                "subject:message-id:date\n\t:to; bh=x\nFrom: a@b.example\n\n",
                true,
            ),
            ("Subject:Date\nFrom: a@b.example\n\n", false),
        ] {
            assert_eq!(may_lack_its_top(message.as_bytes()), lacks, "{message}");
        }
    }

    #[test]
    fn no_field_begins_within_a_line() {
        for (line, text, anew) in [
            ("Content-Transfer", "Return-Path: <a@b.example>\n", true),
            (
                "\tfor <a@b.exam",
                "Date: Mon, 1 Jan 2024 00:00:00 +0000\n",
                true,
            ),
            ("Subject: hi", "From: a@b.example\n", true),
            ("", "From: a@b.example\n", false),
            ("Resent-", "From: a@b.example\n", false),
            ("In-Reply", "-To: <1@b.example>\n", false),
            ("user-", "Agent: x\n", false),
            ("user", "-agent: x\n", false),
            ("\th=MIME-Version:", "Date:From:Message-ID;\n", false),
            ("Subject: ", "Re: a note\n", false),
            ("Subject: no", "From: nobody\n", false),
            ("C", "X-Gate:high\n", true),
            ("X-CL", "X-Gate:high\n", false),
            ("X-Envelope", "From: a@b.example\n", false),
        ] {
            let text = format!(
                "{text}Date: Mon, 1 Jan 2024 00:00:00 +0000
Message-ID: <1@b.example>
From: b@b.example

"
            );
            let header = header(text.as_bytes()).unwrap_or_default();
            let begins = begins_anew(line.as_bytes(), text.as_bytes(), &header);
            assert_eq!(begins, anew, "{line}{text}");
        }
    }

    #[test]
    fn a_field_is_found_behind_what_is_no_name() {
        for (line, begin) in [
            (&b"Return-Path: <a@b.example>\n"[..], Some(0)),
            (b"\xFE\xEDReturn-Path: <a@b.example>\n", Some(2)),
            (b"\xFE\xEDX-Shelf: 3\nFrom: a@b.example\n", Some(2)),
            (b"x= In-Reply-To: <1@b.example>\n", Some(3)),
            (b"(resent) to: a@b.example\n", Some(9)),
            (b"and so on\n", None),
            (b": x\n", None),
        ] {
            assert_eq!(begin_of_field(line), begin, "{line:?}");
        }
    }

    #[test]
    fn a_wrong_bit_in_the_first_line_does_not_hide_a_message() {
        let head = b"Return-Path: <a@b.example>\nReceived: from x by y;\n\tMon, 1 Jan 2024 00:00:00 +0000\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nFrom: a@b.example\nSubject: hi\n\nx";
        for bit in 0..8 * 27 {
            let mut wrong = head.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(header(&wrong).is_some(), "bit {bit}");
        }
    }

    #[test]
    fn templates_code_and_texts_about_mail_do_not_begin_messages() {
        for text in [
            "From: {{sender}}\nTo: {{to}}\nSubject: Welcome\nDate: {{date}}\n\nDear {{name}},\n",
            "#include <mail.h>\nFrom: a@b.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n",
            "> From: a@b.example\n> Date: Mon, 1 Jan 2024 00:00:00 +0000\n\n",
            "   From: a@b.example\n   Date: Mon, 1 Jan 2024 00:00:00 +0000\n\n",
            "host: localhost\nport: 25\nfrom: a@b.example\n\n",
            "Subject: x\nTo: a@b.example\n\n",
            "From: a@b.example\nTo: b@b.example\nDate: 1 Jan 2024 10:00:00 GMT\nSubject: x\nis what\nit says\n\n",
            "From: a@b.example\nContent-Type: multipart/mixed; boundary=x1\n\n--y1\n",
            "\n\n",
            "",
        ] {
            assert!(header(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_header_that_breaks_off_at_a_sector_is_one_and_one_that_breaks_elsewhere_is_not() {
        let head = "Return-Path: <a@b.example>\nFrom: a@b.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\
            X-Filler: ";
        for (filler, is_one) in [(512 - head.len(), true), (20, false)] {
            let mut text = format!("{head}{}", "x".repeat(filler)).into_bytes();
            text.extend_from_slice(b"\0\0\0\nand\nmore\n");
            assert_eq!(header(&text).is_some(), is_one, "{filler}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let _ = header(&bytes);
        }
    }
}
