//! The table of all tools on one image, in one run.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use benches::carving::peers::{Found, Limits, Measured, Peer, measure};
use benches::carving::restante::Restante;
use benches::carving::scene::Scene;
use benches::carving::score::Judge;
use benches::carving::tree;

/// A run that takes less is done again, and the best counts.
const SHORT_SECONDS: f64 = 3.0;
const RUNS: usize = 3;

/// What is run, and on what.
pub(crate) struct Contest<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) judge: Judge<'a>,
    pub(crate) image: PathBuf,
    pub(crate) folder: &'a Path,
    pub(crate) limits: Limits,
}

impl Contest<'_> {
    /// Runs everything and prints a row for each.
    pub(crate) fn run(&self, restante: &Restante) -> io::Result<()> {
        self.print_head();
        let cat = ["sh", "-c", "cat \"$0\" >/dev/null"].map(OsString::from);
        let cat: Vec<OsString> = cat.into_iter().chain([self.image.clone().into()]).collect();
        // The first reading brings the image into memory.
        self.best(&|_| Ok(cat.clone()))?;
        self.print("cat", &self.best(&|_| Ok(cat.clone()))?, None);
        self.run_restante(restante)?;
        for peer in Peer::ALL {
            if !peer.is_there() {
                println!("{:<22} is not installed", peer.name());
                continue;
            }
            let folder = self.fresh("peer")?;
            let block = self.scene.canvas.block;
            let measured = peer.run(&self.image, block, &folder, &self.limits)?;
            let found = peer.found(&self.judge, &folder)?;
            self.print(peer.name(), &measured, Some(&found));
            fs::remove_dir_all(folder)?;
        }
        Ok(())
    }

    fn run_restante(&self, restante: &Restante) -> io::Result<()> {
        let command = |step: (&str, Vec<OsString>), more: &[&str]| {
            let mut command = vec![restante.program().as_os_str().to_owned()];
            command.extend(step.1);
            command.extend(more.iter().map(OsString::from));
            command
        };
        let scan = |folder: &Path, more: &[&str]| {
            let first = Restante::steps(&self.image, folder).into_iter().next();
            let first = first.ok_or_else(|| io::Error::other("restante has no steps"))?;
            Ok(command(first, more))
        };
        let no_hash = self.best(&|folder| scan(folder, &["--no-hash"]))?;
        self.print("restante scan --no-hash", &no_hash, None);
        let hashed = self.best(&|folder| scan(folder, &[]))?;
        self.print("restante scan", &hashed, None);

        let folder = self.fresh("restante")?;
        let mut all = Measured {
            cpu: Some(0.0),
            ..Measured::default()
        };
        for step in Restante::steps(&self.image, &folder) {
            let name = step.0;
            let out = Restante::tree(&folder);
            let step = measure(&command(step, &[]), &folder, &out, &self.limits)?;
            if name == "carve" {
                self.print("restante carve", &step, None);
            }
            all.wall += step.wall;
            all.cpu = all.cpu.zip(step.cpu).map(|(all, step)| all + step);
            let peaks = all.peak_mib.into_iter().chain(step.peak_mib);
            all.peak_mib = peaks.reduce(f64::max);
            all.trouble = all
                .trouble
                .or(step.trouble.map(|why| format!("{name} {why}")));
        }
        let mut found = Found::default();
        for file in tree::read(&Restante::tree(&folder))? {
            if !file.damaged {
                let verdict = self.judge.verdict(&file.bytes);
                found.enter(verdict, file.bytes.len() as u64, true);
            }
        }
        self.print("restante, scan to sync", &all, Some(&found));
        fs::remove_dir_all(folder)
    }

    /// The best of several runs, if they are short; each in a directory of its own.
    fn best(&self, command: &dyn Fn(&Path) -> io::Result<Vec<OsString>>) -> io::Result<Measured> {
        let mut best: Option<Measured> = None;
        for _ in 0..RUNS {
            let folder = self.fresh("run")?;
            let command = command(&folder)?;
            let measured = measure(&command, &folder, &folder, &self.limits)?;
            fs::remove_dir_all(&folder)?;
            if measured.trouble.is_some() || measured.wall > SHORT_SECONDS {
                return Ok(measured);
            }
            if best.as_ref().is_none_or(|best| measured.wall < best.wall) {
                best = Some(measured);
            }
        }
        Ok(best.unwrap_or_default())
    }

    /// An empty directory.
    fn fresh(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn print_head(&self) {
        let messages = self.scene.messages.iter();
        println!(
            "{} messages in one piece, {} in several, {} decoys",
            messages
                .clone()
                .filter(|one| one.extents.len() == 1)
                .count(),
            messages.filter(|one| one.extents.len() > 1).count(),
            self.scene.decoys.len()
        );
        println!(
            "{:<24} {:>9} {:>9} {:>7} {:>7} {:>6} {:>6} {:>8} {:>8} {:>8} {:>9}",
            "tool",
            "exact",
            "in pieces",
            "starts",
            "longer",
            "false",
            "files",
            "MB/s",
            "seconds",
            "CPU s",
            "peak MiB"
        );
    }

    fn print(&self, name: &str, measured: &Measured, found: Option<&Found>) {
        let mut cells = vec!["–".to_owned(); 6];
        if let Some(found) = found {
            let pieces = |number: &&usize| self.scene.messages[**number].extents.len() > 1;
            let in_pieces = found.exact.iter().filter(pieces).count();
            let counts = [
                found.exact.len() - in_pieces,
                in_pieces,
                found.starts,
                found.longer,
                found.false_claims,
                found.files,
            ];
            cells = counts.iter().map(usize::to_string).collect();
        }
        let megabytes = self.scene.canvas.bytes.len() as f64 / 1e6;
        let number = |value: Option<f64>, places: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.places$}"))
        };
        println!(
            "{name:<24} {:>9} {:>9} {:>7} {:>7} {:>6} {:>6} {:>8.0} {:>8.2} {:>8} {:>9}  {}",
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            cells[4],
            cells[5],
            megabytes / measured.wall.max(1e-9),
            measured.wall,
            number(measured.cpu, 2),
            number(measured.peak_mib, 0),
            measured.trouble.as_deref().unwrap_or_default()
        );
    }
}
