//! A message that is a part of a file.
//!
//! Stores that keep many messages in a file, or their own notes beside one, need no further step
//! when a message is read again: its bytes are ranges of the file, so they are extents as those of
//! any file are ([`Part::pieces`]). Only where the file as a whole is compressed the ranges are
//! those of what it decodes to.

use std::ops::Range;

use filesystem::{Extent, File};

use crate::proof::{Hole, HoleCause};

/// The least that a disk loses.
const SECTOR: usize = 512;

/// Which bytes of a file are a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Ranges of the file, each behind the one before.
    pub ranges: Vec<Range<u64>>,
    /// Those of its bytes in the file that the disk lost and that read as zeros.
    pub wiped: Vec<Range<u64>>,
    /// Whether the ranges are those of what the file decodes to.
    pub is_decoded: bool,
}

impl Part {
    /// The bytes at `range` of the file, of which those in `wiped` are lost.
    pub(crate) fn new(ranges: Vec<Range<u64>>, wiped: &Wiped) -> Self {
        let ranges: Vec<Range<u64>> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
        Self {
            wiped: ranges
                .iter()
                .flat_map(|range| wiped.inside(range))
                .collect(),
            ranges,
            is_decoded: false,
        }
    }

    /// Where it begins in the file, in bytes.
    pub fn start(&self) -> u64 {
        self.ranges.first().map_or(0, |range| range.start)
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        let lengths = self.ranges.iter().map(length);
        lengths.fold(0, u64::saturating_add)
    }

    /// The extents of the part in a file whose extents are `pieces`.
    pub(crate) fn pieces(&self, pieces: &[Extent]) -> Vec<Extent> {
        let mut out: Vec<Extent> = Vec::new();
        let mut at = 0_u64;
        for range in &self.ranges {
            let first = pieces.partition_point(|piece| end(piece) <= range.start);
            for piece in pieces.get(first..).unwrap_or_default() {
                let start = piece.file_offset.max(range.start);
                let stop = end(piece).min(range.end);
                if start >= stop {
                    break;
                }
                let skipped = start.saturating_sub(piece.file_offset);
                let length = stop.saturating_sub(start);
                out.push(Extent {
                    file_offset: at,
                    length,
                    place: piece.place.skip(skipped),
                });
                at = at.saturating_add(length);
            }
        }
        out
    }

    /// The part as a file of its own; `None` if the file is shorter.
    pub(crate) fn open(
        &self,
        file: &File,
        view: std::sync::Arc<dyn evidence::ReadAt>,
    ) -> Option<File> {
        let pieces = self.pieces(file.pieces());
        File::from_pieces(view, self.bytes(), pieces)
    }

    /// What of it was wiped, by places in the message.
    pub(crate) fn holes(&self) -> Vec<Hole> {
        let mut before = 0_u64;
        let mut holes = Vec::new();
        for range in &self.ranges {
            for wiped in &self.wiped {
                let start = wiped.start.max(range.start);
                let stop = wiped.end.min(range.end);
                if start < stop {
                    holes.push(Hole {
                        start: before.saturating_add(start.saturating_sub(range.start)),
                        bytes: stop.saturating_sub(start),
                        why: HoleCause::Wiped,
                    });
                }
            }
            before = before.saturating_add(length(range));
        }
        holes
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn end(piece: &Extent) -> u64 {
    piece.file_offset.saturating_add(piece.length)
}

/// Ranges of a file that read as zeros for whole sectors, or could not be read: no mail, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wiped {
    ranges: Vec<Range<u64>>,
}

impl Wiped {
    /// Adds a range behind all others; they are merged where they meet.
    pub(crate) fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ if range.is_empty() => {}
            _ => self.ranges.push(range),
        }
    }

    /// Those parts of `range` that were wiped.
    pub(crate) fn inside(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'_> {
        let first = self
            .ranges
            .partition_point(|wiped| wiped.end <= range.start);
        let range = range.clone();
        let end = range.end;
        self.ranges
            .get(first..)
            .unwrap_or_default()
            .iter()
            .take_while(move |wiped| wiped.start < end)
            .map(move |wiped| wiped.start.max(range.start)..wiped.end.min(range.end))
    }

    /// Whether any of `range` was wiped.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        self.inside(range).next().is_some()
    }

    /// The end of what was wiped at `at`; `at` itself if it is there.
    pub(crate) fn end_at(&self, at: u64) -> u64 {
        let first = self.ranges.partition_point(|wiped| wiped.end <= at);
        let found = self.ranges.get(first).filter(|wiped| wiped.start <= at);
        found.map_or(at, |wiped| wiped.end)
    }
}

/// The sectors of `bytes` that are nothing but zeros. They begin `at` a file's offset that is a
/// multiple of a sector. A shorter one, at the end of a file, is if the one before it is.
pub(crate) fn wiped_sectors(bytes: &[u8], at: u64) -> impl Iterator<Item = Range<u64>> {
    let mut before = false;
    bytes
        .chunks(SECTOR)
        .enumerate()
        .filter_map(move |(number, sector)| {
            let zeros = sector.iter().all(|byte| *byte == 0);
            let is_wiped = zeros && (before || sector.len() == SECTOR);
            before = is_wiped;
            let start = at.saturating_add((number as u64).saturating_mul(SECTOR as u64));
            is_wiped.then(|| start..start.saturating_add(sector.len() as u64))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ByteOffset;
    use filesystem::Place;

    #[test]
    fn parts_are_extents_of_their_own() {
        let piece = |file_offset, length, at| Extent {
            file_offset,
            length,
            place: Place::At(ByteOffset::new(at)),
        };
        let whole = [piece(0, 100, 1000), piece(100, 50, 5000)];
        let part = Part::new(vec![10..20, 90..120, 130..130], &Wiped::default());
        assert_eq!(part.bytes(), 40);
        assert_eq!(
            part.pieces(&whole),
            [piece(0, 10, 1010), piece(10, 10, 1090), piece(20, 20, 5000)]
        );
    }

    #[test]
    fn what_was_wiped_is_told_by_its_place_in_the_message() {
        let mut wiped = Wiped::default();
        wiped.add(512..1024);
        wiped.add(1024..1536);
        wiped.add(4096..4608);
        let part = Part::new(vec![100..600, 700..2000, 4500..5000], &wiped);
        let hole = |start, bytes| Hole {
            start,
            bytes,
            why: HoleCause::Wiped,
        };
        assert_eq!(
            part.holes(),
            [hole(412, 88), hole(500, 836), hole(1800, 108)]
        );
        assert!(wiped.touches(&(1535..1536)) && !wiped.touches(&(1536..4096)));
        assert_eq!((wiped.end_at(600), wiped.end_at(2000)), (1536, 2000));
    }

    #[test]
    fn only_whole_sectors_of_zeros_are_wiped() {
        let mut bytes = vec![b'x'; 2048];
        bytes[512..1536].fill(0);
        bytes[1700..2040].fill(0);
        let found: Vec<_> = wiped_sectors(&bytes, 4096).collect();
        assert_eq!(found, [4608..5120, 5120..5632]);
        let end: Vec<_> = wiped_sectors(&[0; 700], 0).collect();
        assert_eq!(end, [0..512, 512..700]);
        assert_eq!(wiped_sectors(&[0; 100], 0).count(), 0);
    }
}
