//! Writing the files of the report, each whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use case::{Case, sync_directory, write_atomically};

use crate::text::harmless_json;
use crate::{Facts, ReportError, page, people, tables};

/// Where the files of the report are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `report.html`: the page for people.
    pub html: PathBuf,
    /// `report.json`: the facts.
    pub json: PathBuf,
    /// `accounts.csv`: a row an account.
    pub accounts: PathBuf,
    /// `folders.csv`: a row a folder.
    pub folders: PathBuf,
    /// `messages.csv`: a row a find.
    pub messages: PathBuf,
}

impl Paths {
    fn below(directory: &Path) -> Self {
        Self {
            html: directory.join("report.html"),
            json: directory.join("report.json"),
            accounts: directory.join("accounts.csv"),
            folders: directory.join("folders.csv"),
            messages: directory.join("messages.csv"),
        }
    }
}

/// Writes the report of `facts`, which were gathered from `case`, into `directory`, which is made
/// if it is not there. Files of an earlier report are replaced.
///
/// Each account gets a page, its facts and a table of its messages of its own, in `accounts`.
/// `messages.csv` is made from the message index, which is read once more as a stream.
pub fn write(facts: &Facts, case: &Case, directory: &Path) -> Result<Paths, ReportError> {
    fs::create_dir_all(directory).map_err(|source| ReportError::io(directory, source))?;
    let paths = Paths::below(directory);
    let json =
        serde_json::to_string_pretty(facts).map_err(|error| ReportError::io(&paths.json, error))?;
    let json = harmless_json(&json) + "\n";
    write_atomically(&paths.json, json.as_bytes())?;
    stream(&paths.accounts, |out| tables::accounts(facts, out))?;
    stream(&paths.folders, |out| tables::folders(facts, out))?;
    stream(&paths.messages, |out| tables::messages(facts, case, out))?;
    stream(&paths.html, |out| {
        page::render(facts, out).map_err(|error| Failure::Io(io::Error::other(error)))
    })?;
    people::write(facts, directory, &paths.messages)?;
    Ok(paths)
}

/// Why a file was not filled.
pub(crate) enum Failure {
    /// Writing it failed.
    Io(io::Error),
    /// Reading what should be in it failed.
    Report(ReportError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        Self::Io(error.into())
    }
}

impl From<case::CaseError> for Failure {
    fn from(error: case::CaseError) -> Self {
        Self::Report(error.into())
    }
}

/// As [`write_atomically`], for files that may be longer than memory.
pub(crate) fn stream(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), ReportError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let write = || -> Result<(), Failure> {
        let mut out = BufWriter::new(File::create(temporary)?);
        fill(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(temporary, path)?;
        Ok(())
    };
    write().map_err(|failure| match failure {
        Failure::Io(source) => ReportError::io(path, source),
        Failure::Report(error) => error,
    })?;
    if let Some(directory) = path.parent() {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Removes the files with one of the `endings` in the directories below `top` that are not in `kept`:
/// those of accounts that an earlier report had. After rules or geometry changed they would be of
/// somebody else.
pub(crate) fn sweep(
    top: &Path,
    endings: &[&str],
    kept: &BTreeSet<PathBuf>,
) -> Result<(), ReportError> {
    let entries = |path: &Path| -> Result<Vec<PathBuf>, ReportError> {
        let wrap = |source| ReportError::io(path, source);
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(wrap(source)),
        };
        entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(wrap))
            .collect()
    };
    for domain in entries(top)? {
        let is_directory = fs::symlink_metadata(&domain).is_ok_and(|metadata| metadata.is_dir());
        if !is_directory {
            continue;
        }
        for path in entries(&domain)? {
            let ending = path.extension().and_then(|ending| ending.to_str());
            let is_ours = ending.is_some_and(|ending| endings.contains(&ending));
            if is_ours && !kept.contains(&path) {
                fs::remove_file(&path).map_err(|source| ReportError::io(&path, source))?;
            }
        }
    }
    Ok(())
}
