//! Roots of trees: `struct btrfs_root_item`, and what names subvolumes (`struct btrfs_root_ref`).

use std::collections::{BTreeMap, HashMap};

use evidence::Fields;

use super::key::{FIRST_FREE, Key, LAST_FREE, ROOT_BACKREF, ROOT_ITEM};
use super::superblock::Root;
use super::tree::{Seen, Tree};
use super::volume::Volume;

/// `BTRFS_ROOT_SUBVOL_RDONLY`.
const SUBVOL_RDONLY: u64 = 1;
/// Of more subvolumes than this only the first are read: half of what [`super::branch`] can number,
/// since each may have a second branch of what was deleted from it.
pub(super) const MOST_SUBVOLUMES: usize = 0x3F00;
const NO_UUID: [u8; 16] = [0; 16];

/// What the tree of roots says of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RootItem {
    pub(super) root: Root,
    pub(super) read_only: bool,
    /// How many directory entries lead to it; 0 for a subvolume that is being deleted.
    pub(super) refs: u32,
    pub(super) uuid: [u8; 16],
    /// The subvolume that it is a snapshot of.
    pub(super) parent_uuid: Option<[u8; 16]>,
    /// The newest generation of which it is known that this was the root.
    pub(super) as_of: u64,
}

impl RootItem {
    fn parse(item: &[u8], as_of: u64) -> Option<Self> {
        let fields = Fields::new(item);
        // Roots from before kernel 3.6 end behind `level`.
        let uuid = |at: usize| fields.array::<16>(at).unwrap_or(NO_UUID);
        Some(Self {
            root: Root {
                bytenr: fields.le_u64(176)?,
                generation: fields.le_u64(160)?,
                level: fields.u8(238)?,
            },
            read_only: fields.le_u64(208)? & SUBVOL_RDONLY != 0,
            refs: fields.le_u32(216)?,
            uuid: uuid(247),
            parent_uuid: Some(uuid(263)).filter(|uuid| *uuid != NO_UUID),
            as_of,
        })
    }
}

/// Where a subvolume is linked: `ROOT_BACKREF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The tree of the directory.
    pub(super) tree: u64,
    pub(super) dirid: u64,
    pub(super) name: Vec<u8>,
}

/// All that the tree of roots says.
#[derive(Clone, Debug, Default)]
pub(super) struct Roots {
    pub(super) items: BTreeMap<u64, RootItem>,
    /// By subvolume; snapshots of what holds a subvolume do not link it once more.
    pub(super) links: BTreeMap<u64, Link>,
    /// Whether parts of the tree could not be read.
    pub(super) damaged: bool,
    /// Subvolumes by their UUID.
    by_uuid: HashMap<[u8; 16], u64>,
}

impl Roots {
    /// Reads the tree of roots.
    pub(super) fn read(volume: &Volume, tree: &Tree) -> Self {
        let mut roots = Self::default();
        tree.visit(volume, Key::MIN..Key::MAX, &mut |seen| match seen {
            Seen::Item(entry) => {
                let key = entry.key;
                if key.item_type == ROOT_ITEM {
                    // The keys of one tree's roots ascend with their age: the last one counts.
                    if let Some(item) = RootItem::parse(entry.data, entry.leaf.as_of) {
                        roots.items.insert(key.objectid, item);
                    }
                } else if key.item_type == ROOT_BACKREF
                    && let Some(link) = link(key, entry.data)
                {
                    roots.links.insert(key.objectid, link);
                }
            }
            Seen::NoData(_) | Seen::Lost(..) => roots.damaged = true,
        });
        let uuids = roots.items.iter().map(|(id, item)| (item.uuid, *id));
        roots.by_uuid = uuids.filter(|(uuid, _)| *uuid != NO_UUID).collect();
        roots
    }

    /// The subvolume that `item` is a snapshot of, if it is still there.
    pub(super) fn original(&self, item: &RootItem) -> Option<u64> {
        self.by_uuid.get(&item.parent_uuid?).copied()
    }

    /// The subvolumes that can be branches, by their numbers: no more than inode numbers can tell
    /// apart.
    pub(super) fn subvolumes(&self) -> impl Iterator<Item = (u64, &RootItem)> {
        let all = self.items.iter().map(|(id, item)| (*id, item));
        all.filter(|(id, _)| is_subvolume(*id))
            .take(MOST_SUBVOLUMES)
    }
}

fn link(key: Key, item: &[u8]) -> Option<Link> {
    let fields = Fields::new(item);
    let length = usize::from(fields.le_u16(16)?);
    Some(Link {
        tree: key.offset,
        dirid: fields.le_u64(0)?,
        name: fields.slice(18, length)?.to_vec(),
    })
}

/// Whether a tree of that number is a subvolume.
pub(super) const fn is_subvolume(id: u64) -> bool {
    id == super::key::FS_TREE || (id >= FIRST_FREE && id <= LAST_FREE)
}
