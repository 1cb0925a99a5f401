//! Images in containers, made by the tools that labs use: libewf's and QEMU's.
//!
//! `scripts/setup.sh` installs them (ewf-tools, qemu-utils).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test whose tools do not run has failed"
)]

mod common;
mod damage;
mod ewf;
mod hypervisors;
