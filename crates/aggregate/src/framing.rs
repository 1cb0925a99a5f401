//! Data between checksums: disks with sectors of 520 bytes, checksum sectors, checksum blocks.
//!
//! Storage systems keep checksums of their own beside the data: NetApp's filers in 8 more bytes
//! of every sector, in every ninth sector, or in one block of 64. An image of such a disk holds
//! both. [`Framing`] says which bytes are data, and its reader gives those alone.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt, ReadAtExt};
use serde::{Deserialize, Serialize};

use crate::raid::Pool;

/// Data bytes that are taken out of their frames at a time.
const BATCH: usize = 256 << 10;

/// The longest run of data or checks in a frame that is believed.
const MAX_PART_BYTES: u32 = 1 << 20;

/// The most blocks in a zone that are believed.
const MAX_ZONE_BLOCKS: u32 = 1 << 16;

/// Where data lies between checksums.
///
/// ```
/// use aggregate::framing::Framing;
///
/// let framing: Framing =
///     serde_json::from_str(r#"{"scheme": "sectors", "data_bytes": 512, "check_bytes": 8}"#)?;
/// assert_eq!(framing.stored(500..520), Some(500..528));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scheme", deny_unknown_fields)]
pub enum Framing {
    /// Checks after each so many bytes of data: sectors of 520 bytes are 512 and 8, a checksum
    /// sector after eight sectors is 4096 and 512.
    Sectors {
        /// Bytes of data before each check.
        data_bytes: u32,
        /// Bytes of the check.
        check_bytes: u32,
    },
    /// Zones of blocks, one of which holds the checksums of the others.
    Zones {
        /// Bytes of a block.
        block_bytes: u32,
        /// Blocks in a zone, with that of the checksums.
        zone_blocks: u32,
        /// Which block of the zone holds the checksums, from 0.
        checksum_block: u32,
    },
}

/// A frame: data, a check, and perhaps data again.
#[derive(Clone, Copy, Debug)]
struct Frame {
    before: u64,
    check: u64,
    data: NonZeroU64,
}

impl Framing {
    /// What is wrong with the numbers, if anything is.
    pub const fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Sectors {
                data_bytes,
                check_bytes,
            } => {
                if data_bytes == 0 || data_bytes > MAX_PART_BYTES || check_bytes > data_bytes {
                    return Err(
                        "its frames cannot be: 1 byte to 1 MiB of data, and no more of checks than of data",
                    );
                }
            }
            Self::Zones {
                block_bytes,
                zone_blocks,
                checksum_block,
            } => {
                if block_bytes == 0 || block_bytes > MAX_PART_BYTES {
                    return Err("its blocks cannot be: they have 1 byte to 1 MiB");
                }
                if zone_blocks < 2 || zone_blocks > MAX_ZONE_BLOCKS {
                    return Err("its zones cannot be: they have 2 to 65536 blocks");
                }
                if checksum_block >= zone_blocks {
                    return Err("its checksum block is not in the zone: blocks count from 0");
                }
            }
        }
        Ok(())
    }

    /// The frame, if the numbers can be.
    fn frame(self) -> Option<Frame> {
        self.check().ok()?;
        let (before, check, after) = match self {
            Self::Sectors {
                data_bytes,
                check_bytes,
            } => (u64::from(data_bytes), u64::from(check_bytes), 0),
            Self::Zones {
                block_bytes,
                zone_blocks,
                checksum_block,
            } => {
                let block = u64::from(block_bytes);
                let behind = zone_blocks.checked_sub(checksum_block)?.checked_sub(1)?;
                let before = u64::from(checksum_block).checked_mul(block)?;
                (before, block, u64::from(behind).checked_mul(block)?)
            }
        };
        Some(Frame {
            before,
            check,
            data: NonZeroU64::new(before.checked_add(after)?)?,
        })
    }

    /// Where on the device these bytes of data lie, with the checks between them; both count
    /// from where the first frame begins. `None` if the numbers cannot be.
    pub fn stored(self, data: Range<u64>) -> Option<Range<u64>> {
        let frame = self.frame()?;
        let Some(last) = data.end.checked_sub(1).filter(|last| *last >= data.start) else {
            let at = frame.place(data.start)?;
            return Some(at..at);
        };
        Some(frame.place(data.start)?..frame.place(last)?.checked_add(1)?)
    }
}

impl Frame {
    /// Where a byte of data lies.
    fn place(self, at: u64) -> Option<u64> {
        let (number, inside) = (at / self.data, at % self.data);
        let stored = self.data.get().checked_add(self.check)?;
        let behind = if inside < self.before { 0 } else { self.check };
        number
            .checked_mul(stored)?
            .checked_add(inside)?
            .checked_add(behind)
    }

    /// How many bytes of data follow each other from this one on.
    fn run(self, at: u64) -> u64 {
        let inside = at % self.data;
        let end = if inside < self.before {
            self.before
        } else {
            self.data.get()
        };
        end.saturating_sub(inside)
    }
}

/// The data of a framed area.
pub(crate) struct Framed {
    area: Slice,
    frame: Frame,
    length: u64,
    pool: Pool,
}

impl Framed {
    /// `length` bytes of data from the frame on that begins at `start` of `device`; `None` if
    /// the numbers of the framing cannot be.
    pub(crate) fn new(
        device: Arc<dyn ReadAt>,
        start: ByteOffset,
        framing: Framing,
        length: u64,
    ) -> Option<Self> {
        let stored = framing.stored(0..length)?;
        Some(Self {
            area: Slice::new(device, start, stored.end),
            frame: framing.frame()?,
            length,
            pool: Pool::default(),
        })
    }

    /// Fills `buf` by one read of what is stored, and takes the data out of it.
    fn read_batch(&self, at: u64, buf: &mut [u8]) -> Option<Result<Gaps, OutOfRange>> {
        let last = at.checked_add(buf.len() as u64)?.checked_sub(1)?;
        let start = self.frame.place(at)?;
        let stored = self.frame.place(last)?.checked_sub(start)?.checked_add(1)?;
        self.pool.with(usize::try_from(stored).ok()?, |memory| {
            let missing = match self.area.read_at(ByteOffset::new(start), memory) {
                Ok(missing) => missing,
                Err(error) => return Some(Err(error)),
            };
            let mut left = missing.iter().peekable();
            let mut gaps = Gaps::none();
            let mut done = 0_usize;
            while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
                let position = at.checked_add(done as u64)?;
                let from = self.frame.place(position)?.checked_sub(start)?;
                let from = usize::try_from(from).ok()?;
                let run = self.frame.run(position);
                let length = rest.len().min(usize::try_from(run).ok()?);
                let to = from.checked_add(length)?;
                rest.get_mut(..length)?
                    .copy_from_slice(memory.get(from..to)?);
                while let Some(gap) = left.peek().filter(|gap| gap.range.start < to) {
                    let shift = |end: usize| {
                        end.clamp(from, to)
                            .saturating_sub(from)
                            .saturating_add(done)
                    };
                    gaps.add(shift(gap.range.start)..shift(gap.range.end), gap.cause);
                    if gap.range.end > to {
                        break;
                    }
                    left.next();
                }
                done = done.checked_add(length)?;
            }
            Some(Ok(gaps))
        })
    }
}

impl ReadAt for Framed {
    fn len(&self) -> u64 {
        self.length
    }

    fn known_gaps(&self) -> u64 {
        self.area.known_gaps()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        for part in buf.chunks_mut(BATCH) {
            let position = at.get().saturating_add(done as u64);
            let outside = OutOfRange {
                at: ByteOffset::new(position),
                length: part.len() as u64,
                end: self.length,
            };
            let missing = self.read_batch(position, part).unwrap_or(Err(outside))?;
            gaps.add_all_at(done, &missing);
            done = done.saturating_add(part.len());
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use evidence::GapCause;
    use evidence::view::Memory;
    use proptest::prelude::*;

    use super::*;

    fn framings() -> impl Strategy<Value = Framing> {
        let sectors = prop_oneof![
            Just((512, 8)),
            Just((4096, 512)),
            Just((4096, 64)),
            Just((7, 0)),
            (1_u32..40, 0_u32..2).prop_map(|(data, share)| (data, data * share)),
        ]
        .prop_map(|(data_bytes, check_bytes)| Framing::Sectors {
            data_bytes,
            check_bytes,
        });
        let zones = (1_u32..70, 2_u32..66).prop_flat_map(|(block_bytes, zone_blocks)| {
            (0..zone_blocks).prop_map(move |checksum_block| Framing::Zones {
                block_bytes,
                zone_blocks,
                checksum_block,
            })
        });
        prop_oneof![sectors, zones]
    }

    /// Whether the byte at `at` of a device is data, counting along the frame.
    fn is_data(framing: Framing, at: usize) -> bool {
        match framing {
            Framing::Sectors {
                data_bytes,
                check_bytes,
            } => at % ((data_bytes + check_bytes) as usize) < data_bytes as usize,
            Framing::Zones {
                block_bytes,
                zone_blocks,
                checksum_block,
            } => at / block_bytes as usize % zone_blocks as usize != checksum_block as usize,
        }
    }

    proptest! {
        #[test]
        fn data_is_what_lies_between_the_checks_and_gaps_keep_their_bytes(
            framing in framings(),
            start in 0_usize..1000,
            gap in (0_usize..20_000, 0_usize..9000),
            range in (0_usize..16_000, 0_usize..16_000),
        ) {
            let device: Vec<u8> = (0..20_000).map(|i| (i ^ ((i >> 8) * 7)) as u8).collect();
            let gap = gap.0..(gap.0 + gap.1).min(device.len());
            let data: Vec<usize> =
                (start..device.len()).filter(|at| is_data(framing, at - start)).collect();
            let memory = Memory::new(device.clone())
                .with_gaps(&Gaps::one(gap.clone(), GapCause::NotRescued));
            let framed = Framed::new(
                Arc::new(memory), ByteOffset::new(start as u64), framing, data.len() as u64,
            ).unwrap();
            let (a, b) = (range.0 % (data.len() + 1), range.1 % (data.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let (read, gaps) = framed.read_vec(ByteOffset::new(from as u64), to - from).unwrap();
            for (i, byte) in read.iter().enumerate() {
                let at = data[from + i];
                prop_assert_eq!(gaps.touch(i..i + 1), gap.contains(&at));
                prop_assert_eq!(*byte, if gap.contains(&at) { 0 } else { device[at] });
            }
        }
    }

    #[test]
    fn long_reads_are_cut_into_batches_that_fit_together() {
        let framing = Framing::Sectors {
            data_bytes: 512,
            check_bytes: 8,
        };
        let device: Vec<u8> = (0..520 * 2000).map(|i| (i / 520 + i % 520) as u8).collect();
        let data: Vec<u8> = device.chunks(520).flat_map(|s| s[..512].to_vec()).collect();
        let framed = Framed::new(
            Arc::new(Memory::new(device)),
            ByteOffset::new(0),
            framing,
            512 * 2000,
        );
        let (read, gaps) = framed
            .unwrap()
            .read_vec(ByteOffset::new(3), 512 * 2000 - 3)
            .unwrap();
        assert!(gaps.is_empty());
        assert!(read == data[3..]);
    }

    #[test]
    fn a_device_that_ends_early_is_a_gap_from_there_on() {
        let framing = Framing::Zones {
            block_bytes: 4,
            zone_blocks: 4,
            checksum_block: 1,
        };
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new((0..18).collect()));
        let framed = Framed::new(device, ByteOffset::new(0), framing, 24).unwrap();
        let (read, gaps) = framed.read_vec(ByteOffset::new(2), 22).unwrap();
        assert_eq!(read[..12], [2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(gaps, Gaps::one(12..22, GapCause::BeyondEnd));
    }

    #[test]
    fn frames_that_cannot_be_are_refused() {
        let sectors = |data_bytes, check_bytes| Framing::Sectors {
            data_bytes,
            check_bytes,
        };
        let zones = |block_bytes, zone_blocks, checksum_block| Framing::Zones {
            block_bytes,
            zone_blocks,
            checksum_block,
        };
        for framing in [
            sectors(0, 8),
            sectors(8, 9),
            zones(0, 64, 63),
            zones(4096, 64, 64),
        ] {
            assert!(framing.check().is_err() && framing.stored(0..1).is_none());
        }
        assert!(zones(4096, 1, 0).check().is_err());
        assert_eq!(sectors(512, 8).stored(0..u64::MAX), None);
        assert_eq!(zones(4096, 64, 0).stored(0..1), Some(4096..4097));
    }
}
