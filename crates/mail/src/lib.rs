//! Mail: messages and mail stores, what proves them, and whose they are.
//!
//! * [`store`] finds mail stores in a file system and lists what is in them, each format by a module
//!   of its own: [`maildir`], [`mbox`], [`dbox`], [`cyrus`], [`mh`], [`zimbra`]; [`dovecot`] reads
//!   the indexes that Dovecot's share, and recognises messages that it encrypted.
//! * [`codec`] undoes the compression that Dovecot stores messages with.
//! * [`header`] tells whether something begins with a message, on a disk that may be damaged.
//! * [`proof`] judges a message: its [`Grade`], the proofs for it, the holes in it.
//! * [`turned`] tells in which bytes of base64 a bit has turned.
//! * [`broken`] says which parts of a message damage falls into.
//! * [`claims`] tells whose the blocks are that several deleted files had.
//! * [`account`] says whose it is, by the path that it lies under.
//! * [`attribution`] says whose folders are that lost their path, by their indexes and by what
//!   servers wrote on top of the mail inside ([`delivery`]).
//! * [`carved`] says it of messages that were found by their content.
//! * [`record`] is what the case keeps of a message; [`content`] reads the message again.
//!
//! ```
//! use mail::account::AccountRules;
//!
//! let rules = AccountRules::default();
//! let path = ["srv", "vmail", "lindenhof.example", "ada", "Maildir"];
//! let names: Vec<Vec<u8>> = path.iter().map(|name| name.as_bytes().to_vec()).collect();
//! let owner = rules.owner_of(&names).map(|owner| owner.account.to_string());
//! assert_eq!(owner.as_deref(), Some("ada@lindenhof.example"));
//! ```

pub mod account;
pub mod attribution;
pub mod broken;
pub mod carved;
pub mod claims;
pub mod codec;
pub mod content;
pub mod cyrus;
pub mod dbox;
pub mod delivery;
pub mod dovecot;
pub mod header;
pub mod maildir;
pub mod mbox;
pub mod mh;
pub mod proof;
pub mod record;
pub mod store;
mod structure;
pub mod turned;
pub mod zimbra;

pub use account::Address;
pub use proof::{Grade, Proof};
pub use record::{Layer, Message, MessageId, Record};
