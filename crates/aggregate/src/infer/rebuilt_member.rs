//! Arrays that newer RAID-5s were begun over, each of which rebuilt one of its members from the others.
//!
//! That is how md begins a RAID-5: its parity holds then on all of its members, whatever they hold, and
//! one of them has nothing of what was there before. The relation of the newer array ties its members
//! together, and what is made of these is contradicted by most blocks that state their address, if anything is. Without
//! the one that was rebuilt, the others are members of the older group, as if it were missing. Which one it
//! was shows where there was text: a sum of several blocks is none.

use std::collections::BTreeSet;

use super::contents::Texture;
use super::pile::Pile;
use super::relations::Set;
use super::sample::{Candidate, Row};
use super::{Inferred, Named, infer_once};
use crate::document::{DeviceName, Group, Unused};
use crate::raid::Level;

/// Of two answers with as many members one must have so much more to say for it, in nats, and such a part of all.
const APART: f64 = 32.0;
const APART_SHARE: f64 = 0.1;

/// Of arrays with no more devices one is thought of.
const MOST_DOUBTED: usize = 8;
/// No more ways are tried in which members may have been rebuilt, as each looks at all devices.
const MOST_WAYS: usize = 16;
/// Nor is a larger pile asked once more, nor one of half as many for what is only tied together.
const MOST_DEVICES: usize = 16;

/// Rows with text that one member has, at least, for another that has it in a small part of them to be a sum.
const LEAST_TEXTS: usize = 32;
const SUM_PART: usize = 8;

/// How good an answer is: how many devices it explains, and how much speaks for that, in nats.
pub(crate) type Worth = (usize, f64);

/// The best of some answers, if it stands out: two that are as good and not the `same` are none.
pub(crate) fn best<T>(mut answers: Vec<(Worth, T)>, same: impl Fn(&T, &T) -> bool) -> Option<T> {
    answers
        .sort_by(|((a, worth_a), _), ((b, worth_b), _)| b.cmp(a).then(worth_b.total_cmp(worth_a)));
    let mut answers = answers.into_iter();
    let ((members, worth), best) = answers.next()?;
    let next = answers.find(|(_, other)| !same(&best, other));
    let apart = APART.max(worth * APART_SHARE);
    let stands_out =
        next.is_none_or(|((of_next, next), _)| of_next < members || worth - next >= apart);
    stands_out.then_some(best)
}

/// Whether the groups of two answers have the same members in the same order.
pub(crate) fn are_same(one: &[Group], other: &[Group]) -> bool {
    let is_in = |groups: &[Group], group: &Group| {
        let mut groups = groups.iter();
        groups.any(|one| one.geometry.level == group.geometry.level && one.members == group.members)
    };
    one.len() == other.len() && one.iter().all(|group| is_in(other, group))
}

impl Inferred {
    /// What some of its groups are worth: no number, next to which nothing stands out, if one was not chosen among
    /// others.
    pub(crate) fn worth<'a>(&self, groups: impl Iterator<Item = &'a Group>) -> Worth {
        let groups: Vec<BTreeSet<DeviceName>> = groups.map(Group::devices).collect();
        let worth = groups.iter().map(|devices| {
            let judged = self.judged.iter().rfind(|one| one.devices == *devices);
            judged.map_or(f64::NAN, |one| one.worth)
        });
        let worth = worth.sum();
        let devices: BTreeSet<&DeviceName> = groups.iter().flatten().collect();
        (devices.len(), worth)
    }

    /// Whether most blocks that state their address contradict a group of one parity.
    fn is_contradicted(&self, group: &Group) -> bool {
        let has_one = matches!(
            group.geometry.level,
            Level::Raid4 { .. } | Level::Raid5 { .. }
        );
        let devices = group.devices();
        let mut judged = self.judged.iter();
        has_one && judged.any(|one| one.is_contradicted && one.devices == devices)
    }

    /// The groups that nothing contradicts.
    fn sure(&self) -> impl Iterator<Item = &Group> {
        let groups = self.groups.iter();
        groups.filter(|group| !self.is_contradicted(group))
    }

    /// What was worked out, or what is without a member of each group that is contradicted, or of devices of
    /// which no more is known than that parity ties them together, if that explains more.
    pub(super) fn without_rebuilt_members(self, devices: &[Named]) -> Self {
        let doubted = self
            .groups
            .iter()
            .filter(|group| self.is_contradicted(group));
        let tied = self
            .tied
            .iter()
            .filter(|_| devices.len() <= MOST_DEVICES / 2);
        let arrays = doubted.map(Group::devices).chain(tied.cloned());
        let arrays: Vec<_> = arrays.filter(|one| one.len() <= MOST_DOUBTED).collect();
        if arrays.is_empty() || devices.len() > MOST_DEVICES {
            return self;
        }
        let doubted: BTreeSet<DeviceName> = arrays.iter().flatten().cloned().collect();
        let mut answers = Vec::new();
        for rebuilt in rebuilt_members(&arrays, devices) {
            let others = devices.iter().filter(|(name, _)| !rebuilt.contains(name));
            let mut without = infer_once(others.cloned().collect());
            let worth = without.worth(without.sure());
            let is_new = !without.repeats(&arrays, &rebuilt);
            if is_new && worth.0 > self.worth(self.sure()).0 {
                without.note_rebuilt(rebuilt, &doubted);
                answers.push((worth, without));
            }
        }
        let same = |one: &Self, other: &Self| are_same(&one.groups, &other.groups);
        best(answers, same).unwrap_or(self)
    }

    /// Whether one of its groups is one of these arrays without the member that is left out, which parity
    /// would make again as it is.
    fn repeats(&self, arrays: &[BTreeSet<DeviceName>], left_out: &BTreeSet<DeviceName>) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| repeats(group, arrays, left_out))
    }

    /// States that newer arrays rebuilt these devices, on those that are `doubted`.
    fn note_rebuilt(&mut self, rebuilt: BTreeSet<DeviceName>, doubted: &BTreeSet<DeviceName>) {
        for device in &rebuilt {
            let groups = self.groups.iter_mut();
            let beneath = groups.filter(|group| !group.devices().is_disjoint(doubted));
            beneath.for_each(|group| {
                group.evidence.push(format!(
                    "{device} is none of its members: a newer array rebuilt it from others of them"
                ));
            });
            self.unused.push(Unused {
                device: device.clone(),
                why: "a newer array rebuilt it from its other members: it has nothing of what was there before"
                    .to_owned(),
                copy_of: None,
            });
        }
        self.rebuilt = rebuilt;
    }
}

/// Whether a group is one of these arrays without the member of it that is left out, which parity would make
/// again as it is.
pub(crate) fn repeats(
    group: &Group,
    arrays: &[BTreeSet<DeviceName>],
    left_out: &BTreeSet<DeviceName>,
) -> bool {
    let level = &group.geometry.level;
    let has_one = matches!(level, Level::Raid4 { .. } | Level::Raid5 { .. });
    let devices = group.devices();
    let lacks_one = group.members.len() == devices.len().saturating_add(1);
    let is_one = |array: &BTreeSet<DeviceName>| &devices | &(array & left_out) == *array;
    has_one && lacks_one && arrays.iter().any(is_one)
}

/// The ways in which newer arrays of these members may have rebuilt one of theirs each: of one of the arrays,
/// or of several.
pub(crate) fn rebuilt_members(
    arrays: &[BTreeSet<DeviceName>],
    devices: &[Named],
) -> Vec<BTreeSet<DeviceName>> {
    let mut ways = vec![BTreeSet::new()];
    for array in arrays {
        let own = devices.iter().filter(|(name, _)| array.contains(name));
        let sums = sums(own.cloned().collect());
        let longer = ways.iter().flat_map(|way| {
            let with = |one: &DeviceName| way | &BTreeSet::from([one.clone()]);
            sums.iter().map(with).collect::<Vec<_>>()
        });
        let longer: Vec<BTreeSet<DeviceName>> = longer.collect();
        ways.extend(longer);
    }
    ways.sort_by(|one, other| one.len().cmp(&other.len()).then(one.cmp(other)));
    ways.dedup();
    let ways = ways.into_iter().filter(|way| !way.is_empty());
    ways.take(MOST_WAYS).collect()
}

/// Those of some devices that look like sums of the others: they hardly ever hold text where all hold something.
/// All of them, if none does.
fn sums(devices: Vec<Named>) -> BTreeSet<DeviceName> {
    let candidates = devices.into_iter();
    let candidates = candidates.map(|(name, device)| Candidate::new(name, device));
    let pile = Pile::look(candidates.collect());
    let all: Set = (0..pile.candidates.len()).collect();
    let full = || pile.rows.iter().filter(|row| row.full.holds(all));
    let texts = |device: usize| {
        let has_text = |row: &&Row| row.textures.get(device).is_some_and(Texture::is_text);
        full().filter(has_text).count()
    };
    let names = pile.candidates.iter().map(|one| one.name.clone());
    let texts: Vec<(DeviceName, usize)> = names.zip((0..).map(texts)).collect();
    let most = texts.iter().map(|(_, texts)| *texts).max().unwrap_or(0);
    let is_sum = |texts: usize| most < LEAST_TEXTS || texts.saturating_mul(SUM_PART) <= most;
    let any = texts.iter().any(|(_, texts)| is_sum(*texts));
    let sums = texts
        .into_iter()
        .filter(|(_, texts)| !any || is_sum(*texts));
    sums.map(|(name, _)| name).collect()
}
