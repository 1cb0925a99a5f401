//! Whether a hypothesis is true of the bytes: blocks that are there are rebuilt from the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::hypothesis::Hypothesis;
use super::member_ends::member_bytes;
use super::rebuilt::are_overwritten;
use super::relations::Set;
use super::sample::{BLOCK, Candidate, Row, fronts};
use crate::raid::{Geometry, GroupReader};

/// Most blocks that are rebuilt to verify one hypothesis.
const MOST_TRIALS: usize = 1024;

/// Fewer say nothing.
const LEAST_TRIALS: u32 = 32;

/// How many blocks were rebuilt, and how many of them came out as they are on their device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trials {
    pub(super) tried: u32,
    pub(super) right: u32,
}

impl Trials {
    /// Whether there were enough, and most came out right: some rows may have been written when
    /// the power went, belong to no group, or to another array that was made over this one.
    pub(super) const fn pass(self) -> bool {
        self.tried >= LEAST_TRIALS && self.right as u64 * 100 >= self.tried as u64 * 75
    }
}

/// A trial: the block `number` of data of row `row`, without the members in `dropped`.
struct Trial {
    role: usize,
    dropped: Vec<usize>,
    at_group: u64,
    at_device: u64,
    length: usize,
}

/// Rebuilds a sample of blocks with as many members left out as the redundancy still allows;
/// `None` if it allows none, of members or because a newer array took a part of each row.
///
/// With a stale member only rows in which the blocks are related at all are tried (`only_related`).
pub(super) fn rebuild(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    rows: &[Row],
    only_related: bool,
) -> Option<Trials> {
    let parities = hypothesis.shape.parities();
    let spare = usize::try_from(parities.checked_sub(hypothesis.missing())?).ok()?;
    if spare == 0 {
        return None;
    }
    let base = hypothesis.row_0;
    let mut informative: Vec<&Row> = rows
        .iter()
        .filter(|row| row.at >= base && says_something(hypothesis, row))
        .collect();
    let (set, fronts): (Set, _) = (hypothesis.devices().collect(), fronts(rows));
    if only_related {
        informative.retain(|row| row.parts.iter().any(|part| set.holds(*part)));
    }
    let is_sound = |row: &&Row| !row.may_be_wiped(set, &fronts);
    if informative.iter().copied().filter(is_sound).count() >= LEAST_TRIALS as usize {
        informative.retain(is_sound);
    }
    let step = informative.len().div_ceil(MOST_TRIALS).max(1);
    let mut readers = BTreeMap::new();
    let mut trials = Trials::default();
    for (index, row) in informative.into_iter().step_by(step).enumerate() {
        let Some(trial) = trial(hypothesis, spare, row.at - base, index, row.full) else {
            continue;
        };
        let reader = readers
            .entry(trial.dropped.clone())
            .or_insert_with(|| reader(hypothesis, candidates, base, &trial.dropped));
        let device = hypothesis.device(trial.role);
        let device = device.and_then(|device| candidates.get(device));
        let (Some(reader), Some(device)) = (reader, device) else {
            continue;
        };
        let at = ByteOffset::new(base + trial.at_device);
        let is = device.device.read_whole(at, trial.length);
        let rebuilt = reader.read_whole(ByteOffset::new(trial.at_group), trial.length);
        if let (Some(is), Some(rebuilt)) = (is, rebuilt) {
            trials.tried += 1;
            trials.right += u32::from(is == rebuilt);
        }
    }
    let is_open = trials.tried == 0 && are_overwritten(hypothesis, candidates);
    (!is_open).then_some(trials)
}

/// Whether at least three members have contents in a row: with two, parity is a copy.
fn says_something(hypothesis: &Hypothesis, row: &Row) -> bool {
    let full = hypothesis.devices().filter(|device| row.full.has(*device));
    full.count() >= 3
}

/// Chooses what to rebuild at `inside` of the members: each data member in its turn.
fn trial(
    hypothesis: &Hypothesis,
    spare: usize,
    inside: u64,
    index: usize,
    full: Set,
) -> Option<Trial> {
    let (number, column) = (inside / hypothesis.chunk, inside % hypothesis.chunk);
    let width = hypothesis.shape.width();
    let there: Vec<(u64, usize)> = (0..)
        .zip(hypothesis.shape.row(number).data)
        .filter(|(_, role)| {
            hypothesis
                .device(*role)
                .is_some_and(|device| full.has(device))
        })
        .collect();
    let (data, role) = *there.get(index.checked_rem(there.len())?)?;
    let mut dropped = vec![role];
    let others = there.iter().cycle().skip(index % there.len() + 1);
    for (_, other) in others.take(there.len()) {
        if dropped.len() < spare && !dropped.contains(other) {
            dropped.push(*other);
        }
    }
    dropped.sort_unstable();
    Some(Trial {
        role,
        dropped,
        at_group: (number * width + data) * hypothesis.chunk + column,
        at_device: inside,
        length: usize::try_from(BLOCK.min(hypothesis.chunk - column)).ok()?,
    })
}

/// The group by this hypothesis from `base` on, without the roles in `dropped`.
fn reader(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    base: u64,
    dropped: &[usize],
) -> Option<GroupReader> {
    let kept = |role: usize| !dropped.contains(&role);
    open(hypothesis, candidates, base, &kept)
}

/// The group by this hypothesis where row 0 lies at `base`, of the roles that are `kept`.
pub(super) fn open(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    base: u64,
    kept: &dyn Fn(usize) -> bool,
) -> Option<GroupReader> {
    let sizes = member_bytes(hypothesis, candidates, base);
    let smallest = *sizes.iter().min()?;
    let level = hypothesis.shape.level(hypothesis.chunk, &sizes);
    let geometry = Geometry::filling(level, smallest).ok()?;
    let members = hypothesis.roles.iter().enumerate().map(|(role, device)| {
        let device = candidates.get((*device).filter(|_| kept(role))?)?;
        let all = Arc::clone(&device.device);
        let area = Slice::new(all, ByteOffset::new(base), smallest);
        Some(Arc::new(area) as Arc<dyn ReadAt>)
    });
    GroupReader::new(geometry, members.collect()).ok()
}
