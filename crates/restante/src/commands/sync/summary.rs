//! How a sync came out, account by account.

use std::collections::BTreeMap;

use restore::Place;
use restore::maildir::Applied;
use restore::plan::{Counts, Plan};
use serde_json::{Value, json};

use super::name_of;
use crate::args::Common;
use crate::output::{Output, bytes, shown, table};

/// What became of one account, or what would.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) counts: Counts,
    pub(super) folders: BTreeMap<String, usize>,
    /// What the plan writes.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// Whether the ledger knows of mail that was restored here before.
    pub(super) restored_before: bool,
    /// Whether the mailbox is there.
    pub(super) is_there: bool,
    pub(super) applied: Applied,
    pub(super) error: Option<String>,
}

impl Outcome {
    /// Nothing yet for `place`.
    pub(super) fn new(place: &Place) -> Self {
        Self {
            name: name_of(place),
            counts: Counts::default(),
            folders: BTreeMap::new(),
            bytes: 0,
            files: 0,
            restored_before: false,
            is_there: false,
            applied: Applied::default(),
            error: None,
        }
    }

    /// Notes what `plan` is to do.
    pub(super) fn take_plan(&mut self, plan: &Plan<'_>) {
        self.counts = plan.counts;
        (self.bytes, self.files) = plan.size();
        self.folders = plan
            .folders
            .iter()
            .map(|(name, folder)| (name.clone(), folder.adds.len()))
            .collect();
    }
}

/// Puts the outcomes of all accounts together, as tables and as JSON.
pub(super) fn summarise(outcomes: &[Outcome], dry_run: bool, common: &Common) -> Output {
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
        let left_out = outcome.applied.keywords_left_out;
        if left_out > 0 {
            problems.push_str(&format!(
                "  {}: {left_out} keywords were left out: the folder's dovecot-keywords names no \
                 letter for them\n",
                outcome.name
            ));
        }
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
