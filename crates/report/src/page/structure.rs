//! The end of the page: what engineers sign for.

use aggregate::document::{
    Area, FilesystemStatement, MetadataVersion, Segment, SegmentMap, Unused, VersionState, Volume,
    VolumeGroup,
};
use aggregate::raid::{Geometry, Level};
use serde::Serialize;
use serde_json::Value;

use super::account::Listed;
use super::answers::minute;
use super::encrypted::EncryptedView;
use super::picture::{Colours, Mark, Picture, Scale, ruler, scales};
use crate::facts::{Check, Evidence, Facts, GroupFacts, LossFact, Step, Structure, Target};
use crate::words::{binary, bytes, counted, duration, iso_unsigned, number};

/// Losses, volumes and pieces listed on the page at most.
const MOST_LINES: usize = 500;
/// Longest text of a step's options or results that is shown, in characters.
const MOST_TEXT: usize = 600;

/// Everything after the accounts.
#[derive(Debug, Serialize)]
pub(super) struct Engineering {
    checks: Vec<CheckView>,
    evidence: Vec<EvidenceView>,
    pictures: Vec<Picture>,
    scales: Vec<Scale>,
    ruler: Vec<Mark>,
    assembled: bool,
    groups: Vec<GroupView>,
    volume_groups: Vec<VolumeGroupView>,
    volumes: Listed<VolumeView>,
    filesystems: Vec<FilesystemView>,
    encrypted: Vec<EncryptedView>,
    unused: Vec<UnusedView>,
    aggregate_losses: Listed<LossView>,
    losses_of_trees: Listed<LossView>,
    targets: Vec<TargetView>,
    problem: Option<String>,
    steps: Vec<StepView>,
    program: String,
}

impl Engineering {
    pub(super) fn new(facts: &Facts) -> Self {
        let largest = facts.disks.iter().map(|disk| disk.bytes).max().unwrap_or(0);
        let colours = Colours::new(&facts.disks);
        let structure = facts.aggregate.as_ref();
        let groups = all(structure, |s| &s.groups).iter();
        let volume_groups = all(structure, |s| &s.volume_groups).iter();
        let filesystems = all(structure, |s| &s.filesystems).iter();
        let encrypted = all(structure, |s| &s.encrypted).iter();
        let unused = all(structure, |s| &s.unused).iter();
        Self {
            checks: facts.checks.iter().map(CheckView::new).collect(),
            evidence: facts.evidence.iter().map(EvidenceView::new).collect(),
            pictures: facts
                .disks
                .iter()
                .map(|disk| Picture::new(disk, largest, &colours))
                .collect(),
            scales: scales(),
            ruler: ruler(largest),
            assembled: structure.is_some(),
            groups: groups.map(GroupView::new).collect(),
            volume_groups: volume_groups.map(VolumeGroupView::new).collect(),
            volumes: Listed::new(all(structure, |s| &s.volumes), MOST_LINES, VolumeView::new),
            filesystems: filesystems.map(FilesystemView::new).collect(),
            encrypted: encrypted.map(EncryptedView::new).collect(),
            unused: unused.map(UnusedView::new).collect(),
            aggregate_losses: Listed::new(all(structure, |s| &s.losses), MOST_LINES, LossView::new),
            losses_of_trees: Listed::new(&facts.losses, MOST_LINES, LossView::new),
            targets: facts.targets.iter().map(TargetView::new).collect(),
            problem: facts.log.problem.clone(),
            steps: facts.log.steps.iter().map(StepView::new).collect(),
            program: facts.program.clone(),
        }
    }
}

/// The statements of one kind; none before `assemble`.
fn all<T>(structure: Option<&Structure>, which: fn(&Structure) -> &[T]) -> &[T] {
    structure.map_or(&[], which)
}

#[derive(Debug, Serialize)]
struct CheckView {
    what: String,
    left: String,
    right: String,
    holds: bool,
}

impl CheckView {
    fn new(check: &Check) -> Self {
        Self {
            what: check.what.clone(),
            left: number(check.left),
            right: number(check.right),
            holds: check.holds,
        }
    }
}

#[derive(Debug, Serialize)]
struct EvidenceView {
    name: String,
    path: String,
    format: String,
    mapfile: Option<String>,
    size: String,
    bytes: String,
    unread: String,
    blake3: Option<String>,
    sha256: Option<String>,
    warnings: Vec<String>,
}

impl EvidenceView {
    fn new(disk: &Evidence) -> Self {
        Self {
            name: disk.name.clone(),
            path: disk.path.clone(),
            format: disk.format.clone(),
            mapfile: disk.mapfile.clone(),
            size: bytes(disk.bytes),
            bytes: counted(disk.bytes, "byte", "bytes"),
            unread: match disk.unread {
                0 => String::new(),
                unread => counted(unread, "byte", "bytes"),
            },
            blake3: disk.blake3.clone(),
            sha256: disk.sha256.clone(),
            warnings: disk.warnings.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct GroupView {
    name: String,
    level: String,
    size: String,
    state: String,
    sound: bool,
    confidence: String,
    members: Vec<MemberView>,
    evidence: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    role: u32,
    device: Option<String>,
    offset: String,
    size: String,
    left_out: Option<String>,
    bad: String,
}

impl GroupView {
    fn new(facts: &GroupFacts) -> Self {
        let group = &facts.group;
        let (state, sound) = state(facts);
        let members = group.members.iter().map(|member| MemberView {
            role: member.role,
            device: member.device.as_ref().map(ToString::to_string),
            offset: number(member.data_offset),
            size: number(member.data_size),
            left_out: member.left_out.clone(),
            bad: member
                .bad_blocks
                .iter()
                .take(MOST_LINES)
                .map(|bad| format!("{} at {}", number(bad.bytes), number(bad.start)))
                .collect::<Vec<_>>()
                .join("; "),
        });
        Self {
            name: group.name.clone(),
            level: level(&group.geometry),
            size: bytes(group.geometry.bytes),
            state,
            sound,
            // Cut, not rounded: a guess is never shown as certain.
            confidence: format!("{} %", (group.confidence.clamp(0.0, 1.0) * 100.0).floor()),
            members: members.collect(),
            evidence: group.evidence.clone(),
        }
    }
}

/// The state of a group in words, and whether its redundancy makes up for what is absent.
fn state(facts: &GroupFacts) -> (String, bool) {
    let mut parts = Vec::new();
    if facts.missing > 0 {
        parts.push(format!("{} missing", number(facts.missing)));
    }
    if facts.left_out > 0 {
        parts.push(format!("{} left out", number(facts.left_out)));
    }
    let absent = facts.missing.saturating_add(facts.left_out);
    match absent {
        0 => ("all members are there".to_owned(), true),
        _ if absent <= facts.redundancy => (
            format!(
                "{}: rebuilt from the others wherever they can be read",
                parts.join(", ")
            ),
            true,
        ),
        _ => (
            format!(
                "{}, more than its redundancy makes up for: what only they held is lost",
                parts.join(", ")
            ),
            false,
        ),
    }
}

/// The level with its layout and chunk.
fn level(geometry: &Geometry) -> String {
    let (name, layout) = match &geometry.level {
        Level::Linear { .. } => ("linear", String::new()),
        Level::Raid0 { layout, .. } => ("RAID 0", named(layout)),
        Level::Raid1 { .. } => ("RAID 1", String::new()),
        Level::Raid4 { .. } => ("RAID 4", String::new()),
        Level::Raid5 { layout, .. } => ("RAID 5", named(layout)),
        Level::Raid6 { layout, .. } => ("RAID 6", named(layout)),
        Level::Raid10 { layout, .. } => {
            let kind = if layout.offset { "offset" } else { "far" };
            (
                "RAID 10",
                format!("near {}, {kind} {}", layout.near, layout.far),
            )
        }
        Level::RaidDp { prime, .. } => ("RAID-DP", format!("prime {prime}")),
        Level::Table { rows, .. } => ("a table", counted(rows.len() as u64, "row", "rows")),
    };
    let mut parts = vec![name.to_owned()];
    parts.extend((!layout.is_empty()).then_some(layout));
    parts.extend(
        geometry
            .chunk_bytes()
            .map(|chunk| format!("chunks of {}", binary(chunk))),
    );
    parts.push(counted(u64::from(geometry.members()), "member", "members"));
    parts.join(", ")
}

/// The name of a layout as the document spells it.
fn named(layout: &impl Serialize) -> String {
    match serde_json::to_value(layout) {
        Ok(Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[derive(Debug, Serialize)]
struct VolumeGroupView {
    name: String,
    uuid: String,
    seqno: u64,
    extent: String,
    volumes: Vec<String>,
    versions: Vec<String>,
    notes: Vec<String>,
}

impl VolumeGroupView {
    fn new(group: &VolumeGroup) -> Self {
        let volumes = group.physical_volumes.iter();
        Self {
            name: group.name.clone(),
            uuid: group.uuid.clone(),
            seqno: group.seqno,
            extent: binary(group.extent_bytes),
            volumes: volumes
                .map(|volume| {
                    let device = volume.device.as_ref();
                    let device = device.map_or("missing".to_owned(), ToString::to_string);
                    format!("{}: {device}", volume.name)
                })
                .collect(),
            versions: group
                .versions
                .iter()
                .take(MOST_LINES)
                .map(version)
                .collect(),
            notes: group.notes.clone(),
        }
    }
}

fn version(version: &MetadataVersion) -> String {
    let state = match version.state {
        VersionState::Current => "current",
        VersionState::Precommitted => "written, not committed",
        VersionState::Older => "older",
    };
    let intact = if version.intact { "" } else { ", damaged" };
    let when = match version.created {
        0 => String::new(),
        created => format!(", {}", minute(&iso_unsigned(created))),
    };
    format!(
        "{} ({state}{intact}{when}): {}",
        version.seqno, version.description
    )
}

#[derive(Debug, Serialize)]
struct VolumeView {
    device: String,
    size: String,
    hidden: bool,
    pieces: Listed<String>,
    evidence: Vec<String>,
}

impl VolumeView {
    fn new(volume: &Volume) -> Self {
        Self {
            device: volume.device.to_string(),
            size: bytes(volume.bytes),
            hidden: volume.hidden,
            pieces: Listed::new(&volume.segments, 20, piece),
            evidence: volume.evidence.clone(),
        }
    }
}

fn piece(segment: &Segment) -> String {
    let area = |area: &Area| match &area.device {
        Some(device) => format!("{device} at {}", number(area.offset)),
        None => "a missing device".to_owned(),
    };
    let areas = |all: &[Area]| all.iter().map(area).collect::<Vec<_>>().join(", ");
    let map = match &segment.map {
        SegmentMap::Linear(one) => area(one),
        SegmentMap::Striped {
            stripe_bytes,
            areas: all,
        } => format!("stripes of {} over {}", binary(*stripe_bytes), areas(all)),
        SegmentMap::Mirrored { areas: all } => format!("copies on {}", areas(all)),
        SegmentMap::Framed { area: one, .. } => format!("between checksums on {}", area(one)),
        SegmentMap::Snapshot { origin, store } => format!(
            "a snapshot of {}, changed chunks on {}",
            area(origin),
            area(store)
        ),
        SegmentMap::Thin {
            data, device_id, ..
        } => format!("thin volume {device_id} of the pool on {}", area(data)),
        SegmentMap::Zero => "zeros".to_owned(),
        SegmentMap::Missing { why } => format!("missing: {why}"),
    };
    format!(
        "{} from {}: {map}",
        bytes(segment.bytes),
        number(segment.start)
    )
}

#[derive(Debug, Serialize)]
struct FilesystemView {
    device: String,
    kind: String,
    label: String,
    uuid: String,
    size: String,
    notes: Vec<String>,
}

impl FilesystemView {
    fn new(system: &FilesystemStatement) -> Self {
        Self {
            device: system.device.to_string(),
            kind: system.kind.clone(),
            label: system.label.clone(),
            uuid: system.uuid.clone(),
            size: bytes(system.bytes),
            notes: system.notes.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct UnusedView {
    device: String,
    why: String,
}

impl UnusedView {
    fn new(unused: &Unused) -> Self {
        Self {
            device: unused.device.to_string(),
            why: unused.why.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct LossView {
    what: String,
    place: String,
    why: String,
}

impl LossView {
    fn new(loss: &LossFact) -> Self {
        Self {
            what: loss.what.clone(),
            place: format!("{} at {}", loss.source, number(loss.offset)),
            why: loss.why.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct TargetView {
    id: String,
    restored: String,
    already_live: String,
    first: String,
    last: String,
}

impl TargetView {
    fn new(target: &Target) -> Self {
        let time = |time: &Option<String>| time.as_deref().map(minute).unwrap_or_default();
        Self {
            id: target.id.clone(),
            restored: number(target.restored),
            already_live: number(target.already_live),
            first: time(&target.first),
            last: time(&target.last),
        }
    }
}

#[derive(Debug, Serialize)]
struct StepView {
    time: String,
    step: String,
    options: Vec<Pair>,
    input: Vec<Pair>,
    output: Vec<Pair>,
    took: String,
}

#[derive(Debug, Serialize)]
struct Pair {
    name: String,
    value: String,
}

impl StepView {
    fn new(step: &Step) -> Self {
        Self {
            time: minute(&step.time),
            step: step.step.clone(),
            options: pairs(&step.options),
            input: pairs(&step.input),
            output: pairs(&step.output),
            took: step
                .effort
                .map(|effort| duration(effort.milliseconds))
                .unwrap_or_default(),
        }
    }
}

/// The fields of an object with their values as text; of another value, itself.
fn pairs(value: &Value) -> Vec<Pair> {
    let pair = |name: &str, value: &Value| Pair {
        name: name.to_owned(),
        value: text(value),
    };
    match value {
        Value::Null => Vec::new(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| pair(&name.replace('_', " "), value))
            .collect(),
        other => vec![pair("", other)],
    }
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(count) => count.as_u64().map_or_else(|| count.to_string(), number),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST_TEXT {
        return text;
    }
    text.chars().take(MOST_TEXT).chain(['…']).collect()
}
