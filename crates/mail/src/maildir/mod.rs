//! Maildir++ as Dovecot and Courier keep it, and nested maildirs (Dovecot's `LAYOUT=fs`).

mod courier;
mod folder;
mod keywords;
mod list_index;
mod name;
mod orphans;
mod place;
mod uidlist;

pub(crate) use folder::{leave_to_folders, list};
pub use keywords::Keywords;
pub(crate) use keywords::is_keyword;
pub use list_index::{ListedFolder, parse_list, parse_list_log};
pub use name::{Flags, MaildirName};
pub use orphans::RECOVERED;
pub(crate) use orphans::{
    is_bare, is_below as is_below_orphans, is_message, is_nameless, is_placeholder,
};
pub(crate) use place::{is_folder, is_message_directory, is_other_mailbox, place};
pub use uidlist::Uidlist;
