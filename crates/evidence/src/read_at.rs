//! The one trait through which all evidence is read.

use std::sync::Arc;

use crate::{ByteOffset, Gaps};

/// A read that reaches past the end: a mistake of the caller, not damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a read of {length} bytes at {at} reaches past the end at {end}")]
pub struct OutOfRange {
    /// Where the read began.
    pub at: ByteOffset,
    /// How many bytes it asked for.
    pub length: u64,
    /// The length of what was read from, in bytes.
    pub end: u64,
}

/// Bytes at offsets, some of which may not be readable.
///
/// Threads share it: a read takes its own position, there is no cursor.
pub trait ReadAt: Send + Sync {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of its bytes are known not to be readable before they are read: what a mapfile
    /// names. Of two images of one disk the one with fewer is the better one.
    fn known_gaps(&self) -> u64 {
        0
    }

    /// Fills the whole of `buf` from `at` and names the ranges of `buf` that could not be read.
    ///
    /// Bytes inside a gap are set to zero, so that a result never depends on what the buffer
    /// held before; that they are not the disk's zeros is said by the gap alone.
    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange>;
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn known_gaps(&self) -> u64 {
        (**self).known_gaps()
    }
    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        (**self).read_at(at, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn known_gaps(&self) -> u64 {
        (**self).known_gaps()
    }
    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        (**self).read_at(at, buf)
    }
}

/// What every [`ReadAt`] can do on top of reading.
pub trait ReadAtExt: ReadAt {
    /// Checks that `length` bytes at `at` lie inside, and says so in the type of the error if not.
    fn check_range(&self, at: ByteOffset, length: usize) -> Result<(), OutOfRange> {
        let length = length as u64;
        match at.checked_add(length) {
            Some(end) if end.get() <= self.len() => Ok(()),
            _ => Err(OutOfRange {
                at,
                length,
                end: self.len(),
            }),
        }
    }

    /// Reads `length` bytes at `at` into memory of their own.
    ///
    /// The range is checked before anything is allocated, so a length that was read from a
    /// disk cannot ask for more memory than the evidence is long.
    fn read_vec(&self, at: ByteOffset, length: usize) -> Result<(Vec<u8>, Gaps), OutOfRange> {
        self.check_range(at, length)?;
        let mut buf = vec![0; length];
        let gaps = self.read_at(at, &mut buf)?;
        Ok((buf, gaps))
    }

    /// Reads `length` bytes at `at` if all of them can be had: for metadata that is worth
    /// nothing with a hole in it.
    fn read_whole(&self, at: ByteOffset, length: usize) -> Option<Vec<u8>> {
        match self.read_vec(at, length) {
            Ok((buf, gaps)) if gaps.is_empty() => Some(buf),
            _ => None,
        }
    }
}

impl<T: ReadAt + ?Sized> ReadAtExt for T {}
