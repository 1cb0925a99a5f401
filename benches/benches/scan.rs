//! How fast a disk is scanned, beside `cat` and BLAKE3 in the same run.
//!
//!     cargo bench -p benches --bench scan
//!
//! A warm image of 1 GiB that is made from a seed: a fifth zeros, half mail, the rest compressed and
//! binary data. Each is run in turn, seven times; figures are medians. Wall time is what a
//! user waits for, CPU time what it costs, also where other programs run. An image of 4 GiB,
//! sparse, shows that memory does not grow. All images are removed.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::carving::restante::Restante;
use benches::random::Random;

/// The length of the image in bytes.
const BYTES: usize = 1 << 30;
/// The length of the pieces that it is made of.
const PIECE: usize = 64 << 10;
/// How often each is run.
const RUNS: usize = 7;
/// Names an image to be hashed, for the run of this program that does only that.
const HASH: &str = "RESTANTE_BENCH_HASH";
/// Threads that each may use.
const THREADS: usize = 2;

/// What one run took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
    peak_kib: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    // A child's peak of memory begins at its parent's: what maps the image is another child.
    if let Some(image) = std::env::var_os(HASH) {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(THREADS)
            .build()?;
        let mut hasher = blake3::Hasher::new();
        pool.install(|| hasher.update_mmap_rayon(image).map(|_| ()))?;
        std::hint::black_box(hasher.finalize());
        return Ok(());
    }
    let program = Restante::build()?.program().to_owned();
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("disk.img");
    make_image(&image)?;
    let case = dir.path().join("case");
    let mut took: [Vec<Took>; 4] = Default::default();
    for _ in 0..RUNS {
        took[0].push(run(Command::new("cat").arg(&image))?);
        took[1].push(run(
            Command::new(std::env::current_exe()?).env(HASH, &image)
        )?);
        for (index, hash) in [(2, false), (3, true)] {
            took[index].push(scan(&program, &case, &image, hash)?);
        }
    }
    let [cat, blake3, plain, hashed] = took.map(|took| median(&took));
    println!("1 GiB, {THREADS} threads, medians of {RUNS}     wall       CPU      peak");
    print("cat > /dev/null", cat);
    print("BLAKE3 alone (mapped)", blake3);
    print("scan --no-hash", plain);
    print("scan", hashed);
    println!(
        "scan --no-hash / cat:  {:.2} of its rate",
        ratio(cat, plain)
    );
    println!(
        "scan / BLAKE3 alone:   {:.2} of its rate",
        ratio(blake3, hashed)
    );

    let large = dir.path().join("large.img");
    fs::copy(&image, &large)?;
    fs::remove_file(&image)?;
    File::options().write(true).open(&large)?.set_len(4 << 30)?;
    print("scan, 4 GiB (sparse)", scan(&program, &case, &large, true)?);
    Ok(())
}

/// Scans `image` into a new case.
fn scan(program: &Path, case: &Path, image: &Path, hash: bool) -> Result<Took, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.arg("scan").arg(case).arg(image);
    command.args(["-q", "--threads", &THREADS.to_string()]);
    if !hash {
        command.arg("--no-hash");
    }
    let took = run(&mut command)?;
    fs::remove_dir_all(case)?;
    Ok(took)
}

/// Runs `command` to its end, its output thrown away.
fn run(command: &mut Command) -> Result<Took, Box<dyn Error>> {
    let begun = Instant::now();
    let child = command.stdout(Stdio::null()).spawn()?;
    let (mut status, mut usage) = (0, no_usage());
    #[expect(
        unsafe_code,
        reason = "the standard library does not tell what a child used; both pointers are to \
                  variables of our own"
    )]
    // SAFETY: see the reason above.
    let waited = unsafe { libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) };
    let wall = begun.elapsed();
    if waited < 0 || status != 0 {
        return Err(format!("{command:?} failed").into());
    }
    Ok(Took {
        wall,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_kib: usage.ru_maxrss,
    })
}

/// A usage of nothing.
fn no_usage() -> libc::rusage {
    #[expect(
        unsafe_code,
        reason = "the structure is numbers, for which zeros are right"
    )]
    // SAFETY: see the reason above.
    unsafe {
        std::mem::zeroed()
    }
}

fn time(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs())
        + Duration::from_micros(time.tv_usec.unsigned_abs())
}

/// The median of each figure.
fn median(took: &[Took]) -> Took {
    let middle = |figure: fn(&Took) -> Duration| {
        let mut all: Vec<Duration> = took.iter().map(figure).collect();
        all.sort();
        all[all.len() / 2]
    };
    Took {
        wall: middle(|took| took.wall),
        cpu: middle(|took| took.cpu),
        peak_kib: took.iter().map(|took| took.peak_kib).max().unwrap_or(0),
    }
}

fn ratio(other: Took, ours: Took) -> f64 {
    other.wall.as_secs_f64() / ours.wall.as_secs_f64()
}

fn print(what: &str, took: Took) {
    let peak = match took.peak_kib {
        0 => String::new(),
        kib => format!("{:5} MiB", kib / 1024),
    };
    println!(
        "{what:<32} {:7.3} s {:7.3} s {peak}",
        took.wall.as_secs_f64(),
        took.cpu.as_secs_f64()
    );
}

/// Writes an image in which pieces of every kind take turns.
fn make_image(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut random = Random::new(7);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for _ in 0..BYTES / PIECE {
        let mut piece = match random.below(10) {
            0 | 1 => Vec::new(),
            2..=4 => text(&mut random),
            5 | 6 => base64(&mut random),
            7 | 8 => random.bytes(PIECE),
            _ => binary(&mut random),
        };
        piece.resize(PIECE, 0);
        out.write_all(&piece)?;
    }
    out.into_inner()?.sync_all()?;
    Ok(())
}

/// Messages of a few KiB, each at the beginning of a block.
fn text(random: &mut Random) -> Vec<u8> {
    let mut piece = Vec::with_capacity(PIECE);
    while piece.len() < PIECE {
        let end = (piece.len() + 1000 + random.below(12_000)).min(PIECE);
        head(random, &mut piece);
        while piece.len() < end {
            const WORDS: [&str; 8] = [
                "ferry ",
                "the ",
                "of ",
                "timetable ",
                "Monday, ",
                "a ",
                "is late.\n",
                "and ",
            ];
            piece.extend_from_slice(random.pick(&WORDS).as_bytes());
        }
        piece.truncate(end);
        piece.resize(piece.len().next_multiple_of(4096), 0);
    }
    piece.truncate(PIECE);
    piece
}

fn head(random: &mut Random, piece: &mut Vec<u8>) {
    let number = random.word();
    let head = format!(
        "Return-Path: <ada@tidewater.example>\nDelivered-To: b{number}@saltmarsh.example\n\
         Received: from mx.relay.example (mx.relay.example [192.0.2.1])\n\tby imap.saltmarsh.example \
         with LMTP id {number:x};\n\tTue, 03 Jun 2014 09:05:11 +0200\nMessage-ID: <{number}@x.example>\n\
         From: Ada <ada@tidewater.example>\nSubject: {number}\n\n"
    );
    piece.extend_from_slice(head.as_bytes());
}

/// An attachment.
fn base64(random: &mut Random) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut piece = random.bytes(PIECE);
    for (index, byte) in piece.iter_mut().enumerate() {
        *byte = if index % 77 == 76 {
            b'\n'
        } else {
            DIGITS[usize::from(*byte & 63)]
        };
    }
    piece
}

/// Small numbers among larger ones, as in programs and databases.
fn binary(random: &mut Random) -> Vec<u8> {
    let mut piece = random.bytes(PIECE);
    for (index, byte) in piece.iter_mut().enumerate() {
        if index % 4 != 0 {
            *byte &= 0x0F;
        }
    }
    piece
}
