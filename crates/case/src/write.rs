//! Writing so that a kill at any instruction leaves the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

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

/// Makes the names in `directory` durable.
pub fn sync_directory(directory: &Path) -> Result<(), CaseError> {
    File::open(directory)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| CaseError::io(directory, source))
}
