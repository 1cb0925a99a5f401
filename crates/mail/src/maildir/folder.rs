//! What is in one maildir folder.

use std::collections::HashSet;

use filesystem::{DirEntry, FileKind, Filesystem, InodeNumber};

use super::{Keywords, MaildirName, Uidlist, courier};
use crate::record::{FileNote, FolderRecord};
use crate::store::{Contents, Folder, Kind, Known, MailFile};

/// Lists `folder`, which lies on `device`.
pub(crate) fn list(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let mut index = |name: &[u8]| {
        folder.read_index(fs, device, name).unwrap_or_else(|loss| {
            contents.losses.push(loss);
            None
        })
    };
    let keywords = index(b"dovecot-keywords").map(|text| Keywords::parse(&text));
    let list = index(b"dovecot-uidlist").or_else(|| index(b"courierimapuiddb"));
    let mut reading = Reading {
        folder,
        device,
        of_courier: courier::keywords(folder, fs, device, &mut contents.losses),
        keywords: keywords.unwrap_or_default(),
        list: list.and_then(|text| Uidlist::parse(&text)),
        record: folder.record(device),
        contents,
    };
    if folder.is_bare {
        for entry in &folder.entries {
            reading.add(b"", entry);
        }
    } else {
        let mut whole = true;
        for directory in [&b"cur"[..], b"new", b"tmp"] {
            whole &= reading.directory(fs, directory);
        }
        reading.compare();
        if !whole {
            reading.count_as_lost();
        }
    }
    reading.contents.folders.push(reading.record);
    reading.contents
}

/// Leaves messages to the folder that they are in, where a directory that lost its parents lists them
/// under the same names: it is an older state of one, and a file cannot be in both.
pub(crate) fn leave_to_folders(fs: &dyn Filesystem, folders: &mut Vec<Folder>) {
    let is_bare = |folder: &Folder| folder.kind == Kind::Maildir && folder.is_bare;
    if !folders.iter().any(is_bare) {
        return;
    }
    let whole = folders
        .iter()
        .filter(|folder| folder.kind == Kind::Maildir && !folder.is_bare);
    let directories = whole.flat_map(|folder| [&b"cur"[..], b"new"].map(|name| folder.entry(name)));
    let inodes = directories
        .flatten()
        .filter_map(|number| fs.inode(number).ok());
    let base = |entry: &DirEntry| MaildirName::parse(&entry.name).base.to_vec();
    let named: HashSet<(InodeNumber, Vec<u8>)> = inodes
        .filter(|inode| inode.kind == FileKind::Directory)
        .flat_map(|inode| fs.entries(&inode).entries)
        .map(|entry| (entry.inode, base(&entry)))
        .collect();
    folders.retain_mut(|folder| {
        if !is_bare(folder) {
            return true;
        }
        let elsewhere = |entry: &DirEntry| named.contains(&(entry.inode, base(entry)));
        folder.entries.retain(|entry| !elsewhere(entry));
        !folder.entries.is_empty()
    });
}

/// A folder that is being listed.
struct Reading<'a> {
    folder: &'a Folder,
    device: &'a str,
    keywords: Keywords,
    of_courier: courier::Keywords,
    list: Option<Uidlist>,
    record: FolderRecord,
    contents: Contents,
}

impl Reading<'_> {
    /// Lists one of the directories; whether all of it could be read, as far as that is known.
    fn directory(&mut self, fs: &dyn Filesystem, directory: &[u8]) -> bool {
        let Some(number) = self.folder.entry(directory) else {
            // Copies of maildirs lack directories that were empty, but `cur` holds the mail.
            return directory != b"cur";
        };
        let inode = match fs.inode(number) {
            Ok(inode) if inode.kind == FileKind::Directory => inode,
            Ok(_) => return true,
            Err(loss) => {
                self.contents.losses.push(loss);
                return directory == b"tmp";
            }
        };
        let mut listing = fs.entries(&inode);
        let whole = listing.losses.is_empty() || directory == b"tmp";
        self.contents.losses.append(&mut listing.losses);
        for entry in &listing.entries {
            self.add(directory, entry);
        }
        whole
    }

    /// Adds what `entry` of `directory` is; the directory is empty for the folder itself.
    fn add(&mut self, directory: &[u8], entry: &DirEntry) {
        let path = match directory {
            b"" => self.folder.path.join(&entry.name),
            _ => self.folder.path.join(directory).join(&entry.name),
        };
        let why = if directory == b"tmp" {
            "in tmp: its delivery was never finished"
        } else if entry.name.starts_with(b".") {
            "a hidden file: mail servers do not show it"
        } else {
            self.record.present = self.record.present.saturating_add(1);
            let name = MaildirName::parse(&entry.name);
            let mut keywords = self.keywords.named(&name.keywords);
            keywords.extend(
                self.of_courier
                    .get(name.base)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            let uid = self.list.as_ref().and_then(|list| list.uid(name.base));
            self.contents.files.push(MailFile {
                path,
                inode: entry.inode,
                owner: self.folder.owner.clone(),
                doubt: self.folder.doubt.clone(),
                folder: self.folder.name.clone(),
                keywords,
                part: None,
                known: Known {
                    uid,
                    ..Known::of_name(&name)
                },
            });
            return;
        };
        let note = self.folder.note(self.device, &path, why);
        self.contents.rejected.push(note);
    }

    /// Notes what the folder's index lists and its directories do not.
    fn compare(&mut self) {
        let Some(list) = &self.list else {
            return;
        };
        let there: HashSet<&[u8]> = self
            .contents
            .files
            .iter()
            .filter_map(|file| file.path.name())
            .map(|name| MaildirName::parse(name).base)
            .collect();
        self.record.listed = Some(list.names.len() as u64);
        let gone = list.names.keys();
        self.record.listed_but_gone = gone
            .filter(|name| !there.contains(name.as_slice()))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
    }

    /// What the index lists and is not there was in a directory that cannot be read: it is lost,
    /// and was not deleted.
    fn count_as_lost(&mut self) {
        let cur = self.folder.path.join(b"cur");
        for name in std::mem::take(&mut self.record.listed_but_gone) {
            let mail = MailFile {
                path: cur.join(name.as_bytes()),
                inode: InodeNumber(0),
                owner: self.folder.owner.clone(),
                doubt: self.folder.doubt.clone(),
                folder: self.folder.name.clone(),
                keywords: Vec::new(),
                part: None,
                known: Known::of_name(&MaildirName::parse(name.as_bytes())),
            };
            let why =
                "the folder's index lists it, and a part of the directory that held it is lost";
            let note = FileNote::of_file(&mail, self.device, why.to_owned());
            self.contents.lost.push(note);
        }
    }
}
