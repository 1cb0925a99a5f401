//! What is searched for mail: devices, or what others leave over of them, and the addresses of file
//! systems that are spread over several.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use aggregate::coverage;
use aggregate::document::DeviceName;
use anyhow::Result;
use evidence::ReadAt;
use filesystem::View;

use super::Asked;
use super::compact::Compact;
use super::explained::{Explained, Spread};
use crate::args::Common;
use crate::session::Session;

/// Of a device that others lie on, less than this is not looked at: labels, and what is left
/// behind the last whole row or extent.
const LEAST_LEFT_OVER: u64 = 64 << 10;

/// Something to look on.
pub(super) struct Searched {
    /// The name of the device, or of the file system that is spread over several.
    pub(super) name: String,
    /// How what it means by its offsets is had again.
    pub(super) view: View,
    /// The bytes of the view.
    pub(super) bytes: Arc<dyn ReadAt>,
    /// The ranges of it to look on; `None`: all.
    pub(super) compact: Option<Compact>,
    /// What other devices lie on, or the blocks of files that are in use: sorted.
    pub(super) taken: Vec<Range<u64>>,
    /// Whether other devices lie on it, and only what they leave over is searched.
    pub(super) is_left_over: bool,
}

impl Searched {
    fn device(name: String, bytes: Arc<dyn ReadAt>, taken: Vec<Range<u64>>) -> Self {
        Self {
            view: View::Device(name.clone()),
            name,
            bytes,
            compact: None,
            taken,
            is_left_over: false,
        }
    }

    /// A file system by its addresses; `None` if none of its devices is there.
    fn spread(session: &Session, spread: Spread) -> Result<Option<Self>> {
        let device = |name: &str| session.devices.get(&DeviceName(name.to_owned()));
        let Some(bytes) = spread.view.open(device)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: spread.name,
            view: spread.view,
            bytes,
            compact: Some(Compact::new(spread.ranges)),
            taken: spread.in_files,
            is_left_over: false,
        }))
    }

    /// How many bytes it has.
    pub(super) fn reach(&self) -> u64 {
        let compact = self.compact.as_ref();
        compact.map_or_else(
            || self.bytes.len(),
            |compact| compact.bytes(&self.bytes).len(),
        )
    }

    /// Carves what is not taken of it; says how many bytes that were.
    pub(super) fn carve(&self, progress: &(dyn Fn(u64) + Sync)) -> (carve::Carved, u64) {
        let Some(compact) = &self.compact else {
            let carved = carve::carve(self.bytes.as_ref(), &self.taken, progress);
            return (carved, coverage::left_over(&self.taken, self.bytes.len()));
        };
        let bytes = compact.bytes(&self.bytes);
        let taken = compact.within(&self.taken);
        let mut carved = carve::carve(&bytes, &taken, progress);
        for message in &mut carved.messages {
            let pieces = std::mem::take(&mut message.found.pieces).into_iter();
            message.found.pieces = pieces.flat_map(|piece| compact.addresses(piece)).collect();
        }
        let searched = coverage::left_over(&taken, bytes.len());
        (carved, searched)
    }
}

/// What to look on: the devices that were asked for, or all that nothing else lies on, and what is
/// left over of the others; and file systems that are spread over them.
pub(super) fn wanted(
    session: &Session,
    asked: &Asked<'_>,
    common: &Common,
) -> Result<Vec<Searched>> {
    let Explained { mut taken, spread } = Explained::of(session, asked.all, common)?;
    let mut wanted = Vec::new();
    if asked.devices.is_empty() {
        for device in session.devices_with_filesystems()? {
            let taken = taken.remove(&device.name).unwrap_or_default();
            wanted.push(Searched::device(device.name, device.bytes, taken));
        }
        wanted.extend(left_over(session, &wanted));
        // A snapshot holds the blocks of its origin once more.
        let volumes = session.aggregate.volumes.iter();
        let snapshots: BTreeSet<&str> = volumes
            .filter(|volume| volume.snapshot_of.is_some())
            .map(|volume| volume.device.0.as_str())
            .collect();
        wanted.retain(|wanted| !snapshots.contains(wanted.name.as_str()));
        if !asked.all {
            let begun_over = coverage::begun_over(&session.aggregate);
            wanted.retain(|wanted| !begun_over.contains(&DeviceName(wanted.name.clone())));
        }
    } else {
        for device in asked.devices {
            let (DeviceName(name), bytes) = session.device(device)?;
            let taken = taken.remove(&name).unwrap_or_default();
            wanted.push(Searched::device(name, bytes, taken));
        }
    }
    let names: BTreeSet<String> = wanted.iter().map(|wanted| wanted.name.clone()).collect();
    for spread in spread {
        if spread
            .view
            .devices()
            .iter()
            .any(|name| names.contains(*name))
        {
            wanted.extend(Searched::spread(session, spread)?);
        }
    }
    Ok(wanted)
}

/// What no group and no volume lies on of the devices that are not `wanted` as a whole: space
/// of a volume that was removed, or was not found.
fn left_over(session: &Session, wanted: &[Searched]) -> Vec<Searched> {
    let whole: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    let hidden = session.aggregate.volumes.iter().filter(|v| v.hidden);
    // A hidden volume is read as that which it is a part of.
    let hidden: BTreeSet<&DeviceName> = hidden.map(|volume| &volume.device).collect();
    let mut covered = coverage::covered(&session.aggregate);
    let others = session.devices.iter();
    others
        .filter(|(device, _)| !whole.contains(device.0.as_str()) && !hidden.contains(device))
        .map(|(device, bytes)| Searched {
            is_left_over: true,
            ..Searched::device(
                device.0.clone(),
                Arc::clone(bytes),
                covered.remove(device).unwrap_or_default(),
            )
        })
        .filter(|it| coverage::left_over(&it.taken, it.bytes.len()) >= LEAST_LEFT_OVER)
        .collect()
}
