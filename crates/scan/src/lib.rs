//! The scanner: every byte of every disk once, in parallel, with the same result however it ran.
//!
//! A disk is cut into [`Unit`]s. [`scan_unit`] reads one, window by window, and does in that one
//! pass all that wants to see every byte: the hashes of the evidence, the class of each
//! [`CELL_BYTES`] cell, and what the [`Detector`]s find. Units are independent, may run in any
//! order, twice, or on other machines; [`whole_hash`] puts their hashes together.
//!
//! **Window rule.** A find belongs to the window that holds its first byte; the overlap after
//! it only completes it. So the finds are the same for any number of threads and any window
//! size. The scanner knows no format: detectors are given to it.
//!
//! ```
//! use evidence::view::Memory;
//! use scan::{ScanOptions, scan_unit, units, whole_hash};
//!
//! let disk = Memory::new(b"poste restante".repeat(1000));
//! let results: Vec<_> = units(&disk)
//!     .map(|unit| scan_unit(&disk, unit, &[], &ScanOptions::default(), None, &|_| ()))
//!     .collect::<Result<_, _>>()?;
//! let hash = whole_hash(&disk, &results.iter().map(|r| r.hash).collect::<Vec<_>>());
//! assert_eq!(hash, Some(blake3::hash(&b"poste restante".repeat(1000))));
//! # Ok::<(), evidence::OutOfRange>(())
//! ```

mod class;
mod detector;
mod hash;
mod record;
mod signature;
mod unit;

pub use class::{CELL_BYTES, Class};
pub use detector::{Detector, Find, Window};
pub use hash::{RunningSha256, UnitHash, whole_hash};
pub use record::{CatalogueRecord, UnitRecord};
pub use signature::{Signature, Signatures};
pub use unit::{ScanOptions, UNIT_BYTES, Unit, UnitResult, scan_unit, units};
