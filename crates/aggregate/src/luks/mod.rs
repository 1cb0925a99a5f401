//! LUKS containers: what their headers say, and what they hold if a key is given.
//!
//! A container begins with a header, which names the cipher and has the volume key in slots, each
//! locked with a passphrase or the contents of a key file. [`read`] takes the header of either
//! version, in version 2 also its second copy where the first one is gone. [`Keys`] are what a
//! person gives; a slot that one of them opens gives the volume key, which the header's digest
//! proves, and with it the volume is one more device.
//!
//! The ciphers and hashes are those of libraries; the format of the container is read here, since
//! no library reads both versions, and none over bytes of which some cannot be read.
//!
//! Sources: *LUKS1 On-Disk Format Specification* 1.2.3 (`v1.rs`) and *LUKS2 On-Disk Format
//! Specification* 1.1.3 (`v2.rs`), both in cryptsetup's `docs`.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod cipher;
mod hash;
mod keys;
mod reader;
mod unlock;
mod v1;
mod v2;

use evidence::ReadAt;

pub use keys::{Keys, Secret};

/// Longest text of a header that is kept, in characters.
const MOST_TEXT: usize = 64;
/// Every digest of version 1 has that many bytes.
const DIGEST_BYTES: usize = 20;
/// More slots than version 2 allows.
const MOST_SLOTS: usize = 64;
/// No key is longer: two of 256 bits, one for XTS.
const MOST_KEY_BYTES: usize = 64;

/// A container, by its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 1 or 2.
    pub version: u16,
    /// Its UUID; empty if it is none.
    pub uuid: String,
    /// Its label; version 1 has none.
    pub label: String,
    /// What is encrypted and how; the error says why that cannot be known or read.
    pub payload: Result<Payload, String>,
    /// The slots that hold its volume key.
    pub slots: Vec<Slot>,
    /// How many more slots there are, of kinds that are not read.
    pub other_slots: usize,
    /// What the volume key is recognised by.
    pub digests: Vec<Digest>,
    /// Other ways to its key than a passphrase, by the names that the header has for them.
    pub tokens: Vec<String>,
    /// Whether it begins with a header: where it does not, the second one of version 2 may be what
    /// something else has left of it.
    pub has_first: bool,
    /// What a person should know of the header.
    pub notes: Vec<String>,
}

/// The encrypted part of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Where it begins, in bytes.
    pub at: u64,
    /// Its length in bytes; `None` for all that follows.
    pub bytes: Option<u64>,
    /// The cipher, as dm-crypt spells it: `aes-xts-plain64`.
    pub cipher: String,
    /// The length of the volume key, in bytes.
    pub key_bytes: usize,
    /// Bytes that are encrypted at once.
    pub sector_bytes: u32,
    /// What is added to the number of a sector.
    pub iv_offset: u64,
    /// Its number in the header.
    pub number: u32,
}

impl Payload {
    /// How many bytes of `device` it is; what is stated to lie behind its end does not count.
    pub(crate) fn length_on(&self, device: &dyn ReadAt) -> u64 {
        let rest = device.len().saturating_sub(self.at);
        self.bytes.unwrap_or(rest).min(rest)
    }
}

/// A slot with the volume key, locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub number: u32,
    /// How a passphrase becomes the key that locks it.
    pub kdf: Kdf,
    /// Where its locked contents begin, in bytes.
    pub at: u64,
    /// The cipher that locks them.
    pub cipher: String,
    /// The length of the key that locks them, in bytes.
    pub lock_bytes: usize,
    /// The length of the volume key in it, in bytes.
    pub key_bytes: usize,
    /// Over how many times its length the volume key is spread.
    pub stripes: u32,
    /// The hash with which it is.
    pub hash: String,
}

/// How a passphrase becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// PBKDF2.
    Pbkdf2 {
        /// The hash.
        hash: String,
        /// How often it is repeated.
        iterations: u32,
        /// The salt.
        salt: Vec<u8>,
    },
    /// Argon2i, or Argon2id.
    Argon2 {
        /// Whether it is Argon2id.
        is_id: bool,
        /// Passes over the memory.
        time: u32,
        /// Memory in KiB.
        memory: u32,
        /// Lanes.
        lanes: u32,
        /// The salt.
        salt: Vec<u8>,
    },
}

/// What a volume key is recognised by: PBKDF2 of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The slots that it is for; none for all.
    pub slots: Vec<u32>,
    /// The parts of the device whose key it is; none for all.
    pub segments: Vec<u32>,
    /// The hash.
    pub hash: String,
    /// How often it is repeated.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest.
    pub digest: Vec<u8>,
}

impl Kdf {
    /// It in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Pbkdf2 {
                hash, iterations, ..
            } => format!("PBKDF2 with {hash}, {iterations} iterations"),
            Self::Argon2 {
                is_id,
                time,
                memory,
                lanes,
                ..
            } => format!(
                "{} of {} MiB, {time} passes, {lanes} lanes",
                if *is_id { "Argon2id" } else { "Argon2i" },
                memory.div_ceil(1024)
            ),
        }
    }
}

/// The container that `device` is; `None` if no header says so.
pub fn read(device: &dyn ReadAt) -> Option<Container> {
    v1::read(device).or_else(|| v2::read(device))
}

/// A text that ends with a zero byte, without what could not be shown.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(MOST_TEXT)
        .collect()
}

/// A UUID as it is written; empty if it is none.
fn uuid(bytes: &[u8]) -> String {
    let text = text(bytes);
    uuid::Uuid::try_parse(&text)
        .map_or_else(|_| String::new(), |uuid| uuid.hyphenated().to_string())
}
