//! What the contents of blocks say where nothing states an address: text goes on in the next
//! block, and parity of text is no text.
//!
//! Whether one block continues another is judged by what both look like: a block that ends 30
//! characters into a line of base64 is continued by one whose first line end comes after the
//! rest of that line. How much each kind of pair says is learned from the devices themselves:
//! from blocks that lie beside each other on one of them, against blocks of different devices.

use std::collections::{BTreeMap, HashMap};

use super::anchored::chunks;
use super::hypothesis::{Hypothesis, Map, Part};
use super::sample::{BLOCK, Row};

/// One byte in so many may be none of text in a block of text: parity of three texts has more.
const ODD_IN: usize = 16;

/// Lines whose phase is told: not shorter than the first, and shorter than the second.
const SHORTEST: u8 = 20;
const LONGEST: u8 = 250;

/// Pairs that are taken as seen before any is: the learned figures count against these.
const PRIOR: f64 = 8.0;

/// What a line that goes on must be worth, in nats, where chunks are longer than blocks.
const LEAST_PHASE: f64 = 1.0;

/// So many lines of one length must not go on in the block beside theirs, and chunks are blocks.
const LEAST_LINES: f64 = 24.0;

/// A line of base64 has so many bytes with its end (RFC 2045, section 6.8).
const LINE: f64 = 77.0;

/// No more of them than so many times those by chance may go on there.
const MOST_BY_CHANCE: f64 = 4.0;

/// The longest stripe of a volume over several groups that is thought of, in chunks of one of these.
const MOST_STRIPE: usize = 16;

/// What it costs to take chunks for the ends of stripes, in nats: thirty ways are tried.
const STRIPES_COST: f64 = 8.0;

/// What one vote for who holds parity in a row is worth, in nats.
const PARITY_VOTE: f64 = 1.5;

/// What a block looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Texture {
    kind: Kind,
    /// Whether it begins as a message does: with the name of a header field.
    begins: bool,
    /// Whether zeros fill its end: a file ends in it.
    ends: bool,
    /// Bytes before its first line end, and after its last, up to [`LONGEST`].
    head: u8,
    tail: u8,
    /// How long its last lines are, if they are all of one length, as those of base64 are.
    line: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Zero,
    Text,
    Other,
    /// What lies there is not the group's.
    Lost,
}

impl Texture {
    /// What is known of a block that is not the group's.
    pub(super) const LOST: Self = Self {
        kind: Kind::Lost,
        begins: false,
        ends: false,
        head: 0,
        tail: 0,
        line: 0,
    };

    /// What `block` looks like.
    pub(super) fn of(block: &[u8]) -> Self {
        let body = filled(block);
        let Some(last) = body.len().checked_sub(1) else {
            return Self::default();
        };
        if odd_in(body) * ODD_IN > body.len() {
            return Self {
                kind: Kind::Other,
                ..Self::default()
            };
        }
        let short = |length: usize| u8::try_from(length).unwrap_or(u8::MAX).min(LONGEST);
        let is_end = |byte: &u8| *byte == b'\n';
        let first_end = body.iter().position(is_end).unwrap_or(body.len());
        let mut ends = body
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| is_end(byte));
        let mut end = || ends.next().map(|(at, _)| at);
        let (last_end, one, two) = (end(), end(), end());
        let line = match (last_end, one, two) {
            (Some(a), Some(b), Some(c)) if a - b == b - c => short(a - b - 1),
            _ => 0,
        };
        Self {
            kind: Kind::Text,
            begins: begins_message(body),
            ends: last + 1 < block.len(),
            head: short(first_end),
            tail: short(last_end.map_or(body.len(), |at| last - at)),
            line: if !(SHORTEST..LONGEST).contains(&line) {
                0
            } else {
                line
            },
        }
    }
}

impl Texture {
    /// Whether it looks like text.
    pub(super) fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }
}

/// Bytes that are looked at in one go, no more than a byte counts.
const GO: usize = 128;

/// What a block has before the zeros at its end.
fn filled(block: &[u8]) -> &[u8] {
    let is_zero = |go: &[u8]| go.iter().fold(0, |all, byte| all | byte) == 0;
    let zeros = block.rchunks(GO).take_while(|go| is_zero(go));
    let behind: usize = zeros.map(<[u8]>::len).sum();
    let block = block.get(..block.len() - behind).unwrap_or_default();
    let last = block.iter().rposition(|byte| *byte != 0);
    last.and_then(|last| block.get(..=last)).unwrap_or_default()
}

/// How many bytes are odd.
fn odd_in(body: &[u8]) -> usize {
    let count = |go: &[u8]| {
        let each = go.iter().map(|byte| u8::from(is_odd(*byte)));
        each.fold(0_u8, u8::wrapping_add)
    };
    body.chunks(GO).map(|go| usize::from(count(go))).sum()
}

/// Whether a byte is rare in text: neither printable ASCII nor white space, or of those
/// characters that sums of letters give and letters do not. It has no branches, so that many are looked at at
/// once.
const fn is_odd(byte: u8) -> bool {
    let white = (byte == b'\t') | (byte == b'\n') | (byte == b'\r');
    let printable = byte.wrapping_sub(0x20) <= 0x7d - 0x20;
    let of_sums = (byte == b'`') | (byte == b'^') | (byte == b'\\');
    !(white | printable) | (byte.wrapping_sub(b'{') < 3) | of_sums
}

/// Whether this begins with the name of a header field and a colon, or with an mbox separator.
fn begins_message(body: &[u8]) -> bool {
    let name = body
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'-')
        .count();
    let named = (3..=40).contains(&name) && body.get(name..name + 2) == Some(b": ");
    (named && body.first().is_some_and(u8::is_ascii_uppercase)) || body.starts_with(b"From ")
}

/// Kinds of pairs of a block and the one that may continue it.
const PAIRS: usize = 16;
/// The last two are those whose first ends in a line of a known length: the second begins with
/// something else than the rest of it, or with that.
const GOES_ON_WRONGLY: usize = 14;
const GOES_ON: usize = 15;

/// The kind of such a pair; `None` if one of the two is lost.
fn pair(tail: &Texture, head: &Texture) -> Option<usize> {
    let after = match (head.kind, head.begins) {
        (Kind::Lost, _) => return None,
        (Kind::Zero, _) => 0,
        (Kind::Other, _) => 1,
        (Kind::Text, true) => 2,
        (Kind::Text, false) => 3,
    };
    Some(match tail.kind {
        Kind::Lost => return None,
        Kind::Zero => after,
        Kind::Other => 4 + after,
        Kind::Text if tail.ends => 8 + after,
        // Lines of one length: the rest of the last one must follow.
        Kind::Text if tail.line > 0 && after == 3 => {
            if tail.tail.saturating_add(head.head) == tail.line {
                GOES_ON
            } else {
                GOES_ON_WRONGLY
            }
        }
        Kind::Text if after == 3 => 13,
        Kind::Text => [12, 12, 11, 12].get(after).copied().unwrap_or(12),
    })
}

/// How likely each kind of pair is where a block is continued and where it is not, before any
/// is seen.
const EXPECTED: [(f64, f64); PAIRS] = {
    let mut expected = [(0.05, 0.05); PAIRS];
    expected[0] = (0.2, 0.1);
    expected[5] = (0.1, 0.08);
    expected[11] = (0.01, 0.05);
    expected[12] = (0.02, 0.08);
    expected[13] = (0.15, 0.08);
    expected[14] = (0.01, 0.08);
    expected[15] = (0.2, 0.003);
    expected
};

/// How much likelier each kind of pair is where a block is continued than where it is not, as a
/// logarithm, by those that were seen in both.
fn log_ratios(beside: &[f64; PAIRS], apart: &[f64; PAIRS]) -> [f64; PAIRS] {
    let total = |counts: &[f64; PAIRS]| counts.iter().sum::<f64>() + PRIOR;
    let (all_beside, all_apart) = (total(beside), total(apart));
    let mut ratios = EXPECTED.map(|(here, there)| (PRIOR * here, PRIOR * there));
    for (ratio, (beside, apart)) in ratios.iter_mut().zip(beside.iter().zip(apart)) {
        *ratio = (
            (ratio.0 + beside) / all_beside,
            (ratio.1 + apart) / all_apart,
        );
    }
    ratios.map(|(beside, apart)| (beside / apart).ln())
}

/// The pairs of blocks of different devices, `apart`, without those that go on, which some of them do if
/// no others do: of lines of one length that belong to different files, one in [`LINE`] goes on by chance.
fn strangers(apart: &[f64; PAIRS]) -> [f64; PAIRS] {
    let mut strangers = *apart;
    let [.., wrongly, rightly] = &mut strangers;
    let lines = *wrongly + *rightly;
    *rightly = rightly.min(lines / LINE);
    *wrongly = lines - *rightly;
    strangers
}

/// The contents of the sampled rows, and how much each kind of pair says.
pub(super) struct Contents<'a> {
    rows: &'a [Row],
    by_offset: HashMap<u64, usize>,
    /// The logarithm of how much likelier each kind of pair is where a block is continued.
    weights: [f64; PAIRS],
    /// Whether nothing goes on in the block beside it: chunks are no longer than blocks.
    chunks_are_blocks: bool,
    spread: Spread,
}

/// How what lies on a group may be spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Over this group alone.
    Alone,
    /// In stripes over this one and others, as addresses say.
    InStripes,
    /// The same, if nothing says so and nothing else does.
    Perhaps,
}

impl<'a> Contents<'a> {
    /// Learns from the sampled rows of some devices.
    pub(super) fn learn(rows: &'a [Row], devices: &[usize], spread: Spread) -> Self {
        let by_offset = rows
            .iter()
            .enumerate()
            .map(|(index, row)| (row.at, index))
            .collect();
        let mut contents = Self {
            rows,
            by_offset,
            weights: [0.0; PAIRS],
            chunks_are_blocks: false,
            spread,
        };
        let mut beside = [0.0; PAIRS];
        let mut apart = [0.0; PAIRS];
        for row in rows {
            let Some(next) = contents.row(row.at.saturating_add(BLOCK)) else {
                continue;
            };
            for (tail, head) in devices
                .iter()
                .flat_map(|a| devices.iter().map(move |b| (a, b)))
            {
                let pair = contents.pair_of((row, *tail), (next, *head));
                let counts = if tail == head {
                    &mut beside
                } else {
                    &mut apart
                };
                if let Some(count) = pair.and_then(|pair| counts.get_mut(pair)) {
                    *count += 1.0;
                }
            }
        }
        contents.weights = log_ratios(&beside, &apart);
        let [.., wrongly, rightly] = beside;
        let [.., phase] = contents.weights;
        if phase < LEAST_PHASE {
            // What lies beside each other are strangers. How what belongs together looks is not seen, only
            // expected.
            let lines = wrongly + rightly;
            contents.chunks_are_blocks =
                lines >= LEAST_LINES && rightly * LINE <= lines * MOST_BY_CHANCE;
            contents.weights = if contents.chunks_are_blocks {
                log_ratios(&[0.0; PAIRS], &strangers(&apart))
            } else {
                [0.0; PAIRS]
            };
        }
        contents
    }

    /// Whether nothing goes on in the block beside it: chunks are no longer than blocks.
    pub(super) const fn chunks_are_blocks(&self) -> bool {
        self.chunks_are_blocks
    }

    fn row(&self, at: u64) -> Option<&'a Row> {
        self.rows.get(*self.by_offset.get(&at)?)
    }

    fn pair_of(&self, tail: (&Row, usize), head: (&Row, usize)) -> Option<usize> {
        pair(tail.0.textures.get(tail.1)?, head.0.textures.get(head.1)?)
    }

    /// How much one block speaks for being continued by another, in nats, by their looks.
    pub(super) fn weigh(&self, tail: &Texture, head: &Texture) -> f64 {
        let weight = pair(tail, head).and_then(|pair| self.weights.get(pair));
        weight.copied().unwrap_or(0.0)
    }

    /// How much the block of a device at the first place speaks for being continued by the
    /// other one, in nats.
    fn continues(&self, tail: (&Row, usize), head: (&Row, usize)) -> f64 {
        let textures = (tail.0.textures.get(tail.1), head.0.textures.get(head.1));
        match textures {
            (Some(tail), Some(head)) => self.weigh(tail, head),
            _ => 0.0,
        }
    }

    /// How much the block of a device in a row speaks for being continued by the one at another
    /// place, of that or another device, in nats; nothing if that was not looked at.
    pub(super) fn goes_on(&self, tail: &Row, device: usize, head: (u64, usize)) -> f64 {
        let next = self.row(head.0);
        next.map_or(0.0, |next| self.continues((tail, device), (next, head.1)))
    }

    /// The sampled rows whose number, counted from `edge`, is `class` modulo `period`.
    pub(super) fn rows_of(
        &self,
        chunk: u64,
        edge: u64,
        period: u64,
        class: u64,
    ) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| {
            let inside = row.at.checked_sub(edge);
            inside.is_some_and(|inside| inside / chunk % period == class)
        })
    }

    /// How much the last block of a chunk, at a row of one device, speaks for being continued
    /// by the first block of the chunk of another device `ahead` rows of chunks later; `None`
    /// if no chunk ends here.
    pub(super) fn after_chunk(
        &self,
        tail: (&Row, usize),
        head: usize,
        (chunk, edge): (u64, u64),
        ahead: u64,
    ) -> Option<f64> {
        let last = chunk.checked_sub(BLOCK)?;
        let start = tail.0.at.checked_sub(last)?;
        (start % chunk == edge % chunk).then_some(())?;
        let next = self.row(start.checked_add(ahead.checked_mul(chunk)?)?)?;
        Some(self.continues(tail, (next, head)))
    }

    /// The device that holds parity in a row, if only one of those with contents has no text.
    pub(super) fn parity(&self, row: &Row, devices: &[usize]) -> Option<usize> {
        let mut odd = None;
        let mut texts = 0;
        for device in devices {
            match row.textures.get(*device)?.kind {
                Kind::Zero | Kind::Lost => {}
                Kind::Text => texts += 1,
                Kind::Other if odd.is_some() => return None,
                Kind::Other => odd = Some(*device),
            }
        }
        odd.filter(|_| texts >= 2)
    }

    /// Chunks and where their edges lie, the likeliest first, with how much speaks for each.
    pub(super) fn edges(&self, devices: &[usize]) -> Vec<(u64, u64, f64)> {
        // Where blocks beside each other do not continue, a chunk may end.
        let breaks: Vec<(u64, f64)> = self
            .rows
            .iter()
            .filter_map(|row| {
                let next = self.row(row.at.saturating_add(BLOCK))?;
                let each = devices
                    .iter()
                    .map(|d| -self.continues((row, *d), (next, *d)));
                Some((next.at, each.sum()))
            })
            .collect();
        if self.chunks_are_blocks {
            return vec![(BLOCK, 0, LEAST_PHASE)];
        }
        let mut found: Vec<(u64, u64, f64)> = Vec::new();
        for chunk in chunks().filter(|chunk| *chunk > BLOCK) {
            let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
            for (at, value) in &breaks {
                *sums.entry(at % chunk).or_default() += value;
            }
            let best = sums.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
            found.extend(best.map(|(edge, value)| (chunk, edge, value)));
        }
        found.sort_by(|a, b| b.2.total_cmp(&a.2));
        found
    }

    /// How much the contents speak for a hypothesis, in nats: that its chunks continue where it
    /// says, but for the ends of stripes if it is one of several groups that a volume lies in
    /// stripes over, and that parity lies where it says.
    ///
    /// How text goes on is learnt from blocks that lie next to each other. If a chunk is a block, none of
    /// these do in the group: what was learnt may speak for it, and not against.
    pub(super) fn score(&self, hypothesis: &Hypothesis) -> f64 {
        let map = hypothesis.map();
        let devices: Vec<usize> = hypothesis.devices().collect();
        let mut edges = [0.0; MOST_STRIPE];
        let mut sum = 0.0;
        for row in self.rows {
            sum += self.parity_score(&map, row, &devices);
            for device in &devices {
                let Some((number, worth)) = self.edge_score(&map, row, *device) else {
                    continue;
                };
                let number = number.rem_euclid(MOST_STRIPE as i64);
                if let Some(edge) = usize::try_from(number).ok().and_then(|n| edges.get_mut(n)) {
                    *edge += worth;
                }
            }
        }
        let gain = match self.spread {
            Spread::Alone => 0.0,
            Spread::InStripes | Spread::Perhaps => without_stripes(&edges),
        };
        let goes_on = edges.iter().sum::<f64>() + gain;
        if hypothesis.chunk <= BLOCK {
            sum + goes_on.max(0.0)
        } else {
            sum + goes_on
        }
    }

    /// How much the chunks that lie from `from` of the devices on speak for it, in nats, by what goes on at
    /// their ends.
    pub(super) fn goes_on_behind(&self, hypothesis: &Hypothesis, from: u64) -> f64 {
        let map = hypothesis.map();
        let rows = self.rows.iter().filter(|row| row.at >= from);
        let ends = rows.flat_map(|row| {
            let edges = hypothesis
                .devices()
                .filter_map(|device| self.edge_score(&map, row, device));
            edges.map(|(_, worth)| worth).collect::<Vec<_>>()
        });
        ends.sum()
    }

    fn parity_score(&self, map: &Map<'_>, row: &Row, devices: &[usize]) -> f64 {
        let Some(odd) = self.parity(row, devices) else {
            return 0.0;
        };
        let is_parity = |device: usize| {
            let place = map.place(device, row.at);
            place.is_some_and(|place| matches!(place.part, Part::P | Part::Q))
        };
        // Where no parity is, as in RAID-0 or with its member missing, what is no text is data.
        if is_parity(odd) {
            PARITY_VOTE
        } else if devices.iter().any(|device| is_parity(*device)) {
            -PARITY_VOTE
        } else {
            0.0
        }
    }

    /// What the end of a chunk at `row` says of the chunk that follows it, with the number of the
    /// chunk in the group's data.
    fn edge_score(&self, map: &Map<'_>, row: &Row, device: usize) -> Option<(i64, f64)> {
        let place = map.place(device, row.at)?;
        let Part::Data(number) = place.part else {
            return None;
        };
        let (next_row, next) = map.next(place.row, number)?;
        let ahead = u64::try_from(next_row.checked_sub(place.row)?).ok()?;
        let edges = (map.hypothesis.chunk, map.hypothesis.row_0);
        let width = i64::try_from(map.hypothesis.shape.width()).ok()?;
        let chunk = place.row.checked_mul(width)?.checked_add_unsigned(number)?;
        Some((chunk, self.after_chunk((row, device), next?, edges, ahead)?))
    }
}

/// What is gained if the ends of stripes are not asked for whether they go on, in nats: what the best
/// stripes lose, if they are of two chunks or more, for all `edges` by the numbers of their chunks.
fn without_stripes(edges: &[f64; MOST_STRIPE]) -> f64 {
    let lengths = (1..)
        .map(|bits| 1 << bits)
        .take_while(|length| *length <= MOST_STRIPE);
    let gains = lengths.flat_map(|length: usize| {
        (0..length).map(move |first| {
            let ends = edges.iter().skip(first).step_by(length);
            -ends.sum::<f64>()
        })
    });
    (gains.fold(0.0, f64::max) - STRIPES_COST).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;
    use crate::raid::Raid5Layout;

    fn base64(from: usize, length: usize) -> Vec<u8> {
        let line = |at: usize| {
            if at % 77 == 76 {
                b'\n'
            } else {
                b"QUJDabcd0123+/xyZ"[at % 17]
            }
        };
        (from..from + length).map(line).collect()
    }

    #[test]
    fn the_phase_of_a_line_tells_what_continues_it() {
        let first = Texture::of(&base64(0, 4096));
        assert_eq!(first.line, 76);
        assert_eq!(pair(&first, &Texture::of(&base64(4096, 4096))), Some(15));
        assert_eq!(
            pair(&first, &Texture::of(&base64(4096 + 5, 4096))),
            Some(14)
        );
    }

    #[test]
    fn what_is_no_text_speaks_against_parity_elsewhere_and_not_for_any() {
        let text = Texture {
            kind: Kind::Text,
            ..Texture::default()
        };
        let odd = Texture {
            kind: Kind::Other,
            ..Texture::default()
        };
        let row = Row {
            at: 0,
            prints: vec![1, 2, 3],
            textures: vec![text, text, odd],
            full: [0, 1, 2].into_iter().collect(),
            ..Row::default()
        };
        let rows = [row];
        let contents = Contents::learn(&rows, &[0, 1, 2], Spread::Alone);
        let score = |shape, order: [usize; 3]| {
            let roles = order.map(Some).to_vec();
            contents.score(&Hypothesis::new(shape, 65536, 0, 0, roles).unwrap())
        };
        assert_eq!(score(Shape::Raid0(3), [0, 1, 2]), 0.0);
        assert_eq!(
            score(Shape::Raid5(Raid5Layout::ParityLast, 3), [0, 1, 2]),
            PARITY_VOTE
        );
        assert_eq!(
            score(Shape::Raid5(Raid5Layout::ParityLast, 3), [0, 2, 1]),
            -PARITY_VOTE
        );
    }

    /// Rows of two devices, of which each block ends in a line of base64; it goes on `beside` it or on the
    /// other device.
    fn rows_of_lines(beside: bool) -> Vec<Row> {
        let text = base64(0, 64 * 4096);
        let other: Vec<u8> = text.iter().rev().copied().collect();
        let block = |text: &[u8], number: usize| Texture::of(&text[number * 4096..][..4096]);
        let row = |number: usize| {
            let own = [block(&text, number), block(&other, number)];
            let turned = if beside || number.is_multiple_of(2) {
                own
            } else {
                [own[1], own[0]]
            };
            Row {
                at: number as u64 * BLOCK,
                prints: vec![1, 2],
                textures: turned.to_vec(),
                full: [0, 1].into_iter().collect(),
                ..Row::default()
            }
        };
        (0..64).map(row).collect()
    }

    #[test]
    fn where_no_line_goes_on_in_the_block_beside_it_chunks_are_blocks() {
        let edges = |beside| {
            let rows = rows_of_lines(beside);
            let contents = Contents::learn(&rows, &[0, 1], Spread::Alone);
            (contents.chunks_are_blocks, contents.edges(&[0, 1]))
        };
        let (short, chunks) = edges(false);
        assert!(short);
        assert_eq!(chunks, [(BLOCK, 0, LEAST_PHASE)]);
        let (short, chunks) = edges(true);
        assert!(!short);
        assert!(chunks.iter().all(|(chunk, ..)| *chunk > BLOCK));
    }

    #[test]
    fn what_was_learnt_beside_each_other_does_not_speak_against_chunks_of_a_block() {
        let rows = rows_of_lines(true);
        let contents = Contents::learn(&rows, &[0, 1], Spread::Alone);
        let score = |chunk| {
            let roles = vec![Some(0), Some(1)];
            contents.score(&Hypothesis::new(Shape::Raid0(2), chunk, 0, 0, roles).unwrap())
        };
        assert!(score(2 * BLOCK) < 0.0);
        assert_eq!(score(BLOCK), 0.0);
    }

    #[test]
    fn where_no_other_blocks_go_on_those_of_two_devices_that_do_tell_their_order() {
        let text = base64(0, 128 * 4096);
        let blocks: Vec<Texture> = text.chunks(4096).map(Texture::of).collect();
        let row = |(number, textures): (usize, &[Texture])| Row {
            at: number as u64 * BLOCK,
            prints: vec![1, 2],
            textures: textures.to_vec(),
            full: [0, 1].into_iter().collect(),
            ..Row::default()
        };
        let rows: Vec<Row> = blocks.chunks(2).enumerate().map(row).collect();
        let contents = Contents::learn(&rows, &[0, 1], Spread::Alone);
        let score = |order: [usize; 2]| {
            let roles = order.map(Some).to_vec();
            contents.score(&Hypothesis::new(Shape::Raid0(2), BLOCK, 0, 0, roles).unwrap())
        };
        assert!(score([0, 1]) > 100.0, "{}", score([0, 1]));
        assert_eq!(score([1, 0]), 0.0);
    }

    #[test]
    fn parity_of_texts_is_no_text() {
        let [a, b, c] = [0, 1000, 2001].map(|from| base64(from, 4096));
        let letter =
            |i: usize| b"The quick brown fox jumps over the lazy dog, and so on.\n"[i % 56];
        let d: Vec<u8> = (0..4096).map(letter).collect();
        let sum: Vec<u8> = (0..4096).map(|i| a[i] ^ b[i] ^ d[i]).collect();
        assert_eq!(Texture::of(&c).kind, Kind::Text);
        assert_eq!(Texture::of(&sum).kind, Kind::Other);
        assert!(Texture::of(b"Return-Path: <a@b>\nDelivered-To: c\n\nx\n").begins);
    }
}
