//! Btrfs file systems full of mail, broken, and what of the files whose contents are all still there
//! comes back.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{Random, run};
use crate::pool::Devices;
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAtExt};
use filesystem::{Device, File, FileKind, Found, Standing, View, find_all, walk};

/// A sector.
const SECTOR: usize = 4096;

/// A file system, whole.
struct Original {
    devices: Devices,
    images: Vec<Vec<u8>>,
    /// All files by path.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Lays maildirs below `root`: lengths as mail has them, names as Dovecot gives them.
fn deliver(root: &Path, count: u64, random: &mut Random) {
    for number in 0..count {
        let account = number % 7;
        let folder = if number % 3 == 0 { "new" } else { "cur" };
        let dir = root.join(format!(
            "srv/vmail/quarry.example/user{account}/Maildir/{folder}"
        ));
        fs::create_dir_all(&dir).unwrap();
        let size = match random.below(10) {
            0..=2 => 500 + random.below(1500),
            3..=7 => 2500 + random.below(8000),
            _ => 10_000 + random.below(90_000),
        };
        let mut text = format!("Subject: message {number}\r\n\r\n").into_bytes();
        while (text.len() as u64) < size {
            text.extend(format!("{:016x}\r\n", random.next()).into_bytes());
        }
        let name = format!("{number}.M{:06}P77.mail,S={}:2,S", number * 7, text.len());
        fs::write(dir.join(name), text).unwrap();
        if number % 300 == 299 {
            run("sync", "coreutils", &["-f".as_ref(), root.as_os_str()]);
        }
    }
}

impl Original {
    fn make(count: usize, arguments: &[&str]) -> Self {
        let devices = Devices::mkfs(count, 160, arguments);
        {
            let mount = devices.mount("rw");
            deliver(mount.path(), 1200, &mut Random::new(5));
        }
        let mut files = BTreeMap::new();
        {
            let mount = devices.mount("ro");
            let mut open = vec![mount.path().to_owned()];
            while let Some(dir) = open.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        open.push(path);
                    } else {
                        let name = path.strip_prefix(mount.path()).unwrap();
                        let name = name.as_os_str().as_encoded_bytes().to_vec();
                        files.insert(name, fs::read(path).unwrap());
                    }
                }
            }
        }
        let images = devices
            .images
            .iter()
            .map(|p| fs::read(p).unwrap())
            .collect();
        Self {
            devices,
            images,
            files,
        }
    }

    /// The files of which every sector is still somewhere in `broken`, and that lie in no tree block
    /// or in one that is.
    fn intact(&self, broken: &[Vec<u8>]) -> Vec<&Vec<u8>> {
        let mut there: HashMap<u64, ()> = HashMap::new();
        let key = |sector: &[u8]| {
            let hash = blake3::hash(sector);
            u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
        };
        for sector in broken.iter().flat_map(|image| image.chunks(SECTOR)) {
            if sector.iter().any(|byte| *byte != 0) {
                there.insert(key(sector), ());
            }
        }
        // What stands in a tree block is found by its line in the subject.
        let mut subjects: HashMap<&[u8], Vec<(usize, usize)>> = HashMap::new();
        for (number, image) in broken.iter().enumerate() {
            for at in memchr::memmem::find_iter(image, b"Subject: message ") {
                let head = &image[at..(at + 500).min(image.len())];
                subjects.entry(head).or_default().push((number, at));
            }
        }
        let whole = |text: &Vec<u8>| {
            text.chunks(SECTOR).all(|part| {
                let mut sector = part.to_vec();
                sector.resize(SECTOR, 0);
                there.contains_key(&key(&sector))
            })
        };
        let inline = |text: &Vec<u8>| {
            let head = text.get(..500).unwrap_or_default();
            let places = subjects.get(head).into_iter().flatten();
            let mut here = places.map(|(image, at)| broken[*image].get(*at..*at + text.len()));
            text.len() < 2048 && here.any(|found| found == Some(text))
        };
        let files = self.files.iter();
        let intact = files.filter(|(_, text)| whole(text) || inline(text));
        intact.map(|(path, _)| path).collect()
    }
}

/// All file systems that are found on `broken`.
fn find(broken: &[Vec<u8>]) -> Vec<Found> {
    let devices: Vec<Device> = broken
        .iter()
        .enumerate()
        .map(|(number, bytes)| Device {
            name: format!("disk{number}"),
            bytes: Arc::new(Memory::new(bytes.clone())),
        })
        .collect();
    find_all(&devices, &|_| ()).0
}

/// What came back.
#[derive(Debug, Default)]
struct Score {
    intact: usize,
    exact: usize,
    wrong: usize,
}

/// What breaks a file system.
type Breaking<'a> = (&'a str, &'a dyn Fn(&mut [Vec<u8>]));

/// Breaks a copy of `original` and counts what comes back.
#[expect(
    clippy::print_stdout,
    reason = "with --nocapture the figures are shown"
)]
fn score(original: &Original, name: &str, breaking: &dyn Fn(&mut [Vec<u8>])) -> Score {
    let mut broken = original.images.clone();
    breaking(&mut broken);
    let intact = original.intact(&broken);
    let mut score = Score {
        intact: intact.len(),
        ..Score::default()
    };
    let mut right: HashMap<Vec<u8>, bool> = HashMap::new();
    for found in find(&broken) {
        for entry in walk(found.fs.as_ref()).filter_map(Result::ok) {
            if entry.inode.kind != FileKind::Regular {
                continue;
            }
            let path = crate::common::key(&entry.path);
            let Some(want) = original.files.get(&path) else {
                continue;
            };
            let file = File::open(found.fs.as_ref(), &entry.inode);
            let length = usize::try_from(entry.inode.size).unwrap();
            let Ok((bytes, gaps)) = file.read_vec(ByteOffset::ZERO, length) else {
                continue;
            };
            if gaps.is_empty() && gaps.suspects().is_empty() {
                let same = bytes == *want;
                // A file that was just being created may be found as it was then.
                let is_live = entry.inode.standing == Standing::InUse && !bytes.is_empty();
                score.wrong += usize::from(!same && is_live);
                *right.entry(path).or_default() |= same;
            }
        }
    }
    score.exact = intact
        .iter()
        .filter(|path| right.get(**path) == Some(&true))
        .count();
    println!("{name}: {score:?}");
    let missed = intact
        .iter()
        .filter(|path| right.get(**path) != Some(&true));
    for path in missed.take(5) {
        println!("  missed {}", String::from_utf8_lossy(path));
    }
    score
}

fn wipe_superblocks(images: &mut [Vec<u8>]) {
    for image in images {
        for at in (0..image.len()).step_by(512) {
            if image.get(at + 64..at + 72) == Some(b"_BHRfS_M") {
                image[at..at + SECTOR].fill(0);
            }
        }
    }
}

fn first_tenth(images: &mut [Vec<u8>]) {
    for image in images {
        let end = image.len() / 10;
        image[..end].fill(0);
    }
}

/// Each twentieth sector, another choice for each seed.
fn random_blocks(seed: u64, images: &mut [Vec<u8>]) {
    let mut random = Random::new(seed);
    for sector in images.iter_mut().flat_map(|image| image.chunks_mut(SECTOR)) {
        if random.below(20) == 0 {
            sector.fill(0);
        }
    }
}

/// One bit in each twentieth block of metadata, by its header; others for each seed.
fn flips(seed: u64, images: &mut [Vec<u8>]) {
    let mut random = Random::new(seed);
    for image in images {
        let fsid: Vec<u8> = image[(64 << 10) + 32..(64 << 10) + 48].to_vec();
        for at in (1 << 20..image.len()).step_by(SECTOR) {
            if image[at + 32..at + 48] == fsid[..] {
                for sector in 0..4 {
                    if random.below(20) == 0 {
                        let byte = at + sector * SECTOR + random.below(4096) as usize;
                        image[byte] ^= 1 << random.below(8);
                    }
                }
            }
        }
    }
}

/// Another file system over all of it.
fn over(original: &Original, mkfs: &[&str], together: bool, images: &mut [Vec<u8>]) {
    let paths = &original.devices.images;
    for (path, image) in paths.iter().zip(images.iter()) {
        fs::write(path, image).unwrap();
    }
    let names: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let step = if together { names.len() } else { 1 };
    for names in names.chunks(step) {
        run(mkfs[0], "its package", &[&mkfs[1..], names].concat());
    }
    for (path, image) in paths.iter().zip(images.iter_mut()) {
        *image = fs::read(path).unwrap();
    }
}

/// Checks that at least `least` % come back.
fn check(count: usize, arguments: &[&str], least: &dyn Fn(&str) -> usize) {
    let original = Original::make(count, arguments);
    let again = [&["mkfs.btrfs", "-q", "-f", "-K"], arguments].concat();
    let ext4 = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard"];
    let damages: [Breaking<'_>; 5] = [
        ("nothing", &|_| ()),
        ("superblocks", &wipe_superblocks),
        ("first tenth", &first_tenth),
        ("mkfs.btrfs", &|images| {
            over(&original, &again, true, images)
        }),
        ("mkfs.ext4", &|images| over(&original, &ext4, false, images)),
    ];
    for (name, breaking) in damages {
        let score = score(&original, &format!("{count} {name}"), breaking);
        assert_eq!(score.wrong, 0, "{name}: {score:?}");
        let enough = score.exact * 100 >= score.intact * least(name);
        assert!(enough, "{name}: {score:?}");
    }
    for (name, breaking) in [
        ("random 5 %", random_blocks as fn(u64, &mut [Vec<u8>])),
        ("flips", flips),
    ] {
        check_random(count, &original, name, breaking, least(name));
    }
}

/// Checks that at least `least` % come back where random places are hit, in the median of five
/// choices of them. The kernel lays the trees out in another way each time: now and then both
/// copies of the leaf that names a folder are hit, and with it the paths of all that is in it.
fn check_random(
    count: usize,
    original: &Original,
    name: &str,
    breaking: fn(u64, &mut [Vec<u8>]),
    least: usize,
) {
    let scores = (77..82).map(|seed| {
        let name = format!("{count} {name}, {seed}");
        score(original, &name, &|images| breaking(seed, images))
    });
    let mut scores: Vec<Score> = scores.collect();
    assert!(scores.iter().all(|score| score.wrong == 0), "{scores:?}");
    scores.sort_by_key(|score| score.exact * 1000 / score.intact.max(1));
    let median = &scores[scores.len() / 2];
    let enough = median.exact * 100 >= median.intact * least;
    assert!(enough, "{name}: {scores:?}");
}

/// What comes back where random blocks or a new file system may take all copies of a leaf: there are
/// few leaves here, with some thirty files each.
fn nearly_all(damage: &str) -> usize {
    match damage {
        "random 5 %" | "mkfs.btrfs" | "mkfs.ext4" => 94,
        _ => 99,
    }
}

#[test]
fn one_device_comes_back() {
    check(1, &["-m", "dup", "-d", "single"], &nearly_all);
}

#[test]
fn mirrors_come_back() {
    check(2, &["-m", "raid1", "-d", "raid1"], &nearly_all);
}

#[test]
fn stripes_of_mirrors_come_back() {
    // The first tenth holds both copies of every other stripe of the metadata; inode tables of a
    // newer file system lie over both as well.
    check(4, &["-m", "raid10", "-d", "raid10"], &|damage| {
        if matches!(damage, "first tenth" | "mkfs.ext4") {
            0
        } else {
            nearly_all(damage)
        }
    });
}

#[test]
fn stripes_with_parity_come_back() {
    // The first tenth holds all three copies of the metadata, and new inode tables lie over most.
    check(
        4,
        &["-m", "raid1c3", "-d", "raid6"],
        &|damage| match damage {
            "first tenth" | "mkfs.ext4" => 0,
            other => nearly_all(other),
        },
    );
}

/// Without superblocks, and without any block of the trees that say where chunks lie.
fn wipe_map(images: &mut [Vec<u8>]) {
    for image in &mut *images {
        let fsid: Vec<u8> = image[(64 << 10) + 32..(64 << 10) + 48].to_vec();
        for at in (1 << 20..image.len()).step_by(SECTOR) {
            let is_of_map = image[at + 32..at + 48] == fsid[..] && matches!(image[at + 88], 3 | 4);
            if is_of_map {
                image[at..at + 16384].fill(0);
            }
        }
    }
    wipe_superblocks(images);
}

#[test]
fn data_lies_where_its_checksums_are_met_when_nothing_maps_it() {
    for (count, arguments) in [
        (1, ["-m", "dup", "-d", "single"]),
        (2, ["-m", "raid1", "-d", "raid0"]),
        (4, ["-m", "raid10", "-d", "raid10"]),
        (4, ["-m", "raid1c3", "-d", "raid6"]),
    ] {
        let original = Original::make(count, &arguments);
        let score = score(&original, "no map", &wipe_map);
        let all = score.exact == score.intact && score.wrong == 0;
        assert!(all, "{arguments:?}: {score:?}");
    }
}

#[test]
fn whatever_is_in_the_blocks_nothing_panics_and_every_walk_ends() {
    let original = Original::make(1, &["-m", "dup", "-d", "single"]);
    let fsid: Vec<u8> = original.images[0][(64 << 10) + 32..(64 << 10) + 48].to_vec();
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut image = original.images[0].clone();
        for at in (0..image.len() - 16384).step_by(SECTOR) {
            if image[at + 32..at + 48] != fsid[..] {
                continue;
            }
            // Bytes that mean something, and a checksum that says that they are right.
            let length = if at == 64 << 10 { SECTOR } else { 16384 };
            for _ in 0..1 + random.below(4) {
                let field = 48 + random.below(3000) as usize;
                let byte = if random.below(2) == 0 {
                    0xFF
                } else {
                    random.below(256) as u8
                };
                if random.below(3) == 0 && !(64..72).contains(&field) {
                    image[at + field] = byte;
                }
            }
            let sum = crc32c::crc32c(&image[at + 32..at + length]);
            image[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
        for found in find(&[image]) {
            for entry in walk(found.fs.as_ref()).filter_map(Result::ok) {
                let file = File::open(found.fs.as_ref(), &entry.inode);
                let length = entry.inode.size.min(1 << 20) as usize;
                let _ = file.read_vec(ByteOffset::ZERO, length);
            }
        }
    }
}

#[test]
fn a_view_is_had_again_from_its_statement() {
    let original = Original::make(2, &["-m", "raid1", "-d", "raid1"]);
    let mut broken = original.images.clone();
    random_blocks(77, &mut broken);
    let found = find(&broken).into_iter().next().unwrap();
    let text = serde_json::to_string(&found.view).unwrap();
    let view: View = serde_json::from_str(&text).unwrap();
    assert_eq!(view, found.view);
    let open = |name: &str| {
        let index: usize = name.strip_prefix("disk")?.parse().ok()?;
        let bytes: Arc<dyn evidence::ReadAt> = Arc::new(Memory::new(broken.get(index)?.clone()));
        Some(bytes)
    };
    let view = view.open(open).unwrap().unwrap();
    let mut compared = 0;
    for entry in walk(found.fs.as_ref()).filter_map(Result::ok) {
        let file = File::open(found.fs.as_ref(), &entry.inode);
        let length = usize::try_from(entry.inode.size).unwrap();
        if entry.inode.kind == FileKind::Regular {
            let again =
                File::from_pieces(Arc::clone(&view), file_size(&entry), file.pieces().to_vec());
            let again = again.unwrap().read_vec(ByteOffset::ZERO, length);
            assert_eq!(again, file.read_vec(ByteOffset::ZERO, length));
            compared += 1;
        }
    }
    assert!(compared > 800);
}

fn file_size(entry: &filesystem::Entry) -> u64 {
    entry.inode.size
}
