//! The report of a case: one page that opens without a network, the same facts as JSON, and
//! tables for a spreadsheet.
//!
//! One noun and two verbs: [`Facts::gather`] reads everything that a case knows into [`Facts`],
//! and [`write()`] writes it down, `report.json` being the facts themselves. Both take a case
//! that is half done as it is. `docs/report.md` describes the files for those who read them.
//!
//! What becomes of a find (whole, damaged, lost, rejected, or found once more) is decided in one
//! place for the sums and for the tables, and the sums are checked against each other
//! ([`Facts::checks`]). All text that comes from disks is hostile: markup is escaped, characters
//! that act on a terminal or turn the direction of a line are shown as escapes, and no cell
//! begins a formula.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let case = case::Case::open_or_create(&dir.path().join("incident"))?;
//! let facts = report::Facts::gather(&case)?;
//! assert_eq!(facts.totals.found, 0);
//! let paths = report::write(&facts, &case, &case.path().join("report"))?;
//! assert!(paths.html.is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod account;
mod damage;
mod disks;
mod error;
mod facts;
mod figures;
mod gather;
mod handed;
mod index;
mod notices;
mod page;
mod people;
mod sort;
mod tables;
mod text;
mod utf7;
mod wanted;
mod words;
mod write;

pub use damage::reasons;
pub use error::ReportError;
pub use facts::{
    Account, Check, Counts, DamagedMessage, Disk, DiskArea, Evidence, FORMAT, Facts, FindKind,
    Folder, GoneMessage, GroupFacts, HoleFact, Log, Looks, LossFact, LostMessage, Month,
    RejectedFile, Run, Step, Structure, Target, Totals, UNATTRIBUTED,
};
pub use figures::{Day, Phase, Rate, Share, Shares};
pub use index::records;
pub use notices::{NoticeOptions, Notices, TEMPLATE, notices};
pub use sort::server_name;
pub use text::{harmless_json, is_hostile};
pub use wanted::{Wanted, WantedRegion, ranked};
pub use write::{Paths, write};
