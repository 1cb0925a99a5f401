//! Whose mailboxes are of which only carving tells it: beside the message index, and read with it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::account::Owner;
use crate::record::Record;

/// A mailbox that nothing in its file system names the owner of, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxRecord {
    /// The device with the file system.
    pub device: String,
    /// The path of the mailbox in it.
    pub path: String,
    /// Whose it is.
    pub owner: Owner,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Mailboxes(HashMap<(String, String), Owner>);

impl FromIterator<MailboxRecord> for Mailboxes {
    fn from_iter<I: IntoIterator<Item = MailboxRecord>>(records: I) -> Self {
        let places = records.into_iter();
        Self(
            places
                .map(|one| ((one.device, one.path), one.owner))
                .collect(),
        )
    }
}

impl Mailboxes {
    /// A line of the message index, with its owner where that is one of these mailboxes'.
    #[must_use]
    pub fn settled(&self, mut record: Record) -> Record {
        let (device, path, owner) = match &mut record {
            Record::Folder(folder) => (&folder.device, &folder.path, &mut folder.owner),
            Record::Lost(note) | Record::Rejected(note) => {
                (&note.device, &note.path, &mut note.owner)
            }
            Record::Message(_) | Record::Loss(_) => return record,
        };
        if owner.is_none() && !self.0.is_empty() {
            *owner = self.owner(device, path).cloned();
        }
        record
    }

    /// Whose the mailbox is that a path is or lies in.
    fn owner(&self, device: &str, path: &str) -> Option<&Owner> {
        let mut paths = std::iter::successors(Some(path), |path| {
            path.rsplit_once('/').map(|(above, _)| above)
        });
        paths.find_map(|path| self.0.get(&(device.to_owned(), path.to_owned())))
    }
}
