//! Names: what directories list, listed, and list nowhere but in the journal any more.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use evidence::{ByteOffset, ReadAtExt};

use super::super::dir::{self, Form};
use super::super::inode::RawInode;
use super::super::volume::Volume;
use super::lives::{FIRST_INODE, Lives};
use super::nodes::{Nodes, ORPHANS, current_inode};
use super::sighting::DirectorySeen;
use super::taken::Taken;
use crate::{DirEntry, FileKind, Inode, InodeNumber, Place};

/// A name that was met outside what the directories list now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    /// The number that it stands for.
    pub(super) number: u64,
    /// The transaction that wrote the block that lists it; `None` if it is only left in the room
    /// behind another entry, or in a block that nothing leads to, and nobody knows since when.
    pub(super) sequence: Option<u32>,
    /// The directory that lists it.
    pub(super) dir: InodeNumber,
    /// The name.
    pub(super) name: Vec<u8>,
}

/// All names.
#[derive(Default)]
pub(super) struct Names {
    /// What was met outside of what the directories list.
    pub(super) candidates: Vec<Candidate>,
    /// What directories list besides what their blocks say now.
    pub(super) more: HashMap<InodeNumber, Vec<DirEntry>>,
    /// The blocks of all directories, with whose they are.
    owners: HashMap<u64, Vec<InodeNumber>>,
    /// The blocks of directories in use.
    used: HashSet<u64>,
}

impl Names {
    /// Hangs `node` below the directory `parent` if there is one, else with the orphans.
    pub(super) fn hang(
        &mut self,
        nodes: &Nodes,
        lives: &Lives,
        node: InodeNumber,
        number: u64,
        parent: Option<u64>,
    ) {
        let above = parent
            .filter(|parent| *parent != number)
            .and_then(|parent| nodes.directory_of(lives, parent))
            .unwrap_or(ORPHANS);
        self.more.entry(above).or_default().push(DirEntry {
            name: format!("#{number}").into_bytes(),
            inode: node,
        });
    }
}

/// The collection of names from the blocks of a file system.
pub(super) struct Collector<'a> {
    pub(super) volume: &'a Volume,
    pub(super) lives: &'a mut Lives,
    pub(super) nodes: &'a mut Nodes,
    pub(super) taken: &'a Taken,
    pub(super) names: Names,
    /// How many more blocks are looked at. A block belongs to one directory, or to none any more:
    /// only where maps lie are there more than a few times as many as there are.
    pub(super) budget: u64,
}

impl Collector<'_> {
    fn form(&self) -> Form {
        self.volume.directory_form()
    }

    fn block_of(&self, at: ByteOffset) -> u64 {
        let block = u64::from(self.volume.sb.block.get());
        at.get().checked_div(block).unwrap_or(0)
    }

    /// The blocks that the map of `dir` leads to, in their order.
    fn blocks_of(&mut self, dir: &Inode) -> Vec<u64> {
        let block = u64::from(self.volume.sb.block.get());
        let most = self.volume.view.len().checked_div(block).unwrap_or(0);
        let mut blocks = Vec::new();
        if dir.size > self.budget.saturating_mul(block) {
            return blocks;
        }
        for piece in self.volume.map(dir).pieces {
            if let Place::At(at) = piece.place {
                let first = self.block_of(at);
                let last = first.saturating_add(piece.length.div_ceil(block));
                blocks.extend(first..last.min(most));
            }
        }
        self.budget = self.budget.saturating_sub(blocks.len() as u64);
        blocks
    }

    /// Takes what a directory in use lists now, and repairs that from the journal.
    pub(super) fn current(&mut self, dir: &Inode) {
        for entry in self.volume.list(dir).entries {
            self.lives.name(entry.inode.0);
        }
        let seed = RawInode::parse(&dir.raw)
            .and_then(|raw| self.volume.inode_seed(dir.number, raw.i_generation));
        for (index, block) in self.blocks_of(dir).into_iter().enumerate() {
            self.names.owners.entry(block).or_default().push(dir.number);
            self.names.used.insert(block);
            let good = |bytes: &[u8]| self.belongs(bytes, dir.number.0, seed, index == 0);
            let there = self.volume.block(block).ok().filter(|bytes| good(bytes));
            if let Some(bytes) = there {
                self.slack(dir.number, &bytes);
                continue;
            }
            let former = self.volume.former_blocks(block).find(|bytes| good(bytes));
            if let Some(bytes) = former {
                self.restore(dir.number, &bytes);
            }
        }
    }

    /// Whether a block is one of directory `number`, as far as that can be said.
    fn belongs(&self, bytes: &[u8], number: u64, seed: Option<u32>, first: bool) -> bool {
        if first && dir::own_numbers(bytes).is_none_or(|(own, _)| u64::from(own) != number) {
            return false;
        }
        match seed {
            Some(seed) => dir::checksum_holds(bytes, self.form(), seed),
            None => {
                let parsed = dir::parse_entries(bytes, self.form());
                // All of a block of a hash tree is one entry that is not in use.
                parsed.fault.is_none() && bytes.iter().any(|byte| *byte != 0)
            }
        }
    }

    /// Takes the entries of a block as names that are in use.
    pub(super) fn restore(&mut self, dir: InodeNumber, bytes: &[u8]) {
        let entries = dir::parse_entries(bytes, self.form()).entries;
        for entry in entries
            .into_iter()
            .filter(|entry| dir::is_name(&entry.name))
        {
            self.lives.name(entry.inode);
            self.names.more.entry(dir).or_default().push(DirEntry {
                name: entry.name,
                inode: InodeNumber(entry.inode),
            });
        }
    }

    /// Takes what is left behind the entries of a block.
    fn slack(&mut self, dir: InodeNumber, bytes: &[u8]) {
        for entry in dir::slack_entries(bytes, self.form()) {
            self.consider(dir, entry.inode, entry.name, None);
        }
    }

    /// Takes all names of a block that was one of `dir` when `sequence` was written.
    fn former(&mut self, dir: InodeNumber, bytes: &[u8], sequence: Option<u32>) {
        for entry in dir::parse_entries(bytes, self.form()).entries {
            if dir::is_name(&entry.name) {
                self.consider(dir, entry.inode, entry.name, sequence);
            }
        }
        self.slack(dir, bytes);
    }

    fn consider(&mut self, dir: InodeNumber, number: u64, name: Vec<u8>, sequence: Option<u32>) {
        let settled = self.lives.is_named(number) || number < FIRST_INODE;
        if settled && self.lives.former_of(number).is_empty() {
            return;
        }
        if sequence.is_none() && self.lives.is_named(number) {
            // The number is in use: that name may be an earlier one of the same file.
            return;
        }
        self.names.candidates.push(Candidate {
            number,
            sequence,
            dir,
            name,
        });
    }

    /// Notes which blocks the directories that were deleted had.
    pub(super) fn former_directories(&mut self) {
        for (node, inode) in self.nodes.directories(self.volume) {
            for block in self.blocks_of(&inode) {
                self.names.owners.entry(block).or_default().push(node);
            }
        }
    }

    /// Takes the names from former states of directory blocks.
    pub(super) fn history(&mut self) {
        let volume = self.volume;
        for copy in volume.history.all() {
            let Some(bytes) = volume.former_block(copy) else {
                continue;
            };
            let own = dir::own_numbers(&bytes);
            let owner = match own {
                Some((own, parent)) => {
                    let node = self.directory_at(own.into(), copy.sequence);
                    if let Some(node) = node {
                        self.nodes.parent(node, parent.into());
                    }
                    node
                }
                None => self.owner(copy.block, &bytes, copy.sequence),
            };
            if let Some(owner) = owner {
                self.former(owner, &bytes, Some(copy.sequence));
            }
        }
    }

    /// The directory that the number stood for when `sequence` was written.
    fn directory_at(&mut self, number: u64, sequence: u32) -> Option<InodeNumber> {
        match self.lives.at(number, sequence) {
            Some(Some(life)) => self.nodes.of_directory(self.lives, life),
            Some(None) => Some(InodeNumber(number)),
            None if self.lives.is_free(number) => Some(self.nodes.nameless(number)),
            None => None,
        }
    }

    /// Whose continuation a former state of `block` is.
    fn owner(&self, block: u64, bytes: &[u8], sequence: u32) -> Option<InodeNumber> {
        let owners = self.names.owners.get(&block)?;
        if !dir::is_continuation(bytes, self.form()) {
            return None;
        }
        let fits = |node: &&InodeNumber| match self.seed_of(**node) {
            Some(seed) => dir::checksum_holds(bytes, self.form(), seed),
            None => self.nodes.may_have_lived(**node, self.lives, sequence),
        };
        let mut fitting = owners.iter().filter(fits);
        let first = fitting.next()?;
        // Without a proof, two that may have had it are none.
        (self.volume.sb.seed.is_some() || fitting.next().is_none()).then_some(*first)
    }

    fn seed_of(&self, node: InodeNumber) -> Option<u32> {
        let inode = self.nodes.inode_of(self.volume, self.lives, node)?;
        let number = self.nodes.number_of(node);
        let generation = RawInode::parse(&inode.raw)?.i_generation;
        self.volume.inode_seed(InodeNumber(number), generation)
    }

    /// Takes the names from blocks on the disk that no directory in use leads to: first those that say
    /// whose they are, then those of which only the checksum does.
    pub(super) fn stray(&mut self, seen: &[DirectorySeen]) {
        let size = self.volume.sb.block.get();
        let blocks = || seen.iter().filter(|block| block.bytes == size);
        let mut seeds = HashMap::new();
        for block in blocks() {
            if let Some((own, parent)) = block.own
                && let Some(bytes) = self.unclaimed(block.at)
                && let Some((node, in_use)) = self.stray_directory(own.into(), block.at, &bytes)
            {
                self.nodes.parent(node, parent.into());
                self.take_stray(node, in_use, &bytes);
                let seed = dir::seed_of(&bytes, self.form());
                seeds.extend(seed.map(|seed| (seed, (node, in_use))));
            }
        }
        for block in blocks().filter(|block| block.own.is_none()) {
            if let Some(bytes) = self.unclaimed(block.at)
                && let Some((node, in_use)) = self.stray_owner(block.at, &bytes, &seeds)
            {
                self.take_stray(node, in_use, &bytes);
            }
        }
    }

    /// The block at `at` if no directory in use and no journal has it, and nothing was written over it.
    fn unclaimed(&self, at: ByteOffset) -> Option<Vec<u8>> {
        let block = self.volume.sb.block;
        let end = at.get().saturating_add(block.get().into());
        let is_claimed = self.names.used.contains(&self.block_of(at))
            || self.in_journal(at)
            || self.taken.is_held(&(at.get()..end));
        let bytes = (!is_claimed).then(|| self.volume.view.read_whole(at, block.len()));
        bytes.flatten()
    }

    /// Whose a block with names and without `.` is that nothing in use leads to: that of a deleted
    /// directory whose map leads to it, or where checksums prove it, one of those with these `seeds`.
    fn stray_owner(
        &self,
        at: ByteOffset,
        bytes: &[u8],
        seeds: &HashMap<u32, (InodeNumber, bool)>,
    ) -> Option<(InodeNumber, bool)> {
        if let Some(owner) = self.owner(self.block_of(at), bytes, u32::MAX) {
            return Some((owner, false));
        }
        seeds.get(&dir::seed_of(bytes, self.form())?).copied()
    }

    fn take_stray(&mut self, node: InodeNumber, in_use: bool, bytes: &[u8]) {
        if in_use {
            self.restore(node, bytes);
        } else {
            self.former(node, bytes, None);
        }
    }

    /// The directory that a first block at `at`, which is `bytes`, belongs to, and whether that is in use.
    fn stray_directory(
        &mut self,
        number: u64,
        at: ByteOffset,
        bytes: &[u8],
    ) -> Option<(InodeNumber, bool)> {
        if let Some(life) = self.lives.last_former(number) {
            return Some((self.nodes.of_directory(self.lives, life)?, false));
        }
        if self.lives.is_directory(number) {
            // A block that it had before, or an older file system's.
            return None;
        }
        if self.lives.is_live(number) || self.lives.is_free(number) {
            return Some((self.nodes.nameless(number), false));
        }
        if self.volume.is_allocated(number) == Some(false) {
            // A number that was never used here: the block is an older file system's.
            return None;
        }
        let known = self.nodes.bare.get(&number);
        if known.is_some_and(|known| !self.is_one_directory(*known, bytes)) {
            // A directory of another file system.
            return Some((self.nodes.nameless(number), false));
        }
        // The inode is lost, not deleted: the directory is what its blocks say.
        self.nodes.bare(number, at);
        Some((InodeNumber(number), true))
    }

    /// Whether the first block of a directory at `known` is of the same one as another with its number, as
    /// a journal has it in former states: they lie in one directory, and list a name in common, if both have any.
    fn is_one_directory(&self, known: ByteOffset, bytes: &[u8]) -> bool {
        let Some(known) = self.volume.view.read_whole(known, bytes.len()) else {
            return true;
        };
        let names = |bytes: &[u8]| -> HashSet<(u64, Vec<u8>)> {
            let entries = dir::parse_entries(bytes, self.form()).entries.into_iter();
            // All roots have a directory of this name and number.
            let own = entries.filter(|raw| dir::is_name(&raw.name) && raw.name != b"lost+found");
            own.map(|raw| (raw.inode, raw.name)).collect()
        };
        let (own, other) = (names(&known), names(bytes));
        dir::own_numbers(&known) == dir::own_numbers(bytes)
            && (own.is_empty() || other.is_empty() || !own.is_disjoint(&other))
    }

    fn in_journal(&self, at: ByteOffset) -> bool {
        let end = at.get().saturating_add(self.volume.sb.block.get().into());
        self.nodes
            .journal
            .iter()
            .any(|run| run.start < end && at.get() < run.end)
    }

    /// Hangs what nothing lists where it can be found.
    pub(super) fn orphans(&mut self) {
        let (named, unnamed): (Vec<u64>, Vec<u64>) = self
            .lives
            .live()
            .into_iter()
            .partition(|number| self.lives.is_named(*number));
        let mut copies = Copies::default();
        for number in named {
            copies.is_new(current_inode(self.volume, self.lives, InodeNumber(number)));
        }
        for number in unnamed.into_iter().filter(|number| *number >= FIRST_INODE) {
            let inode = current_inode(self.volume, self.lives, InodeNumber(number));
            let is_unlisted = |inode: &Inode| self.volume.is_unlisted(inode);
            if inode.as_ref().is_some_and(is_unlisted) || !copies.is_new(inode) {
                continue;
            }
            let parent = if self.lives.is_directory(number) {
                parent_by_block(self.volume, self.lives, self.nodes, number)
            } else {
                None
            };
            self.names
                .hang(self.nodes, self.lives, InodeNumber(number), number, parent);
        }
    }
}

/// Inodes that were seen, to tell copies of them.
///
/// Two inodes do not share blocks. One that says the same as another, byte for byte, is what is read
/// of a table elsewhere: with what was wiped of a RAID row counted as zeros, parity gives its data
/// a second time.
#[derive(Default)]
struct Copies(HashSet<u64>);

impl Copies {
    /// Whether an inode that has blocks is no copy of one that was seen. Others may be alike.
    fn is_new(&mut self, inode: Option<Inode>) -> bool {
        let has_blocks = |inode: &Inode| {
            inode.size > 0 && matches!(inode.kind, FileKind::Regular | FileKind::Directory)
        };
        let Some(inode) = inode.filter(has_blocks) else {
            return true;
        };
        let mut hasher = DefaultHasher::new();
        inode.raw.hash(&mut hasher);
        self.0.insert(hasher.finish())
    }
}

/// What the block of a directory in use says of its parent.
pub(super) fn parent_by_block(
    volume: &Volume,
    lives: &Lives,
    nodes: &Nodes,
    number: u64,
) -> Option<u64> {
    let inode = nodes.inode_of(volume, lives, InodeNumber(number))?;
    let pieces = volume.map(&inode).pieces;
    let Place::At(at) = pieces.first()?.place else {
        return None;
    };
    let first = at.get().checked_div(u64::from(volume.sb.block.get()))?;
    let bytes = volume.block(first).ok();
    let bytes = bytes.filter(|bytes| dir::own_numbers(bytes).is_some());
    let bytes = bytes.or_else(|| volume.former_blocks(first).next())?;
    let (own, parent) = dir::own_numbers(&bytes)?;
    (u64::from(own) == number).then(|| parent.into())
}
