//! Geometries from contents alone: the order in which the devices' chunks continue each other.
//!
//! Chunk and edges come from where neighbours do not continue each other. Then every class of
//! rows (those with the same number modulo the layout's period) says how much each device's
//! chunk is continued by each other one's, and who holds parity; the roles are the assignment
//! for which these sums are largest.

use super::contents::Contents;
use super::hypothesis::Hypothesis;
use super::shape::{Holders, Shape};

/// Chunk sizes that are looked into.
const MOST_CHUNKS: usize = 6;

/// Assignments, of all layouts together, that are improved by exchanging roles.
const MOST_IMPROVED: usize = 48;

/// Times that all pairs of roles are exchanged before one is taken as it is.
const MOST_PASSES: usize = 8;

/// What the contents say of rows of one class.
struct Class {
    /// For each device (by its place in the list) and each other one: how much the chunk in the
    /// same row, and in the next row, continues it.
    next: Vec<Vec<[f64; 2]>>,
    /// How much speaks for each device holding parity.
    parity: Vec<f64>,
}

/// An assignment of devices (by their place in the list) to the roles of a shape.
struct Assignment {
    shape: Shape,
    turn: u64,
    roles: Vec<Option<usize>>,
    score: f64,
}

/// Every geometry of `shapes` that the contents of `devices` speak for, the likeliest first.
pub(super) fn solve(
    contents: &Contents<'_>,
    devices: &[usize],
    shapes: &[Shape],
) -> Vec<Hypothesis> {
    let mut found = Vec::new();
    let edges = contents.edges(devices);
    for (chunk, edge, _) in edges.into_iter().take(MOST_CHUNKS).filter(|e| e.2 > 0.0) {
        let mut assignments: Vec<Assignment> = Vec::new();
        let mut periods: Vec<u64> = shapes.iter().map(|shape| shape.period()).collect();
        periods.sort_unstable();
        periods.dedup();
        for period in periods {
            let classes: Vec<Class> = (0..period)
                .map(|class| contents.class(devices, (chunk, edge), (period, class)))
                .collect();
            for shape in shapes.iter().filter(|shape| shape.period() == period) {
                assignments.extend(assign(*shape, &classes, devices.len()));
            }
            keep_best(&mut assignments);
            for assignment in &mut assignments {
                if assignment.shape.period() == period {
                    assignment.improve(&classes);
                }
            }
        }
        for assignment in assignments {
            let named = assignment
                .roles
                .iter()
                .map(|role| devices.get((*role)?).copied());
            let at = i64::try_from(edge).unwrap_or(0);
            let roles = named.collect();
            let solved = Hypothesis::new(assignment.shape, chunk, at, assignment.turn, roles);
            found.extend(solved.map(|hypothesis| (assignment.score, hypothesis)));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
        .into_iter()
        .map(|(_, hypothesis)| hypothesis)
        .collect()
}

fn keep_best(assignments: &mut Vec<Assignment>) {
    assignments.sort_by(|a, b| b.score.total_cmp(&a.score));
    assignments.truncate(MOST_IMPROVED);
}

/// First assignments of a shape, for every turn: by who holds parity, and by chains of devices
/// that continue each other best.
fn assign(shape: Shape, classes: &[Class], count: usize) -> Vec<Assignment> {
    let members = usize::try_from(shape.members()).unwrap_or(0);
    let rows: Vec<Holders> = (0..shape.period()).map(|row| shape.row(row)).collect();
    let chains: Vec<Vec<usize>> = (0..count)
        .map(|first| chain(classes, first, count))
        .collect();
    let gaps = gaps(members, count);
    let mut all = Vec::new();
    for turn in 0..shape.period() {
        let mut starts = vec![by_parity(&rows, classes, turn, members)];
        for chain in &chains {
            for lost in &gaps {
                let mut next = chain.iter().copied();
                let role = |role| {
                    if lost.contains(&role) {
                        None
                    } else {
                        next.next()
                    }
                };
                starts.push((0..members).map(role).collect());
            }
        }
        let best = starts.into_iter().map(|roles| {
            let score = score(&rows, classes, turn, &roles);
            Assignment {
                shape,
                turn,
                roles,
                score,
            }
        });
        all.extend(best.max_by(|a, b| a.score.total_cmp(&b.score)));
    }
    all
}

/// The sets of roles that may be missing.
fn gaps(members: usize, count: usize) -> Vec<Vec<usize>> {
    match members.saturating_sub(count) {
        0 => vec![Vec::new()],
        1 => (0..members).map(|role| vec![role]).collect(),
        _ => (0..members)
            .flat_map(|a| (a + 1..members).map(move |b| vec![a, b]))
            .collect(),
    }
}

/// The devices from `first` on, each followed by the one that continues it best.
fn chain(classes: &[Class], first: usize, count: usize) -> Vec<usize> {
    let mut chain = vec![first];
    while chain.len() < count {
        let last = chain.last().copied().unwrap_or(first);
        let continues = |next: usize| -> f64 {
            let each = classes
                .iter()
                .filter_map(|class| class.next.get(last)?.get(next));
            each.map(|[same, _]| same).sum()
        };
        let left = (0..count).filter(|device| !chain.contains(device));
        let Some(next) = left.max_by(|a, b| continues(*a).total_cmp(&continues(*b))) else {
            break;
        };
        chain.push(next);
    }
    chain
}

/// The assignment by who holds parity in each class, as far as that tells roles apart.
fn by_parity(rows: &[Holders], classes: &[Class], turn: u64, members: usize) -> Vec<Option<usize>> {
    let count = classes.first().map_or(0, |class| class.parity.len());
    let mut votes: Vec<(f64, usize, usize)> = Vec::new();
    for device in 0..count {
        for role in 0..members {
            let turned = rows.iter().cycle().skip(usize::try_from(turn).unwrap_or(0));
            let held = turned
                .zip(classes)
                .filter(|(holders, _)| holders.p == Some(role) || holders.q == Some(role));
            let sum = held.filter_map(|(_, class)| class.parity.get(device)).sum();
            votes.push((sum, device, role));
        }
    }
    votes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut roles: Vec<Option<usize>> = vec![None; members];
    for (_, device, role) in votes {
        let taken = roles.contains(&Some(device));
        if let Some(slot @ None) = roles.get_mut(role)
            && !taken
        {
            *slot = Some(device);
        }
    }
    roles
}

/// How much speaks for an assignment.
fn score(rows: &[Holders], classes: &[Class], turn: u64, roles: &[Option<usize>]) -> f64 {
    let turn = usize::try_from(turn).unwrap_or(0);
    let row = |number: usize| rows.get((number + turn) % rows.len().max(1));
    let device = |role: Option<&usize>| roles.get(*role?).copied().flatten();
    let mut sum = 0.0;
    for (number, class) in classes.iter().enumerate() {
        let (Some(here), Some(below)) = (row(number), row(number + 1)) else {
            continue;
        };
        for (index, role) in here.data.iter().enumerate() {
            let (next, ahead) = match here.data.get(index + 1) {
                Some(next) => (Some(next), 0),
                None => (below.data.first(), 1),
            };
            let (Some(tail), Some(head)) = (device(Some(role)), device(next)) else {
                continue;
            };
            let weight = class.next.get(tail).and_then(|of| of.get(head)?.get(ahead));
            sum += weight.copied().unwrap_or(0.0);
        }
        for holder in [here.p, here.q].iter().flatten() {
            let vote = device(Some(holder)).and_then(|device| class.parity.get(device));
            sum += vote.copied().unwrap_or(0.0);
        }
    }
    sum
}

impl Assignment {
    /// Exchanges roles as long as that makes it better.
    fn improve(&mut self, classes: &[Class]) {
        let rows: Vec<Holders> = (0..self.shape.period())
            .map(|row| self.shape.row(row))
            .collect();
        for _ in 0..MOST_PASSES {
            let before = self.score;
            for a in 0..self.roles.len() {
                for b in a + 1..self.roles.len() {
                    self.roles.swap(a, b);
                    let exchanged = score(&rows, classes, self.turn, &self.roles);
                    if exchanged > self.score {
                        self.score = exchanged;
                    } else {
                        self.roles.swap(a, b);
                    }
                }
            }
            if self.score <= before {
                break;
            }
        }
    }
}

impl Contents<'_> {
    /// What the contents say of the rows of a class: those whose number, counted from `edge`,
    /// is `class` modulo `period`.
    fn class(
        &self,
        devices: &[usize],
        (chunk, edge): (u64, u64),
        (period, class): (u64, u64),
    ) -> Class {
        let count = devices.len();
        let mut sums = Class {
            next: vec![vec![[0.0; 2]; count]; count],
            parity: vec![0.0; count],
        };
        for row in self.rows_of(chunk, edge, period, class) {
            if let Some(holder) = self.parity(row, devices) {
                for (device, vote) in devices.iter().zip(&mut sums.parity) {
                    *vote += if *device == holder { 1.0 } else { -1.0 };
                }
            }
            for (tail, of) in devices.iter().zip(&mut sums.next) {
                for (head, weights) in devices.iter().zip(of) {
                    for (ahead, weight) in (0..).zip(weights) {
                        let after = self.after_chunk((row, *tail), *head, (chunk, edge), ahead);
                        *weight += after.unwrap_or(0.0);
                    }
                }
            }
        }
        sums
    }
}
