//! How a sync came out, account by account.

use std::collections::BTreeMap;

use restore::plan::{Counts, Plan};
use restore::{Applied, Place, Room};
use serde_json::{Value, json};

use super::name_of;
use crate::args::Common;
use crate::output::{Output, bytes, shown, table};

/// What became of one account, or what would.
pub(super) struct Outcome {
    pub(super) place: Place,
    pub(super) counts: Counts,
    /// The same by the directory that the messages belong into.
    by_folder: BTreeMap<String, Counts>,
    /// What the plan writes.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// Whether the ledger knows of mail that was restored here before.
    pub(super) restored_before: bool,
    /// Whether the mailbox is there.
    pub(super) is_there: bool,
    /// What its quota leaves.
    pub(super) room: Room,
    /// Why nothing was added, if there is no room for it.
    pub(super) no_room: Option<String>,
    /// How many messages wait in the case, because the target has no place for them.
    pub(super) waiting: u64,
    pub(super) applied: Applied,
    pub(super) error: Option<String>,
}

impl Outcome {
    /// Nothing yet for `place`.
    pub(super) fn new(place: &Place) -> Self {
        Self {
            place: place.clone(),
            counts: Counts::default(),
            by_folder: BTreeMap::new(),
            bytes: 0,
            files: 0,
            restored_before: false,
            is_there: false,
            room: Room::default(),
            no_room: None,
            waiting: 0,
            applied: Applied::default(),
            error: None,
        }
    }

    /// Notes what `plan` is to do.
    pub(super) fn take_plan(&mut self, plan: &Plan<'_>) {
        self.counts = plan.counts;
        self.by_folder.clone_from(&plan.by_folder);
        (self.bytes, self.files) = plan.size();
    }

    /// Leaves out what was to be added, for want of room.
    pub(super) fn withhold(&mut self, reason: String) {
        let needs = format!("{} messages ({})", self.files, bytes(self.bytes));
        self.no_room = Some(format!("{needs} were left out: {reason}"));
        self.counts.withhold();
        self.by_folder.values_mut().for_each(Counts::withhold);
        (self.bytes, self.files) = (0, 0);
    }

    /// Whose mail was left out and why, if it was.
    pub(super) fn left_out(&self) -> Option<String> {
        let reason = self.no_room.as_deref()?;
        Some(format!("{}: {reason}", name_of(&self.place)))
    }

    fn failures(&self) -> Vec<String> {
        let failed = self.applied.failed.iter().map(ToString::to_string);
        failed
            .chain(self.no_room.clone())
            .chain(self.error.clone())
            .map(|failure| shown(&failure))
            .collect()
    }

    /// How many messages were added, or would be.
    const fn added(&self, dry_run: bool) -> u64 {
        if dry_run {
            self.counts.whole.saturating_add(self.counts.damaged)
        } else {
            self.applied.added
        }
    }

    /// A row of the table for the account, and with `folders` one for each of its folders.
    fn rows(&self, dry_run: bool, folders: bool) -> Vec<Vec<String>> {
        let row = |name: String, added: String, counts: &Counts| {
            let numbers = [
                counts.damaged,
                counts.already_restored,
                counts.moved_or_deleted,
                counts.already_live,
                counts.duplicates,
                counts.no_room,
            ];
            [name, added]
                .into_iter()
                .chain(numbers.iter().map(u64::to_string))
                .collect()
        };
        let name = name_of(&self.place);
        let mut rows = vec![row(name, self.added(dry_run).to_string(), &self.counts)];
        if folders {
            for (folder, counts) in &self.by_folder {
                let name = if folder.is_empty() { "(top)" } else { folder };
                let planned = counts.whole.saturating_add(counts.damaged).to_string();
                rows.push(row(format!("  {}", shown(name)), planned, counts));
            }
        }
        rows
    }

    /// Everything about it that a person should know, a line each.
    fn problems(&self) -> String {
        let left_out = match self.applied.keywords_left_out {
            0 => None,
            count => Some(format!(
                "{count} keywords were left out: the folder has no room for them"
            )),
        };
        let waiting = match self.waiting {
            0 => None,
            count => Some(format!(
                "{count} messages wait in the case: the target has no place for them. Hand them back \
                 into a Maildir to look at them"
            )),
        };
        let warnings = self.applied.warnings.iter().map(ToString::to_string);
        let name = name_of(&self.place);
        self.failures()
            .into_iter()
            .chain(left_out)
            .chain(waiting)
            .chain(warnings)
            .map(|problem| format!("  {name}: {}\n", shown(&problem)))
            .collect()
    }

    fn json(&self) -> Value {
        let warnings: Vec<String> = self
            .applied
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        json!({
            "planned": self.counts,
            "folders": self.by_folder,
            "room": self.room,
            "waiting": self.waiting,
            "added": self.applied.added,
            "bytes": self.applied.bytes,
            "keywords_left_out": self.applied.keywords_left_out,
            "warnings": warnings,
            "failures": self.failures(),
        })
    }
}

/// Puts the outcomes of all accounts together, as tables and as JSON.
pub(super) fn summarise(outcomes: &[Outcome], dry_run: bool, common: &Common) -> Output {
    let head = [
        "account",
        if dry_run { "to add" } else { "added" },
        "damaged",
        "there before",
        "moved or deleted",
        "already live",
        "twice",
        "no room",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut totals = Counts::default();
    let (mut added, mut written, mut failed) = (0, 0, 0_usize);
    let mut problems = String::new();
    let mut accounts: BTreeMap<String, Value> = BTreeMap::new();
    for outcome in outcomes {
        totals.add(&outcome.counts);
        added += outcome.applied.added;
        written += outcome.applied.bytes;
        failed += outcome.failures().len();
        rows.extend(outcome.rows(dry_run, common.verbose));
        problems.push_str(&outcome.problems());
        // It takes more memory than all else that is kept of an account, and only programs read it.
        if common.json {
            accounts.insert(name_of(&outcome.place), outcome.json());
        }
    }
    let mut text = if common.verbose || outcomes.len() <= 60 {
        table(&rows)
    } else {
        String::new()
    };
    let count = outcomes.len();
    text.push_str(&if dry_run {
        let planned = totals.whole + totals.damaged;
        let size = bytes(outcomes.iter().map(|outcome| outcome.bytes).sum());
        format!("{planned} messages ({size}) would be added in {count} accounts\n")
    } else {
        let size = bytes(written);
        format!("{added} messages ({size}) added in {count} accounts, {failed} failures\n")
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
