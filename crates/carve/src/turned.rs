//! Bits that turned on a device, where nothing shows them.
//!
//! A body hash shows that a bit is wrong. What is not signed has no such proof: of the bits that
//! turn in base64 half give another character of it, which may as well stand there. But the other
//! half can be seen: one byte in a line among lines of one length that is no base64, and would be
//! with one bit turned back. No program writes that. So many as are seen are not.

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::record::Repair;
use mail::turned::{Base64, LEAST_LINE, is_base64, turned_byte};
use rayon::prelude::*;

use crate::Carving;
use crate::blocks::{BlockKind, Blocks};
use crate::lines::Lines;

/// A message is not called whole if a bit in it has turned unseen with this likelihood.
pub(crate) const DOUBT: f64 = 0.1;

/// The bits that were seen to have turned, and the bytes of base64 that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    seen: u64,
    bytes: u64,
}

impl Turned {
    /// Looks through all blocks of text.
    pub(crate) fn of(blocks: &Blocks<'_>) -> Self {
        (0..blocks.count())
            .into_par_iter()
            .filter(|number| blocks.kind(*number) == BlockKind::Text)
            .map(|number| Self::in_block(&blocks.read(number)))
            .reduce(Self::default, Self::and)
    }

    /// What both saw.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            seen: self.seen.saturating_add(other.seen),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn in_block(block: &[u8]) -> Self {
        let base64 = Base64::between_lines(block);
        Self {
            seen: base64.turned.len() as u64,
            bytes: base64.bytes,
        }
    }

    /// How many bits turned in a byte at most, with those that can't be seen, where body hashes show that
    /// `bits` have in as many `bytes`.
    pub(crate) fn rate(self, bits: usize, bytes: u64) -> f64 {
        let bits = self
            .seen
            .saturating_mul(2)
            .saturating_add(bits as u64)
            .saturating_add(1);
        bits as f64 / self.bytes.saturating_add(bytes).max(1) as f64
    }

    /// Whether any was seen.
    pub(crate) const fn any(self) -> bool {
        self.seen > 0
    }

    /// Doubts the long ones among `messages` that only their structure proves.
    pub(crate) fn doubt(self, messages: &mut [Carving]) {
        if !self.any() {
            return;
        }
        let Self { seen, bytes } = self;
        let most = -(1.0 - DOUBT).ln() * bytes as f64 / seen as f64;
        for one in messages {
            let length: u64 = one.found.pieces.iter().map(|(_, length)| length).sum();
            if one.found.proof == Some(Proof::Structure) && length as f64 > most {
                one.found.contradictions.push(format!(
                    "{seen} bits are seen to have turned in the {bytes} bytes of base64 on this \
                     device, and as many turned unseen: likely one in a message of this length"
                ));
            }
        }
    }
}

/// Doubts those among `messages` in which a bit can be seen to have turned that no proof speaks of: in the
/// header of one that a body hash proves, and in all of one that its structure does.
pub(crate) fn doubt_lines(messages: &mut [Carving], device: &dyn ReadAt, lines: &Lines) {
    messages.par_iter_mut().for_each(|one| {
        if one.found.proof.is_none() || !one.found.contradictions.is_empty() {
            return;
        }
        let content = content(one, device);
        let is_hashed = one.found.proof != Some(Proof::Structure);
        let mut in_header = true;
        let mut start = 0_usize;
        let mut before = b"".as_slice();
        for line in content.split(|byte| *byte == b'\n') {
            let above = std::mem::replace(&mut before, line);
            in_header &= !matches!(line, b"" | b"\r");
            if is_hashed && !in_header {
                return;
            }
            let why = lines.turned(line).map(|(at, was, count)| {
                let was = char::from(was).escape_default();
                (
                    at,
                    format!("{count} others have the same line with {was} there"),
                )
            });
            let why = why.or_else(|| {
                let (at, why) = odd_byte(above, line, in_header)?;
                Some((at, why.to_owned()))
            });
            if let Some((at, why)) = why {
                let place = start.saturating_add(at);
                let what = format!("a bit of byte {place} has turned: {why}");
                one.found.contradictions.push(what);
                return;
            }
            start = start.saturating_add(line.len()).saturating_add(1);
        }
    });
}

/// Where a line below another has a byte that none has, and why.
fn odd_byte(above: &[u8], line: &[u8], in_header: bool) -> Option<(usize, &'static str)> {
    let because = |at: Option<usize>, why| at.map(|at| (at, why));
    let in_base64 = line.len() >= LEAST_LINE && above.len() == line.len() && is_base64(above);
    let strange = strange(line).filter(|_| in_header);
    let turned = turned_byte(line)
        .and_then(|turned| usize::try_from(turned.at).ok())
        .filter(|_| in_base64);
    because(strange, "no header has such a byte there")
        .or_else(|| because(odd_name(line), "nobody writes that name so"))
        .or_else(|| because(turned, "it is in a line of base64"))
}

/// The bytes of a message, with its repairs.
fn content(one: &Carving, device: &dyn ReadAt) -> Vec<u8> {
    let mut content = Vec::new();
    for (at, length) in &one.found.pieces {
        let length = usize::try_from(*length).unwrap_or(0);
        content.extend(
            device
                .read_whole(ByteOffset::new(*at), length)
                .unwrap_or_default(),
        );
    }
    Repair::put_in(&one.found.repairs, &mut content);
    content
}

/// Where a line of a header has a byte that none has: a control character but for those that shift
/// between alphabets (ISO 2022), or the only one that is not
/// ASCII in a long value without spaces, which a machine wrote.
fn strange(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_control = |byte: &u8| matches!(byte, 1..=8 | 11 | 12 | 14..=26 | 28..=31 | 127);
    if let Some(at) = line.iter().position(is_control) {
        return Some(at);
    }
    let value = line.trim_ascii();
    let mut others = line.iter().enumerate().filter(|(_, byte)| !byte.is_ascii());
    let only = others.next().filter(|_| others.next().is_none())?;
    (value.len() >= LEAST_LINE && !value.contains(&b' ')).then_some(only.0)
}

/// Where the name of a field of MIME (RFC 2045) has a capital letter within a word of small ones.
fn odd_name(line: &[u8]) -> Option<usize> {
    let name = line.split(|byte| *byte == b':').next()?;
    let is_field = name.len() < line.len() && name.get(..8)?.eq_ignore_ascii_case(b"content-");
    let is_odd = |word: &[u8]| match word {
        [before, at, behind] => {
            before.is_ascii_lowercase() && at.is_ascii_uppercase() && behind.is_ascii_lowercase()
        }
        _ => false,
    };
    let odd = name.windows(3).position(is_odd).filter(|_| is_field)?;
    odd.checked_add(1)
}

/// Whether the line before or behind one is base64 of its length, and it is too but for one turned bit.
pub(crate) fn is_among_base64(lines: &[&[u8]], index: usize) -> bool {
    let Some(line) = lines.get(index).filter(|line| line.len() >= LEAST_LINE) else {
        return false;
    };
    let before = index.checked_sub(1).and_then(|before| lines.get(before));
    let behind = lines.get(index.saturating_add(1));
    let mut around = before.into_iter().chain(behind);
    around.any(|other| other.len() == line.len() && is_base64(other))
        && (is_base64(line) || turned_byte(line).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::carved::Carved;

    fn block(turn: Option<(usize, u8)>) -> Vec<u8> {
        let mut block: Vec<u8> = b"QUJDabcd0123+/xyZabQ".repeat(160);
        for end in block.iter_mut().skip(76).step_by(77) {
            *end = b'\n';
        }
        if let Some((at, bit)) = turn {
            block[at] ^= bit;
        }
        block
    }

    #[test]
    fn a_turned_bit_in_base64_is_seen_if_it_gives_no_base64() {
        let sound = Turned::in_block(&block(None));
        assert_eq!(sound.seen, 0);
        assert!(sound.bytes > 2500);
        assert_eq!(Turned::in_block(&block(Some((500, 0x80)))).seen, 1);
        // 'Q' and 'U' are both base64.
        let at = (400..).find(|at| block(None)[*at] == b'Q').unwrap();
        assert_eq!(Turned::in_block(&block(Some((at, 4)))).seen, 0);
        assert_eq!(
            Turned::in_block(&b"Some text, and more.\n".repeat(40)),
            Turned::default()
        );
    }

    #[test]
    fn no_program_writes_a_capital_within_a_word_of_a_mime_field() {
        assert_eq!(odd_name(b"Content-TransfEr-Encoding: base64"), Some(14));
        for sound in [
            "Content-MD5: x",
            "CONTENT-TYPE: a/b",
            "X-BeenThere: a",
            "Content-type of",
        ] {
            assert_eq!(odd_name(sound.as_bytes()), None, "{sound}");
        }
    }

    #[test]
    fn a_line_among_base64_has_no_other_byte() {
        let above = [b'Q'; 76];
        let mut line = above;
        assert_eq!(odd_byte(&above, &line, false), None);
        line[40] = b'*';
        let odd = Some((40, "it is in a line of base64"));
        assert_eq!(odd_byte(&above, &line, false), odd);
        assert_eq!(odd_byte(&line, &line, false), None);
    }

    #[test]
    fn bytes_that_no_header_has_are_strange() {
        assert_eq!(strange(b"Subject: RE: [\x10ATCH 1/2]"), Some(14));
        let mut value = b" b=".to_vec();
        value.extend_from_slice(&b"QUJDabcd0123".repeat(6));
        assert_eq!(strange(&value), None);
        value[20] |= 0x80;
        assert_eq!(strange(&value), Some(20));
        assert_eq!(strange("Subject: Gr\u{fc}\u{df}e an alle".as_bytes()), None);
        assert_eq!(strange(b"Subject:\ttabs are none"), None);
    }

    #[test]
    fn long_messages_without_a_hash_are_doubted_where_bits_turned() {
        let carving = |length, proof| Carving {
            found: Carved {
                pieces: vec![(4096, length)],
                proof: Some(proof),
                ..Carved::default()
            },
            end: None,
            borders: Vec::new(),
        };
        let doubted = |seen| {
            let mut messages = [
                carving(10_000, Proof::Structure),
                carving(11_000, Proof::Structure),
                carving(90_000, Proof::BodyHash),
            ];
            let bytes = 100_000 * 10;
            Turned { seen, bytes }.doubt(&mut messages);
            messages.map(|one| !one.found.contradictions.is_empty())
        };
        // Ten in a million: of messages of 10.5 KB one in ten.
        assert_eq!(doubted(10), [false, true, false]);
        assert_eq!(doubted(0), [false; 3]);
    }
}
