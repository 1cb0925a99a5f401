//! Encrypted devices, as a part of the discovery.

use std::sync::Arc;

use evidence::ReadAt;

use super::{Discovery, is_disk, signature};
use crate::document::{DeviceName, EncryptionKind};
use crate::encrypted;

impl Discovery<'_> {
    /// States that a device is encrypted, if its header says so; whether it does.
    ///
    /// A disk may also be the first of a group that lost its labels, whose contents are encrypted:
    /// then the header is that of the group, and groups are looked for all the same.
    pub(super) fn note_encrypted(
        &mut self,
        name: &DeviceName,
        device: &Arc<dyn ReadAt>,
        has_filesystem: bool,
    ) -> bool {
        let Some(encrypted) = encrypted::recognise(device, name, has_filesystem) else {
            return false;
        };
        self.aggregate.encrypted.push(encrypted);
        if is_disk(name) {
            // Metadata of LVM are not looked for: what is left of them was there before.
            self.blank.insert(name.clone(), true);
        }
        true
    }

    /// Whether a device is stated to be encrypted.
    pub(super) fn is_encrypted(&self, name: &DeviceName) -> bool {
        let mut all = self.aggregate.encrypted.iter();
        all.any(|encrypted| encrypted.device == *name)
    }

    /// Opens what is surely a container by itself; whether there was one.
    ///
    /// A disk is that if there is no other one that nothing explains: else it may be a member of a
    /// group, of which it has the beginning.
    pub(super) fn unlock_surely(&mut self) -> bool {
        let alone = self.blank.keys().filter(|name| is_disk(name)).count() < 2;
        self.unlock_those(|name| alone || !is_disk(name))
    }

    /// Opens all containers that there are keys for; whether there was one.
    pub(super) fn unlock(&mut self) -> bool {
        self.unlock_those(|_| true)
    }

    fn unlock_those(&mut self, which: impl Fn(&DeviceName) -> bool) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let mut opened = Vec::new();
        for (index, encrypted) in self.aggregate.encrypted.iter_mut().enumerate() {
            let name = &encrypted.device;
            let is_container = matches!(
                encrypted.kind,
                EncryptionKind::Luks1 | EncryptionKind::Luks2
            );
            let is_done = encrypted.opened.is_some() || self.locked.contains(name);
            if !is_container || is_done || !which(name) {
                continue;
            }
            let Some(device) = self.devices.get(name) else {
                continue;
            };
            match self.keys.open(name, &device) {
                Ok(volume) => opened.push((index, volume)),
                Err(why) => {
                    self.locked.insert(name.clone());
                    encrypted.notes.push(why);
                }
            }
        }
        let any = !opened.is_empty();
        for (index, volume) in opened {
            self.add_opened(index, volume);
        }
        any
    }

    /// Adds the volume in a container.
    fn add_opened(&mut self, index: usize, volume: Arc<dyn ReadAt>) {
        let Some(encrypted) = self.aggregate.encrypted.get(index) else {
            return;
        };
        let on = encrypted.device.clone();
        let mut name = DeviceName::opened(&encrypted.uuid);
        if encrypted.uuid.is_empty() || self.devices.contains(&name) {
            // A snapshot has the UUID of its origin.
            name = DeviceName::opened(&on.0.replace(':', "-"));
        }
        self.locked.insert(on.clone());
        if self.add_device(&name, volume, vec![on.clone()], true) {
            self.blank.remove(&on);
            if let Some(encrypted) = self.aggregate.encrypted.get_mut(index) {
                encrypted.opened = Some(name);
            }
        }
    }

    /// Says of every encrypted device that was not opened why nothing uses it.
    pub(super) fn name_locked(&mut self) {
        let locked = self.aggregate.encrypted.iter();
        let locked: Vec<(DeviceName, String)> = locked
            .filter(|encrypted| encrypted.opened.is_none())
            .map(|encrypted| (encrypted.device.clone(), encrypted::describe(encrypted)))
            .collect();
        for (name, why) in locked {
            self.blank.remove(&name);
            self.unused(&name, &why);
        }
    }

    /// Says of a device on which nothing was recognised what it looks like.
    pub(super) fn name_blank(&mut self, name: &DeviceName) {
        let Some(device) = self.devices.get(name) else {
            return;
        };
        if let Some(what) = self.headless.remove(name) {
            self.unused(name, &what);
            return;
        }
        // Of devices that belong together nothing says what they hold.
        let noise = encrypted::without_header(&device, name);
        match noise.filter(|_| !self.is_tied(name)) {
            Some(encrypted) => {
                self.unused(name, &encrypted::describe(&encrypted));
                self.aggregate.encrypted.push(encrypted);
            }
            None => {
                let raid = signature::foreign_raid(&device).map(str::to_owned);
                self.unused(name, &raid.unwrap_or_else(|| signature::nothing(&device)));
            }
        }
    }
}
