//! The relations that a parity group promises, tested block by block.

use super::content;
use crate::Devices;
use crate::document::Group;
use crate::raid::{Geometry, Level, ParityLayout, Row, parity};

/// Most members that are judged: the sets of members are words of 64 bits.
pub(super) const MOST_MEMBERS: u32 = 64;

/// Wrong bytes of one block that are an error of the medium and not something written there.
const MOST_SILENT: usize = 64;

/// A set of members, by role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Roles(u64);

impl Roles {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn has(self, role: usize) -> bool {
        role < 64 && self.0 >> role & 1 == 1
    }

    #[must_use]
    pub(super) const fn with(self, role: usize) -> Self {
        if role < 64 {
            Self(self.0 | 1 << role)
        } else {
            self
        }
    }
}

impl FromIterator<usize> for Roles {
    fn from_iter<I: IntoIterator<Item = usize>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The code of a group with parity.
pub(super) struct Code {
    layout: ParityLayout,
    members: u32,
    /// Bytes on one member before the next one's turn.
    pub(super) chunk: u64,
    /// How many bytes of each member's data area the group uses.
    pub(super) extent: u64,
    /// The bytes that are judged as one.
    pub(super) block: usize,
}

/// What the relations say of one row of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All that is there is zero, which says nothing.
    Zero,
    /// Too much is missing for anything to be tested.
    Open,
    /// Too much is missing for anything to be tested, but what is missing is text once it is made of the rest: that may
    /// be as it was stored.
    Likely,
    /// The same, but it is noise: something of the rest is not as it was stored.
    Unlikely,
    /// Every relation holds.
    Holds,
    /// A relation does not hold, and one member is shown to be wrong.
    Wrong(usize),
    /// The only relation there is does not hold, and would if this member held what speaks for
    /// itself: something was written over it, or parity was not updated when the group wrote it.
    /// Whether what it holds now is text that could have been stored as well.
    Odd(usize, bool),
    /// One member is wrong in a few bytes, all within the sectors of the mask.
    Silent(usize, u8),
    /// A relation does not hold, and nothing shows who is wrong.
    Fails,
}

/// Memory for the sums of one row of blocks.
pub(super) struct Sums {
    p: Vec<u8>,
    q: Vec<u8>,
    /// A member as it would be if it alone were wrong.
    rebuilt: Vec<u8>,
    /// Of the last row in which the only relation there is did not hold: the members that may be
    /// wrong alone, because what they would have to be makes sense. Of parity that is not known.
    pub(super) suspects: Roles,
}

impl Code {
    /// The code of `geometry`, if it has parity and few enough members.
    pub(super) fn of(geometry: &Geometry) -> Option<Self> {
        let (layout, chunk) = match &geometry.level {
            Level::Raid4 { chunk_bytes, .. } => (ParityLayout::Raid4, *chunk_bytes),
            Level::Raid5 {
                layout,
                chunk_bytes,
                delay,
                ..
            } if delay.is_none() => (ParityLayout::Raid5(*layout), *chunk_bytes),
            Level::Raid6 {
                layout,
                chunk_bytes,
                delay,
                ..
            } if delay.is_none() => (ParityLayout::Raid6(*layout), *chunk_bytes),
            _ => return None,
        };
        let members = geometry.members();
        if members > MOST_MEMBERS || geometry.check().is_err() {
            return None;
        }
        let width = u64::from(members.checked_sub(layout.parities())?);
        let rows = geometry.bytes.div_ceil(chunk.checked_mul(width)?);
        Some(Self {
            layout,
            members,
            chunk,
            extent: rows.checked_mul(chunk)?,
            block: if chunk.is_multiple_of(4096) {
                4096
            } else {
                512
            },
        })
    }

    /// The code of `group`, no longer than its members on `devices` are: what a label promises
    /// past that is not there.
    pub(super) fn over(group: &Group, devices: &Devices) -> Option<Self> {
        let mut code = Self::of(&group.geometry)?;
        let lengths = group.members.iter().filter_map(|member| {
            let device = devices.get(member.device.as_ref()?)?;
            let there = device.len().saturating_sub(member.data_offset);
            Some(there.min(member.data_size))
        });
        // Nor does any member hold more than all disks: a volume can be stated to be of any length.
        let disks = devices
            .iter()
            .filter(|(name, _)| name.0.starts_with("disk:"));
        let all = disks.fold(0_u64, |sum, (_, disk)| sum.saturating_add(disk.len()));
        let longest = lengths.max().unwrap_or(0).min(all);
        let block = code.block as u64;
        code.extent = code
            .extent
            .min(longest.div_ceil(block).saturating_mul(block));
        Some(code)
    }

    pub(super) fn members(&self) -> usize {
        self.members as usize
    }

    /// How many members of a row can be missing.
    pub(super) const fn redundancy(&self) -> usize {
        self.layout.parities() as usize
    }

    pub(super) fn sums(&self) -> Sums {
        Sums {
            p: vec![0; self.block],
            q: vec![0; self.block],
            rebuilt: vec![0; self.block],
            suspects: Roles::NONE,
        }
    }

    /// What the members are at `at` of their data areas.
    pub(super) fn row(&self, at: u64) -> Row {
        self.layout.row(at / self.chunk, self.members)
    }

    /// Tests the blocks at `at` of all members; `None` for one that is not there.
    pub(super) fn test(&self, at: u64, blocks: &[Option<&[u8]>], sums: &mut Sums) -> Verdict {
        sums.suspects = Roles::NONE;
        if blocks.iter().flatten().all(|block| is_zero(block)) {
            return Verdict::Zero;
        }
        let absent: Vec<usize> = (0..self.members())
            .filter(|role| blocks.get(*role).is_none_or(Option::is_none))
            .collect();
        let row = self.row(at);
        match (self.redundancy(), absent.as_slice()) {
            (1, []) => {
                self.sum(&row, blocks, sums, false);
                self.one_relation(&row, blocks, sums, |_| 1)
            }
            (2, []) => {
                self.sum(&row, blocks, sums, true);
                self.two_relations(&row, sums)
            }
            (2, [gone]) => {
                self.sum(&row, blocks, sums, true);
                self.one_left(&row, *gone, blocks, sums)
            }
            _ => Verdict::Open,
        }
    }

    /// What is missing of a row that nothing tests says of the rest, once it is made of it.
    pub(super) fn made_of_the_rest(
        &self,
        at: u64,
        blocks: &[Option<&[u8]>],
        sums: &mut Sums,
    ) -> Verdict {
        let is_absent = |role: &usize| blocks.get(*role).is_none_or(Option::is_none);
        let absent: Vec<usize> = (0..self.members()).filter(is_absent).collect();
        let row = self.row(at);
        if absent.len() != self.redundancy() {
            return Verdict::Open;
        }
        let is_data = |role: &usize| *role != row.p && row.q != Some(*role);
        let missing: Vec<usize> = absent.iter().copied().filter(is_data).collect();
        self.sum(&row, blocks, sums, row.q.is_some());
        let made: &[&[u8]] = match missing.as_slice() {
            [_] if !absent.contains(&row.p) => &[&sums.p],
            [x] => {
                parity::recover_by_q(&mut sums.q, row.coefficient(*x));
                &[&sums.q]
            }
            [x, y] => {
                let (x, y) = (row.coefficient(*x), row.coefficient(*y));
                parity::recover_two(&mut sums.p, &mut sums.q, x, y);
                &[&sums.p, &sums.q]
            }
            _ => return Verdict::Open,
        };
        let there = blocks.iter().copied().flatten();
        let is_text = |block: &&[u8]| {
            content::is_text(block) && content::speaks_for_itself(block, there.clone())
        };
        let is_noise = |block: &&[u8]| !content::makes_sense(block, std::iter::empty());
        if made.iter().all(is_noise) {
            Verdict::Unlikely
        } else if made.iter().any(is_text) {
            Verdict::Likely
        } else {
            Verdict::Open
        }
    }

    /// Sums of all that is there: zero where the relations hold.
    fn sum(&self, row: &Row, blocks: &[Option<&[u8]>], sums: &mut Sums, with_q: bool) {
        sums.p.fill(0);
        sums.q.fill(0);
        for (role, block) in blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            if role == row.p {
                parity::xor(&mut sums.p, block);
            } else if row.q == Some(role) {
                parity::xor(&mut sums.q, block);
            } else if with_q {
                parity::subtract(&mut sums.p, &mut sums.q, block, row.coefficient(role));
            } else {
                parity::xor(&mut sums.p, block);
            }
        }
    }

    /// RAID-6 with all members: one that is wrong alone shows itself in every byte, since
    /// Q* / P* is its coefficient (Anvin, "The mathematics of RAID-6", section 4).
    fn two_relations(&self, row: &Row, sums: &Sums) -> Verdict {
        let mut suspects: Vec<usize> = (0..self.members()).collect();
        let mut wrong = 0_usize;
        let mut sectors = 0_u8;
        for (index, (p, q)) in sums.p.iter().zip(&sums.q).enumerate() {
            if *p == 0 && *q == 0 {
                continue;
            }
            wrong = wrong.saturating_add(1);
            sectors |= sector(index);
            suspects.retain(|role| match (*role == row.p, row.q == Some(*role)) {
                (true, _) => *q == 0,
                (_, true) => *p == 0,
                _ => *p != 0 && parity::product(*p, row.coefficient(*role)) == *q,
            });
            if suspects.is_empty() {
                return Verdict::Fails;
            }
        }
        match (wrong, suspects.as_slice()) {
            (0, _) => Verdict::Holds,
            (_, [role]) if wrong <= MOST_SILENT => Verdict::Silent(*role, sectors),
            (_, [role]) => Verdict::Wrong(*role),
            _ => Verdict::Fails,
        }
    }

    /// RAID-6 with one member missing: it is taken out of the relations, which leaves one.
    fn one_left(
        &self,
        row: &Row,
        gone: usize,
        blocks: &[Option<&[u8]>],
        sums: &mut Sums,
    ) -> Verdict {
        let is_q = |role: usize| row.q == Some(role);
        if is_q(gone) {
            // Only P is left, and Q is in no relation.
            return self.one_relation(row, blocks, sums, |_| 1);
        }
        let by = if gone == row.p {
            0
        } else {
            row.coefficient(gone)
        };
        let p = std::mem::take(&mut sums.p);
        parity::subtract_q(&mut sums.q, &p, by);
        sums.p = p;
        std::mem::swap(&mut sums.p, &mut sums.q);
        self.one_relation(row, blocks, sums, |role| {
            if is_q(role) {
                1
            } else if role == row.p {
                by
            } else {
                row.coefficient(role) ^ by
            }
        })
    }

    /// One relation, whose sum is `sums.p`, each member with its factor in it. It does not show
    /// who is wrong; what a member would have to be if it alone were wrong may.
    fn one_relation(
        &self,
        row: &Row,
        blocks: &[Option<&[u8]>],
        sums: &mut Sums,
        factor: impl Fn(usize) -> u8,
    ) -> Verdict {
        if is_zero(&sums.p) {
            return Verdict::Holds;
        }
        let mut sound = Vec::new();
        for (role, block) in blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            let factor = factor(role);
            if factor == 0 {
                continue;
            }
            sums.rebuilt.copy_from_slice(&sums.p);
            parity::recover_by_q(&mut sums.rebuilt, factor);
            parity::xor(&mut sums.rebuilt, block);
            let others = blocks
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != role)
                .filter_map(|(_, block)| *block);
            let is_parity = role == row.p || row.q == Some(role);
            if is_parity || content::makes_sense(&sums.rebuilt, others.clone()) {
                sums.suspects = sums.suspects.with(role);
            }
            if content::speaks_for_itself(&sums.rebuilt, others) {
                sound.push(role);
            }
        }
        match sound.as_slice() {
            [role] => {
                let block = blocks.get(*role).copied().flatten();
                Verdict::Odd(*role, block.is_some_and(content::is_text))
            }
            _ => Verdict::Fails,
        }
    }
}

/// The bit of the sector that a byte of a block lies in.
fn sector(index: usize) -> u8 {
    u32::try_from(index / 512)
        .ok()
        .and_then(|shift| 1_u8.checked_shl(shift))
        .unwrap_or(0x80)
}

/// Whether all of `bytes` are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|part| ZEROS.get(..part.len()) == Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::Raid5Layout;

    #[test]
    fn what_is_missing_says_whether_zeros_beside_it_were_stored() {
        let level = Level::Raid5 {
            layout: Raid5Layout::LeftSymmetric,
            chunk_bytes: 4096,
            members: 4,
            delay: crate::raid::ParityDelay::NONE,
        };
        let code = Code::of(&Geometry::filling(level, 64 << 10).unwrap()).unwrap();
        let text = |line: &str| -> Vec<u8> { line.bytes().cycle().take(4096).collect() };
        let (one, other) = (text("a line of mail\r\n"), text("AND ANOTHER ONE.\n"));
        let zeros = vec![0; 4096];
        let sum = |blocks: [&[u8]; 3]| {
            let mut sum = zeros.clone();
            for block in blocks {
                parity::xor(&mut sum, block);
            }
            sum
        };
        let verdict = |blocks: [&[u8]; 3]| {
            let [a, b, c] = blocks.map(Some);
            code.made_of_the_rest(0, &[None, a, b, c], &mut code.sums())
        };
        // The zeros were stored: what is missing is text.
        assert_eq!(
            verdict([&zeros, &other, &sum([&one, &zeros, &other])]),
            Verdict::Likely
        );
        // Text was there: what would be missing is the sum of two.
        let binary: Vec<u8> = one
            .iter()
            .map(|byte| byte.wrapping_mul(37) | 0x80)
            .collect();
        let parity = sum([&one, &binary, &other]);
        assert_eq!(verdict([&zeros, &other, &parity]), Verdict::Unlikely);
        // A copy of the only block that is not zero says nothing.
        assert_eq!(verdict([&zeros, &zeros, &one]), Verdict::Open);
    }
}
