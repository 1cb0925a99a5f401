//! RAID groups: the geometry of every level, parity arithmetic, and the reader that puts a
//! group's bytes together from its members, healthy or not.
//!
//! [`Geometry`] states how a group lies on its members; [`GroupReader`] reads it, rebuilding
//! byte ranges that members miss as long as the redundancy allows it. [`open_member`] turns a
//! member of `aggregate.json` into what the reader takes.
#![warn(clippy::indexing_slicing)]

mod diagonal;
pub(crate) mod galois;
mod geometry;
pub(crate) mod kernels;
mod member;
mod members;
pub mod parity;
mod parity_layout;
mod parity_rows;
mod raid10;
mod reader;
mod rows;
mod scratch;
mod table;
mod zones;

pub use geometry::{Geometry, GeometryError, Level, MAX_MEMBERS, MAX_RAID6_MEMBERS, Raid0Layout};
pub use member::open_member;
pub(crate) use members::Members;
pub(crate) use parity_layout::{ParityLayout, Row};
pub use parity_layout::{Raid5Layout, Raid6Layout};
pub use raid10::{FarSets, Raid10Layout};
pub use reader::GroupReader;
pub use rows::ParityDelay;
pub(crate) use scratch::Pool;
pub use table::{Cell, OtherCell, QRule};
