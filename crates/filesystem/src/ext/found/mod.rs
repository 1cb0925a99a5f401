//! All that is left of ext file systems on a device: what is in use, what was deleted, what has
//! lost its place, and file systems of which no superblock is left.
//!
//! `sighting` is what one pass over the device recognises. From it, `lives` tells what each inode
//! number stands and stood for, with the journal as the memory of former states; `names` collects
//! what directories list and listed; `resolve` brings the two together; `nodes` numbers what has
//! no inode number of its own; `taken` knows what was written over since; `infer` finds the
//! geometry where no superblock says it; `strangers` are directories of an older file system of which
//! no inode is left; `rebuilt` gives all of it as one [`Filesystem`](crate::Filesystem).

mod infer;
mod lives;
mod names;
mod nodes;
mod rebuilt;
mod resolve;
mod sighting;
mod strangers;
mod taken;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt, ReadAtExt};

use self::infer::Inferred;
pub(super) use self::infer::Shape;
use self::lives::Lives;
use self::names::{Collector, Names};
use self::nodes::{Nodes, current_inode};
use self::rebuilt::Rebuilt;
use self::resolve::Resolver;
use self::sighting::DirectorySeen;
pub(crate) use self::sighting::Sightings;
use self::taken::{NOW, Owner, Taken};
use super::Ext;
use super::history::{Descriptor, History};
use super::jbd2::COMMIT;
use super::superblock::{SUPERBLOCK_AT, Superblock};
use super::volume::Volume;
use crate::{Device, Found, InodeNumber, Place, View};

/// So many directories say whether a geometry is right.
const PROOFS: usize = 1000;
/// So many beginnings of a file system are tried, those that most superblocks state.
const MOST_BEGINNINGS: usize = 3;

/// Puts together what is left of ext on `device`: the file system whose superblock opens, those of
/// which copies of superblocks are left, and what others there are of which only inodes are.
pub(crate) fn rebuild(device: &Device, seen: &Sightings) -> (Vec<Found>, Vec<Loss>) {
    let mut found: Vec<(String, View, Rebuilt)> = Vec::new();
    let mut losses = Vec::new();
    let mut astray = Vec::new();
    if let Ok(Some(ext)) = Ext::open(Arc::clone(&device.bytes), &device.name) {
        let fs = put_together(ext, 0, seen, &device.bytes, None);
        let view = View::Opened(device.name.clone());
        found.push((device.name.clone(), view, fs));
    }
    for Other { sb, bases } in others(seen, &found) {
        let candidates = bases.into_iter().map(|base| {
            let ext = Ext::with_superblock(slice(&device.bytes, base), &device.name, sb.clone());
            put_together(ext, base, seen, &device.bytes, Some(&found))
        });
        let candidates = candidates.filter(|fs| !fs.lives.live().is_empty());
        let candidates = candidates.map(|fs| (Proof::of(&fs), fs));
        let best = candidates.reduce(|best, next| {
            if next.0.net() > best.0.net() {
                next
            } else {
                best
            }
        });
        let Some((proof, fs)) = best else { continue };
        let id = fs.info.uuid.map(|byte| format!("{byte:02x}")).concat();
        let name = name_of(device, &fs, &id);
        if proof.holds() {
            found.push((name, View::Device(device.name.clone()), fs));
        } else {
            // Newer descriptors at the places of its own lead elsewhere: it may be found by its
            // inodes yet.
            astray.push((fs.base, fs.volume.sb.block, unproven(&fs, &name, device)));
        }
    }
    let known: Vec<KnownInodes> = found.iter().map(|(_, _, fs)| KnownInodes::of(fs)).collect();
    let held = |at| known.iter().any(|known| known.holds(at));
    let inferred = infer::infer(&device.bytes, seen, &held);
    let seeds: Vec<u32> = known.iter().filter_map(|k| k.fs.volume.sb.seed).collect();
    let inferred = inferred.filter(|it| it.sb.seed.is_none_or(|seed| !seeds.contains(&seed)));
    let strange;
    let (inferred, seen) = if inferred.is_some() {
        (inferred, seen)
    } else {
        let found: Vec<&Rebuilt> = found.iter().map(|(_, _, fs)| fs).collect();
        strange = strangers::of(seen, &found);
        (infer::names_only(&device.bytes, &strange), &strange)
    };
    if let Some(Inferred { base, sb, tables }) = inferred {
        // Without a UUID, the seed of the checksums is what tells it from others.
        let id = match (sb.uuid, sb.seed) {
            ([0, 0, 0, 0, ..], seed) => seed.unwrap_or_else(|| sb.block.get()),
            ([a, b, c, d, ..], _) => u32::from_be_bytes([a, b, c, d]),
        };
        let mut ext = Ext::with_superblock(slice(&device.bytes, base), &device.name, sb);
        ext.volume.tables = tables.without(ext.volume.sb.inode_bytes, |at| {
            known
                .iter()
                .any(|known| known.holds(at.saturating_add(base)))
        });
        let fs = put_together(ext, base, seen, &device.bytes, Some(&found));
        let name = name_of(device, &fs, &format!("{id:08x}"));
        if Proof::of(&fs).holds() {
            let place = (base, fs.volume.sb.block);
            astray.retain(|(base, block, _)| (*base, *block) != place);
            found.push((name, View::Device(device.name.clone()), fs));
        } else {
            losses.push(unproven(&fs, &name, device));
        }
    }
    losses.extend(astray.into_iter().map(|(.., loss)| loss));
    let found = found.into_iter().map(|(name, view, fs)| Found {
        name,
        view,
        fs: Box::new(fs),
    });
    (found.collect(), losses)
}

/// `device` from `base` on.
fn slice(device: &Arc<dyn ReadAt>, base: u64) -> Arc<dyn ReadAt> {
    if base == 0 {
        return Arc::clone(device);
    }
    let length = device.len().saturating_sub(base);
    Arc::new(Slice::new(
        Arc::clone(device),
        ByteOffset::new(base),
        length,
    ))
}

/// The name of a file system that is not the one that the superblock of its device names.
fn name_of(device: &Device, fs: &Rebuilt, id: &str) -> String {
    let kind = fs.info.kind.to_string();
    let id = id.get(..8).unwrap_or(id);
    format!("{}#{}-{id}", device.name, kind.to_lowercase())
}

/// A superblock of a file system of which the first is lost.
struct Other {
    sb: Superblock,
    /// Where the file system may begin, the likeliest place first.
    bases: Vec<u64>,
}

/// File systems of which superblocks are left besides those that were found.
fn others(seen: &Sightings, found: &[(String, View, Rebuilt)]) -> Vec<Other> {
    let mut all: BTreeMap<([u8; 16], u64), (usize, Superblock)> = BTreeMap::new();
    let mut in_journals: BTreeMap<[u8; 16], Superblock> = BTreeMap::new();
    for copy in &seen.superblocks {
        let known = |(_, _, fs): &(String, View, Rebuilt)| fs.info.uuid == copy.sb.uuid;
        if found.iter().any(known) || copy.sb.checksum_holds == Some(false) {
            continue;
        }
        let group = u64::from(copy.sb.group_of_copy);
        let Some(block) = copy.sb.first_block_of(group) else {
            continue;
        };
        let start = match group {
            0 => SUPERBLOCK_AT.get(),
            _ => block.saturating_mul(copy.sb.block.get().into()),
        };
        let held = found.iter().any(|(_, _, fs)| {
            let at = copy.at.get().saturating_sub(fs.base);
            fs.taken.is_held_by_file(&(at..at.saturating_add(1024)))
        });
        if held {
            continue;
        }
        if seen.in_journal(copy.at.get()) {
            in_journals
                .entry(copy.sb.uuid)
                .or_insert_with(|| copy.sb.clone());
        } else if let Some(base) = copy.at.get().checked_sub(start) {
            let entry = all.entry((copy.sb.uuid, base));
            let (votes, _) = entry.or_insert_with(|| (0, copy.sb.clone()));
            *votes = votes.saturating_add(1);
        }
    }
    let mut by_votes: Vec<_> = all.into_iter().collect();
    by_votes.sort_by_key(|((_, base), (votes, _))| (Reverse(*votes), *base));
    let mut by_uuid: BTreeMap<[u8; 16], Other> = BTreeMap::new();
    let of_nowhere = |sb| Other {
        sb,
        bases: Vec::new(),
    };
    for ((uuid, base), (_, sb)) in by_votes {
        let other = by_uuid.entry(uuid).or_insert_with(|| of_nowhere(sb));
        other.bases.push(base);
    }
    for (uuid, sb) in in_journals {
        by_uuid.entry(uuid).or_insert_with(|| of_nowhere(sb));
    }
    let beginnings = by_uuid.into_values().map(|Other { sb, mut bases }| {
        bases.truncate(MOST_BEGINNINGS);
        // A copy in a journal or in a file says nothing of where all begins: where most do.
        if !bases.contains(&0) {
            bases.push(0);
        }
        Other { sb, bases }
    });
    beginnings.collect()
}

/// The places of the inodes of a file system that was found.
struct KnownInodes<'a> {
    fs: &'a Rebuilt,
    places: HashSet<u64>,
}

impl<'a> KnownInodes<'a> {
    fn of(fs: &'a Rebuilt) -> Self {
        let numbers = fs.lives.live().into_iter().map(InodeNumber);
        let places = numbers.filter_map(|number| {
            let inode = fs.volume.inode(number).ok()?;
            Some(inode.place.get().saturating_add(fs.base))
        });
        Self {
            fs,
            places: places.collect(),
        }
    }

    /// Whether the inode at a place of the device is one of the file system's, in its table or in
    /// what its journal and its files hold.
    fn holds(&self, at: u64) -> bool {
        let inside = at.saturating_sub(self.fs.base);
        let journal = &self.fs.nodes.journal;
        self.places.contains(&at)
            || journal.iter().any(|run| run.contains(&inside))
            || self
                .fs
                .taken
                .is_held_by_file(&(inside..inside.saturating_add(1)))
    }
}

/// Adds to a file system whose geometry is known, and which begins at `base` of the device, what
/// its tree does not lead to. `newer` are file systems that may lie over it.
fn put_together(
    ext: Ext,
    base: u64,
    seen: &Sightings,
    device: &Arc<dyn ReadAt>,
    newer: Option<&[(String, View, Rebuilt)]>,
) -> Rebuilt {
    let Ext { info, mut volume } = ext;
    let heads: Vec<ByteOffset> = seen
        .journal
        .iter()
        .filter(|block| block.kind == super::jbd2::SUPERBLOCK_V2)
        .filter_map(|block| block.at.checked_sub(base))
        .collect();
    volume.history = History::read(&volume, &descriptors(seen, base), &heads);
    if newer.is_some() {
        let commits = seen.journal.iter().filter(|block| block.kind == COMMIT);
        let commits = commits.map(|block| block.sequence).collect();
        volume.replay_history(&commits);
    }
    let mut lives = Lives::of(&volume);
    let mut nodes = Nodes::beside(journal_runs(&volume));
    for index in 0..lives.former.len() {
        nodes.of_directory(&lives, index);
    }
    let mut taken = held(&volume, &lives, &nodes);
    for (_, _, fs) in newer.into_iter().flatten() {
        for range in fs.taken.now() {
            let start = range.start.saturating_add(fs.base);
            let end = range.end.saturating_add(fs.base);
            let range = start.saturating_sub(base)..end.saturating_sub(base);
            taken.add_range(range, NOW, Owner::Foreign);
        }
    }
    taken.sort();
    let names = names(
        &volume,
        &mut lives,
        &mut nodes,
        &taken,
        &directories_of(seen, base),
    );
    // What a journal holds beyond its blocks is only seen by those who open the file system.
    let view = match newer {
        None => Arc::clone(&volume.view),
        Some(_) => Arc::clone(device),
    };
    let mut rebuilt = Rebuilt {
        info,
        view,
        volume,
        base,
        lives,
        nodes,
        more: names.more,
        taken,
    };
    rebuilt.note_former();
    rebuilt
}

/// All names, each with what it stands for.
fn names(
    volume: &Volume,
    lives: &mut Lives,
    nodes: &mut Nodes,
    taken: &Taken,
    seen: &[DirectorySeen],
) -> Names {
    let numbers = lives.live().into_iter();
    let directories: Vec<u64> = numbers
        .filter(|number| lives.is_directory(*number))
        .collect();
    let mut collector = Collector {
        volume,
        lives,
        nodes,
        taken,
        names: Names::default(),
        budget: budget(volume),
    };
    for number in directories {
        if let Some(inode) = current_inode(volume, collector.lives, InodeNumber(number)) {
            collector.current(&inode);
        }
    }
    collector.former_directories();
    collector.stray(seen);
    collector.history();
    let mut names = collector.names;
    let mut resolver = Resolver {
        volume,
        lives,
        nodes,
        names: &mut names,
    };
    resolver.run();
    let mut collector = Collector {
        volume,
        lives,
        nodes,
        taken,
        names,
        budget: budget(volume),
    };
    collector.orphans();
    collector.names
}

/// How many blocks of directories are looked at: a few times as many as there are blocks.
fn budget(volume: &Volume) -> u64 {
    let block = u64::from(volume.sb.block.get());
    let blocks = volume.view.len().checked_div(block).unwrap_or(0);
    blocks.saturating_mul(4)
}

/// Whether the geometry of a file system is right: what its directory inodes lead to are these
/// directories' first blocks. On one of many disks of an array it is not.
#[derive(Clone, Copy, Default)]
struct Proof {
    right: u64,
    wrong: u64,
}

impl Proof {
    fn of(fs: &Rebuilt) -> Self {
        let mut proof = Self::default();
        let numbers = fs.lives.live().into_iter();
        for number in numbers
            .filter(|number| fs.lives.is_directory(*number))
            .take(PROOFS)
        {
            let inode = current_inode(&fs.volume, &fs.lives, InodeNumber(number));
            let first = inode.and_then(|inode| fs.volume.map(&inode).pieces.first().copied());
            let Some(Place::At(at)) = first.map(|piece| piece.place) else {
                continue;
            };
            let Some(bytes) = fs.volume.view.read_whole(at, fs.volume.sb.block.len()) else {
                continue;
            };
            match super::dir::own_numbers(&bytes) {
                Some((own, _)) if u64::from(own) == number => {
                    proof.right = proof.right.saturating_add(1);
                }
                _ if bytes.iter().all(|byte| *byte == 0) => {}
                _ => proof.wrong = proof.wrong.saturating_add(1),
            }
        }
        proof
    }

    /// How many more directories say so than not.
    fn net(self) -> i128 {
        i128::from(self.right).saturating_sub(self.wrong.into())
    }

    /// Whether enough of them do; where there is none, nothing is against it.
    fn holds(self) -> bool {
        self.wrong <= self.right.div_ceil(2)
    }
}

/// What is said of a file system of which there are inodes in places that contradict each other.
fn unproven(fs: &Rebuilt, name: &str, device: &Device) -> Loss {
    Loss {
        what: format!("the file system {name}"),
        origin: Origin::new(device.name.clone(), ByteOffset::new(fs.base)),
        cause: Cause::Corrupt(
            "its inodes do not lead to its directories: this may be one of several disks that it \
             lies on"
                .to_owned(),
        ),
    }
}

/// The descriptor blocks of journals, by their places in the file system that begins at `base`.
fn descriptors(seen: &Sightings, base: u64) -> Vec<Descriptor> {
    let found = seen.journal.iter();
    found
        .filter(|block| block.kind == super::jbd2::DESCRIPTOR)
        .filter_map(|block| {
            Some(Descriptor {
                at: block.at.checked_sub(base)?,
                sequence: block.sequence,
            })
        })
        .collect()
}

fn directories_of(seen: &Sightings, base: u64) -> Vec<DirectorySeen> {
    let found = seen.directories.iter();
    found
        .filter_map(|block| {
            Some(DirectorySeen {
                at: block.at.checked_sub(base)?,
                ..*block
            })
        })
        .collect()
}

fn journal_runs(volume: &Volume) -> Vec<std::ops::Range<u64>> {
    let pieces = super::journal::pieces(volume);
    let runs = pieces
        .iter()
        .flatten()
        .filter_map(|piece| match piece.place {
            Place::At(at) => Some(at.get()..at.get().saturating_add(piece.length)),
            _ => None,
        });
    runs.collect()
}

/// What inodes in use and the file system itself hold.
fn held(volume: &Volume, lives: &Lives, nodes: &Nodes) -> Taken {
    let mut taken = Taken::default();
    let block = u64::from(volume.sb.block.get());
    let mut blocks = |first: u64, count: u64, owner: Owner| {
        let start = volume.nominal(first).get();
        let end = start.saturating_add(count.saturating_mul(block));
        taken.add_range(start..end, NOW, owner);
    };
    let table_blocks = |inodes: u64| {
        let bytes = inodes.saturating_mul(volume.sb.inode_bytes as u64);
        bytes.div_ceil(block)
    };
    if volume.tables.alone {
        for run in volume.inode_runs() {
            let first = run.at.get().checked_div(block).unwrap_or(0);
            blocks(first, table_blocks(run.count), Owner::Metadata);
        }
    } else {
        for group in 0..volume.sb.groups().min(budget(volume)) {
            if let Ok(found) = volume.group(group) {
                let written = table_blocks(found.inodes_written);
                blocks(found.inode_table, written, Owner::Metadata);
                for bitmap in found.bitmaps {
                    blocks(bitmap, 1, Owner::Metadata);
                }
            }
        }
    }
    let mut maps = Vec::new();
    // A block has one owner: where maps lie, there is more to them than there are blocks.
    let mut room = budget(volume);
    for number in lives.live() {
        if room == 0 {
            break;
        }
        let Some(inode) = current_inode(volume, lives, InodeNumber(number)) else {
            continue;
        };
        let (map, tree) = volume.map_and_tree(&inode);
        for number in tree.into_iter().chain(volume.attributes(&inode)) {
            blocks(number, 1, Owner::Inode(inode.number.0));
        }
        room = room.saturating_sub(map.pieces.len() as u64);
        maps.push((map.pieces, Owner::Inode(inode.number.0)));
    }
    for (pieces, owner) in maps {
        taken.add(&pieces, NOW, owner);
    }
    for run in &nodes.journal {
        taken.add_range(run.clone(), NOW, Owner::Metadata);
    }
    taken
}
