//! A sparse extent: grains, found through a directory of tables.
//!
//! VMware, "Virtual Disk Format 5.0", chapters "Hosted Sparse Extents" and "Stream-Optimized
//! Compressed Sparse Extents".

use crate::image::blocks::{BlockMap, Stored};
use crate::image::codec::Codec;
use crate::image::files::Files;
use crate::{Fields, GapCause, SECTOR_BYTES};

/// The first bytes of a sparse extent.
pub(super) const MAGIC: &[u8] = b"KDMV";
const HEADER_BYTES: usize = 512;
/// The directory is at the end, and a second header there says where.
const AT_END: u64 = u64::MAX;
const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// A grain of 64 KiB is usual; the specification wants at least 4 KiB.
const GRAIN_SECTORS: std::ops::RangeInclusive<u64> = 8..=2048;

/// The header of a sparse extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    flags: u32,
    /// Sectors of the disk.
    pub(super) capacity: u64,
    grain: u64,
    /// Where the embedded descriptor is, and how long, in sectors; zero without one.
    pub(super) descriptor: (u64, u64),
    entries: u64,
    directory: u64,
    /// Whether the file was not closed.
    pub(super) unclean: bool,
}

impl Header {
    /// The header of file `file`; `None` if its fields do not fit each other.
    pub(super) fn read(files: &Files, file: usize) -> Option<Self> {
        let header = Self::at(files, file, 0)?;
        if header.directory != AT_END {
            return Some(header);
        }
        // The last 1536 bytes: a marker, the header again, and the marker of the end.
        let footer = files.bytes(file).ok()?.checked_sub(1024)?;
        Self::at(files, file, footer).filter(|footer| footer.directory != AT_END)
    }

    fn at(files: &Files, file: usize, at: u64) -> Option<Self> {
        let bytes = files.whole(file, at, HEADER_BYTES)?;
        let fields = Fields::new(&bytes);
        let header = Self {
            flags: fields.le_u32(8)?,
            capacity: fields.le_u64(12)?,
            grain: fields.le_u64(20)?,
            descriptor: (fields.le_u64(28)?, fields.le_u64(36)?),
            entries: u64::from(fields.le_u32(44)?),
            directory: fields.le_u64(56)?,
            unclean: fields.u8(72)? != 0,
        };
        // A file that was sent as text has other line ends here.
        let line_ends = header.flags & 1 == 0 || fields.slice(73, 4)? == b"\n \r\n";
        let packed = match (header.flags & COMPRESSED != 0, fields.le_u16(77)?) {
            (true, algorithm) => algorithm == 1 && header.flags & MARKERS != 0,
            (false, _) => true,
        };
        let sane = fields.slice(0, 4)? == MAGIC
            && matches!(fields.le_u32(4)?, 1..=3)
            && header.grain.is_power_of_two()
            && GRAIN_SECTORS.contains(&header.grain)
            && (1..=65536).contains(&header.entries)
            && header.capacity.checked_mul(SECTOR_BYTES).is_some();
        (sane && line_ends && packed).then_some(header)
    }

    /// The size of a grain in bytes.
    pub(super) const fn grain_bytes(&self) -> u64 {
        self.grain.saturating_mul(SECTOR_BYTES)
    }
}

/// The grains of one file.
pub(super) struct Grains {
    pub(super) header: Header,
}

impl Grains {
    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        let header = &self.header;
        let entry = |sector: u64, index: u64| -> Option<u32> {
            let at = sector
                .checked_mul(SECTOR_BYTES)?
                .checked_add(index.checked_mul(4)?)?;
            files.array(0, at).map(u32::from_le_bytes)
        };
        let table = entry(header.directory, number.checked_div(header.entries)?)?;
        if table == 0 {
            return Some(Stored::Zeros);
        }
        let sector = match entry(u64::from(table), number.checked_rem(header.entries)?)? {
            0 => return Some(Stored::Zeros),
            1 if header.flags & ZEROED_GRAINS != 0 => return Some(Stored::Zeros),
            sector => u64::from(sector),
        };
        let at = sector.checked_mul(SECTOR_BYTES)?;
        if header.flags & COMPRESSED == 0 {
            return Some(Stored::Plain { file: 0, at });
        }
        // The marker of a grain says which it is, and how long.
        let marker: [u8; 12] = files.array(0, at)?;
        let marker = Fields::new(&marker);
        let mine = marker.le_u64(0)? == number.checked_mul(header.grain)?;
        mine.then_some(Stored::Packed {
            file: 0,
            at: at.checked_add(12)?,
            bytes: u64::from(marker.le_u32(8)?),
            codec: Codec::Zlib,
        })
    }
}

impl BlockMap for Grains {
    fn block_bytes(&self) -> u64 {
        self.header.grain_bytes()
    }

    fn locate(&self, files: &Files, number: u64) -> Stored {
        self.place(files, number)
            .unwrap_or(Stored::Gap(GapCause::ChunkDamaged))
    }
}
