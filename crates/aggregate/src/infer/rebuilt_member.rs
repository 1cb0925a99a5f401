//! Arrays that a newer RAID-5 was begun over, which rebuilt one of its members from the others.
//!
//! That is how md begins a RAID-5: its parity holds then on all of its members, whatever they hold, and
//! one of them has nothing of what was there before. The relation of the newer array ties its members
//! together, and what is made of these is contradicted by most blocks that state their address, if anything is. Without
//! the one that was rebuilt, the others are members of the older group, as if it were missing.

use std::collections::BTreeSet;

use super::{Inferred, Named, infer_once};
use crate::document::{DeviceName, Group, Unused};
use crate::raid::Level;

/// Of two answers with as many members one must have so much more to say for it, in nats, and such a part of all.
const APART: f64 = 32.0;
const APART_SHARE: f64 = 0.1;

/// Among no more devices each is thought of.
const MOST_DOUBTED: usize = 8;
/// A larger pile is not asked once more, as each time looks at all devices; nor is one of half as many for what is
/// only tied together.
const MOST_DEVICES: usize = 16;

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

    /// What was worked out, or what is without one member of a group that is contradicted, or of devices of
    /// which no more is known than that parity ties them together, if that explains more.
    pub(super) fn without_a_rebuilt_member(self, devices: &[Named]) -> Self {
        let doubted = self
            .groups
            .iter()
            .filter(|group| self.is_contradicted(group));
        let tied = self
            .tied
            .iter()
            .filter(|_| devices.len() <= MOST_DEVICES / 2);
        let sets = doubted.map(Group::devices).chain(tied.cloned());
        let sets = sets.filter(|devices| devices.len() <= MOST_DOUBTED);
        let doubted: BTreeSet<DeviceName> = sets.flatten().take(MOST_DOUBTED).collect();
        if doubted.is_empty() || devices.len() > MOST_DEVICES {
            return self;
        }
        let mut answers = Vec::new();
        for rebuilt in &doubted {
            let others = devices.iter().filter(|(name, _)| name != rebuilt);
            let mut without = infer_once(others.cloned().collect());
            let worth = without.worth(without.sure());
            if worth.0 > self.worth(self.sure()).0 {
                let groups = without.groups.iter_mut();
                let beneath = groups.filter(|group| !group.devices().is_disjoint(&doubted));
                beneath.for_each(|group| {
                    group.evidence.push(format!(
                        "{rebuilt} is none of its members: a newer array rebuilt it from others of them"
                    ));
                });
                without.rebuilt = Some(rebuilt.clone());
                without.unused.push(Unused {
                    device: rebuilt.clone(),
                    why: "a newer array rebuilt it from its other members: it has nothing of what was there before"
                        .to_owned(),
                    copy_of: None,
                });
                answers.push((worth, without));
            }
        }
        let same = |one: &Self, other: &Self| are_same(&one.groups, &other.groups);
        best(answers, same).unwrap_or(self)
    }
}
