//! What becomes of each find: the one place that decides it, for the sums and for the tables.

use std::collections::{HashMap, HashSet};

use case::Case;
use mail::account::Owner;
use mail::maildir::MaildirName;
use mail::record::{FileNote, Record};
use mail::{Message, MessageId};
use restore::plan::destination;
use restore::{Outcome, Place, States};

use crate::ReportError;
use crate::facts::UNATTRIBUTED;
use crate::handed::Handed;
use crate::index::records;

/// A digest that stands for a few texts: half of a BLAKE3, which nobody finds twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }
}

/// Where the mail of an owner belongs.
pub(crate) fn place_of(owner: Option<&Owner>) -> Place {
    owner.map_or(Place::Unattributed, |owner| {
        Place::Account(owner.account.clone())
    })
}

/// The name of a place in the report.
pub(crate) fn name_of(place: &Place) -> String {
    match place {
        Place::Account(address) => address.to_string(),
        Place::Unattributed => UNATTRIBUTED.to_owned(),
    }
}

/// What became of a find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Whole,
    Damaged,
    Lost,
    Rejected,
    Duplicate,
}

impl Status {
    /// The word for it in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
        }
    }
}

/// The unique name that a mail server gave to the file of a message, and the time of delivery
/// that it begins with. `None` for names of other make, which may be there twice.
pub fn server_name(path: &str) -> Option<(&str, i64)> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let base = MaildirName::parse(name.as_bytes()).base;
    let base = name.get(..base.len())?;
    let (seconds, rest) = base.split_once('.')?;
    let plausible = (9..=10).contains(&seconds.len()) && rest.contains('.');
    plausible.then_some(())?;
    seconds.parse().ok().map(|seconds| (base, seconds))
}

/// A find of a message that some other record names too.
#[derive(Clone, Debug)]
struct Copy {
    /// Its device and path.
    place: String,
    whole: bool,
}

/// What must be known of the whole case before a single find can be judged.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) handed: Handed,
    /// Messages whose file's name a lost, damaged or merely listed one bears too.
    copies: HashMap<Key, Copy>,
    /// Messages that were found in more than one state.
    states: States,
    /// What several messages of an account share that are not the same.
    alike: HashSet<Key>,
}

impl Known {
    /// Reads the ledgers, and twice the message index.
    pub(crate) fn load(case: &Case) -> Result<Self, ReportError> {
        let mut known = Self {
            handed: Handed::load(case)?,
            ..Self::default()
        };
        let (wanted, alike) = wanted_names(case, &mut known.states)?;
        known.alike = alike;
        if wanted.is_empty() && !known.states.has_former() {
            return Ok(known);
        }
        for record in records(case)? {
            let Record::Message(message) = record? else {
                continue;
            };
            known
                .states
                .compare(&place_of(message.owner.as_ref()), &message);
            let Some(key) = name_key(message.owner.as_ref(), &message.origin.path) else {
                continue;
            };
            let whole = message.grade.is_whole();
            let better = known
                .copies
                .get(&key)
                .is_none_or(|copy| whole && !copy.whole);
            if wanted.contains(&key) && better {
                let place = format!("{}:{}", message.origin.device, message.origin.path);
                known.copies.insert(key, Copy { place, whole });
            }
        }
        Ok(known)
    }

    /// What a message shares with another one of its account that is not the same.
    pub(crate) fn likeness<'m>(&self, message: &'m Message) -> Option<&'m str> {
        let key = likeness_key(message)?;
        let is_alike = self.alike.contains(&key);
        message
            .likeness
            .as_ref()
            .filter(|_| is_alike)
            .map(MessageId::as_str)
    }

    /// Where a message with this file name was found whole in the same account.
    fn whole_copy(&self, owner: Option<&Owner>, path: &str) -> Option<&str> {
        let copy = self.copies.get(&name_key(owner, path)?)?;
        copy.whole.then_some(copy.place.as_str())
    }

    /// Whether a message that an index lists was found under its name, wherever in the account.
    pub(crate) fn found_elsewhere(&self, owner: Option<&Owner>, name: &str) -> bool {
        name_key(owner, name).is_some_and(|key| self.copies.contains_key(&key))
    }
}

/// The file names that more than one record may be about, and what several messages share; `states`
/// learns what was found in former states.
fn wanted_names(
    case: &Case,
    states: &mut States,
) -> Result<(HashSet<Key>, HashSet<Key>), ReportError> {
    let mut wanted = HashSet::new();
    // Of each likeness the first message: another one makes it known.
    let mut first: HashMap<Key, Key> = HashMap::new();
    let mut alike = HashSet::new();
    for record in records(case)? {
        match record? {
            Record::Message(message) => {
                states.expect(&place_of(message.owner.as_ref()), &message);
                if let Some(key) = likeness_key(&message) {
                    let id = Key::of(&[message.normalised().as_str()]);
                    if *first.entry(key).or_insert(id) != id {
                        alike.insert(key);
                    }
                }
                if !message.grade.is_whole() {
                    wanted.extend(name_key(message.owner.as_ref(), &message.origin.path));
                }
            }
            Record::Lost(note) => wanted.extend(name_key(note.owner.as_ref(), &note.path)),
            Record::Folder(folder) => {
                let owner = folder.owner.as_ref();
                let names = folder.listed_but_gone.iter();
                wanted.extend(names.filter_map(|name| name_key(owner, name)));
            }
            Record::Rejected(_) | Record::Loss(_) => {}
        }
    }
    Ok((wanted, alike))
}

/// The key of what a message may share with others of its account. Mail of unknown owners may be of
/// several people, each of whom has a copy.
fn likeness_key(message: &Message) -> Option<Key> {
    let account = message.owner.as_ref()?.account.to_string();
    let likeness = message.likeness.as_ref()?;
    Some(Key::of(&["likeness", &account, likeness.as_str()]))
}

/// The key of a file's name within its account. Mail of unknown owners may be of several people,
/// so there a name proves nothing.
fn name_key(owner: Option<&Owner>, path: &str) -> Option<Key> {
    let (base, _) = server_name(path)?;
    Some(Key::of(&["name", &owner?.account.to_string(), base]))
}

/// A judged find.
#[derive(Debug)]
pub(crate) struct Sorted<'a> {
    pub(crate) status: Status,
    /// What the ledger says of it.
    pub(crate) handed: Option<Outcome>,
    /// Where the same message was found before or in better shape.
    pub(crate) copy: Option<&'a str>,
    /// Whether the account has a copy of it that came on another way.
    pub(crate) is_alike: bool,
}

/// Judges finds one after the other; those that come again are duplicates.
pub(crate) struct Sorter<'a> {
    known: &'a Known,
    seen: HashSet<Key>,
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(known: &'a Known) -> Self {
        Self {
            known,
            seen: HashSet::new(),
        }
    }

    /// Judges a message of `place`. It is the same as an earlier one if it would be handed over
    /// under the same name into the same folder, or if a better state has it.
    pub(crate) fn message(&mut self, place: &Place, message: &Message) -> Sorted<'a> {
        let (folder, name) = destination(place, message);
        let key = Key::of(&[&name_of(place), &folder, &name]);
        let whole = message.grade.is_whole();
        let superseded = self.known.states.is_superseded(place, message);
        let status = match (!superseded && self.seen.insert(key), whole) {
            (false, _) => Status::Duplicate,
            (true, true) => Status::Whole,
            (true, false) => Status::Damaged,
        };
        let copy = if whole {
            None
        } else {
            let path = &message.origin.path;
            self.known.whole_copy(message.owner.as_ref(), path)
        };
        Sorted {
            status,
            handed: self.known.handed.outcome(key),
            copy,
            is_alike: self.known.likeness(message).is_some(),
        }
    }

    /// Judges a message of which nothing could be had at its place: it is lost, unless it was
    /// found somewhere else in the account, or counted as lost before.
    pub(crate) fn lost(&mut self, note: &FileNote) -> Sorted<'a> {
        let key = name_key(note.owner.as_ref(), &note.path);
        let copy = key.and_then(|key| self.known.copies.get(&key));
        let again = key.is_some_and(|key| !self.seen.insert(key));
        Sorted {
            status: if copy.is_some() || again {
                Status::Duplicate
            } else {
                Status::Lost
            },
            handed: None,
            copy: copy.map(|copy| copy.place.as_str()),
            is_alike: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_server_makes_unique_are_trusted() {
        assert_eq!(
            server_name("/v/cur/1402992550.M1P2.mx,S=5,W=6:2,S"),
            Some(("1402992550.M1P2.mx,S=5,W=6", 1_402_992_550))
        );
        for path in [
            "/v/cur/12.a.b",
            "message",
            "",
            "/v/cur/1402992550.x",
            "99999999999.a.b",
            "123456789\u{fc}.a.b",
        ] {
            assert_eq!(server_name(path), None, "{path}");
        }
    }

    #[test]
    fn keys_tell_apart_where_one_text_ends() {
        assert_ne!(Key::of(&["ab", "c"]), Key::of(&["a", "bc"]));
        assert_eq!(Key::of(&["ab", "c"]), Key::of(&["ab", "c"]));
    }
}
