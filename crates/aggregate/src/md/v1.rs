//! Labels of version 1.x: `struct mdp_superblock_1`, little-endian.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::superblock::{
    BadSectors, Fault, MAX_SECTOR, MD_SB_MAGIC, Reshape, Role, Superblock, Uuid, Version,
};

/// The fixed part of the label; `dev_roles` follow it, two bytes each.
const FIXED_BYTES: usize = 256;

/// What the label with all its roles may take.
const LABEL_BYTES: usize = 4096;

/// The offset of `sb_csum`.
const SB_CSUM: usize = 216;

const MD_FEATURE_RECOVERY_OFFSET: u32 = 2;
const MD_FEATURE_RESHAPE_ACTIVE: u32 = 4;
const MD_FEATURE_BAD_BLOCKS: u32 = 8;
const MD_FEATURE_REPLACEMENT: u32 = 16;
const MD_FEATURE_JOURNAL: u32 = 512;
const MD_FEATURE_RAID0_LAYOUT: u32 = 4096;

const MD_DISK_ROLE_SPARE: u16 = 0xffff;
const MD_DISK_ROLE_FAULTY: u16 = 0xfffe;
const MD_DISK_ROLE_JOURNAL: u16 = 0xfffd;

/// Seconds of `ctime` and `utime`; the bits above are microseconds.
const MD_SUPERBLOCK_1_TIME_SEC_MASK: u64 = (1 << 40) - 1;

/// Most sectors that the bad block log may take: the kernel reads one page of it.
const MOST_LOG_SECTORS: u16 = 8;

/// The three places where a 1.x label may lie on a device of this length, in sectors.
pub(super) fn places(length: u64) -> impl Iterator<Item = (Version, u64)> {
    let sectors = length / SECTOR_BYTES;
    // 1.0 leaves 8 KiB to 12 KiB at the end, 4 KiB aligned.
    let near_end = sectors.checked_sub(16).map(|sector| sector & !7);
    let near_end = near_end.map(|sector| (Version::V1_0, sector));
    let at_start = [(Version::V1_1, 0), (Version::V1_2, 8)];
    near_end.into_iter().chain(at_start)
}

/// The labels at the places where a 1.x label may lie.
pub(super) fn read(device: &dyn ReadAt) -> Vec<(ByteOffset, Superblock, Option<Fault>)> {
    places(device.len())
        .filter_map(|(version, sector)| read_at(device, version, sector))
        .collect()
}

fn read_at(
    device: &dyn ReadAt,
    version: Version,
    sector: u64,
) -> Option<(ByteOffset, Superblock, Option<Fault>)> {
    let at = ByteOffset::new(sector.checked_mul(SECTOR_BYTES)?);
    let there = usize::try_from(device.len().checked_sub(at.get())?).unwrap_or(usize::MAX);
    // Most devices have no label: do not read 4 KiB to learn that. Then take the whole label,
    // or at least the part that its checksum covers if the rest cannot be read.
    let magic = device.read_whole(at, 8.min(there))?;
    let fields = Fields::new(&magic);
    if fields.le_u32(0)? != MD_SB_MAGIC || fields.le_u32(4)? != 1 {
        return None;
    }
    let fixed = device.read_whole(at, FIXED_BYTES)?;
    let max_dev = usize::try_from(Fields::new(&fixed).le_u32(220)?).ok()?;
    let length = max_dev.checked_mul(2)?.checked_add(FIXED_BYTES)?;
    if length > LABEL_BYTES {
        return None;
    }
    let label = device.read_whole(at, length)?;
    let fields = Fields::new(&label);
    let mut superblock = parse(fields, version)?;
    let fault = fault(fields, &superblock, sector)?;
    if fault.is_none() {
        read_bad_blocks(device, fields, sector, &mut superblock);
    }
    Some((at, superblock, fault))
}

fn parse(fields: Fields<'_>, version: Version) -> Option<Superblock> {
    let feature_map = fields.le_u32(8)?;
    let has = |feature: u32| feature_map & feature != 0;
    let dev_number = fields.le_u32(160)?;
    let roles: Vec<Role> = fields
        .from(FIXED_BYTES)?
        .bytes()
        .chunks_exact(2)
        .filter_map(|pair| Fields::new(pair).le_u16(0))
        .map(role)
        .collect();
    let own = usize::try_from(dev_number)
        .ok()
        .and_then(|index| roles.get(index));
    let resync_offset = fields.le_u64(208)?;
    Some(Superblock {
        version,
        set_uuid: Uuid(fields.array(16)?),
        set_name: name(fields.slice(32, 32)?),
        device_uuid: Some(Uuid(fields.array(168)?)),
        ctime: fields.le_u64(64)? & MD_SUPERBLOCK_1_TIME_SEC_MASK,
        utime: fields.le_u64(192)? & MD_SUPERBLOCK_1_TIME_SEC_MASK,
        events: fields.le_u64(200)?,
        level: fields.le_i32(72)?,
        layout: fields.le_u32(76)?,
        chunksize: u64::from(fields.le_u32(88)?),
        raid_disks: fields.le_u32(92)?,
        size: fields.le_u64(80)?,
        data_offset: fields.le_u64(128)?,
        data_size: fields.le_u64(136)?,
        dev_number,
        role: own.copied().unwrap_or(Role::Spare),
        roles,
        recovery_offset: has(MD_FEATURE_RECOVERY_OFFSET)
            .then(|| fields.le_u64(152))
            .flatten()
            .filter(|offset| *offset != MAX_SECTOR),
        replacement: has(MD_FEATURE_REPLACEMENT),
        resync_offset: (resync_offset != MAX_SECTOR).then_some(resync_offset),
        reshape: has(MD_FEATURE_RESHAPE_ACTIVE)
            .then(|| reshape(fields))
            .flatten(),
        journaled: has(MD_FEATURE_JOURNAL),
        raid0_layout: has(MD_FEATURE_RAID0_LAYOUT),
        bad_blocks: Vec::new(),
        bad_blocks_unknown: false,
    })
}

fn reshape(fields: Fields<'_>) -> Option<Reshape> {
    Some(Reshape {
        new_level: fields.le_i32(100)?,
        reshape_position: fields.le_u64(104)?,
        delta_disks: fields.le_i32(112)?,
        new_layout: fields.le_u32(116)?,
        new_chunk: fields.le_u32(120)?,
    })
}

const fn role(word: u16) -> Role {
    match word {
        MD_DISK_ROLE_SPARE => Role::Spare,
        MD_DISK_ROLE_FAULTY => Role::Faulty,
        MD_DISK_ROLE_JOURNAL => Role::Journal,
        active => Role::Active(active as u32),
    }
}

/// `set_name` up to its first zero.
fn name(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// What is wrong with the label, by the checks that the kernel makes (`super_1_load`).
#[expect(
    clippy::option_option,
    reason = "outside: a label cut short; inside: no fault"
)]
fn fault(fields: Fields<'_>, superblock: &Superblock, sector: u64) -> Option<Option<Fault>> {
    let stored = fields.le_u32(SB_CSUM)?;
    let computed = checksum(fields, stored);
    if stored != computed {
        return Some(Some(Fault::Checksum { stored, computed }));
    }
    let super_offset = fields.le_u64(144)?;
    if super_offset != sector {
        return Some(Some(Fault::Misplaced { super_offset }));
    }
    let contradiction = if superblock.size > superblock.data_size {
        Some(format!(
            "it uses {} sectors of a device that has {} for data",
            superblock.size, superblock.data_size
        ))
    } else {
        None
    };
    Some(contradiction.map(Fault::Contradiction))
}

/// The sum of all words of the label but its checksum, the carries added in again.
fn checksum(fields: Fields<'_>, stored: u32) -> u32 {
    let (words, rest) = fields.bytes().as_chunks::<4>();
    let mut sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)))
        .sum();
    sum = sum.saturating_sub(u64::from(stored));
    if let [low, high] = *rest {
        sum = sum.saturating_add(u64::from(u16::from_le_bytes([low, high])));
    }
    fold(sum)
}

/// The low half of `sum` plus its high half, in 32 bits.
pub(super) fn fold(sum: u64) -> u32 {
    let low = u32::try_from(sum & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(sum >> 32).unwrap_or(0);
    low.wrapping_add(high)
}

/// Reads the log of bad blocks: 64-bit words of 54 bits start and 10 bits length.
fn read_bad_blocks(
    device: &dyn ReadAt,
    fields: Fields<'_>,
    sector: u64,
    superblock: &mut Superblock,
) {
    let features = fields.le_u32(8).unwrap_or(0);
    let size = fields.le_u16(186).unwrap_or(0);
    if features & MD_FEATURE_BAD_BLOCKS == 0 || size == 0 {
        return;
    }
    let place = || {
        let start = sector.checked_add_signed(i64::from(fields.le_i32(188)?))?;
        let at = ByteOffset::new(start.checked_mul(SECTOR_BYTES)?);
        let length = usize::from(size).checked_mul(512)?;
        (size <= MOST_LOG_SECTORS).then(|| device.read_whole(at, length))?
    };
    let shift = u32::from(fields.u8(185).unwrap_or(0));
    let Some(log) = place() else {
        superblock.bad_blocks_unknown = true;
        return;
    };
    for word in log.as_chunks::<8>().0 {
        let entry = u64::from_le_bytes(*word);
        if entry == u64::MAX {
            break;
        }
        let (start, sectors) = (entry >> 10, entry & 0x3ff);
        if let (Some(start), Some(sectors)) = (shifted(start, shift), shifted(sectors, shift))
            && sectors > 0
        {
            superblock.bad_blocks.push(BadSectors { start, sectors });
        }
    }
}

/// `value · 2^shift`, unless that overflows.
fn shifted(value: u64, shift: u32) -> Option<u64> {
    value.checked_mul(1_u64.checked_shl(shift)?)
}
