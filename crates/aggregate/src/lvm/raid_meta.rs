//! The label that the kernel keeps in the metadata volume of each RAID image.
//!
//! Source: `struct dm_raid_superblock` in the kernel's `drivers/md/dm-raid.c`.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

/// How much of the label is read: the fields before the extensions of version 1.9.0.
const BYTES: usize = 68;
/// What the offsets of a rebuild and of the first synchronisation hold when they are done.
const DONE: u64 = u64::MAX;

/// The label of a RAID image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RaidMeta {
    /// How many images the array has.
    pub(super) num_devices: u32,
    /// Which of them this is.
    pub(super) array_position: u32,
    /// Counts the changes of the array's state.
    pub(super) events: u64,
    /// One bit for each image that failed.
    pub(super) failed_devices: u64,
    /// How far this image is rebuilt, in sectors.
    pub(super) disk_recovery_offset: u64,
    /// How far the array was synchronised after its creation, in sectors.
    pub(super) array_resync_offset: u64,
}

impl RaidMeta {
    /// The label at an offset of `device`.
    pub(super) fn read(device: &dyn ReadAt, at: ByteOffset) -> Option<Self> {
        let bytes = device.read_whole(at, BYTES)?;
        let fields = Fields::new(&bytes);
        if fields.slice(0, 4)? != b"DmRd" {
            return None;
        }
        Some(Self {
            num_devices: fields.le_u32(8)?,
            array_position: fields.le_u32(12)?,
            events: fields.le_u64(16)?,
            failed_devices: fields.le_u64(24)?,
            disk_recovery_offset: fields.le_u64(32)?,
            array_resync_offset: fields.le_u64(40)?,
        })
    }

    /// Whether the array was in sync as a whole once.
    pub(super) const fn is_synced(&self) -> bool {
        self.array_resync_offset == DONE
    }
}

/// Why each image must be left out, by role; `None` for those that hold the array's state.
///
/// The freshest label decides. An image one event behind is as fresh: the kernel may stop
/// between writing one label and the next.
pub(super) fn left_out(labels: &[Option<RaidMeta>]) -> Vec<Option<String>> {
    let freshest = labels.iter().flatten().max_by_key(|label| label.events);
    labels
        .iter()
        .enumerate()
        .map(|(role, label)| {
            let freshest = freshest?;
            let failed = u32::try_from(role)
                .ok()
                .and_then(|role| freshest.failed_devices.checked_shr(role))
                .is_some_and(|bits| bits & 1 == 1);
            if failed {
                return Some("the other images' labels say that it failed".to_owned());
            }
            let label = label.as_ref()?;
            if label.events.saturating_add(1) < freshest.events {
                return Some(format!(
                    "its state is old: its label counts {} events, the newest {}",
                    label.events, freshest.events
                ));
            }
            (label.disk_recovery_offset != DONE).then(|| {
                format!(
                    "it was being rebuilt: only its first {} sectors are done",
                    label.disk_recovery_offset
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: RaidMeta = RaidMeta {
        num_devices: 5,
        array_position: 0,
        events: 10,
        failed_devices: 0,
        disk_recovery_offset: DONE,
        array_resync_offset: DONE,
    };

    #[test]
    fn images_that_failed_or_lag_or_are_being_rebuilt_are_left_out() {
        let behind = RaidMeta { events: 9, ..FRESH };
        let old = RaidMeta { events: 8, ..FRESH };
        let rebuilding = RaidMeta {
            disk_recovery_offset: 128,
            ..FRESH
        };
        let out = left_out(&[Some(FRESH), Some(behind), Some(old), Some(rebuilding), None]);
        let is_out: Vec<bool> = out.iter().map(Option::is_some).collect();
        assert_eq!(is_out, [false, false, true, true, false]);
        let told = RaidMeta {
            failed_devices: 0b10,
            ..FRESH
        };
        assert!(left_out(&[Some(told), Some(old)])[1].is_some());
        assert_eq!(left_out(&[None, None]), [None, None]);
    }
}
