//! What can go wrong with a report.

use std::io;
use std::path::{Path, PathBuf};

use case::CaseError;
use restore::RestoreError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The case could not be read, or a file of the report not be written.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] RestoreError),
    /// A segment of the catalogue could not be read.
    #[error("{}: {source}. Remove the file, and `restante scan` makes it again", path.display())]
    Catalogue {
        /// The segment.
        path: PathBuf,
        /// What is wrong with it.
        source: scan::catalogue::SegmentError,
    },
    /// A template of a notice has a mistake.
    #[error("{template}: {why}. docs/report.md lists what can stand in a template")]
    Template {
        /// The file, or what is built in.
        template: String,
        /// What is wrong, with the line.
        why: String,
    },
    /// A file of the report could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl ReportError {
    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
