//! Groups beneath labels of newer arrays, and groups of which some labels are left.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, FilesystemStatement};
use aggregate::{Disk, build, discover};
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::{CONTENT, disk, found, lay_out, noise, resync, shuffled};

/// Writes labels of md version 1.2 onto disks whose data begins at 1 MiB: they are an array of this
/// name, level and chunk, with its default layout, on which `roles` says which disk has which place.
pub(super) fn label(disks: &mut [Vec<u8>], name: &str, level: u32, chunk: usize, roles: &[usize]) {
    label_synced(disks, name, level, chunk, roles, u64::MAX);
}

/// The same of an array that was synchronised up to this sector of its members.
fn label_synced(
    disks: &mut [Vec<u8>],
    name: &str,
    level: u32,
    chunk: usize,
    roles: &[usize],
    synced: u64,
) {
    let layout: u32 = if level < 2 { 0 } else { 2 };
    for (number, bytes) in disks.iter_mut().enumerate() {
        let sectors = (bytes.len() as u64 - (1 << 20)) / 512;
        let mut sb = vec![0_u8; 256 + 2 * roles.len()];
        let mut put = |at: usize, field: &[u8]| sb[at..at + field.len()].copy_from_slice(field);
        put(0, &0xa92b_4efc_u32.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, b"an array called ");
        put(26, name.as_bytes());
        put(32, name.as_bytes());
        put(72, &level.to_le_bytes());
        put(76, &layout.to_le_bytes());
        put(80, &sectors.to_le_bytes());
        put(88, &u32::try_from(chunk / 512).unwrap().to_le_bytes());
        put(92, &u32::try_from(roles.len()).unwrap().to_le_bytes());
        put(128, &2048_u64.to_le_bytes());
        put(136, &sectors.to_le_bytes());
        put(144, &8_u64.to_le_bytes());
        put(160, &u32::try_from(number).unwrap().to_le_bytes());
        put(168, &[u8::try_from(number).unwrap() + 1; 16]);
        put(200, &7_u64.to_le_bytes());
        put(208, &synced.to_le_bytes());
        put(220, &u32::try_from(roles.len()).unwrap().to_le_bytes());
        for (disk, role) in roles.iter().enumerate() {
            put(256 + 2 * disk, &u16::try_from(*role).unwrap().to_le_bytes());
        }
        let words = sb.chunks(4).map(|word| {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            u64::from(u32::from_le_bytes(bytes))
        });
        let sum: u64 = words.sum();
        let folded = (sum & 0xFFFF_FFFF) + (sum >> 32);
        let folded = u32::try_from(folded & 0xFFFF_FFFF).unwrap();
        sb[216..220].copy_from_slice(&folded.to_le_bytes());
        bytes[4096..4096 + sb.len()].copy_from_slice(&sb);
    }
}

#[test]
fn a_group_beneath_a_newer_one_is_found_and_that_of_the_labels_is_no_second_one() {
    let laid_out = |layout, n| lay_out(&CONTENT, layout, n, 64 << 10, 1 << 20);
    // What lies there, what the labels say, who is missing, and whether that is another group.
    for (layout, n, level, chunk, roles, missing, is_other) in [
        (
            "6-ls",
            6,
            5,
            256 << 10,
            &[3, 0, 5, 1, 4, 2][..],
            &[2][..],
            true,
        ),
        ("5-ls", 4, 5, 64 << 10, &[2, 0, 1, 3], &[], true),
        ("5-ls", 4, 0, 512 << 10, &[1, 0, 3, 2], &[], true),
        ("5-ls", 4, 5, 64 << 10, &[0, 1, 2, 3], &[1], false),
        ("raid0", 3, 0, 64 << 10, &[0, 1, 2], &[], false),
    ] {
        let mut disks = laid_out(layout, n);
        label(&mut disks, "newer", level, chunk, roles);
        let disks = shuffled(disks, missing, "disk");
        let aggregate = discover(&disks, &|_, _| None);
        let case = format!(
            "{layout} below level {level}, {roles:?}: {:?}",
            aggregate.losses
        );
        let (newer, older): (Vec<_>, Vec<_>) = aggregate
            .groups
            .iter()
            .partition(|group| group.name == "newer");
        let [newer] = newer.as_slice() else {
            panic!("{case}: {:?}", aggregate.groups);
        };
        if !is_other {
            assert_eq!(older.len(), 0, "{case}");
            assert!(newer.over.is_empty());
            continue;
        }
        assert_eq!(newer.over, ["found-1"], "{case}");
        let mut alone = aggregate.clone();
        alone.groups.retain(|group| group.name == "found-1");
        assert!(found(&alone, &disks, &CONTENT), "{case}");
        let begun_over = aggregate::coverage::begun_over(&aggregate);
        assert!(begun_over.into_iter().eq([DeviceName::group("newer")]));
    }
}

/// CONTENT on one disk after the other, from 1 MiB on, and 16 MiB on each; each disk is so much longer.
fn one_after_the_other(spare: usize) -> Vec<Vec<u8>> {
    let held = 16 << 20;
    let disk = |piece: &[u8]| {
        let mut disk = vec![0; (1 << 20) + held + spare];
        disk[1 << 20..][..piece.len()].copy_from_slice(piece);
        disk
    };
    CONTENT.chunks(held).map(disk).collect()
}

/// Whether the volume of CONTENT is found on disks that lay one after the other, as far as its blocks state addresses.
fn is_whole(aggregate: &Aggregate, disks: &[Disk]) -> bool {
    let devices = build(aggregate, disks).unwrap();
    let read = devices.get(&older()).unwrap();
    let length = 30 << 20;
    let (bytes, gaps) = read.read_vec(ByteOffset::ZERO, length).unwrap();
    gaps.is_empty() && bytes == CONTENT[..length]
}

fn older() -> DeviceName {
    DeviceName::volume("found/7a1f6a9e")
}

#[test]
fn a_volume_that_lies_on_one_disk_after_the_other_is_found_beneath_a_newer_array() {
    for (level, chunk) in [(5, 64 << 10), (0, 512 << 10), (1, 0)] {
        let mut disks = one_after_the_other(0);
        label(&mut disks, "newer", level, chunk, &[2, 0, 1]);
        let disks = shuffled(disks, &[], "disk");
        let aggregate = discover(&disks, &|_, _| None);
        let [newer] = aggregate.groups.as_slice() else {
            panic!("{level}: {:?}", aggregate.groups);
        };
        // A mirror holds what its members hold, in the same order.
        if level == 1 {
            assert!(newer.over.is_empty());
            continue;
        }
        assert_eq!(newer.over, [older().to_string()], "{level}");
        assert!(is_whole(&aggregate, &disks), "{level}");
        let begun_over = aggregate::coverage::begun_over(&aggregate);
        assert!(begun_over.into_iter().eq([DeviceName::group("newer")]));
        assert!(aggregate::coverage::inferred(&aggregate).contains(&older()));
    }
}

#[test]
fn a_volume_beneath_a_newer_array_goes_on_on_a_disk_that_this_one_does_not_have() {
    let mut disks = one_after_the_other(0);
    let other = disks.pop().unwrap();
    let second = disks.pop().unwrap();
    disks.push(vec![0; other.len()]);
    label(&mut disks, "newer", 0, 512 << 10, &[1, 0]);
    disks.push(second);
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let newer = aggregate.groups.iter().find(|one| one.name == "newer");
    assert_eq!(newer.unwrap().over, [older().to_string()]);
    assert!(is_whole(&aggregate, &disks), "{:?}", aggregate.volumes);
}

#[test]
fn a_newer_array_is_not_over_what_lies_in_a_small_place_that_it_never_wrote_to() {
    let mut disks = one_after_the_other(64 << 20);
    label(&mut disks, "newer", 5, 64 << 10, &[2, 0, 1]);
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    assert!(aggregate.groups.iter().all(|group| group.over.is_empty()));
    assert!(aggregate.volumes.is_empty(), "{:?}", aggregate.volumes);
}

#[test]
fn what_is_recognised_on_a_newer_array_is_not_looked_for_beneath_it() {
    let mut disks = one_after_the_other(0);
    label(&mut disks, "newer", 5, 64 << 10, &[2, 0, 1]);
    let disks = shuffled(disks, &[], "disk");
    let probe = |device: Arc<dyn ReadAt>, name: &DeviceName| {
        name.0.starts_with("group:").then(|| FilesystemStatement {
            device: name.clone(),
            kind: "xfs".to_owned(),
            uuid: "7a1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b11".to_owned(),
            label: String::new(),
            bytes: device.len(),
            notes: Vec::new(),
        })
    };
    let aggregate = discover(&disks, &probe);
    assert!(aggregate.volumes.is_empty(), "{:?}", aggregate.volumes);
}

#[test]
fn a_group_beneath_file_systems_that_fill_its_members_is_found_and_these_stay() {
    let disks = lay_out(&CONTENT, "5-la", 4, 64 << 10, 1 << 20);
    let disks = shuffled(disks, &[1], "disk");
    let probe = |device: Arc<dyn ReadAt>, name: &DeviceName| {
        name.0.starts_with("disk:").then(|| FilesystemStatement {
            device: name.clone(),
            kind: "ext4".to_owned(),
            uuid: name.to_string(),
            label: String::new(),
            bytes: device.len(),
            notes: Vec::new(),
        })
    };
    let aggregate = discover(&disks, &probe);
    assert!(
        found(&aggregate, &disks, &CONTENT),
        "{:?}",
        aggregate.losses
    );
    let filled: Vec<&DeviceName> = aggregate.filesystems.iter().map(|fs| &fs.device).collect();
    let begun_over = aggregate::coverage::begun_over(&aggregate);
    assert_eq!(filled.len(), 3);
    assert!(filled.iter().all(|device| begun_over.contains(*device)));
}

/// The file system on a mirror is seen on each of its members: what fills them is another one only if each is of its own.
#[test]
fn a_mirror_beneath_file_systems_that_fill_its_members_is_found_if_each_is_another_one() {
    for is_apart in [true, false] {
        let mut members = vec![[vec![0; 1 << 20], CONTENT.clone()].concat(); 2];
        for (number, bytes) in (1..).zip(&mut members) {
            bytes[..1 << 20].copy_from_slice(&noise(number, 1 << 20));
        }
        let disks = shuffled(members, &[], "disk");
        let probe = |device: Arc<dyn ReadAt>, name: &DeviceName| {
            let uuid = if is_apart {
                name.to_string()
            } else {
                "one".to_owned()
            };
            name.0.starts_with("disk:").then(|| FilesystemStatement {
                device: name.clone(),
                kind: "ext4".to_owned(),
                uuid,
                label: String::new(),
                bytes: device.len(),
                notes: Vec::new(),
            })
        };
        let aggregate = discover(&disks, &probe);
        let found = aggregate.groups.len();
        assert_eq!(found, usize::from(is_apart), "{:?}", aggregate.losses);
    }
}

/// The start of two physical volumes of a volume group that LVM made, over members: neither begins the array.
#[test]
fn a_group_beneath_physical_volumes_is_found_and_begins_with_none_of_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let set = File::open(path.join("../../fixtures/lvm/linear.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(set).unwrap());
    let mut members = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    let mut disks = members.iter_mut();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry
            .path()
            .unwrap()
            .extension()
            .is_some_and(|end| end == "img")
        {
            let head = &mut disks.next().unwrap()[..1 << 20];
            entry.read_exact(head).unwrap();
        }
    }
    let disks = shuffled(members, &[3], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &CONTENT),
        "{:?}",
        aggregate.losses
    );
    let [volumes] = aggregate.volume_groups.as_slice() else {
        panic!("{:?}", aggregate.volume_groups);
    };
    let note = volumes.notes.last().map(String::as_str);
    assert_eq!(note, Some("it was begun over found-1"));
    let begun_over = aggregate::coverage::begun_over(&aggregate);
    let newer = DeviceName("volume:alpha/root".to_owned());
    assert!(begun_over.contains(&newer), "{begun_over:?}");
}

#[test]
fn a_group_beneath_two_newer_ones_is_found() {
    let mut disks = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
    let (one, other) = disks.split_at_mut(3);
    label(one, "newer", 5, 128 << 10, &[2, 0, 1]);
    label(other, "other", 5, 128 << 10, &[1, 2, 0]);
    is_found_beneath_two(&shuffled(disks, &[3], "disk"));
}

#[test]
fn a_group_of_which_a_newer_one_took_a_single_disk_is_found() {
    let mut disks = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
    let length = disks[0].len();
    let mut other = vec![disks.pop().unwrap(), noise(1, length), noise(2, length)];
    label(&mut disks, "newer", 5, 128 << 10, &[2, 0, 4, 1, 3]);
    label(&mut other, "other", 5, 128 << 10, &[1, 2, 0]);
    let mut disks = shuffled(disks, &[3], "disk");
    disks.extend(shuffled(other, &[], "other"));
    is_found_beneath_two(&disks);
}

/// Fails unless the group of `CONTENT` is found beneath two that labels state.
fn is_found_beneath_two(disks: &[Disk]) {
    let aggregate = discover(disks, &|_, _| None);
    let losses = &aggregate.losses;
    let (labelled, older): (Vec<_>, Vec<_>) = aggregate
        .groups
        .iter()
        .partition(|group| !group.name.starts_with("found"));
    assert_eq!((labelled.len(), older.len()), (2, 1), "{losses:?}");
    assert!(labelled.iter().all(|group| group.over == ["found-1"]));
    let devices = build(&aggregate, disks).unwrap();
    let device = devices.get(&DeviceName::group("found-1")).unwrap();
    let read = device.read_whole(ByteOffset::ZERO, CONTENT.len());
    assert!(read.as_deref() == Some(&CONTENT), "{losses:?}");
}

/// The file system of the newer mirror lies on each of its members in one piece, where blocks of the older
/// array's lie in chunks.
#[test]
fn a_group_beneath_a_newer_mirror_is_found_and_does_not_begin_with_what_lies_on_that() {
    let mut disks = lay_out(&CONTENT, "5-ls", 3, 32 << 10, 2 << 20);
    label(&mut disks, "newer", 1, 0, &[2, 0, 1]);
    for bytes in &mut disks {
        // xfs_dsb: sb_magicnum, sb_blocksize, sb_dblocks.
        let mut superblock = [0; 4096];
        superblock[..4].copy_from_slice(b"XFSB");
        superblock[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        superblock[8..16].copy_from_slice(&4096_u64.to_be_bytes());
        bytes[1 << 20..][..4096].copy_from_slice(&superblock);
    }
    let disks = shuffled(disks, &[1], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let losses = &aggregate.losses;
    let newer = aggregate.groups.iter().find(|group| group.name == "newer");
    assert_eq!(newer.unwrap().over, ["found-1"], "{losses:?}");
    let mut alone = aggregate.clone();
    alone.groups.retain(|group| group.name == "found-1");
    assert!(found(&alone, &disks, &CONTENT), "{losses:?}");
}

#[test]
fn an_array_that_was_created_again_in_another_order_is_read_in_the_old_one() {
    let mut disks = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    label(&mut disks, "newer", 5, 64 << 10, &[0, 2, 1, 3]);
    let disks = shuffled(disks, &[], "disk");
    let probe = |device: Arc<dyn ReadAt>, name: &DeviceName| {
        let first = device.read_whole(ByteOffset::ZERO, 48)?;
        first.starts_with(b"XFSB").then(|| FilesystemStatement {
            device: name.clone(),
            kind: "xfs".to_owned(),
            uuid: format!("{:02x?}", &first[32..]),
            label: String::new(),
            bytes: CONTENT.len() as u64,
            notes: Vec::new(),
        })
    };
    let aggregate = discover(&disks, &probe);
    assert!(found(&aggregate, &disks, &CONTENT), "{aggregate:#?}");
    let group = &aggregate.groups[0];
    let says = |line: &String| line.contains("state it otherwise, as newer");
    assert!(group.evidence.iter().any(says), "{:?}", group.evidence);
    let on: Vec<String> = aggregate
        .filesystems
        .iter()
        .map(|fs| fs.device.to_string())
        .collect();
    assert_eq!(on, ["group:found-1"]);
}

/// Makes the last of some members what the others add up to behind their labels, as the first sync of a
/// RAID-5 does.
fn sync(members: &mut [Vec<u8>]) {
    let (rebuilt, others) = members.split_last_mut().unwrap();
    rebuilt[1 << 20..].fill(0);
    for bytes in others {
        for (sum, byte) in rebuilt.iter_mut().zip(bytes.iter()).skip(1 << 20) {
            *sum ^= byte;
        }
    }
}

#[test]
fn a_member_that_a_newer_array_rebuilt_from_the_others_is_left_out() {
    let all = [3, 0, 5, 1, 4, 2];
    for (layout, roles, is_labelled) in [
        ("6-ls", &all[..], true),
        ("5-ls", &all[1..], true),
        ("5-ls", &all[1..], false),
    ] {
        let mut disks = lay_out(&CONTENT, layout, 6, 64 << 10, 1 << 20);
        let mut newer: Vec<Vec<u8>> = roles.iter().map(|disk| disks[*disk].clone()).collect();
        let order: Vec<usize> = (0..roles.len()).collect();
        if is_labelled {
            label(&mut newer, "newer", 5, 256 << 10, &order);
        }
        sync(&mut newer);
        for (disk, bytes) in roles.iter().zip(newer) {
            disks[*disk] = bytes;
        }
        let disks = shuffled(disks, &[], "disk");
        let mut aggregate = discover(&disks, &|_, _| None);
        aggregate.groups.retain(|group| group.name == "found-1");
        assert!(
            found(&aggregate, &disks, &CONTENT),
            "{layout} {roles:?}: {aggregate:#?}"
        );
        let members = &aggregate.groups[0].members;
        let missing = members.iter().filter(|member| member.device.is_none());
        assert_eq!(missing.count(), 1);
    }
}

#[test]
fn a_group_of_which_two_newer_arrays_rebuilt_a_member_each_is_found() {
    for is_labelled in [true, false] {
        let mut disks = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
        let (one, other) = disks.split_at_mut(3);
        if is_labelled {
            label(one, "newer", 5, 128 << 10, &[0, 1, 2]);
            label(other, "other", 5, 64 << 10, &[0, 1, 2]);
        }
        sync(one);
        sync(other);
        let disks = shuffled(disks, &[], "disk");
        if is_labelled {
            is_found_beneath_two(&disks);
            continue;
        }
        let aggregate = discover(&disks, &|_, _| None);
        assert!(found(&aggregate, &disks, &CONTENT), "{aggregate:#?}");
        let unused = aggregate.unused.iter();
        let disks = unused.filter(|one| one.device.0.starts_with("disk:"));
        assert_eq!(disks.count(), 2, "{:?}", aggregate.unused);
    }
}

/// In a quarter of the rows two of the eight members have the newer array's parity: there hardly a row
/// of the older one agrees with itself, and its label says where that is.
#[test]
fn what_a_newer_array_over_more_disks_took_for_its_parity_is_rebuilt() {
    let (chunk, offset) = (64 << 10, 1 << 20);
    let mut disks = lay_out(&CONTENT, "6-ls", 6, chunk, offset);
    let length = disks[0].len();
    disks.extend([noise(1, length), noise(2, length)]);
    let order = [6, 0, 3, 1, 7, 2, 5, 4];
    let rows = (length - offset) / chunk / 4;
    resync(&mut disks, "6-ls", &order, chunk, offset, 0..rows);
    let roles: Vec<usize> = (0..order.len())
        .map(|disk| order.iter().position(|one| *one == disk).unwrap())
        .collect();
    let synced = (rows * chunk / 512) as u64;
    label_synced(&mut disks, "newer", 6, chunk, &roles, synced);
    let disks = shuffled(disks, &[3], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let newer = aggregate.groups.iter().find(|group| group.name == "newer");
    assert_eq!(newer.unwrap().over, ["found-1"], "{:?}", aggregate.losses);
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::group("found-1")).unwrap();
    let (read, gaps) = device.read_vec(ByteOffset::ZERO, CONTENT.len()).unwrap();
    // Three members of a row are more than can be missing, and nothing is in doubt.
    assert!(gaps.suspects().is_empty(), "{gaps:?}");
    let lost: usize = gaps.iter().map(|gap| gap.range.len()).sum();
    assert!(lost * 20 < CONTENT.len(), "{lost} bytes lost");
    let mut right = CONTENT.clone();
    for gap in gaps.iter() {
        right[gap.range.clone()].copy_from_slice(&read[gap.range.clone()]);
    }
    assert!(read == right);
}

/// A RAID-0 over two RAID-5s, of whose own two labels one is left.
#[test]
fn an_array_of_arrays_takes_the_one_group_that_fits_where_its_label_is_gone() {
    let mut content = vec![0; 4 << 20];
    content[3 << 20..][..4096].copy_from_slice(&noise(1, 4096));
    let mut pair = lay_out(&content, "raid0", 2, 512 << 10, 1 << 20);
    label(&mut pair, "above", 0, 512 << 10, &[0, 1]);
    pair[0][4096..8192].fill(0);
    let mut disks = Vec::new();
    for (bytes, prefix) in pair.iter().zip(["one", "other"]) {
        let mut members = lay_out(bytes, "5-ls", 4, 16 << 10, 1 << 20);
        label(&mut members, prefix, 5, 16 << 10, &[0, 1, 2, 3]);
        disks.extend(shuffled(members, &[], prefix));
    }
    let aggregate = discover(&disks, &|_, _| None);
    let losses = &aggregate.losses;
    let above = aggregate.groups.iter().find(|group| group.name == "above");
    let above = above.unwrap_or_else(|| panic!("{losses:?}"));
    assert!(above.confidence < 1.0, "{above:?}");
    assert!(losses.is_empty(), "{losses:?}");
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::group("above")).unwrap();
    let read = device.read_whole(ByteOffset::ZERO, content.len());
    assert!(read.as_deref() == Some(&content), "{above:?}");
}

#[test]
fn what_is_striped_over_labelled_arrays_does_not_speak_against_their_labels() {
    let mut disks = Vec::new();
    for (number, bytes) in lay_out(&CONTENT, "raid0", 2, 64 << 10, 1 << 20)
        .into_iter()
        .enumerate()
    {
        let mut pair = [bytes.clone(), bytes];
        label(&mut pair, &format!("md{number}"), 1, 0, &[0, 1]);
        disks.extend(pair);
    }
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let groups = aggregate.groups.iter();
    let names: Vec<&str> = groups.map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["md0", "md1"], "{:#?}", aggregate.groups);
}

/// Of six members one is missing, and two have lost their labels and their tables: contents say which
/// they are, and the other disks how they were cut.
#[test]
fn members_without_a_label_complete_the_group_that_labels_state() {
    for is_partitioned in [false, true] {
        let mut disks = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
        label(&mut disks, "array", 6, 64 << 10, &[0, 1, 2, 3, 4, 5]);
        for role in [1, 4] {
            disks[role][..64 << 10].fill(0);
        }
        if is_partitioned {
            for bytes in &mut disks {
                bytes.splice(..0, vec![0; 9 << 20]);
            }
        }
        let disks: Vec<_> = (0..)
            .zip(disks)
            .filter(|(role, _)| *role != 2)
            .map(|(role, bytes)| disk(&format!("disk-{role}"), bytes))
            .collect();
        let aggregate = discover(&disks, &|_, _| None);
        let [group] = aggregate.groups.as_slice() else {
            panic!("{aggregate:#?}");
        };
        assert_eq!(group.name, "array");
        let on = group
            .members
            .iter()
            .map(|m| m.device.as_ref().map(ToString::to_string));
        let expected = (0..6_usize).map(|role| {
            let name = if is_partitioned {
                format!("partition:disk-{role}/2")
            } else {
                format!("disk:disk-{role}")
            };
            (role != 2).then_some(name)
        });
        assert!(on.eq(expected), "{group:#?}");
        let devices = build(&aggregate, &disks).unwrap();
        let device = devices.get(&DeviceName::group("array")).unwrap();
        let read = device.read_whole(ByteOffset::ZERO, CONTENT.len());
        assert!(read.as_ref() == Some(&*CONTENT));
    }
}

/// Two disks beside three partitioned ones on which an array is whole: nothing says that they were cut.
#[test]
fn disks_beside_a_whole_array_on_partitions_are_not_cut() {
    let mut disks = lay_out(&CONTENT, "5-ls", 3, 64 << 10, 1 << 20);
    label(&mut disks, "array", 5, 64 << 10, &[0, 1, 2]);
    for bytes in &mut disks {
        bytes.splice(..0, vec![0; 9 << 20]);
    }
    let length = disks[0].len();
    disks.extend([noise(1, length), noise(2, length)]);
    for bytes in &mut disks[3..] {
        bytes[..2 << 20].fill(0);
    }
    let disks: Vec<_> = (0..)
        .zip(disks)
        .map(|(number, bytes)| disk(&format!("disk-{number}"), bytes))
        .collect();
    let aggregate = discover(&disks, &|_, _| None);
    let cut = aggregate.volumes.iter().map(|v| v.device.to_string());
    let cut: Vec<String> = cut.filter(|name| name.ends_with("/2")).collect();
    let expected = [0, 1, 2].map(|number| format!("partition:disk-{number}/2"));
    assert_eq!(cut, expected);
}
