//! Btrfs file systems made by `mkfs.btrfs` and filled through the kernel, whole and broken.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod kernel;
mod pool;
