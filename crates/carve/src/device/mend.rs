//! Messages whose body hash does not verify: the bit that turned, or that the signature was broken on
//! its way.

use mail::Proof;
use rayon::prelude::*;

use super::MOST_LUCK;
use super::rest::{LEAST_HEADER, Rest};
use crate::Carving;
use crate::chain::{Chain, End};
use crate::repair::{Broken, Outcome};
use crate::search::no_break;

/// At least so many signatures do not verify because the message was changed on its way.
pub(crate) const BROKEN: f64 = 0.1;
/// Of the messages whose signature is taken for broken no more may have a piece of something else behind a
/// border that shows nothing.
const MOST_HIDDEN: f64 = 0.05;
/// So much must speak for each border where that is likelier, with the words on both sides, in nats.
const SURE: f64 = 6.0;
/// Messages that are longer are mended one at a time.
const LONG: u64 = 1 << 20;

impl Rest<'_> {
    /// Turns the one wrong bit of messages in one piece whose body hash verifies without it.
    pub(super) fn mend(&mut self) {
        let all = std::mem::take(&mut self.open);
        let (ended, open): (Vec<Chain>, Vec<Chain>) = all.into_iter().partition(|chain| {
            let ended = matches!(chain.end, Some((_, End::Zeros | End::Edge | End::Older)));
            let is_broken = chain.reader.is_signed() && !chain.is_proven();
            let may_be_whole = self.header_support(chain) > LEAST_HEADER;
            ended && is_broken && may_be_whole && self.is_free(chain)
        });
        self.open = open;
        let odd = self.attempts(&ended, |_, broken| {
            broken.odd().map_or(Outcome::Untried, Outcome::Mended)
        });
        let ended = self.take_mended(ended.into_iter().zip(odd));
        let rate = self.turned_bits();
        let all = self.attempts(&ended, |chain, broken| {
            // A list is the likelier reason.
            let is_from_list = chain.reader.is_from_list();
            broken.any(if is_from_list { rate * BROKEN } else { rate })
        });
        let outcomes = ended.iter().zip(&all);
        let tried = outcomes.filter(|(_, outcome)| **outcome == Outcome::Nothing);
        self.tried = tried
            .filter_map(|(chain, _)| chain.blocks.first().copied())
            .collect();
        let ended = self.take_mended(ended.into_iter().zip(all));
        self.open.extend(ended);
        self.rate = self.turned_bits();
        self.sort();
    }

    /// Takes the messages of which one bit was turned back, and gives the others.
    fn take_mended(&mut self, chains: impl Iterator<Item = (Chain, Outcome)>) -> Vec<Chain> {
        let mut others = Vec::new();
        for (chain, outcome) in chains {
            match outcome {
                Outcome::Mended(repair) if self.is_free(&chain) => {
                    let mended = self.take(&chain, Some(Proof::BodyHash));
                    mended.found.repairs.push(repair);
                }
                _ => others.push(chain),
            }
        }
        others
    }

    /// What comes of an attempt to mend each of some messages: of long ones one at a time, as each takes several
    /// times its length in memory.
    fn attempts(
        &self,
        chains: &[Chain],
        attempt: impl Fn(&Chain, &Broken<'_>) -> Outcome + Sync,
    ) -> Vec<Outcome> {
        let try_one = |chain: &Chain| self.repair(chain, |broken| attempt(chain, broken));
        let is_long = |chain: &Chain| chain.reader.bytes() > LONG;
        let short: Vec<Option<Outcome>> = chains
            .par_iter()
            .map(|chain| (!is_long(chain)).then(|| try_one(chain)))
            .collect();
        let all = chains.iter().zip(short);
        all.map(|(chain, short)| short.unwrap_or_else(|| try_one(chain)))
            .collect()
    }

    /// What comes of an attempt to mend a message.
    fn repair(&self, chain: &Chain, attempt: impl Fn(&Broken<'_>) -> Outcome) -> Outcome {
        let body = chain
            .reader
            .body_start()
            .and_then(|body| usize::try_from(body).ok());
        let (Some(body), Some((end, _))) = (body, chain.end) else {
            return Outcome::Nothing;
        };
        let mut content = Vec::new();
        for block in &chain.blocks {
            content.extend(self.judge.blocks.read(*block));
        }
        content.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        let signatures = chain.reader.signatures();
        Broken::new(&content, body, &signatures).map_or(Outcome::Nothing, |broken| attempt(&broken))
    }

    /// Whether the hash of a message in one piece most likely never verified: nothing else speaks against
    /// it, no bit turned would make it verify or hardly one did, and two hardly did either.
    pub(super) fn is_broken_signature(&self, chain: &Chain) -> bool {
        let Some((end, _)) = chain.end else {
            return false;
        };
        let is_tried = chain
            .blocks
            .first()
            .is_some_and(|head| self.tried.contains(head));
        let turned = self.rate * end as f64;
        let is_unlikely = if is_tried {
            turned * turned / 2.0 <= MOST_LUCK
        } else {
            turned <= MOST_LUCK * BROKEN
        };
        let is_whole = chain.is_whole() && !chain.reader.leaves_page_open();
        let is_signed = chain.reader.is_signed() && is_whole;
        is_signed && is_unlikely && no_break(self.judge, chain) && self.is_sure(chain)
    }

    /// Whether a chain in one piece hardly has a break that does not show: its hash would not verify then
    /// either. Where there are many, each border and the words and lines around it must say that it is none.
    fn is_sure(&self, chain: &Chain) -> bool {
        let end = chain.links.len();
        if self.judge.breaks.hidden() * end as f64 <= MOST_HIDDEN * BROKEN {
            return true;
        }
        chain.links.iter().enumerate().all(|(number, link)| {
            let alike = || {
                let (words, lines) = self.judge.likeness(chain, number, end);
                words + lines
            };
            *link >= SURE || link + alike() >= SURE
        })
    }

    /// How many bits turned in a byte at most, by what was proven so far.
    fn turned_bits(&self) -> f64 {
        let proven = |one: &&Carving| one.found.proof == Some(Proof::BodyHash);
        let (bits, bytes) = self
            .messages
            .iter()
            .filter(proven)
            .fold((0, 0), |sum, one| {
                let length: u64 = one.found.pieces.iter().map(|(_, length)| length).sum();
                (sum.0 + one.found.repairs.len(), sum.1 + length)
            });
        self.turned.rate(bits, bytes)
    }
}
