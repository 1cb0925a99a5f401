//! mbox: a file of messages, each behind a postmark `From SENDER DATE`.
//!
//! Every mail program of Unix has written such files, each in its own way (RFC 4155 tells some of
//! it). What is handed over is what an IMAP server shows: the bytes between one postmark and the
//! next, without the empty line before that, and without the fields that mailbox software keeps in
//! headers for itself (see `header.rs`), which become flags, keywords and UIDs.
//!
//! Lines that begin with `From ` are written as `>From ` by most writers (*mboxo*), or with one
//! more `>` however many they have (*mboxrd*); some write a length instead (*mboxcl2*), some both
//! (*mboxcl*). Servers show `>From ` as it stands, and nothing is changed here either, unless the
//! message proves how it was written: its own `Content-Length` is shorter than its body by exactly
//! the `>` that one of the two ways adds. See `split.rs` for where messages end.

mod header;
pub mod loose;
mod postmark;
mod scan;
mod split;

use std::ops::Range;
use std::sync::Arc;

use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{Entry, Extent, File, Filesystem, Inode, Place, Standing, Timestamp};

use scan::{Quoted, Scan, scan};
use split::{Item, split};

use crate::codec::{self, Codec, MAX_MESSAGE_BYTES};
use crate::dovecot::{self, MailIndex};
use crate::store::{Contents, Folder, Known, MailFile, Part, Wiped, lookup};

/// What of a file is looked at to tell whether it is an mbox.
const HEAD: usize = 2048;
/// The least that a disk loses.
const SECTOR: usize = 512;
/// What of a compressed one is decoded for that.
const COMPRESSED_HEAD: usize = 64 << 10;
/// A file whose beginning was wiped is looked through up to here.
const MOST_WIPED: u64 = 256 << 20;

/// Whether a file is an mbox: it begins with a postmark and a header, or would if its beginning
/// had not been wiped.
pub(crate) fn is_store(fs: &dyn Filesystem, entry: &Entry) -> bool {
    let inode = &entry.inode;
    if inode.size < 32 {
        return false;
    }
    let file = File::open(fs, inode);
    let length = usize::try_from(inode.size).unwrap_or(usize::MAX);
    let Ok((head, gaps)) = file.read_vec(ByteOffset::ZERO, length.min(HEAD)) else {
        return false;
    };
    if begins(&head) {
        return true;
    }
    let codec = Codec::of(&head);
    if codec != Codec::Plain {
        let head = file.read_vec(ByteOffset::ZERO, length.min(COMPRESSED_HEAD));
        return head.is_ok_and(|(head, _)| begins(&codec::decode(codec, &head).bytes));
    }
    let first = head.get(..SECTOR.min(head.len())).unwrap_or_default();
    let is_wiped = !gaps.is_empty() || first.iter().all(|byte| *byte == 0);
    if !is_wiped || inode.standing == Standing::Deleted || inode.size > MOST_WIPED {
        return false;
    }
    let seen = scan(&file, file.pieces());
    seen.postmarks.iter().any(|mark| mark.has_header)
}

/// Whether `text` begins with a postmark, and a header behind it.
pub fn begins(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', text) else {
        return false;
    };
    let (line, rest) = text.split_at_checked(end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let rest = rest.get(1..).unwrap_or_default();
    let rest_is_header = rest.trim_ascii().is_empty() || scan::is_field(rest);
    postmark::date_of(line).is_some() && rest_is_header
}

/// Lists the messages of a file.
pub(crate) fn list(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let mut record = folder.record(device);
    let inode = match fs.inode(folder.inode) {
        Ok(inode) => inode,
        Err(loss) => {
            contents.losses.push(loss);
            return contents;
        }
    };
    let file = File::open(fs, &inode);
    contents.losses.extend(file.losses().iter().cloned());
    let (seen, items, is_decoded) = read(&file, &inode);
    let index = index_of(folder, fs, device, &mut contents);
    let reading = Reading {
        folder,
        seen: &seen,
        index: index.as_ref(),
        is_decoded,
    };
    for (number, item) in items.iter().enumerate() {
        if number == 0 && item.header.is_pseudo {
            let why = "what mailbox software notes for itself in the form of a message";
            contents
                .rejected
                .push(folder.note(device, &folder.path, why));
            continue;
        }
        record.present = record
            .present
            .saturating_add(u64::from(item.postmark.is_some()));
        contents.files.push(reading.file(item));
    }
    record.listed = index.map(|index| index.records.len() as u64);
    contents.folders.push(record);
    contents
}

/// The messages in a file, and whether the file is compressed as a whole.
fn read(file: &File, inode: &Inode) -> (Scan, Vec<Item>, bool) {
    let head = usize::try_from(inode.size).unwrap_or(usize::MAX).min(HEAD);
    let head = file.read_vec(ByteOffset::ZERO, head).unwrap_or_default().0;
    let codec = Codec::of(&head);
    if codec == Codec::Plain || inode.size > MAX_MESSAGE_BYTES {
        let seen = scan(file, file.pieces());
        let items = split(file, &seen);
        return (seen, items, false);
    }
    let length = usize::try_from(inode.size).unwrap_or(0);
    let stored = file
        .read_vec(ByteOffset::ZERO, length)
        .unwrap_or_default()
        .0;
    let decoded: Arc<dyn ReadAt> = Arc::new(Memory::new(codec::decode(codec, &stored).bytes));
    let all = Extent {
        file_offset: 0,
        length: decoded.len(),
        place: Place::At(ByteOffset::ZERO),
    };
    let seen = scan(decoded.as_ref(), &[all]);
    let items = split(decoded.as_ref(), &seen);
    (seen, items, true)
}

/// What every message of a file has in common.
struct Reading<'a> {
    folder: &'a Folder,
    seen: &'a Scan,
    index: Option<&'a MailIndex>,
    is_decoded: bool,
}

impl Reading<'_> {
    fn file(&self, item: &Item) -> MailFile {
        let ranges = ranges(item, self.seen);
        let mut part = if self.is_decoded {
            Part::new(ranges, &Wiped::default())
        } else {
            Part::new(ranges, &self.seen.wiped)
        };
        part.is_decoded = self.is_decoded;
        let mut known = known_of(item);
        let mut keywords: Vec<String> = item.header.keywords.iter().cloned().collect();
        self.changed(&mut known, &mut keywords);
        MailFile {
            path: self.folder.path.clone(),
            inode: self.folder.inode,
            owner: self.folder.owner.clone(),
            doubt: self.folder.doubt.clone(),
            folder: self.folder.name.clone(),
            keywords,
            part: Some(part),
            known,
        }
    }

    /// Takes flags from the index that the server had not yet written into the file.
    fn changed(&self, known: &mut Known, keywords: &mut Vec<String>) {
        let Some((index, uid)) = self.index.zip(known.uid) else {
            return;
        };
        let record = index.records.get(&uid);
        if let Some(record) = record.filter(|record| record.flags & dovecot::DIRTY != 0) {
            known.flags = record.letters();
            *keywords = index.keywords(uid);
        }
    }
}

/// What an mbox itself says of a message.
fn known_of(item: &Item) -> Known {
    Known {
        uid: item.header.uid,
        flags: item.header.flags(),
        received: item.postmark.map(|mark| Timestamp {
            seconds: mark.seconds,
            nanoseconds: 0,
        }),
        damage: item.damage.clone(),
        is_fragment: item.postmark.is_none(),
        ..Known::default()
    }
}

/// What of the file is handed over as a message.
fn ranges(item: &Item, seen: &Scan) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = item.range.start;
    let hidden = item.header.hidden.iter().map(|hidden| {
        let of_file = |at: usize| item.range.start.saturating_add(at as u64);
        of_file(hidden.start)..of_file(hidden.end)
    });
    for left_out in hidden.chain(quotes(item, seen)) {
        ranges.push(at..left_out.start);
        at = left_out.end;
    }
    ranges.push(at..item.range.end);
    ranges
}

/// The `>` that quote lines of a message, where its length proves that they do.
fn quotes(item: &Item, seen: &Scan) -> Vec<Range<u64>> {
    let body = item.body()..item.range.end;
    let quoted = &seen.quoted;
    let first = quoted.partition_point(|line| line.at < body.start);
    let lines = quoted.get(first..).unwrap_or_default().iter();
    let lines: Vec<&Quoted> = lines.take_while(|line| line.at < body.end).collect();
    let length = body.end.saturating_sub(body.start);
    let Some(added) = item
        .header
        .content_length
        .filter(|_| !item.is_measured)
        .and_then(|before| length.checked_sub(before))
    else {
        return Vec::new();
    };
    let single = lines.iter().filter(|line| line.depth == 1).count() as u64;
    let one = |line: &Quoted| line.at..line.at.saturating_add(1);
    match added {
        0 => Vec::new(),
        added if added == lines.len() as u64 => lines.into_iter().map(one).collect(),
        added if added == single => {
            let single = lines.into_iter().filter(|line| line.depth == 1);
            single.map(one).collect()
        }
        _ => Vec::new(),
    }
}

/// The index that Dovecot keeps of a file: in `.imap/NAME` beside it, of an inbox in the directory
/// of its folders.
fn index_of(
    folder: &Folder,
    fs: &dyn Filesystem,
    device: &str,
    contents: &mut Contents,
) -> Option<MailIndex> {
    let name = folder.path.name()?;
    let parent = folder.path.parent()?;
    let beside = parent.join(b".imap");
    let inbox = |of: &[u8]| parent.join(of).join(b".imap").join(b"INBOX");
    let candidates = [beside.join(name), inbox(b"mail"), inbox(b"Mail")];
    let is_inbox = folder.name == crate::store::INBOX;
    let count = if is_inbox { candidates.len() } else { 1 };
    let path = candidates.into_iter().take(count);
    let mut found = path.filter_map(|path| Some((lookup(fs, &path)?, path)));
    let (inode, path) = found.next()?;
    let inside = Folder {
        entries: crate::store::entries_of(fs, inode, &mut contents.losses),
        path,
        ..folder.clone()
    };
    dovecot::read_index(&inside, fs, device, "dovecot.index", &mut contents.losses)
}
