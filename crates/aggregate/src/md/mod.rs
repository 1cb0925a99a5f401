//! Linux md: labels of versions 0.90, 1.0, 1.1 and 1.2, and the arrays that they describe.
//!
//! [`read_superblocks`] reads the labels of one device, [`assemble`] makes groups of the labels
//! of all devices, by the rules of the kernel and mdadm. Field names are those of
//! `include/uapi/linux/raid/md_p.h`.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod array;
mod assemble;
mod choose;
mod layout;
mod superblock;
mod v0;
mod v1;

pub(crate) use superblock::{MD_SB_MAGIC as MAGIC, places_of_magic};

pub use assemble::{Assembly, assemble};
pub use superblock::{
    BadSectors, Fault, Found, Reshape, Role, Superblock, Uuid, Version, read_superblocks,
};
