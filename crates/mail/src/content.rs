//! The bytes of a message, from the file that holds it.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use evidence::{ByteOffset, Cause, ReadAt, ReadAtExt};
use filesystem::{
    Extent, File, FileKind, Filesystem, FsPath, Inode, InodeNumber, Place, Standing, Timestamp,
};

use crate::claims::Claims;

use crate::attribution::{Delivery, HEAD, Local};
use crate::broken::BrokenPart;
use crate::codec::{self, Codec, MAX_MESSAGE_BYTES};
use crate::delivery::{Field, Trace};
use crate::dovecot::crypt;
use crate::maildir::{MaildirName, RECOVERED, is_nameless};
use crate::proof::{
    Doubtful, Facts, Grade, Hole, HoleCause, Proof, Verdict, holes_of, judge, virtual_size,
    written_over,
};
use crate::record::{
    FileNote, FileOrigin, Layer, Message, MessageId, Needs, Record, Repair, Summary,
};
use crate::store::{Known, MailFile, Part, wiped_sectors};
use crate::structure::Structure;
use crate::turned::{Base64, TurnedByte};

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

/// Reads the message in `file`: all of it, or the ranges `cuts` of what it decodes to. The length
/// of the file must have been checked.
fn read(file: &File, cuts: &[Range<u64>]) -> Result<Content, Unreadable> {
    if cuts.is_empty() {
        let (stored, holes) = stored_of(file)?;
        return content_of(file, stored, holes);
    }
    let whole = read_shared(file)?;
    let mut bytes = Vec::new();
    let mut short = 0_u64;
    for cut in cuts {
        let there = cut.start..cut.end.min(whole.bytes.len() as u64);
        let start = usize::try_from(there.start).unwrap_or(usize::MAX);
        let end = usize::try_from(there.end).unwrap_or(usize::MAX);
        let part = whole.bytes.get(start..end).unwrap_or_default();
        bytes.extend_from_slice(part);
        let wanted = cut.end.saturating_sub(cut.start);
        short = short.saturating_add(wanted.saturating_sub(part.len() as u64));
    }
    // What was decoded before a part that could not be read is what was stored. If the file
    // contradicts itself, nothing says from where on.
    let is_sound = whole
        .holes
        .first()
        .is_none_or(|hole| matches!(hole.why, HoleCause::Gap(_) | HoleCause::NeverWritten));
    let mut holes = if is_sound { Vec::new() } else { whole.holes };
    holes.extend((short > 0).then_some(Hole {
        start: bytes.len() as u64,
        bytes: short,
        why: HoleCause::DoesNotDecode,
    }));
    Ok(Content {
        bytes: Bytes::from(bytes),
        codec: whole.codec,
        holes,
    })
}

thread_local! {
    /// The last file of several messages that was decoded, by the BLAKE3 of what is stored: each
    /// of its messages asks for it.
    static LAST: RefCell<Option<(blake3::Hash, Content)>> = const { RefCell::new(None) };
}

/// As [`content_of`], of a file that is read again and again.
fn read_shared(file: &File) -> Result<Content, Unreadable> {
    let (stored, holes) = stored_of(file)?;
    if !holes.is_empty() {
        return content_of(file, stored, holes);
    }
    let hash = blake3::hash(&stored);
    let last = LAST.with_borrow(|last| last.clone().filter(|(of, _)| *of == hash));
    if let Some((_, content)) = last {
        return Ok(content);
    }
    let content = content_of(file, stored, holes)?;
    LAST.set(Some((hash, content.clone())));
    Ok(content)
}

/// What is stored in a file, and what of it is missing.
fn stored_of(file: &File) -> Result<(Vec<u8>, Vec<Hole>), Unreadable> {
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
    Ok((stored, holes))
}

/// The message, decompressed, in what is stored in a file.
fn content_of(file: &File, stored: Vec<u8>, mut holes: Vec<Hole>) -> Result<Content, Unreadable> {
    let length = stored.len();
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
    if !codec.verifies() && holes.is_empty() {
        // Nothing else would say that a part of it was wiped: no compression leaves such zeros.
        holes.extend(wiped_sectors(&stored, 0).map(|range| Hole {
            start: range.start,
            bytes: range.end.saturating_sub(range.start),
            why: HoleCause::Wiped,
        }));
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
    let content = read(&file, &origin.cuts).ok()?;
    Some(repaired(content, &origin.repairs))
}

/// Puts bytes that were read wrong right; only of what is stored as it is, such are known.
fn repaired(content: Content, repairs: &[Repair]) -> Content {
    if repairs.is_empty() || content.codec != Codec::Plain {
        return content;
    }
    let mut bytes = content.bytes.to_vec();
    Repair::put_in(repairs, &mut bytes);
    Content {
        bytes: Bytes::from(bytes),
        ..content
    }
}

/// The file that holds a message, or is it: the part of it that is stored as one.
fn open(fs: &dyn Filesystem, inode: &Inode, mail: &MailFile) -> Option<File> {
    let file = File::open(fs, inode);
    match mail.part.as_ref().filter(|part| !part.is_decoded) {
        Some(part) => part.open(&file, Arc::clone(fs.view())),
        None => Some(file),
    }
}

/// The ranges of what the file decodes to that are the message; none for all of it.
fn cuts(mail: &MailFile) -> &[Range<u64>] {
    let part = mail.part.as_ref().filter(|part| part.is_decoded);
    part.map_or(&[], |part| part.ranges.as_slice())
}

/// The beginning of a message, decompressed, at most `most` bytes before that; `None` if it cannot
/// be read.
pub(crate) fn head(fs: &dyn Filesystem, mail: &MailFile, most: u64) -> Option<Vec<u8>> {
    let inode = fs.inode(mail.inode).ok()?;
    if no_message(&inode, mail).is_some() {
        return None;
    }
    // The blocks of a deleted file may hold anybody's mail; but of an account that was removed
    // there are no others, and one message decides nothing.
    let file = open(fs, &inode, mail)?;
    if !cuts(mail).is_empty() {
        return read(&file, cuts(mail))
            .ok()
            .map(|content| content.bytes.to_vec());
    }
    let length = usize::try_from(file.len().min(most)).ok()?;
    let stored = file.read_whole(ByteOffset::ZERO, length)?;
    match Codec::of(&stored) {
        Codec::Plain => Some(stored),
        codec => Some(codec::decode(codec, &stored).bytes),
    }
}

/// Reads and judges one message of a store.
pub fn examine(fs: &dyn Filesystem, device: &str, mail: &MailFile) -> Record {
    examine_among(fs, device, mail, &Claims::default())
}

/// As [`examine_among`], where directories may be older than the files that they list: a name whose file
/// holds another message than it says, which was delivered to another account, is not believed, and the
/// message is given by its own header, as one that lost its name.
pub fn examine_listed(
    fs: &dyn Filesystem,
    device: &str,
    mail: &MailFile,
    claims: &Claims,
    local: &Local,
) -> Record {
    let record = examine_among(fs, device, mail, claims);
    let is_anothers = match &record {
        Record::Message(message) => is_anothers(fs, mail, message, local),
        _ => false,
    };
    if !is_anothers {
        return record;
    }
    let placeholder = format!("#{}", mail.inode.0);
    let parent = mail.path.parent().unwrap_or_else(FsPath::root);
    let path = parent.join(placeholder.as_bytes());
    let by_itself = examine_loose(fs, device, &path, mail.inode, claims, local);
    by_itself.unwrap_or_else(|| match record {
        Record::Message(mut message) => {
            let why = "its name says another length, and it was delivered to another account";
            message.owner = None;
            message.doubt = Some(why.to_owned());
            Record::Message(message)
        }
        other => other,
    })
}

/// Whether a message has none of the lengths that its name says, and was delivered to another account than that of
/// its folder.
fn is_anothers(fs: &dyn Filesystem, mail: &MailFile, message: &Message, local: &Local) -> bool {
    let known = &mail.known;
    let agrees = known.size == Some(message.bytes)
        || message.holes.is_empty() && known.virtual_size == Some(message.virtual_bytes);
    let says_any = known.size.is_some() || known.virtual_size.is_some();
    let is_other_file = mail.part.is_none() && says_any && !agrees;
    let Some(owner) = mail.owner.as_ref().filter(|_| is_other_file) else {
        return false;
    };
    let head = head(fs, mail, HEAD);
    let delivery = head.map(|head| Delivery::of(&head));
    let to = delivery.as_ref().and_then(Delivery::to);
    to.is_some_and(|to| !local.accounts().is_same(to, &owner.account))
}

/// As [`examine`], where blocks may have been given from one deleted file to the next: `claims`
/// knows them all.
pub fn examine_among(
    fs: &dyn Filesystem,
    device: &str,
    mail: &MailFile,
    claims: &Claims,
) -> Record {
    let note = |delivered: Timestamp, why: String| FileNote {
        delivered: mail.known.received.or(Some(delivered)),
        ..FileNote::of_file(mail, device, why)
    };
    let inode = match fs.inode(mail.inode) {
        Ok(inode) => inode,
        Err(loss) => {
            let mut note = FileNote::of_file(mail, device, loss.to_string());
            note.needs =
                matches!(loss.cause, Cause::Gap(_)).then(|| Needs::Inode(loss.origin.offset.get()));
            return Record::Lost(note);
        }
    };
    let rejected = |why: &str| Record::Rejected(note(inode.modified, why.to_owned()));
    let lost = |why: &str| match inode.standing {
        Standing::InUse => Record::Lost(note(inode.modified, why.to_owned())),
        // Nobody misses what was deleted: it is accounted for, and not counted as lost.
        Standing::Deleted => Record::Rejected(FileNote {
            standing: Standing::Deleted,
            ..note(
                inode.modified,
                format!("it was deleted, and nothing is left of it: {why}"),
            )
        }),
    };
    if let Some(why) = no_message(&inode, mail) {
        return rejected(why);
    }
    let Some(file) = open(fs, &inode, mail) else {
        return lost("the file is shorter than its store says");
    };
    if let Some(encrypted) = encrypted(&file) {
        return match lost(&encrypted.why()) {
            Record::Lost(note) if !mail.known.is_expunged => Record::Lost(FileNote {
                is_encrypted: true,
                ..note
            }),
            // Nobody misses it, as above.
            _ => Record::Rejected(FileNote {
                standing: Standing::Deleted,
                is_encrypted: true,
                ..note(
                    inode.modified,
                    format!("it was deleted, and is {}", encrypted.why()),
                )
            }),
        };
    }
    let mut content = match read(&file, cuts(mail)) {
        Ok(content) => content,
        Err(Unreadable::TooLong) => {
            return rejected("it decompresses to more than any message has");
        }
        Err(Unreadable::Map) => {
            return lost("the map of the file contradicts its length");
        }
    };
    content.holes.extend(claims.replaced(file.pieces()));
    if inode.standing == Standing::Deleted {
        content.holes.extend(claims.holes(&inode, file.pieces()));
    }
    if content.holes.is_empty() {
        content.holes.extend(lost_to_others(mail, &content));
    }
    content.holes.sort_by_key(|hole| hole.start);
    if let Some(why) = nothing_left(&content, &file) {
        let mut record = lost(why);
        if let Record::Lost(note) = &mut record {
            note.needs = Some(Needs::Contents(file.pieces().to_vec()));
        }
        return record;
    }
    match message(fs, device, mail, (&inode, &file), content, claims) {
        Ok(message) => Record::Message(Box::new(message)),
        Err(why) => lost(&why),
    }
}

/// What says that the message in `file` is encrypted, if it is.
fn encrypted(file: &File) -> Option<crypt::Encrypted> {
    let length = usize::try_from(file.len()).unwrap_or(usize::MAX);
    let (head, _) = file
        .read_vec(ByteOffset::ZERO, length.min(crypt::HEAD_BYTES))
        .ok()?;
    crypt::recognise(&head)
}

/// Why nothing is left of a message, if that is so.
fn nothing_left(content: &Content, file: &File) -> Option<&'static str> {
    let holes = content.holes.iter();
    let lost = holes.filter(|hole| hole.why != HoleCause::Suspect);
    let missing: u64 = lost.map(|hole| hole.bytes).sum();
    if missing < file.len() && !content.bytes.is_empty() {
        return None;
    }
    let why = content.holes.first().map(|hole| hole.why.describe());
    why.or(Some("nothing of the file decodes"))
}

/// Reads a file that lost its directory and its name; `None` if it is no message.
///
/// It is given to an account only by its own header, and only to one that is `local`.
pub fn examine_loose(
    fs: &dyn Filesystem,
    device: &str,
    path: &FsPath,
    inode: InodeNumber,
    claims: &Claims,
    local: &Local,
) -> Option<Record> {
    let mail = loose_file(path, inode);
    let mut message = match examine_among(fs, device, &mail, claims) {
        Record::Message(message) => message,
        // A message all the same, though not one that could be read.
        found @ (Record::Lost(FileNote {
            is_encrypted: true, ..
        })
        | Record::Rejected(FileNote {
            is_encrypted: true, ..
        })) => return Some(found),
        _ => return None,
    };
    // Of what was deleted under no name any block but the first may be another file's since: that its text
    // goes on well is for carving to judge.
    if message.is_deleted() && message.origin.stored_bytes > u64::from(fs.info().block_bytes) {
        return None;
    }
    let content = reread(fs.view(), &message.origin)?;
    if !Structure::of_part(&content.bytes).has_header {
        return None;
    }
    let judged = local.owner(&Delivery::of(&content.bytes));
    message.owner = judged.owner;
    message.doubt = judged.doubt;
    Some(Record::Message(message))
}

/// A file that lost its directory, as what a store would list.
pub(crate) fn loose_file(path: &FsPath, inode: InodeNumber) -> MailFile {
    let name = MaildirName::parse(path.name().unwrap_or_default());
    MailFile {
        path: path.clone(),
        inode,
        owner: None,
        doubt: None,
        folder: RECOVERED.to_owned(),
        keywords: Vec::new(),
        part: None,
        known: Known::of_name(&name),
    }
}

/// The parts of a message that were wiped or written over: they read as zeros, or as no text.
fn lost_to_others(mail: &MailFile, content: &Content) -> Vec<Hole> {
    match (&mail.part, content.codec) {
        (Some(part), _) if part.is_decoded || content.codec.verifies() => Vec::new(),
        (Some(part), _) => part.holes(),
        (None, Codec::Plain) if !mail.is_as_stored(&content.bytes) => written_over(&content.bytes),
        (None, _) => Vec::new(),
    }
}

/// Why a file, or a part of one, is none that could hold a message.
fn no_message(inode: &Inode, mail: &MailFile) -> Option<&'static str> {
    let part = mail.part.as_ref().filter(|part| !part.is_decoded);
    let size = part.map_or(inode.size, |part| part.bytes());
    match inode.kind {
        FileKind::Regular if size == 0 => {
            Some("an empty file: the server stopped before the mail was written")
        }
        FileKind::Regular if size > MAX_MESSAGE_BYTES => Some("longer than any message"),
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
    (inode, file): (&Inode, &File),
    content: Content,
    claims: &Claims,
) -> Result<Message, String> {
    let turned = turned(mail, &content);
    let is_deleted = inode.standing == Standing::Deleted;
    let doubtful = if is_deleted {
        let structure = structure_of_deleted(fs, mail, file, &content)?;
        Some(Doubtful::Deleted(structure))
    } else {
        let structure = if is_nameless(&mail.path) {
            Some(structure_of_nameless(fs, file, &content))
        } else {
            claims.is_replaced().then(|| Structure::of(&content.bytes))
        };
        structure.map(Doubtful::Replaced)
    };
    let verdict = judge(Facts {
        holes: content.holes,
        codec: content.codec,
        content: &content.bytes,
        known: &mail.known,
        doubtful,
    });
    if is_deleted && !verdict.contradictions.is_empty() && verdict.holes.is_empty() {
        return Err(verdict.contradictions.join("; "));
    }
    let broken_parts = broken_parts(mail, content.codec, &content.bytes, &verdict);
    let summary = Summary::of(&content.bytes);
    let id = MessageId::of(&content.bytes);
    let normalised = Some(MessageId::normalised(&content.bytes)).filter(|other| *other != id);
    let is_whole = verdict.grade.is_whole();
    let likeness = MessageId::likeness(&content.bytes).filter(|_| is_whole);
    Ok(Message {
        id,
        normalised,
        likeness,
        bytes: content.bytes.len() as u64,
        virtual_bytes: virtual_size(&content.bytes),
        grade: verdict.grade,
        proofs: verdict.proofs,
        contradictions: verdict.contradictions,
        holes: verdict.holes,
        turned,
        broken_parts,
        owner: mail.owner.clone(),
        doubt: mail.doubt.as_deref().map(str::to_owned),
        folder: mail.folder.clone(),
        uid: mail.known.uid,
        flags: mail.known.flags.clone(),
        keywords: mail.keywords.clone(),
        delivered: delivered(mail, inode, &summary),
        standing: if mail.known.is_expunged {
            Standing::Deleted
        } else {
            inode.standing
        },
        layer: Layer::Present,
        origin: origin(device, mail, inode, file, content.codec),
        summary,
    })
}

impl Message {
    /// Whether a bit of it may have turned unseen: it is stored as it is, and no digest of its store holds.
    pub fn may_have_turned_bits(&self) -> bool {
        let is_as_stored = self.origin.codec == Codec::Plain && self.origin.cuts.is_empty();
        is_as_stored && !self.proofs.contains(&Proof::Sha1)
    }

    /// Puts bytes right of `content`, which is as it is read; `proof` is what says that all of it is right, if
    /// anything does.
    pub fn mend(&mut self, content: Content, repairs: Vec<Repair>, proof: Option<Proof>) {
        let bytes = repaired(content, &repairs).bytes;
        // Neither base64 nor the hash of a body speaks of every byte.
        self.grade = self.grade.min(Grade::Complete);
        self.proofs.extend(proof);
        self.origin.repairs = repairs;
        self.id = MessageId::of(&bytes);
        self.normalised = Some(MessageId::normalised(&bytes)).filter(|other| *other != self.id);
        self.likeness = MessageId::likeness(&bytes);
        self.virtual_bytes = virtual_size(&bytes);
        self.summary = Summary::of(&bytes);
    }

    /// Does not hand it over as whole, for this reason.
    pub fn doubt(&mut self, why: String) {
        self.grade = Grade::Damaged;
        self.proofs.clear();
        self.likeness = None;
        self.contradictions.push(why);
    }
}

/// The bytes of a message in which a bit seems to have turned, where nothing else says what they are.
fn turned(mail: &MailFile, content: &Content) -> Vec<TurnedByte> {
    let is_checked = mail.known.sha1.is_some() || content.codec != Codec::Plain;
    let is_shown = cuts(mail).is_empty() && content.holes.is_empty();
    if is_checked || !is_shown {
        return Vec::new();
    }
    Base64::of(&content.bytes).turned
}

/// The parts of a message that are not whole.
fn broken_parts(
    mail: &MailFile,
    codec: Codec,
    content: &[u8],
    verdict: &Verdict,
) -> Vec<BrokenPart> {
    if verdict.grade != Grade::Damaged {
        // A fragment has lost the header that would say what its parts are.
        return Vec::new();
    }
    let is_short = mail
        .known
        .size
        .is_some_and(|size| size > content.len() as u64);
    if codec == Codec::Plain {
        return BrokenPart::of(content, &verdict.holes, is_short);
    }
    // Holes of a compressed file are places in what is stored: what decodes ends at the first.
    BrokenPart::of(content, &[], is_short || !verdict.holes.is_empty())
}

/// Where a message lies.
fn origin(device: &str, mail: &MailFile, inode: &Inode, file: &File, codec: Codec) -> FileOrigin {
    FileOrigin {
        device: device.to_owned(),
        path: mail.path.to_string(),
        inode: inode.number.0,
        offset: mail.part.as_ref().map_or(0, Part::start),
        stored_bytes: file.len(),
        codec,
        pieces: file.pieces().to_vec(),
        cuts: cuts(mail).to_vec(),
        repairs: Vec::new(),
    }
}

/// When a message was delivered. The time of a file that holds many is not that of one: then the
/// date of its header is the best there is.
fn delivered(mail: &MailFile, inode: &Inode, summary: &Summary) -> Timestamp {
    let by_header = || {
        mail.part.as_ref()?;
        Some(Timestamp {
            seconds: summary.date?,
            nanoseconds: 0,
        })
    };
    let said = mail.known.received.or_else(by_header);
    said.unwrap_or(inode.modified)
}

/// What shows that the blocks of a file were given to another one.
const GOES_ON: &str = "behind its end its last block holds something else";

/// What the bytes of a file say of themselves that no directory lists any more. What is read may be its
/// inode as it was before its blocks were given to another file, of whose text it has as much as it was long.
fn structure_of_nameless(fs: &dyn Filesystem, file: &File, content: &Content) -> Structure {
    let block = u64::from(fs.info().block_bytes);
    let mut structure = Structure::of_part(&content.bytes);
    if ends_in_zeros(fs.view().as_ref(), file.pieces(), block) == Some(false) {
        structure.contradictions.push(GOES_ON.to_owned());
    }
    structure
}

/// What the bytes of a deleted file say of themselves; an error if they are no message's.
fn structure_of_deleted(
    fs: &dyn Filesystem,
    mail: &MailFile,
    file: &File,
    content: &Content,
) -> Result<Structure, String> {
    let block = u64::from(fs.info().block_bytes);
    // Behind a part of a file the file goes on.
    let ends = match mail.part {
        Some(_) => None,
        None => ends_in_zeros(fs.view().as_ref(), file.pieces(), block),
    };
    let whole = content.holes.is_empty();
    let mut structure = if whole {
        Structure::of(&content.bytes)
    } else {
        Structure::of_part(&content.bytes)
    };
    match ends {
        Some(false) => {
            structure.contradictions.push(GOES_ON.to_owned());
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

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    #[test]
    fn a_block_that_goes_on_behind_the_end_of_its_file_is_another_files_now() {
        let text = b"From: ada@tidewater.example\n\nOne line.\nAnd one that is not the file's.\n";
        let mut block = vec![0; 1024];
        block[..text.len()].copy_from_slice(text);
        let view = Memory::new(block);
        let ends = |length: usize| {
            let piece = Extent {
                file_offset: 0,
                length: length as u64,
                place: Place::At(ByteOffset::ZERO),
            };
            ends_in_zeros(&view, &[piece], 1024)
        };
        assert_eq!(ends(text.len()), Some(true));
        assert_eq!(ends(39), Some(false));
        assert_eq!(ends(1024), Some(true));
    }
}
