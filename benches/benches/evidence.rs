//! How fast evidence is read and scanned, as ratios to a mapped file and to BLAKE3 alone.
//!
//!     cargo bench -p benches --bench evidence
//!
//! One warm file of 512 MiB, one thread. Each figure is the best of several runs.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use evidence::{ByteOffset, ReadAt, image};
use scan::{Detectors, Found, SECTOR_ALIGN, ScanOptions, Signature, scan_unit, units};

/// The length of the file in bytes.
const BYTES: usize = 512 << 20;
/// What is read at once.
const PIECE: usize = 1 << 20;
/// The best of so many runs counts.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
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

    let mapped = rate(|| {
        for piece in map.chunks(PIECE) {
            black_box(piece.iter().fold(0_u8, |sum, byte| sum ^ byte));
        }
    });
    let read = rate(|| {
        for start in (0..BYTES).step_by(PIECE) {
            let gaps = image.read_at(ByteOffset::new(start as u64), &mut buf);
            assert!(gaps.is_ok_and(|gaps| gaps.is_empty()));
            black_box(buf.iter().fold(0_u8, |sum, byte| sum ^ byte));
        }
    });
    let blake3 = rate(|| {
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
    let scanned = rate(|| {
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

fn rate(mut work: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
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
