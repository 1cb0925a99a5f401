//! Dovecot's indexes, which all of its stores share: `dovecot.index` and `dovecot.index.log`.
//!
//! A log is a chain of transactions, each a few changes to the records of messages; the index
//! itself is what a log came to up to some place in it, and is written only now and then. So an
//! index is read first and the log behind it, and a log alone is as good while it goes back to the
//! beginning ([`MailIndex::read`]). What a format adds lies in *extensions*, by name.
//!
//! [`crypt`] recognises the messages that the plugin mail_crypt encrypted, in any of them.
//!
//! Source: Dovecot's `src/lib-index/mail-index.h`, `mail-index-private.h` and
//! `mail-transaction-log.h`.

pub mod crypt;
mod index;
mod log;

pub use index::{IndexRecord, MailIndex};

use evidence::Loss;
use filesystem::Filesystem;

use crate::maildir::Flags;
use crate::store::Folder;

/// `enum mail_flags`.
const ANSWERED: u8 = 0x01;
const FLAGGED: u8 = 0x02;
pub(crate) const DELETED: u8 = 0x04;
const SEEN: u8 = 0x08;
const DRAFT: u8 = 0x10;
/// `MAIL_INDEX_MAIL_FLAG_DIRTY`: changed in the index, and not yet in the store itself.
pub(crate) const DIRTY: u8 = 0x80;

impl IndexRecord {
    /// Its flags, in the letters of Maildir.
    pub fn letters(&self) -> Flags {
        let all = [
            (ANSWERED, 'R'),
            (FLAGGED, 'F'),
            (DELETED, 'T'),
            (SEEN, 'S'),
            (DRAFT, 'D'),
        ];
        let set = all.iter().filter(|(bit, _)| self.flags & bit != 0);
        let letters: String = set.map(|(_, letter)| *letter).collect();
        Flags::new(&letters)
    }
}

/// Reads the index `name` among the files of `folder`, with its logs. What cannot be read of it
/// goes to `losses`.
pub(crate) fn read_index(
    folder: &Folder,
    fs: &dyn Filesystem,
    device: &str,
    name: &str,
    losses: &mut Vec<Loss>,
) -> Option<MailIndex> {
    let mut read = |suffix: &str| {
        let name = format!("{name}{suffix}");
        let read = folder.read_index(fs, device, name.as_bytes());
        read.unwrap_or_else(|loss| {
            losses.push(loss);
            None
        })
    };
    // The copy that Dovecot keeps of an index before it writes a new one is older, but the log goes
    // on behind it as well.
    let is_index = |index: &Vec<u8>| MailIndex::read(Some(index), &[]).is_some();
    let index = read("").filter(is_index).or_else(|| read(".backup"));
    let older = read(".log.2");
    let log = read(".log");
    let logs: Vec<&[u8]> = older.iter().chain(&log).map(Vec::as_slice).collect();
    MailIndex::read(index.as_deref(), &logs)
}
