//! Partitions of disks: by their table, by the labels in them where no table is left, and as on other
//! disks where neither is.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::ReadAt;

use super::{Addition, Discovery};
use crate::document::{Area, DeviceName, Group, Segment, SegmentMap, Volume};
use crate::partition::{self, Partition, Table};

/// So many disks that are cut alike show how others of their length were.
const LEAST_ALIKE: usize = 2;

impl Discovery<'_> {
    /// Adds the partitions of `table`, which was read on `on`.
    pub(super) fn add_partitions(&mut self, on: &DeviceName, table: &Table) {
        for partition in &table.partitions {
            let mut evidence = vec![format!(
                "entry {} of the {} on {on}, type {}{}",
                partition.number,
                table.kind.name(),
                partition.kind,
                match partition.label.as_str() {
                    "" => String::new(),
                    label => format!(", called {label}"),
                }
            )];
            evidence.extend(table.notes.iter().cloned());
            self.add_partition(on, partition, evidence);
        }
    }

    /// Adds the partitions of a disk whose table is gone, by the labels in them; whether there were any.
    pub(super) fn add_lost_partitions(
        &mut self,
        on: &DeviceName,
        device: &Arc<dyn ReadAt>,
    ) -> bool {
        if !on.0.starts_with("disk:") {
            return false;
        }
        let lost = partition::lost(device, on);
        for (partition, why) in &lost {
            let evidence = vec![format!("no partition table is left on {on}: {why}")];
            self.add_partition(on, partition, evidence);
        }
        !lost.is_empty()
    }

    /// Cuts disks on which nothing is recognised as the others of their length are cut; whether there
    /// was one. Of disks that were used alike, a newer array may have overwritten the table and the
    /// labels on some.
    pub(super) fn cut_alike(&mut self) -> bool {
        let blank = self
            .blank
            .keys()
            .filter(|name| !self.claimed.contains(*name));
        let found = blank.filter_map(|name| Some((name.clone(), self.cut_as(name)?.clone())));
        let found: Vec<(DeviceName, DeviceName)> = found.collect();
        for (name, like) in &found {
            self.blank.remove(name);
            let cuts = self.cuts.get(like).cloned().unwrap_or_default();
            for (number, (start, bytes)) in (1..).zip(cuts.into_keys()) {
                let partition = Partition {
                    number,
                    start,
                    bytes,
                    kind: String::new(),
                    uuid: None,
                    label: String::new(),
                };
                let why = format!(
                    "no partition table and no label is left on {name}: it is as long as {like}, and cut as that one is"
                );
                self.add_partition(name, &partition, vec![why]);
            }
        }
        !found.is_empty()
    }

    /// A disk that is as long as this one and shows how that was cut: all that are cut are cut alike,
    /// they are more than those that are not, and what lies on them is not all there.
    fn cut_as(&self, name: &DeviceName) -> Option<&DeviceName> {
        let is_disk = |name: &DeviceName| name.0.starts_with("disk:");
        let length = self.devices.get(name).filter(|_| is_disk(name))?.len();
        let alike = self.devices.iter();
        let alike = alike.filter(|(name, disk)| is_disk(name) && disk.len() == length);
        let (cut, uncut): (Vec<&DeviceName>, Vec<&DeviceName>) = alike
            .map(|(name, _)| name)
            .partition(|name| self.cuts.contains_key(*name));
        let of = |name: &&DeviceName| self.cuts.get(*name).map(|cuts| cuts.keys().collect());
        let ways: BTreeSet<Option<Vec<_>>> = cut.iter().map(of).collect();
        let many = cut.len() >= LEAST_ALIKE && cut.len() > uncut.len();
        let first = cut.first().copied();
        first.filter(|first| many && ways.len() == 1 && self.lacks_members(first))
    }

    /// Whether the longest partition of a disk is a member of an array that lacks others, by its labels
    /// or as it was given, or of one that no label states.
    fn lacks_members(&self, disk: &DeviceName) -> bool {
        let cuts = self.cuts.get(disk).into_iter().flatten();
        let longest = cuts.max_by_key(|((_, bytes), _)| *bytes);
        longest.is_some_and(|(_, name)| {
            let lacking = |one: &Addition| !one.is_complete() && one.on().contains(name);
            let given = |group: &Group| {
                group
                    .members
                    .iter()
                    .any(|m| m.device.as_ref() == Some(name))
            };
            self.blank.contains_key(name)
                || self.known.iter().any(given)
                || self.additions().iter().any(lacking)
        })
    }

    fn add_partition(&mut self, on: &DeviceName, partition: &Partition, evidence: Vec<String>) {
        let mut name = DeviceName::partition(on, partition.number);
        if self.devices.contains(&name) {
            // A disk and a group may have one bare name.
            name = DeviceName(format!(
                "partition:{}/{}",
                on.0.replace(':', "-"),
                partition.number
            ));
        }
        let cuts = self.cuts.entry(on.clone()).or_default();
        cuts.insert((partition.start, partition.bytes), name.clone());
        if on.0.starts_with("disk:") {
            let place = (on.clone(), partition.start);
            self.partitions.insert(name.clone(), place);
        }
        self.add_volume(Volume {
            device: name,
            uuid: partition.uuid.clone(),
            bytes: partition.bytes,
            hidden: false,
            snapshot_of: None,
            segments: vec![Segment {
                start: 0,
                bytes: partition.bytes,
                map: SegmentMap::Linear(Area {
                    device: Some(on.clone()),
                    offset: partition.start,
                }),
            }],
            evidence,
        });
    }
}
