//! Btrfs, on one device or several.
//!
//! [`Btrfs::open`] reads the superblock (`superblock.rs`), from it the chunks (`chunk.rs`), which
//! say where logical addresses lie on the devices (`pool.rs`, `parity.rs`), and the tree of roots
//! (`root.rs`). A tree (`tree.rs`) is kept as the list of its leaves (`node.rs`); a block of
//! which no copy is whole is mended (`mend.rs`). Subvolumes are branches (`branch.rs`) of one tree
//! of files: `inode.rs`, `dir.rs` and `extent.rs` read their items, `files.rs` answers for all of
//! them. What is read through the view (`view.rs`) is checked against the checksum tree
//! (`sums.rs`).
//!
//! `find.rs` puts together what is left of file systems whose superblocks, chunks or roots are gone,
//! or which were written over by others: of the tree blocks that are seen on the devices
//! (`sighting.rs`), the map of addresses (`map.rs`, `order.rs`, `unplaced.rs`) and the trees (`forest.rs`) are made. What no
//! directory leads to is hung in by `census.rs`, and files that were deleted by `former.rs`.
//! `statement.rs` keeps how the view is had again.
//!
//! The format is described in *On-disk Format* of the btrfs documentation and in the kernel's
//! `include/uapi/linux/btrfs_tree.h`; their names of fields are used here.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "tests count in small numbers"
    )
)]

mod branch;
mod census;
mod checksum;
mod chunk;
mod dir;
mod extent;
mod files;
mod find;
mod forest;
mod former;
mod inode;
mod key;
mod map;
mod mend;
mod node;
mod open;
mod order;
mod parity;
mod pool;
mod proof;
mod root;
mod sighting;
mod statement;
mod subvolumes;
mod sums;
mod superblock;
mod tree;
mod unplaced;
mod view;
mod volume;

use std::collections::HashMap;
use std::sync::Arc;

pub use statement::Statement;

pub(crate) use find::{find, is_first};
pub(crate) use sighting::Sightings;

use evidence::{Loss, ReadAt};

use branch::Branch;
use sums::Sums;
use tree::Tree;
use volume::Volume;

use crate::{DirEntry, Extents, Filesystem, Info, Inode, InodeNumber, Listing};

/// A btrfs that is open for reading.
pub struct Btrfs {
    volume: Arc<Volume>,
    view: Arc<dyn ReadAt>,
    sums: Arc<Sums>,
    /// The tree of allocated extents.
    extents: Tree,
    /// Subvolumes; the first is the one that the others hang below.
    branches: Vec<Branch>,
    /// By directory, names that no directory item gives.
    adopted: HashMap<InodeNumber, Vec<DirEntry>>,
    info: Info,
}

impl Filesystem for Btrfs {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.view
    }

    fn root(&self) -> InodeNumber {
        InodeNumber(key::FIRST_FREE)
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        files::inode(self, number)
    }

    fn entries(&self, dir: &Inode) -> Listing {
        files::entries(self, dir)
    }

    fn extents(&self, file: &Inode) -> Extents {
        files::extents(self, file)
    }
}
