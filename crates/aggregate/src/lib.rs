//! From disks to volumes: RAID groups, partitions, logical volumes.
//!
//! Two nouns: the [`document::Aggregate`] says what the aggregate is, statement by statement,
//! with the evidence for each; [`Devices`] are the same statements as [`evidence::ReadAt`]s.
//! Between them stand three verbs:
//!
//! * [`discover()`] reads the labels on the disks (md superblocks, LVM metadata, partition
//!   tables) and on all that they describe, until nothing new appears, and works out RAID
//!   groups of what no label explains from the contents: disks → document.
//! * [`build()`] checks every statement, also those that a person wrote, and puts the devices
//!   together: document + disks → a `ReadAt` per device.
//! * [`export`] writes the same as commands for `dmsetup` and `mdadm`.
//!
//! [`coverage`] says which ranges of a device others lie on.
//!
//! [`epochs`] compares the members of a group with each other and says which regions of them are
//! not the group's any more.
//!
//! Below them: [`raid`] is geometry and parity arithmetic, [`md`] the superblocks of Linux
//! software RAID, [`luks`] encrypted volumes, [`framing`] data between checksums, [`lvm`] labels, metadata rings and segments of LVM2, [`partition`] MBR and GPT.
//!
//! ```
//! use std::sync::Arc;
//! use evidence::{ReadAt, view::Memory};
//!
//! let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0; 1 << 20]));
//! let disks = [("disk-a".to_owned(), disk)];
//! let aggregate = aggregate::discover(&disks, &|_, _| None);
//! assert_eq!(aggregate.unused.len(), 1);
//! let devices = aggregate::build(&aggregate, &disks)?;
//! assert_eq!(devices.iter().count(), 1);
//! # Ok::<(), aggregate::Error>(())
//! ```
//!
//! What cannot be assembled is a [`evidence::Loss`] in the document; a document that
//! contradicts itself is an [`Error`] that names the statement.

mod build;
mod chunks;
pub mod coverage;
mod ddf;
mod devices;
mod discover;
pub mod document;
mod encrypted;
pub mod epochs;
pub mod export;
pub mod framing;
mod infer;
pub mod luks;
pub mod lvm;
pub mod md;
pub mod partition;
pub mod raid;
mod volume;
mod volumes_found;

/// Where a magic number stands on a device, in bytes from its start, and the bytes of it.
type Magic = (u64, &'static [u8]);

pub use build::{Error, Problem, build, build_with, outermost};
pub use devices::Devices;
pub use discover::{Disk, Probe, discover, discover_over, discover_with};
