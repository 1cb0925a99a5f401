//! What would bring more mail, if somebody could still get it: disks that are missing, areas that
//! could not be read.

use std::ops::Range;

use serde::Serialize;

use crate::words::{bytes, counted, number};

/// Regions that are named of one source, those that bring most.
const MOST_REGIONS: usize = 16;
/// Regions with no more than this between them are one: who reads a disk again reads on.
const APART: u64 = 1 << 20;

/// A disk, or what could not be read of one, and what it would bring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// What it is: `the missing member in role 2 of group:md0`.
    pub what: String,
    /// Damaged and lost messages that would be whole if this alone could be read.
    pub messages: u64,
    /// How long these are together, in bytes.
    pub bytes: u64,
    /// Damaged and lost messages that would be whole if this and others of the list could be read.
    pub with_others: u64,
    /// Places of the file systems' own structures that this alone would bring, inodes of lost messages
    /// among them: what mail depends on the others is not known.
    pub places: u64,
    /// Where on the disk these lie, what brings most first; of a missing disk, where on its data.
    pub regions: Vec<WantedRegion>,
    /// How many more regions there are.
    pub more_regions: u64,
}

/// A region of a disk that something needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WantedRegion {
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// How many messages and places of file systems need it.
    pub needed_by: u64,
}

impl Wanted {
    /// Names the regions, from the ranges that each thing needs of this source.
    pub fn set_regions(&mut self, needs: &[Vec<Range<u64>>]) {
        let mut ranges: Vec<(u64, u64, usize)> = needs
            .iter()
            .enumerate()
            .flat_map(|(who, ranges)| ranges.iter().map(move |r| (r.start, r.end, who)))
            .collect();
        ranges.sort_unstable();
        let mut regions: Vec<(WantedRegion, Vec<usize>)> = Vec::new();
        for (start, end, who) in ranges {
            let bytes = end.saturating_sub(start);
            match regions.last_mut() {
                Some((region, by)) if start <= region.end().saturating_add(APART) => {
                    let end = region.end().max(end);
                    region.bytes = end.saturating_sub(region.start);
                    by.push(who);
                }
                _ => {
                    let needed_by = 0;
                    let region = WantedRegion {
                        start,
                        bytes,
                        needed_by,
                    };
                    regions.push((region, vec![who]));
                }
            }
        }
        let mut regions: Vec<WantedRegion> = regions
            .into_iter()
            .map(|(region, mut by)| {
                by.sort_unstable();
                by.dedup();
                WantedRegion {
                    needed_by: by.len() as u64,
                    ..region
                }
            })
            .collect();
        regions.sort_by_key(|region| (std::cmp::Reverse(region.needed_by), region.start));
        self.more_regions = regions.len().saturating_sub(MOST_REGIONS) as u64;
        regions.truncate(MOST_REGIONS);
        self.regions = regions;
    }

    /// What it would bring, in words: `the missing member in role 2 of group:md0: 120 messages
    /// (3.4 MB) would be whole`.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if self.messages > 0 {
            parts.push(format!(
                "{} ({}) would be whole",
                counted(self.messages, "message", "messages"),
                bytes(self.bytes)
            ));
        }
        if self.with_others > 0 {
            parts.push(format!("{} with others", number(self.with_others)));
        }
        if self.places > 0 {
            parts.push(format!(
                "{} of the file systems could be read",
                counted(self.places, "place", "places")
            ));
        }
        format!("{}: {}", self.what, parts.join(", "))
    }

    /// Whether it would bring anything that is known of.
    pub const fn brings_something(&self) -> bool {
        self.messages > 0 || self.with_others > 0 || self.places > 0
    }
}

impl WantedRegion {
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes)
    }
}

/// Brings the list into order: what brings most comes first, what brings nothing is left out.
pub fn ranked(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    wanted.retain(Wanted::brings_something);
    wanted.sort_by(|a, b| {
        let key = |one: &Wanted| (one.messages, one.places, one.with_others);
        key(b).cmp(&key(a)).then_with(|| a.what.cmp(&b.what))
    });
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_that_bring_most_come_first_and_neighbours_are_one() {
        let mut wanted = Wanted::default();
        let far = 1 << 30;
        let near = 4096..8192;
        let one = |start, end| Vec::from([Range { start, end }]);
        wanted.set_regions(&[
            vec![near.clone(), 12_288..16_384],
            one(far, far + 512),
            one(far + 1024, far + 4096),
            one(far, far + 512),
            one(near.start, near.end),
        ]);
        let told: Vec<_> = wanted
            .regions
            .iter()
            .map(|region| (region.start, region.bytes, region.needed_by))
            .collect();
        assert_eq!(told, [(far, 4096, 3), (4096, 12_288, 2)]);
        assert_eq!(wanted.more_regions, 0);
    }

    #[test]
    fn what_brings_nothing_is_not_wanted() {
        let one = |what: &str, messages, places| Wanted {
            what: what.to_owned(),
            messages,
            places,
            ..Wanted::default()
        };
        let ranked = ranked(vec![
            one("a", 0, 0),
            one("b", 1, 0),
            one("c", 7, 0),
            one("d", 1, 4),
        ]);
        let order: Vec<&str> = ranked.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(order, ["c", "d", "b"]);
    }
}
