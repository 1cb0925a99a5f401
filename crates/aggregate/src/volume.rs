//! The bytes of a partition or logical volume.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

use crate::chunks::{Below, Chunks};
use crate::document::{Area, SegmentMap, Volume};
use crate::framing::Framed;
use crate::lvm::{Store, ThinDevice};

/// A volume put together from its segments.
pub(crate) struct VolumeReader {
    length: u64,
    /// Pieces by their start; each one ends where the next one begins.
    pieces: Vec<Piece>,
}

struct Piece {
    start: u64,
    bytes: u64,
    map: Map,
}

/// An area as if it began at zero; `None` if its device is missing.
type Part = Option<Slice>;

enum Map {
    Linear(Part),
    Striped(NonZeroU64, Vec<Part>),
    Mirrored(Vec<Part>),
    Framed(Option<Framed>),
    Chunks(Option<Chunks>),
    Zero,
    Nowhere,
}

impl VolumeReader {
    /// The reader of a volume whose segments were checked; `open` gives the devices.
    pub(crate) fn new(volume: &Volume, open: impl Fn(&Area) -> Option<Arc<dyn ReadAt>>) -> Self {
        let pieces = volume.segments.iter().map(|segment| {
            let part = |area: &Area| {
                let device = open(area)?;
                Some(Slice::new(
                    device,
                    ByteOffset::new(area.offset),
                    segment.bytes,
                ))
            };
            let map = match &segment.map {
                SegmentMap::Linear(area) => Map::Linear(part(area)),
                SegmentMap::Striped {
                    stripe_bytes,
                    areas,
                } => NonZeroU64::new(*stripe_bytes).map_or(Map::Nowhere, |stripe| {
                    Map::Striped(stripe, areas.iter().map(part).collect())
                }),
                SegmentMap::Mirrored { areas } => Map::Mirrored(areas.iter().map(part).collect()),
                SegmentMap::Framed { framing, area } => {
                    Map::Framed(open(area).and_then(|device| {
                        let start = ByteOffset::new(area.offset);
                        Framed::new(device, start, *framing, segment.bytes)
                    }))
                }
                SegmentMap::Snapshot { origin, store } => Map::Chunks(snapshot(
                    segment.bytes,
                    from(&open, origin),
                    from(&open, store),
                )),
                SegmentMap::Thin {
                    metadata,
                    data,
                    device_id,
                    origin,
                } => {
                    let below = origin
                        .as_ref()
                        .map_or(Below::Zeros, |origin| Below::Device(from(&open, origin)));
                    let metadata = from(&open, metadata);
                    let data = from(&open, data);
                    Map::Chunks(thin(segment.bytes, *device_id, metadata, data, below))
                }
                SegmentMap::Zero => Map::Zero,
                SegmentMap::Missing { .. } => Map::Nowhere,
            };
            Piece {
                start: segment.start,
                bytes: segment.bytes,
                map,
            }
        });
        Self {
            length: volume.bytes,
            pieces: pieces.collect(),
        }
    }
}

/// All of a device from an area on; `None` if it is missing.
fn from(open: impl Fn(&Area) -> Option<Arc<dyn ReadAt>>, area: &Area) -> Option<Arc<dyn ReadAt>> {
    let device = open(area)?;
    let bytes = device.len().checked_sub(area.offset)?;
    if area.offset == 0 {
        return Some(device);
    }
    let start = ByteOffset::new(area.offset);
    Some(Arc::new(Slice::new(device, start, bytes)))
}

/// A snapshot; `None` if its store cannot be read.
fn snapshot(
    bytes: u64,
    origin: Option<Arc<dyn ReadAt>>,
    store: Option<Arc<dyn ReadAt>>,
) -> Option<Chunks> {
    let read = Store::read(store.as_deref()?)?;
    Some(Chunks {
        bytes,
        chunk_bytes: read.chunk_bytes,
        map: read.map,
        store,
        below: Below::Device(origin),
    })
}

/// A thin volume; `None` if the metadata of its pool cannot be read.
fn thin(
    bytes: u64,
    device_id: u64,
    metadata: Option<Arc<dyn ReadAt>>,
    data: Option<Arc<dyn ReadAt>>,
    below: Below,
) -> Option<Chunks> {
    let read = ThinDevice::read(metadata.as_deref()?, device_id).ok()?;
    Some(Chunks {
        bytes,
        chunk_bytes: read.chunk_bytes,
        map: read.map,
        store: data,
        below,
    })
}

impl ReadAt for VolumeReader {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        let after = self.pieces.partition_point(|piece| piece.start <= at.get());
        for piece in self.pieces.iter().skip(after.saturating_sub(1)) {
            if done >= buf.len() {
                break;
            }
            let inside = at
                .get()
                .saturating_add(done as u64)
                .saturating_sub(piece.start);
            let stop = stop(done, piece.bytes.saturating_sub(inside), buf.len());
            if let Some(part) = buf.get_mut(done..stop) {
                gaps.add_all_at(done, &piece.map.read(inside, part)?);
            }
            done = stop;
        }
        Ok(gaps)
    }
}

/// Where in a buffer of `length` a run of at most `bytes` from `done` on ends.
fn stop(done: usize, bytes: u64, length: usize) -> usize {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    done.saturating_add(bytes).min(length)
}

impl Map {
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        match self {
            Self::Linear(part) => read_part(part, at, buf),
            Self::Striped(stripe, parts) => read_stripes(*stripe, parts, at, buf),
            Self::Mirrored(parts) => read_copies(parts, at, buf),
            Self::Framed(Some(framed)) => framed.read_at(ByteOffset::new(at), buf),
            Self::Chunks(Some(chunks)) => chunks.read_at(ByteOffset::new(at), buf),
            Self::Chunks(None) => Ok(nothing(buf, GapCause::Unmapped)),
            Self::Framed(None) => Ok(nothing(buf, GapCause::MemberMissing)),
            Self::Zero => {
                buf.fill(0);
                Ok(Gaps::none())
            }
            Self::Nowhere => Ok(nothing(buf, GapCause::Unmapped)),
        }
    }
}

/// A gap over the whole of `buf`.
fn nothing(buf: &mut [u8], cause: GapCause) -> Gaps {
    buf.fill(0);
    Gaps::one(0..buf.len(), cause)
}

fn read_part(part: &Part, at: u64, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
    match part {
        Some(slice) => slice.read_at(ByteOffset::new(at), buf),
        None => Ok(nothing(buf, GapCause::MemberMissing)),
    }
}

/// Stripe `k` is stripe `k / n` of part `k % n`.
fn read_stripes(
    stripe: NonZeroU64,
    parts: &[Part],
    at: u64,
    buf: &mut [u8],
) -> Result<Gaps, OutOfRange> {
    let Some(count) = NonZeroU64::new(parts.len() as u64) else {
        return Ok(nothing(buf, GapCause::Unmapped));
    };
    let mut gaps = Gaps::none();
    let mut done = 0_usize;
    while done < buf.len() {
        let position = at.saturating_add(done as u64);
        let (number, inside) = (position / stripe, position % stripe);
        let place = (number / count)
            .saturating_mul(stripe.get())
            .saturating_add(inside);
        let stop = stop(done, stripe.get().saturating_sub(inside), buf.len());
        let part = usize::try_from(number % count)
            .ok()
            .and_then(|i| parts.get(i));
        if let (Some(part), Some(run)) = (part, buf.get_mut(done..stop)) {
            gaps.add_all_at(done, &read_part(part, place, run)?);
        }
        done = stop;
    }
    Ok(gaps)
}

/// The first copy, and where it has gaps the next ones. A gap in all of them has the cause
/// that the first copy gave.
fn read_copies(parts: &[Part], at: u64, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
    let mut there = parts.iter().filter(|part| part.is_some());
    let Some(first) = there.next() else {
        return Ok(nothing(buf, GapCause::MemberMissing));
    };
    let mut gaps = read_part(first, at, buf)?;
    for part in there {
        if gaps.is_empty() {
            break;
        }
        let mut left = Gaps::none();
        for range in gaps.suspects() {
            left.add_suspect(range);
        }
        for gap in gaps.iter() {
            let Some(hole) = buf.get_mut(gap.range.clone()) else {
                continue;
            };
            let from = at.saturating_add(gap.range.start as u64);
            let missing = read_part(part, from, hole)?;
            for still in missing.iter() {
                left.add(shifted(&still.range, gap.range.start), gap.cause);
            }
            for range in missing.suspects() {
                left.add_suspect(shifted(&range, gap.range.start));
            }
        }
        gaps = left;
    }
    Ok(gaps)
}

fn shifted(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start.saturating_add(by)..range.end.saturating_add(by)
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::*;
    use crate::document::{DeviceName, Segment};

    /// Disk `n` of 64 bytes holds 64 * n to 64 * n + 63, of which the `gaps` cannot be read.
    fn disk(n: u8, gaps: &Gaps) -> Arc<dyn ReadAt> {
        Arc::new(Memory::new((n * 64..=n * 64 + 63).collect()).with_gaps(gaps))
    }

    fn area(device: Option<u8>, offset: u64) -> Area {
        Area {
            device: device.map(|n| DeviceName::disk(&n.to_string())),
            offset,
        }
    }

    fn volume(maps: Vec<(u64, SegmentMap)>) -> Volume {
        let mut start = 0;
        let segments = maps.into_iter().map(|(bytes, map)| {
            let segment = Segment { start, bytes, map };
            start += bytes;
            segment
        });
        let segments: Vec<Segment> = segments.collect();
        Volume {
            device: DeviceName::volume("v"),
            uuid: None,
            bytes: segments.iter().map(|s| s.bytes).sum(),
            hidden: false,
            snapshot_of: None,
            segments,
            evidence: Vec::new(),
        }
    }

    fn reader(volume: &Volume, gaps: &Gaps) -> VolumeReader {
        VolumeReader::new(volume, |area| {
            let name = area.device.as_ref()?;
            let number = name.0.strip_prefix("disk:")?.parse().ok()?;
            let none = Gaps::none();
            Some(disk(number, if number == 0 { gaps } else { &none }))
        })
    }

    fn mixed() -> Volume {
        volume(vec![
            (10, SegmentMap::Linear(area(Some(1), 5))),
            (
                24,
                SegmentMap::Striped {
                    stripe_bytes: 4,
                    areas: vec![area(Some(2), 0), area(Some(3), 8)],
                },
            ),
            (6, SegmentMap::Zero),
            (8, SegmentMap::Linear(area(None, 0))),
            (
                4,
                SegmentMap::Missing {
                    why: "gone".to_owned(),
                },
            ),
            (10, SegmentMap::Linear(area(Some(1), 58))),
        ])
    }

    fn expected() -> Vec<Option<u8>> {
        let mut all: Vec<Option<u8>> = (69..79).map(Some).collect();
        for row in 0..3 {
            all.extend((128 + row * 4..132 + row * 4).map(Some));
            all.extend((200 + row * 4..204 + row * 4).map(Some));
        }
        all.extend([Some(0); 6]);
        all.extend([None; 12]);
        all.extend((122..128).map(Some));
        all.extend([None; 4]);
        all
    }

    fn read(reader: &dyn ReadAt, at: u64, length: usize) -> Vec<Option<u8>> {
        let (bytes, gaps) = reader.read_vec(ByteOffset::new(at), length).unwrap();
        let mut all: Vec<Option<u8>> = bytes.into_iter().map(Some).collect();
        for gap in gaps.iter() {
            all[gap.range.clone()].fill(None);
        }
        all
    }

    #[test]
    fn mirrors_take_each_range_from_the_first_copy_that_has_it() {
        let map = SegmentMap::Mirrored {
            areas: vec![area(None, 0), area(Some(0), 0), area(Some(1), 0)],
        };
        let volume = volume(vec![(32, map)]);
        let reader = reader(&volume, &Gaps::one(8..20, GapCause::Unreadable));
        let got = read(&reader, 4, 20);
        let want: Vec<Option<u8>> = (4..8).chain(72..84).chain(20..24).map(Some).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn causes_tell_what_is_missing() {
        let volume = mixed();
        let (_, gaps) = reader(&volume, &Gaps::none())
            .read_vec(ByteOffset::new(38), 16)
            .unwrap();
        let causes: Vec<_> = gaps.iter().map(|g| (g.range.clone(), g.cause)).collect();
        assert_eq!(
            causes,
            [
                (2..10, GapCause::MemberMissing),
                (10..14, GapCause::Unmapped)
            ]
        );
    }

    proptest! {
        #[test]
        fn every_read_gives_the_bytes_of_its_range(
            (at, length) in (0..=62_usize).prop_flat_map(|at| (proptest::strategy::Just(at), 0..=62 - at))
        ) {
            let volume = mixed();
            let reader = reader(&volume, &Gaps::none());
            prop_assert_eq!(read(&reader, at as u64, length), &expected()[at..at + length]);
        }
    }
}
