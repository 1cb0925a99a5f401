//! File systems read from damaged or degraded volumes: files as path, extents, times, losses.
//!
//! [`open`] recognises what is on a volume and gives a [`Filesystem`]. [`walk()`] goes through
//! its tree, and [`File`] reads one file's contents as a [`evidence::ReadAt`], so that the
//! gaps of the disks below arrive at the reader of a message. One module a format, the same
//! file names in each: `superblock.rs`, `inode.rs`, `dir.rs`, `extent.rs`.
//!
//! A walk never stops at damage: what could not be read is an [`evidence::Loss`] in its
//! place. Only what makes the whole file system unreadable is an [`evidence::Error`].
//!
//! ```no_run
//! use std::sync::Arc;
//! use evidence::{ReadAtExt, ByteOffset, view::Memory};
//!
//! let volume = Arc::new(Memory::new(std::fs::read("volume.img")?));
//! if let Some(fs) = filesystem::open(volume, "volume:mail")? {
//!     for entry in filesystem::walk(fs.as_ref()) {
//!         match entry {
//!             Ok(entry) => println!("{} {}", entry.path, entry.inode.size),
//!             Err(loss) => eprintln!("lost: {loss}"),
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod btrfs;
mod cache;
mod decompress;
pub mod ext;
mod file;
mod found;
mod lzo;
mod model;
mod pieces;
mod survey;
mod walk;
pub mod xfs;

use std::sync::Arc;

use evidence::{Error, ReadAt};

pub use decompress::Codec;
pub use file::File;
pub use found::{Device, Found, Spread, View, find_all};
pub use model::{
    DirEntry, Extent, Extents, FileKind, Filesystem, FsPath, Info, Inode, InodeNumber, Kind,
    Listing, Place, Standing, Timestamp,
};
pub use walk::{Entry, Walk, in_use, walk};

/// Opens the file system on `volume`, which is called `name` in origins; `None` if there is none
/// that can be recognised by its primary superblock.
pub fn open(volume: Arc<dyn ReadAt>, name: &str) -> Result<Option<Box<dyn Filesystem>>, Error> {
    if let Some(fs) = ext::Ext::open(Arc::clone(&volume), name)? {
        return Ok(Some(Box::new(fs)));
    }
    if let Some(fs) = xfs::Xfs::open(Arc::clone(&volume), name)? {
        return Ok(Some(Box::new(fs)));
    }
    if let Some(fs) = btrfs::Btrfs::open(volume, name)? {
        return Ok(Some(Box::new(fs)));
    }
    Ok(None)
}
