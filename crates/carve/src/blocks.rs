//! The blocks of a device: which grid the file system that is gone had laid over it, and what each
//! block holds.

use std::collections::BTreeSet;

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::survey::{SECTOR, Sector, Survey};

/// The largest cluster that is looked for.
const MOST_CLUSTER: u64 = 64 << 10;
/// Of the places where messages begin, so many of a hundred must lie on the grid.
const ON_GRID: usize = 90;
/// The largest block: file systems that give larger ones to a file, as ext4 with `bigalloc` does,
/// write zeros behind its end up to the next multiple of this only. With few messages, a larger
/// cluster would be chance.
const USUAL_BLOCK: u64 = 4096;
const FEW_HEADS: usize = 12;
/// So many ends of files say how large blocks are.
const MOST_OLD: usize = 1000;

/// Where blocks begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Bytes in a block.
    pub block: u64,
    /// Where the first block begins, in bytes; less than `block`.
    pub phase: u64,
    /// Bytes that are given to a file at once, one or more blocks.
    pub cluster: u64,
    /// Where the first cluster begins, in bytes; less than `cluster`.
    pub first_cluster: u64,
}

impl Grid {
    /// That of the sectors, which all others keep to.
    pub(crate) const SECTORS: Self = Self::of_clusters(SECTOR as u64, 0);

    /// That of blocks of so many bytes, of which the first begins a device, and each is given alone.
    pub(crate) const fn of_blocks(block: u64) -> Self {
        Self {
            block,
            phase: 0,
            cluster: block,
            first_cluster: 0,
        }
    }

    /// That of clusters of so many bytes, of which the first begins at `first`.
    const fn of_clusters(cluster: u64, first: u64) -> Self {
        let block = if cluster < USUAL_BLOCK {
            cluster
        } else {
            USUAL_BLOCK
        };
        Self {
            block,
            phase: first % block,
            cluster,
            first_cluster: first,
        }
    }

    /// That of the largest clusters on which nearly all of `heads` lie: a file begins at one.
    pub(crate) fn of(heads: &[u64]) -> Self {
        let mut cluster = MOST_CLUSTER;
        while cluster > SECTOR as u64 {
            let chance = heads.len() < FEW_HEADS && cluster > USUAL_BLOCK;
            if let Some(first) = phase_of(heads, cluster).filter(|_| !chance) {
                return Self::of_clusters(cluster, first);
            }
            cluster /= 2;
        }
        if heads.is_empty() {
            return Self::of_clusters(USUAL_BLOCK, 0);
        }
        Self::SECTORS
    }

    /// With blocks as large as files of `device` show that begin at `heads`: behind their end are zeros
    /// up to the end of a block, and behind that what the cluster held before.
    pub(crate) fn with_blocks_of(self, device: &dyn ReadAt, heads: &[u64]) -> Self {
        let length = usize::try_from(self.cluster).unwrap_or(0);
        let old: Vec<u64> = heads
            .iter()
            .filter(|head| **head % self.cluster == self.first_cluster)
            .filter_map(|head| device.read_whole(ByteOffset::new(*head), length))
            .filter_map(|cluster| begins_old(&cluster))
            .take(MOST_OLD)
            .collect();
        if old.len() < FEW_HEADS {
            return self;
        }
        let mut block = self.block;
        while block > SECTOR as u64 && !is_on(&old, block, 0) {
            block /= 2;
        }
        Self {
            block,
            phase: self.first_cluster % block,
            ..self
        }
    }

    /// Whether a cluster begins with a block: what lies in pieces goes on with one.
    pub(crate) const fn begins_cluster(self, number: u64) -> bool {
        self.offset(number) % self.cluster == self.first_cluster
    }

    /// Where a block begins.
    pub(crate) const fn offset(self, number: u64) -> u64 {
        self.phase.saturating_add(number.saturating_mul(self.block))
    }

    /// How far into its block `offset` is.
    pub(crate) fn within(self, offset: u64) -> u64 {
        let block = self.block.max(1);
        // What lies before the first block is in one too.
        let shift = block.saturating_sub(self.phase % block);
        (offset % block).saturating_add(shift) % block
    }

    /// The grid of `heads` for what must not miss a border: that of the sectors if they are few, for
    /// those may all lie on a coarser one than theirs.
    pub(crate) fn sure(heads: &[u64]) -> Self {
        if Self::are_few(heads) {
            return Self::SECTORS;
        }
        Self::of(heads)
    }

    /// Whether so few files say little of where blocks begin.
    pub(crate) const fn are_few(heads: &[u64]) -> bool {
        heads.len() < FEW_HEADS
    }

    /// Where blocks begin behind `offset`, one after the other.
    pub(crate) fn borders(self, offset: u64) -> impl Iterator<Item = u64> {
        let first = offset
            .saturating_sub(self.within(offset))
            .checked_add(self.block);
        std::iter::successors(first, move |at| at.checked_add(self.block))
    }

    /// The block that begins at `offset`.
    pub(crate) fn number_at(self, offset: u64) -> Option<u64> {
        let past = offset.checked_sub(self.phase)?;
        (past % self.block == 0).then_some(past / self.block)
    }
}

/// Where in a cluster that begins with text older bytes begin, behind zeros that follow the text.
fn begins_old(cluster: &[u8]) -> Option<u64> {
    let end = memchr::memchr(0, cluster)?;
    let zeros = cluster.get(end..)?.iter().position(|byte| *byte != 0)?;
    let old = end.saturating_add(zeros);
    (zeros > 1 && old.is_multiple_of(SECTOR)).then_some(old as u64)
}

/// Whether nearly all of `places` have this phase among blocks.
fn is_on(places: &[u64], block: u64, phase: u64) -> bool {
    let on = places.iter().filter(|place| **place % block == phase);
    on.count().saturating_mul(100) >= places.len().saturating_mul(ON_GRID)
}

/// The phase at which nearly all of `heads` are multiples of `block`.
fn phase_of(heads: &[u64], block: u64) -> Option<u64> {
    let mut phases: Vec<u64> = heads.iter().map(|head| head % block).collect();
    phases.sort_unstable();
    let best = phases.chunk_by(|a, b| a == b).max_by_key(|run| run.len())?;
    let phase = best.first().copied()?;
    is_on(heads, block, phase).then_some(phase)
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Nothing.
    Zero,
    /// Text, up to zeros at its end.
    Text,
    /// Text, and behind it something else.
    Mixed,
    /// Something else, or somebody else's.
    Other,
}

/// The blocks of a device.
pub(crate) struct Blocks<'a> {
    device: &'a dyn ReadAt,
    survey: &'a Survey,
    /// Where they begin.
    pub(crate) grid: Grid,
    /// Those that a message begins in.
    heads: BTreeSet<u64>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(device: &'a dyn ReadAt, survey: &'a Survey, grid: Grid) -> Self {
        let heads = survey.heads.iter().filter_map(|head| grid.number_at(*head));
        Self {
            device,
            survey,
            grid,
            heads: heads.collect(),
        }
    }

    /// The blocks that a message begins in.
    pub(crate) const fn heads(&self) -> &BTreeSet<u64> {
        &self.heads
    }

    /// How many whole blocks there are.
    pub(crate) fn count(&self) -> u64 {
        self.device.len().saturating_sub(self.grid.phase) / self.grid.block
    }

    /// What a block holds.
    pub(crate) fn kind(&self, number: u64) -> BlockKind {
        if number >= self.count() {
            return BlockKind::Other;
        }
        let start = self.grid.offset(number);
        let sectors = (0..self.grid.block / SECTOR as u64).map(|sector| {
            self.survey
                .sector(start.saturating_add(sector.saturating_mul(SECTOR as u64)))
        });
        let (mut text, mut ended, mut first) = (false, false, true);
        for sector in sectors {
            match sector {
                Sector::Text if !ended => text = true,
                Sector::Zero if first || ended || text => ended = true,
                _ if first || !text => return BlockKind::Other,
                _ => return BlockKind::Mixed,
            }
            first = false;
        }
        if text {
            BlockKind::Text
        } else {
            BlockKind::Zero
        }
    }

    /// What the sector at `offset` holds.
    pub(crate) fn sector(&self, offset: u64) -> Sector {
        self.survey.sector(offset)
    }

    /// Whether the header of a message begins at `offset`, which is a sector's.
    pub(crate) fn begins_message(&self, offset: u64) -> bool {
        let is_block = self.grid.number_at(offset);
        is_block.is_some_and(|number| self.heads.contains(&number))
    }

    /// Whether something else explains where a block begins.
    pub(crate) fn is_taken(&self, number: u64) -> bool {
        self.sector(self.grid.offset(number)) == Sector::Taken
    }

    /// The bytes of a block, or nothing if they cannot be read.
    pub(crate) fn read(&self, number: u64) -> Vec<u8> {
        let length = usize::try_from(self.grid.block).unwrap_or(0);
        let at = ByteOffset::new(self.grid.offset(number));
        self.device.read_whole(at, length).unwrap_or_default()
    }
}

/// How much of a block is before the zeros at its end.
pub(crate) fn filled(block: &[u8]) -> usize {
    block
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_the_largest_on_which_messages_begin() {
        let heads: Vec<u64> = (0..40_u64)
            .map(|n| 512 * 63 + 4096 * (n * 7 % 101))
            .collect();
        let grid = Grid::of(&heads);
        assert_eq!((grid.block, grid.phase), (4096, 512 * 63 % 4096));
        let small: Vec<u64> = heads
            .iter()
            .map(|head| head + 1024 * (head / 4096 % 4))
            .collect();
        assert_eq!(Grid::of(&small).block, 1024);
        let large: Vec<u64> = (0..40_u64).map(|n| 8192 + 16384 * (n * 7 % 101)).collect();
        let grid_of_large = Grid::of(&large);
        assert_eq!((grid_of_large.block, grid_of_large.phase), (4096, 0));
        let begins: Vec<bool> = (0..6).map(|n| grid_of_large.begins_cluster(n)).collect();
        assert_eq!(begins, [false, false, true, false, false, false]);
        assert_eq!(Grid::of(&[]).block, 4096);
        assert_eq!(Grid::of(&[8192, 65536]).block, 4096);
        assert_eq!(grid.number_at(grid.offset(5)), Some(5));
        assert_eq!(grid.number_at(grid.offset(5) + 1), None);
    }

    #[test]
    fn blocks_are_as_large_as_the_zeros_show_that_older_bytes_end() {
        let mut disk = vec![b'o'; 40 * 16384];
        let mut heads = Vec::new();
        for (number, cluster) in disk.chunks_mut(16384).enumerate() {
            let end = 300 + 700 * (number % 11);
            cluster[..end].fill(b'x');
            cluster[end..end.next_multiple_of(1024)].fill(0);
            heads.push(16384 * number as u64);
        }
        let grid = Grid::of(&heads);
        assert_eq!((grid.cluster, grid.block), (16384, 4096));
        let disk = evidence::view::Memory::new(disk);
        let seen = grid.with_blocks_of(&disk, &heads);
        assert_eq!((seen.cluster, seen.block), (16384, 1024));
        assert_eq!(grid.with_blocks_of(&disk, &heads[..8]), grid);
    }
}
