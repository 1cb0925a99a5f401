//! Virtual disks in DDF containers that mdadm and the Linux kernel made, read back: all there, degraded, with
//! a disk that was failed, and with structures that are damaged. What each sector must hold follows from its
//! number; see `scripts/make-ddf-fixtures.py`, which makes `fixtures/ddf/arrays.tar.zst`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

mod kernel;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aggregate::document::{Aggregate, DeviceName};
use aggregate::{Disk, build, discover};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use serde::Deserialize;

use self::kernel::sector;

/// What `manifest.json` says of the disks of one container.
#[derive(Clone, Debug, Deserialize)]
struct Facts {
    name: String,
    disks: usize,
    disk_bytes: usize,
    #[serde(rename = "virtual")]
    virtual_disks: Vec<VirtualDisk>,
    stale: Vec<usize>,
}

#[derive(Clone, Debug, Deserialize)]
struct VirtualDisk {
    name: String,
    level: String,
    bytes: u64,
    generation: u64,
}

impl VirtualDisk {
    /// The name that its group has.
    fn group(&self) -> DeviceName {
        DeviceName::group(&format!("vd-{}", self.name))
    }

    /// How many disks it can do without, wherever they are.
    fn redundancy(&self) -> usize {
        match self.level.as_str() {
            "1" | "5" | "10" => 1,
            "6" => 2,
            _ => 0,
        }
    }
}

/// One set of the fixture: the pieces of its disks that are not zeros.
struct Set {
    facts: Facts,
    pieces: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
}

impl Set {
    /// The bytes of each disk.
    fn disks(&self) -> Vec<Vec<u8>> {
        let disk = |number| {
            let mut bytes = vec![0; self.facts.disk_bytes];
            for (at, piece) in self.pieces.get(&number).into_iter().flatten() {
                bytes[*at..at + piece.len()].copy_from_slice(piece);
            }
            bytes
        };
        (0..self.facts.disks).map(disk).collect()
    }
}

static SETS: LazyLock<BTreeMap<String, Set>> = LazyLock::new(unpack);

fn unpack() -> BTreeMap<String, Set> {
    let mut files = kernel::files("ddf", "arrays");
    let facts: Vec<Facts> =
        serde_json::from_slice(&files.remove("manifest.json").unwrap()).unwrap();
    let mut sets: BTreeMap<String, Set> = facts
        .into_iter()
        .map(|facts| {
            let pieces = BTreeMap::new();
            (facts.name.clone(), Set { facts, pieces })
        })
        .collect();
    for (name, bytes) in files {
        let (set, place) = name.split_once('/').unwrap();
        let (disk, at) = place.split_once('@').unwrap();
        if let Some(set) = sets.get_mut(set) {
            let pieces = set.pieces.entry(disk.parse().unwrap()).or_default();
            pieces.push((at.parse().unwrap(), bytes));
        }
    }
    sets
}

/// The disks under names that say nothing of their order.
fn named(disks: Vec<(usize, Vec<u8>)>) -> Vec<Disk> {
    let disks = disks.into_iter().map(|(number, bytes)| {
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes));
        (format!("disk-{number}"), device)
    });
    disks.collect()
}

/// The images of the members of an md array, whose labels lie at their start.
fn md_members(array: &str) -> Vec<Vec<u8>> {
    let files = kernel::files("md", "arrays").into_iter();
    let own = files.filter(|(name, _)| name.split('/').next() == Some(array));
    own.map(|(_, bytes)| bytes).collect()
}

/// Fails unless each virtual disk is a group of its name that holds what was written.
fn assert_reads(set: &Set, disks: &[Disk], what: &str) -> Aggregate {
    let name = &set.facts.name;
    let aggregate = discover(disks, &|_, _| None);
    let devices = build(&aggregate, disks).unwrap();
    for one in &set.facts.virtual_disks {
        let device = devices.get(&one.group());
        let device = device.unwrap_or_else(|| panic!("{name} {what}: {aggregate:#?}"));
        // DDF counts in sectors what md rounds to chunks.
        assert!(device.len() >= one.bytes, "{name} {what}");
        let read = device.read_whole(ByteOffset::ZERO, usize::try_from(one.bytes).unwrap());
        let read = read.unwrap_or_else(|| panic!("{name} {what}: a gap"));
        for (number, own) in (0..).zip(read.chunks_exact(512)) {
            let is_right = own == sector(number, one.generation);
            assert!(is_right, "{name} {what}: sector {number}");
        }
    }
    aggregate
}

#[test]
fn the_fixture_has_every_level() {
    let levels: Vec<&str> = SETS.keys().map(String::as_str).collect();
    let expected = [
        "raid0",
        "raid1",
        "raid10",
        "raid1e-adjacent",
        "raid5-left-asymmetric",
        "raid5-left-symmetric",
        "raid5-right-asymmetric",
        "raid6-n-continue",
        "raid6-n-restart",
        "raid6-zero-restart",
        "stale",
        "two",
    ];
    assert_eq!(levels, expected);
}

#[test]
fn virtual_disks_read_as_the_kernel_wrote_them() {
    for set in SETS.values().filter(|set| set.facts.stale.is_empty()) {
        let disks: Vec<(usize, Vec<u8>)> = set.disks().into_iter().enumerate().collect();
        let aggregate = assert_reads(set, &named(disks.clone()), "whole");
        assert!(aggregate.losses.is_empty(), "{:?}", aggregate.losses);
        let virtual_disks = &set.facts.virtual_disks;
        let spare = virtual_disks.iter().map(VirtualDisk::redundancy).min();
        if spare >= Some(1) {
            for gone in 0..set.facts.disks {
                let left = disks.iter().filter(|(number, _)| *number != gone);
                let left = named(left.cloned().collect());
                assert_reads(set, &left, &format!("without disk {gone}"));
            }
        }
        if spare >= Some(2) {
            let left = disks.into_iter().filter(|(number, _)| *number > 1);
            assert_reads(set, &named(left.collect()), "without two disks");
        }
    }
}

#[test]
fn a_disk_that_was_failed_is_left_out() {
    let set = &SETS["stale"];
    let disks = named(set.disks().into_iter().enumerate().collect());
    let aggregate = assert_reads(set, &disks, "with the stale disk");
    let left_out = aggregate.groups[0].members.iter();
    let left_out: Vec<_> = left_out.filter(|m| m.left_out.is_some()).collect();
    let stale = DeviceName::disk(&format!("disk-{}", set.facts.stale[0]));
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].device, Some(stale));
}

#[test]
fn the_second_copy_counts_where_the_first_is_damaged_and_headers_are_searched_for() {
    const HEADER: [u8; 4] = [0xDE, 0x11, 0xDE, 0x11];
    let set = &SETS["raid5-left-symmetric"];
    let mut disks = set.disks();
    let headers = |bytes: &[u8]| -> Vec<usize> {
        let sectors = bytes.chunks_exact(512).enumerate();
        let found = sectors.filter(|(_, sector)| sector[..4] == HEADER);
        found.map(|(number, _)| number * 512).collect()
    };
    for (number, disk) in disks.iter_mut().enumerate() {
        let found = headers(disk);
        assert_eq!(found.len(), 3);
        match number {
            // The anchor, in the last sector.
            0 => disk[found[2]..][..512].fill(0),
            // One byte of the one copy, or of the other.
            1 => disk[found[0] + 200] ^= 1,
            2 => disk[found[1] + 200] ^= 1,
            // An image that goes on behind the disk.
            _ => disk.extend([0; 4096]),
        }
    }
    let disks = named(disks.into_iter().enumerate().collect());
    assert_reads(set, &disks, "damaged");
}

#[test]
fn disks_whose_structures_are_all_damaged_are_named() {
    let set = &SETS["raid0"];
    let mut disks = set.disks();
    for sector in disks[0].chunks_exact_mut(512) {
        if sector[..4] == [0xDE, 0x11, 0xDE, 0x11] {
            sector[200] ^= 1;
        }
    }
    let disks = named(disks.into_iter().enumerate().collect());
    let aggregate = discover(&disks, &|_, _| None);
    let members = &aggregate.groups[0].members;
    assert_eq!(members.iter().filter(|m| m.device.is_none()).count(), 1);
    assert!(!aggregate.losses.is_empty());
    let unused = &aggregate.unused[0];
    assert_eq!(unused.device, DeviceName::disk("disk-0"));
    assert!(unused.why.contains("DDF"), "{}", unused.why);
}

#[test]
fn an_md_array_that_was_made_of_the_disks_is_one_over_the_virtual_disk() {
    let set = &SETS["raid5-left-symmetric"];
    let mut disks = set.disks();
    for (disk, member) in disks.iter_mut().zip(md_members("raid5-left-symmetric")) {
        disk[..member.len()].copy_from_slice(&member);
    }
    let disks = named(disks.into_iter().enumerate().collect());
    let aggregate = discover(&disks, &|_, _| None);
    let of = |name: &str| {
        let mut groups = aggregate.groups.iter();
        groups.find(|group| group.name == name).unwrap()
    };
    assert_eq!(aggregate.groups.len(), 2);
    // One of the two fixtures was made first.
    let (younger, older) = match of("md42").over.is_empty() {
        false => (of("md42"), of("vd-mail")),
        true => (of("vd-mail"), of("md42")),
    };
    assert_eq!(younger.over, std::slice::from_ref(&older.name));
    assert!(older.confidence < younger.confidence);
    // What a group shows of its members' labels makes it no member.
    let devices = aggregate.groups.iter().map(|g| DeviceName::group(&g.name));
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    let members: Vec<DeviceName> = members.filter_map(|m| m.device.clone()).collect();
    assert!(devices.into_iter().all(|device| !members.contains(&device)));
    let second = aggregate
        .unused
        .iter()
        .find(|one| one.why.contains("second"));
    assert!(second.is_none(), "{second:?}");
}

/// Changes the sections of a disk that begin with a signature, of which a header states the length at so many
/// bytes, and puts their checksums right.
fn edit(disk: &mut [u8], signature: [u8; 4], length_at: usize, change: impl Fn(&mut [u8])) {
    let starts = |signature: [u8; 4]| -> Vec<usize> {
        let sectors = disk.chunks_exact(512).enumerate();
        let found = sectors.filter(|(_, sector)| sector[..4] == signature);
        found.map(|(number, _)| number * 512).collect()
    };
    let header = starts([0xDE, 0x11, 0xDE, 0x11])[0];
    let sectors: [u8; 4] = disk[header + length_at..][..4].try_into().unwrap();
    let length = u32::from_be_bytes(sectors) as usize * 512;
    for start in starts(signature) {
        let section = &mut disk[start..start + length];
        change(section);
        section[4..8].fill(0xFF);
        let mut hasher = crc32fast::Hasher::new_with_initial(u32::MAX);
        hasher.update(section);
        let sum = !hasher.finalize();
        section[4..8].copy_from_slice(&sum.to_be_bytes());
    }
}

#[test]
fn a_virtual_disk_that_was_deleted_is_read_and_doubted() {
    let set = &SETS["raid5-left-asymmetric"];
    let mut disks = set.disks();
    for disk in &mut disks {
        // The state of the first entry.
        edit(disk, [0xDD; 4], 212, |section| section[64 + 32] = 2);
    }
    let disks = named(disks.into_iter().enumerate().collect());
    let aggregate = assert_reads(set, &disks, "deleted");
    assert!(aggregate.groups[0].confidence < 1.0);
}

#[test]
fn disks_of_no_virtual_disk_are_left_to_their_contents() {
    let set = &SETS["raid1"];
    let mut disks = set.disks();
    let member = md_members("raid1-1.2");
    for (disk, member) in disks.iter_mut().zip(&member) {
        disk[..member.len()].copy_from_slice(member);
        for sector in disk.chunks_exact_mut(512) {
            if sector[..4] == [0xEE; 4] {
                sector[..4].fill(0);
            }
        }
    }
    let disks = named(disks.into_iter().enumerate().collect());
    let aggregate = discover(&disks, &|_, _| None);
    assert_eq!(aggregate.groups.len(), 1);
    assert_eq!(aggregate.groups[0].name, "md42");
    let mut unused = aggregate.unused.iter();
    assert!(unused.all(|unused| unused.device == DeviceName::group("md42")));
}

#[test]
fn an_md_array_of_virtual_disks_lies_on_these() {
    let set = &SETS["raid1"];
    let mut disks = set.disks();
    let member = md_members("raid1-1.2").swap_remove(0);
    for disk in &mut disks {
        disk[..member.len()].copy_from_slice(&member);
    }
    let disks = named(disks.into_iter().enumerate().collect());
    let aggregate = discover(&disks, &|_, _| None);
    let on: Vec<Vec<Option<DeviceName>>> = aggregate
        .groups
        .iter()
        .map(|group| group.members.iter().map(|m| m.device.clone()).collect())
        .collect();
    let disk = |number| Some(DeviceName::disk(&format!("disk-{number}")));
    assert!(on.contains(&vec![disk(1), disk(0)]), "{on:?}");
    assert!(
        on.contains(&vec![Some(DeviceName::group("vd-mail")), None]),
        "{on:?}"
    );
}
