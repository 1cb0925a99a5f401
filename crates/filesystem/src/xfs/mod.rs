//! XFS, versions 4 and 5.
//!
//! [`Xfs::open`] reads the superblock (`superblock.rs`, `features.rs`) and looks at the state
//! of the log (`log.rs`). From then on everything starts at an inode: `ag.rs` says where it
//! lies, `inode.rs` reads it, `extent.rs` its map, `dir.rs` and `leaf.rs` what a directory
//! lists, `symlink.rs` where a long link keeps its target. `checksum.rs` decides whether a
//! block is believed. The allocation trees are not read: numbers say where things lie.
//!
//! The format is described in *XFS Algorithms & Data Structures* and in the kernel's
//! `fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h` and `xfs_log_format.h`; their names of
//! fields are used here.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "tests count in small numbers"
    )
)]

mod ag;
mod btree;
mod checksum;
mod data;
mod dir;
mod extent;
mod features;
pub(crate) mod found;
mod inode;
mod leaf;
mod log;
mod superblock;
mod symlink;
mod volume;

use std::sync::Arc;

use evidence::{ByteOffset, Error, Loss, Origin, ReadAt, ReadAtExt};

use superblock::{Superblock, Version};
use volume::Volume;

use crate::{Extents, FileKind, Filesystem, Info, Inode, InodeNumber, Kind, Listing};

/// The largest sector that a superblock can fill.
const MAX_SECTOR: u64 = 32768;

/// An XFS that is open for reading.
pub struct Xfs {
    volume: Volume,
    info: Info,
}

impl Xfs {
    /// Opens the XFS on `volume`, which is called `name` in origins.
    ///
    /// `None` if the first sector is no superblock or cannot be read. Errors: a superblock
    /// that contradicts itself, a version or feature that is not understood.
    pub fn open(volume: Arc<dyn ReadAt>, name: &str) -> Result<Option<Self>, Error> {
        let length = usize::try_from(volume.len().min(MAX_SECTOR)).unwrap_or(0);
        let (mut head, gaps) = volume.read_vec(ByteOffset::ZERO, length)?;
        if let Some(gap) = gaps.iter().next() {
            head.truncate(gap.range.start);
        }
        let origin = Origin::new(name, ByteOffset::ZERO);
        let Some(sb) = superblock::parse(&head, &origin)? else {
            return Ok(None);
        };
        let volume = Volume::new(name, sb, volume);
        let info = info(&volume);
        Ok(Some(Self { volume, info }))
    }
}

/// What there is to say of the file system on `volume`.
fn info(volume: &Volume) -> Info {
    let sb = &volume.sb;
    let mut notes = sb.notes.clone();
    let end = volume.bytes().saturating_add_signed(sb.base);
    let missing = end.saturating_sub(volume.view.len());
    if missing > 0 {
        notes.push(format!(
            "the volume ends {missing} bytes before the file system does"
        ));
    }
    if sb.sb_rblocks > 0 {
        notes.push("there is a realtime device: files on it cannot be read".to_owned());
    }
    notes.extend(log::state(volume).note());
    let label = sb.sb_fname.split(|byte| *byte == 0).next();
    Info {
        kind: Kind::Xfs,
        version: version(sb),
        uuid: sb.sb_uuid,
        label: String::from_utf8_lossy(label.unwrap_or_default()).into_owned(),
        block_bytes: sb.block.get(),
        bytes: volume.bytes(),
        notes,
    }
}

/// The version and the features, in words.
fn version(sb: &Superblock) -> String {
    let number = match sb.version {
        Version::V4 => "version 4",
        Version::V5 => "version 5",
    };
    match sb.features.names.as_slice() {
        [] => number.to_owned(),
        names => format!("{number}: {}", names.join(", ")),
    }
}

impl Filesystem for Xfs {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.volume.view
    }

    fn root(&self) -> InodeNumber {
        InodeNumber(self.volume.sb.sb_rootino)
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        inode::read(&self.volume, number)
    }

    fn entries(&self, dir: &Inode) -> Listing {
        dir::list(&self.volume, dir)
    }

    fn extents(&self, file: &Inode) -> Extents {
        match file.kind {
            FileKind::Symlink => symlink::extents(&self.volume, file),
            FileKind::Regular | FileKind::Directory | FileKind::Special => {
                extent::extents(&self.volume, file)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    fn open(bytes: Vec<u8>) -> Result<Option<Xfs>, Error> {
        Xfs::open(Arc::new(Memory::new(bytes)), "volume:test")
    }

    #[test]
    fn what_a_superblock_says_is_told() {
        let mut bytes = superblock::tests::sector();
        bytes.resize(3500 * 4096, 0);
        let info = open(bytes).unwrap().unwrap().info;
        assert_eq!(info.label, "mail");
        assert_eq!(info.version, "version 5: ftype, sparse inodes");
        assert_eq!((info.block_bytes, info.bytes), (4096, 3500 * 4096));
        let [log] = info.notes.as_slice() else {
            panic!("{:?}", info.notes)
        };
        assert!(log.contains("another device"), "{log}");
    }

    #[test]
    fn a_volume_that_ends_early_is_a_note_and_nothing_is_none() {
        let info = open(superblock::tests::sector()).unwrap().unwrap().info;
        let missing = format!("ends {} bytes before", 3500 * 4096 - 512);
        assert!(info.notes[0].contains(&missing), "{:?}", info.notes);
        assert!(open(Vec::new()).unwrap().is_none());
        assert!(open(vec![0; 100_000]).unwrap().is_none());
    }
}
