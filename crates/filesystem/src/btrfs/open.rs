//! Opening what one device holds, by its superblock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use evidence::{ByteOffset, Error, Origin, ReadAt};

use super::Btrfs;
use super::branch::Branch;
use super::chunk::Chunk;
use super::key::{CHUNK_ITEM, CSUM_TREE, EXTENT_TREE, FS_TREE, Key};
use super::pool::Pool;
use super::root::Roots;
use super::subvolumes;
use super::sums::Sums;
use super::superblock::{PLACES, Root, Superblock};
use super::tree::{Seen, Tree};
use super::view::Logical;
use super::volume::{Format, Volume};
use crate::{Info, Kind, Standing};

impl Btrfs {
    /// Opens the btrfs on `device`, which is called `name` in origins, if this one device is enough.
    ///
    /// `None` if there is no superblock at its first place; one that is damaged there is taken
    /// from its mirrors. Errors: a feature that is not understood, devices that are missing, trees to
    /// which no root leads.
    pub fn open(device: Arc<dyn ReadAt>, name: &str) -> Result<Option<Self>, Error> {
        if !Superblock::is_marked(device.as_ref()) {
            return Ok(None);
        }
        let origin = Origin::new(
            name,
            ByteOffset::new(PLACES.into_iter().next().unwrap_or(0)),
        );
        let Some(sb) = Superblock::newest(device.as_ref()) else {
            return Err(Error::corrupt("no checksum of a superblock fits", origin));
        };
        if let Some(feature) = sb.unreadable() {
            return Err(Error::unsupported(format!("btrfs with {feature}"), origin));
        }
        let volume = Arc::new(volume(device, name, &sb));
        let (root_tree, note) = root_tree(&volume, &sb);
        let roots = Roots::read(&volume, &root_tree);
        let tree = |id: u64| {
            let item = roots.items.get(&id)?;
            Some(Tree::below(&volume, item.root).known_as_of(item.as_of))
        };
        let Some(top) = tree(FS_TREE).filter(|tree| !tree.leaves.is_empty()) else {
            return Err(Error::corrupt(why_nothing(&sb), origin));
        };
        let mut branches = vec![branch(&roots, FS_TREE, top)];
        let others = roots.subvolumes();
        for (id, _) in others.filter(|(id, item)| *id != FS_TREE && item.refs > 0) {
            branches.extend(tree(id).map(|tree| branch(&roots, id, tree)));
        }
        let mut info = info(&sb);
        info.notes.extend(note);
        let sums = Sums::new(tree(CSUM_TREE).unwrap_or_default(), &[]);
        let extents = tree(EXTENT_TREE).unwrap_or_default();
        let mut fs = Self::new(volume.clone(), branches, sums, extents, info);
        let notes = subvolumes::notes(&fs, &roots);
        fs.info.notes.extend(notes);
        Ok(Some(fs))
    }

    /// A file system of these parts.
    pub(super) fn new(
        volume: Arc<Volume>,
        branches: Vec<Branch>,
        sums: Sums,
        extents: Tree,
        info: Info,
    ) -> Self {
        let sums = Arc::new(sums);
        let view = Logical {
            volume: Arc::clone(&volume),
            sums: Arc::clone(&sums),
        };
        Self {
            volume,
            view: Arc::new(view),
            sums,
            extents,
            branches,
            adopted: HashMap::new(),
            info,
        }
    }
}

/// Why no tree of files can be read.
fn why_nothing(sb: &Superblock) -> String {
    match sb.num_devices.saturating_sub(1) {
        0 => "no root leads to the tree of files".to_owned(),
        missing => format!("the trees cannot be read without the other {missing} devices"),
    }
}

/// The file system on `device` with all chunks that its superblock leads to.
fn volume(device: Arc<dyn ReadAt>, name: &str, sb: &Superblock) -> Volume {
    let mut pool = Pool::new(BTreeMap::from([(sb.devid, device)]));
    for chunk in &sb.sys_chunks {
        pool.add(chunk.clone());
    }
    let mut volume = Volume::new(name, pool, format_of(sb), sb.metadata_uuid);
    let chunks = Tree::below(&volume, sb.chunk_root);
    let mut found = Vec::new();
    chunks.visit(&volume, Key::MIN..Key::MAX, &mut |seen| {
        if let Seen::Item(entry) = seen
            && entry.key.item_type == CHUNK_ITEM
        {
            found.extend(Chunk::parse(entry.key.offset, entry.data));
        }
    });
    for chunk in found {
        volume.pool.add(chunk);
    }
    volume
}

/// The branch of the subvolume `id`.
pub(super) fn branch(roots: &Roots, id: u64, tree: Tree) -> Branch {
    Branch {
        id,
        tree,
        standing: Standing::InUse,
        link: roots.links.get(&id).cloned(),
        lists: true,
    }
}

/// The tree of roots: that of the superblock, or the newest older one that can be entered.
fn root_tree(volume: &Volume, sb: &Superblock) -> (Tree, Option<String>) {
    let can_be_entered = |root: &Root| volume.node(root.bytenr, root.generation).is_some();
    if can_be_entered(&sb.root) {
        return (Tree::below(volume, sb.root), None);
    }
    match sb.backups.iter().find(|root| can_be_entered(root)) {
        Some(older) => {
            let note = format!(
                "the root of generation {} cannot be read: this is the state of generation {}",
                sb.generation, older.generation
            );
            (Tree::below(volume, *older), Some(note))
        }
        None => (Tree::below(volume, sb.root), None),
    }
}

/// The sizes that a superblock names.
pub(super) const fn format_of(sb: &Superblock) -> Format {
    Format {
        sectorsize: sb.sectorsize,
        nodesize: sb.nodesize,
        csum: sb.csum,
    }
}

/// What there is to say of a file system by its superblock.
pub(super) fn info(sb: &Superblock) -> Info {
    let mut notes = Vec::new();
    if sb.num_devices > 1 {
        notes.push(format!("it lies on {} devices", sb.num_devices));
    }
    if sb.log_root != 0 {
        notes.push(
            "files that were synced after the last commit stand in a log, which is not read"
                .to_owned(),
        );
    }
    if sb.mixed_groups() {
        notes.push("data and metadata share block groups".to_owned());
    }
    Info {
        kind: Kind::Btrfs,
        version: sb.features(),
        uuid: sb.fsid,
        label: sb.label.clone(),
        block_bytes: sb.sectorsize,
        bytes: sb.total_bytes,
        notes,
    }
}
