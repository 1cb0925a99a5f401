//! The checksums of superblocks, tree blocks and data (`csum_type`).

use blake2::digest::consts::U32;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Bytes that the field of a checksum takes in headers: `BTRFS_CSUM_SIZE`.
pub(super) const CSUM_FIELD: usize = 32;

/// `csum_type`: how everything in a file system is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CsumType {
    /// `BTRFS_CSUM_TYPE_CRC32`: CRC-32C.
    Crc32c,
    /// `BTRFS_CSUM_TYPE_XXHASH`: XXH64 with seed 0.
    Xxhash,
    /// `BTRFS_CSUM_TYPE_SHA256`.
    Sha256,
    /// `BTRFS_CSUM_TYPE_BLAKE2`: BLAKE2b of 256 bits.
    Blake2,
}

impl CsumType {
    /// All of them, the usual one first.
    pub(super) const ALL: [Self; 4] = [Self::Crc32c, Self::Xxhash, Self::Sha256, Self::Blake2];

    /// The type with this number.
    pub(super) fn new(csum_type: u16) -> Option<Self> {
        Self::ALL.get(usize::from(csum_type)).copied()
    }

    /// How many bytes a sum has.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Xxhash => 8,
            Self::Sha256 | Self::Blake2 => 32,
        }
    }

    /// What it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::Xxhash => "xxhash64",
            Self::Sha256 => "sha256",
            Self::Blake2 => "blake2b",
        }
    }

    /// The sum of `bytes`, with zeros behind it.
    pub(super) fn sum(self, bytes: &[u8]) -> [u8; CSUM_FIELD] {
        let mut sum = [0; CSUM_FIELD];
        let mut put = |of: &[u8]| {
            if let Some(part) = sum.get_mut(..of.len()) {
                part.copy_from_slice(of);
            }
        };
        match self {
            Self::Crc32c => put(&crc32c::crc32c(bytes).to_le_bytes()),
            Self::Xxhash => put(&twox_hash::XxHash64::oneshot(0, bytes).to_le_bytes()),
            Self::Sha256 => put(&sha2::Sha256::digest(bytes)),
            Self::Blake2 => put(&blake2::Blake2b::<U32>::digest(bytes)),
        }
        sum
    }

    /// Whether `stored` begins with the sum of `bytes`.
    pub(super) fn fits(self, stored: &[u8], bytes: &[u8]) -> bool {
        let stored = stored.get(..self.size());
        stored.is_some_and(|stored| self.sum(bytes).starts_with(stored))
    }

    /// Whether the sum at the start of a superblock or tree block is that of what is behind it.
    pub(super) fn block_fits(self, block: &[u8]) -> bool {
        block
            .split_at_checked(CSUM_FIELD)
            .is_some_and(|(stored, rest)| self.fits(stored, rest))
    }
}

/// `btrfs_name_hash`: what the offset of the key of a directory item is.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    // The kernel begins with ~1 and inverts neither before nor after.
    u64::from(!crc32c::crc32c_append(1, name))
}

/// The one bit of `bytes` that was flipped if the CRC-32C `stored` is right: its index, the lowest
/// bit of the first byte being 0. `None` if no single bit explains the difference.
///
/// The polynomial tells all errors of one, two and three bits apart from none over far more
/// than the longest tree block, so an error of two bits is never taken for one of one bit.
pub(super) fn flipped_bit(stored: u32, bytes: &[u8]) -> Option<usize> {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let syndrome = stored ^ crc32c::crc32c(bytes);
    // What a flip of the last bit, then of ever earlier ones, changes.
    let mut change = POLYNOMIAL;
    for byte in (0..bytes.len()).rev() {
        for bit in (0..8).rev() {
            if change == syndrome {
                return byte.checked_mul(8)?.checked_add(bit);
            }
            let carry = change & 1;
            change = (change >> 1) ^ POLYNOMIAL.wrapping_mul(carry);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_fits_its_own_sum_and_no_other_bytes() {
        let sums: [&[u8]; 4] = [
            &0xE306_9283_u32.to_le_bytes(),
            &0x8CB8_41DB_40E6_AE83_u64.to_le_bytes(),
            b"\x15\xe2\xb0\xd3\xc3\x38\x91\xeb\xb0\xf1\xef\x60\x9e\xc4\x19\x42\x0c\x20\xe3\x20\xce\x94\xc6\x5f\xbc\x8c\x33\x12\x44\x8e\xb2\x25",
            b"",
        ];
        for (kind, sum) in CsumType::ALL.into_iter().zip(sums) {
            assert_eq!(kind.fits(sum, b"123456789"), !sum.is_empty(), "{kind:?}");
            assert!(!kind.fits(sum, b"123456780"), "{kind:?}");
        }
    }

    #[test]
    fn one_flipped_bit_is_found_and_two_are_not() {
        let mut bytes: Vec<u8> = (0..16_352_u32).map(|i| (i * 7 % 253) as u8).collect();
        let stored = crc32c::crc32c(&bytes);
        assert_eq!(flipped_bit(stored, &bytes), None);
        for bit in [0, 7, 8, 1001, 16_352 * 8 - 1] {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(flipped_bit(stored, &bytes), Some(bit));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[5] ^= 1;
        bytes[900] ^= 4;
        assert_eq!(flipped_bit(stored, &bytes), None);
    }

    #[test]
    fn names_hash_as_the_kernel_hashes_them() {
        // From the key of a directory item that mkfs writes for "default".
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
