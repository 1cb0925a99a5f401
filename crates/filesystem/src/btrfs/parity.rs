//! What is missing in a row of raid5 or raid6, from the rest of it.
//!
//! P is the sum of the data stripes, Q the sum of data stripe number i times 2^i, in the field of
//! 256 elements with the polynomial 0x11D (H. P. Anvin, *The mathematics of RAID-6*).

/// Powers of 2, twice around, so that sums of two exponents need no division.
const POWERS: [u8; 510] = powers();
/// The exponent of each element but 0.
const LOGARITHMS: [u8; 256] = logarithms();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "computed by the compiler, which refuses what is out of bounds"
)]
const fn powers() -> [u8; 510] {
    let mut table = [0; 510];
    let mut value = 1_u16;
    let mut index = 0;
    while index < 510 {
        table[index] = value as u8;
        value <<= 1;
        if value & 0x100 != 0 {
            value ^= 0x11D;
        }
        index += 1;
    }
    table
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "computed by the compiler, which refuses what is out of bounds"
)]
const fn logarithms() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 255 {
        table[POWERS[index] as usize] = index as u8;
        index += 1;
    }
    table
}

/// 2^`exponent`.
fn power(exponent: usize) -> u8 {
    let exponent = exponent.checked_rem(255).unwrap_or_default();
    POWERS.get(exponent).copied().unwrap_or_default()
}

fn product(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let log = |x: u8| LOGARITHMS.get(usize::from(x)).copied().unwrap_or_default();
    let sum = usize::from(log(a)).saturating_add(log(b).into());
    POWERS.get(sum).copied().unwrap_or_default()
}

fn inverse(a: u8) -> u8 {
    let log = LOGARITHMS.get(usize::from(a)).copied().unwrap_or_default();
    power(255_usize.saturating_sub(log.into()))
}

/// Adds `factor` × `from` to `to`.
fn add(to: &mut [u8], from: &[u8], factor: u8) {
    if factor == 1 {
        to.iter_mut().zip(from).for_each(|(a, b)| *a ^= b);
    } else {
        to.iter_mut()
            .zip(from)
            .for_each(|(a, b)| *a ^= product(factor, *b));
    }
}

fn scale(bytes: &mut [u8], factor: u8) {
    bytes.iter_mut().for_each(|a| *a = product(factor, *a));
}

/// Stripe `missing` from P and the other data stripes; `data` gives each by its number.
pub(super) fn with_p<'a>(p: &[u8], data: impl Iterator<Item = (usize, &'a [u8])>) -> Vec<u8> {
    let mut sum = p.to_vec();
    data.for_each(|(_, bytes)| add(&mut sum, bytes, 1));
    sum
}

/// Stripe `missing` from Q and the other data stripes.
pub(super) fn with_q<'a>(
    missing: usize,
    q: &[u8],
    data: impl Iterator<Item = (usize, &'a [u8])>,
) -> Vec<u8> {
    let mut sum = q.to_vec();
    data.for_each(|(number, bytes)| add(&mut sum, bytes, power(number)));
    scale(&mut sum, inverse(power(missing)));
    sum
}

/// Stripe `missing` from P, Q and the data stripes besides it and `other`.
pub(super) fn with_both<'a>(
    missing: usize,
    other: usize,
    p: &[u8],
    q: &[u8],
    data: impl Iterator<Item = (usize, &'a [u8])>,
) -> Vec<u8> {
    let mut p = p.to_vec();
    let mut q = q.to_vec();
    for (number, bytes) in data {
        add(&mut p, bytes, 1);
        add(&mut q, bytes, power(number));
    }
    // p = a + b and q = 2^a a + 2^b b, with a missing and b the other.
    add(&mut q, &p, power(other));
    scale(&mut q, inverse(power(missing) ^ power(other)));
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_one_or_two_stripes_come_back() {
        let data: Vec<Vec<u8>> = (0..5_u8)
            .map(|stripe| {
                (0..64_u8)
                    .map(|i| i.wrapping_mul(5) ^ stripe.wrapping_mul(77))
                    .collect()
            })
            .collect();
        let (mut p, mut q) = (vec![0; 64], vec![0; 64]);
        for (number, bytes) in data.iter().enumerate() {
            add(&mut p, bytes, 1);
            add(&mut q, bytes, power(number));
        }
        for missing in 0..5 {
            let without = |other: usize| {
                let all = data.iter().map(Vec::as_slice).enumerate();
                all.filter(move |(number, _)| *number != missing && *number != other)
            };
            assert_eq!(with_p(&p, without(missing)), data[missing]);
            assert_eq!(with_q(missing, &q, without(missing)), data[missing]);
            for other in (0..5).filter(|other| *other != missing) {
                let got = with_both(missing, other, &p, &q, without(other));
                assert_eq!(got, data[missing]);
            }
        }
    }
}
