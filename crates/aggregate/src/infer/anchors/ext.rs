//! What ext3 and ext4 say of places: superblock copies, and the journal, whose descriptors name
//! the home of each block that is copied after them.
//!
//! Source: kernel documentation, `Documentation/filesystems/ext4/{super,journal}.rst`.

use evidence::Fields;

use super::{Kind, Stated};

/// `h_magic` of every block of a journal that is not a copy.
const JBD2_MAGIC: u32 = 0xC03B_3998;
const DESCRIPTOR: u32 = 1;
const SUPERBLOCK_V2: u32 = 4;

/// `JBD2_FEATURE_INCOMPAT_*`.
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;

/// `EXT4_FEATURE_*` of the file system.
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const EXT4_INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// `JBD2_FLAG_*` of a tag.
const FLAG_ESCAPE: u32 = 1;
const FLAG_SAME_UUID: u32 = 2;
const FLAG_LAST_TAG: u32 = 8;

/// A superblock copy, which names its block group.
pub(super) fn superblock(bytes: Fields<'_>) -> Option<Stated> {
    (bytes.le_u16(56)? == 0xEF53).then_some(())?;
    let log = bytes.le_u32(24)?;
    (log <= 6).then_some(())?;
    let block = 1024_u64.checked_shl(log)?;
    let first = u64::from(bytes.le_u32(20)?);
    let per_group = u64::from(bytes.le_u32(32)?);
    let group = u64::from(bytes.le_u16(90)?);
    (per_group > 0 && first <= 1).then_some(())?;
    let address = match group {
        0 => 1024,
        _ => group
            .checked_mul(per_group)?
            .checked_add(first)?
            .checked_mul(block)?,
    };
    Some(Stated {
        uuid: bytes.array(104)?,
        kind: Kind::Address(address),
    })
}

/// How the tags of a journal are written, by its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Journal {
    pub(super) block: u64,
    pub(super) uuid: [u8; 16],
    incompat: u32,
}

impl Journal {
    /// Whether its descriptors carry a checksum.
    pub(super) const fn is_checked(&self) -> bool {
        self.incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    /// Whether a descriptor is one of this journal by its checksum, which covers the UUID:
    /// `jbd2_journal_block_tail`.
    pub(super) fn verifies(&self, descriptor: &[u8]) -> bool {
        let Some((body, tail)) = descriptor.split_last_chunk::<4>() else {
            return false;
        };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&self.uuid), body);
        self.is_checked() && !crc32c::crc32c_append(sum, &[0; 4]) == u32::from_be_bytes(*tail)
    }
}

/// A journal's superblock.
pub(super) fn journal(bytes: Fields<'_>) -> Option<Journal> {
    let header = bytes.be_u32(0)? == JBD2_MAGIC && bytes.be_u32(4)? == SUPERBLOCK_V2;
    let block = u64::from(bytes.be_u32(12)?);
    let sound = header && (1024..=65536).contains(&block) && block.is_power_of_two();
    sound.then_some(Journal {
        block,
        incompat: bytes.be_u32(40)?,
        uuid: bytes.array(48)?,
    })
}

/// The journal that a superblock copy lets expect: the kernel takes its features over, as
/// `ext4_load_journal` and `set_journal_csum_feature_set` do.
pub(super) fn expected_journal(bytes: Fields<'_>) -> Option<Journal> {
    let block = 1024_u64.checked_shl(bytes.le_u32(24)?)?;
    let has_journal = bytes.le_u32(92)? & COMPAT_HAS_JOURNAL != 0;
    let wide = bytes.le_u32(96)? & EXT4_INCOMPAT_64BIT != 0;
    let checked = bytes.le_u32(100)? & RO_COMPAT_METADATA_CSUM != 0;
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    (has_journal && block <= 65536).then_some(Journal {
        block,
        uuid: bytes.array(104)?,
        incompat: flag(wide, INCOMPAT_64BIT) | flag(checked, INCOMPAT_CSUM_V3),
    })
}

/// Whether this is a descriptor block.
pub(super) fn is_descriptor(bytes: Fields<'_>) -> bool {
    bytes.be_u32(0) == Some(JBD2_MAGIC) && bytes.be_u32(4) == Some(DESCRIPTOR)
}

/// The home addresses that a descriptor names, in the order of the copies after it; `None`
/// for a copy that was changed to hide a magic number.
pub(super) fn homes(bytes: Fields<'_>, journal: &Journal) -> Vec<Option<u64>> {
    let mut homes = Vec::new();
    let mut at = 12_usize;
    while let Some((home, flags, size)) = tag(bytes, at, journal) {
        homes.push(home.filter(|_| flags & FLAG_ESCAPE == 0));
        if flags & FLAG_LAST_TAG != 0 {
            break;
        }
        let uuid = if flags & FLAG_SAME_UUID == 0 { 16 } else { 0 };
        at = at.saturating_add(size).saturating_add(uuid);
    }
    homes
}

/// The tag at `at`: home address, flags, length without UUID.
fn tag(bytes: Fields<'_>, at: usize, journal: &Journal) -> Option<(Option<u64>, u32, usize)> {
    let has = |feature: u32| journal.incompat & feature != 0;
    let low = u64::from(bytes.be_u32(at)?);
    let version_3 = has(INCOMPAT_CSUM_V3);
    let flags = if version_3 {
        bytes.be_u32(at.checked_add(4)?)?
    } else {
        u32::from(bytes.be_u16(at.checked_add(6)?)?)
    };
    let high = if has(INCOMPAT_64BIT) {
        u64::from(bytes.be_u32(at.checked_add(8)?)?)
    } else {
        0
    };
    let size = match (version_3, has(INCOMPAT_64BIT), has(INCOMPAT_CSUM_V2)) {
        (true, ..) => 16,
        (_, true, true) => 14,
        (_, true, false) => 12,
        (_, false, true) => 10,
        (_, false, false) => 8,
    };
    let block = high.checked_shl(32)? | low;
    Some((block.checked_mul(journal.block), flags, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_names_homes_until_its_last_tag() {
        let journal = Journal {
            block: 1024,
            uuid: [1; 16],
            incompat: INCOMPAT_64BIT | INCOMPAT_CSUM_V3,
        };
        let mut block = vec![0; 1024];
        block[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
        block[7] = 1;
        let mut put = |at: usize, home: u32, flags: u32| {
            block[at..at + 4].copy_from_slice(&home.to_be_bytes());
            block[at + 4..at + 8].copy_from_slice(&flags.to_be_bytes());
        };
        put(12, 7, 0);
        put(44, 9, FLAG_SAME_UUID | FLAG_ESCAPE);
        put(60, 11, FLAG_SAME_UUID | FLAG_LAST_TAG);
        let fields = Fields::new(&block);
        assert!(is_descriptor(fields));
        assert_eq!(
            homes(fields, &journal),
            [Some(7 * 1024), None, Some(11 * 1024)]
        );
    }
}
