//! Former states of metadata blocks: what is left of transactions in the journal.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`. A journal is a ring that is written
//! over from behind, so it holds the last few thousand blocks that were changed, long after they
//! were written to their places. A descriptor block that can still be read was not passed by the
//! head of the log yet, and neither were the blocks behind it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, ReadAtExt};

use super::checksum::crc32c;
use super::features::{INCOMPAT_64BIT, RO_COMPAT_METADATA_CSUM};
use super::jbd2::{self, JournalSuperblock, Tag};
use super::journal;
use super::volume::Volume;
use crate::Place;
use crate::cache::Cache;

/// A former state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Copy {
    /// Which block.
    pub(super) block: u64,
    /// The transaction that wrote it.
    pub(super) sequence: u32,
    /// Where the copy lies.
    pub(super) at: ByteOffset,
    /// Whether its first four bytes stand for the magic number of the journal.
    pub(super) escaped: bool,
}

/// Former states, by block and age.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    copies: Vec<Copy>,
    /// The first transaction that may not be in its places yet, by the journal's superblock.
    replay_from: Option<u32>,
}

/// A block of the journal that a transaction begins with or goes on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    /// Where it lies.
    pub(super) at: ByteOffset,
    /// `h_sequence`.
    pub(super) sequence: u32,
}

impl History {
    /// The former states of `block`, oldest first.
    pub(super) fn of(&self, block: u64) -> &[Copy] {
        let start = self.copies.partition_point(|copy| copy.block < block);
        let rest = self.copies.get(start..).unwrap_or_default();
        let count = rest.partition_point(|copy| copy.block == block);
        rest.get(..count).unwrap_or_default()
    }

    /// All of them, by block and then oldest first.
    pub(super) fn all(&self) -> &[Copy] {
        &self.copies
    }

    /// Reads what the journal of `volume` still holds; `seen` are all descriptor blocks that were
    /// met anywhere on it, and `heads` the superblocks of journals.
    pub(super) fn read(volume: &Volume, seen: &[Descriptor], heads: &[ByteOffset]) -> Self {
        let ring = Ring::of(volume, heads);
        let mut copies = Vec::new();
        for descriptor in seen {
            ring.transaction(volume, descriptor, &mut copies);
        }
        copies.sort_unstable();
        copies.dedup_by_key(|copy| (copy.block, copy.sequence));
        Self {
            copies,
            replay_from: (ring.sb.start != 0).then_some(ring.sb.sequence),
        }
    }
}

/// The blocks of the journal in their order.
struct Ring {
    sb: JournalSuperblock,
    /// Where they lie, without the superblock of the journal; the first follows the last.
    runs: Vec<Range<u64>>,
    block: u64,
}

impl Ring {
    /// The journal of `volume` as its inode maps it. If neither the inode nor its copy in the
    /// superblock leads to one, a superblock of a journal does, and blocks are taken to follow each
    /// other as they lie.
    fn of(volume: &Volume, heads: &[ByteOffset]) -> Self {
        let block = u64::from(volume.sb.block.get());
        let pieces = journal::pieces(volume);
        if pieces.is_none() {
            return Self::by_heads(volume, heads);
        }
        let head = pieces
            .as_ref()
            .and_then(|pieces| match pieces.first()?.place {
                Place::At(at) => volume.view.read_whole(at, volume.sb.block.len()),
                _ => None,
            });
        let length = pieces.iter().flatten().map(|p| p.length).sum::<u64>();
        let blocks = length.checked_div(block).unwrap_or(0);
        let sb = head
            .and_then(|head| JournalSuperblock::parse(&head, volume.sb.block.get(), blocks).ok());
        let sb = sb.unwrap_or_else(|| likely(volume));
        let mut runs: Vec<Range<u64>> = pieces
            .iter()
            .flatten()
            .filter_map(|piece| match piece.place {
                Place::At(at) => Some(at.get()..at.get().saturating_add(piece.length)),
                _ => None,
            })
            .collect();
        match runs.first_mut() {
            Some(first) => first.start = first.start.saturating_add(block),
            None => runs.push(0..volume.view.len()),
        }
        Self { sb, runs, block }
    }

    fn by_heads(volume: &Volume, heads: &[ByteOffset]) -> Self {
        let block = u64::from(volume.sb.block.get());
        let most = volume.view.len().checked_div(block).unwrap_or(0);
        let found = heads.iter().find_map(|at| {
            let bytes = volume.view.read_whole(*at, volume.sb.block.len())?;
            let sb = JournalSuperblock::parse(&bytes, volume.sb.block.get(), most).ok()?;
            let length = u64::from(sb.maxlen).saturating_mul(block);
            let run = at.get().saturating_add(block)..at.get().saturating_add(length);
            Some((sb, run))
        });
        let (sb, run) = found.unwrap_or_else(|| (likely(volume), 0..volume.view.len()));
        Self {
            sb,
            runs: vec![run],
            block,
        }
    }

    /// Adds the blocks that follow `descriptor` as far as they are what it says.
    fn transaction(&self, volume: &Volume, descriptor: &Descriptor, copies: &mut Vec<Copy>) {
        if !self
            .runs
            .iter()
            .any(|run| run.contains(&descriptor.at.get()))
        {
            return;
        }
        let read = |at: ByteOffset| volume.view.read_whole(at, volume.sb.block.len());
        let Some(bytes) = read(descriptor.at).filter(|bytes| self.sb.block_holds(bytes)) else {
            return;
        };
        let mut at = descriptor.at.get();
        for tag in self.sb.tags(&bytes) {
            let Some(next) = self.after(at) else {
                return;
            };
            at = next;
            let place = ByteOffset::new(at);
            let Some(data) = read(place) else { continue };
            if jbd2::header(&data).is_some() {
                // The head of the log has come by: what follows belongs to other blocks.
                return;
            }
            if tag.block < volume.sb.blocks
                && data.iter().any(|byte| *byte != 0)
                && self.sb.data_holds(&tag, descriptor.sequence, &data)
            {
                copies.push(copy(&tag, descriptor.sequence, place));
            }
        }
    }

    /// The block of the journal behind the one at `at`.
    fn after(&self, at: u64) -> Option<u64> {
        let index = self.runs.iter().position(|run| run.contains(&at))?;
        let next = at.checked_add(self.block)?;
        if self.runs.get(index)?.contains(&next) {
            return Some(next);
        }
        let run = self.runs.get(index.checked_add(1)?);
        run.or_else(|| self.runs.first()).map(|run| run.start)
    }
}

const fn copy(tag: &Tag, sequence: u32, at: ByteOffset) -> Copy {
    Copy {
        block: tag.block,
        sequence,
        at,
        escaped: tag.escaped,
    }
}

/// How a kernel would have set up the journal of `volume`, whose superblock is gone.
fn likely(volume: &Volume) -> JournalSuperblock {
    let checked = volume.sb.features.ro_compat(RO_COMPAT_METADATA_CSUM);
    let seed = checked.then(|| crc32c(!0, &volume.sb.uuid));
    JournalSuperblock::likely(seed, volume.sb.features.incompat(INCOMPAT_64BIT))
}

impl Volume {
    /// Lays over the view what the journal holds and its blocks do not yet: the transactions from
    /// the first to be replayed on, as long as each has one of the `commits`.
    ///
    /// For a file system whose superblock is gone, so that [`journal::recover`] cannot do it. What
    /// was revoked is laid, too: a block that holds contents now is not read as metadata.
    pub(super) fn replay_history(&mut self, commits: &HashSet<u32>) {
        let Some(first) = self.history.replay_from else {
            return;
        };
        let end = (first..u32::MAX).find(|sequence| !commits.contains(sequence));
        let range = first..end.unwrap_or(u32::MAX);
        let mut overlay = Overlay::new(Arc::clone(&self.view));
        // The copies of a block come in their order, and the last one laid counts.
        for copy in self.history.all() {
            if range.contains(&copy.sequence)
                && let Some(bytes) = self.former_block(copy)
            {
                overlay.lay(self.nominal(copy.block), &bytes);
            }
        }
        self.view = Arc::new(overlay);
        self.cache = Cache::new(Arc::clone(&self.view));
    }

    /// The contents of a former state.
    pub(super) fn former_block(&self, copy: &Copy) -> Option<Vec<u8>> {
        let mut bytes = self.view.read_whole(copy.at, self.sb.block.len())?;
        let tag = Tag {
            block: copy.block,
            escaped: copy.escaped,
            checksum: 0,
        };
        tag.unescape(&mut bytes);
        Some(bytes)
    }

    /// The former states of `block` that can be read, newest first.
    pub(super) fn former_blocks(&self, block: u64) -> impl Iterator<Item = Vec<u8>> {
        let copies = self.history.of(block).iter().rev();
        copies.filter_map(|copy| self.former_block(copy))
    }
}
