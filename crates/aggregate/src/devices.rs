//! The devices of a case: what statements become.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

use crate::build::{Problem, check_members, check_segments, on_devices};
use crate::discover::Disk;
use crate::document::{Area, DeviceName, Encrypted, Group, Region, Volume};
use crate::luks::Keys;
use crate::raid::{GroupReader, open_member};
use crate::volume::VolumeReader;

/// The devices of a case, by name.
#[derive(Clone, Default)]
pub struct Devices {
    all: BTreeMap<DeviceName, Arc<dyn ReadAt>>,
    /// Devices that are stated to be opened and that no key opens, and why: all of them are gaps.
    locked: BTreeMap<DeviceName, String>,
}

impl Devices {
    /// The device `name`.
    pub fn get(&self, name: &DeviceName) -> Option<Arc<dyn ReadAt>> {
        self.all.get(name).map(Arc::clone)
    }

    /// All devices, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceName, &Arc<dyn ReadAt>)> {
        self.all.iter()
    }

    /// The devices that were opened with a key when they were stated, and are not now, and why.
    pub const fn locked(&self) -> &BTreeMap<DeviceName, String> {
        &self.locked
    }

    /// The disks alone.
    pub(crate) fn of_disks(disks: &[Disk]) -> Self {
        let named = disks
            .iter()
            .map(|(name, disk)| (DeviceName::disk(name), Arc::clone(disk)));
        Self {
            all: named.collect(),
            locked: BTreeMap::new(),
        }
    }

    pub(crate) fn insert(&mut self, name: DeviceName, device: Arc<dyn ReadAt>) {
        self.all.insert(name, device);
    }

    pub(crate) fn contains(&self, name: &DeviceName) -> bool {
        self.all.contains_key(name)
    }

    /// The volume in an encrypted device that is there already; nothing but a gap without a key.
    pub(crate) fn open_encrypted(
        &mut self,
        name: &DeviceName,
        encrypted: &Encrypted,
        keys: &Keys,
    ) -> Result<Arc<dyn ReadAt>, Problem> {
        let device = self.get(&encrypted.device);
        let device = device.ok_or_else(|| Problem::Unknown {
            device: encrypted.device.clone(),
        })?;
        Ok(keys.open(&encrypted.device, &device).unwrap_or_else(|why| {
            self.locked.insert(name.clone(), why);
            Arc::new(Locked(encrypted.bytes))
        }))
    }

    /// The volume that is stated, on devices that are there already.
    pub(crate) fn open_volume(&self, volume: &Volume) -> Result<Arc<dyn ReadAt>, Problem> {
        check_segments(volume)?;
        for device in on_devices(volume) {
            if !self.contains(device) {
                return Err(Problem::Unknown {
                    device: device.clone(),
                });
            }
        }
        Ok(Arc::new(VolumeReader::new(volume, |area: &Area| {
            area.device.as_ref().and_then(|device| self.get(device))
        })))
    }

    /// The group that is stated, on devices that are there already, with the epochs of their
    /// regions.
    pub(crate) fn open_group(
        &self,
        group: &Group,
        epochs: &[Region],
    ) -> Result<Arc<dyn ReadAt>, Problem> {
        check_members(group)?;
        let mut members: Vec<Option<Arc<dyn ReadAt>>> = Vec::new();
        let mut sorted: Vec<_> = group.members.iter().collect();
        sorted.sort_by_key(|member| member.role);
        for member in sorted {
            let device = match &member.device {
                Some(name) => Some(self.get(name).ok_or_else(|| Problem::Unknown {
                    device: name.clone(),
                })?),
                None => None,
            };
            let regions = epochs.iter().filter(|region| {
                let device = member.device.as_ref();
                device.is_some_and(|device| region.concerns(&group.name, device))
            });
            members.push(device.and_then(|device| open_member(&device, member, regions)));
        }
        Ok(Arc::new(GroupReader::new(group.geometry.clone(), members)?))
    }
}

/// A device that no key opens.
struct Locked(u64);

impl ReadAt for Locked {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        buf.fill(0);
        Ok(Gaps::one(0..buf.len(), GapCause::Locked))
    }
}
