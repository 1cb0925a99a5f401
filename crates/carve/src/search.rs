//! Messages in several pieces: what may go on where a message breaks off, tried in the order of
//! how much speaks for it.
//!
//! A search keeps the most promising beginnings of one message. Each is followed to where its
//! piece ends; there every free block that could go on opens a new beginning. What speaks for a
//! jump is the border itself, the boundaries of the message that are met behind it, and how near
//! it lies. A body hash that verifies ends the search. Without one, the best must stand out from
//! the next, and the jumps must say more than the number of places that were tried.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::chain::Chain;
use crate::device::WEAK;
use crate::judge::{BOUNDARY, Judge};
use crate::pool::Pool;

/// One border in some hundreds is a break; and where a file breaks, it goes on nearby more often
/// than far away.
const JUMP: f64 = 6.0;
/// Steps that are kept at a time.
const WIDTH: usize = 1024;
/// Pieces of a message.
const MOST_PIECES: u32 = 64;
/// Bytes that are read for one message.
const BUDGET: u64 = 24 << 20;
const SIGNED_BUDGET: u64 = 64 << 20;
/// What the boundaries that are met in a piece add, at most.
const MET: f64 = 16.0;
/// How much better than all others a message without a signature must be.
const MARGIN: f64 = 5.0;
/// How much more than chance must speak for each of its pieces. Of those that are not the last,
/// where they end says something too; but where the right one is lost, each other one that is left
/// is tried with each piece behind it.
const LEAST: f64 = 5.0;
/// A border that looks worse than this is a break, unless a body hash says otherwise.
pub(crate) const LEAST_BORDER: f64 = -2.8;

/// What the words on both sides of such a border must say, in nats; or it, the words and the lines
/// together.
const LEAST_WORDS: f64 = 4.0;
const LEAST_ALIKE: f64 = -1.0;

/// What the border of a jump must say, in nats.
pub(crate) const LEAST_LINK: f64 = -1.0;
/// As much, where it is no jump or a body hash will tell.
const LEAST_HASHED: f64 = -12.0;

/// The next thing to try.
struct Step {
    chain: Arc<Chain>,
    score: f64,
    jumps: u32,
    /// The least that speaks for a piece beyond what chance would, but for the last.
    least: f64,
    /// What speaks for the last piece.
    last: f64,
    /// How often that would fit by chance, where only the phase of base64 says that it follows.
    luck: Option<f64>,
    /// Jump behind so many of its blocks; go on behind all of them if `None`.
    jump: Option<usize>,
    order: u64,
}

impl Step {
    /// Whether its last piece is tied to the first by what no other message has: the boundary that
    /// closes it, for blocks of so many bytes.
    fn is_tied(&self, block: u64) -> bool {
        let pieces = self.chain.pieces();
        let first = pieces.first().map_or(0, |piece| piece.end - piece.start);
        let reader = &self.chain.reader;
        reader.is_closed_within(first.saturating_mul(block))
    }
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
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.order.cmp(&self.order))
    }
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) chain: Chain,
    /// A body hash verified.
    pub(crate) verified: bool,
    /// How often its last piece would fit by chance, if nothing but the phase of base64 says that
    /// none is missing before it.
    pub(crate) luck: Option<f64>,
}

/// Whether no border of a chain in one piece is a break: where one looks bad, the words and the lines on
/// both sides must say that they are of one message.
///
/// If the chain is closed by a boundary of its own, something else can only stand in the middle of
/// it, between two breaks.
pub(crate) fn no_break(judge: &Judge<'_>, chain: &Chain) -> bool {
    if chain.reader.closed().is_some() {
        let mut worst = chain.links.clone();
        worst.sort_by(f64::total_cmp);
        let two: f64 = worst.iter().take(2).map(|link| link.min(0.0)).sum();
        if two > MARGIN - 2.0 * JUMP {
            return true;
        }
    }
    chain.links.iter().enumerate().all(|(number, link)| {
        if *link > LEAST_BORDER {
            return true;
        }
        let (words, lines) = judge.likeness(chain, number, chain.next_weak(number));
        words >= LEAST_WORDS || link + words + lines >= LEAST_ALIKE
    })
}

/// A search for one message.
pub(crate) struct Search<'a> {
    judge: &'a Judge<'a>,
    pool: &'a Pool,
    queue: BinaryHeap<Step>,
    made: u64,
    spent: u64,
    /// Whole messages that were found, without a proof.
    whole: Vec<Step>,
    /// Whether a message that is signed may be whole although the hash of its body does not verify.
    excuses: bool,
}

impl<'a> Search<'a> {
    /// Looks for the rest of the message that begins as `chain` does. `excuses` is whether it may be
    /// signed, and whole although the hash of its body does not verify.
    pub(crate) fn run(
        judge: &'a Judge<'a>,
        pool: &'a Pool,
        chain: &Chain,
        excuses: bool,
    ) -> Option<Found> {
        // Of text that nothing ties together no piece is ever sure that lies elsewhere.
        let next = chain.blocks.last().and_then(|last| last.checked_add(1));
        let ends_here = !next.is_some_and(|next| pool.has(next));
        if ends_here && !chain.is_whole() && !chain.reader.may_be_tied() {
            return None;
        }
        let mut search = Self {
            judge,
            pool,
            queue: BinaryHeap::new(),
            made: 0,
            spent: 0,
            whole: Vec::new(),
            excuses,
        };
        let budget = if chain.reader.is_signed() {
            SIGNED_BUDGET
        } else {
            BUDGET
        };
        let mut chain = chain.clone();
        chain.reader.stop_watching();
        let start = Step {
            chain: Arc::new(chain),
            score: 0.0,
            jumps: 0,
            least: f64::MAX,
            last: f64::MAX,
            luck: None,
            jump: None,
            order: 0,
        };
        search.branch(&start, 1);
        // It may lie in one piece, all the same.
        if start.chain.is_whole() {
            let links = start.chain.links.iter().enumerate().map(|(number, link)| {
                if *link > LEAST_BORDER {
                    return link.min(0.0);
                }
                let (words, lines) =
                    judge.likeness(&start.chain, number, start.chain.next_weak(number));
                (link + words + lines).min(0.0)
            });
            let score = links.sum();
            search.whole.push(Step { score, ..start });
        }
        while let Some(step) = search.queue.pop() {
            if search.spent > budget || search.is_settled(step.score) {
                search.queue.push(step);
                break;
            }
            if let Some(border) = step.jump {
                search.jump(&step, border);
            } else if let Some(found) = search.go_on(step) {
                return Some(found);
            }
        }
        search.best()
    }

    /// Whether nothing that is worth `score` can become as good as what was found.
    fn is_settled(&self, score: f64) -> bool {
        let best = self
            .whole
            .iter()
            .map(|step| step.score)
            .max_by(f64::total_cmp);
        best.is_some_and(|best| score + MET < best - MARGIN)
    }

    /// The best of the whole messages, if it stands out.
    fn best(mut self) -> Option<Found> {
        self.whole.sort_by(|a, b| b.cmp(a));
        let waiting = self.queue.peek().map_or(f64::MIN, |step| step.score);
        let judge = self.judge;
        let mut whole = self.whole.into_iter();
        let best = whole.next()?;
        let differs = |other: &Step| other.chain.blocks != best.chain.blocks;
        let stands_out = whole
            .find(differs)
            .is_none_or(|next| best.score - next.score >= MARGIN);
        let block = judge.blocks.grid.block;
        let sound = best.chain.links.iter().all(|link| *link > LEAST_BORDER);
        let is_sure = stands_out
            && (best.jumps == 0
                || best.is_tied(block)
                    && best.score - waiting >= MARGIN
                    && (self.excuses || !best.chain.reader.contradicts_partial()))
            && best.least >= LEAST
            && best.last >= LEAST
            && (sound || best.jumps == 0 && no_break(judge, &best.chain))
            && (self.excuses || !best.chain.reader.is_signed());
        is_sure.then(|| Found {
            luck: best.luck,
            chain: Arc::unwrap_or_clone(best.chain),
            verified: false,
        })
    }

    fn push(&mut self, step: Step) {
        self.made = self.made.saturating_add(1);
        self.queue.push(Step {
            order: self.made,
            ..step
        });
        if self.queue.len() > WIDTH {
            let mut kept = std::mem::take(&mut self.queue).into_sorted_vec();
            self.queue = kept.split_off(WIDTH / 2).into();
        }
    }

    /// Plans jumps from the end of the chain of `step`, and from its weak borders behind the first
    /// `from` blocks.
    fn branch(&mut self, step: &Step, from: usize) {
        if step.jumps >= MOST_PIECES {
            return;
        }
        let plan = |border: usize, cost: f64| Step {
            chain: Arc::clone(&step.chain),
            score: step.score - JUMP - cost,
            jump: Some(border),
            ..*step
        };
        let chain = &step.chain;
        if chain.end.is_none() {
            self.push(plan(chain.blocks.len(), 0.0));
        }
        for border in from..chain.blocks.len() {
            let link = chain.links.get(border.saturating_sub(1)).copied();
            // A border that looks bad may be a break; one that looks good hardly.
            if let Some(link) = link.filter(|link| *link < WEAK) {
                // If it is one, text of something else stands behind it.
                let strange = self.judge.breaks.against_stranger();
                self.push(plan(border, 2.0 + link.max(-4.0) + strange));
            }
        }
    }

    /// Tries what may go on behind the first `border` blocks of the chain of `step`.
    fn jump(&mut self, step: &Step, border: usize) {
        let chain = if border < step.chain.blocks.len() {
            self.spend(border);
            Arc::new(self.judge.first(&step.chain, border))
        } else {
            Arc::clone(&step.chain)
        };
        let Some(near) = chain.blocks.last().copied() else {
            return;
        };
        let next = near.checked_add(1).filter(|next| self.pool.has(*next));
        let mut places = self.pool.candidates(&chain.reader, self.judge, near);
        places.retain(|place| Some(*place) != next && !chain.blocks.contains(place));
        let mut landing = Chain::clone(&chain);
        landing.reader.begin_piece();
        for place in places {
            self.land(step, &landing, near, place);
        }
        if let Some(next) = next.filter(|next| !chain.blocks.contains(next)) {
            self.walk(step, &chain, next);
        }
    }

    /// Goes on behind `chain`, which ends in block `near`, at `place`.
    fn land(&mut self, step: &Step, chain: &Chain, near: u64, place: u64) {
        let least = if chain.reader.is_signed() {
            LEAST_HASHED
        } else {
            LEAST_LINK
        };
        let Some((longer, link)) = self.longer(chain, place, least) else {
            return;
        };
        let far = (place.abs_diff(near) as f64).ln();
        let backward = if place < near { 1.0 } else { 0.0 };
        let starts = self.pool.starts(chain.reader.is_in_base64());
        let chance = (starts.max(1) as f64).ln();
        // How a piece goes on says as much of it as how it begins. That a boundary of the message is
        // met behind it says so of the message, and of this piece nothing.
        let met = longer
            .reader
            .boundaries()
            .saturating_sub(chain.reader.boundaries());
        let before = if step.jumps > 0 {
            step.last + link - BOUNDARY * f64::from(met.min(2))
        } else {
            f64::MAX
        };
        self.push(Step {
            score: step.score + link + self.judge.dated(&longer.reader).max(0.0) - far - backward,
            chain: Arc::new(longer),
            jumps: step.jumps.saturating_add(1),
            least: step.least.min(before),
            last: link - chance,
            luck: chain.reader.luck(),
            jump: None,
            order: 0,
        });
    }

    /// Goes on behind `chain` in the block behind it, `next`: nothing was jumped, and the cost of a
    /// jump is given back.
    fn walk(&mut self, step: &Step, chain: &Chain, next: u64) {
        if let Some((longer, link)) = self.longer(chain, next, LEAST_HASHED) {
            self.push(Step {
                chain: Arc::new(longer),
                score: step.score + link + JUMP,
                jump: None,
                ..*step
            });
        }
    }

    /// `chain` with block `place` behind it, and how much speaks for that if it is at least `least`.
    fn longer(&mut self, chain: &Chain, place: u64, least: f64) -> Option<(Chain, f64)> {
        let block = self.judge.blocks.read(place);
        self.spend(1);
        let (reader, link) = self.judge.link(&chain.reader, place, &block);
        if link + self.judge.dated(&reader).max(0.0) < least {
            return None;
        }
        let longer = chain.followed_by(place, link, reader);
        Some((longer, link))
    }

    /// Counts blocks that were read.
    fn spend(&mut self, blocks: usize) {
        let bytes = (blocks as u64).saturating_mul(self.judge.blocks.grid.block);
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Follows a chain to the end of its last piece.
    fn go_on(&mut self, mut step: Step) -> Option<Found> {
        let mut chain = Arc::unwrap_or_clone(step.chain);
        let from = chain.blocks.len();
        let before = chain.reader.boundaries();
        let last = self.judge.blocks.read(*chain.blocks.last()?);
        self.judge.extend_within(&mut chain, &last, self.pool);
        self.spend(chain.blocks.len().saturating_sub(from));
        if chain.is_proven() {
            return Some(Found {
                chain,
                verified: true,
                luck: None,
            });
        }
        let met = f64::from(chain.reader.boundaries().saturating_sub(before).min(2)) * MET / 2.0;
        let links = chain.links.get(from..).unwrap_or_default();
        step.score += met + links.iter().map(|link| link.min(0.0)).sum::<f64>();
        step.last += met;
        let whole = chain.is_whole();
        step.chain = Arc::new(chain);
        self.branch(&step, from);
        if whole {
            self.whole.push(step);
        }
        None
    }
}
