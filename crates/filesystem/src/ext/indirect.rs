//! Indirect blocks: a file's map before ext4.
//!
//! Source: Linux `Documentation/filesystems/ext4/ifork.rst`, “Direct/Indirect Block Addressing”.
//! Indirect blocks have neither magic number nor checksum. All that can be checked is that each
//! number in them is that of a block; one that is not makes the whole block doubtful, so the
//! range that it maps is lost, as it is to the kernel.

use evidence::{ByteOffset, Cause, Fields};

use super::inode::{I_BLOCK_AT, RawInode};
use super::map::Map;
use super::volume::{Volume, corrupt};
use crate::{Inode, Place};

/// `EXT4_NDIR_BLOCKS`: block numbers in the inode that lead to contents at once.
const DIRECT: usize = 12;
/// Bytes in a block number.
const POINTER_BYTES: usize = 4;

/// A map being read.
struct Walk<'a> {
    volume: &'a Volume,
    file: &'a Inode,
    /// How many numbers a block holds.
    per_block: u64,
    map: Map,
}

impl Volume {
    /// The map of a file that has indirect blocks.
    pub(super) fn indirect_map(&self, file: &Inode, raw: &RawInode) -> Map {
        let mut walk = Walk {
            volume: self,
            file,
            per_block: u64::from(self.sb.block.get()).div_euclid(POINTER_BYTES as u64),
            map: Map::new(self.sb.block.get(), file.size),
        };
        let at = file.place.checked_add(I_BLOCK_AT as u64);
        let at = at.unwrap_or(file.place);
        let mut first = 0_u64;
        for (index, number) in numbers(&raw.i_block).enumerate() {
            // Places 12, 13 and 14 lead over one, two and three blocks of numbers.
            let level = index.saturating_sub(DIRECT.saturating_sub(1));
            let level = u32::try_from(level).unwrap_or(0);
            walk.follow(number, level, first, at);
            first = first.saturating_add(walk.span(level));
        }
        walk.map
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let f = Fields::new(bytes);
    (0..bytes.len())
        .step_by(POINTER_BYTES)
        .filter_map(move |at| f.le_u32(at))
        .map(u64::from)
}

impl Walk<'_> {
    /// How many blocks of the file a number maps that leads over `level` blocks of numbers.
    const fn span(&self, level: u32) -> u64 {
        self.per_block.saturating_pow(level)
    }

    /// Follows one block number that stands in the block at `at`.
    fn follow(&mut self, number: u64, level: u32, first: u64, at: ByteOffset) {
        if number == 0 || first >= self.map.blocks() {
            return;
        }
        let Some(place) = self.volume.sb.offset_of(number) else {
            let cause = corrupt(format!(
                "it leads to block {number}, outside the file system"
            ));
            return self.lose(level, first, at, cause);
        };
        let Some(below) = level.checked_sub(1) else {
            return self.map.push(first, 1, Place::At(place));
        };
        if !self.map.first_use(number) {
            let cause = corrupt(format!("block {number} is used twice in one map"));
            return self.lose(level, first, place, cause);
        }
        match self.read(number) {
            Ok(bytes) => self.descend(&bytes, below, first, place),
            Err(cause) => self.lose(level, first, place, cause),
        }
    }

    /// A block of numbers: as it is there, or if that cannot be, as the journal still has it.
    fn read(&mut self, number: u64) -> Result<Vec<u8>, Cause> {
        let there = self.volume.block(number).and_then(|bytes| {
            self.check(&bytes)?;
            Ok(bytes)
        });
        there.or_else(|cause| {
            self.map.former_state();
            let mut former = self.volume.former_blocks(number);
            former.find(|bytes| self.check(bytes).is_ok()).ok_or(cause)
        })
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Cause> {
        let wrong = |number: &u64| *number != 0 && self.volume.sb.offset_of(*number).is_none();
        if let Some(number) = numbers(bytes).find(wrong) {
            return Err(corrupt(format!(
                "the indirect block leads to block {number}, outside the file system"
            )));
        }
        if numbers(bytes).all(|number| number == 0) {
            // One that leads nowhere is never written: zeros came over it.
            return Err(corrupt("the indirect block is empty"));
        }
        Ok(())
    }

    /// Goes through a block of numbers, each of which leads over `level` more.
    fn descend(&mut self, bytes: &[u8], level: u32, first: u64, at: ByteOffset) {
        let mut next = first;
        for number in numbers(bytes) {
            self.follow(number, level, next, at);
            next = next.saturating_add(self.span(level));
        }
    }

    fn lose(&mut self, level: u32, first: u64, at: ByteOffset, cause: Cause) {
        let what = format!("map of inode {} from block {first} on", self.file.number);
        let loss = self.volume.loss(what, at, cause);
        self.map.lose(first, self.span(level), loss);
    }
}
