//! Files that were deleted: inodes in leaves that were replaced since.
//!
//! No block of a tree is written in place, so the leaves of earlier commits stay until their room is
//! used again. The numbers of inodes are never used again: an inode that stands in such a leaf and
//! in no subvolume any more was deleted.

use std::collections::{BTreeMap, HashMap, HashSet};

use evidence::Fields;

use super::Btrfs;
use super::branch::{Branch, Number};
use super::census::{Census, give, orphan};
use super::checksum::name_hash;
use super::dir;
use super::forest::{Forest, Free};
use super::key::{DIR_ITEM, FIRST_FREE, INODE_EXTREF, INODE_ITEM, INODE_REF, Key, LAST_FREE};
use super::node::{Item, Node};
use super::tree::{Leaf, Seen, Tree};
use crate::Standing;

/// A run of items of one inode in a leaf.
#[derive(Clone, Copy)]
struct Run {
    first: Key,
    last: Key,
    bytenr: u64,
    generation: u64,
    has_inode: bool,
    /// Whether the inode has no names any more.
    is_dying: bool,
}

/// Adds what was deleted from each subvolume that is still there.
pub(super) fn add(fs: &mut Btrfs, forest: &Forest<'_>, census: &Census) {
    let live: HashSet<(u64, u64)> = fs
        .branches
        .iter()
        .flat_map(|branch| &branch.tree.leaves)
        .map(|leaf| (leaf.bytenr, leaf.generation))
        .collect();
    // A snapshot counts on from its original: a number stands for the same file in both, and what
    // a snapshot still has is no deleted file.
    let mut alive: Vec<u64> = census.inodes.concat();
    alive.sort_unstable();
    alive.dedup();
    for index in 0..fs.branches.len() {
        let Some(branch) = fs.branches.get(index) else {
            break;
        };
        if branch.standing == Standing::InUse {
            let runs = runs(fs, forest, branch.id, &live, &alive);
            add_branch(fs, index, runs);
        }
    }
}

/// The runs of inodes that are not among `alive`, by inode, in replaced leaves of the tree `id`.
fn runs(
    fs: &Btrfs,
    forest: &Forest<'_>,
    id: u64,
    live: &HashSet<(u64, u64)>,
    alive: &[u64],
) -> BTreeMap<u64, Vec<Run>> {
    let mut runs: BTreeMap<u64, Vec<Run>> = BTreeMap::new();
    let replaced = forest.of(id).iter().filter(|seen| {
        let header = seen.header;
        let is_live = live.contains(&(header.bytenr, header.generation));
        header.level == 0 && seen.proof.is_some() && !is_live
    });
    for seen in replaced {
        let (bytenr, generation) = (seen.header.bytenr, seen.header.generation);
        let Some(node) = fs.volume.node(bytenr, generation) else {
            continue;
        };
        if !node.lost.is_empty() {
            continue;
        }
        for (_, item) in node.items().0 {
            let objectid = item.key.objectid;
            let is_file = (FIRST_FREE..=LAST_FREE).contains(&objectid);
            if is_file && alive.binary_search(&objectid).is_err() {
                add_item(runs.entry(objectid).or_default(), &node, &item);
            }
        }
    }
    runs.retain(|_, all| all.iter().any(|run| run.has_inode));
    runs
}

/// Adds an item of a leaf to the runs of its inode.
fn add_item(runs: &mut Vec<Run>, node: &Node, item: &Item) {
    let key = item.key;
    // While an inode is deleted it has no names any more, and soon no contents.
    let data = item.data.clone().and_then(|data| node.bytes.get(data));
    let nlink = data.and_then(|data| Fields::new(data).le_u32(40));
    let has_inode = key.item_type == INODE_ITEM && nlink.is_some_and(|nlink| nlink > 0);
    let is_dying = key.item_type == INODE_ITEM && !has_inode;
    let (bytenr, generation) = (node.header.bytenr, node.header.generation);
    match runs.last_mut() {
        Some(last) if (last.bytenr, last.generation) == (bytenr, generation) => {
            last.last = key;
            last.has_inode |= has_inode;
            last.is_dying |= is_dying;
        }
        _ => runs.push(Run {
            first: key,
            last: key,
            bytenr,
            generation,
            has_inode,
            is_dying,
        }),
    }
}

/// Adds a branch of what was deleted from the branch `index`.
fn add_branch(fs: &mut Btrfs, index: usize, runs: BTreeMap<u64, Vec<Run>>) {
    let Some(id) = fs.branches.get(index).map(|branch| branch.id) else {
        return;
    };
    if runs.is_empty() {
        return;
    }
    let mut leaves: Vec<Leaf> = Vec::new();
    for all in runs.values() {
        leaves.extend(newest_state(all));
    }
    leaves.sort_by_key(|leaf| leaf.first);
    let own = fs.branches.len();
    fs.branches.push(Branch {
        id,
        tree: Tree {
            leaves,
            lost: Vec::new(),
        },
        standing: Standing::Deleted,
        link: None,
        lists: false,
    });
    let numbers: HashSet<u64> = runs.into_keys().collect();
    hang_in(fs, index, own, &numbers);
}

/// The parts of leaves that make the newest state of an inode: that of the newest leaf with the inode
/// itself, and around it what older leaves have.
fn newest_state(runs: &[Run]) -> Vec<Leaf> {
    let with_inode = runs.iter().filter(|run| run.has_inode);
    let Some(newest) = with_inode.map(|run| run.generation).max() else {
        return Vec::new();
    };
    let mut runs: Vec<&Run> = runs
        .iter()
        .filter(|run| run.generation <= newest && !run.is_dying)
        .collect();
    // Of two blocks of one transaction the one at the higher address is the later one.
    runs.sort_by_key(|run| std::cmp::Reverse((run.generation, run.bytenr)));
    let mut free = Free::default();
    free.add(&(Key::MIN..Key::MAX));
    let mut taken: Vec<Leaf> = Vec::new();
    for run in runs {
        for part in free.within(&(run.first..run.last.next())) {
            free.take(&part);
            taken.push(Leaf {
                first: part.start,
                end: part.end,
                bytenr: run.bytenr,
                generation: run.generation,
                as_of: run.generation,
            });
        }
    }
    taken
}

/// Hangs what was deleted in where it was last: in the directory of the branch `index`, in one
/// that was deleted too, or among the orphans.
fn hang_in(fs: &mut Btrfs, index: usize, own: usize, deleted: &HashSet<u64>) {
    let mut names: HashMap<u64, Vec<(u64, Vec<u8>)>> = HashMap::new();
    if let Some(branch) = fs.branches.get(own) {
        branch
            .tree
            .visit(&fs.volume, Key::MIN..Key::MAX, &mut |seen| {
                if let Seen::Item(entry) = seen
                    && matches!(entry.key.item_type, INODE_REF | INODE_EXTREF)
                {
                    let found = dir::references(entry.key, entry.data);
                    names.entry(entry.key.objectid).or_default().extend(found);
                }
            });
    }
    let mut numbers: Vec<u64> = deleted.iter().copied().collect();
    numbers.sort_unstable();
    let mut lost_parents: HashSet<u64> = HashSet::new();
    for number in numbers {
        let mut hung = false;
        for (parent, name) in names.remove(&number).unwrap_or_default() {
            if deleted.contains(&parent) {
                give(fs, (own, parent), (own, number), name);
                hung = true;
            } else if !is_directory(fs, index, parent) {
                give(fs, (own, parent), (own, number), name);
                if lost_parents.insert(parent) {
                    orphan(fs, own, parent);
                }
                hung = true;
            } else if !is_taken(fs, index, parent, &name) {
                give(fs, (index, parent), (own, number), name);
                hung = true;
            }
        }
        if !hung {
            orphan(fs, own, number);
        }
    }
}

/// Whether the branch has a directory of that number.
fn is_directory(fs: &Btrfs, index: usize, objectid: u64) -> bool {
    Number::inode(index, objectid)
        .and_then(|number| super::files::inode(fs, number).ok())
        .is_some_and(|inode| inode.kind == crate::FileKind::Directory)
}

/// Whether the directory lists another file by that name now.
fn is_taken(fs: &Btrfs, index: usize, parent: u64, name: &[u8]) -> bool {
    let key = Key::new(parent, DIR_ITEM, name_hash(name));
    let listed = fs.branches.get(index).and_then(|branch| {
        branch.tree.find(&fs.volume, key, |entry| {
            let items = dir::dir_items(entry.key, entry.data).0;
            items.iter().any(|item| item.name == name)
        })
    });
    listed.unwrap_or(false)
}
