//! The map of logical addresses, from whatever still tells of it.
//!
//! Chunk items say it all. Where they are gone, the extents that each device counts in the device
//! tree and the block groups of the extent tree say the same in two halves, up to the order of
//! stripes. Where these are gone too, every tree block that was seen says where it lies itself.

use std::collections::{BTreeMap, HashMap};

use evidence::{Fields, ReadAtExt};

use super::chunk::{Chunk, DATA, Profile, Stripe};
use super::find::{Identity, Seen};
use super::key::{
    BLOCK_GROUP_ITEM, BLOCK_GROUP_TREE, CHUNK_ITEM, CHUNK_TREE, DEV_EXTENT, DEV_TREE, EXTENT_TREE,
    Key,
};
use super::node::Node;
use super::order::Unordered;
use super::pool::Pool;
use super::sums::Sums;
use super::unplaced::{self, Unplaced};
use super::volume::Volume;

/// `BTRFS_BLOCK_GROUP_METADATA`.
const METADATA: u64 = 4;

/// What a device extent says.
#[derive(Clone, Copy)]
struct DevExtent {
    stripe: Stripe,
    length: u64,
}

/// Items that tell of the map, each of the newest generation that was seen.
#[derive(Default)]
struct Told {
    /// By their first address, with the generation of the leaf.
    chunks: BTreeMap<u64, (u64, Chunk)>,
    /// By devid and place, with the chunk.
    dev_extents: BTreeMap<(u64, u64), (u64, u64, DevExtent)>,
    /// Length and type by the first address.
    block_groups: BTreeMap<u64, (u64, u64, u64)>,
}

impl Told {
    /// Reads the leaves of the trees that tell of the map.
    fn of(identity: &Identity<'_>) -> Self {
        let mut told = Self::default();
        for seen in &identity.nodes {
            let owner = seen.sighting.header.owner;
            let tells = matches!(
                owner,
                CHUNK_TREE | DEV_TREE | EXTENT_TREE | BLOCK_GROUP_TREE
            );
            if tells && seen.sighting.header.level == 0 {
                told.add(identity, seen);
            }
        }
        told
    }

    fn add(&mut self, identity: &Identity<'_>, seen: &Seen) {
        let Some(node) = node_at(identity, seen) else {
            return;
        };
        let generation = node.header.generation;
        for (_, item) in node.items().0 {
            let Some(data) = item.data.and_then(|data| node.bytes.get(data)) else {
                continue;
            };
            self.add_item(generation, item.key, data);
        }
    }

    fn add_item(&mut self, generation: u64, key: Key, data: &[u8]) {
        let fields = Fields::new(data);
        match key.item_type {
            CHUNK_ITEM => {
                if let Some(chunk) = Chunk::parse(key.offset, data) {
                    newest(&mut self.chunks, key.offset, (generation, chunk));
                }
            }
            DEV_EXTENT => {
                if let (Some(chunk), Some(length)) = (fields.le_u64(16), fields.le_u64(24)) {
                    let stripe = Stripe {
                        devid: key.objectid,
                        offset: key.offset,
                    };
                    let extent = DevExtent { stripe, length };
                    let place = (key.objectid, key.offset);
                    let known = self.dev_extents.get(&place);
                    if known.is_none_or(|known| known.0 < generation) {
                        self.dev_extents.insert(place, (generation, chunk, extent));
                    }
                }
            }
            BLOCK_GROUP_ITEM => {
                if let Some(flags) = fields.le_u64(16) {
                    let known = self.block_groups.get(&key.objectid);
                    if known.is_none_or(|known| known.0 < generation) {
                        let group = (generation, key.offset, flags);
                        self.block_groups.insert(key.objectid, group);
                    }
                }
            }
            _ => {}
        }
    }

    /// The chunks that device extents make, where chunk items are gone; the newest first.
    fn deduced(&self) -> Vec<Unordered> {
        let mut by_chunk: BTreeMap<u64, Vec<(u64, DevExtent)>> = BTreeMap::new();
        for (generation, chunk, extent) in self.dev_extents.values() {
            let extents = by_chunk.entry(*chunk).or_default();
            extents.push((*generation, *extent));
        }
        let mut all: Vec<(u64, Unordered)> = by_chunk
            .into_iter()
            .filter_map(|(start, extents)| {
                let generation = extents.iter().map(|(generation, _)| *generation).max()?;
                let group = self.block_groups.get(&start);
                Some((generation, deduce(start, &extents, group)?))
            })
            .collect();
        all.sort_by_key(|(generation, chunk)| (std::cmp::Reverse(*generation), chunk.start));
        all.into_iter().map(|(_, chunk)| chunk).collect()
    }

    /// The block groups of data whose chunks nothing else tells of; the newest first.
    fn unplaced(&self) -> Vec<Unplaced> {
        let of_data = self.block_groups.iter();
        let of_data = of_data.filter(|(_, (_, _, flags))| flags & DATA != 0);
        let mut all: Vec<(u64, Unplaced)> = of_data
            .map(|(start, (generation, length, block_group_type))| {
                let one = Unplaced {
                    start: *start,
                    length: *length,
                    block_group_type: *block_group_type,
                };
                (*generation, one)
            })
            .collect();
        all.sort_by_key(|(generation, one)| (std::cmp::Reverse(*generation), one.start));
        all.into_iter().map(|(_, one)| one).collect()
    }
}

/// Keeps the value of the newest generation.
fn newest<T>(all: &mut BTreeMap<u64, (u64, T)>, key: u64, value: (u64, T)) {
    if all.get(&key).is_none_or(|known| known.0 < value.0) {
        all.insert(key, value);
    }
}

/// The chunk at `start` over `extents`. Without the type of its block group only copies are told
/// from stripes by nothing, so one extent is all that says enough.
fn deduce(
    start: u64,
    extents: &[(u64, DevExtent)],
    group: Option<&(u64, u64, u64)>,
) -> Option<Unordered> {
    let (_, first) = extents.first()?;
    let stripes: Vec<Stripe> = extents.iter().map(|(_, extent)| extent.stripe).collect();
    let chunk = |length, block_group_type| Unordered {
        start,
        length,
        block_group_type,
        stripes: stripes.clone(),
    };
    let Some((_, length, flags)) = group else {
        let same_device = stripes.iter().all(|s| s.devid == first.stripe.devid);
        let single = stripes.len() == 1 || (same_device && stripes.len() == 2);
        return single.then(|| chunk(first.length, METADATA | DATA));
    };
    // A copy whose extent is not known is just missing; a stripe is not.
    let complete = Profile::of(*flags)? == Profile::Copies
        || Chunk::length_of(*flags, stripes.len(), first.length) == Some(*length);
    let copies = Chunk::copies_of(*flags).is_none_or(|copies| stripes.len() <= copies);
    (complete && copies).then(|| chunk(*length, *flags))
}

/// The tree block of a sighting, read again.
pub(super) fn node_at(identity: &Identity<'_>, seen: &Seen) -> Option<Node> {
    let proof = seen.sighting.proof?;
    let device = identity.devices.get(seen.device)?;
    let bytes = device
        .bytes
        .read_whole(seen.sighting.place, proof.nodesize as usize)?;
    proof.csum.block_fits(&bytes).then_some(Node {
        header: seen.sighting.header,
        bytes,
        lost: Vec::new(),
    })
}

/// The map of a file system, as far as it is known before its trees are read.
pub(super) struct Map {
    pub(super) pool: Pool,
    /// The index of each device by its `devid`.
    pub(super) devids: BTreeMap<u64, usize>,
    /// Chunks of data, the order of whose stripes only checksums can tell.
    pub(super) unordered: Vec<Unordered>,
    /// Chunks of data, the places of which only checksums can tell.
    pub(super) unplaced: Vec<Unplaced>,
}

impl Map {
    /// The `devid` of each device by its index.
    pub(super) fn by_device(&self) -> HashMap<usize, u64> {
        let devids = self.devids.iter();
        devids.map(|(devid, index)| (*index, *devid)).collect()
    }
}

/// The devices of `identity` with their chunks.
pub(super) fn map(identity: &Identity<'_>) -> Map {
    let told = Told::of(identity);
    let mut chunks: Vec<(u64, Chunk)> = told.chunks.values().cloned().collect();
    for sb in identity.superblocks.iter().flatten() {
        let of_sb = sb.sys_chunks.iter();
        chunks.extend(of_sb.map(|chunk| (sb.generation, chunk.clone())));
    }
    // The newest first: what is left of older ones only fills what those leave open.
    chunks.sort_by_key(|(generation, chunk)| (std::cmp::Reverse(*generation), chunk.start));
    let mut pool = Pool::new(BTreeMap::new());
    for (_, chunk) in chunks {
        pool.add(chunk);
    }
    let deduced: Vec<Unordered> = told.deduced();
    let devids = devids(identity, &pool, &deduced);
    let mut map = Map {
        pool,
        devids,
        unordered: Vec::new(),
        unplaced: Vec::new(),
    };
    map.add_deduced(identity, deduced);
    map.add_unplaced(told.unplaced());
    for (devid, index) in &map.devids {
        if let Some(device) = identity.devices.get(*index) {
            map.pool.devices.insert(*devid, device.bytes.clone());
        }
    }
    add_seen(identity, &map.by_device(), &mut map.pool);
    map
}

impl Map {
    /// Adds chunks whose items are gone.
    fn add_deduced(&mut self, identity: &Identity<'_>, deduced: Vec<Unordered>) {
        let named = identity.superblocks.iter().flatten().count();
        let devices_are_known = named >= self.devids.len() || self.devids.len() == 1;
        let by_device = self.by_device();
        for one in deduced {
            let copies = Profile::of(one.block_group_type) == Some(Profile::Copies);
            let as_it_is = one.as_it_is().filter(|_| copies);
            let chunk = if copies && devices_are_known {
                as_it_is
            } else if one.block_group_type & DATA == 0 {
                one.by_nodes(identity, &by_device).or(as_it_is)
            } else {
                self.unordered.push(one);
                continue;
            };
            if let Some(chunk) = chunk {
                self.pool.add(chunk);
            }
        }
    }

    /// Keeps those of `all` that no other chunk lies in.
    fn add_unplaced(&mut self, all: Vec<Unplaced>) {
        for one in all {
            let end = one.start.saturating_add(one.length);
            let unordered = self.unordered.iter();
            let unordered = unordered.map(|o| o.start..o.start.saturating_add(o.length));
            let before = self.unplaced.iter();
            let before = before.map(|o| o.start..o.start.saturating_add(o.length));
            let mut others = unordered.chain(before);
            let apart = others.all(|other| other.end <= one.start || end <= other.start);
            if apart && self.pool.is_free(&(one.start..end)) {
                self.unplaced.push(one);
            }
        }
    }

    /// Adds chunks of data in the order and at the places that checksums tell.
    pub(super) fn order(&mut self, identity: &Identity<'_>, volume: &Volume, sums: &Sums) {
        let by_device = self.by_device();
        let unplaced = std::mem::take(&mut self.unplaced);

        for chunk in unplaced::place(&unplaced, identity, &by_device, volume, sums) {
            self.pool.add(chunk);
        }
        for one in std::mem::take(&mut self.unordered) {
            let copies = Profile::of(one.block_group_type) == Some(Profile::Copies);
            let chunk = one.by_sums(identity, &by_device, volume, sums);
            let chunk = chunk.or_else(|| one.as_it_is().filter(|_| copies));
            if let Some(chunk) = chunk {
                self.pool.add(chunk);
            }
        }
    }
}

/// Which device has which `devid`: as its superblock says, or as the places of its blocks say.
fn devids(identity: &Identity<'_>, pool: &Pool, deduced: &[Unordered]) -> BTreeMap<u64, usize> {
    let mut devids: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, sb) in identity.superblocks.iter().enumerate() {
        if let Some(sb) = sb {
            devids.entry(sb.devid).or_insert(index);
        }
    }
    let mut votes: HashMap<(usize, u64), u64> = HashMap::new();
    for seen in identity
        .nodes
        .iter()
        .filter(|seen| seen.sighting.proof.is_some())
    {
        let bytenr = seen.sighting.header.bytenr;
        let mut places = pool.places(bytenr);
        let of_deduced = deduced.iter().filter_map(Unordered::as_it_is);
        for chunk in of_deduced.filter(|c| (c.start..c.end()).contains(&bytenr)) {
            // In whatever order the stripes are, each begins at its own place.
            if let Some(spot) = chunk.spot(bytenr) {
                let stripes = chunk.stripes.iter();
                places.extend(stripes.map(|s| (s.devid, s.offset.saturating_add(spot.within))));
            }
        }
        for (devid, place) in places {
            if place == seen.sighting.place.get() {
                let votes = votes.entry((seen.device, devid)).or_default();
                *votes = votes.saturating_add(1);
            }
        }
    }
    let mut votes: Vec<((usize, u64), u64)> = votes.into_iter().collect();
    votes.sort_by_key(|((device, devid), votes)| (std::cmp::Reverse(*votes), *device, *devid));
    for ((device, devid), _) in votes {
        if !devids.values().any(|known| *known == device) {
            devids.entry(devid).or_insert(device);
        }
    }
    // Devices that nothing names get numbers that no chunk asks for.
    for seen in &identity.nodes {
        if !devids.values().any(|known| *known == seen.device) {
            let own = u64::MAX.saturating_sub(seen.device as u64);
            devids.insert(own, seen.device);
        }
    }
    devids
}

/// Adds the places where tree blocks were seen, where no chunk says otherwise.
fn add_seen(identity: &Identity<'_>, by_device: &HashMap<usize, u64>, pool: &mut Pool) {
    let mut places: BTreeMap<u64, (u64, Vec<Stripe>)> = BTreeMap::new();
    for seen in &identity.nodes {
        let header = seen.sighting.header;
        let (Some(proof), Some(devid)) = (seen.sighting.proof, by_device.get(&seen.device)) else {
            continue;
        };
        if pool.chunk(header.bytenr).is_some() {
            continue;
        }
        let entry = places.entry(header.bytenr).or_default();
        entry.0 = u64::from(proof.nodesize);
        entry.1.push(Stripe {
            devid: *devid,
            offset: seen.sighting.place.get(),
        });
    }
    for (bytenr, (length, stripes)) in places {
        if let Some(chunk) = Chunk::new(bytenr, length, METADATA, 1, stripes) {
            pool.add(chunk);
        }
    }
}

/// How many whole tree blocks lie where the map says, and how many elsewhere.
pub(super) fn agreement(identity: &Identity<'_>, pool: &Pool) -> (u64, u64) {
    let mut counts = (0_u64, 0_u64);
    let proven = |seen: &&Seen| seen.sighting.proof.is_some();
    for seen in identity.nodes.iter().filter(proven) {
        let places = pool.places(seen.sighting.header.bytenr);
        let here = places
            .iter()
            .any(|(_, at)| *at == seen.sighting.place.get());
        let count = if here { &mut counts.0 } else { &mut counts.1 };
        *count = count.saturating_add(1);
    }
    counts
}
