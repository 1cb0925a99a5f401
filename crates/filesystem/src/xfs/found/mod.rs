//! XFS put together from blocks, where its heads are lost.
//!
//! `seen.rs` recognises blocks in one pass; `geometry.rs` makes hypotheses of how they lie and
//! `proof.rs` judges them: what stands the judgement is a file system. `records.rs`, `items.rs`,
//! `logged.rs` and `replay.rs` read its log and lay what is newer there over its metadata in
//! memory. `chunks.rs` tells inodes in use from others, `deleted.rs` reads what is left of the
//! others, `tree.rs` makes a tree of all of it, and `rebuilt.rs` is what that tree looks like from
//! outside. `occupied.rs` keeps old files from bytes that are somebody else's now.

mod chunks;
mod deleted;
mod fork;
mod geometry;
mod items;
mod logged;
mod numbers;
mod occupied;
mod proof;
mod rebuilt;
mod records;
mod replay;
mod seen;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use evidence::view::Overlay;
use evidence::{ByteOffset, Cause, Loss};

pub(crate) use seen::Sightings;

use super::checksum::{BTREE_LONG, DIR3_DATA, Layout, mend};
use super::superblock::{Superblock, Version};
use super::volume::Volume;
use crate::cache::read_whole;
use crate::{Device, Filesystem, Found, InodeNumber, Kind, View};
use chunks::Chunks;
use geometry::{Hypothesis, NULLFSINO};
use occupied::Occupied;
use rebuilt::{Rebuilt, Source, Taken};
use seen::{Mark, SeenDir, SeenLeaf, UNMARKED};

/// Marks with fewer blocks than this are no file system, but something like one in a file.
const LEAST_BLOCKS: usize = 3;
/// So many inodes that cannot be placed are worth a loss.
const LEAST_LOST: usize = 8;
/// So many marks are looked at, those with the most blocks.
const MOST_MARKS: usize = 32;

/// All XFS of which something was seen on `device`. `opened` is the file system that the device's
/// superblock opens, of whatever kind.
pub(crate) fn find(
    device: &Device,
    seen: &Sightings,
    opened: Option<&dyn Filesystem>,
) -> (Vec<Found>, Vec<Loss>) {
    let mut losses = Vec::new();
    let is_xfs = opened.is_some_and(|fs| fs.info().kind == Kind::Xfs);
    let first = seen.superblocks.iter().find(|copy| copy.place == 0);
    let primary = first.filter(|_| is_xfs).map(|copy| &copy.sb);
    let split = Split::new(device, seen, primary);
    let others = geometries(device, &split.older(seen), primary, &mut losses);
    let mut all = Finds {
        device,
        found: Vec::new(),
        taken: Vec::new(),
    };
    if let Some(other) = opened.filter(|_| !is_xfs && !others.is_empty()) {
        all.taken.push((device.name.clone(), occupied::of(other)));
    }
    let shares = others.iter().any(|sb| !sb.has_crc());
    let mut led_to = HashSet::new();
    if let Some(sb) = primary {
        let own = match shares && !sb.has_crc() {
            true => &split.own(seen),
            false => seen,
        };
        led_to = all.add(own, sb.clone(), true);
    }
    let mut older = split.older(seen);
    older
        .dirs
        .retain(|dir| dir.mark != UNMARKED || !led_to.contains(&dir.place));
    for sb in others {
        all.add(&older, sb, false);
    }
    (all.found, losses)
}

/// The file systems of a device while they are put together, the newest first.
struct Finds<'a> {
    device: &'a Device,
    found: Vec<Found>,
    /// Where each lies, for those that are older.
    taken: Vec<(String, Ranges)>,
}

/// Ranges of a device, each with the inode that it belongs to.
type Ranges = Vec<(Range<u64>, u64)>;

impl Finds<'_> {
    /// Puts the file system of `sb` together; gives the directory blocks that it uses.
    fn add(&mut self, seen: &Sightings, sb: Superblock, is_primary: bool) -> HashSet<u64> {
        let device = self.device;
        let name = match is_primary {
            true => device.name.clone(),
            false => format!("{}#xfs-{}", device.name, digits(&sb)),
        };
        if self.found.iter().any(|other| other.name == name) {
            return HashSet::new();
        }
        let by = |(name, list): &(String, Vec<_>)| (name.clone(), Occupied::new(list.clone()));
        let make = Make {
            device,
            seen,
            name: &name,
            is_primary,
            taken: self.taken.iter().map(by).collect(),
        };
        let mut fs = make.rebuilt(sb);
        let led_to = std::mem::take(&mut fs.tree.led_to);
        self.taken.push((name.clone(), fs.ranges()));
        let view = match is_primary {
            true => View::Opened(device.name.clone()),
            false => View::Device(device.name.clone()),
        };
        let fs = Box::new(fs);
        self.found.push(Found { name, view, fs });
        led_to
    }
}

/// Which version 4 inodes can be those of the file system that opens, if that is of version 4.
///
/// Its own are in chunks of its inode trees, or were changed after it was made. All others are of
/// an older file system.
struct Split {
    /// Places of inodes in its chunks; `None` if there is no such file system.
    own: Option<HashSet<u64>>,
    /// When it was made: nothing of it was changed earlier.
    since: u32,
}

impl Split {
    fn new(device: &Device, seen: &Sightings, primary: Option<&Superblock>) -> Self {
        let none = Self {
            own: None,
            since: 0,
        };
        let Some(sb) = primary.filter(|sb| !sb.has_crc()) else {
            return none;
        };
        let volume = Volume::new(&device.name, sb.clone(), Arc::clone(&device.bytes));
        let chunks = Chunks::read(&volume);
        let is_own = |inode: &&seen::SeenInode| {
            let number = sb.inode_at(ByteOffset::new(inode.place));
            number.is_some_and(|number| chunks.claims(number.0))
        };
        let version4 = seen.inodes.iter().filter(|inode| inode.mark == UNMARKED);
        let own: Vec<_> = version4.filter(is_own).collect();
        let in_use = own.iter().filter(|inode| inode.mode != 0);
        Self {
            since: in_use.map(|inode| inode.changed).min().unwrap_or(0),
            own: Some(own.iter().map(|inode| inode.place).collect()),
        }
    }

    fn is_older(&self, inode: &seen::SeenInode) -> bool {
        match &self.own {
            _ if inode.mark != UNMARKED => true,
            None => true,
            Some(own) => !own.contains(&inode.place) && inode.changed < self.since,
        }
    }

    /// What was seen, without what the file system that opens has.
    fn older(&self, seen: &Sightings) -> Sightings {
        let mut older = seen.clone();
        older.inodes.retain(|inode| self.is_older(inode));
        older
    }

    /// What was seen of the file system that opens.
    fn own(&self, seen: &Sightings) -> Sightings {
        let mut own = seen.clone();
        own.inodes.retain(|inode| !self.is_older(inode));
        own.dirs.clear();
        own
    }
}

/// Eight digits that name a file system: of its UUID, or where that is lost of its geometry.
fn digits(sb: &Superblock) -> String {
    let [a, b, c, d, ..] = sb.sb_uuid;
    if sb.sb_uuid != UNMARKED {
        return format!("{a:02x}{b:02x}{c:02x}{d:02x}");
    }
    let shape = format!("{} {} {}", sb.base, sb.block.get(), sb.sb_agblocks);
    format!("{:08x}", crc32c::crc32c(shape.as_bytes()))
}

/// The proven geometries of file systems other than `primary`.
fn geometries(
    device: &Device,
    seen: &Sightings,
    primary: Option<&Superblock>,
    losses: &mut Vec<Loss>,
) -> Vec<Superblock> {
    let mut all: Vec<Superblock> = Vec::new();
    let length = device.bytes.len();
    for mark in marks(seen) {
        if primary.is_some_and(|sb| sb.has_crc() && sb.meta_uuid == mark) {
            continue;
        }
        let mut hypotheses = geometry::hypotheses(seen, mark, length);
        if mark == UNMARKED {
            let copies = seen.superblocks.iter().map(|copy| &copy.sb);
            let borrowed = all.iter().chain(copies);
            hypotheses.extend(borrowed.filter_map(|sb| geometry::borrowed(seen, sb, length)));
            let uuid = primary.map(|sb| sb.sb_uuid);
            hypotheses.retain(|hypothesis| Some(hypothesis.sb.sb_uuid) != uuid);
        }
        match best(device, seen, hypotheses) {
            Some((agreement, sb)) if agreement.proves() => {
                all.push(named(seen, sb, primary));
            }
            best => {
                let agreement = best.map(|(agreement, _)| agreement).unwrap_or_default();
                losses.extend(unproven(device, seen, mark, agreement));
            }
        }
    }
    all
}

/// The hypothesis that most blocks agree with.
fn best(
    device: &Device,
    seen: &Sightings,
    hypotheses: Vec<Hypothesis>,
) -> Option<(proof::Agreement, Superblock)> {
    let mut best: Option<(proof::Agreement, Superblock)> = None;
    for Hypothesis { sb, by_maps_only } in hypotheses {
        let volume = Volume::new(&device.name, sb.clone(), Arc::clone(&device.bytes));
        let mut agreement = proof::agreement(&volume, seen);
        if by_maps_only && agreement.maps == 0 {
            agreement.agree = 0;
        }
        if best
            .as_ref()
            .is_none_or(|(most, _)| agreement.net() > most.net())
        {
            best = Some((agreement, sb));
        }
    }
    best
}

/// `sb` with the UUID that a log gives it, if it has none and there is one of nobody else's.
fn named(seen: &Sightings, sb: Superblock, primary: Option<&Superblock>) -> Superblock {
    if sb.sb_uuid != UNMARKED {
        return sb;
    }
    let others: HashSet<Mark> = marks(seen)
        .into_iter()
        .chain(primary.map(|sb| sb.sb_uuid))
        .collect();
    let uuids = seen.records.iter().map(|record| record.uuid);
    let uuid = geometry::most(uuids.filter(|uuid| !others.contains(uuid)));
    Superblock {
        sb_uuid: uuid.unwrap_or(UNMARKED),
        ..sb
    }
}

/// The marks of version 5 metadata by how many blocks have them, then that of version 4.
fn marks(seen: &Sightings) -> Vec<Mark> {
    let mut counts: BTreeMap<Mark, usize> = BTreeMap::new();
    let inodes = seen.inodes.iter().map(|inode| inode.mark);
    let dirs = seen.dirs.iter().map(|dir| dir.mark);
    let leaves = seen.leaves.iter().map(|leaf| leaf.mark);
    for mark in inodes.chain(dirs).chain(leaves) {
        let count = counts.entry(mark).or_default();
        *count = count.saturating_add(1);
    }
    let version4 = counts.remove(&UNMARKED);
    let mut marks: Vec<(usize, Mark)> = counts.into_iter().map(|(mark, n)| (n, mark)).collect();
    marks.retain(|(count, _)| *count >= LEAST_BLOCKS);
    marks.sort_by(|one, other| other.cmp(one));
    marks.truncate(MOST_MARKS);
    let version4 = version4.map(|_| UNMARKED);
    marks
        .into_iter()
        .map(|(_, mark)| mark)
        .chain(version4)
        .collect()
}

/// The loss of a file system whose metadata contradict each other's places.
fn unproven(
    device: &Device,
    seen: &Sightings,
    mark: Mark,
    agreement: proof::Agreement,
) -> Option<Loss> {
    let ours = || seen.inodes.iter().filter(|inode| inode.mark == mark);
    let count = ours().count();
    let first = ours().next().filter(|_| count >= LEAST_LOST)?;
    // What version 4 leaves behind looks like much, and most of it is nothing.
    if mark == UNMARKED && agreement.agree == 0 {
        return None;
    }
    let why = format!(
        "{count} inodes were found, but how they lie is not proven: {} blocks agree, {} do not",
        agreement.agree, agreement.contradict
    );
    Some(Loss {
        what: "an XFS without a superblock".to_owned(),
        origin: evidence::Origin::new(device.name.clone(), ByteOffset::new(first.place)),
        cause: Cause::Corrupt(why),
    })
}

/// One file system while it is put together.
struct Make<'a> {
    device: &'a Device,
    seen: &'a Sightings,
    name: &'a str,
    is_primary: bool,
    taken: Vec<Taken>,
}

impl Make<'_> {
    /// The file system with the geometry of `sb`.
    fn rebuilt(self, mut sb: Superblock) -> Rebuilt {
        let mark = match sb.version {
            Version::V4 => UNMARKED,
            Version::V5 => sb.meta_uuid,
        };
        if !self.is_primary {
            // Copies of the superblock say so until `mkfs.xfs` comes back to the first.
            sb.notes.retain(|note| !note.contains("sb_inprogress"));
        }
        let mended = self.mended(&sb, mark);
        let ours = |record: &&seen::SeenRecord| record.uuid == sb.sb_uuid;
        let records: Vec<_> = self.seen.records.iter().filter(ours).copied().collect();
        let volume = Volume::new(self.name, sb, Arc::clone(&self.device.bytes))
            .with_metadata(Arc::new(mended.clone()));
        let replayed = replay::replay(&volume, mended, &records);
        let volume = volume.with_metadata(replayed.metadata);
        let trusted = self.is_primary || volume.sb.has_crc();
        let source = Source {
            chunks: trusted.then(|| Chunks::read(&volume)),
            former: replayed.former,
            leaves: self.leaves(&volume, mark),
            volume,
        };
        let numbers = self.numbers(&source, mark);
        let laid: HashSet<u64> = replayed.laid.into_iter().collect();
        let inodes = rebuilt::known(&source, numbers.into_iter().chain(laid.iter().copied()));
        let root = root(&source, &inodes);
        let blocks = self.blocks(&source.volume, mark);
        let read = |number| source.directory(number);
        let tree = tree::build(&source.volume, &inodes, &blocks, root, &read);
        let mut info = super::info(&source.volume);
        if source.volume.sb.sb_logstart == 0 && !self.is_primary {
            // Where the log lies stands only in superblocks; its records are found without.
            info.notes
                .retain(|note| !note.contains("the log is on another device"));
        }
        if replayed.count > 0 {
            info.notes.retain(|note| !note.contains("not replayed"));
            info.notes.push(format!(
                "{} blocks and inodes were taken from the log",
                replayed.count
            ));
        }
        Rebuilt {
            metadata: self.metadata(&source),
            source,
            info,
            root,
            tree,
            inodes,
            taken: self.taken,
            laid,
            occupied: OnceLock::new(),
        }
    }

    /// The view, with directory blocks and leaves mended in which a single bit was flipped.
    fn mended(&self, sb: &Superblock, mark: Mark) -> Overlay {
        let mut overlay = Overlay::new(Arc::clone(&self.device.bytes));
        if mark == UNMARKED {
            return overlay;
        }
        let mut block = |place: u64, length: usize, layout: Layout, address: u64| {
            let at = ByteOffset::new(place);
            if sb.inside(at) != Some(address) {
                return;
            }
            if let Ok(mut bytes) = read_whole(&self.device.bytes, at, length)
                && mend(&mut bytes, layout.crc)
            {
                overlay.lay(at, &bytes);
            }
        };
        for dir in self
            .seen
            .dirs
            .iter()
            .filter(|d| d.mark == mark && d.size.is_none())
        {
            block(dir.place, sb.dirblock_bytes(), DIR3_DATA, dir.address);
        }
        for leaf in self
            .seen
            .leaves
            .iter()
            .filter(|l| l.mark == mark && l.size.is_none())
        {
            block(leaf.place, sb.block.len(), BTREE_LONG, leaf.address);
        }
        overlay
    }

    /// The leaves of this file system by the inode that they say they belong to.
    fn leaves(&self, volume: &Volume, mark: Mark) -> HashMap<u64, Vec<u64>> {
        let mut all: HashMap<u64, Vec<u64>> = HashMap::new();
        let fits = |leaf: &&SeenLeaf| {
            let inside = volume.sb.inside(ByteOffset::new(leaf.place));
            mark != UNMARKED && leaf.mark == mark && inside == Some(leaf.address)
        };
        for leaf in self.seen.leaves.iter().filter(fits) {
            all.entry(leaf.owner).or_default().push(leaf.place);
        }
        all
    }

    /// The numbers of all inodes of this file system.
    fn numbers(&self, source: &Source, mark: Mark) -> Vec<u64> {
        let sb = &source.volume.sb;
        let mut all = Vec::new();
        if let Some(chunks) = &source.chunks {
            for start in chunks.starts() {
                all.extend(start..start.saturating_add(64));
            }
        }
        for inode in self.seen.inodes.iter().filter(|inode| inode.mark == mark) {
            let place = ByteOffset::new(inode.place);
            if mark != UNMARKED {
                if sb.inode_place(InodeNumber(inode.ino)) == Some(place) {
                    all.push(inode.ino);
                }
                continue;
            }
            let Some(number) = sb.inode_at(place) else {
                continue;
            };
            all.push(number.0);
        }
        all
    }

    /// The directory blocks of this file system.
    fn blocks(&self, volume: &Volume, mark: Mark) -> Vec<SeenDir> {
        let ours = self.seen.dirs.iter().filter(|dir| dir.mark == mark);
        let fits = |dir: &&SeenDir| {
            let place = ByteOffset::new(dir.place);
            match mark {
                UNMARKED => volume.sb.block_at(place).is_some(),
                _ => volume.sb.inside(place) == Some(dir.address),
            }
        };
        ours.filter(fits).copied().collect()
    }

    /// Where metadata in use lies that is no file's: headers and trees of groups, chunks, the log.
    fn metadata(&self, source: &Source) -> Vec<Range<u64>> {
        let sb = &source.volume.sb;
        let mut all = Vec::new();
        let block = u64::from(sb.block.get());
        let mut add = |start: super::ag::FsBlock, count: u64| {
            if let Some(at) = sb.run(start, count) {
                let length = count.saturating_mul(block);
                all.push(at.get()..at.get().saturating_add(length));
            }
        };
        for agno in 0..u64::from(sb.sb_agcount) {
            let first = agno.checked_shl(sb.sb_agblklog.into()).unwrap_or(0);
            // mkfs.xfs puts the roots of all trees right behind the headers.
            let headers = u64::from(sb.sb_sectsize).saturating_mul(4).div_ceil(block);
            add(super::ag::FsBlock(first), headers.saturating_add(6));
        }
        if sb.sb_logstart > 0 {
            add(super::ag::FsBlock(sb.sb_logstart), sb.sb_logblocks.into());
        }
        let starts: BTreeSet<u64> = source.chunks.iter().flat_map(Chunks::starts).collect();
        for start in starts {
            if let Some(at) = sb.inode_place(InodeNumber(start)) {
                let length = u64::from(sb.sb_inodesize).saturating_mul(64);
                all.push(at.get()..at.get().saturating_add(length));
            }
        }
        all
    }
}

/// The number of the root: what the superblock says, or the directory that is its own parent.
fn root(source: &Source, inodes: &tree::Inodes) -> u64 {
    let says = source.volume.sb.sb_rootino;
    if says != NULLFSINO {
        return says;
    }
    let is_root = |number: &u64| {
        let dir = source.directory(*number);
        let parent = dir.and_then(|dir| super::dir::parent(&source.volume, &dir));
        parent == Some(InodeNumber(*number))
    };
    let dirs = inodes
        .iter()
        .filter(|(_, known)| known.in_use && known.kind == Some(crate::FileKind::Directory));
    dirs.map(|(number, _)| *number)
        .find(is_root)
        .unwrap_or(numbers::ROOT)
}
