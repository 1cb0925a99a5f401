//! Compressed messages, each in a file of its own.

use std::io::{self, BufRead, Read};

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use mail::codec::{self, Codec, MAX_MESSAGE_BYTES};
use mail::header::header;
use rayon::prelude::*;

use super::{Taken, carving};

/// Read at a time.
const WINDOW: usize = 256 << 10;
/// What of a file is decoded to see whether it begins as mail does.
const HEAD: usize = 16 << 10;

/// The messages in the compressed files that begin at `places`, each of which ends where its own
/// format says.
pub(super) fn files(device: &dyn ReadAt, places: &[u64]) -> Vec<Taken> {
    let mut covered = 0_u64;
    let files: Vec<Option<Taken>> = places.par_iter().map(|at| file(device, *at)).collect();
    let mut kept = Vec::new();
    for file in files.into_iter().flatten() {
        let Some(span) = file.spans.first() else {
            continue;
        };
        // A file within another is what that one holds.
        if span.start >= covered {
            covered = span.end;
            kept.push(file);
        }
    }
    kept
}

/// The message in the compressed file at `at`.
fn file(device: &dyn ReadAt, at: u64) -> Option<Taken> {
    let rest = usize::try_from(device.len().checked_sub(at)?).unwrap_or(HEAD);
    let head = device.read_vec(ByteOffset::new(at), rest.min(HEAD)).ok()?.0;
    let codec = Codec::of(&head);
    // Most compressed files hold no mail, and need not be decoded to their end.
    let begin = codec::decode(codec, &head).bytes;
    if !begin.is_empty() && header(&begin).is_none() {
        return None;
    }
    let mut stream = Stream::new(device, at);
    let decoded = codec::decode_one(codec, &mut stream);
    if decoded.error.is_some() || header(&decoded.bytes).is_none() {
        return None;
    }
    let span = at..at.saturating_add(stream.taken);
    // What has no checksum ended as its format says, which chance seldom does.
    let proof = if codec.verifies() {
        Proof::Checksum
    } else {
        Proof::Structure
    };
    let carving = carving(std::slice::from_ref(&span), Some(proof), None, None);
    Some(Taken::one(span, carving))
}

/// The bytes of a device from a place on, up to what cannot be read.
struct Stream<'a> {
    device: &'a dyn ReadAt,
    start: u64,
    /// How many bytes were taken.
    taken: u64,
    /// What was read, and how much of it was taken.
    window: Vec<u8>,
    at: usize,
}

impl<'a> Stream<'a> {
    const fn new(device: &'a dyn ReadAt, start: u64) -> Self {
        Self {
            device,
            start,
            taken: 0,
            window: Vec::new(),
            at: 0,
        }
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.window.len() {
            let from = self.start.saturating_add(self.taken);
            let rest = self.device.len().saturating_sub(from);
            let length = usize::try_from(rest).unwrap_or(WINDOW).min(WINDOW);
            self.window.clear();
            self.at = 0;
            if self.taken <= MAX_MESSAGE_BYTES
                && length > 0
                && let Ok((mut bytes, gaps)) = self.device.read_vec(ByteOffset::new(from), length)
            {
                let gap = gaps.iter().map(|gap| gap.range.start).min();
                bytes.truncate(gap.unwrap_or(length));
                self.window = bytes;
            }
        }
        Ok(self.window.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
        self.taken = self.taken.saturating_add(bytes as u64);
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(into.len());
        let (Some(from), Some(to)) = (there.get(..count), into.get_mut(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.consume(count);
        Ok(count)
    }
}
