//! Snapshots and thin volumes against what the kernel read from them.
//!
//! The sets are made by `scripts/make-lvm-fixtures.py`; their truth has the SHA-256 of every volume
//! as the kernel gave it before the group was stopped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod kernel;

use std::collections::BTreeMap;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, Volume};
use aggregate::{Disk, build, discover, outermost};
use evidence::view::Memory;
use evidence::{ByteOffset, GapCause, ReadAt, ReadAtExt};
use sha2::{Digest, Sha256};

fn open(name: &str) -> BTreeMap<String, Vec<u8>> {
    kernel::files("lvm", name)
}

fn disks(image: Vec<u8>) -> Vec<Disk> {
    vec![(
        "a".to_owned(),
        Arc::new(Memory::new(image)) as Arc<dyn ReadAt>,
    )]
}

/// Reads a device in pieces that are no multiple of anything; its SHA-256, and its gaps.
fn read(device: &dyn ReadAt) -> (String, Vec<(u64, u64, GapCause)>) {
    let mut hash = Sha256::new();
    let mut gaps = Vec::new();
    let mut at = 0;
    while at < device.len() {
        let length = 333_333.min(device.len() - at);
        let (bytes, missing) = device
            .read_vec(ByteOffset::new(at), length as usize)
            .unwrap();
        hash.update(&bytes);
        gaps.extend(missing.iter().map(|gap| {
            let start = at + gap.range.start as u64;
            (start, at + gap.range.end as u64, gap.cause)
        }));
        at += length;
    }
    let hash = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    (hash, gaps)
}

fn volume<'a>(aggregate: &'a Aggregate, name: &str) -> &'a Volume {
    let mut volumes = aggregate.volumes.iter();
    volumes
        .find(|volume| volume.device == DeviceName::volume(name))
        .unwrap()
}

fn snapshot_of(aggregate: &Aggregate, name: &str) -> Option<String> {
    let of = volume(aggregate, name).snapshot_of.as_ref();
    of.map(ToString::to_string)
}

/// Puts the set together and compares every volume with the truth.
fn check(name: &str) -> Aggregate {
    let files = open(name);
    let disks = disks(files["a.img"].clone());
    let aggregate = discover(&disks, &|_, _| None);
    let text = serde_json::to_string(&aggregate).unwrap();
    assert_eq!(serde_json::from_str::<Aggregate>(&text).unwrap(), aggregate);
    let devices = build(&aggregate, &disks).unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&files["truth.json"]).unwrap();
    for (volume, want) in truth["volumes"].as_object().unwrap() {
        let name = DeviceName(volume.clone());
        let device = devices.get(&name).unwrap();
        assert_eq!(Some(device.len()), want["bytes"].as_u64(), "{volume}");
        let (hash, gaps) = read(&device);
        assert_eq!(gaps, [], "{volume}");
        assert_eq!(Some(hash.as_str()), want["sha256"].as_str(), "{volume}");
        // The origin is one of the devices that may hold a file system, as its snapshots are.
        assert!(outermost(&aggregate, &devices).contains(&&name), "{volume}");
    }
    aggregate
}

#[test]
fn snapshots_are_what_the_kernel_read_from_them() {
    let aggregate = check("snapshots");
    for name in ["snaps/early", "snaps/own", "snaps/full"] {
        assert_eq!(
            snapshot_of(&aggregate, name).as_deref(),
            Some("volume:snaps/mail")
        );
    }
    assert_eq!(snapshot_of(&aggregate, "snaps/mail"), None);
    assert!(volume(&aggregate, "snaps/early#cow").hidden);
}

#[test]
fn of_a_snapshot_that_ran_over_nothing_is_given_but_what_was_saved() {
    let files = open("snapshots");
    let disks = disks(files["a.img"].clone());
    let aggregate = discover(&disks, &|_, _| None);
    let losses: Vec<String> = aggregate.losses.iter().map(ToString::to_string).collect();
    assert!(
        losses.len() == 1 && losses[0].contains("volume:snaps/full"),
        "{losses:?}"
    );
    let device = build(&aggregate, &disks).unwrap();
    let device = device.get(&DeviceName::volume("snaps/full")).unwrap();
    let (bytes, gaps) = device.read_vec(ByteOffset::ZERO, 4 << 20).unwrap();
    assert!(gaps.iter().all(|gap| gap.cause == GapCause::Unmapped));
    let saved: Vec<usize> = (0..8192)
        .filter(|sector| !gaps.touch(sector * 512..(sector + 1) * 512))
        .collect();
    // What the store of 192 KiB had in its list when it was full: here nothing, since the kernel
    // writes the list only when nothing waits. The test of the store has one with saved chunks.
    assert!(saved.len() <= 384, "{}", saved.len());
    for sector in saved {
        let want = format!("{:<18}{sector:>13}\n", "snaps/OLD").repeat(16);
        assert_eq!(&bytes[sector * 512..(sector + 1) * 512], want.as_bytes());
    }
}

#[test]
fn thin_volumes_are_what_the_kernel_read_from_them() {
    let aggregate = check("thin");
    assert_eq!(aggregate.losses, []);
    for name in ["thin/before", "thin/after"] {
        assert_eq!(
            snapshot_of(&aggregate, name).as_deref(),
            Some("volume:thin/mail")
        );
    }
    let outside = snapshot_of(&aggregate, "thin/inside");
    assert_eq!(outside.as_deref(), Some("volume:thin/outside"));
    assert_eq!(snapshot_of(&aggregate, "thin/mail"), None);
    let names = aggregate
        .volumes
        .iter()
        .map(|volume| volume.device.0.as_str());
    assert!(!names.into_iter().any(|name| name == "volume:thin/pool"));
}

#[test]
fn broken_metadata_of_a_pool_are_gaps_and_never_other_bytes() {
    let files = open("thin");
    let image = &files["a.img"];
    let sound = disks(image.clone());
    let aggregate = discover(&sound, &|_, _| None);
    let devices = build(&aggregate, &sound).unwrap();
    let whole = devices.get(&DeviceName::volume("thin/mail")).unwrap();
    let (whole, _) = whole.read_vec(ByteOffset::ZERO, 26 << 20).unwrap();
    // The pool's metadata lie from extent 592 on; each block of them is broken in turn.
    let metadata = (1 << 20) + 592 * 65_536;
    let mut with_gaps = 0;
    for block in 0..96 {
        let at = metadata + block * 4096;
        if image[at..at + 4096].iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut broken = image.clone();
        broken[at + 2048] ^= 0x10;
        let disks = disks(broken);
        let devices = build(&aggregate, &disks).unwrap();
        let device = devices.get(&DeviceName::volume("thin/mail")).unwrap();
        let (bytes, gaps) = device.read_vec(ByteOffset::ZERO, 26 << 20).unwrap();
        with_gaps += u32::from(!gaps.is_empty());
        for sector in 0..bytes.len() / 512 {
            let range = sector * 512..(sector + 1) * 512;
            if !gaps.touch(range.clone()) {
                assert!(
                    bytes[range.clone()] == whole[range],
                    "block {block}, sector {sector}"
                );
            }
        }
    }
    assert!(with_gaps >= 3, "{with_gaps}");
}
