//! `accounts`: who is in there, with what evidence.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;
use case::Case;
use mail::Record;
use mail::account::{AccountList, Owner};
use serde::Serialize;
use serde_json::json;

use crate::account_rules;
use crate::args::CaseOnly;
use crate::output::{Output, bytes, shown, table};

/// Statements of evidence kept for an account; single messages of nobody have one each.
const MOST_EVIDENCE: usize = 1000;

/// What is known of one account.
#[derive(Debug, Default, Serialize)]
struct Account {
    messages: u64,
    bytes: u64,
    damaged: u64,
    lost: u64,
    /// Messages that had been deleted.
    deleted: u64,
    folders: BTreeSet<String>,
    evidence: BTreeSet<String>,
    /// Whether it is in the list of accounts by its name; left out without a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<bool>,
}

/// The names of the messages that were found in each account: a name whose file is lost may be that of a
/// message that was carved.
fn found(case: &Case) -> Result<HashSet<(String, String)>> {
    let mut found = HashSet::new();
    for record in report::records(case)? {
        if let Record::Message(message) = record? {
            found.extend(name_of(message.owner.as_ref(), &message.origin.path));
        }
    }
    Ok(found)
}

/// A name within an account; that of nobody's mail says nothing.
fn name_of(owner: Option<&Owner>, path: &str) -> Option<(String, String)> {
    let (name, _) = report::server_name(path)?;
    Some((owner?.account.to_string(), name.to_owned()))
}

/// Runs the command.
pub(crate) fn run(args: &CaseOnly) -> Result<Output> {
    let case = Case::open_to_read(&args.case)?;
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    let mut of = |owner: Option<&Owner>, folder: &str, with: &dyn Fn(&mut Account)| {
        let name = owner.map_or_else(
            || "_unattributed".to_owned(),
            |owner| owner.account.to_string(),
        );
        let account = accounts.entry(name).or_default();
        account.folders.insert(folder.to_owned());
        account
            .evidence
            .extend(owner.map(|owner| owner.evidence.clone()));
        with(account);
    };
    let found = found(&case)?;
    for record in report::records(&case)? {
        match record? {
            Record::Message(message) => {
                of(message.owner.as_ref(), &message.folder, &|account| {
                    if account.evidence.len() < MOST_EVIDENCE {
                        account.evidence.extend(message.doubt.clone());
                    }
                    account.messages += 1;
                    account.bytes += message.bytes;
                    account.deleted += u64::from(message.is_deleted());
                    account.damaged += u64::from(!message.grade.is_whole());
                });
            }
            Record::Lost(note) => {
                let key = name_of(note.owner.as_ref(), &note.path);
                let is_found = key.is_some_and(|key| found.contains(&key));
                of(note.owner.as_ref(), &note.folder, &|account| {
                    account.lost += u64::from(!is_found);
                });
            }
            Record::Folder(folder) => of(folder.owner.as_ref(), &folder.folder, &|account| {
                let doubt = folder.doubt.iter();
                account
                    .evidence
                    .extend(doubt.map(|doubt| format!("{}: {doubt}", folder.path)));
            }),
            Record::Rejected(_) | Record::Loss(_) => {}
        }
    }
    let list = account_rules::list(&case)?;
    let missing = list.map_or_else(Vec::new, |list| add_listed(&mut accounts, &list));
    let mut rows = vec![
        [
            "account", "messages", "size", "damaged", "lost", "folders", "evidence",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (name, account) in &accounts {
        rows.push(vec![
            name.clone(),
            account.messages.to_string(),
            bytes(account.bytes),
            account.damaged.to_string(),
            account.lost.to_string(),
            account.folders.len().to_string(),
            account
                .evidence
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join("; "),
        ]);
    }
    let mut text = table(&rows);
    if !missing.is_empty() {
        text.push_str(&format!(
            "\nlisted accounts of which nothing was found: {}\n",
            shown(&missing.join(", "))
        ));
    }
    Ok(Output::new(json!(accounts), text))
}

/// Marks the accounts that are listed and adds those of which nothing was found; gives these.
fn add_listed(accounts: &mut BTreeMap<String, Account>, list: &AccountList) -> Vec<String> {
    for account in accounts.values_mut() {
        account.listed = Some(false);
    }
    let mut missing = Vec::new();
    for name in list.accounts().iter().map(ToString::to_string) {
        let account = accounts.entry(name.clone()).or_default();
        account.listed = Some(true);
        if account.messages == 0 && account.lost == 0 && account.folders.is_empty() {
            missing.push(name);
        }
    }
    missing
}
