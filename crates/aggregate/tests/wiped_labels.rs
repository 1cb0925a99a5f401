//! Labels of which `wipefs` cleared the magic numbers: what they state is what they stated before.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, FilesystemStatement};
use aggregate::md::{Found, read_superblocks};
use aggregate::{Disk, build, discover};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAtExt};

/// No label of md is looked for by libblkid on a device that is not longer.
const FLOPPY_BYTES: usize = 1440 << 10;

/// The images of a set of fixtures/lvm.
fn lvm_set(name: &str) -> BTreeMap<String, Vec<u8>> {
    let files = kernel::files("lvm", name).into_iter();
    let image = |(name, bytes): (String, _)| Some((name.strip_suffix(".img")?.to_owned(), bytes));
    files.filter_map(image).collect()
}

/// The labels of md on an image that are sound.
fn labels(bytes: &[u8]) -> Vec<Found> {
    let device = Memory::new(bytes.to_vec());
    let mut found = read_superblocks(&device, &DeviceName::disk("one"));
    found.retain(|label| label.fault.is_none());
    found
}

/// The image after `wipefs --all`, which knows no label of md on a device as short as a floppy disk: of such the
/// magic number is cleared here.
fn wiped(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("wipefs")
        .args(["--all", "--force"])
        .arg(file.path())
        .output();
    let output = output.unwrap_or_else(|error| panic!("wipefs: {error}; util-linux has it"));
    assert!(output.status.success(), "{output:?}");
    let mut wiped = std::fs::read(file.path()).unwrap();
    for label in labels(&wiped) {
        let at = usize::try_from(label.at.get()).unwrap();
        wiped[at..at + 4].fill(0);
    }
    wiped
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
    let after = disks(&after);
    let labelled = discover(&before, &|_, _| None);
    // The first disk begins with what is longer than itself, as a member without data before it does.
    let first = DeviceName::disk(&after[0].0);
    let probe = |_, name: &DeviceName| {
        (*name == first).then(|| FilesystemStatement {
            device: name.clone(),
            kind: "ext4".to_owned(),
            uuid: String::new(),
            label: String::new(),
            bytes: 1 << 40,
            notes: Vec::new(),
        })
    };
    let found = discover(&after, &probe);
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
    for (name, bytes) in kernel::files("md", "arrays") {
        if let Some((array, disk)) = name.split_once('/') {
            let disks = arrays.entry(array.to_owned()).or_default();
            disks.insert(disk.to_owned(), bytes);
        }
    }
    // What is long enough for wipefs, and one array of each version of labels.
    let mut versions = BTreeSet::new();
    arrays.retain(|_, images| {
        let long = images.values().any(|bytes| bytes.len() > FLOPPY_BYTES);
        let labels = images.values().flat_map(|bytes| labels(bytes));
        let new = labels
            .filter(|label| versions.insert(label.superblock.version))
            .count();
        long || new > 0
    });
    assert_eq!(versions.len(), 4, "{versions:?}");
    let said = arrays
        .iter()
        .filter(|(name, images)| is_read_when_wiped(images, name));
    // Of one array the reshape has not ended, and one has no member whose label is read.
    assert!(said.count() + 2 >= arrays.len());
}

#[test]
fn volumes_and_partitions_are_found_by_labels_whose_magic_numbers_were_cleared() {
    for name in ["linear", "striped", "raid", "thin", "gpt-md", "mbr-nested"] {
        assert!(is_read_when_wiped(&lvm_set(name), name), "{name}");
    }
}

/// An array of old whose labels at the ends of its disks were cleared, and a file system that one of these got since.
#[test]
fn what_is_recognised_on_a_disk_counts_before_a_label_without_its_magic_number() {
    let disk = |image: &[u8]| disks(&[("one".to_owned(), image.to_vec())].into());
    let images = kernel::files("md", "arrays").into_values();
    let at_end = images.filter(|bytes| labels(bytes).iter().any(|label| label.at.get() > 1 << 16));
    let mut cleared = at_end.map(|bytes| wiped(&bytes)).filter(|image| {
        let found = discover(&disk(image), &|_, _| None);
        found.groups.len() == 1
    });
    let mut image = cleared.next().unwrap();
    image[3..11].copy_from_slice(b"NTFS    ");
    let found = discover(&disk(&image), &|_, _| None);
    let [unused] = found.unused.as_slice() else {
        panic!("{found:#?}");
    };
    assert!(unused.why.contains("NTFS"), "{}", unused.why);
    assert!(found.groups.is_empty());
}

/// A table of before the disks became members of something as a whole.
#[test]
fn a_table_without_its_signature_in_whose_partitions_nothing_is_known_counts_for_nothing() {
    for (name, first) in [("mbr-nested", 1 << 9), ("gpt-md", 34 << 9)] {
        let (_, image) = lvm_set(name).into_iter().next().unwrap();
        let mut image = wiped(&image);
        let end = image.len() - (33 << 9);
        image[first..end].fill(0x5A);
        let found = discover(&disks(&[("one".to_owned(), image)].into()), &|_, _| None);
        assert!(found.volumes.is_empty(), "{name}: {:?}", found.volumes);
    }
}
