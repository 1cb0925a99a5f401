//! Dirty journals: images copied while they are mounted, replayed here in memory, and compared
//! with what the kernel makes of a copy that it may write to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that tests share"
)]

#[expect(dead_code, reason = "each test file uses another part of this module")]
mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::fill::{Amount, fill};
use common::{Mount, Random, assert_tree, blank, differences, kernel_tree, open, our_tree, run};
use filesystem::FileKind;

const PACKAGE: &str = "e2fsprogs";

fn mke2fs(dir: &Path, megabytes: u64, arguments: &[&str]) -> PathBuf {
    let path = blank(dir, "image", megabytes << 20);
    let name = path.to_str().unwrap();
    let all = [&["-F", "-q"], arguments, &[name]].concat();
    run("mke2fs", PACKAGE, &all);
    path
}

fn sync(path: &Path) {
    fs::File::open(path).unwrap().sync_all().unwrap();
}

/// What the last replay said, and the number of transactions in it.
fn replayed(path: &Path) -> Option<(String, u64)> {
    let fs = open(path);
    let note = fs
        .info()
        .notes
        .iter()
        .find(|note| note.contains("replayed in memory"))?
        .clone();
    let number = note.split(": ").nth(1)?.split(' ').next()?.parse().ok()?;
    Some((note, number))
}

/// Compares `crashed` as it is read here with what the kernel makes of a copy.
fn assert_replays_like_the_kernel(crashed: &Path) {
    let copy = crashed.with_extension("kernel");
    fs::copy(crashed, &copy).unwrap();
    let want = {
        let mount = Mount::new(&copy, "rw,noatime");
        kernel_tree(mount.path())
    };
    assert_tree(crashed, &want);
    fs::remove_file(copy).unwrap();
}

/// Works on a mounted file system and copies its image several times in the middle of it.
fn check(arguments: &[&str], options: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(dir.path(), 64, arguments);
    let mut crashes = Vec::new();
    {
        let mount = Mount::new(&path, options);
        let root = mount.path();
        let mut random = Random::new(arguments.len() as u64);
        for round in 0..6 {
            work(root, round, &mut random);
            sync(root);
            let crash = dir.path().join(format!("crash{round}"));
            fs::copy(&path, &crash).unwrap();
            crashes.push(crash);
        }
    }
    let mut transactions = 0;
    for crash in &crashes {
        transactions += replayed(crash).map_or(0, |(_, number)| number);
        assert_replays_like_the_kernel(crash);
    }
    assert!(transactions > 10, "only {transactions} transactions");
}

/// Creates, deletes and overwrites, with a commit after every few steps, so that blocks are used
/// for metadata, freed, and used again for contents: then revocations matter.
fn work(root: &Path, round: usize, random: &mut Random) {
    for step in 0..12 {
        let dir = root.join(format!("dir{step}"));
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        } else {
            fs::create_dir(&dir).unwrap();
            for number in 0..random.below(200) {
                let name = dir.join(format!("{round}-{number}-{}", "n".repeat(40)));
                let length = random.below(3000) as usize;
                fs::write(name, random.bytes(length)).unwrap();
            }
        }
        let file = root.join(format!("file{}", random.below(10)));
        let mut file = fs::File::create(file).unwrap();
        let length = random.below(200_000) as usize;
        file.write_all(&random.bytes(length)).unwrap();
        // In data=journal a block that begins with the magic number is escaped.
        file.write_all(&[0xC0, 0x3B, 0x39, 0x98].repeat(5000))
            .unwrap();
        file.sync_all().unwrap();
    }
}

#[test]
fn a_dirty_ext4_journal_is_replayed_as_the_kernel_does() {
    check(
        &["-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit"],
        "rw",
    );
    check(
        &["-t", "ext4", "-b", "1024", "-O", "metadata_csum,^64bit"],
        "rw",
    );
}

#[test]
fn a_dirty_ext3_journal_is_replayed_as_the_kernel_does() {
    check(&["-t", "ext3", "-b", "1024"], "rw");
    check(&["-t", "ext3", "-b", "4096", "-J", "size=4"], "rw");
}

#[test]
fn the_first_kind_of_journal_checksums_is_replayed_as_the_kernel_does() {
    let then = "^metadata_csum,^metadata_csum_seed,^orphan_file,uninit_bg";
    check(
        &["-t", "ext4", "-b", "1024", "-O", then],
        "rw,journal_checksum",
    );
    check(
        &["-t", "ext4", "-b", "4096", "-O", then],
        "rw,data=writeback,journal_async_commit",
    );
}

#[test]
fn journaled_contents_are_replayed_as_the_kernel_does() {
    check(
        &["-t", "ext4", "-b", "4096", "-O", "metadata_csum"],
        "rw,data=journal",
    );
    check(&["-t", "ext3", "-b", "1024"], "rw,data=journal");
    check(&["-t", "ext4", "-O", "inline_data"], "rw,data=journal");
}

#[test]
fn a_journal_that_went_around_many_times_is_replayed_as_the_kernel_does() {
    check(
        &["-t", "ext4", "-b", "1024", "-J", "size=1"],
        "rw,data=journal",
    );
    check(
        &["-t", "ext3", "-b", "2048", "-J", "size=2"],
        "rw,data=journal",
    );
}

#[test]
fn a_large_tree_after_a_crash_reads_as_the_kernel_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(
        dir.path(),
        128,
        &["-t", "ext4", "-b", "1024", "-O", "inline_data"],
    );
    let crash = dir.path().join("crash");
    {
        let mount = Mount::new(&path, "rw");
        let amount = Amount {
            names: 3000,
            block: 1024,
            target: 1000,
            fragments: 1500,
            far: 20 << 20,
        };
        fill(mount.path(), amount);
        sync(mount.path());
        fs::copy(&path, &crash).unwrap();
    }
    assert!(replayed(&crash).is_some());
    assert_replays_like_the_kernel(&crash);
}

/// Journals as `debugfs` writes them: also version 2 of the checksums, which no kernel writes now.
#[test]
fn journals_written_by_debugfs_are_replayed_as_the_kernel_does() {
    for (version, features) in [
        ("", "^metadata_csum,^64bit"),
        ("", "^metadata_csum,64bit"),
        ("-c -v 2", "metadata_csum,^64bit"),
        ("-c -v 2", "metadata_csum,64bit"),
        ("-c -v 3", "metadata_csum,64bit"),
        ("-c -v 3", "metadata_csum,^64bit"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let features = format!("{features},^metadata_csum_seed,^orphan_file");
        let path = mke2fs(
            dir.path(),
            32,
            &["-t", "ext4", "-b", "1024", "-O", &features],
        );
        {
            let mount = Mount::new(&path, "rw");
            fs::write(mount.path().join("file"), vec![b'o'; 100 << 10]).unwrap();
        }
        let image = path.to_str().unwrap();
        let block = |number: u32| -> String {
            let out = run(
                "debugfs",
                PACKAGE,
                &["-R", &format!("bmap /file {number}"), image],
            );
            out.trim().to_owned()
        };
        let new = dir.path().join("new");
        let mut contents = vec![b'n'; 3 << 10];
        contents[1024..1028].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
        fs::write(&new, contents).unwrap();
        let commands = dir.path().join("commands");
        let (a, b, c, d, e) = (block(5), block(6), block(70), block(8), block(9));
        fs::write(
            &commands,
            format!(
                "jo {version}\njw -b {a},{b},{c} {new}\njw -b {d},{e},{a} {new}\njw -r {d},{c}\njc\n",
                new = new.display()
            ),
        )
        .unwrap();
        run(
            "debugfs",
            PACKAGE,
            &["-w", "-f", commands.to_str().unwrap(), image],
        );
        let (note, transactions) = replayed(&path).unwrap();
        assert_eq!(transactions, 3, "{version} {features}: {note}");
        assert!(note.contains("(2 revoked)"), "{note}");
        assert_replays_like_the_kernel(&path);
    }
}

#[test]
fn a_damaged_block_ends_the_replay_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = mke2fs(
        dir.path(),
        32,
        &["-t", "ext4", "-b", "1024", "-O", "metadata_csum"],
    );
    let crash = dir.path().join("crash");
    {
        let mount = Mount::new(&path, "rw");
        for number in 0..8 {
            fs::write(mount.path().join(format!("{number}")), b"x").unwrap();
            sync(mount.path());
        }
        fs::copy(&path, &crash).unwrap();
    }
    let (_, whole) = replayed(&crash).unwrap();
    let mut bytes = fs::read(&crash).unwrap();
    // The last commit block, found by its header.
    let header = [0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 2];
    let commits: Vec<usize> = (0..bytes.len())
        .step_by(1024)
        .filter(|at| bytes[*at..].starts_with(&header))
        .collect();
    let last = commits[commits.len() - 2];
    bytes[last + 0x10] ^= 1;
    fs::write(&crash, bytes).unwrap();
    let (_, left) = replayed(&crash).unwrap();
    assert_eq!(left, whole - 2);
    let fs = open(&crash);
    let notes = fs.info().notes.join("\n");
    assert!(notes.contains("ends early"), "{notes}");
}

/// Fast commits say what changed, not which blocks. The oracle is the tree of the mounted file
/// system, all of which was synced when its image was copied: the kernel refuses some of its own
/// fast commits, and stamps directories with the time at which it applied them.
#[test]
fn fast_commits_give_the_tree_that_was_synced() {
    for arguments in [
        &["-t", "ext4", "-O", "fast_commit,metadata_csum"][..],
        &["-t", "ext4", "-b", "1024", "-O", "fast_commit,inline_data"],
        &[
            "-t",
            "ext4",
            "-b",
            "4096",
            "-O",
            "fast_commit,^metadata_csum,uninit_bg",
        ],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = mke2fs(dir.path(), 128, arguments);
        let mut applied = 0;
        let mount = Mount::new(&path, "rw,noatime");
        let root = mount.path();
        let mut random = Random::new(7);
        for number in 0..40 {
            fs::write(root.join(format!("old{number}")), random.bytes(9000)).unwrap();
        }
        fs::create_dir(root.join("dir")).unwrap();
        run("sync", "coreutils", &["-f", root.to_str().unwrap()]);
        for round in 0..30 {
            small_work(root, round, &mut random);
            if round % 3 != 2 {
                continue;
            }
            let mut want = kernel_tree(root);
            let crash = dir.path().join("crash");
            fs::copy(&path, &crash).unwrap();
            let fs = open(&crash);
            let notes = fs.info().notes.join("\n");
            applied += usize::from(notes.contains("fast commits were applied"));
            let (mut got, losses) = our_tree(fs.as_ref());
            assert!(losses.is_empty(), "{losses:#?}");
            for tree in [&mut want, &mut got] {
                let all = tree.values_mut();
                for seen in all.filter(|seen| seen.kind == FileKind::Directory) {
                    (seen.modified, seen.size, seen.links) = ((0, 0), 0, 0);
                }
            }
            let all = differences(&want, &got);
            assert!(
                all.is_empty(),
                "{arguments:?} round {round}: {notes}:\n{}",
                all.join("\n")
            );
        }
        assert!(applied > 2, "{arguments:?}: {applied} images");
    }
}

/// Steps that the kernel can say in fast commits.
fn small_work(root: &Path, round: u64, random: &mut Random) {
    use std::os::unix::fs::FileExt;
    let new = root.join(format!("dir/new{round}"));
    let length = random.below(20_000) as usize;
    fs::write(&new, random.bytes(length)).unwrap();
    sync(&new);
    let old = root.join(format!("old{round}"));
    let file = fs::File::options().write(true).open(&old).unwrap();
    match round % 6 {
        0 => file.set_len(5000).unwrap(),
        1 => file.write_all_at(&random.bytes(3000), 50_000).unwrap(),
        2 => file.write_all_at(&random.bytes(3000), 8000).unwrap(),
        3 => fs::hard_link(&old, root.join(format!("dir/link{round}"))).unwrap(),
        4 => fs::rename(&old, root.join(format!("dir/moved{round}"))).unwrap(),
        _ => {
            let short = root.join(format!("dir/short{round}"));
            fs::write(&short, b"short").unwrap();
            sync(&short);
            fs::remove_file(&old).unwrap();
        }
    }
    file.sync_all().unwrap();
    sync(&new);
}

#[test]
fn the_superblock_stands_in_for_a_damaged_inode_of_the_journal() {
    for features in ["metadata_csum", "^extent,^64bit,metadata_csum"] {
        let dir = tempfile::tempdir().unwrap();
        let path = mke2fs(
            dir.path(),
            32,
            &["-t", "ext4", "-b", "1024", "-O", features],
        );
        let crash = dir.path().join("crash");
        {
            let mount = Mount::new(&path, "rw");
            fs::write(mount.path().join("new"), b"x").unwrap();
            sync(mount.path());
            fs::copy(&path, &crash).unwrap();
        }
        let before = replayed(&crash);
        let fs = open(&crash);
        let root = fs.inode(fs.root()).unwrap();
        let journal = root.place.get() as usize + 6 * root.raw.len();
        let mut bytes = fs::read(&crash).unwrap();
        bytes[journal..journal + root.raw.len()].fill(0x55);
        fs::write(&crash, bytes).unwrap();
        assert!(before.is_some());
        assert_eq!(replayed(&crash), before, "{features}");
    }
}
