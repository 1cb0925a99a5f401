//! The beginning of the page: the whole case in a few sentences, and the list of accounts.

use serde::Serialize;

use super::account::{dates, some};
use super::answers::minute;
use super::chart::Bar;
use super::encrypted;
use crate::facts::{Account, Facts};
use crate::figures::{Day, Phase, Rate, Share};
use crate::wanted::{Wanted, WantedRegion};
use crate::words::{bytes, counted, duration, number, percent};

/// The whole case.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    case: String,
    program: String,
    as_of: String,
    /// How much came back, in one sentence.
    lead: String,
    bar: Option<Bar>,
    /// What else must be known of these numbers.
    notes: Vec<String>,
    /// What is wrong with them: sums that do not agree, a log that does not hold.
    alarms: Vec<String>,
    figures: Vec<Figure>,
    shares: Vec<ShareView>,
    phases: Vec<PhaseView>,
    wanted: Vec<WantedView>,
    wanted_tried: bool,
    rates: Vec<RateView>,
    days: Vec<DayView>,
    accounts: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Figure {
    value: String,
    label: &'static str,
}

/// An account in the list.
#[derive(Debug, Serialize)]
struct Row {
    id: usize,
    address: String,
    bar: Option<Bar>,
    expected: String,
    percent: String,
    whole: String,
    damaged: String,
    lost: String,
    handed_over: String,
    waiting: String,
    dates: String,
}

impl Overview {
    pub(super) fn new(facts: &Facts) -> Self {
        let rows = facts.accounts.iter().enumerate();
        Self {
            case: facts.case.clone(),
            program: facts.program.clone(),
            as_of: facts.as_of.as_deref().map(minute).unwrap_or_default(),
            lead: lead(facts),
            bar: Bar::new(&facts.totals),
            notes: notes(facts),
            alarms: alarms(facts),
            figures: figures(facts),
            shares: shares(facts),
            phases: facts.phases.iter().map(PhaseView::new).collect(),
            wanted: facts.wanted.iter().flatten().map(WantedView::new).collect(),
            wanted_tried: facts.wanted.is_some(),
            rates: facts.rates.iter().map(RateView::new).collect(),
            days: facts
                .days
                .iter()
                .rev()
                .take(MOST_DAYS)
                .map(DayView::new)
                .collect(),
            accounts: rows.map(|(id, account)| Row::new(id, account)).collect(),
        }
    }
}

fn lead(facts: &Facts) -> String {
    let totals = &facts.totals;
    if totals.expected == 0 {
        return "No message is known yet: the steps that look for mail were not done, or found \
                none."
            .to_owned();
    }
    let mut lead = format!(
        "Of {} known to have been on these disks, {} ({}) came back whole",
        counted(totals.expected, "message that is", "messages that are"),
        number(totals.whole),
        percent(totals.whole, totals.expected),
    );
    lead += &match (totals.damaged, totals.lost) {
        (0, 0) => "; none is damaged or lost.".to_owned(),
        (damaged, 0) => format!(
            " and {} ({}) damaged; none is lost.",
            number(damaged),
            percent(damaged, totals.expected)
        ),
        (0, lost) => format!(
            "; {} ({}) {} lost.",
            number(lost),
            percent(lost, totals.expected),
            if lost == 1 { "is" } else { "are" },
        ),
        (damaged, lost) => format!(
            ", {} ({}) damaged, and {} ({}) {} lost.",
            number(damaged),
            percent(damaged, totals.expected),
            number(lost),
            percent(lost, totals.expected),
            if lost == 1 { "is" } else { "are" },
        ),
    };
    lead
}

/// So many listed accounts of which nothing was found are named.
const MOST_NAMES: usize = 20;

fn notes(facts: &Facts) -> Vec<String> {
    let totals = &facts.totals;
    let mut notes = Vec::new();
    if totals.whole.saturating_add(totals.damaged) > 0 {
        notes.push(handing_over(facts));
    }
    if totals.deleted > 0 {
        notes.push(format!(
            "{} had been deleted before the disks stopped, and {} recovered.",
            counted(totals.deleted, "of these messages", "of these messages"),
            if totals.deleted == 1 { "was" } else { "were" },
        ));
    }
    if totals.in_snapshots > 0 {
        notes.push(format!(
            "{} in snapshots only.",
            counted(totals.in_snapshots, "of them was", "of them were"),
        ));
    }
    if totals.unattributed > 0 {
        notes.push(format!(
            "For {} nothing on the disks proves whose mail it is. That waits under _unattributed \
             for a person to decide; no account got any of it.",
            counted(totals.unattributed, "find", "finds"),
        ));
    }
    if let Some(list) = facts.account_list.as_ref()
        && !list.nothing_found.is_empty()
    {
        let count = list.nothing_found.len();
        let names = list.nothing_found.iter().take(MOST_NAMES);
        let names: Vec<&str> = names.map(String::as_str).collect();
        let more = count.saturating_sub(MOST_NAMES);
        notes.push(format!(
            "Of {} in the list of accounts nothing was found: {}{}.",
            counted(count as u64, "account", "accounts"),
            names.join(", "),
            if more > 0 {
                format!(" and {more} more, which report.json names")
            } else {
                String::new()
            },
        ));
    }
    if totals.listed_but_gone > 0 {
        notes.push(format!(
            "Folders' own lists name {} more that {} not there: deleted after the list was last \
             written, or lost. The disks do not tell which, so they are in no sum.",
            counted(totals.listed_but_gone, "message", "messages"),
            if totals.listed_but_gone == 1 {
                "is"
            } else {
                "are"
            },
        ));
    }
    if totals.encrypted > 0 {
        notes.push(format!(
            "Of the lost ones {} there, encrypted with Dovecot's mail_crypt: the private keys of the \
             users or the server open them. The digest of the key stands at each.",
            counted(totals.encrypted, "message is", "messages are"),
        ));
    }
    notes.extend(encrypted::note(facts));
    if !facts.losses.is_empty() {
        notes.push(format!(
            "{} of the file systems could not be read. What mail was there, if any, is not \
             known, and so in no sum.",
            counted(facts.losses.len() as u64, "place", "places"),
        ));
    }
    notes
}

fn handing_over(facts: &Facts) -> String {
    let totals = &facts.totals;
    let all = totals.whole.saturating_add(totals.damaged);
    let live = match totals.already_live {
        0 => String::new(),
        live => format!(", {} in the accounts already", number(live)),
    };
    match totals.waiting {
        0 => format!(
            "Handing over is finished: {} of {}{live}.",
            number(totals.handed_over),
            counted(all, "message", "messages")
        ),
        waiting => format!(
            "Handing over is not finished: {} handed over{live}, {} waiting.",
            number(totals.handed_over),
            number(waiting)
        ),
    }
}

fn alarms(facts: &Facts) -> Vec<String> {
    let sums = facts
        .checks
        .iter()
        .filter(|check| !check.holds)
        .map(|check| {
            format!(
                "Two sums that must be equal are not: {} ({} and {}).",
                check.what,
                number(check.left),
                number(check.right)
            )
        });
    let log = facts
        .log
        .problem
        .iter()
        .map(|problem| format!("The log of the case does not hold: {problem}."));
    sums.chain(log).collect()
}

fn figures(facts: &Facts) -> Vec<Figure> {
    let totals = &facts.totals;
    let figure = |value: String, label| Figure { value, label };
    let evidence = facts.evidence.iter().map(|disk| disk.bytes);
    vec![
        figure(number(totals.accounts), "accounts"),
        figure(number(totals.expected), "messages expected"),
        figure(percent(totals.whole, totals.expected), "came back whole"),
        figure(bytes(totals.whole_bytes), "of whole messages"),
        figure(number(totals.handed_over), "handed over"),
        figure(number(facts.evidence.len() as u64), "disks"),
        figure(bytes(evidence.fold(0, u64::saturating_add)), "of evidence"),
    ]
}

/// Days that the page lists, the last ones.
const MOST_DAYS: usize = 120;

/// A share, as text.
#[derive(Debug, Serialize)]
struct ShareView {
    what: String,
    percent: String,
    of: String,
}

#[derive(Debug, Serialize)]
struct PhaseView {
    phase: &'static str,
    whole: String,
    damaged: String,
    bytes: String,
}

#[derive(Debug, Serialize)]
struct DayView {
    day: String,
    messages: String,
    bytes: String,
}

impl PhaseView {
    fn new(phase: &Phase) -> Self {
        Self {
            phase: phase.phase,
            whole: number(phase.whole),
            damaged: some(phase.damaged),
            bytes: bytes(phase.bytes),
        }
    }
}

#[derive(Debug, Serialize)]
struct WantedView {
    what: String,
    messages: String,
    bytes: String,
    with_others: String,
    places: String,
    regions: Vec<String>,
    more: String,
}

impl WantedView {
    fn new(wanted: &Wanted) -> Self {
        let region = |region: &WantedRegion| {
            format!(
                "{} from byte {} (needed by {})",
                bytes(region.bytes),
                number(region.start),
                number(region.needed_by)
            )
        };
        Self {
            what: wanted.what.clone(),
            messages: some(wanted.messages),
            bytes: match wanted.messages {
                0 => String::new(),
                _ => bytes(wanted.bytes),
            },
            with_others: some(wanted.with_others),
            places: some(wanted.places),
            regions: wanted.regions.iter().map(region).collect(),
            more: some(wanted.more_regions),
        }
    }
}

#[derive(Debug, Serialize)]
struct RateView {
    step: String,
    runs: String,
    bytes: String,
    took: String,
    rate: String,
}

impl RateView {
    fn new(rate: &Rate) -> Self {
        Self {
            step: rate.step.clone(),
            runs: number(rate.runs),
            bytes: bytes(rate.bytes),
            took: duration(rate.milliseconds),
            rate: format!("{}/s", bytes(rate.bytes_per_second)),
        }
    }
}

impl DayView {
    fn new(day: &Day) -> Self {
        Self {
            day: day.day.clone(),
            messages: number(day.messages),
            bytes: bytes(day.bytes),
        }
    }
}

/// A share in words, and how its numbers are written.
type ShareRow = (&'static str, Share, fn(u64) -> String);

fn shares(facts: &Facts) -> Vec<ShareView> {
    let shares = &facts.shares;
    let rows: [ShareRow; 8] = [
        (
            "of all accounts have mail that was recovered",
            shares.accounts,
            number,
        ),
        (
            "of active accounts (mail in the year before the incident)",
            shares.active_accounts,
            number,
        ),
        (
            "of active accounts above 10 MB",
            shares.large_active_accounts,
            number,
        ),
        (
            "of active accounts that a mail program managed (IMAP)",
            shares.active_imap_accounts,
            number,
        ),
        (
            "of these above 10 MB",
            shares.large_active_imap_accounts,
            number,
        ),
        (
            "of all accounts have mail handed over",
            shares.handed_back,
            number,
        ),
        ("of all messages are back whole", shares.messages, number),
        ("of all data", shares.bytes, bytes),
    ];
    // A share of nothing says nothing.
    rows.into_iter()
        .filter(|(_, share, _)| share.of > 0)
        .map(|(what, share, show)| ShareView {
            what: what.to_owned(),
            percent: percent(share.part, share.of),
            of: format!("{} of {}", show(share.part), show(share.of)),
        })
        .collect()
}

impl Row {
    fn new(id: usize, account: &Account) -> Self {
        let counts = &account.counts;
        Self {
            id,
            address: account.address.clone(),
            bar: Bar::new(counts),
            expected: number(counts.expected),
            percent: percent(counts.whole, counts.expected),
            whole: number(counts.whole),
            damaged: some(counts.damaged),
            lost: some(counts.lost),
            handed_over: number(counts.handed_over.saturating_add(counts.already_live)),
            waiting: some(counts.waiting),
            dates: dates(
                account.first_delivered.as_deref(),
                account.last_delivered.as_deref(),
            ),
        }
    }
}
