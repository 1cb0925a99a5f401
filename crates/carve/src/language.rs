//! How well one piece of text goes on with another, learned from the text of the device itself.
//!
//! A model of character sequences (orders 0 to 3, interpolated as Witten and Bell do) is made from
//! a sample of the text on the device. At a border it compares how probable the first characters of
//! the second block are behind the last ones of the first with how probable they are at the start
//! of any block: a ratio of likelihoods, in nats.

/// Character classes: letters by themselves, the rest by what they do in text.
const SYMBOLS: usize = 64;
/// Characters behind a border that are judged: the fourth hardly depends on what is before it.
const JUDGED: usize = 3;
/// So much of a device is looked at for text at most: more does not make the model better.
pub(crate) const SAMPLE_BYTES: u64 = 128 << 20;

/// The counts of character sequences.
pub(crate) struct Language {
    /// By order: how often each sequence of `order + 1` symbols was seen.
    counts: [Vec<u32>; 4],
    /// How many different symbols followed each sequence of 1 to 3.
    kinds: [Vec<u8>; 4],
    /// How often each was followed at all.
    totals: [Vec<u32>; 4],
}

impl Default for Language {
    fn default() -> Self {
        let size = |order: u32| SYMBOLS.pow(order.saturating_add(1));
        Self {
            counts: [0, 1, 2, 3].map(|order| vec![0; size(order)]),
            kinds: [0, 1, 2, 3].map(|order| vec![0; size(order) / SYMBOLS]),
            totals: [0, 1, 2, 3].map(|order| vec![0; size(order) / SYMBOLS]),
        }
    }
}

/// The class of a character.
const fn symbol(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' => (byte - b'a') as usize,
        b'A'..=b'Z' => (byte - b'A') as usize + 26,
        b'0'..=b'9' => 52,
        b' ' | b'\t' => 53,
        b'\n' => 54,
        b'.' | b',' | b'!' | b'?' | b';' => 55,
        b'-' | b'_' => 56,
        b'<' | b'(' | b'[' | b'{' => 57,
        b'>' | b')' | b']' | b'}' => 58,
        b'=' => 59,
        b'/' | b'\\' | b':' => 60,
        0xC0..=0xFF => 61,
        0x80..=0xBF => 62,
        _ => 63,
    }
}

/// The symbols of a text; CR is no character of its own.
fn symbols(text: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    text.iter()
        .filter(|byte| **byte != b'\r')
        .map(|byte| symbol(*byte))
}

/// How a piece of text begins, as far as its border is judged by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Start {
    symbols: [u8; JUDGED],
    count: u8,
}

impl Start {
    /// The start of `text`.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut start = Self::default();
        for (place, symbol) in start.symbols.iter_mut().zip(symbols(text)) {
            *place = u8::try_from(symbol).unwrap_or(0);
            start.count = start.count.saturating_add(1);
        }
        start
    }

    fn symbols(&self) -> &[u8] {
        self.symbols
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

impl Language {
    /// Learns from a stretch of text.
    pub(crate) fn learn(&mut self, text: &[u8]) {
        let mut context = 0_usize;
        for (index, symbol) in symbols(text).enumerate() {
            context = (context << 6 | symbol) & 0xFF_FFFF;
            let tables = self
                .counts
                .iter_mut()
                .zip(&mut self.kinds)
                .zip(&mut self.totals);
            let mut mask = SYMBOLS - 1;
            for ((counts, kinds), totals) in tables.take(index.saturating_add(1)) {
                let at = context & mask;
                mask = mask << 6 | (SYMBOLS - 1);
                let before = at >> 6;
                if let (Some(count), Some(kind), Some(total)) = (
                    counts.get_mut(at),
                    kinds.get_mut(before),
                    totals.get_mut(before),
                ) {
                    *kind = kind.saturating_add(u8::from(*count == 0));
                    *count = count.saturating_add(1);
                    *total = total.saturating_add(1);
                }
            }
        }
    }

    /// How probable the last of `sequence` is behind the others, of which there are at most three.
    fn probability(&self, sequence: &[usize]) -> f64 {
        let mut probability = 1.0 / SYMBOLS as f64;
        let tables = self.counts.iter().zip(&self.kinds).zip(&self.totals);
        for (order, ((counts, kinds), totals)) in tables.enumerate().take(sequence.len()) {
            let start = sequence.len().saturating_sub(order).saturating_sub(1);
            let tail = sequence.get(start..).unwrap_or_default();
            let at = tail.iter().fold(0_usize, |at, symbol| at << 6 | symbol);
            let count = f64::from(counts.get(at).copied().unwrap_or(0));
            let kinds = f64::from(kinds.get(at >> 6).copied().unwrap_or(0));
            let total = f64::from(totals.get(at >> 6).copied().unwrap_or(0));
            if total > 0.0 {
                probability = (count + kinds * probability) / (total + kinds);
            }
        }
        probability
    }

    /// How much better what begins so is explained as what follows `before` than as the start of
    /// any block, in nats.
    pub(crate) fn goes_on(&self, before: &[u8], after: Start) -> f64 {
        if self.totals.first().and_then(|totals| totals.first()) == Some(&0) {
            return 0.0;
        }
        // Up to three symbols before the border, then those behind it.
        let mut joined = [0; 2 * JUDGED];
        let mut context = JUDGED;
        for symbol in symbols(before).rev().take(JUDGED) {
            context = context.saturating_sub(1);
            if let Some(place) = joined.get_mut(context) {
                *place = symbol;
            }
        }
        let own = after.symbols();
        for (place, symbol) in joined.iter_mut().skip(JUDGED).zip(own) {
            *place = usize::from(*symbol);
        }
        let probability = |from: usize, to: usize| {
            self.probability(joined.get(from..to).unwrap_or_default())
                .ln()
        };
        (0..own.len())
            .map(|index| {
                let end = JUDGED.saturating_add(index).saturating_add(1);
                let behind = probability(context.max(index), end);
                behind - probability(JUDGED, end)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_were_cut_go_on_better_than_words_that_were_not() {
        let mut language = Language::default();
        let text = "the quick brown fox jumps over the lazy dog and then the other dog barks\n";
        language.learn(text.repeat(50).as_bytes());
        let good = language.goes_on(b"the quick bro", Start::of(b"wn fox"));
        let bad = language.goes_on(b"the quick bro", Start::of(b"zy dog"));
        assert!(good > 1.0 && bad < -1.0, "{good} {bad}");
        assert_eq!(Language::default().goes_on(b"a", Start::of(b"b")), 0.0);
    }
}
