//! `scan`: add evidence, identify it, catalogue what is on it.

mod identify;
mod stored;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use case::log::Effort;
use case::{CATALOGUE, Case, CaseFile, EvidenceRecord};
use evidence::ReadAt;
use evidence::image::{self, Format, Image};
use serde_json::json;

use self::identify::{Identified, identify};
use self::work::{Counts, Work};
use crate::args::{Common, Hashes, Scan, Share};
use crate::output::{Output, bytes, table};
use crate::progress;
use crate::session::{check_identity, modified_ns, not_rescued_digest, open_evidence};
use crate::usage::Usage;

/// Runs the command.
pub(crate) fn run(args: &Scan, common: &Common) -> Result<Output> {
    // Evidence is looked at before the case is made: a mistyped name leaves nothing behind.
    let images = open_images(&args.images, &args.raw)?;
    if images.is_empty() && !args.case.join("case.json").exists() {
        return Err(Usage::error(
            "no image was named; write `restante scan CASE IMAGE...` with raw images or block devices",
        ));
    }
    let case = if args.units.is_some() {
        Case::join(&args.case)?
    } else {
        Case::open_or_create(&args.case)?
    };
    for name in &args.again {
        forget(&case, name)?;
    }
    scan(&case, images, args.hashes, args.units, common)
}

/// Drops what is known of a piece of evidence, which is to be taken as it is now.
fn forget(case: &Case, name: &str) -> Result<()> {
    let mut file = case.file()?;
    let Some(record) = file.evidence.get_mut(name) else {
        return Err(Usage::error(format!(
            "the case has no evidence {name:?}; it has {}",
            file.evidence.keys().cloned().collect::<Vec<_>>().join(", ")
        )));
    };
    let before = record.clone();
    // Raw stays raw, since that may be what a person said of it.
    let raw = Format::is_raw_name(&before.format);
    *record = new_record(&if raw {
        image::open_raw(&before.path)?
    } else {
        image::open(&before.path)?
    });
    case.remove_files(CATALOGUE, &format!("{name}@"))?;
    case.write_file(&file)?;
    Ok(case.log(
        "forget",
        json!({ "evidence": name }),
        json!(before),
        json!(null),
        None,
    )?)
}

/// What is known of an image before it is scanned.
fn new_record(image: &Image) -> EvidenceRecord {
    EvidenceRecord {
        path: image.path().to_owned(),
        format: image.format().name().to_owned(),
        bytes: image.len(),
        mapfile: image.mapfile().map(Path::to_owned),
        not_rescued: image.known_gaps(),
        not_rescued_digest: not_rescued_digest(image),
        modified_ns: modified_ns(image),
        warnings: image.warnings().to_vec(),
        blake3: None,
        sha256: None,
        unread: 0,
        container: image.container().map(stored::container_record),
    }
}

/// Adds `images` to the case and scans all of its evidence that is not scanned yet; of several jobs
/// only `share`, if it is one.
pub(crate) fn scan(
    case: &Case,
    images: Vec<Image>,
    hashes: Hashes,
    share: Option<Share>,
    common: &Common,
) -> Result<Output> {
    let added = add(case, &images)?;
    drop(images);
    let file = case.file()?;
    let disks: Vec<(String, Image)> = file
        .evidence
        .iter()
        .map(|(name, record)| {
            let image = open_evidence(name, record)?;
            check_identity(case, name, record, &image)?;
            Ok((name.clone(), image))
        })
        .collect::<Result<_>>()?;
    if share.is_none() {
        // Nobody else is at work: what is unfinished, a killed run left.
        case.remove_unfinished(CATALOGUE)?;
    }
    let bar = progress::bar(common, "scan", 0, progress::Unit::Bytes);
    let work = Work {
        case,
        disks: &disks,
        hashes,
        share,
        bar: &bar,
    };
    let start = Instant::now();
    let counts = work.run()?;
    let effort = Effort::since(start, bar.position());
    bar.finish_and_clear();
    let identified = complete(case, &disks, hashes, share, added, effort)?;
    let left = identified.left;
    if left == 0 && !hashes.no_hash {
        stored::check(case, &disks, common)?;
    }
    let mut output = summary(&case.file()?, &counts, share, common.verbose)?;
    if left > 0 {
        output.text.push_str(&format!(
            "  {left} units are left to other shares; when all are scanned, the last share or \
             `restante scan CASE` completes the case\n"
        ));
    }
    if let Some(json) = output.json.as_object_mut() {
        json.insert("units_left".to_owned(), json!(left));
    }
    Ok(output)
}

/// Puts the hashes together and notes in the log what came out.
fn complete(
    case: &Case,
    disks: &[(String, Image)],
    hashes: Hashes,
    share: Option<Share>,
    added: bool,
    effort: Effort,
) -> Result<Identified> {
    // Another share may come to its end at the same moment.
    let edit = case.edit()?;
    let identified = identify(case, case.file()?, disks, share.is_some())?;
    if added || identified.changed {
        let evidence = &identified.file.evidence;
        let input = json!(evidence.keys().collect::<Vec<_>>());
        let output: BTreeMap<&String, &Option<String>> = evidence
            .iter()
            .map(|(name, record)| (name, &record.blake3))
            .collect();
        let options = json!({
            "sha256": hashes.sha256,
            "no_hash": hashes.no_hash,
            "units": share.map(|share| format!("{}/{}", share.part, share.of)),
        });
        case.log("scan", options, input, json!(output), Some(effort))?;
    }
    drop(edit);
    Ok(identified)
}

/// Opens the images that were named, those in `raw` as raw whatever they look like; pieces of one
/// split image and segments of one E01 count once.
pub(crate) fn open_images(paths: &[PathBuf], raw: &[PathBuf]) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = Vec::new();
    let mut seen = BTreeSet::new();
    for path in raw {
        let absolute = std::path::absolute(path)?;
        if seen.insert(absolute.clone()) {
            images.push(image::open_raw(&absolute)?);
        }
    }
    for path in paths {
        let absolute = std::path::absolute(path)?;
        let piece = image::siblings(&absolute).and_then(|set| {
            set.contains(&absolute)
                .then(|| set.first_other_than(&absolute).map(Path::to_owned))
                .flatten()
        });
        let first = piece.or_else(|| image::first_segment(&absolute));
        // A later piece stands for nothing if the first one is named too, as a shell's `*` does.
        let named_too = first.is_some_and(|first| {
            paths
                .iter()
                .any(|other| std::path::absolute(other).is_ok_and(|other| other == first))
        });
        if named_too || !seen.insert(absolute.clone()) {
            continue;
        }
        images.push(image::open(&absolute)?);
    }
    Ok(images)
}

/// Notes new images in `case.json`; says whether there were any.
fn add(case: &Case, images: &[Image]) -> Result<bool> {
    let _edit = case.edit()?;
    let mut file = case.file()?;
    let known: BTreeSet<PathBuf> = file.evidence.values().map(|r| r.path.clone()).collect();
    let mut added = false;
    for image in images {
        if known.contains(image.path()) {
            continue;
        }
        let name = free_name(&file, image.path());
        let record = new_record(image);
        file.evidence.insert(name, record);
        added = true;
    }
    if added {
        case.write_file(&file)?;
    }
    Ok(added)
}

/// A name for the evidence at `path` that is free: that of its file, with a number if need be.
fn free_name(file: &CaseFile, path: &Path) -> String {
    let stem: String = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' => c,
            _ => '_',
        })
        .take(80)
        .collect();
    let stem = match stem.trim_start_matches('.') {
        "" => "disk",
        stem => stem,
    };
    (1_u32..)
        .map(|number| match number {
            1 => stem.to_owned(),
            number => format!("{stem}-{number}"),
        })
        .find(|name| !file.evidence.contains_key(name))
        .unwrap_or_default()
}

/// What was found on a disk, for its line: labels and beginnings of messages by name, and of the
/// rest how many; all by name if more was asked for.
fn found(finds: &[(&str, u64)], verbose: bool) -> String {
    let is_shown = |what: &str| verbose || what == detect::message::NAME || detect::is_label(what);
    let shown = finds.iter().filter(|(what, _)| is_shown(what));
    let mut parts: Vec<String> = shown
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    let others = finds.iter().filter(|(what, _)| !is_shown(what));
    let others: u64 = others.map(|(_, count)| *count).sum();
    if others > 0 {
        parts.push(format!("{others} other finds"));
    }
    parts.join(", ")
}

fn summary(file: &CaseFile, finds: &Counts, share: Option<Share>, verbose: bool) -> Result<Output> {
    let mut rows = vec![
        ["disk", "size", "unread", "blake3", "found"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, record) in &file.evidence {
        let finds: Vec<(&str, u64)> = finds
            .get(name)
            .into_iter()
            .flatten()
            .map(|(what, count)| (what.as_str(), *count))
            .collect();
        let hash = record.blake3.as_deref().unwrap_or("not identified");
        rows.push(vec![
            name.clone(),
            bytes(record.bytes),
            bytes(record.unread),
            hash.get(..16).unwrap_or(hash).to_owned(),
            found(&finds, verbose),
        ]);
    }
    let mut text = table(&rows);
    if let Some(Share { part, of }) = share {
        text.push_str(&format!("  found in share {part} of {of} only\n"));
    }
    for (name, record) in &file.evidence {
        for warning in &record.warnings {
            text.push_str(&format!("  {name}: {warning}\n"));
        }
        text.push_str(&stored::lines(name, record));
    }
    Ok(Output::new(
        json!({"evidence": file.evidence, "finds": finds}),
        text,
    ))
}
