//! Groups whose members were wiped in part, written over, or left behind: what comes out must be
//! what was stored, or be known not to be.
//!
//! The arrays are made here by the formulas of mdadm's `geo_map`, Q by single bytes, and the map of
//! what was done to them is the oracle: the code under test has no part in either.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::ops::Range;
use std::sync::Arc;

use aggregate::document::{
    Aggregate, DeviceName, Epoch, Group, Member, Region, Segment, SegmentMap, VERSION, Volume,
};
use aggregate::epochs::{Detected, complete, detect, disagrees};
use aggregate::raid::{Geometry, Level, Raid5Layout, Raid6Layout};
use aggregate::{Devices, Disk, build};
use evidence::view::Memory;
use evidence::{ByteOffset, GapCause, ReadAt, ReadAtExt};

const CHUNK: usize = 16 << 10;
const BLOCK: usize = 4096;
const OFFSET: usize = 64 << 10;

/// A generator whose numbers are the same everywhere (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 24) as u8).collect()
    }

    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < length {
            let word = 1 + self.below(9);
            text.extend((0..word).map(|_| b'a' + self.below(26) as u8));
            text.push(if self.below(12) == 0 { b'\n' } else { b' ' });
        }
        text.truncate(length);
        text
    }
}

/// What the blocks of a group hold.
#[derive(Clone, Copy)]
enum Fill {
    Data,
    Text,
    /// Data, text and zeros, in stretches.
    Mixed,
}

/// An array as it was stored, and its members as they are now.
struct Array {
    level: u32,
    members: usize,
    stored: Vec<u8>,
    disks: Vec<Option<Vec<u8>>>,
}

fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1d } else { 0 };
        b >>= 1;
    }
    sum
}

impl Array {
    /// Left-symmetric RAID-5 or RAID-6 of so many rows of chunks.
    fn new(level: u32, members: usize, rows: usize, fill: Fill, random: &mut Random) -> Self {
        let parities = if level == 6 { 2 } else { 1 };
        let width = members - parities;
        let bytes = rows * width * CHUNK;
        let mut stored = Vec::new();
        while stored.len() < bytes {
            let length = (1 + random.below(12)) * BLOCK;
            match fill {
                Fill::Data => stored.extend(random.bytes(length)),
                Fill::Text => stored.extend(random.text(length)),
                Fill::Mixed => match random.below(4) {
                    0 => stored.extend(vec![0; length]),
                    1 => stored.extend(random.bytes(length)),
                    _ => stored.extend(random.text(length)),
                },
            }
        }
        stored.truncate(bytes);
        let mut array = Self {
            level,
            members,
            stored,
            disks: Vec::new(),
        };
        array.disks = array.lay().into_iter().map(Some).collect();
        array
    }

    /// The members that hold `stored`.
    fn lay(&self) -> Vec<Vec<u8>> {
        let (n, parities) = (self.members, if self.level == 6 { 2 } else { 1 });
        let width = n - parities;
        let rows = self.stored.len() / width / CHUNK;
        let mut disks = vec![vec![0_u8; OFFSET + rows * CHUNK]; n];
        for row in 0..rows {
            let p = n - 1 - row % n;
            let mut sums = [vec![0_u8; CHUNK], vec![0_u8; CHUNK]];
            let mut factor = 1_u8;
            let at = OFFSET + row * CHUNK;
            for i in 0..width {
                let from = (row * width + i) * CHUNK;
                let chunk = &self.stored[from..from + CHUNK];
                disks[(p + parities + i) % n][at..at + CHUNK].copy_from_slice(chunk);
                for (place, byte) in chunk.iter().enumerate() {
                    sums[0][place] ^= byte;
                    sums[1][place] ^= product(factor, *byte);
                }
                factor = product(factor, 2);
            }
            disks[p][at..at + CHUNK].copy_from_slice(&sums[0]);
            if parities == 2 {
                disks[(p + 1) % n][at..at + CHUNK].copy_from_slice(&sums[1]);
            }
        }
        for disk in &mut disks {
            // A label, which is what tells a live disk from one that was wiped from its start.
            disk[4096..4100].copy_from_slice(b"LABL");
        }
        disks
    }

    fn disk(&mut self, role: usize) -> &mut Vec<u8> {
        self.disks[role].as_mut().unwrap()
    }

    fn zero(&mut self, role: usize, range: Range<usize>) {
        self.disk(role)[range].fill(0);
    }

    fn write(&mut self, role: usize, at: usize, bytes: &[u8]) {
        self.disk(role)[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn group(&self) -> Group {
        let (chunk_bytes, members) = (CHUNK as u64, self.members as u32);
        let level = if self.level == 6 {
            let layout = Raid6Layout::LeftSymmetric;
            Level::Raid6 {
                layout,
                chunk_bytes,
                members,
            }
        } else {
            let layout = Raid5Layout::LeftSymmetric;
            Level::Raid5 {
                layout,
                chunk_bytes,
                members,
            }
        };
        let length = self.disks.iter().flatten().map(Vec::len).max().unwrap();
        let member = |role: usize| Member {
            role: role as u32,
            device: self.disks[role].is_some().then(|| name(role)),
            data_offset: OFFSET as u64,
            data_size: (length - OFFSET) as u64,
            left_out: None,
            bad_blocks: Vec::new(),
        };
        Group {
            name: "g".to_owned(),
            geometry: Geometry {
                level,
                bytes: self.stored.len() as u64,
            },
            members: (0..self.members).map(member).collect(),
            evidence: Vec::new(),
            confidence: 1.0,
        }
    }

    fn evidence(&self) -> Vec<Disk> {
        let disks = self.disks.iter().enumerate();
        disks
            .filter_map(|(role, disk)| {
                let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(disk.clone()?));
                Some((format!("d{role}"), disk))
            })
            .collect()
    }

    fn devices(&self) -> Devices {
        build(&document(self.group(), Vec::new()), &self.evidence()).unwrap()
    }

    fn detect(&self) -> Detected {
        detect(&self.group(), &self.devices())
    }

    /// Reads the whole group as it is after detection.
    fn read(&self, detected: &Detected) -> Read {
        let aggregate = document(detected.group.clone(), detected.regions.clone());
        let devices = build(&aggregate, &self.evidence()).unwrap();
        let group = devices.get(&DeviceName::group("g")).unwrap();
        let (bytes, gaps) = group.read_vec(ByteOffset::ZERO, self.stored.len()).unwrap();
        let mut sure = vec![true; bytes.len()];
        let lost: usize = gaps.bytes();
        for gap in gaps.iter() {
            sure[gap.range.clone()].fill(false);
        }
        for range in gaps.suspects() {
            sure[range].fill(false);
        }
        // Read in small pieces, it says the same.
        let mut random = Random(7);
        for _ in 0..200 {
            let from = random.below(bytes.len() - 1);
            let to = (from + 1 + random.below(3 * CHUNK)).min(bytes.len());
            let (part, gaps) = group
                .read_vec(ByteOffset::new(from as u64), to - from)
                .unwrap();
            assert_eq!(part, bytes[from..to]);
            let doubt = gaps.suspects();
            for (index, sure) in sure[from..to].iter().enumerate() {
                let doubtful = doubt.iter().any(|range| range.contains(&index));
                assert_eq!(!(doubtful || gaps.touch(index..index + 1)), *sure);
            }
        }
        Read { bytes, sure, lost }
    }
}

struct Read {
    bytes: Vec<u8>,
    sure: Vec<bool>,
    lost: usize,
}

impl Read {
    /// Everything that is handed out as sure is what was stored.
    fn nothing_false(&self, array: &Array) {
        let wrong =
            (0..self.bytes.len()).find(|at| self.sure[*at] && self.bytes[*at] != array.stored[*at]);
        assert_eq!(
            wrong, None,
            "a byte that is handed out is not the one that was stored"
        );
    }

    fn unsure(&self) -> usize {
        self.sure.iter().filter(|sure| !**sure).count()
    }
}

fn name(role: usize) -> DeviceName {
    DeviceName::disk(&format!("d{role}"))
}

fn document(group: Group, epochs: Vec<Region>) -> Aggregate {
    Aggregate {
        version: VERSION,
        groups: vec![group],
        epochs,
        ..Aggregate::default()
    }
}

/// The regions of a kind on a member, joined.
fn regions(detected: &Detected, role: usize, epoch: Epoch) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for region in &detected.regions {
        if region.device != name(role) || region.epoch != epoch {
            continue;
        }
        let range = region.start as usize..region.end() as usize;
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}

/// Bytes of the group that lie in rows where more than `most` members lack something.
fn hopeless(array: &Array, damage: &[(usize, Range<usize>)], most: usize) -> usize {
    let gone = |role: usize, at: usize| {
        array.disks[role].is_none()
            || damage
                .iter()
                .any(|(r, range)| *r == role && range.contains(&at))
    };
    let parities = if array.level == 6 { 2 } else { 1 };
    let (n, width) = (array.members, array.members - parities);
    let mut bytes = 0;
    for row in 0..array.stored.len() / width / CHUNK {
        let p = n - 1 - row % n;
        for inside in (0..CHUNK).step_by(512) {
            let at = OFFSET + row * CHUNK + inside;
            if (0..n).filter(|role| gone(*role, at)).count() > most {
                bytes += 512
                    * (0..width)
                        .filter(|i| gone((p + parities + i) % n, at))
                        .count();
            }
        }
    }
    bytes
}

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
        assert!(disagrees(&array.group(), &array.devices()));
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
    for (level, fill) in [(5, Fill::Text), (6, Fill::Mixed)] {
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
            assert!(!disagrees(&array.group(), &array.devices()));
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
        group: None,
        evidence: String::new(),
    };
    let mut aggregate = document(array.group(), vec![stated.clone()]);
    complete(&mut aggregate, &array.evidence()).unwrap();
    assert_eq!(aggregate.epochs, [stated.clone()]);
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
            segments: vec![Segment {
                start: 0,
                bytes: 8192,
                map: SegmentMap::Linear(aggregate::document::Area {
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
