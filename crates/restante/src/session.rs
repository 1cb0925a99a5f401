//! A case with its evidence open: what all commands after `scan` begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use aggregate::document::{Aggregate, DeviceName};
use aggregate::{Devices, Disk, outermost};
use anyhow::{Context, Result};
use case::{CATALOGUE, Case, EvidenceRecord};
use evidence::ReadAt;
use evidence::image::{Format, Image};
use filesystem::Filesystem;
use scan::catalogue::{SEGMENT_EXTENSION, Segment, SegmentError, UnitRecord, segment_name};
use scan::{Unit, hash_unit, units};

use crate::unlock;
use crate::usage::Usage;

/// Opens the disks of a case, in the order of their names. Of images that are the same the one
/// with the fewest gaps is taken: it is the same disk, imaged or named twice.
pub(crate) fn open_disks(case: &Case) -> Result<Vec<Disk>> {
    let file = case.file()?;
    if file.evidence.is_empty() {
        return Err(Usage::error(
            "the case has no evidence yet; add images with `restante scan CASE IMAGE...`",
        ));
    }
    let mut best: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (name, record) in &file.evidence {
        if let Some(hash) = &record.blake3 {
            let entry = best.entry(hash).or_insert((name, record.unread));
            if record.unread < entry.1 {
                *entry = (name, record.unread);
            }
        }
    }
    let mut disks: Vec<Disk> = Vec::new();
    for (name, record) in &file.evidence {
        let twin = record.blake3.as_deref().and_then(|hash| best.get(hash));
        if twin.is_some_and(|(best, _)| best != name) {
            continue;
        }
        let image = open_evidence(name, record)?;
        check_identity(case, name, record, &image)?;
        disks.push((name.clone(), Arc::new(image)));
    }
    Ok(disks)
}

/// Opens one piece of evidence. It must be as long as when it was added, and its mapfile must
/// say the same.
pub(crate) fn open_evidence(name: &str, record: &EvidenceRecord) -> Result<Image> {
    // What was taken as raw stays raw: its first bytes may look like a container.
    let image = if Format::is_raw_name(&record.format) {
        evidence::image::open_raw(&record.path)
    } else {
        evidence::image::open(&record.path)
    };
    let image = image.with_context(|| format!("evidence {name} cannot be opened"))?;
    let changed = |what: String| {
        Usage::error(format!(
            "{} is not the same evidence as when it was added to the case as {name}: {what}. Put it \
             back as it was, or take it as it is now with `restante scan CASE --again {name}`",
            record.path.display(),
        ))
    };
    if image.len() != record.bytes {
        let (now, then) = (image.len(), record.bytes);
        return Err(changed(format!("it has {now} bytes, and had {then}")));
    }
    if not_rescued_digest(&image) != record.not_rescued_digest {
        return Err(changed(
            "its ddrescue mapfile is new, gone, or says something else".to_owned(),
        ));
    }
    Ok(image)
}

/// The digest of the areas that the mapfile of `image` names as not rescued; `None` without any.
pub(crate) fn not_rescued_digest(image: &Image) -> Option<String> {
    let areas = image.not_rescued();
    let text: String = areas
        .iter()
        .map(|area| format!("{}-{}\n", area.start, area.end))
        .collect();
    (!areas.is_empty()).then(|| blake3::hash(text.as_bytes()).to_hex().to_string())
}

/// When the file of an image was last changed; `None` for a device, whose time says nothing.
pub(crate) fn modified_ns(image: &Image) -> Option<u64> {
    let modified = match image.format() {
        Format::Device => None,
        _ => fs::metadata(image.path()).ok()?.modified().ok(),
    };
    let elapsed = modified?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(elapsed.as_nanos()).ok()
}

/// Checks that an image holds what it did when it was scanned, by its first and its last unit,
/// unless its file was not touched since: device names change their disks, and images are
/// copied over each other. `restante verify` reads all of it.
pub(crate) fn check_identity(
    case: &Case,
    name: &str,
    record: &EvidenceRecord,
    image: &Image,
) -> Result<()> {
    let modified = modified_ns(image);
    if modified.is_some() && modified == record.modified_ns {
        return Ok(());
    }
    let all: Vec<Unit> = units(image).collect();
    let ends = all.iter().take(1).chain(all.iter().skip(1).last());
    for unit in ends {
        let Some(wanted) = scanned_unit(case, name, *unit)?.and_then(|record| record.blake3) else {
            continue;
        };
        if hash_unit(image, *unit, &|_| ())? != wanted {
            return Err(Usage::error(format!(
                "{} holds other bytes than when it was scanned as {name} (at {}): it was changed, \
                 or another disk has its name now. Put it back, or take it as it is now with \
                 `restante scan CASE --again {name}`",
                image.path().display(),
                unit.start,
            )));
        }
    }
    Ok(())
}

/// The record of a unit that is scanned already; what is written of another range is not it.
pub(crate) fn scanned_unit(case: &Case, evidence: &str, unit: Unit) -> Result<Option<UnitRecord>> {
    let path = case.file_path(CATALOGUE, &segment_name(evidence, unit), SEGMENT_EXTENSION);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let record = UnitRecord::read(file).map_err(|error| spoilt(&path, &error))?;
    Ok((record.start == unit.start && record.bytes == unit.bytes).then_some(record))
}

/// All that is written of a unit, if it is scanned already.
pub(crate) fn scanned_segment(case: &Case, evidence: &str, unit: Unit) -> Result<Option<Segment>> {
    let name = segment_name(evidence, unit);
    let Some(bytes) = case.read_file_of(CATALOGUE, &name, SEGMENT_EXTENSION)? else {
        return Ok(None);
    };
    let path = case.file_path(CATALOGUE, &name, SEGMENT_EXTENSION);
    let segment = Segment::decode(bytes.into()).map_err(|error| spoilt(&path, &error))?;
    let same = segment.unit.start == unit.start && segment.unit.bytes == unit.bytes;
    Ok(same.then_some(segment))
}

fn spoilt(path: &Path, error: &SegmentError) -> anyhow::Error {
    Usage::error(format!(
        "{}: {error}. Remove the file, and `restante scan CASE` makes it again",
        path.display()
    ))
}

/// What to say of evidence that has no hash yet; `None` if all of it has.
pub(crate) fn not_identified(case: &Case) -> Result<Option<String>> {
    let file = case.file()?;
    let names: Vec<&str> = file
        .evidence
        .iter()
        .filter(|(_, record)| record.blake3.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    Ok((!names.is_empty()).then(|| {
        format!(
            "NOT IDENTIFIED YET: {} (scanned with --no-hash, or not to the end). Until `restante \
             scan CASE` has hashed it, nothing proves that it stays the same, and two images of one \
             disk are taken for two disks.\n",
            names.join(", ")
        )
    }))
}

/// What `aggregate.json` of a case says.
pub(crate) fn stated(case: &Case) -> Result<Aggregate> {
    case.read_json("aggregate.json")?.ok_or_else(|| {
        Usage::error("the case has no aggregate.json yet; run `restante assemble` on it")
    })
}

/// The devices of a case that are encrypted and were not opened.
pub(crate) fn locked(case: &Case) -> Result<Vec<String>> {
    let encrypted = stated(case)?.encrypted.into_iter();
    let locked = encrypted.filter(|encrypted| encrypted.opened.is_none());
    Ok(locked.map(|encrypted| encrypted.device.0).collect())
}

/// The aggregate of a case, put together.
pub(crate) struct Session {
    /// What `aggregate.json` says.
    pub(crate) aggregate: Aggregate,
    /// The devices, disks included.
    pub(crate) devices: Devices,
}

impl Session {
    /// Puts together what `aggregate.json` of `case` says.
    pub(crate) fn open(case: &Case) -> Result<Self> {
        Self::build(stated(case)?, &open_disks(case)?)
    }

    /// The same on `disks`, which are those of the case in some other form.
    pub(crate) fn with_disks(case: &Case, disks: &[Disk]) -> Result<Self> {
        Self::build(stated(case)?, disks)
    }

    /// Puts together what `aggregate` says, on `disks`.
    pub(crate) fn build(aggregate: Aggregate, disks: &[Disk]) -> Result<Self> {
        let devices = aggregate::build_with(&aggregate, disks, unlock::keys())?;
        if let Some((name, why)) = devices.locked().iter().next() {
            return Err(Usage::error(format!(
                "aggregate.json states {name}, which was opened with a key, and now {why}: give the \
                 key again with --unlock FILE or in {}, or work the aggregate out without it by \
                 `restante assemble CASE --again`",
                unlock::UNLOCK_VARIABLE
            )));
        }
        Ok(Self { aggregate, devices })
    }

    /// The device called `name`, with or without the kind in front.
    pub(crate) fn device(&self, name: &str) -> Result<(DeviceName, Arc<dyn ReadAt>)> {
        let candidates = [
            DeviceName(name.to_owned()),
            DeviceName::volume(name),
            DeviceName::group(name),
            DeviceName::disk(name),
            DeviceName(format!("partition:{name}")),
            DeviceName::opened(name),
        ];
        candidates
            .into_iter()
            .find_map(|name| Some((name.clone(), self.devices.get(&name)?)))
            .ok_or_else(|| {
                let known: Vec<&str> = self
                    .devices
                    .iter()
                    .map(|(name, _)| name.0.as_str())
                    .collect();
                Usage::error(format!(
                    "there is no device {name:?}; there are {}",
                    known.join(", ")
                ))
            })
    }

    /// The devices that can hold file systems: those that `aggregate.json` names as such, and
    /// those that nothing else lies on.
    pub(crate) fn devices_with_filesystems(&self) -> Result<Vec<filesystem::Device>> {
        let mut names: BTreeSet<&DeviceName> = outermost(&self.aggregate, &self.devices)
            .into_iter()
            .collect();
        names.extend(self.aggregate.filesystems.iter().map(|fs| &fs.device));
        let device = |name: &DeviceName| {
            let bytes = self.stated_device(name)?;
            Ok(filesystem::Device {
                name: name.0.clone(),
                bytes,
            })
        };
        names.into_iter().map(device).collect()
    }

    /// The device that a statement of `aggregate.json` puts a file system on.
    fn stated_device(&self, name: &DeviceName) -> Result<Arc<dyn ReadAt>> {
        self.devices.get(name).ok_or_else(|| {
            Usage::error(format!(
                "aggregate.json: the file system on {name} has no such device; state the device, \
                 or remove the statement"
            ))
        })
    }

    /// Opens the file systems that `aggregate.json` names, by their devices.
    pub(crate) fn filesystems(&self) -> Result<Vec<(String, Box<dyn Filesystem>)>> {
        let mut open = Vec::new();
        for statement in &self.aggregate.filesystems {
            let name = &statement.device;
            let device = self.stated_device(name)?;
            let fs = filesystem::open(device, &name.0)?.ok_or_else(|| {
                Usage::error(format!(
                    "aggregate.json: there is no file system on {name} that can be recognised; \
                     remove the statement, or mend the device that it names"
                ))
            })?;
            open.push((name.0.clone(), fs));
        }
        Ok(open)
    }
}
