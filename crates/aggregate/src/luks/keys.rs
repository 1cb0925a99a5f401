//! Keys that a person gave, and the containers that they open.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::ReadAt;
use zeroize::Zeroizing;

use super::reader::Opened;
use super::unlock::{Budget, VolumeKey, volume_key};
use super::{Container, read};
use crate::document::DeviceName;

/// For which containers a key was given, where it is for all.
const ALL: &str = "*";

/// A passphrase, or the contents of a key file. Nothing shows it.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The secret with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What is known of a container: its volume key, or why none of the keys opens it.
type Known = Result<Arc<VolumeKey>, String>;

/// Keys, by the UUID or the device of the containers that they are for.
///
/// Making a volume key out of a passphrase takes seconds, so what was made is kept.
#[derive(Default)]
pub struct Keys {
    secrets: Vec<(String, Secret)>,
    known: Mutex<BTreeMap<Vec<u8>, Known>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.secrets.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Keys {
    /// Adds a key for the container with that UUID or on that device, or for all with `*`.
    pub fn add(&mut self, container: &str, secret: Secret) {
        self.secrets.push((container.to_owned(), secret));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Opens the container that `device` is; the error says why that cannot be done.
    pub(crate) fn open(
        &self,
        name: &DeviceName,
        device: &Arc<dyn ReadAt>,
    ) -> Result<Arc<dyn ReadAt>, String> {
        let container = read(device.as_ref()).ok_or("it is no LUKS container")?;
        let payload = container.payload.clone()?;
        let key = self.volume_key(name, device.as_ref(), &container)?;
        let opened = Opened::new(Arc::clone(device), &payload, &key)?;
        Ok(Arc::new(opened))
    }

    /// The volume key of a container, made once.
    fn volume_key(&self, name: &DeviceName, device: &dyn ReadAt, container: &Container) -> Known {
        let mut id = format!("{name}\n{}\n", container.uuid).into_bytes();
        for digest in &container.digests {
            id.extend_from_slice(&digest.salt);
            id.extend_from_slice(&digest.digest);
        }
        // One container after the other: each may take gigabytes.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&id) {
            return found.clone();
        }
        let found = self.make(name, device, container);
        known.insert(id, found.clone());
        found
    }

    fn make(&self, name: &DeviceName, device: &dyn ReadAt, container: &Container) -> Known {
        let payload = container.payload.as_ref().map_err(Clone::clone)?;
        let is_for = |of: &str| {
            of == ALL
                || *of == name.0
                || (!of.is_empty() && of.eq_ignore_ascii_case(&container.uuid))
        };
        let mut secrets = self.secrets.iter().filter(|(of, _)| is_for(of)).peekable();
        if secrets.peek().is_none() {
            return Err("no key was given for it".to_owned());
        }
        let mut troubles = Vec::new();
        let mut budget = Budget::new();
        let key = secrets.find_map(|(_, secret)| {
            volume_key(
                device,
                container,
                payload,
                &secret.0,
                &mut budget,
                &mut troubles,
            )
        });
        key.map(Arc::new).ok_or_else(|| {
            let why = "none of the keys that were given for it opens it".to_owned();
            std::iter::once(why)
                .chain(troubles)
                .collect::<Vec<_>>()
                .join("; ")
        })
    }
}
