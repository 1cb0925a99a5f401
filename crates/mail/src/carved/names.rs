//! Names that directories list and of which no file was found, joined with messages that were carved.
//!
//! Dovecot writes both lengths of a message into its name, `S=` as it is stored and `W=` with CRLF; one
//! name in twenty thousand has those of another one. Whose a name is its path says, or where the names
//! of the directories above it are lost, the messages of its mailbox that are joined for sure.

use std::collections::{BTreeMap, HashMap};

use super::{Candidate, MailboxRecord};
use crate::account::{Accounts, Owner};
use crate::attribution::{Agreed, Consensus};
use crate::delivery::{Field, Trace};
use crate::maildir::MaildirName;
use crate::record::{FileNote, FolderRecord};

/// A mailbox that nothing names the owner of: its device and its path.
type Mailbox = (String, String);

/// The lengths of a message: as it is stored, and with CRLF.
type Lengths = (u64, u64);

/// Names of messages that were listed somewhere and of which no file was found.
#[derive(Debug, Default)]
pub struct Names {
    by_lengths: HashMap<Lengths, Vec<FileNote>>,
    /// The mailboxes of folders that are nobody's yet, by the folders' devices and paths.
    mailboxes: HashMap<(String, String), String>,
}

/// What names say of carved messages.
pub(super) struct Joined {
    /// The name of each candidate, with its owner, where there is one and no other.
    pub(super) named: Vec<Option<FileNote>>,
    /// The accounts that are known, with those of the mailboxes.
    pub(super) accounts: Accounts,
    /// The mailboxes of which the messages tell whose these are.
    pub(super) mailboxes: Vec<MailboxRecord>,
}

impl Names {
    /// Adds a name, if it has both lengths.
    pub fn add(&mut self, note: FileNote) {
        let name = MaildirName::parse(file_name(&note.path).as_bytes());
        if let Some(lengths) = name.size.zip(name.virtual_size) {
            let notes = self.by_lengths.entry(lengths).or_default();
            // One message in two folders has one name in each; the same path may be noted twice.
            if notes.iter().all(|other| other.path != note.path) {
                notes.push(note);
            }
        }
    }

    /// Adds the folder that names are in.
    pub fn add_folder(&mut self, folder: &FolderRecord) {
        if let Some(mailbox) = &folder.mailbox {
            let place = (folder.device.clone(), folder.path.clone());
            self.mailboxes.insert(place, mailbox.clone());
        }
    }

    /// The mailbox of a name that is nobody's.
    fn mailbox(&self, note: &FileNote) -> Option<Mailbox> {
        let (directory, _) = note.path.rsplit_once('/')?;
        let of_folder = [
            Some(directory),
            directory.rsplit_once('/').map(|(up, _)| up),
        ];
        let mut of_folder = of_folder.into_iter().flatten();
        let place = |path: &str| (note.device.clone(), path.to_owned());
        let mailbox = of_folder.find_map(|path| self.mailboxes.get(&place(path)))?;
        Some((note.device.clone(), mailbox.clone()))
    }

    /// Joins `candidates` with the names; `known` are the accounts that something else names.
    pub(super) fn join(&self, candidates: &[Candidate], known: &Accounts) -> Joined {
        let mut by_lengths: BTreeMap<Lengths, Vec<usize>> = BTreeMap::new();
        for (number, candidate) in candidates.iter().enumerate() {
            // What breaks off somewhere has any length.
            if candidate.may_be_a_file {
                let lengths = candidate.lengths();
                by_lengths.entry(lengths).or_default().push(number);
            }
        }
        let owners = self.owners(candidates, &by_lengths, known);
        let mut accounts = known.clone();
        for owner in owners.values() {
            accounts.add(owner.account.clone());
        }
        let mut named = vec![None; candidates.len()];
        for (lengths, numbers) in by_lengths {
            let notes = self.by_lengths.get(&lengths).into_iter().flatten();
            let notes: Vec<FileNote> = notes
                .map(|note| FileNote {
                    owner: self.owner(note, &owners).cloned(),
                    ..note.clone()
                })
                .collect();
            let mut claims: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for number in numbers {
                let candidate = candidates.get(number);
                let may_be = |note: &&(usize, &FileNote)| {
                    candidate.is_some_and(|one| !one.contradicts(note.1, &accounts))
                };
                let mut fitting = notes.iter().enumerate().filter(|note| may_be(&note));
                if let (Some((note, _)), None) = (fitting.next(), fitting.next()) {
                    claims.entry(note).or_default().push(number);
                }
            }
            // Two messages of the lengths of one name: either may be it.
            for (note, numbers) in claims {
                if let ([number], Some(note)) = (numbers.as_slice(), notes.get(note))
                    && let Some(named) = named.get_mut(*number)
                    && note.owner.is_some()
                {
                    *named = Some(note.clone());
                }
            }
        }
        let mailboxes = owners.into_iter();
        Joined {
            named,
            accounts,
            mailboxes: mailboxes
                .map(|((device, path), owner)| MailboxRecord {
                    device,
                    path,
                    owner,
                })
                .collect(),
        }
    }

    fn owner<'o>(
        &self,
        note: &'o FileNote,
        owners: &'o BTreeMap<Mailbox, Owner>,
    ) -> Option<&'o Owner> {
        let of_mailbox = || owners.get(&self.mailbox(note)?);
        note.owner.as_ref().or_else(of_mailbox)
    }

    /// The owners of mailboxes that nothing else names, by what servers wrote on top of the messages whose
    /// lengths are those of one name of the mailbox, and which no other message and no other name has.
    fn owners(
        &self,
        candidates: &[Candidate],
        by_lengths: &BTreeMap<Lengths, Vec<usize>>,
        known: &Accounts,
    ) -> BTreeMap<Mailbox, Owner> {
        let mut mailboxes: BTreeMap<Mailbox, Consensus> = BTreeMap::new();
        for (lengths, numbers) in by_lengths {
            let notes = self.by_lengths.get(lengths).map(Vec::as_slice);
            if let (Some([note]), [number]) = (notes, numbers.as_slice())
                && note.owner.is_none()
                && let Some(mailbox) = self.mailbox(note)
                && let Some(candidate) = candidates.get(*number)
            {
                mailboxes.entry(mailbox).or_default().add(&candidate.head);
            }
        }
        let agreed = mailboxes.into_iter().filter_map(|(mailbox, consensus)| {
            let Agreed::On(account, how) = consensus.agreed(known, local_of(&mailbox.1)) else {
                return None;
            };
            let evidence =
                format!("of the messages that are joined with names of its mailbox, {how}");
            Some((mailbox, Owner { account, evidence }))
        });
        agreed.collect()
    }
}

impl Candidate {
    const fn lengths(&self) -> Lengths {
        (self.message.bytes, self.message.virtual_bytes)
    }

    /// Whether it was delivered to another account than that which a name belongs to.
    fn contradicts(&self, note: &FileNote, known: &Accounts) -> bool {
        match (&self.delivery.trace, &note.owner) {
            (Some(Trace::To(to, Field::DeliveredTo)), Some(owner)) => {
                !known.is_same(to, &owner.account)
            }
            _ => false,
        }
    }
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The name of the directory that a mailbox lies in, if it still has one.
fn local_of(mailbox: &str) -> Option<&str> {
    let (parent, _) = mailbox.rsplit_once('/')?;
    let name = file_name(parent);
    (!name.is_empty() && !name.starts_with('#')).then_some(name)
}
