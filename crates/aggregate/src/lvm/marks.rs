//! What a metadata text says stands where on a physical volume, and can be recognised there: it tells which
//! volume a device is that has lost its label.

use std::collections::{BTreeMap, BTreeSet};

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::VolumeGroup;
use super::metadata::MetadataArea;
use super::model::{LogicalVolume, SegmentKind};
use super::raid_meta::RaidMeta;

/// Something to recognise, at an offset on a physical volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// The label of an image of a RAID volume: which one it is, and of how many.
    RaidLabel { at: u64, position: u32, images: u32 },
    /// The beginning of a volume, and of its file system.
    FileSystem { at: u64 },
}

/// Whether a mark is of a kind.
pub(super) type IsOfKind = fn(&Mark) -> bool;

/// The kinds of marks, those that say most first, and how to name them: a file system begins in every copy of a
/// mirror, and a label says which copy it is of.
pub(super) const KINDS_OF_MARKS: [(IsOfKind, &str); 2] = [
    (
        |mark| matches!(mark, Mark::RaidLabel { .. }),
        "the labels of RAID images on it",
    ),
    (
        |mark| matches!(mark, Mark::FileSystem { .. }),
        "the file systems that begin on it",
    ),
];

impl Mark {
    /// What `text` says stands on its physical volumes, with the name of each.
    pub(super) fn all_in(text: &VolumeGroup) -> BTreeSet<(&str, Self)> {
        let pvs: BTreeMap<&str, u64> = text
            .physical_volumes
            .iter()
            .map(|pv| (pv.name.as_str(), pv.pe_start))
            .collect();
        let begin = |lv: &'_ LogicalVolume| {
            let SegmentKind::Striped { areas, .. } = &lv.segments.first()?.kind else {
                return None;
            };
            let area = areas.first()?;
            let (name, start) = pvs.get_key_value(area.on.as_str())?;
            let inside = area.extent.checked_mul(text.extent_bytes)?;
            Some((*name, start.checked_add(inside)?))
        };
        let begins: BTreeMap<&str, (&str, u64)> = text
            .logical_volumes
            .iter()
            .filter_map(|lv| Some((lv.name.as_str(), begin(lv)?)))
            .collect();
        let file_systems = begins.values();
        let file_systems = file_systems.map(|(pv, at)| (*pv, Self::FileSystem { at: *at }));
        let segments = text.logical_volumes.iter().flat_map(|lv| &lv.segments);
        let arrays = segments.filter_map(|segment| match &segment.kind {
            SegmentKind::Raid { images, .. } => Some((images, u32::try_from(images.len()).ok()?)),
            _ => None,
        });
        let labels = arrays.flat_map(|(images, count)| {
            let begins = &begins;
            (0_u32..).zip(images).filter_map(move |(position, image)| {
                let (pv, at) = *begins.get(image.meta.as_deref()?)?;
                let label = Self::RaidLabel {
                    at,
                    position,
                    images: count,
                };
                Some((pv, label))
            })
        });
        file_systems.chain(labels).collect()
    }

    /// What a device shows of what the texts of its metadata areas say of any physical volume.
    pub(super) fn all_shown(device: &dyn ReadAt, areas: &[MetadataArea]) -> BTreeSet<Self> {
        let texts = areas.iter().flat_map(|area| &area.versions);
        let texts = texts.filter_map(|version| version.group.as_ref().ok());
        let marks = texts.flat_map(|text| Self::all_in(text));
        let marks: BTreeSet<Self> = marks.map(|(_, mark)| mark).collect();
        let marks = marks.into_iter();
        marks.filter(|mark| mark.shows_on(device)).collect()
    }

    /// Whether a device has it.
    pub(super) fn shows_on(&self, device: &dyn ReadAt) -> bool {
        match *self {
            Self::RaidLabel {
                at,
                position,
                images,
            } => RaidMeta::read(device, ByteOffset::new(at)).is_some_and(|label| {
                label.array_position == position && label.num_devices == images
            }),
            Self::FileSystem { at } => {
                let bytes = device.read_whole(ByteOffset::new(at), 2048);
                bytes.is_some_and(|bytes| {
                    // sb_magicnum of XFS; s_magic of ext.
                    bytes.starts_with(b"XFSB")
                        || Fields::new(&bytes).le_u16(1024 + 56) == Some(0xEF53)
                })
            }
        }
    }
}
