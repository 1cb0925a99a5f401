//! Metadata texts where neither a label nor a header says that they are, and whether they can
//! be about the device that they are found on.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Fields, Loss, Origin, ReadAt, ReadAtExt};

use super::group::{Group, Scanned};
use super::id::Id;
use super::metadata::MetadataArea;
use super::model::{PhysicalVolume, SegmentKind};
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

/// Where on a physical volume the volumes of a text begin that begin on it.
pub(super) fn beginnings(text: &VolumeGroup, pv: &PhysicalVolume) -> Vec<u64> {
    let firsts = text.logical_volumes.iter().filter_map(|lv| {
        let segment = lv.segments.first().filter(|s| s.start_extent == 0)?;
        let SegmentKind::Striped { areas, .. } = &segment.kind else {
            return None;
        };
        let area = areas.first().filter(|area| area.on == pv.name)?;
        let inside = area.extent.checked_mul(text.extent_bytes)?;
        pv.pe_start.checked_add(inside)
    });
    firsts.collect()
}

/// The places where volumes of any of the texts would begin and file systems do.
pub(super) fn superblocks(device: &dyn ReadAt, areas: &[MetadataArea]) -> BTreeSet<u64> {
    let texts = areas.iter().flat_map(|area| &area.versions);
    let texts: Vec<_> = texts
        .filter_map(|version| version.group.as_ref().ok())
        .collect();
    let places: BTreeSet<u64> = texts
        .iter()
        .flat_map(|text| text.physical_volumes.iter().map(move |pv| (text, pv)))
        .flat_map(|(text, pv)| beginnings(text, pv))
        .collect();
    let places = places.into_iter();
    places.filter(|at| is_beginning(device, *at)).collect()
}

/// Whether a file system begins at a place: XFS or ext.
fn is_beginning(device: &dyn ReadAt, at: u64) -> bool {
    let bytes = device.read_whole(ByteOffset::new(at), 2048);
    bytes.is_some_and(|bytes| {
        // sb_magicnum of XFS; s_magic of ext.
        bytes.starts_with(b"XFSB") || Fields::new(&bytes).le_u16(1024 + 56) == Some(0xEF53)
    })
}

impl Group {
    /// Finds places for physical volumes that are missing on `blank` devices, which hold nothing of LVM
    /// any more: one that is about as long, and on which file systems begin where the text has volumes
    /// begin; or else the only one of exactly its length.
    pub fn take_in(&mut self, blank: &[(DeviceName, Arc<dyn ReadAt>)]) {
        let text = Arc::clone(&self.text);
        let begins = |pv: &PhysicalVolume, device: &Arc<dyn ReadAt>| {
            let mut places = beginnings(&text, pv).into_iter();
            is_about(pv, device.len()) && places.any(|at| is_beginning(device, at))
        };
        self.take_in_by(
            blank,
            &begins,
            "its length and the file systems that begin on it",
        );
        let is_as_long = |pv: &PhysicalVolume, device: &Arc<dyn ReadAt>| pv.bytes == device.len();
        self.take_in_by(blank, &is_as_long, "its length, to the byte");
    }

    /// Gives the physical volumes that are missing the devices that agree with them, where either is the
    /// only one of the other.
    fn take_in_by(
        &mut self,
        blank: &[(DeviceName, Arc<dyn ReadAt>)],
        agrees: &dyn Fn(&PhysicalVolume, &Arc<dyn ReadAt>) -> bool,
        why: &str,
    ) {
        let is_free = |name: &DeviceName| !self.devices.values().any(|taken| taken == name);
        let free: Vec<_> = blank.iter().filter(|(name, _)| is_free(name)).collect();
        let pairs = self.missing().flat_map(|pv| {
            let fitting = free.iter().filter(|(_, device)| agrees(pv, device));
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
