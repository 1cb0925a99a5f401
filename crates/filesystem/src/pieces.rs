//! The map of a file while it is put together, in the order of the file.

use std::ops::Range;

use crate::{Extent, Place};

/// Pieces that are put together in the order of the file.
pub(crate) struct Pieces {
    size: u64,
    /// What there is where nothing was pushed.
    between: Place,
    /// Up to where the pieces reach.
    end: u64,
    pieces: Vec<Extent>,
}

impl Pieces {
    /// No pieces yet of a file of `size` bytes; what no piece covers is `between`.
    pub(crate) const fn new(size: u64, between: Place) -> Self {
        Self {
            size,
            between,
            end: 0,
            pieces: Vec::new(),
        }
    }

    /// Adds what covers `range`; what reaches past the size or back over the end is cut off.
    pub(crate) fn push(&mut self, range: Range<u64>, place: Place) {
        let start = range.start.max(self.end);
        let stop = range.end.min(self.size);
        if start >= stop {
            return;
        }
        let between = self.between;
        self.append(start, between);
        let skipped = start.saturating_sub(range.start);
        let place = place.skip(skipped);
        self.append(stop, place);
    }

    /// Continues up to `stop`, in the last piece if that goes on there.
    fn append(&mut self, stop: u64, place: Place) {
        if stop <= self.end {
            return;
        }
        let length = stop.saturating_sub(self.end);
        match self.pieces.last_mut() {
            Some(last) if goes_on(last, place) => {
                last.length = last.length.saturating_add(length);
            }
            _ => self.pieces.push(Extent {
                file_offset: self.end,
                length,
                place,
            }),
        }
        self.end = stop;
    }

    /// The pieces, up to the size.
    pub(crate) fn finish(mut self) -> Vec<Extent> {
        self.append(self.size, self.between);
        self.pieces
    }
}

/// Whether `place` is what comes behind `last`.
fn goes_on(last: &Extent, place: Place) -> bool {
    match (last.place, place) {
        (Place::At(before), Place::At(at)) => before.checked_add(last.length) == Some(at),
        // Each begins anew at its `skip`, so two that are equal are two.
        (Place::Compressed { .. }, _) => false,
        (before, place) => before == place,
    }
}
