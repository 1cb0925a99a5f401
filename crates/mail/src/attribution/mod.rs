//! Whose the folders are that lost the path to their account.
//!
//! A path names an account; a file system that was put together again has folders below
//! `#orphans` whose paths name nobody. They are tied to an account by, in this order of strength:
//!
//! 1. what is left of the path, where that still names one;
//! 2. the folder's own index: its GUID, or names of messages that servers make unique, which a
//!    folder has whose account is known (a snapshot, another file system, another state);
//! 3. what the last server wrote on top of the messages inside ([`Trace`]), by consensus over all
//!    folders of the mailbox: see `Consensus`;
//! 4. for mail that no server delivered, its sender, if that is an account known from the rest.
//!
//! Each that says something must say the same: where two contradict each other the folder is
//! nobody's, and both sides are named. A message that lost its directory is given to an account
//! only by its own trace, and only if something else names that account, or the server that
//! delivered most of such mail ([`Local`]).

mod consensus;
mod loose;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use filesystem::{Filesystem, FsPath};

pub(crate) use consensus::{Agreed, Consensus};
pub(crate) use loose::Delivery;
pub use loose::{Judged, Local};

use crate::account::{AccountRules, Accounts, Address, Owner, Stage};
use crate::content::{head, loose_file};
use crate::delivery::{Field, Trace, server_of};
use crate::maildir::{MaildirName, Uidlist};
use crate::store::{Folder, Stores};

/// Messages of a folder whose headers are read; more say nothing new.
const SAMPLE: usize = 400;
/// Bytes that are read of each: a header, also one that is compressed.
pub(crate) const HEAD: u64 = 64 << 10;
/// Messages of a folder of a known account that are read for the server that put them there.
const SERVED: usize = 8;
/// A server is that of the mailboxes if it delivered more than this share of the mail that says
/// who delivered it, in percent, and so many messages.
const MOST_OF_IT: usize = 50;
const LEAST_DELIVERED: usize = 3;
/// So many names of messages tell a folder, or all if it has fewer.
const LEAST: usize = 3;

/// The mail stores of one file system.
pub struct Place<'a> {
    /// Its name.
    pub device: &'a str,
    /// The file system.
    pub fs: &'a dyn Filesystem,
    /// What was found in it.
    pub stores: Stores,
}

/// Judges the owners of all folders of `places` by `rules`, gives owners to the orphaned ones, and a
/// name to those whose name is lost and which are known; gives the accounts that messages may be given
/// to which lost their directory.
pub fn attribute(places: &mut [Place<'_>], rules: &AccountRules) -> Local {
    let accounts = attribute_folders(places, rules);
    let loose = places.iter().flat_map(|place| {
        let files = place.stores.loose.iter();
        files.filter_map(|(path, inode)| head(place.fs, &loose_file(path, *inode), HEAD))
    });
    let delivered: Vec<Delivery> = loose.map(|head| Delivery::of(&head)).collect();
    Local::new(&accounts, delivered.iter())
}

/// Gives owners to all folders, and the accounts that folders name.
fn attribute_folders(places: &mut [Place<'_>], rules: &AccountRules) -> Accounts {
    let mut accounts = Accounts::new(rules);
    for folder in folders_mut(places) {
        let Some(owner) = folder.owner.take() else {
            continue;
        };
        match rules.judge(owner) {
            Ok(owner) => {
                accounts.add(owner.account.clone());
                folder.owner = Some(owner);
            }
            Err(why) => folder.doubt = Some(Arc::from(why)),
        }
    }
    let mut mailboxes = mailboxes(places);
    if mailboxes.is_empty() {
        return accounts;
    }
    let index = KnownNames::of(places, &mailboxes);
    index
        .servers
        .iter()
        .for_each(|name| accounts.add_server(name.clone()));
    if accounts.are_unknown() {
        let server = Consensus::server_of_all(mailboxes.iter().map(|mailbox| &mailbox.consensus));
        if let Some(server) = server {
            accounts.set_server(server);
        }
    }
    // Mail without a trace is given by its sender, who must be known: so after all the rest.
    let mut waiting = Vec::new();
    for mailbox in &mut mailboxes {
        let verdict = mailbox.judge(&index, &accounts);
        if verdict.is_silent() {
            waiting.push(mailbox);
        } else {
            verdict.apply(places, mailbox);
        }
    }
    for owner in folders_mut(places).filter_map(|folder| folder.owner.as_ref()) {
        accounts.add(owner.account.clone());
    }
    for mailbox in waiting {
        mailbox.by_sender(&accounts).apply(places, mailbox);
    }
    accounts
}

fn folders_mut<'p>(places: &'p mut [Place<'_>]) -> impl Iterator<Item = &'p mut Folder> {
    let places = places.iter_mut();
    places.flat_map(|place| place.stores.folders.iter_mut())
}

/// When a server writes a field: what it puts down of the delivery itself stands behind all aliases.
pub(crate) fn stage(field: Field) -> Stage {
    match field {
        Field::DeliveredTo => Stage::AfterAliases,
        Field::EnvelopeTo | Field::OriginalTo | Field::ReceivedFor => Stage::BeforeAliases,
    }
}

/// The folders of one mailbox that lost its path, and what was read of them.
struct Mailbox {
    /// Which of the places, and which of its folders.
    place: usize,
    folders: Vec<usize>,
    /// What is left of the path names this account.
    path: Option<Owner>,
    /// The directory that the mailbox lies in: where the domain is lost, the name in it.
    local: Option<String>,
    /// By folder: its GUID and the names of its messages.
    index: Vec<(Option<String>, HashSet<Vec<u8>>)>,
    consensus: Consensus,
}

/// All mailboxes with folders that lost their path, in the order of the places and paths.
fn mailboxes(places: &[Place<'_>]) -> Vec<Mailbox> {
    let mut all = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let mut by_path: BTreeMap<&FsPath, Vec<usize>> = BTreeMap::new();
        for (index, folder) in place.stores.folders.iter().enumerate() {
            // What the list of accounts rules out is nobody's, whatever else it says.
            if folder.wants_evidence() && folder.doubt.is_none() {
                by_path.entry(&folder.mailbox).or_default().push(index);
            }
        }
        let folders_of = |folders: &[usize]| -> Vec<&Folder> {
            let all = folders.iter();
            all.filter_map(|index| place.stores.folders.get(*index))
                .collect()
        };
        all.extend(by_path.into_iter().map(|(path, folders)| {
            let inside = folders_of(&folders);
            let mut consensus = Consensus::default();
            let index = inside
                .iter()
                .map(|folder| read(place, folder, &mut consensus))
                .collect();
            Mailbox {
                place: number,
                path: inside.iter().find_map(|folder| folder.owner.clone()),
                local: local_of(path),
                folders,
                index,
                consensus,
            }
        }));
    }
    all
}

/// The name of the directory that a mailbox lies in, if it still has one.
fn local_of(mailbox: &FsPath) -> Option<String> {
    let parent = mailbox.parent()?;
    let name = std::str::from_utf8(parent.name()?).ok()?;
    (!name.starts_with('#')).then(|| name.to_owned())
}

/// Reads what one folder says: its index, the names of its messages, and their traces.
fn read(
    place: &Place<'_>,
    folder: &Folder,
    consensus: &mut Consensus,
) -> (Option<String>, HashSet<Vec<u8>>) {
    let contents = folder.list(place.fs, place.device);
    let mut names: HashSet<Vec<u8>> = HashSet::new();
    for file in &contents.files {
        let name = file.path.name().unwrap_or_default();
        if crate::maildir::is_message(name) {
            names.insert(MaildirName::parse(name).base.to_vec());
        }
    }
    let list = folder.read_index(place.fs, place.device, b"dovecot-uidlist");
    let list = list.ok().flatten().and_then(|text| Uidlist::parse(&text));
    let guid = list.as_ref().and_then(|list| list.guid.clone());
    names.extend(list.into_iter().flat_map(|list| list.names.into_keys()));
    // Evenly over the folder, so that no year of it speaks for all.
    let step = contents.files.len().div_ceil(SAMPLE).max(1);
    for file in contents.files.iter().step_by(step) {
        if let Some(head) = head(place.fs, file, HEAD) {
            consensus.add_one_of(&head, step);
        }
    }
    (guid, names)
}

/// What folders whose accounts are known have, as far as the orphaned ones have it too.
#[derive(Default)]
struct KnownNames {
    /// By GUID: the account and the folder.
    guids: HashMap<String, (Address, String)>,
    /// By the name of a message. A name that two accounts have says nothing.
    names: HashMap<Vec<u8>, Option<(Address, String)>>,
    /// The servers that put mail into them.
    servers: BTreeSet<String>,
}

impl KnownNames {
    fn of(places: &[Place<'_>], mailboxes: &[Mailbox]) -> Self {
        let mut this = Self::default();
        let mut guids: HashSet<&str> = HashSet::new();
        let mut names: HashSet<&[u8]> = HashSet::new();
        for (guid, of_folder) in mailboxes.iter().flat_map(|mailbox| &mailbox.index) {
            guids.extend(guid.as_deref());
            names.extend(of_folder.iter().map(Vec::as_slice));
        }
        for place in places {
            let folders = place.stores.folders.iter();
            for folder in folders.filter(|folder| !folder.wants_evidence()) {
                if let Some(owner) = &folder.owner {
                    this.add(place, folder, &owner.account, &guids, &names);
                }
            }
        }
        this
    }

    fn add(
        &mut self,
        place: &Place<'_>,
        folder: &Folder,
        account: &Address,
        guids: &HashSet<&str>,
        wanted: &HashSet<&[u8]>,
    ) {
        let mut ignored = Consensus::muted();
        let (guid, names) = read(place, folder, &mut ignored);
        self.servers.extend(servers_of(place, folder, account));
        // The mailbox's list names the GUIDs of all its folders, lost ones too.
        for listed in folder.list_index(place.fs, place.device) {
            if guids.contains(listed.guid.as_str()) {
                let there = (account.clone(), listed.name);
                self.guids.entry(listed.guid).or_insert(there);
            }
        }
        let here = (account.clone(), folder.name.clone());
        if let Some(guid) = guid.filter(|guid| guids.contains(guid.as_str())) {
            self.guids.entry(guid).or_insert_with(|| here.clone());
        }
        for name in names {
            if !wanted.contains(name.as_slice()) {
                continue;
            }
            let known = self.names.entry(name).or_insert_with(|| Some(here.clone()));
            if known.as_ref().is_some_and(|(other, _)| other != account) {
                *known = None;
            }
        }
    }
}

/// The server that delivered the most mail, by how much each did, if it is clear.
fn server_of_most<'s>(delivered: impl Iterator<Item = (&'s str, usize)>) -> Option<String> {
    let mut servers: BTreeMap<&str, usize> = BTreeMap::new();
    for (server, count) in delivered {
        let sum = servers.entry(server).or_default();
        *sum = sum.saturating_add(count);
    }
    let all: usize = servers.values().sum();
    let (server, count) = servers.into_iter().max_by_key(|(_, count)| *count)?;
    let enough =
        count >= LEAST_DELIVERED && count.saturating_mul(100) > all.saturating_mul(MOST_OF_IT);
    enough.then(|| server.to_owned())
}

/// The servers that put mail into a folder of an account, by a few of its messages.
fn servers_of(place: &Place<'_>, folder: &Folder, account: &Address) -> BTreeSet<String> {
    let files = folder.list(place.fs, place.device).files;
    let step = files.len().div_ceil(SERVED).max(1);
    let heads = files
        .iter()
        .step_by(step)
        .filter_map(|file| head(place.fs, file, HEAD));
    let is_own = |head: &Vec<u8>| matches!(Trace::of(head), Some(Trace::To(address, Field::DeliveredTo)) if address == *account);
    heads
        .filter(is_own)
        .filter_map(|head| server_of(&head))
        .collect()
}

/// What is to be said of a mailbox.
#[derive(Debug, Default)]
struct Verdict {
    owner: Option<Owner>,
    doubt: Option<String>,
    /// The names of its folders, where an index knows them.
    names: Vec<Option<String>>,
}

impl Mailbox {
    /// Puts together what all evidence says.
    fn judge(&self, index: &KnownNames, known: &Accounts) -> Verdict {
        let mut said: Vec<(Address, String)> = Vec::new();
        let path = self.path.iter();
        said.extend(path.map(|owner| (owner.account.clone(), owner.evidence.clone())));
        let (by_index, names) = self.by_index(index);
        said.extend(by_index);
        let mut doubt = None;
        match self.consensus.agreed(known, self.local.as_deref()) {
            Agreed::On(account, how) => said.push((account, how)),
            Agreed::Split(sides) => doubt = Some(sides),
            Agreed::Nothing => {}
        }
        let accounts: BTreeSet<&Address> = said.iter().map(|(account, _)| account).collect();
        let sides = || {
            let sides = said
                .iter()
                .map(|(account, how)| format!("{account}: {how}"));
            let sides: Vec<String> = sides.chain(doubt.clone()).collect();
            sides.join("; but ")
        };
        match (accounts.first(), accounts.len()) {
            (Some(account), 1) if doubt.is_none() || self.path.is_some() => {
                let how: Vec<String> = said.iter().map(|(_, how)| how.clone()).collect();
                let evidence = how.join("; ");
                let account = (*account).clone();
                Verdict {
                    owner: Some(Owner { account, evidence }),
                    doubt: None,
                    names,
                }
            }
            (None, _) if doubt.is_none() => Verdict::default(),
            _ => Verdict {
                owner: None,
                doubt: Some(sides()),
                names: Vec::new(),
            },
        }
    }

    /// What folders of known accounts say of this one's, and the names that they give to them.
    fn by_index(&self, index: &KnownNames) -> (Vec<(Address, String)>, Vec<Option<String>>) {
        let mut said = Vec::new();
        let mut names = Vec::new();
        for (guid, messages) in &self.index {
            let mut name = None;
            if let Some((account, folder)) = guid.as_ref().and_then(|g| index.guids.get(g)) {
                said.push((account.clone(), format!("its GUID is that of {folder}")));
                name = Some(folder.clone());
            }
            let mut shared: BTreeMap<(&Address, &str), usize> = BTreeMap::new();
            let known = messages
                .iter()
                .filter_map(|name| index.names.get(name)?.as_ref());
            for (account, folder) in known {
                let count = shared.entry((account, folder)).or_default();
                *count = count.saturating_add(1);
            }
            for ((account, folder), count) in shared {
                let of = messages.len();
                said.push((
                    account.clone(),
                    format!("{count} of its {of} messages are those of {folder}"),
                ));
                if count >= LEAST || count == of {
                    name.get_or_insert_with(|| folder.to_owned());
                }
            }
            names.push(name);
        }
        said.sort();
        said.dedup();
        (said, names)
    }

    /// The account whose own mail this is, if it is mail that nobody delivered.
    fn by_sender(&self, known: &Accounts) -> Verdict {
        let owner = self.consensus.sender(known);
        Verdict {
            owner: owner.map(|(account, evidence)| Owner { account, evidence }),
            ..Verdict::default()
        }
    }
}

impl Verdict {
    fn is_silent(&self) -> bool {
        self.owner.is_none() && self.doubt.is_none()
    }

    /// Writes it into the folders of `mailbox`.
    fn apply(self, places: &mut [Place<'_>], mailbox: &Mailbox) {
        let Some(place) = places.get_mut(mailbox.place) else {
            return;
        };
        let mut names = self.names.into_iter();
        for index in &mailbox.folders {
            let name = names.next().flatten();
            if let Some(folder) = place.stores.folders.get_mut(*index) {
                folder.owner.clone_from(&self.owner);
                folder.doubt = self.doubt.as_deref().map(Arc::from);
                if let Some(name) = name.filter(|_| folder.name == crate::maildir::RECOVERED) {
                    folder.name = name;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::consensus::tests::{consensus, known};
    use super::*;

    #[test]
    fn what_contradicts_itself_is_nobodys_and_both_sides_are_named() {
        let all = known(&["ada@x.example", "bob@x.example"]);
        let mailbox = Mailbox {
            place: 0,
            folders: vec![0],
            path: Some(Owner {
                account: Address::parse("bob@x.example").unwrap(),
                evidence: "path".to_owned(),
            }),
            local: None,
            index: Vec::new(),
            consensus: consensus(&["ada@x.example"; 5]),
        };
        let verdict = mailbox.judge(&KnownNames::default(), &all);
        let doubt = verdict.doubt.unwrap();
        assert!(verdict.owner.is_none());
        assert!(
            doubt.contains("ada@x.example") && doubt.contains("bob@x.example"),
            "{doubt}"
        );
    }
}
