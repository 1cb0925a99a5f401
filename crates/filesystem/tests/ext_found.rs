//! ext file systems that lost their heads: what is intact comes back exactly, with its path, and
//! nothing comes back that was not there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

#[expect(dead_code, reason = "each test file uses another part of this module")]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Mount, Random, blank, run};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{
    Device, File, FileKind, Filesystem, Found, InodeNumber, Place, Standing, find_all, walk,
};

const PACKAGE: &str = "e2fsprogs";
const OLD: &str = "^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file,uninit_bg";
const MEGABYTES: u64 = 64;

/// The kinds of file systems that the damage is done to.
const KINDS: [(&str, &[&str]); 8] = [
    (
        "ext4, 4 KiB",
        &["-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit"],
    ),
    (
        "ext4, 1 KiB",
        &["-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"],
    ),
    (
        "ext4 of 2014, 4 KiB",
        &["-t", "ext4", "-b", "4096", "-O", OLD],
    ),
    (
        "ext4 of 2014, 1 KiB",
        &["-t", "ext4", "-b", "1024", "-O", OLD],
    ),
    (
        "ext4 of 2014, 1 KiB, no flex_bg",
        &["-t", "ext4", "-b", "1024", "-O", OLD, "-O", "^flex_bg"],
    ),
    ("ext3, 1 KiB", &["-t", "ext3", "-b", "1024", "-I", "128"]),
    ("ext3, 4 KiB", &["-t", "ext3", "-b", "4096", "-I", "256"]),
    ("ext2, 1 KiB", &["-t", "ext2", "-b", "1024"]),
];

fn mke2fs(path: &Path, arguments: &[&str]) {
    let name = path.to_str().unwrap();
    let all = [&["-F", "-q", "-E", "nodiscard"], arguments, &[name]].concat();
    run("mke2fs", PACKAGE, &all);
}

/// Where a file lay and what was in it.
struct Was {
    hash: blake3::Hash,
    pieces: Vec<(u64, usize)>,
    /// Where its inode lay.
    inode: u64,
}

type Tree = BTreeMap<String, Was>;

/// An image with mailboxes in it, and its files.
fn mailboxes(dir: &Path, arguments: &[&str]) -> (PathBuf, Tree) {
    let path = blank(dir, "image", MEGABYTES << 20);
    mke2fs(&path, arguments);
    {
        // Nothing is committed on the way, however slow the machine is: what the journal holds in
        // the end would be another thing each time. A file system without one knows no such option.
        let has_journal = !arguments.contains(&"ext2");
        let options = if has_journal { "rw,commit=300" } else { "rw" };
        let mount = Mount::new(&path, options);
        let mut random = Random::new(7);
        for account in 0..12 {
            let maildir = mount
                .path()
                .join(format!("example{}.org/user{account}/Maildir", account % 3));
            for folder in ["cur", "new", "tmp", ".Sent/cur", ".Archive.2013/cur"] {
                fs::create_dir_all(maildir.join(folder)).unwrap();
            }
            for number in 0..60_u64 {
                let folder = ["cur", "cur", ".Sent/cur", ".Archive.2013/cur"][number as usize % 4];
                let length = 300 + random.below(20_000) as usize;
                let name = format!("13{account:02}{number:04}.M{number}P1.host,S={length}:2,S");
                let text = message(&mut random, length);
                fs::write(maildir.join(folder).join(name), text).unwrap();
            }
        }
        let large = random.bytes(3 << 20);
        fs::write(mount.path().join("example0.org/large"), large).unwrap();
    }
    let tree = tree(&fs::read(&path).unwrap());
    assert!(tree.len() > 700, "{}", tree.len());
    (path, tree)
}

/// Text of `length` bytes that is like no other.
fn message(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 80);
    while text.len() < length {
        text.extend(format!("Line {:016x} {:016x}\n", random.next(), random.next()).bytes());
    }
    text.truncate(length);
    text
}

/// The files of a good image.
fn tree(bytes: &[u8]) -> Tree {
    let view: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes.to_vec()));
    let fs = filesystem::open(view, "volume").unwrap().unwrap();
    let mut tree = Tree::new();
    for entry in walk(fs.as_ref()) {
        let entry = entry.unwrap();
        if entry.inode.kind != FileKind::Regular {
            continue;
        }
        let file = File::open(fs.as_ref(), &entry.inode);
        let pieces = file.pieces().iter().map(|piece| match piece.place {
            Place::At(at) => (at.get(), piece.length as usize),
            other => panic!("{}: {other:?}", entry.path),
        });
        let was = Was {
            hash: hash(&file).unwrap(),
            pieces: pieces.collect(),
            inode: entry.inode.place.get(),
        };
        tree.insert(entry.path.to_string(), was);
    }
    tree
}

/// The hash of a file, if all of it can be had.
fn hash(file: &File) -> Option<blake3::Hash> {
    let length = usize::try_from(file.len())
        .ok()
        .filter(|length| *length < 32 << 20)?;
    let (bytes, gaps) = file.read_vec(ByteOffset::ZERO, length).ok()?;
    gaps.is_empty().then(|| blake3::hash(&bytes))
}

fn find(bytes: Vec<u8>) -> Vec<Found> {
    let bytes: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes));
    let name = "volume".to_owned();
    find_all(&[Device { name, bytes }], &|_| {}).0
}

/// What came back of a tree.
#[derive(Debug, Default)]
struct Score {
    intact: usize,
    exact: usize,
    /// Right contents in another place, or without a name.
    elsewhere: usize,
    /// Files that are whole, at a path that was, with other contents.
    wrong: Vec<String>,
    missed: Vec<String>,
}

/// Compares what is found on the damaged `bytes` with what was on the `good` ones.
fn score(good: &[u8], bytes: &[u8], tree: &Tree) -> Score {
    let mut by_path: BTreeMap<String, Vec<blake3::Hash>> = BTreeMap::new();
    let mut all: Vec<blake3::Hash> = Vec::new();
    for found in find(bytes.to_vec()) {
        for entry in walk(found.fs.as_ref()).flatten() {
            if entry.inode.kind != FileKind::Regular {
                continue;
            }
            if let Some(hash) = hash(&File::open(found.fs.as_ref(), &entry.inode)) {
                by_path
                    .entry(entry.path.to_string())
                    .or_default()
                    .push(hash);
                all.push(hash);
            }
        }
    }
    let mut score = Score::default();
    for (path, was) in tree {
        let intact = was.pieces.iter().all(|(at, length)| {
            let at = *at as usize;
            good[at..at + length] == bytes[at..at + length]
        });
        let got = by_path.get(path).cloned().unwrap_or_default();
        if got.contains(&was.hash) {
            score.exact += usize::from(intact);
        } else if intact && all.contains(&was.hash) {
            score.elsewhere += 1;
        } else if intact {
            score.missed.push(path.clone());
        }
        // Whoever writes over contents changes what is read there. The last state that is left of an
        // inode may be one in which it had none yet: when that is depends on the machine.
        let is_other = |hash: &blake3::Hash| *hash != was.hash && *hash != blake3::hash(b"");
        if intact && got.iter().any(is_other) {
            score.wrong.push(path.clone());
        }
        score.intact += usize::from(intact);
    }
    score
}

fn zero_superblocks(bytes: &mut [u8]) {
    for block in bytes.chunks_mut(1024) {
        if block[0x38..0x3A] == [0x53, 0xEF] && block[0x4C] <= 1 {
            block.fill(0);
        }
    }
}

fn zero_head(bytes: &mut [u8]) {
    let length = bytes.len() / 10;
    bytes[..length].fill(0);
}

fn zero_random(bytes: &mut [u8]) {
    let mut random = Random::new(99);
    for block in bytes.chunks_mut(4096) {
        if random.below(20) == 0 {
            block.fill(0);
        }
    }
}

/// Turns single bits of inodes and of entries of directories.
fn flip_bits(bytes: &mut [u8]) {
    let view: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes.to_vec()));
    let fs = filesystem::open(view, "volume").unwrap().unwrap();
    let mut random = Random::new(5);
    for entry in walk(fs.as_ref()).flatten() {
        if entry.path.names().len() < 3 {
            continue;
        }
        if random.below(5) == 0 {
            let at = entry.inode.place.get() as usize + random.below(120) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        let first = fs.extents(&entry.inode).pieces.first().map(|p| p.place);
        if let (FileKind::Directory, Some(Place::At(at))) = (entry.inode.kind, first) {
            let at = at.get() as usize + 24 + random.below(200) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
    }
}

/// What is done to an image, and the share of intact files that must come back from each kind.
type Row = (&'static str, fn(&Path, &mut Vec<u8>));

fn make_over(path: &Path, bytes: &mut Vec<u8>, tool: &str, arguments: &[&str]) {
    let copy = path.with_extension("over");
    fs::write(&copy, &*bytes).unwrap();
    let name = copy.to_str().unwrap();
    run(tool, PACKAGE, &[arguments, &[name]].concat());
    *bytes = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
}

const ROWS: [Row; 7] = [
    ("bits of metadata turned", |_, bytes| flip_bits(bytes)),
    ("superblocks gone", |_, bytes| zero_superblocks(bytes)),
    ("first 10 % zeroed", |_, bytes| zero_head(bytes)),
    ("5 % of 4 KiB blocks zeroed", |_, bytes| zero_random(bytes)),
    ("mkfs.ext4 over it, 4 KiB", |path, bytes| {
        make_over(
            path,
            bytes,
            "mke2fs",
            &["-F", "-q", "-E", "nodiscard", "-t", "ext4", "-b", "4096"],
        );
    }),
    ("mkfs.ext4 over it, 1 KiB", |path, bytes| {
        make_over(
            path,
            bytes,
            "mke2fs",
            &["-F", "-q", "-E", "nodiscard", "-t", "ext4", "-b", "1024"],
        );
    }),
    ("superblocks and descriptors gone", |_, bytes| {
        zero_superblocks(bytes);
        bytes[..16384].fill(0);
    }),
];

/// What comes back of an image of `kind` after `damage`.
fn after(kind: usize, damage: fn(&Path, &mut Vec<u8>)) -> Score {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = mailboxes(dir.path(), KINDS[kind].1);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    damage(&path, &mut bytes);
    score(&good, &bytes, &tree)
}

#[test]
fn without_superblocks_and_descriptors_everything_comes_back() {
    for kind in [0, 1, 3, 4, 5, 7] {
        let score = after(kind, ROWS[6].1);
        assert!(score.intact > 700, "{}", KINDS[kind].0);
        assert_eq!(score.exact, score.intact, "{}: {score:?}", KINDS[kind].0);
        assert!(score.wrong.is_empty(), "{}: {score:?}", KINDS[kind].0);
    }
}

#[test]
fn tables_and_directories_that_are_zeroed_come_back_from_the_journal() {
    for kind in [1, 3, 4] {
        for row in [2, 3] {
            let score = after(kind, ROWS[row].1);
            assert!(score.intact > 500, "{score:?}");
            // Of a block and all its copies, zeros may have met each.
            let most = score.intact - score.intact / 20;
            assert!(score.exact >= most, "{}: {score:?}", KINDS[kind].0);
            assert!(score.wrong.is_empty(), "{}: {score:?}", KINDS[kind].0);
        }
    }
}

#[test]
fn bits_that_turned_are_turned_back_where_checksums_tell() {
    let score = after(1, ROWS[0].1);
    assert_eq!(
        (score.exact, score.wrong.len()),
        (score.intact, 0),
        "{score:?}"
    );
}

#[test]
fn what_a_newer_file_system_left_of_an_older_one_is_beside_it_and_not_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = mailboxes(dir.path(), KINDS[3].1);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    ROWS[4].1(&path, &mut bytes);
    let score = score(&good, &bytes, &tree);
    assert_eq!(
        (score.exact, score.wrong.len()),
        (score.intact, 0),
        "{score:?}"
    );
    let found = find(bytes);
    let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "volume");
    assert!(names[1].starts_with("volume#ext4-"), "{names:?}");
    let newer: Vec<String> = walk(found[0].fs.as_ref())
        .flatten()
        .map(|entry| entry.path.to_string())
        .collect();
    assert_eq!(newer, ["/", "/lost+found"]);
}

/// The names of all files that a directory and those in it list, whether there is an inode or not.
fn names_below(fs: &dyn Filesystem, dir: InodeNumber, names: &mut BTreeSet<String>) {
    let Ok(dir) = fs.inode(dir) else { return };
    for entry in fs.entries(&dir).entries {
        let is_directory = fs
            .inode(entry.inode)
            .is_ok_and(|inode| inode.kind == FileKind::Directory);
        if is_directory {
            names_below(fs, entry.inode, names);
        } else {
            names.insert(String::from_utf8(entry.name).unwrap());
        }
    }
}

/// The inode tables of a newer file system lie where those of the older one were. What the directories
/// listed is known still, also in blocks of which only a checksum says whose they are.
#[test]
fn a_newer_file_system_of_the_same_shape_leaves_the_names() {
    for kind in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let (path, tree) = mailboxes(dir.path(), KINDS[kind].1);
        let mut bytes = fs::read(&path).unwrap();
        let tables = ["-F", "-q", "-E", "nodiscard,lazy_itable_init=0"];
        let arguments = [&tables, KINDS[kind].1].concat();
        make_over(&path, &mut bytes, "mke2fs", &arguments);
        let found = find(bytes);
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let mut names = BTreeSet::new();
        names_below(&*found[1].fs, found[1].fs.root(), &mut names);
        let name = |path: &String| path.rsplit('/').next().unwrap().to_owned();
        let all: BTreeSet<String> = tree.keys().map(name).collect();
        let missed: Vec<&String> = all.difference(&names).collect();
        assert!(missed.is_empty(), "{}: {missed:?}", KINDS[kind].0);
        let mut newer = BTreeSet::new();
        names_below(&*found[0].fs, found[0].fs.root(), &mut newer);
        assert!(newer.is_empty(), "{}: {newer:?}", KINDS[kind].0);
    }
}

#[test]
fn a_newer_file_system_of_other_features_leaves_the_inodes_that_it_did_not_write() {
    for kind in [2, 6] {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut tree) = mailboxes(dir.path(), KINDS[kind].1);
        let good = fs::read(&path).unwrap();
        let mut bytes = good.clone();
        ROWS[4].1(&path, &mut bytes);
        tree.retain(|_, was| {
            let inode = was.inode as usize..was.inode as usize + 128;
            good[inode.clone()] == bytes[inode]
        });
        let score = score(&good, &bytes, &tree);
        assert!(score.intact > 200, "{}: {score:?}", KINDS[kind].0);
        // Blocks of maps may be gone.
        assert!(score.missed.len() < 20, "{}: {score:?}", KINDS[kind].0);
        assert!(score.wrong.is_empty(), "{}: {score:?}", KINDS[kind].0);
    }
}

#[test]
fn what_only_the_journal_holds_counts_without_a_superblock_too() {
    for kind in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = mailboxes(dir.path(), KINDS[kind].1);
        let mut dirty = {
            let mount = Mount::new(&path, "rw");
            let cur = mount.path().join("example0.org/user3/Maildir/cur");
            for number in 0..40 {
                fs::write(
                    cur.join(format!("new{number}")),
                    format!("{number} ").repeat(900),
                )
                .unwrap();
                let old = format!("13030{number:03}");
                let old = walkdir(&cur)
                    .into_iter()
                    .find(|path| path.to_str().unwrap().contains(&old));
                old.map(fs::remove_file).transpose().unwrap();
            }
            fs::File::open(&cur).unwrap().sync_all().unwrap();
            run("sync", "coreutils", &["-f", cur.to_str().unwrap()]);
            fs::read(&path).unwrap()
        };
        let want = tree(&dirty);
        assert!(want.keys().filter(|path| path.contains("/new")).count() == 40);
        zero_superblocks(&mut dirty);
        dirty[..16384].fill(0);
        let found = find(dirty);
        let got = files(found[0].fs.as_ref());
        for (path, was) in &want {
            let live = (Standing::InUse, Some(was.hash));
            assert_eq!(
                got.get(path),
                Some(&vec![live]),
                "{}: {path}",
                KINDS[kind].0
            );
        }
        let live = got
            .values()
            .flatten()
            .filter(|(standing, _)| *standing == Standing::InUse);
        assert_eq!(live.count(), want.len(), "{}", KINDS[kind].0);
    }
}

/// The files of a found file system by path, with how they stand.
fn files(fs: &dyn Filesystem) -> BTreeMap<String, Vec<(Standing, Option<blake3::Hash>)>> {
    let mut files: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for entry in walk(fs).flatten() {
        if entry.inode.kind == FileKind::Regular {
            let hash = hash(&File::open(fs, &entry.inode));
            let path = entry.path.to_string();
            files
                .entry(path)
                .or_default()
                .push((entry.inode.standing, hash));
        }
    }
    files
}

#[test]
fn a_healthy_file_system_gains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let features = "orphan_file,ea_inode";
    let (path, _) = mailboxes(dir.path(), &["-t", "ext4", "-b", "1024", "-O", features]);
    let bytes = fs::read(&path).unwrap();
    let paths = |fs: &dyn Filesystem| -> Vec<String> {
        walk(fs)
            .map(|entry| entry.unwrap().path.to_string())
            .collect()
    };
    let view: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes.clone()));
    let opened = filesystem::open(view, "volume").unwrap().unwrap();
    let found = find(bytes);
    assert_eq!(found.len(), 1);
    assert_eq!(paths(found[0].fs.as_ref()), paths(opened.as_ref()));
}

/// On a partition, or a member of a mirror, behind its label: under a newer one of the whole disk.
#[test]
fn copies_of_a_superblock_in_its_journal_do_not_say_where_a_file_system_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = mailboxes(dir.path(), &["-t", "ext3", "-b", "1024"]);
    {
        // A file that is deleted while it is open goes through the list of orphans in the superblock.
        let mount = Mount::new(&path, "rw");
        for _ in 0..24 {
            let name = mount.path().join("open");
            let file = fs::File::create(&name).unwrap();
            fs::remove_file(&name).unwrap();
            drop(file);
            run("sync", "coreutils", &["-f", mount.path().to_str().unwrap()]);
        }
    }
    let good = fs::read(&path).unwrap();
    let tree = tree(&good);
    let begin = 1 << 20;
    let mut bytes = [vec![0; begin], good.clone()].concat();
    let uuid = &good[1024 + 104..1024 + 120];
    let copies = memchr::memmem::find_iter(&bytes, uuid).count();
    assert!(copies > 20, "{copies} superblocks: the journal has none");
    let new = ["-F", "-q", "-E", "nodiscard", "-t", "ext4", "-b", "1024"];
    make_over(&path, &mut bytes, "mke2fs", &new);
    let found = find(bytes.clone());
    let old = found
        .iter()
        .find(|found| found.name.starts_with("volume#ext3-"));
    let got = files(old.unwrap().fs.as_ref());
    let is_left = |(at, length): &(u64, usize)| {
        let at = *at as usize;
        bytes[begin + at..][..*length] == good[at..][..*length]
    };
    let left: Vec<_> = tree
        .iter()
        .filter(|(_, was)| was.pieces.iter().all(is_left))
        .collect();
    let is_back = |(path, was): &&(&String, &Was)| {
        got.get(*path) == Some(&vec![(Standing::InUse, Some(was.hash))])
    };
    // Of a few the newer one has the block that says where they are.
    let back = left.iter().filter(is_back).count();
    assert!(
        left.len() > 300 && back * 100 >= left.len() * 90,
        "{back} of {}",
        left.len()
    );
    let known: Vec<blake3::Hash> = tree.values().map(|was| was.hash).collect();
    let is_false = |hash: &blake3::Hash| !known.contains(hash) && *hash != blake3::hash(b"");
    let false_ones: Vec<&String> = got
        .iter()
        .filter(|(_, all)| {
            all.iter()
                .filter_map(|(_, hash)| *hash)
                .any(|h| is_false(&h))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(false_ones.is_empty(), "{false_ones:?}");
}

/// A part of an inode table that is there twice, as where parity gives the data of a wiped row.
#[test]
fn copies_of_inodes_are_no_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = mailboxes(dir.path(), &["-t", "ext4", "-b", "4096", "-O", OLD]);
    let mut bytes = fs::read(&path).unwrap();
    zero_superblocks(&mut bytes);
    let good = find(bytes.clone());
    let inodes = walk(good[0].fs.as_ref()).map(|entry| entry.unwrap().inode);
    let of_files = inodes.filter(|inode| inode.kind == FileKind::Regular);
    let places: Vec<usize> = of_files
        .map(|inode| inode.place.get() as usize / 4096 * 4096)
        .collect();
    let (first, last) = (*places.iter().min().unwrap(), *places.iter().max().unwrap());
    let free = last + 4096..last + 8192;
    assert!(bytes[free.clone()].iter().all(|byte| *byte == 0));
    let copy = bytes[first + 4096..first + 8192].to_vec();
    bytes[free].copy_from_slice(&copy);
    let found = find(bytes);
    assert_eq!(found.len(), 1);
    assert_eq!(files(found[0].fs.as_ref()), files(good[0].fs.as_ref()));
}

/// Deletes an account, some single files, and renames others, as `sync` says in between.
fn delete_some(root: &Path) -> Vec<String> {
    let account = root.join("example1.org/user4");
    let cur = root.join("example0.org/user3/Maildir/cur");
    let mut gone: Vec<String> = walkdir(&account)
        .iter()
        .map(|path| format!("/{}", path.strip_prefix(root).unwrap().display()))
        .collect();
    let mut names: Vec<PathBuf> = walkdir(&cur);
    names.sort();
    for (index, path) in names.iter().enumerate() {
        if index % 4 == 0 {
            gone.push(format!("/{}", path.strip_prefix(root).unwrap().display()));
            fs::remove_file(path).unwrap();
        } else if index % 4 == 1 {
            let name = path.to_str().unwrap().replace(":2,S", ":2,RS");
            fs::rename(path, name).unwrap();
        }
    }
    fs::remove_dir_all(&account).unwrap();
    gone
}

/// All files below a directory.
fn walkdir(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walkdir(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn deleted_files_come_back_with_their_paths_and_renamed_ones_are_not_among_them() {
    for kind in [0, 1, 2, 3, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (path, before) = mailboxes(dir.path(), KINDS[kind].1);
        let gone = {
            let mount = Mount::new(&path, "rw");
            delete_some(mount.path())
        };
        let bytes = fs::read(&path).unwrap();
        let live = tree(&bytes);
        let found = find(bytes);
        assert_eq!(found.len(), 1, "{}", KINDS[kind].0);
        let files = files(found[0].fs.as_ref());
        let mut back = 0;
        for path in &gone {
            let had = files.get(path).map_or(&[][..], Vec::as_slice);
            back += usize::from(had == [(Standing::Deleted, Some(before[path].hash))]);
        }
        assert_eq!(back, gone.len(), "{}", KINDS[kind].0);
        for (path, had) in &files {
            match had.as_slice() {
                [(Standing::InUse, hash)] => assert_eq!(*hash, Some(live[path].hash), "{path}"),
                [(Standing::Deleted, _)] => assert!(gone.contains(path), "{path}"),
                _ => panic!("{path}: {had:?}"),
            }
        }
        let in_use = files
            .values()
            .flatten()
            .filter(|(standing, _)| *standing == Standing::InUse);
        assert_eq!(in_use.count(), live.len(), "{}", KINDS[kind].0);
    }
}

#[test]
fn blocks_of_a_deleted_file_that_are_in_use_again_are_lost_with_the_name_of_who_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let (path, before) = mailboxes(dir.path(), KINDS[3].1);
    {
        let mount = Mount::new(&path, "rw");
        fs::remove_dir_all(mount.path().join("example1.org/user4")).unwrap();
    }
    let mut bytes = fs::read(&path).unwrap();
    let gone = "/example1.org/user4/Maildir/cur/13040004.M4P1.host";
    let (gone, was) = before
        .iter()
        .find(|(path, _)| path.starts_with(gone))
        .unwrap();
    let block = (was.pieces[0].0 / 1024) as u32;
    // Another file gets the blocks, with an inode that is not the one in the journal.
    let view: Arc<dyn ReadAt> = Arc::new(Memory::new(bytes.clone()));
    let opened = filesystem::open(view, "volume").unwrap().unwrap();
    let entries = walk(opened.as_ref()).flatten();
    let mut files_in_use = entries.filter(|entry| entry.inode.kind == FileKind::Regular);
    let taker = files_in_use
        .find(|entry| entry.inode.raw[0x2A] == 1)
        .unwrap()
        .inode;
    let at = taker.place.get() as usize;
    bytes[at + 0x3C..at + 0x40].copy_from_slice(&block.to_le_bytes());
    bytes[at + 0x10..at + 0x14].copy_from_slice(&0x5A5A_5A5A_u32.to_le_bytes());
    let found = find(bytes);
    let fs = found[0].fs.as_ref();
    let entry = walk(fs)
        .flatten()
        .find(|entry| entry.path.to_string() == *gone)
        .unwrap();
    let file = File::open(fs, &entry.inode);
    assert_eq!(hash(&file), None);
    let who = format!("inode {}, which is in use", taker.number);
    assert!(
        file.losses()[0].to_string().contains(&who),
        "{:?}",
        file.losses()
    );
}

#[test]
fn random_damage_never_panics_and_maps_stay_whole() {
    for kind in [1, 3, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = mailboxes(dir.path(), KINDS[kind].1);
        let good = fs::read(&path).unwrap();
        for seed in 0..6 {
            let mut random = Random::new(seed + 1);
            let mut bytes = good.clone();
            for _ in 0..1 << random.below(14) {
                // Mostly where metadata lies.
                let end = [1 << 14, 8 << 20, bytes.len() as u64][random.below(3) as usize];
                let at = random.below(end) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at & !1023..][..1024].fill(0),
                    _ => {
                        let from = random.below(8 << 20) as usize & !1023;
                        bytes.copy_within(from..from + 1024, at & !1023);
                    }
                }
            }
            for found in find(bytes) {
                for entry in walk(found.fs.as_ref()).flatten() {
                    let file = File::open(found.fs.as_ref(), &entry.inode);
                    let mut end = 0;
                    for piece in file.pieces() {
                        assert_eq!(piece.file_offset, end, "{}", entry.path);
                        end += piece.length;
                    }
                }
            }
        }
    }
}
