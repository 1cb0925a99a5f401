//! RAID-10 with near copies that do not go into the members evenly, as on three or five disks.
//!
//! Copies lie side by side and go around: where a row ends, the next one goes on with the copies that
//! are left. So a device equals its neighbour in some rows and not in others, in turn, and the last
//! device of a row equals the first of the next one (`drivers/md/raid10.c`, `__raid10_find_phys`;
//! RAID-1E lies the same way). Where the number of copies divides that of the members there are
//! mirrors, which [`mirrors`](super::mirrors) finds. Of two copies on three devices of which the one in
//! the middle is missing, the first holds what the last one holds a row before: a ring of two.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};

use super::algebra::edge;
use super::anchored::chunks;
use super::anchors::{Anchor, Source};
use super::base::{FAR, NEAR, USUAL};
use super::contents::{Contents, Spread};
use super::rings::Ring;
use super::sample::{BLOCK, Candidate, Row};
use super::start::{Start, start};
use crate::document::{Group, Member};
use crate::raid::{Geometry, GroupReader, Level, Raid10Layout};

/// Rows in which two devices both have contents, before anything is said of them.
const LEAST_BOTH: usize = 64;

/// Most copies that are looked for.
const MOST_COPIES: usize = 4;

/// Most pieces of a ring that are tried as all that is left of it: there are so many orders of them.
const MOST_PIECES: usize = 4;

/// Of the pairs of blocks that are compared, so many must be as predicted, in percent.
const AGREE_PERCENT: u64 = 97;

/// At least one in so many pairs of blocks lies behind the place where a group begins.
const MOST_BEHIND: u64 = 2;

/// What must speak for one order, and for it against every other, in nats: of what is compared each disagreement
/// counts as one.
const LEAD: f64 = 16.0;

/// What must speak for two devices being what is left of three, in nats, and how many of the addresses
/// must agree, in percent: as offset copies they would be equal in the same way.
const LEAST_OF_TWO: f64 = 64.0;
const AGREE_OF_TWO_PERCENT: u32 = 75;

/// What an address that is where it should be is worth, in nats.
const ANCHOR_HIT: f64 = 4.0;

/// Contents say that much less than they seem to.
const CONTENTS_DAMPING: f64 = 0.5;

/// A way to read some devices.
#[derive(Clone, Debug)]
struct Order {
    roles: Vec<Option<usize>>,
    near: usize,
    chunk: u64,
    /// Where a row begins, and its number modulo that of the roles.
    edge: u64,
    turn: u64,
}

/// How many addresses agree with others of their file system on where that begins, and how many do not.
#[derive(Clone, Copy, Debug, Default)]
struct Stated {
    hits: u32,
    misses: u32,
}

impl Stated {
    /// What they say, in nats.
    fn worth(self) -> f64 {
        f64::from(self.hits) * ANCHOR_HIT - f64::from(self.misses)
    }

    /// Whether this share of them agrees, in percent.
    const fn agree(self, percent: u32) -> bool {
        let all = self.hits.saturating_add(self.misses);
        self.hits.saturating_mul(100) >= all.saturating_mul(percent)
    }
}

/// The rows by their offsets.
type ByOffset<'a> = HashMap<u64, &'a Row>;

/// The groups among the devices, with theirs; `rings` are those of devices that hold what others hold
/// further down.
pub(super) fn groups(
    candidates: &[Candidate],
    rows: &[Row],
    anchors: &[Anchor],
    rings: &[Ring],
) -> Vec<(Vec<usize>, Group)> {
    let pairs = Pairs::of(rows, candidates.len());
    let by_offset: ByOffset<'_> = rows.iter().map(|row| (row.at, row)).collect();
    let mut found: Vec<(Vec<usize>, Group)> = Vec::new();
    for near in 2..=MOST_COPIES {
        for pieces in pieces(&pairs.paths(near)) {
            let devices: Vec<usize> = pieces.iter().flatten().copied().collect();
            let is_taken = |(own, _): &(Vec<usize>, Group)| own.iter().any(|d| devices.contains(d));
            if !found.iter().any(is_taken)
                && let Some(tries) = tries(&pieces, near, rows, &by_offset, anchors)
                && let Some(group) = group(tries, candidates)
            {
                found.push((devices, group));
            }
        }
    }
    for ring in rings {
        let is_taken =
            |(own, _): &(Vec<usize>, Group)| own.iter().any(|d| ring.devices.contains(d));
        if let [first, last] = *ring.devices
            && !found.iter().any(is_taken)
            && let Some(tries) = tries_of_two([first, last], ring.stride, rows, &by_offset, anchors)
            && let Some(group) = group(tries, candidates)
        {
            found.push((ring.devices.clone(), group));
        }
    }
    found
}

/// What paths may make a group, of the most devices first: all of a few, two that one missing member
/// parts, and each alone.
fn pieces(paths: &[Vec<usize>]) -> Vec<Vec<Vec<usize>>> {
    let all = (3..=MOST_PIECES).contains(&paths.len());
    let all = all.then(|| paths.to_vec()).into_iter();
    let two = paths.iter().enumerate().flat_map(|(number, one)| {
        let others = paths.iter().skip(number + 1);
        others.map(move |other| vec![one.clone(), other.clone()])
    });
    let alone = paths.iter().map(|one| vec![one.clone()]);
    // Without two neighbours nothing tells the chunk.
    all.chain(two)
        .chain(alone)
        .filter(|pieces| pieces.iter().any(|path| path.len() > 1))
        .collect()
}

/// The group of some devices, if one order of them stands out.
fn group(tries: Vec<Try>, candidates: &[Candidate]) -> Option<Group> {
    let (orders, agreeing) = decided(tries)?;
    let begun = |order: &&Order| {
        let begin = order.begin(candidates);
        begin.is_some_and(|(_, start)| start.is_some())
    };
    let order = orders.iter().find(begun).or(orders.first())?;
    order.statement(candidates, agreeing)
}

/// In how many rows two devices both have contents, and in how many of these they are equal.
#[derive(Default)]
struct Pairs(BTreeMap<(usize, usize), (usize, usize)>);

impl Pairs {
    fn of(rows: &[Row], devices: usize) -> Self {
        let mut pairs = Self::default();
        for row in rows {
            let full: Vec<(usize, u64)> = (0..devices)
                .filter_map(|device| {
                    let print = row.prints.get(device).filter(|print| **print != 0)?;
                    Some((device, *print))
                })
                .collect();
            for (index, (a, of_a)) in full.iter().enumerate() {
                for (b, of_b) in full.iter().skip(index + 1) {
                    let count = pairs.0.entry((*a, *b)).or_default();
                    count.0 += 1;
                    count.1 += usize::from(of_a == of_b);
                }
            }
        }
        pairs.0.retain(|_, (both, _)| *both >= LEAST_BOTH);
        pairs
    }

    /// Devices in the order in which they are neighbours, and those whose neighbours are missing, if
    /// there are so many copies: of `c` a device and its neighbour have one less in common in each `c`
    /// rows, and those two apart have two less.
    fn paths(&self, copies: usize) -> Vec<Vec<usize>> {
        let near = |(both, equal): &(usize, usize)| {
            let is_mirror = equal * 20 >= both * 19;
            !is_mirror && equal * 2 * copies >= both * (2 * copies - 3)
        };
        let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for ((a, b), counts) in &self.0 {
            let (of_a, of_b) = if near(counts) {
                (Some(*b), Some(*a))
            } else {
                (None, None)
            };
            neighbours.entry(*a).or_default().extend(of_a);
            neighbours.entry(*b).or_default().extend(of_b);
        }
        neighbours.retain(|_, of| of.len() <= 2);
        let next = |last: usize, path: &[usize]| {
            let of = neighbours.get(&last)?.iter().copied();
            of.filter(|next| neighbours.contains_key(next))
                .find(|next| !path.contains(next))
        };
        let mut paths: Vec<Vec<usize>> = Vec::new();
        for (device, of) in &neighbours {
            if of.len() > 1 || paths.iter().flatten().any(|known| known == device) {
                continue;
            }
            let mut path = vec![*device];
            while let Some(device) = path.last().and_then(|last| next(*last, &path)) {
                path.push(device);
            }
            paths.push(path);
        }
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        paths
    }
}

/// An order of some devices, how much speaks for it, and how many pairs of blocks agree.
struct Try {
    worth: f64,
    right: u64,
    order: Order,
}

impl Try {
    /// What speaks for an order; `None` if too few pairs of blocks agree with it.
    fn of(
        order: Order,
        rows: &[Row],
        by_offset: &ByOffset<'_>,
        anchors: &[Anchor],
        contents: &Contents<'_>,
    ) -> Option<Self> {
        let (right, wrong) = order.agreement(rows, by_offset);
        let all = right.saturating_add(wrong);
        let agrees = all >= LEAST_BOTH as u64 && right * 100 >= all * AGREE_PERCENT;
        agrees.then(|| Self {
            worth: order.addresses(anchors).worth() + order.contents(contents, by_offset)
                - wrong as f64,
            right,
            order,
        })
    }
}

/// The orders that claim what stands out, and how many pairs of blocks agree.
fn decided(mut tries: Vec<Try>) -> Option<(Vec<Order>, u64)> {
    tries.sort_by(|a, b| b.worth.total_cmp(&a.worth));
    let best = tries.first().filter(|best| best.worth >= LEAD)?;
    let claims = best.order.claims();
    let (same, others): (Vec<_>, Vec<_>) = tries
        .iter()
        .partition(|other| other.order.claims() == claims);
    let stands_out = others.iter().all(|other| best.worth - other.worth >= LEAD);
    let same = same.into_iter().map(|other| other.order.clone());
    stands_out.then(|| (same.collect(), best.right))
}

/// The orders of the devices of some paths with which nearly all pairs of blocks agree.
fn tries(
    pieces: &[Vec<usize>],
    near: usize,
    rows: &[Row],
    by_offset: &ByOffset<'_>,
    anchors: &[Anchor],
) -> Option<Vec<Try>> {
    let longest = pieces.iter().max_by_key(|path| path.len())?;
    let (chunk, edge) = edges(longest, rows, by_offset)?;
    let devices: Vec<usize> = pieces.iter().flatten().copied().collect();
    let contents = Contents::learn(rows, &devices, Spread::Perhaps);
    let mut tries = Vec::new();
    for roles in arrangements(pieces) {
        if roles.len().is_multiple_of(near) {
            continue;
        }
        for turn in 0..near as u64 {
            let order = Order {
                roles: roles.clone(),
                near,
                chunk,
                edge,
                turn,
            };
            tries.extend(Try::of(order, rows, by_offset, anchors, &contents));
        }
    }
    Some(tries)
}

/// The orders of two devices of which the second one holds what the first one holds `chunk` bytes
/// before, as what is left of three: those for which so much speaks that no offset copies would.
fn tries_of_two(
    [first, last]: [usize; 2],
    chunk: u64,
    rows: &[Row],
    by_offset: &ByOffset<'_>,
    anchors: &[Anchor],
) -> Option<Vec<Try>> {
    let print =
        |row: &Row, device: usize| row.prints.get(device).copied().filter(|print| *print != 0);
    let equal = |row: &Row| {
        let below = by_offset.get(&row.at.checked_add(chunk)?)?;
        Some(print(row, first)? == print(below, last)?)
    };
    let (_, edge) = edge(&changes(rows, by_offset, |row| vec![equal(row)]), chunk)?;
    let contents = Contents::learn(rows, &[first, last], Spread::Perhaps);
    let order = |turn| Order {
        roles: vec![Some(last), None, Some(first)],
        near: 2,
        chunk,
        edge,
        turn,
    };
    let tries = (0..2).map(order);
    let tries = tries.filter_map(|order| Try::of(order, rows, by_offset, anchors, &contents));
    let tries = tries.filter(|one| {
        let addresses = one.order.addresses(anchors);
        addresses.agree(AGREE_OF_TWO_PERCENT) && one.worth >= LEAST_OF_TWO
    });
    Some(tries.collect())
}

/// The chunk, and where an edge lies, by where neighbours begin or cease to be equal.
fn edges(path: &[usize], rows: &[Row], by_offset: &ByOffset<'_>) -> Option<(u64, u64)> {
    let equal = |row: &Row, pair: &[usize]| {
        let prints = |device: &usize| row.prints.get(*device).filter(|print| **print != 0);
        let (a, b) = (prints(pair.first()?)?, prints(pair.get(1)?)?);
        Some(a == b)
    };
    let states = |row: &Row| path.windows(2).map(|pair| equal(row, pair)).collect();
    let all = changes(rows, by_offset, states);
    let sizes: Vec<u64> = chunks().collect();
    let edge_of = |changes: &[u64]| sizes.iter().rev().find_map(|chunk| edge(changes, *chunk));
    edge_of(&steady(&all)).or_else(|| edge_of(&all))
}

/// The changes that are not those of a single row, which may be equal by chance: bitmaps are alike.
fn steady(changes: &[u64]) -> Vec<u64> {
    let places: HashSet<u64> = changes.iter().copied().collect();
    let beside = |at: u64| [at.saturating_sub(BLOCK), at.saturating_add(BLOCK)];
    let is_steady = |at: &&u64| !beside(**at).iter().any(|other| places.contains(other));
    changes.iter().filter(is_steady).copied().collect()
}

/// Where one of the `states` of a row is another one than in the next row, if it is known of both.
fn changes(
    rows: &[Row],
    by_offset: &ByOffset<'_>,
    states: impl Fn(&Row) -> Vec<Option<bool>>,
) -> Vec<u64> {
    let change = |row: &Row| {
        let next = by_offset.get(&row.at.saturating_add(BLOCK))?;
        let (before, after) = (states(row), states(next));
        let mut both = before.iter().zip(&after).filter_map(|(a, b)| a.zip(*b));
        both.any(|(before, after)| before != after)
            .then_some(next.at)
    };
    rows.iter().filter_map(change).collect()
}

/// The roles that some paths may have: in any order and each in both directions, with one missing
/// between two of them, and none or one at an end.
fn arrangements(pieces: &[Vec<usize>]) -> Vec<Vec<Option<usize>>> {
    let mut all = Vec::new();
    for within in joined(pieces) {
        all.push([&[None], within.as_slice()].concat());
        all.push([within.as_slice(), &[None]].concat());
        all.push(within);
    }
    all
}

/// Paths in any order and each in both directions, with one missing between two of them.
fn joined(pieces: &[Vec<usize>]) -> Vec<Vec<Option<usize>>> {
    let mut all = Vec::new();
    for (number, first) in pieces.iter().enumerate() {
        let there: Vec<Option<usize>> = first.iter().copied().map(Some).collect();
        let back: Vec<Option<usize>> = there.iter().rev().copied().collect();
        let ways = if there.len() == 1 {
            vec![there]
        } else {
            vec![there, back]
        };
        let mut others = pieces.to_vec();
        others.remove(number);
        if others.is_empty() {
            all.extend(ways);
            continue;
        }
        for rest in joined(&others) {
            let with = |way: &Vec<Option<usize>>| [way, [None].as_slice(), &rest].concat();
            all.extend(ways.iter().map(with));
        }
    }
    all
}

impl Order {
    fn members(&self) -> u64 {
        self.roles.len() as u64
    }

    /// The number of the row that begins at `start`, modulo that of the members, and counted from the edge.
    fn row(&self, at: u64) -> Option<u64> {
        let rows = at.checked_sub(self.edge)?.checked_div(self.chunk)?;
        rows.checked_add(self.turn)
    }

    /// The number of the chunk that a role holds in a row.
    fn chunk_of(&self, row: u64, role: usize) -> Option<u64> {
        let slot = row.checked_mul(self.members())?.checked_add(role as u64)?;
        slot.checked_div(self.near as u64)
    }

    /// Where the chunks of each device lie, counted from one of them: what the order claims. The role
    /// of a missing member at the start of the rows may as well be at their end, a row earlier.
    fn claims(&self) -> Vec<(usize, u64, Option<i128>)> {
        let mut claims = Vec::new();
        for (role, device) in self.roles.iter().enumerate() {
            let Some(device) = device else {
                continue;
            };
            for number in 0..self.near as u64 {
                let chunk = self.chunk_of(number + self.turn, role);
                claims.push((*device, number, chunk.map(i128::from)));
            }
        }
        claims.sort_unstable();
        let first = claims.first().and_then(|(.., chunk)| *chunk).unwrap_or(0);
        for (.., chunk) in &mut claims {
            *chunk = chunk.map(|chunk| chunk - first);
        }
        claims
    }

    /// How many pairs of blocks are equal or not as this order wants it, and how many are not: behind the
    /// place from which on nearly all are, for before a group something else may be left.
    fn agreement(&self, rows: &[Row], by_offset: &ByOffset<'_>) -> (u64, u64) {
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.at));
        let (mut right, mut wrong) = (0_u64, 0_u64);
        let mut longest = None;
        for row in rows {
            let (agree, disagree) = self.agreement_of(row, by_offset);
            right = right.saturating_add(agree);
            wrong = wrong.saturating_add(disagree);
            if right * 100 >= (right + wrong) * AGREE_PERCENT {
                longest = Some((right, wrong));
            }
        }
        let all = right.saturating_add(wrong);
        let most = longest.filter(|(right, wrong)| (right + wrong) * MOST_BEHIND >= all);
        most.unwrap_or((right, wrong))
    }

    /// How many pairs of blocks in a row are as this order wants it, and how many are not.
    fn agreement_of(&self, row: &Row, by_offset: &ByOffset<'_>) -> (u64, u64) {
        let (mut right, mut wrong) = (0_u64, 0_u64);
        let Some(number) = self.row(row.at) else {
            return (right, wrong);
        };
        let next = by_offset.get(&row.at.saturating_add(self.chunk));
        for role in 0..self.roles.len() {
            let beside = (role + 1..self.roles.len())
                .take(self.near - 1)
                .map(|other| (number, Some(row), other));
            // The next row goes on where this one ends.
            let around = role + self.near > self.roles.len();
            let around = (0..self.near - 1)
                .filter(|_| around)
                .map(|other| (number + 1, next.copied(), other));
            for (other_number, other_row, other) in beside.chain(around) {
                let own = self.print(row, role);
                let its = other_row.and_then(|row| self.print(row, other));
                let (Some(own), Some(its)) = (own, its) else {
                    continue;
                };
                let chunks = (
                    self.chunk_of(number, role),
                    self.chunk_of(other_number, other),
                );
                let agrees = (chunks.0 == chunks.1) == (own == its);
                let count = if agrees { &mut right } else { &mut wrong };
                *count += 1;
            }
        }
        (right, wrong)
    }

    fn print(&self, row: &Row, role: usize) -> Option<u64> {
        let device = self.roles.get(role).copied().flatten()?;
        row.prints.get(device).copied().filter(|print| *print != 0)
    }

    /// What the addresses of file systems' blocks say for it: all of one file system lie as far in front
    /// of or behind what they state.
    fn addresses(&self, anchors: &[Anchor]) -> Stated {
        let mut begins: BTreeMap<Source, BTreeMap<i128, u32>> = BTreeMap::new();
        for anchor in anchors.iter().filter(|anchor| anchor.source.is_direct()) {
            if let Some(place) = self.place(anchor.device, anchor.at) {
                let begin = i128::from(place) - i128::from(anchor.address);
                *begins
                    .entry(anchor.source)
                    .or_default()
                    .entry(begin)
                    .or_default() += 1;
            }
        }
        let mut stated = Stated::default();
        for begins in begins.values() {
            let all: u32 = begins.values().sum();
            let most = begins.values().max().copied().unwrap_or(0);
            // One always agrees with itself.
            stated.hits += most.saturating_sub(1);
            stated.misses += all - most;
        }
        stated
    }

    /// Where in the group a place of a device lies, counted from row 0.
    fn place(&self, device: usize, at: u64) -> Option<u64> {
        let role = self.roles.iter().position(|own| *own == Some(device))?;
        let chunk = self.chunk_of(self.row(at)?, role)?;
        let inside = at.checked_sub(self.edge)?.checked_rem(self.chunk)?;
        chunk.checked_mul(self.chunk)?.checked_add(inside)
    }

    /// How much speaks for text going on from each chunk to the next.
    fn contents(&self, contents: &Contents<'_>, by_offset: &ByOffset<'_>) -> f64 {
        let mut sum = 0.0;
        let mut tails: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        let mut heads: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        for at in by_offset.keys() {
            let Some(inside) = at.checked_sub(self.edge).map(|at| at % self.chunk) else {
                continue;
            };
            let (is_head, is_tail) = (inside == 0, inside + BLOCK == self.chunk);
            for (role, device) in self.roles.iter().enumerate() {
                let chunk = self.row(*at).and_then(|row| self.chunk_of(row, role));
                if let (Some(device), Some(chunk)) = (device, chunk) {
                    if is_head {
                        heads.entry(chunk).or_insert((*at, *device));
                    }
                    if is_tail {
                        tails.entry(chunk).or_insert((*at, *device));
                    }
                }
            }
        }
        let texture = |(at, device): &(u64, usize)| by_offset.get(at)?.textures.get(*device);
        for (chunk, tail) in &tails {
            let head = heads.get(&(chunk + 1));
            if let (Some(tail), Some(head)) = (texture(tail), head.and_then(texture)) {
                sum += contents.weigh(tail, head) * CONTENTS_DAMPING;
            }
        }
        sum
    }

    /// Where row 0 may lie, from the first place on.
    fn begins(&self) -> impl Iterator<Item = u64> {
        let period = self.near as u64;
        let (edge, chunk, turn) = (self.edge, self.chunk, self.turn);
        let rows = (0..u64::MAX).filter(move |number| (number + turn).is_multiple_of(period));
        rows.map_while(move |number| edge.checked_add(number.checked_mul(chunk)?))
    }

    /// Where the group begins and with what, if that is found at a place where groups do; else the
    /// usual place if it can be, or as far in front as rows go.
    fn begin(&self, candidates: &[Candidate]) -> Option<(u64, Option<Start>)> {
        let last = FAR.into_iter().max().unwrap_or(NEAR);
        let places: Vec<u64> = self.begins().take_while(|at| *at <= last).collect();
        let mut likely = places.iter().filter(|at| **at <= NEAR || FAR.contains(at));
        let found = likely.find_map(|at| Some((*at, start(&self.open(*at, candidates)?)?)));
        if let Some((at, start)) = found {
            return Some((at, Some(start)));
        }
        let usual = places.iter().find(|at| **at == USUAL);
        usual.or(places.first()).map(|at| (*at, None))
    }

    /// What the members have behind `offset`.
    fn room(&self, offset: u64, candidates: &[Candidate]) -> Option<u64> {
        let there = self.roles.iter().flatten();
        let lengths = there.filter_map(|device| candidates.get(*device));
        lengths.map(|c| c.device.len().saturating_sub(offset)).min()
    }

    fn geometry(&self, room: u64) -> Option<Geometry> {
        let level = Level::Raid10 {
            layout: Raid10Layout::near(u32::try_from(self.near).ok()?),
            chunk_bytes: self.chunk,
            members: u32::try_from(self.roles.len()).ok()?,
            member_bytes: room - room % self.chunk,
        };
        Geometry::filling(level, room).ok()
    }

    /// The group, if it begins at `offset`.
    fn open(&self, offset: u64, candidates: &[Candidate]) -> Option<GroupReader> {
        let members = self.roles.iter().map(|device| {
            let all = Arc::clone(&candidates.get((*device)?)?.device);
            let room = all.len().checked_sub(offset)?;
            let area = Slice::new(all, ByteOffset::new(offset), room);
            Some(Arc::new(area) as Arc<dyn ReadAt>)
        });
        let geometry = self.geometry(self.room(offset, candidates)?)?;
        GroupReader::new(geometry, members.collect()).ok()
    }

    fn statement(&self, candidates: &[Candidate], agreeing: u64) -> Option<Group> {
        let (offset, start) = self.begin(candidates)?;
        let geometry = self.geometry(self.room(offset, candidates)?)?;
        let begins = start.map_or_else(
            || format!("where the group begins is not known: {offset} bytes into its members is taken, and what lies on it is found by its own addresses"),
            |start| format!("the group begins with {}, {offset} bytes into its members", start.what),
        );
        let members = (0..).zip(&self.roles).map(|(role, device)| {
            let device = device.and_then(|device| candidates.get(device));
            Member {
                role,
                device: device.map(|candidate| candidate.name.clone()),
                data_offset: device.map_or(0, |c| offset.saturating_add(c.shift)),
                data_size: device.map_or(0, |c| c.device.len().saturating_sub(offset)),
                left_out: None,
                bad_blocks: Vec::new(),
            }
        });
        Some(Group {
            name: String::new(),
            geometry,
            members: members.collect(),
            evidence: vec![
                format!(
                    "no label: worked out from the contents; each device equals its neighbours in turn, as {} copies that lie side by side and go around: {agreeing} pairs of blocks are as they must be",
                    self.near
                ),
                begins,
            ],
            confidence: 0.9,
            over: Vec::new(),
        })
    }
}
