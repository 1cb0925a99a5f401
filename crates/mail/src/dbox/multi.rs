//! mdbox: many messages a file, `m.N`, sorted by indexes.
//!
//! `dovecot.map.index` gives each message a number and says in which file it lies, and where; the
//! index of a folder says which of these numbers are in it. A copy is one more folder with the same
//! number. What no folder has any more stays in its file until that is purged.

use std::collections::{BTreeMap, BTreeSet};

use filesystem::{DirEntry, File, FileKind, Filesystem, FsPath, InodeNumber};

use super::record::{self, Record, Records};
use super::{MAILBOXES, MAILS, STORAGE, known_of, numbered, part_of};
use crate::account::AccountRules;
use crate::dovecot::{MailIndex, read_index};
use crate::maildir::{Flags, RECOVERED};
use crate::store::{
    Contents, Folder, MailFile, Placed, Wiped, entries_of, folder_name, level, without_prefix,
};

/// Folders that are nested deeper are none.
const MOST_LEVELS: usize = 64;

/// Places the mdbox at `path`, or the directory or file of one that lost it.
pub(crate) fn place_multi(path: &FsPath, rules: &AccountRules) -> Placed {
    let root = match path.name() {
        Some(STORAGE) => path.parent().unwrap_or_default(),
        _ => path.clone(),
    };
    Placed {
        owner: rules.owner_of(root.names()),
        name: RECOVERED.to_owned(),
        mailbox: root,
    }
}

/// Where a message lies: the number of its file, and the offset in it.
type Spot = (u32, u64);

/// A message as a folder's index knows it.
struct Listed {
    folder: usize,
    uid: u32,
    flags: Flags,
    keywords: Vec<String>,
}

/// Lists the messages of all folders.
pub(crate) fn list_multi(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut reading = Reading {
        store: folder,
        fs,
        device,
        folders: Vec::new(),
        listed: BTreeMap::new(),
        seen: BTreeSet::new(),
        map: None,
        references: BTreeMap::new(),
        has_all: true,
        contents: Contents::default(),
    };
    let inside = |path: FsPath, inode, contents: &mut Contents| Folder {
        entries: entries_of(fs, inode, &mut contents.losses),
        path,
        inode,
        ..folder.clone()
    };
    let mut storages = Vec::new();
    if folder.is_bare {
        storages.push(folder.clone());
    } else if let Some(storage) = folder.entry(STORAGE) {
        let path = folder.path.join(STORAGE);
        storages.push(inside(path, storage, &mut reading.contents));
    }
    for (path, inode) in &folder.others {
        let root = inside(path.clone(), *inode, &mut reading.contents);
        storages.push(match root.entry(STORAGE) {
            Some(storage) => inside(path.join(STORAGE), storage, &mut reading.contents),
            None => root,
        });
    }
    if let Some(storage) = storages.first() {
        let losses = &mut reading.contents.losses;
        reading.map = read_index(storage, fs, device, "dovecot.map.index", losses);
        reading.count_references();
    }
    if let Some(mailboxes) = folder.entry(MAILBOXES) {
        reading.mailboxes(&folder.path.join(MAILBOXES), mailboxes, &mut Vec::new());
    }
    for storage in &storages {
        reading.storage(storage);
    }
    reading.compare();
    reading.contents
}

/// A store that is being listed.
struct Reading<'a> {
    store: &'a Folder,
    fs: &'a dyn Filesystem,
    device: &'a str,
    /// The folders, by name, with how many messages each has.
    folders: Vec<(String, FsPath, u64)>,
    /// Which folders have the message at a spot.
    listed: BTreeMap<Spot, Vec<Listed>>,
    seen: BTreeSet<Spot>,
    map: Option<MailIndex>,
    /// `ref`: how many folders have what the map says is at a spot.
    references: BTreeMap<Spot, u16>,
    /// Whether all indexes are there and whole: what they do not list was expunged.
    has_all: bool,
    contents: Contents,
}

impl Reading<'_> {
    fn count_references(&mut self) {
        let Some(map) = &self.map else {
            return;
        };
        let spots = map.records.keys().filter_map(|uid| {
            let references = map.extension(*uid, "ref")?.le_u16(0)?;
            Some((spot_of(map, *uid)?, references))
        });
        self.references = spots.collect();
    }

    /// Reads the indexes of the folders in a directory. `below` are the levels above.
    fn mailboxes(&mut self, path: &FsPath, inode: InodeNumber, below: &mut Vec<Vec<u8>>) {
        let entries = entries_of(self.fs, inode, &mut self.contents.losses);
        for DirEntry { name, inode } in &entries {
            let path = path.join(name);
            let kind = self.fs.inode(*inode).map(|inode| inode.kind);
            if name == MAILS {
                self.mailbox(&path, *inode, folder_name(below));
            } else if kind.is_ok_and(|kind| kind == FileKind::Directory)
                && below.len() < MOST_LEVELS
            {
                below.push(name.clone());
                self.mailboxes(&path, *inode, below);
                below.pop();
            }
        }
    }

    /// Reads the index of one folder.
    fn mailbox(&mut self, path: &FsPath, inode: InodeNumber, name: String) {
        let losses = &mut self.contents.losses;
        let inside = Folder {
            entries: entries_of(self.fs, inode, losses),
            path: path.clone(),
            name: name.clone(),
            ..self.store.clone()
        };
        let index = read_index(&inside, self.fs, self.device, "dovecot.index", losses);
        let number = self.folders.len();
        self.folders.push((name, path.clone(), 0));
        // A level without messages of its own has no index.
        self.has_all &= index.as_ref().is_none_or(|index| index.is_whole);
        let (Some(index), Some(map)) = (index, &self.map) else {
            return;
        };
        for (uid, record) in &index.records {
            // `struct mdbox_mail_index_record`.
            let map_uid = index
                .extension(*uid, "mdbox")
                .and_then(|fields| fields.le_u32(0));
            let Some(spot) = map_uid.and_then(|uid| spot_of(map, uid)) else {
                continue;
            };
            self.listed.entry(spot).or_default().push(Listed {
                folder: number,
                uid: *uid,
                flags: record.letters(),
                keywords: index.keywords(*uid),
            });
        }
    }

    /// Reads the files in a directory, or the one that the store is.
    fn storage(&mut self, storage: &Folder) {
        if storage.entries.is_empty() {
            self.file(&storage.path, storage.inode, None);
        }
        for entry in &storage.entries {
            if let Some(number) = numbered(&entry.name, b"m.") {
                self.file(&storage.path.join(&entry.name), entry.inode, Some(number));
            }
        }
    }

    fn file(&mut self, path: &FsPath, number: InodeNumber, file_id: Option<u32>) {
        let inode = match self.fs.inode(number) {
            Ok(inode) if inode.kind == FileKind::Regular => inode,
            Ok(_) => return,
            Err(loss) => {
                self.contents.losses.push(loss);
                return;
            }
        };
        let file = File::open(self.fs, &inode);
        self.contents.losses.extend(file.losses().iter().cloned());
        let Records { records, wiped } = record::read(&file, file.pieces());
        for record in &records {
            let spot = file_id.map(|id| (id, record.offset));
            self.message(path, number, record, &wiped, spot);
        }
    }

    /// Adds a message, in each folder that has it.
    fn message(
        &mut self,
        path: &FsPath,
        inode: InodeNumber,
        record: &Record,
        wiped: &Wiped,
        spot: Option<Spot>,
    ) {
        let mail = MailFile {
            path: path.clone(),
            inode,
            owner: self.store.owner.clone(),
            doubt: self.store.doubt.clone(),
            folder: self.original_folder(record),
            keywords: Vec::new(),
            part: Some(part_of(record, wiped)),
            known: known_of(record),
        };
        let listed = spot.and_then(|spot| self.listed.get(&spot));
        let Some(listed) = listed else {
            let mut mail = mail;
            mail.known.is_expunged = spot.is_some_and(|spot| self.is_expunged(spot));
            self.contents.files.push(mail);
            return;
        };
        self.seen.extend(spot);
        for listed in listed {
            let mut mail = mail.clone();
            if let Some((name, _, count)) = self.folders.get_mut(listed.folder) {
                mail.folder.clone_from(name);
                *count = count.saturating_add(1);
            }
            mail.keywords.clone_from(&listed.keywords);
            mail.known.flags = listed.flags.clone();
            mail.known.uid = Some(listed.uid);
            self.contents.files.push(mail);
        }
    }

    /// The folder that a message was first saved to.
    fn original_folder(&self, record: &Record) -> String {
        let Some(name) = record.metadata.get(&b'B') else {
            return RECOVERED.to_owned();
        };
        // Where the folder is still there by that very name, no prefix is part of it.
        let levels: Vec<String> = name.split('/').map(|name| level(name.as_bytes())).collect();
        let plain = levels.join(".");
        if self.folders.iter().any(|(known, ..)| *known == plain) {
            return plain;
        }
        let separator = if name.contains('/') { b'/' } else { b'.' };
        without_prefix(name.as_bytes(), separator)
    }

    /// Whether the indexes are whole and say that nobody has the message at `spot`.
    fn is_expunged(&self, spot: Spot) -> bool {
        if !(self.has_all && self.map.as_ref().is_some_and(|map| map.is_whole)) {
            return false;
        }
        let references = self.references.get(&spot);
        references.is_none_or(|references| *references == 0)
    }

    /// Notes what indexes list and files do not have.
    fn compare(&mut self) {
        let mut gone: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (spot, listed) in &self.listed {
            if self.seen.contains(spot) {
                continue;
            }
            for listed in listed {
                let (file, offset) = spot;
                let name = format!("UID {} in m.{file} at {offset}", listed.uid);
                gone.entry(listed.folder).or_default().push(name);
            }
        }
        let mut listed: BTreeMap<usize, u64> = BTreeMap::new();
        for each in self.listed.values().flatten() {
            let count = listed.entry(each.folder).or_default();
            *count = count.saturating_add(1);
        }
        for (number, (name, path, present)) in self.folders.iter().enumerate() {
            let mut record = self.store.record(self.device);
            record.path = path.to_string();
            record.folder.clone_from(name);
            record.present = *present;
            record.listed = Some(listed.get(&number).copied().unwrap_or(0));
            record.listed_but_gone = gone.remove(&number).unwrap_or_default();
            self.contents.folders.push(record);
        }
        if self.folders.is_empty() {
            let mut record = self.store.record(self.device);
            record.present = self.contents.files.len() as u64;
            self.contents.folders.push(record);
        }
    }
}

/// Where the map says that a message lies (`struct mdbox_map_mail_index_record`).
fn spot_of(map: &MailIndex, uid: u32) -> Option<Spot> {
    let fields = map.extension(uid, "map")?;
    Some((fields.le_u32(0)?, u64::from(fields.le_u32(4)?)))
}
