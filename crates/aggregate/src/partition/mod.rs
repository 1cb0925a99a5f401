//! Partition tables: MBR with its extended partitions, and GPT.
//!
//! [`read`] tries sectors of 512 and of 4096 bytes, GPT before MBR, since a GPT disk carries a
//! protective MBR. A FAT or NTFS boot sector ends in the same two bytes as an MBR and is told
//! apart by its entries, which must lie inside the device and not over each other. Where no table is
//! left, labels in the partitions say where these lie (`lost`).

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod gpt;
mod lost;
pub mod mbr;

pub(crate) use lost::lost;

use evidence::ReadAt;

/// The sizes of logical sectors that disks have, in the order in which they are tried.
pub const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// A partition table and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Which kind of table it is.
    pub kind: TableKind,
    /// The size of the sectors that it counts in, in bytes.
    pub sector_bytes: u64,
    /// The partitions, by number. An extended partition is not among them, what is in it is.
    pub partitions: Vec<Partition>,
    /// What a person should know before trusting it.
    pub notes: Vec<String>,
}

/// The kind of a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A GUID partition table.
    Gpt,
    /// A DOS partition table.
    Mbr,
}

impl TableKind {
    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt => "GPT",
            Self::Mbr => "MBR",
        }
    }
}

/// A partition: a range of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number as Linux counts: entries of a GPT from 1, logical partitions of an MBR from 5.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Its type: two hexadecimal digits in an MBR, a GUID in a GPT.
    pub kind: String,
    /// Its own GUID, if it has one.
    pub uuid: Option<String>,
    /// The name that a GPT gives it.
    pub label: String,
}

/// Reads the partition table of `device`, if it has one that makes sense.
pub fn read(device: &dyn ReadAt) -> Option<Table> {
    SECTOR_SIZES
        .into_iter()
        .find_map(|sector| gpt::read(device, sector))
        .or_else(|| {
            SECTOR_SIZES
                .into_iter()
                .find_map(|sector| mbr::read(device, sector))
        })
}

/// Whether no two of the ranges `(start, length)` share a byte.
fn apart(ranges: &mut [(u64, u64)]) -> bool {
    ranges.sort_unstable();
    ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| {
        a.0.checked_add(a.1)
            .is_some_and(|end_of_first| end_of_first <= b.0)
    })
}

/// A note for each partition that a device of `length` bytes does not hold whole, as when its
/// image was cut short.
fn past_end(partitions: &[Partition], length: u64) -> impl Iterator<Item = String> {
    let past = move |p: &&Partition| p.start.saturating_add(p.bytes) > length;
    partitions
        .iter()
        .filter(past)
        .map(|p| format!("partition {} reaches past the end of the device", p.number))
}
