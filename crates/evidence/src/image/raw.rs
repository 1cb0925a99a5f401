//! One file or device with the bytes of a disk.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::{ByteOffset, Error, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// After a read error the rest of the read is tried in pieces of this size, the size that
/// disks and the page cache fail in.
const RETRY_BYTES: usize = 4096;

/// A file or block device, open for reading only.
pub(super) struct RawFile {
    file: File,
    length: u64,
    /// Ranges that failed once. A dying disk takes seconds to say so: it is asked only once.
    failed: Mutex<Vec<Range<u64>>>,
}

impl RawFile {
    /// Opens the file or device at `path`; its size is found by seeking, which works for both.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let mut file = File::open(path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source: io::Error| Error::io(path, source))?;
        Ok(Self {
            file,
            length,
            failed: Mutex::new(Vec::new()),
        })
    }

    fn failed_before(&self, start: u64, length: usize) -> bool {
        let end = start.saturating_add(length as u64);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().any(|bad| bad.start < end && start < bad.end)
    }

    fn remember(&self, start: u64, length: usize) {
        let end = start.saturating_add(length as u64);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => failed.push(start..end),
        }
    }

    /// Reads as much of `buf` as comes without an error, and says how much that was.
    fn read_while_good(&self, start: u64, buf: &mut [u8]) -> usize {
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, start.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done = done.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        done
    }

    /// Reads `buf` piece by piece, each with its own outcome.
    fn read_piecewise(&self, start: u64, buf: &mut [u8]) -> Gaps {
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        while done < buf.len() {
            let at = start.saturating_add(done as u64);
            let to_border = RETRY_BYTES
                .saturating_sub(at.checked_rem(RETRY_BYTES as u64).unwrap_or(0) as usize);
            let stop = done.saturating_add(to_border).min(buf.len());
            let piece = buf.get_mut(done..stop).unwrap_or_default();
            let good = if self.failed_before(at, piece.len()) {
                0
            } else {
                let good = self.read_while_good(at, piece);
                if good < piece.len() {
                    self.remember(at, piece.len());
                }
                good
            };
            piece.get_mut(good..).unwrap_or_default().fill(0);
            gaps.add(done.saturating_add(good)..stop, GapCause::Unreadable);
            done = stop;
        }
        gaps
    }
}

impl ReadAt for RawFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let start = at.get();
        let good = if self.failed_before(start, buf.len()) {
            0
        } else {
            self.read_while_good(start, buf)
        };
        let mut gaps = Gaps::none();
        if let Some(rest) = buf.get_mut(good..).filter(|rest| !rest.is_empty()) {
            let from = start.saturating_add(good as u64);
            gaps.add_all_at(good, &self.read_piecewise(from, rest));
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_under_us_is_a_gap_and_not_a_crash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![9; 20_000]).unwrap();
        let raw = RawFile::open(file.path()).unwrap();
        File::options()
            .write(true)
            .open(file.path())
            .unwrap()
            .set_len(10_000)
            .unwrap();
        let (bytes, gaps) = raw.read_vec(ByteOffset::new(5_000), 10_000).unwrap();
        assert_eq!((bytes[4_999], bytes[5_000]), (9, 0));
        assert_eq!(gaps, Gaps::one(5_000..10_000, GapCause::Unreadable));
        assert!(raw.failed_before(12_288, 1), "it is not asked again");
    }
}
