//! Which devices belong together, by the linear relations of their contents.
//!
//! At each sampled row the blocks of all devices are vectors over GF(2), and the sets of them
//! whose sum is zero are found by elimination. The data and P of one group are such a set, at
//! every row that says something; groups do not disturb each other, and no subsets are tried.

use std::collections::BTreeMap;

use super::sample::Sketches;

/// Most devices that are compared at once.
pub(super) const MOST_DEVICES: usize = 64;

/// A relation counts if it holds at this many rows and at a fiftieth of those where all its
/// blocks have contents: with one member of a wide RAID-6 group missing it still holds wherever
/// that member has Q.
const LEAST_ROWS: u64 = 8;
const LEAST_SHARE: u64 = 50;

/// Copies agree in at least so many rows with contents, and in this share of them.
const LEAST_EQUAL: u64 = 32;
const EQUAL_PERCENT: u64 = 95;

/// Devices that relations tie together, as indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tied {
    pub(super) devices: Vec<usize>,
    /// At how many rows a relation between three or more of them holds.
    pub(super) rows: u64,
}

/// The sets of devices that relations tie together.
pub(super) fn tied(sketches: &Sketches) -> Vec<Tied> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, row) in &sketches.rows {
        for relation in relations(row) {
            // A pair is a copy: parity where the rest of a row is zeros, or equal contents.
            if relation.count_ones() >= 3 {
                *counts.entry(relation).or_default() += 1;
            }
        }
    }
    let mut common: Vec<(u64, u64)> = counts
        .into_iter()
        .filter(|(relation, count)| {
            let full = sketches
                .rows
                .iter()
                .filter(|(_, row)| members(*relation).all(|i| row.get(i).is_some_and(|s| *s != 0)))
                .count() as u64;
            *count >= LEAST_ROWS && count.saturating_mul(LEAST_SHARE) >= full
        })
        .collect();
    common.sort_by_key(|(relation, count)| (std::cmp::Reverse(*count), *relation));
    let mut sets: Vec<(u64, u64)> = Vec::new();
    for (relation, count) in common {
        let (touching, apart): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|(set, _)| set & relation != 0);
        let joined = touching
            .into_iter()
            .fold((relation, count), |(set, rows), (other, more)| {
                (set | other, rows.saturating_add(more))
            });
        sets = apart;
        sets.push(joined);
    }
    sets.sort_unstable();
    sets.into_iter()
        .map(|(set, rows)| Tied {
            devices: members(set).collect(),
            rows,
        })
        .collect()
}

/// The pairs of devices whose contents are equal, but for a few rows that were being written.
pub(super) fn copies(sketches: &Sketches) -> Vec<[usize; 2]> {
    let count = sketches.rows.first().map_or(0, |(_, row)| row.len());
    let equal = |a: usize, b: usize| {
        let rows = sketches
            .rows
            .iter()
            .filter_map(|(_, row)| Some((*row.get(a)?, *row.get(b)?)));
        let full = rows.filter(|(a, b)| *a != 0 || *b != 0);
        let (all, same) = full.fold((0_u64, 0_u64), |(all, same), (a, b)| {
            (all + 1, same + u64::from(a == b))
        });
        all >= LEAST_EQUAL && same * 100 >= all * EQUAL_PERCENT
    };
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
    pairs.filter(|[a, b]| equal(*a, *b)).collect()
}

/// The indices in a set.
fn members(set: u64) -> impl Iterator<Item = usize> {
    (0..MOST_DEVICES).filter(move |index| set >> index & 1 == 1)
}

/// The relations of one row in reduced form: each has one device that no other has.
fn relations(row: &[u64]) -> Vec<u64> {
    // Vectors so far, each reduced by those before it, with the devices that it is the sum of.
    let mut basis: Vec<(u64, u64)> = Vec::new();
    let mut found = Vec::new();
    for (index, sketch) in row.iter().enumerate().take(MOST_DEVICES) {
        if *sketch == 0 {
            continue;
        }
        let (mut vector, mut set) = (*sketch, 1 << index);
        for (other, devices) in &basis {
            if vector ^ other < vector {
                vector ^= other;
                set ^= devices;
            }
        }
        if vector == 0 {
            found.push(set);
        } else {
            basis.push((vector, set));
            basis.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_in_one_pile_and_a_stranger_are_told_apart() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            state ^ state >> 29
        };
        let rows = (0..100)
            .map(|at| {
                let [a, b, c, d, e] = [(); 5].map(|()| random());
                (at, vec![a, c, b, a ^ b, d, c ^ d ^ e, random(), e])
            })
            .collect();
        let sets = tied(&Sketches { rows });
        let devices: Vec<_> = sets.iter().map(|set| set.devices.clone()).collect();
        assert_eq!(devices, [vec![0, 2, 3], vec![1, 4, 5, 7]]);
        assert_eq!(sets[0].rows, 100);
    }

    #[test]
    fn copies_and_zeros_tie_nothing() {
        let rows = (1..100).map(|i| (i, vec![i, i, 0, 0])).collect();
        let sketches = Sketches { rows };
        assert_eq!(tied(&sketches), []);
        assert_eq!(copies(&sketches), [[0, 1]]);
    }
}
