//! The program as its users run it, over whole incidents.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set up its incident has failed"
)]

mod accounts;
mod beside;
mod carve;
mod common;
mod containers;
mod custody;
mod encrypted;
mod evidence;
mod full;
mod hostile;
mod imap;
mod imap_proof;
mod incidents;
mod kill;
mod malformed;
mod manual;
mod scan;
mod states;
mod turned;
mod usage;
mod user;
mod wanted;
