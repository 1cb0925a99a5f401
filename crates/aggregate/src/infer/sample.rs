//! Which places of the devices are looked at, and what is kept of the blocks there.
//!
//! The places are the same on every device and follow from the lengths alone, so a run repeats.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::contents::Texture;
use super::relations::{Relation, Set, parts, relations};
use crate::document::{DeviceName, Member, Region};
use crate::raid::{kernels, open_member};

/// The unit that is compared between devices.
pub(super) const BLOCK: u64 = 4096;

/// Bytes that are read in one go.
pub(crate) const WINDOW: u64 = 1 << 20;

/// Most windows of one device that are looked at. They are read once more for each form of ext
/// journal that is found.
const MOST_WINDOWS: u64 = 128;

/// Windows at the start, where labels, file systems' first groups and their descriptors lie.
const FIRST_WINDOWS: u64 = 16;

/// Bytes of a sketch: more than devices that are compared, so that what depends linearly in the
/// sketches depends in the blocks.
pub(super) const LANES: usize = 128;

/// A device that no label explains.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) name: DeviceName,
    pub(super) device: Arc<dyn ReadAt>,
    /// How many bytes of the named device lie before what `device` shows.
    pub(super) shift: u64,
    /// Regions of the named device that are known not to be its group's: `device` does not show them.
    pub(super) lost: Vec<Region>,
}

impl Candidate {
    /// A device as it is.
    pub(super) fn new(name: DeviceName, device: Arc<dyn ReadAt>) -> Self {
        Self {
            name,
            device,
            shift: 0,
            lost: Vec::new(),
        }
    }

    /// The same device without some regions of it.
    pub(super) fn without(&self, lost: Vec<Region>) -> Self {
        let moved = lost.iter().map(|region| Region {
            start: region.start.saturating_sub(self.shift),
            ..region.clone()
        });
        let moved: Vec<Region> = moved.collect();
        let member = Member {
            role: 0,
            device: Some(self.name.clone()),
            data_offset: 0,
            data_size: self.device.len(),
            left_out: None,
            bad_blocks: Vec::new(),
        };
        let device = open_member(&self.device, &member, &moved);
        Self {
            device: device.unwrap_or_else(|| Arc::clone(&self.device)),
            lost,
            ..self.clone()
        }
    }

    /// Whether some of what lies from `at` on is known not to be its group's.
    pub(super) fn is_lost(&self, at: u64, bytes: u64) -> bool {
        let at = at.saturating_add(self.shift);
        let end = at.saturating_add(bytes);
        self.lost
            .iter()
            .any(|region| region.extent().within(at, end).next().is_some())
    }
}

/// The starts of the windows for devices of which the longest has `length` bytes.
pub(crate) fn windows(length: u64) -> Vec<u64> {
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

/// A linear hash over GF(2^8), the field of RAID-6: sums and multiples of blocks have the sums
/// and multiples of their sketches, and a block of zeros has a sketch of zeros.
///
/// The block is cut into strips of [`LANES`] bytes, which are the coefficients of a polynomial
/// that is evaluated at 2, as Q is: each lane for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sketch([u8; LANES]);

impl Sketch {
    /// The sketch of `block`; `None` if it is all zeros.
    pub(super) fn of(block: &[u8]) -> Option<Self> {
        if block.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut lanes = [0; LANES];
        for strip in block.chunks_exact(LANES) {
            kernels::scale(&mut lanes, 2);
            kernels::xor(&mut lanes, strip);
        }
        Some(Self(lanes))
    }

    /// Adds `factor` times another sketch.
    pub(super) fn add(&mut self, other: &Self, factor: u8) {
        kernels::add_product(&mut self.0, &other.0, factor);
    }

    /// Multiplies it by `factor`.
    pub(super) fn scale(&mut self, factor: u8) {
        kernels::scale(&mut self.0, factor);
    }

    /// The first lane that is not zero, and what it holds.
    pub(super) fn lead(&self) -> Option<(usize, u8)> {
        let lane = self.0.iter().position(|byte| *byte != 0)?;
        Some((lane, self.lane(lane)))
    }

    /// What a lane holds.
    pub(super) fn lane(&self, lane: usize) -> u8 {
        self.0.get(lane).copied().unwrap_or(0)
    }

    /// A number by which equal blocks are known, and whose sums are those of the sums of blocks: the
    /// words are the coefficients of a polynomial over GF(2^64).
    fn fingerprint(&self) -> u64 {
        let (words, _) = self.0.as_chunks::<8>();
        let sum = words.iter().fold(0, |sum, word| {
            times_power_17(sum) ^ u64::from_le_bytes(*word)
        });
        sum.max(1)
    }
}

/// A number times x^17 in GF(2^64), modulo x^64 + x^4 + x^3 + x + 1.
const fn times_power_17(number: u64) -> u64 {
    let over = number >> 47;
    (number << 17) ^ over ^ (over << 1) ^ (over << 3) ^ (over << 4)
}

/// The blocks of all devices at one offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The offset on the devices.
    pub(super) at: u64,
    /// For each device a number by which equal blocks are known, 0 for zeros. They add up as the blocks
    /// do.
    pub(super) prints: Vec<u64>,
    /// What each device's block looks like.
    pub(super) textures: Vec<Texture>,
    /// The devices that have something other than zeros here.
    pub(super) full: Set,
    /// The devices that end before this: what they had here is not known, and no zeros.
    pub(super) ended: Set,
    /// The linear relations that hold between the blocks.
    pub(super) relations: Vec<Relation>,
    /// The sets of devices that these relations tie together.
    pub(super) parts: Vec<Set>,
}

/// The rows of one window, read from all devices; those of zeros are left out.
pub(super) fn rows(start: u64, windows: &[Vec<u8>]) -> Vec<Row> {
    let mut rows = textures(start, windows);
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    for row in &mut rows {
        let inside = usize::try_from(row.at - start).unwrap_or(usize::MAX);
        let inside = inside..inside.saturating_add(block);
        let blocks = windows.iter().map(|bytes| bytes.get(inside.clone()));
        let blocks: Vec<Option<&[u8]>> = blocks.collect();
        let ended = blocks.iter().enumerate().filter(|(_, b)| b.is_none());
        row.ended = ended.map(|(device, _)| device).collect();
        let sketches: Vec<Option<Sketch>> = blocks.iter().map(|b| Sketch::of((*b)?)).collect();
        let print = |sketch: &Option<Sketch>| sketch.as_ref().map_or(0, Sketch::fingerprint);
        let there = sketches.iter().enumerate().filter(|(_, s)| s.is_some());
        row.prints = sketches.iter().map(print).collect();
        row.full = there.map(|(device, _)| device).collect();
        row.relations = relations(&sketches);
        row.parts = parts(&row.relations);
    }
    rows
}

/// The same rows with no more than what blocks look like: none is compared with others.
pub(super) fn textures(start: u64, windows: &[Vec<u8>]) -> Vec<Row> {
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let count = windows.iter().map(|bytes| bytes.len() / block).max();
    let mut rows = Vec::new();
    for number in 0..count.unwrap_or(0) {
        let blocks = windows
            .iter()
            .map(|bytes| bytes.get(number * block..(number + 1) * block));
        let blocks: Vec<Option<&[u8]>> = blocks.collect();
        let mut there = blocks.iter().flatten().copied();
        if there.all(|block| block.iter().all(|byte| *byte == 0)) {
            continue;
        }
        let texture = |block: &Option<&[u8]>| block.map_or(Texture::LOST, Texture::of);
        rows.push(Row {
            at: start + number as u64 * BLOCK,
            textures: blocks.iter().map(texture).collect(),
            ..Row::default()
        });
    }
    rows
}

/// By device: where it has something for the first time. Zeros before that may be what it was wiped
/// with.
pub(super) fn fronts(rows: &[Row]) -> Vec<u64> {
    let count = rows.first().map_or(0, |row| row.prints.len());
    let mut fronts = vec![u64::MAX; count];
    for row in rows {
        for device in row.full.devices() {
            if let Some(front) = fronts.get_mut(device) {
                *front = row.at.min(*front);
            }
        }
    }
    fronts
}

impl Row {
    /// Whether one of `devices` may have been wiped here, by the [`fronts`] of all.
    pub(super) fn may_be_wiped(&self, devices: Set, fronts: &[u64]) -> bool {
        devices
            .devices()
            .any(|device| fronts.get(device).is_some_and(|front| self.at < *front))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::galois::product;

    #[test]
    fn the_sketch_of_a_combination_is_the_combination_of_the_sketches() {
        let a: Vec<u8> = (0..4096_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let b: Vec<u8> = (0..4096_u32).map(|i| ((i * 77) >> 2) as u8).collect();
        let mixed: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ product(*b, 7)).collect();
        let mut by_parts = Sketch::of(&a).unwrap();
        by_parts.add(&Sketch::of(&b).unwrap(), 7);
        assert_eq!(Sketch::of(&mixed), Some(by_parts));
        let sum: Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
        let prints = [&a, &b, &sum].map(|block| Sketch::of(block).unwrap().fingerprint());
        assert_eq!(prints[0] ^ prints[1], prints[2]);
        assert_eq!(Sketch::of(&[0; 4096]), None);
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
