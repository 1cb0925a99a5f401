//! The files of an image that is kept in a container, of which there may be thousands.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::raw::RawFile;
use crate::{ByteOffset, Error, GapCause, Gaps, Origin, ReadAt, ReadAtExt};

/// Files of one image that are open at a time at most. An E01 of a large disk has more segments
/// than a process may have files open, and a case has many disks.
const MOST_OPEN: usize = 32;

/// Files by number, each opened when it is read.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// The files that are open, the one that was used last at the end.
    open: Mutex<VecDeque<(usize, Arc<RawFile>)>>,
}

impl Files {
    /// The files at `paths`.
    pub(super) const fn new(paths: Vec<PathBuf>) -> Self {
        Self {
            paths,
            open: Mutex::new(VecDeque::new()),
        }
    }

    /// The path of file `number`.
    pub(super) fn path(&self, number: usize) -> &Path {
        self.paths
            .get(number)
            .map_or(Path::new(""), PathBuf::as_path)
    }

    /// The place at `at` of file `number`, for an error.
    pub(super) fn origin(&self, number: usize, at: u64) -> Origin {
        let path = self.path(number).display().to_string();
        Origin::new(path, ByteOffset::new(at))
    }

    /// Adds a file and gives its number.
    pub(super) fn push(&mut self, path: PathBuf) -> usize {
        self.paths.push(path);
        self.paths.len().saturating_sub(1)
    }

    /// File `number`, open.
    pub(super) fn get(&self, number: usize) -> Result<Arc<RawFile>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = open.iter().position(|(known, _)| *known == number)
            && let Some(entry) = open.remove(place)
        {
            let file = Arc::clone(&entry.1);
            open.push_back(entry);
            return Ok(file);
        }
        let file = Arc::new(RawFile::open(self.path(number))?);
        if open.len() >= MOST_OPEN {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(&file)));
        Ok(file)
    }

    /// The length of file `number` in bytes.
    pub(super) fn bytes(&self, number: usize) -> Result<u64, Error> {
        Ok(self.get(number)?.len())
    }

    /// Fills `buf` from `at` of file `number`. What lies beyond the file's end is a gap, and so is
    /// all of it if the file has gone since.
    pub(super) fn read(&self, number: usize, at: u64, buf: &mut [u8]) -> Gaps {
        let length = buf.len();
        let Ok(file) = self.get(number) else {
            buf.fill(0);
            return Gaps::one(0..length, GapCause::Unreadable);
        };
        let there = usize::try_from(file.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let there = there.min(length);
        let (front, beyond) = buf.split_at_mut(there);
        beyond.fill(0);
        let mut gaps = match file.read_at(ByteOffset::new(at), front) {
            Ok(gaps) => gaps,
            Err(_) => Gaps::one(0..there, GapCause::BeyondEnd),
        };
        gaps.add(there..length, GapCause::BeyondEnd);
        gaps
    }

    /// `N` bytes at `at` of file `number`, if all of them can be had.
    pub(super) fn array<const N: usize>(&self, number: usize, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(number, at, &mut bytes)
            .is_empty()
            .then_some(bytes)
    }

    /// `length` bytes at `at` of file `number`, if all of them can be had. Nothing is allocated
    /// for bytes that the file does not have.
    pub(super) fn whole(&self, number: usize, at: u64, length: usize) -> Option<Vec<u8>> {
        let file = self.get(number).ok()?;
        file.read_whole(ByteOffset::new(at), length)
    }
}
