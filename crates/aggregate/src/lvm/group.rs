//! From physical volumes to volume groups: which text of which ring counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::{ByteOffset, Cause, GapCause, Loss, Origin, ReadAt};

use super::marks::{IsOfKind, KINDS_OF_MARKS, Mark};
use super::metadata::MetadataArea;
use super::{DiskArea, Id, Label, PhysicalVolume, VolumeGroup};
use crate::document::{self, DeviceName, MetadataVersion, Unused, VersionState};

/// Where LVM puts the first metadata area, and how long it makes it.
const USUAL_AREA: DiskArea = DiskArea {
    offset: 4096,
    size: (1 << 20) - 4096,
};

/// What a device holds of LVM.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanned {
    /// The device.
    pub device: DeviceName,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its label; `None` if there is metadata but no label any more.
    pub label: Option<Label>,
    /// Its metadata areas.
    pub areas: Vec<MetadataArea>,
    /// Of a device without a label: what it shows of what its texts say stands on physical volumes.
    pub(super) marks: BTreeSet<Mark>,
}

impl Scanned {
    /// A device that has lost its label.
    pub(super) fn without_label(
        device: &dyn ReadAt,
        name: &DeviceName,
        areas: Vec<MetadataArea>,
    ) -> Self {
        Self {
            device: name.clone(),
            bytes: device.len(),
            label: None,
            marks: Mark::all_shown(device, &areas),
            areas,
        }
    }
}

/// Reads the label of `device`, called `name`, and what it points to; `None` without a label.
pub fn scan(device: &dyn ReadAt, name: &DeviceName) -> Option<Scanned> {
    let label = Label::read(device)?;
    let areas = label
        .metadata_areas
        .iter()
        .map(|area| MetadataArea::read(device, name, *area))
        .collect();
    Some(Scanned {
        device: name.clone(),
        bytes: device.len(),
        label: Some(label),
        areas,
        marks: BTreeSet::new(),
    })
}

/// Looks for metadata texts where LVM usually puts them, on a device that has no label any
/// more: `pvremove` and the first sectors of another use do not reach them.
pub fn scan_without_label(device: &dyn ReadAt, name: &DeviceName) -> Option<Scanned> {
    let mut area = MetadataArea::read(device, name, USUAL_AREA);
    area.losses.clear();
    let any = area.versions.iter().any(|version| version.group.is_ok());
    any.then(|| Scanned::without_label(device, name, vec![area]))
}

/// A volume group: the text that counts, and the devices of its physical volumes.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, made unique.
    pub name: String,
    /// What the text says.
    pub text: Arc<VolumeGroup>,
    /// Where the text was read.
    pub origin: Origin,
    /// The devices of the physical volumes that are there.
    pub devices: BTreeMap<Id, DeviceName>,
    /// Every text of the group that is still there, newest first.
    pub versions: Vec<MetadataVersion>,
    /// Whether no metadata area points to the text: the group was removed.
    pub removed: bool,
    /// What a person should know before trusting it.
    pub notes: Vec<String>,
}

impl Group {
    /// Whether every physical volume is there.
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The physical volumes that are not there.
    pub fn missing(&self) -> impl Iterator<Item = &PhysicalVolume> {
        let pvs = self.text.physical_volumes.iter();
        pvs.filter(|pv| !self.devices.contains_key(&pv.id))
    }

    /// The group as a statement of the document.
    pub fn statement(&self) -> document::VolumeGroup {
        let physical_volumes =
            self.text
                .physical_volumes
                .iter()
                .map(|pv| document::PhysicalVolume {
                    name: pv.name.clone(),
                    uuid: pv.id.to_string(),
                    device: self.devices.get(&pv.id).cloned(),
                    bytes: pv.bytes,
                });
        document::VolumeGroup {
            name: self.name.clone(),
            uuid: self.text.id.to_string(),
            seqno: self.text.seqno,
            extent_bytes: self.text.extent_bytes,
            physical_volumes: physical_volumes.collect(),
            versions: self.versions.clone(),
            notes: self.notes.clone(),
        }
    }

    /// One loss for each physical volume that is missing.
    pub fn losses(&self) -> Vec<Loss> {
        let loss = |pv: &PhysicalVolume| Loss {
            what: format!(
                "physical volume {} ({}, {} bytes, last called {}) of volume group {}",
                pv.name, pv.id, pv.bytes, pv.device_hint, self.name
            ),
            origin: self.origin.clone(),
            cause: Cause::Gap(GapCause::MemberMissing),
        };
        self.missing().map(loss).collect()
    }
}

/// What the physical volumes amount to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// The volume groups, by name and UUID.
    pub groups: Vec<Group>,
    /// Groups that were removed and whose disks another group uses since: only their texts
    /// are left.
    pub superseded: Vec<Group>,
    /// Physical volumes that no group uses, and why.
    pub unused: Vec<Unused>,
    /// What is wrong with labels and metadata areas.
    pub losses: Vec<Loss>,
}

/// A text that could be the one that counts.
struct Candidate {
    rank: Rank,
    text: Arc<VolumeGroup>,
    crc: u32,
    origin: Origin,
}

impl Candidate {
    /// What decides between texts of one group; the greatest counts.
    fn worth(&self) -> (Rank, u64, u32) {
        (self.rank, self.text.seqno, self.crc)
    }
}

/// What the metadata areas say about a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A sound header points to another text or to none: this one was replaced, or its group
    /// was removed.
    Removed,
    /// It is the current one, or the newest left where the header or the current one is broken.
    InUse,
}

/// Puts the physical volumes of each volume group together; the order of `scanned` does not
/// matter.
pub fn gather(scanned: &[Scanned]) -> Gathered {
    let mut sorted: Vec<&Scanned> = scanned.iter().collect();
    sorted.sort_by(|a, b| a.device.cmp(&b.device));
    let mut gathered = Gathered {
        losses: sorted
            .iter()
            .flat_map(|pv| pv.areas.iter().flat_map(|area| area.losses.clone()))
            .collect(),
        ..Gathered::default()
    };
    let labelled = unique(&sorted, &mut gathered.unused);
    let mut best: BTreeMap<Id, Candidate> = BTreeMap::new();
    for candidate in sorted.iter().flat_map(|pv| candidates(pv)) {
        match best.get(&candidate.text.id) {
            Some(other) if other.worth() >= candidate.worth() => {}
            _ => {
                best.insert(candidate.text.id, candidate);
            }
        }
    }
    let mut groups = Vec::new();
    let mut in_use: BTreeSet<Id> = BTreeSet::new();
    for candidate in newest_first(best) {
        let pvs = || candidate.text.physical_volumes.iter().map(|pv| pv.id);
        let superseded = candidate.rank == Rank::Removed && pvs().any(|pv| in_use.contains(&pv));
        if !superseded {
            in_use.extend(pvs());
        }
        let group = group(candidate, &sorted, &labelled);
        if superseded {
            gathered.superseded.push(group);
        } else {
            groups.push(group);
        }
    }
    name_apart(&mut groups);
    note_unused(&sorted, &groups, &mut gathered.unused);
    gathered.groups = groups;
    gathered
}

/// The chosen texts: those in use first, then those of removed groups, the latest first.
fn newest_first(best: BTreeMap<Id, Candidate>) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = best.into_values().collect();
    all.sort_by_key(|c| std::cmp::Reverse((c.rank, c.text.created, c.text.id)));
    all
}

/// One device for each labelled physical volume. Of several copies the one that has its whole
/// length and the newest text counts; the others are unused.
fn unique<'a>(sorted: &[&'a Scanned], unused: &mut Vec<Unused>) -> BTreeMap<Id, &'a Scanned> {
    let mut labelled: BTreeMap<Id, &Scanned> = BTreeMap::new();
    let mut spare = Vec::new();
    for pv in sorted {
        let Some(label) = &pv.label else { continue };
        let worth = |pv: &Scanned| {
            let whole = pv.bytes >= label.device_size;
            let newest = candidates(pv).map(|c| (c.rank, c.text.seqno)).max();
            (whole, newest)
        };
        match labelled.get(&label.pv_uuid) {
            Some(other) if worth(other) >= worth(pv) => spare.push((*pv, *other)),
            Some(other) => {
                spare.push((*other, *pv));
                labelled.insert(label.pv_uuid, pv);
            }
            None => {
                labelled.insert(label.pv_uuid, pv);
            }
        }
    }
    unused.extend(spare.into_iter().map(|(pv, other)| Unused {
        device: pv.device.clone(),
        copy_of: None,
        why: format!("a copy of the LVM physical volume on {}", other.device),
    }));
    labelled
}

/// The texts of a physical volume that could count, the newest of each metadata area and group.
fn candidates(pv: &Scanned) -> impl Iterator<Item = Candidate> {
    pv.areas.iter().flat_map(move |area| {
        let in_use = text_in_use(area);
        let mut newest: BTreeMap<Id, Candidate> = BTreeMap::new();
        for version in &area.versions {
            let Ok(text) = &version.group else { continue };
            if version.state == VersionState::Precommitted {
                continue;
            }
            let candidate = Candidate {
                rank: if in_use == Some(version.offset) {
                    Rank::InUse
                } else {
                    Rank::Removed
                },
                text: Arc::clone(text),
                crc: version.crc,
                origin: Origin::new(pv.device.to_string(), ByteOffset::new(version.offset)),
            };
            match newest.get(&text.id) {
                Some(other) if other.worth() >= candidate.worth() => {}
                _ => {
                    newest.insert(text.id, candidate);
                }
            }
        }
        newest.into_values()
    })
}

/// Where the text lies that is in use by the area's own word: the current one, or the newest
/// intact one if that or the header is broken.
fn text_in_use(area: &MetadataArea) -> Option<u64> {
    let intact = || area.versions.iter().filter(|v| v.group.is_ok());
    if let Some(current) = intact().find(|v| v.state == VersionState::Current) {
        return Some(current.offset);
    }
    if area.committed.is_none() && area.losses.is_empty() {
        return None;
    }
    intact()
        .filter(|v| v.state == VersionState::Older)
        .max_by_key(|v| {
            v.group
                .as_ref()
                .map_or((0, 0), |text| (text.created, text.seqno))
        })
        .map(|v| v.offset)
}

/// The group of a chosen text.
fn group(candidate: Candidate, sorted: &[&Scanned], labelled: &BTreeMap<Id, &Scanned>) -> Group {
    let text = candidate.text;
    let mut devices: BTreeMap<Id, DeviceName> = text
        .physical_volumes
        .iter()
        .filter_map(|pv| Some((pv.id, labelled.get(&pv.id)?.device.clone())))
        .collect();
    let versions = versions(text.id, sorted);
    let mut notes = without_label(&text, sorted, &mut devices);
    notes.extend(notes_on(candidate.rank, &text, candidate.crc, &versions));
    Group {
        name: text.name.clone(),
        text,
        origin: candidate.origin,
        devices,
        versions,
        removed: candidate.rank == Rank::Removed,
        notes,
    }
}

/// Finds places in the group for devices that hold its texts but have lost their labels: by
/// their length, by what stands on them, or because only one place is left. Returns a note for each.
fn without_label(
    text: &VolumeGroup,
    sorted: &[&Scanned],
    devices: &mut BTreeMap<Id, DeviceName>,
) -> Vec<String> {
    let mut homeless: Vec<&Scanned> = sorted
        .iter()
        .filter(|pv| pv.label.is_none() && newest_group(pv) == Some(text.id))
        .copied()
        .collect();
    let mut notes = Vec::new();
    loop {
        let free: Vec<&PhysicalVolume> = text
            .physical_volumes
            .iter()
            .filter(|pv| !devices.contains_key(&pv.id))
            .collect();
        let by_length = homeless.iter().enumerate().find_map(|(place, scanned)| {
            let mut fitting = free.iter().filter(|pv| pv.bytes == scanned.bytes);
            let pv = fitting.next()?;
            let rivals = homeless.iter().filter(|s| s.bytes == scanned.bytes).count();
            (fitting.next().is_none() && rivals == 1).then_some((place, *pv, "its length"))
        });
        let only = match (free.as_slice(), homeless.as_slice()) {
            ([pv], [scanned]) if pv.bytes <= scanned.bytes.saturating_add(pv.bytes >> 6) => {
                Some((0, *pv, "no other place being left"))
            }
            _ => None,
        };
        let by_marks = || {
            KINDS_OF_MARKS.iter().find_map(|(is_wanted, why)| {
                let (place, pv) = by_marks(text, &free, &homeless, *is_wanted)?;
                Some((place, pv, *why))
            })
        };
        let Some((place, pv, why)) = by_length.or(only).or_else(by_marks) else {
            break;
        };
        let scanned = homeless.remove(place);
        devices.insert(pv.id, scanned.device.clone());
        notes.push(format!(
            "{} has lost its label: it is taken for {} because of {why}",
            scanned.device, pv.name
        ));
    }
    notes
}

/// A device and the one physical volume on which the text says that something stands which it shows, if that
/// holds for no other device: of what is wanted.
fn by_marks<'a>(
    text: &VolumeGroup,
    free: &[&'a PhysicalVolume],
    homeless: &[&Scanned],
    is_wanted: IsOfKind,
) -> Option<(usize, &'a PhysicalVolume)> {
    let marks = Mark::all_in(text).into_iter();
    let marks: Vec<(&str, Mark)> = marks.filter(|(_, mark)| is_wanted(mark)).collect();
    let agrees = |pv: &PhysicalVolume, scanned: &Scanned| {
        let mut own = marks.iter().filter(|(name, _)| *name == pv.name);
        own.any(|(_, mark)| scanned.marks.contains(mark))
    };
    homeless.iter().enumerate().find_map(|(place, scanned)| {
        let mut fitting = free.iter().filter(|pv| agrees(pv, scanned));
        let pv = fitting.next()?;
        let devices = homeless.iter().filter(|other| agrees(pv, other)).count();
        (fitting.next().is_none() && devices == 1).then_some((place, *pv))
    })
}

/// The group of the newest text on a device.
fn newest_group(pv: &Scanned) -> Option<Id> {
    candidates(pv)
        .max_by_key(|c| (c.rank, c.text.created, c.text.seqno))
        .map(|c| c.text.id)
}

/// What is to be said about a chosen text.
fn notes_on(rank: Rank, text: &VolumeGroup, crc: u32, versions: &[MetadataVersion]) -> Vec<String> {
    let mut notes = Vec::new();
    let chosen = versions.iter().find(|v| v.crc == crc);
    if rank == Rank::Removed {
        notes.push(format!(
            "the group was removed: the newest text that is left in a ring, number {}, is used",
            text.seqno
        ));
    } else if chosen.is_some_and(|v| v.state == VersionState::Older) {
        notes.push(format!(
            "the current metadata text is broken: the newest intact older one, number {}, is used",
            text.seqno
        ));
    }
    let rivals = versions
        .iter()
        .filter(|v| v.seqno == text.seqno && v.crc != crc && v.state == VersionState::Current);
    if rivals.count() > 0 {
        notes.push(format!(
            "the physical volumes hold different texts of number {}: one of them was changed while another was away",
            text.seqno
        ));
    }
    if let Some(v) = versions
        .iter()
        .find(|v| v.state == VersionState::Precommitted)
    {
        notes.push(format!("text {} was written but not committed", v.seqno));
    }
    notes
}

/// Every text of the group `id`, newest first, equal ones of several rings as one.
fn versions(id: Id, sorted: &[&Scanned]) -> Vec<MetadataVersion> {
    let mut all: BTreeMap<(std::cmp::Reverse<u64>, u32, usize), MetadataVersion> = BTreeMap::new();
    for pv in sorted {
        for version in pv.areas.iter().flat_map(|area| &area.versions) {
            if version.id != Some(id) {
                continue;
            }
            let seqno = version.seqno.unwrap_or(0);
            let text = version.group.as_ref().ok();
            let place = Origin::new(pv.device.to_string(), ByteOffset::new(version.offset));
            let key = (std::cmp::Reverse(seqno), version.crc, version.text.len());
            let entry = all.entry(key).or_insert_with(|| MetadataVersion {
                seqno,
                bytes: version.text.len() as u64,
                crc: version.crc,
                state: version.state,
                intact: text.is_some(),
                description: text.map_or_else(String::new, |t| t.description.clone()),
                created: text.map_or(0, |t| t.created),
                places: Vec::new(),
            });
            entry.state = entry.state.min(version.state);
            entry.places.push(place);
        }
    }
    all.into_values().collect()
}

/// Adds a piece of the UUID to the names of groups that share one.
fn name_apart(groups: &mut [Group]) {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for group in groups.iter() {
        let entry = count.entry(group.name.clone()).or_default();
        *entry = entry.saturating_add(1);
    }
    for group in groups.iter_mut() {
        if count.get(&group.name).is_some_and(|n| *n > 1) {
            group
                .notes
                .push(format!("another group is called {} too", group.name));
            group.name = format!("{}-{}", group.name, group.text.id.short());
        }
    }
    // A hostile name may be made to look like such a one: then the whole UUID decides.
    let mut seen = BTreeSet::new();
    for group in groups.iter_mut() {
        if !seen.insert(group.name.clone()) {
            group.name = format!("{}-{}", group.name, group.text.id);
            seen.insert(group.name.clone());
        }
    }
    groups.sort_by(|a, b| (&a.name, a.text.id).cmp(&(&b.name, b.text.id)));
}

/// Says of each labelled device that no group uses why that is.
fn note_unused(sorted: &[&Scanned], groups: &[Group], unused: &mut Vec<Unused>) {
    let used: BTreeSet<&DeviceName> = groups.iter().flat_map(|g| g.devices.values()).collect();
    for pv in sorted {
        if used.contains(&pv.device) || unused.iter().any(|u| u.device == pv.device) {
            continue;
        }
        let why = match &pv.label {
            Some(label) => format!(
                "LVM physical volume {}: no metadata names it, so its group is unknown",
                label.pv_uuid
            ),
            None => "LVM metadata without a label: it is not certain which physical volume of the group this is".to_owned(),
        };
        unused.push(Unused {
            device: pv.device.clone(),
            copy_of: None,
            why,
        });
    }
}
