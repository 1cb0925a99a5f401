//! What a device or group begins with, of the things that say how long they are.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use crate::{lvm, partition};

/// What begins at the start of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// What it is, for a person.
    pub(super) what: &'static str,
    /// Whether it is a file system, which may lie inside of something; LVM and partition tables
    /// lie at the start of it.
    pub(super) is_filesystem: bool,
    /// How long it is by its own statement, in bytes.
    pub(super) bytes: Option<u64>,
}

/// Whether `device` begins with something that says how long it is.
pub(crate) fn begins_something(device: &dyn ReadAt) -> bool {
    start(device).is_some()
}

/// What `device` begins with.
pub(super) fn start(device: &dyn ReadAt) -> Option<Start> {
    let below = |what, bytes| Start {
        what,
        is_filesystem: false,
        bytes,
    };
    if let Some(label) = lvm::Label::read(device) {
        return Some(below("a physical volume's label", Some(label.device_size)));
    }
    if lvm::begins_with_metadata_area(device) {
        return Some(below("a metadata area of LVM", None));
    }
    if let Some(table) = partition::read(device)
        && table.kind == partition::TableKind::Gpt
    {
        let ends = table
            .partitions
            .iter()
            .map(|p| p.start.saturating_add(p.bytes));
        return Some(below("a partition table", ends.max()));
    }
    let (what, bytes) = filesystem(device)?;
    Some(Start {
        what,
        is_filesystem: true,
        bytes: Some(bytes),
    })
}

/// What file system begins here, and its length: the copies of a superblock that lie elsewhere
/// say so themselves.
fn filesystem(device: &dyn ReadAt) -> Option<(&'static str, u64)> {
    let head = device.read_whole(ByteOffset::ZERO, 2048)?;
    if let Some(found) = by_superblock(&head) {
        return Some(found);
    }
    // btrfs_super_block: bytenr, magic, total_bytes.
    let head = device.read_whole(ByteOffset::new(65536), 128)?;
    let fields = Fields::new(&head);
    let is_btrfs = fields.le_u64(48) == Some(65536) && fields.array(64) == Some(*b"_BHRfS_M");
    is_btrfs.then_some(("a btrfs", fields.le_u64(112)?))
}

/// Whether the ext or XFS whose superblock `device` begins with goes on behind it where that says: it may be a copy
/// in a journal, or its first piece of several. Where btrfs goes on its trees say, which are not asked.
pub(super) fn is_confirmed(device: &dyn ReadAt) -> bool {
    let head = device.read_whole(ByteOffset::ZERO, 2048);
    head.and_then(|head| confirms(device, &head))
        .unwrap_or(false)
}

fn confirms(device: &dyn ReadAt, head: &[u8]) -> Option<bool> {
    let fields = Fields::new(head);
    if fields.array::<4>(0) == Some(*b"XFSB") {
        // sb_sectsize; the header of the first group is in the sector behind.
        let at = ByteOffset::new(fields.be_u16(102)?.into());
        return Some(device.read_whole(at, 4)? == b"XAGF");
    }
    let ext = fields.from(1024)?;
    if ext.le_u16(56) != Some(0xEF53) {
        return Some(true);
    }
    // s_log_block_size, s_rev_level, s_inode_size. The descriptors are in the block behind the superblock's.
    let block = 1024_u64.checked_shl(ext.le_u32(24)?)?;
    let behind = 1024_u64.checked_div(block)?.checked_add(1)?;
    let descriptors = behind.checked_mul(block)?;
    let inode_size = match ext.le_u32(76)? {
        0 => 128,
        _ => ext.le_u16(88)?,
    };
    // bg_inode_table_lo; the root is inode 2.
    let descriptor = device.read_whole(ByteOffset::new(descriptors), 12)?;
    let table = u64::from(Fields::new(&descriptor).le_u32(8)?).checked_mul(block)?;
    let root = ByteOffset::new(table.checked_add(inode_size.into())?);
    let mode = Fields::new(&device.read_whole(root, 2)?).le_u16(0)?;
    Some(mode & 0xF000 == 0x4000)
}

/// The same of those whose superblock is at the very start, by the first 2 KiB.
pub(crate) fn by_superblock(head: &[u8]) -> Option<(&'static str, u64)> {
    let fields = Fields::new(head);
    if fields.array::<4>(0) == Some(*b"XFSB") {
        // sb_blocksize, sb_dblocks.
        let block = u64::from(fields.be_u32(4)?);
        return Some(("an XFS", fields.be_u64(8)?.checked_mul(block)?));
    }
    let ext = fields.from(1024)?;
    // s_magic, s_block_group_nr.
    (ext.le_u16(56)? == 0xEF53 && ext.le_u16(90)? == 0).then_some(())?;
    // s_log_block_size, s_blocks_count_lo.
    let block = 1024_u64.checked_shl(ext.le_u32(24)?)?;
    let blocks = u64::from(ext.le_u32(4)?);
    Some(("an ext file system", blocks.checked_mul(block)?))
}
