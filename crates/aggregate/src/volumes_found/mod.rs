//! Volumes whose labels and metadata are gone, found from the file systems on them.
//!
//! 1. [`crate::infer::survey`]: blocks on groups that state their own address.
//! 2. [`layout`]: the linear and striped runs that such blocks of one file system allow.
//! 3. [`btrfs`], whose blocks state no places: where a copy of its superblock says that it begins.
//! 4. [`bounds`]: where runs begin and end.
//! 5. [`superblock`]: how long the file system is, by any copy of its superblock.
//! 6. [`stripes`]: where too little states addresses, by the text that goes on from one group to the
//!    next.
//!
//! What is not decided is a missing piece of the volume, or a [`Loss`] with the layouts that
//! are possible.
#![warn(clippy::indexing_slicing)]

mod bounds;
mod btrfs;
mod layout;
mod stripes;
mod superblock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt, ReadAtExt};
use uuid::Uuid;

use self::bounds::{Device, Piece, Plan};
pub(crate) use self::btrfs::{is_one_of_several, own_btrfs};
use self::layout::{Layout, Solved, follow, solve};
use self::superblock::Superblocks;
use crate::document::{Area, DeviceName, Segment, SegmentMap, Volume};
use crate::infer::{Anchor, Source, survey};

/// File systems with fewer anchors are not looked at.
const LEAST_ANCHORS: usize = 4;

/// How much of a device is looked at to see whether it is empty.
const MOST_LOOKED_AT: u64 = 256 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// A volume for each file system.
    pub(crate) volumes: Vec<FoundVolume>,
    /// What could not be decided.
    pub(crate) losses: Vec<Loss>,
}

/// A volume that was found, and what its document does not say.
#[derive(Debug)]
pub(crate) struct FoundVolume {
    pub(crate) volume: Volume,
    /// What to say of it if its file system cannot be opened.
    pub(crate) what: String,
    /// How far the blocks of a linear run that state their address lie apart, in bytes: in the
    /// shortest of them.
    pub(crate) stated: u64,
}

/// What is known of file systems before volumes are looked for.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The devices of a btrfs that lie below those that are looked at.
    pub(crate) below: BTreeSet<btrfs::Part>,
    /// The file systems of which it is known how they lie on these, by their UUIDs.
    pub(crate) explained: BTreeSet<Uuid>,
}

/// Finds the volumes on `devices`; `row` gives how many bytes of data a row of a group has.
pub(crate) fn find(
    mut devices: Vec<(DeviceName, Arc<dyn ReadAt>)>,
    row: &dyn Fn(&DeviceName) -> Option<u64>,
    known: &Known,
) -> Found {
    devices.sort_by(|a, b| a.0.cmp(&b.0));
    let mut superblocks = Superblocks::default();
    let readers = devices.iter().map(|(_, device)| &**device as &dyn ReadAt);
    let mut copies = btrfs::Copies::new(readers, &known.below);
    let anchors = survey(&devices, &mut |device, start, bytes| {
        superblocks.look(start, bytes);
        copies.look(device, start, bytes);
    });
    let mut by_source: BTreeMap<Source, Vec<Anchor>> = BTreeMap::new();
    let is_open = |source: Source| {
        let uuid = Uuid::from_bytes(source.uuid());
        !known.explained.contains(&uuid)
    };
    let is_wanted = |anchor: &Anchor| anchor.source.is_direct() && is_open(anchor.source);
    for anchor in anchors.into_iter().filter(is_wanted) {
        by_source.entry(anchor.source).or_default().push(anchor);
    }
    let mut finder = Finder {
        devices,
        superblocks,
        found: Found::default(),
    };
    let rows: Vec<u64> = finder
        .devices
        .iter()
        .map(|(name, _)| row(name).unwrap_or(1))
        .collect();
    let is_usual = |(device, start): layout::Area| {
        rows.get(device)
            .is_some_and(|row| bounds::is_usual(start, *row))
    };
    let mut plans = Vec::new();
    for (source, anchors) in &by_source {
        let source = *source;
        if anchors.len() >= LEAST_ANCHORS {
            let mut solved = solve(anchors, &is_usual);
            if solved.is_sound() {
                let device = |device: usize| finder.devices.get(device);
                follow(&mut solved, anchors, &|index| {
                    device(index).map_or(0, |(_, device)| device.len())
                });
            }
            finder.report(source, &solved);
            let length = finder.superblocks.length(source).map(|(length, _)| length);
            let runs = solved.runs.clone();
            let plan = Plan { runs, length };
            if !solved.is_sound() || is_device(&plan) {
                continue;
            }
            if copies.contradicts(&plan) {
                let why = "blocks of it lie on a device of which many more are those of a btrfs from its first byte on: it belongs to another aggregate on the same disks";
                finder.lose(source, Cause::Unsupported(why.to_owned()));
                continue;
            }
            plans.push((source, plan));
        }
    }
    let of_btrfs = copies.plans().into_iter();
    plans.extend(of_btrfs.filter(|(source, _)| is_open(*source)));
    finder.state(&plans, &rows);
    finder.add_stripes(&by_source, &rows);
    finder.found
}

/// Whether all that is known of a volume is that its bytes are those of a device: that is looked
/// through as it is, to its end.
fn is_device(plan: &Plan) -> bool {
    let [run] = plan.runs.as_slice() else {
        return false;
    };
    let at_start = run.layout.place(0).is_some_and(|(_, place)| place == 0);
    plan.length.is_none() && run.layout.width() == 1 && at_start
}

struct Finder {
    devices: Vec<(DeviceName, Arc<dyn ReadAt>)>,
    superblocks: Superblocks,
    found: Found,
}

impl Finder {
    fn name(&self, device: usize) -> String {
        let device = self.devices.get(device);
        device.map_or_else(String::new, |(name, _)| name.to_string())
    }

    fn lose(&mut self, source: Source, cause: Cause) {
        self.found.losses.push(Loss {
            what: format!("the volume of {}", called(source)),
            origin: Origin::new(self.name(0), ByteOffset::ZERO),
            cause,
        });
    }

    /// Says what could not be decided about a file system.
    fn report(&mut self, source: Source, solved: &Solved) {
        for layouts in &solved.undecided {
            let all: Vec<String> = layouts
                .iter()
                .map(|layout| layout.describe(&|device| self.name(device)))
                .collect();
            let why = format!(
                "a part of it may lie in several ways, and the blocks that state their address do not decide: {}",
                all.join("; ")
            );
            self.lose(source, Cause::Unsupported(why));
        }
        if !solved.is_sound() && solved.units > 0 {
            let why = format!(
                "blocks of it lie in {} places of these devices, but not in an order that makes a volume: it belongs to another aggregate on the same disks, or too little of it is left",
                solved.units
            );
            self.lose(source, Cause::Unsupported(why));
        }
    }

    /// States the volumes of the file systems.
    fn state(&mut self, plans: &[(Source, Plan)], rows: &[u64]) {
        let devices = self
            .devices
            .iter()
            .zip(rows)
            .map(|((_, device), row)| Device {
                length: device.len(),
                row: *row,
                is_empty: Box::new(|from, to| is_empty(&**device, from, to)),
            });
        let devices: Vec<Device<'_>> = devices.collect();
        let only: Vec<Plan> = plans.iter().map(|(_, plan)| plan.clone()).collect();
        let pieces = bounds::pieces(&only, &devices);
        drop(devices);
        let mut names = BTreeSet::new();
        for ((source, plan), pieces) in plans.iter().zip(&pieces) {
            // A btrfs has a volume for each of its devices.
            let mut name = short(*source);
            for number in 2.. {
                if names.insert(name.clone()) {
                    break;
                }
                name = format!("{}-{number}", short(*source));
            }
            let volume = self.volume(&name, *source, plan, pieces);
            let what = format!(
                "{}: its first superblock is gone; what is left of it is put together from its blocks",
                called(*source)
            );
            let linear = plan.runs.iter();
            let linear = linear.filter(|run| run.layout.width() == 1 && !run.follows);
            let stated = linear.map(|run| run.last.saturating_sub(run.first)).min();
            self.found.volumes.push(FoundVolume {
                volume,
                what,
                stated: stated.unwrap_or(0),
            });
        }
    }

    fn volume(&self, name: &str, source: Source, plan: &Plan, pieces: &[Piece]) -> Volume {
        let end = pieces.last().map_or(0, Piece::end);
        let mut segments: Vec<Segment> = Vec::new();
        for piece in pieces {
            let map = |map| Segment {
                start: piece.start(),
                bytes: piece.end().saturating_sub(piece.start()),
                map,
            };
            let segment = match piece {
                Piece::Unknown(_, _, why) => map(SegmentMap::Missing { why: why.clone() }),
                Piece::Run(number, start, _) => {
                    let layout = plan.runs.get(*number).map(|run| &run.layout);
                    let why = || "its run does not begin with a whole stripe".to_owned();
                    map(layout
                        .and_then(|layout| self.map(layout, *start))
                        .unwrap_or_else(|| SegmentMap::Missing { why: why() }))
                }
            };
            if segment.bytes > 0 {
                segments.push(segment);
            }
        }
        Volume {
            device: found_name(name),
            uuid: None,
            bytes: plan.length.unwrap_or(end),
            hidden: false,
            snapshot_of: None,
            segments,
            evidence: self.evidence(source, plan, pieces),
        }
    }

    /// How a layout maps what lies from `start` on.
    fn map(&self, layout: &Layout, start: u64) -> Option<SegmentMap> {
        let areas = (0..layout.width()).map(|turn| {
            let address = start.checked_add(turn.checked_mul(layout.stripe)?)?;
            let (device, place) = layout.place(address)?;
            Some(Area {
                device: Some(self.devices.get(device)?.0.clone()),
                offset: u64::try_from(place).ok()?,
            })
        });
        let mut areas: Vec<Area> = areas.collect::<Option<_>>()?;
        if layout.width() == 1 {
            return areas.pop().map(SegmentMap::Linear);
        }
        start
            .is_multiple_of(layout.stripe)
            .then_some(SegmentMap::Striped {
                stripe_bytes: layout.stripe,
                areas,
            })
    }

    fn evidence(&self, source: Source, plan: &Plan, pieces: &[Piece]) -> Vec<String> {
        let mut lines = vec![format!(
            "no label and no metadata: found from the blocks of {} that state their own address",
            called(source)
        )];
        for (number, run) in plan.runs.iter().enumerate() {
            let total = run.units.saturating_add(run.against);
            lines.push(format!(
                "{}: {} of {total} places between bytes {} and {} of the volume agree, confidence {:.2}",
                run.layout.describe(&|device| self.name(device)),
                run.units,
                run.first,
                run.last,
                run.units as f64 / total.max(1) as f64 * 0.99,
            ));
            let piece = pieces
                .iter()
                .find(|p| matches!(p, Piece::Run(n, ..) if *n == number));
            if let Some(Piece::Run(_, start, end)) = piece {
                lines.push(format!(
                    "this run is taken to reach from byte {start} to byte {end}"
                ));
            }
        }
        let copies = plan.runs.first().map_or(0, |run| run.units);
        let of_btrfs = plan
            .length
            .map(|length| (length, u32::try_from(copies).unwrap_or(1)));
        lines.push(match self.superblocks.length(source).or(of_btrfs) {
            Some((length, copies)) => {
                format!(
                    "its length, {length} bytes, is what {copies} copies of the superblock state"
                )
            }
            None => {
                "no copy of the superblock is left: its length is not known, and the volume is \
                 taken to reach as far as there is anything up to the next one"
                    .to_owned()
            }
        });
        if let Some(written) = self.superblocks.written(source) {
            lines.push(format!(
                "the superblock was last written {written} seconds after 1970 began"
            ));
        }
        lines
    }
}

/// Whether a device has nothing but zeros and gaps from one place to another, as far as it is
/// looked at.
fn is_empty(device: &dyn ReadAt, from: u64, to: u64) -> bool {
    let mut at = from;
    while at < to.min(from.saturating_add(MOST_LOOKED_AT)) {
        let length = usize::try_from((to - at).min(1 << 20)).unwrap_or(0);
        let read = device.read_vec(ByteOffset::new(at), length);
        if read.is_ok_and(|(bytes, _gaps)| bytes.iter().any(|byte| *byte != 0)) {
            return false;
        }
        at = at.saturating_add(1 << 20);
    }
    true
}

fn called(source: Source) -> String {
    let uuid = source.uuid();
    format!(
        "the {} file system {}",
        source.name(),
        Uuid::from_bytes(uuid)
    )
}

/// The device that a found volume is.
fn found_name(name: &str) -> DeviceName {
    DeviceName::volume(&format!("found/{name}"))
}

/// The first eight letters of the UUID.
fn short(source: Source) -> String {
    let uuid = source.uuid();
    let mut name = Uuid::from_bytes(uuid).simple().to_string();
    name.truncate(8);
    name
}
