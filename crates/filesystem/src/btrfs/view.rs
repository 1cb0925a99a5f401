//! The logical addresses of a file system as bytes: of several copies the one that verifies.
//!
//! Data is checked sector by sector against the checksum tree; tree blocks, in which short
//! files lie, against the checksum in their header. What fits no copy is a gap. What
//! cannot be checked because its checksum is lost is suspect.

use std::ops::Range;
use std::sync::Arc;

use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

use super::chunk::DATA;
use super::node::Node;
use super::sums::{Sum, Sums};
use super::volume::Volume;

/// So much is read at a time.
const WINDOW_BYTES: u64 = 64 << 10;

/// The view.
pub(super) struct Logical {
    pub(super) volume: Arc<Volume>,
    pub(super) sums: Arc<Sums>,
}

impl Logical {
    /// Fills `buf` from `at` on; all of it lies in one chunk and one window.
    fn read_window(&self, at: u64, buf: &mut [u8]) -> Gaps {
        let Some(chunk) = self.volume.pool.chunk(at) else {
            buf.fill(0);
            return Gaps::one(0..buf.len(), GapCause::Unmapped);
        };
        let is_data = chunk.block_group_type & DATA != 0;
        let is_mixed = is_data && chunk.block_group_type & !DATA & 7 != 0;
        if is_data && !is_mixed {
            return self.read_data(at, buf, &self.sums_of(at, buf.len()));
        }
        if is_mixed {
            let sums = self.sums_of(at, buf.len());
            let any = sums.1.iter().any(|sum| matches!(sum, Sum::Known(_)));
            if any || self.block_around(at).is_none() {
                return self.read_data(at, buf, &sums);
            }
        }
        self.read_metadata(at, buf)
    }

    /// The whole sectors around `length` bytes at `at`, and their sums.
    fn sums_of(&self, at: u64, length: usize) -> (Range<u64>, Vec<Sum>) {
        let sector = u64::from(self.volume.format.sectorsize).max(1);
        let end = at.saturating_add(length as u64);
        let start = at.saturating_sub(at.checked_rem(sector).unwrap_or_default());
        let range = start..end.checked_next_multiple_of(sector).unwrap_or(end);
        let sums = self.sums.of(&self.volume, range.clone(), None);
        (range, sums)
    }

    /// Fills `buf` from `at` on from data blocks, with the sums of the sectors around it.
    fn read_data(&self, at: u64, buf: &mut [u8], (range, sums): &(Range<u64>, Vec<Sum>)) -> Gaps {
        let (bytes, all) = read_sectors(&self.volume, range, sums);
        let ahead = usize::try_from(at.saturating_sub(range.start)).unwrap_or(usize::MAX);
        cut(&bytes, &all, ahead, buf)
    }

    /// The tree block that `at` is in.
    fn block_around(&self, at: u64) -> Option<(u64, Arc<Node>)> {
        let format = self.volume.format;
        let step = u64::from(format.sectorsize);
        let first = at.saturating_sub(at.checked_rem(step)?);
        let starts = (0..format.nodesize.checked_div(format.sectorsize)?)
            .map(|back| first.saturating_sub(u64::from(back).saturating_mul(step)));
        // Blocks begin at multiples of their size, as a rule.
        let size = u64::from(format.nodesize);
        let (usual, others): (Vec<u64>, Vec<u64>) =
            starts.partition(|start| start.checked_rem(size) == Some(0));
        usual.into_iter().chain(others).find_map(|start| {
            let node = self.volume.newest_node(start)?;
            Some((start, node))
        })
    }

    /// Fills `buf` from `at` on from tree blocks.
    fn read_metadata(&self, at: u64, buf: &mut [u8]) -> Gaps {
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let from = at.saturating_add(done as u64);
            let rest = buf.get_mut(done..).unwrap_or_default();
            let Some((start, node)) = self.block_around(from) else {
                gaps.add_all_at(done, &self.volume.pool.read(from, rest, 0));
                gaps.add_suspect(done..buf.len());
                break;
            };
            let inside = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
            let there = node.bytes.len().saturating_sub(inside).min(rest.len());
            if there == 0 {
                gaps.add(done..buf.len(), GapCause::Unmapped);
                break;
            }
            let part = rest.get_mut(..there).unwrap_or_default();
            gaps.add_all_at(done, &cut(&node.bytes, &doubts(&node), inside, part));
            done = done.saturating_add(there);
        }
        gaps
    }
}

/// What of a tree block is not to be had, or not to be relied on.
fn doubts(node: &Node) -> Gaps {
    let mut gaps = Gaps::none();
    for lost in &node.lost {
        gaps.add(lost.clone(), GapCause::ChecksumMismatch);
    }
    if !node.lost.is_empty() {
        gaps.add_suspect(0..node.bytes.len());
    }
    gaps
}

/// Copies the part of `bytes` that begins at `ahead` into `buf`, with its gaps and suspects.
fn cut(bytes: &[u8], all: &Gaps, ahead: usize, buf: &mut [u8]) -> Gaps {
    let end = ahead.saturating_add(buf.len());
    match bytes.get(ahead..end) {
        Some(part) => buf.copy_from_slice(part),
        None => return Gaps::one(0..buf.len(), GapCause::BeyondEnd),
    }
    let shift = |range: &Range<usize>| {
        let start = range.start.clamp(ahead, end).saturating_sub(ahead);
        start..range.end.clamp(ahead, end).saturating_sub(ahead)
    };
    let mut gaps = Gaps::none();
    for gap in all.iter() {
        let range = shift(&gap.range);
        buf.get_mut(range.clone()).unwrap_or_default().fill(0);
        gaps.add(range, gap.cause);
    }
    for suspect in all.suspects() {
        gaps.add_suspect(shift(&suspect));
    }
    gaps
}

/// The bytes of the sectors in `range`, each of the copy that fits its sum.
pub(super) fn read_sectors(volume: &Volume, range: &Range<u64>, sums: &[Sum]) -> (Vec<u8>, Gaps) {
    let sector = volume.format.sectorsize as usize;
    let length = sums.len().saturating_mul(sector);
    let mut bytes = vec![0; length];
    let first = volume.pool.read(range.start, &mut bytes, 0);
    let mut gaps = Gaps::none();
    for (number, (sum, part)) in sums.iter().zip(bytes.chunks_mut(sector.max(1))).enumerate() {
        let start = number.saturating_mul(sector);
        let place = start..start.saturating_add(sector);
        let was_read = !first.touch(place.clone());
        let fits = |part: &[u8]| match sum {
            Sum::Known(stored) => volume.format.csum.fits(stored, part),
            Sum::None | Sum::Lost => true,
        };
        if was_read && fits(part) {
            let doubted = *sum == Sum::Lost
                || first
                    .suspects()
                    .iter()
                    .any(|s| s.start < place.end && place.start < s.end && *sum == Sum::None);
            if doubted {
                gaps.add_suspect(place);
            }
            continue;
        }
        let at = range.start.saturating_add(start as u64);
        if another(volume, at, part, fits) {
            if *sum == Sum::Lost {
                gaps.add_suspect(place);
            }
            continue;
        }
        let cause = first.iter().find(|gap| gap.range.contains(&start));
        let cause = cause.map_or(GapCause::ChecksumMismatch, |gap| gap.cause);
        part.fill(0);
        gaps.add(place, cause);
    }
    (bytes, gaps)
}

/// Fills `part` from a copy besides the first one that can be read whole and `fits`.
fn another(volume: &Volume, at: u64, part: &mut [u8], fits: impl Fn(&[u8]) -> bool) -> bool {
    (1..volume.pool.variants(at)).any(|variant| {
        let gaps = volume.pool.read(at, part, variant);
        gaps.is_empty() && fits(part)
    })
}

impl ReadAt for Logical {
    fn len(&self) -> u64 {
        self.volume.pool.end()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let from = at.get().saturating_add(done as u64);
            let window = WINDOW_BYTES.saturating_sub(from % WINDOW_BYTES);
            let left = match self.volume.pool.chunk(from) {
                Some(chunk) => chunk.end().saturating_sub(from),
                None => self.volume.pool.hole(from),
            };
            let length = usize::try_from(window.min(left)).unwrap_or(usize::MAX);
            let rest = buf.get_mut(done..).unwrap_or_default();
            let length = length.clamp(1, rest.len().max(1));
            let part = rest.get_mut(..length).unwrap_or_default();
            gaps.add_all_at(done, &self.read_window(from, part));
            done = done.saturating_add(length);
        }
        Ok(gaps)
    }
}
