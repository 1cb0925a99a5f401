//! Which places of the devices are looked at, and linear sketches of the blocks there.
//!
//! The places are the same on every device and follow from the length alone, so a run repeats.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::document::DeviceName;

/// The unit that is compared between devices.
pub(super) const BLOCK: u64 = 4096;

/// Bytes that are read in one go.
pub(super) const WINDOW: u64 = 1 << 20;

/// Most windows of one device that are looked at. They are read once more for each form of ext
/// journal that is found.
const MOST_WINDOWS: u64 = 128;

/// Windows at the start, where labels, file systems' first groups and their descriptors lie.
const FIRST_WINDOWS: u64 = 16;

/// A device that no label explains.
pub(super) struct Candidate {
    pub(super) name: DeviceName,
    pub(super) device: Arc<dyn ReadAt>,
}

/// The starts of the windows for devices of which the longest has `length` bytes.
pub(super) fn windows(length: u64) -> Vec<u64> {
    windows_of(length, MOST_WINDOWS)
}

/// The same with at most `most` windows, which are more than [`FIRST_WINDOWS`].
pub(super) fn windows_of(length: u64, most: u64) -> Vec<u64> {
    let all = length.div_ceil(WINDOW);
    if all <= most {
        return (0..all).map(|number| number * WINDOW).collect();
    }
    let mut chosen: BTreeSet<u64> = (0..FIRST_WINDOWS).collect();
    // One window from each of as many equal parts, at a place in it that looks random: regular
    // distances would always meet the same member of a row.
    let parts = most - FIRST_WINDOWS;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for part in 0..parts {
        let from = FIRST_WINDOWS + (all - FIRST_WINDOWS) * part / parts;
        let to = FIRST_WINDOWS + (all - FIRST_WINDOWS) * (part + 1) / parts;
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        chosen.insert(from + (state >> 33) % (to - from).max(1));
    }
    chosen.into_iter().map(|number| number * WINDOW).collect()
}

/// The bytes of `device` in the window at `at`, with zeros for what it does not have: zeros
/// say nothing, here as on a disk.
pub(super) fn read_window(device: &dyn ReadAt, at: u64) -> Vec<u8> {
    let length = device.len().saturating_sub(at).min(WINDOW);
    let length = usize::try_from(length).unwrap_or(0);
    device
        .read_vec(ByteOffset::new(at), length)
        .map_or_else(|_| Vec::new(), |(bytes, _gaps)| bytes)
}

/// A linear hash: the sketch of an XOR is the XOR of the sketches, and a block of zeros has
/// the sketch zero.
///
/// It is the block as a polynomial over GF(2^64) at a fixed point, by Horner's rule.
pub(super) struct Sketcher {
    /// The product of the point with each byte value at each place of a word.
    tables: Box<[[u64; 256]; 8]>,
}

/// Where the polynomial is evaluated; any large odd number would do.
const POINT: u64 = 0xD1B5_4A32_D192_ED03;

/// The low bits of x^64 + x^4 + x^3 + x + 1, which is irreducible.
const POLYNOMIAL: u64 = 0x1b;

impl Sketcher {
    pub(super) fn new() -> Self {
        let mut tables = Box::new([[0; 256]; 8]);
        for (place, table) in tables.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                *entry = multiply((value as u64) << (8 * place), POINT);
            }
        }
        Self { tables }
    }

    /// The sketch of `block`; bytes after the last whole word do not count.
    pub(super) fn sketch(&self, block: &[u8]) -> u64 {
        let (words, _) = block.as_chunks::<8>();
        words.iter().fold(0, |state: u64, word| {
            let scaled = self
                .tables
                .iter()
                .zip(state.to_le_bytes())
                .fold(0, |sum, (table, byte)| {
                    sum ^ table.get(usize::from(byte)).copied().unwrap_or(0)
                });
            scaled ^ u64::from_le_bytes(*word)
        })
    }
}

/// The product in GF(2^64).
const fn multiply(a: u64, b: u64) -> u64 {
    let (mut product, mut a, mut b) = (0, a, b);
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        let over = a >> 63 == 1;
        a <<= 1;
        if over {
            a ^= POLYNOMIAL;
        }
        b >>= 1;
    }
    product
}

/// The sketches of the sampled blocks: for each row the position, and one sketch a device.
pub(super) struct Sketches {
    pub(super) rows: Vec<(u64, Vec<u64>)>,
}

impl Sketches {
    /// Adds the rows of one window, read from all devices.
    pub(super) fn add(&mut self, sketcher: &Sketcher, at: u64, windows: &[Vec<u8>]) {
        let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        let rows = windows.iter().map(|bytes| bytes.len() / block).max();
        for row in 0..rows.unwrap_or(0) {
            let sketches: Vec<u64> = windows
                .iter()
                .map(|bytes| {
                    let piece = bytes.get(row * block..(row + 1) * block);
                    piece.map_or(0, |piece| sketcher.sketch(piece))
                })
                .collect();
            if sketches.iter().filter(|sketch| **sketch != 0).count() >= 2 {
                self.rows.push((at + row as u64 * BLOCK, sketches));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sketch_of_a_sum_is_the_sum_of_the_sketches() {
        let sketcher = Sketcher::new();
        let a: Vec<u8> = (0..4096_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let b: Vec<u8> = (0..4096_u32).map(|i| ((i * 77) >> 2) as u8).collect();
        let sum: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
        let by_parts = sketcher.sketch(&a) ^ sketcher.sketch(&b);
        assert_eq!(sketcher.sketch(&sum), by_parts);
        assert_ne!(by_parts, 0);
        assert_eq!(sketcher.sketch(&[0; 4096]), 0);
    }

    #[test]
    fn windows_are_bounded_repeat_and_lie_inside() {
        for length in [1, WINDOW, 56 << 20, 10 << 40] {
            let chosen = windows(length);
            assert_eq!(chosen, windows(length));
            assert!(chosen.len() as u64 <= MOST_WINDOWS);
            assert!(chosen.iter().all(|at| *at < length));
        }
        assert_eq!(windows(56 << 20).len(), 56);
    }
}
