//! The devices of a file system and the chunks on them: bytes by their logical address.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use evidence::{ByteOffset, GapCause, Gaps, ReadAt, ReadAtExt};

use super::chunk::{Chunk, Profile, Spot, Stripe};
use super::parity;

/// Devices and the map of logical addresses.
#[derive(Clone)]
pub(super) struct Pool {
    /// By `devid`; those that are missing are not there.
    pub(super) devices: BTreeMap<u64, Arc<dyn ReadAt>>,
    /// By their first address; they do not overlap.
    chunks: BTreeMap<u64, Chunk>,
}

impl Pool {
    /// A pool of `devices` without any chunks yet.
    pub(super) const fn new(devices: BTreeMap<u64, Arc<dyn ReadAt>>) -> Self {
        Self {
            devices,
            chunks: BTreeMap::new(),
        }
    }

    /// Adds a chunk unless some of its addresses are mapped already.
    pub(super) fn add(&mut self, chunk: Chunk) -> bool {
        let free = self.is_free(&(chunk.start..chunk.end()));
        if free {
            self.chunks.insert(chunk.start, chunk);
        }
        free
    }

    /// Whether none of these addresses is in a chunk.
    pub(super) fn is_free(&self, range: &Range<u64>) -> bool {
        let before = self.chunks.range(..range.end).next_back();
        before.is_none_or(|(_, before)| before.end() <= range.start)
    }

    /// All chunks, by their first address.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.values()
    }

    /// The chunk that `logical` is in.
    pub(super) fn chunk(&self, logical: u64) -> Option<&Chunk> {
        let (_, chunk) = self.chunks.range(..=logical).next_back()?;
        (logical < chunk.end()).then_some(chunk)
    }

    /// The first address behind all chunks.
    pub(super) fn end(&self) -> u64 {
        self.chunks
            .last_key_value()
            .map_or(0, |(_, chunk)| chunk.end())
    }

    /// How many bytes from `logical`, which is in no chunk, to the next one.
    pub(super) fn hole(&self, logical: u64) -> u64 {
        let next = self.chunks.range(logical..).next();
        next.map_or(u64::MAX, |(start, _)| start.saturating_sub(logical))
    }

    /// How many ways there are to have the bytes at `logical`.
    pub(super) fn variants(&self, logical: u64) -> usize {
        self.chunk(logical).map_or(0, Chunk::variants)
    }

    /// Where the bytes at `logical` lie, as they were written.
    pub(super) fn places(&self, logical: u64) -> Vec<(u64, u64)> {
        let place = |chunk: &Chunk| {
            let spot = chunk.spot(logical)?;
            let stripes = (0..spot.copies).filter_map(|copy| {
                let stripe = chunk.in_row(spot.stripe, copy)?;
                Some((stripe.devid, stripe.offset.checked_add(spot.within)?))
            });
            Some(stripes.collect())
        };
        self.chunk(logical).and_then(place).unwrap_or_default()
    }

    /// Fills `buf` from `logical` on in the way `variant`, across stripes and chunks.
    pub(super) fn read(&self, logical: u64, buf: &mut [u8], variant: usize) -> Gaps {
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let at = logical.saturating_add(done as u64);
            let rest = buf.get_mut(done..).unwrap_or_default();
            let Some((chunk, spot)) = self
                .chunk(at)
                .and_then(|chunk| Some((chunk, chunk.spot(at)?)))
            else {
                rest.fill(0);
                gaps.add(done..buf.len(), GapCause::Unmapped);
                break;
            };
            let run = usize::try_from(spot.run).unwrap_or(usize::MAX);
            let part = rest.get_mut(..run.min(rest.len())).unwrap_or_default();
            let length = part.len();
            gaps.add_all_at(done, &self.read_spot(chunk, spot, part, variant));
            done = done.saturating_add(length);
        }
        gaps
    }

    /// As [`read`](Self::read), within one stripe.
    fn read_spot(&self, chunk: &Chunk, spot: Spot, buf: &mut [u8], variant: usize) -> Gaps {
        let length = buf.len();
        let rebuilt = match (chunk.profile, variant) {
            (Profile::Copies | Profile::Raid0 | Profile::Raid10, _) | (_, 0) => {
                let copy = if variant < spot.copies { variant } else { 0 };
                let Some(stripe) = chunk.in_row(spot.stripe, copy) else {
                    return missing(buf);
                };
                return self.read_stripe(stripe, spot.within, buf);
            }
            (Profile::Raid5 | Profile::Raid6, 1) => self.with_p(chunk, spot, length),
            (_, 2) => self.with_q(chunk, spot, length),
            (_, other) => {
                // The other stripes of the row, without this one.
                let other = other.saturating_sub(3);
                let other = other.saturating_add(usize::from(other >= spot.data));
                self.with_both(chunk, spot, length, other)
            }
        };
        match rebuilt {
            Some(bytes) if bytes.len() == length => {
                buf.copy_from_slice(&bytes);
                Gaps::none()
            }
            _ => missing(buf),
        }
    }

    fn read_stripe(&self, stripe: &Stripe, within: u64, buf: &mut [u8]) -> Gaps {
        let Some(device) = self.devices.get(&stripe.devid) else {
            return missing(buf);
        };
        let Some(at) = stripe.offset.checked_add(within) else {
            return missing(buf);
        };
        let there = device.len().saturating_sub(at);
        let readable = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let total = buf.len();
        let (head, tail) = buf.split_at_mut(readable);
        let mut gaps = Gaps::none();
        if !head.is_empty() {
            match device.read_at(ByteOffset::new(at), head) {
                Ok(read) => gaps = read,
                Err(_) => gaps.add(0..readable, GapCause::BeyondEnd),
            }
        }
        tail.fill(0);
        gaps.add(readable..total, GapCause::BeyondEnd);
        gaps
    }

    /// The stripe number `index` of a row, if all of it can be read.
    fn row_stripe(
        &self,
        chunk: &Chunk,
        spot: Spot,
        index: usize,
        length: usize,
    ) -> Option<Vec<u8>> {
        let stripe = chunk.in_row(spot.rotation, index)?;
        let device = self.devices.get(&stripe.devid)?;
        let at = stripe.offset.checked_add(spot.within)?;
        device.read_whole(ByteOffset::new(at), length)
    }

    /// The data stripes of a row besides those of `without`.
    fn row_data(
        &self,
        chunk: &Chunk,
        spot: Spot,
        length: usize,
        without: &[usize],
    ) -> Option<Vec<(usize, Vec<u8>)>> {
        (0..chunk.row())
            .filter(|index| !without.contains(index))
            .map(|index| Some((index, self.row_stripe(chunk, spot, index, length)?)))
            .collect()
    }

    fn with_p(&self, chunk: &Chunk, spot: Spot, length: usize) -> Option<Vec<u8>> {
        let data = self.row_data(chunk, spot, length, &[spot.data])?;
        let p = self.row_stripe(chunk, spot, chunk.row(), length)?;
        Some(parity::with_p(&p, borrowed(&data)))
    }

    fn with_q(&self, chunk: &Chunk, spot: Spot, length: usize) -> Option<Vec<u8>> {
        let data = self.row_data(chunk, spot, length, &[spot.data])?;
        let q = chunk.row().checked_add(1)?;
        let q = self.row_stripe(chunk, spot, q, length)?;
        Some(parity::with_q(spot.data, &q, borrowed(&data)))
    }

    fn with_both(&self, chunk: &Chunk, spot: Spot, length: usize, other: usize) -> Option<Vec<u8>> {
        let data = self.row_data(chunk, spot, length, &[spot.data, other])?;
        let p = self.row_stripe(chunk, spot, chunk.row(), length)?;
        let q = chunk.row().checked_add(1)?;
        let q = self.row_stripe(chunk, spot, q, length)?;
        Some(parity::with_both(spot.data, other, &p, &q, borrowed(&data)))
    }
}

fn borrowed(data: &[(usize, Vec<u8>)]) -> impl Iterator<Item = (usize, &[u8])> {
    data.iter()
        .map(|(number, bytes)| (*number, bytes.as_slice()))
}

/// A read of what no device holds.
fn missing(buf: &mut [u8]) -> Gaps {
    buf.fill(0);
    Gaps::one(0..buf.len(), GapCause::MemberMissing)
}
