//! Arrays that newer RAID-5s were begun over, each of which rebuilt one of its members from the others.
//!
//! That is how md begins a RAID-5: its parity holds then on all of its members, whatever they hold, and
//! one of them has nothing of what was there before. The relation of the newer array ties its members
//! together, and what is made of these is contradicted by most blocks that state their address, if anything is. Without
//! the one that was rebuilt, the others are members of the older group, as if it were missing. Which one it
//! was shows where there was text: a sum of several blocks is none.

use std::collections::BTreeSet;
use std::sync::Arc;

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
/// No more ways are tried in which members may have been rebuilt, as each looks at all devices; but each of these
/// alone is.
const MOST_WAYS: usize = 16;
/// Nor is a larger pile asked once more, nor one of half as many for what is only tied together.
const MOST_DEVICES: usize = 16;

/// An array is synced that holds in so many of a hundred rows: it wrote files since.
const SYNCED_PERCENT: usize = 90;

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
        let arrays = Newer::of(&arrays, devices);
        let mut answers = Vec::new();
        for rebuilt in rebuilt_members(&arrays) {
            let others = devices.iter().filter(|(name, _)| !rebuilt.contains(name));
            let mut without = infer_once(others.cloned().collect());
            let worth = without.worth(without.sure());
            let mut groups = without.groups.iter();
            let repeats = groups.any(|group| repeats(group, &arrays, &rebuilt));
            if !repeats && worth.0 > self.worth(self.sure()).0 {
                without.note_rebuilt(rebuilt, &arrays);
                answers.push((worth, without));
            }
        }
        let same = |one: &Self, other: &Self| are_same(&one.groups, &other.groups);
        best(answers, same).unwrap_or(self)
    }

    /// States that newer arrays rebuilt these devices, of groups on the others of their members.
    fn note_rebuilt(&mut self, rebuilt: BTreeSet<DeviceName>, arrays: &[Newer]) {
        for device in &rebuilt {
            let own = arrays.iter().filter(|array| array.members.contains(device));
            let on: BTreeSet<&DeviceName> = own.flat_map(|array| &array.members).collect();
            let is_beneath =
                |group: &&mut Group| group.devices().iter().any(|one| on.contains(one));
            for group in self.groups.iter_mut().filter(is_beneath) {
                group.evidence.push(format!(
                    "{device} is none of its members: a newer array rebuilt it from others of them"
                ));
            }
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

/// An array that may have been made over a group.
pub(crate) struct Newer {
    members: BTreeSet<DeviceName>,
    /// Whether each is the sum of the others, nearly all over.
    is_synced: bool,
    /// Those that it may have rebuilt of the others.
    rebuilt: BTreeSet<DeviceName>,
}

impl Newer {
    /// What the devices say of arrays with these members.
    pub(crate) fn of(arrays: &[BTreeSet<DeviceName>], devices: &[Named]) -> Vec<Self> {
        let one = |members: &BTreeSet<DeviceName>| {
            let own = devices.iter().filter(|(name, _)| members.contains(name));
            let own = own.map(|(name, device)| Candidate::new(name.clone(), Arc::clone(device)));
            Self::seen(members.clone(), &Pile::look(own.collect()))
        };
        arrays.iter().map(one).collect()
    }

    /// A member that was rebuilt hardly ever holds text where all hold something: it is a sum of several blocks. If
    /// one does not stand out, any may be it.
    fn seen(members: BTreeSet<DeviceName>, pile: &Pile) -> Self {
        let all: Set = (0..pile.candidates.len()).collect();
        let full: Vec<&Row> = pile.rows.iter().filter(|row| row.full.holds(all)).collect();
        let tied = full.iter().filter(|row| row.parts.contains(&all)).count();
        let is_synced = !full.is_empty()
            && tied.saturating_mul(100) >= full.len().saturating_mul(SYNCED_PERCENT);
        let texts = |device: usize| {
            let has_text = |row: &&&Row| row.textures.get(device).is_some_and(Texture::is_text);
            full.iter().filter(has_text).count()
        };
        let names = pile.candidates.iter().map(|one| one.name.clone());
        let texts: Vec<(DeviceName, usize)> = names.zip((0..).map(texts)).collect();
        let most = texts.iter().map(|(_, texts)| *texts).max().unwrap_or(0);
        let is_sum = |texts: usize| most >= LEAST_TEXTS && texts.saturating_mul(SUM_PART) <= most;
        let sums = texts.iter().filter(|(_, texts)| is_sum(*texts));
        let sums: BTreeSet<DeviceName> = sums.map(|(name, _)| name.clone()).collect();
        Self {
            rebuilt: if is_synced && !sums.is_empty() {
                sums
            } else {
                members.clone()
            },
            members,
            is_synced,
        }
    }
}

/// Whether a group is one of these arrays without the member of it that is left out, which parity would make
/// again as it is.
pub(crate) fn repeats(group: &Group, arrays: &[Newer], left_out: &BTreeSet<DeviceName>) -> bool {
    let level = &group.geometry.level;
    let has_one = matches!(level, Level::Raid4 { .. } | Level::Raid5 { .. });
    let devices = group.devices();
    let lacks_one = group.members.len() == devices.len().saturating_add(1);
    let is_one =
        |array: &Newer| array.is_synced && &devices | &(&array.members & left_out) == array.members;
    has_one && lacks_one && arrays.iter().any(is_one)
}

/// The ways in which newer arrays may have rebuilt one of their members each, of one of the arrays or of several:
/// no more than are tried.
pub(crate) fn rebuilt_members(arrays: &[Newer]) -> Vec<BTreeSet<DeviceName>> {
    let mut ways = vec![BTreeSet::new()];
    for array in arrays {
        let longer = ways.iter().flat_map(|way| {
            let with = |one: &DeviceName| way | &BTreeSet::from([one.clone()]);
            array.rebuilt.iter().map(with).collect::<Vec<_>>()
        });
        let longer: Vec<BTreeSet<DeviceName>> = longer.collect();
        ways.extend(longer);
        // Of many arrays not all ways are ever tried.
        ways.truncate(MOST_WAYS.saturating_mul(MOST_WAYS));
    }
    // One of each, where that is clear; then single ones.
    let is_clear = |way: &BTreeSet<DeviceName>| {
        let mut arrays = arrays.iter();
        arrays.all(|array| array.rebuilt.len() == 1 && array.rebuilt.is_subset(way))
    };
    let rank = |way: &BTreeSet<DeviceName>| (!is_clear(way), way.len());
    ways.sort_by(|one, other| rank(one).cmp(&rank(other)).then(one.cmp(other)));
    ways.dedup();
    let singles: BTreeSet<&DeviceName> = arrays.iter().flat_map(|array| &array.rebuilt).collect();
    let most = MOST_WAYS.max(singles.len());
    let ways = ways.into_iter().filter(|way| !way.is_empty());
    ways.take(most).collect()
}
