//! Which names belong to what was deleted.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::volume::Volume;
use super::lives::Lives;
use super::names::{Candidate, Names, parent_by_block};
use super::nodes::{Nodes, current_inode};
use crate::{DirEntry, FileKind, InodeNumber};

/// Rounds in which directories of the same name are put together: as deep as trees are.
const ROUNDS: usize = 64;

/// Names on their way to what they stand for.
pub(super) struct Resolver<'a> {
    pub(super) volume: &'a Volume,
    pub(super) lives: &'a mut Lives,
    pub(super) nodes: &'a mut Nodes,
    pub(super) names: &'a mut Names,
}

/// A name that something had, and since when.
type Had = (Option<u32>, InodeNumber, Vec<u8>);
/// What stands where under which name.
type Placed = (InodeNumber, InodeNumber, Vec<u8>);

/// Names by what they stood for.
#[derive(Default)]
struct Sorted {
    /// By the life that ended.
    by_life: BTreeMap<usize, Vec<Had>>,
    /// By the number, which is in use.
    by_number: BTreeMap<u64, Vec<Had>>,
    /// By the directory of whose inode nothing is known.
    by_node: BTreeMap<InodeNumber, Vec<Had>>,
}

impl Resolver<'_> {
    /// Gives every deleted file and directory the names that it had at its end, and files in use
    /// that have lost theirs the last ones that are known.
    pub(super) fn run(&mut self) {
        let sorted = self.sort();
        let mut placed = self.of_files_in_use(sorted.by_number);
        placed.extend(self.of_lives(sorted.by_life));
        for (node, mut had) in sorted.by_node {
            // A directory without an inode lies where its own block says.
            had.retain(|(_, dir, _)| self.nodes.listed(*dir, node) == node);
            for (dir, name) in last(had, 1) {
                placed.push((node, dir, name));
            }
        }
        self.place(placed);
    }

    /// Sorts the candidates by what they stood for.
    fn sort(&mut self) -> Sorted {
        let Sorted {
            mut by_life,
            mut by_number,
            mut by_node,
        } = Sorted::default();
        let candidates = std::mem::take(&mut self.names.candidates);
        for Candidate {
            number,
            sequence,
            dir,
            name,
        } in candidates
        {
            let had = (sequence, dir, name);
            let life = match sequence {
                Some(sequence) => self.lives.at(number, sequence),
                None if self.lives.is_live(number) => Some(None),
                None => self.lives.last_former(number).map(Some),
            };
            match life {
                Some(Some(life)) => by_life.entry(life).or_default().push(had),
                Some(None) => by_number.entry(number).or_default().push(had),
                None => {
                    if let Some(node) = self.nodes.directory_of(self.lives, number) {
                        by_node.entry(node).or_default().push(had);
                    }
                }
            }
        }
        Sorted {
            by_life,
            by_number,
            by_node,
        }
    }

    /// The last names of files in use that no directory lists.
    fn of_files_in_use(&mut self, by_number: BTreeMap<u64, Vec<Had>>) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (number, mut had) in by_number {
            if !self.lives.is_named(number) {
                had.retain(|(_, dir, _)| self.may_lie_in(number, *dir));
                for (dir, name) in last(had, 1) {
                    self.lives.name(number);
                    placed.push((InodeNumber(number), dir, name));
                }
            }
        }
        placed
    }

    /// Whether a name in the directory `dir` may be that of what is in use under this number: a
    /// directory states what it lies in, and a number may have been another file's before.
    fn may_lie_in(&self, number: u64, dir: InodeNumber) -> bool {
        if !self.lives.is_directory(number) {
            return true;
        }
        let above = self.nodes.get(dir).map_or(dir.0, |node| node.number);
        let stated = parent_by_block(self.volume, self.lives, self.nodes, number);
        stated.is_none_or(|stated| stated == above)
    }

    /// The last names of lives that ended.
    fn of_lives(&mut self, by_life: BTreeMap<usize, Vec<Had>>) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (life, had) in by_life {
            let Some(known) = self.lives.former.get(life) else {
                continue;
            };
            let directory = self
                .nodes
                .known(life)
                .is_some_and(|node| self.nodes.get(node).is_some_and(|node| node.directory));
            // Of a file in a directory that is still there, and that somebody deleted so that
            // nothing is left of it, there is nothing to say. One that went with its directory
            // is missed.
            let mut had = had;
            if known.at.is_none() && !directory {
                had.retain(|(_, dir, _)| self.nodes.get(*dir).is_some());
            }
            if had.is_empty() {
                continue;
            }
            let links = if directory { 1 } else { known.links };
            let node = self.nodes.of_life(life, known, directory);
            for (dir, name) in last(had, links) {
                placed.push((node, dir, name));
            }
        }
        placed
    }

    /// Enters the names where they belong, and hangs directories that have none by their `..`.
    fn place(&mut self, placed: Vec<Placed>) {
        let aliases = self.aliases(&placed);
        let canon = |node: InodeNumber| aliases.get(&node).copied().unwrap_or(node);
        let mut listed: HashMap<InodeNumber, HashSet<Vec<u8>>> = HashMap::new();
        let mut named = HashSet::new();
        for (node, dir, name) in placed {
            named.insert(node);
            if canon(node) != node {
                continue;
            }
            self.nodes.moved(node, dir, canon(dir));
            let dir = canon(dir);
            if dir == node {
                continue;
            }
            // A name that is in use again stands for what has it now.
            let now = listed
                .entry(dir)
                .or_insert_with(|| names_of(self.volume, self.lives, self.names, dir));
            if now.insert(name.clone()) {
                let entry = DirEntry { name, inode: node };
                self.names.more.entry(dir).or_default().push(entry);
            }
        }
        // What was collected under a directory that is one with another is listed there.
        for (node, to) in &aliases {
            if let Some(entries) = self.names.more.remove(node) {
                for entry in &entries {
                    self.nodes.moved(entry.inode, *node, *to);
                }
                self.names.more.entry(*to).or_default().extend(entries);
            }
        }
        self.unnamed(&named);
    }

    /// Directories without a name hang below their parent, or with the orphans.
    fn unnamed(&mut self, named: &HashSet<InodeNumber>) {
        let mut open = Vec::new();
        for (index, node) in self.nodes.table.iter().enumerate() {
            let number = InodeNumber(1 << 63 | index as u64);
            let empty = self.names.more.get(&number).is_none_or(Vec::is_empty);
            if node.directory && !named.contains(&number) && !empty {
                open.push((number, node.number, node.parent));
            }
        }
        let mut listed: HashMap<InodeNumber, HashSet<InodeNumber>> = HashMap::new();
        for (number, parent) in &self.nodes.bare_parents {
            let above = self.nodes.directory_of(self.lives, *parent);
            let is_listed = above.is_some_and(|above| {
                let numbers = listed.entry(above).or_insert_with(|| {
                    let entries = entries_of(self.volume, self.lives, self.names, above);
                    entries.map(|entry| entry.inode).collect()
                });
                numbers.contains(&InodeNumber(*number))
            });
            if !named.contains(&InodeNumber(*number)) && !is_listed {
                open.push((InodeNumber(*number), *number, Some(*parent)));
            }
        }
        open.sort_unstable();
        for (node, number, parent) in open {
            self.names
                .hang(self.nodes, self.lives, node, number, parent);
        }
    }

    /// Directories that had the place of another one, which is listed instead of them: the one in
    /// use if there is one, else the one that was deleted last.
    fn aliases(&self, placed: &[Placed]) -> HashMap<InodeNumber, InodeNumber> {
        let mut aliases: HashMap<InodeNumber, InodeNumber> = HashMap::new();
        let mut children: HashMap<InodeNumber, HashMap<Vec<u8>, InodeNumber>> = HashMap::new();
        let mut directories: Vec<_> = placed
            .iter()
            .filter(|(node, _, _)| self.nodes.get(*node).is_some_and(|node| node.directory))
            .collect();
        directories.sort_by_key(|(node, _, _)| {
            let life = self.nodes.get(*node).and_then(|node| node.life);
            let gone = life
                .and_then(|life| self.lives.former.get(life))
                .map(|l| l.gone);
            (std::cmp::Reverse(gone), *node)
        });
        for _ in 0..ROUNDS {
            let mut changed = false;
            let mut first: HashMap<(InodeNumber, &[u8]), InodeNumber> = HashMap::new();
            for (node, dir, name) in &directories {
                let dir = aliases.get(dir).copied().unwrap_or(*dir);
                let live = if self.nodes.get(dir).is_none() {
                    let names = children
                        .entry(dir)
                        .or_insert_with(|| subdirectories(self.volume, self.lives, dir));
                    names.get(name).copied()
                } else {
                    None
                };
                let to =
                    live.unwrap_or_else(|| *first.entry((dir, name.as_slice())).or_insert(*node));
                if to != *node && aliases.insert(*node, to) != Some(to) {
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        aliases
    }
}

/// The last names that something had: those that are known to have been in a block at some time
/// before those that are only left in its slack, and of these the newest; `links` of them.
fn last(mut had: Vec<Had>, links: u32) -> Vec<(InodeNumber, Vec<u8>)> {
    had.sort_by(|a, b| b.cmp(a));
    let mut names: Vec<(InodeNumber, Vec<u8>)> = Vec::new();
    for (_, dir, name) in had {
        if names.len() >= usize::try_from(links).unwrap_or(1) {
            break;
        }
        if !names.contains(&(dir, name.clone())) {
            names.push((dir, name));
        }
    }
    names
}

/// What a directory lists already.
fn entries_of(
    volume: &Volume,
    lives: &Lives,
    names: &Names,
    dir: InodeNumber,
) -> impl Iterator<Item = DirEntry> {
    let inode = current_inode(volume, lives, dir);
    let listed = inode.map(|inode| volume.list(&inode).entries);
    let more = names.more.get(&dir).cloned();
    listed.into_iter().chain(more).flatten()
}

/// The names that a directory lists already.
fn names_of(volume: &Volume, lives: &Lives, names: &Names, dir: InodeNumber) -> HashSet<Vec<u8>> {
    let entries = entries_of(volume, lives, names, dir);
    entries.map(|entry| entry.name).collect()
}

/// The directories in use that a directory in use lists.
fn subdirectories(
    volume: &Volume,
    lives: &Lives,
    dir: InodeNumber,
) -> HashMap<Vec<u8>, InodeNumber> {
    let Some(inode) = current_inode(volume, lives, dir) else {
        return HashMap::new();
    };
    let entries = volume.list(&inode).entries.into_iter();
    entries
        .filter(|entry| {
            current_inode(volume, lives, entry.inode)
                .is_some_and(|inode| inode.kind == FileKind::Directory)
        })
        .map(|entry| (entry.name, entry.inode))
        .collect()
}
