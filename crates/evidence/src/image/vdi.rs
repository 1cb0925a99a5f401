//! VDI, the format of VirtualBox: static and dynamic.
//!
//! Source: the comment at the head of QEMU's `block/vdi.c`, which describes the header of version
//! 1.1. A map with four bytes for each block follows the header.

use std::sync::Arc;

use super::Format;
use super::blocks::{BlockMap, Blocks, Stored};
use super::container::{Container, Opened, damaged, needs_parent};
use super::files::Files;
use crate::{Error, Fields, GapCause};

const SIGNATURE: u32 = 0xBEDA_107F;
/// Entries from here on stand for no block: discarded, and never written.
const NO_BLOCK: u32 = 0xFFFF_FFFE;

/// Whether a file begins as a VDI does.
pub(super) fn begins(head: &[u8]) -> bool {
    let fields = Fields::new(head);
    fields.le_u32(0x40) == Some(SIGNATURE) && fields.le_u32(0x44).is_some_and(|v| v >> 16 == 1)
}

struct Map {
    map_at: u64,
    data_at: u64,
    block_bytes: u64,
    /// Other bytes that lie before each block.
    extra: u64,
}

/// Opens the VDI that is the only one of `files`.
pub(super) fn open(files: Files) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Vdi, what);
    let bytes: [u8; 512] = files
        .array(0, 0)
        .ok_or_else(|| bad("its header is cut short"))?;
    let fields = Fields::new(&bytes);
    let number = |at| fields.le_u32(at).map(u64::from).unwrap_or(0);
    let kind = match number(0x4C) {
        1 => "dynamic",
        2 => "static",
        3 | 4 => return Err(needs_parent(&files, Format::Vdi, "")),
        _ => return Err(bad("its kind is none that exists")),
    };
    let map = Map {
        map_at: number(0x154),
        data_at: number(0x158),
        block_bytes: number(0x178),
        extra: number(0x17C),
    };
    let length = fields.le_u64(0x170).unwrap_or(0);
    let sane = map.block_bytes.is_power_of_two() && map.block_bytes >= 512;
    if !sane || length.div_ceil(map.block_bytes.max(1)) > number(0x180) {
        return Err(bad("its header's numbers do not fit each other"));
    }
    let facts = [
        ("kind", kind.to_owned()),
        ("block_bytes", map.block_bytes.to_string()),
    ];
    Ok(Opened {
        contents: Arc::new(Blocks::new(map, length, files)),
        container: Container::without_hashes(Format::Vdi, facts),
        warnings: Vec::new(),
    })
}

impl Map {
    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        let entry = self.map_at.checked_add(number.checked_mul(4)?)?;
        let block = u32::from_le_bytes(files.array(0, entry)?);
        if block >= NO_BLOCK {
            return Some(Stored::Zeros);
        }
        let step = self.block_bytes.checked_add(self.extra)?;
        let at = u64::from(block).checked_mul(step)?;
        Some(Stored::Plain {
            file: 0,
            at: at.checked_add(self.data_at)?.checked_add(self.extra)?,
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
