//! RAID groups from the contents of devices that no label explains.
//!
//! 1. [`sample`]: a bounded part of every device, at the same places.
//! 2. [`relations`]: which devices belong together, by linear algebra over GF(2).
//! 3. [`anchors`]: blocks of file systems that state their own address.
//! 4. [`hypothesis`]: the geometries that the anchors allow, solved for the data offset.
//! 5. [`verify`]: blocks that are there are rebuilt from the others and compared.
//! 6. [`base`]: where before the file system the group itself begins.
//!
//! What stays undecided is a [`Loss`] that lists what is left to choose from: nothing is
//! guessed. All members of a group must have their data at the same offset.
#![warn(clippy::indexing_slicing)]

mod anchors;
mod base;
mod hypothesis;
mod relations;
mod sample;
mod survey;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};

use self::anchors::Collector;
pub(crate) use self::anchors::{Anchor, Source};
use self::hypothesis::{Claims, Hypothesis};
use self::relations::{MOST_DEVICES, Tied, copies, tied};
use self::sample::{Candidate, Sketcher, Sketches};
pub(crate) use self::survey::survey;
use self::verify::Trials;
use crate::document::{DeviceName, Group, Member};
use crate::raid::Geometry;

/// A geometry is decided if its score is above every other's by this part of its anchors, and by
/// at least so many.
const RIVAL_LEAD: u32 = 10;
const LEAST_LEAD: u32 = 4;

/// Anchors that must agree, for each device of a group, and their share in percent, where
/// parity holds too. Parity alone says nothing of the order.
const ANCHORS_EACH: u32 = 3;
const ANCHORS_PERCENT: u32 = 80;

/// The same where no redundancy is left that could contradict: only anchors speak then, and a
/// wrong order would give files that look whole.
const LONE_ANCHORS_EACH: u32 = 12;
const LONE_ANCHORS_PERCENT: u32 = 90;

/// Rivals that a loss lists.
const MOST_LISTED: usize = 6;

/// What was worked out.
#[derive(Debug, Default)]
pub(crate) struct Inferred {
    /// Groups whose geometry is decided.
    pub(crate) groups: Vec<Group>,
    /// Devices that belong together in a way that is not decided.
    pub(crate) losses: Vec<Loss>,
}

/// A set of devices that may be a group.
struct Set {
    devices: Vec<usize>,
    /// At how many rows a relation holds between them; none if only file systems tie them.
    tied_rows: Option<u64>,
}

/// Works out the groups that `devices` are members of.
pub(crate) fn infer(devices: Vec<(DeviceName, Arc<dyn ReadAt>)>) -> Inferred {
    let mut inferred = Inferred::default();
    let mut candidates: Vec<Candidate> = devices
        .into_iter()
        .map(|(name, device)| Candidate { name, device })
        .collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    if candidates.len() > MOST_DEVICES {
        let why = format!("only the first {MOST_DEVICES} devices without labels are compared");
        inferred
            .losses
            .push(loss(&candidates, &[0], Cause::Unsupported(why)));
        candidates.truncate(MOST_DEVICES);
    }
    let longest = candidates.iter().map(|c| c.device.len()).max();
    if candidates.len() < 2 {
        return inferred;
    }
    let windows = sample::windows(longest.unwrap_or(0));
    let (sketches, collector) = look(&candidates, &windows);
    if sketches.rows.is_empty() {
        return inferred;
    }
    let anchors = collector.anchors(&candidates, &windows);
    let copies = copies(&sketches);
    for pair in &copies {
        let why = "their contents are equal: copies in a mirror or RAID-10, which are not worked out without labels yet; state the geometry by hand".to_owned();
        inferred
            .losses
            .push(loss(&candidates, pair, Cause::Unsupported(why)));
    }
    for set in sets(&tied(&sketches), &anchors) {
        if set
            .devices
            .iter()
            .any(|device| copies.as_flattened().contains(device))
        {
            continue;
        }
        match decide(&set, &candidates, &sketches, &anchors) {
            Ok(mut group) => {
                group.name = format!("found-{}", inferred.groups.len().saturating_add(1));
                inferred.groups.push(group);
            }
            Err(why) => {
                let cause = Cause::Unsupported(why);
                inferred.losses.push(loss(&candidates, &set.devices, cause));
            }
        }
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

/// Reads the windows of all devices.
fn look(candidates: &[Candidate], windows: &[u64]) -> (Sketches, Collector) {
    let sketcher = Sketcher::new();
    let mut sketches = Sketches { rows: Vec::new() };
    let mut collector = Collector::default();
    for start in windows {
        let read: Vec<Vec<u8>> = candidates
            .iter()
            .map(|candidate| sample::read_window(&*candidate.device, *start))
            .collect();
        sketches.add(&sketcher, *start, &read);
        for (device, bytes) in read.iter().enumerate() {
            collector.look(device, *start, bytes);
        }
    }
    (sketches, collector)
}

/// The sets of devices that relations tie together, and of the others those that carry blocks
/// of one file system.
fn sets(tied: &[Tied], anchors: &[Anchor]) -> Vec<Set> {
    let taken: BTreeSet<usize> = tied.iter().flat_map(|set| &set.devices).copied().collect();
    let mut carriers: BTreeMap<Source, BTreeMap<usize, u32>> = BTreeMap::new();
    for anchor in anchors.iter().filter(|a| !taken.contains(&a.device)) {
        let counts = carriers.entry(anchor.source).or_default();
        *counts.entry(anchor.device).or_default() += 1;
    }
    let mut joined: Vec<BTreeSet<usize>> = Vec::new();
    for counts in carriers.into_values() {
        let many = counts
            .into_iter()
            .filter(|(_, count)| *count >= ANCHORS_EACH);
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
    let by_relation = tied.iter().map(|set| Set {
        devices: set.devices.clone(),
        tied_rows: Some(set.rows),
    });
    let by_anchors = joined
        .into_iter()
        .filter(|set| set.len() >= 2)
        .map(|set| Set {
            devices: set.into_iter().collect(),
            tied_rows: None,
        });
    by_relation.chain(by_anchors).collect()
}

/// Hypotheses that claim the same, in several notations, with how they were verified.
struct Answer {
    claims: Claims,
    notations: Vec<Hypothesis>,
    trials: Option<Trials>,
}

impl Answer {
    fn score(&self) -> i64 {
        self.notations.first().map_or(i64::MIN, Hypothesis::score)
    }

    fn hits(&self) -> u32 {
        self.notations.first().map_or(0, |h| h.hits)
    }

    /// Whether the relation with Q proves it: that holds for one order only.
    fn is_proven(&self) -> bool {
        let by_q = self
            .notations
            .first()
            .is_some_and(|h| h.shape.parities() == 2);
        by_q && self.trials.is_some_and(Trials::pass)
    }

    fn describe(&self) -> String {
        self.notations
            .first()
            .map(Hypothesis::describe)
            .unwrap_or_default()
    }
}

/// Decides the geometry of one set, or says why it cannot be decided.
fn decide(
    set: &Set,
    candidates: &[Candidate],
    sketches: &Sketches,
    anchors: &[Anchor],
) -> Result<Group, String> {
    let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
    let together = match set.tied_rows {
        Some(rows) => format!(
            "parity ties these devices together ({rows} relations between their blocks hold)"
        ),
        None => "blocks of one file system lie on all of these devices".to_owned(),
    };
    let mut solved: Vec<Vec<Hypothesis>> = sources
        .into_iter()
        .map(|source| hypothesis::solve(anchors, source, &set.devices))
        .filter(|found| !found.is_empty())
        .collect();
    solved.sort_by_key(|found| std::cmp::Reverse(found.first().map_or(0, |best| best.hits)));
    let mut undecided = Vec::new();
    for found in solved {
        let answers = answers(found, candidates, sketches);
        let decided = choose(&answers, set).and_then(|best| {
            let based = base::find(&best.notations, candidates)?;
            Ok(group(best, &based, candidates, &together))
        });
        match decided {
            Ok(group) => return Ok(group),
            Err(why) => undecided.push(why),
        }
    }
    let why = undecided.into_iter().next().unwrap_or_else(|| {
        "too few blocks state their own address to tell the chunk and the order; state the geometry by hand".to_owned()
    });
    Err(format!("{together}, but {why}"))
}

/// The one answer that stands out, or why none does.
fn choose<'a>(answers: &'a [Answer], set: &Set) -> Result<&'a Answer, String> {
    let (best, rivals) = answers.split_first().ok_or_else(|| {
        "no geometry that the file system's blocks allow agrees with the parity".to_owned()
    })?;
    let listed = || {
        let all = answers.iter().take(MOST_LISTED).map(Answer::describe);
        all.collect::<Vec<_>>().join("; ")
    };
    let lead = (best.hits() / RIVAL_LEAD).max(LEAST_LEAD);
    let close = best.score().saturating_sub(i64::from(lead));
    if rivals.iter().any(|rival| rival.score() >= close) {
        return Err(format!(
            "several geometries fit: {}; more blocks that state their address, or a missing member, would decide",
            listed()
        ));
    }
    let devices = u32::try_from(set.devices.len()).unwrap_or(u32::MAX);
    let certain = best.notations.first().is_some_and(|h| {
        let (each, percent) = match best.trials {
            Some(_) => (ANCHORS_EACH, ANCHORS_PERCENT),
            None => (LONE_ANCHORS_EACH, LONE_ANCHORS_PERCENT),
        };
        let agree = h.hits.saturating_mul(100) >= h.anchors.saturating_mul(percent);
        let by_anchors = h.clear && agree;
        h.hits >= devices.saturating_mul(each) && (best.is_proven() || by_anchors)
    });
    if !certain {
        return Err(format!("the best geometry is not certain: {}", listed()));
    }
    Ok(best)
}

/// The answers that the parity does not contradict, the best first.
fn answers(solved: Vec<Hypothesis>, candidates: &[Candidate], sketches: &Sketches) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    for hypothesis in solved {
        let claims = hypothesis.claims();
        match answers.iter_mut().find(|answer| answer.claims == claims) {
            Some(answer) => answer.notations.push(hypothesis),
            None => answers.push(Answer {
                claims,
                trials: verify::rebuild(&hypothesis, candidates, sketches),
                notations: vec![hypothesis],
            }),
        }
    }
    // A level whose parity disks are all missing reads as one without them: the plainer counts.
    for answer in &mut answers {
        let plainest = answer.notations.iter().map(|h| h.shape.members()).min();
        answer
            .notations
            .retain(|h| Some(h.shape.members()) == plainest);
    }
    answers.retain(|answer| answer.trials.is_none_or(Trials::pass));
    if answers.iter().any(Answer::is_proven) {
        answers.retain(Answer::is_proven);
    }
    answers.sort_by_key(|answer| std::cmp::Reverse(answer.score()));
    answers
}

/// The statement of a group.
fn group(
    best: &Answer,
    based: &base::Based<'_>,
    candidates: &[Candidate],
    together: &str,
) -> Group {
    let hypothesis = based.hypothesis;
    let sizes = verify::member_bytes(hypothesis, candidates, based.offset);
    let smallest = sizes.iter().min().copied().unwrap_or(0);
    let level = hypothesis.shape.level(hypothesis.chunk, &sizes);
    let geometry =
        Geometry::filling(level.clone(), smallest).unwrap_or(Geometry { level, bytes: 0 });
    let members = hypothesis.roles.iter().enumerate().map(|(role, device)| {
        let device = device.and_then(|device| candidates.get(device));
        let size = match device {
            Some(_) => sizes.get(role).copied().unwrap_or(smallest),
            None => 0,
        };
        Member {
            role: u32::try_from(role).unwrap_or(u32::MAX),
            device: device.map(|candidate| candidate.name.clone()),
            data_offset: if device.is_some() { based.offset } else { 0 },
            data_size: size,
            left_out: None,
            bad_blocks: Vec::new(),
        }
    });
    let mut evidence = vec![
        format!("no label: worked out from the contents; {together}"),
        format!(
            "{} of {} blocks of the {} file system that state their own address lie where this geometry has them",
            hypothesis.hits,
            hypothesis.anchors,
            hypothesis.source.name(),
        ),
        based.evidence.clone(),
        "where the members end is not known: the end of the smallest device is taken".to_owned(),
    ];
    let shared = match best.is_proven() {
        true => 1.0,
        false => f64::from(hypothesis.hits) / f64::from(hypothesis.anchors.max(1)),
    };
    let confidence = match best.trials {
        Some(trials) => {
            evidence.insert(1, format!(
                "{} of {} blocks that were left out came out right when rebuilt from the others",
                trials.right, trials.tried
            ));
            f64::from(trials.right) / f64::from(trials.tried.max(1))
        }
        None => {
            evidence.push("no redundancy is left to check it with".to_owned());
            0.9
        }
    };
    Group {
        name: String::new(),
        geometry,
        members: members.collect(),
        evidence,
        confidence: (confidence * shared * 0.99 * 100.0).round() / 100.0,
    }
}
