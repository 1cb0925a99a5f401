//! Hashes of evidence, unit by unit.
//!
//! BLAKE3 is a tree: the chaining value of a power-of-two stretch does not depend on what is
//! around it, so units are hashed on their own and their values merged (BLAKE3 paper, section
//! 2.1; `blake3::hazmat`). SHA-256 is a chain: its state after a unit is kept with the unit.

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use evidence::ReadAt;
use sha2::Sha256;
use sha2::digest::Digest;
use sha2::digest::common::hazmat::SerializableState;

use crate::UNIT_BYTES;

/// The hash of a unit: of the whole disk if that is one unit, else the chaining value of its
/// part of the tree.
pub type UnitHash = [u8; 32];

/// Hashes one unit as it is read.
pub(crate) struct UnitHasher {
    hasher: blake3::Hasher,
    only_one: bool,
}

impl UnitHasher {
    /// For the unit at `start` of a disk of `length` bytes.
    pub(crate) fn new(start: u64, length: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        let only_one = length <= UNIT_BYTES;
        if !only_one {
            hasher.set_input_offset(start);
        }
        Self { hasher, only_one }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn finish(self) -> UnitHash {
        if self.only_one {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        }
    }
}

/// The BLAKE3 of `disk`, from the hashes of all its units in order; `None` if their number is wrong.
pub fn whole_hash(disk: &dyn ReadAt, units: &[UnitHash]) -> Option<blake3::Hash> {
    let wanted = disk.len().div_ceil(UNIT_BYTES).max(1);
    if units.len() as u64 != wanted {
        return None;
    }
    if let [only] = units {
        return Some(blake3::Hash::from_bytes(*only));
    }
    let (left, right) = split(units, disk.len())?;
    Some(hazmat::merge_subtrees_root(&left, &right, Mode::Hash))
}

/// The chaining values of the two halves of the tree over `length` bytes.
fn split(units: &[UnitHash], length: u64) -> Option<(ChainingValue, ChainingValue)> {
    let left_length = hazmat::left_subtree_len(length);
    let count = usize::try_from(left_length / UNIT_BYTES).ok()?;
    let (left, right) = units.split_at_checked(count)?;
    Some((
        merge(left, left_length)?,
        merge(right, length.checked_sub(left_length)?)?,
    ))
}

fn merge(units: &[UnitHash], length: u64) -> Option<ChainingValue> {
    if let [only] = units {
        return Some(*only);
    }
    let (left, right) = split(units, length)?;
    Some(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// SHA-256 over a disk from its start to the end of some unit.
#[derive(Clone, Default)]
pub struct RunningSha256(Sha256);

impl RunningSha256 {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The state, to go on from in another run.
    pub fn save(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Takes up a saved state; `None` if it is not one.
    pub fn load(state: &[u8]) -> Option<Self> {
        let state = state.try_into().ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }

    /// The hash of all that was seen, in hexadecimal.
    pub fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
