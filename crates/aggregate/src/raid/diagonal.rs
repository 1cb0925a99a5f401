//! Reading RAID-DP groups: row-diagonal parity, by Corbett et al., "Row-Diagonal Parity for
//! Double Disk Failure Correction" (FAST '04).
//!
//! Data and row parity are a RAID-4 group, and are read as one. What row parity alone cannot
//! give is decoded stripe by stripe: all that is known is subtracted from every row and from
//! every diagonal of the stripe, and whatever is the only unknown of a row or a diagonal then
//! comes out of it, which may leave another one alone in its own (the module `peel`).

use std::ops::Range;

use evidence::{Gap, GapCause, Gaps};

use super::members::Members;
use super::parity;
use super::parity_layout::ParityLayout;
use super::parity_rows::ParityRows;
use super::rows::{ParityDelay, Rows};
use super::scratch::Pool;

mod peel;

use peel::{Cell, Column, Plan};

/// Most bytes of a member that are decoded at a time, if a stripe is not longer: three such
/// pieces fit the processor's second cache.
const TILE: u64 = 64 << 10;

/// The numbers of a row-diagonal code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// A prime larger than the number of data members; a stripe has one row fewer.
    pub(super) prime: u32,
    /// Bytes of one row of the stripe on one member.
    pub(super) sub_block: u64,
    /// Data members; they are the first ones, then come row parity and diagonal parity.
    pub(super) data: u32,
}

impl Code {
    /// Bytes of a stripe on one member.
    pub(super) const fn stripe(self) -> u64 {
        (self.prime as u64 - 1) * self.sub_block
    }
}

/// A group with row and diagonal parity.
pub(super) struct DiagonalRows {
    rows: ParityRows,
    code: Code,
    chunk: u64,
    pool: Pool,
}

/// The buffer of a read, where in the group it begins, and what row parity left lost in it.
struct Target<'a> {
    start: u64,
    buf: &'a mut [u8],
    lost: Vec<Gap>,
}

/// Bytes of a column within a tile that could not be read.
struct Erasure {
    column: Column,
    range: Range<u64>,
    cause: GapCause,
}

/// What is left of rows and diagonals of a tile when all that is known is subtracted.
struct Remainders<'a> {
    rows: &'a mut [u8],
    diagonals: &'a mut [u8],
}

impl Target<'_> {
    /// The part of `positions` of the group that lies in the buffer.
    fn index(&self, positions: &Range<u64>) -> Option<Range<usize>> {
        let end = self.start + self.buf.len() as u64;
        let (from, to) = (positions.start.max(self.start), positions.end.min(end));
        if from >= to {
            return None;
        }
        let index = |position: u64| usize::try_from(position - self.start).ok();
        Some(index(from)?..index(to)?)
    }
}

impl DiagonalRows {
    /// A group of this code, with chunks that are not empty.
    pub(super) fn new(code: Code, chunk: u64) -> Self {
        // The last member is no part of the rows.
        let rows = Rows::turning(ParityLayout::Raid4, ParityDelay::NONE, code.data + 1);
        Self {
            rows: ParityRows::new(rows, chunk),
            code,
            chunk,
            pool: Pool::default(),
        }
    }

    /// Fills `buf` from `start` of the group.
    pub(super) fn read(&self, members: &Members, start: u64, buf: &mut [u8]) -> Gaps {
        let gaps = self.rows.read(members, start, buf);
        let missing = (0..members.count()).filter(|member| !members.present(*member));
        if gaps.is_empty() || missing.count() > 2 {
            return gaps;
        }
        let mut target = Target {
            start,
            buf,
            lost: gaps.iter().cloned().collect(),
        };
        let mut left = Vec::new();
        for columns in self.tiles(&target) {
            self.decode(members, &columns, &mut target, &mut left);
        }
        left.sort_by_key(|gap: &Gap| gap.range.start);
        let mut gaps = Gaps::none();
        for gap in left {
            gaps.add(gap.range, gap.cause);
        }
        gaps
    }

    /// The whole stripes, as ranges of a member, in which something is lost; in pieces to decode.
    fn tiles(&self, target: &Target<'_>) -> Vec<Range<u64>> {
        let (stripe, width) = (self.code.stripe(), u64::from(self.code.data));
        let mut stripes: Vec<Range<u64>> = Vec::new();
        for gap in &target.lost {
            let mut position = target.start + gap.range.start as u64;
            let end = target.start + gap.range.end as u64;
            while position < end {
                let inside = position % self.chunk;
                let to = end.min(position - inside + self.chunk);
                let column = position / self.chunk / width * self.chunk + inside;
                let last = column + (to - position - 1);
                stripes.push(column / stripe..last / stripe + 1);
                position = to;
            }
        }
        let most = (TILE / stripe).max(1);
        evidence::merged(stripes)
            .into_iter()
            .flat_map(|range| {
                let end = range.end;
                let starts = (range.start..end).step_by(usize::try_from(most).unwrap_or(1));
                starts.map(move |from| from * stripe..end.min(from + most) * stripe)
            })
            .collect()
    }

    /// Decodes `columns`, which are whole stripes; what stays lost of the buffer goes to `left`.
    fn decode(
        &self,
        members: &Members,
        columns: &Range<u64>,
        target: &mut Target<'_>,
        left: &mut Vec<Gap>,
    ) {
        let length = usize::try_from(columns.end - columns.start).unwrap_or(0);
        self.pool.with(3 * length, |memory| {
            let (piece, rest) = memory.split_at_mut(length);
            let (rows, diagonals) = rest.split_at_mut(length);
            let mut remainders = Remainders { rows, diagonals };
            let erasures = self.gather(members, columns, target, piece, &mut remainders);
            self.solve(columns.start, &erasures, &mut remainders, target, left);
        });
    }

    /// Computes the remainders over all that is known, and returns what is not.
    fn gather(
        &self,
        members: &Members,
        columns: &Range<u64>,
        target: &Target<'_>,
        piece: &mut [u8],
        remainders: &mut Remainders<'_>,
    ) -> Vec<Erasure> {
        remainders.rows.fill(0);
        let mut erasures = Vec::new();
        let mut note = |column, gaps: &Gaps| {
            erasures.extend(gaps.iter().map(|gap| Erasure {
                column,
                range: gap.range.start as u64..gap.range.end as u64,
                cause: gap.cause,
            }));
        };
        let parity_member = usize::try_from(self.code.data).unwrap_or(usize::MAX);
        note(
            Column::Diagonal,
            &members.read(parity_member + 1, columns.start, remainders.diagonals),
        );
        for number in 0..=self.code.data {
            let member = usize::try_from(number).unwrap_or(usize::MAX);
            // Row parity has the last number that the prime leaves; those between are zeros.
            let column = if member == parity_member {
                self.code.prime - 1
            } else {
                number
            };
            let gaps = match self.add_from_buffer(member, columns, target, column, remainders) {
                Some(gaps) => gaps,
                None => {
                    let gaps = members.read(member, columns.start, piece);
                    if gaps.bytes() < piece.len() {
                        self.add_column(remainders, 0, piece, column);
                    }
                    gaps
                }
            };
            note(Column::Row(column), &gaps);
        }
        erasures
    }

    /// Adds bytes of a column, from place `at` of the tile on, to rows and diagonals: row `i` of
    /// column `j` is in diagonal `(i + j) mod p`, and the last diagonal is not kept.
    fn add_column(&self, remainders: &mut Remainders<'_>, at: usize, piece: &[u8], column: u32) {
        let (Ok(stripe), Ok(turn), Ok(sub_block)) = (
            usize::try_from(self.code.stripe()),
            usize::try_from(u64::from(column) * self.code.sub_block),
            usize::try_from(self.code.sub_block),
        ) else {
            return;
        };
        if let Some(rows) = remainders.rows.get_mut(at..at + piece.len()) {
            parity::xor(rows, piece);
        }
        // Up to this place of the stripe a column moves down, behind the next sub-block around.
        let before = stripe.saturating_sub(turn);
        let mut done = 0;
        while done < piece.len() {
            let from = (at + done) % stripe;
            let to = stripe.min(from + piece.len() - done);
            let start = at + done - from;
            let down = from..to.min(before);
            let around = from.max(before + sub_block)..to;
            for (part, place) in [
                (down.clone(), down.start + turn),
                (
                    around.clone(),
                    around.start.wrapping_sub(before + sub_block),
                ),
            ] {
                if part.is_empty() {
                    continue;
                }
                let source = piece.get(done + part.start - from..done + part.end - from);
                let place = start + place;
                let sum = remainders.diagonals.get_mut(place..place + part.len());
                if let (Some(sum), Some(source)) = (sum, source) {
                    parity::xor(sum, source);
                }
            }
            done += to - from;
        }
    }

    /// Where `columns` of a data member lie in the group, chunk by chunk: the positions.
    fn positions(
        &self,
        number: u32,
        columns: &Range<u64>,
    ) -> impl Iterator<Item = Range<u64>> + use<> {
        let (chunk, end) = (self.chunk, columns.end);
        let (width, number) = (u64::from(self.code.data), u64::from(number));
        let mut at = columns.start;
        std::iter::from_fn(move || {
            let (row, inside) = (at / chunk, at % chunk);
            let bytes = (chunk - inside).min(end.checked_sub(at)?);
            let start = (row * width + number) * chunk + inside;
            at += bytes;
            (bytes > 0).then_some(start..start + bytes)
        })
    }

    /// Adds `columns` of a data member from the read's own buffer, if that has all of them, and
    /// returns what is lost there; `None` where the member has to be asked.
    fn add_from_buffer(
        &self,
        member: usize,
        columns: &Range<u64>,
        target: &Target<'_>,
        column: u32,
        remainders: &mut Remainders<'_>,
    ) -> Option<Gaps> {
        let number = u32::try_from(member).ok()?;
        if number >= self.code.data {
            return None;
        }
        let start = |at: u64| {
            let mut positions = self.positions(number, &(at..at + 1));
            positions.next().map(|positions| positions.start)
        };
        let (first, last) = (start(columns.start)?, start(columns.end - 1)?);
        let end = target.start + target.buf.len() as u64;
        if first < target.start || last >= end {
            return None;
        }
        let mut gaps = Gaps::none();
        let mut done = 0;
        for positions in self.positions(number, columns) {
            let range = target.index(&positions)?;
            let before = |gap: &Gap| gap.range.end <= range.start;
            let lost = target.lost.partition_point(before);
            let (mut known, length) = (true, range.len());
            for gap in target.lost.iter().skip(lost) {
                if gap.range.start >= range.end {
                    break;
                }
                let from = gap.range.start.max(range.start) - range.start;
                let to = gap.range.end.min(range.end) - range.start;
                gaps.add(done + from..done + to, gap.cause);
                known = to - from < length;
            }
            // What is lost are zeros, which add nothing.
            if known {
                self.add_column(remainders, done, target.buf.get(range)?, column);
            }
            done += length;
        }
        Some(gaps)
    }

    /// Turns remainders into what is lost, stripe by stripe.
    fn solve(
        &self,
        at: u64,
        erasures: &[Erasure],
        remainders: &mut Remainders<'_>,
        target: &mut Target<'_>,
        left: &mut Vec<Gap>,
    ) {
        let stripe = self.code.stripe();
        let mut plans: Vec<Plan> = Vec::new();
        let mut planned: Vec<(Column, Range<u64>)> = Vec::new();
        for start in (0..remainders.rows.len() as u64).step_by(usize::try_from(stripe).unwrap_or(1))
        {
            let inside = |erasure: &Erasure| {
                let from = erasure.range.start.max(start);
                let to = erasure.range.end.min(start + stripe);
                (from < to).then(|| (erasure.column, from - start..to - start))
            };
            let erased: Vec<_> = erasures.iter().filter_map(inside).collect();
            // Most often the same is lost in every stripe.
            if erased != planned {
                plans = peel::plans(self.code, &erased);
                planned = erased;
            }
            for plan in &plans {
                self.carry_out(at, start, plan, remainders, target);
                for cell in &plan.lost {
                    self.give_up(at, start, plan, *cell, erasures, target, left);
                }
            }
        }
    }

    /// Takes each step of a plan in the stripe that begins at `start` of the tile.
    fn carry_out(
        &self,
        at: u64,
        start: u64,
        plan: &Plan,
        remainders: &mut Remainders<'_>,
        target: &mut Target<'_>,
    ) {
        let length = usize::try_from(plan.bytes.end - plan.bytes.start).unwrap_or(0);
        let first = usize::try_from(start).unwrap_or(usize::MAX);
        let (Some(rows), Some(diagonals)) = (
            remainders.rows.get_mut(first..),
            remainders.diagonals.get_mut(first..),
        ) else {
            return;
        };
        let columns = at + start..at + start + self.code.stripe();
        let in_buffer = |column: &u32| self.in_one_piece(*column, &columns, target);
        let places: Vec<Option<Range<usize>>> = plan.columns.iter().map(in_buffer).collect();
        for step in &plan.steps {
            let (found, other) = if step.by_row {
                (&*rows, &mut *diagonals)
            } else {
                (&*diagonals, &mut *rows)
            };
            let Some(found) = found.get(step.from..step.from + length) else {
                continue;
            };
            if let Some(to) = step.to
                && let Some(to) = other.get_mut(to..to + length)
            {
                add(to, found);
            }
            match places.get(step.column) {
                Some(Some(place)) => {
                    let to = target.buf.get_mut(place.clone());
                    if let Some(to) = to.and_then(|to| to.get_mut(step.at..step.at + length)) {
                        to.copy_from_slice(found);
                    }
                }
                _ => {
                    let from = columns.start + step.at as u64;
                    let column = plan.columns.get(step.column).copied();
                    let column = column.filter(|column| *column < self.code.data);
                    if let Some(column) = column {
                        self.put(column, &(from..from + length as u64), found, target);
                    }
                }
            }
        }
    }

    /// Where `columns` of a data member lie in the buffer, if all of them lie there and follow
    /// each other.
    fn in_one_piece(
        &self,
        column: u32,
        columns: &Range<u64>,
        target: &Target<'_>,
    ) -> Option<Range<usize>> {
        let positions = self.positions(column, columns).next()?;
        let whole = columns.end - columns.start;
        if column >= self.code.data || positions.end - positions.start < whole {
            return None;
        }
        let range = target.index(&positions)?;
        (range.len() as u64 == whole).then_some(range)
    }

    /// Copies `columns` of a data member that were `found` to the buffer, as far as it has them.
    fn put(&self, number: u32, columns: &Range<u64>, found: &[u8], target: &mut Target<'_>) {
        let mut done = 0;
        for positions in self.positions(number, columns) {
            let Some(to) = target.index(&positions) else {
                done += positions.end - positions.start;
                continue;
            };
            let skipped = target.start.saturating_sub(positions.start);
            let from = usize::try_from(done + skipped).unwrap_or(usize::MAX);
            let from = from..from.saturating_add(to.len());
            if let (Some(to), Some(from)) = (target.buf.get_mut(to), found.get(from)) {
                to.copy_from_slice(from);
            }
            done += positions.end - positions.start;
        }
    }

    /// Notes a cell that no plan gives, as far as the buffer has it.
    #[expect(clippy::too_many_arguments, reason = "a place is five of them")]
    fn give_up(
        &self,
        at: u64,
        start: u64,
        plan: &Plan,
        cell: Cell,
        erasures: &[Erasure],
        target: &Target<'_>,
        left: &mut Vec<Gap>,
    ) {
        if cell.column >= self.code.data {
            return;
        }
        let from = start + u64::from(cell.row) * self.code.sub_block + plan.bytes.start;
        let to = from + (plan.bytes.end - plan.bytes.start);
        let holds = |erasure: &&Erasure| {
            erasure.column == Column::Row(cell.column)
                && erasure.range.start <= from
                && to <= erasure.range.end
        };
        let cause = erasures
            .iter()
            .find(holds)
            .map_or(GapCause::MemberMissing, |erasure| erasure.cause);
        for positions in self.positions(cell.column, &(at + from..at + to)) {
            if let Some(range) = target.index(&positions) {
                left.push(Gap { range, cause });
            }
        }
    }
}

/// Adds a piece to another one of its length. Sub-blocks are short, and each step reads what the
/// one before has written: that is quick only where both move 16 bytes at once.
fn add(to: &mut [u8], from: &[u8]) {
    if from.len() > 64 {
        parity::xor(to, from);
        return;
    }
    let (to, to_rest) = to.as_chunks_mut::<16>();
    let (from, from_rest) = from.as_chunks::<16>();
    for (to, from) in to.iter_mut().zip(from) {
        let mut sum = *to;
        for (to, from) in sum.iter_mut().zip(from) {
            *to ^= from;
        }
        *to = sum;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to ^= from;
    }
}
