//! The picture of a disk: what it looks like from its beginning to its end, and who uses what.

use std::collections::BTreeMap;
use std::fmt::Write;

use aggregate::document::Epoch;
use serde::Serialize;

use super::chart::scale;
use crate::facts::{Disk, DiskArea, Looks};
use crate::words::{binary, bytes, counted, number, percent};

/// The width of a picture, in its own units: fine enough for the largest scale.
const WIDTH: u64 = 1_000_000;
/// The scales that a person can choose: how many times the width of the page.
const SCALES: [u64; 4] = [1, 4, 16, 64];
/// Marks of the ruler on the width of a page.
const MARKS: u64 = 8;
/// Areas drawn below one another at most.
const MOST_LANES: usize = 3;
/// How many colours there are for users of areas.
const COLOURS: usize = 6;
/// Finds drawn at most, over all kinds.
const MOST_MARKS: usize = 400;

/// The picture of one disk.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    name: String,
    size: String,
    /// Its width on the page, in percent of the largest disk's.
    part: String,
    width: u64,
    looks: Vec<Layer>,
    areas: Vec<AreaView>,
    /// Regions of each epoch but the group's own, which is the rest.
    epochs: Vec<Layer>,
    /// How many lanes the areas take.
    lanes: usize,
    marks: String,
    finds: Vec<String>,
    caption: String,
}

/// Everything that looks alike, as one path.
#[derive(Debug, Serialize)]
struct Layer {
    class: &'static str,
    label: &'static str,
    path: String,
    bytes: String,
    part: String,
}

#[derive(Debug, Serialize)]
struct AreaView {
    /// In percent of the disk.
    left: String,
    width: String,
    lane: usize,
    colour: usize,
    left_out: Option<String>,
    user: String,
    part: String,
    place: String,
}

/// A scale that the pictures can be shown on.
#[derive(Debug, Serialize)]
pub(super) struct Scale {
    times: u64,
    label: String,
}

/// The scales to choose from.
pub(super) fn scales() -> Vec<Scale> {
    let scale = |times| Scale {
        times,
        label: match times {
            1 => "whole disks".to_owned(),
            times => format!("{times} ×"),
        },
    };
    SCALES.map(scale).into()
}

/// A mark of the ruler above the pictures.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    /// Where it is, in percent of the width.
    left: String,
    /// Whether it is the one to leave out where there is room for half of them.
    is_odd: bool,
    /// The least scale at which it is shown.
    from: u64,
    label: String,
}

/// The ruler, where the largest disk has `largest` bytes.
pub(super) fn ruler(largest: u64) -> Vec<Mark> {
    let finest = SCALES.iter().copied().max().unwrap_or(1);
    let count = MARKS.saturating_mul(finest);
    let mark = |number: u64| {
        let from = SCALES.iter().copied();
        let mut from = from.filter(|times| {
            let step = finest.checked_div(*times);
            step.is_some_and(|step| number.is_multiple_of(step))
        });
        let from = from.next().unwrap_or(finest);
        let step = finest.checked_div(from).unwrap_or(1);
        Mark {
            left: share(scale(number, count, WIDTH)),
            is_odd: number.checked_div(step).is_some_and(|turn| turn % 2 == 1),
            from,
            label: bytes(scale(number, count, largest)),
        }
    };
    (0..count).map(mark).collect()
}

/// The colours of users, the same on all disks.
pub(super) struct Colours(BTreeMap<String, usize>);

impl Colours {
    pub(super) fn new(disks: &[Disk]) -> Self {
        let mut colours = BTreeMap::new();
        for area in disks.iter().flat_map(|disk| &disk.areas) {
            let next = colours.len() % COLOURS;
            colours.entry(area.user.clone()).or_insert(next);
        }
        Self(colours)
    }

    fn of(&self, user: &str) -> usize {
        self.0.get(user).copied().unwrap_or(0)
    }
}

impl Picture {
    /// The picture of `disk`, where the largest disk has `largest` bytes.
    pub(super) fn new(disk: &Disk, largest: u64, colours: &Colours) -> Self {
        let part = scale(disk.bytes, largest, 10_000).clamp(400, 10_000);
        let areas = areas(disk, colours);
        Self {
            name: disk.name.clone(),
            size: bytes(disk.bytes),
            part: format!("{}.{:02}", part / 100, part % 100),
            width: WIDTH,
            looks: layers(disk),
            epochs: epochs(disk),
            lanes: areas
                .iter()
                .map(|area| area.lane)
                .max()
                .map_or(0, |lane| lane.saturating_add(1)),
            areas,
            marks: marks(disk),
            finds: disk
                .finds
                .iter()
                .map(|kind| format!("{} × {}", number(kind.count), kind.what))
                .collect(),
            caption: format!(
                "{}, {}; stretches shorter than {} are shown as what most of them is",
                disk.name,
                counted(disk.bytes, "byte", "bytes"),
                binary(disk.resolution)
            ),
        }
    }
}

fn layers(disk: &Disk) -> Vec<Layer> {
    const KINDS: [(Looks, &str, &str); 5] = [
        (Looks::Text, "text", "text"),
        (Looks::Data, "data", "other data"),
        (Looks::Zero, "zero", "zeros"),
        (Looks::NotScanned, "unknown", "not scanned"),
        (Looks::Unread, "unread", "could not be read"),
    ];
    let mut layers = Vec::new();
    for (looks, class, label) in KINDS {
        let mut path = String::new();
        let mut sum = 0_u64;
        for run in disk.runs.iter().filter(|run| run.looks == looks) {
            sum = sum.saturating_add(run.bytes);
            let (x, width) = span(run.start, run.bytes, disk.bytes);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} 0h{width}v1h-{width}z");
        }
        if sum > 0 {
            layers.push(Layer {
                class,
                label,
                path,
                bytes: bytes(sum),
                part: percent(sum, disk.bytes),
            });
        }
    }
    layers
}

/// Where something else than the group wrote, by epoch.
fn epochs(disk: &Disk) -> Vec<Layer> {
    const KINDS: [(Epoch, &str, &str); 3] = [
        (Epoch::Zeroed, "wiped", "zeros written over it"),
        (Epoch::New, "newer", "something newer written over it"),
        (
            Epoch::Unknown,
            "suspect",
            "the members contradict each other",
        ),
    ];
    let mut layers = Vec::new();
    for (epoch, class, label) in KINDS {
        let mut path = String::new();
        let mut sum = 0_u64;
        for area in disk.epochs.iter().filter(|area| area.epoch == epoch) {
            sum = sum.saturating_add(area.bytes);
            let (x, width) = span(area.start, area.bytes, disk.bytes);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} 0h{width}v1h-{width}z");
        }
        if sum > 0 {
            layers.push(Layer {
                class,
                label,
                path,
                bytes: bytes(sum),
                part: percent(sum, disk.bytes),
            });
        }
    }
    layers
}

/// A width of a picture in percent.
fn share(width: u64) -> String {
    const PERCENT: u64 = WIDTH / 100;
    format!("{}.{:04}", width / PERCENT, width % PERCENT)
}

/// A range of a disk on the scale of its picture; never so narrow that it is not seen.
fn span(start: u64, length: u64, disk: u64) -> (u64, u64) {
    const LEAST: u64 = WIDTH / 4000;
    let x = scale(start, disk, WIDTH).min(WIDTH.saturating_sub(LEAST));
    let end = scale(start.saturating_add(length), disk, WIDTH).min(WIDTH);
    (x, end.saturating_sub(x).max(LEAST))
}

/// The areas, each in the first lane where it overlaps no other.
fn areas(disk: &Disk, colours: &Colours) -> Vec<AreaView> {
    let mut ends: Vec<u64> = Vec::new();
    let mut views = Vec::new();
    for area in &disk.areas {
        let free = ends.iter().position(|end| *end <= area.start);
        let lane = free.unwrap_or(ends.len());
        if lane >= MOST_LANES {
            continue;
        }
        let end = area.start.saturating_add(area.bytes);
        match ends.get_mut(lane) {
            Some(known) => *known = end,
            None => ends.push(end),
        }
        views.push(AreaView::new(area, disk.bytes, lane, colours));
    }
    views
}

impl AreaView {
    fn new(area: &DiskArea, disk: u64, lane: usize, colours: &Colours) -> Self {
        let (x, width) = span(area.start, area.bytes, disk);
        Self {
            left: share(x),
            width: share(width),
            lane,
            colour: colours.of(&area.user),
            left_out: area.left_out.clone(),
            user: area.user.clone(),
            part: area.part.clone(),
            place: format!(
                "from byte {}, {}",
                number(area.start),
                counted(area.bytes, "byte", "bytes")
            ),
        }
    }
}

/// Where labels and superblocks were found. Messages, directories and the like are too many to be
/// marks.
fn marks(disk: &Disk) -> String {
    const ENDINGS: [&str; 3] = ["superblock", "label", "header"];
    let mut path = String::new();
    let offsets = disk
        .finds
        .iter()
        .filter(|kind| ENDINGS.iter().any(|ending| kind.what.ends_with(ending)))
        .flat_map(|kind| &kind.offsets);
    for offset in offsets.take(MOST_MARKS) {
        let x = scale(*offset, disk.bytes, WIDTH).min(WIDTH);
        let _ = write!(path, "M{x} 0v1");
    }
    path
}
