//! Block groups: where each group's table of inodes lies.
//!
//! Source: Linux `Documentation/filesystems/ext4/group_descr.rst` (`struct ext4_group_desc`) and
//! `blockgroup.rst`. A descriptor that cannot be read, or whose checksum is wrong, is taken from
//! its copy in another group; of a copy only the place of the inode table is believed, since the
//! rest of it is not kept up to date.

use evidence::{BlockNumber, ByteOffset, Cause, Fields};

use super::checksum::{crc16, crc32c};
use super::features::{INCOMPAT_64BIT, RO_COMPAT_GDT_CSUM};
use super::volume::Volume;

/// `EXT4_BG_INODE_UNINIT`: the inode table of the group was never used.
const INODE_UNINIT: u16 = 0x1;
/// `EXT4_BG_INODE_ZEROED`: what was never used of the inode table was zeroed.
const INODE_ZEROED: u16 = 0x4;
/// Where `bg_checksum` lies; the checksum leaves itself out.
const BG_CHECKSUM_AT: usize = 0x1E;
/// Groups with copies of the descriptors that are tried, at most.
const COPIES_TRIED: usize = 4;
/// Groups with numbers beyond this are not looked at for copies.
const LAST_COPY: u64 = 27;

/// A group, as far as reading needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// `bg_inode_table`: the block that the table begins with.
    pub(super) inode_table: u64,
    /// `bg_block_bitmap` and `bg_inode_bitmap`.
    pub(super) bitmaps: [u64; 2],
    /// How many inodes at the start of the table were ever in use, by `bg_flags` and
    /// `bg_itable_unused`; `None` where the file system does not keep count, or a copy was used.
    pub(super) inodes_used: Option<u64>,
    /// How many inodes at the start of the table were ever written: behind them lies what was there
    /// before the file system was made.
    pub(super) inodes_written: u64,
    /// Whether this is from the copy in another group.
    pub(super) from_copy: bool,
}

impl Volume {
    /// The descriptor of `group`, or where it should be and why it cannot be had.
    pub(super) fn group(&self, group: u64) -> Result<Group, (ByteOffset, Cause)> {
        let outside = || Cause::Corrupt(format!("there is no block group {group}"));
        let per_block = self.descriptors_per_block();
        let index = group.checked_div(per_block).unwrap_or(0);
        let inside = group
            .checked_rem(per_block)
            .and_then(|n| n.checked_mul(self.sb.desc_bytes as u64))
            .unwrap_or(0);
        let place = |block: u64| {
            let start = self.sb.block.offset_of(BlockNumber::new(block))?;
            start.checked_add(inside)
        };
        let at = self
            .descriptor_block(index)
            .filter(|_| group < self.sb.groups())
            .and_then(place)
            .ok_or_else(|| (ByteOffset::ZERO, outside()))?;
        let why = match self.descriptor_at(at, group) {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        for at in self.descriptor_copies(index).filter_map(place) {
            if let Ok(copy) = self.descriptor_at(at, group) {
                return Ok(Group {
                    inodes_used: None,
                    inodes_written: self.sb.inodes_per_group.get(),
                    from_copy: true,
                    ..copy
                });
            }
        }
        self.former_descriptor(at, group, inside).ok_or((at, why))
    }

    /// The descriptor of `group`, which should lie at `at`, `inside` its block, as the journal
    /// still has it.
    fn former_descriptor(&self, at: ByteOffset, group: u64, inside: u64) -> Option<Group> {
        let block = at.get().checked_sub(inside)?;
        let block = block.checked_div(self.sb.block.get().into())?;
        let inside = usize::try_from(inside).ok()?;
        self.former_blocks(block).find_map(|bytes| {
            let stop = inside.checked_add(self.sb.desc_bytes)?;
            self.descriptor(bytes.get(inside..stop)?, group).ok()
        })
    }

    /// Whether the inode `number` is in use by the bitmap of its group, or was never by the count
    /// in its descriptor; `None` if neither can be had.
    pub(super) fn is_allocated(&self, number: u64) -> Option<bool> {
        (!self.tables.alone && number <= self.sb.inodes).then_some(())?;
        let index = number.checked_sub(1)?;
        let per_group = self.sb.inodes_per_group.get();
        let inside = index.checked_rem(per_group)?;
        let group = self.group(index.checked_div(per_group)?).ok()?;
        if group.inodes_used.is_some_and(|used| inside >= used) {
            return Some(false);
        }
        let [_, bitmap] = group.bitmaps;
        let bitmap = self.block(bitmap).ok()?;
        // A group in which something was ever in use has a bitmap that says of what.
        bitmap.iter().any(|byte| *byte != 0).then_some(())?;
        let byte = bitmap.get(usize::try_from(inside.checked_div(8)?).ok()?)?;
        let bit = u32::try_from(inside.checked_rem(8)?).ok()?;
        Some(byte.checked_shr(bit)? & 1 == 1)
    }

    /// How many descriptors fill a block.
    pub(super) fn descriptors_per_block(&self) -> u64 {
        let bytes = self.sb.desc_bytes as u64;
        u64::from(self.sb.block.get())
            .checked_div(bytes)
            .unwrap_or(1)
    }

    /// Where the descriptor block `index` lies.
    fn descriptor_block(&self, index: u64) -> Option<u64> {
        // The superblock lies 1024 bytes into the volume: in block 1 if blocks are that small.
        let small = self.sb.block.get() == 1024;
        if !self.sb.in_meta_group(index) {
            return index.checked_add(u64::from(small))?.checked_add(1);
        }
        let group = index.checked_mul(self.descriptors_per_block())?;
        let mut ahead = u64::from(self.sb.has_copy(group));
        if small && group == 0 && self.sb.first_data_block == 0 {
            ahead = ahead.checked_add(1)?;
        }
        self.sb.first_block_of(group)?.checked_add(ahead)
    }

    /// Where the copies of the descriptor block `index` lie, the first few of them.
    fn descriptor_copies(&self, index: u64) -> impl Iterator<Item = u64> {
        let meta = self.sb.in_meta_group(index);
        let per_block = self.descriptors_per_block();
        let first = index.saturating_mul(per_block);
        let groups = if meta {
            // The second group of the meta group, and its last.
            let last = first.saturating_add(per_block.saturating_sub(1));
            vec![first.saturating_add(1), last]
        } else {
            (1..=LAST_COPY)
                .filter(|group| self.sb.has_copy(*group))
                .take(COPIES_TRIED)
                .collect()
        };
        groups
            .into_iter()
            .filter(|group| *group < self.sb.groups())
            .filter_map(move |group| {
                let start = self.sb.first_block_of(group)?;
                let ahead = if meta {
                    u64::from(self.sb.has_copy(group))
                } else {
                    index.checked_add(1)?
                };
                start.checked_add(ahead)
            })
    }

    fn descriptor_at(&self, at: ByteOffset, group: u64) -> Result<Group, Cause> {
        let bytes = self.cache.read(at, self.sb.desc_bytes)?;
        self.descriptor(&bytes, group)
    }

    fn descriptor(&self, bytes: &[u8], group: u64) -> Result<Group, Cause> {
        let cut = || Cause::Corrupt("the group descriptor is cut short".to_owned());
        let (stored, computed) = self.descriptor_checksum(bytes, group).ok_or_else(cut)?;
        if computed.is_some_and(|sum| sum != stored) {
            return Err(Cause::Corrupt(
                "the checksum of the group descriptor is wrong".to_owned(),
            ));
        }
        let found = parse(bytes, self, computed.is_some()).ok_or_else(cut)?;
        let table_bytes = self
            .sb
            .inodes_per_group
            .get()
            .saturating_mul(self.sb.inode_bytes as u64);
        let table_blocks = table_bytes.div_ceil(u64::from(self.sb.block.get()).max(1));
        let last = found
            .inode_table
            .saturating_add(table_blocks.saturating_sub(1));
        if self.sb.offset_of(found.inode_table).is_none() || self.sb.offset_of(last).is_none() {
            return Err(Cause::Corrupt(format!(
                "the group descriptor puts the inode table at block {}, outside the file system",
                found.inode_table
            )));
        }
        Ok(found)
    }

    /// `bg_checksum`, and what it should be if the file system keeps it.
    fn descriptor_checksum(&self, bytes: &[u8], group: u64) -> Option<(u16, Option<u16>)> {
        let f = Fields::new(bytes);
        let stored = f.le_u16(BG_CHECKSUM_AT)?;
        let number = u32::try_from(group).ok()?.to_le_bytes();
        let head = f.slice(0, BG_CHECKSUM_AT)?;
        let tail = f.from(BG_CHECKSUM_AT.checked_add(2)?)?.bytes();
        let computed = if let Some(seed) = self.sb.seed {
            let sum = crc32c(crc32c(seed, &number), head);
            let [low, high, ..] = crc32c(crc32c(sum, &[0, 0]), tail).to_le_bytes();
            Some(u16::from_le_bytes([low, high]))
        } else if self.sb.features.ro_compat(RO_COMPAT_GDT_CSUM) {
            let sum = crc16(crc16(crc16(!0, &self.sb.uuid), &number), head);
            let wide = self.sb.features.incompat(INCOMPAT_64BIT);
            Some(if wide { crc16(sum, tail) } else { sum })
        } else {
            None
        };
        Some((stored, computed))
    }
}

/// The fields; `counted` if the file system keeps `bg_flags` and `bg_itable_unused`.
fn parse(bytes: &[u8], volume: &Volume, counted: bool) -> Option<Group> {
    let f = Fields::new(bytes);
    let wide = volume.sb.features.incompat(INCOMPAT_64BIT);
    let high = if wide { f.le_u32(0x28)? } else { 0 };
    let unused_high = if wide { f.le_u16(0x32)? } else { 0 };
    let unused = u64::from(unused_high) << 16 | u64::from(f.le_u16(0x1C)?);
    let all = volume.sb.inodes_per_group.get();
    let flags = f.le_u16(0x12)?;
    let used = if flags & INODE_UNINIT != 0 {
        0
    } else {
        all.saturating_sub(unused)
    };
    let bitmap = |low: usize, high: usize| {
        let high = if wide { f.le_u32(high)? } else { 0 };
        Some(u64::from(high) << 32 | u64::from(f.le_u32(low)?))
    };
    Some(Group {
        bitmaps: [bitmap(0x0, 0x20)?, bitmap(0x4, 0x24)?],
        inode_table: u64::from(high) << 32 | u64::from(f.le_u32(0x8)?),
        inodes_used: counted.then_some(used),
        inodes_written: match counted && flags & INODE_ZEROED == 0 {
            true => used,
            false => all,
        },
        from_copy: false,
    })
}
