//! Labels of version 0.90: `mdp_super_t`, 1024 words in the byte order of the machine that
//! wrote them, 64 KiB to 128 KiB before the device's end.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::superblock::{Fault, MAX_SECTOR, MD_SB_MAGIC, Reshape, Role, Superblock, Uuid, Version};
use super::v1::fold;

/// What the label keeps for itself at the end of the device, `MD_RESERVED_BYTES`.
pub(super) const RESERVED_BYTES: u64 = 64 * 1024;

/// `MD_SB_BYTES`.
const LABEL_BYTES: usize = 4096;

/// `MD_SB_DISKS`, and how many words the descriptor of each takes.
const DISKS: u32 = 27;
const DISK_WORDS: u32 = 32;

/// Word numbers, by the names of `mdp_super_t`.
mod word {
    pub(super) const MAJOR_VERSION: u32 = 1;
    pub(super) const MINOR_VERSION: u32 = 2;
    pub(super) const SET_UUID0: u32 = 5;
    pub(super) const CTIME: u32 = 6;
    pub(super) const LEVEL: u32 = 7;
    pub(super) const SIZE: u32 = 8;
    pub(super) const RAID_DISKS: u32 = 10;
    pub(super) const SET_UUID1: u32 = 13;
    pub(super) const UTIME: u32 = 32;
    pub(super) const STATE: u32 = 33;
    pub(super) const SB_CSUM: u32 = 38;
    pub(super) const EVENTS: u32 = 39;
    pub(super) const CP_EVENTS: u32 = 41;
    pub(super) const RECOVERY_CP: u32 = 43;
    pub(super) const RESHAPE_POSITION: u32 = 44;
    pub(super) const NEW_LEVEL: u32 = 46;
    pub(super) const DELTA_DISKS: u32 = 47;
    pub(super) const NEW_LAYOUT: u32 = 48;
    pub(super) const NEW_CHUNK: u32 = 49;
    pub(super) const LAYOUT: u32 = 64;
    pub(super) const CHUNK_SIZE: u32 = 65;
    pub(super) const DISKS: u32 = 128;
    pub(super) const THIS_DISK: u32 = 992;
}

/// Bit `MD_SB_CLEAN` of `state`.
const CLEAN: u32 = 1;

/// Bits of a disk's state.
const MD_DISK_FAULTY: u32 = 1;
const MD_DISK_ACTIVE_SYNC: u32 = 6;

/// The one place where a 0.90 label may lie on a device of this length.
pub(super) fn place(length: u64) -> Option<ByteOffset> {
    let whole = length.checked_div(RESERVED_BYTES)?;
    let at = whole.checked_sub(1)?.checked_mul(RESERVED_BYTES)?;
    Some(ByteOffset::new(at))
}

/// The label at the place where a 0.90 label may lie, in either byte order.
pub(super) fn read(device: &dyn ReadAt) -> Option<(ByteOffset, Superblock, Option<Fault>)> {
    let at = place(device.len())?;
    let magic = device.read_whole(at, 4)?;
    let fields = Fields::new(&magic);
    let big_endian = match (fields.le_u32(0)?, fields.be_u32(0)?) {
        (MD_SB_MAGIC, _) => false,
        (_, MD_SB_MAGIC) => true,
        _ => return None,
    };
    let label = device.read_whole(at, LABEL_BYTES)?;
    let words = Words {
        fields: Fields::new(&label),
        big_endian,
    };
    if words.get(word::MAJOR_VERSION)? != 0 {
        return None;
    }
    let superblock = words.parse(at)?;
    let (stored, computed) = words.checksums()?;
    // Old kernels summed in another way, whose results agree once folded to 16 bits: the
    // kernel compares them so.
    let fault = (half(stored) != half(computed)).then_some(Fault::Checksum { stored, computed });
    let too_long = superblock.level > 0 && superblock.size > superblock.data_size;
    let fault = fault.or_else(|| {
        too_long.then(|| {
            let (size, there) = (superblock.size, superblock.data_size);
            Fault::Contradiction(format!("it uses {size} sectors of a device of {there}"))
        })
    });
    Some((at, superblock, fault))
}

/// A checksum of 32 bits folded to 16.
fn half(sum: u32) -> u32 {
    let once = (sum & 0xffff).wrapping_add(sum >> 16);
    (once & 0xffff).wrapping_add(once >> 16)
}

/// The words of a label.
#[derive(Clone, Copy)]
struct Words<'a> {
    fields: Fields<'a>,
    big_endian: bool,
}

impl Words<'_> {
    fn get(self, number: u32) -> Option<u32> {
        let at = usize::try_from(number).ok()?.checked_mul(4)?;
        if self.big_endian {
            self.fields.be_u32(at)
        } else {
            self.fields.le_u32(at)
        }
    }

    /// A 64-bit number in the machine's own order of words.
    fn pair(self, number: u32) -> Option<u64> {
        let (first, second) = (self.get(number)?, self.get(number.checked_add(1)?)?);
        let (low, high) = if self.big_endian {
            (second, first)
        } else {
            (first, second)
        };
        Some(u64::from(high) << 32 | u64::from(low))
    }

    /// A signed number.
    fn signed(self, number: u32) -> Option<i32> {
        self.get(number).map(u32::cast_signed)
    }

    fn checksums(self) -> Option<(u32, u32)> {
        let stored = self.get(word::SB_CSUM)?;
        let words = u32::try_from(LABEL_BYTES).ok()?.checked_div(4)?;
        let sum: u64 = (0..words)
            .filter_map(|number| self.get(number))
            .map(u64::from)
            .sum();
        Some((stored, fold(sum.saturating_sub(u64::from(stored)))))
    }

    /// The role in the descriptor that begins at word `at`, and the device's number.
    fn disk(self, at: u32) -> Option<(u32, Role)> {
        let (number, raid_disk) = (self.get(at)?, self.get(at.checked_add(3)?)?);
        let state = self.get(at.checked_add(4)?)?;
        let role = if state & MD_DISK_FAULTY != 0 {
            Role::Faulty
        } else if state & MD_DISK_ACTIVE_SYNC == MD_DISK_ACTIVE_SYNC {
            Role::Active(raid_disk)
        } else {
            Role::Spare
        };
        Some((number, role))
    }

    fn parse(self, at: ByteOffset) -> Option<Superblock> {
        let (dev_number, role) = self.disk(word::THIS_DISK)?;
        let disk_at = |index: u32| word::DISKS.checked_add(index.checked_mul(DISK_WORDS)?);
        let roles = (0..DISKS).map(|index| Some(self.disk(disk_at(index)?)?.1));
        let (level, events) = (self.signed(word::LEVEL)?, self.pair(word::EVENTS)?);
        let uuid = [
            word::SET_UUID0,
            word::SET_UUID1,
            word::SET_UUID1 + 1,
            word::SET_UUID1 + 2,
        ];
        let mut set_uuid = [0; 16];
        for (bytes, number) in set_uuid.as_chunks_mut::<4>().0.iter_mut().zip(uuid) {
            *bytes = self.get(number)?.to_be_bytes();
        }
        // The checkpoint counts only if it is as new as the label; else all is to be checked.
        let checkpoint = self.pair(word::CP_EVENTS)? == events;
        let resync_offset = match self.get(word::STATE)? & CLEAN {
            CLEAN => MAX_SECTOR,
            _ if checkpoint && self.get(word::RECOVERY_CP)? == u32::MAX => MAX_SECTOR,
            _ if checkpoint => u64::from(self.get(word::RECOVERY_CP)?),
            _ => 0,
        };
        Some(Superblock {
            version: Version::V0 {
                big_endian: self.big_endian,
            },
            set_uuid: Uuid(set_uuid),
            set_name: String::new(),
            device_uuid: None,
            ctime: u64::from(self.get(word::CTIME)?),
            utime: u64::from(self.get(word::UTIME)?),
            events,
            level,
            layout: self.get(word::LAYOUT)?,
            chunksize: u64::from(self.get(word::CHUNK_SIZE)?).checked_div(SECTOR_BYTES)?,
            raid_disks: self.get(word::RAID_DISKS)?,
            // `size` counts KiB.
            size: u64::from(self.get(word::SIZE)?).checked_mul(2)?,
            data_offset: 0,
            data_size: at.get().checked_div(SECTOR_BYTES)?,
            dev_number,
            role,
            roles: roles.collect::<Option<Vec<_>>>()?,
            recovery_offset: None,
            replacement: false,
            resync_offset: (resync_offset != MAX_SECTOR).then_some(resync_offset),
            reshape: self.reshape()?,
            journaled: false,
            raid0_layout: false,
            bad_blocks: Vec::new(),
            bad_blocks_unknown: false,
        })
    }

    /// The reshape under way, which a minor version above 90 announces.
    #[expect(
        clippy::option_option,
        reason = "outside: a label cut short; inside: no reshape"
    )]
    fn reshape(self) -> Option<Option<Reshape>> {
        if self.get(word::MINOR_VERSION)? <= 90 {
            return Some(None);
        }
        Some(Some(Reshape {
            reshape_position: self.pair(word::RESHAPE_POSITION)?,
            new_level: self.signed(word::NEW_LEVEL)?,
            new_layout: self.get(word::NEW_LAYOUT)?,
            new_chunk: self.get(word::NEW_CHUNK)?.checked_div(512)?,
            delta_disks: self.signed(word::DELTA_DISKS)?,
        }))
    }
}
