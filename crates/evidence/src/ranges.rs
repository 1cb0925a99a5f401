//! Sets of ranges: of bytes, or of anything that has an order.

use std::ops::Range;

/// Sorts ranges, and makes one of those that overlap or touch.
///
/// ```
/// assert_eq!(evidence::merged(vec![8..12, 0..4, 4..6]), [0..6, 8..12]);
/// ```
pub fn merged<T: Ord + Copy>(mut ranges: Vec<Range<T>>) -> Vec<Range<T>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<T>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
