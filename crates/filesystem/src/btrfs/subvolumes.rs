//! Subvolumes and snapshots, told apart.

use super::Btrfs;
use super::branch::Branch;
use super::dir;
use super::key::{FIRST_FREE, FS_TREE, INODE_REF, Key};
use super::root::Roots;
use super::tree::Seen;
use crate::{FsPath, Standing};

/// Directories deeper than this are not followed: a loop in damaged metadata would be one.
const MAX_DEPTH: usize = 512;
/// Snapshots of snapshots are followed so far.
const MOST_ORIGINALS: usize = 64;

/// The subvolumes that `id` is a snapshot of, the nearest first: it shares leaves with them.
pub(super) fn originals(roots: &Roots, id: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut item = roots.items.get(&id);
    while let Some(original) = item.and_then(|item| roots.original(item)) {
        if original == id || found.contains(&original) || found.len() > MOST_ORIGINALS {
            break;
        }
        found.push(original);
        item = roots.items.get(&original);
    }
    found
}

/// What there is to say of snapshots: whose they are, and where both are found.
pub(super) fn notes(fs: &Btrfs, roots: &Roots) -> Vec<String> {
    let mut notes = Vec::new();
    for branch in fs.branches.iter().filter(|branch| branch.lists) {
        let Some(item) = roots.items.get(&branch.id) else {
            continue;
        };
        if item.parent_uuid.is_none() {
            continue;
        }
        let of = roots.original(item);
        let of = of.and_then(|id| fs.branches.iter().find(|branch| branch.id == id));
        let of = of.map_or("a subvolume that is gone".to_owned(), |of| name(fs, of));
        let read_only = if item.read_only { "read-only " } else { "" };
        let deleted = match branch.standing {
            Standing::InUse => "",
            Standing::Deleted => ", and was deleted",
        };
        let name = name(fs, branch);
        notes.push(format!("{name} is a {read_only}snapshot of {of}{deleted}"));
    }
    notes
}

/// The path of a subvolume, or its number if nothing leads to it.
fn name(fs: &Btrfs, branch: &Branch) -> String {
    path(fs, branch, 0).map_or_else(
        || format!("subvolume {}", branch.id),
        |path| path.to_string(),
    )
}

fn path(fs: &Btrfs, branch: &Branch, depth: usize) -> Option<FsPath> {
    if branch.id == FS_TREE {
        return Some(FsPath::root());
    }
    if depth > MAX_DEPTH {
        return None;
    }
    let link = branch.link.as_ref()?;
    let above = fs.branches.iter().find(|other| other.id == link.tree)?;
    let mut names = vec![link.name.clone()];
    let mut directory = link.dirid;
    while directory != FIRST_FREE {
        let (parent, name) = reference(fs, above, directory)?;
        names.push(name);
        directory = parent;
        if names.len() > MAX_DEPTH {
            return None;
        }
    }
    let start = path(fs, above, depth.saturating_add(1))?;
    Some(names.iter().rev().fold(start, |path, name| path.join(name)))
}

/// The parent of a directory, and its name there.
fn reference(fs: &Btrfs, branch: &Branch, objectid: u64) -> Option<(u64, Vec<u8>)> {
    let items = Key::new(objectid, INODE_REF, 0)..Key::new(objectid, INODE_REF, u64::MAX);
    let mut found = None;
    branch.tree.visit(&fs.volume, items, &mut |seen| {
        if let Seen::Item(entry) = seen {
            found = dir::references(entry.key, entry.data).into_iter().next();
        }
    });
    found
}
