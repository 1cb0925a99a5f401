//! Subscribing the folders that mail was restored into.

use std::collections::BTreeSet;

use super::place::Directory;
use crate::{Ledger, RestoreError, Warning};

const FILE: &[u8] = b"subscriptions";
/// What Dovecot holds while it writes the file.
const LOCK: &[u8] = b"subscriptions.lock";
/// A second name of the lock while it is ours.
const DRAFT: &[u8] = b"subscriptions.restante";

/// Subscribes those of `folders` that are there, and notes it in the ledger.
pub(super) fn subscribe(
    maildir: &Directory,
    folders: &BTreeSet<String>,
    ledger: &mut Ledger,
) -> Result<Option<Warning>, RestoreError> {
    let mut there = Vec::new();
    for folder in folders {
        if maildir.open(folder.as_bytes())?.is_some() {
            there.push(folder.clone());
        }
    }
    if there.is_empty() {
        return Ok(None);
    }
    let warning = add(maildir, &there)?;
    if warning.is_none() {
        ledger.append_subscribed(there)?;
    }
    Ok(warning)
}

/// Adds folders to the account's subscriptions, as Dovecot does: a new file under the name of its
/// lock, renamed over the old one. If the server holds the lock, it is left alone: the folders
/// are there all the same, and the next run subscribes them.
fn add(maildir: &Directory, folders: &[String]) -> Result<Option<Warning>, RestoreError> {
    // The lock of a killed run of ours has our second name still; any other is the server's.
    if maildir.is_same(LOCK, DRAFT) {
        maildir.remove_own(LOCK)?;
    }
    maildir.remove_own(DRAFT)?;
    let old = maildir.read(FILE)?;
    let Some(new) = subscribed(old.as_deref().unwrap_or_default(), folders.iter()) else {
        return Ok(None);
    };
    let locked = || Warning::SubscriptionsLocked {
        path: maildir.path_of(LOCK),
    };
    maildir.write(DRAFT, &new)?;
    let changed = match maildir.link_new(DRAFT, LOCK) {
        Ok(true) => change(maildir, old.as_ref()),
        other => other,
    };
    maildir.remove_own(DRAFT)?;
    Ok((!changed?).then(locked))
}

/// Puts the lock, which is ours, in the place of the file, if that is still as it was read; says
/// whether it was.
fn change(maildir: &Directory, old: Option<&Vec<u8>>) -> Result<bool, RestoreError> {
    let now = maildir.read(FILE);
    if matches!(&now, Ok(now) if now.as_ref() == old) {
        if let Err(error) = maildir.replace(LOCK, FILE) {
            maildir.remove_own(LOCK)?;
            return Err(error);
        }
        maildir.sync()?;
        return Ok(true);
    }
    maildir.remove_own(LOCK)?;
    now.map(|_| false)
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
