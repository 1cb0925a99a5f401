//! Deciding what to add to an account, without touching a disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mail::{Grade, Message};
use serde::Serialize;

use crate::maildir::Live;
use crate::states::{States, rank};
use crate::{Entry, Ledger, Outcome, Place};

/// The name of the folder that everything is restored into, below the mailbox.
const TOP: &str = ".restored_emails";
/// The name of the folder below it for damaged messages.
const DAMAGED: &str = "Damaged";
/// Bytes that a directory's name may have on every file system of today.
const MAX_NAME: usize = 255;
/// A folder has letters for so many keywords.
const MAX_KEYWORDS: usize = 26;

/// What is to be done for one account.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// What is to be added, by directory below the Maildir.
    pub folders: BTreeMap<String, FolderPlan<'a>>,
    /// What the ledger learns without anything being written: messages that were met at the
    /// target and not noted before.
    pub notes: Vec<Entry>,
    /// Where the messages went.
    pub counts: Counts,
    /// The same by the directory that they belong into.
    pub by_folder: BTreeMap<String, Counts>,
}

/// What is to be added to one folder.
#[derive(Clone, Debug, Default)]
pub struct FolderPlan<'a> {
    /// The messages, in the order of their names.
    pub adds: Vec<Add<'a>>,
    /// The keywords of all messages of the folder, those already there included, sorted.
    pub keywords: Vec<String>,
}

/// One message that is to be added.
#[derive(Clone, Debug)]
pub struct Add<'a> {
    /// The file name up to its flags.
    pub name: String,
    /// The message.
    pub message: &'a Message,
}

/// Where the messages of an account went. Their sum is the number of messages found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// To be added, whole.
    pub whole: u64,
    /// To be added to the folder of damaged messages.
    pub damaged: u64,
    /// Restored by an earlier run, and still where it was put.
    pub already_restored: u64,
    /// Restored by an earlier run, and moved or deleted by the user since.
    pub moved_or_deleted: u64,
    /// The account has it already, outside `restored_emails`.
    pub already_live: u64,
    /// Found more than once: the same message in the same folder with the same time, or in a
    /// better state of the account.
    pub duplicates: u64,
    /// Left out: the mailbox has no room for all that is to be added.
    pub no_room: u64,
}

impl Counts {
    /// All messages.
    pub const fn total(&self) -> u64 {
        self.whole
            .saturating_add(self.damaged)
            .saturating_add(self.already_restored)
            .saturating_add(self.moved_or_deleted)
            .saturating_add(self.already_live)
            .saturating_add(self.duplicates)
            .saturating_add(self.no_room)
    }

    /// Adds the counts of another account.
    pub const fn add(&mut self, other: &Self) {
        self.whole = self.whole.saturating_add(other.whole);
        self.damaged = self.damaged.saturating_add(other.damaged);
        self.already_restored = self.already_restored.saturating_add(other.already_restored);
        self.moved_or_deleted = self.moved_or_deleted.saturating_add(other.moved_or_deleted);
        self.already_live = self.already_live.saturating_add(other.already_live);
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.no_room = self.no_room.saturating_add(other.no_room);
    }

    /// Leaves out what was to be added.
    pub const fn withhold(&mut self) {
        let adds = self.whole.saturating_add(self.damaged);
        self.no_room = self.no_room.saturating_add(adds);
        (self.whole, self.damaged) = (0, 0);
    }
}

impl Plan<'_> {
    /// How many bytes and files this writes.
    pub fn size(&self) -> (u64, u64) {
        self.folders
            .values()
            .flat_map(|folder| &folder.adds)
            .fold((0, 0), |(bytes, files), add| {
                (bytes + add.message.bytes, files + 1)
            })
    }

    /// Leaves out all that was to be added, because the mailbox has no room for it. A part would
    /// fill it up, and the server would refuse the mail that arrives.
    pub fn withhold(&mut self) {
        self.folders.clear();
        self.counts.withhold();
        for counts in self.by_folder.values_mut() {
            counts.withhold();
        }
    }

    /// Counts a message that belongs into `folder`.
    fn count(&mut self, folder: &str, field: fn(&mut Counts) -> &mut u64) {
        *field(&mut self.counts) += 1;
        *field(self.by_folder.entry(folder.to_owned()).or_default()) += 1;
    }
}

/// Decides what to do with `messages`, all of which belong to `place`.
///
/// The outcome depends on the set of messages, not on their order.
pub fn plan<'a>(
    place: &Place,
    messages: impl IntoIterator<Item = &'a Message>,
    live: &Live,
    ledger: &Ledger,
) -> Plan<'a> {
    let mut plan = Plan::default();
    let messages: Vec<&Message> = messages.into_iter().collect();
    let states = States::of(place, messages.iter().copied());
    let mut wanted: BTreeMap<(String, String), &Message> = BTreeMap::new();
    let mut keywords: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for message in messages {
        let (folder, name) = destination(place, message);
        if states.is_superseded(place, message) {
            plan.count(&folder, |counts| &mut counts.duplicates);
            continue;
        }
        let known = keywords.entry(folder.clone()).or_default();
        known.extend(message.keywords.iter().map(String::as_str));
        match wanted.entry((folder.clone(), name)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(message);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => {
                // The same message, found twice: the origin that sorts first is kept.
                let origin = |m: &'a Message| (rank(m), &m.origin.device, &m.origin.path, &m.flags);
                if origin(message) < origin(taken.get()) {
                    taken.insert(message);
                }
                plan.count(&folder, |counts| &mut counts.duplicates);
            }
        }
    }
    let known = Known {
        live,
        ledger,
        strays: strays(&wanted, live, ledger),
    };
    decide(&mut plan, wanted, known);
    for (folder, contents) in &mut plan.folders {
        let all = keywords.remove(folder).unwrap_or_default();
        contents.keywords = all
            .into_iter()
            .take(MAX_KEYWORDS)
            .map(str::to_owned)
            .collect();
    }
    plan
}

/// Where a message of `place` goes: the directory below the Maildir, and the file name up to its
/// flags. Two finds with one destination are the same message; the ledger names it so too.
pub fn destination(place: &Place, message: &Message) -> (String, String) {
    (folder_directory(place, message), file_name(message))
}

/// The folders that mail was or will be restored into and that were never subscribed: after that
/// they are the user's to unsubscribe. A run that was killed leaves some to the next one.
pub(crate) fn to_subscribe(plan: &Plan<'_>, ledger: &Ledger) -> BTreeSet<String> {
    plan.folders
        .keys()
        .map(String::as_str)
        .chain(ledger.restored().map(|(folder, _)| folder))
        .filter(|folder| !ledger.was_subscribed(folder))
        .map(str::to_owned)
        .collect()
}

/// What is known of an account before anything is decided.
struct Known<'k> {
    live: &'k Live,
    ledger: &'k Ledger,
    /// How many files of a name lie where nothing was put.
    strays: HashMap<&'k str, usize>,
}

/// The restored files, by name, that lie in a folder of `restored_emails` into which no message of
/// that name belongs, and that the ledger does not know as moved: users moved them there from a
/// folder that one belongs into. A message that belongs into several folders is no stray in them.
fn strays<'k>(
    wanted: &BTreeMap<(String, String), &Message>,
    live: &'k Live,
    ledger: &Ledger,
) -> HashMap<&'k str, usize> {
    let mut strays: HashMap<&str, usize> = HashMap::new();
    for (folder, name) in live.restored() {
        if !wanted.contains_key(&(folder.to_owned(), name.to_owned())) {
            let count = strays.entry(name).or_default();
            *count = count.saturating_add(1);
        }
    }
    for (folder, name) in ledger.restored() {
        if !live.has_restored(folder, name)
            && let Some(count) = strays.get_mut(name)
        {
            *count = count.saturating_sub(1);
        }
    }
    strays
}

impl Known<'_> {
    /// Takes one of the files called `name` that lie where nothing was put.
    fn take_stray(&mut self, name: &str) -> bool {
        match self.strays.get_mut(name) {
            Some(count) if *count > 0 => {
                *count = count.saturating_sub(1);
                true
            }
            _ => false,
        }
    }
}

fn decide<'a>(
    plan: &mut Plan<'a>,
    wanted: BTreeMap<(String, String), &'a Message>,
    mut known: Known<'_>,
) {
    for ((folder, name), message) in wanted {
        let there = known.live.has_restored(&folder, &name);
        let note = |outcome| Entry::now(&folder, &name, message.id.as_str(), outcome);
        match known.ledger.outcome(&folder, &name) {
            Some(Outcome::Restored) if there => plan.count(&folder, |c| &mut c.already_restored),
            Some(Outcome::Restored) => plan.count(&folder, |c| &mut c.moved_or_deleted),
            Some(Outcome::AlreadyLive) => plan.count(&folder, |c| &mut c.already_live),
            None if there => {
                plan.count(&folder, |c| &mut c.already_restored);
                plan.notes.push(note(Outcome::Restored));
            }
            None if known.take_stray(&name) => {
                plan.count(&folder, |c| &mut c.moved_or_deleted);
                plan.notes.push(note(Outcome::Restored));
            }
            None if known.live.has_message(message.normalised()) => {
                plan.count(&folder, |c| &mut c.already_live);
                plan.notes.push(note(Outcome::AlreadyLive));
            }
            None => {
                if message.grade.is_whole() {
                    plan.count(&folder, |c| &mut c.whole);
                } else {
                    plan.count(&folder, |c| &mut c.damaged);
                }
                let contents = plan.folders.entry(folder).or_default();
                contents.adds.push(Add { name, message });
            }
        }
    }
}

/// The name of the restored file up to its flags: the same whenever the same message is found.
fn file_name(message: &Message) -> String {
    format!(
        "{}.R{}.restante,S={},W={}",
        message.delivered.seconds.max(0),
        message.id.short(),
        message.bytes,
        message.virtual_bytes,
    )
}

/// The directory, below the Maildir, that a message is restored into; empty for the Maildir itself.
fn folder_directory(place: &Place, message: &Message) -> String {
    let whole = matches!(message.grade, Grade::Proven | Grade::Complete);
    match (place, whole) {
        (Place::Unattributed, true) => String::new(),
        (Place::Unattributed, false) => format!(".{DAMAGED}"),
        (Place::Account(_), false) => format!("{TOP}.{DAMAGED}"),
        (Place::Account(_), true) if message.folder == "INBOX" => TOP.to_owned(),
        (Place::Account(_), true) => bounded(format!("{TOP}.{}", levels(&message.folder))),
    }
}

/// The levels of a folder's name, each safe as a part of a directory name.
fn levels(folder: &str) -> String {
    let levels: Vec<String> = folder
        .split('.')
        .enumerate()
        .map(|(depth, level)| safe_level(level, depth == 0))
        .collect();
    levels.join(".")
}

/// A level that can be part of a directory name: itself, or what can be read of it with a hash of
/// it behind, so that two levels never become one.
fn safe_level(level: &str, is_first: bool) -> String {
    let mut safe: String = level
        .chars()
        .map(|c| if c.is_control() || c == '/' { '_' } else { c })
        .collect();
    // The user's own folder of that name must not look like ours.
    if safe.is_empty() || (is_first && safe == DAMAGED) {
        safe.insert(0, '_');
    }
    // Nor may a name that is as it was look like one that was changed.
    if safe == level && !has_hash(level) {
        return safe;
    }
    format!("{safe}{}", hash_tail(level, 8))
}

/// A name no longer than file systems take; what is cut off is told apart by a hash.
fn bounded(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    let tail = hash_tail(&name, 16);
    let mut end = MAX_NAME.saturating_sub(tail.len());
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}{tail}", name.get(..end).unwrap_or_default())
}

/// What is put behind a name that had to be changed: `~` and `digits` digits of its BLAKE3.
fn hash_tail(name: &str, digits: usize) -> String {
    let digest = blake3::hash(name.as_bytes()).to_hex();
    format!("~{}", digest.get(..digits).unwrap_or_default())
}

/// Whether a name ends as one that had to be changed.
fn has_hash(name: &str) -> bool {
    name.rsplit_once('~').is_some_and(|(_, tail)| {
        matches!(tail.len(), 8 | 16)
            && tail
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::tests::message;
    use std::path::Path;

    fn ada() -> Place {
        Place::Account(mail::Address::parse("ada@lindenhof.example").unwrap())
    }

    fn ledger(dir: &Path) -> Ledger {
        Ledger::open(dir, "target", &ada()).unwrap()
    }

    #[test]
    fn folders_of_the_user_never_look_like_ours() {
        let mut own = message(b"a", "Damaged.2014");
        let directory = |m: &Message| folder_directory(&ada(), m);
        let mark = |name: &str| format!(".restored_emails.{name}");
        let first = hash_tail("Damaged", 8);
        assert_eq!(directory(&own), mark(&format!("_Damaged{first}.2014")));
        for (folder, want) in [
            ("INBOX", ".restored_emails"),
            ("Entw&APw-rfe", ".restored_emails.Entw&APw-rfe"),
            ("_Damaged", ".restored_emails._Damaged"),
            ("a.Damaged", ".restored_emails.a.Damaged"),
            ("a..b", &mark(&format!("a._{}.b", hash_tail("", 8)))),
            ("x/y", &mark(&format!("x_y{}", hash_tail("x/y", 8)))),
            ("../../etc", ""),
        ] {
            own.folder = folder.to_owned();
            let got = directory(&own);
            assert!(!got.contains('/'), "{got}");
            if folder != "../../etc" {
                assert_eq!(got, want);
            }
        }
        own.folder = "\u{fc}".repeat(400);
        assert!(directory(&own).len() <= MAX_NAME);
        own.grade = Grade::Damaged;
        assert_eq!(directory(&own), ".restored_emails.Damaged");
        assert_eq!(folder_directory(&Place::Unattributed, &own), ".Damaged");
    }

    #[test]
    fn two_folders_never_become_one() {
        let changed = levels("Damaged");
        let cut = |end: &str| bounded(format!("{}{end}", "u".repeat(400)));
        let names = [
            "Damaged", "_Damaged", &changed, "x/y", "x_y", "x\ty", "a..b", "a._.b", "a.\0.b", "",
            "_", "./", "_._",
        ];
        let all: BTreeSet<String> = names.iter().map(|name| levels(name)).collect();
        assert_eq!(all.len(), names.len(), "{all:?}");
        assert!(all.iter().all(|name| !name.contains(['/', '\0', '\t'])));
        assert_ne!(cut("a"), cut("b"));
    }

    #[test]
    fn without_a_ledger_a_message_is_still_known_in_the_folder_it_was_moved_to() {
        let dir = tempfile::tempdir().unwrap();
        let (inbox, sent) = (message(b"a", "INBOX"), message(b"a", "Sent"));
        let name = file_name(&inbox);
        assert_eq!(name, file_name(&sent));
        let kept = format!("{TOP}.Kept");
        let book = ledger(dir.path());
        // Moved out of its folder: it is not added again.
        let mut live = Live::default();
        live.add_restored(&kept, name.clone());
        let one = plan(&ada(), [&inbox], &live, &book);
        assert_eq!((one.counts.moved_or_deleted, one.notes.len()), (1, 1));
        assert!(one.folders.is_empty());
        // One file accounts for one folder that it belongs into.
        let two = plan(&ada(), [&inbox, &sent], &live, &book);
        assert_eq!((two.counts.moved_or_deleted, two.counts.whole), (1, 1));
        // Where it belongs it is no sign of a move, and after a kill the other one follows.
        let mut live = Live::default();
        live.add_restored(TOP, name.clone());
        let rest = plan(&ada(), [&inbox, &sent], &live, &book);
        assert_eq!((rest.counts.already_restored, rest.counts.whole), (1, 1));
        let first = plan(&ada(), [&inbox, &sent], &Live::default(), &book);
        assert_eq!(first.counts.whole, 2);
        // A move that the ledger knows of says nothing about the other folder.
        let mut book = book;
        let entry = Entry::now(TOP, &name, inbox.id.as_str(), Outcome::Restored);
        book.append(vec![entry]).unwrap();
        let mut live = Live::default();
        live.add_restored(&kept, name);
        let known = plan(&ada(), [&inbox, &sent], &live, &book);
        assert_eq!((known.counts.moved_or_deleted, known.counts.whole), (1, 1));
    }

    #[test]
    fn every_message_is_counted_once_and_order_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (message(b"a", "INBOX"), message(b"b", "INBOX"));
        let mut copy = a.clone();
        copy.origin.path = "/other".to_owned();
        let moved = message(b"a", "Archive");
        let live = Live::default();
        let ledger = ledger(dir.path());
        let all = [&b, &copy, &a, &moved];
        let one = plan(&ada(), all, &live, &ledger);
        let two = plan(&ada(), all.into_iter().rev(), &live, &ledger);
        assert_eq!(one.counts.total(), 4);
        assert_eq!((one.counts.whole, one.counts.duplicates), (3, 1));
        let names = |p: &Plan<'_>| -> Vec<(String, String)> {
            p.folders
                .values()
                .flat_map(|f| &f.adds)
                .map(|add| (add.name.clone(), add.message.origin.path.clone()))
                .collect()
        };
        assert_eq!(names(&one), names(&two));
        assert_eq!(one.size(), (3, 3));
    }

    #[test]
    fn what_the_ledger_or_the_account_has_is_not_added_again() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, c) = (
            message(b"a", "INBOX"),
            message(b"b", "INBOX"),
            message(b"c\r\n", "INBOX"),
        );
        let mut book = ledger(dir.path());
        book.append(vec![Entry::now(
            TOP,
            &file_name(&a),
            "a",
            Outcome::Restored,
        )])
        .unwrap();
        let mut live = Live::default();
        live.add_restored(TOP, file_name(&b));
        live.add_message(mail::MessageId::of(b"c\n"));
        let plan = plan(&ada(), [&a, &b, &c], &live, &book);
        assert!(plan.folders.is_empty());
        let want = Counts {
            moved_or_deleted: 1,
            already_restored: 1,
            already_live: 1,
            ..Counts::default()
        };
        assert_eq!(plan.counts, want);
        assert_eq!(plan.notes.len(), 2);
    }
}
