//! Where in a tree of files a mailbox begins.

use filesystem::FsPath;

use super::find::Placed;
use super::name::{INBOX, folder_name};
use crate::account::AccountRules;
use crate::maildir::{RECOVERED, is_nameless};

/// What programs call the file or directory of the inbox.
const INBOXES: [&str; 5] = ["mbox", "inbox", "mailbox", "mbox.gz", "incoming"];
/// What programs call the directory of the folders.
const DIRECTORIES: [&str; 6] = ["mail", "mailboxes", "folders", "mboxes", "mbox", "imap"];

/// Places the folder at `path` of a store whose folders are a tree of files or directories.
///
/// A directory above it names the account, and what is below that is the folder; or it is itself an
/// account's inbox, as the files in `/var/mail` are.
pub(crate) fn place_in_tree(path: &FsPath, rules: &AccountRules) -> Placed {
    let names = path.names();
    // The outermost: a folder of a mailbox may have the looks of an account.
    let mut directory = FsPath::root();
    for (depth, name) in names.iter().enumerate() {
        if depth > 0
            && let Some(owner) = rules.owner_of(directory.names())
        {
            let below = names.get(depth..);
            return Placed {
                owner: Some(owner),
                name: name_of(path, below.unwrap_or_default()),
                mailbox: directory,
            };
        }
        directory = directory.join(name);
    }
    let is_inbox = path.name().is_some_and(is_inbox);
    if let Some(owner) = rules.owner_of(names).filter(|_| !is_inbox) {
        return Placed {
            owner: Some(owner),
            name: INBOX.to_owned(),
            mailbox: path.clone(),
        };
    }
    // Nothing says where the mailbox begins, but its directory may have a usual name.
    let lower: Vec<String> = names.iter().map(|name| lower(name)).collect();
    let root = lower
        .iter()
        .rposition(|name| DIRECTORIES.contains(&name.as_str()));
    let last = names.len().saturating_sub(1);
    let root = root.filter(|at| *at < last).unwrap_or(last);
    // Where each file is somebody's inbox.
    let is_spool = matches!(lower.as_slice(), [.., above, mail, _]
        if mail == "mail" && (above == "var" || above == "spool"));
    Placed {
        owner: None,
        name: if is_spool {
            INBOX.to_owned()
        } else {
            name_of(path, names.get(root..).unwrap_or_default())
        },
        // What lies beside it may be somebody else's, as in `/var/mail`: it speaks for itself.
        mailbox: path.clone(),
    }
}

/// The name of the folder that lies `below` its mailbox.
fn name_of(path: &FsPath, below: &[Vec<u8>]) -> String {
    if is_nameless(path) {
        return RECOVERED.to_owned();
    }
    let below = match below {
        [directory, rest @ ..]
            if !rest.is_empty() && DIRECTORIES.contains(&lower(directory).as_str()) =>
        {
            rest
        }
        below => below,
    };
    if let [only] = below
        && is_inbox(only)
    {
        return INBOX.to_owned();
    }
    // Some clients keep the folders below `Name` in a directory `Name.sbd`.
    let levels: Vec<Vec<u8>> = below
        .iter()
        .map(|name| name.strip_suffix(b".sbd").unwrap_or(name).to_vec())
        .collect();
    folder_name(&levels)
}

fn is_inbox(name: &[u8]) -> bool {
    INBOXES.contains(&lower(name).as_str())
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_folders_of_the_account_that_the_path_names() {
        let rules = AccountRules::default();
        let table = [
            ("srv/a.example/ada/mbox", Some("ada@a.example"), "INBOX"),
            ("srv/a.example/ada/mail/Sent", Some("ada@a.example"), "Sent"),
            (
                "srv/a.example/ada/mail/Archive/2014",
                Some("ada@a.example"),
                "Archive.2014",
            ),
            (
                "srv/a.example/ada/Mail/Entw\u{fc}rfe",
                Some("ada@a.example"),
                "Entw&APw-rfe",
            ),
            (
                "srv/a.example/ada/mail/clients/b.example/bob",
                Some("ada@a.example"),
                "clients.b.example.bob",
            ),
            ("var/mail/a.example/ada", Some("ada@a.example"), "INBOX"),
            ("var/mail/ada@a.example", Some("ada@a.example"), "INBOX"),
            ("home/ada/mail/lists/rust", None, "lists.rust"),
            ("home/ada/mbox", None, "INBOX"),
            ("var/mail/ada", None, "INBOX"),
            ("var/spool/mail/ada", None, "INBOX"),
            ("#orphans/#12", None, "Recovered"),
            (
                "#orphans/#12/a.example/ada/mail/Old.sbd/Older",
                Some("ada@a.example"),
                "Old.Older",
            ),
        ];
        for (text, owner, name) in table {
            let names = text.split('/');
            let path = names.fold(FsPath::root(), |path, name| path.join(name.as_bytes()));
            let placed = place_in_tree(&path, &rules);
            let got = placed.owner.map(|owner| owner.account.to_string());
            assert_eq!(
                (got.as_deref(), placed.name.as_str()),
                (owner, name),
                "{text}"
            );
        }
    }
}
