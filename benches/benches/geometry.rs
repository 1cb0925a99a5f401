//! How often RAID geometry is worked out rightly from contents, over the space of geometries.
//!
//!     cargo bench -p benches --bench geometry -- [--cases N] [--seed S] [--list]
//!         [--usual] [--case NUMBER] [--piles N]
//!
//! Prints a table of levels and contents, each with all members there and with as many missing
//! as may be. Cases are drawn by number from the seed, so that one can be run again alone, with
//! all that is said of it: `--case`. `--list` prints a line for each case. `--usual` takes
//! of these cases only those that a mail host is likely to have. `--piles` sorts so many piles of
//! 24 disks instead.
//!
//! `exact`: one group of all disks in which every byte of the content reads as it was laid out,
//! also when any one member is rebuilt. `start`: the same, but the group begins in another row.
//! `part`: what reads is right, but disks or the end are left out. `loss`: no group, and a loss
//! names every disk. `silent`: no group and no such loss. `wrong`: anything false.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use benches::cases::{Case, Missing, readable};
use benches::contents::{Contents, Kind};
use benches::judge::Verdict;
use benches::pile::{Pile, Stale};
use benches::trial;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

/// What is aimed at for a group of twelve disks on two cores.
const AIM_DISKS: usize = 12;
const AIM_SECONDS: f64 = 60.0;
const AIM_MIB: u64 = 256;

/// Characters of a loss in a list.
const MOST_WHY: usize = 160;

/// What is asked for.
struct Options {
    cases: u64,
    seed: u64,
    only: Option<u64>,
    piles: Option<u64>,
    list: bool,
    usual: bool,
}

impl Options {
    fn of_arguments() -> io::Result<Self> {
        let mut options = Self {
            cases: 1000,
            seed: 1,
            only: None,
            piles: None,
            list: false,
            usual: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse().ok());
                value.ok_or_else(|| io::Error::other(format!("{argument} takes a number")))
            };
            match argument.as_str() {
                "--cases" => options.cases = number()?,
                "--seed" => options.seed = number()?,
                "--case" => options.only = Some(number()?),
                "--piles" => options.piles = Some(number()?),
                "--list" => options.list = true,
                "--usual" => options.usual = true,
                // cargo passes this to every bench.
                "--bench" => {}
                other => return Err(io::Error::other(format!("no option {other}"))),
            }
        }
        Ok(options)
    }
}

/// One case, as the table needs it.
struct Line {
    case: Case,
    verdict: Verdict,
    took: Duration,
    read: u64,
    on_bare_disk: bool,
}

/// How often each verdict came.
#[derive(Clone, Copy, Default)]
struct Tally([u32; 6]);

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        let place = match verdict {
            Verdict::Exact => 0,
            Verdict::StartUnknown => 1,
            Verdict::Partial(_) => 2,
            Verdict::Tie => 3,
            Verdict::Silent => 4,
            Verdict::Wrong(_) => 5,
        };
        self.0[place] += 1;
    }

    fn print(&self, name: &str) {
        let total: u32 = self.0.iter().sum();
        print!("{name:<34} {total:5}");
        for count in self.0 {
            print!(
                " {:6.1}",
                f64::from(count) * 100.0 / f64::from(total.max(1))
            );
        }
        println!();
    }
}

fn missing_name(missing: Missing) -> &'static str {
    match missing {
        Missing::None => "none missing",
        Missing::Some => "some missing",
        Missing::Most => "most missing",
    }
}

fn table(lines: &[Line]) {
    println!(
        "{:<34} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "", "n", "exact%", "start%", "part%", "loss%", "silent", "wrong%"
    );
    let mut cells: BTreeMap<(&str, Kind, Missing), Tally> = BTreeMap::new();
    let mut levels: BTreeMap<(&str, Missing), Tally> = BTreeMap::new();
    let mut kinds: BTreeMap<(Kind, Missing), Tally> = BTreeMap::new();
    let mut totals: BTreeMap<Missing, Tally> = BTreeMap::new();
    let mut all = Tally::default();
    for line in lines {
        let (level, kind) = (line.case.array.level.name(), line.case.kind);
        let missing = line.case.how_many_missing();
        cells
            .entry((level, kind, missing))
            .or_default()
            .add(&line.verdict);
        levels
            .entry((level, missing))
            .or_default()
            .add(&line.verdict);
        kinds.entry((kind, missing)).or_default().add(&line.verdict);
        totals.entry(missing).or_default().add(&line.verdict);
        all.add(&line.verdict);
    }
    for ((level, kind, missing), tally) in &cells {
        tally.print(&format!(
            "{level} {} {}",
            kind.name(),
            missing_name(*missing)
        ));
    }
    println!();
    for ((level, missing), tally) in &levels {
        tally.print(&format!("{level} {}", missing_name(*missing)));
    }
    println!();
    for ((kind, missing), tally) in &kinds {
        tally.print(&format!("{} {}", kind.name(), missing_name(*missing)));
    }
    println!();
    for (missing, tally) in &totals {
        tally.print(missing_name(*missing));
    }
    all.print("all");
}

/// The figures that are no share of the cases.
fn costs(lines: &[Line], took: Duration) {
    let count = lines.len().max(1);
    let mut times: Vec<f64> = lines.iter().map(|line| line.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get((count - 1) * share / 100).copied().unwrap_or(0.0);
    println!(
        "seconds for one group: median {:.2}, 95 % below {:.2}, most {:.2}",
        at(50),
        at(95),
        at(100)
    );
    let read = lines.iter().map(|line| line.read);
    let mean = read.clone().sum::<u64>() as f64 / count as f64 / 1024.0 / 1024.0;
    let most = read.max().unwrap_or(0) >> 20;
    println!("MiB read of a disk: mean {mean:.0}, most {most}");
    let large = lines.iter().filter(|line| line.case.present() >= AIM_DISKS);
    let slowest = large.clone().map(|line| line.took.as_secs_f64());
    println!(
        "of {} groups of {AIM_DISKS} disks and more: at most {:.0} s (aim: {AIM_SECONDS:.0} on two cores alone), {} MiB of a disk (aim: {AIM_MIB})",
        large.clone().count(),
        slowest.fold(0.0, f64::max),
        large.map(|line| line.read >> 20).max().unwrap_or(0),
    );
    let bare = lines.iter().filter(|line| line.on_bare_disk).count();
    println!("a file system is stated on a disk of a group that is not found: {bare} cases");
    let wall = took.as_secs_f64() * rayon::current_num_threads() as f64;
    println!(
        "{} cases in {:.0} s: {:.1} a minute, {:.0} % of the time in aggregate, the rest in making and judging",
        lines.len(),
        took.as_secs_f64(),
        lines.len() as f64 * 60.0 / took.as_secs_f64(),
        times.iter().sum::<f64>() * 100.0 / wall
    );
}

/// A case in a line, with why there is no group.
fn listed(case: &Case, outcome: &trial::Outcome) -> String {
    let mut line = format!("{case}: {}", outcome.verdict);
    if let (Verdict::Tie | Verdict::Silent, Some(loss)) =
        (&outcome.verdict, outcome.aggregate.losses.first())
    {
        let why: String = loss.cause.to_string().chars().take(MOST_WHY).collect();
        line.push_str(&format!(" ({why})"));
    }
    line
}

/// Runs one case and prints all that is said of it.
fn replay(options: &Options, number: u64, contents: &Contents) -> io::Result<()> {
    let case = Case::new(options.seed, number);
    println!("{case}");
    for (role, name) in case.names.iter().enumerate() {
        let there = if case.missing.contains(&role) {
            "missing"
        } else {
            ""
        };
        println!("  role {role}: {name} {there}");
    }
    let outcome = trial::run(&case, contents)?;
    println!(
        "{}; {:.2} s, {} MiB of a disk",
        outcome.verdict,
        outcome.took.as_secs_f64(),
        outcome.read >> 20
    );
    for group in &outcome.aggregate.groups {
        println!("{group:#?}");
    }
    for volume in &outcome.aggregate.volumes {
        println!("{volume:?}");
    }
    for fs in &outcome.aggregate.filesystems {
        println!("{} of {} bytes on {}", fs.kind, fs.bytes, fs.device);
    }
    for loss in &outcome.aggregate.losses {
        println!("{loss}");
    }
    for unused in &outcome.aggregate.unused {
        println!("{}: {}", unused.device, unused.why);
    }
    Ok(())
}

/// Sorts piles, both kinds of stale member in turns.
fn piles(options: &Options, count: u64, contents: &Contents) -> io::Result<()> {
    for number in 0..count {
        let stale = match number % 2 {
            0 => Stale::Replaced,
            _ => Stale::ThrownOut,
        };
        let pile = Pile::new(options.seed + number, stale);
        println!("{pile}");
        let laid = pile.lay_out(contents)?;
        let disks = readable(&laid.disks);
        let begun = Instant::now();
        let aggregate = aggregate::discover(&disks, &trial::probe);
        let took = begun.elapsed();
        let sorted = pile.judge(&aggregate, &disks, &laid);
        if options.list {
            aggregate
                .losses
                .iter()
                .for_each(|loss| println!("  {loss}"));
        }
        println!(
            "  {} of 3 groups are told apart, {} disks of none are taken; {:.1} s",
            sorted.grouped,
            sorted.strangers_taken.len(),
            took.as_secs_f64()
        );
        for (case, verdict) in pile.groups.iter().zip(&sorted.verdicts) {
            println!("  {}: {verdict}", case.array);
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let options = Options::of_arguments()?;
    let contents = Contents::new();
    if let Some(count) = options.piles {
        return piles(&options, count, &contents);
    }
    if let Some(number) = options.only {
        return replay(&options, number, &contents);
    }
    for kind in Kind::ALL {
        contents.get(kind)?;
    }
    let begun = Instant::now();
    let cases = (0..options.cases).map(|number| Case::new(options.seed, number));
    let cases: Vec<Case> = cases
        .filter(|case| !options.usual || case.is_usual())
        .collect();
    let lines: Vec<Line> = cases
        .into_par_iter()
        .map(|case| {
            let outcome = trial::run(&case, &contents)?;
            if options.list {
                println!("{}", listed(&case, &outcome));
            }
            Ok(Line {
                case,
                verdict: outcome.verdict,
                took: outcome.took,
                read: outcome.read,
                on_bare_disk: outcome.on_bare_disk,
            })
        })
        .collect::<io::Result<_>>()?;
    table(&lines);
    costs(&lines, begun.elapsed());
    for line in &lines {
        if let Verdict::Wrong(_) = line.verdict {
            println!("{}: {}", line.case, line.verdict);
        }
    }
    Ok(())
}
