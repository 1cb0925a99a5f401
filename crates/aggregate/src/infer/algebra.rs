//! RAID-6 geometries from the factors of the relations between blocks.
//!
//! Q gives each data member of a row a factor of its own, and who holds P and Q changes from row
//! to row. So the factors that are measured in a row name the role of each device, with one
//! member missing too, and where they change is the edge of a chunk. RAID-5 has the same
//! relation in every row, which says who belongs to the group and nothing more.

use std::collections::BTreeMap;

use super::anchored::chunks;
use super::hypothesis::{Hypothesis, Map};
use super::relations::{Relation, Set};
use super::sample::{BLOCK, Row};
use super::shape::{Holders, Shape};
use crate::raid::Raid6Layout;
use crate::raid::galois::{inverse, product};

/// Most rows by which one hypothesis is judged.
const MOST_ROWS: usize = 2048;
/// In so many turns: a hypothesis that is wrong shows it in the first.
const TURNS: usize = 16;

/// Changes of the factors of which this share lies on the edges of chunks.
const EDGE_PERCENT: usize = 95;

/// Fewest changes of the factors from which a chunk follows.
const LEAST_EDGES: usize = 4;

/// How many rows agree with the relations that a hypothesis predicts, and how many do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) right: u32,
    pub(super) wrong: u32,
    /// Of these, the rows in which a device has had nothing but zeros so far: it may have been wiped.
    wiped: u32,
    /// Of these, the rows in which no blocks are related at all.
    pub(super) unrelated: u32,
    /// Rows in which none is predicted, and none is.
    silent: u32,
}

impl Agreement {
    /// Whether nearly all rows agree: some may have been written when the power went, or by
    /// another array since.
    pub(super) const fn holds(self) -> bool {
        self.right >= 16 && self.against() * 5 <= self.right as u64
    }

    /// Whether nine of ten rows agree, and many do.
    pub(super) const fn holds_all_over(self) -> bool {
        self.right >= 64 && self.against() * 10 <= self.right as u64
    }

    /// Whether two of three rows agree, and many do.
    pub(super) const fn holds_mostly(self) -> bool {
        self.right >= 64 && self.against() * 2 <= self.right as u64
    }

    /// Whether many rows agree, however many do not.
    pub(super) const fn is_often_right(self) -> bool {
        self.right >= 64
    }

    /// Whether so many rows disagree that it cannot be: blocks may be equal by chance.
    pub(super) const fn contradicts(self) -> bool {
        self.against() * 5 > self.right as u64 + self.silent as u64
    }

    /// Whether nearly all rows agree in which blocks are related at all, and many do: a stale member has
    /// left the others unrelated.
    pub(super) const fn holds_where_related(self) -> bool {
        self.right >= 64 && self.misrelated() as u64 * 5 <= self.right as u64
    }

    /// The rows in which blocks are related otherwise than is predicted.
    pub(super) const fn misrelated(self) -> u32 {
        self.wrong.saturating_sub(self.unrelated)
    }

    /// Whether two of three rows disagree, of enough to say that the rest will not make up for it.
    const fn is_hopeless(self) -> bool {
        let rest = self.right as u64 + self.silent as u64;
        let against = self.misrelated().saturating_sub(self.wiped) as u64;
        against >= 64 && against > 2 * rest
    }

    /// Rows that disagree with all that they hold.
    const fn against(self) -> u64 {
        self.wrong.saturating_sub(self.wiped) as u64
    }
}

/// A sample of the rows that say something about `devices`, all of which go on there.
pub(super) fn telling(rows: &[Row], devices: Set) -> Vec<&Row> {
    let telling = |row: &&Row| {
        let full = devices.devices().filter(|d| row.full.has(*d));
        full.count() >= 3 && !row.ended.touches(devices)
    };
    let telling: Vec<&Row> = rows.iter().filter(telling).collect();
    let step = telling.len().div_ceil(MOST_ROWS).max(1);
    telling.into_iter().step_by(step).collect()
}

/// Judges a hypothesis by the relations of the rows that are [`telling`] about its devices; `fronts`
/// are those of all rows ([`fronts`](super::sample::fronts)).
pub(super) fn agreement(hypothesis: &Hypothesis, telling: &[&Row], fronts: &[u64]) -> Agreement {
    let map = hypothesis.map();
    let predicted = Predicted::of(&map);
    let set = predicted.set;
    let mut agreement = Agreement::default();
    // Each turn looks all over the devices: a part of them may be another array's.
    for turn in 0..TURNS {
        for row in telling.iter().skip(turn).step_by(TURNS) {
            match predicted.agrees(row) {
                Some(true) => agreement.right += 1,
                Some(false) => {
                    let is_related = row.relations.iter().any(|own| set.holds(own.set()));
                    agreement.wrong += 1;
                    agreement.unrelated += u32::from(!is_related);
                    agreement.wiped += u32::from(row.may_be_wiped(set, fronts));
                }
                None => agreement.silent += 1,
            }
        }
        if agreement.is_hopeless() {
            break;
        }
    }
    agreement
}

/// What a hypothesis predicts of each row.
pub(super) struct Predicted<'a> {
    map: &'a Map<'a>,
    /// The devices of the hypothesis.
    set: Set,
    /// By the number of the row, for one period: the parity between the devices that are there, and the
    /// relations that hold whatever is missing.
    codes: Vec<(Code, Vec<Relation>)>,
}

impl<'a> Predicted<'a> {
    pub(super) fn of(map: &'a Map<'a>) -> Self {
        let set: Set = map.hypothesis.devices().collect();
        let count = map.hypothesis.devices().max().map_or(0, |most| most + 1);
        let codes = map.rows().iter().map(|holders| {
            let code = Code::of_row(map.hypothesis, holders, count);
            let predicted = code.predicted();
            (code, predicted)
        });
        Self {
            map,
            set,
            codes: codes.collect(),
        }
    }

    /// Whether the relations of a row are those that are predicted; `None` if none is and there are none, or
    /// those only that hold where what is missing has zeros, or if a device ends before that row.
    pub(super) fn agrees(&self, row: &Row) -> Option<bool> {
        if row.ended.touches(self.set) {
            return None;
        }
        let (number, _) = self.map.row_of(row.at)?;
        let hypothesis = self.map.hypothesis;
        if row.relations.is_empty() && hypothesis.missing() >= hypothesis.shape.parities() {
            return None;
        }
        let (code, predicted) = self.codes.get(self.map.index(number))?;
        let all = row.relations.iter();
        let own: Vec<&Relation> = all.filter(|r| self.set.holds(r.set())).collect();
        // More relations than predicted speak against it, if all blocks have something to say.
        if own.len() > predicted.len() && row.full.holds(self.set) {
            return (!code.explains(&own, row.full)).then_some(false);
        }
        if predicted.is_empty() {
            return None;
        }
        Some(all_hold(predicted, &own, row.full))
    }
}

/// Whether `relations` between the devices that are `full` follow from those that were measured.
fn all_hold(relations: &[Relation], measured: &[&Relation], full: Set) -> bool {
    relations.iter().all(|relation| {
        let mut relation = relation.clone();
        for (device, factor) in relation.0.iter_mut().enumerate() {
            if !full.has(device) {
                *factor = 0;
            }
        }
        for own in measured {
            // Each measured relation has a device that no other has: its last.
            let last = own.set().devices().last();
            let factor = last.map_or(0, |device| relation.factor(device));
            relation.add(own, factor);
        }
        relation.0.iter().all(|factor| *factor == 0)
    })
}

/// The parity of one row between the devices that are there.
struct Code {
    /// What P and Q say of them, where that device is there.
    of_p: Option<Relation>,
    of_q: Option<Relation>,
    /// The factors in Q of the data that is missing.
    lost: Vec<u8>,
}

impl Code {
    /// That of a row of a hypothesis, between the first `count` devices.
    fn of_row(hypothesis: &Hypothesis, holders: &Holders, count: usize) -> Self {
        let device = |role: usize| hypothesis.device(role);
        let mut of_p = Relation(vec![0; count]);
        let mut of_q = Relation(vec![0; count]);
        let put = |relation: &mut Relation, device: usize, factor: u8| {
            if let Some(own) = relation.0.get_mut(device) {
                *own = factor;
            }
        };
        let mut lost = Vec::new();
        for (index, role) in holders.data.iter().enumerate() {
            let factor = holders.factors.get(index).copied().unwrap_or(0);
            if let Some(device) = device(*role) {
                put(&mut of_p, device, 1);
                put(&mut of_q, device, factor);
            } else {
                lost.push(factor);
            }
        }
        let with = |role: Option<usize>, mut relation: Relation| {
            put(&mut relation, role.and_then(device)?, 1);
            Some(relation)
        };
        Self {
            of_p: with(holders.p, of_p),
            of_q: with(holders.q, of_q),
            lost,
        }
    }

    /// The relations that hold whatever is missing.
    fn predicted(&self) -> Vec<Relation> {
        match (self.lost.as_slice(), &self.of_p, &self.of_q) {
            ([], ..) => self.without_missing(),
            ([one], ..) => self.without(*one).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Those that hold if all that is missing has zeros.
    fn without_missing(&self) -> Vec<Relation> {
        [&self.of_p, &self.of_q]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The one that holds if of what is missing only that of this factor has other than zeros: what Q lacks
    /// is what P lacks, times its factor.
    fn without(&self, factor: u8) -> Option<Relation> {
        let mut relation = self.of_q.clone()?;
        relation.add(self.of_p.as_ref()?, factor);
        Some(relation)
    }

    /// Whether the relations that were measured between devices which all hold something are those there
    /// are where some of what is missing has zeros.
    fn explains(&self, measured: &[&Relation], full: Set) -> bool {
        let one = self.lost.iter().filter_map(|factor| self.without(*factor));
        let ways = one.map(|relation| vec![relation]);
        let mut ways = ways.chain([self.without_missing()]);
        ways.any(|way| way.len() == measured.len() && all_hold(&way, measured, full))
    }
}

/// A chunk and where its edges lie, if nearly all of some places where something changes lie there.
pub(super) fn edge(changes: &[u64], chunk: u64) -> Option<(u64, u64)> {
    let mut edges: BTreeMap<u64, usize> = BTreeMap::new();
    for change in changes {
        *edges.entry(change % chunk).or_default() += 1;
    }
    let (edge, count) = edges.into_iter().max_by_key(|(_, count)| *count)?;
    let enough = count >= LEAST_EDGES && count * 100 >= changes.len() * EDGE_PERCENT;
    enough.then_some((chunk, edge))
}

/// The relations of a set of devices at the rows where all of them take part.
struct Measured<'a> {
    devices: &'a [usize],
    /// By offset; in every row as many.
    rows: BTreeMap<u64, Vec<Relation>>,
    /// How many there are in a row: one for each member that may still be lost.
    each: usize,
}

impl<'a> Measured<'a> {
    fn new(devices: &'a [usize], rows: &[Row]) -> Option<Self> {
        let set: Set = devices.iter().copied().collect();
        let mut all: BTreeMap<u64, Vec<Relation>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.parts.contains(&set)) {
            let own = row.relations.iter().filter(|r| set.holds(r.set()));
            all.insert(row.at, own.cloned().collect());
        }
        let of = |each: usize| all.values().filter(|own| own.len() == each).count();
        let each = (1..=2).max_by_key(|each| of(*each))?;
        all.retain(|_, own| own.len() == each);
        let says_nothing = each == 1 && all.values().flatten().all(Relation::is_plain);
        (!says_nothing).then_some(Self {
            devices,
            rows: all,
            each,
        })
    }

    /// Where the relations change from one row to the next.
    fn changes(&self) -> Vec<u64> {
        let pairs = self.rows.iter().zip(self.rows.iter().skip(1));
        let changed = pairs.filter(|((at, one), (next, other))| {
            at.saturating_add(BLOCK) == **next && one != other
        });
        changed.map(|(_, (next, _))| *next).collect()
    }

    /// The chunks that there may be, and where the edges of each lie, by where the relations change; the
    /// longest first: where few changes were seen, they may lie on the edges of longer ones by chance.
    fn chunks(&self) -> impl Iterator<Item = (u64, u64)> {
        let changes = self.changes();
        let runs = changes
            .iter()
            .zip(changes.iter().skip(1))
            .map(|(a, b)| b - a);
        let mut sizes: Vec<u64> = chunks().chain(runs.filter(|run| *run <= 4 << 20)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes = sizes.into_iter().rev();
        sizes.filter_map(move |chunk| edge(&changes, chunk))
    }

    /// The commonest relations of each class of rows: of those with the same number modulo
    /// `period`.
    fn classes(&self, chunk: u64, edge: u64, period: u64) -> Option<Vec<Option<Vec<Relation>>>> {
        let mut counts: BTreeMap<u64, Vec<(u32, &Vec<Relation>)>> = BTreeMap::new();
        for (at, own) in self.rows.iter().filter(|(at, _)| **at >= edge) {
            let class = counts.entry((at - edge) / chunk % period).or_default();
            match class.iter_mut().find(|(_, other)| *other == own) {
                Some((count, _)) => *count += 1,
                None => class.push((1, own)),
            }
        }
        let (mut most, mut all) = (0, 0);
        let classes = (0..period).map(|class| {
            let counted = counts.get(&class)?;
            all += counted.iter().map(|(count, _)| count).sum::<u32>();
            let (count, own) = counted.iter().max_by_key(|(count, _)| *count)?;
            most += count;
            Some((*own).clone())
        });
        let classes: Vec<_> = classes.collect();
        (most.saturating_mul(10) >= all.saturating_mul(9)).then_some(classes)
    }

    /// The one relation of a class that leaves out `without`, if there are two.
    fn reduced(&self, class: &[Relation], without: usize) -> Option<Relation> {
        let first = class.first()?.clone();
        let Some(second) = class.get(1) else {
            return Some(first);
        };
        let (a, b) = (first.factor(without), second.factor(without));
        let mut reduced = first;
        reduced.scale(b);
        reduced.add(second, a);
        Some(reduced)
    }
}

/// Every RAID-6 geometry by which the factors on `devices` can be explained.
pub(super) fn solve(devices: &[usize], rows: &[Row]) -> Vec<Hypothesis> {
    let (Some(measured), Ok(present)) =
        (Measured::new(devices, rows), u32::try_from(devices.len()))
    else {
        return Vec::new();
    };
    let solved = measured
        .chunks()
        .map(|(chunk, edge)| solve_for(&measured, present, chunk, edge));
    let mut solved = solved.filter(|found| !found.is_empty());
    solved.next().unwrap_or_default()
}

/// The same with this chunk, whose edges lie at `edge`.
fn solve_for(measured: &Measured<'_>, present: u32, chunk: u64, edge: u64) -> Vec<Hypothesis> {
    // Where all members are there, one is taken as lost: one relation is left then, as where it is
    // missing.
    let members = if measured.each == 2 {
        present
    } else {
        present.saturating_add(1)
    };
    let mut found = Vec::new();
    for layout in Raid6Layout::ALL {
        let shape = Shape::Raid6(layout, members);
        let Some(classes) = measured.classes(chunk, edge, shape.period()) else {
            continue;
        };
        for turn in 0..shape.period() {
            for lost in 0..usize::try_from(members).unwrap_or(0) {
                let at = i64::try_from(edge).unwrap_or(0);
                let roles = roles(measured, &classes, shape, turn, lost);
                let solved = roles.filter_map(|r| Hypothesis::new(shape, chunk, at, turn, r));
                found.extend(solved);
            }
        }
    }
    found
}

/// The devices of the roles of a shape whose row 0 has the number `turn`, if the role `lost` is
/// missing or taken as missing: one answer for each role that the first device may have.
fn roles(
    measured: &Measured<'_>,
    classes: &[Option<Vec<Relation>>],
    shape: Shape,
    turn: u64,
    lost: usize,
) -> impl Iterator<Item = Vec<Option<usize>>> {
    let members = usize::try_from(shape.members()).unwrap_or(0);
    let taken = (measured.each == 2).then(|| measured.devices.first().copied());
    let dropped = taken.flatten();
    let there: Vec<usize> = measured
        .devices
        .iter()
        .copied()
        .filter(|device| Some(*device) != dropped)
        .collect();
    // Pairs of what is measured by device and what is predicted by role.
    let pairs: Vec<(Relation, Vec<u8>)> = (turn..)
        .zip(classes)
        .filter_map(|(row, class)| {
            let class = class.as_ref()?;
            let relation = measured.reduced(class, dropped.unwrap_or(usize::MAX))?;
            Some((relation, factors(shape, row, lost)))
        })
        .collect();
    (0..members)
        .filter(move |role| *role != lost)
        .filter_map(move |first| {
            let (reference, others) = there.split_first()?;
            let mut roles: Vec<Option<usize>> = vec![None; members];
            *roles.get_mut(first)? = Some(*reference);
            *roles.get_mut(lost)? = dropped;
            for device in others {
                let fits = |role: &usize| {
                    let is_free = roles.get(*role).is_some_and(Option::is_none) && *role != lost;
                    is_free
                        && pairs.iter().all(|(relation, factors)| {
                            let factor = |role: usize| factors.get(role).copied().unwrap_or(0);
                            // In proportion to the first device.
                            product(relation.factor(*device), factor(first))
                                == product(factor(*role), relation.factor(*reference))
                        })
                };
                let role = (0..members).find(fits)?;
                *roles.get_mut(role)? = Some(*device);
            }
            Some(roles)
        })
}

/// The factors, by role, of the one relation that is left in a row without `lost`.
fn factors(shape: Shape, row: u64, lost: usize) -> Vec<u8> {
    let holders = shape.row(row);
    let members = usize::try_from(shape.members()).unwrap_or(0);
    let of = |role: usize| {
        let data = holders.data.iter().position(|holder| *holder == role);
        data.and_then(|index| holders.factors.get(index)).copied()
    };
    let lost_factor = of(lost);
    let factor = |role: usize| {
        if role == lost {
            return 0;
        }
        let (in_p, in_q) = match of(role) {
            Some(factor) => (1, factor),
            None if holders.p == Some(role) => (1, 0),
            None => (0, 1),
        };
        match lost_factor {
            Some(lost) => in_q ^ product(in_p, lost),
            None if holders.p == Some(lost) => in_q,
            None => in_p,
        }
    };
    let all: Vec<u8> = (0..members).map(factor).collect();
    let lead = all.iter().copied().find(|factor| *factor != 0).unwrap_or(1);
    all.into_iter()
        .map(|factor| product(factor, inverse(lead)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::sample;
    use crate::raid::Raid5Layout;

    /// Rows of a RAID-4, of which `spoil` may change the blocks.
    fn rows(spoil: impl Fn(u64, &mut [Vec<u8>])) -> Vec<Row> {
        let block = |seed: u64| -> Vec<u8> {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let next = std::iter::repeat_with(|| {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                (state >> 33) as u8
            });
            next.take(4096).collect()
        };
        let row = |number: u64| {
            let mut blocks: Vec<Vec<u8>> = (0..3).map(|role| block(number * 3 + role)).collect();
            let parity = (0..4096).map(|at| blocks.iter().fold(0, |sum, block| sum ^ block[at]));
            blocks.push(parity.collect());
            spoil(number, &mut blocks);
            sample::rows(number * BLOCK, &blocks)
        };
        (0..60).flat_map(row).collect()
    }

    #[test]
    fn rows_that_were_wiped_in_part_contradict_no_geometry_and_others_do() {
        let shape = Shape::Raid5(Raid5Layout::ParityLast, 4);
        let roles = (0..4).map(Some).collect();
        let hypothesis = Hypothesis::new(shape, 65536, 0, 0, roles).unwrap();
        let all = hypothesis.devices().collect();
        let judged =
            |rows: &[Row]| agreement(&hypothesis, &telling(rows, all), &sample::fronts(rows));
        let wiped = rows(|number, blocks| {
            if number < 30 {
                blocks[1].fill(0);
            }
        });
        let found = judged(&wiped);
        assert_eq!((found.right, found.wrong), (30, 30));
        assert!(found.holds() && !found.contradicts());
        let changed = rows(|number, blocks| {
            if number < 30 {
                blocks[1][7] ^= 1;
            }
        });
        let found = judged(&changed);
        assert!(!found.holds() && found.contradicts());
    }

    #[test]
    fn what_is_missing_may_have_zeros_and_relate_the_rest() {
        let code = Code {
            of_p: Some(Relation(vec![1, 1, 0])),
            of_q: Some(Relation(vec![1, 0, 1])),
            lost: vec![2, 4],
        };
        let explains = |measured: &[[u8; 3]]| {
            let measured: Vec<Relation> = measured.iter().map(|r| Relation(r.to_vec())).collect();
            let measured: Vec<&Relation> = measured.iter().collect();
            code.explains(&measured, (0..3).collect())
        };
        assert!(code.predicted().is_empty());
        // All of it is zeros; only one is not.
        assert!(explains(&[[1, 1, 0], [1, 0, 1]]));
        assert!(explains(&[[3, 2, 1]]) && explains(&[[5, 4, 1]]));
        // P alone is right if two add up to zero, which others do seldom.
        assert!(!explains(&[[1, 1, 0]]));
        assert!(!explains(&[[7, 6, 1]]) && !explains(&[[2, 1, 0], [1, 0, 1]]));
    }
}
