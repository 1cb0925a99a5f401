//! sdbox: a message a file, `u.UID`.

use evidence::ReadAt;
use filesystem::{DirEntry, File, FileKind, Filesystem, FsPath};

use super::record::{self, Records};
use super::{MAILBOXES, MAILS, known_of, numbered, part_of};
use crate::account::AccountRules;
use crate::dovecot::{MailIndex, read_index};
use crate::maildir::{RECOVERED, is_nameless};
use crate::record::FolderRecord;
use crate::store::{Contents, Folder, MailFile, Placed, entries_of, folder_name};

/// Places the folder at `path`: `ROOT/mailboxes/FOLDER/dbox-Mails`.
pub(crate) fn place_single(path: &FsPath, rules: &AccountRules) -> Placed {
    let names = path.names();
    let Some(root) = names.iter().rposition(|name| name == MAILBOXES) else {
        return Placed {
            owner: rules.owner_of(names),
            name: RECOVERED.to_owned(),
            mailbox: path.clone(),
        };
    };
    let (root, below) = names.split_at_checked(root).unwrap_or_default();
    let below = below.get(1..).unwrap_or_default();
    let below = match below {
        [above @ .., last] if last == MAILS || is_nameless(path) => above,
        below => below,
    };
    Placed {
        owner: rules.owner_of(root),
        name: folder_name(below),
        mailbox: root
            .iter()
            .fold(FsPath::root(), |path, name| path.join(name)),
    }
}

/// Lists a folder.
pub(crate) fn list_single(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let index = read_index(folder, fs, device, "dovecot.index", &mut contents.losses);
    let mut reading = Reading {
        folder,
        fs,
        device,
        index: index.as_ref(),
        record: folder.record(device),
        contents,
    };
    reading.directory(&folder.path, &folder.entries);
    for (path, inode) in &folder.others {
        let entries = entries_of(fs, *inode, &mut reading.contents.losses);
        reading.directory(path, &entries);
    }
    reading.compare();
    reading.contents.folders.push(reading.record);
    reading.contents
}

/// A folder that is being listed.
struct Reading<'a> {
    folder: &'a Folder,
    fs: &'a dyn Filesystem,
    device: &'a str,
    index: Option<&'a MailIndex>,
    record: FolderRecord,
    contents: Contents,
}

impl Reading<'_> {
    fn directory(&mut self, path: &FsPath, entries: &[DirEntry]) {
        for entry in entries {
            if let Some(uid) = numbered(&entry.name, b"u.") {
                self.file(&path.join(&entry.name), entry, uid);
            }
        }
    }

    /// Adds the message in a file.
    fn file(&mut self, path: &FsPath, entry: &DirEntry, uid: u32) {
        let inode = match self.fs.inode(entry.inode) {
            Ok(inode) if inode.kind == FileKind::Regular => inode,
            Ok(_) => return,
            Err(loss) => {
                let why = loss.to_string();
                let note = self.folder.note(self.device, path, &why);
                self.contents.lost.push(note);
                return;
            }
        };
        let file = File::open(self.fs, &inode);
        let Records { records, wiped } = record::read(&file, file.pieces());
        let Some(record) = records.into_iter().next() else {
            let why = "there is no message in it";
            let note = self.folder.note(self.device, path, why);
            match file.is_empty() {
                true => self.contents.rejected.push(note),
                false => self.contents.lost.push(note),
            }
            return;
        };
        self.record.present = self.record.present.saturating_add(1);
        let mut known = known_of(&record);
        known.uid = Some(uid);
        let listed = self.index.and_then(|index| index.records.get(&uid));
        known.flags = listed.map(|listed| listed.letters()).unwrap_or_default();
        self.contents.files.push(MailFile {
            path: path.clone(),
            inode: entry.inode,
            owner: self.folder.owner.clone(),
            doubt: self.folder.doubt.clone(),
            folder: self.folder.name.clone(),
            keywords: self
                .index
                .map(|index| index.keywords(uid))
                .unwrap_or_default(),
            part: Some(part_of(&record, &wiped)),
            known,
        });
    }

    /// Notes what the index lists and is not there.
    fn compare(&mut self) {
        let Some(index) = self.index else {
            return;
        };
        let there: std::collections::HashSet<u32> = self
            .contents
            .files
            .iter()
            .filter_map(|file| file.known.uid)
            .collect();
        self.record.listed = Some(index.records.len() as u64);
        let gone = index.records.keys().filter(|uid| !there.contains(uid));
        self.record.listed_but_gone = gone.map(|uid| format!("u.{uid}")).collect();
    }
}
