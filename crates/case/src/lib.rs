//! The case: the directory that holds everything that is known of one incident.
//!
//! Every step reads and writes the case only, so each can run alone, be killed, and go on.
//! [`Case`] opens the directory and holds its lock; [`CaseFile`] is `case.json`; segments
//! ([`Case::write_segment`], [`Case::read_segments`]) hold finds and messages, one file a unit
//! of work; [`log`] is the chained `log.jsonl`. `docs/case-format.md` describes the
//! files for people who read them without `restante`.
//!
//! A file appears in the case whole or not at all: it is written under a temporary name, synced
//! and renamed ([`write_atomically`]).
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let case = case::Case::open_or_create(&dir.path().join("incident"))?;
//! case.write_segment("messages", "volume_mail-000000", &["one", "two"])?;
//! assert_eq!(case.segment_names("messages")?, ["volume_mail-000000"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod directory;
mod document;
mod error;
mod file;
pub mod log;
mod segment;
mod write;

pub use directory::{ACCOUNTS, CATALOGUE, Case, Edit, LEDGER, MAILBOXES, MESSAGES, REPORT};
pub use document::{AccountPaths, CaseFile, ContainerRecord, EvidenceRecord, FORMAT, StoredHash};
pub use error::CaseError;
pub use segment::{Position, SegmentSet, Segments};
pub use write::{sync_directory, write_atomically, write_once};
