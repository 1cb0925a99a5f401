//! Mail stores, whatever their format: one path from a file system to messages.
//!
//! [`find`] walks through a file system once and recognises stores; each gives [`Folder`]s, the
//! units that are listed at a time. [`Folder::list`] gives the messages of one as [`MailFile`]s:
//! which bytes of which file are the message, and what the store knows of it. From there on
//! nothing depends on the format: [`crate::content`] reads and judges them.
//!
//! A format is a module of the crate with what recognises it and what lists it.

mod file;
mod find;
mod name;
mod part;
mod place;

use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt, ReadAtExt};
use filesystem::{DirEntry, File, FileKind, Filesystem, FsPath, InodeNumber};

pub use file::{Known, MailFile};
pub(crate) use find::{Placed, inside_of};
pub use find::{Stores, find};
pub use name::level as folder_level;
pub(crate) use name::{INBOX, folder_name, level, without_prefix};
pub use part::Part;
pub(crate) use part::{Wiped, wiped_sectors};
pub(crate) use place::place_in_tree;

use crate::account::Owner;
use crate::maildir::{self, ListedFolder};
use crate::record::{FileNote, FolderRecord};
use crate::{cyrus, dbox, mbox, mh, zimbra};

/// Index files are read up to this length; a uidlist of a million messages has some 80 MB.
const MAX_INDEX_BYTES: u64 = 256 << 20;

/// The format of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Maildir and Maildir++, of any server.
    Maildir,
    /// A file of messages, each behind a line `From `.
    Mbox,
    /// Dovecot's single-dbox: `u.N`, a message a file.
    Sdbox,
    /// Dovecot's multi-dbox: `m.N`, many messages a file, with the indexes that sort them.
    Mdbox,
    /// Cyrus: `N.`, a message a file, beside `cyrus.header` and `cyrus.index`.
    Cyrus,
    /// MH: files whose names are numbers.
    Mh,
    /// Zimbra: `ID-REVISION.msg` below `msg`; all else is in its database.
    Zimbra,
}

/// What is listed at a time: a folder of a mailbox, or a mailbox whose store keeps all its folders
/// in the same files.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The directory, or the file of an mbox.
    pub path: FsPath,
    /// Whose mailbox it belongs to; `None` if no rule names anybody.
    pub owner: Option<Owner>,
    /// The folder's name with `.` between levels; `INBOX` for the mailbox itself.
    pub name: String,
    /// Why nobody is the owner though something names somebody: what contradicts what.
    pub doubt: Option<Arc<str>>,
    /// The format.
    pub kind: Kind,
    /// The mailbox that it is a folder of.
    pub(crate) mailbox: FsPath,
    /// Whether the directory is itself one of those that hold messages, and lost its parent and
    /// its name.
    pub(crate) is_bare: bool,
    /// Its inode.
    pub(crate) inode: InodeNumber,
    /// What the directory lists; nothing for a file.
    pub(crate) entries: Vec<DirEntry>,
    /// Directories of the same store that lie elsewhere: see [`dbox::join_alternatives`].
    pub(crate) others: Vec<(FsPath, InodeNumber)>,
}

/// What a unit of a store holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The folders in it, and what their indexes say.
    pub folders: Vec<FolderRecord>,
    /// Its messages, in an order that the store alone decides.
    pub files: Vec<MailFile>,
    /// Messages that an index lists, and of which what held them is lost.
    pub lost: Vec<FileNote>,
    /// Files, or parts of them, that are no messages.
    pub rejected: Vec<FileNote>,
    /// Directories and indexes that could not be read.
    pub losses: Vec<Loss>,
}

impl Folder {
    /// Lists what is in it; it lies on `device`.
    pub fn list(&self, fs: &dyn Filesystem, device: &str) -> Contents {
        match self.kind {
            Kind::Maildir => maildir::list(self, fs, device),
            Kind::Mbox => mbox::list(self, fs, device),
            Kind::Sdbox => dbox::list_single(self, fs, device),
            Kind::Mdbox => dbox::list_multi(self, fs, device),
            Kind::Cyrus => cyrus::list(self, fs, device),
            Kind::Mh => mh::list(self, fs, device),
            Kind::Zimbra => zimbra::list(self, fs, device),
        }
    }

    /// Folders of the mailbox that its list knows with messages in them, and of which none of
    /// `others` is left: known and lost, with how many messages they had.
    pub fn lost_folders(
        &self,
        fs: &dyn Filesystem,
        device: &str,
        others: &[Self],
    ) -> Vec<FolderRecord> {
        let there = |name: &str| {
            let mut others = others.iter();
            others.any(|other| other.mailbox == self.mailbox && other.name == name)
        };
        self.list_index(fs, device)
            .into_iter()
            .filter(|listed| listed.messages.unwrap_or(0) > 0 && !there(&listed.name))
            .map(|listed| FolderRecord {
                path: self.path.join(b"dovecot.list.index.log").to_string(),
                listed: listed.messages.map(u64::from),
                folder: listed.name,
                ..self.record(device)
            })
            .collect()
    }

    /// The folders that the mailbox's list knows, if this is the mailbox itself.
    pub(crate) fn list_index(&self, fs: &dyn Filesystem, device: &str) -> Vec<ListedFolder> {
        if self.kind != Kind::Maildir || self.path != self.mailbox {
            return Vec::new();
        }
        let read = |name: &[u8]| self.read_index(fs, device, name).ok().flatten();
        let log = read(b"dovecot.list.index.log");
        maildir::parse_list(read(b"dovecot.list.index").as_deref(), log.as_deref())
            .unwrap_or_default()
    }

    /// An empty record of it.
    pub(crate) fn record(&self, device: &str) -> FolderRecord {
        FolderRecord {
            device: device.to_owned(),
            path: self.path.to_string(),
            owner: self.owner.clone(),
            folder: self.name.clone(),
            mailbox: self.owner.is_none().then(|| self.mailbox.to_string()),
            present: 0,
            listed: None,
            listed_but_gone: Vec::new(),
            doubt: self.doubt.as_deref().map(str::to_owned),
        }
    }

    /// A file at `path` that is not handed over.
    pub(crate) fn note(&self, device: &str, path: &FsPath, why: &str) -> FileNote {
        FileNote {
            device: device.to_owned(),
            path: path.to_string(),
            owner: self.owner.clone(),
            folder: self.name.clone(),
            delivered: None,
            bytes: None,
            standing: filesystem::Standing::InUse,
            is_encrypted: false,
            why: why.to_owned(),
            needs: None,
        }
    }

    /// The inode of `name` in this folder.
    pub(crate) fn entry(&self, name: &[u8]) -> Option<InodeNumber> {
        find_entry(&self.entries, name)
    }

    /// Whether the path that leads to it is broken: nothing above it names an account for sure.
    pub(crate) fn is_orphan(&self) -> bool {
        maildir::is_below_orphans(&self.path)
    }

    /// Whether only what is inside can say whose it is: its path is broken, or is one of a format
    /// whose paths name nobody.
    pub(crate) fn wants_evidence(&self) -> bool {
        let nobodys = self.owner.is_none() && matches!(self.kind, Kind::Mbox | Kind::Zimbra);
        self.is_orphan() || nobodys
    }

    /// The contents of an index file of the folder: `None` if there is none, a loss if it is
    /// there and cannot be read whole.
    pub(crate) fn read_index(
        &self,
        fs: &dyn Filesystem,
        device: &str,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>, Loss> {
        match self.entry(name) {
            Some(number) => read_file(fs, device, &self.path.join(name), number),
            None => Ok(None),
        }
    }
}

/// The inode at `path`.
pub(crate) fn lookup(fs: &dyn Filesystem, path: &FsPath) -> Option<InodeNumber> {
    let mut number = fs.root();
    for name in path.names() {
        let inode = fs.inode(number).ok()?;
        number = find_entry(&fs.entries(&inode).entries, name)?;
    }
    Some(number)
}

/// The inode of `name` in a directory that lists `entries`.
pub(crate) fn find_entry(entries: &[DirEntry], name: &[u8]) -> Option<InodeNumber> {
    let entry = entries.iter().find(|entry| entry.name == name)?;
    Some(entry.inode)
}

/// What a directory lists; nothing if it is none or cannot be read, which goes to `losses`.
pub(crate) fn entries_of(
    fs: &dyn Filesystem,
    number: InodeNumber,
    losses: &mut Vec<Loss>,
) -> Vec<DirEntry> {
    match fs.inode(number) {
        Ok(inode) if inode.kind == FileKind::Directory => {
            let mut listing = fs.entries(&inode);
            losses.append(&mut listing.losses);
            listing.entries
        }
        Ok(_) => Vec::new(),
        Err(loss) => {
            losses.push(loss);
            Vec::new()
        }
    }
}

/// The contents of the index file at `path`: `None` if it is no file, a loss if it cannot be read
/// whole.
pub(crate) fn read_file(
    fs: &dyn Filesystem,
    device: &str,
    path: &FsPath,
    number: InodeNumber,
) -> Result<Option<Vec<u8>>, Loss> {
    let what = path.to_string();
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
