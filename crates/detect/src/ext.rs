//! Blocks of ext2, ext3 and ext4 that say where files lie and what they are called.
//!
//! Source: Linux `Documentation/filesystems/ext4` (`directory.rst`, `ifork.rst`,
//! `checksums.rst`) and `fs/ext4/ext4.h`, `ext4_extents.h`.

use evidence::Fields;
use scan::{Detector, Family, Found, Place, SECTOR_ALIGN, Signature, Trigger};

/// The largest block that is recognised, in bytes: what x86 and ARM machines can mount.
const MOST_BLOCK: usize = 4096;
/// The smallest, in bytes.
const LEAST_BLOCK: usize = 1024;

/// Entries that a block of a directory has at least.
const LEAST_ENTRIES: u32 = 2;

/// The detectors of directories and of the trees of extents.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(Directory),
        Box::new(Signature {
            magics: &[&[0x0A, 0xF3]],
            at: 0,
            align: SECTOR_ALIGN,
            reach: MOST_BLOCK,
            read: extents,
        }),
    ]
}

/// A block of a directory: `struct ext4_dir_entry_2` one behind the other, up to its end.
struct Directory;

impl Detector for Directory {
    fn triggers(&self) -> Vec<Trigger> {
        vec![Trigger::Every {
            align: SECTOR_ALIGN,
        }]
    }

    fn reach(&self) -> usize {
        MOST_BLOCK
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        let first = Entry::at(place.bytes, 0)?;
        let block = block_of(place.bytes)?;
        let names_itself = first.name == b"." && first.rec_len == 12;
        let parent = names_itself
            .then(|| Entry::at(place.bytes, 12))
            .flatten()
            .filter(|second| second.name == b"..");
        Some(Found {
            bytes: Some(block.bytes as u64),
            number: parent.as_ref().map(|_| u64::from(first.inode)),
            owner: parent.as_ref().map(|second| u64::from(second.inode)),
            part_of: directory_seed(place.bytes, &block),
            family: Some(Family::Ext),
            ..Found::new("ext-directory")
        })
    }
}

/// `struct ext4_dir_entry_2`, or the older one, whose second byte of the length stands where
/// the type is now.
struct Entry<'a> {
    inode: u32,
    rec_len: usize,
    file_type: u8,
    name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry at `at`; `None` if there cannot be one.
    fn at(block: &'a [u8], at: usize) -> Option<Self> {
        let fields = Fields::new(block).from(at)?;
        let rec_len = usize::from(fields.le_u16(4)?);
        let (name_len, file_type) = (usize::from(fields.u8(6)?), fields.u8(7)?);
        let room = rec_len.checked_sub(8)?;
        let fits = rec_len >= 12 && rec_len.is_multiple_of(4) && name_len <= room;
        if !fits || rec_len > MOST_BLOCK {
            return None;
        }
        let inode = fields.le_u32(0)?;
        // `EXT4_FT_DIR_CSUM` is the type of the entry that holds a block's checksum.
        if file_type > 7 && !(file_type == CHECKSUM_TYPE && inode == 0 && rec_len == 12) {
            return None;
        }
        let name = fields.slice(8, name_len)?;
        let named = !name.is_empty() && name.iter().all(|byte| *byte >= b' ' && *byte != b'/');
        (named || inode == 0).then_some(Self {
            inode,
            rec_len,
            file_type,
            name,
        })
    }
}

/// `EXT4_FT_DIR_CSUM`.
const CHECKSUM_TYPE: u8 = 0xDE;

/// A block of a directory.
struct Block {
    bytes: usize,
    /// Whether its last entry is `struct ext4_dir_entry_tail`.
    has_checksum: bool,
}

/// The block whose entries begin here: up to where a chain of entries ends at a size
/// that blocks have. Some must be in use: a single one may be anything.
///
/// Several sizes may fit where blocks follow each other. The last entry of a block takes all that
/// is left of it, so the first size at which an entry ends that is longer than it need be is the
/// right one; if there is none, the largest.
fn block_of(bytes: &[u8]) -> Option<Block> {
    let (mut at, mut block, mut seen) = (0_usize, None, 0_u32);
    // Where the feature `filetype` is missing, no entry has a type.
    let has_types = Entry::at(bytes, 0)?.file_type != 0;
    while at < MOST_BLOCK {
        let Some(entry) = Entry::at(bytes, at) else {
            break;
        };
        if entry.inode != 0 && (entry.file_type != 0) != has_types {
            break;
        }
        // The entry with the checksum counts as well.
        let says = entry.inode != 0 || entry.file_type == CHECKSUM_TYPE;
        seen = seen.saturating_add(u32::from(says));
        at = at.checked_add(entry.rec_len)?;
        if at >= LEAST_BLOCK && at.is_power_of_two() && at <= bytes.len() {
            if seen >= LEAST_ENTRIES {
                block = Some(Block {
                    bytes: at,
                    has_checksum: entry.file_type == CHECKSUM_TYPE,
                });
            }
            let needed = entry.name.len().checked_add(8)?.next_multiple_of(4);
            // The entry with the checksum has no name, and no more room than others.
            if entry.rec_len > needed {
                break;
            }
        }
    }
    block
}

/// The seed of a directory block's checksum, if it has one: it is made from the file system's
/// UUID, the inode and its generation, so all blocks of one directory have the same.
fn directory_seed(bytes: &[u8], block: &Block) -> Option<String> {
    // What looks like one behind the entries is a remnant.
    if !block.has_checksum {
        return None;
    }
    let covered = block.bytes.checked_sub(12)?;
    let sum = Fields::new(bytes).le_u32(covered.checked_add(8)?)?;
    seed(sum, bytes.get(..covered)?)
}

/// A block of an extent tree: `struct ext4_extent_header` and what it counts.
fn extents(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let entries = usize::from(fields.le_u16(2)?);
    let most = usize::from(fields.le_u16(4)?);
    let depth = fields.le_u16(6)?;
    // `eh_max` is what has room in the block: so it says how large the block is.
    let block = [1024_usize, 2048, 4096]
        .into_iter()
        .find(|block| block.saturating_sub(12) / 12 == most)?;
    if entries == 0 || entries > most || depth > 5 || !are_ordered(fields, entries, depth == 0) {
        return None;
    }
    // `struct ext4_extent_tail` follows the last entry that has room.
    let covered = most.checked_add(1)?.checked_mul(12)?;
    let sum = fields.le_u32(covered)?;
    Some(Found {
        bytes: Some(block as u64),
        number: Some(u64::from(depth)),
        part_of: (sum != 0)
            .then(|| seed(sum, place.bytes.get(..covered)?))
            .flatten(),
        family: Some(Family::Ext),
        ..Found::new("ext-extents")
    })
}

/// Whether the entries of a node follow each other, and those of a leaf do not overlap.
fn are_ordered(fields: Fields<'_>, entries: usize, is_leaf: bool) -> bool {
    let mut free = 0_u64;
    for index in 1..=entries {
        let Some(entry) = index.checked_mul(12).and_then(|at| fields.from(at)) else {
            return false;
        };
        // `ee_block` and `ee_len`, or `ei_block`, of which each is later than the one before.
        let (Some(block), Some(length)) = (entry.le_u32(0), entry.le_u16(4)) else {
            return false;
        };
        let length = match (is_leaf, u64::from(length)) {
            (true, 0) => return false,
            // More than 32,768 means: allocated and not written.
            (true, length @ 32_769..) => length.saturating_sub(32_768),
            (true, length) => length,
            (false, _) => 1,
        };
        if u64::from(block) < free {
            return false;
        }
        free = u64::from(block).saturating_add(length);
    }
    true
}

/// The seed for which the CRC-32C of `bytes` is `sum`, in hexadecimal: the CRC, backwards.
fn seed(sum: u32, bytes: &[u8]) -> Option<String> {
    let seed = bytes.iter().rev().fold(sum, |crc, byte| {
        let before = (0..8).fold(crc, |crc, _| match crc & 0x8000_0000 {
            0 => crc << 1,
            _ => (crc ^ 0x82F6_3B78) << 1 | 1,
        });
        before ^ u32::from(*byte)
    });
    Some(format!("{seed:08x}"))
}
