//! What version 5 metadata says of itself: its checksum, its place, its owner.
//!
//! Kernel: `Documentation/filesystems/xfs/xfs-self-describing-metadata.rst`.

use evidence::{ByteOffset, Fields, SECTOR_BYTES};

/// Whether the CRC-32C of `bytes`, with the field at `crc_at` taken as zeros, is the one that
/// stands there. Of all the format's fields, only checksums are little-endian.
pub(super) fn crc_fits(bytes: &[u8], crc_at: usize) -> bool {
    let fields = Fields::new(bytes);
    let after = crc_at.saturating_add(4);
    let (Some(stored), Some(head), Some(tail)) = (
        fields.le_u32(crc_at),
        bytes.get(..crc_at),
        bytes.get(after..),
    ) else {
        return false;
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
    crc32c::crc32c_append(crc, tail) == stored
}

/// Writes the checksum of `bytes` into the field at `crc_at`, for blocks put together in memory.
pub(super) fn seal(bytes: &mut [u8], crc_at: usize) {
    let after = crc_at.saturating_add(4);
    if let Some(field) = bytes.get_mut(crc_at..after) {
        field.fill(0);
    }
    let crc = crc32c::crc32c(bytes);
    if let Some(field) = bytes.get_mut(crc_at..after) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The polynomial of CRC-32C, its lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The bits of a byte.
const BITS: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// `crc`, the difference between two checksums, after another byte that is the same in both.
fn advance(crc: u32) -> u32 {
    (0..8).fold(crc, |crc, _| match crc & 1 {
        0 => crc >> 1,
        _ => (crc >> 1) ^ POLYNOMIAL,
    })
}

/// Mends `bytes` if turning a single bit makes the checksum at `crc_at` fit; whether it fits now.
///
/// The checksum tells any two bits of a block apart (its Hamming distance is at least 4 at all
/// these lengths), so there is at most one such bit. What two or three flipped bits leave can be
/// taken for another single bit only if the block says wrong things of itself, too: callers check
/// address and owner after this.
pub(super) fn mend(bytes: &mut [u8], crc_at: usize) -> bool {
    let after = crc_at.saturating_add(4);
    let stored = Fields::new(bytes).le_u32(crc_at);
    let (Some(stored), Some(head), Some(tail)) = (stored, bytes.get(..crc_at), bytes.get(after..))
    else {
        return false;
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
    let difference = crc32c::crc32c_append(crc, tail) ^ stored;
    if difference == 0 {
        return true;
    }
    if difference.is_power_of_two() {
        seal(bytes, crc_at);
        return true;
    }
    // What turning each bit of a byte does to the checksum, from the last byte backwards.
    let mut effects: [u32; 8] = BITS.map(|bit| advance(bit.into()));
    for at in (0..bytes.len()).rev() {
        if !(crc_at..after).contains(&at)
            && let Some(bit) = effects.iter().position(|effect| *effect == difference)
            && let Some(bit) = BITS.get(bit)
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte ^= bit;
            return true;
        }
        effects = effects.map(advance);
    }
    false
}

/// Where in a kind of metadata block its description of itself stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// `bb_crc`, `crc`, `sl_crc`.
    pub(super) crc: usize,
    /// The address of the block in units of 512 bytes.
    pub(super) blkno: usize,
    /// The UUID of the file system.
    pub(super) uuid: usize,
    /// The inode that the block belongs to.
    pub(super) owner: usize,
}

/// `struct xfs_btree_block_lhdr` behind `bb_magic`, `bb_level` and `bb_numrecs`.
pub(super) const BTREE_LONG: Layout = Layout {
    crc: 64,
    blkno: 24,
    uuid: 40,
    owner: 56,
};

/// `struct xfs_dir3_blk_hdr`.
pub(super) const DIR3_DATA: Layout = Layout {
    crc: 4,
    blkno: 8,
    uuid: 24,
    owner: 40,
};

/// `struct xfs_da3_blkinfo`.
pub(super) const DA3: Layout = Layout {
    crc: 12,
    blkno: 16,
    uuid: 32,
    owner: 48,
};

/// `struct xfs_dsymlink_hdr`.
pub(super) const SYMLINK: Layout = Layout {
    crc: 12,
    blkno: 40,
    uuid: 16,
    owner: 32,
};

/// What a block has to say of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Where it lies, counted from the start of the file system.
    pub(super) place: ByteOffset,
    /// The UUID that metadata carries.
    pub(super) uuid: [u8; 16],
    /// The inode that led to it.
    pub(super) owner: u64,
}

/// Why a block is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It says that it is another block, or another inode's: its contents are no part of this.
    Foreign(String),
    /// It is the right block, but its checksum does not fit.
    Checksum,
}

impl Doubt {
    /// The doubt in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Foreign(what) => what,
            Self::Checksum => "its checksum does not fit".to_owned(),
        }
    }
}

/// Checks a version 5 block against what it should say of itself.
pub(super) fn check(bytes: &[u8], layout: Layout, expected: Expected) -> Result<(), Doubt> {
    let fields = Fields::new(bytes);
    let foreign = |what: String| Err(Doubt::Foreign(what));
    match fields.be_u64(layout.owner) {
        Some(owner) if owner == expected.owner => {}
        Some(owner) => return foreign(format!("it says that it belongs to inode {owner}")),
        None => return foreign("it is cut short".to_owned()),
    }
    let place = expected.place.get() / SECTOR_BYTES;
    match fields.be_u64(layout.blkno) {
        Some(blkno) if blkno == place => {}
        Some(blkno) => {
            return foreign(format!(
                "it says that it lies at sector {blkno}, not {place}"
            ));
        }
        None => return foreign("it is cut short".to_owned()),
    }
    if fields.array::<16>(layout.uuid) != Some(expected.uuid) {
        return foreign("it carries the UUID of another file system".to_owned());
    }
    if crc_fits(bytes, layout.crc) {
        Ok(())
    } else {
        Err(Doubt::Checksum)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes the checksum of `bytes` into the field at `crc_at`.
    pub(in crate::xfs) fn seal(bytes: &mut [u8], crc_at: usize) {
        bytes[crc_at..crc_at + 4].fill(0);
        let crc = crc32c::crc32c(bytes);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Writes into `bytes` what `expected` asks for, and the checksum.
    pub(in crate::xfs) fn describe(bytes: &mut [u8], layout: Layout, expected: Expected) {
        let put = |bytes: &mut [u8], at: usize, value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
        };
        let blkno = expected.place.get() / SECTOR_BYTES;
        put(bytes, layout.owner, &expected.owner.to_be_bytes());
        put(bytes, layout.blkno, &blkno.to_be_bytes());
        put(bytes, layout.uuid, &expected.uuid);
        seal(bytes, layout.crc);
    }

    #[test]
    fn a_block_of_another_owner_is_foreign_and_a_flipped_bit_is_only_a_checksum() {
        let expected = Expected {
            place: ByteOffset::new(8192),
            uuid: [7; 16],
            owner: 131,
        };
        for layout in [BTREE_LONG, DIR3_DATA, DA3, SYMLINK] {
            let mut block = vec![0xA5; 512];
            describe(&mut block, layout, expected);
            assert_eq!(check(&block, layout, expected), Ok(()));
            let other = Expected {
                owner: 132,
                ..expected
            };
            assert!(matches!(
                check(&block, layout, other),
                Err(Doubt::Foreign(_))
            ));
            let moved = Expected {
                place: ByteOffset::new(4096),
                ..expected
            };
            assert!(matches!(
                check(&block, layout, moved),
                Err(Doubt::Foreign(_))
            ));
            block[300] ^= 1;
            assert_eq!(check(&block, layout, expected), Err(Doubt::Checksum));
            assert!(check(&block[..60], layout, expected).is_err());
        }
    }

    #[test]
    fn one_flipped_bit_is_mended_and_two_are_not() {
        let mut whole: Vec<u8> = (0..600_usize).map(|n| (n * 7 % 251) as u8).collect();
        super::seal(&mut whole, 100);
        assert!(crc_fits(&whole, 100));
        for bit in (0..4800).step_by(7).chain([800, 831, 4799]) {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(mend(&mut bad, 100), "bit {bit}");
            assert_eq!(bad, whole, "bit {bit}");
            bad[bit / 8] ^= 1 << (bit % 8);
            bad[599 - bit / 16] ^= 0x10;
            assert!(!mend(&mut bad, 100), "bit {bit}");
        }
    }

    #[test]
    fn a_checksum_that_does_not_fit_into_the_block_never_fits() {
        assert!(!crc_fits(&[0; 8], 6));
        assert!(!crc_fits(&[], usize::MAX));
    }
}
