//! One virtual disk: from the records of its disks to a group of `aggregate.json`.

use super::label::{Label, PhysicalDisk, VirtualDisk};
use super::record::Record;
use crate::document::{Group, Member};
use crate::raid::Geometry;

/// What the labels say of one virtual disk, or of a part of one.
pub(super) struct Stated<'a> {
    pub(super) name: String,
    /// The newest record.
    pub(super) record: &'a Record,
    /// The disks by role, and where it begins on each; `None` where no record names one.
    pub(super) elements: Vec<Option<(u32, u64)>>,
    /// The newest label that knows of it.
    pub(super) newest: &'a Label,
    /// What that one says of it.
    pub(super) entry: Option<&'a VirtualDisk>,
}

/// The disk of a reference whose label counts: the newest one.
pub(super) fn holder(labels: &[Label], reference: u32) -> Option<&Label> {
    let own = labels.iter().filter(|label| label.reference == reference);
    own.max_by_key(|label| (label.sequence, std::cmp::Reverse(&label.device)))
}

/// The group. The error says what it is that cannot be read.
pub(super) fn group(stated: &Stated<'_>, labels: &[Label]) -> Result<Group, String> {
    let record = stated.record;
    let holders: Vec<Option<&Label>> = stated
        .elements
        .iter()
        .map(|element| holder(labels, (*element)?.0))
        .collect();
    // In a chain each disk gives what its own record says.
    let own_bytes = |holder: &Option<&Label>| {
        let records = holder.iter().flat_map(|label| &label.records);
        let mut own = records.filter(|own| own.guid == record.guid);
        own.next()
            .map_or(record.member_bytes, |own| own.member_bytes)
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
    Ok(Group {
        name: stated.name.clone(),
        geometry,
        members,
        evidence,
        confidence: 1.0,
        over: Vec::new(),
    })
}

/// Why a disk is not to be read as a member, if the newest label says so.
fn left_out(label: &Label, newest: &Label) -> Option<String> {
    let disks = newest.disks.iter();
    let mut own = disks.filter(|disk| disk.reference == label.reference);
    let own: &PhysicalDisk = own.next()?;
    let is_older = label.sequence < newest.sequence;
    let by = &newest.device;
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
        "DDF virtual disk …{}, record number {} of {} (Unix time), state {state}{part}",
        record.guid.short(),
        record.sequence,
        record.created
    )
}

fn labelled(label: &Label) -> String {
    format!(
        "DDF label on {} at byte {}, checksums hold, number {}, disk reference {:08x}",
        label.device, label.at, label.sequence, label.reference
    )
}
