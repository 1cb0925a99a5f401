//! What need not be searched for mail: the blocks of files that are in use, and what of a device is
//! a part of another one.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use evidence::merged;
use filesystem::{View, in_use};

use crate::args::Common;
use crate::commands::rebuild::find_filesystems;
use crate::session::Session;

/// The ranges of each device that belong to files in use whose maps are whole, merged.
pub(super) fn in_files(
    session: &Session,
    common: &Common,
) -> Result<BTreeMap<String, Vec<Range<u64>>>> {
    let (found, _) = find_filesystems(session, common)?;
    let mut ranges: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
    for found in found {
        // The addresses of btrfs are its own; what is carved twice is known by its content.
        if let View::Opened(device) | View::Device(device) = &found.view {
            ranges
                .entry(device.clone())
                .or_default()
                .extend(in_use(found.fs.as_ref()));
        }
    }
    for ranges in ranges.values_mut() {
        *ranges = merged(std::mem::take(ranges));
    }
    Ok(ranges)
}
