//! Directories of an older file system, of which no inode is left, between those of the file systems
//! that were found.
//!
//! Whoever makes a file system over another of the same size writes its inode tables where those of the
//! older one were, and leaves the directories. That they are not the newer one's, deleted, their numbers
//! tell: some that it never used.

use std::collections::HashSet;

use super::rebuilt::Rebuilt;
use super::sighting::{DirectorySeen, Sightings};

/// Of what was seen, that which may be such a file system's.
pub(super) fn of(seen: &Sightings, found: &[&Rebuilt]) -> Sightings {
    let is_left = |at: u64, bytes: u32| found.iter().all(|fs| !fs.has(at, bytes));
    let directories = seen.directories.iter();
    let left: Vec<DirectorySeen> = directories
        .filter(|block| is_left(block.at.get(), block.bytes))
        .copied()
        .collect();
    let own = || left.iter().filter_map(|block| block.own);
    let mut numbers: HashSet<u32> = own()
        .map(|(own, _)| own)
        .filter(|own| found.iter().all(|fs| fs.never_used((*own).into())))
        .collect();
    // Those below and above them are the older one's too, though the newer one uses their numbers.
    loop {
        let before = numbers.len();
        for (own, parent) in own() {
            if numbers.contains(&parent) {
                numbers.insert(own);
            } else if numbers.contains(&own) {
                numbers.insert(parent);
            }
        }
        if numbers.len() == before {
            break;
        }
    }
    let is_older = |block: &DirectorySeen| block.own.is_none_or(|(own, _)| numbers.contains(&own));
    let journal = seen.journal.iter();
    let superblocks = seen.superblocks.iter();
    Sightings {
        superblocks: superblocks
            .filter(|copy| found.iter().all(|fs| fs.volume.sb.uuid != copy.sb.uuid))
            .cloned()
            .collect(),
        journal: journal
            .filter(|block| is_left(block.at.get(), 1))
            .copied()
            .collect(),
        directories: left.into_iter().filter(is_older).collect(),
        inodes: Vec::new(),
    }
}

impl Rebuilt {
    /// Whether a range of the device is its own.
    fn has(&self, at: u64, bytes: u32) -> bool {
        let start = at.saturating_sub(self.base);
        let range = start..start.saturating_add(bytes.into());
        self.taken.is_held(&range)
    }

    /// Whether no inode ever had this number, and no directory of it is known.
    fn never_used(&self, number: u64) -> bool {
        let is_known = self.lives.is_live(number)
            || self.lives.is_free(number)
            || self.nodes.directory_of(&self.lives, number).is_some();
        let is_beyond = number > self.volume.sb.inodes;
        !is_known && (is_beyond || self.volume.is_allocated(number) == Some(false))
    }
}
