//! What is looked at to say whether one block goes on with another, and where messages end.

mod ends;
mod follow;

use std::ops::Range;

use evidence::ReadAt;
use mail::header::may_lack_its_top;
use mail::turned::is_base64_byte;

use crate::blocks::{Blocks, Grid, filled};
use crate::borders::Borders;
use crate::breaks::Breaks;
use crate::chain::Chain;
use crate::reader::Reader;
use crate::survey::Survey;
use crate::times::Times;
use crate::words::Words;

/// What the next block must be worth, in nats, to be taken for the next of the message where it
/// lies behind it: files seldom break, so a little may speak against it.
pub(crate) const BREAK: f64 = -8.0;
/// A full block is followed by another of the same file, if both are of one cluster, but for one file
/// in 4,096 that ends just there: in nats, with which what speaks against it is made up for.
const WITHIN_CLUSTER: f64 = 9.0;
/// A boundary of the message that is met in a block says so much for it, in nats.
pub(crate) const BOUNDARY: f64 = 8.0;
/// That another message begins in a block speaks so much against its being part of one, in nats.
const HEAD: f64 = 10.0;
/// So many fields of a header in a block say so much for its going on with one, in nats: hardly one
/// block in seven has any.
const LEAST_FIELDS: u32 = 2;
const FIELDS: f64 = 2.0;
/// Characters of base64 on either side of a border by which it is known.
const BASE64_RUN: usize = 6;
/// Lines of base64 have so many characters, by which they are known.
const LEAST_ENCODED: usize = 40;
const MOST_ENCODED: usize = 100;
/// That a line of base64 comes out with another length than the next says so much for the border's being a break, in
/// nats: it may be the first or the last of its part.
const MISFIT: f64 = -2.0;
/// The name of a field has so many characters.
const LEAST_NAME: usize = 2;
const MOST_NAME: usize = 60;
/// Names of fields that are one word (RFC 5322, section 3.6).
const PLAIN_FIELDS: [&[u8]; 11] = [
    b"Bcc",
    b"Cc",
    b"Comments",
    b"Date",
    b"From",
    b"Keywords",
    b"Received",
    b"References",
    b"Sender",
    b"Subject",
    b"To",
];
/// Blocks on either side of a border whose words are compared.
const MOST_READ: usize = 16;

/// How much speaks for a header's going on behind the unfinished `line` with `next`, in nats, where
/// its form tells: within a line no other field begins, and of the base64 of a signature no
/// language says what comes next.
fn header_goes_on(line: &[u8], next: &[u8]) -> Option<f64> {
    let in_value = line.contains(&b':') || matches!(line.first(), Some(b' ' | b'\t'));
    let in_subject = line
        .get(..8)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"subject:"));
    if in_value && begins_field(next, in_subject) {
        return Some(-HEAD);
    }
    is_within_base64(line, next).then(|| encoded_line(line, next).unwrap_or(0.0))
}

/// Whether base64 stands on both sides of a border.
fn is_within_base64(line: &[u8], next: &[u8]) -> bool {
    let run = |bytes: &mut dyn Iterator<Item = &u8>| {
        bytes
            .take(BASE64_RUN)
            .filter(|byte| is_base64_byte(**byte))
            .count()
            == BASE64_RUN
    };
    run(&mut line.iter().rev()) && run(&mut next.iter())
}

/// How much it speaks for going on behind the unfinished `line` of base64 with `next`, in nats, that both make a line
/// as long as those that follow, as all lines of one part or signature are, but for the first and the last.
fn encoded_line(line: &[u8], next: &[u8]) -> Option<f64> {
    let mut lines = next.split(|byte| *byte == b'\n');
    let joined = line.len().saturating_add(lines.next()?.len());
    let (usual, behind) = (lines.next()?, lines.next()?);
    let is_encoded = |line: &[u8]| {
        let line = line.trim_ascii();
        !line.is_empty() && line.iter().all(|byte| is_base64_byte(*byte))
    };
    let whole = (LEAST_ENCODED..=MOST_ENCODED).contains(&usual.len());
    let shown = whole && is_encoded(usual) && is_encoded(behind) && behind.len() <= usual.len();
    // The first of a signature has its tag before it, for which some are longer by one.
    let fits = joined.abs_diff(usual.len()) <= 1;
    shown.then(|| {
        if fits {
            (usual.len() as f64 / 3.0).ln()
        } else {
            MISFIT
        }
    })
}

/// Whether a text begins with the name of a field and its colon. In a subject any word may have
/// one behind it (`Re:`, `Fwd:`), but not what is a field's name alone.
fn begins_field(text: &[u8], in_subject: bool) -> bool {
    let name = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        .count();
    let own = text.get(..name).unwrap_or_default();
    if in_subject && !own.contains(&b'-') && !PLAIN_FIELDS.contains(&own) {
        return false;
    }
    let capital = text.first().is_some_and(u8::is_ascii_uppercase);
    capital
        && (LEAST_NAME..=MOST_NAME).contains(&name)
        && text.get(name) == Some(&b':')
        && matches!(
            text.get(name.saturating_add(1)),
            Some(b' ' | b'\t' | b'A'..=b'z')
        )
}

/// What the blocks of a device are judged with.
pub(crate) struct Judge<'a> {
    pub(crate) blocks: &'a Blocks<'a>,
    pub(crate) borders: &'a Borders<'a>,
    pub(crate) words: &'a Words,
    pub(crate) times: &'a Times,
    /// Whether what a block held before is left behind the end of a file.
    pub(crate) leaves_older: bool,
    /// How often files break here.
    pub(crate) breaks: Breaks,
}

impl Judge<'_> {
    /// Calls `with` with what the blocks of `grid` on a device are judged with.
    pub(crate) fn of<T>(
        device: &dyn ReadAt,
        survey: &Survey,
        grid: Grid,
        with: impl FnOnce(&mut Judge<'_>) -> T,
    ) -> T {
        let blocks = Blocks::new(device, survey, grid);
        let words = Words::of(&blocks);
        with(&mut Judge {
            blocks: &blocks,
            borders: &Borders::measure(&survey.language, &words, &survey.unseen),
            words: &words,
            times: &Times::of(&blocks),
            leaves_older: false,
            breaks: Breaks::UNKNOWN,
        })
    }

    /// Reads block `number`, which is `block`, behind `before`: the state after it, and how much
    /// speaks for its being the next block, in nats.
    pub(crate) fn link(&self, before: &Reader, number: u64, block: &[u8]) -> (Reader, f64) {
        let mut after = before.clone();
        after.feed_block(block.get(..filled(block)).unwrap_or_default());
        let mut nats = before.cost() - after.cost();
        let met = after.boundaries().saturating_sub(before.boundaries());
        nats += BOUNDARY * f64::from(met.min(2));
        if let Some(luck) = before.luck() {
            // One block of base64 in so many has the right phase by chance.
            if after.base64_lines() > before.base64_lines() {
                nats -= luck.ln();
            }
        } else {
            let (line, is_text) = before.unfinished();
            let in_header = before.body_start().is_none();
            let header = in_header.then(|| header_goes_on(line, block)).flatten();
            let encoded = || {
                is_within_base64(line, block)
                    .then(|| encoded_line(line, block))
                    .flatten()
            };
            if let Some(told) = header.or_else(encoded) {
                nats += told;
            } else if is_text {
                nats += self.borders.nats(line, block);
            }
        }
        nats += self.dated(&after).min(0.0);
        if after.fields() >= before.fields().saturating_add(LEAST_FIELDS) {
            nats += FIELDS;
        }
        if number != u64::MAX && !self.blocks.grid.begins_cluster(number) {
            nats = nats.max(BREAK) + WITHIN_CLUSTER;
        }
        let (line, _) = before.unfinished();
        let is_rest_of_line = !line.is_empty() && may_lack_its_top(block);
        if self.blocks.heads().contains(&number) && !is_rest_of_line {
            // That it goes on well is explained by the message that begins there; and so is that one does
            // where one is due.
            nats = if before.expects_message() {
                nats + FIELDS
            } else {
                nats.min(0.0) - HEAD
            };
        }
        (after, nats)
    }

    /// How much the dates before the last block that `reader` read and in it speak for its being of the same header,
    /// in nats. Copies of one mailing are sent at the same time: what they say for a border tells where to look,
    /// and proves nothing.
    pub(crate) fn dated(&self, reader: &Reader) -> f64 {
        let (before, own) = reader.dates();
        self.times.nats(before, own)
    }

    /// How much the words on both sides of border `number` of a chain speak for its being none between
    /// two messages, and how much the lines do, in nats; `until` is the next border that says little.
    pub(crate) fn likeness(&self, chain: &Chain, number: usize, until: usize) -> (f64, f64) {
        let text = |range: Range<usize>| {
            let blocks = chain.blocks.get(range).unwrap_or_default().iter();
            let mut text = Vec::new();
            for block in blocks {
                let bytes = self.blocks.read(*block);
                text.extend_from_slice(bytes.get(..filled(&bytes)).unwrap_or_default());
            }
            text
        };
        let border = number.saturating_add(1);
        let before = text(border.saturating_sub(MOST_READ)..border);
        let after = text(
            border
                ..until
                    .saturating_add(1)
                    .min(border.saturating_add(MOST_READ)),
        );
        let words = self.words.shared(&before, &after);
        (words, self.borders.habit(&before, &after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_does_not_begin_within_a_line_and_short_base64_says_nothing() {
        let table: [(&[u8], &[u8], Option<f64>); 13] = [
            (
                b"\tfor <ada@salt",
                b"Return-Path: <x@y.example>\n",
                Some(-HEAD),
            ),
            (b"Subject: hel", b"X-Sieve: dovecot 2.3\n", Some(-HEAD)),
            (b"Subject: hel", b"Date: 1 Oct 2013\n", Some(-HEAD)),
            (b"Subject: Re: [list] ", b"Fwd: a note\n", None),
            (b"Date: Thu, 10 Oct 2013 17:2", b"4:10 +0200\n", None),
            (b"Rec", b"eived: from mx.example\n", None),
            (b"", b"Received: from mx.example\n", None),
            (b"Subject: a note", b" on b: c\n", None),
            (
                b"\tb=hn4BBhkG2Eq8pXu2",
                b"9lU6DSJkgzI9HQ0v+QBG\n",
                Some(0.0),
            ),
            (
                b"\tb=hn4BBhkG2Eq8pXu2",
                b"X-UIDL: aa2c99e80aa80f\n",
                Some(-HEAD),
            ),
            (b"\tfor <ada@salt", b"marsh.example>;\n", None),
            (b"List-Post: <", b"mailto:list@salt.example>\n", None),
            (b"X-Warning: host.salt.o", b"rg: ada owned process\n", None),
        ];
        for (line, next, want) in table {
            let shown = String::from_utf8_lossy(next);
            assert_eq!(header_goes_on(line, next), want, "{shown}");
        }
    }

    #[test]
    fn a_line_of_base64_is_as_long_as_the_next_ones() {
        let full = "QUJDRGFiY2Q".repeat(7);
        let full = &full[..76];
        let behind = |start: &str, line: &str| format!("{start}\n{line}\n{line}\n").into_bytes();
        let fits = Some((76.0_f64 / 3.0).ln());
        for (line, start, want) in [
            (&full[..30], &full[30..], fits),
            // One longer, as behind a tag.
            (&full[..31], &full[30..], fits),
            (&full[..30], &full[40..], Some(MISFIT)),
        ] {
            let told = encoded_line(line.as_bytes(), &behind(start, full));
            assert_eq!(told, want, "{line}|{start}");
        }
        // In a header the next lines are folded; text behind a line says nothing.
        let folded = format!("{}\n {full}\n {full}\n", &full[29..]);
        assert!(
            encoded_line(&full.as_bytes()[..30], folded.as_bytes()).is_some_and(|told| told > 0.0)
        );
        let text = behind(
            &full[30..],
            "The shelf in the cellar holds one more, and the one below is full.",
        );
        assert_eq!(encoded_line(&full.as_bytes()[..30], &text), None);
    }
}
