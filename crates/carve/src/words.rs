//! Which words two pieces of text share that hardly any other text on the device has.
//!
//! A message says the same names and things again and again. How often two pieces of unrelated text
//! share a rare word is known from how many blocks of the device have it: the number of rare words
//! shared by chance is a Poisson variable with a small mean, and by one message a larger one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::blocks::{BlockKind, Blocks, filled};

/// Counters of words, by their hash: a power of two.
const COUNTERS: usize = 1 << 21;
/// Blocks that are counted, evenly over the device: more do not tell more.
const MOST_BLOCKS: u64 = 1 << 17;
/// With fewer blocks every word is rare.
const LEAST_BLOCKS: u32 = 200;
/// Shorter words are everywhere, longer ones are no words.
const LEAST_WORD: usize = 4;
const MOST_WORD: usize = 30;
/// A word is rare that at most one block in so many has.
const RARE: u32 = 100;
/// Rare words that the next block of a message shares with those before.
const SHARED: f64 = 1.5;
/// So many are shared by chance at least: what lies next to each other was often sent together.
const LEAST_CHANCE: f64 = 0.05;
/// Words never say more, in nats.
const MOST: f64 = 6.0;

/// What the word is that lies across a border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// None does, or it is too short or too long to say something.
    None = 0,
    /// No other block has it.
    Unknown = 1,
    /// Other blocks have it as well.
    Known = 2,
}

impl Cut {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Unknown, Self::Known];
}

/// How many blocks have each word; by default of none, and then they say nothing.
#[derive(Default)]
pub(crate) struct Words {
    counts: Vec<u32>,
    blocks: u32,
}

impl Words {
    /// Counts the words in the text of a device.
    pub(crate) fn of(blocks: &Blocks<'_>) -> Self {
        let counts: Vec<AtomicU32> = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        let every = blocks.count().div_ceil(MOST_BLOCKS).max(1);
        let seen = AtomicU32::new(0);
        (0..blocks.count().div_ceil(every))
            .into_par_iter()
            .map(|number| number.saturating_mul(every))
            .filter(|number| matches!(blocks.kind(*number), BlockKind::Text | BlockKind::Mixed))
            .for_each(|number| {
                let block = blocks.read(number);
                // Sums do not depend on the order of their parts.
                seen.fetch_add(1, Ordering::Relaxed);
                for word in words(block.get(..filled(&block)).unwrap_or_default()) {
                    if let Some(count) = counts.get(word) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        Self {
            counts: counts.into_iter().map(AtomicU32::into_inner).collect(),
            blocks: seen.into_inner(),
        }
    }

    /// How much the words that `before` and `after` share speak for their being of one message, in
    /// nats: never against it, for a piece may be short.
    pub(crate) fn shared(&self, before: &[u8], after: &[u8]) -> f64 {
        if self.blocks < LEAST_BLOCKS {
            return 0.0;
        }
        let rare = |text: &[u8]| -> BTreeSet<usize> {
            let all = words(text).into_iter();
            all.filter(|word| self.count(*word) <= self.blocks / RARE)
                .collect()
        };
        let (before, after) = (rare(before), rare(after));
        // A word that only these two have is as rare as one that three have.
        let chance: f64 = before
            .iter()
            .map(|word| f64::from(self.count(*word).max(3)) / f64::from(self.blocks))
            .sum();
        let chance = chance.max(LEAST_CHANCE);
        let shared = before.intersection(&after).count() as f64;
        let nats = shared * (SHARED / chance).ln() - (SHARED - chance);
        nats.clamp(0.0, MOST)
    }

    /// What the word is that a border between `before` and `after` cuts, if it is counted in `own`
    /// blocks already.
    pub(crate) fn cut(&self, before: &[u8], after: &[u8], own: u32) -> Cut {
        let first = before
            .iter()
            .rev()
            .take_while(|byte| is_letter(byte))
            .count();
        let second = after.iter().take_while(|byte| is_letter(byte)).count();
        let length = first.saturating_add(second);
        if first == 0 || second == 0 || !(LEAST_WORD..=MOST_WORD).contains(&length) {
            return Cut::None;
        }
        let from = before.len().saturating_sub(first);
        let word = before.iter().skip(from).chain(after.iter().take(second));
        if self.count(counter(word)) > own {
            Cut::Known
        } else {
            Cut::Unknown
        }
    }

    fn count(&self, word: usize) -> u32 {
        self.counts.get(word).copied().unwrap_or(0)
    }
}

/// The words of a text, each once, by the numbers of their counters: not those at its ends, which
/// may be cut.
fn words(text: &[u8]) -> BTreeSet<usize> {
    let mut all: Vec<&[u8]> = text.split(|byte| !is_letter(byte)).collect();
    all.pop();
    let lengths = LEAST_WORD..=MOST_WORD;
    all.into_iter()
        .skip(1)
        .filter(|word| lengths.contains(&word.len()))
        .map(counter)
        .collect()
}

const fn is_letter(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte >= 0x80
}

/// The counter of a word, by the FNV-1a hash of its lower case.
fn counter<'a>(word: impl IntoIterator<Item = &'a u8>) -> usize {
    let hash = word
        .into_iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01B3)
        });
    usize::try_from((hash ^ hash >> 32) & (COUNTERS as u64 - 1)).unwrap_or(0)
}

#[cfg(test)]
impl Words {
    /// Words of which so many blocks have each.
    pub(crate) fn counted(blocks: u32, words: &[(&str, u32)]) -> Self {
        let mut counts = vec![0; COUNTERS];
        for (word, count) in words {
            if let Some(counter) = counts.get_mut(counter(word.as_bytes())) {
                *counter = *count;
            }
        }
        Self { counts, blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_that_are_shared_speak_for_one_message_and_usual_ones_do_not() {
        let words = Words::counted(
            10_000,
            &[("with", 5000), ("greenhouse", 4), ("lindenhof", 9)],
        );
        let about = |text: &str| format!("x {text} x");
        let shared = |a: &str, b: &str| words.shared(about(a).as_bytes(), about(b).as_bytes());
        assert_eq!(shared("with kind regards", "with love"), 0.0);
        assert!(shared("the greenhouse there", "this Greenhouse here") > 1.5);
        let two = shared("greenhouse of Lindenhof", "Lindenhof has a greenhouse");
        assert!(two > 4.0, "{two}");
        assert_eq!(
            Words::counted(50, &[]).shared(b"x greenhouse x", b"x greenhouse x"),
            0.0
        );
    }

    #[test]
    fn a_word_across_a_border_is_known_if_others_have_it() {
        let words = Words::counted(1000, &[("greenhouse", 1)]);
        assert_eq!(words.cut(b"the green", b"house is", 0), Cut::Known);
        assert_eq!(words.cut(b"the green", b"house is", 1), Cut::Unknown);
        assert_eq!(words.cut(b"the green", b"mouse is", 0), Cut::Unknown);
        assert_eq!(words.cut(b"the green ", b"house", 0), Cut::None);
        assert_eq!(words.cut(b"a g", b"o", 0), Cut::None);
    }

    #[test]
    fn words_at_the_ends_may_be_cut_and_are_left_out() {
        assert_eq!(words(b"house greenhouse green").len(), 1);
        assert!(words(b"greenhouse").is_empty());
        assert!(words(b"").is_empty());
    }
}
