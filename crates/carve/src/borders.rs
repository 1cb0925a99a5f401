//! What a border between two pieces of text says of whether the one goes on with the other.
//!
//! Two things are looked at: how well the characters go on by the [`Language`] of the device, and
//! whether the word that lies across the border is one that other blocks have ([`Words`]). What
//! they are worth is measured, not assumed: stretches of text that nothing was learned from are
//! cut, and the halves are put together as they were and at random. How often a score comes up
//! either way is its likelihood ratio: a curve for each thing that the word may be, made to rise
//! with the score by pooling neighbours that do not (Ayer et al., "An empirical distribution
//! function for sampling with incomplete information", 1955).

use std::collections::HashMap;

use rayon::prelude::*;

use crate::habits::Habits;
use crate::language::{Language, Start};
use crate::words::{Cut, Words};

/// Where a stretch is cut, in bytes.
const CUTS: [usize; 4] = [200, 400, 600, 800];
/// Fewer cuts do not make a curve.
const LEAST_CUTS: usize = 256;
/// Each half is put together at random with so many others.
const STRANGERS: usize = 16;
/// Scores that are counted as one, at least.
const BIN: usize = 64;
/// What a border says where there is no curve, in nats: hardly more than that.
const UNMEASURED: std::ops::RangeInclusive<f64> = -2.5..=5.0;

/// The curves of a device.
pub(crate) struct Borders<'a> {
    language: &'a Language,
    words: &'a Words,
    /// By what the word across the border is; empty where nothing was measured.
    curves: [Curve; Cut::ALL.len()],
    habits: Habits,
    /// What it is worth that lines are as they were before.
    habit: Curve,
}

impl<'a> Borders<'a> {
    /// Measures what borders say by `stretches` of text that are no part of what the language was
    /// learned from.
    pub(crate) fn measure(language: &'a Language, words: &'a Words, stretches: &[Vec<u8>]) -> Self {
        let halves: Vec<(&[u8], &[u8])> = stretches
            .iter()
            .flat_map(|stretch| {
                CUTS.into_iter()
                    .filter_map(|at| stretch.split_at_checked(at))
            })
            .filter(|(_, after)| !after.is_empty())
            .collect();
        let borders = Self {
            language,
            words,
            curves: Default::default(),
            habits: Habits::of(stretches),
            habit: Curve::default(),
        };
        let count = halves.len();
        if count < LEAST_CUTS {
            return borders;
        }
        // A word that was cut is counted for the block that it is cut in.
        let judged = |before: &[u8], after: &[u8]| {
            let line = before.rsplit(|byte| *byte == b'\n').next();
            let line = line.unwrap_or_default();
            Judged {
                cut: words.cut(line, after, 1),
                score: borders.score(line, Start::of(after)),
                habit: borders.habits.score(before, after),
            }
        };
        let step = count / (STRANGERS + 1);
        let (own, strange): (Vec<_>, Vec<Vec<_>>) = halves
            .par_iter()
            .enumerate()
            .map(|(number, (before, after))| {
                let strangers = (1..=STRANGERS)
                    .filter_map(|turn| halves.get((number + turn * step) % count))
                    .map(|(_, after)| judged(before, after));
                (judged(before, after), strangers.collect::<Vec<_>>())
            })
            .unzip();
        let strange: Vec<Judged> = strange.into_iter().flatten().collect();
        let odds = strange.len() as f64 / own.len() as f64;
        let curves = Cut::ALL.map(|cut| {
            let of = |all: &[Judged]| -> Vec<f64> {
                let own = all.iter().filter(|judged| judged.cut == cut);
                own.map(|judged| judged.score).collect()
            };
            Curve::of(&of(&own), &of(&strange), odds)
        });
        let habits = |all: &[Judged]| all.iter().map(|judged| judged.habit).collect::<Vec<f64>>();
        let habit = Curve::of(&habits(&own), &habits(&strange), odds);
        Self {
            curves,
            habit,
            ..borders
        }
    }

    /// By how much the characters go on, in nats of the language.
    fn score(&self, line: &[u8], start: Start) -> f64 {
        let line = if line.is_empty() { b"\n" } else { line };
        self.language.goes_on(line, start)
    }

    /// How much a border between the unfinished `line` and `next` speaks for its being none between
    /// two texts, in nats.
    pub(crate) fn nats(&self, line: &[u8], next: &[u8]) -> f64 {
        self.worth(line, next, self.score(line, Start::of(next)))
    }

    /// How much it speaks for a border's being none that the lines of `after` are as those of `before`, in
    /// nats; nothing where that was not measured.
    pub(crate) fn habit(&self, before: &[u8], after: &[u8]) -> f64 {
        let score = self.habits.score(before, after);
        self.habit.nats(score).unwrap_or(0.0)
    }

    /// As [`nats`](Self::nats), for many texts that may come next behind one `line`.
    pub(crate) fn behind<'b>(&'b self, line: &'b [u8]) -> impl FnMut(&[u8]) -> f64 + 'b {
        let mut scores: HashMap<Start, f64> = HashMap::new();
        move |next| {
            let start = Start::of(next);
            let score = *scores
                .entry(start)
                .or_insert_with(|| self.score(line, start));
            self.worth(line, next, score)
        }
    }

    /// What a score is worth between `line` and `next`.
    fn worth(&self, line: &[u8], next: &[u8], score: f64) -> f64 {
        let curve = self.curves.get(self.words.cut(line, next, 0) as usize);
        let measured = curve.and_then(|curve| curve.nats(score));
        measured.unwrap_or_else(|| score.clamp(*UNMEASURED.start(), *UNMEASURED.end()))
    }
}

/// What a border shows.
struct Judged {
    cut: Cut,
    score: f64,
    habit: f64,
}

/// What scores are worth.
#[derive(Debug, Default)]
struct Curve {
    /// Up to which score, and how many nats; both rise.
    steps: Vec<(f64, f64)>,
}

/// Scores next to each other.
#[derive(Clone, Copy)]
struct Bin {
    most: f64,
    own: f64,
    strange: f64,
}

impl Bin {
    /// Whether it has more of its own than `other`, in proportion.
    fn exceeds(&self, other: &Self) -> bool {
        self.own * other.strange > other.own * self.strange
    }
}

impl Curve {
    /// The curve of scores of borders that are none (`own`) and of borders at random (`strange`), of
    /// which so many were made for each of the first.
    fn of(own: &[f64], strange: &[f64], odds: f64) -> Self {
        let marked = own.iter().map(|score| (*score, true));
        let mut all: Vec<(f64, bool)> = marked
            .chain(strange.iter().map(|score| (*score, false)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut bins: Vec<Bin> = Vec::new();
        for part in all.chunks(BIN) {
            let own = part.iter().filter(|(_, own)| *own).count() as f64;
            let mut bin = Bin {
                most: part.last().map_or(f64::MAX, |(score, _)| *score),
                own,
                strange: part.len() as f64 - own,
            };
            while let Some(before) = bins.pop_if(|before| !bin.exceeds(before)) {
                bin.own += before.own;
                bin.strange += before.strange;
            }
            bins.push(bin);
        }
        let steps = bins.into_iter().map(|bin| {
            let ratio = (bin.own + 0.5) * odds / (bin.strange + 0.5);
            (bin.most, ratio.ln())
        });
        Self {
            steps: steps.collect(),
        }
    }

    /// What a score is worth, in nats; `None` if nothing was measured.
    fn nats(&self, score: f64) -> Option<f64> {
        let at = self.steps.partition_point(|(most, _)| *most < score);
        let step = self.steps.get(at).or_else(|| self.steps.last());
        step.map(|(_, nats)| *nats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_the_ratio_of_what_came_up_and_rises() {
        let own: Vec<f64> = (0..512).map(|n| f64::from(n % 64) / 8.0).collect();
        let strange: Vec<f64> = (0..4096).map(|n| f64::from(n % 64) / 16.0 - 2.0).collect();
        let curve = Curve::of(&own, &strange, 8.0);
        let nats: Vec<f64> = curve.steps.iter().map(|(_, nats)| *nats).collect();
        assert!(nats.is_sorted(), "{nats:?}");
        // Of the scores from 0 to 2 the first have a quarter, the others a half.
        let middle = curve.nats(1.0).unwrap();
        assert!((middle - 0.5_f64.ln()).abs() < 0.2, "{middle}");
        assert!(curve.nats(-1.5).unwrap() < -3.0);
        assert!(curve.nats(7.0).unwrap() > 3.0 && curve.nats(99.0).unwrap() > 3.0);
        assert_eq!(Curve::default().nats(1.0), None);
    }

    #[test]
    fn words_across_a_border_are_worth_what_the_device_shows() {
        let nouns = [
            "greenhouse",
            "orchard",
            "meadow",
            "harvest",
            "lantern",
            "quarry",
            "willow",
        ];
        let text: String = (0..40_000_usize)
            .map(|n| format!("{} ", nouns[n * n % 7 * 3 % 7]))
            .collect();
        let stretches: Vec<Vec<u8>> = text.as_bytes().chunks(1024).map(<[u8]>::to_vec).collect();
        let mut language = Language::default();
        language.learn(text.as_bytes());
        let counted: Vec<(&str, u32)> = nouns.iter().map(|noun| (*noun, 500)).collect();
        let words = Words::counted(1000, &counted);
        let borders = Borders::measure(&language, &words, &stretches);
        let good = borders.nats(b"the green", b"house there");
        let bad = borders.nats(b"the green", b"vest there");
        assert!(good > 2.0 && bad < -1.0, "{good} {bad}");
    }
}
