//! The ledger: what was handed over, and what was met there.
//!
//! One file an account and target in the case, JSON Lines, only ever appended to. What stands in
//! it is never added again, whatever the user did with it since. So it is with folders: one that
//! was subscribed once is not subscribed again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use mail::Address;
use serde::{Deserialize, Serialize};

use crate::{Place, RestoreError};

mod head;

pub use head::{Growth, LedgerHead};

/// The ledger of mail whose account is not proven, beside the domains. No domain has a `+`.
const UNATTRIBUTED_FILE: &str = "+unattributed.jsonl";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was added.
    Restored,
    /// The account had it already.
    AlreadyLive,
}

/// One line of the ledger that is about a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The directory of the folder below the Maildir.
    pub folder: String,
    /// The file name up to its flags, which names the message.
    pub name: String,
    /// The message.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// When, in seconds since 1970.
    pub time: u64,
}

impl Entry {
    /// An entry made now.
    pub fn now(folder: &str, name: &str, id: &str, outcome: Outcome) -> Self {
        Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            id: id.to_owned(),
            outcome,
            time: now(),
        }
    }
}

/// One line of the ledger that is about a folder.
#[derive(Debug, Serialize, Deserialize)]
struct Subscription {
    /// The directory of the folder below the Maildir, which is subscribed now.
    subscribed: String,
    /// When, in seconds since 1970.
    time: u64,
}

/// One line of the ledger that is about messages on their way to a server: if no other line says
/// what became of them, a run ended before it could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// The directory of the folder below the Maildir.
    pub(crate) sending: String,
    /// Their names.
    pub(crate) names: Vec<String>,
    /// The UID that the folder's next message got when they were sent, and what that counts in.
    pub(crate) from: u64,
    /// When, in seconds since 1970.
    pub(crate) time: u64,
}

impl Sending {
    /// Messages that are sent now.
    pub(crate) fn now(folder: &str, names: Vec<String>, from: u64) -> Self {
        Self {
            sending: folder.to_owned(),
            names,
            from,
            time: now(),
        }
    }

    /// How many seconds ago that was.
    pub(crate) fn age(&self) -> u64 {
        now().saturating_sub(self.time)
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Sending(Sending),
    Subscription(Subscription),
    Message(Entry),
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// The ledger of one account at one target.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    entries: Vec<Entry>,
    known: HashMap<(String, String), Outcome>,
    subscribed: BTreeSet<String>,
    sending: Vec<Sending>,
    /// The length of the file up to its last whole line.
    whole: u64,
}

impl Ledger {
    /// Opens the ledger of `place` at the target with the identity `target` ([`Target::id`]) in the
    /// directory `ledgers` of the case.
    ///
    /// [`Target::id`]: crate::Target::id
    pub fn open(ledgers: &Path, target: &str, place: &Place) -> Result<Self, RestoreError> {
        let directory = ledgers.join(target);
        let path = match place {
            Place::Account(account) => directory
                .join(account.domain())
                .join(format!("{}.jsonl", account.local())),
            Place::Unattributed => directory.join(UNATTRIBUTED_FILE),
        };
        let (lines, whole) = read_lines(&path)?;
        let mut ledger = Self {
            path,
            entries: Vec::new(),
            known: HashMap::new(),
            subscribed: BTreeSet::new(),
            sending: Vec::new(),
            whole,
        };
        for line in lines {
            match line {
                Line::Message(entry) => ledger.remember(entry),
                Line::Sending(line) => ledger.sending.push(line),
                Line::Subscription(line) => {
                    ledger.subscribed.insert(line.subscribed);
                }
            }
        }
        Ok(ledger)
    }

    /// What became of the message `name` in `folder`, if it was dealt with before.
    pub fn outcome(&self, folder: &str, name: &str) -> Option<Outcome> {
        self.known
            .get(&(folder.to_owned(), name.to_owned()))
            .copied()
    }

    /// All entries about messages, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Folder and name of all messages that were restored, in no order.
    pub(crate) fn restored(&self) -> impl Iterator<Item = (&str, &str)> {
        self.known
            .iter()
            .filter(|(_, outcome)| **outcome == Outcome::Restored)
            .map(|((folder, name), _)| (folder.as_str(), name.as_str()))
    }

    /// Whether the folder was subscribed by an earlier run.
    pub(crate) fn was_subscribed(&self, folder: &str) -> bool {
        self.subscribed.contains(folder)
    }

    /// Adds `entries` and makes them durable.
    pub fn append(&mut self, entries: Vec<Entry>) -> Result<(), RestoreError> {
        self.write(&entries)?;
        for entry in entries {
            self.remember(entry);
        }
        Ok(())
    }

    /// Notes that `folders` are subscribed, and makes that durable.
    pub(crate) fn append_subscribed(&mut self, folders: Vec<String>) -> Result<(), RestoreError> {
        let line = |folder: &String| Subscription {
            subscribed: folder.clone(),
            time: now(),
        };
        self.write(&folders.iter().map(line).collect::<Vec<_>>())?;
        self.subscribed.extend(folders);
        Ok(())
    }

    /// Notes that messages are on their way, and makes that durable.
    pub(crate) fn append_sending(&mut self, sending: Sending) -> Result<(), RestoreError> {
        self.write(std::slice::from_ref(&sending))?;
        self.sending.push(sending);
        Ok(())
    }

    /// The messages that were on their way when a run ended, and of which nothing is known: the last
    /// line of each folder, without those that another line is about.
    pub(crate) fn unsettled(&self) -> Vec<Sending> {
        let mut last: BTreeMap<&str, &Sending> = BTreeMap::new();
        for line in &self.sending {
            last.insert(&line.sending, line);
        }
        let open = |line: &Sending| Sending {
            names: line
                .names
                .iter()
                .filter(|name| self.outcome(&line.sending, name).is_none())
                .cloned()
                .collect(),
            ..line.clone()
        };
        last.into_values()
            .map(open)
            .filter(|line| !line.names.is_empty())
            .collect()
    }

    fn write(&mut self, lines: &[impl Serialize]) -> Result<(), RestoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| RestoreError::io(&self.path, io::Error::from(error)))?;
            text.push(b'\n');
        }
        let append = || -> io::Result<()> {
            if let Some(directory) = self.path.parent() {
                fs::create_dir_all(directory)?;
            }
            let mut file = File::options().create(true).append(true).open(&self.path)?;
            file.set_len(self.whole)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        append().map_err(|source| RestoreError::io(&self.path, source))?;
        self.whole = self.whole.saturating_add(text.len() as u64);
        Ok(())
    }

    fn remember(&mut self, entry: Entry) {
        self.known
            .insert((entry.folder.clone(), entry.name.clone()), entry.outcome);
        self.entries.push(entry);
    }
}

/// A ledger that lies in a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerFile {
    /// The target's identity, [`Target::id`](crate::Target::id).
    pub target: String,
    /// Whose mail it is about.
    pub place: Place,
    path: PathBuf,
}

impl LedgerFile {
    /// Its entries about messages, oldest first. Half a line at the end, which a killed run left, is no entry.
    pub fn entries(&self) -> Result<Vec<Entry>, RestoreError> {
        let (lines, _) = read_lines(&self.path)?;
        let message = |line| match line {
            Line::Message(entry) => Some(entry),
            Line::Subscription(_) | Line::Sending(_) => None,
        };
        Ok(lines.into_iter().filter_map(message).collect())
    }

    /// How it is now.
    pub fn head(&self) -> Result<LedgerHead, RestoreError> {
        Ok(LedgerHead::of(&read(&self.path)?))
    }

    /// What became of it since it had the head `before`.
    pub fn since(&self, before: &LedgerHead) -> Result<Growth, RestoreError> {
        Ok(before.growth(&read(&self.path)?))
    }
}

/// All ledgers in the directory `ledgers` of a case, by target and place. Files that no
/// [`Ledger`] writes are left out.
pub fn ledger_files(ledgers: &Path) -> Result<Vec<LedgerFile>, RestoreError> {
    let mut files = Vec::new();
    for (target, directory) in names_in(ledgers)? {
        for (domain, below) in names_in(&directory)? {
            if domain == UNATTRIBUTED_FILE {
                files.push(LedgerFile {
                    target: target.clone(),
                    place: Place::Unattributed,
                    path: below,
                });
                continue;
            }
            for (name, path) in names_in(&below)? {
                let account = name
                    .strip_suffix(".jsonl")
                    .and_then(|local| Address::new(local, &domain));
                if let Some(account) = account {
                    files.push(LedgerFile {
                        target: target.clone(),
                        place: Place::Account(account),
                        path,
                    });
                }
            }
        }
    }
    files.sort_by(|a, b| (&a.target, &a.place).cmp(&(&b.target, &b.place)));
    Ok(files)
}

/// The names in a directory that are text, with their paths; none if it is no directory.
fn names_in(directory: &Path) -> Result<Vec<(String, PathBuf)>, RestoreError> {
    let wrap = |source| RestoreError::io(directory, source);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(wrap(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(wrap)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    Ok(names)
}

/// What a ledger's file holds; nothing if it is not there.
fn read(path: &Path) -> Result<Vec<u8>, RestoreError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| RestoreError::io(path, source)),
    }
}

/// The lines of a ledger and the length of the file up to its last whole line; nothing if it
/// is not there.
fn read_lines(path: &Path) -> Result<(Vec<Line>, u64), RestoreError> {
    let text = read(path)?;
    // A run that was killed may have left half a line, also half a letter: what it was about is
    // done again.
    let last = text.iter().rposition(|byte| *byte == b'\n');
    let end = last.map_or(0, |at| at.saturating_add(1));
    let mut lines = Vec::new();
    let whole = text.get(..last.unwrap_or(0)).unwrap_or_default();
    if whole.is_empty() {
        return Ok((lines, end as u64));
    }
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        let line = serde_json::from_slice(line).map_err(|source| RestoreError::Ledger {
            path: path.to_owned(),
            line: index.saturating_add(1),
            source,
        })?;
        lines.push(line);
    }
    Ok((lines, end as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    #[test]
    fn a_ledger_goes_on_after_half_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::parse("maildir:/srv/vmail").unwrap().id();
        let open = || Ledger::open(dir.path(), &target, &Place::Unattributed).unwrap();
        let entry = |name: &str| Entry::now(".restored_emails", name, "id", Outcome::Restored);
        open().append(vec![entry("a"), entry("b")]).unwrap();
        let path = open().path;
        let mut half = fs::read(&path).unwrap();
        half.truncate(half.len() - 10);
        half.push(0xC3);
        fs::write(&path, half).unwrap();
        let mut ledger = open();
        assert_eq!(
            ledger.outcome(".restored_emails", "a"),
            Some(Outcome::Restored)
        );
        assert_eq!(ledger.outcome(".restored_emails", "b"), None);
        ledger.append(vec![entry("c")]).unwrap();
        assert_eq!(open().entries().len(), 2);
    }

    #[test]
    fn all_ledgers_of_a_case_are_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ledger_files(&dir.path().join("none")).unwrap().is_empty());
        let target = Target::parse("maildir:/srv/vmail").unwrap().id();
        let ada = Place::Account(Address::parse("ada@lindenhof.example").unwrap());
        for place in [&Place::Unattributed, &ada] {
            let mut ledger = Ledger::open(dir.path(), &target, place).unwrap();
            let entry = Entry::now(".restored_emails", "a", "id", Outcome::Restored);
            ledger.append(vec![entry]).unwrap();
            let folder = ".restored_emails".to_owned();
            ledger.append_subscribed(vec![folder]).unwrap();
        }
        fs::write(dir.path().join("note.txt"), "x").unwrap();
        fs::write(dir.path().join(&target).join("note.jsonl"), "x").unwrap();
        let files = ledger_files(dir.path()).unwrap();
        let places: Vec<&Place> = files.iter().map(|file| &file.place).collect();
        assert_eq!(places, [&ada, &Place::Unattributed]);
        assert_eq!(files[0].target, target);
        assert_eq!(files[0].entries().unwrap().len(), 1);
        let again = Ledger::open(dir.path(), &target, &ada).unwrap();
        assert!(again.was_subscribed(".restored_emails"));
        assert!(!again.was_subscribed(".restored_emails.Sent"));
    }

    #[test]
    fn a_domain_that_is_called_like_a_ledger_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::parse("maildir:/srv/vmail").unwrap().id();
        let odd = Place::Account(Address::parse("ada@_unattributed.jsonl").unwrap());
        for place in [&odd, &Place::Unattributed] {
            let mut ledger = Ledger::open(dir.path(), &target, place).unwrap();
            let entry = Entry::now(".restored_emails", "a", "id", Outcome::Restored);
            ledger.append(vec![entry]).unwrap();
        }
        assert_eq!(ledger_files(dir.path()).unwrap().len(), 2);
        assert!(Address::parse("ada@+unattributed.jsonl").is_none());
    }

    #[test]
    fn lines_of_the_first_version_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::parse("maildir:/srv/vmail").unwrap().id();
        let path = dir.path().join(&target).join(UNATTRIBUTED_FILE);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let line = r#"{"folder":"","name":"a","id":"b","outcome":"already-live","time":7}"#;
        fs::write(&path, format!("{line}\n")).unwrap();
        let ledger = Ledger::open(dir.path(), &target, &Place::Unattributed).unwrap();
        assert_eq!(ledger.outcome("", "a"), Some(Outcome::AlreadyLive));
    }
}
