//! `verify`: prove again what the case says.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use case::{Case, EvidenceRecord, LEDGER, MESSAGES};
use mail::maildir::MaildirName;
use mail::{MessageId, Record};
use rayon::prelude::*;
use restore::{Ledger, Outcome, Place, Target};
use serde_json::json;

use super::sync::{Index, checked_target, content, views};
use crate::args::{Common, Verify};
use crate::output::{Output, shown};
use crate::progress;
use crate::session::open_evidence;

/// What was proved, and what did not hold.
#[derive(Default)]
struct Findings {
    holds: Vec<String>,
    fails: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Verify, common: &Common) -> Result<Output> {
    let case = Case::open(&args.case)?;
    let target = args
        .to
        .as_deref()
        .map(|text| checked_target(text, &args.server, case.path()))
        .transpose()?;
    let mut findings = Findings::default();
    match case.verified_log() {
        Ok(lines) => findings
            .holds
            .push(format!("the chain of the log's {} lines", lines.len())),
        Err(error) => findings.fails.push(error.to_string()),
    }
    index(&case, &mut findings)?;
    evidence(&case, &mut findings, common)?;
    messages(&case, &mut findings, common)?;
    if let Some(target) = &target {
        restored(&case, target, &mut findings)?;
    }
    let mut text = String::new();
    for line in &findings.holds {
        text.push_str(&format!("holds: {}\n", shown(line)));
    }
    for line in &findings.fails {
        text.push_str(&format!("FAILS: {}\n", shown(line)));
    }
    Ok(Output {
        failed: !findings.fails.is_empty(),
        json: json!({"holds": findings.holds, "fails": findings.fails}),
        text,
    })
}

/// Compares the message index with what the log says of it: whose a message is stands there alone.
fn index(case: &Case, findings: &mut Findings) -> Result<()> {
    let log = case.verified_log().unwrap_or_default();
    let logged = log
        .iter()
        .rev()
        .find_map(|line| line.output["index"].as_str());
    let Some(logged) = logged else {
        return Ok(());
    };
    if case.segments_digest(MESSAGES)? == logged {
        findings
            .holds
            .push("the message index is as it was made".to_owned());
    } else {
        findings.fails.push(
            "the message index is not as it was made: a file in messages/ was changed, added or \
             removed. Remove messages/ and run `restante rebuild` and `restante carve` again"
                .to_owned(),
        );
    }
    Ok(())
}

/// Reads all evidence again and compares its hashes.
fn evidence(case: &Case, findings: &mut Findings, common: &Common) -> Result<()> {
    let file = case.file()?;
    let total = file.evidence.values().map(|record| record.bytes).sum();
    let bar = progress::bar(common, "evidence", total, progress::Unit::Bytes);
    let results: Vec<Result<String, String>> = file
        .evidence
        .par_iter()
        .map(|(name, record)| {
            let image = open_evidence(name, record)
                .map_err(|error| format!("{error:#}"))?;
            let Some(wanted) = &record.blake3 else {
                return Err(format!(
                    "{name} is not identified yet: it was scanned with --no-hash, or not to its end; \
                     `restante scan CASE` completes that"
                ));
            };
            let hashes: Vec<scan::UnitHash> = scan::units(&image)
                .map(|unit| {
                    scan::hash_unit(&image, unit, &|count| bar.inc(count))
                        .map_err(|error| error.to_string())
                })
                .collect::<Result<_, _>>()?;
            let hash = scan::whole_hash(&image, &hashes).map(|hash| hash.to_hex().to_string());
            if hash.as_ref() == Some(wanted) {
                Ok(format!("{name} has the BLAKE3 that it had"))
            } else {
                Err(format!(
                    "{name} ({}) has another BLAKE3 than when it was scanned: the image was changed, \
                     or its medium reads differently now",
                    record.path.display()
                ))
            }
        })
        .collect();
    bar.finish_and_clear();
    findings.take(results);
    for (name, record) in &file.evidence {
        stored_hashes(name, record, findings);
    }
    Ok(())
}

/// Says whether what a container states of its contents is so: whoever acquired it wrote that down.
fn stored_hashes(name: &str, record: &EvidenceRecord, findings: &mut Findings) {
    let hashes = record.container.iter().flat_map(|known| &known.hashes);
    for (kind, hash) in hashes {
        match hash.agrees {
            Some(true) => findings
                .holds
                .push(format!("{name} has the {kind} that its container states")),
            Some(false) => findings.fails.push(format!(
                "{name} has another {kind} than its container states: it was changed after it was \
                 acquired, or read with errors"
            )),
            None => {}
        }
    }
}

/// Reads all messages again from where they were found.
fn messages(case: &Case, findings: &mut Findings, common: &Common) -> Result<()> {
    if !case.path().join("aggregate.json").exists() {
        return Ok(());
    }
    let views = match views(case) {
        Ok(views) => views,
        Err(error) => {
            findings
                .fails
                .push(format!("the messages cannot be read again: {error:#}"));
            return Ok(());
        }
    };
    let (mut count, mut failed) = (0_u64, Vec::new());
    let bar = progress::bar(common, "messages", 0, progress::Unit::Items);
    let mut batch = Vec::new();
    let mut prove = |batch: &mut Vec<mail::Message>| {
        let results: Vec<Option<String>> = batch
            .par_iter()
            .map(|message| {
                content(&views, message)
                    .err()
                    .map(|error| error.to_string())
            })
            .collect();
        count += batch.len() as u64;
        bar.inc(batch.len() as u64);
        failed.extend(results.into_iter().flatten());
        batch.clear();
    };
    for record in case.read_segments::<Record>(MESSAGES)? {
        if let Record::Message(message) = record? {
            batch.push(*message);
            if batch.len() == 4096 {
                prove(&mut batch);
            }
        }
    }
    prove(&mut batch);
    bar.finish_and_clear();
    if failed.is_empty() {
        findings.holds.push(format!(
            "{count} messages read as they did when they were found"
        ));
    }
    findings.fails.extend(failed);
    Ok(())
}

/// What became of the messages that the ledger says were restored.
#[derive(Default)]
struct Fates {
    there: u64,
    moved: u64,
    /// Those that the account had before.
    live: u64,
}

/// Looks at what was restored: each message is there and is what was put there, or the user moved
/// it.
fn restored(case: &Case, target: &Target, findings: &mut Findings) -> Result<()> {
    let index = Index::open(case, &BTreeSet::new())?;
    let mut fates = Fates::default();
    for place in index.places() {
        let ledger = Ledger::open(&case.path().join(LEDGER), &target.id(), place)?;
        if ledger.entries().is_empty() {
            continue;
        }
        match target {
            Target::Maildir(maildirs) => {
                let maildir = maildirs.path_of(place);
                in_maildir(&maildir, &ledger, &mut fates, findings);
            }
            Target::Imap(_) => on_server(&index, target, place, &ledger, &mut fates, findings)?,
        }
    }
    let Fates { there, moved, live } = fates;
    let added = added_by_log(case, target)?;
    if added > there + moved {
        findings.fails.push(format!(
            "the log counts {added} messages added to this target, the ledger knows {}: lines of \
             the ledger are missing",
            there + moved
        ));
    }
    findings.holds.push(format!(
        "{there} restored messages are where they were put and hold what they did; {moved} were \
         moved or deleted since; {live} were there before"
    ));
    Ok(())
}

fn in_maildir(maildir: &Path, ledger: &Ledger, fates: &mut Fates, findings: &mut Findings) {
    let mut folders: HashMap<&str, HashMap<Vec<u8>, PathBuf>> = HashMap::new();
    for entry in ledger.entries() {
        if entry.outcome == Outcome::AlreadyLive {
            fates.live += 1;
            continue;
        }
        let path = maildir.join(&entry.folder);
        let files = folders
            .entry(&entry.folder)
            .or_insert_with(|| files_by_name(&path));
        let bytes = files
            .get(entry.name.as_bytes())
            .and_then(|file| fs::read(file).ok());
        match bytes {
            None => fates.moved += 1,
            Some(bytes) if MessageId::of(&bytes).as_str() == entry.id => fates.there += 1,
            Some(_) => findings.fails.push(format!(
                "{} in {} does not hold the message that was put there",
                entry.name,
                path.display()
            )),
        }
    }
}

/// On a server a message is known by its contents: one that was changed is one that is gone.
fn on_server(
    index: &Index,
    target: &Target,
    place: &Place,
    ledger: &Ledger,
    fates: &mut Fates,
    findings: &mut Findings,
) -> Result<()> {
    let Some(mut mailbox) = target.mailbox(place)? else {
        return Ok(());
    };
    let live = match mailbox.live(place, &index.messages(place)?) {
        Ok(live) => live,
        Err(error) => {
            findings.fails.push(error.to_string());
            return Ok(());
        }
    };
    for entry in ledger.entries() {
        match entry.outcome {
            Outcome::AlreadyLive => fates.live += 1,
            Outcome::Restored if live.has_restored(&entry.folder, &entry.name) => fates.there += 1,
            Outcome::Restored => fates.moved += 1,
        }
    }
    Ok(())
}

/// How many messages the log says were added to `target`.
fn added_by_log(case: &Case, target: &Target) -> Result<u64> {
    let id = target.id();
    let log = case.verified_log().unwrap_or_default();
    Ok(log
        .iter()
        .filter(|line| line.step == "sync" && line.options["target"] == id.as_str())
        .filter_map(|line| line.output["added"].as_u64())
        .sum())
}

/// The messages of a maildir folder by their names up to the flags. Only files count: what a
/// link leads to is not what was put there.
pub(crate) fn files_by_name(folder: &Path) -> HashMap<Vec<u8>, PathBuf> {
    let mut files = HashMap::new();
    for directory in ["cur", "new"] {
        let entries = fs::read_dir(folder.join(directory));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let name = entry.file_name();
                let base = MaildirName::parse(name.as_encoded_bytes()).base.to_vec();
                files.insert(base, entry.path());
            }
        }
    }
    files
}

impl Findings {
    fn take(&mut self, results: Vec<Result<String, String>>) {
        for result in results {
            match result {
                Ok(line) => self.holds.push(line),
                Err(line) => self.fails.push(line),
            }
        }
    }
}
