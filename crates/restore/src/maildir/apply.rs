//! Writing what was planned.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use mail::Message;
use mail::maildir::Keywords;

use super::place::Directory;
use super::subscriptions;
use crate::plan::{Add, FolderPlan, Plan, to_subscribe};
use crate::{Applied, Entry, Ledger, Outcome, Place, RestoreError, Warning};

/// So many messages are written before their folder is synced and the ledger learns of them.
const BATCH: usize = 256;

/// Carries out `plan` in the Maildir at `path`; `content` gives the bytes of a message.
///
/// A message is written in `tmp`, synced, and moved to its place, where it never replaces
/// anything. All of a batch are written before the first is synced: then the file system has less
/// to do for each. The ledger learns of it after its folder is synced: a run that is killed in
/// between finds the file by its name. What fails is in the result, and the rest is done.
pub fn apply(
    plan: &Plan<'_>,
    place: &Place,
    path: &Path,
    ledger: &mut Ledger,
    content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
) -> Applied {
    let mut applied = Applied::default();
    // Nothing is added of which the ledger could not learn: it would come back when deleted.
    if let Err(error) = ledger.append(plan.notes.clone()) {
        applied.failed.push(error);
        return applied;
    }
    let subscribe = match place {
        Place::Account(_) => to_subscribe(plan, ledger),
        Place::Unattributed => BTreeSet::new(),
    };
    let maildir = if !plan.folders.is_empty() {
        Directory::open_maildir(path).map(Some)
    } else if !subscribe.is_empty() {
        Directory::find_maildir(path)
    } else {
        Ok(None)
    };
    let maildir = match maildir {
        Ok(Some(maildir)) => maildir,
        Ok(None) => return applied,
        Err(error) => {
            applied.failed.push(error);
            return applied;
        }
    };
    for (name, folder) in &plan.folders {
        match Folder::open(&maildir, name, &folder.keywords) {
            Ok(directory) => add_messages(name, folder, &directory, ledger, content, &mut applied),
            Err(error) => applied.failed.push(error),
        }
    }
    match subscriptions::subscribe(&maildir, &subscribe, ledger) {
        Ok(None) => {}
        Ok(Some(warning)) => applied.warnings.push(warning),
        Err(error) => applied.warnings.push(Warning::NotSubscribed(error)),
    }
    if let Some(gid) = maildir.group_not_given() {
        let path = path.to_owned();
        applied.warnings.push(Warning::GroupNotGiven { path, gid });
    }
    applied
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
) {
    for batch in plan.adds.chunks(BATCH) {
        let (drafts, mut stop) = folder.draft_all(batch, content, applied);
        let mut entries = Vec::new();
        for draft in drafts {
            match folder.put(&draft) {
                Ok(()) => {
                    applied.added += 1;
                    applied.bytes += draft.bytes;
                    applied.keywords_left_out += draft.keywords_left_out;
                    let id = draft.add.message.id.as_str();
                    entries.push(Entry::now(name, &draft.add.name, id, Outcome::Restored));
                }
                // What stops the folder is said once.
                Err(error) if stop && error.is_of_storage() => {}
                Err(error) => {
                    stop |= error.is_of_storage();
                    applied.failed.push(error);
                }
            }
        }
        // Names that are not on the disk yet are nothing that the ledger may promise.
        let noted = folder
            .cur
            .sync()
            .and_then(|()| folder.tmp.sync())
            .and_then(|()| ledger.append(entries));
        if let Err(error) = noted {
            applied.failed.push(error);
            stop = true;
        }
        if stop {
            return;
        }
    }
}

/// A message that was written in `tmp`.
struct Draft<'a> {
    add: &'a Add<'a>,
    /// The name that it gets.
    file: String,
    bytes: u64,
    keywords_left_out: u64,
}

impl Folder {
    /// Writes messages in `tmp`; also whether the folder is to be left, because what comes next
    /// would fail likewise.
    fn draft_all<'a>(
        &self,
        adds: &'a [Add<'a>],
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
        applied: &mut Applied,
    ) -> (Vec<Draft<'a>>, bool) {
        let mut drafts = Vec::new();
        for add in adds {
            match self.draft(add, content) {
                Ok(draft) => drafts.push(draft),
                Err(error) => {
                    let stop = error.is_of_storage();
                    applied.failed.push(error);
                    if stop {
                        return (drafts, true);
                    }
                }
            }
        }
        (drafts, false)
    }

    /// Writes one message in `tmp`.
    fn draft<'a>(
        &self,
        add: &'a Add<'a>,
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    ) -> Result<Draft<'a>, RestoreError> {
        let bytes = content(add.message)?;
        let mut file = format!("{}:2,{}", add.name, add.message.flags.letters());
        let mut keywords_left_out = 0;
        for keyword in &add.message.keywords {
            match self.keywords.letter(keyword) {
                Some(letter) => file.push(letter),
                None => keywords_left_out += 1,
            }
        }
        let modified = Some(add.message.delivered);
        self.tmp
            .write_unsynced(add.name.as_bytes(), &bytes, modified)?;
        Ok(Draft {
            add,
            file,
            bytes: bytes.len() as u64,
            keywords_left_out,
        })
    }

    /// Moves a message from `tmp` to its place, when it is on the disk.
    fn put(&self, draft: &Draft<'_>) -> Result<(), RestoreError> {
        let temporary = draft.add.name.as_bytes();
        self.tmp.sync_file(temporary)?;
        let moved = self
            .tmp
            .move_new(temporary, &self.cur, draft.file.as_bytes());
        if moved.is_err() {
            self.tmp.remove_own(temporary)?;
        }
        moved
    }
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
    if !text.is_empty() && !top.write_new(FILE, text.as_bytes())? {
        // The server wrote its own meanwhile, whose letters hold.
        return Ok(Keywords::parse(&top.read(FILE)?.unwrap_or_default()));
    }
    Ok(Keywords::parse(text.as_bytes()))
}

#[cfg(test)]
mod tests;
