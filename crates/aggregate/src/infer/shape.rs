//! Levels and layouts without chunk and devices: who holds what in a row.

use crate::raid::{Level, ParityDelay, ParityLayout, Raid0Layout, Raid5Layout, Raid6Layout};

/// A level and layout, and how many members there are with those of parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    Raid0(u32),
    Raid5(Raid5Layout, u32),
    Raid6(Raid6Layout, u32),
}

/// What the members of a row hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holders {
    /// The members that hold data, in the order of the data.
    pub(super) data: Vec<usize>,
    /// What Q multiplies each of these with.
    pub(super) factors: Vec<u8>,
    pub(super) p: Option<usize>,
    pub(super) q: Option<usize>,
}

impl Shape {
    /// All shapes of which `present` members may be there.
    pub(super) fn all(present: u32) -> Vec<Self> {
        let mut shapes = vec![Self::Raid0(present)];
        for members in present..=present.saturating_add(1) {
            if members >= 3 {
                shapes.extend(Raid5Layout::ALL.map(|layout| Self::Raid5(layout, members)));
            }
        }
        for members in present..=present.saturating_add(2) {
            if members >= 4 {
                shapes.extend(Raid6Layout::ALL.map(|layout| Self::Raid6(layout, members)));
            }
        }
        shapes
    }

    pub(super) const fn members(self) -> u32 {
        match self {
            Self::Raid0(members) | Self::Raid5(_, members) | Self::Raid6(_, members) => members,
        }
    }

    /// How many members a row needs no data of.
    pub(super) const fn parities(self) -> u32 {
        match self {
            Self::Raid0(_) => 0,
            Self::Raid5(..) => 1,
            Self::Raid6(..) => 2,
        }
    }

    /// How many members of a row hold data.
    pub(super) const fn width(self) -> u64 {
        self.members().saturating_sub(self.parities()) as u64
    }

    /// What the members of row number `row` hold.
    pub(super) fn row(self, row: u64) -> Holders {
        let (layout, members) = match self {
            Self::Raid0(members) => {
                return Holders {
                    data: (0..members)
                        .filter_map(|m| usize::try_from(m).ok())
                        .collect(),
                    factors: Vec::new(),
                    p: None,
                    q: None,
                };
            }
            Self::Raid5(layout, members) => (ParityLayout::Raid5(layout), members),
            Self::Raid6(layout, members) => (ParityLayout::Raid6(layout), members),
        };
        let row = layout.row(row, members);
        let data: Vec<usize> = (0..self.width()).map(|number| row.data(number)).collect();
        let factors = match row.q {
            Some(_) => data.iter().map(|member| row.coefficient(*member)).collect(),
            None => Vec::new(),
        };
        Holders {
            data,
            factors,
            p: Some(row.p),
            q: row.q,
        }
    }

    /// After how many rows the layout begins anew.
    pub(super) const fn period(self) -> u64 {
        use Raid6Layout::{
            LeftAsymmetric6, LeftSymmetric6, ParityFirst6, RightAsymmetric6, RightSymmetric6,
        };
        let members = self.members() as u64;
        match self {
            Self::Raid0(_)
            | Self::Raid5(Raid5Layout::ParityFirst | Raid5Layout::ParityLast, _)
            | Self::Raid6(Raid6Layout::ParityFirst | Raid6Layout::ParityLast | ParityFirst6, _) => {
                1
            }
            // Q does not move.
            Self::Raid6(
                LeftAsymmetric6 | RightAsymmetric6 | LeftSymmetric6 | RightSymmetric6,
                _,
            ) => members.saturating_sub(1),
            Self::Raid5(..) | Self::Raid6(..) => members,
        }
    }

    /// The level that a document states.
    pub(super) fn level(self, chunk_bytes: u64, member_bytes: &[u64]) -> Level {
        match self {
            Self::Raid0(_) => Level::Raid0 {
                layout: Raid0Layout::default(),
                chunk_bytes,
                member_bytes: member_bytes.to_vec(),
            },
            // The same thing has two names, and this is the commoner one.
            Self::Raid5(Raid5Layout::ParityLast, members) => Level::Raid4 {
                chunk_bytes,
                members,
            },
            Self::Raid5(layout, members) => Level::Raid5 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            },
            Self::Raid6(layout, members) => Level::Raid6 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            },
        }
    }

    /// Its name for a person.
    pub(super) fn name(self) -> String {
        match self {
            Self::Raid0(_) => "RAID-0".to_owned(),
            Self::Raid5(Raid5Layout::ParityLast, _) => "RAID-4".to_owned(),
            Self::Raid5(layout, _) => format!("RAID-5 {}", word(&layout)),
            Self::Raid6(layout, _) => format!("RAID-6 {}", word(&layout)),
        }
    }
}

/// A layout's name as `aggregate.json` writes it.
fn word(layout: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(layout).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_those_of_the_rotation() {
        for shape in (3..9).flat_map(Shape::all) {
            let members = u64::from(shape.members());
            let repeats =
                |period: &u64| (0..members).all(|row| shape.row(row) == shape.row(row + *period));
            let period = (1..=members).find(repeats);
            assert_eq!(Some(shape.period()), period, "{shape:?}");
        }
    }
}
