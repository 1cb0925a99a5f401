//! A case with its evidence open: what all commands after `scan` begin with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName};
use aggregate::{Devices, Disk};
use anyhow::{Context, Result};
use case::{Case, CaseFile};
use evidence::ReadAt;
use filesystem::Filesystem;

use crate::usage::Usage;

/// Opens the disks of a case, in the order of their names. An image that is the same as another
/// is left out: it is the same disk, imaged or named twice.
pub(crate) fn open_disks(file: &CaseFile) -> Result<Vec<Disk>> {
    if file.evidence.is_empty() {
        return Err(Usage::error(
            "the case has no evidence yet; add images with `restante scan CASE IMAGE...`",
        ));
    }
    let mut disks: Vec<Disk> = Vec::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, record) in &file.evidence {
        if let Some(hash) = &record.blake3
            && seen.insert(hash, name).is_some()
        {
            continue;
        }
        let image = open_evidence(name, &record.path, record.bytes)?;
        disks.push((name.clone(), Arc::new(image)));
    }
    Ok(disks)
}

/// Opens one piece of evidence, which must be as long as when it was added.
pub(crate) fn open_evidence(name: &str, path: &Path, bytes: u64) -> Result<evidence::image::Image> {
    let image =
        evidence::image::open(path).with_context(|| format!("evidence {name} cannot be opened"))?;
    if image.len() != bytes {
        return Err(Usage::error(format!(
            "{} has {} bytes, and had {bytes} when it was added to the case as {name}: it is not \
             the same evidence any more. Put the image back, or begin a new case",
            path.display(),
            image.len(),
        )));
    }
    Ok(image)
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
        let aggregate: Aggregate = case.read_json("aggregate.json")?.ok_or_else(|| {
            Usage::error("the case has no aggregate.json yet; run `restante assemble` on it")
        })?;
        let disks = open_disks(&case.file()?)?;
        let devices = aggregate::build(&aggregate, &disks)?;
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

    /// Opens the file systems that `aggregate.json` names, by their devices.
    pub(crate) fn filesystems(&self) -> Result<Vec<(String, Box<dyn Filesystem>)>> {
        let mut open = Vec::new();
        for statement in &self.aggregate.filesystems {
            let name = &statement.device;
            let device = self.devices.get(name).ok_or_else(|| {
                Usage::error(format!(
                    "aggregate.json: the file system on {name} has no such device; state the \
                     device, or remove the statement"
                ))
            })?;
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
