//! The geometry of a file system of which no superblock is left.
//!
//! An inode does not say its number, and a block does not say where the file system begins. But
//! an inode of a directory says in which block its first entries are, and these begin with `.`,
//! which says the number. So where the blocks of many directory inodes are found under one size
//! of block and one beginning, these are the file system's, and every such inode has a number.
//! Numbers and places then agree along a table. With checksums more can be had: the checksum of
//! an inode is made from a seed, its number and itself, and the steps can be gone backwards, so
//! that a few numbers tell the seed, and the seed the number of every inode.

use std::collections::{BTreeMap, HashMap};

use evidence::{BlockSize, ByteOffset, Fields, ReadAt, ReadAtExt};

use super::super::inode::{self, EXTENTS_FL, I_BLOCK_AT, INLINE_DATA_FL, OLD_BYTES};
use super::super::superblock::Superblock;
use super::super::tables::{Run, Tables};
use super::sighting::{Sightings, looks_like_inode};
use crate::FileKind;

/// Sizes of inodes that `mke2fs` makes.
const INODE_SIZES: [usize; 3] = [1024, 512, 256];
/// So many directories must agree about where the file system begins.
const LEAST_VOTES: usize = 3;
/// So many inode directories are held against all directory blocks to find the beginning.
const SAMPLE: usize = 256;
/// Between inodes in use of one table there may be so many that are not, where nothing says how
/// many there are in a group.
const MOST_UNUSED: u64 = 256;

/// A file system, as far as it could be worked out.
#[derive(Debug)]
pub(super) struct Inferred {
    /// Where it begins on the device.
    pub(super) base: u64,
    /// A superblock that says what was worked out.
    pub(super) sb: Superblock,
    /// Where its inodes lie, counted from its beginning.
    pub(super) tables: Tables,
}

/// An inode in use somewhere on the device.
#[derive(Clone, Debug)]
struct Candidate {
    at: u64,
    kind: FileKind,
    /// The first block of its contents, if the inode itself says so.
    first: Option<u64>,
    extents: bool,
    /// What its checksum says: the seed of the file system's checksums exclusive-or its number.
    mixed: Option<u32>,
}

/// Works out what file system the inodes in `seen` belong to that are not `known` to be another's.
pub(super) fn infer(
    device: &dyn ReadAt,
    seen: &Sightings,
    known: &dyn Fn(u64) -> bool,
) -> Option<Inferred> {
    let size = inode_size(seen, known);
    let candidates = candidates(device, seen, known, size);
    let dots: HashMap<u64, u32> = seen
        .directories
        .iter()
        .filter_map(|block| Some((block.at.get(), block.own?.0)))
        .collect();
    let (block, base) = beginning(&candidates, &dots)?;
    let place = |first: u64| first.checked_mul(block.get().into())?.checked_add(base);
    // Numbers by the entries `.`.
    let numbered: Vec<(&Candidate, u32)> = candidates
        .iter()
        .filter(|inode| inode.kind == FileKind::Directory)
        .filter_map(|inode| Some((inode, *dots.get(&place(inode.first?)?)?)))
        .collect();
    let seed = seed(&numbered);
    let votes: Vec<(u64, u64)> = match seed {
        Some(seed) => candidates
            .iter()
            .filter_map(|inode| Some((inode.at, u64::from(inode.mixed? ^ seed))))
            .collect(),
        None => numbered
            .iter()
            .map(|(i, n)| (i.at, u64::from(*n)))
            .collect(),
    };
    let all: Vec<u64> = candidates.iter().map(|inode| inode.at).collect();
    let runs = runs(&votes, &all, size, base, seed.is_some());
    let blocks = device
        .len()
        .saturating_sub(base)
        .checked_div(block.get().into())?;
    let shape = Shape {
        block,
        blocks,
        inode_bytes: size,
        seed,
        extents: candidates.iter().any(|inode| inode.extents),
    };
    (!runs.is_empty()).then(|| Inferred {
        base,
        sb: Superblock::assumed(&shape),
        tables: Tables { runs, alone: true },
    })
}

/// A file system of which no inode is left: what directories list is known, and lost.
pub(super) fn names_only(device: &dyn ReadAt, seen: &Sightings) -> Option<Inferred> {
    let own = || {
        seen.directories
            .iter()
            .filter_map(|block| Some((block.own?, block.bytes)))
    };
    let numbers: HashMap<u32, u32> = own().map(|((own, _), bytes)| (own, bytes)).collect();
    // Directories that name each other are no chance.
    let linked =
        own().filter(|((own, parent), bytes)| own != parent && numbers.get(parent) == Some(bytes));
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for (_, bytes) in linked {
        let count = sizes.entry(bytes).or_default();
        *count = count.saturating_add(1);
    }
    let (bytes, count) = sizes.into_iter().max_by_key(|(_, count)| *count)?;
    let block = BlockSize::new(bytes).filter(|_| count >= LEAST_VOTES)?;
    let shape = Shape {
        block,
        blocks: device.len().checked_div(block.get().into())?,
        inode_bytes: OLD_BYTES,
        seed: None,
        extents: true,
    };
    // A superblock of the same blocks is likely theirs, whatever lies between them now.
    let mut superblocks = seen.superblocks.iter().map(|seen| &seen.sb);
    let sb = superblocks.find(|sb| sb.block == block).cloned();
    Some(Inferred {
        base: 0,
        sb: sb.unwrap_or_else(|| Superblock::assumed(&shape)),
        tables: Tables {
            runs: Vec::new(),
            alone: true,
        },
    })
}

/// What is known of a file system without a superblock.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext) struct Shape {
    /// The size of a block.
    pub(in crate::ext) block: BlockSize,
    /// How many blocks there may be.
    pub(in crate::ext) blocks: u64,
    /// The size of an inode.
    pub(in crate::ext) inode_bytes: usize,
    /// The seed of its checksums, if it has some.
    pub(in crate::ext) seed: Option<u32>,
    /// Whether any inode has an extent tree.
    pub(in crate::ext) extents: bool,
}

/// The size of inodes: the largest at whose multiples almost all of them lie.
fn inode_size(seen: &Sightings, known: &dyn Fn(u64) -> bool) -> usize {
    let mut all = 0_u64;
    let mut aligned = [0_u64; INODE_SIZES.len()];
    for (at, _) in slots(seen).filter(|(at, _)| !known(*at)) {
        all = all.saturating_add(1);
        for (count, size) in aligned.iter_mut().zip(INODE_SIZES) {
            let fits = at.is_multiple_of(size as u64);
            *count = count.saturating_add(u64::from(fits));
        }
    }
    // What lies at multiples of 1024 alone is too little to tell from chance.
    let most = |count: u64| count.saturating_mul(20) >= all.saturating_mul(19) && all > 0;
    let found = aligned
        .iter()
        .zip(INODE_SIZES)
        .find(|(count, _)| most(**count));
    found.map_or(OLD_BYTES, |(_, size)| size)
}

/// The places of inodes in use, and whether they are directories.
fn slots(seen: &Sightings) -> impl Iterator<Item = (u64, bool)> {
    seen.inodes.iter().flat_map(|block| {
        (0..8_u32).filter_map(move |slot| {
            let bit = 1_u8.checked_shl(slot)?;
            let at = block
                .at
                .get()
                .checked_add(u64::from(slot).saturating_mul(OLD_BYTES as u64))?;
            (block.in_use & bit != 0).then_some((at, block.directories & bit != 0))
        })
    })
}

fn candidates(
    device: &dyn ReadAt,
    seen: &Sightings,
    known: &dyn Fn(u64) -> bool,
    size: usize,
) -> Vec<Candidate> {
    let places = slots(seen).filter(|(at, _)| at.is_multiple_of(size as u64) && !known(*at));
    let places = places.filter(|(at, _)| !seen.in_journal(*at));
    places
        .filter_map(|(at, _)| {
            let bytes = device.read_whole(ByteOffset::new(at), size)?;
            let kind = looks_like_inode(bytes.get(..OLD_BYTES)?)?;
            let f = Fields::new(&bytes);
            let flags = f.le_u32(0x20)?;
            let i_block = f.from(I_BLOCK_AT)?;
            let extents = flags & EXTENTS_FL != 0;
            let first = if flags & INLINE_DATA_FL != 0 {
                None
            } else if extents {
                let flat = i_block.le_u16(2)? > 0 && i_block.le_u16(6)? == 0;
                let high = u64::from(i_block.le_u16(0x12)?) << 32;
                flat.then_some(high | u64::from(i_block.le_u32(0x14)?))
            } else {
                Some(i_block.le_u32(0)?.into())
            };
            Some(Candidate {
                at,
                kind,
                first: first.filter(|first| *first > 0),
                extents,
                mixed: inode::mixed_seed(&bytes),
            })
        })
        .collect()
}

/// The size of a block and the beginning of the file system: those under which most directory
/// inodes lead to a first block of a directory.
fn beginning(candidates: &[Candidate], dots: &HashMap<u64, u32>) -> Option<(BlockSize, u64)> {
    let directories = candidates
        .iter()
        .filter(|inode| inode.kind == FileKind::Directory);
    let firsts: Vec<u64> = directories.filter_map(|inode| inode.first).collect();
    let step = firsts.len().div_ceil(SAMPLE).max(1);
    let firsts: Vec<u64> = firsts.into_iter().step_by(step).collect();
    let enough = |votes: usize| votes >= LEAST_VOTES && votes.saturating_mul(3) >= firsts.len();
    let sizes = || (10..=16).filter_map(|shift| BlockSize::new(1 << shift));
    let votes = |block: BlockSize, base: u64| {
        let place = |first: &&u64| {
            let at = first.checked_mul(block.get().into());
            at.and_then(|at| at.checked_add(base))
                .is_some_and(|at| dots.contains_key(&at))
        };
        firsts.iter().filter(place).count()
    };
    // Most file systems begin where their device begins.
    let at_zero = sizes()
        .map(|block| (votes(block, 0), block))
        .max_by_key(|(votes, block)| (*votes, std::cmp::Reverse(block.get())));
    if let Some((_, block)) = at_zero.filter(|(votes, _)| enough(*votes)) {
        return Some((block, 0));
    }
    let mut best: Option<(usize, BlockSize, u64)> = None;
    for block in sizes() {
        let mut distances: BTreeMap<u64, usize> = BTreeMap::new();
        for first in firsts.iter().take(64) {
            let Some(start) = first.checked_mul(block.get().into()) else {
                continue;
            };
            for at in dots.keys() {
                if let Some(base) = at.checked_sub(start) {
                    let count = distances.entry(base).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        let most = distances
            .into_iter()
            .max_by_key(|(base, count)| (*count, std::cmp::Reverse(*base)));
        if let Some((base, _)) = most {
            let count = votes(block, base);
            if best.is_none_or(|(votes, ..)| count > votes) {
                best = Some((count, block, base));
            }
        }
    }
    let (_, block, base) = best.filter(|(votes, ..)| enough(*votes))?;
    Some((block, base))
}

/// The seed that most checksums of inodes with known numbers were made from.
fn seed(numbered: &[(&Candidate, u32)]) -> Option<u32> {
    let mut seeds: BTreeMap<u32, usize> = BTreeMap::new();
    for (inode, number) in numbered {
        if let Some(mixed) = inode.mixed {
            let count = seeds.entry(mixed ^ number).or_default();
            *count = count.saturating_add(1);
        }
    }
    let (seed, count) = seeds.into_iter().max_by_key(|(_, count)| *count)?;
    // Without checksums each inode would give another one.
    (count >= 2 && count.saturating_mul(4) >= numbered.len()).then_some(seed)
}

/// Inodes whose numbers and places agree.
#[derive(Clone, Copy, Debug)]
struct Table {
    /// Where the inode with the number 1 would lie if the table went on so.
    origin: i128,
    lowest: u64,
    highest: u64,
    votes: usize,
}

/// The tables, from numbers of single inodes: `votes` are places with numbers, `all` the places of
/// all inodes in use.
fn runs(votes: &[(u64, u64)], all: &[u64], size: usize, base: u64, proven: bool) -> Vec<Run> {
    let mut by_origin: BTreeMap<i128, Table> = BTreeMap::new();
    for (at, number) in votes.iter().filter(|(_, number)| *number > 0) {
        let before = i128::from(number.saturating_sub(1)).saturating_mul(size as i128);
        let origin = i128::from(*at).saturating_sub(before);
        let table = by_origin.entry(origin).or_insert(Table {
            origin,
            lowest: *number,
            highest: *number,
            votes: 0,
        });
        table.lowest = table.lowest.min(*number);
        table.highest = table.highest.max(*number);
        table.votes = table.votes.saturating_add(1);
    }
    let mut tables: Vec<Table> = by_origin.into_values().collect();
    // One inode can lie about its number, two that agree hardly.
    tables.retain(|table| table.votes >= 2);
    tables.sort_by_key(|table| (std::cmp::Reverse(table.votes), table.origin));
    let mut kept: Vec<Table> = Vec::new();
    for table in tables {
        let apart = |other: &Table| {
            let numbers = table.highest < other.lowest || other.highest < table.lowest;
            let [a, b] = [
                place(&table, table.lowest, size),
                place(&table, table.highest, size),
            ];
            let [c, d] = [
                place(other, other.lowest, size),
                place(other, other.highest, size),
            ];
            numbers && (b < c || d < a)
        };
        if kept.iter().all(apart) {
            kept.push(table);
        }
    }
    kept.sort_by_key(|table| table.lowest);
    if !proven {
        widen(&mut kept, all, size);
    }
    kept.iter()
        .filter_map(|table| {
            let at = u64::try_from(place(table, table.lowest, size)).ok()?;
            Some(Run {
                first: table.lowest,
                count: table.highest.saturating_sub(table.lowest).saturating_add(1),
                at: ByteOffset::new(at.checked_sub(base)?),
            })
        })
        .collect()
}

fn place(table: &Table, number: u64, size: usize) -> i128 {
    table
        .origin
        .saturating_add(i128::from(number.saturating_sub(1)).saturating_mul(size as i128))
}

/// Takes inodes in use into the tables that lie right before or behind them, where numbers and
/// places leave room and no other table could have them.
fn widen(tables: &mut [Table], all: &[u64], size: usize) {
    for index in 0..tables.len() {
        let before = index
            .checked_sub(1)
            .and_then(|index| tables.get(index))
            .copied();
        let after = tables.get(index.saturating_add(1)).copied();
        let starts: Vec<i128> = tables.iter().map(|t| place(t, t.lowest, size)).collect();
        let ends: Vec<i128> = tables.iter().map(|t| place(t, t.highest, size)).collect();
        let Some(table) = tables.get_mut(index) else {
            return;
        };
        let first = before.map_or(1, |before| before.highest.saturating_add(1));
        let last = after.map_or(u64::from(u32::MAX), |after| after.lowest.saturating_sub(1));
        // Copies of inodes in a journal make tables, too, and lie in no order.
        let [start, end] = [table.lowest, table.highest].map(|number| place(table, number, size));
        let floor = ends.iter().copied().filter(|end| *end < start).max();
        let floor = floor.unwrap_or(-1);
        let ceiling = starts.iter().copied().filter(|start| *start > end).min();
        let ceiling = ceiling.unwrap_or(i128::MAX);
        let number = |at: u64| {
            let inside = i128::from(at).saturating_sub(table.origin);
            let fits = inside >= 0 && inside.checked_rem(size as i128) == Some(0);
            let fits = fits && i128::from(at) > floor && i128::from(at) < ceiling;
            let index = inside.checked_div(size as i128)?;
            let number = u64::try_from(index).ok()?.saturating_add(1);
            (fits && (first..=last).contains(&number)).then_some(number)
        };
        let mut numbers: Vec<u64> = all.iter().filter_map(|at| number(*at)).collect();
        numbers.sort_unstable();
        for number in numbers.iter().rev() {
            if *number < table.lowest && table.lowest.saturating_sub(*number) <= MOST_UNUSED {
                table.lowest = *number;
            }
        }
        for number in &numbers {
            if *number > table.highest && number.saturating_sub(table.highest) <= MOST_UNUSED {
                table.highest = *number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn two_tables_are_told_apart_by_their_numbers_and_widened_up_to_each_other() {
        // Numbers 11.. from 10_000 on, and numbers 101.. from 50_000 on, of 100 bytes each.
        let votes = [
            (11_000, 21),
            (12_000, 31),
            (51_000, 111),
            (52_000, 121),
            (70_000, 7),
        ];
        let all = [10_900, 12_100, 50_100, 52_100];
        let runs = runs(&votes, &all, 100, 0, false);
        let shape: Vec<_> = runs
            .iter()
            .map(|r| (r.first, r.count, r.at.get()))
            .collect();
        assert_eq!(shape, [(20, 13, 10_900), (102, 21, 50_100)]);
    }

    #[test]
    fn a_copy_that_lies_out_of_order_keeps_no_table_from_being_widened() {
        let votes = [(11_000, 21), (12_000, 31), (90_000, 2), (90_100, 3)];
        let runs = runs(&votes, &[10_900, 12_100], 100, 0, false);
        let shape: Vec<_> = runs.iter().map(|r| (r.first, r.count)).collect();
        assert_eq!(shape, [(2, 2), (20, 13)]);
    }

    proptest! {
        #[test]
        fn any_votes_give_runs_that_are_apart(
            votes in prop::collection::vec((0..1_000_000_u64, any::<u32>()), 0..60),
        ) {
            let votes: Vec<(u64, u64)> =
                votes.into_iter().map(|(at, n)| (at, u64::from(n % 500))).collect();
            let all: Vec<u64> = votes.iter().map(|(at, _)| *at).collect();
            let mut end = 0;
            for run in runs(&votes, &all, 128, 0, false) {
                assert!(run.first > end, "{run:?}");
                end = run.first + run.count - 1;
            }
        }
    }
}
