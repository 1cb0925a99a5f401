//! Whether what is done for every account stays linear, and its memory bounded, with ten thousand of them.
//!
//!     cargo bench -p benches --bench accounts
//!
//! For 1,000 accounts and ten times as many: an ext4 image of small messages (six an account in two folders) is
//! made by mke2fs and recovered; then each command that goes through all accounts runs on the case. The last
//! column is the time for ten times the accounts: 10 is linear. `--restante PROGRAM` takes another build,
//! `--accounts N` another number, of which a tenth is the other. Seconds and peak memory are
//! `/usr/bin/time`'s.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use benches::carving::restante::Restante;

const FOLDERS: [&str; 2] = ["", ".Sent"];
const MESSAGES: usize = 3;
/// What runs on the case, and what it is called in the table. `TARGET` has the mail, `EMPTY` none.
const COMMANDS: [(&str, &[&str]); 6] = [
    ("accounts", &["accounts", "CASE"]),
    (
        "sync --dry-run, all new",
        &["sync", "CASE", "--dry-run", "--to", "EMPTY"],
    ),
    ("sync, nothing new", &["sync", "CASE", "--to", "TARGET"]),
    ("report", &["report", "CASE"]),
    ("report --notices", &["report", "CASE", "--notices"]),
    ("verify --to", &["verify", "CASE", "--to", "TARGET"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let given = |name: &str| {
        let mut rest = std::env::args().skip_while(|argument| argument != name);
        rest.nth(1)
    };
    let program = match given("--restante") {
        Some(path) => PathBuf::from(path),
        None => Restante::build()?.program().to_owned(),
    };
    let most: usize = given("--accounts").map_or(Ok(10_000), |text| text.parse())?;
    let few = measure(&program, most / 10)?;
    let many = measure(&program, most)?;
    println!(
        "{} and {most} accounts, {} messages each",
        most / 10,
        FOLDERS.len() * MESSAGES
    );
    println!("| | seconds | MiB | seconds | MiB | times |\n|---|---|---|---|---|---|");
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        println!(
            "| {name} | {:.2} | {} | {:.2} | {} | {:.1} |",
            few.seconds,
            few.mib,
            many.seconds,
            many.mib,
            many.seconds / few.seconds
        );
    }
    Ok(())
}

/// What a command took.
struct Cost {
    seconds: f64,
    /// The most memory that it had at a time.
    mib: u64,
}

fn measure(program: &Path, accounts: usize) -> Result<Vec<(&'static str, Cost)>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let image = image(dir.path(), accounts)?.to_string_lossy().into_owned();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (case, target) = (path("case"), format!("maildir:{}", path("mail")));
    let empty = format!("maildir:{}", path("empty"));
    let recover = [
        "recover",
        case.as_str(),
        image.as_str(),
        "--to",
        target.as_str(),
    ];
    let mut costs = vec![("recover", run(program, dir.path(), &recover)?)];
    for (name, words) in COMMANDS {
        let arguments: Vec<&str> = words
            .iter()
            .map(|word| match *word {
                "CASE" => case.as_str(),
                "TARGET" => target.as_str(),
                "EMPTY" => empty.as_str(),
                word => word,
            })
            .collect();
        costs.push((name, run(program, dir.path(), &arguments)?));
    }
    Ok(costs)
}

/// Runs the program under `/usr/bin/time`.
fn run(program: &Path, dir: &Path, arguments: &[&str]) -> Result<Cost, Box<dyn Error>> {
    let cost = dir.join("cost");
    let status = Command::new("/usr/bin/time")
        .args(["-q", "-f", "%e %M", "-o"])
        .arg(&cost)
        .arg(program)
        .args(arguments)
        .arg("-q")
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("/usr/bin/time: {error}; scripts/setup.sh installs it"))?;
    if !status.success() {
        return Err(format!("restante {}: {status}", arguments.join(" ")).into());
    }
    let text = fs::read_to_string(&cost)?;
    let (seconds, kib) = text.trim().split_once(' ').ok_or("no figures")?;
    Ok(Cost {
        seconds: seconds.parse()?,
        mib: kib.parse::<u64>()? / 1024,
    })
}

/// An ext4 image of `accounts` accounts below `dir`.
fn image(dir: &Path, accounts: usize) -> Result<PathBuf, Box<dyn Error>> {
    let tree = dir.join("tree");
    for account in 0..accounts {
        let domain = account % 100;
        let maildir = tree.join(format!("vmail/host{domain}.example/user{account}/Maildir"));
        for (place, folder) in FOLDERS.iter().enumerate() {
            let folder = maildir.join(folder);
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(folder.join(part))?;
            }
            for number in 0..MESSAGES {
                let time = 1_400_000_000 + 86_400 * number + account;
                let text = format!(
                    "Return-Path: <ada@tidewater.example>\nDelivered-To: user{account}@host{domain}.example\n\
                     Message-ID: <{account}.{place}.{number}@tidewater.example>\nFrom: Ada <ada@tidewater.example>\n\
                     To: user{account}@host{domain}.example\nSubject: Tides of day {number}\n\n\
                     High water at {place}, low water at {number}.\n"
                );
                let name = format!("{time}.M{number}P7.imap,S={}:2,S", text.len());
                fs::write(folder.join("cur").join(name), text)?;
            }
        }
    }
    let image = dir.join("disk.img");
    let inodes = accounts * FOLDERS.len() * (MESSAGES + 4) + accounts * 2 + 4096;
    File::create(&image)?
        .set_len((inodes as u64 * 5 * 1024).next_multiple_of(1 << 20) + (32 << 20))?;
    let status = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-N", &inodes.to_string(), "-d"])
        .args([&tree, &image])
        .status()?;
    if !status.success() {
        return Err(format!("mke2fs: {status}").into());
    }
    fs::remove_dir_all(tree)?;
    Ok(image)
}
