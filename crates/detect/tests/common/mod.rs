//! What the tests share: disks, and what a scan finds on them.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of tests, of which not every test uses all"
)]

use std::path::{Path, PathBuf};

use evidence::view::Memory;
use scan::{Find, ScanOptions, UnitResult, scan_unit, units};

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All that a scan of `disk`, which has one unit, gives.
pub(crate) fn scan_of(disk: Vec<u8>) -> UnitResult {
    let disk = Memory::new(disk);
    let unit = units(&disk).next().unwrap();
    let options = ScanOptions::default();
    scan_unit(
        &disk,
        unit,
        &detect::all().unwrap(),
        &options,
        None,
        &|_| (),
    )
    .unwrap()
}

/// The finds that are called `what`.
pub(crate) fn called<'a>(finds: &'a [Find], what: &str) -> Vec<&'a Find> {
    finds.iter().filter(|find| find.what == what).collect()
}
