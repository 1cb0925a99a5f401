//! A file system put together from what was found of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use evidence::{ByteOffset, Cause, Fields, Loss, ReadAt};

use super::chunks::{Chunks, Use};
use super::deleted;
use super::fork;
use super::logged::Version as State;
use super::numbers;
use super::occupied::{self, Occupied};
use super::tree::{Inodes, Known, Tree};
use crate::xfs::checksum::mend;
use crate::xfs::dir;
use crate::xfs::inode::{self, DI_CRC_AT};
use crate::xfs::symlink;
use crate::xfs::volume::{Volume, corrupt};
use crate::{
    DirEntry, Extents, FileKind, Filesystem, Info, Inode, InodeNumber, Listing, Standing, Timestamp,
};

/// Bytes that belong to a newer file system, and what that is called.
pub(super) type Taken = (String, Occupied);

/// What all parts of a rebuilt file system read inodes with.
pub(super) struct Source {
    pub(super) volume: Volume,
    /// Which inodes are in use, where the trees can be read.
    pub(super) chunks: Option<Chunks>,
    /// States of inodes before they were deleted, out of the log.
    pub(super) former: BTreeMap<u64, State>,
    /// Leaves of extent trees by the inode that they belong to.
    pub(super) leaves: HashMap<u64, Vec<u64>>,
}

impl Source {
    /// Where the inode `number` lies and its bytes, checked so far that it is this inode, in use
    /// or not.
    fn raw(&self, number: u64) -> Result<(ByteOffset, Vec<u8>), Loss> {
        let sb = &self.volume.sb;
        let what = || format!("inode {number}");
        let number = InodeNumber(number);
        let Some(place) = sb.inode_place(number) else {
            let cause = corrupt("the file system has no inode of that number");
            return Err(self.volume.loss(what(), ByteOffset::ZERO, cause));
        };
        let loss = |cause: Cause| self.volume.loss(what(), place, cause);
        let raw = self.volume.cache.read(place, sb.sb_inodesize.into());
        let mut raw = raw.map_err(loss)?;
        if !sb.has_crc() {
            let sound = raw.starts_with(b"IN");
            return match sound {
                true => Ok((place, raw)),
                false => Err(loss(corrupt("its magic is not IN"))),
            };
        }
        if let Err(why) = inode::self_description(&raw, number, sb) {
            let mended =
                mend(&mut raw, DI_CRC_AT) && inode::self_description(&raw, number, sb).is_ok();
            if !mended {
                return Err(loss(Cause::Corrupt(why)));
            }
        }
        Ok((place, raw))
    }

    /// Whether the inode `number`, which has the mode `mode`, is in use.
    pub(super) fn in_use(&self, number: u64, mode: u16) -> bool {
        let by_tree = self.chunks.as_ref().map(|chunks| chunks.standing(number));
        mode != 0 && by_tree != Some(Use::Free)
    }

    /// The inode `number`, in use or deleted.
    pub(super) fn inode(&self, number: u64) -> Result<Inode, Loss> {
        let (place, raw) = self.raw(number)?;
        let mode = Fields::new(&raw).be_u16(2).unwrap_or(0);
        let loss = |why: String| {
            let what = format!("inode {number}");
            self.volume.loss(what, place, Cause::Corrupt(why))
        };
        let version = self.volume.sb.version;
        if mode != 0 {
            let inode = inode::of_raw(version, InodeNumber(number), place, raw).map_err(loss)?;
            let standing = match self.in_use(number, mode) {
                true => Standing::InUse,
                false => Standing::Deleted,
            };
            return Ok(Inode { standing, ..inode });
        }
        if let Some(former) = self.former.get(&number) {
            let raw = former.raw.clone();
            let inode = inode::of_raw(version, InodeNumber(number), place, raw).map_err(loss)?;
            return Ok(Inode {
                standing: Standing::Deleted,
                ..inode
            });
        }
        deleted::remains(&self.volume, InodeNumber(number), place, raw)
            .ok_or_else(|| loss("it was deleted, and nothing is left of it".to_owned()))
    }

    /// Whether the deleted inode `number`, whose bytes are `raw`, still leads to the contents of a file. Without
    /// checksums only what a chunk of inodes holds is one.
    fn is_left(&self, number: u64, raw: &[u8]) -> bool {
        let mode = Fields::new(raw).be_u16(2).unwrap_or(0);
        let chunks = self.chunks.as_ref();
        if !self.volume.sb.has_crc() && !chunks.is_some_and(|chunks| chunks.claims(number)) {
            return false;
        }
        match self.former.get(&number) {
            Some(former) if mode == 0 => is_file(&former.raw),
            _ if mode != 0 => is_file(raw),
            _ => deleted::has_extents(&self.volume, raw),
        }
    }

    /// The directory `number`, if it is one in use.
    pub(super) fn directory(&self, number: u64) -> Option<Inode> {
        let inode = self.inode(number).ok()?;
        let fits = inode.kind == FileKind::Directory && inode.standing == Standing::InUse;
        fits.then_some(inode)
    }
}

/// A file system put together from what was found of it.
pub(super) struct Rebuilt {
    pub(super) source: Source,
    pub(super) info: Info,
    pub(super) root: u64,
    pub(super) tree: Tree,
    pub(super) inodes: Inodes,
    /// What newer file systems occupy.
    pub(super) taken: Vec<Taken>,
    /// What the files in use and the metadata of this one occupy; made when a deleted file is
    /// asked for.
    pub(super) occupied: OnceLock<Occupied>,
    /// Inodes that were taken from the log, some of which may have been deleted after that.
    pub(super) laid: HashSet<u64>,
    /// Places of metadata that are in use.
    pub(super) metadata: Vec<Range<u64>>,
}

impl Rebuilt {
    /// Where its own files in use and metadata lie.
    pub(super) fn ranges(&self) -> Vec<(Range<u64>, u64)> {
        let mut all: Vec<(Range<u64>, u64)> = self
            .metadata
            .iter()
            .map(|range| (range.clone(), 0))
            .collect();
        for (number, known) in &self.inodes {
            let has_blocks = matches!(
                known.kind,
                Some(FileKind::Regular | FileKind::Directory | FileKind::Symlink)
            );
            if known.in_use
                && has_blocks
                && let Ok(inode) = self.source.inode(*number)
            {
                let extents = fork::extents(&self.source, &inode);
                all.extend(occupied::ranges(&extents, *number));
            }
        }
        all
    }

    /// A directory that stands for one that is lost, or for none.
    fn made(&self, number: u64, place: ByteOffset) -> Inode {
        Inode {
            number: InodeNumber(number),
            standing: Standing::InUse,
            kind: FileKind::Directory,
            mode: 0o40_700,
            uid: 0,
            gid: 0,
            links: 2,
            size: 0,
            accessed: Timestamp::default(),
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            created: None,
            place,
            raw: Vec::new(),
        }
    }

    /// Takes out of a map what others occupy now.
    fn cut(&self, file: &Inode, extents: &mut Extents) {
        let mut whose: Vec<String> = Vec::new();
        for (name, taken) in &self.taken {
            if !taken.cut(extents, 0).is_empty() {
                whose.push(format!("the newer file system {name}"));
            }
        }
        let deleted = file.standing == Standing::Deleted;
        if deleted || self.laid.contains(&file.number.0) {
            let occupied = self.occupied.get_or_init(|| Occupied::new(self.ranges()));
            let itself = if deleted { 0 } else { file.number.0 };
            for owner in occupied.cut(extents, itself) {
                whose.push(match owner {
                    0 => "metadata".to_owned(),
                    owner => format!("inode {owner}"),
                });
            }
        }
        if !whose.is_empty() {
            let why = format!("it was written over by {}", whose.join(", "));
            let number = numbers::contents_of(file.number.0).unwrap_or(file.number.0);
            let what = format!("contents of inode {number}");
            let loss = self
                .source
                .volume
                .loss(what, file.place, Cause::Corrupt(why));
            extents.losses.push(loss);
        }
    }
}

impl Filesystem for Rebuilt {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.source.volume.view
    }

    fn root(&self) -> InodeNumber {
        InodeNumber(self.root)
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        let number = number.0;
        if let Some(deleted) = numbers::contents_of(number) {
            let inode = self.source.inode(deleted)?;
            let known = self.tree.ambiguous.contains(&deleted);
            let made = InodeNumber(number);
            let inode = known.then_some(Inode {
                number: made,
                ..inode
            });
            let nothing = || {
                let what = format!("inode {deleted}");
                let cause = corrupt("nothing names its contents so");
                self.source.volume.loss(what, ByteOffset::ZERO, cause)
            };
            return inode.ok_or_else(nothing);
        }
        if number == numbers::ORPHANS || number == numbers::ROOT {
            return Ok(self.made(number, ByteOffset::ZERO));
        }
        if self.tree.ambiguous.contains(&number) {
            let cause = corrupt("it was deleted, and files of several names were this inode");
            let what = format!("inode {number}");
            return Err(self.source.volume.loss(what, ByteOffset::ZERO, cause));
        }
        if let Some(place) = self.tree.ghosts.get(&number) {
            return Ok(self.made(number, *place));
        }
        let found = self.source.inode(number);
        if number == self.root && found.is_err() {
            return Ok(self.made(number, ByteOffset::ZERO));
        }
        found
    }

    fn entries(&self, dir: &Inode) -> Listing {
        let number = dir.number.0;
        let mut listing = Listing::default();
        if !dir.raw.is_empty() {
            listing = dir::list(&self.source.volume, dir);
            if dir.standing == Standing::Deleted {
                // Its blocks may be others' now: what they name in use is not in it any more.
                let gone = |entry: &DirEntry| {
                    let known = self.inodes.get(&entry.inode.0);
                    known.is_none_or(|known| !known.in_use)
                };
                listing.entries.retain(gone);
                listing.losses.clear();
            }
            listing
                .entries
                .retain(|entry| !numbers::is_made(entry.inode.0));
        }
        let extra = self.tree.extra.get(&number).into_iter().flatten();
        listing.entries.extend(extra.cloned());
        if number == self.root && self.tree.extra.contains_key(&numbers::ORPHANS) {
            listing.entries.push(DirEntry {
                name: numbers::ORPHANS_NAME.to_vec(),
                inode: InodeNumber(numbers::ORPHANS),
            });
        }
        listing.entries.sort();
        listing.entries.dedup();
        listing
    }

    fn extents(&self, file: &Inode) -> Extents {
        if file.raw.is_empty() {
            return Extents::default();
        }
        let mut extents = match file.kind {
            FileKind::Symlink => symlink::extents(&self.source.volume, file),
            _ => fork::extents(&self.source, file),
        };
        self.cut(file, &mut extents);
        extents
    }
}

/// Whether this inode is a file with contents.
fn is_file(raw: &[u8]) -> bool {
    let fields = Fields::new(raw);
    let mode = fields.be_u16(2).unwrap_or(0);
    let size = fields.be_u64(56).unwrap_or(0);
    FileKind::from_mode(mode) == Some(FileKind::Regular) && size > 0
}

/// What is known of each inode in `numbers`, which may come several times.
pub(super) fn known(source: &Source, numbers: impl Iterator<Item = u64>) -> Inodes {
    let numbers: BTreeSet<u64> = numbers.collect();
    let mut all = Inodes::new();
    for number in numbers {
        let Ok((_, raw)) = source.raw(number) else {
            continue;
        };
        let mode = Fields::new(&raw).be_u16(2).unwrap_or(0);
        let in_use = source.in_use(number, mode);
        let has_contents = match in_use {
            true => Fields::new(&raw).be_u64(56).unwrap_or(0) > 0,
            false => source.is_left(number, &raw),
        };
        all.insert(
            number,
            Known {
                kind: FileKind::from_mode(mode),
                in_use,
                has_contents,
            },
        );
    }
    all
}
