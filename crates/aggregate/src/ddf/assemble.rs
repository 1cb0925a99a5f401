//! From the labels of all disks to virtual disks with names.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, Cause, Loss, Origin};

use super::array::{self, Stated, holder};
use super::label::{Guid, Label};
use super::record::Record;
use crate::document::{DeviceName, Group, Member, Unused, safe_name};
use crate::raid::MAX_MEMBERS;

/// What the labels of all disks amount to.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// The virtual disks, by name.
    pub(crate) groups: Vec<Group>,
    /// When each was created, in seconds of Unix time.
    pub(crate) created: BTreeMap<String, u64>,
    /// Images that repeat others.
    pub(crate) unused: Vec<Unused>,
    /// What could not be assembled.
    pub(crate) losses: Vec<Loss>,
    /// Disks that no virtual disk uses, and why: what they hold is left to their contents.
    pub(crate) unread: BTreeMap<DeviceName, &'static str>,
}

/// Makes groups of labels.
///
/// A virtual disk that lacks more members than it can do without is listed all the same; what it cannot
/// give reads as gaps, and a [`Loss`] says so.
pub(crate) fn assemble(labels: &[Label]) -> Assembly {
    let mut assembly = Assembly::default();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut refused: BTreeSet<u32> = BTreeSet::new();
    for one in stated(labels) {
        match array::group(&one, labels) {
            Ok(group) => {
                assembly.losses.extend(group.missing());
                let created = one.record.guid.created();
                assembly.created.insert(group.name.clone(), created);
                gone.extend(one.is_gone().then(|| group.name.clone()));
                assembly.groups.push(group);
            }
            Err(what) => {
                refused.extend(one.elements.iter().flatten().map(|element| element.0));
                assembly.losses.push(unsupported(&one, what));
            }
        }
    }
    note_deleted(&mut assembly.groups, &gone);
    let members = assembly.groups.iter().flat_map(|group| &group.members);
    let used: BTreeSet<DeviceName> = members.filter_map(|m| m.device.clone()).collect();
    for label in labels.iter().filter(|label| !used.contains(&label.device)) {
        if holder(labels, label.reference).is_some_and(|own| own.device != label.device) {
            let why = "its DDF label is that of another image, which is newer or the same disk";
            assembly.unused.push(unused(label, why));
        } else {
            let is_refused = refused.contains(&label.reference);
            let why = why_unread(label, is_refused);
            assembly.unread.insert(label.device.clone(), why);
        }
    }
    assembly.groups.sort_by(|a, b| a.name.cmp(&b.name));
    assembly
}

/// Notes which virtual disks lie where others were deleted.
fn note_deleted(groups: &mut [Group], gone: &BTreeSet<String>) {
    let deleted = groups.iter().filter(|group| gone.contains(&group.name));
    let deleted: Vec<Group> = deleted.cloned().collect();
    let overlap = |one: &Group, other: &Group| {
        one.members.iter().any(|own| {
            other.members.iter().any(|member| {
                let end = |member: &Member| member.data_offset.saturating_add(member.data_size);
                own.device.is_some()
                    && own.device == member.device
                    && own.data_offset < end(member)
                    && member.data_offset < end(own)
            })
        })
    };
    for group in groups
        .iter_mut()
        .filter(|group| !gone.contains(&group.name))
    {
        let beneath = deleted.iter().filter(|older| overlap(group, older));
        let names: Vec<String> = beneath.map(|older| older.name.clone()).collect();
        group.over.extend(names);
    }
}

/// What the labels say of each virtual disk, those of which parts are to be read by themselves in parts.
fn stated(labels: &[Label]) -> Vec<Stated<'_>> {
    let mut records: BTreeMap<Guid, BTreeMap<u8, &Record>> = BTreeMap::new();
    let mut knowing: BTreeMap<Guid, Vec<&Label>> = BTreeMap::new();
    for label in labels {
        for record in &label.records {
            let parts = records.entry(record.guid).or_default();
            let part = parts.entry(record.secondary.1).or_insert(record);
            if record.sequence > part.sequence {
                *part = record;
            }
            knowing.entry(record.guid).or_default().push(label);
        }
    }
    let names = names(labels, &records);
    let mut all = Vec::new();
    for (guid, parts) in &records {
        let elements = parts.values().flat_map(|part| &part.elements);
        let holders = elements.filter_map(|(reference, _)| holder(labels, *reference));
        let knowing = knowing.get(guid).into_iter().flatten().copied();
        let newest = holders.chain(knowing);
        let newest = newest.max_by_key(|l| (l.sequence, std::cmp::Reverse(&l.device)));
        let (Some(newest), Some(name), Some(first)) =
            (newest, names.get(guid), parts.values().next())
        else {
            continue;
        };
        let entry = newest.virtual_disks.iter().find(|own| own.guid == *guid);
        let one = |name: String, record, elements| Stated {
            name,
            record,
            elements,
            newest,
            entry,
            fault: None,
        };
        if first.is_striped_mirror() {
            let fault = disagreement(parts);
            let elements = match fault {
                Some(_) => elements_of(parts.values().copied()),
                None => elements_by_part(first, parts),
            };
            all.push(Stated {
                fault,
                ..one(name.clone(), *first, elements)
            });
        } else if first.is_part() {
            for (number, part) in parts {
                let elements = elements_of([*part]);
                all.push(one(format!("{name}-{number}"), *part, elements));
            }
        } else {
            all.push(one(name.clone(), *first, elements_of([*first])));
        }
    }
    all
}

/// The disks of records, one record after the other.
fn elements_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<Option<(u32, u64)>> {
    let elements = records.into_iter().flat_map(|record| &record.elements);
    elements.copied().map(Some).collect()
}

/// The same of all parts of a striped mirror, with room for those of which no record is left.
fn elements_by_part(first: &Record, parts: &BTreeMap<u8, &Record>) -> Vec<Option<(u32, u64)>> {
    let elements = (0..first.secondary.0).flat_map(|number| match parts.get(&number) {
        Some(part) => elements_of([*part]),
        None => vec![None; first.elements.len()],
    });
    elements.collect()
}

/// Why parts cannot be those of one striped mirror.
fn disagreement(parts: &BTreeMap<u8, &Record>) -> Option<String> {
    let first = parts.values().next()?;
    let members = usize::from(first.secondary.0).saturating_mul(first.elements.len());
    if members > usize::try_from(MAX_MEMBERS).unwrap_or(usize::MAX) {
        return Some(format!("a striped mirror of {members} disks"));
    }
    let is_part =
        |(number, part): (&u8, &&Record)| *number < first.secondary.0 && part.is_alike(first);
    (!parts.iter().all(is_part)).then(|| "parts of a striped mirror that are not alike".to_owned())
}

/// A name for each virtual disk: `vd-` and its own name if it has one that no other has, else the end of its
/// GUID.
fn names(
    labels: &[Label],
    records: &BTreeMap<Guid, BTreeMap<u8, &Record>>,
) -> BTreeMap<Guid, String> {
    let mut newest: BTreeMap<Guid, (u32, &str)> = BTreeMap::new();
    for label in labels {
        for own in &label.virtual_disks {
            let known = newest
                .entry(own.guid)
                .or_insert((label.sequence, &own.name));
            if label.sequence > known.0 {
                *known = (label.sequence, &own.name);
            }
        }
    }
    let own = |guid: &Guid| newest.get(guid).and_then(|(_, name)| safe_name(name));
    let (mut all, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for name in records.keys().filter_map(own) {
        if !all.insert(name.clone()) {
            shared.insert(name);
        }
    }
    let name = |guid: &Guid| {
        let name = own(guid).filter(|name| !shared.contains(name));
        format!("vd-{}", name.unwrap_or_else(|| guid.short()))
    };
    records.keys().map(|guid| (*guid, name(guid))).collect()
}

fn unused(label: &Label, why: &str) -> Unused {
    Unused {
        device: label.device.clone(),
        copy_of: None,
        why: why.to_owned(),
    }
}

/// Why no virtual disk uses a disk.
fn why_unread(label: &Label, is_refused: bool) -> &'static str {
    let mut own = label.disks.iter();
    let own = own.find(|disk| disk.reference == label.reference);
    if is_refused {
        "its DDF label states a virtual disk that is not read (see the losses), and nothing in the contents says which group it was a member of"
    } else if own.is_some_and(|own| own.is_spare()) {
        "a spare by its DDF label"
    } else if label.records.is_empty() {
        "its DDF label has no record of a virtual disk that could be read"
    } else {
        "its DDF label is older than one that names other disks in its place"
    }
}

fn unsupported(stated: &Stated<'_>, what: String) -> Loss {
    let name = &stated.name;
    Loss {
        what: format!(
            "DDF virtual disk {name}: disks that no other one uses are left to their contents"
        ),
        origin: Origin::new(stated.newest.device.0.clone(), ByteOffset::ZERO),
        cause: Cause::Unsupported(what),
    }
}
