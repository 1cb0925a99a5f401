//! LVM2: labels, metadata areas with their rings of texts, volume groups and their segments.
//!
//! [`scan()`] reads one physical volume: its [`Label`], and from each metadata area every
//! text that is still there. [`gather`] puts the physical volumes of each volume group
//! together and chooses the text that counts; [`Group::volumes`] turns it into the statements
//! of [`crate::document`].
//!
//! Snapshots are read through the list on their store (`cow`), thin volumes through the trees of
//! their pool's metadata (`thin`); both give a map of chunks that [`crate::build()`] reads by.
//!
//! Sources: the structures and their comments in LVM2's `lib/format_text/layout.h` and
//! `lib/label/label.h`, and the manual pages `lvm.conf(5)`, `lvmraid(7)` and `pvck(8)`.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod cow;
mod crc;
mod extents;
mod group;
mod id;
mod label;
mod mapped;
mod marks;
mod metadata;
mod model;
mod raid_meta;
mod search;
pub mod text;
mod thin;
mod volumes;

pub(crate) use cow::Store;
pub use crc::crc;
pub(crate) use extents::{EXTENT, USUAL_STARTS, first_extent};
pub use group::{Gathered, Group, Scanned, gather, scan, scan_without_label};
pub use id::Id;
pub use label::{DiskArea, Label};
pub(crate) use metadata::begins_with_area as begins_with_metadata_area;
pub use metadata::{MetadataArea, RawLocation, Version};
pub use model::{AreaOf, LogicalVolume, PhysicalVolume, RaidImage, SegmentKind, VolumeGroup};
pub use search::search;
pub(crate) use thin::ThinDevice;
pub use volumes::{Open, Volumes};
