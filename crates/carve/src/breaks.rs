//! What the messages of a device show of the file system that was on it: how often files break, and what
//! stands behind their ends.

use rayon::prelude::*;

use crate::blocks::BlockKind;
use crate::chain::{Chain, End, Judge};
use crate::device::{MOST_LUCK, WEAK};

/// What is added below a message has so many bytes: an empty line is nobody's.
const LEAST_ADDED: u64 = 16;
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
    let breaking = breaking(chains);
    let across = usual.min(block) as f64 / block as f64;
    let by_chance = added.len().saturating_add(1) as f64 * across * breaking;
    older >= LEAST_OLDER && by_chance <= MOST_LUCK * older as f64
}

/// How many of the borders of blocks behind which messages would go on are breaks.
fn breaking(chains: &[Chain]) -> f64 {
    let breaks = chains.iter().filter(|chain| chain.end.is_none()).count();
    let borders: usize = chains.iter().map(|chain| chain.links.len()).sum();
    breaks as f64 / borders.saturating_add(breaks).max(1) as f64
}

/// How many of the borders of blocks at `chains` are breaks behind which something else looks like going
/// on: breaks by how often what stands behind a message does so behind its first block.
pub(crate) fn hidden_breaks(judge: &Judge<'_>, chains: &[Chain]) -> f64 {
    let proven = chains
        .par_iter()
        .filter(|chain| chain.is_proven() && !chain.links.is_empty());
    let luring: Vec<bool> = proven
        .filter_map(|chain| {
            let behind = chain.blocks.last()?.checked_add(1)?;
            let is_text = judge.blocks.kind(behind) == BlockKind::Text;
            let before = judge.first(chain, 1).reader;
            let lures = || judge.link(&before, behind, &judge.blocks.read(behind)).1 >= WEAK;
            Some(is_text && lures())
        })
        .collect();
    let lures = luring.iter().filter(|lures| **lures).count();
    let share = lures.saturating_add(1) as f64 / luring.len().saturating_add(1) as f64;
    breaking(chains) * share
}
