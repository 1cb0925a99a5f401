//! Every example of docs/geometry.md is read from the document, built and read.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails"
)]

mod model;

use std::collections::BTreeSet;
use std::sync::Arc;

use aggregate::Disk;
use aggregate::document::{Aggregate, DeviceName, SegmentMap};
use aggregate::export::{dmsetup_table, mdadm_commands};
use aggregate::raid::{Geometry, Level};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use model::Numbers;

const DOCUMENT: &str = include_str!("../../../docs/geometry.md");

/// The blocks of JSON in a document of Markdown.
fn examples(text: &str) -> Vec<Aggregate> {
    let blocks = text.split("```json\n").skip(1);
    blocks
        .map(|block| {
            let json = block.split("\n```").next().unwrap();
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in\n{json}"))
        })
        .collect()
}

/// Every disk that an example names, with room enough for what lies on it.
fn disks(example: &Aggregate) -> Vec<Disk> {
    let members = example.groups.iter().flat_map(|group| &group.members);
    let mut names: BTreeSet<&DeviceName> = members.filter_map(|m| m.device.as_ref()).collect();
    for segment in example.volumes.iter().flat_map(|volume| &volume.segments) {
        match &segment.map {
            SegmentMap::Linear(area) | SegmentMap::Framed { area, .. } => {
                names.extend(&area.device);
            }
            _ => {}
        }
    }
    let disk = |name: &&DeviceName| {
        let bare = name.0.strip_prefix("disk:")?.to_owned();
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(Numbers::new(7).bytes(2 << 20)));
        Some((bare, disk))
    };
    names.iter().filter_map(disk).collect()
}

#[test]
fn every_example_can_be_built_and_nothing_of_it_is_lost() {
    let examples = examples(DOCUMENT);
    assert_eq!(examples.len(), DOCUMENT.matches("```json").count());
    for example in &examples {
        let devices = aggregate::build(example, &disks(example)).unwrap();
        for (name, device) in devices.iter() {
            let length = usize::try_from(device.len()).unwrap();
            let (_, gaps) = device.read_vec(ByteOffset::new(0), length).unwrap();
            assert!(gaps.is_empty(), "{name}: {gaps:?} of {example:?}");
        }
        for group in &example.groups {
            let size = group.members.iter().map(|member| member.data_size).max();
            let full = Geometry::filling(group.geometry.level.clone(), size.unwrap()).unwrap();
            assert_eq!(full, group.geometry, "the length of the example");
        }
    }
}

#[test]
fn there_is_an_example_of_every_level() {
    let examples = examples(DOCUMENT);
    let levels = examples.iter().flat_map(|example| &example.groups);
    let mut names: Vec<&str> = levels.map(|group| group.geometry.level.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "RAID-0", "RAID-1", "RAID-10", "RAID-4", "RAID-5", "RAID-6", "RAID-DP", "a table",
            "linear"
        ]
    );
    assert!(
        examples
            .iter()
            .flat_map(|example| &example.groups)
            .any(|group| matches!(
                &group.geometry.level,
                Level::Raid5 { delay, .. } if !delay.is_none()
            ))
    );
}

/// Data in sectors of 520 bytes, whose last eight are something else.
fn framed(data: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let sectors = data
        .chunks(512)
        .map(|sector| [sector, &numbers.bytes(8)].concat());
    sectors.collect::<Vec<_>>().concat()
}

#[test]
fn the_volume_of_the_netapp_like_example_is_what_was_laid_on_its_disks() {
    let example = examples(DOCUMENT).pop().unwrap();
    let mut numbers = Numbers::new(8);
    // Per group two data disks and row parity; diagonal parity is not needed for one loss.
    let mut data = Vec::new();
    let mut disks: Vec<Disk> = Vec::new();
    for bays in [
        ["bay-1", "", "bay-2", "bay-3"],
        ["bay-5", "bay-6", "", "bay-8"],
    ] {
        let (one, two) = (numbers.bytes(262_144), numbers.bytes(262_144));
        let parity: Vec<u8> = one.iter().zip(&two).map(|(a, b)| a ^ b).collect();
        let group: Vec<u8> = (16_384..262_144)
            .step_by(4096)
            .flat_map(|at| [&one[at..at + 4096], &two[at..at + 4096]].concat())
            .collect();
        data.push(group);
        let noise = numbers.bytes(262_144);
        for (name, disk) in bays.iter().zip([&one, &two, &parity, &noise]) {
            if !name.is_empty() {
                let image = Memory::new(framed(disk, &mut numbers));
                disks.push(((*name).to_owned(), Arc::new(image)));
            }
        }
    }
    let devices = aggregate::build(&example, &disks).unwrap();
    let volume = devices.get(&DeviceName::volume("vol0")).unwrap();
    let (read, gaps) = volume.read_vec(ByteOffset::new(0), 786_432).unwrap();
    assert!(gaps.is_empty());
    assert!(read[..393_216] == data[0][65_536..65_536 + 393_216]);
    assert!(read[393_216..] == data[1][..393_216]);
}

#[test]
fn what_the_kernel_has_no_array_for_is_said_by_the_exports() {
    for example in examples(DOCUMENT) {
        for group in &example.groups {
            let refused = match &group.geometry.level {
                Level::RaidDp { .. } | Level::Table { .. } => true,
                Level::Raid5 { delay, .. } => !delay.is_none(),
                _ => false,
            };
            let name = DeviceName::group(&group.name);
            let table = dmsetup_table(&example, &name);
            let commands = mdadm_commands(&example);
            if refused {
                assert!(
                    !table
                        .lines()
                        .any(|l| l.starts_with("dmsetup create --readonly restante-group-g ")),
                    "{table}"
                );
                assert!(
                    table.contains(": the kernel has no array")
                        || table.contains("device-mapper cannot leave out"),
                    "{table}"
                );
                assert!(!commands.contains("\nmdadm --assemble"), "{commands}");
            } else {
                assert!(commands.contains("\nmdadm --assemble"), "{commands}");
            }
        }
    }
    // Chunks that the kernel does not have: the same group with others.
    let mut odd = examples(DOCUMENT).remove(4);
    let Level::Raid5 { chunk_bytes, .. } = &mut odd.groups[0].geometry.level else {
        panic!("the fifth example is a RAID-5");
    };
    *chunk_bytes = 3 * 512;
    assert!(
        dmsetup_table(&odd, &DeviceName::group("g")).contains("no array with chunks of this size")
    );
    assert!(!mdadm_commands(&odd).contains("\nmdadm --assemble"));
}
