//! Btrfs images made by `mkfs.btrfs` and filled through the kernel, read here, and compared with
//! what the kernel shows of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::fill::{Amount, fill};
use crate::common::{
    Random, assert_same_as_kernel, assert_tree, differences, image, kernel_tree, our_tree, run,
};
use crate::pool::Devices;
use evidence::{ByteOffset, ReadAtExt};
use filesystem::{Device, File, Filesystem, Place, Standing, find_all, walk};

/// What fits file systems with sectors of 4 KiB.
const AMOUNT: Amount = Amount {
    names: 3000,
    block: 4096,
    target: 1023,
    fragments: 600,
    far: 72 << 20,
};

/// Files that compress, some of which are changed in the middle or share their extents.
fn texts(root: &Path) {
    let dir = root.join("texts");
    fs::create_dir(&dir).unwrap();
    let mut random = Random::new(3);
    for size in [10, 500, 1900, 3000, 4096, 5000, 70_000, 131_072, 400_000] {
        let mut text = Vec::new();
        while text.len() < size {
            let word = random.below(500);
            text.extend(format!("word{word} poste restante {word}\n").into_bytes());
        }
        text.truncate(size);
        fs::write(dir.join(format!("{size}")), &text).unwrap();
    }
    let [first, copy] = ["400000", "copy"].map(|name| dir.join(name));
    let names = [first.to_str().unwrap(), copy.to_str().unwrap()];
    run("sync", "coreutils", &[] as &[&str]);
    run(
        "cp",
        "coreutils",
        &[&["--reflink=always"], &names[..]].concat(),
    );
    let file = fs::File::options().write(true).open(&copy).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'c'; 10_000], 150_001).unwrap();
}

/// Makes, fills and compares one file system; what `find_all` finds is compared too.
fn check(count: usize, megabytes: u64, arguments: &[&str], options: &str) {
    let devices = Devices::mkfs(count, megabytes, arguments);
    {
        let mount = devices.mount(options);
        fill(mount.path(), AMOUNT);
        texts(mount.path());
    }
    let want = {
        let mount = devices.mount("ro");
        kernel_tree(mount.path())
    };
    if let [path] = devices.images.as_slice() {
        assert_same_as_kernel(path);
    }
    let all: Vec<Device> = devices
        .images
        .iter()
        .map(|path| Device {
            name: path.display().to_string(),
            bytes: image(path),
        })
        .collect();
    let (found, losses) = find_all(&all, &|_| ());
    assert_eq!(losses, []);
    let [found] = found.as_slice() else {
        panic!("{} file systems", found.len())
    };
    let (got, losses) = our_tree(found.fs.as_ref());
    assert!(losses.is_empty(), "{losses:#?}");
    let mut got = got;
    for path in deleted(found.fs.as_ref()) {
        got.remove(&path);
    }
    let all = differences(&want, &got);
    assert!(all.is_empty(), "{arguments:?}:\n{}", all.join("\n"));
}

/// The paths of files that were deleted, and those among the orphans.
fn deleted(fs: &dyn Filesystem) -> Vec<Vec<u8>> {
    let all = walk(fs).filter_map(Result::ok);
    let gone = all.filter(|entry| {
        let orphan = entry.path.names().first().is_some_and(|n| n == b"#orphans");
        orphan || entry.inode.standing == Standing::Deleted
    });
    gone.map(|entry| crate::common::key(&entry.path)).collect()
}

#[test]
fn one_device_reads_as_the_kernel_reads_it() {
    check(1, 400, &["-m", "dup", "-d", "single"], "rw");
    check(1, 400, &["-m", "single", "-O", "^no-holes"], "rw");
}

#[test]
fn every_checksum_and_node_size_reads_as_the_kernel_reads_it() {
    check(1, 400, &["--csum", "xxhash", "-n", "4096"], "rw");
    check(1, 400, &["--csum", "sha256", "-n", "65536"], "rw");
    check(1, 400, &["--csum", "blake2"], "rw");
    check(1, 256, &["--mixed"], "rw");
}

#[test]
fn compressed_files_read_as_the_kernel_reads_them() {
    for codec in ["zlib", "lzo", "zstd"] {
        check(1, 400, &[], &format!("rw,compress-force={codec}"));
    }
}

#[test]
fn every_profile_reads_as_the_kernel_reads_it() {
    for (count, profile) in [
        (2, "raid1"),
        (2, "raid0"),
        (4, "raid10"),
        (3, "raid5"),
        (4, "raid6"),
        (3, "raid1c3"),
        (4, "raid1c4"),
    ] {
        check(count, 400, &["-m", profile, "-d", profile], "rw");
    }
}

#[test]
fn snapshots_and_subvolumes_are_listed_where_they_are_linked() {
    let devices = Devices::mkfs(1, 400, &[]);
    {
        let mount = devices.mount("rw");
        let at = |name: &str| mount.path().join(name).to_str().unwrap().to_owned();
        let btrfs = |arguments: &[&str]| run("btrfs", "btrfs-progs", arguments);
        btrfs(&["-q", "subvolume", "create", &at("mail")]);
        fs::write(at("mail/first"), b"kept and then deleted").unwrap();
        fs::write(at("mail/second"), vec![b's'; 9000]).unwrap();
        btrfs(&[
            "-q",
            "subvolume",
            "snapshot",
            "-r",
            &at("mail"),
            &at("before"),
        ]);
        fs::remove_file(at("mail/first")).unwrap();
        fs::write(at("mail/second"), vec![b't'; 9000]).unwrap();
        btrfs(&[
            "-q",
            "subvolume",
            "snapshot",
            &at("mail"),
            &at("mail/after"),
        ]);
        fs::write(at("mail/after/third"), b"written into the snapshot").unwrap();
    }
    let mount = devices.mount("ro");
    let mut want = kernel_tree(mount.path());
    drop(mount);
    // A snapshot keeps an empty directory where its original held a subvolume.
    want.retain(|path, _| path != b"before/mail");
    assert_tree(&devices.images[0], &want);
    let fs = crate::common::open(&devices.images[0]);
    let notes = fs.info().notes.join("\n");
    assert!(
        notes.contains("/before is a read-only snapshot of /mail"),
        "{notes}"
    );
    assert!(
        notes.contains("/mail/after is a snapshot of /mail"),
        "{notes}"
    );
}

#[test]
fn deleted_files_come_back_where_their_blocks_and_sums_are_left() {
    let devices = Devices::mkfs(1, 400, &[]);
    let mut random = Random::new(9);
    let mut want: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    {
        let mount = devices.mount("rw,nodiscard");
        let dir = mount.path().join("cur");
        fs::create_dir(&dir).unwrap();
        for number in 0..60_usize {
            let bytes = random.bytes(300 + number * 400);
            fs::write(dir.join(format!("{number}")), &bytes).unwrap();
            want.insert(format!("cur/{number}").into_bytes(), bytes);
        }
        run("sync", "coreutils", &[] as &[&str]);
        for number in 0..60_usize {
            if number % 3 == 0 {
                fs::remove_file(dir.join(format!("{number}"))).unwrap();
            }
        }
        // The name of one is used again: what was deleted is then among the orphans.
        fs::write(dir.join("3"), b"another").unwrap();
    }
    let device = Device {
        name: "disk".to_owned(),
        bytes: image(&devices.images[0]),
    };
    let (found, _) = find_all(&[device], &|_| ());
    let fs = found[0].fs.as_ref();
    let mut back = 0;
    for entry in walk(fs).filter_map(Result::ok) {
        let path = crate::common::key(&entry.path);
        let file = File::open(fs, &entry.inode);
        let length = usize::try_from(entry.inode.size).unwrap();
        let (bytes, gaps) = file.read_vec(ByteOffset::ZERO, length).unwrap();
        if path == b"cur/3" {
            assert_eq!(bytes, b"another");
        } else if entry.inode.standing == Standing::Deleted && gaps.is_empty() {
            let is_it = |text: &Vec<u8>| *text == bytes;
            let same = want
                .get(&path)
                .map_or_else(|| want.values().any(is_it), is_it);
            let (start, size) = (&bytes[..bytes.len().min(20)], bytes.len());
            assert!(same, "{}: {size} bytes, {start:?}", entry.path);
            back += 1;
        }
    }
    assert_eq!(back, 20);
}

#[test]
fn compressed_extents_say_so_and_are_read_at_any_place() {
    let devices = Devices::mkfs(1, 400, &[]);
    {
        let mount = devices.mount("rw,compress-force=zstd");
        texts(mount.path());
    }
    let fs = crate::common::open(&devices.images[0]);
    let mut compressed = 0;
    for entry in walk(fs.as_ref()) {
        let entry = entry.unwrap();
        let file = File::open(fs.as_ref(), &entry.inode);
        let is = |place: &Place| matches!(place, Place::Compressed { .. });
        compressed += file.pieces().iter().filter(|p| is(&p.place)).count();
        if entry.inode.kind != filesystem::FileKind::Regular {
            continue;
        }
        let text = serde_json::to_string(file.pieces()).unwrap();
        let back: Vec<filesystem::Extent> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, file.pieces());
    }
    assert!(compressed > 5, "{compressed}");
}
