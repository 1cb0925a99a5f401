//! What is for the owner of one account alone: a page, its facts, its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use case::write_atomically;
use mail::Address;

use crate::facts::{Account, Facts};
use crate::tables::writer;
use crate::text::{cell, harmless_json};
use crate::write::{Failure, stream, sweep};
use crate::{ReportError, page};

/// So much of the tables is kept before it is written.
const MOST_KEPT: usize = 32 << 20;
/// The columns of `messages.csv` that are for the owner, by their place there.
const COLUMNS: [usize; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14];
/// The column of the account, and that of the reason.
const ACCOUNT: usize = 0;
const WHY: usize = 9;

/// Writes the page, the facts and the table of each account below `accounts` in `directory`;
/// `messages` is the `messages.csv` that was written before.
pub(crate) fn write(facts: &Facts, directory: &Path, messages: &Path) -> Result<(), ReportError> {
    let top = directory.join("accounts");
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for account in &facts.accounts {
        let Some(address) = Address::parse(&account.address) else {
            continue;
        };
        let folder = top.join(address.domain());
        fs::create_dir_all(&folder).map_err(|source| ReportError::io(&folder, source))?;
        let file = |ending: &str| folder.join(format!("{}.{ending}", address.local()));
        let account = for_owner(account);
        let path = file("json");
        let json = serde_json::to_string_pretty(&account)
            .map_err(|error| ReportError::io(&path, error))?;
        write_atomically(&path, (harmless_json(&json) + "\n").as_bytes())?;
        stream(&file("html"), |out| {
            page::render_account(facts, &account, out)
                .map_err(|error| Failure::Io(std::io::Error::other(error)))
        })?;
        kept.extend(["json", "html", "csv"].map(file));
        // As the table of all messages writes it.
        let name = cell(&account.address).into_owned();
        tables.insert(name, Table::new(file("csv")));
    }
    split(messages, &mut tables)?;
    sweep(&top, &["json", "html", "csv"], &kept)
}

/// The facts of an account without what is about others: where a copy of a message was found may
/// name somebody else.
fn for_owner(account: &Account) -> Account {
    let mut account = account.clone();
    account.evidence.clear();
    for folder in &mut account.folders {
        folder.places.clear();
    }
    for file in &mut account.rejected_files {
        file.device.clear();
        file.path.clear();
    }
    for message in &mut account.damaged_messages {
        message.device.clear();
        message.path.clear();
        if message.whole_copy.is_some() {
            message.whole_copy = Some("elsewhere".to_owned());
        }
    }
    for note in &mut account.lost_messages {
        note.device.clear();
        note.path.clear();
        note.why = without_place(&note.why).to_owned();
    }
    account
}

/// A reason without where a copy was found.
fn without_place(why: &str) -> &str {
    let places = ["it was found at ", "it was found whole at "];
    let at = places.iter().filter_map(|words| why.find(words)).min();
    let kept = at.and_then(|at| why.get(..at)).unwrap_or(why);
    kept.trim_end_matches([' ', ';'])
}

/// The table of one account, which is written in parts.
struct Table {
    path: PathBuf,
    kept: Vec<u8>,
    is_begun: bool,
}

impl Table {
    const fn new(path: PathBuf) -> Self {
        Self {
            path,
            kept: Vec::new(),
            is_begun: false,
        }
    }

    /// Where it is written until it is whole.
    fn draft(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".part");
        PathBuf::from(name)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let mut options = File::options();
        options.create(true).write(true);
        if self.is_begun {
            options.append(true);
        } else {
            options.truncate(true);
        }
        options.open(self.draft())?.write_all(&self.kept)?;
        self.is_begun = true;
        self.kept.clear();
        Ok(())
    }
}

/// Gives each account its rows of `messages`.
fn split(messages: &Path, tables: &mut BTreeMap<String, Table>) -> Result<(), ReportError> {
    let wrap = |error: csv::Error| ReportError::io(messages, std::io::Error::from(error));
    let mut reader = csv::Reader::from_path(messages).map_err(wrap)?;
    let head = owners_row(reader.headers().map_err(wrap)?).map_err(wrap)?;
    for table in tables.values_mut() {
        table.kept.extend_from_slice(&head);
    }
    let mut kept = 0_usize;
    for row in reader.records() {
        let row = row.map_err(wrap)?;
        let table = row.get(ACCOUNT).and_then(|account| tables.get_mut(account));
        let Some(table) = table else {
            continue;
        };
        let line = owners_row(&row).map_err(wrap)?;
        kept = kept.saturating_add(line.len());
        table.kept.extend_from_slice(&line);
        if kept > MOST_KEPT {
            flush(tables)?;
            kept = 0;
        }
    }
    flush(tables)?;
    for table in tables.values() {
        File::open(table.draft())
            .and_then(|draft| draft.sync_all())
            .and_then(|()| fs::rename(table.draft(), &table.path))
            .map_err(|source| ReportError::io(&table.path, source))?;
    }
    Ok(())
}

fn flush(tables: &mut BTreeMap<String, Table>) -> Result<(), ReportError> {
    for table in tables.values_mut() {
        table
            .flush()
            .map_err(|source| ReportError::io(&table.path, source))?;
    }
    Ok(())
}

/// The columns of a row that are for the owner.
fn owners_row(row: &csv::StringRecord) -> Result<Vec<u8>, csv::Error> {
    let mut out = writer(Vec::new());
    let cells = COLUMNS.iter().map(|column| {
        let cell = row.get(*column).unwrap_or_default();
        if *column == WHY {
            without_place(cell)
        } else {
            cell
        }
    });
    out.write_record(cells)?;
    out.into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}
