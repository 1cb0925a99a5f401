//! What a container holds, decrypted.

use std::ops::Range;
use std::sync::Arc;

use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt, ReadAtExt};

use super::Payload;
use super::cipher::{self, SectorCipher};

/// What is decrypted at a time: a multiple of all sectors.
const PIECE: u64 = 1 << 20;
/// The unit in which sectors are numbered, whatever their length.
const NUMBERED: u64 = 512;

/// The volume in a container.
pub(super) struct Opened {
    device: Arc<dyn ReadAt>,
    at: u64,
    length: u64,
    sector: u64,
    iv_offset: u64,
    cipher: Box<dyn SectorCipher>,
}

impl Opened {
    /// The volume that `payload` of `device` is, with its key; the error says what of it is not
    /// supported.
    pub(super) fn new(
        device: Arc<dyn ReadAt>,
        payload: &Payload,
        key: &[u8],
    ) -> Result<Self, String> {
        let sector = u64::from(payload.sector_bytes);
        let bytes = payload.length_on(device.as_ref());
        Ok(Self {
            at: payload.at,
            length: bytes.saturating_sub(bytes.checked_rem(sector).unwrap_or(0)),
            sector,
            iv_offset: payload.iv_offset,
            cipher: cipher::open(&payload.cipher, key)?,
            device,
        })
    }

    /// Decrypts whole sectors from `start` on; a sector of which anything is missing is missing.
    fn sectors(&self, start: u64, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let from = self.at.saturating_add(start);
        let there = self.device.len().saturating_sub(from);
        let there = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let total = buf.len();
        let (head, tail) = buf.split_at_mut(there);
        tail.fill(0);
        let mut read = if head.is_empty() {
            Gaps::none()
        } else {
            self.device.read_at(ByteOffset::new(from), head)?
        };
        // A header may state more than there is.
        read.add(there..total, evidence::GapCause::BeyondEnd);
        let sector = usize::try_from(self.sector).unwrap_or(usize::MAX).max(1);
        let whole = |range: &Range<usize>| {
            let end = range.end.checked_next_multiple_of(sector).unwrap_or(total);
            let before = range.start.checked_rem(sector).unwrap_or(0);
            range.start.saturating_sub(before)..end.min(total)
        };
        let mut gaps = Gaps::none();
        for gap in read.iter() {
            gaps.add(whole(&gap.range), gap.cause);
        }
        for range in read.suspects() {
            gaps.add_suspect(whole(&range));
        }
        let first = start / NUMBERED;
        let step = self.sector / NUMBERED;
        for (index, bytes) in buf.chunks_mut(sector).enumerate() {
            let number = (index as u64).saturating_mul(step).saturating_add(first);
            self.cipher
                .decrypt(bytes, number.wrapping_add(self.iv_offset));
        }
        for gap in gaps.iter() {
            if let Some(hole) = buf.get_mut(gap.range.clone()) {
                hole.fill(0);
            }
        }
        Ok(gaps)
    }
}

impl ReadAt for Opened {
    fn len(&self) -> u64 {
        self.length
    }

    fn known_gaps(&self) -> u64 {
        self.device.known_gaps()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        let mut piece = Vec::new();
        while done < buf.len() {
            let from = at.get().saturating_add(done as u64);
            let start = from.saturating_sub(from.checked_rem(self.sector).unwrap_or(0));
            let end = from.saturating_add(buf.len().saturating_sub(done) as u64);
            let end = end.checked_next_multiple_of(self.sector).unwrap_or(end);
            let end = end.min(start.saturating_add(PIECE)).min(self.length);
            piece.clear();
            piece.resize(usize::try_from(end.saturating_sub(start)).unwrap_or(0), 0);
            let read = self.sectors(start, &mut piece)?;
            let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
            let there = piece.get(skip..).unwrap_or_default();
            let count = there.len().min(buf.len().saturating_sub(done));
            if count == 0 {
                break;
            }
            if let (Some(into), Some(bytes)) = (
                buf.get_mut(done..done.saturating_add(count)),
                there.get(..count),
            ) {
                into.copy_from_slice(bytes);
            }
            add_part(&mut gaps, &read, skip..skip.saturating_add(count), done);
            done = done.saturating_add(count);
        }
        Ok(gaps)
    }
}

/// Takes over what of `read` lies in `part`, which goes to `at`.
fn add_part(gaps: &mut Gaps, read: &Gaps, part: Range<usize>, at: usize) {
    let moved = |range: &Range<usize>| {
        let start = range.start.max(part.start);
        let end = range.end.min(part.end).max(start);
        let to = |place: usize| place.saturating_sub(part.start).saturating_add(at);
        to(start)..to(end)
    };
    for gap in read.iter() {
        gaps.add(moved(&gap.range), gap.cause);
    }
    for range in read.suspects() {
        gaps.add_suspect(moved(&range));
    }
}
