//! IMAP servers as a target (RFC 3501 and 9051).
//!
//! A [`Mailbox`] is one account: what it holds becomes a [`Live`](crate::maildir::Live) as that of a
//! Maildir does, so that one plan serves both, and [`Mailbox::apply`] carries the plan out. What a
//! message is on a server is known by its contents without regard to line ends and by its time, so
//! that a run that was killed, or a ledger that was lost, adds nothing twice.

mod append;
mod credentials;
mod error;
mod folders;
mod mailbox;
mod session;
mod stream;
mod target;
mod wire;

pub use credentials::{CREDENTIALS_VARIABLE, Credentials};
pub use error::ImapError;
pub use mailbox::Mailbox;
pub use target::{ImapOptions, ImapTarget};
