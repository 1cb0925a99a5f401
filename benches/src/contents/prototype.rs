//! The prototype file of mkfs.xfs, which lays down a folder, for kernels that do not mount v4.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes the prototype of all that is below `source` beside it, and gives its path.
pub(crate) fn write(source: &Path) -> io::Result<PathBuf> {
    let mut list = b"/\n0 0\nd--755 0 0\n".to_vec();
    list_below(source, &mut list)?;
    let path = source.with_extension("list");
    fs::write(&path, list)?;
    Ok(path)
}

fn list_below(folder: &Path, list: &mut Vec<u8>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            writeln!(list, "{name} d--755 0 0")?;
            list_below(&path, list)?;
        } else {
            writeln!(list, "{name} ---644 0 0 {}", path.display())?;
        }
    }
    writeln!(list, "$")
}
