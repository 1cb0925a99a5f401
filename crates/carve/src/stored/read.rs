//! A message that lies in one piece, read block by block from any byte on.

use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::judge::Judge;
use crate::reader::Reader;

/// What reading a message block by block shows.
pub(super) struct Read {
    /// How much speaks for each border of blocks, in nats, by the offset in what was read.
    pub(super) borders: Vec<(u64, f64)>,
    /// Whether all that it began is ended.
    pub(super) is_closed: bool,
    /// Whether it had parts, and the last is closed.
    pub(super) has_closed_parts: bool,
    pub(super) is_signed: bool,
    /// Whether a body hash verifies over all of it.
    pub(super) verifies: bool,
}

impl Read {
    /// Reads what lies in `span` of `device`.
    pub(super) fn of(judge: &Judge<'_>, device: &dyn ReadAt, span: &Range<u64>) -> Self {
        let grid = judge.blocks.grid;
        let mut reader = Reader::new();
        let mut borders = Vec::new();
        let mut from = span.start;
        for border in grid.borders(span.start) {
            let stop = border.min(span.end);
            let length = usize::try_from(stop.saturating_sub(from)).unwrap_or(0);
            let piece = device.read_vec(ByteOffset::new(from), length);
            let piece = piece.unwrap_or_default().0;
            if from == span.start {
                reader.feed(&piece);
            } else {
                let (after, nats) = judge.link(&reader, u64::MAX, &piece);
                reader = after;
                borders.push((from.saturating_sub(span.start), nats));
            }
            from = stop;
            if from >= span.end {
                break;
            }
        }
        Self {
            borders,
            is_closed: reader.is_closed(),
            has_closed_parts: reader.closed().is_some(),
            is_signed: reader.is_signed(),
            verifies: reader.is_signed() && reader.verifies(),
        }
    }
}
