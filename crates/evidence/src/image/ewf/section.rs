//! Section descriptors: the list that every segment file is.
//!
//! Expert Witness Compression Format specification (Joachim Metz, libewf), chapters "Segment
//! file header" and "The section descriptor".

use crate::image::files::Files;
use crate::image::sum_holds;
use crate::{Error, Fields};

/// The first bytes of a segment file of EnCase and SMART.
pub(super) const SIGNATURE: &[u8] = b"EVF\x09\x0d\x0a\xff\x00";
/// Bytes of the header of a segment file.
const HEADER_BYTES: u64 = 13;
/// Bytes of a section descriptor.
pub(super) const DESCRIPTOR_BYTES: u64 = 76;
/// Sections of one file that are read at most. EnCase writes some hundred; a chain that never
/// ends must end somewhere.
const MOST_SECTIONS: usize = 1 << 20;

/// The number of a segment, from the header of its file; `None` if it is none.
pub(super) fn segment_number(header: &[u8]) -> Option<u16> {
    let fields = Fields::new(header);
    let known = fields.slice(0, 8)? == SIGNATURE && fields.u8(8)? == 1;
    (known && fields.le_u16(11)? == 0).then_some(fields.le_u16(9)?)
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// What it is, in lower-case letters.
    pub(super) kind: String,
    /// Where its data begins, in bytes from the start of its file.
    pub(super) data: u64,
    /// Where it ends.
    pub(super) end: u64,
}

impl Section {
    /// The bytes of its data.
    pub(super) const fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.data)
    }
}

/// The sections of a segment file, in order. The last one is `next` or `done`.
pub(super) fn sections(files: &Files, file: usize) -> Result<Vec<Section>, Error> {
    let mut sections = Vec::new();
    let mut at = HEADER_BYTES;
    while sections.len() < MOST_SECTIONS {
        let broken = |what: &str| Error::corrupt(what, files.origin(file, at));
        let descriptor: [u8; DESCRIPTOR_BYTES as usize] = files.array(file, at).ok_or_else(|| {
            broken(
                "the chain of the EWF image's sections leads beyond the end of the file: the file \
                 was cut short. Get a whole copy, or make what can be made of it with `ewfrecover`",
            )
        })?;
        let (section, next) = descriptor_of(&descriptor, at).ok_or_else(|| {
            broken(
                "the EWF section descriptor here is damaged, so what follows it cannot be found. \
                 Get another copy of the file, or make what can be made of it with `ewfrecover`",
            )
        })?;
        let last = matches!(section.kind.as_str(), "next" | "done");
        sections.push(section);
        if last {
            return Ok(sections);
        }
        if next <= at {
            return Err(broken("the chain of the EWF image's sections turns back"));
        }
        at = next;
    }
    Err(Error::corrupt(
        "the EWF image has more sections than any program writes",
        files.origin(file, at),
    ))
}

/// The section whose descriptor is at `at`, and where the next one begins.
fn descriptor_of(bytes: &[u8], at: u64) -> Option<(Section, u64)> {
    let fields = Fields::new(bytes);
    if !sum_holds(
        adler2::adler32_slice(fields.slice(0, 72)?),
        fields.le_u32(72)?,
    ) {
        return None;
    }
    let name: Vec<u8> = fields
        .slice(0, 16)?
        .iter()
        .copied()
        .take_while(|b| *b != 0)
        .collect();
    let kind = String::from_utf8(name).ok()?;
    let next = fields.le_u64(16)?;
    // Old programs leave the size out.
    let end = match fields.le_u64(24)? {
        0 => next,
        size => at.checked_add(size)?,
    };
    // No section reaches into the next: sections that share their bytes would let a small file have
    // far more to read than it has bytes.
    let end = if next > at { end.min(next) } else { end };
    let data = at.checked_add(DESCRIPTOR_BYTES)?;
    let end = end.max(data);
    Some((Section { kind, data, end }, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor as programs write it.
    fn descriptor(kind: &[u8], next: u64, size: u64) -> Vec<u8> {
        let mut bytes = kind.to_vec();
        bytes.resize(16, 0);
        bytes.extend(next.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.resize(72, 0);
        let sum = adler2::adler32_slice(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_section_ends_where_the_next_begins_whatever_size_it_claims() {
        let read = |next, size| descriptor_of(&descriptor(b"table", next, size), 100);
        for size in [900, 0, 1 << 40] {
            let (section, next) = read(1000, size).unwrap();
            assert_eq!((section.data, section.end, next), (176, 1000, 1000));
        }
        let (last, _) = read(100, 300).unwrap();
        assert_eq!(last.end, 400);
        assert_eq!(read(1000, u64::MAX), None);
    }
}
