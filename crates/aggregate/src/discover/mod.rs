//! From disks to the document: labels on labels, until nothing new appears.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod begin;
mod beneath;
mod cuts;
mod found;
mod ground;
mod labels;
mod locked;
mod nested;
mod newer_parity;
mod newer_rows;
mod signature;
mod volumes;
mod volumes_beneath;
mod wiped;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};

use crate::build::{MOST_LAYERS, Problem, on_devices};
use crate::devices::Devices;
use crate::document::{
    Aggregate, DeviceName, FilesystemStatement, Group, Region, Unused, VERSION, Volume,
};
use crate::infer::Undecided;
use crate::luks::Keys;
use crate::raid::Level;
use crate::{ddf, epochs, lvm, md, partition};

/// A disk with its name in the case.
pub type Disk = (String, Arc<dyn ReadAt>);

/// Recognises a file system on a device: the crate that reads file systems stands above this
/// one, so it is passed in.
pub type Probe<'a> = dyn Fn(Arc<dyn ReadAt>, &DeviceName) -> Option<FilesystemStatement> + 'a;

/// More devices than any aggregate has: a partition table made to be endless stops here.
const MOST_DEVICES: usize = 65536;

/// Reads what the labels on `disks` say, and the labels on what they describe, and so on. Of the
/// disks and partitions that no label explains, groups are worked out from the contents.
///
/// The result does not depend on the order of the disks. A device that is part of another is
/// not searched for file systems: a member of a mirror would show what the mirror holds.
pub fn discover(disks: &[Disk], probe: &Probe<'_>) -> Aggregate {
    discover_over(disks, &[], probe)
}

/// As [`discover()`], with `groups` that are known already, by inference or from a person:
/// labels on their members are not read, and they are searched like any other device.
pub fn discover_over(disks: &[Disk], groups: &[Group], probe: &Probe<'_>) -> Aggregate {
    discover_with(disks, groups, &Keys::default(), probe)
}

/// As [`discover_over()`], with `keys` for what is encrypted: what they open is looked at like any
/// other device.
pub fn discover_with(
    disks: &[Disk],
    groups: &[Group],
    keys: &Keys,
    probe: &Probe<'_>,
) -> Aggregate {
    discover_given(disks, groups, Vec::new(), keys, probe)
}

/// The same, where some regions of the members of `groups` are known not to be theirs.
fn discover_given(
    disks: &[Disk],
    groups: &[Group],
    overwritten: Vec<Region>,
    keys: &Keys,
    probe: &Probe<'_>,
) -> Aggregate {
    let mut discovery = Discovery::new(disks, groups, keys, probe);
    discovery.aggregate.epochs = overwritten;
    while discovery.add_all() {}
    discovery.complete_by_length();
    while discovery.find_volumes() || discovery.add_all() {}
    // Labels that contents contradict are not read: then what lies on their groups is found on the
    // right ones alone. The same of groups that labels state in part only.
    let mut right = discovery.contradicting_labels();
    right.append(&mut discovery.completed);
    if right.is_empty() {
        return discovery.finish();
    }
    let is_right = |region: &Region| {
        let name = region.group.as_ref();
        right.iter().any(|group| Some(&group.name) == name)
    };
    let mut overwritten = discovery.overwritten;
    overwritten.retain(is_right);
    let known: Vec<Group> = groups.iter().cloned().chain(right).collect();
    discover_given(disks, &known, overwritten, keys, probe)
}

struct Discovery<'a> {
    probe: &'a Probe<'a>,
    keys: &'a Keys,
    devices: Devices,
    /// On how many layers each device lies.
    layers: BTreeMap<DeviceName, usize>,
    /// Devices that were not looked at yet.
    waiting: BTreeSet<DeviceName>,
    /// Groups that were given, and whose members may not be there yet.
    known: Vec<Group>,
    /// Members of groups that were given.
    claimed: BTreeSet<DeviceName>,
    md: Vec<md::Found>,
    ddf: Vec<ddf::Label>,
    /// Disks with DDF labels that no virtual disk uses.
    unread: BTreeSet<DeviceName>,
    lvm: Vec<lvm::Scanned>,
    /// Volume groups that are part of the aggregate already.
    added: BTreeSet<lvm::Id>,
    /// Groups of labels of md or DDF that are, or that cannot be.
    added_stated: BTreeSet<String>,
    /// The partitions of each disk that has some, by where each begins and how long it is.
    cuts: BTreeMap<DeviceName, BTreeMap<(u64, u64), DeviceName>>,
    /// Where each partition of a disk lies.
    partitions: BTreeMap<DeviceName, (DeviceName, u64)>,
    /// Devices on which nothing was recognised, and whether old LVM metadata was looked for.
    blank: BTreeMap<DeviceName, bool>,
    /// Whether groups were looked for on devices without labels.
    inferred: bool,
    /// Whether groups were looked for on devices whose labels state others.
    inferred_beneath: bool,
    /// Whether it was read what lies beneath partitions, and whether groups were looked for there.
    read_beneath_tables: bool,
    inferred_beneath_tables: bool,
    /// Labels of devices that are much longer than those they are on.
    strangers: Vec<(DeviceName, lvm::Scanned)>,
    /// Groups whose members disagree.
    doubted: BTreeSet<String>,
    /// Groups that labels state on some of their members, with the others by their contents.
    completed: Vec<Group>,
    /// Regions of members of groups that were worked out that are not theirs; of a group, once that has
    /// its name.
    overwritten: Vec<Region>,
    /// Devices of which it is not decided what they are a part of.
    undecided: Vec<Undecided>,
    /// Whether volumes were looked for on devices that nothing explains.
    searched: bool,
    /// What volumes are that were found and that no file system is recognised on.
    headless: BTreeMap<DeviceName, String>,
    /// Devices with a label whose magic number was cleared, and what kind of label that is.
    wiped: BTreeMap<DeviceName, &'static str>,
    /// Encrypted devices that no key opens.
    locked: BTreeSet<DeviceName>,
    aggregate: Aggregate,
}

/// Something that can be added to the aggregate.
enum Addition {
    Stated(Box<Group>),
    Lvm(Box<lvm::Group>),
}

impl<'a> Discovery<'a> {
    fn new(disks: &[Disk], known: &[Group], keys: &'a Keys, probe: &'a Probe<'a>) -> Self {
        let devices = Devices::of_disks(disks);
        let names: Vec<DeviceName> = devices.iter().map(|(name, _)| name.clone()).collect();
        let members = known.iter().flat_map(|group| &group.members);
        Self {
            probe,
            keys,
            wiped: BTreeMap::new(),
            locked: BTreeSet::new(),
            layers: names.iter().map(|name| (name.clone(), 0)).collect(),
            waiting: names.into_iter().collect(),
            claimed: members.filter_map(|member| member.device.clone()).collect(),
            known: known.to_vec(),
            devices,
            md: Vec::new(),
            ddf: Vec::new(),
            unread: BTreeSet::new(),
            lvm: Vec::new(),
            added: BTreeSet::new(),
            added_stated: BTreeSet::new(),
            cuts: BTreeMap::new(),
            partitions: BTreeMap::new(),
            blank: BTreeMap::new(),
            inferred: false,
            inferred_beneath: false,
            read_beneath_tables: false,
            inferred_beneath_tables: false,
            strangers: Vec::new(),
            doubted: BTreeSet::new(),
            completed: Vec::new(),
            overwritten: Vec::new(),
            undecided: Vec::new(),
            searched: false,
            headless: BTreeMap::new(),
            aggregate: Aggregate {
                version: VERSION,
                ..Aggregate::default()
            },
        }
    }

    /// Adds what labels and contents say next; whether there was something.
    fn add_all(&mut self) -> bool {
        self.examine_all()
            || self.leave_unread()
            || self.add_known()
            || self.add_complete()
            || self.cut_alike()
            || self.look_without_labels()
            || self.unlock_surely()
            || self.add_incomplete()
            || self.infer_all()
            || self.unlock()
    }

    /// Looks at every device that was not looked at yet; whether there was one.
    fn examine_all(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        for name in &waiting {
            if let Some(device) = self.devices.get(name)
                && !self.claimed.contains(name)
            {
                self.examine(name, &device);
            }
        }
        !waiting.is_empty()
    }

    /// Finds out what a device is: the first of these that fits counts.
    fn examine(&mut self, name: &DeviceName, device: &Arc<dyn ReadAt>) {
        // No table is looked for inside a partition: disk images have none there, and a
        // hostile one could nest them without end.
        let table = (!name.0.starts_with("partition:"))
            .then(|| partition::read(device))
            .flatten();
        let container = self.container(name, device, table.as_ref());
        let in_container = container.is_some();
        self.ddf.extend(container);
        let mut found = md::read_superblocks(device, name);
        found.retain(|label| !self.is_of_members(name, label));
        let sound = found.iter().any(|label| label.fault.is_none());
        let partitioned = table
            .as_ref()
            .is_some_and(|table| labels::of_partitions(&found, table, device, name));
        if !partitioned {
            // Labels that are not to be believed are reported, and do not make a member.
            self.md.extend(found);
            if sound {
                self.note_table(name, table.as_ref());
                return;
            }
        }
        if in_container {
            return;
        }
        if signature::foreign_raid(device).is_some() && !self.unread.contains(name) {
            self.blank.insert(name.clone(), false);
            return;
        }
        if let Some(scanned) = lvm::scan(device, name) {
            if self.is_label_of_member(name, &scanned) {
                // What lies on the group is found without it.
            } else if self.is_stranger(name, &scanned) {
                self.strangers.push((name.clone(), scanned));
            } else {
                self.lvm.push(scanned);
                return;
            }
        }
        if let Some(table) = table {
            self.add_partitions(name, &table);
            return;
        }
        let filesystem = (self.probe)(Arc::clone(device), name);
        let filesystem = filesystem.filter(|found| !self.is_on_partition_of_member(name, found));
        // The first member of an array begins with what lies on that.
        let is_longer = filesystem
            .as_ref()
            .is_some_and(|fs| fs.bytes > device.len());
        if is_longer && self.examine_restored(name, device) {
            return;
        }
        let is_encrypted = self.note_encrypted(name, device, filesystem.is_some());
        if let Some(filesystem) = filesystem {
            self.aggregate.filesystems.push(filesystem);
        } else if is_encrypted {
            // Its statement says what it is.
        } else if signature::contents(device).is_none() && self.examine_restored(name, device) {
            // It is what its label says.
        } else if self.add_lost_partitions(name, device) {
            // They are looked at in its place.
        } else if let Some(what) = signature::contents(device) {
            self.unused(name, what);
        } else {
            self.blank.insert(name.clone(), false);
        }
    }

    fn unused(&mut self, name: &DeviceName, why: &str) {
        self.aggregate.unused.push(Unused {
            device: name.clone(),
            copy_of: None,
            why: why.to_owned(),
        });
    }

    fn lose(&mut self, name: &DeviceName, what: String, cause: Cause) {
        self.aggregate.losses.push(Loss {
            what,
            origin: Origin::new(name.to_string(), ByteOffset::ZERO),
            cause,
        });
    }

    /// Says that a member of an array also has a partition table that is not used. A mirror
    /// shows its own table on its members; a table with a backup at the end is older than the
    /// label that lies over its start.
    fn note_table(&mut self, name: &DeviceName, table: Option<&partition::Table>) {
        let at_start = self
            .md
            .iter()
            .any(|label| label.device == *name && label.is_at_start());
        let Some(table) = table.filter(|table| at_start && table.kind == partition::TableKind::Mbr)
        else {
            return;
        };
        self.lose(
            name,
            format!("a table of {} partitions on {name}", table.partitions.len()),
            Cause::Corrupt(
                "the device carries an md label too, and that counts; if the label is a leftover, wipe it on a copy and add the copy instead".to_owned(),
            ),
        );
    }

    /// Adds a volume that lies on devices that are there; a volume that cannot be is a loss.
    fn add_volume(&mut self, volume: Volume) {
        match self.devices.open_volume(&volume) {
            Ok(device) => {
                let on = on_devices(&volume).into_iter().cloned().collect();
                if self.add_device(&volume.device, device, on, !volume.hidden) {
                    self.aggregate.volumes.push(volume);
                }
            }
            Err(problem) => self.refuse(&volume.device, &problem),
        }
    }

    /// Adds a group whose members are there; whether it could be.
    fn add_group(&mut self, group: Group, search: bool) {
        let group = self.judge_epochs(group);
        let name = DeviceName::group(&group.name);
        match self.devices.open_group(&group, &self.aggregate.epochs) {
            Ok(device) => {
                let on = group.members.iter().filter_map(|m| m.device.clone());
                if self.add_device(&name, device, on.collect(), search) {
                    self.aggregate.groups.push(group);
                }
            }
            Err(problem) => self.refuse(&name, &problem),
        }
    }

    /// Finds out which regions of the members of a group are still its own, where a sample says
    /// that not all are.
    fn judge_epochs(&mut self, group: Group) -> Group {
        let stated = self.aggregate.epochs.iter();
        let stated = stated.filter(|region| region.group.as_ref() == Some(&group.name));
        let stated: Vec<Region> = stated.cloned().collect();
        if !epochs::disagrees(&group, &self.devices, &stated) {
            return group;
        }
        self.doubted.insert(group.name.clone());
        let detected = epochs::detect(&group, &self.devices, &stated);
        self.aggregate.epochs.extend(detected.regions);
        self.aggregate.losses.extend(detected.losses);
        detected.group
    }

    fn refuse(&mut self, name: &DeviceName, problem: &Problem) {
        self.lose(name, name.to_string(), Cause::Corrupt(problem.to_string()));
    }

    /// Adds a device that lies `on` others, to be searched if `search`; whether it was added.
    fn add_device(
        &mut self,
        name: &DeviceName,
        device: Arc<dyn ReadAt>,
        on: Vec<DeviceName>,
        search: bool,
    ) -> bool {
        let layer = self.layer(&on).saturating_add(1);
        if layer > MOST_LAYERS || self.layers.len() >= MOST_DEVICES || self.devices.contains(name) {
            let why = "too many devices or layers of them, or two of one name";
            self.lose(name, name.to_string(), Cause::Corrupt(why.to_owned()));
            return false;
        }
        self.layers.insert(name.clone(), layer);
        self.devices.insert(name.clone(), device);
        if search {
            self.waiting.insert(name.clone());
        }
        true
    }

    /// The highest layer among `devices`.
    fn layer(&self, devices: &[DeviceName]) -> usize {
        let layers = devices.iter().filter_map(|name| self.layers.get(name));
        layers.copied().max().unwrap_or(0)
    }

    /// Adds the groups that were given as soon as their members are there.
    fn add_known(&mut self) -> bool {
        let there = |group: &Group| {
            let mut members = group.members.iter().flat_map(|member| &member.device);
            members.all(|device| self.devices.contains(device))
        };
        let (ready, known): (Vec<_>, Vec<_>) = self.known.drain(..).partition(there);
        self.known = known;
        let any = !ready.is_empty();
        for group in ready {
            self.add_group(group, true);
        }
        any
    }

    /// What the labels found so far amount to and is not part of the aggregate yet.
    fn additions(&self) -> Vec<Addition> {
        let arrays = self.stated_groups().into_iter();
        let arrays = arrays.filter(|group| !self.added_stated.contains(&group.name));
        arrays
            .map(|group| Addition::Stated(Box::new(group)))
            .chain(
                self.waiting_volume_groups()
                    .into_iter()
                    .map(|group| Addition::Lvm(Box::new(group))),
            )
            .collect()
    }

    /// The volume groups that are not part of the aggregate yet.
    fn waiting_volume_groups(&self) -> Vec<lvm::Group> {
        let groups = lvm::gather(&self.lvm).groups.into_iter();
        let groups = groups.filter(|group| !self.added.contains(&group.text.id));
        // What one volume group takes in is no other one's; those that were removed come last.
        let mut groups: Vec<lvm::Group> = groups.collect();
        groups.sort_by_key(|group| group.removed);
        let is_group = |name: &DeviceName| name.0.starts_with("group:");
        let mut blank = self.unexplained(&["group:", "disk:", "partition:"]);
        // What texts a disk still has is asked first.
        blank.retain(|(name, _)| is_group(name) || self.blank.get(name) == Some(&true));
        // What another text knows is no blank device.
        blank.retain(|(name, _)| !self.lvm.iter().any(|one| one.device == *name));
        for group in &mut groups {
            group.take_in(&blank);
            // Disks are often of one length.
            let of_groups = blank.iter().filter(|(name, _)| is_group(name));
            let of_groups: Vec<_> = of_groups.cloned().collect();
            group.take_in_by_length(&of_groups);
            blank.retain(|(name, _)| !group.devices.values().any(|taken| taken == name));
        }
        groups
    }

    /// Adds every group that has all its members; whether there was one.
    fn add_complete(&mut self) -> bool {
        let complete: Vec<Addition> = self
            .additions()
            .into_iter()
            .filter(Addition::is_complete)
            .collect();
        let any = !complete.is_empty();
        for addition in complete {
            self.add(addition);
        }
        any
    }

    /// Adds one group that lacks members; whether there was one.
    ///
    /// The one on the lowest layer comes first: what it holds may be the member that another
    /// one lacks. A volume group waits for the groups that are worked out from contents: the
    /// physical volume that it lacks may lie on one of them.
    fn add_incomplete(&mut self) -> bool {
        let lowest = self
            .additions()
            .into_iter()
            .min_by_key(|addition| (addition.is_removed(), self.layer(&addition.on())));
        match lowest {
            Some(Addition::Lvm(_)) if self.infer_all() => true,
            Some(addition) => {
                self.add(addition);
                true
            }
            None => false,
        }
    }

    fn add(&mut self, addition: Addition) {
        match addition {
            Addition::Stated(group) => {
                self.added_stated.insert(group.name.clone());
                self.add_group(*group, true);
            }
            Addition::Lvm(group) => {
                self.added.insert(group.text.id);
                self.add_volume_group(*group);
            }
        }
    }

    /// Adds the volumes of a volume group, those first on which others lie.
    fn add_volume_group(&mut self, mut group: lvm::Group) {
        let taken = self.aggregate.volume_groups.iter().map(|g| &g.name);
        if taken.into_iter().any(|name| *name == group.name) {
            group.name = format!("{}-{}", group.name, group.text.id.short());
        }
        for device in group.devices.values() {
            self.blank.remove(device);
        }
        let made = group.volumes(&|volume| self.devices.open_volume(volume).ok());
        self.aggregate.volume_groups.push(group.statement());
        self.aggregate.losses.extend(group.losses());
        self.aggregate.losses.extend(made.losses);
        let mut volumes = made.volumes;
        let mut groups = made.groups;
        loop {
            let there = |devices: &Devices, on: &BTreeSet<&DeviceName>| {
                on.iter().all(|name| devices.contains(name))
            };
            let (ready, later): (Vec<_>, Vec<_>) = volumes
                .into_iter()
                .partition(|volume| there(&self.devices, &on_devices(volume)));
            let members = |group: &Group| -> BTreeSet<DeviceName> {
                group
                    .members
                    .iter()
                    .filter_map(|m| m.device.clone())
                    .collect()
            };
            let (ready_groups, later_groups): (Vec<_>, Vec<_>) = groups
                .into_iter()
                .partition(|group| there(&self.devices, &members(group).iter().collect()));
            volumes = later;
            groups = later_groups;
            if ready.is_empty() && ready_groups.is_empty() {
                break;
            }
            for volume in ready {
                self.add_volume(volume);
            }
            for group in ready_groups {
                self.add_group(group, false);
            }
        }
        // What is left lies on itself or on a part that could not be added.
        for volume in volumes {
            let why = "it lies on itself, or on a part that cannot be read".to_owned();
            self.lose(
                &volume.device,
                volume.device.to_string(),
                Cause::Corrupt(why),
            );
        }
    }

    /// Whether this is a mirror that only equal contents make one, and on which nothing was recognised: it may be a
    /// part of something in chunks.
    fn is_unproven_mirror(&self, name: &DeviceName) -> bool {
        let mut groups = self.aggregate.groups.iter();
        groups.any(|group| {
            let is_mirror = matches!(group.geometry.level, Level::Raid1 { .. });
            is_mirror
                && DeviceName::group(&group.name) == *name
                && !self.added_stated.contains(&group.name)
        })
    }

    /// The document, with everything in its order.
    fn finish(mut self) -> Aggregate {
        let (md, ddf) = labels::stated(&self.md, &self.ddf);
        let gathered = lvm::gather(&self.lvm);
        self.aggregate.unused.extend(md.unused);
        self.aggregate.unused.extend(ddf.unused);
        for (name, why) in ddf.unread {
            if self.blank.contains_key(&name) && !self.is_tied(&name) {
                self.unused(&name, why);
            }
        }
        self.aggregate.losses.extend(md.losses);
        self.aggregate.losses.extend(ddf.losses);
        self.aggregate.losses.extend(gathered.losses);
        for group in &gathered.superseded {
            let mut statement = group.statement();
            statement.notes.push(
                "its disks belong to another group since: only its metadata is left, its volumes are not assembled".to_owned(),
            );
            self.aggregate.volume_groups.push(statement);
        }
        self.aggregate.unused.extend(gathered.unused);
        for group in std::mem::take(&mut self.known) {
            let name = DeviceName::group(&group.name);
            let why = "a member is neither an image nor found on one".to_owned();
            self.lose(&name, name.to_string(), Cause::Corrupt(why));
        }
        self.name_locked();
        self.note_volume_groups_over();
        self.note_wiped();
        self.drop_first_pieces();
        for name in std::mem::take(&mut self.blank).into_keys() {
            if self.is_unproven_mirror(&name) {
                self.aggregate.undecided.push([name.clone()].into());
            }
            let is_said = |unused: &Unused| unused.device == name;
            if !self.aggregate.unused.iter().any(is_said) {
                self.name_blank(&name);
            }
        }
        let aggregate = &mut self.aggregate;
        aggregate.groups.sort_by(|a, b| a.name.cmp(&b.name));
        // A group that could not be added in the end leaves no statement about its members.
        let groups = &aggregate.groups;
        let known = |region: &Region| {
            let name = region.group.as_ref();
            name.is_none_or(|name| groups.iter().any(|group| group.name == *name))
        };
        aggregate.epochs.retain(known);
        aggregate.epochs.sort();
        aggregate.volumes.sort_by(|a, b| a.device.cmp(&b.device));
        aggregate
            .volume_groups
            .sort_by(|a, b| (&a.name, &a.uuid).cmp(&(&b.name, &b.uuid)));
        aggregate
            .filesystems
            .sort_by(|a, b| a.device.cmp(&b.device));
        aggregate.encrypted.sort_by(|a, b| a.device.cmp(&b.device));
        aggregate.unused.sort_by(|a, b| a.device.cmp(&b.device));
        aggregate.unused.dedup_by(|a, b| a.device == b.device);
        aggregate.losses.sort();
        aggregate.losses.dedup();
        self.aggregate
    }
}

/// Whether this is a disk or a part of one, and nothing that was put together.
fn is_disk(name: &DeviceName) -> bool {
    name.0.starts_with("disk:") || name.0.starts_with("partition:")
}

impl Addition {
    fn is_complete(&self) -> bool {
        match self {
            Self::Stated(group) => group.members.iter().all(|member| member.device.is_some()),
            Self::Lvm(group) => group.is_complete() && !group.removed,
        }
    }

    fn is_removed(&self) -> bool {
        matches!(self, Self::Lvm(group) if group.removed)
    }

    /// The devices that it lies on.
    fn on(&self) -> Vec<DeviceName> {
        match self {
            Self::Stated(group) => group
                .members
                .iter()
                .filter_map(|m| m.device.clone())
                .collect(),
            Self::Lvm(group) => group.devices.values().cloned().collect(),
        }
    }
}
