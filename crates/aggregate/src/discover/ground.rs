//! What is looked at for groups beneath others: devices that are explained already, with what explains them.
//!
//! Newer arrays are often begun on partitions, and older ones lay on the disks as a whole, or newer arrays are
//! volumes of volume groups. So what is stated on partitions and volumes is told of the devices beneath these.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, GapCause, ReadAt};
use uuid::Uuid;

use super::beneath::is_same;
use super::newer_rows::written_rows;
use super::{Discovery, is_disk};
use crate::build::MOST_LAYERS;
use crate::document::{Area, DeviceName, FilesystemStatement, Group, SegmentMap, Volume};
use crate::infer::{self, Named};
use crate::lvm;

/// A GUID partition table, with its protective MBR, as large as usual, in sectors of 4096 bytes. Its copy ends
/// with the disk.
const TABLE_BYTES: usize = 6 * 4096;

/// Label sectors, the sectors behind these, and the header of a metadata area where `pvcreate` lays it.
const LABEL_BYTES: usize = 4096 + 512;

/// So many blocks of one file system that state their address, in each of two partitions of a disk, or in one and
/// outside of all, show that it does not lie in partitions. So many disks must show it.
const LEAST_ACROSS: usize = 4;
const LEAST_DISKS: usize = 2;

/// Devices on which groups are looked for beneath what explains them.
pub(super) struct Ground {
    /// The devices, without the labels of physical volumes and partition tables: it is known what these begin.
    pub(super) devices: Vec<Named>,
    /// Those that are members of groups by their labels.
    pub(super) labelled: BTreeSet<DeviceName>,
    /// Those that a file system fills, and what fills them or their partitions.
    pub(super) filled: BTreeSet<DeviceName>,
    pub(super) filling: Vec<FilesystemStatement>,
    /// Those that are physical volumes.
    pub(super) volumes: BTreeSet<DeviceName>,
    /// All groups that are known, as far as they can be told of these devices.
    pub(super) groups: Vec<Group>,
    /// Those of them that are volumes of LVM.
    pub(super) raid_volumes: Vec<Group>,
    /// The disks that have partitions, if it is looked beneath these.
    pub(super) cut: BTreeSet<DeviceName>,
}

impl Ground {
    pub(super) fn names(&self) -> BTreeSet<DeviceName> {
        self.devices.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether file systems of their own fill several of some devices, each another one.
    pub(super) fn is_filled_apart(&self, devices: &BTreeSet<DeviceName>) -> bool {
        let own = self
            .filling
            .iter()
            .filter(|fs| devices.contains(&fs.device));
        let uuids: Vec<&String> = own
            .map(|fs| &fs.uuid)
            .filter(|uuid| !uuid.is_empty())
            .collect();
        let different: BTreeSet<&String> = uuids.iter().copied().collect();
        different.len() > 1 && different.len() == uuids.len()
    }

    /// Whether a group that was worked out is one that is known. A RAID volume that was extended may have its pieces
    /// out of step: its level, its chunk and its devices tell it.
    pub(super) fn states(&self, found: &Group) -> bool {
        let is_alike = |volume: &Group| {
            let (own, other) = (&found.geometry, &volume.geometry);
            own.level.name() == other.level.name()
                && own.chunk_bytes() == other.chunk_bytes()
                && found.devices().is_subset(&volume.devices())
        };
        self.groups.iter().any(|group| is_same(group, found))
            || self.raid_volumes.iter().any(is_alike)
    }
}

impl Discovery<'_> {
    /// The disks and partitions that labels or file systems explain, and those that nothing does.
    pub(super) fn ground(&self) -> Ground {
        let labelled = self.labelled();
        let filling = self.filling();
        let filled: BTreeSet<DeviceName> = filling.iter().map(|fs| fs.device.clone()).collect();
        let volumes = self.physical_volumes();
        let unexplained = self.unexplained_disks().into_iter();
        let names: BTreeSet<DeviceName> = unexplained
            .map(|(name, _)| name)
            .chain(labelled.iter().chain(&filled).chain(&volumes).cloned())
            .collect();
        let device = |name: &DeviceName| {
            let label = volumes.contains(name).then_some((0, LABEL_BYTES));
            let device = self.devices.get(name)?;
            Some((name.clone(), without(device, label)))
        };
        let (groups, raid_volumes) = self.all_lowered(&names);
        let devices = names.iter().filter_map(device).collect();
        Ground {
            devices: without_newer_rows(devices, &groups),
            groups,
            raid_volumes,
            labelled,
            filled,
            filling,
            volumes,
            cut: BTreeSet::new(),
        }
    }

    /// The disks that have partitions, with what explains these, and the disks that nothing explains.
    fn ground_beneath_tables(&self) -> Ground {
        let parts = self.ground();
        let cut = self.cut_disks();
        let is_whole = |name: &DeviceName| name.0.starts_with("disk:");
        let whole = parts.names().into_iter().filter(is_whole);
        let names: BTreeSet<DeviceName> = cut.iter().cloned().chain(whole).collect();
        let place = |name: &DeviceName| self.disk_beneath(name).unwrap_or((name.clone(), 0));
        let lower = |name: &DeviceName| place(name).0;
        let known = |disk: &DeviceName, length: u64| {
            let places = parts.volumes.iter().map(place);
            let labels = places.filter(|(on, _)| on == disk);
            let labels: Vec<_> = labels.map(|(_, start)| (start, LABEL_BYTES)).collect();
            let copy = length.saturating_sub(u64::try_from(TABLE_BYTES).unwrap_or(0));
            let table = [0, copy].map(|at| cut.contains(disk).then_some((at, TABLE_BYTES)));
            labels.into_iter().chain(table.into_iter().flatten())
        };
        let device = |name: &DeviceName| {
            let device = self.devices.get(name)?;
            let length = device.len();
            Some((name.clone(), without(device, known(name, length))))
        };
        let labelled = parts.labelled.iter().cloned().chain(self.doubted_names());
        let (groups, raid_volumes) = self.all_lowered(&names);
        let devices = names.iter().filter_map(device).collect();
        Ground {
            devices: without_newer_rows(devices, &groups),
            labelled: labelled.map(|name| lower(&name)).collect(),
            filled: parts.filled.iter().map(lower).collect(),
            filling: parts.filling,
            volumes: parts.volumes.iter().map(lower).collect(),
            groups,
            raid_volumes,
            cut,
        }
    }

    /// Works out groups on whole disks whose partitions labels or file systems explain, where blocks of one more
    /// file system lie across these; whether there was one. It is done once.
    ///
    /// It comes before groups on partitions: there such a group would lack what lies before them.
    pub(super) fn infer_beneath_newer_tables(&mut self) -> bool {
        self.has_newer_tables() && self.infer_beneath_tables()
    }

    /// The same, where groups on partitions stay undecided.
    pub(super) fn infer_beneath_open_partitions(&mut self) -> bool {
        let mut open = self.undecided.iter().flat_map(|one| &one.devices);
        let is_part =
            |name: &DeviceName| self.disk_beneath(name).is_some() && !self.is_over_member(name);
        open.any(is_part) && self.infer_beneath_tables()
    }

    fn infer_beneath_tables(&mut self) -> bool {
        if std::mem::replace(&mut self.inferred_beneath_tables, true) {
            return false;
        }
        let ground = self.ground_beneath_tables();
        self.infer_on(&ground)
    }

    /// Whether partitions that are explained lie over blocks of a file system that is not known, which states
    /// that it does not lie in partitions. It is looked for once.
    fn has_newer_tables(&mut self) -> bool {
        if self.inferred_beneath_tables || self.read_beneath_tables {
            return false;
        }
        let explained = self.explained_partitions();
        let disks = explained.iter().filter_map(|name| self.disk_beneath(name));
        let cut = self.cut_disks();
        let disks: BTreeSet<DeviceName> = disks.map(|(disk, _)| disk).collect();
        let device = |name: &DeviceName| Some((name.clone(), self.devices.get(name)?));
        let devices: Vec<Named> = disks.intersection(&cut).filter_map(device).collect();
        if devices.len() < LEAST_DISKS {
            return false;
        }
        self.read_beneath_tables = true;
        let known: BTreeSet<&String> = self
            .aggregate
            .filesystems
            .iter()
            .map(|fs| &fs.uuid)
            .collect();
        // Of each file system, how many of its blocks are in each partition of each disk, and outside.
        let mut counts: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
        for anchor in infer::survey(&devices, &mut |_, _, _| ()) {
            let Some((disk, _)) = devices.get(anchor.device) else {
                continue;
            };
            let uuid = Uuid::from_bytes(anchor.source.uuid()).to_string();
            let partition = self.partition_at(disk, anchor.at);
            if anchor.source.is_direct() && !known.contains(&uuid) {
                let of = counts.entry((anchor.source, disk)).or_default();
                let count = of.entry(partition).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut across: BTreeMap<_, usize> = BTreeMap::new();
        for ((source, _), of) in counts {
            let many = of.iter().filter(|(_, count)| **count >= LEAST_ACROSS);
            let many: Vec<&Option<DeviceName>> = many.map(|(partition, _)| partition).collect();
            // What lies only in partitions that nothing explains may be where it belongs.
            let mut parts = many.iter().copied().flatten();
            if many.len() > 1 && parts.any(|part| explained.contains(part)) {
                let disks = across.entry(source).or_default();
                *disks = disks.saturating_add(1);
            }
        }
        across.values().any(|disks| *disks >= LEAST_DISKS)
    }

    /// The partitions that labels or file systems explain.
    fn explained_partitions(&self) -> BTreeSet<DeviceName> {
        let labelled = self.labelled().into_iter().chain(self.doubted_names());
        let filled = self.filling().into_iter().map(|fs| fs.device);
        let explained = labelled.chain(filled).chain(self.physical_volumes());
        explained
            .filter(|name| self.partitions.contains_key(name))
            .collect()
    }

    /// The disks with partitions that labels or file systems explain.
    pub(super) fn explained_disks(&self) -> BTreeSet<DeviceName> {
        let explained = self.explained_partitions();
        let disks = explained.iter().filter_map(|name| self.disk_beneath(name));
        disks.map(|(disk, _)| disk).collect()
    }

    pub(super) fn doubted_names(&self) -> BTreeSet<DeviceName> {
        self.doubted().into_iter().map(|(name, _)| name).collect()
    }

    /// The disks that have partitions, none of which was given as a member of a group.
    fn cut_disks(&self) -> BTreeSet<DeviceName> {
        let is_claimed = |name: &DeviceName| self.claimed.contains(name);
        let cut = self.cuts.iter().filter(|(disk, cuts)| {
            let is_disk = disk.0.starts_with("disk:");
            is_disk && !is_claimed(disk) && !cuts.values().any(is_claimed)
        });
        cut.map(|(disk, _)| disk.clone()).collect()
    }

    /// The partition of a disk that a byte lies in.
    fn partition_at(&self, disk: &DeviceName, at: u64) -> Option<DeviceName> {
        let mut cuts = self.cuts.get(disk)?.iter();
        let own = cuts.find(|((start, bytes), _)| {
            at.checked_sub(*start).is_some_and(|inside| inside < *bytes)
        });
        own.map(|(_, name)| name.clone())
    }

    /// The disk that a partition lies on, and where it begins there.
    pub(super) fn disk_beneath(&self, name: &DeviceName) -> Option<(DeviceName, u64)> {
        self.partitions.get(name).cloned()
    }

    /// The members of a group that are there, and the partitions on these.
    pub(super) fn with_partitions(&self, group: &Group) -> BTreeSet<DeviceName> {
        let mut all = group.devices();
        let cuts: Vec<_> = all.iter().filter_map(|disk| self.cuts.get(disk)).collect();
        all.extend(cuts.into_iter().flat_map(|cuts| cuts.values().cloned()));
        all
    }

    /// Whether this is a partition of a disk that is a member of a group as a whole.
    pub(super) fn is_over_member(&self, name: &DeviceName) -> bool {
        let mut members = self.aggregate.groups.iter().flat_map(|one| &one.members);
        self.partitions
            .get(name)
            .is_some_and(|(disk, _)| members.any(|member| member.device.as_ref() == Some(disk)))
    }

    /// Whether the file system at the start of a group is that of a partition of one of its members, which begins
    /// there as well.
    pub(super) fn is_on_partition_of_member(
        &self,
        name: &DeviceName,
        found: &FilesystemStatement,
    ) -> bool {
        let mut groups = self.aggregate.groups.iter();
        let group = groups.find(|group| DeviceName::group(&group.name) == *name);
        group.is_some_and(|group| {
            let on = self.with_partitions(group);
            let mut stated = self.aggregate.filesystems.iter();
            stated.any(|fs| {
                self.partitions.contains_key(&fs.device)
                    && on.contains(&fs.device)
                    && !group.devices().contains(&fs.device)
                    && fs.uuid == found.uuid
            })
        })
    }

    /// Whether this is a disk or a partition, and not one of which it is known otherwise what lies there.
    pub(super) fn is_free_disk(&self, name: &DeviceName) -> bool {
        is_disk(name) && !self.claimed.contains(name) && !self.is_over_member(name)
    }

    /// All groups that are known, those of volume groups that wait for physical volumes too, as they lie on some
    /// devices; and those of them that are volumes of LVM.
    fn all_lowered(&self, names: &BTreeSet<DeviceName>) -> (Vec<Group>, Vec<Group>) {
        let mut groups = self.aggregate.groups.clone();
        let mut volumes = self.aggregate.volumes.clone();
        for waiting in self.waiting_volume_groups() {
            let made = waiting.volumes(&|volume| self.devices.open_volume(volume).ok());
            groups.extend(made.groups);
            volumes.extend(made.volumes);
        }
        let is_volume = |name: &DeviceName| name.0.starts_with("volume:");
        let of_lvm = |group: &&Group| group.devices().iter().any(is_volume);
        let lower = |group: &Group| lowered(group, names, &volumes);
        let raid_volumes = groups.iter().filter(of_lvm).map(lower).collect();
        (groups.iter().map(lower).collect(), raid_volumes)
    }

    /// A group with those of its members that are partitions or volumes as members on the devices among `names` that
    /// these begin on.
    pub(super) fn lowered(&self, group: &Group, names: &BTreeSet<DeviceName>) -> Group {
        lowered(group, names, &self.aggregate.volumes)
    }

    /// The disks and partitions that a file system fills by half or more, which nothing else explains.
    fn filling(&self) -> Vec<FilesystemStatement> {
        let filesystems = self.aggregate.filesystems.iter();
        let own = filesystems.filter(|fs| {
            let name = &fs.device;
            let length = self.devices.get(name).map_or(0, |device| device.len());
            let fills = (length / 2..=length).contains(&fs.bytes);
            self.is_free_disk(name) && fills
        });
        own.cloned().collect()
    }

    /// The disks and partitions that are physical volumes.
    fn physical_volumes(&self) -> BTreeSet<DeviceName> {
        let groups = lvm::gather(&self.lvm).groups.into_iter();
        let devices = groups.flat_map(|group| group.devices.into_values());
        devices.filter(|name| self.is_free_disk(name)).collect()
    }

    /// The disks and partitions that are members of groups by their labels: those that were not looked at
    /// without them, or of which that decided nothing, as the others may tell.
    fn labelled(&self) -> BTreeSet<DeviceName> {
        let is_open = |name: &DeviceName| {
            let mut open = self.undecided.iter().map(|one| &one.devices);
            open.any(|devices| devices.contains(name))
        };
        let doubted = self.doubted_names().into_iter();
        let doubted: BTreeSet<DeviceName> = doubted.filter(|name| !is_open(name)).collect();
        let groups = self.aggregate.groups.iter();
        let stated = groups.filter(|group| self.added_stated.contains(&group.name));
        stated
            .flat_map(|group| group.members.iter().filter_map(|m| m.device.clone()))
            .filter(|name| self.is_free_disk(name) && !self.blank.contains_key(name))
            .filter(|name| !doubted.contains(name))
            .collect()
    }
}

/// The same as [`Discovery::lowered`], by some volumes.
fn lowered(group: &Group, names: &BTreeSet<DeviceName>, volumes: &[Volume]) -> Group {
    let mut group = group.clone();
    for member in &mut group.members {
        let device = member.device.as_ref();
        if let Some((device, start)) = device.and_then(|device| below(device, names, volumes)) {
            member.device = Some(device);
            member.data_offset = member.data_offset.saturating_add(start);
        }
    }
    group
}

/// The device among `names` on which another one begins, and where.
fn below(
    name: &DeviceName,
    names: &BTreeSet<DeviceName>,
    volumes: &[Volume],
) -> Option<(DeviceName, u64)> {
    let mut at = (name.clone(), 0_u64);
    for _ in 0..=MOST_LAYERS {
        if names.contains(&at.0) {
            return Some(at);
        }
        let volume = volumes.iter().find(|one| one.device == at.0)?;
        let SegmentMap::Linear(Area { device, offset }) = &volume.segments.first()?.map else {
            return None;
        };
        at = (device.clone()?, at.1.checked_add(*offset)?);
    }
    None
}

/// The devices without the rows that arrays among `groups` have by both of their parities.
fn without_newer_rows(devices: Vec<Named>, groups: &[Group]) -> Vec<Named> {
    let written = groups
        .iter()
        .flat_map(|group| written_rows(group, &devices));
    let written: Vec<(DeviceName, Range<u64>)> = written.collect();
    let without = |(name, device): Named| {
        let own = written.iter().filter(|(on, _)| *on == name);
        let mut own = own.map(|(_, range)| range).peekable();
        if own.peek().is_none() {
            return (name, device);
        }
        let mut overlay = Overlay::new(device);
        for range in own {
            let length = usize::try_from(range.end.saturating_sub(range.start));
            overlay.lay_gap(
                ByteOffset::new(range.start),
                length.unwrap_or(0),
                GapCause::Overwritten,
            );
        }
        (name, Arc::new(overlay) as Arc<dyn ReadAt>)
    };
    devices.into_iter().map(without).collect()
}

/// A device with zeros in some places of it, each so many bytes long.
fn without(
    device: Arc<dyn ReadAt>,
    places: impl IntoIterator<Item = (u64, usize)>,
) -> Arc<dyn ReadAt> {
    let mut overlay = Overlay::new(device);
    for (start, bytes) in places {
        overlay.lay(ByteOffset::new(start), &vec![0; bytes]);
    }
    Arc::new(overlay)
}
