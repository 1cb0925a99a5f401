//! Where the copies of RAID-10 groups lie, as Linux md places them (`drivers/md/raid10.c`).

use serde::{Deserialize, Serialize};

/// How many copies a RAID-10 group keeps of each chunk, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Raid10Layout {
    /// Copies beside each other, on neighbouring members.
    pub near: u32,
    /// Copies further down, on other members.
    pub far: u32,
    /// Whether far copies lie in the next row (`offset`) and not in another part of the members.
    #[serde(default)]
    pub offset: bool,
    /// Over which members far copies rotate.
    #[serde(default)]
    pub far_sets: FarSets,
}

/// Over which members far copies rotate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum FarSets {
    /// Over all members.
    #[default]
    Whole,
    /// Over sets of members / far copies: the first try at sets, bit 17 of md's layout word.
    ByFar,
    /// Over sets of far × near members, bit 18 of md's layout word.
    ByCopies,
}

impl Raid10Layout {
    /// So many copies beside each other.
    pub const fn near(near: u32) -> Self {
        Self {
            near,
            far: 1,
            offset: false,
            far_sets: FarSets::Whole,
        }
    }

    /// How many copies there are of each chunk.
    pub const fn copies(self) -> u32 {
        self.near.saturating_mul(self.far)
    }

    /// The layout of md's layout word: near copies in the low byte, far copies in the next one,
    /// then a bit for `offset` and two for far sets. `None` for words that md does not know.
    pub fn from_word(word: u32) -> Option<Self> {
        let far_sets = match word >> 17 {
            0 => FarSets::Whole,
            1 => FarSets::ByFar,
            2 => FarSets::ByCopies,
            _ => return None,
        };
        let (near, far) = (word & 0xff, word >> 8 & 0xff);
        (near > 0 && far > 0).then_some(Self {
            near,
            far,
            offset: word & 1 << 16 != 0,
            far_sets,
        })
    }

    /// md's layout word for this layout.
    pub const fn word(self) -> u32 {
        let sets = match self.far_sets {
            FarSets::Whole => 0,
            FarSets::ByFar => 1,
            FarSets::ByCopies => 2,
        };
        (self.near & 0xff) | (self.far & 0xff) << 8 | (self.offset as u32) << 16 | sets << 17
    }

    /// The sizes that follow for `members` which use `member_bytes` each; `None` if the copies
    /// do not fit so many members.
    pub(super) fn fit(self, chunk: u64, members: u32, member_bytes: u64) -> Option<Placement> {
        let copies = self.near.checked_mul(self.far)?;
        if copies == 0 || copies > members || chunk == 0 {
            return None;
        }
        let set = match self.far_sets {
            FarSets::Whole => members,
            FarSets::ByFar => members / self.far,
            FarSets::ByCopies => copies,
        };
        let (near, far, all) = (
            u64::from(self.near),
            u64::from(self.far),
            u64::from(members),
        );
        // The steps of `calc_sectors`, with its roundings: chunks of the group, then chunks used
        // of each member, then what one part of a member has of them.
        let chunks = (member_bytes / chunk / far).checked_mul(all)? / near;
        let used = chunks.checked_mul(u64::from(copies))?.div_ceil(all);
        let part = used / far;
        Some(Placement {
            chunk,
            members: all,
            near,
            far,
            offset: self.offset,
            set: u64::from(set),
            stride: if self.offset {
                chunk
            } else {
                part.checked_mul(chunk)?
            },
            capacity: (part.checked_mul(all)? / near).checked_mul(chunk)?,
        })
    }
}

/// A RAID-10 layout with everything that follows from the members' number and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    chunk: u64,
    members: u64,
    near: u64,
    far: u64,
    offset: bool,
    /// How many members a far set has.
    set: u64,
    /// Bytes from one far copy to the next.
    stride: u64,
    /// The bytes that the group can have.
    pub(super) capacity: u64,
}

impl Placement {
    /// Appends to `copies` where the byte at `position` of the group lies: the member and the
    /// offset in it, the first copy first. They hold for the rest of the chunk.
    pub(super) fn copies(&self, position: u64, copies: &mut Vec<(usize, u64)>) {
        let inside = position % self.chunk;
        let slot = position / self.chunk * self.near;
        let (mut row, mut member) = (slot / self.members, slot % self.members);
        if self.offset {
            row *= self.far;
        }
        for _ in 0..self.near {
            let mut at = row * self.chunk + inside;
            let mut holder = member;
            copies.push((usize::try_from(holder).unwrap_or(usize::MAX), at));
            for _ in 1..self.far {
                holder = self.next_far(holder);
                at += self.stride;
                copies.push((usize::try_from(holder).unwrap_or(usize::MAX), at));
            }
            member += 1;
            if member == self.members {
                member = 0;
                row += 1;
            }
        }
    }

    /// The member that has the next far copy of what `member` holds: near copies further on,
    /// around within its far set. The members that are left over belong to the last set.
    fn next_far(&self, member: u64) -> u64 {
        let moved = member + self.near;
        let over = self.members % self.set;
        let last_start = (self.members / self.set - 1) * self.set;
        // The kernel compares after the move and leaves out equality; so it is on the disks.
        if over != 0 && moved > last_start {
            return (moved - last_start) % (self.set + over) + last_start;
        }
        moved % self.set + member / self.set * self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(word: u32, members: u32, chunk_number: u64) -> Vec<(usize, u64)> {
        let layout = Raid10Layout::from_word(word).unwrap();
        assert_eq!(layout.word(), word);
        let placement = layout.fit(1, members, 1000).unwrap();
        let mut copies = Vec::new();
        placement.copies(chunk_number, &mut copies);
        copies
    }

    #[test]
    fn near_copies_lie_side_by_side_and_go_around() {
        assert_eq!(at(0x102, 3, 0), [(0, 0), (1, 0)]);
        assert_eq!(at(0x102, 3, 1), [(2, 0), (0, 1)]);
        assert_eq!(at(0x102, 3, 2), [(1, 1), (2, 1)]);
    }

    #[test]
    fn far_copies_lie_in_the_next_part_of_the_next_member() {
        assert_eq!(at(0x201, 3, 0), [(0, 0), (1, 500)]);
        assert_eq!(at(0x201, 3, 5), [(2, 1), (0, 501)]);
        assert_eq!(at(0x40201, 4, 1), [(1, 0), (0, 500)]);
        assert_eq!(at(0x40201, 4, 3), [(3, 0), (2, 500)]);
    }

    #[test]
    fn offset_copies_lie_in_the_next_row() {
        assert_eq!(at(0x10201, 3, 0), [(0, 0), (1, 1)]);
        assert_eq!(at(0x10201, 3, 2), [(2, 0), (0, 1)]);
        assert_eq!(at(0x10201, 3, 3), [(0, 2), (1, 3)]);
    }

    #[test]
    fn copies_never_share_a_member() {
        for word in [
            0x102, 0x103, 0x201, 0x301, 0x10201, 0x10301, 0x40201, 0x50201,
        ] {
            for members in 3..9 {
                for number in 0..60 {
                    let mut on: Vec<usize> =
                        at(word, members, number).iter().map(|c| c.0).collect();
                    let copies = on.len();
                    on.sort_unstable();
                    on.dedup();
                    assert_eq!(on.len(), copies, "{word:x} of {members} at {number}");
                }
            }
        }
    }

    #[test]
    fn copies_that_do_not_fit_are_refused() {
        assert_eq!(Raid10Layout::from_word(0x100), None);
        assert_eq!(Raid10Layout::from_word(0xE0102), None);
        let three = Raid10Layout::from_word(0x103).unwrap();
        assert_eq!(three.fit(512, 2, 4096), None);
        assert_eq!(three.fit(512, 3, 4096).unwrap().capacity, 4096);
    }
}
