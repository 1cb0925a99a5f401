//! Errors, in three families that are never mixed.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Origin, OutOfRange};

/// Why something could not be opened or read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine that `restante` runs on failed: a file that cannot be opened, a full disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or device.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Our limit: the evidence is fine, but this cannot be read, or not yet.
    #[error("{what} ({origin}) is not supported")]
    Unsupported {
        /// What it is, and where there is one, the way around.
        what: String,
        /// Where it was found.
        origin: Origin,
    },
    /// Their damage: the evidence contradicts itself.
    #[error("{origin}: {what}")]
    Corrupt {
        /// What is wrong.
        what: String,
        /// Where.
        origin: Origin,
    },
    /// What was named as evidence is not evidence: an empty file, a text, a directory.
    #[error("{}: {what}", path.display())]
    NotEvidence {
        /// The file that was named.
        path: PathBuf,
        /// What it is, and what to do next.
        what: String,
    },
    /// A read past the end: a mistake in this program.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

impl Error {
    /// An error of the machine at `path`.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Damage at `origin`.
    pub fn corrupt(what: impl Into<String>, origin: Origin) -> Self {
        Self::Corrupt {
            what: what.into(),
            origin,
        }
    }

    /// A limit of ours, met at `origin`.
    pub fn unsupported(what: impl Into<String>, origin: Origin) -> Self {
        Self::Unsupported {
            what: what.into(),
            origin,
        }
    }
}
