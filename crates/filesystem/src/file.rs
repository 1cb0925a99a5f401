//! The contents of one file.

use std::ops::Range;
use std::sync::Arc;

use evidence::{ByteOffset, GapCause, Gaps, Loss, OutOfRange, ReadAt, ReadAtExt};

use crate::decompress::Codec;
use crate::{Extent, Filesystem, Inode, Place};

/// The contents of one file: its extents, read through the view of its file system.
///
/// Holes read as zeros, as they do from a mounted file system; what was lost is a gap.
#[derive(Clone)]
pub struct File {
    view: Arc<dyn ReadAt>,
    size: u64,
    pieces: Vec<Extent>,
    losses: Vec<Loss>,
}

impl File {
    /// The contents of `inode` in `fs`.
    pub fn open(fs: &dyn Filesystem, inode: &Inode) -> Self {
        let map = fs.extents(inode);
        Self {
            view: Arc::clone(fs.view()),
            size: inode.size,
            pieces: map.pieces,
            losses: map.losses,
        }
    }

    /// A file of `size` bytes made of `pieces` of `view`, as an earlier run noted them.
    ///
    /// `None` unless the pieces are ordered, apart from each other and end at `size`.
    pub fn from_pieces(view: Arc<dyn ReadAt>, size: u64, pieces: Vec<Extent>) -> Option<Self> {
        let mut end = 0_u64;
        for piece in &pieces {
            if piece.file_offset != end || piece.length == 0 {
                return None;
            }
            end = end.checked_add(piece.length)?;
        }
        (end == size).then_some(Self {
            view,
            size,
            pieces,
            losses: Vec::new(),
        })
    }

    /// Where its pieces lie.
    pub fn pieces(&self) -> &[Extent] {
        &self.pieces
    }

    /// Parts of its map that could not be read.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// The ranges that read as zeros because nothing was ever written there.
    pub fn never_written(&self) -> impl Iterator<Item = Range<u64>> {
        self.pieces
            .iter()
            .filter(|piece| matches!(piece.place, Place::Hole | Place::Unwritten))
            .map(|piece| piece.file_offset..piece.file_offset.saturating_add(piece.length))
    }
}

impl ReadAt for File {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = Gaps::none();
        let mut done = 0_usize;
        let mut next = self
            .pieces
            .partition_point(|p| p.file_offset.saturating_add(p.length) <= at.get());
        while done < buf.len() {
            let position = at.get().saturating_add(done as u64);
            let Some(piece) = self.pieces.get(next) else {
                // Past the last piece: the map promised more than it holds.
                buf.get_mut(done..).unwrap_or_default().fill(0);
                gaps.add(done..buf.len(), GapCause::Unmapped);
                break;
            };
            let inside = position.saturating_sub(piece.file_offset);
            let there = usize::try_from(piece.length.saturating_sub(inside)).unwrap_or(usize::MAX);
            let stop = done.saturating_add(there).min(buf.len());
            let part = buf.get_mut(done..stop).unwrap_or_default();
            match piece.place {
                Place::At(start) => match start.checked_add(inside) {
                    Some(from) if self.view.check_range(from, part.len()).is_ok() => {
                        gaps.add_all_at(done, &self.view.read_at(from, part)?);
                    }
                    _ => {
                        part.fill(0);
                        gaps.add(done..stop, GapCause::BeyondEnd);
                    }
                },
                Place::Compressed {
                    at,
                    stored,
                    codec,
                    skip,
                } => {
                    let from = Stored { at, stored, codec };
                    let skip = skip.saturating_add(inside);
                    gaps.add_all_at(done, &from.read(self.view.as_ref(), skip, part));
                }
                Place::Hole | Place::Unwritten => part.fill(0),
                Place::Lost => {
                    part.fill(0);
                    gaps.add(done..stop, GapCause::Unmapped);
                }
            }
            done = stop;
            next = next.saturating_add(1);
        }
        Ok(gaps)
    }
}

/// The most that is decoded at a time: no format keeps more in one compressed extent.
const MOST_DECODED: u64 = 16 << 20;

/// An extent that is stored compressed.
struct Stored {
    at: ByteOffset,
    stored: u64,
    codec: Codec,
}

impl Stored {
    /// Fills `part` with what is decoded behind the first `skip` bytes.
    ///
    /// What is stored is worth something only whole: one gap in it takes all.
    fn read(&self, view: &dyn ReadAt, skip: u64, part: &mut [u8]) -> Gaps {
        part.fill(0);
        let all = 0..part.len();
        let limit = skip.saturating_add(part.len() as u64);
        let length = usize::try_from(self.stored).unwrap_or(usize::MAX);
        if self.stored.max(limit) > MOST_DECODED {
            return Gaps::one(all, GapCause::DoesNotDecode);
        }
        let Ok((stored, gaps)) = view.read_vec(self.at, length) else {
            return Gaps::one(all, GapCause::BeyondEnd);
        };
        if let Some(gap) = gaps.iter().next() {
            return Gaps::one(all, gap.cause);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let decoded = self.codec.decode(&stored, limit).unwrap_or_default();
        let from = usize::try_from(skip).unwrap_or(usize::MAX);
        let decoded = decoded.get(from..).unwrap_or_default();
        let there = decoded.len().min(part.len());
        if let (Some(part), Some(decoded)) = (part.get_mut(..there), decoded.get(..there)) {
            part.copy_from_slice(decoded);
        }
        let mut rest = Gaps::one(there..all.end, GapCause::DoesNotDecode);
        if !gaps.suspects().is_empty() {
            rest.add_suspect(0..there);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    fn piece(file_offset: u64, length: u64, place: Place) -> Extent {
        Extent {
            file_offset,
            length,
            place,
        }
    }

    #[test]
    fn holes_are_zeros_and_lost_pieces_are_gaps() {
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new((0..32).collect()));
        let file = File::from_pieces(
            view,
            14,
            vec![
                piece(0, 4, Place::At(ByteOffset::new(20))),
                piece(4, 4, Place::Hole),
                piece(8, 4, Place::Lost),
                piece(12, 2, Place::At(ByteOffset::new(31))),
            ],
        )
        .unwrap();
        let (bytes, gaps) = file.read_vec(ByteOffset::ZERO, 14).unwrap();
        assert_eq!(bytes, [20, 21, 22, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut want = Gaps::one(8..12, GapCause::Unmapped);
        want.add(12..14, GapCause::BeyondEnd);
        assert_eq!(gaps, want);
        assert!(file.never_written().eq(std::iter::once(4..8)));
    }

    #[test]
    fn pieces_that_leave_a_break_are_refused() {
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0; 32]));
        let broken = vec![piece(0, 4, Place::Hole), piece(5, 4, Place::Hole)];
        assert!(File::from_pieces(Arc::clone(&view), 9, broken).is_none());
        assert!(File::from_pieces(view, 9, vec![piece(0, 4, Place::Hole)]).is_none());
    }
}
