//! Bars: how much came back in all, and month by month.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::facts::{Counts, Month};
use crate::words::{counted, number};

/// Height of the chart of months, in its own units.
const HEIGHT: u64 = 100;
/// Width of a column in it, and of the bar in the column.
const COLUMN: u64 = 10;
const BAR: u64 = 8;
/// Least height of a bar: one lost message among thousands is still seen.
const LEAST: u64 = 3;
/// With more months than this, a column is a year.
const MOST_MONTHS: usize = 180;
/// Most labels below the chart that a phone has room for.
const MOST_LABELS: usize = 7;

/// A bar of whole, damaged and lost, in thousandths of its width.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bar {
    whole: u64,
    damaged: u64,
    lost: u64,
}

impl Bar {
    /// `None` if nothing was expected.
    pub(super) fn new(counts: &Counts) -> Option<Self> {
        const WIDTH: u64 = 1000;
        let part = |count: u64| match count {
            0 => 0,
            // What is there is seen, however little.
            _ => scale(count, counts.expected, WIDTH).max(8),
        };
        let (damaged, lost) = (part(counts.damaged), part(counts.lost));
        (counts.expected > 0).then(|| Self {
            whole: part(counts.whole).min(WIDTH.saturating_sub(damaged.saturating_add(lost))),
            damaged,
            lost,
        })
    }
}

/// `value` of `whole` on a scale of `width`; 0 of nothing.
pub(super) fn scale(value: u64, whole: u64, width: u64) -> u64 {
    let scaled = u128::from(value).saturating_mul(u128::from(width));
    let scaled = scaled.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The chart of one account's deliveries.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    /// Its width in its own units.
    width: u64,
    height: u64,
    whole: String,
    damaged: String,
    lost: String,
    labels: Vec<Label>,
    /// What it shows, for those who do not see it.
    caption: String,
    /// The columns in between without any message.
    gaps: String,
}

/// A label below a chart, placed in hundredths of a percent of its width.
#[derive(Debug, Serialize)]
struct Label {
    text: String,
    left: String,
}

#[derive(Clone, Copy, Default)]
struct Column {
    whole: u64,
    damaged: u64,
    lost: u64,
}

impl Column {
    fn all(self) -> u64 {
        self.whole
            .saturating_add(self.damaged)
            .saturating_add(self.lost)
    }
}

/// What a column of the chart stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Month,
    Year,
}

impl Unit {
    /// The column that a month belongs to.
    const fn column(self, month: u32) -> u32 {
        match self {
            Self::Month => month,
            Self::Year => month / 12,
        }
    }
}

/// A month, counted from year 0, so that the next one is one more.
fn index_of(month: &str) -> Option<u32> {
    let (year, month) = month.split_once('-')?;
    let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
    year.checked_mul(12)?.checked_add(month.checked_sub(1)?)
}

impl Chart {
    /// The chart; `None` if there is no dated message, or only one month of them.
    pub(super) fn new(months: &[Month]) -> Option<Self> {
        let dated: BTreeMap<u32, Column> = months
            .iter()
            .filter_map(|month| {
                let column = Column {
                    whole: month.whole,
                    damaged: month.damaged,
                    lost: month.lost,
                };
                index_of(&month.month).map(|index| (index, column))
            })
            .collect();
        let (first, _) = dated.first_key_value()?;
        let (last, _) = dated.last_key_value()?;
        let span = usize::try_from(last.saturating_sub(*first)).ok()?;
        if span == 0 {
            return None;
        }
        let unit = if span > MOST_MONTHS {
            Unit::Year
        } else {
            Unit::Month
        };
        Self::of_columns(&dated, unit.column(*first), unit.column(*last), unit)
    }

    fn of_columns(
        dated: &BTreeMap<u32, Column>,
        first: u32,
        last: u32,
        unit: Unit,
    ) -> Option<Self> {
        let count = usize::try_from(last.checked_sub(first)?)
            .ok()?
            .checked_add(1)?;
        let mut columns = vec![Column::default(); count];
        for (index, more) in dated {
            let at = usize::try_from(unit.column(*index).saturating_sub(first)).ok()?;
            let column = columns.get_mut(at)?;
            column.whole = column.whole.saturating_add(more.whole);
            column.damaged = column.damaged.saturating_add(more.damaged);
            column.lost = column.lost.saturating_add(more.lost);
        }
        let names = (first..=last)
            .map(|index| name(index, unit))
            .collect::<Vec<_>>();
        let most = columns.iter().map(|column| column.all()).max()?;
        let mut chart = Self {
            width: (count as u64).saturating_mul(COLUMN),
            height: HEIGHT,
            whole: String::new(),
            damaged: String::new(),
            lost: String::new(),
            labels: labels(&names, unit),
            caption: caption(&names, most, unit),
            gaps: gaps(&names, &columns),
        };
        for (number, column) in columns.iter().enumerate() {
            chart.draw((number as u64).saturating_mul(COLUMN), *column, most);
        }
        Some(chart)
    }

    fn draw(&mut self, x: u64, column: Column, most: u64) {
        let mut base = HEIGHT;
        for (count, path) in [
            (column.whole, &mut self.whole),
            (column.damaged, &mut self.damaged),
            (column.lost, &mut self.lost),
        ] {
            if count == 0 {
                continue;
            }
            // Three least heights are kept free above the highest bar.
            let height = scale(count, most, HEIGHT.saturating_sub(3 * LEAST)).max(LEAST);
            base = base.saturating_sub(height);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} {base}h{BAR}v{height}h-{BAR}z");
        }
    }
}

fn name(index: u32, unit: Unit) -> String {
    match unit {
        Unit::Month => format!("{:04}-{:02}", index / 12, (index % 12).saturating_add(1)),
        Unit::Year => index.to_string(),
    }
}

/// Labels at the first column of years, or of months if there are few, thinned out evenly.
fn labels(names: &[String], unit: Unit) -> Vec<Label> {
    let by_year = unit == Unit::Month && names.len() > 14;
    let wanted: Vec<(usize, &str)> = names
        .iter()
        .enumerate()
        .filter_map(|(at, name)| match name.split_once('-') {
            Some((year, "01")) if by_year => Some((at, year)),
            _ if by_year => None,
            _ => Some((at, name.as_str())),
        })
        .collect();
    let step = wanted.len().div_ceil(MOST_LABELS).max(1);
    wanted
        .into_iter()
        .step_by(step)
        .map(|(at, text)| (scale(at as u64, names.len() as u64, 10_000), text))
        // One at the very end would be cut off.
        .filter(|(left, _)| *left <= 9_000)
        .map(|(left, text)| Label {
            text: text.to_owned(),
            left: format!("{}.{:02}", left / 100, left % 100),
        })
        .collect()
}

fn caption(names: &[String], most: u64, unit: Unit) -> String {
    let by = match unit {
        Unit::Month => "month",
        Unit::Year => "year",
    };
    let first = names.first().map_or("", String::as_str);
    let last = names.last().map_or("", String::as_str);
    format!(
        "Messages by {by} of delivery, {first} to {last}; the highest bar is {}.",
        counted(most, "message", "messages")
    )
}

/// The stretches without any message, in words; empty if there are none.
fn gaps(names: &[String], columns: &[Column]) -> String {
    const MOST: usize = 6;
    let mut gaps: Vec<(&str, &str)> = Vec::new();
    let mut open = false;
    for (name, column) in names.iter().zip(columns) {
        let empty = column.all() == 0;
        match gaps.last_mut() {
            Some((_, end)) if empty && open => *end = name,
            _ if empty => gaps.push((name, name)),
            _ => {}
        }
        open = empty;
    }
    let more = gaps.len().saturating_sub(MOST);
    let mut texts: Vec<String> = gaps
        .iter()
        .take(MOST)
        .map(|(from, to)| {
            if from == to {
                (*from).to_owned()
            } else {
                format!("{from} to {to}")
            }
        })
        .collect();
    if more > 0 {
        texts.push(format!("{} more", number(more as u64)));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(month: &str, whole: u64, lost: u64) -> Month {
        Month {
            month: month.to_owned(),
            whole,
            damaged: 0,
            lost,
        }
    }

    #[test]
    fn months_without_mail_are_gaps_in_the_chart() {
        let months = [
            month("2013-11", 100, 0),
            month("2014-02", 10, 1),
            month("undated", 5, 0),
        ];
        let chart = Chart::new(&months).unwrap();
        assert_eq!(chart.width, 40);
        assert_eq!(chart.gaps, "2013-12 to 2014-01");
        assert_eq!(chart.whole, "M0 9h8v91h-8zM30 91h8v9h-8z");
        assert_eq!(chart.lost, "M30 88h8v3h-8z");
        assert!(Chart::new(&months[..1]).is_none());
        assert!(Chart::new(&months[2..]).is_none());
    }

    #[test]
    fn long_spans_are_drawn_by_year() {
        let chart = Chart::new(&[month("1971-01", 1, 0), month("2099-12", 1, 0)]).unwrap();
        assert_eq!(chart.width, 1290);
        assert!(chart.labels.len() <= MOST_LABELS);
        assert!(chart.caption.contains("by year"));
    }

    #[test]
    fn little_is_still_seen_in_a_bar() {
        let counts = Counts {
            expected: 100_000,
            whole: 99_998,
            damaged: 1,
            lost: 1,
            ..Counts::default()
        };
        let bar = Bar::new(&counts).unwrap();
        assert_eq!((bar.whole, bar.damaged, bar.lost), (984, 8, 8));
        assert_eq!(Bar::new(&Counts::default()), None);
    }
}
