//! Lines that much of the text on a device has, and lines that were those before a bit in them turned.
//!
//! Footers of lists, notes of patches, the fields that one server writes: mail says the same lines
//! again and again. A line that stands once on a device and is one bit away from a line that stands
//! there several times was that line. What people write differs by digits and by whole words, not by
//! one bit of a letter in a line of sixteen characters and more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};

use mail::turned::is_base64_byte;
use rayon::prelude::*;

use crate::blocks::{BlockKind, Blocks, filled};

/// Shorter lines are alike by chance, longer ones are no lines.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=200;
/// A line is common that stands so often on the device.
const COMMON: u8 = 3;
/// Counters of lines, by their hash: a power of two.
const COUNTERS: usize = 1 << 24;
/// Most common lines that are kept, and blocks of a device that are looked at, evenly.
const MOST_LINES: usize = 1 << 20;
const MOST_BLOCKS: u64 = 1 << 17;
/// What the place of a byte multiplies it with, once for each byte behind it: odd, so that no bit of a
/// line is lost.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The common lines of a device, and how often all others stand there at most.
pub(crate) struct Lines {
    counts: Vec<AtomicU8>,
    /// How often each common line stands there.
    common: HashMap<u64, u32>,
}

impl Lines {
    /// Counts the lines in the text of a device.
    pub(crate) fn of(blocks: &Blocks<'_>) -> Self {
        let counts: Vec<AtomicU8> = (0..COUNTERS).map(|_| AtomicU8::new(0)).collect();
        let every = blocks.count().div_ceil(MOST_BLOCKS).max(1);
        let texts = || {
            (0..blocks.count().div_ceil(every))
                .into_par_iter()
                .map(|number| number.saturating_mul(every))
                .filter(|number| blocks.kind(*number) == BlockKind::Text)
                .map(|number| blocks.read(number))
        };
        // Sums do not depend on the order of their parts.
        texts().for_each(|block| {
            for hash in whole_lines(&block) {
                if let Some(count) = counts.get(slot(hash)) {
                    let more = |count: u8| count.checked_add(1);
                    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
                }
            }
        });
        let mut this = Self {
            counts,
            common: HashMap::new(),
        };
        let each = texts().map(|block| {
            let is_common = |hash: &u64| this.most(*hash) >= COMMON;
            whole_lines(&block).filter(is_common).collect::<Vec<u64>>()
        });
        let mut all: Vec<u64> = each.flatten_iter().collect();
        all.par_sort_unstable();
        let same = all.chunk_by(|a, b| a == b);
        let common = same.filter_map(|same| {
            let count = u32::try_from(same.len()).unwrap_or(u32::MAX);
            Some((*same.first()?, count)).filter(|_| count >= u32::from(COMMON))
        });
        this.common = common.take(MOST_LINES).collect();
        this
    }

    /// How often a line stands on the device at most.
    fn most(&self, hash: u64) -> u8 {
        let count = self.counts.get(slot(hash));
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The common line that `line` is one bit away from, if it stands there but once: the place of the
    /// byte, what it was, and how often the other stands there.
    pub(crate) fn turned(&self, line: &[u8]) -> Option<(usize, u8, u32)> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let hash = says_something(line).then(|| hash(line))?;
        if self.most(hash) > 1 {
            return None;
        }
        let mut power = 1_u64;
        for (at, byte) in line.iter().enumerate().rev() {
            for bit in 0..8 {
                let was = byte ^ (1 << bit);
                if is_natural(line, at, was) {
                    continue;
                }
                let change = u64::from(was).wrapping_sub((*byte).into());
                let other = hash.wrapping_add(change.wrapping_mul(power));
                if let Some(count) = self.common.get(&other) {
                    return Some((at, was, *count));
                }
            }
            power = power.wrapping_mul(FACTOR);
        }
        None
    }
}

/// Whether people write the one for the other: digits count, as do letters that name what is alike,
/// words begin sentences and others, and marks are chosen, but for one in a rule of others. Of numbers
/// in hexadecimal any may follow any.
fn is_natural(line: &[u8], at: usize, was: u8) -> bool {
    let Some((before, [is, behind @ ..])) = line.split_at_checked(at) else {
        return true;
    };
    let both = |is_one: fn(&u8) -> bool| is_one(is) && is_one(&was);
    let is_mark: fn(&u8) -> bool = |byte| byte.is_ascii_punctuation() || *byte == b' ';
    let is_rule = before.ends_with(&[was; 2]);
    let in_word = |byte: &&u8| byte.is_ascii_alphanumeric();
    let word = before
        .iter()
        .rev()
        .take_while(in_word)
        .chain(behind.iter().take_while(in_word));
    let is_number = || word.clone().all(u8::is_ascii_hexdigit);
    is.eq_ignore_ascii_case(&was)
        || (both(u8::is_ascii_hexdigit) && (!both(u8::is_ascii_lowercase) || is_number()))
        || (both(is_mark) && !is_rule)
}

/// Whether a line is one that may be common, and no encoded data.
fn says_something(line: &[u8]) -> bool {
    LENGTHS.contains(&line.len()) && !line.iter().all(|byte| is_base64_byte(*byte))
}

/// The hashes of the lines of a block but for those at its ends, which may be cut.
fn whole_lines(block: &[u8]) -> impl Iterator<Item = u64> {
    let text = block.get(..filled(block)).unwrap_or_default();
    let mut lines = text.split(|byte| *byte == b'\n').skip(1).peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        lines.peek().map(|_| line)
    })
    .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    .filter(|line| says_something(line))
    .map(hash)
}

/// The hash of a line: a sum, so that it is known what another byte makes of it.
fn hash(line: &[u8]) -> u64 {
    line.iter().fold(line.len() as u64, |hash, byte| {
        hash.wrapping_mul(FACTOR).wrapping_add((*byte).into())
    })
}

/// Where a line is counted.
fn slot(hash: u64) -> usize {
    let mixed = (hash ^ hash >> 32).wrapping_mul(FACTOR) >> 40;
    usize::try_from(mixed).unwrap_or(0) & (COUNTERS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Grid;
    use crate::survey::Survey;
    use evidence::view::Memory;

    fn lines(texts: &[&str]) -> Lines {
        let mut device = Vec::new();
        for text in texts {
            device.extend_from_slice(b"Subject: one of them\n\n");
            device.extend_from_slice(text.as_bytes());
            device.extend_from_slice(b"\nand here it ends.\n");
            device.resize(device.len().next_multiple_of(4096), 0);
        }
        let device = Memory::new(device);
        let survey = Survey::of(&device, &[], &|_| ());
        let grid = Grid {
            block: 4096,
            phase: 0,
            cluster: 4096,
            first_cluster: 0,
        };
        Lines::of(&Blocks::new(&device, &survey, grid))
    }

    #[test]
    fn a_line_that_is_one_bit_from_a_common_one_was_that() {
        let footer = "You get this because you are on the list.";
        let turned = "You get this becquse you are on the list.";
        let lines = lines(&[footer, footer, turned, footer]);
        assert_eq!(lines.turned(turned.as_bytes()), Some((16, b'a', 3)));
        assert_eq!(lines.turned(footer.as_bytes()), None);
        assert_eq!(
            lines.turned(b"You get this because you are on the lost?"),
            None
        );
        // What stands there twice was written so.
        let twice = lines_of_two(footer, turned);
        assert_eq!(twice.turned(turned.as_bytes()), None);
    }

    fn lines_of_two(footer: &str, other: &str) -> Lines {
        lines(&[footer, other, footer, other, footer])
    }

    #[test]
    fn what_people_write_differently_is_no_turned_bit() {
        let is_natural = |line: &str, at, was| is_natural(line.as_bytes(), at, was);
        assert!(is_natural("chapter 2", 8, b'0'));
        assert!(is_natural("The end", 0, b't'));
        assert!(is_natural("end.", 3, b','));
        assert!(!is_natural("----)", 4, b'-'));
        assert!(!is_natural("the eld", 5, b'n'));
        assert!(is_natural("id 3fa7", 4, b'b'));
        assert!(!is_natural("becquse", 3, b'a'));
        assert!(is_natural("server B", 7, b'C'));
        assert!(is_natural("X-BeenThere", 6, b't'));
        assert!(!is_natural("Delivered-T\u{6f}", 11, b'/'));
    }
}
