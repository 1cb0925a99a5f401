//! Views: other ways to look at the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ByteOffset, Gap, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// Bytes in memory: a decompressed structure, or a test's disk.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    bytes: Vec<u8>,
    gaps: Vec<Gap>,
}

impl Memory {
    /// A view of `bytes`.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            gaps: Vec::new(),
        }
    }

    /// The same bytes, of which `gaps` could not be read.
    #[must_use]
    pub fn with_gaps(mut self, gaps: &Gaps) -> Self {
        self.gaps = gaps.iter().cloned().collect();
        self
    }
}

impl ReadAt for Memory {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let start = usize::try_from(at.get()).unwrap_or(usize::MAX);
        let end = start.saturating_add(buf.len());
        if let Some(part) = self.bytes.get(start..end) {
            buf.copy_from_slice(part);
        }
        let mut gaps = Gaps::none();
        for gap in &self.gaps {
            let from = gap.range.start.max(start);
            let to = gap.range.end.min(end);
            if from < to {
                let range = from.saturating_sub(start)..to.saturating_sub(start);
                if let Some(hole) = buf.get_mut(range.clone()) {
                    hole.fill(0);
                }
                gaps.add(range, gap.cause);
            }
        }
        Ok(gaps)
    }
}

/// A part of something, as if it began at zero. It may promise more than is there: what lies
/// past the end of the whole is a gap, since a truncated image is common evidence.
#[derive(Clone)]
pub struct Slice {
    whole: Arc<dyn ReadAt>,
    start: u64,
    length: u64,
}

impl Slice {
    /// `length` bytes of `whole` from `start` on.
    pub fn new(whole: Arc<dyn ReadAt>, start: ByteOffset, length: u64) -> Self {
        Self {
            whole,
            start: start.get(),
            length: length.min(u64::MAX.saturating_sub(start.get())),
        }
    }
}

impl ReadAt for Slice {
    fn len(&self) -> u64 {
        self.length
    }

    fn known_gaps(&self) -> u64 {
        self.whole.known_gaps()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let from = self.start.saturating_add(at.get());
        let there = self.whole.len().saturating_sub(from);
        let readable = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let total = buf.len();
        let (head, tail) = buf.split_at_mut(readable);
        let mut gaps = if head.is_empty() {
            Gaps::none()
        } else {
            self.whole.read_at(ByteOffset::new(from), head)?
        };
        tail.fill(0);
        gaps.add(readable..total, GapCause::BeyondEnd);
        Ok(gaps)
    }
}

/// Several things one after the other.
#[derive(Clone, Default)]
pub struct Concat {
    /// Each part with the offset of its end.
    parts: Vec<(u64, Arc<dyn ReadAt>)>,
}

impl Concat {
    /// The `parts`, in order; `None` if their lengths add up to more than 2^64 bytes.
    pub fn new(parts: impl IntoIterator<Item = Arc<dyn ReadAt>>) -> Option<Self> {
        let mut end = 0_u64;
        let mut all = Vec::new();
        for part in parts {
            end = end.checked_add(part.len())?;
            all.push((end, part));
        }
        Some(Self { parts: all })
    }
}

impl ReadAt for Concat {
    fn len(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        let mut index = self.parts.partition_point(|(end, _)| *end <= at.get());
        while done < buf.len() {
            let Some((end, part)) = self.parts.get(index) else {
                break;
            };
            let position = at.get().saturating_add(done as u64);
            let inside = position.saturating_sub(end.saturating_sub(part.len()));
            let there = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
            let stop = done.saturating_add(there).min(buf.len());
            if let Some(piece) = buf.get_mut(done..stop) {
                gaps.add_all_at(done, &part.read_at(ByteOffset::new(inside), piece)?);
            }
            done = stop;
            index = index.saturating_add(1);
        }
        Ok(gaps)
    }
}

/// The same bits, read from another one than the first on: as after bits that were lost, or came
/// twice, on the way to the disk. The first bit of a byte is its most significant one.
#[derive(Clone)]
pub struct BitShifted {
    whole: Arc<dyn ReadAt>,
    bytes: u64,
    bits: u32,
}

impl BitShifted {
    /// `whole` from its bit number `bits` on.
    pub fn new(whole: Arc<dyn ReadAt>, bits: u64) -> Self {
        Self {
            whole,
            bytes: bits / 8,
            bits: u32::try_from(bits % 8).unwrap_or(0),
        }
    }
}

impl ReadAt for BitShifted {
    fn len(&self) -> u64 {
        // The last byte has its lowest bits in the byte behind it.
        let behind = u64::from(self.bits > 0);
        let there = self.whole.len();
        there.saturating_sub(self.bytes).saturating_sub(behind)
    }

    fn known_gaps(&self) -> u64 {
        self.whole.known_gaps()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let from = at.get().saturating_add(self.bytes);
        let mut below = self.whole.read_at(ByteOffset::new(from), buf)?;
        if self.bits == 0 || buf.is_empty() {
            return Ok(below);
        }
        let mut last = [0];
        let end = ByteOffset::new(from.saturating_add(buf.len() as u64));
        below.add_all_at(buf.len(), &self.whole.read_at(end, &mut last)?);
        shift_left(buf, last[0], self.bits);
        let mut gaps = Gaps::none();
        // What lies in two bytes is not there if either is not.
        let reach = |range: &std::ops::Range<usize>| {
            range.start.saturating_sub(1)..range.end.min(buf.len())
        };
        for gap in below.iter() {
            gaps.add(reach(&gap.range), gap.cause);
        }
        for range in below.suspects() {
            gaps.add_suspect(reach(&range));
        }
        for gap in gaps.iter() {
            buf.get_mut(gap.range.clone()).unwrap_or_default().fill(0);
        }
        Ok(gaps)
    }
}

/// Shifts all of `bytes` to the left by `bits`, 1 to 7; the highest bits of the byte `behind` come in.
pub fn shift_left(bytes: &mut [u8], mut behind: u8, bits: u32) {
    for byte in bytes.iter_mut().rev() {
        let pair = u16::from_be_bytes([*byte, behind]);
        behind = std::mem::replace(byte, (pair << bits).to_be_bytes()[0]);
    }
}

/// A base with newer bytes laid over it, as a journal replayed in memory does. The base is
/// not changed, and where the overlay has bytes, the base's gaps do not matter. The overlay can
/// also have gaps, where there were newer bytes that cannot be had: the base's are not them.
#[derive(Clone)]
pub struct Overlay {
    base: Arc<dyn ReadAt>,
    /// Pieces by their start; they do not overlap.
    pieces: BTreeMap<u64, Piece>,
}

/// What lies over a part of the base.
#[derive(Clone)]
enum Piece {
    Bytes(Arc<[u8]>),
    Gap(usize, GapCause),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Gap(length, _) => *length,
        }
    }

    /// The part of it in `range`, unless that is empty.
    fn part(&self, range: std::ops::Range<usize>) -> Option<Self> {
        match self {
            Self::Bytes(bytes) => bytes
                .get(range)
                .filter(|part| !part.is_empty())
                .map(|part| Self::Bytes(part.into())),
            Self::Gap(_, cause) => (!range.is_empty()).then(|| Self::Gap(range.len(), *cause)),
        }
    }
}

impl Overlay {
    /// `base` with nothing laid over it yet.
    pub const fn new(base: Arc<dyn ReadAt>) -> Self {
        Self {
            base,
            pieces: BTreeMap::new(),
        }
    }

    /// Lays `bytes` over the base at `at`, and over what was laid there before.
    ///
    /// The part that reaches past the end of the base is cut off.
    pub fn lay(&mut self, at: ByteOffset, bytes: &[u8]) {
        self.lay_piece(at, &Piece::Bytes(bytes.into()));
    }

    /// Says that the newest bytes of this range, `length` bytes from `at` on, cannot be had.
    pub fn lay_gap(&mut self, at: ByteOffset, length: usize, cause: GapCause) {
        self.lay_piece(at, &Piece::Gap(length, cause));
    }

    fn lay_piece(&mut self, at: ByteOffset, piece: &Piece) {
        let start = at.get();
        let room = usize::try_from(self.base.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let Some(piece) = piece.part(0..room.min(piece.len())) else {
            return;
        };
        let end = start.saturating_add(piece.len() as u64);
        let hit: Vec<u64> = self
            .pieces
            .range(..end)
            .rev()
            .take_while(|(s, p)| s.saturating_add(p.len() as u64) > start)
            .map(|(s, _)| *s)
            .collect();
        for old_start in hit {
            let Some(old) = self.pieces.remove(&old_start) else {
                continue;
            };
            let cut = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(old.len());
            if let Some(head) = old.part(0..cut(start.saturating_sub(old_start))) {
                self.pieces.insert(old_start, head);
            }
            if let Some(tail) = old.part(cut(end.saturating_sub(old_start))..old.len()) {
                self.pieces.insert(end, tail);
            }
        }
        self.pieces.insert(start, piece);
    }

    /// How many pieces lie over the base.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }
}

impl ReadAt for Overlay {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let below = self.base.read_at(at, buf)?;
        let start = at.get();
        let end = start.saturating_add(buf.len() as u64);
        let mut covered: Vec<std::ops::Range<usize>> = Vec::new();
        let mut own = Gaps::none();
        let first = self
            .pieces
            .range(..=start)
            .next_back()
            .map_or(start, |(s, _)| *s);
        for (piece_start, piece) in self.pieces.range(first..end) {
            let piece_end = piece_start.saturating_add(piece.len() as u64);
            let from = start.max(*piece_start);
            let to = end.min(piece_end);
            if from >= to {
                continue;
            }
            let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let target = index(from.saturating_sub(start))..index(to.saturating_sub(start));
            let source =
                index(from.saturating_sub(*piece_start))..index(to.saturating_sub(*piece_start));
            let part = buf.get_mut(target.clone()).unwrap_or_default();
            match piece {
                Piece::Bytes(bytes) => {
                    if let Some(source) = bytes.get(source) {
                        part.copy_from_slice(source);
                    }
                }
                Piece::Gap(_, cause) => {
                    part.fill(0);
                    own.add(target.clone(), *cause);
                }
            }
            covered.push(target);
        }
        let mut gaps = uncovered(&below, &covered);
        gaps.add_all_at(0, &own);
        Ok(gaps)
    }
}

/// The parts of `gaps` that none of `covered` (ordered, apart) reaches.
fn uncovered(gaps: &Gaps, covered: &[std::ops::Range<usize>]) -> Gaps {
    let mut rest = Gaps::none();
    for gap in gaps.iter() {
        let mut from = gap.range.start;
        for cover in covered {
            if cover.end <= from || cover.start >= gap.range.end {
                continue;
            }
            rest.add(from..cover.start.max(from), gap.cause);
            from = cover.end;
        }
        rest.add(from..gap.range.end.max(from), gap.cause);
    }
    for suspect in gaps.suspects() {
        let mut from = suspect.start;
        for cover in covered {
            if cover.end <= from || cover.start >= suspect.end {
                continue;
            }
            rest.add_suspect(from..cover.start.max(from));
            from = cover.end;
        }
        rest.add_suspect(from..suspect.end.max(from));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(range: std::ops::Range<u8>) -> Arc<dyn ReadAt> {
        Arc::new(Memory::new(range.collect()))
    }

    #[test]
    fn a_slice_past_the_end_is_a_gap_and_not_an_error() {
        let slice = Slice::new(numbered(0..10), ByteOffset::new(6), 8);
        let (bytes, gaps) = slice.read_vec(ByteOffset::ZERO, 8).unwrap();
        assert_eq!(bytes, [6, 7, 8, 9, 0, 0, 0, 0]);
        assert_eq!(gaps, Gaps::one(4..8, GapCause::BeyondEnd));
        assert!(slice.read_vec(ByteOffset::new(1), 8).is_err());
    }

    #[test]
    fn concat_reads_across_its_seams() {
        let all = Concat::new([numbered(0..3), numbered(3..3), numbered(3..10)]).unwrap();
        for at in 0..10 {
            for length in 0..=10 - at {
                let (bytes, gaps) = all.read_vec(ByteOffset::new(at as u64), length).unwrap();
                assert!(gaps.is_empty());
                let want: Vec<u8> = (at as u8..(at + length) as u8).collect();
                assert_eq!(bytes, want);
            }
        }
    }

    #[test]
    fn shifted_bits_are_those_of_one_long_number() {
        let whole: Vec<u8> = (0..24_u8).map(|n| n.wrapping_mul(37) ^ 0x5A).collect();
        let bit = |at: u64| whole[(at / 8) as usize] >> (7 - at % 8) & 1;
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(whole.clone()));
        for bits in 0..40_u64 {
            let shifted = BitShifted::new(Arc::clone(&disk), bits);
            assert_eq!(shifted.len(), (24 * 8 - bits) / 8);
            for at in 0..shifted.len() {
                let (bytes, gaps) = shifted
                    .read_vec(ByteOffset::new(at), 2.min(shifted.len() - at) as usize)
                    .unwrap();
                assert!(gaps.is_empty());
                for (number, byte) in (0..).zip(bytes) {
                    let want =
                        (0..8).fold(0, |all, n| all << 1 | bit(bits + (at + number) * 8 + n));
                    assert_eq!(byte, want, "{bits} bits, byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_gap_takes_each_shifted_byte_that_has_a_bit_of_it() {
        let holed = Memory::new(vec![0xFF; 8]).with_gaps(&Gaps::one(3..5, GapCause::Unreadable));
        let shifted = BitShifted::new(Arc::new(holed), 11);
        let (bytes, gaps) = shifted.read_vec(ByteOffset::ZERO, 6).unwrap();
        assert_eq!(gaps, Gaps::one(1..4, GapCause::Unreadable));
        assert_eq!(bytes, [0xFF, 0, 0, 0, 0xFF, 0xFF]);
    }

    #[test]
    fn an_overlay_hides_the_bytes_and_the_gaps_below_it() {
        let holed =
            Memory::new((0..16).collect()).with_gaps(&Gaps::one(4..12, GapCause::Unreadable));
        let mut view = Overlay::new(Arc::new(holed));
        view.lay(ByteOffset::new(6), &[60, 61, 62, 63]);
        view.lay(ByteOffset::new(7), &[70]);
        view.lay(ByteOffset::new(15), &[150, 151]);
        let (bytes, gaps) = view.read_vec(ByteOffset::ZERO, 16).unwrap();
        assert_eq!(
            bytes,
            [0, 1, 2, 3, 0, 0, 60, 70, 62, 63, 0, 0, 12, 13, 14, 150]
        );
        let mut want = Gaps::one(4..6, GapCause::Unreadable);
        want.add(10..12, GapCause::Unreadable);
        assert_eq!(gaps, want);
        let (bytes, _) = view.read_vec(ByteOffset::new(8), 3).unwrap();
        assert_eq!(bytes, [62, 63, 0]);
        view.lay_gap(ByteOffset::new(12), 3, GapCause::NewerDamaged);
        view.lay(ByteOffset::new(13), &[130]);
        let (bytes, gaps) = view.read_vec(ByteOffset::new(12), 4).unwrap();
        assert_eq!(bytes, [0, 130, 0, 150]);
        let mut want = Gaps::one(0..1, GapCause::NewerDamaged);
        want.add(2..3, GapCause::NewerDamaged);
        assert_eq!(gaps, want);
    }
}
