//! What a block's contents say of whether it is what was stored there.

use super::code::is_zero;

/// In blocks that make sense so many bytes are characters of text or zeros, or zeros alone. The sum of
/// three texts has some bytes in a hundred that are neither.
const SENSE_PERCENT: usize = 99;
const ZERO_PERCENT: usize = 40;

/// Whether a member as it would be, if it alone were wrong, is so plainly something that was
/// stored that the others must be right: the sum of unrelated blocks is noise.
///
/// Text from the first to the last byte, or to where zeros fill the block, is; and so is a block
/// of zeros. Neither counts if it is only what another member holds: where the rest of a row
/// is zero, every member's rebuilt block is a copy of the one that is not.
pub(super) fn speaks_for_itself<'a>(
    rebuilt: &[u8],
    others: impl Iterator<Item = &'a [u8]> + Clone,
) -> bool {
    if is_zero(rebuilt) {
        // Several others that cancel out are a relation; others that are all zero are none.
        return others.filter(|other| !is_zero(other)).count() > 1;
    }
    let mut others = others;
    is_text(rebuilt) && !others.any(|other| other == rebuilt)
}

/// Whether a member as it would be, if it alone were wrong, may have been stored: the sum of
/// unrelated blocks is noise, with few characters of text and few zeros. What another member holds
/// says nothing.
pub(super) fn makes_sense<'a>(rebuilt: &[u8], mut others: impl Iterator<Item = &'a [u8]>) -> bool {
    let text = rebuilt
        .iter()
        .filter(|byte| matches!(byte, 0 | b'\t' | b'\n' | b'\r' | 0x20..=0x7e));
    let zeros = rebuilt.iter().filter(|byte| **byte == 0);
    let is_sense = text.count() * 100 >= rebuilt.len() * SENSE_PERCENT
        || zeros.count() * 100 >= rebuilt.len() * ZERO_PERCENT;
    is_sense && !others.any(|other| other == rebuilt)
}

/// Whether a block is text, then zeros to its end. A line of it at least: a few letters can be
/// chance.
pub(super) fn is_text(block: &[u8]) -> bool {
    const LEAST: usize = 128;
    let length = block
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let text = block.get(..length).unwrap_or_default();
    length >= LEAST
        && text
            .iter()
            .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_zeros_speak_for_themselves_unless_they_are_copies() {
        let mut text = b"a line of mail\r\n".repeat(20);
        text.resize(512, 0);
        let zeros = [0; 512];
        let data = [0x80; 512];
        let none =
            |others: &[&[u8]], rebuilt: &[u8]| speaks_for_itself(rebuilt, others.iter().copied());
        assert!(none(&[&data, &zeros], &text));
        assert!(!none(&[&data, &text], &text));
        assert!(none(&[&data, &data], &zeros));
        assert!(!none(&[&data, &zeros], &zeros));
        assert!(!none(&[&zeros], &data));
        assert!(!is_text(&text[..100]));
        let sense = |rebuilt: &[u8]| makes_sense(rebuilt, [&data[..]].into_iter());
        assert!(sense(&text) && sense(&zeros) && !sense(&data));
        text[3] = 7;
        assert!(sense(&text));
        assert!(!none(&[&data, &zeros], &text));
    }
}
