//! Devices that are encrypted as a whole.

use aggregate::document::{Encrypted, EncryptionKind};
use serde::Serialize;

use crate::facts::Facts;
use crate::words::{bytes, counted};

/// Devices named in a sentence at most.
const MOST_NAMES: usize = 5;

/// One of them in the list.
#[derive(Debug, Serialize)]
pub(super) struct EncryptedView {
    device: String,
    what: &'static str,
    label: String,
    uuid: String,
    size: String,
    cipher: String,
    keys: Vec<String>,
    /// What was opened, or what would open it.
    state: String,
    notes: Vec<String>,
}

impl EncryptedView {
    pub(super) fn new(encrypted: &Encrypted) -> Self {
        Self {
            device: encrypted.device.to_string(),
            what: encrypted.kind.describe(),
            label: encrypted.label.clone(),
            uuid: encrypted.uuid.clone(),
            size: bytes(encrypted.bytes),
            cipher: encrypted.cipher.clone(),
            keys: encrypted.keys.clone(),
            state: match &encrypted.opened {
                Some(device) => format!("Opened with a key that was given: {device}."),
                None => format!("Not read. It needs {}.", encrypted.needs),
            },
            notes: encrypted.notes.clone(),
        }
    }
}

/// What must be said at the top of the page of devices that could not be read; nothing if there are
/// none.
pub(super) fn note(facts: &Facts) -> Option<String> {
    let structure = facts.aggregate.as_ref()?;
    let closed = structure.encrypted.iter();
    let closed: Vec<&Encrypted> = closed.filter(|one| one.opened.is_none()).collect();
    let first = closed.first()?;
    let name = |one: &&Encrypted| match one.kind {
        EncryptionKind::NoHeader => format!("{} (without a header)", one.device),
        kind => {
            let kind = kind.describe();
            let kind = kind
                .trim_start_matches("a ")
                .trim_end_matches(" encrypted volume");
            format!("{} ({kind})", one.device)
        }
    };
    let mut names: Vec<String> = closed.iter().take(MOST_NAMES).map(name).collect();
    let more = closed.len().saturating_sub(MOST_NAMES);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let certain = closed
        .iter()
        .all(|one| one.kind != EncryptionKind::NoHeader);
    Some(format!(
        "{} encrypted and could not be read: {}. What mail is in {}, if any, is not known, and so in \
         no sum. What is needed to open {} is said under Geometry.",
        counted(
            closed.len() as u64,
            if certain {
                "device is"
            } else {
                "device is, or looks,"
            },
            if certain {
                "devices are"
            } else {
                "devices are, or look,"
            },
        ),
        names.join(", "),
        if closed.len() == 1 { "it" } else { "them" },
        if closed.len() == 1 {
            first.device.to_string()
        } else {
            "each".to_owned()
        },
    ))
}
