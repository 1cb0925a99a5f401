//! `sync`: hand mail back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use case::Case;
use evidence::ReadAt;
use indicatif::ProgressBar;
use mail::content::reread;
use mail::{Address, Message, MessageId, Record};
use rayon::prelude::*;
use restore::maildir::{Applied, Live, apply};
use restore::plan::{Counts, Plan, plan};
use restore::{Ledger, MaildirTarget, Place, RestoreError, Target};
use serde_json::{Value, json};

use super::rebuild::MESSAGES;
use crate::args::{Common, Sync};
use crate::output::{Output, bytes, shown, table};
use crate::progress;
use crate::session::Session;
use crate::usage::Usage;

/// Runs the command.
pub(crate) fn run(args: &Sync, common: &Common) -> Result<Output> {
    let Target::Maildir(target) = Target::parse(&args.to)?;
    let case = Case::open(&args.case)?;
    target.check(case.path())?;
    let wanted: BTreeSet<Address> = args
        .accounts
        .iter()
        .map(|text| {
            Address::parse(text).ok_or_else(|| {
                Usage::error(format!("{text:?} is not an account like local@domain"))
            })
        })
        .collect::<Result<_>>()?;
    sync(&case, &target, &wanted, args.dry_run, common)
}

/// Hands the mail of the case back to `target`: of the accounts `wanted`, or of all if it is empty.
pub(crate) fn sync(
    case: &Case,
    target: &MaildirTarget,
    wanted: &BTreeSet<Address>,
    dry_run: bool,
    common: &Common,
) -> Result<Output> {
    let messages = messages_by_place(case, target, wanted)?;
    let jobs: Vec<Job<'_>> = messages
        .par_iter()
        .map(|(place, messages)| Job::new(case, target, place, messages))
        .collect();
    let (size, files) = jobs
        .iter()
        .filter_map(|job| job.planned.as_ref().ok())
        .map(|(plan, _)| plan.size())
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if files > 0 {
        target.check_room(size, files)?;
    }
    check_still_there(target, &jobs)?;
    let bar = progress::bar(common, "sync", size, progress::Unit::Bytes);
    let outcomes: Vec<Outcome> = if dry_run {
        jobs.into_iter().map(Job::into_dry_outcome).collect()
    } else {
        let views = views(case)?;
        jobs.into_par_iter()
            .map(|job| job.carry_out(target, &views, &bar))
            .collect()
    };
    bar.finish_and_clear();
    let output = summarise(&outcomes, dry_run, common);
    if !dry_run {
        case.log(
            "sync",
            json!({"target": target.id(), "accounts": wanted}),
            json!({"accounts": outcomes.len()}),
            output.json["totals"].clone(),
        )?;
    }
    Ok(output)
}

/// Checks that the target is the one that the ledger is about: users empty their mailboxes, but
/// not all of them down to the directory.
fn check_still_there(target: &MaildirTarget, jobs: &[Job<'_>]) -> Result<()> {
    let mut totals = Counts::default();
    let mut there = false;
    for job in jobs {
        if let Ok((plan, _)) = &job.planned {
            totals.add(&plan.counts);
            there |= plan.counts.moved_or_deleted > 0 && target.path_of(job.place).exists();
        }
    }
    if totals.moved_or_deleted > 0 && totals.already_restored == 0 && !there {
        return Err(Usage::error(format!(
            "the ledger knows {} messages that were restored to this target, and none of their \
             mailboxes is there any more: is another file system mounted at {}? To restore to a \
             new place name it by a new path; to begin anew here, move CASE/ledger/{} away",
            totals.moved_or_deleted,
            target.base().display(),
            target.id(),
        )));
    }
    Ok(())
}

/// The messages of the case, by whose they are.
fn messages_by_place(
    case: &Case,
    target: &MaildirTarget,
    wanted: &BTreeSet<Address>,
) -> Result<BTreeMap<Place, Vec<Message>>> {
    let mut places: BTreeMap<Place, Vec<Message>> = BTreeMap::new();
    let mut all: BTreeSet<Place> = BTreeSet::from([Place::Unattributed]);
    for record in case.read_segments::<Record>(MESSAGES)? {
        if let Record::Message(message) = record? {
            let place = message.owner.as_ref().map_or(Place::Unattributed, |owner| {
                Place::Account(owner.account.clone())
            });
            if !all.contains(&place) {
                all.insert(place.clone());
            }
            let asked_for = match &place {
                Place::Account(account) => wanted.is_empty() || wanted.contains(account),
                Place::Unattributed => wanted.is_empty(),
            };
            if asked_for {
                places.entry(place).or_default().push(*message);
            }
        }
    }
    for account in wanted {
        if !places.contains_key(&Place::Account(account.clone())) {
            return Err(Usage::error(format!(
                "the case has no mail of {account}; `restante accounts` lists whose it has"
            )));
        }
    }
    check_apart(target, &all)?;
    Ok(places)
}

/// Checks that no two accounts of the case, restored now or not, share a place at the target,
/// and that none lies inside another's: one would read the other's mail.
fn check_apart(target: &MaildirTarget, places: &BTreeSet<Place>) -> Result<()> {
    // Where names differ only by case, some file systems make them one.
    let mut paths: Vec<(PathBuf, &Place)> = places
        .iter()
        .map(|place| {
            let path = target.path_of(place).to_string_lossy().to_lowercase();
            (PathBuf::from(path), place)
        })
        .collect();
    // By components, so that what lies inside a directory comes right after it.
    paths.sort();
    for pair in paths.windows(2) {
        if let [(outer, one), (inner, other)] = pair
            && inner.starts_with(outer)
        {
            return Err(Usage::error(format!(
                "the target gives {} and {} one place, {}: use a pattern with {{domain}} and {{local}}, \
                 or {{account}}. Nothing was written",
                name_of(one),
                name_of(other),
                outer.display()
            )));
        }
    }
    Ok(())
}

/// The views that messages are read from, by device.
pub(crate) fn views(case: &Case) -> Result<HashMap<String, Arc<dyn ReadAt>>> {
    let session = Session::open(case)?;
    let open = session.filesystems()?;
    Ok(open
        .into_iter()
        .map(|(device, fs)| (device, Arc::clone(fs.view())))
        .collect())
}

/// The bytes of a message, read again and proved to be what was found.
pub(crate) fn content(
    views: &HashMap<String, Arc<dyn ReadAt>>,
    message: &Message,
) -> Result<Bytes, RestoreError> {
    let changed = |why: &str| RestoreError::Changed {
        id: message.id.to_string(),
        why: why.to_owned(),
    };
    let view = views
        .get(&message.origin.device)
        .ok_or_else(|| changed("its device is not in aggregate.json any more"))?;
    let content = reread(view, &message.origin)
        .ok_or_else(|| changed("its extents do not fit the device any more"))?;
    if MessageId::of(&content.bytes) == message.id {
        Ok(content.bytes)
    } else {
        Err(changed("its bytes are others"))
    }
}

/// What is to be done for one account.
struct Job<'a> {
    place: &'a Place,
    planned: Result<(Plan<'a>, Ledger), RestoreError>,
}

impl<'a> Job<'a> {
    fn new(case: &Case, target: &MaildirTarget, place: &'a Place, messages: &'a [Message]) -> Self {
        let planned = || {
            let lengths: HashSet<u64> = messages.iter().map(|m| m.virtual_bytes).collect();
            let live = Live::read(&target.path_of(place), &lengths)?;
            let ledger = Ledger::open(&case.path().join("ledger"), target, place)?;
            Ok((plan(place, messages, &live, &ledger), ledger))
        };
        Self {
            place,
            planned: planned(),
        }
    }

    fn into_dry_outcome(self) -> Outcome {
        let (counts, folders, error) = match self.planned {
            Ok((plan, _)) => (plan.counts, folder_counts(&plan), None),
            Err(error) => (Counts::default(), BTreeMap::new(), Some(error.to_string())),
        };
        Outcome {
            name: name_of(self.place),
            counts,
            folders,
            applied: Applied::default(),
            error,
        }
    }

    fn carry_out(
        self,
        target: &MaildirTarget,
        views: &HashMap<String, Arc<dyn ReadAt>>,
        bar: &ProgressBar,
    ) -> Outcome {
        let place = self.place;
        let mut outcome = Outcome {
            name: name_of(place),
            counts: Counts::default(),
            folders: BTreeMap::new(),
            applied: Applied::default(),
            error: None,
        };
        let result = self.planned.map(|(plan, mut ledger)| {
            outcome.counts = plan.counts;
            outcome.folders = folder_counts(&plan);
            let path: &Path = &target.path_of(place);
            apply(&plan, place, path, &mut ledger, &|message| {
                bar.inc(message.bytes);
                content(views, message)
            })
        });
        match result {
            Ok(applied) => outcome.applied = applied,
            Err(error) => outcome.error = Some(error.to_string()),
        }
        outcome
    }
}

/// What became of one account.
struct Outcome {
    name: String,
    counts: Counts,
    folders: BTreeMap<String, usize>,
    applied: Applied,
    error: Option<String>,
}

fn name_of(place: &Place) -> String {
    match place {
        Place::Account(account) => account.to_string(),
        Place::Unattributed => "_unattributed".to_owned(),
    }
}

fn folder_counts(plan: &Plan<'_>) -> BTreeMap<String, usize> {
    plan.folders
        .iter()
        .map(|(name, folder)| (name.clone(), folder.adds.len()))
        .collect()
}

fn summarise(outcomes: &[Outcome], dry_run: bool, common: &Common) -> Output {
    let mut totals = Counts::default();
    let (mut added, mut written, mut failed) = (0, 0, 0_usize);
    let head = if dry_run { "to add" } else { "added" };
    let mut rows = vec![
        [
            "account",
            head,
            "damaged",
            "there before",
            "moved or deleted",
            "already live",
            "twice",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut problems = String::new();
    let mut accounts: BTreeMap<&str, Value> = BTreeMap::new();
    for outcome in outcomes {
        let counts = &outcome.counts;
        totals.add(counts);
        added += outcome.applied.added;
        written += outcome.applied.bytes;
        failed += outcome.applied.failed.len() + usize::from(outcome.error.is_some());
        let shown_added = if dry_run {
            counts.whole + counts.damaged
        } else {
            outcome.applied.added
        };
        let row = [
            shown_added,
            counts.damaged,
            counts.already_restored,
            counts.moved_or_deleted,
            counts.already_live,
            counts.duplicates,
        ];
        let row = row.iter().map(u64::to_string);
        rows.push(std::iter::once(outcome.name.clone()).chain(row).collect());
        let failures: Vec<String> = outcome
            .applied
            .failed
            .iter()
            .map(ToString::to_string)
            .chain(outcome.error.clone())
            .collect();
        for failure in &failures {
            problems.push_str(&format!("  {}: {}\n", outcome.name, shown(failure)));
        }
        let warnings: Vec<String> = outcome
            .applied
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        for warning in &warnings {
            problems.push_str(&format!("  {}: {}\n", outcome.name, shown(warning)));
        }
        accounts.insert(
            &outcome.name,
            json!({
                "planned": counts,
                "folders": outcome.folders,
                "added": outcome.applied.added,
                "bytes": outcome.applied.bytes,
                "keywords_left_out": outcome.applied.keywords_left_out,
                "warnings": warnings,
                "failures": failures,
            }),
        );
    }
    let mut text = if common.verbose || outcomes.len() <= 60 {
        table(&rows)
    } else {
        String::new()
    };
    text.push_str(&if dry_run {
        let (size, _) = (totals.whole + totals.damaged, 0);
        format!(
            "{size} messages would be added in {} accounts\n",
            outcomes.len()
        )
    } else {
        format!(
            "{added} messages ({}) added in {} accounts, {failed} failures\n",
            bytes(written),
            outcomes.len()
        )
    });
    text.push_str(&problems);
    let json = json!({
        "dry_run": dry_run,
        "totals": {"planned": totals, "added": added, "bytes": written, "failures": failed},
        "accounts": accounts,
    });
    Output {
        failed: failed > 0,
        ..Output::new(json, text)
    }
}

/// Opens a target and checks that it can be written to, for commands that come to it late.
pub(crate) fn checked_target(text: &str, case: &Path) -> Result<MaildirTarget> {
    let Target::Maildir(target) = Target::parse(text)?;
    target.check(case).context("the target cannot be used")?;
    Ok(target)
}
