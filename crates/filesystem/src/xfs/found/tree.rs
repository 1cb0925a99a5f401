//! The tree of directories, put together from both ends.
//!
//! Directories in use list their entries as ever. To these come, where nothing else names the
//! inode: names in directory blocks that no directory leads to any more, and names of deleted
//! files in the free space of blocks. Directories that nothing names hang in the one that `..`
//! says, or in `#orphans`; files that nothing names hang there too, deleted ones among them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use evidence::ByteOffset;

use super::deleted;
use super::numbers;
use super::seen::SeenDir;
use crate::xfs::data;
use crate::xfs::dir;
use crate::xfs::volume::Volume;
use crate::{DirEntry, FileKind, Inode, InodeNumber};

/// What is known of an inode that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What it is or was; `None` if that is gone.
    pub(super) kind: Option<FileKind>,
    pub(super) in_use: bool,
    /// Whether it has contents: what has none is not worth a name that it lost.
    pub(super) has_contents: bool,
}

/// All inodes that were seen, by number.
pub(super) type Inodes = BTreeMap<u64, Known>;

/// What the live directories do not say themselves.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// More entries, by directory.
    pub(super) extra: HashMap<u64, Vec<DirEntry>>,
    /// Directories whose inodes are gone or free, of which entries are known. They have a place
    /// for origins.
    pub(super) ghosts: BTreeMap<u64, ByteOffset>,
    /// Places of directory blocks that the maps of directories in use lead to.
    pub(super) led_to: HashSet<u64>,
    /// Deleted inodes that several files of different names may have been. Their contents are a file without
    /// a name.
    pub(super) ambiguous: BTreeSet<u64>,
}

/// Where a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// In a block of a directory that is lost, or lost a part of its map.
    LostDirectory,
    /// In a block that a directory gave back, or of a deleted directory.
    StrayBlock,
    /// In free space.
    Deleted,
}

/// A name that no directory lists.
struct Candidate {
    source: Source,
    dir: u64,
    entry: DirEntry,
}

/// Puts the tree together. `read` gives an inode in use; `root` is the root's number.
pub(super) fn build(
    volume: &Volume,
    inodes: &Inodes,
    blocks: &[SeenDir],
    root: u64,
    read: &impl Fn(u64) -> Option<Inode>,
) -> Tree {
    let mut build = Build {
        volume,
        inodes,
        root,
        named: HashSet::new(),
        below: HashMap::new(),
        parents: BTreeMap::new(),
        led_to: HashSet::new(),
        damaged: HashSet::new(),
        tree: Tree::default(),
    };
    let mut candidates = Vec::new();
    for (number, known) in inodes {
        if known.in_use
            && known.kind == Some(FileKind::Directory)
            && let Some(inode) = read(*number)
        {
            build.live(&inode, &mut candidates);
        }
    }
    build.strays(blocks, &mut candidates);
    build.names(candidates);
    build.orphans();
    build.tree.led_to = build.led_to;
    build.tree
}

struct Build<'a> {
    volume: &'a Volume,
    inodes: &'a Inodes,
    root: u64,
    /// Inodes that some entry names.
    named: HashSet<u64>,
    /// Directories by the directory that names them.
    below: HashMap<u64, Vec<u64>>,
    /// Directories in use, with what `..` says.
    parents: BTreeMap<u64, Option<u64>>,
    /// Places of directory blocks that maps lead to.
    led_to: HashSet<u64>,
    /// Directories in use that could not be listed whole.
    damaged: HashSet<u64>,
    tree: Tree,
}

impl Build<'_> {
    fn is_directory(&self, number: u64) -> bool {
        let known = self.inodes.get(&number);
        known.is_some_and(|known| known.kind == Some(FileKind::Directory))
            || self.tree.ghosts.contains_key(&number)
    }

    fn in_use(&self, number: u64) -> bool {
        self.inodes.get(&number).is_some_and(|known| known.in_use)
    }

    /// Notes that `dir` names `child`.
    fn name(&mut self, dir: u64, child: u64) {
        self.named.insert(child);
        if self.is_directory(child) {
            self.below.entry(dir).or_default().push(child);
        }
    }

    /// What a directory in use says.
    fn live(&mut self, inode: &Inode, candidates: &mut Vec<Candidate>) {
        let number = inode.number.0;
        let listing = dir::list(self.volume, inode);
        for entry in &listing.entries {
            self.name(number, entry.inode.0);
        }
        if !listing.losses.is_empty() {
            self.damaged.insert(number);
        }
        let parent = dir::parent(self.volume, inode).map(|parent| parent.0);
        self.parents.insert(number, parent);
        for place in dir::places(self.volume, inode) {
            self.led_to.insert(place.get());
            self.deleted(number, place, candidates);
        }
    }

    /// Names of deleted files in the block at `place` of the directory `dir`.
    fn deleted(&self, dir: u64, place: ByteOffset, candidates: &mut Vec<Candidate>) {
        let Some((bytes, within)) = dir::loose(self.volume, place) else {
            return;
        };
        for entry in deleted::entries(&bytes, within, self.volume.sb.features.ftype) {
            candidates.push(Candidate {
                source: Source::Deleted,
                dir,
                entry: DirEntry {
                    name: entry.name.to_vec(),
                    inode: InodeNumber(entry.inumber),
                },
            });
        }
    }

    /// What the blocks say that no map leads to.
    fn strays(&mut self, blocks: &[SeenDir], candidates: &mut Vec<Candidate>) {
        let ftype = self.volume.sb.features.ftype;
        for block in blocks {
            if self.led_to.contains(&block.place) {
                continue;
            }
            let place = ByteOffset::new(block.place);
            let Some((bytes, within)) = dir::loose(self.volume, place) else {
                continue;
            };
            let dir = match block.owner {
                0 => numbers::of_block(block.place),
                owner => owner,
            };
            let is_lost = !self.inodes.contains_key(&dir) || self.damaged.contains(&dir);
            let source = match is_lost {
                true => Source::LostDirectory,
                false => Source::StrayBlock,
            };
            if !self.parents.contains_key(&dir) {
                self.tree.ghosts.entry(dir).or_insert(place);
            }
            if block.parent > 0 && source == Source::LostDirectory {
                self.parents.entry(dir).or_insert(Some(block.parent));
            }
            for entry in data::parse(&bytes, within, ftype).0 {
                let dots = entry.name == b"." || entry.name == b"..";
                if dots || entry.name.contains(&b'/') || entry.name.contains(&0) {
                    continue;
                }
                let name = entry.name.to_vec();
                let inode = entry.inumber;
                candidates.push(Candidate {
                    source,
                    dir,
                    entry: DirEntry { name, inode },
                });
            }
            self.deleted(dir, place, candidates);
        }
    }

    /// Takes the names that name something that nothing else does.
    fn names(&mut self, mut candidates: Vec<Candidate>) {
        // Numbers that are made here lie on no device.
        candidates.retain(|candidate| !numbers::is_made(candidate.entry.inode.0));
        candidates.sort_by(|one, other| {
            let key = |c: &Candidate| (c.source, c.dir, c.entry.inode);
            key(one)
                .cmp(&key(other))
                .then_with(|| one.entry.name.cmp(&other.entry.name))
        });
        let mut stems: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut taken: HashSet<u64> = HashSet::new();
        for candidate in candidates {
            let number = candidate.entry.inode.0;
            let accept = match self.inodes.get(&number) {
                // An entry that was deleted may be of an earlier file of that number: it would
                // give somebody's file to somebody else.
                Some(known) if known.in_use => {
                    let live = candidate.source == Source::LostDirectory;
                    live && (taken.contains(&number) || !self.named.contains(&number))
                }
                Some(_) => !self.named.contains(&number) || stems.contains_key(&number),
                None => candidate.source == Source::LostDirectory && !self.named.contains(&number),
            };
            if !accept {
                continue;
            }
            if self.in_use(number) {
                taken.insert(number);
            } else if self.inodes.contains_key(&number) {
                let stem = stem(&candidate.entry.name).to_vec();
                let first = stems.entry(number).or_insert_with(|| stem.clone());
                if *first != stem {
                    self.tree.ambiguous.insert(number);
                }
            }
            self.name(candidate.dir, number);
            let extra = self.tree.extra.entry(candidate.dir).or_default();
            extra.push(candidate.entry);
        }
        let extra = &self.tree.extra;
        self.tree.ghosts.retain(|dir, _| extra.contains_key(dir));
    }

    fn hang(&mut self, dir: u64, number: u64) {
        self.name(dir, number);
        let extra = self.tree.extra.entry(dir).or_default();
        extra.push(DirEntry {
            name: format!("#{}", numbers::shown(number)).into_bytes(),
            inode: InodeNumber(number),
        });
    }

    /// Hangs what nothing names where it belongs.
    fn orphans(&mut self) {
        let mut lost: Vec<u64> = self.parents.keys().copied().collect();
        lost.extend(self.tree.ghosts.keys().copied());
        lost.sort_unstable();
        lost.dedup();
        lost.retain(|number| *number != self.root && !self.named.contains(number));
        for number in &lost {
            let parent = self.parents.get(number).copied().flatten();
            match parent.filter(|parent| parent != number && *parent > 0) {
                Some(parent) if self.parents.contains_key(&parent) || parent == self.root => {
                    self.hang(parent, *number);
                }
                // The directory above is known by its number only: those that it held stay
                // together.
                Some(parent) if !self.inodes.contains_key(&parent) => {
                    let place = ByteOffset::ZERO;
                    self.tree.ghosts.entry(parent).or_insert(place);
                    self.hang(parent, *number);
                    if !self.named.contains(&parent) {
                        self.hang(numbers::ORPHANS, parent);
                    }
                }
                _ => self.hang(numbers::ORPHANS, *number),
            }
        }
        let files = self.inodes.iter().filter(|(number, known)| {
            let is_file = match known.in_use {
                true => known.kind.is_some_and(|kind| kind != FileKind::Directory),
                // What is left of a deleted directory is no file.
                false => !self.tree.ghosts.contains_key(*number),
            };
            is_file && known.has_contents && !self.named.contains(*number)
        });
        let files: Vec<u64> = files.map(|(number, _)| *number).collect();
        for number in files {
            self.hang(numbers::ORPHANS, number);
        }
        let ambiguous = self.tree.ambiguous.iter();
        let nameless: Vec<u64> = ambiguous
            .filter(|number| {
                self.inodes
                    .get(number)
                    .is_some_and(|known| known.has_contents)
            })
            .map(|number| numbers::nameless(*number))
            .collect();
        for number in nameless {
            self.hang(numbers::ORPHANS, number);
        }
        self.loops();
    }

    /// Directories that are reached from nowhere hold each other: one of each loop is hung up.
    fn loops(&mut self) {
        let mut reached: HashSet<u64> = HashSet::new();
        self.reach(self.root, &mut reached);
        self.reach(numbers::ORPHANS, &mut reached);
        let mut all: Vec<u64> = self.parents.keys().copied().collect();
        all.extend(self.tree.ghosts.keys().copied());
        all.sort_unstable();
        for number in all {
            if !reached.contains(&number) {
                self.hang(numbers::ORPHANS, number);
                self.reach(number, &mut reached);
            }
        }
    }

    fn reach(&self, from: u64, reached: &mut HashSet<u64>) {
        let mut open = vec![from];
        while let Some(number) = open.pop() {
            if reached.insert(number) {
                open.extend(self.below.get(&number).into_iter().flatten().copied());
            }
        }
    }
}

/// The part of a name that stays when a message is delivered, read or moved: a file that is
/// renamed from `tmp` to `new` to `cur` leaves several deleted names.
fn stem(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| matches!(byte, b':' | b','));
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}
