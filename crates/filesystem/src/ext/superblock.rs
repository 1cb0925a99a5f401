//! The superblock: `struct ext4_super_block`, 1024 bytes, 1024 bytes into the volume.
//!
//! Source: Linux `Documentation/filesystems/ext4/super.rst`; for where the copies lie,
//! `blockgroup.rst`, “Sparse Superblocks” and “Meta Block Groups”.

use std::num::NonZeroU64;

use evidence::{BlockNumber, BlockSize, ByteOffset, Fields};

use super::checksum::crc32c;
use super::features::{
    COMPAT_HAS_JOURNAL, COMPAT_SPARSE_SUPER2, Features, INCOMPAT_64BIT, INCOMPAT_CSUM_SEED,
    INCOMPAT_EXTENTS, INCOMPAT_FILETYPE, INCOMPAT_META_BG, RO_COMPAT_BIGALLOC,
    RO_COMPAT_METADATA_CSUM, RO_COMPAT_SPARSE_SUPER,
};
use super::found::Shape;
use crate::Kind;

/// Where the primary superblock lies.
pub(super) const SUPERBLOCK_AT: ByteOffset = ByteOffset::new(1024);
/// How long it is.
pub(super) const SUPERBLOCK_BYTES: usize = 1024;

const S_MAGIC: u16 = 0xEF53;
/// `EXT4_GOOD_OLD_INODE_SIZE`, the size of all inodes at `s_rev_level` 0.
const OLD_INODE_BYTES: u16 = 128;
/// `EXT4_MIN_DESC_SIZE`, the size of all group descriptors without the 64bit feature.
const OLD_DESC_BYTES: u16 = 32;
const EXT4_MIN_DESC_SIZE_64BIT: u16 = 64;
const EXT4_MAX_DESC_SIZE: u16 = 1024;
/// `s_checksum_type` of CRC-32C, the only one there is.
const CHECKSUM_CRC32C: u8 = 1;
/// `EXT3_JNL_BACKUP_BLOCKS`.
const JNL_BACKUP_BLOCKS: u8 = 1;

/// Why bytes are not a superblock that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The magic number is not there.
    NotExt,
    /// It contradicts itself.
    Corrupt(String),
    /// It asks for what cannot be read here.
    Unsupported(String),
}

/// What the superblock says of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalPlace {
    /// `s_journal_inum`; 0 if the journal is on another device.
    pub(super) inode: u64,
    /// `s_journal_uuid`: that of the other device.
    pub(super) uuid: [u8; 16],
    /// `s_jnl_blocks`: `i_block` and the size of the journal's inode, if they are kept.
    pub(super) backup: Option<([u8; 60], u64)>,
}

/// A superblock whose numbers fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// `s_log_block_size`.
    pub(super) block: BlockSize,
    /// `s_blocks_count`.
    pub(super) blocks: u64,
    /// `s_first_data_block`: the block that group 0 begins with.
    pub(super) first_data_block: u64,
    /// `s_blocks_per_group`.
    pub(super) blocks_per_group: NonZeroU64,
    /// `s_inodes_count`.
    pub(super) inodes: u64,
    /// `s_inodes_per_group`.
    pub(super) inodes_per_group: NonZeroU64,
    /// `s_inode_size`.
    pub(super) inode_bytes: usize,
    /// `s_desc_size`, or the 32 bytes of old.
    pub(super) desc_bytes: usize,
    /// `s_log_cluster_size`, in bytes: what bigalloc allocates, else a block.
    pub(super) cluster_bytes: u64,
    /// `s_first_meta_bg`.
    first_meta_bg: u64,
    /// `s_backup_bgs`.
    backup_bgs: [u32; 2],
    /// `s_feature_*`.
    pub(super) features: Features,
    /// `s_uuid`.
    pub(super) uuid: [u8; 16],
    /// `s_volume_name`.
    pub(super) label: String,
    /// `s_rev_level`.
    pub(super) revision: u32,
    /// `s_state`.
    pub(super) state: u16,
    /// `s_error_count`.
    pub(super) error_count: u32,
    /// `s_last_orphan`.
    pub(super) last_orphan: u32,
    /// `s_block_group_nr`: the group that this copy lies in.
    pub(super) group_of_copy: u16,
    /// `s_prj_quota_inum` and `s_orphan_file_inum`: inodes in use that nothing lists.
    pub(super) unlisted: [u32; 2],
    /// The journal, if the file system has one.
    pub(super) journal: Option<JournalPlace>,
    /// The seed of all metadata checksums; `None` where they are off, or of an unknown kind.
    pub(super) seed: Option<u32>,
    /// Whether `s_checksum` is right; `None` where checksums are off.
    pub(super) checksum_holds: Option<bool>,
}

impl Superblock {
    /// Reads a superblock and checks its numbers against each other.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::new(bytes);
        if fields.le_u16(0x38) != Some(S_MAGIC) {
            return Err(Refusal::NotExt);
        }
        let short = || Refusal::Corrupt("the superblock is cut short".to_owned());
        let raw = Raw::take(fields).ok_or_else(short)?;
        if let Some(why) = raw.features.refusal() {
            return Err(Refusal::Unsupported(why));
        }
        raw.check(bytes)
            .map_err(|what| Refusal::Corrupt(format!("the superblock contradicts itself: {what}")))
    }

    /// The superblock of a file system that has none any more, with all that is known of it.
    ///
    /// What is not known has the value under which nothing is refused that could be read.
    pub(super) fn assumed(shape: &Shape) -> Self {
        let small = u64::from(shape.block.get() == 1024);
        let features = Features {
            compat: 0,
            incompat: INCOMPAT_FILETYPE | if shape.extents { INCOMPAT_EXTENTS } else { 0 },
            ro_compat: RO_COMPAT_SPARSE_SUPER
                | if shape.seed.is_some() {
                    RO_COMPAT_METADATA_CSUM
                } else {
                    0
                },
        };
        Self {
            block: shape.block,
            blocks: shape.blocks,
            first_data_block: small,
            blocks_per_group: NonZeroU64::new(u64::from(shape.block.get()) * 8)
                .unwrap_or(NonZeroU64::MIN),
            inodes: u32::MAX.into(),
            inodes_per_group: NonZeroU64::MIN,
            inode_bytes: shape.inode_bytes,
            desc_bytes: OLD_DESC_BYTES.into(),
            cluster_bytes: shape.block.get().into(),
            first_meta_bg: 0,
            backup_bgs: [0; 2],
            features,
            uuid: [0; 16],
            label: String::new(),
            revision: 1,
            state: 0,
            error_count: 0,
            last_orphan: 0,
            group_of_copy: 0,
            unlisted: [0; 2],
            journal: None,
            seed: shape.seed,
            checksum_holds: None,
        }
    }

    /// Where `block` begins, if it is one of this file system's that a file may use.
    ///
    /// Block `s_first_data_block` holds the superblock, so no pointer may lead there.
    pub(super) fn offset_of(&self, block: u64) -> Option<ByteOffset> {
        if block <= self.first_data_block || block >= self.blocks {
            return None;
        }
        self.block.offset_of(BlockNumber::new(block))
    }

    /// How many block groups there are; the last may be short.
    pub(super) const fn groups(&self) -> u64 {
        self.blocks
            .saturating_sub(self.first_data_block)
            .div_ceil(self.blocks_per_group.get())
    }

    /// The block that `group` begins with.
    pub(super) fn first_block_of(&self, group: u64) -> Option<u64> {
        group
            .checked_mul(self.blocks_per_group.get())?
            .checked_add(self.first_data_block)
    }

    /// Whether `group` begins with a copy of the superblock.
    pub(super) fn has_copy(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.features.compat(COMPAT_SPARSE_SUPER2) {
            return self.backup_bgs.iter().any(|bg| u64::from(*bg) == group);
        }
        if group == 1 || !self.features.ro_compat(RO_COMPAT_SPARSE_SUPER) {
            return true;
        }
        [3, 5, 7].iter().any(|base| is_power_of(group, *base))
    }

    /// Whether the descriptors that fill descriptor block `index` lie in their own meta block group.
    pub(super) const fn in_meta_group(&self, index: u64) -> bool {
        self.features.incompat(INCOMPAT_META_BG) && index >= self.first_meta_bg
    }

    /// The kind, by its features, as `blkid` tells them apart.
    pub(super) const fn kind(&self) -> Kind {
        if self.features.need_ext4() {
            Kind::Ext4
        } else if self.features.compat(COMPAT_HAS_JOURNAL) {
            Kind::Ext3
        } else {
            Kind::Ext2
        }
    }

    /// Whether two copies describe the same layout.
    pub(super) fn same_layout(&self, other: &Self) -> bool {
        self.block == other.block
            && self.blocks_per_group == other.blocks_per_group
            && self.inodes_per_group == other.inodes_per_group
            && self.inode_bytes == other.inode_bytes
            && self.desc_bytes == other.desc_bytes
            && self.uuid == other.uuid
    }
}

fn is_power_of(mut number: u64, base: u64) -> bool {
    while number > 1 && number.checked_rem(base) == Some(0) {
        number = number.checked_div(base).unwrap_or(0);
    }
    number == 1
}

/// The fields as they stand there.
struct Raw {
    s_inodes_count: u32,
    s_blocks_count: u64,
    s_first_data_block: u32,
    s_log_block_size: u32,
    s_log_cluster_size: u32,
    s_blocks_per_group: u32,
    s_inodes_per_group: u32,
    s_rev_level: u32,
    s_inode_size: u16,
    s_desc_size: u16,
    features: Features,
    s_checksum_type: u8,
    s_checksum_seed: u32,
    s_checksum: u32,
}

impl Raw {
    fn take(f: Fields<'_>) -> Option<Self> {
        let s_rev_level = f.le_u32(0x4C)?;
        let dynamic = s_rev_level >= 1;
        let features = if dynamic {
            Features {
                compat: f.le_u32(0x5C)?,
                incompat: f.le_u32(0x60)?,
                ro_compat: f.le_u32(0x64)?,
            }
        } else {
            Features::default()
        };
        let wide = features.incompat(INCOMPAT_64BIT);
        let high = if wide { f.le_u32(0x150)? } else { 0 };
        Some(Self {
            s_inodes_count: f.le_u32(0x0)?,
            s_blocks_count: u64::from(high) << 32 | u64::from(f.le_u32(0x4)?),
            s_first_data_block: f.le_u32(0x14)?,
            s_log_block_size: f.le_u32(0x18)?,
            s_log_cluster_size: f.le_u32(0x1C)?,
            s_blocks_per_group: f.le_u32(0x20)?,
            s_inodes_per_group: f.le_u32(0x28)?,
            s_rev_level,
            s_inode_size: if dynamic {
                f.le_u16(0x58)?
            } else {
                OLD_INODE_BYTES
            },
            s_desc_size: if wide {
                f.le_u16(0xFE)?
            } else {
                OLD_DESC_BYTES
            },
            features,
            s_checksum_type: f.u8(0x175)?,
            s_checksum_seed: f.le_u32(0x270)?,
            s_checksum: f.le_u32(0x3FC)?,
        })
    }

    /// The layout, or what is wrong with it.
    fn check(self, bytes: &[u8]) -> Result<Superblock, String> {
        let f = Fields::new(bytes);
        let block = 1024_u32
            .checked_shl(self.s_log_block_size)
            .filter(|_| self.s_log_block_size <= 6)
            .and_then(BlockSize::new)
            .ok_or_else(|| format!("s_log_block_size is {}", self.s_log_block_size))?;
        self.check_sizes(block)?;
        let blocks_per_group = self.check_groups(block)?;
        let inodes_per_group = NonZeroU64::new(self.s_inodes_per_group.into())
            .filter(|count| count.get() <= u64::from(block.get()).saturating_mul(8))
            .ok_or_else(|| format!("s_inodes_per_group is {}", self.s_inodes_per_group))?;
        let cut = || "it is cut short".to_owned();
        let uuid: [u8; 16] = f.array(0x68).ok_or_else(cut)?;
        let checksums = self.features.ro_compat(RO_COMPAT_METADATA_CSUM)
            && self.s_checksum_type == CHECKSUM_CRC32C;
        let seed = if self.features.incompat(INCOMPAT_CSUM_SEED) {
            self.s_checksum_seed
        } else {
            crc32c(!0, &uuid)
        };
        let checked = f.slice(0, 0x3FC).ok_or_else(cut)?;
        let rest = Rest::take(f, self.features).ok_or_else(cut)?;
        Ok(Superblock {
            block,
            blocks: self.s_blocks_count,
            first_data_block: self.s_first_data_block.into(),
            blocks_per_group,
            inodes: self.s_inodes_count.into(),
            inodes_per_group,
            inode_bytes: self.s_inode_size.into(),
            desc_bytes: self.s_desc_size.into(),
            cluster_bytes: self.cluster_bytes(block),
            first_meta_bg: rest.first_meta_bg,
            backup_bgs: rest.backup_bgs,
            features: self.features,
            uuid,
            label: rest.label,
            revision: self.s_rev_level,
            state: rest.state,
            error_count: rest.error_count,
            last_orphan: rest.last_orphan,
            group_of_copy: rest.group_of_copy,
            unlisted: rest.unlisted,
            journal: rest.journal,
            seed: checksums.then_some(seed),
            checksum_holds: checksums.then(|| crc32c(!0, checked) == self.s_checksum),
        })
    }

    fn cluster_bytes(&self, block: BlockSize) -> u64 {
        let bytes = if self.features.ro_compat(RO_COMPAT_BIGALLOC) {
            1024_u64.checked_shl(self.s_log_cluster_size)
        } else {
            None
        };
        bytes.unwrap_or(block.get().into())
    }

    fn check_sizes(&self, block: BlockSize) -> Result<(), String> {
        let inode = u32::from(self.s_inode_size);
        if !inode.is_power_of_two() || inode < OLD_INODE_BYTES.into() || inode > block.get() {
            return Err(format!("s_inode_size is {inode}"));
        }
        let desc = self.s_desc_size;
        let smallest = if self.features.incompat(INCOMPAT_64BIT) {
            EXT4_MIN_DESC_SIZE_64BIT
        } else {
            OLD_DESC_BYTES
        };
        if !desc.is_power_of_two() || desc < smallest || desc > EXT4_MAX_DESC_SIZE {
            return Err(format!("s_desc_size is {desc}"));
        }
        Ok(())
    }

    fn check_groups(&self, block: BlockSize) -> Result<NonZeroU64, String> {
        // A cluster of bigalloc is a power of two of blocks; a bitmap of one block counts clusters.
        let cluster_shift = if self.features.ro_compat(RO_COMPAT_BIGALLOC) {
            self.s_log_cluster_size.wrapping_sub(self.s_log_block_size)
        } else {
            0
        };
        let most = u64::from(block.get())
            .saturating_mul(8)
            .checked_shl(cluster_shift)
            .filter(|_| cluster_shift < 32)
            .ok_or_else(|| format!("s_log_cluster_size is {}", self.s_log_cluster_size))?;
        let blocks_per_group = NonZeroU64::new(self.s_blocks_per_group.into())
            .filter(|count| count.get() <= most)
            .ok_or_else(|| format!("s_blocks_per_group is {}", self.s_blocks_per_group))?;
        if u64::from(self.s_first_data_block) >= self.s_blocks_count
            || self.s_first_data_block > 1
            || self
                .s_blocks_count
                .checked_mul(u64::from(block.get()))
                .is_none()
        {
            return Err(format!(
                "s_first_data_block is {} and s_blocks_count {}",
                self.s_first_data_block, self.s_blocks_count
            ));
        }
        if self.s_inodes_count == 0 {
            return Err("s_inodes_count is 0".to_owned());
        }
        Ok(blocks_per_group)
    }
}

/// What needs no check against the rest.
struct Rest {
    first_meta_bg: u64,
    backup_bgs: [u32; 2],
    label: String,
    state: u16,
    error_count: u32,
    last_orphan: u32,
    group_of_copy: u16,
    unlisted: [u32; 2],
    journal: Option<JournalPlace>,
}

impl Rest {
    fn take(f: Fields<'_>, features: Features) -> Option<Self> {
        let name: [u8; 16] = f.array(0x78)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let journal = if features.compat(COMPAT_HAS_JOURNAL) {
            let size = u64::from(f.le_u32(0x148)?) << 32 | u64::from(f.le_u32(0x14C)?);
            let kept = f.u8(0xFD)? <= JNL_BACKUP_BLOCKS && size > 0;
            Some(JournalPlace {
                inode: f.le_u32(0xE0)?.into(),
                uuid: f.array(0xD0)?,
                backup: kept.then_some((f.array(0x10C)?, size)),
            })
        } else {
            None
        };
        Some(Self {
            first_meta_bg: f.le_u32(0x104)?.into(),
            backup_bgs: [f.le_u32(0x24C)?, f.le_u32(0x250)?],
            label: String::from_utf8_lossy(name).into_owned(),
            state: f.le_u16(0x3A)?,
            error_count: f.le_u32(0x194)?,
            last_orphan: f.le_u32(0xE8)?,
            group_of_copy: f.le_u16(0x5A)?,
            unlisted: [f.le_u32(0x26C)?, f.le_u32(0x280)?],
            journal,
        })
    }
}

/// Where `mke2fs` puts the first copies of the superblock, with the group and the size of the
/// blocks: it fills groups with as many blocks as one block of bitmap can count.
pub(super) fn usual_copies() -> impl Iterator<Item = (u16, BlockSize, ByteOffset)> {
    let sizes = (10..=16).filter_map(|shift| BlockSize::new(1 << shift));
    sizes.flat_map(|size| {
        [1_u16, 3, 5, 7].into_iter().filter_map(move |group| {
            let bytes = u64::from(size.get());
            let first_data_block = u64::from(bytes == 1024);
            let block = bytes
                .checked_mul(8)?
                .checked_mul(group.into())?
                .checked_add(first_data_block)?;
            let at = size.offset_of(BlockNumber::new(block))?;
            Some((group, size, at))
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    /// A superblock of ext2 with 4 KiB blocks, as a base for tests.
    pub(in crate::ext) fn plain() -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let mut put = |at: usize, value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
        };
        put(0x0, &512_u32.to_le_bytes());
        put(0x4, &4096_u32.to_le_bytes());
        put(0x18, &2_u32.to_le_bytes());
        put(0x1C, &2_u32.to_le_bytes());
        put(0x20, &32_768_u32.to_le_bytes());
        put(0x28, &512_u32.to_le_bytes());
        put(0x38, &S_MAGIC.to_le_bytes());
        put(0x4C, &1_u32.to_le_bytes());
        put(0x58, &256_u16.to_le_bytes());
        bytes
    }

    #[test]
    fn a_plain_superblock_is_ext2() {
        let sb = Superblock::parse(&plain()).unwrap();
        assert_eq!((sb.block.get(), sb.blocks, sb.groups()), (4096, 4096, 1));
        assert_eq!(sb.kind(), Kind::Ext2);
        assert_eq!(sb.offset_of(1), Some(ByteOffset::new(4096)));
        assert_eq!((sb.offset_of(0), sb.offset_of(4096)), (None, None));
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_corrupt_and_other_bytes_are_not_ext() {
        assert_eq!(Superblock::parse(&[0; 1024]), Err(Refusal::NotExt));
        assert_eq!(Superblock::parse(&[]), Err(Refusal::NotExt));
        for (at, value) in [(0x18, 7_u32), (0x20, 0), (0x28, 0), (0x58, 100), (0x4, 0)] {
            let mut bytes = plain();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(
                matches!(Superblock::parse(&bytes), Err(Refusal::Corrupt(_))),
                "{at:#x}"
            );
        }
    }

    #[test]
    fn sparse_copies_lie_in_powers_of_three_five_and_seven() {
        let mut bytes = plain();
        bytes[0x64] = 1;
        let sb = Superblock::parse(&bytes).unwrap();
        let with: Vec<u64> = (0..130).filter(|group| sb.has_copy(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn usual_copies_are_those_that_mke2fs_prints() {
        let first: Vec<u64> = usual_copies()
            .filter(|(group, _, _)| *group == 1)
            .map(|(_, size, at)| at.get() / u64::from(size.get()))
            .take(3)
            .collect();
        assert_eq!(first, [8193, 16_384, 32_768]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..1100),
            good in any::<u64>(),
        ) {
            if bytes.len() > 0x3A {
                bytes[0x38..0x3A].copy_from_slice(&S_MAGIC.to_le_bytes());
            }
            // Some fields are put right, so that the deeper checks are reached too.
            for (bit, (at, byte)) in plain().into_iter().enumerate().filter(|(_, b)| *b != 0).enumerate() {
                if good >> (bit % 64) & 1 == 1 && at < bytes.len() {
                    bytes[at] = byte;
                }
            }
            if let Ok(sb) = Superblock::parse(&bytes) {
                let _ = (sb.groups(), sb.kind(), sb.first_block_of(u64::MAX), sb.offset_of(u64::MAX));
            }
        }
    }
}
