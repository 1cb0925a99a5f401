//! Where the runs of file systems begin and end: between the last anchor of one and the first
//! of the next, as far as the ends of devices, neighbours and whole extents tell.

use std::collections::{BTreeMap, BTreeSet};

use evidence::SECTOR_BYTES;

use super::layout::{Layout, Run, USUAL};
use crate::lvm::{EXTENT, USUAL_STARTS};

/// Labels that md and controllers put at the end of a member begin no further from it.
const LABELS: i64 = 128 << 10;

/// So much of the end of a member may be no part of its array: labels, and the rest of a chunk.
const MOST_UNUSED: i64 = (1 << 20) + LABELS;

/// Steps in which zeros at the end of a device are looked through, and how many of each.
const STEPS: [u64; 2] = [1 << 20, 4 << 10];
const MOST_STEPS: u32 = 256;

/// A device, as far as bounds depend on it.
pub(super) struct Device<'a> {
    pub(super) length: u64,
    /// Bytes of data in a row if it is a group, which LVM aligns extents to; else 1.
    pub(super) row: u64,
    /// Whether a range has nothing but zeros.
    pub(super) is_empty: Box<dyn Fn(u64, u64) -> bool + 'a>,
}

/// A file system whose runs are known.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// By address.
    pub(super) runs: Vec<Run>,
    /// Its length, if any superblock says so.
    pub(super) length: Option<u64>,
}

/// A piece of a volume with what is known of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The run of this number from the first address up to the second.
    Run(usize, u64, u64),
    /// Nothing is known of the addresses, for this reason.
    Unknown(u64, u64, String),
}

impl Piece {
    /// Its first address.
    pub(super) const fn start(&self) -> u64 {
        match self {
            Self::Run(_, start, _) | Self::Unknown(start, ..) => *start,
        }
    }

    /// The first address behind it.
    pub(super) const fn end(&self) -> u64 {
        match self {
            Self::Run(_, _, end) | Self::Unknown(_, end, _) => *end,
        }
    }
}

/// A range of a device that a file system has.
#[derive(Clone, Copy, Debug)]
struct Claim {
    owner: usize,
    start: i64,
    end: i64,
    /// Where the file system begins, if it does in this range.
    begin: Option<i64>,
}

/// What the plans claim of each device.
struct Claims<'a> {
    by_device: BTreeMap<usize, Vec<Claim>>,
    devices: &'a [Device<'a>],
    /// Where extents begin on each device, modulo their size, if all its areas agree on it.
    phases: BTreeMap<usize, i64>,
}

/// The pieces of every plan.
pub(super) fn pieces(plans: &[Plan], devices: &[Device<'_>]) -> Vec<Vec<Piece>> {
    let mut claims = Claims {
        by_device: BTreeMap::new(),
        devices,
        phases: phases(plans, devices),
    };
    // First what has anchors, then from there to the ends of the file systems, as far as the
    // first leaves room; what lies between runs can then only be where there is room as well.
    let mut reach: Vec<Vec<(u64, u64)>> = plans.iter().map(anchored).collect();
    claims.note(plans, &reach);
    for (owner, plan) in plans.iter().enumerate() {
        if let Some(reach) = reach.get_mut(owner) {
            extend(plan, owner, reach, &claims);
        }
    }
    claims.note(plans, &reach);
    let all = plans.iter().zip(&reach).enumerate();
    all.map(|(owner, (plan, reach))| joined(plan, owner, reach, &claims))
        .collect()
}

/// From the first anchor of each run to its last.
fn anchored(plan: &Plan) -> Vec<(u64, u64)> {
    let length = plan.length.unwrap_or(u64::MAX);
    let runs = plan.runs.iter();
    runs.map(|run| {
        let end = (run.last + 1).next_multiple_of(SECTOR_BYTES);
        (run.first, end.min(length.max(run.first + 1)))
    })
    .collect()
}

/// Where extents begin on the devices, modulo their size.
fn phases(plans: &[Plan], devices: &[Device<'_>]) -> BTreeMap<usize, i64> {
    let extent = EXTENT as i64;
    let mut seen: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    for (device, start) in plans
        .iter()
        .flat_map(|p| &p.runs)
        .flat_map(|r| &r.layout.areas)
    {
        seen.entry(*device)
            .or_default()
            .push(start.rem_euclid(extent));
    }
    let mut phases: BTreeMap<usize, i64> = seen
        .into_iter()
        .filter_map(|(device, phases)| {
            let first = *phases.first()?;
            let agreed = phases.len() > 1 || is_usual(first, devices.get(device)?.row);
            (agreed && phases.iter().all(|phase| *phase == first)).then_some((device, first))
        })
        .collect();
    // One device of a volume may fit by chance: that has extents on all of its devices, or on none.
    for plan in plans {
        let devices = || plan.runs.iter().flat_map(|run| &run.layout.areas);
        if devices().any(|(device, _)| !phases.contains_key(device)) {
            for (device, _) in devices() {
                phases.remove(device);
            }
        }
    }
    phases
}

/// Whether LVM may begin an extent at this place of a device of such rows.
pub(super) fn is_usual(start: i64, row: u64) -> bool {
    let place = start.rem_euclid(EXTENT as i64);
    let usual = |start: u64| Some(start.checked_next_multiple_of(row.max(1))? % EXTENT);
    let mut usual = USUAL_STARTS.into_iter().filter_map(usual);
    usual.any(|start| u64::try_from(place) == Ok(start))
}

/// Extends the first run to address 0 and the last one to the length, where there is room.
///
/// Where nothing states the length, the volume may have all that is filled up to the next one:
/// what it does not have lies behind its end, where its file system does not look.
fn extend(plan: &Plan, owner: usize, reach: &mut [(u64, u64)], claims: &Claims<'_>) {
    if let (Some(run), Some(range)) = (plan.runs.first(), reach.first_mut())
        && claims.lowest(&run.layout, owner, range.0) == 0
    {
        range.0 = 0;
    }
    if let (Some(run), Some(range)) = (plan.runs.last(), reach.last_mut()) {
        let length = plan.length.unwrap_or(u64::MAX);
        let up_to =
            |end_of: &dyn Fn(usize) -> i64| claims.highest(&run.layout, owner, range.1, end_of);
        // What the file system says that it has need not end with a whole extent. If it goes on
        // elsewhere, the end of the device need not be its own.
        let whole = up_to(&|device| claims.length(device));
        let highest = if whole < length {
            up_to(&|device| claims.filled(device))
        } else {
            whole
        };
        let end = claims.up_to_extent(&run.layout, length);
        let end = end.min(highest).max(range.1);
        // A run that goes over to another one somewhere does so where the device ends or another volume begins:
        // up to a block of another one much of what lies between may be that one's.
        let is_last = plan.length.is_none_or(|length| length <= end);
        if is_last || claims.ends_something(&run.layout, owner, end) {
            range.1 = end;
        }
    }
}

/// The pieces of one plan, with what lies between its runs.
fn joined(plan: &Plan, owner: usize, reach: &[(u64, u64)], claims: &Claims<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut cursor = 0;
    let borders = claims.borders_of_chain(plan, reach);
    let mut runs = plan.runs.iter().zip(reach).enumerate().peekable();
    let mut before: Option<(&Run, u64)> = None;
    while let Some((number, (run, (first, last)))) = runs.next() {
        // The lowest address that this run can have, and the one that it surely has.
        let low = claims.lowest(&run.layout, owner, *first);
        let sure = claims.down_to_extent(&run.layout, *first);
        let start = match before {
            None if low == 0 && *first == 0 => 0,
            None => sure.max(low),
            Some(_) if let Some(border) = borders.get(number) => {
                cursor = *border;
                if let Some(Piece::Run(_, _, end)) = pieces.last_mut() {
                    *end = cursor;
                }
                cursor
            }
            Some((previous, surely)) => {
                let up_to = |end_of: &dyn Fn(usize) -> i64| {
                    claims.highest(&previous.layout, owner, surely, end_of)
                };
                let mut high = up_to(&|device| claims.end(device));
                if high < low {
                    // Another device is between, that nothing is known of.
                    high = up_to(&|device| claims.filled(device));
                }
                let from = low.max(surely);
                let to = sure.min(high).max(surely);
                let filled = from < to && claims.fills_device(previous, run, from, to);
                let from = if filled { to } else { from };
                cursor = from.min(to);
                if let Some(Piece::Run(_, _, end)) = pieces.last_mut() {
                    *end = cursor;
                }
                // Where the two bounds meet the boundary is known; where they cross, nothing is.
                from.max(to)
            }
        };
        if start > cursor {
            pieces.push(Piece::Unknown(
                cursor,
                start,
                why(before.map(|(run, _)| run), run, cursor, start),
            ));
        }
        let surely = claims.up_to_extent(&run.layout, *last);
        let end = match (runs.peek(), plan.length) {
            (None, Some(length)) => (*last).min(length).max(run.last + 1),
            _ => surely,
        };
        pieces.push(Piece::Run(number, start, end.max(start)));
        cursor = end.max(start);
        before = Some((run, surely.max(start)));
    }
    if let Some(length) = plan.length.filter(|length| *length > cursor) {
        let why = format!(
            "nothing states where the last {} bytes lie: what the device of the run before shows ends there, or another file system begins",
            length - cursor
        );
        pieces.push(Piece::Unknown(cursor, length, why));
    }
    pieces
}

/// Why it is not known where the addresses lie.
fn why(before: Option<&Run>, run: &Run, from: u64, to: u64) -> String {
    match before {
        None => format!(
            "nothing states where the first {to} bytes lie: the first block that states its address is at {}",
            run.first
        ),
        Some(before) => format!(
            "the volume goes over from one run to the next between bytes {from} and {to} (the last block that states its address before is at {}, the first one behind at {}): where is not decided",
            before.last, run.first
        ),
    }
}

impl Claims<'_> {
    fn note(&mut self, plans: &[Plan], reach: &[Vec<(u64, u64)>]) {
        self.by_device.clear();
        for (owner, (plan, reach)) in plans.iter().zip(reach).enumerate() {
            for (run, (from, to)) in plan.runs.iter().zip(reach) {
                for (device, start, end) in places(&run.layout, *from, *to) {
                    let begin = (*from == 0).then_some(start);
                    let (start, end) = match self.phases.get(&device) {
                        Some(phase) => (floor(start, *phase), ceil(end, *phase)),
                        None => (start, end),
                    };
                    let claims = self.by_device.entry(device).or_default();
                    claims.push(Claim {
                        owner,
                        start,
                        end,
                        begin,
                    });
                }
            }
        }
    }

    /// The lowest address that a layout can have, going down from `from`: it stays on its
    /// devices, and above what lies below.
    fn lowest(&self, layout: &Layout, owner: usize, from: u64) -> u64 {
        let here = places(layout, from, from + 1);
        let limits = here.into_iter().map(|(device, start, _)| {
            let claims = self.by_device.get(&device).into_iter().flatten();
            let below = claims.filter(|claim| claim.owner != owner && claim.start < start);
            let end = below.map(|claim| claim.end.min(start)).max();
            let phase = self.phases.get(&device).copied().unwrap_or(0);
            (device, end.unwrap_or(0).max(phase))
        });
        let limits: BTreeMap<usize, i64> = limits.collect();
        let addresses = layout.areas.iter().map(|(device, start)| {
            let limit = limits.get(device).copied().unwrap_or(0);
            let inside = u64::try_from(limit.saturating_sub(*start)).unwrap_or(0);
            whole(layout, inside, u64::div_ceil)
        });
        addresses.max().unwrap_or(0).min(from)
    }

    /// The first address behind those that a layout can have, going up from `to`; `end_of` gives
    /// where devices end.
    fn highest(
        &self,
        layout: &Layout,
        owner: usize,
        to: u64,
        end_of: &dyn Fn(usize) -> i64,
    ) -> u64 {
        let addresses =
            places(layout, to.saturating_sub(1), to)
                .into_iter()
                .map(|(device, _, end)| {
                    let claims = self.by_device.get(&device).into_iter().flatten();
                    let above = claims.filter(|claim| claim.owner != owner && claim.start >= end);
                    let length = end_of(device);
                    let limit = above
                        .map(|claim| claim.start)
                        .min()
                        .unwrap_or(i64::MAX)
                        .min(length);
                    let start = layout.areas.iter().find(|(on, _)| *on == device);
                    let inside =
                        u64::try_from(limit.saturating_sub(start.map_or(0, |(_, start)| *start)))
                            .unwrap_or(0);
                    whole(layout, inside, |inside, stripe| inside / stripe)
                });
        addresses.min().unwrap_or(to).max(to)
    }

    fn length(&self, device: usize) -> i64 {
        let length = self.devices.get(device).map_or(0, |device| device.length);
        i64::try_from(length).unwrap_or(i64::MAX)
    }

    /// Where the last whole extent of a device ends.
    fn end(&self, device: usize) -> i64 {
        let length = self.length(device);
        match self.phases.get(&device) {
            Some(phase) => floor(length, *phase),
            None => length,
        }
    }

    /// Up to where a device is filled that a volume leaves: its last whole extent, or where labels
    /// at its end may begin, and no further than there is anything but zeros. Members have some
    /// room at their ends that is not used, and what is read there is not the volume's.
    fn filled(&self, device: usize) -> i64 {
        let end = match self.phases.get(&device) {
            Some(_) => self.end(device),
            None => self.length(device).saturating_sub(LABELS),
        };
        let mut at = u64::try_from(end).unwrap_or(0);
        let Some(device) = self.devices.get(device) else {
            return end;
        };
        if !(device.is_empty)(at, device.length) {
            return end;
        }
        for step in STEPS {
            for _ in 0..MOST_STEPS {
                let from = at.saturating_sub(step);
                if from == at || !(device.is_empty)(from, at) {
                    break;
                }
                at = from;
            }
        }
        i64::try_from(at).unwrap_or(i64::MAX)
    }

    /// Whether the device of a linear layout ends at an address, or what is filled of it, or another file system is
    /// known to begin there. Of stripes that is not asked.
    fn ends_something(&self, layout: &Layout, owner: usize, address: u64) -> bool {
        let ends = || {
            let (device, place) = layout.place(address)?;
            let ends = [self.length(device), self.end(device), self.filled(device)];
            let claims = self.by_device.get(&device).into_iter().flatten();
            let mut others = claims.filter(|claim| claim.owner != owner);
            Some(ends.contains(&place) || others.any(|claim| claim.begin == Some(place)))
        };
        layout.width() > 1 || ends().unwrap_or(false)
    }

    /// Whether a linear run is to be followed up to address `to`, where its device ends.
    ///
    /// LVM leaves a physical volume only where nothing is free behind the volume. That holds
    /// unless the run has nothing to show there, and the next one has.
    fn fills_device(&self, run: &Run, next: &Run, from: u64, to: u64) -> bool {
        let place = run.layout.place(to);
        let at_end = place.is_some_and(|(device, place)| place == self.end(device));
        let linear = run.layout.width() == 1 && next.layout.width() == 1;
        let is_empty = |layout: &Layout| {
            let (Some((device, start)), Some((_, end))) = (layout.place(from), layout.place(to))
            else {
                return true;
            };
            let device = self.devices.get(device);
            let (Ok(start), Ok(end)) = (u64::try_from(start), u64::try_from(end)) else {
                return true;
            };
            device.is_none_or(|device| (device.is_empty)(start, end))
        };
        let grid = self.has_extents(&run.layout);
        grid && linear && at_end && (!is_empty(&run.layout) || is_empty(&next.layout))
    }

    /// Where each run begins if the volume is a chain of whole devices, as that of a linear array
    /// is: each begins at the same place of its device, or where data usually does, and goes on to the end
    /// of it. Empty if it is none.
    fn borders_of_chain(&self, plan: &Plan, reach: &[(u64, u64)]) -> Vec<u64> {
        let runs = &plan.runs;
        let is_linear = |run: &Run| run.layout.width() == 1 && !self.has_extents(&run.layout);
        let devices: BTreeSet<_> = runs
            .iter()
            .flat_map(|run| &run.layout.areas)
            .map(|a| a.0)
            .collect();
        let begins = reach.first().is_some_and(|(first, _)| *first == 0);
        let Some((_, start)) = runs.first().and_then(|run| run.layout.areas.first()) else {
            return Vec::new();
        };
        if !begins || runs.len() < 2 || devices.len() < runs.len() || !runs.iter().all(is_linear) {
            return Vec::new();
        }
        let border = |pair: &[(&Run, &(u64, u64))]| {
            let [(before, reached), (run, range)] = pair else {
                return None;
            };
            let (_, zero) = run.layout.areas.first()?;
            let begins = |start: &i64| {
                let border = u64::try_from(start.checked_sub(*zero)?).ok()?;
                let (device, end) = before.layout.place(border)?;
                let rest = self.length(device).checked_sub(end)?;
                let fits =
                    (reached.1..=range.0).contains(&border) && (0..=MOST_UNUSED).contains(&rest);
                fits.then_some(border)
            };
            let border = [start, &USUAL].into_iter().find_map(begins)?;
            Some(self.behind_contents(before, run, border).min(range.0))
        };
        let ranges: Vec<_> = runs.iter().zip(reach).collect();
        let borders: Option<Vec<u64>> = ranges.windows(2).map(border).collect();
        borders.map_or_else(Vec::new, |mut borders| {
            borders.insert(0, 0);
            borders
        })
    }

    /// Where two linear runs meet if that is taken to be at `border`, but the device of the first goes on
    /// with contents where the second one has nothing to show: behind these, as members need not begin
    /// at the same place. Contents at the very end of a device go on up to there, or they are a label.
    fn behind_contents(&self, before: &Run, next: &Run, border: u64) -> u64 {
        let end_of_contents = || {
            let (device, at) = before.layout.place(border)?;
            let (next_device, next_at) = next.layout.place(border)?;
            let (device, next_device) = (self.devices.get(device)?, self.devices.get(next_device)?);
            let (at, next_at) = (u64::try_from(at).ok()?, u64::try_from(next_at).ok()?);
            let [_, step] = STEPS;
            let steps = (at..device.length).step_by(usize::try_from(step).ok()?);
            let is_empty = |from: u64| (device.is_empty)(from, (from + step).min(device.length));
            let last = steps.clone().filter(|from| !is_empty(*from)).last()?;
            let end = (last + step).min(device.length);
            let is_label = device.length - end < LABELS as u64
                && steps.take_while(|from| *from < last).any(is_empty);
            let is_over = (next_device.is_empty)(next_at, next_at + (end - at));
            (is_over && !is_label).then(|| border + (end - at))
        };
        end_of_contents().unwrap_or(border)
    }

    /// The end of the extent of the volume that ends at or behind `address`.
    fn up_to_extent(&self, layout: &Layout, address: u64) -> u64 {
        let extent = address.checked_next_multiple_of(EXTENT);
        extent
            .filter(|_| self.has_extents(layout))
            .unwrap_or(address)
    }

    fn down_to_extent(&self, layout: &Layout, address: u64) -> u64 {
        if self.has_extents(layout) {
            address / EXTENT * EXTENT
        } else {
            address
        }
    }

    fn has_extents(&self, layout: &Layout) -> bool {
        layout
            .areas
            .iter()
            .all(|(device, _)| self.phases.contains_key(device))
    }
}

/// The address that `inside` bytes of each area reach to: those of linear runs are counted in
/// bytes, those of stripes in whole rows.
fn whole(layout: &Layout, inside: u64, rows: impl Fn(u64, u64) -> u64) -> u64 {
    if layout.width() == 1 {
        return inside;
    }
    let row = layout.stripe.saturating_mul(layout.width());
    rows(inside, layout.stripe).saturating_mul(row)
}

/// The last extent's start at or before `place`, and the first at or behind it.
fn floor(place: i64, phase: i64) -> i64 {
    let extent = EXTENT as i64;
    (place - phase).div_euclid(extent) * extent + phase
}

fn ceil(place: i64, phase: i64) -> i64 {
    -floor(-place, -phase)
}

/// The ranges of devices that addresses lie in: device, start and end; of stripes whole rows.
fn places(layout: &Layout, from: u64, to: u64) -> Vec<(usize, i64, i64)> {
    let row = layout.stripe.saturating_mul(layout.width());
    let (from, to) = match layout.width() {
        1 => (from, to),
        _ => (
            from / row * layout.stripe,
            to.div_ceil(row).saturating_mul(layout.stripe),
        ),
    };
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX >> 1);
    let areas = layout.areas.iter();
    areas
        .map(|(device, start)| {
            let at = |inside| start.saturating_add(signed(inside));
            (*device, at(from), at(to))
        })
        .collect()
}
