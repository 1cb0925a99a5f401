//! SNIA's Common RAID Disk Data Format, by which hardware controllers and mdadm's `ddf` containers
//! describe their virtual disks at the end of each physical one.
//!
//! [`read`] reads the structures of one disk, [`assemble`] makes groups of those of all. Field names are
//! those of the Common RAID Disk Data Format Specification, versions 1.2 and 2.0.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod array;
mod assemble;
mod label;
mod record;

pub(crate) use assemble::{Assembly, assemble};
pub(crate) use label::{Label, read};
