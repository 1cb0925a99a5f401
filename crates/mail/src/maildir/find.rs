//! Maildirs in a file system.

use std::collections::{HashMap, HashSet};

use evidence::Loss;
use filesystem::{DirEntry, FileKind, Filesystem, FsPath, InodeNumber, Standing, walk};

use super::orphans;
use crate::account::{AccountRules, Owner};

/// One folder of a mailbox: a directory with `cur` or `new` in it.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The directory.
    pub path: FsPath,
    /// Whose mailbox it belongs to; `None` if no rule names anybody.
    pub owner: Option<Owner>,
    /// The folder's name with `.` between levels; `INBOX` for the mailbox itself.
    pub name: String,
    /// Why nobody is the owner though something names somebody: what contradicts what.
    pub doubt: Option<String>,
    /// The mailbox that it is a folder of.
    pub(crate) mailbox: FsPath,
    /// Whether the directory is itself a `cur` or `new` that lost its parent and its name.
    pub(crate) is_bare: bool,
    /// What the directory lists.
    pub(super) entries: Vec<DirEntry>,
}

impl Folder {
    /// The inode of `name` in this folder.
    pub(super) fn entry(&self, name: &[u8]) -> Option<InodeNumber> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.inode)
    }

    /// Whether the path that leads to it is broken: nothing above it names an account for sure.
    pub(crate) fn is_orphan(&self) -> bool {
        orphans::is_below(&self.path)
    }
}

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

/// Finds all maildir folders of `fs`.
pub fn find(fs: &dyn Filesystem, rules: &AccountRules) -> Stores {
    let mut stores = Stores::default();
    let mut found: HashSet<FsPath> = HashSet::new();
    // The mailboxes (not their subfolders) by path, with their owners.
    let mut roots: HashMap<FsPath, Option<Owner>> = HashMap::new();
    let mut tree = walk(fs);
    while let Some(step) = tree.next() {
        let entry = match step {
            Ok(entry) => entry,
            Err(loss) => {
                stores.losses.push(loss);
                continue;
            }
        };
        if entry.inode.kind != FileKind::Directory {
            stores.add_file(entry);
            continue;
        }
        let inside_folder = entry.path.name().is_some_and(is_message_directory)
            && entry
                .path
                .parent()
                .is_some_and(|above| found.contains(&above));
        if inside_folder {
            tree.prune();
            continue;
        }
        let Some(children) = tree.children() else {
            continue;
        };
        let inside = inside_of(&entry.path, &roots).is_some();
        let is_bare = !is_folder(fs, children, inside);
        if is_bare && !orphans::is_bare(&entry.path, children) {
            continue;
        }
        let place = place(&entry.path, children, &roots, rules);
        if place.mailbox == entry.path {
            roots.insert(entry.path.clone(), place.owner.clone());
        }
        found.insert(entry.path.clone());
        stores.folders.push(Folder {
            path: entry.path,
            owner: place.owner,
            name: place.name,
            doubt: None,
            mailbox: place.mailbox,
            is_bare,
            entries: children.to_vec(),
        });
        if is_bare {
            tree.prune();
        }
    }
    stores
}

impl Stores {
    /// Notes a file that is in none of the message directories.
    fn add_file(&mut self, entry: filesystem::Entry) {
        if entry.inode.kind != FileKind::Regular {
            return;
        }
        if entry.inode.standing == Standing::Deleted {
            self.deleted.push(entry.inode.number);
        }
        if orphans::is_nameless(&entry.path) {
            self.loose.push((entry.path, entry.inode.number));
        }
    }
}

/// Whether a directory that lists `children` is a maildir folder: it has a directory `cur`, or a
/// `new` beside a `tmp`, since `new` alone is a common name. Inside a mailbox one is enough.
/// Copies of maildirs often lack the directories that were empty.
fn is_folder(fs: &dyn Filesystem, children: &[DirEntry], inside: bool) -> bool {
    // What cannot be read may well be a directory.
    let is_directory = |entry: &DirEntry| {
        fs.inode(entry.inode)
            .map_or(true, |inode| inode.kind == FileKind::Directory)
    };
    let has = |name: &[u8]| {
        children
            .iter()
            .any(|entry| entry.name == name && is_directory(entry))
    };
    let (cur, new) = (has(b"cur"), has(b"new"));
    cur || (new && (inside || has(b"tmp")))
}

/// The mailbox that a directory lies in, and its owner.
fn inside_of<'a>(
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

fn is_message_directory(name: &[u8]) -> bool {
    matches!(name, b"cur" | b"new" | b"tmp")
}

/// Whose folder a directory is, what the folder is called, and which mailbox it is in.
struct Placed {
    owner: Option<Owner>,
    name: String,
    mailbox: FsPath,
}

/// Places the folder at `path`, which lists `children`.
///
/// Inside a mailbox that has an owner every folder is the owner's. Inside one that has none, a
/// directory that a rule gives to somebody is a mailbox of its own: `vmail/example.org` may
/// hold stray mail beside its accounts.
fn place(
    path: &FsPath,
    children: &[DirEntry],
    roots: &HashMap<FsPath, Option<Owner>>,
    rules: &AccountRules,
) -> Placed {
    if let Some((mailbox, owner)) = inside_of(path, roots) {
        let depth = mailbox.names().len();
        let own = rules.owner_inside(path.names(), depth);
        if owner.is_some() || own.is_none() {
            let below = path.names().get(depth..);
            return Placed {
                owner: owner.clone(),
                name: folder_name(below.unwrap_or_default()),
                mailbox,
            };
        }
        return Placed {
            owner: own,
            name: INBOX.to_owned(),
            mailbox: path.clone(),
        };
    }
    // A subfolder whose mailbox lost its own `cur` and `new`, and perhaps its name.
    if let (Some(name), Some(parent)) = (path.name(), path.parent())
        && name.starts_with(b".")
    {
        let owner = rules.owner_of(parent.names());
        if owner.is_some() || orphans::is_below(path) {
            return Placed {
                owner,
                name: folder_name(&[name.to_vec()]),
                mailbox: parent,
            };
        }
    }
    let owner = rules.owner_of(path.names());
    let known = owner.is_some() || !orphans::is_below(path);
    let name = match path.name() {
        Some(name) if !known && !orphans::is_mailbox(name, children) => {
            if orphans::is_nameless(path) {
                orphans::RECOVERED.to_owned()
            } else {
                folder_name(&[name.to_vec()])
            }
        }
        _ => INBOX.to_owned(),
    };
    Placed {
        owner,
        name,
        mailbox: path.clone(),
    }
}

/// What the mailbox itself is called as a folder.
const INBOX: &str = "INBOX";

/// The name of the folder at `below`, relative to its mailbox: `.Archive.2014` in Maildir++,
/// `Archive/2014` where directories are nested (Dovecot's LAYOUT=fs).
fn folder_name(below: &[Vec<u8>]) -> String {
    let levels: Vec<String> = below
        .iter()
        .map(|name| {
            let text: String = String::from_utf8_lossy(name)
                .chars()
                .map(|c| {
                    if c.is_control() || c == char::REPLACEMENT_CHARACTER {
                        '_'
                    } else {
                        c
                    }
                })
                .collect();
            // A dot in the name of a nested directory stays: in Maildir++ it reads as one more
            // level, but the name can still be recognised.
            text.strip_prefix('.').unwrap_or(&text).to_owned()
        })
        .collect();
    levels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FsPath {
        text.split('/')
            .filter(|name| !name.is_empty())
            .fold(FsPath::root(), |path, name| path.join(name.as_bytes()))
    }

    fn placed(root: &str, folder: &str) -> (Option<String>, String) {
        let rules = AccountRules::default();
        let root = path(root);
        let roots = HashMap::from([(root.clone(), rules.owner_of(root.names()))]);
        let placed = place(&path(folder), &[], &roots, &rules);
        let owner = placed.owner.map(|owner| owner.account.to_string());
        (owner, placed.name)
    }

    #[test]
    fn folders_belong_to_the_mailbox_that_they_are_in() {
        let root = "v/quarry.example/ada/Maildir";
        let ada = Some("ada@quarry.example".to_owned());
        for (sub, want) in [
            (".Archive.2014", "Archive.2014"),
            ("Archive/2014.Q1", "Archive.2014.Q1"),
            (".Entw&APw-rfe", "Entw&APw-rfe"),
            ("john.smith/Sent", "john.smith.Sent"),
        ] {
            let got = placed(root, &format!("{root}/{sub}"));
            assert_eq!(got, (ada.clone(), want.to_owned()));
        }
    }

    #[test]
    fn accounts_under_a_domain_that_holds_mail_itself_stay_accounts() {
        let got = placed("v/quarry.example", "v/quarry.example/ada");
        assert_eq!(
            got,
            (Some("ada@quarry.example".to_owned()), "INBOX".to_owned())
        );
        let stray = placed("v/quarry.example", "v/quarry.example/.Sent");
        assert_eq!(stray, (None, "Sent".to_owned()));
    }

    #[test]
    fn a_folder_named_like_an_account_stays_its_mailboxes_own() {
        let got = placed(
            "home/ada/Maildir",
            "home/ada/Maildir/clients/acme.example/bob",
        );
        assert_eq!(got, (None, "clients.acme.example.bob".to_owned()));
    }

    #[test]
    fn what_lost_its_parents_is_called_inbox_only_if_something_says_so() {
        let name = |folder: &str, children: &[&str]| {
            let entry = |name: &&str| DirEntry {
                name: name.as_bytes().to_vec(),
                inode: InodeNumber(9),
            };
            let children: Vec<DirEntry> = children.iter().map(entry).collect();
            let rules = AccountRules::default();
            place(&path(folder), &children, &HashMap::new(), &rules).name
        };
        let plain = ["cur", "new", "tmp"];
        assert_eq!(name("#orphans/#12", &plain), "Recovered");
        assert_eq!(name("#orphans/#12", &["cur", "maildirfolder"]), "Recovered");
        for mark in ["subscriptions", "dovecot-uidvalidity", ".Sent"] {
            assert_eq!(name("#orphans/#12", &["cur", mark]), "INBOX");
        }
        assert_eq!(name("#orphans/#12/Maildir", &plain), "INBOX");
        assert_eq!(name("#orphans/#12/.Sent", &plain), "Sent");
        assert_eq!(name("#orphans/#12/a.example/ada", &plain), "INBOX");
    }

    #[test]
    fn a_subfolder_alone_still_names_its_mailbox() {
        let got = placed("elsewhere", "v/quarry.example/ada/Maildir/.Sent");
        assert_eq!(
            got,
            (Some("ada@quarry.example".to_owned()), "Sent".to_owned())
        );
    }
}
