//! A device, from its survey to its messages.

pub(crate) mod mend;
mod rest;

use std::collections::HashSet;
use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use rayon::prelude::*;

use crate::breaks::{Breaks, leaves_older};
use crate::chain::{Chain, End};
use crate::chunks::doubt_ends_of_chunks;
use crate::judge::Judge;
use crate::lines::Lines;
use crate::pool::Pool;
use crate::search::no_break;
use crate::stored::{self, Known, Stores};
use crate::survey::{SECTOR, Sector, Survey};
use crate::turned::{Turned, doubt_lines};
use crate::{Carved, Carving, Grid, maps};
use rest::Rest;

/// A border that says less than this may be a break.
pub(crate) const WEAK: f64 = 1.0;
/// No more of the messages whose pieces fit by the phase of base64 alone may do so by chance, nor may more
/// of those whose signature is taken for broken have two bits turned.
pub(crate) const MOST_LUCK: f64 = 0.01;

/// Takes all mail from `device` but from the ranges that are `taken`, which something else
/// explains (sorted, in bytes). `progress` is told how many bytes were read since it was last
/// called.
///
/// The result depends on the device and on what is taken alone, not on the number of threads.
pub fn carve(device: &dyn ReadAt, taken: &[Range<u64>], progress: &(dyn Fn(u64) + Sync)) -> Carved {
    let mut survey = Survey::of(device, taken, progress);
    let mapped = maps::take(device, &mut survey);
    let Contents {
        mut carved,
        turned,
        lines,
    } = contents(device, survey, Known::Perhaps(mapped.grid));
    // What maps put together whole is not also what is left of it in one piece.
    let first = |message: &Carving| message.found.pieces.first().map(|(at, _)| *at);
    let starts: HashSet<Option<u64>> = mapped.messages.iter().map(first).collect();
    carved
        .messages
        .retain(|message| !starts.contains(&first(message)));
    carved.messages.extend(mapped.messages);
    doubt_ends_of_chunks(&mut [&mut carved]);
    turned.and(mapped.turned).doubt(&mut carved.messages);
    if let Some(lines) = lines {
        doubt_lines(&mut carved.messages, device, &lines);
    }
    carved
        .messages
        .sort_by_key(|message| message.found.pieces.first().copied());
    carved
}

/// What the contents of a device give, before what turned on it is held against it.
pub(crate) struct Contents {
    pub(crate) carved: Carved,
    pub(crate) turned: Turned,
    lines: Option<Lines>,
}

/// Takes all mail from files that were laid out one after the other, each from the start of a block of `grid` on.
pub(crate) fn carve_laid_out(files: &dyn ReadAt, grid: Grid) -> Contents {
    let survey = Survey::of(files, &[], &|_| ());
    let mut all = contents(files, survey, Known::Surely(grid));
    if let Some(lines) = &all.lines {
        doubt_lines(&mut all.carved.messages, files, lines);
    }
    all
}

/// Takes all mail from a device by its contents, where so much is `known` of where its blocks begin.
fn contents(device: &dyn ReadAt, mut survey: Survey, known: Known) -> Contents {
    let Stores {
        grid,
        messages,
        embedded,
    } = stored::take(device, &mut survey, &known);
    let (mut carved, turned, lines) =
        Judge::of(device, &survey, grid, |judge| on_grid(judge, messages));
    if grid != Grid::SECTORS {
        carved
            .messages
            .extend(off_grid(device, &mut survey, &carved));
    }
    let within = stored::within_others(device, &survey, &embedded, &carved);
    carved.messages.extend(within);
    Contents {
        carved,
        turned,
        lines,
    }
}

/// Takes what begins where blocks do, beside the `messages` that are taken already, and gives
/// which bits of all blocks have turned; if some have, with the lines that tell of others.
fn on_grid(judge: &mut Judge<'_>, messages: Vec<Carving>) -> (Carved, Turned, Option<Lines>) {
    let blocks = judge.blocks;
    let grid = blocks.grid;
    let chains = follow_all(judge);
    let is_one = |chain: &Chain| chain.is_proven_whole(grid.block);
    let (proven, others): (Vec<Chain>, Vec<Chain>) = chains.into_iter().partition(is_one);
    let (fitting, open): (Vec<Chain>, Vec<Chain>) = others.into_iter().partition(fits);
    let pool = Pool::of(blocks);
    let named: HashSet<&[u8]> = open
        .iter()
        .flat_map(|chain| chain.reader.open_boundaries())
        .collect();
    let boundaries = pool.boundaries(blocks, &named);
    let mut rest = Rest {
        judge,
        pool,
        boundaries,
        open,
        messages,
        excuses: false,
        turned: Turned::of(blocks),
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
    rest.take_left_open();
    rest.give_up();
    let lines = rest.turned.any().then(|| Lines::of(blocks));
    let carved = Carved {
        grid,
        messages: rest.messages,
        unclaimed: rest.pool.bytes(),
    };
    (carved, rest.turned, lines)
}

/// Follows the messages from all heads, and learns by them what this device leaves behind the ends of files
/// and how often files break on it.
fn follow_all(judge: &mut Judge<'_>) -> Vec<Chain> {
    judge.leaves_older = true;
    let heads: Vec<u64> = judge.blocks.heads().iter().copied().collect();
    let mut chains: Vec<Chain> = heads.par_iter().map(|head| judge.follow(*head)).collect();
    judge.leaves_older = leaves_older(&chains, judge.blocks.grid.block);
    if judge.leaves_older {
        let chains = chains.par_iter_mut();
        chains.for_each(|chain| judge.end_before_older(chain));
    } else {
        let ends = chains.iter_mut().filter_map(|chain| chain.end.as_mut());
        let older = ends.filter(|(_, end)| *end == End::Older);
        older.for_each(|(_, end)| *end = End::Open);
    }
    judge.breaks = Breaks::measure(judge, &chains);
    chains
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
    Judge::of(device, survey, Grid::SECTORS, |judge| {
        let numbers = heads
            .iter()
            .filter_map(|head| Grid::SECTORS.number_at(*head));
        let numbers: Vec<u64> = numbers.collect();
        let chains: Vec<Chain> = numbers.par_iter().map(|head| judge.follow(*head)).collect();
        let whole = chains.into_iter().filter_map(|chain| {
            let is_one = chain.is_proven_whole(Grid::SECTORS.block);
            let proof = if is_one || chain.is_proven() && no_break(judge, &chain) {
                Proof::BodyHash
            } else {
                let is_sure = !chain.reader.is_signed() && chain.is_whole();
                (is_sure && no_break(judge, &chain)).then_some(Proof::Structure)?
            };
            Some(message(&Grid::SECTORS, &chain, Some(proof)))
        });
        whole.collect()
    })
}

/// Whether all that an unsigned message in one piece has fits, so that nothing need be searched.
fn fits(chain: &Chain) -> bool {
    let strong = chain.links.iter().all(|link| *link >= WEAK);
    !chain.reader.is_signed() && strong && chain.is_whole()
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
