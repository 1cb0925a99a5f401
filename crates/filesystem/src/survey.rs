//! One pass over a volume, in which every format recognises its own blocks.
//!
//! A file system whose superblock or trees are gone is put together from blocks that say
//! themselves what they are. To see them all, the volume is read once from its start to its end,
//! in windows, in parallel; what is seen comes back in the order of the volume, whatever the
//! number of threads.

use std::ops::Range;

use evidence::{ByteOffset, Gaps, ReadAt, ReadAtExt};
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::cache::gap_in;

/// How much of the volume belongs to one window.
const WINDOW_BYTES: u64 = 4 << 20;
/// How far a window reaches into the next one, so that a block that begins at its end is whole:
/// the longest metadata block of any format.
const OVERLAP_BYTES: u64 = 64 << 10;
/// So many windows are in memory at once.
const WINDOWS_AT_ONCE: u64 = 32;

/// A part of a volume, read.
pub(crate) struct Window {
    start: ByteOffset,
    /// The bytes of the window and of the overlap behind it.
    bytes: Vec<u8>,
    /// How many bytes are the window's own: what begins behind them belongs to the next one.
    own: usize,
    gaps: Gaps,
}

impl Window {
    /// Reads the window that begins at `start`.
    fn read(volume: &dyn ReadAt, start: u64) -> Self {
        let rest = volume.len().saturating_sub(start);
        let length = rest.min(WINDOW_BYTES.saturating_add(OVERLAP_BYTES));
        let start = ByteOffset::new(start);
        let length = usize::try_from(length).unwrap_or(0);
        let (bytes, gaps) = volume.read_vec(start, length).unwrap_or_default();
        let own = usize::try_from(rest.min(WINDOW_BYTES)).unwrap_or(0);
        Self {
            start,
            own: own.min(bytes.len()),
            bytes,
            gaps,
        }
    }

    /// The blocks of `size` bytes that begin in this window, at multiples of `size` in the
    /// volume, with their places. Blocks that are cut short, not wholly readable, or nothing but
    /// zeros are left out.
    pub(crate) fn blocks(&self, size: usize) -> impl Iterator<Item = (ByteOffset, &[u8])> {
        self.blocks_every(size, size)
    }

    /// As [`blocks`](Self::blocks), with blocks of `size` bytes at multiples of `step`.
    pub(crate) fn blocks_every(
        &self,
        step: usize,
        size: usize,
    ) -> impl Iterator<Item = (ByteOffset, &[u8])> {
        // Windows begin at multiples of every block size.
        (0..self.own).step_by(step.max(1)).filter_map(move |at| {
            let range = at..at.saturating_add(size);
            let block = self.whole(range)?;
            let place = self.start.checked_add(at as u64)?;
            block
                .iter()
                .any(|byte| *byte != 0)
                .then_some((place, block))
        })
    }

    /// `length` bytes at `place` of the volume, if the window has them and all could be read.
    pub(crate) fn at(&self, place: ByteOffset, length: usize) -> Option<&[u8]> {
        let inside = place.checked_sub(self.start.get())?.get();
        let inside = usize::try_from(inside).ok()?;
        self.whole(inside..inside.checked_add(length)?)
    }

    /// The bytes of `range`, counted from the window's start, if all of them could be read.
    fn whole(&self, range: Range<usize>) -> Option<&[u8]> {
        if gap_in(&self.gaps, range.start, range.end).is_some() {
            return None;
        }
        self.bytes.get(range)
    }
}

/// Reads all of `volume` once and gives what `look` sees in its windows, in their order.
///
/// `progress` is told how many bytes were read since it was told last.
pub(crate) fn survey<T: Send>(
    volume: &dyn ReadAt,
    look: impl Fn(&Window) -> T + Sync,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<T> {
    let windows = volume.len().div_ceil(WINDOW_BYTES);
    let mut seen = Vec::new();
    let mut next = 0_u64;
    while next < windows {
        let stop = windows.min(next.saturating_add(WINDOWS_AT_ONCE));
        let part: Vec<T> = (next..stop)
            .into_par_iter()
            .map(|number| {
                let window = Window::read(volume, number.saturating_mul(WINDOW_BYTES));
                let found = look(&window);
                progress(window.own as u64);
                found
            })
            .collect();
        seen.extend(part);
        next = stop;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::GapCause;
    use evidence::view::Memory;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_block_is_seen_once_and_in_order_also_at_the_edge_of_a_window() {
        let length = 2 * WINDOW_BYTES + 8192 + 100;
        let bytes: Vec<u8> = (0..length).map(|i| u8::from(i % 4096 == 7)).collect();
        let volume = Memory::new(bytes);
        let read = AtomicU64::new(0);
        let seen = survey(
            &volume,
            |window| {
                let blocks = window.blocks_every(4096, 8192);
                blocks
                    .map(|(at, block)| (at.get(), block.len()))
                    .collect::<Vec<_>>()
            },
            &|bytes| {
                read.fetch_add(bytes, Ordering::Relaxed);
            },
        );
        let want: Vec<(u64, usize)> = (0..=length - 8192)
            .step_by(4096)
            .map(|at| (at, 8192))
            .collect();
        assert_eq!(seen.concat(), want);
        assert_eq!(read.into_inner(), length);
    }

    #[test]
    fn blocks_with_gaps_and_blocks_of_zeros_are_left_out() {
        let mut bytes = vec![1; 5 * 1024];
        bytes.get_mut(1024..2048).unwrap().fill(0);
        let volume = Memory::new(bytes).with_gaps(&Gaps::one(3000..3001, GapCause::Unreadable));
        let window = Window::read(&volume, 0);
        let places: Vec<u64> = window.blocks(1024).map(|(at, _)| at.get()).collect();
        assert_eq!(places, [0, 3072, 4096]);
    }
}
