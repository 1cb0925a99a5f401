//! Partitions of disks: by their table, by the labels in them where no table is left, and as on other
//! disks where neither is.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::ReadAt;

use super::Discovery;
use crate::document::{Area, DeviceName, Segment, SegmentMap, Volume};
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
    /// labels on some. It is not done where as many disks of that length are not cut.
    pub(super) fn cut_alike(&mut self) -> bool {
        let length = |name: &DeviceName| self.devices.get(name).map(|device| device.len());
        let uncut = |length_of: u64| {
            let disks = self.devices.iter().filter(|(name, disk)| {
                name.0.starts_with("disk:")
                    && disk.len() == length_of
                    && !self.cuts.contains_key(*name)
            });
            disks.count()
        };
        let blank = self
            .blank
            .keys()
            .filter(|name| name.0.starts_with("disk:") && !self.claimed.contains(*name));
        let mut all: Vec<(DeviceName, DeviceName, Vec<(u64, u64)>)> = Vec::new();
        for name in blank {
            let Some(own) = length(name) else { continue };
            let alike = self
                .cuts
                .iter()
                .filter(|(other, _)| length(other) == Some(own));
            let alike: Vec<_> = alike.collect();
            let ways: BTreeSet<_> = alike.iter().map(|(_, cuts)| *cuts).collect();
            let many = alike.len() >= LEAST_ALIKE && alike.len() > uncut(own);
            if let (Some((like, cuts)), 1, true) = (alike.first(), ways.len(), many) {
                all.push((name.clone(), (*like).clone(), cuts.to_vec()));
            }
        }
        for (name, like, cuts) in &all {
            self.blank.remove(name);
            for (number, (start, bytes)) in (1..).zip(cuts) {
                let partition = Partition {
                    number,
                    start: *start,
                    bytes: *bytes,
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
        !all.is_empty()
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
        cuts.push((partition.start, partition.bytes));
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
