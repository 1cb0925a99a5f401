//! Maildirs in a file system.

use std::collections::{HashMap, HashSet};

use evidence::Loss;
use filesystem::{DirEntry, FileKind, Filesystem, FsPath, InodeNumber, walk};

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
}

/// Finds all maildir folders of `fs`, each once, in the order of their paths, and what of its
/// tree could not be read.
pub fn find(fs: &dyn Filesystem, rules: &AccountRules) -> (Vec<Folder>, Vec<Loss>) {
    let mut folders: Vec<Folder> = Vec::new();
    let mut losses = Vec::new();
    let mut found: HashSet<FsPath> = HashSet::new();
    // The mailboxes (not their subfolders) by path, with their owners.
    let mut roots: HashMap<FsPath, Option<Owner>> = HashMap::new();
    let mut tree = walk(fs);
    while let Some(step) = tree.next() {
        let entry = match step {
            Ok(entry) => entry,
            Err(loss) => {
                losses.push(loss);
                continue;
            }
        };
        if entry.inode.kind != FileKind::Directory {
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
        if !is_folder(fs, children, inside) {
            continue;
        }
        let entries = children.to_vec();
        let (owner, name) = place(&entry.path, &roots, rules);
        if name == "INBOX" {
            roots.insert(entry.path.clone(), owner.clone());
        }
        found.insert(entry.path.clone());
        folders.push(Folder {
            path: entry.path,
            owner,
            name,
            entries,
        });
    }
    (folders, losses)
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

/// Whose folder a directory is, and what the folder is called.
///
/// Inside a mailbox that has an owner every folder is the owner's. Inside one that has none, a
/// directory that a rule gives to somebody is a mailbox of its own: `vmail/example.org` may
/// hold stray mail beside its accounts.
fn place(
    path: &FsPath,
    roots: &HashMap<FsPath, Option<Owner>>,
    rules: &AccountRules,
) -> (Option<Owner>, String) {
    if let Some((mailbox, owner)) = inside_of(path, roots) {
        let depth = mailbox.names().len();
        let own = rules.owner_inside(path.names(), depth);
        if owner.is_some() || own.is_none() {
            let below = path.names().get(depth..);
            return (owner.clone(), folder_name(below.unwrap_or_default()));
        }
        return (own, "INBOX".to_owned());
    }
    // A subfolder whose mailbox lost its own `cur` and `new`.
    if let (Some(name), Some(parent)) = (path.name(), path.parent())
        && name.starts_with(b".")
        && let Some(owner) = rules.owner_of(parent.names())
    {
        return (Some(owner), folder_name(&[name.to_vec()]));
    }
    (rules.owner_of(path.names()), "INBOX".to_owned())
}

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
        let (owner, name) = place(&path(folder), &roots, &rules);
        (owner.map(|owner| owner.account.to_string()), name)
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
    fn a_subfolder_alone_still_names_its_mailbox() {
        let got = placed("elsewhere", "v/quarry.example/ada/Maildir/.Sent");
        assert_eq!(
            got,
            (Some("ada@quarry.example".to_owned()), "Sent".to_owned())
        );
    }
}
