//! The DOS partition table: four entries in the master boot record, and chains of extended
//! boot records below an extended partition.
//!
//! Source: UEFI specification 2.10, section 5.2.1 (field names), and how Linux numbers logical
//! partitions (`block/partitions/msdos.c`).

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::{Partition, SECTOR_SIZES, Table, TableKind, apart, past_end};
use crate::Magic;

/// Where the four entries begin.
const PARTITION_RECORD: usize = 446;
/// The length of an entry.
const RECORD_BYTES: usize = 16;
/// Where the signature 0x55 0xAA stands.
const SIGNATURE: usize = 510;
/// How many logical partitions are followed: Linux stops at 255.
const MOST_LOGICAL: usize = 255;

/// The type of a protective entry, which covers a GPT disk.
const GPT_PROTECTIVE: u8 = 0xEE;

/// An entry as it is on disk, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    boot_indicator: u8,
    os_type: u8,
    starting_lba: u64,
    size_in_lba: u64,
}

impl Record {
    fn read(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            boot_indicator: fields.u8(0)?,
            os_type: fields.u8(4)?,
            starting_lba: u64::from(fields.le_u32(8)?),
            size_in_lba: u64::from(fields.le_u32(12)?),
        })
    }

    const fn is_used(self) -> bool {
        self.os_type != 0 && self.size_in_lba != 0
    }

    const fn is_extended(self) -> bool {
        matches!(self.os_type, 0x05 | 0x0F | 0x85)
    }
}

/// The four records of the boot record at `at`, if its signature is there.
fn records(device: &dyn ReadAt, at: u64) -> Option<Vec<Record>> {
    let sector = device.read_whole(ByteOffset::new(at), 512)?;
    let fields = Fields::new(&sector);
    if fields.array(SIGNATURE)? != [0x55, 0xAA] {
        return None;
    }
    fields
        .slice(PARTITION_RECORD, 4 * RECORD_BYTES)?
        .chunks_exact(RECORD_BYTES)
        .map(|record| Record::read(Fields::new(record)))
        .collect()
}

/// Where the signature stands, and the bytes of it.
pub(crate) const PLACE_OF_MAGIC: Magic = (SIGNATURE as u64, &[0x55, 0xAA]);

/// Whether the first sector is a table in all that a table is known by but its signature, which proves nothing here:
/// one that makes sense, with nothing in entries that are not used, and in those that are the old addresses by
/// cylinder, head and sector, which all programs still fill in.
pub(crate) fn is_surely_one(device: &dyn ReadAt) -> bool {
    let Some(sector) = device.read_whole(ByteOffset::ZERO, 512) else {
        return false;
    };
    let fields = Fields::new(&sector);
    // The two bytes behind the disk's signature are zeros.
    let is_reserved_clear = fields.le_u16(PARTITION_RECORD - 2) == Some(0);
    let records = fields.slice(PARTITION_RECORD, 4 * RECORD_BYTES);
    let mut records = records.unwrap_or_default().chunks_exact(RECORD_BYTES);
    let is_filled_in = records.all(|bytes| {
        let record = Fields::new(bytes);
        let is_used = Record::read(record).is_some_and(Record::is_used);
        match record.slice(5, 3) {
            Some(ending_chs) if is_used => *ending_chs != [0; 3],
            _ => bytes.iter().all(|byte| *byte == 0),
        }
    });
    let mut sizes = SECTOR_SIZES.into_iter();
    is_reserved_clear
        && is_filled_in
        && sizes.any(|sector_bytes| read(device, sector_bytes).is_some())
}

/// Whether the master boot record of `device` only protects a GPT.
pub fn is_protective(device: &dyn ReadAt) -> bool {
    records(device, 0).is_some_and(|all| all.iter().any(|r| r.os_type == GPT_PROTECTIVE))
}

/// Reads the master boot record of `device` and the chains below it, in sectors of
/// `sector_bytes`; `None` if there is none or its entries cannot be true.
pub fn read(device: &dyn ReadAt, sector_bytes: u64) -> Option<Table> {
    let records = records(device, 0)?;
    let mut notes = Vec::new();
    if !plausible(&records, sector_bytes, device.len()) {
        return None;
    }
    let mut partitions = Vec::new();
    for (number, record) in (1..).zip(&records) {
        if record.is_used() && !record.is_extended() && record.os_type != GPT_PROTECTIVE {
            partitions.push(partition(number, *record, 0, sector_bytes)?);
        }
    }
    for record in records.iter().filter(|r| r.is_used() && r.is_extended()) {
        logical(device, *record, sector_bytes, &mut partitions, &mut notes);
    }
    if partitions.is_empty() {
        return None;
    }
    notes.extend(past_end(&partitions, device.len()));
    Some(Table {
        kind: TableKind::Mbr,
        sector_bytes,
        partitions,
        notes,
    })
}

/// Whether the records can be those of a partition table: known status bytes, ranges that
/// begin behind the table and inside the device, none over another.
///
/// A range may end past the end of the device, since an image cut short is common evidence,
/// but one that would need more than twice the device is noise.
fn plausible(records: &[Record], sector_bytes: u64, length: u64) -> bool {
    let mut ranges = Vec::new();
    for record in records {
        if !matches!(record.boot_indicator, 0 | 0x80) {
            return false;
        }
        if !record.is_used() {
            continue;
        }
        let start = record.starting_lba.saturating_mul(sector_bytes);
        let bytes = record.size_in_lba.saturating_mul(sector_bytes);
        let most = length.saturating_mul(2);
        if start == 0 || start >= length || start.saturating_add(bytes) > most {
            return false;
        }
        ranges.push((start, bytes));
    }
    !ranges.is_empty() && apart(&mut ranges)
}

/// Follows the chain of extended boot records in `extended` and adds its logical partitions.
///
/// In each boot record the first entry counts from that record, the entry of the next record
/// from the start of the extended partition. A chain must go forward, so it ends.
fn logical(
    device: &dyn ReadAt,
    extended: Record,
    sector_bytes: u64,
    partitions: &mut Vec<Partition>,
    notes: &mut Vec<String>,
) {
    let mut at = extended.starting_lba;
    let end = at.saturating_add(extended.size_in_lba);
    let mut number = partitions.iter().map(|p| p.number).fold(4, u32::max);
    for _ in 0..MOST_LOGICAL {
        let Some(records) = records(device, at.saturating_mul(sector_bytes)) else {
            notes.push(format!(
                "the chain of logical partitions breaks at sector {at}: what comes after it is not listed"
            ));
            return;
        };
        for record in records.iter().filter(|r| r.is_used() && !r.is_extended()) {
            number = number.saturating_add(1);
            partitions.extend(partition(number, *record, at, sector_bytes));
        }
        let Some(next) = records.iter().find(|r| r.is_used() && r.is_extended()) else {
            return;
        };
        let next_at = extended.starting_lba.saturating_add(next.starting_lba);
        if next_at <= at || next_at >= end {
            notes.push(format!(
                "the chain of logical partitions goes from sector {at} to {next_at}, which cannot be: it is cut there"
            ));
            return;
        }
        at = next_at;
    }
}

/// The partition that `record` describes, with sectors counted from `base`.
fn partition(number: u32, record: Record, base: u64, sector_bytes: u64) -> Option<Partition> {
    Some(Partition {
        number,
        start: base
            .checked_add(record.starting_lba)?
            .checked_mul(sector_bytes)?,
        bytes: record.size_in_lba.checked_mul(sector_bytes)?,
        kind: format!("{:02x}", record.os_type),
        uuid: None,
        label: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    fn entry(status: u8, kind: u8, start: u32, count: u32) -> [u8; 16] {
        let mut entry = [0; 16];
        entry[0] = status;
        entry[4] = kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&count.to_le_bytes());
        entry
    }

    fn write(disk: &mut [u8], sector: usize, entries: &[[u8; 16]]) {
        let at = sector * 512;
        for (i, entry) in entries.iter().enumerate() {
            disk[at + 446 + i * 16..][..16].copy_from_slice(entry);
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xAA]);
    }

    fn numbers(table: &Table) -> Vec<(u32, u64, u64)> {
        table
            .partitions
            .iter()
            .map(|p| (p.number, p.start / 512, p.bytes / 512))
            .collect()
    }

    #[test]
    fn logical_partitions_are_counted_from_five() {
        let mut disk = vec![0; 512 * 1000];
        write(
            &mut disk,
            0,
            &[entry(0x80, 0x83, 10, 90), entry(0, 5, 100, 300)],
        );
        write(
            &mut disk,
            100,
            &[entry(0, 0xFD, 10, 50), entry(0, 5, 100, 100)],
        );
        write(&mut disk, 200, &[entry(0, 0x8E, 1, 99)]);
        let table = read(&Memory::new(disk), 512).unwrap();
        assert_eq!(numbers(&table), [(1, 10, 90), (5, 110, 50), (6, 201, 99)]);
        assert!(table.notes.is_empty());
    }

    #[test]
    fn a_chain_that_goes_round_is_cut() {
        let mut disk = vec![0; 512 * 1000];
        write(&mut disk, 0, &[entry(0, 5, 100, 300)]);
        write(&mut disk, 100, &[entry(0, 0x83, 1, 9), entry(0, 5, 50, 9)]);
        write(&mut disk, 150, &[entry(0, 0x83, 1, 9), entry(0, 5, 50, 9)]);
        let table = read(&Memory::new(disk), 512).unwrap();
        assert_eq!(numbers(&table), [(5, 101, 9), (6, 151, 9)]);
        assert_eq!(table.notes.len(), 1);
    }

    #[test]
    fn a_boot_sector_with_code_where_entries_should_be_is_no_table() {
        let mut disk = vec![0; 512 * 1000];
        write(&mut disk, 0, &[entry(0x6F, 0x20, 0x6572_6120, 0x7461)]);
        assert_eq!(read(&Memory::new(disk.clone()), 512), None);
        // Known status bytes, but the ranges lie over each other or outside.
        write(
            &mut disk,
            0,
            &[entry(0, 0x83, 10, 90), entry(0, 0x83, 50, 90)],
        );
        assert_eq!(read(&Memory::new(disk.clone()), 512), None);
        write(&mut disk, 0, &[entry(0, 0x83, 5000, 90), [0; 16]]);
        assert_eq!(read(&Memory::new(disk.clone()), 512), None);
        write(&mut disk, 0, &[[0; 16]]);
        assert_eq!(read(&Memory::new(disk), 512), None);
    }
}
