//! From the fields of a label to the geometry of its array, with the kernel's roundings.

use evidence::SECTOR_BYTES;

use super::superblock::Superblock;
use crate::raid::{
    Geometry, Level, ParityDelay, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout,
};

/// A geometry, and what a person should know about how it was arrived at.
pub(super) struct Derived {
    pub(super) geometry: Geometry,
    pub(super) notes: Vec<String>,
}

/// The geometry of the array that `superblock` describes. `member_sectors` is what each role
/// gives to linear and RAID-0 arrays, `None` where the member is missing.
///
/// The error says what the label asks for that no array has.
pub(super) fn derive(
    superblock: &Superblock,
    member_sectors: &[Option<u64>],
) -> Result<Derived, String> {
    let mut notes = Vec::new();
    let chunk_bytes = superblock
        .chunksize
        .checked_mul(SECTOR_BYTES)
        .ok_or("a chunk size that overflows")?;
    let size = superblock
        .size
        .checked_mul(SECTOR_BYTES)
        .ok_or("a size that overflows")?;
    let members = superblock.raid_disks;
    let unknown = || format!("layout {} of level {}", superblock.layout, superblock.level);
    let level = match superblock.level {
        -1 => Level::Linear {
            member_bytes: member_bytes(superblock, member_sectors, &mut notes)?,
        },
        0 => Level::Raid0 {
            layout: raid0_layout(superblock, member_sectors, &mut notes)?,
            chunk_bytes,
            member_bytes: member_bytes(superblock, member_sectors, &mut notes)?,
        },
        1 => Level::Raid1 { members },
        4 => Level::Raid4 {
            chunk_bytes,
            members,
        },
        5 => Level::Raid5 {
            layout: Raid5Layout::from_number(superblock.layout).ok_or_else(unknown)?,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        },
        6 => Level::Raid6 {
            layout: Raid6Layout::from_number(superblock.layout).ok_or_else(unknown)?,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        },
        10 => Level::Raid10 {
            layout: Raid10Layout::from_word(superblock.layout).ok_or_else(unknown)?,
            chunk_bytes,
            members,
            member_bytes: size,
        },
        other => return Err(format!("level {other}")),
    };
    let mut geometry = Geometry::filling(level, size).map_err(|error| error.to_string())?;
    if let Level::Raid0 { member_bytes, .. } = &geometry.level {
        geometry.bytes = geometry.bytes.min(raid0_bytes(chunk_bytes, member_bytes));
    }
    Ok(Derived { geometry, notes })
}

/// The length of a RAID-0 array as `raid0_size` computes it: it masks with the chunk less one,
/// which for chunks that are no power of two takes more than the part of a chunk.
fn raid0_bytes(chunk_bytes: u64, member_bytes: &[u64]) -> u64 {
    let mask = (chunk_bytes / SECTOR_BYTES).saturating_sub(1);
    let masked = member_bytes.iter().map(|bytes| {
        let whole = bytes.saturating_sub(bytes.checked_rem(chunk_bytes).unwrap_or(0));
        ((whole / SECTOR_BYTES) & !mask).saturating_mul(SECTOR_BYTES)
    });
    masked.fold(0, u64::saturating_add)
}

/// What each member gives to a linear or RAID-0 array. A missing member is taken to be like the
/// others if those are alike, else like the smallest.
fn member_bytes(
    superblock: &Superblock,
    member_sectors: &[Option<u64>],
    notes: &mut Vec<String>,
) -> Result<Vec<u64>, String> {
    let known = || member_sectors.iter().copied().flatten();
    let guess = known().min().unwrap_or(0);
    if member_sectors.contains(&None) {
        let sure = if known().all(|sectors| sectors == guess) {
            "like the others"
        } else {
            "like the smallest of the others, which differ: what follows it may be misplaced"
        };
        notes.push(format!(
            "the size of missing members is not known; taken to be {sure}"
        ));
    }
    member_sectors
        .iter()
        .map(|sectors| {
            let sectors = sectors.unwrap_or(guess);
            // A linear array may have a chunk too: then its members give whole ones.
            let part = sectors.checked_rem(superblock.chunksize).unwrap_or(0);
            sectors
                .checked_sub(part)
                .and_then(|whole| whole.checked_mul(SECTOR_BYTES))
                .ok_or_else(|| "a member size that overflows".to_owned())
        })
        .collect()
}

/// The layout of a RAID-0 array, which matters only where members differ in size.
fn raid0_layout(
    superblock: &Superblock,
    member_sectors: &[Option<u64>],
    notes: &mut Vec<String>,
) -> Result<Raid0Layout, String> {
    match (superblock.raid0_layout, superblock.layout) {
        (true, 1) => return Ok(Raid0Layout::Original),
        (true, 2) => return Ok(Raid0Layout::Alternate),
        (true, other) => return Err(format!("layout {other} of level 0")),
        (false, _) => {}
    }
    let chunks = |sectors: u64| sectors.checked_div(superblock.chunksize);
    let mut sizes = member_sectors
        .iter()
        .flatten()
        .map(|sectors| chunks(*sectors));
    let first = sizes.next();
    if sizes.any(|size| Some(size) != first) {
        notes.push(
            "members differ in size and the label does not say how chunks are counted past the \
             end of the smaller ones: taken as Linux 3.14 and later do (layout \"alternate\"); \
             if files there are wrong, try \"original\""
                .to_owned(),
        );
    }
    Ok(Raid0Layout::Alternate)
}
