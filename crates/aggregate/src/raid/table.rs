//! Rows that are listed one by one: for layouts that have no name.

use serde::{Deserialize, Serialize};

use super::{GeometryError, MAX_MEMBERS, MAX_RAID6_MEMBERS, parity};

/// Most cells that a table may have: rows times members.
const MAX_CELLS: usize = 1 << 20;

/// What one member holds in one row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// The data chunk of this number, counted from 0 over the whole table.
    Data(u32),
    /// Something else.
    Other(OtherCell),
}

/// What a member holds in a row that is no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherCell {
    /// The XOR of the row's data.
    P,
    /// The sum of the row's data, each multiplied with its coefficient in GF(2^8).
    Q,
    /// Nothing of the group.
    Unused,
}

/// What Q multiplies each data chunk of its row with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QRule {
    /// Powers of 2, counting the row's data from the member after Q on, around.
    #[default]
    Md,
    /// Powers of 2 by the number of the member, from 0.
    Ddf,
    /// These, by the number of the data chunk in the table.
    Coefficients(Vec<u8>),
}

/// A table that was checked, for looking up.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<TableRow>,
    /// The row and the place in it of each data chunk of the table.
    places: Vec<(usize, usize)>,
}

/// A row of a table.
#[derive(Debug, Default)]
pub(super) struct TableRow {
    pub(super) p: Option<usize>,
    pub(super) q: Option<usize>,
    /// The data of the row, by member.
    pub(super) data: Vec<DataCell>,
}

/// A data chunk in a row of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataCell {
    pub(super) member: usize,
    /// The number of the chunk in the table.
    number: usize,
    pub(super) coefficient: u8,
}

const fn wrong(row: usize, what: &'static str) -> GeometryError {
    GeometryError::Table { row, what }
}

impl Table {
    /// Checks the rows of a statement.
    pub(super) fn new(rows: &[Vec<Cell>], rule: &QRule) -> Result<Self, GeometryError> {
        let members = rows.first().map_or(0, Vec::len);
        if members == 0 || members > MAX_MEMBERS as usize {
            return Err(wrong(0, "a row has 1 to 1920 members"));
        }
        if rows.len().saturating_mul(members) > MAX_CELLS {
            return Err(wrong(0, "the table has more than 1048576 cells"));
        }
        let mut table = Self {
            rows: Vec::with_capacity(rows.len()),
            places: Vec::new(),
        };
        let mut numbers = Vec::new();
        for (number, cells) in rows.iter().enumerate() {
            if cells.len() != members {
                return Err(wrong(number, "it has another number of members than row 0"));
            }
            let row = TableRow::new(number, cells, rule)?;
            numbers.extend(
                (0..)
                    .zip(&row.data)
                    .map(|(place, cell)| (cell.number, number, place)),
            );
            table.rows.push(row);
        }
        numbers.sort_unstable();
        for (expected, (number, row, place)) in numbers.into_iter().enumerate() {
            if number != expected {
                return Err(wrong(
                    row,
                    "data chunks are numbered from 0 over the table, each number once",
                ));
            }
            table.places.push((row, place));
        }
        if table.places.is_empty() {
            return Err(wrong(0, "no row of the table holds data"));
        }
        Ok(table)
    }

    /// How many rows there are before the table repeats; not zero.
    pub(super) const fn period(&self) -> u64 {
        self.rows.len() as u64
    }

    /// How many data chunks there are before the table repeats; not zero.
    const fn chunks(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn place(&self, number: u64) -> (u64, u64) {
        let (turn, index) = (number / self.chunks(), number % self.chunks());
        let place = usize::try_from(index).ok().and_then(|i| self.places.get(i));
        let (row, place) = place.copied().unwrap_or_default();
        (turn * self.period() + row as u64, place as u64)
    }

    pub(super) fn number(&self, row: u64, place: u64) -> u64 {
        let inside = self
            .row(row)
            .cell(place)
            .map_or(0, |cell| cell.number as u64);
        row / self.period() * self.chunks() + inside
    }

    pub(super) fn row(&self, row: u64) -> &TableRow {
        const NOTHING: &TableRow = &TableRow {
            p: None,
            q: None,
            data: Vec::new(),
        };
        let index = usize::try_from(row % self.period()).ok();
        index.and_then(|i| self.rows.get(i)).unwrap_or(NOTHING)
    }

    /// How many data chunks, from the first on without a break, lie in the first `rows` rows.
    pub(super) fn chunks_in(&self, rows: u64) -> u64 {
        let rest = rows % self.period();
        let inside = self
            .places
            .iter()
            .take_while(|(row, _)| (*row as u64) < rest);
        (rows / self.period()).saturating_mul(self.chunks()) + inside.count() as u64
    }

    /// How many members may be missing, whichever they are.
    pub(super) fn redundancy(&self) -> u32 {
        let with_data = self.rows.iter().filter(|row| !row.data.is_empty());
        let least = with_data.map(TableRow::parities).min();
        u32::try_from(least.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether all data can be had of the members that are present.
    pub(super) fn survives(&self, is_present: impl Fn(usize) -> bool) -> bool {
        self.rows.iter().all(|row| {
            let lost = row.data.iter().filter(|cell| !is_present(cell.member));
            let parities = row.p.iter().chain(&row.q);
            lost.count() <= parities.filter(|member| is_present(**member)).count()
        })
    }
}

impl TableRow {
    fn new(number: usize, cells: &[Cell], rule: &QRule) -> Result<Self, GeometryError> {
        let mut row = Self::default();
        for (member, cell) in cells.iter().enumerate() {
            let parity = match cell {
                Cell::Data(number) => {
                    row.data.push(DataCell {
                        member,
                        number: usize::try_from(*number).unwrap_or(usize::MAX),
                        coefficient: 0,
                    });
                    continue;
                }
                Cell::Other(OtherCell::P) => &mut row.p,
                Cell::Other(OtherCell::Q) => &mut row.q,
                Cell::Other(OtherCell::Unused) => continue,
            };
            if parity.replace(member).is_some() {
                return Err(wrong(number, "it has P or Q twice"));
            }
        }
        if let Some(q) = row.q {
            row.count_for_q(number, q, rule)?;
        }
        Ok(row)
    }

    /// Gives the data of a row with Q its coefficients.
    fn count_for_q(&mut self, number: usize, q: usize, rule: &QRule) -> Result<(), GeometryError> {
        let before = self.data.partition_point(|cell| cell.member < q);
        let count = self.data.len();
        for (index, cell) in self.data.iter_mut().enumerate() {
            let exponent = match rule {
                QRule::Md => (index + count - before) % count,
                QRule::Ddf => cell.member,
                QRule::Coefficients(all) => {
                    cell.coefficient = all.get(cell.number).copied().unwrap_or(0);
                    continue;
                }
            };
            if exponent >= MAX_RAID6_MEMBERS as usize {
                return Err(wrong(number, "Q cannot tell more than 255 members apart"));
            }
            cell.coefficient = parity::coefficient(u32::try_from(exponent).unwrap_or(0));
        }
        let mut all: Vec<u8> = self.data.iter().map(|cell| cell.coefficient).collect();
        all.sort_unstable();
        all.dedup();
        if all.len() < count || all.contains(&0) {
            return Err(wrong(
                number,
                "Q needs a coefficient for each data chunk, not zero and different from the row's others",
            ));
        }
        Ok(())
    }

    fn parities(&self) -> usize {
        usize::from(self.p.is_some()) + usize::from(self.q.is_some())
    }

    pub(super) fn cell(&self, place: u64) -> Option<&DataCell> {
        self.data.get(usize::try_from(place).ok()?)
    }
}
