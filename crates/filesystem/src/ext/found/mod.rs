//! All that is left of ext file systems on a device: what is in use, what was deleted, what has
//! lost its place, and file systems of which no superblock is left.
//!
//! `sighting` is what one pass over the device recognises. From it, `lives` tells what each inode
//! number stands and stood for, with the journal as the memory of former states; `names` collects
//! what directories list and listed; `resolve` brings the two together; `nodes` numbers what has
//! no inode number of its own; `taken` knows what was written over since; `rebuilt` gives all of
//! it as one [`Filesystem`](crate::Filesystem).

mod lives;
mod names;
mod nodes;
mod rebuilt;
mod resolve;
mod sighting;
mod taken;

use std::sync::Arc;

use evidence::{ByteOffset, Loss};

use self::lives::Lives;
use self::names::{Collector, Names};
use self::nodes::{Nodes, current_inode};
use self::rebuilt::Rebuilt;
use self::resolve::Resolver;
pub(crate) use self::sighting::Sightings;
use self::taken::{NOW, Owner, Taken};
use super::Ext;
use super::history::{Descriptor, History};
use super::volume::Volume;
use crate::{Device, Found, InodeNumber, Place, View};

/// Puts together what is left of ext on `device`.
pub(crate) fn rebuild(device: &Device, seen: &Sightings) -> (Vec<Found>, Vec<Loss>) {
    let mut found = Vec::new();
    if let Ok(Some(ext)) = Ext::open(Arc::clone(&device.bytes), &device.name) {
        let fs = put_together(ext, 0, seen);
        found.push(Found {
            name: device.name.clone(),
            view: View::Opened(device.name.clone()),
            fs: Box::new(fs),
        });
    }
    (found, Vec::new())
}

/// Adds to a file system whose geometry is known, and which begins at `base` of the device, what
/// its tree does not lead to.
fn put_together(ext: Ext, base: u64, seen: &Sightings) -> Rebuilt {
    let Ext { info, mut volume } = ext;
    volume.history = History::read(&volume, &descriptors(seen, base));
    let mut lives = Lives::of(&volume);
    let mut nodes = Nodes::default();
    nodes.journal = journal_runs(&volume);
    for index in 0..lives.former.len() {
        nodes.of_directory(&lives, index);
    }
    let taken = held(&volume, &lives, &nodes);
    let directories: Vec<InodeNumber> = lives
        .live()
        .into_iter()
        .filter(|number| lives.is_directory(*number))
        .map(InodeNumber)
        .collect();
    let mut collector = Collector {
        volume: &volume,
        lives: &mut lives,
        nodes: &mut nodes,
        taken: &taken,
        names: Names::default(),
    };
    for number in directories {
        if let Some(inode) = current_inode(&volume, collector.lives, number) {
            collector.current(&inode);
        }
    }
    collector.former_directories();
    collector.stray(&directories_of(seen, base));
    collector.history();
    let mut names = collector.names;
    Resolver {
        volume: &volume,
        lives: &mut lives,
        nodes: &mut nodes,
        names: &mut names,
    }
    .run();
    let mut collector = Collector {
        volume: &volume,
        lives: &mut lives,
        nodes: &mut nodes,
        taken: &taken,
        names,
    };
    collector.orphans();
    let more = collector.names.more;
    let mut rebuilt = Rebuilt {
        info,
        view: Arc::clone(&volume.view),
        volume,
        base,
        lives,
        nodes,
        more,
        taken,
    };
    rebuilt.note_former();
    rebuilt
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

fn directories_of(seen: &Sightings, base: u64) -> Vec<sighting::DirectorySeen> {
    let found = seen.directories.iter();
    found
        .filter_map(|block| {
            Some(sighting::DirectorySeen {
                at: block.at.checked_sub(base)?,
                ..*block
            })
        })
        .collect()
}

fn journal_runs(volume: &Volume) -> Vec<std::ops::Range<u64>> {
    let pieces = super::journal::pieces(volume);
    let runs = pieces.iter().flatten().filter_map(|piece| match piece.place {
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
    for run in volume.inode_runs() {
        let first = run.at.get().checked_div(block).unwrap_or(0);
        let bytes = run.count.saturating_mul(volume.sb.inode_bytes as u64);
        blocks(first, bytes.div_ceil(block), Owner::Metadata);
    }
    if !volume.tables.alone {
        for group in 0..volume.sb.groups().min(volume.view.len() / block.max(1)) {
            if let Ok(found) = volume.group(group) {
                for bitmap in found.bitmaps {
                    blocks(bitmap, 1, Owner::Metadata);
                }
            }
        }
    }
    let mut maps = Vec::new();
    for number in lives.live() {
        let Some(inode) = current_inode(volume, lives, InodeNumber(number)) else {
            continue;
        };
        let (map, tree) = volume.map_and_tree(&inode);
        for number in tree {
            blocks(number, 1, Owner::Inode(inode.number.0));
        }
        maps.push((map.pieces, Owner::Inode(inode.number.0)));
    }
    for (pieces, owner) in maps {
        taken.add(&pieces, NOW, owner);
    }
    for run in &nodes.journal {
        taken.add_range(run.clone(), NOW, Owner::Metadata);
    }
    taken.sort();
    let _ = ByteOffset::ZERO;
    taken
}
