//! What the image says of itself: the volume, the errors of the acquisition, the stored hashes.
//!
//! Expert Witness Compression Format specification, chapters "Volume section", "Error2 section",
//! "Hash section" and "Digest section".

use std::ops::Range;

use super::section::Section;
use crate::Fields;
use crate::image::blocks::MAX_PACKED_BLOCK;
use crate::image::container::hexadecimal;
use crate::image::files::Files;
use crate::image::sum_holds;

/// Bytes of the volume section that EnCase writes; SMART's is 94 bytes long.
const ENCASE_BYTES: usize = 1052;
const SMART_BYTES: usize = 94;

/// The size of the disk and of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// How many chunks there are.
    pub(super) chunks: u64,
    /// Bytes of a chunk.
    pub(super) chunk_bytes: u64,
    /// Bytes of a sector.
    pub(super) sector_bytes: u64,
    /// Bytes of the disk.
    pub(super) bytes: u64,
}

impl Volume {
    /// The volume in `section`; `None` if its checksum or its numbers are wrong.
    pub(super) fn read(files: &Files, file: usize, section: &Section) -> Option<Self> {
        let encase = section.bytes() >= ENCASE_BYTES as u64;
        let length = if encase { ENCASE_BYTES } else { SMART_BYTES };
        let bytes = files.whole(file, section.data, length)?;
        let fields = Fields::new(&bytes);
        let sum = length.checked_sub(4)?;
        if !sum_holds(
            adler2::adler32_slice(fields.slice(0, sum)?),
            fields.le_u32(sum)?,
        ) {
            return None;
        }
        let sector_bytes = u64::from(fields.le_u32(12)?);
        let sectors = if encase {
            fields.le_u64(16)?
        } else {
            u64::from(fields.le_u32(16)?)
        };
        let chunk_bytes = u64::from(fields.le_u32(8)?).checked_mul(sector_bytes)?;
        let sane = (1..=MAX_PACKED_BLOCK).contains(&chunk_bytes);
        sane.then_some(())?;
        Some(Self {
            chunks: u64::from(fields.le_u32(4)?),
            chunk_bytes,
            sector_bytes,
            bytes: sectors.checked_mul(sector_bytes)?,
        })
    }
}

/// The sectors that the acquisition could not read, as they are listed: first and count.
pub(super) fn errors(files: &Files, file: usize, section: &Section) -> Option<Vec<Range<u64>>> {
    const HEADER: u64 = 520;
    let header = files.whole(file, section.data, usize::try_from(HEADER).ok()?)?;
    let header = Fields::new(&header);
    if !sum_holds(
        adler2::adler32_slice(header.slice(0, 516)?),
        header.le_u32(516)?,
    ) {
        return None;
    }
    let length = u64::from(header.le_u32(0)?).checked_mul(8)?;
    if HEADER.checked_add(length)?.checked_add(4)? > section.bytes() {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let at = section.data.checked_add(HEADER)?;
    let entries = files.whole(file, at, length.checked_add(4)?)?;
    let entries = Fields::new(&entries);
    let listed = entries.slice(0, length)?;
    if !sum_holds(adler2::adler32_slice(listed), entries.le_u32(length)?) {
        return None;
    }
    let range = |entry: &[u8; 8]| {
        let fields = Fields::new(entry);
        let first = u64::from(fields.le_u32(0)?);
        Some(first..first.checked_add(u64::from(fields.le_u32(4)?))?)
    };
    listed.as_chunks().0.iter().map(range).collect()
}

/// The MD5 in a `hash` section, in hexadecimal.
pub(super) fn md5(files: &Files, file: usize, section: &Section) -> Option<String> {
    let bytes: [u8; 36] = files.array(file, section.data)?;
    let fields = Fields::new(&bytes);
    let holds = sum_holds(
        adler2::adler32_slice(fields.slice(0, 32)?),
        fields.le_u32(32)?,
    );
    holds.then(|| fields.slice(0, 16).and_then(stored))?
}

/// The MD5 and the SHA-1 in a `digest` section, in hexadecimal.
pub(super) fn digests(
    files: &Files,
    file: usize,
    section: &Section,
) -> Option<(Option<String>, Option<String>)> {
    let bytes: [u8; 80] = files.array(file, section.data)?;
    let fields = Fields::new(&bytes);
    if !sum_holds(
        adler2::adler32_slice(fields.slice(0, 76)?),
        fields.le_u32(76)?,
    ) {
        return None;
    }
    Some((stored(fields.slice(0, 16)?), stored(fields.slice(16, 20)?)))
}

/// A hash in hexadecimal. Zeros stand for a hash that was not made.
fn stored(hash: &[u8]) -> Option<String> {
    hash.iter()
        .any(|byte| *byte != 0)
        .then(|| hexadecimal(hash))
}
