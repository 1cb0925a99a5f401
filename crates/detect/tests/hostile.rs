//! Disks that somebody made up: whatever bytes lie there, a scan comes to its end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot make its disk has failed"
)]

mod common;

use std::fs;

use evidence::view::Memory;
use evidence::{GapCause, Gaps};
use scan::{ScanOptions, scan_unit, units};

use crate::common::top;

/// Numbers that depend on their seed alone.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// The beginning of what a kernel or a server wrote.
fn honest() -> Vec<Vec<u8>> {
    let fuzz = ["ext4", "ext3", "xfs_v4", "xfs_v5", "btrfs", "labels"];
    let mut disks: Vec<Vec<u8>> = fuzz
        .iter()
        .map(|name| {
            let path = top().join(format!("fixtures/fuzz/{name}.img.zst"));
            zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
        })
        .collect();
    let stores = fs::File::open(top().join("fixtures/maildir/stores.tar.zst")).unwrap();
    disks.push(zstd::decode_all(stores).unwrap());
    for disk in &mut disks {
        disk.truncate(4 << 20);
    }
    disks
}

#[test]
fn changed_bytes_and_gaps_end_no_scan_and_change_nothing_with_the_window() {
    let detectors = detect::all().unwrap();
    let mut numbers = Numbers(1);
    for mut disk in honest() {
        for round in 0..3 {
            for _ in 0..disk.len() / 512 {
                // Near the beginning of a sector, where structures keep their numbers.
                let sector = numbers.below(disk.len() / 512) * 512;
                disk[sector + numbers.below(64)] = match round {
                    0 => 0xFF,
                    1 => numbers.below(256) as u8,
                    _ => 0,
                };
            }
            let mut gaps = Gaps::none();
            let gap = numbers.below(disk.len() - 10_000);
            gaps.add(gap..gap + numbers.below(10_000), GapCause::Unreadable);
            let cut = disk.len() - numbers.below(5000);
            let holed = Memory::new(disk[..cut].to_vec()).with_gaps(&gaps);
            let unit = units(&holed).next().unwrap();
            let scan = |window_bytes| {
                let options = ScanOptions {
                    window_bytes,
                    hash: false,
                };
                scan_unit(&holed, unit, &detectors, &options, None, &|_| ()).unwrap()
            };
            let (one, other) = (scan(256 << 10), scan(1000 + numbers.below(100_000)));
            assert!(one.finds == other.finds);
            assert!(one.runs == other.runs);
        }
    }
}
