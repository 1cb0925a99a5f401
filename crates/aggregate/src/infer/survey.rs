//! Anchors on any devices, for those who ask what lies on groups and not what makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::ReadAt;

use super::anchors::{Anchor, Collector, Source};
use super::relations::Set;
use super::sample::{self, Candidate};
use crate::document::DeviceName;

/// Most windows of each device that are read: all of it up to one gigabyte.
const MOST_WINDOWS: u64 = 1024;

/// The same where it is only asked whether there is something.
const WINDOWS_OF_A_GLANCE: u64 = 128;

/// More places than one of what a journal names. A copy that lies across a chunk's end from its
/// descriptor is not recognised, and would hide the home.
const RIVALS: usize = 3;

/// Reads `devices`, or evenly taken parts of long ones, and gives the anchors that they hold;
/// `also` sees every window with the number of its device and its start.
pub(crate) fn survey(
    devices: &[(DeviceName, Arc<dyn ReadAt>)],
    also: &mut dyn FnMut(usize, u64, &[u8]),
) -> Vec<Anchor> {
    anchors_in(devices, MOST_WINDOWS, also)
}

/// The same of fewer parts.
pub(crate) fn glance(devices: &[(DeviceName, Arc<dyn ReadAt>)]) -> Vec<Anchor> {
    anchors_in(devices, WINDOWS_OF_A_GLANCE, &mut |_, _, _| ())
}

/// Of each file system in which blocks say where they lie, how many that are certain are on each device.
pub(crate) fn certain_by_source(anchors: &[Anchor]) -> BTreeMap<Source, BTreeMap<usize, usize>> {
    let mut by_source: BTreeMap<Source, BTreeMap<usize, usize>> = BTreeMap::new();
    let certain = |anchor: &&Anchor| anchor.source.is_direct() && anchor.is_certain();
    for anchor in anchors.iter().filter(certain) {
        let on = by_source.entry(anchor.source).or_default();
        let count = on.entry(anchor.device).or_default();
        *count = count.saturating_add(1);
    }
    by_source
}

fn anchors_in(
    devices: &[(DeviceName, Arc<dyn ReadAt>)],
    most_windows: u64,
    also: &mut dyn FnMut(usize, u64, &[u8]),
) -> Vec<Anchor> {
    let candidates: Vec<Candidate> = devices
        .iter()
        .map(|(name, device)| Candidate::new(name.clone(), Arc::clone(device)))
        .collect();
    let longest = candidates.iter().map(|c| c.device.len()).max().unwrap_or(0);
    let windows = sample::windows_of(longest, most_windows);
    let mut collector = Collector::with_rivals(RIVALS);
    for start in &windows {
        for (number, candidate) in candidates.iter().enumerate() {
            let bytes = sample::read_window(&*candidate.device, *start);
            collector.look(number, *start, &bytes);
            also(number, *start, &bytes);
        }
    }
    let mut anchors = collector.anchors(&candidates, &windows, Set::default());
    // Ends of files tell an order, but not whose files they are.
    anchors.retain(|anchor| !matches!(anchor.source, Source::Files(_)));
    without_strangers(anchors)
}

/// The anchors without what journals say of other file systems: a journal without checksums may be any
/// ext file system's. Where on a device one begins that states so itself, no other one does.
fn without_strangers(mut anchors: Vec<Anchor>) -> Vec<Anchor> {
    let begin = |anchor: &Anchor| {
        let at = i64::try_from(anchor.at).ok()?;
        Some((anchor.device, at.checked_sub_unsigned(anchor.address)?))
    };
    let mut certain: BTreeMap<(usize, i64), BTreeSet<Source>> = BTreeMap::new();
    for anchor in anchors.iter().filter(|anchor| anchor.is_certain()) {
        if let (Some(begin), Source::Ext(_)) = (begin(anchor), anchor.source) {
            certain.entry(begin).or_default().insert(anchor.source);
        }
    }
    anchors.retain(|anchor| {
        let there = begin(anchor).and_then(|begin| certain.get(&begin));
        !matches!(anchor.source, Source::Ext(_))
            || there.is_none_or(|own| own.contains(&anchor.source))
    });
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_does_not_speak_for_a_file_system_where_another_one_begins() {
        let (a, b) = (Source::Ext([1; 16]), Source::Ext([2; 16]));
        let anchor = |source, address, at, together| Anchor {
            source,
            address,
            device: 0,
            at,
            together,
            stated_on: 0,
        };
        let copied = Some((9 << 20, (9 << 20) + 4096));
        let own = [
            anchor(a, 1024, 1 << 20 | 1024, None),
            anchor(a, 8192, 1 << 20 | 8192, copied),
            // Where none of them states that it begins it may be either.
            anchor(a, 8192, 7 << 20 | 8192, copied),
            anchor(b, 8192, 7 << 20 | 8192, copied),
        ];
        let strange = anchor(b, 8192, 1 << 20 | 8192, copied);
        let all = own.iter().copied().chain([strange]).collect();
        assert_eq!(without_strangers(all), own);
    }
}
