//! The map of a file, put together from runs of blocks.

use std::collections::HashSet;

use evidence::{ByteOffset, Cause, Loss};

use super::inode::{ENCRYPT_FL, EXTENTS_FL, I_BLOCK_AT, INLINE_DATA_FL, RawInode};
use super::volume::{Volume, corrupt};
use crate::pieces::Pieces;
use crate::{Extents, FileKind, Inode, Place};

/// The map of one file while it is being read, from the start of the file to its end.
pub(super) struct Map {
    block_bytes: u64,
    size: u64,
    pieces: Pieces,
    losses: Vec<Loss>,
    /// Blocks of the tree that were used. A block that is used twice is damage, and without this
    /// a few blocks could describe a tree without end.
    used: HashSet<u64>,
    /// Whether a block of the tree is a former state of it.
    former: bool,
}

impl Map {
    /// An empty map of a file of `size` bytes in blocks of `block_bytes`.
    pub(super) fn new(block_bytes: u32, size: u64) -> Self {
        Self {
            block_bytes: block_bytes.into(),
            size,
            pieces: Pieces::new(size, Place::Hole),
            losses: Vec::new(),
            used: HashSet::new(),
            former: false,
        }
    }

    /// Adds the next run: `count` blocks from block `first` of the file on lie at `place`.
    ///
    /// What was left out since the last run is a hole. What was given before stays: the part of
    /// a run that lies before the end of the last one is cut off, as is what lies past the size.
    pub(super) fn push(&mut self, first: u64, count: u64, place: Place) {
        let start = first.saturating_mul(self.block_bytes);
        let stop = first.saturating_add(count).saturating_mul(self.block_bytes);
        self.pieces.push(start..stop, place);
    }

    /// Notes that `count` blocks from `first` on are lost, and why.
    pub(super) fn lose(&mut self, first: u64, count: u64, loss: Loss) {
        self.push(first, count, Place::Lost);
        self.losses.push(loss);
    }

    /// Whether `block` of the volume is used for the first time in this tree.
    pub(super) fn first_use(&mut self, block: u64) -> bool {
        self.used.insert(block)
    }

    /// Notes that a block of the tree is a former state of it: what it maps nothing to may have
    /// been written since, and is no hole.
    pub(super) const fn former_state(&mut self) {
        self.former = true;
    }

    /// The block of the file that begins at or after its end.
    pub(super) const fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block_bytes)
    }

    /// The whole map; what is left of the file is a hole.
    pub(super) fn finish(self) -> Extents {
        let mut pieces = self.pieces.finish();
        if self.former {
            for piece in pieces.iter_mut().filter(|p| p.place == Place::Hole) {
                piece.place = Place::Lost;
            }
        }
        Extents {
            pieces,
            losses: self.losses,
        }
    }
}

/// A file of `size` bytes of which nothing can be had.
pub(super) fn all_lost(size: u64, loss: Loss) -> Map {
    let mut map = Map::new(1, size);
    map.lose(0, size, loss);
    map
}

impl Volume {
    /// Where the contents of `file` lie.
    pub(super) fn map(&self, file: &Inode) -> Extents {
        self.map_and_tree(file).0
    }

    /// Where the contents of `file` lie, and which blocks say so.
    pub(super) fn map_and_tree(&self, file: &Inode) -> (Extents, HashSet<u64>) {
        let mut map = self.map_on_disk(file);
        let tree = std::mem::take(&mut map.used);
        let mut map = map.finish();
        self.patch.map(self, file.number, file.size, &mut map);
        (map, tree)
    }

    fn map_on_disk(&self, file: &Inode) -> Map {
        if file.kind == FileKind::Special {
            return Map::new(1, 0);
        }
        let lost = |cause: Cause| {
            all_lost(
                file.size,
                self.loss(
                    format!("contents of inode {}", file.number),
                    file.place,
                    cause,
                ),
            )
        };
        let Some(raw) = RawInode::parse(&file.raw) else {
            return lost(corrupt("the inode is cut short"));
        };
        if raw.has(ENCRYPT_FL) {
            let what = "encrypted by fscrypt; the contents cannot be read without its key";
            return lost(Cause::Unsupported(what.to_owned()));
        }
        if raw.has(INLINE_DATA_FL) {
            return self.inline_map(file, &raw);
        }
        if self.is_fast_symlink(&raw, file.kind, file.size) {
            let mut map = Map::new(1, file.size);
            match file.place.checked_add(I_BLOCK_AT as u64) {
                Some(at) => map.push(0, file.size, Place::At(at)),
                None => return lost(corrupt("its place overflows")),
            }
            return map;
        }
        if raw.has(EXTENTS_FL) {
            self.extent_map(file, &raw)
        } else {
            self.indirect_map(file, &raw)
        }
    }

    /// Where a block of a file's contents is, if the pointer to it leads into the file system.
    pub(super) fn place_of(&self, block: u64, count: u64) -> Option<ByteOffset> {
        let last = block.checked_add(count.checked_sub(1)?)?;
        self.sb.offset_of(last)?;
        self.sb.offset_of(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn runs_that_follow_each_other_join_and_what_is_left_out_is_a_hole() {
        let mut map = Map::new(1024, 10_000);
        map.push(0, 2, Place::At(ByteOffset::new(4096)));
        map.push(2, 1, Place::At(ByteOffset::new(6144)));
        map.push(5, 100, Place::Unwritten);
        let want = [
            (0, 3072, Place::At(ByteOffset::new(4096))),
            (3072, 2048, Place::Hole),
            (5120, 4880, Place::Unwritten),
        ];
        let got: Vec<_> = map
            .finish()
            .pieces
            .iter()
            .map(|p| (p.file_offset, p.length, p.place))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn an_overlap_keeps_what_came_first() {
        let mut map = Map::new(1024, 4096);
        map.push(0, 2, Place::Unwritten);
        map.push(1, 3, Place::At(ByteOffset::new(10_240)));
        let pieces = map.finish().pieces;
        assert_eq!(pieces[1].file_offset, 2048);
        assert_eq!(pieces[1].place, Place::At(ByteOffset::new(11_264)));
    }

    proptest! {
        #[test]
        fn pieces_lie_side_by_side_up_to_the_size(
            size in any::<u64>(),
            runs in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
        ) {
            let mut map = Map::new(4096, size);
            for (first, count, at) in runs {
                map.push(first % 100, count % 50, Place::At(ByteOffset::new(at)));
                map.push(first, count, Place::Lost);
            }
            let mut end = 0;
            for piece in map.finish().pieces {
                assert_eq!(piece.file_offset, end);
                assert!(piece.length > 0);
                end += piece.length;
            }
            assert_eq!(end, size);
        }
    }
}
