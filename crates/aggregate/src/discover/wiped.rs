//! Labels of which only the magic number is gone.
//!
//! `wipefs`, and what clears old signatures before it makes something new (`sfdisk`, `pvcreate`, `mkfs.btrfs`), writes
//! zeros over the few bytes by which libblkid knows a format, and leaves the rest of the label. With these put
//! back it is read like any other one: its checksum covers them, and so proves that they stood there. The table of
//! an MBR has no checksum; it must be one in every other respect.
//!
//! Source: the `idmag` lists of util-linux, `libblkid/src`, and `do_wipe` of its `wipefs`.

use std::sync::Arc;

use evidence::view::{Overlay, Slice};
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::Discovery;
use crate::build::on_devices;
use crate::document::DeviceName;
use crate::partition::{self, TableKind};
use crate::{Magic, lvm, md};

/// A kind of label, by where its magic number stands and who reads it.
struct Kind {
    name: &'static str,
    /// Whether it says how a device is cut, and partitions are not.
    is_table: bool,
    /// The places of the magic number on a device of some length.
    places: fn(u64) -> Vec<Magic>,
    /// Whether a device has a sound label.
    is_read: fn(&dyn ReadAt, &DeviceName) -> bool,
}

/// The kinds of labels, those first that prove most.
const KINDS: [Kind; 4] = [
    Kind {
        name: "md label",
        is_table: false,
        places: md::places_of_magic,
        is_read: |device, name| {
            let labels = md::read_superblocks(device, name);
            labels.iter().any(|label| label.fault.is_none())
        },
    },
    Kind {
        name: "LVM label",
        is_table: false,
        places: |_| lvm::Label::places_of_magic(),
        is_read: |device, _| lvm::Label::read(device).is_some(),
    },
    Kind {
        name: "GPT",
        is_table: true,
        places: partition::gpt::places_of_magic,
        is_read: |device, _| {
            let table = partition::read(device);
            table.is_some_and(|table| table.kind == TableKind::Gpt)
        },
    },
    Kind {
        name: "MBR",
        is_table: true,
        places: |_| vec![partition::mbr::PLACE_OF_MAGIC],
        is_read: |device, _| partition::mbr::is_surely_one(device),
    },
];

impl Kind {
    /// The device with the magic number of a label of this kind put back that was cleared. One that is sound as it is may
    /// have been passed over for a reason, and proves nothing.
    fn put_back(&self, device: &Arc<dyn ReadAt>, name: &DeviceName) -> Option<Arc<dyn ReadAt>> {
        let is_partition = name.0.starts_with("partition:");
        if self.is_table && is_partition || (self.is_read)(device, name) {
            return None;
        }
        let places = (self.places)(device.len()).into_iter();
        let mut restored = places.filter_map(|magic| restored(device, magic));
        restored.find(|device| (self.is_read)(device, name))
    }
}

/// The device with a magic number put back, if it is cleared.
fn restored(device: &Arc<dyn ReadAt>, (at, magic): Magic) -> Option<Arc<dyn ReadAt>> {
    let at = ByteOffset::new(at);
    let bytes = device.read_whole(at, magic.len())?;
    bytes.iter().all(|byte| *byte == 0).then_some(())?;
    let mut overlay = Overlay::new(Arc::clone(device));
    overlay.lay(at, magic);
    Some(Arc::new(overlay))
}

impl Discovery<'_> {
    /// Looks at a device as if the magic number of a label were there that was cleared; whether there is such a label.
    pub(super) fn examine_restored(&mut self, name: &DeviceName, device: &Arc<dyn ReadAt>) -> bool {
        let restored = KINDS.iter().find_map(|kind| {
            let restored = kind.put_back(device, name)?;
            (!kind.is_table || self.is_cut_so(&restored, name)).then_some((restored, kind.name))
        });
        let Some((restored, kind)) = restored else {
            return false;
        };
        self.wiped.insert(name.clone(), kind);
        self.examine(name, &restored);
        true
    }

    /// Whether something is recognised in a partition: a table may be left from before an array was made of whole disks.
    fn is_cut_so(&self, device: &Arc<dyn ReadAt>, name: &DeviceName) -> bool {
        let table = partition::read(device);
        table.iter().flat_map(|table| &table.partitions).any(|one| {
            let start = ByteOffset::new(one.start);
            let inside: Arc<dyn ReadAt> =
                Arc::new(Slice::new(Arc::clone(device), start, one.bytes));
            let mut labels = KINDS.iter().filter(|kind| !kind.is_table);
            labels
                .any(|kind| (kind.is_read)(&inside, name) || kind.put_back(&inside, name).is_some())
                || (self.probe)(inside, name).is_some()
        })
    }

    /// Says of what was read from labels whose magic numbers were cleared that it was.
    pub(super) fn note_wiped(&mut self) {
        for (name, kind) in std::mem::take(&mut self.wiped) {
            let note = format!(
                "the magic number of the {kind} on {name} was cleared, as wipefs does: it is read with that put back"
            );
            let aggregate = &mut self.aggregate;
            for group in &mut aggregate.groups {
                // One that was worked out from contents needed no label.
                let is_stated = self.added_stated.contains(&group.name);
                if is_stated && group.devices().contains(&name) {
                    group.evidence.push(note.clone());
                }
            }
            for group in &mut aggregate.volume_groups {
                let mut on = group.physical_volumes.iter();
                if on.any(|one| one.device.as_ref() == Some(&name)) {
                    group.notes.push(note.clone());
                }
            }
            for volume in &mut aggregate.volumes {
                let is_partition = volume.device.0.starts_with("partition:");
                if is_partition && on_devices(volume).contains(&name) {
                    volume.evidence.push(note.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    #[test]
    fn what_is_no_label_without_its_magic_number_is_none_with_it() {
        for fill in [0, 0xFF, b'a'] {
            let mut disk = vec![fill; 1 << 20];
            // All places of magic numbers are zeros.
            for kind in &KINDS {
                for (at, magic) in (kind.places)(1 << 20) {
                    let at = usize::try_from(at).unwrap();
                    disk[at..at + magic.len()].fill(0);
                }
            }
            let device = Arc::new(Memory::new(disk)) as Arc<dyn ReadAt>;
            let name = DeviceName::disk("one");
            let mut found = KINDS
                .iter()
                .filter_map(|kind| kind.put_back(&device, &name));
            assert!(found.next().is_none(), "filled with {fill}");
        }
    }
}
