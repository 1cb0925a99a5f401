//! Whose messages lie where in the message index.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use case::{Case, MESSAGES, Position, SegmentSet};
use mail::{Address, Message, Record};
use restore::Place;

use crate::usage::Usage;

/// The message index, by accounts.
pub(crate) struct Index {
    segments: SegmentSet,
    /// Every place that has mail in the case, and that of mail without an account.
    all: BTreeSet<Place>,
    /// Where the messages of the places that were asked for lie.
    wanted: BTreeMap<Place, Vec<Position>>,
}

impl Index {
    /// Opens the index of `case` for the accounts `wanted`, or for all if it is empty.
    pub(crate) fn open(case: &Case, wanted: &BTreeSet<Address>) -> Result<Self> {
        let mut index = Self {
            segments: case.open_segments(MESSAGES)?,
            all: BTreeSet::from([Place::Unattributed]),
            wanted: BTreeMap::new(),
        };
        for record in index.segments.records() {
            let (position, Record::Message(message)) = record? else {
                continue;
            };
            let place = message
                .owner
                .map_or(Place::Unattributed, |owner| Place::Account(owner.account));
            let asked_for = match &place {
                Place::Account(account) => wanted.is_empty() || wanted.contains(account),
                Place::Unattributed => wanted.is_empty(),
            };
            if !index.all.contains(&place) {
                index.all.insert(place.clone());
            }
            if asked_for {
                index.wanted.entry(place).or_default().push(position);
            }
        }
        for account in wanted {
            if !index.wanted.contains_key(&Place::Account(account.clone())) {
                return Err(Usage::error(format!(
                    "the case has no mail of {account}; `restante accounts` lists whose it has"
                )));
            }
        }
        Ok(index)
    }

    /// Every place that has mail in the case.
    pub(crate) const fn all(&self) -> &BTreeSet<Place> {
        &self.all
    }

    /// The places that were asked for, in their order.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.wanted.keys()
    }

    /// How many messages one place has.
    pub(crate) fn count(&self, place: &Place) -> u64 {
        self.wanted.get(place).map_or(0, Vec::len) as u64
    }

    /// The messages of one place.
    pub(crate) fn messages(&self, place: &Place) -> Result<Vec<Message>> {
        let positions = self.wanted.get(place).map(Vec::as_slice);
        let mut messages = Vec::new();
        for position in positions.unwrap_or_default() {
            if let Record::Message(message) = self.segments.read(*position)? {
                messages.push(*message);
            }
        }
        Ok(messages)
    }
}
