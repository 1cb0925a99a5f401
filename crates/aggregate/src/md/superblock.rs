//! The labels of one device, whichever their version.

use std::fmt;
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, SECTOR_BYTES};

use super::{v0, v1};
use crate::Magic;
use crate::document::DeviceName;

/// The magic number of all md labels, `MD_SB_MAGIC`.
pub(crate) const MD_SB_MAGIC: u32 = 0xa92b_4efc;

/// An offset or count that means "all of it": the kernel's `MaxSector`.
pub(super) const MAX_SECTOR: u64 = u64::MAX;

/// A label that was found on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The device.
    pub device: DeviceName,
    /// The length of the device in bytes.
    pub device_bytes: u64,
    /// How many bytes of the device are known not to be readable.
    pub known_gaps: u64,
    /// Where on the device the label lies.
    pub at: ByteOffset,
    /// What it says.
    pub superblock: Superblock,
    /// Why it is not to be believed; `None` if its checksum holds and it belongs to this device.
    pub fault: Option<Fault>,
}

/// What is wrong with a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its checksum does not hold.
    Checksum {
        /// The sum that it carries.
        stored: u32,
        /// The sum of its bytes.
        computed: u32,
    },
    /// It says that it lies elsewhere, so it is the label of another device: of a partition
    /// that ends where this disk does, or of a disk that was copied to another place.
    Misplaced {
        /// Where it should lie by its own account, in sectors.
        super_offset: u64,
    },
    /// Its fields contradict each other: which, and how.
    Contradiction(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { stored, computed } => {
                write!(
                    f,
                    "its checksum is {stored:08x}, that of its bytes {computed:08x}"
                )
            }
            Self::Misplaced { super_offset } => {
                write!(
                    f,
                    "by its own account it lies at sector {super_offset} of its device"
                )
            }
            Self::Contradiction(what) => f.write_str(what),
        }
    }
}

/// The version of a label, with what depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.90, in the byte order of the machine that wrote it.
    V0 {
        /// Whether that machine was big-endian.
        big_endian: bool,
    },
    /// 1.0, near the end of the device.
    V1_0,
    /// 1.1, at the start.
    V1_1,
    /// 1.2, 4 KiB from the start.
    V1_2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0 { big_endian: false } => "0.90",
            Self::V0 { big_endian: true } => "0.90 (big-endian)",
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        })
    }
}

/// The identity of an array or of one of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    /// As mdadm writes it: four groups of eight digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, group) in self.0.chunks(4).enumerate() {
            f.write_str(if i == 0 { "" } else { ":" })?;
            for byte in group {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What a device is in its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds this part of the data.
    Active(u32),
    /// It waits for another to fail (`MD_DISK_ROLE_SPARE`).
    Spare,
    /// It has failed (`MD_DISK_ROLE_FAULTY`).
    Faulty,
    /// It holds the write journal (`MD_DISK_ROLE_JOURNAL`).
    Journal,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active(role) => write!(f, "role {role}"),
            Self::Spare => f.write_str("spare"),
            Self::Faulty => f.write_str("faulty"),
            Self::Journal => f.write_str("journal"),
        }
    }
}

/// A change of the array's geometry that had not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// How far it has come in the array, in sectors.
    pub reshape_position: u64,
    /// The level that it leads to.
    pub new_level: i32,
    /// The layout that it leads to.
    pub new_layout: u32,
    /// The chunk that it leads to, in sectors.
    pub new_chunk: u32,
    /// How many members it adds; negative if it takes some away.
    pub delta_disks: i32,
}

/// A range of a device that the array recorded as bad, in sectors from the device's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSectors {
    /// The first bad sector.
    pub start: u64,
    /// How many there are.
    pub sectors: u64,
}

/// What a label says, whatever its version. Sizes and offsets are in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Its version.
    pub version: Version,
    /// The array's identity.
    pub set_uuid: Uuid,
    /// The array's name, `host:name` or `name`; empty for 0.90, which has none.
    pub set_name: String,
    /// The device's identity; 0.90 has none.
    pub device_uuid: Option<Uuid>,
    /// When the array was created, in seconds of Unix time.
    pub ctime: u64,
    /// When the label was written, in seconds of Unix time.
    pub utime: u64,
    /// How often labels of this array had been written.
    pub events: u64,
    /// The level: -1 for linear, else the number of the RAID level.
    pub level: i32,
    /// The layout, by the level's own numbers.
    pub layout: u32,
    /// The size of a chunk; zero where the level has none.
    pub chunksize: u64,
    /// How many members the array has.
    pub raid_disks: u32,
    /// How much of each member the array uses; zero for linear and RAID-0, which use all.
    pub size: u64,
    /// Where on the device the data begins.
    pub data_offset: u64,
    /// How much of the device can be used for data.
    pub data_size: u64,
    /// The device's number in the array: its place in `roles`, not its role.
    pub dev_number: u32,
    /// What this device is by its own label.
    pub role: Role,
    /// What every device is, by `dev_number`, as this label knows it.
    pub roles: Vec<Role>,
    /// Up to where this member has been rebuilt, if it has not been wholly.
    pub recovery_offset: Option<u64>,
    /// Whether this device is to replace another one of the same role that is still there.
    pub replacement: bool,
    /// From where on redundancy may not hold, because the array was not stopped in order or its
    /// first resync did not end; `None` if it holds.
    pub resync_offset: Option<u64>,
    /// The change of geometry that was under way.
    pub reshape: Option<Reshape>,
    /// Whether the array has a write journal.
    pub journaled: bool,
    /// Whether the label says what RAID-0 layout the array has (`MD_FEATURE_RAID0_LAYOUT`).
    pub raid0_layout: bool,
    /// Ranges that the array recorded as bad on this device.
    pub bad_blocks: Vec<BadSectors>,
    /// Whether there is a log of bad blocks that could not be read.
    pub bad_blocks_unknown: bool,
}

impl Superblock {
    /// What device number `dev_number` is, as this label knows it.
    pub fn role_of(&self, dev_number: u32) -> Role {
        let index = usize::try_from(dev_number).unwrap_or(usize::MAX);
        self.roles.get(index).copied().unwrap_or(Role::Spare)
    }

    /// How much of a member the array uses, in sectors.
    pub(super) fn used(&self) -> u64 {
        match self.level {
            -1 | 0 => self.data_size,
            _ => self.size,
        }
    }
}

impl Found {
    /// Whether it is of a version that lies at the start of its device.
    pub(crate) const fn is_at_start(&self) -> bool {
        matches!(self.superblock.version, Version::V1_1 | Version::V1_2)
    }

    /// The lengths that a device with this label should have, in bytes, for labels that lie at
    /// the end of their device and do not say where that is.
    ///
    /// A label of version 0.90 at the end of a disk may be that of the disk or of a partition
    /// that ends with it. The array uses `size` of the device, which was what the device had
    /// when the array was made, less up to 128 KiB and rounding to chunks: so the smallest
    /// device that is long enough is the likely one. `None` for other versions, and for levels
    /// whose labels do not say how much they use.
    pub fn implied_device_bytes(&self) -> Option<Range<u64>> {
        let superblock = &self.superblock;
        if !matches!(superblock.version, Version::V0 { .. }) || superblock.size == 0 {
            return None;
        }
        let used = superblock.size.checked_mul(SECTOR_BYTES)?;
        let chunk = superblock.chunksize.saturating_mul(SECTOR_BYTES);
        let least = used.checked_add(v0::RESERVED_BYTES)?;
        let most = least.checked_add(v0::RESERVED_BYTES)?.checked_add(chunk)?;
        Some(least..most)
    }

    /// How many bytes of the device lie unused between the data and a label at its end; `None`
    /// if the data does not fit before the label.
    pub(super) fn slack(&self) -> Option<u64> {
        let superblock = &self.superblock;
        let end = superblock.data_offset.checked_add(superblock.used())?;
        let end = end.checked_mul(SECTOR_BYTES)?;
        match superblock.version {
            Version::V0 { .. } | Version::V1_0 => self.at.get().checked_sub(end),
            Version::V1_1 | Version::V1_2 => Some(0),
        }
    }
}

/// Where on a device of this length labels have their magic number, and the bytes of it.
pub(crate) fn places_of_magic(length: u64) -> Vec<Magic> {
    const NATIVE: &[u8] = &MD_SB_MAGIC.to_le_bytes();
    const SWAPPED: &[u8] = &MD_SB_MAGIC.to_be_bytes();
    let v1 = v1::places(length).map(|(_, sector)| sector.checked_mul(SECTOR_BYTES));
    let v0 = v0::place(length).map(ByteOffset::get);
    let native = v1.chain([v0]).flatten().map(|at| (at, NATIVE));
    native.chain(v0.map(|at| (at, SWAPPED))).collect()
}

/// The md labels of `device`, in the order of their versions: those that are to be believed,
/// and those that carry the magic number but have a [`Fault`].
pub fn read_superblocks(device: &dyn ReadAt, name: &DeviceName) -> Vec<Found> {
    let parsed = v0::read(device).into_iter().chain(v1::read(device));
    parsed
        .map(|(at, superblock, fault)| Found {
            device: name.clone(),
            device_bytes: device.len(),
            known_gaps: device.known_gaps(),
            at,
            superblock,
            fault,
        })
        .collect()
}
