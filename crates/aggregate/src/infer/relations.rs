//! Which devices belong together, by the linear relations of their contents.
//!
//! At each sampled row the blocks of all devices are vectors over GF(2^8), and the combinations
//! of them that are zero are found by elimination. The data and P of one group are such a
//! combination, with all factors 1; with Q there is a second one, whose factors are powers
//! of 2; and where a member is missing, the one that is left without it. Groups do not disturb
//! each other, and no subsets are tried.

use std::collections::BTreeMap;

use super::sample::{LANES, Row, Sketch, fronts};
use crate::raid::galois;

/// Most devices that are compared at once: a set of them is a word, and half the lanes of a
/// sketch.
pub(super) const MOST_DEVICES: usize = 64;

/// A relation counts if it holds at this many rows and at a fiftieth of those where all its
/// blocks have contents.
const LEAST_ROWS: u64 = 8;
const LEAST_SHARE: u64 = 50;

/// Blocks that a relation ties must differ in so many lanes of their sketches.
const LEAST_LANES: usize = 8;

/// Rows in which parts of a set must be tied that are never many for one part.
const LEAST_SCATTERED: u64 = 32;

/// A set within a larger one stands for itself if it holds alone in at least this many percent
/// of the rows where the larger one has contents.
const OWN_PERCENT: u64 = 20;

/// Devices hold contents of their own in so many times the rows in which a larger set does: what
/// ties that one is a newer array, which wrote to a part of its members only.
const OWN_TIMES: u64 = 4;

/// Copies agree in at least so many rows with contents, and in this share of them.
const LEAST_EQUAL: u64 = 32;
const EQUAL_PERCENT: u64 = 95;
/// The same of copies that differ in part: a newer array writes a tenth, or a half at most.
const EQUAL_IN_PART_PERCENT: u64 = 60;

/// A set of devices by their indices, below [`MOST_DEVICES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Set(pub(super) u64);

impl Set {
    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn touches(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a device is in it.
    pub(super) const fn has(self, device: usize) -> bool {
        device < MOST_DEVICES && self.0 >> device & 1 == 1
    }

    pub(super) const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The devices in it, in order.
    pub(super) fn devices(self) -> impl Iterator<Item = usize> {
        (0..MOST_DEVICES).filter(move |device| self.0 >> device & 1 == 1)
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<T: IntoIterator<Item = usize>>(devices: T) -> Self {
        let all = devices.into_iter().filter(|device| *device < MOST_DEVICES);
        all.fold(Self::default(), |set, device| set.with(Self(1 << device)))
    }
}

/// Factors with which the blocks of some devices add up to zero, by device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation(pub(super) Vec<u8>);

impl Relation {
    /// The factor of a device.
    pub(super) fn factor(&self, device: usize) -> u8 {
        self.0.get(device).copied().unwrap_or(0)
    }

    /// The devices that it is between.
    pub(super) fn set(&self) -> Set {
        let factors = self.0.iter().enumerate();
        let there = factors.filter(|(_, factor)| **factor != 0);
        there.map(|(device, _)| device).collect()
    }

    /// Whether all its factors are 1, as those of parity and of copies.
    pub(super) fn is_plain(&self) -> bool {
        self.0.iter().all(|factor| *factor <= 1)
    }

    /// Adds `factor` times another relation.
    pub(super) fn add(&mut self, other: &Self, factor: u8) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own ^= galois::product(*other, factor);
        }
    }

    /// Multiplies it by `factor`.
    pub(super) fn scale(&mut self, factor: u8) {
        for own in &mut self.0 {
            *own = galois::product(*own, factor);
        }
    }
}

/// The relations of one row in reduced form: each has one device of factor 1 that no other has.
pub(super) fn relations(row: &[Option<Sketch>]) -> Vec<Relation> {
    struct Known {
        lane: usize,
        sketch: Sketch,
        made_of: Relation,
    }
    let mut known: Vec<Known> = Vec::new();
    let mut found = Vec::new();
    for (index, sketch) in row.iter().enumerate().take(MOST_DEVICES) {
        let Some(mut sketch) = sketch.clone() else {
            continue;
        };
        let mut made_of = Relation(vec![0; row.len()]);
        if let Some(own) = made_of.0.get_mut(index) {
            *own = 1;
        }
        for other in &known {
            let factor = sketch.lane(other.lane);
            if factor != 0 {
                sketch.add(&other.sketch, factor);
                made_of.add(&other.made_of, factor);
            }
        }
        match sketch.lead() {
            None if is_trivial(&made_of, row) => {}
            None => found.push(made_of),
            Some((lane, value)) => {
                let scale = galois::inverse(value);
                sketch.scale(scale);
                made_of.scale(scale);
                known.push(Known {
                    lane,
                    sketch,
                    made_of,
                });
            }
        }
    }
    found
}

/// Whether a relation between more than two blocks says nothing, because they differ in so few places
/// that there are no more independent ones: records that were written ahead and counted through.
fn is_trivial(relation: &Relation, row: &[Option<Sketch>]) -> bool {
    let own = relation.set().devices();
    let own: Vec<&Sketch> = own.filter_map(|d| row.get(d)?.as_ref()).collect();
    let Some((first, others)) = own.split_first().filter(|(_, others)| others.len() > 1) else {
        return false;
    };
    let differs = |lane: &usize| others.iter().any(|o| o.lane(*lane) != first.lane(*lane));
    (0..LANES).filter(differs).take(LEAST_LANES).count() < LEAST_LANES
}

/// The sets of devices that the relations of a row tie together. Blocks that are just equal tie none:
/// what fills many blocks, as a bitmap of what is all in use, lies on devices of different groups.
pub(super) fn parts(relations: &[Relation]) -> Vec<Set> {
    let mut parts: Vec<Set> = Vec::new();
    let is_equal = |relation: &&Relation| relation.is_plain() && relation.set().count() == 2;
    let copies = relations.iter().filter(is_equal).count();
    if copies > 1 && copies == relations.len() {
        return relations.iter().map(Relation::set).collect();
    }
    for relation in relations {
        let mut joined = relation.set();
        parts.retain(|part| {
            let apart = !part.touches(joined);
            if !apart {
                joined = joined.with(*part);
            }
            apart
        });
        parts.push(joined);
    }
    parts
}

/// Devices that relations tie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tied {
    pub(super) devices: Vec<usize>,
    /// At how many rows a relation holds between them or a part of them.
    pub(super) rows: u64,
    /// Whether it holds at most rows where all of them have contents: else it may hold because
    /// what is missing has zeros there.
    pub(super) holds: bool,
}

/// The sets of devices that relations tie together, those of most rows first.
///
/// Where a new array was made over an old one, both may be found: they share devices.
pub(super) fn tied(rows: &[Row]) -> Vec<Tied> {
    let mut counts = counts(rows);
    let full = |set: Set| full(rows, set);
    counts.retain(|set, count| count.saturating_mul(LEAST_SHARE) >= full(*set));
    // Rows where a member has zeros tie the rest of a group: such a part is no set of its own.
    let alone = |part: Set, whole: Set| {
        let speaks = |row: &&Row| row.full.holds(whole) && row.parts.contains(&part);
        let own = rows.iter().filter(speaks).count() as u64;
        own >= LEAST_ROWS && own.saturating_mul(100) >= full(whole).saturating_mul(OWN_PERCENT)
    };
    let sets: Vec<Set> = counts.keys().copied().collect();
    let kept = sets.iter().filter(|part| {
        let larger = |whole: &&Set| whole.holds(**part) && *whole != *part;
        sets.iter()
            .filter(larger)
            .all(|whole| alone(**part, *whole))
    });
    let mut kept: Vec<Set> = kept.copied().collect();
    kept.extend(scattered(rows, &kept));
    let mut tied: Vec<Tied> = kept
        .iter()
        .map(|set| {
            let within = |part: &&Set| set.holds(**part) && (*part == set || !kept.contains(part));
            let of_it = sets.iter().filter(within);
            let count = of_it.filter_map(|set| counts.get(set)).sum();
            Tied::of(rows, *set, count)
        })
        .collect();
    tied.sort_by(|a, b| (b.rows, &a.devices).cmp(&(a.rows, &b.devices)));
    tied
}

/// The sets within `whole` that are tied by themselves in rows where most of it has nothing: the
/// groups of an older array, if what ties `whole` is a newer one.
pub(super) fn within(rows: &[Row], whole: &[usize]) -> Vec<Tied> {
    let whole: Set = whole.iter().copied().collect();
    let least = full(rows, whole).saturating_mul(OWN_TIMES);
    let mut counts = counts(rows);
    counts.retain(|set, _| whole.holds(*set) && *set != whole && full(rows, *set) >= least);
    let largest = |set: &Set| !counts.keys().any(|other| other.holds(*set) && other != set);
    let sets = counts.iter().filter(|(set, _)| largest(set));
    sets.map(|(set, count)| Tied::of(rows, *set, *count))
        .collect()
}

/// In how many rows sets are tied that are no copies: parity where the rest of a row is zeros is
/// one, and so are equal contents.
fn counts(rows: &[Row]) -> BTreeMap<Set, u64> {
    let mut counts: BTreeMap<Set, u64> = BTreeMap::new();
    let parts = rows.iter().flat_map(|row| &row.parts);
    for part in parts.filter(|part| part.count() >= 3) {
        *counts.entry(*part).or_default() += 1;
    }
    counts.retain(|_, count| *count >= LEAST_ROWS);
    counts
}

/// In how many rows all of a set have contents.
fn full(rows: &[Row], set: Set) -> u64 {
    rows.iter().filter(|row| row.full.holds(set)).count() as u64
}

impl Tied {
    /// A set that relations tie in `count` rows.
    fn of(rows: &[Row], set: Set, count: u64) -> Self {
        let of_all = |row: &&Row| row.full.holds(set) && row.parts.iter().any(|p| p.holds(set));
        let own = rows.iter().filter(of_all).count() as u64;
        Self {
            devices: set.devices().collect(),
            rows: count,
            holds: own.saturating_mul(2) >= full(rows, set),
        }
    }
}

/// Sets of devices that are hardly ever all full at once, as in groups that are nearly empty:
/// parts of them are tied now and then, and nothing contradicts the whole.
fn scattered(rows: &[Row], kept: &[Set]) -> Vec<Set> {
    let apart = |part: &&Set| part.count() >= 3 && !kept.iter().any(|set| set.touches(**part));
    let loose: Vec<Set> = rows
        .iter()
        .flat_map(|row| &row.parts)
        .filter(apart)
        .copied()
        .collect();
    let mut joined: Vec<(Set, u64)> = Vec::new();
    for part in loose {
        let (mut all, mut count) = (part, 1);
        joined.retain(|(other, more)| {
            let apart = !other.touches(all);
            if !apart {
                all = all.with(*other);
                count += more;
            }
            apart
        });
        joined.push((all, count));
    }
    let holds = |(set, count): &(Set, u64)| {
        let full = rows.iter().filter(|row| row.full.holds(*set));
        let (mut all, mut against) = (0_u64, 0_u64);
        for row in full {
            all += 1;
            against += u64::from(!row.parts.contains(set));
        }
        *count >= LEAST_SCATTERED && against * 2 <= all
    };
    joined
        .into_iter()
        .filter(holds)
        .map(|(set, _)| set)
        .collect()
}

/// The pairs of devices whose contents are equal, but for a few rows that were being written, and
/// for those in which one of them has nothing but zeros from its start on: it may have been wiped.
pub(super) fn copies(rows: &[Row]) -> Vec<[usize; 2]> {
    equal_in(rows, EQUAL_PERCENT)
}

/// The pairs of devices that are equal in most rows: copies, of which one is older, or over which
/// another array wrote.
pub(super) fn copies_in_part(rows: &[Row]) -> Vec<[usize; 2]> {
    equal_in(rows, EQUAL_IN_PART_PERCENT)
}

/// The pairs of devices that are equal in so many rows, in percent.
fn equal_in(rows: &[Row], percent: u64) -> Vec<[usize; 2]> {
    let count = rows.first().map_or(0, |row| row.prints.len());
    let fronts = fronts(rows);
    let equal = |a: usize, b: usize| {
        let front = fronts.get(a).max(fronts.get(b)).copied().unwrap_or(0);
        let pairs = rows
            .iter()
            .filter(|row| row.at >= front)
            .filter_map(|row| Some((*row.prints.get(a)?, *row.prints.get(b)?)));
        let full = pairs.filter(|(a, b)| *a != 0 || *b != 0);
        let (all, same) = full.fold((0_u64, 0_u64), |(all, same), (a, b)| {
            (all + 1, same + u64::from(a == b))
        });
        all >= LEAST_EQUAL && same * 100 >= all * percent
    };
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
    pairs.filter(|[a, b]| equal(*a, *b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (state >> 33) as u8
        });
        next.take(4096).collect()
    }

    fn sum(parts: &[(&[u8], u8)]) -> Vec<u8> {
        let mut total = vec![0; 4096];
        for (part, factor) in parts {
            for (own, byte) in total.iter_mut().zip(*part) {
                *own ^= galois::product(*byte, *factor);
            }
        }
        total
    }

    fn rows(make: impl Fn(u64) -> Vec<Vec<u8>>) -> Vec<Row> {
        let made =
            (0..40).flat_map(|number| super::super::sample::rows(number << 12, &make(number)));
        made.collect()
    }

    #[test]
    fn two_groups_in_one_pile_and_a_stranger_are_told_apart() {
        let rows = rows(|number| {
            let [a, b, c, d, e] = [1, 2, 3, 4, 5].map(|i| noise(number * 9 + i));
            let p = sum(&[(&a, 1), (&b, 1)]);
            let q = sum(&[(&c, 1), (&d, 2), (&e, 4)]);
            vec![a, c, b, p, d, q, noise(number + 7777), e]
        });
        let sets = tied(&rows);
        let devices: Vec<_> = sets.iter().map(|set| set.devices.clone()).collect();
        assert_eq!(devices, [vec![0, 2, 3], vec![1, 4, 5, 7]]);
        assert_eq!(sets[0].rows, 40);
        let relation = rows[0].relations.iter().find(|r| r.factor(1) != 0).unwrap();
        let ratio =
            |device| galois::product(relation.factor(device), galois::inverse(relation.factor(5)));
        assert_eq!([1, 4, 7, 5].map(ratio), [1, 2, 4, 1]);
    }

    #[test]
    fn a_new_array_over_old_groups_does_not_join_them() {
        let rows = rows(|number| {
            let [a, b, c, d] = [1, 2, 3, 4].map(|i| noise(number * 9 + i));
            let old = vec![sum(&[(&a, 1), (&b, 1)]), a.clone(), b.clone()];
            let other = vec![sum(&[(&c, 1), (&d, 1)]), c.clone(), d.clone()];
            let mut blocks = [old, other].concat();
            if number >= 30 {
                let parts: Vec<(&[u8], u8)> =
                    blocks[1..].iter().map(|b| (b.as_slice(), 1)).collect();
                let new = sum(&[parts.as_slice(), &[(&noise(number + 99), 1)]].concat());
                blocks[4] = noise(number + 99);
                blocks[0] = new;
            }
            blocks
        });
        let sets: Vec<_> = tied(&rows).into_iter().map(|set| set.devices).collect();
        assert!(
            sets.contains(&vec![0, 1, 2]) && sets.contains(&vec![3, 4, 5]),
            "{sets:?}"
        );
    }

    #[test]
    fn groups_without_a_member_are_seen_within_what_a_new_array_ties() {
        let rows = rows(|number| {
            let [a, b, c, d] = [1, 2, 3, 4].map(|i| noise(number * 9 + i));
            let empty = vec![0; 4096];
            match number {
                // The new array, which wrote to some rows only.
                0..8 => {
                    let p = sum(&[(&a, 1), (&b, 1), (&c, 1), (&d, 1)]);
                    vec![a, b, c, d, p]
                }
                // What is missing of the old group has zeros there.
                8..16 => vec![
                    a.clone(),
                    b.clone(),
                    sum(&[(&a, 1), (&b, 1)]),
                    empty.clone(),
                    empty,
                ],
                _ => vec![a, b, c, empty.clone(), empty],
            }
        });
        let sets = |sets: Vec<Tied>| sets.into_iter().map(|set| set.devices).collect::<Vec<_>>();
        assert_eq!(sets(tied(&rows)), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(sets(within(&rows, &[0, 1, 2, 3, 4])), [vec![0, 1, 2]]);
        assert_eq!(sets(within(&rows, &[0, 1, 2])), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn blocks_that_differ_in_a_counter_tie_nothing() {
        let rows = rows(|number| {
            let mut blocks = vec![noise(number), noise(number), noise(number)];
            for (block, count) in blocks.iter_mut().zip([7, 8, 40]) {
                block[100] = count;
            }
            blocks
        });
        assert_eq!(tied(&rows), []);
    }

    #[test]
    fn one_block_on_all_devices_ties_none() {
        let rows = rows(|number| vec![noise(number); 3]);
        assert_eq!(tied(&rows), []);
    }

    #[test]
    fn copies_and_zeros_tie_nothing() {
        let rows = rows(|number| {
            let a = noise(number);
            vec![a.clone(), a, vec![0; 4096], vec![0; 4096]]
        });
        assert_eq!(tied(&rows), []);
        assert_eq!(copies(&rows), [[0, 1]]);
    }
}
