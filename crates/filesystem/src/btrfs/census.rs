//! What is in the trees of files, and what no directory leads to.

use std::collections::{BTreeMap, HashSet};

use super::Btrfs;
use super::branch::{Number, ORPHANS};
use super::dir;
use super::key::{
    DIR_INDEX, DIR_ITEM, FIRST_FREE, INODE_EXTREF, INODE_ITEM, INODE_REF, Key, LAST_FREE, ROOT_ITEM,
};
use super::tree::Seen;
use crate::{DirEntry, InodeNumber, Standing};

/// The name of the directory of what nothing leads to.
const ORPHANS_NAME: &[u8] = b"#orphans";

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The inodes of each branch, sorted.
    pub(super) inodes: Vec<Vec<u64>>,
}

/// What one branch holds.
#[derive(Default)]
struct Counted {
    inodes: Vec<u64>,
    /// Inodes that a directory names.
    named: HashSet<u64>,
    /// Subvolumes that a directory names.
    roots: HashSet<u64>,
    /// Child, parent, name; only where something is lost.
    references: Vec<(u64, u64, Vec<u8>)>,
    damaged: bool,
}

/// Counts what is in all branches of `fs`. In those of which something is lost, and in all if
/// `damaged`, what no directory names is hung in where it says itself that it belongs.
pub(super) fn take(fs: &mut Btrfs, damaged: bool) -> Census {
    let mut census = Census::default();
    let mut roots: HashSet<u64> = HashSet::new();
    for index in 0..fs.branches.len() {
        let mut counted = count(fs, index);
        roots.extend(&counted.roots);
        if counted.damaged || damaged {
            adopt(fs, index, &counted);
        }
        counted.inodes.sort_unstable();
        counted.inodes.dedup();
        census.inodes.push(counted.inodes);
    }
    link_subvolumes(fs, &roots);
    census
}

fn count(fs: &Btrfs, index: usize) -> Counted {
    let mut counted = Counted::default();
    let Some(branch) = fs.branches.get(index) else {
        return counted;
    };
    counted.damaged = !branch.tree.lost.is_empty();
    branch
        .tree
        .visit(&fs.volume, Key::MIN..Key::MAX, &mut |seen| {
            let Seen::Item(entry) = seen else {
                counted.damaged = true;
                return;
            };
            let key = entry.key;
            match key.item_type {
                INODE_ITEM if is_file(key.objectid) => counted.inodes.push(key.objectid),
                INODE_REF | INODE_EXTREF if key.objectid != FIRST_FREE => {
                    let names = dir::references(key, entry.data).into_iter();
                    let names = names.map(|(parent, name)| (key.objectid, parent, name));
                    counted.references.extend(names);
                }
                DIR_ITEM | DIR_INDEX => {
                    for item in dir::dir_items(key, entry.data).0 {
                        let set = match item.location.item_type {
                            ROOT_ITEM => &mut counted.roots,
                            _ => &mut counted.named,
                        };
                        set.insert(item.location.objectid);
                    }
                }
                _ => {}
            }
        });
    counted
}

/// Whether an inode of that number is one of files, and not the cache of something.
const fn is_file(objectid: u64) -> bool {
    objectid >= FIRST_FREE && objectid <= LAST_FREE
}

/// Hangs in what no directory of the branch names.
fn adopt(fs: &mut Btrfs, index: usize, counted: &Counted) {
    let there: HashSet<u64> = counted.inodes.iter().copied().collect();
    let mut referenced: HashSet<u64> = HashSet::new();
    let mut parents: BTreeMap<u64, ()> = BTreeMap::new();
    for (child, parent, name) in &counted.references {
        referenced.insert(*child);
        if !counted.named.contains(child) {
            give(fs, (index, *parent), (index, *child), name.clone());
            parents.insert(*parent, ());
        }
    }
    for parent in parents.keys() {
        let known = there.contains(parent) && referenced.contains(parent);
        if *parent != FIRST_FREE && !known && !counted.named.contains(parent) {
            orphan(fs, index, *parent);
        }
    }
    let nameless = counted.inodes.iter().filter(|number| {
        **number != FIRST_FREE && !referenced.contains(number) && !counted.named.contains(number)
    });
    for number in nameless {
        if !parents.contains_key(number) {
            orphan(fs, index, *number);
        }
    }
}

/// Lists the inode `child` in the directory `parent`, each given by its branch and number.
pub(super) fn give(fs: &mut Btrfs, parent: (usize, u64), child: (usize, u64), name: Vec<u8>) {
    let parent = Number::inode(parent.0, parent.1);
    let child = Number::inode(child.0, child.1);
    if let (Some(parent), Some(inode)) = (parent, child) {
        let entry = DirEntry { name, inode };
        fs.adopted.entry(parent).or_default().push(entry);
    }
}

/// Lists an inode among the orphans.
pub(super) fn orphan(fs: &mut Btrfs, index: usize, objectid: u64) {
    let tree = fs.branches.get(index).map_or(0, |branch| branch.id);
    let name = match index {
        0 => format!("#{objectid}"),
        _ => format!("#{tree}.{objectid}"),
    };
    if let Some(inode) = Number::inode(index, objectid) {
        push_orphan(fs, name, inode);
    }
}

fn push_orphan(fs: &mut Btrfs, name: String, inode: InodeNumber) {
    let entry = DirEntry {
        name: name.into_bytes(),
        inode,
    };
    fs.adopted.entry(ORPHANS).or_default().push(entry);
}

/// Lists subvolumes that no directory leads to among the orphans.
fn link_subvolumes(fs: &mut Btrfs, named: &HashSet<u64>) {
    let mut lost = Vec::new();
    for (index, branch) in fs.branches.iter().enumerate().skip(1) {
        let parent = branch.link.as_ref().map(|link| link.tree);
        let is_there = |id: u64| fs.branches.iter().any(|other| other.id == id);
        let linked = named.contains(&branch.id)
            && branch.standing == Standing::InUse
            && parent.is_none_or(is_there);
        if !linked && let Some(inode) = Number::inode(index, FIRST_FREE) {
            lost.push((format!("#subvolume{}", branch.id), inode));
        }
    }
    for (name, inode) in lost {
        push_orphan(fs, name, inode);
    }
}

/// Lists the directory of orphans in the root if there are any; every list is then in order.
pub(super) fn link_orphans(fs: &mut Btrfs) {
    if fs.adopted.contains_key(&ORPHANS) {
        let entry = DirEntry {
            name: ORPHANS_NAME.to_vec(),
            inode: ORPHANS,
        };
        let root = InodeNumber(FIRST_FREE);
        fs.adopted.entry(root).or_default().push(entry);
    }
    for names in fs.adopted.values_mut() {
        names.sort_unstable();
        names.dedup();
    }
}
