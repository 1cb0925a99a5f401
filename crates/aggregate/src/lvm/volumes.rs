//! From a volume group's segments to statements of the document.

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Fields, Loss, ReadAt, ReadAtExt};

use super::Group;
use super::model::{AreaOf, LogicalVolume, RaidImage, Segment, SegmentKind};
use super::raid_meta::{RaidMeta, left_out};
use crate::document::{self, Area, DeviceName, Member, SegmentMap, Volume};
use crate::raid::{
    FarSets, Geometry, Level, ParityDelay, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout,
};

/// Opens a volume that lies on physical volumes, to read the label of a RAID image or the log
/// of a mirror; `None` if it cannot be read.
pub type Open<'a> = dyn Fn(&Volume) -> Option<Arc<dyn ReadAt>> + 'a;

/// The statements that a volume group amounts to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volumes {
    /// Its logical volumes.
    pub volumes: Vec<Volume>,
    /// The RAID groups over images that are logical volumes, called `group/volume`.
    pub groups: Vec<document::Group>,
    /// What cannot be read.
    pub losses: Vec<Loss>,
}

impl Group {
    /// The statements of the group's volumes. `open` is asked for small metadata volumes only.
    pub fn volumes(&self, open: &Open<'_>) -> Volumes {
        let mut maker = Maker {
            group: self,
            open,
            stores: self.snapshot_stores(),
            made: Volumes::default(),
        };
        for lv in &self.text.logical_volumes {
            maker.logical_volume(lv);
        }
        maker.made
    }

    /// The volumes that hold the changed blocks of snapshots.
    fn snapshot_stores(&self) -> BTreeSet<&str> {
        let segments = self.text.logical_volumes.iter().flat_map(|lv| &lv.segments);
        segments
            .filter_map(|segment| match &segment.kind {
                SegmentKind::Snapshot { store, .. } => Some(store.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn device(&self, lv: &str) -> DeviceName {
        DeviceName::volume(&format!("{}/{lv}", self.name))
    }

    /// The store of the snapshot `lv`.
    pub(super) fn store(&self, lv: &str) -> DeviceName {
        DeviceName::volume(&format!("{}/{lv}#cow", self.name))
    }

    /// `extents` in bytes. Numbers that overflow are stopped at the top, where nothing lies.
    pub(super) fn bytes(&self, extents: u64) -> u64 {
        extents.saturating_mul(self.text.extent_bytes)
    }

    /// Where an area is on a physical or a logical volume of the group.
    fn area(&self, area: &AreaOf) -> Area {
        let inside = self.bytes(area.extent);
        match self.text.physical_volume(&area.on) {
            Some(pv) => Area {
                device: self.devices.get(&pv.id).cloned(),
                offset: pv.pe_start.saturating_add(inside),
            },
            None => Area {
                device: Some(self.device(&area.on)),
                offset: inside,
            },
        }
    }
}

/// Makes the statements of one group.
pub(super) struct Maker<'a> {
    pub(super) group: &'a Group,
    open: &'a Open<'a>,
    stores: BTreeSet<&'a str>,
    pub(super) made: Volumes,
}

impl Maker<'_> {
    fn logical_volume(&mut self, lv: &LogicalVolume) {
        if let Some(segment) = lv.segments.first()
            && let SegmentKind::Snapshot {
                origin,
                store,
                merging,
            } = &segment.kind
        {
            self.snapshot(lv, origin, store, *merging);
            return;
        }
        let is_pool = |segment: &Segment| {
            matches!(
                segment.kind,
                SegmentKind::ThinPool { .. } | SegmentKind::CachePool { .. }
            )
        };
        if lv.segments.iter().all(is_pool) && !lv.segments.is_empty() {
            // A pool has no bytes of its own: its volumes do.
            return;
        }
        let mut volume = self.empty(lv);
        for (number, segment) in (1_u32..).zip(&lv.segments) {
            let (map, extents) = self.segment(lv, number, segment, &mut volume.evidence);
            if let SegmentKind::Thin {
                origin,
                external_origin,
                ..
            } = &segment.kind
            {
                let origin = origin.as_ref().or(external_origin.as_ref());
                volume.snapshot_of = origin.map(|origin| self.group.device(origin));
            }
            let bytes = self.group.bytes(extents);
            volume.segments.push(document::Segment {
                start: volume.bytes,
                bytes,
                map,
            });
            volume.bytes = volume.bytes.saturating_add(bytes);
        }
        self.made.volumes.push(volume);
    }

    pub(super) fn empty(&self, lv: &LogicalVolume) -> Volume {
        let text = &self.group.text;
        Volume {
            device: self.name_of(lv),
            uuid: Some(lv.id.to_string()),
            bytes: 0,
            hidden: !lv.is_visible() || self.stores.contains(lv.name.as_str()),
            snapshot_of: None,
            segments: Vec::new(),
            evidence: vec![format!(
                "LVM metadata text {} of volume group {} ({}) at {}",
                text.seqno, text.name, text.id, self.group.origin
            )],
        }
    }

    /// The device of a volume. A snapshot bears the name that its store has in the metadata, as in
    /// `/dev`; so the store is called otherwise, with a letter that no volume's name has.
    fn name_of(&self, lv: &LogicalVolume) -> DeviceName {
        if self.stores.contains(lv.name.as_str()) {
            self.group.store(&lv.name)
        } else {
            self.group.device(&lv.name)
        }
    }

    /// The map of a segment, and how many extents of the volume it covers.
    fn segment(
        &mut self,
        lv: &LogicalVolume,
        number: u32,
        segment: &Segment,
        evidence: &mut Vec<String>,
    ) -> (SegmentMap, u64) {
        let group = self.group;
        let map = match &segment.kind {
            SegmentKind::Striped {
                stripe_bytes,
                areas,
            } => {
                self.check_extents(lv, segment, areas);
                match areas.as_slice() {
                    [area] => SegmentMap::Linear(group.area(area)),
                    areas => SegmentMap::Striped {
                        stripe_bytes: *stripe_bytes,
                        areas: areas.iter().map(|area| group.area(area)).collect(),
                    },
                }
            }
            SegmentKind::Mirror { areas, log, moved } => {
                self.mirror(lv, segment, areas, log.as_deref(), *moved, evidence)
            }
            SegmentKind::Raid { images, .. } => {
                return self.raid(lv, number, segment, images, evidence);
            }
            SegmentKind::Cache { origin, pool, mode } => {
                self.cache(lv, segment, origin, pool, mode, evidence)
            }
            SegmentKind::Thin {
                pool,
                device_id,
                external_origin,
                ..
            } => self.thin(lv, pool, *device_id, external_origin.as_deref()),
            SegmentKind::Zero => SegmentMap::Zero,
            SegmentKind::Error => SegmentMap::Missing {
                why: "an error segment: LVM put it where a part was lost or let go".to_owned(),
            },
            SegmentKind::Snapshot { .. }
            | SegmentKind::ThinPool { .. }
            | SegmentKind::CachePool { .. }
            | SegmentKind::Other => {
                self.unsupported(lv, &segment.kind_name, advice(&segment.kind_name))
            }
        };
        (map, segment.extent_count)
    }

    /// Adds a loss if a segment reaches past the end of a physical volume, which LVM never writes.
    fn check_extents(&mut self, lv: &LogicalVolume, segment: &Segment, areas: &[AreaOf]) {
        let each = segment.extent_count.div_ceil((areas.len() as u64).max(1));
        for area in areas {
            let Some(pv) = self.group.text.physical_volume(&area.on) else {
                continue;
            };
            if area.extent.saturating_add(each) > pv.pe_count {
                self.lose(
                    format!("a part of {}", self.group.device(&lv.name)),
                    Cause::Corrupt(format!(
                        "its metadata maps {each} extents at {} of {}, which has {}",
                        area.extent, pv.name, pv.pe_count
                    )),
                );
            }
        }
    }

    /// A mirror, or a move that is under way.
    ///
    /// Only the first copy is always right; the others are where the log says that every
    /// region is in sync. A move copies from the first area to the second: it counts as the
    /// second once all its extents are moved.
    fn mirror(
        &mut self,
        lv: &LogicalVolume,
        segment: &Segment,
        areas: &[AreaOf],
        log: Option<&str>,
        moved: Option<u64>,
        evidence: &mut Vec<String>,
    ) -> SegmentMap {
        let mut areas: Vec<Area> = areas.iter().map(|area| self.group.area(area)).collect();
        if let Some(moved) = moved {
            evidence.push(format!(
                "a move was under way: {moved} of {} extents done",
                segment.extent_count
            ));
            if moved >= segment.extent_count && areas.len() > 1 {
                areas.remove(0);
            }
            areas.truncate(1);
        } else if let Some(why) = self.not_synced(lv, log) {
            evidence.push(format!("only the first copy is used: {why}"));
            areas.truncate(1);
        }
        match areas.as_slice() {
            [area] => SegmentMap::Linear(area.clone()),
            _ => SegmentMap::Mirrored { areas },
        }
    }

    /// Why the copies of a mirror may differ.
    fn not_synced(&self, lv: &LogicalVolume, log: Option<&str>) -> Option<String> {
        if lv.has_status("NOTSYNCED") {
            return Some("the mirror was made without a first synchronisation".to_owned());
        }
        let log = log?;
        let device = self.open_linear(log);
        match device.and_then(|device| log_is_clean(device.as_ref())) {
            Some(true) => None,
            Some(false) => Some("its log names regions that are not in sync".to_owned()),
            None => Some(format!("its log {log} cannot be read")),
        }
    }

    /// Opens a volume of the group whose segments lie on physical volumes.
    pub(super) fn open_linear(&self, name: &str) -> Option<Arc<dyn ReadAt>> {
        let lv = self.group.text.logical_volume(name)?;
        let mut volume = self.empty(lv);
        for segment in &lv.segments {
            let SegmentKind::Striped { areas, .. } = &segment.kind else {
                return None;
            };
            let [area] = areas.as_slice() else {
                return None;
            };
            self.group.text.physical_volume(&area.on)?;
            let bytes = self.group.bytes(segment.extent_count);
            volume.segments.push(document::Segment {
                start: volume.bytes,
                bytes,
                map: SegmentMap::Linear(self.group.area(area)),
            });
            volume.bytes = volume.bytes.saturating_add(bytes);
        }
        (self.open)(&volume)
    }

    /// A RAID segment: RAID 1 as a mirror of its images, the others as a group over them.
    fn raid(
        &mut self,
        lv: &LogicalVolume,
        number: u32,
        segment: &Segment,
        images: &[RaidImage],
        evidence: &mut Vec<String>,
    ) -> (SegmentMap, u64) {
        let SegmentKind::Raid {
            reshape_count,
            data_offset,
            ..
        } = &segment.kind
        else {
            return (missing("not a RAID segment"), segment.extent_count);
        };
        let data_images = (images.len() as u64).saturating_sub(parity(&segment.kind_name));
        let spare = reshape_count.saturating_mul(data_images);
        let extents = segment.extent_count.saturating_sub(spare);
        if lv.has_status("RESHAPE") {
            let advice = "finish the reshape with LVM on a copy of the disks";
            return (self.unsupported(lv, "reshaping raid", advice), extents);
        }
        let labels: Vec<Option<RaidMeta>> = images.iter().map(|i| self.label(i)).collect();
        let mut out = left_out(&labels);
        if labels.iter().flatten().any(|label| !label.is_synced()) {
            evidence.push("its first synchronisation had not ended: parity and copies are not to be trusted everywhere".to_owned());
            if segment.kind_name == "raid1" {
                let not_first = out.iter_mut().skip(1).filter(|why| why.is_none());
                not_first.for_each(|why| *why = Some("it was not synchronised yet".to_owned()));
            }
        }
        for (image, why) in images.iter().zip(&out) {
            evidence.extend(
                why.iter()
                    .map(|why| format!("{} is not used: {why}", image.data)),
            );
        }
        if segment.kind_name == "raid1" {
            let areas = images
                .iter()
                .zip(&out)
                .map(|(image, out)| Area {
                    device: out.is_none().then(|| self.group.device(&image.data)),
                    offset: *data_offset,
                })
                .collect();
            return (SegmentMap::Mirrored { areas }, extents);
        }
        let map = self.raid_group(lv, number, segment, extents, out);
        (map, extents)
    }

    /// The label of a RAID image, if it can be read.
    fn label(&self, image: &RaidImage) -> Option<RaidMeta> {
        let device = self.open_linear(image.meta.as_deref()?)?;
        RaidMeta::read(device.as_ref(), ByteOffset::ZERO)
    }

    /// Adds the group over the images of a RAID segment and maps the segment onto it.
    fn raid_group(
        &mut self,
        lv: &LogicalVolume,
        number: u32,
        segment: &Segment,
        extents: u64,
        left_out: Vec<Option<String>>,
    ) -> SegmentMap {
        let SegmentKind::Raid {
            stripe_bytes,
            images,
            data_copies,
            reshape_count,
            data_offset,
        } = &segment.kind
        else {
            return missing("not a RAID segment");
        };
        let sizes: Vec<u64> = images
            .iter()
            .map(|image| self.image_bytes(&image.data, *reshape_count))
            .collect();
        let Some(level) = level(&segment.kind_name, *stripe_bytes, &sizes, *data_copies) else {
            let advice = "activate it with LVM on a copy of the disks";
            return self.unsupported(lv, &segment.kind_name, advice);
        };
        let mut name = format!("{}/{}", self.group.name, lv.name);
        if number > 1 {
            name = format!("{name}-{number}");
        }
        let members = (0_u32..).zip(images).zip(sizes).zip(left_out);
        let group = document::Group {
            geometry: Geometry {
                level,
                bytes: self.group.bytes(extents),
            },
            members: members
                .map(|(((role, image), data_size), left_out)| Member {
                    role,
                    device: Some(self.group.device(&image.data)),
                    data_offset: *data_offset,
                    data_size,
                    left_out,
                    bad_blocks: Vec::new(),
                })
                .collect(),
            evidence: self.empty(lv).evidence,
            confidence: 1.0,
            over: Vec::new(),
            name: name.clone(),
        };
        self.made.groups.push(group);
        SegmentMap::Linear(Area {
            device: Some(DeviceName::group(&name)),
            offset: 0,
        })
    }

    /// How many bytes of an image are data: all but those kept free for a reshape.
    fn image_bytes(&self, name: &str, reshape_count: u64) -> u64 {
        let lv = self.group.text.logical_volume(name);
        let extents: u64 = lv.map_or(0, |lv| {
            let counts = lv.segments.iter().map(|s| s.extent_count);
            counts.fold(0, u64::saturating_add)
        });
        self.group.bytes(extents.saturating_sub(reshape_count))
    }

    /// A cached volume. What a cache that writes through holds is on the origin too.
    fn cache(
        &mut self,
        lv: &LogicalVolume,
        segment: &Segment,
        origin: &str,
        pool: &str,
        mode: &str,
        evidence: &mut Vec<String>,
    ) -> SegmentMap {
        let pools = self.group.text.logical_volume(pool).into_iter();
        let of_pool = pools
            .flat_map(|pool| &pool.segments)
            .find_map(|s| match &s.kind {
                SegmentKind::CachePool { mode } => Some(mode.as_str()),
                _ => None,
            });
        let mode = if mode.is_empty() {
            of_pool.unwrap_or_default()
        } else {
            mode
        };
        if !matches!(mode, "writethrough" | "passthrough") {
            return self.unsupported(
                lv,
                "cache that writes back",
                "its newest blocks may be in the cache only; the blocks below it are in the hidden volume of its origin",
            );
        }
        evidence.push(format!(
            "a cache of mode {mode}: the origin {origin} has every block"
        ));
        SegmentMap::Linear(Area {
            device: Some(self.group.device(origin)),
            offset: self.group.bytes(segment.start_extent),
        })
    }

    /// A loss for a kind of segment that cannot be read, and the map that says so.
    pub(super) fn unsupported(
        &mut self,
        lv: &LogicalVolume,
        kind: &str,
        advice: &str,
    ) -> SegmentMap {
        let why = format!("{kind} segments are not read yet: {advice}");
        self.lose(
            self.group.device(&lv.name).to_string(),
            Cause::Unsupported(why.clone()),
        );
        SegmentMap::Missing { why }
    }

    pub(super) fn lose(&mut self, what: String, cause: Cause) {
        let loss = Loss {
            what,
            origin: self.group.origin.clone(),
            cause,
        };
        // A volume of many segments loses the same thing once.
        if !self.made.losses.contains(&loss) {
            self.made.losses.push(loss);
        }
    }
}

fn missing(why: &str) -> SegmentMap {
    SegmentMap::Missing {
        why: why.to_owned(),
    }
}

/// What to do about a kind of segment that cannot be read.
fn advice(kind: &str) -> &'static str {
    match kind {
        "vdo" | "vdo-pool" => {
            "its blocks are compressed: activate it with LVM on a copy of the disks"
        }
        "writecache" => {
            "its newest blocks may be in the cache only: activate it with LVM on a copy of the disks"
        }
        "integrity" => "its data is in the hidden volume that ends in _iorig",
        _ => "activate it with LVM on a copy of the disks",
    }
}

/// How many images of a RAID segment hold parity.
fn parity(kind: &str) -> u64 {
    match kind.get(..5) {
        Some("raid4" | "raid5") => 1,
        Some("raid6") => 2,
        _ => 0,
    }
}

/// The level of a segment type, by the kernel's `raid_types` in `drivers/md/dm-raid.c`.
fn level(kind: &str, chunk_bytes: u64, sizes: &[u64], data_copies: u64) -> Option<Level> {
    let members = u32::try_from(sizes.len()).ok()?;
    let raid5 = |layout| Level::Raid5 {
        layout,
        chunk_bytes,
        members,
        delay: ParityDelay::NONE,
    };
    let raid6 = |layout| Level::Raid6 {
        layout,
        chunk_bytes,
        members,
        delay: ParityDelay::NONE,
    };
    Some(match kind {
        "raid0" | "raid0_meta" => Level::Raid0 {
            layout: Raid0Layout::Alternate,
            chunk_bytes,
            member_bytes: sizes.to_vec(),
        },
        // Not as md's RAID 4: the kernel takes the first image for parity.
        "raid4" => raid5(Raid5Layout::ParityFirst),
        "raid5" | "raid5_ls" => raid5(Raid5Layout::LeftSymmetric),
        "raid5_la" => raid5(Raid5Layout::LeftAsymmetric),
        "raid5_rs" => raid5(Raid5Layout::RightSymmetric),
        "raid5_ra" => raid5(Raid5Layout::RightAsymmetric),
        "raid5_n" => raid5(Raid5Layout::ParityLast),
        "raid6" | "raid6_zr" => raid6(Raid6Layout::DdfZeroRestart),
        "raid6_nr" => raid6(Raid6Layout::DdfNRestart),
        "raid6_nc" => raid6(Raid6Layout::DdfNContinue),
        "raid6_la_6" => raid6(Raid6Layout::LeftAsymmetric6),
        "raid6_ls_6" => raid6(Raid6Layout::LeftSymmetric6),
        "raid6_ra_6" => raid6(Raid6Layout::RightAsymmetric6),
        "raid6_rs_6" => raid6(Raid6Layout::RightSymmetric6),
        "raid6_n_6" => raid6(Raid6Layout::ParityLast),
        "raid10" | "raid10_near" => Level::Raid10 {
            layout: Raid10Layout {
                near: u32::try_from(data_copies.max(2)).ok()?,
                far: 1,
                offset: false,
                far_sets: FarSets::Whole,
            },
            chunk_bytes,
            members,
            member_bytes: sizes.iter().copied().min()?,
        },
        _ => return None,
    })
}

/// Whether a mirror's log says that every region is in sync; `None` if it is no log.
///
/// Source: the kernel's `drivers/md/dm-log.c`: `struct log_header_disk`, and a bit for each
/// region from byte 1024 on.
fn log_is_clean(device: &dyn ReadAt) -> Option<bool> {
    const MAGIC: &[u8; 4] = b"rRiM";
    const BITS_AT: u64 = 1024;
    let header = device.read_whole(ByteOffset::ZERO, 16)?;
    let fields = Fields::new(&header);
    if fields.slice(0, 4)? != MAGIC || fields.le_u32(4)? > 2 {
        return None;
    }
    let regions = fields.le_u64(8)?;
    let bytes = usize::try_from(regions.div_ceil(8)).ok()?;
    let bits = device.read_whole(ByteOffset::new(BITS_AT), bytes)?;
    let set: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
    // Bits behind the last region may be anything.
    let last = u32::try_from(regions.checked_rem(8)?).ok()?;
    let surplus = match bits.last() {
        Some(byte) if last > 0 => byte
            .checked_shr(last)
            .map_or(0, |b| u64::from(b.count_ones())),
        _ => 0,
    };
    Some(set.saturating_sub(surplus) == regions)
}
