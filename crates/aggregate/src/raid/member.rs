//! The part that a device has in a group, as the group's reader wants it.

use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt};

use crate::document::{Epoch, Extent, Member, Region};

/// The data area of `member` on `device`; `None` if the member is left out of the group.
///
/// Its recorded bad blocks are gaps, and so are those of `regions` of the device that others wrote
/// to since; those of which that is unknown are suspect. Where regions overlap, the gap counts.
pub fn open_member<'a>(
    device: &Arc<dyn ReadAt>,
    member: &Member,
    regions: impl IntoIterator<Item = &'a Region>,
) -> Option<Arc<dyn ReadAt>> {
    if member.left_out.is_some() {
        return None;
    }
    let area = Slice::new(
        Arc::clone(device),
        ByteOffset::new(member.data_offset),
        member.data_size,
    );
    let bad = member.bad_blocks.iter().map(|bad| {
        let start = member.data_offset.saturating_add(bad.start);
        Stretch {
            extent: Extent::new(start, bad.bytes, None),
            gap: Some(GapCause::Unreadable),
        }
    });
    let regions = regions.into_iter().filter_map(|region| {
        let gap = match region.epoch {
            Epoch::Old => return None,
            Epoch::New => Some(GapCause::Overwritten),
            Epoch::Zeroed => Some(GapCause::Zeroed),
            Epoch::Unknown => None,
        };
        Some(Stretch {
            extent: region.extent(),
            gap,
        })
    });
    let mut stretches: Vec<Stretch> = bad.chain(regions).collect();
    if stretches.is_empty() {
        return Some(Arc::new(area));
    }
    stretches.sort_unstable();
    let mut ends = 0;
    let reach = stretches.iter().map(|stretch| {
        ends = stretch.extent.end().max(ends);
        ends
    });
    Some(Arc::new(Judged {
        reach: reach.collect(),
        offset: member.data_offset,
        area,
        stretches,
    }))
}

/// What of a device is not to be read, or not to be relied on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    extent: Extent,
    /// Why it is not read; one that is only suspect has none.
    gap: Option<GapCause>,
}

/// A data area of which something says that some of it is not the group's: the array recorded
/// that it never finished writing it, or something else wrote there since.
struct Judged {
    area: Slice,
    /// Where on the device it begins.
    offset: u64,
    /// In order; they may overlap.
    stretches: Vec<Stretch>,
    /// How far each stretch and all before it reach, for looking up the first that matters.
    reach: Vec<u64>,
}

impl ReadAt for Judged {
    fn len(&self) -> u64 {
        self.area.len()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let mut gaps = self.area.read_at(at, buf)?;
        let start = self.offset.saturating_add(at.get());
        let end = start.saturating_add(buf.len() as u64);
        let first = self.reach.partition_point(|reach| *reach <= start);
        let after = (self.stretches).partition_point(|part| part.extent.start < end);
        let index = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        for stretch in self.stretches.get(first..after).unwrap_or_default() {
            for range in stretch.extent.within(start, end) {
                let range = index(range.start)..index(range.end);
                let Some(cause) = stretch.gap else {
                    gaps.add_suspect(range);
                    continue;
                };
                if let Some(hole) = buf.get_mut(range.clone()) {
                    hole.fill(0);
                }
                gaps.add(range, cause);
            }
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use evidence::ReadAtExt;
    use evidence::view::Memory;

    use super::*;
    use crate::document::{BadBlocks, DeviceName, Pieces};

    #[test]
    fn recorded_bad_blocks_are_gaps_and_a_left_out_member_is_not_read() {
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![7; 40]));
        let mut member = Member {
            role: 0,
            device: Some(DeviceName::disk("a")),
            data_offset: 10,
            data_size: 20,
            left_out: None,
            bad_blocks: vec![
                BadBlocks { start: 8, bytes: 4 },
                BadBlocks { start: 2, bytes: 1 },
            ],
        };
        let area = open_member(&device, &member, &[]).unwrap();
        let (bytes, gaps) = area.read_vec(ByteOffset::new(2), 8).unwrap();
        assert_eq!(bytes, [0, 7, 7, 7, 7, 7, 0, 0]);
        let mut want = Gaps::one(0..1, GapCause::Unreadable);
        want.add(6..8, GapCause::Unreadable);
        assert_eq!(gaps, want);
        member.left_out = Some("stale".into());
        assert!(open_member(&device, &member, &[]).is_none());
    }

    /// A member whose data begins at byte 10 of its device and ends at byte 40.
    fn member() -> Member {
        Member {
            role: 0,
            device: Some(DeviceName::disk("a")),
            data_offset: 10,
            data_size: 30,
            left_out: None,
            bad_blocks: Vec::new(),
        }
    }

    #[test]
    fn regions_of_others_are_gaps_and_unknown_ones_are_read_and_suspect() {
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![7; 40]));
        let member = member();
        let region = |start, bytes, epoch| Region {
            device: DeviceName::disk("a"),
            start,
            bytes,
            epoch,
            pieces: None,
            group: None,
            evidence: String::new(),
        };
        let regions = [
            region(0, 12, Epoch::Zeroed),
            region(11, 9, Epoch::Unknown),
            region(15, 1, Epoch::New),
            region(25, 1, Epoch::Old),
        ];
        let area = open_member(&device, &member, &regions).unwrap();
        let (bytes, gaps) = area.read_vec(ByteOffset::new(0), 20).unwrap();
        assert_eq!(bytes[..8], [0, 0, 7, 7, 7, 0, 7, 7]);
        let mut want = Gaps::one(0..2, GapCause::Zeroed);
        want.add(5..6, GapCause::Overwritten);
        want.add_suspect(1..10);
        assert_eq!(gaps, want);
        assert_eq!(gaps.suspects(), [2..5, 6..10]);
    }

    #[test]
    fn of_a_region_in_pieces_only_these_are_gaps() {
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![7; 40]));
        let member = member();
        let region = Region {
            device: DeviceName::disk("a"),
            start: 5,
            bytes: 22,
            epoch: Epoch::New,
            pieces: Some(Pieces { bytes: 3, every: 7 }),
            group: None,
            evidence: String::new(),
        };
        // On the device: 5 to 7, 12 to 14, 19 to 21, and 26 alone.
        assert_eq!(region.meant(), 10);
        let area = open_member(&device, &member, &[region]).unwrap();
        let (_, gaps) = area.read_vec(ByteOffset::new(0), 30).unwrap();
        let mut want = Gaps::one(2..5, GapCause::Overwritten);
        want.add(9..12, GapCause::Overwritten);
        want.add(16..17, GapCause::Overwritten);
        assert_eq!(gaps, want);
        let (bytes, gaps) = area.read_vec(ByteOffset::new(3), 5).unwrap();
        assert_eq!(bytes, [0, 0, 7, 7, 7]);
        assert_eq!(gaps, Gaps::one(0..2, GapCause::Overwritten));
    }
}
