//! Groups whose members were wiped in part, written over, or left behind: what comes out must be
//! what was stored, or be known not to be.
//!
//! The arrays are made here by the formulas of mdadm's `geo_map`, Q by single bytes, and the map of
//! what was done to them is the oracle: the code under test has no part in either.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]
#![expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are compared, and some have one"
)]

mod array;

use aggregate::build;
use aggregate::document::{
    Aggregate, Area, DeviceName, Epoch, Region, Segment, SegmentMap, Volume,
};
use aggregate::epochs::{complete, detect, disagrees};
use evidence::{ByteOffset, GapCause, ReadAtExt};

use self::array::{
    Array, BLOCK, CHUNK, Fill, OFFSET, Random, copies, document, evidence, hopeless, name, read,
    regions,
};

#[test]
fn the_frontier_of_each_wiped_member_is_found_and_each_row_has_its_own_erasures() {
    // With the frontiers also inside of blocks, and one member missing from RAID-6.
    let mut random = Random(11);
    for (level, members, missing, ends) in [
        (5, 4, None, [40, 61, 90, 33, 0]),
        (5, 4, None, [5, 61, 0, 33, 0]),
        (6, 5, None, [40, 61, 90, 33, 70]),
        (6, 5, Some(2), [40, 61, 0, 33, 70]),
    ] {
        let mut array = Array::new(level, members, 60, Fill::Data, &mut random);
        let mut damage = Vec::new();
        for (role, end) in ends.into_iter().enumerate().take(members) {
            if end > 0 {
                let range = 0..OFFSET + end * BLOCK + 512 * (role % 3);
                array.zero(role, range.clone());
                damage.push((role, range));
            }
        }
        if let Some(role) = missing {
            array.disks[role] = None;
        }
        assert!(disagrees(&array.group(), &array.devices(), &[]));
        let detected = array.detect();
        for (role, range) in &damage {
            let want = [OFFSET..range.end];
            assert_eq!(
                regions(&detected, *role, Epoch::Zeroed),
                want,
                "{level} {role}"
            );
        }
        assert!(
            detected
                .regions
                .iter()
                .all(|region| region.epoch == Epoch::Zeroed)
        );
        let read = array.read(&detected);
        read.nothing_false(&array);
        let redundancy = if level == 6 { 2 } else { 1 };
        assert_eq!(read.lost, hopeless(&array, &damage, redundancy));
        assert_eq!(read.unsure(), read.lost);
    }
}

#[test]
fn zeros_that_were_stored_are_believed_again_behind_the_frontiers() {
    let mut random = Random(5);
    for level in [5, 6] {
        for seed in 0..6 {
            let mut array = Array::new(level, 5, 60, Fill::Mixed, &mut random);
            let ends: Vec<usize> = (0..5).map(|_| 40 + random.below(80)).collect();
            for (role, end) in ends.iter().enumerate() {
                array.zero(role, 0..OFFSET + end * BLOCK);
            }
            let detected = array.detect();
            let read = array.read(&detected);
            read.nothing_false(&array);
            for (role, end) in ends.iter().enumerate() {
                let found = regions(&detected, role, Epoch::Zeroed);
                let found = found.iter().map(|range| range.end).max().unwrap_or(0);
                // Never short of what was zeroed and not zero before; and past it only as long as
                // nothing decides.
                let disk = &array.lay()[role];
                let wiped = OFFSET + end * BLOCK;
                let last = disk[OFFSET..wiped].iter().rposition(|byte| *byte != 0);
                assert!(found > OFFSET + last.unwrap(), "{level} {seed} {role}");
                let zeros = array.disk(role)[wiped..]
                    .iter()
                    .take_while(|b| **b == 0)
                    .count();
                assert!(found <= wiped + zeros, "{level} {seed} {role}");
            }
            // Above the last frontier all is there.
            let width = if level == 6 { 3 } else { 4 };
            let above = ends.iter().max().unwrap() * BLOCK / CHUNK + 1;
            let far = &read.sure[above * width * CHUNK + 20 * width * CHUNK..];
            assert!(far.iter().all(|sure| *sure));
        }
    }
}

/// Mirrors and stripes over them, wiped to different depths: what one copy has left is read, and
/// what none has is not taken for zeros.
#[test]
fn of_copies_that_were_wiped_to_different_depths_the_one_that_is_left_is_read() {
    let mut random = Random(17);
    let half = 40 * CHUNK;
    for level in [1, 10] {
        let stored = random.bytes(if level == 1 { half } else { 2 * half });
        let ends = [40, 61, 0, 33].map(|blocks| blocks * BLOCK);
        let count = if level == 1 { 2 } else { 4 };
        let disks: Vec<Option<Vec<u8>>> = (0..count)
            .map(|role| {
                let mut disk = vec![0; OFFSET];
                let own = stored.chunks(CHUNK).enumerate();
                let own = own.filter(|(number, _)| level == 1 || number % 2 == role / 2);
                own.for_each(|(_, chunk)| disk.extend(chunk));
                disk[OFFSET..OFFSET + ends[role]].fill(0);
                Some(disk)
            })
            .collect();
        let group = copies(level, count, half, stored.len());
        let evidence = evidence(&disks);
        let devices = build(&document(group.clone(), Vec::new()), &evidence).unwrap();
        assert!(disagrees(&group, &devices, &[]));
        let detected = detect(&group, &devices, &[]);
        let read = read(&detected, &evidence, stored.len());
        for (at, (byte, sure)) in read.bytes.iter().zip(&read.sure).enumerate() {
            assert!(!sure || *byte == stored[at], "{level} at {at}");
        }
        // Of the first two nothing is left up to where one of them has something again.
        assert_eq!(read.lost, ends[0]);
    }
}

#[test]
fn a_wipe_in_the_middle_of_a_member_is_an_erasure() {
    let mut random = Random(23);
    let mut array = Array::new(5, 4, 60, Fill::Data, &mut random);
    let wipe = OFFSET + 50 * BLOCK..OFFSET + 90 * BLOCK;
    array.zero(2, wipe.clone());
    let detected = array.detect();
    assert_eq!(regions(&detected, 2, Epoch::Zeroed), [wipe]);
    let read = array.read(&detected);
    read.nothing_false(&array);
    assert_eq!(read.unsure(), 0);
}

#[test]
fn both_parities_show_which_member_was_written_over_and_single_bits_that_flipped() {
    let mut random = Random(31);
    let mut array = Array::new(6, 6, 40, Fill::Data, &mut random);
    for role in 0..6 {
        let at = OFFSET + (3 + 9 * role) * BLOCK;
        let new = random.bytes(5 * BLOCK);
        array.write(role, at, &new);
        array.disk(role)[OFFSET + (8 + 9 * role) * BLOCK + 777] ^= 4;
    }
    // Two members of one row: that there is something wrong is all that can be said.
    let new = random.bytes(BLOCK);
    array.write(0, OFFSET + 100 * BLOCK, &new);
    array.write(3, OFFSET + 100 * BLOCK, &new[..600]);
    let detected = array.detect();
    for role in 0..6 {
        let at = OFFSET + (3 + 9 * role) * BLOCK;
        assert_eq!(regions(&detected, role, Epoch::New), [at..at + 5 * BLOCK]);
        let bad = &detected.group.members[role].bad_blocks;
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].start as usize, (8 + 9 * role) * BLOCK + 512);
        let both = OFFSET + 100 * BLOCK..OFFSET + 101 * BLOCK;
        assert_eq!(regions(&detected, role, Epoch::Unknown), [both]);
    }
    let read = array.read(&detected);
    read.nothing_false(&array);
    assert_eq!(read.lost, 0);
    assert_eq!(read.unsure(), 4 * BLOCK);
}

#[test]
fn one_parity_shows_it_where_what_was_there_was_text_and_otherwise_the_row_is_suspect() {
    let mut random = Random(43);
    for missing in [None, Some(4)] {
        let level = if missing.is_some() { 6 } else { 5 };
        // Row 4 has P on the first member and data on the one before the last.
        let at = OFFSET + 4 * CHUNK;
        let range = [at..at + 2 * BLOCK];
        let rebuilt = usize::from(missing.is_some());
        for (fill, new_text, wiped, want) in [
            (Fill::Text, true, false, Some(Epoch::Unknown)),
            (Fill::Text, false, false, Some(Epoch::Unknown)),
            (Fill::Text, true, true, Some(Epoch::Unknown)),
            (Fill::Text, false, true, Some(Epoch::New)),
            (Fill::Data, false, true, None),
        ] {
            let mut array = Array::new(level, 5, 30, fill, &mut random);
            if let Some(role) = missing {
                array.disks[role] = None;
            }
            let new = if new_text {
                random.text(2 * BLOCK)
            } else {
                random.bytes(2 * BLOCK)
            };
            array.write(3, at, &new);
            if wiped {
                array.zero(2, 0..OFFSET + 8 * BLOCK);
            }
            let detected = array.detect();
            let read = array.read(&detected);
            read.nothing_false(&array);
            assert_eq!(read.lost, 0);
            let others = regions(&detected, 1, Epoch::Unknown);
            match want {
                // Overwritten, or parity was not: the others are right in both cases.
                Some(Epoch::Unknown) => {
                    assert_eq!(regions(&detected, 3, Epoch::Unknown), range);
                    assert!(others.is_empty());
                    assert_eq!(read.unsure(), (1 + rebuilt) * 2 * BLOCK);
                }
                Some(epoch) => {
                    assert_eq!(regions(&detected, 3, epoch), range);
                    assert_eq!(read.unsure(), 0);
                }
                None => {
                    assert_eq!(regions(&detected, 3, Epoch::Unknown), range);
                    assert_eq!(others, range);
                    assert_eq!(read.unsure(), (4 - rebuilt) * 2 * BLOCK);
                }
            }
        }
    }
}

#[test]
fn parity_that_was_not_updated_makes_the_data_suspect_and_never_old_data_sure() {
    let mut random = Random(47);
    let mut array = Array::new(5, 5, 30, Fill::Text, &mut random);
    // The machine stopped between the data of row 7 and its parity.
    let old = array.lay();
    let new = random.text(BLOCK);
    array.stored[7 * 4 * CHUNK..7 * 4 * CHUNK + BLOCK].copy_from_slice(&new);
    let p = 4 - 7 % 5;
    array.disks = array.lay().into_iter().map(Some).collect();
    array.disks[p] = Some(old[p].clone());
    let detected = array.detect();
    let read = array.read(&detected);
    read.nothing_false(&array);
    assert_eq!(read.bytes, array.stored);
    assert_eq!(read.unsure(), BLOCK);
}

#[test]
fn a_member_that_was_left_behind_is_left_out() {
    let mut random = Random(59);
    let cases = [
        (5, Fill::Text, None),
        (6, Fill::Mixed, None),
        (6, Fill::Text, Some(3)),
    ];
    for (level, fill, missing) in cases {
        let mut array = Array::new(level, 5, 80, fill, &mut random);
        let old = array.disk(1).clone();
        // The group went on without it: one chunk in eight is another.
        let changed: Vec<usize> = (0..array.stored.len() / CHUNK).step_by(8).collect();
        for chunk in changed {
            let new = random.text(CHUNK);
            array.stored[chunk * CHUNK..(chunk + 1) * CHUNK].copy_from_slice(&new);
        }
        array.disks = array.lay().into_iter().map(Some).collect();
        array.disks[1] = Some(old);
        if let Some(role) = missing {
            array.disks[role] = None;
        }
        let detected = array.detect();
        assert!(detected.group.members[1].left_out.is_some(), "{level}");
        let others = detected
            .group
            .members
            .iter()
            .filter(|m| m.left_out.is_some());
        assert_eq!(others.count(), 1);
        let read = array.read(&detected);
        read.nothing_false(&array);
        assert_eq!(read.unsure(), 0);
    }
}

#[test]
fn a_sound_group_has_no_epochs_whatever_zeros_it_holds() {
    let mut random = Random(71);
    for level in [5, 6] {
        let mut array = Array::new(level, 5, 40, Fill::Mixed, &mut random);
        // A group as it begins: something in the first chunk, then nothing for long.
        let length = array.stored.len() / 2;
        array.stored[..BLOCK].fill(b'x');
        array.stored[CHUNK..length].fill(0);
        let labels = array.lay();
        for labels_there in [true, false] {
            array.disks = labels.iter().cloned().map(Some).collect();
            if !labels_there {
                (0..5).for_each(|role| array.zero(role, 0..OFFSET));
            }
            assert!(!disagrees(&array.group(), &array.devices(), &[]));
            let detected = array.detect();
            assert_eq!(detected.regions, []);
            assert_eq!(detected.group, array.group());
            assert_eq!(array.read(&detected).unsure(), 0);
        }
    }
}

#[test]
fn nothing_false_comes_out_whatever_was_done_to_the_members() {
    for seed in 1..40 {
        let mut random = Random(seed * 7919);
        let level = 5 + seed as u32 % 2;
        let mut array = Array::new(level, 4 + random.below(3), 40, Fill::Mixed, &mut random);
        let length = array.disk(0).len();
        for _ in 0..random.below(4) {
            let role = random.below(array.members);
            let start = random.below(length - BLOCK) / 512 * 512;
            let end = (start + (1 + random.below(64)) * BLOCK).min(length);
            // One member of a row at a time, so that the row shows it.
            let start = start.max(OFFSET);
            if start < end {
                let new = random.bytes(end - start);
                array.write(role, start, &new);
            }
        }
        let detected = array.detect();
        array.read(&detected).nothing_false(&array);
        assert_eq!(array.detect(), detected, "the same again");
    }
}

#[test]
fn epochs_that_a_person_states_count_and_lower_groups_come_first() {
    let mut random = Random(83);
    let mut array = Array::new(5, 4, 30, Fill::Data, &mut random);
    array.zero(1, 0..OFFSET + 40 * BLOCK);
    let mut aggregate = document(array.group(), Vec::new());
    complete(&mut aggregate, &array.evidence()).unwrap();
    assert!(
        aggregate
            .epochs
            .iter()
            .all(|region| region.device == name(1))
    );
    let found: u64 = aggregate.epochs.iter().map(|region| region.bytes).sum();
    assert_eq!(found as usize, 40 * BLOCK);
    // What is stated of a group is left alone, and without a group it means every one.
    let stated = Region {
        device: name(0),
        start: OFFSET as u64,
        bytes: BLOCK as u64,
        epoch: Epoch::New,
        pieces: None,
        group: None,
        evidence: String::new(),
    };
    let mut aggregate = document(array.group(), vec![stated.clone()]);
    complete(&mut aggregate, &array.evidence()).unwrap();
    assert_eq!(aggregate.epochs, std::slice::from_ref(&stated));
    let text = serde_json::to_string(&aggregate).unwrap();
    assert_eq!(serde_json::from_str::<Aggregate>(&text).unwrap(), aggregate);
    // A document of a program that knew no epochs is valid.
    let old = text.replace(r#""epochs":"#, r#""x":"#);
    assert!(
        serde_json::from_str::<Aggregate>(&old).is_err(),
        "unknown fields are refused"
    );
    let none = serde_json::to_string(&document(array.group(), Vec::new())).unwrap();
    assert!(!none.contains("epochs"));
    serde_json::from_str::<Aggregate>(&none).unwrap();
    for wrong in [
        Region {
            device: DeviceName::disk("d9"),
            ..stated.clone()
        },
        Region {
            group: Some("h".to_owned()),
            ..stated.clone()
        },
        Region {
            bytes: 0,
            ..stated.clone()
        },
        Region {
            bytes: u64::MAX,
            ..stated
        },
    ] {
        let aggregate = document(array.group(), vec![wrong]);
        assert!(build(&aggregate, &array.evidence()).is_err());
    }
}

#[test]
fn what_lies_on_a_group_passes_on_what_is_lost_and_what_is_suspect() {
    let mut random = Random(97);
    let array = Array::new(5, 4, 10, Fill::Data, &mut random);
    let region = |role, epoch| Region {
        device: name(role),
        start: OFFSET as u64,
        bytes: BLOCK as u64,
        epoch,
        pieces: None,
        group: None,
        evidence: String::new(),
    };
    let read = |epochs| {
        let mut aggregate = document(array.group(), epochs);
        aggregate.volumes.push(Volume {
            device: DeviceName::volume("v"),
            uuid: None,
            bytes: 8192,
            hidden: false,
            snapshot_of: None,
            segments: vec![Segment {
                start: 0,
                bytes: 8192,
                map: SegmentMap::Linear(Area {
                    device: Some(DeviceName::group("g")),
                    offset: 2048,
                }),
            }],
            evidence: Vec::new(),
        });
        let devices = build(&aggregate, &array.evidence()).unwrap();
        let volume = devices.get(&DeviceName::volume("v")).unwrap();
        volume.read_vec(ByteOffset::ZERO, 8192).unwrap()
    };
    let (bytes, gaps) = read(vec![region(0, Epoch::New), region(1, Epoch::Zeroed)]);
    let gap = gaps.iter().next().unwrap();
    assert_eq!(
        (gap.range.clone(), gap.cause),
        (0..2048, GapCause::Overwritten)
    );
    assert_eq!(bytes[..2048], [0; 2048]);
    let (bytes, gaps) = read(vec![region(0, Epoch::New), region(1, Epoch::Unknown)]);
    assert!(gaps.is_empty());
    assert_eq!(gaps.suspects(), [0..2048], "rebuilt from a suspect");
    assert_eq!(bytes, array.stored[2048..10240]);
    let (bytes, gaps) = read(vec![region(0, Epoch::Unknown)]);
    assert_eq!(gaps.suspects(), [0..2048], "suspect itself");
    assert_eq!(bytes, array.stored[2048..10240]);
}
