//! The superblock and its mirrors (`struct btrfs_super_block`).

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::checksum::CsumType;
use super::chunk::Chunk;
use super::key::{CHUNK_ITEM, Key};

/// Where the superblock and its mirrors lie: `btrfs_sb_offset`.
pub(super) const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// `BTRFS_SUPER_INFO_SIZE`.
pub(super) const SUPER_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"_BHRfS_M";
/// `BTRFS_SYSTEM_CHUNK_ARRAY_SIZE`.
const ARRAY_BYTES: usize = 2048;
const ARRAY_AT: usize = 0x32B;
const BACKUPS_AT: usize = 0xB2B;
/// `sizeof(struct btrfs_root_backup)`.
const BACKUP_BYTES: usize = 168;
const BACKUPS: usize = 4;

const INCOMPAT_MIXED_GROUPS: u64 = 1 << 2;
const INCOMPAT_METADATA_UUID: u64 = 1 << 10;
/// Names of `BTRFS_FEATURE_INCOMPAT_*` by bit; `None` is one that reading does not depend on.
const INCOMPAT: [(u32, &str); 13] = [
    (0, ""),
    (1, ""),
    (2, "mixed groups"),
    (3, "lzo"),
    (4, "zstd"),
    (5, ""),
    (6, ""),
    (7, "raid56"),
    (8, ""),
    (9, "no holes"),
    (10, "metadata uuid"),
    (11, "raid1c34"),
    (13, "extent tree v2"),
];
/// Features that change where things are: they are not read.
const UNREADABLE: [(u32, &str); 3] = [
    (12, "zoned"),
    (13, "extent tree v2"),
    (14, "raid stripe tree"),
];

/// Where the root of a tree lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) bytenr: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
}

/// A superblock whose checksum fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) fsid: [u8; 16],
    /// The UUID that tree blocks carry.
    pub(super) metadata_uuid: [u8; 16],
    pub(super) generation: u64,
    pub(super) root: Root,
    pub(super) chunk_root: Root,
    /// Whether there is a log of what was synced after the last commit.
    pub(super) log_root: u64,
    pub(super) total_bytes: u64,
    pub(super) num_devices: u64,
    pub(super) sectorsize: u32,
    pub(super) nodesize: u32,
    pub(super) csum: CsumType,
    incompat_flags: u64,
    /// `dev_item.devid`: which of the devices this one is.
    pub(super) devid: u64,
    pub(super) label: String,
    /// The system chunks.
    pub(super) sys_chunks: Vec<Chunk>,
    /// Older roots of the tree of roots, the newest first.
    pub(super) backups: Vec<Root>,
}

impl Superblock {
    /// Reads the superblock in `block`; `None` unless its checksum fits and its sizes can be.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let fields = Fields::new(block);
        if fields.slice(0x40, 8)? != MAGIC {
            return None;
        }
        let csum = CsumType::new(fields.le_u16(0xC4)?)?;
        if !csum.block_fits(block.get(..SUPER_BYTES)?) {
            return None;
        }
        let sectorsize = fields.le_u32(0x90)?;
        let nodesize = fields.le_u32(0x94)?;
        let sizes = sectorsize.is_power_of_two()
            && nodesize.is_power_of_two()
            && (4096..=65536).contains(&sectorsize)
            && (sectorsize..=65536).contains(&nodesize);
        let incompat_flags = fields.le_u64(0xBC)?;
        let fsid: [u8; 16] = fields.array(0x20)?;
        let metadata_uuid = if incompat_flags & INCOMPAT_METADATA_UUID == 0 {
            fsid
        } else {
            fields.array(0x23B)?
        };
        sizes.then_some(Self {
            fsid,
            metadata_uuid,
            generation: fields.le_u64(0x48)?,
            root: Root {
                bytenr: fields.le_u64(0x50)?,
                generation: fields.le_u64(0x48)?,
                level: fields.u8(0xC6)?,
            },
            chunk_root: Root {
                bytenr: fields.le_u64(0x58)?,
                generation: fields.le_u64(0xA4)?,
                level: fields.u8(0xC7)?,
            },
            log_root: fields.le_u64(0x60)?,
            total_bytes: fields.le_u64(0x70)?,
            num_devices: fields.le_u64(0x88)?,
            sectorsize,
            nodesize,
            csum,
            incompat_flags,
            devid: fields.le_u64(0xC9)?,
            label: label(fields)?,
            sys_chunks: sys_chunks(fields),
            backups: backups(fields),
        })
    }

    /// The superblock at one of [`PLACES`] of `device`, which must say that it is that one.
    pub(super) fn read(device: &dyn ReadAt, place: u64) -> Option<Self> {
        let block = device.read_whole(ByteOffset::new(place), SUPER_BYTES)?;
        (Fields::new(&block).le_u64(0x30) == Some(place))
            .then(|| Self::parse(&block))
            .flatten()
    }

    /// The newest superblock of a device.
    pub(super) fn newest(device: &dyn ReadAt) -> Option<Self> {
        let all = PLACES.iter().filter_map(|at| Self::read(device, *at));
        all.max_by_key(|sb| sb.generation)
    }

    /// Whether a block at the first of [`PLACES`] has at least the magic number.
    pub(super) fn is_marked(device: &dyn ReadAt) -> bool {
        PLACES
            .first()
            .and_then(|at| device.read_whole(ByteOffset::new(at.saturating_add(0x40)), 8))
            .is_some_and(|magic| magic == MAGIC)
    }

    /// Whether data and metadata share block groups.
    pub(super) const fn mixed_groups(&self) -> bool {
        self.incompat_flags & INCOMPAT_MIXED_GROUPS != 0
    }

    /// A feature that makes the file system unreadable here.
    pub(super) fn unreadable(&self) -> Option<&'static str> {
        let has = |bit: u32| self.incompat_flags & (1_u64 << bit) != 0;
        UNREADABLE
            .into_iter()
            .find_map(|(bit, name)| has(bit).then_some(name))
    }

    /// The features that matter for reading, in words.
    pub(super) fn features(&self) -> String {
        let has = |bit: u32| self.incompat_flags & (1_u64 << bit) != 0;
        let names = INCOMPAT
            .into_iter()
            .filter(|(bit, name)| has(*bit) && !name.is_empty());
        let mut all: Vec<&str> = vec![self.csum.name()];
        all.extend(names.map(|(_, name)| name));
        all.join(", ")
    }
}

/// `label`, up to its first zero.
fn label(fields: Fields<'_>) -> Option<String> {
    let label = fields.slice(0x12B, 256)?;
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(label).into_owned())
}

/// The chunks in `sys_chunk_array`.
fn sys_chunks(fields: Fields<'_>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let length = fields.le_u32(0xA0).map_or(0, |n| n as usize);
    let Some(array) = fields.slice(ARRAY_AT, length.min(ARRAY_BYTES)) else {
        return chunks;
    };
    let mut rest = Fields::new(array);
    while let (Some(key), Some(item)) = (Key::parse(rest, 0), rest.from(Key::LEN)) {
        let Some(count) = item.le_u16(44).filter(|_| key.item_type == CHUNK_ITEM) else {
            break;
        };
        chunks.extend(Chunk::parse(key.offset, item.bytes()));
        let length = usize::from(count).saturating_mul(32).saturating_add(48);
        match item.from(length) {
            Some(next) => rest = next,
            None => break,
        }
    }
    chunks
}

/// The roots in `super_roots`.
fn backups(fields: Fields<'_>) -> Vec<Root> {
    let mut all: Vec<Root> = (0..BACKUPS)
        .filter_map(|number| {
            let at = number.checked_mul(BACKUP_BYTES)?.checked_add(BACKUPS_AT)?;
            let backup = Fields::new(fields.slice(at, BACKUP_BYTES)?);
            Some(Root {
                bytenr: backup.le_u64(0)?,
                generation: backup.le_u64(8)?,
                level: backup.u8(152)?,
            })
        })
        .filter(|root| root.bytenr != 0)
        .collect();
    all.sort_by_key(|root| std::cmp::Reverse(root.generation));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;
    use proptest::prelude::*;

    fn sealed(mut block: Vec<u8>) -> Vec<u8> {
        let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
        block[..4].copy_from_slice(&sum);
        block
    }

    fn block() -> Vec<u8> {
        let mut block = vec![0; SUPER_BYTES];
        block[0x30..0x38].copy_from_slice(&PLACES[0].to_le_bytes());
        block[0x40..0x48].copy_from_slice(MAGIC);
        block[0x48] = 9;
        block[0x90..0x94].copy_from_slice(&4096_u32.to_le_bytes());
        block[0x94..0x98].copy_from_slice(&16384_u32.to_le_bytes());
        block[0x12B..0x12F].copy_from_slice(b"mail");
        sealed(block)
    }

    #[test]
    fn a_superblock_is_believed_only_whole_and_in_its_place() {
        let mut disk = vec![0; 128 << 10];
        disk[64 << 10..68 << 10].copy_from_slice(&block());
        let sb = Superblock::newest(&Memory::new(disk.clone())).unwrap();
        assert_eq!((sb.label.as_str(), sb.generation), ("mail", 9));
        disk[(64 << 10) + 0x500] ^= 1;
        let disk = Memory::new(disk);
        assert_eq!(Superblock::newest(&disk), None);
        assert!(Superblock::is_marked(&disk));
        let mut moved = vec![0; 128 << 10];
        moved[68 << 10..72 << 10].copy_from_slice(&block());
        assert_eq!(Superblock::read(&Memory::new(moved), 68 << 10), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(noise in prop::collection::vec((0_usize..4096, any::<u8>()), 0..300)) {
            let mut bytes = block();
            for (at, byte) in noise {
                if !(0x40..0x48).contains(&at) {
                    bytes[at] = byte;
                }
            }
            let _ = Superblock::parse(&sealed(bytes));
        }
    }
}
