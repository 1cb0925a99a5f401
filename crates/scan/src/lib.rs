//! The scanner: every byte of every disk once, in parallel, with the same result however it ran.
//!
//! A disk is cut into [`Unit`]s. [`scan_unit`] reads one, window by window, and does in that one
//! pass all that wants to see every byte: the hashes of the evidence, the [`Class`] of each block,
//! and what the [`Detectors`] find. Units are independent, may run in any order, twice, or on
//! other machines; [`whole_hash`] puts their hashes together, and [`catalogue`] keeps what they
//! gave.
//!
//! **Window rule.** A find, and a block, belong to the window that holds its first byte; the
//! overlap after it only completes it. A [`Detector`] sees one place at a time, and one byte
//! before it. So the result is the same for any number of threads and any window size. The
//! scanner knows no format: detectors are given to it.
//!
//! ```
//! use evidence::view::Memory;
//! use scan::{Detectors, ScanOptions, scan_unit, units, whole_hash};
//!
//! let disk = Memory::new(b"poste restante".repeat(1000));
//! let (nobody, options) = (Detectors::none(), ScanOptions::default());
//! let results: Vec<_> = units(&disk)
//!     .map(|unit| scan_unit(&disk, unit, &nobody, &options, None, &|_| ()))
//!     .collect::<Result<_, _>>()?;
//! let hashes: Option<Vec<_>> = results.iter().map(|result| result.hash).collect();
//! let hash = whole_hash(&disk, &hashes.unwrap_or_default());
//! assert_eq!(hash, Some(blake3::hash(&b"poste restante".repeat(1000))));
//! # Ok::<(), evidence::OutOfRange>(())
//! ```

pub mod catalogue;
mod class;
mod detector;
mod detectors;
mod hash;
mod runs;
mod signature;
mod unit;
mod window;

pub use aho_corasick::BuildError;
pub use class::{BLOCK_BYTES, Class, Family};
pub use detector::{Detector, Find, Found, Place, Trigger};
pub use detectors::{Detectors, SECTOR_ALIGN};
pub use hash::{RunningSha256, UnitHash, whole_hash};
pub use runs::Run;
pub use signature::Signature;
pub use unit::{ScanOptions, UNIT_BYTES, Unit, UnitResult, hash_unit, scan_unit, units, units_of};
