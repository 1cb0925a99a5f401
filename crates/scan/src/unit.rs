//! Units of work: a disk, cut into ranges that are scanned on their own.

use evidence::{ByteOffset, OutOfRange, ReadAt};

use crate::class::Looked;
use crate::detectors::Findings;
use crate::hash::UnitHasher;
use crate::runs::{mark, runs};
use crate::window::Window;
use crate::{BLOCK_BYTES, Class, Detectors, Find, Run, RunningSha256, UnitHash};

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

impl Unit {
    /// Where it ends: the first byte that is not its own.
    pub fn end(self) -> u64 {
        self.start.get().saturating_add(self.bytes)
    }
}

/// The units of `disk`, in order. They depend on its length alone.
pub fn units(disk: &dyn ReadAt) -> impl Iterator<Item = Unit> + use<> {
    units_of(disk.len())
}

/// The units of a disk of `length` bytes.
pub fn units_of(length: u64) -> impl Iterator<Item = Unit> + use<> {
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
    /// Bytes in a window. What is found does not depend on it.
    pub window_bytes: usize,
    /// Whether to hash with BLAKE3.
    pub hash: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            // With its overlap it stays in a core's own cache while all look at it.
            window_bytes: 256 << 10,
            hash: true,
        }
    }
}

/// What one unit gave.
#[derive(Clone)]
pub struct UnitResult {
    /// Its part of the disk's BLAKE3, if that was asked for.
    pub hash: Option<UnitHash>,
    /// SHA-256 of the disk up to the unit's end, if one was carried in.
    pub sha256: Option<RunningSha256>,
    /// How many bytes could not be read.
    pub unread: u64,
    /// The classes of its blocks, in order.
    pub runs: Vec<Run>,
    /// What was found, sorted.
    pub finds: Vec<Find>,
}

/// Scans `unit` of `disk`. `sha256`, if given, is the state at the unit's start; `progress` is
/// told how many bytes were read since it was last called.
pub fn scan_unit(
    disk: &dyn ReadAt,
    unit: Unit,
    detectors: &Detectors,
    options: &ScanOptions,
    mut sha256: Option<RunningSha256>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<UnitResult, OutOfRange> {
    // A block belongs to the window that holds its first byte, as finds do.
    let reach = detectors.reach().max(BLOCK_BYTES);
    let mut hasher = options
        .hash
        .then(|| UnitHasher::new(unit.start.get(), disk.len()));
    let mut window = Window::before_unit(unit.start);
    let mut findings = Findings::default();
    let mut classes = Vec::new();
    let (mut unread, mut done) = (0_u64, 0_u64);
    while done < unit.bytes {
        let own = next_own(unit, done, options);
        window.advance(disk, own, reach)?;
        let body = window.own_bytes();
        if let Some(hasher) = &mut hasher {
            hasher.update(body);
        }
        if let Some(sha256) = &mut sha256 {
            sha256.update(body);
        }
        unread = unread.saturating_add(window.unread());
        detectors.at_sectors(&window, &mut findings);
        detectors.at_needles(&window, &mut findings);
        at_blocks(&window, unit, detectors, &mut classes, &mut findings);
        progress(own as u64);
        done = done.saturating_add(own as u64);
    }
    for metadata in findings.metadata {
        mark(&mut classes, unit.start.get(), metadata);
    }
    findings.finds.sort_unstable();
    findings.finds.dedup();
    Ok(UnitResult {
        hash: hasher.map(UnitHasher::finish),
        sha256,
        unread,
        runs: runs(unit.start.get(), unit.bytes, &classes),
        finds: findings.finds,
    })
}

/// Hashes `unit` of `disk`, and does nothing else.
pub fn hash_unit(
    disk: &dyn ReadAt,
    unit: Unit,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<UnitHash, OutOfRange> {
    let mut hasher = UnitHasher::new(unit.start.get(), disk.len());
    let mut window = Window::before_unit(unit.start);
    let mut done = 0_u64;
    while done < unit.bytes {
        let own = next_own(unit, done, &ScanOptions::default());
        window.advance(disk, own, 0)?;
        hasher.update(window.own_bytes());
        progress(own as u64);
        done = done.saturating_add(own as u64);
    }
    Ok(hasher.finish())
}

/// How many bytes the next window has, after `done` bytes of the unit.
fn next_own(unit: Unit, done: u64, options: &ScanOptions) -> usize {
    let left = usize::try_from(unit.bytes.saturating_sub(done)).unwrap_or(usize::MAX);
    options.window_bytes.max(1).min(left)
}

/// Classifies the blocks that begin in `window`, and looks for names in the parts that its own
/// bytes have of each block.
fn at_blocks(
    window: &Window,
    unit: Unit,
    detectors: &Detectors,
    classes: &mut Vec<Class>,
    findings: &mut Findings,
) {
    let block = BLOCK_BYTES as u64;
    let mut at = 0_usize;
    while at < window.own {
        let offset = window.start.get().saturating_add(at as u64);
        let to_border = block.saturating_sub(offset % block) as usize;
        let end = at.saturating_add(to_border).min(window.own);
        let mut has_other = true;
        if offset.is_multiple_of(block) {
            // The bytes of the next unit are not a block's, though they may be in memory.
            let length = unit.end().saturating_sub(offset).min(block) as usize;
            let range = at..at.saturating_add(length);
            let looked = Looked::at(window.bytes.get(range.clone()).unwrap_or_default());
            has_other = looked.has_other;
            let unread = !window.gaps.is_empty() && window.gaps.touch(range);
            classes.push(if unread { Class::Unread } else { looked.class });
        }
        // A name is a place behind a byte that is no text, which may be the one before.
        let before_is_other = window
            .before(at)
            .is_some_and(|byte| !crate::class::is_text(byte));
        if detectors.want_names() && (has_other || before_is_other) {
            // Behind a text, or among zeros, only the first byte can be such a place.
            let looked = if has_other { end } else { at.saturating_add(1) };
            detectors.at_names(window, at..looked, findings);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detector, Family, Found, Place, SECTOR_ALIGN, Signature, Trigger, whole_hash};
    use evidence::view::Memory;
    use evidence::{GapCause, Gaps};
    use proptest::prelude::*;

    /// The sum of the bytes that a detector saw, and the byte before them: if that differs, so
    /// does what it says.
    fn seen(place: &Place<'_>) -> Found {
        let sum = place.bytes.iter().map(|byte| u64::from(*byte)).sum();
        Found {
            bytes: Some(place.bytes.len() as u64),
            number: Some(sum),
            owner: place.before.map(u64::from),
            ..Found::new("seen")
        }
    }

    const LABEL: Signature = Signature {
        magics: &[b"LABELONE", b"LA"],
        at: 3,
        align: SECTOR_ALIGN,
        reach: 700,
        read: |place| {
            let mut found = seen(place);
            found.what = "label";
            found.family = Some(Family::Label);
            (place.bytes.len() > 300).then_some(found)
        },
    };

    struct Anywhere;

    impl Detector for Anywhere {
        fn triggers(&self) -> Vec<Trigger> {
            vec![
                Trigger::Needle(b"From "),
                Trigger::Needle(b"From"),
                Trigger::Needle(b"om F"),
                Trigger::NameAfterOther,
                Trigger::Every {
                    align: std::num::NonZeroU64::new(1024).unwrap(),
                },
            ]
        }
        fn reach(&self) -> usize {
            33
        }
        fn examine(&self, place: &Place<'_>) -> Option<Found> {
            (place.bytes.first() != Some(&0)).then(|| seen(place))
        }
    }

    fn detectors() -> Detectors {
        Detectors::new(vec![Box::new(LABEL), Box::new(Anywhere)]).unwrap()
    }

    /// A disk of pieces that trigger something, at any distance from each other.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\0\0\0LABELONE".to_vec()),
            Just(b"From From F".to_vec()),
            Just(b"\x01Name: value\n".to_vec()),
            (1_usize..900).prop_map(|length| vec![0; length]),
            proptest::collection::vec(any::<u8>(), 1..600),
            proptest::collection::vec(b'a'..=b'z', 1..5000),
        ];
        (proptest::collection::vec(piece, 1..40), any::<bool>()).prop_map(|(pieces, aligned)| {
            let mut disk = Vec::new();
            for piece in pieces {
                disk.extend(piece);
                if aligned {
                    disk.resize(disk.len().next_multiple_of(512), 0);
                }
            }
            disk
        })
    }

    fn scan(disk: &Memory, window_bytes: usize) -> UnitResult {
        let options = ScanOptions {
            window_bytes,
            hash: true,
        };
        let unit = units(disk).next().unwrap();
        scan_unit(disk, unit, &detectors(), &options, None, &|_| ()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_depends_on_the_window_size(
            disk in pieces(),
            windows in proptest::collection::vec(1_usize..9000, 3),
            gap in (0_usize..20_000, 1_usize..2000),
        ) {
            let end = (gap.0 + gap.1).min(disk.len());
            let gaps = Gaps::one(gap.0.min(end)..end, GapCause::NotRescued);
            for disk in [Memory::new(disk.clone()), Memory::new(disk).with_gaps(&gaps)] {
                let whole = scan(&disk, 1 << 20);
                for window in windows.iter().copied().chain([512, 4096]) {
                    let other = scan(&disk, window);
                    prop_assert_eq!(&other.finds, &whole.finds, "window of {}", window);
                    prop_assert_eq!(&other.runs, &whole.runs);
                    prop_assert_eq!(other.hash, whole.hash);
                    prop_assert_eq!(other.unread, whole.unread);
                }
            }
        }
    }

    #[test]
    fn triggers_fire_where_they_should_and_nowhere_else() {
        let mut disk = vec![0; 8192];
        disk[1027..1035].copy_from_slice(b"LABELONE");
        disk[1600..1608].copy_from_slice(b"LABELONE");
        disk[3000..3011].copy_from_slice(b"From From F");
        disk[5000..5004].copy_from_slice(b"Name");
        let result = scan(&Memory::new(disk), 4096);
        let found: Vec<(u64, &str)> = result
            .finds
            .iter()
            .map(|find| (find.offset.get(), find.what.as_ref()))
            .collect();
        // Needles may lie over each other; a name may begin behind any zero.
        assert_eq!(
            found,
            [
                (1024, "label"),
                (1027, "seen"),
                (1600, "seen"),
                (3000, "seen"),
                (3002, "seen"),
                (3005, "seen"),
                (3007, "seen"),
                (5000, "seen"),
            ]
        );
        let classes: Vec<Class> = result.runs.iter().map(|run| run.class).collect();
        assert_eq!(classes, [Class::Metadata(Family::Label), Class::Binary]);
    }

    #[test]
    fn hashes_of_units_make_the_hash_of_the_disk() {
        let size = usize::try_from(UNIT_BYTES).unwrap() * 2 + 12_345;
        let bytes: Vec<u8> = (0..size as u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        let want = blake3::hash(&bytes);
        let memory = Memory::new(bytes.clone());
        let mut sha = Some(RunningSha256::new());
        let mut hashes = Vec::new();
        let (nobody, options) = (Detectors::none(), ScanOptions::default());
        for unit in units(&memory) {
            let result = scan_unit(&memory, unit, &nobody, &options, sha.take(), &|_| ()).unwrap();
            assert_eq!(
                hash_unit(&memory, unit, &|_| ()).unwrap(),
                result.hash.unwrap()
            );
            hashes.push(result.hash.unwrap());
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
    fn a_gap_is_counted_once_and_marks_its_blocks() {
        let gap = Gaps::one(4000..5000, GapCause::NotRescued);
        let memory = Memory::new(vec![0; 5 * BLOCK_BYTES + 100]).with_gaps(&gap);
        for window_bytes in [700, 1 << 20] {
            let result = scan(&memory, window_bytes);
            assert_eq!(result.unread, 1000);
            let runs: Vec<(u64, u64, Class)> = result
                .runs
                .iter()
                .map(|run| (run.start.get(), run.bytes, run.class))
                .collect();
            let (two, rest) = (2 * 4096, 3 * 4096 + 100);
            assert_eq!(runs, [(0, two, Class::Unread), (two, rest, Class::Zero)]);
        }
    }
}
