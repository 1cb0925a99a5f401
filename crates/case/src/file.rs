//! Segments whose format is another crate's: whole files of bytes.
//!
//! They live beside those of [`crate::segment`] and follow the same rules: written once, under
//! a temporary name, synced and renamed. Who writes them need not have the case for himself, so
//! runs on several machines can fill one directory.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::write::write_once;
use crate::{Case, CaseError, sync_directory};

/// What a temporary file is called at its end.
const PART: &str = ".part";

impl Case {
    /// Writes `bytes` as `DIRECTORY/NAME.EXTENSION`. The file is there for everybody at once and
    /// whole, and is there after a power cut once [`Case::sync_files`] was called.
    pub fn write_file_of(
        &self,
        directory: &str,
        name: &str,
        extension: &str,
        bytes: &[u8],
    ) -> Result<(), CaseError> {
        write_once(&self.file_path(directory, name, extension), bytes)
    }

    /// Makes what was written in `directory` durable.
    pub fn sync_files(&self, directory: &str) -> Result<(), CaseError> {
        sync_directory(&self.path().join(directory))
    }

    /// Reads `DIRECTORY/NAME.EXTENSION`; `None` if it is not there.
    pub fn read_file_of(
        &self,
        directory: &str,
        name: &str,
        extension: &str,
    ) -> Result<Option<Vec<u8>>, CaseError> {
        let path = self.file_path(directory, name, extension);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CaseError::io(&path, source)),
        }
    }

    /// The names of the files in `directory` that end in a dot and `extension`, without that,
    /// sorted.
    pub fn file_names(&self, directory: &str, extension: &str) -> Result<Vec<String>, CaseError> {
        let ending = format!(".{extension}");
        let names = self.all_names(directory)?.into_iter();
        let mut names: Vec<String> = names
            .filter_map(|name| Some(name.strip_suffix(&ending)?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes the files in `directory` whose names begin with `prefix`, those that were not
    /// finished too.
    pub fn remove_files(&self, directory: &str, prefix: &str) -> Result<(), CaseError> {
        self.remove_where(directory, |name| name.starts_with(prefix))
    }

    /// Removes what killed runs left unfinished in `directory`. Only who has the case for himself
    /// may do that.
    pub fn remove_unfinished(&self, directory: &str) -> Result<(), CaseError> {
        self.remove_where(directory, |name| name.ends_with(PART))
    }

    /// Where such a file is.
    pub fn file_path(&self, directory: &str, name: &str, extension: &str) -> PathBuf {
        self.path()
            .join(directory)
            .join(format!("{name}.{extension}"))
    }

    fn remove_where(&self, directory: &str, which: impl Fn(&str) -> bool) -> Result<(), CaseError> {
        for name in self.all_names(directory)? {
            if which(&name) {
                let path = self.path().join(directory).join(&name);
                fs::remove_file(&path).map_err(|source| CaseError::io(&path, source))?;
            }
        }
        Ok(())
    }

    fn all_names(&self, directory: &str) -> Result<Vec<String>, CaseError> {
        let path = self.path().join(directory);
        let wrap = |source| CaseError::io(&path, source);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(wrap(source)),
        };
        entries
            .map(|entry| {
                Ok(entry
                    .map_err(wrap)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writers_of_one_file_leave_it_whole() {
        let dir = tempfile::tempdir().unwrap();
        let case = Case::open_or_create(&dir.path().join("case")).unwrap();
        let bytes = vec![7; 300_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        case.write_file_of("catalogue", "a@0", "bin", &bytes)
                            .unwrap();
                        let read = case.read_file_of("catalogue", "a@0", "bin").unwrap();
                        assert!(read.unwrap() == bytes);
                    }
                });
            }
        });
        let left = case.path().join("catalogue/b@0.bin.0.part");
        fs::write(&left, b"half").unwrap();
        case.write_file_of("catalogue", "b@0", "bin", &bytes)
            .unwrap();
        case.sync_files("catalogue").unwrap();
        assert_eq!(case.file_names("catalogue", "bin").unwrap(), ["a@0", "b@0"]);
        case.remove_unfinished("catalogue").unwrap();
        assert!(!left.exists());
        case.remove_files("catalogue", "a@").unwrap();
        assert_eq!(case.file_names("catalogue", "bin").unwrap(), ["b@0"]);
        assert_eq!(case.read_file_of("catalogue", "a@0", "bin").unwrap(), None);
    }
}
