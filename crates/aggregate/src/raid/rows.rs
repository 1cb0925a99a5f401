//! The rows of a group with parity: which chunk of the group lies in which row, and what each
//! member is there.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::parity_layout::{ParityLayout, Row};
use super::table::{Table, TableRow};

/// For how many rows parity stays on its member before it moves to the next one.
///
/// md moves it after every row. Smart Array controllers let it stay (16 rows, often); the first
/// stay may be of another length. Data is counted in each row as the layout says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParityDelay {
    /// Rows from one move of parity to the next.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parity_delay: NonZeroU32,
    /// Rows before the first move; as many as between two moves, if it is not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_delay: Option<NonZeroU32>,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_one(rows: &NonZeroU32) -> bool {
    rows.get() == 1
}

impl ParityDelay {
    /// Parity moves after every row.
    pub const NONE: Self = Self {
        parity_delay: one(),
        first_delay: None,
    };

    /// Whether parity moves after every row.
    pub fn is_none(self) -> bool {
        self.parity_delay == one() && self.first_delay.is_none_or(|first| first == one())
    }

    /// How often parity has moved before `row`: the row of the layout without a delay.
    fn turn(self, row: u64) -> u64 {
        let delay = u64::from(self.parity_delay.get());
        let first = self.first_delay.unwrap_or(self.parity_delay);
        row.checked_sub(u64::from(first.get()))
            .map_or(0, |later| 1 + later / delay)
    }
}

impl Default for ParityDelay {
    fn default() -> Self {
        Self::NONE
    }
}

/// All rows of a group.
pub(super) enum Rows {
    /// A layout that repeats by its own rule.
    Turning {
        layout: ParityLayout,
        delay: ParityDelay,
        /// How many members the layout goes over.
        members: u32,
        /// Chunks of data in a row.
        width: u64,
    },
    /// Rows that are listed.
    Table(Table),
}

/// One row of a group.
#[derive(Clone, Copy)]
pub(super) enum RowView<'a> {
    /// By a layout, with so many chunks of data.
    Turning(Row, u64),
    Table(&'a TableRow),
}

impl Rows {
    /// The rows of `layout` over so many members, more than it has parities.
    pub(super) fn turning(layout: ParityLayout, delay: ParityDelay, members: u32) -> Self {
        Self::Turning {
            layout,
            delay,
            members,
            width: u64::from(members.saturating_sub(layout.parities())).max(1),
        }
    }

    /// The row that holds chunk `number` of the group, and its place among the row's data.
    pub(super) fn place(&self, number: u64) -> (u64, u64) {
        match self {
            Self::Turning { width, .. } => (number / width, number % width),
            Self::Table(table) => table.place(number),
        }
    }

    /// The number of the chunk at `place` among the data of `row`.
    pub(super) fn number(&self, row: u64, place: u64) -> u64 {
        match self {
            Self::Turning { width, .. } => row * width + place,
            Self::Table(table) => table.number(row, place),
        }
    }

    /// What the members are in `row`.
    pub(super) fn row(&self, row: u64) -> RowView<'_> {
        match self {
            Self::Turning {
                layout,
                delay,
                members,
                width,
            } => RowView::Turning(layout.row(delay.turn(row), *members), *width),
            Self::Table(table) => RowView::Table(table.row(row)),
        }
    }
}

impl RowView<'_> {
    /// Chunks of data in the row.
    pub(super) const fn width(&self) -> u64 {
        match self {
            Self::Turning(_, width) => *width,
            Self::Table(row) => row.data.len() as u64,
        }
    }

    /// The member that holds P.
    pub(super) const fn p(&self) -> Option<usize> {
        match self {
            Self::Turning(row, _) => Some(row.p),
            Self::Table(row) => row.p,
        }
    }

    /// The member that holds Q.
    pub(super) const fn q(&self) -> Option<usize> {
        match self {
            Self::Turning(row, _) => row.q,
            Self::Table(row) => row.q,
        }
    }

    /// How many members hold parity in the row.
    pub(super) fn parities(&self) -> usize {
        usize::from(self.p().is_some()) + usize::from(self.q().is_some())
    }

    /// The member that holds the data at `place` of the row.
    pub(super) fn data(&self, place: u64) -> usize {
        match self {
            Self::Turning(row, _) => row.data(place),
            Self::Table(row) => row.cell(place).map_or(usize::MAX, |cell| cell.member),
        }
    }

    /// What Q multiplies the data at `place` of the row with.
    pub(super) fn coefficient(&self, place: u64) -> u8 {
        match self {
            Self::Turning(row, _) => row.coefficient(row.data(place)),
            Self::Table(row) => row.cell(place).map_or(0, |cell| cell.coefficient),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(parity_delay: u32, first_delay: Option<u32>) -> ParityDelay {
        ParityDelay {
            parity_delay: NonZeroU32::new(parity_delay).unwrap(),
            first_delay: first_delay.and_then(NonZeroU32::new),
        }
    }

    #[test]
    fn parity_stays_for_the_delay_and_the_first_stay_may_differ() {
        let turns = |delay: ParityDelay| (0..8).map(|row| delay.turn(row)).collect::<Vec<_>>();
        assert_eq!(turns(ParityDelay::NONE), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(turns(delay(3, None)), [0, 0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(turns(delay(3, Some(1))), [0, 1, 1, 1, 2, 2, 2, 3]);
        assert_eq!(turns(delay(1, Some(5))), [0, 0, 0, 0, 0, 1, 2, 3]);
        assert!(delay(1, Some(1)).is_none() && !delay(1, Some(2)).is_none());
    }
}
