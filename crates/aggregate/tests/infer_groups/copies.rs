//! Copies: mirrors, and the layouts of RAID-10.

use aggregate::discover;

use super::{CONTENT, disk, found, lay_out, noise, shuffled};

#[test]
fn stripes_over_mirrors_are_put_together_with_a_mirror_broken() {
    let striped = lay_out(&CONTENT, "raid0", 3, 64 << 10, 1 << 20);
    let mut disks = Vec::new();
    for (number, bytes) in striped.into_iter().enumerate() {
        if number != 1 {
            disks.push(disk(&format!("b{}", 7 - number), bytes.clone()));
        }
        disks.push(disk(&format!("a{}", (number * 2) % 3), bytes));
    }
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &CONTENT),
        "{:?}",
        aggregate.losses
    );
    let geometry = &aggregate.groups[0].geometry;
    assert_eq!(geometry.level.name(), "RAID-10");
    assert_eq!(geometry.members(), 6);
}

/// Chunks of a block: how text goes on cannot be learnt from blocks that lie next to each other.
#[test]
fn chunks_of_a_block_are_put_together_by_addresses() {
    let striped = lay_out(&CONTENT, "raid0", 2, 4 << 10, 0);
    let disks =
        (0..6).map(|number| disk(&format!("d{}", number * 5 % 6), striped[number % 2].clone()));
    let disks: Vec<_> = disks.collect();
    let aggregate = discover(&disks, &|_, _| None);
    assert!(
        found(&aggregate, &disks, &CONTENT),
        "{:?}",
        aggregate.losses
    );
    assert_eq!(aggregate.groups[0].geometry.members(), 6);
}

/// A newer array wrote a tenth of both copies, each with something else: neither is a stranger to the
/// group of the other.
#[test]
fn of_copies_that_another_array_wrote_over_one_is_read() {
    const PIECE: usize = 64 << 10;
    let striped = lay_out(&CONTENT, "raid0", 3, PIECE, 1 << 20);
    let mut copies = vec![striped[1].clone(), striped[1].clone()];
    for (number, copy) in (0..).zip(&mut copies) {
        // Nothing that states its address lies there.
        let pieces = copy.chunks_exact_mut(PIECE).skip(60).step_by(7);
        for (at, piece) in pieces.enumerate() {
            piece.copy_from_slice(&noise(99 + 1000 * number + at as u64, PIECE));
        }
    }
    let mut disks: Vec<_> = (0..).zip([&striped[0], &striped[2]]).collect();
    disks.extend((2..).zip(&copies));
    let disks = disks.into_iter();
    let disks: Vec<_> = disks
        .map(|(number, bytes): (usize, &Vec<u8>)| disk(&format!("d{number}"), bytes.clone()))
        .collect();
    let aggregate = discover(&disks, &|_, _| None);
    let group = aggregate.groups.first();
    let group = group.unwrap_or_else(|| panic!("{:?}", aggregate.losses));
    assert_eq!(group.geometry.members(), 3, "{group:?}");
    let unused: Vec<_> = aggregate.unused.iter().map(|one| &one.why).collect();
    assert!(
        unused.iter().any(|why| why.contains("a copy of disk:d")),
        "{unused:?}"
    );
}

/// Lays `content` out with two copies of each chunk, the second on the next disk: a row later
/// with `stride` none, else by so many bytes further down.
fn twice(content: &[u8], n: usize, chunk: usize, offset: usize, far: bool) -> Vec<Vec<u8>> {
    let rows = content.len().div_ceil(chunk * n);
    let part = rows * chunk;
    let mut disks = vec![vec![0; offset + 2 * part]; n];
    for (number, piece) in content.chunks(chunk).enumerate() {
        let (row, holder) = (number / n, number % n);
        let places = if far {
            [row * chunk, row * chunk + part]
        } else {
            [2 * row * chunk, (2 * row + 1) * chunk]
        };
        for (copy, place) in places.into_iter().enumerate() {
            let at = offset + place;
            disks[(holder + copy) % n][at..at + piece.len()].copy_from_slice(piece);
        }
    }
    disks
}

#[test]
fn copies_further_down_are_put_together_with_a_member_missing() {
    for (n, far, missing) in [
        (4, false, &[][..]),
        (3, true, &[]),
        (4, false, &[2]),
        (4, true, &[0]),
    ] {
        let content = &CONTENT[..24 << 20];
        let disks = shuffled(twice(content, n, 64 << 10, 1 << 20, far), missing, "disk");
        let aggregate = discover(&disks, &|_, _| None);
        let case = format!("{n} members, far {far}, without {missing:?}");
        assert!(
            found(&aggregate, &disks, content),
            "{case}: {:?}",
            aggregate.losses
        );
    }
}

/// Lays `content` out with `copies` copies side by side, as `__raid10_find_phys` does: where the
/// disks end, the copies that are left begin the next row.
fn side_by_side(
    content: &[u8],
    n: usize,
    copies: usize,
    chunk: usize,
    offset: usize,
) -> Vec<Vec<u8>> {
    let slots = content.len().div_ceil(chunk) * copies;
    let mut disks = vec![vec![0; offset + slots.div_ceil(n) * chunk]; n];
    for (number, piece) in content.chunks(chunk).enumerate() {
        for slot in number * copies..(number + 1) * copies {
            let at = offset + slot / n * chunk;
            disks[slot % n][at..at + piece.len()].copy_from_slice(piece);
        }
    }
    disks
}

#[test]
fn copies_that_go_around_are_put_together_with_a_member_missing() {
    for (n, copies, chunk, offset, missing) in [
        (3, 2, 64, 1 << 20, &[][..]),
        (3, 2, 64, 1 << 20, &[1]),
        (3, 2, 128, 1 << 20, &[0]),
        (5, 2, 128, 1 << 20, &[2]),
        (5, 2, 32, 4 << 20, &[0]),
        (7, 2, 64, 1 << 20, &[0, 2, 4]),
        (4, 3, 64, 1 << 20, &[]),
        (7, 3, 16, (2 << 20) + (48 << 10), &[6]),
    ] {
        let content = &CONTENT[..24 << 20];
        let disks = side_by_side(content, n, copies, chunk << 10, offset);
        let disks = shuffled(disks, missing, "disk");
        let aggregate = discover(&disks, &|_, _| None);
        let case = format!("{copies} copies on {n}, without {missing:?}");
        assert!(
            found(&aggregate, &disks, content),
            "{case}: {:?}",
            aggregate.losses
        );
        let geometry = &aggregate.groups[0].geometry;
        assert_eq!(geometry.chunk_bytes(), Some(chunk as u64 * 1024), "{case}");
    }
}

/// Before a group something else is left, in which nothing agrees.
#[test]
fn copies_that_go_around_are_put_together_behind_what_was_left_before_them() {
    const BEFORE: usize = 6 << 20;
    let content = &CONTENT[..24 << 20];
    let mut disks = side_by_side(content, 5, 2, 64 << 10, BEFORE);
    for (number, disk) in (0..).zip(&mut disks) {
        disk[..BEFORE].copy_from_slice(&noise(700 + number, BEFORE));
    }
    let disks = shuffled(disks, &[4], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    assert!(found(&aggregate, &disks, content), "{:?}", aggregate.losses);
}

#[test]
fn two_that_are_left_of_offset_copies_on_three_are_not_taken_for_copies_side_by_side() {
    for missing in 0..3 {
        let disks = twice(&CONTENT[..24 << 20], 3, 64 << 10, 1 << 20, false);
        let disks = shuffled(disks, &[missing], "disk");
        let aggregate = discover(&disks, &|_, _| None);
        assert!(
            aggregate.groups.is_empty(),
            "without {missing}: {:?}",
            aggregate.groups
        );
    }
}
