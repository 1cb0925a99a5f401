//! What the case keeps of each message, and of everything else that was met on the way.

use std::fmt;
use std::ops::Range;

use evidence::Loss;
use filesystem::{Extent, Standing, Timestamp};
use serde::{Deserialize, Serialize};

use crate::account::Owner;
use crate::broken::BrokenPart;
use crate::codec::Codec;
use crate::maildir::{self, Flags};
use crate::proof::{Grade, Hole, Proof};
use crate::store::MailFile;
use crate::turned::TurnedByte;

/// The identity of a message: the BLAKE3 of its bytes, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(String);

impl MessageId {
    /// The identity of a message with these bytes.
    pub fn of(content: &[u8]) -> Self {
        Self(blake3::hash(content).to_hex().to_string())
    }

    /// The identity with all lines ended by LF, and `X` for every byte of the header that is beyond
    /// ASCII: the same for a message and for its copy that an IMAP server stored. Servers choose
    /// their own line ends, and some do not keep such bytes (`munge8bit` of Cyrus puts `X` there).
    pub fn normalised(content: &[u8]) -> Self {
        let (header, body) = content.split_at(header_length(content));
        let mut hasher = blake3::Hasher::new();
        if header.is_ascii() {
            with_line_feeds(&mut hasher, content);
        } else {
            let plain = |byte: &u8| if byte.is_ascii() { *byte } else { b'X' };
            let header: Vec<u8> = header.iter().map(plain).collect();
            with_line_feeds(&mut hasher, &header);
            with_line_feeds(&mut hasher, body);
        }
        Self(hasher.finalize().to_hex().to_string())
    }

    /// The digest of a message's Message-ID and its body with LF line ends, which is the same for two
    /// copies that came on different ways; `None` without a Message-ID or a body.
    pub fn likeness(content: &[u8]) -> Option<Self> {
        let head = content.get(..Summary::HEAD.min(content.len()))?;
        let message = mail_parser::MessageParser::default().parse_headers(head)?;
        let name = message.message_id().filter(|name| !name.is_empty())?;
        let (_, body) = content.split_at(header_length(content));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        with_line_feeds(&mut hasher, body);
        (!body.is_empty()).then(|| Self(hasher.finalize().to_hex().to_string()))
    }

    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 32 digits, which are enough for a file name.
    pub fn short(&self) -> &str {
        self.0.get(..32).unwrap_or(&self.0)
    }
}

/// Hashes `content` with LF for every CR LF.
fn with_line_feeds(hasher: &mut blake3::Hasher, content: &[u8]) {
    let mut rest = content;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(at);
        hasher.update(line);
        rest = tail.get(1..).unwrap_or_default();
    }
    hasher.update(rest);
}

/// How long the header of a message is, with the empty line after it: all of it without one.
pub fn header_length(content: &[u8]) -> usize {
    let mut end = 0_usize;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        end = end.saturating_add(line.len());
        if matches!(line, b"\n" | b"\r\n") {
            return end;
        }
    }
    content.len()
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of the message index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A message.
    Message(Box<Message>),
    /// A file in a mail store that is no message.
    Rejected(FileNote),
    /// A message that is known to have been there, and of which nothing could be had.
    Lost(FileNote),
    /// A folder, and what its own index says should be in it.
    Folder(FolderRecord),
    /// A part of the file system that could not be read: what was in it is not known.
    Loss(Loss),
}

/// Which of the file systems that a device has held a find belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "name")]
pub enum Layer {
    /// The one that the device holds now.
    #[default]
    Present,
    /// Another one, of which something is left on the device.
    Further,
    /// A snapshot: what the device held when it was taken. Its name.
    Snapshot(String),
    /// None: its blocks were recognised by what they hold.
    Carved,
}

impl Layer {
    /// Whether it is [`Layer::Present`].
    pub fn is_present(&self) -> bool {
        *self == Self::Present
    }
}

/// Whether something was in use; the standing of most is not written into the index.
pub(crate) fn is_in_use(standing: &Standing) -> bool {
    *standing == Standing::InUse
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its identity.
    pub id: MessageId,
    /// [`MessageId::normalised`], where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalised: Option<MessageId>,
    /// What it shares with its near-duplicates: see [`MessageId::likeness`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<MessageId>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its length with CR LF line ends.
    pub virtual_bytes: u64,
    /// How far it is proven.
    pub grade: Grade,
    /// By what.
    pub proofs: Vec<Proof>,
    /// What speaks against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
    /// What is missing in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// The bytes of its base64 in which a bit seems to have turned, as it is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned: Vec<TurnedByte>,
    /// The parts of it that are not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken_parts: Vec<BrokenPart>,
    /// Whose it is; `None` if nothing names anybody.
    pub owner: Option<Owner>,
    /// Why it is nobody's though something names somebody: what speaks against that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// The folder it was in, with `.` between levels; `INBOX` for the mailbox itself.
    pub folder: String,
    /// Its number in the folder, where the store says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its flags.
    pub flags: Flags,
    /// Its keywords, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// When it was delivered: as the store says, or by its file's time of modification.
    pub delivered: Timestamp,
    /// Whether its file was in use, or deleted and recovered.
    #[serde(default, skip_serializing_if = "is_in_use")]
    pub standing: Standing,
    /// In which state of its file system it was found.
    #[serde(default, skip_serializing_if = "Layer::is_present")]
    pub layer: Layer,
    /// Where it was found.
    pub origin: FileOrigin,
    /// What a person recognises it by.
    pub summary: Summary,
}

impl Message {
    /// Its identity without regard to what servers change: [`MessageId::normalised`].
    pub fn normalised(&self) -> &MessageId {
        self.normalised.as_ref().unwrap_or(&self.id)
    }

    /// Whether it was deleted before its file system was last written.
    pub const fn is_deleted(&self) -> bool {
        matches!(self.standing, Standing::Deleted)
    }

    /// Whether its file lost its name, and nothing else says which folder it lay in.
    pub fn is_of_no_folder(&self) -> bool {
        let name = self.origin.path.rsplit('/').next();
        let is_nameless = name.is_some_and(|name| maildir::is_placeholder(name.as_bytes()));
        is_nameless && self.folder == maildir::RECOVERED
    }

    /// The snapshot that it was found in, if it stands in use there.
    pub fn snapshot(&self) -> Option<&str> {
        match &self.layer {
            Layer::Snapshot(name) if !self.is_deleted() => Some(name),
            _ => None,
        }
    }

    /// What a person must know of the state that it was found in, in words; empty for a message
    /// that is in use.
    pub fn state(&self) -> String {
        let layer = match &self.layer {
            Layer::Present => "",
            Layer::Further => "in a file system that was replaced or lost its head",
            Layer::Snapshot(name) => &format!("in snapshot {name}"),
            Layer::Carved => "by its content, among blocks that no file system explains",
        };
        match (self.is_deleted(), layer) {
            (false, layer) => layer.to_owned(),
            (true, "") => "deleted, and recovered".to_owned(),
            (true, layer) => format!("deleted, and recovered {layer}"),
        }
    }
}

/// Where the file of a message lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrigin {
    /// The device with the file system.
    pub device: String,
    /// The path in it; bytes that are not text are shown as `\xNN`.
    pub path: String,
    /// The inode.
    pub inode: u64,
    /// Where in the file it begins, in bytes: stores keep several in one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// The length of the file in bytes, or of the part of it that is the message.
    pub stored_bytes: u64,
    /// How the message is compressed.
    pub codec: Codec,
    /// Where its bytes lie in the view of the file system.
    pub pieces: Vec<Extent>,
    /// Where a file of several messages is compressed as a whole: which ranges of what it decodes
    /// to are the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Range<u64>>,
    /// Bytes that are known to be other than what the disk gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<Repair>,
}

/// A byte of a stored message that was read wrong, and is known to have been another: by a proof
/// over all of the message, which it verifies with that one only; or because it stands in base64, which has no
/// such byte, and only one has but one other bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Where in the stored message, in bytes.
    pub at: u64,
    /// As it is read.
    pub read: u8,
    /// As it was stored.
    pub stored: u8,
}

impl Repair {
    /// Puts bytes right in a stored message.
    pub fn put_in(repairs: &[Self], bytes: &mut [u8]) {
        for repair in repairs {
            let byte = usize::try_from(repair.at).ok();
            if let Some(byte) = byte.and_then(|at| bytes.get_mut(at)) {
                *byte = repair.stored;
            }
        }
    }
}

/// Whether a message begins where its file does, which most do.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

/// What a person recognises a message by, decoded and cut to a sensible length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The sender, as the header says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The subject.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The date in the header, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<i64>,
}

impl Summary {
    /// The longest text kept, in characters.
    const LIMIT: usize = 200;
    /// Headers are looked for in so many bytes: one of 10 MB must not cost more.
    const HEAD: usize = 64 << 10;

    /// The summary of a message.
    pub fn of(content: &[u8]) -> Self {
        let head = content
            .get(..Self::HEAD.min(content.len()))
            .unwrap_or_default();
        let Some(message) = mail_parser::MessageParser::default().parse_headers(head) else {
            return Self::default();
        };
        let from = message.from().and_then(|address| address.first());
        let name = from.and_then(|addr| addr.name()).unwrap_or_default();
        let address = from.and_then(|addr| addr.address()).unwrap_or_default();
        let from = match (name, address) {
            ("", address) => address.to_owned(),
            (name, "") => name.to_owned(),
            (name, address) => format!("{name} <{address}>"),
        };
        Self {
            from: cut(&from),
            subject: cut(message.subject().unwrap_or_default()),
            date: message.date().map(|date| date.to_timestamp()),
        }
    }
}

/// One line of at most [`Summary::LIMIT`] characters, without control characters.
pub(crate) fn cut(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(Summary::LIMIT)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A file in a mail store that is not handed over, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// The device with the file system.
    pub device: String,
    /// The path in it.
    pub path: String,
    /// Whose mailbox it is in.
    pub owner: Option<Owner>,
    /// The folder it is in.
    pub folder: String,
    /// When it was delivered, by its inode, or by its name if that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Timestamp>,
    /// How long the message was, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether it was in use, or deleted.
    #[serde(default, skip_serializing_if = "is_in_use")]
    pub standing: Standing,
    /// Whether it is there, and encrypted by the mail system.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_encrypted: bool,
    /// Why it is not handed over.
    pub why: String,
    /// What must be read for a lost message to come back, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
}

/// What must be read in the view of a file system for a lost message to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// Its bytes, which lie here.
    Contents(Vec<Extent>),
    /// Its inode, which lies at this byte; where its bytes lie is not known without.
    Inode(u64),
}

impl FileNote {
    /// What the store says of `mail`, which is on `device`.
    pub fn of_file(mail: &MailFile, device: &str, why: String) -> Self {
        Self {
            device: device.to_owned(),
            path: mail.path.to_string(),
            owner: mail.owner.clone(),
            folder: mail.folder.clone(),
            delivered: mail.said_received(),
            bytes: mail.known.size,
            standing: Standing::InUse,
            is_encrypted: false,
            why,
            needs: None,
        }
    }
}

/// A folder of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRecord {
    /// The device with the file system.
    pub device: String,
    /// The path in it.
    pub path: String,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Its name.
    pub folder: String,
    /// The path of the mailbox that it is a folder of, where that is nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// How many messages its directories list.
    pub present: u64,
    /// How many messages the folder's own index lists; `None` without an index.
    pub listed: Option<u64>,
    /// Messages that the index lists and that are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed_but_gone: Vec<String>,
    /// Why it is nobody's though something names somebody: what contradicts what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_do_not_change_the_normalised_identity() {
        let unix = b"a: b\n\nx\n\r y\n";
        let dos = b"a: b\r\n\r\nx\r\n\r y\r\n";
        assert_eq!(MessageId::normalised(unix), MessageId::normalised(dos));
        assert_eq!(MessageId::normalised(unix), MessageId::of(unix));
        assert_ne!(MessageId::of(unix), MessageId::of(dos));
    }

    #[test]
    fn copies_that_came_on_different_ways_are_alike_and_others_are_not() {
        let copy = |trace: &str, id: &str, body: &str, end: &str| {
            let text = format!("{trace}Message-ID: <{id}>\nSubject: x\n\n{body}\n");
            MessageId::likeness(text.replace('\n', end).as_bytes())
        };
        let one = copy("Delivered-To: ada@x.example\n", "1@x", "hello", "\n");
        assert!(one.is_some());
        let other = copy(
            "Received: from l by x\nList-Id: <l>\n",
            "1@x",
            "hello",
            "\r\n",
        );
        assert_eq!(one, other);
        assert_ne!(one, copy("", "2@x", "hello", "\n"));
        assert_ne!(one, copy("", "1@x", "hello, with a footer", "\n"));
        assert_eq!(MessageId::likeness(b"Subject: x\n\nhello\n"), None);
        assert_eq!(MessageId::likeness(b"Message-ID: <1@x>\n\n"), None);
        assert_eq!(MessageId::likeness(b"Message-ID: <1@x>\n"), None);
    }

    #[test]
    fn a_summary_is_one_clean_line() {
        let raw = b"From: =?utf-8?q?Ada_L=C3=B6w?= <ada@a.example>\r\n\
            Subject: =?utf-8?b?G1sySg==?= <script>\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n\r\nx";
        let summary = Summary::of(raw);
        assert_eq!(summary.from, "Ada L\u{f6}w <ada@a.example>");
        assert!(!summary.subject.contains('\u{1b}'), "{:?}", summary.subject);
        assert_eq!(summary.date, Some(1_704_067_200));
        assert_eq!(Summary::of(b"\x00\xFF\n\n"), Summary::default());
        assert!(Summary::of(&b"Subject: x".repeat(100_000)).subject.len() <= 4 * Summary::LIMIT);
    }

    #[test]
    fn what_servers_change_makes_no_other_message() {
        let id = MessageId::normalised;
        let stored = id("Subject: Grün\n\nGrün\n".as_bytes());
        assert_eq!(stored, id("Subject: Grün\r\n\r\nGrün\r\n".as_bytes()));
        assert_eq!(stored, id("Subject: GrXXn\r\n\r\nGrün\r\n".as_bytes()));
        assert_ne!(stored, id("Subject: GrXXn\r\n\r\nGrXXn\r\n".as_bytes()));
        assert_eq!(id(b"a\n\nb"), MessageId::of(b"a\n\nb"));
        assert_eq!(header_length(b"a\r\n\r\nb"), 5);
        assert_eq!(header_length(b"no end\n"), 7);
    }
}
