//! Counting kinds of bytes in a block, many at a time.
//!
//! Each count is a lane of bytes that grow by one where a byte is of the kind, which compilers
//! turn into vector instructions; the widest that the processor has are chosen at run time.

/// Bytes counted at once.
const LANES: usize = 32;
/// More bytes than this would overflow a lane.
const MOST_BYTES: usize = LANES * 255;

/// How many bytes of a block are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Printable ASCII, tab, line feed, carriage return.
    pub(super) text: usize,
    /// 0x80 and above.
    pub(super) high: usize,
    /// 0x00.
    pub(super) zeros: usize,
}

/// The same for a block that looks like text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TextCensus {
    /// Letters, digits, `+`, `/`, `=` and ends of lines.
    pub(super) base64: usize,
    /// Capital letters.
    pub(super) capitals: usize,
    /// Spaces, tabs and line feeds.
    pub(super) spaces: usize,
    /// Line feeds.
    pub(super) lines: usize,
    /// `=`.
    pub(super) equals: usize,
    /// Those that texts have few of: `` ` ``, `{`, `|`, `}`, `~`.
    pub(super) rare: usize,
}

/// Runs a loop in the widest form that this processor has.
macro_rules! widest {
    ($plain:ident, $avx2:ident, $bytes:expr) => {{
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "the processor has AVX2, as just checked")]
            return unsafe { $avx2($bytes) };
        }
        $plain($bytes)
    }};
}

/// Counts the bytes of `block`, of which at most 8,160 are looked at.
pub(super) fn census(block: &[u8]) -> Census {
    let block = block.get(..block.len().min(MOST_BYTES)).unwrap_or_default();
    widest!(census_plain, census_avx2, block)
}

/// Counts what matters in a text, in at most 8,160 bytes.
pub(super) fn text_census(block: &[u8]) -> TextCensus {
    let block = block.get(..block.len().min(MOST_BYTES)).unwrap_or_default();
    widest!(text_census_plain, text_census_avx2, block)
}

/// Whether all bytes are zero.
pub(super) fn is_zero(block: &[u8]) -> bool {
    // In stretches, since most blocks that are not zero end in the first.
    block
        .chunks(256)
        .all(|stretch| stretch.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Adds to `places` where, among the first `own` of `bytes`, a byte that is no text is followed by
/// four bytes that a name may consist of: the places of the names' first bytes. `before` is the
/// byte before the first.
pub(crate) fn names_after_other(
    before: Option<u8>,
    bytes: &[u8],
    own: usize,
    places: &mut Vec<usize>,
) {
    if let (Some(before), Some(name)) = (before, bytes.get(..NAME))
        && !is_text(before)
        && name.iter().all(|byte| is_name(*byte))
    {
        places.push(0);
    }
    // A place is found by the byte before it, so the last one looked at is that before the last.
    let looked = own.saturating_sub(1);
    let end = looked.saturating_add(NAME).min(bytes.len());
    name_stretches(bytes.get(..end).unwrap_or_default(), looked, places);
}

/// The same for bytes whose first `looked` may stand before a place.
fn name_stretches(bytes: &[u8], looked: usize, places: &mut Vec<usize>) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the processor has AVX2, as just checked")]
        return unsafe { name_stretches_avx2(bytes, looked, places) };
    }
    name_stretches_plain(bytes, looked, places);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn name_stretches_avx2(bytes: &[u8], looked: usize, places: &mut Vec<usize>) {
    name_stretches_plain(bytes, looked, places);
}

#[inline(always)]
fn name_stretches_plain(bytes: &[u8], looked: usize, places: &mut Vec<usize>) {
    let mut at = 0_usize;
    while at < looked {
        let end = at.saturating_add(STRETCH).min(looked);
        match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(stretch) => {
                let begins = names_behind(stretch);
                let (eights, _) = begins.as_chunks::<8>();
                for (number, eight) in eights.iter().enumerate() {
                    let mut left = u64::from_le_bytes(*eight);
                    while left != 0 {
                        let index = number * 8 + left.trailing_zeros() as usize / 8;
                        places.extend(Some(at + index + 1).filter(|place| *place <= end));
                        left &= left - 1;
                    }
                }
            }
            // The last stretch is not whole: there each byte is looked at.
            None => exact_names(bytes, at..end, places),
        }
        at = end;
    }
}

/// Letters that must follow.
const NAME: usize = 4;
/// Bytes in which the vector loop says where there is such a place.
const STRETCH: usize = 64;

#[inline(never)]
fn exact_names(bytes: &[u8], range: std::ops::Range<usize>, places: &mut Vec<usize>) {
    for at in range {
        let Some([before, name @ ..]) = bytes.get(at..at.saturating_add(NAME).saturating_add(1))
        else {
            return;
        };
        if !is_text(*before) && name.iter().all(|byte| is_name(*byte)) {
            places.push(at.saturating_add(1));
        }
    }
}

/// Which of the first bytes of `stretch` stand before such a place; its last bytes complete the others.
#[inline(always)]
fn names_behind(stretch: &[u8; STRETCH + NAME]) -> [u8; STRETCH] {
    // Each byte is judged once; then the judgements are laid over each other, shifted. Lengths are
    // constant, so that the compiler sees that all of it is there.
    let mut name = [0_u8; STRETCH + NAME];
    for (name, byte) in name.iter_mut().zip(stretch) {
        *name = u8::from(is_name(*byte));
    }
    let mut begins = [0_u8; STRETCH];
    for (index, begins) in begins.iter_mut().enumerate() {
        let other = u8::from(!is_text(stretch[index]));
        *begins = other & name[index + 1] & name[index + 2] & name[index + 3] & name[index + 4];
    }
    begins
}

#[inline(always)]
fn census_plain(block: &[u8]) -> Census {
    let (mut text, mut high, mut zeros) = ([0_u8; LANES], [0_u8; LANES], [0_u8; LANES]);
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (((text, high), zeros), byte) in
            text.iter_mut().zip(&mut high).zip(&mut zeros).zip(chunk)
        {
            *text = text.wrapping_add(u8::from(is_text(*byte)));
            *high = high.wrapping_add(u8::from(*byte >= 0x80));
            *zeros = zeros.wrapping_add(u8::from(*byte == 0));
        }
    }
    let count = |kind: fn(u8) -> bool| rest.iter().filter(|byte| kind(**byte)).count();
    Census {
        text: sum(&text).saturating_add(count(is_text)),
        high: sum(&high).saturating_add(count(|byte| byte >= 0x80)),
        zeros: sum(&zeros).saturating_add(count(|byte| byte == 0)),
    }
}

#[inline(always)]
fn text_census_plain(block: &[u8]) -> TextCensus {
    let (mut base64, mut capitals, mut spaces) = ([0_u8; LANES], [0_u8; LANES], [0_u8; LANES]);
    let (mut lines, mut equals, mut rare) = ([0_u8; LANES], [0_u8; LANES], [0_u8; LANES]);
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for (((base64, capitals), spaces), byte) in base64
            .iter_mut()
            .zip(&mut capitals)
            .zip(&mut spaces)
            .zip(chunk)
        {
            *base64 = base64.wrapping_add(u8::from(is_base64(*byte)));
            *capitals = capitals.wrapping_add(u8::from(is_capital(*byte)));
            *spaces = spaces.wrapping_add(u8::from(is_space(*byte)));
        }
        for (((lines, equals), rare), byte) in
            lines.iter_mut().zip(&mut equals).zip(&mut rare).zip(chunk)
        {
            *lines = lines.wrapping_add(u8::from(*byte == b'\n'));
            *equals = equals.wrapping_add(u8::from(*byte == b'='));
            *rare = rare.wrapping_add(u8::from(is_rare(*byte)));
        }
    }
    let count = |kind: fn(u8) -> bool| rest.iter().filter(|byte| kind(**byte)).count();
    TextCensus {
        base64: sum(&base64).saturating_add(count(is_base64)),
        capitals: sum(&capitals).saturating_add(count(is_capital)),
        spaces: sum(&spaces).saturating_add(count(is_space)),
        lines: sum(&lines).saturating_add(count(|byte| byte == b'\n')),
        equals: sum(&equals).saturating_add(count(|byte| byte == b'=')),
        rare: sum(&rare).saturating_add(count(is_rare)),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn census_avx2(block: &[u8]) -> Census {
    census_plain(block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn text_census_avx2(block: &[u8]) -> TextCensus {
    text_census_plain(block)
}

#[inline(always)]
fn sum(lanes: &[u8; LANES]) -> usize {
    lanes.iter().map(|lane| usize::from(*lane)).sum()
}

/// Printable ASCII, tab, line feed or carriage return.
#[inline(always)]
pub(crate) const fn is_text(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5F) | (byte == b'\t') | (byte == b'\n') | (byte == b'\r')
}

/// What the names of header fields consist of.
#[inline(always)]
const fn is_name(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte == b'-')
}

#[inline(always)]
const fn is_base64(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26)
        // From `/` on, the digits.
        | (byte.wrapping_sub(b'/') < 11)
        | (byte == b'+')
        | (byte == b'=')
        | (byte == b'\n')
        | (byte == b'\r')
}

#[inline(always)]
const fn is_capital(byte: u8) -> bool {
    byte.wrapping_sub(b'A') < 26
}

#[inline(always)]
const fn is_space(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\n') | (byte == b'\t')
}

#[inline(always)]
const fn is_rare(byte: u8) -> bool {
    (byte == b'`') | (byte.wrapping_sub(b'{') < 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn vectors_count_what_single_bytes_do(block in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let count = |kind: fn(u8) -> bool| block.iter().filter(|byte| kind(**byte)).count();
            let census = census(&block);
            prop_assert_eq!(census.text, count(is_text));
            prop_assert_eq!(census.high, count(|byte| byte >= 0x80));
            prop_assert_eq!(census.zeros, count(|byte| byte == 0));
            prop_assert_eq!(text_census(&block), text_census_plain(&block));
            prop_assert_eq!(text_census(&block).base64, count(is_base64));
            prop_assert_eq!(text_census(&block).rare, count(is_rare));
        }

        #[test]
        fn names_are_found_wherever_stretches_end(
            block in proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'R'), Just(b'x'), Just(b' ')], 5..400),
            own in 1_usize..400,
            before in proptest::option::of(any::<u8>()),
        ) {
            let own = own.min(block.len());
            let mut found = Vec::new();
            names_after_other(before, &block, own, &mut found);
            let wanted: Vec<usize> = (0..own)
                .filter(|at| {
                    let before = at.checked_sub(1).map_or(before, |at| Some(block[at]));
                    before.is_some_and(|before| !is_text(before))
                        && block.get(*at..at + 4).is_some_and(|name| name.iter().all(|b| is_name(*b)))
                })
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
