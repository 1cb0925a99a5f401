//! Gathering the facts of a case, segment by segment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aggregate::document::{Aggregate, Group, Member};
use case::{Case, CaseError, CaseFile};
use mail::account::AccountList;
use mail::record::Record;
use restore::Place;
use serde_json::{Map, Value};

use crate::account::Adding;
use crate::disks::{Catalogue, areas, epochs};
use crate::facts::{
    Account, Check, Counts, Evidence, FORMAT, Facts, GroupFacts, ListFacts, Log, LossFact, Step,
    Structure, Totals,
};
use crate::figures::{Phases, Shares, rates};
use crate::index::records;
use crate::sort::{Known, Sorter, Status, place_of};
use crate::{ReportError, words};

impl Facts {
    /// Gathers the facts of a case. Steps that were not done yet leave their part empty.
    ///
    /// The message index is read as a stream, up to three times: kept are sums, damaged and lost
    /// messages, and sixteen bytes a message to know it again.
    pub fn gather(case: &Case) -> Result<Self, ReportError> {
        let file = case.file()?;
        let known = Arc::new(Known::load(case)?);
        let index = Index::read(case, &known)?;
        let aggregate: Option<Aggregate> = case.read_json("aggregate.json")?;
        let catalogue = Catalogue::read(case, &file)?;
        let scanned = catalogue.scanned();
        let mut disks = catalogue.finish();
        if let Some(aggregate) = &aggregate {
            for (disk, found) in areas(aggregate) {
                if let Some(disk) = disks.iter_mut().find(|known| known.name == disk) {
                    disk.areas = found;
                }
            }
            for (disk, found) in epochs(aggregate) {
                if let Some(disk) = disks.iter_mut().find(|known| known.name == disk) {
                    disk.epochs = found;
                }
            }
        }
        let log = read_log(case)?;
        let totals = index.totals();
        let mut checks = index.checks();
        if !file.evidence.is_empty() {
            let all = file.evidence.values().map(|disk| disk.bytes);
            checks.push(check(
                "bytes of the disks = bytes that were scanned",
                all.fold(0, u64::saturating_add),
                scanned,
            ));
        }
        Ok(Self {
            format: FORMAT,
            program: concat!("restante ", env!("CARGO_PKG_VERSION")).to_owned(),
            case: case.path().display().to_string(),
            as_of: log.steps.last().map(|step| step.time.clone()),
            totals,
            checks,
            shares: Shares::of(&index.accounts),
            phases: index.phases.finish(),
            days: known.handed.days.clone(),
            rates: rates(&log),
            account_list: account_list(case, &file, &index.accounts)?,
            accounts: index.accounts,
            evidence: evidence(&file),
            disks,
            aggregate: aggregate.map(structure),
            losses: index.losses,
            wanted: None,
            targets: known.handed.targets.clone(),
            log,
            known,
        })
    }
}

/// What the message index adds up to.
struct Index {
    accounts: Vec<Account>,
    /// The same sums, counted without regard to accounts.
    all: Counts,
    /// Lines of the index that are about a message or a file.
    lines: u64,
    losses: Vec<LossFact>,
    phases: Phases,
}

impl Index {
    fn read(case: &Case, known: &Known) -> Result<Self, ReportError> {
        let mut accounts: BTreeMap<Place, Adding> = BTreeMap::new();
        let mut index = Self {
            accounts: Vec::new(),
            all: Counts::default(),
            lines: 0,
            losses: Vec::new(),
            phases: Phases::default(),
        };
        let mut sorter = Sorter::new(known);
        for record in records(case)? {
            match record? {
                Record::Message(message) => {
                    let place = place_of(message.owner.as_ref());
                    let sorted = sorter.message(&place, &message);
                    index.count(sorted.status);
                    if sorted.status != Status::Duplicate {
                        index.phases.add(&message, sorted.status == Status::Whole);
                    }
                    let account = accounts.entry(place).or_default();
                    account.message(&message, &sorted);
                }
                Record::Lost(note) => {
                    let sorted = sorter.lost(&note);
                    index.count(sorted.status);
                    let account = accounts.entry(place_of(note.owner.as_ref())).or_default();
                    account.lost(&note, &sorted);
                }
                Record::Rejected(note) => {
                    index.count(Status::Rejected);
                    let account = accounts.entry(place_of(note.owner.as_ref())).or_default();
                    account.rejected(&note);
                }
                Record::Folder(folder) => {
                    let account = accounts.entry(place_of(folder.owner.as_ref())).or_default();
                    account.folder_record(&folder, known);
                }
                Record::Loss(loss) => index.losses.push(LossFact::from(&loss)),
            }
        }
        index.losses.sort();
        index.losses.dedup();
        // An address sorts by its domain first, and unattributed mail comes last.
        index.accounts = accounts
            .into_iter()
            .map(|(place, adding)| adding.finish(&place, known))
            .collect();
        Ok(index)
    }

    fn count(&mut self, status: Status) {
        self.lines = self.lines.saturating_add(1);
        let count = match status {
            Status::Whole => &mut self.all.whole,
            Status::Damaged => &mut self.all.damaged,
            Status::Lost => &mut self.all.lost,
            Status::Rejected => &mut self.all.rejected,
            Status::Duplicate => &mut self.all.duplicates,
        };
        *count = count.saturating_add(1);
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for account in &self.accounts {
            totals.counts.add(&account.counts);
            if account.is_unattributed() {
                totals.unattributed = account.counts.found;
            } else {
                totals.accounts = totals.accounts.saturating_add(1);
            }
        }
        totals
    }

    fn checks(&self) -> Vec<Check> {
        let all = &self.all;
        let expected = sum([all.whole, all.damaged, all.lost]);
        let accounts = || self.accounts.iter();
        let folders = accounts().flat_map(|account| &account.folders);
        let months = accounts().flat_map(|account| &account.months);
        let totals = self.totals();
        vec![
            check(
                "everything that was met = whole + damaged + lost + rejected + duplicates",
                self.lines,
                sum([expected, all.rejected, all.duplicates]),
            ),
            check(
                "everything that was met = the same, account by account",
                self.lines,
                sum(accounts().map(|account| account.counts.found)),
            ),
            check(
                "whole + damaged + lost = expected, account by account",
                expected,
                sum(accounts().map(|account| account.counts.expected)),
            ),
            check(
                "whole + damaged + lost = expected, folder by folder",
                expected,
                sum(folders.map(|folder| folder.expected)),
            ),
            check(
                "whole + damaged + lost = the same, month by month",
                expected,
                sum(months.flat_map(|month| [month.whole, month.damaged, month.lost])),
            ),
            check(
                "whole + damaged = handed over + in the account already + waiting",
                sum([all.whole, all.damaged]),
                sum([totals.handed_over, totals.already_live, totals.waiting]),
            ),
        ]
    }
}

/// What the list of accounts says of those that were found.
fn account_list(
    case: &Case,
    file: &CaseFile,
    found: &[Account],
) -> Result<Option<ListFacts>, ReportError> {
    let list: Option<AccountList> = match &file.accounts.list {
        Some(_) => case.read_json(case::ACCOUNTS)?,
        None => None,
    };
    let Some(list) = list else {
        return Ok(None);
    };
    let found: BTreeSet<&str> = found.iter().map(|one| one.address.as_str()).collect();
    let names = list.accounts().iter().map(ToString::to_string);
    Ok(Some(ListFacts {
        accounts: list.accounts().len() as u64,
        aliases: list.alias_count() as u64,
        domains: list.domains().len() as u64,
        nothing_found: names
            .filter(|name| !found.contains(name.as_str()))
            .collect(),
    }))
}

fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

fn check(what: &str, left: u64, right: u64) -> Check {
    Check {
        what: what.to_owned(),
        left,
        right,
        holds: left == right,
    }
}

fn evidence(file: &CaseFile) -> Vec<Evidence> {
    let disks = file.evidence.iter();
    disks
        .map(|(name, record)| Evidence {
            name: name.clone(),
            path: record.path.display().to_string(),
            format: record.format.clone(),
            bytes: record.bytes,
            mapfile: record
                .mapfile
                .as_ref()
                .map(|path| path.display().to_string()),
            blake3: record.blake3.clone(),
            sha256: record.sha256.clone(),
            unread: record.unread,
            warnings: record.warnings.clone(),
        })
        .collect()
}

fn structure(aggregate: Aggregate) -> Structure {
    Structure {
        groups: aggregate
            .groups
            .into_iter()
            .map(|group| GroupFacts {
                missing: count(&group, |member| member.device.is_none()),
                left_out: count(&group, |member| member.left_out.is_some()),
                redundancy: u64::from(group.geometry.redundancy()),
                group,
            })
            .collect(),
        volumes: aggregate.volumes,
        volume_groups: aggregate.volume_groups,
        filesystems: aggregate.filesystems,
        encrypted: aggregate.encrypted,
        unused: aggregate.unused,
        losses: aggregate.losses.iter().map(LossFact::from).collect(),
    }
}

fn count(group: &Group, which: impl Fn(&Member) -> bool) -> u64 {
    group.members.iter().filter(|member| which(member)).count() as u64
}

/// What came out of a step, with how many ledgers a sync left in place of the digest of each: there may be one
/// for every account, and they are for `verify`.
fn without_ledgers(mut output: Value) -> Value {
    if let Some(ledgers) = output.get_mut("ledgers")
        && let Some(count) = ledgers.as_object().map(Map::len)
    {
        *ledgers = count.into();
    }
    output
}

/// The log. One that was tampered with is a fact of its own, and no reason to report nothing.
fn read_log(case: &Case) -> Result<Log, ReportError> {
    match case.verified_log() {
        Ok(lines) => Ok(Log {
            problem: lines.iter().find_map(|line| line.broken.clone()),
            steps: lines
                .into_iter()
                .map(|line| Step {
                    time: words::iso_unsigned(line.time),
                    step: line.step,
                    options: line.options,
                    input: line.input,
                    output: without_ledgers(line.output),
                    effort: line.effort,
                })
                .collect(),
        }),
        Err(
            error @ (CaseError::BrokenChain { .. }
            | CaseError::CutLog { .. }
            | CaseError::NoHead { .. }
            | CaseError::Malformed { .. }),
        ) => Ok(Log {
            problem: Some(error.to_string()),
            steps: Vec::new(),
        }),
        Err(error) => Err(error.into()),
    }
}
