//! What is in one maildir folder.

use evidence::{ByteOffset, Loss, ReadAt, ReadAtExt};
use filesystem::{File, FileKind, Filesystem, FsPath, InodeNumber};

use super::{Folder, Keywords, MaildirName, Uidlist};
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
    /// Files that are no messages.
    pub rejected: Vec<FileNote>,
    /// Directories and indexes that could not be read.
    pub losses: Vec<Loss>,
}

impl Folder {
    /// Lists the folder, which lies on `device`.
    pub fn list(&self, fs: &dyn Filesystem, device: &str) -> Contents {
        let keywords = self
            .read_index(fs, b"dovecot-keywords")
            .map(|text| Keywords::parse(&text))
            .unwrap_or_default();
        let mut contents = Contents {
            record: FolderRecord {
                device: device.to_owned(),
                path: self.path.to_string(),
                owner: self.owner.clone(),
                folder: self.name.clone(),
                present: 0,
                listed: None,
                listed_but_gone: Vec::new(),
            },
            files: Vec::new(),
            rejected: Vec::new(),
            losses: Vec::new(),
        };
        for directory in [&b"cur"[..], b"new", b"tmp"] {
            self.list_directory(fs, directory, &keywords, &mut contents);
        }
        if let Some(list) = self
            .read_index(fs, b"dovecot-uidlist")
            .and_then(|text| Uidlist::parse(&text))
        {
            compare(&list, &mut contents);
        }
        contents
    }

    fn list_directory(
        &self,
        fs: &dyn Filesystem,
        directory: &[u8],
        keywords: &Keywords,
        contents: &mut Contents,
    ) {
        let Some(number) = self.entry(directory) else {
            return;
        };
        let inode = match fs.inode(number) {
            Ok(inode) if inode.kind == FileKind::Directory => inode,
            Ok(_) => return,
            Err(loss) => {
                contents.losses.push(loss);
                return;
            }
        };
        let path = self.path.join(directory);
        let mut listing = fs.entries(&inode);
        contents.losses.append(&mut listing.losses);
        for entry in listing.entries {
            let path = path.join(&entry.name);
            let rejected = |why: &str| FileNote {
                device: contents.record.device.clone(),
                path: path.to_string(),
                owner: self.owner.clone(),
                folder: self.name.clone(),
                why: why.to_owned(),
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
    }

    /// The contents of an index file of the folder, if it is there and can be read whole.
    fn read_index(&self, fs: &dyn Filesystem, name: &[u8]) -> Option<Vec<u8>> {
        let inode = fs.inode(self.entry(name)?).ok()?;
        if inode.kind != FileKind::Regular || inode.size > MAX_INDEX_BYTES {
            return None;
        }
        let file = File::open(fs, &inode);
        file.read_whole(ByteOffset::ZERO, usize::try_from(file.len()).ok()?)
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
