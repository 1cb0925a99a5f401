//! Encryption of whole devices: recognised and named, so that a person knows what is there and what
//! would open it.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod bitlocker;
mod noise;

use evidence::ReadAt;

use crate::document::{DeviceName, Encrypted, EncryptionKind};
use crate::luks::{self, Container};

/// What encrypts `device`, by the header that it begins with; `None` without one.
///
/// Where a file system lies on it, what is left of a container in the middle does not count.
pub(crate) fn recognise(
    device: &dyn ReadAt,
    name: &DeviceName,
    has_filesystem: bool,
) -> Option<Encrypted> {
    let container = luks::read(device);
    if let Some(container) = container.filter(|one| one.has_first || !has_filesystem) {
        return Some(of_container(&container, device, name));
    }
    let volume = bitlocker::read(device)?;
    let mut notes = Vec::new();
    if volume.uuid.is_empty() {
        notes.push("none of its metadata can be read".to_owned());
    }
    if volume.has_clear_key {
        notes.push("its protection is suspended: it can be opened without any key".to_owned());
    }
    Some(Encrypted {
        device: name.clone(),
        kind: EncryptionKind::Bitlocker,
        uuid: volume.uuid,
        label: volume.description,
        at: 0,
        bytes: device.len(),
        cipher: volume.cipher,
        needs: "one of its keys, such as the recovery key of 48 digits that belongs to the \
                identifier; open a copy with dislocker or cryptsetup, and add what is opened as an \
                image"
            .to_owned(),
        keys: volume.keys,
        opened: None,
        notes,
    })
}

fn of_container(container: &Container, device: &dyn ReadAt, name: &DeviceName) -> Encrypted {
    let mut notes = container.notes.clone();
    let mut cipher = String::new();
    let (mut at, mut bytes) = (0, 0);
    match &container.payload {
        Ok(payload) => {
            (at, bytes) = (payload.at, payload.length_on(device));
            cipher.clone_from(&payload.cipher);
            if payload.key_bytes > 0 {
                let bits = payload.key_bytes.saturating_mul(8);
                cipher.push_str(&format!(", {bits} bits"));
            }
            if payload.bytes.is_some_and(|stated| stated > bytes) {
                notes.push("the device ends before what its header states".to_owned());
            }
            if payload.at >= device.len() {
                notes.push("what it encrypts lies elsewhere: this is a header alone".to_owned());
            }
        }
        Err(why) if !notes.contains(why) => notes.push(why.clone()),
        Err(_) => {}
    }
    let slots = container.slots.iter();
    let mut keys: Vec<String> = slots
        .map(|slot| format!("slot {}: {}", slot.number, slot.kdf.describe()))
        .collect();
    keys.extend(container.tokens.iter().map(|kind| format!("token: {kind}")));
    let needs = needs(container).to_owned();
    Encrypted {
        device: name.clone(),
        kind: if container.version == 1 {
            EncryptionKind::Luks1
        } else {
            EncryptionKind::Luks2
        },
        uuid: container.uuid.clone(),
        label: container.label.clone(),
        at,
        bytes,
        cipher,
        keys,
        needs,
        opened: None,
        notes,
    }
}

/// What would open a container.
fn needs(container: &Container) -> &'static str {
    match (&container.payload, container.slots.is_empty()) {
        (Err(_), true) => {
            "an intact header, as a backup of it has (cryptsetup luksHeaderBackup), and a passphrase \
             or key file"
        }
        (Err(_), false) => "a passphrase or key file, and cryptsetup to open a copy with",
        (Ok(_), false) => "a passphrase or key file of one of its slots",
        (Ok(_), true) if container.other_slots > 0 => {
            "what its slots are locked with, and cryptsetup to open a copy with"
        }
        (Ok(_), true) => {
            "its volume key: no slot is left that holds it. A backup of its header (cryptsetup \
             luksHeaderBackup) brings the slots back"
        }
    }
}

/// What is to be said of a device on which nothing is recognised and that may be encrypted as a
/// whole; `None` if its bytes do not look so.
pub(crate) fn without_header(device: &dyn ReadAt, name: &DeviceName) -> Option<Encrypted> {
    let places = noise::places_of_noise(device)?;
    let mut notes = vec![format!(
        "all of {places} places that were looked at hold evenly distributed bytes"
    )];
    if name.0.starts_with("disk:") || name.0.starts_with("partition:") {
        notes.push(
            "a member of a RAID group whose data are encrypted looks the same: are all of its disks here?"
                .to_owned(),
        );
    }
    Some(Encrypted {
        device: name.clone(),
        kind: EncryptionKind::NoHeader,
        uuid: String::new(),
        label: String::new(),
        at: 0,
        bytes: device.len(),
        cipher: String::new(),
        keys: Vec::new(),
        needs:
            "to be known what wrote it (VeraCrypt, plain dm-crypt and self-encrypting disks leave \
                no header that names them), and its key; open a copy with that, and add what is \
                opened as an image"
                .to_owned(),
        opened: None,
        notes,
    })
}

/// Why nothing uses an encrypted device, in words.
pub(crate) fn describe(encrypted: &Encrypted) -> String {
    let mut text = match encrypted.kind {
        EncryptionKind::NoHeader => format!(
            "looks like encrypted data: {} bytes, evenly distributed, without any known structure \
             and without anything that names a format",
            encrypted.bytes
        ),
        kind => format!("{}: it cannot be read without its key", kind.describe()),
    };
    let named = [("UUID", &encrypted.uuid), ("called", &encrypted.label)];
    for (what, value) in named.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("; {what} {value}"));
    }
    for part in [&encrypted.cipher].into_iter().chain(&encrypted.keys) {
        if !part.is_empty() {
            text.push_str(&format!("; {part}"));
        }
    }
    text.push_str(&format!(". It needs {}", encrypted.needs));
    for note in &encrypted.notes {
        text.push_str(&format!(" ({note})"));
    }
    text
}
