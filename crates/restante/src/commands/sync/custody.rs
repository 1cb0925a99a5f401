//! What the log says of the ledgers: a sync notes that it begins, and how it left each of them, so that
//! a line that no sync wrote, or one that is gone, is seen.
//!
//! A run that is killed writes no end. What a ledger has more then is its own, and said to be so; what
//! the ledger held before must still be there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use case::log::{Effort, Line};
use case::{Case, LEDGER};
use mail::Address;
use restore::{Growth, LedgerFile, LedgerHead, Target, ledger_files};
use serde_json::{Value, json};

use super::name_of;
use crate::output::{Output, shown};

/// The step that a sync notes before it writes anything.
const BEGUN: &str = "sync-begun";
/// The step that it notes when all is done.
const ENDED: &str = "sync";

/// What a look at the ledgers of one target showed.
#[derive(Default)]
pub(crate) struct Look {
    /// How many are as they were left.
    pub(crate) as_left: u64,
    /// Those that a sync which did not end has added to.
    pub(crate) cut_off: Vec<String>,
    /// What does not hold.
    pub(crate) changed: Vec<String>,
}

/// How the log says that the ledgers of one target were left.
struct Logged {
    heads: BTreeMap<String, LedgerHead>,
    /// All syncs, in their order.
    events: Vec<Event>,
}

/// A sync that began, or ended.
struct Event {
    /// Whether ledgers may have grown since: it began, or it did not say how it left them, as the first
    /// versions did not.
    open: bool,
    /// The accounts that it was for; none if it was for all.
    accounts: BTreeSet<String>,
}

impl Event {
    fn covers(&self, name: &str) -> bool {
        covers(&self.accounts, name)
    }
}

fn covers(accounts: &BTreeSet<String>, name: &str) -> bool {
    accounts.is_empty() || accounts.contains(name)
}

impl Logged {
    fn of(log: &[Line], target: &str) -> Self {
        let mut logged = Self {
            heads: BTreeMap::new(),
            events: Vec::new(),
        };
        for line in log {
            if line.options["target"] != target || ![BEGUN, ENDED].contains(&line.step.as_str()) {
                continue;
            }
            let left: Option<BTreeMap<String, LedgerHead>> =
                serde_json::from_value(line.output["ledgers"].clone()).ok();
            logged.events.push(Event {
                open: left.is_none(),
                accounts: serde_json::from_value(line.options["accounts"].clone())
                    .unwrap_or_default(),
            });
            logged.heads.extend(left.into_iter().flatten());
        }
        logged
    }

    /// Whether a sync that may have written to this ledger did not say how it left it.
    fn is_open(&self, name: &str) -> bool {
        let mut last = self.events.iter().rev();
        last.find(|event| event.covers(name))
            .is_some_and(|event| event.open)
    }

    /// Looks at the ledgers of `accounts`, or at all of the target if there are none.
    fn look(&self, files: &[LedgerFile], accounts: &BTreeSet<String>) -> Result<Look> {
        let mut look = Look::default();
        let files: BTreeMap<String, &LedgerFile> = files
            .iter()
            .map(|file| (name_of(&file.place), file))
            .collect();
        let names: BTreeSet<&String> = files.keys().chain(self.heads.keys()).collect();
        for name in names.into_iter().filter(|name| covers(accounts, name)) {
            let Some(file) = files.get(name) else {
                look.changed.push(format!("the ledger of {name} is gone"));
                continue;
            };
            let known = self.heads.get(name);
            match file.since(&known.cloned().unwrap_or_default())? {
                Growth::None => look.as_left += 1,
                Growth::Lines(lines) if self.is_open(name) => look.cut_off.push(format!(
                    "{lines} lines of the ledger of {name} were written by a sync that was cut off"
                )),
                Growth::Lines(_) if known.is_none() => look.changed.push(format!(
                    "the ledger of {name} was written by no sync that the log knows"
                )),
                Growth::Lines(lines) => look.changed.push(format!(
                    "the ledger of {name} has {lines} lines that no sync wrote"
                )),
                Growth::Changed => look.changed.push(format!(
                    "the ledger of {name} is not as the last sync left it: lines were changed or removed"
                )),
            }
        }
        Ok(look)
    }

    /// How the ledgers of `accounts` are now, where that is not what is logged.
    fn news(
        &self,
        files: &[LedgerFile],
        accounts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, LedgerHead>> {
        let mut news = BTreeMap::new();
        for file in files {
            let name = name_of(&file.place);
            let head = file.head()?;
            if covers(accounts, &name) && self.heads.get(&name) != Some(&head) {
                news.insert(name, head);
            }
        }
        Ok(news)
    }
}

/// The ledgers of a case at one target.
fn files_of(case: &Case, target: &str) -> Result<Vec<LedgerFile>> {
    let mut files = ledger_files(&case.path().join(LEDGER))?;
    files.retain(|file| file.target == target);
    Ok(files)
}

/// Looks at all ledgers of a case, by target.
pub(crate) fn look(case: &Case, log: &[Line]) -> Result<BTreeMap<String, Look>> {
    let targets = log
        .iter()
        .filter(|line| [BEGUN, ENDED].contains(&line.step.as_str()))
        .filter_map(|line| line.options["target"].as_str())
        .map(str::to_owned);
    let files = ledger_files(&case.path().join(LEDGER))?;
    let targets: BTreeSet<String> = targets
        .chain(files.into_iter().map(|file| file.target))
        .collect();
    targets
        .into_iter()
        .map(|target| {
            let logged = Logged::of(log, &target);
            let look = logged.look(&files_of(case, &target)?, &BTreeSet::new())?;
            Ok((target, look))
        })
        .collect()
}

/// What a sync found of ledgers that were not as they were left, by the lines of the log.
pub(crate) fn found_before(log: &[Line]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in log.iter().enumerate() {
        let changed = line.input["ledgers_changed"].as_array();
        for what in changed.into_iter().flatten().filter_map(Value::as_str) {
            let number = index.saturating_add(1);
            found.push(format!(
                "when the sync of line {number} of the log began, {what}"
            ));
        }
    }
    found
}

/// What a sync did.
pub(super) struct Carried {
    /// How many accounts it was for.
    pub(super) accounts: usize,
    pub(super) effort: Effort,
    pub(super) output: Output,
}

/// A sync that the log knows to have begun.
pub(super) struct Custody<'a> {
    case: &'a Case,
    target: String,
    accounts: BTreeSet<String>,
    logged: Logged,
    /// What does not hold of the ledgers that it goes on from.
    changed: Vec<String>,
}

impl<'a> Custody<'a> {
    /// Looks at the ledgers, and notes that a sync of `accounts` to `target` begins.
    pub(super) fn begin(
        case: &'a Case,
        target: &Target,
        accounts: &BTreeSet<Address>,
    ) -> Result<Self> {
        let target = target.id();
        let accounts: BTreeSet<String> = accounts.iter().map(ToString::to_string).collect();
        let log = case.verified_log();
        let logged = Logged::of(log.as_deref().unwrap_or_default(), &target);
        // A log that does not hold says nothing of ledgers, and `verify` says that.
        let changed = match log {
            Ok(_) => logged.look(&files_of(case, &target)?, &accounts)?.changed,
            Err(_) => Vec::new(),
        };
        case.log(
            BEGUN,
            json!({"target": target, "accounts": accounts}),
            json!({"ledgers_changed": changed}),
            Value::Null,
            None,
        )?;
        Ok(Self {
            case,
            target,
            accounts,
            logged,
            changed,
        })
    }

    /// Notes how the sync came out, and how it left the ledgers.
    pub(super) fn end(self, outcome: Result<Carried>) -> Result<Output> {
        let mut result = match &outcome {
            Ok(carried) => carried.output.json["totals"].clone(),
            Err(error) => json!({"error": format!("{error:#}")}),
        };
        let files = files_of(self.case, &self.target)?;
        result["ledgers"] = json!(self.logged.news(&files, &self.accounts)?);
        let carried = outcome.as_ref().ok();
        self.case.log(
            ENDED,
            json!({"target": self.target, "accounts": self.accounts}),
            json!({"accounts": carried.map_or(0, |carried| carried.accounts)}),
            result,
            carried.map(|carried| carried.effort),
        )?;
        let Carried { mut output, .. } = outcome?;
        for what in &self.changed {
            output.text.push_str(&format!(
                "  {}: somebody else wrote to the case. The log says so from now on, and so does \
                 `restante verify`\n",
                shown(what)
            ));
        }
        output.json["ledgers_changed"] = json!(self.changed);
        Ok(output)
    }
}
