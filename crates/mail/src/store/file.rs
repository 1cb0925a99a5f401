//! A message in a store, before it is read.

use std::sync::Arc;

use filesystem::{FsPath, InodeNumber, Timestamp};

use super::Part;
use crate::account::Owner;
use crate::maildir::{Flags, MaildirName};

/// What may be a message: a file, or a part of one.
#[derive(Clone, Debug)]
pub struct MailFile {
    /// The path of the file.
    pub path: FsPath,
    /// Its inode.
    pub inode: InodeNumber,
    /// Whose mailbox it is in.
    pub owner: Option<Owner>,
    /// Why it is nobody's, though something names somebody.
    pub doubt: Option<Arc<str>>,
    /// The folder that it is in.
    pub folder: String,
    /// Its keywords, sorted.
    pub keywords: Vec<String>,
    /// Which part of the file it is; `None` for all of it.
    pub part: Option<Part>,
    /// What else the store knows of it.
    pub known: Known,
}

/// What a store knows of a message that does not stand in the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its number in the folder.
    pub uid: Option<u32>,
    /// Its flags.
    pub flags: Flags,
    /// When it was delivered; `None` if the file's time of modification says that.
    pub received: Option<Timestamp>,
    /// Its length in bytes, uncompressed.
    pub size: Option<u64>,
    /// Its length with every line ended by CR LF.
    pub virtual_size: Option<u64>,
    /// Whether the lengths are the store's own record, which nobody edits: what contradicts them
    /// is damaged.
    pub is_recorded: bool,
    /// The SHA-1 of its bytes.
    pub sha1: Option<[u8; 20]>,
    /// What of it the store's structure shows to be missing or wrong, in words.
    pub damage: Vec<String>,
    /// Whether its beginning is missing.
    pub is_fragment: bool,
    /// Whether the store's index says that it was expunged, though its bytes are still there.
    pub is_expunged: bool,
}

impl Known {
    /// What the name of a Maildir file says.
    pub fn of_name(name: &MaildirName<'_>) -> Self {
        Self {
            flags: name.flags.clone(),
            size: name.size,
            virtual_size: name.virtual_size,
            ..Self::default()
        }
    }
}

impl MailFile {
    /// Whether both lengths that the store knows are those of `content`.
    pub(crate) fn is_as_stored(&self, content: &[u8]) -> bool {
        self.known.size == Some(content.len() as u64)
            && self.known.virtual_size == Some(crate::proof::virtual_size(content))
    }

    /// The time of delivery that the store says, or the file's name.
    pub(crate) fn said_received(&self) -> Option<Timestamp> {
        let by_name = || {
            let name = self.path.name().filter(|_| self.part.is_none());
            let seconds = MaildirName::parse(name.unwrap_or_default()).delivered?;
            Some(Timestamp {
                seconds,
                nanoseconds: 0,
            })
        };
        self.known.received.or_else(by_name)
    }
}
