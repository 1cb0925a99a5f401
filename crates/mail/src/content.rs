//! The bytes of a message, from the file that holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{
    Extent, File, FileKind, Filesystem, FsPath, Inode, InodeNumber, Place, Standing, Timestamp,
};

use crate::claims::Claims;

use crate::Address;
use crate::attribution::owner_of_loose;
use crate::codec::{self, Codec, MAX_MESSAGE_BYTES};
use crate::delivery::{Field, Trace};
use crate::maildir::{MailFile, MaildirName, RECOVERED};
use crate::proof::{Facts, Hole, HoleCause, holes_of, judge, virtual_size, wiped};
use crate::record::{FileNote, FileOrigin, Layer, Message, MessageId, Record, Repair, Summary};
use crate::structure::Structure;

/// A message as it is handed over, and the holes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its bytes, decompressed; zeros where holes are, unless those are only suspect.
    pub bytes: Bytes,
    /// How the file is compressed.
    pub codec: Codec,
    /// What is missing in it.
    pub holes: Vec<Hole>,
}

/// Why a file gives no message.
enum Unreadable {
    /// It is, or decompresses to, more than any message has.
    TooLong,
    /// The map of the file contradicts its length.
    Map,
}

/// Reads the message in `file`. The length of the file must have been checked.
fn read(file: &File, repairs: &[Repair]) -> Result<Content, Unreadable> {
    let length = usize::try_from(file.len()).map_err(|_| Unreadable::TooLong)?;
    let (mut stored, gaps) = file
        .read_vec(ByteOffset::ZERO, length)
        .map_err(|_| Unreadable::Map)?;
    for repair in repairs {
        let byte = usize::try_from(repair.at).ok();
        if let Some(byte) = byte.and_then(|at| stored.get_mut(at)) {
            *byte = repair.stored;
        }
    }
    let mut holes = holes_of(&gaps);
    holes.extend(file.never_written().map(|range| Hole {
        start: range.start,
        bytes: range.end.saturating_sub(range.start),
        why: HoleCause::NeverWritten,
    }));
    holes.sort_by_key(|hole| hole.start);
    let codec = Codec::of(&stored);
    if codec == Codec::Plain {
        return Ok(Content {
            bytes: Bytes::from(stored),
            codec,
            holes,
        });
    }
    // Of a compressed file only what comes before the first hole can be decoded. Suspect bytes
    // may be the right ones: the checksum of the compression says.
    let first_lost = holes.iter().find(|hole| hole.why != HoleCause::Suspect);
    let first_hole = first_lost.map_or(file.len(), |hole| hole.start);
    let sound = usize::try_from(first_hole).map_or(length, |hole| hole.min(length));
    let sound = stored.get(..sound).unwrap_or_default();
    let decoded = codec::decode(codec, sound);
    if decoded.is_too_long() {
        return Err(Unreadable::TooLong);
    }
    if decoded.error.is_none() && codec.verifies() && first_lost.is_none() {
        holes.clear();
    }
    if decoded.error.is_some() && holes.is_empty() {
        // How far the decoder got in the stored file it does not say; what came out is kept.
        let kept = u64::from(!decoded.bytes.is_empty());
        holes.push(Hole {
            start: kept,
            bytes: file.len().saturating_sub(kept),
            why: HoleCause::DoesNotDecode,
        });
    }
    Ok(Content {
        bytes: Bytes::from(decoded.bytes),
        codec,
        holes,
    })
}

/// Reads a message again from where an earlier run found it; `None` if the record does not fit
/// the view any more.
pub fn reread(view: &Arc<dyn ReadAt>, origin: &FileOrigin) -> Option<Content> {
    if origin.stored_bytes > MAX_MESSAGE_BYTES {
        return None;
    }
    let file = File::from_pieces(Arc::clone(view), origin.stored_bytes, origin.pieces.clone())?;
    read(&file, &origin.repairs).ok()
}

/// Reads and judges one file of a maildir folder.
pub fn examine(fs: &dyn Filesystem, device: &str, mail: &MailFile) -> Record {
    examine_among(fs, device, mail, &Claims::default())
}

/// As [`examine`], where blocks may have been given from one deleted file to the next: `claims`
/// knows them all.
pub fn examine_among(
    fs: &dyn Filesystem,
    device: &str,
    mail: &MailFile,
    claims: &Claims,
) -> Record {
    let note = |delivered: Option<Timestamp>, why: String| FileNote {
        delivered,
        ..FileNote::of_name(mail, device, why)
    };
    let inode = match fs.inode(mail.inode) {
        Ok(inode) => inode,
        Err(loss) => return Record::Lost(FileNote::of_name(mail, device, loss.to_string())),
    };
    let rejected = |why: &str| Record::Rejected(note(Some(inode.modified), why.to_owned()));
    let lost = |why: &str| match inode.standing {
        Standing::InUse => Record::Lost(note(Some(inode.modified), why.to_owned())),
        // Nobody misses what was deleted: it is accounted for, and not counted as lost.
        Standing::Deleted => Record::Rejected(FileNote {
            standing: Standing::Deleted,
            ..note(
                Some(inode.modified),
                format!("it was deleted, and nothing is left of it: {why}"),
            )
        }),
    };
    if let Some(why) = no_message(&inode) {
        return rejected(why);
    }
    let file = File::open(fs, &inode);
    let mut content = match read(&file, &[]) {
        Ok(content) => content,
        Err(Unreadable::TooLong) => {
            return rejected("it decompresses to more than any message has");
        }
        Err(Unreadable::Map) => {
            return lost("the map of the file contradicts its length");
        }
    };
    if inode.standing == Standing::Deleted {
        content.holes.extend(claims.holes(&inode, file.pieces()));
    }
    if content.codec == Codec::Plain && content.holes.is_empty() {
        let name = MaildirName::parse(mail.path.name().unwrap_or_default());
        content.holes.extend(wiped(&content.bytes, &name));
    }
    content.holes.sort_by_key(|hole| hole.start);
    let lost_holes = content.holes.iter();
    let lost_holes = lost_holes.filter(|hole| hole.why != HoleCause::Suspect);
    let missing: u64 = lost_holes.map(|hole| hole.bytes).sum();
    if missing >= inode.size || content.bytes.is_empty() {
        let why = content.holes.first().map(|hole| hole.why.describe());
        return lost(why.unwrap_or("nothing of the file decodes"));
    }
    match message(fs, device, mail, &inode, &file, content) {
        Ok(message) => Record::Message(Box::new(message)),
        Err(why) => lost(&why),
    }
}

/// Reads a file that lost its directory and its name; `None` if it is no message.
///
/// It is given to an account only by its own header, and only to one that is `known` from other
/// evidence.
pub fn examine_loose(
    fs: &dyn Filesystem,
    device: &str,
    path: &FsPath,
    inode: InodeNumber,
    claims: &Claims,
    known: &BTreeSet<Address>,
) -> Option<Record> {
    let mail = MailFile {
        path: path.clone(),
        inode,
        owner: None,
        folder: RECOVERED.to_owned(),
        keywords: Vec::new(),
    };
    let Record::Message(mut message) = examine_among(fs, device, &mail, claims) else {
        return None;
    };
    let content = reread(fs.view(), &message.origin)?;
    if !Structure::of_part(&content.bytes).has_header {
        return None;
    }
    message.owner = owner_of_loose(&content.bytes, known);
    Some(Record::Message(message))
}

/// Why a file is none that could hold a message.
fn no_message(inode: &Inode) -> Option<&'static str> {
    match inode.kind {
        FileKind::Regular if inode.size == 0 => {
            Some("an empty file: the server stopped before the mail was written")
        }
        FileKind::Regular if inode.size > MAX_MESSAGE_BYTES => Some("longer than any message"),
        FileKind::Regular => None,
        _ => Some("not a regular file"),
    }
}

/// The message that a file holds. The error says why a deleted file's bytes are not its own: they
/// may be anybody's, and are given to nobody.
fn message(
    fs: &dyn Filesystem,
    device: &str,
    mail: &MailFile,
    inode: &Inode,
    file: &File,
    content: Content,
) -> Result<Message, String> {
    let name = MaildirName::parse(mail.path.name().unwrap_or_default());
    let deleted = (inode.standing == Standing::Deleted)
        .then(|| structure_of_deleted(fs, mail, file, &content))
        .transpose()?;
    let is_deleted = deleted.is_some();
    let verdict = judge(Facts {
        holes: content.holes,
        codec: content.codec,
        content: &content.bytes,
        size: name.size,
        virtual_size: name.virtual_size,
        deleted,
    });
    if is_deleted && !verdict.contradictions.is_empty() && verdict.holes.is_empty() {
        return Err(verdict.contradictions.join("; "));
    }
    let id = MessageId::of(&content.bytes);
    let normalised = Some(MessageId::normalised(&content.bytes)).filter(|other| *other != id);
    Ok(Message {
        id,
        normalised,
        bytes: content.bytes.len() as u64,
        virtual_bytes: virtual_size(&content.bytes),
        grade: verdict.grade,
        proofs: verdict.proofs,
        contradictions: verdict.contradictions,
        holes: verdict.holes,
        owner: mail.owner.clone(),
        folder: mail.folder.clone(),
        flags: name.flags,
        keywords: mail.keywords.clone(),
        delivered: inode.modified,
        standing: inode.standing,
        layer: Layer::Present,
        origin: FileOrigin {
            device: device.to_owned(),
            path: mail.path.to_string(),
            inode: inode.number.0,
            stored_bytes: inode.size,
            codec: content.codec,
            pieces: file.pieces().to_vec(),
            repairs: Vec::new(),
        },
        summary: Summary::of(&content.bytes),
    })
}

/// What the bytes of a deleted file say of themselves; an error if they are no message's.
fn structure_of_deleted(
    fs: &dyn Filesystem,
    mail: &MailFile,
    file: &File,
    content: &Content,
) -> Result<Structure, String> {
    let block = u64::from(fs.info().block_bytes);
    let ends = ends_in_zeros(fs.view().as_ref(), file.pieces(), block);
    let whole = content.holes.is_empty();
    let mut structure = if whole {
        Structure::of(&content.bytes)
    } else {
        Structure::of_part(&content.bytes)
    };
    match ends {
        Some(false) => {
            let why = "behind its end its last block holds something else";
            structure.contradictions.push(why.to_owned());
        }
        // Who wrote the one block last wrote a header, and ended where this file ends.
        Some(true) if whole && file.len() < block && structure.contradictions.is_empty() => {
            structure.closes = true;
        }
        _ => {}
    }
    if !whole && is_of_another(mail, &content.bytes) {
        return Err("its blocks hold mail of another account now".to_owned());
    }
    if structure.has_header || (whole && content.codec.verifies()) {
        Ok(structure)
    } else {
        Err("its blocks hold something else now".to_owned())
    }
}

/// Whether a message of which parts are missing, so that its lengths prove nothing, was delivered
/// to another account than the one that it lies in.
fn is_of_another(mail: &MailFile, content: &[u8]) -> bool {
    let (Some(owner), Some(Trace::To(to, Field::DeliveredTo))) = (&mail.owner, Trace::of(content))
    else {
        return false;
    };
    let local = to.local().split('+').next().unwrap_or_default();
    to.domain() != owner.account.domain() || !local.eq_ignore_ascii_case(owner.account.local())
}

/// Whether the last block of a file is zeros behind the file's end, as every file system leaves it
/// that writes whole blocks; `None` if that cannot be said.
///
/// Were the block another file's, it would be that one's up to its own end.
fn ends_in_zeros(view: &dyn ReadAt, pieces: &[Extent], block: u64) -> Option<bool> {
    let last = pieces.last()?;
    let Place::At(at) = last.place else {
        return None;
    };
    // Contents that lie in the inode have no block of their own.
    if at.get().checked_rem(block)? != 0 || last.file_offset.checked_rem(block)? != 0 {
        return None;
    }
    let end = at.checked_add(last.length)?;
    let rest = end.get().checked_next_multiple_of(block)?;
    let rest = usize::try_from(rest.checked_sub(end.get())?).ok()?;
    let tail = view.read_whole(end, rest)?;
    Some(tail.iter().all(|byte| *byte == 0))
}
