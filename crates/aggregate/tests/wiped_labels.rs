//! Labels of which `wipefs` cleared the magic numbers: what they state is what they stated before.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName};
use aggregate::{Disk, build, discover};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAtExt};

/// The images of a set of fixtures/lvm.
fn lvm_set(name: &str) -> BTreeMap<String, Vec<u8>> {
    let path = format!("../../fixtures/lvm/{name}.tar.zst");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let packed = std::fs::read(&path).unwrap();
    let bytes = zstd::decode_all(&packed[..]).unwrap();
    let mut images = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".img") {
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            images.insert(name.to_owned(), contents);
        }
    }
    images
}

/// The image after `wipefs --all`.
fn wiped(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("wipefs")
        .args(["--all", "--force"])
        .arg(file.path())
        .output();
    let output = output.unwrap_or_else(|error| panic!("wipefs: {error}; util-linux has it"));
    assert!(output.status.success(), "{output:?}");
    std::fs::read(file.path()).unwrap()
}

fn disks(images: &BTreeMap<String, Vec<u8>>) -> Vec<Disk> {
    let disks = images.iter().map(|(name, bytes)| {
        let device = Arc::new(Memory::new(bytes.clone()));
        (name.clone(), device as Arc<dyn evidence::ReadAt>)
    });
    disks.collect()
}

/// The names of all groups and volumes with what is in them.
fn contents(aggregate: &Aggregate, disks: &[Disk]) -> BTreeMap<DeviceName, Vec<u8>> {
    let devices = build(aggregate, disks).unwrap();
    let groups = aggregate.groups.iter();
    let names = groups.map(|group| DeviceName::group(&group.name));
    let names = names.chain(aggregate.volumes.iter().map(|one| one.device.clone()));
    let read = |name: DeviceName| {
        let device = devices.get(&name).unwrap();
        let length = usize::try_from(device.len()).unwrap();
        let (bytes, _) = device.read_vec(ByteOffset::ZERO, length).unwrap();
        (name, bytes)
    };
    names.map(read).collect()
}

/// Whether labels of a set are said to be wiped: the same groups and volumes must be found with labels and without
/// what wipefs clears of them.
fn is_read_when_wiped(images: &BTreeMap<String, Vec<u8>>, what: &str) -> bool {
    let before = disks(images);
    let after: BTreeMap<String, Vec<u8>> = images
        .iter()
        .map(|(name, bytes)| (name.clone(), wiped(bytes)))
        .collect();
    if *images == after {
        return false;
    }
    let after = disks(&after);
    let labelled = discover(&before, &|_, _| None);
    let found = discover(&after, &|_, _| None);
    let (expected, read) = (contents(&labelled, &before), contents(&found, &after));
    let names: BTreeSet<&DeviceName> = expected.keys().collect();
    assert_eq!(names, read.keys().collect(), "{what}: {:?}", found.losses);
    for (name, bytes) in &expected {
        assert!(*bytes == read[name], "{what}: {name}");
    }
    let groups = found.groups.iter().flat_map(|group| &group.evidence);
    let volumes = found.volumes.iter().flat_map(|volume| &volume.evidence);
    let notes = found.volume_groups.iter().flat_map(|group| &group.notes);
    let mut said = groups.chain(volumes).chain(notes);
    said.any(|line| line.contains("was cleared"))
}

#[test]
fn arrays_of_md_are_found_by_labels_whose_magic_numbers_were_cleared() {
    let mut arrays: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (name, bytes) in kernel::arrays("md") {
        if let Some((array, disk)) = name.split_once('/') {
            let disks = arrays.entry(array.to_owned()).or_default();
            disks.insert(disk.to_owned(), bytes);
        }
    }
    // It does not know the labels of devices that are too short to be real.
    let wiped = arrays
        .iter()
        .filter(|(name, images)| is_read_when_wiped(images, name));
    assert!(wiped.count() >= 8);
}

#[test]
fn volumes_and_partitions_are_found_by_labels_whose_magic_numbers_were_cleared() {
    for name in ["linear", "striped", "raid", "thin", "gpt-md", "mbr-nested"] {
        assert!(is_read_when_wiped(&lvm_set(name), name), "{name}");
    }
}
