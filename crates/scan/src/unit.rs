//! Units of work: a disk, cut into ranges that are scanned on their own.

use bytes::BytesMut;
use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt};

use crate::hash::UnitHasher;
use crate::{CELL_BYTES, Class, Detector, Find, RunningSha256, UnitHash, Window};

/// Bytes in a unit: a power of two, so that it is a subtree of BLAKE3; small enough that little
/// is lost when a run is killed, large enough that a disk has few.
pub const UNIT_BYTES: u64 = 64 << 20;

/// A range of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it begins.
    pub start: ByteOffset,
    /// How long it is, in bytes: [`UNIT_BYTES`], or less at the disk's end.
    pub bytes: u64,
}

/// The units of `disk`, in order. They depend on its length alone.
pub fn units(disk: &dyn ReadAt) -> impl Iterator<Item = Unit> + use<> {
    let length = disk.len();
    (0..length.div_ceil(UNIT_BYTES)).map(move |number| {
        let start = number.saturating_mul(UNIT_BYTES);
        Unit {
            start: ByteOffset::new(start),
            bytes: UNIT_BYTES.min(length.saturating_sub(start)),
        }
    })
}

/// How to scan.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// Bytes in a window. The finds do not depend on it.
    pub window_bytes: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            window_bytes: CELL_BYTES,
        }
    }
}

/// What one unit gave.
#[derive(Clone)]
pub struct UnitResult {
    /// Its part of the disk's BLAKE3.
    pub hash: UnitHash,
    /// SHA-256 of the disk up to the unit's end, if one was carried in.
    pub sha256: Option<RunningSha256>,
    /// How many bytes could not be read.
    pub unread: u64,
    /// The class of each cell.
    pub cells: Vec<Class>,
    /// What was found, sorted.
    pub finds: Vec<Find>,
}

/// Scans `unit` of `disk`. `sha256`, if given, is the state at the unit's start; `progress` is
/// told how many bytes were read since it was last called.
pub fn scan_unit(
    disk: &dyn ReadAt,
    unit: Unit,
    detectors: &[&dyn Detector],
    options: &ScanOptions,
    sha256: Option<RunningSha256>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<UnitResult, OutOfRange> {
    let reach = detectors.iter().map(|d| d.reach()).max().unwrap_or(0);
    let mut hasher = UnitHasher::new(unit.start.get(), disk.len());
    let mut result = UnitResult {
        hash: [0; 32],
        sha256,
        unread: 0,
        cells: Vec::new(),
        finds: Vec::new(),
    };
    let mut cells = Cells::default();
    let mut done = 0_u64;
    let mut carried = Carried::default();
    while done < unit.bytes {
        let own = u64::min(
            options.window_bytes.max(1) as u64,
            unit.bytes.saturating_sub(done),
        );
        let start = unit.start.checked_add(done).unwrap_or(unit.start);
        let window = read_window(disk, start, own, reach, carried)?;
        let body = window.bytes.get(..window.own).unwrap_or_default();
        hasher.update(body);
        if let Some(sha256) = &mut result.sha256 {
            sha256.update(body);
        }
        cells.add(body, &window.gaps);
        result.unread = result.unread.saturating_add(unread(&window));
        for detector in detectors {
            detector.detect(&window, &mut result.finds);
        }
        progress(own);
        done = done.saturating_add(own);
        carried = Carried::from(window);
    }
    result.hash = hasher.finish();
    result.cells = cells.finish();
    result.finds.sort();
    result.finds.dedup();
    Ok(result)
}

/// What a window leaves to the next: its memory, and the bytes that both have.
#[derive(Default)]
struct Carried {
    bytes: BytesMut,
    /// How many of the bytes are the next window's.
    valid: usize,
    gaps: Gaps,
}

impl From<Window> for Carried {
    fn from(window: Window) -> Self {
        let own = window.own.min(window.bytes.len());
        let valid = window.bytes.len().saturating_sub(own);
        let mut gaps = Gaps::none();
        for gap in window.gaps.iter().filter(|gap| gap.range.end > own) {
            let from = gap.range.start.max(own).saturating_sub(own);
            gaps.add(from..gap.range.end.saturating_sub(own), gap.cause);
        }
        // A detector that kept the bytes keeps them; else the memory is used again.
        let mut bytes = window
            .bytes
            .try_into_mut()
            .unwrap_or_else(|kept| BytesMut::from(kept.as_ref()));
        bytes.copy_within(own.., 0);
        Self { bytes, valid, gaps }
    }
}

/// Reads a window of `own` bytes and `reach` more, the first of which the one before has read.
fn read_window(
    disk: &dyn ReadAt,
    start: ByteOffset,
    own: u64,
    reach: usize,
    carried: Carried,
) -> Result<Window, OutOfRange> {
    let left = disk.len().saturating_sub(start.get());
    let own = usize::try_from(own).unwrap_or(usize::MAX);
    let total = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(own.saturating_add(reach));
    let Carried {
        mut bytes,
        valid,
        mut gaps,
    } = carried;
    bytes.resize(total, 0);
    if let Some(rest) = bytes.get_mut(valid..).filter(|rest| !rest.is_empty()) {
        let at = start.checked_add(valid as u64).unwrap_or(start);
        gaps.add_all_at(valid, &disk.read_at(at, rest)?);
    }
    Ok(Window {
        start,
        bytes: bytes.freeze(),
        own,
        gaps,
    })
}

/// How many of the window's own bytes could not be read.
fn unread(window: &Window) -> u64 {
    window
        .gaps
        .iter()
        .map(|gap| {
            gap.range
                .end
                .min(window.own)
                .saturating_sub(gap.range.start) as u64
        })
        .sum()
}

/// Cuts the bytes of a unit into cells, wherever its windows end.
#[derive(Default)]
struct Cells {
    done: Vec<Class>,
    part: Vec<u8>,
    unread: bool,
}

impl Cells {
    fn add(&mut self, mut body: &[u8], gaps: &Gaps) {
        let mut at = 0_usize;
        while !body.is_empty() {
            let room = CELL_BYTES.saturating_sub(self.part.len()).min(body.len());
            let (head, tail) = body.split_at(room);
            self.unread |= gaps.touch(at..at.saturating_add(room));
            at = at.saturating_add(room);
            if self.part.is_empty() && room == CELL_BYTES {
                self.close(head);
            } else {
                self.part.extend_from_slice(head);
                if self.part.len() == CELL_BYTES {
                    let part = std::mem::take(&mut self.part);
                    self.close(&part);
                }
            }
            body = tail;
        }
    }

    fn close(&mut self, cell: &[u8]) {
        let unread = std::mem::take(&mut self.unread);
        self.done.push(if unread {
            Class::Unread
        } else {
            Class::of(cell)
        });
    }

    fn finish(mut self) -> Vec<Class> {
        if !self.part.is_empty() {
            let part = std::mem::take(&mut self.part);
            self.close(&part);
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signature, Signatures, whole_hash};
    use evidence::GapCause;
    use evidence::view::Memory;
    use std::num::NonZeroU64;

    fn disk(bytes: usize) -> Vec<u8> {
        let mut disk: Vec<u8> = (0..bytes as u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let mut at = 0;
        while at + 600 < bytes {
            disk[at..at + 8].copy_from_slice(b"LABELONE");
            at += 512 * 13 + 512 * (at / 512 % 7);
        }
        disk
    }

    fn labels() -> Signatures {
        Signatures::new(vec![Signature {
            what: "label",
            magic: b"LABELONE",
            at: 0,
            align: NonZeroU64::new(512).unwrap(),
            length: 512,
            check: |bytes| bytes.len() == 512,
        }])
    }

    #[test]
    fn finds_do_not_depend_on_the_window_size() {
        let memory = Memory::new(disk(300_000));
        let labels = labels();
        let scan = |window_bytes| {
            let options = ScanOptions { window_bytes };
            let unit = units(&memory).next().unwrap();
            scan_unit(&memory, unit, &[&labels], &options, None, &|_| ()).unwrap()
        };
        let whole = scan(1 << 20);
        assert!(whole.finds.len() > 10);
        for window in [1, 511, 512, 4096, 5000, 299_999] {
            let other = scan(window);
            assert_eq!(other.finds, whole.finds, "window of {window}");
            assert_eq!(other.hash, whole.hash);
            assert_eq!(other.cells, whole.cells);
        }
    }

    #[test]
    fn hashes_of_units_make_the_hash_of_the_disk() {
        let size = usize::try_from(UNIT_BYTES).unwrap() * 2 + 12_345;
        let bytes = disk(size);
        let want = blake3::hash(&bytes);
        let memory = Memory::new(bytes.clone());
        let mut sha = Some(RunningSha256::new());
        let mut hashes = Vec::new();
        for unit in units(&memory) {
            let result = scan_unit(
                &memory,
                unit,
                &[],
                &ScanOptions::default(),
                sha.take(),
                &|_| (),
            )
            .unwrap();
            hashes.push(result.hash);
            // The state goes through the form in which a segment keeps it.
            sha = result
                .sha256
                .and_then(|state| RunningSha256::load(&state.save()));
        }
        assert_eq!(hashes.len(), 3);
        assert_eq!(whole_hash(&memory, &hashes), Some(want));
        assert_eq!(whole_hash(&memory, &hashes[..2]), None);
        use sha2::Digest;
        let direct: String = sha2::Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sha.unwrap().finish(), direct);
    }

    #[test]
    fn a_gap_is_counted_once_and_marks_its_cell() {
        let gap = Gaps::one(4000..5000, GapCause::NotRescued);
        let memory = Memory::new(vec![0; 3 * CELL_BYTES]).with_gaps(&gap);
        let labels = labels();
        for window_bytes in [700, CELL_BYTES] {
            let unit = units(&memory).next().unwrap();
            let options = ScanOptions { window_bytes };
            let result = scan_unit(&memory, unit, &[&labels], &options, None, &|_| ()).unwrap();
            assert_eq!(result.unread, 1000);
            assert_eq!(result.cells, [Class::Unread, Class::Zero, Class::Zero]);
        }
    }
}
