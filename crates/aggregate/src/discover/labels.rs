//! Which labels of RAID on a device are its own, and which belong to what lies on it or are left from before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt, SECTOR_BYTES};

use super::Discovery;
use crate::build::on_devices;
use crate::ddf;
use crate::document::{DeviceName, Group, OVERWRITTEN_CONFIDENCE};
use crate::md::{self, Found, Uuid};
use crate::partition;

impl Discovery<'_> {
    /// The groups that the labels that were found so far state.
    pub(super) fn stated_groups(&self) -> Vec<Group> {
        let (md, ddf) = stated(&self.md, &self.ddf);
        md.groups.into_iter().chain(ddf.groups).collect()
    }

    /// Whether a label at the start of a group is that of one of its members, over which a younger array was
    /// created: then these show the labels of several. On a volume it is that of a disk that the volume begins with.
    pub(super) fn is_of_members(&self, name: &DeviceName, label: &Found) -> bool {
        let mut volumes = self.aggregate.volumes.iter();
        if let Some(volume) = volumes.find(|volume| volume.device == *name) {
            let on = on_devices(volume);
            return self.md.iter().any(|other| {
                let (own, below) = (&label.superblock, &other.superblock);
                on.contains(&other.device)
                    && (own.set_uuid, own.dev_number) == (below.set_uuid, below.dev_number)
            });
        }
        let groups = self.aggregate.groups.iter();
        let mut own = groups.filter(|group| DeviceName::group(&group.name) == *name);
        own.next().is_some_and(|group| {
            let devices = self.with_partitions(group);
            let shown = self.md.iter().filter(|other| {
                devices.contains(&other.device)
                    && other.superblock.set_uuid == label.superblock.set_uuid
            });
            let numbers: BTreeSet<u32> = shown.map(|other| other.superblock.dev_number).collect();
            numbers.len() > 1
        })
    }

    /// Looks at disks that no virtual disk of their DDF labels uses as if they had none; whether there was
    /// one that was not yet.
    pub(super) fn leave_unread(&mut self) -> bool {
        let unread = stated(&self.md, &self.ddf).1.unread.into_keys();
        let new: Vec<DeviceName> = unread.filter(|name| !self.unread.contains(name)).collect();
        self.md.retain(|label| !new.contains(&label.device));
        self.unread.extend(new.iter().cloned());
        self.waiting.extend(new.iter().cloned());
        !new.is_empty()
    }

    /// The DDF label of a disk.
    ///
    /// One that the last sector does not lead to may be left from before: what fits on the disk counts then.
    pub(super) fn container(
        &self,
        name: &DeviceName,
        device: &Arc<dyn ReadAt>,
        table: Option<&partition::Table>,
    ) -> Option<ddf::Label> {
        if !name.0.starts_with("disk:") || self.unread.contains(name) {
            return None;
        }
        let label = ddf::read(device, name)?;
        if label.is_at_end {
            return Some(label);
        }
        let length = device.len();
        let fits = |partition: &partition::Partition| {
            partition.start.saturating_add(partition.bytes) <= length
        };
        let is_whole = table.is_some_and(|table| table.partitions.iter().all(fits))
            || (self.probe)(Arc::clone(device), name).is_some_and(|fs| fs.bytes <= length);
        (!is_whole).then_some(label)
    }
}

/// What the labels of md and DDF amount to.
///
/// A virtual disk of DDF begins at the start of its disks, and if it is a member of an md array, the label
/// of that one shows through: then all of its disks that show one show the same. Where they show the labels
/// of several members, an md array was made of the disks themselves, and both count: the younger one was
/// created over the other.
pub(super) fn stated(found: &[Found], containers: &[ddf::Label]) -> (md::Assembly, ddf::Assembly) {
    let mut own = own(found);
    let mut ddf = ddf::assemble(containers);
    let mut contents: BTreeSet<(DeviceName, ByteOffset)> = BTreeSet::new();
    let mut both: Vec<(BTreeSet<DeviceName>, usize)> = Vec::new();
    for (number, group) in ddf.groups.iter().enumerate() {
        // Only labels where this one lies: others may lie before and behind it.
        let lies_on = |label: &&Found| {
            group.members.iter().any(|member| {
                let data = member.data_offset..member.data_offset.saturating_add(member.data_size);
                member.device.as_ref() == Some(&label.device) && data.contains(&label.at.get())
            })
        };
        let mut shown: BTreeMap<Uuid, BTreeSet<u32>> = BTreeMap::new();
        let labels = own.iter().filter(|label| label.fault.is_none());
        let labels: Vec<&Found> = labels.filter(lies_on).collect();
        for label in &labels {
            let numbers = shown.entry(label.superblock.set_uuid).or_default();
            numbers.insert(label.superblock.dev_number);
        }
        if shown.values().any(|numbers| numbers.len() > 1) {
            both.push((group.devices(), number));
        } else {
            contents.extend(labels.iter().map(|label| (label.device.clone(), label.at)));
        }
    }
    own.retain(|label| !contents.contains(&(label.device.clone(), label.at)));
    let mut md = md::assemble(&own);
    for (devices, number) in &both {
        let labels = own.iter().filter(|label| devices.contains(&label.device));
        let md_created = labels.map(|label| label.superblock.ctime).max();
        let on_these = |group: &&mut Group| !group.devices().is_disjoint(devices);
        let Some(container) = ddf.groups.get_mut(*number) else {
            continue;
        };
        let is_younger = md_created >= ddf.created.get(&container.name).copied();
        for array in md.groups.iter_mut().filter(on_these) {
            if is_younger {
                created_over(array, container);
            } else {
                created_over(container, array);
            }
        }
    }
    (md, ddf)
}

/// Notes that one group was created over another by their labels.
fn created_over(younger: &mut Group, older: &mut Group) {
    older.confidence = OVERWRITTEN_CONFIDENCE;
    older.evidence.push(format!(
        "its disks carry the younger labels of {} as well: what that one wrote is no longer its own",
        younger.name
    ));
    younger.over.push(older.name.clone());
}

/// The labels in `found` without those that are contents of an array.
///
/// A member whose label is at its end (0.90, 1.0) begins with the array's data, and if the
/// array is itself a member of another one, that one's label shows through: on every member
/// of a mirror, on the first of a stripe, and on a parity disk where the rest of the row is
/// zeros. Since the array is one device, its members then show the label of one device only.
/// Where they show the labels of several, another array was made over this one, and both count.
fn own(found: &[Found]) -> Vec<Found> {
    let mut shown: BTreeMap<(Uuid, Uuid), BTreeSet<u32>> = BTreeMap::new();
    for (outer, inner) in pairs(found) {
        let key = (outer.superblock.set_uuid, inner.superblock.set_uuid);
        shown
            .entry(key)
            .or_default()
            .insert(inner.superblock.dev_number);
    }
    let contents: BTreeSet<(&DeviceName, ByteOffset)> = pairs(found)
        .filter(|(outer, inner)| {
            let key = (outer.superblock.set_uuid, inner.superblock.set_uuid);
            shown.get(&key).is_some_and(|numbers| numbers.len() == 1)
        })
        .map(|(_, inner)| (&inner.device, inner.at))
        .collect();
    let own = found
        .iter()
        .filter(|f| !contents.contains(&(&f.device, f.at)));
    own.cloned().collect()
}

/// Labels at the end of a device with those at the start of it that lie in their data.
fn pairs(found: &[Found]) -> impl Iterator<Item = (&Found, &Found)> {
    let sound = || found.iter().filter(|label| label.fault.is_none());
    let at_end = sound().filter(|label| !label.is_at_start());
    at_end.flat_map(move |outer| {
        let start = outer.superblock.data_offset.saturating_mul(SECTOR_BYTES);
        let bytes = outer.superblock.data_size.saturating_mul(SECTOR_BYTES);
        let data = start..start.saturating_add(bytes);
        sound()
            .filter(move |inner| {
                inner.device == outer.device
                    && inner.is_at_start()
                    && inner.superblock.set_uuid != outer.superblock.set_uuid
                    && data.contains(&inner.at.get())
            })
            .map(move |inner| (outer, inner))
    })
}

/// Whether the labels `found` on a partitioned device are those of its partitions.
///
/// A label of version 0.90 lies at the end and does not say of what: that of a last partition
/// is also seen from the whole device. A label elsewhere may be left from the time before the
/// device was partitioned, so the younger one counts.
pub(super) fn of_partitions(
    found: &[Found],
    table: &partition::Table,
    device: &Arc<dyn ReadAt>,
    name: &DeviceName,
) -> bool {
    let youngest = found.iter().map(|label| label.superblock.utime).max();
    table.partitions.iter().any(|partition| {
        let start = ByteOffset::new(partition.start);
        let inside = Slice::new(Arc::clone(device), start, partition.bytes);
        let labels = md::read_superblocks(&inside, name);
        labels
            .iter()
            .filter(|label| label.fault.is_none())
            .any(|label| {
                let at = label.at.get().saturating_add(partition.start);
                let same = found.iter().any(|outer| outer.at.get() == at);
                same || Some(label.superblock.utime) > youngest
            })
    })
}
