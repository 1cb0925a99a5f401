//! Anchors on any devices, for those who ask what lies on groups and not what makes them.

use std::sync::Arc;

use evidence::ReadAt;

use super::anchors::{Anchor, Collector, Source};
use super::relations::Set;
use super::sample::{self, Candidate};
use crate::document::DeviceName;

/// Most windows of each device that are read: all of it up to one gigabyte.
const MOST_WINDOWS: u64 = 1024;

/// More places than one of what a journal names. A copy that lies across a chunk's end from its
/// descriptor is not recognised, and would hide the home.
const RIVALS: usize = 3;

/// Reads `devices`, or evenly taken parts of long ones, and gives the anchors that they hold;
/// `also` sees every window with the number of its device and its start.
pub(crate) fn survey(
    devices: &[(DeviceName, Arc<dyn ReadAt>)],
    also: &mut dyn FnMut(usize, u64, &[u8]),
) -> Vec<Anchor> {
    let candidates: Vec<Candidate> = devices
        .iter()
        .map(|(name, device)| Candidate {
            name: name.clone(),
            device: Arc::clone(device),
            shift: 0,
        })
        .collect();
    let longest = candidates.iter().map(|c| c.device.len()).max().unwrap_or(0);
    let windows = sample::windows_of(longest, MOST_WINDOWS);
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
    anchors
}
