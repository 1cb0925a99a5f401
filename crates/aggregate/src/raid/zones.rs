//! Where the bytes of linear and RAID-0 groups lie, with members of different sizes.

use super::Raid0Layout;

/// A run of bytes that lies on one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The member.
    pub(super) member: usize,
    /// Where in the member the run begins.
    pub(super) at: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// A range of the group in which the same members take turns, chunk by chunk. In a linear
/// group every member is a zone of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    /// Where in the group it begins and ends.
    start: u64,
    end: u64,
    /// Where on its members it begins.
    member_start: u64,
    members: Vec<usize>,
}

/// All zones of a group, in order, without breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zones {
    zones: Vec<Zone>,
    chunk: u64,
    layout: Raid0Layout,
}

impl Zones {
    /// The members of a linear group, one after the other; `None` if they are too long for 2^64.
    pub(super) fn linear(member_bytes: &[u64]) -> Option<Self> {
        let mut zones = Vec::new();
        let mut start = 0_u64;
        for (member, bytes) in member_bytes.iter().enumerate() {
            let end = start.checked_add(*bytes)?;
            zones.push(Zone {
                start,
                end,
                member_start: 0,
                members: vec![member],
            });
            start = end;
        }
        Some(Self {
            zones,
            chunk: u64::MAX,
            layout: Raid0Layout::Alternate,
        })
    }

    /// The zones of a RAID-0 group: in each, the members that reach further than the last one
    /// did, up to the end of the shortest of them. `None` if they are too long for 2^64.
    pub(super) fn raid0(layout: Raid0Layout, chunk: u64, member_bytes: &[u64]) -> Option<Self> {
        let whole: Vec<u64> = member_bytes
            .iter()
            .map(|bytes| bytes - bytes % chunk)
            .collect();
        let mut ends = whole.clone();
        ends.sort_unstable();
        ends.dedup();
        let mut zones = Vec::new();
        let (mut start, mut member_start) = (0_u64, 0);
        for member_end in ends.into_iter().filter(|end| *end > 0) {
            let reaching =
                |(member, bytes): (usize, &u64)| (*bytes > member_start).then_some(member);
            let members: Vec<usize> = whole.iter().enumerate().filter_map(reaching).collect();
            let bytes = (member_end - member_start).checked_mul(members.len() as u64)?;
            let end = start.checked_add(bytes)?;
            zones.push(Zone {
                start,
                end,
                member_start,
                members,
            });
            (start, member_start) = (end, member_end);
        }
        Some(Self {
            zones,
            chunk,
            layout,
        })
    }

    /// The bytes that the group can have.
    pub(super) fn capacity(&self) -> u64 {
        self.zones.last().map_or(0, |zone| zone.end)
    }

    /// What lies at `position`, up to the end of the chunk or member; `None` past the end.
    pub(super) fn run(&self, position: u64) -> Option<Run> {
        let index = self.zones.partition_point(|zone| zone.end <= position);
        let zone = self.zones.get(index)?;
        let inside = position - zone.start;
        if let [member] = *zone.members {
            let at = zone.member_start + inside;
            let bytes = zone.end - position;
            return Some(Run { member, at, bytes });
        }
        let members = zone.members.len() as u64;
        // The kernel takes the place in the chunk from the position in the group. Zones are
        // whole chunks, so it is the same as the place counted from the zone's start.
        let (number, in_chunk) = (inside / self.chunk, inside % self.chunk);
        let turn = match self.layout {
            Raid0Layout::Original => position / self.chunk % members,
            Raid0Layout::Alternate => number % members,
        };
        let member = *zone.members.get(usize::try_from(turn).ok()?)?;
        Some(Run {
            member,
            at: zone.member_start + number / members * self.chunk + in_chunk,
            bytes: self.chunk - in_chunk,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(layout: Raid0Layout) -> Vec<(usize, u64)> {
        let zones = Zones::raid0(layout, 10, &[30, 19, 35]).unwrap();
        assert_eq!(zones.capacity(), 70);
        (0..70)
            .step_by(10)
            .map(|at| zones.run(at).map(|run| (run.member, run.at)).unwrap())
            .collect()
    }

    #[test]
    fn zones_count_chunks_from_the_group_or_from_themselves() {
        // Zone 0: three chunks, then members 0 and 2 alone.
        let first = [(0, 0), (1, 0), (2, 0)];
        let alternate = turns(Raid0Layout::Alternate);
        assert_eq!(alternate[..3], first);
        assert_eq!(alternate[3..], [(0, 10), (2, 10), (0, 20), (2, 20)]);
        let original = turns(Raid0Layout::Original);
        assert_eq!(original[..3], first);
        assert_eq!(original[3..], [(2, 10), (0, 10), (2, 20), (0, 20)]);
    }

    #[test]
    fn linear_members_follow_each_other_and_empty_ones_do_not_matter() {
        let zones = Zones::linear(&[5, 0, 7]).unwrap();
        assert_eq!(zones.capacity(), 12);
        assert_eq!(
            zones.run(4),
            Some(Run {
                member: 0,
                at: 4,
                bytes: 1
            })
        );
        assert_eq!(
            zones.run(5),
            Some(Run {
                member: 2,
                at: 0,
                bytes: 7
            })
        );
        assert_eq!(zones.run(12), None);
        assert_eq!(Zones::linear(&[u64::MAX, 1]), None);
    }
}
