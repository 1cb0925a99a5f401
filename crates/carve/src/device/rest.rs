//! The messages that are not found yet, and who gets the blocks that are left.

use std::collections::{BTreeMap, HashMap, HashSet};

use mail::Proof;
use rayon::prelude::*;

use super::{MOST_LUCK, WEAK, message};
use crate::Carving;
use crate::chain::{Chain, End};
use crate::judge::Judge;
use crate::ordered::Ordered;
use crate::pool::{Pool, Standing};
use crate::search::{Found, Search};
use crate::turned::Turned;

/// A border in the header that looks worse than this joins two messages, whatever the hash of the
/// body says, in nats. That the words do not fit is not enough: in a header they are names.
pub(super) const LEAST_HEADER: f64 = -5.5;
/// So much more must speak for one of two messages that want the same rest, in nats.
const MARGIN: f64 = 3.0;

/// The messages that are not found yet, and the blocks that are left for them.
pub(super) struct Rest<'a> {
    pub(super) judge: &'a Judge<'a>,
    pub(super) pool: Pool,
    pub(super) open: Vec<Chain>,
    pub(super) messages: Vec<Carving>,
    /// Whether a message may be whole although its hash does not verify, because it was changed on its
    /// way: not before it is tried whether one wrong bit is why.
    pub(super) excuses: bool,
    /// Where the boundaries stand that the messages name which are not found yet, in blocks which nobody had claimed.
    pub(super) boundaries: HashMap<Vec<u8>, Standing>,
    /// The bits that can be seen to have turned.
    pub(super) turned: Turned,
    /// How many bits turned in a byte at most, once messages were mended.
    pub(super) rate: f64,
    /// The first blocks of the messages whose hash verifies with no bit turned.
    pub(super) tried: HashSet<u64>,
}

impl Rest<'_> {
    /// Takes messages whose blocks are free.
    ///
    /// One that begins in another's blocks is attached to that, and no message of its own; one that
    /// only runs into them is left open.
    pub(super) fn take_all(&mut self, chains: Vec<Chain>, proof: Proof) {
        for chain in chains {
            if self.is_free(&chain) {
                self.take(&chain, Some(proof));
            } else {
                self.open.push(chain);
            }
        }
        self.sort();
    }

    pub(super) fn is_free(&self, chain: &Chain) -> bool {
        chain.blocks.iter().all(|block| self.pool.has(*block))
    }

    /// Takes a message, and gives it for changes.
    pub(super) fn take(&mut self, chain: &Chain, proof: Option<Proof>) -> &mut Carving {
        self.pool.claim(&chain.blocks);
        self.messages
            .push_mut(message(&self.judge.blocks.grid, chain, proof))
    }

    pub(super) fn sort(&mut self) {
        self.open.sort_by_key(|chain| chain.blocks.first().copied());
    }

    /// Searches for those of the open messages that are `wanted`, all among the same blocks, until
    /// nothing more is found. Of two that want the same block, one that a body hash proves has it,
    /// and of two such the one whose header holds together better; if none is proven, both have
    /// something else that fits as well, and neither is whole.
    pub(super) fn solve(&mut self, wanted: impl Fn(&Chain) -> bool) {
        loop {
            let all = std::mem::take(&mut self.open);
            let (now, later): (Vec<Chain>, Vec<Chain>) = all.into_iter().partition(&wanted);
            let mut found: Vec<Option<Found>> =
                now.par_iter().map(|chain| self.search(chain)).collect();
            for (chain, found) in now.iter().zip(&mut found) {
                let by_phase = |one: &Found| one.luck.is_some() && !one.verified;
                *found = found
                    .take()
                    .filter(|one| !by_phase(one) || !self.is_elsewhere(chain, &one.chain));
            }
            if !self.phases_tell(&now, &found) {
                found
                    .iter_mut()
                    .for_each(|found| *found = found.take().filter(|found| found.luck.is_none()));
            }
            self.open = later;
            let claims = self.claims(&found);
            let (mut taken, mut disputed) = (false, false);
            for ((number, chain), found) in now.into_iter().enumerate().zip(found) {
                let found = found.filter(|found| {
                    let rivals = found
                        .chain
                        .blocks
                        .iter()
                        .filter_map(|block| claims.get(block));
                    let is_disputed = rivals.clone().any(|claim| claim.claimants > 1);
                    disputed |= is_disputed;
                    let is_ours = if found.verified {
                        rivals.clone().all(|claim| claim.is_won_by(number))
                    } else {
                        !is_disputed
                    };
                    is_ours && self.is_free(&found.chain)
                });
                let Some(found) = found else {
                    self.open.push(chain);
                    continue;
                };
                taken = true;
                let proof = if found.verified {
                    Proof::BodyHash
                } else {
                    Proof::Structure
                };
                self.take(&found.chain, Some(proof));
            }
            self.sort();
            if !(taken && disputed) {
                return;
            }
        }
    }

    /// Looks for signed messages in many pieces by the order in which these were given away, until no more
    /// is found: what is taken leaves fewer pieces for the others.
    pub(super) fn solve_in_order(&mut self) {
        loop {
            let all = std::mem::take(&mut self.open);
            let found: Vec<Option<Found>> = all
                .par_iter()
                .map(|chain| {
                    let breaks_off = !chain.is_whole() && self.end_is_left(chain);
                    let chain = Some(chain).filter(|_| breaks_off)?;
                    let found = Ordered::run(self.judge, &self.pool, chain)?;
                    (self.header_support(&found.chain) > LEAST_HEADER).then_some(found)
                })
                .collect();
            let open = all.len();
            for (chain, found) in all.into_iter().zip(found) {
                match found.filter(|found| self.is_free(&found.chain)) {
                    Some(found) => {
                        self.take(&found.chain, Some(Proof::BodyHash));
                    }
                    None => self.open.push(chain),
                }
            }
            self.sort();
            if self.open.len() == open {
                return;
            }
        }
    }

    /// Takes messages without a signature whose files end before all is ended that they began, where their
    /// senders left it so.
    pub(super) fn take_left_open(&mut self) {
        let (ended, open): (Vec<Chain>, Vec<Chain>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|chain| {
                let reader = &chain.reader;
                let is_open = reader.body_start().is_some() && !reader.is_closed();
                let is_signed = reader.is_signed() || reader.contradicts_partial();
                is_open && !is_signed && chain.ends_within_sector()
            });
        self.open = open;
        let judge = self.judge;
        let whole: Vec<bool> = ended
            .par_iter()
            .map(|chain| judge.breaks.leave_whole(judge, chain))
            .collect();
        for (chain, is_whole) in ended.into_iter().zip(whole) {
            if is_whole && self.is_free(&chain) {
                self.take(&chain, Some(Proof::Structure));
            } else {
                self.open.push(chain);
            }
        }
        self.sort();
    }

    /// Whether what closes a multipart message that breaks off was in a block that nobody had claimed.
    fn end_is_left(&self, chain: &Chain) -> bool {
        let mut boundaries = chain.reader.open_boundaries();
        boundaries.any(|boundary| {
            self.boundaries
                .get(boundary)
                .is_some_and(|one| one.is_closed)
        })
    }

    /// Whether lines of boundaries that the beginning `chain` of a message names stand in free blocks that are none of
    /// `whole`: then a piece may be missing of it in which a part ends.
    fn is_elsewhere(&self, chain: &Chain, whole: &Chain) -> bool {
        let boundaries = chain.reader.open_boundaries();
        let mut standing = boundaries.filter_map(|boundary| self.boundaries.get(boundary));
        standing.any(|standing| {
            let mut blocks = standing.blocks.iter();
            blocks.any(|block| self.pool.has(*block) && !whole.blocks.contains(block))
        })
    }

    /// Whether the phase of base64 tells on this device that no piece is missing before the last. Of the
    /// messages that break off in base64, and whose end is left, those that do not fit lie in more
    /// pieces: as many others of that kind fit by chance as these might have.
    ///
    /// Where a part ends in what is missing, its boundary tells. Else all of it is of one part, and fits only if it has
    /// as many blocks as a line has characters, or twice as many: which few messages are long enough for.
    fn phases_tell(&self, open: &[Chain], found: &[Option<Found>]) -> bool {
        let fits = |found: &Option<Found>| found.as_ref().is_some_and(|one| one.luck.is_some());
        let others = open.iter().zip(found).filter(|(_, found)| !fits(found));
        let others = others.filter(|(chain, _)| self.end_is_left(chain) && !self.has_more(chain));
        let luck: f64 = others.filter_map(|(chain, _)| self.luck(chain)).sum();
        let fitting = found.iter().filter(|found| fits(found)).count();
        luck <= MOST_LUCK * fitting as f64
    }

    /// How often what is missing of a message that breaks off in base64 has a whole number of lines, by how long messages
    /// are on this device.
    fn luck(&self, chain: &Chain) -> Option<f64> {
        let luck = chain.reader.luck()?;
        let block = self.judge.blocks.grid.block as f64;
        let least = (chain.blocks.len() as f64 + luck.recip()) * block;
        let whole = self.messages.iter().filter(|one| one.found.proof.is_some());
        let length = |one: &Carving| {
            one.found
                .pieces
                .iter()
                .map(|(_, length)| length)
                .sum::<u64>()
        };
        let (mut all, mut long) = (1.0, 1.0);
        for one in whole {
            all += 1.0;
            long += if length(one) as f64 >= least {
                1.0
            } else {
                0.0
            };
        }
        Some(luck * long / all)
    }

    /// Whether lines of boundaries that a message names stand in more than one free block behind its beginning `chain`.
    fn has_more(&self, chain: &Chain) -> bool {
        let boundaries = chain.reader.open_boundaries();
        let mut standing = boundaries.filter_map(|boundary| self.boundaries.get(boundary));
        standing.any(|standing| {
            let blocks = standing.blocks.iter();
            blocks.filter(|block| !chain.blocks.contains(block)).count() > 1
        })
    }

    /// What a chain is the beginning of: itself, if a body hash proves it.
    fn search(&self, chain: &Chain) -> Option<Found> {
        let found = if chain.is_proven() {
            Some(Found {
                chain: chain.clone(),
                verified: true,
                luck: None,
            })
        } else {
            let is_from_list = self.excuses && chain.reader.is_from_list();
            let is_broken = self.excuses && !is_from_list && self.is_broken_signature(chain);
            let found = Search::run(self.judge, &self.pool, chain, is_from_list || is_broken);
            // It is whole as it lies there, or the hash may not verify because a piece is missing.
            found.filter(|found| found.verified || !is_broken || found.chain.blocks == chain.blocks)
        };
        found.filter(|found| !found.verified || self.header_support(&found.chain) > LEAST_HEADER)
    }

    pub(super) fn header_support(&self, chain: &Chain) -> f64 {
        chain.header_support(self.judge.blocks.grid.block, self.pool.starts(false))
    }

    /// Who wants each block of what was found, by number.
    fn claims(&self, found: &[Option<Found>]) -> BTreeMap<u64, Claim> {
        let mut claims: BTreeMap<u64, Claim> = BTreeMap::new();
        for (number, found) in found.iter().enumerate() {
            let Some(found) = found else {
                continue;
            };
            let support = if found.verified {
                self.header_support(&found.chain)
            } else {
                f64::NEG_INFINITY
            };
            for block in &found.chain.blocks {
                claims.entry(*block).or_default().add(number, support);
            }
        }
        claims
    }

    /// Gives what is left as far as it goes.
    pub(super) fn give_up(&mut self) {
        for mut chain in std::mem::take(&mut self.open) {
            let free = chain
                .blocks
                .iter()
                .take_while(|block| self.pool.has(**block))
                .count();
            let weak = if chain.is_proven() {
                // Its body is one, and somebody's: what is not known is whose.
                Some(0)
            } else {
                chain.links.iter().position(|link| *link < WEAK)
            };
            let sound = weak.map_or(chain.blocks.len(), |weak| weak.saturating_add(1));
            let kept = sound.min(free);
            if kept == 0 {
                continue;
            }
            if kept < chain.blocks.len() {
                chain = self.judge.first(&chain, kept);
            }
            let why = why_open(&chain);
            self.take(&chain, None).found.contradictions.push(why);
        }
    }
}

/// Who wants a block.
#[derive(Default)]
struct Claim {
    claimants: usize,
    /// Who has most to say for it, and how much.
    best: Option<(usize, f64)>,
    /// How much the next one has.
    second: Option<f64>,
}

impl Claim {
    fn add(&mut self, number: usize, support: f64) {
        self.claimants = self.claimants.saturating_add(1);
        match self.best {
            Some((_, best)) if best >= support => {
                self.second = Some(self.second.map_or(support, |second| second.max(support)));
            }
            best => {
                self.second = best.map(|(_, support)| support);
                self.best = Some((number, support));
            }
        }
    }

    /// Whether `number` has clearly more to say for it than all others.
    fn is_won_by(&self, number: usize) -> bool {
        let Some((_, best)) = self.best.filter(|(best, _)| *best == number) else {
            return false;
        };
        // Infinite both: two that are whole in themselves, of which the first has it.
        self.second
            .is_none_or(|second| best == f64::INFINITY || best - second >= MARGIN)
    }
}

/// Why a message that was not solved is not whole.
fn why_open(chain: &Chain) -> String {
    match chain.end {
        Some((_, End::Open)) => {
            "something stands behind its end, and nothing says whether it is its own".to_owned()
        }
        Some(_) if chain.reader.is_signed() => {
            "the hash of its body is another than its signature says: a part of it is something \
             else, or was changed"
                .to_owned()
        }
        Some((_, End::Edge)) if !chain.reader.shows_end() => {
            "it fills its last block, and may go on elsewhere".to_owned()
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
