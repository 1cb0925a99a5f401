//! What was restored: whether it is still there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use case::log::Line;
use case::{Case, LEDGER};
use mail::MessageId;
use mail::maildir::MaildirName;
use restore::{Ledger, Outcome, Place, Target, ledger_files};
use serde::Serialize;
use serde_json::{Value, json};

use super::Findings;
use crate::args::Common;
use crate::commands::sync::{Index, name_of};

/// How many accounts are named, if no more is asked for.
const MOST_NAMED: usize = 20;

/// What became of the messages that the ledger of an account says were restored.
#[derive(Clone, Copy, Default, Serialize)]
struct Fates {
    /// Those that are where they were put and hold what they did.
    there: u64,
    /// Those that are not where they were put.
    gone: u64,
    /// Those that hold something else.
    changed: u64,
    /// Those that the account had before.
    already_live: u64,
}

impl Fates {
    const fn restored(&self) -> u64 {
        self.there
            .saturating_add(self.gone)
            .saturating_add(self.changed)
    }

    const fn is_all_gone(&self) -> bool {
        self.gone > 0 && self.gone == self.restored()
    }
}

/// Looks at what was restored, by account: each message is there and is what was put there, or is not
/// there any more, which its user may do.
pub(super) fn restored(
    case: &Case,
    log: &[Line],
    target: &Target,
    findings: &mut Findings,
    common: &Common,
) -> Result<Value> {
    let index = Index::open(case, &std::collections::BTreeSet::new())?;
    let id = target.id();
    let mut accounts: BTreeMap<String, Fates> = BTreeMap::new();
    for file in ledger_files(&case.path().join(LEDGER))? {
        if file.target != id {
            continue;
        }
        let place = &file.place;
        let ledger = Ledger::open(&case.path().join(LEDGER), &id, place)?;
        if ledger.entries().is_empty() {
            continue;
        }
        let fates = match target {
            Target::Maildir(maildirs) => {
                let maildir = maildirs.path_of(place);
                in_maildir(&maildir, &ledger, findings)
            }
            Target::Imap(_) => match on_server(&index, target, place, &ledger)? {
                Ok(fates) => fates,
                Err(error) => {
                    findings.fails.push(error);
                    continue;
                }
            },
        };
        accounts.insert(name_of(place), fates);
    }
    summarise(&accounts, added_by_log(log, &id), findings, common);
    Ok(json!(accounts))
}

/// Says of all accounts what there is to say.
fn summarise(
    accounts: &BTreeMap<String, Fates>,
    added: u64,
    findings: &mut Findings,
    common: &Common,
) {
    let sum = |count: fn(&Fates) -> u64| accounts.values().map(count).sum::<u64>();
    let known = sum(Fates::restored);
    if added > known {
        findings.fails.push(format!(
            "the log counts {added} messages added to this target, the ledger knows {known}: lines of \
             the ledger are missing"
        ));
    }
    findings.holds.push(format!(
        "{} restored messages are where they were put and hold what they did; {} were moved or \
         deleted since; {} were there before",
        sum(|fates| fates.there),
        sum(|fates| fates.gone),
        sum(|fates| fates.already_live)
    ));
    let restored = accounts.values().filter(|fates| fates.restored() > 0);
    let (all, empty) = restored.fold((0_u64, 0_u64), |(all, empty), fates| {
        (all + 1, empty + u64::from(fates.is_all_gone()))
    });
    // One user may do that, all of them do not.
    if all > 1 && empty == all {
        findings.fails.push(format!(
            "of what was restored to this target nothing is left, in none of {all} accounts: is it the \
             target, and mounted? If so, somebody emptied it"
        ));
    }
    name_those_that_lost(accounts, findings, common);
}

/// Names the accounts in which messages are no longer there, those where none is left first.
fn name_those_that_lost(
    accounts: &BTreeMap<String, Fates>,
    findings: &mut Findings,
    common: &Common,
) {
    let mut lost: Vec<(&String, &Fates)> = accounts
        .iter()
        .filter(|(_, fates)| fates.gone > 0)
        .collect();
    lost.sort_by_key(|(name, fates)| (!fates.is_all_gone(), *name));
    let most = if common.verbose {
        usize::MAX
    } else {
        MOST_NAMED
    };
    for (name, fates) in lost.iter().take(most) {
        let restored = fates.restored();
        findings.notes.push(if fates.is_all_gone() {
            format!(
                "{name}: NONE of the {restored} restored messages is where it was put. Ask its user: \
                 few delete or move all of them"
            )
        } else {
            let gone = fates.gone;
            format!("{name}: {gone} of the {restored} restored messages were moved or deleted")
        });
    }
    if let Some(more) = lost.len().checked_sub(most).filter(|more| *more > 0) {
        findings.notes.push(format!(
            "{more} more accounts in which messages were moved or deleted: see them with -v or --json"
        ));
    }
}

fn in_maildir(maildir: &Path, ledger: &Ledger, findings: &mut Findings) -> Fates {
    let mut fates = Fates::default();
    let mut folders: HashMap<&str, HashMap<Vec<u8>, PathBuf>> = HashMap::new();
    for entry in ledger.entries() {
        if entry.outcome == Outcome::AlreadyLive {
            fates.already_live += 1;
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
            None => fates.gone += 1,
            Some(bytes) if MessageId::of(&bytes).as_str() == entry.id => fates.there += 1,
            Some(_) => {
                fates.changed += 1;
                findings.fails.push(format!(
                    "{} in {} does not hold the message that was put there",
                    entry.name,
                    path.display()
                ));
            }
        }
    }
    fates
}

/// On a server a message is known by its contents: one that was changed is one that is gone. The inner
/// error is what the server said.
fn on_server(
    index: &Index,
    target: &Target,
    place: &Place,
    ledger: &Ledger,
) -> Result<Result<Fates, String>> {
    let mut fates = Fates::default();
    let Some(mut mailbox) = target.mailbox(place)? else {
        return Ok(Ok(fates));
    };
    let live = match mailbox.live(place, &index.messages(place)?) {
        Ok(live) => live,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for entry in ledger.entries() {
        match entry.outcome {
            Outcome::AlreadyLive => fates.already_live += 1,
            Outcome::Restored if live.has_restored(&entry.folder, &entry.name) => fates.there += 1,
            Outcome::Restored => fates.gone += 1,
        }
    }
    Ok(Ok(fates))
}

/// How many messages the log says were added to `target`.
fn added_by_log(log: &[Line], target: &str) -> u64 {
    log.iter()
        .filter(|line| line.step == "sync" && line.options["target"] == target)
        .filter_map(|line| line.output["added"].as_u64())
        .sum()
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
