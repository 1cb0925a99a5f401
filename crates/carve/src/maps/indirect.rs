//! Blocks of pointers of ext2 and ext3.
//!
//! The first twelve blocks of a file stand in its inode, all others in blocks of pointers: one that points to the
//! next, and one that points to such blocks (the kernel's documentation of ext4, "Direct/Indirect Block Addressing").
//! What the inode had is lost with it. But most files begin in one piece: so the first block of pointers is that of
//! what begins twelve blocks before that which it points to first, or thirteen where it lies between them itself,
//! as ext3 had it. Of a file of many messages the rest is read without its beginning.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::{Mapped, Run, blocks_of};
use crate::blocks::Grid;
use crate::survey::{SECTOR, Survey};

/// Blocks that the inode has.
const DIRECT: u64 = 12;
/// The sizes of blocks.
const BLOCKS: [u64; 3] = [1024, 2048, 4096];
/// Bytes of a pointer.
const POINTER: usize = 4;

/// Whether a sector may be the first of a block of pointers on a device of so many bytes: of blocks that mostly ascend,
/// with nothing behind the last.
pub(crate) fn may_begin(sector: &[u8], device_bytes: u64) -> bool {
    let most = device_bytes / BLOCKS[0];
    let (mut count, mut ascending, mut before) = (0_usize, 0_usize, 0_u64);
    let mut words = words(sector);
    for word in words.by_ref() {
        if word == 0 {
            break;
        }
        if word >= most {
            return false;
        }
        count += 1;
        ascending += usize::from(word > before);
        before = word;
    }
    count > 0 && ascending * 2 >= count && words.all(|word| word == 0)
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

/// The blocks of pointers of a device that begins with its file system: by their numbers, what they point to.
struct Pointers {
    block: u64,
    by_number: BTreeMap<u64, Vec<Run>>,
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
        let further = self.further();
        let within: BTreeSet<u64> = further.values().flat_map(|one| &one.of).copied().collect();
        let by_first: BTreeMap<u64, u64> = further
            .iter()
            .filter_map(|(own, one)| Some((one.runs.first()?.first, *own)))
            .collect();
        let is_first = |own: &u64| !within.contains(own) && !further.contains_key(own);
        let first = self.by_number.iter().filter(|(own, _)| is_first(own));
        let mut joined = BTreeSet::new();
        let mut files = Vec::new();
        for (own, pointers) in first {
            let mut runs = self.inode_blocks(*own, pointers, survey);
            extend(&mut runs, pointers);
            let is_full = blocks_of(pointers) == self.block / POINTER as u64;
            let behind = behind(*own, pointers, &by_first, &further);
            if let Some(number) = behind.filter(|_| is_full)
                && joined.insert(number)
                && let Some(more) = further.get(&number)
            {
                extend(&mut runs, &more.runs);
            }
            files.push(self.mapped(runs));
        }
        let alone = further.iter().filter(|(own, _)| !joined.contains(*own));
        files.extend(alone.map(|(_, one)| self.mapped(one.runs.clone())));
        files
    }

    /// What points to blocks of pointers alone, each of which is of one such block.
    fn further(&self) -> BTreeMap<u64, Further> {
        let of = |runs: &[Run]| -> Option<Vec<u64>> {
            let numbers = runs
                .iter()
                .flat_map(|run| run.first..run.first.saturating_add(run.count));
            let numbers = numbers.map(|one| self.by_number.contains_key(&one).then_some(one));
            numbers.collect()
        };
        let all = self.by_number.iter();
        let all: BTreeMap<u64, Vec<u64>> = all
            .filter_map(|(own, runs)| Some((*own, of(runs)?)))
            .collect();
        let mut taken = BTreeSet::new();
        let mut further = BTreeMap::new();
        for (own, numbers) in &all {
            // What points to those in turn is of files larger than any mail.
            let is_second = numbers.iter().all(|one| !all.contains_key(one));
            if !is_second || numbers.iter().any(|one| taken.contains(one)) {
                continue;
            }
            taken.extend(numbers.iter().copied());
            let mut runs = Vec::new();
            let each = numbers.iter().filter_map(|one| self.by_number.get(one));
            each.for_each(|one| extend(&mut runs, one));
            let of = numbers.clone();
            further.insert(*own, Further { of, runs });
        }
        further
    }

    /// The blocks that the inode had of the file whose first block of pointers is number `own`: those before what
    /// that points to, if mail begins there.
    fn inode_blocks(&self, own: u64, pointers: &[Run], survey: &Survey) -> Vec<Run> {
        let begins = |number: &u64| {
            let at = number.checked_mul(self.block);
            at.is_some_and(|at| survey.begins_mail(at))
        };
        let Some(next) = pointers.first().map(|run| run.first) else {
            return Vec::new();
        };
        let between = u64::from(own.checked_add(1) == Some(next));
        let first = next.checked_sub(DIRECT + between).filter(begins);
        let run = |first| Run {
            first,
            count: DIRECT,
        };
        first.map(run).into_iter().collect()
    }

    const fn mapped(&self, runs: Vec<Run>) -> Mapped {
        Mapped {
            block: self.block,
            runs,
        }
    }
}

/// A block of pointers to blocks of pointers: which, and what these point to.
struct Further {
    of: Vec<u64>,
    runs: Vec<Run>,
}

/// What goes on behind a full block of pointers, of number `own`: what begins with the block behind its last, or lies
/// behind it itself.
fn behind(
    own: u64,
    pointers: &[Run],
    by_first: &BTreeMap<u64, u64>,
    further: &BTreeMap<u64, Further>,
) -> Option<u64> {
    let last = pointers.last()?;
    let next = last.first.checked_add(last.count)?;
    // Where the blocks of pointers lie between those of the file, two of them do.
    let starts = [next, next.checked_add(2)?];
    let goes_on = starts.iter().find_map(|start| by_first.get(start).copied());
    let beside = own.checked_add(1).filter(|one| further.contains_key(one));
    goes_on.or(beside)
}

/// What a block of pointers points to; `None` if it is no such block.
fn pointers(device: &dyn ReadAt, at: u64, block: u64) -> Option<Vec<Run>> {
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
    if !is_map {
        return None;
    }
    let mut runs = Vec::new();
    let each = own.iter().map(|first| Run {
        first: *first,
        count: 1,
    });
    each.for_each(|run| extend(&mut runs, &[run]));
    Some(runs)
}

/// Adds runs behind others.
fn extend(runs: &mut Vec<Run>, more: &[Run]) {
    for run in more {
        match runs.last_mut() {
            Some(last) if last.first.checked_add(last.count) == Some(run.first) => {
                last.count = last.count.saturating_add(run.count);
            }
            _ => runs.push(*run),
        }
    }
}
