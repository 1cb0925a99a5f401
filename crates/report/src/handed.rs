//! What the ledgers say was handed over.

use std::collections::{BTreeMap, HashMap};

use case::Case;
use mail::maildir::MaildirName;
use restore::{Outcome, Place, ledger_files};

use crate::ReportError;
use crate::facts::Target;
use crate::figures::Day;
use crate::sort::{Key, name_of};
use crate::words;

/// What was handed over, to all targets.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    outcomes: HashMap<Key, Outcome>,
    /// When something was last done for a place, in seconds since 1970.
    last: BTreeMap<Place, u64>,
    /// The targets, by identity.
    pub(crate) targets: Vec<Target>,
    /// What was added, by day.
    pub(crate) days: Vec<Day>,
}

/// What one target's ledgers add up to.
#[derive(Default)]
struct Sum {
    restored: u64,
    already_live: u64,
    first: Option<u64>,
    last: Option<u64>,
}

impl Handed {
    pub(crate) fn load(case: &Case) -> Result<Self, ReportError> {
        let mut handed = Self::default();
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let mut days: BTreeMap<u64, Day> = BTreeMap::new();
        for file in ledger_files(&case.path().join(case::LEDGER))? {
            let sum = sums.entry(file.target.clone()).or_default();
            let place = name_of(&file.place);
            for entry in file.entries()? {
                if entry.outcome == Outcome::Restored {
                    let day = days.entry(entry.time / 86_400).or_default();
                    let size = MaildirName::parse(entry.name.as_bytes()).size;
                    day.messages = day.messages.saturating_add(1);
                    day.bytes = day.bytes.saturating_add(size.unwrap_or(0));
                }
                match entry.outcome {
                    Outcome::Restored => sum.restored = sum.restored.saturating_add(1),
                    Outcome::AlreadyLive => sum.already_live = sum.already_live.saturating_add(1),
                }
                sum.first = Some(sum.first.map_or(entry.time, |time| time.min(entry.time)));
                sum.last = sum.last.max(Some(entry.time));
                let last = handed.last.entry(file.place.clone()).or_default();
                *last = entry.time.max(*last);
                handed.remember(
                    Key::of(&[&place, &entry.folder, &entry.name]),
                    entry.outcome,
                );
            }
        }
        handed.days = days
            .into_iter()
            .map(|(number, day)| Day {
                day: words::iso_unsigned(number.saturating_mul(86_400))
                    .split('T')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                ..day
            })
            .collect();
        handed.targets = sums
            .into_iter()
            .map(|(id, sum)| Target {
                id,
                restored: sum.restored,
                already_live: sum.already_live,
                first: sum.first.map(words::iso_unsigned),
                last: sum.last.map(words::iso_unsigned),
            })
            .collect();
        Ok(handed)
    }

    /// With several targets, a message counts as handed over if it was added to one of them.
    fn remember(&mut self, key: Key, outcome: Outcome) {
        let known = self.outcomes.entry(key).or_insert(outcome);
        if outcome == Outcome::Restored {
            *known = outcome;
        }
    }

    /// What became of the message with this key.
    pub(crate) fn outcome(&self, key: Key) -> Option<Outcome> {
        self.outcomes.get(&key).copied()
    }

    /// When something was last done for a place.
    pub(crate) fn last(&self, place: &Place) -> Option<String> {
        self.last.get(place).copied().map(words::iso_unsigned)
    }
}
