//! What the catalogue and the aggregate say of each disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aggregate::document::{Aggregate, DeviceName, Member, SegmentMap, Volume};
use case::{CATALOGUE, Case, CaseFile};
use scan::catalogue::{SEGMENT_EXTENSION, Segment};
use scan::{Class, Find};

use crate::ReportError;
use crate::facts::{Disk, DiskArea, EpochArea, FindKind, Looks, Run};

/// Most stretches in the pictures of all disks together: a browser must still draw them.
const MOST_BUCKETS_OF_ALL: u64 = 48 << 10;
/// Most stretches in the picture of a disk: what is seen of them when it is zoomed in.
const MOST_BUCKETS: u64 = 8192;
/// Least number of them that a disk may have before they are made longer: about a screen's dots.
const LEAST_BUCKETS: u64 = 1024;
/// Least length of a stretch, in bytes.
const LEAST_BUCKET: u64 = 64 << 10;
/// Offsets kept of each kind of find.
const MOST_OFFSETS: usize = 32;
/// More layers of partitions on partitions than there are.
const MOST_LAYERS: u32 = 16;
/// More pieces than the partitions of all disks have together: a map of volumes that a hostile
/// label made to multiply stops here.
const MOST_STEPS: usize = 1 << 20;
/// More areas on a disk than can be drawn: a volume of a million pieces stops here.
const MOST_AREAS: usize = 4096;

/// The catalogue, added up by disk.
pub(crate) struct Catalogue(BTreeMap<String, Adding>);

/// One disk while its units go by.
struct Adding {
    bytes: u64,
    /// The length of a stretch as a power of two.
    shift: u32,
    /// Bytes of each class in each stretch.
    buckets: Vec<HashMap<Looks, u64>>,
    scanned: u64,
    finds: BTreeMap<String, FindKind>,
}

impl Catalogue {
    /// Reads the catalogue of a case.
    pub(crate) fn read(case: &Case, file: &CaseFile) -> Result<Self, ReportError> {
        let disks = file.evidence.iter();
        let most = MOST_BUCKETS_OF_ALL
            .checked_div(file.evidence.len() as u64)
            .unwrap_or(0)
            .clamp(LEAST_BUCKETS, MOST_BUCKETS);
        let mut disks: BTreeMap<String, Adding> = disks
            .map(|(name, record)| (name.clone(), Adding::new(record.bytes, most)))
            .collect();
        // Segment by segment, since all of them may be more than memory holds.
        for name in case.file_names(CATALOGUE, SEGMENT_EXTENSION)? {
            let Some(bytes) = case.read_file_of(CATALOGUE, &name, SEGMENT_EXTENSION)? else {
                continue;
            };
            let segment = Segment::decode(bytes.into()).map_err(|source| {
                let path = case.file_path(CATALOGUE, &name, SEGMENT_EXTENSION);
                ReportError::Catalogue { path, source }
            })?;
            if let Some(disk) = disks.get_mut(&segment.unit.evidence) {
                disk.segment(segment);
            }
        }
        Ok(Self(disks))
    }

    /// How many bytes of all disks were scanned.
    pub(crate) fn scanned(&self) -> u64 {
        let disks = self.0.values().map(|disk| disk.scanned);
        disks.fold(0, u64::saturating_add)
    }

    /// The pictures of the disks, by name.
    pub(crate) fn finish(self) -> Vec<Disk> {
        let disks = self.0.into_iter();
        disks.map(|(name, disk)| disk.finish(name)).collect()
    }
}

impl Adding {
    fn new(bytes: u64, most: u64) -> Self {
        let mut shift = LEAST_BUCKET.ilog2();
        while bytes >> shift > most {
            shift = shift.saturating_add(1);
        }
        let buckets = usize::try_from(bytes.div_ceil(1 << shift)).unwrap_or(0);
        Self {
            bytes,
            shift,
            buckets: vec![HashMap::new(); buckets],
            scanned: 0,
            finds: BTreeMap::new(),
        }
    }

    fn segment(&mut self, segment: Segment) {
        self.scanned = self.scanned.saturating_add(segment.unit.bytes);
        for run in &segment.runs {
            self.run(run);
        }
        for find in segment.finds {
            self.find(find);
        }
    }

    /// Adds a run of blocks to each stretch that it lies in.
    fn run(&mut self, run: &scan::Run) {
        let mut at = run.start.get();
        let end = at.saturating_add(run.bytes);
        while at < end {
            let bucket = at >> self.shift;
            let next = bucket.saturating_add(1).checked_shl(self.shift);
            let next = next.unwrap_or(end).min(end).max(at.saturating_add(1));
            let bucket = usize::try_from(bucket).unwrap_or(usize::MAX);
            if let Some(bucket) = self.buckets.get_mut(bucket) {
                let sum = bucket.entry(looks(run.class)).or_default();
                *sum = sum.saturating_add(next.saturating_sub(at));
            }
            at = next;
        }
    }

    fn find(&mut self, find: Find) {
        let kind = self
            .finds
            .entry(find.what.into_owned())
            .or_insert_with_key(|what| FindKind {
                what: what.clone(),
                count: 0,
                offsets: Vec::new(),
            });
        kind.count = kind.count.saturating_add(1);
        if kind.offsets.len() < MOST_OFFSETS {
            kind.offsets.push(find.offset.get());
        }
    }

    fn finish(self, name: String) -> Disk {
        let mut runs: Vec<Run> = Vec::new();
        let resolution = 1 << self.shift;
        let mut at = 0_u64;
        for bucket in &self.buckets {
            let bytes = u64::min(resolution, self.bytes.saturating_sub(at));
            let looks = mostly(bucket);
            match runs.last_mut() {
                Some(run) if run.looks == looks => run.bytes = run.bytes.saturating_add(bytes),
                _ => runs.push(Run {
                    start: at,
                    bytes,
                    looks,
                }),
            }
            at = at.saturating_add(bytes);
        }
        Disk {
            name,
            bytes: self.bytes,
            resolution,
            runs,
            areas: Vec::new(),
            epochs: Vec::new(),
            finds: self.finds.into_values().collect(),
        }
    }
}

const fn looks(class: Class) -> Looks {
    match class {
        Class::Zero => Looks::Zero,
        Class::Text | Class::Base64 | Class::QuotedPrintable => Looks::Text,
        Class::Compressed | Class::ParityLike | Class::Binary | Class::Metadata(_) => Looks::Data,
        Class::Unread => Looks::Unread,
    }
}

/// What most of a stretch looks like; one that could not be read is never hidden by the rest.
fn mostly(bucket: &HashMap<Looks, u64>) -> Looks {
    if bucket.contains_key(&Looks::Unread) {
        return Looks::Unread;
    }
    bucket
        .iter()
        .max_by_key(|(looks, bytes)| (**bytes, **looks))
        .map_or(Looks::NotScanned, |(looks, _)| *looks)
}

/// The areas of each disk that something uses, by disk and place.
pub(crate) fn areas(aggregate: &Aggregate) -> BTreeMap<String, Vec<DiskArea>> {
    let mut map = Map {
        volumes: aggregate
            .volumes
            .iter()
            .map(|volume| (&volume.device, volume))
            .collect(),
        areas: BTreeMap::new(),
        steps: MOST_STEPS,
    };
    for group in &aggregate.groups {
        let user = DeviceName::group(&group.name);
        for member in &group.members {
            map.add_member(&user, member);
        }
    }
    for group in &aggregate.volume_groups {
        for volume in &group.physical_volumes {
            if let Some(device) = &volume.device {
                let use_of = Use::new(format!("volume group {}", group.name), &volume.name);
                map.add(device, 0, volume.bytes, &use_of, 0);
            }
        }
    }
    for system in &aggregate.filesystems {
        let use_of = Use::new(system.device.to_string(), &system.kind);
        map.add(&system.device, 0, system.bytes, &use_of, 0);
    }
    for encrypted in &aggregate.encrypted {
        let opened = encrypted.opened.as_ref();
        let use_of = Use::new(opened.unwrap_or(&encrypted.device).to_string(), "encrypted");
        map.add(&encrypted.device, encrypted.at, encrypted.bytes, &use_of, 0);
    }
    let areas = map.areas.into_iter();
    areas
        .map(|(disk, areas)| (disk, areas.into_iter().collect()))
        .collect()
}

/// The regions of epochs of each disk, by disk and place.
pub(crate) fn epochs(aggregate: &Aggregate) -> BTreeMap<String, Vec<EpochArea>> {
    let mut map = Map {
        volumes: aggregate
            .volumes
            .iter()
            .map(|volume| (&volume.device, volume))
            .collect(),
        areas: BTreeMap::new(),
        steps: MOST_STEPS,
    };
    let mut all: BTreeMap<String, BTreeSet<EpochArea>> = BTreeMap::new();
    for region in &aggregate.epochs {
        // A member may be a partition: the areas of its region lie where that does.
        let use_of = Use::new(String::new(), "");
        map.add(&region.device, region.start, region.bytes, &use_of, 0);
        for (disk, areas) in std::mem::take(&mut map.areas) {
            let epochs = all.entry(disk).or_default();
            for area in areas {
                if epochs.len() < MOST_AREAS {
                    epochs.insert(EpochArea {
                        start: area.start,
                        bytes: area.bytes,
                        epoch: region.epoch,
                        evidence: region.evidence.clone(),
                    });
                }
            }
        }
    }
    let all = all.into_iter();
    all.map(|(disk, areas)| (disk, areas.into_iter().collect()))
        .collect()
}

/// Who uses an area, and as what.
struct Use {
    user: String,
    part: String,
    left_out: Option<String>,
}

impl Use {
    fn new(user: String, part: &str) -> Self {
        Self {
            user,
            part: part.to_owned(),
            left_out: None,
        }
    }
}

struct Map<'a> {
    volumes: HashMap<&'a DeviceName, &'a Volume>,
    areas: BTreeMap<String, BTreeSet<DiskArea>>,
    /// How many pieces may still be looked at.
    steps: usize,
}

impl Map<'_> {
    fn add_member(&mut self, user: &DeviceName, member: &Member) {
        let Some(device) = &member.device else {
            return;
        };
        let use_of = Use {
            user: user.to_string(),
            part: format!("role {}", member.role),
            left_out: member.left_out.clone(),
        };
        self.add(device, member.data_offset, member.data_size, &use_of, 0);
    }

    /// Follows a range of a device through partitions down to disks. What is spread over a group
    /// is not followed: the group's own areas say where that lies.
    fn add(&mut self, device: &DeviceName, start: u64, bytes: u64, use_of: &Use, layer: u32) {
        if let Some(disk) = device.0.strip_prefix("disk:") {
            let areas = self.areas.entry(disk.to_owned()).or_default();
            if areas.len() < MOST_AREAS && bytes > 0 {
                areas.insert(DiskArea {
                    start,
                    bytes,
                    user: use_of.user.clone(),
                    part: use_of.part.clone(),
                    left_out: use_of.left_out.clone(),
                });
            }
            return;
        }
        let Some(volume) = self.volumes.get(device).copied() else {
            return;
        };
        if layer >= MOST_LAYERS {
            return;
        }
        let end = start.saturating_add(bytes);
        for segment in &volume.segments {
            let Some(left) = self.steps.checked_sub(1) else {
                return;
            };
            self.steps = left;
            let from = segment.start.max(start);
            let to = segment.start.saturating_add(segment.bytes).min(end);
            let (Some(_), inside) = (to.checked_sub(from), from.saturating_sub(segment.start))
            else {
                continue;
            };
            let data = inside..to.saturating_sub(segment.start);
            let (area, stored) = match &segment.map {
                SegmentMap::Linear(area) => (area, Some(data)),
                SegmentMap::Framed { framing, area } => (area, framing.stored(data)),
                _ => continue,
            };
            let (Some(below), Some(stored)) = (&area.device, stored) else {
                continue;
            };
            let at = area.offset.saturating_add(stored.start);
            let length = stored.end.saturating_sub(stored.start);
            self.add(below, at, length, use_of, layer.saturating_add(1));
        }
    }
}
