//! Arrays and volumes that the kernel made (`scripts/make-md-fixtures.py`, `scripts/make-ddf-fixtures.py`,
//! `scripts/make-lvm-fixtures.py`), and what they hold.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test takes what it needs"
)]

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

/// The files of the set `fixtures/{kind}/{name}.tar.zst`, by name.
pub(crate) fn files(kind: &str, name: &str) -> BTreeMap<String, Vec<u8>> {
    let path = format!("../../fixtures/{kind}/{name}.tar.zst");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; scripts/make-{kind}-fixtures.py makes it",
            path.display()
        )
    });
    let mut decoder = zstd::Decoder::new(BufReader::new(file)).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(name, bytes);
    }
    files
}

/// The content of sector `number` as the generators wrote it.
pub(crate) fn sector(number: u64, generation: u64) -> [u8; 512] {
    let number = number | generation << 56;
    let word = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = word ^ word >> 29;
    let mut bytes = [0; 512];
    for (i, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&if i == 0 { number } else { word }.to_le_bytes());
    }
    bytes
}
