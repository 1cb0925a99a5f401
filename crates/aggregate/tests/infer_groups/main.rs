//! Groups whose labels are gone: what mkfs.xfs wrote, laid out anew in
//! many geometries, must be put together rightly or not at all.
//!
//! The layouts are written here a second time, by the formulas of mdadm's `geo_map`, and Q by
//! single bytes: the code under test has no part in making the disks.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on says so by failing, and why a group was not found"
)]

mod copies;
mod created_again;
mod labels;
mod lagging;
mod under_btrfs;
mod under_partitions;

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use aggregate::document::{Aggregate, DeviceName, Group};
use aggregate::{Disk, build, discover};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

/// The start of an XFS of 3,000 small files, as mkfs.xfs makes it of a list of files.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut list = "/\n0 0\nd--755 0 0\n".to_owned();
    for number in 0..3000 {
        let file = path(&number.to_string());
        let length = 700 + (number as usize * 7 % 60) * 251;
        fs::write(&file, noise(number, length)).unwrap();
        list.push_str(&format!("file-{number} ---644 0 0 {file}\n"));
    }
    list.push_str("$\n");
    fs::write(path("list"), list).unwrap();
    fs::File::create(path("image"))
        .unwrap()
        .set_len(320 << 20)
        .unwrap();
    let output = Command::new("mkfs.xfs")
        .args([
            "-q",
            "-f",
            "-m",
            "uuid=7a1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b11",
        ])
        .args(["-p", &path("list"), &path("image")])
        .output()
        .unwrap_or_else(|error| panic!("mkfs.xfs: {error}; scripts/setup.sh installs it"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // All files lie in the first of its allocation groups.
    let mut content = vec![0; 40 << 20];
    let mut image = fs::File::open(path("image")).unwrap();
    image.read_exact(&mut content).unwrap();
    content
});

fn disk(name: &str, bytes: Vec<u8>) -> Disk {
    (
        name.to_owned(),
        Arc::new(Memory::new(bytes)) as Arc<dyn ReadAt>,
    )
}

/// Where things are in a row: P, Q, and the data in its order.
type Row = (Option<usize>, Option<usize>, Vec<usize>);

/// A row of `geo_map`.
fn row(layout: &str, n: usize, number: usize) -> Row {
    let left = n - 1 - number % n;
    let right = number % n;
    let others = |p: usize, q: usize| (0..n).filter(|d| *d != p && *d != q).collect();
    let after = |from: usize, count: usize| (0..count).map(|i| (from + 1 + i) % n).collect();
    match layout {
        "raid0" => (None, None, (0..n).collect()),
        "5-la" => (Some(left), None, others(left, left)),
        "5-ra" => (Some(right), None, others(right, right)),
        "5-ls" => (Some(left), None, after(left, n - 1)),
        "5-rs" => (Some(right), None, after(right, n - 1)),
        "5-last" => (Some(n - 1), None, (0..n - 1).collect()),
        "6-la" => (
            Some(left),
            Some((left + 1) % n),
            others(left, (left + 1) % n),
        ),
        "6-ra" => (
            Some(right),
            Some((right + 1) % n),
            others(right, (right + 1) % n),
        ),
        "6-ls" => (
            Some(left),
            Some((left + 1) % n),
            after((left + 1) % n, n - 2),
        ),
        "6-rs" => (
            Some(right),
            Some((right + 1) % n),
            after((right + 1) % n, n - 2),
        ),
        "6-ddf-continue" => (Some(left), Some((left + n - 1) % n), after(left, n - 2)),
        _ => panic!("no layout {layout}"),
    }
}

/// 2 to the power of `exponent` in the field of RAID-6, times `value`.
fn times_power(value: u8, exponent: usize) -> u8 {
    (0..exponent).fold(value, |v, _| {
        (v << 1) ^ if v & 0x80 == 0 { 0 } else { 0x1d }
    })
}

/// Lays `content` out on `n` disks from `offset` on.
fn lay_out(content: &[u8], layout: &str, n: usize, chunk: usize, offset: usize) -> Vec<Vec<u8>> {
    let width = row(layout, n, 0).2.len();
    let rows = content.len().div_ceil(chunk * width);
    let mut disks = vec![vec![0; offset + rows * chunk]; n];
    for number in 0..rows {
        let at = offset + number * chunk;
        for (index, holder) in row(layout, n, number).2.iter().enumerate() {
            let from = ((number * width + index) * chunk).min(content.len());
            let piece = &content[from..(from + chunk).min(content.len())];
            disks[*holder][at..at + piece.len()].copy_from_slice(piece);
        }
    }
    let order: Vec<usize> = (0..n).collect();
    resync(&mut disks, layout, &order, chunk, offset, 0..rows);
    disks
}

/// Writes the parity of some rows anew, as an array has it that has its disks in this order.
fn resync(
    disks: &mut [Vec<u8>],
    layout: &str,
    order: &[usize],
    chunk: usize,
    offset: usize,
    rows: Range<usize>,
) {
    let n = order.len();
    for number in rows {
        let (p, q, data) = row(layout, n, number);
        let at = offset + number * chunk;
        let (mut sum, mut weighted) = (vec![0; chunk], vec![0; chunk]);
        for holder in data {
            // md counts the data from the one after Q on, DDF every member from the first on.
            let q = q.unwrap_or(0);
            let behind = (holder + n - q - 1) % n;
            let p_before = p.is_some_and(|p| (p + n - q - 1) % n < behind);
            let exponent = if layout.contains("ddf") {
                holder
            } else {
                behind - usize::from(p_before)
            };
            let table: Vec<u8> = (0..=255).map(|v| times_power(v, exponent)).collect();
            for (i, byte) in disks[order[holder]][at..at + chunk].iter().enumerate() {
                sum[i] ^= byte;
                weighted[i] ^= table[usize::from(*byte)];
            }
        }
        for (holder, bytes) in [(p, sum), (q, weighted)] {
            if let Some(holder) = holder {
                disks[order[holder]][at..at + chunk].copy_from_slice(&bytes);
            }
        }
    }
}

/// The disks with names that say nothing, without those `missing`.
fn shuffled(disks: Vec<Vec<u8>>, missing: &[usize], prefix: &str) -> Vec<Disk> {
    let n = disks.len();
    let kept = disks
        .into_iter()
        .enumerate()
        .filter(|(role, _)| !missing.contains(role));
    let named =
        kept.map(|(role, bytes)| (format!("{prefix}-{}", (role * 5 + 2) % (7 * n) % 11), bytes));
    let mut disks: Vec<Disk> = named.map(|(name, bytes)| disk(&name, bytes)).collect();
    disks.sort_by(|a, b| a.0.cmp(&b.0));
    disks
}

/// Whether a group was found; if so it must read as what was laid out, all of it.
fn found(aggregate: &Aggregate, disks: &[Disk], content: &[u8]) -> bool {
    let Some(group) = aggregate.groups.first() else {
        return false;
    };
    assert_eq!(aggregate.groups.len(), 1);
    assert!(group.confidence < 1.0, "inference is not a label");
    let devices = build(aggregate, disks).unwrap();
    let device = devices.get(&DeviceName::group(&group.name)).unwrap();
    let read = device.read_whole(ByteOffset::ZERO, content.len());
    assert!(
        read.as_deref() == Some(content),
        "a wrong answer: {group:#?}"
    );
    true
}

/// Looks for a group in this geometry; whether it was found.
fn is_found(layout: &str, n: usize, chunk_kib: usize, offset: usize, missing: &[usize]) -> bool {
    let disks = lay_out(&CONTENT, layout, n, chunk_kib << 10, offset);
    let disks = shuffled(disks, missing, "disk");
    assert_eq!(disks.len(), n - missing.len());
    let aggregate = discover(&disks, &|_, _| None);
    let is_found = found(&aggregate, &disks, &CONTENT);
    if is_found {
        let chunk = aggregate.groups[0].geometry.chunk_bytes();
        assert_eq!(chunk, Some(chunk_kib as u64 * 1024), "{layout}");
    } else {
        assert!(
            !aggregate.losses.is_empty(),
            "{layout}: undecided, and not said"
        );
        for loss in &aggregate.losses {
            eprintln!("{layout}: {loss}");
        }
    }
    is_found
}

#[test]
fn raid5_is_put_together_from_its_contents() {
    for (layout, n, chunk, offset, missing) in [
        ("5-ls", 4, 64, 1 << 20, &[][..]),
        ("5-la", 5, 32, 1 << 20, &[]),
        ("5-rs", 3, 128, (4 << 20) + (64 << 10), &[]),
        ("5-ra", 6, 16, 1 << 20, &[]),
        ("5-last", 4, 64, 2 << 20, &[]),
        ("5-ls", 5, 64, 1 << 20, &[3]),
        ("5-la", 4, 64, 1 << 20, &[1]),
    ] {
        let case = format!("{layout} of {n}, chunk {chunk} KiB, without {missing:?}");
        assert!(is_found(layout, n, chunk, offset, missing), "{case}");
    }
}

/// In more than a fifth of the rows one block is another's: more than that contradicts any geometry where most is
/// as it was.
#[test]
fn raid5_is_put_together_where_much_was_written_over() {
    const PIECE: usize = 4096;
    let offset = 1 << 20;
    let mut disks = lay_out(&CONTENT, "5-ls", 5, 64 << 10, offset);
    let rows = (disks[0].len() - offset) / PIECE;
    for (row, chance) in (0..rows).zip(noise(9, rows)) {
        if chance < 56 {
            let at = offset + row * PIECE;
            let patch = noise(row as u64 + 77, PIECE);
            disks[row * 7 % 5][at..at + PIECE].copy_from_slice(&patch);
        }
    }
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let losses = &aggregate.losses;
    let group = aggregate
        .groups
        .first()
        .unwrap_or_else(|| panic!("{losses:?}"));
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::group(&group.name)).unwrap();
    let (read, _) = device.read_vec(ByteOffset::ZERO, CONTENT.len()).unwrap();
    let pieces = CONTENT.chunks(PIECE).zip(read.chunks(PIECE));
    let stored = pieces.filter(|(stored, _)| stored.iter().any(|byte| *byte != 0));
    let (same, other): (Vec<_>, Vec<_>) = stored.partition(|(stored, read)| stored == read);
    assert!(
        same.len() > 10 * other.len(),
        "{} of {}",
        same.len(),
        same.len() + other.len()
    );
}

/// Most of the rows that say anything lie where nothing is related any more.
#[test]
fn raid6_is_put_together_where_random_bytes_are_at_the_starts_of_all_devices() {
    let mut disks = lay_out(&CONTENT, "6-ls", 5, 64 << 10, 1 << 20);
    for (seed, bytes) in (1..).zip(&mut disks) {
        let length = (6 << 20) + usize::try_from(seed).unwrap() * (200 << 10);
        bytes[..length].copy_from_slice(&noise(seed, length));
    }
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let losses = &aggregate.losses;
    let [group] = aggregate.groups.as_slice() else {
        panic!("{losses:?}");
    };
    assert_eq!(group.geometry.level.name(), "RAID-6");
    assert_eq!(group.geometry.chunk_bytes(), Some(64 << 10));
}

#[test]
fn raid6_is_put_together_from_its_contents() {
    for (layout, n, chunk, offset, missing) in [
        ("6-ls", 5, 64, 1 << 20, &[][..]),
        ("6-rs", 6, 32, 3 << 20, &[]),
        ("6-la", 5, 128, 1 << 20, &[4]),
        ("6-ra", 7, 64, 1 << 20, &[]),
        ("6-ddf-continue", 5, 64, 1 << 20, &[0]),
    ] {
        let case = format!("{layout} of {n}, chunk {chunk} KiB, without {missing:?}");
        assert!(is_found(layout, n, chunk, offset, missing), "{case}");
    }
}

/// Without two members no parity is left to tell which of the others hold P and which Q: the blocks of
/// the file system that are rebuilt do.
#[test]
fn raid6_without_two_members_is_put_together_by_what_is_rebuilt() {
    for (layout, missing) in [("6-ls", [1, 4]), ("6-ddf-continue", [0, 1])] {
        assert!(is_found(layout, 6, 64, 1 << 20, &missing), "{layout}");
    }
}

#[test]
fn what_nothing_decides_is_a_loss_and_no_group() {
    let noise = lay_out(&noise(3, 12 << 20), "5-ls", 4, 64 << 10, 1 << 20);
    let disks = shuffled(noise, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    assert!(aggregate.groups.is_empty());
    let loss = aggregate.losses.first().unwrap().to_string();
    assert!(
        loss.contains("parity ties these devices together"),
        "{loss}"
    );
    assert!(
        loss.contains("too little in their contents tells the chunk and the order"),
        "{loss}"
    );
}

/// Nothing states where members end. The rest of the others says that one image was cut short, or, if it is
/// nothing of the group, that its disk is smaller.
#[test]
fn a_group_goes_on_behind_the_end_of_an_image_that_was_cut_short() {
    let disks = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    let end = (1 << 20) + (5 << 20);
    let mut cut = disks.clone();
    cut[1].truncate(end);
    let cut = shuffled(cut, &[], "disk");
    let aggregate = discover(&cut, &|_, _| None);
    assert!(found(&aggregate, &cut, &CONTENT), "{:?}", aggregate.losses);
    let evidence = aggregate.groups[0].evidence.join("; ");
    assert!(evidence.contains("may be cut short"), "{evidence}");

    let mut smaller = disks;
    for (seed, disk) in (1..).zip(&mut smaller) {
        let rest = disk.len() - end;
        disk.truncate(end);
        if seed != 2 {
            disk.extend(noise(seed, rest));
        }
    }
    let smaller = shuffled(smaller, &[], "disk");
    let aggregate = discover(&smaller, &|_, _| None);
    let [group] = aggregate.groups.as_slice() else {
        panic!("{:?}", aggregate.losses);
    };
    assert!(group.members.iter().all(|one| one.data_size == 5 << 20));
}

#[test]
fn raid0_is_put_together_from_its_contents() {
    assert!(is_found("raid0", 3, 64, 1 << 20, &[]));
}

/// Bytes that look random, as an encrypted disk's do.
fn noise(mut state: u64, length: usize) -> Vec<u8> {
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state ^ state >> 31).to_le_bytes()
    });
    words.flatten().take(length).collect()
}

#[test]
fn a_pile_is_sorted_into_groups_and_what_is_undecided_is_said() {
    let mut disks = shuffled(lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20), &[], "a");
    let encrypted = lay_out(&noise(3, 24 << 20), "6-ls", 5, 64 << 10, 1 << 20);
    disks.extend(shuffled(encrypted, &[], "b"));
    disks.push(disk("foreign", noise(5, 8 << 20)));
    disks.push(disk("spare", vec![0; 8 << 20]));
    let aggregate = discover(&disks, &|_, _| None);
    assert!(found(&aggregate, &disks, &CONTENT));
    let members = &aggregate.groups[0].members;
    assert!(
        members
            .iter()
            .all(|m| m.device.as_ref().unwrap().0.starts_with("disk:a-"))
    );
    let mut losses = aggregate.losses.iter();
    let loss = losses.find(|loss| loss.what.contains("disk:b-")).unwrap();
    assert_eq!(loss.what.matches("disk:b-").count(), 5, "{loss}");
    assert!(
        !loss.what.contains("foreign") && !loss.what.contains("spare"),
        "{loss}"
    );
    let mut turned = disks.clone();
    turned.reverse();
    assert_eq!(
        discover(&turned, &|_, _| None),
        aggregate,
        "the order of the disks decides"
    );
}

#[test]
fn a_mirror_is_found_by_what_begins_and_ends_on_it() {
    // A small file system: it must fit its device.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let output = Command::new("mkfs.ext4")
        .arg("-q")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success());
    let mut content = fs::read(&path).unwrap();
    content[20 << 20..28 << 20].copy_from_slice(&noise(9, 8 << 20));
    let bytes = [vec![0; 1 << 20], content.clone(), vec![0; 1 << 20]].concat();
    let disks = [disk("x", bytes.clone()), disk("y", bytes)];
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &content),
        "{:?}",
        aggregate.losses
    );
    assert_eq!(aggregate.groups[0].geometry.level.name(), "RAID-1");
    assert_eq!(aggregate.groups[0].members.len(), 2);
}

/// A copy of a superblock, as a journal has it, begins no file system; but equal devices are a mirror.
#[test]
fn equal_devices_are_a_mirror_whatever_lies_on_them() {
    let mut content = noise(11, 24 << 20);
    let copy = &mut content[5 << 20..(5 << 20) + 2048];
    copy.fill(0);
    let put = |copy: &mut [u8], at: usize, bytes: &[u8]| {
        copy[1024 + at..1024 + at + bytes.len()].copy_from_slice(bytes);
    };
    // s_blocks_count_lo, s_first_data_block, s_blocks_per_group, s_magic, s_rev_level, s_inode_size.
    put(copy, 4, &8192_u32.to_le_bytes());
    put(copy, 20, &1_u32.to_le_bytes());
    put(copy, 32, &8192_u32.to_le_bytes());
    put(copy, 56, &[0x53, 0xEF]);
    put(copy, 76, &1_u32.to_le_bytes());
    put(copy, 88, &256_u16.to_le_bytes());
    let disks = [disk("x", content.clone()), disk("y", content.clone())];
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &content),
        "{:?}",
        aggregate.groups
    );
    assert_eq!(aggregate.groups[0].geometry.level.name(), "RAID-1");
}

#[test]
fn members_whose_data_begins_at_different_offsets_are_brought_in_line() {
    // Contents that end in the middle of a row: there parity is a copy.
    let mut content = CONTENT[..36 << 20].to_vec();
    for at in (0..content.len()).step_by(3 * 65536 * 7) {
        let end = (at + 2 * 65536).min(content.len());
        content[at..end].fill(0);
    }
    let mut disks = lay_out(&content, "5-ls", 4, 64 << 10, 1 << 20);
    for (number, bytes) in disks.iter_mut().enumerate() {
        let later = [0, 4096 * 3, 1 << 20, 0][number];
        bytes.splice(0..0, vec![0; later]);
    }
    let disks = shuffled(disks, &[], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &content),
        "{:?}",
        aggregate.losses
    );
}

#[test]
fn a_stale_member_is_left_out_and_named() {
    let mut disks = shuffled(lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20), &[], "disk");
    let mut older = disks[2].1.read_whole(ByteOffset::ZERO, 14 << 20).unwrap();
    for at in (2 << 20..12 << 20).step_by(256 << 10) {
        older[at..at + 65536].copy_from_slice(&noise(at as u64, 65536));
    }
    disks.push(disk("stale", older));
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &CONTENT),
        "{:?}",
        aggregate.losses
    );
    let stale = aggregate
        .unused
        .iter()
        .find(|unused| unused.device == DeviceName::disk("stale"));
    assert!(
        stale.is_some_and(|stale| stale.why.contains("a copy of")),
        "{:?}",
        aggregate.unused
    );
}

/// Mail of which each block goes on in the next one: base64 in lines of one length for each message.
fn mail(bytes: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut all = Vec::new();
    let mut number = 0_usize;
    while all.len() < bytes {
        all.extend(format!("Subject: number {number}\n\n").bytes());
        let length = 60 + number * 7 % 17;
        for line in noise(number as u64 + 9, length * (900 + number * 31 % 700)).chunks(length) {
            all.extend(line.iter().map(|byte| LETTERS[usize::from(byte & 63)]));
            all.push(b'\n');
        }
        number += 1;
        all.resize(all.len().next_multiple_of(4096), 0);
    }
    all.truncate(bytes);
    all
}

#[test]
fn a_file_system_in_stripes_decides_a_group_beside_one_that_is_decided() {
    // An XFS, and mail behind what it has in use: of the second half hardly a block states its address.
    let mut volume = CONTENT[..16 << 20].to_vec();
    volume.extend(mail(16 << 20));
    let mut halves = [vec![0; 3 << 20], vec![0; 1 << 20]];
    for (number, stripe) in volume.chunks(64 << 10).enumerate() {
        if number % 2 == 1 && (64..256).contains(&number) {
            halves[1].resize(halves[1].len() + stripe.len(), 0);
        } else {
            halves[number % 2].extend_from_slice(stripe);
        }
    }
    let [mut one, other] = halves;
    // What lies on the first alone decides that one.
    one.extend(mail(32 << 20));
    let mut disks = shuffled(lay_out(&one, "5-ls", 3, 64 << 10, 1 << 20), &[], "a");
    let second = lay_out(&other, "5-la", 4, 256 << 10, 1 << 20);
    disks.extend(shuffled(second, &[1], "b"));
    let aggregate = discover(&disks, &|_, _| None);
    assert_eq!(aggregate.groups.len(), 2, "{:?}", aggregate.losses);
    let mut groups = aggregate.groups.iter();
    let group = groups.find(|group| group.geometry.members() == 4).unwrap();
    let says = |what: &str| group.evidence.iter().any(|one| one.contains(what));
    assert!(
        says("a file system lies in stripes of 64 KiB"),
        "{group:#?}"
    );
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::group(&group.name)).unwrap();
    // Nothing says where the group begins, only in which order its blocks are.
    let own = &other[9 << 20..];
    let length = usize::try_from(device.len()).unwrap();
    let (read, _) = device.read_vec(ByteOffset::ZERO, length).unwrap();
    let at = read
        .windows(4096)
        .step_by(4096)
        .position(|block| block == &own[..4096]);
    let at = at.map(|block| block * 4096);
    let read = at.map(|at| &read[at..][..own.len()]);
    assert!(read == Some(own), "a wrong answer: {group:#?}");
}

#[test]
fn blocks_in_stripes_outweigh_an_order_that_parity_allows_as_well() {
    // With stripes as long as chunks no text goes on within a group, and parity says the same of each layout.
    let mut volume = CONTENT.clone();
    volume.extend(mail(24 << 20));
    let mut halves = [Vec::new(), Vec::new()];
    for (number, stripe) in volume.chunks(64 << 10).enumerate() {
        halves[number % 2].extend_from_slice(stripe);
    }
    let mut disks = shuffled(lay_out(&halves[0], "5-ls", 3, 64 << 10, 1 << 20), &[], "a");
    disks.extend(shuffled(
        lay_out(&halves[1], "5-ra", 4, 64 << 10, 1 << 20),
        &[],
        "b",
    ));
    let aggregate = discover(&disks, &|_, _| None);
    assert_eq!(aggregate.groups.len(), 2, "{:?}", aggregate.losses);
    let devices = build(&aggregate, &disks).unwrap();
    for half in &halves {
        let reads = |group: &Group| {
            let device = devices.get(&DeviceName::group(&group.name)).unwrap();
            let (read, _) = device.read_vec(ByteOffset::ZERO, half.len()).unwrap();
            read == *half
        };
        let found = aggregate.groups.iter().any(reads);
        assert!(found, "{:#?}", aggregate.groups);
    }
}

#[test]
fn stripes_shorter_than_a_chunk_decide_a_group_beside_one_that_is_decided() {
    let mut halves = [vec![0; 1 << 20], vec![0; 1 << 20]];
    for (number, stripe) in mail(24 << 20).chunks(64 << 10).enumerate() {
        halves[number % 2].extend_from_slice(stripe);
    }
    let [mut one, other] = halves;
    one.resize(16 << 20, 0);
    one.extend_from_slice(&CONTENT);
    let mut disks = shuffled(lay_out(&one, "5-ls", 3, 64 << 10, 1 << 20), &[], "a");
    let second = lay_out(&other, "6-ls", 4, 256 << 10, 1 << 20);
    disks.extend(shuffled(second, &[2], "b"));
    let aggregate = discover(&disks, &|_, _| None);
    assert_eq!(aggregate.groups.len(), 2, "{:?}", aggregate.losses);
    let mut groups = aggregate.groups.iter();
    let group = groups.find(|group| group.geometry.members() == 4).unwrap();
    assert!(
        group
            .evidence
            .iter()
            .any(|one| one.contains("stripes of 64 KiB"))
    );
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::group(&group.name)).unwrap();
    // The zeros before it may have been something else once.
    let mail = &other[1 << 20..];
    let read = device.read_whole(ByteOffset::new(1 << 20), mail.len());
    assert!(read.as_deref() == Some(mail), "a wrong answer: {group:#?}");
}
