//! How much mail comes back from volumes without a file system.
//!
//!     cargo bench -p benches --bench carving -- [--grid] [--awkward] [--cell NAME] [--seed S]
//!         [--count N] [--phase BYTES] [--photorec] [--list] [--keep DIR] [--restante PROGRAM]
//!     cargo bench -p benches --bench carving -- --peers [--mib N] [--seed S] [--restante PROGRAM]
//!     cargo bench -p benches --bench carving -- --tree DIR --awkward [--list] ...
//!     cargo bench -p benches --bench carving -- --write DIR [--grid] [--awkward] [--mib N] ...
//!
//! Without `--grid` or `--awkward` both are made. `--cell` takes those whose names contain NAME.
//! `restante` is built and run as a person would: scan, assemble, rebuild, carve, sync. `--list`
//! names every message that is not exact and every false claim; `--keep` leaves images, cases and
//! mail in DIR. `--photorec` lets PhotoRec try as well, with brute force. `--write` only writes the
//! images and `truth.json`, to try things by hand; `--tree` scores a tree that somebody made of one
//! of these. `--mib N` makes a volume as of `--peers` for both. cargo runs benches in their own
//! directory, so paths are best given whole.
//!
//! `files`: messages of the cell, or decoys. `exact`: of the messages whose bytes are all there, the
//! share that was handed over byte for byte. `damaged`: files handed over as damaged. `as is`:
//! messages with a turned bit that was not turned back. `false`: files handed over as whole that
//! are no message of the volume. `filed`, `misfiled`: exact ones in the account that they belong
//! to, and in another. `twice`: messages that were handed over again.
//!
//! `--peers` makes one volume of 256 MiB, or of `--mib`, and runs all tools on it that are there
//! (scripts/carvers.sh installs them) with bounds on time, output and memory. `starts`: files that
//! are a message without its end; `longer`: a message and more. scripts/carving_tables.py makes
//! the tables of docs/benchmarks.md of what is printed.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod peers;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use benches::carving::dkim::Signature;
use benches::carving::peers::{Found, Limits, Peer};
use benches::carving::restante::Restante;
use benches::carving::scene::{self, BETWEEN, Scene};
use benches::carving::score::{Judge, Score, Tally, score};
use benches::carving::{awkward, grid, tree, volume};

/// Messages of a cell of the grid, and of an awkward case.
const GRID_COUNT: usize = 20;
const AWKWARD_COUNT: usize = 40;
/// The block of the awkward volume.
const AWKWARD_BLOCK: usize = 4096;
/// The volume for all tools in MiB.
const PEERS_MIB: usize = 256;
/// What other tools may use. They are known to run away.
const LIMITS: Limits = Limits {
    // Brute force takes hours; what it has by then counts.
    seconds: 300,
    output: 2 << 30,
    memory: 8 << 30,
};

/// What is asked for.
#[derive(Default)]
struct Options {
    seed: u64,
    grid: bool,
    awkward: bool,
    cell: Option<String>,
    count: Option<usize>,
    phase: usize,
    list: bool,
    peers: bool,
    photorec: bool,
    mib: Option<usize>,
    write: Option<PathBuf>,
    keep: Option<PathBuf>,
    tree: Option<PathBuf>,
    restante: Option<PathBuf>,
}

impl Options {
    fn of_arguments() -> io::Result<Self> {
        let mut options = Self {
            seed: 1,
            ..Self::default()
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| io::Error::other(format!("{argument} takes a value")))
            };
            match argument.as_str() {
                "--seed" => options.seed = number(&value()?)?,
                "--grid" => options.grid = true,
                "--awkward" => options.awkward = true,
                "--cell" => options.cell = Some(value()?),
                "--count" => options.count = Some(number(&value()?)?),
                "--phase" => options.phase = number(&value()?)?,
                "--list" => options.list = true,
                "--peers" => options.peers = true,
                "--photorec" => options.photorec = true,
                "--mib" => options.mib = Some(number(&value()?)?),
                "--write" => options.write = Some(value()?.into()),
                "--tree" => options.tree = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                "--restante" => options.restante = Some(value()?.into()),
                // cargo passes this to every bench.
                "--bench" => {}
                other => return Err(io::Error::other(format!("no option {other}"))),
            }
        }
        if !options.grid && !options.awkward && options.mib.is_none() && !options.peers {
            (options.grid, options.awkward) = (true, true);
        }
        Ok(options)
    }

    /// Whether a cell of this name is asked for.
    fn wants(&self, name: &str) -> bool {
        self.cell.as_deref().is_none_or(|cell| name.contains(cell))
    }

    fn scenes(&self) -> Vec<Scene> {
        let wanted = |name: &str| self.wants(name);
        let mut scenes = Vec::new();
        if self.grid {
            let count = self.count.unwrap_or(GRID_COUNT);
            scenes.extend(grid::scenes(self.seed, count, self.phase, &wanted));
        }
        if self.awkward {
            let count = self.count.unwrap_or(AWKWARD_COUNT);
            let scene = awkward::scene(self.seed, AWKWARD_BLOCK, count, self.phase, &wanted);
            scenes.push(scene);
        }
        if self.peers || self.mib.is_some() {
            scenes.push(volume::scene(self.seed, self.mib.unwrap_or(PEERS_MIB)));
        }
        scenes.retain(|scene| !scene.messages.is_empty() || !scene.decoys.is_empty());
        scenes
    }
}

fn number<N: std::str::FromStr>(text: &str) -> io::Result<N> {
    let parsed = text.parse();
    parsed.map_err(|_| io::Error::other(format!("{text} is no number")))
}

fn main() -> io::Result<()> {
    let options = Options::of_arguments()?;
    let scenes = options.scenes();
    if let Some(folder) = &options.write {
        scene::write(options.seed, &scenes, folder)?;
        scenes.iter().for_each(print_scene);
        return Ok(());
    }
    if let Some(tree) = &options.tree {
        let [scene] = &scenes[..] else {
            return Err(io::Error::other(
                "--tree takes --awkward, --mib, or one --cell",
            ));
        };
        let score = score(scene, &tree::read(tree)?);
        print_scored(scene, &score, None, options.list);
        return Ok(());
    }
    let restante = match &options.restante {
        Some(program) => Restante::at(program),
        None => Restante::build()?,
    };
    let mut pieces = BTreeMap::new();
    for scene in &scenes {
        if options.peers && scene.name == "volume" {
            compare(scene, &restante)?;
            continue;
        }
        let score = judged(scene, &restante, &options)?;
        group_by_pieces(scene, &score, &mut pieces);
    }
    print_pieces(&pieces);
    Ok(())
}

/// Lets all tools try.
fn compare(scene: &Scene, restante: &Restante) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    print_scene(scene);
    let contest = peers::Contest {
        scene,
        judge: Judge::new(scene),
        image: scene.write_image(folder.path())?,
        folder: folder.path(),
        limits: LIMITS,
    };
    contest.run(restante)
}

/// Lets the program take the mail from one volume, and prints the table.
fn judged(scene: &Scene, restante: &Restante, options: &Options) -> io::Result<Score> {
    print_scene(scene);
    let temporary = tempfile::tempdir()?;
    let folder = match &options.keep {
        Some(folder) => folder.join(&scene.name),
        None => temporary.path().join(&scene.name),
    };
    fs::create_dir_all(&folder)?;
    let image = scene.write_image(&folder)?;
    for step in restante.recover(&image, &folder)? {
        println!("  {:<9} {:6.1} s", step.name, step.seconds);
        if step.name == "carve" {
            step.output.lines().for_each(|line| println!("    {line}"));
        }
    }
    let score = score(scene, &tree::read(&Restante::tree(&folder))?);
    let photorec = if options.photorec {
        Some(photorec(scene, &image, &folder)?)
    } else {
        None
    };
    print_scored(scene, &score, photorec.as_ref(), options.list);
    Ok(score)
}

/// What PhotoRec finds with brute force.
fn photorec(scene: &Scene, image: &Path, folder: &Path) -> io::Result<Found> {
    let folder = folder.join("photorec");
    fs::create_dir_all(&folder)?;
    let peer = Peer::PhotoRecForce;
    let measured = peer.run(image, scene.canvas.block, &folder, &LIMITS)?;
    println!(
        "  {:<9} {:6.1} s {}",
        "photorec",
        measured.wall,
        measured.trouble.unwrap_or_default()
    );
    peer.found(&Judge::new(scene), &folder)
}

fn print_scored(scene: &Scene, score: &Score, photorec: Option<&Found>, list: bool) {
    println!(
        "{:<28} {:>5} {:>7} {:>8} {:>6} {:>6} {:>6} {:>9} {:>6}{}",
        "cell",
        "files",
        "exact",
        "damaged",
        "as is",
        "false",
        "filed",
        "misfiled",
        "twice",
        photorec.map_or("", |_| " photorec")
    );
    let mut all = Tally::default();
    for (cell, tally) in &score.cells {
        let own = |number: &&usize| scene.messages[**number].cell == *cell;
        let theirs = photorec.map(|found| found.exact.iter().filter(own).count());
        print_tally(cell, tally, theirs);
        all.add(tally);
    }
    print_tally("all", &all, photorec.map(|found| found.exact.len()));
    if list {
        score.remarks.iter().for_each(|line| println!("  {line}"));
    }
    println!();
}

fn print_scene(scene: &Scene) {
    println!(
        "{}: {:.1} MiB, blocks of {} from {} on, {} messages, {} decoys",
        scene.name,
        scene.canvas.bytes.len() as f64 / f64::from(1 << 20),
        scene.canvas.block,
        scene.canvas.phase,
        scene.messages.len(),
        scene.decoys.len()
    );
}

fn print_tally(cell: &str, tally: &Tally, theirs: Option<usize>) {
    let share = |exact| match tally.surviving {
        0 => "–".to_owned(),
        all => format!("{:.1}%", percent(exact, all)),
    };
    println!(
        "{cell:<28} {:>5} {:>7} {:>8} {:>6} {:>6} {:>6} {:>9} {:>6}{}",
        tally.surviving + tally.others,
        share(tally.exact),
        tally.damaged,
        tally.unrepaired,
        tally.false_claims,
        tally.filed,
        tally.misfiled,
        tally.twice,
        theirs.map_or(String::new(), |exact| format!(" {:>8}", share(exact)))
    );
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// How many messages, and how many of them exact.
type Share = (usize, usize);

/// The messages of the grid by their number of pieces, their order, and what there is to prove
/// that pieces belong together.
type Pieces = BTreeMap<(bool, usize, &'static str), Share>;

const PROOFS: [&str; 3] = ["signed", "structured", "text"];

fn group_by_pieces(scene: &Scene, score: &Score, pieces: &mut Pieces) {
    if !scene.name.starts_with("grid") {
        return;
    }
    for (message, exact) in scene.messages.iter().zip(&score.exact) {
        if message.cell == BETWEEN {
            continue;
        }
        let proof = if message.message.signature == Signature::Whole {
            "signed"
        } else if message.message.kind.is_structured() {
            "structured"
        } else {
            "text"
        };
        let shuffled = message.cell.ends_with("shuffled");
        let share: &mut Share = pieces
            .entry((shuffled, message.extents.len(), proof))
            .or_default();
        share.0 += 1;
        share.1 += usize::from(*exact);
    }
}

fn print_pieces(pieces: &Pieces) {
    if pieces.is_empty() {
        return;
    }
    println!("exact, by pieces and by what ties them together");
    print!("{:<28}", "");
    PROOFS.iter().for_each(|proof| print!(" {proof:>16}"));
    println!();
    for shuffled in [false, true] {
        for count in [1, 2, 3, 5] {
            if shuffled && count == 1 {
                continue;
            }
            let order = if shuffled { "out of order" } else { "in order" };
            print!("{:<28}", format!("{count} {order}"));
            for proof in PROOFS {
                let share = pieces.get(&(shuffled, count, proof));
                let (all, exact) = share.copied().unwrap_or_default();
                print!(" {:>8.1}% of {all:>4}", percent(exact, all));
            }
            println!();
        }
    }
}
