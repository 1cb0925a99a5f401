//! Hostile disks: what the fuzz targets do with their input, and the tests with the corpus.
//!
//! Parsers of single structures would be fuzzed far from what leads to them, so a target takes a
//! whole small image, changes it as its input says (`patch.rs`), and has everything read that can
//! be had of it: what a run finds is what a hostile disk could do. Built for fuzzing, checksums
//! count as right (`cfg(fuzzing)`), or nearly every change would end at them.
//!
//! `scripts/fuzz.sh` runs the targets; `tests/corpus.rs` replays what they kept.

mod containers;
mod disks;
mod filesystems;
mod patch;
mod stores;

/// Feeds `input` to the target called `target`. Panics are the finds; there is no result.
pub fn run(target: &str, input: &[u8]) {
    match target {
        "containers" => containers::read(input),
        "labels" | "ddf" | "luks1" | "luks2" | "bitlocker" => disks::labels(target, input),
        "contents" => disks::contents(input),
        "mapfile" => disks::mapfile(input),
        "stores" => stores::read(input),
        format => filesystems::read(format, input),
    }
}

/// The names of all targets.
pub const TARGETS: [&str; 15] = [
    "ext4",
    "ext4_2014",
    "ext3",
    "xfs_v5",
    "xfs_v4",
    "btrfs",
    "labels",
    "ddf",
    "luks1",
    "luks2",
    "bitlocker",
    "contents",
    "stores",
    "mapfile",
    "containers",
];

/// Where the fixtures of the repository lie.
pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/fuzz");
