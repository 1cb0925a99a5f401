//! What all parsers of the format share: the superblock, the bytes, the name in origins.

use std::sync::Arc;

use evidence::{BlockNumber, ByteOffset, Cause, GapCause, Loss, Origin, ReadAt};

use super::fast_commit::Patch;
use super::history::History;
use super::superblock::Superblock;
use super::tables::Tables;
use crate::cache::{Cache, read_whole};

/// A volume with an ext file system whose superblock was understood.
pub(super) struct Volume {
    /// What origins call it.
    name: String,
    /// The superblock that counts.
    pub(super) sb: Superblock,
    /// The bytes, with the journal's newer blocks over them if it was replayed.
    pub(super) view: Arc<dyn ReadAt>,
    /// The same bytes, for structures that lie side by side.
    pub(super) cache: Cache,
    /// What fast commits changed on top of the view.
    pub(super) patch: Patch,
    /// Inode tables that no descriptor leads to.
    pub(super) tables: Tables,
    /// Former states of metadata blocks.
    pub(super) history: History,
}

impl Volume {
    /// `view` as an ext file system with the superblock `sb`.
    pub(super) fn new(name: &str, sb: Superblock, view: Arc<dyn ReadAt>) -> Self {
        Self {
            name: name.to_owned(),
            sb,
            cache: Cache::new(Arc::clone(&view)),
            view,
            patch: Patch::default(),
            tables: Tables::default(),
            history: History::default(),
        }
    }

    /// Where `at` is, for people.
    pub(super) fn origin(&self, at: ByteOffset) -> Origin {
        Origin::new(self.name.clone(), at)
    }

    /// A loss at `at`.
    pub(super) fn loss(&self, what: impl Into<String>, at: ByteOffset, cause: Cause) -> Loss {
        Loss {
            what: what.into(),
            origin: self.origin(at),
            cause,
        }
    }

    /// Where `block` begins, as well as that can be said: for origins of pointers that lead nowhere.
    pub(super) fn nominal(&self, block: u64) -> ByteOffset {
        let at = self.sb.block.offset_of(BlockNumber::new(block));
        at.unwrap_or(ByteOffset::new(u64::MAX))
    }

    /// The bytes of one block, whole.
    pub(super) fn block(&self, block: u64) -> Result<Vec<u8>, Cause> {
        let at = self
            .sb
            .offset_of(block)
            .ok_or_else(|| Cause::Corrupt(format!("there is no block {block}")))?;
        read_whole(&self.view, at, self.sb.block.len())
    }

    /// How many bytes of the file system lie past the end of the view.
    pub(super) fn missing_bytes(&self) -> u64 {
        let whole = self
            .sb
            .blocks
            .saturating_mul(u64::from(self.sb.block.get()));
        whole.saturating_sub(self.view.len())
    }
}

/// The text of a contradiction as a cause.
pub(super) fn corrupt(what: impl Into<String>) -> Cause {
    Cause::Corrupt(what.into())
}

/// Bytes that were asked for past the end of the image.
pub(super) const BEYOND_END: Cause = Cause::Gap(GapCause::BeyondEnd);
