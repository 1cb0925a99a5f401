//! A group that its own contents do not decide, by what lies in stripes over it and over one that is
//! decided.
//!
//! Where stripes are no longer than a chunk, no text goes on within one of the groups, and so little
//! tells the order of its members. But with each geometry that is left, the ends of its stripes meet
//! those of the other group; with the right one text goes on there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};
use rayon::prelude::*;

use super::anchored::distinct;
use super::anchors::{Addresses, Source};
use super::base;
use super::contents::{Contents, Spread};
use super::decide::{LEAD, LEAD_SHARE, LONE_EACH, devices};
use super::hypothesis::Hypothesis;
use super::pile::{Members, Pile};
use super::score::Answer;
use super::shape::Shape;
use super::stripes::{Column, Stripes};
use super::survey::survey;
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

/// So many addresses of another column than the right one are strays, and so many of that one say that a
/// group has it.
const MOST_STRAYS: usize = 3;
const LEAST_ADDRESSES: usize = 6;

/// How often what differs by little from the best is asked, as long as it is better.
const MOST_STEPS: usize = 4;

/// A group, by its contents and the bytes of data in a row.
struct Beside {
    device: Arc<dyn ReadAt>,
    row: u64,
    /// What a person may call it.
    called: String,
    /// Where in it the stripes of which file system begin, if that is known.
    start: Option<(u64, Source)>,
}

impl Beside {
    /// The same, if it is known where in it the stripes of a file system begin.
    fn from(&self, start: u64, source: Source) -> Self {
        Self {
            device: Arc::clone(&self.device),
            called: self.called.clone(),
            start: Some((start, source)),
            ..*self
        }
    }
}

/// The columns of stripes that are on groups, by what these are called: they are looked for once.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(BTreeMap<String, Vec<Column>>);

impl Known {
    /// Those on one group.
    fn columns_on(&mut self, group: &Beside) -> Vec<Column> {
        let find = || {
            let device = (DeviceName(group.called.clone()), Arc::clone(&group.device));
            let anchors = survey(&[device], &mut |_, _, _| {});
            let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
            let direct = sources.into_iter().filter(|source| source.is_direct());
            let columns = direct
                .flat_map(|source| Stripes::of_column(&distinct(&anchors, source, &[0]), source));
            columns.collect()
        };
        let known = self.0.entry(group.called.clone());
        known.or_insert_with(find).clone()
    }
}

/// A geometry, and the stripes that it makes with a group that is decided.
struct Meeting {
    answer: Answer,
    stripes: Option<TextStripes>,
    with: String,
}

impl Meeting {
    fn nats(&self) -> f64 {
        self.stripes.as_ref().map_or(0.0, |stripes| stripes.nats)
    }

    /// All that speaks for the geometry.
    fn total(&self) -> f64 {
        self.answer.total() + self.nats()
    }
}

impl Pile {
    /// Decides the geometry of one set by a file system that lies in stripes over it and over one of
    /// `groups`, whose blocks say how long these are: blocks of its column must lie on it, or text go on at
    /// the ends.
    pub(super) fn decide_in_stripes(
        &self,
        set: &Members,
        stated: &Addresses,
        groups: &[Group],
        known: &mut Known,
    ) -> Option<Group> {
        let others = self.opened(groups);
        let mut found: Vec<Group> = Vec::new();
        for other in &others {
            for column in known.columns_on(other) {
                let stripes = &column.stripes;
                let columns = (0..stripes.count()).filter(|own| *own != column.column);
                for own in columns {
                    let (inside, elsewhere) =
                        stripes.addresses_in(own, &set.devices, &stated.anchors);
                    if elsewhere > inside.max(MOST_STRAYS) {
                        continue;
                    }
                    let stated = stated.in_stripes(stripes.with_column(&set.devices, own));
                    let by_addresses = if inside >= LEAST_ADDRESSES {
                        self.decided_in_stripes(set, &stated)
                    } else {
                        None
                    };
                    let beside = other.from(column.start, stripes.source());
                    let by_text = || self.beside_one(set, &stated, &beside);
                    let Some(mut group) = by_addresses.or_else(by_text) else {
                        continue;
                    };
                    group.evidence.insert(
                        1,
                        format!(
                            "a file system lies in stripes of {} KiB over it and {}, whose blocks say how long these are",
                            stripes.length() >> 10,
                            other.called,
                        ),
                    );
                    found.push(group);
                }
            }
        }
        let group = found.pop()?;
        let same =
            |other: &Group| other.geometry == group.geometry && other.members == group.members;
        found.iter().all(same).then_some(group)
    }

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
        let meetings = self.all_meetings(set, stated, &others)?;
        self.decided_by(set, stated, &meetings)
    }

    /// The geometry of one set by what is `stated` of it and `other`, over which stripes lie.
    fn beside_one(&self, set: &Members, stated: &Addresses, other: &Beside) -> Option<Group> {
        let stated = stated.of_group(&set.devices)?;
        let meetings = self.all_meetings(set, &stated, std::slice::from_ref(other))?;
        self.decided_by(set, &stated, &meetings)
    }

    /// The geometry that stands out among `meetings`.
    fn decided_by(&self, set: &Members, stated: &Addresses, meetings: &[Meeting]) -> Option<Group> {
        let best = stands_out(meetings)?;
        let trials = verify::rebuild(
            best.answer.hypothesis()?,
            &self.candidates,
            &self.rows,
            false,
        );
        let (certain, each) = match trials {
            Some(trials) => (trials.pass(), EACH),
            None => (true, LONE_EACH),
        };
        let stripes = best.stripes.as_ref()?;
        let is_enough = stripes.nats >= each * devices(set);
        (certain && is_enough).then_some(())?;
        let based = self.based(&best.answer)?;
        let contents = Contents::learn(&self.rows, &set.devices, Spread::Perhaps);
        let ends = self.member_ends(set, &best.answer, &based, stated, &contents);
        let mut group = self.group(&best.answer, trials, &based, &ends, &set.together);
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

    /// What the likeliest geometries of a set make with one of `others`, the best first, with all that
    /// differ from the best by little: one that is right in part reads much text, and must do worse.
    fn all_meetings(
        &self,
        set: &Members,
        stated: &Addresses,
        others: &[Beside],
    ) -> Option<Vec<Meeting>> {
        let contents = Contents::learn(&self.rows, &set.devices, Spread::Perhaps);
        let mut meetings = self.meetings(self.answers(set, stated, &contents), others);
        if meetings.first()?.nats() < EACH * devices(set) {
            return None;
        }
        for _ in 0..MOST_STEPS {
            let best = meetings.first()?.answer.hypothesis()?;
            let claims = best.claims();
            let near = self.judged(siblings(best, set), set, stated, &contents);
            meetings.extend(self.meetings(near, others));
            meetings.sort_by(|a, b| b.total().total_cmp(&a.total()));
            if meetings.first()?.answer.hypothesis()?.claims() == claims {
                return Some(meetings);
            }
        }
        None
    }

    /// What the likeliest of `answers` make with one of `others`, the best first.
    fn meetings(&self, mut answers: Vec<Answer>, others: &[Beside]) -> Vec<Meeting> {
        let least = answers.first().map_or(0.0, Answer::total) - WITHIN;
        answers.truncate(MOST_RIVALS);
        answers.retain(|answer| answer.total() >= least);
        let meetings = answers.into_par_iter();
        let mut meetings: Vec<Meeting> = meetings
            .map(|answer| self.meeting(answer, others))
            .collect();
        meetings.sort_by(|a, b| b.total().total_cmp(&a.total()));
        meetings
    }

    fn based<'a>(&self, answer: &'a Answer) -> Option<base::Based<'a>> {
        let contradicted = answer.anchors.contradict();
        base::find(answer, &self.candidates, &self.rows, contradicted).ok()
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
                device: all.open_group(group, &[]).ok()?,
                row: group.geometry.row_bytes()?,
                called: format!("the group of {}", names.collect::<Vec<_>>().join(", ")),
                start: None,
            })
        });
        opened.collect()
    }

    /// What the geometry of an answer makes with the group with which it makes most.
    fn meeting(&self, answer: Answer, others: &[Beside]) -> Meeting {
        let own = self.based(&answer).and_then(|based| {
            let hypothesis = based.hypothesis;
            let group = verify::open(hypothesis, &self.candidates, based.offset, &|_| true)?;
            let own = Beside {
                device: Arc::new(group),
                row: hypothesis.chunk.checked_mul(hypothesis.shape.width())?,
                called: String::new(),
                start: None,
            };
            Some((own, based.offset))
        });
        let pairs = own
            .iter()
            .flat_map(|own| others.iter().map(move |other| (own, other)));
        let all = pairs.flat_map(|((own, offset), other)| {
            // Where the first extents lie equally far behind the starts, these tell as much.
            let extents = [own.row, other.row].map(first_extent);
            let starts = match (extents, other.start) {
                (_, Some((start, source))) => {
                    let own = answer.start_behind(*offset, source);
                    vec![[own.unwrap_or(0), start]]
                }
                ([one, other], _) if one == other => vec![extents],
                _ => vec![extents, [0, 0]],
            };
            let met = move |starts| (met([own, other], starts), other.called.clone());
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

/// The first of some meetings, the best first, if it is so much likelier than all that claim something
/// else.
fn stands_out(meetings: &[Meeting]) -> Option<&Meeting> {
    let (best, rest) = meetings.split_first()?;
    let claims = best.answer.hypothesis()?.claims();
    let lead = (best.nats() * LEAD_SHARE).max(LEAD);
    let is_worse = |rival: &Meeting| {
        let own = rival.answer.hypothesis().map(Hypothesis::claims);
        own.as_ref() == Some(&claims) || rival.total() <= best.total() - lead
    };
    rest.iter().all(is_worse).then_some(best)
}

/// Geometries that differ from one by the layout, by two roles that are swapped, or by the role that is
/// counted first.
fn siblings(hypothesis: &Hypothesis, set: &Members) -> Vec<Hypothesis> {
    let count = hypothesis.roles.len();
    let mut orders = vec![hypothesis.roles.clone()];
    for one in 0..count {
        for other in one.saturating_add(1)..count {
            let mut roles = hypothesis.roles.clone();
            roles.swap(one, other);
            orders.push(roles);
        }
        let mut roles = hypothesis.roles.clone();
        roles.rotate_left(one);
        orders.push(roles);
    }
    let present = u32::try_from(set.devices.len()).unwrap_or(u32::MAX);
    let alike = |shape: &Shape| {
        let of = |shape: Shape| (shape.members(), shape.parities());
        of(*shape) == of(hypothesis.shape)
    };
    let shapes = Shape::all(present).into_iter().filter(alike);
    let all = shapes.flat_map(|shape| orders.iter().map(move |roles| (shape, roles.clone())));
    let start = i64::try_from(hypothesis.row_0).unwrap_or(0);
    let made =
        all.filter_map(|(shape, roles)| Hypothesis::new(shape, hypothesis.chunk, start, 0, roles));
    made.collect()
}

/// The stripes over two groups for which most speaks, where extents begin at `starts`.
fn met(groups: [&Beside; 2], starts: [u64; 2]) -> Option<TextStripes> {
    let behind = groups.into_iter().zip(starts).map(|(beside, start)| {
        let room = beside.device.len().checked_sub(start)?;
        let slice = Slice::new(Arc::clone(&beside.device), ByteOffset::new(start), room);
        Some(Arc::new(slice) as Arc<dyn ReadAt>)
    });
    let devices: Vec<_> = behind.collect::<Option<_>>()?;
    let ranked = ranked(&devices, MOST_WINDOWS, &|_, _| false);
    ranked.into_iter().next()
}
