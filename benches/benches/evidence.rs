//! How fast evidence is read and scanned, as ratios to a mapped file and to BLAKE3 alone; and how fast disks
//! in containers are read, as ratios to a raw image of the same and beside the tools that wrote them.
//!
//!     cargo bench -p benches --bench evidence
//!     cargo bench -p benches --bench evidence -- --containers
//!
//! Warm files, one thread. Each figure is the best of several runs. The containers are written by qemu-img
//! and ewfacquire, which must be there (`scripts/setup.sh`).
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use evidence::{ByteOffset, ReadAt, image};
use scan::{Detectors, Found, SECTOR_ALIGN, ScanOptions, Signature, scan_unit, units};

/// The length of the file in bytes.
const BYTES: usize = 512 << 20;
/// What is read at once.
const PIECE: usize = 1 << 20;
/// The best of so many runs counts.
const RUNS: usize = 5;

/// The length of the disk that is put into containers.
const CONTAINED: usize = 256 << 20;
/// The containers: what they are, the file, and how it is written.
const CONTAINERS: [[&str; 3]; 9] = [
    [
        "E01, deflate",
        "d.E01",
        "ewfacquire -q -u -c fast -S 1000000000 -t d DISK",
    ],
    [
        "E01, stored",
        "s.E01",
        "ewfacquire -q -u -c none -S 1000000000 -t s DISK",
    ],
    [
        "qcow2",
        "p.qcow2",
        "qemu-img convert -f raw -O qcow2 DISK p.qcow2",
    ],
    [
        "qcow2, deflate",
        "c.qcow2",
        "qemu-img convert -c -f raw -O qcow2 DISK c.qcow2",
    ],
    [
        "qcow2, zstd",
        "z.qcow2",
        "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd DISK z.qcow2",
    ],
    [
        "VHD, dynamic",
        "d.vhd",
        "qemu-img convert -f raw -O vpc -o force_size=on DISK d.vhd",
    ],
    [
        "VHDX",
        "d.vhdx",
        "qemu-img convert -f raw -O vhdx DISK d.vhdx",
    ],
    [
        "VMDK, stream",
        "d.vmdk",
        "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized DISK d.vmdk",
    ],
    ["VDI", "d.vdi", "qemu-img convert -f raw -O vdi DISK d.vdi"],
];

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--containers") {
        containers()
    } else {
        raw()
    }
}

fn raw() -> Result<(), Box<dyn Error>> {
    let mut file = tempfile::NamedTempFile::new()?;
    let piece: Vec<u8> = (0..PIECE as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    for _ in 0..BYTES / PIECE {
        file.write_all(&piece)?;
    }
    file.flush()?;
    let image = image::open(file.path())?;
    let map = map(&File::open(file.path())?)?;
    let mut buf = vec![0; PIECE];

    let mapped = rate(BYTES, || {
        for piece in map.chunks(PIECE) {
            black_box(piece.iter().fold(0_u8, |sum, byte| sum ^ byte));
        }
    });
    let read = rate(BYTES, || {
        for start in (0..BYTES).step_by(PIECE) {
            let gaps = image.read_at(ByteOffset::new(start as u64), &mut buf);
            assert!(gaps.is_ok_and(|gaps| gaps.is_empty()));
            black_box(buf.iter().fold(0_u8, |sum, byte| sum ^ byte));
        }
    });
    let blake3 = rate(BYTES, || {
        black_box(blake3::hash(&map));
    });
    let labels = Signature {
        magics: &[b"LABELONE"],
        at: 0,
        align: SECTOR_ALIGN,
        reach: 32,
        read: |_| Some(Found::new("lvm-label")),
    };
    let detectors = Detectors::new(vec![Box::new(labels)])?;
    let scanned = rate(BYTES, || {
        for unit in units(&image) {
            let options = ScanOptions::default();
            black_box(scan_unit(&image, unit, &detectors, &options, None, &|_| ()).is_ok());
        }
    });
    println!("mapped file, every byte touched   {mapped:6.2} GB/s");
    println!(
        "read as evidence, the same        {read:6.2} GB/s   {:.2} of mapped",
        read / mapped
    );
    println!("BLAKE3 alone, mapped              {blake3:6.2} GB/s");
    println!(
        "scan: hash, classes, signatures   {scanned:6.2} GB/s   {:.2} of BLAKE3",
        scanned / blake3
    );
    Ok(())
}

/// Reads a disk out of each container, and by the tools that know it.
fn containers() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("disk");
    write_disk(&disk)?;
    let plain = read_all(&disk)?;
    println!("raw image                {plain:6.2} GB/s");
    for [name, file, write] in CONTAINERS {
        run(directory.path(), &write.replace("DISK", "disk"))?;
        let path = directory.path().join(file);
        let read = read_all(&path)?;
        let tool = by_tool(directory.path(), file)?;
        let size = path.metadata()?.len() as f64 / CONTAINED as f64;
        println!(
            "{name:<16} {size:5.2} of the size {read:6.2} GB/s   {:5.2} of raw   {:5.2} of its tool",
            read / plain,
            read / tool
        );
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// A disk as a mail host's: a half text that packs, a quarter what does not, a quarter zeros.
fn write_disk(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    const WORDS: [&str; 8] = [
        "the ",
        "tide ",
        "Received: ",
        "from ",
        "boats ",
        "=20\r\n",
        "of ",
        "harbour ",
    ];
    for piece in 0..CONTAINED / PIECE {
        let mut bytes = Vec::with_capacity(PIECE + 16);
        while bytes.len() < PIECE {
            match piece % 4 {
                0 | 1 => {
                    let word = WORDS.get(next() as usize % WORDS.len());
                    bytes.extend_from_slice(word.map_or(&[][..], |word| word.as_bytes()));
                }
                2 => bytes.extend_from_slice(&next().to_le_bytes()),
                _ => bytes.resize(PIECE, 0),
            }
        }
        bytes.truncate(PIECE);
        file.write_all(&bytes)?;
    }
    file.flush()?;
    Ok(())
}

/// How fast all of an image is read as evidence.
fn read_all(path: &Path) -> Result<f64, Box<dyn Error>> {
    let image = image::open(path)?;
    assert_eq!(image.len(), CONTAINED as u64);
    let mut buf = vec![0; PIECE];
    Ok(rate(CONTAINED, || {
        for start in (0..CONTAINED).step_by(PIECE) {
            let gaps = image.read_at(ByteOffset::new(start as u64), &mut buf);
            assert!(gaps.is_ok_and(|gaps| gaps.is_empty()));
            black_box(buf.iter().fold(0_u8, |sum, byte| sum ^ byte));
        }
    }))
}

/// How fast the tool of a container copies all of it to a raw image in memory's cache.
fn by_tool(directory: &Path, file: &str) -> Result<f64, Box<dyn Error>> {
    let line = if file.ends_with("E01") {
        "ewfexport -q -u -f raw -t out FILE"
    } else {
        "qemu-img convert -W -t writeback -O raw FILE out"
    };
    let line = line.replace("FILE", file);
    let mut failure = None;
    let rate = rate(CONTAINED, || {
        for out in ["out", "out.raw", "out.info"] {
            let _ = std::fs::remove_file(directory.join(out));
        }
        failure = failure.take().or(run(directory, &line).err());
    });
    failure.map_or(Ok(rate), Err)
}

/// Runs a tool in `directory`.
fn run(directory: &Path, line: &str) -> Result<(), Box<dyn Error>> {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().unwrap_or_default())
        .args(words)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{line}: {error}; scripts/setup.sh installs it"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{line}: {status}").into())
    }
}

/// The best rate at which `work` gets through `bytes`.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            bytes as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}

#[expect(
    unsafe_code,
    reason = "the bench measures against a mapping of its own temporary file, which nobody shortens"
)]
fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: see the reason above.
    unsafe { memmap2::Mmap::map(file) }
}
