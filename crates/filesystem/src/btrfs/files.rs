//! Inodes, directories and maps of files, from the items of their branch.

use std::collections::BTreeSet;
use std::ops::Range;

use evidence::{ByteOffset, Cause, GapCause, Loss};

use super::Btrfs;
use super::branch::{Branch, Number};
use super::dir::{self, DirEntryItem};
use super::extent::{self, FileExtent};
use super::inode::{self, Extra, nameless_directory};
use super::key::{DIR_INDEX, DIR_ITEM, EXTENT_DATA, FIRST_FREE, INODE_ITEM, Key, ROOT_ITEM};
use super::proof;
use super::tree::Seen;
use super::volume::corrupt;
use crate::{DirEntry, Extents, FileKind, Inode, InodeNumber, Listing, Place, Standing};

/// Where the loss of a part of a tree is.
const LOST_ITEMS: Cause = Cause::Gap(GapCause::ChecksumMismatch);

/// The keys of the items of `item_type` of an inode.
fn items_of(objectid: u64, item_type: u8) -> Range<Key> {
    let first = Key::new(objectid, item_type, 0);
    first..Key::new(objectid, item_type, u64::MAX).next()
}

/// The inode `number`.
pub(super) fn inode(fs: &Btrfs, number: InodeNumber) -> Result<Inode, Loss> {
    let loss = |at: u64, cause| fs.volume.loss(format!("inode {number}"), at, cause);
    let (index, objectid) = match Number::of(number) {
        Number::Orphans => {
            return Ok(nameless_directory(number, Standing::InUse));
        }
        Number::Inode(index, objectid) => (index, objectid),
    };
    let Some(branch) = fs.branches.get(index) else {
        return Err(loss(0, corrupt("its subvolume is lost")));
    };
    let key = Key::new(objectid, INODE_ITEM, 0);
    let found = branch.tree.find(&fs.volume, key, |entry| {
        let place = ByteOffset::new(entry.at);
        inode::parse(entry.data, number, branch.standing, place)
            .map_err(|why| loss(entry.at, corrupt(why)))
    });
    match found {
        Some(found) => found,
        None if is_directory(fs, number, branch, objectid) => {
            Ok(nameless_directory(number, branch.standing))
        }
        None if branch.tree.is_lost(&fs.volume, key..key.next()) => Err(loss(0, LOST_ITEMS)),
        None => Err(loss(0, corrupt("it is not in use"))),
    }
}

/// Whether an inode that is lost must have been a directory: it lists something, or is a root.
fn is_directory(fs: &Btrfs, number: InodeNumber, branch: &Branch, objectid: u64) -> bool {
    let mut lists = objectid == FIRST_FREE || fs.adopted.contains_key(&number);
    let items = Key::new(objectid, DIR_ITEM, 0)..Key::new(objectid, DIR_INDEX, u64::MAX);
    if !lists {
        branch.tree.visit(&fs.volume, items, &mut |seen| {
            lists |= matches!(seen, Seen::Item(entry) if is_listing(entry.key));
        });
    }
    lists
}

/// Whether an item lists names of a directory.
const fn is_listing(key: Key) -> bool {
    matches!(key.item_type, DIR_ITEM | DIR_INDEX)
}

/// What the directory `dir` lists.
pub(super) fn entries(fs: &Btrfs, dir: &Inode) -> Listing {
    let mut names: BTreeSet<DirEntry> = BTreeSet::new();
    let mut losses = Vec::new();
    if let Number::Inode(index, objectid) = Number::of(dir.number)
        && let Some(branch) = fs.branches.get(index)
        && dir.kind == FileKind::Directory
        && branch.lists
    {
        listed(fs, index, branch, objectid, &mut names, &mut losses);
    }
    let adopted = fs.adopted.get(&dir.number);
    names.extend(adopted.into_iter().flatten().cloned());
    Listing {
        entries: names.into_iter().collect(),
        losses,
    }
}

/// Adds what the items of a directory list.
///
/// Each name has an item by its hash and one by its place in the directory. One of them is
/// enough; both are read, since either may be lost.
fn listed(
    fs: &Btrfs,
    index: usize,
    branch: &Branch,
    objectid: u64,
    names: &mut BTreeSet<DirEntry>,
    losses: &mut Vec<Loss>,
) {
    let mut lost = [false; 2];
    for (kind, lost) in [DIR_INDEX, DIR_ITEM].into_iter().zip(&mut lost) {
        let part = items_of(objectid, kind);
        branch.tree.visit(&fs.volume, part, &mut |seen| match seen {
            Seen::Item(entry) => {
                let (found, broken) = dir::dir_items(entry.key, entry.data);
                *lost |= broken;
                let known = found.into_iter().filter_map(|item| {
                    Some(DirEntry {
                        inode: target(fs, index, branch, objectid, &item)?,
                        name: item.name,
                    })
                });
                names.extend(known);
            }
            Seen::NoData(_) | Seen::Lost(..) => *lost = true,
        });
    }
    if lost == [true; 2] {
        let what = format!("names in directory {objectid} of subvolume {}", branch.id);
        losses.push(fs.volume.loss(what, 0, LOST_ITEMS));
    }
}

/// The inode that a name stands for; `None` for the place of a subvolume that is linked elsewhere:
/// a snapshot keeps the names of the subvolumes that its original holds.
fn target(
    fs: &Btrfs,
    index: usize,
    branch: &Branch,
    dirid: u64,
    item: &DirEntryItem,
) -> Option<InodeNumber> {
    let location = item.location;
    match location.item_type {
        INODE_ITEM => Number::inode(index, location.objectid),
        ROOT_ITEM => {
            let is_it = |other: &&Branch| {
                let link = other.link.as_ref();
                other.id == location.objectid
                    && other.standing == Standing::InUse
                    && link.is_none_or(|link| link.tree == branch.id && link.dirid == dirid)
            };
            let all = fs.branches.iter().enumerate();
            let found = all.into_iter().find(|(_, other)| is_it(other));
            Number::inode(found?.0, FIRST_FREE)
        }
        _ => None,
    }
}

/// The map of `file`.
pub(super) fn extents(fs: &Btrfs, file: &Inode) -> Extents {
    let Number::Inode(index, objectid) = Number::of(file.number) else {
        return Extents::default();
    };
    let Some(branch) = fs.branches.get(index) else {
        return Extents::default();
    };
    if file.kind == FileKind::Special || file.kind == FileKind::Directory {
        return Extents::default();
    }
    let mut map = Map {
        fs,
        branch,
        objectid,
        nodatasum: Extra::parse(&file.raw).is_some_and(|extra| extra.nodatasum),
        nbytes: 0,
        parts: Vec::new(),
        lost: Vec::new(),
        losses: Vec::new(),
    };
    let items = items_of(objectid, EXTENT_DATA);
    branch
        .tree
        .visit(&fs.volume, items, &mut |seen| map.add(seen));
    // Where extents are missing that the inode counts, nobody can say what is a hole.
    let counted = Extra::parse(&file.raw).map_or(0, |extra| extra.nbytes);
    let between = if map.nbytes < counted {
        Place::Lost
    } else {
        Place::Hole
    };
    let pieces = extent::map(file.size, map.parts, map.lost, between);
    let mut losses = map.losses;
    if losses.is_empty() {
        for piece in pieces.iter().filter(|piece| piece.place == Place::Lost) {
            let end = piece.file_offset.saturating_add(piece.length);
            let what = what(branch, objectid, &(piece.file_offset..end));
            losses.push(fs.volume.loss(what, file.place.get(), LOST_ITEMS));
        }
    }
    Extents { pieces, losses }
}

/// A part of a file, in words.
fn what(branch: &Branch, objectid: u64, range: &Range<u64>) -> String {
    let Range { start, end } = range;
    format!(
        "bytes {start} to {end} of inode {objectid} of subvolume {}",
        branch.id
    )
}

/// The map of a file while it is read.
struct Map<'a> {
    fs: &'a Btrfs,
    branch: &'a Branch,
    objectid: u64,
    nodatasum: bool,
    /// How many bytes the extents have that were found, without holes.
    nbytes: u64,
    parts: Vec<(Range<u64>, Place)>,
    lost: Vec<Range<u64>>,
    losses: Vec<Loss>,
}

impl Map<'_> {
    fn add(&mut self, seen: Seen<'_>) {
        let volume = &self.fs.volume;
        match seen {
            Seen::Item(entry) => {
                let sector = volume.format.sectorsize;
                let found = FileExtent::parse(entry.key, entry.data, entry.at, sector);
                let Some(found) = found else {
                    let range = entry.key.offset..u64::MAX;
                    let cause = corrupt("the item that maps them contradicts itself");
                    let what = what(self.branch, self.objectid, &range);
                    self.losses.push(volume.loss(what, entry.at, cause));
                    self.lost.push(range);
                    return;
                };
                let place = match proof::check(self.fs, &found, entry.leaf, self.nodatasum) {
                    Ok(()) => found.place(),
                    Err(cause) => {
                        let what = what(self.branch, self.objectid, &found.range());
                        self.losses.push(volume.loss(what, entry.at, cause));
                        Place::Lost
                    }
                };
                if found.place() != Place::Hole {
                    self.nbytes = self.nbytes.saturating_add(found.num_bytes);
                }
                self.parts.push((found.range(), place));
            }
            Seen::NoData(key) => self.lost.push(key.offset..u64::MAX),
            Seen::Lost(from, to) => {
                let is_of =
                    |key: Key| key.objectid == self.objectid && key.item_type == EXTENT_DATA;
                let start = if is_of(from) { from.offset } else { 0 };
                let end = if is_of(to) { to.offset } else { u64::MAX };
                self.lost.push(start..end);
            }
        }
    }
}
