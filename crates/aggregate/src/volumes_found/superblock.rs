//! What any copy of a superblock says of its file system as a whole.
//!
//! Sources: the kernel's `fs/xfs/libxfs/xfs_format.h` (`xfs_dsb`) and its documentation,
//! `Documentation/filesystems/ext4/super.rst`.

use std::collections::BTreeMap;

use evidence::{Fields, SECTOR_BYTES};

use crate::infer::Source;

/// Lengths above this are not believed.
const MOST_BYTES: u64 = 1 << 56;

/// `EXT4_FEATURE_INCOMPAT_64BIT`.
const INCOMPAT_64BIT: u32 = 0x80;

/// Most file systems of which lengths are kept.
const MOST_SYSTEMS: usize = 4096;

/// What the copies of the superblocks say.
#[derive(Default)]
pub(super) struct Superblocks {
    lengths: BTreeMap<Source, BTreeMap<u64, u32>>,
    /// When the file system was written last, by any copy: `s_wtime`. XFS does not say.
    written: BTreeMap<Source, u32>,
}

impl Superblocks {
    /// Looks for copies in a window that begins at `start`.
    pub(super) fn look(&mut self, start: u64, bytes: &[u8]) {
        let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
        for (number, magic) in bytes.chunks_exact(sector).enumerate() {
            let Some(block) = Fields::new(bytes).from(number * sector) else {
                continue;
            };
            let found = if magic.starts_with(b"XFSB") {
                xfs(block)
            } else if (start + (number * sector) as u64).is_multiple_of(1024) {
                ext(block)
            } else {
                None
            };
            let Some((source, length, written)) = found else {
                continue;
            };
            if self.lengths.len() >= MOST_SYSTEMS && !self.lengths.contains_key(&source) {
                continue;
            }
            let counts = self.lengths.entry(source).or_default();
            let count = counts.entry(length).or_default();
            *count = count.saturating_add(1);
            if let Some(written) = written {
                let last = self.written.entry(source).or_default();
                *last = written.max(*last);
            }
        }
    }

    /// The length in bytes, and how many copies say so: those that most agree on.
    pub(super) fn length(&self, source: Source) -> Option<(u64, u32)> {
        let lengths = self.lengths.get(&source)?;
        let (length, count) = lengths
            .iter()
            .max_by_key(|(length, count)| (**count, **length))?;
        Some((*length, *count))
    }

    /// When it was written last, in seconds since 1970.
    pub(super) fn written(&self, source: Source) -> Option<u32> {
        self.written.get(&source).copied().filter(|time| *time > 0)
    }
}

type Found = (Source, u64, Option<u32>);

/// `sb_blocksize`, `sb_dblocks`, `sb_uuid`.
fn xfs(block: Fields<'_>) -> Option<Found> {
    let size = u64::from(block.be_u32(4)?);
    let length = block.be_u64(8)?.checked_mul(size)?;
    let sound = (512..=65536).contains(&size) && length > 0 && length < MOST_BYTES;
    sound.then_some((Source::Xfs(block.array(32)?), length, None))
}

/// `s_log_block_size`, `s_blocks_count_lo` and `_hi`, `s_wtime`, `s_uuid`.
fn ext(block: Fields<'_>) -> Option<Found> {
    (block.le_u16(56)? == 0xEF53).then_some(())?;
    let log = block.le_u32(24).filter(|log| *log <= 6)?;
    let high = if block.le_u32(96)? & INCOMPAT_64BIT == 0 {
        0
    } else {
        u64::from(block.le_u32(336)?)
    };
    let blocks = high << 32 | u64::from(block.le_u32(4)?);
    let length = blocks.checked_mul(1024 << log)?;
    let sound = length > 0 && length < MOST_BYTES && block.le_u32(32)? > 0;
    sound.then_some((
        Source::Ext(block.array(104)?),
        length,
        Some(block.le_u32(48)?),
    ))
}
