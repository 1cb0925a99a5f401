//! `scan`: add evidence, identify it, catalogue what is on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use case::{CATALOGUE, Case, CaseFile, EvidenceRecord};
use evidence::ReadAt;
use evidence::image::{self, Image};
use indicatif::ProgressBar;
use rayon::prelude::*;
use scan::{
    CatalogueRecord, Detector, RunningSha256, ScanOptions, Unit, scan_unit, units, whole_hash,
};
use serde_json::json;

use crate::args::{Common, Hashes, Scan};
use crate::output::{Output, bytes, table};
use crate::progress;
use crate::session::{
    check_identity, modified_ns, not_rescued_digest, open_evidence, scanned_unit, segment_name,
};
use crate::signatures::signatures;
use crate::usage::Usage;

/// Runs the command.
pub(crate) fn run(args: &Scan, common: &Common) -> Result<Output> {
    // Evidence is looked at before the case is made: a mistyped name leaves nothing behind.
    let images = open_images(&args.images)?;
    if images.is_empty() && !args.case.join("case.json").exists() {
        return Err(Usage::error(
            "no image was named; write `restante scan CASE IMAGE...` with raw images or block devices",
        ));
    }
    let case = Case::open_or_create(&args.case)?;
    for name in &args.again {
        forget(&case, name)?;
    }
    scan(&case, images, args.hashes, common)
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
    *record = new_record(&image::open(&before.path)?);
    case.remove_segments(CATALOGUE, &format!("{name}@"))?;
    case.write_file(&file)?;
    Ok(case.log(
        "forget",
        json!({ "evidence": name }),
        json!(before),
        json!(null),
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
    }
}

/// Adds `images` to the case and scans all of its evidence that is not scanned yet.
pub(crate) fn scan(
    case: &Case,
    images: Vec<Image>,
    hashes: Hashes,
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
    let bar = progress::bar(common, "scan", 0, progress::Unit::Bytes);
    if hashes.sha256 {
        // SHA-256 is a chain: the units of one disk follow each other, the disks run abreast.
        disks
            .par_iter()
            .try_for_each(|(name, disk)| scan_in_order(case, name, disk, &bar))?;
    } else {
        scan_units(case, &disks, &bar)?;
    }
    bar.finish_and_clear();
    let scanned = identify(case, file, &disks)?;
    if added || scanned.1 {
        let input = json!(scanned.0.evidence.keys().collect::<Vec<_>>());
        let output: BTreeMap<&String, &Option<String>> = scanned
            .0
            .evidence
            .iter()
            .map(|(name, record)| (name, &record.blake3))
            .collect();
        case.log(
            "scan",
            json!({"sha256": hashes.sha256}),
            input,
            json!(output),
        )?;
    }
    summary(case, &scanned.0)
}

/// Opens the images that were named; pieces of one split image count once.
pub(crate) fn open_images(paths: &[PathBuf]) -> Result<Vec<Image>> {
    let mut images: Vec<Image> = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let absolute = std::path::absolute(path)?;
        let first = image::siblings(&absolute).and_then(|set| {
            set.contains(&absolute)
                .then(|| set.first_other_than(&absolute).map(Path::to_owned))
                .flatten()
        });
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

fn scan_units(case: &Case, disks: &[(String, Image)], bar: &ProgressBar) -> Result<()> {
    let mut work = Vec::new();
    for (name, disk) in disks {
        for unit in units(disk) {
            if scanned_unit(case, name, unit)?.is_none() {
                work.push((name, disk, unit));
            }
        }
    }
    bar.set_length(work.iter().map(|(_, _, unit)| unit.bytes).sum());
    work.par_iter()
        .try_for_each(|(name, disk, unit)| scan_one(case, name, disk, *unit, None, bar).map(|_| ()))
}

fn scan_in_order(case: &Case, name: &str, disk: &Image, bar: &ProgressBar) -> Result<()> {
    bar.inc_length(disk.len());
    let mut state = RunningSha256::new();
    for unit in units(disk) {
        let known = scanned_unit(case, name, unit)?.and_then(|record| record.sha256());
        state = match known {
            Some(state) => {
                bar.inc(unit.bytes);
                state
            }
            None => scan_one(case, name, disk, unit, Some(state), bar)?
                .ok_or_else(|| anyhow!("the state of SHA-256 was lost"))?,
        };
    }
    Ok(())
}

/// Scans one unit and writes its segment.
fn scan_one(
    case: &Case,
    name: &str,
    disk: &Image,
    unit: Unit,
    sha256: Option<RunningSha256>,
    bar: &ProgressBar,
) -> Result<Option<RunningSha256>> {
    let signatures = signatures();
    let detectors: [&dyn Detector; 1] = [&signatures];
    let result = scan_unit(
        disk,
        unit,
        &detectors,
        &ScanOptions::default(),
        sha256,
        &|count| bar.inc(count),
    )
    .with_context(|| format!("evidence {name}"))?;
    let segment = CatalogueRecord::segment(name, unit, &result);
    case.write_segment(CATALOGUE, &segment_name(name, unit), &segment)?;
    Ok(result.sha256)
}

/// Puts the hashes of the units together; says whether any evidence was not identified before.
fn identify(
    case: &Case,
    mut file: CaseFile,
    disks: &[(String, Image)],
) -> Result<(CaseFile, bool)> {
    let changed = Mutex::new(false);
    for (name, disk) in disks {
        let mut hashes = Vec::new();
        let mut unread = 0_u64;
        let mut sha256 = None;
        for unit in units(disk) {
            let record = scanned_unit(case, name, unit)?
                .ok_or_else(|| anyhow!("a unit of {name} was not scanned"))?;
            hashes.push(record.hash().ok_or_else(|| {
                anyhow!("the catalogue of {name} was changed; remove its segments and scan again")
            })?);
            unread = unread.saturating_add(record.unread);
            sha256 = record.sha256();
        }
        let Some(record) = file.evidence.get_mut(name) else {
            continue;
        };
        let before = record.clone();
        let hash = whole_hash(disk, &hashes).map(|hash| hash.to_hex().to_string());
        if record.blake3.is_some() && record.blake3 != hash {
            return Err(Usage::error(format!(
                "{} reads otherwise than when it was scanned as {name}: it was changed, or its \
                 medium fails. Put it back, or take it as it is now with `restante scan CASE --again \
                 {name}`",
                record.path.display()
            )));
        }
        record.blake3 = hash;
        record.unread = unread;
        if let Some(state) = sha256 {
            record.sha256 = Some(state.finish());
        }
        *changed.lock().unwrap_or_else(PoisonError::into_inner) |= *record != before;
    }
    let changed = changed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if changed {
        case.write_file(&file)?;
    }
    Ok((file, changed))
}

fn summary(case: &Case, file: &CaseFile) -> Result<Output> {
    let mut finds: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut current = String::new();
    for record in case.read_segments::<CatalogueRecord>(CATALOGUE)? {
        match record? {
            CatalogueRecord::Unit(unit) => current = unit.evidence,
            CatalogueRecord::Find(find) => {
                let counts = finds.entry(current.clone()).or_default();
                let count = counts.entry(find.what).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    let mut rows = vec![
        ["disk", "size", "unread", "blake3", "found"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, record) in &file.evidence {
        let found: Vec<String> = finds
            .get(name)
            .into_iter()
            .flatten()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        let hash = record.blake3.as_deref().unwrap_or_default();
        rows.push(vec![
            name.clone(),
            bytes(record.bytes),
            bytes(record.unread),
            hash.get(..16).unwrap_or(hash).to_owned(),
            found.join(", "),
        ]);
    }
    let mut text = table(&rows);
    for (name, record) in &file.evidence {
        for warning in &record.warnings {
            text.push_str(&format!("  {name}: {warning}\n"));
        }
    }
    Ok(Output::new(
        json!({"evidence": file.evidence, "finds": finds}),
        text,
    ))
}
