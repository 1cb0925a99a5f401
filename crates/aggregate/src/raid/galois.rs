//! The field GF(2^8) of RAID-6: polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator 2.
//!
//! Source: H. Peter Anvin, "The mathematics of RAID-6" (kernel.org).
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tables of 256 indexed by a byte, built at compile time"
)]

/// The low byte of the polynomial 0x11d.
const POLYNOMIAL: u8 = 0x1d;

/// The powers of the generator; the second half repeats the first, so that sums of two
/// logarithms need no reduction.
static EXP: [u8; 512] = exp_table();

/// The logarithms; that of zero does not exist and is never asked for.
static LOG: [u8; 256] = log_table();

/// For every factor, its products with the 16 low and the 16 high nibbles: what a byte
/// shuffle looks up.
static NIBBLES: [[u8; 32]; 256] = nibble_table();

const fn double(value: u8) -> u8 {
    (value << 1) ^ (if value & 0x80 == 0 { 0 } else { POLYNOMIAL })
}

const fn exp_table() -> [u8; 512] {
    let mut table = [0; 512];
    let mut value = 1;
    let mut i = 0;
    while i < 512 {
        // 2^255 is 1 again, so from 255 on the table repeats by itself.
        table[i] = value;
        value = double(value);
        i += 1;
    }
    table
}

const fn log_table() -> [u8; 256] {
    let exp = exp_table();
    let mut table = [0; 256];
    let mut i = 0;
    while i < 255 {
        table[exp[i] as usize] = i as u8;
        i += 1;
    }
    table
}

const fn nibble_table() -> [[u8; 32]; 256] {
    let mut table = [[0; 32]; 256];
    let mut factor = 0;
    while factor < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            table[factor][nibble] = slow_product(factor as u8, nibble as u8);
            table[factor][16 + nibble] = slow_product(factor as u8, (nibble as u8) << 4);
            nibble += 1;
        }
        factor += 1;
    }
    table
}

/// The product by shifting and adding, for the tables.
const fn slow_product(a: u8, b: u8) -> u8 {
    let mut sum = 0;
    let mut shifted = a;
    let mut bit = 0;
    while bit < 8 {
        if b >> bit & 1 == 1 {
            sum ^= shifted;
        }
        shifted = double(shifted);
        bit += 1;
    }
    sum
}

/// The generator to the power of `exponent`: the coefficient that Q gives to a disk.
pub fn power(exponent: u32) -> u8 {
    EXP[(exponent % 255) as usize]
}

/// The product of two elements.
pub fn product(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])]
}

/// The inverse of `value`, and zero for zero, which has none.
pub(crate) fn inverse(value: u8) -> u8 {
    if value == 0 {
        return 0;
    }
    EXP[255 - usize::from(LOG[usize::from(value)])]
}

/// The products of `factor` with the 16 low nibbles, then with the 16 high nibbles.
pub(super) fn nibbles(factor: u8) -> &'static [u8; 32] {
    &NIBBLES[usize::from(factor)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_logarithm_are_the_products_by_shifting() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(product(a, b), slow_product(a, b), "{a} × {b}");
            }
            if a > 0 {
                assert_eq!(product(a, inverse(a)), 1);
            }
        }
    }

    #[test]
    fn the_generator_has_255_different_powers() {
        let mut powers: Vec<u8> = (0..255).map(power).collect();
        powers.sort_unstable();
        powers.dedup();
        assert_eq!(powers.len(), 255);
        assert_eq!((power(0), power(1), power(8), power(255)), (1, 2, 0x1d, 1));
    }
}
