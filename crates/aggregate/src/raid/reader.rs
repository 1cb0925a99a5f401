//! The bytes of a RAID group.

use std::fmt;
use std::sync::Arc;

use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

use super::diagonal::DiagonalRows;
use super::geometry::Map;
use super::members::Members;
use super::parity_rows::ParityRows;
use super::raid10::Placement;
use super::zones::Zones;
use super::{Geometry, GeometryError};

/// The bytes of a RAID group, put together from its members.
///
/// A byte that its own member does not have (the member is missing, or has a gap there) is
/// taken from another copy or rebuilt from parity, for each byte range on its own: which
/// members lack something may change within a row. What the redundancy cannot give is a gap,
/// with the cause that the member's own reader states, or [`GapCause::MemberMissing`].
///
/// ```
/// use std::sync::Arc;
/// use aggregate::raid::{Geometry, GroupReader, Level, ParityDelay, Raid5Layout};
/// use evidence::{ByteOffset, ReadAt, view::Memory};
///
/// let geometry = Geometry {
///     level: Level::Raid5 { layout: Raid5Layout::ParityLast, chunk_bytes: 512, members: 3,
///         delay: ParityDelay::NONE },
///     bytes: 1024,
/// };
/// let first: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0x0f; 512]));
/// let parity: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0xff; 512]));
/// let group = GroupReader::new(geometry, vec![Some(first), None, Some(parity)])?;
/// let mut byte = [0];
/// assert!(group.read_at(ByteOffset::new(1000), &mut byte)?.is_empty());
/// assert_eq!(byte, [0xf0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GroupReader {
    geometry: Geometry,
    members: Members,
    map: ReadMap,
}

/// How positions are looked up, with what a reader needs on top of the map.
enum ReadMap {
    Zones(Zones),
    Mirror,
    Parity(ParityRows),
    Diagonal(DiagonalRows),
    Copies(u64, Placement),
}

impl GroupReader {
    /// A reader of the group of `geometry` over `members`, by role. Each member's reader begins
    /// where its data area does; a member that is missing or must not be read is `None`.
    ///
    /// Errors name what in the geometry contradicts itself or the number of members.
    pub fn new(
        geometry: Geometry,
        members: Vec<Option<Arc<dyn ReadAt>>>,
    ) -> Result<Self, GeometryError> {
        let count = geometry.members();
        if usize::try_from(count) != Ok(members.len()) {
            return Err(GeometryError::MemberCount {
                geometry: count,
                given: members.len(),
            });
        }
        let map = match geometry.map()? {
            Map::Zones(zones) => ReadMap::Zones(zones),
            Map::Mirror => ReadMap::Mirror,
            Map::Parity(rows, chunk) => ReadMap::Parity(ParityRows::new(rows, chunk)),
            Map::Diagonal(code, chunk) => ReadMap::Diagonal(DiagonalRows::new(code, chunk)),
            Map::Copies(chunk, placement) => ReadMap::Copies(chunk, placement),
        };
        Ok(Self {
            geometry,
            members: Members::new(members),
            map,
        })
    }

    /// How the group lies on its members.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn read_zones(&self, zones: &Zones, start: u64, buf: &mut [u8]) -> Gaps {
        in_pieces(start, buf, |position, rest| {
            let Some(run) = zones.run(position) else {
                rest.fill(0);
                return (rest.len(), Gaps::one(0..rest.len(), GapCause::BeyondEnd));
            };
            let part = first(rest, run.bytes);
            (part.len(), self.members.read(run.member, run.at, part))
        })
    }

    fn read_mirror(&self, start: u64, buf: &mut [u8]) -> Gaps {
        let copies: Vec<_> = (0..self.members.count())
            .map(|member| (member, start))
            .collect();
        self.members.read_copies(&copies, buf)
    }

    fn read_chunk_copies(
        &self,
        chunk: u64,
        places: &Placement,
        start: u64,
        buf: &mut [u8],
    ) -> Gaps {
        let mut copies = Vec::new();
        in_pieces(start, buf, |position, rest| {
            let part = first(rest, chunk - position % chunk);
            copies.clear();
            places.copies(position, &mut copies);
            (part.len(), self.members.read_copies(&copies, part))
        })
    }
}

/// Fills `buf` piece by piece: `read` gets the position in the group and the rest of the
/// buffer, and says how much of it it filled and what is missing there.
fn in_pieces(
    start: u64,
    buf: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> (usize, Gaps),
) -> Gaps {
    let mut gaps = Gaps::none();
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let (bytes, missing) = read(start.saturating_add(done as u64), rest);
        gaps.add_all_at(done, &missing);
        // No reader fills nothing; if one did, this would not go round for ever.
        done += bytes.max(1);
    }
    gaps
}

/// The first `bytes` of `buf`, or all of it.
fn first(buf: &mut [u8], bytes: u64) -> &mut [u8] {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(buf.len());
    buf.split_at_mut(length).0
}

impl ReadAt for GroupReader {
    fn len(&self) -> u64 {
        self.geometry.bytes
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        Ok(match &self.map {
            ReadMap::Zones(zones) => self.read_zones(zones, at.get(), buf),
            ReadMap::Mirror => self.read_mirror(at.get(), buf),
            ReadMap::Parity(rows) => rows.read(&self.members, at.get(), buf),
            ReadMap::Diagonal(rows) => rows.read(&self.members, at.get(), buf),
            ReadMap::Copies(chunk, places) => self.read_chunk_copies(*chunk, places, at.get(), buf),
        })
    }
}

impl fmt::Debug for GroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupReader")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use evidence::view::Memory;
    use proptest::prelude::*;

    use super::super::{Cell, Level, ParityDelay, QRule, Raid0Layout, Raid5Layout, Raid10Layout};
    use super::*;

    const CHUNK: usize = 512;
    const MEMBER_BYTES: usize = 24 * CHUNK;

    fn damage(members: usize) -> impl Strategy<Value = Vec<Option<Gaps>>> {
        let gap = (0..MEMBER_BYTES, 1..MEMBER_BYTES / 2).prop_map(|(at, bytes)| {
            Gaps::one(at..(at + bytes).min(MEMBER_BYTES), GapCause::Unreadable)
        });
        let member = prop_oneof![1 => Just(None), 3 => gap.prop_map(Some)];
        prop::collection::vec(member, members)
    }

    proptest! {
        #[test]
        fn copies_are_mixed_byte_by_byte(
            word in prop::sample::select(vec![0x102, 0x103, 0x201, 0x301, 0x10201, 0x40201, 0x202]),
            damage in damage(5),
            range in (0_usize..20_000, 0_usize..20_000),
        ) {
            let layout = Raid10Layout::from_word(word).unwrap();
            let placement = layout.fit(CHUNK as u64, 5, MEMBER_BYTES as u64).unwrap();
            let bytes = usize::try_from(placement.capacity).unwrap();
            let whole: Vec<u8> = (0..bytes).map(|i| ((i * 29) ^ (i >> 8)) as u8).collect();
            let mut disks = vec![vec![0; MEMBER_BYTES]; 5];
            let holders = |position: usize| {
                let mut copies = Vec::new();
                placement.copies(position as u64, &mut copies);
                copies
            };
            for (position, byte) in whole.iter().enumerate() {
                for (member, at) in holders(position) {
                    disks[member][at as usize] = *byte;
                }
            }
            let members = disks.iter().zip(&damage).map(|(disk, gaps)| {
                let member = Memory::new(disk.clone()).with_gaps(gaps.as_ref()?);
                Some(Arc::new(member) as Arc<dyn ReadAt>)
            });
            let geometry = Geometry {
                level: Level::Raid10 {
                    layout,
                    chunk_bytes: CHUNK as u64,
                    members: 5,
                    member_bytes: MEMBER_BYTES as u64,
                },
                bytes: placement.capacity,
            };
            let group = GroupReader::new(geometry, members.collect()).unwrap();
            let (a, b) = (range.0 % bytes, range.1 % bytes);
            let (from, to) = (a.min(b), a.max(b));
            let (read, gaps) = group.read_vec(ByteOffset::new(from as u64), to - from).unwrap();
            for (i, byte) in read.iter().enumerate() {
                let had = holders(from + i).iter().any(|(member, at)| {
                    let at = *at as usize;
                    damage[*member].as_ref().is_some_and(|gaps| !gaps.touch(at..at + 1))
                });
                prop_assert_eq!(!gaps.touch(i..i + 1), had);
                prop_assert_eq!(*byte, if had { whole[from + i] } else { 0 });
            }
        }

        #[test]
        fn no_geometry_whatever_its_numbers_makes_a_reader_panic(
            kind in 0..9,
            layout in any::<u32>(),
            chunk_bytes in prop_oneof![any::<u64>(), Just(512), Just(4096), Just(0)],
            members in 0_u32..6,
            sizes in prop::collection::vec(prop_oneof![any::<u64>(), 0..100_000_u64], 0..6),
            bytes in prop_oneof![any::<u64>(), 0..1_000_000_u64],
            at in any::<u64>(),
        ) {
            let member_bytes = sizes.first().copied().unwrap_or(0);
            let delay = ParityDelay {
                parity_delay: NonZeroU32::new(layout).unwrap_or(NonZeroU32::MIN),
                first_delay: NonZeroU32::new(layout >> 3),
            };
            let level = match kind {
                0 => Level::Linear { member_bytes: sizes },
                1 => Level::Raid0 { layout: Raid0Layout::Original, chunk_bytes, member_bytes: sizes },
                2 => Level::Raid1 { members },
                3 => Level::Raid4 { chunk_bytes, members },
                4 => Level::Raid5 { layout: Raid5Layout::LeftSymmetric, chunk_bytes, members, delay },
                5 => Level::Raid6 { layout: super::super::Raid6Layout::LeftSymmetric, chunk_bytes, members, delay },
                6 => {
                    let prime = [3, 5, 7, 257, layout][layout as usize % 5];
                    Level::RaidDp { chunk_bytes, members, prime, sub_block_bytes: member_bytes % 5000 }
                }
                7 => {
                    let cells = sizes.iter().map(|size| Cell::Data(*size as u32 % 4));
                    Level::Table { chunk_bytes, rows: vec![cells.collect()], q_rule: QRule::Md }
                }
                _ => {
                    let layout = Raid10Layout {
                        near: layout % 5, far: layout / 5 % 5, offset: layout & 64 != 0,
                        far_sets: super::super::FarSets::ByFar,
                    };
                    Level::Raid10 { layout, chunk_bytes, members, member_bytes }
                }
            };
            let geometry = Geometry { level, bytes };
            let _ = geometry.survives(&[true, false, true]);
            let one: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![1; 3000]));
            let members = (0..geometry.members()).map(|i| (i != 1).then(|| Arc::clone(&one)));
            if let Ok(group) = GroupReader::new(geometry, members.collect()) {
                let length = usize::try_from(group.len().min(5000)).unwrap();
                let at = at % (group.len() - length as u64 + 1);
                let (_, gaps) = group.read_vec(ByteOffset::new(at), length).unwrap();
                prop_assert!(gaps.bytes() <= length);
            }
        }
    }

    #[test]
    fn a_mirror_reads_around_the_gaps_of_its_first_copy() {
        let geometry = Geometry {
            level: Level::Raid1 { members: 3 },
            bytes: 10,
        };
        let copy =
            |gap| Memory::new((0..10).collect()).with_gaps(&Gaps::one(gap, GapCause::NotRescued));
        let first: Arc<dyn ReadAt> = Arc::new(copy(2..8));
        let last: Arc<dyn ReadAt> = Arc::new(copy(6..9));
        let group = GroupReader::new(geometry, vec![Some(first), None, Some(last)]).unwrap();
        let (bytes, gaps) = group.read_vec(ByteOffset::new(1), 9).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 0, 0, 8, 9]);
        assert_eq!(gaps, Gaps::one(5..7, GapCause::NotRescued));
    }

    #[test]
    fn the_wrong_number_of_members_is_an_error_that_names_both() {
        let geometry = Geometry {
            level: Level::Raid1 { members: 2 },
            bytes: 10,
        };
        let error = GroupReader::new(geometry, vec![None]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the geometry has 2 members, 1 were given"
        );
    }
}
