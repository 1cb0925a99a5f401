//! The three checksums that ext4 and jbd2 keep.
//!
//! Source: Linux `Documentation/filesystems/ext4/checksums.rst`, and for the polynomials
//! `crc32c()`, `crc16()` and `crc32_be()` of the kernel's library: none of them inverts its
//! result, and each takes what came before as its seed.

use evidence::checksum::crc32c_bit_back;
pub(super) use evidence::checksum::{crc32c, crc32c_seed};

/// `bytes` with the one bit turned back that makes their CRC-32C `stored` instead of `computed`.
/// If the bit that turned is one of the checksum itself, they are as they were.
///
/// A bit changes the checksum in a way that depends only on how far it is from the end. Of all
/// ways in which a few KiB can be wrong, one in a hundred thousand looks like a single bit.
pub(super) fn mended(bytes: &[u8], stored: u32, computed: u32) -> Option<Vec<u8>> {
    let mut difference = stored ^ computed;
    if difference.is_power_of_two() {
        return Some(bytes.to_vec());
    }
    for (index, byte) in bytes.iter().enumerate().rev() {
        for bit in (0..8).rev() {
            difference = crc32c_bit_back(difference);
            if difference == 1 {
                let mut mended = bytes.to_vec();
                *mended.get_mut(index)? = byte ^ 1 << bit;
                return Some(mended);
            }
        }
    }
    None
}

/// CRC-16 (0x8005, reflected) of `bytes` after `seed`, as `gdt_csum` uses it.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

/// CRC-32 (0x04C11DB7, highest bit first) of `bytes` after `seed`, as jbd2's first checksum,
/// `JBD2_FEATURE_COMPAT_CHECKSUM`, uses it.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        let [top, ..] = crc.to_be_bytes();
        let term = CRC32_BE.get(usize::from(top ^ byte)).copied();
        (crc << 8) ^ term.unwrap_or_default()
    })
}

/// What one byte adds to [`crc32_be`].
static CRC32_BE: [u32; 256] = crc32_be_table();

const fn crc32_be_table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut rest: &mut [u32] = &mut table;
    let mut byte = 0_u32;
    while let Some((entry, more)) = rest.split_first_mut() {
        let mut crc = byte << 24;
        let mut bit = 0_u32;
        while bit < 8 {
            let carry = crc & 0x8000_0000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x04C1_1DB7;
            }
            bit = bit.wrapping_add(1);
        }
        *entry = crc;
        byte = byte.wrapping_add(1);
        rest = more;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomials_give_their_published_check_values() {
        let check = b"123456789";
        assert_eq!(!crc32c(!0, check), 0xE306_9283, "CRC-32C");
        assert_eq!(crc16(0, check), 0xBB3D, "CRC-16/ARC");
        assert_eq!(!crc32_be(!0, check), 0xFC89_1918, "CRC-32/BZIP2");
    }

    #[test]
    fn one_bit_that_turned_is_turned_back_and_two_are_not() {
        let whole = b"poste restante, bureau central".to_vec();
        let stored = crc32c(7, &whole);
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(mended(&bad, stored, crc32c(7, &bad)).as_ref(), Some(&whole));
            bad[11] ^= 0x60;
            let other = mended(&bad, stored, crc32c(7, &bad));
            assert!(
                other.is_none_or(|other| crc32c(7, &other) == stored),
                "{bit}"
            );
        }
        let same = mended(&whole, stored ^ 0x100, stored);
        assert_eq!(same, Some(whole), "the checksum itself");
    }

    #[test]
    fn a_checksum_in_two_parts_is_that_of_the_whole() {
        let (whole, head, tail) = (b"poste restante", b"poste ", b"restante");
        assert_eq!(crc32c(crc32c(7, head), tail), crc32c(7, whole));
        assert_eq!(crc32c_seed(crc32c(7, whole), whole), 7);
        assert_eq!(crc16(crc16(7, head), tail), crc16(7, whole));
        assert_eq!(crc32_be(crc32_be(7, head), tail), crc32_be(7, whole));
    }
}
