//! Levels beyond those of md, and chunks of odd sizes, each against a group that the test builds
//! chunk by chunk from the definition.
#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails"
)]

mod model;

use std::num::NonZeroU32;

use aggregate::raid::{
    Cell, FarSets, Geometry, GeometryError, GroupReader, Level, OtherCell, ParityDelay, QRule,
    Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout,
};
use evidence::{ByteOffset, GapCause, Gaps, ReadAtExt};
use model::{Built, Numbers, power, times};

/// A cell of a row that a test writes.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    /// The next chunk, and what Q multiplies it with.
    Data(usize, u8),
    P,
    Q,
    Nothing,
}

/// Builds a group of rows; `row` says what each member holds in a row, data by the number of its
/// chunk in the group.
fn build(
    geometry: Geometry,
    chunk: usize,
    rows: usize,
    numbers: &mut Numbers,
    row: impl Fn(usize) -> Vec<Holds>,
) -> Built {
    let bytes = numbers.bytes(geometry.bytes as usize);
    let mut disks: Vec<Vec<u8>> = vec![Vec::new(); geometry.members() as usize];
    for number in 0..rows {
        let cells = row(number);
        let (mut p, mut q) = (vec![0; chunk], vec![0; chunk]);
        for cell in &cells {
            if let Holds::Data(chunk_number, factor) = cell {
                for i in 0..chunk {
                    let byte = bytes[chunk_number * chunk + i];
                    p[i] ^= byte;
                    q[i] ^= times(byte, *factor);
                }
            }
        }
        for (disk, cell) in disks.iter_mut().zip(&cells) {
            match cell {
                Holds::Data(number, _) => {
                    disk.extend_from_slice(&bytes[number * chunk..][..chunk]);
                }
                Holds::P => disk.extend_from_slice(&p),
                Holds::Q => disk.extend_from_slice(&q),
                Holds::Nothing => disk.extend(numbers.bytes(chunk)),
            }
        }
    }
    Built {
        geometry,
        disks,
        bytes,
    }
}

fn rows(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// How often parity has moved before `row`, counted by walking from row to row.
fn moves(row: usize, delay: u32, first: Option<u32>) -> usize {
    let mut left = first.unwrap_or(delay);
    let mut moves = 0;
    for _ in 0..row {
        left -= 1;
        if left == 0 {
            moves += 1;
            left = delay;
        }
    }
    moves
}

#[test]
fn delayed_parity_is_read_with_any_member_missing() {
    let mut numbers = Numbers::new(1);
    let layouts = [
        (Raid5Layout::LeftAsymmetric, true, false),
        (Raid5Layout::RightAsymmetric, false, false),
        (Raid5Layout::LeftSymmetric, true, true),
        (Raid5Layout::RightSymmetric, false, true),
    ];
    for (layout, left, symmetric) in layouts {
        for (members, chunk, delay, first) in [
            (4_usize, 1024_usize, 4, None),
            (3, 1536, 16, Some(3)),
            (5, 512, 1, Some(6)),
            (5, 512, 3, Some(1)),
        ] {
            let level = Level::Raid5 {
                layout,
                chunk_bytes: chunk as u64,
                members: members as u32,
                delay: ParityDelay {
                    parity_delay: rows(delay),
                    first_delay: first.map(rows),
                },
            };
            let count = 40;
            let geometry = Geometry::filling(level, (count * chunk) as u64).unwrap();
            let built = build(geometry, chunk, count, &mut numbers, |row| {
                let turn = moves(row, delay, first) % members;
                let parity = if left { members - 1 - turn } else { turn };
                let mut cells = vec![Holds::P; members];
                let mut next = row * (members - 1);
                for step in 0..members {
                    let member = if symmetric {
                        (parity + 1 + step) % members
                    } else {
                        step
                    };
                    if member != parity {
                        cells[member] = Holds::Data(next, 1);
                        next += 1;
                    }
                }
                cells
            });
            built.reads_without(&[], 3 * members * chunk, &mut numbers);
            for missing in 0..members {
                built.reads_without(&[missing], 3 * members * chunk, &mut numbers);
            }
        }
    }
}

#[test]
fn delayed_p_and_q_are_read_with_any_two_members_missing() {
    let mut numbers = Numbers::new(2);
    let (members, chunk, delay, first, count) = (5_usize, 1536, 4, Some(2), 24);
    let level = Level::Raid6 {
        layout: Raid6Layout::LeftSymmetric,
        chunk_bytes: chunk as u64,
        members: members as u32,
        delay: ParityDelay {
            parity_delay: rows(delay),
            first_delay: first.map(rows),
        },
    };
    let geometry = Geometry::filling(level, (count * chunk) as u64).unwrap();
    let built = build(geometry, chunk, count, &mut numbers, |row| {
        let p = members - 1 - moves(row, delay, first) % members;
        let mut cells = vec![Holds::P; members];
        cells[(p + 1) % members] = Holds::Q;
        for i in 0..members - 2 {
            cells[(p + 2 + i) % members] = Holds::Data(row * (members - 2) + i, power(i));
        }
        cells
    });
    for one in 0..members {
        for two in 0..=one {
            built.reads_without(&[one, two], 3 * members * chunk, &mut numbers);
        }
    }
}

#[test]
fn delays_are_optional_in_the_document_and_none_is_not_written() {
    let text = r#"{"level":"raid5","layout":"left-symmetric","chunk_bytes":65536,"members":4,"bytes":3145728}"#;
    let plain: Geometry = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&plain).unwrap(), text);
    let delayed: Geometry = serde_json::from_str(
        r#"{"level":"raid5","layout":"left-symmetric","chunk_bytes":65536,"members":4,
            "parity_delay":16,"first_delay":8,"bytes":3145728}"#,
    )
    .unwrap();
    let Level::Raid5 { delay, .. } = &delayed.level else {
        panic!("another level");
    };
    assert_eq!(
        (delay.parity_delay.get(), delay.first_delay),
        (16, Some(rows(8)))
    );
    let again: Geometry = serde_json::from_value(serde_json::to_value(&delayed).unwrap()).unwrap();
    assert_eq!(again, delayed);
    let zero = text.replace("\"bytes\"", "\"parity_delay\":0,\"bytes\"");
    assert!(serde_json::from_str::<Geometry>(&zero).is_err());
}

/// A table of so many rows with P, or P and Q, in random places, sometimes an unused member, and
/// data in a random order over the whole table.
fn random_table(
    members: usize,
    count: usize,
    with_q: bool,
    numbers: &mut Numbers,
) -> Vec<Vec<Cell>> {
    let mut table = vec![vec![Cell::Data(0); members]; count];
    let mut places = Vec::new();
    for (number, row) in table.iter_mut().enumerate() {
        let p = numbers.below(members);
        let q = (p + 1 + numbers.below(members - 1)) % members;
        row[p] = Cell::Other(OtherCell::P);
        if with_q {
            row[q] = Cell::Other(OtherCell::Q);
        } else if numbers.below(3) == 0 {
            row[q] = Cell::Other(OtherCell::Unused);
        }
        places.extend(
            (0..members)
                .filter(|m| row[*m] == Cell::Data(0))
                .map(|m| (number, m)),
        );
    }
    for next in 0.. {
        if places.is_empty() {
            break;
        }
        let (row, member) = places.swap_remove(numbers.below(places.len()));
        table[row][member] = Cell::Data(next);
    }
    table
}

/// What the members hold in a row of a table that repeats.
fn listed(table: &[Vec<Cell>], row: usize, factor: impl Fn(&[Cell], usize) -> u8) -> Vec<Holds> {
    let is_data = |cell: &&Cell| matches!(cell, Cell::Data(_));
    let all = table.iter().flatten().filter(is_data).count();
    let cells = &table[row % table.len()];
    let holds = |(member, cell): (usize, &Cell)| match cell {
        Cell::Data(number) => Holds::Data(
            row / table.len() * all + *number as usize,
            factor(cells, member),
        ),
        Cell::Other(OtherCell::P) => Holds::P,
        Cell::Other(OtherCell::Q) => Holds::Q,
        Cell::Other(OtherCell::Unused) => Holds::Nothing,
    };
    cells.iter().enumerate().map(holds).collect()
}

#[test]
fn tables_are_read_with_as_many_members_missing_as_each_row_has_parity() {
    let mut numbers = Numbers::new(3);
    for round in 0..24 {
        let members = 3 + numbers.below(4);
        let period = 1 + numbers.below(6);
        let chunk = 512 * (1 + numbers.below(4));
        let with_q = round % 2 == 1 && members > 3;
        let table = random_table(members, period, with_q, &mut numbers);
        let explicit: Vec<u8> = (0..=254).map(|i| 255 - i).collect();
        let q_rule = match round % 3 {
            0 => QRule::Md,
            1 => QRule::Ddf,
            _ => QRule::Coefficients(explicit.clone()),
        };
        let factor = |cells: &[Cell], member: usize| match (&q_rule, cells[member]) {
            (QRule::Ddf, _) => power(member),
            (QRule::Coefficients(_), Cell::Data(number)) => explicit[number as usize],
            _ => {
                // From the member after Q on, around: how many data members come before.
                let Some(q) = cells.iter().position(|c| *c == Cell::Other(OtherCell::Q)) else {
                    return 1;
                };
                let between = (1..members).map(|step| (q + step) % members);
                let before = between.take_while(|m| *m != member);
                power(
                    before
                        .filter(|m| matches!(cells[*m], Cell::Data(_)))
                        .count(),
                )
            }
        };
        let count = 3 * period;
        let level = Level::Table {
            chunk_bytes: chunk as u64,
            rows: table.clone(),
            q_rule: q_rule.clone(),
        };
        let geometry = Geometry::filling(level, (count * chunk + 100) as u64).unwrap();
        assert_eq!(geometry.redundancy(), if with_q { 2 } else { 1 });
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            listed(&table, row, factor)
        });
        assert!(built.disks.iter().all(|disk| disk.len() == count * chunk));
        let most = 3 * members * chunk;
        built.reads_without(&[], most, &mut numbers);
        for one in 0..members {
            for two in 0..=one {
                let mut present = vec![true; members];
                (present[one], present[two]) = (false, false);
                if built.geometry.survives(&present) {
                    built.reads_without(&[one, two], most, &mut numbers);
                } else {
                    assert!(one != two && !with_q);
                }
            }
        }
    }
}

#[test]
fn a_table_that_does_not_fill_its_last_turn_ends_before_the_first_chunk_that_is_not_there() {
    let rows = vec![
        vec![Cell::Data(0), Cell::Data(3)],
        vec![Cell::Data(1), Cell::Data(2)],
    ];
    let level = Level::Table {
        chunk_bytes: 512,
        rows,
        q_rule: QRule::Md,
    };
    let bytes = |member_bytes| {
        Geometry::filling(level.clone(), member_bytes)
            .unwrap()
            .bytes
    };
    assert_eq!(bytes(1024), 4 * 512);
    assert_eq!(bytes(1024 + 512), 5 * 512);
    assert_eq!(bytes(511), 0);
}

#[test]
fn tables_that_cannot_be_are_refused_with_the_row_and_the_reason() {
    let check = |rows: &str, rule: &str| {
        let text = format!(
            r#"{{"level":"table","chunk_bytes":512,"rows":{rows},"q_rule":{rule},"bytes":0}}"#
        );
        serde_json::from_str::<Geometry>(&text).unwrap().check()
    };
    let refused = |rows, rule| match check(rows, rule) {
        Err(error @ GeometryError::Table { .. }) => error.to_string(),
        other => panic!("{rows}: {other:?}"),
    };
    assert_eq!(check(r#"[[0,"p","q",1,"unused"]]"#, r#""md""#), Ok(()));
    assert!(refused("[[0,1],[2]]", r#""md""#).starts_with("row 1 of the table: it has another"));
    assert!(refused("[[0,2]]", r#""md""#).contains("numbered from 0"));
    assert!(refused("[[0,0]]", r#""md""#).contains("numbered from 0"));
    assert!(refused(r#"[["p",0,"p"]]"#, r#""md""#).contains("twice"));
    assert!(refused(r#"[["p"]]"#, r#""md""#).contains("no row of the table"));
    assert!(refused(r#"[["q",0,1]]"#, r#"{"coefficients":[3,3]}"#).contains("coefficient"));
    assert!(refused(r#"[["q",0,1]]"#, r#"{"coefficients":[3]}"#).contains("coefficient"));
    assert!(matches!(
        check("[]", r#""md""#),
        Err(GeometryError::Members { members: 0, .. })
    ));
}

#[test]
fn chunks_of_any_multiple_of_512_bytes_are_read_on_every_level() {
    let mut numbers = Numbers::new(4);
    for chunk in [512_usize, 1536, 2560, 3584, 5 * 4096 + 512] {
        let (chunk_bytes, count) = (chunk as u64, 6);
        let length = (count * chunk) as u64;
        let most = 9 * chunk;

        let level = Level::Raid0 {
            layout: Raid0Layout::Alternate,
            chunk_bytes,
            member_bytes: vec![length; 3],
        };
        let geometry = Geometry::filling(level, length).unwrap();
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            (0..3).map(|i| Holds::Data(3 * row + i, 1)).collect()
        });
        built.reads_without(&[], most, &mut numbers);

        let geometry = Geometry::filling(
            Level::Raid4 {
                chunk_bytes,
                members: 3,
            },
            length,
        )
        .unwrap();
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            vec![
                Holds::Data(2 * row, 1),
                Holds::Data(2 * row + 1, 1),
                Holds::P,
            ]
        });
        (0..3).for_each(|one| built.reads_without(&[one], most, &mut numbers));

        let level = Level::Raid6 {
            layout: Raid6Layout::ParityLast,
            chunk_bytes,
            members: 4,
            delay: ParityDelay::NONE,
        };
        let geometry = Geometry::filling(level, length).unwrap();
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            vec![
                Holds::Data(2 * row, 1),
                Holds::Data(2 * row + 1, 2),
                Holds::P,
                Holds::Q,
            ]
        });
        for (one, two) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
            built.reads_without(&[one, two], most, &mut numbers);
        }

        let layout = Raid10Layout {
            near: 2,
            far: 1,
            offset: false,
            far_sets: FarSets::Whole,
        };
        let level = Level::Raid10 {
            layout,
            chunk_bytes,
            members: 4,
            member_bytes: length,
        };
        let geometry = Geometry::filling(level, length).unwrap();
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            (0..4).map(|i| Holds::Data(2 * row + i / 2, 1)).collect()
        });
        built.reads_without(&[0, 3], most, &mut numbers);
        built.reads_without(&[1, 2], most, &mut numbers);
    }
    let half = Geometry {
        level: Level::Raid4 {
            chunk_bytes: 768,
            members: 3,
        },
        bytes: 0,
    };
    assert_eq!(half.check(), Err(GeometryError::Chunk { chunk_bytes: 768 }));
    assert!(GroupReader::new(half, vec![None, None, None]).is_err());
}

#[test]
fn tables_give_each_byte_that_its_row_can_give_and_the_rest_is_a_gap() {
    let mut numbers = Numbers::new(5);
    let (mut repaired, mut lost) = (0, 0);
    for round in 0..60 {
        let (members, period, chunk) = (4 + numbers.below(3), 1 + numbers.below(5), 1024);
        let table = random_table(members, period, round % 2 == 1, &mut numbers);
        let count = 2 * period;
        let level = Level::Table {
            chunk_bytes: chunk as u64,
            rows: table.clone(),
            q_rule: QRule::Ddf,
        };
        let geometry = Geometry::filling(level, (count * chunk) as u64).unwrap();
        let built = build(geometry, chunk, count, &mut numbers, |row| {
            listed(&table, row, |_, member| power(member))
        });
        let length = count * chunk;
        let missing: Vec<usize> = (0..members).filter(|_| numbers.below(8) == 0).collect();
        let damage: Vec<(usize, Gaps)> = (0..members)
            .map(|member| {
                let at = numbers.below(length);
                let end = length.min(at + numbers.below(length / 2));
                (member, Gaps::one(at..end, GapCause::Unreadable))
            })
            .collect();
        let lacks = |member: usize, at: usize| {
            missing.contains(&member) || damage[member].1.touch(at..at + 1)
        };
        let from = numbers.below(built.bytes.len());
        let to = from + 1 + numbers.below(built.bytes.len() - from);
        let group = built.open(&missing, &damage);
        let (read, gaps) = group
            .read_vec(ByteOffset::new(from as u64), to - from)
            .unwrap();
        for row in 0..count {
            let cells = listed(&table, row, |_, _| 1);
            for column in 0..chunk {
                let at = row * chunk + column;
                let is_lost = |member: &usize| lacks(*member, at);
                let data = (0..members).filter(|m| matches!(cells[*m], Holds::Data(..)));
                let parity = (0..members).filter(|m| matches!(cells[*m], Holds::P | Holds::Q));
                let solvable =
                    data.filter(is_lost).count() <= parity.filter(|m| !is_lost(m)).count();
                for (member, cell) in cells.iter().enumerate() {
                    let Holds::Data(number, _) = cell else {
                        continue;
                    };
                    let Some(i) = (number * chunk + column).checked_sub(from) else {
                        continue;
                    };
                    if i >= read.len() {
                        continue;
                    }
                    let there = solvable || !is_lost(&member);
                    assert_eq!(
                        !gaps.touch(i..i + 1),
                        there,
                        "round {round}, at {}",
                        from + i
                    );
                    let want = if there { built.bytes[from + i] } else { 0 };
                    assert_eq!(read[i], want, "round {round}, at {}", from + i);
                    repaired += usize::from(there && is_lost(&member));
                    lost += usize::from(!there);
                }
            }
        }
    }
    assert!(
        repaired > 10_000 && lost > 10_000,
        "{repaired} repaired, {lost} lost"
    );
}
