//! The structures of one disk: the header that is found from its end, and the sections that it names.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::record::Record;
use crate::document::DeviceName;

/// `Signature` of the DDF header, the physical disk records, the virtual disk records, the physical disk
/// data and a virtual disk configuration record.
const DDF_HEADER: u32 = 0xDE11_DE11;
const PHYSICAL_DISK_RECORDS: u32 = 0x2222_2222;
const PHYSICAL_DISK_DATA: u32 = 0x3333_3333;
const VIRTUAL_DISK_RECORDS: u32 = 0xDDDD_DDDD;
const CONFIGURATION_RECORD: u32 = 0xEEEE_EEEE;

/// `DDF_Header_type`; the anchor in the last sector has 0.
const PRIMARY: u8 = 1;
const SECONDARY: u8 = 2;

/// How far from the end of a disk a header is looked for if its last sector holds none.
const SEARCHED: u64 = 32 << 20;
const STEP: u64 = 1 << 20;

/// The longest section that is believed: 4096 records of 4096 elements would be longer, and have not been
/// seen.
const MOST_SECTION: u64 = 16 << 20;

/// The beginning of DDF's time, in seconds of Unix time.
const YEAR_1980: u64 = 315_532_800;

/// Most physical disks, virtual disks and records that the specification lets be.
const MOST_ENTRIES: usize = 4095;

/// `Max_Primary_Element_Entries` of controllers that do not say it.
const NOT_STATED: u16 = u16::MAX;

const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 64;

/// A GUID of a disk, a virtual disk or a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Guid(pub(super) [u8; 24]);

impl Guid {
    /// When it was made, in seconds of Unix time, as far as its maker says so.
    pub(super) fn created(&self) -> u64 {
        let seconds = Fields::new(&self.0).be_u32(16).unwrap_or(0);
        u64::from(seconds).saturating_add(YEAR_1980)
    }

    /// Its last bytes, which tell virtual disks of one maker apart, in hexadecimal digits.
    pub(super) fn short(&self) -> String {
        let (_, last) = self.0.split_at(16);
        last.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What one disk says of all.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) device: DeviceName,
    /// Where the header lies whose sections were read.
    pub(super) at: ByteOffset,
    /// Whether the last sector of the disk led there: a header that is found elsewhere may be left from
    /// before the disk was used for something else.
    pub(crate) is_at_end: bool,
    /// `Sequence_Number`: which of the headers is the newest.
    pub(super) sequence: u32,
    /// `PD_Reference` of the disk itself.
    pub(super) reference: u32,
    pub(super) disks: Vec<PhysicalDisk>,
    pub(super) virtual_disks: Vec<VirtualDisk>,
    pub(super) records: Vec<Record>,
}

/// A physical disk entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhysicalDisk {
    /// `PD_Reference`.
    pub(super) reference: u32,
    /// `PD_Type`.
    kind: u16,
    /// `PD_State`.
    state: u16,
}

impl PhysicalDisk {
    /// Whether it is a spare, global or of some virtual disks.
    pub(super) const fn is_spare(self) -> bool {
        self.kind & 0b1100 != 0
    }

    pub(super) const fn is_failed(self) -> bool {
        self.state & 0b10 != 0
    }

    pub(super) const fn is_rebuilding(self) -> bool {
        self.state & 0b100 != 0
    }

    pub(super) const fn is_missing(self) -> bool {
        self.state & 0b100_0000 != 0
    }
}

/// A virtual disk entry.
#[derive(Clone, Debug)]
pub(super) struct VirtualDisk {
    pub(super) guid: Guid,
    /// `VD_State`.
    state: u8,
    /// `VD_Name`.
    pub(super) name: String,
}

impl VirtualDisk {
    /// Its state for a person.
    pub(super) const fn state(&self) -> &'static str {
        match self.state & 0b111 {
            0 => "optimal",
            1 => "degraded",
            2 => "deleted",
            3 => "missing",
            4 => "failed",
            _ => "partially optimal",
        }
    }

    pub(super) const fn is_deleted(&self) -> bool {
        self.state & 0b111 == 2
    }

    /// Whether its parity may not match its data: `VD_State` says that it is not consistent.
    pub(super) const fn is_inconsistent(&self) -> bool {
        self.state & 0b1_0000 != 0
    }

    /// Whether it was being changed into another geometry.
    pub(super) const fn is_morphing(&self) -> bool {
        self.state & 0b1000 != 0
    }
}

/// The DDF header.
#[derive(Clone, Copy, Debug)]
struct Header {
    guid: Guid,
    sequence: u32,
    is_open: bool,
    kind: u8,
    primary: u64,
    secondary: u64,
    /// Sectors of a configuration record, and how many disks it has room for.
    record_sectors: u16,
    most_elements: u16,
    /// `Max_PD_Entries`.
    most_disks: u16,
    disks: Section,
    virtual_disks: Section,
    records: Section,
    data: Section,
}

/// Where a section lies, in sectors from its header.
#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u32,
    length: u32,
}

/// The structures at the end of a device, if they are whole in one of their two copies.
pub(crate) fn read(device: &dyn ReadAt, name: &DeviceName) -> Option<Label> {
    let last = (device.len() / SECTOR_BYTES).checked_sub(1)?;
    let at_end = header_at(device, last).map(|header| (header, last));
    let is_at_end = at_end.is_some();
    let (anchor, at) = at_end.or_else(|| search(device))?;
    let copy = |kind: u8, sector: u64| {
        let sector = if anchor.kind == kind { at } else { sector };
        let header = header_at(device, sector)?;
        (header.kind == kind && header.guid == anchor.guid).then_some((header, sector))
    };
    let copies = [
        copy(PRIMARY, anchor.primary),
        copy(SECONDARY, anchor.secondary),
    ];
    let mut copies: Vec<(Header, u64)> = copies.into_iter().flatten().collect();
    // One that was being written is the worse one, whatever its number.
    copies.sort_by_key(|(header, _)| (header.is_open, std::cmp::Reverse(header.sequence)));
    let label = copies
        .into_iter()
        .find_map(|(header, sector)| label(device, name, &header, sector));
    label.map(|label| Label { is_at_end, ..label })
}

/// The last header near the end, with its sector: where the image is longer or shorter than the disk, or its
/// last sector could not be read.
fn search(device: &dyn ReadAt) -> Option<(Header, u64)> {
    let mut end = (device.len() / SECTOR_BYTES).saturating_mul(SECTOR_BYTES);
    let least = end.saturating_sub(SEARCHED);
    while end > least {
        let start = end.saturating_sub(STEP).max(least);
        let length = usize::try_from(end.checked_sub(start)?).ok()?;
        let (bytes, _gaps) = device.read_vec(ByteOffset::new(start), length).ok()?;
        let mut sectors = bytes.chunks_exact(HEADER_BYTES).enumerate().rev();
        let found = sectors.find_map(|(number, sector)| Some((header(sector)?, number as u64)));
        if let Some((header, number)) = found {
            return Some((header, (start / SECTOR_BYTES).checked_add(number)?));
        }
        end = start;
    }
    None
}

fn header_at(device: &dyn ReadAt, sector: u64) -> Option<Header> {
    let at = ByteOffset::new(sector.checked_mul(SECTOR_BYTES)?);
    header(&device.read_whole(at, HEADER_BYTES)?)
}

/// The header in one sector.
fn header(bytes: &[u8]) -> Option<Header> {
    let fields = Fields::new(bytes);
    (fields.be_u32(0)? == DDF_HEADER && is_whole(bytes)).then_some(())?;
    let section = |at: usize| {
        Some(Section {
            offset: fields.be_u32(at)?,
            length: fields.be_u32(at.checked_add(4)?)?,
        })
    };
    let header = Header {
        guid: Guid(fields.array(8)?),
        sequence: fields.be_u32(40)?,
        // `Open_Flag`: 0x01 to 0xFF while it is being written; anchors have it set by some.
        is_open: fields.u8(48)? != 0,
        primary: fields.be_u64(96)?,
        secondary: fields.be_u64(104)?,
        kind: fields.u8(112)?,
        record_sectors: fields.be_u16(134)?,
        most_elements: fields.be_u16(136)?,
        most_disks: fields.be_u16(128)?,
        disks: section(200)?,
        virtual_disks: section(208)?,
        records: section(216)?,
        data: section(224)?,
    };
    (header.kind <= SECONDARY && header.record_sectors > 0).then_some(header)
}

/// All that one copy of the structures says, if its sections are whole.
fn label(device: &dyn ReadAt, name: &DeviceName, header: &Header, sector: u64) -> Option<Label> {
    let read = |section: Section| {
        let start = sector.checked_add(u64::from(section.offset))?;
        let at = ByteOffset::new(start.checked_mul(SECTOR_BYTES)?);
        let bytes = u64::from(section.length).checked_mul(SECTOR_BYTES)?;
        let bytes = usize::try_from((bytes <= MOST_SECTION).then_some(bytes)?).ok()?;
        device.read_whole(at, bytes)
    };
    let whole = |section: Section, signature: u32| {
        let bytes = read(section)?;
        let own = Fields::new(&bytes).be_u32(0)? == signature && is_whole(&bytes);
        own.then_some(bytes)
    };
    let data = whole(header.data, PHYSICAL_DISK_DATA)?;
    let disks = whole(header.disks, PHYSICAL_DISK_RECORDS)?;
    let virtual_disks = whole(header.virtual_disks, VIRTUAL_DISK_RECORDS)?;
    let records = read(header.records)?;
    let size = usize::from(header.record_sectors).checked_mul(HEADER_BYTES)?;
    let records = records.chunks_exact(size).take(MOST_ENTRIES);
    let records = records.filter(|bytes| {
        Fields::new(bytes).be_u32(0) == Some(CONFIGURATION_RECORD) && is_whole(bytes)
    });
    let most_elements = match header.most_elements {
        NOT_STATED => header.most_disks,
        stated => stated,
    };
    Some(Label {
        device: name.clone(),
        at: ByteOffset::new(sector.checked_mul(SECTOR_BYTES)?),
        is_at_end: true,
        sequence: header.sequence,
        reference: Fields::new(&data).be_u32(32)?,
        disks: entries(&disks).filter_map(physical_disk).collect(),
        virtual_disks: entries(&virtual_disks).filter_map(virtual_disk).collect(),
        records: records
            .filter_map(|bytes| Record::read(bytes, usize::from(most_elements)))
            .collect(),
    })
}

/// The entries of a section of records.
fn entries(section: &[u8]) -> impl Iterator<Item = Fields<'_>> {
    let entries = section.get(ENTRY_BYTES..).unwrap_or_default();
    let entries = entries.chunks_exact(ENTRY_BYTES).take(MOST_ENTRIES);
    entries.map(Fields::new)
}

/// A physical disk entry; unused ones are filled with ones.
fn physical_disk(entry: Fields<'_>) -> Option<PhysicalDisk> {
    let guid: [u8; 24] = entry.array(0)?;
    (guid != [0xFF; 24]).then_some(PhysicalDisk {
        reference: entry.be_u32(24)?,
        kind: entry.be_u16(28)?,
        state: entry.be_u16(30)?,
    })
}

/// A virtual disk entry; unused ones are filled with ones.
fn virtual_disk(entry: Fields<'_>) -> Option<VirtualDisk> {
    let guid: [u8; 24] = entry.array(0)?;
    let name: [u8; 16] = entry.array(48)?;
    let name = String::from_utf8_lossy(&name);
    (guid != [0xFF; 24]).then_some(VirtualDisk {
        guid: Guid(guid),
        state: entry.u8(32)?,
        name: name.trim_matches(['\0', ' ', '\u{FFFD}']).to_owned(),
    })
}

/// Whether the checksum at byte 4 holds, which is computed with ones in its place. Its register begins
/// with zeros and is not inverted in the end; that of IEEE 802.3 is taken as well.
fn is_whole(bytes: &[u8]) -> bool {
    let (Some(stored), Some(rest)) = (Fields::new(bytes).be_u32(4), bytes.get(8..)) else {
        return false;
    };
    let sum = |initial: u32| {
        let mut hasher = crc32fast::Hasher::new_with_initial(initial);
        hasher.update(bytes.get(..4).unwrap_or_default());
        hasher.update(&[0xFF; 4]);
        hasher.update(rest);
        hasher.finalize()
    };
    stored == !sum(u32::MAX) || stored == sum(0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Puts the checksum into a structure.
    pub(in crate::ddf) fn seal(bytes: &mut [u8]) {
        bytes[4..8].fill(0xFF);
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::MAX);
        hasher.update(bytes);
        let sum = !hasher.finalize();
        bytes[4..8].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn a_checksum_holds_for_its_own_bytes_only() {
        let mut bytes = vec![7; 512];
        seal(&mut bytes);
        assert!(is_whole(&bytes));
        bytes[100] ^= 1;
        assert!(!is_whole(&bytes));
        assert!(!is_whole(&bytes[..7]));
    }
}
