//! Arrays that were created over others on the same disks, with these in another order or another
//! geometry, and resynced.
//!
//! Up to where the resync went, each row has the newer array's parity, over chunks that held the older
//! one's data or parity; all else is the older one's still. A newer RAID-6 names these chunks by the
//! factors of its relations. Without its rows, what is left of the older array decides that one's
//! geometry, and the chunks that it lost are stated: the older redundancy gives them back.

use evidence::{ByteOffset, ReadAtExt};

use super::algebra::{self, Predicted, agreement, telling};
use super::anchors::Addresses;
use super::contents::Texture;
use super::decide::Decided;
use super::hypothesis::{Hypothesis, Map};
use super::pile::{Members, Pile, Tie};
use super::relations::Set;
use super::sample::{BLOCK, Row, fronts, rows};
use crate::document::{DeviceName, Epoch, Group, Pieces, Region};

/// Equal parts of the rows; a newer array is looked for in each run of these.
const PARTS: usize = 8;

/// So many rows that contradict what was decided may be a newer array's.
const LEAST_ROWS: u32 = 16;

/// Most newer arrays that are thought of.
const MOST_NEWER: usize = 4;

/// Most stretches of rows that are the newer array's: more are joined.
const MOST_RUNS: usize = 64;

/// An older group with the regions of its members that a newer one took for its parity.
pub(super) struct Older {
    pub(super) group: Group,
    pub(super) overwritten: Vec<Region>,
}

impl Pile {
    /// The older array on the devices of `set`, if a newer RAID-6 was created over it on the same ones and
    /// resynced at least in part.
    ///
    /// It is looked for where the set is not decided; where blocks that state their address contradict what
    /// was `decided`, since parity says nothing of whose data it was made of; and where rows do, which may be
    /// those that the newer one wrote.
    pub(super) fn older(
        &self,
        set: &Members,
        stated: &Addresses,
        decided: &Result<Decided, String>,
    ) -> Option<Older> {
        let is_doubted = |one: &Decided| one.is_contradicted || one.contradicting >= LEAST_ROWS;
        if set.tie != Tie::Parity || !decided.as_ref().map_or(true, is_doubted) {
            return None;
        }
        let found = self.resynced(set).into_iter();
        let mut found: Vec<(f64, Older)> = found
            .filter_map(|newer| self.beneath(&newer, set, stated, decided.as_ref().ok()))
            .collect();
        found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        found.into_iter().next().map(|(_, older)| older)
    }

    /// What is decided of a set without the rows of a newer array, if it is another group than what was
    /// `decided` with these, and how much speaks for it.
    fn beneath(
        &self,
        newer: &Hypothesis,
        set: &Members,
        stated: &Addresses,
        decided: Option<&Decided>,
    ) -> Option<(f64, Older)> {
        let (map, of) = (newer.map(), devices(newer));
        let predicted = Predicted::of(&map);
        let is_newer = |row: &Row| predicted.agrees(row) == Some(true);
        let is_newer: Vec<bool> = self.rows.iter().map(is_newer).collect();
        let runs = self.runs(newer, &is_newer);
        let overwritten: Vec<Region> = (runs.iter())
            .flat_map(|run| self.regions(newer, *run))
            .collect();
        let decide = |all: bool| {
            let mut rows = self.rows.clone();
            let newer_rows = rows.iter_mut().zip(&is_newer);
            let newer_rows = newer_rows.filter(|(_, is_newer)| all || **is_newer);
            newer_rows.for_each(|(row, _)| take_out(row, newer));
            let decided = self.without(&overwritten, rows).decided(set, stated);
            decided.ok().filter(|decided| !decided.is_contradicted)
        };
        // Where it was resynced to its end, the few rows that are not its are no array's: labels lie there, or
        // what was written when it stopped.
        let judged = agreement(newer, &telling(&self.rows, of), &fronts(&self.rows));
        let ended = judged.holds();
        let older = decide(false).or_else(|| ended.then(|| decide(true))?)?;
        let is_better = |decided: &Decided| {
            is_same(&decided.group, &older.group)
                || decided.is_contradicted
                || older.worth > decided.worth
        };
        // What the older one's own parity says is no newer array's.
        if !decided.is_none_or(is_better) || has_same_parity(newer, &older.hypothesis) {
            return None;
        }
        let mut group = older.group;
        let (first, last) = (runs.first()?, runs.last()?);
        group.evidence.push(format!(
            "a RAID-6 with chunks of {} bytes was created over it on the same devices: from byte {} to {} of them its parity lies on chunks of this group, which are not read",
            newer.chunk, first.0, last.1
        ));
        Some((older.worth, Older { group, overwritten }))
    }

    /// The same devices without some regions of them, and other rows.
    fn without(&self, regions: &[Region], rows: Vec<Row>) -> Self {
        let candidates = self.candidates.iter().map(|candidate| {
            let own = regions.iter().filter(|one| one.device == candidate.name);
            candidate.without(own.cloned().collect())
        });
        self.with(candidates.collect(), rows)
    }

    /// The different RAID-6 that the factors name in parts of the rows: from the longest part on.
    fn resynced(&self, set: &Members) -> Vec<Hypothesis> {
        let own: Set = set.devices.iter().copied().collect();
        let tied = self.rows.iter().enumerate();
        let tied = tied.filter(|(_, row)| row.parts.contains(&own));
        let tied: Vec<usize> = tied.map(|(index, _)| index).collect();
        let place = |part: usize| tied.get((tied.len() * part / PARTS).min(tied.len() - 1));
        let mut found: Vec<Hypothesis> = Vec::new();
        for length in (1..=PARTS).rev().filter(|_| !tied.is_empty()) {
            for first in 0..=PARTS - length {
                let (Some(from), Some(to)) = (place(first), place(first + length)) else {
                    continue;
                };
                let Some(rows) = self.rows.get(*from..*to) else {
                    continue;
                };
                let holds = |hypothesis: &Hypothesis| {
                    let found = agreement(hypothesis, &telling(rows, own), &fronts(rows));
                    found.holds_all_over()
                };
                let solved = algebra::solve(&set.devices, rows).into_iter().find(holds);
                // Layouts that number their data otherwise have the same parity.
                if let Some(newer) = solved
                    && !found.iter().any(|other| has_same_parity(other, &newer))
                {
                    found.push(newer);
                    if found.len() == MOST_NEWER {
                        return found;
                    }
                }
            }
        }
        found
    }

    /// Where the rows of the newer array lie, from and to.
    fn runs(&self, newer: &Hypothesis, is_newer: &[bool]) -> Vec<(u64, u64)> {
        let map = newer.map();
        let predicted = Predicted::of(&map);
        let mut runs: Vec<(u64, u64)> = Vec::new();
        // The end of the last row that is another's.
        let mut other = 0;
        let mut is_open = false;
        for (row, is_newer) in self.rows.iter().zip(is_newer) {
            let end = row.at.saturating_add(BLOCK);
            if *is_newer {
                if !is_open {
                    runs.push((self.edge(newer, other, row.at, true), end));
                }
                is_open = true;
            } else if predicted.agrees(row) == Some(false) {
                if let Some(last) = runs.last_mut().filter(|_| is_open) {
                    last.1 = self.edge(newer, last.1, row.at, false);
                }
                (other, is_open) = (end, false);
            }
            if let Some(last) = runs.last_mut().filter(|_| is_open) {
                last.1 = last.1.max(end);
            }
        }
        let length = |device: usize| self.candidates.get(device).map(|c| c.device.len());
        let shortest = newer.devices().filter_map(length).min().unwrap_or(0);
        if let Some(last) = runs.last_mut().filter(|_| is_open) {
            last.1 = shortest.max(last.1);
        }
        while runs.len() > MOST_RUNS {
            let gap = |at: &usize| match runs.get(*at..*at + 2) {
                Some([one, two]) => two.0.saturating_sub(one.1),
                _ => u64::MAX,
            };
            let Some(least) = (0..runs.len().saturating_sub(1)).min_by_key(gap) else {
                break;
            };
            let next = runs.remove(least + 1);
            if let Some(run) = runs.get_mut(least) {
                run.1 = next.1;
            }
        }
        runs
    }

    /// Where between two places the newer array's rows begin (`begins`) or end: rows that were not looked
    /// at lie there, if any. What says nothing is taken for its.
    fn edge(&self, newer: &Hypothesis, from: u64, to: u64, begins: bool) -> u64 {
        let (map, of) = (newer.map(), devices(newer));
        let predicted = Predicted::of(&map);
        let is_other = |at: u64| {
            let block = usize::try_from(BLOCK).unwrap_or(0);
            let read = |device: usize| {
                let device = self.candidates.get(device)?;
                let (bytes, _) = device.device.read_vec(ByteOffset::new(at), block).ok()?;
                Some(bytes)
            };
            let read = (0..self.candidates.len()).map(|device| match of.has(device) {
                true => read(device).unwrap_or_default(),
                false => Vec::new(),
            });
            let rows = rows(at, &read.collect::<Vec<_>>());
            let first = rows.first();
            first.is_some_and(|row| predicted.agrees(row) == Some(false))
        };
        let (mut low, mut high) = (from / BLOCK, to / BLOCK);
        while low < high {
            let middle = low.midpoint(high);
            // The other's rows lie in front where the newer's begin, and behind where they end.
            if is_other(middle.saturating_mul(BLOCK)) == begins {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_mul(BLOCK)
    }

    /// The regions of the members that the newer array took for its parity within a run of rows.
    fn regions(&self, newer: &Hypothesis, run: (u64, u64)) -> Vec<Region> {
        let (map, chunk, period) = (newer.map(), newer.chunk, newer.shape.period());
        let edge = newer.row_0 % chunk;
        let inside = run.0.saturating_sub(edge) % chunk;
        let first = run.0.saturating_sub(inside).max(edge);
        let every = period.saturating_mul(chunk);
        let of_device = |device: usize| {
            let numbers = 0..period;
            let places = numbers.map(|number| first.saturating_add(number.saturating_mul(chunk)));
            let is_parity = |at: &u64| {
                let place = map.place(device, *at);
                place.is_some_and(|place| place.part.is_parity()) && *at < run.1
            };
            // Those of P and Q lie side by side in most layouts.
            let mut pieces: Vec<(u64, u64)> = Vec::new();
            for at in places.filter(is_parity) {
                match pieces.last_mut() {
                    Some((start, bytes)) if start.saturating_add(*bytes) == at => *bytes += chunk,
                    _ => pieces.push((at, chunk)),
                }
            }
            let candidate = self.candidates.get(device);
            let region = |(start, bytes): (u64, u64)| {
                let candidate = candidate?;
                Some(Region {
                    device: candidate.name.clone(),
                    start: start.saturating_add(candidate.shift),
                    bytes: run.1.saturating_sub(start),
                    epoch: Epoch::New,
                    pieces: Some(Pieces { bytes, every }),
                    group: None,
                    evidence: format!(
                        "{bytes} bytes of every {every} are parity of an array that was created over this one"
                    ),
                })
            };
            pieces.into_iter().filter_map(region).collect::<Vec<_>>()
        };
        newer.devices().flat_map(of_device).collect()
    }
}

/// Whether two groups are one.
fn is_same(one: &Group, other: &Group) -> bool {
    let members = |group: &Group| -> Vec<Option<DeviceName>> {
        let members = group.members.iter();
        members.map(|member| member.device.clone()).collect()
    };
    one.geometry == other.geometry && members(one) == members(other)
}

/// Whether the same devices hold the parity of two arrays in each row.
fn has_same_parity(one: &Hypothesis, other: &Hypothesis) -> bool {
    let (map, others) = (one.map(), other.map());
    let span = one.shape.period().saturating_mul(2);
    let part =
        |map: &Map<'_>, device, at| map.place(device, at).map(|place| place.part.is_parity());
    one.chunk == other.chunk
        && (0..span).all(|number| {
            let at = one.row_0.saturating_add(number.saturating_mul(one.chunk));
            let mut devices = one.devices();
            devices.all(|device| part(&map, device, at) == part(&others, device, at))
        })
}

/// The devices of a hypothesis.
fn devices(hypothesis: &Hypothesis) -> Set {
    hypothesis.devices().collect()
}

/// The row without what the newer array says of it: its relations, and the blocks that are its parity.
fn take_out(row: &mut Row, newer: &Hypothesis) {
    let map = newer.map();
    for device in newer.devices() {
        let place = map.place(device, row.at);
        if place.is_some_and(|place| place.part.is_parity()) {
            row.without(device);
            if let Some(texture) = row.textures.get_mut(device) {
                *texture = Texture::LOST;
            }
        }
    }
    row.relations
        .retain(|relation| !devices(newer).holds(relation.set()));
    row.parts.retain(|part| !devices(newer).holds(*part));
    row.full = row
        .full
        .devices()
        .filter(|device| !devices(newer).has(*device))
        .collect();
}
