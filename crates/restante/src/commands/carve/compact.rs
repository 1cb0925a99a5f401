//! Ranges of a view that are searched as if nothing lay between them.

use std::ops::Range;
use std::sync::Arc;

use evidence::view::{Concat, Slice};
use evidence::{ByteOffset, ReadAt};

/// Ranges of a view, one behind the other: addresses grow over the years, and most of them have
/// nothing behind them.
pub(super) struct Compact {
    /// Where each range begins in what is searched, in order, and the range.
    parts: Vec<(u64, Range<u64>)>,
}

impl Compact {
    /// The `ranges` of a view: sorted, and none touches another.
    pub(super) fn new(ranges: Vec<Range<u64>>) -> Self {
        let mut at = 0_u64;
        let parts = ranges.into_iter().map(|range| {
            let start = at;
            at = at.saturating_add(range.end.saturating_sub(range.start));
            (start, range)
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The bytes of the ranges of `view`.
    pub(super) fn bytes(&self, view: &Arc<dyn ReadAt>) -> Concat {
        let slices = self.parts.iter().map(|(_, range)| {
            let length = range.end.saturating_sub(range.start);
            let start = ByteOffset::new(range.start);
            Arc::new(Slice::new(Arc::clone(view), start, length)) as Arc<dyn ReadAt>
        });
        Concat::new(slices).unwrap_or_default()
    }

    /// What lies in the ranges, of a sorted list of others of the view: as it is searched.
    pub(super) fn within(&self, others: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut within = Vec::new();
        for (at, range) in &self.parts {
            let first = others.partition_point(|other| other.end <= range.start);
            let these = others.iter().skip(first);
            for other in these.take_while(|other| other.start < range.end) {
                let place = |address: u64| {
                    let inside = address.clamp(range.start, range.end);
                    at.saturating_add(inside.saturating_sub(range.start))
                };
                within.push(place(other.start)..place(other.end));
            }
        }
        within
    }

    /// Where in the view a piece lies of what is searched: offset and length, in one range or more.
    pub(super) fn addresses(&self, (at, length): (u64, u64)) -> Vec<(u64, u64)> {
        let end = at.saturating_add(length);
        let first = self.parts.partition_point(|(start, _)| *start <= at);
        let mut pieces = Vec::new();
        for (start, range) in self.parts.iter().skip(first.saturating_sub(1)) {
            let stop = start.saturating_add(range.end.saturating_sub(range.start));
            let (from, to) = (at.max(*start), end.min(stop));
            if from >= to {
                break;
            }
            let inside = from.saturating_sub(*start);
            pieces.push((range.start.saturating_add(inside), to.saturating_sub(from)));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ReadAtExt;
    use evidence::view::Memory;

    #[test]
    fn what_is_searched_and_the_view_are_translated_into_each_other() {
        let compact = Compact::new(vec![100..110, 200..230]);
        assert_eq!(
            compact.within(&[0..50, 90..104, 108..205, 220..300, 400..500]),
            [0..4, 8..10, 10..15, 30..40]
        );
        assert_eq!(compact.addresses((2, 5)), [(102, 5)]);
        assert_eq!(compact.addresses((8, 6)), [(108, 2), (200, 4)]);
        assert_eq!(compact.addresses((10, 4)), [(200, 4)]);
        assert_eq!(compact.addresses((39, 4)), [(229, 1)]);
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new((0..=255).collect()));
        let bytes = compact.bytes(&view);
        assert_eq!(bytes.len(), 40);
        let read = bytes.read_whole(ByteOffset::new(8), 4).unwrap();
        assert_eq!(read, [108, 109, 200, 201]);
    }
}
