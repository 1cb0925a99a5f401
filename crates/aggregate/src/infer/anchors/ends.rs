//! Where files end on the devices: blocks that are known by how much of them is filled.
//!
//! Behind the end of a file its last block holds zeros, so that block is known by its length
//! wherever it lies. Lengths repeat: each place at which one is found is an anchor, and those
//! that are true agree with each other. Lengths within blocks of less than 4 KiB repeat too often
//! for that. There it is a piece of a device that is looked up: its lengths, one after the other, are
//! those of one place in the file system. Nothing here needs a checksum, a journal or text.

use std::collections::{BTreeMap, BTreeSet};

use evidence::Fields;

use super::super::relations::Set;
use super::super::sample::BLOCK;
use super::files::{BLOCKS, End, SLOT, ends};
use super::{Anchor, MOST_ADDRESS, Source, xfs};

/// Lengths are looked up in so many places; one that is found at more says little.
const MOST_PLACES: usize = 8;

/// A file may end in so many zeros of its own: gzip ends in a length whose upper bytes are zeros.
const OWN_ZEROS: u64 = 2;

/// Most inodes, and ends of files of each length of blocks, that are kept.
const MOST_KEPT: usize = 1 << 20;

/// The length of the pieces that are looked up, in bytes: a chunk may end in one.
const PIECE: u64 = 64 << 10;

/// So many ends of files in a piece must say the same of where it lies, and so many times those that
/// say anything else.
const LEAST_IN_PIECE: usize = 4;
const CLEAR: usize = 2;

/// Most pieces of one device that are looked up, evenly taken.
const MOST_PIECES: usize = 1024;

/// Where a file ends, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileEnd {
    pub(crate) source: Source,
    /// Where the last block lies in its file system, and how long it is, in bytes.
    pub(crate) address: u64,
    pub(crate) block_bytes: u64,
    filled: u64,
    /// The device that the inode is on.
    stated_on: usize,
}

/// Inodes, and blocks that look like ends of files.
#[derive(Default)]
pub(super) struct Ends {
    /// What inodes state, with the device that they are on.
    stated: Vec<(usize, End)>,
    /// Places by the length of blocks.
    places: BTreeMap<u64, Places>,
}

/// Places of blocks of one length with zeros at their ends.
#[derive(Default)]
struct Places {
    /// Device and place, by how many bytes lie before the zeros.
    by_length: BTreeMap<u64, Vec<(usize, u64)>>,
    kept: usize,
}

impl Places {
    fn add(&mut self, device: usize, at: u64, block: &[u8]) {
        if self.kept < MOST_KEPT
            && let Some(filled) = filled_of(block)
        {
            self.by_length.entry(filled).or_default().push((device, at));
            self.kept = self.kept.saturating_add(1);
        }
    }

    /// The places by the piece of a device that they lie in: place and length.
    fn by_piece(&self) -> BTreeMap<(usize, u64), Vec<(u64, u64)>> {
        let mut pieces: BTreeMap<(usize, u64), Vec<(u64, u64)>> = BTreeMap::new();
        for (filled, places) in &self.by_length {
            for (device, at) in places {
                let piece = pieces.entry((*device, at / PIECE)).or_default();
                piece.push((*at, *filled));
            }
        }
        pieces
    }
}

impl Ends {
    /// Looks at a block of a device.
    pub(super) fn look(&mut self, device: usize, at: u64, block: &[u8]) {
        for block_bytes in BLOCKS {
            let places = self.places.entry(block_bytes).or_default();
            let length = usize::try_from(block_bytes).unwrap_or(usize::MAX);
            for (part, start) in block.chunks_exact(length).zip((at..).step_by(length)) {
                places.add(device, start, part);
            }
        }
        for start in (0..block.len()).step_by(SLOT) {
            let stated = Fields::new(block).from(start).into_iter().flat_map(ends);
            let room = MOST_KEPT.saturating_sub(self.stated.len());
            let stated = stated.map(|end| (device, end));
            self.stated.extend(stated.take(room));
        }
    }

    /// What is stated on all devices but the `silent` ones.
    pub(super) fn stated(&self, sizes: &BTreeSet<xfs::Sizes>, silent: Set) -> Vec<FileEnd> {
        let heard = self.stated.iter().filter(|(on, _)| !silent.has(*on));
        let resolved = heard.filter_map(|(device, end)| {
            let (source, address) = end.resolve(sizes)?;
            Some(FileEnd {
                source,
                address,
                block_bytes: end.block_bytes,
                filled: end.filled,
                stated_on: *device,
            })
        });
        let mut all: Vec<FileEnd> = resolved.filter(|end| end.address < MOST_ADDRESS).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The anchors on all devices but the `silent` ones.
    pub(super) fn anchors(&self, sizes: &BTreeSet<xfs::Sizes>, silent: Set) -> Vec<Anchor> {
        let mut anchors = Vec::new();
        let stated = self.stated(sizes, silent);
        for (block_bytes, places) in &self.places {
            let own = stated.iter().filter(|end| end.block_bytes == *block_bytes);
            let own: Vec<FileEnd> = own.copied().collect();
            if *block_bytes == BLOCK {
                anchors.extend(by_length(&own, places, silent));
            } else {
                anchors.extend(by_piece(&own, places, silent));
            }
        }
        anchors
    }
}

/// The anchors by lengths that are found at few places.
fn by_length(ends: &[FileEnd], places: &Places, silent: Set) -> Vec<Anchor> {
    let mut anchors = Vec::new();
    for end in ends {
        let found = end
            .lengths()
            .filter_map(|filled| places.by_length.get(&filled));
        let found = found.flatten().filter(|(on, _)| !silent.has(*on));
        let found: Vec<&(usize, u64)> = found.take(MOST_PLACES.saturating_add(1)).collect();
        if found.len() <= MOST_PLACES {
            anchors.extend(found.into_iter().map(|(on, at)| end.at(*on, *at)));
        }
    }
    anchors
}

/// The anchors by pieces whose lengths are those of one place in the file system.
fn by_piece(ends: &[FileEnd], places: &Places, silent: Set) -> Vec<Anchor> {
    let mut by_filled: BTreeMap<u64, Vec<&FileEnd>> = BTreeMap::new();
    for end in ends {
        for filled in end.lengths() {
            by_filled.entry(filled).or_default().push(end);
        }
    }
    let mut by_device: BTreeMap<usize, Vec<Vec<(u64, u64)>>> = BTreeMap::new();
    for ((device, _), piece) in places.by_piece() {
        if piece.len() >= LEAST_IN_PIECE && !silent.has(device) {
            by_device.entry(device).or_default().push(piece);
        }
    }
    let mut anchors = Vec::new();
    for (device, pieces) in by_device {
        let step = pieces.len().div_ceil(MOST_PIECES).max(1);
        for piece in pieces.into_iter().step_by(step) {
            anchors.extend(agreeing(&piece, &by_filled).map(|(at, end)| end.at(device, at)));
        }
    }
    anchors
}

/// The places of a piece, and the ends of files that they are, if it lies in one place by most of them.
fn agreeing<'e>(
    piece: &[(u64, u64)],
    by_filled: &BTreeMap<u64, Vec<&'e FileEnd>>,
) -> impl Iterator<Item = (u64, &'e FileEnd)> {
    // By the file system and where it would begin on the device.
    let mut said: Vec<(Source, i64, u64, &FileEnd)> = Vec::new();
    for (at, filled) in piece {
        for end in by_filled.get(filled).into_iter().flatten() {
            if let Some(begin) = at.checked_signed_diff(end.address) {
                said.push((end.source, begin, *at, end));
            }
        }
    }
    said.sort_unstable_by_key(|(source, begin, at, _)| (*source, *begin, *at));
    said.dedup_by_key(|(source, begin, at, _)| (*source, *begin, *at));
    let same = |a: &(Source, i64, u64, &FileEnd), b: &(Source, i64, u64, &FileEnd)| {
        (a.0, a.1) == (b.0, b.1)
    };
    let (mut best, mut next): (&[_], usize) = (&[], 0);
    for group in said.chunk_by(same) {
        if group.len() > best.len() {
            (best, next) = (group, best.len());
        } else {
            next = next.max(group.len());
        }
    }
    let is_clear = best.len() >= LEAST_IN_PIECE && best.len() >= next.saturating_mul(CLEAR);
    let best = if is_clear { best.to_vec() } else { Vec::new() };
    best.into_iter().map(|(_, _, at, end)| (at, end))
}

impl FileEnd {
    /// How many bytes may lie before the zeros at the end of the block.
    fn lengths(&self) -> impl Iterator<Item = u64> {
        let filled = self.filled;
        (0..=OWN_ZEROS).filter_map(move |zeros| filled.checked_sub(zeros))
    }

    /// Whether `block` may be the one in which the file ends.
    pub(crate) fn fits(&self, block: &[u8]) -> bool {
        filled_of(block).is_some_and(|filled| self.lengths().any(|length| length == filled))
    }

    /// Whether `block` has something behind the place where the file ends in its block.
    pub(crate) fn is_passed_by(&self, block: &[u8]) -> bool {
        let last = block.iter().rposition(|byte| *byte != 0);
        last.is_some_and(|last| last as u64 >= self.filled)
    }

    /// The anchor, if this is its place.
    const fn at(&self, device: usize, at: u64) -> Anchor {
        Anchor {
            source: self.source,
            address: self.address,
            device,
            at,
            together: None,
            stated_on: self.stated_on,
        }
    }
}

/// How many bytes lie before the zeros at the end of a block, if there are any.
fn filled_of(block: &[u8]) -> Option<u64> {
    let last = block.iter().rposition(|byte| *byte != 0)?;
    let filled = last.saturating_add(1);
    (filled < block.len()).then_some(filled as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inode of a file of `size` bytes in one block of ext3.
    fn inode(size: u32, block: u32, block_bytes: u32) -> Vec<u8> {
        let mut inode = vec![0; 128];
        inode[..2].copy_from_slice(&0x81A4_u16.to_le_bytes());
        inode[4..8].copy_from_slice(&size.to_le_bytes());
        inode[26] = 1;
        inode[28..32].copy_from_slice(&(block_bytes / 512).to_le_bytes());
        inode[40..44].copy_from_slice(&block.to_le_bytes());
        inode
    }

    fn anchors(ends: &Ends, silent: &[usize]) -> Vec<(usize, u64, u64)> {
        let silent = silent.iter().copied().collect();
        let anchors = ends.anchors(&BTreeSet::new(), silent);
        anchors
            .iter()
            .map(|a| (a.device, a.at, a.address))
            .collect()
    }

    #[test]
    fn every_place_of_a_length_is_an_anchor() {
        let mut ends = Ends::default();
        let mut block = vec![1; 4096];
        block[300..].fill(0);
        ends.look(3, 8192, &block);
        ends.look(4, 4096, &block);
        ends.look(1, 0, &inode(301, 5, 4096));
        assert_eq!(
            anchors(&ends, &[]),
            [(3, 8192, 5 * 4096), (4, 4096, 5 * 4096)]
        );
        assert_eq!(anchors(&ends, &[4]).len(), 1);
    }

    #[test]
    fn short_blocks_are_known_by_those_beside_them() {
        let mut ends = Ends::default();
        let lengths = [100, 200, 300, 400, 500, 600, 700];
        for (number, length) in (0..).zip(lengths) {
            ends.look(1, number * 4096, &inode(length, 50 + number as u32, 1024));
        }
        let mut blocks = vec![0; 8192];
        for (block, length) in blocks.chunks_exact_mut(1024).zip(lengths) {
            block[..length as usize].fill(1);
        }
        ends.look(3, 65536, &blocks[..4096]);
        ends.look(3, 65536 + 4096, &blocks[4096..]);
        let found = anchors(&ends, &[]);
        assert_eq!(found.len(), lengths.len());
        assert!(
            found
                .iter()
                .all(|(_, at, address)| at - 65536 == address - 50 * 1024)
        );
        // Three of them may be anywhere.
        let mut few = Ends::default();
        for (number, length) in (0..3).zip(lengths) {
            few.look(1, number * 4096, &inode(length, 50 + number as u32, 1024));
        }
        few.look(3, 65536, &blocks[..4096]);
        few.look(3, 65536 + 4096, &blocks[4096..]);
        assert_eq!(anchors(&few, &[]), []);
    }

    #[test]
    fn what_lies_behind_the_end_of_a_file_passes_it() {
        let end = FileEnd {
            source: Source::Files([0; 16]),
            address: 0,
            block_bytes: 1024,
            filled: 300,
            stated_on: 0,
        };
        let block = |length: usize| {
            let mut block = vec![0; 1024];
            block[..length].fill(1);
            block
        };
        assert!(end.fits(&block(300)) && !end.is_passed_by(&block(300)));
        assert!(!end.fits(&block(301)) && end.is_passed_by(&block(301)));
        assert!(!end.is_passed_by(&block(0)));
    }
}
