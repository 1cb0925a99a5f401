//! A group that its own contents do not decide, by what lies in stripes over it and over one that is
//! decided.
//!
//! Where stripes are no longer than a chunk, no text goes on within one of the groups, and so little
//! tells the order of its members. But with each geometry that is left, the ends of its stripes meet
//! those of the other group; with the right one text goes on there.

use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};
use rayon::prelude::*;

use super::anchors::Addresses;
use super::base;
use super::contents::{Contents, Spread};
use super::decide::{LEAD, LEAD_SHARE, LONE_EACH, devices};
use super::pile::{Members, Pile};
use super::score::Answer;
use super::text_stripes::{TextStripes, ranked};
use super::verify;
use crate::devices::Devices;
use crate::document::{DeviceName, Group};
use crate::lvm::first_extent;

/// Most geometries that are tried, and by how many nats each may be less likely than the best.
const MOST_RIVALS: usize = 32;
const WITHIN: f64 = 48.0;

/// Most windows of each group that are read for one of them.
const MOST_WINDOWS: u64 = 256;

/// What must speak for the stripes with the right geometry, in nats, for each device.
const EACH: f64 = 16.0;

/// A group, by its contents and the bytes of data in a row.
struct Beside {
    name: DeviceName,
    device: Arc<dyn ReadAt>,
    row: u64,
}

/// A geometry, and the stripes that it makes with a group that is decided.
struct Meeting<'a> {
    answer: &'a Answer,
    stripes: Option<TextStripes>,
    with: String,
}

impl Meeting<'_> {
    fn nats(&self) -> f64 {
        self.stripes.as_ref().map_or(0.0, |stripes| stripes.nats)
    }

    /// All that speaks for the geometry.
    fn total(&self) -> f64 {
        self.answer.total() + self.nats()
    }
}

impl Pile {
    /// Decides the geometry of one set by the stripes that it makes with one of `groups`.
    pub(super) fn decide_beside(
        &self,
        set: &Members,
        stated: &Addresses,
        groups: &[Group],
    ) -> Option<Group> {
        let others = self.opened(groups);
        if others.is_empty() {
            return None;
        }
        let contents = Contents::learn(&self.rows, &set.devices, Spread::Perhaps);
        let answers = self.answers(set, stated, &contents);
        let least = answers.first()?.total() - WITHIN;
        let rivals = answers.iter().take(MOST_RIVALS);
        let rivals: Vec<&Answer> = rivals
            .take_while(|answer| answer.total() >= least)
            .collect();
        let mut meetings: Vec<Meeting<'_>> = rivals
            .into_par_iter()
            .map(|answer| self.meeting(answer, &others))
            .collect();
        meetings.sort_by(|a, b| b.total().total_cmp(&a.total()));
        let (best, rest) = meetings.split_first()?;
        let lead = (best.nats() * LEAD_SHARE).max(LEAD);
        let stands_out = rest
            .iter()
            .all(|rival| rival.total() <= best.total() - lead);
        let hypothesis = best.answer.hypothesis()?;
        let trials = verify::rebuild(hypothesis, &self.candidates, &self.rows);
        let (certain, each) = match trials {
            Some(trials) => (trials.pass(), EACH),
            None => (true, LONE_EACH),
        };
        let stripes = best.stripes.as_ref()?;
        let is_enough = stripes.nats >= each * devices(set);
        (stands_out && certain && is_enough).then_some(())?;
        let mut group = self.group(
            best.answer,
            trials,
            &self.based(best.answer)?,
            &set.together,
        );
        group.evidence.insert(
            1,
            format!(
                "text goes on between it and {} at the ends of stripes of {} KiB, and does not with any other geometry that is left ({:.0} nats)",
                best.with,
                stripes.stripe >> 10,
                stripes.nats,
            ),
        );
        Some(group)
    }

    fn based<'a>(&self, answer: &'a Answer) -> Option<base::Based<'a>> {
        let contradicted = answer.anchors.contradict();
        base::find(
            &answer.notations,
            &self.candidates,
            &self.rows,
            contradicted,
        )
        .ok()
    }

    /// The groups that have rows of one length.
    fn opened(&self, groups: &[Group]) -> Vec<Beside> {
        let mut all = Devices::default();
        for candidate in &self.candidates {
            all.insert(candidate.name.clone(), Arc::clone(&candidate.device));
        }
        let opened = groups.iter().filter_map(|group| {
            let members = group.members.iter();
            let names = members.filter_map(|member| Some(member.device.as_ref()?.to_string()));
            Some(Beside {
                name: DeviceName(format!(
                    "the group of {}",
                    names.collect::<Vec<_>>().join(", ")
                )),
                device: all.open_group(group, &[]).ok()?,
                row: group.geometry.row_bytes()?,
            })
        });
        opened.collect()
    }

    /// What the geometry of an answer makes with the group with which it makes most.
    fn meeting<'a>(&self, answer: &'a Answer, others: &[Beside]) -> Meeting<'a> {
        let own = self.based(answer).and_then(|based| {
            let hypothesis = based.hypothesis;
            let group = verify::open(hypothesis, &self.candidates, based.offset, &|_| true)?;
            Some(Beside {
                name: DeviceName("this group".to_owned()),
                device: Arc::new(group),
                row: hypothesis.chunk.checked_mul(hypothesis.shape.width())?,
            })
        });
        let pairs = own
            .iter()
            .flat_map(|own| others.iter().map(move |other| (own, other)));
        let all = pairs.flat_map(|(own, other)| {
            // Where the first extents lie equally far behind the starts, these tell as much.
            let extents = [own.row, other.row].map(first_extent);
            let starts = match extents {
                [one, other] if one == other => vec![extents],
                _ => vec![extents, [0, 0]],
            };
            let met = move |starts| (met([own, other], starts), other.name.0.clone());
            starts.into_iter().map(met)
        });
        let all = all.filter_map(|(stripes, with)| Some((stripes?, with)));
        let best = all.max_by(|a, b| a.0.nats.total_cmp(&b.0.nats));
        let (stripes, with) = best.unzip();
        Meeting {
            answer,
            stripes,
            with: with.unwrap_or_default(),
        }
    }
}

/// The stripes over two groups for which most speaks, where extents begin at `starts`.
fn met(groups: [&Beside; 2], starts: [u64; 2]) -> Option<TextStripes> {
    let behind = groups.into_iter().zip(starts).map(|(beside, start)| {
        let room = beside.device.len().checked_sub(start)?;
        let slice = Slice::new(Arc::clone(&beside.device), ByteOffset::new(start), room);
        Some((beside.name.clone(), Arc::new(slice) as Arc<dyn ReadAt>))
    });
    let devices: Vec<_> = behind.collect::<Option<_>>()?;
    let ranked = ranked(&devices, MOST_WINDOWS, &|_, _| false);
    ranked.into_iter().next()
}
