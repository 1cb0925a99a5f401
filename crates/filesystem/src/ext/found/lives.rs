//! What each inode is, and what it was before: lives of inode numbers.
//!
//! A number is used again and again; `i_generation` is new each time. Where the table has one
//! life of a number and the journal's former states of the table have others, the others were
//! deleted. Only the places of inodes are kept.

use std::collections::HashMap;

use evidence::ByteOffset;

use super::super::history::Copy;
use super::super::inode::{OLD_BYTES, RawInode};
use super::super::tables::Run;
use super::super::volume::Volume;
use crate::{FileKind, Inode, InodeNumber};

/// The inode is in use.
const LIVE: u8 = 0x1;
/// It is a directory.
const DIRECTORY: u8 = 0x2;
/// A directory lists it.
const NAMED: u8 = 0x4;
/// It can be read and is not in use.
const FREE: u8 = 0x8;
/// `s_first_ino` of all file systems that anybody made: those below have no names.
pub(super) const FIRST_INODE: u64 = 11;

/// One use of an inode number that came to an end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// The number.
    pub(super) number: u64,
    /// `i_generation`.
    generation: u32,
    /// Where the inode stands as it was last; `None` if only its end was seen.
    pub(super) at: Option<ByteOffset>,
    /// What it was.
    pub(super) kind: FileKind,
    /// How many names it had then.
    pub(super) links: u32,
    /// The transaction that wrote this state.
    pub(super) last: u32,
    /// The transaction at whose end it was gone; later than all if nobody knows.
    pub(super) gone: u32,
}

/// All inodes of a file system.
#[derive(Default)]
pub(super) struct Lives {
    /// The flags of each number, as far as there are tables.
    flags: HashMap<u64, u8>,
    /// Lives that ended, by number, the earlier first.
    pub(super) former: Vec<Life>,
    /// Inodes in use whose place in the table is damaged, with the place of their copy.
    pub(super) restored: HashMap<u64, ByteOffset>,
}

/// What stands in a place for an inode.
enum State {
    /// An inode in use.
    Live(Inode, u32),
    /// One that was deleted, and whether its size and map were left to it.
    Dead(Inode, bool, u32),
    /// Zeros: never used, or lost.
    Empty,
    /// Nothing that makes sense.
    Damaged,
}

impl Lives {
    /// Looks at every place for an inode, and at what the journal still has of it.
    pub(super) fn of(volume: &Volume) -> Self {
        let mut lives = Self::default();
        for run in volume.inode_runs() {
            lives.run(volume, &run);
        }
        lives
    }

    fn flag(&self, number: u64, flag: u8) -> bool {
        self.flags.get(&number).is_some_and(|flags| flags & flag != 0)
    }

    /// Whether the number is in use, by the table or by what was restored of it.
    pub(super) fn is_live(&self, number: u64) -> bool {
        self.flag(number, LIVE)
    }

    /// Whether it is in use as a directory.
    pub(super) fn is_directory(&self, number: u64) -> bool {
        self.flag(number, LIVE) && self.flag(number, DIRECTORY)
    }

    /// Whether the table says that it is not in use.
    pub(super) fn is_free(&self, number: u64) -> bool {
        self.flag(number, FREE)
    }

    /// Whether a directory lists it.
    pub(super) fn is_named(&self, number: u64) -> bool {
        self.flag(number, NAMED)
    }

    /// Notes that a directory lists it.
    pub(super) fn name(&mut self, number: u64) {
        if let Some(flags) = self.flags.get_mut(&number) {
            *flags |= NAMED;
        }
    }

    /// The numbers in use, in order.
    pub(super) fn live(&self) -> Vec<u64> {
        let live = self.flags.iter().filter(|(_, flags)| **flags & LIVE != 0);
        let mut live: Vec<u64> = live.map(|(number, _)| *number).collect();
        live.sort_unstable();
        live
    }

    /// The lives of a number that ended, by their place in `former`.
    pub(super) fn former_of(&self, number: u64) -> std::ops::Range<usize> {
        let start = self.former.partition_point(|life| life.number < number);
        let end = self.former.partition_point(|life| life.number <= number);
        start..end
    }

    /// The life that the number had when the transaction `sequence` was written: `Some(None)` if
    /// that is the present one.
    ///
    /// What the journal holds goes back without a break, so a life that ended after `sequence`
    /// and is not known cannot be.
    pub(super) fn at(&self, number: u64, sequence: u32) -> Option<Option<usize>> {
        let mut former = self.former_of(number);
        let found = former.find(|index| {
            self.former
                .get(*index)
                .is_some_and(|life| life.gone > sequence)
        });
        match found {
            Some(index) => Some(Some(index)),
            None => self.is_live(number).then_some(None),
        }
    }

    /// The last life that ended; one of which there is an inode, if there is such a one.
    pub(super) fn last_former(&self, number: u64) -> Option<usize> {
        let former = self.former_of(number).rev();
        let whole = |index: &usize| self.former.get(*index).is_some_and(|life| life.at.is_some());
        former.clone().find(whole).or_else(|| former.clone().next())
    }

    fn run(&mut self, volume: &Volume, run: &Run) {
        let size = volume.sb.inode_bytes as u64;
        let block = u64::from(volume.sb.block.get());
        let per_block = block.checked_div(size).unwrap_or(1).max(1);
        let mut done = 0_u64;
        while done < run.count {
            let inside = run.at.get().checked_rem(block).unwrap_or(0);
            let before = inside.checked_div(size).unwrap_or(0);
            let here = if done == 0 { before } else { 0 };
            let count = per_block.saturating_sub(here).max(1);
            let count = count.min(run.count.saturating_sub(done));
            let at = run.at.checked_add(done.saturating_mul(size));
            let Some(at) = at.filter(|at| at.get() < volume.view.len()) else {
                return;
            };
            self.block(volume, at, run.first.saturating_add(done), count);
            done = done.saturating_add(count);
        }
    }

    /// The inodes of one block of a table, of which the first lies at `at`.
    fn block(&mut self, volume: &Volume, at: ByteOffset, first: u64, count: u64) {
        let size = volume.sb.inode_bytes;
        let block = u64::from(volume.sb.block.get());
        let number = at.get().checked_div(block).unwrap_or(0);
        let start = ByteOffset::new(number.saturating_mul(block));
        let skip = usize::try_from(at.get().saturating_sub(start.get())).unwrap_or(0);
        let copies: Vec<(&Copy, Vec<u8>)> = volume
            .history
            .of(number)
            .iter()
            .filter_map(|copy| Some((copy, volume.former_block(copy)?)))
            .collect();
        let there = volume.cache.read(start, volume.sb.block.len()).ok();
        let zero = there
            .as_ref()
            .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
        if zero && copies.is_empty() {
            return;
        }
        for slot in 0..count {
            let inside = usize::try_from(slot).unwrap_or(0).saturating_mul(size);
            let inside = inside.saturating_add(skip);
            let range = inside..inside.saturating_add(size);
            let place = start.checked_add(inside as u64).unwrap_or(at);
            let now = there.as_ref().and_then(|bytes| bytes.get(range.clone()));
            let former = copies.iter().filter_map(|(copy, bytes)| {
                let at = copy.at.checked_add(inside as u64)?;
                Some((copy.sequence, at, bytes.get(range.clone())?))
            });
            let number = first.saturating_add(slot);
            self.slot(volume, number, now.map(|bytes| (place, bytes)), former);
        }
    }

    fn slot<'a>(
        &mut self,
        volume: &Volume,
        number: u64,
        now: Option<(ByteOffset, &[u8])>,
        former: impl Iterator<Item = (u32, ByteOffset, &'a [u8])>,
    ) {
        let mut lives: Vec<Life> = Vec::new();
        let mut newest = None;
        let mut before: &[u8] = &[];
        for (sequence, at, bytes) in former {
            if bytes == before {
                continue;
            }
            before = bytes;
            let state = state(volume, number, at, bytes);
            newest = match &state {
                State::Live(inode, generation) => Some((inode.kind, *generation, at)),
                State::Dead(..) => None,
                State::Empty | State::Damaged => newest,
            };
            add(&mut lives, number, sequence, at, &state);
        }
        let mut flags = 0;
        let current = now.map_or(State::Damaged, |(at, bytes)| {
            state(volume, number, at, bytes)
        });
        match &current {
            State::Live(inode, generation) => {
                flags |= live_flags(inode.kind);
                lives.retain(|life| life.generation != *generation);
            }
            State::Dead(..) => {
                flags |= FREE;
                let at = now.map_or(ByteOffset::ZERO, |(at, _)| at);
                add(&mut lives, number, u32::MAX, at, &current);
            }
            State::Empty | State::Damaged => {
                if let Some((kind, generation, at)) = newest {
                    flags |= live_flags(kind);
                    self.restored.insert(number, at);
                    lives.retain(|life| life.generation != generation);
                }
            }
        }
        lives.sort_by_key(|life| (life.gone, life.last));
        self.former.extend(lives);
        if flags != 0 {
            self.flags.insert(number, flags);
        }
    }
}

const fn live_flags(kind: FileKind) -> u8 {
    match kind {
        FileKind::Directory => LIVE | DIRECTORY,
        _ => LIVE,
    }
}

/// Adds one state to the lives of a number, which come in the order of time.
fn add(lives: &mut Vec<Life>, number: u64, sequence: u32, at: ByteOffset, state: &State) {
    let (inode, mapped, generation, live) = match state {
        State::Live(inode, generation) => (inode, true, *generation, true),
        State::Dead(inode, mapped, generation) => (inode, *mapped, *generation, false),
        State::Empty | State::Damaged => return,
    };
    // Whoever had the number before has it no longer.
    for life in lives.iter_mut() {
        if (life.generation != generation || !live) && life.gone > sequence {
            life.gone = sequence;
        }
    }
    let known = lives.iter().position(|life| life.generation == generation);
    let whole = Some(inode).filter(|inode| mapped && inode.size > 0);
    match (known.and_then(|index| lives.get_mut(index)), whole) {
        (Some(life), Some(inode)) if live || life.at.is_none() => {
            life.at = Some(at);
            life.kind = inode.kind;
            life.links = inode.links.max(1);
            life.last = sequence;
        }
        (Some(_), _) => {}
        (None, whole) => lives.push(Life {
            number,
            generation,
            at: whole.map(|_| at),
            kind: inode.kind,
            links: inode.links.max(1),
            last: sequence,
            gone: if live { u32::MAX } else { sequence },
        }),
    }
}

fn state(volume: &Volume, number: u64, at: ByteOffset, bytes: &[u8]) -> State {
    if bytes.iter().all(|byte| *byte == 0) {
        return State::Empty;
    }
    let Some(raw) = bytes.get(..OLD_BYTES).and(RawInode::parse(bytes)) else {
        return State::Damaged;
    };
    let number = InodeNumber(number);
    if let Ok(inode) = volume.inode_from_raw(number, at, bytes.to_vec()) {
        return State::Live(inode, raw.i_generation);
    }
    match volume.former_inode(number, at, bytes.to_vec()) {
        Ok(inode) => {
            let whole = inode.size > 0 && raw.has_map();
            State::Dead(inode, whole, raw.i_generation)
        }
        Err(_) if raw.is_blank() => State::Empty,
        Err(_) => State::Damaged,
    }
}
