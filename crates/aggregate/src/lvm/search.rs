//! Metadata texts where neither a label nor a header says that they are, and whether they can
//! be about the device that they are found on.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};

use super::group::{Group, Scanned};
use super::id::Id;
use super::marks::{KINDS_OF_MARKS, Mark};
use super::metadata::MetadataArea;
use super::model::PhysicalVolume;
use super::{DiskArea, VolumeGroup};
use crate::document::DeviceName;

/// How much of the start and of the end of a device is searched: LVM puts metadata areas there.
const FIRST: u64 = 16 << 20;
const LAST: u64 = 4 << 20;

/// A device may differ from its physical volume by a 64th and this: where a group ends is not
/// known if its label is gone.
const SLACK: u64 = 1 << 20;

/// Looks for texts at the start and at the end of a device.
pub fn search(device: &dyn ReadAt, name: &DeviceName) -> Option<Scanned> {
    let length = device.len();
    let first = FIRST.min(length);
    let last = LAST.min(length.saturating_sub(first));
    let areas: Vec<MetadataArea> = [(0, first), (length.saturating_sub(last), last)]
        .into_iter()
        .filter(|(_, size)| *size > 0)
        .map(|(offset, size)| MetadataArea::search(device, name, DiskArea { offset, size }))
        .collect();
    let mut texts = areas.iter().flat_map(|area| &area.versions);
    let any = texts.any(|version| version.group.is_ok());
    any.then(|| Scanned::without_label(device, name, areas))
}

impl Scanned {
    /// Drops the texts none of whose physical volumes can be this device, and says of each
    /// volume group that is so why: it is another aggregate's on the same disks.
    pub fn drop_strangers(&mut self) -> Vec<Loss> {
        let length = self.bytes;
        let mut told = BTreeSet::new();
        let mut losses = Vec::new();
        for area in &mut self.areas {
            area.versions.retain(|version| {
                let Ok(text) = &version.group else {
                    return true;
                };
                if text.physical_volumes.iter().any(|pv| is_about(pv, length)) {
                    return true;
                }
                if told.insert(text.id) {
                    losses.push(stranger(text, &self.device, version.offset, length));
                }
                false
            });
        }
        losses
    }

    /// Whether a text is left that can be read.
    pub fn has_texts(&self) -> bool {
        let mut texts = self.areas.iter().flat_map(|area| &area.versions);
        texts.any(|version| version.group.is_ok())
    }
}

/// Whether a device of this length may be the physical volume.
fn is_about(pv: &PhysicalVolume, length: u64) -> bool {
    let slack = SLACK.saturating_add(length >> 6);
    pv.bytes == 0 || pv.bytes.abs_diff(length) <= slack
}

fn stranger(text: &VolumeGroup, device: &DeviceName, at: u64, length: u64) -> Loss {
    let sizes: Vec<String> = text
        .physical_volumes
        .iter()
        .map(|pv| pv.bytes.to_string())
        .collect();
    Loss {
        what: format!("LVM metadata of volume group {} ({})", text.name, text.id),
        origin: Origin::new(device.to_string(), ByteOffset::new(at)),
        cause: Cause::Unsupported(format!(
            "its physical volumes have {} bytes, and this device has {length}: it is of another aggregate on the same disks, and its volumes are not assembled here",
            sizes.join(", ")
        )),
    }
}

/// A device that holds nothing of LVM any more.
type Blank = (DeviceName, Arc<dyn ReadAt>);

impl Group {
    /// Finds places for physical volumes that are missing on `blank` devices, which hold nothing of LVM any
    /// more: one that is about as long, and shows what the text says stands on it. A bare disk must have the label of
    /// an image: where a volume begins, a member of an array may show the beginning of what lies on that.
    pub fn take_in(&mut self, blank: &[(DeviceName, Arc<dyn ReadAt>)]) {
        if self.is_complete() {
            return;
        }
        let text = Arc::clone(&self.text);
        let marks = Mark::all_in(&text);
        for (is_wanted, why) in KINDS_OF_MARKS {
            let marks: Vec<&(&str, Mark)> =
                marks.iter().filter(|(_, mark)| is_wanted(mark)).collect();
            let shows = |pv: &PhysicalVolume, (name, device): &Blank| {
                let may_show = |mark: &Mark| {
                    name.0.starts_with("group:") || matches!(mark, Mark::RaidLabel { .. })
                };
                let mut own = marks.iter().filter(|(on, _)| *on == pv.name);
                is_about(pv, device.len())
                    && own.any(|(_, mark)| may_show(mark) && mark.shows_on(device))
            };
            self.take_in_by(blank, &shows, &format!("its length and {why}"));
        }
    }

    /// The same, by the length alone: the only one that has it to the byte.
    pub fn take_in_by_length(&mut self, blank: &[(DeviceName, Arc<dyn ReadAt>)]) {
        let is_as_long = |pv: &PhysicalVolume, (_, device): &Blank| pv.bytes == device.len();
        self.take_in_by(blank, &is_as_long, "its length, to the byte");
    }

    /// Whether one of its devices shows something that the text says stands on its physical volume.
    pub fn is_shown_on(&self, name: &DeviceName, device: &dyn ReadAt) -> bool {
        let on = |id: &Id| self.devices.get(id) == Some(name);
        let pvs = self.text.physical_volumes.iter();
        let own = pvs.filter(|pv| on(&pv.id)).map(|pv| pv.name.as_str());
        let own: BTreeSet<&str> = own.collect();
        if own.is_empty() {
            return false;
        }
        let mut marks = Mark::all_in(&self.text).into_iter();
        marks.any(|(pv, mark)| own.contains(pv) && mark.shows_on(device))
    }

    /// Gives the physical volumes that are missing the devices that agree with them, where either is the
    /// only one of the other.
    fn take_in_by(
        &mut self,
        blank: &[(DeviceName, Arc<dyn ReadAt>)],
        agrees: &dyn Fn(&PhysicalVolume, &Blank) -> bool,
        why: &str,
    ) {
        let is_free = |name: &DeviceName| !self.devices.values().any(|taken| taken == name);
        let free: Vec<_> = blank.iter().filter(|(name, _)| is_free(name)).collect();
        let pairs = self.missing().flat_map(|pv| {
            let fitting = free.iter().filter(|one| agrees(pv, one));
            fitting.map(|(name, _)| (pv.id, pv.name.clone(), name.clone()))
        });
        let pairs: Vec<(Id, String, DeviceName)> = pairs.collect();
        for (id, pv, name) in &pairs {
            let rivals = pairs
                .iter()
                .filter(|other| other.0 == *id || other.2 == *name);
            if rivals.count() == 1 {
                self.devices.insert(*id, name.clone());
                self.notes.push(format!(
                    "{name} holds nothing of LVM: it is taken for {pv} because of {why}"
                ));
            }
        }
    }
}
