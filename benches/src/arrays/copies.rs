//! RAID-10, by `__raid10_find_phys`.

use super::Array;

/// The members that hold chunk `number`, the near copies of each far copy together.
pub(super) fn members(n: usize, near: usize, far: usize, number: usize) -> Vec<usize> {
    let first = number * near % n;
    (0..far)
        .flat_map(|f| (0..near).map(move |copy| (first + copy + f * near) % n))
        .collect()
}

/// Lays `content` out; zeros fill the last row.
pub(super) fn lay_out(
    array: &Array,
    near: usize,
    far: usize,
    offset: bool,
    content: &[u8],
) -> Vec<Vec<u8>> {
    let (n, chunk) = (array.members, array.chunk);
    let chunks = content.len().div_ceil(chunk);
    // Rows of one far copy of everything.
    let rows = (chunks * near).div_ceil(n);
    let mut disks = vec![vec![0; rows * far * chunk]; n];
    for (number, piece) in content.chunks(chunk).enumerate() {
        for (copy, member) in members(n, near, far, number).into_iter().enumerate() {
            let (far_copy, near_copy) = (copy / near, copy % near);
            // A near copy past the last member lies on the first one, a row further down.
            let row = (number * near + near_copy) / n;
            let row = match offset {
                true => row * far + far_copy,
                false => row + far_copy * rows,
            };
            disks[member][row * chunk..row * chunk + piece.len()].copy_from_slice(piece);
        }
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// The tables of md(4), chunks of one byte.
    #[test]
    fn copies_lie_where_the_manual_draws_them() {
        for (members, near, far, offset, content, expected) in [
            (4, 2, 1, false, "0123", ["02", "02", "13", "13"].as_slice()),
            (3, 2, 1, false, "012", &["01", "02", "12"]),
            (4, 1, 2, false, "0123", &["03", "10", "21", "32"]),
            (4, 1, 2, true, "0123", &["03", "10", "21", "32"]),
            (3, 1, 2, true, "0123", &["023_", "10_3", "21__"]),
            (3, 1, 2, false, "0123", &["032_", "1_03", "2_1_"]),
        ] {
            let array = Array {
                level: Level::Raid10 { near, far, offset },
                members,
                chunk: 1,
            };
            let disks = lay_out(&array, near, far, offset, content.as_bytes());
            let shown = |byte: &u8| char::from(if *byte == 0 { b'_' } else { *byte });
            let drawn: Vec<String> = disks
                .iter()
                .map(|disk| disk.iter().map(shown).collect())
                .collect();
            assert_eq!(drawn, expected, "{array}");
        }
    }
}
