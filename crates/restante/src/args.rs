//! The arguments of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Gets mailboxes back from dead storage: from raw images of disks to each account's mail.
#[derive(Debug, Parser)]
#[command(name = "restante", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use N threads (default: one a core); the result is the same for any number
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Append events to FILE as JSON Lines: steps that start, go on and end (- for standard error)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Open encrypted volumes (LUKS) with the keys in FILE, which only you can read (default: the
    /// text of one in RESTANTE_UNLOCK); docs/encryption.md shows its form
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) unlock: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: the evidence for each statement, everything that is damaged or lost
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("a number from 1 to 1024".to_owned()),
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do the whole job: scan, assemble, rebuild, sync, report
    Recover(Recover),
    /// Add images as evidence, identify them, and catalogue what is on them
    Scan(Scan),
    /// Work out the aggregate: RAID groups, volumes, file systems
    Assemble(Assemble),
    /// Find messages through the metadata of the file systems
    Rebuild(Rebuild),
    /// Find messages by their content, in blocks that no file system explains
    Carve(Carve),
    /// List the accounts, and what says that mail is theirs
    Accounts(CaseOnly),
    /// Hand mail back: add what is missing below restored_emails
    Sync(Sync),
    /// Write the report: HTML, JSON and CSV
    Report(Report),
    /// Prove again: evidence, log, messages, restored mail
    Verify(Verify),
    /// Show what is at DEVICE:OFFSET, or a message by its id
    Inspect(Inspect),
    /// Write a device as a sparse image, or print commands that put it together elsewhere
    Export(Export),
    /// Break a known array, recover it, score it
    Drill(Drill),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}

impl Command {
    /// Its name, as it is typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Recover(_) => "recover",
            Self::Scan(_) => "scan",
            Self::Assemble(_) => "assemble",
            Self::Rebuild(_) => "rebuild",
            Self::Carve(_) => "carve",
            Self::Accounts(_) => "accounts",
            Self::Sync(_) => "sync",
            Self::Report(_) => "report",
            Self::Verify(_) => "verify",
            Self::Inspect(_) => "inspect",
            Self::Export(_) => "export",
            Self::Drill(_) => "drill",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// Completions.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    pub(crate) shell: clap_complete::Shell,
}

/// Man.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write restante.1 and one page a command into DIR, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Recover.
#[derive(Args, Debug)]
pub(crate) struct Recover {
    /// The directory of the case; made if it is not there
    pub(crate) case: PathBuf,
    /// Images of disks, in any order: raw files, first pieces of split ones, block devices, E01,
    /// qcow2, VHD, VHDX, VMDK, VDI
    pub(crate) images: Vec<PathBuf>,
    /// Take this image as raw, though it begins as a container does (may be given several times)
    #[arg(long, value_name = "IMAGE")]
    pub(crate) raw: Vec<PathBuf>,
    /// Where the mail goes: maildir:DIR, maildir:PATTERN with {domain}, {local}, {account}, or
    /// imaps://HOST, imap://HOST
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: String,
    /// How to scan.
    #[command(flatten)]
    pub(crate) hashes: Hashes,
    /// How to find accounts.
    #[command(flatten)]
    pub(crate) accounts: AccountOptions,
    /// How to hand mail back.
    #[command(flatten)]
    pub(crate) handing_back: HandingBack,
}

/// How to hand mail back.
#[derive(Args, Clone, Debug)]
pub(crate) struct HandingBack {
    /// Where an account's quota or its file system has no room for all of it: skip leaves the account
    /// out and does the others, stop writes nothing at all
    #[arg(long, value_name = "skip|stop", default_value = "skip", value_parser = when_full)]
    pub(crate) when_full: WhenFull,
    /// How to reach a server.
    #[command(flatten)]
    pub(crate) server: Server,
}

/// How to reach an IMAP server.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Server {
    /// How to log in to the server: a file that only you can read (default: the text of one in
    /// RESTANTE_IMAP_CREDENTIALS); docs/imap.md shows its form
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// Trust the certificates in FILE (PEM) too
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Send passwords also to a server on another machine that offers no TLS
    #[arg(long)]
    pub(crate) allow_cleartext: bool,
    /// Use at most N connections to the server
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = connections)]
    pub(crate) connections: usize,
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=64) => Ok(count),
        _ => Err("a number from 1 to 64".to_owned()),
    }
}

/// What to do where a mailbox has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Leave the account out, and do the others.
    Skip,
    /// Write nothing at all.
    Stop,
}

fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "skip" => Ok(WhenFull::Skip),
        "stop" => Ok(WhenFull::Stop),
        _ => Err("skip or stop".to_owned()),
    }
}

/// What to hash besides BLAKE3.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Hashes {
    /// Hash the evidence with SHA-256 too (the units of a disk are then read in order)
    #[arg(long)]
    pub(crate) sha256: bool,
    /// Do not hash: faster, but the evidence is not identified before a later scan without this
    #[arg(long, conflicts_with = "sha256")]
    pub(crate) no_hash: bool,
}

/// The share of a job among several that scan the same evidence: share `part` of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which one, from 1.
    pub(crate) part: u64,
    /// How many there are.
    pub(crate) of: u64,
}

fn share(text: &str) -> Result<Share, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if (1..=of).contains(&part) => Ok(Share { part, of }),
        _ => Err("I/N, such as 3/8 for the third of eight shares".to_owned()),
    }
}

/// How paths name accounts.
#[derive(Args, Clone, Debug)]
pub(crate) struct AccountOptions {
    /// A path that names an account, such as {domain}/{local}/Maildir; replaces the built-in ones
    #[arg(long = "account-path", value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// The domain of accounts whose path names only a local part, such as home/ada/Maildir
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) default_domain: Option<String>,
    /// The accounts, aliases and domains that there are, a line each; all mail is judged against
    /// them. docs/accounts.md shows its forms; the word none forgets the list that was given before
    #[arg(long = "accounts", value_name = "FILE")]
    pub(crate) list: Option<PathBuf>,
    /// The characters that your server has between an account and a detail, as in ada+lists@…
    /// (default: +)
    #[arg(long = "recipient-delimiter", value_name = "CHARS")]
    pub(crate) delimiters: Option<String>,
}

/// Scan.
#[derive(Args, Debug)]
pub(crate) struct Scan {
    /// The directory of the case; made if it is not there
    pub(crate) case: PathBuf,
    /// Images of disks, in any order; without any, the scan of the case's evidence goes on
    pub(crate) images: Vec<PathBuf>,
    /// Take this image as raw, though it begins as a container does (may be given several times)
    #[arg(long, value_name = "IMAGE")]
    pub(crate) raw: Vec<PathBuf>,
    /// Scan this evidence of the case again, as it is now (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) again: Vec<String>,
    /// Scan only share I of N, as one of N jobs on any machines that reach the case; the last one
    /// to end, or a later scan without this, completes the case
    #[arg(long, value_name = "I/N", value_parser = share, conflicts_with_all = ["sha256", "again"])]
    pub(crate) units: Option<Share>,
    /// How to scan.
    #[command(flatten)]
    pub(crate) hashes: Hashes,
}

/// Assemble.
#[derive(Args, Debug)]
pub(crate) struct Assemble {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// Take the statements in FILE, in the form of aggregate.json, instead of the labels
    #[arg(long, value_name = "FILE")]
    pub(crate) geometry: Option<PathBuf>,
    /// Work it out again even if a person has edited aggregate.json since
    #[arg(long)]
    pub(crate) again: bool,
}

/// Rebuild.
#[derive(Args, Debug)]
pub(crate) struct Rebuild {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// How to find accounts.
    #[command(flatten)]
    pub(crate) accounts: AccountOptions,
}

/// Carve.
#[derive(Args, Debug)]
pub(crate) struct Carve {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// Look in all blocks, also in those of files that are in use
    #[arg(long)]
    pub(crate) all: bool,
    /// Look on this device; may be given again (default: all that nothing else lies on)
    #[arg(long = "device", value_name = "DEVICE")]
    pub(crate) devices: Vec<String>,
    /// Look also for streams that are shifted by any number of bits, as after bits that were lost
    #[arg(long)]
    pub(crate) bit_offsets: bool,
    /// Tell how the message with this identity, or the beginning of one, was put together
    #[arg(long, value_name = "ID")]
    pub(crate) explain: Option<String>,
}

/// A command that takes a case and nothing else.
#[derive(Args, Debug)]
pub(crate) struct CaseOnly {
    /// The directory of the case
    pub(crate) case: PathBuf,
}

/// Sync.
#[derive(Args, Debug)]
pub(crate) struct Sync {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// Where the mail goes: maildir:DIR, maildir:PATTERN with {domain}, {local}, {account}, or
    /// imaps://HOST, imap://HOST
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: String,
    /// Only this account (may be given several times)
    #[arg(long = "account", value_name = "LOCAL@DOMAIN")]
    pub(crate) accounts: Vec<String>,
    /// Print the plan and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to hand mail back.
    #[command(flatten)]
    pub(crate) handing_back: HandingBack,
}

/// Report.
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// Write to DIR instead of CASE/report
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write a mail to the owner of each account too, ready to be sent (.eml)
    #[arg(long)]
    pub(crate) notices: bool,
    /// Make them from the template in FILE: that of an earlier report, edited or translated
    #[arg(long, value_name = "FILE", requires = "notices")]
    pub(crate) template: Option<PathBuf>,
    /// Who writes them (default: postmaster of each account's domain)
    #[arg(long, value_name = "LOCAL@DOMAIN", requires = "notices")]
    pub(crate) notices_from: Option<String>,
}

/// Verify.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// Look at the mail that was restored there too
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<String>,
    /// The BLAKE3 of a line of the log that you kept outside the case: `verify` names it each time
    #[arg(long, value_name = "BLAKE3")]
    pub(crate) log_line: Option<String>,
    /// How to reach a server.
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Inspect.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// DEVICE:OFFSET in bytes (decimal or 0x), DEVICE:sN for sector N, DEVICE:bN for block N of
    /// its file system, or the first digits of a message's id
    #[arg(value_name = "WHERE")]
    pub(crate) place: String,
    /// How many bytes to show (default: to the end of the block of 4 KiB)
    #[arg(long, value_name = "BYTES")]
    pub(crate) length: Option<usize>,
}

/// Export.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The directory of the case
    pub(crate) case: PathBuf,
    /// The device: volume:aggr0/mail, group:md0, partition:disk-a/1
    pub(crate) device: Option<String>,
    /// Write it here, sparse; what is missing in it is listed in FILE.map, as ddrescue does
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print dmsetup commands that put the device together from loop devices
    #[arg(long, conflicts_with = "out")]
    pub(crate) dmsetup: bool,
    /// Print mdadm commands that put the RAID groups together
    #[arg(long, conflicts_with_all = ["out", "dmsetup"])]
    pub(crate) mdadm: bool,
    /// Write the files that mail was found in as a body file, which mactime makes a timeline of
    #[arg(long, group = "paper", conflicts_with_all = ["device", "dmsetup", "mdadm"])]
    pub(crate) bodyfile: bool,
    /// Write each message with its hashes and its places, down to the disks, as Digital Forensics XML
    #[arg(long, group = "paper", conflicts_with_all = ["device", "dmsetup", "mdadm"])]
    pub(crate) dfxml: bool,
    /// Write the restored messages of the target as lines for `sha256sum -c`
    #[arg(long, group = "paper", requires = "to", conflicts_with_all = ["device", "dmsetup", "mdadm"])]
    pub(crate) manifest: bool,
    /// With --manifest: lines for `b3sum -c`
    #[arg(long, requires = "manifest")]
    pub(crate) b3: bool,
    /// The target whose mail the manifest lists: maildir:DIR or maildir:PATTERN
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<String>,
}

/// Drill.
#[derive(Args, Debug)]
pub(crate) struct Drill {
    /// Work in DIR, new or empty (default: a new directory among the temporary files)
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
