//! The label of a physical volume.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::{Id, crc};
use crate::Magic;

/// In which sectors a label is looked for (`LABEL_SCAN_SECTORS`).
const SCAN_SECTORS: u64 = 4;
/// `type` of `label_header`, and where it stands.
const TYPE: &[u8; 8] = b"LVM2 001";
const TYPE_AT: usize = 24;
/// The length of a label with all that it points to.
const LABEL_BYTES: usize = 512;
/// Where the checksummed part of `label_header` begins: behind `crc_xl`.
const CHECKED_FROM: usize = 20;
/// How many areas a list can hold in one sector.
const MOST_AREAS: usize = 32;

/// A range of the device (`disk_locn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskArea {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; 0 means to the end of the device.
    pub size: u64,
}

/// The label of a physical volume: `label_header`, `pv_header` and `pv_header_extension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The sector that it lies in.
    pub sector: u64,
    /// `pv_uuid`: which physical volume this is.
    pub pv_uuid: Id,
    /// `device_size_xl`: how long the device was when it was labelled, in bytes.
    pub device_size: u64,
    /// Where extents lie.
    pub data_areas: Vec<DiskArea>,
    /// Where metadata lies.
    pub metadata_areas: Vec<DiskArea>,
    /// `flags` of the extension; bit 0 says that a volume group uses the physical volume.
    pub extension_flags: u32,
    /// Areas for boot loaders.
    pub bootloader_areas: Vec<DiskArea>,
}

impl Label {
    /// Where labels have the magic number by which libblkid knows them, and the bytes of it.
    pub(crate) fn places_of_magic() -> Vec<Magic> {
        let sectors = (0..SCAN_SECTORS).map(|sector| sector.saturating_mul(SECTOR_BYTES));
        let places = sectors.map(|start| start.saturating_add(TYPE_AT as u64));
        places.map(|at| (at, &TYPE[..])).collect()
    }

    /// The label of `device`: the first one whose checksum holds in sectors 0 to 3.
    pub fn read(device: &dyn ReadAt) -> Option<Self> {
        (0..SCAN_SECTORS).find_map(|sector| {
            let at = ByteOffset::new(sector.checked_mul(SECTOR_BYTES)?);
            let bytes = device.read_whole(at, LABEL_BYTES)?;
            Self::parse(&bytes, sector)
        })
    }

    fn parse(bytes: &[u8], sector: u64) -> Option<Self> {
        let header = Fields::new(bytes);
        if header.slice(0, 8)? != b"LABELONE"
            || header.le_u64(8)? != sector
            || header.slice(TYPE_AT, TYPE.len())? != TYPE
            || crc(header.bytes().get(CHECKED_FROM..)?) != header.le_u32(16)?
        {
            return None;
        }
        let contents = usize::try_from(header.le_u32(20)?).ok()?;
        let pv = header.from(contents)?;
        let (data_areas, next) = areas(pv, 40)?;
        let (metadata_areas, next) = areas(pv, next)?;
        // The extension came later: without it, zeros stand here.
        let version = pv.le_u32(next).unwrap_or(0);
        let (extension_flags, bootloader_areas) = if version > 0 {
            let list = next.checked_add(8)?;
            let flags = pv.le_u32(next.checked_add(4)?)?;
            (flags, areas(pv, list).map_or_else(Vec::new, |(all, _)| all))
        } else {
            (0, Vec::new())
        };
        Some(Self {
            sector,
            pv_uuid: Id::new(pv.array(0)?)?,
            device_size: pv.le_u64(32)?,
            data_areas,
            metadata_areas,
            extension_flags,
            bootloader_areas,
        })
    }
}

/// The list of areas at `at`, which ends with an area at zero, and what comes behind it.
fn areas(fields: Fields<'_>, mut at: usize) -> Option<(Vec<DiskArea>, usize)> {
    let mut all = Vec::new();
    for _ in 0..MOST_AREAS {
        let area = DiskArea {
            offset: fields.le_u64(at)?,
            size: fields.le_u64(at.checked_add(8)?)?,
        };
        at = at.checked_add(16)?;
        if area.offset == 0 {
            return Some((all, at));
        }
        all.push(area);
    }
    None
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    fn disk(sector: usize) -> Vec<u8> {
        let mut label = vec![0; 512];
        label[..8].copy_from_slice(b"LABELONE");
        label[8] = sector as u8;
        label[20] = 32;
        label[24..32].copy_from_slice(b"LVM2 001");
        label[32..64].fill(b'u');
        label[64..72].copy_from_slice(&1_000_000_u64.to_le_bytes());
        for (at, value) in [(72, 65536_u64), (104, 4096), (112, 61440)] {
            label[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        label[136] = 2;
        label[140] = 1;
        let sum = crc(&label[20..]);
        label[16..20].copy_from_slice(&sum.to_le_bytes());
        let mut disk = vec![0; 8192];
        disk[sector * 512..sector * 512 + 512].copy_from_slice(&label);
        disk
    }

    #[test]
    fn a_label_is_found_in_the_first_four_sectors_only() {
        for sector in 0..4 {
            let label = Label::read(&Memory::new(disk(sector))).unwrap();
            assert_eq!(label.sector, sector as u64);
            assert_eq!(label.device_size, 1_000_000);
            assert_eq!(
                label.data_areas,
                [DiskArea {
                    offset: 65536,
                    size: 0
                }]
            );
            let mda = DiskArea {
                offset: 4096,
                size: 61440,
            };
            assert_eq!(label.metadata_areas, [mda]);
            assert_eq!(label.extension_flags, 1);
        }
        assert_eq!(Label::read(&Memory::new(disk(4))), None);
    }

    #[test]
    fn a_label_that_was_moved_or_changed_is_none() {
        let mut bytes = disk(1);
        bytes[512 + 70] ^= 1;
        assert_eq!(Label::read(&Memory::new(bytes)), None);
        let mut bytes = disk(1);
        bytes.copy_within(512..1024, 1024);
        bytes[512..1024].fill(0);
        assert_eq!(Label::read(&Memory::new(bytes)), None);
    }
}
