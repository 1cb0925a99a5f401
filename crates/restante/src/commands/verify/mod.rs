//! `verify`: prove again what the case says.

mod restored;

use anyhow::Result;
use case::log::Line;
use case::{Case, EvidenceRecord, MESSAGES};
use mail::Record;
use rayon::prelude::*;
use serde_json::json;

pub(crate) use self::restored::files_by_name;
use super::rebuild::index_digest;
use super::sync::{checked_target, content, custody, views};
use crate::args::{Common, Verify};
use crate::output::{Output, shown};
use crate::progress;
use crate::session::open_evidence;

/// What was proved, and what did not hold.
#[derive(Default)]
struct Findings {
    holds: Vec<String>,
    /// What is neither, and for a person to look at.
    notes: Vec<String>,
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
    let log = log(&case, args.log_line.as_deref(), &mut findings)?;
    index(&case, &log, &mut findings)?;
    ledgers(&case, &log, &mut findings)?;
    evidence(&case, &mut findings, common)?;
    messages(&case, &mut findings, common)?;
    let mut accounts = json!({});
    if let Some(target) = &target {
        accounts = restored::restored(&case, &log, target, &mut findings, common)?;
    }
    let mut text = String::new();
    let kinds = [
        ("holds", &findings.holds),
        ("note", &findings.notes),
        ("FAILS", &findings.fails),
    ];
    for (kind, lines) in kinds {
        for line in lines {
            text.push_str(&format!("{kind}: {}\n", shown(line)));
        }
    }
    Ok(Output {
        failed: !findings.fails.is_empty(),
        json: json!({
            "holds": findings.holds,
            "notes": findings.notes,
            "fails": findings.fails,
            "log_line": log.last().map(|line| &line.digest),
            "accounts": accounts,
        }),
        text,
    })
}

/// Proves the chain of the log; `known` is a line that somebody wrote down elsewhere. Gives the log, or
/// nothing if it does not hold.
fn log(case: &Case, known: Option<&str>, findings: &mut Findings) -> Result<Vec<Line>> {
    let log = match case.verified_log() {
        Ok(log) => log,
        Err(error) => {
            findings.fails.push(error.to_string());
            return Ok(Vec::new());
        }
    };
    let mut holds = format!("the chain of the log's {} lines", log.len());
    if let Some(last) = log.last() {
        holds.push_str(&format!(
            "; keep the last one's BLAKE3 outside the case for `verify --log-line`: {}",
            last.digest
        ));
    }
    findings.holds.push(holds);
    for (index, line) in log.iter().enumerate() {
        if let Some(broken) = &line.broken {
            let number = index.saturating_add(1);
            findings.fails.push(format!(
                "when line {number} of the log was written, it did not hold: {broken}"
            ));
        }
    }
    if let Some(known) = known {
        let wanted = known.to_ascii_lowercase();
        let found = log.iter().position(|line| line.digest == wanted);
        match found.and_then(|index| index.checked_add(1)) {
            Some(number) => findings.holds.push(format!(
                "line {number} of the log is the one with the BLAKE3 that was kept"
            )),
            None => findings.fails.push(format!(
                "no line of the log has the BLAKE3 {known}: all of it was written anew since that was \
                 kept, or it is of another case"
            )),
        }
    }
    Ok(log)
}

/// Compares the message index with what the log says of it.
fn index(case: &Case, log: &[Line], findings: &mut Findings) -> Result<()> {
    let logged = log
        .iter()
        .rev()
        .find_map(|line| line.output["index"].as_str());
    let Some(logged) = logged else {
        return Ok(());
    };
    if index_digest(case)? == logged {
        findings
            .holds
            .push("the message index is as it was made".to_owned());
    } else {
        findings.fails.push(
            "the message index is not as it was made: a file in messages/ or mailboxes/ was changed, \
             added or removed. Remove messages/ and run `restante rebuild` and `restante carve` again"
                .to_owned(),
        );
    }
    Ok(())
}

/// Compares the ledgers of all targets with what the log says of how they were left.
fn ledgers(case: &Case, log: &[Line], findings: &mut Findings) -> Result<()> {
    if log.is_empty() {
        return Ok(());
    }
    for (target, look) in custody::look(case, log)? {
        let of = |what: &String| format!("{what} (target {target})");
        if look.as_left > 0 {
            findings.holds.push(format!(
                "{} ledgers are as the syncs left them (target {target})",
                look.as_left
            ));
        }
        findings.notes.extend(look.cut_off.iter().map(of));
        findings.fails.extend(look.changed.iter().map(of));
    }
    findings.fails.extend(custody::found_before(log));
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
