//! VHD, the format of Virtual PC: fixed and dynamic.
//!
//! Source: Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0. A footer of
//! 512 bytes ends the file; a dynamic disk has a copy of it at the beginning.

use std::sync::Arc;

use super::Format;
use super::blocks::{BlockMap, Blocks, Stored};
use super::container::{Container, Opened, damaged, needs_parent};
use super::files::Files;
use super::sum_holds;
use crate::{Error, Fields, GapCause, SECTOR_BYTES};

const FOOTER_BYTES: u64 = 512;
const COOKIE: &[u8] = b"conectix";
const UNUSED: u32 = u32::MAX;

struct Footer {
    header_at: u64,
    bytes: u64,
    kind: u32,
}

/// The disk types of the specification.
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

impl Footer {
    /// The footer in `bytes`; `None` without its cookie, an error in the inner result if it is
    /// damaged.
    fn read(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::new(bytes);
        let holds = fields.slice(0, 8)? == COOKIE && sum_holds(sum(bytes, 64)?, fields.be_u32(64)?);
        holds.then_some(())?;
        Some(Self {
            header_at: fields.be_u64(16)?,
            bytes: fields.be_u64(48)?,
            kind: fields.be_u32(60)?,
        })
    }
}

/// The one's complement of the sum of all bytes, those of the sum itself at `at` left out.
fn sum(bytes: &[u8], at: usize) -> Option<u32> {
    let total = |part: &[u8]| part.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = total(bytes.get(at..at.checked_add(4)?)?);
    Some(!total(bytes).wrapping_sub(own))
}

/// Opens the VHD that is the only one of `files`; `None` if it is none.
pub(super) fn open(files: Files) -> Result<Option<Opened>, Error> {
    let length = files.bytes(0)?;
    let Some(footer_at) = length.checked_sub(FOOTER_BYTES) else {
        return Ok(None);
    };
    let first: Option<[u8; 512]> = files.array(0, 0);
    let last: Option<[u8; 512]> = files.array(0, footer_at);
    let begins = first.is_some_and(|bytes| bytes.starts_with(COOKIE));
    let footer = last.as_ref().and_then(|bytes| Footer::read(bytes));
    if !begins {
        // What is fixed is raw but for its footer. Where the sizes do not agree, the footer is
        // that of a file on the disk, and the disk is raw.
        return Ok(footer
            .filter(|footer| footer.kind == FIXED && footer.bytes == footer_at)
            .map(|footer| fixed(files, footer.bytes)));
    }
    let copy = first.as_ref().and_then(|bytes| Footer::read(bytes));
    let Some(footer) = copy.or(footer) else {
        return Err(damaged(
            &files,
            Format::Vhd,
            "its footer and the copy of it are damaged",
        ));
    };
    match footer.kind {
        DYNAMIC => dynamic(files, &footer).map(Some),
        DIFFERENCING => {
            let parent = parent_name(&files, footer.header_at).unwrap_or_default();
            Err(needs_parent(&files, Format::Vhd, &parent))
        }
        // A fixed one has no copy in front: this is a disk that holds a footer.
        FIXED if footer.bytes == footer_at => Ok(Some(fixed(files, footer.bytes))),
        _ => Err(damaged(&files, Format::Vhd, "its kind is none that exists")),
    }
}

struct Whole {
    bytes: u64,
}

impl BlockMap for Whole {
    fn block_bytes(&self) -> u64 {
        self.bytes.max(1)
    }

    fn locate(&self, _: &Files, _: u64) -> Stored {
        Stored::Plain { file: 0, at: 0 }
    }
}

fn fixed(files: Files, bytes: u64) -> Opened {
    Opened {
        contents: Arc::new(Blocks::new(Whole { bytes }, bytes, files)),
        container: Container::without_hashes(Format::Vhd, [("kind", "fixed".to_owned())]),
        warnings: Vec::new(),
    }
}

/// The file name of the parent, in UTF-16.
fn parent_name(files: &Files, header_at: u64) -> Option<String> {
    let name = files.whole(0, header_at.checked_add(64)?, 512)?;
    let units: Vec<u16> = name
        .as_chunks()
        .0
        .iter()
        .map(|pair| u16::from_be_bytes(*pair))
        .take_while(|unit| *unit != 0)
        .collect();
    Some(String::from_utf16_lossy(&units))
}

fn dynamic(files: Files, footer: &Footer) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Vhd, what);
    let header: [u8; 1024] = files
        .array(0, footer.header_at)
        .ok_or_else(|| bad("its dynamic header is not in the file"))?;
    let map = Map::read(&header).ok_or_else(|| bad("its dynamic header is damaged"))?;
    let wanted = footer.bytes.div_ceil(map.block_bytes);
    if map.entries < wanted {
        return Err(bad("its table is too short for its size"));
    }
    let facts = [
        ("kind", "dynamic".to_owned()),
        ("block_bytes", map.block_bytes.to_string()),
    ];
    Ok(Opened {
        contents: Arc::new(Blocks::new(map, footer.bytes, files)),
        container: Container::without_hashes(Format::Vhd, facts),
        warnings: Vec::new(),
    })
}

struct Map {
    table_at: u64,
    entries: u64,
    block_bytes: u64,
}

impl Map {
    fn read(header: &[u8]) -> Option<Self> {
        let fields = Fields::new(header);
        let holds =
            fields.slice(0, 8)? == b"cxsparse" && sum_holds(sum(header, 36)?, fields.be_u32(36)?);
        let block_bytes = u64::from(fields.be_u32(32)?);
        let sane = block_bytes.is_power_of_two() && block_bytes >= SECTOR_BYTES;
        (holds && sane).then_some(Self {
            table_at: fields.be_u64(16)?,
            entries: u64::from(fields.be_u32(28)?),
            block_bytes,
        })
    }

    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        let entry = self.table_at.checked_add(number.checked_mul(4)?)?;
        let sector = u32::from_be_bytes(files.array(0, entry)?);
        if sector == UNUSED {
            return Some(Stored::Zeros);
        }
        // A bitmap of the sectors that were written comes first. Only a differencing disk needs
        // it: what was not written in a new block is zeros.
        let bitmap = (self.block_bytes / SECTOR_BYTES).div_ceil(8);
        let bitmap = bitmap.checked_next_multiple_of(SECTOR_BYTES)?;
        let at = u64::from(sector).checked_mul(SECTOR_BYTES)?;
        Some(Stored::Plain {
            file: 0,
            at: at.checked_add(bitmap)?,
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
