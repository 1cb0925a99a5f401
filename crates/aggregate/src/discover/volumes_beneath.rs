//! Older volumes on disks and partitions beneath groups that labels state.
//!
//! A newer array is not always begun over an older one: the disks may have held file systems each on its own, or
//! volumes that lay on one disk after the other. What is left of these states addresses that go on without a break
//! for much longer than a chunk of the newer array, which shows that it is none of that one's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, GapCause, ReadAt, merged};
use uuid::Uuid;

use super::beneath::is_in_one_piece;
use super::volumes::{LEAST_STATED, is_sound, pieces};
use super::{Discovery, is_disk};
use crate::build::on_devices;
use crate::coverage::with_all_above;
use crate::document::{DeviceName, Group};
use crate::infer::{self, Named};
use crate::volumes_found::{self, FoundVolume, Known};

/// So many blocks of a file system that is not known, on one disk, show that it is worth to look at all of it.
const LEAST_SEEN: usize = 2;

/// The volumes reach over one of so many parts at least of the members that they lie on: where an array was used
/// for long, a place that it never wrote to may have something older left, and the rest is its own.
const PARTS: u64 = 4;

/// Volumes that were found beneath newer groups.
#[derive(Default)]
pub(super) struct Beneath {
    volumes: BTreeSet<DeviceName>,
    /// The names of these groups.
    newer: BTreeSet<String>,
}

impl Discovery<'_> {
    /// Looks for volumes on the members of groups that labels state and that were begun over no other group, and adds
    /// them to those that were `found` on what nothing explains. One may go on there: then it takes the place of
    /// what was found of it.
    pub(super) fn volumes_beneath(&self, found: &mut Vec<FoundVolume>) -> Beneath {
        let over_nothing = |group: &&Group| {
            let is_stated = self.added_stated.contains(&group.name);
            is_stated && group.over.is_empty() && !is_in_one_piece(group, LEAST_STATED)
        };
        let newer: Vec<&Group> = (self.aggregate.groups.iter())
            .filter(over_nothing)
            .collect();
        let members = newer.iter().flat_map(|group| group.devices());
        let members: BTreeSet<DeviceName> = members.filter(|name| self.is_free(name)).collect();
        let device = |name: &DeviceName| Some((name.clone(), self.devices.get(name)?));
        let mut disks: Vec<Named> = members.iter().filter_map(device).collect();
        let known = Known {
            below: BTreeSet::new(),
            explained: self.recognised_above(&newer),
        };
        let within: Vec<Named> = (disks.iter().cloned())
            .map(|(name, device)| (name.clone(), only_members(device, &name, &newer)))
            .collect();
        if !holds_others(&within, &known) {
            return Beneath::default();
        }
        disks.extend(self.unexplained_disks());
        // What says that some blocks are in no order is about the newer groups.
        let mut beneath = volumes_found::find(disks, &|_| None, &known).volumes;
        beneath.retain(|one| {
            is_sound(one, &|_| true) && pieces(one).any(|(on, _)| members.contains(on))
        });
        if !reach_far(&beneath, &newer) {
            return Beneath::default();
        }
        take_places(&mut beneath, found);
        let volumes = beneath.iter().map(|one| one.volume.device.clone());
        let volumes = volumes.collect();
        found.extend(beneath);
        Beneath {
            volumes,
            newer: newer.iter().map(|group| group.name.clone()).collect(),
        }
    }

    /// Whether a disk is a member of no group that was worked out or given.
    fn is_free(&self, name: &DeviceName) -> bool {
        let groups = self.aggregate.groups.iter();
        let mut found = groups.filter(|group| !self.added_stated.contains(&group.name));
        self.is_free_disk(name) && !found.any(|group| group.devices().contains(name))
    }

    /// The file systems that are recognised on groups, or above them, where they have room.
    fn recognised_above(&self, groups: &[&Group]) -> BTreeSet<Uuid> {
        let devices = groups.iter().map(|group| DeviceName::group(&group.name));
        let above = with_all_above(&self.aggregate, devices.collect());
        let filesystems = self.aggregate.filesystems.iter();
        let there = filesystems.filter(|fs| above.contains(&fs.device) && self.has_room(fs));
        there.filter_map(|fs| fs.uuid.parse().ok()).collect()
    }

    /// Says of the newer groups that they were begun over volumes, as far as these could be added.
    pub(super) fn note_begun_over_volumes(&mut self, beneath: &Beneath) {
        let added = self.aggregate.volumes.iter();
        let added = added.filter(|volume| beneath.volumes.contains(&volume.device));
        for volume in added {
            let on = on_devices(volume);
            for newer in &mut self.aggregate.groups {
                let mut members = newer.members.iter().flat_map(|member| &member.device);
                if beneath.newer.contains(&newer.name) && members.any(|one| on.contains(one)) {
                    newer.evidence.push(format!(
                        "blocks on its members state addresses in {}, further on one disk than its chunks reach: it was begun over that",
                        volume.device
                    ));
                    newer.over.push(volume.device.to_string());
                }
            }
        }
    }
}

/// Leaves one of each name: what was found on disks alone is a part of what lies `beneath`, and what lies on groups
/// counts before that.
fn take_places(beneath: &mut Vec<FoundVolume>, found: &mut Vec<FoundVolume>) {
    let is_among = |one: &FoundVolume, others: &[FoundVolume]| {
        let mut others = others.iter().map(|other| &other.volume.device);
        others.any(|other| *other == one.volume.device)
    };
    let is_on_disks = |one: &FoundVolume| on_devices(&one.volume).into_iter().all(is_disk);
    found.retain(|one| !(is_on_disks(one) && is_among(one, beneath)));
    beneath.retain(|one| !is_among(one, found));
}

/// A disk where it is a member of some groups, and gaps elsewhere: what lies there may be as old as it likes.
fn only_members(device: Arc<dyn ReadAt>, name: &DeviceName, groups: &[&Group]) -> Arc<dyn ReadAt> {
    let length = device.len();
    let end = length..length;
    let mut overlay = Overlay::new(device);
    let mut at = 0;
    for own in member_ranges(groups, name).into_iter().chain([end]) {
        let gap = own.start.min(length).saturating_sub(at);
        if let Some(bytes) = usize::try_from(gap).ok().filter(|bytes| *bytes > 0) {
            overlay.lay_gap(ByteOffset::new(at), bytes, GapCause::Overwritten);
        }
        at = at.max(own.end);
    }
    Arc::new(overlay)
}

/// Where a disk is a member of some groups, in order.
fn member_ranges(groups: &[&Group], name: &DeviceName) -> Vec<Range<u64>> {
    let members = groups.iter().flat_map(|group| &group.members);
    let own = members.filter(|member| member.device.as_ref() == Some(name));
    let ranges = own.map(|member| {
        let end = member.data_offset.saturating_add(member.data_size);
        member.data_offset..end
    });
    merged(ranges.collect())
}

/// Whether some of the disks have blocks that state addresses in a file system that is not known.
fn holds_others(disks: &[Named], known: &Known) -> bool {
    let anchors = infer::glance(disks);
    let by_source = infer::certain_by_source(&anchors).into_iter();
    let mut others = by_source.filter(|(source, _)| {
        let uuid = Uuid::from_bytes(source.uuid());
        !known.explained.contains(&uuid)
    });
    others.any(|(_, on)| on.values().any(|count| *count >= LEAST_SEEN))
}

/// Whether volumes have so much of the members of groups that they lie on that these were begun over them.
fn reach_far(volumes: &[FoundVolume], groups: &[&Group]) -> bool {
    let mut by_device: BTreeMap<&DeviceName, Vec<Range<u64>>> = BTreeMap::new();
    for (device, range) in volumes.iter().flat_map(pieces) {
        by_device.entry(device).or_default().push(range);
    }
    let (mut own, mut all) = (0_u64, 0_u64);
    for (device, pieces) in by_device {
        for member in member_ranges(groups, device) {
            let shared = pieces.iter().map(|piece| {
                let end = piece.end.min(member.end);
                end.saturating_sub(piece.start.max(member.start))
            });
            own = own.saturating_add(shared.sum());
            all = all.saturating_add(member.end.saturating_sub(member.start));
        }
    }
    own.saturating_mul(PARTS) >= all
}
