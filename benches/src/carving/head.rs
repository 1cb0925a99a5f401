//! Heads of made-up mail: what authors' programs write, and what servers put in front of it.

use super::prose::{Language, encode, title};
use crate::encoding::base64;
use crate::random::Random;

const DOMAINS: [&str; 6] = [
    "harbourhill.example",
    "millrace.example",
    "quince.example",
    "larkfield.example",
    "stonewharf.example",
    "ropewalk.example",
];
const LOCALS: [&str; 16] = [
    "anneke", "bela", "corin", "dagny", "elif", "florian", "gwen", "hamid", "ines", "jarek",
    "klara", "luca", "office", "post", "orders", "w.brandt",
];
const STRANGERS: [&str; 4] = [
    "seedmerchant.example",
    "nightferry.example",
    "lists.orchard.example",
    "clockmaker.example",
];

/// Who sends a message to whom, and when.
pub(super) struct Envelope {
    pub(super) sender: String,
    pub(super) recipient: String,
    /// Seconds since 1970.
    pub(super) when: u64,
    /// It was delivered here, or else written here: a copy in a folder for sent mail.
    pub(super) delivered: bool,
}

impl Envelope {
    pub(super) fn any(random: &mut Random) -> Self {
        let delivered = random.percent(88);
        let (account, stranger) = (account(random), stranger(random));
        let (sender, recipient) = if delivered {
            (stranger, account)
        } else {
            (account, stranger)
        };
        Self {
            sender,
            recipient,
            when: 1_262_304_000 + random.word() % 150_000_000,
            delivered,
        }
    }

    /// The account whose mailbox holds the message.
    pub(super) fn account(&self) -> &str {
        if self.delivered {
            &self.recipient
        } else {
            &self.sender
        }
    }
}

pub(super) fn account(random: &mut Random) -> String {
    format!("{}@{}", random.pick(&LOCALS), random.pick(&DOMAINS))
}

pub(super) fn stranger(random: &mut Random) -> String {
    format!(
        "{}.{}@{}",
        random.pick(&LOCALS),
        random.below(500),
        random.pick(&STRANGERS)
    )
}

/// A time as mail writes it, in one of the forms that are usual.
pub(super) fn date(random: &mut Random, when: u64) -> String {
    let time = jiff::Timestamp::from_second(when as i64).unwrap_or_default();
    let format = *random.pick(&[
        "%a, %d %b %Y %H:%M:%S +0000",
        "%a, %d %b %Y %H:%M:%S +0000",
        "%d %b %Y %H:%M:%S -0000",
        "%a, %d %b %Y %H:%M:%S GMT",
        "%a, %d %b %Y %H:%M:%S +0000 (UTC)",
    ]);
    time.strftime(format).to_string()
}

fn mailbox(random: &mut Random, address: &str) -> String {
    match random.below(4) {
        0 => address.to_owned(),
        1 => format!("<{address}>"),
        2 => format!(
            "\"{}\" <{address}>",
            title(random, Language::English).replace('"', "")
        ),
        _ => {
            let local = address.split('@').next().unwrap_or_default();
            format!("{} <{address}>", local.replace('.', " "))
        }
    }
}

/// A subject; what is not ASCII in encoded words (RFC 2047), or raw as some programs do.
fn subject(random: &mut Random, language: Language) -> Vec<u8> {
    let answer = *random.pick(&["", "", "Re: ", "Fwd: ", "AW: ", "[orchard] "]);
    let title = title(random, language);
    if title.is_ascii() {
        return format!("{answer}{title}").into_bytes();
    }
    if random.percent(10) {
        return format!("{answer}{title}").into_bytes();
    }
    let mut words = Vec::new();
    let chars: Vec<char> = title.chars().collect();
    for piece in chars.chunks(12) {
        let text: String = piece.iter().collect();
        words.push(format!("=?utf-8?B?{}?=", base64(&encode(&text, "utf-8"))));
    }
    format!("{answer}{}", words.join("\n ")).into_bytes()
}

/// The fields that the author's program writes, `content` among them, in one of several orders.
pub(super) fn of_author(
    random: &mut Random,
    envelope: &Envelope,
    language: Language,
    content: &[String],
) -> Vec<u8> {
    let mut from = b"From: ".to_vec();
    from.extend(mailbox(random, &envelope.sender).bytes());
    from.push(b'\n');
    let mut subject_field = b"Subject: ".to_vec();
    subject_field.extend(subject(random, language));
    subject_field.push(b'\n');
    let domain = envelope.sender.rsplit('@').next().unwrap_or_default();
    let sent = envelope.when - random.word() % 300;
    let mut fields = vec![
        from,
        format!("To: {}\n", mailbox(random, &envelope.recipient)).into_bytes(),
        subject_field,
        format!("Date: {}\n", date(random, sent)).into_bytes(),
        format!(
            "Message-ID: <{:x}.{}@{domain}>\n",
            random.word(),
            random.below(10_000)
        )
        .into_bytes(),
        b"MIME-Version: 1.0\n".to_vec(),
    ];
    let first = match random.below(8) {
        0 => 3,
        1 => 5,
        2 => 4,
        3 => 2,
        _ => 0,
    };
    fields[..=first].rotate_right(1);
    let place = random.within(1..=fields.len());
    let content = content.iter().map(|field| field.clone().into_bytes());
    fields.splice(place..place, content);
    for field in rarer(random) {
        let place = random.within(1..=fields.len());
        fields.insert(place, field.into_bytes());
    }
    if random.percent(15) {
        random.shuffle(&mut fields);
    }
    fields.concat()
}

/// Fields that some messages have.
fn rarer(random: &mut Random) -> Vec<String> {
    let mut fields = Vec::new();
    let id = |random: &mut Random| format!("<{:x}@{}>", random.word(), random.pick(&STRANGERS));
    if random.percent(35) {
        let program = *random.pick(&[
            "Quillpost 3.1",
            "Harbour Mail/11.2 (build 4410)",
            "paperboy 0.9.4",
        ]);
        let name = *random.pick(&["User-Agent", "X-Mailer", "X-MimeOLE"]);
        fields.push(format!("{name}: {program}\n"));
    }
    if random.percent(30) {
        let ids: Vec<String> = (0..random.within(1..=12)).map(|_| id(random)).collect();
        fields.push(format!(
            "References: {}\n",
            ids.join(random.pick::<&str>(&["\n ", "\n\t"]))
        ));
        fields.push(format!("In-Reply-To: {}\n", id(random)));
    }
    if random.percent(20) {
        let crowd: Vec<String> = (0..random.within(1..=20))
            .map(|_| stranger(random))
            .collect();
        fields.push(format!("Cc: {}\n", crowd.join(",\n\t")));
    }
    if random.percent(12) {
        fields.push("List-Id: The orchard <orchard.lists.example>\n".to_owned());
        fields.push("List-Unsubscribe: <https://lists.example/orchard>,\n <mailto:orchard-leave@lists.example>\n".to_owned());
        fields.push("Precedence: list\n".to_owned());
    }
    if random.percent(10) {
        fields.push(format!("X-Priority: {} (Normal)\n", random.within(1..=5)));
    }
    if random.percent(8) {
        fields.push(format!("Thread-Index: {}\n", base64(&random.bytes(22))));
    }
    if random.percent(8) {
        fields.push("X-Note:\n".to_owned());
    }
    fields
}

/// What the servers on the way wrote on top, the last one first.
pub(super) fn of_servers(random: &mut Random, envelope: &Envelope) -> String {
    let Envelope {
        sender,
        recipient,
        when,
        ..
    } = envelope;
    let mut text = String::new();
    let style = random.below(10);
    match style {
        0 | 1 => text.push_str(&format!("Return-Path: <{sender}>\nDelivered-To: {recipient}\n")),
        2 => text.push_str(&format!(
            "Return-path: <{sender}>\nEnvelope-to: {recipient}\nDelivery-date: {}\n",
            date(random, *when)
        )),
        3 => text.push_str(&format!(
            "X-Original-To: {recipient}\nDelivered-To: {recipient}\n"
        )),
        4 => text.push_str(&format!(
            "Return-Path: <{sender}>\nDelivered-To: {recipient}\nReceived: (qmail {} invoked by uid 89); {}\n",
            random.below(30_000),
            date(random, *when)
        )),
        5 => text.push_str(&format!(
            "X-UIDL: {:016x}{:04}\nX-Account-Key: account{}\nStatus: RO\n",
            random.word(),
            random.below(10_000),
            random.below(9) + 1
        )),
        6 => text.push_str(&format!("Delivered-To: {recipient}\n")),
        7 => text.push_str(&odd_field(random)),
        8 => text.push_str(&format!(
            "X-Sieve: paperboy 2.{}\nX-Virus-Scanned: by gatehouse at {}\n",
            random.below(9),
            random.pick(&DOMAINS)
        )),
        _ => {}
    }
    for hop in 0..random.within(1..=4) {
        text.push_str(&received(random, envelope, hop));
    }
    if random.percent(25) {
        text.push_str(&spam_report(random));
    }
    if random.percent(15) {
        text.push_str(&format!(
            "Authentication-Results: mx.{}; spf=pass\n  smtp.mailfrom={sender};\n  dkim=none\n",
            random.pick(&DOMAINS)
        ));
    }
    text
}

/// A field that no list of names has: every site has filters and archives of its own.
fn odd_field(random: &mut Random) -> String {
    const WORDS: [&str; 12] = [
        "Tide", "lamp", "BERTH", "Quay", "Ledger", "rope", "Gate", "Bell", "CRANE", "Pilot",
        "mole", "Watch",
    ];
    let prefix = *random.pick(&["X-", "", ""]);
    let (first, second) = (*random.pick(&WORDS), *random.pick(&WORDS));
    // The space after the colon may be left out.
    let space = if random.percent(25) { "" } else { " " };
    let value = title(random, Language::English);
    format!("{prefix}{first}-{second}:{space}{value}\n")
}

fn received(random: &mut Random, envelope: &Envelope, hop: usize) -> String {
    let Envelope {
        recipient, when, ..
    } = envelope;
    let at = date(random, when - hop as u64);
    let id = random.word() >> 24;
    let (octet, port) = (random.within(1..=250), random.below(9));
    let own = *random.pick(&DOMAINS);
    match random.below(3) {
        0 => format!(
            "Received: from mx{port}.relay.example (mx{port}.relay.example [192.0.2.{octet}])\n\
             \tby imap.{own} (Postfix) with ESMTPS id {id:010X}\n\tfor <{recipient}>; {at}\n"
        ),
        1 => format!(
            "Received: from [198.51.100.{octet}] (helo=desk{port})\n    by relay.{own} with esmtp (Exim 4.80)\n    \
             id 1{id:x}-{port:06}\n    for {recipient}; {at}\n"
        ),
        _ => format!("Received: by 203.0.113.{octet} with SMTP id {id:x}csp{port}; {at}\n"),
    }
}

fn spam_report(random: &mut Random) -> String {
    let mut text = format!(
        "X-Spam-Status: No, score=-{}.{} required=5.0 tests=",
        random.below(5),
        random.below(10)
    );
    for _ in 0..random.within(2..=9) {
        text.push_str(random.pick::<&str>(&[
            "TIDE_TABLE",
            "HARBOUR_OK",
            "LONG_LINES",
            "NO_HURRY",
            "SEEN_BEFORE",
        ]));
        text.push_str(random.pick::<&str>(&[",", ",\n\t"]));
    }
    text.push_str("END_OF_TESTS autolearn=ham\n\tversion=3.3.2\n");
    text
}

/// The head of a message that another one forwards: delivered to somebody else, long ago.
pub(super) fn of_forwarded(random: &mut Random, content: &[String]) -> String {
    let (from, to) = (stranger(random), stranger(random));
    let envelope = Envelope {
        sender: from,
        recipient: to,
        when: 1_230_768_000 + random.word() % 30_000_000,
        delivered: true,
    };
    let mut text = String::new();
    if random.percent(60) {
        text.push_str(&of_servers(random, &envelope));
    }
    let author = of_author(random, &envelope, Language::English, content);
    text.push_str(&String::from_utf8_lossy(&author));
    text
}
