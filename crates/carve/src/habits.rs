//! How the lines of a text are: what they begin with, and how long they are. A patch, a quoted answer,
//! a list or a header goes on as it was, whatever words it has.

/// Lines on either side of a border that are looked at.
const MOST_LINES: usize = 24;
/// So many lines of the device stand for what is not seen before a border.
const WEIGHT: f64 = 6.0;
/// What lines may begin with, and how long they may be.
const FIRSTS: usize = 16;
const LENGTHS: usize = 4;
const KINDS: usize = FIRSTS * LENGTHS;

/// How often the lines of a device are of each kind.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    counts: [f64; KINDS],
    all: f64,
}

impl Habits {
    /// The habits of the device that these stretches of text are of.
    pub(crate) fn of(stretches: &[Vec<u8>]) -> Self {
        // None is impossible.
        let mut habits = Self {
            counts: [1.0; KINDS],
            all: KINDS as f64,
        };
        for stretch in stretches {
            for line in whole_lines(stretch) {
                habits.add(line);
            }
        }
        habits
    }

    fn add(&mut self, line: &[u8]) {
        if let Some(count) = self.counts.get_mut(kind(line)) {
            *count += 1.0;
            self.all += 1.0;
        }
    }

    /// How much better the lines of `after` are explained by those of `before` than by those of the
    /// device, for each line: the sum by the root of their number, since lines are like their
    /// neighbours.
    pub(crate) fn score(&self, before: &[u8], after: &[u8]) -> f64 {
        let mut own = [0.0; KINDS];
        let mut lines = 0.0;
        let before: Vec<&[u8]> = whole_lines(before).collect();
        for line in before.iter().rev().take(MOST_LINES) {
            if let Some(count) = own.get_mut(kind(line)) {
                *count += 1.0;
                lines += 1.0;
            }
        }
        let mut sum = 0.0;
        let mut number = 0.0_f64;
        for line in whole_lines(after).take(MOST_LINES) {
            let kind = kind(line);
            let usual = self.counts.get(kind).copied().unwrap_or(1.0) / self.all;
            let here = own.get(kind).copied().unwrap_or(0.0);
            let likely = (here + WEIGHT * usual) / (lines + WEIGHT);
            sum += (likely / usual).ln();
            number += 1.0;
        }
        if number == 0.0 || lines == 0.0 {
            return 0.0;
        }
        sum / number.sqrt()
    }
}

/// The lines of a text that are all there: not the first and the last, which may be cut.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = text.split(|byte| *byte == b'\n').skip(1).peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        lines.peek().map(|_| line)
    })
}

/// The kind of a line.
fn kind(line: &[u8]) -> usize {
    let first = match line.first() {
        None | Some(b'\r') => 0,
        Some(b' ') => 1,
        Some(b'\t') => 2,
        Some(b'>') => 3,
        Some(b'+') => 4,
        Some(b'-') => 5,
        Some(b'a'..=b'z') => 6,
        Some(b'A'..=b'Z') => {
            let name = line
                .iter()
                .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
            if name.is_some_and(|end| line.get(end) == Some(&b':')) {
                7
            } else {
                8
            }
        }
        Some(b'0'..=b'9') => 9,
        Some(b'<') => 10,
        Some(b'=') => 11,
        Some(b'*' | b'#' | b'|') => 12,
        Some(b'@' | b'(' | b'[' | b'{' | b'}' | b'"') => 13,
        Some(0x80..) => 14,
        Some(_) => 15,
    };
    let length = match line.len() {
        0..=15 => 0,
        16..=55 => 1,
        56..=80 => 2,
        _ => 3,
    };
    first * LENGTHS + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_goes_on_as_a_patch() {
        let prose = "words that go on and on until the line is full, as people write them here\n";
        let patch = "+    let shelf = 3;\n-    let shelf = 2;\n     let room = 1;\n";
        let stretches = vec![prose.repeat(14).into_bytes(), patch.repeat(6).into_bytes()];
        let habits = Habits::of(&stretches);
        let score = |a: &str, b: &str| habits.score(a.repeat(4).as_bytes(), b.repeat(4).as_bytes());
        assert!(score(patch, patch) > 1.0 && score(prose, prose) > 0.3);
        assert!(score(patch, prose) < -1.0 && score(prose, patch) < -1.0);
        assert_eq!(habits.score(b"", b"one\ntwo\nthree\n"), 0.0);
        assert_eq!(habits.score(b"one\ntwo\nthree\n", b"four"), 0.0);
    }
}
