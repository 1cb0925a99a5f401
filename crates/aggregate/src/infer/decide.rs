//! Which geometry a set of devices has: one answer must stand out, or none is given.

use std::collections::BTreeSet;

use super::anchors::{Addresses, Anchor, Source};
use super::contents::{Contents, Spread};
use super::hypothesis::Hypothesis;
use super::lagging::{Lagging, lagging};
use super::pile::{Members, Pile, Tie};
use super::relations::copies_in_part;
use super::sample::{Candidate, Row};
use super::score::{self, ANCHOR_HIT, Answer};
use super::shape::Shape;
use super::verify::{self, Trials};
use super::written_over::holds_behind_starts;
use super::{algebra, anchored, base, order};
use crate::document::Group;

/// An answer is decided if it is likelier than every other by so much, in nats, and by a part of all in
/// which the two differ; and where contents alone tell them apart, by a part of those.
const APART: f64 = 12.0;
pub(super) const LEAD_SHARE: f64 = 0.2;
const CONTENTS_SHARE: f64 = 0.05;

/// What must speak for what is rebuilt, and what may speak against contents by chance, in nats.
pub(super) const LEAD: f64 = 16.0;

/// What must speak for an answer, for each device, where parity ties the devices together.
/// Parity alone says nothing of the order.
pub(super) const EACH: f64 = 8.0;

/// The same where no redundancy is left that could contradict: a wrong order would give files
/// that look whole.
pub(super) const LONE_EACH: f64 = 32.0;

/// Of the anchors that judge an answer without redundancy, this share must agree, in percent,
/// unless the contents say as much without them.
const LONE_PERCENT: u32 = 80;

/// Rivals that a loss lists.
const MOST_LISTED: usize = 6;

/// What was decided of a set.
pub(super) struct Decided {
    pub(super) group: Group,
    pub(super) hypothesis: Hypothesis,
    /// Whether what is rebuilt of missing members has many files that end in it where their inodes say, or
    /// many blocks that state their place: then no other device is a member.
    pub(super) is_whole: bool,
    /// Whether blocks that state their address lie elsewhere by more than agree: parity that holds may
    /// be a newer array's.
    pub(super) is_contradicted: bool,
    /// Rows that contradict its parity.
    pub(super) contradicting: u32,
    /// The sum of what speaks for it, in nats.
    pub(super) worth: f64,
}

impl Pile {
    /// Decides the geometry of one set, or says why it cannot be decided: first as if its file systems lay on it
    /// alone, then as if they lay in stripes over it and others; so, too, where most blocks that state their address do not lie where they should alone.
    pub(super) fn decided(&self, set: &Members, stated: &Addresses) -> Result<Decided, String> {
        let alone = self.decide_by(set, stated, Spread::Alone);
        if alone.as_ref().is_ok_and(|decided| !decided.is_contradicted) {
            return alone;
        }
        let in_stripes = match stated.of_group(&set.devices) {
            Some(own) => self.decide_by(set, &own, Spread::InStripes),
            None if alone.is_ok() => return alone,
            None => self.decide_by(set, stated, Spread::Perhaps),
        };
        match in_stripes {
            Ok(decided) if alone.is_err() || !decided.is_contradicted => Ok(decided),
            _ => alone,
        }
    }

    /// Decides the geometry of one set that has a column of stripes, if hardly an address contradicts it.
    pub(super) fn decided_in_stripes(&self, set: &Members, stated: &Addresses) -> Option<Group> {
        let own = stated.of_group(&set.devices)?;
        let decided = self.decide_by(set, &own, Spread::InStripes).ok();
        let decided = decided.filter(|decided| !decided.is_contradicted);
        decided.map(|decided| decided.group)
    }

    fn decide_by(
        &self,
        set: &Members,
        stated: &Addresses,
        spread: Spread,
    ) -> Result<Decided, String> {
        let (rows, candidates) = (&self.rows, &self.candidates);
        let contents = Contents::learn(rows, &set.devices, spread);
        let answers = self.answers(set, stated, &contents);
        let decided = choose(&answers, set, candidates, rows).and_then(|(best, trials)| {
            if spread == Spread::Perhaps && best.anchors.agree_in_part() {
                return Err("blocks that state their address lie on it alone".to_owned());
            }
            // What lies in stripes over groups begins none of them, though a stripe may begin so.
            let elsewhere = best.anchors.contradict() || spread == Spread::InStripes;
            let based = base::find(best, candidates, rows, elsewhere)?;
            let ends = self.member_ends(set, best, &based, stated, &contents);
            let mut group = self.group(best, trials, &based, &ends, &set.together);
            // Copies that lie side by side and go around are equal in most rows, but not in all.
            let mut copies = copies_in_part(rows).into_iter();
            if trials.is_none() && copies.any(|pair| pair.iter().all(|d| set.devices.contains(d))) {
                return Err("most of what two of these devices hold is equal, as in copies, and nothing else checks it".to_owned());
            }
            // Half of a RAID-10 reads as a RAID-0 in places.
            let is_longer = based.bytes.is_some_and(|bytes| bytes > group.geometry.bytes);
            if trials.is_none() && best.anchors.contradict() && is_longer {
                return Err("what it begins with says that it is longer than these devices together".to_owned());
            }
            if is_stale(best) {
                match lagging(based.hypothesis, candidates, rows) {
                    Some(lagging) => self.leave_out(&mut group, &lagging),
                    // The epochs of its rows may tell.
                    None if best.agreement.holds_mostly()
                        || holds_behind_starts(based.hypothesis, rows) => {}
                    None => return Err("in most rows nothing relates the devices as its parity should, and no stale member explains that".to_owned()),
                }
            }
            Ok(Decided {
                group,
                hypothesis: based.hypothesis.clone(),
                is_whole: best.mended >= devices(set) * LONE_EACH,
                is_contradicted: best.anchors.are_against(),
                contradicting: best.agreement.wrong.saturating_add(best.wrong_before),
                worth: best.total(),
            })
        });
        decided.map_err(|why| format!("{}, but {why}", set.together))
    }

    /// States that a member lags behind.
    fn leave_out(&self, group: &mut Group, lagging: &Lagging) {
        let name = self.candidates.get(lagging.device).map(|one| &one.name);
        let mut members = group.members.iter_mut();
        if let Some(member) = members.find(|member| member.device.as_ref() == name) {
            member.left_out = Some(format!(
                "stale: in {} rows nothing relates the members any more, and text comes out of what the others make of this one",
                lagging.rows
            ));
        }
    }

    /// All geometries of a set that anything speaks for, the likeliest first.
    pub(super) fn answers(
        &self,
        set: &Members,
        stated: &Addresses,
        contents: &Contents<'_>,
    ) -> Vec<Answer> {
        let hypotheses = hypotheses(set, &self.rows, &stated.anchors, contents);
        self.judged(hypotheses, set, stated, contents)
    }

    /// The different ones among hypotheses of a set, the likeliest first.
    pub(super) fn judged(
        &self,
        hypotheses: Vec<Hypothesis>,
        set: &Members,
        stated: &Addresses,
        contents: &Contents<'_>,
    ) -> Vec<Answer> {
        let (rows, candidates) = (&self.rows, &self.candidates);
        score::answers(hypotheses, &set.devices, candidates, rows, stated, contents)
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
    let (best, rivals) = answers.split_first().ok_or_else(|| match set.tie {
        Tie::Parity | Tie::SomeParity => "too little in their contents tells the chunk and the order: no blocks that state their own address, and no text that goes on from one device to the next; state the geometry by hand".to_owned(),
        Tie::Filesystem | Tie::Remains => "no geometry that these blocks allow agrees with the rest of the contents".to_owned(),
    })?;
    let listed = || {
        let name = |device: usize| {
            let name = candidates.get(device).map(|one| one.name.to_string());
            name.unwrap_or_default()
        };
        let all = answers.iter().take(MOST_LISTED);
        let all = all.map(|answer| answer.describe(&name));
        all.collect::<Vec<_>>().join("; ")
    };
    if rivals.iter().any(|rival| !stands_out(best, rival)) {
        return Err(format!(
            "several geometries fit: {}; more blocks that state their address, or a missing member, would decide",
            listed()
        ));
    }
    let hypothesis = best.hypothesis().ok_or_else(String::new)?;
    let behind = rows.partition_point(|row| row.at < best.front);
    let rows = rows.get(behind..).unwrap_or_default();
    let trials = verify::rebuild(hypothesis, candidates, rows, is_stale(best));
    let certain = match trials {
        Some(trials) => trials.pass() && is_ordered(best, set),
        None => is_certain_alone(best, hypothesis, set),
    };
    if !certain {
        return Err(format!("the best geometry is not certain: {}", listed()));
    }
    Ok((best, trials))
}

/// Whether one of the members may lag behind the others: where their blocks are related they are so as they
/// should be, and often they are not.
const fn is_stale(best: &Answer) -> bool {
    !best.agreement.holds() && best.agreement.holds_where_related()
}

/// Whether enough speaks for the order that an answer gives to devices that parity ties together.
///
/// What parity rebuilds is the same in any order. So most anchors must agree, or the contents must
/// say as much without them: else it is the best of those that were thought of, and no more. The
/// factors of Q name the order: where they hold in nine rows of ten, all that is left to choose from
/// was thought of, whatever a newer array wrote that agrees with none. With a stale member they do not.
fn is_ordered(best: &Answer, set: &Members) -> bool {
    let by_factors = best
        .hypothesis()
        .is_some_and(|hypothesis| matches!(hypothesis.shape, Shape::Raid6(..)));
    if by_factors && best.agreement.holds_all_over() {
        return true;
    }
    let least = devices(set) * EACH;
    let agree = best.anchors.hits >= best.anchors.misses;
    best.total() >= least && (agree || best.contents_worth() >= least)
}

/// Whether enough speaks for an answer that nothing redundant could contradict.
fn is_certain_alone(best: &Answer, hypothesis: &Hypothesis, set: &Members) -> bool {
    let least = devices(set) * LONE_EACH;
    let anchors = best.anchors;
    let all = anchors.hits.saturating_add(anchors.misses);
    // Of several file systems one may lie here in part. Files that end in what is rebuilt say as much.
    let mended = best.mended >= least && anchors.hits >= anchors.misses;
    let agree = mended || anchors.hits.saturating_mul(100) >= all.saturating_mul(LONE_PERCENT);
    // Journals name homes that blocks have left, and what lies in stripes over groups states no places
    // of one: contents alone may say enough. But where some anchors agree, a RAID-10 of which half is
    // missing may read as a RAID-0 in places: then they must say more than the anchors against it.
    let doubt = f64::from(anchors.misses.min(anchors.hits)) * ANCHOR_HIT;
    let alone = best.contents_worth() >= least + doubt;
    // What is rebuilt must make sense, whatever else speaks for the rest.
    let rebuilt = best.rebuilt_worth();
    let agrees = set.tie != Tie::Remains && agree && rebuilt.min(best.mended) >= 0.0;
    let sensible = hypothesis.missing() == 0 || agrees || rebuilt >= LEAD;
    // What the contents say against it must not be more than chance makes of them: of many rows of
    // anchors some agree with any geometry.
    let bearable = LEAD + best.evidence().addresses * LEAD_SHARE;
    let contradicted = best.contents_worth() < -bearable;
    best.total() >= least && (agree || alone) && sensible && !contradicted
}

pub(super) fn devices(set: &Members) -> f64 {
    f64::from(u32::try_from(set.devices.len()).unwrap_or(u32::MAX))
}

/// Whether an answer is so much likelier than another one that it is not by chance.
fn stands_out(best: &Answer, rival: &Answer) -> bool {
    let (own, other) = (best.evidence(), rival.evidence());
    let differ = own.differ(other);
    let alone = own.addresses == other.addresses;
    let contents = if alone {
        best.contents_worth() * CONTENTS_SHARE
    } else {
        0.0
    };
    best.total() - rival.total() >= (APART + differ * LEAD_SHARE).max(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::Raid5Layout;

    #[test]
    fn what_parity_ties_together_has_no_order_that_most_anchors_contradict() {
        let set = Members {
            devices: vec![0, 1, 2, 3],
            together: String::new(),
            tie: Tie::Parity,
        };
        let weighed = |hits, misses, contents| {
            let shape = Shape::Raid5(Raid5Layout::LeftSymmetric, 4);
            let roles = set.devices.iter().copied().map(Some).collect();
            let hypothesis = Hypothesis::new(shape, 65536, 0, 0, roles).unwrap();
            is_ordered(&Answer::weighed(hypothesis, hits, misses, contents), &set)
        };
        assert!(weighed(60, 20, 0.0));
        assert!(weighed(60, 100, 400.0));
        assert!(!weighed(60, 100, -20.0));
        assert!(!weighed(2, 0, 0.0));
    }
}
