//! Reading groups with P and Q: RAID-4, RAID-5, RAID-6 and tables.
//!
//! A read first takes every chunk from its own member, straight into the caller's buffer. If
//! that leaves holes, each row with a hole is repaired: the known pieces of the row, most of
//! which already lie in the buffer, are subtracted from P (and from Q, where P is not enough),
//! and the remainders give the lost pieces, for each byte range with its own set of losses.

use std::ops::Range;

use evidence::{GapCause, Gaps};

use super::members::Members;
use super::parity;
use super::rows::{RowView, Rows};
use super::scratch::Pool;

/// Most bytes of a column that are repaired at a time: three such pieces fit the processor's
/// second cache.
const TILE: u64 = 128 << 10;

/// A group with parity: what positions map to, and memory for repairs.
pub(super) struct ParityRows {
    rows: Rows,
    chunk: u64,
    pool: Pool,
}

/// What a read found out besides the bytes.
#[derive(Default)]
struct Findings {
    /// What its own member does not have, in order.
    holes: Vec<Hole>,
    /// What its own member has, and is not to be relied on.
    suspects: Vec<Suspect>,
    /// What cannot be repaired.
    lost: Vec<(Range<usize>, GapCause)>,
    /// Ranges of the buffer that are not to be relied on.
    doubtful: Vec<Range<usize>>,
}

/// A piece of a data chunk that was read and is not to be relied on.
struct Suspect {
    row: u64,
    columns: Range<u64>,
}

/// A range of the buffer that its own member does not have, within one chunk.
struct Hole {
    row: u64,
    /// The number of the data chunk in its row.
    number: u64,
    /// Where in the chunk, in bytes.
    columns: Range<u64>,
    /// Where in the buffer.
    range: Range<usize>,
    cause: GapCause,
}

/// A piece of a row, within a tile, that could not be read.
struct Erasure {
    piece: Piece,
    range: Range<usize>,
    cause: GapCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// The data chunk of this number in its row.
    Data(u64),
    P,
    Q,
    /// No erasure: what was read of some piece is not to be relied on.
    Doubt,
}

/// The buffer of a read and where in the group it begins.
struct Target<'a> {
    start: u64,
    buf: &'a mut [u8],
}

/// A piece of a column: the same bytes of every chunk of a row.
struct Tile<'a> {
    number: u64,
    row: RowView<'a>,
    columns: Range<u64>,
    /// The holes that the direct read left in the row.
    holes: &'a [Hole],
}

/// The memory of one repair: what was read of one piece, and the remainders of P and Q.
struct Remainders<'a> {
    piece: &'a mut [u8],
    p: &'a mut [u8],
    q: &'a mut [u8],
}

impl Tile<'_> {
    /// What the direct read did not get of this tile of a data chunk.
    fn gaps(&self, number: u64) -> Gaps {
        let mut gaps = Gaps::none();
        for hole in self.holes.iter().filter(|hole| hole.number == number) {
            let index = |column: u64| {
                let inside = column.clamp(self.columns.start, self.columns.end);
                usize::try_from(inside - self.columns.start).unwrap_or(usize::MAX)
            };
            gaps.add(
                index(hole.columns.start)..index(hole.columns.end),
                hole.cause,
            );
        }
        gaps
    }
}

impl ParityRows {
    /// A group of these rows, with chunks that are not empty.
    pub(super) fn new(rows: Rows, chunk: u64) -> Self {
        Self {
            rows,
            chunk,
            pool: Pool::default(),
        }
    }

    /// Fills `buf` from `start` of the group.
    pub(super) fn read(&self, members: &Members, start: u64, buf: &mut [u8]) -> Gaps {
        let mut found = self.read_direct(members, start, buf);
        let mut holes = std::mem::take(&mut found.holes);
        // A table may go back and forth between rows; each is repaired once, with all its holes.
        holes.sort_by_key(|hole| hole.row);
        let mut target = Target { start, buf };
        for holes in holes.chunk_by(|a, b| a.row == b.row) {
            self.repair_row(members, holes, &mut target, &mut found);
        }
        found.lost.sort_by_key(|(range, _)| range.start);
        let mut gaps = Gaps::none();
        for (range, cause) in found.lost {
            gaps.add(range, cause);
        }
        for range in found.doubtful {
            gaps.add_suspect(range);
        }
        gaps
    }

    /// Reads every chunk from its own member and returns what is missing or suspect.
    fn read_direct(&self, members: &Members, start: u64, buf: &mut [u8]) -> Findings {
        let mut found = Findings::default();
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = start + done as u64;
            let (number, inside) = (position / self.chunk, position % self.chunk);
            let length = usize::try_from(self.chunk - inside)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (row, number) = self.rows.place(number);
            let member = self.rows.row(row).data(number);
            let part = rest.split_at_mut(length).0;
            let gaps = members.read(member, row * self.chunk + inside, part);
            for range in gaps.suspects() {
                found.suspects.push(Suspect {
                    row,
                    columns: inside + range.start as u64..inside + range.end as u64,
                });
                found.doubtful.push(done + range.start..done + range.end);
            }
            found.holes.extend(gaps.iter().map(|gap| Hole {
                row,
                number,
                columns: inside + gap.range.start as u64..inside + gap.range.end as u64,
                range: done + gap.range.start..done + gap.range.end,
                cause: gap.cause,
            }));
            done += length;
        }
        found
    }

    /// Repairs the `holes` of one row, tile by tile; what stays lost goes to `lost`.
    fn repair_row(
        &self,
        members: &Members,
        holes: &[Hole],
        target: &mut Target<'_>,
        found: &mut Findings,
    ) {
        let Some(number) = holes.first().map(|hole| hole.row) else {
            return;
        };
        let row = self.rows.row(number);
        if hopeless(&row, members) {
            let gone = holes.iter().map(|hole| (hole.range.clone(), hole.cause));
            found.lost.extend(gone);
            return;
        }
        let end = holes.iter().map(|hole| hole.columns.end).max().unwrap_or(0);
        let mut from = holes
            .iter()
            .map(|hole| hole.columns.start)
            .min()
            .unwrap_or(end);
        while from < end {
            let to = end.min(from + TILE);
            // Only what holes reach of this tile, and no tile where none does.
            let inside = |hole: &&Hole| hole.columns.start < to && from < hole.columns.end;
            let first = holes
                .iter()
                .filter(inside)
                .map(|hole| hole.columns.start.max(from))
                .min();
            let last = holes
                .iter()
                .filter(inside)
                .map(|hole| hole.columns.end.min(to))
                .max();
            if let (Some(first), Some(last)) = (first, last) {
                let tile = Tile {
                    number,
                    row,
                    columns: first..last,
                    holes,
                };
                self.repair_tile(members, &tile, target, found);
            }
            from = to;
        }
    }

    fn repair_tile(
        &self,
        members: &Members,
        tile: &Tile<'_>,
        target: &mut Target<'_>,
        found: &mut Findings,
    ) {
        let length = usize::try_from(tile.columns.end - tile.columns.start).unwrap_or(0);
        self.pool.with(3 * length, |memory| {
            let (piece, remainders) = memory.split_at_mut(length);
            let (p, q) = remainders.split_at_mut(length);
            let mut remainders = Remainders { piece, p, q };
            // P alone repairs most rows. Where it cannot, the row is read again for Q as well;
            // unless it is known from the start that P cannot.
            let missing_data = (0..tile.row.width())
                .filter(|number| !members.present(tile.row.data(*number)))
                .count();
            let has_p = tile.row.p().is_some_and(|p| members.present(p));
            let q_needed = missing_data > 1 || (missing_data == 1 && !has_p);
            let mut erasures = self.gather(members, tile, target, &mut remainders, q_needed);
            if !q_needed && tile.row.q().is_some() && !solvable_by_p(&erasures) {
                erasures = self.gather(members, tile, target, &mut remainders, true);
            }
            let doubts = doubts(tile, &found.suspects, &erasures);
            self.solve(tile, target, &mut remainders, &erasures, found);
            for hole in tile.holes {
                for doubt in &doubts {
                    let from = hole.columns.start.max(doubt.start);
                    let to = hole.columns.end.min(doubt.end);
                    let index = |column: u64| {
                        let inside = column.saturating_sub(hole.columns.start);
                        hole.range.start + usize::try_from(inside).unwrap_or(usize::MAX)
                    };
                    if from < to {
                        found.doubtful.push(index(from)..index(to));
                    }
                }
            }
        });
    }

    /// Computes the remainders of P, and of Q if `with_q`, over all that is known of the tile,
    /// and returns what is not.
    fn gather(
        &self,
        members: &Members,
        tile: &Tile<'_>,
        target: &Target<'_>,
        remainders: &mut Remainders<'_>,
        with_q: bool,
    ) -> Vec<Erasure> {
        let at = tile.number * self.chunk + tile.columns.start;
        let length = remainders.p.len();
        let mut erasures = Vec::new();
        let mut note = |piece, gaps: &Gaps| {
            let doubts = gaps.suspects().into_iter();
            erasures.extend(doubts.map(|range| Erasure {
                piece: Piece::Doubt,
                range,
                cause: GapCause::Overwritten,
            }));
            erasures.extend(gaps.iter().map(|gap| Erasure {
                piece,
                range: gap.range.clone(),
                cause: gap.cause,
            }));
        };
        match tile.row.p() {
            Some(p) => note(Piece::P, &members.read(p, at, remainders.p)),
            None => note(Piece::P, &Gaps::one(0..length, GapCause::MemberMissing)),
        }
        match tile.row.q().filter(|_| with_q) {
            Some(q) => note(Piece::Q, &members.read(q, at, remainders.q)),
            // Not read is as good as not there.
            None => note(Piece::Q, &Gaps::one(0..length, GapCause::MemberMissing)),
        }
        for number in 0..tile.row.width() {
            let member = tile.row.data(number);
            if !members.present(member) {
                note(
                    Piece::Data(number),
                    &Gaps::one(0..length, GapCause::MemberMissing),
                );
                continue;
            }
            let piece: &[u8] = match self.whole_in_buffer(tile, number, target) {
                Some(known) => {
                    note(Piece::Data(number), &tile.gaps(number));
                    known
                }
                None => {
                    note(
                        Piece::Data(number),
                        &members.read(member, at, remainders.piece),
                    );
                    remainders.piece
                }
            };
            if with_q {
                let coefficient = tile.row.coefficient(number);
                parity::subtract(remainders.p, remainders.q, piece, coefficient);
            } else {
                parity::xor(remainders.p, piece);
            }
        }
        erasures
    }

    /// The tile's bytes of a data chunk, if the read has them in its buffer already.
    fn whole_in_buffer<'a>(
        &self,
        tile: &Tile<'_>,
        number: u64,
        target: &'a Target<'_>,
    ) -> Option<&'a [u8]> {
        let length = usize::try_from(tile.columns.end - tile.columns.start).ok()?;
        let (range, _) = self.in_buffer(tile, number, target, 0..length)?;
        (range.len() == length)
            .then(|| target.buf.get(range))
            .flatten()
    }

    /// Where `part` of the tile of a data chunk lies in the buffer, as far as it does, and
    /// which part of the tile that is.
    fn in_buffer(
        &self,
        tile: &Tile<'_>,
        number: u64,
        target: &Target<'_>,
        part: Range<usize>,
    ) -> Option<(Range<usize>, Range<usize>)> {
        let first = self.rows.number(tile.number, number) * self.chunk + tile.columns.start;
        let end = target.start + target.buf.len() as u64;
        let from = (first + part.start as u64).max(target.start);
        let to = (first + part.end as u64).min(end);
        if from >= to {
            return None;
        }
        let relative = |from: u64, to: u64, base: u64| -> Option<Range<usize>> {
            Some(usize::try_from(from - base).ok()?..usize::try_from(to - base).ok()?)
        };
        Some((
            relative(from, to, target.start)?,
            relative(from, to, first)?,
        ))
    }

    /// Turns remainders into the lost pieces, byte range by byte range.
    fn solve(
        &self,
        tile: &Tile<'_>,
        target: &mut Target<'_>,
        remainders: &mut Remainders<'_>,
        erasures: &[Erasure],
        found: &mut Findings,
    ) {
        for range in ranges(erasures, remainders.p.len()) {
            let here = |erasure: &&Erasure| {
                erasure.range.start <= range.start && range.end <= erasure.range.end
            };
            let erased: Vec<&Erasure> = erasures.iter().filter(here).collect();
            let data: Vec<(u64, GapCause)> = erased
                .iter()
                .filter_map(|erasure| match erasure.piece {
                    Piece::Data(number) => Some((number, erasure.cause)),
                    Piece::P | Piece::Q | Piece::Doubt => None,
                })
                .collect();
            let has = |piece| erased.iter().all(|erasure| erasure.piece != piece);
            let (Some(p), Some(q)) = (
                remainders.p.get_mut(range.clone()),
                remainders.q.get_mut(range.clone()),
            ) else {
                continue;
            };
            let coefficient = |number| tile.row.coefficient(number);
            let mut put = |number, piece: &[u8]| self.put(tile, number, &range, piece, target);
            match (data.as_slice(), has(Piece::P), has(Piece::Q)) {
                ([], _, _) => {}
                ([(one, _)], true, _) => put(*one, p),
                ([(one, _)], false, true) => {
                    parity::recover_by_q(q, coefficient(*one));
                    put(*one, q);
                }
                ([(one, _), (two, _)], true, true) => {
                    parity::recover_two(p, q, coefficient(*one), coefficient(*two));
                    put(*one, p);
                    put(*two, q);
                }
                (many, _, _) => found.lost.extend(many.iter().filter_map(|(number, cause)| {
                    let (hole, _) = self.in_buffer(tile, *number, target, range.clone())?;
                    Some((hole, *cause))
                })),
            }
        }
    }

    /// Copies a rebuilt `piece` of a data chunk to the buffer, as far as the read covers it.
    fn put(
        &self,
        tile: &Tile<'_>,
        number: u64,
        range: &Range<usize>,
        piece: &[u8],
        target: &mut Target<'_>,
    ) {
        let Some((to, from)) = self.in_buffer(tile, number, target, range.clone()) else {
            return;
        };
        let from = from.start - range.start..from.end - range.start;
        if let (Some(to), Some(from)) = (target.buf.get_mut(to), piece.get(from)) {
            to.copy_from_slice(from);
        }
    }
}

/// Whether more members of a row are missing altogether than its parity can replace.
fn hopeless(row: &RowView<'_>, members: &Members) -> bool {
    let data = (0..row.width()).map(|number| row.data(number));
    let missing = data
        .chain(row.p())
        .chain(row.q())
        .filter(|member| !members.present(*member));
    missing.count() > row.parities()
}

/// The columns of a tile in which something that repairs use is not to be relied on.
fn doubts(tile: &Tile<'_>, suspects: &[Suspect], erasures: &[Erasure]) -> Vec<Range<u64>> {
    let start = tile.columns.start;
    let read = erasures
        .iter()
        .filter(|erasure| erasure.piece == Piece::Doubt)
        .map(|erasure| start + erasure.range.start as u64..start + erasure.range.end as u64);
    let direct = suspects
        .iter()
        .filter(|suspect| suspect.row == tile.number)
        .map(|suspect| suspect.columns.clone());
    read.chain(direct)
        .map(|range| range.start.max(start)..range.end.min(tile.columns.end))
        .filter(|range| !range.is_empty())
        .collect()
}

/// Whether no byte range lacks more than one of data and P.
fn solvable_by_p(erasures: &[Erasure]) -> bool {
    let mut ranges: Vec<&Range<usize>> = erasures
        .iter()
        .filter(|erasure| !matches!(erasure.piece, Piece::Q | Piece::Doubt))
        .map(|erasure| &erasure.range)
        .collect();
    ranges.sort_by_key(|range| range.start);
    ranges.is_sorted_by(|earlier, later| earlier.end <= later.start)
}

/// `0..length` cut where the set of erasures changes.
fn ranges(erasures: &[Erasure], length: usize) -> impl Iterator<Item = Range<usize>> {
    let mut cuts: Vec<usize> = erasures
        .iter()
        .flat_map(|erasure| [erasure.range.start, erasure.range.end])
        .chain([0, length])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.clone().into_iter().skip(1);
    cuts.into_iter().zip(ends).map(|(start, end)| start..end)
}

#[cfg(test)]
mod tests;
