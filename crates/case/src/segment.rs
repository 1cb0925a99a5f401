//! Segments: immutable files of records, one a unit of work.
//!
//! A segment is JSON Lines, `DIRECTORY/NAME.jsonl`. It is written once, whole; that it is there
//! means that its unit is done. Segments are mapped into memory for reading: they are our own
//! files on a healthy disk, and there may be more of them than memory.

use std::fs::{self, File};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Case, CaseError, write_atomically};

impl Case {
    /// Writes the segment `name` in `directory`, a line a record.
    pub fn write_segment<T: Serialize>(
        &self,
        directory: &str,
        name: &str,
        records: &[T],
    ) -> Result<(), CaseError> {
        let path = self.segment_path(directory, name);
        let mut text = Vec::new();
        for (index, record) in records.iter().enumerate() {
            serde_json::to_writer(&mut text, record).map_err(|source| CaseError::Malformed {
                path: path.clone(),
                line: index.saturating_add(1),
                source,
            })?;
            text.push(b'\n');
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| CaseError::io(parent, source))?;
        }
        write_atomically(&path, &text)
    }

    /// Whether the segment `name` in `directory` is written.
    pub fn has_segment(&self, directory: &str, name: &str) -> bool {
        self.segment_path(directory, name).is_file()
    }

    /// The names of the segments in `directory`, sorted.
    pub fn segment_names(&self, directory: &str) -> Result<Vec<String>, CaseError> {
        let path = self.path().join(directory);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(CaseError::io(&path, source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| CaseError::io(&path, source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(".jsonl") {
                names.push(stem.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The records of all segments in `directory`, in the order of their names.
    pub fn read_segments<T: DeserializeOwned>(
        &self,
        directory: &str,
    ) -> Result<Segments<T>, CaseError> {
        let paths = self
            .segment_names(directory)?
            .iter()
            .map(|name| self.segment_path(directory, name))
            .rev()
            .collect();
        Ok(Segments {
            left: paths,
            open: None,
            record: PhantomData,
        })
    }

    /// The records of the segment `name` in `directory`.
    pub fn read_segment<T: DeserializeOwned>(
        &self,
        directory: &str,
        name: &str,
    ) -> Result<Segments<T>, CaseError> {
        Ok(Segments {
            left: Vec::new(),
            open: Some(OpenSegment::new(self.segment_path(directory, name))?),
            record: PhantomData,
        })
    }

    /// Removes all segments in `directory` whose names begin with `prefix`: their work is to be
    /// done again, since what it was done from has changed.
    pub fn remove_segments(&self, directory: &str, prefix: &str) -> Result<(), CaseError> {
        for name in self.segment_names(directory)? {
            if name.starts_with(prefix) {
                let path = self.segment_path(directory, &name);
                fs::remove_file(&path).map_err(|source| CaseError::io(&path, source))?;
            }
        }
        Ok(())
    }

    fn segment_path(&self, directory: &str, name: &str) -> PathBuf {
        self.path().join(directory).join(format!("{name}.jsonl"))
    }
}

/// The records of several segments, one after the other.
pub struct Segments<T> {
    /// Files not yet begun, the next one last.
    left: Vec<PathBuf>,
    open: Option<OpenSegment>,
    record: PhantomData<fn() -> T>,
}

struct OpenSegment {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
    at: usize,
    line: usize,
}

impl OpenSegment {
    fn new(path: PathBuf) -> Result<Self, CaseError> {
        let map = map(&path).map_err(|source| CaseError::io(&path, source))?;
        Ok(Self {
            path,
            map,
            at: 0,
            line: 0,
        })
    }

    fn next_line(&mut self) -> Option<&[u8]> {
        let rest = self.map.as_ref()?.get(self.at..)?;
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        self.at = self.at.saturating_add(end).saturating_add(1);
        self.line = self.line.saturating_add(1);
        rest.get(..end)
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe because another process could shorten it; segments are \
              never changed once they have their name, and the case is locked"
)]
fn map(path: &Path) -> io::Result<Option<Mmap>> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: see the reason above.
    unsafe { Mmap::map(&file) }.map(Some)
}

impl<T: DeserializeOwned> Iterator for Segments<T> {
    type Item = Result<T, CaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(open) = &mut self.open {
                let parsed = open.next_line().map(serde_json::from_slice);
                match parsed {
                    Some(Ok(record)) => return Some(Ok(record)),
                    Some(Err(source)) => {
                        return Some(Err(CaseError::Malformed {
                            path: open.path.clone(),
                            line: open.line,
                            source,
                        }));
                    }
                    None => self.open = None,
                }
            }
            match OpenSegment::new(self.left.pop()?) {
                Ok(open) => self.open = Some(open),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_read_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let case = Case::open_or_create(&dir.path().join("case")).unwrap();
        case.write_segment("messages", "b-1", &[3, 4]).unwrap();
        case.write_segment("messages", "a-2", &[1, 2]).unwrap();
        case.write_segment::<u32>("messages", "c", &[]).unwrap();
        let all: Result<Vec<u32>, _> = case.read_segments("messages").unwrap().collect();
        assert_eq!(all.unwrap(), [1, 2, 3, 4]);
        case.remove_segments("messages", "a").unwrap();
        assert_eq!(case.segment_names("messages").unwrap(), ["b-1", "c"]);
        assert!(case.has_segment("messages", "b-1"));
        assert!(case.segment_names("nothing").unwrap().is_empty());
    }
}
