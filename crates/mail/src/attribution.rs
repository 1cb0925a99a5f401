//! Whose the folders are that lost the path to their account.
//!
//! A path names an account; a file system that was put together again has folders below
//! `#orphans` whose paths name nobody. They are tied to an account by, in this order of strength:
//!
//! 1. what is left of the path, where that still names one;
//! 2. the folder's own index: its GUID, or names of messages that servers make unique, which a
//!    folder has whose account is known (a snapshot, another file system, another state);
//! 3. what the last server wrote on top of the messages inside ([`Trace`]), by consensus over all
//!    folders of the mailbox: see [`Consensus`];
//! 4. for mail that no server delivered, its sender, if that is an account known from the rest.
//!
//! Each that says something must say the same: where two contradict each other the folder is
//! nobody's, and both sides are named. A message that lost its directory is given to an account
//! only by its own trace, and only if something else names that account.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use evidence::ReadAtExt;
use filesystem::{File, FileKind, Filesystem, FsPath};

use crate::account::{Address, Owner};
use crate::codec::{Codec, decode};
use crate::delivery::{Field, Trace};
use crate::maildir::{Folder, MailFile, MaildirName, Stores, Uidlist};

/// Messages of a folder whose headers are read; more say nothing new.
const SAMPLE: usize = 400;
/// Bytes that are read of each: a header, also one that is compressed.
const HEAD: u64 = 64 << 10;
/// So many messages must name an account that is to be believed on their word.
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

/// Gives owners to the orphaned folders of `places`, and a name to those whose name is lost and
/// which are known; gives the accounts that are known from anything but single messages.
pub fn attribute(places: &mut [Place<'_>]) -> BTreeSet<Address> {
    let folders = places.iter().flat_map(|place| &place.stores.folders);
    let mut known: BTreeSet<Address> = folders
        .filter_map(|folder| Some(folder.owner.as_ref()?.account.clone()))
        .collect();
    let mut mailboxes = mailboxes(places);
    if mailboxes.is_empty() {
        return known;
    }
    let index = KnownNames::of(places, &mailboxes);
    // Mail without a trace is given by its sender, who must be known: so after all the rest.
    let mut waiting = Vec::new();
    for mailbox in &mut mailboxes {
        let verdict = mailbox.judge(&index, &known);
        if verdict.is_silent() {
            waiting.push(mailbox);
        } else {
            verdict.apply(places, mailbox);
        }
    }
    let folders = places.iter().flat_map(|place| &place.stores.folders);
    known.extend(folders.filter_map(|folder| Some(folder.owner.as_ref()?.account.clone())));
    for mailbox in waiting {
        mailbox.by_sender(&known).apply(places, mailbox);
    }
    known
}

/// The owner of a message that lost its directory, by its own trace; `known` are the accounts
/// that something else names.
pub fn owner_of_loose(content: &[u8], known: &BTreeSet<Address>) -> Option<Owner> {
    let Some(Trace::To(address, field)) = Trace::of(content) else {
        return None;
    };
    let account = among(&address, known)?;
    Some(Owner {
        evidence: format!(
            "its own header names {address} in {}; nothing else of its path is left",
            field.name()
        ),
        account: account.clone(),
    })
}

/// The account of `known` that mail to `address` goes to: itself, with other case in the local
/// part, or without the detail behind a plus sign.
fn among<'k>(address: &Address, known: &'k BTreeSet<Address>) -> Option<&'k Address> {
    if let Some(same) = known.get(address) {
        return Some(same);
    }
    let find = |local: &str| {
        let mut alike = known.iter().filter(|account| {
            account.domain() == address.domain() && account.local().eq_ignore_ascii_case(local)
        });
        alike.next().filter(|_| alike.next().is_none())
    };
    find(address.local()).or_else(|| find(address.local().split_once('+')?.0))
}

/// The folders of one mailbox that lost its path, and what was read of them.
struct Mailbox {
    /// Which of the places, and which of its folders.
    place: usize,
    folders: Vec<usize>,
    /// What is left of the path names this account.
    path: Option<Owner>,
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
            if folder.is_orphan() {
                by_path.entry(&folder.mailbox).or_default().push(index);
            }
        }
        let folders_of = |folders: &[usize]| -> Vec<&Folder> {
            let all = folders.iter();
            all.filter_map(|index| place.stores.folders.get(*index))
                .collect()
        };
        all.extend(by_path.into_values().map(|folders| {
            let inside = folders_of(&folders);
            let mut consensus = Consensus::default();
            let index = inside
                .iter()
                .map(|folder| read(place, folder, &mut consensus))
                .collect();
            Mailbox {
                place: number,
                path: inside.iter().find_map(|folder| folder.owner.clone()),
                folders,
                index,
                consensus,
            }
        }));
    }
    all
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
    names.extend(list.into_iter().flat_map(|list| list.names));
    // Evenly over the folder, so that no year of it speaks for all.
    let step = contents.files.len().div_ceil(SAMPLE).max(1);
    for file in contents.files.iter().step_by(step) {
        if let Some(head) = head(place.fs, file) {
            consensus.add(&head);
        }
    }
    (guid, names)
}

/// The beginning of a message, decompressed; `None` if it cannot be read.
fn head(fs: &dyn Filesystem, mail: &MailFile) -> Option<Vec<u8>> {
    let inode = fs.inode(mail.inode).ok()?;
    if inode.kind != FileKind::Regular {
        return None;
    }
    // The blocks of a deleted file may hold anybody's mail; but of an account that was removed
    // there are no others, and one message decides nothing.
    let file = File::open(fs, &inode);
    let length = usize::try_from(inode.size.min(HEAD)).ok()?;
    let stored = file.read_whole(evidence::ByteOffset::ZERO, length)?;
    match Codec::of(&stored) {
        Codec::Plain => Some(stored),
        codec => Some(decode(codec, &stored).bytes),
    }
}

/// What folders whose accounts are known have, as far as the orphaned ones have it too.
#[derive(Default)]
struct KnownNames {
    /// By GUID: the account and the folder.
    guids: HashMap<String, (Address, String)>,
    /// By the name of a message. A name that two accounts have says nothing.
    names: HashMap<Vec<u8>, Option<(Address, String)>>,
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
            for folder in folders.filter(|folder| !folder.is_orphan()) {
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

/// What the messages of a mailbox say of the account.
#[derive(Debug, Default)]
struct Consensus {
    muted: bool,
    /// How often each address is named, and whether every time in `Delivered-To`.
    to: BTreeMap<Address, (usize, bool)>,
    /// How many messages name a recipient.
    named: usize,
    /// Senders of mail without a trace.
    from: BTreeMap<Address, usize>,
    /// How much mail has no trace.
    untraced: usize,
    /// How many messages were read.
    all: usize,
}

/// What a consensus comes to.
#[derive(Debug, PartialEq, Eq)]
enum Agreed {
    /// It names this account, and how.
    On(Address, String),
    /// Messages name several, in words.
    Split(String),
    /// Too few say anything.
    Nothing,
}

impl Consensus {
    /// One that reads no headers.
    fn muted() -> Self {
        Self {
            muted: true,
            ..Self::default()
        }
    }

    fn add(&mut self, content: &[u8]) {
        let Some(trace) = Some(content).filter(|_| !self.muted).and_then(Trace::of) else {
            return;
        };
        self.all = self.all.saturating_add(1);
        match trace {
            Trace::To(address, field) => {
                let (count, final_) = self.to.entry(address).or_insert((0, true));
                *count = count.saturating_add(1);
                *final_ &= field == Field::DeliveredTo;
                self.named = self.named.saturating_add(1);
            }
            Trace::Silent => {}
            Trace::From(from) => {
                self.untraced = self.untraced.saturating_add(1);
                if let Some(from) = from {
                    let count = self.from.entry(from).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
    }

    /// The account that the traces name.
    ///
    /// Nine of ten messages that name anybody must name it, and so must three, or all if there are
    /// fewer. An account that nothing else names may be an alias of another one, so it is
    /// believed only by three and if each has it in `Delivered-To`, which stands behind all
    /// aliases, and in a domain of which others are known, if any are.
    fn agreed(&self, known: &BTreeSet<Address>) -> Agreed {
        let mut sums: BTreeMap<Address, (usize, bool, bool)> = BTreeMap::new();
        for (address, (count, final_)) in &self.to {
            let known = among(address, known);
            let account = known.cloned().or_else(|| without_detail(address));
            let Some(account) = account else { continue };
            let sum = sums.entry(account).or_insert((0, true, known.is_some()));
            sum.0 = sum.0.saturating_add(*count);
            sum.1 &= *final_;
        }
        let Some((account, (count, final_, is_known))) = sums
            .iter()
            .max_by_key(|(address, (count, ..))| (*count, std::cmp::Reverse(*address)))
        else {
            return Agreed::Nothing;
        };
        let enough = *count >= LEAST || (*count == self.all && *is_known);
        if count.saturating_mul(10) < self.named.saturating_mul(9) {
            return if self.named >= LEAST {
                Agreed::Split(self.sides(sums.iter().map(|(a, (n, ..))| (a, *n))))
            } else {
                Agreed::Nothing
            };
        }
        let domain = known.is_empty() || known.iter().any(|one| one.domain() == account.domain());
        if enough && (*is_known || (*final_ && domain && *count >= LEAST)) {
            let how = format!("{count} of its {} messages were delivered to it", self.all);
            return Agreed::On(account.clone(), how);
        }
        Agreed::Nothing
    }

    /// The two addresses that are named most.
    fn sides<'s>(&self, sums: impl Iterator<Item = (&'s Address, usize)>) -> String {
        let mut sums: Vec<(&Address, usize)> = sums.collect();
        sums.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        let sides = sums.iter().take(2);
        let sides = sides.map(|(address, count)| format!("{count} to {address}"));
        let sides: Vec<String> = sides.collect();
        format!(
            "of its {} messages were delivered {}",
            self.all,
            sides.join(", ")
        )
    }

    /// The account that wrote the mail, if none of it was delivered.
    fn sender(&self, known: &BTreeSet<Address>) -> Option<(Address, String)> {
        let (from, count) = self.from.iter().max_by_key(|(_, count)| **count)?;
        let account = among(from, known)?;
        let all_untraced = self.untraced == self.all;
        let most = count.saturating_mul(10) >= self.all.saturating_mul(9);
        let enough = *count >= LEAST && all_untraced && most;
        enough.then(|| {
            let how = format!(
                "it is the sender of {count} of its {} messages, none of which was delivered",
                self.all
            );
            (account.clone(), how)
        })
    }
}

/// An address without the detail behind a plus sign.
fn without_detail(address: &Address) -> Option<Address> {
    match address.local().split_once('+') {
        Some((local, _)) => Address::new(local, address.domain()),
        None => Some(address.clone()),
    }
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
    fn judge(&self, index: &KnownNames, known: &BTreeSet<Address>) -> Verdict {
        let mut said: Vec<(Address, String)> = Vec::new();
        let path = self.path.iter();
        said.extend(path.map(|owner| (owner.account.clone(), owner.evidence.clone())));
        let (by_index, names) = self.by_index(index);
        said.extend(by_index);
        let mut doubt = None;
        match self.consensus.agreed(known) {
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
    fn by_sender(&self, known: &BTreeSet<Address>) -> Verdict {
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
                folder.doubt.clone_from(&self.doubt);
                if let Some(name) = name.filter(|_| folder.name == crate::maildir::RECOVERED) {
                    folder.name = name;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(accounts: &[&str]) -> BTreeSet<Address> {
        accounts
            .iter()
            .map(|text| Address::parse(text).unwrap())
            .collect()
    }

    fn consensus(to: &[&str]) -> Consensus {
        let mut consensus = Consensus::default();
        for address in to {
            consensus.add(format!("Delivered-To: {address}\nFrom: x@y.example\n\n").as_bytes());
        }
        consensus
    }

    fn on(agreed: Agreed) -> Option<String> {
        match agreed {
            Agreed::On(account, _) => Some(account.to_string()),
            _ => None,
        }
    }

    #[test]
    fn nine_of_ten_and_three_at_least_must_name_the_account() {
        let all = known(&["ada@x.example", "bob@x.example"]);
        let agreed = |to: &[&str]| on(consensus(to).agreed(&all));
        let ada = "ada@x.example";
        assert_eq!(agreed(&[ada; 3]).as_deref(), Some(ada));
        assert_eq!(agreed(&[ada]).as_deref(), Some(ada));
        let mut mixed = vec![ada; 9];
        mixed.push("bob@x.example");
        assert_eq!(agreed(&mixed).as_deref(), Some(ada));
        mixed.pop();
        mixed.extend(["bob@x.example"; 2]);
        assert_eq!(agreed(&mixed), None);
        assert!(matches!(consensus(&mixed).agreed(&all), Agreed::Split(_)));
        assert_eq!(
            agreed(&["ada+lists@x.example", "Ada@x.example", ada]).as_deref(),
            Some(ada)
        );
    }

    #[test]
    fn an_address_that_may_be_an_alias_is_no_account() {
        let all = known(&["ada@x.example"]);
        let sales = "sales@x.example";
        assert_eq!(on(consensus(&[sales]).agreed(&all)), None);
        assert_eq!(
            on(consensus(&[sales; 3]).agreed(&all)).as_deref(),
            Some(sales)
        );
        assert_eq!(on(consensus(&["list@z.example"; 3]).agreed(&all)), None);
        let mut before_aliases = Consensus::default();
        for _ in 0..5 {
            before_aliases.add(b"X-Original-To: sales@x.example\nReceived: from a by b; x\n\n");
        }
        assert_eq!(on(before_aliases.agreed(&all)), None);
        assert_eq!(
            on(before_aliases.agreed(&known(&[sales]))).as_deref(),
            Some(sales)
        );
    }

    #[test]
    fn a_sender_counts_only_for_mail_that_nobody_delivered() {
        let all = known(&["ada@x.example"]);
        let mut sent = Consensus::default();
        for _ in 0..3 {
            sent.add(b"From: Ada <ada@x.example>\nTo: b@y.example\n\n");
        }
        assert_eq!(
            sent.sender(&all).map(|(a, _)| a.to_string()).as_deref(),
            Some("ada@x.example")
        );
        assert_eq!(sent.sender(&known(&["bob@x.example"])), None);
        sent.add(b"Received: from a by b; x\nFrom: ada@x.example\n\n");
        assert_eq!(sent.sender(&all), None);
    }

    #[test]
    fn a_loose_message_needs_an_account_that_something_else_names() {
        let message = b"Delivered-To: ada+x@x.example\nFrom: b@y.example\n\nhi\n";
        let owner = owner_of_loose(message, &known(&["ada@x.example"])).unwrap();
        assert_eq!(owner.account.to_string(), "ada@x.example");
        assert_eq!(owner_of_loose(message, &known(&["bob@x.example"])), None);
        let sent = b"From: ada@x.example\n\nhi\n";
        assert_eq!(owner_of_loose(sent, &known(&["ada@x.example"])), None);
    }

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
