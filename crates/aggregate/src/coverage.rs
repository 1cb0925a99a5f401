//! Which ranges of devices others lie on: what is left over belongs to no group and no volume,
//! and may hold what the metadata, or what was found of it, does not know of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use evidence::merged;

use crate::build::{on_devices, opened_devices};
use crate::document::{Aggregate, Area, DeviceName, Group, Segment, SegmentMap, Volume};

/// The ranges of each device that groups, volumes and opened devices lie on, sorted, in bytes.
///
/// A member that is left out counts too: what it holds is an older state of the group. Of a device
/// that is used by chunks (the store of a snapshot, a thin pool's) all from there on counts. Of the members
/// of a group that was begun over others which no label states, those that are none of theirs do not: they
/// may be a third one's. Nor do those that volumes lie on that the group was begun over, which count themselves: the
/// others may have its parity, which looks like mail where it is made of mail and zeros.
pub fn covered(aggregate: &Aggregate) -> BTreeMap<DeviceName, Vec<Range<u64>>> {
    let mut covered: BTreeMap<DeviceName, Vec<Range<u64>>> = BTreeMap::new();
    let mut add = |device: &DeviceName, range: Range<u64>| {
        covered.entry(device.clone()).or_default().push(range);
    };
    for group in &aggregate.groups {
        let older = aggregate.groups.iter();
        let older: Vec<&Group> = older
            .filter(|one| group.over.contains(&one.name) && is_inferred(one))
            .collect();
        let is_theirs = |device: &DeviceName| {
            let mut members = older.iter().flat_map(|one| &one.members);
            members.any(|member| member.device.as_ref() == Some(device))
        };
        let beneath = volumes_beneath(aggregate, group).flat_map(on_devices);
        let beneath: BTreeSet<&DeviceName> = beneath.collect();
        let counts = |device: &DeviceName| {
            (older.is_empty() || is_theirs(device)) && !beneath.contains(device)
        };
        for member in &group.members {
            if let Some(device) = member.device.as_ref().filter(|device| counts(device)) {
                let start = member.data_offset;
                add(device, start..start.saturating_add(member.data_size));
            }
        }
    }
    for segment in aggregate.volumes.iter().flat_map(|volume| &volume.segments) {
        for (area, bytes) in ranges(segment) {
            if let Some(device) = &area.device {
                add(device, area.offset..area.offset.saturating_add(bytes));
            }
        }
    }
    for device in opened_devices(aggregate) {
        add(device, 0..u64::MAX);
    }
    for ranges in covered.values_mut() {
        *ranges = merged(std::mem::take(ranges));
    }
    covered
}

/// The groups that were begun over others, and all devices that lie on them. What is not in their
/// files is the older group's, in pieces that only that one puts in order.
pub fn begun_over(aggregate: &Aggregate) -> BTreeSet<DeviceName> {
    let groups = aggregate.groups.iter();
    let begun = groups.filter(|group| !group.over.is_empty());
    let begun = begun.map(|group| DeviceName::group(&group.name));
    // A file system or volume on a member of a group was made over that.
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    let members: BTreeSet<&DeviceName> = members.filter_map(|one| one.device.as_ref()).collect();
    let filled = aggregate.filesystems.iter().map(|fs| &fs.device);
    let filled = filled.filter(|device| members.contains(device));
    let older = all_beneath(aggregate);
    let volumes = aggregate.volumes.iter().filter(|volume| {
        let mut on = on_devices(volume).into_iter();
        on.any(|device| members.contains(device)) && !older.contains(&volume.device)
    });
    let newer = begun.chain(volumes.map(|volume| volume.device.clone()));
    // What lies on a member that a file system fills is the older group.
    let above = with_all_above(aggregate, newer.collect());
    above.into_iter().chain(filled.cloned()).collect()
}

/// The groups that were worked out without labels, the volumes that others were begun over, and all devices that lie
/// on them. What took the labels away may have written elsewhere too, and where no redundancy is left no row shows it.
pub fn inferred(aggregate: &Aggregate) -> BTreeSet<DeviceName> {
    let groups = aggregate.groups.iter();
    let inferred = groups.filter(|group| is_inferred(group));
    let inferred = inferred.map(|group| DeviceName::group(&group.name));
    let beneath = all_beneath(aggregate).into_iter();
    with_all_above(aggregate, inferred.chain(beneath).collect())
}

/// The volumes that a group was begun over.
fn volumes_beneath<'a>(
    aggregate: &'a Aggregate,
    group: &'a Group,
) -> impl Iterator<Item = &'a Volume> {
    let volumes = aggregate.volumes.iter();
    volumes.filter(|volume| group.over.contains(&volume.device.0))
}

/// The volumes that groups were begun over.
fn all_beneath(aggregate: &Aggregate) -> BTreeSet<DeviceName> {
    let groups = aggregate.groups.iter();
    let volumes = groups.flat_map(|group| volumes_beneath(aggregate, group));
    volumes.map(|volume| volume.device.clone()).collect()
}

/// Whether no label states a group.
fn is_inferred(group: &Group) -> bool {
    group.confidence < 1.0
}

/// Some devices, and all that lie on them.
pub(crate) fn with_all_above(
    aggregate: &Aggregate,
    mut found: BTreeSet<DeviceName>,
) -> BTreeSet<DeviceName> {
    loop {
        let before = found.len();
        for volume in &aggregate.volumes {
            let mut on = on_devices(volume).into_iter();
            if on.any(|device| found.contains(device)) {
                found.insert(volume.device.clone());
            }
        }
        for group in &aggregate.groups {
            let mut on = group.members.iter().flat_map(|member| &member.device);
            if on.any(|device| found.contains(device)) {
                found.insert(DeviceName::group(&group.name));
            }
        }
        for encrypted in &aggregate.encrypted {
            if found.contains(&encrypted.device) {
                found.extend(encrypted.opened.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The areas that a segment lies on, with their lengths. The origin of a snapshot is none of
/// them: it is a volume in its own right.
pub(crate) fn ranges(segment: &Segment) -> Vec<(&Area, u64)> {
    match &segment.map {
        SegmentMap::Linear(area) => vec![(area, segment.bytes)],
        SegmentMap::Mirrored { areas } => areas.iter().map(|area| (area, segment.bytes)).collect(),
        SegmentMap::Striped {
            stripe_bytes,
            areas,
        } => {
            let row = stripe_bytes.saturating_mul(areas.len() as u64).max(1);
            let each = segment.bytes.div_ceil(row).saturating_mul(*stripe_bytes);
            areas.iter().map(|area| (area, each)).collect()
        }
        SegmentMap::Framed { area, .. } => vec![(area, u64::MAX)],
        SegmentMap::Snapshot { store, .. } => vec![(store, u64::MAX)],
        SegmentMap::Thin { metadata, data, .. } => vec![(metadata, u64::MAX), (data, u64::MAX)],
        SegmentMap::Zero | SegmentMap::Missing { .. } => Vec::new(),
    }
}

/// How many of `length` bytes merged `ranges` leave over.
pub fn left_over(ranges: &[Range<u64>], length: u64) -> u64 {
    let inside = ranges.iter().map(|range| {
        let end = range.end.min(length);
        end.saturating_sub(range.start)
    });
    length.saturating_sub(inside.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Member;
    use crate::raid::{Geometry, Level};

    fn volume(segments: Vec<(u64, SegmentMap)>) -> Volume {
        let mut start = 0;
        let segments = segments.into_iter().map(|(bytes, map)| {
            let segment = Segment { start, bytes, map };
            start += bytes;
            segment
        });
        Volume {
            device: DeviceName::volume("vg/a"),
            uuid: None,
            segments: segments.collect(),
            bytes: start,
            hidden: false,
            snapshot_of: None,
            evidence: Vec::new(),
        }
    }

    fn area(disk: &str, offset: u64) -> Area {
        Area {
            device: Some(DeviceName::disk(disk)),
            offset,
        }
    }

    /// A mirror of two disks, from byte 10 of each on; one that was begun over nothing is worked out.
    fn group(name: &str, disks: [&str; 2], over: &[&str]) -> Group {
        Group {
            name: name.to_owned(),
            geometry: Geometry {
                level: Level::Raid1 { members: 2 },
                bytes: 100,
            },
            members: (0..)
                .zip(disks)
                .map(|(role, disk)| Member {
                    role,
                    device: Some(DeviceName::disk(disk)),
                    data_offset: 10,
                    data_size: 100,
                    left_out: None,
                    bad_blocks: Vec::new(),
                })
                .collect(),
            evidence: Vec::new(),
            confidence: if over.is_empty() { 0.9 } else { 1.0 },
            over: over.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn what_no_volume_lies_on_is_left_over() {
        let aggregate = Aggregate {
            volumes: vec![volume(vec![
                (100, SegmentMap::Linear(area("a", 50))),
                (40, SegmentMap::Linear(area("a", 150))),
                (
                    80,
                    SegmentMap::Striped {
                        stripe_bytes: 16,
                        areas: vec![area("a", 300), area("b", 0)],
                    },
                ),
                (10, SegmentMap::Missing { why: String::new() }),
            ])],
            ..Aggregate::default()
        };
        let covered = covered(&aggregate);
        let of = |disk: &str| covered[&DeviceName::disk(disk)].as_slice();
        // 80 bytes are two rows of 32 and a half: the third row counts.
        assert_eq!(of("a"), [50..190, 300..348]);
        assert_eq!(of("b").first(), Some(&(0..48)));
        assert_eq!(left_over(of("a"), 320), 320 - 140 - 20);
        assert_eq!(left_over(of("b"), 48), 0);
    }

    #[test]
    fn a_group_that_was_begun_over_another_leaves_what_is_not_that_ones() {
        let aggregate = Aggregate {
            groups: vec![
                group("older", ["a", "b"], &[]),
                group("newer", ["b", "c"], &["older"]),
            ],
            ..Aggregate::default()
        };
        let covered = covered(&aggregate);
        assert_eq!(covered[&DeviceName::disk("b")].first(), Some(&(10..110)));
        assert!(!covered.contains_key(&DeviceName::disk("c")));
    }

    #[test]
    fn of_a_group_that_was_begun_over_a_volume_only_that_counts() {
        let older = volume(vec![(60, SegmentMap::Linear(area("a", 5)))]);
        let mut newer = group("newer", ["a", "b"], &[&older.device.0]);
        let of = |group: &Group| Aggregate {
            groups: vec![group.clone()],
            volumes: vec![older.clone()],
            ..Aggregate::default()
        };
        let beneath = of(&newer);
        let ends = |aggregate: &Aggregate| {
            let covered = covered(aggregate);
            let end = |disk: &str| covered[&DeviceName::disk(disk)].last().unwrap().end;
            [end("a"), end("b")]
        };
        assert_eq!(ends(&beneath), [65, 110]);
        assert!(
            begun_over(&beneath)
                .into_iter()
                .eq([DeviceName::group("newer")])
        );
        assert!(inferred(&beneath).contains(&older.device));
        newer.over.clear();
        let above = of(&newer);
        assert_eq!(ends(&above), [110, 110]);
        assert!(begun_over(&above).into_iter().eq([older.device.clone()]));
        assert!(!inferred(&above).contains(&older.device));
    }

    #[test]
    fn the_store_of_a_snapshot_covers_its_device_and_the_origin_does_not() {
        let map = SegmentMap::Snapshot {
            origin: area("a", 0),
            store: area("b", 8),
        };
        let aggregate = Aggregate {
            volumes: vec![volume(vec![(100, map)])],
            ..Aggregate::default()
        };
        let covered = covered(&aggregate);
        assert!(!covered.contains_key(&DeviceName::disk("a")));
        assert_eq!(left_over(&covered[&DeviceName::disk("b")], 100), 8);
    }
}
