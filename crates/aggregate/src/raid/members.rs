//! The members of a group as its reader sees them: what is missing reads as a gap.

use std::sync::Arc;

use evidence::{ByteOffset, Gap, GapCause, Gaps, ReadAt};

/// The members of a group by role; one that is missing is `None`.
pub(crate) struct Members(Vec<Option<Arc<dyn ReadAt>>>);

impl Members {
    pub(crate) const fn new(members: Vec<Option<Arc<dyn ReadAt>>>) -> Self {
        Self(members)
    }

    /// How many members the group has, with missing ones.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there is a reader for this member at all.
    pub(crate) fn present(&self, member: usize) -> bool {
        matches!(self.0.get(member), Some(Some(_)))
    }

    /// Fills `buf` from `at` of `member`; what cannot be had is a gap and reads as zeros.
    pub(crate) fn read(&self, member: usize, at: u64, buf: &mut [u8]) -> Gaps {
        let Some(Some(reader)) = self.0.get(member) else {
            buf.fill(0);
            return Gaps::one(0..buf.len(), GapCause::MemberMissing);
        };
        let total = buf.len();
        let there = usize::try_from(reader.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let (head, tail) = buf.split_at_mut(there.min(total));
        let readable = head.len();
        let mut gaps = if head.is_empty() {
            Gaps::none()
        } else {
            reader
                .read_at(ByteOffset::new(at), head)
                .unwrap_or_else(|_| Gaps::one(0..readable, GapCause::BeyondEnd))
        };
        // Parity arithmetic counts on gaps that are zeros: a reader that left something else
        // there must not change what is rebuilt.
        for gap in gaps.iter() {
            if let Some(hole) = head.get_mut(gap.range.clone()) {
                hole.fill(0);
            }
        }
        tail.fill(0);
        gaps.add(readable..total, GapCause::BeyondEnd);
        gaps
    }

    /// Fills `buf` from the first of `copies` (member, offset) that has it, range by range.
    pub(super) fn read_copies(&self, copies: &[(usize, u64)], buf: &mut [u8]) -> Gaps {
        let mut present = copies.iter().filter(|(member, _)| self.present(*member));
        let Some((member, at)) = present.next() else {
            buf.fill(0);
            return Gaps::one(0..buf.len(), GapCause::MemberMissing);
        };
        let gaps = self.read(*member, *at, buf);
        if gaps.is_empty() {
            return gaps;
        }
        let mut holes: Vec<Gap> = gaps.iter().cloned().collect();
        let mut suspects = gaps.suspects();
        for (member, at) in present {
            let mut rest = Vec::new();
            for hole in holes {
                let Some(part) = buf.get_mut(hole.range.clone()) else {
                    continue;
                };
                let gaps = self.read(*member, at.saturating_add(hole.range.start as u64), part);
                let base = hole.range.start;
                let here = gaps.suspects().into_iter();
                suspects.extend(here.map(|range| base + range.start..base + range.end));
                rest.extend(gaps.iter().map(|gap| Gap {
                    range: hole.range.start + gap.range.start..hole.range.start + gap.range.end,
                    cause: hole.cause,
                }));
            }
            holes = rest;
        }
        let mut gaps = Gaps::none();
        for hole in holes {
            gaps.add(hole.range, hole.cause);
        }
        for range in suspects {
            gaps.add_suspect(range);
        }
        gaps
    }
}
