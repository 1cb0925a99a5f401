//! What can go wrong with a case.

use std::io;
use std::path::{Path, PathBuf};

/// Why a case could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file system that holds the case failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// There is no case in this directory.
    #[error("{} is not a case: it has no case.json. Begin one with `restante scan {} IMAGE...`", path.display(), path.display())]
    NotACase {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds other things than a case.
    #[error("{} is not empty and not a case; name a new directory for the case", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another version of `restante` wrote the case in another format.
    #[error(
        "{} has case format {found}, written by {program}; this program reads format {}. Use that version, or begin a new case from the same images", path.display(), crate::FORMAT
    )]
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The program that wrote it.
        program: String,
    },
    /// Another run works on the case.
    #[error("another run of restante works on {}; wait for it, or stop it: nothing finished is lost", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file of the case does not read as what it should be.
    #[error("{} line {line}: {source}. If a person edited it, mend that line; if not, remove the file and run the step again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The log's chain does not hold: a line was changed, removed or added.
    #[error("{} line {line}: the chain is broken: this line does not follow the one before", path.display())]
    BrokenChain {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The log ends before the line that was written last, or that line is another.
    #[error(
        "{}: its end is not the one that log.head names: line {line} was changed, or lines behind it are missing",
        path.display()
    )]
    CutLog {
        /// The log.
        path: PathBuf,
        /// How many lines it had when the last one was written.
        line: usize,
    },
    /// The file that names the end of the log is gone.
    #[error(
        "{}: log.head, which names its last line, is missing: lines at its end may be missing too",
        path.display()
    )]
    NoHead {
        /// The log.
        path: PathBuf,
    },
}

impl CaseError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
