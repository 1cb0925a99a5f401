//! CRC-32C, forwards and backwards.
//!
//! A CRC is made step by step, and each step can be undone: what a checksum and the bytes that it covers
//! were begun with follows from both. File systems begin theirs with what a block should say of itself,
//! its UUID or its number, so that a block whose checksum is kept states that.

/// CRC-32C of `bytes` after `seed`. Unlike the published check value neither is inverted, as in the
/// `crc32c()` of the kernel's library.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!seed, bytes)
}

/// The seed for which [`crc32c()`] of `bytes` gives `sum`: the same steps, backwards.
pub fn crc32c_seed(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(sum, |crc, byte| {
        let before = (0..8).fold(crc, |crc, _| crc32c_bit_back(crc));
        before ^ u32::from(*byte)
    })
}

/// One step of the CRC-32C, which takes one bit, backwards.
pub const fn crc32c_bit_back(crc: u32) -> u32 {
    if crc & 0x8000_0000 == 0 {
        crc << 1
    } else {
        (crc ^ 0x82F6_3B78) << 1 | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backwards_leads_to_the_seed() {
        let check = b"123456789";
        assert_eq!(!crc32c(!0, check), 0xE306_9283, "the published check value");
        for seed in [0, 1, 0xFFFF_FFFF, 0x1234_5678] {
            assert_eq!(crc32c_seed(crc32c(seed, check), check), seed);
        }
    }
}
