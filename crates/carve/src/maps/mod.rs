//! Files that lie in pieces, by what is left of their file system's own maps.
//!
//! Where superblocks, inode tables and directories are gone, blocks of maps may be left among the files: leaves
//! of ext4's extent trees (`extents`), and the blocks of pointers of ext2 and ext3 (`indirect`). They say
//! in which order the blocks of a file follow each other. Files that begin as mail does, or have postmarks in them, are
//! laid out by them one after the other (`layout`), and carved there like any device. A map may be older than what
//! its blocks hold now: so it proves nothing by itself, and what is not whole by its contents is left to the search.

mod extents;
mod indirect;
mod layout;

use std::collections::BTreeMap;

use evidence::ReadAt;

use crate::Carving;
use crate::blocks::Grid;
use crate::device::{self, Contents};
use crate::survey::{Sector, Survey};
use crate::turned::Turned;
pub(crate) use extents::MAGIC;
pub(crate) use indirect::may_begin as may_be_pointers;
use layout::Layout;

/// Files that one device is thought to have maps of, and the bytes that are read by these.
const MOST_FILES: usize = 65_536;
const MOST_BYTES: u64 = 64 << 30;

/// So many maps must say where their file system begins if it is not at the start of the device.
const LEAST_VOTES: usize = 3;

/// Blocks of a file system that follow each other: the number of the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    count: u64,
}

/// A file by its map: the size of the blocks, and where they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapped {
    block: u64,
    runs: Vec<Run>,
}

impl Mapped {
    fn blocks(&self) -> u64 {
        let counts = self.runs.iter().map(|run| run.count);
        counts.fold(0, u64::saturating_add)
    }

    /// Where its runs lie on the device of a file system that begins at `base`, in bytes; `None` if they do not all lie
    /// on it.
    fn ranges(&self, base: i64, device_bytes: u64) -> Option<Vec<std::ops::Range<u64>>> {
        let range = |run: &Run| {
            let start = run.first.checked_mul(self.block)?;
            let start = start.checked_add_signed(base)?;
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
    /// The bits that can be seen to have turned in their files.
    pub(crate) turned: Turned,
}

/// Takes the mail that is whole where maps say how its blocks follow each other; its sectors are taken out of
/// `survey`.
pub(crate) fn take(device: &dyn ReadAt, survey: &mut Survey) -> Found {
    let mut files = extents::files(device, &survey.leaves);
    files.extend(indirect::files(device, survey));
    let Some(block) = files.iter().map(|file| file.block).max_by_key(|block| {
        let own = files.iter().filter(|file| file.block == *block);
        (own.count(), *block)
    }) else {
        return Found::default();
    };
    files.retain(|file| file.block == block);
    let base = base_of(&files, survey);
    let files = chosen(files, base, device, survey);
    if files.is_empty() {
        return Found::default();
    }
    let layout = Layout::new(device, block, files);
    let Contents { carved, turned, .. } = device::carve_laid_out(&layout, Grid::of_blocks(block));
    let whole = carved.messages.into_iter();
    let whole = whole.filter(|message| message.found.proof.is_some());
    let messages: Vec<Carving> = whole.filter_map(|one| layout.on_device(one)).collect();
    for (at, length) in messages.iter().flat_map(|message| &message.found.pieces) {
        survey.take(&(*at..at.saturating_add(*length)));
    }
    Found { messages, turned }
}

/// Where on the device the file system begins: at its start, or where the first blocks of most files would begin as
/// mail does.
fn base_of(files: &[Mapped], survey: &Survey) -> i64 {
    let begins_at = |base: i64| {
        let firsts = files.iter().filter_map(|file| {
            let first = file.runs.first()?.first.checked_mul(file.block)?;
            first.checked_add_signed(base)
        });
        firsts.filter(|at| survey.begins_mail(*at)).count()
    };
    let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
    for file in files.iter().take(MOST_VOTERS) {
        let Some(run) = file.runs.first() else {
            continue;
        };
        let first = i64::try_from(run.first.saturating_mul(file.block)).unwrap_or(i64::MAX);
        for head in survey.heads.iter().take(MOST_HEADS) {
            let base = i64::try_from(*head)
                .ok()
                .and_then(|head| head.checked_sub(first));
            if let Some(base) = base.filter(|base| base % SECTOR == 0) {
                *votes.entry(base).or_default() += 1;
            }
        }
    }
    let best = votes
        .into_iter()
        .max_by_key(|(base, votes)| (*votes, -base.abs()));
    match best {
        Some((base, votes)) if votes >= LEAST_VOTES && votes > begins_at(0) * 2 => base,
        _ => 0,
    }
}

const SECTOR: i64 = crate::survey::SECTOR as i64;
/// So many files and heads are asked where the file system begins.
const MOST_VOTERS: usize = 256;
const MOST_HEADS: usize = 4096;

/// The places of those files that begin as mail does, or have postmarks in them, and of which nothing is taken: of
/// several maps of one file, copies of which journals keep, the longest.
fn chosen(
    files: Vec<Mapped>,
    base: i64,
    device: &dyn ReadAt,
    survey: &Survey,
) -> Vec<Vec<std::ops::Range<u64>>> {
    let mut by_first: BTreeMap<u64, Mapped> = BTreeMap::new();
    for file in files {
        let Some(first) = file.runs.first().map(|run| run.first) else {
            continue;
        };
        let is_longer = |other: &Mapped| file.blocks() > other.blocks();
        if by_first.get(&first).is_none_or(is_longer) {
            by_first.insert(first, file);
        }
    }
    let mut bytes = 0_u64;
    let places = by_first.into_values().filter_map(|file| {
        let ranges = file.ranges(base, device.len())?;
        let begins = survey.begins_mail(ranges.first()?.start)
            || ranges.iter().any(|range| survey.stores.has_postmark(range));
        let is_free = |range: &std::ops::Range<u64>| {
            let ends = [range.start, range.end.saturating_sub(file.block)];
            ends.iter().all(|at| survey.sector(*at) != Sector::Taken)
        };
        bytes = bytes.saturating_add(file.blocks().saturating_mul(file.block));
        let fits = bytes <= MOST_BYTES;
        (begins && fits && ranges.len() > 1 && ranges.iter().all(is_free)).then_some(ranges)
    });
    places.take(MOST_FILES).collect()
}
