//! From the labels of all disks to virtual disks with names.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, Cause, Loss, Origin};

use super::array::{self, Stated, holder};
use super::label::{Guid, Label};
use super::record::Record;
use crate::document::{DeviceName, Group, Unused, safe_name};

/// What the labels of all disks amount to.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// The virtual disks, by name.
    pub(crate) groups: Vec<Group>,
    /// When each was created, in seconds of Unix time.
    pub(crate) created: BTreeMap<String, u64>,
    /// Disks that no virtual disk uses, and why.
    pub(crate) unused: Vec<Unused>,
    /// What could not be assembled.
    pub(crate) losses: Vec<Loss>,
    /// Disks of virtual disks that cannot be read: what they hold is left to their contents.
    pub(crate) unread: BTreeSet<DeviceName>,
}

/// Makes groups of labels. Their order does not matter.
///
/// A virtual disk that lacks more members than it can do without is listed all the same; what it cannot
/// give reads as gaps, and a [`Loss`] says so.
pub(crate) fn assemble(labels: &[Label]) -> Assembly {
    let mut assembly = Assembly::default();
    let mut used: BTreeSet<u32> = BTreeSet::new();
    for one in stated(labels) {
        let references = one.elements.iter().flatten().map(|element| element.0);
        used.extend(references.clone());
        match array::group(&one, labels) {
            Ok(group) => {
                assembly.losses.extend(group.missing());
                let created = one.record.created;
                assembly.created.insert(group.name.clone(), created);
                assembly.groups.push(group);
            }
            Err(what) => {
                let holders = references.filter_map(|reference| holder(labels, reference));
                assembly
                    .unread
                    .extend(holders.map(|label| label.device.clone()));
                assembly.losses.push(unsupported(&one, what));
            }
        }
    }
    for label in labels {
        if holder(labels, label.reference).is_some_and(|own| own.device != label.device) {
            let why = "its DDF label is that of another image, which is newer or the same disk";
            assembly.unused.push(unused(label, why));
        } else if !used.contains(&label.reference) {
            assembly.unused.push(unused(label, why_unused(label)));
        }
    }
    let in_groups = assembly.groups.iter().flat_map(|group| &group.members);
    for device in in_groups.filter_map(|member| member.device.as_ref()) {
        assembly.unread.remove(device);
    }
    assembly.groups.sort_by(|a, b| a.name.cmp(&b.name));
    assembly
}

/// What the labels say of each virtual disk, those of which parts are to be read by themselves in parts.
fn stated<'a>(labels: &'a [Label]) -> Vec<Stated<'a>> {
    let mut newest: BTreeMap<Guid, BTreeMap<u8, &Record>> = BTreeMap::new();
    for record in labels.iter().flat_map(|label| &label.records) {
        let parts = newest.entry(record.guid).or_default();
        let part = parts.entry(record.secondary.1).or_insert(record);
        if record.sequence > part.sequence {
            *part = record;
        }
    }
    let names = names(labels, newest.keys());
    let mut all = Vec::new();
    for (guid, parts) in &newest {
        let knows = |label: &&Label| label.records.iter().any(|own| own.guid == *guid);
        let knowing = labels.iter().filter(knows);
        let Some(newest) = knowing.max_by_key(|l| (l.sequence, std::cmp::Reverse(&l.device)))
        else {
            continue;
        };
        let entry = newest.virtual_disks.iter().find(|own| own.guid == *guid);
        let name = names.get(guid).cloned().unwrap_or_default();
        let one = |name: String, record: &'a Record, elements| Stated {
            name,
            record,
            elements,
            newest,
            entry,
        };
        let elements = |record: &Record| -> Vec<Option<(u32, u64)>> {
            record.elements.iter().copied().map(Some).collect()
        };
        match parts.values().next() {
            Some(first) if first.is_striped_mirror() => {
                let (count, each) = (first.secondary.0, first.elements.len());
                let all_parts = (0..count).flat_map(|number| {
                    let part = parts.get(&number).map(|part| elements(part));
                    part.unwrap_or_else(|| vec![None; each])
                });
                all.push(one(name, first, all_parts.collect()));
            }
            Some(first) if first.is_part() => {
                let of_part = |(number, part): (&u8, &&'a Record)| {
                    one(format!("{name}-{number}"), part, elements(part))
                };
                all.extend(parts.iter().map(of_part));
            }
            Some(only) => all.push(one(name, only, elements(only))),
            None => {}
        }
    }
    all
}

/// A name for each virtual disk: its own if it has one that no other has, else `ddf-` and the end of its
/// GUID.
fn names<'a>(
    labels: &[Label],
    guids: impl Iterator<Item = &'a Guid> + Clone,
) -> BTreeMap<Guid, String> {
    let own = |guid: &Guid| {
        let knowing = labels.iter().filter_map(|label| {
            let own = label.virtual_disks.iter().find(|own| own.guid == *guid)?;
            Some((label.sequence, own))
        });
        let (_, newest) = knowing.max_by_key(|(sequence, _)| *sequence)?;
        let name = safe_name(&newest.name).filter(|name| !name.starts_with("ddf-"))?;
        // A bare number is mdadm's choice where nobody made one.
        let is_number = name.chars().all(|c| c.is_ascii_digit());
        Some(if is_number { format!("vd{name}") } else { name })
    };
    let own: BTreeMap<Guid, Option<String>> = guids.map(|guid| (*guid, own(guid))).collect();
    let is_alone = |name: &String| {
        let same = own.values().flatten().filter(|other| *other == name);
        same.count() == 1
    };
    own.iter()
        .map(|(guid, name)| {
            let name = name.clone().filter(is_alone);
            (
                *guid,
                name.unwrap_or_else(|| format!("ddf-{}", guid.short())),
            )
        })
        .collect()
}

fn unused(label: &Label, why: &str) -> Unused {
    Unused {
        device: label.device.clone(),
        why: why.to_owned(),
    }
}

/// Why no virtual disk uses a disk.
fn why_unused(label: &Label) -> &'static str {
    let mut own = label.disks.iter();
    let own = own.find(|disk| disk.reference == label.reference);
    if own.is_some_and(|own| own.is_spare()) {
        "a spare by its DDF label"
    } else if label.records.is_empty() {
        "its DDF label names no virtual disk"
    } else {
        "its DDF label is older than one that names other disks in its place"
    }
}

fn unsupported(stated: &Stated<'_>, what: String) -> Loss {
    let name = &stated.name;
    Loss {
        what: format!("DDF virtual disk {name}, which is left to the contents of its disks"),
        origin: Origin::new(stated.newest.device.0.clone(), ByteOffset::ZERO),
        cause: Cause::Unsupported(what),
    }
}
