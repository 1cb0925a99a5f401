//! The inner loops of parity arithmetic: with vectors where the processor has them.
//!
//! Each loop exists once in plain code and once per vector width, all with the same meaning;
//! which one runs is decided once per call. Slices of one call have the same length (what is
//! longer is ignored).

use super::galois::nibbles;

/// Runs a loop in the widest form that this processor has.
macro_rules! dispatch {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                #[expect(unsafe_code, reason = "the processor has AVX2, as just checked")]
                unsafe {
                    return avx2::$name($($argument),*);
                }
            }
            if std::arch::is_x86_feature_detected!("ssse3") {
                #[expect(unsafe_code, reason = "the processor has SSSE3, as just checked")]
                unsafe {
                    return ssse3::$name($($argument),*);
                }
            }
        }
        plain::$name($($argument),*);
    }};
}
/// `target ^= source`.
pub(crate) fn xor(target: &mut [u8], source: &[u8]) {
    dispatch!(xor(target, source));
}

/// `target ^= factor · source`.
pub(crate) fn add_product(target: &mut [u8], source: &[u8], factor: u8) {
    dispatch!(add_product(target, source, nibbles(factor)));
}

/// `p ^= source` and `q ^= factor · source` in one pass.
pub(super) fn add_both(p: &mut [u8], q: &mut [u8], source: &[u8], factor: u8) {
    dispatch!(add_both(p, q, source, nibbles(factor)));
}

/// `target = factor · target`.
pub(crate) fn scale(target: &mut [u8], factor: u8) {
    dispatch!(scale(target, nibbles(factor)));
}

/// `(x, y) = (a·x ^ b·y, x ^ (a·x ^ b·y))`: from what P and Q lack to the two lost pieces.
pub(super) fn solve_two(x: &mut [u8], y: &mut [u8], a: u8, b: u8) {
    dispatch!(solve_two(x, y, nibbles(a), nibbles(b)));
}

/// The loops byte by byte; the compiler vectorises those without products.
mod plain {
    fn product(value: u8, table: &[u8; 32]) -> u8 {
        let low = table.get(usize::from(value & 15)).copied();
        let high = table.get(usize::from(value >> 4) | 16).copied();
        low.unwrap_or(0) ^ high.unwrap_or(0)
    }

    pub(super) fn xor(target: &mut [u8], source: &[u8]) {
        for (t, s) in target.iter_mut().zip(source) {
            *t ^= s;
        }
    }

    pub(super) fn add_product(target: &mut [u8], source: &[u8], table: &[u8; 32]) {
        for (t, s) in target.iter_mut().zip(source) {
            *t ^= product(*s, table);
        }
    }

    pub(super) fn add_both(p: &mut [u8], q: &mut [u8], source: &[u8], table: &[u8; 32]) {
        for ((p, q), s) in p.iter_mut().zip(q).zip(source) {
            *p ^= s;
            *q ^= product(*s, table);
        }
    }

    pub(super) fn scale(target: &mut [u8], table: &[u8; 32]) {
        for t in target {
            *t = product(*t, table);
        }
    }

    pub(super) fn solve_two(x: &mut [u8], y: &mut [u8], a: &[u8; 32], b: &[u8; 32]) {
        for (x, y) in x.iter_mut().zip(y) {
            let first = product(*x, a) ^ product(*y, b);
            *y = *x ^ first;
            *x = first;
        }
    }
}

/// The loops over vectors of one width. A product is two shuffles: the low and the high nibble
/// of each byte select from the factor's table.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_loops {
    ($module:ident, $feature:literal, $width:literal, $vector:ty, $load:ident, $store:ident,
     $xor:ident, $and:ident, $shift:ident, $shuffle:ident, $splat:ident, $table:expr) => {
        mod $module {
            use std::arch::x86_64::*;

            use super::plain;

            #[inline]
            #[target_feature(enable = $feature)]
            fn load(bytes: &[u8; $width]) -> $vector {
                #[expect(
                    unsafe_code,
                    reason = "the array is as long as the vector; any alignment"
                )]
                unsafe {
                    $load(bytes.as_ptr().cast())
                }
            }

            #[inline]
            #[target_feature(enable = $feature)]
            fn store(bytes: &mut [u8; $width], value: $vector) {
                #[expect(
                    unsafe_code,
                    reason = "the array is as long as the vector; any alignment"
                )]
                unsafe {
                    $store(bytes.as_mut_ptr().cast(), value);
                }
            }

            /// The factor's table, its halves in every lane.
            #[inline]
            #[target_feature(enable = $feature)]
            fn halves(table: &[u8; 32]) -> ($vector, $vector) {
                let [low, high] = [0, 16].map(|at| {
                    let mut half = [0; 16];
                    half.copy_from_slice(table.get(at..at + 16).unwrap_or(&[0; 16]));
                    #[expect(
                        unsafe_code,
                        reason = "the array is as long as the vector; any alignment"
                    )]
                    unsafe {
                        _mm_loadu_si128(half.as_ptr().cast())
                    }
                });
                ($table(low), $table(high))
            }

            #[inline]
            #[target_feature(enable = $feature)]
            fn product(value: $vector, (low, high): ($vector, $vector)) -> $vector {
                let mask = $splat(0x0f);
                $xor(
                    $shuffle(low, $and(value, mask)),
                    $shuffle(high, $and($shift::<4>(value), mask)),
                )
            }

            #[target_feature(enable = $feature)]
            pub(super) fn xor(target: &mut [u8], source: &[u8]) {
                let length = target.len().min(source.len());
                let (target, source) = (target.split_at_mut(length).0, source.split_at(length).0);
                let (targets, target_rest) = target.as_chunks_mut::<$width>();
                let (sources, source_rest) = source.as_chunks::<$width>();
                for (t, s) in targets.iter_mut().zip(sources) {
                    store(t, $xor(load(t), load(s)));
                }
                plain::xor(target_rest, source_rest);
            }

            #[target_feature(enable = $feature)]
            pub(super) fn add_product(target: &mut [u8], source: &[u8], table: &[u8; 32]) {
                let length = target.len().min(source.len());
                let (target, source) = (target.split_at_mut(length).0, source.split_at(length).0);
                let (targets, target_rest) = target.as_chunks_mut::<$width>();
                let (sources, source_rest) = source.as_chunks::<$width>();
                let factor = halves(table);
                for (t, s) in targets.iter_mut().zip(sources) {
                    store(t, $xor(load(t), product(load(s), factor)));
                }
                plain::add_product(target_rest, source_rest, table);
            }

            #[target_feature(enable = $feature)]
            pub(super) fn add_both(p: &mut [u8], q: &mut [u8], source: &[u8], table: &[u8; 32]) {
                let length = p.len().min(q.len()).min(source.len());
                let (p, q) = (p.split_at_mut(length).0, q.split_at_mut(length).0);
                let (ps, p_rest) = p.as_chunks_mut::<$width>();
                let (qs, q_rest) = q.as_chunks_mut::<$width>();
                let (sources, source_rest) = source.split_at(length).0.as_chunks::<$width>();
                let factor = halves(table);
                for ((p, q), s) in ps.iter_mut().zip(qs).zip(sources) {
                    let value = load(s);
                    store(p, $xor(load(p), value));
                    store(q, $xor(load(q), product(value, factor)));
                }
                plain::add_both(p_rest, q_rest, source_rest, table);
            }

            #[target_feature(enable = $feature)]
            pub(super) fn scale(target: &mut [u8], table: &[u8; 32]) {
                let (targets, rest) = target.as_chunks_mut::<$width>();
                let factor = halves(table);
                for t in targets {
                    store(t, product(load(t), factor));
                }
                plain::scale(rest, table);
            }

            #[target_feature(enable = $feature)]
            pub(super) fn solve_two(x: &mut [u8], y: &mut [u8], a: &[u8; 32], b: &[u8; 32]) {
                let length = x.len().min(y.len());
                let (x, y) = (x.split_at_mut(length).0, y.split_at_mut(length).0);
                let (xs, x_rest) = x.as_chunks_mut::<$width>();
                let (ys, y_rest) = y.as_chunks_mut::<$width>();
                let (first_factor, second_factor) = (halves(a), halves(b));
                for (x, y) in xs.iter_mut().zip(ys) {
                    let sum = load(x);
                    let first = $xor(product(sum, first_factor), product(load(y), second_factor));
                    store(x, first);
                    store(y, $xor(sum, first));
                }
                plain::solve_two(x_rest, y_rest, a, b);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector_loops!(
    avx2,
    "avx2",
    32,
    __m256i,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_xor_si256,
    _mm256_and_si256,
    _mm256_srli_epi64,
    _mm256_shuffle_epi8,
    _mm256_set1_epi8,
    |half| _mm256_broadcastsi128_si256(half)
);
#[cfg(target_arch = "x86_64")]
vector_loops!(
    ssse3,
    "ssse3",
    16,
    __m128i,
    _mm_loadu_si128,
    _mm_storeu_si128,
    _mm_xor_si128,
    _mm_and_si128,
    _mm_srli_epi64,
    _mm_shuffle_epi8,
    _mm_set1_epi8,
    |half| half
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::galois::product;
    use super::*;

    type ForBoth = fn(&mut [u8], &mut [u8], &[u8], &[u8; 32]);
    type ForTwo = fn(&mut [u8], &mut [u8], &[u8; 32], &[u8; 32]);

    /// One way to run each loop: plain, or with some vectors.
    struct Form {
        name: &'static str,
        xor: fn(&mut [u8], &[u8]),
        add_product: fn(&mut [u8], &[u8], &[u8; 32]),
        add_both: ForBoth,
        scale: fn(&mut [u8], &[u8; 32]),
        solve_two: ForTwo,
    }

    #[cfg(target_arch = "x86_64")]
    macro_rules! vector_form {
        ($module:ident) => {
            Form {
                name: stringify!($module),
                #[expect(unsafe_code, reason = "only built where the feature was detected")]
                xor: |t, s| unsafe { $module::xor(t, s) },
                #[expect(unsafe_code, reason = "only built where the feature was detected")]
                add_product: |t, s, f| unsafe { $module::add_product(t, s, f) },
                #[expect(unsafe_code, reason = "only built where the feature was detected")]
                add_both: |p, q, s, f| unsafe { $module::add_both(p, q, s, f) },
                #[expect(unsafe_code, reason = "only built where the feature was detected")]
                scale: |t, f| unsafe { $module::scale(t, f) },
                #[expect(unsafe_code, reason = "only built where the feature was detected")]
                solve_two: |x, y, a, b| unsafe { $module::solve_two(x, y, a, b) },
            }
        };
    }

    fn forms() -> Vec<Form> {
        let mut forms = vec![Form {
            name: "plain",
            xor: plain::xor,
            add_product: plain::add_product,
            add_both: plain::add_both,
            scale: plain::scale,
            solve_two: plain::solve_two,
        }];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                forms.push(vector_form!(avx2));
            }
            if std::arch::is_x86_feature_detected!("ssse3") {
                forms.push(vector_form!(ssse3));
            }
        }
        forms
    }

    proptest! {
        #[test]
        fn every_form_of_a_loop_computes_what_single_bytes_do(
            bytes in prop::collection::vec(any::<(u8, u8, u8)>(), 0..300),
            shift in 0_usize..40,
            (a, b) in any::<(u8, u8)>(),
        ) {
            // Unaligned starts: everything begins `shift` bytes into its memory.
            let padded = |pick: fn(&(u8, u8, u8)) -> u8| -> Vec<u8> {
                std::iter::repeat_n(0, shift).chain(bytes.iter().map(pick)).collect()
            };
            let (x, y, s) = (padded(|t| t.0), padded(|t| t.1), padded(|t| t.2));
            let want = |f: &dyn Fn(u8, u8, u8) -> u8| -> Vec<u8> {
                bytes.iter().map(|(x, y, s)| f(*x, *y, *s)).collect()
            };
            for form in forms() {
                let (mut p, mut q) = (x.clone(), y.clone());
                (form.xor)(&mut p[shift..], &s[shift..]);
                prop_assert_eq!(&p[shift..], want(&|x, _, s| x ^ s), "{} xor", form.name);
                (form.add_product)(&mut q[shift..], &s[shift..], nibbles(a));
                prop_assert_eq!(&q[shift..], want(&|_, y, s| y ^ product(a, s)), "{} add", form.name);
                let (mut p2, mut q2) = (x.clone(), y.clone());
                (form.add_both)(&mut p2[shift..], &mut q2[shift..], &s[shift..], nibbles(a));
                prop_assert_eq!((p2, q2), (p, q), "{} both", form.name);
                let (mut p, mut q) = (x.clone(), y.clone());
                (form.solve_two)(&mut p[shift..], &mut q[shift..], nibbles(a), nibbles(b));
                let first = want(&|x, y, _| product(a, x) ^ product(b, y));
                let second = want(&|x, y, _| x ^ product(a, x) ^ product(b, y));
                prop_assert_eq!((&p[shift..], &q[shift..]), (&first[..], &second[..]), "{} two", form.name);
                let mut p = x.clone();
                (form.scale)(&mut p[shift..], nibbles(b));
                prop_assert_eq!(&p[shift..], want(&|x, _, _| product(b, x)), "{} scale", form.name);
            }
        }
    }
}
