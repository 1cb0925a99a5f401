//! The part that a device has in a group, as the group's reader wants it.

use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt};

use crate::document::Member;

/// The data area of `member` on `device`, with its recorded bad blocks as gaps; `None` if the
/// member is left out of the group.
pub fn open_member(device: &Arc<dyn ReadAt>, member: &Member) -> Option<Arc<dyn ReadAt>> {
    if member.left_out.is_some() {
        return None;
    }
    let area = Slice::new(
        Arc::clone(device),
        ByteOffset::new(member.data_offset),
        member.data_size,
    );
    if member.bad_blocks.is_empty() {
        return Some(Arc::new(area));
    }
    let mut bad: Vec<(u64, u64)> = member
        .bad_blocks
        .iter()
        .map(|bad| (bad.start, bad.start.saturating_add(bad.bytes)))
        .collect();
    bad.sort_unstable();
    Some(Arc::new(WithBadBlocks { area, bad }))
}

/// A data area of which the array recorded that some of it is bad: whatever can be read there,
/// the array never finished writing it.
struct WithBadBlocks {
    area: Slice,
    /// Where bad ranges begin and end, in order; they may overlap.
    bad: Vec<(u64, u64)>,
}

impl ReadAt for WithBadBlocks {
    fn len(&self) -> u64 {
        self.area.len()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let mut gaps = self.area.read_at(at, buf)?;
        let (start, end) = (at.get(), at.get().saturating_add(buf.len() as u64));
        let before_end = self.bad.partition_point(|(from, _)| *from < end);
        for (from, to) in self.bad.get(..before_end).unwrap_or_default() {
            let index = |position: u64| {
                let inside = position.clamp(start, end).saturating_sub(start);
                usize::try_from(inside).unwrap_or(usize::MAX)
            };
            let range = index(*from)..index(*to);
            if range.is_empty() {
                continue;
            }
            if let Some(hole) = buf.get_mut(range.clone()) {
                hole.fill(0);
            }
            gaps.add(range, GapCause::Unreadable);
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use evidence::ReadAtExt;
    use evidence::view::Memory;

    use super::*;
    use crate::document::{BadBlocks, DeviceName};

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
        let area = open_member(&device, &member).unwrap();
        let (bytes, gaps) = area.read_vec(ByteOffset::new(2), 8).unwrap();
        assert_eq!(bytes, [0, 7, 7, 7, 7, 7, 0, 0]);
        let mut want = Gaps::one(0..1, GapCause::Unreadable);
        want.add(6..8, GapCause::Unreadable);
        assert_eq!(gaps, want);
        member.left_out = Some("stale".into());
        assert!(open_member(&device, &member).is_none());
    }
}
