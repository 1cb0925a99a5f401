//! A virtual disk configuration record: how one basic virtual disk lies on its physical disks.

use evidence::{Fields, SECTOR_BYTES};

use super::label::Guid;
use crate::raid::{
    FarSets, Level, ParityDelay, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout,
};

/// Where the physical disk sequence begins.
const SEQUENCE: usize = 512;

/// Bytes of an element: the reference of its disk, and where it begins there.
const ELEMENT_BYTES: usize = 12;

/// `PD_Reference` of an element that no disk is.
const NO_DISK: u32 = u32::MAX;

/// A virtual disk configuration record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// `VD_GUID`.
    pub(super) guid: Guid,
    /// `Sequence_Number`.
    pub(super) sequence: u32,
    /// The disks, by role: `PD_Reference` and where on each the virtual disk begins, in bytes.
    pub(super) elements: Vec<(u32, u64)>,
    /// Bytes on one disk before the next one's turn.
    pub(super) chunk_bytes: u64,
    /// `PRL` and `RLQ`: the primary level and its qualifier.
    pub(super) level: (u8, u8),
    /// `Secondary_Element_Count`, `Secondary_Element_Seq` and `SRL`.
    pub(super) secondary: (u8, u8, u8),
    /// `Block_Count`: how much of each disk it has, in bytes.
    pub(super) member_bytes: u64,
    /// `Size`, in bytes.
    pub(super) bytes: u64,
    /// `Block_Size` of version 2.0, or what stands for none.
    block_bytes: u16,
}

impl Record {
    /// A record in `bytes`, whose physical disk sequence has room for at most so many elements.
    pub(super) fn read(bytes: &[u8], most_elements: usize) -> Option<Self> {
        let fields = Fields::new(bytes);
        let count = usize::from(fields.be_u16(64)?);
        let room = bytes.len().checked_sub(SEQUENCE)? / ELEMENT_BYTES;
        let slots = most_elements.min(room);
        let starts = slots.checked_mul(4)?.checked_add(SEQUENCE)?;
        let element = |number: usize| {
            let reference = fields.be_u32(number.checked_mul(4)?.checked_add(SEQUENCE)?)?;
            let start = fields.be_u64(number.checked_mul(8)?.checked_add(starts)?)?;
            let start = start.checked_mul(SECTOR_BYTES);
            (reference == NO_DISK || start.is_some()).then(|| (reference, start.unwrap_or(0)))
        };
        let elements: Option<Vec<(u32, u64)>> = (0..slots).map(element).collect();
        let mut elements = elements?;
        let is_used = |element: &(u32, u64)| element.0 != NO_DISK;
        let behind = elements.iter().skip(count).any(is_used);
        if behind && elements.iter().filter(|element| is_used(element)).count() == count {
            // Slots that are not used lie between those that are, and do not count.
            elements.retain(is_used);
        }
        elements.truncate(count);
        (count > 0 && elements.len() == count).then_some(())?;
        Some(Self {
            guid: Guid(fields.array(8)?),
            sequence: fields.be_u32(36)?,
            elements,
            // `Stripe_Size` is a power of two, in sectors; levels that have none are filled with ones.
            chunk_bytes: SECTOR_BYTES
                .checked_shl(u32::from(fields.u8(66)?))
                .unwrap_or(0),
            level: (fields.u8(67)?, fields.u8(68)?),
            secondary: (fields.u8(69)?, fields.u8(70)?, fields.u8(71)?),
            member_bytes: fields.be_u64(72)?.checked_mul(SECTOR_BYTES)?,
            bytes: fields.be_u64(80)?.checked_mul(SECTOR_BYTES)?,
            block_bytes: fields.be_u16(88)?,
        })
    }

    /// Whether it is one of several basic virtual disks that another level makes one of.
    pub(super) const fn is_part(&self) -> bool {
        self.secondary.0 > 1
    }

    /// Whether its parts are mirrors over which data goes in turns, striped or spanned: together they are
    /// a RAID-10, as which mdadm reads them as well.
    pub(super) const fn is_striped_mirror(&self) -> bool {
        self.is_part() && self.level.0 == 0x01 && matches!(self.secondary.2, 0x00 | 0x03)
    }

    /// Whether it is a chain, in which each disk gives what its own record says.
    pub(super) const fn is_chain(&self) -> bool {
        matches!(self.level.0, 0x0F | 0x1F)
    }

    /// Whether another record is of a part that is as this one is.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        let own = |one: &Self| {
            (
                one.level,
                one.secondary.0,
                one.secondary.2,
                one.elements.len(),
            )
        };
        own(self) == own(other)
            && self.chunk_bytes == other.chunk_bytes
            && self.member_bytes == other.member_bytes
    }

    /// The level of the disks of this record, or of all parts of a striped mirror; `member_bytes` is what
    /// each gives. The error says what it is that is not read.
    pub(super) fn to_level(&self, member_bytes: Vec<u64>) -> Result<Level, String> {
        let (primary, qualifier) = self.level;
        let members = u32::try_from(member_bytes.len()).unwrap_or(u32::MAX);
        let chunk_bytes = self.chunk_bytes;
        let unknown =
            || format!("primary RAID level {primary:#04x} with qualifier {qualifier:#04x}");
        let raid5 = |layout| Level::Raid5 {
            layout,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        };
        let raid6 = |layout| Level::Raid6 {
            layout,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        };
        let copies = |near, far| Level::Raid10 {
            layout: Raid10Layout {
                near,
                far,
                offset: far > 1,
                far_sets: FarSets::Whole,
            },
            chunk_bytes,
            members,
            member_bytes: self.member_bytes,
        };
        if !matches!(self.block_bytes, 0 | 512 | u16::MAX) {
            return Err(format!("blocks of {} bytes", self.block_bytes));
        }
        let level = match (primary, qualifier) {
            (0x01, _) if self.is_striped_mirror() => {
                copies(u32::try_from(self.elements.len()).unwrap_or(u32::MAX), 1)
            }
            (0x00, 0x00) => Level::Raid0 {
                layout: Raid0Layout::Alternate,
                chunk_bytes,
                member_bytes,
            },
            (0x01, _) => Level::Raid1 { members },
            _ if self.is_chain() => Level::Linear { member_bytes },
            (0x04, 0x00) => raid5(Raid5Layout::ParityFirst),
            (0x04, 0x01) => Level::Raid4 {
                chunk_bytes,
                members,
            },
            (0x05, 0x00) => raid5(Raid5Layout::RightAsymmetric),
            (0x05, 0x02) => raid5(Raid5Layout::LeftAsymmetric),
            (0x05, 0x03) => raid5(Raid5Layout::LeftSymmetric),
            (0x06, 0x01) => raid6(Raid6Layout::DdfZeroRestart),
            (0x06, 0x02) => raid6(Raid6Layout::DdfNRestart),
            (0x06, 0x03) => raid6(Raid6Layout::DdfNContinue),
            (0x11, 0x00) => copies(2, 1),
            (0x11, 0x01) => copies(1, 2),
            _ => return Err(unknown()),
        };
        Ok(level)
    }
}
