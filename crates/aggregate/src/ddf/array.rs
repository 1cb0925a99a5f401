//! One virtual disk: from the records of its disks to a group of `aggregate.json`.

use std::collections::BTreeSet;

use super::label::{Label, VirtualDisk};
use super::record::Record;
use crate::document::{DeviceName, Group, Member, OVERWRITTEN_CONFIDENCE};
use crate::raid::Geometry;

/// What the labels say of one virtual disk, or of a part of one.
pub(super) struct Stated<'a> {
    pub(super) name: String,
    /// The newest record.
    pub(super) record: &'a Record,
    /// The disks by role, and where it begins on each; `None` where no record names one.
    pub(super) elements: Vec<Option<(u32, u64)>>,
    /// The newest label of those that know of it and those of its disks.
    pub(super) newest: &'a Label,
    /// What that one says of it; `None` if it is gone by then.
    pub(super) entry: Option<&'a VirtualDisk>,
    /// What the records say that cannot be.
    pub(super) fault: Option<String>,
}

impl Stated<'_> {
    /// Whether it is one no more by the newest label: what was made since may have been written over it.
    pub(super) fn is_gone(&self) -> bool {
        self.entry.is_none_or(VirtualDisk::is_deleted)
    }
}

/// The disk of a reference whose label counts: the newest one.
pub(super) fn holder(labels: &[Label], reference: u32) -> Option<&Label> {
    let own = labels.iter().filter(|label| label.reference == reference);
    own.max_by_key(|label| (label.sequence, std::cmp::Reverse(&label.device)))
}

/// The group. The error says what it is that cannot be read.
pub(super) fn group(stated: &Stated<'_>, labels: &[Label]) -> Result<Group, String> {
    let record = stated.record;
    if let Some(fault) = &stated.fault {
        return Err(fault.clone());
    }
    let holders: Vec<Option<&Label>> = stated
        .elements
        .iter()
        .map(|element| holder(labels, (*element)?.0))
        .collect();
    let there: Vec<&DeviceName> = holders
        .iter()
        .flatten()
        .map(|label| &label.device)
        .collect();
    if there.iter().collect::<BTreeSet<_>>().len() < there.len() {
        return Err("one disk in two places".to_owned());
    }
    let own_bytes = |holder: &Option<&Label>| {
        let records = holder.iter().flat_map(|label| &label.records);
        let own = records.filter(|own| own.guid == record.guid && record.is_chain());
        let own = own.max_by_key(|own| own.sequence);
        own.map_or(record.member_bytes, |own| own.member_bytes)
    };
    let level = record.to_level(holders.iter().map(own_bytes).collect())?;
    if stated.entry.is_some_and(VirtualDisk::is_morphing) {
        return Err("a change to another geometry that was not finished".to_owned());
    }
    let mut geometry =
        Geometry::filling(level, record.member_bytes).map_err(|error| error.to_string())?;
    if record.bytes > 0 && !record.is_part() {
        geometry.bytes = geometry.bytes.min(record.bytes);
    }
    let members: Vec<Member> = (0..)
        .zip(stated.elements.iter().zip(&holders))
        .map(|(role, (element, holder))| Member {
            role,
            device: holder.map(|label| label.device.clone()),
            data_offset: holder.and(*element).map_or(0, |(_, start)| start),
            data_size: holder.map_or(0, |_| own_bytes(holder)),
            left_out: holder.and_then(|label| left_out(label, stated.newest)),
            bad_blocks: Vec::new(),
        })
        .collect();
    let mut evidence = vec![statement(stated)];
    evidence.extend(holders.iter().flatten().map(|label| labelled(label)));
    let parity_is_open = stated.entry.is_some_and(VirtualDisk::is_inconsistent);
    evidence.extend(parity_is_open.then(|| {
        "the virtual disk is stated to be inconsistent: where members are missing, rows that were being written may be rebuilt wrongly".to_owned()
    }));
    let mut group = Group {
        name: stated.name.clone(),
        geometry,
        members,
        evidence,
        confidence: 1.0,
        over: Vec::new(),
    };
    if stated.is_gone() {
        group.confidence = OVERWRITTEN_CONFIDENCE;
        group.evidence.push(format!(
            "it was deleted by the newest label, on {}: what was written since may lie over it",
            stated.newest.device
        ));
    }
    take_back(&mut group, labels);
    Ok(group)
}

/// Takes members back that were left out, where nothing else has what they hold: the newest first, for the
/// last one to fail is nearly current.
fn take_back(group: &mut Group, labels: &[Label]) {
    let sequence = |member: &Member| {
        let own = labels
            .iter()
            .filter(|l| Some(&l.device) == member.device.as_ref());
        own.map(|label| label.sequence).max()
    };
    while !group.missing().is_empty()
        && let Some(member) = group
            .members
            .iter_mut()
            .filter(|member| member.left_out.is_some())
            .max_by_key(|member| sequence(member))
        && let (Some(why), Some(device)) = (member.left_out.take(), &member.device)
    {
        group.evidence.push(format!(
            "{device} is read although {why}: no other disk has what it holds, which may be older than the rest"
        ));
    }
}

/// Why a disk is not to be read as a member, if the newest label says so.
fn left_out(label: &Label, newest: &Label) -> Option<String> {
    let is_older = label.sequence < newest.sequence;
    let by = &newest.device;
    let disks = newest.disks.iter();
    let mut own = disks.filter(|disk| disk.reference == label.reference);
    let Some(own) = own.next() else {
        return is_older.then(|| format!("the newest label, on {by}, does not know it any more"));
    };
    if own.is_failed() {
        Some(format!("the newest label, on {by}, calls it failed"))
    } else if own.is_missing() && is_older {
        Some(format!(
            "its label has number {}, and that on {by} number {}, by which it was missing",
            label.sequence, newest.sequence
        ))
    } else if own.is_rebuilding() {
        Some("it was being rebuilt, and no label says how far".to_owned())
    } else {
        None
    }
}

/// What the labels say of the virtual disk as a whole.
fn statement(stated: &Stated<'_>) -> String {
    let record = stated.record;
    let state = stated.entry.map_or("unknown", VirtualDisk::state);
    let part = match record.secondary {
        (count, number, level) if record.is_part() && !record.is_striped_mirror() => format!(
            ", part {number} of {count} of a secondary RAID level {level:#04x}: how data goes over the parts is left to their contents"
        ),
        _ => String::new(),
    };
    format!(
        "DDF virtual disk …{}, created {} (Unix time), record number {}, state {state}{part}",
        record.guid.short(),
        record.guid.created(),
        record.sequence
    )
}

fn labelled(label: &Label) -> String {
    format!(
        "DDF label on {} at byte {}, checksums hold, number {}, disk reference {:08x}",
        label.device, label.at, label.sequence, label.reference
    )
}
