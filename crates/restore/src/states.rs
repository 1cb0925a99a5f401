//! One message in several states of its account: in use, in a snapshot, deleted.
//!
//! Each state of a file system is one more tree with the same mail in it. A message is restored
//! once, from the state with the best evidence: in use on the file system that its device holds,
//! then on another one that was left there, then in a snapshot, then without name and folder, then deleted, then
//! among blocks that no file system explains. What is in use twice stays so, in two folders or with two times
//! of delivery, and so does what lies beside it on one device and lost its name; all other finds of it
//! are duplicates.
//! The outcome depends on the set of messages alone, not on their order.

use std::collections::{HashMap, HashSet};

use mail::maildir::MaildirName;
use mail::{Grade, Layer, Message};

use crate::Place;

/// Half of a BLAKE3, which nobody finds twice.
type Key = [u8; 16];

/// Which state a find is of, the better evidence first.
pub(crate) type Rank = u8;
const IN_USE: Rank = 0;
const FURTHER: Rank = 1;
const SNAPSHOT: Rank = 2;
const NAMELESS: Rank = 3;
const DELETED: Rank = 4;
const CARVED: Rank = 5;

/// Which state a find is of: the smaller, the better the evidence.
pub(crate) fn rank(message: &Message) -> Rank {
    match message.layer {
        Layer::Carved => CARVED,
        _ if message.is_deleted() => DELETED,
        _ if message.is_of_no_folder() => NAMELESS,
        Layer::Present => IN_USE,
        Layer::Further => FURTHER,
        Layer::Snapshot(_) => SNAPSHOT,
    }
}

/// The state that a message is taken from: of equal ones the better proven, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Best {
    /// Whole ones come before any other.
    is_damaged: bool,
    rank: Rank,
    grade: std::cmp::Reverse<Grade>,
    /// Bytes that are missing.
    missing: u64,
    device: String,
    /// Of what was deleted one find is kept, not one state of the file system.
    path: String,
}

impl Best {
    fn of(message: &Message) -> Self {
        let rank = rank(message);
        let missing = message.holes.iter().map(|hole| hole.bytes);
        let apart = rank >= DELETED || !message.grade.is_whole();
        Self {
            is_damaged: !message.grade.is_whole(),
            rank,
            grade: std::cmp::Reverse(message.grade),
            missing: missing.fold(0, u64::saturating_add),
            device: message.origin.device.clone(),
            path: if apart {
                message.origin.path.clone()
            } else {
                String::new()
            },
        }
    }
}

/// What is known of messages that were found in more than one state.
#[derive(Clone, Debug, Default)]
pub struct States {
    /// What finds of former states are of: only about these anything is kept.
    former: HashSet<Key>,
    best: HashMap<Key, Best>,
}

impl States {
    /// The states of `messages`, all of which belong to `place`.
    pub fn of<'a>(place: &Place, messages: impl Iterator<Item = &'a Message> + Clone) -> Self {
        let mut states = Self::default();
        for message in messages.clone() {
            states.expect(place, message);
        }
        if states.has_former() {
            for message in messages {
                states.compare(place, message);
            }
        }
        states
    }

    /// Notes what `message` is of, if it was found in a former state. All of them come before any
    /// is compared.
    pub fn expect(&mut self, place: &Place, message: &Message) {
        if rank(message) > IN_USE {
            self.former.extend(keys(place, message));
        }
    }

    /// Whether anything was found in a former state.
    pub fn has_former(&self) -> bool {
        !self.former.is_empty()
    }

    /// Compares `message` with the other finds of it.
    pub fn compare(&mut self, place: &Place, message: &Message) {
        for key in keys(place, message) {
            if !self.former.contains(&key) {
                continue;
            }
            let found = Best::of(message);
            match self.best.entry(key) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(found);
                }
                std::collections::hash_map::Entry::Occupied(mut best) if found < *best.get() => {
                    best.insert(found);
                }
                std::collections::hash_map::Entry::Occupied(_) => {}
            }
        }
    }

    /// Whether another find of `message` is restored instead of this one, since it was found
    /// in a better state.
    pub fn is_superseded(&self, place: &Place, message: &Message) -> bool {
        if rank(message) == IN_USE {
            return false;
        }
        let found = Best::of(message);
        let is_better = |best: &Best| {
            let is_beside = found.rank == NAMELESS && best.device == found.device;
            *best < found && !is_beside
        };
        keys(place, message).any(|key| self.best.get(&key).is_some_and(is_better))
    }
}

/// What a find is known by: its bytes; and if it is damaged, so that its bytes say little, the
/// name that its server gave to it, which a whole find of it bears too.
fn keys(place: &Place, message: &Message) -> impl Iterator<Item = Key> {
    // Mail of unknown owners may be of several people, each of whom has it.
    let account = match place {
        Place::Account(account) => Some(account.to_string()),
        Place::Unattributed => None,
    };
    let name = account.as_deref().and_then(|account| {
        let base = unique_name(&message.origin.path)?;
        Some(key(&["name", account, base]))
    });
    let id = account
        .as_deref()
        .filter(|_| message.grade.is_whole())
        .map(|account| key(&["id", account, message.id.as_str()]));
    id.into_iter().chain(name)
}

/// The name that a server made unique for this message: with the time of delivery, and more behind
/// the second dot.
fn unique_name(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let base = MaildirName::parse(name.as_bytes()).base;
    let base = name.get(..base.len())?;
    let (seconds, rest) = base.split_once('.')?;
    let is_time = (9..=10).contains(&seconds.len()) && seconds.bytes().all(|b| b.is_ascii_digit());
    (is_time && rest.contains('.')).then_some(base)
}

fn key(parts: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::tests::message;
    use filesystem::Standing;
    use mail::Address;

    fn ada() -> Place {
        Place::Account(Address::parse("ada@lindenhof.example").unwrap())
    }

    fn deleted(content: &[u8], folder: &str, path: &str) -> Message {
        let mut message = message(content, folder);
        message.standing = Standing::Deleted;
        message.origin.path = path.to_owned();
        message
    }

    fn in_snapshot(content: &[u8], folder: &str, snapshot: &str) -> Message {
        let mut message = message(content, folder);
        message.layer = Layer::Snapshot(snapshot.to_owned());
        message.origin.device = snapshot.to_owned();
        message
    }

    /// The folders of those that are kept, in any order of finding.
    fn kept(messages: &[Message]) -> Vec<String> {
        let mut all = Vec::new();
        let mut turned: Vec<&Message> = messages.iter().collect();
        for _ in 0..messages.len() {
            turned.rotate_left(1);
            let states = States::of(&ada(), turned.iter().copied());
            let left = messages.iter().filter(|m| !states.is_superseded(&ada(), m));
            all.push(left.map(|m| m.folder.clone()).collect::<Vec<_>>());
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
        all.pop().unwrap_or_default()
    }

    #[test]
    fn what_is_in_use_goes_before_snapshots_and_those_before_what_was_deleted() {
        let gone = deleted(b"a", "Trash", "/1");
        let snap = in_snapshot(b"a", "Archive", "volume:s1");
        let snap_too = in_snapshot(b"a", "INBOX", "volume:s2");
        let used = message(b"a", "INBOX");
        let used_too = message(b"a", "Sent");
        let other = deleted(b"b", "Kept", "/2");
        let all = [gone, snap, snap_too, other, used, used_too];
        assert_eq!(kept(&all), ["Kept", "INBOX", "Sent"]);
        assert_eq!(kept(&all[..4]), ["Archive", "Kept"]);
        assert_eq!(kept(&all[..1]), ["Trash"]);
    }

    #[test]
    fn a_snapshot_keeps_both_of_what_it_holds_twice_and_deleted_ones_are_one() {
        let one = in_snapshot(b"a", "INBOX", "volume:s");
        let two = in_snapshot(b"a", "Archive", "volume:s");
        assert_eq!(kept(&[one, two]), ["INBOX", "Archive"]);
        let mut better = deleted(b"a", "Sent", "/9");
        let mut worse = deleted(b"a", "INBOX", "/1");
        better.grade = Grade::Proven;
        worse.grade = Grade::Complete;
        assert_eq!(kept(&[worse, better]), ["Sent"]);
    }

    #[test]
    fn a_damaged_former_find_of_a_message_that_is_there_whole_is_none_of_its_own() {
        let name = "/v/cur/1402992550.M1P2.mx,S=9:2,S";
        let mut whole = message(b"whole one", "Archive");
        whole.origin.path = name.to_owned();
        let mut part = deleted(b"whole\0\0\0\0", "INBOX", name);
        part.grade = Grade::Damaged;
        assert_eq!(kept(&[part.clone(), whole]), ["Archive"]);
        assert_eq!(kept(std::slice::from_ref(&part)), ["INBOX"]);
        // A whole find of what is damaged in use is not left out for it.
        let mut damaged = message(b"whole", "INBOX");
        damaged.grade = Grade::Damaged;
        damaged.origin.path = name.to_owned();
        let mut whole = deleted(b"whole one", "Kept", name);
        whole.grade = Grade::Complete;
        assert_eq!(kept(&[damaged, whole]), ["INBOX", "Kept"]);
    }

    #[test]
    fn what_lost_its_name_is_none_of_its_own_beside_a_named_find_on_another_device() {
        let mut nameless = message(b"a", "Recovered");
        nameless.origin.path = "/#orphans/#4711".to_owned();
        nameless.origin.device = "group:g".to_owned();
        let named = message(b"a", "INBOX");
        assert_ne!(named.origin.device, nameless.origin.device);
        assert_eq!(kept(&[nameless.clone(), named.clone()]), ["INBOX"]);
        assert_eq!(kept(std::slice::from_ref(&nameless)), ["Recovered"]);
        // On one device they are two files.
        nameless.origin.device.clone_from(&named.origin.device);
        assert_eq!(kept(&[nameless.clone(), named]), ["Recovered", "INBOX"]);
        // Nor is it two where two devices have it so, or beside a snapshot.
        let mut other = nameless.clone();
        other.origin.device = "group:h".to_owned();
        assert_eq!(kept(&[nameless.clone(), other]).len(), 1);
        assert_eq!(
            kept(&[in_snapshot(b"a", "Sent", "volume:s"), nameless]),
            ["Sent"]
        );
    }

    #[test]
    fn of_mail_without_an_owner_nothing_is_left_out() {
        let messages = [message(b"a", "INBOX"), deleted(b"a", "INBOX", "/1")];
        let states = States::of(&Place::Unattributed, messages.iter());
        assert!(
            !messages
                .iter()
                .any(|m| states.is_superseded(&Place::Unattributed, m))
        );
    }
}
