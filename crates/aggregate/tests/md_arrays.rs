//! Arrays that the Linux kernel made, read back: healthy, degraded, and with labels that lie
//! behind. What each sector must hold follows from its number; see
//! `scripts/make-md-fixtures.py`, which makes `fixtures/md/arrays.tar.zst`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

mod kernel;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aggregate::document::{DeviceName, Group};
use aggregate::md::{Assembly, Found, assemble, read_superblocks};
use aggregate::raid::{GroupReader, open_member};
use evidence::view::Memory;
use evidence::{ByteOffset, Cause, GapCause, Gaps, ReadAt, ReadAtExt};
use serde::Deserialize;

use self::kernel::sector;

/// What `manifest.json` says of an array.
#[derive(Debug, Deserialize)]
struct Facts {
    name: String,
    level: String,
    generation: u64,
    bytes: u64,
    #[serde(default)]
    chunk_bytes: u64,
    stale: Vec<usize>,
    spares: Vec<usize>,
    slots: Vec<String>,
    notes: serde_json::Value,
}

/// An array of the fixture with the images of its devices.
struct Array {
    facts: Facts,
    disks: Vec<Arc<dyn ReadAt>>,
}

static ARRAYS: LazyLock<BTreeMap<String, Array>> = LazyLock::new(unpack);

fn unpack() -> BTreeMap<String, Array> {
    let mut files = kernel::files("md", "arrays");
    let facts: Vec<Facts> =
        serde_json::from_slice(&files.remove("manifest.json").unwrap()).unwrap();
    let mut arrays: BTreeMap<String, Array> = facts
        .into_iter()
        .map(|facts| {
            let disks = Vec::new();
            (facts.name.clone(), Array { facts, disks })
        })
        .collect();
    for (name, bytes) in files {
        let (array, _) = name.split_once('/').unwrap();
        let disks = &mut arrays.get_mut(array).unwrap().disks;
        disks.push(Arc::new(Memory::new(bytes)));
    }
    arrays
}

fn content(start: u64, length: usize, generation: u64) -> Vec<u8> {
    let first = start / 512;
    let skip = (start % 512) as usize;
    let sectors = (skip + length).div_ceil(512) as u64;
    let mut bytes: Vec<u8> = (first..first + sectors)
        .flat_map(|number| sector(number, generation))
        .collect();
    bytes.drain(..skip);
    bytes.truncate(length);
    bytes
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % bound.max(1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

fn disk_name(index: usize) -> String {
    format!("disk-{index:02}")
}

/// The labels of the disks with these numbers, in an order that means nothing.
fn labels(array: &Array, disks: &[usize], random: &mut Random) -> Vec<Found> {
    let mut disks = disks.to_vec();
    random.shuffle(&mut disks);
    disks
        .iter()
        .flat_map(|index| {
            read_superblocks(&array.disks[*index], &DeviceName::disk(&disk_name(*index)))
        })
        .collect()
}

fn assembled(array: &Array, disks: &[usize]) -> Assembly {
    let mut random = Random(disks.len() as u64);
    let assembly = assemble(&labels(array, disks, &mut random));
    for _ in 0..3 {
        let again = assemble(&labels(array, disks, &mut random));
        assert_eq!(
            again, assembly,
            "{} depends on the order of its disks",
            array.facts.name
        );
    }
    assembly
}

fn reader(array: &Array, group: &Group) -> GroupReader {
    let members = group
        .members
        .iter()
        .map(|member| {
            let device = member.device.as_ref()?;
            let index =
                (0..array.disks.len()).find(|i| *device == DeviceName::disk(&disk_name(*i)))?;
            open_member(&array.disks[index], member, &[])
        })
        .collect();
    // What the document holds must survive being written and read.
    let text = serde_json::to_string(&group.geometry).unwrap();
    let geometry = serde_json::from_str(&text).unwrap();
    assert_eq!(group.geometry, geometry, "{text}");
    GroupReader::new(geometry, members).unwrap()
}

/// Positions and lengths worth reading: borders of chunks, and many that mean nothing.
fn reads(facts: &Facts, members: u64, count: usize) -> Vec<(u64, usize)> {
    let chunk = facts.chunk_bytes.max(4096);
    let stripe = chunk * members;
    let mut random = Random(facts.bytes ^ chunk);
    let mut reads = vec![(0, facts.bytes as usize), (facts.bytes - 1, 1), (0, 1)];
    for at in [
        chunk - 1,
        chunk,
        chunk + 1,
        3 * chunk,
        stripe - 1,
        stripe + 511,
    ] {
        for length in [1, 511, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * stripe] {
            reads.push((at, length as usize));
        }
    }
    for _ in 0..count {
        let longest = if random.below(4) == 0 {
            3 * stripe
        } else {
            2000
        };
        reads.push((
            random.below(facts.bytes),
            1 + random.below(longest) as usize,
        ));
    }
    reads
        .into_iter()
        .filter(|(at, _)| *at < facts.bytes)
        .map(|(at, length)| (at, length.min((facts.bytes - at) as usize)))
        .collect()
}

/// Checks that the group reads as the kernel's array did, byte for byte and without gaps.
fn check_whole(array: &Array, group: &Group, count: usize, what: &str) {
    let group_reader = reader(array, group);
    let facts = &array.facts;
    assert_eq!(
        group_reader.len(),
        facts.bytes,
        "{} {what}: length",
        facts.name
    );
    for (at, length) in reads(facts, group.members.len() as u64, count) {
        let mut bytes = vec![0xEE; length];
        let gaps = group_reader
            .read_at(ByteOffset::new(at), &mut bytes)
            .unwrap();
        assert!(
            gaps.is_empty(),
            "{} {what}: {length} at {at}: {gaps:?}",
            facts.name
        );
        let want = content(at, length, facts.generation);
        if let Some(wrong) = bytes.iter().zip(&want).position(|(a, b)| a != b) {
            panic!(
                "{} {what}: {length} at {at}: wrong from {wrong}",
                facts.name
            );
        }
    }
}

/// Checks that what can be read is right, and that every byte else is in a gap of zeros.
fn check_partial(array: &Array, group: &Group, what: &str) -> Gaps {
    let group_reader = reader(array, group);
    let facts = &array.facts;
    let length = usize::try_from(group_reader.len()).unwrap();
    let (bytes, gaps) = group_reader.read_vec(ByteOffset::ZERO, length).unwrap();
    let mut want = content(0, length, facts.generation);
    for gap in gaps.iter() {
        want[gap.range.clone()].fill(0);
    }
    let wrong = bytes.iter().zip(&want).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "{} {what}", facts.name);
    gaps
}

fn regular() -> impl Iterator<Item = &'static Array> {
    let special = ["stale", "rebuilding", "growing", "rechunking", "bad-blocks"];
    ARRAYS
        .values()
        .filter(move |array| !special.iter().any(|s| array.facts.name.starts_with(s)))
}

/// The disks that hold data of the array, in the order of their roles.
fn active(array: &Array) -> Vec<usize> {
    let facts = &array.facts;
    let mut slots: Vec<(u32, usize)> = facts
        .slots
        .iter()
        .enumerate()
        .filter(|(index, _)| !facts.spares.contains(index))
        .filter(|(index, _)| facts.notes["replacement"] != *index)
        .filter_map(|(index, slot)| Some((slot.parse().ok()?, index)))
        .collect();
    slots.sort_unstable();
    slots.into_iter().map(|(_, index)| index).collect()
}

fn only_group(assembly: &Assembly) -> &Group {
    let [group] = assembly.groups.as_slice() else {
        panic!("not one group: {assembly:?}");
    };
    group
}

#[test]
fn the_fixture_has_every_level_and_layout() {
    let names: Vec<&str> = ARRAYS.keys().map(String::as_str).collect();
    assert!(names.len() >= 100, "{names:?}");
    for part in [
        "raid6-ddf-N-continue",
        "raid0-zones-original",
        "raid10-sets18-7",
        "linear-0.90",
    ] {
        assert!(names.contains(&part), "{part} is missing of {names:?}");
    }
}

#[test]
fn healthy_arrays_read_as_the_kernel_wrote_them() {
    for array in regular() {
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let assembly = assembled(array, &all);
        let group = only_group(&assembly);
        assert!(
            assembly.losses.is_empty(),
            "{}: {:?}",
            array.facts.name,
            assembly.losses
        );
        let devices: Vec<_> = group
            .members
            .iter()
            .map(|member| member.device.clone())
            .collect();
        let want: Vec<_> = active(array)
            .iter()
            .map(|i| Some(DeviceName::disk(&disk_name(*i))))
            .collect();
        assert_eq!(devices, want, "{}", array.facts.name);
        check_whole(array, group, 150, "healthy");
    }
}

#[test]
fn arrays_without_one_member_read_as_before_or_have_gaps_where_it_was() {
    for array in regular() {
        for lost in active(array) {
            let rest: Vec<usize> = (0..array.disks.len())
                .filter(|disk| *disk != lost)
                .collect();
            let assembly = assembled(array, &rest);
            if assembly.groups.is_empty() {
                continue;
            }
            let group = only_group(&assembly);
            let what = format!("without disk {lost}");
            if group.geometry.redundancy() > 0 {
                assert!(
                    assembly.losses.is_empty(),
                    "{} {what}: {:?}",
                    array.facts.name,
                    assembly.losses
                );
                check_whole(array, group, 60, &what);
            } else {
                assert!(!assembly.losses.is_empty(), "{} {what}", array.facts.name);
                // Where members differ, the size of the missing one is anyone's guess.
                if array.facts.name.starts_with("raid0-1.") {
                    let gaps = check_partial(array, group, &what);
                    assert!(gaps.iter().all(|gap| gap.cause == GapCause::MemberMissing));
                    let share = group.geometry.bytes as usize / group.members.len();
                    assert_eq!(gaps.bytes(), share, "{} {what}", array.facts.name);
                }
            }
        }
    }
}

#[test]
fn raid6_without_any_two_members_reads_as_before() {
    for array in regular().filter(|array| array.facts.level == "6") {
        let count = array.disks.len();
        for (first, second) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
            let rest: Vec<usize> = (0..count)
                .filter(|disk| *disk != first && *disk != second)
                .collect();
            let assembly = assembled(array, &rest);
            assert!(assembly.losses.is_empty(), "{:?}", assembly.losses);
            check_whole(
                array,
                only_group(&assembly),
                40,
                &format!("without {first}, {second}"),
            );
        }
    }
}

#[test]
fn mirrored_arrays_without_two_members_have_gaps_only_where_both_copies_were() {
    for array in regular().filter(|array| array.facts.level == "10") {
        let count = array.disks.len();
        for (first, second) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
            let rest: Vec<usize> = (0..count)
                .filter(|disk| *disk != first && *disk != second)
                .collect();
            let assembly = assembled(array, &rest);
            let Some(group) = assembly.groups.first() else {
                continue;
            };
            let gaps = check_partial(array, group, &format!("without {first}, {second}"));
            assert_eq!(
                gaps.is_empty(),
                assembly.losses.is_empty(),
                "{} without {first}, {second}: {} bytes of gaps, {:?}",
                array.facts.name,
                gaps.bytes(),
                assembly.losses
            );
        }
    }
}

#[test]
fn a_stale_member_is_left_out_with_both_event_counts_in_the_reason() {
    for array in ARRAYS
        .values()
        .filter(|array| !array.facts.stale.is_empty())
    {
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let assembly = assembled(array, &all);
        let group = only_group(&assembly);
        for stale in &array.facts.stale {
            let member = &group.members[*stale];
            let why = member
                .left_out
                .as_deref()
                .unwrap_or_else(|| panic!("{}", array.facts.name));
            assert!(why.contains("events"), "{}: {why}", array.facts.name);
        }
        check_whole(array, group, 100, "with its stale members beside it");
        // Without one more member the array cannot be read, and the stale one is not slipped in.
        let needed = (0..array.disks.len())
            .find(|disk| !array.facts.stale.contains(disk))
            .unwrap();
        let rest: Vec<usize> = all.iter().copied().filter(|disk| *disk != needed).collect();
        if array.facts.level == "5" {
            let assembly = assembled(array, &rest);
            let advised = |text: &str| assembly.losses.iter().any(|loss| loss.what.contains(text));
            assert!(advised("left_out"), "{:?}", assembly.losses);
            let gaps = check_partial(array, only_group(&assembly), "two behind");
            assert!(!gaps.is_empty());
        }
    }
}

#[test]
fn a_spare_and_a_journal_are_unused_with_a_reason() {
    for (name, disk, word) in [("spare", 3, "spare"), ("journal", 0, "journal")] {
        let array = &ARRAYS[name];
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let assembly = assembled(array, &all);
        let [unused] = assembly.unused.as_slice() else {
            panic!("{:?}", assembly.unused);
        };
        assert_eq!(unused.device, DeviceName::disk(&disk_name(disk)));
        assert!(unused.why.contains(word), "{}", unused.why);
    }
}

#[test]
fn a_member_that_was_being_rebuilt_is_read_as_far_as_that_had_come() {
    for array in ARRAYS
        .values()
        .filter(|array| array.facts.name.starts_with("rebuilding"))
    {
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let assembly = assembled(array, &all);
        let group = only_group(&assembly);
        let rebuilt = array.facts.notes["recovery_offset"].as_u64().unwrap() * 512;
        let last = active(array).len() - 1;
        assert_eq!(
            group.members[last].data_size, rebuilt,
            "{}",
            array.facts.name
        );
        check_whole(array, group, 100, "while rebuilding");
        // With another one gone, only what the rebuild had reached can be had.
        let other = active(array)[if array.facts.level == "10" {
            last - 1
        } else {
            0
        }];
        let rest: Vec<usize> = all.into_iter().filter(|disk| *disk != other).collect();
        let assembly = assembled(array, &rest);
        let gaps = check_partial(array, only_group(&assembly), "while rebuilding, one lost");
        assert_eq!(
            gaps.is_empty(),
            array.facts.level == "6",
            "{}",
            array.facts.name
        );
    }
}

#[test]
fn an_unfinished_replacement_is_not_read_while_the_old_member_is_there() {
    let array = &ARRAYS["replacing-raid5"];
    let assembly = assembled(array, &[0, 1, 2, 3]);
    let group = only_group(&assembly);
    assert_eq!(group.members[1].device, Some(DeviceName::disk("disk-01")));
    assert!(
        assembly.unused[0].why.contains("replacement"),
        "{:?}",
        assembly.unused
    );
    // Without the old member the new one is read as far as it goes; parity gives the rest.
    let assembly = assembled(array, &[0, 2, 3]);
    let group = only_group(&assembly);
    assert_eq!(group.members[1].device, Some(DeviceName::disk("disk-03")));
    assert_eq!(group.members[1].data_size, 1536 * 512);
    check_whole(array, group, 100, "on its replacement");
}

#[test]
fn an_interrupted_reshape_is_refused_with_the_way_out() {
    for name in ["growing-raid5", "rechunking-raid5"] {
        let array = &ARRAYS[name];
        let assembly = assembled(array, &[0, 1, 2, 3]);
        assert!(assembly.groups.is_empty());
        let [loss] = assembly.losses.as_slice() else {
            panic!("{:?}", assembly.losses);
        };
        let Cause::Unsupported(what) = &loss.cause else {
            panic!("{loss}");
        };
        assert!(
            what.contains("reshape") && what.contains("copies of the disks"),
            "{what}"
        );
        let change = if name == "growing-raid5" {
            "3 members to"
        } else {
            "chunk 32 KiB"
        };
        assert!(what.contains(change), "{what}");
        assert_eq!(assembly.unused.len(), 4);
    }
}

#[test]
fn an_array_that_was_in_use_says_that_parity_may_not_match() {
    for name in ["dirty-raid5", "dirty-raid6", "resyncing-raid1"] {
        let array = &ARRAYS[name];
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let warned = |disks: &[usize]| {
            let assembly = assembled(array, disks);
            let evidence = only_group(&assembly).evidence.join("\n");
            evidence
                .contains("not stopped in order")
                .then_some(evidence)
        };
        assert!(warned(&all).is_some(), "{name}");
        if name != "resyncing-raid1" {
            assert!(
                warned(&all[1..]).unwrap().contains("rebuilt wrongly"),
                "{name}"
            );
        }
    }
}

#[test]
fn recorded_bad_blocks_are_taken_from_the_other_members() {
    for name in ["bad-blocks-raid1", "bad-blocks-raid5"] {
        let array = &ARRAYS[name];
        let all: Vec<usize> = (0..array.disks.len()).collect();
        let assembly = assembled(array, &all);
        let group = only_group(&assembly);
        let recorded = array.facts.notes["bad_blocks"].as_array().unwrap();
        for bad in recorded {
            let [member, sector, sectors] = [0, 1, 2].map(|i| bad[i].as_u64().unwrap());
            let member = &group.members[member as usize];
            let found = member.bad_blocks.iter().any(|bad| {
                bad.start + member.data_offset == sector * 512 && bad.bytes == sectors * 512
            });
            assert!(found, "{name}: {:?}", member.bad_blocks);
        }
        let gaps = check_partial(array, group, "with bad blocks");
        // On the RAID-5 two members are bad in the same place: there, and only there, data is
        // lost, unless one of the two pieces is parity.
        match name {
            "bad-blocks-raid1" => assert!(gaps.is_empty()),
            _ => assert!(gaps.bytes() <= 2 * 4096, "{gaps:?}"),
        }
        assert!(gaps.iter().all(|gap| gap.cause == GapCause::Unreadable));
    }
}

#[test]
fn arrays_are_named_after_themselves() {
    let name = |array: &str| {
        let array = &ARRAYS[array];
        let all: Vec<usize> = (0..array.disks.len()).collect();
        only_group(&assembled(array, &all)).name.clone()
    };
    assert_eq!(name("raid5-defaults"), "mail");
    assert_eq!(name("raid1-three"), "boot");
    assert_eq!(name("raid4"), "md42");
    assert!(name("raid5-0.90").starts_with("md-"));
}

#[test]
fn all_arrays_on_one_table_are_told_apart() {
    let mut found = Vec::new();
    for array in ARRAYS.values() {
        for (index, disk) in array.disks.iter().enumerate() {
            let device = DeviceName::disk(&format!("{}-{index}", array.facts.name));
            found.extend(read_superblocks(disk, &device));
        }
    }
    let first = assemble(&found);
    assert_eq!(first.groups.len() + 2, ARRAYS.len());
    Random(7).shuffle(&mut found);
    assert_eq!(assemble(&found), first);
    let mut names: Vec<&str> = first
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    names.dedup();
    assert_eq!(names.len(), first.groups.len(), "names are unique");
}
