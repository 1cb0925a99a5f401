//! Blocks of XFS that state their own address.
//!
//! Source: the kernel's `fs/xfs/libxfs/xfs_format.h` and `xfs_da_format.h`, by their names.

use evidence::Fields;

use super::{Kind, Stated};

pub(super) const SECTOR: u64 = 512;

/// `XFS_DINODE_MAGIC`, "IN".
pub(super) const INODE: u16 = 0x494E;

/// What the block at the start of `bytes` says of its place.
pub(super) fn stated(bytes: Fields<'_>) -> Option<Stated> {
    let magic = bytes.array::<4>(0)?;
    match &magic {
        b"XAGF" => return ag_header(bytes, 1, 64),
        b"XAGI" => return ag_header(bytes, 2, 296),
        _ => {}
    }
    let (block, uuid) = match &magic {
        // xfs_btree_block, short form: bb_blkno, bb_uuid.
        b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => (16, 32),
        // The long form.
        b"BMA3" => (24, 40),
        // xfs_dir3_blk_hdr.
        b"XDB3" | b"XDD3" | b"XDF3" => (8, 24),
        // xfs_dsymlink_hdr: sl_blkno, sl_uuid.
        b"XSLM" => (40, 16),
        _ => match bytes.be_u16(8)? {
            // xfs_da3_blkinfo of leaves and nodes.
            0x3df1 | 0x3dff | 0x3ebe | 0x3bee => (16, 32),
            _ => return inode(bytes),
        },
    };
    Some(Stated {
        uuid: bytes.array(uuid)?,
        kind: Kind::Address(bytes.be_u64(block)?.checked_mul(SECTOR)?),
    })
}

/// An AG header in sector number `sector` of its group; version 4 of XFS leaves `uuid` zero.
fn ag_header(bytes: Fields<'_>, sector: u64, uuid: usize) -> Option<Stated> {
    // agf_versionnum and agi_versionnum are 1; agf_seqno, agf_length.
    (bytes.be_u32(4)? == 1).then_some(())?;
    Some(Stated {
        uuid: bytes.array(uuid)?,
        kind: Kind::XfsGroup {
            number: bytes.be_u32(8)?,
            sector,
        },
    })
}

/// A version 3 inode: di_ino says in which group and block it lies.
fn inode(bytes: Fields<'_>) -> Option<Stated> {
    let version_3 = bytes.be_u16(0)? == INODE && bytes.u8(4)? == 3;
    version_3.then_some(())?;
    Some(Stated {
        uuid: bytes.array(160)?,
        kind: Kind::XfsInode(bytes.be_u64(152)?),
    })
}

/// What addresses follow from: sizes that any superblock of the file system states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sizes {
    pub(super) block: u64,
    pub(super) sector: u64,
    pub(super) inode: u64,
    pub(super) ag_blocks: u64,
    pub(super) inopblog: u32,
    pub(super) agblklog: u32,
    pub(super) inode_uuid: [u8; 16],
    pub(super) version: u16,
}

/// The sizes in a superblock, `xfs_dsb`, and the UUID that blocks carry.
pub(super) fn sizes(bytes: Fields<'_>) -> Option<Sizes> {
    (bytes.array::<4>(0)? == *b"XFSB").then_some(())?;
    let sizes = Sizes {
        block: u64::from(bytes.be_u32(4)?),
        sector: u64::from(bytes.be_u16(102)?),
        inode: u64::from(bytes.be_u16(104)?),
        ag_blocks: u64::from(bytes.be_u32(84)?),
        inopblog: u32::from(bytes.u8(123)?),
        agblklog: u32::from(bytes.u8(124)?),
        inode_uuid: bytes.array(32)?,
        // sb_versionnum, XFS_SB_VERSION_NUMBITS.
        version: bytes.be_u16(100)? & 0xF,
    };
    let sound = (512..=65536).contains(&sizes.block)
        && (512..=32768).contains(&sizes.sector)
        && (256..=2048).contains(&sizes.inode)
        && sizes.ag_blocks > 0
        && sizes.inopblog <= 8
        && sizes.agblklog <= 32;
    sound.then_some(sizes)
}

impl Sizes {
    /// The UUID of the file system.
    pub(super) const fn uuid(&self) -> [u8; 16] {
        self.inode_uuid
    }

    /// Whether its blocks state their address and carry its UUID, as they do from version 5 on.
    pub(super) const fn states_addresses(&self) -> bool {
        self.version >= 5
    }

    /// Where the AG header in sector `sector` of group `number` lies.
    pub(super) fn ag_header(&self, number: u32, sector: u64) -> Option<u64> {
        let group = self.ag_blocks.checked_mul(self.block)?;
        let start = group.checked_mul(u64::from(number))?;
        start.checked_add(sector.checked_mul(self.sector)?)
    }

    /// Where the block of this number lies.
    pub(super) fn block(&self, number: u64) -> Option<u64> {
        let group = number.checked_shr(self.agblklog)?;
        let mask = 1_u64.checked_shl(self.agblklog)?.checked_sub(1)?;
        let block = number & mask;
        (block < self.ag_blocks).then_some(())?;
        let block = group.checked_mul(self.ag_blocks)?.checked_add(block)?;
        block.checked_mul(self.block)
    }

    /// Where the inode of this number lies.
    pub(super) fn inode(&self, number: u64) -> Option<u64> {
        let group = number.checked_shr(self.agblklog.checked_add(self.inopblog)?)?;
        let mask = |bits: u32| 1_u64.checked_shl(bits).map(|one| one.wrapping_sub(1));
        let block = number.checked_shr(self.inopblog)? & mask(self.agblklog)?;
        let index = number & mask(self.inopblog)?;
        (block < self.ag_blocks).then_some(())?;
        let block = group.checked_mul(self.ag_blocks)?.checked_add(block)?;
        let start = block.checked_mul(self.block)?;
        start.checked_add(index.checked_mul(self.inode)?)
    }
}
