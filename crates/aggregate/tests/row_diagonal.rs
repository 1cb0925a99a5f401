//! RAID-DP against an encoder written from the paper's definition: a matrix of p - 1 rows and
//! p + 1 columns for every byte of a sub-block (Corbett et al., FAST '04, section 3).
#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails"
)]

mod model;

use aggregate::raid::{Geometry, GeometryError, Level};
use evidence::{ByteOffset, GapCause, Gaps, ReadAtExt};
use model::{Built, Numbers};

/// The parameters of a group, as plain numbers.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    prime: usize,
    sub_block: usize,
    data: usize,
    chunk: usize,
}

impl Parameters {
    fn stripe(self) -> usize {
        (self.prime - 1) * self.sub_block
    }

    fn level(self) -> Level {
        Level::RaidDp {
            chunk_bytes: self.chunk as u64,
            members: self.data as u32 + 2,
            prime: self.prime as u32,
            sub_block_bytes: self.sub_block as u64,
        }
    }

    /// A group with at least three rows and three stripes, full of numbers.
    fn build(self, numbers: &mut Numbers) -> Built {
        let least = 3 * self.stripe().max(self.chunk);
        let member_bytes = least.div_ceil(self.stripe()) * self.stripe();
        let geometry = Geometry::filling(self.level(), member_bytes as u64).unwrap();
        let rows = member_bytes / self.chunk;
        assert_eq!(geometry.bytes as usize, rows * self.chunk * self.data);
        let bytes = numbers.bytes(geometry.bytes as usize);
        // What lies behind the last whole chunk is no part of the group, but of its last stripe.
        let mut disks: Vec<Vec<u8>> = (0..self.data)
            .map(|_| numbers.bytes(member_bytes))
            .collect();
        for (number, piece) in bytes.chunks(self.chunk).enumerate() {
            let at = number / self.data * self.chunk;
            disks[number % self.data][at..at + self.chunk].copy_from_slice(piece);
        }
        let (row_parity, diagonal_parity) = self.encode(&disks, member_bytes);
        disks.extend([row_parity, diagonal_parity]);
        Built {
            geometry,
            disks,
            bytes,
        }
    }

    fn encode(self, data: &[Vec<u8>], member_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let p = self.prime;
        let mut row_parity = vec![0; member_bytes];
        let mut diagonal_parity = vec![0; member_bytes];
        for stripe in (0..member_bytes).step_by(self.stripe()) {
            for byte in 0..self.sub_block {
                let place = |row: usize| stripe + row * self.sub_block + byte;
                let mut matrix = vec![vec![0_u8; p]; p - 1];
                for (i, row) in matrix.iter_mut().enumerate() {
                    for (j, disk) in data.iter().enumerate() {
                        row[j] = disk[place(i)];
                    }
                    let sum = row.iter().fold(0, |sum, cell| sum ^ cell);
                    row[p - 1] = sum;
                    row_parity[place(i)] = sum;
                }
                // The sum of diagonal p - 1 is formed as well, and not kept.
                let mut sums = vec![0; p];
                for (i, row) in matrix.iter().enumerate() {
                    for (j, cell) in row.iter().enumerate() {
                        sums[(i + j) % p] ^= cell;
                    }
                }
                for (d, sum) in sums.iter().take(p - 1).enumerate() {
                    diagonal_parity[place(d)] = *sum;
                }
            }
        }
        (row_parity, diagonal_parity)
    }

    /// Which bytes of the data members can be had, where `lacks[member][at]` says what cannot be
    /// read: rows and diagonals with one unknown are solved until there is none.
    fn available(self, lacks: &[Vec<bool>]) -> Vec<Vec<bool>> {
        let p = self.prime;
        let mut known: Vec<Vec<bool>> = lacks
            .iter()
            .map(|l| l.iter().map(|l| !l).collect())
            .collect();
        let column = |j: usize| match j {
            _ if j < self.data => Some(j),
            _ if j == p - 1 => Some(self.data),
            _ => None,
        };
        for stripe in (0..known[0].len()).step_by(self.stripe()) {
            for byte in 0..self.sub_block {
                let place = |row: usize| stripe + row * self.sub_block + byte;
                let mut equations: Vec<Vec<(usize, usize)>> = Vec::new();
                for i in 0..p - 1 {
                    equations.push(
                        (0..p)
                            .filter_map(|j| Some((column(j)?, place(i))))
                            .collect(),
                    );
                    let mut diagonal = vec![(self.data + 1, place(i))];
                    for j in 0..p {
                        let row = (i + p - j) % p;
                        if let (Some(member), true) = (column(j), row < p - 1) {
                            diagonal.push((member, place(row)));
                        }
                    }
                    equations.push(diagonal);
                }
                let mut before = 0;
                while equations.len() != before {
                    before = equations.len();
                    // One with an unknown is of use once, one without none at all.
                    equations.retain(|equation| {
                        let unknown: Vec<_> =
                            equation.iter().filter(|(m, at)| !known[*m][*at]).collect();
                        if let [(member, at)] = unknown[..] {
                            known[*member][*at] = true;
                        }
                        unknown.len() > 1
                    });
                }
            }
        }
        known.truncate(self.data);
        known
    }
}

fn all_pairs(parameters: Parameters, numbers: &mut Numbers) {
    let built = parameters.build(numbers);
    let members = parameters.data + 2;
    let most = 3 * parameters.data * parameters.chunk;
    for one in 0..members {
        for two in 0..=one {
            built.reads_without(&[one, two], most, numbers);
        }
    }
}

#[test]
fn any_two_members_may_be_missing() {
    let mut numbers = Numbers::new(10);
    for prime in [3, 5, 7, 17] {
        for data in [1, 2, 3, 4, 6, 11, 16] {
            for (sub_block, chunk) in [(16, 512), (512, 4096), (100, 1536), (1, 512), (700, 512)] {
                if data < prime {
                    all_pairs(
                        Parameters {
                            prime,
                            sub_block,
                            data,
                            chunk,
                        },
                        &mut numbers,
                    );
                }
            }
        }
    }
}

#[test]
fn any_two_members_may_be_missing_with_the_numbers_of_wafl() {
    let mut numbers = Numbers::new(11);
    for data in [2, 5, 14] {
        let parameters = Parameters {
            prime: 257,
            sub_block: 16,
            data,
            chunk: 4096,
        };
        all_pairs(parameters, &mut numbers);
    }
}

#[test]
fn ranges_that_are_lost_piece_by_piece_come_back_as_far_as_rows_and_diagonals_reach() {
    let mut numbers = Numbers::new(12);
    let (mut repaired, mut lost) = (0, 0);
    for round in 0..160 {
        let prime = [3, 5, 7, 11][round % 4];
        let parameters = Parameters {
            prime,
            sub_block: [8, 33, 128][round % 3],
            data: 1 + numbers.below(prime - 1),
            chunk: 512 * (1 + numbers.below(3)),
        };
        let built = parameters.build(&mut numbers);
        let length = built.disks[0].len();
        let members = parameters.data + 2;
        let mut missing = Vec::new();
        let mut damage = Vec::new();
        let mut lacks = vec![vec![false; length]; members];
        for (member, lacks) in lacks.iter_mut().enumerate() {
            match numbers.below(6) {
                0 if round % 2 == 0 => {
                    missing.push(member);
                    lacks.fill(true);
                }
                1..4 => {
                    let mut gaps = Gaps::none();
                    for _ in 0..1 + numbers.below(3) {
                        let at = numbers.below(length);
                        let end = length.min(at + 1 + numbers.below(length / 2));
                        gaps.add(at..end, GapCause::NotRescued);
                        lacks[at..end].fill(true);
                    }
                    damage.push((member, gaps));
                }
                _ => {}
            }
        }
        let known = parameters.available(&lacks);
        let group = built.open(&missing, &damage);
        let total = built.bytes.len();
        let from = if round % 5 == 0 {
            0
        } else {
            numbers.below(total)
        };
        let to = if round % 5 == 0 {
            total
        } else {
            from + 1 + numbers.below(total - from)
        };
        let (read, gaps) = group
            .read_vec(ByteOffset::new(from as u64), to - from)
            .unwrap();
        let mut is_gap = vec![false; read.len()];
        for gap in gaps.iter() {
            is_gap[gap.range.clone()].fill(true);
        }
        for (i, byte) in read.iter().enumerate() {
            let (number, inside) = ((from + i) / parameters.chunk, (from + i) % parameters.chunk);
            let member = number % parameters.data;
            let at = number / parameters.data * parameters.chunk + inside;
            assert_eq!(
                !is_gap[i],
                known[member][at],
                "{parameters:?}, round {round}, at {}",
                from + i
            );
            let want = if is_gap[i] { 0 } else { built.bytes[from + i] };
            assert_eq!(
                *byte,
                want,
                "{parameters:?}, round {round}, at {}",
                from + i
            );
            repaired += usize::from(lacks[member][at] && known[member][at]);
            lost += usize::from(!known[member][at]);
        }
    }
    // The damage is neither so light nor so heavy that one side is not tried.
    assert!(
        repaired > 10_000 && lost > 10_000,
        "{repaired} repaired, {lost} lost"
    );
}

#[test]
fn codes_that_cannot_be_are_refused() {
    let check = |prime: u32, sub_block_bytes: u64, members: u32| {
        let level = Level::RaidDp {
            chunk_bytes: 4096,
            members,
            prime,
            sub_block_bytes,
        };
        Geometry { level, bytes: 0 }.check()
    };
    assert_eq!(check(257, 16, 16), Ok(()));
    assert_eq!(check(5, 4096, 6), Ok(()));
    for (prime, sub_block_bytes) in [
        (9, 16),
        (2, 16),
        (257, 0),
        (257, 1 << 20),
        (65539, 16),
        (0, 1),
    ] {
        let code = Err(GeometryError::Code {
            prime,
            sub_block_bytes,
        });
        let members = Err(GeometryError::Members {
            level: "RAID-DP",
            members: 3,
            least: 3,
            most: prime.saturating_add(1),
        });
        let got = check(prime, sub_block_bytes, 3);
        assert!(
            got == code || (prime < 2 && got == members),
            "{prime}: {got:?}"
        );
    }
    assert!(matches!(
        check(5, 16, 7),
        Err(GeometryError::Members { most: 6, .. })
    ));
    assert!(matches!(
        check(5, 16, 2),
        Err(GeometryError::Members { least: 3, .. })
    ));
    let geometry = Geometry {
        level: Parameters {
            prime: 5,
            sub_block: 8,
            data: 3,
            chunk: 512,
        }
        .level(),
        bytes: 0,
    };
    assert_eq!(geometry.redundancy(), 2);
    assert!(geometry.survives(&[false, true, true, true, false]));
    assert!(!geometry.survives(&[false, false, true, true, false]));
}
