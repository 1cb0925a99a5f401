//! Damaged ext images: nothing panics, nothing runs for ever, what is lost is named, and what is
//! not lost is still read.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

#[expect(dead_code, reason = "each test file uses another part of this module")]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Mount, Random, assert_tree, blank, kernel_tree, our_tree, run};
use evidence::view::{Memory, Slice};
use evidence::{ByteOffset, Cause, Error, GapCause, Gaps, ReadAt, ReadAtExt};
use filesystem::{File, FileKind, Filesystem, Inode, Place, walk};

const PACKAGE: &str = "e2fsprogs";
const OLD: &str = "^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file";

fn mke2fs(dir: &Path, megabytes: u64, arguments: &[&str]) -> PathBuf {
    let path = blank(dir, "image", megabytes << 20);
    let name = path.to_str().unwrap();
    let all = [&["-F", "-q"], arguments, &[name]].concat();
    run("mke2fs", PACKAGE, &all);
    path
}

/// A small image with some of everything, as bytes.
fn small(arguments: &[&str]) -> Vec<u8> {
    small_images(arguments).0
}

/// The same, after it was unmounted, and before: with a dirty journal.
fn small_images(arguments: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let dirty;
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(dir.path(), 8, arguments);
    {
        let mount = Mount::new(&path, "rw");
        let root = mount.path();
        let mut random = Random::new(1);
        for number in 0..40 {
            let dir = root.join(format!("dir{}", number % 5));
            fs::create_dir_all(&dir).unwrap();
            let length = random.below(9000) as usize;
            fs::write(dir.join(format!("mail{number}")), random.bytes(length)).unwrap();
        }
        let large = root.join("large");
        fs::create_dir(&large).unwrap();
        for number in 0..400 {
            fs::hard_link(root.join("dir0/mail0"), large.join(format!("{number:040}"))).unwrap();
        }
        std::os::unix::fs::symlink("dir0/mail0", root.join("link")).unwrap();
        std::os::unix::fs::symlink("x".repeat(300), root.join("long")).unwrap();
        let mut bytes = Vec::new();
        for number in 0..250_u64 {
            bytes.resize(number as usize * 2048, 0);
            bytes.extend(random.bytes(1024));
        }
        write_sparse(&root.join("pieces"), &bytes);
        for entry in [root.join("pieces"), root.to_owned()] {
            fs::File::open(entry).unwrap().sync_all().unwrap();
        }
        dirty = fs::read(&path).unwrap();
    }
    (fs::read(path).unwrap(), dirty)
}

/// Writes only the blocks that are not zero.
fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    for (index, block) in bytes.chunks(1024).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, index as u64 * 1024).unwrap();
        }
    }
}

fn view(bytes: Vec<u8>) -> Arc<dyn ReadAt> {
    Arc::new(Memory::new(bytes))
}

fn open(view: Arc<dyn ReadAt>) -> Box<dyn Filesystem> {
    filesystem::open(view, "volume").unwrap().unwrap()
}

/// Where the last block of a file lies, in a file system with blocks of 1 KiB.
fn last_block(fs: &dyn Filesystem, inode: &Inode) -> ByteOffset {
    let map = fs.extents(inode);
    let last = map.pieces.last().unwrap();
    match last.place {
        Place::At(at) => ByteOffset::new(at.get() + last.length - 1024),
        _ => panic!("{map:?}"),
    }
}

/// Goes through everything, but reads only the beginnings of files, since damage can make them
/// very long; says how many entries and losses there were.
fn go_through(view: Arc<dyn ReadAt>) -> Option<(usize, usize)> {
    let fs = filesystem::open(view, "volume").ok()??;
    let (mut entries, mut losses) = (0, 0);
    for entry in walk(fs.as_ref()) {
        let Ok(entry) = entry else {
            losses += 1;
            continue;
        };
        entries += 1;
        let file = File::open(fs.as_ref(), &entry.inode);
        losses += file.losses().len();
        let mut end = 0;
        for piece in file.pieces() {
            assert_eq!(piece.file_offset, end, "{}", entry.path);
            assert!(piece.length > 0);
            end += piece.length;
        }
        if entry.inode.kind != FileKind::Special {
            assert_eq!(end, entry.inode.size, "{}", entry.path);
        }
        let length = file.len().min(1 << 16) as usize;
        let _ = file.read_vec(ByteOffset::ZERO, length).unwrap();
    }
    Some((entries, losses))
}

/// Memory in use at most so far, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The image with up to 128 bytes changed, where something stands: metadata, journal, contents.
fn damaged(good: &[u8], seed: u64) -> Vec<u8> {
    let used: Vec<usize> = (0..good.len() / 512)
        .filter(|sector| good[sector * 512..][..512].iter().any(|byte| *byte != 0))
        .collect();
    let mut random = Random::new(seed);
    let mut bytes = good.to_vec();
    for _ in 0..1 << random.below(8) {
        let sector = used[random.below(used.len() as u64) as usize];
        let at = sector * 512 + random.below(512) as usize;
        bytes[at] = random.next() as u8;
    }
    bytes
}

#[test]
fn random_damage_never_panics_and_ends_with_little_memory() {
    for (arguments, rounds) in [
        (&["-t", "ext4", "-b", "1024", "-O", OLD][..], 150),
        (
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "metadata_csum,inline_data",
            ],
            60,
        ),
        (&["-t", "ext3", "-b", "1024", "-I", "128"], 150),
        (
            &["-t", "ext4", "-b", "4096", "-O", OLD, "-O", "inline_data"],
            150,
        ),
    ] {
        let (clean, dirty) = small_images(arguments);
        for good in [clean, dirty] {
            let (all, none) = go_through(view(good.clone())).unwrap();
            assert_eq!(none, 0);
            assert!(all > 440, "{all}");
            for seed in 0..rounds {
                go_through(view(damaged(&good, seed + 1)));
            }
        }
    }
    let peak = peak_memory();
    assert!(peak < 600 << 10, "{peak} KiB");
}

#[test]
fn damage_to_the_structures_that_lead_everywhere_never_panics() {
    let good = small(&["-t", "ext4", "-b", "1024", "-O", OLD]);
    // The superblock, the descriptors and the first inodes, byte by byte and in bursts.
    let fs = open(view(good.clone()));
    let root = fs.inode(fs.root()).unwrap().place.get() as usize;
    for seed in 0..300 {
        let mut random = Random::new(seed + 1000);
        let mut bytes = good.clone();
        for _ in 0..=random.below(6) {
            let at = match random.below(3) {
                0 => 1024 + random.below(0x160) as usize,
                1 => 2048 + random.below(64) as usize,
                _ => root + random.below(30 * 256) as usize,
            };
            bytes[at] = random.next() as u8;
        }
        go_through(view(bytes));
    }
}

#[test]
fn a_tree_of_extents_that_leads_back_to_itself_ends() {
    let mut bytes = small(&["-t", "ext4", "-b", "1024", "-O", OLD]);
    let fs = open(view(bytes.clone()));
    let listing = fs.entries(&fs.inode(fs.root()).unwrap());
    let pieces = listing
        .entries
        .iter()
        .find(|e| e.name == b"pieces")
        .unwrap();
    let inode = fs.inode(pieces.inode).unwrap();
    let depth = inode.raw[0x28 + 6];
    assert!(depth >= 1, "the file has a tree");
    // Every entry of the root leads to the first node below it, which says it is a root itself.
    let child = u32::from_le_bytes(inode.raw[0x38..0x3C].try_into().unwrap()) as usize;
    for entry in 0..4_usize {
        let at = inode.place.get() as usize + 0x28 + 12 + entry * 12;
        bytes[at..at + 4].copy_from_slice(&(entry as u32 * 10).to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&(child as u32).to_le_bytes());
    }
    let root = inode.place.get() as usize + 0x28;
    bytes[root + 2] = 4;
    let fs = open(view(bytes));
    let map = fs.extents(&fs.inode(pieces.inode).unwrap());
    assert!(!map.losses.is_empty());
    assert!(map.pieces.len() < 1000);
}

#[test]
fn unreadable_metadata_is_a_loss_in_its_place() {
    for arguments in [
        &["-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"][..],
        &["-t", "ext4", "-b", "1024", "-O", OLD],
        &["-t", "ext3", "-b", "1024", "-I", "128"],
    ] {
        let good = small(arguments);
        let fs = open(view(good.clone()));
        let root = fs.inode(fs.root()).unwrap();
        let listing = fs.entries(&root);
        let number = |name: &[u8]| {
            listing
                .entries
                .iter()
                .find(|e| e.name == name)
                .unwrap()
                .inode
        };
        let with_gap = |at: u64, length: usize| {
            let gap = Gaps::one(at as usize..at as usize + length, GapCause::Unreadable);
            open(Arc::new(Memory::new(good.clone()).with_gaps(&gap)))
        };
        let gone = Cause::Gap(GapCause::Unreadable);

        // An inode.
        let large = fs.inode(number(b"large")).unwrap();
        let holed = with_gap(large.place.get(), 16);
        assert_eq!(holed.inode(large.number).unwrap_err().cause, gone);
        assert!(holed.inode(fs.root()).is_ok());

        // A block in the middle of a directory: the other names are there.
        let start = last_block(fs.as_ref(), &large);
        let holed = with_gap(start.get(), 1024);
        let left = holed.entries(&large);
        assert_eq!(left.losses.len(), 1, "{:?}", left.losses);
        assert_eq!(
            (&left.losses[0].cause, left.losses[0].origin.offset),
            (&gone, start)
        );
        assert!(left.entries.len() > 300 && left.entries.len() < 400);
        // Half of it: the names in the other half are there too.
        let half = with_gap(start.get() + 512, 512).entries(&large);
        assert!(half.entries.len() > left.entries.len());

        // A block of the map: its range is lost, the rest is found.
        let pieces = fs.inode(number(b"pieces")).unwrap();
        let pointer = if arguments[1] == "ext3" {
            0x28 + 12 * 4
        } else {
            0x28 + 12 + 4
        };
        let block = u32::from_le_bytes(pieces.raw[pointer..pointer + 4].try_into().unwrap());
        let holed = with_gap(u64::from(block) * 1024, 1024);
        let map = holed.extents(&pieces);
        assert_eq!(map.losses.len(), 1);
        assert_eq!(map.losses[0].cause, gone);
        let lost: u64 = map
            .pieces
            .iter()
            .filter(|piece| piece.place == Place::Lost)
            .map(|piece| piece.length)
            .sum();
        assert!(lost > 0 && lost < pieces.size, "{lost} of {}", pieces.size);
        let file = File::open(holed.as_ref(), &pieces);
        let (_, gaps) = file
            .read_vec(ByteOffset::ZERO, pieces.size as usize)
            .unwrap();
        assert_eq!(gaps.bytes() as u64, lost);
    }
}

#[test]
fn wrong_checksums_are_found_where_there_are_some() {
    let good = small(&["-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"]);
    let fs = open(view(good.clone()));
    let listing = fs.entries(&fs.inode(fs.root()).unwrap());
    let number = |name: &[u8]| {
        listing
            .entries
            .iter()
            .find(|e| e.name == name)
            .unwrap()
            .inode
    };
    let flipped = |at: u64| {
        let mut bytes = good.clone();
        // One bit alone would be turned back.
        bytes[at as usize] ^= 0x10;
        bytes[at as usize + 1] ^= 0x01;
        open(view(bytes))
    };
    let (large, pieces) = (
        fs.inode(number(b"large")).unwrap(),
        fs.inode(number(b"pieces")).unwrap(),
    );
    // The time of access: nothing but the checksum can tell.
    let loss = flipped(large.place.get() + 8)
        .inode(large.number)
        .unwrap_err();
    assert!(loss.to_string().contains("checksum"), "{loss}");
    // A letter of a name: all names are given, and the loss.
    let last = last_block(fs.as_ref(), &large);
    let listing = flipped(last.get() + 8).entries(&large);
    assert_eq!((listing.entries.len(), listing.losses.len()), (400, 1));
    // The tree of a directory: the names do not depend on it.
    let Place::At(first) = fs.extents(&large).pieces[0].place else {
        panic!();
    };
    let listing = flipped(first.get() + 0x2C).entries(&large);
    assert_eq!((listing.entries.len(), listing.losses.len()), (400, 1));
    // A block of extents, behind its header.
    let block = u32::from_le_bytes(pieces.raw[0x38..0x3C].try_into().unwrap());
    let map = flipped(u64::from(block) * 1024 + 20).extents(&pieces);
    assert!(map.losses[0].to_string().contains("checksum"));
    // A descriptor: there is no copy in a single group, so its inodes are lost.
    let fs = flipped(2048 + 3);
    assert!(fs.inode(large.number).is_err());
    assert!(
        fs.info()
            .notes
            .iter()
            .any(|note| note.contains("descriptors"))
    );
}

#[test]
fn copies_stand_in_for_a_damaged_superblock_and_damaged_descriptors() {
    for arguments in [
        &["-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"][..],
        &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-O",
            OLD,
            "-O",
            "uninit_bg",
            "-g",
            "1024",
        ],
        &["-t", "ext3", "-b", "1024"],
        &[
            "-t",
            "ext4",
            "-b",
            "1024",
            "-O",
            "meta_bg,^resize_inode",
            "-g",
            "1024",
        ],
        &[
            "-t",
            "ext4",
            "-b",
            "2048",
            "-O",
            "metadata_csum",
            "-g",
            "16384",
        ],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = mke2fs(dir.path(), 40, arguments);
        let want = {
            let mount = Mount::new(&path, "rw");
            for number in 0..200 {
                let dir = mount.path().join(format!("{}", number % 20));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(format!("{number}")), number.to_string()).unwrap();
            }
            kernel_tree(mount.path())
        };
        let good = fs::read(&path).unwrap();
        let check = |damaged: Vec<u8>, gaps: &Gaps, note: &str| {
            let fs = open(Arc::new(Memory::new(damaged).with_gaps(gaps)));
            let (got, losses) = our_tree(fs.as_ref());
            assert!(losses.is_empty(), "{arguments:?}: {losses:#?}");
            assert_eq!(got, want);
            let notes = fs.info().notes.join("\n");
            assert!(notes.contains(note), "{arguments:?}: {notes}");
        };
        // Only groups as large as usual have their copies where they are looked for.
        if !arguments.contains(&"-g") || arguments.contains(&"16384") {
            let mut bytes = good.clone();
            bytes[1024 + 0x28..1024 + 0x2C].fill(0xFF);
            check(bytes, &Gaps::none(), "its copy");
            let gap = Gaps::one(512..2048, GapCause::Unreadable);
            check(good.clone(), &gap, "its copy");
        }
        let block: usize = arguments[3].parse().unwrap();
        let at = if block == 1024 { 2048 } else { block };
        let gap = Gaps::one(at..at + 32, GapCause::Unreadable);
        check(good.clone(), &gap, "taken from copies");
    }
}

#[test]
fn a_volume_that_was_cut_off_gives_what_is_left() {
    let good = small(&["-t", "ext4", "-b", "1024", "-O", OLD]);
    let whole = view(good.clone());
    let (all, _) = go_through(Arc::clone(&whole)).unwrap();
    for length in [
        good.len() / 2,
        good.len() / 3,
        100_000,
        5000,
        2048,
        1024,
        100,
        0,
    ] {
        let cut = view(good[..length].to_vec());
        let promised = Slice::new(view(good[..length].to_vec()), ByteOffset::ZERO, whole.len());
        for volume in [cut, Arc::new(promised) as Arc<dyn ReadAt>] {
            if let Some((entries, losses)) = go_through(volume) {
                assert!(entries == all || losses > 0, "{length}: {entries} {losses}");
            }
        }
    }
    let fs = open(view(good[..good.len() / 2].to_vec()));
    assert!(fs.info().notes[0].contains("shorter"));
}

#[test]
fn a_block_of_another_directory_gives_no_names() {
    let good = small(&["-t", "ext4", "-b", "1024", "-O", OLD]);
    let fs = open(view(good.clone()));
    let listing = fs.entries(&fs.inode(fs.root()).unwrap());
    let find = |name: &[u8]| {
        let entry = listing.entries.iter().find(|e| e.name == name).unwrap();
        let inode = fs.inode(entry.inode).unwrap();
        let Place::At(at) = fs.extents(&inode).pieces[0].place else {
            panic!();
        };
        (inode, at.get() as usize)
    };
    let ((one, at), (_, other)) = (find(b"dir1"), find(b"dir2"));
    let mut bytes = good.clone();
    bytes.copy_within(other..other + 1024, at);
    let listing = open(view(bytes)).entries(&one);
    assert!(listing.entries.is_empty());
    assert_eq!(listing.losses.len(), 1);
}

#[test]
fn encrypted_contents_and_names_are_not_supported_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(dir.path(), 8, &["-t", "ext4", "-O", "encrypt"]);
    {
        let mount = Mount::new(&path, "rw");
        fs::create_dir(mount.path().join("secret")).unwrap();
        fs::write(mount.path().join("secret/name"), b"x").unwrap();
        fs::write(mount.path().join("file"), b"contents").unwrap();
    }
    // The flag as fscrypt sets it, beside the others.
    let image = path.to_str().unwrap();
    for name in ["file", "secret"] {
        let command = format!("sif /{name} flags 0x80800");
        run("debugfs", PACKAGE, &["-w", "-R", &command, image]);
    }
    let fs = open(view(fs::read(&path).unwrap()));
    let listing = fs.entries(&fs.inode(fs.root()).unwrap());
    let find = |name: &[u8]| {
        let entry = listing.entries.iter().find(|e| e.name == name).unwrap();
        fs.inode(entry.inode).unwrap()
    };
    let map = fs.extents(&find(b"file"));
    assert_eq!(map.pieces[0].place, Place::Lost);
    assert!(matches!(map.losses[0].cause, Cause::Unsupported(_)));
    let names = fs.entries(&find(b"secret"));
    assert!(names.entries.is_empty());
    assert!(matches!(names.losses[0].cause, Cause::Unsupported(_)));
}

#[test]
fn what_cannot_be_read_at_all_is_an_error_that_says_what_to_do() {
    let mut bytes = small(&["-t", "ext2", "-b", "1024"]);
    bytes[1024 + 0x60] |= 0x1;
    let error = filesystem::open(view(bytes.clone()), "volume")
        .err()
        .unwrap();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    bytes[1024 + 0x60] = 0x8;
    let error = filesystem::open(view(bytes), "volume").err().unwrap();
    assert!(error.to_string().contains("external journal"), "{error}");
    assert!(
        filesystem::open(view(vec![0; 1 << 20]), "volume")
            .unwrap()
            .is_none()
    );
    assert!(filesystem::open(view(vec![]), "volume").unwrap().is_none());
}

#[test]
fn deleted_and_unused_inodes_are_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(dir.path(), 16, &["-t", "ext4", "-b", "1024", "-O", OLD]);
    {
        let mount = Mount::new(&path, "rw");
        fs::write(mount.path().join("kept"), b"x").unwrap();
        fs::write(mount.path().join("gone"), b"x").unwrap();
        drop(mount);
        let mount = Mount::new(&path, "rw");
        fs::remove_file(mount.path().join("gone")).unwrap();
    }
    let fs = open(view(fs::read(&path).unwrap()));
    let listing = fs.entries(&fs.inode(fs.root()).unwrap());
    let names: BTreeSet<&[u8]> = listing.entries.iter().map(|e| e.name.as_slice()).collect();
    assert_eq!(names, BTreeSet::from([&b"kept"[..], b"lost+found"]));
    let kept = listing
        .entries
        .iter()
        .find(|e| e.name == b"kept")
        .unwrap()
        .inode
        .0;
    for number in [0, kept + 1, kept + 2, 4000, 1 << 32, u64::MAX] {
        let loss = fs.inode(filesystem::InodeNumber(number)).unwrap_err();
        assert!(matches!(loss.cause, Cause::Corrupt(_)), "{loss}");
    }
}

/// The kernel of this machine may not mount such blocks, so the tree that `mke2fs` was given is
/// the oracle.
#[test]
fn blocks_up_to_64_kib_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut random = Random::new(64);
    for number in 0..700 {
        let dir = source.join(format!("{}", number % 3));
        fs::create_dir_all(&dir).unwrap();
        let length = random.below(70_000) as usize / (1 + number % 50);
        let name = format!("{number}-{}", "n".repeat(200));
        fs::write(dir.join(name), random.bytes(length)).unwrap();
    }
    for block in ["8192", "16384", "32768", "65536"] {
        let path = mke2fs(
            dir.path(),
            128,
            &["-t", "ext4", "-b", block, "-d", source.to_str().unwrap()],
        );
        let mut want = kernel_tree(&source);
        // mke2fs makes lost+found, counts links and keeps times in its own way.
        let fs = open(common::image(&path));
        let (got, losses) = our_tree(fs.as_ref());
        assert!(losses.is_empty(), "{losses:#?}");
        for (path, seen) in &mut want {
            let ours = got
                .get(path)
                .unwrap_or_else(|| panic!("{path:?} in {block}"));
            if seen.kind == FileKind::Regular {
                assert_eq!((ours.size, ours.hash), (seen.size, seen.hash));
            }
        }
        assert_eq!(got.len(), want.len() + 1);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn quota_files_and_projects_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(dir.path(), 16, &["-t", "ext4", "-I", "256"]);
    {
        let mount = Mount::new(&path, "rw");
        fs::write(mount.path().join("file"), b"x").unwrap();
    }
    run(
        "tune2fs",
        PACKAGE,
        &["-O", "quota,project", path.to_str().unwrap()],
    );
    let want = {
        let mount = Mount::new(&path, "ro");
        kernel_tree(mount.path())
    };
    assert_tree(&path, &want);
}

#[test]
fn several_threads_read_one_file_system() {
    let fs = open(view(small(&[
        "-t",
        "ext4",
        "-b",
        "1024",
        "-O",
        "metadata_csum",
    ])));
    let (want, _) = our_tree(fs.as_ref());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| our_tree(fs.as_ref())))
            .collect();
        for thread in threads {
            let (got, losses) = thread.join().unwrap();
            assert!(losses.is_empty());
            assert_eq!(got, want);
        }
    });
}
