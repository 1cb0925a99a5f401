//! Partition tables that sfdisk and sgdisk write, against `sfdisk --json` and `partx`.
//!
//! What the kernel makes of them is tested by the arrays in partitions of `lvm_volumes.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aggregate::document::DeviceName;
use aggregate::partition::{self, Table};
use aggregate::{build, discover};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

/// Runs a program with `input` and returns what it prints.
fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; apt-get install fdisk gdisk util-linux gives it")
        });
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// A disk image with a partition table.
struct Image {
    file: tempfile::NamedTempFile,
}

impl Image {
    fn new(mebibytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(mebibytes << 20).unwrap();
        Self { file }
    }

    fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).unwrap()
    }

    /// Number, start and length in bytes, as sfdisk lists them.
    fn by_sfdisk(&self) -> Vec<(u32, u64, u64)> {
        let json = run("sfdisk", &["--json", self.path()], "");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let table = &json["partitiontable"];
        let sector = table["sectorsize"].as_u64().unwrap_or(512);
        let extended = |kind: &str| matches!(kind, "5" | "f" | "85");
        let partitions = table["partitions"].as_array().unwrap().iter();
        partitions
            .filter(|p| !extended(p["type"].as_str().unwrap()))
            .map(|p| {
                let node = p["node"].as_str().unwrap();
                let number = node[self.path().len()..].trim_start_matches('p');
                let bytes = |name: &str| p[name].as_u64().unwrap() * sector;
                (number.parse().unwrap(), bytes("start"), bytes("size"))
            })
            .collect()
    }
}

fn read(bytes: Vec<u8>) -> Table {
    partition::read(&Memory::new(bytes)).unwrap()
}

fn listed(table: &Table) -> Vec<(u32, u64, u64)> {
    let partitions = table.partitions.iter();
    partitions.map(|p| (p.number, p.start, p.bytes)).collect()
}

const MBR: &str = "label: dos\n\
    start=2048, size=4096, type=83\n\
    start=8192, size=4096, type=fd\n\
    start=14336, type=5\n\
    start=16384, size=2048, type=8e\n\
    start=20480, size=2048, type=83\n\
    start=24576, type=82\n";

#[test]
fn an_mbr_with_logical_partitions_is_read_as_sfdisk_reads_it() {
    let image = Image::new(20);
    run("sfdisk", &[image.path()], MBR);
    let table = read(image.bytes());
    assert_eq!(listed(&table), image.by_sfdisk());
    assert_eq!(table.partitions.len(), 5);
    assert_eq!(table.notes, [""; 0]);
}

#[test]
fn a_gpt_is_read_as_sfdisk_reads_it_and_from_its_backup_too() {
    let image = Image::new(20);
    let new = [
        "-n",
        "1:2048:+4M",
        "-n",
        "3:0:+2M",
        "-n",
        "7:0:0",
        "-t",
        "3:fd00",
        "-c",
        "3:right",
    ];
    run("sgdisk", &[&new[..], &[image.path()]].concat(), "");
    let want = image.by_sfdisk();
    let table = read(image.bytes());
    assert_eq!(listed(&table), want);
    assert_eq!(table.partitions[1].label, "right");
    assert_eq!(
        table.partitions[1].kind,
        "a19d880f-05fc-4d3b-a006-743f0f84911e"
    );
    let mut bytes = image.bytes();
    bytes[512..2048].fill(0);
    let table = read(bytes);
    assert_eq!(listed(&table), want);
    assert!(table.notes[0].contains("backup"), "{:?}", table.notes);
}

#[test]
fn a_hybrid_mbr_gives_way_to_the_gpt() {
    let image = Image::new(20);
    let new = ["-n", "1:2048:+4M", "-n", "2:0:+2M", "-h", "1"];
    run("sgdisk", &[&new[..], &[image.path()]].concat(), "");
    let table = read(image.bytes());
    assert_eq!(table.kind, partition::TableKind::Gpt);
    assert_eq!(table.partitions.len(), 2);
}

#[test]
fn file_systems_on_whole_disks_are_no_partition_tables() {
    let image = Image::new(20);
    run("mkfs.ext4", &["-q", image.path()], "");
    assert_eq!(partition::read(&Memory::new(image.bytes())), None);
    // A FAT boot sector: jump, names, code, and the signature that an MBR has.
    let mut sector = vec![0; 1 << 20];
    sector[..62].copy_from_slice(
        b"\xEB\x3C\x90mkfs.fat\0\x02\x04\x04\0\x02\0\x02\0\x50\xF8\x14\0\x20\0\x02\0\0\0\0\0\0\0\0\0\x80\0\x29\xF3\x6A\x9B\x4DNO NAME    FAT16   ",
    );
    sector[62..510].copy_from_slice(&b"\x0E\x1F\xBE\x5B\x7C\xAC\x22\xC0".repeat(56));
    sector[510] = 0x55;
    sector[511] = 0xAA;
    assert_eq!(partition::read(&Memory::new(sector)), None);
}

/// Number, start and length in bytes of the partitions as libblkid, which `mount` uses, sees them.
fn by_partx(image: &Image) -> Vec<(u32, u64, u64)> {
    let columns = ["--noheadings", "--output", "NR,START,SECTORS"];
    let text = run("partx", &[&columns[..], &[image.path()]].concat(), "");
    text.lines()
        .map(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            (numbers[0] as u32, numbers[1] * 512, numbers[2] * 512)
        })
        .collect()
}

#[test]
fn partx_sees_the_same_partitions() {
    for gpt in [false, true] {
        let image = Image::new(20);
        if gpt {
            run(
                "sgdisk",
                &["-n", "2:4096:+3M", "-n", "5:0:0", image.path()],
                "",
            );
        } else {
            run("sfdisk", &[image.path()], MBR);
        }
        let seen: Vec<_> = by_partx(&image)
            .into_iter()
            .filter(|p| gpt || p.0 != 3)
            .collect();
        assert_eq!(listed(&read(image.bytes())), seen, "gpt: {gpt}");
    }
}

#[test]
fn partitions_are_devices_that_can_be_read() {
    let image = Image::new(20);
    run("sfdisk", &[image.path()], MBR);
    let mut bytes = image.bytes();
    bytes[20480 * 512..][..5].copy_from_slice(b"hello");
    let disks = [(
        "d".to_owned(),
        Arc::new(Memory::new(bytes)) as Arc<dyn ReadAt>,
    )];
    let aggregate = discover(&disks, &|_, _| None);
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices
        .get(&DeviceName("partition:d/6".to_owned()))
        .unwrap();
    assert_eq!(device.len(), 2048 * 512);
    let (text, gaps) = device.read_vec(ByteOffset::ZERO, 5).unwrap();
    assert!(gaps.is_empty());
    assert_eq!(text, b"hello");
}
