//! Messages that nobody sent, by seed: prose of our own in the encodings that mail comes in.

use std::fmt::Write;

use crate::encoding::{base64_lines, quoted_printable};
use crate::random::Random;

/// Paragraphs of prose; the other languages give 8-bit text.
const ENGLISH: &str = include_str!("../../../scripts/lab/text/en.txt");
const OTHERS: [&str; 3] = [
    include_str!("../../../scripts/lab/text/de.txt"),
    include_str!("../../../scripts/lab/text/fr.txt"),
    include_str!("../../../scripts/lab/text/ru.txt"),
];

/// Characters of a line of text.
const TEXT_LINE: usize = 72;

/// Who writes to whom.
pub(super) struct Envelope<'a> {
    /// The account that the message is delivered to.
    pub(super) account: &'a str,
    /// When, in seconds since 1970.
    pub(super) when: u64,
}

/// A message as a Maildir stores it, with LF line ends.
pub(super) fn message(random: &mut Random, envelope: &Envelope<'_>) -> Vec<u8> {
    let kind = random.below(100);
    let mut text = head(random, envelope);
    match kind {
        0..45 => {
            let charset = if random.percent(70) {
                ENGLISH
            } else {
                random.pick(&OTHERS)
            };
            text.push_str(
                "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n",
            );
            text.push_str(&prose(random, charset, 1..=8));
        }
        45..60 => {
            let source = *random.pick(&OTHERS);
            text.push_str(
                "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n",
            );
            text.push_str(&quoted_printable(prose(random, source, 1..=6).as_bytes()));
        }
        _ => mixed(random, &mut text),
    }
    text.into_bytes()
}

fn head(random: &mut Random, envelope: &Envelope<'_>) -> String {
    let Envelope { account, when } = envelope;
    let id = random.word();
    let sender = format!("guest.{}@customer.example", random.below(400));
    let subject: Vec<&str> = random
        .pick(&paragraphs(ENGLISH))
        .split(' ')
        .take(5)
        .collect();
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "Return-Path: <{sender}>\nDelivered-To: {account}\n\
         Received: from mx{}.relay.example (mx.relay.example [192.0.2.{}])\n\
         \tby imap7.austin.example (Postfix) with ESMTPS id {:010X}\n\tfor <{account}>; @{when}\n\
         From: Guest <{sender}>\nTo: <{account}>\nSubject: {}\n\
         Message-ID: <{id:x}@customer.example>\nMIME-Version: 1.0\n",
        random.below(3),
        random.within(1..=250),
        random.word() >> 24,
        subject.join(" "),
    );
    text
}

/// A text and one or two attachments.
fn mixed(random: &mut Random, text: &mut String) {
    let boundary = format!("=_{:016x}", random.word());
    let _ = write!(
        text,
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n--{boundary}\n\
         Content-Type: text/plain; charset=us-ascii\n\n{}\n",
        prose(random, ENGLISH, 1..=3)
    );
    for number in 0..random.within(1..=2) {
        // Small ones are common, big ones hold most of the bytes.
        let most = *random.pick(&[12_000, 40_000, 120_000, 400_000]);
        let length = random.within(2_000..=most);
        let _ = write!(
            text,
            "--{boundary}\nContent-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"plan-{number}.jpg\"\n\n{}",
            base64_lines(&random.bytes(length))
        );
    }
    let _ = writeln!(text, "--{boundary}--");
}

fn paragraphs(source: &str) -> Vec<&str> {
    source.trim().split("\n\n").collect()
}

/// Some paragraphs, wrapped.
fn prose(random: &mut Random, source: &str, count: std::ops::RangeInclusive<usize>) -> String {
    let all = paragraphs(source);
    let mut text = String::new();
    for _ in 0..random.within(count) {
        let mut column = 0;
        for word in random.pick(&all).split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > TEXT_LINE {
                text.push('\n');
                column = 0;
            } else if column > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push_str("\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_depend_on_the_seed_alone() {
        let envelope = Envelope {
            account: "ada@tidewater.example",
            when: 1_325_376_000,
        };
        let made = |seed| message(&mut Random::new(seed), &envelope);
        assert_eq!(made(3), made(3));
        assert_ne!(made(3), made(4));
    }
}
