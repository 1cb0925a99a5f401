//! Volumes whose labels are gone, as a part of the discovery.

use std::collections::BTreeSet;
use std::ops::Range;

use evidence::Cause;

use super::{Discovery, is_disk};
use crate::build::on_devices;
use crate::document::{Area, DeviceName, Segment, SegmentMap};
use crate::lvm;
use crate::volumes_found::{self, FoundVolume, Known};

impl Discovery<'_> {
    /// Looks for LVM metadata on the devices where nothing was recognised; whether it was found.
    ///
    /// On groups it is looked for in more places, and what is about other devices does not
    /// count: a new aggregate leaves its texts on the disks of the old one.
    pub(super) fn look_without_labels(&mut self) -> bool {
        let mut any = false;
        for (name, done) in &mut self.blank {
            let Some(device) = self.devices.get(name).filter(|_| !*done) else {
                continue;
            };
            *done = true;
            let is_group = name.0.starts_with("group:");
            let usual = || lvm::scan_without_label(&device, name);
            let anywhere = || lvm::search(&device, name).filter(|_| is_group);
            let looks: [&dyn Fn() -> Option<lvm::Scanned>; 2] = [&usual, &anywhere];
            let found = looks.into_iter().find_map(|look| {
                let mut scanned = look()?;
                let strangers = scanned.drop_strangers();
                if is_group {
                    self.aggregate.losses.extend(strangers);
                }
                scanned.has_texts().then_some(scanned)
            });
            if let Some(scanned) = found {
                self.lvm.push(scanned);
                any = true;
            }
        }
        any
    }

    /// Whether the label on a group is that of one of its members, which was made a physical volume after it.
    pub(super) fn is_label_of_member(&self, name: &DeviceName, scanned: &lvm::Scanned) -> bool {
        let uuid = |scanned: &lvm::Scanned| scanned.label.as_ref().map(|label| label.pv_uuid);
        let groups = self.aggregate.groups.iter();
        let mut own = groups.filter(|group| DeviceName::group(&group.name) == *name);
        own.next().is_some_and(|group| {
            let members = self.with_partitions(group);
            let mut on_members = self.lvm.iter().filter(|one| members.contains(&one.device));
            on_members.any(|one| uuid(one).is_some() && uuid(one) == uuid(scanned))
        })
    }

    /// Whether the label on a device is that of a much longer one: on a group a new aggregate's
    /// that begins where a member of the group does, on a disk that of a group whose first chunk
    /// the disk holds.
    pub(super) fn is_stranger(&mut self, name: &DeviceName, scanned: &lvm::Scanned) -> bool {
        let stated = scanned.label.as_ref().map_or(0, |label| label.device_size);
        let most = scanned.bytes.saturating_add(scanned.bytes >> 2);
        if stated <= most {
            return false;
        }
        if !name.0.starts_with("group:") {
            // An image may be cut short, but hardly by half, and hardly where another disk ends.
            let others = self.devices.iter().filter(|(other, _)| *other != name);
            let mut others = others.filter(|(other, _)| other.0.starts_with("disk:"));
            return stated.saturating_mul(2) > scanned.bytes.saturating_mul(3)
                || others.any(|(_, device)| device.len() == scanned.bytes);
        }
        let why = format!(
            "it is that of a device of {stated} bytes, and this one has {}: it is of another aggregate on the same disks",
            scanned.bytes
        );
        self.lose(
            name,
            format!("the LVM label on {name}"),
            Cause::Corrupt(why),
        );
        true
    }

    /// Finds volumes by the file systems on devices that nothing explains; whether there was
    /// one. It is done once, when everything else has said all that it can.
    pub(super) fn find_volumes(&mut self) -> bool {
        if std::mem::replace(&mut self.searched, true) {
            return false;
        }
        let groups = &self.aggregate.groups;
        let row = |name: &DeviceName| {
            let group = groups
                .iter()
                .find(|group| DeviceName::group(&group.name) == *name)?;
            group.geometry.row_bytes()
        };
        let mut devices = self.unexplained(&["group:", "disk:", "partition:"]);
        devices.retain(|(name, _)| !self.is_encrypted(name));
        let disks = self.devices.iter().filter(|(name, _)| is_disk(name));
        let of_disks = disks.flat_map(|(_, device)| volumes_found::own_btrfs(device));
        let known = Known {
            below: of_disks.collect(),
            explained: BTreeSet::new(),
        };
        let found = volumes_found::find(devices, &row, &known);
        self.aggregate.losses.extend(found.losses);
        let mut volumes = self.sound(found.volumes);
        self.settle(&volumes);
        let beneath = self.volumes_beneath(&mut volumes);
        let any = !volumes.is_empty();
        for FoundVolume { volume, what, .. } in volumes {
            let on: BTreeSet<DeviceName> = on_devices(&volume).into_iter().cloned().collect();
            self.blank.retain(|device, _| !on.contains(device));
            let filesystems = &mut self.aggregate.filesystems;
            filesystems.retain(|fs| !on.contains(&fs.device));
            self.headless.insert(volume.device.clone(), what);
            self.add_volume(volume);
        }
        self.note_begun_over_volumes(&beneath);
        any
    }

    /// Those of the volumes that may be believed. What lies on a device in one long piece makes that no
    /// member of a group in chunks: devices that only that tied to it are doubtful no more.
    fn sound(&self, found: Vec<FoundVolume>) -> Vec<FoundVolume> {
        let mut sound: Vec<FoundVolume> = Vec::new();
        let mut open = found;
        loop {
            let pieces: BTreeSet<&DeviceName> = sound.iter().flat_map(in_long_pieces).collect();
            let is_tied = |name: &DeviceName| {
                let sets = self.undecided.iter().map(|one| &one.devices);
                let mut sets = sets.filter(|devices| devices.len() > 1 && devices.contains(name));
                sets.any(|devices| !devices.iter().any(|one| pieces.contains(one)))
            };
            let is_sound = |found: &FoundVolume| is_sound(found, &is_tied);
            let (now, later): (Vec<_>, Vec<_>) = open.into_iter().partition(is_sound);
            open = later;
            if now.is_empty() {
                return sound;
            }
            sound.extend(now);
        }
    }

    /// Says what stays undecided of devices. A volume that reaches from its first byte to its last
    /// over all of some of them says what they are, and so do volumes that lie in long pieces on each.
    fn settle(&mut self, found: &[FoundVolume]) {
        let pieces: BTreeSet<&DeviceName> = found.iter().flat_map(in_long_pieces).collect();
        for one in std::mem::take(&mut self.undecided) {
            let explains = |found: &FoundVolume| {
                let whole = |segment: &Segment| !matches!(segment.map, SegmentMap::Missing { .. });
                let on = on_devices(&found.volume);
                found.volume.segments.iter().all(whole)
                    && one.devices.iter().all(|name| on.contains(name))
            };
            let in_pieces = one.devices.iter().all(|name| pieces.contains(name));
            if !in_pieces && !found.iter().any(explains) {
                if one.devices.len() > 1 {
                    self.aggregate.undecided.push(one.devices);
                }
                self.aggregate.losses.push(one.loss);
            }
        }
    }
}

/// The shortest piece of a volume on a disk of an undecided group, and how far apart blocks in it
/// must lie that state their address: further than a chunk reaches. Up to where a piece is taken
/// to reach says nothing of that.
const LEAST_PIECE: u64 = 8 << 20;
pub(super) const LEAST_STATED: u64 = 4 << 20;

/// The pieces of a volume, which lie one after the other: on which device, and where on that.
pub(super) fn pieces(found: &FoundVolume) -> impl Iterator<Item = (&DeviceName, Range<u64>)> {
    let segments = found.volume.segments.iter();
    segments.filter_map(|segment| match &segment.map {
        SegmentMap::Linear(area) => {
            let end = area.offset.saturating_add(segment.bytes);
            Some((area.device.as_ref()?, area.offset..end))
        }
        _ => None,
    })
}

/// The devices on which a volume lies in long pieces.
fn in_long_pieces(found: &FoundVolume) -> impl Iterator<Item = &DeviceName> {
    let long = |range: &Range<u64>| range.end.saturating_sub(range.start) >= LEAST_PIECE;
    let pieces = pieces(found).filter(move |(_, range)| long(range));
    pieces.map(|(device, _)| device)
}

/// Whether a volume may be believed that lies on disks of which something ties them to others in
/// a way that is not decided: only if it lies there in long pieces, one after the other.
pub(super) fn is_sound(found: &FoundVolume, is_tied: &dyn Fn(&DeviceName) -> bool) -> bool {
    let doubtful = |area: &Area| area.device.iter().any(is_tied);
    // In a piece in which blocks state their address so far apart, they cannot be those of a group in chunks.
    let is_long = |bytes: u64| bytes >= LEAST_PIECE && found.stated > LEAST_STATED;
    found
        .volume
        .segments
        .iter()
        .all(|segment| match &segment.map {
            SegmentMap::Linear(area) => !doubtful(area) || is_long(segment.bytes),
            SegmentMap::Striped { areas, .. } | SegmentMap::Mirrored { areas } => {
                !areas.iter().any(doubtful)
            }
            SegmentMap::Framed { area, .. } => !doubtful(area),
            SegmentMap::Snapshot { .. } | SegmentMap::Thin { .. } => {
                !crate::build::areas(&segment.map).into_iter().any(doubtful)
            }
            SegmentMap::Zero | SegmentMap::Missing { .. } => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Volume;

    #[test]
    fn a_piece_on_a_doubtful_disk_must_be_stated_further_than_a_chunk_reaches() {
        let disk = DeviceName::disk("a");
        let area = Area {
            device: Some(disk.clone()),
            offset: 1 << 20,
        };
        let found = |stated| FoundVolume {
            volume: Volume {
                device: DeviceName::volume("found/1"),
                uuid: None,
                bytes: 64 << 20,
                hidden: false,
                snapshot_of: None,
                segments: vec![Segment {
                    start: 0,
                    bytes: 64 << 20,
                    map: SegmentMap::Linear(area.clone()),
                }],
                evidence: Vec::new(),
            },
            what: String::new(),
            stated,
        };
        let is_tied = |name: &DeviceName| *name == disk;
        assert!(!is_sound(&found(3 << 20), &is_tied));
        assert!(is_sound(&found(7 << 20), &is_tied));
        assert!(is_sound(&found(3 << 20), &|_| false));
    }
}
