//! RAID groups from the contents of devices that no label explains.
//!
//! 1. [`sample`]: a bounded part of every device, at the same places.
//! 2. [`relations`]: which devices belong together, by linear algebra over GF(2^8).
//! 3. Hypotheses, each solved from one kind of evidence: [`algebra`] reads RAID-6 off the factors
//!    of the relations, [`anchored`] solves for blocks that state their own address ([`anchors`]),
//!    [`order`] for [`contents`] that continue each other.
//! 4. [`score`]: all kinds of evidence judge every hypothesis, whichever it came from.
//! 5. [`verify`]: blocks that are there are rebuilt from the others and compared.
//! 6. [`base`]: where the group itself begins.
//!
//! What stays undecided is a [`Loss`] that lists what is left to choose from: nothing is
//! guessed. All members of a group must have their data at the same offset.
#![warn(clippy::indexing_slicing)]

mod algebra;
mod anchored;
mod anchors;
mod base;
mod contents;
mod hypothesis;
mod mirrors;
mod order;
mod relations;
mod rings;
mod sample;
mod score;
mod shape;
mod shift;
mod start;
mod survey;
mod twins;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use self::anchors::Collector;
pub(crate) use self::anchors::{Anchor, Source};
use self::contents::Contents;
use self::hypothesis::Hypothesis;
use self::relations::{MOST_DEVICES, Set, Tied, copies, tied};
use self::sample::{Candidate, Row};
use self::score::Answer;
use self::shape::Shape;
pub(crate) use self::survey::survey;
use self::verify::Trials;
use crate::document::{DeviceName, Group, Member, Unused};
use crate::raid::{Geometry, Level, Raid10Layout};

/// An answer is decided if it is likelier than every other by so much, in nats, and by this part
/// of what speaks for it.
const LEAD: f64 = 16.0;
const LEAD_SHARE: f64 = 0.05;

/// What must speak for an answer, for each device, where parity ties the devices together.
/// Parity alone says nothing of the order.
const EACH: f64 = 8.0;

/// The same where no redundancy is left that could contradict: a wrong order would give files
/// that look whole.
const LONE_EACH: f64 = 32.0;

/// Of the anchors that judge an answer without redundancy, this share must agree, in percent.
const LONE_PERCENT: u32 = 80;

/// Anchors that make devices carriers of one file system.
const CARRIER_ANCHORS: u32 = 3;

/// Rows with anything that make a device worth a word.
const LEAST_ROWS: usize = 64;

/// Rows with text that make a device worth looking at where nothing else is known of it.
const LEAST_TEXTS: usize = 64;

/// Windows that are in memory at once.
const AT_ONCE: usize = 4;

/// Rivals that a loss lists.
const MOST_LISTED: usize = 6;

/// What was worked out.
#[derive(Debug, Default)]
pub(crate) struct Inferred {
    /// Groups whose geometry is decided.
    pub(crate) groups: Vec<Group>,
    /// Devices that are no part of any, and why.
    pub(crate) unused: Vec<Unused>,
    /// Devices that belong together in a way that is not decided.
    pub(crate) losses: Vec<Loss>,
}

/// A set of devices that may be a group.
struct Members {
    devices: Vec<usize>,
    /// What ties them together, for a person.
    together: String,
    /// Whether parity does, which says which geometries cannot be.
    by_parity: bool,
}

/// Works out the groups that `devices` are members of.
pub(crate) fn infer(devices: Vec<(DeviceName, Arc<dyn ReadAt>)>) -> Inferred {
    let mut inferred = Inferred::default();
    let mut candidates: Vec<Candidate> = devices
        .into_iter()
        .map(|(name, device)| Candidate {
            name,
            device,
            shift: 0,
        })
        .collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    if candidates.len() > MOST_DEVICES {
        let why = format!("only the first {MOST_DEVICES} devices without labels are compared");
        inferred
            .losses
            .push(loss(&candidates, &[0], Cause::Unsupported(why)));
        candidates.truncate(MOST_DEVICES);
    }
    let mut pile = Pile::look(candidates).in_line();
    pile.leave_out_stale(&mut inferred);
    pile.fold_mirrors();
    pile.decide_all(&mut inferred);
    for (group, number) in inferred.groups.iter_mut().zip(1..) {
        group.name = format!("found-{number}");
    }
    inferred
}

fn loss(candidates: &[Candidate], devices: &[usize], cause: Cause) -> Loss {
    let name = |index: &usize| candidates.get(*index).map(|c| c.name.to_string());
    let names: Vec<String> = devices.iter().filter_map(name).collect();
    Loss {
        what: format!("a group without labels on {}", names.join(", ")),
        origin: Origin::new(names.first().cloned().unwrap_or_default(), ByteOffset::ZERO),
        cause,
    }
}

/// The devices, and what was seen of them.
struct Pile {
    candidates: Vec<Candidate>,
    windows: Vec<u64>,
    rows: Vec<Row>,
    collector: Collector,
    /// Devices that say nothing of their own: stale ones, and all but one of each mirror.
    silent: Set,
    /// The devices of each mirror; the first stands for it.
    mirrors: Vec<Vec<usize>>,
}

impl Pile {
    /// Reads the windows of all devices.
    fn look(candidates: Vec<Candidate>) -> Self {
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
    fn in_line(self) -> Self {
        let settled = self.agreeing();
        let Some(shifts) = shift::shifts(&self.rows, self.candidates.len(), settled) else {
            return self;
        };
        let moved = Self::look(shift::shifted(&self.candidates, &shifts));
        if moved.agreeing().count() > self.agreeing().count() {
            moved
        } else {
            self
        }
    }

    /// The devices that parity ties to others, or that are equal to others.
    fn agreeing(&self) -> Set {
        let tied = tied(&self.rows).into_iter().flat_map(|set| set.devices);
        tied.chain(copies(&self.rows).into_iter().flatten())
            .collect()
    }

    /// Takes a device out of everything that is compared.
    fn silence(&mut self, device: usize) {
        self.silent = self.silent.devices().chain([device]).collect();
        for row in &mut self.rows {
            row.without(device);
        }
    }

    fn leave_out_stale(&mut self, inferred: &mut Inferred) {
        for stale in twins::stale(&self.rows) {
            let name = |device: usize| self.candidates.get(device).map(|c| c.name.clone());
            if let (Some(device), Some(of)) = (name(stale.device), name(stale.of)) {
                inferred.unused.push(Unused {
                    device,
                    why: format!(
                        "a copy of {of}, older or equal: of the rows looked at they are equal in {}, and in {} only {of} agrees with the rest of its group",
                        stale.equal, stale.differ
                    ),
                });
            }
            self.silence(stale.device);
        }
    }

    fn fold_mirrors(&mut self) {
        self.mirrors = mirrors::classes(&copies(&self.rows));
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

    /// The devices of the mirror that a device stands for: itself, if it is in none.
    fn mirror_of(&self, device: usize) -> Vec<usize> {
        let own = self
            .mirrors
            .iter()
            .find(|class| class.first() == Some(&device));
        own.cloned().unwrap_or_else(|| vec![device])
    }

    /// The rings of devices that are not in any of the sets found so far.
    fn rings(&self, taken: Set) -> Vec<rings::Ring> {
        let mut rings = rings::rings(&self.rows);
        rings.retain(|ring| !ring.devices.iter().any(|device| taken.has(*device)));
        rings
    }

    /// Decides every set of devices that belong together, and what is left alone.
    fn decide_all(&self, inferred: &mut Inferred) {
        let anchors = self
            .collector
            .anchors(&self.candidates, &self.windows, self.silent);
        let tied = tied(&self.rows);
        let mut left = self.silent;
        let in_sets = tied.iter().flat_map(|set| &set.devices).copied();
        left = left.devices().chain(in_sets).collect();
        for ring in self.rings(left) {
            left = left.devices().chain(ring.devices.iter().copied()).collect();
            match rings::decide(&ring, &self.candidates, &self.rows, &anchors) {
                Ok(group) => inferred.groups.push(group),
                Err(why) => {
                    let why = format!(
                        "each of these devices holds what another one holds further down, as in RAID-10 with far or offset copies, but {why}; state the geometry by hand"
                    );
                    let cause = Cause::Unsupported(why);
                    inferred
                        .losses
                        .push(loss(&self.candidates, &ring.devices, cause));
                }
            }
        }
        // What begins on a device and ends there is no part of a larger group.
        let all: Vec<usize> = (0..self.candidates.len()).collect();
        for device in all.iter().copied() {
            if left.has(device) {
                continue;
            }
            if let Some(group) =
                mirrors::mirror(&self.mirror_of(device), &self.candidates, &anchors)
            {
                inferred.groups.push(group);
                left = left.devices().chain([device]).collect();
            }
        }
        let alone: Vec<usize> = all.into_iter().filter(|d| !left.has(*d)).collect();
        let mut sets = by_relation(&tied);
        sets.extend(by_anchors(&alone, &anchors));
        let named: Set = sets.iter().flat_map(|set| &set.devices).copied().collect();
        let rest: Vec<usize> = alone.into_iter().filter(|d| !named.has(*d)).collect();
        sets.extend(by_contents(&rest, &self.rows));
        let named: Set = sets.iter().flat_map(|set| &set.devices).copied().collect();
        for device in rest.into_iter().filter(|device| !named.has(*device)) {
            let full = self.rows.iter().filter(|row| row.full.has(device));
            if full.count() >= LEAST_ROWS {
                let why = "it holds data, and nothing in it says what of, or ties it to another device; if it belongs to a group, state the geometry by hand".to_owned();
                let all = self.mirror_of(device);
                inferred
                    .losses
                    .push(loss(&self.candidates, &all, Cause::Unsupported(why)));
            }
        }
        for set in sets {
            match self.decide(&set, &anchors) {
                Ok(group) => inferred.groups.push(group),
                Err(why) => {
                    let all: Vec<usize> = set
                        .devices
                        .iter()
                        .flat_map(|d| self.mirror_of(*d))
                        .collect();
                    let cause = Cause::Unsupported(why);
                    inferred.losses.push(loss(&self.candidates, &all, cause));
                }
            }
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

/// The sets of devices that relations tie together.
fn by_relation(tied: &[Tied]) -> Vec<Members> {
    let sets = tied.iter().map(|set| Members {
        devices: set.devices.clone(),
        together: format!(
            "parity ties these devices together ({} relations between their blocks hold)",
            set.rows
        ),
        by_parity: true,
    });
    sets.collect()
}

/// Of the devices that are `alone`, those that carry blocks of one file system.
fn by_anchors(alone: &[usize], anchors: &[Anchor]) -> Vec<Members> {
    let mut carriers: BTreeMap<Source, BTreeMap<usize, u32>> = BTreeMap::new();
    for anchor in anchors.iter().filter(|a| alone.contains(&a.device)) {
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
        by_parity: false,
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
        by_parity: false,
    })
}

impl Pile {
    /// Decides the geometry of one set, or says why it cannot be decided.
    fn decide(&self, set: &Members, anchors: &[Anchor]) -> Result<Group, String> {
        let (rows, candidates) = (&self.rows, &self.candidates);
        let contents = Contents::learn(rows, &set.devices);
        let hypotheses = hypotheses(set, rows, anchors, &contents);
        let answers = score::answers(hypotheses, rows, anchors, &contents);
        let decided = choose(&answers, set, candidates, rows).and_then(|(best, trials)| {
            let based = base::find(&best.notations, candidates, rows)?;
            Ok(self.group(best, trials, &based, &set.together))
        });
        decided.map_err(|why| format!("{}, but {why}", set.together))
    }
}

/// All geometries that one kind of evidence speaks for.
fn hypotheses(
    set: &Members,
    rows: &[Row],
    anchors: &[Anchor],
    contents: &Contents<'_>,
) -> Vec<Hypothesis> {
    let mut all = algebra::solve(&set.devices, rows);
    let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
    for source in sources {
        all.extend(anchored::solve(anchors, source, &set.devices));
    }
    let present = u32::try_from(set.devices.len()).unwrap_or(u32::MAX);
    let shapes = Shape::all(present);
    all.extend(order::solve(contents, &set.devices, &shapes));
    all
}

/// The one answer that stands out, or why none does.
fn choose<'a>(
    answers: &'a [Answer],
    set: &Members,
    candidates: &[Candidate],
    rows: &[Row],
) -> Result<(&'a Answer, Option<Trials>), String> {
    let (best, rivals) = answers.split_first().ok_or_else(|| match set.by_parity {
        true => "too little in their contents tells the chunk and the order: no blocks that state their own address, and no text that goes on from one device to the next; state the geometry by hand".to_owned(),
        false => "no geometry that these blocks allow agrees with the rest of the contents".to_owned(),
    })?;
    let listed = || {
        let all = answers.iter().take(MOST_LISTED).map(Answer::describe);
        all.collect::<Vec<_>>().join("; ")
    };
    let lead = LEAD.max(best.total() * LEAD_SHARE);
    let close = best.total() - lead;
    if rivals.iter().any(|rival| rival.total() >= close) {
        return Err(format!(
            "several geometries fit: {}; more blocks that state their address, or a missing member, would decide",
            listed()
        ));
    }
    let hypothesis = best.hypothesis().ok_or_else(String::new)?;
    let trials = verify::rebuild(hypothesis, candidates, rows);
    let devices = f64::from(u32::try_from(set.devices.len()).unwrap_or(u32::MAX));
    let certain = match trials {
        Some(trials) => trials.pass() && best.total() >= devices * EACH,
        None => {
            let anchors = best.anchors;
            let all = anchors.hits.saturating_add(anchors.misses);
            let agree = anchors.hits.saturating_mul(100) >= all.saturating_mul(LONE_PERCENT);
            best.total() >= devices * LONE_EACH && agree
        }
    };
    if !certain {
        return Err(format!("the best geometry is not certain: {}", listed()));
    }
    Ok((best, trials))
}

impl Pile {
    /// The statement of a group.
    fn group(
        &self,
        best: &Answer,
        trials: Option<Trials>,
        based: &base::Based<'_>,
        together: &str,
    ) -> Group {
        let hypothesis = based.hypothesis;
        let sizes = verify::member_bytes(hypothesis, &self.candidates, based.offset);
        let smallest = sizes.iter().min().copied().unwrap_or(0);
        let plain = hypothesis.shape.level(hypothesis.chunk, &sizes);
        // By role: the devices with the same contents, as many for each role.
        let holders: Vec<Vec<usize>> = hypothesis
            .roles
            .iter()
            .map(|device| device.map(|d| self.mirror_of(d)).unwrap_or_default())
            .collect();
        let near = holders.iter().map(Vec::len).max().unwrap_or(1);
        let striped = matches!(hypothesis.shape, Shape::Raid0(_)) && near > 1;
        let level = match u32::try_from(near) {
            Ok(near) if striped => Level::Raid10 {
                layout: Raid10Layout::near(near),
                chunk_bytes: hypothesis.chunk,
                members: hypothesis.shape.members().saturating_mul(near),
                member_bytes: smallest,
            },
            _ => plain,
        };
        let roles: Vec<Option<usize>> = match striped {
            true => holders
                .iter()
                .flat_map(|own| (0..near).map(|copy| own.get(copy).copied()))
                .collect(),
            false => hypothesis.roles.clone(),
        };
        let geometry =
            Geometry::filling(level.clone(), smallest).unwrap_or(Geometry { level, bytes: 0 });
        let members = (0..).zip(roles).map(|(role, device)| {
            let device = device.and_then(|device| self.candidates.get(device));
            Member {
                role,
                device: device.map(|candidate| candidate.name.clone()),
                data_offset: device.map_or(0, |d| based.offset.saturating_add(d.shift)),
                data_size: device.map_or(0, |d| self.data_size(d, hypothesis, based.offset)),
                left_out: None,
                bad_blocks: Vec::new(),
            }
        });
        Group {
            name: String::new(),
            geometry,
            members: members.collect(),
            evidence: reasons(best, trials, based, together),
            confidence: confidence(best, trials),
        }
    }

    /// How many bytes of a member are the group's.
    fn data_size(&self, member: &Candidate, hypothesis: &Hypothesis, offset: u64) -> u64 {
        let sizes = verify::member_bytes(hypothesis, &self.candidates, offset);
        let smallest = sizes.iter().min().copied().unwrap_or(0);
        let own = (hypothesis.roles.iter().zip(&sizes)).find(|(device, _)| {
            let candidate = device.and_then(|device| self.candidates.get(device));
            candidate.is_some_and(|candidate| candidate.name == member.name)
        });
        own.map_or(smallest, |(_, size)| *size)
    }
}

/// What says that an answer is right.
fn reasons(
    best: &Answer,
    trials: Option<Trials>,
    based: &base::Based<'_>,
    together: &str,
) -> Vec<String> {
    let mut evidence = vec![format!(
        "no label: worked out from the contents; {together}"
    )];
    if let Some(trials) = trials {
        evidence.push(format!(
            "{} of {} blocks that were left out came out right when rebuilt from the others",
            trials.right, trials.tried
        ));
    }
    if best.anchors.hits > 0 {
        evidence.push(format!(
            "{} of {} places with blocks of file systems that state their own address lie where this geometry has them",
            best.anchors.hits,
            best.anchors.hits.saturating_add(best.anchors.misses),
        ));
    }
    if best.contents > 0.0 {
        evidence.push(format!(
            "text goes on from chunk to chunk, and parity is no text, as this geometry has it ({:.0} nats)",
            best.contents
        ));
    }
    evidence.push(based.evidence.clone());
    if trials.is_none() {
        evidence.push("no redundancy is left to check it with".to_owned());
    }
    evidence.push(
        "where the members end is not known: the end of the smallest device is taken".to_owned(),
    );
    evidence
}

/// How sure an answer is, from 0 to 1, never as sure as a label.
fn confidence(best: &Answer, trials: Option<Trials>) -> f64 {
    let share = |part: u32, all: u32| f64::from(part) / f64::from(all.max(1));
    let parity = match trials {
        Some(trials) => share(trials.right, trials.tried),
        None => 0.9,
    };
    let anchors = best.anchors;
    let anchors = match anchors.hits {
        0 => 0.95,
        hits => share(hits, hits.saturating_add(anchors.misses)).max(0.9),
    };
    (parity * anchors * 0.99 * 100.0).round() / 100.0
}
