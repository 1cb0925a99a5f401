//! EWF, as `ewfacquire` writes it and `ewfverify` judges it.

use std::fs;
use std::ops::Range;

use evidence::image::{self, Format};
use evidence::{Error, GapCause, ReadAt};

use crate::common::{Lab, all, assert_holds, open, ranges};

#[test]
fn all_formats_of_libewf_hold_the_disk() {
    let lab = Lab::new();
    let md5 = lab.run("md5sum raw.img");
    for format in [
        "ewf", "smart", "ftk", "encase1", "encase2", "encase3", "encase4", "encase5", "encase6",
        "encase7", "linen5", "linen6", "linen7",
    ] {
        for level in ["none", "fast", "empty-block"] {
            let name = format!("{format}-{level}");
            lab.run(&format!(
                "ewfacquire -q -u -f {format} -c {level} -S 1048576 -t {name} raw.img"
            ));
            let suffix = match format {
                "smart" => "s01",
                "ewf" => "e01",
                _ => "E01",
            };
            let image = open(&lab.path(&format!("{name}.{suffix}")));
            assert_eq!(image.format(), Format::Ewf);
            assert_holds(&image, &lab.disk, &name);
            let stored = image.container().unwrap().md5.clone().unwrap();
            assert!(md5.starts_with(&stored), "{name}: {stored}");
        }
    }
}

#[test]
fn chunks_and_segments_of_any_size_hold_the_disk() {
    let lab = Lab::new();
    let sha1 = lab.run("sha1sum raw.img");
    for (number, options) in [
        "-b 16 -S 1048576 -c best",
        "-b 32768 -S 1048576 -c none",
        "-b 2048 -S 1048576 -c fast",
        "-b 128 -S 2097152 -P 4096 -c none",
        "-b 64 -S 1048576 -B 700416 -c fast",
    ]
    .iter()
    .enumerate()
    {
        lab.run(&format!(
            "ewfacquire -q -u -f encase6 -d sha1 {options} -t e{number} raw.img"
        ));
        let image = open(&lab.path(&format!("e{number}.E01")));
        let wanted = if options.contains("-B") {
            &lab.disk[..700_416]
        } else if options.contains("-P") {
            // Whole sectors of 4096 bytes, and what is left over is not acquired.
            &lab.disk[..lab.disk.len() / 4096 * 4096]
        } else {
            let stored = image.container().unwrap().sha1.clone().unwrap();
            assert!(sha1.starts_with(&stored), "{options}: {stored}");
            &lab.disk[..]
        };
        assert_holds(&image, wanted, options);
    }
}

#[test]
fn a_hundred_segments_are_one_disk() {
    let lab = Lab::new();
    // Text that does not compress is more than a hundred times the smallest segment.
    let mut numbers = crate::common::Numbers(7);
    let big: Vec<u8> = (0..13_600_000)
        .flat_map(|_| numbers.next().to_le_bytes())
        .collect();
    fs::write(lab.path("big.img"), &big).unwrap();
    lab.run("ewfacquire -q -u -c none -S 1048576 -t big big.img");
    assert!(lab.path("big.EAA").exists());
    let (bytes, gaps) = all(&open(&lab.path("big.E01")));
    assert!(gaps.is_empty() && bytes == big);
}

#[test]
fn an_acquisition_from_a_pipe_holds_the_disk() {
    let lab = Lab::new();
    let stream = "ewfacquirestream -q -c fast -t piped";
    let line = format!("{stream} < {}", lab.path("raw.img").display());
    let status = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(lab.path("."))
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert_holds(&open(&lab.path("piped.E01")), &lab.disk, stream);
}

/// The ranges of sectors that `ewfverify` finds fault with, in bytes.
fn faults(text: &str) -> Vec<Range<usize>> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("at sector(s): "))
        .map(|line| {
            let mut words = line.split_whitespace();
            let first: usize = words.next().unwrap().parse().unwrap();
            let last: usize = words.nth(1).unwrap().parse().unwrap();
            first * 512..(last + 1) * 512
        })
        .collect()
}

#[test]
fn a_damaged_chunk_is_a_gap_where_ewfverify_finds_it() {
    let lab = Lab::new();
    for level in ["none", "fast"] {
        lab.run(&format!("ewfacquire -q -u -c {level} -t d-{level} raw.img"));
        let path = lab.path(&format!("d-{level}.E01"));
        let mut file = fs::read(&path).unwrap();
        // One within the disk's first chunks, one within what compresses.
        for at in [300_000, file.len() - 12_000] {
            file[at] ^= 0x10;
        }
        fs::write(&path, &file).unwrap();
        let (text, code) = lab.outcome(&format!("ewfverify -q d-{level}.E01"));
        assert_ne!(code, Some(0), "{text}");
        let wanted = faults(&text);
        assert_eq!(wanted.len(), 2, "{text}");
        let (bytes, gaps) = all(&open(&path));
        assert_eq!(ranges(&gaps), wanted, "{level}");
        assert!(gaps.iter().all(|gap| gap.cause == GapCause::ChunkDamaged));
        for (at, byte) in bytes.iter().enumerate() {
            let lost = wanted.iter().any(|range| range.contains(&at));
            assert_eq!(
                *byte,
                if lost { 0 } else { lab.disk[at] },
                "{level} at {at}"
            );
        }
    }
}

/// Where the sections of a kind begin in a file of one segment: a second walk of the chain.
fn places(file: &[u8], kind: &[u8]) -> Vec<usize> {
    let mut at = 13;
    let mut found = Vec::new();
    loop {
        let name = &file[at..at + 16];
        if name.starts_with(kind) && name[kind.len()] == 0 {
            found.push(at);
        }
        let next = u64::from_le_bytes(file[at + 16..at + 24].try_into().unwrap());
        let next = usize::try_from(next).unwrap();
        if next <= at {
            return found;
        }
        at = next;
    }
}

#[test]
fn the_second_table_stands_in_for_the_first() {
    let lab = Lab::new();
    lab.run("ewfacquire -q -u -c fast -t t raw.img");
    let path = lab.path("t.E01");
    let good = fs::read(&path).unwrap();
    let (first, second) = (places(&good, b"table")[0], places(&good, b"table2")[0]);
    // An entry, and the header with the number of chunks.
    for inside in [76 + 24 + 40, 76] {
        let mut file = good.clone();
        file[first + inside] ^= 1;
        fs::write(&path, &file).unwrap();
        assert_holds(&open(&path), &lab.disk, "one table");
    }
    let mut file = good.clone();
    for table in [first, second] {
        file[table + 76 + 24 + 40] ^= 1;
    }
    fs::write(&path, &file).unwrap();
    let image = open(&path);
    assert_eq!(all(&image).1.bytes(), lab.disk.len());
    assert!(
        image.warnings()[0].contains("tables"),
        "{:?}",
        image.warnings()
    );
    for table in [first, second] {
        file[table + 76] ^= 1;
    }
    fs::write(&path, &file).unwrap();
    assert!(matches!(image::open(&path), Err(Error::Corrupt { .. })));
}

#[test]
fn sectors_that_could_not_be_read_are_gaps() {
    let lab = Lab::new();
    let device = lab.run("losetup --find --show --read-only raw.img");
    let device = device.trim();
    // The system call fails as it does on a bad sector, and ewfacquire writes zeros and its list.
    let (text, code) = lab.outcome(&format!(
        "strace -f -q -o trace -P {device} -e trace=read -e inject=read:error=EIO:when=20..24 \
         ewfacquire -q -u -c fast -g 64 -t bad {device}"
    ));
    lab.run(&format!("losetup --detach {device}"));
    assert_eq!(code, Some(0), "{text}");
    let image = open(&lab.path("bad.E01"));
    let (bytes, gaps) = all(&image);
    assert!(!gaps.is_empty(), "{}", lab.run("ewfinfo bad.E01"));
    assert!(gaps.iter().all(|gap| gap.cause == GapCause::NotAcquired));
    assert_eq!(image.known_gaps(), gaps.bytes() as u64);
    let listed = faults(&lab.run("ewfinfo -e bad.E01"));
    assert_eq!(ranges(&gaps), listed);
    for (at, byte) in bytes.iter().enumerate() {
        if !gaps.touch(at..at + 1) {
            assert_eq!(*byte, lab.disk[at], "at {at}");
        }
    }
}

#[test]
fn a_segment_that_is_missing_is_named_and_so_is_the_first() {
    let lab = Lab::new();
    lab.run("ewfacquire -q -u -c none -S 1048576 -t m raw.img");
    let later = lab.path("m.E02");
    let error = image::open(&later).map(|image| image.len()).unwrap_err();
    assert!(error.to_string().contains("m.E01"), "{error}");
    fs::remove_file(&later).unwrap();
    let error = image::open(&lab.path("m.E01"))
        .map(|image| image.len())
        .unwrap_err();
    assert!(error.to_string().contains("m.E02"), "{error}");
    // Another segment in its place is noticed too.
    fs::copy(lab.path("m.E03"), &later).unwrap();
    let error = image::open(&lab.path("m.E01"))
        .map(|image| image.len())
        .unwrap_err();
    assert!(error.to_string().contains("segment 3"), "{error}");
}

#[test]
fn what_the_examiner_wrote_down_is_kept() {
    let lab = Lab::new();
    for format in ["encase6", "encase2", "smart"] {
        lab.run(&format!(
            "ewfacquire -q -u -f {format} -C case-7 -E shelf-2 -e Ada -D disk\u{1b}[2J -t {format} raw.img"
        ));
        let suffix = if format == "smart" { "s01" } else { "E01" };
        let image = open(&lab.path(&format!("{format}.{suffix}")));
        let facts = &image.container().unwrap().facts;
        assert_eq!(facts["case_number"], "case-7");
        assert_eq!(facts["evidence_number"], "shelf-2");
        assert_eq!(facts["examiner"], "Ada");
        assert!(!facts["description"].contains('\u{1b}'), "{facts:?}");
    }
}
