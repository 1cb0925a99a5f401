//! Encrypted devices against those who wrote them: cryptsetup and QEMU make containers, cryptsetup
//! says what is in a BitLocker header.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod bitlocker;
mod named;
mod noise;
mod opened;
mod tools;
