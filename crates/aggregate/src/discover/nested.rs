//! Members of arrays of arrays that lost their label.

use std::collections::BTreeSet;

use super::Discovery;
use crate::document::{DeviceName, Group};

/// A member may be longer than what the array uses of it by as much as another one, and this, in bytes: it begins
/// and ends where its own label said, which is gone.
const SLACK: u64 = 1 << 20;

/// How sure a group is of which one member is known by its length alone.
const CONFIDENCE: f64 = 0.9;

impl Discovery<'_> {
    /// Completes groups that labels state on other groups, all of whose members are there but one, with the only group
    /// on which nothing is recognised and that is as long as the others: a newer array on the disks below may have
    /// overwritten the one label that says so.
    pub(super) fn complete_by_length(&mut self) {
        let stated = self.aggregate.groups.iter();
        let stated = stated.filter(|group| self.added_stated.contains(&group.name));
        let open: Vec<(&Group, Vec<DeviceName>)> = stated
            .map(|group| (group, self.fitting(group)))
            .filter(|(_, fitting)| !fitting.is_empty())
            .collect();
        let completed = open.iter().filter_map(|(group, fitting)| {
            let [name] = fitting.as_slice() else {
                return None;
            };
            let rivals = open.iter().filter(|(_, others)| others.contains(name));
            (rivals.count() == 1).then(|| self.with_member(group, name))?
        });
        let completed: Vec<Group> = completed.collect();
        // The names of groups that were worked out must not change.
        let members: BTreeSet<DeviceName> = completed.iter().flat_map(Group::devices).collect();
        let found = self.aggregate.groups.iter().filter(|group| {
            members.contains(&DeviceName::group(&group.name))
                && !self.added_stated.contains(&group.name)
        });
        let found: Vec<Group> = found.cloned().collect();
        self.completed.extend(completed);
        self.completed.extend(found);
    }

    /// The groups that may be the one member that a group on groups lacks.
    fn fitting(&self, group: &Group) -> Vec<DeviceName> {
        let there = group.members.iter().filter_map(|one| one.device.as_ref());
        let there: Vec<&DeviceName> = there.collect();
        let is_group = |name: &DeviceName| name.0.starts_with("group:");
        let lacks_one = there.len().saturating_add(1) == group.members.len();
        // What parity gives is better than what a length tells.
        let needs_one = lacks_one && !group.missing().is_empty();
        if there.is_empty() || !needs_one || !there.iter().all(|name| is_group(name)) {
            return Vec::new();
        }
        let length = |name: &DeviceName| self.devices.get(name).map_or(0, |device| device.len());
        let least = group
            .members
            .iter()
            .map(|member| member.data_offset.saturating_add(member.data_size));
        let least = least.max().unwrap_or(0);
        let most = there.iter().map(|name| length(name)).max().unwrap_or(0);
        let range = least..=most.saturating_add(SLACK);
        let own = DeviceName::group(&group.name);
        let is_other = |name: &DeviceName| is_group(name) && *name != own && !there.contains(&name);
        let blank = self.blank.keys().filter(|name| is_other(name));
        let fitting = blank.filter(|name| range.contains(&length(name)));
        fitting.cloned().collect()
    }

    /// A group with a device as the member that it lacks, which begins as the others do.
    fn with_member(&self, group: &Group, name: &DeviceName) -> Option<Group> {
        let like = group
            .members
            .iter()
            .find(|member| member.device.is_some())?;
        let (data_offset, data_size) = (like.data_offset, like.data_size);
        let found = self
            .aggregate
            .groups
            .iter()
            .find(|one| DeviceName::group(&one.name) == *name)?;
        let mut group = group.clone();
        let missing = group
            .members
            .iter_mut()
            .find(|member| member.device.is_none())?;
        missing.device = Some(name.clone());
        missing.data_offset = data_offset;
        missing.data_size = data_size;
        let role = missing.role;
        group.evidence.push(format!(
            "{name} is taken for role {role} without a label: it is the only group on which nothing is recognised and that is as long as the other members"
        ));
        group.confidence = CONFIDENCE.min(found.confidence);
        Some(group)
    }
}
