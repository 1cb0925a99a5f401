//! All file systems that are left on some devices, whole or put together again.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use evidence::view::BitShifted;
use evidence::{Error, Loss, ReadAt};
use serde::{Deserialize, Serialize};

use crate::survey::{Window, survey};
use crate::{Filesystem, Kind, btrfs, ext, open, xfs};

/// A device that file systems are looked for on.
#[derive(Clone)]
pub struct Device {
    /// Its name in origins.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<dyn ReadAt>,
}

/// How the view of a file system is had again, without looking for the file system once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// [`open`] gives it on this device.
    Opened(String),
    /// It is this device itself.
    Device(String),
    /// It is this device, read from another of its bits than the first on.
    BitShifted {
        /// The device.
        device: String,
        /// How many bits are left out.
        bits: u64,
    },
    /// The logical addresses of a btrfs.
    Btrfs(Box<btrfs::Statement>),
}

impl View {
    /// Opens the view, on devices that `device` gives by name; `None` if there is none any more.
    pub fn open(
        &self,
        device: impl Fn(&str) -> Option<Arc<dyn ReadAt>>,
    ) -> Result<Option<Arc<dyn ReadAt>>, Error> {
        match self {
            Self::Opened(name) => {
                let Some(bytes) = device(name) else {
                    return Ok(None);
                };
                Ok(open(bytes, name)?.map(|fs| Arc::clone(fs.view())))
            }
            Self::Device(name) => Ok(device(name)),
            Self::BitShifted { device: name, bits } => {
                let shifted = |whole| Arc::new(BitShifted::new(whole, *bits)) as Arc<dyn ReadAt>;
                Ok(device(name).map(shifted))
            }
            Self::Btrfs(statement) => Ok(statement.open(device)),
        }
    }

    /// Where on which devices ranges of the view lie: every copy.
    pub fn places<'a>(&'a self, ranges: &[Range<u64>]) -> Vec<(&'a str, Range<u64>)> {
        match self {
            Self::Opened(name) | Self::Device(name) => ranges
                .iter()
                .map(|range| (name.as_str(), range.clone()))
                .collect(),
            Self::BitShifted { device, bits } => ranges
                .iter()
                .map(|range| {
                    let start = range.start.saturating_add(bits / 8);
                    // A byte may lie in two of the device.
                    let end = range.end.saturating_add(bits.div_ceil(8));
                    (device.as_str(), start..end)
                })
                .collect(),
            Self::Btrfs(statement) => statement.places(ranges),
        }
    }

    /// The ranges of the view that are set aside for the structures of the file system: in which
    /// no file can lie.
    pub fn structures(&self) -> Vec<Range<u64>> {
        match self {
            Self::Opened(_) | Self::Device(_) | Self::BitShifted { .. } => Vec::new(),
            Self::Btrfs(statement) => statement.structures(),
        }
    }

    /// What lies over several devices, none of which holds by itself what goes on with what.
    pub fn spread(&self) -> Option<Spread<'_>> {
        let Self::Btrfs(statement) = self else {
            return None;
        };
        let ranges = statement.spread();
        (!ranges.is_empty()).then(|| Spread {
            name: statement.volume_name(),
            ranges,
            places: statement.chunk_places(),
        })
    }

    /// The devices that it lies on.
    pub fn devices(&self) -> Vec<&str> {
        match self {
            Self::Opened(name) | Self::Device(name) => vec![name],
            Self::BitShifted { device, .. } => vec![device],
            Self::Btrfs(statement) => statement.devices().collect(),
        }
    }
}

/// The part of a view that files lie in, which is spread over several devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread<'a> {
    /// What it may be called: that of no device.
    pub name: String,
    /// The ranges of the view, in order.
    pub ranges: Vec<Range<u64>>,
    /// What of which devices is its own: copies, parity and structures too.
    pub places: Vec<(&'a str, Range<u64>)>,
}

/// A file system that was found.
pub struct Found {
    /// Its name: that of its device, or of the first of its devices; behind it `#`, the format and
    /// eight digits of its UUID if it is not the one that the device's superblock names.
    pub name: String,
    /// How its view is had again.
    pub view: View,
    /// What is left of it.
    pub fs: Box<dyn Filesystem>,
}

/// What was seen of each format in one window, or on one device.
#[derive(Default)]
pub(crate) struct Sightings {
    btrfs: btrfs::Sightings,
    ext: ext::found::Sightings,
    xfs: xfs::found::Sightings,
}

impl Sightings {
    /// What each format recognises in `window`.
    fn of(window: &Window) -> Self {
        Self {
            btrfs: btrfs::Sightings::of(window),
            ext: ext::found::Sightings::of(window),
            xfs: xfs::found::Sightings::of(window),
        }
    }

    /// Adds what was seen behind this.
    fn append(&mut self, next: Self) {
        self.btrfs.append(next.btrfs);
        self.ext.append(next.ext);
        self.xfs.append(next.xfs);
    }
}

/// Finds all file systems on `devices`: those whose superblocks can be read, with what their trees
/// do not lead to any more, and those of which only blocks are left.
///
/// Every device is read once from its start to its end; `progress` is told of bytes that were read.
/// What cannot be read at all, and why, is in the losses.
pub fn find_all(devices: &[Device], progress: &(dyn Fn(u64) + Sync)) -> (Vec<Found>, Vec<Loss>) {
    let mut found = Vec::new();
    let mut losses = Vec::new();
    let mut pools = Vec::new();
    let mut taken = HashSet::new();
    for device in devices {
        let mut sightings = Sightings::default();
        for seen in survey(&device.bytes, Sightings::of, progress) {
            sightings.append(seen);
        }
        pools.push(std::mem::take(&mut sightings.btrfs));
        let opened = match open(Arc::clone(&device.bytes), &device.name) {
            Ok(opened) => opened.filter(|fs| fs.info().kind != Kind::Btrfs),
            Err(_) if btrfs::is_first(device) => None,
            Err(error) => {
                losses.push(loss_of(device, &error));
                None
            }
        };
        for (rebuilt, lost) in [
            ext::found::rebuild(device, &sightings.ext),
            xfs::found::find(device, &sightings.xfs, opened.as_deref()),
        ] {
            found.extend(rebuilt);
            losses.extend(lost);
        }
        if let Some(fs) = opened {
            taken.insert(device.name.clone());
            if !found.iter().any(|found: &Found| found.name == device.name) {
                found.push(Found {
                    name: device.name.clone(),
                    view: View::Opened(device.name.clone()),
                    fs,
                });
            }
        }
    }
    // A btrfs may lie on several devices.
    let (mut of_btrfs, mut lost) = btrfs::find(devices, pools, &taken);
    found.append(&mut of_btrfs);
    losses.append(&mut lost);
    (found, losses)
}

/// What makes the file system on `device` unreadable, as a loss.
fn loss_of(device: &Device, error: &Error) -> Loss {
    Loss {
        what: format!("the file system on {}", device.name),
        origin: evidence::Origin::new(device.name.clone(), evidence::ByteOffset::ZERO),
        cause: match error {
            Error::Unsupported { .. } => evidence::Cause::Unsupported(error.to_string()),
            _ => evidence::Cause::Corrupt(error.to_string()),
        },
    }
}
