//! A file system with all that is left of it: what its tree leads to, what it led to once, and
//! what nothing leads to.

use std::collections::HashMap;
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, ReadAt, ReadAtExt};

use super::super::inode::{self};
use super::super::volume::{Volume, corrupt};
use super::lives::Lives;
use super::nodes::{self, Node, Nodes, ORPHANS, ORPHANS_NAME};
use super::taken::{Epoch, NOW, Owner, Taken};
use crate::{
    DirEntry, Extent, Extents, FileKind, Filesystem, Info, Inode, InodeNumber, Listing, Place,
    Standing,
};

/// A file system that was put together.
pub(super) struct Rebuilt {
    pub(super) info: Info,
    pub(super) volume: Volume,
    /// Where the file system begins in its view, from which its own addresses count.
    pub(super) base: u64,
    /// What [`Place::At`] points into.
    pub(super) view: Arc<dyn ReadAt>,
    pub(super) lives: Lives,
    pub(super) nodes: Nodes,
    /// What directories list besides what their blocks say.
    pub(super) more: HashMap<InodeNumber, Vec<DirEntry>>,
    pub(super) taken: Taken,
}

impl Rebuilt {
    /// A place of the file system as one of the view.
    fn outward(&self, at: ByteOffset) -> ByteOffset {
        at.checked_add(self.base).unwrap_or(at)
    }

    fn outward_loss(&self, mut loss: Loss) -> Loss {
        loss.origin.offset = self.outward(loss.origin.offset);
        loss
    }

    /// The inode as the format's own parsers know it: its number and place within the file system.
    fn inward(&self, inode: &Inode) -> Inode {
        let mut inner = inode.clone();
        inner.number = InodeNumber(self.nodes.number_of(inode.number));
        inner.place = inode.place.checked_sub(self.base).unwrap_or(inode.place);
        inner
    }

    /// Whether the view has the inode as it is.
    fn shows(&self, inode: &Inode) -> bool {
        let there = self.view.read_whole(inode.place, inode.raw.len());
        there.is_some_and(|bytes| bytes == inode.raw)
    }

    fn former(&self, number: InodeNumber, node: &Node) -> Result<Inode, Loss> {
        if node.directory && node.at.is_none() {
            let place = ByteOffset::ZERO;
            return Ok(nodes::directory(number, Standing::Deleted, place));
        }
        let mut inode = nodes::former_inode(&self.volume, node).ok_or_else(|| {
            let what = format!("inode {}, deleted", node.number);
            let at = node.at.unwrap_or(ByteOffset::ZERO);
            let cause = corrupt("its size and its map were cleared, and nothing has a copy");
            self.volume.loss(what, at, cause)
        })?;
        inode.number = number;
        Ok(inode)
    }

    fn current(&self, number: InodeNumber) -> Result<Inode, Loss> {
        if let Some(inode) = nodes::current_inode(&self.volume, &self.lives, number) {
            return Ok(inode);
        }
        let loss = match self.volume.inode(number) {
            Ok(inode) => return Ok(inode),
            Err(loss) => loss,
        };
        if let Some(at) = self.nodes.bare.get(&number.0) {
            return Ok(nodes::directory(number, Standing::InUse, *at));
        }
        if number == inode::ROOT {
            return Ok(nodes::directory(number, Standing::InUse, ByteOffset::ZERO));
        }
        Err(loss)
    }

    /// When what a node held was its own for the last time.
    fn until(&self, node: &Node, inode: &Inode) -> Epoch {
        let life = node.life.and_then(|life| self.lives.former.get(life));
        (life.map_or(0, |life| life.gone), inode.changed.seconds)
    }

    /// The map of something deleted, without what was written over since.
    fn cut(&self, node: &Node, file: &Inode, mut map: Extents) -> Extents {
        let (pieces, by) = self.taken.cut(map.pieces, self.until(node, file));
        map.pieces = pieces;
        for (at, owner) in by {
            let what = format!("contents of inode {}, deleted", node.number);
            let cause = corrupt(format!("the blocks belong to {owner}"));
            map.losses
                .push(self.volume.loss(what, ByteOffset::new(at), cause));
        }
        map
    }

    /// Adds what everything that was deleted held, so that of two that held the same bytes only
    /// the later one is given them.
    pub(super) fn note_former(&mut self) {
        let mut later = Vec::new();
        for node in self.nodes.table.iter().filter(|node| !node.directory) {
            if let Some(inode) = nodes::former_inode(&self.volume, node) {
                let until = self.until(node, &inode);
                let map = self.volume.map(&inode);
                later.push((map.pieces, until, Owner::Later(node.number)));
            }
        }
        for (pieces, until, owner) in later {
            if until < NOW {
                self.taken.add(&pieces, until, owner);
            }
        }
        self.taken.sort();
    }
}

impl Filesystem for Rebuilt {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.view
    }

    fn root(&self) -> InodeNumber {
        inode::ROOT
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        if number == ORPHANS {
            return Ok(nodes::directory(number, Standing::InUse, ByteOffset::ZERO));
        }
        let found = match (self.nodes.get(number), Nodes::lost(number)) {
            (Some(node), _) => self.former(number, node),
            (None, Some(lost)) => Err(self.volume.loss(
                format!("inode {lost}"),
                ByteOffset::ZERO,
                corrupt("it is lost, and a directory with its number lies elsewhere"),
            )),
            (None, None) => self.current(number),
        };
        match found {
            Ok(mut inode) => {
                inode.place = self.outward(inode.place);
                Ok(inode)
            }
            Err(loss) => Err(self.outward_loss(loss)),
        }
    }

    fn entries(&self, dir: &Inode) -> Listing {
        let listed = dir.standing == Standing::InUse && !dir.raw.is_empty();
        let mut listing = if listed {
            self.volume.list(&self.inward(dir))
        } else if dir.kind == FileKind::Directory {
            Listing::default()
        } else {
            let cause = Cause::Corrupt("it is not a directory".to_owned());
            let what = format!("entries of inode {}", dir.number);
            Listing {
                losses: vec![self.volume.loss(what, dir.place, cause)],
                ..Listing::default()
            }
        };
        let losses = std::mem::take(&mut listing.losses);
        listing.losses = losses.into_iter().map(|l| self.outward_loss(l)).collect();
        if let Some(more) = self.more.get(&dir.number) {
            listing.entries.extend(more.iter().cloned());
        }
        for entry in &mut listing.entries {
            entry.inode = self.nodes.listed(dir.number, entry.inode);
        }
        if dir.number == inode::ROOT && self.more.contains_key(&ORPHANS) {
            listing.entries.push(DirEntry {
                name: ORPHANS_NAME.to_vec(),
                inode: ORPHANS,
            });
        }
        listing.entries.sort();
        listing.entries.dedup();
        listing
    }

    fn extents(&self, file: &Inode) -> Extents {
        if file.raw.is_empty() {
            return Extents::default();
        }
        let inner = self.inward(file);
        let mut map = self.volume.map(&inner);
        if let Some(node) = self.nodes.get(file.number) {
            map = self.cut(node, &inner, map);
        } else if self.taken.has_foreign() {
            let (pieces, by) = self.taken.cut_foreign(map.pieces);
            map.pieces = pieces;
            for (at, owner) in by {
                let what = format!("contents of inode {}", file.number);
                let cause = corrupt(format!("the blocks belong to {owner}"));
                map.losses
                    .push(self.volume.loss(what, ByteOffset::new(at), cause));
            }
        }
        let is_shown = self.shows(file);
        // In its table, that is: a state from the journal may not be the last one.
        let mut journal = self.nodes.journal.iter();
        let is_current = is_shown && !journal.any(|run| run.contains(&inner.place.get()));
        let is_unwritten = |piece: &Extent| piece.place == Place::Unwritten;
        if !is_current && map.pieces.iter().any(is_unwritten) {
            // The kernel converts extents when their contents are on the disk, after a commit that may be
            // the last one that is left: zeros would be what nobody wrote.
            let what = format!("contents of inode {}", inner.number);
            let cause =
                corrupt("the last state of its map that is left is from before they were written");
            map.losses.push(self.volume.loss(what, inner.place, cause));
        }
        let inode = inner.place.get()..inner.place.get().saturating_add(inner.raw.len() as u64);
        let outward = |piece: Extent| Extent {
            place: match piece.place {
                // Contents in an inode of which the view has another state are not there.
                Place::At(at) if inode.contains(&at.get()) && !is_shown => Place::Lost,
                Place::Unwritten if !is_current => Place::Lost,
                Place::At(at) => Place::At(self.outward(at)),
                other => other,
            },
            ..piece
        };
        map.pieces = map.pieces.into_iter().map(outward).collect();
        let losses = std::mem::take(&mut map.losses);
        map.losses = losses.into_iter().map(|l| self.outward_loss(l)).collect();
        map
    }
}
