//! The hashes that a container stores of its contents, and whether they hold.

use std::collections::BTreeMap;

use anyhow::Result;
use case::{Case, ContainerRecord, EvidenceRecord, StoredHash};
use evidence::image::{Container, Image};
use evidence::{ByteOffset, ReadAt};
use md5::Md5;
use rayon::prelude::*;
use serde_json::json;
use sha1::Sha1;
use sha1::digest::Digest;

use crate::args::Common;
use crate::progress;

const WINDOW: usize = 4 << 20;

/// What `case.json` keeps of a container.
pub(super) fn container_record(container: &Container) -> ContainerRecord {
    let hashes = [("md5", &container.md5), ("sha1", &container.sha1)];
    let hashes = hashes.into_iter().filter_map(|(kind, stored)| {
        let hash = StoredHash {
            stored: stored.clone()?,
            computed: None,
            agrees: None,
        };
        Some((kind.to_owned(), hash))
    });
    ContainerRecord {
        facts: container.facts.clone(),
        hashes: hashes.collect(),
    }
}

/// Hashes the contents of containers that store a hash, if that was not done before, and notes in
/// `case.json` and the log whether they agree.
///
/// MD5 and SHA-1 are chains over the whole disk, which the scan's threads do not read in order: so
/// this reads such images a second time, several at once.
pub(super) fn check(case: &Case, disks: &[(String, Image)], common: &Common) -> Result<()> {
    let file = case.file()?;
    let open: Vec<&(String, Image)> = disks
        .iter()
        .filter(|(name, _)| file.evidence.get(name).is_some_and(is_open))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let total = open.iter().map(|(_, disk)| disk.len()).sum();
    let bar = progress::bar(common, "hashes", total, progress::Unit::Bytes);
    let computed: BTreeMap<&str, [String; 2]> = open
        .par_iter()
        .map(|(name, disk)| Ok((name.as_str(), hashes_of(disk, &|count| bar.inc(count))?)))
        .collect::<Result<_>>()?;
    bar.finish_and_clear();
    let _edit = case.edit()?;
    let mut file = case.file()?;
    for (name, [md5, sha1]) in &computed {
        let container = file
            .evidence
            .get_mut(*name)
            .map(|record| &mut record.container);
        for (kind, hash) in container.into_iter().flatten().flat_map(|c| &mut c.hashes) {
            let now = if kind == "md5" { md5 } else { sha1 };
            hash.agrees = Some(now.eq_ignore_ascii_case(&hash.stored));
            hash.computed = Some(now.clone());
        }
    }
    case.write_file(&file)?;
    let outcome: BTreeMap<&str, _> = computed
        .keys()
        .filter_map(|name| Some((*name, &file.evidence.get(*name)?.container.as_ref()?.hashes)))
        .collect();
    let names: Vec<&&str> = computed.keys().collect();
    Ok(case.log(
        "stored-hashes",
        json!({}),
        json!(names),
        json!(outcome),
        None,
    )?)
}

/// Whether a hash is stored that was not looked at yet.
fn is_open(record: &EvidenceRecord) -> bool {
    let hashes = record
        .container
        .iter()
        .flat_map(|container| container.hashes.values());
    hashes.into_iter().any(|hash| hash.computed.is_none())
}

/// MD5 and SHA-1 of all bytes, in hexadecimal; what cannot be read counts as zeros.
fn hashes_of(disk: &Image, progress: &dyn Fn(u64)) -> Result<[String; 2]> {
    let (mut md5, mut sha1) = (Md5::new(), Sha1::new());
    let mut window = vec![0; WINDOW];
    let mut at = 0;
    while at < disk.len() {
        let count = disk.len().saturating_sub(at).min(WINDOW as u64);
        let part = window
            .get_mut(..usize::try_from(count)?)
            .unwrap_or_default();
        // Gaps are zeros here; how many there are, `unread` says.
        let _gaps = disk.read_at(ByteOffset::new(at), part)?;
        md5.update(&*part);
        sha1.update(&*part);
        progress(count);
        at = at.saturating_add(count);
    }
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([hex(&md5.finalize()), hex(&sha1.finalize())])
}

/// What the summary says of the stored hashes of one piece of evidence.
pub(super) fn lines(name: &str, record: &EvidenceRecord) -> String {
    let hashes = record
        .container
        .iter()
        .flat_map(|container| &container.hashes);
    hashes
        .map(|(kind, hash)| match hash.agrees {
            Some(true) => {
                format!("  {name}: the {kind} stored in the image agrees with its contents\n")
            }
            Some(false) => format!(
                "  {name}: THE {} STORED IN THE IMAGE DOES NOT AGREE with its contents ({} bytes \
                 could not be read); the image was damaged or changed since it was made\n",
                kind.to_ascii_uppercase(),
                record.unread
            ),
            None => format!("  {name}: the {kind} stored in the image was not checked\n"),
        })
        .collect()
}
