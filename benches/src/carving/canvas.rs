//! An image that grows file by file, as a file system would have laid them.

use super::background::{binary, text_file};
use crate::random::Random;

/// A part of a file: where it lies, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The offset on the image in bytes.
    pub at: usize,
    /// The length in bytes.
    pub length: usize,
}

/// What lies between the pieces of a file, or after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// Blocks that were never written.
    Zero,
    /// Compressed or random bytes.
    Binary,
    /// Other mail, from a block's start on.
    Mail,
}

impl Gap {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zero, Self::Binary, Self::Mail];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Binary => "binary",
            Self::Mail => "mail",
        }
    }
}

/// An image and the length of its blocks.
#[derive(Clone, Debug)]
pub struct Canvas {
    /// What is on it so far.
    pub bytes: Vec<u8>,
    /// The length of a block in bytes.
    pub block: usize,
    /// Where block 0 begins: below `block`.
    pub phase: usize,
}

impl Canvas {
    /// An image whose blocks begin at `phase`.
    pub fn new(block: usize, phase: usize) -> Self {
        Self {
            bytes: vec![0; phase],
            block,
            phase,
        }
    }

    /// Fills the block that was begun with zeros, as ext4 does after the end of a file.
    pub fn align(&mut self) {
        let used = (self.bytes.len() - self.phase) % self.block;
        if used > 0 {
            let end = self.bytes.len() + self.block - used;
            self.bytes.resize(end, 0);
        }
    }

    /// Puts `bytes` at the end as they are, and says where.
    pub fn append(&mut self, bytes: &[u8]) -> Extent {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Extent {
            at,
            length: bytes.len(),
        }
    }

    /// Puts a file in whole blocks at the end.
    pub fn file(&mut self, bytes: &[u8]) -> Extent {
        self.align();
        let extent = self.append(bytes);
        self.align();
        extent
    }

    /// So many blocks of zeros.
    pub fn zeros(&mut self, blocks: usize) {
        self.align();
        let end = self.bytes.len() + blocks * self.block;
        self.bytes.resize(end, 0);
    }

    /// So many blocks of what no mail program wrote.
    pub fn binary(&mut self, random: &mut Random, blocks: usize) {
        self.align();
        let bytes = binary(random, blocks * self.block);
        self.append(&bytes);
    }

    /// A file, or a few blocks of nothing, that has nothing to do with mail.
    pub fn background(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.zeros(random.within(1..=12)),
            1 => {
                let blocks = random.within(1..=12);
                self.binary(random, blocks);
            }
            _ => {
                let length = random.within(300..=30_000);
                let text = text_file(random, length);
                self.file(&text);
            }
        }
    }
}

/// Cuts `length` bytes into `count` pieces of whole blocks; the last one may end within its
/// block. There are as many blocks as pieces, or more.
pub fn cut(random: &mut Random, length: usize, block: usize, count: usize) -> Vec<Extent> {
    let blocks = length.div_ceil(block);
    let mut cuts: Vec<usize> = (1..blocks).collect();
    random.shuffle(&mut cuts);
    cuts.truncate(count.saturating_sub(1));
    cuts.sort_unstable();
    let mut at = 0;
    let ends = cuts.into_iter().map(|cut| cut * block).chain([length]);
    ends.map(|end| {
        let piece = Extent {
            at,
            length: end - at,
        };
        at = end;
        piece
    })
    .collect()
}

/// The order in which `count` pieces lie on the image.
///
/// Out of order, it is any but the right one.
pub fn order(random: &mut Random, count: usize, in_order: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    while !in_order && count > 1 && order.is_sorted() {
        random.shuffle(&mut order);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_blocks_and_make_the_file() {
        let mut random = Random::new(2);
        for (length, count) in [(1, 1), (4096, 1), (4097, 2), (40_000, 5), (20_480, 5)] {
            let pieces = cut(&mut random, length, 4096, count);
            assert_eq!(pieces.len(), count);
            assert!(pieces.iter().all(|piece| piece.at % 4096 == 0));
            assert!(pieces.iter().all(|piece| piece.length > 0));
            let sum: usize = pieces.iter().map(|piece| piece.length).sum();
            assert_eq!(sum, length);
        }
    }

    #[test]
    fn blocks_begin_at_the_phase() {
        let mut canvas = Canvas::new(1024, 512);
        assert_eq!(canvas.file(b"one").at, 512);
        assert_eq!(canvas.file(b"two").at, 1536);
        assert_eq!(canvas.bytes.len(), 2560);
    }
}
