//! XFS whose heads are lost: damaged, wiped, overwritten, with deleted files; what is found of it
//! is compared with what the kernel showed before.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]
#![expect(
    clippy::print_stdout,
    reason = "the shares are figures that people look up"
)]

#[expect(dead_code, reason = "each test file uses another part of this module")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Mount, Random, blank, image, key, run};
use evidence::view::Overlay;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{Device, File, FileKind, Filesystem, Found, Place, Standing, find_all, walk};

const PACKAGE: &str = "xfsprogs";
const MIB: u64 = 1 << 20;

/// Makes a file system of `mib` MiB in `dir`; `mkfs.xfs` makes small ones only for testers.
fn mkfs(dir: &Path, name: &str, mib: u64, arguments: &[&str]) -> PathBuf {
    let path = blank(dir, name, mib * MIB);
    mkfs_over(&path, arguments);
    path
}

/// Makes a file system over what is in `path`.
fn mkfs_over(path: &Path, arguments: &[&str]) {
    let output = Command::new("mkfs.xfs")
        .envs([("TEST_DIR", "1"), ("TEST_DEV", "1"), ("QA_CHECK_FS", "1")])
        .args(["-q", "-f", "-K"])
        .args(arguments)
        .arg(path)
        .output()
        .unwrap_or_else(|error| panic!("mkfs.xfs: {error}; apt-get install {PACKAGE}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mkfs.xfs {arguments:?}: {errors}");
}

/// Text of `length` bytes that is the same nowhere else.
fn text(tag: &str, length: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|n: u32| format!("{tag} line {n}\n").into_bytes());
    lines.take(length).collect()
}

/// A tree of mailboxes below `root`, with messages of all sizes and some large files.
fn mailboxes(root: &Path, accounts: usize, messages: usize) {
    let mut random = Random::new(accounts as u64);
    for account in 0..accounts {
        let maildir = root.join(format!("vmail/example.org/user{account}/Maildir"));
        for folder in ["", ".Archive", ".Sent"] {
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(maildir.join(folder).join(sub)).unwrap();
            }
            for number in 0..messages {
                let length = 200 + random.below(20_000) as usize;
                let name = format!("14{account:04}{number:04}.M1P2.host,S={length}:2,S");
                let path = maildir.join(folder).join("cur").join(name);
                let tag = format!("{account} {folder} {number}");
                fs::write(path, text(&tag, length)).unwrap();
            }
        }
        fs::write(maildir.join("subscriptions"), b"Archive\nSent\n").unwrap();
    }
    fs::write(root.join("large"), text("large", 3_000_000)).unwrap();
}

/// A file as it was: its hash, and where in the image its bytes lie.
struct Was {
    hash: blake3::Hash,
    bytes: usize,
    places: Vec<Range<u64>>,
    /// Where its inode lies.
    inode: u64,
}

/// All files of `fs` by path, those in `#orphans` and deleted ones left out.
fn files(fs: &dyn Filesystem) -> BTreeMap<Vec<u8>, Was> {
    let mut all = BTreeMap::new();
    for entry in walk(fs).flatten() {
        if entry.inode.kind != FileKind::Regular || entry.inode.standing == Standing::Deleted {
            continue;
        }
        let file = File::open(fs, &entry.inode);
        // Some are sparse and very long.
        if file.len() > 100 * MIB {
            continue;
        }
        let length = usize::try_from(file.len()).unwrap();
        let Some(bytes) = file.read_whole(ByteOffset::ZERO, length) else {
            continue;
        };
        let places = file.pieces().iter().filter_map(|piece| match piece.place {
            Place::At(at) => Some(at.get()..at.get() + piece.length),
            _ => None,
        });
        let was = Was {
            hash: blake3::hash(&bytes),
            bytes: bytes.len(),
            places: places.collect(),
            inode: entry.inode.place.get(),
        };
        all.insert(key(&entry.path), was);
    }
    all
}

/// All that is found on `bytes`.
fn find(bytes: Arc<dyn ReadAt>) -> Vec<Found> {
    let name = "volume:test".to_owned();
    let (found, losses) = find_all(&[Device { name, bytes }], &|_| {});
    for loss in losses {
        println!("loss: {loss}");
    }
    for found in &found {
        println!("found {}: {:?}", found.name, found.fs.info().notes);
    }
    found
}

/// How many files of `want` whose bytes do not lie in `damage` there are, and how many of them
/// come back exactly, by path, in one of `found`.
fn share(want: &BTreeMap<Vec<u8>, Was>, damage: &[Range<u64>], found: &[Found]) -> (usize, usize) {
    share_below(want, damage, found, false)
}

/// As [`share`]; with `top_lost`, files whose inodes were overwritten do not count, and of paths
/// the folder and the name have to come back: the directories above may be overwritten.
fn share_below(
    want: &BTreeMap<Vec<u8>, Was>,
    damage: &[Range<u64>],
    found: &[Found],
    top_lost: bool,
) -> (usize, usize) {
    let trees: Vec<_> = found.iter().map(|found| files(found.fs.as_ref())).collect();
    let mut counts = (0, 0);
    let mut missed = 0;
    let mut orphaned = 0;
    let mut headless = 0;
    for (path, was) in want {
        let hit = |place: &Range<u64>| {
            let next = damage.partition_point(|d| d.end <= place.start);
            damage.get(next).is_some_and(|d| d.start < place.end)
        };
        let headless_now = hit(&(was.inode..was.inode + 1));
        if was.places.iter().any(hit) || (top_lost && (headless_now || path == b"large")) {
            continue;
        }
        counts.0 += 1;
        let same = |got: &Was| got.hash == was.hash;
        let below = |tree: &BTreeMap<Vec<u8>, Was>| {
            let mut slashes = path
                .iter()
                .enumerate()
                .rev()
                .filter(|(_, byte)| **byte == b'/');
            let Some((folder, _)) = slashes.nth(1) else {
                return false;
            };
            let tail = path.get(folder..).unwrap_or_default();
            let mut all = tree.iter();
            all.any(|(got, file)| got.ends_with(tail) && same(file))
        };
        if trees.iter().any(|tree| tree.get(path).is_some_and(same))
            || (top_lost && trees.iter().any(below))
        {
            counts.1 += 1;
        } else {
            if trees
                .iter()
                .any(|tree| tree.values().any(|got| got.hash == was.hash))
            {
                orphaned += 1;
            }
            if headless_now {
                headless += 1;
            }
            missed += 1;
            if missed <= 3 {
                println!("missed {}", String::from_utf8_lossy(path));
            }
        }
    }
    println!("{counts:?}, {orphaned} elsewhere, {headless} without their inodes");
    counts
}

/// `image` with zeros in `ranges`.
fn wiped(image: &Arc<dyn ReadAt>, ranges: &[Range<u64>]) -> Arc<dyn ReadAt> {
    let mut overlay = Overlay::new(Arc::clone(image));
    for range in ranges {
        let length = usize::try_from(range.end - range.start).unwrap();
        overlay.lay(ByteOffset::new(range.start), &vec![0; length]);
    }
    Arc::new(overlay)
}

/// The sectors that begin with `magic`.
fn sectors(image: &dyn ReadAt, magics: &[&[u8]]) -> Vec<Range<u64>> {
    let mut all = Vec::new();
    let mut buf = vec![0; MIB as usize];
    for start in (0..image.len()).step_by(buf.len()) {
        let length = (image.len() - start).min(MIB) as usize;
        assert!(
            image
                .read_at(ByteOffset::new(start), &mut buf[..length])
                .unwrap()
                .is_empty()
        );
        for (index, sector) in buf[..length].chunks(512).enumerate() {
            if magics.iter().any(|magic| sector.starts_with(magic)) {
                let at = start + index as u64 * 512;
                all.push(at..at + 512);
            }
        }
    }
    all
}

/// Random blocks of 4 KiB: `percent` of all of them.
fn random_blocks(length: u64, percent: u64, seed: u64) -> Vec<Range<u64>> {
    let mut random = Random::new(seed);
    let blocks = 0..length / 4096;
    blocks
        .filter(|_| random.below(100) < percent)
        .map(|block| block * 4096..(block + 1) * 4096)
        .collect()
}

/// An image filled through the kernel, and what was in it.
fn filled(
    dir: &Path,
    mib: u64,
    arguments: &[&str],
) -> (PathBuf, Arc<dyn ReadAt>, BTreeMap<Vec<u8>, Was>) {
    let path = mkfs(dir, "image", mib, arguments);
    mailboxes(Mount::new(&path, "rw").path(), 8, 60);
    let bytes: Arc<dyn ReadAt> = image(&path);
    let fs = filesystem::open(Arc::clone(&bytes), "volume")
        .unwrap()
        .unwrap();
    let want = files(fs.as_ref());
    assert!(want.len() > 1400);
    (path, bytes, want)
}

/// Fails unless `least` per cent of the files come back.
fn assert_share((all, back): (usize, usize), least: usize) {
    assert!(all > 0);
    assert!(back * 100 >= all * least, "{back} of {all}");
}

const SHAPES: [&[&str]; 4] = [
    &[],
    &["-b", "size=1024", "-d", "agcount=7"],
    &["-i", "size=1024", "-n", "size=8192", "-d", "agcount=2"],
    &[
        "-b",
        "size=2048",
        "-m",
        "finobt=0,reflink=0",
        "-d",
        "agcount=3",
    ],
];

#[test]
fn whole_file_systems_are_found_whole() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes, want) = filled(dir.path(), 128, shape);
        let found = find(bytes);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "volume:test");
        assert!(!walk(found[0].fs.as_ref()).any(|entry| entry.is_err()));
        assert_share(share(&want, &[], &found), 100);
    }
}

#[test]
fn all_superblocks_gone() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes, want) = filled(dir.path(), 128, shape);
        let damage = sectors(&bytes, &[b"XFSB"]);
        assert_share(share(&want, &damage, &find(wiped(&bytes, &damage))), 100);
        // All headers of all groups.
        let damage = sectors(&bytes, &[b"XFSB", b"XAGF", b"XAGI", b"XAFL"]);
        assert_share(share(&want, &damage, &find(wiped(&bytes, &damage))), 100);
    }
}

#[test]
fn a_tenth_zeroed() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes, want) = filled(dir.path(), 128, shape);
        let damage = vec![Range {
            start: 0,
            end: bytes.len() / 10,
        }];
        assert_share(share(&want, &damage, &find(wiped(&bytes, &damage))), 99);
    }
}

#[test]
fn random_blocks_zeroed() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        // The log of a file system of usual size holds all that was done here.
        let shape = [shape, &["-l", "size=22m"]].concat();
        let (_, bytes, want) = filled(dir.path(), 160, &shape);
        let damage = random_blocks(bytes.len(), 5, 7);
        // Where the inode of a folder is lost, so are the names in it: how many files that are
        // depends on where the kernel put the few inodes of folders.
        assert_share(share(&want, &damage, &find(wiped(&bytes, &damage))), 60);
    }
}

/// The blocks that differ between two images.
fn changed(before: &dyn ReadAt, after: &dyn ReadAt) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for start in (0..before.len()).step_by(MIB as usize) {
        let length = (before.len() - start).min(MIB) as usize;
        let at = ByteOffset::new(start);
        let [one, other] = [before, after].map(|image| image.read_whole(at, length).unwrap());
        let pairs = one.chunks(512).zip(other.chunks(512)).enumerate();
        for (index, _) in pairs.filter(|(_, (one, other))| one != other) {
            let at = start + index as u64 * 512;
            all.push(at..at + 512);
        }
    }
    all
}

/// A copy of an image.
fn copy(path: &Path, name: &str) -> PathBuf {
    let to = path.with_file_name(name);
    let paths = [path.to_str().unwrap(), to.to_str().unwrap()];
    run(
        "cp",
        "coreutils",
        &[&["--sparse=always"], &paths[..]].concat(),
    );
    to
}

#[test]
fn an_older_file_system_is_found_below_a_newer_one_and_not_mixed_with_it() {
    let newer: [&[&str]; 3] = [&[], &["-d", "agcount=6"], &["-b", "size=1024"]];
    for (shape, arguments) in SHAPES.iter().zip(newer) {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, want) = filled(dir.path(), 128, shape);
        let over = copy(&path, "over");
        mkfs_over(&over, arguments);
        let news = text("new", 100_000);
        fs::write(Mount::new(&over, "rw").path().join("new"), &news).unwrap();
        let after: Arc<dyn ReadAt> = image(&over);
        let damage = changed(&bytes, &after);
        let found = find(after);
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        let [first, second] = names.as_slice() else {
            panic!("{names:?}");
        };
        assert_eq!(*first, "volume:test");
        assert!(second.starts_with("volume:test#xfs-"), "{second}");
        let new = files(found[0].fs.as_ref());
        assert_eq!(new.keys().collect::<Vec<_>>(), [b"new"]);
        assert_eq!(new.values().next().unwrap().hash, blake3::hash(&news));
        assert!(!files(found[1].fs.as_ref()).contains_key(&b"new"[..]));
        // The newer one's first inodes lie where the older one's root was.
        // Some folders were there, too: their files are in the tree, below other names.
        assert_share(share_below(&want, &damage, &found[1..], true), 85);
    }
}

#[test]
fn groups_are_as_long_as_the_maps_of_files_need() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), "image", 192, &[]);
    {
        let mount = Mount::new(&path, "rw");
        // What comes first in each group keeps the messages away from its start.
        for number in 0..8 {
            let folder = mount.path().join(format!("before{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("all"), text("before", 9_000_000)).unwrap();
        }
        mailboxes(mount.path(), 8, 60);
    }
    let bytes: Arc<dyn ReadAt> = image(&path);
    let fs = filesystem::open(Arc::clone(&bytes), "volume").unwrap();
    let want = files(fs.unwrap().as_ref());
    let over = copy(&path, "over");
    mkfs_over(&over, &[]);
    let after: Arc<dyn ReadAt> = image(&over);
    let damage = changed(&bytes, &after);
    let found = find(after);
    assert_share(share_below(&want, &damage, &found[1..], true), 85);
}

#[test]
fn it_is_found_below_ext4_and_what_that_wrote_over_is_lost() {
    for shape in &SHAPES[..2] {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, want) = filled(dir.path(), 128, shape);
        let over = copy(&path, "over");
        let name = over.to_str().unwrap();
        run(
            "mkfs.ext4",
            "e2fsprogs",
            &["-q", "-F", "-E", "nodiscard", name],
        );
        fs::write(
            Mount::new(&over, "rw").path().join("new"),
            text("new", 5_000_000),
        )
        .unwrap();
        let after: Arc<dyn ReadAt> = image(&over);
        let damage = changed(&bytes, &after);
        let found = find(after);
        let old: Vec<Found> = found
            .into_iter()
            .filter(|f| f.name.contains("#xfs-"))
            .collect();
        assert_eq!(old.len(), 1);
        assert_share(share(&want, &damage, &old), 99);
        // What is given of files that were written over in part is never somebody else's.
        for (path, was) in files(old[0].fs.as_ref()) {
            if let Some(before) = want.get(&path).filter(|before| before.hash != was.hash) {
                let text = String::from_utf8_lossy(&path).into_owned();
                let free = before.places.iter().all(|place| {
                    damage
                        .iter()
                        .all(|d| d.end <= place.start || place.end <= d.start)
                });
                let (had, has) = (before.bytes, was.bytes);
                assert!(!free, "{text}: {has} bytes of {had}, by {:x?}", was.places);
            }
        }
    }
}

#[test]
fn single_flipped_bits_of_metadata_are_mended() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes, want) = filled(dir.path(), 128, shape);
        let magics: [&[u8]; 4] = [b"IN", b"XDB3", b"XDD3", b"BMA3"];
        let mut random = Random::new(5);
        let mut overlay = Overlay::new(Arc::clone(&bytes));
        for block in sectors(&bytes, &magics) {
            let at = ByteOffset::new(block.start + random.below(512));
            let mut byte = bytes.read_whole(at, 1).unwrap();
            byte[0] ^= 1 << random.below(8);
            overlay.lay(at, &byte);
        }
        assert_share(share(&want, &[], &find(Arc::new(overlay))), 99);
    }
}

#[test]
fn deleted_files_come_back_under_their_names() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let (path, _, want) = filled(dir.path(), 128, shape);
        let is_gone =
            |path: &[u8]| path.windows(5).any(|part| part == b"user3") && !path.ends_with(b"ions");
        {
            let mount = Mount::new(&path, "rw");
            for path in want.keys().filter(|path| is_gone(path)) {
                fs::remove_file(mount.path().join(str::from_utf8(path).unwrap())).unwrap();
            }
        }
        let found = find(image(&path));
        assert_eq!(found.len(), 1);
        let fs = found[0].fs.as_ref();
        let mut back = 0;
        let mut listed = 0;
        for entry in walk(fs).flatten() {
            let path = key(&entry.path);
            let Some(was) = want.get(&path) else {
                continue;
            };
            let deleted = entry.inode.standing == Standing::Deleted;
            assert_eq!(deleted, is_gone(&path), "{}", entry.path);
            listed += usize::from(deleted);
            let file = File::open(fs, &entry.inode);
            let whole = file.read_whole(ByteOffset::ZERO, usize::try_from(file.len()).unwrap());
            if deleted && whole.is_some_and(|bytes| blake3::hash(&bytes) == was.hash) {
                back += 1;
            }
        }
        let gone = want.keys().filter(|path| is_gone(path)).count();
        println!("{back} of {gone} deleted files are back, {listed} are listed");
        assert!(back * 100 >= gone * 95, "{back} of {gone}, {listed} listed");
    }
}

/// The entries of a small directory lie in its inode, and are gone with that.
#[test]
fn deleted_files_without_a_name_hang_among_the_orphans() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), "nameless", 320, &[]);
    let contents = ["one", "two", "three"].map(|tag| text(tag, 9000));
    let mount = Mount::new(&path, "rw");
    let (gone, kept) = (mount.path().join("gone"), mount.path().join("kept"));
    fs::create_dir(&gone).unwrap();
    for (number, content) in contents.iter().enumerate() {
        fs::write(gone.join(number.to_string()), content).unwrap();
    }
    fs::write(&kept, text("kept", 5000)).unwrap();
    drop(mount);
    let mount = Mount::new(&path, "rw");
    fs::remove_dir_all(mount.path().join("gone")).unwrap();
    drop(mount);
    let found = find(image(&path));
    let fs = found[0].fs.as_ref();
    let mut back = Vec::new();
    for entry in walk(fs).flatten() {
        if entry.inode.kind != FileKind::Regular || entry.path.to_string() == "/kept" {
            continue;
        }
        assert!(
            entry.path.to_string().starts_with("/#orphans/#"),
            "{}",
            entry.path
        );
        assert_eq!(entry.inode.standing, Standing::Deleted);
        // By its number alone it is the same.
        let inode = fs.inode(entry.inode.number).unwrap();
        let file = File::open(fs, &inode);
        let length = usize::try_from(file.len()).unwrap();
        back.push(file.read_vec(ByteOffset::ZERO, length).unwrap().0);
    }
    back.sort();
    let mut want = contents.to_vec();
    want.sort();
    assert!(back == want, "{} files are back", back.len());
}

#[test]
fn a_log_that_was_not_replayed_is_read() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().unwrap();
        let path = mkfs(
            dir.path(),
            "image",
            160,
            &[shape, &["-l", "size=22m"]].concat(),
        );
        let mount = Mount::new(&path, "rw");
        let root = mount.path().to_str().unwrap();
        mailboxes(mount.path(), 3, 60);
        run("sync", "coreutils", &["-f", root]);
        fs::rename(mount.path().join("large"), mount.path().join("renamed")).unwrap();
        fs::write(mount.path().join("late"), text("late", 70_000)).unwrap();
        run("sync", "coreutils", &["-f", root]);
        let torn = copy(&path, "torn");
        drop(mount);
        let after = copy(&torn, "after");
        drop(Mount::new(&after, "rw"));
        let fs = filesystem::open(image(&after), "volume").unwrap().unwrap();
        let want = files(fs.as_ref());
        assert!(want.contains_key(&b"late"[..]) && want.contains_key(&b"renamed"[..]));
        let found = find(image(&torn));
        assert_share(share(&want, &[], &found), 100);
        assert!(!files(found[0].fs.as_ref()).contains_key(&b"large"[..]));
    }
}

/// The version 4 images that `scripts/make-xfs-fixtures.py` made.
fn version4(dir: &Path) -> Vec<Arc<dyn ReadAt>> {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/xfs/v4.tar.zst");
    run(
        "tar",
        "tar zstd",
        &["--zstd", "-xf", archive, "-C", dir.to_str().unwrap()],
    );
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "img"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| -> Arc<dyn ReadAt> { image(path) })
        .collect()
}

#[test]
fn version_4_is_found_without_its_superblocks_and_without_its_front() {
    let dir = tempfile::tempdir().unwrap();
    // The first is what `mkfs.xfs` made in 2014.
    for bytes in version4(dir.path()).into_iter().take(1) {
        let fs = filesystem::open(Arc::clone(&bytes), "volume")
            .unwrap()
            .unwrap();
        let want = files(fs.as_ref());
        println!("{}: {} files", fs.info().version, want.len());
        assert_share(share(&want, &[], &find(Arc::clone(&bytes))), 100);
        let damage = sectors(&bytes, &[b"XFSB"]);
        assert_share(share(&want, &damage, &find(wiped(&bytes, &damage))), 99);
        let damage = vec![Range {
            start: 0,
            end: bytes.len() / 10,
        }];
        share_below(&want, &damage, &find(wiped(&bytes, &damage)), true);
    }
}
