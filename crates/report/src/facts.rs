//! The facts of a case: what `report.json` holds, and what every other file is made from.

use std::sync::Arc;

use aggregate::document::{
    Encrypted, Epoch, FilesystemStatement, Group, Unused, Volume, VolumeGroup,
};
use case::log::Effort;
use mail::broken::BrokenPart;
use serde::Serialize;
use serde_json::Value;

use crate::figures::{Day, Phase, Rate, Shares};
use crate::sort::Known;
use crate::wanted::Wanted;

/// The version of `report.json`. It goes up when a field is renamed, removed or means something
/// else; new fields leave it.
pub const FORMAT: u32 = 1;

/// The name under which mail is counted whose account is not proven.
pub const UNATTRIBUTED: &str = "_unattributed";

/// Everything that the report says. Times are UTC, as `2014-06-17T08:09:10Z`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// [`FORMAT`].
    pub format: u32,
    /// The program and version that made the report.
    pub program: String,
    /// The directory of the case.
    pub case: String,
    /// When the last step that the log knows of was done: the facts are as of then.
    pub as_of: Option<String>,
    /// The sums over the whole case.
    pub totals: Totals,
    /// How much came back, in shares of accounts and of data.
    pub shares: Shares,
    /// What each phase of the work brought.
    pub phases: Vec<Phase>,
    /// What was handed over, by day.
    pub days: Vec<Day>,
    /// How fast each step went, over all its runs.
    pub rates: Vec<Rate>,
    /// Sums that must be equal, counted in different ways.
    pub checks: Vec<Check>,
    /// The accounts in the order of their domains, then [`UNATTRIBUTED`] if there is such mail.
    pub accounts: Vec<Account>,
    /// What the list of accounts says, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_list: Option<ListFacts>,
    /// The disks that were given as evidence, by name.
    pub evidence: Vec<Evidence>,
    /// What is on each disk, in the same order.
    pub disks: Vec<Disk>,
    /// How the disks were put together; `None` before `assemble`.
    pub aggregate: Option<Structure>,
    /// Parts of the file systems that could not be read: what mail was in them is not known.
    pub losses: Vec<LossFact>,
    /// What would bring more, the most first; `None` if nobody tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Vec<Wanted>>,
    /// Where mail was handed over to.
    pub targets: Vec<Target>,
    /// What was done.
    pub log: Log,
    /// What finds are judged by; kept so that the tables say the same as the sums.
    #[serde(skip)]
    pub(crate) known: Arc<Known>,
}

impl Facts {
    /// Whether the disks were searched to the end: phase 2 is done too.
    pub fn is_searched(&self) -> bool {
        self.log.steps.iter().any(|step| step.step == "carve")
    }

    /// How many bytes of the disks could not be read.
    pub fn unread(&self) -> u64 {
        let disks = self.evidence.iter().map(|disk| disk.unread);
        disks.fold(0, u64::saturating_add)
    }
}

/// Counts of messages. `expected` = `whole` + `damaged` + `lost`, and `found` = `expected` +
/// `rejected` + `duplicates`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Everything that was met: whole, damaged, lost, rejected, and met once more.
    pub found: u64,
    /// Messages that are known to have been there.
    pub expected: u64,
    /// Messages that came back as they were stored.
    pub whole: u64,
    /// Messages of which a part is missing or wrong.
    pub damaged: u64,
    /// Messages that were there and of which nothing could be had.
    pub lost: u64,
    /// Of the lost: those that are there, encrypted by the mail system.
    pub encrypted: u64,
    /// Of the whole and the damaged: those that had been deleted, and were recovered.
    pub deleted: u64,
    /// Of the whole and the damaged: those that only a snapshot has.
    pub in_snapshots: u64,
    /// Files in mail folders that are no messages.
    pub rejected: u64,
    /// Finds of a message that is counted already.
    pub duplicates: u64,
    /// Of the whole: those of which the account has another copy with the same Message-ID and body,
    /// and other trace headers. All are handed over.
    pub near_duplicates: u64,
    /// Messages that were handed over.
    pub handed_over: u64,
    /// Messages that the account had already when they were to be handed over.
    pub already_live: u64,
    /// Messages, whole and damaged, that wait to be handed over.
    pub waiting: u64,
    /// Messages that a folder's own index lists and that are not there: deleted by their owner
    /// after the index was last written, or lost. Which of the two cannot be told, so they are in
    /// no other count.
    pub listed_but_gone: u64,
    /// Bytes of the whole messages.
    pub whole_bytes: u64,
    /// Bytes of the damaged messages, holes included.
    pub damaged_bytes: u64,
}

impl Counts {
    /// Adds the counts of another account.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.found, other.found),
            (&mut self.expected, other.expected),
            (&mut self.whole, other.whole),
            (&mut self.damaged, other.damaged),
            (&mut self.lost, other.lost),
            (&mut self.encrypted, other.encrypted),
            (&mut self.deleted, other.deleted),
            (&mut self.in_snapshots, other.in_snapshots),
            (&mut self.rejected, other.rejected),
            (&mut self.duplicates, other.duplicates),
            (&mut self.near_duplicates, other.near_duplicates),
            (&mut self.handed_over, other.handed_over),
            (&mut self.already_live, other.already_live),
            (&mut self.waiting, other.waiting),
            (&mut self.listed_but_gone, other.listed_but_gone),
            (&mut self.whole_bytes, other.whole_bytes),
            (&mut self.damaged_bytes, other.damaged_bytes),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The sums over the whole case, mail of unknown owners included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many accounts there are.
    pub accounts: u64,
    /// How much of `found` belongs to nobody that is proven.
    pub unattributed: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

impl std::ops::Deref for Totals {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

/// Two numbers that must be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is compared, in words.
    pub what: String,
    /// The one.
    pub left: u64,
    /// The other.
    pub right: u64,
    /// Whether they are equal.
    pub holds: bool,
}

/// The accounts as a person listed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListFacts {
    /// How many accounts are listed.
    pub accounts: u64,
    /// How many aliases.
    pub aliases: u64,
    /// How many domains by themselves.
    pub domains: u64,
    /// The listed accounts of which nothing was found.
    pub nothing_found: Vec<String>,
}

/// What is known of one account.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// `local@domain`, or [`UNATTRIBUTED`].
    pub address: String,
    /// What says that the mail is this account's.
    pub evidence: Vec<String>,
    /// Whether its mail shows that a mail program managed it on the server, as IMAP does: folders
    /// besides the inbox, messages that were answered or marked, drafts, keywords. Who only
    /// fetched mail by POP3 leaves none of these.
    pub used_by_imap: bool,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// When the first message that came back was delivered.
    pub first_delivered: Option<String>,
    /// When the last one was.
    pub last_delivered: Option<String>,
    /// When a message was last handed over.
    pub last_handed_over: Option<String>,
    /// The folders, by name. Folders of unknown owners are apart by place.
    pub folders: Vec<Folder>,
    /// Deliveries by month, those without a believable time under `undated`.
    pub months: Vec<Month>,
    /// The damaged messages, by folder and time.
    pub damaged_messages: Vec<DamagedMessage>,
    /// The lost messages, by folder and path.
    pub lost_messages: Vec<LostMessage>,
    /// The rejected files, by folder and path.
    pub rejected_files: Vec<RejectedFile>,
    /// The messages that only an index lists, by folder and name.
    pub gone_messages: Vec<GoneMessage>,
    /// Messages with the same Message-ID and body and other trace headers, those that are alike
    /// behind one another.
    pub near_duplicate_messages: Vec<NearDuplicate>,
}

impl Account {
    /// Whether it stands for the mail whose account is not proven.
    pub fn is_unattributed(&self) -> bool {
        self.address == UNATTRIBUTED
    }
}

/// One folder of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// Its name as it is stored, with `.` between levels.
    pub name: String,
    /// Its name as a mail program shows it, where that differs.
    pub shown: Option<String>,
    /// Where it was found, as device and path.
    pub places: Vec<String>,
    /// Messages that are known to have been in it.
    pub expected: u64,
    /// Messages that came back as they were stored.
    pub whole: u64,
    /// Messages with damage.
    pub damaged: u64,
    /// Messages of which nothing could be had.
    pub lost: u64,
    /// Of the whole and the damaged: those that had been deleted, and were recovered.
    pub deleted: u64,
    /// Messages that only its index lists.
    pub listed_but_gone: u64,
    /// Messages that the server's own list counts in it, where nothing else of it is left. They are
    /// in no other count: which they were is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_by_list: Option<u64>,
    /// Bytes of the messages that came back.
    pub bytes: u64,
    /// When the first of them was delivered.
    pub first_delivered: Option<String>,
    /// When the last of them was.
    pub last_delivered: Option<String>,
}

/// Deliveries of one month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Month {
    /// `2014-06`, or `undated`.
    pub month: String,
    /// Messages that came back as they were stored.
    pub whole: u64,
    /// Messages with damage.
    pub damaged: u64,
    /// Lost messages, by the time that their files' names state.
    pub lost: u64,
}

/// A damaged message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedMessage {
    /// The folder it was in.
    pub folder: String,
    /// When it was delivered.
    pub delivered: String,
    /// Its sender, as its header says.
    pub from: String,
    /// Its subject.
    pub subject: String,
    /// The date in its header.
    pub date: Option<String>,
    /// Its length in bytes.
    pub bytes: u64,
    /// `damaged` or `fragment`.
    pub grade: String,
    /// In which state it was found, if it is not in use: `deleted, and recovered`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// What speaks against it.
    pub contradictions: Vec<String>,
    /// The parts of it that are not whole, in the order of the message.
    pub broken_parts: Vec<BrokenPart>,
    /// What is missing in it.
    pub holes: Vec<HoleFact>,
    /// All of this in words.
    pub reasons: Vec<String>,
    /// The device that it was found on.
    pub device: String,
    /// Its path there.
    pub path: String,
    /// Its identity.
    pub id: String,
    /// Where the same message was found whole; it is counted there too.
    pub whole_copy: Option<String>,
}

/// A range that is missing in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoleFact {
    /// Where in the stored file it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Why, in words.
    pub why: String,
}

impl From<&mail::proof::Hole> for HoleFact {
    fn from(hole: &mail::proof::Hole) -> Self {
        Self {
            start: hole.start,
            bytes: hole.bytes,
            why: hole.why.describe().to_owned(),
        }
    }
}

/// A message of which nothing could be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostMessage {
    /// The folder it was in.
    pub folder: String,
    /// When it was delivered, by the name of its file.
    pub delivered: Option<String>,
    /// How long it was in bytes, by the name of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The device.
    pub device: String,
    /// Its path there.
    pub path: String,
    /// Why nothing could be had.
    pub why: String,
}

/// A file in a mail folder that is no message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedFile {
    /// The folder it is in.
    pub folder: String,
    /// The device.
    pub device: String,
    /// Its path there.
    pub path: String,
    /// Why it is no message.
    pub why: String,
}

/// A message that a folder's index lists and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GoneMessage {
    /// The folder.
    pub folder: String,
    /// The name of its file.
    pub name: String,
    /// When it was delivered, by that name.
    pub delivered: Option<String>,
}

/// One of several copies of a message that came on different ways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NearDuplicate {
    /// What those that are alike have in common: a digest of Message-ID and body.
    pub likeness: String,
    /// Its identity.
    pub id: String,
    /// The folder it was in.
    pub folder: String,
    /// When it was delivered.
    pub delivered: String,
    /// Its subject.
    pub subject: String,
}

/// One disk that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its name in the case.
    pub name: String,
    /// Where its image is.
    pub path: String,
    /// How it is kept: `raw`, `split`, `device`.
    pub format: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The ddrescue mapfile beside it.
    pub mapfile: Option<String>,
    /// BLAKE3 of its contents.
    pub blake3: Option<String>,
    /// SHA-256 of its contents.
    pub sha256: Option<String>,
    /// How many of its bytes could not be read.
    pub unread: u64,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

/// What is on one disk, from its beginning to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its name in the case.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The least length that the picture can show: shorter runs are part of their neighbours,
    /// unless they could not be read.
    pub resolution: u64,
    /// Stretches that look alike, without breaks.
    pub runs: Vec<Run>,
    /// Parts that something uses: a RAID group, a volume group, a file system.
    pub areas: Vec<DiskArea>,
    /// Regions that are not, or not surely, what a RAID group stored, by place.
    pub epochs: Vec<EpochArea>,
    /// What was recognised, by kind.
    pub finds: Vec<FindKind>,
}

/// A part of a disk and the generation of the aggregate that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EpochArea {
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// The generation.
    pub epoch: Epoch,
    /// What says so.
    pub evidence: String,
}

/// A stretch of a disk that looks alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What it looks like.
    pub looks: Looks,
}

/// What a stretch of a disk looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looks {
    /// Zeros that were read.
    Zero,
    /// Mostly text.
    Text,
    /// Other data.
    Data,
    /// Some of it could not be read.
    Unread,
    /// Not looked at yet.
    NotScanned,
}

/// A part of a disk that something uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DiskArea {
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What uses it: `group:md0`.
    pub user: String,
    /// As what: `role 2`, `xfs`.
    pub part: String,
    /// Why it is not read, though it is there.
    pub left_out: Option<String>,
}

/// Finds of one kind on one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindKind {
    /// What they are: `md-superblock`.
    pub what: String,
    /// How many there are.
    pub count: u64,
    /// Where the first of them begin, in bytes.
    pub offsets: Vec<u64>,
}

/// How the disks were put together. The statements are those of `aggregate.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Structure {
    /// RAID groups.
    pub groups: Vec<GroupFacts>,
    /// Partitions and logical volumes.
    pub volumes: Vec<Volume>,
    /// LVM volume groups.
    pub volume_groups: Vec<VolumeGroup>,
    /// File systems.
    pub filesystems: Vec<FilesystemStatement>,
    /// Devices that are encrypted as a whole.
    pub encrypted: Vec<Encrypted>,
    /// Devices that nothing uses.
    pub unused: Vec<Unused>,
    /// What could not be put together.
    pub losses: Vec<LossFact>,
}

/// A RAID group and the state that it is in.
#[derive(Clone, Debug, Serialize)]
pub struct GroupFacts {
    /// The statement.
    #[serde(flatten)]
    pub group: Group,
    /// How many members are missing.
    pub missing: u64,
    /// How many are there and not read.
    pub left_out: u64,
    /// How many may be missing with every byte still to be had.
    pub redundancy: u64,
}

/// Something that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LossFact {
    /// The disk, group or volume.
    pub source: String,
    /// Where on it, in bytes.
    pub offset: u64,
    /// What is lost.
    pub what: String,
    /// Why.
    pub why: String,
}

impl From<&evidence::Loss> for LossFact {
    fn from(loss: &evidence::Loss) -> Self {
        Self {
            source: loss.origin.source.clone(),
            offset: loss.origin.offset.get(),
            what: loss.what.clone(),
            why: loss.cause.to_string(),
        }
    }
}

/// A place that mail was handed over to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its identity in the ledger.
    pub id: String,
    /// How many messages were added there.
    pub restored: u64,
    /// How many were there already.
    pub already_live: u64,
    /// When the first was dealt with.
    pub first: Option<String>,
    /// When the last was.
    pub last: Option<String>,
}

/// What was done, by the log of the case.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Log {
    /// What is wrong with the log. If its chain does not hold now, it lists no steps; if it did not when
    /// a step was done, it does.
    pub problem: Option<String>,
    /// The steps in their order.
    pub steps: Vec<Step>,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// When it was done.
    pub time: String,
    /// `scan`, `assemble`, `rebuild` …
    pub step: String,
    /// What it was asked to do.
    pub options: Value,
    /// What it worked from.
    pub input: Value,
    /// What came out.
    pub output: Value,
    /// How long it took and how much it went through, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
}
