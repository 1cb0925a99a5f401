//! What need not be searched for mail: the blocks of files that are in use, and of btrfs those of
//! its trees, where small messages stand between other things.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use evidence::merged;
use filesystem::in_use;

use crate::args::Common;
use crate::commands::rebuild::{find_filesystems, is_remains};
use crate::session::Session;

/// The ranges of each device that belong to files in use whose maps are whole, or to the trees of
/// btrfs; merged.
pub(super) fn in_files(
    session: &Session,
    common: &Common,
) -> Result<BTreeMap<String, Vec<Range<u64>>>> {
    let (found, _) = find_filesystems(session, common)?;
    let mut ranges: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
    for found in found {
        let mut own = in_use(found.fs.as_ref());
        // Where the trees of one lay that was replaced, the newer one has files.
        if !is_remains(&found) {
            own.extend(found.view.structures());
        }
        for (device, range) in found.view.places(&own) {
            ranges.entry(device.to_owned()).or_default().push(range);
        }
    }
    for ranges in ranges.values_mut() {
        *ranges = merged(std::mem::take(ranges));
    }
    Ok(ranges)
}
