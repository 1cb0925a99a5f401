//! What is stated of a group whose geometry is decided.

use super::base::Based;
use super::hypothesis::Hypothesis;
use super::member_ends::{MemberEnds, member_bytes};
use super::pile::Pile;
use super::sample::Candidate;
use super::score::Answer;
use super::shape::Shape;
use super::verify::Trials;
use crate::document::{Group, Member};
use crate::raid::{Geometry, Level, Raid10Layout};

impl Pile {
    /// The statement of a group.
    pub(super) fn group(
        &self,
        best: &Answer,
        trials: Option<Trials>,
        based: &Based<'_>,
        ends: &MemberEnds,
        together: &str,
    ) -> Group {
        let hypothesis = based.hypothesis;
        let sizes = member_bytes(hypothesis, &self.candidates, based.offset);
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
                member_bytes: ends.bytes,
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
            Geometry::filling(level.clone(), ends.bytes).unwrap_or(Geometry { level, bytes: 0 });
        let members = (0..).zip(roles).map(|(role, device)| {
            let device = device.and_then(|device| self.candidates.get(device));
            Member {
                role,
                device: device.map(|candidate| candidate.name.clone()),
                data_offset: device.map_or(0, |d| based.offset.saturating_add(d.shift)),
                data_size: device.map_or(0, |d| self.data_size(d, based, ends)),
                left_out: None,
                bad_blocks: Vec::new(),
            }
        });
        Group {
            name: String::new(),
            geometry,
            members: members.collect(),
            evidence: reasons(best, trials, based, ends, together),
            confidence: confidence(best, trials),
            over: Vec::new(),
        }
    }

    /// How many bytes of a member are the group's, also if its image was cut short.
    fn data_size(&self, member: &Candidate, based: &Based<'_>, ends: &MemberEnds) -> u64 {
        let hypothesis = based.hypothesis;
        let room = member.device.len().saturating_sub(based.offset);
        let room = room - room % hypothesis.chunk;
        match hypothesis.shape {
            Shape::Raid5(..) | Shape::Raid6(..) => ends.bytes,
            Shape::Raid0(_) if self.is_in_role(member, hypothesis) => room,
            // A device beside another one of the same contents is in no role.
            Shape::Raid0(_) => room.min(ends.bytes),
        }
    }

    fn is_in_role(&self, member: &Candidate, hypothesis: &Hypothesis) -> bool {
        let mut devices = hypothesis
            .devices()
            .filter_map(|at| self.candidates.get(at));
        devices.any(|candidate| candidate.name == member.name)
    }
}

/// What says that an answer is right.
fn reasons(
    best: &Answer,
    trials: Option<Trials>,
    based: &Based<'_>,
    ends: &MemberEnds,
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
    if best.rebuilt_worth() != 0.0 {
        evidence.push(format!(
            "what is rebuilt of the missing members goes on with the text beside it, files end in it where their inodes say, and blocks of file systems lie in it where they state ({:+.0} nats)",
            best.rebuilt_worth()
        ));
    }
    evidence.push(based.evidence.clone());
    if trials.is_none() {
        evidence.push("no redundancy is left to check it with".to_owned());
    }
    evidence.push(ends.evidence.clone());
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
