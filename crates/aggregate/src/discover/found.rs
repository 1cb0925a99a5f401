//! Groups that no label states: what is left unexplained is worked out from contents.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{Cause, ReadAt};

use super::{Discovery, is_disk};
use crate::document::{DeviceName, FilesystemStatement, Group, Member, Region};
use crate::infer::{self, Named, Undecided};
use crate::volumes_found::is_one_of_several;

/// So many blocks of another file system that state their address, on each of two devices, show that something lies
/// beneath a btrfs of several.
const LEAST_BENEATH: usize = 6;

impl Discovery<'_> {
    /// Works out groups from contents wherever some may be that labels do not state; whether there was one.
    pub(super) fn infer_all(&mut self) -> bool {
        self.infer_beneath_newer_tables()
            || self.infer()
            || self.infer_beneath()
            || self.infer_beneath_open_partitions()
    }

    /// Works out groups from the contents of the disks and partitions that no label explains;
    /// whether there was one. It is done once, when the labels have said all that they can.
    fn infer(&mut self) -> bool {
        if std::mem::replace(&mut self.inferred, true) {
            return false;
        }
        let mut devices = self.unexplained_disks();
        devices.extend(self.doubted());
        let mut inferred = infer::infer(devices);
        self.completed = inferred
            .groups
            .iter()
            .filter_map(|one| self.completed(one))
            .collect();
        let groups = self.begun(inferred.groups, &mut inferred.overwritten);
        self.overwritten.retain(|region| region.group.is_some());
        self.overwritten.extend(inferred.overwritten);
        self.aggregate.losses.extend(inferred.losses);
        self.undecided = inferred.undecided;
        for unused in inferred.unused {
            if self.blank.remove(&unused.device).is_some() {
                self.aggregate.unused.push(unused);
            }
        }
        let groups = groups.into_iter();
        let groups: Vec<Group> = groups.filter(|group| !self.is_known(group)).collect();
        let mut any = !groups.is_empty();
        // What ties members of these groups together as well is a newer array on the same disks.
        let members = groups.iter().flat_map(|group| self.with_partitions(group));
        let members: BTreeSet<DeviceName> = members.collect();
        self.undecided
            .retain(|one| !one.devices.is_subset(&members));
        let over = self.of_several_on(&members);
        for group in groups {
            self.add_found(group);
        }
        for fs in over {
            let what = format!("the {} file system {}", fs.kind, fs.uuid);
            let why = "it was made over a group of which its devices are members, and of several devices it is not read beside that; give its disks to a case of their own";
            self.lose(&fs.device, what, Cause::Unsupported(why.to_owned()));
        }
        // What is no part of a group has its label after all: an image that was cut short.
        for (name, scanned) in std::mem::take(&mut self.strangers) {
            let is_alone = self.blank.contains_key(&name) && !self.is_tied(&name);
            if is_alone && name.0.starts_with("disk:") {
                self.blank.remove(&name);
                self.lvm.push(scanned);
                any = true;
            }
        }
        any
    }

    /// The btrfs of several devices that are stated on some.
    fn of_several_on(&self, members: &BTreeSet<DeviceName>) -> Vec<FilesystemStatement> {
        let on = self.aggregate.filesystems.iter();
        let on = on.filter(|fs| members.contains(&fs.device));
        let is_several = |name: &DeviceName| {
            let device = self.devices.get(name);
            device.is_some_and(|device| is_one_of_several(&device))
        };
        on.filter(|fs| is_several(&fs.device)).cloned().collect()
    }

    /// Whether something ties a device to others in a way that is not decided.
    pub(super) fn is_tied(&self, name: &DeviceName) -> bool {
        let tied = |one: &Undecided| one.devices.len() > 1 && one.devices.contains(name);
        self.undecided.iter().any(tied)
    }

    /// Disks and partitions whose label may belong to an array that was begun over another one:
    /// members of groups of which more is missing than can be, or whose parity does not hold.
    pub(super) fn doubted(&self) -> Vec<(DeviceName, Arc<dyn ReadAt>)> {
        let there = |group: &Group| -> Vec<bool> {
            let mut members: Vec<&Member> = group.members.iter().collect();
            members.sort_by_key(|member| member.role);
            members
                .iter()
                .map(|member| member.device.is_some())
                .collect()
        };
        let is_doubted = |group: &&Group| {
            self.doubted.contains(&group.name) || !group.geometry.survives(&there(group))
        };
        let groups = self.aggregate.groups.iter().filter(is_doubted);
        let names: BTreeSet<&DeviceName> = groups
            .flat_map(|group| group.members.iter().filter_map(|m| m.device.as_ref()))
            .filter(|name| is_disk(name))
            .filter(|name| !self.claimed.contains(*name) && !self.blank.contains_key(*name))
            .filter(|name| !self.is_over_member(name))
            .collect();
        let device = |name: &DeviceName| Some((name.clone(), self.devices.get(name)?));
        names.into_iter().filter_map(device).collect()
    }

    /// Adds a group that was worked out: what was recognised on its members alone is a part of it.
    pub(super) fn add_found(&mut self, mut group: Group) {
        for device in group.members.iter().filter_map(|m| m.device.as_ref()) {
            self.blank.remove(device);
            self.aggregate.filesystems.retain(|fs| fs.device != *device);
            let encrypted = &mut self.aggregate.encrypted;
            encrypted.retain(|one| one.device != *device);
        }
        for partition in self.with_partitions(&group) {
            self.blank.remove(&partition);
        }
        let all = || self.aggregate.groups.iter().chain(&self.known);
        let is_free = |name: &String| all().all(|group| group.name != *name);
        let names = (1_u64..).map(|number| format!("found-{number}"));
        group.name = names.into_iter().find(is_free).unwrap_or_default();
        self.note_begun_over(&group);
        let own = |region: &&mut Region| {
            let mut on = group.members.iter().flat_map(|member| &member.device);
            region.group.is_none() && on.any(|device| region.device == *device)
        };
        let mut taken = Vec::new();
        for region in self.overwritten.iter_mut().filter(own) {
            region.group = Some(group.name.clone());
            taken.push(region.clone());
        }
        if taken.is_empty() {
            taken = self.parity_of_newer(&group);
            self.overwritten.extend(taken.iter().cloned());
        }
        self.aggregate.epochs.extend(taken);
        self.add_group(group, true);
    }

    /// The disks and partitions without an explanation that may be members of groups: no devices of a btrfs of
    /// several, unless that was made over something else, and none that shows which physical volume it is of a
    /// volume group that waits for others.
    pub(super) fn unexplained_disks(&self) -> Vec<(DeviceName, Arc<dyn ReadAt>)> {
        let waiting = self.waiting_volume_groups();
        let is_volume = |name: &DeviceName, device: &Arc<dyn ReadAt>| {
            let mut waiting = waiting.iter();
            waiting.any(|group| group.is_shown_on(name, device.as_ref()))
        };
        let disks = self.unexplained(&["disk:", "partition:"]);
        let (of_btrfs, mut others): (Vec<Named>, Vec<Named>) = disks
            .into_iter()
            .partition(|(_, device)| is_one_of_several(device));
        if is_over_another(&of_btrfs) {
            others.extend(of_btrfs);
        }
        others.retain(|(name, device)| !is_volume(name, device));
        others
    }

    /// Devices of some kinds on which nothing was recognised, or a file system that is longer
    /// than they are: such a one goes on elsewhere.
    pub(super) fn unexplained(&self, kinds: &[&str]) -> Vec<(DeviceName, Arc<dyn ReadAt>)> {
        let length = |name: &DeviceName| self.devices.get(name).map_or(0, |device| device.len());
        let too_long = self.aggregate.filesystems.iter();
        let too_long = too_long.filter(|fs| fs.bytes > length(&fs.device));
        let names: BTreeSet<&DeviceName> = self
            .blank
            .keys()
            .chain(too_long.map(|fs| &fs.device))
            .filter(|name| kinds.iter().any(|kind| name.0.starts_with(kind)))
            .filter(|name| !self.claimed.contains(*name) && !self.is_over_member(name))
            .collect();
        names
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.devices.get(name)?)))
            .collect()
    }
}

/// Whether blocks of another file system lie on several `devices` of a btrfs, as where it was made over an array.
fn is_over_another(devices: &[Named]) -> bool {
    if devices.len() < 2 {
        return false;
    }
    let anchors = infer::survey(devices, &mut |_, _, _| ());
    let by_source = infer::certain_by_source(&anchors);
    by_source.values().any(|on| {
        let many = on.values().filter(|count| **count >= LEAST_BENEATH);
        many.count() > 1
    })
}
