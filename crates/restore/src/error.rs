//! What can go wrong while mail is handed back.

use std::io;
use std::path::{Path, PathBuf};

/// Why a target cannot be used, or an account's mail could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The text names no target.
    #[error(
        "{text:?} is no target: {why}. Write --to maildir:DIR, or a pattern such as maildir:/home/{{local}}/Maildir"
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
        "{} has room for {free_bytes} bytes and {free_files} files; this needs {bytes} bytes and {files} files. Nothing was written: make room, or restore some accounts with --account", path.display()
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

impl RestoreError {
    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
