//! Writing so that a kill at any instruction leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::CaseError;

/// Writes `bytes` to `path`: to a temporary name beside it, synced, then renamed over it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CaseError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let write = || -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().map_err(|source| CaseError::io(path, source))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Writes `bytes` to `path` as [`write_atomically`] does, where others may write the same at the
/// same time, from other machines too: each under a temporary name of its own.
///
/// The directory is not synced: one [`sync_directory`] after many files is enough.
pub fn write_once(path: &Path, bytes: &[u8]) -> Result<(), CaseError> {
    let (mut file, temporary) = create_part(path).map_err(|source| CaseError::io(path, source))?;
    let mut write = || -> io::Result<()> {
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        CaseError::io(path, source)
    })
}

/// Names tried for a temporary file before giving up: more than writers and their remains.
const MOST_PARTS: u32 = 100_000;

/// Makes a temporary file beside `path` that nobody else has.
fn create_part(path: &Path) -> io::Result<(File, PathBuf)> {
    for number in 0..MOST_PARTS {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}.part"));
        match File::create_new(&name) {
            Ok(file) => return Ok((file, name.into())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Makes the names in `directory` durable.
pub fn sync_directory(directory: &Path) -> Result<(), CaseError> {
    File::open(directory)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| CaseError::io(directory, source))
}
