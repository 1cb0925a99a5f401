//! How fast mail is handed back into Maildirs, beside `cp -a` of the same tree made durable.
//!
//!     cargo bench -p benches --bench sync
//!
//! An ext4 image of 20 accounts and 8,000 messages is made from a seed, recovered, and then synced
//! to an empty target; the tree that came of it is copied by `cp -a`, and each file and directory
//! of the copy is synced to the disk, as the messages of a sync are. Both in turn, five times; the
//! figures are medians. `--restante PROGRAM` takes another build. All is made in the directory of
//! temporary files (`TMPDIR`), whose file system decides what a sync costs.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::carving::restante::Restante;
use benches::random::Random;

/// How often each is run.
const RUNS: usize = 5;
const ACCOUNTS: usize = 20;
const MESSAGES: usize = 400;
const FOLDERS: [&str; 3] = ["", ".Sent", ".Archive.2013"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args().skip_while(|argument| argument != "--restante");
    let program = match given.nth(1) {
        Some(path) => PathBuf::from(path),
        None => Restante::build()?.program().to_owned(),
    };
    let dir = tempfile::tempdir()?;
    let image = image(dir.path())?;
    let case = dir.path().join("case");
    let target = |name: &str| format!("maildir:{}", dir.path().join(name).display());
    let first = target("first");
    let image = image.to_string_lossy().into_owned();
    run(Command::new(&program).arg("recover").arg(&case).args([
        image.as_str(),
        "--to",
        &first,
        "-q",
    ]))?;
    let (mut synced, mut copied) = (Vec::new(), Vec::new());
    let mut size = (0, 0);
    for _ in 0..RUNS {
        let (to, copy) = (dir.path().join("synced"), dir.path().join("copied"));
        let begun = Instant::now();
        run(Command::new(&program)
            .arg("sync")
            .arg(&case)
            .args(["--to", &target("synced"), "-q"]))?;
        synced.push(begun.elapsed());
        let begun = Instant::now();
        run(Command::new("cp").arg("-a").args([&to, &copy]))?;
        size = make_durable(&copy)?;
        copied.push(begun.elapsed());
        fs::remove_dir_all(&to)?;
        fs::remove_dir_all(&copy)?;
        fs::remove_dir_all(case.join("ledger"))?;
    }
    let (synced, copied) = (median(synced), median(copied));
    let (files, bytes) = size;
    println!("{files} files, {bytes} bytes, medians of {RUNS}");
    println!("sync to Maildirs          {:7.3} s", synced.as_secs_f64());
    println!("cp -a, every file synced  {:7.3} s", copied.as_secs_f64());
    println!(
        "sync / cp -a: {:.2} of its rate",
        copied.as_secs_f64() / synced.as_secs_f64()
    );
    Ok(())
}

/// An ext4 image of a mail host's accounts below `dir`.
fn image(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut random = Random::new(11);
    let tree = dir.join("tree");
    for account in 0..ACCOUNTS {
        let maildir = tree.join(format!("vmail/saltmarsh.example/user{account}/Maildir"));
        for folder in FOLDERS {
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(maildir.join(folder).join(part))?;
            }
        }
        for number in 0..MESSAGES {
            let text = message(&mut random, account, number);
            let name = format!(
                "{}.M{number}P7.imap,S={}:2,S",
                1_400_000_000 + number,
                text.len()
            );
            let folder: &&str = random.pick(&FOLDERS);
            let cur = maildir.join(folder).join("cur");
            fs::write(cur.join(name), text)?;
        }
    }
    let image = dir.join("disk.img");
    File::create(&image)?.set_len(256 << 20)?;
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &image]))?;
    fs::remove_dir_all(tree)?;
    Ok(image)
}

/// A message of 1 to 16 KiB, most of them short.
fn message(random: &mut Random, account: usize, number: usize) -> Vec<u8> {
    const WORDS: [&str; 6] = ["ferry", "timetable", "is late.\n", "and", "the", "harbour"];
    let mut text = format!(
        "Return-Path: <ada@tidewater.example>\nDelivered-To: user{account}@saltmarsh.example\n\
         Message-ID: <{account}.{number}@tidewater.example>\nDate: Tue, 03 Jun 2014 09:05:11 +0200\n\
         From: Ada <ada@tidewater.example>\nTo: user{account}@saltmarsh.example\nSubject: {number}\n\n"
    );
    let length = 1024 << random.below(5);
    while text.len() < length {
        let word: &&str = random.pick(&WORDS);
        text.push_str(word);
        text.push(' ');
    }
    text.push('\n');
    text.into_bytes()
}

/// Syncs every file and directory below `path` to the disk: how many files, and their bytes.
fn make_durable(path: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            let below = make_durable(&path)?;
            (files, bytes) = (files + below.0, bytes + below.1);
        } else {
            let file = File::open(&path)?;
            file.sync_all()?;
            (files, bytes) = (files + 1, bytes + file.metadata()?.len());
        }
    }
    File::open(path)?.sync_all()?;
    Ok((files, bytes))
}

/// Runs `command` to its end, its output thrown away.
fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed").into())
    }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}
