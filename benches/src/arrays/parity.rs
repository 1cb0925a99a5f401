//! RAID-0 and the levels with parity.

use super::{Array, Level};

/// A row: who holds what.
struct Row {
    p: Option<usize>,
    q: Option<usize>,
    /// The members that hold the data, in its order.
    data: Vec<usize>,
    /// Whether Q counts all members from the first on, as DDF does.
    by_member: bool,
}

/// Row `number` of an array of `n` members, by `geo_map`.
fn row(level: Level, n: usize, number: usize) -> Row {
    let mut row = match level {
        Level::Raid4 => five(5, n, number),
        Level::Raid5(layout) => five(layout, n, number),
        Level::Raid6(layout @ 16..) => Row {
            q: Some(n - 1),
            ..five(layout - 16, n - 1, number)
        },
        Level::Raid6(layout) => six(layout, n, number),
        _ => Row {
            p: None,
            q: None,
            data: (0..n).collect(),
            by_member: false,
        },
    };
    row.by_member = matches!(level, Level::Raid6(8..=10));
    row
}

fn five(layout: u32, n: usize, number: usize) -> Row {
    let turn = number % n;
    let p = match layout {
        0 | 2 => n - 1 - turn,
        1 | 3 => turn,
        4 => 0,
        _ => n - 1,
    };
    let place = |i: usize| match layout {
        0 | 1 => i + usize::from(i >= p),
        2 | 3 => (p + 1 + i) % n,
        4 => i + 1,
        _ => i,
    };
    Row {
        p: Some(p),
        q: None,
        data: (0..n - 1).map(place).collect(),
        by_member: false,
    }
}

fn six(layout: u32, n: usize, number: usize) -> Row {
    // ROTATING_N_RESTART begins a row later than LEFT_ASYMMETRIC.
    let turn = (number + usize::from(layout == 9)) % n;
    let p = match layout {
        0 | 2 | 9 | 10 => n - 1 - turn,
        1 | 3 | 8 => turn,
        4 => 0,
        _ => n - 2,
    };
    let q = match layout {
        10 => (p + n - 1) % n,
        _ => (p + 1) % n,
    };
    let place = |i: usize| match layout {
        // Q has wrapped around to the first member.
        0 | 1 | 8 | 9 if p == n - 1 => i + 1,
        0 | 1 | 8 | 9 => i + if i >= p { 2 } else { 0 },
        2 | 3 => (p + 2 + i) % n,
        4 => i + 2,
        10 => (p + 1 + i) % n,
        _ => i,
    };
    Row {
        p: Some(p),
        q: Some(q),
        data: (0..n - 2).map(place).collect(),
        by_member: false,
    }
}

impl Row {
    /// The power of 2 that Q multiplies member `holder` with: md counts the members from the
    /// one after Q on and passes over P.
    fn exponent(&self, holder: usize, n: usize) -> usize {
        let Some(q) = self.q else { return 0 };
        if self.by_member {
            return holder;
        }
        let after_q = |member: usize| (member + n - q - 1) % n;
        let passed = self.p.is_some_and(|p| after_q(p) < after_q(holder));
        after_q(holder) - usize::from(passed)
    }
}

/// Every byte times 2 to the power of `exponent`, in the field of polynomial 0x11D.
fn products(exponent: usize) -> [u8; 256] {
    let twice = |v: u8| (v << 1) ^ if v & 0x80 == 0 { 0 } else { 0x1d };
    let mut table = [0; 256];
    for (value, product) in (0..=255).zip(&mut table) {
        *product = (0..exponent).fold(value, |v, _| twice(v));
    }
    table
}

/// Lays `content` out; zeros fill the last row.
pub(super) fn lay_out(array: &Array, content: &[u8]) -> Vec<Vec<u8>> {
    let (n, chunk) = (array.members, array.chunk);
    let tables: Vec<[u8; 256]> = (0..n).map(products).collect();
    let rows = content.len().div_ceil(array.row_bytes());
    let mut disks = vec![vec![0; rows * chunk]; n];
    let mut rest = content;
    for number in 0..rows {
        let row = row(array.level, n, number);
        let at = number * chunk;
        let (mut sum, mut weighted) = (vec![0; chunk], vec![0; chunk]);
        for holder in &row.data {
            let (piece, after) = rest.split_at(chunk.min(rest.len()));
            rest = after;
            disks[*holder][at..at + piece.len()].copy_from_slice(piece);
            if row.p.is_some() {
                sum.iter_mut().zip(piece).for_each(|(s, byte)| *s ^= byte);
            }
            if row.q.is_some() {
                let table = &tables[row.exponent(*holder, n)];
                let pairs = weighted.iter_mut().zip(piece);
                pairs.for_each(|(w, byte)| *w ^= table[usize::from(*byte)]);
            }
        }
        for (holder, bytes) in [(row.p, &sum), (row.q, &weighted)] {
            if let Some(holder) = holder {
                disks[holder][at..at + chunk].copy_from_slice(bytes);
            }
        }
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::super::{RAID5, RAID6};
    use super::*;

    #[test]
    fn rows_hold_each_member_once() {
        let five = RAID5.map(|(number, _)| Level::Raid5(number));
        let six = RAID6.map(|(number, _)| Level::Raid6(number));
        for level in five.into_iter().chain(six).chain([Level::Raid4]) {
            for n in 4..=9 {
                for number in 0..2 * n {
                    let row = row(level, n, number);
                    let mut all: Vec<usize> = row.data.clone();
                    all.extend(row.p.into_iter().chain(row.q));
                    all.sort_unstable();
                    assert_eq!(all, (0..n).collect::<Vec<_>>(), "{level} {number}");
                }
            }
        }
    }

    /// The tables that mdadm's manual and `restripe.c` draw for the common layouts.
    #[test]
    fn rows_are_those_of_the_manual() {
        let drawn = |level: Level, n: usize, rows: usize| -> Vec<String> {
            (0..rows)
                .map(|number| {
                    let row = row(level, n, number);
                    let cell = |member: usize| {
                        let at = row.data.iter().position(|holder| *holder == member);
                        match at {
                            Some(index) => index.to_string(),
                            None if row.p == Some(member) => "P".to_owned(),
                            None => "Q".to_owned(),
                        }
                    };
                    (0..n).map(cell).collect()
                })
                .collect()
        };
        assert_eq!(
            drawn(Level::Raid5(2), 4, 4),
            ["012P", "12P0", "2P01", "P012"]
        );
        assert_eq!(
            drawn(Level::Raid5(0), 4, 4),
            ["012P", "01P2", "0P12", "P012"]
        );
        assert_eq!(
            drawn(Level::Raid6(2), 4, 4),
            ["Q01P", "01PQ", "1PQ0", "PQ01"]
        );
        assert_eq!(
            drawn(Level::Raid6(0), 4, 4),
            ["Q01P", "01PQ", "0PQ1", "PQ01"]
        );
        assert_eq!(
            drawn(Level::Raid6(8), 4, 4),
            ["PQ01", "0PQ1", "01PQ", "Q01P"]
        );
        assert_eq!(
            drawn(Level::Raid6(9), 4, 4),
            ["01PQ", "0PQ1", "PQ01", "Q01P"]
        );
        assert_eq!(
            drawn(Level::Raid6(10), 4, 4),
            ["01QP", "1QP0", "QP01", "P01Q"]
        );
        assert_eq!(drawn(Level::Raid6(18), 4, 3), ["01PQ", "1P0Q", "P01Q"]);
    }
}
