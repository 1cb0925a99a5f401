//! The line that stands before each message of an mbox: `From SENDER DATE`.
//!
//! The date is as `asctime` writes it, `Mon Jan  1 10:00:00 2012`, with or without seconds and a
//! zone on either side of the year; some programs write the one of a header field. Sources:
//! RFC 4155, appendix A; Dovecot's `src/lib-storage/index/mbox/mbox-from.c`.

/// What a postmark begins with, at the beginning of a line.
pub const POSTMARK: &[u8] = b"From ";
/// The longest line that is looked at.
pub(super) const MOST_LINE: usize = 1000;

/// When a message was put into the file, in seconds since 1970; `None` if `line` (without its end)
/// is no postmark. A date without a zone is taken for UTC: which zone the server was in, the file
/// does not say.
pub(super) fn date_of(line: &[u8]) -> Option<i64> {
    let line = std::str::from_utf8(line.strip_prefix(POSTMARK)?).ok();
    let line = line?;
    let words: Vec<&str> = line.split_ascii_whitespace().take(64).collect();
    // The sender may have blanks in it, or be missing.
    (0..words.len()).find_map(|at| date(words.get(at..)?))
}

/// A date that begins with the name of a day.
fn date(words: &[&str]) -> Option<i64> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let (day_name, rest) = words.split_first()?;
    let (name, comma) = match day_name.strip_suffix(',') {
        Some(name) => (name, true),
        None => (*day_name, false),
    };
    DAYS.contains(&name).then_some(())?;
    if comma {
        let [day, month, year, time, rest @ ..] = rest else {
            return None;
        };
        return seconds(year, month, day, time, zone(rest));
    }
    let [month, day, time, rest @ ..] = rest else {
        return None;
    };
    let (before, year, after) = match rest {
        [year, after @ ..] if is_year(year) => (None, year, after),
        [zone, year, after @ ..] if is_year(year) => (Some(*zone), year, after),
        _ => return None,
    };
    let zone = before.map_or_else(|| zone(after), |before| zone(&[before]));
    seconds(year, month, day, time, zone)
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The seconds east of UTC that a word after a date names; 0 if it names none.
fn zone(words: &[&str]) -> i64 {
    let Some(word) = words.first() else {
        return 0;
    };
    let hours = |hours: i64| hours.saturating_mul(3600);
    match *word {
        "CET" | "MET" => return hours(1),
        "CEST" | "MEST" | "EET" => return hours(2),
        "EST" | "CDT" => return hours(-5),
        "EDT" => return hours(-4),
        "CST" | "MDT" => return hours(-6),
        "MST" | "PDT" => return hours(-7),
        "PST" => return hours(-8),
        _ => {}
    }
    let (sign, digits) = match word.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return 0,
    };
    let digits = Some(digits).filter(|digits| digits.len() == 4);
    let number: i64 = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let minutes = (number / 100)
        .saturating_mul(60)
        .saturating_add(number % 100);
    minutes.saturating_mul(60).saturating_mul(sign)
}

/// Seconds since 1970 of a date in the proleptic Gregorian calendar.
fn seconds(year: &str, month: &str, day: &str, time: &str, zone: i64) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month).ok()?.checked_add(1)?;
    let number = |text: &str, most: i64| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<i64>().ok().filter(|_| digits)?;
        (number <= most).then_some(number)
    };
    let year = number(year, 9999).filter(|year| *year >= 1970)?;
    let day = number(day, 31).filter(|day| *day >= 1)?;
    let mut parts = time.split(':');
    let hour = number(parts.next()?, 23)?;
    let minute = number(parts.next()?, 59)?;
    let second = parts.next().map_or(Some(0), |text| number(text, 60))?;
    // Days since the first of March of the year 0 (Howard Hinnant, "chrono-compatible low-level
    // date algorithms"), in which leap days come last.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_all_writers_are_read() {
        let table: [(&str, Option<i64>); 14] = [
            (
                "From owner@imap7.austin.example  Sun Jan 01 00:00:00 2012",
                Some(1_325_376_000),
            ),
            (
                "From ada@x.example Sun Jan  1 00:00:00 2012",
                Some(1_325_376_000),
            ),
            ("From - Sun Jan 01 00:00:00 2012", Some(1_325_376_000)),
            ("From  Sun Jan 01 00:00 2012", Some(1_325_376_000)),
            (
                "From \"a b\"@x Sun Jan 01 01:00:00 2012 +0100",
                Some(1_325_376_000),
            ),
            ("From a@x Sat Dec 31 19:00:00 EST 2011", Some(1_325_376_000)),
            (
                "From a@x Wed Feb 29 12:00:00 2012 remote from y",
                Some(1_330_516_800),
            ),
            (
                "From a@x Sun, 01 Jan 2012 00:00:00 -0000",
                Some(1_325_376_000),
            ),
            ("From a@x Thu Jan  1 00:00:00 1970", Some(0)),
            ("From now on we meet on Sun Jan at 10:00 2012", None),
            ("From a@x Sun Jan 32 00:00:00 2012", None),
            ("From a@x Sun Jan 01 25:00:00 2012", None),
            ("From a@x", None),
            (">From a@x Sun Jan 01 00:00:00 2012", None),
        ];
        for (line, want) in table {
            assert_eq!(date_of(line.as_bytes()), want, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = date_of(&bytes);
            let mut line = b"From a Sun Jan ".to_vec();
            line.extend(bytes);
            let _ = date_of(&line);
        }
    }
}
