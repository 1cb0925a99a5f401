//! `aggregate.json`: what the aggregate is, statement by statement, with the evidence for each.
//!
//! The document is the only thing that [`crate::build()`] reads: what `assemble` found and what an
//! engineer wrote are the same kind of statement. Devices are named with their kind in
//! front: `disk:disk-a`, `partition:disk-a/1`, `group:md-1b2c3d4e`, `volume:aggr0/mail1`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use evidence::{ByteOffset, Cause, GapCause, Loss, Origin};
use serde::{Deserialize, Serialize};

use crate::framing::Framing;
use crate::raid::Geometry;

/// The version of the document that this program writes and reads.
pub const VERSION: u32 = 1;

/// The name of a device: `disk:…`, `partition:…`, `group:…`, `volume:…` or `luks:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceName(pub String);

impl DeviceName {
    /// The name of a piece of evidence.
    pub fn disk(name: &str) -> Self {
        Self(format!("disk:{name}"))
    }

    /// The name of a RAID group.
    pub fn group(name: &str) -> Self {
        Self(format!("group:{name}"))
    }

    /// The name of a logical volume.
    pub fn volume(name: &str) -> Self {
        Self(format!("volume:{name}"))
    }

    /// The name of what a LUKS container with this UUID holds.
    pub fn opened(uuid: &str) -> Self {
        Self(format!("luks:{uuid}"))
    }

    /// The name of partition `number` of `device`: `disk:a` gives `partition:a/1`.
    pub fn partition(device: &Self, number: u32) -> Self {
        let (_, bare) = device.0.split_once(':').unwrap_or(("", &device.0));
        Self(format!("partition:{bare}/{number}"))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The whole aggregate: every device that is not a disk, in terms of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// [`VERSION`].
    pub version: u32,
    /// RAID groups.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Partitions and logical volumes.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Which generation of the aggregate the regions of the members belong to, by device and
    /// place. What no region covers is the group's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<Region>,
    /// LVM volume groups: whose metadata the logical volumes were taken from.
    #[serde(default)]
    pub volume_groups: Vec<VolumeGroup>,
    /// File systems and on what device they lie.
    #[serde(default)]
    pub filesystems: Vec<FilesystemStatement>,
    /// Devices that are encrypted as a whole, and what would open them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encrypted: Vec<Encrypted>,
    /// Disks, partitions and volumes that nothing uses, and what they look like.
    #[serde(default)]
    pub unused: Vec<Unused>,
    /// Devices that belong together in a way that is not decided, those of each group by themselves; a
    /// loss says why. What is carved out of them is weighed together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<BTreeSet<DeviceName>>,
    /// What could not be assembled, and why.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// A RAID group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, unique in the case; [`DeviceName::group`] of it is its device.
    pub name: String,
    /// How its bytes lie on its members.
    pub geometry: Geometry,
    /// The members by role; a role that nobody fills has no device.
    pub members: Vec<Member>,
    /// What says so.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// How sure it is, from 0 to 1; labels whose checksums hold give 1.
    #[serde(default = "certain")]
    pub confidence: f64,
    /// Groups that were on its members before it was begun over them, by name, and volumes, by device: what it
    /// has not written since is still theirs, so its free space is not searched for mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
}

impl Group {
    /// Its members that are there.
    pub(crate) fn devices(&self) -> BTreeSet<DeviceName> {
        let members = self.members.iter();
        members.filter_map(|member| member.device.clone()).collect()
    }

    /// The losses where more members are missing than the group can do without.
    pub(crate) fn missing(&self) -> Vec<Loss> {
        let is_there = |member: &Member| member.device.is_some() && member.left_out.is_none();
        let present: Vec<bool> = self.members.iter().map(is_there).collect();
        if self.geometry.survives(&present) {
            return Vec::new();
        }
        let absent = self.members.iter().filter(|member| !is_there(member));
        absent
            .map(|member| {
                let advice = match (&member.device, &member.left_out) {
                    (Some(device), Some(why)) => format!(
                        "; {device} has it in an older state ({why}): to read it all the same, \
                         delete its \"left_out\" in aggregate.json, and expect old and new mixed"
                    ),
                    _ => String::new(),
                };
                Loss {
                    what: format!(
                        "role {} of RAID group {} ({}), without which parts of it cannot be \
                         read{advice}",
                        member.role,
                        self.name,
                        self.geometry.level.name()
                    ),
                    origin: Origin::new(DeviceName::group(&self.name).0, ByteOffset::ZERO),
                    cause: Cause::Gap(GapCause::MemberMissing),
                }
            })
            .collect()
    }
}

/// How sure a group is over which another one was created: its labels hold, but what that one wrote is no
/// longer its own.
pub(crate) const OVERWRITTEN_CONFIDENCE: f64 = 0.5;

/// A name that a label gives, in letters that are safe in names of files and devices; `None` if nothing
/// of it is worth a name.
pub(crate) fn safe_name(name: &str) -> Option<String> {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let safe: String = name.chars().map(safe).collect();
    safe.chars()
        .any(|c| c.is_ascii_alphanumeric())
        .then_some(safe)
}

/// What a person states without a figure is certain.
const fn certain() -> f64 {
    1.0
}

/// The part that one device has in a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its role: its place in the geometry, from 0.
    pub role: u32,
    /// The device; `None` if it is missing.
    pub device: Option<DeviceName>,
    /// Where in the device the data of the group begins, in bytes.
    #[serde(default)]
    pub data_offset: u64,
    /// How many bytes of the device are data of the group.
    #[serde(default)]
    pub data_size: u64,
    /// A member that is there but holds a state older than the rest's, or is not wholly rebuilt:
    /// it is not read, and this says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Places in the data area that the group itself recorded as bad, or that both parities show
    /// to be wrong: they are not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_blocks: Vec<BadBlocks>,
}

/// A range that is bad on one of the members of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadBlocks {
    /// Where in the member's data area it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
}

/// A region of a member and the generation of the aggregate that its bytes belong to.
///
/// [`Epoch::Zeroed`] and [`Epoch::New`] are not read for the group; [`Epoch::Unknown`] is read
/// and everything that comes from it is suspect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The device.
    pub device: DeviceName,
    /// Where on it the region begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Which generation it belongs to.
    pub epoch: Epoch,
    /// Only these pieces of it, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<Pieces>,
    /// The name of the group that this is seen from; without it, every group that has the device
    /// as a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What says so.
    #[serde(default)]
    pub evidence: String,
}

impl Region {
    /// The byte after its last.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// How many bytes of its device are meant.
    pub fn meant(&self) -> u64 {
        let Some(Pieces { bytes, every }) = self.pieces.filter(|pieces| pieces.every > 0) else {
            return self.bytes;
        };
        let (whole, rest) = (self.bytes / every, self.bytes % every);
        whole.saturating_mul(bytes).saturating_add(rest.min(bytes))
    }

    /// What of its device it is.
    pub(crate) const fn extent(&self) -> Extent {
        Extent::new(self.start, self.bytes, self.pieces)
    }

    /// Whether it speaks of `device` as a member of the group `name`.
    pub fn concerns(&self, name: &str, device: &DeviceName) -> bool {
        self.device == *device && self.group.as_ref().is_none_or(|group| group == name)
    }
}

/// Pieces that repeat: so many bytes at the start of a region, and again after every so many. Chunks that
/// a newer array took for its parity lie so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pieces {
    /// How long each is, in bytes.
    pub bytes: u64,
    /// From the start of one to that of the next, in bytes.
    pub every: u64,
}

/// A stretch of a device, or pieces of one that repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    bytes: u64,
    pieces: Option<Pieces>,
}

impl Extent {
    pub(crate) const fn new(start: u64, bytes: u64, pieces: Option<Pieces>) -> Self {
        Self {
            start,
            bytes,
            pieces,
        }
    }

    /// The byte after its last.
    pub(crate) const fn end(self) -> u64 {
        self.start.saturating_add(self.bytes)
    }

    /// What of it lies from `from` to `to`, in order.
    pub(crate) fn within(self, from: u64, to: u64) -> impl Iterator<Item = Range<u64>> {
        let (start, from, to) = (self.start, self.start.max(from), self.end().min(to));
        let whole = Pieces {
            bytes: self.bytes,
            every: self.bytes,
        };
        let Pieces { bytes, every } = self.pieces.unwrap_or(whole);
        let every = every.max(1);
        (from.saturating_sub(start) / every..)
            .map(move |number| start.saturating_add(number.saturating_mul(every)))
            .take_while(move |at| *at < to)
            .map(move |at| at.max(from)..at.saturating_add(bytes).min(to))
            .filter(|range| !range.is_empty())
    }
}

/// A generation of the aggregate, as a group sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Epoch {
    /// The group itself wrote it.
    Old,
    /// Something that came after the group wrote over it.
    New,
    /// Zeros were written over it.
    Zeroed,
    /// The members contradict each other here and nothing says which is wrong.
    Unknown,
}

impl Epoch {
    /// The word for it in tables and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Zeroed => "zeroed",
            Self::Unknown => "unknown",
        }
    }
}

/// A partition or logical volume: a map of ranges to other devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its device name, `partition:…` or `volume:…`.
    pub device: DeviceName,
    /// Its UUID as its own metadata writes it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether it is only a part of another volume (a mirror's image, a pool's data), on which
    /// no file system is looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// The volume that it is a snapshot of: it holds a former state of that one's file system,
    /// and mail that is in both counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<DeviceName>,
    /// Its pieces, ordered, without breaks.
    pub segments: Vec<Segment>,
    /// What says so.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// A piece of a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Where in the volume it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Where its bytes are.
    pub map: SegmentMap,
}

/// How a piece of a volume lies on other devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum SegmentMap {
    /// One after the other on one device.
    Linear(Area),
    /// In turns over several devices.
    Striped {
        /// Bytes on one device before the next one's turn.
        stripe_bytes: u64,
        /// The devices in their order.
        areas: Vec<Area>,
    },
    /// The same on each device: the first copy that can be read counts.
    Mirrored {
        /// The copies.
        areas: Vec<Area>,
    },
    /// On one device, between checksums that are left out.
    Framed {
        /// Which bytes of the device are data.
        framing: Framing,
        /// Where the first frame begins.
        area: Area,
    },
    /// A snapshot: chunks that were saved on a store, and the rest from the origin.
    Snapshot {
        /// What it is a snapshot of, as it is now.
        origin: Area,
        /// Where the header, the list of the saved chunks and these themselves are.
        store: Area,
    },
    /// A volume of a thin pool.
    Thin {
        /// The pool's metadata, which say where each chunk is.
        metadata: Area,
        /// The pool's data.
        data: Area,
        /// The number of the volume in the pool.
        device_id: u64,
        /// What is read where nothing was written; zeros without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Area>,
    },
    /// Zeros by definition, which no device holds: what is read there was stored so.
    Zero,
    /// Nowhere: the device that held it is missing, or the kind of segment is not supported.
    Missing {
        /// What is missing.
        why: String,
    },
}

/// A place on a device; `device` is `None` if it is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// The device.
    pub device: Option<DeviceName>,
    /// Where on it, in bytes.
    pub offset: u64,
}

/// An LVM volume group: which copy of its metadata counts, and which others are there.
///
/// [`crate::build()`] does not read it, the volumes themselves say where their bytes are; it is
/// here so that a person can see what was chosen and what else could be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeGroup {
    /// Its name as the names of its volumes begin: with a piece of the UUID where two groups
    /// have one name.
    pub name: String,
    /// Its UUID in LVM's groups of letters.
    pub uuid: String,
    /// The number of the metadata text that was used; each change of the group adds one.
    pub seqno: u64,
    /// The size of an extent, in bytes.
    pub extent_bytes: u64,
    /// Its physical volumes, in the order of the metadata.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Every metadata text of this group that is still there, newest first.
    pub versions: Vec<MetadataVersion>,
    /// What a person should know before trusting it.
    pub notes: Vec<String>,
}

/// A physical volume of a volume group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    /// Its name in the metadata: `pv0`.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// The device; `None` if it is missing.
    pub device: Option<DeviceName>,
    /// Its length in bytes as the metadata states it; 0 if it does not.
    #[serde(default)]
    pub bytes: u64,
}

/// One metadata text, as it lies in the ring of one or more metadata areas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataVersion {
    /// The number that the text states.
    pub seqno: u64,
    /// Its length in bytes, with the zero that ends it.
    pub bytes: u64,
    /// LVM's CRC over these bytes.
    pub crc: u32,
    /// What the metadata area's header says about it.
    pub state: VersionState,
    /// Whether it parses to its end and does not contradict itself.
    pub intact: bool,
    /// What LVM was about to do or had done: the command, shortened.
    pub description: String,
    /// When it was written, in seconds since 1970; 0 if it does not say.
    pub created: u64,
    /// Where it lies.
    pub places: Vec<Origin>,
}

/// What a metadata area's header says about a text in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// It is the committed one, and its checksum is the header's.
    Current,
    /// It was written and not yet committed when the machine stopped.
    Precommitted,
    /// Nothing points to it any more.
    Older,
}

/// A file system that was recognised on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesystemStatement {
    /// The device that it lies on.
    pub device: DeviceName,
    /// Its kind in lower case: `ext4`, `xfs`.
    pub kind: String,
    /// Its UUID in hexadecimal groups.
    pub uuid: String,
    /// Its label.
    pub label: String,
    /// Its length in bytes, by its own superblock.
    pub bytes: u64,
    /// What a person should know before trusting it.
    pub notes: Vec<String>,
}

/// A device that is encrypted as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypted {
    /// The device.
    pub device: DeviceName,
    /// With what.
    pub kind: EncryptionKind,
    /// Its UUID or identifier, if the header has one.
    #[serde(default)]
    pub uuid: String,
    /// What it is called, if the header says that.
    #[serde(default)]
    pub label: String,
    /// Where on the device what is encrypted begins, in bytes.
    #[serde(default)]
    pub at: u64,
    /// How many bytes are encrypted.
    #[serde(default)]
    pub bytes: u64,
    /// The cipher, and the length of its key.
    #[serde(default)]
    pub cipher: String,
    /// What its key is locked with.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What would open it, in words.
    #[serde(default)]
    pub needs: String,
    /// The device of what it holds, if a key that opens it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<DeviceName>,
    /// What a person should know of it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a device is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionKind {
    /// LUKS, version 1.
    Luks1,
    /// LUKS, version 2.
    Luks2,
    /// BitLocker.
    Bitlocker,
    /// It looks encrypted, and nothing names a format.
    NoHeader,
}

impl EncryptionKind {
    /// It in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Luks1 => "a LUKS1 encrypted volume",
            Self::Luks2 => "a LUKS2 encrypted volume",
            Self::Bitlocker => "a BitLocker encrypted volume",
            Self::NoHeader => "what looks like encrypted data without a header",
        }
    }
}

/// A device that nothing uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unused {
    /// The device.
    pub device: DeviceName,
    /// Why: a spare, a stale member, swap space, nothing recognised.
    pub why: String,
    /// The device of which it is a copy in part, older or written over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<DeviceName>,
}
