//! How much mail comes back from volumes without a file system.
//!
//!     cargo bench -p benches --bench carving -- --write DIR [--seed S] [--grid] [--awkward]
//!         [--cell NAME] [--count N] [--phase BYTES]
//!
//! `--write` writes the images and `truth.json` into a directory, to try things by hand.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io;
use std::path::PathBuf;

use benches::carving::scene::{self, Scene};
use benches::carving::{awkward, grid};

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
    write: Option<PathBuf>,
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
                "--write" => options.write = Some(value()?.into()),
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
    for scene in &scenes {
        println!(
            "{:<10} {:>7.1} MiB, blocks of {} from {} on, {} messages, {} decoys",
            scene.name,
            scene.canvas.bytes.len() as f64 / f64::from(1 << 20),
            scene.canvas.block,
            scene.canvas.phase,
            scene.messages.len(),
            scene.decoys.len()
        );
    }
    if let Some(folder) = &options.write {
        scene::write(options.seed, &scenes, folder)?;
    }
    Ok(())
}
