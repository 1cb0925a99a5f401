//! Bytes at offsets, with a validity for every byte.
//!
//! Everything that `restante` reads, from one disk image to a volume put together from
//! twelve of them, is a [`ReadAt`]: it has a length, it is read at a [`ByteOffset`], and
//! each read names the [`Gaps`], the ranges that could not be had. A zero that was read
//! and a zero that only fills a gap are therefore never confused.
//!
//! * [`image`] opens evidence: raw files, block devices, split images, containers such as E01 and
//!   qcow2, ddrescue mapfiles.
//! * [`view`] composes: a [`view::Slice`] of a disk, a [`view::Concat`], an [`view::Overlay`].
//! * [`checksum`] makes the CRC-32C that file systems keep, and goes it backwards.
//! * [`Fields`] takes numbers out of on-disk structures without indexing.
//! * [`Origin`] says where something was found, [`Loss`] what could not be had and why.
//!
//! Nothing in this crate can write: the types that hold evidence have no such method, and
//! files are opened read-only.
//!
//! ```
//! use evidence::{ByteOffset, ReadAt, view::Memory};
//!
//! let disk = Memory::new(b"Received: by poste".to_vec());
//! let mut word = [0; 8];
//! let gaps = disk.read_at(ByteOffset::new(0), &mut word)?;
//! assert!(gaps.is_empty());
//! assert_eq!(&word, b"Received");
//! # Ok::<(), evidence::OutOfRange>(())
//! ```

pub mod checksum;
mod error;
mod fields;
mod gaps;
pub mod image;
mod loss;
mod ranges;
mod read_at;
mod units;
pub mod view;

pub use error::Error;
pub use fields::Fields;
pub use gaps::{Gap, GapCause, Gaps};
pub use loss::{Cause, Loss, Origin};
pub use ranges::merged;
pub use read_at::{OutOfRange, ReadAt, ReadAtExt};
pub use units::{BlockNumber, BlockSize, ByteOffset, SECTOR_BYTES, Sector};
