//! Contents that a container keeps in blocks, each somewhere in its files or packed.
//!
//! All containers come down to this: a [`BlockMap`] says for each block of the disk where it is
//! kept, and [`Blocks`] reads it, unpacks it and keeps the last ones that were unpacked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::Codec;
use super::files::Files;
use crate::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// Bytes of unpacked blocks that are kept at most, for one image.
const CACHE_BYTES: u64 = 16 << 20;
/// The largest block that is unpacked. No program writes larger ones, and what a header says
/// must not decide how much memory is used.
pub(super) const MAX_PACKED_BLOCK: u64 = 32 << 20;
/// The most stored bytes of one packed block: poor compression makes a block a little longer.
const MAX_STORED: u64 = MAX_PACKED_BLOCK + (1 << 20);

/// Where a block is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// Nowhere: the format says that it reads as zeros.
    Zeros,
    /// As it is, at an offset in a file.
    Plain {
        /// The number of the file.
        file: usize,
        /// Where it begins there.
        at: u64,
    },
    /// Packed, or with a checksum that only the whole block has.
    Packed {
        /// The number of the file.
        file: usize,
        /// Where it begins there.
        at: u64,
        /// How many bytes are kept; an upper bound if `codec` finds its end itself.
        bytes: u64,
        /// How.
        codec: Codec,
    },
    /// It cannot be had.
    Gap(GapCause),
}

/// Says where the blocks of a container are.
pub(super) trait BlockMap: Send + Sync {
    /// The size of every block but the last, in bytes; never zero.
    fn block_bytes(&self) -> u64;

    /// Where block `number` is. The numbers that are asked for are those of the disk's length.
    fn locate(&self, files: &Files, number: u64) -> Stored;
}

type Unpacked = Result<Arc<[u8]>, GapCause>;

/// The contents of a container.
pub(super) struct Blocks<M> {
    map: M,
    length: u64,
    files: Files,
    cache: Mutex<VecDeque<(u64, Unpacked)>>,
}

impl<M: BlockMap> Blocks<M> {
    /// The `length` bytes of a disk that `map` finds in `files`.
    pub(super) const fn new(map: M, length: u64, files: Files) -> Self {
        Self {
            map,
            length,
            files,
            cache: Mutex::new(VecDeque::new()),
        }
    }

    /// How many bytes of the disk are in block `number`.
    fn bytes_of(&self, number: u64) -> u64 {
        let start = number.saturating_mul(self.map.block_bytes());
        self.length
            .saturating_sub(start)
            .min(self.map.block_bytes())
    }

    /// Fills `buf` with the bytes of block `number` from `inside` on.
    fn read_block(&self, number: u64, inside: u64, buf: &mut [u8]) -> Gaps {
        match self.map.locate(&self.files, number) {
            Stored::Zeros => {
                buf.fill(0);
                Gaps::none()
            }
            Stored::Gap(cause) => {
                buf.fill(0);
                Gaps::one(0..buf.len(), cause)
            }
            Stored::Plain { file, at } => self.files.read(file, at.saturating_add(inside), buf),
            Stored::Packed {
                file,
                at,
                bytes,
                codec,
            } => match self.unpacked(number, (file, at, bytes), codec) {
                Ok(block) => {
                    let from = usize::try_from(inside).unwrap_or(usize::MAX);
                    let there = block.get(from..).unwrap_or_default();
                    let count = there.len().min(buf.len());
                    let (front, beyond) = buf.split_at_mut(count);
                    front.copy_from_slice(there.get(..count).unwrap_or_default());
                    beyond.fill(0);
                    Gaps::one(count..buf.len(), GapCause::ChunkDamaged)
                }
                Err(cause) => {
                    buf.fill(0);
                    Gaps::one(0..buf.len(), cause)
                }
            },
        }
    }

    /// Block `number`, unpacked. Threads unpack side by side; two that want the same block at the
    /// same moment both do it, which costs less than waiting.
    fn unpacked(&self, number: u64, place: (usize, u64, u64), codec: Codec) -> Unpacked {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut cache = lock();
            if let Some(index) = cache.iter().position(|(known, _)| *known == number)
                && let Some(entry) = cache.remove(index)
            {
                let block = entry.1.clone();
                cache.push_back(entry);
                return block;
            }
        }
        let block = self.unpack(number, place, codec);
        let mut cache = lock();
        let most = CACHE_BYTES.checked_div(self.map.block_bytes()).unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(usize::MAX).clamp(2, 512);
        while cache.len() >= most {
            cache.pop_front();
        }
        cache.push_back((number, block.clone()));
        block
    }

    fn unpack(&self, number: u64, (file, at, bytes): (usize, u64, u64), codec: Codec) -> Unpacked {
        let block = self.bytes_of(number);
        if self.map.block_bytes() > MAX_PACKED_BLOCK || bytes > MAX_STORED {
            return Err(GapCause::ChunkDamaged);
        }
        // What a compressed block is said to take may reach beyond the end of the file.
        let there = self.files.bytes(file).map_err(|_| GapCause::Unreadable)?;
        let there = there.saturating_sub(at).min(bytes);
        let length = usize::try_from(there).map_err(|_| GapCause::ChunkDamaged)?;
        let mut stored = vec![0; length];
        let gaps = self.files.read(file, at, &mut stored);
        if let Some(gap) = gaps.iter().next() {
            return Err(gap.cause);
        }
        let wanted = usize::try_from(block).map_err(|_| GapCause::ChunkDamaged)?;
        let most = usize::try_from(self.map.block_bytes()).map_err(|_| GapCause::ChunkDamaged)?;
        let unpacked = codec.unpack(&stored, wanted, most);
        unpacked.map(Into::into).ok_or(GapCause::ChunkDamaged)
    }
}

impl<M: BlockMap> ReadAt for Blocks<M> {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let size = self.map.block_bytes().max(1);
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let from = at.get().saturating_add(done as u64);
            let number = from.checked_div(size).unwrap_or(0);
            let inside = from.checked_rem(size).unwrap_or(0);
            let to_border = usize::try_from(size.saturating_sub(inside)).unwrap_or(usize::MAX);
            let stop = done.saturating_add(to_border).min(buf.len());
            let part = buf.get_mut(done..stop).unwrap_or_default();
            gaps.add_all_at(done, &self.read_block(number, inside, part));
            done = stop;
        }
        Ok(gaps)
    }
}
