//! How fast parity arithmetic and degraded reads are, next to a plain copy.
//!
//!     cargo bench -p benches --bench parity
//!
//! GB/s count the bytes of all sources read, on one core; a copy counts what it copies. The
//! reads go through a `GroupReader` over members in memory, so they show what the arithmetic
//! and the copying cost when no disk is waited for.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::raid::{
    Geometry, GroupReader, Level, ParityDelay, Raid5Layout, Raid6Layout, parity,
};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt};

/// Bytes of one piece: what a repair works on at a time.
const PIECE: usize = 128 << 10;

/// Data disks of a row.
const DISKS: usize = 8;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_millis(400);

/// Runs `work`, which goes through `bytes` bytes, and returns GB/s: the best of the spans that
/// the time is cut into, so that another program on the machine counts less.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut best = 0.0_f64;
    while begun.elapsed() < SPAN {
        let start = Instant::now();
        let mut runs = 0_u32;
        while start.elapsed() < SPAN / 10 {
            work();
            runs += 1;
        }
        let total = f64::from(runs) * bytes as f64;
        best = best.max(total / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}

fn random(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8)
        .collect()
}

fn arithmetic() {
    let data: Vec<Vec<u8>> = (0..DISKS).map(|seed| random(PIECE, seed)).collect();
    let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let coefficients: Vec<u8> = (0..).map(parity::coefficient).take(DISKS).collect();
    let pairs: Vec<(u8, &[u8])> = coefficients
        .iter()
        .copied()
        .zip(slices.iter().copied())
        .collect();
    let (mut p, mut q) = (vec![0; PIECE], vec![0; PIECE]);
    let all = PIECE * DISKS;

    let copy = rate(all, || {
        for source in &slices {
            p.copy_from_slice(black_box(source));
        }
        black_box(&mut p);
    });
    println!("copy                      {copy:6.1} GB/s");
    let xor = rate(all, || {
        parity::xor_all(black_box(&mut p), black_box(&slices))
    });
    println!("XOR, {DISKS} sources            {xor:6.1} GB/s");
    let both = rate(all, || {
        parity::compute(black_box(&mut p), &mut q, black_box(&pairs))
    });
    println!("P + Q, {DISKS} sources          {both:6.1} GB/s");
    let one = rate(all, || {
        q.fill(0);
        for (coefficient, source) in black_box(&pairs).iter().skip(1) {
            parity::subtract_q(&mut q, source, *coefficient);
        }
        parity::recover_by_q(&mut q, coefficients[0]);
    });
    println!("one erasure, by Q         {one:6.1} GB/s");
    let two = rate(all, || {
        p.copy_from_slice(&data[0]);
        q.copy_from_slice(&data[1]);
        for (coefficient, source) in black_box(&pairs).iter().skip(2) {
            parity::subtract(&mut p, &mut q, source, *coefficient);
        }
        parity::recover_two(&mut p, &mut q, coefficients[0], coefficients[1]);
    });
    println!("two erasures, by P and Q  {two:6.1} GB/s");
}

fn reader(level: &Level, members: usize, missing: usize) -> GroupReader {
    let member_bytes = 16 << 20;
    let geometry = Geometry::filling(level.clone(), member_bytes)
        .unwrap_or_else(|error| unreachable!("a geometry of this bench: {error}"));
    let members = (0..members).map(|i| {
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(random(16 << 20, i)));
        (i >= missing).then_some(disk)
    });
    GroupReader::new(geometry, members.collect())
        .unwrap_or_else(|error| unreachable!("a group of this bench: {error}"))
}

/// GB/s of reading the whole group from its start to its end, 1 MiB at a time.
fn sequential(group: &GroupReader) -> f64 {
    let mut buf = vec![0; 1 << 20];
    rate(usize::try_from(group.len()).unwrap_or(0), || {
        let mut at = 0;
        while at + buf.len() as u64 <= group.len() {
            let gaps = group.read_at(ByteOffset::new(at), &mut buf);
            black_box(gaps.is_ok_and(|gaps| gaps.is_empty()));
            at += buf.len() as u64;
        }
    })
}

fn reads() {
    for chunk_bytes in [4 << 10, 64 << 10, 512 << 10] {
        let five = Level::Raid5 {
            layout: Raid5Layout::LeftSymmetric,
            chunk_bytes,
            members: 5,
            delay: ParityDelay::NONE,
        };
        let six = Level::Raid6 {
            layout: Raid6Layout::LeftSymmetric,
            chunk_bytes,
            members: 6,
            delay: ParityDelay::NONE,
        };
        for (name, level, members, most) in [("RAID-5", five, 5, 1), ("RAID-6", six, 6, 2)] {
            let healthy = sequential(&reader(&level, members, 0));
            print!(
                "{name} of {members}, chunk {:3} KiB: healthy {healthy:5.1} GB/s",
                chunk_bytes >> 10
            );
            for missing in 1..=most {
                let degraded = sequential(&reader(&level, members, missing));
                let share = degraded / healthy;
                print!(", {missing} missing {degraded:5.1} GB/s ({share:.2} of healthy)");
            }
            println!();
        }
    }
}

/// RAID-DP with the numbers of WAFL: 4 KiB blocks of 256 rows.
fn diagonal_reads() {
    let level = Level::RaidDp {
        chunk_bytes: 4096,
        members: 10,
        prime: 257,
        sub_block_bytes: 16,
    };
    let healthy = sequential(&reader(&level, 10, 0));
    print!("RAID-DP of 10, chunk   4 KiB: healthy {healthy:5.1} GB/s");
    for missing in 1..=2 {
        let degraded = sequential(&reader(&level, 10, missing));
        let share = degraded / healthy;
        print!(", {missing} missing {degraded:5.1} GB/s ({share:.2} of healthy)");
    }
    println!();
}

fn main() {
    arithmetic();
    reads();
    diagonal_reads();
}
