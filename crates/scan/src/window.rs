//! Windows: stretches of a unit in memory, each read once.

use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt};

/// A stretch of a disk in memory.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Where on the disk it begins.
    pub(crate) start: ByteOffset,
    /// Its bytes, and after them as many of the next window's as are needed to judge what begins
    /// in this one.
    pub(crate) bytes: Vec<u8>,
    /// How many of the bytes are the window's own: what begins after them is the next window's.
    pub(crate) own: usize,
    /// The parts of `bytes` that could not be read.
    pub(crate) gaps: Gaps,
    /// The byte before the first; `None` at the beginning of a unit and after a gap.
    before_first: Option<u8>,
}

impl Window {
    /// A window of no bytes before the one at `start`, which is to be read next.
    pub(crate) fn before_unit(start: ByteOffset) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// The byte before the one at `index`, if it could be read.
    pub(crate) fn before(&self, index: usize) -> Option<u8> {
        let Some(at) = index.checked_sub(1) else {
            return self.before_first;
        };
        let byte = self.bytes.get(at).copied();
        // Gaps are rare: most windows have none to look through.
        byte.filter(|_| self.gaps.is_empty() || !self.gaps.touch(at..index))
    }

    /// The window's own bytes.
    pub(crate) fn own_bytes(&self) -> &[u8] {
        self.bytes.get(..self.own).unwrap_or_default()
    }

    /// How many of the window's own bytes could not be read.
    pub(crate) fn unread(&self) -> u64 {
        let gaps = self.gaps.iter();
        gaps.map(|gap| {
            let end = gap.range.end.min(self.own);
            end.saturating_sub(gap.range.start) as u64
        })
        .sum()
    }

    /// Goes on to the next `own` bytes of `disk`, and `reach` more. What this window has of them
    /// is not read again.
    pub(crate) fn advance(
        &mut self,
        disk: &dyn ReadAt,
        own: usize,
        reach: usize,
    ) -> Result<(), OutOfRange> {
        let done = self.own.min(self.bytes.len());
        self.before_first = match done {
            0 => None,
            done => self.before(done),
        };
        self.start = self.start.checked_add(done as u64).unwrap_or(self.start);
        let valid = self.bytes.len().saturating_sub(done);
        let mut gaps = Gaps::none();
        for gap in self.gaps.iter().filter(|gap| gap.range.end > done) {
            let from = gap.range.start.max(done).saturating_sub(done);
            gaps.add(from..gap.range.end.saturating_sub(done), gap.cause);
        }
        self.bytes.copy_within(done.., 0);
        let left = disk.len().saturating_sub(self.start.get());
        let total = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(own.saturating_add(reach));
        self.bytes.resize(total.max(valid), 0);
        if let Some(rest) = self.bytes.get_mut(valid..).filter(|rest| !rest.is_empty()) {
            let at = self.start.checked_add(valid as u64).unwrap_or(self.start);
            gaps.add_all_at(valid, &disk.read_at(at, rest)?);
        }
        self.own = own.min(self.bytes.len());
        self.gaps = gaps;
        Ok(())
    }
}
