//! Which labels of RAID on a device are its own, and which belong to what lies on it or are left from before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt, SECTOR_BYTES};

use super::Discovery;
use crate::ddf;
use crate::document::{DeviceName, Group};
use crate::md::{self, Found, Uuid};
use crate::partition;

impl Discovery<'_> {
    /// The groups that the labels that were found so far state.
    pub(super) fn stated_groups(&self) -> Vec<Group> {
        let (md, ddf) = stated(&self.md, &self.ddf);
        let mut groups = md.groups;
        for mut group in ddf.groups {
            if groups.iter().any(|other| other.name == group.name) {
                group.name.push_str("-ddf");
            }
            groups.push(group);
        }
        groups
    }

    /// Leaves the disks of virtual disks that their labels state in a way that is not read to their
    /// contents.
    pub(super) fn leave_unread(&mut self) {
        for name in stated(&self.md, &self.ddf).1.unread {
            self.blank.entry(name).or_insert(false);
        }
    }
}

/// What the labels of md and DDF amount to.
///
/// A virtual disk of DDF begins at the start of its disks, and if it is a member of an md array, the label
/// of that one shows through: then all of its disks that show one show the same. Where they show the labels
/// of several members, an md array was made of the disks themselves, and DDF is left from before.
pub(super) fn stated(found: &[Found], containers: &[ddf::Label]) -> (md::Assembly, ddf::Assembly) {
    let mut own = own(found);
    let virtual_disks = ddf::assemble(containers).groups;
    let (mut contents, mut left) = (BTreeSet::new(), BTreeSet::new());
    for group in &virtual_disks {
        let members = group.members.iter();
        let devices: BTreeSet<DeviceName> = members.filter_map(|m| m.device.clone()).collect();
        let mut shown: BTreeMap<Uuid, BTreeSet<u32>> = BTreeMap::new();
        for label in own.iter().filter(|label| devices.contains(&label.device)) {
            let numbers = shown.entry(label.superblock.set_uuid).or_default();
            numbers.insert(label.superblock.dev_number);
        }
        if shown.values().any(|numbers| numbers.len() > 1) {
            left.extend(devices);
        } else {
            contents.extend(devices);
        }
    }
    own.retain(|label| left.contains(&label.device) || !contents.contains(&label.device));
    let is_own = |container: &&ddf::Label| {
        let device = &container.device;
        !left.contains(device) && !own.iter().any(|md| md.device == *device)
    };
    let containers: Vec<ddf::Label> = containers.iter().filter(is_own).cloned().collect();
    (md::assemble(&own), ddf::assemble(&containers))
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
