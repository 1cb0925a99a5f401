//! Volumes whose labels are gone, as a part of the discovery.

use std::collections::BTreeSet;

use super::Discovery;
use crate::build::on_devices;
use crate::document::DeviceName;
use crate::raid::{Geometry, Level};
use crate::volumes_found;

impl Discovery<'_> {
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
            row_bytes(&group.geometry)
        };
        let devices = self.unexplained(&["group:", "disk:", "partition:"]);
        let found = volumes_found::find(devices, &row);
        self.aggregate.losses.extend(found.losses);
        let any = !found.volumes.is_empty();
        for (volume, what) in found.volumes {
            let on: BTreeSet<DeviceName> = on_devices(&volume).into_iter().cloned().collect();
            self.blank.retain(|device, _| !on.contains(device));
            let filesystems = &mut self.aggregate.filesystems;
            filesystems.retain(|fs| !on.contains(&fs.device));
            self.headless.insert(volume.device.clone(), what);
            self.add_volume(volume);
        }
        any
    }
}

/// How many bytes of data a row of a group has, where that is the same in every row.
fn row_bytes(geometry: &Geometry) -> Option<u64> {
    let parities = match geometry.level {
        Level::Raid0 { .. } => 0,
        Level::Raid4 { .. } | Level::Raid5 { .. } => 1,
        Level::Raid6 { .. } => 2,
        _ => return None,
    };
    let data = geometry.members().checked_sub(parities)?;
    geometry.chunk_bytes()?.checked_mul(u64::from(data))
}
