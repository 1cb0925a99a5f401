//! Messages that were found by their content: what is known of them, and whose they are.
//!
//! Their blocks say nothing of an account. A name that a directory still lists may (`names`). Else the message's own header must name
//! an account, and it must be the server of these mailboxes that wrote it there: mail that was
//! kept or forwarded bears what other servers wrote.

mod mailboxes;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::{ByteOffset, ReadAt};
use filesystem::{Extent, Place, Standing, Timestamp};
use mail_parser::MessageParser;

use crate::account::{Accounts, Owner, Stage};
use crate::attribution::{Agreed, Consensus, Delivery, Local};
use crate::broken::BrokenPart;
use crate::codec::Codec;
use crate::content::{Content, reread};
use crate::header::may_lack_its_top;
use crate::maildir::{MaildirName, RECOVERED};
use crate::proof::{Grade, Proof, virtual_size};
use crate::record::{FileNote, FileOrigin, Layer, Message, MessageId, Repair, Summary};
use crate::store::Known;

pub use self::mailboxes::{MailboxRecord, Mailboxes};
use self::names::Joined;
pub use self::names::Names;

/// Headers are looked for in so many bytes.
const HEAD: usize = 64 << 10;

/// What speaks against a message that begins with what may be the rest of a line.
const MAY_LACK_ITS_TOP: &str =
    "its first line may be the rest of one: what stood before lies elsewhere";

/// Files begin at multiples of this.
const SECTOR: u64 = 512;

/// What a carver says of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carved {
    /// Where its bytes lie in the view: offset and length in bytes, in their order.
    pub pieces: Vec<(u64, u64)>,
    /// What shows that it is whole; `None` if it is not.
    pub proof: Option<Proof>,
    /// Bytes that are known to have been others.
    pub repairs: Vec<Repair>,
    /// What speaks against it, in words.
    pub contradictions: Vec<String>,
    /// What the file of a mail store says of it that it lay in with others.
    pub stored: Option<Stored>,
}

impl Carved {
    fn begins_with_a_sector(&self) -> bool {
        let first = self.pieces.first();
        first.is_some_and(|(at, _)| at.is_multiple_of(SECTOR))
    }
}

/// What a file of many messages says of one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// What stands beside the message.
    pub known: Known,
    /// Its keywords.
    pub keywords: Vec<String>,
    /// The folder that it was saved to, if the file says that, with `.` between levels.
    pub folder: Option<String>,
    /// A number that is the same for messages of one file, which is one account's.
    pub file: u64,
}

impl Stored {
    /// The proofs that the lengths in it give for `content`; an error if they are of another.
    fn proofs(&self, content: &[u8]) -> Result<Vec<Proof>, String> {
        let known = &self.known;
        let lengths = [
            (known.size, content.len() as u64, Proof::Size),
            (
                known.virtual_size,
                virtual_size(content),
                Proof::VirtualSize,
            ),
        ];
        let mut proofs = Vec::new();
        for (said, is, proof) in lengths {
            match said {
                Some(said) if said == is => proofs.push(proof),
                Some(said) => {
                    return Err(format!("its record says {said} bytes, and these are {is}"));
                }
                None => {}
            }
        }
        Ok(proofs)
    }
}

/// A carved message, before it is known whose it is.
#[derive(Clone, Debug)]
pub struct Candidate {
    message: Message,
    delivery: Delivery,
    /// The content, as far as headers go.
    head: Vec<u8>,
    /// The file that it lies in with others.
    file: Option<u64>,
    /// Whether it may be all of a file: it begins where one can, and something shows its end.
    may_be_a_file: bool,
}

impl Candidate {
    /// Reads a carved message from `view`, which is called `device`; `None` if it cannot be read.
    pub fn read(view: &Arc<dyn ReadAt>, device: &str, carved: &Carved) -> Option<Self> {
        let origin = origin(device, &carved.pieces, carved.repairs.clone())?;
        let Content {
            bytes,
            codec,
            holes,
        } = reread(view, &origin)?;
        let stored = carved.stored.clone().unwrap_or_default();
        let mut contradictions = carved.contradictions.clone();
        let by_lengths = match stored.proofs(&bytes) {
            Ok(proofs) => proofs,
            Err(why) => {
                contradictions.push(why);
                Vec::new()
            }
        };
        if carved.stored.is_none() && codec == Codec::Plain && may_lack_its_top(&bytes) {
            contradictions.push(MAY_LACK_ITS_TOP.to_owned());
        }
        let whole = carved
            .proof
            .filter(|_| holes.is_empty() && contradictions.is_empty());
        let id = MessageId::of(&bytes);
        let normalised = Some(MessageId::normalised(&bytes)).filter(|other| *other != id);
        let likeness = MessageId::likeness(&bytes).filter(|_| whole.is_some());
        let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default();
        let broken_parts = match whole {
            Some(_) => Vec::new(),
            None => BrokenPart::of(&bytes, &holes, false),
        };
        let message = Message {
            id,
            normalised,
            likeness,
            bytes: bytes.len() as u64,
            virtual_bytes: virtual_size(&bytes),
            grade: whole.map_or(Grade::Damaged, |_| Grade::Complete),
            proofs: proofs_of(whole, by_lengths),
            contradictions,
            holes,
            broken_parts,
            turned: Vec::new(),
            owner: None,
            doubt: None,
            folder: stored.folder.unwrap_or_else(|| RECOVERED.to_owned()),
            uid: stored.known.uid,
            flags: stored.known.flags,
            keywords: stored.keywords,
            delivered: stored.known.received.unwrap_or_else(|| delivered(head)),
            standing: Standing::InUse,
            layer: Layer::Carved,
            origin: FileOrigin { codec, ..origin },
            summary: Summary::of(&bytes),
        };
        Some(Self {
            delivery: Delivery::of(head),
            head: head.to_vec(),
            file: carved.stored.as_ref().map(|stored| stored.file),
            may_be_a_file: carved.proof.is_some() && carved.begins_with_a_sector(),
            message,
        })
    }

    /// The identity of its bytes.
    pub const fn id(&self) -> &MessageId {
        &self.message.id
    }

    /// Whether it is whole as the carver says.
    pub const fn is_whole(&self) -> bool {
        self.message.grade.is_whole()
    }
}

/// All proofs of a message that the carver calls whole by `whole`; none if it does not.
fn proofs_of(whole: Option<Proof>, by_lengths: Vec<Proof>) -> Vec<Proof> {
    let Some(whole) = whole else {
        return Vec::new();
    };
    let others = by_lengths.into_iter().filter(|proof| *proof != whole);
    std::iter::once(whole).chain(others).collect()
}

/// Where a carved message lies.
fn origin(device: &str, pieces: &[(u64, u64)], repairs: Vec<Repair>) -> Option<FileOrigin> {
    let mut at = 0_u64;
    let mut extents = Vec::with_capacity(pieces.len());
    for (offset, length) in pieces {
        extents.push(Extent {
            file_offset: at,
            length: *length,
            place: Place::At(ByteOffset::new(*offset)),
        });
        at = at.checked_add(*length)?;
    }
    let (first, _) = pieces.first()?;
    Some(FileOrigin {
        device: device.to_owned(),
        path: format!("block at {first}"),
        inode: 0,
        offset: 0,
        stored_bytes: at,
        codec: Codec::Plain,
        pieces: extents,
        cuts: Vec::new(),
        repairs,
    })
}

/// When a message was delivered, as far as its header says: by the server that took it in, or
/// else by its sender.
fn delivered(head: &[u8]) -> Timestamp {
    let message = MessageParser::default().parse_headers(head);
    let seconds = message.and_then(|message| {
        let top = message.received_all().next();
        let received = top.and_then(|received| received.date());
        let date = received.or_else(|| message.date().copied())?;
        Some(date.to_timestamp())
    });
    Timestamp {
        seconds: seconds.unwrap_or(0),
        nanoseconds: 0,
    }
}

/// Whose carved messages are.
#[derive(Debug)]
pub struct Attributed {
    /// The messages, in the order of the candidates.
    pub messages: Vec<Message>,
    /// Mailboxes of which they tell whose these are.
    pub mailboxes: Vec<MailboxRecord>,
}

/// Says whose the carved messages are; `known` are the accounts that something else names.
pub fn attribute(candidates: Vec<Candidate>, names: &Names, known: &Accounts) -> Attributed {
    let Joined {
        named,
        accounts: known,
        mailboxes,
    } = names.join(&candidates, known);
    let local = Local::new(
        &known,
        candidates.iter().map(|candidate| &candidate.delivery),
    );
    let files = owners_of_files(&candidates, local.accounts());
    let pairs = candidates.into_iter().zip(named);
    let messages = pairs
        .map(|(candidate, note)| {
            let owner = candidate.file.and_then(|file| files.get(&file));
            match (note, owner) {
                (Some(note), _) => with_name(candidate, note),
                (None, Some(owner)) => Message {
                    owner: Some(owner.clone()),
                    ..candidate.message
                },
                (None, None) => with_trace(candidate, &local),
            }
        })
        .collect();
    Attributed {
        messages,
        mailboxes,
    }
}

/// Whose the files are that several messages lie in, where those agree.
fn owners_of_files(candidates: &[Candidate], accounts: &Accounts) -> BTreeMap<u64, Owner> {
    let mut files: BTreeMap<u64, Consensus> = BTreeMap::new();
    for candidate in candidates {
        if let Some(file) = candidate.file {
            files.entry(file).or_default().add(&candidate.head);
        }
    }
    let agreed = files.into_iter().filter_map(|(file, consensus)| {
        let Agreed::On(account, how) = consensus.agreed(accounts, None) else {
            return None;
        };
        // A folder of mail that was kept from elsewhere agrees too.
        accounts.whose(&account, Stage::AfterAliases).ok()?;
        let evidence = format!("of the file that it lies in with others, {how}");
        Some((file, Owner { account, evidence }))
    });
    agreed.collect()
}

/// A message that a name is known for.
fn with_name(candidate: Candidate, note: FileNote) -> Message {
    let mut message = candidate.message;
    let name = note.path.rsplit('/').next().unwrap_or_default().as_bytes();
    let name = MaildirName::parse(name);
    message.flags = name.flags;
    message.owner = note.owner.map(|owner| Owner {
        evidence: format!(
            "{}; its lengths are those of a name that is listed there, and of no other",
            owner.evidence
        ),
        ..owner
    });
    message.folder = note.folder;
    message.delivered = note.delivered.unwrap_or(message.delivered);
    message.standing = note.standing;
    message.origin.path.clone_from(&note.path);
    // The lengths tell where it begins and ends, and not that every byte between is right.
    let mut against = message.contradictions.iter();
    if message.holes.is_empty() && against.all(|why| why == MAY_LACK_ITS_TOP) {
        message.grade = Grade::Complete;
        message.contradictions.clear();
        message.broken_parts.clear();
        message
            .proofs
            .splice(..0, [Proof::Size, Proof::VirtualSize]);
    }
    message
}

/// A message that only its header says something of.
fn with_trace(candidate: Candidate, local: &Local) -> Message {
    let judged = local.owner(&candidate.delivery);
    let mut message = candidate.message;
    message.owner = judged.owner;
    message.doubt = judged.doubt;
    message
}
