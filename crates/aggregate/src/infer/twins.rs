//! Devices that hold an older state of what another one holds: stale members, and images taken
//! before and after a rebuild.

use std::collections::BTreeMap;

use super::relations::{Relation, Set, parts};
use super::sample::Row;

/// Rows in which two devices are equal and a relation with others holds for either.
const LEAST_ROWS: u32 = 8;

/// Of the rows in which one of the two agrees with others, the other must be equal in one of so
/// many: a newer array on the same disks makes members equal in a few rows, where it wrote the
/// same data and parity.
const EQUAL_IN: u32 = 16;

/// A device that is an older state of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    pub(super) device: usize,
    /// The one that holds the newer state.
    pub(super) of: usize,
    /// Rows in which both are equal, and rows in which only the newer one agrees with the rest.
    pub(super) equal: u32,
    pub(super) differ: u32,
}

/// The stale devices among those of the sampled rows.
///
/// Two members of one group are equal in a row only where its other blocks are zeros; where
/// they are equal and more devices take part in the relation, one is a copy of the other. Of the
/// two the one that agrees with the rest where they differ is the newer. If both take part in one
/// relation where they differ, both are members: a file system writes some blocks twice.
pub(super) fn stale(rows: &[Row]) -> Vec<Stale> {
    let mut equal: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for row in rows {
        for pair in row
            .relations
            .iter()
            .map(Relation::set)
            .filter(|set| set.count() == 2)
        {
            let wide = row.parts.iter().any(|part| {
                let within = row.relations.iter().filter(|r| part.holds(r.set()));
                // Of mirrors alone all but one follow from that one.
                part.holds(pair) && part.count() > 3 && within.count() + 2 <= part.count() as usize
            });
            let mut devices = pair.devices();
            if let (Some(a), Some(b), true) = (devices.next(), devices.next(), wide) {
                *equal.entry((a, b)).or_default() += 1;
            }
        }
    }
    let mut found: Vec<Stale> = Vec::new();
    for ((a, b), equal) in equal.into_iter().filter(|(_, count)| *count >= LEAST_ROWS) {
        // Rows in which one of the two agrees with others without the other one: where that has something
        // else, and where it has zeros, as a spare has behind what was rebuilt on it.
        let alone = |one: usize, other: usize| {
            let agrees = |row: &&Row| {
                let of_one = |part: &&Set| part.has(one) && part.count() >= 3;
                row.parts.iter().find(of_one).is_some_and(|p| !p.has(other))
            };
            let (full, zero): (Vec<&Row>, Vec<&Row>) = rows
                .iter()
                .filter(agrees)
                .partition(|row| row.full.has(other));
            let count = |rows: Vec<&Row>| u32::try_from(rows.len()).unwrap_or(u32::MAX);
            (count(full), count(zero))
        };
        let (of_a, of_b) = (alone(a, b), alone(b, a));
        let (device, of, (differ, zeros)) = if of_a >= of_b {
            (b, a, of_a)
        } else {
            (a, b, of_b)
        };
        let is_apart = found
            .iter()
            .all(|other| other.device != device && other.device != of);
        let both = rows.iter().filter(|row| row.has_both(a, b)).count();
        let is_copy = u32::try_from(both).is_ok_and(|both| both < equal);
        if is_apart && is_copy && equal.saturating_mul(EQUAL_IN) >= differ {
            found.push(Stale {
                device,
                of,
                equal,
                differ: differ.saturating_add(zeros),
            });
        }
    }
    found
}

impl Row {
    /// Whether a relation holds between two devices that are not equal, and others.
    fn has_both(&self, a: usize, b: usize) -> bool {
        let of_both = |part: &Set| part.has(a) && part.has(b) && part.count() >= 3;
        self.prints.get(a) != self.prints.get(b) && self.parts.iter().any(of_both)
    }

    /// The row as if a device held zeros.
    pub(super) fn without(&mut self, device: usize) {
        if !self.full.has(device) {
            return;
        }
        // Each relation has a device that no other has, its last. One that has the device in
        // it is taken out of the others and then dropped.
        let own = self
            .relations
            .iter()
            .position(|relation| relation.factor(device) != 0);
        if let Some(index) = own {
            let mut taken = self.relations.remove(index);
            taken.scale(crate::raid::galois::inverse(taken.factor(device)));
            for relation in &mut self.relations {
                let factor = relation.factor(device);
                relation.add(&taken, factor);
            }
            self.relations.retain(|relation| relation.set().count() > 0);
            reduce(&mut self.relations);
        }
        self.full = self
            .full
            .devices()
            .filter(|other| *other != device)
            .collect();
        self.parts = parts(&self.relations);
        if let Some(print) = self.prints.get_mut(device) {
            *print = 0;
        }
        if let Some(texture) = self.textures.get_mut(device) {
            *texture = super::contents::Texture::default();
        }
    }
}

/// Gives each relation a last device of factor 1 that no other has.
fn reduce(relations: &mut [Relation]) {
    for index in 0..relations.len() {
        let Some(mut own) = relations.get(index).cloned() else {
            continue;
        };
        let Some(last) = own.set().devices().last() else {
            continue;
        };
        own.scale(crate::raid::galois::inverse(own.factor(last)));
        for (other, relation) in relations.iter_mut().enumerate() {
            if other == index {
                *relation = own.clone();
            } else {
                let factor = relation.factor(last);
                relation.add(&own, factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::contents::Texture;
    use crate::infer::relations::relations;
    use crate::infer::sample::Sketch;

    /// The row of some blocks, each filled with noise of its own number.
    fn row(blocks: &[Vec<u8>]) -> Row {
        let sketches: Vec<Option<Sketch>> = blocks.iter().map(|block| Sketch::of(block)).collect();
        let relations = relations(&sketches);
        Row {
            at: 0,
            prints: blocks
                .iter()
                .map(|block| u64::from(block[0]) << 8 | u64::from(block[1]))
                .collect(),
            textures: vec![Texture::default(); blocks.len()],
            full: (0..blocks.len()).collect(),
            parts: parts(&relations),
            relations,
            ..Row::default()
        }
    }

    fn noise(number: u64) -> Vec<u8> {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..4096).map(byte).collect()
    }

    /// A row of a RAID-5 of four, whose blocks are these three and their parity.
    fn members(data: [Vec<u8>; 3]) -> Vec<Vec<u8>> {
        let parity = (0..4096).map(|at| data.iter().fold(0, |sum, block| sum ^ block[at]));
        let parity = parity.collect();
        data.into_iter().chain([parity]).collect()
    }

    #[test]
    fn members_that_hold_the_same_in_some_rows_are_no_copies() {
        let member = |number: u64| members([1, 2, 3].map(|of| noise(number * 8 + of)));
        // A file system writes a block twice, in one row.
        let twice =
            |number: u64| members([noise(number * 8), noise(number * 8), noise(number * 8 + 3)]);
        let rows: Vec<Row> = (0..12)
            .map(|n| row(&twice(n)))
            .chain((20..60).map(|n| row(&member(n))))
            .collect();
        assert_eq!(stale(&rows), []);
        // An older image of the first: equal in some rows, and strange to the rest in others.
        let older = |number: u64, is_equal: bool| {
            let mut blocks = member(number);
            blocks.push(if is_equal {
                blocks[0].clone()
            } else {
                noise(number * 8 + 7)
            });
            row(&blocks)
        };
        let rows: Vec<Row> = (0..30)
            .map(|number| older(number, number % 2 == 0))
            .collect();
        let want = Stale {
            device: 4,
            of: 0,
            equal: 15,
            differ: 15,
        };
        assert_eq!(stale(&rows), [want]);
    }

    #[test]
    fn a_spare_that_was_rebuilt_in_part_is_the_copy_of_what_it_was_to_replace() {
        let spare = |number: u64| {
            let mut blocks = members([1, 2, 3].map(|of| noise(number * 8 + of)));
            let is_rebuilt = number < 10;
            let copy = if is_rebuilt {
                blocks[1].clone()
            } else {
                vec![0; 4096]
            };
            blocks.insert(0, copy);
            let mut row = row(&blocks);
            row.full = (usize::from(!is_rebuilt)..blocks.len()).collect();
            row
        };
        let rows: Vec<Row> = (0..40).map(spare).collect();
        let want = Stale {
            device: 0,
            of: 2,
            equal: 10,
            differ: 30,
        };
        assert_eq!(stale(&rows), [want]);
    }
}
