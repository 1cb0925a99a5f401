//! Inodes: `struct ext4_inode`, in the tables of the block groups.
//!
//! Source: Linux `Documentation/filesystems/ext4/inodes.rst` (fields, timestamps, `i_flags`) and
//! `checksums.rst`. An inode is given only if it is in use, its mode names a kind of file, its
//! size fits, and its checksum, where there is one, is right.

use evidence::{ByteOffset, Cause, Fields, Loss};

use super::checksum::{crc32c, crc32c_seed, mended};
use super::features::{INCOMPAT_LARGEDIR, RO_COMPAT_HUGE_FILE};
use super::volume::{Volume, corrupt};
use crate::{FileKind, Inode, InodeNumber, Standing, Timestamp};

/// `EXT4_ROOT_INO`.
pub(super) const ROOT: InodeNumber = InodeNumber(2);
/// Where `i_block` lies in the inode.
pub(super) const I_BLOCK_AT: usize = 0x28;
/// How long `i_block` is: 15 block numbers, or the root of an extent tree, or contents.
pub(super) const I_BLOCK_BYTES: usize = 60;
/// `EXT4_GOOD_OLD_INODE_SIZE`: where the fields begin that `i_extra_isize` counts.
pub(super) const OLD_BYTES: usize = 128;

/// `EXT4_ENCRYPT_FL`.
pub(super) const ENCRYPT_FL: u32 = 0x800;
/// `EXT4_HUGE_FILE_FL`: `i_blocks` counts blocks of the file system.
const HUGE_FILE_FL: u32 = 0x40000;
/// `EXT4_EXTENTS_FL`.
pub(super) const EXTENTS_FL: u32 = 0x80000;
/// `EXT4_EA_INODE_FL`: the inode is the value of an extended attribute.
const EA_INODE_FL: u32 = 0x20_0000;
/// `EXT4_INLINE_DATA_FL`.
pub(super) const INLINE_DATA_FL: u32 = 0x1000_0000;

/// The fields of an inode, as they stand there.
pub(super) struct RawInode {
    i_mode: u16,
    i_uid: u32,
    i_gid: u32,
    i_size_lo: u32,
    i_size_high: u32,
    i_dtime: u32,
    i_links_count: u16,
    i_blocks: u64,
    i_file_acl: u64,
    /// `i_flags`.
    pub(super) i_flags: u32,
    /// `i_block`.
    pub(super) i_block: [u8; I_BLOCK_BYTES],
    /// `i_generation`: part of the seed of the checksums of the inode's blocks.
    pub(super) i_generation: u32,
    /// `i_extra_isize`; 0 in inodes of 128 bytes.
    pub(super) i_extra_isize: u16,
    accessed: Timestamp,
    changed: Timestamp,
    modified: Timestamp,
    created: Option<Timestamp>,
    i_checksum: u32,
}

impl RawInode {
    /// Takes the fields out of `bytes`, an inode as long as `s_inode_size` says.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let f = Fields::new(bytes);
        f.slice(0, OLD_BYTES)?;
        let i_extra_isize = if bytes.len() > OLD_BYTES {
            f.le_u16(0x80)?
        } else {
            0
        };
        // A field beyond `i_extra_isize` is not there, whatever the bytes say.
        let end = OLD_BYTES.saturating_add(i_extra_isize.into());
        let extra = |at: usize| {
            f.le_u32(at)
                .filter(|_| at.saturating_add(4) <= end)
                .unwrap_or(0)
        };
        let checksum_high = f
            .le_u16(0x82)
            .filter(|_| i_extra_isize >= 4)
            .unwrap_or_default();
        let wide = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        Some(Self {
            i_mode: f.le_u16(0x0)?,
            i_uid: wide(f.le_u16(0x78)?, f.le_u16(0x2)?),
            i_gid: wide(f.le_u16(0x7A)?, f.le_u16(0x18)?),
            i_size_lo: f.le_u32(0x4)?,
            i_size_high: f.le_u32(0x6C)?,
            i_dtime: f.le_u32(0x14)?,
            i_links_count: f.le_u16(0x1A)?,
            i_blocks: u64::from(f.le_u16(0x74)?) << 32 | u64::from(f.le_u32(0x1C)?),
            i_file_acl: u64::from(f.le_u16(0x76)?) << 32 | u64::from(f.le_u32(0x68)?),
            i_flags: f.le_u32(0x20)?,
            i_block: f.array(I_BLOCK_AT)?,
            i_generation: f.le_u32(0x64)?,
            i_extra_isize,
            accessed: timestamp(f.le_i32(0x8)?, extra(0x8C)),
            changed: timestamp(f.le_i32(0xC)?, extra(0x84)),
            modified: timestamp(f.le_i32(0x10)?, extra(0x88)),
            created: f
                .le_i32(0x90)
                .filter(|_| end >= 0x94)
                .map(|seconds| timestamp(seconds, extra(0x94))),
            i_checksum: wide(checksum_high, f.le_u16(0x7C)?),
        })
    }

    /// Whether a flag of `i_flags` is on.
    pub(super) const fn has(&self, flag: u32) -> bool {
        self.i_flags & flag != 0
    }

    /// Whether nothing was ever an inode here: a kernel that makes a table anew with checksums
    /// leaves those alone in places that are not in use.
    pub(super) fn is_blank(&self) -> bool {
        self.is_zero() && self.i_dtime == 0 && self.i_size_lo == 0
    }

    /// Whether `i_block` leads anywhere.
    pub(super) fn has_map(&self) -> bool {
        let f = Fields::new(&self.i_block);
        if self.has(INLINE_DATA_FL) {
            return true;
        }
        if self.has(EXTENTS_FL) {
            // `eh_entries`.
            return f.le_u16(2).is_some_and(|entries| entries > 0);
        }
        self.i_block.iter().any(|byte| *byte != 0)
    }

    fn is_zero(&self) -> bool {
        self.i_mode == 0 && self.i_links_count == 0
    }
}

/// Seconds since 1970, whose bits 32 and 33 are the lowest two of `extra`; nanoseconds above them.
fn timestamp(seconds: i32, extra: u32) -> Timestamp {
    let epoch = i64::from(extra & 3) << 32;
    Timestamp {
        seconds: i64::from(seconds).saturating_add(epoch),
        nanoseconds: (extra >> 2).min(999_999_999),
    }
}

impl Volume {
    /// The inode with this number.
    pub(super) fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        let (at, in_use) = self.inode_place(number)?;
        let what = || format!("inode {number}");
        let bytes = self
            .cache
            .read(at, self.sb.inode_bytes)
            .map_err(|cause| self.loss(what(), at, cause))?;
        // A table that was never written may hold what an older file system left there. Where
        // inodes have checksums, those tell; else the count of the group is all there is.
        if !in_use && self.sb.seed.is_none() && !self.patch.inodes.contains(&number.0) {
            let cause = corrupt("not in use: its part of the inode table was never written");
            return Err(self.loss(what(), at, cause));
        }
        self.inode_from_raw(number, at, bytes)
    }

    /// The inode `number` whose bytes are `raw`, found at `at`.
    pub(super) fn inode_from_raw(
        &self,
        number: InodeNumber,
        at: ByteOffset,
        raw: Vec<u8>,
    ) -> Result<Inode, Loss> {
        self.checked_inode(number, at, raw, Standing::InUse)
    }

    /// The inode `number` whose bytes are `raw`, found at `at`, as it was before it was deleted.
    ///
    /// It may have no names any more and a time of deletion; all else is checked.
    pub(super) fn former_inode(
        &self,
        number: InodeNumber,
        at: ByteOffset,
        raw: Vec<u8>,
    ) -> Result<Inode, Loss> {
        self.checked_inode(number, at, raw, Standing::Deleted)
    }

    fn checked_inode(
        &self,
        number: InodeNumber,
        at: ByteOffset,
        raw: Vec<u8>,
        standing: Standing,
    ) -> Result<Inode, Loss> {
        let lost = |cause| self.loss(format!("inode {number}"), at, cause);
        let f = RawInode::parse(&raw).ok_or_else(|| lost(corrupt("it is cut short")))?;
        if f.is_zero() {
            return Err(lost(corrupt("not in use: no mode and no names")));
        }
        if self.sb.seed.is_some() && self.inode_checksum(number, &f, &raw) != Some(f.i_checksum) {
            let wrong = || lost(corrupt("its checksum is wrong"));
            let raw = self.mended_inode(number, &f, &raw).ok_or_else(wrong)?;
            return self.checked_inode(number, at, raw, standing);
        }
        if standing == Standing::InUse {
            self.check_in_use(&f).map_err(lost)?;
        }
        let kind = self.check_inode(&f, raw.len()).map_err(lost)?;
        Ok(Inode {
            number,
            standing,
            kind,
            mode: f.i_mode,
            uid: f.i_uid,
            gid: f.i_gid,
            links: f.i_links_count.into(),
            size: self.size_of(&f, kind),
            accessed: f.accessed,
            modified: f.modified,
            changed: f.changed,
            created: f.created,
            place: at,
            raw,
        })
    }

    /// The inode `raw` with the one bit turned back that its checksum says has turned.
    fn mended_inode(&self, number: InodeNumber, f: &RawInode, raw: &[u8]) -> Option<Vec<u8>> {
        // Contents in the inode are read from the disk, where the bit stays as it is.
        if f.has(INLINE_DATA_FL) || f.i_extra_isize < 4 || f.i_mode & 0xF000 == 0xA000 {
            return None;
        }
        let computed = self.inode_checksum(number, f, raw)?;
        let mut mended = mended(raw, f.i_checksum, computed)?;
        let again = RawInode::parse(&mended)?;
        if self.inode_checksum(number, &again, &mended) != Some(again.i_checksum) {
            // The bit was one of the checksum itself.
            self.seal_inode(number, &mut mended)?;
        }
        let again = RawInode::parse(&mended)?;
        let right = self.inode_checksum(number, &again, &mended) == Some(again.i_checksum);
        let same = again.i_checksum ^ f.i_checksum;
        (right && (same == 0 || same.is_power_of_two())).then_some(mended)
    }

    /// Where the inode lies, and whether its group says that the place was ever in use.
    fn inode_place(&self, number: InodeNumber) -> Result<(ByteOffset, bool), Loss> {
        let what = || format!("inode {number}");
        let index = number
            .0
            .checked_sub(1)
            .filter(|_| number.0 <= self.sb.inodes)
            .ok_or_else(|| {
                let cause = corrupt(format!("inode numbers go from 1 to {}", self.sb.inodes));
                self.loss(what(), ByteOffset::ZERO, cause)
            })?;
        if self.tables.alone {
            let at = self.place_by_tables(number).ok_or_else(|| {
                let cause = corrupt("the inode table that it lay in was not found");
                self.loss(what(), ByteOffset::ZERO, cause)
            })?;
            return Ok((at, true));
        }
        let per_group = self.sb.inodes_per_group.get();
        let group = index.checked_div(per_group).unwrap_or(0);
        let index = index.checked_rem(per_group).unwrap_or(0);
        let found = match self.group(group) {
            Ok(found) => found,
            Err((at, cause)) => {
                let what = format!("{} (descriptor of group {group})", what());
                let place = self.place_by_tables(number);
                return place
                    .map(|at| (at, true))
                    .ok_or_else(|| self.loss(what, at, cause));
            }
        };
        let at = self
            .nominal(found.inode_table)
            .checked_add(index.saturating_mul(self.sb.inode_bytes as u64))
            .ok_or_else(|| self.loss(what(), ByteOffset::ZERO, corrupt("its place overflows")))?;
        Ok((at, found.inodes_used.is_none_or(|used| index < used)))
    }

    /// Whether an inode in use is one that no directory lists.
    pub(super) fn is_unlisted(&self, inode: &Inode) -> bool {
        let by_flag = RawInode::parse(&inode.raw).is_some_and(|raw| raw.has(EA_INODE_FL));
        let mut numbers = self.sb.unlisted.iter().map(|number| u64::from(*number));
        by_flag || numbers.any(|number| number == inode.number.0)
    }

    /// The block with the extended attributes of an inode.
    pub(super) fn attributes(&self, inode: &Inode) -> Option<u64> {
        let block = RawInode::parse(&inode.raw)?.i_file_acl;
        (block != 0).then_some(block)
    }

    /// Where the inode lies, if there is such a number.
    pub(super) fn place_of_inode(&self, number: InodeNumber) -> Option<ByteOffset> {
        self.inode_place(number).ok().map(|(at, _)| at)
    }

    /// The bytes of an inode, in use or not.
    pub(super) fn raw_inode(&self, number: InodeNumber) -> Option<Vec<u8>> {
        let at = self.place_of_inode(number)?;
        self.cache.read(at, self.sb.inode_bytes).ok()
    }

    /// Puts the checksum that belongs there into an inode, where the file system has checksums.
    pub(super) fn seal_inode(&self, number: InodeNumber, raw: &mut [u8]) -> Option<()> {
        let inode = RawInode::parse(raw)?;
        let Some(sum) = self.inode_checksum(number, &inode, raw) else {
            return Some(());
        };
        let [a, b, c, d] = sum.to_le_bytes();
        raw.get_mut(0x7C..0x7E)?.copy_from_slice(&[a, b]);
        if inode.i_extra_isize >= 4 {
            raw.get_mut(0x82..0x84)?.copy_from_slice(&[c, d]);
        }
        Some(())
    }

    /// The seed of the checksums of what belongs to an inode, where there are checksums.
    pub(super) fn inode_seed(&self, number: InodeNumber, generation: u32) -> Option<u32> {
        let number = u32::try_from(number.0).ok()?.to_le_bytes();
        let seed = crc32c(self.sb.seed?, &number);
        Some(crc32c(seed, &generation.to_le_bytes()))
    }

    /// What `i_checksum_lo` and, where it is there, `i_checksum_hi` should be.
    fn inode_checksum(&self, number: InodeNumber, inode: &RawInode, raw: &[u8]) -> Option<u32> {
        let f = Fields::new(raw);
        let mut sum = self.inode_seed(number, inode.i_generation)?;
        sum = crc32c(sum, f.slice(0, 0x7C)?);
        sum = crc32c(sum, &[0, 0]);
        sum = crc32c(sum, f.slice(0x7E, 2)?);
        if raw.len() <= OLD_BYTES {
            return Some(sum & 0xFFFF);
        }
        sum = crc32c(sum, f.slice(0x80, 2)?);
        if inode.i_extra_isize < 4 {
            return Some(crc32c(sum, f.from(0x82)?.bytes()) & 0xFFFF);
        }
        sum = crc32c(sum, &[0, 0]);
        Some(crc32c(sum, f.from(0x84)?.bytes()))
    }

    /// Whether it has names and no time of deletion.
    fn check_in_use(&self, f: &RawInode) -> Result<(), Cause> {
        if f.i_links_count == 0 {
            return Err(corrupt("not in use: it has no names left"));
        }
        // An inode that is being shortened is on the list of orphans, linked through `i_dtime`
        // by number. A real time of deletion is far above any such number.
        if f.i_dtime != 0 && u64::from(f.i_dtime) > self.sb.inodes {
            return Err(corrupt("not in use: it has a time of deletion"));
        }
        Ok(())
    }

    /// The kind of file, if the fields do not contradict each other.
    fn check_inode(&self, f: &RawInode, length: usize) -> Result<FileKind, Cause> {
        let kind = FileKind::from_mode(f.i_mode)
            .ok_or_else(|| corrupt(format!("its mode {:#o} names no kind of file", f.i_mode)))?;
        let extra = usize::from(f.i_extra_isize);
        if !extra.is_multiple_of(4) || extra > length.saturating_sub(OLD_BYTES) {
            return Err(corrupt(format!("i_extra_isize is {extra}")));
        }
        let size = self.size_of(f, kind);
        let most = u64::from(self.sb.block.get()).saturating_mul(1 << 32);
        if size > most {
            return Err(corrupt(format!("its size is {size} bytes")));
        }
        Ok(kind)
    }

    /// The size; `i_size_high` was something else before it was that, except in regular files.
    fn size_of(&self, f: &RawInode, kind: FileKind) -> u64 {
        let wide = match kind {
            FileKind::Special => return 0,
            FileKind::Regular => true,
            FileKind::Directory => self.sb.features.incompat(INCOMPAT_LARGEDIR),
            FileKind::Symlink => false,
        };
        let high = if wide { f.i_size_high } else { 0 };
        u64::from(high) << 32 | u64::from(f.i_size_lo)
    }

    /// Whether the target of a symbolic link stands in `i_block`: it has no blocks but for its
    /// extended attributes.
    pub(super) fn is_fast_symlink(&self, f: &RawInode, kind: FileKind, size: u64) -> bool {
        if kind != FileKind::Symlink
            || size >= I_BLOCK_BYTES as u64
            || f.has(INLINE_DATA_FL | EXTENTS_FL)
        {
            return false;
        }
        let huge = self.sb.features.ro_compat(RO_COMPAT_HUGE_FILE);
        let blocks = if huge {
            f.i_blocks
        } else {
            f.i_blocks & 0xFFFF_FFFF
        };
        let unit = if huge && f.has(HUGE_FILE_FL) {
            u64::from(self.sb.block.get())
        } else {
            512
        };
        // With bigalloc the attributes take a whole cluster.
        let attributes = if f.i_file_acl == 0 {
            0
        } else {
            self.sb.cluster_bytes
        };
        blocks.saturating_mul(unit) <= attributes
    }
}

/// What the checksum of an inode says of its number: the seed of the file system's checksums,
/// exclusive-or the number. `None` where only half of a checksum is kept.
///
/// The checksum is made from the seed, the number, the generation and the inode, in this order.
/// All steps can be gone backwards, and the first four bytes only enter by exclusive-or.
pub(super) fn mixed_seed(raw: &[u8]) -> Option<u32> {
    let inode = RawInode::parse(raw)?;
    (inode.i_extra_isize >= 4).then_some(())?;
    let f = Fields::new(raw);
    let mut sum = crc32c_seed(inode.i_checksum, f.from(0x84)?.bytes());
    sum = crc32c_seed(sum, &[0, 0]);
    sum = crc32c_seed(sum, f.slice(0x7E, 4)?);
    sum = crc32c_seed(sum, &[0, 0]);
    sum = crc32c_seed(sum, f.slice(0, 0x7C)?);
    sum = crc32c_seed(sum, &inode.i_generation.to_le_bytes());
    Some(crc32c_seed(sum, &[0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn the_epoch_bits_reach_from_1901_to_2446() {
        let at = |seconds, extra| timestamp(seconds, extra);
        assert_eq!(at(-1, 0).seconds, -1);
        assert_eq!(at(i32::MIN, 1).seconds, 0x8000_0000, "19 January 2038");
        assert_eq!(at(i32::MAX, 3).seconds, 0x3_7FFF_FFFF, "10 May 2446");
        assert_eq!(at(0, 123_456_789 << 2).nanoseconds, 123_456_789);
        assert_eq!(at(0, u32::MAX).nanoseconds, 999_999_999);
    }

    #[test]
    fn fields_beyond_the_extra_size_are_not_there() {
        let mut bytes = vec![0xFF; 256];
        bytes[0x80..0x82].copy_from_slice(&8_u16.to_le_bytes());
        let inode = RawInode::parse(&bytes).unwrap();
        assert_eq!(inode.changed.nanoseconds, 999_999_999, "i_ctime_extra fits");
        assert_eq!(inode.modified.nanoseconds, 0, "i_mtime_extra does not");
        assert_eq!(inode.created, None);
        assert_eq!(inode.i_checksum, 0xFFFF_FFFF);
        assert_eq!(RawInode::parse(&bytes[..128]).unwrap().i_checksum, 0xFFFF);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..520)) {
            let parsed = RawInode::parse(&bytes);
            assert_eq!(parsed.is_some(), bytes.len() == 128 || bytes.len() >= 130);
        }
    }
}
