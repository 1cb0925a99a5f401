//! Dates in headers: those of one message lie minutes apart, those of two seldom do.

use mail_parser::DateTime;
use memchr::{memchr_iter, memmem};
use rayon::prelude::*;

use crate::blocks::{Blocks, filled};

/// Most dates that are taken of a header.
pub(crate) const MOST_DATES: usize = 64;
/// No date with its zone is longer (RFC 5322, section 3.3).
const MOST_DATE: usize = 34;
/// How near to the nearest date before a border the nearest behind it lies, in seconds, and how often that is
/// so within one message: most are under way for seconds, and some wait or have a clock that is wrong.
const NEAR: [(i64, f64); 4] = [(60, 0.6), (600, 0.25), (3600, 0.07), (86400, 0.04)];
/// How often it is none of these.
const FAR: f64 = 0.04;
/// What dates say at most for a border or against it, in nats.
const MOST_FOR: f64 = 8.0;
const MOST_AGAINST: f64 = 3.0;
/// From fewer messages nothing can be told of how many have the same date by chance.
const LEAST_MESSAGES: usize = 20;

/// When the messages of a device were sent.
#[derive(Default)]
pub(crate) struct Times {
    /// The first date of each header, in seconds since 1970, sorted.
    sent: Vec<i64>,
}

impl Times {
    /// Those of the messages that begin in `blocks`.
    pub(crate) fn of(blocks: &Blocks<'_>) -> Self {
        let heads: Vec<u64> = blocks.heads().iter().copied().collect();
        let first = |number: &u64| {
            let block = blocks.read(*number);
            dates(block.get(..filled(&block)).unwrap_or_default()).next()
        };
        let mut sent: Vec<i64> = heads.par_iter().filter_map(first).collect();
        sent.sort_unstable();
        Self { sent }
    }

    /// How much the dates before a border and behind it speak for both being of one header, in nats.
    pub(crate) fn nats(&self, before: &[i64], behind: &[i64]) -> f64 {
        let pairs = before
            .iter()
            .flat_map(|one| behind.iter().map(move |other| (one.abs_diff(*other), *one)));
        let Some((apart, at)) = pairs.min() else {
            return 0.0;
        };
        if self.sent.len() < LEAST_MESSAGES {
            return 0.0;
        }
        let mut nearer = 0;
        for (seconds, share) in NEAR {
            let within = self.within(at, seconds);
            if apart <= seconds.unsigned_abs() {
                return self.weigh(share, within.saturating_sub(nearer));
            }
            nearer = within;
        }
        self.weigh(FAR, self.sent.len().saturating_sub(nearer))
    }

    /// What it says that `share` of the borders within messages have dates so far apart, and those of
    /// `others` that begin on the device.
    fn weigh(&self, share: f64, others: usize) -> f64 {
        let chance = others.saturating_add(1) as f64 / self.sent.len().saturating_add(1) as f64;
        (share / chance).ln().clamp(-MOST_AGAINST, MOST_FOR)
    }

    /// How many messages were sent within so many seconds of `time`.
    fn within(&self, time: i64, seconds: i64) -> usize {
        let from = time.saturating_sub(seconds);
        let until = time.saturating_add(seconds);
        let first = self.sent.partition_point(|sent| *sent < from);
        let end = self.sent.partition_point(|sent| *sent <= until);
        end.saturating_sub(first)
    }
}

/// The dates in the part of a header that `text` begins with, in seconds since 1970.
pub(crate) fn dates(text: &[u8]) -> impl Iterator<Item = i64> {
    let end = [&b"\n\n"[..], b"\n\r\n"]
        .iter()
        .filter_map(|blank| memmem::find(text, blank))
        .min();
    let is_body = text.starts_with(b"\n") || text.starts_with(b"\r\n");
    let end = end.unwrap_or(text.len());
    let header = text
        .get(..if is_body { 0 } else { end })
        .unwrap_or_default();
    memchr_iter(b':', header).filter_map(|colon| date_at(header, colon))
}

/// The date whose hours end at `colon`: `3 Nov 2012 05:05:47 +0000`.
fn date_at(text: &[u8], colon: usize) -> Option<i64> {
    let clock = text.get(colon.checked_sub(2)?..colon.checked_add(6)?)?;
    let [a, b, b':', c, d, b':', e, f] = clock else {
        return None;
    };
    if ![a, b, c, d, e, f].iter().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let before = text.get(..colon.checked_sub(2)?)?;
    let words = before.rsplit(|byte| *byte == b' ').skip(1).take(3);
    let length: usize = words.map(|word| word.len().saturating_add(1)).sum();
    let from = before.len().checked_sub(length)?;
    let from = from
        .saturating_add(memchr::memrchr(b'\t', text.get(from..colon)?).map_or(0, |tab| tab + 1));
    let date = text.get(from..text.len().min(from.saturating_add(MOST_DATE)))?;
    let date = date.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let date = DateTime::parse_rfc822(std::str::from_utf8(date).ok()?)?;
    date.is_valid().then(|| date.to_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"Received: from a (a.example [192.0.2.1])\n\tby b.example; Sat, 03 Nov 2012 05:05:47 +0000 (UTC)\n\
Received: by c.example; 3 Nov 2012 07:04:44 +0200\nDate:\tSat, 3 Nov 2012 05:00:00 GMT\nSubject: at 10:20:30\n\nDate: Sat, 3 Nov 2012 05:00:01 GMT\n";

    #[test]
    fn the_dates_of_a_header_are_read() {
        let all: Vec<i64> = dates(HEADER).collect();
        assert_eq!(all, [1_351_919_147, 1_351_919_084, 1_351_918_800]);
    }

    #[test]
    fn dates_that_few_share_say_much() {
        let day = 86_400;
        let times = Times {
            sent: (0..1000).map(|number| number * day).collect(),
        };
        assert!(times.nats(&[500 * day], &[500 * day + 30]) > 5.0);
        assert!(times.nats(&[500 * day, 0], &[500 * day + 3000, 999 * day]) > 2.0);
        assert!(times.nats(&[500 * day], &[510 * day]) < -2.0);
        assert!(times.nats(&[], &[510 * day]).abs() < f64::EPSILON);
        assert!(Times::default().nats(&[0], &[0]).abs() < f64::EPSILON);
    }
}
