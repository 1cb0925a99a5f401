//! What the bytes of a region look like.

use serde::{Deserialize, Serialize};

/// Bytes in a cell, the region that gets one class: fine enough to see a frontier, coarse
/// enough that a disk of a terabyte has a million.
pub const CELL_BYTES: usize = 1 << 20;

/// Bytes looked at as one when telling text from other data.
const BLOCK_BYTES: usize = 4096;

/// What the bytes of a cell look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// All zeros, and read as such.
    #[serde(rename = "0")]
    Zero,
    /// Mostly text: mail, logs, sources.
    #[serde(rename = "t")]
    Text,
    /// Other data.
    #[serde(rename = "d")]
    Data,
    /// Some of it could not be read.
    #[serde(rename = "!")]
    Unread,
}

impl Class {
    /// The letter for it in the catalogue.
    pub const fn letter(self) -> char {
        match self {
            Self::Zero => '0',
            Self::Text => 't',
            Self::Data => 'd',
            Self::Unread => '!',
        }
    }

    /// The class that a letter of the catalogue stands for.
    pub const fn from_letter(letter: char) -> Option<Self> {
        match letter {
            '0' => Some(Self::Zero),
            't' => Some(Self::Text),
            'd' => Some(Self::Data),
            '!' => Some(Self::Unread),
            _ => None,
        }
    }

    /// The class of the bytes of a cell that was read without gaps.
    pub fn of(cell: &[u8]) -> Self {
        let mut text = 0_usize;
        let mut data = 0_usize;
        for block in cell.chunks(BLOCK_BYTES) {
            if is_zero(block) {
                continue;
            }
            if is_text(block) {
                text = text.saturating_add(1);
            } else {
                data = data.saturating_add(1);
            }
        }
        match (text, data) {
            (0, 0) => Self::Zero,
            (text, data) if text > data => Self::Text,
            _ => Self::Data,
        }
    }
}

/// Whether all bytes are zero: looked at in stretches, since most blocks end in the first.
fn is_zero(block: &[u8]) -> bool {
    block
        .chunks(256)
        .all(|stretch| stretch.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Whether a block is text up to the zeros that fill its end.
fn is_text(block: &[u8]) -> bool {
    let end = block
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1));
    let body = block.get(..end).unwrap_or_default();
    // Counted in bytes, stretch by stretch, which the compiler turns into vector instructions.
    let odd: usize = body
        .chunks(255)
        .map(|stretch| {
            let odd: u8 = stretch.iter().map(|byte| u8::from(is_odd(*byte))).sum();
            usize::from(odd)
        })
        .sum();
    // Text in other alphabets has many bytes above 0x7F, but mail writes most of it as ASCII.
    odd.saturating_mul(8) <= body.len()
}

/// Whether a byte is neither printable ASCII nor an end of line or tab.
const fn is_odd(byte: u8) -> bool {
    !((byte >= 0x20) & (byte <= 0x7E) | (byte == b'\t') | (byte == b'\n') | (byte == b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_told_apart_by_most_of_their_blocks() {
        assert_eq!(Class::of(&[0; 8192]), Class::Zero);
        let mut cell = b"Dear customer,\n".repeat(200);
        cell.resize(8192, 0);
        assert_eq!(Class::of(&cell), Class::Text);
        let noise: Vec<u8> = (0..8192_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        assert_eq!(Class::of(&noise), Class::Data);
        for class in [Class::Zero, Class::Text, Class::Data, Class::Unread] {
            assert_eq!(Class::from_letter(class.letter()), Some(class));
        }
    }
}
