//! Zimbra's store: `store/N/MAILBOX/msg/N/ID-REVISION.msg`, a message a file, perhaps in gzip.
//!
//! Whose mailbox a number is, folders and flags stand in its database alone; so accounts are found
//! by what servers wrote on top of the messages, and folders are not known. Source: Zimbra's
//! `FileBlobStore` and `VolumeServiceImpl` (the layout only).

use evidence::Loss;
use filesystem::{DirEntry, FileKind, Filesystem, FsPath};

use crate::maildir::RECOVERED;
use crate::store::{Contents, Folder, Known, MailFile, Placed, entries_of, find_entry};

const MESSAGES: &[u8] = b"msg";

/// Whether a directory that lists `children` is a mailbox.
pub(crate) fn is_mailbox(fs: &dyn Filesystem, path: &FsPath, children: &[DirEntry]) -> bool {
    let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
    let Some(messages) = find_entry(children, MESSAGES) else {
        return false;
    };
    if !path.name().is_some_and(is_number) {
        return false;
    }
    let mut losses: Vec<Loss> = Vec::new();
    let groups = entries_of(fs, messages, &mut losses);
    let mut groups = groups.iter().filter(|entry| is_number(&entry.name)).take(8);
    groups.any(|group| {
        let files = entries_of(fs, group.inode, &mut losses);
        files.iter().any(|entry| id_of(&entry.name).is_some())
    })
}

/// Places a mailbox: nothing of its path names anybody.
pub(crate) fn place(path: &FsPath) -> Placed {
    Placed {
        owner: None,
        name: RECOVERED.to_owned(),
        mailbox: path.clone(),
    }
}

/// The number of the message in a file called `ID-REVISION.msg`.
fn id_of(name: &[u8]) -> Option<u32> {
    let name = std::str::from_utf8(name).ok()?.strip_suffix(".msg")?;
    let (id, revision) = name.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(id) && is_number(revision)).then(|| id.parse().ok())?
}

/// Lists a mailbox.
pub(crate) fn list(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let mut record = folder.record(device);
    let path = folder.path.join(MESSAGES);
    let groups = folder.entry(MESSAGES);
    let groups = groups.map(|messages| entries_of(fs, messages, &mut contents.losses));
    for group in groups.unwrap_or_default() {
        let path = path.join(&group.name);
        for entry in entries_of(fs, group.inode, &mut contents.losses) {
            let Some(uid) = id_of(&entry.name) else {
                continue;
            };
            if fs
                .inode(entry.inode)
                .is_ok_and(|inode| inode.kind != FileKind::Regular)
            {
                continue;
            }
            record.present = record.present.saturating_add(1);
            contents.files.push(MailFile {
                path: path.join(&entry.name),
                inode: entry.inode,
                owner: folder.owner.clone(),
                doubt: folder.doubt.clone(),
                folder: folder.name.clone(),
                keywords: Vec::new(),
                part: None,
                known: Known {
                    uid: Some(uid),
                    ..Known::default()
                },
            });
        }
    }
    contents.folders.push(record);
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blobs_are_messages() {
        assert_eq!(id_of(b"257-3.msg"), Some(257));
        for name in [
            &b"257.msg"[..],
            b"a-3.msg",
            b"-3.msg",
            b"257-3",
            b"257-3.msg~",
        ] {
            assert_eq!(id_of(name), None);
        }
    }
}
