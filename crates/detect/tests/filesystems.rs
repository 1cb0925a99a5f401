//! Metadata of file systems, beside what their own tools say of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot make its disk has failed"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use scan::{Class, Family, Find};

use crate::common::{called, scan_of, top};

fn fixture(name: &str) -> Vec<u8> {
    let path = top().join(format!("fixtures/fuzz/{name}.img.zst"));
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

/// What a tool prints; `scripts/setup.sh` installs it.
fn say(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = Command::new(program)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(arguments)
        .arg(image)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The blocks of each directory by its inode, and those of extent trees, by debugfs.
fn ext_truth(image: &Path) -> (BTreeMap<u64, BTreeSet<u64>>, BTreeSet<u64>) {
    let dump = say("debugfs", &["-R", "stats"], image);
    let number = |label: &str| -> u64 {
        let line = dump.lines().find(|line| line.starts_with(label)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (inodes, block) = (number("Inode count:"), number("Block size:"));
    let commands = image.with_extension("commands");
    let asked: String = (2..=inodes)
        .map(|inode| format!("stat <{inode}>\nblocks <{inode}>\n"))
        .collect();
    fs::write(&commands, asked).unwrap();
    let said = say("debugfs", &["-f", commands.to_str().unwrap()], image);
    let answers: Vec<&str> = said.split("debugfs: ").skip(1).collect();
    let (mut directories, mut extents) = (BTreeMap::new(), BTreeSet::new());
    for (inode, answer) in (2..=inodes).zip(answers.chunks(2)) {
        let [stat, blocks] = answer else {
            panic!("{answer:?}")
        };
        if !stat.contains("Links: ") || stat.contains("Links: 0") {
            continue;
        }
        for tree in stat.split("(ETB").skip(1) {
            let at = tree.split(':').nth(1).unwrap();
            let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
            extents.insert(digits.parse::<u64>().unwrap() * block);
        }
        if stat.contains("Type: directory") {
            let blocks = blocks.lines().skip(1).flat_map(str::split_whitespace);
            let blocks = blocks.filter_map(|text| text.parse::<u64>().ok());
            directories.insert(inode, blocks.map(|number| number * block).collect());
        }
    }
    (directories, extents)
}

#[test]
fn directories_and_extent_trees_of_ext_are_where_debugfs_has_them() {
    for name in ["ext4", "ext4_2014", "ext3"] {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::write(&image, fixture(name)).unwrap();
        let (directories, extents) = ext_truth(&image);
        let result = scan_of(fs::read(&image).unwrap());
        let found: BTreeMap<u64, &Find> = called(&result.finds, "ext-directory")
            .into_iter()
            .map(|find| (find.offset.get(), find))
            .collect();
        assert!(directories.len() > 5, "{name}");
        let mut firsts = 0;
        for (inode, blocks) in &directories {
            let mut seeds = BTreeSet::new();
            for at in blocks {
                let Some(find) = found.get(at) else {
                    // A block without an entry in use, as lost+found has, says nothing.
                    assert!(is_empty_directory(
                        &fs::read(&image).unwrap()[*at as usize..]
                    ));
                    continue;
                };
                // The root of a hash tree keeps its checksum elsewhere.
                seeds.extend(&find.part_of);
                if let Some(number) = find.number {
                    assert_eq!(number, *inode, "{name}");
                    firsts += 1;
                }
            }
            assert!(
                seeds.len() <= 1,
                "{name}: the blocks of {inode} share a seed: {seeds:?} {blocks:?}"
            );
            assert_eq!(!seeds.is_empty(), name == "ext4");
        }
        assert!(firsts + 2 >= directories.len(), "{name}");
        let trees = called(&result.finds, "ext-extents");
        let trees: BTreeSet<u64> = trees.iter().map(|find| find.offset.get()).collect();
        assert!(extents.is_subset(&trees), "{name}: {extents:?} {trees:?}");
        assert_eq!(extents.is_empty(), name == "ext3");
    }
}

fn is_empty_directory(block: &[u8]) -> bool {
    block[..4] == [0; 4]
}

#[test]
fn blocks_of_xfs_lie_where_they_say_and_their_checksums_hold() {
    let disk = fixture("xfs_v5");
    let result = scan_of(disk.clone());
    let mut kinds = BTreeSet::new();
    for find in &result.finds {
        if ["xfs-directory", "xfs-tree", "xfs-btree", "xfs-remote"].contains(&find.what.as_ref()) {
            // One group: addresses on the disk and in the file system are the same. The log
            // holds older copies, which are not where they say.
            if find.number == Some(find.offset.get()) {
                assert!(find.bytes.is_some(), "{find:?}");
                kinds.insert(find.what.to_string());
            }
        }
    }
    assert!(
        kinds.contains("xfs-directory") && kinds.contains("xfs-btree"),
        "{kinds:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::write(&image, disk).unwrap();
    let used = say(
        "xfs_db",
        &["-r", "-c", "agi 0", "-c", "print count freecount"],
        &image,
    );
    let counts: Vec<usize> = used
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    let [count, ..] = counts[..] else {
        panic!("{used}")
    };
    // Inodes of 512 bytes: each is seen, the free ones of a chunk too.
    let inodes = called(&result.finds, "xfs-inode");
    let numbers: BTreeSet<u64> = inodes.iter().filter_map(|find| find.number).collect();
    assert!(numbers.len() >= count, "{} of {count}", numbers.len());
}

#[test]
fn blocks_of_old_xfs_are_recognised() {
    let result = scan_of(fixture("xfs_v4"));
    for what in [
        "xfs-directory",
        "xfs-btree",
        "xfs-inode",
        "xfs-group",
        "xfs-superblock",
    ] {
        assert!(!called(&result.finds, what).is_empty(), "{what}");
    }
    let metadata = result.runs.iter();
    let metadata = metadata.filter(|run| run.class == Class::Metadata(Family::Xfs));
    assert!(metadata.map(|run| run.bytes).sum::<u64>() >= 64 * 256);
}

#[test]
fn every_node_of_btrfs_that_its_tool_lists_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::write(&image, fixture("btrfs")).unwrap();
    let dump = say("btrfs", &["inspect-internal", "dump-tree"], &image);
    let mut wanted = BTreeSet::new();
    for line in dump.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("leaf" | "node")) {
            wanted.extend(words.next().and_then(|word| word.parse::<u64>().ok()));
        }
    }
    let empty = dump
        .lines()
        .filter(|line| line.contains(" items 0 "))
        .count();
    let result = scan_of(fs::read(&image).unwrap());
    let nodes = called(&result.finds, "btrfs-node");
    let found: BTreeSet<u64> = nodes.iter().filter_map(|find| find.number).collect();
    assert!(wanted.len() > 5);
    assert!(
        wanted.difference(&found).count() <= empty,
        "{wanted:?}\n{found:?}"
    );
    let checked = nodes.iter().filter(|find| find.bytes.is_some()).count();
    assert!(
        checked * 10 >= nodes.len() * 9,
        "{checked} of {}",
        nodes.len()
    );
}

#[test]
fn noise_and_programs_hold_no_metadata() {
    let mut state = 1_u64;
    let noise = (0..16 << 20).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    let result = scan_of(noise.collect());
    let names: Vec<&str> = result.finds.iter().map(|find| find.what.as_ref()).collect();
    assert!(names.is_empty(), "{names:?}");
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = program[..program.len().min(16 << 20)].to_vec();
    let names: Vec<String> = scan_of(program)
        .finds
        .iter()
        .map(|find| find.what.to_string())
        .collect();
    assert!(names.len() < 3, "{names:?}");
}
