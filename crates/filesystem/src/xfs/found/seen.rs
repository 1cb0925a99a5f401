//! What one pass over a device recognises of XFS.
//!
//! Every structure begins with a magic number at a multiple of 512 bytes, inodes at one of 256.
//! Version 5 metadata is believed if its checksum fits, at the length for which it does; of
//! version 4, what its fields allow. Only places and numbers are kept, no contents.

use evidence::{ByteOffset, Fields, Origin};

use crate::survey::Window;
use crate::xfs::checksum::{BTREE_LONG, DIR3_DATA, crc_fits, mend};
use crate::xfs::data;
use crate::xfs::inode::{DI_CRC_AT, Dinode, XFS_DINODE_MAGIC};
use crate::xfs::leaf;
use crate::xfs::superblock::{self, Superblock, Version};

/// Inodes begin at multiples of the smallest size that they have.
const INODE_STEP: usize = 256;
/// Everything else begins at a sector.
const SECTOR: usize = 512;
/// `XFS_AGF_MAGIC`, `XFS_AGI_MAGIC`.
const AGF_MAGIC: &[u8; 4] = b"XAGF";
const AGI_MAGIC: &[u8; 4] = b"XAGI";
/// `AGF_VERSION`, `AGI_VERSION`.
const AG_VERSION: u32 = 1;
/// Where the UUID stands in the headers of a group in version 5.
const AGF_UUID_AT: usize = 64;
const AGI_UUID_AT: usize = 296;
/// The lengths that a directory block may have.
const DIRBLOCKS: [usize; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// Whose metadata something is, by what it says itself: the UUID in version 5, zeros in
/// version 4.
pub(super) type Mark = [u8; 16];
/// The mark of version 4 metadata.
pub(super) const UNMARKED: Mark = [0; 16];

/// A superblock, of whichever group.
#[derive(Clone, Debug)]
pub(super) struct SeenSuperblock {
    pub(super) place: u64,
    pub(super) sb: Superblock,
}

/// Which header of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderKind {
    /// The free space: in the second sector.
    Agf,
    /// The inodes: in the third.
    Agi,
}

/// A header of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenHeader {
    pub(super) place: u64,
    pub(super) kind: HeaderKind,
    /// `agf_seqno`, `agi_seqno`: which group.
    pub(super) seqno: u32,
    /// `agf_length`, `agi_length`: its blocks.
    pub(super) length: u32,
    pub(super) mark: Mark,
}

/// An inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenInode {
    pub(super) place: u64,
    /// `di_ino`; 0 in version 4.
    pub(super) ino: u64,
    pub(super) mark: Mark,
    /// `di_mode`; 0 if it is not in use.
    pub(super) mode: u16,
    /// The seconds of `di_ctime`, which are enough in version 4.
    pub(super) changed: u32,
    /// Its length, where the checksum tells.
    pub(super) size: Option<u16>,
}

/// A data block of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenDir {
    pub(super) place: u64,
    /// Whose it is: `owner`, or in version 4 what `.` says, and 0 if that is not in it.
    pub(super) owner: u64,
    /// What `..` says, if it is the first block.
    pub(super) parent: u64,
    /// `blkno` in bytes; 0 in version 4.
    pub(super) address: u64,
    pub(super) mark: Mark,
    /// Its length, where the checksum tells, or in version 4 that to which its entries reach.
    pub(super) size: Option<u32>,
    /// Whether its entries name kinds of files, where that can be told.
    pub(super) ftype: Option<bool>,
}

/// A leaf of an extent tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenLeaf {
    pub(super) place: u64,
    /// `bb_owner`; 0 in version 4.
    pub(super) owner: u64,
    /// `bb_blkno` in bytes; 0 in version 4.
    pub(super) address: u64,
    pub(super) mark: Mark,
    /// Its length, which is that of a block, where the checksum tells.
    pub(super) size: Option<u32>,
}

/// The header of a log record.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenRecord {
    pub(super) place: u64,
    pub(super) h_lsn: u64,
    /// `h_fs_uuid`.
    pub(super) uuid: Mark,
}

/// What was seen of XFS.
#[derive(Clone, Default)]
pub(crate) struct Sightings {
    pub(super) superblocks: Vec<SeenSuperblock>,
    pub(super) headers: Vec<SeenHeader>,
    pub(super) inodes: Vec<SeenInode>,
    pub(super) dirs: Vec<SeenDir>,
    pub(super) leaves: Vec<SeenLeaf>,
    pub(super) records: Vec<SeenRecord>,
}

impl Sightings {
    /// What is recognised in `window`.
    pub(crate) fn of(window: &Window) -> Self {
        let mut seen = Self::default();
        for (place, head) in window.blocks(INODE_STEP) {
            let fields = Fields::new(head);
            if fields.be_u16(0) == Some(XFS_DINODE_MAGIC) {
                seen.inodes.extend(inode(window, place, head));
            } else if place.get().is_multiple_of(SECTOR as u64) {
                seen.sector(window, place);
            }
        }
        seen
    }

    /// Adds what was seen behind this.
    pub(crate) fn append(&mut self, mut next: Self) {
        self.superblocks.append(&mut next.superblocks);
        self.headers.append(&mut next.headers);
        self.inodes.append(&mut next.inodes);
        self.dirs.append(&mut next.dirs);
        self.leaves.append(&mut next.leaves);
        self.records.append(&mut next.records);
    }

    /// What the sector at `place` begins, if it is no inode.
    fn sector(&mut self, window: &Window, place: ByteOffset) {
        let Some(sector) = window.at(place, SECTOR) else {
            return;
        };
        match sector.first_chunk() {
            Some(b"XFSB") => self.superblocks.extend(copy(window, place)),
            Some(AGF_MAGIC) => {
                let seen = header(place, sector, HeaderKind::Agf, AGF_UUID_AT);
                self.headers.extend(seen);
            }
            Some(AGI_MAGIC) => {
                let seen = header(place, sector, HeaderKind::Agi, AGI_UUID_AT);
                self.headers.extend(seen);
            }
            Some(b"XDB3" | b"XDD3") => self.dirs.extend(dir_v5(window, place, sector)),
            Some(b"XD2B" | b"XD2D") => self.dirs.push(dir_v4(window, place, sector)),
            Some(b"BMA3") => self.leaves.extend(leaf_v5(window, place, sector)),
            Some(b"BMAP") => self.leaves.extend(leaf_v4(place, sector)),
            Some([0xFE, 0xED, 0xBA, 0xBE]) => self.records.extend(record(place, sector)),
            _ => {}
        }
    }
}

/// The superblock at `place`, if its numbers agree.
fn copy(window: &Window, place: ByteOffset) -> Option<SeenSuperblock> {
    // A sector is at most this long; near the end of the device there may be less.
    let sector = [4096, SECTOR]
        .into_iter()
        .find_map(|size| window.at(place, size))?;
    let sb = superblock::parse(sector, &Origin::new("", place)).ok()??;
    let place = place.get();
    Some(SeenSuperblock { place, sb })
}

/// The header of a group in `sector`.
fn header(place: ByteOffset, sector: &[u8], kind: HeaderKind, uuid: usize) -> Option<SeenHeader> {
    let fields = Fields::new(sector);
    let length = fields.be_u32(12).filter(|length| *length > 0)?;
    (fields.be_u32(4) == Some(AG_VERSION)).then_some(SeenHeader {
        place: place.get(),
        kind,
        seqno: fields.be_u32(8)?,
        length,
        mark: fields.array(uuid)?,
    })
}

/// The inode whose first bytes are `head`.
fn inode(window: &Window, place: ByteOffset, head: &[u8]) -> Option<SeenInode> {
    let fields = Fields::new(head);
    let mode = fields.be_u16(2)?;
    if fields.u8(4)? == 3 {
        let sizes = [512, 1024, 2048];
        let fits = |size: &usize| {
            let raw = window.at(place, *size);
            raw.is_some_and(|raw| crc_fits(raw, DI_CRC_AT))
        };
        let whole = |size| Some((size, window.at(place, size)?.to_vec()));
        let (size, raw) = match sizes.into_iter().find(fits) {
            Some(size) => whole(size)?,
            // With one bit turned back it may be one: its self-address says later whether it is.
            None => sizes
                .into_iter()
                .filter_map(whole)
                .find_map(|(size, mut raw)| {
                    let mended = mend(&mut raw, DI_CRC_AT);
                    mended.then_some((size, raw))
                })?,
        };
        let fields = Fields::new(&raw);
        return Some(SeenInode {
            place: place.get(),
            ino: fields.be_u64(152)?,
            mark: fields.array(160)?,
            mode: fields.be_u16(2)?,
            changed: fields.be_u32(48)?,
            size: u16::try_from(size).ok(),
        });
    }
    let sound = match mode {
        // What was freed has nothing in its core any more.
        0 => matches!(fields.u8(4), Some(1 | 2)) && matches!(fields.u8(5), Some(0..=2)),
        _ => Dinode::parse(head, Version::V4).is_ok(),
    };
    sound.then_some(SeenInode {
        place: place.get(),
        ino: 0,
        mark: UNMARKED,
        mode,
        changed: fields.be_u32(48)?,
        size: None,
    })
}

/// The version 5 directory block at `place`, if its checksum fits at some length.
fn dir_v5(window: &Window, place: ByteOffset, sector: &[u8]) -> Option<SeenDir> {
    let fields = Fields::new(sector);
    let size = DIRBLOCKS
        .into_iter()
        .find(|size| {
            let block = window.at(place, *size);
            block.is_some_and(|block| crc_fits(block, DIR3_DATA.crc))
        })
        .and_then(|size| u32::try_from(size).ok());
    Some(SeenDir {
        place: place.get(),
        owner: fields.be_u64(DIR3_DATA.owner)?,
        parent: first_entries(sector, 64).map_or(0, |(_, parent)| parent),
        address: fields.be_u64(DIR3_DATA.blkno)?.checked_mul(512)?,
        mark: fields.array(DIR3_DATA.uuid)?,
        size,
        ftype: Some(true),
    })
}

/// The version 4 directory block at `place`.
fn dir_v4(window: &Window, place: ByteOffset, sector: &[u8]) -> SeenDir {
    let (owner, parent) = first_entries(sector, 16).unwrap_or((0, 0));
    // The entries fill a block to its end; at any other length they are cut or run into others.
    let reaches = |size: &usize, ftype: bool| {
        let Some(block) = window.at(place, *size) else {
            return false;
        };
        let end = match sector.starts_with(b"XD2B") {
            true => leaf::tail(block).map_or(0, |tail| tail.start),
            false => *size,
        };
        end > 16 && data::parse(block, 16..end, ftype).1.is_none()
    };
    let with = |ftype: bool| DIRBLOCKS.into_iter().rfind(|size| reaches(size, ftype));
    let (plain, typed) = (with(false), with(true));
    SeenDir {
        place: place.get(),
        owner,
        parent,
        address: 0,
        mark: UNMARKED,
        size: plain.max(typed).and_then(|size| u32::try_from(size).ok()),
        ftype: match (plain, typed) {
            (Some(_), None) => Some(false),
            (None, Some(_)) => Some(true),
            _ => None,
        },
    }
}

/// What `.` and `..` at the start of the entries say.
fn first_entries(sector: &[u8], at: usize) -> Option<(u64, u64)> {
    let end = sector.len();
    let own = data::entry(sector, at, end, false).filter(|entry| entry.name == b".")?;
    let above = data::entry(sector, own.range.end, end, false)?;
    (above.name == b"..").then_some((own.inumber.0, above.inumber.0))
}

/// The version 5 leaf at `place`, if its checksum fits at some length.
fn leaf_v5(window: &Window, place: ByteOffset, sector: &[u8]) -> Option<SeenLeaf> {
    let fields = Fields::new(sector);
    if fields.be_u16(4)? != 0 {
        return None;
    }
    let size = DIRBLOCKS.into_iter().find(|size| {
        let block = window.at(place, *size);
        block.is_some_and(|block| crc_fits(block, BTREE_LONG.crc))
    });
    Some(SeenLeaf {
        place: place.get(),
        owner: fields.be_u64(BTREE_LONG.owner)?,
        address: fields.be_u64(BTREE_LONG.blkno)?.checked_mul(512)?,
        mark: fields.array(BTREE_LONG.uuid)?,
        size: size.and_then(|size| u32::try_from(size).ok()),
    })
}

/// The version 4 leaf at `place`.
fn leaf_v4(place: ByteOffset, sector: &[u8]) -> Option<SeenLeaf> {
    let fields = Fields::new(sector);
    (fields.be_u16(4)? == 0 && fields.be_u16(6)? > 0).then_some(SeenLeaf {
        place: place.get(),
        owner: 0,
        address: 0,
        mark: UNMARKED,
        size: None,
    })
}

/// `struct xlog_rec_header` at `place`.
fn record(place: ByteOffset, sector: &[u8]) -> Option<SeenRecord> {
    let fields = Fields::new(sector);
    let h_lsn = fields.be_u64(16)?;
    (fields.be_u32(4).map(u64::from) == Some(h_lsn >> 32)).then_some(SeenRecord {
        place: place.get(),
        h_lsn,
        uuid: fields.array(304)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::survey;
    use crate::xfs::inode::tests::{NUMBER, image};
    use crate::xfs::superblock::tests::sector;
    use evidence::view::Memory;
    use proptest::prelude::*;

    fn look(bytes: Vec<u8>) -> Sightings {
        let mut all = Sightings::default();
        for seen in survey(&Memory::new(bytes), Sightings::of, &|_| {}) {
            all.append(seen);
        }
        all
    }

    #[test]
    fn inodes_and_superblocks_are_seen_where_they_lie() {
        let mut bytes = vec![0; 65536];
        bytes[8192..8704].copy_from_slice(&sector());
        let inode = image(0o100_644, 2, 0, 0, &[]);
        bytes[16384..16896].copy_from_slice(&inode);
        bytes[20480..20992].copy_from_slice(&inode);
        bytes[20480 + 300] ^= 4;
        bytes[24576..25088].copy_from_slice(&inode);
        bytes[24576 + 300] ^= 5;
        let seen = look(bytes);
        assert_eq!(seen.superblocks.len(), 1);
        assert_eq!(seen.superblocks[0].place, 8192);
        let places: Vec<u64> = seen.inodes.iter().map(|inode| inode.place).collect();
        assert_eq!(places, [16384, 20480]);
        assert_eq!(seen.inodes[0].ino, NUMBER.0);
        assert_eq!(seen.inodes[0].size, Some(512));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            magics in prop::collection::vec((0_usize..6, 0_usize..10), 0..6),
        ) {
            let all: [&[u8]; 10] = [
                b"XFSB", b"XAGF\0\0\0\x01", b"XAGI\0\0\0\x01", b"XDB3", b"XD2D", b"XD2B", b"BMA3\0\0",
                b"BMAP\0\0", b"\xFE\xED\xBA\xBE", b"IN\x81\xA4\x03\x02",
            ];
            let mut bytes = bytes;
            for (sector, magic) in magics {
                let at = sector * 512;
                if let Some(part) = bytes.get_mut(at..at + all[magic].len()) {
                    part.copy_from_slice(all[magic]);
                }
            }
            let _ = look(bytes);
        }
    }
}
