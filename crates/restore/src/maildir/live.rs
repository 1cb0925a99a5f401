//! What an account holds now.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mail::MessageId;
use mail::codec::{Codec, decode};
use mail::maildir::MaildirName;

use crate::RestoreError;

/// Folders nested deeper than this are not looked into.
const MAX_DEPTH: usize = 40;

/// What an account holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The names, up to their flags, in each folder of `restored_emails`.
    restored: HashMap<String, HashSet<String>>,
    /// The messages in all other folders, as far as they were asked for.
    messages: HashSet<MessageId>,
}

impl Live {
    /// Reads the Maildir at `path`, which need not be there.
    ///
    /// Of the mail outside `restored_emails` only messages whose length with CR LF line ends is in
    /// `lengths` are read: only they can be ones that are to be restored.
    pub fn read(path: &Path, lengths: &HashSet<u64>) -> Result<Self, RestoreError> {
        let mut live = Self::default();
        live.read_directory(path, "", lengths, 0)?;
        Ok(live)
    }

    /// Whether a message of this name lies in this folder of `restored_emails`.
    pub fn has_restored(&self, folder: &str, name: &str) -> bool {
        self.restored
            .get(folder)
            .is_some_and(|names| names.contains(name))
    }

    /// Folder and name of every message in `restored_emails` that has a name of our making.
    pub(crate) fn restored(&self) -> impl Iterator<Item = (&str, &str)> {
        self.restored
            .iter()
            .flat_map(|(folder, names)| names.iter().map(|name| (folder.as_str(), name.as_str())))
    }

    /// Whether the account has this message outside `restored_emails`.
    pub(crate) fn has_message(&self, normalised: &MessageId) -> bool {
        self.messages.contains(normalised)
    }

    pub(crate) fn add_restored(&mut self, folder: &str, name: String) {
        self.restored
            .entry(folder.to_owned())
            .or_default()
            .insert(name);
    }

    pub(crate) fn add_message(&mut self, normalised: MessageId) {
        self.messages.insert(normalised);
    }

    /// Reads one directory; `folder` is its path below the Maildir.
    fn read_directory(
        &mut self,
        path: &Path,
        folder: &str,
        lengths: &HashSet<u64>,
        depth: usize,
    ) -> Result<(), RestoreError> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(RestoreError::io(path, source)),
        };
        for entry in entries {
            let entry = entry.map_err(|source| RestoreError::io(path, source))?;
            // The type is that of the name itself: no link is followed.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_directory || depth >= MAX_DEPTH {
                continue;
            }
            let name = entry.file_name();
            let path = entry.path();
            match name.as_bytes() {
                b"cur" | b"new" => self.read_messages(&path, folder, lengths)?,
                b"tmp" => {}
                _ => {
                    let name = name.to_string_lossy();
                    let below = if folder.is_empty() {
                        name.into_owned()
                    } else {
                        format!("{folder}/{name}")
                    };
                    self.read_directory(&path, &below, lengths, depth.saturating_add(1))?;
                }
            }
        }
        Ok(())
    }

    fn read_messages(
        &mut self,
        path: &Path,
        folder: &str,
        lengths: &HashSet<u64>,
    ) -> Result<(), RestoreError> {
        let entries = fs::read_dir(path).map_err(|source| RestoreError::io(path, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| RestoreError::io(path, source))?;
            let name = entry.file_name();
            let parsed = MaildirName::parse(name.as_bytes());
            if is_restored(folder, parsed.base) {
                let base = String::from_utf8_lossy(parsed.base).into_owned();
                self.add_restored(folder, base);
                continue;
            }
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let asked_for = parsed
                .virtual_size
                .is_none_or(|size| lengths.contains(&size));
            if is_file && asked_for {
                self.read_message(&entry.path(), lengths)?;
            }
        }
        Ok(())
    }

    fn read_message(&mut self, path: &Path, lengths: &HashSet<u64>) -> Result<(), RestoreError> {
        let stored = match fs::read(path) {
            Ok(stored) => stored,
            // The user or the server moved it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(RestoreError::io(path, source)),
        };
        let content = decode(Codec::of(&stored), &stored).bytes;
        if lengths.contains(&mail::proof::virtual_size(&content)) {
            self.add_message(MessageId::normalised(&content));
        }
        Ok(())
    }
}

/// Whether a file is one that we put there: our folder, and a name of our making. In the place for
/// mail that is nobody's, the folder is the Maildir itself.
fn is_restored(folder: &str, base: &[u8]) -> bool {
    let ours = folder.is_empty() || folder.starts_with(".restored_emails") || folder == ".Damaged";
    ours && base
        .windows(b".restante,S=".len())
        .any(|window| window == b".restante,S=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_account_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let write = |folder: &str, name: &str, bytes: &[u8]| {
            let path = dir.path().join(folder);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(name), bytes).unwrap();
        };
        write("cur", "1.a,W=3:2,S", b"a\n");
        write(".Archive/new", "1.b", b"bb\r\n");
        write("nested/Deep/cur", "1.c,W=99:2,", b"cc\n");
        write(".restored_emails.X/cur", "1.R0.restante,S=1,W=1:2,F", b"x");
        write(".restored_emails.X/cur", "1.user,W=3:2,F", b"d\n");
        let live = Live::read(dir.path(), &HashSet::from([3, 4])).unwrap();
        assert!(live.has_message(&MessageId::of(b"a\n")));
        assert!(live.has_message(&MessageId::of(b"bb\n")));
        assert!(live.has_message(&MessageId::of(b"d\n")));
        assert!(!live.has_message(&MessageId::of(b"cc\n")));
        assert!(live.has_restored(".restored_emails.X", "1.R0.restante,S=1,W=1"));
        assert!(!live.has_restored(".restored_emails", "1.R0.restante,S=1,W=1"));
        let none = Live::read(&dir.path().join("gone"), &HashSet::new()).unwrap();
        assert_eq!(none, Live::default());
    }
}
