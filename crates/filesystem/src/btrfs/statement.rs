//! How a view is had again without looking for its file system once more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use evidence::{ReadAt, merged};
use serde::{Deserialize, Serialize};

use super::Btrfs;
use super::chunk::{Chunk, Stripe};
use super::find::Identity;
use super::key::{EXTENT_CSUM, EXTENT_CSUM_OBJECTID, Key};
use super::pool::Pool;
use super::sums::Sums;
use super::tree::{Leaf, Tree};
use super::view::Logical;
use super::volume::{Format, Volume};

/// The devices and chunks of a btrfs, and the leaves of its checksum tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    name: String,
    metadata_uuid: [u8; 16],
    format: Format,
    /// Names of devices by `devid`.
    devices: BTreeMap<u64, String>,
    chunks: Vec<Chunk>,
    /// Of each leaf the part of the logical addresses that it answers for, its own address and
    /// generation, and the generation of which it is known to have been in the tree.
    csum_leaves: Vec<[u64; 5]>,
    /// Parts of the logical addresses whose checksums are lost.
    csums_lost: Vec<[u64; 2]>,
}

/// The address that a key of the checksum tree stands for; the ends of the tree for all others.
fn address(key: Key) -> u64 {
    match (key.objectid, key.item_type) {
        (EXTENT_CSUM_OBJECTID, EXTENT_CSUM) => key.offset,
        other if other < (EXTENT_CSUM_OBJECTID, EXTENT_CSUM) => 0,
        _ => u64::MAX,
    }
}

const fn key(address: u64) -> Key {
    Key::new(EXTENT_CSUM_OBJECTID, EXTENT_CSUM, address)
}

impl Statement {
    /// How the view of `fs` is had again.
    pub(super) fn of(identity: &Identity<'_>, devids: &BTreeMap<u64, usize>, fs: &Btrfs) -> Self {
        let device = |index: &usize| identity.devices.get(*index).map(|device| &device.name);
        let devices = devids
            .iter()
            .filter(|(devid, _)| fs.volume.pool.devices.contains_key(devid))
            .filter_map(|(devid, index)| Some((*devid, device(index)?.clone())));
        let tree = &fs.sums.tree;
        let leaf = |leaf: &Leaf| {
            let (start, end) = (address(leaf.first), address(leaf.end));
            [start, end, leaf.bytenr, leaf.generation, leaf.as_of]
        };
        let lost = tree.lost.iter();
        Self {
            name: fs.volume.name.clone(),
            metadata_uuid: fs.volume.metadata_uuid,
            format: fs.volume.format,
            devices: devices.collect(),
            chunks: fs.volume.pool.chunks().cloned().collect(),
            csum_leaves: tree.leaves.iter().map(leaf).collect(),
            csums_lost: lost
                .map(|lost| [address(lost.start), address(lost.end)])
                .collect(),
        }
    }

    /// Where on which devices these addresses lie: every copy.
    pub(crate) fn places(&self, ranges: &[Range<u64>]) -> Vec<(&str, Range<u64>)> {
        let within = |range| {
            self.chunks
                .iter()
                .flat_map(move |chunk| chunk.places(range))
        };
        let places = ranges.iter().flat_map(within);
        places
            .filter_map(|(devid, range)| Some((self.devices.get(&devid)?.as_str(), range)))
            .collect()
    }

    /// The addresses that nodes of trees may have, and no data.
    pub(crate) fn structures(&self) -> Vec<Range<u64>> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.is_of_structures());
        chunks.map(|chunk| chunk.start..chunk.end()).collect()
    }

    /// The addresses that files may have, in order, if they are spread over several devices: then
    /// no device holds what goes on with what. None otherwise.
    pub(crate) fn spread(&self) -> Vec<Range<u64>> {
        let stripes = self.chunks.iter().flat_map(|chunk| &chunk.stripes);
        let devids: BTreeSet<u64> = stripes.map(|stripe| stripe.devid).collect();
        if devids.len() < 2 {
            return Vec::new();
        }
        let of_files = |chunk: &&Chunk| !chunk.is_of_structures();
        let ranges = self.chunks.iter().filter(of_files);
        merged(ranges.map(|chunk| chunk.start..chunk.end()).collect())
    }

    /// Where on which devices its chunks lie: copies and parity too.
    pub(crate) fn chunk_places(&self) -> Vec<(&str, Range<u64>)> {
        let mut places = Vec::new();
        for chunk in &self.chunks {
            for Stripe { devid, offset } in &chunk.stripes {
                if let Some(device) = self.devices.get(devid) {
                    let end = offset.saturating_add(chunk.stripe_bytes());
                    places.push((device.as_str(), *offset..end));
                }
            }
        }
        places
    }

    /// The devices that are there.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.values().map(String::as_str)
    }

    /// `btrfs:` and eight digits of its UUID.
    pub(crate) fn volume_name(&self) -> String {
        let digits = self.metadata_uuid.iter().take(4);
        let digits: String = digits.map(|byte| format!("{byte:02x}")).collect();
        format!("btrfs:{digits}")
    }

    /// The view, over devices that `device` gives by name; those that are gone are missing.
    pub(crate) fn open(
        &self,
        device: impl Fn(&str) -> Option<Arc<dyn ReadAt>>,
    ) -> Option<Arc<dyn ReadAt>> {
        let devices: BTreeMap<u64, Arc<dyn ReadAt>> = self
            .devices
            .iter()
            .filter_map(|(devid, name)| Some((*devid, device(name)?)))
            .collect();
        if devices.is_empty() {
            return None;
        }
        let mut pool = Pool::new(devices);
        for chunk in &self.chunks {
            pool.add(chunk.clone());
        }
        let volume = Volume::new(&self.name, pool, self.format, self.metadata_uuid);
        let leaves = self.csum_leaves.iter().map(|leaf| {
            let [start, end, bytenr, generation, as_of] = *leaf;
            Leaf {
                first: key(start),
                end: key(end),
                bytenr,
                generation,
                as_of,
            }
        });
        let lost = self
            .csums_lost
            .iter()
            .map(|[start, end]| key(*start)..key(*end));
        let tree = Tree {
            leaves: leaves.filter(|leaf| leaf.first < leaf.end).collect(),
            lost: lost.filter(|lost| lost.start < lost.end).collect(),
        };
        Some(Arc::new(Logical {
            volume: Arc::new(volume),
            sums: Arc::new(Sums::new(tree, &[])),
        }))
    }
}
