//! What the file systems explain: which blocks need not be searched for mail, and which go on on
//! another device.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::Result;
use evidence::merged;
use filesystem::{Found, View, in_use};

use crate::args::Common;
use crate::commands::rebuild::{find_filesystems, is_remains};
use crate::session::Session;

/// What the file systems of a case explain.
pub(super) struct Explained {
    /// The ranges of each device that are not searched by device: blocks of files in use whose maps
    /// are whole, the trees of btrfs, where small messages stand between other things, and all that
    /// is searched by the addresses of a file system. Merged.
    pub(super) taken: BTreeMap<String, Vec<Range<u64>>>,
    /// The file systems that are spread over several devices.
    pub(super) spread: Vec<Spread>,
}

/// A file system to search by its addresses.
pub(super) struct Spread {
    pub(super) name: String,
    pub(super) view: View,
    /// The addresses that files may have, in order.
    pub(super) ranges: Vec<Range<u64>>,
    /// Those that files in use have; merged.
    pub(super) in_files: Vec<Range<u64>>,
}

impl Explained {
    /// What the file systems explain; with `all` not where their files lie.
    pub(super) fn of(session: &Session, all: bool, common: &Common) -> Result<Self> {
        let (found, _) = find_filesystems(session, common)?;
        let owners: BTreeSet<String> = found
            .iter()
            .filter(|found| !is_remains(found))
            .flat_map(|found| found.view.devices())
            .map(str::to_owned)
            .collect();
        // Where the trees of one lay that was replaced, the newer one has files.
        let is_replaced = |found: &Found| {
            let mut devices = found.view.devices().into_iter();
            is_remains(found) && devices.any(|device| owners.contains(device))
        };
        let mut explained = Self {
            taken: BTreeMap::new(),
            spread: Vec::new(),
        };
        for found in found {
            let mut own = if all {
                Vec::new()
            } else {
                in_use(found.fs.as_ref())
            };
            if !is_replaced(&found) {
                if let Some(spread) = found.view.spread() {
                    explained.take(spread.places);
                    explained.spread.push(Spread {
                        name: spread.name,
                        view: found.view.clone(),
                        ranges: spread.ranges,
                        in_files: merged(own.clone()),
                    });
                }
                if !all {
                    own.extend(found.view.structures());
                }
            }
            explained.take(found.view.places(&own));
        }
        for ranges in explained.taken.values_mut() {
            *ranges = merged(std::mem::take(ranges));
        }
        Ok(explained)
    }

    fn take(&mut self, places: Vec<(&str, Range<u64>)>) {
        for (device, range) in places {
            self.taken.entry(device.to_owned()).or_default().push(range);
        }
    }
}
