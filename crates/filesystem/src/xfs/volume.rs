//! What all parsers of the format share: the superblock, the bytes, the name in origins.

use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};

use super::ag::FsBlock;
use super::checksum::Expected;
use super::superblock::Superblock;
use crate::InodeNumber;
use crate::cache::Cache;

/// A volume with an XFS whose superblock was understood.
pub(super) struct Volume {
    name: String,
    pub(super) sb: Superblock,
    pub(super) view: Arc<dyn ReadAt>,
    /// The same bytes, for structures that lie side by side.
    pub(super) cache: Cache,
}

impl Volume {
    /// `view` as an XFS with the superblock `sb`.
    pub(super) fn new(name: &str, sb: Superblock, view: Arc<dyn ReadAt>) -> Self {
        Self {
            name: name.to_owned(),
            sb,
            cache: Cache::new(Arc::clone(&view)),
            view,
        }
    }

    /// The same volume, with metadata read from `metadata`.
    pub(super) fn with_metadata(self, metadata: Arc<dyn ReadAt>) -> Self {
        Self {
            cache: Cache::new(metadata),
            ..self
        }
    }

    /// A loss at `at`.
    pub(super) fn loss(&self, what: impl Into<String>, at: ByteOffset, cause: Cause) -> Loss {
        Loss {
            what: what.into(),
            origin: Origin::new(self.name.clone(), at),
            cause,
        }
    }

    /// Where `block` lies and what it holds.
    pub(super) fn block(&self, block: FsBlock) -> Result<(ByteOffset, Vec<u8>), Cause> {
        let at = self
            .sb
            .run(block, 1)
            .ok_or_else(|| corrupt(format!("there is no block {block}")))?;
        Ok((at, self.cache.read(at, self.sb.block.len())?))
    }

    /// What a block at `place` in the view that belongs to the inode `owner` has to say of itself.
    pub(super) fn expected(&self, place: ByteOffset, owner: InodeNumber) -> Expected {
        let inside = self.sb.inside(place).unwrap_or(u64::MAX);
        Expected {
            place: ByteOffset::new(inside),
            uuid: self.sb.meta_uuid,
            owner: owner.0,
        }
    }

    /// The length of the file system in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let block = u64::from(self.sb.block.get());
        self.sb.sb_dblocks.saturating_mul(block)
    }
}

/// A contradiction as a cause.
pub(super) fn corrupt(what: impl Into<String>) -> Cause {
    Cause::Corrupt(what.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::xfs::superblock::tests::superblock;
    use evidence::view::Memory;

    /// The volume of [`superblock`] with `pieces` laid into zeros.
    pub(in crate::xfs) fn volume(pieces: &[(u64, &[u8])]) -> Volume {
        let mut bytes = vec![0; 3500 * 4096];
        for (at, piece) in pieces {
            let at = usize::try_from(*at).unwrap();
            bytes
                .get_mut(at..at + piece.len())
                .unwrap()
                .copy_from_slice(piece);
        }
        Volume::new("volume:test", superblock(), Arc::new(Memory::new(bytes)))
    }
}
