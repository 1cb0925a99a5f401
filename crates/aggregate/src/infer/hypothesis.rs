//! A geometry that may be a group's, and what it says of each place on the devices.

use super::shape::{Holders, Shape};

/// A geometry for some devices. Where in it the group begins is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hypothesis {
    pub(super) shape: Shape,
    /// In bytes.
    pub(super) chunk: u64,
    /// Where on the devices a row of number 0 lies: the first such place.
    pub(super) row_0: u64,
    /// The device of each role.
    pub(super) roles: Vec<Option<usize>>,
}

/// What a device holds in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The data chunk of this number.
    Data(u64),
    P,
    Q,
}

impl Part {
    pub(super) const fn is_parity(self) -> bool {
        matches!(self, Self::P | Self::Q)
    }
}

/// What a place on a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the row, counted from the one at `row_0`.
    pub(super) row: i64,
    pub(super) part: Part,
    /// Where in the chunk, in bytes.
    pub(super) column: u64,
}

/// A member as it shows in what a hypothesis claims: a device, or one of those missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Holder {
    Device(usize),
    Missing(usize),
}

/// What a row claims: who holds which data, who holds P, and who holds Q with its factors.
/// Parity that is missing claims nothing.
type RowClaims = (
    Vec<Holder>,
    Option<usize>,
    Option<(usize, Vec<(Holder, u8)>)>,
);

/// All that a hypothesis claims: two of equal claims are one answer in two notations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claims {
    chunk: u64,
    edge: u64,
    rows: Vec<RowClaims>,
}

impl Hypothesis {
    /// One whose row of number `turn` lies at `at`.
    pub(super) fn new(
        shape: Shape,
        chunk: u64,
        at: i64,
        turn: u64,
        roles: Vec<Option<usize>>,
    ) -> Option<Self> {
        let chunk = chunk.max(1);
        let back = i64::try_from(turn.checked_mul(chunk)?).ok()?;
        let span = i64::try_from(shape.period().checked_mul(chunk)?).ok()?;
        let row_0 = at.checked_sub(back)?.checked_rem_euclid(span)?;
        Some(Self {
            shape,
            chunk,
            row_0: u64::try_from(row_0).ok()?,
            roles,
        })
    }

    /// The device of a role.
    pub(super) fn device(&self, role: usize) -> Option<usize> {
        self.roles.get(role).copied().flatten()
    }

    /// The devices that are there.
    pub(super) fn devices(&self) -> impl Iterator<Item = usize> {
        self.roles.iter().flatten().copied()
    }

    /// How many members are missing.
    pub(super) fn missing(&self) -> u32 {
        let missing = self.roles.iter().filter(|role| role.is_none()).count();
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    /// The number of the row that `at` lies in, counted from `row_0`, and where in the chunk.
    fn row_of(&self, at: u64) -> Option<(i64, u64)> {
        let inside = i64::try_from(at)
            .ok()?
            .checked_sub(i64::try_from(self.row_0).ok()?)?;
        let chunk = i64::try_from(self.chunk).ok()?;
        let column = u64::try_from(inside.checked_rem_euclid(chunk)?).ok()?;
        Some((inside.checked_div_euclid(chunk)?, column))
    }

    /// What all devices hold, row by row, for as many rows as the layout repeats after.
    pub(super) fn map(&self) -> Map<'_> {
        let rows = (0..self.shape.period()).map(|row| self.shape.row(row));
        let rows: Vec<Holders> = rows.collect();
        let count = self.devices().max().map_or(0, |most| most + 1);
        let parts = rows.iter().map(|holders| {
            let mut parts = vec![None; count];
            let data = (0..).zip(&holders.data);
            let data = data.map(|(number, role)| (Some(*role), Part::Data(number)));
            let parity = [(holders.p, Part::P), (holders.q, Part::Q)];
            for (role, part) in data.chain(parity) {
                let device = role.and_then(|role| self.device(role));
                if let Some(own) = device.and_then(|device| parts.get_mut(device)) {
                    *own = Some(part);
                }
            }
            parts
        });
        Map {
            parts: parts.collect(),
            rows,
            hypothesis: self,
        }
    }

    /// What it claims.
    pub(super) fn claims(&self) -> Claims {
        let mut missing: Vec<usize> = Vec::new();
        let mut holder = |role: usize| match self.device(role) {
            Some(device) => Holder::Device(device),
            None => {
                let known = missing.iter().position(|other| *other == role);
                Holder::Missing(known.unwrap_or_else(|| {
                    missing.push(role);
                    missing.len() - 1
                }))
            }
        };
        // Layouts repeat after as many rows as there are members, or one less; so many rows for
        // every level with as many members of data.
        let count = 2 * (self.shape.width() + 2);
        let period = self.shape.period();
        let before = self.row_0 / self.chunk;
        let rows = (0..count).map(|row| {
            let number = (row + period - before % period) % period;
            let holders = self.shape.row(number);
            let data = holders.data.iter().map(|role| holder(*role)).collect();
            let q = holders.q.and_then(|q| self.device(q)).map(|q| {
                let factors = holders.data.iter().zip(&holders.factors);
                let mut factors: Vec<_> = factors.map(|(r, f)| (holder(*r), *f)).collect();
                factors.sort_unstable();
                (q, factors)
            });
            (data, holders.p.and_then(|p| self.device(p)), q)
        });
        Claims {
            rows: rows.collect(),
            chunk: self.chunk,
            edge: self.row_0 % self.chunk,
        }
    }

    /// The hypothesis for a person, with the names of its devices.
    pub(super) fn describe(&self, name: &dyn Fn(usize) -> String) -> String {
        let chunk = match self.chunk % 1024 {
            0 => format!("{} KiB", self.chunk >> 10),
            _ => format!("{} bytes", self.chunk),
        };
        let order = self
            .roles
            .iter()
            .map(|device| device.map_or_else(|| "missing".to_owned(), name));
        format!(
            "{} of {} members, {} missing, chunk {chunk}, row 0 at {}, in the order {}",
            self.shape.name(),
            self.shape.members(),
            self.missing(),
            self.row_0,
            order.collect::<Vec<_>>().join(" "),
        )
    }
}

/// A hypothesis with its rows looked up.
pub(super) struct Map<'a> {
    pub(super) hypothesis: &'a Hypothesis,
    /// By the number of the row, for one period.
    rows: Vec<Holders>,
    /// The same by device: each place of each device is asked for.
    parts: Vec<Vec<Option<Part>>>,
}

impl Map<'_> {
    /// Where in a period a row is.
    pub(super) fn index(&self, row: i64) -> usize {
        let period = i64::try_from(self.rows.len()).unwrap_or(1).max(1);
        usize::try_from(row.rem_euclid(period)).unwrap_or(0)
    }

    /// What the members hold in the rows of one period.
    pub(super) fn rows(&self) -> &[Holders] {
        &self.rows
    }

    /// What the members of a row hold.
    pub(super) fn holders(&self, row: i64) -> Option<&Holders> {
        self.rows.get(self.index(row))
    }

    /// What `at` of a device is.
    pub(super) fn place(&self, device: usize, at: u64) -> Option<Place> {
        let (row, column) = self.hypothesis.row_of(at)?;
        let part = (*self.parts.get(self.index(row))?.get(device)?)?;
        Some(Place { row, part, column })
    }

    /// The number of the row at `at`, and where in the chunk that is.
    pub(super) fn row_of(&self, at: u64) -> Option<(i64, u64)> {
        self.hypothesis.row_of(at)
    }

    /// Where in the group's data a place lies, counted from the row at `row_0`; `None` for
    /// parity.
    pub(super) fn position(&self, device: usize, at: u64) -> Option<i64> {
        let place = self.place(device, at)?;
        let Part::Data(number) = place.part else {
            return None;
        };
        let width = i64::try_from(self.hypothesis.shape.width()).ok()?;
        let chunks = place.row.checked_mul(width)?.checked_add_unsigned(number)?;
        let chunk = i64::try_from(self.hypothesis.chunk).ok()?;
        chunks
            .checked_mul(chunk)?
            .checked_add_unsigned(place.column)
    }

    /// Where on the devices the row of a position in the group's data has it.
    pub(super) fn at(&self, position: i64) -> Option<u64> {
        let chunk = i64::try_from(self.hypothesis.chunk).ok()?;
        let width = i64::try_from(self.hypothesis.shape.width()).ok()?;
        let row = position.checked_div_euclid(chunk.checked_mul(width)?)?;
        let column = position.checked_rem_euclid(chunk)?;
        let inside = row.checked_mul(chunk)?.checked_add(column)?;
        self.hypothesis.row_0.checked_add_signed(inside)
    }

    /// Whether what lies at a position in the group's data is on a member that is missing.
    pub(super) fn is_missing(&self, position: i64) -> bool {
        let width = i64::try_from(self.hypothesis.shape.width()).unwrap_or(i64::MAX);
        let holder = || {
            let chunk = position.checked_div_euclid(i64::try_from(self.hypothesis.chunk).ok()?)?;
            let holders = self.holders(chunk.checked_div_euclid(width)?)?;
            let number = usize::try_from(chunk.checked_rem_euclid(width)?).ok()?;
            holders.data.get(number)
        };
        holder().is_some_and(|role| self.hypothesis.device(*role).is_none())
    }

    /// The data chunk after that of number `number` in `row`: its row and its holder.
    pub(super) fn next(&self, row: i64, number: u64) -> Option<(i64, Option<usize>)> {
        let (row, number) = match number.saturating_add(1) {
            next if next < self.hypothesis.shape.width() => (row, next),
            _ => (row.checked_add(1)?, 0),
        };
        let role = *self.holders(row)?.data.get(usize::try_from(number).ok()?)?;
        Some((row, self.hypothesis.device(role)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::Raid5Layout;

    #[test]
    fn a_layout_that_is_turned_with_its_roles_claims_the_same() {
        let shape = Shape::Raid5(Raid5Layout::LeftSymmetric, 4);
        let roles = |turned: [usize; 4]| turned.map(Some).to_vec();
        let one = Hypothesis::new(shape, 65536, 4096, 0, roles([3, 1, 0, 2])).unwrap();
        // A row later everything lies one role earlier.
        let other = Hypothesis::new(shape, 65536, 4096, 1, roles([1, 0, 2, 3])).unwrap();
        assert_eq!(one.claims(), other.claims());
        assert_ne!(one, other);
        let wrong = Hypothesis::new(shape, 65536, 4096, 1, roles([3, 1, 0, 2])).unwrap();
        assert_ne!(one.claims(), wrong.claims());
    }

    #[test]
    fn places_follow_the_rows() {
        let shape = Shape::Raid5(Raid5Layout::LeftSymmetric, 3);
        let roles = vec![Some(7), None, Some(5)];
        let hypothesis = Hypothesis::new(shape, 4096, 8192, 0, roles).unwrap();
        let map = hypothesis.map();
        // Rows: 0 1 P / 1 P 0 / P 0 1; the period of 12 KiB begins at 8 KiB.
        assert_eq!(map.position(7, 8192), Some(0));
        assert_eq!(map.position(5, 8192), None);
        assert_eq!(map.position(7, 12288 + 5), Some(3 * 4096 + 5));
        assert_eq!(map.position(5, 12288), Some(2 * 4096));
        assert_eq!(map.position(5, 4096), Some(-4096));
        assert_eq!(map.at(3 * 4096 + 5), Some(12288 + 5));
        assert_eq!(map.at(-4096), Some(4096));
        assert_eq!(map.next(0, 1), Some((1, Some(5))));
    }
}
