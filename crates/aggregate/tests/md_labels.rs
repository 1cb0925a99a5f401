//! Labels that no array at hand has: other byte orders, labels on two devices at once, and
//! labels that lie.

use std::sync::Arc;

use aggregate::document::DeviceName;
use aggregate::md::{Fault, Found, Role, Version, assemble, read_superblocks};
use aggregate::raid::{GroupReader, open_member};
use evidence::view::{Memory, Slice};
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use proptest::prelude::*;

/// A 0.90 label as words, with a checksum that holds.
fn old_label(words: &[(usize, u32)], big_endian: bool) -> Vec<u8> {
    let mut label = vec![0_u32; 1024];
    label[0] = 0xa92b_4efc;
    label[2] = 90;
    for (number, value) in words {
        label[*number] = *value;
    }
    let sum: u64 = label.iter().map(|word| u64::from(*word)).sum();
    label[38] = (sum as u32).wrapping_add((sum >> 32) as u32);
    let bytes = |word: &u32| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    label.iter().flat_map(bytes).collect()
}

/// A two-disk mirror of 192 KiB, as seen from its first disk.
fn old_mirror(big_endian: bool) -> Vec<u8> {
    let (low, high) = if big_endian { (40, 39) } else { (39, 40) };
    let words = [
        (5, 0x1234_5678),
        (13, 1),
        (7, 1),
        (8, 192),
        (9, 2),
        (10, 2),
        (33, 1),
        (low, 17),
        (high, 0),
        (132, 6),
        (128 + 32, 1),
        (128 + 35, 1),
        (128 + 36, 6),
        (992 + 4, 6),
    ];
    old_label(&words, big_endian)
}

#[test]
fn labels_of_big_endian_machines_say_the_same() {
    for big_endian in [false, true] {
        let mut disk = vec![7; 256 << 10];
        disk[192 << 10..196 << 10].copy_from_slice(&old_mirror(big_endian));
        let found = read_superblocks(&Memory::new(disk), &DeviceName::disk("a"));
        let [found] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(found.fault, None);
        assert_eq!(found.superblock.version, Version::V0 { big_endian });
        assert_eq!(found.superblock.events, 17);
        assert_eq!(found.superblock.role, Role::Active(0));
        assert_eq!(
            found.superblock.set_uuid.to_string(),
            "12345678:00000001:00000000:00000000"
        );
        let group = &assemble(std::slice::from_ref(found)).groups[0];
        assert_eq!(group.name, "md-12345678");
        assert_eq!(group.geometry.bytes, 192 << 10);
        assert_eq!(group.members[1].device, None);
        assert!(
            group
                .evidence
                .iter()
                .any(|line| line.contains("on disk:a, checksum holds, events 17, role 0"))
        );
    }
}

#[test]
fn a_label_at_the_end_of_a_disk_and_of_its_last_partition_is_the_partitions() {
    // The partition begins 128 KiB into the disk and ends with it.
    let mut disk = vec![0; 384 << 10];
    disk[320 << 10..324 << 10].copy_from_slice(&old_mirror(false));
    let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(disk));
    let partition = Slice::new(Arc::clone(&disk), ByteOffset::new(128 << 10), 256 << 10);
    let whole = read_superblocks(&disk, &DeviceName::disk("a"));
    let part = read_superblocks(&partition, &DeviceName("partition:a/1".into()));
    let implied = whole[0].implied_device_bytes().unwrap();
    assert!(
        implied.contains(&partition.len()) && !implied.contains(&disk.len()),
        "{implied:?}"
    );
    for found in [[&whole[0], &part[0]], [&part[0], &whole[0]]] {
        let assembly = assemble(&found.map(Clone::clone));
        let member = &assembly.groups[0].members[0];
        assert_eq!(member.device, Some(DeviceName("partition:a/1".into())));
        assert!(assembly.unused.is_empty() && assembly.losses.is_empty());
    }
}

/// The fields of a 1.2 label that the tests vary.
#[derive(Clone, Debug)]
struct Label {
    uuid: u8,
    device: u8,
    features: u32,
    level: i32,
    layout: u32,
    size: u64,
    chunk: u32,
    disks: u32,
    data_offset: u64,
    data_size: u64,
    recovery_offset: u64,
    dev_number: u32,
    log: (u16, i32, u8),
    events: u64,
    roles: Vec<u16>,
}

impl Label {
    fn mirror(dev_number: u32, events: u64) -> Self {
        Self {
            uuid: 1,
            device: dev_number as u8,
            features: 0,
            level: 1,
            layout: 0,
            size: 64,
            chunk: 0,
            disks: 2,
            data_offset: 32,
            data_size: 64,
            recovery_offset: u64::MAX,
            dev_number,
            log: (0, 0, 0),
            events,
            roles: vec![0, 1],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut label = vec![0; 256 + 2 * self.roles.len()];
        let mut put = |at: usize, bytes: &[u8]| label[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &0xa92b_4efc_u32.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(8, &self.features.to_le_bytes());
        put(16, &[self.uuid; 16]);
        put(72, &self.level.to_le_bytes());
        put(76, &self.layout.to_le_bytes());
        put(80, &self.size.to_le_bytes());
        put(88, &self.chunk.to_le_bytes());
        put(92, &self.disks.to_le_bytes());
        put(128, &self.data_offset.to_le_bytes());
        put(136, &self.data_size.to_le_bytes());
        put(144, &8_u64.to_le_bytes());
        put(152, &self.recovery_offset.to_le_bytes());
        put(160, &self.dev_number.to_le_bytes());
        put(168, &[self.device; 16]);
        put(185, &[self.log.2]);
        put(186, &self.log.0.to_le_bytes());
        put(188, &self.log.1.to_le_bytes());
        put(200, &self.events.to_le_bytes());
        put(208, &u64::MAX.to_le_bytes());
        put(220, &(self.roles.len() as u32).to_le_bytes());
        for (i, role) in self.roles.iter().enumerate() {
            put(256 + 2 * i, &role.to_le_bytes());
        }
        let sum: u64 = label
            .chunks(4)
            .map(|part| {
                part.iter()
                    .rev()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            })
            .sum();
        let sum = (sum as u32).wrapping_add((sum >> 32) as u32);
        label[216..220].copy_from_slice(&sum.to_le_bytes());
        label
    }

    fn disk(&self) -> Arc<dyn ReadAt> {
        let mut disk = vec![self.device; 48 << 10];
        let label = self.bytes();
        disk[4096..4096 + label.len()].copy_from_slice(&label);
        Arc::new(Memory::new(disk))
    }

    fn found(&self, name: &str) -> Vec<Found> {
        read_superblocks(&self.disk(), &DeviceName::disk(name))
    }
}

fn device(name: &str) -> Option<DeviceName> {
    Some(DeviceName::disk(name))
}

#[test]
fn two_images_of_one_disk_are_one_member_and_the_newer_is_read() {
    let mut found = Label::mirror(0, 20).found("a");
    found.extend(Label::mirror(1, 20).found("b"));
    found.extend(Label::mirror(0, 20).found("z"));
    found.extend(Label::mirror(1, 21).found("y"));
    for _ in 0..found.len() {
        found.rotate_left(1);
        let assembly = assemble(&found);
        let members = &assembly.groups[0].members;
        assert_eq!(
            (members[0].device.clone(), members[1].device.clone()),
            (device("a"), device("y"))
        );
        let why: Vec<&str> = assembly
            .unused
            .iter()
            .map(|unused| unused.why.as_str())
            .collect();
        assert_eq!(why.len(), 2);
        assert!(
            why.iter().all(|why| why.contains("second image of role")),
            "{why:?}"
        );
    }
}

#[test]
fn one_event_behind_is_current_and_two_are_stale() {
    for (events, stale) in [(21, false), (22, true)] {
        let mut found = Label::mirror(0, events).found("a");
        found.extend(Label::mirror(1, 20).found("b"));
        let group = &assemble(&found).groups[0];
        let why = group.members[1].left_out.as_deref();
        assert_eq!(why.is_some(), stale);
        assert!(why.is_none_or(|why| why.contains("20 events") && why.contains("counts 22")));
    }
}

#[test]
fn a_member_that_the_newest_label_calls_faulty_is_left_out_whatever_it_says_itself() {
    let newest = Label {
        roles: vec![0, 0xfffe],
        ..Label::mirror(0, 20)
    };
    let mut found = newest.found("a");
    found.extend(Label::mirror(1, 20).found("b"));
    let group = &assemble(&found).groups[0];
    assert!(
        group.members[1]
            .left_out
            .as_deref()
            .is_some_and(|why| why.contains("faulty"))
    );
}

#[test]
fn a_torn_label_is_a_loss_and_no_member() {
    let mut bytes = Label::mirror(0, 20).bytes();
    bytes[200] ^= 1;
    let mut disk = vec![0; 48 << 10];
    disk[4096..4096 + bytes.len()].copy_from_slice(&bytes);
    let found = read_superblocks(&Memory::new(disk), &DeviceName::disk("a"));
    assert!(matches!(found[0].fault, Some(Fault::Checksum { .. })));
    let assembly = assemble(&found);
    assert!(assembly.groups.is_empty());
    assert!(
        assembly.losses[0].to_string().contains("checksum"),
        "{}",
        assembly.losses[0]
    );
}

#[test]
fn a_disk_with_the_labels_of_two_arrays_casts_doubt_on_the_older() {
    let mut old = old_mirror(false);
    old.resize(64 << 10, 0);
    let label = Label::mirror(0, 3).bytes();
    let mut disk = vec![0; 256 << 10];
    disk[192 << 10..].copy_from_slice(&old);
    disk[4096..4096 + label.len()].copy_from_slice(&label);
    // The old array was made at time 0; give the young one a later time.
    let mut found = read_superblocks(&Memory::new(disk), &DeviceName::disk("a"));
    found[1].superblock.ctime = 1;
    let groups = assemble(&found).groups;
    let confidence = |name: &str| {
        groups
            .iter()
            .find(|group| group.name == name)
            .unwrap()
            .confidence
    };
    assert!(confidence("md-12345678") < 1.0);
    assert!((confidence("md-01010101") - 1.0).abs() < f64::EPSILON);
}

fn any_label() -> impl Strategy<Value = Label> {
    let sectors = || prop_oneof![0_u64..200, any::<u64>()];
    let first = (
        0..3_u8,
        0..4_u8,
        any::<u32>(),
        -5..12_i32,
        prop_oneof![0..21_u32, any::<u32>()],
    );
    let second = (
        sectors(),
        prop_oneof![0..20_u32, any::<u32>()],
        prop_oneof![0..6_u32, any::<u32>()],
    );
    let third = (
        sectors(),
        sectors(),
        sectors(),
        prop_oneof![0..5_u32, any::<u32>()],
    );
    let log = (
        0..10_u16,
        prop_oneof![-9..20_i32, any::<i32>()],
        any::<u8>(),
    );
    let roles = prop::collection::vec(prop_oneof![4 => 0..5_u16, 1 => any::<u16>()], 0..9);
    (
        first,
        second,
        third,
        log,
        (prop_oneof![0..4_u64, any::<u64>()], roles),
    )
        .prop_map(|(first, second, third, log, (events, roles))| Label {
            uuid: first.0,
            device: first.1,
            // Features at random, but rarely a reshape, which ends the matter.
            features: if first.2 % 5 == 0 {
                first.2
            } else {
                first.2 & !4
            },
            level: first.3,
            layout: first.4,
            size: second.0,
            chunk: second.1,
            disks: second.2,
            data_offset: third.0,
            data_size: third.1.max(second.0),
            recovery_offset: third.2,
            dev_number: third.3,
            log,
            events,
            roles,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn labels_that_lie_break_nothing(labels in prop::collection::vec(any_label(), 1..5)) {
        let found: Vec<Found> =
            labels.iter().enumerate().flat_map(|(i, label)| label.found(&i.to_string())).collect();
        let assembly = assemble(&found);
        for group in &assembly.groups {
            prop_assert_eq!(group.members.len(), group.geometry.members() as usize);
            let open = |member: &aggregate::document::Member| {
                let index: usize = member.device.as_ref()?.0.strip_prefix("disk:")?.parse().ok()?;
                open_member(&labels[index].disk(), member, &[])
            };
            let members = group.members.iter().map(open).collect();
            let reader = GroupReader::new(group.geometry.clone(), members).unwrap();
            let length = usize::try_from(reader.len().min(10_000)).unwrap();
            for at in [0, (reader.len() - length as u64) / 2, reader.len() - length as u64] {
                let (_, gaps) = reader.read_vec(ByteOffset::new(at), length).unwrap();
                prop_assert!(gaps.bytes() <= length);
            }
        }
    }

    #[test]
    fn bytes_at_random_after_the_magic_break_nothing(bytes in prop::collection::vec(any::<u8>(), 8192)) {
        for magic_at in [0, 4096] {
            let mut disk = bytes.clone();
            disk[magic_at..magic_at + 8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
            let found = read_superblocks(&Memory::new(disk), &DeviceName::disk("a"));
            prop_assert!(found.iter().all(|found| found.fault.is_some()));
        }
    }
}
