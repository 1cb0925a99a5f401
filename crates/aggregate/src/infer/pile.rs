//! A pile of devices, what was seen of them, and which of them belong together.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::anchors::{Addresses, Anchor, Collector, Source};
use super::relations::{Set, Tied, copies, copies_in_part, tied, within};
use super::rings::{self, Ring};
use super::sample::{self, Candidate, Row};
use super::shift::{self, Blocks, Lines};
use super::twins::{self, Stale};
use super::{anchored, mirrors};

/// Anchors that make devices carriers of one file system.
const CARRIER_ANCHORS: u32 = 3;

/// Places with contents that make a device worth a word.
const LEAST_CONTENTS: usize = 64;

/// Rows with text that make a device worth looking at where nothing else is known of it.
const LEAST_TEXTS: usize = 64;

/// Windows that are in memory at once.
const AT_ONCE: usize = 4;
/// Devices that are equal are a mirror if they hold so many different blocks.
const LEAST_DIFFERENT: usize = 64;

/// What ties devices together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// Parity, which says which geometries cannot be.
    Parity,
    /// Parity in some rows: those in which what is missing has zeros, or that are left of a group.
    SomeParity,
    /// Blocks of one file system.
    Filesystem,
    /// Nothing else explains them.
    Remains,
}

/// A set of devices that may be a group.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) devices: Vec<usize>,
    /// What ties them together, for a person.
    pub(super) together: String,
    pub(super) tie: Tie,
}

/// The devices, and what was seen of them.
pub(super) struct Pile {
    pub(super) candidates: Vec<Candidate>,
    windows: Vec<u64>,
    pub(super) rows: Vec<Row>,
    collector: Collector,
    /// Devices that say nothing of their own: stale ones, and all but one of each mirror.
    pub(super) silent: Set,
    /// The devices of each mirror; the first stands for it.
    mirrors: Vec<Vec<usize>>,
}

impl Pile {
    /// Reads the windows of all devices.
    pub(super) fn look(candidates: Vec<Candidate>) -> Self {
        let longest = candidates.iter().map(|c| c.device.len()).max();
        let windows = sample::windows(longest.unwrap_or(0));
        let (rows, collector) = look(&candidates, &windows);
        Self {
            candidates,
            windows,
            rows,
            collector,
            silent: Set::default(),
            mirrors: Vec::new(),
        }
    }

    /// The pile with devices brought in line whose data begins at different offsets, if blocks
    /// then agree that did not before.
    pub(super) fn in_line(self) -> Self {
        let settled = self.agreeing();
        if self.others(settled).nth(1).is_none() {
            return self;
        }
        let Some(shifts) = shift::shifts(&self.rows, &self.blocks(), settled) else {
            return self;
        };
        let moved = Self::look(shift::shifted(&self.candidates, &shifts));
        if moved.agreeing().count() > self.agreeing().count() {
            moved
        } else {
            self
        }
    }

    /// The pile with devices brought in line by where a file system's blocks lie on them, if none
    /// of those devices agree with others where they are.
    pub(super) fn in_line_by_anchors(&self) -> Option<Self> {
        let rings = rings::rings(&self.rows);
        let settled: Set = rings
            .iter()
            .flat_map(|ring| &ring.devices)
            .copied()
            .collect();
        let settled = settled.with(self.agreeing()).with(self.silent);
        let loose: Vec<usize> = self.others(settled).collect();
        if loose.len() < 2 {
            return None;
        }
        let anchors = self.addresses().anchors;
        let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
        let mut begins = sources.into_iter();
        let begins = begins.find_map(|source| {
            let begins = anchored::begins(&anchors, source, &loose);
            (!begins.is_empty()).then_some(begins)
        })?;
        let mut shifts = self.most_whole(&begins, &loose)?;
        for device in loose {
            let shift = *shifts.get(device)?;
            for same in self.mirror_of(device) {
                *shifts.get_mut(same)? = shift;
            }
        }
        Some(Self::look(shift::shifted(&self.candidates, &shifts)))
    }

    /// Of the ways in which `loose` devices begin, in the order of what speaks for each, the one by which
    /// most rows add up, or else the first: by how much later each device begins.
    fn most_whole(&self, begins: &[Vec<(usize, i64)>], loose: &[usize]) -> Option<Vec<u64>> {
        let blocks = self.blocks();
        let count = self.candidates.len();
        let mut ways: Vec<Vec<u64>> = Vec::new();
        let mut whole: Vec<usize> = Vec::new();
        for places in begins {
            let placed = |device: &usize| places.iter().any(|(own, _)| own == device);
            let others = loose.iter().copied().filter(|device| !placed(device));
            let Some(mut lines) = Lines::placed(places, others, &blocks) else {
                continue;
            };
            lines.grow();
            if let Some(shifts) = lines.shifts(count).filter(|shifts| !ways.contains(shifts)) {
                whole.push(lines.whole());
                ways.push(shifts);
            }
        }
        ways.into_iter().nth(shift::most_whole(&whole))
    }

    /// What the sampled blocks are.
    fn blocks(&self) -> Blocks {
        Blocks::new(&self.rows, &self.windows, self.candidates.len())
    }

    /// The devices that parity ties to others, or that are equal to others.
    fn agreeing(&self) -> Set {
        let tied = tied(&self.rows).into_iter().flat_map(|set| set.devices);
        tied.chain(copies(&self.rows).into_iter().flatten())
            .collect()
    }

    /// The pile with its devices and rows changed, of which no address is asked for.
    pub(super) fn with(&self, candidates: Vec<Candidate>, rows: Vec<Row>) -> Self {
        Self {
            candidates,
            windows: self.windows.clone(),
            rows,
            collector: Collector::default(),
            silent: self.silent,
            mirrors: self.mirrors.clone(),
        }
    }

    /// Takes a device out of everything that is compared.
    fn silence(&mut self, device: usize) {
        self.silent = self.silent.devices().chain([device]).collect();
        for row in &mut self.rows {
            row.without(device);
        }
    }

    /// Leaves out the devices that hold an older state of what another one holds.
    pub(super) fn leave_out_stale(&mut self) -> Vec<Stale> {
        let stale = twins::stale(&self.rows);
        for one in &stale {
            self.silence(one.device);
        }
        stale
    }

    /// Leaves out all but one device of each mirror.
    pub(super) fn fold_mirrors(&mut self) {
        self.mirrors = mirrors::classes(&copies(&self.rows));
        // The one that has most stands for all.
        let full = |device: &usize| self.rows.iter().filter(|row| row.full.has(*device)).count();
        for class in &mut self.mirrors {
            class.sort_by_key(|device| (std::cmp::Reverse(full(device)), *device));
        }
        let repeated: Vec<usize> = self
            .mirrors
            .iter()
            .flat_map(|class| class.iter().skip(1))
            .copied()
            .collect();
        for device in repeated {
            self.silence(device);
        }
    }

    /// Leaves out one of each two devices that are copies and differ in part, if it is `open` what that
    /// one is a part of: gives those that are left out, each with the one that it is a copy of. Which of
    /// the two is right where they differ is not known.
    pub(super) fn leave_out_lesser_copies(&mut self, open: Set) -> Vec<(usize, usize)> {
        let full = |device: usize| self.rows.iter().filter(|row| row.full.has(device)).count();
        let worth = |device: usize| (!open.has(device), full(device));
        let pairs = copies_in_part(&self.rows).into_iter();
        let pairs = pairs.map(|[a, b]| if worth(a) < worth(b) { (a, b) } else { (b, a) });
        let pairs = pairs.filter(|(lesser, _)| open.has(*lesser) && !self.silent.has(*lesser));
        let mut lesser: Vec<(usize, usize)> = Vec::new();
        for (device, of) in pairs {
            if lesser
                .iter()
                .all(|(other, _)| *other != device && *other != of)
            {
                lesser.push((device, of));
            }
        }
        for (device, _) in &lesser {
            self.silence(*device);
        }
        lesser
    }

    /// The devices of the mirror that a device stands for: itself, if it is in none.
    pub(super) fn mirror_of(&self, device: usize) -> Vec<usize> {
        let own = self
            .mirrors
            .iter()
            .find(|class| class.first() == Some(&device));
        own.cloned().unwrap_or_else(|| vec![device])
    }

    /// Whether devices that are equal hold many different blocks, and not one pattern all over.
    pub(super) fn is_varied(&self, class: &[usize]) -> bool {
        let Some(first) = class.first() else {
            return false;
        };
        let prints = self.rows.iter().filter_map(|row| row.prints.get(*first));
        let different: BTreeSet<&u64> = prints.filter(|print| **print != 0).collect();
        different.len() >= LEAST_DIFFERENT
    }

    /// What is stated on all devices that are heard.
    pub(super) fn addresses(&self) -> Addresses {
        self.collector
            .addresses(&self.candidates, &self.windows, self.silent)
    }

    /// The sets of devices that parity ties together.
    pub(super) fn by_relation(&self) -> Vec<Members> {
        tied(&self.rows).iter().map(by_relation).collect()
    }

    /// The sets within a set that parity ties, if what ties that one may be a newer array.
    pub(super) fn within(&self, set: &Members) -> Vec<Members> {
        let within = within(&self.rows, &set.devices);
        within.iter().map(by_relation).collect()
    }

    /// The rings among the devices that are not `taken`.
    pub(super) fn rings(&self, taken: Set) -> Vec<Ring> {
        let mut rings = rings::rings(&self.rows);
        rings.retain(|ring| !ring.devices.iter().any(|device| taken.has(*device)));
        rings
    }

    /// Of the devices that are not `taken`, those that carry blocks of one file system, and those
    /// of the rest that hold text, as one set.
    pub(super) fn without_parity(
        &self,
        taken: Set,
        anchors: &[Anchor],
    ) -> (Vec<Members>, Option<Members>) {
        let alone: Vec<usize> = self.others(taken).collect();
        let sets = by_anchors(&alone, anchors);
        let named: Set = sets.iter().flat_map(|set| &set.devices).copied().collect();
        let rest: Vec<usize> = alone.into_iter().filter(|d| !named.has(*d)).collect();
        let texts = by_contents(&rest, &self.rows);
        (sets, texts)
    }

    /// The sets of which a set may be made, in each way that there is: the devices that mirrors stand
    /// for and those that nothing mirrors, which all lost their copies; and by the columns of a file
    /// system that lies in stripes over groups.
    pub(super) fn parts(&self, set: &Members, stated: &Addresses) -> Vec<Vec<Members>> {
        let is_mirror = |device: &usize| self.mirror_of(*device).len() > 1;
        let (mirrored, single): (Vec<usize>, Vec<usize>) =
            set.devices.iter().copied().partition(is_mirror);
        let ways = [Some(vec![mirrored, single]), stated.columns(&set.devices)];
        let ways = ways.into_iter().flatten();
        let ways = ways.filter(|parts| parts.iter().all(|part| part.len() > 1));
        let members = |devices: Vec<usize>| Members {
            devices,
            together: set.together.clone(),
            tie: set.tie,
        };
        ways.map(|parts| parts.into_iter().map(members).collect())
            .collect()
    }

    /// The devices that are not `taken`.
    pub(super) fn others(&self, taken: Set) -> impl Iterator<Item = usize> + use<> {
        (0..self.candidates.len()).filter(move |device| !taken.has(*device))
    }

    /// Whether a device has so much other than zeros that it is worth a word.
    pub(super) fn has_contents(&self, device: usize) -> bool {
        let full = self.rows.iter().filter(|row| row.full.has(device));
        full.take(LEAST_CONTENTS).count() == LEAST_CONTENTS
    }

    /// All devices with contents that are not `taken`, as one set.
    pub(super) fn remains(&self, taken: Set) -> Members {
        Members {
            devices: self.others(taken).filter(|device| self.has_contents(*device)).collect(),
            together: "blocks of one file system lie on these devices, or what is rebuilt from them, and nothing else explains any of them".to_owned(),
            tie: Tie::Remains,
        }
    }
}

/// Reads the windows of all devices.
fn look(candidates: &[Candidate], windows: &[u64]) -> (Vec<Row>, Collector) {
    let mut rows = Vec::new();
    let mut collector = Collector::default();
    for starts in windows.chunks(AT_ONCE) {
        let read: Vec<(u64, Vec<Vec<u8>>, Vec<Row>)> = starts
            .par_iter()
            .map(|start| {
                let devices = candidates.iter().map(|candidate| &*candidate.device);
                let read: Vec<_> = devices.map(|d| sample::read_window(d, *start)).collect();
                let rows = sample::rows(*start, &read);
                (*start, read, rows)
            })
            .collect();
        for (start, read, of_window) in read {
            rows.extend(of_window);
            for (device, bytes) in read.iter().enumerate() {
                collector.look(device, start, bytes);
            }
        }
    }
    (rows, collector)
}

/// The devices that relations tie together.
fn by_relation(tied: &Tied) -> Members {
    Members {
        devices: tied.devices.clone(),
        together: format!(
            "parity ties these devices together ({} relations between their blocks hold)",
            tied.rows
        ),
        tie: if tied.holds {
            Tie::Parity
        } else {
            Tie::SomeParity
        },
    }
}

/// Of the devices that are `alone`, those that carry blocks of one file system.
fn by_anchors(alone: &[usize], anchors: &[Anchor]) -> Vec<Members> {
    let mut carriers: BTreeMap<Source, BTreeMap<usize, u32>> = BTreeMap::new();
    // Lengths of files repeat on any devices.
    let names_owner = |a: &&Anchor| !matches!(a.source, Source::Files(_));
    let own = anchors.iter().filter(names_owner);
    for anchor in own.filter(|a| alone.contains(&a.device)) {
        let counts = carriers.entry(anchor.source).or_default();
        *counts.entry(anchor.device).or_default() += 1;
    }
    let mut joined: Vec<BTreeSet<usize>> = Vec::new();
    for counts in carriers.into_values() {
        let many = counts
            .into_iter()
            .filter(|(_, count)| *count >= CARRIER_ANCHORS);
        let mut set: BTreeSet<usize> = many.map(|(device, _)| device).collect();
        joined.retain(|other| {
            let apart = other.is_disjoint(&set);
            if !apart {
                set.extend(other);
            }
            apart
        });
        joined.push(set);
    }
    let sets = joined.into_iter().filter(|set| set.len() >= 2);
    let sets = sets.map(|set| Members {
        devices: set.into_iter().collect(),
        together: "blocks of one file system lie on all of these devices".to_owned(),
        tie: Tie::Filesystem,
    });
    sets.collect()
}

/// The devices that nothing ties to anything, but that hold text, as one set.
fn by_contents(rest: &[usize], rows: &[Row]) -> Option<Members> {
    let texts = |device: usize| {
        let textures = rows.iter().filter_map(|row| row.textures.get(device));
        textures.filter(|texture| texture.is_text()).count()
    };
    let devices: Vec<usize> = rest
        .iter()
        .copied()
        .filter(|d| texts(*d) >= LEAST_TEXTS)
        .collect();
    (devices.len() >= 2).then(|| Members {
        devices,
        together: "these devices hold text, and nothing else is known of them".to_owned(),
        tie: Tie::Remains,
    })
}
