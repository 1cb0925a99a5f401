//! What the messages of a device show of the file system that was on it: how often files break, and what
//! stands behind their ends.

use rayon::prelude::*;

use crate::blocks::BlockKind;
use crate::chain::{Chain, End};
use crate::device::{MOST_LUCK, WEAK};
use crate::judge::Judge;

/// What is added below a message has so many bytes: an empty line is nobody's.
const LEAST_ADDED: u64 = 16;
/// So many messages that a sender left open count with those that were seen.
const OPEN: f64 = 0.5;
/// So many blocks that hold what was there before show that a device leaves it.
const LEAST_OLDER: usize = 3;

/// Whether the messages that lie at `chains` show that the device leaves what a block held before behind
/// the end of a file: text there that fills the block may also be what somebody added below a message,
/// where it runs into another block and breaks off at just that border.
pub(crate) fn leaves_older(chains: &[Chain], block: u64) -> bool {
    let ended = |chain: &&Chain, by: End| chain.end.is_some_and(|(_, end)| end == by);
    let older = chains
        .iter()
        .filter(|chain| ended(chain, End::Older))
        .count();
    let zeros = chains.iter().filter(|chain| ended(chain, End::Zeros));
    let added = zeros.filter_map(|chain| chain.reader.bytes().checked_sub(chain.reader.ended()?));
    let mut added: Vec<u64> = added.filter(|bytes| *bytes >= LEAST_ADDED).collect();
    added.sort_unstable();
    let usual = added.get(added.len() / 2).copied().unwrap_or(block);
    let breaking = breaking(chains, 0);
    let across = usual.min(block) as f64 / block as f64;
    let by_chance = added.len().saturating_add(1) as f64 * across * breaking;
    older >= LEAST_OLDER && by_chance <= MOST_LUCK * older as f64
}

/// How many of the borders of blocks behind which messages would go on are breaks, with so many `more`
/// than were seen.
fn breaking(chains: &[Chain], more: usize) -> f64 {
    let broken = chains.iter().filter(|chain| chain.end.is_none());
    let breaks = broken.count().saturating_add(more);
    let borders: usize = chains.iter().map(|chain| chain.links.len()).sum();
    breaks as f64 / borders.saturating_add(breaks).max(1) as f64
}

/// How often files break on a device, and what stands behind their ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaks {
    /// How many of the borders of blocks behind which messages would go on are breaks.
    breaking: f64,
    /// Behind how many ends of messages text stands that begins no message.
    strange: f64,
    /// Behind how many it looks like going on behind the first block of that message.
    luring: f64,
    /// How many messages end before all is ended that they began, as their senders wrote them.
    open: f64,
}

impl Breaks {
    /// Where nothing was measured: nothing is made of them.
    pub(crate) const UNKNOWN: Self = Self {
        breaking: 1.0,
        strange: 1.0,
        luring: 1.0,
        open: 0.0,
    };

    /// Those that messages at `chains` show.
    pub(crate) fn measure(judge: &Judge<'_>, chains: &[Chain]) -> Self {
        let proven = chains
            .par_iter()
            .filter(|chain| chain.is_proven() && !chain.links.is_empty());
        let behind: Vec<(bool, bool)> = proven
            .filter_map(|chain| {
                let behind = chain.blocks.last()?.checked_add(1)?;
                let is_text = judge.blocks.kind(behind) == BlockKind::Text;
                let before = judge.first(chain, 1).reader;
                let lures = || judge.link(&before, behind, &judge.blocks.read(behind)).1 >= WEAK;
                let is_strange = is_text && !judge.blocks.heads().contains(&behind);
                Some((is_strange, is_text && lures()))
            })
            .collect();
        let share = |of: &dyn Fn(&(bool, bool)) -> bool| {
            let count = behind.iter().filter(|one| of(one)).count();
            count.saturating_add(1) as f64 / behind.len().saturating_add(1) as f64
        };
        let has_body = |chain: &&Chain| chain.reader.body_start().is_some();
        let whole = chains.iter().filter(has_body);
        let whole = whole.filter(|chain| chain.is_proven() || chain.is_one_block());
        let (closed, open): (Vec<&Chain>, Vec<&Chain>) =
            whole.partition(|chain| chain.reader.is_closed());
        Self {
            breaking: breaking(chains, 1),
            strange: share(&|(strange, _)| *strange),
            luring: share(&|(_, lures)| *lures),
            open: (open.len() as f64 + OPEN)
                / (closed.len().saturating_add(open.len()) as f64 + 1.0),
        }
    }

    /// How many of the borders of blocks are breaks that do not show, as something else behind them looks
    /// like going on.
    pub(crate) const fn hidden(&self) -> f64 {
        self.breaking * self.luring
    }

    /// What speaks against something else behind a border where text stands that begins no message, in nats:
    /// behind a break anything may stand.
    pub(crate) fn against_stranger(&self) -> f64 {
        -self.strange.ln()
    }

    /// Whether the borders of `chain`, which ends before all that it began is ended, are surely none between
    /// two messages: its sender is the likelier reason.
    pub(crate) fn leave_whole(&self, judge: &Judge<'_>, chain: &Chain) -> bool {
        let nats = chain.links.iter().enumerate().map(|(number, link)| {
            if *link >= WEAK {
                return *link;
            }
            let until = chain.next_weak(number);
            let (words, lines) = judge.likeness(chain, number, until);
            link + words + lines
        });
        let breaks: f64 = nats.map(|nats| (-nats).exp()).sum();
        breaks * self.breaking * self.strange <= MOST_LUCK * self.open
    }
}
