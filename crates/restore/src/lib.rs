//! Handing mail back: plan, apply, ledger.
//!
//! A [`Target`] says where accounts live, and gives a [`Mailbox`] for each. [`maildir::Live`] is what
//! an account holds now, [`Ledger`] remembers what was handed over before, and [`plan::plan`] decides, without a disk,
//! what is to be added; of a message that was found in several states, [`states`] chooses the one
//! it is taken from. [`Mailbox::apply`] does exactly that. Restoring only adds, below
//! `restored_emails`; nothing that is there is renamed, changed or removed.
//!
//! ```
//! use restore::Target;
//!
//! let target = Target::parse("maildir:/srv/vmail").map_err(|error| error.to_string())?;
//! let ada = mail::Address::parse("ada@lindenhof.example").ok_or("no address")?;
//! let Target::Maildir(target) = target else {
//!     return Err("no Maildir".to_owned());
//! };
//! assert_eq!(
//!     target.maildir_of(&ada).to_str(),
//!     Some("/srv/vmail/lindenhof.example/ada/Maildir"),
//! );
//! # Ok::<(), String>(())
//! ```

mod applied;
mod error;
pub mod imap;
mod ledger;
mod mailbox;
pub mod maildir;
pub mod plan;
mod room;
pub mod states;
mod target;

pub use applied::Applied;
pub use error::{RestoreError, Warning};
pub use ledger::{Entry, Growth, Ledger, LedgerFile, LedgerHead, Outcome, ledger_files};
pub use mailbox::Mailbox;
pub use room::{Demands, Room};
pub use states::States;
pub use target::{MaildirTarget, Place, Target};
