//! Measurements, one a file in `benches/`, each printed by `cargo bench -p benches --bench NAME`.
//!
//! What they and the tests beside them share is the generator that judges the inference of RAID
//! geometry. A [`cases::Case`] is one group, drawn by a number from the space of all geometries;
//! [`contents`] are real file systems full of mail, [`arrays`] lays them out on disks, and
//! [`judge`] compares what `aggregate` made of the disks with what was laid out. [`pile`] is the
//! same for many groups and strangers on one table.
//!
//! Nothing below [`arrays`] knows the code that is judged: the layouts are written down a second
//! time, from mdadm's formulas.
//!
//! [`carving`] makes volumes on which mail lies without a file system, whole and in pieces.
//!
//! [`damage`] breaks file systems and counts what of them comes back, here and with other tools.

pub mod arrays;
pub mod carving;
pub mod cases;
pub mod contents;
pub mod damage;
pub mod disk;
pub mod encoding;
pub mod judge;
pub mod pile;
pub mod random;
pub mod trial;
