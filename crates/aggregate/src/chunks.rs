//! A volume whose chunks lie here and there on another: a snapshot, a thin volume.

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

use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// Chunks one after the other, in the volume and on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    /// The first chunk of the volume.
    pub(crate) chunk: u64,
    /// The chunk of the store that holds it.
    pub(crate) on_store: u64,
    /// How many there are.
    pub(crate) count: u64,
}

/// Which chunks of a volume lie where on its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkMap {
    /// By the chunks of the volume, apart from each other.
    runs: Vec<Run>,
    /// Chunks of which nobody knows where they are, by their starts: that part of the map is lost.
    lost: Vec<Range<u64>>,
}

impl ChunkMap {
    /// The map with these chunks (the volume's and the store's), of which the last one counts
    /// where a chunk comes twice; `lost` are those of which the map is lost.
    pub(crate) fn new(mut pairs: Vec<(u64, u64)>, mut lost: Vec<Range<u64>>) -> Self {
        pairs.sort_by_key(|(chunk, _)| *chunk);
        let mut runs: Vec<Run> = Vec::new();
        for (chunk, on_store) in pairs {
            match runs.last_mut() {
                Some(last) if last.goes_on(chunk, on_store) => {
                    last.count = last.count.saturating_add(1);
                }
                Some(last) if last.last() == Some(chunk) => last.replace_last(on_store),
                _ => runs.push(Run {
                    chunk,
                    on_store,
                    count: 1,
                }),
            }
        }
        lost.sort_by_key(|range| (range.start, range.end));
        Self { runs, lost }
    }

    /// Where `chunk` lies, and how many chunks from it on have the same answer.
    fn find(&self, chunk: u64) -> (Found, u64) {
        let after = self.runs.partition_point(|run| run.chunk <= chunk);
        let run = after.checked_sub(1).and_then(|at| self.runs.get(at));
        if let Some(run) = run {
            let inside = chunk.saturating_sub(run.chunk);
            if let Some(rest) = run.count.checked_sub(inside).filter(|rest| *rest > 0) {
                return (Found::At(run.on_store.saturating_add(inside)), rest);
            }
        }
        let next = self.runs.get(after).map_or(u64::MAX, |run| run.chunk);
        let mut until = next;
        for range in &self.lost {
            if range.contains(&chunk) {
                let end = range.end.min(next);
                return (Found::Lost, end.saturating_sub(chunk));
            }
            if range.start > chunk {
                until = until.min(range.start);
            }
        }
        (Found::Nowhere, until.saturating_sub(chunk).max(1))
    }
}

impl Run {
    fn last(&self) -> Option<u64> {
        self.chunk.checked_add(self.count)?.checked_sub(1)
    }

    fn goes_on(&self, chunk: u64, on_store: u64) -> bool {
        self.chunk.checked_add(self.count) == Some(chunk)
            && self.on_store.checked_add(self.count) == Some(on_store)
    }

    /// Puts the last chunk elsewhere, if it is the only one.
    const fn replace_last(&mut self, on_store: u64) {
        if self.count == 1 {
            self.on_store = on_store;
        }
    }
}

/// What the map says of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is this chunk of the store.
    At(u64),
    /// It is not on the store.
    Nowhere,
    /// The part of the map that would say so is lost.
    Lost,
}

/// A volume that is read through a [`ChunkMap`].
pub(crate) struct Chunks {
    pub(crate) bytes: u64,
    pub(crate) chunk_bytes: NonZeroU64,
    pub(crate) map: ChunkMap,
    /// What the map points into; `None` if it is missing.
    pub(crate) store: Option<Arc<dyn ReadAt>>,
    pub(crate) below: Below,
}

/// What stands where a chunk is not on the store.
pub(crate) enum Below {
    /// Zeros.
    Zeros,
    /// The same place of another device, and behind its end zeros; `None` if it is missing.
    Device(Option<Arc<dyn ReadAt>>),
}

impl ReadAt for Chunks {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let size = self.chunk_bytes;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let position = at.get().saturating_add(done as u64);
            let (chunk, inside) = (position / size, position % size);
            let (found, count) = self.map.find(chunk);
            let bytes = count.saturating_mul(size.get()).saturating_sub(inside);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let stop = done.saturating_add(bytes.max(1)).min(buf.len());
            let Some(part) = buf.get_mut(done..stop) else {
                break;
            };
            let missing = match found {
                Found::At(on_store) => {
                    let start = on_store.checked_mul(size.get());
                    let start = start.and_then(|start| start.checked_add(inside));
                    read(self.store.as_ref(), start, part)
                }
                Found::Nowhere => self.below.read(position, part),
                Found::Lost => nothing(part, GapCause::Unmapped),
            };
            gaps.add_all_at(done, &missing);
            done = stop;
        }
        Ok(gaps)
    }
}

impl Below {
    fn read(&self, position: u64, buf: &mut [u8]) -> Gaps {
        match self {
            Self::Zeros => {
                buf.fill(0);
                Gaps::none()
            }
            Self::Device(None) => nothing(buf, GapCause::MemberMissing),
            Self::Device(Some(device)) => {
                let there = device.len().saturating_sub(position);
                let there = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
                let (part, behind) = buf.split_at_mut(there);
                behind.fill(0);
                read(Some(device), Some(position), part)
            }
        }
    }
}

/// Reads from a device that may be missing, or end before what is asked for does.
fn read(device: Option<&Arc<dyn ReadAt>>, at: Option<u64>, buf: &mut [u8]) -> Gaps {
    let Some(device) = device else {
        return nothing(buf, GapCause::MemberMissing);
    };
    let at = at.unwrap_or(u64::MAX);
    let there = device.len().saturating_sub(at);
    let there = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
    let (part, behind) = buf.split_at_mut(there);
    let mut gaps = match device.read_at(ByteOffset::new(at), part) {
        Ok(gaps) if !part.is_empty() => gaps,
        _ => nothing(part, GapCause::BeyondEnd),
    };
    gaps.add_all_at(there, &nothing(behind, GapCause::BeyondEnd));
    gaps
}

/// A gap over the whole of `buf`.
fn nothing(buf: &mut [u8], cause: GapCause) -> Gaps {
    buf.fill(0);
    if buf.is_empty() {
        return Gaps::none();
    }
    Gaps::one(0..buf.len(), cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;
    use proptest::prelude::*;

    const CHUNK: u64 = 4;

    fn device(first: u8, bytes: u8) -> Arc<dyn ReadAt> {
        Arc::new(Memory::new((first..first + bytes).collect()))
    }

    fn chunks(pairs: &[(u64, u64)], lost: &[Range<u64>]) -> Chunks {
        Chunks {
            bytes: 10 * CHUNK,
            chunk_bytes: NonZeroU64::new(CHUNK).unwrap(),
            map: ChunkMap::new(pairs.to_vec(), lost.to_vec()),
            store: Some(device(100, 40)),
            below: Below::Device(Some(device(0, 34))),
        }
    }

    #[test]
    fn each_chunk_comes_from_the_store_or_from_what_is_below() {
        let volume = chunks(&[(2, 5), (1, 4), (7, 0), (9, 99)], &[3..5, 7..8]);
        let (bytes, gaps) = volume.read_vec(ByteOffset::ZERO, 40).unwrap();
        let mut want: Vec<u8> = (0..4).chain(116..124).collect();
        want.extend([0; 8]);
        want.extend(20..28);
        want.extend(100..104);
        want.extend([32, 33, 0, 0]);
        want.extend([0; 4]);
        assert_eq!(bytes, want);
        let mut missing = Gaps::one(12..20, GapCause::Unmapped);
        missing.add(36..40, GapCause::BeyondEnd);
        assert_eq!(gaps, missing);
    }

    #[test]
    fn zeros_are_what_a_thin_volume_has_where_nothing_was_written() {
        let mut volume = chunks(&[(0, 0)], &[]);
        volume.below = Below::Zeros;
        let (bytes, gaps) = volume.read_vec(ByteOffset::new(2), 10).unwrap();
        assert_eq!(bytes, [102, 103, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(gaps.is_empty());
    }

    #[test]
    fn a_run_that_reaches_past_the_store_is_read_up_to_its_end() {
        let volume = chunks(&[(6, 9), (7, 10)], &[]);
        let (bytes, gaps) = volume.read_vec(ByteOffset::new(24), 8).unwrap();
        assert_eq!(bytes, [136, 137, 138, 139, 0, 0, 0, 0]);
        assert_eq!(gaps, Gaps::one(4..8, GapCause::BeyondEnd));
    }

    proptest! {
        #[test]
        fn any_read_is_a_part_of_the_whole(
            pairs in proptest::collection::vec((0_u64..12, 0_u64..12), 0..12),
            lost in proptest::collection::vec((0_u64..10, 1_u64..4), 0..3),
            (at, length) in (0_u64..=40).prop_flat_map(|at| (Just(at), 0..=40 - at)),
        ) {
            let lost: Vec<Range<u64>> = lost.iter().map(|(at, n)| *at..at + n).collect();
            let volume = chunks(&pairs, &lost);
            let (all, all_gaps) = volume.read_vec(ByteOffset::ZERO, 40).unwrap();
            let length = length as usize;
            let (part, gaps) = volume.read_vec(ByteOffset::new(at), length).unwrap();
            let at = at as usize;
            prop_assert_eq!(&part[..], &all[at..at + length]);
            for byte in 0..length {
                let here = |gaps: &Gaps, byte: usize| gaps.iter().any(|g| g.range.contains(&byte));
                prop_assert_eq!(here(&gaps, byte), here(&all_gaps, at + byte));
            }
        }
    }
}
