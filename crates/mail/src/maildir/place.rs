//! Which directories are maildir folders, and whose.

use std::collections::HashMap;

use filesystem::{DirEntry, FileKind, Filesystem, FsPath};

use super::orphans;
use crate::account::{AccountRules, Owner};
use crate::store::{INBOX, Placed, folder_name, inside_of};

/// Whether a directory that lists `children` is a maildir folder: it has a directory `cur`, or a
/// `new` beside a `tmp`, since `new` alone is a common name. Inside a mailbox one is enough.
/// Copies of maildirs often lack the directories that were empty.
pub(crate) fn is_folder(fs: &dyn Filesystem, children: &[DirEntry], inside: bool) -> bool {
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

/// Whether a directory of this name in a folder holds its messages.
pub(crate) fn is_message_directory(name: &[u8]) -> bool {
    matches!(name, b"cur" | b"new" | b"tmp")
}

/// Places the folder at `path`, which lists `children`.
///
/// Inside a mailbox that has an owner every folder is the owner's. Inside one that has none, a
/// directory that a rule gives to somebody is a mailbox of its own: `vmail/example.org` may
/// hold stray mail beside its accounts.
///
/// Messages lie in no folder itself: a directory of them that lost its name is the `cur` or the `new`
/// of the one that it is in.
pub(crate) fn place(
    path: &FsPath,
    children: &[DirEntry],
    roots: &HashMap<FsPath, Option<Owner>>,
    rules: &AccountRules,
) -> Placed {
    if orphans::is_bare(path, children)
        && let Some(folder) = path.parent()
        && folder
            .name()
            .is_some_and(|name| !orphans::is_stand_in(name))
    {
        return place(&folder, &[], roots, rules);
    }
    if let Some((mailbox, owner)) = inside_of(path, roots) {
        if is_other_mailbox(path, children) {
            return Placed {
                owner: None,
                name: INBOX.to_owned(),
                mailbox: path.clone(),
            };
        }
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

/// Whether a directory within a mailbox that lost its name is another one: it has what only a mailbox itself has.
/// Mailboxes do not lie in each other, so what said where it lies is of another file system or another time.
pub(crate) fn is_other_mailbox(path: &FsPath, children: &[DirEntry]) -> bool {
    orphans::is_nameless(path) && orphans::is_mailbox(b"", children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::InodeNumber;

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
    fn a_mailbox_that_lost_its_name_lies_in_no_other() {
        let root = "v/quarry.example/ada/Maildir";
        let rules = AccountRules::default();
        let at = path(root);
        let roots = HashMap::from([(at.clone(), rules.owner_of(at.names()))]);
        let list = DirEntry {
            name: b"subscriptions".to_vec(),
            inode: InodeNumber(9),
        };
        let placed = |children: &[DirEntry]| {
            let placed = place(&path(&format!("{root}/#24")), children, &roots, &rules);
            let owner = placed.owner.map(|owner| owner.account.to_string());
            (owner, placed.name, placed.mailbox.to_string())
        };
        let other = format!("/{root}/#24");
        let got = placed(std::slice::from_ref(&list));
        assert_eq!(got, (None, "INBOX".to_owned(), other));
        let own = Some("ada@quarry.example".to_owned());
        assert_eq!(placed(&[]), (own, "#24".to_owned(), format!("/{root}")));
    }

    #[test]
    fn messages_of_a_directory_without_a_name_are_in_the_folder_above() {
        let message = DirEntry {
            name: b"1400000000.M1P1.mx,S=20:2,S".to_vec(),
            inode: InodeNumber(9),
        };
        let placed = |at: &str, root: &str| {
            let rules = AccountRules::default();
            let root = path(root);
            let roots = HashMap::from([(root.clone(), rules.owner_of(root.names()))]);
            let placed = place(&path(at), std::slice::from_ref(&message), &roots, &rules);
            let owner = placed.owner.map(|owner| owner.account.to_string());
            (owner, placed.name, placed.mailbox.to_string())
        };
        let root = "v/quarry.example/ada/Maildir";
        let ada = Some("ada@quarry.example".to_owned());
        for (at, owner, name, mailbox) in [
            (
                "v/quarry.example/ada/Maildir/#7",
                &ada,
                "INBOX",
                "/v/quarry.example/ada/Maildir",
            ),
            (
                "v/quarry.example/ada/Maildir/.Sent/#7",
                &ada,
                "Sent",
                "/v/quarry.example/ada/Maildir",
            ),
            (
                "#orphans/#5/Maildir/#7",
                &None,
                "INBOX",
                "/#orphans/#5/Maildir",
            ),
            ("#orphans/#5/.Sent/#7", &None, "Sent", "/#orphans/#5"),
            ("#orphans/#5/#7", &None, "Recovered", "/#orphans/#5/#7"),
            ("#orphans/#7", &None, "Recovered", "/#orphans/#7"),
        ] {
            let want = (owner.clone(), name.to_owned(), mailbox.to_owned());
            assert_eq!(placed(at, root), want, "{at}");
        }
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
