//! How runs of a file system lie on devices, solved from its anchors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::infer::Anchor;

/// The stripes that are tried: powers of two from 4 KiB to 4 MiB.
const STRIPES: std::ops::RangeInclusive<u32> = 12..=22;

/// Most devices in a stripe that are tried.
const MOST_AREAS: usize = 16;

/// Anchors in one piece of a device of so many bytes count as one.
const UNIT_BITS: u32 = 14;

/// A run has at least so many units, and in stripes so many in each area.
const LEAST_UNITS: usize = 2;
const LEAST_IN_AREA: usize = 3;

/// The same of an area whose first extent would lie where LVM puts one: of a thousand places that
/// stale copies in journals name, one does.
const LEAST_ON_GRID: usize = 2;

/// The same where only copies in journals say where blocks lie: those may be stale.
const LEAST_UNITS_OF_COPIES: usize = 3;

/// A run reaches at least so far: shorter ones are what chunks of another geometry show.
const LEAST_LENGTH: u64 = 2 << 20;

/// A layout is decided if its units are above every other's by this part of them, and by two.
const RIVAL_LEAD: usize = 10;
const LEAST_LEAD: usize = 2;

/// So much of the end of a device may be no part of what lies on it and the next one.
const MOST_UNUSED: i64 = 1 << 20;

/// Where the data of a device usually begins that lies behind others, in bytes.
pub(super) const USUAL: i64 = 1 << 20;

/// Most runs of one file system.
const MOST_RUNS: usize = 64;

/// Places at which rival layouts are compared.
const MOST_COMPARED: u64 = 4096;

/// An area on a device: its number, and where on it address 0 of the file system would lie,
/// which may be before its start.
pub(super) type Area = (usize, i64);

/// How addresses lie on devices: in turns over areas. One area is linear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout {
    pub(super) areas: Vec<Area>,
    pub(super) stripe: u64,
}

impl Layout {
    /// How many areas there are; never 0.
    pub(super) fn width(&self) -> u64 {
        (self.areas.len() as u64).max(1)
    }

    /// The device and the place on it of an address.
    pub(super) fn place(&self, address: u64) -> Option<Area> {
        let (column, inside) = split(address, self.stripe, self.width());
        let (device, start) = self.areas.get(usize::try_from(column).ok()?)?;
        let place = start.checked_add(i64::try_from(inside).ok()?)?;
        Some((*device, place))
    }

    fn explains(&self, anchor: &Anchor) -> bool {
        let at = i64::try_from(anchor.at).ok();
        at.is_some_and(|at| self.place(anchor.address) == Some((anchor.device, at)))
            && self.keeps_together(anchor)
    }

    /// Whether what a journal names and where it does so lie in one stripe, so that nothing
    /// else can have come between them.
    fn keeps_together(&self, anchor: &Anchor) -> bool {
        let (Some((a, b)), true) = (anchor.together, self.width() > 1) else {
            return true;
        };
        let stripe = i64::try_from(self.stripe).unwrap_or(i64::MAX);
        let area = self
            .areas
            .iter()
            .find(|(device, _)| *device == anchor.stated_on);
        let Some((_, start)) = area else {
            return false;
        };
        let number =
            |at: u64| i64::try_from(at).map(|at| at.saturating_sub(*start).div_euclid(stripe));
        number(a) == number(b)
    }

    /// The layout for a person; `name` gives the names of devices.
    pub(super) fn describe(&self, name: &dyn Fn(usize) -> String) -> String {
        let areas: Vec<String> = self.areas.iter().map(|(device, _)| name(*device)).collect();
        match areas.as_slice() {
            [one] => format!("linear on {one}"),
            all => format!(
                "stripes of {} KiB over {}",
                self.stripe >> 10,
                all.join(", ")
            ),
        }
    }
}

/// The column of an address and how far into the column's area it lies.
const fn split(address: u64, stripe: u64, width: u64) -> (u64, u64) {
    let number = address / stripe;
    (number % width, number / width * stripe + address % stripe)
}

/// A run of a file system on devices, from its first anchor to its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) layout: Layout,
    /// The lowest address of an anchor, and the highest.
    pub(super) first: u64,
    pub(super) last: u64,
    /// How many pieces of devices agree, and how many say otherwise.
    pub(super) units: usize,
    pub(super) against: usize,
    /// Whether it goes on where the device of the run before ends.
    pub(super) follows: bool,
}

impl Run {
    /// Its area, if that is its only one.
    fn linear(&self) -> Option<Area> {
        let [area] = *self.layout.areas else {
            return None;
        };
        Some(area)
    }

    /// Those of the anchors between its ends that it puts elsewhere.
    fn others<'a>(&self, anchors: &'a [Anchor]) -> impl Iterator<Item = &'a Anchor> {
        let own = anchors
            .iter()
            .filter(|a| (self.first..=self.last).contains(&a.address));
        own.filter(|anchor| !self.layout.explains(anchor))
    }
}

/// What the anchors of one file system amount to.
#[derive(Debug, Default)]
pub(super) struct Solved {
    /// The runs by address; they do not overlap.
    pub(super) runs: Vec<Run>,
    /// How many pieces of the file system anchors name, and how many of them are in no run.
    pub(super) units: usize,
    pub(super) stray: usize,
    /// The same by blocks that state their own address: copies in journals are stale as often as not.
    stated: usize,
    stated_stray: usize,
    /// Runs of which several layouts are possible.
    pub(super) undecided: Vec<Vec<Layout>>,
}

impl Solved {
    /// Whether the runs explain most of the file system's blocks. Where they do not, it lies on
    /// these devices in another way, as that of another aggregate on the same disks does.
    pub(super) fn is_sound(&self) -> bool {
        let by_stated = self.stated_stray * 2 <= self.stated
            && self.stated.saturating_sub(self.stated_stray) >= LEAST_UNITS;
        !self.runs.is_empty() && (self.stray * 2 <= self.units || by_stated)
    }
}

/// Solves the layout of one file system.
///
/// The run that explains most comes first, and nothing else is looked for between its ends: one
/// address has one place.
///
/// `is_usual` is whether LVM may begin an extent at this place of a device.
pub(super) fn solve(anchors: &[Anchor], is_usual: &dyn Fn(Area) -> bool) -> Solved {
    let mut left: Vec<&Anchor> = anchors.iter().collect();
    let mut solved = Solved {
        units: pieces(&left).len(),
        stated: pieces(&stated(&left)).len(),
        ..Solved::default()
    };
    for _ in 0..MOST_RUNS {
        let mut runs = candidates(&left, is_usual);
        runs.sort_by_cached_key(|run| {
            let layout = run.layout.clone();
            let order = (std::cmp::Reverse(run.units), layout.areas.len(), layout);
            (std::cmp::Reverse(worth(run)), order)
        });
        let Some(run) = runs.first().cloned() else {
            break;
        };
        let rivals = rivals(&run, &runs, &left);
        left.retain(|anchor| !(run.first..=run.last).contains(&anchor.address));
        if rivals.is_empty() {
            solved.runs.push(run);
        } else {
            let all = std::iter::once(run.layout).chain(rivals);
            solved.undecided.push(all.collect());
        }
    }
    let against: usize = solved.runs.iter().map(|run| run.against).sum();
    solved.stray = pieces(&left).len().saturating_add(against);
    let mut others: Vec<&Anchor> = solved
        .runs
        .iter()
        .flat_map(|run| run.others(anchors))
        .collect();
    others.extend(&left);
    solved.stated_stray = pieces(&stated(&others)).len();
    solved.runs.sort_by_key(|run| run.first);
    solved
}

/// Adds the runs that follow the last one on other devices, or go before the first one, as where devices lie one
/// after another: one block that states its own address is enough if it lies where the device before ends, and
/// data begins on the device behind where it usually does, or as far into it as on the first: the file system may be
/// that of a volume further behind. `length` is that of a device.
pub(super) fn follow(solved: &mut Solved, anchors: &[Anchor], length: &dyn Fn(usize) -> u64) {
    let all: Vec<&Anchor> = anchors.iter().collect();
    let stated = stated(&all);
    while solved.runs.len() < MOST_RUNS {
        let is_taken = |device: usize| {
            let areas = solved.runs.iter().flat_map(|run| &run.layout.areas);
            areas.into_iter().any(|(taken, _)| *taken == device)
        };
        let begins = stated.iter().filter(|anchor| !is_taken(anchor.device));
        let begins = begins.filter_map(|anchor| {
            let at = i64::try_from(anchor.at).ok()?;
            Some((anchor.device, at.checked_sub_unsigned(anchor.address)?))
        });
        let begins: BTreeSet<Area> = begins.collect();
        let next = behind(solved, &begins, length).or_else(|| before(solved, &begins, length));
        let Some(area) = next else {
            return;
        };
        let layout = Layout {
            areas: vec![area],
            stripe: 1 << STRIPES.end(),
        };
        let own: Vec<&Anchor> = stated
            .iter()
            .copied()
            .filter(|anchor| layout.explains(anchor))
            .collect();
        let addresses = own.iter().map(|anchor| anchor.address);
        let (Some(first), Some(last)) = (addresses.clone().min(), addresses.max()) else {
            return;
        };
        solved.runs.push(Run {
            layout,
            first,
            last,
            units: units(&own),
            against: 0,
            follows: true,
        });
        solved.runs.sort_by_key(|run| run.first);
    }
}

/// The one of `begins` that lies behind the last of linear runs.
fn behind(solved: &Solved, begins: &BTreeSet<Area>, length: &dyn Fn(usize) -> u64) -> Option<Area> {
    let (_, offset) = solved.runs.first()?.linear()?;
    let last = solved.runs.last()?.linear()?;
    let end = end_on(last, length)?;
    let follows = |(_, begin): &Area| {
        let data = begin.saturating_add(end);
        [offset, USUAL]
            .iter()
            .any(|offset| *offset >= 0 && is_unused(data.saturating_sub(*offset)))
    };
    only(begins, follows)
}

/// The one of `begins` that lies before the first of linear runs, if address 0 is not on the device of that.
fn before(solved: &Solved, begins: &BTreeSet<Area>, length: &dyn Fn(usize) -> u64) -> Option<Area> {
    let (_, begin) = solved.runs.first()?.linear()?;
    let first = USUAL.saturating_sub(begin);
    let goes_before =
        |area: &Area| end_on(*area, length).is_some_and(|end| is_unused(end.saturating_sub(first)));
    (begin < 0).then(|| only(begins, goes_before))?
}

/// The address that a linear area has where its device ends.
fn end_on((device, begin): Area, length: &dyn Fn(usize) -> u64) -> Option<i64> {
    i64::try_from(length(device)).ok()?.checked_sub(begin)
}

/// Whether so many bytes at the end of a device may be unused: a label, or less than a chunk.
fn is_unused(bytes: i64) -> bool {
    (0..=MOST_UNUSED).contains(&bytes)
}

/// The one of some areas of which something holds.
fn only(areas: &BTreeSet<Area>, holds: impl Fn(&Area) -> bool) -> Option<Area> {
    let mut those = areas.iter().filter(|area| holds(area));
    let one = those.next()?;
    those.next().is_none().then_some(*one)
}

/// Those of the anchors that state their own address. The superblock is none: each transaction of a
/// journal has a copy of it.
fn stated<'a>(anchors: &[&'a Anchor]) -> Vec<&'a Anchor> {
    let is_stated =
        |anchor: &&&Anchor| anchor.together.is_none() && anchor.address >> UNIT_BITS > 0;
    anchors.iter().filter(is_stated).copied().collect()
}

/// What a run explains, less what it contradicts: runs that follow each other look like one
/// in long stripes that explains a part of each.
fn worth(run: &Run) -> i64 {
    let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    signed(run.units).saturating_sub(signed(run.against).saturating_mul(2))
}

/// The piece of a device that a byte lies in, of which several anchors count as one.
pub(super) const fn unit_of(at: u64) -> u64 {
    at >> UNIT_BITS
}

fn unit(anchor: &Anchor) -> (usize, u64) {
    (anchor.device, unit_of(anchor.at))
}

/// The pieces of the file system that anchors name.
fn pieces(anchors: &[&Anchor]) -> BTreeSet<u64> {
    anchors
        .iter()
        .map(|anchor| anchor.address >> UNIT_BITS)
        .collect()
}

/// How many pieces of devices the anchors lie in.
fn units(anchors: &[&Anchor]) -> usize {
    anchors
        .iter()
        .map(|anchor| unit(anchor))
        .collect::<BTreeSet<_>>()
        .len()
}

/// The runs of the best layouts of each kind.
fn candidates(anchors: &[&Anchor], is_usual: &dyn Fn(Area) -> bool) -> Vec<Run> {
    let mut layouts: Vec<Layout> = linear(anchors);
    let devices: BTreeSet<usize> = anchors.iter().map(|anchor| anchor.device).collect();
    for stripe in STRIPES.map(|bits| 1_u64 << bits) {
        for width in 2..=devices.len().min(MOST_AREAS) {
            layouts.extend(striped(anchors, stripe, width as u64, is_usual));
        }
    }
    let runs = layouts
        .iter()
        .filter_map(|layout| run(layout, anchors, is_usual));
    runs.collect()
}

/// The places of address 0 by the anchors of one device and column, with their units.
type Starts = HashMap<(u64, usize), HashMap<i64, BTreeSet<u64>>>;

/// For each column and device, the places where address 0 would lie.
fn starts(anchors: &[&Anchor], stripe: u64, width: u64) -> Starts {
    let mut starts = Starts::new();
    for anchor in anchors {
        let (column, inside) = split(anchor.address, stripe, width);
        let (Ok(at), Ok(inside)) = (i64::try_from(anchor.at), i64::try_from(inside)) else {
            continue;
        };
        let by_start = starts.entry((column, anchor.device)).or_default();
        let units = by_start.entry(at.saturating_sub(inside)).or_default();
        units.insert(unit_of(anchor.at));
    }
    starts
}

/// The linear layouts that explain most.
fn linear(anchors: &[&Anchor]) -> Vec<Layout> {
    let stripe = 1 << STRIPES.end();
    let mut all: Vec<(usize, Area)> = starts(anchors, stripe, 1)
        .into_iter()
        .flat_map(|((_, device), by_start)| {
            by_start
                .into_iter()
                .map(move |(start, units)| (units.len(), (device, start)))
        })
        .filter(|(units, _)| *units >= LEAST_UNITS)
        .collect();
    all.sort_by_key(|(units, area)| (std::cmp::Reverse(*units), *area));
    let layout = |(_, area)| Layout {
        areas: vec![area],
        stripe,
    };
    all.into_iter().take(MOST_RUNS).map(layout).collect()
}

/// How many units an area of stripes must have.
fn least_in(area: Area, is_usual: &dyn Fn(Area) -> bool) -> usize {
    if is_usual(area) {
        LEAST_ON_GRID
    } else {
        LEAST_IN_AREA
    }
}

/// The striped layout that explains most.
fn striped(
    anchors: &[&Anchor],
    stripe: u64,
    width: u64,
    is_usual: &dyn Fn(Area) -> bool,
) -> Option<Layout> {
    let mut ballots: Vec<(usize, u64, Area)> = starts(anchors, stripe, width)
        .into_iter()
        .filter_map(|((column, device), by_start)| {
            let best = by_start
                .into_iter()
                .map(|(start, units)| (units.len(), std::cmp::Reverse(start)))
                .filter(|(units, start)| *units >= least_in((device, start.0), is_usual))
                .max()?;
            Some((best.0, column, (device, best.1.0)))
        })
        .collect();
    ballots.sort_by_key(|(units, column, area)| (std::cmp::Reverse(*units), *column, *area));
    let mut areas: BTreeMap<u64, Area> = BTreeMap::new();
    for (_, column, area) in ballots {
        if !areas.values().any(|(device, _)| *device == area.0) {
            areas.entry(column).or_insert(area);
        }
    }
    (areas.len() as u64 == width).then(|| Layout {
        areas: areas.into_values().collect(),
        stripe,
    })
}

/// The run that a layout makes of the anchors, if it is enough of one.
fn run(layout: &Layout, anchors: &[&Anchor], is_usual: &dyn Fn(Area) -> bool) -> Option<Run> {
    let agree: Vec<&Anchor> = anchors
        .iter()
        .copied()
        .filter(|a| layout.explains(a))
        .collect();
    let first = agree.iter().map(|anchor| anchor.address).min()?;
    let last = agree.iter().map(|anchor| anchor.address).max()?;
    let those = units(&agree);
    let stated = agree.iter().any(|anchor| anchor.together.is_none());
    let least = match (layout.areas.len(), stated) {
        (1, true) => LEAST_UNITS,
        (1, false) => LEAST_UNITS_OF_COPIES,
        _ => {
            let each = layout.areas.iter().map(|area| least_in(*area, is_usual));
            each.sum()
        }
    };
    let others: Vec<&Anchor> = anchors
        .iter()
        .copied()
        .filter(|anchor| (first..=last).contains(&anchor.address))
        .filter(|anchor| !layout.explains(anchor) && layout.keeps_together(anchor))
        .collect();
    let against = pieces(&others).difference(&pieces(&agree)).count();
    let long = last - first >= LEAST_LENGTH && comes_back(layout, &agree);
    (those >= least && against < those && long).then(|| Run {
        layout: layout.clone(),
        first,
        last,
        units: those,
        against,
        follows: false,
    })
}

/// Whether stripes come back to each of their areas: one piece on each is a run that goes on
/// elsewhere, and no stripe.
fn comes_back(layout: &Layout, agree: &[&Anchor]) -> bool {
    let mut rows: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for anchor in agree {
        let number = anchor.address / layout.stripe;
        let rows = rows.entry(number % layout.width()).or_default();
        rows.insert(number / layout.width());
    }
    layout.width() == 1 || rows.values().all(|rows| rows.len() > 1)
}

/// Layouts of the same anchors that are about as good, and put something elsewhere.
fn rivals(best: &Run, runs: &[Run], anchors: &[&Anchor]) -> Vec<Layout> {
    let lead = (best.units / RIVAL_LEAD).max(LEAST_LEAD);
    let lead = i64::try_from(lead).unwrap_or(i64::MAX);
    let least = worth(best).saturating_sub(lead);
    let (first, last) = (best.first, best.last);
    let best = &best.layout;
    let agree: Vec<&Anchor> = anchors
        .iter()
        .copied()
        .filter(|a| best.explains(a))
        .collect();
    let differs = |other: &Layout| {
        let step = best
            .stripe
            .min(other.stripe)
            .max((last - first) / MOST_COMPARED)
            .max(1);
        let mut address = first;
        while address <= last {
            if best.place(address) != other.place(address) {
                return true;
            }
            address = address.saturating_add(step);
        }
        false
    };
    let is_rival = |other: &&Run| {
        let shared = agree.iter().filter(|anchor| other.layout.explains(anchor));
        other.layout != *best
            && worth(other) > least
            && shared.count() * 2 > agree.len()
            && differs(&other.layout)
    };
    let rivals = runs.iter().filter(is_rival);
    rivals.map(|run| run.layout.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Source;

    fn anchor(device: usize, at: u64, address: u64) -> Anchor {
        Anchor {
            source: Source::Ext([7; 16]),
            address,
            device,
            at,
            together: None,
            stated_on: device,
        }
    }

    /// The areas of the runs that anchors make on devices of 64 MiB.
    fn areas(anchors: &[Anchor]) -> Vec<Area> {
        let mut solved = solve(anchors, &|_| false);
        follow(&mut solved, anchors, &|_| 64 << 20);
        let areas = solved.runs.into_iter().flat_map(|run| run.layout.areas);
        areas.collect()
    }

    #[test]
    fn one_block_is_enough_before_the_device_on_which_most_lies() {
        let mib = 1 << 20;
        // 63 MiB lie on the second of the devices, from 1 MiB on, and 20 MiB at the end of the first.
        let on_second = (8..56).map(|number| anchor(1, (number + 1) * mib, (number + 20) * mib));
        let run = |first: Anchor| {
            let anchors: Vec<Anchor> = on_second.clone().chain([first]).collect();
            areas(&anchors)
        };
        let signed = mib as i64;
        let second = (1, -19 * signed);
        assert_eq!(
            run(anchor(0, 50 * mib, 6 * mib)),
            [(0, 44 * signed), second]
        );
        assert_eq!(
            run(anchor(0, 51 * mib, 6 * mib)),
            [second],
            "behind its end"
        );
        assert_eq!(
            run(anchor(0, 40 * mib, 6 * mib)),
            [second],
            "far before its end"
        );
    }

    #[test]
    fn one_block_is_enough_where_the_device_before_ends() {
        let mib = 1 << 20;
        // 63 MiB lie on the first of the devices, from 1 MiB on.
        let on_first = (8..56).map(|number| anchor(0, (number + 1) * mib, number * mib));
        let run = |last: Anchor| {
            let anchors: Vec<Anchor> = on_first.clone().chain([last]).collect();
            areas(&anchors)
        };
        let signed = mib as i64;
        let next = (1, -62 * signed);
        assert_eq!(run(anchor(1, 10 * mib, 72 * mib)), [(0, signed), next]);
        // Elsewhere on the device it is none that follows.
        assert_eq!(run(anchor(1, 14 * mib, 72 * mib)), [(0, signed)]);
        assert_eq!(run(anchor(1, 8 * mib, 72 * mib)), [(0, signed)]);
    }
}
