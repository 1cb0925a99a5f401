//! Numbers and times in words.

use jiff::Timestamp;

/// A time in seconds since 1970 as `2014-06-17T08:09:10Z`; one that no calendar reaches, as the
/// number that it is.
pub(crate) fn iso(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| format!("{seconds} seconds after 1970"),
        |time| time.to_string(),
    )
}

/// As [`iso`], for times that are never before 1970.
pub(crate) fn iso_unsigned(seconds: u64) -> String {
    iso(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// The month of a time, `2014-06`; `None` outside of the years in which mail was sent.
pub(crate) fn month(seconds: i64) -> Option<String> {
    // The first mail over a network was sent in 1971; most stores write their broken times as
    // 0 or as years far ahead.
    const YEARS: std::ops::Range<i16> = 1971..2100;
    let time = Timestamp::from_second(seconds).ok()?;
    let date = jiff::tz::Offset::UTC.to_datetime(time);
    YEARS
        .contains(&date.year())
        .then(|| format!("{:04}-{:02}", date.year(), date.month()))
}

/// A number with its thousands apart: `12,345`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len().saturating_mul(4) / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 message`, `2,000 messages`.
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// A time that something took, as people say it: `2.5 s`, `14 min`, `3 h 20 min`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let minutes = seconds / 60;
    match (minutes / 60, minutes % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        (0, minutes, seconds) if minutes < 10 => format!("{minutes} min {seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, minutes, _) => format!("{} h {minutes} min", number(hours)),
    }
}

/// A length as people say it: `312.4 MB`.
pub(crate) fn bytes(value: u64) -> String {
    const STEP: u64 = 1000;
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    // In tenths of the unit, so that no floating point rounds 999.96 up to 1000.0.
    let mut tenths = value.saturating_mul(10);
    let mut unit = 0_usize;
    while tenths >= 10 * STEP && unit.saturating_add(1) < UNITS.len() {
        tenths /= STEP;
        unit = unit.saturating_add(1);
    }
    match UNITS.get(unit) {
        Some(name) if unit > 0 => {
            format!("{}.{}\u{a0}{name}", number(tenths / 10), tenths % 10)
        }
        _ => counted(value, "byte", "bytes"),
    }
}

/// A length as RAID tools say it: `64 KiB`, where that is exact; bytes where not.
pub(crate) fn binary(value: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    UNITS
        .iter()
        .find(|(shift, _)| value > 0 && value.trailing_zeros() >= *shift)
        .map_or_else(
            || counted(value, "byte", "bytes"),
            |(shift, unit)| format!("{}\u{a0}{unit}", number(value >> shift)),
        )
}

/// A part of a whole as `97.2 %`. It is cut, not rounded: only all is 100 %, and only none is 0 %.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    if part >= whole {
        return "100\u{a0}%".to_owned();
    }
    if part == 0 {
        return "0\u{a0}%".to_owned();
    }
    let tenths = u128::from(part)
        .saturating_mul(1000)
        .checked_div(u128::from(whole));
    match tenths.unwrap_or(0) {
        0 => "less than 0.1\u{a0}%".to_owned(),
        tenths => format!("{}.{}\u{a0}%", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_never_say_more_than_there_is() {
        assert_eq!(percent(9_999, 10_000), "99.9\u{a0}%");
        assert_eq!(percent(1, 10_000), "less than 0.1\u{a0}%");
        assert_eq!(percent(0, 3), "0\u{a0}%");
        assert_eq!(percent(3, 3), "100\u{a0}%");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.9\u{a0}%");
    }

    #[test]
    fn lengths_and_numbers_read_easily() {
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(123), "123");
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(312_440_000), "312.4\u{a0}MB");
        assert_eq!(bytes(999_999), "999.9\u{a0}kB");
        assert_eq!(binary(65536), "64\u{a0}KiB");
        assert_eq!(binary(1000), "1,000 bytes");
        assert_eq!(binary(0), "0 bytes");
    }

    #[test]
    fn times_are_utc_and_unbelievable_ones_have_no_month() {
        assert_eq!(iso(1_402_992_550), "2014-06-17T08:09:10Z");
        assert_eq!(month(1_402_992_550).as_deref(), Some("2014-06"));
        assert_eq!(month(0), None);
        assert_eq!(month(i64::MAX), None);
        assert_eq!(iso(i64::MAX), "9223372036854775807 seconds after 1970");
    }
}
