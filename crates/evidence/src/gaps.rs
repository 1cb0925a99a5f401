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
#[must_use = "bytes inside gaps were not read: they are not zeros of the disk"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(Vec<Gap>);

impl Gaps {
    /// No gaps: every byte was read.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// One gap over `range`, or none if it is empty.
    pub fn one(range: Range<usize>, cause: GapCause) -> Self {
        let mut gaps = Self::none();
        gaps.add(range, cause);
        gaps
    }

    /// Whether every byte was read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The gaps, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.0.iter()
    }

    /// How many bytes of the buffer were not read.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|gap| gap.range.len()).sum()
    }

    /// Whether any byte of `range` was not read.
    pub fn touch(&self, range: Range<usize>) -> bool {
        self.0
            .iter()
            .any(|gap| gap.range.start < range.end && range.start < gap.range.end)
    }

    /// Adds a gap; where it overlaps one that is there, the earlier cause stays.
    pub fn add(&mut self, range: Range<usize>, cause: GapCause) {
        if range.is_empty() {
            return;
        }
        if self
            .0
            .last()
            .is_none_or(|last| last.range.end <= range.start)
        {
            match self.0.last_mut() {
                Some(last) if last.range.end == range.start && last.cause == cause => {
                    last.range.end = range.end;
                }
                _ => self.0.push(Gap { range, cause }),
            }
            return;
        }
        let old = std::mem::take(&mut self.0);
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
            match self.0.last_mut() {
                Some(last) if last.range.end == gap.range.start && last.cause == gap.cause => {
                    last.range.end = gap.range.end;
                }
                _ => self.0.push(gap),
            }
        }
    }

    /// Takes over the gaps of a read into the part of the buffer that starts at `at`.
    pub fn add_all_at(&mut self, at: usize, part: &Self) {
        for gap in &part.0 {
            self.add(
                gap.range.start.saturating_add(at)..gap.range.end.saturating_add(at),
                gap.cause,
            );
        }
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
}
