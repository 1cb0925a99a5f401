//! ext file systems that lost their heads: what is intact comes back exactly, with its path, and
//! nothing comes back that was not there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

#[expect(dead_code, reason = "each test file uses another part of this module")]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Mount, Random, blank, run};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{Device, File, FileKind, Filesystem, Found, Place, Standing, find_all, walk};

const PACKAGE: &str = "e2fsprogs";
const OLD: &str = "^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file,uninit_bg";
const MEGABYTES: u64 = 64;

/// The kinds of file systems that the damage is done to.
const KINDS: [(&str, &[&str]); 8] = [
    ("ext4, 4 KiB", &["-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit"]),
    ("ext4, 1 KiB", &["-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"]),
    ("ext4 of 2014, 4 KiB", &["-t", "ext4", "-b", "4096", "-O", OLD]),
    ("ext4 of 2014, 1 KiB", &["-t", "ext4", "-b", "1024", "-O", OLD]),
    ("ext4 of 2014, 1 KiB, no flex_bg", &["-t", "ext4", "-b", "1024", "-O", OLD, "-O", "^flex_bg"]),
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
}

type Tree = BTreeMap<String, Was>;

/// An image with mailboxes in it, and its files.
fn mailboxes(dir: &Path, arguments: &[&str]) -> (PathBuf, Tree) {
    let path = blank(dir, "image", MEGABYTES << 20);
    mke2fs(&path, arguments);
    {
        let mount = Mount::new(&path, "rw");
        let mut random = Random::new(7);
        for account in 0..12 {
            let maildir = mount.path().join(format!("example{}.org/user{account}/Maildir", account % 3));
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
        };
        tree.insert(entry.path.to_string(), was);
    }
    tree
}

/// The hash of a file, if all of it can be had.
fn hash(file: &File) -> Option<blake3::Hash> {
    let length = usize::try_from(file.len()).ok().filter(|length| *length < 32 << 20)?;
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
                by_path.entry(entry.path.to_string()).or_default().push(hash);
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
        // Whoever writes over contents changes what is read there.
        if intact && got.iter().any(|hash| *hash != was.hash) {
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
        make_over(path, bytes, "mke2fs", &["-F", "-q", "-E", "nodiscard", "-t", "ext4", "-b", "4096"]);
    }),
    ("mkfs.ext4 over it, 1 KiB", |path, bytes| {
        make_over(path, bytes, "mke2fs", &["-F", "-q", "-E", "nodiscard", "-t", "ext4", "-b", "1024"]);
    }),
    ("superblocks and descriptors gone", |_, bytes| {
        zero_superblocks(bytes);
        bytes[..16384].fill(0);
    }),
];

#[test]
#[ignore = "prints the table of damage; minutes"]
fn the_table_of_damage() {
    for (kind, arguments) in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let (path, tree) = mailboxes(dir.path(), arguments);
        let good = fs::read(&path).unwrap();
        for (row, damage) in ROWS {
            let mut bytes = good.clone();
            damage(&path, &mut bytes);
            if let Ok(dir) = std::env::var("KEEP_DAMAGED") {
                fs::write(format!("{dir}/{kind}-{row}").replace([' ', ',', '%'], "_").replace("//", "/"), &bytes).unwrap();
            }
            let score = score(&good, &bytes, &tree);
            eprintln!(
                "{kind:32} {row:34} intact {:4} exact {:4} elsewhere {:4} wrong {:3} missed {:3} {:?}",
                score.intact,
                score.exact,
                score.elsewhere,
                score.wrong.len(),
                score.missed.len(),
                score.missed.first()
            );
        }
    }
}
