//! Writing what was planned.

use std::path::Path;

use bytes::Bytes;
use mail::Message;
use mail::maildir::Keywords;

use super::place::Directory;
use crate::plan::{FolderPlan, Plan};
use crate::{Entry, Ledger, Outcome, Place, RestoreError};

/// So many messages are written before their folder is synced and the ledger learns of them.
const BATCH: usize = 256;

/// What was written, and what could not be.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many messages were added.
    pub added: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Messages that could not be added, and why.
    pub failed: Vec<RestoreError>,
    /// Keywords for which the folder has no letter left.
    pub keywords_left_out: u64,
}

/// Carries out `plan` in the Maildir at `path`; `content` gives the bytes of a message.
///
/// A message is written in `tmp`, synced, and moved to its place, where it never replaces
/// anything. The ledger learns of it after its folder is synced: a run that is killed in
/// between finds the file by its name.
pub fn apply(
    plan: &Plan<'_>,
    place: &Place,
    path: &Path,
    ledger: &mut Ledger,
    content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
) -> Result<Applied, RestoreError> {
    let mut applied = Applied::default();
    ledger.append(plan.notes.clone())?;
    if plan.folders.is_empty() {
        return Ok(applied);
    }
    let maildir = Directory::open_maildir(path)?;
    for (name, folder) in &plan.folders {
        let directory = Folder::open(&maildir, name, &folder.keywords)?;
        add_messages(name, folder, &directory, ledger, content, &mut applied)?;
    }
    if matches!(place, Place::Account(_)) {
        subscribe(&maildir, plan.folders.keys())?;
    }
    Ok(applied)
}

/// A folder that messages are added to.
struct Folder {
    cur: Directory,
    tmp: Directory,
    keywords: Keywords,
}

impl Folder {
    /// Opens the folder `name` of `maildir`, the Maildir itself if the name is empty, and makes
    /// what is not there.
    fn open(maildir: &Directory, name: &str, keywords: &[String]) -> Result<Self, RestoreError> {
        let below;
        let top = if name.is_empty() {
            maildir
        } else {
            below = maildir.open_or_make(name.as_bytes())?;
            if !below.has(b"maildirfolder") {
                below.write_new(b"maildirfolder", b"")?;
            }
            &below
        };
        // Nothing is put in `new`, but a folder without it is none.
        top.open_or_make(b"new")?;
        Ok(Self {
            cur: top.open_or_make(b"cur")?,
            tmp: top.open_or_make(b"tmp")?,
            keywords: keyword_letters(top, keywords)?,
        })
    }
}

fn add_messages(
    name: &str,
    plan: &FolderPlan<'_>,
    folder: &Folder,
    ledger: &mut Ledger,
    content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    applied: &mut Applied,
) -> Result<(), RestoreError> {
    for batch in plan.adds.chunks(BATCH) {
        let mut entries = Vec::new();
        for add in batch {
            let bytes = match content(add.message) {
                Ok(bytes) => bytes,
                Err(error) => {
                    applied.failed.push(error);
                    continue;
                }
            };
            let mut file = format!("{}:2,{}", add.name, add.message.flags.letters());
            for keyword in &add.message.keywords {
                match folder.keywords.letter(keyword) {
                    Some(letter) => file.push(letter),
                    None => applied.keywords_left_out += 1,
                }
            }
            let temporary = add.name.as_bytes();
            folder
                .tmp
                .write(temporary, &bytes, Some(add.message.delivered))?;
            folder
                .tmp
                .move_new(temporary, &folder.cur, file.as_bytes())?;
            applied.added += 1;
            applied.bytes += bytes.len() as u64;
            let id = add.message.id.as_str();
            entries.push(Entry::now(name, &add.name, id, Outcome::Restored));
        }
        folder.cur.sync()?;
        folder.tmp.sync()?;
        ledger.append(entries)?;
    }
    Ok(())
}

/// The letters of the folder's keywords: those its file names, or a new file with `wanted`.
///
/// A file that is there belongs to the server and is not changed.
fn keyword_letters(top: &Directory, wanted: &[String]) -> Result<Keywords, RestoreError> {
    const FILE: &[u8] = b"dovecot-keywords";
    if let Some(text) = top.read(FILE)? {
        return Ok(Keywords::parse(&text));
    }
    let text: String = wanted
        .iter()
        .enumerate()
        .map(|(number, name)| format!("{number} {name}\n"))
        .collect();
    if !text.is_empty() {
        top.write_new(FILE, text.as_bytes())?;
    }
    Ok(Keywords::parse(text.as_bytes()))
}

/// Adds folders to the account's subscriptions, as Dovecot does: a new file under the name of its
/// lock, renamed over the old one. If the server holds the lock, it is left alone: the folders
/// are there all the same, and the next run subscribes them.
fn subscribe<'a>(
    maildir: &Directory,
    folders: impl Iterator<Item = &'a String>,
) -> Result<(), RestoreError> {
    const FILE: &[u8] = b"subscriptions";
    const LOCK: &[u8] = b"subscriptions.lock";
    const DRAFT: &[u8] = b"subscriptions.restante";
    let old = maildir.read(FILE)?.unwrap_or_default();
    let Some(new) = subscribed(&old, folders) else {
        return Ok(());
    };
    // The lock gets its name with its contents in it. One that a killed run of ours left is told
    // by them; any other is the server's.
    maildir.write(DRAFT, &new, None)?;
    if maildir.move_new(DRAFT, maildir, LOCK).is_err() {
        maildir.remove_own(DRAFT)?;
        if maildir.read(LOCK)?.as_ref() != Some(&new) {
            return Ok(());
        }
    }
    // What was read before the lock was ours may have changed meanwhile.
    if maildir.read(FILE)?.unwrap_or_default() == old {
        maildir.replace(LOCK, FILE)?;
        maildir.sync()
    } else {
        maildir.remove_own(LOCK)
    }
}

/// The file of subscriptions with `folders` added; `None` if all are in it.
///
/// Version 2 begins with the line `V 2` and an empty one, and has levels apart by tabs; version 1
/// has a name a line, levels apart by the separator, which in Maildir++ is a dot (Dovecot,
/// `src/lib-storage/list/subscription-file.c`).
fn subscribed<'a>(old: &[u8], folders: impl Iterator<Item = &'a String>) -> Option<Vec<u8>> {
    let second = old.is_empty() || old.starts_with(b"V\t2\n");
    let mut new = old.to_vec();
    if old.is_empty() {
        new.extend_from_slice(b"V\t2\n\n");
    } else if !old.ends_with(b"\n") {
        new.push(b'\n');
    }
    let before = new.len();
    for folder in folders {
        let name = folder.trim_start_matches('.');
        let line = if second {
            name.replace('.', "\t")
        } else {
            name.to_owned()
        };
        let there = old
            .split(|byte| *byte == b'\n')
            .any(|known| known == line.as_bytes());
        if !there && !line.is_empty() {
            new.extend_from_slice(line.as_bytes());
            new.push(b'\n');
        }
    }
    (new.len() > before).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_added_in_the_version_of_the_file() {
        let folders = [
            ".restored_emails".to_owned(),
            ".restored_emails.Sent".to_owned(),
        ];
        let add = |old: &[u8]| subscribed(old, folders.iter());
        assert_eq!(
            add(b"").unwrap(),
            b"V\t2\n\nrestored_emails\nrestored_emails\tSent\n"
        );
        assert_eq!(
            add(b"V\t2\n\nArchive\t2014\nrestored_emails\n").unwrap(),
            b"V\t2\n\nArchive\t2014\nrestored_emails\nrestored_emails\tSent\n"
        );
        assert_eq!(
            add(b"Archive.2014").unwrap(),
            b"Archive.2014\nrestored_emails\nrestored_emails.Sent\n"
        );
        assert_eq!(add(b"restored_emails.Sent\nrestored_emails\n"), None);
    }
}
