//! File systems that lie in stripes over groups, as on RAID-50 and on volumes that LVM stripes.
//!
//! Within such a group an address is no place of its data: the group has each so-many-th stripe.
//! So all addresses that a device states are in stripes of one column, whatever the geometry of
//! the group; and which stripes of its column an address lies behind is its place in the group.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::anchored::{ONE_IN, distinct, thinned};
use super::anchors::{Anchor, Source};

/// Stripes are as long as these times a power of two, in bytes: LVM's and md's are powers of two,
/// those of controllers a row of the groups below.
const TIMES: [u64; 7] = [1, 3, 5, 7, 9, 11, 13];
const LEAST_STRIPE: u64 = 4 << 10;
const MOST_STRIPE: u64 = 4 << 20;

/// Most groups that are tried, and members that may be missing beside the devices.
const MOST_COLUMNS: usize = 16;
const MOST_MISSING: usize = 2;

/// Where within a stripe a file system may begin: with it, or where LVM and partition tables put
/// the first of theirs.
const BEGINS: [u64; 4] = [0, 192 << 10, 1 << 20, 63 * 512];

/// So many of a device's addresses are in another column: homes that blocks have left, and what
/// was there before; at most one in so many.
const STRAY: f64 = 0.1;
const MOST_STRAY: f64 = 3.0;

/// What must speak for stripes, in nats, against that addresses are in one column by chance. A few
/// thousand are tried; and the groups must then be found by what is said of their places.
const LEAST: f64 = 12.0;

/// Groups beside one that is decided, in which the other columns may lie, and that one.
const MOST_BESIDE: u64 = 4;

/// So many anchors of a column must agree on where it begins, and so many times those that agree if they
/// are taken to lie in one piece.
const LEAST_ON_COLUMN: usize = 8;
const CLEAR: usize = 2;
/// Columns that explain these alike, at most.
const MOST_COLUMNS_ALIKE: usize = 8;

/// A column of stripes on a device.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) stripes: Stripes,
    pub(super) column: u64,
    /// Where it begins there, in bytes.
    pub(super) start: u64,
}

/// How a file system is spread over groups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stripes {
    source: Source,
    stripe: u64,
    count: u64,
    /// How far into its stripe the file system begins.
    begin: u64,
    /// The column of each device.
    columns: BTreeMap<usize, u64>,
}

impl Stripes {
    /// The likeliest stripes of the file system `source` with which each device that has blocks of it
    /// has those of one column, and each column has several devices.
    ///
    /// Chunks that go round the members of one group look the same (RAID-0, left-symmetric RAID-5):
    /// this is to be asked where no geometry of all devices is found.
    pub(super) fn find(anchors: &[Anchor], source: Source) -> Option<Self> {
        let devices: BTreeSet<usize> = anchors
            .iter()
            .filter(|anchor| anchor.source == source)
            .map(|anchor| anchor.device)
            .collect();
        let devices: Vec<usize> = devices.into_iter().collect();
        let own = thinned(distinct(anchors, source, &devices));
        let most = devices.len().saturating_add(MOST_MISSING).min(MOST_COLUMNS);
        let mut best: Option<(f64, Self)> = None;
        for stripe in lengths() {
            let begins: BTreeSet<u64> = BEGINS.iter().map(|begin| begin % stripe).collect();
            for count in 2..=most as u64 {
                for begin in &begins {
                    let mut one = Self {
                        source,
                        stripe,
                        count,
                        begin: *begin,
                        columns: BTreeMap::new(),
                    };
                    let nats = one.fit(&own);
                    if nats > best.as_ref().map_or(LEAST, |(nats, _)| *nats) && one.is_shared() {
                        best = Some((nats, one));
                    }
                }
            }
        }
        best.map(|(_, one)| one)
    }

    /// The stripes of which one column lies in one piece on a device, by the `anchors` there of the file
    /// system `source`, with that column: those for which most agree on where it begins, if they do not
    /// as they are. Of one column alone more than one may explain them; if many do, none is given.
    pub(super) fn of_column(anchors: &[&Anchor], source: Source) -> Vec<Column> {
        let own = thinned(anchors.to_vec());
        let starts = |place: &dyn Fn(u64) -> Option<u64>| {
            let starts = own.iter().filter_map(|anchor| {
                i64::try_from(anchor.at)
                    .ok()?
                    .checked_sub_unsigned(place(anchor.address)?)
            });
            let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
            starts.for_each(|start| *counts.entry(start).or_default() += 1);
            let most = counts
                .into_iter()
                .max_by_key(|(start, count)| (*count, Reverse(*start)));
            most.unwrap_or_default()
        };
        let (_, as_they_are) = starts(&Some);
        let mut found: Vec<(usize, Self, u64, i64)> = Vec::new();
        for stripe in lengths() {
            let begins: BTreeSet<u64> = BEGINS.iter().map(|begin| begin % stripe).collect();
            for (count, begin) in
                (2..=MOST_BESIDE).flat_map(|count| begins.iter().map(move |b| (count, *b)))
            {
                let one = Self {
                    source,
                    stripe,
                    count,
                    begin,
                    columns: BTreeMap::new(),
                };
                for column in 0..count {
                    let (start, agree) = starts(&|address| {
                        let (of, inside) = one.inside(address)?;
                        (of == column).then_some(inside)
                    });
                    found.push((agree, one.clone(), column, start));
                }
            }
        }
        let most = found.iter().map(|(agree, ..)| *agree).max().unwrap_or(0);
        // Journals name homes that are found in other places, too, and not on this column.
        let is_clear = most >= LEAST_ON_COLUMN && as_they_are.saturating_mul(CLEAR) <= most;
        found.retain(|(agree, ..)| is_clear && *agree == most);
        // What begins before the device does is as good as the others, and none of these.
        let columns = found.into_iter().filter_map(|(_, stripes, column, start)| {
            Some(Column {
                stripes,
                column,
                start: u64::try_from(start).ok()?,
            })
        });
        let columns: Vec<Column> = columns.collect();
        if columns.len() > MOST_COLUMNS_ALIKE {
            return Vec::new();
        }
        columns
    }

    /// How many columns there are.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The length of a stripe, in bytes.
    pub(super) const fn length(&self) -> u64 {
        self.stripe
    }

    /// How many different addresses the `anchors` on `devices` state in a `column`, and in others.
    pub(super) fn addresses_in(
        &self,
        column: u64,
        devices: &[usize],
        anchors: &[Anchor],
    ) -> (usize, usize) {
        let own = anchors.iter().filter(|anchor| anchor.source == self.source);
        let own = own.filter(|anchor| devices.contains(&anchor.device));
        // Copies in the journal state one address again and again.
        let addresses: BTreeSet<u64> = own.map(|anchor| anchor.address / ONE_IN).collect();
        let (inside, others): (Vec<u64>, Vec<u64>) = addresses.into_iter().partition(|address| {
            let inside = self.inside(address.saturating_mul(ONE_IN));
            inside.is_some_and(|(of, _)| of == column)
        });
        (inside.len(), others.len())
    }

    /// The same, where all of `devices` are of one `column`.
    pub(super) fn with_column(&self, devices: &[usize], column: u64) -> Self {
        Self {
            columns: devices.iter().map(|device| (*device, column)).collect(),
            ..self.clone()
        }
    }

    /// The file system.
    pub(super) const fn source(&self) -> Source {
        self.source
    }

    /// The column of a device.
    pub(super) fn column(&self, device: usize) -> Option<u64> {
        self.columns.get(&device).copied()
    }

    /// The column that an address lies in, and where in the data of that column.
    pub(super) fn inside(&self, address: u64) -> Option<(u64, u64)> {
        let at = address.checked_add(self.begin)?;
        let number = at.checked_div(self.stripe)?;
        let row = number.checked_div(self.count)?.checked_mul(self.stripe)?;
        let within = at.checked_rem(self.stripe)?;
        Some((number.checked_rem(self.count)?, row.checked_add(within)?))
    }

    /// Gives each device the column that most of its stripes are in: how much more likely that is
    /// than if all devices had those of each column alike, in nats.
    fn fit(&mut self, anchors: &[&Anchor]) -> f64 {
        let mut stripes: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for anchor in anchors {
            let number = anchor.address.saturating_add(self.begin) / self.stripe;
            stripes.entry(anchor.device).or_default().insert(number);
        }
        let column = |number: &u64| number.checked_rem(self.count).unwrap_or(0);
        let counted = |numbers: &mut dyn Iterator<Item = &u64>| {
            let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
            numbers.for_each(|number| *counts.entry(column(number)).or_default() += 1.0);
            counts
        };
        let all = counted(&mut stripes.values().flatten());
        let total: f64 = all.values().sum();
        let mut sum = 0.0;
        for (device, stripes) in &stripes {
            let counts = counted(&mut stripes.iter());
            let best = counts.iter().max_by(|a, b| a.1.total_cmp(b.1));
            let Some((column, most)) = best else {
                continue;
            };
            let share = all.get(column).map_or(1.0, |count| count / total);
            let others = stripes.len() as f64 - most;
            let nats = most * ((1.0 - STRAY) / share + STRAY).ln() + others * STRAY.ln()
                - (self.count as f64).ln();
            if others * MOST_STRAY > stripes.len() as f64 {
                return f64::MIN;
            }
            sum += nats;
            self.columns.insert(*device, *column);
        }
        sum
    }

    /// Whether there are several columns, and several devices in each.
    fn is_shared(&self) -> bool {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for column in self.columns.values() {
            *counts.entry(*column).or_default() += 1;
        }
        counts.len() as u64 == self.count && counts.values().all(|count| *count > 1)
    }
}

fn lengths() -> BTreeSet<u64> {
    let powers = (0..64).map(|bits| LEAST_STRIPE << bits);
    let powers: Vec<u64> = powers.take_while(|length| *length <= MOST_STRIPE).collect();
    let all = TIMES
        .iter()
        .flat_map(|times| powers.iter().map(move |length| times * length));
    all.filter(|length| *length <= MOST_STRIPE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source::Xfs([7; 16]);
    const STRIPE: u64 = 64 << 10;

    /// Anchors at `count` places spread over a file system, on the devices that `device` says.
    fn anchors(count: u64, device: impl Fn(u64) -> usize) -> Vec<Anchor> {
        let spread = (1..=count).map(|number| number * 7919 % 5003 * (20 << 10));
        let anchor = |address| Anchor {
            source: SOURCE,
            address,
            device: device(address),
            at: address / 2,
            together: None,
            stated_on: 0,
        };
        spread.map(anchor).collect()
    }

    #[test]
    fn devices_whose_addresses_are_in_each_second_stripe_are_of_one_group() {
        // Two groups, with the blocks of each anywhere on its three devices.
        let on = |address: u64| {
            let column = usize::try_from(address / STRIPE % 2).unwrap();
            column * 3 + usize::try_from((address >> 12) * 40503 / 97 % 3).unwrap()
        };
        let stripes = Stripes::find(&anchors(300, on), SOURCE).unwrap();
        let column = |device: usize| stripes.column(device).unwrap();
        assert_eq!((stripes.stripe, stripes.count), (STRIPE, 2));
        assert!((0..3).all(|device| column(device) == 0));
        assert!((3..6).all(|device| column(device) == 1));
        assert_eq!(stripes.inside(5 * STRIPE + 9), Some((1, 2 * STRIPE + 9)));
    }

    #[test]
    fn a_geometry_that_has_no_columns_has_no_stripes() {
        // RAID-5 left-asymmetric of four.
        let turned = |address: u64| {
            let (row, number) = (address / STRIPE / 3, address / STRIPE % 3);
            let parity = 3 - row % 4;
            usize::try_from(if number < parity { number } else { number + 1 }).unwrap()
        };
        assert_eq!(Stripes::find(&anchors(300, turned), SOURCE), None);
    }

    #[test]
    fn one_column_says_how_long_the_stripes_are_and_where_it_begins() {
        let begins = 3 << 20;
        let all = anchors(300, |_| 0).into_iter().filter_map(|mut anchor| {
            let (row, within) = (anchor.address / STRIPE / 3, anchor.address % STRIPE);
            anchor.at = begins + row * STRIPE + within;
            (anchor.address / STRIPE % 3 == 1).then_some(anchor)
        });
        let all: Vec<Anchor> = all.collect();
        let own: Vec<&Anchor> = all.iter().collect();
        let found = Stripes::of_column(&own, SOURCE);
        let [column] = found.as_slice() else {
            panic!("{} columns", found.len());
        };
        assert_eq!(
            (column.stripes.length(), column.stripes.count()),
            (STRIPE, 3)
        );
        assert_eq!((column.column, column.start), (1, begins));
        // What lies in one piece lies in no stripes.
        let linear = anchors(300, |_| 0).into_iter().map(|mut anchor| {
            anchor.at = begins + anchor.address;
            anchor
        });
        let linear: Vec<Anchor> = linear.collect();
        let own: Vec<&Anchor> = linear.iter().collect();
        assert!(Stripes::of_column(&own, SOURCE).is_empty());
    }
}
