//! Adding up one account.

use std::collections::{BTreeMap, BTreeSet};

use mail::Message;
use mail::account::Owner;
use mail::maildir::RECOVERED;
use mail::record::{FileNote, FolderRecord};
use restore::{Outcome, Place};

use crate::damage::reasons;
use crate::facts::{
    Account, Counts, DamagedMessage, Folder, GoneMessage, HoleFact, LostMessage, Month,
    NearDuplicate, RejectedFile,
};
use crate::sort::{Known, Sorted, Status, name_of, server_name};
use crate::{utf7, words};

/// Statements of evidence kept for an account; a store gives one or two.
const MOST_EVIDENCE: usize = 20;
/// Places kept for a folder; snapshots give one each.
const MOST_PLACES: usize = 20;

/// The sums of one account while its finds go by.
#[derive(Debug, Default)]
pub(crate) struct Adding {
    counts: Counts,
    evidence: BTreeSet<String>,
    used_by_imap: bool,
    dates: Dates,
    /// By name, and for unknown owners by place.
    folders: BTreeMap<(String, String), AddingFolder>,
    months: BTreeMap<String, Month>,
    damaged: Vec<(i64, DamagedMessage)>,
    lost: Vec<LostMessage>,
    rejected: Vec<RejectedFile>,
    gone: BTreeSet<GoneMessage>,
    alike: BTreeSet<NearDuplicate>,
}

#[derive(Debug, Default)]
struct AddingFolder {
    places: BTreeSet<String>,
    whole: u64,
    damaged: u64,
    lost: u64,
    deleted: u64,
    /// What the server's list counts, if nothing else is left of it.
    by_list: Option<u64>,
    gone: u64,
    bytes: u64,
    dates: Dates,
}

/// The first and the last time.
#[derive(Clone, Copy, Debug, Default)]
struct Dates(Option<(i64, i64)>);

/// When a message of which nothing is left was delivered: by its inode, or by the time that the
/// server put into its name.
pub(crate) fn delivered(note: &FileNote) -> Option<i64> {
    note.delivered
        .map(|time| time.seconds)
        .or_else(|| server_name(&note.path).map(|(_, seconds)| seconds))
}

impl Dates {
    fn add(&mut self, seconds: i64) {
        let (first, last) = self.0.unwrap_or((seconds, seconds));
        self.0 = Some((first.min(seconds), last.max(seconds)));
    }

    fn first(self) -> Option<String> {
        self.0.map(|(first, _)| words::iso(first))
    }

    fn last(self) -> Option<String> {
        self.0.map(|(_, last)| words::iso(last))
    }
}

fn bump(count: &mut u64) {
    *count = count.saturating_add(1);
}

impl Adding {
    /// Adds a message.
    pub(crate) fn message(&mut self, message: &Message, sorted: &Sorted<'_>) {
        self.owner(message.owner.as_ref());
        let place = at(&message.origin.device, directory(&message.origin.path));
        let seconds = message.delivered.seconds;
        bump(&mut self.counts.found);
        self.used_by_imap |= is_managed(message);
        let folder = self.folder(message.owner.as_ref(), &message.folder, &place);
        if sorted.status == Status::Duplicate {
            bump(&mut self.counts.duplicates);
            return;
        }
        folder.dates.add(seconds);
        folder.bytes = folder.bytes.saturating_add(message.bytes);
        let whole = sorted.status == Status::Whole;
        bump(if whole {
            &mut folder.whole
        } else {
            &mut folder.damaged
        });
        if message.is_deleted() {
            bump(&mut folder.deleted);
            bump(&mut self.counts.deleted);
        } else if message.snapshot().is_some() {
            bump(&mut self.counts.in_snapshots);
        }
        let month = self.month(Some(seconds));
        bump(if whole {
            &mut month.whole
        } else {
            &mut month.damaged
        });
        self.dates.add(seconds);
        let counts = &mut self.counts;
        bump(&mut counts.expected);
        let (count, bytes) = if whole {
            (&mut counts.whole, &mut counts.whole_bytes)
        } else {
            (&mut counts.damaged, &mut counts.damaged_bytes)
        };
        bump(count);
        *bytes = bytes.saturating_add(message.bytes);
        bump(match sorted.handed {
            Some(Outcome::Restored) => &mut counts.handed_over,
            Some(Outcome::AlreadyLive) => &mut counts.already_live,
            None => &mut counts.waiting,
        });
        if let Some(likeness) = message
            .likeness
            .as_ref()
            .filter(|_| whole && sorted.is_alike)
        {
            bump(&mut self.counts.near_duplicates);
            self.alike.insert(NearDuplicate {
                likeness: likeness.to_string(),
                id: message.id.to_string(),
                folder: message.folder.clone(),
                delivered: words::iso(seconds),
                subject: message.summary.subject.clone(),
            });
        }
        if !whole {
            self.damaged.push((seconds, damaged(message, sorted.copy)));
        }
    }

    /// Adds a message of which nothing could be had.
    pub(crate) fn lost(&mut self, note: &FileNote, sorted: &Sorted<'_>) {
        self.owner(note.owner.as_ref());
        bump(&mut self.counts.found);
        let place = at(&note.device, directory(&note.path));
        let folder = self.folder(note.owner.as_ref(), &note.folder, &place);
        if sorted.status == Status::Duplicate {
            bump(&mut self.counts.duplicates);
            return;
        }
        bump(&mut folder.lost);
        let delivered = delivered(note);
        bump(&mut self.month(delivered).lost);
        bump(&mut self.counts.expected);
        bump(&mut self.counts.lost);
        if note.is_encrypted {
            bump(&mut self.counts.encrypted);
        }
        self.lost.push(LostMessage {
            folder: note.folder.clone(),
            delivered: delivered.map(words::iso),
            bytes: note.bytes,
            device: note.device.clone(),
            path: note.path.clone(),
            why: note.why.clone(),
        });
    }

    /// Adds a file that is no message.
    pub(crate) fn rejected(&mut self, note: &FileNote) {
        self.owner(note.owner.as_ref());
        bump(&mut self.counts.found);
        bump(&mut self.counts.rejected);
        self.rejected.push(RejectedFile {
            folder: note.folder.clone(),
            device: note.device.clone(),
            path: note.path.clone(),
            why: note.why.clone(),
        });
    }

    /// Adds what a folder's own index says.
    pub(crate) fn folder_record(&mut self, record: &FolderRecord, known: &Known) {
        self.owner(record.owner.as_ref());
        let place = at(&record.device, &record.path);
        let owner = record.owner.as_ref();
        let folder = self.folder(owner, &record.folder, &place);
        if record.path.ends_with("/dovecot.list.index.log") {
            folder.by_list = folder.by_list.max(record.listed);
        }
        for name in &record.listed_but_gone {
            if known.found_elsewhere(owner, name) {
                continue;
            }
            let new = self.gone.insert(GoneMessage {
                folder: record.folder.clone(),
                name: name.clone(),
                delivered: server_name(name).map(|(_, seconds)| words::iso(seconds)),
            });
            if new {
                bump(&mut self.counts.listed_but_gone);
                bump(&mut self.folder(owner, &record.folder, &place).gone);
            }
        }
    }

    fn owner(&mut self, owner: Option<&Owner>) {
        if let Some(owner) = owner
            && self.evidence.len() < MOST_EVIDENCE
            && !self.evidence.contains(&owner.evidence)
        {
            self.evidence.insert(owner.evidence.clone());
        }
    }

    fn folder(&mut self, owner: Option<&Owner>, name: &str, place: &str) -> &mut AddingFolder {
        let apart = if owner.is_some() { "" } else { place };
        let key = (name.to_owned(), apart.to_owned());
        let folder = self.folders.entry(key).or_default();
        if folder.places.len() < MOST_PLACES && !folder.places.contains(place) {
            folder.places.insert(place.to_owned());
        }
        folder
    }

    fn month(&mut self, seconds: Option<i64>) -> &mut Month {
        let month = seconds
            .and_then(words::month)
            .unwrap_or_else(|| "undated".to_owned());
        self.months.entry(month.clone()).or_insert_with(|| Month {
            month,
            ..Month::default()
        })
    }

    /// The account with everything in order.
    pub(crate) fn finish(mut self, place: &Place, known: &Known) -> Account {
        self.damaged.sort_by(|(a_time, a), (b_time, b)| {
            (&a.folder, a_time, &a.device, &a.path).cmp(&(&b.folder, b_time, &b.device, &b.path))
        });
        self.lost
            .sort_by(|a, b| (&a.folder, &a.device, &a.path).cmp(&(&b.folder, &b.device, &b.path)));
        self.rejected
            .sort_by(|a, b| (&a.folder, &a.device, &a.path).cmp(&(&b.folder, &b.device, &b.path)));
        Account {
            address: name_of(place),
            evidence: self.evidence.into_iter().collect(),
            used_by_imap: self.used_by_imap,
            counts: self.counts,
            first_delivered: self.dates.first(),
            last_delivered: self.dates.last(),
            last_handed_over: known.handed.last(place),
            folders: self.folders.into_iter().map(folder).collect(),
            months: self.months.into_values().collect(),
            damaged_messages: self.damaged.into_iter().map(|(_, one)| one).collect(),
            lost_messages: self.lost,
            rejected_files: self.rejected,
            gone_messages: self.gone.into_iter().collect(),
            near_duplicate_messages: self.alike.into_iter().collect(),
        }
    }
}

fn folder(((name, _), sums): ((String, String), AddingFolder)) -> Folder {
    Folder {
        shown: utf7::decode(&name),
        name,
        places: sums.places.into_iter().collect(),
        expected: sums
            .whole
            .saturating_add(sums.damaged)
            .saturating_add(sums.lost),
        whole: sums.whole,
        damaged: sums.damaged,
        lost: sums.lost,
        deleted: sums.deleted,
        // A snapshot or another state may have what is lost here.
        counted_by_list: sums.by_list.filter(|_| {
            sums.whole
                .saturating_add(sums.damaged)
                .saturating_add(sums.lost)
                == 0
        }),
        listed_but_gone: sums.gone,
        bytes: sums.bytes,
        first_delivered: sums.dates.first(),
        last_delivered: sums.dates.last(),
    }
}

/// Whether a mail program did something to the message on the server.
fn is_managed(message: &Message) -> bool {
    // Reading sets S, which POP3 servers do as well.
    let letters = message.flags.letters();
    letters.contains(|letter| "RFDP".contains(letter))
        || !message.keywords.is_empty()
        || (message.folder != "INBOX" && message.folder != RECOVERED)
}

fn damaged(message: &Message, whole_copy: Option<&str>) -> DamagedMessage {
    DamagedMessage {
        folder: message.folder.clone(),
        delivered: words::iso(message.delivered.seconds),
        from: message.summary.from.clone(),
        subject: message.summary.subject.clone(),
        date: message.summary.date.map(words::iso),
        bytes: message.bytes,
        grade: message.grade.name().to_owned(),
        state: message.state(),
        contradictions: message.contradictions.clone(),
        broken_parts: message.broken_parts.clone(),
        holes: message.holes.iter().map(HoleFact::from).collect(),
        reasons: reasons(message),
        device: message.origin.device.clone(),
        path: message.origin.path.clone(),
        id: message.id.to_string(),
        whole_copy: whole_copy.map(str::to_owned),
    }
}

/// The directory of the folder that a message's file is in: `/v/ada` of `/v/ada/cur/x`.
fn directory(path: &str) -> &str {
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    ["/cur", "/new", "/tmp"]
        .iter()
        .find_map(|name| above.strip_suffix(name))
        .unwrap_or(above)
}

/// A place as device and path.
fn at(device: &str, path: &str) -> String {
    format!("{device}:{path}")
}
