//! A device, from its survey to its messages.

use std::collections::BTreeSet;
use std::ops::Range;

use evidence::ReadAt;
use rayon::prelude::*;

use crate::blocks::Blocks;
use crate::chain::{Chain, End, Judge};
use crate::pool::Pool;
use crate::repair::{Repair, repair};
use crate::search::{Found, Search};
use crate::survey::Survey;
use crate::{Carved, Grid, Message, Proof};

/// A border that says less than this may be a break.
pub(crate) const WEAK: f64 = 2.0;

/// Takes all mail from `device` but from the ranges that are `taken`, which something else
/// explains (sorted, in bytes). `progress` is told how many bytes were read since it was last
/// called.
///
/// The result depends on the device and on what is taken alone, not on the number of threads.
pub fn carve(device: &dyn ReadAt, taken: &[Range<u64>], progress: &(dyn Fn(u64) + Sync)) -> Carved {
    let survey = Survey::of(device, taken, progress);
    let grid = Grid::of(&survey.heads);
    let blocks = Blocks::new(device, &survey, grid);
    let judge = Judge {
        blocks: &blocks,
        language: &survey.language,
    };
    let heads: Vec<u64> = blocks.heads().iter().copied().collect();
    let chains: Vec<Chain> = heads.par_iter().map(|head| judge.follow(*head)).collect();
    let (sure, open): (Vec<Chain>, Vec<Chain>) = chains.into_iter().partition(is_sure);
    let mut claimed = BTreeSet::new();
    let mut messages = Vec::new();
    for chain in sure {
        if chain.blocks.iter().any(|block| claimed.contains(block)) {
            continue;
        }
        claimed.extend(chain.blocks.iter().copied());
        let proof = if chain.reader.verifies() {
            Proof::BodyHash
        } else {
            Proof::Structure
        };
        messages.push(message(&grid, &chain, Some(proof)));
    }
    let pool = Pool::of(&blocks, &claimed);
    let mut rest = Rest {
        judge: &judge,
        pool,
        open,
        messages,
    };
    // What a body hash proves makes room, and leaves fewer blocks for what has none.
    rest.solve(|chain| chain.reader.is_signed());
    rest.mend();
    rest.solve(|chain| !chain.reader.is_signed() || chain.end.is_some());
    rest.give_up();
    let mut messages = rest.messages;
    messages.sort_by_key(|message| message.pieces.first().copied());
    Carved {
        grid,
        messages,
        unclaimed: rest.pool.bytes(&blocks),
    }
}

/// Whether a message in one piece needs no search: its body hash verifies, or all that it has
/// fits.
fn is_sure(chain: &Chain) -> bool {
    let fits = || {
        let strong = chain.links.iter().all(|link| *link >= WEAK);
        let ends = matches!(chain.end, Some((_, End::Zeros | End::Edge)));
        !chain.reader.is_signed() && chain.reader.may_end() && strong && ends
    };
    chain.end.is_some() && (chain.reader.verifies() || fits())
}

/// The messages that are not found yet, and the blocks that are left for them.
struct Rest<'a> {
    judge: &'a Judge<'a>,
    pool: Pool,
    open: Vec<Chain>,
    messages: Vec<Message>,
}

impl Rest<'_> {
    /// Searches for those of the open messages that are `wanted`, all with the same blocks; of two
    /// that want the same block, the better has it, and the other is searched for again.
    fn solve(&mut self, wanted: impl Fn(&Chain) -> bool) {
        loop {
            let (now, later): (Vec<Chain>, Vec<Chain>) = std::mem::take(&mut self.open)
                .into_iter()
                .partition(&wanted);
            let found: Vec<Option<Found>> = now
                .par_iter()
                .map(|chain| Search::run(self.judge, &self.pool, chain))
                .collect();
            self.open = later;
            let mut disputed = false;
            for (chain, found) in now.into_iter().zip(found) {
                let Some(found) = found else {
                    self.open.push(chain);
                    continue;
                };
                if found.chain.blocks.iter().all(|block| self.pool.has(*block)) {
                    self.pool.claim(&found.chain.blocks);
                    let proof = if found.verified {
                        Proof::BodyHash
                    } else {
                        Proof::Structure
                    };
                    self.messages
                        .push(message(&self.judge.blocks.grid, &found.chain, Some(proof)));
                } else {
                    disputed = true;
                    self.open.push(chain);
                }
            }
            self.open.sort_by_key(|chain| chain.blocks.first().copied());
            if !disputed {
                return;
            }
        }
    }

    /// Turns the one wrong bit of messages in one piece whose body hash verifies without it.
    fn mend(&mut self) {
        let grid = self.judge.blocks.grid;
        let is_free = |chain: &Chain| chain.blocks.iter().all(|block| self.pool.has(*block));
        let (ended, open): (Vec<Chain>, Vec<Chain>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|chain| chain.end.is_some() && chain.reader.is_signed() && is_free(chain));
        self.open = open;
        for chain in ended {
            let Some(repair) = self.repair(&chain) else {
                self.open.push(chain);
                continue;
            };
            self.pool.claim(&chain.blocks);
            let mut mended = message(&grid, &chain, Some(Proof::BodyHash));
            mended.repairs.push(repair);
            self.messages.push(mended);
        }
        self.open.sort_by_key(|chain| chain.blocks.first().copied());
    }

    fn repair(&self, chain: &Chain) -> Option<Repair> {
        let body = usize::try_from(chain.reader.body_start()?).ok()?;
        let (end, _) = chain.end?;
        let mut content = Vec::new();
        for block in &chain.blocks {
            content.extend(self.judge.blocks.read(*block));
        }
        content.truncate(usize::try_from(end).ok()?);
        repair(&content, body, &chain.reader.signatures())
    }

    /// Gives what is left as far as it goes.
    fn give_up(&mut self) {
        for mut chain in std::mem::take(&mut self.open) {
            let grid = self.judge.blocks.grid;
            let free = chain
                .blocks
                .iter()
                .take_while(|block| self.pool.has(**block))
                .count();
            let weak = chain.links.iter().position(|link| *link < WEAK);
            let sound = weak.map_or(chain.blocks.len(), |weak| weak.saturating_add(1));
            let kept = sound.min(free);
            if kept == 0 {
                continue;
            }
            if kept < chain.blocks.len() {
                chain = self.judge.first(&chain, kept);
            }
            self.pool.claim(&chain.blocks);
            let mut damaged = message(&grid, &chain, None);
            damaged.contradictions.push(why_open(&chain));
            self.messages.push(damaged);
        }
    }
}

/// Why a message that was not solved is not whole.
fn why_open(chain: &Chain) -> String {
    match chain.end {
        Some(_) if chain.reader.is_signed() => {
            "the hash of its body is another than its signature says: a part of it is something \
             else, or was changed"
                .to_owned()
        }
        Some((_, End::Closed)) => {
            "something stands behind its last part, and nothing says whether it is its own"
                .to_owned()
        }
        Some(_) if !chain.reader.may_end() => {
            "it ends before all that it began is ended".to_owned()
        }
        Some(_) => "nothing proves that all of its blocks are its own".to_owned(),
        None => format!(
            "it breaks off after {} bytes: how it goes on lies elsewhere, and nothing says where",
            chain.reader.bytes()
        ),
    }
}

/// The message that a chain of blocks is.
fn message(grid: &Grid, chain: &Chain, proof: Option<Proof>) -> Message {
    let bytes = chain
        .end
        .map_or_else(|| chain.reader.bytes(), |(bytes, _)| bytes);
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    let mut left = bytes;
    for number in &chain.blocks {
        let (at, length) = (grid.offset(*number), left.min(grid.block));
        left = left.saturating_sub(length);
        match pieces.last_mut() {
            Some((start, before)) if start.saturating_add(*before) == at => {
                *before = before.saturating_add(length);
            }
            _ => pieces.push((at, length)),
        }
    }
    let borders = (1_u64..)
        .map(|block| block.saturating_mul(grid.block))
        .zip(chain.links.iter().copied());
    Message {
        pieces,
        proof,
        end: chain.end.map(|(_, end): (u64, End)| end),
        borders: borders.collect(),
        repairs: Vec::new(),
        contradictions: Vec::new(),
    }
}
