//! Whether a geometry is that of what lies on the device.
//!
//! Version 5 metadata names its own place. In version 4 a directory proves two things at a time:
//! its inode leads to a block by the geometry, and `.` there is a number that the geometry gives
//! to the place of the inode.

use std::collections::HashMap;

use evidence::{ByteOffset, Fields};

use super::geometry::{SAMPLE, spread};
use super::seen::{HeaderKind, Mark, SeenDir, SeenInode, Sightings, UNMARKED};
use crate::FileKind;
use crate::InodeNumber;
use crate::xfs::extent::{RECORD_BYTES, Record, record_of};
use crate::xfs::inode::{Dinode, Format};
use crate::xfs::superblock::{Superblock, Version};
use crate::xfs::volume::Volume;

/// How many blocks agree with a hypothesis, and how many contradict it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Agreement {
    pub(super) agree: usize,
    pub(super) contradict: usize,
    /// How many of those that agree are directories whose maps lead to their own blocks.
    pub(super) maps: usize,
    /// How many inodes have a map that leads nowhere, as where groups are taken to be shorter than
    /// they are. Devices that are cut short have those too, so that this chooses among geometries
    /// and disproves none.
    pub(super) astray: usize,
}

impl Agreement {
    fn count(&mut self, agrees: bool) {
        let counter = if agrees {
            &mut self.agree
        } else {
            &mut self.contradict
        };
        *counter = counter.saturating_add(1);
    }

    /// How much more agrees than not.
    pub(super) fn net(self) -> usize {
        let against = self.contradict.saturating_add(self.astray);
        self.agree.saturating_sub(against)
    }

    /// Whether the hypothesis is proven: some blocks agree, and few others do not. Some always
    /// may not: copies of old metadata, images of other file systems inside of files.
    pub(super) fn proves(self) -> bool {
        self.agree >= 2 && self.contradict <= self.agree / 8
    }
}

/// What the blocks in `seen` say of the geometry of `volume`.
pub(super) fn agreement(volume: &Volume, seen: &Sightings) -> Agreement {
    let mut found = match volume.sb.version {
        Version::V5 => by_addresses(&volume.sb, seen),
        Version::V4 => by_headers(&volume.sb, seen),
    };
    by_directories(volume, seen, &mut found);
    by_lengths(volume, seen, &mut found);
    found
}

/// Version 5: self-addresses against places.
fn by_addresses(sb: &Superblock, seen: &Sightings) -> Agreement {
    let mut found = Agreement::default();
    let ours = |inode: &&SeenInode| inode.mark == sb.meta_uuid;
    let inodes: Vec<&SeenInode> = seen.inodes.iter().filter(ours).collect();
    for inode in spread(&inodes, SAMPLE) {
        let place = sb.inode_place(InodeNumber(inode.ino));
        found.count(place.map(ByteOffset::get) == Some(inode.place));
    }
    let dirs: Vec<&SeenDir> = seen
        .dirs
        .iter()
        .filter(|d| d.mark == sb.meta_uuid)
        .collect();
    for dir in spread(&dirs, SAMPLE) {
        found.count(sb.inside(ByteOffset::new(dir.place)) == Some(dir.address));
    }
    for header in seen.headers.iter().filter(|h| h.mark == sb.meta_uuid) {
        found.count(header_fits(sb, header.kind, header.seqno, header.place));
    }
    found
}

/// Whether the header of the group `seqno` lies at `place`.
fn header_fits(sb: &Superblock, kind: HeaderKind, seqno: u32, place: u64) -> bool {
    let group = u64::from(sb.sb_agblocks).saturating_mul(sb.block.get().into());
    let sectors = match kind {
        HeaderKind::Agf => 1_u64,
        HeaderKind::Agi => 2,
    };
    let inside = sectors.saturating_mul(sb.sb_sectsize.into());
    let at = group.saturating_mul(seqno.into()).saturating_add(inside);
    sb.inside(ByteOffset::new(place)) == Some(at)
}

/// Version 4: the headers of groups, which do not say whose they are. Those of a newer file system
/// lie elsewhere and contradict nothing.
fn by_headers(sb: &Superblock, seen: &Sightings) -> Agreement {
    let mut found = Agreement::default();
    for header in seen.headers.iter().filter(|h| h.mark == UNMARKED) {
        if header_fits(sb, header.kind, header.seqno, header.place) {
            found.count(true);
        }
    }
    found
}

/// Maps of inodes against the length of groups.
fn by_lengths(volume: &Volume, seen: &Sightings, found: &mut Agreement) {
    let mark = mark(&volume.sb);
    let ours = seen.inodes.iter().filter(|inode| inode.mark == mark);
    let ours: Vec<&SeenInode> = ours.collect();
    let leads_nowhere = |inode: &SeenInode| {
        let fork = first_extent(volume, ByteOffset::new(inode.place));
        fork.is_some_and(|extent| extent.is_none())
    };
    found.astray = spread(&ours, SAMPLE)
        .filter(|inode| leads_nowhere(inode))
        .count();
}

/// What the metadata of the file system of `sb` are marked with.
fn mark(sb: &Superblock) -> Mark {
    match sb.version {
        Version::V4 => UNMARKED,
        Version::V5 => sb.meta_uuid,
    }
}

/// Inodes of directories against the owners of their first blocks.
fn by_directories(volume: &Volume, seen: &Sightings, found: &mut Agreement) {
    let mark = mark(&volume.sb);
    let ours = seen
        .dirs
        .iter()
        .filter(|dir| dir.mark == mark && dir.owner > 0);
    let blocks: HashMap<u64, u64> = ours.map(|dir| (dir.place, dir.owner)).collect();
    let is_dir = |mode| FileKind::from_mode(mode) == Some(FileKind::Directory);
    let dirs = seen
        .inodes
        .iter()
        .filter(|inode| inode.mark == mark && is_dir(inode.mode));
    let dirs: Vec<&SeenInode> = dirs.collect();
    for inode in spread(&dirs, SAMPLE) {
        let place = ByteOffset::new(inode.place);
        let number = volume.sb.inode_at(place);
        let owner = first_block(volume, place).and_then(|at| blocks.get(&at));
        if let Some(owner) = owner {
            let agrees = number == Some(InodeNumber(*owner));
            found.count(agrees);
            found.maps = found.maps.saturating_add(agrees.into());
        }
    }
}

/// Where the first block of the file lies whose inode is at `place`.
fn first_block(volume: &Volume, place: ByteOffset) -> Option<u64> {
    let record = first_extent(volume, place)??;
    (record.br_startoff == 0).then_some(record.at.get())
}

/// The first extent of the inode at `place`, if it has any, and if that lies anywhere.
fn first_extent(volume: &Volume, place: ByteOffset) -> Option<Option<Record>> {
    let length = volume.sb.sb_inodesize.into();
    let raw = volume.cache.read(place, length).ok()?;
    let dinode = Dinode::parse(&raw, volume.sb.version).ok()?;
    if dinode.format != Format::Extents || dinode.di_nextents == 0 {
        return None;
    }
    let record = dinode.fork.get(..RECORD_BYTES)?;
    Some(record_of(Fields::new(record), &volume.sb))
}
