//! From the labels of all devices to arrays with names.

use std::collections::BTreeMap;

use evidence::{Cause, Loss, Origin};

use super::array;
use super::superblock::{Fault, Found, Superblock, Uuid, Version};
use crate::document::{DeviceName, Group, OVERWRITTEN_CONFIDENCE, Unused, safe_name};

/// What the labels of all devices amount to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembly {
    /// The arrays, by name.
    pub groups: Vec<Group>,
    /// Labelled devices that no array uses, and why.
    pub unused: Vec<Unused>,
    /// What could not be assembled.
    pub losses: Vec<Loss>,
}

/// One array by its identity; the same UUID in the two formats is two arrays, of which one is
/// what a conversion left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    uuid: Uuid,
    old_format: bool,
}

/// Makes arrays of labels. The order of `found` does not matter.
///
/// A device whose label is stale, or older than that of another with the same role, is never
/// used silently: it is left out with a reason, or unused. An array that lacks more members
/// than it can do without is listed all the same; what it cannot give reads as gaps, and a
/// [`Loss`] says so. An array whose reshape was interrupted is a [`Loss`] and no group.
pub fn assemble(found: &[Found]) -> Assembly {
    let mut arrays: BTreeMap<Key, Vec<&Found>> = BTreeMap::new();
    for label in found.iter().filter(|label| label.fault.is_none()) {
        arrays
            .entry(key(&label.superblock))
            .or_default()
            .push(label);
    }
    let names = names(&arrays);
    let mut assembly = Assembly::default();
    for (key, labels) in &arrays {
        let name = names.get(key).map_or("", String::as_str);
        let mut one = array::assemble(name, labels);
        if let Some(group) = &mut one.group {
            doubt_overwritten(group, *key, labels, found);
        }
        assembly.groups.extend(one.group);
        assembly.unused.extend(one.unused);
        assembly.losses.extend(one.losses);
    }
    assembly.losses.extend(damaged(found));
    assembly.groups.sort_by(|a, b| a.name.cmp(&b.name));
    let order = |unused: &Unused| (unused.device.clone(), unused.why.clone());
    assembly.unused.sort_by_key(order);
    assembly.unused.dedup();
    assembly.losses.sort();
    assembly.losses.dedup();
    assembly
}

fn key(superblock: &Superblock) -> Key {
    Key {
        uuid: superblock.set_uuid,
        old_format: matches!(superblock.version, Version::V0 { .. }),
    }
}

/// A name for each array: its own if it has one that no other has, else `md-` and the start of
/// its UUID.
fn names(arrays: &BTreeMap<Key, Vec<&Found>>) -> BTreeMap<Key, String> {
    let own: BTreeMap<Key, Option<String>> = arrays
        .iter()
        .map(|(key, labels)| {
            let newest = labels
                .iter()
                .max_by_key(|label| (label.superblock.events, std::cmp::Reverse(&label.device)));
            (*key, newest.and_then(|label| own_name(&label.superblock)))
        })
        .collect();
    let by_uuid = |key: &Key, digits: usize| {
        let plain = key.uuid.to_string().replace(':', "");
        let format = if key.old_format && digits > 8 {
            "-0.90"
        } else {
            ""
        };
        format!("md-{}{format}", plain.get(..digits).unwrap_or(&plain))
    };
    let alone = |name: &String| {
        own.values()
            .flatten()
            .filter(|other| *other == name)
            .count()
            == 1
    };
    own.keys()
        .map(|key| {
            let name = own.get(key).cloned().flatten().filter(alone);
            let short = by_uuid(key, 8);
            let shared = own
                .keys()
                .filter(|other| by_uuid(other, 8) == short)
                .count()
                > 1;
            let fallback = if shared { by_uuid(key, 32) } else { short };
            (*key, name.unwrap_or(fallback))
        })
        .collect()
}

/// The name that the array gives itself, without the host that made it, in letters that are
/// safe in names of files and devices. A bare number, mdadm's choice where nobody made one, is
/// that of the device: `md0`.
fn own_name(superblock: &Superblock) -> Option<String> {
    let name = superblock.set_name.as_str();
    let bare = name.split_once(':').map_or(name, |(_, bare)| bare);
    let safe = safe_name(bare)?;
    let number = safe.chars().all(|c| c.is_ascii_digit());
    // What looks like a fallback, or like a virtual disk of DDF, could collide with one.
    let taken = safe.starts_with("md-") || safe.starts_with("vd-");
    Some(match (number, taken) {
        (true, _) => format!("md{safe}"),
        (false, true) => format!("name-{safe}"),
        (false, false) => safe,
    })
}

/// Lowers the confidence of a group whose devices also belong to a younger array.
fn doubt_overwritten(group: &mut Group, own: Key, labels: &[&Found], found: &[Found]) {
    let devices: Vec<&DeviceName> = labels.iter().map(|label| &label.device).collect();
    let created = labels
        .iter()
        .map(|label| label.superblock.ctime)
        .max()
        .unwrap_or(0);
    let mut younger: Vec<&Found> = found
        .iter()
        .filter(|other| other.fault.is_none() && key(&other.superblock) != own)
        .filter(|other| devices.contains(&&other.device) && other.superblock.ctime > created)
        .collect();
    younger.sort_by_key(|other| (&other.device, other.at));
    for other in &younger {
        group.evidence.push(format!(
            "{} also carries an md {} label of a younger array (UUID {}, created {}): what that \
             one wrote is no longer this array's",
            other.device,
            other.superblock.version,
            other.superblock.set_uuid,
            other.superblock.ctime
        ));
    }
    if !younger.is_empty() {
        group.confidence = OVERWRITTEN_CONFIDENCE;
    }
}

/// Labels that are not to be believed, as losses. One that only lies on another device than
/// its own is none if it is seen there as well.
fn damaged(found: &[Found]) -> Vec<Loss> {
    let seen_elsewhere = |label: &Found| {
        let same = |other: &&Found| {
            other.fault.is_none()
                && other.superblock.set_uuid == label.superblock.set_uuid
                && other.superblock.device_uuid == label.superblock.device_uuid
                && other.superblock.dev_number == label.superblock.dev_number
        };
        found.iter().any(|other| same(&other))
    };
    found
        .iter()
        .filter_map(|label| {
            let fault = label.fault.as_ref()?;
            let ignored = matches!(fault, Fault::Misplaced { .. } | Fault::Contradiction(_));
            if ignored && seen_elsewhere(label) {
                return None;
            }
            Some(Loss {
                what: format!(
                    "md {} label of array {}",
                    label.superblock.version, label.superblock.set_uuid
                ),
                origin: Origin::new(label.device.0.clone(), label.at),
                cause: Cause::Corrupt(fault.to_string()),
            })
        })
        .collect()
}
