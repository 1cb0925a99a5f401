//! Files that lie in pieces, by what is left of their file system's own maps.
//!
//! Where superblocks, inode tables and directories are gone, blocks of maps may be left among the files: leaves
//! of ext4's extent trees (`extents`), and the blocks of pointers of ext2 and ext3 (`indirect`). They say
//! in which order the blocks of a file follow each other. Files that begin as mail does, or have postmarks in them, are
//! laid out by them one after the other (`layout`), and carved there like any device. A map may be older than what
//! its blocks hold now: so it proves nothing by itself, and what is not whole by its contents is left to the search.
//!
//! The file system must begin with the device.

mod extents;
mod indirect;
mod layout;

use std::collections::BTreeMap;
use std::ops::Range;

use evidence::ReadAt;
use mail::Proof;

use crate::Carving;
use crate::blocks::Grid;
use crate::device::{self, Contents};
use crate::survey::{SECTOR, Sector, Survey};
use crate::turned::Turned;
pub(crate) use extents::MAGIC;
pub(crate) use indirect::may_begin as may_be_pointers;
use layout::Layout;

/// The files with mail of all maps together are so many times as long as the device at most: copies of maps count.
const MOST_TIMES: u64 = 8;

/// Blocks of a file system that follow each other: the number of the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    first: u64,
    count: u64,
}

/// How many blocks there are in runs.
fn blocks_of(runs: &[Run]) -> u64 {
    let counts = runs.iter().map(|run| run.count);
    counts.fold(0, u64::saturating_add)
}

/// A file by its map: the size of the blocks, and where they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapped {
    block: u64,
    runs: Vec<Run>,
}

impl Mapped {
    /// Where its runs lie, in bytes; `None` if they do not all lie on the device.
    fn ranges(&self, device_bytes: u64) -> Option<Vec<Range<u64>>> {
        let range = |run: &Run| {
            let start = run.first.checked_mul(self.block)?;
            let end = start.checked_add(run.count.checked_mul(self.block)?)?;
            (end <= device_bytes).then_some(start..end)
        };
        self.runs.iter().map(range).collect()
    }
}

/// What maps lead to.
#[derive(Default)]
pub(crate) struct Found {
    /// The messages that are whole.
    pub(crate) messages: Vec<Carving>,
    /// Where blocks begin, if there are any.
    pub(crate) grid: Option<Grid>,
    /// The bits that can be seen to have turned in their files.
    pub(crate) turned: Turned,
}

/// Takes the mail that is whole where maps say how its blocks follow each other; its sectors are taken out of
/// `survey`.
pub(crate) fn take(device: &dyn ReadAt, survey: &mut Survey) -> Found {
    let mut files = extents::files(device, &survey.leaves);
    files.extend(indirect::files(device, survey));
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for file in &files {
        *sizes.entry(file.block).or_default() += 1;
    }
    let most = sizes
        .into_iter()
        .max_by_key(|(block, count)| (*count, *block));
    let Some((block, _)) = most else {
        return Found::default();
    };
    files.retain(|file| file.block == block);
    let files = chosen(files, device, survey);
    if files.is_empty() {
        return Found::default();
    }
    let layout = Layout::new(device, block, files);
    let grid = Grid::of_blocks(block);
    let Contents { carved, turned, .. } = device::carve_laid_out(&layout, grid);
    let sound = carved.messages.into_iter();
    let sound = sound.filter(|message| is_sound(message, &layout));
    let messages: Vec<Carving> = sound.filter_map(|one| layout.on_device(one)).collect();
    for message in &messages {
        for (at, length) in &message.found.pieces {
            survey.take(&sectors_of(message, *at..at.saturating_add(*length)));
        }
    }
    Found {
        grid: (!messages.is_empty()).then_some(grid),
        messages,
        turned,
    }
}

/// Whether a message is whole as its file was laid out: in one piece there, or by the hash of its body. A length that a
/// store states fits whatever the blocks between hold now, so that it is one where no map was needed.
fn is_sound(message: &Carving, layout: &Layout<'_>) -> bool {
    let found = &message.found;
    match found.proof {
        Some(Proof::BodyHash) => true,
        Some(Proof::Size) => found
            .pieces
            .iter()
            .all(|(at, length)| layout.is_one_run(*at..at.saturating_add(*length))),
        // What mailbox software keeps in a header is left out of it.
        Some(_) => found.pieces.len() == 1 || found.stored.is_some(),
        None => false,
    }
}

/// The sectors that a message takes: in a store others may lie in those that it has in part.
fn sectors_of(message: &Carving, piece: Range<u64>) -> Range<u64> {
    if message.found.stored.is_none() {
        return piece;
    }
    let sector = SECTOR as u64;
    let start = piece.start.next_multiple_of(sector);
    start..(piece.end - piece.end % sector).max(start)
}

/// The places of those files that begin as mail does, or have postmarks in them, and of which nothing is taken: of
/// several maps that have the same blocks, as journals keep copies, that of the longest file.
fn chosen(mut files: Vec<Mapped>, device: &dyn ReadAt, survey: &Survey) -> Vec<Vec<Range<u64>>> {
    files.sort_by(|a, b| {
        let longest = blocks_of(&b.runs).cmp(&blocks_of(&a.runs));
        longest.then_with(|| a.runs.cmp(&b.runs))
    });
    // By where each range ends that is chosen, where it begins.
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut places = Vec::new();
    let mut left = device.len().saturating_mul(MOST_TIMES);
    for file in files {
        let ranges = file.ranges(device.len());
        let ranges = ranges.filter(|ranges| ranges.len() > 1 && is_mail(ranges, survey));
        let Some(ranges) = ranges else {
            continue;
        };
        let bytes = blocks_of(&file.runs).saturating_mul(file.block);
        let Some(behind) = left.checked_sub(bytes) else {
            continue;
        };
        left = behind;
        let mut own = BTreeMap::new();
        let mut is_free = |range: &Range<u64>| {
            let touches = |taken: &BTreeMap<u64, u64>| {
                let mut behind = taken.range(range.start.saturating_add(1)..);
                behind.next().is_some_and(|(_, start)| *start < range.end)
            };
            let is_free = !touches(&taken) && !touches(&own) && is_nobodys(range, survey);
            own.insert(range.end, range.start);
            is_free
        };
        if ranges.iter().all(&mut is_free) {
            taken.append(&mut own);
            places.push(ranges);
        }
    }
    places.sort_by_key(|ranges| ranges.first().map(|range| range.start));
    places
}

fn is_mail(ranges: &[Range<u64>], survey: &Survey) -> bool {
    let begins = ranges
        .first()
        .is_some_and(|range| survey.begins_mail(range.start));
    begins || ranges.iter().any(|range| survey.stores.has_postmark(range))
}

/// Whether nothing else explains any sector of a range.
fn is_nobodys(range: &Range<u64>, survey: &Survey) -> bool {
    let mut sectors = range.clone().step_by(SECTOR);
    sectors.all(|at| survey.sector(at) != Sector::Taken)
}
