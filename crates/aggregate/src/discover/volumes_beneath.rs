//! Older volumes on whole disks beneath groups that labels state.
//!
//! A newer array is not always begun over an older one: the disks may have held file systems each on its own, or
//! volumes that lay on one disk after the other. What is left of these states addresses that go on without a break
//! for much longer than a chunk of the newer array, which shows that it is none of that one's.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::beneath::is_in_one_piece;
use super::volumes::{LEAST_STATED, is_long};
use super::{Discovery, is_disk};
use crate::document::{DeviceName, Group, SegmentMap};
use crate::infer::{self, Named};
use crate::volumes_found::{self, FoundVolume, Known};

/// So many blocks of a file system that is not known, on one disk, show that it is worth to look at all of it.
const LEAST_SEEN: usize = 2;

impl Discovery<'_> {
    /// The volumes on the members of groups that labels state and that were begun over no other group. The groups
    /// are told that they were begun over these.
    pub(super) fn volumes_beneath(&mut self) -> Vec<FoundVolume> {
        let over_nothing = |group: &&Group| {
            let is_stated = self.added_stated.contains(&group.name);
            is_stated && group.over.is_empty() && !is_in_one_piece(group, LEAST_STATED)
        };
        let newer = self.aggregate.groups.iter().filter(over_nothing);
        let members: BTreeSet<DeviceName> = newer.flat_map(Group::devices).collect();
        let free = members.into_iter().filter(|name| self.is_free(name));
        let device = |name: DeviceName| {
            let device = self.devices.get(&name)?;
            Some((name, device))
        };
        let disks: Vec<Named> = free.filter_map(device).collect();
        let known = Known {
            below: BTreeSet::new(),
            in_other_order: self.at_home(),
        };
        if !holds_others(&disks, &known) {
            return Vec::new();
        }
        // What says that some blocks are in no order is about the newer groups.
        let found = volumes_found::find(disks, &|_| None, &known).volumes;
        let found: Vec<FoundVolume> = found.into_iter().filter(is_in_long_pieces).collect();
        for one in &found {
            self.note_begun_over_volume(one);
        }
        found
    }

    /// Whether a disk is a member of no group that was worked out or given.
    fn is_free(&self, name: &DeviceName) -> bool {
        let groups = self.aggregate.groups.iter();
        let mut found = groups.filter(|group| !self.added_stated.contains(&group.name));
        is_disk(name)
            && !self.claimed.contains(name)
            && !found.any(|group| group.devices().contains(name))
    }

    /// The file systems that are recognised where they have room.
    fn at_home(&self) -> BTreeSet<Uuid> {
        let filesystems = self.aggregate.filesystems.iter();
        let at_home = filesystems.filter(|fs| self.has_room(fs));
        at_home.filter_map(|fs| fs.uuid.parse().ok()).collect()
    }

    fn note_begun_over_volume(&mut self, found: &FoundVolume) {
        let older = &found.volume.device;
        let on: BTreeSet<&DeviceName> = areas(found).collect();
        for newer in &mut self.aggregate.groups {
            let members = newer.devices();
            if self.added_stated.contains(&newer.name) && on.iter().any(|one| members.contains(one))
            {
                newer.evidence.push(format!(
                    "blocks on its members state addresses in {older}, further on one disk than its chunks reach: it was begun over that"
                ));
                newer.over.push(older.to_string());
            }
        }
    }
}

/// Whether some of the disks have blocks that state addresses in a file system that is not known.
fn holds_others(disks: &[Named], known: &Known) -> bool {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for anchor in infer::glance(disks) {
        let uuid = Uuid::from_bytes(anchor.source.uuid());
        let is_other = anchor.source.is_direct() && !known.in_other_order.contains(&uuid);
        if is_other && anchor.is_certain() {
            let count = seen.entry((anchor.source, anchor.device)).or_default();
            *count = count.saturating_add(1);
        }
    }
    seen.values().any(|count| *count >= LEAST_SEEN)
}

/// The devices of the pieces of a volume, which lie one after the other.
fn areas(found: &FoundVolume) -> impl Iterator<Item = &DeviceName> {
    let segments = found.volume.segments.iter();
    segments.filter_map(|segment| match &segment.map {
        SegmentMap::Linear(area) => area.device.as_ref(),
        _ => None,
    })
}

/// Whether what is known of a volume lies in long pieces, one after the other.
fn is_in_long_pieces(found: &FoundVolume) -> bool {
    let is_long = |bytes| is_long(bytes, found.stated);
    let all = found
        .volume
        .segments
        .iter()
        .all(|segment| match &segment.map {
            SegmentMap::Linear(_) => is_long(segment.bytes),
            SegmentMap::Missing { .. } | SegmentMap::Zero => true,
            _ => false,
        });
    all && areas(found).next().is_some()
}
