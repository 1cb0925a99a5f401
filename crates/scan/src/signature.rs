//! Finding aligned structures by bytes that stand at a fixed place in them.

use std::num::NonZeroU64;

use crate::{Detector, Find, Window};

/// Bytes that a structure on disk has at a fixed place.
pub struct Signature {
    /// What the structure is.
    pub what: &'static str,
    /// The bytes.
    pub magic: &'static [u8],
    /// Where in the structure they stand.
    pub at: usize,
    /// The structure begins at a multiple of this many bytes of the disk.
    pub align: NonZeroU64,
    /// How many bytes of the structure `check` wants to see.
    pub length: usize,
    /// Looks closer at the structure (cut short at the end of the disk).
    pub check: fn(&[u8]) -> bool,
}

/// A [`Detector`] for a list of signatures.
///
/// Structures on disk are aligned, so only their possible places are looked at: the cost is a
/// few bytes a sector, whatever the number of signatures.
pub struct Signatures {
    list: Vec<Signature>,
    reach: usize,
}

impl Signatures {
    /// Looks for all of `list`.
    pub fn new(list: Vec<Signature>) -> Self {
        let reach = list
            .iter()
            .map(|s| s.length.max(s.at.saturating_add(s.magic.len())))
            .max()
            .unwrap_or(0);
        Self { list, reach }
    }
}

impl Signature {
    /// Whether the structure begins at `begin` of the window.
    fn is_at(&self, window: &Window, begin: usize) -> bool {
        let from = begin.saturating_add(self.at);
        let magic = from..from.saturating_add(self.magic.len());
        if window.bytes.get(magic) != Some(self.magic) {
            return false;
        }
        let end = begin.saturating_add(self.length).min(window.bytes.len());
        let body = window.bytes.get(begin..end).unwrap_or_default();
        !window.gaps.touch(begin..end) && (self.check)(body)
    }
}

impl Detector for Signatures {
    fn reach(&self) -> usize {
        self.reach
    }

    fn detect(&self, window: &Window, finds: &mut Vec<Find>) {
        let start = window.start.get();
        for signature in &self.list {
            let align = signature.align.get();
            let first = start.next_multiple_of(align).saturating_sub(start);
            let first = usize::try_from(first).unwrap_or(usize::MAX);
            let step = usize::try_from(align).unwrap_or(usize::MAX);
            for begin in (first..window.own).step_by(step) {
                if signature.is_at(window, begin)
                    && let Some(offset) = window.start.checked_add(begin as u64)
                {
                    finds.push(Find {
                        offset,
                        what: signature.what.to_owned(),
                    });
                }
            }
        }
    }
}
