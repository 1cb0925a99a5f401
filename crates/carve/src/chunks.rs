//! Where a disk of an array breaks off what lies on it: at the ends of its chunks.
//!
//! On a disk of a group that could not be put together, what lies next to a chunk is mostly another
//! chunk, of other files. Messages that a body hash proves show where nothing breaks: they lie across
//! any place within a chunk, and across hardly an end of one. Of what lies across such ends one in a few is made
//! of two.

use std::ops::RangeInclusive;

use mail::Proof;

use crate::{Carved, Carving};

/// Chunks are so long: powers of two, in bytes, as exponents.
const CHUNKS: RangeInclusive<u32> = 12..=22;
/// If hardly one that is proven lies across the ends of chunks, so many must lie across the places in the
/// middle of chunks: as many would by chance lie across the ends.
const LEAST_ACROSS: usize = 8;
/// Or so many that break off must do so at ends of chunks, and of those that break off at ends of blocks
/// all that would by chance (as many as chunks begin where blocks do) and half of the others.
const LEAST_ENDS: usize = 5;
const BLOCK: u64 = 4096;
/// Where most that breaks off would end so by chance, in chunks of one block or two, that hardly one which
/// is proven lies across must say something: so many must be proven.
const SHORT: u64 = 2 * BLOCK;
const LEAST_PROVEN: usize = 16;
/// One in so many that are proven may lie across the ends of chunks: of two messages with one body, the
/// header of one may stand before the rest of the other.
const MIXED_IN: usize = 32;

/// How long the chunks are at whose ends all breaks off: the longest that can be, for what breaks off at
/// their ends does so at ends of parts of them.
fn chunk<'a>(messages: impl Iterator<Item = &'a Carving> + Clone) -> Option<u64> {
    let proven = messages.clone();
    let proven = proven.filter(|one| one.found.proof == Some(Proof::BodyHash));
    let proven: Vec<&Carving> = proven.collect();
    let across = |length: u64| {
        let across = proven.iter().filter(|one| lies_across(one, length));
        across.count()
    };
    let open = messages.filter(|one| one.found.proof.is_none());
    let ends = open.filter_map(|one| one.found.pieces.first());
    let ends: Vec<u64> = ends
        .map(|(at, length)| at.saturating_add(*length))
        .collect();
    let ending = |length: u64| ends.iter().filter(|end| end.is_multiple_of(length)).count();
    let at_blocks = ending(BLOCK);
    let breaks = |length: &u64| {
        let ending = ending(*length);
        let blocks = usize::try_from(length / BLOCK).unwrap_or(usize::MAX);
        let twice = ending.saturating_mul(2).saturating_mul(blocks);
        let many =
            ending >= LEAST_ENDS && twice >= at_blocks.saturating_mul(blocks.saturating_add(1));
        let many = many && (*length > SHORT || proven.len() >= LEAST_PROVEN);
        // Messages begin where blocks do, so that more lie across the middle of a block than across its end.
        let middle = if *length > BLOCK {
            across(length / 2)
        } else {
            0
        };
        let few = |of: usize| across(*length).saturating_mul(MIXED_IN) <= of;
        many && few(proven.len()) || middle >= LEAST_ACROSS && few(middle)
    };
    CHUNKS.rev().map(|bits| 1_u64 << bits).find(breaks)
}

/// Whether a piece of a message lies across a multiple of `length` bytes.
fn lies_across(one: &Carving, length: u64) -> bool {
    lies_across_from(one, length, 0)
}

/// The same of a multiple that is counted from `first`.
fn lies_across_from(one: &Carving, length: u64, first: u64) -> bool {
    let before = first.checked_rem(length).unwrap_or(0);
    let number = |at: u64| {
        let at = at.saturating_add(length.saturating_sub(before));
        at.checked_div(length)
    };
    one.found.pieces.iter().any(|(at, bytes)| {
        let last = at.saturating_add(bytes.saturating_sub(1));
        number(*at) != number(last)
    })
}

/// Doubts what lies across ends of chunks, by all that was carved out of disks of one group whose geometry
/// is not known: one of them alone may say too little of its chunks. A body hash says nothing of what is
/// before the signature.
pub fn doubt_ends_of_chunks(disks: &mut [&mut Carved]) {
    let all = disks.iter().flat_map(|disk| &disk.messages);
    let Some(length) = chunk(all) else {
        return;
    };
    let all = disks.iter_mut().flat_map(|disk| &mut disk.messages);
    doubt(all, |one| {
        lies_across(one, length).then(|| {
            format!(
                "it lies across the end of a chunk of {} KiB: all breaks off there on this device, as on \
                 a disk of an array",
                length >> 10
            )
        })
    });
}

/// Doubts what lies across ends of chunks on a copy of a disk of a group whose chunks are `length` bytes, of
/// which one begins at `first`.
pub fn doubt_across_chunks(carved: &mut Carved, length: u64, first: u64) {
    doubt(&mut carved.messages, |one| {
        lies_across_from(one, length, first).then(|| {
            format!(
                "it lies across the end of a chunk of {} KiB of the group that this disk was of",
                length >> 10
            )
        })
    });
}

/// Doubts what its contents alone show to be whole, where `why` says so.
fn doubt<'a>(
    messages: impl IntoIterator<Item = &'a mut Carving>,
    why: impl Fn(&Carving) -> Option<String>,
) {
    for one in messages {
        // One that is doubted already is damaged for that.
        let by_contents = matches!(one.found.proof, Some(Proof::Structure | Proof::BodyHash));
        if by_contents && one.found.contradictions.is_empty() {
            let why = why(one);
            one.found.contradictions.extend(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    fn message(at: u64, bytes: u64, proof: Proof) -> Carving {
        Carving {
            found: mail::carved::Carved {
                pieces: vec![(at, bytes)],
                proof: Some(proof),
                ..mail::carved::Carved::default()
            },
            end: None,
            borders: Vec::new(),
        }
    }

    /// Where those begin that are doubted of messages on one disk.
    fn doubted(messages: Vec<Carving>) -> Vec<u64> {
        let mut disk = Carved {
            grid: Grid::SECTORS,
            messages,
            unclaimed: 0,
        };
        doubt_ends_of_chunks(&mut [&mut disk]);
        let messages = disk.messages.iter();
        let doubted = messages.filter(|one| !one.found.contradictions.is_empty());
        doubted.map(|one| one.found.pieces[0].0).collect()
    }

    #[test]
    fn what_lies_across_the_ends_of_chunks_is_doubted_where_no_proven_message_does() {
        let kib = |count: u64| count << 10;
        // Across the middle of chunks of 64 KiB.
        let mut messages: Vec<Carving> = (0..10)
            .map(|number| message(kib(64 * number + 30), kib(6), Proof::BodyHash))
            .collect();
        messages.push(message(kib(60), kib(8), Proof::Structure));
        messages.push(message(kib(90), kib(8), Proof::Structure));
        assert_eq!(doubted(messages.clone()), [kib(60)]);
        // One that is proven lies across an end: it is none.
        messages.push(message(kib(190), kib(8), Proof::BodyHash));
        assert!(doubted(messages.clone()).is_empty());
        // Six that break off at ends of chunks say as much as many that do not.
        let mut open = messages.split_off(10);
        open.pop();
        open.extend((0..6).map(|number| {
            let mut open = message(kib(64 * number + 56), kib(8), Proof::Structure);
            open.found.proof = None;
            open
        }));
        assert_eq!(doubted(open.clone()), [kib(60)]);
        assert!(doubted(open.split_off(4)).is_empty());
    }

    #[test]
    fn on_a_copy_of_a_disk_the_chunks_are_those_of_its_group() {
        let kib = |count: u64| count << 10;
        let mut disk = Carved {
            grid: Grid::SECTORS,
            messages: vec![
                message(kib(28), kib(8), Proof::Structure),
                message(kib(60), kib(8), Proof::Structure),
                message(kib(94), kib(4), Proof::BodyHash),
            ],
            unclaimed: 0,
        };
        doubt_across_chunks(&mut disk, kib(64), kib(1056));
        let doubted: Vec<usize> = (disk.messages.iter())
            .map(|one| one.found.contradictions.len())
            .collect();
        assert_eq!(doubted, [1, 0, 1]);
    }

    #[test]
    fn what_breaks_off_at_ends_of_blocks_does_so_on_any_disk_unless_nothing_proven_lies_across() {
        let block = |number: u64| number * BLOCK;
        let mut others: Vec<Carving> = (0..8)
            .map(|number| message(block(number) + 1024, 3072, Proof::Structure))
            .collect();
        others.iter_mut().for_each(|open| open.found.proof = None);
        others.push(message(block(20), 6144, Proof::Structure));
        let with_proven = |count: u64, others: &[Carving]| {
            let proven = (0..count).map(|at| message(block(30 + at), 3000, Proof::BodyHash));
            doubted(proven.chain(others.iter().cloned()).collect())
        };
        assert_eq!(with_proven(16, &others), [block(20)]);
        assert!(with_proven(15, &others).is_empty());
        // The header of one before the body of another, which a hash proves of both.
        let mixed = message(block(120), 6144, Proof::BodyHash);
        others.push(mixed);
        assert_eq!(with_proven(31, &others), [block(20), block(120)]);
        assert!(with_proven(30, &others).is_empty());
    }
}
