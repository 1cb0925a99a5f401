//! Groups whose LVM label, header and a part of the ring are gone, made from what LVM wrote: the
//! volumes must be those that the labels gave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod kernel;

use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, Group, Segment, SegmentMap};
use aggregate::{Disk, discover_over};
use evidence::view::Memory;

/// Disk `name` of the set `linear`: two physical volumes of one length.
fn disk(name: &str) -> Vec<u8> {
    let mut files = kernel::files("lvm", "linear");
    files.remove(&format!("{name}.img")).unwrap()
}

/// What is found on groups of one disk each.
fn look(a: Vec<u8>, b: Vec<u8>) -> Aggregate {
    let mut disks: Vec<Disk> = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for (name, bytes) in [("a", a), ("b", b)] {
        let length = bytes.len();
        disks.push((name.to_owned(), Arc::new(Memory::new(bytes))));
        let group = serde_json::json!({
            "name": name,
            "geometry": {"level": "linear", "member_bytes": [length], "bytes": length},
            "members": [{"role": 0, "device": format!("disk:{name}"), "data_size": length}],
        });
        groups.push(serde_json::from_value(group).unwrap());
    }
    discover_over(&disks, &groups, &|_, _| None)
}

fn maps(aggregate: &Aggregate) -> Vec<(DeviceName, Vec<Segment>)> {
    let volumes = aggregate.volumes.iter();
    volumes
        .map(|volume| (volume.device.clone(), volume.segments.clone()))
        .collect()
}

/// Where the texts in the first mebibyte begin: a name, and lines with `id` and `seqno`.
fn texts(disk: &[u8]) -> Vec<usize> {
    let begins = |at: &usize| disk[*at..].starts_with(b"alpha {\nid = ");
    (0..1 << 20).step_by(512).filter(begins).collect()
}

#[test]
fn the_later_part_of_the_ring_is_enough() {
    let (mut a, b) = (disk("a"), disk("b"));
    let labelled = maps(&look(a.clone(), b.clone()));
    assert!(!labelled.is_empty());
    let all = texts(&a);
    assert!(all.len() > 1);
    a[..*all.last().unwrap()].fill(0);
    assert_eq!(maps(&look(a, b)), labelled);
}

#[test]
fn a_text_at_the_end_of_a_group_is_found() {
    let (mut a, b) = (disk("a"), disk("b"));
    let labelled = maps(&look(a.clone(), b.clone()));
    let last = *texts(&a).last().unwrap();
    let text = a[last..last + 16384].to_vec();
    a[..1 << 20].fill(0);
    let end = a.len() - 65536;
    a[end..end + text.len()].copy_from_slice(&text);
    assert_eq!(maps(&look(a, b)), labelled);
}

#[test]
fn file_systems_tell_which_physical_volume_a_group_is() {
    let (mut a, mut b) = (disk("a"), disk("b"));
    let labelled = maps(&look(a.clone(), b.clone()));
    for bytes in [&mut a, &mut b] {
        bytes[..4608].fill(0);
    }
    // Nothing tells two devices of one length apart.
    assert_ne!(maps(&look(a.clone(), b.clone())), labelled);
    let SegmentMap::Linear(area) = &labelled[0].1[0].map else {
        panic!("{labelled:?}")
    };
    let at = area.offset as usize;
    let first = if area.device == Some(DeviceName::group("a")) {
        &mut a
    } else {
        &mut b
    };
    first[at..at + 4].copy_from_slice(b"XFSB");
    assert_eq!(maps(&look(a, b)), labelled);
}

#[test]
fn a_group_that_holds_nothing_of_lvm_is_known_by_what_begins_on_it() {
    let (mut a, b) = (disk("a"), disk("b"));
    let labelled = maps(&look(a.clone(), b.clone()));
    let told = |found: &Aggregate| found.volume_groups[0].notes.join("; ");
    a[..1 << 20].fill(0);
    let by_length = look(a.clone(), b.clone());
    assert_eq!(maps(&by_length), labelled);
    let notes = told(&by_length);
    assert!(notes.contains("group:a holds nothing of LVM"), "{notes}");
    assert!(notes.contains("to the byte"), "{notes}");
    // A length that is about the same says too little alone.
    a.resize(a.len() + 65536, 0);
    assert_ne!(maps(&look(a.clone(), b.clone())), labelled);
    let SegmentMap::Linear(area) = &labelled[0].1[0].map else {
        panic!("{labelled:?}")
    };
    assert_eq!(area.device, Some(DeviceName::group("a")));
    let at = area.offset as usize;
    a[at..at + 4].copy_from_slice(b"XFSB");
    let by_contents = look(a, b);
    assert_eq!(maps(&by_contents), labelled);
    let notes = told(&by_contents);
    assert!(notes.contains("file systems that begin on it"), "{notes}");
}

#[test]
fn texts_about_devices_of_another_length_do_not_count() {
    let mut long = disk("a");
    long[..4608].fill(0);
    long.resize(24 << 20, 0);
    let mut short = disk("b");
    short.truncate(4 << 20);
    let aggregate = look(long, short);
    assert_eq!(aggregate.volumes, []);
    let losses: Vec<String> = aggregate.losses.iter().map(ToString::to_string).collect();
    let strangers = losses
        .iter()
        .filter(|loss| loss.contains("of another aggregate"));
    assert_eq!(strangers.count(), 3, "{losses:#?}");
}
