//! Stripes over groups by the text that goes on from one to the next.
//!
//! A file system of which neither a superblock nor an inode is left states no addresses. But text that
//! breaks off at the end of a stripe goes on at the start of the next one, on another group, and not
//! where the stripe itself ends. So for each stripe and order of the groups every end of a stripe is
//! asked both ways, and the volume is where the one outweighs the other by most.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::ReadAt;

use super::contents::{Contents, Spread};
use super::sample::{self, BLOCK, Row};

/// Most windows of each device that are read.
const MOST_WINDOWS: u64 = 1024;

/// Most devices whose orders are tried.
const MOST_DEVICES: usize = 5;

/// The stripes that are tried: powers of two from 8 KiB to 4 MiB, as LVM has them.
const STRIPES: std::ops::RangeInclusive<u32> = 13..=22;

/// Neighbouring blocks say much the same: their sum counts by half.
const DAMPING: f64 = 0.5;

/// What must speak for stripes, in nats, alone and against every other, and by this part of it.
const LEAST: f64 = 48.0;
const LEAD: f64 = 16.0;
const LEAD_SHARE: f64 = 0.2;

/// A stretch of some devices that something lies in stripes over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextStripes {
    /// The devices in the order of the stripes, by their index.
    pub(crate) order: Vec<usize>,
    /// In bytes.
    pub(crate) stripe: u64,
    /// From where to where on each of the devices text says so: ends of whole stripes.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How much speaks for it.
    pub(crate) nats: f64,
}

/// The stripes over some of `devices`, if some stand out; nothing is asked of places of a device that
/// are `taken`.
pub(crate) fn text_stripes(
    devices: &[Arc<dyn ReadAt>],
    taken: &dyn Fn(usize, u64) -> bool,
) -> Option<TextStripes> {
    let found = ranked(devices, MOST_WINDOWS, taken);
    let first = found.first()?;
    // The same stretch in other stripes, or another order.
    let rival = found.iter().skip(1).find(|other| other.touches(first));
    let lead = (first.nats * LEAD_SHARE).max(LEAD);
    let stands_out = rival.is_none_or(|rival| rival.nats <= first.nats - lead);
    (first.nats >= LEAST && stands_out).then(|| first.clone())
}

/// All stripes over some of `devices` that anything speaks for, those with most first, from so many
/// windows of each.
pub(super) fn ranked(
    devices: &[Arc<dyn ReadAt>],
    windows: u64,
    taken: &dyn Fn(usize, u64) -> bool,
) -> Vec<TextStripes> {
    let devices = devices.get(..MOST_DEVICES).unwrap_or(devices);
    let longest = devices.iter().map(|device| device.len()).max();
    let Some(longest) = longest.filter(|_| devices.len() > 1) else {
        return Vec::new();
    };
    let mut rows: Vec<Row> = Vec::new();
    for start in sample::windows_of(longest, windows) {
        let read = devices
            .iter()
            .map(|device| sample::read_window(&**device, start));
        rows.extend(sample::textures(start, &read.collect::<Vec<_>>()));
    }
    let all: Vec<usize> = (0..devices.len()).collect();
    let contents = Contents::learn(&rows, &all, Spread::Alone);
    let edges: BTreeMap<u64, u64> = contents
        .edges(&all)
        .into_iter()
        .map(|(chunk, edge, _)| (chunk, edge))
        .collect();
    let mut found: Vec<TextStripes> = Vec::new();
    for stripe in STRIPES.map(|bits| 1_u64 << bits) {
        let mut starts = vec![0];
        starts.extend(edges.get(&stripe).filter(|edge| **edge > 0));
        for edge in starts {
            for order in orders(devices.len()) {
                let worth = worth(&contents, &rows, &order, (stripe, edge), taken);
                found.extend(best(&worth).map(|(from, to, nats)| TextStripes {
                    order,
                    stripe,
                    from,
                    to: to.saturating_add(stripe),
                    nats,
                }));
            }
        }
    }
    found.sort_by(|a, b| b.nats.total_cmp(&a.nats));
    found
}

impl TextStripes {
    fn touches(&self, other: &Self) -> bool {
        let shared = self.order.iter().any(|device| other.order.contains(device));
        shared && self.from < other.to && other.from < self.to
    }
}

/// What the ends of the stripes in each row of stripes say, by the row's place, in nats; infinitely
/// much against it where a device has something else.
fn worth(
    contents: &Contents<'_>,
    rows: &[Row],
    order: &[usize],
    (stripe, edge): (u64, u64),
    taken: &dyn Fn(usize, u64) -> bool,
) -> BTreeMap<u64, f64> {
    let mut all: BTreeMap<u64, f64> = BTreeMap::new();
    for row in rows {
        let behind = row.at.saturating_add(BLOCK);
        let Some(start) = behind.checked_sub(stripe).filter(|at| at % stripe == edge) else {
            continue;
        };
        let is_taken = order.iter().any(|device| taken(*device, start));
        let nexts = order.iter().cycle().skip(1);
        let each = order
            .iter()
            .zip(nexts)
            .enumerate()
            .map(|(column, (device, next))| {
                let is_last = column + 1 == order.len();
                let after = if is_last { behind } else { start };
                let on = contents.goes_on(row, *device, (after, *next));
                on - contents.goes_on(row, *device, (behind, *device))
            });
        let nats: f64 = each.sum();
        let nats = if is_taken {
            f64::NEG_INFINITY
        } else {
            nats * DAMPING
        };
        all.insert(start, nats);
    }
    all
}

/// The stretch for which most speaks: from which row to which, and how much.
fn best(worth: &BTreeMap<u64, f64>) -> Option<(u64, u64, f64)> {
    let mut best: Option<(u64, u64, f64)> = None;
    let mut now: Option<(u64, f64)> = None;
    for (at, nats) in worth {
        let (from, before) = now.filter(|(_, sum)| *sum > 0.0).unwrap_or((*at, 0.0));
        let sum = before + nats;
        now = Some((from, sum));
        if sum > best.map_or(0.0, |(.., most)| most) {
            best = Some((from, *at, sum));
        }
    }
    best
}

/// All orders of two of so many devices, and of more.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut open: Vec<Vec<usize>> = (0..count).map(|device| vec![device]).collect();
    while let Some(order) = open.pop() {
        let longer = (0..count)
            .filter(|device| !order.contains(device))
            .map(|device| {
                let mut longer = order.clone();
                longer.push(device);
                longer
            });
        open.extend(longer);
        if order.len() > 1 {
            all.push(order);
        }
    }
    all.sort();
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const STRIPE: usize = 64 << 10;

    /// Text in which each block goes on in the next one and in no other: lines of one length, of
    /// messages of different lengths.
    pub(crate) fn text(bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut number = 0_usize;
        while all.len() < bytes {
            let head = format!("Subject: number {number}\n\n");
            all.extend_from_slice(head.as_bytes());
            let length = 60 + number * 7 % 17;
            let lines = 900 + number * 31 % 700;
            for line in 0..lines {
                let of = |at: usize| b"QUJDabcd0123+/xyZ"[(at * 7 + line * 3 + number) % 17];
                all.extend((0..length).map(of));
                all.push(b'\n');
            }
            number += 1;
            all.resize(all.len().next_multiple_of(4096), 0);
        }
        all.truncate(bytes);
        all
    }

    fn device(bytes: Vec<u8>) -> Arc<dyn ReadAt> {
        Arc::new(evidence::view::Memory::new(bytes))
    }

    #[test]
    fn text_tells_the_order_and_length_of_stripes_and_where_they_are() {
        let volume = text(6 << 20);
        let mut halves = [vec![0_u8; 1 << 20], vec![0_u8; 1 << 20]];
        for (number, stripe) in volume.chunks(STRIPE).enumerate() {
            halves[1 - number % 2].extend_from_slice(stripe);
        }
        // Behind it a volume that lies on one of them alone.
        halves[0].extend(text(2 << 20));
        let [a, b] = halves;
        let devices = [device(a), device(b)];
        let found = text_stripes(&devices, &|_, _| false).unwrap();
        assert_eq!((found.stripe, &found.order), (STRIPE as u64, &vec![1, 0]));
        let near = |place: u64, at: u64| place.abs_diff(at) <= 4 * STRIPE as u64;
        assert!(
            near(found.from, 1 << 20) && near(found.to, 4 << 20),
            "{found:?}"
        );
        // What something else explains is not asked.
        let found = text_stripes(&devices, &|device, at| device == 0 && at >= 2 << 20).unwrap();
        assert!(found.to <= 2 << 20);
    }

    #[test]
    fn volumes_that_lie_on_one_group_each_have_no_stripes() {
        let devices = [
            device(text(3 << 20)),
            device(text(4 << 20)[1 << 20..].to_vec()),
        ];
        assert_eq!(text_stripes(&devices, &|_, _| false), None);
    }

    #[test]
    fn orders_have_two_devices_or_more() {
        assert_eq!(orders(2), [vec![0, 1], vec![1, 0]]);
        assert_eq!(orders(3).len(), 12);
    }
}
