//! Runs `restante` on an image as a person would.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The program.
#[derive(Clone, Debug)]
pub struct Restante {
    program: PathBuf,
}

/// A step that was run.
#[derive(Clone, Debug)]
pub struct Step {
    /// The command's name.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// What it printed.
    pub output: String,
}

impl Restante {
    /// A program that is there.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// Builds it in release mode, if it is not built.
    pub fn build() -> io::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--release", "-p", "restante"])
            .status()?;
        if !status.success() {
            return Err(io::Error::other("restante does not build"));
        }
        // A bench lies in `release/deps` of the target directory.
        let bench = std::env::current_exe()?;
        let folder = bench.parent().and_then(Path::parent);
        let folder = folder.ok_or_else(|| io::Error::other("the bench has no directory"))?;
        let program = folder.join("restante");
        // Of a bench built otherwise, the program lies beside its directory.
        let other = folder.with_file_name("release").join("restante");
        Ok(Self::at(
            if program.is_file() && folder.ends_with("release") {
                program
            } else {
                other
            },
        ))
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The arguments of each step on `image`, with the case and the mail below `folder`.
    pub fn steps(image: &Path, folder: &Path) -> Vec<(&'static str, Vec<std::ffi::OsString>)> {
        let case = folder.join("case").into_os_string();
        let mut target = std::ffi::OsString::from("maildir:");
        target.push(Self::tree(folder));
        let alone = |name: &str| vec![name.into(), case.clone()];
        let scan = vec!["scan".into(), case.clone(), image.into()];
        let sync = vec!["sync".into(), case.clone(), "--to".into(), target];
        vec![
            ("scan", scan),
            ("assemble", alone("assemble")),
            ("rebuild", alone("rebuild")),
            ("carve", alone("carve")),
            ("sync", sync),
        ]
    }

    /// Where the mail is that came back.
    pub fn tree(folder: &Path) -> PathBuf {
        folder.join("mail")
    }

    /// Takes the mail from `image`; the case and the mail lie below `folder` afterwards.
    pub fn recover(&self, image: &Path, folder: &Path) -> io::Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (name, arguments) in Self::steps(image, folder) {
            let begin = Instant::now();
            let output = self.run(&arguments)?;
            steps.push(Step {
                name,
                seconds: begin.elapsed().as_secs_f64(),
                output,
            });
        }
        Ok(steps)
    }

    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> io::Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let name = arguments
            .first()
            .map(|name| name.as_ref().to_string_lossy());
        Err(io::Error::other(format!(
            "restante {} failed with {}: {}",
            name.unwrap_or_default(),
            output.status,
            said.trim()
        )))
    }
}
