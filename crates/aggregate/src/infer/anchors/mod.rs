//! Blocks that state their own address: what file systems on a group say of the group's order.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod btrfs;
mod ends;
mod ext;
mod ext_inodes;
mod files;
mod xfs;
mod xfs_log;
mod xfs_sizes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use evidence::{ByteOffset, Fields, ReadAtExt};

pub(super) use self::ends::FileEnd;
use super::relations::Set;
use super::sample::{BLOCK, Candidate, read_window};
use super::stripes::Stripes;

/// Addresses above this are not believed, so that sums of positions do not overflow.
const MOST_ADDRESS: u64 = 1 << 56;

/// A journal copy is only followed so far from its descriptor: a chunk may end between them.
const MOST_COPY_DISTANCE: u64 = 64 << 10;

/// Most anchors that are kept of each device and file system, evenly taken.
const MOST_ANCHORS: usize = 2048;

/// Most forms of journals that are read.
const MOST_JOURNALS: usize = 8;

/// Most journal copies that are looked for: memory must not grow with the evidence.
const MOST_COPIES: usize = 1 << 18;

/// Most notes on places, before thinning, of each device.
const MOST_STATED: usize = 1 << 20;

/// Most items of XFS logs that are kept.
const MOST_ITEMS: usize = 1 << 18;

/// How far behind the header of its record an item of an XFS log can lie on the same device.
const MOST_RECORD: u64 = 512 << 10;

/// What a block says of its place.
struct Stated {
    uuid: [u8; 16],
    kind: Kind,
}

enum Kind {
    /// An address in its file system, in bytes.
    Address(u64),
    /// An AG header of XFS.
    XfsGroup { number: u32, sector: u64 },
    /// An inode of XFS.
    XfsInode(u64),
}

/// A file system as far as its anchors tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Xfs([u8; 16]),
    Ext([u8; 16]),
    Btrfs([u8; 16]),
    /// Ends of files of the XFS of this UUID, or of ext file systems, whose inodes name none.
    Files([u8; 16]),
}

impl Source {
    /// Its name for a person.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Xfs(_) => "XFS",
            Self::Ext(_) => "ext",
            Self::Btrfs(_) => "btrfs",
            Self::Files(_) => "files",
        }
    }

    /// Its UUID.
    pub(crate) const fn uuid(self) -> [u8; 16] {
        match self {
            Self::Xfs(uuid) | Self::Ext(uuid) | Self::Btrfs(uuid) | Self::Files(uuid) => uuid,
        }
    }

    /// Whether it is the file system `other`, or what files of that one say.
    pub(super) fn is_of(self, other: Self) -> bool {
        match (self, other) {
            (Self::Files(uuid), Self::Xfs(of)) => uuid == of,
            (Self::Files(uuid), Self::Ext(_)) => uuid == files::OF_EXT,
            _ => self == other,
        }
    }

    /// Whether addresses in it are places on its device: those of btrfs are mapped once more.
    pub(crate) const fn is_direct(self) -> bool {
        !matches!(self, Self::Btrfs(_))
    }
}

/// A block of a file system, with the place where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Anchor {
    pub(crate) source: Source,
    /// Where it lies in its file system.
    pub(crate) address: u64,
    /// The index of the device.
    pub(crate) device: usize,
    /// Where on the device it lies.
    pub(crate) at: u64,
    /// How far from `at` another place is that must lie in the same chunk, if any: that of the
    /// journal descriptor and its copy, from which the address was taken.
    pub(crate) together: Option<(u64, u64)>,
    /// The device that these two places are on.
    pub(crate) stated_on: usize,
}

impl Anchor {
    /// Whether the block itself states its address: no journal, and no inode that names a length.
    pub(crate) const fn is_certain(&self) -> bool {
        self.together.is_none() && !matches!(self.source, Source::Files(_))
    }

    /// Whether it may be used with this chunk, whose first edge on the devices is at `edge`:
    /// a journal's descriptor and its copy must lie in one chunk.
    pub(super) fn fits(&self, chunk: u64, edge: u64) -> bool {
        self.together.is_none_or(|(a, b)| {
            let number = |at: u64| at.checked_sub(edge).and_then(|at| at.checked_div(chunk));
            matches!((number(a), number(b)), (Some(a), Some(b)) if a == b)
        })
    }
}

/// All that blocks of file systems say of places.
pub(super) struct Addresses {
    pub(super) anchors: Vec<Anchor>,
    pub(super) ends: Vec<FileEnd>,
    /// What addresses in XFS follow from.
    sizes: BTreeSet<xfs::Sizes>,
    /// The file systems that lie in stripes over groups.
    stripes: Vec<Stripes>,
}

impl Addresses {
    /// Addresses, with what they say of stripes.
    fn new(anchors: Vec<Anchor>, ends: Vec<FileEnd>, sizes: BTreeSet<xfs::Sizes>) -> Self {
        let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
        let direct = sources.into_iter().filter(|source| source.is_direct());
        let stripes = direct.filter_map(|source| Stripes::find(&anchors, source));
        Self {
            stripes: stripes.collect(),
            anchors,
            ends,
            sizes,
        }
    }

    /// What the block in `bytes` states of itself, which lies at a multiple of [`BLOCK`]: where in it, of
    /// which file system, and the address there. What follows the block serves for checksums only.
    pub(super) fn stated_in<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (u64, Source, u64)> + 'a {
        let sectors = (0..BLOCK).step_by(512);
        sectors.filter_map(move |inside| {
            let sector = Fields::new(bytes).from(usize::try_from(inside).ok()?)?;
            let (stated, family) = stated_at(inside, sector)?;
            let (source, address) = resolve(&self.sizes, &stated, family)?;
            (address < MOST_ADDRESS).then_some((inside, source, address))
        })
    }

    /// The same, with one file system in stripes as stated.
    pub(super) fn in_stripes(&self, stripes: Stripes) -> Self {
        Self {
            anchors: self.anchors.clone(),
            ends: self.ends.clone(),
            sizes: self.sizes.clone(),
            stripes: vec![stripes],
        }
    }

    /// `devices` by the columns of a file system that lies in stripes over groups, if they have
    /// several.
    pub(super) fn columns(&self, devices: &[usize]) -> Option<Vec<Vec<usize>>> {
        let by_column = self.stripes.iter().map(|stripes| {
            let mut columns: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            for device in devices {
                let column = stripes.column(*device)?;
                columns.entry(column).or_default().push(*device);
            }
            Some(columns.into_values().collect::<Vec<_>>())
        });
        by_column.flatten().find(|columns| columns.len() > 1)
    }

    /// What is stated of `devices` as members of one group of several: of file systems that lie in
    /// stripes over these, where in the data of this one. `None` if there are none such.
    pub(super) fn of_group(&self, devices: &[usize]) -> Option<Self> {
        let mut is_spread = false;
        let mut own = Self {
            anchors: self.anchors.clone(),
            ends: self.ends.clone(),
            sizes: self.sizes.clone(),
            stripes: Vec::new(),
        };
        for stripes in &self.stripes {
            let columns: BTreeSet<u64> = devices
                .iter()
                .filter_map(|device| stripes.column(*device))
                .collect();
            let Some(column) = columns.first().filter(|_| columns.len() == 1) else {
                continue;
            };
            is_spread = true;
            let inside = |source: Source, address: u64| {
                if !source.is_of(stripes.source()) {
                    return Some(address);
                }
                let (of, inside) = stripes.inside(address)?;
                (of == *column).then_some(inside)
            };
            own.anchors.retain_mut(|anchor| {
                let inside = inside(anchor.source, anchor.address);
                inside.map(|inside| anchor.address = inside).is_some()
            });
            own.ends.retain_mut(|end| {
                let inside = inside(end.source, end.address);
                inside.map(|inside| end.address = inside).is_some()
            });
        }
        is_spread.then_some(own)
    }
}

/// How a file system of one kind is named by its UUID.
type Family = fn([u8; 16]) -> Source;

/// Collects what blocks state, window by window, and then makes anchors of it.
#[derive(Default)]
pub(super) struct Collector {
    xfs_sizes: BTreeSet<xfs::Sizes>,
    /// What these follow from where no superblock is left.
    clues: xfs_sizes::Clues,
    journals: BTreeSet<ext::Journal>,
    /// The journals that superblock copies let expect, for those whose own is gone.
    expected: BTreeSet<ext::Journal>,
    /// At how many more places than one a journal copy may be found: whoever lets all of them
    /// vote can tell which is true.
    rivals: usize,
    ext_uuids: BTreeSet<[u8; 16]>,
    stated: BTreeMap<usize, Vec<(u64, Stated, Family)>>,
    /// Descriptors of journals: device and place.
    descriptors: Vec<(usize, u64)>,
    logs: Logs,
    ends: ends::Ends,
    inodes: ext_inodes::Inodes,
}

/// What was seen of XFS logs.
#[derive(Default)]
struct Logs {
    /// The items, with their device.
    items: Vec<(usize, xfs_log::Item)>,
    /// The inodes that they name, with their device.
    named: Vec<(usize, xfs_log::Named)>,
    /// Headers of records: device, place, and the UUID of the file system.
    records: BTreeMap<(usize, u64), [u8; 16]>,
}

impl Logs {
    /// Adds the items in a window.
    fn look(&mut self, device: usize, start: u64, bytes: &[u8]) {
        let room = MOST_ITEMS.saturating_sub(self.items.len());
        let (mut items, mut named) = (Vec::new(), Vec::new());
        xfs_log::items(start, bytes, &mut items, &mut named);
        let left = MOST_ITEMS.saturating_sub(self.named.len());
        let named = named.into_iter().map(|named| (device, named));
        self.named.extend(named.take(left));
        let items = items.into_iter().filter(|item| item.address < MOST_ADDRESS);
        let items = items.map(|item| (device, item));
        self.items.extend(items.take(room));
    }

    /// The file system whose log the place lies in, by the last header before it, or because
    /// there is only one log without checksums.
    fn owner(
        &self,
        device: usize,
        at: u64,
        with_addresses: &BTreeSet<[u8; 16]>,
    ) -> Option<[u8; 16]> {
        let uuid = match self.record_before(device, at) {
            Some(uuid) => uuid,
            None => {
                let all: BTreeSet<[u8; 16]> = self.records.values().copied().collect();
                let mut others = all.difference(with_addresses);
                let only = others.next().copied()?;
                others.next().is_none().then_some(only)?
            }
        };
        (!with_addresses.contains(&uuid)).then_some(uuid)
    }

    /// The file system that the last header names that lies before a place and near it.
    fn record_before(&self, device: usize, at: u64) -> Option<[u8; 16]> {
        let ((on, from), uuid) = self.records.range(..=(device, at)).next_back()?;
        let is_near = *on == device && at.saturating_sub(*from) <= MOST_RECORD;
        is_near.then_some(*uuid)
    }
}

impl Collector {
    /// One that gives up to `rivals` more places of what a journal names than one.
    pub(super) fn with_rivals(rivals: usize) -> Self {
        Self {
            rivals,
            ..Self::default()
        }
    }

    /// Looks through a window of device number `device` that begins at `start`.
    pub(super) fn look(&mut self, device: usize, start: u64, bytes: &[u8]) {
        let notes = self.stated.entry(device).or_default();
        for (number, sector) in bytes.chunks_exact(512).enumerate() {
            if sector.iter().take(64).all(|byte| *byte == 0) {
                continue;
            }
            let inside = number.saturating_mul(512);
            let at = start.saturating_add(inside as u64);
            let Some(block) = Fields::new(bytes).from(inside) else {
                continue;
            };
            let full = notes.len() >= MOST_STATED;
            self.clues.look(block);
            if let Some(sizes) = xfs::sizes(block) {
                self.xfs_sizes.insert(sizes);
            } else if let Some((stated, family)) = stated_at(at, block).filter(|_| !full) {
                notes.push((at, stated, family));
            } else if let Some(uuid) = xfs_log::record(block)
                && self.logs.records.len() < MOST_STATED
            {
                self.logs.records.insert((device, at), uuid);
            }
            if !at.is_multiple_of(1024) {
                continue;
            }
            if let Some(stated) = ext::superblock(block).filter(|_| !full) {
                self.ext_uuids.insert(stated.uuid);
                self.expected.extend(ext::expected_journal(block));
                self.inodes.look(device, at, block);
                notes.push((at, stated, Source::Ext));
            } else if let Some(journal) = ext::journal(block) {
                self.journals.insert(journal);
            } else if ext::is_descriptor(block) && self.descriptors.len() < MOST_STATED {
                self.descriptors.push((device, at));
            }
        }
        self.logs.look(device, start, bytes);
        let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        for (number, content) in bytes.chunks_exact(block).enumerate() {
            let inside = (number as u64).saturating_mul(BLOCK);
            self.ends
                .look(device, start.saturating_add(inside), content);
        }
    }

    /// The anchors on all devices but the `silent` ones, which repeat others; journal copies are
    /// looked for in the same windows.
    pub(super) fn anchors(
        &self,
        candidates: &[Candidate],
        windows: &[u64],
        silent: Set,
    ) -> Vec<Anchor> {
        let sizes = self.xfs_sizes();
        let mut all = Vec::new();
        for (device, notes) in &self.stated {
            for (at, stated, family) in notes {
                let anchor = resolve(&sizes, stated, *family).map(|(source, address)| Anchor {
                    source,
                    address,
                    device: *device,
                    at: *at,
                    together: None,
                    stated_on: *device,
                });
                all.extend(anchor.filter(|anchor| anchor.address < MOST_ADDRESS));
            }
        }
        let known: BTreeSet<[u8; 16]> = self.journals.iter().map(|j| j.uuid).collect();
        let expected = self.expected.iter().filter(|j| !known.contains(&j.uuid));
        let journals = self.journals.iter().chain(expected).take(MOST_JOURNALS);
        let journals: Vec<&ext::Journal> = journals.collect();
        for journal in &journals {
            let copies = self.copies(journal, &journals, candidates);
            all.extend(self.journal_anchors(journal, &copies, candidates, windows, silent));
        }
        all.extend(self.log_anchors(&sizes, candidates, windows));
        all.extend(self.ends.anchors(&sizes, silent));
        all.extend(self.inodes.anchors(candidates, windows, silent));
        all.retain(|anchor| !silent.has(anchor.device));
        thinned(without_ghosts(all))
    }

    /// All that is stated on the devices but the `silent` ones: the anchors, and where files end by
    /// the inodes.
    pub(super) fn addresses(
        &self,
        candidates: &[Candidate],
        windows: &[u64],
        silent: Set,
    ) -> Addresses {
        let sizes = self.xfs_sizes();
        Addresses::new(
            self.anchors(candidates, windows, silent),
            self.ends.stated(&sizes, silent),
            sizes,
        )
    }

    /// The sizes of all XFS, also of those of which no superblock was seen.
    fn xfs_sizes(&self) -> BTreeSet<xfs::Sizes> {
        let mut all = self.xfs_sizes.clone();
        let known: BTreeSet<[u8; 16]> = all.iter().map(xfs::Sizes::uuid).collect();
        let stated = self.stated.values().flatten();
        let of_xfs = stated.filter_map(|(_, stated, _)| match stated.kind {
            Kind::XfsInode(_) => Some(stated.uuid),
            _ => None,
        });
        let states: BTreeSet<[u8; 16]> = of_xfs.collect();
        let of_logs: BTreeSet<[u8; 16]> = self.logs.records.values().copied().collect();
        for uuid in states.union(&of_logs).filter(|uuid| !known.contains(*uuid)) {
            let named = self.logs.named.iter().filter_map(|(device, named)| {
                let of = self.logs.record_before(*device, named.from)?;
                (of == *uuid).then_some((named.number, named.address))
            });
            let named: Vec<(u64, u64)> = named.collect();
            all.extend(self.clues.sizes(*uuid, states.contains(uuid), &named));
        }
        all
    }

    /// Anchors from the logs of XFS without checksums: inodes and pieces of blocks that are found
    /// once outside of the log lie where the log says that they belong.
    fn log_anchors(
        &self,
        sizes: &BTreeSet<xfs::Sizes>,
        candidates: &[Candidate],
        windows: &[u64],
    ) -> Vec<Anchor> {
        if self.logs.items.is_empty() {
            return Vec::new();
        }
        let states_address = sizes.iter().filter(|sizes| sizes.states_addresses());
        let with_addresses: BTreeSet<[u8; 16]> = states_address.map(xfs::Sizes::uuid).collect();
        let mut homes = xfs_log::Homes::new(&self.logs);
        for start in windows {
            for (device, candidate) in candidates.iter().enumerate() {
                homes.look(device, *start, &read_window(&*candidate.device, *start));
            }
        }
        let anchor = |(of, item, device, at): (usize, &xfs_log::Item, usize, u64)| {
            Some(Anchor {
                source: Source::Xfs(self.logs.owner(of, item.from, &with_addresses)?),
                address: item.address,
                device,
                at,
                together: Some((item.from, item.to.saturating_sub(1))),
                stated_on: of,
            })
        };
        homes.found().filter_map(anchor).collect()
    }

    /// Anchors from the copies in journals of one form: a block that is found once outside of
    /// the journal lies where the journal says that it belongs.
    fn journal_anchors(
        &self,
        journal: &ext::Journal,
        copies: &HashMap<u64, Vec<Copied>>,
        candidates: &[Candidate],
        windows: &[u64],
        silent: Set,
    ) -> Vec<Anchor> {
        if copies.is_empty() {
            return Vec::new();
        }
        let inside: BTreeSet<(usize, u64)> = copies
            .values()
            .flatten()
            .map(|copy| (copy.device, copy.at))
            .collect();
        let block = usize::try_from(journal.block).unwrap_or(usize::MAX);
        let mut places: HashMap<u64, Vec<(usize, u64)>> = HashMap::new();
        for start in windows {
            let heard = candidates.iter().enumerate();
            for (device, candidate) in heard.filter(|(device, _)| !silent.has(*device)) {
                let bytes = read_window(&*candidate.device, *start);
                for (number, content) in bytes.chunks_exact(block).enumerate() {
                    let hash = hash(content);
                    let at = start.saturating_add((number as u64).saturating_mul(journal.block));
                    if copies.contains_key(&hash) && !inside.contains(&(device, at)) {
                        let found = places.entry(hash).or_default();
                        // One more than may be is enough to know that they are too many.
                        if found.len() < self.rivals.saturating_add(2) {
                            found.push((device, at));
                        }
                    }
                }
            }
        }
        let uuid = self.ext_uuids.iter().find(|uuid| **uuid == journal.uuid);
        let uuid = uuid.copied().unwrap_or(journal.uuid);
        let mut anchors = Vec::new();
        for (hash, found) in places {
            let Some(copies) = copies.get(&hash) else {
                continue;
            };
            let Some(copy) = copies.first() else { continue };
            let same = copies.iter().all(|other| other.home == copy.home);
            if !same || found.len() > self.rivals.saturating_add(1) {
                continue;
            }
            anchors.extend(found.into_iter().map(|(device, at)| Anchor {
                source: Source::Ext(uuid),
                address: copy.home,
                device,
                at,
                together: Some((copy.descriptor, copy.at)),
                stated_on: copy.device,
            }));
        }
        anchors
    }

    /// The copies after each descriptor, by the hash of their contents. Whose a descriptor is, among
    /// `all` journals, only those say that have checksums: of the others each may be it.
    fn copies(
        &self,
        journal: &ext::Journal,
        all: &[&ext::Journal],
        candidates: &[Candidate],
    ) -> HashMap<u64, Vec<Copied>> {
        let mut copies: HashMap<u64, Vec<Copied>> = HashMap::new();
        let block = usize::try_from(journal.block).unwrap_or(usize::MAX);
        for (device, at) in self.descriptors.iter().take(MOST_COPIES) {
            let Some(candidate) = candidates.get(*device) else {
                continue;
            };
            let limit = (at | (MOST_COPY_DISTANCE.saturating_sub(1))).saturating_add(1);
            let end = limit.min(candidate.device.len());
            let length = usize::try_from(end.saturating_sub(*at)).unwrap_or(0);
            let Some(bytes) = candidate.device.read_whole(ByteOffset::new(*at), length) else {
                continue;
            };
            let mut blocks = bytes.chunks_exact(block);
            let Some(descriptor) = blocks.next() else {
                continue;
            };
            let owner = all.iter().find(|other| other.verifies(descriptor));
            let is_own = owner.map_or(!journal.is_checked(), |owner| *owner == journal);
            if !is_own {
                continue;
            }
            let homes = ext::homes(Fields::new(descriptor), journal);
            let mut place = *at;
            for (home, content) in homes.into_iter().zip(blocks) {
                place = place.saturating_add(journal.block);
                let home = home.filter(|home| *home < MOST_ADDRESS);
                let (Some(home), false) = (home, is_uniform(content)) else {
                    continue;
                };
                if copies.len() < MOST_COPIES {
                    copies.entry(hash(content)).or_default().push(Copied {
                        home,
                        device: *device,
                        at: place,
                        descriptor: *at,
                    });
                }
            }
        }
        copies
    }
}

/// What a sector of XFS or a node of btrfs states of its place, at `at` of what it lies on.
fn stated_at(at: u64, sector: Fields<'_>) -> Option<(Stated, Family)> {
    let xfs = || xfs::stated(sector).map(|stated| (stated, Source::Xfs as Family));
    let node = || at.is_multiple_of(BLOCK).then(|| btrfs::node(sector))?;
    xfs().or_else(|| node().map(|stated| (stated, Source::Btrfs as Family)))
}

/// The file system and address of what a block states, by the `sizes` of all XFS.
fn resolve(sizes: &BTreeSet<xfs::Sizes>, stated: &Stated, source: Family) -> Option<(Source, u64)> {
    let own = sizes.iter().find(|s| s.uuid() == stated.uuid);
    // Headers of version 4 carry no UUID: they are the only such file system's, or nobody's.
    let only = || {
        let known = |sizes: &&xfs::Sizes| sizes.states_addresses() == (stated.uuid != [0; 16]);
        let mut fitting = sizes.iter().filter(known);
        fitting.next().filter(|_| fitting.next().is_none())
    };
    match stated.kind {
        Kind::Address(address) => {
            let known = stated.uuid != [0; 16];
            known.then_some((source(stated.uuid), address))
        }
        Kind::XfsGroup { number, sector } => {
            let sizes = own.or_else(only)?;
            let address = sizes.ag_header(number, sector)?;
            Some((source(sizes.uuid()), address))
        }
        Kind::XfsInode(number) => Some((source(stated.uuid), own?.inode(number)?)),
    }
}

/// A copy of a block in a journal.
struct Copied {
    home: u64,
    device: usize,
    at: u64,
    descriptor: u64,
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Whether all bytes are the same: such a block is found everywhere.
fn is_uniform(content: &[u8]) -> bool {
    content.iter().all(|byte| Some(byte) == content.first())
}

/// The anchors without those that several devices show at one place: where the rest of a row
/// is zeros, parity shows the data's address too, and mirrors show everything twice.
fn without_ghosts(mut anchors: Vec<Anchor>) -> Vec<Anchor> {
    // Of those that say the same, the whole order decides which remains: they come out of maps.
    anchors.sort_unstable_by_key(|anchor| {
        let place = (anchor.source, anchor.address, anchor.at, anchor.device);
        (place, *anchor)
    });
    anchors.dedup_by_key(|anchor| (anchor.source, anchor.address, anchor.at, anchor.device));
    let same = |a: &Anchor, b: &Anchor| (a.source, a.address, a.at) == (b.source, b.address, b.at);
    let groups = anchors.chunk_by(same);
    let alone = groups.filter(|group| group.len() == 1).flatten();
    alone.copied().collect()
}

/// At most [`MOST_ANCHORS`] of each device and file system, evenly taken.
fn thinned(anchors: Vec<Anchor>) -> Vec<Anchor> {
    let mut by_device: BTreeMap<(Source, usize), Vec<Anchor>> = BTreeMap::new();
    for anchor in anchors {
        let key = (anchor.source, anchor.device);
        by_device.entry(key).or_default().push(anchor);
    }
    by_device
        .into_values()
        .flat_map(|anchors| {
            let step = anchors.len().div_ceil(MOST_ANCHORS).max(1);
            anchors.into_iter().step_by(step)
        })
        .collect()
}
