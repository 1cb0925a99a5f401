//! What need not be searched for mail: the blocks of files that are in use, and what of a device is
//! a part of another one.

use std::collections::BTreeMap;
use std::ops::Range;

use aggregate::coverage::merged;
use anyhow::Result;
use filesystem::{FileKind, Found, Place, Standing, View, walk};

use crate::args::Common;
use crate::commands::rebuild::find_filesystems;
use crate::session::Session;

/// The ranges of each device that belong to files in use whose maps are whole, sorted and in bytes.
pub(super) fn in_files(
    session: &Session,
    common: &Common,
) -> Result<BTreeMap<String, Vec<Range<u64>>>> {
    let (found, _) = find_filesystems(session, common)?;
    let mut ranges: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
    for found in found {
        // The addresses of btrfs are its own; what is carved twice is known by its content.
        if let View::Opened(device) | View::Device(device) = &found.view {
            ranges.entry(device.clone()).or_default().extend(of(&found));
        }
    }
    for ranges in ranges.values_mut() {
        *ranges = merged(std::mem::take(ranges));
    }
    Ok(ranges)
}

/// The ranges that the files of one file system have.
fn of(found: &Found) -> Vec<Range<u64>> {
    let fs = found.fs.as_ref();
    let block = u64::from(fs.info().block_bytes).max(1);
    let files = walk(fs).filter_map(Result::ok).filter(|entry| {
        entry.inode.kind == FileKind::Regular && entry.inode.standing == Standing::InUse
    });
    files
        .map(|entry| fs.extents(&entry.inode))
        .filter(|extents| extents.losses.is_empty())
        .flat_map(|extents| extents.pieces)
        .filter_map(|piece| {
            let Place::At(at) = piece.place else {
                return None;
            };
            let end = at.checked_add(piece.length)?.get();
            Some(at.get()..end.checked_next_multiple_of(block)?)
        })
        .collect()
}
