//! Volumes without labels and metadata: file systems that mkfs and the kernel made, cut into
//! segments by hand and laid on groups, must be found where they were put.
//!
//! Needs root, loop devices, xfsprogs and e2fsprogs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use aggregate::document::{Aggregate, DeviceName, Group, SegmentMap, Volume};
use aggregate::{Disk, build, discover_over};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

const MIB: usize = 1 << 20;
const EXTENT: usize = 4 * MIB;

fn run(tool: &str, arguments: &[&str]) {
    let output = Command::new(tool)
        .args(arguments)
        // mkfs.xfs makes logs this small only for those who test.
        .envs(["TEST_DIR", "TEST_DEV", "QA_CHECK_FS"].map(|name| (name, "1")))
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}; scripts/setup.sh installs it"));
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes files in a mounted image, with breaks that write the journal.
fn fill(dir: &Path, image: &str) {
    let mount = dir.join("mnt");
    fs::create_dir(&mount).unwrap();
    let mount = mount.to_str().unwrap();
    run("mount", &["-o", "loop", image, mount]);
    for number in 0..3000_usize {
        let folder = Path::new(mount).join(format!("d{}", number % 40));
        fs::create_dir_all(&folder).unwrap();
        let text = format!("message {number}\n").repeat(1 + number * 7 % 300);
        fs::write(folder.join(format!("file-{number}")), text).unwrap();
        if number % 100 == 0 {
            run("sync", &["-f", mount]);
        }
    }
    run("umount", &[mount]);
}

fn image(name: &str, megabytes: usize, mkfs: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let file = fs::File::create(&path).unwrap();
    file.set_len((megabytes * MIB) as u64).unwrap();
    let image = path.to_str().unwrap();
    let (tool, options) = mkfs.split_first().unwrap();
    run(tool, &[options, &[image]].concat());
    fill(dir.path(), image);
    fs::read(path).unwrap()
}

/// An XFS of 16 allocation groups.
static XFS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let uuid = "uuid=7a1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b11";
    image(
        "xfs",
        320,
        &[
            "mkfs.xfs",
            "-q",
            "-d",
            "agcount=16",
            "-l",
            "size=8m",
            "-m",
            uuid,
        ],
    )
});

/// An ext4 as large as one that is put on a small volume.
static EXT4: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let uuid = "11111111-52a1-4d0c-9a52-0c3c5d1f2b11";
    image("ext4", 120, &["mkfs.ext4", "-q", "-F", "-U", uuid])
});

/// Devices as groups of one disk each.
fn groups(devices: Vec<Vec<u8>>) -> (Vec<Disk>, Vec<Group>) {
    let mut disks: Vec<Disk> = Vec::new();
    let mut groups = Vec::new();
    for (number, bytes) in devices.into_iter().enumerate() {
        let length = bytes.len();
        disks.push((format!("disk-{number}"), Arc::new(Memory::new(bytes))));
        let group = serde_json::json!({
            "name": format!("g{number}"),
            "geometry": {"level": "linear", "member_bytes": [length], "bytes": length},
            "members": [{"role": 0, "device": format!("disk:disk-{number}"), "data_size": length}],
        });
        groups.push(serde_json::from_value(group).unwrap());
    }
    (disks, groups)
}

/// Puts `from` on a device at `at`, which grows as it must.
fn put(device: &mut Vec<u8>, at: usize, from: &[u8]) {
    if device.len() < at + from.len() {
        device.resize(at + from.len(), 0);
    }
    device[at..at + from.len()].copy_from_slice(from);
}

fn linear(device: usize, offset: usize) -> SegmentMap {
    serde_json::from_value(serde_json::json!({
        "kind": "linear", "device": format!("group:g{device}"), "offset": offset,
    }))
    .unwrap()
}

struct Looked {
    disks: Vec<Disk>,
    aggregate: Aggregate,
}

fn look(devices: Vec<Vec<u8>>) -> Looked {
    let (disks, groups) = groups(devices);
    let aggregate = discover_over(&disks, &groups, &|_, _| None);
    Looked { disks, aggregate }
}

impl Looked {
    fn volume(&self, uuid: &str) -> &Volume {
        let name = DeviceName::volume(&format!("found/{uuid}"));
        let all = &self.aggregate.volumes;
        let volume = all.iter().find(|volume| volume.device == name);
        volume.unwrap_or_else(|| panic!("{all:#?} {:#?}", self.aggregate.losses))
    }

    /// The segments as start, length and map.
    fn segments(&self, uuid: &str) -> Vec<(usize, usize, SegmentMap)> {
        let segments = self.volume(uuid).segments.iter();
        segments
            .map(|s| (s.start as usize, s.bytes as usize, s.map.clone()))
            .collect()
    }

    /// All that the volume has must be what the file system has there, from `from` on.
    fn assert_contents(&self, uuid: &str, image: &[u8], from: usize) {
        let devices = build(&self.aggregate, &self.disks).unwrap();
        let device = devices.get(&self.volume(uuid).device).unwrap();
        assert_eq!(device.len(), image.len() as u64);
        for at in (from..image.len()).step_by(MIB) {
            let (mut bytes, gaps) = device.read_vec(ByteOffset::new(at as u64), MIB).unwrap();
            for gap in gaps.iter() {
                let there = at + gap.range.start..at + gap.range.end;
                bytes[gap.range.clone()].copy_from_slice(&image[there]);
            }
            assert!(bytes == image[at..at + MIB], "wrong at {at}");
        }
    }
}

/// The first volume of two groups is gone, its space is zeros; the second one begins behind it,
/// reaches to the end of the first group, and has lost its head.
#[test]
fn a_volume_goes_over_from_the_end_of_one_group_to_the_middle_of_the_next() {
    let over = 40 * EXTENT;
    let mut first = Vec::new();
    put(&mut first, MIB + 3 * EXTENT, &XFS[..over]);
    first.resize(first.len() + 2 * MIB, 0);
    first[..MIB + 3 * EXTENT + 24 * MIB].fill(0);
    let mut second = Vec::new();
    put(&mut second, MIB + 9 * EXTENT, &XFS[over..]);
    put(
        &mut second,
        MIB + 9 * EXTENT + XFS.len() - over + 50 * MIB,
        &[0; 512],
    );
    let looked = look(vec![first, second]);
    assert_eq!(
        looked.segments("7a1f6a9e"),
        [
            (0, over, linear(0, MIB + 3 * EXTENT)),
            (over, XFS.len() - over, linear(1, MIB + 9 * EXTENT)),
        ]
    );
    looked.assert_contents("7a1f6a9e", &XFS, 24 * MIB);
}

/// A linear array without labels: pieces of any length, one to a disk, from the same place of each
/// to its end.
#[test]
fn disks_of_a_linear_array_are_chained() {
    let borders = [0, 75 * MIB + (52 << 10), 190 * MIB + (8 << 10), XFS.len()];
    let mut disks: Vec<Disk> = Vec::new();
    for (number, pair) in borders.windows(2).enumerate() {
        let mut disk = vec![0; MIB];
        disk.extend_from_slice(&XFS[pair[0]..pair[1]]);
        // What is no whole chunk is left over.
        disk.resize(disk.len() + (20 << 10), 0);
        disks.push((format!("disk-{number}"), Arc::new(Memory::new(disk))));
    }
    disks.rotate_left(1);
    let aggregate = discover_over(&disks, &[], &|_, _| None);
    let looked = Looked { disks, aggregate };
    let on = |disk: usize| -> SegmentMap {
        let device = format!("disk:disk-{disk}");
        let map = serde_json::json!({"kind": "linear", "device": device, "offset": MIB});
        serde_json::from_value(map).unwrap()
    };
    let chain: Vec<_> = (0..3)
        .map(|i| (borders[i], borders[i + 1] - borders[i], on(i)))
        .collect();
    assert_eq!(looked.segments("7a1f6a9e"), chain);
    looked.assert_contents("7a1f6a9e", &XFS, 0);
    // That they may have been a group of another kind is no longer said.
    assert_eq!(looked.aggregate.losses, []);
}

/// Members of a linear array need not begin at the same place: what goes on in front of the end of one
/// is not cut off where the next one still has zeros.
#[test]
fn disks_of_a_linear_array_with_different_starts_are_chained() {
    let starts = [MIB, MIB + (80 << 10), MIB + (68 << 10)];
    let block = 4 << 10;
    // What states its address begins with a capital letter.
    let is_of_text = |block: &[u8]| matches!(block[0], b'\n'..b'A' | b'a'..=b'z');
    let is_text = |bytes: &[u8]| bytes.chunks(block).all(is_of_text);
    let border = |from: usize| {
        let mut at = (from..XFS.len()).step_by(block);
        at.find(|at| is_text(&XFS[at - (84 << 10)..*at])).unwrap()
    };
    let borders = [0, border(75 * MIB), border(190 * MIB), XFS.len()];
    let pieces = borders.windows(2).zip(starts).enumerate();
    let disks = pieces.map(|(number, (pair, start))| {
        let disk = [vec![0; start], XFS[pair[0]..pair[1]].to_vec()].concat();
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(disk));
        (format!("disk-{number}"), disk)
    });
    let disks: Vec<Disk> = disks.collect();
    let aggregate = discover_over(&disks, &[], &|_, _| None);
    let looked = Looked { disks, aggregate };
    looked.assert_contents("7a1f6a9e", &XFS, 0);
}

/// Two volumes on a linear array without labels: neither begins where the data of its first disk does, and each
/// goes on where that of the next one does.
#[test]
fn volumes_on_disks_of_a_linear_array_are_chained() {
    let content = [vec![0; MIB], EXT4.clone(), XFS.clone()].concat();
    let borders = [0, 60 * MIB, 250 * MIB, content.len()];
    let disks = borders.windows(2).enumerate().map(|(number, pair)| {
        let disk = [vec![0; MIB], content[pair[0]..pair[1]].to_vec()].concat();
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(disk));
        (format!("disk-{number}"), disk)
    });
    let mut disks: Vec<Disk> = disks.collect();
    disks.rotate_left(1);
    let aggregate = discover_over(&disks, &[], &|_, _| None);
    let looked = Looked { disks, aggregate };
    let on = |disk: usize, offset: usize| -> SegmentMap {
        let device = format!("disk:disk-{disk}");
        let map = serde_json::json!({"kind": "linear", "device": device, "offset": offset});
        serde_json::from_value(map).unwrap()
    };
    let (ext, xfs) = (59 * MIB, 129 * MIB);
    assert_eq!(
        looked.segments("11111111"),
        [
            (0, ext, on(0, 2 * MIB)),
            (ext, EXT4.len() - ext, on(1, MIB))
        ]
    );
    assert_eq!(
        looked.segments("7a1f6a9e"),
        [
            (0, xfs, on(1, 62 * MIB)),
            (xfs, XFS.len() - xfs, on(2, MIB))
        ]
    );
    looked.assert_contents("11111111", &EXT4, 0);
    looked.assert_contents("7a1f6a9e", &XFS, 0);
}

/// Two file systems side by side: one in stripes on two groups whose first extents lie at other
/// places, the other linear behind it. What the first has tells where the second goes over.
#[test]
fn stripes_and_what_lies_behind_them_are_both_found() {
    let stripe = 64 << 10;
    let starts = [MIB + (128 << 10), MIB + (32 << 10)];
    let mut devices = vec![Vec::new(), Vec::new()];
    for (number, chunk) in EXT4.chunks(stripe).enumerate() {
        put(
            &mut devices[number % 2],
            starts[number % 2] + number / 2 * stripe,
            chunk,
        );
    }
    let behind = EXT4.len() / 2;
    let over = 30 * EXTENT;
    put(&mut devices[0], starts[0] + behind, &XFS[..over]);
    put(&mut devices[1], starts[1] + behind, &XFS[over..]);
    // Nothing says that the first group is full where the volume leaves it.
    let full = devices[0].len();
    devices[0].resize(full + 5 * EXTENT, 0);
    for (device, start) in devices.iter_mut().zip(starts) {
        device[..start + stripe].fill(0);
    }
    let looked = look(devices);
    let areas: Vec<_> = (0..2)
        .map(|i| serde_json::json!({"device": format!("group:g{i}"), "offset": starts[i]}))
        .collect();
    let striped = serde_json::json!({"kind": "striped", "stripe_bytes": stripe, "areas": areas});
    assert_eq!(
        looked.segments("11111111"),
        [(0, EXT4.len(), serde_json::from_value(striped).unwrap())]
    );
    looked.assert_contents("11111111", &EXT4, MIB);
    let segments = looked.segments("7a1f6a9e");
    assert_eq!(segments.first().unwrap().2, linear(0, starts[0] + behind));
    let last = segments.last().unwrap();
    assert_eq!(last.2, linear(1, starts[1] + behind + last.0 - over));
    // What is not decided is missing and says between what; nothing is read from a wrong place.
    for (start, bytes, map) in &segments {
        if let SegmentMap::Missing { why } = map {
            assert!(*start <= over && over <= start + bytes, "{segments:?}");
            assert!(why.contains("is not decided"), "{why}");
        }
    }
    looked.assert_contents("7a1f6a9e", &XFS, 0);
}

/// Without any superblock nothing states how long a volume is: it has what lies before the next one.
#[test]
fn a_volume_without_superblocks_reaches_up_to_the_next() {
    let (stripe, start) = (64 << 10, MIB);
    let mut image = XFS.clone();
    for group in image.chunks_mut(XFS.len() / 16) {
        group[..512].fill(0);
    }
    let mut devices = vec![Vec::new(), Vec::new()];
    for (number, chunk) in image.chunks(stripe).enumerate() {
        put(&mut devices[number % 2], start + number / 2 * stripe, chunk);
    }
    let behind = start + XFS.len() / 2;
    put(&mut devices[1], behind, &EXT4);
    // What lies behind on the first device is another's too, of which nothing is known.
    put(
        &mut devices[0],
        behind,
        &b"not of any file system\n".repeat(MIB),
    );
    let looked = look(devices);
    let [(0, length, SegmentMap::Striped { .. })] = looked.segments("7a1f6a9e")[..] else {
        panic!("{:#?}", looked.segments("7a1f6a9e"));
    };
    assert_eq!(length, XFS.len());
    looked.assert_contents("7a1f6a9e", &image, 0);
    assert_eq!(looked.segments("11111111")[0].2, linear(1, behind));
}

/// A piece lay on a group that is gone.
#[test]
fn what_lay_on_a_missing_group_is_missing() {
    let over = 40 * EXTENT;
    let mut second = Vec::new();
    put(&mut second, MIB, &XFS[over..]);
    let looked = look(vec![second]);
    let segments = looked.segments("7a1f6a9e");
    let [(0, bytes, SegmentMap::Missing { .. }), (start, _, map)] = segments.as_slice() else {
        panic!("{segments:?}")
    };
    assert_eq!((*bytes, *start, map), (over, over, &linear(0, MIB)));
    looked.assert_contents("7a1f6a9e", &XFS, 0);
}

/// The first member of a linear array whose others are gone: it has room behind its data that the
/// file system never had, whether its data begins where LVM lets extents begin or elsewhere.
#[test]
fn a_volume_that_goes_on_elsewhere_has_no_room_behind_the_data() {
    let is_full = |at: usize| EXT4[at..at + 4096].iter().any(|byte| *byte != 0);
    // A place at which files lie on both sides.
    let mut places = (17 * MIB..EXT4.len()).step_by(4096);
    let over = places.find(|at| (at - 8192..at + 8192).step_by(4096).all(is_full));
    let over = over.unwrap();
    for start in [MIB, MIB + 12288] {
        let mut first = vec![0; start];
        first.extend_from_slice(&EXT4[..over]);
        let length = (first.len() + 160 * 1024).max((over / EXTENT + 1) * EXTENT + start);
        first.resize(length, 0);
        let looked = look(vec![first]);
        let segments = looked.segments("11111111");
        let [(0, bytes, map), (.., SegmentMap::Missing { .. })] = segments.as_slice() else {
            panic!("{segments:?}")
        };
        assert_eq!(map, &linear(0, start));
        assert!((8 * MIB..=over).contains(bytes), "{bytes} of {over}");
        looked.assert_contents("11111111", &EXT4, 0);
    }
}

/// A stripe over three groups, in an order that is not that of their names.
#[test]
fn the_order_of_stripes_is_solved() {
    let (stripe, order) = (256 << 10, [2, 0, 1]);
    let mut devices = vec![Vec::new(); 3];
    for (number, chunk) in XFS.chunks(stripe).enumerate() {
        put(
            &mut devices[order[number % 3]],
            MIB + number / 3 * stripe,
            chunk,
        );
    }
    for device in &mut devices {
        // Whole extents, as LVM gives.
        let extents = (device.len() - MIB).div_ceil(EXTENT);
        device.resize(MIB + extents * EXTENT, 0);
    }
    devices[2][..2 * MIB].fill(0);
    let looked = look(devices);
    let areas = order.map(|i| serde_json::json!({"device": format!("group:g{i}"), "offset": MIB}));
    let map = serde_json::json!({"kind": "striped", "stripe_bytes": stripe, "areas": areas});
    assert_eq!(
        looked.segments("7a1f6a9e"),
        [(0, XFS.len(), serde_json::from_value(map).unwrap())]
    );
}

/// Members of a group whose geometry is not known show pieces of a file system that make no
/// volume, and noise shows none.
#[test]
fn chunks_in_no_order_are_no_volume() {
    let chunk = 64 << 10;
    let mut devices = vec![vec![0; MIB]; 2];
    for (number, piece) in XFS.chunks(chunk).enumerate().take(2000) {
        // An order that no stripe has.
        devices[usize::from(number % 7 < 3)].extend_from_slice(piece);
    }
    let looked = look(devices);
    assert!(
        looked.aggregate.volumes.is_empty(),
        "{:#?}",
        looked.aggregate.volumes
    );
    let noise = (0..8 * MIB as u64).map(|i| (i.wrapping_mul(i) >> 7) as u8);
    assert!(look(vec![noise.collect()]).aggregate.volumes.is_empty());
}
