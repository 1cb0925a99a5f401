//! A device, from its survey to its messages.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use rayon::prelude::*;

use crate::blocks::{BlockKind, Blocks};
use crate::borders::Borders;
use crate::chain::{Chain, End, Judge};
use crate::chunks::doubt_ends_of_chunks;
use crate::lines::Lines;
use crate::ordered::Ordered;
use crate::pool::Pool;
use crate::repair::{Broken, Outcome};
use crate::search::{Found, Search, no_break};
use crate::stored::{self, Stores};
use crate::survey::{SECTOR, Sector, Survey};
use crate::turned::{Turned, doubt_lines};
use crate::words::Words;
use crate::{Carved, Carving, Grid};

/// A border that says less than this may be a break.
pub(crate) const WEAK: f64 = 1.0;
/// A border in the header that looks worse than this joins two messages, whatever the hash of the
/// body says, in nats. That the words do not fit is not enough: in a header they are names.
const LEAST_HEADER: f64 = -5.5;
/// No more of the messages whose pieces fit by the phase of base64 alone may do so by chance, nor may more
/// of those whose signature is taken for broken have two bits turned.
const MOST_LUCK: f64 = 0.01;
/// At least so many signatures do not verify because the message was changed on its way.
const BROKEN: f64 = 0.1;
/// Of the messages whose signature is taken for broken no more may have a piece of something else behind a
/// border that shows nothing.
const MOST_HIDDEN: f64 = 0.05;
/// So much must speak for each border where that is likelier, with the words on both sides, in nats.
const SURE: f64 = 6.0;
/// Messages that are longer are mended one at a time.
const LONG: u64 = 1 << 20;
/// What is added below a message has so many bytes: an empty line is nobody's.
const LEAST_ADDED: u64 = 16;
/// So many blocks that hold what was there before show that a device leaves it.
const LEAST_OLDER: usize = 3;
/// So much more must speak for one of two messages that want the same rest, in nats.
const MARGIN: f64 = 3.0;

/// Takes all mail from `device` but from the ranges that are `taken`, which something else
/// explains (sorted, in bytes). `progress` is told how many bytes were read since it was last
/// called.
///
/// The result depends on the device and on what is taken alone, not on the number of threads.
pub fn carve(device: &dyn ReadAt, taken: &[Range<u64>], progress: &(dyn Fn(u64) + Sync)) -> Carved {
    let mut survey = Survey::of(device, taken, progress);
    let Stores {
        grid,
        messages,
        embedded,
    } = stored::take(device, &mut survey);
    let (mut carved, turned, lines) = on_grid(device, &survey, grid, messages);
    if grid != Grid::SECTORS {
        carved
            .messages
            .extend(off_grid(device, &mut survey, &carved));
    }
    let within = stored::within_others(device, &survey, &embedded, &carved);
    carved.messages.extend(within);
    doubt_ends_of_chunks(&mut [&mut carved]);
    turned.doubt(&mut carved.messages);
    if let Some(lines) = lines {
        doubt_lines(&mut carved.messages, device, &lines);
    }
    carved
        .messages
        .sort_by_key(|message| message.found.pieces.first().copied());
    carved
}

/// Takes what begins where blocks do, beside the `messages` that are taken already, and gives
/// which bits of all blocks have turned; if some have, with the lines that tell of others.
fn on_grid(
    device: &dyn ReadAt,
    survey: &Survey,
    grid: Grid,
    messages: Vec<Carving>,
) -> (Carved, Turned, Option<Lines>) {
    let blocks = Blocks::new(device, survey, grid);
    let words = Words::of(&blocks);
    let borders = Borders::measure(&survey.language, &words, &survey.unseen);
    let mut judge = Judge {
        blocks: &blocks,
        borders: &borders,
        words: &words,
        leaves_older: true,
    };
    let heads: Vec<u64> = blocks.heads().iter().copied().collect();
    let mut chains: Vec<Chain> = heads.par_iter().map(|head| judge.follow(*head)).collect();
    judge.leaves_older = leaves_older(&chains, grid.block);
    if !judge.leaves_older {
        let ends = chains.iter_mut().filter_map(|chain| chain.end.as_mut());
        let older = ends.filter(|(_, end)| *end == End::Older);
        older.for_each(|(_, end)| *end = End::Open);
    }
    let hidden = hidden_breaks(&judge, &chains);
    let is_one = |chain: &Chain| chain.is_proven_whole(grid.block);
    let (proven, others): (Vec<Chain>, Vec<Chain>) = chains.into_iter().partition(is_one);
    let (fitting, open): (Vec<Chain>, Vec<Chain>) = others.into_iter().partition(fits);
    let mut rest = Rest {
        judge: &judge,
        pool: Pool::of(&blocks),
        open,
        messages,
        excuses: false,
        closed: OnceLock::new(),
        hidden,
        turned: Turned::of(&blocks),
        rate: f64::INFINITY,
        tried: HashSet::new(),
    };
    rest.take_all(proven, Proof::BodyHash);
    // What a body hash proves makes room, and leaves fewer blocks for what has none.
    rest.take_all(fitting, Proof::Structure);
    rest.solve(|chain| chain.reader.is_signed());
    rest.mend();
    rest.solve_in_order();
    rest.excuses = true;
    rest.solve(|chain| !chain.reader.is_signed() || chain.end.is_some());
    rest.give_up();
    let lines = rest.turned.any().then(|| Lines::of(&blocks));
    let carved = Carved {
        grid,
        messages: rest.messages,
        unclaimed: rest.pool.bytes(),
    };
    (carved, rest.turned, lines)
}

/// Whether the messages that lie at `chains` show that the device leaves what a block held before behind
/// the end of a file: text there that fills the block may also be what somebody added below a message,
/// where it runs into another block and breaks off at just that border.
fn leaves_older(chains: &[Chain], block: u64) -> bool {
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
fn hidden_breaks(judge: &Judge<'_>, chains: &[Chain]) -> f64 {
    let proven = chains
        .iter()
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

/// Takes whole messages in one piece that begin at sectors within blocks, as those of another file
/// system do: behind text one might be a part of what is there, so nothing may stand before it.
fn off_grid(device: &dyn ReadAt, survey: &mut Survey, carved: &Carved) -> Vec<Carving> {
    let is_alone = |head: &u64| {
        let before = head.checked_sub(1).map(ByteOffset::new);
        let before = before.and_then(|at| device.read_whole(at, 1));
        let sector = survey.sector(head.saturating_sub(SECTOR as u64));
        before.is_none_or(|byte| byte == [0]) || matches!(sector, Sector::Other | Sector::Taken)
    };
    let heads = survey.heads.iter().copied();
    let mut heads: Vec<u64> = heads
        .filter(|head| carved.grid.number_at(*head).is_none() && is_alone(head))
        .collect();
    for (at, length) in carved.messages.iter().flat_map(|one| &one.found.pieces) {
        survey.take(&(*at..at.saturating_add(*length)));
    }
    heads.retain(|head| survey.sector(*head) != Sector::Taken);
    if heads.is_empty() {
        return Vec::new();
    }
    let blocks = Blocks::new(device, survey, Grid::SECTORS);
    let words = Words::of(&blocks);
    let borders = Borders::measure(&survey.language, &words, &survey.unseen);
    let judge = Judge {
        blocks: &blocks,
        borders: &borders,
        words: &words,
        leaves_older: false,
    };
    let numbers = heads
        .iter()
        .filter_map(|head| Grid::SECTORS.number_at(*head));
    let numbers: Vec<u64> = numbers.collect();
    let chains: Vec<Chain> = numbers.par_iter().map(|head| judge.follow(*head)).collect();
    let whole = chains.into_iter().filter_map(|chain| {
        let is_one = chain.is_proven_whole(Grid::SECTORS.block);
        let proof = if is_one || chain.is_proven() && no_break(&judge, &chain) {
            Proof::BodyHash
        } else {
            let is_sure = !chain.reader.is_signed() && chain.is_whole();
            (is_sure && no_break(&judge, &chain)).then_some(Proof::Structure)?
        };
        Some(message(&Grid::SECTORS, &chain, Some(proof)))
    });
    whole.collect()
}

/// Whether all that an unsigned message in one piece has fits, so that nothing need be searched.
fn fits(chain: &Chain) -> bool {
    let strong = chain.links.iter().all(|link| *link >= WEAK);
    !chain.reader.is_signed() && strong && chain.is_whole()
}

/// The messages that are not found yet, and the blocks that are left for them.
struct Rest<'a> {
    judge: &'a Judge<'a>,
    pool: Pool,
    open: Vec<Chain>,
    messages: Vec<Carving>,
    /// Whether a message may be whole although its hash does not verify, because it was changed on its
    /// way: not before it is tried whether one wrong bit is why.
    excuses: bool,
    /// The boundaries that are closed in blocks which nobody had claimed.
    closed: OnceLock<HashSet<Vec<u8>>>,
    /// How many of the borders of blocks are breaks that do not show.
    hidden: f64,
    /// The bits that can be seen to have turned.
    turned: Turned,
    /// How many bits turned in a byte at most, once messages were mended.
    rate: f64,
    /// The first blocks of the messages whose hash verifies with no bit turned.
    tried: HashSet<u64>,
}

impl Rest<'_> {
    /// Takes messages whose blocks are free.
    ///
    /// One that begins in another's blocks is attached to that, and no message of its own; one that
    /// only runs into them is left open.
    fn take_all(&mut self, chains: Vec<Chain>, proof: Proof) {
        for chain in chains {
            if self.is_free(&chain) {
                self.take(&chain, Some(proof));
            } else {
                self.open.push(chain);
            }
        }
        self.sort();
    }

    fn is_free(&self, chain: &Chain) -> bool {
        chain.blocks.iter().all(|block| self.pool.has(*block))
    }

    /// Takes a message, and gives it for changes.
    fn take(&mut self, chain: &Chain, proof: Option<Proof>) -> &mut Carving {
        self.pool.claim(&chain.blocks);
        self.messages
            .push_mut(message(&self.judge.blocks.grid, chain, proof))
    }

    fn sort(&mut self) {
        self.open.sort_by_key(|chain| chain.blocks.first().copied());
    }

    /// Searches for those of the open messages that are `wanted`, all among the same blocks, until
    /// nothing more is found. Of two that want the same block, one that a body hash proves has it,
    /// and of two such the one whose header holds together better; if none is proven, both have
    /// something else that fits as well, and neither is whole.
    fn solve(&mut self, wanted: impl Fn(&Chain) -> bool) {
        loop {
            let all = std::mem::take(&mut self.open);
            let (now, later): (Vec<Chain>, Vec<Chain>) = all.into_iter().partition(&wanted);
            let mut found: Vec<Option<Found>> =
                now.par_iter().map(|chain| self.search(chain)).collect();
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
    fn solve_in_order(&mut self) {
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

    /// Whether what closes a multipart message that breaks off was in a block that nobody had claimed.
    fn end_is_left(&self, chain: &Chain) -> bool {
        let closed = self
            .closed
            .get_or_init(|| self.pool.closed(self.judge.blocks));
        let mut boundaries = chain.reader.open_boundaries();
        boundaries.any(|boundary| closed.contains(boundary))
    }

    /// Whether the phase of base64 tells on this device that no piece is missing before the last. Of the
    /// messages that break off in base64, and whose end is left, those that do not fit lie in more
    /// pieces: as many others of that kind fit by chance as these might have.
    fn phases_tell(&self, open: &[Chain], found: &[Option<Found>]) -> bool {
        let fits = |found: &Option<Found>| found.as_ref().is_some_and(|one| one.luck.is_some());
        let others = open.iter().zip(found).filter(|(_, found)| !fits(found));
        let others = others.filter(|(chain, _)| self.end_is_left(chain));
        let luck: f64 = others.filter_map(|(chain, _)| chain.reader.luck()).sum();
        let fitting = found.iter().filter(|found| fits(found)).count();
        luck <= MOST_LUCK * fitting as f64
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

    /// Whether the hash of a message in one piece most likely never verified: nothing else speaks against
    /// it, no bit turned would make it verify or hardly one did, and two hardly did either.
    fn is_broken_signature(&self, chain: &Chain) -> bool {
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
        if self.hidden * end as f64 <= MOST_HIDDEN * BROKEN {
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

    fn header_support(&self, chain: &Chain) -> f64 {
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

    /// Turns the one wrong bit of messages in one piece whose body hash verifies without it.
    fn mend(&mut self) {
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

    /// Gives what is left as far as it goes.
    fn give_up(&mut self) {
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

/// The message that a chain of blocks is.
fn message(grid: &Grid, chain: &Chain, proof: Option<Proof>) -> Carving {
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
    Carving {
        found: mail::carved::Carved {
            pieces,
            proof,
            ..mail::carved::Carved::default()
        },
        end: chain.end.map(|(_, end)| end),
        borders: borders.collect(),
    }
}
