//! Blocks of pointers of ext2 and ext3.
//!
//! The first twelve blocks of a file stand in its inode, all others in blocks of pointers: one that points to the
//! next, and one that points to such blocks (the kernel's documentation of ext4, "Direct/Indirect Block Addressing").
//! What the inode had is lost with it. But most files begin in one piece: so the first block of pointers is that of
//! what begins twelve blocks before that which it points to first, or thirteen where it lies between them itself,
//! as ext3 had it. Of a file of many messages the rest is read without its beginning.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::{Mapped, Run};
use crate::blocks::Grid;
use crate::survey::{SECTOR, Survey};

/// Blocks that the inode has.
const DIRECT: u64 = 12;
/// The sizes of blocks.
const BLOCKS: [u64; 3] = [1024, 2048, 4096];
/// Bytes of a pointer.
const POINTER: usize = 4;

/// Whether a sector may be the first of a block of pointers on a device of so many bytes: of blocks that mostly follow
/// each other, with nothing behind the last.
pub(crate) fn may_begin(sector: &[u8], device_bytes: u64) -> bool {
    let most = device_bytes / BLOCKS[0];
    let is_block = |word: u64| word != 0 && word < most;
    if !sector
        .first_chunk()
        .is_some_and(|word| is_block(u64::from(u32::from_le_bytes(*word))))
    {
        return false;
    }
    let words: Vec<u64> = words(sector).collect();
    let count = words
        .iter()
        .position(|word| *word == 0)
        .unwrap_or(words.len());
    let (own, rest) = words.split_at(count);
    let following = own
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if *b == a + 1))
        .count();
    own.iter().all(|word| is_block(*word))
        && rest.iter().all(|word| *word == 0)
        && following * 2 >= count.saturating_sub(1)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks::<POINTER>();
    words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)))
}

/// The files that blocks of pointers lead to.
pub(super) fn files(device: &dyn ReadAt, survey: &Survey) -> Vec<Mapped> {
    // All sectors of a full block look like the first.
    let is_within = |at: &u64| {
        let before = at.checked_sub(SECTOR as u64);
        before.is_some_and(|before| survey.pointers.binary_search(&before).is_ok())
    };
    let starts = survey.pointers.iter().copied().filter(|at| !is_within(at));
    let block = Grid::of(&starts.collect::<Vec<_>>()).block;
    if !BLOCKS.contains(&block) {
        return Vec::new();
    }
    Pointers::of(device, survey, block).files(survey)
}

/// The blocks of pointers of a device that begins with its file system, by their numbers.
struct Pointers {
    block: u64,
    by_number: BTreeMap<u64, Vec<u64>>,
}

impl Pointers {
    fn of(device: &dyn ReadAt, survey: &Survey, block: u64) -> Self {
        let places = survey.pointers.iter().filter(|at| at.is_multiple_of(block));
        let pointers = places.filter_map(|at| Some((at / block, pointers(device, *at, block)?)));
        Self {
            block,
            by_number: pointers.collect(),
        }
    }

    fn files(&self, survey: &Survey) -> Vec<Mapped> {
        // What points to blocks of pointers alone.
        let is_further =
            |pointers: &[u64]| pointers.iter().all(|one| self.by_number.contains_key(one));
        let (further, first): (Vec<_>, Vec<_>) = self
            .by_number
            .iter()
            .partition(|(_, pointers)| is_further(pointers));
        let further: BTreeMap<u64, Vec<u64>> = further
            .into_iter()
            .map(|(own, pointers)| (*own, self.of_all(pointers)))
            .collect();
        let within: BTreeSet<u64> = further
            .keys()
            .filter_map(|own| self.by_number.get(own))
            .flatten()
            .copied()
            .collect();
        let first = first.into_iter().filter(|(own, _)| !within.contains(own));
        let mut joined = BTreeSet::new();
        let mut files: Vec<Mapped> = first
            .map(|(own, pointers)| {
                let mut blocks = self.inode_blocks(*own, pointers, survey);
                blocks.extend(pointers);
                if pointers.len() as u64 == self.block / POINTER as u64
                    && let Some((number, more)) = behind(*own, pointers, &further)
                {
                    joined.insert(number);
                    blocks.extend(more);
                }
                self.mapped(&blocks)
            })
            .collect();
        let alone = further.iter().filter(|(own, _)| !joined.contains(*own));
        files.extend(alone.map(|(_, blocks)| self.mapped(blocks)));
        files
    }

    /// All that these blocks of pointers point to.
    fn of_all(&self, numbers: &[u64]) -> Vec<u64> {
        let pointers = numbers
            .iter()
            .filter_map(|number| self.by_number.get(number));
        pointers.flatten().copied().collect()
    }

    /// The blocks that the inode had of the file whose first block of pointers is number `own`: those before what
    /// that points to, if mail begins there.
    fn inode_blocks(&self, own: u64, pointers: &[u64], survey: &Survey) -> Vec<u64> {
        let begins = |number: &u64| {
            let at = number.checked_mul(self.block);
            at.is_some_and(|at| survey.begins_mail(at))
        };
        let Some(next) = pointers.first() else {
            return Vec::new();
        };
        let between = u64::from(own.checked_add(1) == Some(*next));
        let first = next.checked_sub(DIRECT + between).filter(begins);
        first.map_or_else(Vec::new, |first| (first..first + DIRECT).collect())
    }

    fn mapped(&self, blocks: &[u64]) -> Mapped {
        let mut runs: Vec<Run> = Vec::new();
        for block in blocks {
            match runs.last_mut() {
                Some(last) if last.first.checked_add(last.count) == Some(*block) => {
                    last.count = last.count.saturating_add(1);
                }
                _ => runs.push(Run {
                    first: *block,
                    count: 1,
                }),
            }
        }
        Mapped {
            block: self.block,
            runs,
        }
    }
}

/// What goes on behind a full block of pointers, of number `own`: what further blocks of pointers begin with the block
/// behind its last, or lie behind it themselves.
fn behind<'f>(
    own: u64,
    pointers: &[u64],
    further: &'f BTreeMap<u64, Vec<u64>>,
) -> Option<(u64, &'f Vec<u64>)> {
    let next = pointers.last()?.checked_add(1)?;
    // Where the blocks of pointers lie between those of the file, two of them do.
    let starts = [Some(next), next.checked_add(2)];
    let goes_on = further
        .iter()
        .find(|(_, blocks)| starts.contains(&blocks.first().copied()));
    let is_next = || further.get_key_value(&own.checked_add(1)?);
    let (number, blocks) = goes_on.or_else(is_next)?;
    Some((*number, blocks))
}

/// The pointers in a block of pointers; `None` if it is no such block.
fn pointers(device: &dyn ReadAt, at: u64, block: u64) -> Option<Vec<u64>> {
    let bytes = device.read_whole(ByteOffset::new(at), usize::try_from(block).ok()?)?;
    let all: Vec<u64> = words(&bytes).collect();
    let count = all.iter().position(|word| *word == 0).unwrap_or(all.len());
    let (own, rest) = all.split_at_checked(count)?;
    let most = device.len().checked_div(block)?;
    let mut sorted = own.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let is_map = !own.is_empty()
        && rest.iter().all(|word| *word == 0)
        && own.iter().all(|word| *word < most)
        && sorted.len() == own.len();
    is_map.then(|| own.to_vec())
}
