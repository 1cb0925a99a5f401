//! Files laid out one after the other by their maps, and the way back to the device.

use std::ops::Range;

use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

use crate::Carving;

/// A piece of a file, or zeros behind one.
#[derive(Clone, Debug)]
struct Part {
    /// Where it lies here.
    span: Range<u64>,
    /// Where it begins on the device; `None` for zeros.
    at: Option<u64>,
}

/// Files one after the other, each with a block of zeros behind it, as where nothing follows them.
pub(super) struct Layout<'a> {
    device: &'a dyn ReadAt,
    parts: Vec<Part>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(device: &'a dyn ReadAt, block: u64, files: Vec<Vec<Range<u64>>>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut push = |length: u64, at: Option<u64>| {
            let start = parts.last().map_or(0, |part| part.span.end);
            parts.push(Part {
                span: start..start.saturating_add(length),
                at,
            });
        };
        for file in files {
            for range in file {
                push(range.end.saturating_sub(range.start), Some(range.start));
            }
            push(block, None);
        }
        Self { device, parts }
    }

    /// The parts that lie in a range, each with what of it does.
    fn within(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, Option<u64>)> {
        let first = self
            .parts
            .partition_point(|part| part.span.end <= range.start);
        let parts = self.parts.get(first..).unwrap_or_default().iter();
        let end = range.end;
        let parts = parts.take_while(move |part| part.span.start < end);
        parts.map(move |part| {
            let span = part.span.start.max(range.start)..part.span.end.min(range.end);
            let into = span.start.saturating_sub(part.span.start);
            (span, part.at.map(|at| at.saturating_add(into)))
        })
    }

    /// Whether a range lies in one piece on the device.
    pub(super) fn is_one_run(&self, range: Range<u64>) -> bool {
        self.within(range).count() == 1
    }

    /// What was carved here, with its places on the device; `None` if it has bytes that lie in no file.
    pub(super) fn on_device(&self, mut carving: Carving) -> Option<Carving> {
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        for (start, length) in &carving.found.pieces {
            for (span, at) in self.within(*start..start.saturating_add(*length)) {
                let (at, length) = (at?, span.end.saturating_sub(span.start));
                match pieces.last_mut() {
                    Some((before, bytes)) if before.saturating_add(*bytes) == at => {
                        *bytes = bytes.saturating_add(length);
                    }
                    _ => pieces.push((at, length)),
                }
            }
        }
        carving.found.pieces = pieces;
        if let Some(stored) = &mut carving.found.stored {
            let file = stored.file..stored.file.saturating_add(1);
            stored.file = self.within(file).next()?.1?;
        }
        Some(carving)
    }
}

impl ReadAt for Layout<'_> {
    fn len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.span.end)
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let start = at.get();
        let mut gaps = Gaps::none();
        let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        for (span, at) in self.within(start..start.saturating_add(buf.len() as u64)) {
            let into = place(span.start)..place(span.end);
            let Some(piece) = buf.get_mut(into.clone()) else {
                continue;
            };
            match at {
                Some(at) => match self.device.read_at(ByteOffset::new(at), piece) {
                    Ok(own) => gaps.add_all_at(into.start, &own),
                    Err(_) => {
                        piece.fill(0);
                        gaps.add(into, GapCause::BeyondEnd);
                    }
                },
                None => piece.fill(0),
            }
        }
        Ok(gaps)
    }
}
