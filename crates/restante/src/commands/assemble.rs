//! `assemble`: work out the aggregate and write `aggregate.json`.

use std::cell::RefCell;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use aggregate::document::{Aggregate, DeviceName, FilesystemStatement, SegmentMap, Unused};
use aggregate::{Devices, Disk};
use anyhow::{Context, Result};
use case::Case;
use case::log::Effort;
use evidence::{ByteOffset, Cause, GapCause, Loss, Origin, ReadAt};
use serde_json::{Value, json};

use crate::args::{Assemble, Common};
use crate::output::{Output, bytes, shown, table};
use crate::session::open_disks;
use crate::unlock;
use crate::usage::Usage;

/// Regions of epochs that are shown at most.
const MOST_REGIONS: usize = 60;

/// How the log names an aggregate that a person stated.
const STATED: &str = "stated in a geometry file";

/// Runs the command.
pub(crate) fn run(args: &Assemble, common: &Common) -> Result<Output> {
    let case = Case::open(&args.case)?;
    if let Some(path) = &args.geometry {
        let start = Instant::now();
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        let mut stated: Aggregate = serde_json::from_slice(&text).map_err(|error| {
            Usage::error(format!(
                "{}: {error}. It must have the form of aggregate.json, see docs/geometry.md",
                path.display()
            ))
        })?;
        aggregate::epochs::complete(&mut stated, &open_disks(&case)?)?;
        return take(&case, stated, STATED, start, common);
    }
    if !args.again && edited(&case)? {
        return Err(Usage::error(
            "aggregate.json was stated or edited by a person; `restante rebuild` goes on with it as \
             it is, and `restante assemble --again` works it out anew and replaces it",
        ));
    }
    assemble(&case, common)
}

/// Works out the aggregate from labels and contents of the disks and writes it to the case.
pub(crate) fn assemble(case: &Case, common: &Common) -> Result<Output> {
    let start = Instant::now();
    let disks = open_disks(case)?;
    let troubles = RefCell::new(Vec::new());
    let probe = |device, name: &DeviceName| probe(device, name, &troubles);
    let mut found = aggregate::discover_with(&disks, &[], unlock::keys(), &probe);
    found.losses.append(&mut troubles.take());
    found.losses.sort();
    found.losses.dedup();
    found.unused.extend(repeated(case, &disks)?);
    take(case, found, "worked out from the disks", start, common)
}

/// The evidence that is not looked at because other evidence has the same contents.
fn repeated(case: &Case, disks: &[Disk]) -> Result<Vec<Unused>> {
    let file = case.file()?;
    let is_read = |name: &String| disks.iter().any(|(read, _)| read == name);
    let repeated = file.evidence.iter().filter(|(name, _)| !is_read(name));
    let statements = repeated.map(|(name, record)| {
        let mut others = file.evidence.iter();
        let same = others.find(|(other, twin)| is_read(other) && twin.blake3 == record.blake3);
        let same = same.map(|(other, _)| DeviceName::disk(other).to_string());
        Unused {
            device: DeviceName::disk(name),
            copy_of: None,
            why: format!(
                "its contents are those of {}: another image of that disk, or its mirror",
                same.unwrap_or_default()
            ),
        }
    });
    Ok(statements.collect())
}

/// Whether a person stated what is in `aggregate.json`, or changed it since a step wrote it.
pub(crate) fn edited(case: &Case) -> Result<bool> {
    let Ok(text) = fs::read(case.path().join("aggregate.json")) else {
        return Ok(false);
    };
    let digest = blake3::hash(&text).to_hex().to_string();
    let log = case.verified_log()?;
    let last = log.iter().rev().find(|line| line.step == "assemble");
    Ok(last.is_some_and(|line| {
        line.options["how"] == STATED || line.output["aggregate"] != digest.as_str()
    }))
}

/// The evidence that an aggregate is worked out from: the names and hashes of all disks.
pub(crate) fn evidence_digest(case: &Case) -> Result<Value> {
    let file = case.file()?;
    let all: Vec<_> = file
        .evidence
        .iter()
        .map(|(name, record)| (name, &record.blake3, &record.not_rescued_digest))
        .collect();
    Ok(json!(all))
}

/// Checks `aggregate`, on which work began at `start`, against the disks and writes it to the case.
fn take(
    case: &Case,
    mut aggregate: Aggregate,
    how: &str,
    start: Instant,
    common: &Common,
) -> Result<Output> {
    let disks = open_disks(case)?;
    let devices = aggregate::build_with(&aggregate, &disks, unlock::keys())?;
    if aggregate.filesystems.is_empty() {
        // Who states a geometry need not state what lies on it.
        let troubles = RefCell::new(Vec::new());
        let mut statements = Vec::new();
        for volume in &aggregate.volumes {
            let device = devices.get(&volume.device);
            statements.extend(device.and_then(|d| probe(d, &volume.device, &troubles)));
        }
        for group in &aggregate.groups {
            let name = DeviceName::group(&group.name);
            statements.extend(devices.get(&name).and_then(|d| probe(d, &name, &troubles)));
        }
        for name in aggregate.encrypted.iter().flat_map(|one| &one.opened) {
            statements.extend(devices.get(name).and_then(|d| probe(d, name, &troubles)));
        }
        aggregate.filesystems = statements;
        aggregate.losses.append(&mut troubles.take());
    }
    let cut_off = cut_off(&aggregate, &devices);
    aggregate.losses.extend(cut_off);
    case.write_json("aggregate.json", &aggregate)?;
    let text = fs::read(case.path().join("aggregate.json"))?;
    let input = evidence_digest(case)?;
    let digest = blake3::hash(&text).to_hex().to_string();
    case.log(
        "assemble",
        json!({ "how": how }),
        input,
        json!({ "aggregate": digest }),
        Some(Effort::since(start, 0)),
    )?;
    Ok(Output::new(json!(aggregate), describe(&aggregate, common)))
}

/// The members whose device ends before their data does: images that were cut short.
fn cut_off(aggregate: &Aggregate, devices: &Devices) -> Vec<Loss> {
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    members
        .filter_map(|member| {
            let name = member.device.as_ref()?;
            let length = devices.get(name)?.len();
            let end = member.data_offset.saturating_add(member.data_size);
            (end > length).then(|| Loss {
                what: format!("the last {} of {name}", bytes(end.saturating_sub(length))),
                origin: Origin::new(name.0.clone(), ByteOffset::new(length)),
                cause: Cause::Gap(GapCause::BeyondEnd),
            })
        })
        .collect()
}

/// Says what file system is on a device.
///
/// One that is there and cannot be read is a loss, which `troubles` collects.
fn probe(
    device: Arc<dyn ReadAt>,
    name: &DeviceName,
    troubles: &RefCell<Vec<Loss>>,
) -> Option<FilesystemStatement> {
    let statement = |kind: &str, uuid: String, label: String, bytes: u64, notes: Vec<String>| {
        FilesystemStatement {
            device: name.clone(),
            kind: kind.to_owned(),
            uuid,
            label,
            bytes,
            notes,
        }
    };
    let fs = match filesystem::open(device, &name.0) {
        Ok(fs) => fs?,
        Err(error) => {
            troubles.borrow_mut().push(Loss {
                what: "file system".to_owned(),
                origin: Origin::new(name.0.clone(), ByteOffset::ZERO),
                cause: Cause::Corrupt(error.to_string()),
            });
            return None;
        }
    };
    let info = fs.info();
    let mut notes = vec![info.version.clone()];
    notes.extend(info.notes.iter().cloned());
    Some(statement(
        &info.kind.to_string().to_lowercase(),
        uuid(&info.uuid),
        info.label.clone(),
        info.bytes,
        notes,
    ))
}

/// A UUID in the usual groups of digits.
fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The level of a geometry with its layout, if the level has several.
fn level(geometry: &Value) -> String {
    let mut words = vec![geometry["level"].as_str().unwrap_or_default().to_owned()];
    match &geometry["layout"] {
        Value::String(name) => words.push(name.clone()),
        Value::Object(copies) => {
            let count = |key: &str| copies.get(key).and_then(Value::as_u64).unwrap_or(1);
            let is_offset = copies.get("offset").and_then(Value::as_bool);
            let further = if is_offset == Some(true) {
                "offset"
            } else {
                "far"
            };
            let kinds = [("near", count("near")), (further, count("far"))];
            let several = kinds.iter().filter(|(_, count)| *count > 1);
            words.extend(several.map(|(kind, count)| format!("{kind} {count}")));
        }
        _ => {}
    }
    words.join(" ")
}

/// The aggregate as tables that a person can check.
fn describe(aggregate: &Aggregate, common: &Common) -> String {
    let mut text = String::new();
    for group in &aggregate.groups {
        let geometry = json!(group.geometry);
        text.push_str(&format!(
            "group {}: {}, chunk {}, {} (confidence {:.2})\n",
            shown(&group.name),
            level(&geometry),
            geometry["chunk_bytes"]
                .as_u64()
                .map_or_else(|| "-".to_owned(), bytes),
            bytes(group.geometry.bytes),
            group.confidence,
        ));
        let mut rows = vec![
            ["role", "device", "data at", "data", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        for member in &group.members {
            rows.push(vec![
                member.role.to_string(),
                member
                    .device
                    .as_ref()
                    .map_or_else(|| "missing".to_owned(), ToString::to_string),
                member.data_offset.to_string(),
                bytes(member.data_size),
                member
                    .left_out
                    .as_ref()
                    .map(|why| format!("left out: {why}"))
                    .unwrap_or_default(),
            ]);
        }
        text.push_str(&table(&rows));
        if !group.over.is_empty() {
            let older: Vec<String> = group.over.iter().map(|name| shown(name)).collect();
            text.push_str(&format!(
                "  begun over {}: the files in it are read, and what else lies on its members is not its own\n",
                older.join(", ")
            ));
        }
        if common.verbose {
            for line in &group.evidence {
                text.push_str(&format!("    {}\n", shown(line)));
            }
        }
    }
    text.push_str(&epochs(aggregate));
    if !aggregate.volumes.is_empty() {
        let mut rows = vec![["volume", "size", "lies on"].map(str::to_owned).to_vec()];
        for volume in &aggregate.volumes {
            rows.push(vec![
                volume.device.to_string(),
                bytes(volume.bytes),
                lies_on(volume.segments.iter().map(|segment| &segment.map)),
            ]);
        }
        text.push_str("volumes\n");
        text.push_str(&table(&rows));
    }
    for encrypted in &aggregate.encrypted {
        if let Some(opened) = &encrypted.opened {
            text.push_str(&format!(
                "opened {opened}: {} on {} ({}, {})\n",
                encrypted.kind.describe(),
                encrypted.device,
                shown(&encrypted.cipher),
                bytes(encrypted.bytes)
            ));
        }
    }
    text.push_str("file systems\n");
    let mut rows = vec![
        ["device", "kind", "size", "uuid", "notes"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for fs in &aggregate.filesystems {
        rows.push(vec![
            fs.device.to_string(),
            fs.kind.clone(),
            bytes(fs.bytes),
            fs.uuid.clone(),
            fs.notes.join("; "),
        ]);
    }
    if aggregate.filesystems.is_empty() {
        rows.push(vec!["none was recognised".to_owned()]);
    }
    text.push_str(&table(&rows));
    for unused in &aggregate.unused {
        text.push_str(&format!(
            "unused {}: {}\n",
            unused.device,
            shown(&unused.why)
        ));
    }
    for loss in &aggregate.losses {
        text.push_str(&format!("lost: {}\n", shown(&loss.to_string())));
    }
    text
}

/// The regions that are not their group's own, as a table; nothing if there are none.
fn epochs(aggregate: &Aggregate) -> String {
    if aggregate.epochs.is_empty() {
        return String::new();
    }
    let head = ["device", "from", "to", "size", "epoch", "evidence"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for region in aggregate.epochs.iter().take(MOST_REGIONS) {
        rows.push(vec![
            region.device.to_string(),
            region.start.to_string(),
            region.end().to_string(),
            bytes(region.meant()),
            region.epoch.name().to_owned(),
            region.evidence.clone(),
        ]);
    }
    let mut text = format!(
        "epochs (all else is as the group wrote it)\n{}",
        table(&rows)
    );
    let more = aggregate.epochs.len().saturating_sub(MOST_REGIONS);
    if more > 0 {
        text.push_str(&format!(
            "  and {more} more, all of them in aggregate.json\n"
        ));
    }
    text
}

/// The devices that a volume lies on, each once, with how.
fn lies_on<'a>(maps: impl Iterator<Item = &'a SegmentMap>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for map in maps {
        let (how, areas) = match map {
            SegmentMap::Linear(area) => ("", std::slice::from_ref(area)),
            SegmentMap::Striped { areas, .. } => ("striped over ", areas.as_slice()),
            SegmentMap::Mirrored { areas } => ("mirrored on ", areas.as_slice()),
            SegmentMap::Framed { area, .. } => {
                ("between checksums on ", std::slice::from_ref(area))
            }
            SegmentMap::Snapshot { origin, .. } => ("a snapshot of ", std::slice::from_ref(origin)),
            SegmentMap::Thin { data, .. } => {
                ("chunks of the thin pool on ", std::slice::from_ref(data))
            }
            SegmentMap::Missing { why } => {
                parts.push(format!("missing ({why})"));
                continue;
            }
            SegmentMap::Zero => {
                parts.push("zeros".to_owned());
                continue;
            }
        };
        let devices: Vec<String> = areas
            .iter()
            .map(|area| {
                area.device
                    .as_ref()
                    .map_or_else(|| "missing".to_owned(), ToString::to_string)
            })
            .collect();
        parts.push(format!("{how}{}", devices.join(" ")));
    }
    parts.dedup();
    parts.join(", ")
}
