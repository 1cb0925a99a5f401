//! Parity arithmetic: P is the XOR of the data, Q the sum of g^e · data in GF(2^8).
//!
//! Recovery starts from *remainders*: P and Q as they were stored, minus everything that is
//! known. What is unknown counts as zero, so one remainder serves every byte range of a row,
//! whatever is lost in it: [`subtract`] takes a known piece out, and the `recover_*` functions
//! turn the remainders of a range into its lost pieces. All slices of one call have the same
//! length.

use super::galois::inverse;
pub use super::galois::power as coefficient;
pub use super::galois::product;
use super::kernels;

/// Bytes of P and Q that stay in the fastest cache while all sources pass over them.
const BLOCK: usize = 8192;

/// Adds `source` to `target`: the arithmetic of P.
pub fn xor(target: &mut [u8], source: &[u8]) {
    kernels::xor(target, source);
}

/// Adds all `sources` to `target`, which is read and written once.
pub fn xor_all(target: &mut [u8], sources: &[&[u8]]) {
    for (block, part) in target.chunks_mut(BLOCK).enumerate() {
        for source in sources {
            kernels::xor(part, source.get(block * BLOCK..).unwrap_or_default());
        }
    }
}

/// Takes a known piece of data out of the remainder of Q; `coefficient` is that of its disk.
pub fn subtract_q(q: &mut [u8], source: &[u8], coefficient: u8) {
    kernels::add_product(q, source, coefficient);
}

/// Takes a known piece of data out of both remainders; `coefficient` is that of its disk in Q.
pub fn subtract(p: &mut [u8], q: &mut [u8], source: &[u8], coefficient: u8) {
    kernels::add_both(p, q, source, coefficient);
}

/// Computes P and Q of `data`: pieces with the coefficients of their disks.
pub fn compute(p: &mut [u8], q: &mut [u8], data: &[(u8, &[u8])]) {
    p.fill(0);
    q.fill(0);
    for (block, (p, q)) in p.chunks_mut(BLOCK).zip(q.chunks_mut(BLOCK)).enumerate() {
        for (coefficient, source) in data {
            let part = source.get(block * BLOCK..).unwrap_or_default();
            kernels::add_both(p, q, part, *coefficient);
        }
    }
}

/// Turns the remainder of Q into the one piece of data that is missing from it.
pub fn recover_by_q(q: &mut [u8], coefficient: u8) {
    kernels::scale(q, inverse(coefficient));
}

/// Turns the remainders of P and Q into the two pieces of data that are missing from them:
/// `p` becomes the one of coefficient `x`, `q` the one of coefficient `y`, which differ.
///
/// From `P' = X + Y` and `Q' = x·X + y·Y` follows `X = (y·P' + Q') / (x + y)`, `Y = P' + X`.
pub fn recover_two(p: &mut [u8], q: &mut [u8], x: u8, y: u8) {
    let divisor = inverse(x ^ y);
    kernels::solve_two(p, q, product(y, divisor), divisor);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Multiplication as on paper: the oracle knows no tables.
    fn by_hand(mut a: u8, mut b: u8) -> u8 {
        let mut sum = 0;
        while b != 0 {
            if b & 1 == 1 {
                sum ^= a;
            }
            let carry = a & 0x80 != 0;
            a <<= 1;
            if carry {
                a ^= 0x1d;
            }
            b >>= 1;
        }
        sum
    }

    fn stripes() -> impl Strategy<Value = (Vec<Vec<u8>>, usize, usize)> {
        (2_usize..12, 1_usize..9000).prop_flat_map(|(disks, length)| {
            (
                prop::collection::vec(prop::collection::vec(any::<u8>(), length), disks),
                0..disks,
                0..disks,
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_two_lost_pieces_come_back((data, lost, other) in stripes()) {
            let coefficients: Vec<u8> = (0..data.len()).map(|e| coefficient(e as u32)).collect();
            let length = data[0].len();
            let (mut p, mut q) = (vec![1; length], vec![2; length]);
            let sources: Vec<(u8, &[u8])> =
                coefficients.iter().copied().zip(data.iter().map(Vec::as_slice)).collect();
            compute(&mut p, &mut q, &sources);
            for at in [0, length / 2, length - 1] {
                prop_assert_eq!(p[at], data.iter().fold(0, |sum, d| sum ^ d[at]));
                let want = sources.iter().fold(0, |sum, (c, d)| sum ^ by_hand(*c, d[at]));
                prop_assert_eq!(q[at], want);
            }
            let mut by_p = p.clone();
            let known: Vec<&[u8]> =
                (0..data.len()).filter(|i| *i != lost).map(|i| data[i].as_slice()).collect();
            xor_all(&mut by_p, &known);
            prop_assert_eq!(&by_p, &data[lost]);
            let mut by_q = q.clone();
            for i in (0..data.len()).filter(|i| *i != lost) {
                subtract_q(&mut by_q, &data[i], coefficients[i]);
            }
            recover_by_q(&mut by_q, coefficients[lost]);
            prop_assert_eq!(&by_q, &data[lost]);
            if lost != other {
                let (mut x, mut y) = (p.clone(), q.clone());
                for i in (0..data.len()).filter(|i| *i != lost && *i != other) {
                    subtract(&mut x, &mut y, &data[i], coefficients[i]);
                }
                recover_two(&mut x, &mut y, coefficients[lost], coefficients[other]);
                prop_assert_eq!((&x, &y), (&data[lost], &data[other]));
            }
        }
    }
}
