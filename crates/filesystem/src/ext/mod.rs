//! ext2, ext3 and ext4, read only, whatever state they are in.
//!
//! [`Ext::open`] reads the superblock (or a copy of it, if the primary one is damaged), replays a
//! dirty journal in memory, and gives the whole file system through [`Filesystem`]. One module a
//! structure: `superblock`, `features`, `group`, `inode`, then the three ways a file is mapped,
//! `extent`, `indirect` and `inline`, which fill a `map`; `dir`; `jbd2`, `journal` and
//! `fast_commit`; `checksum`.
//!
//! Source of all structures: Linux `Documentation/filesystems/ext4/`, whose field names are used
//! here. What is checked, where the features allow it: the checksums of superblock, group
//! descriptors, inodes, directory blocks, extent blocks and everything in the journal.
//!
//! * A wrong checksum of an inode or an extent block loses what it describes; of a directory block
//!   it is reported, and the entries that can be told are given.
//! * A group descriptor that is unreadable or wrong is taken from its copy.
//! * Encrypted contents and names are losses of the kind *not supported*.
//! * An inode is only given while it is in use; finding deleted ones is not done here.

#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "tests build structures of sizes that they know"
    )
)]

mod checksum;
mod dir;
mod extent;
mod fast_commit;
mod features;
pub(crate) mod found;
mod group;
mod history;
mod indirect;
mod inline;
mod inode;
mod jbd2;
mod journal;
mod map;
mod notes;
mod superblock;
mod tables;
mod volume;

use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, Error, Loss, Origin, ReadAt, ReadAtExt};

use self::fast_commit::Change;
use self::superblock::{Refusal, SUPERBLOCK_AT, SUPERBLOCK_BYTES, Superblock, usual_copies};
use self::volume::Volume;
use crate::{Extents, Filesystem, Info, Inode, InodeNumber, Listing};

/// An ext2, ext3 or ext4 file system, open for reading.
pub struct Ext {
    info: Info,
    volume: Volume,
}

impl Ext {
    /// Opens the file system on `volume`, called `name` in origins; `None` if none is recognised.
    ///
    /// It is recognised by the primary superblock, or if that cannot be read, by a copy at one
    /// of the places where `mke2fs` puts the first ones. Errors: [`Error::Unsupported`] for
    /// features that change the format beyond what is known here, [`Error::Corrupt`] if there
    /// is a superblock, but neither it nor a copy makes sense.
    pub fn open(volume: Arc<dyn ReadAt>, name: &str) -> Result<Option<Self>, Error> {
        let Some((sb, mut notes)) = find_superblock(&volume, name)? else {
            return Ok(None);
        };
        let raw = Volume::new(name, sb, volume);
        let recovery = journal::recover(&raw);
        notes.extend(recovery.notes);
        let volume = match recovery.overlay {
            None => raw,
            Some(overlay) => recovered(&raw, name, overlay, recovery.changes),
        };
        notes.extend(notes::of(&volume));
        Ok(Some(Self::of(volume, notes)))
    }

    /// The file system on `volume` whose superblock is `sb`, wherever that was found or whatever
    /// it was worked out from. The journal is not replayed.
    fn with_superblock(volume: Arc<dyn ReadAt>, name: &str, sb: Superblock) -> Self {
        let volume = Volume::new(name, sb, volume);
        Self::of(volume, Vec::new())
    }

    fn of(volume: Volume, notes: Vec<String>) -> Self {
        let sb = &volume.sb;
        let info = Info {
            kind: sb.kind(),
            version: format!(
                "revision {}; features: {}",
                sb.revision,
                sb.features.names().join(" ")
            ),
            uuid: sb.uuid,
            label: sb.label.clone(),
            block_bytes: sb.block.get(),
            bytes: sb.blocks.saturating_mul(u64::from(sb.block.get())),
            notes,
        };
        Self { info, volume }
    }

    /// The inode that the bytes `raw`, found at `place`, would be if its number were `number`.
    ///
    /// It is checked as [`Filesystem::inode`] checks it, so with metadata checksums a wrong
    /// number is found out. For inodes that were found without the tables that lead to them.
    pub fn inode_from_raw(
        &self,
        number: InodeNumber,
        place: ByteOffset,
        raw: Vec<u8>,
    ) -> Result<Inode, Loss> {
        self.volume.inode_from_raw(number, place, raw)
    }
}

impl Filesystem for Ext {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.volume.view
    }

    fn root(&self) -> InodeNumber {
        inode::ROOT
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        self.volume.inode(number)
    }

    fn entries(&self, dir: &Inode) -> Listing {
        self.volume.list(dir)
    }

    fn extents(&self, file: &Inode) -> Extents {
        self.volume.map(file)
    }
}

/// `volume` with what its journal held laid over it.
fn recovered(volume: &Volume, name: &str, overlay: Overlay, changes: Vec<Change>) -> Volume {
    // The journal may hold a newer superblock. One that is no superblock any more is not believed.
    let bytes = overlay.read_whole(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
    let newer = bytes.and_then(|bytes| Superblock::parse(&bytes).ok());
    let newer = newer.filter(|newer| newer.same_layout(&volume.sb));
    let sb = newer.unwrap_or_else(|| volume.sb.clone());
    let replayed = Volume::new(name, sb.clone(), Arc::new(overlay.clone()));
    if changes.is_empty() {
        return replayed;
    }
    let (view, patch) = fast_commit::apply(&replayed, overlay, changes);
    let mut volume = Volume::new(name, sb, view);
    volume.patch = patch;
    volume
}

/// The superblock to go by, and what a person should know of how it was found.
fn find_superblock(
    volume: &Arc<dyn ReadAt>,
    name: &str,
) -> Result<Option<(Superblock, Vec<String>)>, Error> {
    let origin = || Origin::new(name, SUPERBLOCK_AT);
    let bytes = match volume.read_vec(SUPERBLOCK_AT, SUPERBLOCK_BYTES) {
        Err(_) => return Ok(None),
        Ok((bytes, gaps)) => gaps.is_empty().then_some(bytes),
    };
    let primary = bytes.map(|bytes| Superblock::parse(&bytes));
    let (why, fallback) = match primary {
        Some(Err(Refusal::NotExt)) => return Ok(None),
        Some(Err(Refusal::Unsupported(what))) => return Err(Error::unsupported(what, origin())),
        Some(Ok(sb)) if sb.checksum_holds != Some(false) => return Ok(Some((sb, Vec::new()))),
        Some(Ok(sb)) => ("its checksum is wrong".to_owned(), Ok(Some(sb))),
        Some(Err(Refusal::Corrupt(what))) => (what.clone(), Err(Error::corrupt(what, origin()))),
        None => ("it cannot be read".to_owned(), Ok(None)),
    };
    if let Some((copy, at)) = find_copy(volume) {
        let note = format!(
            "the primary superblock was not used ({why}); its copy at byte {at} was, which may be older"
        );
        return Ok(Some((copy, vec![note])));
    }
    let found = fallback?;
    Ok(found.map(|sb| {
        let note = format!("the superblock was used although {why}: no copy was found");
        (sb, vec![note])
    }))
}

/// A copy of the superblock that says itself that it is one, where it should be.
fn find_copy(volume: &Arc<dyn ReadAt>) -> Option<(Superblock, ByteOffset)> {
    usual_copies().find_map(|(group, size, at)| {
        // With small blocks, block 0 of a group is the copy itself: there is no boot sector.
        let bytes = volume.read_whole(at, SUPERBLOCK_BYTES)?;
        let copy = Superblock::parse(&bytes).ok()?;
        let fits = copy.group_of_copy == group
            && copy.block == size
            && copy.checksum_holds != Some(false)
            && copy.groups().saturating_mul(copy.inodes_per_group.get()) == copy.inodes;
        fits.then_some((copy, at))
    })
}
