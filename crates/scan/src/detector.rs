//! What the scanner shows to those who look for something.

use bytes::Bytes;
use evidence::{ByteOffset, Gaps};
use serde::{Deserialize, Serialize};

/// Something that was recognised on a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Find {
    /// Where on the disk its first byte is.
    pub offset: ByteOffset,
    /// What it is: `md-1-superblock`, `xfs-superblock`, `message`.
    pub what: String,
}

/// A stretch of a disk in memory.
#[derive(Clone, Debug)]
pub struct Window {
    /// Where on the disk it begins.
    pub start: ByteOffset,
    /// Its bytes, and after them as many of the next window's as the detectors asked for.
    pub bytes: Bytes,
    /// How many of the bytes are the window's own: a find that begins after them is the next
    /// window's.
    pub own: usize,
    /// The parts of `bytes` that could not be read.
    pub gaps: Gaps,
}

/// Looks for one kind of thing in each window.
///
/// What it reports must depend on the bytes from the find's first one on, at most
/// [`Detector::reach`] of them, and on nothing else: then windows can be cut anywhere.
pub trait Detector: Send + Sync {
    /// How many bytes from the first byte of a find on must be seen.
    fn reach(&self) -> usize;

    /// Adds what begins in the window's own part to `finds`.
    fn detect(&self, window: &Window, finds: &mut Vec<Find>);
}
