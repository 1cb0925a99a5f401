//! VHDX: fixed and dynamic.
//!
//! Source: Microsoft, [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format"; sections 2.2 (headers
//! and region table), 2.5 (BAT) and 2.6 (metadata region).

use std::sync::Arc;

use super::Format;
use super::blocks::{BlockMap, Blocks, Stored};
use super::container::{Container, Opened, damaged, needs_parent, unread};
use super::files::Files;
use super::sum_holds;
use crate::{Error, Fields, GapCause};

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: usize = 4096;
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_BYTES: usize = 64 << 10;
const MIB: u64 = 1 << 20;

/// A GUID as it lies in the file: the first three parts are little-endian.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> u128 {
    let tail = u64::from_be_bytes(d) as u128;
    ((a.swap_bytes() as u128) << 96)
        | ((b.swap_bytes() as u128) << 80)
        | ((c.swap_bytes() as u128) << 64)
        | tail
}

const BAT: u128 = guid(
    0x2DC2_7766,
    0xF623,
    0x4200,
    [0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08],
);
const METADATA: u128 = guid(
    0x8B7C_A206,
    0x4790,
    0x4B9A,
    [0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E],
);
const FILE_PARAMETERS: u128 = guid(
    0xCAA1_6737,
    0xFA36,
    0x4D43,
    [0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B],
);
const DISK_SIZE: u128 = guid(
    0x2FA5_4224,
    0xCD1B,
    0x4876,
    [0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8],
);
const LOGICAL_SECTOR: u128 = guid(
    0x8141_BF1D,
    0xA96F,
    0x4709,
    [0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F],
);

/// Opens the VHDX that is the only one of `files`.
pub(super) fn open(files: Files) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Vhdx, what);
    let log = log_in_use(&files).ok_or_else(|| bad("both of its headers are damaged"))?;
    if log {
        return Err(unread(
            &files,
            "a VHDX that was not closed, whose log holds changes that are not in its tables yet",
            "`qemu-img check -r all` on a copy brings them there",
        ));
    }
    let regions = regions(&files).ok_or_else(|| bad("both of its region tables are damaged"))?;
    let region = |wanted| {
        regions
            .iter()
            .find(|(id, ..)| *id == wanted)
            .map(|(_, at, length)| (*at, *length))
    };
    let items = region(METADATA)
        .and_then(|(at, length)| Items::read(&files, at, length))
        .ok_or_else(|| bad("its metadata is damaged"))?;
    if items.has_parent {
        return Err(needs_parent(&files, Format::Vhdx, ""));
    }
    let (bat_at, bat_bytes) = region(BAT).ok_or_else(|| bad("it has no block table"))?;
    let map = Map::new(&items, bat_at).ok_or_else(|| bad("its sizes are none that exist"))?;
    let blocks = items.bytes.div_ceil(map.block_bytes);
    let entries =
        blocks.saturating_add(blocks.saturating_sub(1).checked_div(map.ratio).unwrap_or(0));
    if entries.saturating_mul(8) > bat_bytes {
        return Err(bad("its block table is too short for its size"));
    }
    let facts = [
        ("block_bytes", map.block_bytes.to_string()),
        ("sector_bytes", items.sector.to_string()),
    ];
    Ok(Opened {
        contents: Arc::new(Blocks::new(map, items.bytes, files)),
        container: Container::without_hashes(Format::Vhdx, facts),
        warnings: Vec::new(),
    })
}

/// Whether the CRC-32C at offset 4 fits; it counts itself as zeros.
fn fits(bytes: &[u8]) -> Option<bool> {
    let stored = Fields::new(bytes).le_u32(4)?;
    let sum = crc32c::crc32c(bytes.get(..4)?);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    Some(sum_holds(
        crc32c::crc32c_append(sum, bytes.get(8..)?),
        stored,
    ))
}

/// Whether the newer of the two headers that are whole names a log.
fn log_in_use(files: &Files) -> Option<bool> {
    let header = |at: u64| {
        let bytes = files.whole(0, at, HEADER_BYTES)?;
        let fields = Fields::new(&bytes);
        let whole = fields.slice(0, 4)? == b"head" && fits(&bytes)?;
        let log = fields.slice(48, 16)?.iter().any(|byte| *byte != 0);
        whole.then_some((fields.le_u64(8)?, log))
    };
    let newest = HEADERS.into_iter().filter_map(header).max();
    newest.map(|(_, log)| log)
}

/// The regions: identity, offset and length.
fn regions(files: &Files) -> Option<Vec<(u128, u64, u64)>> {
    REGION_TABLES.into_iter().find_map(|at| {
        let bytes = files.whole(0, at, REGION_TABLE_BYTES)?;
        let fields = Fields::new(&bytes);
        (fields.slice(0, 4)? == b"regi" && fits(&bytes)?).then_some(())?;
        let count = usize::try_from(fields.le_u32(8)?).ok()?;
        let entries = fields.slice(16, count.checked_mul(32)?)?;
        let entry = |entry: &[u8; 32]| {
            let fields = Fields::new(entry);
            let id = u128::from_be_bytes(fields.array(0)?);
            Some((id, fields.le_u64(16)?, u64::from(fields.le_u32(24)?)))
        };
        entries.as_chunks().0.iter().map(entry).collect()
    })
}

/// The items of the metadata region that reading needs.
struct Items {
    block: u64,
    has_parent: bool,
    bytes: u64,
    sector: u64,
}

impl Items {
    fn read(files: &Files, at: u64, length: u64) -> Option<Self> {
        let table = files.whole(0, at, usize::try_from(length.min(64 << 10)).ok()?)?;
        let fields = Fields::new(&table);
        (fields.slice(0, 8)? == b"metadata").then_some(())?;
        let count = usize::from(fields.le_u16(10)?);
        let entries = fields.slice(32, count.checked_mul(32)?)?;
        let item = |wanted: u128| -> Option<[u8; 8]> {
            let entry = entries.as_chunks::<32>().0.iter().find(|entry| {
                Fields::new(*entry).array(0).map(u128::from_be_bytes) == Some(wanted)
            })?;
            let offset = u64::from(Fields::new(entry).le_u32(16)?);
            files.array(0, at.checked_add(offset)?)
        };
        let parameters = item(FILE_PARAMETERS)?;
        let parameters = Fields::new(&parameters);
        Some(Self {
            block: u64::from(parameters.le_u32(0)?),
            has_parent: parameters.le_u32(4)? & 2 != 0,
            bytes: u64::from_le_bytes(item(DISK_SIZE)?),
            sector: u64::from(Fields::new(&item(LOGICAL_SECTOR)?).le_u32(0)?),
        })
    }
}

struct Map {
    bat_at: u64,
    block_bytes: u64,
    /// After so many entries for blocks comes one for a bitmap.
    ratio: u64,
}

impl Map {
    fn new(items: &Items, bat_at: u64) -> Option<Self> {
        let block = items.block;
        let sane = block.is_power_of_two()
            && (MIB..=256 * MIB).contains(&block)
            && matches!(items.sector, 512 | 4096)
            && items.bytes.is_multiple_of(items.sector);
        sane.then_some(())?;
        Some(Self {
            bat_at,
            block_bytes: block,
            ratio: (items.sector << 23).checked_div(block)?.max(1),
        })
    }

    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        let index = number.checked_add(number.checked_div(self.ratio)?)?;
        let at = self.bat_at.checked_add(index.checked_mul(8)?)?;
        let entry = u64::from_le_bytes(files.array(0, at)?);
        Some(match entry & 7 {
            // PAYLOAD_BLOCK_NOT_PRESENT and _ZERO.
            0 | 2 => Stored::Zeros,
            // PAYLOAD_BLOCK_UNDEFINED and _UNMAPPED: the format does not say what they hold.
            1 | 3 => Stored::Gap(GapCause::Unmapped),
            // PAYLOAD_BLOCK_FULLY_PRESENT.
            6 => Stored::Plain {
                file: 0,
                at: entry & !(MIB - 1),
            },
            _ => return None,
        })
    }
}

impl BlockMap for Map {
    fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    fn locate(&self, files: &Files, number: u64) -> Stored {
        self.place(files, number)
            .unwrap_or(Stored::Gap(GapCause::ChunkDamaged))
    }
}
