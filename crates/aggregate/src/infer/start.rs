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
