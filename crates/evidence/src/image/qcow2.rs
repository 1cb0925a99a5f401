//! qcow2, versions 2 and 3.
//!
//! Source: QEMU, `docs/interop/qcow2.txt`. Two levels of tables lead from a cluster's number to
//! its place; entries are read when they are wanted, so that no table is held in memory.

use std::sync::Arc;

use super::Format;
use super::blocks::{BlockMap, Blocks, Stored};
use super::codec::Codec;
use super::container::{Container, Opened, damaged, needs_parent, unread};
use super::files::Files;
use crate::{Error, Fields, GapCause};

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
/// Bits 9 to 55: where a cluster or table begins.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
const COMPRESSED: u64 = 1 << 62;
const ENTRY_BYTES: u64 = 8;

/// The fields of the header that are used.
struct Header {
    version: u32,
    backing: (u64, u32),
    cluster_bits: u32,
    size: u64,
    crypt: u32,
    l1_entries: u64,
    l1_at: u64,
    snapshots: u32,
    incompatible: u64,
    codec: Option<Codec>,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::new(bytes);
        let version = fields.be_u32(4)?;
        let incompatible = if version >= 3 { fields.be_u64(72)? } else { 0 };
        let compression = match fields.be_u32(100)? {
            length if version >= 3 && length > 104 => fields.u8(104)?,
            _ => 0,
        };
        Some(Self {
            version,
            backing: (fields.be_u64(8)?, fields.be_u32(16)?),
            cluster_bits: fields.be_u32(20)?,
            size: fields.be_u64(24)?,
            crypt: fields.be_u32(32)?,
            l1_entries: u64::from(fields.be_u32(36)?),
            l1_at: fields.be_u64(40)?,
            snapshots: fields.be_u32(60)?,
            incompatible,
            codec: match compression {
                0 => Some(Codec::Deflate),
                1 => Some(Codec::Zstd),
                _ => None,
            },
        })
    }
}

struct Map {
    cluster_bits: u32,
    l1_at: u64,
    codec: Codec,
    /// Version 3 can say that a cluster reads as zeros.
    zero_flag: bool,
}

/// Opens the qcow2 image that is the only one of `files`.
pub(super) fn open(files: Files) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Qcow2, what);
    let bytes: [u8; 112] = files
        .array(0, 0)
        .ok_or_else(|| bad("its header is cut short"))?;
    let header = Header::read(&bytes).ok_or_else(|| bad("its header is cut short"))?;
    let codec = supported(&files, &header)?;
    if !(9..=21).contains(&header.cluster_bits) {
        return Err(bad("its clusters have a size that none have"));
    }
    let per_entry = header.cluster_bits.saturating_mul(2).saturating_sub(3);
    let wanted = header
        .size
        .div_ceil(1_u64.checked_shl(per_entry).unwrap_or(u64::MAX));
    let l1_end = header
        .l1_entries
        .checked_mul(ENTRY_BYTES)
        .and_then(|bytes| bytes.checked_add(header.l1_at));
    let inside = l1_end.is_some_and(|end| files.bytes(0).is_ok_and(|length| end <= length));
    if header.l1_entries < wanted || !inside {
        return Err(bad(
            "its first table is too short for its size, or not in the file",
        ));
    }
    let warnings = warnings(&header);
    let map = Map {
        cluster_bits: header.cluster_bits,
        l1_at: header.l1_at,
        codec,
        zero_flag: header.version >= 3,
    };
    let facts = [
        ("version", header.version.to_string()),
        ("cluster_bytes", map.block_bytes().to_string()),
        ("snapshots", header.snapshots.to_string()),
    ];
    Ok(Opened {
        contents: Arc::new(Blocks::new(map, header.size, files)),
        container: Container::without_hashes(Format::Qcow2, facts),
        warnings,
    })
}

/// How clusters are compressed, if all that the image needs is known here.
fn supported(files: &Files, header: &Header) -> Result<Codec, Error> {
    let refuse = |what: &str, instead: &str| Err(unread(files, what, instead));
    if header.backing.0 != 0 {
        let length = usize::try_from(header.backing.1.min(1023)).unwrap_or(0);
        let name = files.whole(0, header.backing.0, length).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        return Err(needs_parent(files, Format::Qcow2, &name));
    }
    if header.crypt != 0 {
        return refuse(
            "an encrypted qcow2 image",
            "decrypt it with `qemu-img convert`, which takes the key",
        );
    }
    if header.incompatible & EXTERNAL_DATA != 0 {
        return refuse(
            "a qcow2 image that keeps its data in another file",
            "name that file if it was made with data_file_raw=on, else use `qemu-img convert -O raw`",
        );
    }
    let unknown = header.incompatible & !(DIRTY | CORRUPT | COMPRESSION_TYPE);
    if unknown != 0 {
        return refuse(
            &format!(
                "a qcow2 image with features that are not known here (bits {unknown:#x}; 0x10 is \
                 extended L2 entries)"
            ),
            "use `qemu-img convert -O raw`",
        );
    }
    header.codec.map_or_else(
        || {
            refuse(
                "a qcow2 image that is compressed in an unknown way",
                "use `qemu-img convert -O raw`",
            )
        },
        Ok,
    )
}

fn warnings(header: &Header) -> Vec<String> {
    let mut warnings = Vec::new();
    if header.incompatible & DIRTY != 0 {
        warnings.push(
            "the qcow2 image was not closed: its reference counts may be wrong, which reading does \
             not need"
                .to_owned(),
        );
    }
    if header.incompatible & CORRUPT != 0 {
        warnings.push(
            "the qcow2 image is marked as corrupt by QEMU: what it holds may be another cluster's; \
             `qemu-img check` says more"
                .to_owned(),
        );
    }
    if header.snapshots > 0 {
        warnings.push(format!(
            "the qcow2 image has {} internal snapshots; only its current state is read (`qemu-img \
             convert -l NAME` makes an image of one)",
            header.snapshots
        ));
    }
    warnings
}

impl Map {
    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        // A table of the second level fills one cluster.
        let l2_bits = self.cluster_bits.checked_sub(3)?;
        let l1 = self
            .l1_at
            .checked_add((number >> l2_bits).checked_mul(ENTRY_BYTES)?)?;
        let table = u64::from_be_bytes(files.array(0, l1)?) & OFFSET;
        if table == 0 {
            return Some(Stored::Zeros);
        }
        let index = number & (1_u64 << l2_bits).wrapping_sub(1);
        let l2 = table.checked_add(index.checked_mul(ENTRY_BYTES)?)?;
        let entry = u64::from_be_bytes(files.array(0, l2)?);
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let at = entry & OFFSET;
        if at == 0 || (self.zero_flag && entry & 1 != 0) {
            return Some(Stored::Zeros);
        }
        Some(Stored::Plain { file: 0, at })
    }

    /// "Compressed Clusters Descriptor": an offset in bytes, and above it how many sectors
    /// beyond the first it takes.
    fn compressed(&self, entry: u64) -> Option<Stored> {
        let bits = 62_u32.checked_sub(self.cluster_bits.checked_sub(8)?)?;
        let mask = (1_u64 << bits).wrapping_sub(1);
        let at = entry & mask;
        let sectors = (entry & !(3 << 62)) >> bits;
        let bytes = sectors.checked_add(1)?.checked_mul(512)?;
        Some(Stored::Packed {
            file: 0,
            at,
            bytes: bytes.checked_sub(at % 512)?,
            codec: self.codec,
        })
    }
}

impl BlockMap for Map {
    fn block_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn locate(&self, files: &Files, number: u64) -> Stored {
        self.place(files, number)
            .unwrap_or(Stored::Gap(GapCause::ChunkDamaged))
    }
}
