//! Geometries that anchors allow, each solved and not searched for.
//!
//! For a chunk size and a number of data members, every anchor says where row 0 of its file
//! system would lie; the right pair is the one for which most anchors say the same. The layout
//! then follows from a vote: each anchor names the role of its device.

use std::collections::{BTreeMap, HashMap};

use super::anchors::{Anchor, Source};
use crate::raid::{Level, ParityDelay, ParityLayout, Raid0Layout, Raid5Layout, Raid6Layout};

/// The chunk sizes that are tried: powers of two from 4 KiB to 4 MiB.
const CHUNKS: std::ops::RangeInclusive<u32> = 12..=22;

/// Anchors in one piece of a device of so many bytes count as one: inodes and journal copies lie
/// side by side, and many of them in one chunk say no more than one.
const ONE_IN: u64 = 16 << 10;

/// Fewer anchors than this that agree on a place say nothing.
const LEAST_SUPPORT: usize = 8;

/// How many anchors must name a device's role, and how many times more than name its next.
const LEAST_VOTES: u32 = 3;
const CLEAR_VOTES: u32 = 3;

/// A level and layout, without chunk and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many members.
    Raid0(u32),
    /// The layout, and how many members there are with those of parity.
    Parity(ParityLayout, u32),
}

impl Shape {
    /// All shapes with `data` members of data in a row, of which `present` devices are there.
    fn all(data: u32, present: u32) -> Vec<Self> {
        let mut shapes = Vec::new();
        if present == data {
            shapes.push(Self::Raid0(data));
        }
        let five = Raid5Layout::ALL.map(ParityLayout::Raid5);
        let six = Raid6Layout::ALL.map(ParityLayout::Raid6);
        for (layouts, parities) in [(five.as_slice(), 1), (six.as_slice(), 2)] {
            let members = data + parities;
            if (members - parities..=members).contains(&present) && members > parities + 1 {
                shapes.extend(layouts.iter().map(|layout| Self::Parity(*layout, members)));
            }
        }
        shapes
    }

    pub(super) const fn members(self) -> u32 {
        match self {
            Self::Raid0(members) | Self::Parity(_, members) => members,
        }
    }

    /// How many members a row needs no data of.
    pub(super) const fn parities(self) -> u32 {
        match self {
            Self::Raid0(_) => 0,
            Self::Parity(layout, _) => layout.parities(),
        }
    }

    /// The member that has data chunk `number` of row `row`.
    pub(super) fn data(self, row: u64, number: u64) -> usize {
        match self {
            Self::Raid0(_) => usize::try_from(number).unwrap_or(usize::MAX),
            Self::Parity(layout, members) => layout.row(row, members).data(number),
        }
    }

    /// The roles that never hold data.
    fn dataless(self) -> Vec<usize> {
        let members = u64::from(self.members());
        let width = members - u64::from(self.parities());
        let holds = |role: usize| {
            (0..members).any(|row| (0..width).any(|number| self.data(row, number) == role))
        };
        let roles = 0..usize::try_from(members).unwrap_or(0);
        roles.filter(|role| !holds(*role)).collect()
    }

    /// After how many rows from number `turn` the layout begins anew.
    pub(super) fn to_begin(self, turn: u64) -> u64 {
        let Self::Parity(layout, members) = self else {
            return 0;
        };
        let rows = u64::from(members);
        let begins = |skip: &u64| {
            (0..rows).all(|row| layout.row(turn + skip + row, members) == layout.row(row, members))
        };
        (0..rows).find(begins).unwrap_or(0)
    }

    /// After how many rows every layout begins anew.
    pub(super) fn period(self) -> i64 {
        let members = i64::from(self.members());
        members * (members - 1).max(1)
    }

    /// Whether row number 0 may lie `rows` before one whose number is `turn` modulo `members`.
    pub(super) fn begins_at(self, turn: u64, rows: i64) -> bool {
        let Self::Parity(layout, members) = self else {
            return true;
        };
        let span = u64::from(members);
        let Ok(rows) = u64::try_from(rows.rem_euclid(self.period())) else {
            return false;
        };
        (0..span).all(|row| layout.row(turn + row, members) == layout.row(rows + row, members))
    }

    /// The level that a document states.
    pub(super) fn level(self, chunk_bytes: u64, member_bytes: &[u64]) -> Level {
        match self {
            Self::Raid0(_) => Level::Raid0 {
                layout: Raid0Layout::default(),
                chunk_bytes,
                member_bytes: member_bytes.to_vec(),
            },
            Self::Parity(ParityLayout::Raid4, members) => Level::Raid4 {
                chunk_bytes,
                members,
            },
            Self::Parity(ParityLayout::Raid5(layout), members) => Level::Raid5 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            },
            Self::Parity(ParityLayout::Raid6(layout), members) => Level::Raid6 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            },
        }
    }
}

/// A geometry for a set of devices, as far as one file system's anchors tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hypothesis {
    pub(super) source: Source,
    pub(super) shape: Shape,
    pub(super) chunk: u64,
    /// Where on the devices the row lies in which the file system begins: before their start
    /// if only a later part of the file system lies on this group.
    pub(super) start: i64,
    /// The lowest place of an anchor that agrees: the group begins there or before.
    pub(super) lowest: u64,
    /// How many chunks of that row lie before the file system.
    pub(super) before: u64,
    /// The number of that row, modulo the members.
    pub(super) turn: u64,
    /// The device of each role.
    pub(super) roles: Vec<Option<usize>>,
    /// How many anchors agree with all of it.
    pub(super) hits: u32,
    /// How many anchors of this file system these devices have, without those that parity shows
    /// of a missing member where the rest of a row is zeros.
    pub(super) anchors: u32,
    /// Whether the anchors name the role of every device, and clearly.
    pub(super) clear: bool,
}

/// A place of row 0 on which anchors agree.
struct Place<'a> {
    chunk: u64,
    data: u64,
    before: u64,
    start: i64,
    support: Vec<&'a Anchor>,
    /// How many anchors there are that such a chunk allows to use.
    valid: usize,
}

/// Every geometry that the anchors of one file system on `devices` allow, the best first.
pub(super) fn solve(anchors: &[Anchor], source: Source, devices: &[usize]) -> Vec<Hypothesis> {
    let mut anchors: Vec<&Anchor> = anchors
        .iter()
        .filter(|anchor| anchor.source == source && devices.contains(&anchor.device))
        .collect();
    anchors.sort_unstable_by_key(|anchor| (anchor.device, anchor.at, anchor.address));
    let present = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let mut places = Vec::new();
    for chunk in CHUNKS.map(|bits| 1_u64 << bits) {
        for data in present.saturating_sub(2).max(1)..=present {
            for before in 0..u64::from(data) {
                places.extend(place(&anchors, chunk, u64::from(data), before));
            }
        }
    }
    let best = places.iter().map(|place| place.support.len()).max();
    let least = (best.unwrap_or(0) / 2).max(LEAST_SUPPORT);
    places.retain(|place| place.support.len() >= least);
    let mut found = Vec::new();
    for place in &places {
        let data = u32::try_from(place.data).unwrap_or(u32::MAX);
        for shape in Shape::all(data, present) {
            let turns = if let Shape::Raid0(_) = shape {
                1
            } else {
                u64::from(shape.members())
            };
            found.extend((0..turns).filter_map(|turn| vote(place, shape, turn, devices)));
        }
    }
    let best = found.iter().map(|h| h.hits).max().unwrap_or(0);
    found.retain(|hypothesis| hypothesis.hits.saturating_mul(2) >= best);
    found.sort_by_key(|hypothesis| std::cmp::Reverse(hypothesis.hits));
    found
}

/// Where the row lies in which the file system begins, by most anchors.
fn place<'a>(anchors: &[&'a Anchor], chunk: u64, data: u64, before: u64) -> Option<Place<'a>> {
    let start_by = |anchor: &Anchor| {
        let row = (anchor.address / chunk + before) / data;
        let into = i64::try_from(row * chunk + anchor.address % chunk).ok()?;
        i64::try_from(anchor.at).ok()?.checked_sub(into)
    };
    let mut counts: HashMap<i64, u32> = HashMap::new();
    for start in anchors.iter().filter_map(|anchor| start_by(anchor)) {
        *counts.entry(start).or_default() += 1;
    }
    let (start, _) = counts
        .into_iter()
        .max_by_key(|(start, count)| (*count, std::cmp::Reverse(*start)))?;
    let edge = u64::try_from(start.rem_euclid(i64::try_from(chunk).ok()?)).ok()?;
    let one_chunk = |a: u64, b: u64| match (a.checked_sub(edge), b.checked_sub(edge)) {
        (Some(a), Some(b)) => a / chunk == b / chunk,
        _ => false,
    };
    let valid: Vec<&Anchor> = anchors
        .iter()
        .copied()
        .filter(|anchor| anchor.together.is_none_or(|(a, b)| one_chunk(a, b)))
        .collect();
    let mut support: Vec<&Anchor> = valid
        .iter()
        .copied()
        .filter(|anchor| start_by(anchor) == Some(start))
        .collect();
    let piece = |anchor: &mut &Anchor| (anchor.device, anchor.at / ONE_IN);
    let mut pieces = valid;
    pieces.dedup_by_key(piece);
    support.dedup_by_key(piece);
    (support.len() >= LEAST_SUPPORT).then_some(Place {
        chunk,
        data,
        before,
        start,
        support,
        valid: pieces.len(),
    })
}

/// Lets the anchors vote for the role of each device.
fn vote(place: &Place<'_>, shape: Shape, turn: u64, devices: &[usize]) -> Option<Hypothesis> {
    let members = usize::try_from(shape.members()).ok()?;
    let mut votes: BTreeMap<usize, Vec<u32>> = devices
        .iter()
        .map(|device| (*device, vec![0; members]))
        .collect();
    for anchor in &place.support {
        let chunk = anchor.address / place.chunk + place.before;
        let role = shape.data(chunk / place.data + turn, chunk % place.data);
        if let Some(count) = votes.get_mut(&anchor.device)?.get_mut(role) {
            *count += 1;
        }
    }
    let mut ballots: Vec<(u32, usize, usize)> = votes
        .iter()
        .flat_map(|(device, counts)| {
            let counts = counts.iter().enumerate();
            counts.map(|(role, count)| (*count, *device, role))
        })
        .collect();
    ballots.sort_by_key(|(count, device, role)| (std::cmp::Reverse(*count), *device, *role));
    let mut roles: Vec<Option<usize>> = vec![None; members];
    let mut hits = 0;
    for (count, device, role) in &ballots {
        let taken = roles.contains(&Some(*device));
        if let Some(slot @ None) = roles.get_mut(*role)
            && !taken
        {
            *slot = Some(*device);
            hits += count;
        }
    }
    let ghosts = ghosts(place, shape, turn, &roles);
    let clear = roles.iter().enumerate().all(|(role, device)| {
        let Some(device) = device else { return true };
        let sum: u32 = votes.get(device).map_or(0, |counts| counts.iter().sum());
        let own = votes
            .get(device)
            .and_then(|counts| counts.get(role))
            .copied()
            .unwrap_or(0);
        let against = sum - own - ghosts.get(device).copied().unwrap_or(0).min(sum - own);
        let voted = own >= LEAST_VOTES && own >= against.saturating_mul(CLEAR_VOTES);
        // No file system block lies on the one member that has parity alone.
        voted || (sum == 0 && shape.dataless() == [role])
    });
    let ghosts: u32 = ghosts.values().sum();
    let source = place.support.first()?.source;
    Some(Hypothesis {
        source,
        shape,
        chunk: place.chunk,
        start: place.start,
        lowest: place.support.iter().map(|anchor| anchor.at).min()?,
        before: place.before,
        turn,
        roles,
        hits,
        anchors: u32::try_from(place.valid)
            .unwrap_or(u32::MAX)
            .saturating_sub(ghosts),
        clear,
    })
}

/// How many anchors of each device name a missing member, and lie in a row where the device has
/// parity: the rest of the row is zeros there, and parity is a copy of what is missing.
fn ghosts(
    place: &Place<'_>,
    shape: Shape,
    turn: u64,
    roles: &[Option<usize>],
) -> BTreeMap<usize, u32> {
    let mut ghosts = BTreeMap::new();
    let Shape::Parity(layout, members) = shape else {
        return ghosts;
    };
    for anchor in &place.support {
        let chunk = anchor.address / place.chunk + place.before;
        let row = layout.row(chunk / place.data + turn, members);
        let device = |role: usize| roles.get(role).copied().flatten();
        let missing = device(row.data(chunk % place.data)).is_none();
        let holds_parity = [Some(row.p), row.q]
            .into_iter()
            .flatten()
            .any(|role| device(role) == Some(anchor.device));
        if missing && holds_parity {
            *ghosts.entry(anchor.device).or_default() += 1;
        }
    }
    ghosts
}

/// A member as it shows in what a hypothesis claims: a device, or one of those missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Device(usize),
    Missing(usize),
}

/// The device that holds Q in a row, and what it multiplies each member with.
type TimesQ = (usize, Vec<(Holder, u8)>);

/// All that a hypothesis claims of the rows from its file system on: two of equal claims are
/// one answer in two notations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    start: i64,
    chunk: u64,
    /// For each chunk of the file system: where it lies on whom.
    data: Vec<(Holder, u64)>,
    /// For rows with parity, by number: the device that holds P, and the one that holds Q
    /// with what Q multiplies each member with. Parity that is missing claims nothing.
    parity: Vec<(u64, Option<usize>, Option<TimesQ>)>,
}

impl Hypothesis {
    /// What it claims.
    pub(super) fn claims(&self) -> Claims {
        let mut missing: Vec<usize> = Vec::new();
        let mut holder = |role: usize| match self.roles.get(role).copied().flatten() {
            Some(device) => Holder::Device(device),
            None => {
                let known = missing.iter().position(|other| *other == role);
                Holder::Missing(known.unwrap_or_else(|| {
                    missing.push(role);
                    missing.len() - 1
                }))
            }
        };
        let width = self.data_members();
        // Layouts repeat after as many rows as there are members, or one less; so many rows for
        // every level with as many members of data.
        let rows = 2 * (width + 2);
        let mut claims = Claims {
            start: self.start,
            chunk: self.chunk,
            data: Vec::new(),
            parity: Vec::new(),
        };
        for number in self.before..self.before + rows * width {
            let row = number / width;
            let role = self.shape.data(row + self.turn, number % width);
            claims.data.push((holder(role), row));
        }
        for number in 0..rows {
            let Shape::Parity(layout, members) = self.shape else {
                break;
            };
            let row = layout.row(number + self.turn, members);
            let device = |role: usize| self.roles.get(role).copied().flatten();
            let times_q = row.q.and_then(device).map(|q| {
                let roles = (0..width).map(|number| row.data(number));
                let factors = roles.map(|role| (holder(role), row.coefficient(role)));
                let mut factors: Vec<_> = factors.collect();
                factors.sort_unstable();
                (q, factors)
            });
            let p = device(row.p);
            if p.is_some() || times_q.is_some() {
                claims.parity.push((number, p, times_q));
            }
        }
        claims
    }

    /// A place where a row 0 lies, as far as the layout tells: at the start of the file system's
    /// first row or as few rows behind it as can be.
    pub(super) fn some_row_0(&self) -> Option<u64> {
        let chunk = i64::try_from(self.chunk).ok()?;
        let skip = i64::try_from(self.shape.to_begin(self.turn)).ok()?;
        let base = self.start.checked_add(skip.checked_mul(chunk)?)?;
        let turn = self.shape.period().checked_mul(chunk)?;
        u64::try_from(if base < 0 {
            base.rem_euclid(turn)
        } else {
            base
        })
        .ok()
    }

    /// How many members of a row hold data.
    pub(super) fn data_members(&self) -> u64 {
        u64::from(self.shape.members() - self.shape.parities()).max(1)
    }

    /// By how many more anchors agree than speak against it.
    pub(super) fn score(&self) -> i64 {
        2 * i64::from(self.hits) - i64::from(self.anchors)
    }

    /// How many members are missing.
    pub(super) fn missing(&self) -> u32 {
        let missing = self.roles.iter().filter(|role| role.is_none()).count();
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    /// The hypothesis for a person.
    pub(super) fn describe(&self) -> String {
        let level = self.shape.level(self.chunk, &vec![0; self.roles.len()]);
        let layout = match &level {
            Level::Raid5 { layout, .. } => format!(" {layout:?}"),
            Level::Raid6 { layout, .. } => format!(" {layout:?}"),
            _ => String::new(),
        };
        format!(
            "{}{layout} of {} members, {} missing, chunk {} KiB, {} of {} anchors",
            level.name(),
            self.shape.members(),
            self.missing(),
            self.chunk >> 10,
            self.hits,
            self.anchors,
        )
    }
}
