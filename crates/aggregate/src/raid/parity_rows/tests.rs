//! Rows against a model that counts byte by byte what can be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evidence::view::Memory;
use evidence::{ByteOffset, OutOfRange, ReadAt};
use proptest::prelude::*;

use super::super::parity_layout::ParityLayout;
use super::super::{ParityDelay, Raid5Layout, Raid6Layout};
use super::*;

/// A group in memory: its bytes, and those of each member.
struct Model {
    layout: ParityLayout,
    chunk: usize,
    members: usize,
    rows: usize,
    bytes: Vec<u8>,
    disks: Vec<Vec<u8>>,
}

impl Model {
    fn new(layout: ParityLayout, chunk: usize, members: usize, rows: usize) -> Self {
        let width = members - layout.parities() as usize;
        let bytes: Vec<u8> = (0..width * chunk * rows)
            .map(|i| ((i * 31) ^ (i >> 7) ^ (i >> 13)) as u8)
            .collect();
        let mut disks = vec![vec![0; chunk * rows]; members];
        for number in 0..rows {
            let row = layout.row(number as u64, members as u32);
            let at = number * chunk..(number + 1) * chunk;
            let (mut p, mut q) = (vec![0; chunk], vec![0; chunk]);
            for i in 0..width {
                let from = (number * width + i) * chunk;
                let piece = &bytes[from..from + chunk];
                let disk = row.data(i as u64);
                disks[disk][at.clone()].copy_from_slice(piece);
                parity::subtract(&mut p, &mut q, piece, row.coefficient(disk));
            }
            disks[row.p][at.clone()].copy_from_slice(&p);
            if let Some(disk) = row.q {
                disks[disk][at].copy_from_slice(&q);
            }
        }
        Self {
            layout,
            chunk,
            members,
            rows,
            bytes,
            disks,
        }
    }

    /// Whether the byte at `position` can be had where `lacks(member, offset)` says what
    /// cannot be read, by counting alone.
    fn available(&self, position: usize, lacks: impl Fn(usize, usize) -> bool) -> bool {
        let width = self.members - self.layout.parities() as usize;
        let (number, column) = (position / self.chunk, position % self.chunk);
        let row = self
            .layout
            .row((number / width) as u64, self.members as u32);
        let at = number / width * self.chunk + column;
        let own = row.data((number % width) as u64);
        !lacks(own, at)
            || (0..self.members)
                .filter(|member| lacks(*member, at))
                .count()
                <= self.layout.parities() as usize
    }

    fn rows(&self) -> ParityRows {
        let rows = Rows::turning(self.layout, ParityDelay::NONE, self.members as u32);
        ParityRows::new(rows, self.chunk as u64)
    }

    fn open(&self, gaps: &[Option<Gaps>]) -> Members {
        Members::new(
            self.disks
                .iter()
                .zip(gaps)
                .map(|(disk, gaps)| {
                    let gaps = gaps.as_ref()?;
                    let member = Memory::new(disk.clone()).with_gaps(gaps);
                    Some(Arc::new(member) as Arc<dyn ReadAt>)
                })
                .collect(),
        )
    }
}

fn layouts() -> impl Strategy<Value = ParityLayout> {
    prop_oneof![
        Just(ParityLayout::Raid4),
        prop::sample::select(Raid5Layout::ALL.to_vec()).prop_map(ParityLayout::Raid5),
        prop::sample::select(Raid6Layout::ALL.to_vec()).prop_map(ParityLayout::Raid6),
    ]
}

/// For each member: missing (one in eight), or with up to four gaps.
fn damages(members: usize, length: usize) -> impl Strategy<Value = Vec<Option<Gaps>>> {
    let gap = (0..length, 1..length).prop_map(move |(at, bytes)| at..(at + bytes).min(length));
    let gaps = prop::collection::vec(gap, 0..4).prop_map(|ranges| {
        let mut gaps = Gaps::none();
        for range in ranges {
            gaps.add(range, GapCause::Unreadable);
        }
        gaps
    });
    let member =
        prop_oneof![1 => Just(None), 4 => Just(Some(Gaps::none())), 4 => gaps.prop_map(Some)];
    prop::collection::vec(member, members)
}

fn cases() -> impl Strategy<Value = (Model, Vec<Option<Gaps>>, usize, usize)> {
    (layouts(), 4_usize..7, 1_usize..5, 1_usize..7).prop_flat_map(
        |(layout, members, sectors, rows)| {
            let model = Model::new(layout, sectors * 512, members, rows);
            let (length, size) = (sectors * 512 * rows, model.bytes.len());
            let model = std::rc::Rc::new(model);
            (Just(model), damages(members, length), 0..size, 0..size).prop_map(
                |(model, damage, a, b)| {
                    let model = Model::new(model.layout, model.chunk, model.members, model.rows);
                    (model, damage, a.min(b), a.max(b))
                },
            )
        },
    )
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {} × {} × {}",
            self.layout, self.members, self.chunk, self.rows
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_can_be_had_is_right_and_the_rest_is_a_gap((model, damage, from, to) in cases()) {
        let members = model.open(&damage);
        let rows = model.rows();
        let mut buf = vec![0xEE; to - from];
        let gaps = rows.read(&members, from as u64, &mut buf);
        let lacks = |member: usize, at: usize| {
            damage[member].as_ref().is_none_or(|gaps| gaps.touch(at..at + 1))
        };
        for (i, byte) in buf.iter().enumerate() {
            let available = model.available(from + i, lacks);
            prop_assert_eq!(!gaps.touch(i..i + 1), available, "at {}", from + i);
            let want = if available { model.bytes[from + i] } else { 0 };
            prop_assert_eq!(*byte, want, "at {}", from + i);
        }
    }
}

/// Counts the reads that reach a member.
struct Counting(Memory, Arc<AtomicUsize>);

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_at(at, buf)
    }
}

#[test]
fn a_degraded_read_takes_each_chunk_from_each_member_once() {
    let layout = ParityLayout::Raid6(Raid6Layout::LeftSymmetric);
    let (chunk, rows) = (64 << 10, 6);
    let model = Model::new(layout, chunk, 5, rows);
    let reads = Arc::new(AtomicUsize::new(0));
    let members = Members::new(
        model
            .disks
            .iter()
            .enumerate()
            .map(|(i, disk)| {
                let member = Counting(Memory::new(disk.clone()), Arc::clone(&reads));
                (i > 1).then(|| Arc::new(member) as Arc<dyn ReadAt>)
            })
            .collect(),
    );
    let mut buf = vec![0; model.bytes.len()];
    let gaps = model.rows().read(&members, 0, &mut buf);
    assert!(gaps.is_empty());
    assert!(buf == model.bytes);
    let count = reads.load(Ordering::Relaxed);
    assert!(
        count <= 3 * rows,
        "{count} reads of three members over {rows} rows"
    );
}
