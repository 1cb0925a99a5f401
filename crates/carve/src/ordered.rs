//! Signed messages in many pieces of base64: the order in which file systems give pieces away.
//!
//! Where free space is in pieces, a file system gives a large file the largest of them first (XFS
//! by its tree of sizes, ext4 by its lists of sizes): each piece is about as long as the one
//! before, or a little shorter, and those of one length follow each other on the device. So of all
//! that fit the phase of the base64, those are the likeliest. What strange choices cost is summed
//! up, and the way that cost least so far goes on (uniform-cost search). Only a body hash that
//! verifies ends it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::chain::Chain;
use crate::judge::Judge;
use crate::pool::Pool;
use crate::search::{Found, LEAST_BORDER};

/// Bytes that are read for one message, in each order.
const BUDGET: u64 = 96 << 20;
/// Pieces of a message.
const MOST_PIECES: u32 = 256;
/// Steps that are kept at a time: twice as many, until the better half is.
const MOST_STEPS: usize = 8192;
/// What a piece costs that is longer than those before.
const LONGER: f64 = 2.0;
/// What a piece costs that is shorter, and for each block by which it is; at most so much.
const SHORTER: f64 = 0.4;
const EACH: f64 = 0.3;
const MOST_SHORTER: f64 = 3.0;
/// What it costs, by how many that fit are nearer: so often the logarithm.
const FARTHER: f64 = 0.7;

/// So many places are tried on either side of a piece.
const MOST_NEAR: usize = 32;

/// Behind which piece the next one is looked for.
#[derive(Clone, Copy)]
enum Order {
    /// The one before it, as XFS does.
    Last,
    /// Any that is before it, as ext4 does, which goes on with larger space where it has found some.
    Any,
}

/// A piece to try next.
struct Step {
    cost: f64,
    before: Arc<Chain>,
    place: u64,
    /// How many pieces are before it.
    pieces: u32,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Step {}
impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_cost = self.cost.total_cmp(&other.cost);
        let by_pieces = || other.pieces.cmp(&self.pieces);
        let by_place = || self.place.cmp(&other.place);
        by_cost.then_with(by_pieces).then_with(by_place)
    }
}

/// A search for one message.
pub(crate) struct Ordered<'a> {
    judge: &'a Judge<'a>,
    pool: &'a Pool,
    /// Blocks in which its base64 may end at once.
    ends: Vec<u64>,
    order: Order,
    queue: BinaryHeap<Reverse<Step>>,
    /// How long the pieces are that were met.
    runs: HashMap<u64, u64>,
    spent: u64,
}

impl<'a> Ordered<'a> {
    /// Looks for the rest of the signed message that begins as `chain` does, and breaks off in base64.
    pub(crate) fn run(judge: &'a Judge<'a>, pool: &'a Pool, chain: &Chain) -> Option<Found> {
        let weak = chain.links.iter().position(|link| *link < LEAST_BORDER);
        let sound = weak.map_or(chain.blocks.len(), |weak| weak.saturating_add(1));
        let mut first = judge.first(chain, sound);
        first.reader.begin_piece();
        if !first.reader.is_signed() || !first.reader.is_in_base64() {
            return None;
        }
        let ends = pool.ends_of(judge.blocks, &first.reader);
        let chain = [Order::Last, Order::Any].into_iter().find_map(|order| {
            let search = Self {
                judge,
                pool,
                ends: ends.clone(),
                order,
                queue: BinaryHeap::new(),
                runs: HashMap::new(),
                spent: 0,
            };
            search.whole(first.clone())
        })?;
        Some(Found {
            chain,
            verified: true,
            luck: None,
        })
    }

    /// The whole message that begins with `first`.
    fn whole(mut self, first: Chain) -> Option<Chain> {
        if let Some(whole) = self.branch(first, 0.0, 1) {
            return Some(whole);
        }
        while let Some(Reverse(step)) = self.queue.pop() {
            if self.spent > BUDGET {
                return None;
            }
            let Some(longer) = self.longer(&step.before, step.place) else {
                continue;
            };
            if longer.is_proven() {
                return Some(longer);
            }
            if longer.end.is_some() || !longer.reader.is_in_base64() || step.pieces >= MOST_PIECES {
                continue;
            }
            let whole = self.branch(longer, step.cost, step.pieces.saturating_add(1));
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    /// Plans what may go on behind `chain`; the whole message, if it ends in its next block.
    fn branch(&mut self, chain: Chain, cost: f64, pieces: u32) -> Option<Chain> {
        for end in self.ends.clone() {
            let whole = self.longer(&chain, end).filter(Chain::is_proven);
            if whole.is_some() {
                return whole;
            }
        }
        let all = chain.pieces();
        let from = match self.order {
            Order::Last => all.len().saturating_sub(1),
            Order::Any => 0,
        };
        let before = all.get(from..).unwrap_or_default();
        let near = before
            .iter()
            .flat_map(|piece| self.pool.fitting(&chain.reader, piece.end, MOST_NEAR));
        let places: BTreeSet<u64> = near.filter(|place| !chain.blocks.contains(place)).collect();
        let mut ranked: Vec<(u64, u64, u64)> = places
            .into_iter()
            .filter_map(|place| {
                let piece = before.iter().min_by_key(|piece| distance(piece, place))?;
                let length = piece.end.saturating_sub(piece.start);
                Some((distance(piece, place), place, length))
            })
            .collect();
        ranked.sort_unstable();
        let before = Arc::new(chain);
        for (rank, (_, place, length)) in (1_u32..).zip(ranked) {
            let run = *self
                .runs
                .entry(place)
                .or_insert_with(|| self.pool.run(place));
            let strange = match length.checked_sub(run) {
                Some(0) => 0.0,
                Some(shorter) => (SHORTER + shorter as f64 * EACH).min(MOST_SHORTER),
                None => LONGER,
            };
            self.queue.push(Reverse(Step {
                cost: cost + strange + FARTHER * f64::from(rank).ln(),
                before: Arc::clone(&before),
                place,
                pieces,
            }));
        }
        if self.queue.len() > 2 * MOST_STEPS {
            // The best come last.
            let mut kept = std::mem::take(&mut self.queue).into_sorted_vec();
            self.queue = kept.split_off(kept.len().saturating_sub(MOST_STEPS)).into();
        }
        None
    }

    /// `chain` with the piece behind it that begins at `place`, if it fits there.
    fn longer(&mut self, chain: &Chain, place: u64) -> Option<Chain> {
        let block = self.judge.blocks.read(place);
        let (reader, link) = self.judge.link(&chain.reader, place, &block);
        let mut longer = chain.followed_by(place, link, reader);
        let before = longer.blocks.len();
        if link > 0.0 {
            self.judge.extend_strongly(&mut longer, &block, self.pool);
        }
        let read = longer.blocks.len().saturating_sub(before) as u64;
        let bytes = read
            .saturating_add(1)
            .saturating_mul(self.judge.blocks.grid.block);
        self.spent = self.spent.saturating_add(bytes);
        (link > 0.0).then_some(longer)
    }
}

/// How far a place is from a piece: file systems look for space behind what they gave away last.
const fn distance(piece: &Range<u64>, place: u64) -> u64 {
    match place.checked_sub(piece.end) {
        Some(behind) => behind,
        None => piece.start.saturating_sub(place).saturating_mul(2),
    }
}
