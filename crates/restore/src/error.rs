//! What can go wrong while mail is handed back.

use std::io;
use std::path::{Path, PathBuf};

use crate::imap::ImapError;

/// What a disk answers that cannot write; `io::ErrorKind` has no name for it.
const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// Why a target cannot be used, or an account's mail could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The text names no target.
    #[error(
        "{text:?} is no target: {why}. Write --to maildir:DIR, a pattern such as maildir:/home/{{local}}/Maildir, or imaps://HOST"
    )]
    NoTarget {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The target lies in the case, which must stay as the evidence of what was done.
    #[error("the target {} lies inside the case; name a directory outside it", path.display())]
    InsideCase {
        /// The target.
        path: PathBuf,
    },
    /// The target's file system is too full.
    #[error(
        "{} has room for {free_bytes} bytes and {free_files} files; all that would be written there needs {bytes} bytes and {files} files. Make room, or restore some accounts with --account", path.display()
    )]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// How many files can be made.
        free_files: u64,
        /// What the plan needs.
        bytes: u64,
        /// How many files the plan makes.
        files: u64,
    },
    /// A name on the way to a mailbox is a symbolic link, which its user may have made.
    #[error("{} is a symbolic link; restante follows none inside a mailbox. Restore this account by hand, or name its real place in the target pattern", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// A name that a file is read from is something else, or too long to be what it should be.
    #[error("{} is no file of less than {limit} bytes, and is left alone", path.display())]
    NotReadable {
        /// What is there.
        path: PathBuf,
        /// How long it may be.
        limit: u64,
    },
    /// What was made could not be given to the owner of the mailbox.
    #[error("{} would not get the owner of its mailbox: run restante as root, or as user {uid} and a member of group {gid}", path.display())]
    Owner {
        /// The file or directory, which was removed again.
        path: PathBuf,
        /// The user that it should belong to.
        uid: u32,
        /// The group that it should belong to.
        gid: u32,
    },
    /// The file system of the target or of the ledger failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A line of the ledger cannot be read.
    #[error("{} line {line} cannot be read: {source}. What it said is not known, so nothing is restored to this account: mend the line", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A server did not do what it was asked for.
    #[error("{server}: {error}")]
    Server {
        /// The server.
        server: String,
        /// What it did.
        error: ImapError,
    },
    /// A server took one message not, or not as it is.
    #[error("message {id} ({name}): {why}")]
    NotTaken {
        /// The message.
        id: String,
        /// The name that it is known by in the ledger.
        name: String,
        /// What the server said.
        why: String,
    },
    /// Nobody can log in with what is known.
    #[error("{0}")]
    Credentials(String),
    /// A message could not be read again as it was when it was found.
    #[error(
        "message {id} reads differently now than when it was found: {why}. Run `restante verify` on the case"
    )]
    Changed {
        /// The message.
        id: String,
        /// How.
        why: String,
    },
}

/// What is worth knowing though all mail was written.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// The server was about to write the subscriptions.
    #[error("not subscribed yet: the server holds the lock {}. Run sync again", path.display())]
    SubscriptionsLocked {
        /// The lock.
        path: PathBuf,
    },
    /// The folders could not be subscribed.
    #[error("not subscribed yet, so that the user may not see the folders: {0}")]
    NotSubscribed(RestoreError),
    /// The run may not give files to the group of the mailbox.
    #[error(
        "files in {} are closed to group {gid}: run restante as root, or as a member of it", path.display()
    )]
    GroupNotGiven {
        /// The Maildir.
        path: PathBuf,
        /// The group.
        gid: u32,
    },
}

impl RestoreError {
    /// Whether what comes next in the same folder would fail likewise: the storage is at fault,
    /// or the folder is not there any more.
    pub(crate) fn is_of_storage(&self) -> bool {
        match self {
            Self::Owner { .. } => true,
            Self::Io { source, .. } if source.raw_os_error() == Some(EIO) => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StaleNetworkFileHandle
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotFound
            ),
            _ => false,
        }
    }

    /// Whether there was something of that name already.
    pub(crate) fn is_exists(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
