//! Members whose data begins at different offsets.
//!
//! Where a row holds one block of data and zeros, parity is a copy of it; and mirrors are copies
//! throughout. So blocks that two devices have in common, at a distance that is mostly the
//! same, tell by how much one's data begins later than the other's. What is in line then speaks
//! together: the sum of the blocks of some members is what the others add up to, which is one
//! block where all but one of these hold zeros. The more are in line, the more rows say so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};

use super::relations::Set;
use super::sample::{BLOCK, Candidate, Row, WINDOW};

/// So many common blocks must have one distance, and so many times more than have the next.
const LEAST_COMMON: u32 = 12;
const CLEAR: u32 = 3;

/// Of ways in which devices may lie, by how many rows add up in each, the number of the one that stands out
/// as a distance of common blocks must; else the first.
pub(super) fn most_whole(whole: &[usize]) -> usize {
    let numbered = || whole.iter().copied().enumerate();
    let Some((best, most)) = numbered().max_by_key(|(_, rows)| *rows) else {
        return 0;
    };
    let next = numbered().filter(|(number, _)| *number != best);
    let next = next.map(|(_, rows)| rows).max().unwrap_or(0);
    let [least, clear] = [LEAST_COMMON, CLEAR].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if most >= least && most >= next.saturating_mul(clear) {
        best
    } else {
        0
    }
}

/// A block that is at more places says nothing, but where no device has it twice: there may be many
/// copies of a mirror.
const MOST_PLACES: usize = 4;

/// Blocks with contents that add up to zero say that their devices are in line if they are so many:
/// two are copies.
const LEAST_SUMMED: usize = 3;

/// What two devices have in common.
pub(super) struct Tie {
    pub(super) pair: (usize, usize),
    /// How much further the second one has it.
    pub(super) distance: i64,
    /// How many blocks have this distance.
    pub(super) common: u32,
}

/// A block that something holds, by its number, and where.
type Held = (usize, u64, u64);

/// The distances of the common blocks of each two devices, at most so `many`, where they stand
/// out.
pub(super) fn distances(rows: &[Row], many: usize) -> Vec<Tie> {
    let held = rows.iter().flat_map(|row| {
        let prints = row.prints.iter().enumerate();
        prints.map(|(device, print)| (device, row.at, *print))
    });
    ties(held, many)
}

/// The same of whatever holds blocks.
fn ties(held: impl Iterator<Item = Held>, many: usize) -> Vec<Tie> {
    let mut places: HashMap<u64, Places> = HashMap::new();
    for (holder, at, print) in held.filter(|(_, _, print)| *print != 0) {
        places.entry(print).or_default().add(holder, at);
    }
    let mut counts: BTreeMap<(usize, usize), BTreeMap<i64, u32>> = BTreeMap::new();
    for ((a, from), (b, to)) in places.values().flat_map(Places::pairs) {
        let distance = i64::try_from(to).unwrap_or(0) - i64::try_from(from).unwrap_or(0);
        *counts
            .entry((a, b))
            .or_default()
            .entry(distance)
            .or_default() += 1;
    }
    let clear = counts.into_iter().flat_map(|(pair, counts)| {
        let mut counts: Vec<(u32, i64)> = counts.into_iter().map(|(d, n)| (n, d)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let rest = counts.get(many).map_or(0, |(common, _)| *common);
        counts.truncate(many);
        counts.into_iter().filter_map(move |(common, distance)| {
            let is_clear = common >= LEAST_COMMON && common >= rest.saturating_mul(CLEAR);
            is_clear.then_some(Tie {
                pair,
                distance,
                common,
            })
        })
    });
    clear.collect()
}

/// Where equal blocks are.
#[derive(Default)]
struct Places {
    /// Holder and place, in order.
    all: Vec<(usize, u64)>,
    /// Whether a holder has more than one.
    repeat: bool,
}

impl Places {
    fn add(&mut self, holder: usize, at: u64) {
        self.repeat |= self.all.iter().any(|(other, _)| *other == holder);
        if !self.says_nothing() {
            self.all.push((holder, at));
        }
    }

    fn says_nothing(&self) -> bool {
        self.repeat && self.all.len() > MOST_PLACES
    }

    /// Each two of different holders, in order.
    fn pairs(&self) -> impl Iterator<Item = ((usize, u64), (usize, u64))> {
        let all: &[(usize, u64)] = if self.says_nothing() { &[] } else { &self.all };
        all.iter().enumerate().flat_map(move |(index, one)| {
            let others = all.iter().skip(index + 1).filter(|other| other.0 != one.0);
            others.map(move |other| (*one.min(other), *one.max(other)))
        })
    }
}

/// Devices that are in line with each other: each with how much later its data begins than that of the
/// first of them.
#[derive(Clone, Debug)]
struct Line(Vec<(usize, u64)>);

impl Line {
    /// From places of which only the differences count; `None` if some lie too far apart.
    fn new(places: impl IntoIterator<Item = (usize, i64)>) -> Option<Self> {
        let places: Vec<(usize, i64)> = places.into_iter().collect();
        let first = places.iter().map(|(_, place)| *place).min()?;
        let later = |(device, place): (usize, i64)| {
            Some((device, u64::try_from(place.checked_sub(first)?).ok()?))
        };
        let places: Option<Vec<(usize, u64)>> = places.into_iter().map(later).collect();
        places.map(Self)
    }

    /// Where a device lies in it.
    fn place(&self, device: usize) -> Option<u64> {
        let own = self.0.iter().find(|(own, _)| *own == device);
        own.map(|(_, place)| *place)
    }

    /// This one and another, of which all lie `distance` further down.
    fn joined(&self, other: &Self, distance: i64) -> Option<Self> {
        let signed = |(device, place): &(usize, u64), by: i64| {
            Some((*device, i64::try_from(*place).ok()?.checked_add(by)?))
        };
        let own = self.0.iter().map(|one| signed(one, 0));
        let all: Option<Vec<_>> = own
            .chain(other.0.iter().map(|one| signed(one, distance)))
            .collect();
        Self::new(all?)
    }
}

/// The devices of a pile, by what is in line.
pub(super) struct Lines<'a> {
    lines: Vec<Line>,
    blocks: &'a Blocks,
}

/// What the sampled blocks of each device are.
pub(super) struct Blocks {
    /// By device: the numbers of those that are not zeros. They add up as the blocks do.
    prints: Vec<HashMap<u64, u64>>,
    windows: BTreeSet<u64>,
}

impl Blocks {
    pub(super) fn new(rows: &[Row], windows: &[u64], count: usize) -> Self {
        let mut prints: Vec<HashMap<u64, u64>> = vec![HashMap::new(); count];
        for row in rows {
            for (own, print) in prints.iter_mut().zip(&row.prints) {
                if *print != 0 {
                    own.insert(row.at, *print);
                }
            }
        }
        Self {
            prints,
            windows: windows.iter().copied().collect(),
        }
    }

    /// The block of a device at a place, 0 for zeros; `None` if it was not looked at.
    fn at(&self, device: usize, at: u64) -> Option<u64> {
        let known = self.windows.contains(&(at - at % WINDOW));
        let own = self.prints.get(device)?;
        known.then(|| own.get(&at).copied().unwrap_or(0))
    }

    /// The rows of a line, each with where it lies on the first member, and the blocks of all.
    fn rows<'a>(&'a self, line: &'a Line) -> impl Iterator<Item = (u64, Vec<u64>)> + 'a {
        let places = line.0.iter().filter_map(|(device, place)| {
            let own = self.prints.get(*device)?.keys();
            Some(own.filter_map(move |at| at.checked_sub(*place)))
        });
        let places: BTreeSet<u64> = places.flatten().collect();
        places.into_iter().filter_map(move |at| {
            let blocks = line.0.iter().map(|(device, place)| {
                let at = at.checked_add(*place)?;
                self.at(*device, at)
            });
            Some((at, blocks.collect::<Option<Vec<u64>>>()?))
        })
    }

    /// What others may hold of the rows of a line: the sum of its blocks, with each of them left
    /// out, too, for that may be a second parity.
    fn sums(&self, line: &Line) -> Vec<(u64, u64)> {
        let mut sums = Vec::new();
        for (at, blocks) in self.rows(line) {
            let all = blocks.iter().fold(0, |sum, block| sum ^ block);
            sums.push((at, all));
            if line.0.len() > 1 {
                let there = blocks.iter().filter(|block| **block != 0);
                sums.extend(there.map(|block| (at, all ^ block)));
            }
        }
        sums
    }

    /// In how many rows the blocks of a line add up to zero, all of them or without a second parity. Those
    /// in which a block repeats say nothing: equal ones add up to zero in any line.
    fn whole(&self, line: &Line) -> usize {
        let is_whole = |(_, blocks): &(u64, Vec<u64>)| {
            let all = blocks.iter().fold(0, |sum, block| sum ^ block);
            let full = blocks.iter().filter(|block| **block != 0);
            let different: BTreeSet<u64> = full.clone().copied().collect();
            let there = full.count();
            if different.len() < there {
                return false;
            }
            let without = blocks.contains(&all);
            if all == 0 {
                there >= LEAST_SUMMED
            } else {
                without && there > LEAST_SUMMED
            }
        };
        self.rows(line).filter(is_whole).count()
    }
}

impl<'a> Lines<'a> {
    /// Each of `devices` by itself.
    fn alone(devices: impl IntoIterator<Item = usize>, blocks: &'a Blocks) -> Self {
        let lines = devices.into_iter().map(|device| Line(vec![(device, 0)]));
        Self {
            lines: lines.collect(),
            blocks,
        }
    }

    /// Those of a set in the places that are given, and `others` by themselves.
    pub(super) fn placed(
        places: &[(usize, i64)],
        others: impl IntoIterator<Item = usize>,
        blocks: &'a Blocks,
    ) -> Option<Self> {
        let line = Line::new(places.iter().copied())?;
        let mut lines = Self::alone(others, blocks);
        lines.lines.insert(0, line);
        Some(lines)
    }

    /// Joins the lines of two devices; `None` if they are in one that has them elsewhere.
    fn join(&mut self, (a, b): (usize, usize), distance: i64) -> Option<()> {
        let line = |device: usize| {
            let places = self.lines.iter().enumerate();
            let mut own = places.filter_map(|(line, own)| Some((line, own.place(device)?)));
            own.next()
        };
        let ((one, from), (other, to)) = (line(a)?, line(b)?);
        let apart = i64::try_from(from).ok()?.checked_add(distance)?;
        let apart = apart.checked_sub(i64::try_from(to).ok()?)?;
        if one == other {
            return (apart == 0).then_some(());
        }
        let joined = self.lines.get(one)?.joined(self.lines.get(other)?, apart)?;
        *self.lines.get_mut(one)? = joined;
        self.lines.remove(other);
        Some(())
    }

    /// Whether all lie whole blocks apart, so that the blocks that were sampled are those of one row.
    fn are_of_blocks(&self) -> bool {
        let mut places = self.lines.iter().flat_map(|line| &line.0);
        places.all(|(_, place)| place.is_multiple_of(BLOCK))
    }

    /// Joins lines whose sums are the same in many rows, for as long as there are any.
    pub(super) fn grow(&mut self) {
        while self.are_of_blocks()
            && self.lines.len() > 1
            && self.lines.iter().any(|line| line.0.len() > 1)
        {
            let held = self.lines.iter().enumerate().flat_map(|(number, line)| {
                let sums = self.blocks.sums(line).into_iter();
                sums.map(move |(at, sum)| (number, at, sum))
            });
            let best = ties(held, 1).into_iter().max_by_key(|tie| tie.common);
            let Some(tie) = best else {
                return;
            };
            let (Some(one), Some(other)) = (self.lines.get(tie.pair.0), self.lines.get(tie.pair.1))
            else {
                return;
            };
            let Some(joined) = one.joined(other, tie.distance) else {
                return;
            };
            self.lines.remove(tie.pair.0.max(tie.pair.1));
            self.lines.remove(tie.pair.0.min(tie.pair.1));
            self.lines.push(joined);
        }
    }

    /// In how many rows the members of a line add up to zero.
    pub(super) fn whole(&self) -> usize {
        if !self.are_of_blocks() {
            return 0;
        }
        let lines = self
            .lines
            .iter()
            .filter(|line| line.0.len() >= LEAST_SUMMED);
        lines.map(|line| self.blocks.whole(line)).sum()
    }

    /// By how much later each of `count` devices begins than it would if all of its line began at the
    /// same offset; `None` if they all do.
    pub(super) fn shifts(&self, count: usize) -> Option<Vec<u64>> {
        let place = |device| self.lines.iter().find_map(|line| line.place(device));
        let shifts: Vec<u64> = (0..count).map(|d| place(d).unwrap_or(0)).collect();
        shifts.iter().any(|shift| *shift != 0).then_some(shifts)
    }
}

/// By how many bytes each device's data begins later than it would if all began at the same
/// offset; `None` if they all do. Those that are `settled` agree with others where they are.
pub(super) fn shifts(rows: &[Row], blocks: &Blocks, settled: Set) -> Option<Vec<u64>> {
    let count = blocks.prints.len();
    let loose = (0..count).filter(|device| !settled.has(*device));
    let mut lines = Lines::alone(loose, blocks);
    let mut ties = distances(rows, 1);
    ties.retain(|tie| !settled.has(tie.pair.0) && !settled.has(tie.pair.1));
    ties.sort_by_key(|tie| (std::cmp::Reverse(tie.common), tie.pair));
    for tie in &ties {
        // Copies of RAID-10 that lie further down go round in a circle: no offsets.
        lines.join(tie.pair, tie.distance)?;
    }
    lines.grow();
    lines.shifts(count)
}

/// The devices from where their data would begin if all began at the same offset.
pub(super) fn shifted(candidates: &[Candidate], shifts: &[u64]) -> Vec<Candidate> {
    let shift = |(candidate, shift): (&Candidate, &u64)| {
        let length = candidate.device.len().saturating_sub(*shift);
        let all = Arc::clone(&candidate.device);
        Candidate {
            name: candidate.name.clone(),
            device: Arc::new(Slice::new(all, ByteOffset::new(*shift), length)),
            shift: candidate.shift.saturating_add(*shift),
            lost: candidate.lost.clone(),
        }
    };
    candidates.iter().zip(shifts).map(shift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of devices, of which each shows what it holds so many blocks further down.
    fn rows(blocks: &[Vec<u64>], shifts: &[u64]) -> Vec<Row> {
        let length = blocks.len() as u64 + shifts.iter().max().unwrap();
        let print = |device: usize, at: u64| {
            let row = at.checked_sub(shifts[device]);
            let row = row.and_then(|row| blocks.get(usize::try_from(row).unwrap()));
            row.map_or(0, |row| row[device])
        };
        let row = |at| Row {
            at: at * BLOCK,
            prints: (0..shifts.len()).map(|device| print(device, at)).collect(),
            ..Row::default()
        };
        (0..length).map(row).collect()
    }

    fn noise(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        *state ^ (*state >> 29)
    }

    #[test]
    fn what_is_in_line_already_brings_in_line_what_only_its_sum_is_equal_to() {
        // Only 30 rows have one block of data, and 30 more with each further one.
        let mut state = 7;
        let mut blocks = Vec::new();
        for there in 1..=4 {
            for row in 0..30 {
                let mut data = [0; 5];
                data.iter_mut()
                    .take(there)
                    .for_each(|block| *block = noise(&mut state));
                data[4] = data.iter().fold(0, |sum, block| sum ^ block);
                data.rotate_left(row % 2 * 4);
                blocks.push(data.to_vec());
            }
        }
        let moved = [3, 0, 7, 5, 9];
        let rows = rows(&blocks, &moved);
        let in_line = |settled: Set| {
            let blocks = Blocks::new(&rows, &[0], 5);
            let shifts = shifts(&rows, &blocks, settled)?;
            Some(
                shifts
                    .iter()
                    .map(|shift| shift / BLOCK)
                    .collect::<Vec<u64>>(),
            )
        };
        assert_eq!(in_line(Set::default()), Some(moved.to_vec()));
        // Devices that agree where they are stay there.
        assert_eq!(in_line((0..5).collect()), None);
    }

    #[test]
    fn any_number_of_copies_is_brought_in_line_and_blocks_that_repeat_say_nothing() {
        let mut state = 7;
        let copies = |block: u64| vec![block; 6];
        let blocks: Vec<Vec<u64>> = (0..20).map(|_| copies(noise(&mut state))).collect();
        let moved = [0, 3, 1, 5, 2, 4];
        let found = |blocks: &[Vec<u64>]| {
            let rows = rows(blocks, &moved);
            shifts(&rows, &Blocks::new(&rows, &[0], 6), Set::default())
        };
        let expected: Vec<u64> = moved.iter().map(|shift| shift * BLOCK).collect();
        assert_eq!(found(&blocks), Some(expected));
        assert_eq!(found(&vec![copies(9); 20]), None);
    }
}
