//! What a block looks like, by how often which bytes occur in it.
//!
//! A class is a hint for people and for those who look for continuations; nothing is proved by
//! it. Only [`Class::Zero`] is exact: every byte was looked at. The others follow from counts
//! over all bytes, and [`Class::Compressed`] and [`Class::ParityLike`] from a histogram of an
//! eighth of the block besides.

mod census;

use census::{Census, census, is_zero, text_census};
pub(crate) use census::{is_text, names_after_other};

/// Bytes in a block, the unit of classification: what most file systems allocate by.
pub const BLOCK_BYTES: usize = 4096;

/// What a block looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// All zeros, and read as such.
    Zero,
    /// Text: mail, logs, sources; up to the zeros that fill its end.
    Text,
    /// Lines of base64.
    Base64,
    /// Text with many bytes written as `=` and two digits.
    QuotedPrintable,
    /// Every byte as likely as any other: compressed or encrypted.
    Compressed,
    /// Bytes with the statistics of several texts XORed together: parity over mail.
    ParityLike,
    /// Other data.
    Binary,
    /// Metadata that a detector has recognised.
    Metadata(Family),
    /// Some of it could not be read.
    Unread,
}

/// Whose metadata a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// ext2, ext3, ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// Labels of RAID, volume managers, partition tables, encryption.
    Label,
}

/// All classes with their names in the catalogue.
const NAMES: [(Class, &str); 12] = [
    (Class::Zero, "zero"),
    (Class::Text, "text"),
    (Class::Base64, "base64"),
    (Class::QuotedPrintable, "quoted-printable"),
    (Class::Compressed, "compressed"),
    (Class::ParityLike, "parity-like"),
    (Class::Binary, "binary"),
    (Class::Metadata(Family::Ext), "ext-metadata"),
    (Class::Metadata(Family::Xfs), "xfs-metadata"),
    (Class::Metadata(Family::Btrfs), "btrfs-metadata"),
    (Class::Metadata(Family::Label), "label"),
    (Class::Unread, "unread"),
];

impl Class {
    /// Its name in the catalogue.
    pub fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(class, _)| *class == self);
        named.map_or("binary", |(_, name)| name)
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = NAMES.iter().find(|(_, known)| *known == name);
        named.map(|(class, _)| *class)
    }

    /// The class of a block that was read without gaps, by its bytes alone.
    pub fn of(block: &[u8]) -> Self {
        Looked::at(block).class
    }
}

/// A block that was looked at.
pub(crate) struct Looked {
    /// Its class.
    pub(crate) class: Class,
    /// Whether a name may begin in it behind a byte that is no text.
    pub(crate) has_other: bool,
}

impl Looked {
    /// Looks at a block of at most [`BLOCK_BYTES`].
    pub(crate) fn at(block: &[u8]) -> Self {
        if is_zero(block) {
            return Self {
                class: Class::Zero,
                // No name can begin among zeros; what begins behind them is the next block's.
                has_other: false,
            };
        }
        let counts = census(block);
        let body = trimmed(block, &counts);
        let class = if is_textual(body, &counts) {
            text_class(body, &counts)
        } else {
            // The zeros that fill the end are not among the small numbers of binary data.
            other_class(block, &counts, block.len().saturating_sub(body.len()))
        };
        Self {
            class,
            has_other: counts.text < block.len(),
        }
    }
}

/// A block without the zeros at its end.
fn trimmed<'a>(block: &'a [u8], counts: &Census) -> &'a [u8] {
    if counts.zeros == 0 {
        return block;
    }
    let last = block.iter().rposition(|byte| *byte != 0);
    let end = last.map_or(0, |last| last.saturating_add(1));
    block.get(..end).unwrap_or_default()
}

/// Whether a block without its fill is text: mostly ASCII, or in another character set, which
/// has high bytes but hardly any control characters.
fn is_textual(body: &[u8], counts: &Census) -> bool {
    let length = body.len();
    let other = length.saturating_sub(counts.text);
    let controls = other.saturating_sub(counts.high);
    if other.saturating_mul(8) <= length {
        return true;
    }
    controls.saturating_mul(100) <= length
        && (counts.text.saturating_mul(10) >= length || is_utf8(body))
}

/// Whether bytes out of the middle of a text are UTF-8, but for letters that their ends cut.
fn is_utf8(body: &[u8]) -> bool {
    let cut = body.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80);
    let whole = body.get(cut.count()..).unwrap_or_default();
    std::str::from_utf8(whole).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// Which kind of text.
fn text_class(body: &[u8], all: &Census) -> Class {
    let counts = text_census(body);
    let of = body.len();
    let share =
        |count: usize, percent: usize| count.saturating_mul(100) >= of.saturating_mul(percent);
    // First, since `=D0=BF` has nothing that base64 has not.
    if share(counts.equals, 1) && is_quoted_printable(body, counts.equals) {
        return Class::QuotedPrintable;
    }
    // Base64 knows capitals, which hexadecimal digits in small letters do not have, and breaks
    // its lines after 76 characters, or after 998 at most.
    if share(counts.base64, 98)
        && share(counts.capitals, 15)
        && counts.lines.saturating_mul(1000) >= of.saturating_sub(1000)
    {
        return Class::Base64;
    }
    // An odd number of texts XORed has letters again, but no words, and what texts have not.
    let controls = of.saturating_sub(all.text.saturating_add(all.high));
    if share(controls, 3) && share(counts.rare, 3) && !share(counts.spaces, 5) {
        return Class::ParityLike;
    }
    Class::Text
}

/// Whether four of five equals signs are followed by two hexadecimal digits or a line's end
/// (RFC 2045, section 6.7).
fn is_quoted_printable(body: &[u8], equals: usize) -> bool {
    let quoted = memchr::memchr_iter(b'=', body)
        .filter(|at| {
            let rest = body.get(at.saturating_add(1)..).unwrap_or_default();
            match rest {
                [b'\n', ..] | [b'\r', b'\n', ..] | [] => true,
                [a, b, ..] => is_capital_hex(*a) && is_capital_hex(*b),
                [a] => is_capital_hex(*a) || *a == b'\r',
            }
        })
        .count();
    quoted.saturating_mul(5) >= equals.saturating_mul(4)
}

const fn is_capital_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// Which kind of what is no text.
fn other_class(block: &[u8], counts: &Census, filled: usize) -> Class {
    let length = block.len();
    // Seven bits a byte and all values of them, yet no text: texts XORed. Small numbers have more
    // zeros, and lists of names no other control characters.
    let inner_zeros = counts.zeros.saturating_sub(filled);
    let controls = length.saturating_sub(
        counts
            .text
            .saturating_add(counts.high)
            .saturating_add(counts.zeros),
    );
    if counts.high.saturating_mul(25) <= length
        && inner_zeros.saturating_mul(100) <= length.saturating_mul(15)
        && controls.saturating_mul(12) >= length
        // Two texts give 32 differences of letters, and 32 of letters and spaces.
        && Histogram::of(block).distinct() >= 40
    {
        return Class::ParityLike;
    }
    let near = |count: usize, wanted: usize, percent: usize| {
        let difference = count.abs_diff(wanted);
        difference.saturating_mul(100) <= wanted.saturating_mul(percent)
    };
    // Of 256 values, 128 are high and 98 text: what is far from that needs no closer look.
    if near(counts.high, length / 2, 20)
        && near(counts.text, length.saturating_mul(98) / 256, 20)
        && counts.zeros.saturating_mul(64) <= length
        && Histogram::of(block).is_even()
    {
        return Class::Compressed;
    }
    Class::Binary
}

/// How often each byte occurs in every eighth stretch of 64 bytes.
struct Histogram {
    counts: [u16; 256],
    looked: u32,
}

impl Histogram {
    fn of(block: &[u8]) -> Self {
        let mut counts = [0_u16; 256];
        let mut looked = 0_u32;
        for stretch in block.chunks(64).step_by(8) {
            for byte in stretch {
                if let Some(count) = counts.get_mut(usize::from(*byte)) {
                    *count = count.saturating_add(1);
                }
            }
            looked = looked.saturating_add(stretch.len() as u32);
        }
        Self { counts, looked }
    }

    /// How many values occur.
    fn distinct(&self) -> usize {
        self.counts.iter().filter(|count| **count > 0).count()
    }

    /// Whether all values are about as frequent: by Pearson's chi-squared, whose mean is 255
    /// and whose deviation is 23 for bytes that are drawn evenly.
    fn is_even(&self) -> bool {
        let looked = u64::from(self.looked);
        let squares: u64 = self
            .counts
            .iter()
            .map(|count| u64::from(*count).saturating_mul(u64::from(*count)))
            .sum();
        // chi² = 256 · Σ c² / n − n
        let sum = squares.saturating_mul(256);
        looked >= 256 && sum < looked.saturating_mul(looked.saturating_add(420))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// English with some markup.
    const PROSE: [&str; 6] = [
        include_str!("../../../../docs/geometry.md"),
        include_str!("../../../../docs/ARCHITECTURE.md"),
        include_str!("../../../../docs/recovery-guide.md"),
        include_str!("../../../../docs/filesystems.md"),
        include_str!("../../../../docs/case-format.md"),
        include_str!("../../../../CHANGELOG.md"),
    ];

    fn blocks(text: &str) -> impl Iterator<Item = &[u8]> {
        text.as_bytes().chunks_exact(BLOCK_BYTES)
    }

    /// Bytes that look random.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = bytes.iter().map(|byte| DIGITS[usize::from(byte & 63)]);
        let digits: Vec<u8> = digits.collect();
        digits
            .chunks(76)
            .flat_map(|line| [line, b"\r\n"].concat())
            .collect()
    }

    #[test]
    fn names_lead_back() {
        for (class, name) in NAMES {
            assert_eq!(class.name(), name);
            assert_eq!(Class::from_name(name), Some(class));
        }
        assert_eq!(Class::from_name("holiday"), None);
    }

    #[test]
    fn only_zeros_are_zero() {
        let mut block = vec![0; BLOCK_BYTES];
        assert_eq!(Class::of(&block), Class::Zero);
        for at in [0, 1, 255, 256, 2047, 4095] {
            block[at] = 1;
            assert_ne!(Class::of(&block), Class::Zero, "at {at}");
            block[at] = 0;
        }
    }

    #[test]
    fn texts_are_texts_in_every_language_and_up_to_their_end() {
        for block in PROSE.into_iter().flat_map(blocks) {
            assert_eq!(Class::of(block), Class::Text);
        }
        let languages: [&[u8]; 5] = [
            include_bytes!("../../../../scripts/lab/text/de.txt"),
            include_bytes!("../../../../scripts/lab/text/en.txt"),
            include_bytes!("../../../../scripts/lab/text/fr.txt"),
            include_bytes!("../../../../scripts/lab/text/ja.txt"),
            include_bytes!("../../../../scripts/lab/text/ru.txt"),
        ];
        for text in languages {
            let mut block = text[..text.len().min(BLOCK_BYTES)].to_vec();
            block.resize(BLOCK_BYTES, 0);
            assert_eq!(Class::of(&block), Class::Text);
            // Cut in the middle of a letter too.
            assert_eq!(Class::of(&text[1..1000]), Class::Text);
        }
    }

    #[test]
    fn encodings_of_mail_are_told_apart() {
        let noise = noise(BLOCK_BYTES * 64);
        for block in base64(&noise).chunks_exact(BLOCK_BYTES) {
            assert_eq!(Class::of(block), Class::Base64);
        }
        let russian = include_bytes!("../../../../scripts/lab/text/ru.txt");
        let mut quoted = Vec::new();
        for byte in russian {
            quoted.extend_from_slice(format!("={byte:02X}").as_bytes());
            if quoted.len() % 76 == 0 {
                quoted.extend_from_slice(b"=\n");
            }
        }
        assert_eq!(Class::of(&quoted[..BLOCK_BYTES]), Class::QuotedPrintable);
        let source = "let answer = question == other; // = what\n".repeat(100);
        assert_eq!(Class::of(&source.as_bytes()[..BLOCK_BYTES]), Class::Text);
        let hex = "0123456789abcdef0123456789abcdef0123456789abcdef\n".repeat(90);
        assert_eq!(Class::of(&hex.as_bytes()[..BLOCK_BYTES]), Class::Text);
    }

    #[test]
    fn noise_is_compressed_and_programs_are_binary() {
        for block in noise(BLOCK_BYTES * 256).chunks_exact(BLOCK_BYTES) {
            assert_eq!(Class::of(block), Class::Compressed);
        }
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let classes: Vec<Class> = program
            .chunks_exact(BLOCK_BYTES)
            .take(4096)
            .map(Class::of)
            .collect();
        let binary = classes.iter().filter(|class| **class == Class::Binary);
        let parity = classes.iter().filter(|class| **class == Class::ParityLike);
        let compressed = classes.iter().filter(|class| **class == Class::Compressed);
        assert!(binary.count() * 2 > classes.len());
        assert!(compressed.count() * 100 < classes.len());
        assert!(parity.count() * 100 < classes.len());
        assert_eq!(Class::of(&[0xFF; BLOCK_BYTES]), Class::Binary);
    }

    #[test]
    fn texts_xored_look_like_parity_and_like_nothing_else() {
        let prose = PROSE.concat().into_bytes();
        for members in 2..=7 {
            let (mut right, mut all) = (0, 0);
            for first in 0..100 {
                let mut sum = vec![0; BLOCK_BYTES];
                for member in 0..members {
                    let at = (first * 257 + member * 5303) % (prose.len() - BLOCK_BYTES);
                    for (sum, byte) in sum.iter_mut().zip(&prose[at..]) {
                        *sum ^= byte;
                    }
                }
                all += 1;
                right += usize::from(Class::of(&sum) == Class::ParityLike);
            }
            // Texts with tables and many dashes are harder.
            assert!(right * 5 >= all * 4, "{right} of {all} with {members}");
        }
    }
}
