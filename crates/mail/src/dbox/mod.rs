//! Dovecot's own stores: *sdbox*, a message a file, and *mdbox*, many in one.
//!
//! ```text
//! ROOT/mailboxes/FOLDER/dbox-Mails/       u.UID (sdbox), dovecot.index, dovecot.index.log
//! ROOT/storage/                           m.N (mdbox), dovecot.map.index, dovecot.map.index.log
//! ```
//! Flags, keywords and, of an mdbox, the folder stand only in the indexes; a message carries its
//! time of delivery, its sizes and the folder that it was first saved to. So an mdbox whose indexes
//! are gone is read from its `m.N` alone, with that folder.
//!
//! Source: Dovecot's `src/lib-storage/index/dbox-{common,single,multi}`.

pub mod loose;
mod multi;
mod record;
mod single;

use evidence::{ByteOffset, ReadAtExt};
use filesystem::{DirEntry, File, FileKind, Filesystem, FsPath, Inode, Timestamp};

pub(crate) use multi::{list_multi, place_multi};
pub(crate) use single::{list_single, place_single};

use crate::maildir::{is_below_orphans, is_nameless};
use crate::store::{Folder, Kind, Known, Part, Wiped, entries_of, find_entry, lookup};
use record::Record;

/// The directory of a folder's messages and index.
const MAILS: &[u8] = b"dbox-Mails";
const MAILBOXES: &[u8] = b"mailboxes";
const STORAGE: &[u8] = b"storage";
/// A link to the alternative storage, which Dovecot keeps so that nobody forgets it.
const ALT_ROOT: &[u8] = b"dbox-alt-root";

/// Whether a directory that lists `children` is an mdbox; and if so, whether it is only the
/// directory of its files.
pub(crate) fn is_multi(fs: &dyn Filesystem, path: &FsPath, children: &[DirEntry]) -> Option<bool> {
    if let Some(storage) = find_entry(children, STORAGE) {
        let inside = entries_of(fs, storage, &mut Vec::new());
        let is_map = |entry: &DirEntry| entry.name.starts_with(b"dovecot.map.index");
        let has = |entry: &DirEntry| numbered(&entry.name, b"m.").is_some() || is_map(entry);
        if inside.iter().any(has) {
            return Some(false);
        }
    }
    let usual = path.name() == Some(STORAGE) || is_nameless(path);
    let has_files = children
        .iter()
        .any(|entry| numbered(&entry.name, b"m.").is_some());
    (usual && has_files).then_some(true)
}

/// Whether a directory that lists `children` is a folder of an sdbox.
pub(crate) fn is_single(path: &FsPath, children: &[DirEntry]) -> bool {
    let usual = path.name() == Some(MAILS) || is_nameless(path);
    usual
        && children
            .iter()
            .any(|entry| numbered(&entry.name, b"u.").is_some())
}

/// Whether a file is one of a dbox, by how it begins.
pub(crate) fn is_file(fs: &dyn Filesystem, inode: &Inode) -> bool {
    let length = usize::try_from(inode.size.min(256)).unwrap_or(0);
    let file = File::open(fs, inode);
    let head = file.read_whole(ByteOffset::ZERO, length);
    head.is_some_and(|head| record::begins(&head))
}

/// The number in a name that is `prefix` and a number.
fn numbered(name: &[u8], prefix: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    let all = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| all)?
        .parse()
        .ok()
}

/// What a message's own metadata says of it.
fn known_of(record: &Record) -> Known {
    let mut damage = Vec::new();
    if record.is_beginless {
        damage.push("its beginning is lost with a part of the file".to_owned());
    }
    if record.metadata.contains_key(&b'X') {
        damage.push(
            "its attachments are stored in files of their own, which are not put back in"
                .to_owned(),
        );
    }
    let received = record
        .number(b'R')
        .and_then(|seconds| i64::try_from(seconds).ok());
    Known {
        received: received.map(|seconds| Timestamp {
            seconds,
            nanoseconds: 0,
        }),
        size: record.number(b'Z'),
        virtual_size: record.number(b'V'),
        is_recorded: true,
        damage,
        is_fragment: record.is_beginless,
        ..Known::default()
    }
}

/// The bytes of a message in its file.
fn part_of(record: &Record, wiped: &Wiped) -> Part {
    Part::new(vec![record.message.clone()], wiped)
}

/// Joins what lies in alternative storage with the store that it belongs to.
///
/// Alternative storage has no indexes. An mdbox knows it by the number of a file, an sdbox by the
/// folder; which directory it is says a link in the root, or else the account that both are of, or
/// the home that both lie in.
pub(crate) fn join_alternatives(fs: &dyn Filesystem, folders: &mut Vec<Folder>) {
    let has_index = |folder: &Folder| match folder.kind {
        Kind::Mdbox => !folder.is_bare && find_entry(&folder.entries, MAILBOXES).is_some(),
        _ => folder
            .entries
            .iter()
            .any(|entry| entry.name.starts_with(b"dovecot.index")),
    };
    let is_dbox = |folder: &Folder| matches!(folder.kind, Kind::Sdbox | Kind::Mdbox);
    let (with, without): (Vec<usize>, Vec<usize>) = (0..folders.len())
        .filter(|at| folders.get(*at).is_some_and(is_dbox))
        .partition(|at| folders.get(*at).is_some_and(has_index));
    let mut joined = Vec::new();
    for at in without {
        let Some(alone) = folders
            .get(at)
            .filter(|alone| !is_below_orphans(&alone.path))
        else {
            continue;
        };
        let mut mates = with.iter().copied().filter(|other| {
            let other = folders.get(*other);
            other.is_some_and(|other| belongs(fs, alone, other))
        });
        let (Some(mate), None) = (mates.next(), mates.next()) else {
            continue;
        };
        let place = (alone.path.clone(), alone.inode);
        if let Some(mate) = folders.get_mut(mate) {
            mate.others.push(place);
            joined.push(at);
        }
    }
    for at in joined.into_iter().rev() {
        folders.remove(at);
    }
}

/// Whether `alone` is alternative storage of `store`.
fn belongs(fs: &dyn Filesystem, alone: &Folder, store: &Folder) -> bool {
    let same = alone.kind == store.kind
        && (alone.kind == Kind::Mdbox || alone.name == store.name)
        && alone.path != store.path;
    let account = |folder: &Folder| folder.owner.as_ref().map(|owner| owner.account.clone());
    let linked = link_of(fs, &store.mailbox).is_some_and(|target| target == alone.mailbox);
    let home = store
        .mailbox
        .parent()
        .filter(|home| *home != FsPath::root());
    let in_home = home.is_some_and(|home| alone.mailbox.names().starts_with(home.names()));
    let by_account = match account(alone) {
        None => in_home,
        of_alone => of_alone == account(store),
    };
    same && (linked || by_account)
}

/// Where the link in the root of a store leads, as a path of this file system: it was written for
/// the server's, on which this one was mounted somewhere.
fn link_of(fs: &dyn Filesystem, root: &FsPath) -> Option<FsPath> {
    let link = lookup(fs, &root.join(ALT_ROOT))?;
    let inode = fs.inode(link).ok()?;
    let length = usize::try_from(inode.size.min(4096)).ok()?;
    (inode.kind == FileKind::Symlink).then_some(())?;
    let target = File::open(fs, &inode).read_whole(ByteOffset::ZERO, length)?;
    let names: Vec<&[u8]> = target
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    (0..names.len()).find_map(|skipped| {
        let names = names.get(skipped..)?.iter();
        let path = names.fold(FsPath::root(), |path, name| path.join(name));
        lookup(fs, &path).map(|_| path)
    })
}
