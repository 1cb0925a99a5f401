//! Geometries that anchors allow, each solved and not searched for.
//!
//! For a chunk size and a number of data members, every anchor says where row 0 of its file
//! system would lie; the right pair is the one for which most anchors say the same. The layout
//! then follows from a vote: each anchor names the role of its device.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::anchors::{Anchor, Source};
use super::hypothesis::Hypothesis;
use super::shape::Shape;

/// Fewer anchors than this that agree on a place say nothing.
const LEAST_SUPPORT: usize = 6;

/// Most devices that may have few votes: those of parity.
const MOST_WEAK: usize = 2;

/// Most anchors that are solved for, evenly taken: all of them judge what comes out.
const MOST_SOLVED: usize = 4096;

/// The place on which most anchors of a device agree must have so many times those of the next.
const CLEAR: usize = 3;

/// Ways that have so many percent of the anchors of the best are as good.
const NEARLY_PERCENT: usize = 90;

/// Anchors in one piece of a device of so many bytes count as one: inodes and journal copies lie
/// side by side, and many of them in one chunk say no more than one.
pub(super) const ONE_IN: u64 = 16 << 10;

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
    own.sort_unstable_by_key(|anchor| (anchor.device, anchor.at, anchor.address, **anchor));
    own.dedup_by_key(|anchor| {
        // Journal copies of one place disagree; one file system's blocks do not.
        (anchor.device, anchor.at / ONE_IN, anchor.address / ONE_IN)
    });
    own
}

/// At most [`MOST_SOLVED`] of them.
pub(super) fn thinned(anchors: Vec<&Anchor>) -> Vec<&Anchor> {
    let step = anchors.len().div_ceil(MOST_SOLVED).max(1);
    anchors.into_iter().step_by(step).collect()
}

/// Every geometry that the anchors of one file system on `devices` allow.
pub(super) fn solve(anchors: &[Anchor], source: Source, devices: &[usize]) -> Vec<Hypothesis> {
    let anchors = thinned(distinct(anchors, source, devices));
    let present = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let shapes = Shape::all(present);
    let widths: BTreeSet<u64> = shapes.iter().map(|shape| shape.width()).collect();
    let mut places = Vec::new();
    for chunk in chunks() {
        for data in &widths {
            for before in 0..*data {
                let data = *data;
                places.extend(place(
                    &anchors,
                    Row0 {
                        chunk,
                        data,
                        before,
                    },
                ));
            }
        }
    }
    let best = places.iter().map(|place| place.support.len()).max();
    let least = (best.unwrap_or(0) / 2).max(LEAST_SUPPORT);
    places.retain(|place| place.support.len() >= least);
    let mut found: Vec<(u32, Hypothesis)> = Vec::new();
    for shape in &shapes {
        let rows: Vec<Vec<usize>> = (0..shape.period()).map(|row| shape.row(row).data).collect();
        for place in places.iter().filter(|place| place.data == shape.width()) {
            let turns = 0..shape.period();
            found.extend(turns.flat_map(|turn| vote(place, (*shape, &rows), turn, devices)));
        }
    }
    let best = found.iter().map(|(hits, _)| *hits).max().unwrap_or(0);
    found.retain(|(hits, _)| hits.saturating_mul(2) >= best);
    found.sort_by_key(|(hits, _)| Reverse(*hits));
    found
        .into_iter()
        .map(|(_, hypothesis)| hypothesis)
        .collect()
}

/// A way to count the rows from the one in which a file system begins.
struct Row0 {
    chunk: u64,
    data: u64,
    /// How many chunks of that row lie before the file system.
    before: u64,
}

impl Row0 {
    /// Where that row lies by one anchor.
    fn start(&self, anchor: &Anchor) -> Option<i64> {
        let row = (anchor.address / self.chunk + self.before) / self.data;
        let into = i64::try_from(row * self.chunk + anchor.address % self.chunk).ok()?;
        i64::try_from(anchor.at).ok()?.checked_sub(into)
    }

    /// Where it lies by most anchors, by how many, and by how many elsewhere.
    fn most(&self, anchors: &[&Anchor]) -> Option<(i64, usize, usize)> {
        let mut starts: Vec<i64> = anchors.iter().filter_map(|a| self.start(a)).collect();
        starts.sort_unstable();
        let mut counts: Vec<(usize, i64)> = starts
            .chunk_by(|a, b| a == b)
            .filter_map(|same| Some((same.len(), *same.first()?)))
            .collect();
        counts.sort_unstable_by_key(|(count, start)| (Reverse(*count), *start));
        let next = counts.get(1).map_or(0, |(count, _)| *count);
        counts.first().map(|(count, start)| (*start, *count, next))
    }

    /// The same where one place stands out.
    fn clear(&self, anchors: &[&Anchor]) -> Option<(i64, usize)> {
        let (start, count, next) = self.most(anchors)?;
        (count >= LEAST_SUPPORT && count >= next.saturating_mul(CLEAR)).then_some((start, count))
    }
}

/// Where the row lies in which the file system begins, by most anchors.
fn place<'a>(anchors: &[&'a Anchor], row_0: Row0) -> Option<Place<'a>> {
    let Row0 {
        chunk,
        data,
        before,
    } = row_0;
    let (start, ..) = row_0.most(anchors)?;
    let edge = u64::try_from(start.rem_euclid(i64::try_from(chunk).ok()?)).ok()?;
    let agrees = |anchor: &&&Anchor| row_0.start(anchor) == Some(start) && anchor.fits(chunk, edge);
    let support: Vec<&Anchor> = anchors.iter().filter(agrees).copied().collect();
    (support.len() >= LEAST_SUPPORT).then_some(Place {
        chunk,
        data,
        before,
        start,
        support,
    })
}

/// Where on each device the row lies in which a file system begins, where that differs: the same
/// for all devices but for the offsets at which their data begins.
///
/// Whoever holds a chunk, its row follows from its address. So each device is asked alone, and
/// the chunk and the number of data members are those for which most anchors agree. Where parity
/// does not go around, each device always holds the same column of the rows: then it is open in
/// which column the file system begins, and all ways are given, that of most anchors first.
pub(super) fn begins(
    anchors: &[Anchor],
    source: Source,
    devices: &[usize],
) -> Vec<Vec<(usize, i64)>> {
    let all = thinned(distinct(anchors, source, devices));
    let own = |device: &usize| -> Vec<&Anchor> {
        let own = all.iter().filter(|anchor| anchor.device == *device);
        own.copied().collect()
    };
    let own: Vec<Vec<&Anchor>> = devices.iter().map(own).collect();
    let present = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    // A width of one is a device whose blocks lie in one piece.
    let mut widths: BTreeSet<u64> = Shape::all(present).iter().map(|s| s.width()).collect();
    widths.insert(1);
    let mut found: Vec<Begins> = Vec::new();
    // By how many anchors all devices agree as they are.
    let mut together = 0;
    for chunk in chunks() {
        for (data, before) in widths
            .iter()
            .flat_map(|data| (0..*data).map(move |b| (*data, b)))
        {
            let row = Row0 {
                chunk,
                data,
                before,
            };
            let places = devices.iter().zip(&own);
            let clear = places.filter_map(|(device, own)| Some((*device, row.clear(own)?)));
            let clear: Vec<(usize, (i64, usize))> = clear.collect();
            let support = clear.iter().map(|(_, (_, support))| support).sum();
            together = together.max(row.most(&all).map_or(0, |(_, count, _)| count));
            let starts = clear.into_iter();
            let starts = starts.map(|(device, (start, _))| (device, start)).collect();
            found.push(Begins {
                data,
                support,
                starts,
            });
        }
    }
    found.sort_by_key(|begins| Reverse(begins.support));
    let Some(best) = found.first() else {
        return Vec::new();
    };
    let most = best.support;
    if best.data == 1 || !best.differ() || most * 2 < together * 3 {
        return Vec::new();
    }
    let mut ways: Vec<Vec<(usize, i64)>> = Vec::new();
    for begins in found {
        let is_near = begins.support * 100 >= most * NEARLY_PERCENT;
        if is_near && begins.data > 1 && begins.differ() && !ways.contains(&begins.starts) {
            ways.push(begins.starts);
        }
    }
    ways
}

/// Where on each device a row lies by a number of data members, and by how many anchors.
struct Begins {
    data: u64,
    support: usize,
    starts: Vec<(usize, i64)>,
}

impl Begins {
    /// Whether it is not the same on all.
    fn differ(&self) -> bool {
        self.starts.windows(2).any(|pair| match pair {
            [(_, one), (_, other)] => one != other,
            _ => false,
        })
    }
}

/// Lets the anchors vote for the role of each device in a shape, whose rows of data are given;
/// with how many agree.
///
/// A device with few votes may hold parity, which shows an address where the rest of its row is
/// zeros: it is given each role that is left over, too.
fn vote(
    place: &Place<'_>,
    (shape, rows): (Shape, &[Vec<usize>]),
    turn: u64,
    devices: &[usize],
) -> Vec<(u32, Hypothesis)> {
    let Some(votes) = votes(place, (shape, rows), turn, devices) else {
        return Vec::new();
    };
    let best = |(_, counts): &(usize, Vec<u32>)| counts.iter().max().copied().unwrap_or(0);
    let mut sure = votes;
    sure.sort_by_key(|own| (Reverse(best(own)), own.0));
    // Not that of one of parity, where few members are left.
    let middle = sure.len().saturating_sub(1) / 2;
    let last_of_data = sure.len().saturating_sub(MOST_WEAK + 1);
    let usual = sure.get(middle.min(last_of_data)).map_or(0, best);
    let mut found = elect(&sure, &[], shape);
    let mut weak = Vec::new();
    while weak.len() < MOST_WEAK
        && let Some(last) = sure.pop_if(|last| best(last) * 2 < usual)
    {
        weak.push(last.0);
        found.extend(elect(&sure, &weak, shape));
    }
    let solved = found.into_iter().filter_map(|(hits, roles)| {
        let hypothesis = Hypothesis::new(shape, place.chunk, place.start, turn, roles)?;
        Some((hits, hypothesis))
    });
    solved.collect()
}

/// How often each device is named for each role.
fn votes(
    place: &Place<'_>,
    (shape, rows): (Shape, &[Vec<usize>]),
    turn: u64,
    devices: &[usize],
) -> Option<Vec<(usize, Vec<u32>)>> {
    let members = usize::try_from(shape.members()).ok()?;
    let none = devices.iter().map(|device| (*device, vec![0; members]));
    let mut votes: BTreeMap<usize, Vec<u32>> = none.collect();
    for anchor in &place.support {
        let chunk = anchor.address / place.chunk + place.before;
        let row = usize::try_from((chunk / place.data + turn) % shape.period()).ok()?;
        let role = *rows
            .get(row)?
            .get(usize::try_from(chunk % place.data).ok()?)?;
        if let Some(count) = votes.get_mut(&anchor.device)?.get_mut(role) {
            *count += 1;
        }
    }
    Some(votes.into_iter().collect())
}

/// The roles by most votes, and by how many, with the `weak` devices in each of the roles that
/// are left.
fn elect(
    votes: &[(usize, Vec<u32>)],
    weak: &[usize],
    shape: Shape,
) -> Vec<(u32, Vec<Option<usize>>)> {
    let members = usize::try_from(shape.members()).unwrap_or(0);
    let mut ballots: Vec<(u32, usize, usize)> = votes
        .iter()
        .flat_map(|(device, counts)| {
            let counts = counts.iter().enumerate();
            counts.map(|(role, count)| (*count, *device, role))
        })
        .collect();
    ballots.sort_by_key(|(count, device, role)| (Reverse(*count), *device, *role));
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
    let mut all = vec![roles];
    for device in weak {
        let placed = all.iter().flat_map(|roles| {
            let free = (0..members).filter(|role| roles.get(*role) == Some(&None));
            free.map(|role| {
                let mut roles = roles.clone();
                if let Some(slot) = roles.get_mut(role) {
                    *slot = Some(*device);
                }
                roles
            })
        });
        all = placed.collect();
    }
    all.into_iter().map(|roles| (hits, roles)).collect()
}
