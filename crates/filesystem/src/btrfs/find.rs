//! Every btrfs of which something is left on some devices.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin};

use super::Btrfs;
use super::branch::Branch;
use super::census;
use super::forest::Forest;
use super::former;
use super::key::{CSUM_TREE, EXTENT_TREE, FS_TREE, ROOT_TREE};
use super::map;
use super::open::{branch, format_of, info};
use super::root::{MOST_SUBVOLUMES, Roots, is_subvolume};
use super::sighting::{Sighting, Sightings};
use super::statement::Statement;
use super::subvolumes;
use super::sums::Sums;
use super::superblock::{PLACES, Root, Superblock};
use super::tree::Tree;
use super::volume::{Format, Volume, most_frequent};
use crate::{Device, Found, Info, Kind, Standing, View};

/// A tree block and the device that it was seen on.
pub(super) struct Seen {
    /// Its index.
    pub(super) device: usize,
    pub(super) sighting: Sighting,
}

/// All that was seen of one file system.
pub(super) struct Identity<'a> {
    /// All devices, also those that hold nothing of it.
    pub(super) devices: &'a [Device],
    /// Devices that are called after other file systems.
    taken: &'a HashSet<String>,
    pub(super) metadata_uuid: [u8; 16],
    /// The newest superblock of each device, where there is one of this file system.
    pub(super) superblocks: Vec<Option<Superblock>>,
    pub(super) nodes: Vec<Seen>,
}

/// Whether what `device` holds first of all is a btrfs: one that [`find`] finds.
pub(crate) fn is_first(device: &Device) -> bool {
    Superblock::is_marked(device.bytes.as_ref())
}

/// Finds every btrfs on `devices`, with what was seen on each of them. The devices that are named
/// in `taken` are called after other file systems.
pub(crate) fn find(
    devices: &[Device],
    sightings: Vec<Sightings>,
    taken: &HashSet<String>,
) -> (Vec<Found>, Vec<Loss>) {
    let mut found = Vec::new();
    let mut losses = Vec::new();
    for identity in identities(devices, sightings, taken) {
        match identity.put_together() {
            Ok(Some(one)) => found.push(one),
            Ok(None) => {}
            Err(loss) => losses.push(loss),
        }
    }
    // Those that superblocks name come first, in the order of their devices.
    found.sort_by_key(|found| found.name.contains('#'));
    (found, losses)
}

/// Sorts what was seen by file systems.
fn identities<'a>(
    devices: &'a [Device],
    sightings: Vec<Sightings>,
    taken: &'a HashSet<String>,
) -> Vec<Identity<'a>> {
    let mut all: BTreeMap<[u8; 16], Identity<'_>> = BTreeMap::new();
    let empty = |metadata_uuid| Identity {
        devices,
        taken,
        metadata_uuid,
        superblocks: vec![None; devices.len()],
        nodes: Vec::new(),
    };
    for (index, device) in devices.iter().enumerate() {
        for place in PLACES {
            let Some(sb) = Superblock::read(device.bytes.as_ref(), place) else {
                continue;
            };
            let uuid = sb.metadata_uuid;
            let identity = all.entry(uuid).or_insert_with(|| empty(uuid));
            if let Some(known) = identity.superblocks.get_mut(index)
                && known
                    .as_ref()
                    .is_none_or(|known| known.generation < sb.generation)
            {
                *known = Some(sb);
            }
        }
    }
    for (device, seen) in sightings.into_iter().enumerate() {
        for sighting in seen.0 {
            let uuid = sighting.header.fsid;
            if sighting.proof.is_some() {
                all.entry(uuid).or_insert_with(|| empty(uuid));
            }
            // A block that nothing proves does not make a file system.
            let seen = Seen { device, sighting };
            all.entry(uuid)
                .and_modify(|identity| identity.nodes.push(seen));
        }
    }
    all.into_values().collect()
}

impl Identity<'_> {
    /// The superblock of the newest generation.
    fn superblock(&self) -> Option<&Superblock> {
        let all = self.superblocks.iter().flatten();
        all.max_by_key(|sb| sb.generation)
    }

    fn format(&self) -> Option<Format> {
        if let Some(sb) = self.superblock() {
            return Some(format_of(sb));
        }
        let proofs = self.nodes.iter().filter_map(|seen| seen.sighting.proof);
        let (nodesize, csum) = most_frequent(proofs.map(|proof| (proof.nodesize, proof.csum)))?;
        Some(Format {
            sectorsize: 4096,
            nodesize,
            csum,
        })
    }

    /// The name of the first device that holds something of it, and whether that device's own
    /// superblock is this file system's.
    fn device(&self) -> (&str, bool) {
        let opens = |device: &Device| {
            let own = PLACES
                .first()
                .and_then(|at| Superblock::read(device.bytes.as_ref(), *at))
                .or_else(|| Superblock::newest(device.bytes.as_ref()).filter(|_| is_first(device)))
                .is_some_and(|sb| sb.metadata_uuid == self.metadata_uuid);
            own && !self.taken.contains(&device.name)
        };
        let mut holding: BTreeSet<usize> = self.nodes.iter().map(|seen| seen.device).collect();
        let named = self.superblocks.iter().enumerate();
        holding.extend(named.filter(|(_, sb)| sb.is_some()).map(|(index, _)| index));
        let mut holding = holding.iter().filter_map(|index| self.devices.get(*index));
        let first = holding.clone().next().map_or("", |device| &device.name);
        match holding.find(|device| opens(device)) {
            Some(device) => (&device.name, true),
            None => (first, false),
        }
    }

    fn name(&self) -> String {
        let (device, is_own) = self.device();
        if is_own {
            return device.to_owned();
        }
        let uuid = self.superblock().map_or(self.metadata_uuid, |sb| sb.fsid);
        let digits: String = uuid.iter().take(4).map(|b| format!("{b:02x}")).collect();
        format!("{device}#btrfs-{digits}")
    }

    fn loss(&self, cause: Cause) -> Loss {
        let name = self.name();
        Loss {
            what: format!("the file system {name}"),
            origin: Origin::new(self.device().0, ByteOffset::ZERO),
            cause,
        }
    }

    /// What is left of it; `None` if there is nothing that could be of files.
    fn put_together(&self) -> Result<Option<Found>, Loss> {
        let Some(format) = self.format() else {
            return Ok(None);
        };
        if let Some(feature) = self.superblock().and_then(Superblock::unreadable) {
            let cause = Cause::Unsupported(format!("btrfs with {feature}"));
            return Err(self.loss(cause));
        }
        let name = self.name();
        let map = self.map(&name, format)?;
        let pool = map.pool.clone();
        let volume = Arc::new(Volume::new(&name, pool, format, self.metadata_uuid));
        let forest = Forest::new(&volume, self);
        let root_tree = forest.tree(self.root(), &[ROOT_TREE]);
        let roots = Roots::read(&volume, &root_tree);
        let tree = |id: u64| {
            let root = roots.items.get(&id).map(|item| (item.root, item.as_of));
            let mut owners = vec![id];
            owners.extend(subvolumes::originals(&roots, id));
            forest.tree(root, &owners)
        };
        let branches = self.branches(&forest, &roots, &tree);
        if branches.iter().all(|branch| branch.tree.leaves.is_empty()) {
            let what = "tree blocks of it are left, and none of them is of files";
            return Err(self.loss(Cause::Corrupt(what.to_owned())));
        }
        let sums = Sums::new(tree(CSUM_TREE), forest.of(CSUM_TREE));
        let info = self.info(format, &root_tree);
        let mut fs = Btrfs::new(volume.clone(), branches, sums, tree(EXTENT_TREE), info);
        let census = census::take(&mut fs, roots.damaged);
        former::add(&mut fs, &forest, &census);
        census::link_orphans(&mut fs);
        let notes = subvolumes::notes(&fs, &roots);
        fs.info.notes.extend(notes);
        let view = View::Btrfs(Box::new(Statement::of(self, &map.devids, &fs)));
        Ok(Some(Found {
            name,
            view,
            fs: Box::new(fs),
        }))
    }

    /// The root of the tree of roots that the newest superblock names.
    fn root(&self) -> Option<(Root, u64)> {
        self.superblock().map(|sb| (sb.root, sb.generation))
    }

    /// Where everything lies; a loss if what was seen contradicts it.
    fn map(&self, name: &str, format: Format) -> Result<map::Map, Loss> {
        let mut map = map::map(self);
        let (here, elsewhere) = map::agreement(self, &map.pool);
        if here < elsewhere {
            let all = here.saturating_add(elsewhere);
            return Err(self.loss(Cause::Corrupt(format!(
                "{elsewhere} of its {all} tree blocks lie elsewhere than its chunks say: this \
                 is a part of an array, or a copy that was moved"
            ))));
        }
        if !(map.unordered.is_empty() && map.unplaced.is_empty()) {
            self.order(&mut map, name, format);
        }
        Ok(map)
    }

    /// Adds the chunks of data, whose places only checksums tell, to `map`.
    fn order(&self, map: &mut map::Map, name: &str, format: Format) {
        let volume = Volume::new(name, map.pool.clone(), format, self.metadata_uuid);
        let forest = Forest::new(&volume, self);
        let root_tree = forest.tree(self.root(), &[ROOT_TREE]);
        let roots = Roots::read(&volume, &root_tree);
        let root = roots
            .items
            .get(&CSUM_TREE)
            .map(|item| (item.root, item.as_of));
        let sums = Sums::new(forest.tree(root, &[CSUM_TREE]), &[]);
        map.order(self, &volume, &sums);
    }

    /// The subvolumes: those that the tree of roots names, and those of which leaves were seen.
    fn branches(
        &self,
        forest: &Forest<'_>,
        roots: &Roots,
        tree: &dyn Fn(u64) -> Tree,
    ) -> Vec<Branch> {
        let mut branches = vec![branch(roots, FS_TREE, tree(FS_TREE))];
        let mut ids: BTreeSet<u64> = roots.items.keys().copied().collect();
        ids.extend(forest.owners());
        ids.remove(&FS_TREE);
        let subvolumes = ids.into_iter().filter(|id| is_subvolume(*id));
        for id in subvolumes.take(MOST_SUBVOLUMES) {
            let tree = tree(id);
            if tree.leaves.is_empty() {
                continue;
            }
            let mut new = branch(roots, id, tree);
            let live = roots.items.get(&id).is_some_and(|item| item.refs > 0);
            // Where the tree of roots is whole, what is not in it was deleted.
            if !live && !roots.damaged {
                new.standing = Standing::Deleted;
                new.link = None;
            }
            branches.push(new);
        }
        branches
    }

    fn info(&self, format: Format, root_tree: &Tree) -> Info {
        let newest = root_tree.leaves.iter().map(|leaf| leaf.as_of).max();
        if let Some(sb) = self.superblock() {
            let mut info = info(sb);
            if newest.is_some_and(|newest| newest < sb.generation) {
                info.notes.push(format!(
                    "the newest root that is left is of generation {}, not {}",
                    newest.unwrap_or_default(),
                    sb.generation
                ));
            }
            return info;
        }
        let bytes = self.devices.iter().enumerate();
        let bytes = bytes.filter(|(index, _)| self.nodes.iter().any(|seen| seen.device == *index));
        Info {
            kind: Kind::Btrfs,
            version: format.csum.name().to_owned(),
            uuid: self.metadata_uuid,
            label: String::new(),
            block_bytes: format.sectorsize,
            bytes: bytes.map(|(_, device)| device.bytes.len()).sum(),
            notes: vec!["no superblock is left: put together from its tree blocks".to_owned()],
        }
    }
}
