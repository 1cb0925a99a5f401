//! A tree with everything that a file system may hold, written through a mount.

use std::fs::{self, File, FileTimes};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::{Random, run};

/// How much to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Names in the large directory.
    pub(crate) names: usize,
    /// The block size of the file system: contents end at its borders.
    pub(crate) block: usize,
    /// The length of the longest target of a symbolic link.
    pub(crate) target: usize,
    /// Single blocks with holes between them, in one file.
    pub(crate) fragments: u64,
    /// Where the far end of a sparse file lies.
    pub(crate) far: u64,
}

/// Fills the tree at `root`.
pub(crate) fn fill(root: &Path, amount: Amount) {
    let mut random = Random::new(amount.block as u64);
    sizes(root, amount, &mut random);
    names(root, amount, &mut random);
    deep(root);
    links(root, amount);
    sparse(root, amount, &mut random);
    owners_and_times(root);
    specials(root);
}

fn sizes(root: &Path, amount: Amount, random: &mut Random) {
    let dir = root.join("sizes");
    fs::create_dir(&dir).unwrap();
    let borders = [
        60,
        128,
        156,
        160,
        256,
        512,
        amount.block,
        12 * amount.block,
        65_536,
    ];
    for border in borders {
        for size in [border - 1, border, border + 1] {
            let name = dir.join(format!("{size}"));
            fs::write(name, random.bytes(size)).unwrap();
        }
    }
    for size in [0, 1, 3, 1_000_003] {
        fs::write(dir.join(format!("{size}")), random.bytes(size)).unwrap();
    }
    for number in 0..300 {
        let size = random.below(6000) as usize;
        fs::write(dir.join(format!("small{number}")), random.bytes(size)).unwrap();
    }
}

/// A large directory, of whose names a third is deleted again.
fn names(root: &Path, amount: Amount, random: &mut Random) {
    let dir = root.join("large");
    fs::create_dir(&dir).unwrap();
    let first = dir.join("first");
    fs::write(&first, b"one inode, many names").unwrap();
    let name = |number: usize| dir.join(format!("{number}.M{:012}P77.mail,S=4711:2,S", number * 7));
    for number in 0..amount.names {
        if number % 16 == 0 {
            fs::write(name(number), number.to_string()).unwrap();
        } else if number % 1000 == 1 {
            fs::create_dir(name(number)).unwrap();
        } else {
            // Many names need few inodes.
            fs::hard_link(&first, name(number)).unwrap();
        }
    }
    // As a commit of the kernel's own would, which comes now and then: what is deleted from
    // here on was on the disk once.
    run("sync", "coreutils", &[] as &[&str]);
    for number in 0..amount.names {
        if number % 1000 != 1 && random.below(3) == 0 {
            fs::remove_file(name(number)).unwrap();
        }
    }
    let emptied = root.join("emptied");
    fs::create_dir(&emptied).unwrap();
    for number in 0..200 {
        fs::write(emptied.join(format!("gone{number}")), b"x").unwrap();
    }
    for number in 0..200 {
        fs::remove_file(emptied.join(format!("gone{number}"))).unwrap();
    }
    let few = root.join("few");
    fs::create_dir(&few).unwrap();
    for number in 0..9 {
        fs::write(
            few.join(format!("{number}")),
            b"in a directory that may be inline",
        )
        .unwrap();
    }
}

fn deep(root: &Path) {
    let mut path = root.join("deep");
    for level in 0..60 {
        fs::create_dir(&path).unwrap();
        fs::write(path.join("here"), level.to_string()).unwrap();
        path.push(format!("{level}"));
    }
}

fn links(root: &Path, amount: Amount) {
    let dir = root.join("links");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a"), b"linked").unwrap();
    fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
    fs::hard_link(dir.join("a"), root.join("c")).unwrap();
    for length in [1, 30, 59, 60, 61, 150, 200, amount.target] {
        let target = "t".repeat(length);
        symlink(target, dir.join(format!("symlink{length}"))).unwrap();
    }
    fs::write(dir.join("n".repeat(255)), b"long").unwrap();
    for name in [
        &b"latin1-\xE4\xF6\xFC"[..],
        b"tab\tand\nnewline",
        b"\xFF\xFE",
        b"...",
    ] {
        fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
}

fn sparse(root: &Path, amount: Amount, random: &mut Random) {
    let dir = root.join("sparse");
    fs::create_dir(&dir).unwrap();
    let block = amount.block as u64;
    let put = |file: &mut File, at: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    // Single, double and triple indirect blocks, and far apart extents.
    let mut far = File::create(dir.join("far")).unwrap();
    let per_block = block / 4;
    for at in [3, 12, 13, 12 + per_block, 13 + per_block + per_block / 2] {
        put(&mut far, at * block + 5, &random.bytes(2000));
    }
    put(&mut far, amount.far, &random.bytes(3 * amount.block + 17));
    // Every other block: one extent each.
    let mut fragments = File::create(dir.join("fragments")).unwrap();
    for number in 0..amount.fragments {
        put(
            &mut fragments,
            number * 2 * block,
            &random.bytes(amount.block),
        );
    }
    let hole = File::create(dir.join("hole")).unwrap();
    hole.set_len(3_000_001).unwrap();
    // Two files that grow in turns, and so are cut into many pieces.
    let mut turns = [
        File::create(dir.join("turn0")).unwrap(),
        File::create(dir.join("turn1")).unwrap(),
    ];
    for _ in 0..40 {
        for file in &mut turns {
            file.write_all(&random.bytes(amount.block)).unwrap();
            file.sync_data().unwrap();
        }
    }
    // Not every file system can do these; what it cannot do leaves a plain file.
    let allocate = |name: &str, arguments: &[&str]| {
        let path = dir.join(name);
        if !path.exists() {
            fs::write(&path, b"").unwrap();
        }
        let _ = Command::new("fallocate").args(arguments).arg(path).output();
    };
    allocate("unwritten", &["-l", "300000"]);
    allocate("unwritten-partly", &["-l", "300000"]);
    let mut partly = File::options()
        .write(true)
        .open(dir.join("unwritten-partly"))
        .unwrap();
    put(&mut partly, 100_000, &random.bytes(10_000));
    fs::write(dir.join("past-the-end"), random.bytes(5000)).unwrap();
    allocate(
        "past-the-end",
        &["--keep-size", "-o", "5000", "-l", "200000"],
    );
    fs::write(dir.join("punched"), random.bytes(200_000)).unwrap();
    allocate("punched", &["--punch-hole", "-o", "50000", "-l", "70000"]);
}

fn owners_and_times(root: &Path) {
    let dir = root.join("owners");
    fs::create_dir(&dir).unwrap();
    for (number, (uid, gid)) in [(0, 65_535), (65_536, 1), (4_000_000_000, 3_999_999_999)]
        .into_iter()
        .enumerate()
    {
        let path = dir.join(format!("{number}"));
        fs::write(&path, b"owned").unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4751 - number as u32)).unwrap();
        let link = dir.join(format!("link{number}"));
        symlink("0", &link).unwrap();
        lchown(&link, Some(gid), Some(uid)).unwrap();
    }
    let second = Duration::from_secs(1);
    let year = second * 31_557_600;
    let times = [
        UNIX_EPOCH,
        UNIX_EPOCH - second * 86_400 * 366 * 50 + Duration::from_nanos(1),
        UNIX_EPOCH - Duration::from_nanos(1),
        UNIX_EPOCH + year * 40 + Duration::from_nanos(999_999_999),
        UNIX_EPOCH + year * 100 + Duration::from_nanos(123_456_789),
        UNIX_EPOCH + year * 300,
    ];
    for (number, time) in times.into_iter().enumerate() {
        let path = dir.join(format!("time{number}"));
        let file = File::create(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
            .unwrap();
    }
}

fn specials(root: &Path) {
    let dir = root.join("specials");
    fs::create_dir(&dir).unwrap();
    for (name, arguments) in [
        ("fifo", &["p"][..]),
        ("null", &["c", "1", "3"]),
        ("disk", &["b", "259", "70000"]),
    ] {
        let status = Command::new("mknod")
            .arg(dir.join(name))
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success());
    }
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
}
