//! A tree block none of whose copies is whole, put together from what is left of them.
//!
//! Media lose sectors, and newer writes come in blocks of 4 KiB: where one copy is broken the other
//! often is not. Every combination that the block's checksum proves is the block. If there is none, one
//! flipped bit is looked for; and if that is not it either, the block is given with those parts
//! marked as lost that are zeros or could not be read, which explain that the checksum fails.

use std::ops::Range;

use super::checksum::{CSUM_FIELD, CsumType, flipped_bit};
use super::node::{Header, Node};
use evidence::{Fields, Gaps};

/// What damage comes in.
const PIECE: usize = 4096;
/// More combinations than this are not tried.
const MOST_TRIES: usize = 1024;

/// A copy of a block, as it was read.
pub(super) struct Reading {
    pub(super) bytes: Vec<u8>,
    pub(super) gaps: Gaps,
}

/// One copy's version of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version<'a> {
    bytes: &'a [u8],
    /// Whether it can be what was written: it was read, and is not just zeros.
    is_sound: bool,
}

/// The versions of each piece that differ, sound ones first.
fn versions(copies: &[Reading]) -> Vec<Vec<Version<'_>>> {
    let length = copies.first().map_or(0, |copy| copy.bytes.len());
    (0..length)
        .step_by(PIECE)
        .map(|start| {
            let end = start.saturating_add(PIECE).min(length);
            let mut all: Vec<Version<'_>> = Vec::new();
            for copy in copies {
                let bytes = copy.bytes.get(start..end).unwrap_or_default();
                let read = !copy.gaps.touch(start..end);
                let version = Version {
                    bytes,
                    is_sound: read && bytes.iter().any(|byte| *byte != 0),
                };
                if !all.contains(&version) {
                    all.push(version);
                }
            }
            all.sort_by_key(|version| !version.is_sound);
            // Zeros compete with nothing: a block that has free space of that size fits with them.
            all
        })
        .collect()
}

/// The block that `copies` are copies of, as far as it can be had. `fits` says which headers it
/// may have.
pub(super) fn mend(
    copies: &[Reading],
    csum: CsumType,
    fits: impl Fn(&Header) -> bool,
) -> Option<Node> {
    let pieces = versions(copies);
    let tries = pieces
        .iter()
        .try_fold(1_usize, |product, all| product.checked_mul(all.len()))
        .filter(|tries| *tries <= MOST_TRIES);
    for number in 0..tries.unwrap_or(1) {
        let bytes = combination(&pieces, number);
        if csum.block_fits(&bytes) {
            let header = Header::parse(&bytes).filter(&fits)?;
            return Some(Node {
                header,
                bytes,
                lost: Vec::new(),
            });
        }
    }
    let flipped = copies
        .iter()
        .filter(|copy| copy.gaps.is_empty())
        .find_map(|copy| unflip(copy.bytes.clone(), csum, &fits));
    if flipped.is_some() {
        return flipped;
    }
    let bytes = combination(&pieces, 0);
    let header = Header::parse(&bytes).filter(&fits)?;
    let lost = lost_pieces(&pieces, bytes.len());
    let node = Node {
        header,
        bytes,
        lost,
    };
    (!node.lost.is_empty() && node.is_plausible()).then_some(node)
}

/// The combination `number` of versions; 0 takes the first of each.
fn combination(pieces: &[Vec<Version<'_>>], mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for versions in pieces {
        let index = number.checked_rem(versions.len()).unwrap_or_default();
        number = number.checked_div(versions.len()).unwrap_or_default();
        bytes.extend_from_slice(versions.get(index).map_or(&[], |version| version.bytes));
    }
    bytes
}

/// The pieces of which no copy is sound, or two sound ones differ: nothing says which is right.
fn lost_pieces(pieces: &[Vec<Version<'_>>], length: usize) -> Vec<Range<usize>> {
    let doubtful = |all: &[Version<'_>]| all.iter().filter(|v| v.is_sound).count() != 1;
    let all = pieces.iter().enumerate();
    all.filter(|(_, versions)| doubtful(versions))
        .map(|(number, _)| {
            let start = number.saturating_mul(PIECE);
            start..start.saturating_add(PIECE).min(length)
        })
        .collect()
}

/// The block with one bit flipped back, if that makes its checksum fit.
fn unflip(mut bytes: Vec<u8>, csum: CsumType, fits: impl Fn(&Header) -> bool) -> Option<Node> {
    if csum != CsumType::Crc32c {
        return None;
    }
    let stored = Fields::new(&bytes).le_u32(0)?;
    let body = bytes.get_mut(CSUM_FIELD..)?;
    // A bit of the checksum itself may be the one.
    if (stored ^ crc32c::crc32c(body)).count_ones() > 1 {
        let bit = flipped_bit(stored, body)?;
        let byte = body.get_mut(bit / 8)?;
        *byte ^= 1_u8.checked_shl(u32::try_from(bit % 8).ok()?)?;
    }
    let header = Header::parse(&bytes).filter(fits)?;
    let node = Node {
        header,
        bytes,
        lost: Vec::new(),
    };
    node.is_plausible().then_some(node)
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::super::node::tests::leaf;
    use super::*;
    use evidence::GapCause;

    fn block() -> Vec<u8> {
        let data: Vec<u8> = (0..3500_u32).map(|i| (i % 251) as u8 | 1).collect();
        let items: Vec<(Key, &[u8])> = (1..5)
            .map(|number| (Key::new(number, 1, 0), data.as_slice()))
            .collect();
        leaf(16384, 1 << 20, 5, 5, &items)
    }

    fn copy(bytes: Vec<u8>) -> Reading {
        Reading {
            bytes,
            gaps: Gaps::none(),
        }
    }

    #[test]
    fn copies_with_different_holes_make_one_whole_block() {
        let (mut one, mut two) = (block(), block());
        one[4096..8192].fill(0);
        two[0..4096].fill(0);
        two[9000] ^= 0x55;
        let node = mend(&[copy(one), copy(two)], CsumType::Crc32c, |_| true).unwrap();
        assert_eq!(node.bytes, block());
        assert!(node.lost.is_empty());
    }

    #[test]
    fn one_flipped_bit_is_flipped_back_also_in_the_checksum() {
        for at in [2, 90, 5000] {
            let mut bytes = block();
            bytes[at] ^= 0x10;
            let node = mend(&[copy(bytes)], CsumType::Crc32c, |_| true).unwrap();
            assert_eq!(&node.bytes[32..], &block()[32..]);
            assert!(node.lost.is_empty());
        }
    }

    #[test]
    fn what_no_copy_holds_is_lost_and_what_nothing_explains_is_not_believed() {
        let mut bytes = block();
        bytes[8192..12288].fill(0);
        let gaps = Gaps::one(12288..12290, GapCause::Unreadable);
        let holed = Reading { bytes, gaps };
        let node = mend(&[holed], CsumType::Crc32c, |_| true).unwrap();
        assert_eq!(node.lost, [8192..12288, 12288..16384]);
        let mut bytes = block();
        bytes[5000] ^= 0x11;
        bytes[15000] ^= 0x11;
        assert!(mend(&[copy(bytes)], CsumType::Crc32c, |_| true).is_none());
    }
}
