//! Which directories and files of a file system are mail stores.

use std::collections::{HashMap, HashSet};

use evidence::Loss;
use filesystem::{
    DirEntry, Entry, FileKind, Filesystem, FsPath, InodeNumber, Standing, Walk, walk,
};

use super::{Folder, Kind, place_in_tree};
use crate::account::{AccountRules, Owner};
use crate::{cyrus, dbox, maildir, mbox, mh, zimbra};

/// The mail stores of a file system.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// The folders, each once, in the order of their paths.
    pub folders: Vec<Folder>,
    /// Files that lost their directory and their name, any of which may be a message.
    pub loose: Vec<(FsPath, InodeNumber)>,
    /// Deleted files that are in none of the folders: their blocks may have been messages'.
    pub deleted: Vec<InodeNumber>,
    /// What of the tree could not be read.
    pub losses: Vec<Loss>,
}

/// Finds all mail stores of `fs`.
pub fn find(fs: &dyn Filesystem, rules: &AccountRules) -> Stores {
    let mut search = Search {
        fs,
        rules,
        stores: Stores::default(),
        claimed: HashSet::new(),
        roots: HashMap::new(),
    };
    let mut tree = walk(fs);
    while let Some(step) = tree.next() {
        match step {
            Ok(entry) if entry.inode.kind == FileKind::Directory => {
                search.directory(&entry, &mut tree);
            }
            Ok(entry) => search.file(entry),
            Err(loss) => search.stores.losses.push(loss),
        }
    }
    dbox::join_alternatives(fs, &mut search.stores.folders);
    maildir::leave_to_folders(fs, &mut search.stores.folders);
    search.stores
}

/// The state of the walk.
struct Search<'a> {
    fs: &'a dyn Filesystem,
    rules: &'a AccountRules,
    stores: Stores,
    /// Directories whose files belong to a folder that was found.
    claimed: HashSet<FsPath>,
    /// The mailboxes (not their subfolders) by path, with their owners.
    roots: HashMap<FsPath, Option<Owner>>,
}

impl Search<'_> {
    /// Judges a directory, each before what is in it.
    fn directory(&mut self, entry: &Entry, tree: &mut Walk<'_>) {
        if self.is_part_of_folder(&entry.path) {
            tree.prune();
            return;
        }
        let Some(children) = tree.children() else {
            return;
        };
        if inside_of(&entry.path, &self.roots).is_some()
            && maildir::is_other_mailbox(&entry.path, children)
        {
            // What lies in it is not that mailbox's, whether it is a folder itself or not.
            self.roots.insert(entry.path.clone(), None);
        }
        let Some(found) = self.recognise(&entry.path, children) else {
            return;
        };
        let entries = children.to_vec();
        let Found {
            kind,
            place,
            is_bare,
        } = found;
        if place.mailbox == entry.path {
            self.roots.insert(entry.path.clone(), place.owner.clone());
        }
        self.claimed.insert(entry.path.clone());
        self.stores.folders.push(Folder {
            path: entry.path.clone(),
            owner: place.owner,
            name: place.name,
            doubt: None,
            kind,
            mailbox: place.mailbox,
            is_bare,
            inode: entry.inode.number,
            entries,
            others: Vec::new(),
        });
        if is_bare || matches!(kind, Kind::Mdbox | Kind::Zimbra) {
            // The listing looks into it itself.
            tree.prune();
        }
    }

    /// Whether a directory belongs to a folder that was found, as `cur` of a maildir does.
    fn is_part_of_folder(&self, path: &FsPath) -> bool {
        path.name().is_some_and(maildir::is_message_directory)
            && path
                .parent()
                .is_some_and(|above| self.claimed.contains(&above))
    }

    /// What the directory at `path`, which lists `children`, is as a store.
    fn recognise(&self, path: &FsPath, children: &[DirEntry]) -> Option<Found> {
        let (fs, roots, rules) = (self.fs, &self.roots, self.rules);
        let found = |kind, place, is_bare| {
            Some(Found {
                kind,
                place,
                is_bare,
            })
        };
        let inside = inside_of(path, roots).is_some();
        if maildir::is_folder(fs, children, inside) || maildir::is_bare(path, children) {
            let is_bare = !maildir::is_folder(fs, children, inside);
            let place = maildir::place(path, children, roots, rules);
            return found(Kind::Maildir, place, is_bare);
        }
        if let Some(is_bare) = dbox::is_multi(fs, path, children) {
            return found(Kind::Mdbox, dbox::place_multi(path, rules), is_bare);
        }
        if dbox::is_single(path, children) {
            return found(Kind::Sdbox, dbox::place_single(path, rules), false);
        }
        if cyrus::is_folder(path, children) {
            return found(Kind::Cyrus, cyrus::place(fs, path, children, rules), false);
        }
        if zimbra::is_mailbox(fs, path, children) {
            return found(Kind::Zimbra, zimbra::place(path), false);
        }
        if mh::is_folder(fs, children) {
            return found(Kind::Mh, place_in_tree(path, rules), false);
        }
        None
    }

    /// Judges a file that is in none of the message directories.
    fn file(&mut self, entry: Entry) {
        if entry.inode.kind != FileKind::Regular {
            return;
        }
        let is_deleted = entry.inode.standing == Standing::Deleted;
        let parent = entry.path.parent();
        let is_claimed = parent.is_some_and(|parent| self.claimed.contains(&parent));
        // An mbox lies anywhere, also beside the folders of another store; but the indexes of a
        // folder are none, and of what was deleted under no name blocks may be another file's since.
        let is_nameless = maildir::is_nameless(&entry.path);
        let is_no_store = is_claimed || is_deleted && is_nameless;
        if !is_no_store && let Some(place) = self.store_file(&entry) {
            self.stores.folders.push(place);
            return;
        }
        if is_deleted {
            self.stores.deleted.push(entry.inode.number);
        }
        if is_nameless {
            self.stores.loose.push((entry.path, entry.inode.number));
        }
    }

    /// The folder that a file is by itself: an mbox, or a file of a dbox that lost its directory.
    fn store_file(&self, entry: &Entry) -> Option<Folder> {
        let (kind, place) = if mbox::is_store(self.fs, entry) {
            (Kind::Mbox, place_in_tree(&entry.path, self.rules))
        } else if maildir::is_below_orphans(&entry.path) && dbox::is_file(self.fs, &entry.inode) {
            (Kind::Mdbox, dbox::place_multi(&entry.path, self.rules))
        } else {
            return None;
        };
        Some(Folder {
            path: entry.path.clone(),
            owner: place.owner,
            name: place.name,
            doubt: None,
            kind,
            mailbox: place.mailbox,
            is_bare: true,
            inode: entry.inode.number,
            entries: Vec::new(),
            others: Vec::new(),
        })
    }
}

/// A store that was recognised.
struct Found {
    kind: Kind,
    place: Placed,
    is_bare: bool,
}

/// Whose folder a directory is, what the folder is called, and which mailbox it is in.
pub(crate) struct Placed {
    pub(crate) owner: Option<Owner>,
    pub(crate) name: String,
    pub(crate) mailbox: FsPath,
}

/// The mailbox that a directory lies in, and its owner.
pub(crate) fn inside_of<'a>(
    path: &FsPath,
    roots: &'a HashMap<FsPath, Option<Owner>>,
) -> Option<(FsPath, &'a Option<Owner>)> {
    let mut above = path.parent();
    while let Some(ancestor) = above {
        if let Some(owner) = roots.get(&ancestor) {
            return Some((ancestor, owner));
        }
        above = ancestor.parent();
    }
    None
}
