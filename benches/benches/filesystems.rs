//! How much of broken file systems comes back, here and with the tools of today.
//!
//!     cargo bench -p benches --bench filesystems -- [--kind NAME] [--damage NAME] [--rivals]
//!         [--seed S] [--list] [--keep DIR]
//!
//! File systems full of mail are filled through the kernel and broken in memory; what counts are
//! the files whose contents are all still there. `exact`: the same contents under the same path.
//! `mailbox`: under the same path from the domain on; the names above it may be gone with the
//! blocks that held them. `contents`: the same contents under any name. `wrong`: other contents under such a path, as
//! whole; in a maildir the sizes in the names catch most of these. `--rivals` lets other tools
//! try as well (scripts/rivals.sh installs them); `--list` names the files that did not come back;
//! `--keep` leaves the broken devices in a directory.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use benches::damage::rivals::Rival;
use benches::damage::score::{Recovered, Score, score};
use benches::damage::{Damage, Kind, Original};
use benches::random::Random;
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use filesystem::{Device, File, FileKind, Filesystem, find_all, walk};

/// What is asked for.
struct Options {
    kind: Option<String>,
    damage: Option<String>,
    rivals: bool,
    list: bool,
    keep: Option<PathBuf>,
    seed: u64,
}

impl Options {
    fn of_arguments() -> io::Result<Self> {
        let mut options = Self {
            kind: None,
            damage: None,
            rivals: false,
            list: false,
            keep: None,
            seed: 1,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--kind" => options.kind = arguments.next(),
                "--damage" => options.damage = arguments.next(),
                "--rivals" => options.rivals = true,
                "--list" => options.list = true,
                "--keep" => options.keep = arguments.next().map(PathBuf::from),
                "--seed" => {
                    let number = arguments.next().and_then(|value| value.parse().ok());
                    options.seed =
                        number.ok_or_else(|| io::Error::other("--seed takes a number"))?;
                }
                "--bench" => {}
                other => return Err(io::Error::other(format!("{other} is no option here"))),
            }
        }
        Ok(options)
    }
}

fn main() -> io::Result<()> {
    let options = Options::of_arguments()?;
    let folder = tempfile::tempdir()?;
    println!(
        "{:<14} {:<12} {:<14} {:>7} {:>8} {:>8} {:>9} {:>6} {:>8}",
        "file system",
        "damage",
        "tool",
        "intact",
        "exact",
        "mailbox",
        "contents",
        "wrong",
        "seconds"
    );
    let wanted = |wish: &Option<String>, name: &str| wish.as_deref().is_none_or(|w| w == name);
    for kind in Kind::ALL {
        if !wanted(&options.kind, kind.name) {
            continue;
        }
        let original = Original::make(kind, folder.path())?;
        for damage in Damage::ALL {
            if damage.fits(kind) && wanted(&options.damage, damage.name()) {
                row(&original, damage, &options, folder.path())?;
            }
        }
    }
    Ok(())
}

/// Breaks `original` once and lets every tool try.
fn row(original: &Original, damage: Damage, options: &Options, folder: &Path) -> io::Result<()> {
    let mut random = Random::new(options.seed);
    let broken = damage.apply(original, folder, &mut random)?;
    if let Some(keep) = &options.keep {
        for (number, device) in broken.iter().enumerate() {
            let name = format!("{}-{}-{number}.img", original.kind.name, damage.name());
            std::fs::write(keep.join(name), device)?;
        }
    }
    let print = |tool: &str, score: &Score, seconds: f64| {
        let share = |count: usize| 100.0 * count as f64 / score.intact.max(1) as f64;
        println!(
            "{:<14} {:<12} {tool:<14} {:>7} {:>7.2}% {:>7.2}% {:>8.2}% {:>6} {seconds:>8.1}",
            original.kind.name,
            damage.name(),
            score.intact,
            share(score.exact),
            share(score.mailbox),
            share(score.contents),
            score.wrong.len(),
        );
    };
    let begin = Instant::now();
    let recovered = restante(original, &broken);
    let seconds = begin.elapsed().as_secs_f64();
    let ours = score(original, &broken, &recovered);
    print("restante", &ours, seconds);
    if options.list {
        for path in &ours.missed {
            println!("  not back: {path}");
        }
        for path in &ours.wrong {
            println!("  wrong: {path}");
        }
    }
    for rival in Rival::ALL {
        if options.rivals && rival.reads(original.kind) {
            let begin = Instant::now();
            let recovered = rival.recover(original.kind, &broken, folder)?;
            let seconds = begin.elapsed().as_secs_f64();
            let score = score(original, &broken, &recovered);
            print(rival.name(), &score, seconds);
        }
    }
    Ok(())
}

/// What this project brings back: every regular file without a hole that comes from a loss.
fn restante(original: &Original, broken: &[Vec<u8>]) -> Vec<Recovered> {
    let devices: Vec<Device> = broken
        .iter()
        .enumerate()
        .map(|(number, bytes)| Device {
            name: format!("disk:{}-{number}", original.kind.name),
            bytes: Arc::new(Memory::new(bytes.clone())),
        })
        .collect();
    let (found, losses) = find_all(&devices, &|_| ());
    for loss in losses {
        println!("  {loss}");
    }
    let mut recovered = Vec::new();
    for file_system in &found {
        println!("  {}", file_system.name);
        recovered.extend(files(file_system.fs.as_ref()));
    }
    recovered
}

fn files(fs: &dyn Filesystem) -> Vec<Recovered> {
    let mut files = Vec::new();
    for entry in walk(fs).flatten() {
        if entry.inode.kind != FileKind::Regular {
            continue;
        }
        let file = File::open(fs, &entry.inode);
        let length = usize::try_from(file.len()).unwrap_or(0);
        if let Ok((bytes, gaps)) = file.read_vec(ByteOffset::ZERO, length)
            && gaps.is_empty()
        {
            let path = entry.path.to_string().trim_start_matches('/').to_owned();
            files.push((path, blake3::hash(&bytes)));
        }
    }
    files
}
