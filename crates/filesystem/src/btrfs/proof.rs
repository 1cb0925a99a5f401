//! Whether the data blocks that an extent names still hold what was written for it.
//!
//! The blocks of an extent are never written in place, only freed and allocated again. So the sums
//! in a leaf of the checksum tree are those of the extent if the leaf was written when the extent was
//! already there, and not later than something is known that still named it. For what the newest
//! roots lead to that holds of the newest sums, which the view checks anyway.

use std::ops::Range;

use evidence::Cause;

use super::Btrfs;
use super::extent::{Content, FileExtent};
use super::key::{EXTENT_ITEM, Key, METADATA_ITEM};
use super::sums::Sum;
use super::tree::{Leaf, Seen};
use super::view::read_sectors;
use super::volume::corrupt;
use evidence::Fields;

/// So much is checked at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// What the tree of allocations says of the place of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allocation {
    /// The extent is there, as of this generation.
    Same(u64),
    /// Another one, or a tree block.
    Other(u64),
    /// Nothing is.
    Free,
    /// That part of the tree is lost.
    Unknown,
}

/// Checks that the bytes of `extent`, whose item stands in `leaf`, can be those that were written
/// for it, as far as the view does not check that.
pub(super) fn check(
    fs: &Btrfs,
    extent: &FileExtent,
    leaf: &Leaf,
    nodatasum: bool,
) -> Result<(), Cause> {
    let Some(blocks) = extent.blocks() else {
        return check_inline(fs, extent, leaf);
    };
    if leaf.as_of >= fs.sums.newest {
        return check_summed(fs, blocks, nodatasum);
    }
    let allocation = allocation(fs, extent);
    let as_of = match allocation {
        Allocation::Same(as_of) => leaf.as_of.max(as_of),
        Allocation::Other(as_of) if as_of > leaf.as_of => {
            return Err(corrupt("something newer lies in its blocks"));
        }
        Allocation::Other(_) | Allocation::Free | Allocation::Unknown => leaf.as_of,
    };
    if as_of >= fs.sums.newest {
        return check_summed(fs, blocks, nodatasum);
    }
    if nodatasum {
        return match allocation {
            Allocation::Free | Allocation::Same(_) => Ok(()),
            Allocation::Other(_) | Allocation::Unknown => Err(corrupt(
                "it has no checksums, and its blocks may be another's",
            )),
        };
    }
    verify(fs, blocks, extent.generation..as_of.saturating_add(1))
}

/// Checks that the checksum tree knows of `blocks`, so that the view can tell whether they are right:
/// a tree that is older than the file does not.
fn check_summed(fs: &Btrfs, blocks: Range<u64>, nodatasum: bool) -> Result<(), Cause> {
    if nodatasum {
        return Ok(());
    }
    let mut parts = windows(fs, blocks);
    let known = parts.all(|part| {
        let sums = fs.sums.of(&fs.volume, part, None);
        sums.iter().all(|sum| *sum != Sum::None)
    });
    known
        .then_some(())
        .ok_or_else(|| corrupt("no checksum is left to prove its blocks"))
}

/// `blocks` in whole sectors, so many bytes at a time as are checked at a time.
fn windows(fs: &Btrfs, blocks: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let sector = u64::from(fs.volume.format.sectorsize).max(1);
    let inside = blocks.start.checked_rem(sector).unwrap_or(0);
    let mut at = blocks.start.saturating_sub(inside);
    let end = blocks.end.checked_next_multiple_of(sector);
    let end = end.unwrap_or(blocks.end);
    std::iter::from_fn(move || {
        let part = at..end.min(at.saturating_add(WINDOW_BYTES));
        at = part.end;
        (!part.is_empty()).then_some(part)
    })
}

/// Checks that the tree block which an inline extent lies in is the one that the view reads.
fn check_inline(fs: &Btrfs, extent: &FileExtent, leaf: &Leaf) -> Result<(), Cause> {
    let Content::Inline { .. } = extent.content else {
        return Ok(());
    };
    let node = fs.volume.newest_node(leaf.bytenr);
    let is_it = node.is_some_and(|node| node.header.generation == leaf.generation);
    is_it
        .then_some(())
        .ok_or_else(|| corrupt("copies of the tree block that they lie in differ in age"))
}

/// What the tree of allocations says of the place of `extent`.
fn allocation(fs: &Btrfs, extent: &FileExtent) -> Allocation {
    let Some((start, length)) = extent.allocation() else {
        return Allocation::Unknown;
    };
    let key = Key::new(start, EXTENT_ITEM, length);
    let same = fs.extents.find(&fs.volume, key, |entry| {
        let generation = Fields::new(entry.data).le_u64(8);
        (generation == Some(extent.generation)).then_some(entry.leaf.as_of)
    });
    if let Some(Some(as_of)) = same {
        return Allocation::Same(as_of);
    }
    let mut found = Allocation::Free;
    let end = start.saturating_add(length);
    // The one before may reach into the place.
    let before = fs.extents.last(
        &fs.volume,
        Key::new(start.saturating_sub(MOST_BEFORE), 0, 0)..Key::new(start, 0, 0),
        |entry| (entry.key, entry.leaf.as_of),
    );
    if let Some((key, as_of)) = before
        && key.item_type == EXTENT_ITEM
        && key.objectid.saturating_add(key.offset) > start
    {
        found = Allocation::Other(as_of);
    }
    let part = Key::new(start, 0, 0)..Key::new(end, 0, 0);
    fs.extents.visit(&fs.volume, part, &mut |seen| match seen {
        Seen::Item(entry) if matches!(entry.key.item_type, EXTENT_ITEM | METADATA_ITEM) => {
            found = Allocation::Other(entry.leaf.as_of);
        }
        Seen::Item(_) => {}
        Seen::NoData(_) | Seen::Lost(..) => {
            if found == Allocation::Free {
                found = Allocation::Unknown;
            }
        }
    });
    found
}

/// No extent is longer: `BTRFS_MAX_EXTENT_SIZE`.
const MOST_BEFORE: u64 = 128 << 20;

/// Checks the data in `blocks` against sums that were written in the generations `written`.
fn verify(fs: &Btrfs, blocks: Range<u64>, written: Range<u64>) -> Result<(), Cause> {
    for part in windows(fs, blocks) {
        let sums = fs.sums.of_then(&fs.volume, part.clone(), written.clone());
        if !sums.iter().all(|sum| matches!(sum, Sum::Known(_))) {
            return Err(corrupt(
                "no checksum of its time is left to prove its blocks",
            ));
        }
        let (_, gaps) = read_sectors(&fs.volume, &part, &sums);
        if !gaps.is_empty() {
            return Err(corrupt("its blocks do not fit the checksums of its time"));
        }
    }
    Ok(())
}
