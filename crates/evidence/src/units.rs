//! Positions and the units that they are counted in.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Bytes in the sector that partition tables, md and LVM count in, whatever the medium's own is.
pub const SECTOR_BYTES: u64 = 512;

/// A position in bytes from the start of a [`crate::ReadAt`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteOffset(u64);

impl ByteOffset {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` after the start.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The position in bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on, unless that overflows.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The position `bytes` earlier, unless that lies before the start.
    pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
        match self.0.checked_sub(bytes) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }
}

impl fmt::Display for ByteOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in sectors of [`SECTOR_BYTES`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sector(u64);

impl Sector {
    /// The sector with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the sector.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Where the sector starts, unless that overflows.
    pub const fn offset(self) -> Option<ByteOffset> {
        match self.0.checked_mul(SECTOR_BYTES) {
            Some(bytes) => Some(ByteOffset(bytes)),
            None => None,
        }
    }
}

/// The number of a file-system block, counted from the start of the file system.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BlockNumber(u64);

impl BlockNumber {
    /// The block with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the block.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The size of a file-system block: a power of two from 512 bytes to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize(NonZeroU32);

impl BlockSize {
    /// The block size of `bytes`, if file systems have blocks of that size.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65536).contains(&bytes))
            .then(|| NonZeroU32::new(bytes).map(Self))
            .flatten()
    }

    /// The size in bytes.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The size in bytes, as a length of memory.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a block size is a unit, it holds nothing and is never empty"
    )]
    pub const fn len(self) -> usize {
        // A block is at most 64 KiB, which fits wherever this program runs.
        self.0.get() as usize
    }

    /// Where `block` starts, unless that overflows.
    pub fn offset_of(self, block: BlockNumber) -> Option<ByteOffset> {
        block.0.checked_mul(u64::from(self.get())).map(ByteOffset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_powers_of_two_that_file_systems_use() {
        for bad in [0, 1, 256, 513, 4095, 131_072] {
            assert_eq!(BlockSize::new(bad), None, "{bad}");
        }
        let size = BlockSize::new(4096).unwrap();
        assert_eq!(
            size.offset_of(BlockNumber::new(3)),
            Some(ByteOffset::new(12288))
        );
        assert_eq!(size.offset_of(BlockNumber::new(u64::MAX)), None);
    }

    #[test]
    fn sectors_that_overflow_have_no_offset() {
        assert_eq!(Sector::new(8).offset(), Some(ByteOffset::new(4096)));
        assert_eq!(Sector::new(u64::MAX / 2).offset(), None);
    }
}
