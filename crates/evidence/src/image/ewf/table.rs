//! Tables: where each chunk is.
//!
//! Expert Witness Compression Format specification, chapter "Table section": a header with the
//! number of entries, a base offset and an Adler-32; the entries, of which the highest bit says
//! that the chunk is compressed; and in all but the oldest files an Adler-32 of the entries.

use adler2::Adler32;

use super::section::Section;
use crate::image::blocks::Stored;
use crate::image::codec::Codec;
use crate::image::files::Files;
use crate::image::sum_holds;
use crate::{Fields, GapCause};

const HEADER_BYTES: u64 = 24;
const ENTRY_BYTES: u64 = 4;
const COMPRESSED: u32 = 0x8000_0000;

/// The table of some chunks in a row.
#[derive(Clone, Debug)]
pub(super) struct Table {
    file: usize,
    /// How many chunks it has.
    pub(super) count: u64,
    /// Where its first entry is.
    entries: u64,
    /// What the offsets are counted from.
    base: u64,
    /// Where the last chunk ends.
    chunks_end: u64,
    /// The entry from which on the highest bit belongs to the offset: EnCase goes beyond 2 GiB so.
    overflow: u64,
    /// Whether its checksums hold.
    pub(super) sound: bool,
}

impl Table {
    /// The table in `section`. The chunks end at `chunks_end`, or with the section where no other
    /// section holds them. `None` if not even the number of its chunks is known.
    pub(super) fn read(
        files: &Files,
        file: usize,
        section: &Section,
        chunks_end: Option<u64>,
    ) -> Option<Self> {
        let header: [u8; HEADER_BYTES as usize] = files.array(file, section.data)?;
        let fields = Fields::new(&header);
        if !sum_holds(
            adler2::adler32_slice(fields.slice(0, 20)?),
            fields.le_u32(20)?,
        ) {
            return None;
        }
        let count = u64::from(fields.le_u32(0)?);
        let entries = section.data.checked_add(HEADER_BYTES)?;
        let entries_end = entries.checked_add(count.checked_mul(ENTRY_BYTES)?)?;
        if entries_end > section.end {
            return None;
        }
        let mut table = Self {
            file,
            count,
            entries,
            base: fields.le_u64(8)?,
            chunks_end: chunks_end.unwrap_or(section.end),
            overflow: count,
            sound: false,
        };
        table.sound = table
            .check(files, entries_end, section.end)
            .unwrap_or(false);
        Some(table)
    }

    /// Reads all entries: whether their checksum holds, and where they overflow.
    fn check(&mut self, files: &Files, entries_end: u64, section_end: u64) -> Option<bool> {
        const PIECE: u64 = 1 << 16;
        let mut sum = Adler32::new();
        let (mut at, mut number, mut before) = (self.entries, 0_u64, 0_u32);
        let mut first = None;
        while at < entries_end {
            let length = PIECE.min(entries_end.saturating_sub(at));
            let piece = files.whole(self.file, at, usize::try_from(length).ok()?)?;
            sum.write_slice(&piece);
            for entry in piece.as_chunks().0 {
                let offset = u32::from_le_bytes(*entry) & !COMPRESSED;
                first = first.or(Some(offset));
                if offset < before && self.overflow == self.count {
                    self.overflow = number;
                }
                before = offset;
                number = number.saturating_add(1);
            }
            at = at.saturating_add(length);
        }
        // The oldest files have chunks where the checksum would be.
        let chunks_begin = self.base.saturating_add(u64::from(first.unwrap_or(0)));
        if chunks_begin == entries_end {
            return Some(true);
        }
        let stored: Option<[u8; 4]> = (entries_end.checked_add(4)? <= section_end)
            .then(|| files.array(self.file, entries_end))
            .flatten();
        Some(sum_holds(sum.checksum(), u32::from_le_bytes(stored?)))
    }

    /// Where chunk `number` of this table is.
    pub(super) fn locate(&self, files: &Files, number: u64) -> Stored {
        if !self.sound {
            return Stored::Gap(GapCause::ChunkDamaged);
        }
        self.place(files, number)
            .unwrap_or(Stored::Gap(GapCause::ChunkDamaged))
    }

    fn place(&self, files: &Files, number: u64) -> Option<Stored> {
        let (at, compressed) = self.entry(files, number)?;
        let next = number.checked_add(1)?;
        let end = if next < self.count {
            self.entry(files, next)?.0
        } else {
            self.chunks_end
        };
        Some(Stored::Packed {
            file: self.file,
            at,
            bytes: end.checked_sub(at)?,
            codec: if compressed {
                Codec::Zlib
            } else {
                Codec::Adler
            },
        })
    }

    /// Where a chunk begins, and whether it is compressed.
    fn entry(&self, files: &Files, number: u64) -> Option<(u64, bool)> {
        let at = self.entries.checked_add(number.checked_mul(ENTRY_BYTES)?)?;
        let entry = u32::from_le_bytes(files.array(self.file, at)?);
        let (offset, compressed) = if number < self.overflow {
            (entry & !COMPRESSED, entry & COMPRESSED != 0)
        } else {
            (entry, false)
        };
        Some((self.base.checked_add(u64::from(offset))?, compressed))
    }
}
