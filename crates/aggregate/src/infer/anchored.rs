//! Geometries that anchors allow, each solved and not searched for.
//!
//! For a chunk size and a number of data members, every anchor says where row 0 of its file
//! system would lie; the right pair is the one for which most anchors say the same. The layout
//! then follows from a vote: each anchor names the role of its device.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::anchors::{Anchor, Source};
use super::hypothesis::Hypothesis;
use super::shape::Shape;

/// Fewer anchors than this that agree on a place say nothing.
const LEAST_SUPPORT: usize = 6;

/// Anchors in one piece of a device of so many bytes count as one: inodes and journal copies lie
/// side by side, and many of them in one chunk say no more than one.
const ONE_IN: u64 = 16 << 10;

/// The chunk sizes that are tried: powers of two from 4 KiB to 4 MiB, and three and five times
/// those, as some controllers have them.
pub(super) fn chunks() -> impl Iterator<Item = u64> {
    let sizes: BTreeSet<u64> = (12..=22)
        .map(|bits| 1_u64 << bits)
        .flat_map(|size| [size, 3 * size, 5 * size])
        .collect();
    sizes.into_iter().filter(|size| *size <= 4 << 20)
}

/// A place of row 0 on which anchors agree.
struct Place<'a> {
    chunk: u64,
    data: u64,
    /// How many chunks of that row lie before the file system.
    before: u64,
    start: i64,
    support: Vec<&'a Anchor>,
}

/// The anchors of one file system on some devices, one for each piece of a device.
pub(super) fn distinct<'a>(
    anchors: &'a [Anchor],
    source: Source,
    devices: &[usize],
) -> Vec<&'a Anchor> {
    let mut own: Vec<&Anchor> = anchors
        .iter()
        .filter(|anchor| anchor.source == source && devices.contains(&anchor.device))
        .collect();
    own.sort_unstable_by_key(|anchor| (anchor.device, anchor.at, anchor.address));
    own.dedup_by_key(|anchor| {
        // Journal copies of one place disagree; one file system's blocks do not.
        (anchor.device, anchor.at / ONE_IN, anchor.address / ONE_IN)
    });
    own
}

/// Every geometry that the anchors of one file system on `devices` allow.
pub(super) fn solve(anchors: &[Anchor], source: Source, devices: &[usize]) -> Vec<Hypothesis> {
    let anchors = distinct(anchors, source, devices);
    let present = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let shapes = Shape::all(present);
    let widths: BTreeSet<u64> = shapes.iter().map(|shape| shape.width()).collect();
    let mut places = Vec::new();
    for chunk in chunks() {
        for data in &widths {
            for before in 0..*data {
                places.extend(place(&anchors, chunk, *data, before));
            }
        }
    }
    let best = places.iter().map(|place| place.support.len()).max();
    let least = (best.unwrap_or(0) / 2).max(LEAST_SUPPORT);
    places.retain(|place| place.support.len() >= least);
    let mut found: Vec<(u32, Hypothesis)> = Vec::new();
    for place in &places {
        for shape in shapes.iter().filter(|shape| shape.width() == place.data) {
            found.extend((0..shape.period()).filter_map(|turn| vote(place, *shape, turn, devices)));
        }
    }
    let best = found.iter().map(|(hits, _)| *hits).max().unwrap_or(0);
    found.retain(|(hits, _)| hits.saturating_mul(2) >= best);
    found.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    found
        .into_iter()
        .map(|(_, hypothesis)| hypothesis)
        .collect()
}

/// Where the row lies in which the file system begins, by most anchors.
fn place<'a>(anchors: &[&'a Anchor], chunk: u64, data: u64, before: u64) -> Option<Place<'a>> {
    let start_by = |anchor: &Anchor| {
        let row = (anchor.address / chunk + before) / data;
        let into = i64::try_from(row * chunk + anchor.address % chunk).ok()?;
        i64::try_from(anchor.at).ok()?.checked_sub(into)
    };
    let mut counts: HashMap<i64, u32> = HashMap::new();
    for start in anchors.iter().filter_map(|anchor| start_by(anchor)) {
        *counts.entry(start).or_default() += 1;
    }
    let (start, _) = counts
        .into_iter()
        .max_by_key(|(start, count)| (*count, std::cmp::Reverse(*start)))?;
    let edge = u64::try_from(start.rem_euclid(i64::try_from(chunk).ok()?)).ok()?;
    let agrees = |anchor: &&&Anchor| start_by(anchor) == Some(start) && anchor.fits(chunk, edge);
    let support: Vec<&Anchor> = anchors.iter().filter(agrees).copied().collect();
    (support.len() >= LEAST_SUPPORT).then_some(Place {
        chunk,
        data,
        before,
        start,
        support,
    })
}

/// Lets the anchors vote for the role of each device; with how many agree.
fn vote(
    place: &Place<'_>,
    shape: Shape,
    turn: u64,
    devices: &[usize],
) -> Option<(u32, Hypothesis)> {
    let members = usize::try_from(shape.members()).ok()?;
    let period: Vec<Vec<usize>> = (0..shape.period()).map(|row| shape.row(row).data).collect();
    let mut votes: BTreeMap<usize, Vec<u32>> = devices
        .iter()
        .map(|device| (*device, vec![0; members]))
        .collect();
    for anchor in &place.support {
        let chunk = anchor.address / place.chunk + place.before;
        let row = usize::try_from((chunk / place.data + turn) % shape.period()).ok()?;
        let role = *period
            .get(row)?
            .get(usize::try_from(chunk % place.data).ok()?)?;
        if let Some(count) = votes.get_mut(&anchor.device)?.get_mut(role) {
            *count += 1;
        }
    }
    let mut ballots: Vec<(u32, usize, usize)> = votes
        .iter()
        .flat_map(|(device, counts)| {
            let counts = counts.iter().enumerate();
            counts.map(|(role, count)| (*count, *device, role))
        })
        .collect();
    ballots.sort_by_key(|(count, device, role)| (std::cmp::Reverse(*count), *device, *role));
    let mut roles: Vec<Option<usize>> = vec![None; members];
    let mut hits = 0;
    for (count, device, role) in &ballots {
        let taken = roles.contains(&Some(*device));
        if let Some(slot @ None) = roles.get_mut(*role)
            && !taken
        {
            *slot = Some(*device);
            hits += count;
        }
    }
    let hypothesis = Hypothesis::new(shape, place.chunk, place.start, turn, roles)?;
    Some((hits, hypothesis))
}
