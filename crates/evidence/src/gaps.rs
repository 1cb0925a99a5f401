//! The ranges of a read that could not be had.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Why a range of bytes could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// The medium under the image answered with a read error.
    Unreadable,
    /// The ddrescue mapfile beside the image says that this area was not rescued.
    NotRescued,
    /// A piece of a split image is not there.
    PieceMissing,
    /// The image ends before the place that the geometry asks for.
    BeyondEnd,
    /// Too many members of a RAID group are missing here to rebuild this.
    MemberMissing,
    /// The volume's metadata maps nothing here.
    Unmapped,
    /// A journal held a newer state of this place, and its copy is damaged.
    NewerDamaged,
    /// Zeros were written over this place after the aggregate was in use.
    Zeroed,
    /// A newer aggregate wrote over this place.
    Overwritten,
    /// The file system's checksum fits no copy of this place.
    ChecksumMismatch,
    /// This is stored compressed, and what is stored does not decode.
    DoesNotDecode,
    /// The container of the image keeps this in a chunk that is damaged or cannot be found.
    ChunkDamaged,
    /// The program that made the image could not read this from the disk.
    NotAcquired,
    /// This is encrypted, and no key was given that opens it.
    Locked,
}

impl GapCause {
    /// The cause in words that a report can show.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Unreadable => "the medium answered with a read error",
            Self::NotRescued => "ddrescue could not read this area",
            Self::PieceMissing => "a piece of the split image is missing",
            Self::BeyondEnd => "the image ends before this place",
            Self::MemberMissing => "too many disks of the RAID group are missing here",
            Self::Unmapped => "the volume's metadata maps nothing here",
            Self::NewerDamaged => "the journal's newer copy of this place is damaged",
            Self::Zeroed => {
                "zeros were written over this place, and too little is left to rebuild it"
            }
            Self::Overwritten => {
                "something newer was written over this place, and too little is left to rebuild it"
            }
            Self::ChecksumMismatch => {
                "no copy of this place fits the checksum that the file system keeps of it"
            }
            Self::DoesNotDecode => "this place is stored compressed and does not decode",
            Self::ChunkDamaged => "the image file is damaged here, as its own checksums say",
            Self::NotAcquired => "the disk could not be read here when the image was made",
            Self::Locked => "this is encrypted, and no key was given that opens it",
        }
    }
}

/// One range of a read that could not be had; its bytes in the buffer are zeros that mean nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Where in the buffer the gap lies, in bytes.
    pub range: Range<usize>,
    /// Why there is nothing.
    pub cause: GapCause,
}

/// The gaps of one read, ordered, apart from each other, relative to the start of its buffer.
///
/// A read can also have *suspects*: ranges that were read, but of which the evidence does not
/// say whether they are what was stored there last. Their bytes stay in the buffer.
#[must_use = "bytes inside gaps were not read: they are not zeros of the disk"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    gaps: Vec<Gap>,
    /// Ordered and apart from each other; gaps may lie over them.
    suspects: Vec<Range<usize>>,
}

impl Gaps {
    /// No gaps: every byte was read.
    pub const fn none() -> Self {
        Self {
            gaps: Vec::new(),
            suspects: Vec::new(),
        }
    }

    /// One gap over `range`, or none if it is empty.
    pub fn one(range: Range<usize>, cause: GapCause) -> Self {
        let mut gaps = Self::none();
        gaps.add(range, cause);
        gaps
    }

    /// Whether every byte was read.
    pub const fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The gaps, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// How many bytes of the buffer were not read.
    pub fn bytes(&self) -> usize {
        self.gaps.iter().map(|gap| gap.range.len()).sum()
    }

    /// Whether any byte of `range` was not read.
    pub fn touch(&self, range: Range<usize>) -> bool {
        self.gaps
            .iter()
            .any(|gap| gap.range.start < range.end && range.start < gap.range.end)
    }

    /// Adds a gap; where it overlaps one that is there, the earlier cause stays.
    pub fn add(&mut self, range: Range<usize>, cause: GapCause) {
        if range.is_empty() {
            return;
        }
        if self
            .gaps
            .last()
            .is_none_or(|last| last.range.end <= range.start)
        {
            match self.gaps.last_mut() {
                Some(last) if last.range.end == range.start && last.cause == cause => {
                    last.range.end = range.end;
                }
                _ => self.gaps.push(Gap { range, cause }),
            }
            return;
        }
        let old = std::mem::take(&mut self.gaps);
        let mut free = vec![range.clone()];
        for gap in &old {
            free = free
                .into_iter()
                .flat_map(|part| {
                    [
                        part.start..part.end.min(gap.range.start),
                        part.start.max(gap.range.end)..part.end,
                    ]
                })
                .filter(|part| !part.is_empty())
                .collect();
        }
        let mut all = old;
        all.extend(free.into_iter().map(|range| Gap { range, cause }));
        all.sort_by_key(|gap| gap.range.start);
        for gap in all {
            match self.gaps.last_mut() {
                Some(last) if last.range.end == gap.range.start && last.cause == gap.cause => {
                    last.range.end = gap.range.end;
                }
                _ => self.gaps.push(gap),
            }
        }
    }

    /// Takes over the gaps and suspects of a read into the part of the buffer that starts at `at`.
    pub fn add_all_at(&mut self, at: usize, part: &Self) {
        for gap in &part.gaps {
            self.add(
                gap.range.start.saturating_add(at)..gap.range.end.saturating_add(at),
                gap.cause,
            );
        }
        for range in &part.suspects {
            self.add_suspect(range.start.saturating_add(at)..range.end.saturating_add(at));
        }
    }

    /// Says that the bytes of `range` were read and are not to be relied on.
    pub fn add_suspect(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let first = self.suspects.partition_point(|old| old.end < range.start);
        let last = self.suspects.partition_point(|old| old.start <= range.end);
        let mut joined = range;
        for old in self.suspects.drain(first..last.max(first)) {
            joined = joined.start.min(old.start)..joined.end.max(old.end);
        }
        self.suspects.insert(first, joined);
    }

    /// The ranges that were read and are not to be relied on, in order, without those parts that
    /// are gaps.
    pub fn suspects(&self) -> Vec<Range<usize>> {
        let mut rest = Vec::new();
        for suspect in &self.suspects {
            let mut from = suspect.start;
            for gap in &self.gaps {
                if gap.range.end <= from || gap.range.start >= suspect.end {
                    continue;
                }
                if from < gap.range.start {
                    rest.push(from..gap.range.start);
                }
                from = gap.range.end;
            }
            if from < suspect.end {
                rest.push(from..suspect.end);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(gaps: &Gaps) -> Vec<(usize, usize, GapCause)> {
        gaps.iter()
            .map(|g| (g.range.start, g.range.end, g.cause))
            .collect()
    }

    #[test]
    fn neighbours_of_one_cause_join_and_others_stay_apart() {
        let mut gaps = Gaps::one(0..4, GapCause::Unreadable);
        gaps.add(4..8, GapCause::Unreadable);
        gaps.add(8..9, GapCause::NotRescued);
        assert_eq!(
            ranges(&gaps),
            [(0, 8, GapCause::Unreadable), (8, 9, GapCause::NotRescued)]
        );
        assert_eq!(gaps.bytes(), 9);
    }

    #[test]
    fn an_overlap_keeps_the_earlier_cause_and_counts_once() {
        let mut gaps = Gaps::one(4..8, GapCause::Unreadable);
        gaps.add(0..12, GapCause::BeyondEnd);
        assert_eq!(
            ranges(&gaps),
            [
                (0, 4, GapCause::BeyondEnd),
                (4, 8, GapCause::Unreadable),
                (8, 12, GapCause::BeyondEnd)
            ]
        );
        assert_eq!(gaps.bytes(), 12);
        assert!(gaps.touch(11..20) && !gaps.touch(12..20));
    }

    #[test]
    fn suspects_join_and_give_way_to_gaps() {
        let mut read = Gaps::none();
        for range in [8..10, 0..2, 4..8, 20..20, 2..3, 30..31] {
            read.add_suspect(range);
        }
        assert!(read.is_empty(), "suspect bytes were read");
        assert_eq!(read.suspects(), [0..3, 4..10, 30..31]);
        read.add(2..6, GapCause::Zeroed);
        read.add(30..40, GapCause::Zeroed);
        assert_eq!(read.suspects(), [0..2, 6..10]);
        let mut whole = Gaps::none();
        whole.add_all_at(100, &read);
        assert_eq!(whole.suspects(), [100..102, 106..110]);
    }
}
