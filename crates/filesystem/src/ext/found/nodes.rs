//! Numbers for what has none of its own: inodes that were deleted, directories without an inode,
//! the directory of orphans.
//!
//! Inode numbers of ext have 32 bits. A number with bit 63 stands for an entry of this table.

use std::collections::HashMap;
use std::ops::Range;

use evidence::{ByteOffset, ReadAtExt};

use super::super::volume::Volume;
use super::lives::{Life, Lives};
use crate::{FileKind, Inode, InodeNumber, Standing, Timestamp};

/// The bit of numbers that stand for an entry of the table.
const FORMER: u64 = 1 << 63;
/// The directory of what has lost its place.
pub(super) const ORPHANS: InodeNumber = InodeNumber(FORMER | 1 << 62);
/// Its name in the root.
pub(super) const ORPHANS_NAME: &[u8] = b"#orphans";
/// The bit of what a directory lists and is not the directory that is known by that number.
const LOST: u64 = 1 << 61;

/// Something that was deleted.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The inode number that it had.
    pub(super) number: u64,
    /// The place of its inode; `None` for a directory of which only blocks are left.
    pub(super) at: Option<ByteOffset>,
    /// Its life, if that is known.
    pub(super) life: Option<usize>,
    /// Whether it is a directory.
    pub(super) directory: bool,
    /// The number that `..` stands for.
    pub(super) parent: Option<u64>,
}

/// The table.
#[derive(Default)]
pub(super) struct Nodes {
    /// By the number without [`FORMER`].
    pub(super) table: Vec<Node>,
    by_life: HashMap<usize, InodeNumber>,
    nameless: HashMap<u64, InodeNumber>,
    /// Directories whose inode is lost, with the place of their first block.
    pub(super) bare: HashMap<u64, ByteOffset>,
    /// What `..` of those stands for.
    pub(super) bare_parents: HashMap<u64, u64>,
    /// Where the journal lies.
    pub(super) journal: Vec<Range<u64>>,
}

impl Nodes {
    /// An empty table of a file system whose journal lies at `journal`.
    pub(super) fn beside(journal: Vec<Range<u64>>) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    /// The entry that a number stands for.
    pub(super) fn get(&self, number: InodeNumber) -> Option<&Node> {
        let index = number.0.checked_sub(FORMER)?;
        self.table.get(usize::try_from(index).ok()?)
    }

    fn push(&mut self, node: Node) -> InodeNumber {
        let number = InodeNumber(FORMER | self.table.len() as u64);
        self.table.push(node);
        number
    }

    /// The number that the inode really has or had.
    pub(super) fn number_of(&self, node: InodeNumber) -> u64 {
        self.get(node).map_or(node.0, |node| node.number)
    }

    /// The node of a life that ended; `None` if it was no directory.
    pub(super) fn of_directory(&mut self, lives: &Lives, life: usize) -> Option<InodeNumber> {
        let known = lives.former.get(life)?;
        (known.kind == FileKind::Directory).then_some(())?;
        Some(self.of_life(life, known, true))
    }

    /// The node of a life that ended.
    pub(super) fn of_life(&mut self, life: usize, known: &Life, directory: bool) -> InodeNumber {
        if let Some(node) = self.by_life.get(&life) {
            return *node;
        }
        let node = self.push(Node {
            number: known.number,
            at: known.at,
            life: Some(life),
            directory,
            parent: None,
        });
        self.by_life.insert(life, node);
        node
    }

    /// The node of a life, if it has one.
    pub(super) fn known(&self, life: usize) -> Option<InodeNumber> {
        self.by_life.get(&life).copied()
    }

    /// The node of a directory that was deleted and of whose inode nothing is known.
    pub(super) fn nameless(&mut self, number: u64) -> InodeNumber {
        if let Some(node) = self.nameless.get(&number) {
            return *node;
        }
        let node = self.push(Node {
            number,
            at: None,
            life: None,
            directory: true,
            parent: None,
        });
        self.nameless.insert(number, node);
        node
    }

    /// Notes a directory in use of which only blocks are left, the first of them at `at`.
    pub(super) fn bare(&mut self, number: u64, at: ByteOffset) {
        self.bare.entry(number).or_insert(at);
    }

    /// Notes what `..` of a directory stands for.
    pub(super) fn parent(&mut self, node: InodeNumber, parent: u64) {
        match node.0.checked_sub(FORMER) {
            Some(index) => {
                let node = usize::try_from(index).ok();
                if let Some(node) = node.and_then(|index| self.table.get_mut(index)) {
                    node.parent = Some(parent);
                }
            }
            None if self.bare.contains_key(&node.0) => {
                self.bare_parents.insert(node.0, parent);
            }
            None => {}
        }
    }

    /// What an entry of the directory `dir` stands for. Of a directory without an inode it is known where it
    /// lies: what another one lists by its number is something else, of which nothing is known. Directories
    /// of two file systems have numbers in common.
    pub(super) fn listed(&self, dir: InodeNumber, entry: InodeNumber) -> InodeNumber {
        let above = self.number_of(dir);
        match self.bare_parents.get(&entry.0) {
            Some(parent) if *parent != above && dir != ORPHANS => InodeNumber(entry.0 | LOST),
            _ => entry,
        }
    }

    /// Notes that what lies in the directory `from` is listed in `to`, which is the same one.
    pub(super) fn moved(&mut self, entry: InodeNumber, from: InodeNumber, to: InodeNumber) {
        let (from, to) = (self.number_of(from), self.number_of(to));
        if let Some(parent) = self.bare_parents.get_mut(&entry.0)
            && *parent == from
        {
            *parent = to;
        }
    }

    /// The number of something that a directory lists and of which nothing is known.
    pub(super) fn lost(number: InodeNumber) -> Option<InodeNumber> {
        let is_lost = number.0 & (FORMER | LOST) == LOST;
        is_lost.then_some(InodeNumber(number.0 & !LOST))
    }

    /// The directory that a number stands for: the one in use, else the last that was deleted.
    pub(super) fn directory_of(&self, lives: &Lives, number: u64) -> Option<InodeNumber> {
        if lives.is_directory(number) || self.bare.contains_key(&number) {
            return Some(InodeNumber(number));
        }
        let former = lives
            .former_of(number)
            .rev()
            .find_map(|life| self.known(life));
        former
            .filter(|node| self.get(*node).is_some_and(|node| node.directory))
            .or_else(|| self.nameless.get(&number).copied())
    }

    /// All directories that were deleted and have an inode.
    pub(super) fn directories(&self, volume: &Volume) -> Vec<(InodeNumber, Inode)> {
        let nodes = self.table.iter().enumerate();
        nodes
            .filter(|(_, node)| node.directory)
            .filter_map(|(index, node)| {
                let inode = former_inode(volume, node)?;
                Some((InodeNumber(FORMER | index as u64), inode))
            })
            .collect()
    }

    /// Whether a directory can have had a block when `sequence` was written.
    pub(super) fn may_have_lived(&self, node: InodeNumber, lives: &Lives, sequence: u32) -> bool {
        match self.get(node) {
            Some(node) => {
                let life = node.life.and_then(|life| lives.former.get(life));
                life.is_none_or(|life| life.gone > sequence || sequence == u32::MAX)
            }
            None => true,
        }
    }

    /// The inode of a node as the format has it, with the number that it has there.
    pub(super) fn inode_of(
        &self,
        volume: &Volume,
        lives: &Lives,
        node: InodeNumber,
    ) -> Option<Inode> {
        match self.get(node) {
            Some(node) => former_inode(volume, node),
            None => current_inode(volume, lives, node),
        }
    }
}

/// The inode of something deleted.
pub(super) fn former_inode(volume: &Volume, node: &Node) -> Option<Inode> {
    let at = node.at?;
    let raw = volume.view.read_whole(at, volume.sb.inode_bytes)?;
    volume.former_inode(InodeNumber(node.number), at, raw).ok()
}

/// An inode in use, from the table or from its copy.
pub(super) fn current_inode(volume: &Volume, lives: &Lives, number: InodeNumber) -> Option<Inode> {
    let Some(at) = lives.restored.get(&number.0) else {
        return volume.inode(number).ok();
    };
    let raw = volume.view.read_whole(*at, volume.sb.inode_bytes)?;
    volume.inode_from_raw(number, *at, raw).ok()
}

/// A directory that has no inode.
pub(super) const fn directory(number: InodeNumber, standing: Standing, place: ByteOffset) -> Inode {
    Inode {
        number,
        standing,
        kind: FileKind::Directory,
        mode: 0o40_000,
        uid: 0,
        gid: 0,
        links: 2,
        size: 0,
        accessed: EPOCH,
        modified: EPOCH,
        changed: EPOCH,
        created: None,
        place,
        raw: Vec::new(),
    }
}

const EPOCH: Timestamp = Timestamp {
    seconds: 0,
    nanoseconds: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_another_directory_lists_is_not_the_one_whose_block_names_its_parent() {
        let (root, other, number) = (InodeNumber(2), InodeNumber(12), InodeNumber(240));
        let mut nodes = Nodes::default();
        nodes.bare(number.0, ByteOffset::new(4096));
        nodes.parent(number, root.0);
        assert_eq!(nodes.listed(root, number), number);
        assert_eq!(nodes.listed(ORPHANS, number), number);
        let strange = nodes.listed(other, number);
        assert_eq!(Nodes::lost(strange), Some(number));
        assert_eq!(Nodes::lost(number), None);
        assert_eq!(nodes.listed(other, InodeNumber(241)), InodeNumber(241));
    }
}
