//! Where a message ends in a block that holds something else behind that, which reads on like a part of
//! it or breaks all that it had begun: what the block held before, for a file system that leaves it.

use super::body::closes_within;
use super::{MOST_LINE, Reader};

/// Where in a block a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// So many bytes of the block are its own.
    pub(crate) at: usize,
    /// Whether what follows stands in the same line, so that nobody can have added it.
    pub(crate) is_within_line: bool,
}

impl Reader {
    /// Where the message ends in `block`, which comes next: where a hash of the whole body verifies, if one
    /// does, or one of a first part that is as long as the body and ends within a line; or else where its
    /// outermost multipart is closed. Tries each byte, but of lines that are longer than any is.
    pub(crate) fn ending_in(&self, block: &[u8]) -> Option<Ending> {
        let mut reader = self.clone();
        reader.watches = true;
        reader.verified = None;
        let (mut verified, mut closed) = (None, None);
        let mut at = 0_usize;
        loop {
            let rest = block.get(at..).unwrap_or_default();
            let length = memchr::memchr(b'\n', rest);
            let piece = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
            let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
            if let Some(ending) = reader.ending_within(piece, at, &mut closed) {
                return Some(ending);
            }
            let Some(length) = length else {
                return verified.or(closed);
            };
            let next = at.saturating_add(length).saturating_add(1);
            reader.feed(block.get(at..next).unwrap_or_default());
            at = next;
            let here = Ending {
                at,
                is_within_line: false,
            };
            if reader.verified == Some(reader.at) {
                verified = Some(here);
            } else if verified.is_some() {
                return verified;
            }
            if reader.closed == Some(reader.at) {
                closed = closed.or(Some(here));
            }
        }
    }

    /// Where a body hash verifies within the next line, which ends with `piece` at byte `at` of a block;
    /// `closed` is told where its outermost multipart is closed.
    fn ending_within(
        &self,
        piece: &[u8],
        at: usize,
        closed: &mut Option<Ending>,
    ) -> Option<Ending> {
        self.body_start?;
        if self.line.len() > MOST_LINE {
            return None;
        }
        let line = [self.line.as_slice(), piece].concat();
        let ending = |end: usize| {
            let own = end.checked_sub(self.line.len()).filter(|own| *own > 0)?;
            Some(Ending {
                at: at.saturating_add(own),
                is_within_line: true,
            })
        };
        if closed.is_none() && self.closed.is_none() {
            let outermost = self.levels.first();
            let end = outermost.and_then(|level| closes_within(&line, &level.boundary));
            *closed = end.and_then(ending);
        }
        let mut hashes = self.hashes.iter();
        hashes.find_map(|(_, hash)| ending(hash.ends_within(&self.line, piece)?))
    }
}
