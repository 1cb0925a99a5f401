//! XFS images made by `mkfs.xfs` and filled through the kernel, read here, and compared with
//! what the kernel shows of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::fill::{Amount, fill};
use common::{
    Mount, Random, Seen, assert_same_as_kernel, assert_tree, blank, kernel_tree, open, our_tree,
    run,
};
use evidence::view::Overlay;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{File, FileKind, Filesystem, InodeNumber, walk};
use sha2::Digest as _;

const PACKAGE: &str = "xfsprogs";

/// Makes a file system in `dir`; small ones are refused by newer xfsprogs, and the image is sparse.
fn mkfs(dir: &Path, arguments: &[&str]) -> PathBuf {
    let path = blank(dir, "image", 1 << 30);
    let name = path.to_str().unwrap();
    run("mkfs.xfs", PACKAGE, &[&["-q"], arguments, &[name]].concat());
    path
}

/// What fits a file system with blocks of `block` bytes.
fn amount(block: usize) -> Amount {
    Amount {
        names: 5000,
        block,
        target: 1023,
        fragments: if block > 16384 { 400 } else { 2500 },
        far: 72 << 20,
    }
}

/// Directories of every form, with deleted entries, between files that cut them into pieces.
fn directories(root: &Path, largest: usize) {
    let counts = [3, 30, 300, 2000, largest];
    for count in counts {
        fs::create_dir(root.join(format!("dir{count}"))).unwrap();
    }
    let first = root.join("first");
    fs::write(&first, b"many names").unwrap();
    for number in 0..largest {
        for count in counts.into_iter().filter(|count| number < *count) {
            let name = format!("dir{count}/{number}.M{:012}P77.mail,S=4711:2,S", number * 7);
            if number % 40 == 0 {
                fs::write(root.join(name), number.to_string()).unwrap();
            } else {
                fs::hard_link(&first, root.join(name)).unwrap();
            }
        }
    }
    for number in (0..largest).filter(|number| number % 3 == 1) {
        for count in counts.into_iter().skip(1).filter(|count| number < *count) {
            let name = format!("dir{count}/{number}.M{:012}P77.mail,S=4711:2,S", number * 7);
            fs::remove_file(root.join(name)).unwrap();
        }
    }
}

/// Files that share their blocks, and what is written into one of them later.
fn reflinks(root: &Path) {
    let dir = root.join("reflinks");
    fs::create_dir(&dir).unwrap();
    let [original, copy, changed] = ["original", "copy", "changed"].map(|name| dir.join(name));
    fs::write(&original, Random::new(7).bytes(1_000_000)).unwrap();
    for target in [&copy, &changed] {
        let paths = [original.to_str().unwrap(), target.to_str().unwrap()];
        run(
            "cp",
            "coreutils",
            &[&["--reflink=always"], &paths[..]].concat(),
        );
    }
    let file = fs::File::options().write(true).open(&changed).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'c'; 100_000], 300_001).unwrap();
}

/// The kind of a file, how its data fork is kept (`di_format`), and of trees how high they are.
type Form = (FileKind, u8, u8);

/// Makes, fills and compares one file system; gives the forms of data forks that were in it.
fn check(block: usize, largest: usize, arguments: &[&str]) -> Vec<Form> {
    let dir = tempfile::tempdir().unwrap();
    let size = format!("size={block}");
    let path = mkfs(dir.path(), &[&["-b", &size], arguments].concat());
    {
        let mount = Mount::new(&path, "rw");
        fill(mount.path(), amount(block));
        directories(mount.path(), largest);
        if !arguments
            .iter()
            .any(|argument| argument.contains("reflink=0"))
        {
            reflinks(mount.path());
        }
    }
    assert_same_as_kernel(&path);
    let fs = open(&path);
    assert_eq!(fs.info().notes, [""; 0]);
    let mut forms: Vec<Form> = Vec::new();
    for entry in walk(fs.as_ref()) {
        let inode = entry.unwrap().inode;
        let di_format = inode.raw[5];
        let bb_level = if di_format == BTREE {
            inode.raw[177]
        } else {
            0
        };
        let form = (inode.kind, di_format, bb_level);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// `di_format`.
const LOCAL: u8 = 1;
const EXTENTS: u8 = 2;
const BTREE: u8 = 3;

#[test]
fn each_form_of_each_kind_reads_as_the_kernel_reads_it() {
    let forms = check(1024, 20_000, &["-i", "size=512", "-n", "size=4096"]);
    for form in [
        (FileKind::Directory, LOCAL, 0),
        (FileKind::Directory, EXTENTS, 0),
        (FileKind::Directory, BTREE, 1),
        (FileKind::Regular, EXTENTS, 0),
        (FileKind::Regular, BTREE, 1),
        (FileKind::Regular, BTREE, 2),
        (FileKind::Symlink, LOCAL, 0),
        (FileKind::Symlink, EXTENTS, 0),
    ] {
        assert!(forms.contains(&form), "{form:?} is not in {forms:?}");
    }
}

#[test]
fn a_file_system_that_was_never_mounted_has_a_clean_log() {
    for arguments in [
        &[][..],
        &["-l", "su=65536"],
        &["-s", "size=4096"],
        &["-l", "version=2,su=4096"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = mkfs(dir.path(), arguments);
        assert_eq!(open(&path).info().notes, [""; 0]);
        drop(Mount::new(&path, "rw"));
        assert_same_as_kernel(&path);
        assert_eq!(open(&path).info().notes, [""; 0]);
    }
}

#[test]
fn each_block_size_reads_as_the_kernel_reads_it() {
    check(2048, 3000, &["-i", "size=1024"]);
    check(4096, 20_000, &[]);
    check(16384, 3000, &["-i", "size=2048"]);
    check(65536, 3000, &[]);
}

#[test]
fn directory_blocks_of_many_blocks_read_as_the_kernel_reads_them() {
    check(1024, 20_000, &["-n", "size=16384"]);
    check(1024, 20_000, &["-n", "size=65536", "-d", "agcount=7"]);
    check(4096, 9000, &["-n", "size=65536", "-i", "size=2048"]);
}

#[test]
fn each_feature_reads_as_the_kernel_reads_it() {
    check(
        4096,
        3000,
        &["-m", "reflink=1,rmapbt=1,bigtime=0,inobtcount=0"],
    );
    check(
        4096,
        3000,
        &[
            "-m",
            "reflink=0,finobt=0,bigtime=1,inobtcount=0",
            "-i",
            "sparse=0",
        ],
    );
    check(
        1024,
        3000,
        &["-i", "nrext64=1,sparse=1", "-m", "bigtime=1,rmapbt=1"],
    );
    check(
        4096,
        3000,
        &["-i", "nrext64=0", "-s", "size=4096", "-d", "agcount=9"],
    );
}

#[test]
fn another_uuid_of_the_metadata_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), &[]);
    {
        let mount = Mount::new(&path, "rw");
        directories(mount.path(), 1000);
        symlink("t".repeat(1000), mount.path().join("link")).unwrap();
    }
    let new = "01234567-89ab-cdef-0123-456789abcdef";
    run("xfs_admin", PACKAGE, &["-U", new, path.to_str().unwrap()]);
    assert_same_as_kernel(&path);
    let info = open(&path).info().clone();
    assert_eq!(info.uuid[..4], [0x01, 0x23, 0x45, 0x67]);
    assert!(info.version.contains("metadata UUID"), "{}", info.version);
}

/// A copy of an image that is mounted.
fn copy(path: &Path) -> PathBuf {
    let to = path.with_extension("copy");
    let paths = [path.to_str().unwrap(), to.to_str().unwrap()];
    run(
        "cp",
        "coreutils",
        &[&["--sparse=always"], &paths[..]].concat(),
    );
    to
}

#[test]
fn a_log_that_was_not_replayed_is_a_note_and_the_disk_reads_as_the_kernel_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), &[]);
    let mount = Mount::new(&path, "rw");
    let root = mount.path().to_str().unwrap();
    fill(mount.path(), amount(4096));
    // A frozen file system is whole on disk, but its log is not marked as unmounted.
    run("fsfreeze", "util-linux", &["-f", root]);
    let frozen = copy(&path);
    run("fsfreeze", "util-linux", &["-u", root]);
    drop(mount);
    let notes = open(&frozen).info().notes.clone();
    assert!(
        notes[0].contains("not replayed") && notes[0].contains("records;"),
        "{notes:?}"
    );
    let want = kernel_tree(Mount::new(&frozen, "ro,norecovery").path());
    assert_tree(&frozen, &want);
    assert_eq!(open(&path).info().notes, [""; 0]);
}

#[test]
fn of_a_disk_in_the_middle_of_work_nothing_is_read_that_the_kernel_reads_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), &[]);
    let mount = Mount::new(&path, "rw");
    directories(mount.path(), 3000);
    run("sync", "coreutils", &["-f", mount.path().to_str().unwrap()]);
    fs::rename(mount.path().join("dir300"), mount.path().join("renamed")).unwrap();
    for number in 0..2000 {
        fs::write(
            mount.path().join(format!("renamed/{number}")),
            vec![b'x'; number],
        )
        .unwrap();
    }
    run("sync", "coreutils", &["-f", mount.path().to_str().unwrap()]);
    let torn = copy(&path);
    drop(mount);
    let notes = open(&torn).info().notes.clone();
    assert!(notes[0].contains("not replayed"), "{notes:?}");
    assert!(!notes[0].contains("unknown"), "{notes:?}");
    let (ours, _) = our_tree(open(&torn).as_ref());
    let mount = Mount::new(&torn, "ro,norecovery");
    let mut compared = 0;
    for (name, seen) in &ours {
        let name = str::from_utf8(name).unwrap();
        // What the kernel refuses to read cannot be compared.
        let Ok(meta) = fs::symlink_metadata(mount.path().join(name)) else {
            continue;
        };
        compared += 1;
        assert_eq!(seen.size, meta.len(), "{name}");
        if let (FileKind::Regular, Ok(bytes)) = (seen.kind, fs::read(mount.path().join(name))) {
            assert_eq!(seen.hash, Some(blake3::hash(&bytes)), "{name}");
        }
    }
    assert!(compared > 0, "of {} names", ours.len());
}

/// The places of an image where metadata lie, by the magics at the start of sectors.
fn metadata(view: &dyn ReadAt) -> Vec<u64> {
    let version5: [&[u8]; 5] = [b"XFSB", b"XDB3", b"XDD3", b"BMA3", b"XSLM"];
    let version4: [&[u8]; 3] = [b"XD2B", b"XD2D", b"BMAP"];
    let mut places = Vec::new();
    let mut buf = vec![0; 1 << 20];
    for start in (0..view.len()).step_by(buf.len()) {
        let length = (view.len() - start).min(buf.len() as u64) as usize;
        let gaps = view
            .read_at(ByteOffset::new(start), &mut buf[..length])
            .unwrap();
        assert!(gaps.is_empty());
        for (index, sector) in buf[..length].chunks(512).enumerate() {
            let mut all = version5.iter().chain(&version4);
            let leaf = matches!(sector[8..12], [0x3D | 0xD2, 0xF1 | 0xFF, 0, 0]);
            let inode = matches!(sector[..6], [b'I', b'N', _, _, 1..=3, 0..=3]);
            if leaf || inode || all.any(|magic| sector.starts_with(magic)) {
                places.push(start + index as u64 * 512);
            }
        }
    }
    places
}

/// `view` with some bytes of its metadata flipped.
fn damaged(view: &Arc<dyn ReadAt>, places: &[u64], seed: u64) -> Arc<dyn ReadAt> {
    let mut random = Random::new(seed);
    let mut overlay = Overlay::new(Arc::clone(view));
    for _ in 0..random.below(60) + 1 {
        let place = places[random.below(places.len() as u64) as usize];
        // Most of what matters stands in the first bytes.
        let within = [16, 256, 512][random.below(3) as usize];
        let at = ByteOffset::new(place + random.below(within));
        if let Some(mut byte) = overlay.read_whole(at, 1) {
            byte[0] ^= 1 << random.below(8);
            overlay.lay(at, &byte);
        }
    }
    Arc::new(overlay)
}

/// All inodes that a walk through `fs` finds, with the hash of what can be read without a gap.
fn inodes(fs: &dyn Filesystem) -> HashMap<InodeNumber, (u64, u16, Option<blake3::Hash>)> {
    let mut found = HashMap::new();
    let mut names = 0_u32;
    for entry in walk(fs) {
        names += 1;
        assert!(names < 100_000, "a walk without end");
        let Ok(entry) = entry else { continue };
        let inode = entry.inode;
        found.entry(inode.number).or_insert_with(|| {
            let file = File::open(fs, &inode);
            let length = usize::try_from(file.len()).unwrap_or(usize::MAX);
            let contents = (inode.kind != FileKind::Directory && length < 1 << 22)
                .then(|| file.read_whole(ByteOffset::ZERO, length))
                .flatten();
            (
                inode.size,
                inode.mode,
                contents.map(|bytes| blake3::hash(&bytes)),
            )
        });
    }
    found
}

/// Reads `path` with damage of many kinds; gives how many inodes were read in all. `checked`: of
/// metadata with checksums nothing false may come.
fn damage(path: &Path, seeds: u64, checked: bool) -> usize {
    let view = common::image(path);
    let places = metadata(&view);
    let want = inodes(open(path).as_ref());
    let mut read = 0;
    for seed in 0..seeds {
        let Ok(Some(fs)) = filesystem::open(damaged(&view, &places, seed), "volume") else {
            continue;
        };
        let found = inodes(fs.as_ref());
        read += found.len();
        for (number, (size, mode, hash)) in found.iter().filter(|_| checked) {
            // A flipped number in a directory can lead to an inode that has no name, such as
            // the bitmap of the realtime device.
            let Some((want_size, want_mode, want_hash)) = want.get(number).copied() else {
                continue;
            };
            assert_eq!(
                (*size, *mode),
                (want_size, want_mode),
                "seed {seed}, inode {number}"
            );
            if hash.is_some() {
                assert_eq!(*hash, want_hash, "seed {seed}, inode {number}");
            }
        }
    }
    assert!(want.len() > 50);
    read / want.len()
}

#[test]
fn damaged_metadata_lose_but_never_lie() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), &["-b", "size=1024", "-n", "size=4096"]);
    {
        let mount = Mount::new(&path, "rw");
        directories(mount.path(), 500);
        let small = Amount {
            names: 300,
            fragments: 1500,
            ..amount(1024)
        };
        fill(mount.path(), small);
    }
    let whole = damage(&path, 300, true);
    assert!(
        whole > 30,
        "of 300 damaged trees only {whole} in sum were read"
    );
}

/// Unpacks the version 4 file systems that `scripts/make-xfs-fixtures.py` made.
fn version4(dir: &Path) -> Vec<(PathBuf, Vec<Line>)> {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/xfs/v4.tar.zst");
    let into = dir.to_str().unwrap();
    let arguments = ["--zstd", "-xf", archive, "-C", into];
    run("tar", "tar zstd", &arguments);
    let mut systems: Vec<(PathBuf, Vec<Line>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tsv"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (
                path.with_extension("img"),
                text.lines().map(Line::parse).collect(),
            )
        })
        .collect();
    systems.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(systems.len(), 4);
    systems
}

/// A line of a manifest: what a kernel showed of one path.
struct Line {
    path: Vec<u8>,
    seen: Seen,
    /// The SHA-256 of the contents, or `huge`.
    digest: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| fields[at].parse::<i64>().unwrap();
        let path = fields[0].trim_start_matches('-').as_bytes().chunks(2);
        let byte = |hex| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap();
        Self {
            path: path.map(byte).collect(),
            seen: Seen {
                kind: match fields[1] {
                    "directory" => FileKind::Directory,
                    "regular" => FileKind::Regular,
                    "symlink" => FileKind::Symlink,
                    _ => FileKind::Special,
                },
                mode: number(2) as u16,
                uid: number(3) as u32,
                gid: number(4) as u32,
                links: number(5) as u32,
                size: number(6) as u64,
                modified: (number(7), number(8) as u32),
                hash: None,
            },
            digest: fields[9].to_owned(),
        }
    }
}

/// The SHA-256 of a file as manifests write it.
fn sha256(file: &File) -> String {
    let length = usize::try_from(file.len()).unwrap();
    let bytes = file.read_whole(ByteOffset::ZERO, length).unwrap();
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn version_4_reads_as_the_kernel_that_made_it_read_it() {
    let dir = tempfile::tempdir().unwrap();
    for (path, lines) in version4(dir.path()) {
        let fs = open(&path);
        assert_eq!(fs.info().notes, [""; 0]);
        assert!(fs.info().version.starts_with("version 4"));
        let mut found = BTreeMap::new();
        for entry in walk(fs.as_ref()) {
            let entry = entry.unwrap();
            found.insert(common::key(&entry.path), entry.inode);
        }
        assert_eq!(found.len(), lines.len(), "{}", path.display());
        for line in lines {
            let text = String::from_utf8_lossy(&line.path);
            let inode = &found[&line.path];
            let ours = Seen {
                kind: inode.kind,
                size: inode.size,
                hash: None,
                uid: inode.uid,
                gid: inode.gid,
                mode: inode.mode,
                modified: (inode.modified.seconds, inode.modified.nanoseconds),
                links: inode.links,
            };
            assert_eq!(ours, line.seen, "{text}");
            let file = File::open(fs.as_ref(), inode);
            assert_eq!(file.losses(), [], "{text}");
            match line.digest.as_str() {
                "-" => {}
                "huge" => {
                    let end = ByteOffset::new(file.len() - 8);
                    assert_eq!(file.read_whole(end, 8).unwrap(), b"far away");
                }
                digest => assert_eq!(sha256(&file), digest, "{text}"),
            }
        }
    }
}

#[test]
fn damaged_metadata_without_checksums_end_in_losses() {
    let dir = tempfile::tempdir().unwrap();
    for (path, _) in version4(dir.path()) {
        assert!(damage(&path, 40, false) > 0);
    }
}

#[test]
fn entries_behind_damage_are_found_by_the_leaves_of_a_large_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = mkfs(dir.path(), &["-b", "size=1024", "-n", "size=4096"]);
    directories(Mount::new(&path, "rw").path(), 3000);
    let (whole, _) = our_tree(open(&path).as_ref());
    let view = common::image(&path);
    let mut overlay = Overlay::new(Arc::clone(&view));
    let mut blocks = 0;
    for place in metadata(&view) {
        if view.read_whole(ByteOffset::new(place), 4).unwrap() == b"XDD3" {
            // The length of the first name: what follows can no longer be told from it.
            overlay.lay(ByteOffset::new(place + 64 + 8), &[0]);
            blocks += 1;
        }
    }
    assert!(blocks > 30);
    let fs = filesystem::open(Arc::new(overlay), "volume")
        .unwrap()
        .unwrap();
    let (found, losses) = our_tree(fs.as_ref());
    assert!(losses.len() >= blocks);
    for (name, seen) in &found {
        assert_eq!(
            whole.get(name),
            Some(seen),
            "{}",
            String::from_utf8_lossy(name)
        );
    }
    // Some blocks were freed when names were deleted, and others begin with free space.
    assert!(
        found.len() + blocks >= whole.len(),
        "{} of {}",
        found.len(),
        whole.len()
    );
    assert!(found.len() < whole.len());
}
