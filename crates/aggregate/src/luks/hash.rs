//! Hashes by the names that headers have for them.

use pbkdf2::pbkdf2_hmac;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// A hash function that headers name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Ripemd160,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Calls `$run` with the type of the hash.
macro_rules! with_hash {
    ($hash:expr, $run:ident, $($argument:expr),*) => {
        match $hash {
            Hash::Ripemd160 => $run::<Ripemd160>($($argument),*),
            Hash::Sha1 => $run::<Sha1>($($argument),*),
            Hash::Sha224 => $run::<Sha224>($($argument),*),
            Hash::Sha256 => $run::<Sha256>($($argument),*),
            Hash::Sha384 => $run::<Sha384>($($argument),*),
            Hash::Sha512 => $run::<Sha512>($($argument),*),
        }
    };
}

impl Hash {
    /// The hash called `name`, if it is supported.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ripemd160" => Self::Ripemd160,
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => return None,
        })
    }

    /// The length of its digests.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Ripemd160 | Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `parts`, one after the other.
    pub(super) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        with_hash!(self, digest, parts)
    }

    /// Fills `out` by PBKDF2 with HMAC of this hash.
    pub(super) fn pbkdf2(self, secret: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        with_hash!(self, pbkdf2_hmac, secret, salt, iterations, out);
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_vec()
}
