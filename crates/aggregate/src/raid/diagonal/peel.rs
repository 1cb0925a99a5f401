//! In what order the lost cells of a row-diagonal stripe come out of their rows and diagonals.

use std::ops::Range;

use super::Code;

/// A column of the code's matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Data, or row parity, which has the number of the prime less one.
    Row(u32),
    /// Diagonal parity.
    Diagonal,
}

/// One sub-block of data or row parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) row: u32,
    pub(super) column: u32,
}

/// Cells whose sum is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Equation {
    Row(u32),
    Diagonal(u32),
}

/// A cell that is the only unknown of a row or diagonal, in places of a stripe: where in the
/// rows, or in the diagonals, the bytes of a plan lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Whether a row gives it, and not a diagonal.
    pub(super) by_row: bool,
    /// The place of the row or diagonal that gives it.
    pub(super) from: usize,
    /// The place of the other one that it is in, unless that is of no use.
    pub(super) to: Option<usize>,
    /// Which of the plan's columns it belongs to.
    pub(super) column: usize,
    /// Its place in that column.
    pub(super) at: usize,
}

/// How to decode the same bytes of every sub-block of a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Which bytes of each sub-block.
    pub(super) bytes: Range<u64>,
    /// The columns that lost something, with row parity.
    pub(super) columns: Vec<u32>,
    pub(super) steps: Vec<Step>,
    /// The cells that do not come out.
    pub(super) lost: Vec<Cell>,
}

/// The plans for a stripe in which these ranges of its columns are lost: one for each range of
/// bytes of a sub-block in which the same cells are lost.
pub(super) fn plans(code: Code, erased: &[(Column, Range<u64>)]) -> Vec<Plan> {
    let ends = erased
        .iter()
        .flat_map(|(_, range)| [range.start, range.end]);
    let mut cuts: Vec<u64> = ends
        .map(|end| end % code.sub_block)
        .chain([0, code.sub_block])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.clone().into_iter().skip(1);
    let bytes = cuts.into_iter().zip(ends).map(|(from, to)| from..to);
    bytes.map(|bytes| plan(code, erased, bytes)).collect()
}

/// The rows of a stripe that a lost range covers, for the byte at `byte` of each sub-block.
fn rows_of(code: Code, range: &Range<u64>, byte: u64) -> Range<u32> {
    let row = |end: u64| {
        let row = end.saturating_sub(byte).div_ceil(code.sub_block);
        u32::try_from(row).unwrap_or(u32::MAX).min(code.prime - 1)
    };
    row(range.start)..row(range.end)
}

/// The unknowns of the rows and diagonals of a stripe. For each: how many there are, and the XOR
/// of their numbers, which is the number itself where one is left.
struct Unknowns {
    code: Code,
    cells: Vec<Cell>,
    rows: Vec<Option<(u32, usize)>>,
    diagonals: Vec<Option<(u32, usize)>>,
}

impl Unknowns {
    fn new(code: Code, erased: &[(Column, Range<u64>)], byte: u64) -> Self {
        let count = usize::try_from(code.prime - 1).unwrap_or(0);
        let mut this = Self {
            code,
            cells: Vec::new(),
            rows: vec![Some((0, 0)); count],
            diagonals: vec![Some((0, 0)); count],
        };
        for (column, range) in erased {
            for row in rows_of(code, range, byte) {
                match column {
                    Column::Row(column) => this.add(Cell {
                        row,
                        column: *column,
                    }),
                    // Without its sum a diagonal says nothing.
                    Column::Diagonal => {
                        if let Some(diagonal) = this.equation(Equation::Diagonal(row)) {
                            *diagonal = None;
                        }
                    }
                }
            }
        }
        this
    }

    fn add(&mut self, cell: Cell) {
        let number = self.cells.len();
        self.cells.push(cell);
        for equation in self.equations(cell).into_iter().flatten() {
            if let Some(Some((count, numbers))) = self.equation(equation) {
                *count += 1;
                *numbers ^= number;
            }
        }
    }

    /// The row and, unless it is the one that is not kept, the diagonal of a cell.
    const fn equations(&self, cell: Cell) -> [Option<Equation>; 2] {
        let diagonal = (cell.row + cell.column) % self.code.prime;
        let kept = diagonal != self.code.prime - 1;
        [
            Some(Equation::Row(cell.row)),
            if kept {
                Some(Equation::Diagonal(diagonal))
            } else {
                None
            },
        ]
    }

    fn equation(&mut self, equation: Equation) -> Option<&mut Option<(u32, usize)>> {
        let (all, number) = match equation {
            Equation::Row(number) => (&mut self.rows, number),
            Equation::Diagonal(number) => (&mut self.diagonals, number),
        };
        all.get_mut(usize::try_from(number).ok()?)
    }

    /// Takes a cell that is known now out of its equations, and returns the one besides `from`.
    fn take(&mut self, number: usize, cell: Cell, from: Equation) -> Option<Equation> {
        let mut other = None;
        for equation in self.equations(cell).into_iter().flatten() {
            if let Some(Some((count, numbers))) = self.equation(equation) {
                *count -= 1;
                *numbers ^= number;
                if equation != from {
                    other = Some(equation);
                }
            }
        }
        other
    }

    /// The number of the cell, if it is the only unknown of this equation.
    fn only(&mut self, equation: Equation) -> Option<usize> {
        match self.equation(equation) {
            Some(Some((1, number))) => Some(*number),
            _ => None,
        }
    }
}

fn plan(code: Code, erased: &[(Column, Range<u64>)], bytes: Range<u64>) -> Plan {
    let mut unknowns = Unknowns::new(code, erased, bytes.start);
    let mut columns: Vec<u32> = unknowns.cells.iter().map(|cell| cell.column).collect();
    columns.sort_unstable();
    columns.dedup();
    let place = |number: u32| {
        let place = u64::from(number) * code.sub_block + bytes.start;
        usize::try_from(place).unwrap_or(usize::MAX)
    };
    let mut solved = vec![false; unknowns.cells.len()];
    let mut steps = Vec::new();
    let all = (0..code.prime - 1).flat_map(|n| [Equation::Diagonal(n), Equation::Row(n)]);
    let mut waiting: Vec<Equation> = all.collect();
    // Each step takes one unknown out of two equations and puts at most one back on the list.
    while let Some(from) = waiting.pop() {
        let Some(number) = unknowns.only(from) else {
            continue;
        };
        let (Some(cell), Some(done)) = (unknowns.cells.get(number), solved.get_mut(number)) else {
            continue;
        };
        let cell = *cell;
        *done = true;
        let to = unknowns.take(number, cell, from);
        waiting.extend(to);
        steps.push(Step {
            by_row: matches!(from, Equation::Row(_)),
            from: place(from.number()),
            to: to.map(|to| place(to.number())),
            column: columns.partition_point(|column| *column < cell.column),
            at: place(cell.row),
        });
    }
    let lost = unknowns.cells.iter().zip(&solved);
    Plan {
        bytes,
        columns,
        lost: lost
            .filter(|(_, solved)| !**solved)
            .map(|(cell, _)| *cell)
            .collect(),
        steps,
    }
}

impl Equation {
    /// The number of the row or diagonal.
    const fn number(self) -> u32 {
        match self {
            Self::Row(number) | Self::Diagonal(number) => number,
        }
    }
}
