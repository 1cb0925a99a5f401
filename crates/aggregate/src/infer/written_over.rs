//! The starts of all devices, if something else was written over them.

use super::algebra::{Predicted, telling};
use super::hypothesis::Hypothesis;
use super::relations::Set;
use super::sample::Row;

/// Of the rows in these, and of all others, so many of a hundred must be one way.
const PERCENT: usize = 90;
/// Fewer rows that hold say nothing.
const LEAST_ROWS: usize = 64;

/// Whether parity holds as `hypothesis` says, but for the starts of the devices, in which hardly a row does.
pub(super) fn holds_behind_starts(hypothesis: &Hypothesis, rows: &[Row]) -> bool {
    let part = starts(hypothesis, rows);
    part.is_some_and(|part| part.wrong * 100 >= part.rows * PERCENT)
}

/// Where the starts of the devices end behind which parity holds as `hypothesis` says, if it does not in most
/// rows of these: a newer array has its parity there in some members.
pub(super) fn front(hypothesis: &Hypothesis, rows: &[Row]) -> Option<u64> {
    starts(hypothesis, rows).map(|part| part.end)
}

/// The starts of the devices in which most rows are wrong, where nearly all behind them are right.
struct Starts {
    rows: usize,
    wrong: usize,
    end: u64,
}

fn starts(hypothesis: &Hypothesis, rows: &[Row]) -> Option<Starts> {
    let map = hypothesis.map();
    let set: Set = hypothesis.devices().collect();
    let telling = telling(rows, set).into_iter();
    let predicted = Predicted::of(&map);
    let judged = telling.filter_map(|row| Some((row.at, predicted.agrees(row)?)));
    let (places, judged): (Vec<u64>, Vec<bool>) = judged.unzip();
    let part = worst(&judged);
    // Within, it may as well be a member that lagged behind for a time.
    if part.start > 0 || part.is_empty() {
        return None;
    }
    let count = |of: bool, judged: &[bool]| judged.iter().filter(|one| **one == of).count();
    let (within, behind) = judged.split_at(part.end);
    let right = count(true, behind);
    let holds = right >= LEAST_ROWS && right * 100 >= behind.len() * PERCENT;
    holds.then_some(Starts {
        rows: within.len(),
        wrong: count(false, within),
        end: places.get(part.end).copied()?,
    })
}

/// The stretch in which most more are false than true (Bentley 1984, "Programming pearls: algorithm design
/// techniques").
fn worst(judged: &[bool]) -> std::ops::Range<usize> {
    let (mut best, mut most) = (0..0, 0_i64);
    let (mut start, mut sum) = (0, 0_i64);
    for (number, holds) in judged.iter().enumerate() {
        sum += if *holds { -1 } else { 1 };
        if sum <= 0 {
            (start, sum) = (number + 1, 0);
        } else if sum > most {
            (best, most) = (start..number + 1, sum);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stretch_is_the_one_in_which_most_is_false() {
        let judged = |text: &str| text.chars().map(|c| c == '1').collect::<Vec<bool>>();
        for (text, want) in [
            ("", 0..0),
            ("1111", 0..0),
            ("0001111", 0..3),
            ("1100100011", 2..8),
            ("1011110", 1..2),
        ] {
            assert_eq!(worst(&judged(text)), want, "{text}");
        }
    }
}
