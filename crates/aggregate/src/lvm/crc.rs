//! The checksum that labels, metadata headers and metadata texts carry.

/// What the register holds before the first byte.
const INITIAL: u32 = 0xF597_A6CF;

/// LVM's CRC of `bytes`: the polynomial 0xEDB88320 reflected, starting from 0xF597A6CF, and
/// without the inversion at either end that CRC-32 has.
pub fn crc(bytes: &[u8]) -> u32 {
    // crc32fast inverts the register before and after: feeding it the inverse undoes both.
    let mut hasher = crc32fast::Hasher::new_with_initial(!INITIAL);
    hasher.update(bytes);
    !hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit_by_bit(bytes: &[u8]) -> u32 {
        bytes.iter().fold(INITIAL, |register, byte| {
            (0..8).fold(register ^ u32::from(*byte), |r, _| {
                (r >> 1) ^ if r & 1 == 1 { 0xEDB8_8320 } else { 0 }
            })
        })
    }

    #[test]
    fn the_register_is_not_inverted() {
        for text in [&b""[..], b"a", b"LABELONE", &[0; 1000]] {
            assert_eq!(crc(text), bit_by_bit(text));
        }
    }
}
