//! Where the members of a group end.
//!
//! Where row 0 lies is known, where the last one ends is not: nothing states it. It is taken to be the
//! end of the smallest device, as arrays are made. But an image may be cut short, or its disk have been
//! read in part: where enough shows that the group goes on behind its end on the others, it does.

use super::anchors::Addresses;
use super::base::Based;
use super::contents::Contents;
use super::decide::{EACH, devices};
use super::hypothesis::Hypothesis;
use super::pile::{Members, Pile};
use super::sample::Candidate;
use super::score::{self, Answer};
use super::shape::Shape;
use crate::raid::Geometry;

/// So many blocks that state their address must lie behind the end of a device where the group has them.
const LEAST_BEHIND: usize = 3;

/// Where members end.
pub(super) struct MemberEnds {
    /// How many bytes of a member are the group's, if its device is as long.
    pub(super) bytes: u64,
    /// What says so.
    pub(super) evidence: String,
}

impl Pile {
    /// Where the members of a group end that begins as `based` says.
    pub(super) fn member_ends(
        &self,
        set: &Members,
        best: &Answer,
        based: &Based<'_>,
        stated: &Addresses,
        contents: &Contents<'_>,
    ) -> MemberEnds {
        let hypothesis = based.hypothesis;
        let mut rooms = rooms(hypothesis, &self.candidates, based.offset);
        rooms.sort_unstable();
        rooms.dedup();
        let mut ends = MemberEnds {
            bytes: rooms.first().copied().unwrap_or(0),
            evidence: "where the members end is not known: the end of the smallest device is taken"
                .to_owned(),
        };
        if matches!(hypothesis.shape, Shape::Raid0(_)) {
            return ends;
        }
        for room in rooms.into_iter().skip(1) {
            let from = based.offset.saturating_add(ends.bytes);
            let states_more = || {
                let level = hypothesis.shape.level(hypothesis.chunk, &[]);
                let is = Geometry::filling(level, ends.bytes).ok()?.bytes;
                // What lies on several groups is longer than this one.
                let is_more = based.bytes? > is && !best.anchors.contradict();
                is_more.then(|| "what it begins with says that it is longer".to_owned())
            };
            let anchors = || {
                let behind = score::hits_behind(best, &set.devices, stated, from);
                (behind >= LEAST_BEHIND).then(|| {
                    format!("{behind} blocks that state their own address lie behind that where this geometry has them")
                })
            };
            let texts = || {
                let nats = contents.goes_on_behind(hypothesis, from);
                (nats >= EACH * devices(set)).then(|| {
                    format!("text goes on behind that from chunk to chunk as this geometry has it ({nats:.0} nats)")
                })
            };
            let Some(why) = states_more().or_else(anchors).or_else(texts) else {
                break;
            };
            let short = hypothesis
                .devices()
                .filter_map(|at| self.candidates.get(at));
            let short = short.filter(|one| one.device.len() < based.offset.saturating_add(room));
            let names: Vec<String> = short.map(|one| one.name.to_string()).collect();
            ends = MemberEnds {
                bytes: room,
                evidence: format!(
                    "{} ends before the others: its image may be cut short, since {why}",
                    names.join(", ")
                ),
            };
        }
        ends
    }
}

/// How many bytes each member has from `base` on, in whole chunks: as many as the smallest, except
/// in RAID-0, whose members may differ.
pub(super) fn member_bytes(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    base: u64,
) -> Vec<u64> {
    let there = rooms(hypothesis, candidates, base);
    let smallest = there.iter().min().copied().unwrap_or(0);
    match hypothesis.shape {
        // No member of a RAID-0 is missing here: what is missing leaves its place unknown.
        Shape::Raid0(_) => there,
        Shape::Raid5(..) | Shape::Raid6(..) => vec![smallest; hypothesis.roles.len()],
    }
}

/// How many bytes there are of each member that is there from `base` on, in whole chunks.
fn rooms(hypothesis: &Hypothesis, candidates: &[Candidate], base: u64) -> Vec<u64> {
    let room = |device: &usize| {
        let room = candidates.get(*device)?.device.len().saturating_sub(base);
        Some(room - room % hypothesis.chunk)
    };
    hypothesis.roles.iter().flatten().filter_map(room).collect()
}
