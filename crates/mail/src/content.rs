//! The bytes of a message, from the file that holds it.

use std::sync::Arc;

use bytes::Bytes;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{File, FileKind, Filesystem, Timestamp};

use crate::codec::{self, Codec, MAX_MESSAGE_BYTES};
use crate::maildir::{MailFile, MaildirName};
use crate::proof::{Facts, Hole, HoleCause, holes_of, judge, virtual_size};
use crate::record::{FileNote, FileOrigin, Message, MessageId, Record, Summary};

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
fn read(file: &File) -> Result<Content, Unreadable> {
    let length = usize::try_from(file.len()).map_err(|_| Unreadable::TooLong)?;
    let (stored, gaps) = file
        .read_vec(ByteOffset::ZERO, length)
        .map_err(|_| Unreadable::Map)?;
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
    read(&file).ok()
}

/// Reads and judges one file of a maildir folder.
pub fn examine(fs: &dyn Filesystem, device: &str, mail: &MailFile) -> Record {
    let note = |delivered: Option<Timestamp>, why: String| FileNote {
        device: device.to_owned(),
        path: mail.path.to_string(),
        owner: mail.owner.clone(),
        folder: mail.folder.clone(),
        delivered,
        why,
    };
    let inode = match fs.inode(mail.inode) {
        Ok(inode) => inode,
        Err(loss) => return Record::Lost(note(None, loss.to_string())),
    };
    let rejected = |why: &str| Record::Rejected(note(Some(inode.modified), why.to_owned()));
    let lost = |why: &str| Record::Lost(note(Some(inode.modified), why.to_owned()));
    if inode.kind != FileKind::Regular {
        return rejected("not a regular file");
    }
    if inode.size == 0 {
        return rejected("an empty file: the server stopped before the mail was written");
    }
    if inode.size > MAX_MESSAGE_BYTES {
        return rejected("longer than any message");
    }
    let file = File::open(fs, &inode);
    let content = match read(&file) {
        Ok(content) => content,
        Err(Unreadable::TooLong) => {
            return rejected("it decompresses to more than any message has");
        }
        Err(Unreadable::Map) => {
            return lost("the map of the file contradicts its length");
        }
    };
    let lost_holes = content.holes.iter();
    let lost_holes = lost_holes.filter(|hole| hole.why != HoleCause::Suspect);
    let missing: u64 = lost_holes.map(|hole| hole.bytes).sum();
    if missing >= inode.size || content.bytes.is_empty() {
        let why = content.holes.first().map(|hole| hole.why.describe());
        return lost(why.unwrap_or("nothing of the file decodes"));
    }
    let stored_bytes = inode.size;
    let name = MaildirName::parse(mail.path.name().unwrap_or_default());
    let verdict = judge(Facts {
        holes: content.holes,
        codec: content.codec,
        content: &content.bytes,
        size: name.size,
        virtual_size: name.virtual_size,
    });
    let id = MessageId::of(&content.bytes);
    let normalised = Some(MessageId::normalised(&content.bytes)).filter(|other| *other != id);
    Record::Message(Box::new(Message {
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
        origin: FileOrigin {
            device: device.to_owned(),
            path: mail.path.to_string(),
            inode: inode.number.0,
            stored_bytes,
            codec: content.codec,
            pieces: file.pieces().to_vec(),
        },
        summary: Summary::of(&content.bytes),
    }))
}
