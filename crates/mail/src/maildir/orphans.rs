//! What a file system that was put together again calls the things that lost their parents.
//!
//! They lie in a directory `#orphans` of the root, or in the parent if only the name is lost, each
//! under `#` and the number of its inode.
//! What is below such a directory keeps its own names.

use filesystem::{DirEntry, FsPath};

use super::MaildirName;

/// What a folder is called whose name is lost.
pub const RECOVERED: &str = "Recovered";

/// Whether the path is broken somewhere above: a directory in it lost its name or its parents.
pub(crate) fn is_below(path: &FsPath) -> bool {
    path.names().iter().any(|name| is_placeholder(name))
}

/// Whether its own name is lost.
pub(crate) fn is_nameless(path: &FsPath) -> bool {
    path.name().is_some_and(is_placeholder)
}

/// Whether this is no name, but stands for one that is lost: `#` and the number of an inode, or
/// `#block-` and that of a block of a directory without one.
pub(crate) fn is_placeholder(name: &[u8]) -> bool {
    name.strip_prefix(b"#block-")
        .or_else(|| name.strip_prefix(b"#"))
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Whether this stands for names that are lost: of one, or of all above it.
pub(super) fn is_stand_in(name: &[u8]) -> bool {
    is_placeholder(name) || name == b"#orphans"
}

/// Whether a directory that lost its parents is a mailbox and no folder of one: `name` is usual
/// for mailboxes, or it lists what only the mailbox itself has.
pub(super) fn is_mailbox(name: &[u8], children: &[DirEntry]) -> bool {
    let is_mark = |entry: &DirEntry| {
        let name = entry.name.as_slice();
        name == b"subscriptions"
            || name == b"maildirsize"
            || name == b"dovecot.mailbox.log"
            || name.starts_with(b"dovecot-uidvalidity")
            || name.starts_with(b"dovecot.list.index")
            // A folder below it: `.Sent`.
            || matches!(name, [b'.', first, ..] if first.is_ascii_alphabetic())
    };
    let usual = matches!(name, b"Maildir" | b"maildir" | b"mail");
    usual || children.iter().any(is_mark)
}

/// Whether the directory at `path` is a `cur` or `new` that lost its parent: what it lists are
/// the names of messages.
pub(crate) fn is_bare(path: &FsPath, children: &[DirEntry]) -> bool {
    let messages = children.iter().filter(|entry| is_message(&entry.name));
    let count = messages.count();
    is_nameless(path) && count > 0 && count.saturating_mul(2) > children.len()
}

/// Whether a server made this name for a message: the time of delivery, what makes it unique,
/// and the host.
pub(crate) fn is_message(name: &[u8]) -> bool {
    MaildirName::parse(name).delivered.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::InodeNumber;

    #[test]
    fn a_directory_of_message_names_is_one_that_lost_its_folder() {
        let list = |names: &[&str]| -> Vec<DirEntry> {
            let entry = |name: &&str| DirEntry {
                name: name.as_bytes().to_vec(),
                inode: InodeNumber(5),
            };
            names.iter().map(entry).collect()
        };
        let nameless = FsPath::root().join(b"#orphans").join(b"#7");
        let mail = list(&[
            "1402992550.M1P2.mx,S=5,W=6:2,S",
            "1402992551.M1P2.mx:2,",
            "x",
        ]);
        assert!(is_bare(&nameless, &mail));
        assert!(!is_bare(
            &nameless,
            &list(&["1402992550.M1P2.mx", "a", "b"])
        ));
        assert!(!is_bare(&nameless, &[]));
        assert!(is_bare(&FsPath::root().join(b"v").join(b"#7"), &mail));
        assert!(!is_bare(&FsPath::root().join(b"v").join(b"7"), &mail));
    }
}
