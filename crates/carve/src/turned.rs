//! Bits that turned on a device, where nothing shows them.
//!
//! A body hash shows that a bit is wrong. What is not signed has no such proof: of the bits that
//! turn in base64 half give another character of it, which may as well stand there. But the other
//! half can be seen: one byte in a line among lines of one length that is no base64, and would be
//! with one bit turned back. No program writes that. So many as are seen are not.

use mail::Proof;
use rayon::prelude::*;

use crate::Carving;
use crate::blocks::{BlockKind, Blocks};
use crate::reader::is_base64_byte;

/// A message is not called whole if a bit in it has turned unseen with this likelihood.
const DOUBT: f64 = 0.1;
/// Lines of base64 are so long at least.
const LEAST_LINE: usize = 60;

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
            .reduce(Self::default, |a, b| Self {
                seen: a.seen.saturating_add(b.seen),
                bytes: a.bytes.saturating_add(b.bytes),
            })
    }

    /// What the lines of a block show that have lines of base64 before and behind them.
    fn in_block(block: &[u8]) -> Self {
        let mut found = Self::default();
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').collect();
        for around in lines.windows(3) {
            let [before, line, behind] = around else {
                continue;
            };
            let long = line.len() >= LEAST_LINE;
            if long && before.len() == line.len() && is_base64(before) && is_base64(behind) {
                found.bytes = found.bytes.saturating_add(line.len() as u64);
                found.seen = found.seen.saturating_add(u64::from(has_turned_bit(line)));
            }
        }
        found
    }

    /// Doubts the long ones among `messages` that only their structure proves.
    pub(crate) fn doubt(self, messages: &mut [Carving]) {
        if self.seen == 0 {
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

fn is_base64(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    !line.is_empty() && line.iter().all(|byte| is_base64_byte(*byte))
}

/// Whether one byte of a line is no base64, and is with one bit turned.
fn has_turned_bit(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut others = line.iter().filter(|byte| !is_base64_byte(**byte));
    let (Some(byte), None) = (others.next(), others.next()) else {
        return false;
    };
    (0..8).any(|bit| is_base64_byte(byte ^ (1 << bit)))
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
