//! How much mail comes back from volumes without a file system.
//!
//!     cargo bench -p benches --bench carving -- [--grid] [--awkward] [--cell NAME] [--seed S]
//!         [--count N] [--phase BYTES] [--list] [--keep DIR] [--restante PROGRAM]
//!     cargo bench -p benches --bench carving -- --write DIR [--grid] [--awkward] ...
//!
//! Without `--grid` or `--awkward` both are made. `--cell` takes those whose names contain NAME.
//! `restante` is built and run as a person would: scan, assemble, rebuild, carve, sync. `--list`
//! names every message that is not exact and every false claim; `--keep` leaves images, cases and
//! mail in DIR. `--write` only writes the images and `truth.json`, to try things by hand.
//!
//! `exact`: the share of the messages that are still there whole and were handed over byte for
//! byte. `damaged`: files that were handed over as damaged. `as is`: messages with a turned bit
//! that was not turned back. `false`: files handed over as whole that are no message of the volume.
//! `filed`, `misfiled`: exact ones in the account that they belong to, and in another.
//! `twice`: messages that were handed over again.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use benches::carving::dkim::Signature;
use benches::carving::restante::Restante;
use benches::carving::scene::{self, BETWEEN, Scene};
use benches::carving::score::{Score, Tally, score};
use benches::carving::{awkward, grid, tree};

/// Messages of a cell of the grid, and of an awkward case.
const GRID_COUNT: usize = 20;
const AWKWARD_COUNT: usize = 40;
/// The block of the awkward volume.
const AWKWARD_BLOCK: usize = 4096;

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
    write: Option<PathBuf>,
    keep: Option<PathBuf>,
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
                "--write" => options.write = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                "--restante" => options.restante = Some(value()?.into()),
                // cargo passes this to every bench.
                "--bench" => {}
                other => return Err(io::Error::other(format!("no option {other}"))),
            }
        }
        if !options.grid && !options.awkward {
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
    let restante = match &options.restante {
        Some(program) => Restante::at(program),
        None => Restante::build()?,
    };
    let mut pieces = BTreeMap::new();
    for scene in &scenes {
        let score = judged(scene, &restante, &options)?;
        group_by_pieces(scene, &score, &mut pieces);
    }
    print_pieces(&pieces);
    Ok(())
}

/// Lets the program take the mail from one volume, and prints the table.
fn judged(scene: &Scene, restante: &Restante, options: &Options) -> io::Result<Score> {
    print_scene(scene);
    let temporary = tempfile::tempdir()?;
    let folder = match &options.keep {
        Some(folder) => folder.join(&scene.name),
        None => temporary.path().join(&scene.name),
    };
    std::fs::create_dir_all(&folder)?;
    let image = scene.write_image(&folder)?;
    for step in restante.recover(&image, &folder)? {
        println!("  {:<9} {:6.1} s", step.name, step.seconds);
        if step.name == "carve" {
            step.output.lines().for_each(|line| println!("    {line}"));
        }
    }
    let score = scored(scene, &folder, options)?;
    Ok(score)
}

fn scored(scene: &Scene, folder: &Path, options: &Options) -> io::Result<Score> {
    let handed = tree::read(&Restante::tree(folder))?;
    let score = score(scene, &handed);
    println!(
        "{:<28} {:>5} {:>7} {:>8} {:>6} {:>6} {:>6} {:>9} {:>6}",
        "cell", "there", "exact", "damaged", "as is", "false", "filed", "misfiled", "twice"
    );
    let mut all = Tally::default();
    for (cell, tally) in &score.cells {
        print_tally(cell, tally);
        all.add(tally);
    }
    // Decoys are no messages that could be there.
    all.surviving = scene.surviving();
    print_tally("all", &all);
    if options.list {
        score.remarks.iter().for_each(|line| println!("  {line}"));
    }
    println!();
    Ok(score)
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

fn print_tally(cell: &str, tally: &Tally) {
    println!(
        "{cell:<28} {:>5} {:>6.1}% {:>8} {:>6} {:>6} {:>6} {:>9} {:>6}",
        tally.surviving,
        percent(tally.exact, tally.surviving),
        tally.damaged,
        tally.unrepaired,
        tally.false_claims,
        tally.filed,
        tally.misfiled,
        tally.twice,
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
