//! What the person who acquired the disk wrote down.
//!
//! Expert Witness Compression Format specification, chapter "Header section": a zlib stream of text;
//! its third line names the values of the fourth, both with tabs between them.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::section::Section;
use crate::image::container::{Facts, printable};
use crate::image::files::Files;

/// A header has some hundred bytes.
const MOST_BYTES: u64 = 64 << 10;

/// The values that are kept, and what they are called.
const VALUES: [(&str, &str); 7] = [
    ("c", "case_number"),
    ("n", "evidence_number"),
    ("a", "description"),
    ("e", "examiner"),
    ("t", "notes"),
    ("av", "acquired_with"),
    ("m", "acquired_at"),
];

/// The values in a `header` section; empty if it cannot be read, since nothing else needs it.
pub(super) fn values(files: &Files, file: usize, section: &Section) -> Facts {
    let length = usize::try_from(section.bytes().min(MOST_BYTES)).unwrap_or(0);
    let packed = files.whole(file, section.data, length).unwrap_or_default();
    let mut text = Vec::new();
    let read = ZlibDecoder::new(packed.as_slice())
        .take(MOST_BYTES)
        .read_to_end(&mut text);
    if read.is_err() {
        return Facts::new();
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().skip(2);
    let (names, values) = (lines.next(), lines.next());
    let named = names.into_iter().flat_map(|line| line.split('\t'));
    let valued = values.into_iter().flat_map(|line| line.split('\t'));
    named
        .zip(valued)
        .filter_map(|(name, value)| {
            let (_, fact) = VALUES.iter().find(|(known, _)| *known == name.trim())?;
            let value = value.trim();
            (!value.is_empty()).then(|| ((*fact).to_owned(), printable(value)))
        })
        .collect()
}
