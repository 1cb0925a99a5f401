//! Where a disk of an array breaks off what lies on it: at the ends of its chunks.
//!
//! On a disk of a group that could not be put together, what lies next to a chunk is mostly another
//! chunk, of other files. Messages that a body hash proves show where nothing breaks: they lie across
//! any place within a chunk, and across no end of one. Of what nothing but its structure proves, and
//! that lies across such ends, one in a few is made of two.

use std::ops::RangeInclusive;

use mail::Proof;

use crate::Carving;

/// Chunks are so long: powers of two, in bytes, as exponents.
const CHUNKS: RangeInclusive<u32> = 14..=22;
/// If none that is proven lies across the ends of chunks, so many must lie across the places in the
/// middle of chunks: as many would by chance lie across the ends.
const LEAST_ACROSS: usize = 8;
/// Or so many that break off must do so at ends of chunks, and this share of those that break off at
/// ends of blocks, in percent: one in sixteen would by chance.
const LEAST_ENDS: usize = 5;
const ENDS_PERCENT: usize = 60;
const BLOCK: u64 = 4096;

/// How long the chunks are at whose ends all breaks off: the longest that can be, for what breaks off at
/// their ends does so at ends of parts of them.
fn chunk(messages: &[Carving]) -> Option<u64> {
    let proven = messages
        .iter()
        .filter(|one| one.found.proof == Some(Proof::BodyHash));
    let proven: Vec<&Carving> = proven.collect();
    let across = |length: u64| {
        let across = proven.iter().filter(|one| lies_across(one, length));
        across.count()
    };
    let open = messages.iter().filter(|one| one.found.proof.is_none());
    let ends = open.filter_map(|one| one.found.pieces.first());
    let ends: Vec<u64> = ends
        .map(|(at, length)| at.saturating_add(*length))
        .collect();
    let ending = |length: u64| ends.iter().filter(|end| end.is_multiple_of(length)).count();
    let at_blocks = ending(BLOCK);
    let breaks = |length: &u64| {
        let ending = ending(*length);
        let many = ending >= LEAST_ENDS
            && ending.saturating_mul(100) >= at_blocks.saturating_mul(ENDS_PERCENT);
        across(*length) == 0 && (many || across(length / 2) >= LEAST_ACROSS)
    };
    CHUNKS.rev().map(|bits| 1_u64 << bits).find(breaks)
}

/// Whether a piece of a message lies across a multiple of `length` bytes.
fn lies_across(one: &Carving, length: u64) -> bool {
    one.found.pieces.iter().any(|(at, bytes)| {
        let last = at.saturating_add(bytes.saturating_sub(1));
        at.checked_div(length) != last.checked_div(length)
    })
}

/// Doubts those among `messages` that nothing but their structure proves and that lie across ends of
/// chunks, where the device has such.
pub(crate) fn doubt(messages: &mut [Carving]) {
    let Some(length) = chunk(messages) else {
        return;
    };
    for one in messages {
        if one.found.proof == Some(Proof::Structure) && lies_across(one, length) {
            one.found.contradictions.push(format!(
                "it lies across the end of a chunk of {} KiB: all breaks off there on this device, as on \
                 a disk of an array",
                length >> 10
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::carved::Carved;

    fn message(at: u64, bytes: u64, proof: Proof) -> Carving {
        Carving {
            found: Carved {
                pieces: vec![(at, bytes)],
                proof: Some(proof),
                ..Carved::default()
            },
            end: None,
            borders: Vec::new(),
        }
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
        let doubted = |mut messages: Vec<Carving>| {
            doubt(&mut messages);
            let doubts = messages
                .iter()
                .filter(|one| !one.found.contradictions.is_empty());
            doubts.map(|one| one.found.pieces[0].0).collect::<Vec<_>>()
        };
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
}
