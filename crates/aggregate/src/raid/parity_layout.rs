//! Where parity and data lie in the rows of RAID-4, RAID-5 and RAID-6 groups.
//!
//! Layouts are those of Linux md (`drivers/md/raid5.h`, `ALGORITHM_*`, with mdadm's names),
//! which hardware controllers and DDF use as well.

use serde::{Deserialize, Serialize};

use super::parity;

/// Where parity and data lie in the rows of a RAID-5 group, by the names of mdadm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Raid5Layout {
    /// Parity moves from the last member to the first, data from the first member on.
    LeftAsymmetric,
    /// Parity moves from the first member to the last, data from the first member on.
    RightAsymmetric,
    /// Parity moves from the last member to the first, data from the one after parity on.
    LeftSymmetric,
    /// Parity moves from the first member to the last, data from the one after parity on.
    RightSymmetric,
    /// Parity on the first member.
    ParityFirst,
    /// Parity on the last member.
    ParityLast,
}

/// Where P, Q and data lie in the rows of a RAID-6 group, by the names of mdadm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Raid6Layout {
    /// P moves from the last member to the first, Q after it, data from the first member on.
    LeftAsymmetric,
    /// P moves from the first member to the last, Q after it, data from the first member on.
    RightAsymmetric,
    /// P moves from the last member to the first, Q after it, data from the one after Q on.
    LeftSymmetric,
    /// P moves from the first member to the last, Q after it, data from the one after Q on.
    RightSymmetric,
    /// P and Q on the first two members.
    ParityFirst,
    /// P and Q on the last two members.
    ParityLast,
    /// The rotation of `RightAsymmetric`, with Q counting all members as DDF does.
    DdfZeroRestart,
    /// The rotation of `LeftAsymmetric` one row on, with Q counting all members as DDF does.
    DdfNRestart,
    /// As `LeftSymmetric` with Q before P, and Q counting all members as DDF does.
    DdfNContinue,
    /// RAID-5 `LeftAsymmetric` on all members but the last, which holds Q.
    #[serde(rename = "left-asymmetric-6")]
    LeftAsymmetric6,
    /// RAID-5 `RightAsymmetric` on all members but the last, which holds Q.
    #[serde(rename = "right-asymmetric-6")]
    RightAsymmetric6,
    /// RAID-5 `LeftSymmetric` on all members but the last, which holds Q.
    #[serde(rename = "left-symmetric-6")]
    LeftSymmetric6,
    /// RAID-5 `RightSymmetric` on all members but the last, which holds Q.
    #[serde(rename = "right-symmetric-6")]
    RightSymmetric6,
    /// RAID-5 `ParityFirst` on all members but the last, which holds Q.
    #[serde(rename = "parity-first-6")]
    ParityFirst6,
}

impl Raid5Layout {
    /// All layouts, in the order of md's numbers.
    pub const ALL: [Self; 6] = [
        Self::LeftAsymmetric,
        Self::RightAsymmetric,
        Self::LeftSymmetric,
        Self::RightSymmetric,
        Self::ParityFirst,
        Self::ParityLast,
    ];

    /// The number that md's labels give this layout.
    pub const fn number(self) -> u32 {
        match self {
            Self::LeftAsymmetric => 0,
            Self::RightAsymmetric => 1,
            Self::LeftSymmetric => 2,
            Self::RightSymmetric => 3,
            Self::ParityFirst => 4,
            Self::ParityLast => 5,
        }
    }

    /// The layout with this number in md's labels.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|layout| layout.number() == number)
    }

    /// The member that holds parity in `row` of `members`, and where data is counted from.
    const fn place(self, row: u64, members: u64) -> (u64, Order) {
        let turn = row % members;
        let last = members - 1;
        match self {
            Self::LeftAsymmetric => (last - turn, Order::Ascending),
            Self::RightAsymmetric => (turn, Order::Ascending),
            Self::LeftSymmetric => (last - turn, Order::After),
            Self::RightSymmetric => (turn, Order::After),
            Self::ParityFirst => (0, Order::Ascending),
            Self::ParityLast => (last, Order::Ascending),
        }
    }
}

impl Raid6Layout {
    /// All layouts, in the order of md's numbers.
    pub const ALL: [Self; 14] = [
        Self::LeftAsymmetric,
        Self::RightAsymmetric,
        Self::LeftSymmetric,
        Self::RightSymmetric,
        Self::ParityFirst,
        Self::ParityLast,
        Self::DdfZeroRestart,
        Self::DdfNRestart,
        Self::DdfNContinue,
        Self::LeftAsymmetric6,
        Self::RightAsymmetric6,
        Self::LeftSymmetric6,
        Self::RightSymmetric6,
        Self::ParityFirst6,
    ];

    /// The number that md's labels give this layout.
    pub const fn number(self) -> u32 {
        match self {
            Self::LeftAsymmetric => 0,
            Self::RightAsymmetric => 1,
            Self::LeftSymmetric => 2,
            Self::RightSymmetric => 3,
            Self::ParityFirst => 4,
            Self::ParityLast => 5,
            Self::DdfZeroRestart => 8,
            Self::DdfNRestart => 9,
            Self::DdfNContinue => 10,
            Self::LeftAsymmetric6 => 16,
            Self::RightAsymmetric6 => 17,
            Self::LeftSymmetric6 => 18,
            Self::RightSymmetric6 => 19,
            Self::ParityFirst6 => 20,
        }
    }

    /// The layout with this number in md's labels.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|layout| layout.number() == number)
    }

    /// The RAID-5 layout that the members but the last have, where the last holds Q.
    const fn with_q_last(self) -> Option<Raid5Layout> {
        match self {
            Self::LeftAsymmetric6 => Some(Raid5Layout::LeftAsymmetric),
            Self::RightAsymmetric6 => Some(Raid5Layout::RightAsymmetric),
            Self::LeftSymmetric6 => Some(Raid5Layout::LeftSymmetric),
            Self::RightSymmetric6 => Some(Raid5Layout::RightSymmetric),
            Self::ParityFirst6 => Some(Raid5Layout::ParityFirst),
            _ => None,
        }
    }

    /// The members that hold P and Q in `row` of `members`, and where data is counted from.
    const fn place(self, row: u64, members: u64) -> (u64, u64, Order) {
        if let Some(layout) = self.with_q_last() {
            let (p, order) = layout.place(row, members - 1);
            return (p, members - 1, order);
        }
        let turn = row % members;
        let last = members - 1;
        let left = last - turn;
        match self {
            Self::RightAsymmetric | Self::DdfZeroRestart => {
                (turn, (turn + 1) % members, Order::Ascending)
            }
            Self::LeftSymmetric => (left, (left + 1) % members, Order::After),
            Self::RightSymmetric => (turn, (turn + 1) % members, Order::After),
            Self::ParityFirst => (0, 1, Order::Ascending),
            Self::ParityLast => (last - 1, last, Order::Ascending),
            Self::DdfNRestart => {
                let left = last - (turn + 1) % members;
                (left, (left + 1) % members, Order::Ascending)
            }
            Self::DdfNContinue => (left, (left + last) % members, Order::After),
            _ => (left, (left + 1) % members, Order::Ascending),
        }
    }

    /// Whether Q counts all members and not the data alone.
    const fn counts_all(self) -> bool {
        matches!(
            self,
            Self::DdfZeroRestart | Self::DdfNRestart | Self::DdfNContinue
        )
    }
}

/// In what order the data of a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// From the first member on, past the parity.
    Ascending,
    /// From the member after the parity on, around.
    After,
}

/// A level with parity and its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParityLayout {
    Raid4,
    Raid5(Raid5Layout),
    Raid6(Raid6Layout),
}

/// What each member is in one row. Members are numbered by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    members: u64,
    /// The member that holds P.
    pub(crate) p: usize,
    /// The member that holds Q.
    pub(crate) q: Option<usize>,
    /// The member that data is counted from, and after how many it goes around.
    around: Option<(u64, u64)>,
    counts_all: bool,
}

impl ParityLayout {
    /// How many members of a row hold no data.
    pub(crate) const fn parities(self) -> u32 {
        match self {
            Self::Raid4 | Self::Raid5(_) => 1,
            Self::Raid6(_) => 2,
        }
    }

    /// What the members are in row number `row`; there are at least as many as parities + 1.
    pub(crate) fn row(self, row: u64, members: u32) -> Row {
        let members = u64::from(members);
        let (p, q, order, counts_all) = match self {
            Self::Raid4 => (members - 1, None, Order::Ascending, false),
            Self::Raid5(layout) => {
                let (p, order) = layout.place(row, members);
                (p, None, order, false)
            }
            Self::Raid6(layout) => {
                let (p, q, order) = layout.place(row, members);
                (p, Some(q), order, layout.counts_all())
            }
        };
        let around = (order == Order::After).then(|| match (self, q) {
            // Q lies behind P, or is no part of the rotation.
            (Self::Raid6(layout), _) if layout.with_q_last().is_some() => (p + 1, members - 1),
            (_, Some(q)) if q == (p + 1) % members => (p + 2, members),
            _ => (p + 1, members),
        });
        Row {
            members,
            p: index(p),
            q: q.map(index),
            around,
            counts_all,
        }
    }
}

impl Row {
    /// The member that holds the data chunk `number` of this row.
    pub(crate) fn data(&self, number: u64) -> usize {
        if let Some((start, members)) = self.around {
            return index((start + number) % members);
        }
        let q = self.q.unwrap_or(usize::MAX);
        let mut member = index(number);
        member += usize::from(member >= self.p.min(q));
        member += usize::from(member >= self.p.max(q));
        member
    }

    /// What Q multiplies the data of `member` with.
    ///
    /// Linux counts the data members from the one after Q on; DDF counts all members from the
    /// first on, with zeros for P and Q.
    pub(crate) fn coefficient(&self, member: usize) -> u8 {
        let member = member as u64;
        let exponent = match self.q {
            Some(q) if !self.counts_all => {
                let behind_q =
                    |m: u64| (m + self.members - (q as u64 + 1) % self.members) % self.members;
                let place = behind_q(member);
                place - u64::from(behind_q(self.p as u64) < place)
            }
            _ => member,
        };
        parity::coefficient(u32::try_from(exponent).unwrap_or(0))
    }
}

/// A member's number as an index; groups have far fewer members than `usize` has values.
fn index(member: u64) -> usize {
    usize::try_from(member).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(layout: ParityLayout, members: u32, rows: u64) -> Vec<String> {
        (0..rows)
            .map(|number| {
                let row = layout.row(number, members);
                let mut names = vec!["?".to_owned(); members as usize];
                names[row.p] = "P".into();
                if let Some(q) = row.q {
                    names[q] = "Q".into();
                }
                for i in 0..u64::from(members - layout.parities()) {
                    names[row.data(i)] = i.to_string();
                }
                names.concat()
            })
            .collect()
    }

    #[test]
    fn raid5_rows_are_those_that_mdadm_documents() {
        let draw = |layout| drawn(ParityLayout::Raid5(layout), 4, 4);
        assert_eq!(
            draw(Raid5Layout::LeftAsymmetric),
            ["012P", "01P2", "0P12", "P012"]
        );
        assert_eq!(
            draw(Raid5Layout::RightAsymmetric),
            ["P012", "0P12", "01P2", "012P"]
        );
        assert_eq!(
            draw(Raid5Layout::LeftSymmetric),
            ["012P", "12P0", "2P01", "P012"]
        );
        assert_eq!(
            draw(Raid5Layout::RightSymmetric),
            ["P012", "2P01", "12P0", "012P"]
        );
        assert_eq!(draw(Raid5Layout::ParityFirst), ["P012"; 4]);
        assert_eq!(draw(Raid5Layout::ParityLast), ["012P"; 4]);
    }

    #[test]
    fn raid6_rows_are_those_of_the_kernel() {
        let draw = |layout| drawn(ParityLayout::Raid6(layout), 5, 3);
        assert_eq!(
            draw(Raid6Layout::LeftAsymmetric),
            ["Q012P", "012PQ", "01PQ2"]
        );
        assert_eq!(
            draw(Raid6Layout::LeftSymmetric),
            ["Q012P", "012PQ", "12PQ0"]
        );
        assert_eq!(draw(Raid6Layout::DdfNRestart), ["012PQ", "01PQ2", "0PQ12"]);
        assert_eq!(draw(Raid6Layout::DdfNContinue), ["012QP", "12QP0", "2QP01"]);
        assert_eq!(
            draw(Raid6Layout::LeftSymmetric6),
            ["012PQ", "12P0Q", "2P01Q"]
        );
    }

    #[test]
    fn every_row_uses_every_member_once_and_every_coefficient_is_different() {
        for layout in Raid6Layout::ALL {
            for members in 4..20 {
                for number in 0..40 {
                    let row = ParityLayout::Raid6(layout).row(number, members);
                    let mut seen = vec![row.p, row.q.unwrap()];
                    let mut factors = Vec::new();
                    for i in 0..u64::from(members - 2) {
                        seen.push(row.data(i));
                        factors.push(row.coefficient(row.data(i)));
                    }
                    seen.sort_unstable();
                    assert_eq!(
                        seen,
                        (0..members as usize).collect::<Vec<_>>(),
                        "{layout:?}"
                    );
                    factors.sort_unstable();
                    factors.dedup();
                    assert_eq!(factors.len(), members as usize - 2, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn layouts_have_the_numbers_of_md() {
        for layout in Raid5Layout::ALL {
            assert_eq!(Raid5Layout::from_number(layout.number()), Some(layout));
        }
        for layout in Raid6Layout::ALL {
            assert_eq!(Raid6Layout::from_number(layout.number()), Some(layout));
        }
        assert_eq!(Raid5Layout::from_number(8), None);
        assert_eq!(
            Raid6Layout::from_number(10),
            Some(Raid6Layout::DdfNContinue)
        );
    }
}
