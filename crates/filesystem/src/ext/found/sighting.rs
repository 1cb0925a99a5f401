//! What of ext is recognised in the one pass over a device: superblocks, blocks of the journal,
//! blocks of directories, and blocks that look like a piece of an inode table.
//!
//! Nothing here knows a geometry yet, so each kind is told by itself alone; what it is worth is
//! weighed later, when the pieces are held against each other. Only places and a few numbers are
//! kept, never contents.

use evidence::{ByteOffset, Fields};

use super::super::dir::{self, Form};
use super::super::inode::{EXTENTS_FL, I_BLOCK_AT, OLD_BYTES};
use super::super::jbd2;
use super::super::superblock::{SUPERBLOCK_BYTES, Superblock};
use crate::FileKind;
use crate::survey::Window;

/// The smallest block of ext, at whose multiples everything begins.
const SMALLEST_BLOCK: usize = 1024;
/// Sizes of blocks whose directories are recognised without a superblock.
const DIRECTORY_SIZES: [usize; 3] = [1024, 2048, 4096];
/// `s_log_groups_per_flex` and the like never make `i_links_count` larger than this in practice;
/// `EXT4_LINK_MAX` is 65000.
const MOST_LINKS: u16 = 65_000;

/// A descriptor block never speaks of more than this: 4 KiB of tags of 8 bytes, for 4 KiB each.
const JOURNAL_REACH: u64 = 2 << 20;

/// A superblock, or a copy of one.
#[derive(Clone, Debug)]
pub(super) struct SuperblockSeen {
    /// Where it lies.
    pub(super) at: ByteOffset,
    /// What it says.
    pub(super) sb: Superblock,
}

/// A block with the header of jbd2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalSeen {
    /// Where it lies.
    pub(super) at: ByteOffset,
    /// `h_blocktype`.
    pub(super) kind: u32,
    /// `h_sequence`.
    pub(super) sequence: u32,
}

/// A block that parses as one of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectorySeen {
    /// Where it lies.
    pub(super) at: ByteOffset,
    /// How long it is.
    pub(super) bytes: u32,
    /// The inodes of `.` and `..`, if it is the first block of its directory.
    pub(super) own: Option<(u32, u32)>,
}

/// 1 KiB that look like a piece of an inode table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InodesSeen {
    /// Where they lie.
    pub(super) at: ByteOffset,
    /// Which of the eight places for an inode of 128 bytes hold one in use, lowest bit first.
    pub(super) in_use: u8,
    /// Which of them hold a directory.
    pub(super) directories: u8,
}

/// What was recognised, in the order of the device.
#[derive(Default)]
pub(crate) struct Sightings {
    pub(super) superblocks: Vec<SuperblockSeen>,
    pub(super) journal: Vec<JournalSeen>,
    pub(super) directories: Vec<DirectorySeen>,
    pub(super) inodes: Vec<InodesSeen>,
}

impl Sightings {
    /// What is recognised in `window`.
    pub(crate) fn of(window: &Window) -> Self {
        let mut seen = Self::default();
        for (at, block) in window.blocks(SMALLEST_BLOCK) {
            seen.small(at, block);
        }
        for size in DIRECTORY_SIZES {
            for (at, block) in window.blocks(size) {
                seen.directories.extend(directory(at, block));
            }
        }
        seen.directories.sort_by_key(|seen| (seen.at, seen.bytes));
        seen
    }

    /// Adds what was seen behind this.
    pub(crate) fn append(&mut self, next: Self) {
        self.superblocks.extend(next.superblocks);
        self.journal.extend(next.journal);
        self.directories.extend(next.directories);
        self.inodes.extend(next.inodes);
    }

    /// Whether the place lies between blocks of a journal, where copies of inodes lie, too.
    pub(super) fn in_journal(&self, at: u64) -> bool {
        let next = self.journal.partition_point(|block| block.at.get() <= at);
        let before = next.checked_sub(1).and_then(|index| self.journal.get(index));
        let near = |block: &JournalSeen| at.abs_diff(block.at.get()) < JOURNAL_REACH;
        // Every transaction ends with a block of the journal.
        before.is_some_and(|block| near(block) && block.kind != jbd2::SUPERBLOCK_V2)
            && self.journal.get(next).is_some_and(near)
    }

    /// What 1 KiB tells by itself.
    fn small(&mut self, at: ByteOffset, block: &[u8]) {
        if let Some((kind, sequence)) = jbd2::header(block) {
            self.journal.push(JournalSeen { at, kind, sequence });
            return;
        }
        if let Some(sb) = block
            .get(..SUPERBLOCK_BYTES)
            .and_then(|bytes| Superblock::parse(bytes).ok())
        {
            self.superblocks.push(SuperblockSeen { at, sb });
            return;
        }
        self.inodes.extend(inodes(at, block));
    }
}

/// `block` as a block of a directory.
fn directory(at: ByteOffset, block: &[u8]) -> Option<DirectorySeen> {
    let form = Form {
        file_type: true,
        huge_blocks: false,
    };
    let bytes = u32::try_from(block.len()).ok()?;
    if let Some(own) = dir::own_numbers(block) {
        // Only under the right size its entries end where the block does.
        dir::is_whole(block, form).then_some(())?;
        return Some(DirectorySeen {
            at,
            bytes,
            own: Some(own),
        });
    }
    dir::is_continuation(block, form).then_some(DirectorySeen {
        at,
        bytes,
        own: None,
    })
}

/// `block` as a piece of an inode table.
fn inodes(at: ByteOffset, block: &[u8]) -> Option<InodesSeen> {
    let (mut in_use, mut directories) = (0_u8, 0_u8);
    for (slot, bytes) in block.chunks(OLD_BYTES).enumerate() {
        let kind = looks_like_inode(bytes);
        let bit = 1_u8.checked_shl(u32::try_from(slot).ok()?)?;
        in_use |= if kind.is_some() { bit } else { 0 };
        directories |= if kind == Some(FileKind::Directory) {
            bit
        } else {
            0
        };
    }
    (in_use != 0).then_some(InodesSeen {
        at,
        in_use,
        directories,
    })
}

/// The kind of the inode whose first 128 bytes these are, if they are plausibly one in use.
///
/// The upper halves of sizes and counts are small in any file that a disk can hold, the times are
/// set, and the map has the form that the flags announce.
pub(super) fn looks_like_inode(bytes: &[u8]) -> Option<FileKind> {
    let f = Fields::new(bytes);
    let mode = f.le_u16(0x0)?;
    let kind = FileKind::from_mode(mode)?;
    let links = f.le_u16(0x1A)?;
    let times = [f.le_u32(0x8)?, f.le_u32(0xC)?, f.le_u32(0x10)?];
    let plain = (1..=MOST_LINKS).contains(&links)
        && f.le_u32(0x14)? == 0
        && f.le_u16(0x74)? == 0
        && f.le_u32(0x6C)? < 0x100
        && times.iter().all(|time| *time != 0);
    if !plain {
        return None;
    }
    let flags = f.le_u32(0x20)?;
    if kind == FileKind::Directory && f.le_u32(0x4)? == 0 {
        return None;
    }
    if flags & EXTENTS_FL != 0 {
        let header = f.from(I_BLOCK_AT)?;
        let (entries, most, depth) = (header.le_u16(2)?, header.le_u16(4)?, header.le_u16(6)?);
        let fits = header.le_u16(0)? == 0xF30A && entries <= most && most == 4 && depth <= 5;
        return fits.then_some(kind);
    }
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    proptest! {
        #[test]
        fn any_block_is_looked_at_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 1024),
            magic in any::<bool>(),
        ) {
            if magic {
                bytes[..4].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
            }
            let mut seen = Sightings::default();
            seen.small(ByteOffset::ZERO, &bytes);
            let _ = directory(ByteOffset::ZERO, &bytes);
        }
    }

    #[test]
    fn an_inode_without_times_or_names_is_none() {
        let mut bytes = [0_u8; 128];
        bytes[0..2].copy_from_slice(&0o100_644_u16.to_le_bytes());
        bytes[0x1A] = 1;
        assert_eq!(looks_like_inode(&bytes), None);
        for at in [0x8, 0xC, 0x10] {
            bytes[at + 3] = 0x50;
        }
        assert_eq!(looks_like_inode(&bytes), Some(FileKind::Regular));
        bytes[0x14] = 1;
        assert_eq!(looks_like_inode(&bytes), None, "it was deleted");
    }
}
