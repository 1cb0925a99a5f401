//! The same devices as commands for other tools: `dmsetup` and `mdadm`.
//!
//! The texts are shell scripts for a person to read and run. They open images through
//! read-only loop devices, whose names stand in variables: `disk:disk-a` is `$disk_a`.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod dmsetup;
mod mdadm;

pub use dmsetup::dmsetup_table;
pub use mdadm::mdadm_commands;

use std::collections::{BTreeMap, BTreeSet};

use crate::build::on_devices;
use crate::document::{Aggregate, DeviceName, Group, Segment, SegmentMap, Volume};
use crate::raid::Level;

/// What the kernel cannot know of the members: it takes what was written over them for theirs.
fn warning(aggregate: &Aggregate) -> &'static str {
    if aggregate.epochs.is_empty() {
        return "";
    }
    "# WARNING: regions of the members were wiped or written over (\"epochs\" in aggregate.json). The
# kernel reads them as if they were the group's. `restante export VOLUME -o FILE` does not.
"
}

/// The statements of a document by the device that they make.
struct Statements<'a> {
    groups: BTreeMap<DeviceName, &'a Group>,
    volumes: BTreeMap<&'a DeviceName, &'a Volume>,
    /// What was opened, and the device that it is the contents of.
    opened: BTreeMap<&'a DeviceName, &'a DeviceName>,
    /// The shell variable of each disk.
    disks: BTreeMap<DeviceName, String>,
}

impl<'a> Statements<'a> {
    fn new(aggregate: &'a Aggregate) -> Self {
        let groups = aggregate.groups.iter();
        let volumes = aggregate.volumes.iter();
        let encrypted = aggregate.encrypted.iter();
        let mut this = Self {
            groups: groups.map(|g| (DeviceName::group(&g.name), g)).collect(),
            volumes: volumes.map(|v| (&v.device, v)).collect(),
            opened: encrypted
                .filter_map(|one| Some((one.opened.as_ref()?, &one.device)))
                .collect(),
            disks: BTreeMap::new(),
        };
        let all: Vec<DeviceName> = this
            .groups
            .keys()
            .chain(this.volumes.keys().copied())
            .chain(this.opened.keys().copied())
            .cloned()
            .collect();
        let named: BTreeSet<DeviceName> = all.iter().flat_map(|name| this.on(name)).collect();
        let mut taken = BTreeSet::new();
        for disk in named.into_iter().filter(|name| name.0.starts_with("disk:")) {
            let bare = disk.0.trim_start_matches("disk:");
            let mut variable = letters(bare, "", '_');
            if !variable.starts_with(|c: char| c.is_ascii_alphabetic()) {
                variable = format!("disk_{variable}");
            }
            while !taken.insert(variable.clone()) {
                variable.push('_');
            }
            this.disks.insert(disk, variable);
        }
        this
    }

    /// The devices that `name` lies on.
    fn on(&self, name: &DeviceName) -> BTreeSet<DeviceName> {
        if let Some(group) = self.groups.get(name) {
            return group
                .members
                .iter()
                .filter_map(|m| m.device.clone())
                .collect();
        }
        if let Some(below) = self.opened.get(name) {
            return BTreeSet::from([(*below).clone()]);
        }
        let volume = self.volumes.get(name);
        volume.map_or_else(BTreeSet::new, |v| {
            on_devices(v).into_iter().cloned().collect()
        })
    }

    /// Whether a device lies on data between checksums, which no kernel takes apart.
    fn lies_on_frames(&self, name: &DeviceName) -> bool {
        let framed = |segment: &Segment| matches!(segment.map, SegmentMap::Framed { .. });
        self.below(name).iter().any(|below| {
            let volume = self.volumes.get(below);
            volume.is_some_and(|volume| volume.segments.iter().any(framed))
        })
    }

    /// Everything that `name` lies on and itself, what lies lower first. Circles are cut, since
    /// a person may have edited the document.
    fn below(&self, name: &DeviceName) -> Vec<DeviceName> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        // Each device is met twice: when what it lies on is put on the stack, and after that.
        let mut stack = vec![(name.clone(), false)];
        while let Some((next, done)) = stack.pop() {
            if done {
                order.push(next);
            } else if seen.insert(next.clone()) {
                let on = self.on(&next);
                stack.push((next, true));
                stack.extend(on.into_iter().rev().map(|on| (on, false)));
            }
        }
        order
    }

    /// The lines that open the `disks` read-only; the images' names are for the person to put.
    fn open_disks<'b>(&self, disks: impl Iterator<Item = &'b DeviceName>, options: &str) -> String {
        disks
            .filter_map(|disk| {
                let variable = self.disks.get(disk)?;
                let image = letters(disk.0.trim_start_matches("disk:"), "._-+", '?');
                Some(format!(
                    "{variable}=$(losetup --find --show --read-only{options} {image}.img)\n"
                ))
            })
            .collect()
    }
}

/// Why the kernel has no array like this: neither md nor device-mapper.
fn not_in_kernel(level: &Level) -> Option<&'static str> {
    // A page, on most machines.
    const LEAST_CHUNK: u64 = 4096;
    match level {
        Level::Table { .. } => {
            return Some("the kernel has no array of listed rows: export it as an image instead");
        }
        Level::RaidDp { .. } => {
            return Some(
                "the kernel has no array with diagonal parity: export it as an image instead",
            );
        }
        Level::Raid5 { delay, .. } | Level::Raid6 { delay, .. } if !delay.is_none() => {
            return Some(
                "the kernel has no array whose parity stays for several rows: export it as an image instead",
            );
        }
        _ => {}
    }
    match level {
        Level::Raid4 { chunk_bytes, .. }
        | Level::Raid5 { chunk_bytes, .. }
        | Level::Raid6 { chunk_bytes, .. }
        | Level::Raid10 { chunk_bytes, .. }
            if *chunk_bytes < LEAST_CHUNK || !chunk_bytes.is_power_of_two() =>
        {
            Some("the kernel has no array with chunks of this size: export it as an image instead")
        }
        _ => None,
    }
}

/// `text` in letters, digits and the `others`; anything else becomes `filler`. What comes from
/// a disk must not speak to a shell.
fn letters(text: &str, others: &str, filler: char) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || others.contains(c) {
                c
            } else {
                filler
            }
        })
        .collect()
}
