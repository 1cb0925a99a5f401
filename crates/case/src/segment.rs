//! Segments: files of records, one a unit of work.
//!
//! A segment is JSON Lines, `DIRECTORY/NAME.jsonl`. It is written whole, under a temporary name; that it is
//! there means that its unit is done. A file is never changed once it has its name: a segment that is written
//! again is another file. Segments are mapped into memory for reading: they are our own files on a healthy
//! disk, and there may be more of them than memory.

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

    /// One digest of all segments in `directory`: the log keeps it, so that a record that was changed
    /// since is seen.
    pub fn segments_digest(&self, directory: &str) -> Result<String, CaseError> {
        let mut hasher = blake3::Hasher::new();
        for name in self.segment_names(directory)? {
            let path = self.segment_path(directory, &name);
            let file = File::open(&path).map_err(|source| CaseError::io(&path, source))?;
            let digest = blake3::Hasher::new()
                .update_reader(file)
                .map_err(|source| CaseError::io(&path, source))?
                .finalize();
            hasher.update(name.as_bytes()).update(b"\n");
            hasher.update(digest.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
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

    /// All segments in `directory`, open to be read at any record.
    pub fn open_segments(&self, directory: &str) -> Result<SegmentSet, CaseError> {
        let segments: Result<Vec<OpenSegment>, CaseError> = self
            .segment_names(directory)?
            .iter()
            .map(|name| OpenSegment::new(self.segment_path(directory, name)))
            .collect();
        Ok(SegmentSet {
            segments: segments?,
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

/// Where a record lies in a [`SegmentSet`]: small enough to remember one for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    segment: u32,
    at: u64,
}

/// Segments that are mapped, so that records can be read in any order without being kept.
pub struct SegmentSet {
    segments: Vec<OpenSegment>,
}

impl SegmentSet {
    /// All records with their positions, in the order of the segments' names.
    pub fn records<T: DeserializeOwned>(
        &self,
    ) -> impl Iterator<Item = Result<(Position, T), CaseError>> {
        self.segments
            .iter()
            .zip(0_u32..)
            .flat_map(|(segment, number)| {
                let mut line = 0_usize;
                segment.lines().map(move |(at, text)| {
                    line = line.saturating_add(1);
                    let position = Position {
                        segment: number,
                        at: at as u64,
                    };
                    segment.parse(text, line).map(|record| (position, record))
                })
            })
    }

    /// The record at `position`, which [`SegmentSet::records`] gave.
    pub fn read<T: DeserializeOwned>(&self, position: Position) -> Result<T, CaseError> {
        let segment = usize::try_from(position.segment)
            .ok()
            .and_then(|number| self.segments.get(number));
        let at = usize::try_from(position.at).unwrap_or(usize::MAX);
        match segment {
            Some(segment) => segment.parse(segment.line_at(at), 0),
            None => Err(CaseError::io(
                Path::new("segment"),
                io::Error::from(io::ErrorKind::NotFound),
            )),
        }
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

    fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// The line that begins at `at`, without its line feed.
    fn line_at(&self, at: usize) -> &[u8] {
        let rest = self.bytes().get(at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    /// All lines with their places.
    fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            if at >= self.bytes().len() {
                return None;
            }
            let start = at;
            let line = self.line_at(start);
            at = start.saturating_add(line.len()).saturating_add(1);
            Some((start, line))
        })
    }

    fn parse<T: DeserializeOwned>(&self, text: &[u8], line: usize) -> Result<T, CaseError> {
        serde_json::from_slice(text).map_err(|source| CaseError::Malformed {
            path: self.path.clone(),
            line,
            source,
        })
    }

    /// Goes on to the next line of a walk through the segment: its number, and where it begins.
    fn advance(&mut self) -> Option<(usize, usize)> {
        if self.at >= self.bytes().len() {
            return None;
        }
        let start = self.at;
        let length = self.line_at(start).len();
        self.at = start.saturating_add(length).saturating_add(1);
        self.line = self.line.saturating_add(1);
        Some((self.line, start))
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
                if let Some((line, start)) = open.advance() {
                    return Some(open.parse(open.line_at(start), line));
                }
                self.open = None;
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
        let set = case.open_segments("messages").unwrap();
        let records: Result<Vec<(Position, u32)>, _> = set.records().collect();
        for (position, record) in records.unwrap() {
            assert_eq!(set.read::<u32>(position).unwrap(), record);
        }
        case.remove_segments("messages", "a").unwrap();
        assert_eq!(case.segment_names("messages").unwrap(), ["b-1", "c"]);
        assert!(case.has_segment("messages", "b-1"));
        assert!(case.segment_names("nothing").unwrap().is_empty());
    }
}
