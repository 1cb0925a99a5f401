//! Maildir++ as Dovecot and Courier keep it.
//!
//! [`find`] looks for folders in a file system; [`Folder::list`] lists the messages of one with
//! what the store knows of them (flags, keywords, the index's own list).

mod find;
mod folder;
mod keywords;
mod list_index;
mod name;
mod orphans;
mod uidlist;

pub use find::{Folder, Stores, find};
pub use folder::{Contents, MailFile};
pub use keywords::Keywords;
pub use list_index::{ListedFolder, parse_list_log};
pub use name::{Flags, MaildirName};
pub(crate) use orphans::{RECOVERED, is_message, is_placeholder};
pub use uidlist::Uidlist;
