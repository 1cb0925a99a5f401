//! The GUID partition table.
//!
//! Source: UEFI specification 2.10, section 5.3 (field names of table 5-5 and 5-6).

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};
use uuid::Uuid;

use super::{Partition, SECTOR_SIZES, Table, TableKind, mbr, past_end};
use crate::Magic;

/// The first bytes of a header.
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// The smallest header that the specification allows.
const HEADER_BYTES: u32 = 92;
/// Entries are read up to this many bytes: 128 entries of 128 bytes are usual, and a table of
/// sixteen thousand is more than any tool writes.
const MOST_ENTRY_BYTES: u64 = 2 << 20;

/// The fields of a header that say where the partitions are, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    my_lba: u64,
    alternate_lba: u64,
    first_usable_lba: u64,
    last_usable_lba: u64,
    disk_guid: [u8; 16],
    partition_entry_lba: u64,
    number_of_partition_entries: u32,
    size_of_partition_entry: u32,
    partition_entry_array_crc32: u32,
}

impl Header {
    /// The header in the sector `lba`, if its checksum holds and it says that it lies there.
    fn read(device: &dyn ReadAt, lba: u64, sector_bytes: u64) -> Option<Self> {
        let sector = device.read_whole(
            ByteOffset::new(lba.checked_mul(sector_bytes)?),
            usize::try_from(sector_bytes).ok()?,
        )?;
        let fields = Fields::new(&sector);
        if fields.slice(0, 8)? != SIGNATURE {
            return None;
        }
        let header_size = fields.le_u32(12)?;
        let header = fields.slice(0, usize::try_from(header_size).ok()?)?;
        if header_size < HEADER_BYTES || crc_without(header, 16)? != fields.le_u32(16)? {
            return None;
        }
        let this = Self {
            my_lba: fields.le_u64(24)?,
            alternate_lba: fields.le_u64(32)?,
            first_usable_lba: fields.le_u64(40)?,
            last_usable_lba: fields.le_u64(48)?,
            disk_guid: fields.array(56)?,
            partition_entry_lba: fields.le_u64(72)?,
            number_of_partition_entries: fields.le_u32(80)?,
            size_of_partition_entry: fields.le_u32(84)?,
            partition_entry_array_crc32: fields.le_u32(88)?,
        };
        (this.my_lba == lba && this.size_of_partition_entry >= 128).then_some(this)
    }

    /// The partitions, if the checksum of their array holds.
    fn partitions(&self, device: &dyn ReadAt, sector_bytes: u64) -> Option<Vec<Partition>> {
        let size = u64::from(self.size_of_partition_entry);
        let length = size.checked_mul(u64::from(self.number_of_partition_entries))?;
        if length > MOST_ENTRY_BYTES {
            return None;
        }
        let at = self.partition_entry_lba.checked_mul(sector_bytes)?;
        let array = device.read_whole(ByteOffset::new(at), usize::try_from(length).ok()?)?;
        if crc32fast::hash(&array) != self.partition_entry_array_crc32 {
            return None;
        }
        let entries = array.chunks_exact(usize::try_from(size).ok()?);
        Some(
            (1_u32..)
                .zip(entries)
                .filter_map(|(number, entry)| self.partition(number, entry, sector_bytes))
                .collect(),
        )
    }

    /// The partition of one entry; `None` if the entry is not used or turned inside out.
    fn partition(&self, number: u32, entry: &[u8], sector_bytes: u64) -> Option<Partition> {
        let fields = Fields::new(entry);
        let kind = fields.array::<16>(0)?;
        if kind == [0; 16] {
            return None;
        }
        let starting_lba = fields.le_u64(32)?;
        let ending_lba = fields.le_u64(40)?;
        if starting_lba < self.first_usable_lba || ending_lba > self.last_usable_lba {
            return None;
        }
        let sectors = ending_lba.checked_sub(starting_lba)?.checked_add(1)?;
        let name = fields.slice(56, 72)?.chunks_exact(2).map_while(|unit| {
            let unit = Fields::new(unit).le_u16(0)?;
            (unit != 0).then_some(unit)
        });
        Some(Partition {
            number,
            start: starting_lba.checked_mul(sector_bytes)?,
            bytes: sectors.checked_mul(sector_bytes)?,
            kind: Uuid::from_bytes_le(kind).to_string(),
            uuid: Some(Uuid::from_bytes_le(fields.array(16)?).to_string()),
            label: printable(&String::from_utf16_lossy(&name.collect::<Vec<_>>())),
        })
    }
}

/// The CRC-32 of `header` with the four bytes at `at`, which hold it, taken as zeros.
fn crc_without(header: &[u8], at: usize) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(..at)?);
    hasher.update(&[0; 4]);
    hasher.update(header.get(at.checked_add(4)?..)?);
    Some(hasher.finalize())
}

/// `text` without what could speak to a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Where on a device of this length a header has its signature, and the bytes of it.
pub(crate) fn places_of_magic(length: u64) -> Vec<Magic> {
    let places = SECTOR_SIZES.into_iter().flat_map(|sector_bytes| {
        let sectors = length.checked_div(sector_bytes);
        let last = sectors.and_then(|sectors| sectors.checked_sub(1)?.checked_mul(sector_bytes));
        [Some(sector_bytes), last]
    });
    places.flatten().map(|at| (at, &SIGNATURE[..])).collect()
}

/// Reads the GPT of `device` in sectors of `sector_bytes`.
///
/// The backup in the last sector is used where the primary one is broken, and a note says so.
pub fn read(device: &dyn ReadAt, sector_bytes: u64) -> Option<Table> {
    let last = device.len().checked_div(sector_bytes)?.checked_sub(1)?;
    let primary = Header::read(device, 1, sector_bytes);
    let from_primary = primary.and_then(|h| Some((h, h.partitions(device, sector_bytes)?)));
    let mut notes = Vec::new();
    let (header, partitions) = match from_primary {
        Some(found) => found,
        None => {
            // A primary header whose array is broken still knows where its backup lies, also
            // on a device that has grown since.
            let header = primary
                .and_then(|h| Header::read(device, h.alternate_lba, sector_bytes))
                .or_else(|| Header::read(device, last, sector_bytes))?;
            let partitions = header.partitions(device, sector_bytes)?;
            notes.push("the primary GPT is broken: the backup at the end is used".to_owned());
            (header, partitions)
        }
    };
    if notes.is_empty() && Header::read(device, header.alternate_lba, sector_bytes).is_none() {
        notes.push("the backup GPT at the end is missing or broken".to_owned());
    }
    notes.extend(hybrid(device, sector_bytes, &partitions));
    notes.extend(past_end(&partitions, device.len()));
    notes.push(format!(
        "disk GUID {}",
        Uuid::from_bytes_le(header.disk_guid)
    ));
    Some(Table {
        kind: TableKind::Gpt,
        sector_bytes,
        partitions,
        notes,
    })
}

/// What is to be said about a hybrid MBR: partitions of it that the GPT does not have.
fn hybrid(device: &dyn ReadAt, sector_bytes: u64, partitions: &[Partition]) -> Option<String> {
    if !mbr::is_protective(device) {
        return None;
    }
    let table = mbr::read(device, sector_bytes)?;
    let other = table
        .partitions
        .iter()
        .filter(|m| !partitions.iter().any(|g| g.start == m.start))
        .count();
    (other > 0).then(|| {
        format!("a hybrid MBR names {other} partitions that the GPT does not have: the GPT is used")
    })
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    fn header(my: u64, other: u64, array_at: u64, sectors: u64, array: &[u8]) -> Vec<u8> {
        let mut h = vec![0; 92];
        h[..8].copy_from_slice(SIGNATURE);
        h[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        h[12..16].copy_from_slice(&92_u32.to_le_bytes());
        for (at, value) in [
            (24, my),
            (32, other),
            (40, 6),
            (48, sectors - 6),
            (72, array_at),
        ] {
            h[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        h[80..84].copy_from_slice(&4_u32.to_le_bytes());
        h[84..88].copy_from_slice(&128_u32.to_le_bytes());
        h[88..92].copy_from_slice(&crc32fast::hash(array).to_le_bytes());
        let crc = crc32fast::hash(&h);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        h
    }

    fn disk(sector: usize, sectors: usize) -> Vec<u8> {
        let mut array = vec![0; 512];
        for (i, (start, end)) in [(10_u64, 19_u64), (30, 44)].into_iter().enumerate() {
            let entry = &mut array[i * 128..][..128];
            entry[..16].fill(0xA1);
            entry[16..32].fill(i as u8 + 1);
            entry[32..40].copy_from_slice(&start.to_le_bytes());
            entry[40..48].copy_from_slice(&end.to_le_bytes());
            entry[56..60].copy_from_slice(&[b'o', 0, 0x1B, 0]);
        }
        let last = sectors - 1;
        let mut disk = vec![0; sector * sectors];
        let first = header(1, last as u64, 2, sectors as u64, &array);
        let backup = header(last as u64, 1, last as u64 - 1, sectors as u64, &array);
        disk[sector..sector + 92].copy_from_slice(&first);
        disk[2 * sector..2 * sector + 512].copy_from_slice(&array);
        disk[last * sector..last * sector + 92].copy_from_slice(&backup);
        disk[(last - 1) * sector..(last - 1) * sector + 512].copy_from_slice(&array);
        disk
    }

    #[test]
    fn both_sector_sizes_are_read() {
        for sector in [512, 4096] {
            let table = super::super::read(&Memory::new(disk(sector, 64))).unwrap();
            let sector = sector as u64;
            assert_eq!(table.sector_bytes, sector);
            let found: Vec<_> = table
                .partitions
                .iter()
                .map(|p| {
                    (
                        p.number,
                        p.start / sector,
                        p.bytes / sector,
                        p.label.as_str(),
                    )
                })
                .collect();
            assert_eq!(found, [(1, 10, 10, "o"), (2, 30, 15, "o")]);
            assert_eq!(table.notes.len(), 1, "{:?}", table.notes);
        }
    }

    #[test]
    fn the_backup_serves_where_the_primary_is_broken() {
        for broken in [512 + 60, 1024 + 40] {
            let mut bytes = disk(512, 64);
            bytes[broken] ^= 1;
            let table = read(&Memory::new(bytes), 512).unwrap();
            assert_eq!(table.partitions.len(), 2);
            assert!(table.notes[0].contains("backup"), "{:?}", table.notes);
        }
        let mut bytes = disk(512, 64);
        bytes[512 + 60] ^= 1;
        bytes[63 * 512 + 60] ^= 1;
        assert_eq!(read(&Memory::new(bytes), 512), None);
    }
}
