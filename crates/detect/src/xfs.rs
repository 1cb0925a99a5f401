//! Blocks of XFS metadata: directories, B+trees, headers of allocation groups, inodes.
//!
//! Source: "XFS Algorithms & Data Structures" (kernel.org, 3rd edition) and Linux
//! `fs/xfs/libxfs/xfs_format.h`, `xfs_da_format.h`. Numbers are big-endian. Version 5 writes into
//! each block its own place, its owner and the UUID of the file system, and a CRC-32C.

use std::num::NonZeroU64;

use evidence::Fields;
use scan::{Detector, Family, Found, Place, SECTOR_ALIGN, Signature};

use crate::hex;

/// The longest block, in bytes: `XFS_MAX_BLOCKSIZE`, which directories' blocks keep to as well.
const MOST_BLOCK: usize = 64 << 10;

/// The detectors of XFS.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    let block = |magics, at, read| -> Box<dyn Detector> {
        Box::new(Signature {
            magics,
            at,
            align: SECTOR_ALIGN,
            reach: MOST_BLOCK,
            read,
        })
    };
    vec![
        block(&[b"XD2B", b"XD2D", b"XD2F"], 0, directory_v4),
        block(&[b"XDB3", b"XDD3", b"XDF3"], 0, directory_v5),
        block(
            &[&[0xD2, 0xF1], &[0xD2, 0xFF], &[0xFE, 0xBE], &[0xFB, 0xEE]],
            8,
            tree_v4,
        ),
        block(
            &[&[0x3D, 0xF1], &[0x3D, 0xFF], &[0x3E, 0xBE], &[0x3B, 0xEE]],
            8,
            tree_v5,
        ),
        block(&[b"ABTB", b"ABTC", b"IABT", b"FIBT", b"BMAP"], 0, btree_v4),
        block(
            &[b"AB3B", b"AB3C", b"IAB3", b"FIB3", b"RMB3", b"R3FC"],
            0,
            btree_v5_short,
        ),
        block(&[b"BMA3"], 0, btree_v5_long),
        block(&[b"XSLM", b"XARM"], 0, remote),
        Box::new(Signature {
            magics: &[b"XAGF", b"XAGI"],
            at: 0,
            align: SECTOR_ALIGN,
            reach: 512,
            read: group,
        }),
        Box::new(Signature {
            magics: &[b"IN"],
            at: 0,
            align: INODE_ALIGN,
            reach: 2048,
            read: inode,
        }),
    ]
}

/// Inodes are looked for at this distance: of those of 256 bytes every second is named.
const INODE_ALIGN: NonZeroU64 = SECTOR_ALIGN;

fn block(what: &'static str) -> Found {
    Found {
        family: Some(Family::Xfs),
        ..Found::new(what)
    }
}

/// Where a block of version 5 has what it says of itself.
struct Stated {
    crc: usize,
    /// Its address in sectors.
    blkno: usize,
    uuid: usize,
    owner: usize,
    /// Whether the owner is an inode: else the number of a group, in 32 bits.
    owner_is_inode: bool,
}

impl Stated {
    /// What a block of version 5 says of itself. It is one if its checksum holds for a size that
    /// blocks have, which then is its size. If that holds for none, a part of it may be gone, or
    /// lie on another disk: then its numbers must make sense.
    fn read(&self, what: &'static str, place: &Place<'_>) -> Option<Found> {
        let fields = Fields::new(place.bytes);
        let uuid = fields.slice(self.uuid, 16)?;
        let blkno = fields.be_u64(self.blkno)?;
        let owner = if self.owner_is_inode {
            fields.be_u64(self.owner)?
        } else {
            u64::from(fields.be_u32(self.owner)?)
        };
        if uuid.iter().all(|byte| *byte == 0) || blkno == 0 || blkno >> 54 != 0 {
            return None;
        }
        Some(Found {
            bytes: checked_size(place.bytes, self.crc),
            number: blkno.checked_mul(512),
            owner: Some(owner),
            part_of: Some(hex(uuid)),
            ..block(what)
        })
    }
}

/// The size for which the checksum at `crc` of the block that `bytes` begin with holds.
fn checked_size(bytes: &[u8], crc: usize) -> Option<u64> {
    let stored = Fields::new(bytes).le_u32(crc)?;
    (9..=16)
        .map(|bits| 1_usize << bits)
        .take_while(|size| *size <= bytes.len())
        .find(|size| {
            let head = bytes.get(..crc).unwrap_or_default();
            let tail = bytes.get(crc.saturating_add(4)..*size).unwrap_or_default();
            // The checksum is calculated with zeros in its own place.
            let sum = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
            crc32c::crc32c_append(sum, tail) == stored
        })
        .map(|size| size as u64)
}

/// `struct xfs_dir2_data_hdr`, `struct xfs_dir2_free_hdr`.
fn directory_v4(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    if place.bytes.starts_with(b"XD2F") {
        let (valid, used) = (fields.be_u32(8)?, fields.be_u32(12)?);
        return (used <= valid && valid < 1 << 15).then(|| block("xfs-directory"));
    }
    // `bestfree`: three offsets and lengths, the longest first, each within the block.
    let mut before = u16::MAX;
    for index in 0..3_usize {
        let at = index.checked_mul(4)?.checked_add(4)?;
        let (offset, length) = (fields.be_u16(at)?, fields.be_u16(at.checked_add(2)?)?);
        let right = length <= before && (length == 0) == (offset == 0) && offset.is_multiple_of(8);
        if !right {
            return None;
        }
        before = length;
    }
    // The first entry of a directory's first block is `.` with its own number.
    let names_itself = fields.u8(24)? == 1 && fields.u8(25)? == b'.';
    Some(Found {
        number: None,
        owner: names_itself.then(|| fields.be_u64(16)).flatten(),
        ..block("xfs-directory")
    })
}

/// `struct xfs_dir3_blk_hdr`.
fn directory_v5(place: &Place<'_>) -> Option<Found> {
    let stated = Stated {
        crc: 4,
        blkno: 8,
        uuid: 24,
        owner: 40,
        owner_is_inode: true,
    };
    stated.read("xfs-directory", place)
}

/// `struct xfs_da_blkinfo`, behind it the count of entries sorted by hash.
fn tree_v4(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (pad, count) = (fields.be_u16(10)?, usize::from(fields.be_u16(12)?));
    if pad != 0 || count == 0 || count > MOST_BLOCK / 8 {
        return None;
    }
    // Leaves of attributes have a longer header.
    let is_attribute = fields.be_u16(8)? == 0xFBEE;
    let first = if is_attribute { 32 } else { 16 };
    let ordered = (1..count.min(8)).all(|index| {
        let at = |index: usize| fields.be_u32(index.saturating_mul(8).saturating_add(first));
        at(index.saturating_sub(1)) <= at(index)
    });
    ordered.then(|| block("xfs-tree"))
}

/// `struct xfs_da3_blkinfo`.
fn tree_v5(place: &Place<'_>) -> Option<Found> {
    let stated = Stated {
        crc: 12,
        blkno: 16,
        uuid: 32,
        owner: 48,
        owner_is_inode: true,
    };
    stated.read("xfs-tree", place)
}

/// `struct xfs_btree_block` of version 4.
fn btree_v4(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (level, records) = (fields.be_u16(4)?, fields.be_u16(6)?);
    let plausible = level <= 9 && records > 0 && usize::from(records) < MOST_BLOCK / 8;
    plausible.then(|| block("xfs-btree"))
}

/// The same of version 5, with short pointers.
fn btree_v5_short(place: &Place<'_>) -> Option<Found> {
    let stated = Stated {
        crc: 52,
        blkno: 16,
        uuid: 32,
        owner: 48,
        owner_is_inode: false,
    };
    stated.read("xfs-btree", place)
}

/// The same of version 5, with long pointers.
fn btree_v5_long(place: &Place<'_>) -> Option<Found> {
    let stated = Stated {
        crc: 64,
        blkno: 24,
        uuid: 40,
        owner: 56,
        owner_is_inode: true,
    };
    stated.read("xfs-btree", place)
}

/// `struct xfs_dsymlink_hdr`, `struct xfs_attr3_rmt_hdr`.
fn remote(place: &Place<'_>) -> Option<Found> {
    let stated = Stated {
        crc: 12,
        blkno: 40,
        uuid: 16,
        owner: 32,
        owner_is_inode: true,
    };
    stated.read("xfs-remote", place)
}

/// `struct xfs_agf`, `struct xfs_agi`.
fn group(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (version, number) = (fields.be_u32(4)?, fields.be_u32(8)?);
    (version == 1).then(|| Found {
        bytes: Some(512),
        number: Some(u64::from(number)),
        ..block("xfs-group")
    })
}

/// `struct xfs_dinode`.
fn inode(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (mode, version, format) = (fields.be_u16(2)?, fields.u8(4)?, fields.u8(5)?);
    // `S_IFMT`: pipes, devices, directories, files, links, sockets; 0 for a free inode.
    let kind = matches!(mode >> 12, 0 | 1 | 2 | 4 | 6 | 8 | 10 | 12);
    if !kind || !(1..=3).contains(&version) || format > 5 {
        return None;
    }
    if version < 3 {
        // `di_pad` and the upper half of the owner's project, and a size below 2^63.
        let plausible = fields.be_u64(56)? >> 63 == 0 && fields.slice(24, 6)? == [0; 6];
        return plausible.then(|| block("xfs-inode"));
    }
    let stated = Stated {
        crc: 100,
        blkno: 152,
        uuid: 160,
        owner: 152,
        owner_is_inode: true,
    };
    let found = stated.read("xfs-inode", place)?;
    Some(Found {
        number: fields.be_u64(152),
        owner: None,
        ..found
    })
}
