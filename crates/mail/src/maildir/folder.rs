//! What is in one maildir folder.

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt, ReadAtExt};
use filesystem::{DirEntry, File, FileKind, Filesystem, FsPath, InodeNumber};

use super::{Folder, Keywords, ListedFolder, MaildirName, Uidlist, parse_list_log};
use crate::account::Owner;
use crate::record::{FileNote, FolderRecord};

/// Index files are read up to this length; a uidlist of a million messages has some 80 MB.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// A file that may be a message.
#[derive(Clone, Debug)]
pub struct MailFile {
    /// Its path.
    pub path: FsPath,
    /// Its inode.
    pub inode: InodeNumber,
    /// Whose mailbox it is in.
    pub owner: Option<Owner>,
    /// The folder that it is in.
    pub folder: String,
    /// Its keywords, sorted.
    pub keywords: Vec<String>,
}

/// What one folder holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The folder itself and what its index says.
    pub record: FolderRecord,
    /// Its messages, in the order of their names.
    pub files: Vec<MailFile>,
    /// Messages that the folder's index lists, and of which the directory that held them is lost.
    pub lost: Vec<FileNote>,
    /// Files that are no messages.
    pub rejected: Vec<FileNote>,
    /// Directories and indexes that could not be read.
    pub losses: Vec<Loss>,
}

impl Folder {
    /// Lists the folder, which lies on `device`.
    pub fn list(&self, fs: &dyn Filesystem, device: &str) -> Contents {
        let mut contents = Contents {
            record: FolderRecord {
                device: device.to_owned(),
                path: self.path.to_string(),
                owner: self.owner.clone(),
                folder: self.name.clone(),
                present: 0,
                listed: None,
                listed_but_gone: Vec::new(),
                doubt: self.doubt.clone(),
            },
            files: Vec::new(),
            lost: Vec::new(),
            rejected: Vec::new(),
            losses: Vec::new(),
        };
        let mut index = |name: &[u8]| {
            self.read_index(fs, device, name).unwrap_or_else(|loss| {
                contents.losses.push(loss);
                None
            })
        };
        let keywords = index(b"dovecot-keywords").map(|text| Keywords::parse(&text));
        let keywords = keywords.unwrap_or_default();
        let list = index(b"dovecot-uidlist").and_then(|text| Uidlist::parse(&text));
        if self.is_bare {
            for entry in &self.entries {
                self.add(b"", entry, &keywords, &mut contents);
            }
            return contents;
        }
        let mut whole = true;
        for directory in [&b"cur"[..], b"new", b"tmp"] {
            whole &= self.list_directory(fs, directory, &keywords, &mut contents);
        }
        if let Some(list) = list {
            compare(&list, &mut contents);
        }
        if !whole {
            self.count_as_lost(&mut contents);
        }
        contents
    }

    /// What the index lists and is not there was in a directory that cannot be read: it is lost,
    /// and was not deleted.
    fn count_as_lost(&self, contents: &mut Contents) {
        let cur = self.path.join(b"cur");
        for name in std::mem::take(&mut contents.record.listed_but_gone) {
            let mail = MailFile {
                path: cur.join(name.as_bytes()),
                inode: InodeNumber(0),
                owner: self.owner.clone(),
                folder: self.name.clone(),
                keywords: Vec::new(),
            };
            let why =
                "the folder's index lists it, and a part of the directory that held it is lost";
            let note = FileNote::of_name(&mail, &contents.record.device, why.to_owned());
            contents.lost.push(note);
        }
    }

    /// Lists one of the directories; whether all of it could be read, as far as that is known.
    fn list_directory(
        &self,
        fs: &dyn Filesystem,
        directory: &[u8],
        keywords: &Keywords,
        contents: &mut Contents,
    ) -> bool {
        let Some(number) = self.entry(directory) else {
            // Copies of maildirs lack directories that were empty, but `cur` holds the mail.
            return directory != b"cur";
        };
        let inode = match fs.inode(number) {
            Ok(inode) if inode.kind == FileKind::Directory => inode,
            Ok(_) => return true,
            Err(loss) => {
                contents.losses.push(loss);
                return directory == b"tmp";
            }
        };
        let mut listing = fs.entries(&inode);
        let whole = listing.losses.is_empty() || directory == b"tmp";
        contents.losses.append(&mut listing.losses);
        for entry in &listing.entries {
            self.add(directory, entry, keywords, contents);
        }
        whole
    }

    /// Adds what `entry` of `directory` is; the directory is empty for the folder itself.
    fn add(
        &self,
        directory: &[u8],
        entry: &DirEntry,
        keywords: &Keywords,
        contents: &mut Contents,
    ) {
        let path = match directory {
            b"" => self.path.join(&entry.name),
            _ => self.path.join(directory).join(&entry.name),
        };
        let rejected = |why: &str| FileNote {
            device: contents.record.device.clone(),
            path: path.to_string(),
            owner: self.owner.clone(),
            folder: self.name.clone(),
            delivered: None,
            bytes: None,
            why: why.to_owned(),
            standing: filesystem::Standing::InUse,
        };
        if directory == b"tmp" {
            contents
                .rejected
                .push(rejected("in tmp: its delivery was never finished"));
        } else if entry.name.starts_with(b".") {
            contents
                .rejected
                .push(rejected("a hidden file: mail servers do not show it"));
        } else {
            contents.record.present = contents.record.present.saturating_add(1);
            let letters = MaildirName::parse(&entry.name).keywords;
            contents.files.push(MailFile {
                path,
                inode: entry.inode,
                owner: self.owner.clone(),
                folder: self.name.clone(),
                keywords: keywords.named(&letters),
            });
        }
    }

    /// The folders that the mailbox's list knows, if this is the mailbox itself.
    pub(crate) fn list_index(&self, fs: &dyn Filesystem, device: &str) -> Vec<ListedFolder> {
        if self.path != self.mailbox {
            return Vec::new();
        }
        let log = self.read_index(fs, device, b"dovecot.list.index.log");
        let log = log.ok().flatten();
        log.and_then(|log| parse_list_log(&log)).unwrap_or_default()
    }

    /// Folders of the mailbox that its list knows with messages in them, and of which none of
    /// `others` is left: known and lost, with how many messages they had.
    pub fn lost_folders(
        &self,
        fs: &dyn Filesystem,
        device: &str,
        others: &[Self],
    ) -> Vec<FolderRecord> {
        let listed = self.list_index(fs, device).into_iter();
        let there = |name: &str| {
            let mut others = others.iter();
            others.any(|other| other.mailbox == self.mailbox && other.name == name)
        };
        listed
            .filter(|listed| listed.messages.unwrap_or(0) > 0 && !there(&listed.name))
            .map(|listed| FolderRecord {
                device: device.to_owned(),
                path: self.path.join(b"dovecot.list.index.log").to_string(),
                owner: self.owner.clone(),
                folder: listed.name,
                present: 0,
                listed: listed.messages.map(u64::from),
                listed_but_gone: Vec::new(),
                doubt: None,
            })
            .collect()
    }

    /// The contents of an index file of the folder: `None` if there is none, a loss if it is
    /// there and cannot be read whole.
    pub(crate) fn read_index(
        &self,
        fs: &dyn Filesystem,
        device: &str,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Loss> {
        let Some(number) = self.entry(name) else {
            return Ok(None);
        };
        let what = self.path.join(name).to_string();
        let inode = fs.inode(number).map_err(|loss| Loss {
            what: what.clone(),
            ..loss
        })?;
        if inode.kind != FileKind::Regular {
            return Ok(None);
        }
        let lost = |cause| Loss {
            what: what.clone(),
            origin: Origin::new(device, inode.place),
            cause,
        };
        if inode.size > MAX_INDEX_BYTES {
            let why = "longer than any index of a folder".to_owned();
            return Err(lost(Cause::Unsupported(why)));
        }
        let file = File::open(fs, &inode);
        let length = usize::try_from(file.len()).unwrap_or(usize::MAX);
        match file.read_vec(ByteOffset::ZERO, length) {
            Ok((text, gaps)) => match gaps.iter().next() {
                None => Ok(Some(text)),
                Some(gap) => Err(lost(Cause::Gap(gap.cause))),
            },
            Err(error) => Err(lost(Cause::Corrupt(error.to_string()))),
        }
    }
}

/// Notes what the folder's index lists and its directories do not.
fn compare(list: &Uidlist, contents: &mut Contents) {
    let there: std::collections::HashSet<&[u8]> = contents
        .files
        .iter()
        .filter_map(|file| file.path.name())
        .map(|name| MaildirName::parse(name).base)
        .collect();
    contents.record.listed = Some(list.names.len() as u64);
    contents.record.listed_but_gone = list
        .names
        .iter()
        .filter(|name| !there.contains(name.as_slice()))
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
}
