//! Cyrus IMAP: a folder a directory, a message a file `UID.`, with CR LF line ends.
//!
//! `cyrus.index` keeps flags, time of delivery, length and the SHA-1 of each message: what is left
//! of one is proved by that. Directories are hashed by a letter before `user`, as in `a/user/ada`,
//! domains lie below `domain` (`mboxname_hash` in Cyrus' imap/mboxname.c); a dot in a name is stored as
//! `^`. Since
//! 3.6 directories are called by the unique id of a mailbox, and its name stands in `cyrus.header`.

mod header;
mod index;

use std::collections::BTreeMap;

use filesystem::{DirEntry, FileKind, Filesystem, FsPath};

use header::Header;
use index::IndexRecord;

use crate::account::{AccountRules, Address, Owner};
use crate::maildir::{Flags, RECOVERED, is_keyword, is_nameless, is_placeholder};
use crate::store::{
    Contents, Folder, INBOX, Known, MailFile, Placed, find_entry, level, read_file,
};

const HEADER: &[u8] = b"cyrus.header";
const INDEX: &[u8] = b"cyrus.index";
/// Below it lie mailboxes that were deleted and not yet purged.
const DELETED: &str = "DELETED";

/// Whether a directory that lists `children` is a folder.
pub(crate) fn is_folder(path: &FsPath, children: &[DirEntry]) -> bool {
    let has = |name: &[u8]| find_entry(children, name).is_some();
    let messages = children
        .iter()
        .filter(|entry| uid_of(&entry.name).is_some());
    let messages = messages.count();
    let most = messages.saturating_mul(2) > children.len();
    let by_path = || messages > 0 && mailbox_of_path(path).is_some();
    has(HEADER) || has(INDEX) || (most && is_nameless(path)) || by_path()
}

/// The UID in a name `UID.`.
fn uid_of(name: &[u8]) -> Option<u32> {
    let digits = name.strip_suffix(b".")?;
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// Places the folder at `path`, which lists `children`.
pub(crate) fn place(
    fs: &dyn Filesystem,
    path: &FsPath,
    children: &[DirEntry],
    rules: &AccountRules,
) -> Placed {
    let header = find_entry(children, HEADER);
    let header = header.and_then(|inode| read_file(fs, "", &path.join(HEADER), inode).ok()?);
    let name = header.and_then(|text| header::parse(&text)?.name);
    let by_name = name.as_deref().and_then(mailbox_of_name);
    let (mailbox, evidence) = match by_name.or_else(|| mailbox_of_path(path)) {
        Some(mailbox) => (mailbox, name),
        None => {
            return Placed {
                owner: None,
                name: RECOVERED.to_owned(),
                mailbox: path.clone(),
            };
        }
    };
    let account = rules.named(&mailbox.local, mailbox.domain.as_deref());
    let evidence = match evidence {
        Some(name) => format!("its cyrus.header names {name}"),
        None => format!("path {path} is that of a Cyrus mailbox"),
    };
    Placed {
        owner: account.map(|account| Owner { account, evidence }),
        name: mailbox.folder,
        mailbox: path.clone(),
    }
}

/// A mailbox as its name or path says.
#[derive(Debug, PartialEq, Eq)]
struct Mailbox {
    domain: Option<String>,
    local: String,
    folder: String,
}

impl Mailbox {
    /// Of the levels behind `user`.
    fn new(domain: Option<String>, levels: &[&str], is_deleted: bool) -> Option<Self> {
        let (local, mut folders) = levels.split_first()?;
        if is_deleted {
            // The last level is the time of deletion in hexadecimal.
            folders = folders.split_last()?.1;
        }
        let folders: Vec<String> = folders.iter().map(|name| level(name.as_bytes())).collect();
        Some(Self {
            domain,
            local: local.replace('^', "."),
            folder: if folders.is_empty() {
                INBOX.to_owned()
            } else {
                folders.join(".")
            },
        })
    }
}

/// Reads a name as Cyrus has it inside: `DOMAIN!user.LOCAL.FOLDER`.
fn mailbox_of_name(name: &str) -> Option<Mailbox> {
    let (domain, name) = match name.split_once('!') {
        Some((domain, name)) => (Some(domain.to_owned()), name),
        None => (None, name),
    };
    let levels: Vec<&str> = name.split(['.', '\x1f']).collect();
    match levels.as_slice() {
        ["user", rest @ ..] => Mailbox::new(domain, rest, false),
        [DELETED, "user", rest @ ..] => Mailbox::new(domain, rest, true),
        _ => None,
    }
}

/// Reads a path: `[domain/[H/]DOMAIN/][H/]user/LOCAL/FOLDER`, where `H` is a hash. Behind `user` there
/// is none: `user/a/Sent` is a folder of the account `a`.
fn mailbox_of_path(path: &FsPath) -> Option<Mailbox> {
    let names: Option<Vec<&str>> = path
        .names()
        .iter()
        .map(|name| {
            std::str::from_utf8(name)
                .ok()
                .filter(|_| !is_placeholder(name))
        })
        .collect();
    let names = names?;
    let user = names.iter().position(|name| *name == "user")?;
    let (above, rest) = names.split_at_checked(user)?;
    let rest = rest.get(1..)?;
    let domain = above.iter().rposition(|name| *name == "domain");
    let domain = domain.and_then(|at| {
        let below = above.get(at.checked_add(1)?..)?;
        let mut names = below
            .iter()
            .filter(|name| Address::new("x", name).is_some());
        names.next().map(|name| (*name).to_owned())
    });
    Mailbox::new(domain, rest, above.contains(&DELETED))
}

/// Lists a folder.
pub(crate) fn list(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let mut record = folder.record(device);
    let mut read = |name: &[u8]| {
        folder.read_index(fs, device, name).unwrap_or_else(|loss| {
            contents.losses.push(loss);
            None
        })
    };
    let header = read(HEADER).and_then(|text| header::parse(&text));
    let header = header.unwrap_or_default();
    let index = read(INDEX).and_then(|index| index::parse(&index));
    let was_deleted = folder
        .path
        .names()
        .iter()
        .any(|name| name == DELETED.as_bytes());
    for entry in &folder.entries {
        let Some(uid) = uid_of(&entry.name) else {
            continue;
        };
        if fs
            .inode(entry.inode)
            .is_ok_and(|inode| inode.kind != FileKind::Regular)
        {
            continue;
        }
        let listed = index.as_ref().and_then(|index| index.get(&uid));
        let mut file = file(folder, entry, uid, listed, &header);
        file.known.is_expunged |= was_deleted;
        record.present = record
            .present
            .saturating_add(u64::from(!file.known.is_expunged));
        contents.files.push(file);
    }
    if let Some(index) = index {
        let gone = gone(&index, &contents);
        let there = index.values().filter(|listed| !listed.is_expunged);
        record.listed = Some(there.count() as u64);
        record.listed_but_gone = gone;
    }
    contents.folders.push(record);
    contents
}

/// The message in a file, with what the index knows of it.
fn file(
    folder: &Folder,
    entry: &DirEntry,
    uid: u32,
    listed: Option<&IndexRecord>,
    header: &Header,
) -> MailFile {
    let mut known = Known {
        uid: Some(uid),
        is_recorded: true,
        ..Known::default()
    };
    let mut keywords = Vec::new();
    if let Some(listed) = listed {
        known.flags = Flags::new(&listed.letters);
        known.received = Some(listed.internaldate);
        known.size = Some(listed.size);
        known.sha1 = Some(listed.guid).filter(|guid| *guid != [0; 20]);
        known.is_expunged = listed.is_expunged;
        let names = listed.user_flags.iter();
        let names = names.filter_map(|number| header.user_flags.get(*number));
        keywords = names.filter(|name| is_keyword(name)).cloned().collect();
        keywords.sort();
    }
    MailFile {
        path: folder.path.join(&entry.name),
        inode: entry.inode,
        owner: folder.owner.clone(),
        doubt: folder.doubt.clone(),
        folder: folder.name.clone(),
        keywords,
        part: None,
        known,
    }
}

/// Messages that the index lists and that have no file.
fn gone(index: &BTreeMap<u32, IndexRecord>, contents: &Contents) -> Vec<String> {
    let there: std::collections::HashSet<u32> = contents
        .files
        .iter()
        .filter_map(|file| file.known.uid)
        .collect();
    let listed = index
        .iter()
        .filter(|(uid, listed)| !listed.is_expunged && !there.contains(uid));
    listed.map(|(uid, _)| format!("{uid}.")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_read_with_their_hashes() {
        let path = |text: &str| {
            let names = text.split('/');
            names.fold(FsPath::root(), |path, name| path.join(name.as_bytes()))
        };
        let mailbox = |domain: Option<&str>, local: &str, folder: &str| {
            Some(Mailbox {
                domain: domain.map(str::to_owned),
                local: local.to_owned(),
                folder: folder.to_owned(),
            })
        };
        let table = [
            (
                "var/spool/cyrus/mail/a/user/ada",
                mailbox(None, "ada", "INBOX"),
            ),
            (
                "var/spool/cyrus/mail/user/ada/Sent",
                mailbox(None, "ada", "Sent"),
            ),
            (
                "mail/J/user/john^doe/Archive/2014",
                mailbox(None, "john.doe", "Archive.2014"),
            ),
            ("mail/a/user/a/Sent", mailbox(None, "a", "Sent")),
            (
                "mail/domain/x.example/user/ada",
                mailbox(Some("x.example"), "ada", "INBOX"),
            ),
            (
                "mail/domain/x/x.example/a/user/ada/Entw&APw-rfe",
                mailbox(Some("x.example"), "ada", "Entw&APw-rfe"),
            ),
            (
                "mail/a/DELETED/user/ada/Sent/53A0B1C2",
                mailbox(None, "ada", "Sent"),
            ),
            ("var/spool/cyrus/mail/shared/lists", None),
            ("#orphans/#12/user/#13", None),
        ];
        for (text, want) in table {
            assert_eq!(mailbox_of_path(&path(text)), want, "{text}");
        }
        assert_eq!(
            mailbox_of_name("x.example!user.john^doe.Sent"),
            mailbox(Some("x.example"), "john.doe", "Sent")
        );
        assert_eq!(
            mailbox_of_name("user\x1fada"),
            mailbox(None, "ada", "INBOX")
        );
        assert_eq!(mailbox_of_name("shared.lists"), None);
    }
}
