//! The figures of an incident in the form in which the team of 2014 published theirs: shares of
//! accounts and of data, by phase and over time.

use mail::{Layer, Message};
use serde::Serialize;

use crate::facts::{Account, Log};

/// An account is active if mail came to it in so many seconds before the incident: a year.
const ACTIVE: i64 = 366 * 86_400;
/// An account above so many bytes is a large one.
pub(crate) const LARGE: u64 = 10_000_000;

/// A part of a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// The whole.
    pub of: u64,
}

impl Share {
    fn count(&mut self, is_part: bool) {
        self.of = self.of.saturating_add(1);
        self.part = self.part.saturating_add(u64::from(is_part));
    }
}

/// How much came back, in shares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// The last delivery of all that is known of, which is taken for the time of the incident.
    pub incident: Option<String>,
    /// Accounts with mail that came back, of all that are known.
    pub accounts: Share,
    /// The same of active accounts: those that mail came to in the year before the incident.
    pub active_accounts: Share,
    /// The same of active accounts with more than 10 MB of mail.
    pub large_active_accounts: Share,
    /// The same of active accounts that a mail program managed: see [`Account::used_by_imap`].
    pub active_imap_accounts: Share,
    /// The same of those with more than 10 MB of mail.
    pub large_active_imap_accounts: Share,
    /// Accounts with mail that was handed over, or was live already, of all that are known.
    pub handed_back: Share,
    /// Messages that came back whole, of all that are known of.
    pub messages: Share,
    /// Bytes that came back whole, of all that are known of. What is lost counts as far as the name of
    /// its file says how long it was.
    pub bytes: Share,
}

impl Shares {
    pub(crate) fn of(accounts: &[Account]) -> Self {
        let people = || accounts.iter().filter(|account| !account.is_unattributed());
        // Times are UTC in one form, so that their order is that of the text.
        let incident = people().filter_map(last_delivery).max();
        let since = incident.as_deref().and_then(year_before);
        let mut shares = Self::default();
        for account in people() {
            let counts = &account.counts;
            let came_back = counts.whole.saturating_add(counts.damaged) > 0;
            let bytes = known_bytes(account);
            shares.accounts.count(came_back);
            let handed = counts.handed_over.saturating_add(counts.already_live);
            shares.handed_back.count(handed > 0);
            let is_active = match (last_delivery(account), &since) {
                (Some(last), Some(since)) => last >= *since,
                _ => false,
            };
            if is_active {
                shares.active_accounts.count(came_back);
                let is_large = bytes > LARGE;
                if is_large {
                    shares.large_active_accounts.count(came_back);
                }
                if account.used_by_imap {
                    shares.active_imap_accounts.count(came_back);
                }
                if account.used_by_imap && is_large {
                    shares.large_active_imap_accounts.count(came_back);
                }
            }
        }
        for account in accounts {
            let counts = &account.counts;
            let (part, of) = (&mut shares.messages, &mut shares.bytes);
            part.part = part.part.saturating_add(counts.whole);
            part.of = part.of.saturating_add(counts.expected);
            of.part = of.part.saturating_add(counts.whole_bytes);
            of.of = of.of.saturating_add(known_bytes(account));
        }
        shares.incident = incident;
        shares
    }
}

/// When mail last came to an account, whatever became of it.
fn last_delivery(account: &Account) -> Option<String> {
    let lost = account.lost_messages.iter();
    lost.filter_map(|message| message.delivered.clone())
        .chain(account.last_delivered.clone())
        .max()
}

/// All bytes of an account that are known of.
fn known_bytes(account: &Account) -> u64 {
    let lost = account.lost_messages.iter().filter_map(|note| note.bytes);
    lost.chain([account.counts.whole_bytes, account.counts.damaged_bytes])
        .fold(0, u64::saturating_add)
}

fn year_before(time: &str) -> Option<String> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(crate::words::iso(time.as_second().checked_sub(ACTIVE)?))
}

/// What one phase of the work brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Which: `in use`, `another file system`, `snapshot`, `deleted`, `carved`.
    pub phase: &'static str,
    /// Messages that it brought back whole.
    pub whole: u64,
    /// Messages with damage.
    pub damaged: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The phases, in the order in which they are worked through.
#[derive(Debug)]
pub(crate) struct Phases([Phase; 5]);

impl Default for Phases {
    fn default() -> Self {
        let names = [
            "in use",
            "another file system",
            "snapshot",
            "deleted",
            "carved",
        ];
        Self(names.map(|phase| Phase {
            phase,
            ..Phase::default()
        }))
    }
}

impl Phases {
    /// Counts a message that is no duplicate.
    pub(crate) fn add(&mut self, message: &Message, is_whole: bool) {
        let index = match message.layer {
            Layer::Carved => 4,
            _ if message.is_deleted() => 3,
            Layer::Snapshot(_) => 2,
            Layer::Further => 1,
            Layer::Present => 0,
        };
        if let Some(phase) = self.0.get_mut(index) {
            let count = if is_whole {
                &mut phase.whole
            } else {
                &mut phase.damaged
            };
            *count = count.saturating_add(1);
            phase.bytes = phase.bytes.saturating_add(message.bytes);
        }
    }

    /// Those that brought something.
    pub(crate) fn finish(self) -> Vec<Phase> {
        let brought = |phase: &Phase| phase.whole.saturating_add(phase.damaged) > 0;
        self.0.into_iter().filter(brought).collect()
    }
}

/// What was handed over on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2014-06-17`, UTC.
    pub day: String,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How fast one step went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// `scan`, `rebuild`, `carve`, `sync` …
    pub step: String,
    /// How many runs of it went through something.
    pub runs: u64,
    /// How long they took together, in milliseconds.
    pub milliseconds: u64,
    /// How many bytes were read for it, or handed over by it.
    pub bytes: u64,
    /// Bytes a second.
    pub bytes_per_second: u64,
}

/// The rates of the steps that the log measured, in the order in which they were first done.
pub(crate) fn rates(log: &Log) -> Vec<Rate> {
    let mut rates: Vec<Rate> = Vec::new();
    for step in &log.steps {
        let Some(effort) = step.effort.filter(|effort| effort.bytes > 0) else {
            continue;
        };
        let rate = match rates.iter_mut().find(|rate| rate.step == step.step) {
            Some(rate) => rate,
            None => {
                rates.push(Rate {
                    step: step.step.clone(),
                    ..Rate::default()
                });
                let Some(rate) = rates.last_mut() else {
                    continue;
                };
                rate
            }
        };
        rate.runs = rate.runs.saturating_add(1);
        rate.milliseconds = rate.milliseconds.saturating_add(effort.milliseconds);
        rate.bytes = rate.bytes.saturating_add(effort.bytes);
    }
    for rate in &mut rates {
        // A clock that did not move measures nothing finer.
        let milliseconds = u128::from(rate.milliseconds.max(1));
        let thousandfold = u128::from(rate.bytes).saturating_mul(1000);
        let per_second = thousandfold.checked_div(milliseconds).unwrap_or(0);
        rate.bytes_per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Counts, LostMessage};

    fn account(address: &str, whole: u64, bytes: u64, last: Option<&str>) -> Account {
        Account {
            address: address.to_owned(),
            counts: Counts {
                expected: whole,
                whole,
                whole_bytes: bytes,
                ..Counts::default()
            },
            last_delivered: last.map(str::to_owned),
            ..Account::default()
        }
    }

    #[test]
    fn shares_are_of_accounts_that_are_known_active_and_large() {
        let mut gone = account("d@x.example", 0, 0, None);
        gone.counts.expected = 1;
        gone.counts.lost = 1;
        gone.lost_messages = vec![LostMessage {
            folder: "INBOX".to_owned(),
            delivered: Some("2014-06-01T00:00:00Z".to_owned()),
            bytes: Some(20_000_000),
            device: String::new(),
            path: String::new(),
            why: String::new(),
        }];
        let accounts = [
            account("a@x.example", 3, 11_000_000, Some("2014-06-17T08:00:00Z")),
            Account {
                used_by_imap: true,
                ..account("b@x.example", 1, 10, Some("2014-01-01T00:00:00Z"))
            },
            account("c@x.example", 1, 10, Some("2012-01-01T00:00:00Z")),
            gone,
            account("_unattributed", 5, 100, Some("2020-01-01T00:00:00Z")),
        ];
        let shares = Shares::of(&accounts);
        let share = |part, of| Share { part, of };
        assert_eq!(shares.incident.as_deref(), Some("2014-06-17T08:00:00Z"));
        assert_eq!(shares.accounts, share(3, 4));
        assert_eq!(shares.active_accounts, share(2, 3));
        assert_eq!(shares.large_active_accounts, share(1, 2));
        assert_eq!(shares.active_imap_accounts, share(1, 1));
        assert_eq!(shares.large_active_imap_accounts, share(0, 0));
        assert_eq!(shares.handed_back, share(0, 4));
        assert_eq!(shares.messages, share(10, 11));
        assert_eq!(shares.bytes, share(11_000_120, 31_000_120));
    }
}
