//! What the page shows of one account.

use serde::Serialize;

use super::answers::{Answer, Outlook, answers, day, minute};
use super::chart::{Bar, Chart};
use crate::facts::{
    Account, DamagedMessage, Folder, GoneMessage, LostMessage, NearDuplicate, RejectedFile,
};
use crate::utf7;
use crate::words::{bytes, number};

/// Details listed on the whole page, roughly: a browser must still open it.
const MOST_DETAILS: usize = 20_000;

/// How many details of a kind are listed for each of `accounts`.
pub(super) fn limit(accounts: usize) -> usize {
    MOST_DETAILS
        .checked_div(accounts)
        .map_or(500, |most| most.clamp(10, 500))
}

/// A list that may be cut.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    /// How many there are, as text.
    pub(super) count: String,
    pub(super) items: Vec<T>,
    /// How many were cut off, as text; empty if none.
    pub(super) more: String,
}

impl<T> Listed<T> {
    /// The first `limit` of `all`.
    pub(super) fn new<S>(all: &[S], limit: usize, show: impl FnMut(&S) -> T) -> Self {
        let more = all.len().saturating_sub(limit);
        Self {
            count: number(all.len() as u64),
            items: all.iter().take(limit).map(show).collect(),
            more: match more {
                0 => String::new(),
                _ => number(more as u64),
            },
        }
    }
}

/// One account.
#[derive(Debug, Serialize)]
pub(super) struct AccountView {
    id: usize,
    address: String,
    unattributed: bool,
    evidence: Vec<String>,
    bar: Option<Bar>,
    answers: [Answer; 4],
    chart: Option<Chart>,
    undated: String,
    duplicates: String,
    folders: Vec<FolderView>,
    damaged: Listed<DamagedView>,
    lost: Listed<NoteView>,
    rejected: Listed<NoteView>,
    gone: Listed<NoteView>,
    alike: Listed<AlikeView>,
    /// The page of the account alone, from here; nothing on that page itself.
    page: Option<String>,
    /// Where the rest of a list that was cut is.
    rest: &'static str,
}

/// A folder's name as it is shown and as it is stored.
#[derive(Debug, Serialize)]
pub(super) struct NameView {
    shown: String,
    stored: String,
}

impl NameView {
    fn new(stored: &str) -> Self {
        Self {
            shown: utf7::decode(stored).unwrap_or_else(|| stored.to_owned()),
            stored: stored.to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct FolderView {
    name: NameView,
    places: Vec<String>,
    expected: String,
    whole: String,
    damaged: String,
    lost: String,
    deleted: String,
    gone: String,
    bytes: String,
    dates: String,
}

#[derive(Debug, Serialize)]
struct DamagedView {
    subject: String,
    from: String,
    delivered: String,
    folder: NameView,
    bytes: String,
    grade: String,
    state: String,
    reasons: Vec<String>,
    whole_copy: Option<String>,
    place: String,
    id: String,
}

/// A message of which there is another copy that came on another way.
#[derive(Debug, Serialize)]
struct AlikeView {
    subject: String,
    delivered: String,
    folder: NameView,
    id: String,
}

/// Something with a path and a reason.
#[derive(Debug, Serialize)]
struct NoteView {
    folder: NameView,
    delivered: String,
    place: String,
    why: String,
}

impl AccountView {
    pub(super) fn new(id: usize, account: &Account, limit: usize, outlook: Outlook) -> Self {
        let undated = account
            .months
            .iter()
            .filter(|month| month.month == "undated")
            .map(|month| {
                month
                    .whole
                    .saturating_add(month.damaged)
                    .saturating_add(month.lost)
            })
            .fold(0, u64::saturating_add);
        Self {
            id,
            address: account.address.clone(),
            unattributed: account.is_unattributed(),
            evidence: account.evidence.clone(),
            bar: Bar::new(&account.counts),
            answers: answers(account, outlook),
            chart: Chart::new(&account.months),
            undated: some(undated),
            duplicates: some(account.counts.duplicates),
            folders: account.folders.iter().map(FolderView::new).collect(),
            damaged: Listed::new(&account.damaged_messages, limit, DamagedView::new),
            lost: Listed::new(&account.lost_messages, limit, NoteView::lost),
            rejected: Listed::new(&account.rejected_files, limit, NoteView::rejected),
            gone: Listed::new(&account.gone_messages, limit, NoteView::gone),
            alike: Listed::new(&account.near_duplicate_messages, limit, AlikeView::new),
            page: owners_page(&account.address),
            rest: "are in messages.csv and report.json",
        }
    }

    /// The account as its owner sees it: without where on the disks things lie.
    pub(super) fn for_owner(account: &Account, outlook: Outlook) -> Self {
        let mut view = Self::new(0, account, MOST_DETAILS, outlook);
        view.rest = "are in the table beside this page";
        view.page = None;
        view.evidence.clear();
        view.rejected = Listed::new(&[], 0, NoteView::rejected);
        for message in &mut view.damaged.items {
            message.place.clear();
        }
        for message in &mut view.alike.items {
            message.id.clear();
        }
        for note in view.lost.items.iter_mut().chain(&mut view.gone.items) {
            note.place.clear();
        }
        view
    }
}

/// Where the page of an account is, beside the page of the case.
fn owners_page(address: &str) -> Option<String> {
    let address = mail::Address::parse(address)?;
    let name = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    let (domain, local) = (name(address.domain()), name(address.local()));
    Some(format!("accounts/{domain}/{local}.html"))
}

/// A number, or nothing for none.
pub(super) fn some(value: u64) -> String {
    match value {
        0 => String::new(),
        _ => number(value),
    }
}

/// From one day to another, as short as it can be said.
pub(super) fn dates(first: Option<&str>, last: Option<&str>) -> String {
    match (first.map(day), last.map(day)) {
        (Some(first), Some(last)) if first == last => first.to_owned(),
        (Some(first), Some(last)) => format!("{first} – {last}"),
        _ => String::new(),
    }
}

impl FolderView {
    fn new(folder: &Folder) -> Self {
        Self {
            name: NameView::new(&folder.name),
            places: folder.places.clone(),
            expected: number(folder.expected),
            whole: number(folder.whole),
            damaged: some(folder.damaged),
            lost: some(folder.lost),
            deleted: some(folder.deleted),
            gone: some(folder.listed_but_gone),
            bytes: bytes(folder.bytes),
            dates: dates(
                folder.first_delivered.as_deref(),
                folder.last_delivered.as_deref(),
            ),
        }
    }
}

impl DamagedView {
    fn new(message: &DamagedMessage) -> Self {
        let or = |text: &str, other: &str| match text {
            "" => other.to_owned(),
            text => text.to_owned(),
        };
        Self {
            subject: or(&message.subject, "(no subject)"),
            from: or(&message.from, "(no sender)"),
            delivered: minute(&message.delivered),
            folder: NameView::new(&message.folder),
            bytes: bytes(message.bytes),
            grade: message.grade.clone(),
            state: message.state.clone(),
            reasons: message.reasons.clone(),
            whole_copy: message.whole_copy.clone(),
            place: format!("{}:{}", message.device, message.path),
            id: message.id.clone(),
        }
    }
}

impl AlikeView {
    fn new(message: &NearDuplicate) -> Self {
        let subject = match message.subject.as_str() {
            "" => "(no subject)",
            subject => subject,
        };
        Self {
            subject: subject.to_owned(),
            delivered: minute(&message.delivered),
            folder: NameView::new(&message.folder),
            id: message.id.clone(),
        }
    }
}

impl NoteView {
    fn lost(note: &LostMessage) -> Self {
        Self {
            folder: NameView::new(&note.folder),
            delivered: note.delivered.as_deref().map(minute).unwrap_or_default(),
            place: format!("{}:{}", note.device, note.path),
            why: note.why.clone(),
        }
    }

    fn rejected(note: &RejectedFile) -> Self {
        Self {
            folder: NameView::new(&note.folder),
            delivered: String::new(),
            place: format!("{}:{}", note.device, note.path),
            why: note.why.clone(),
        }
    }

    fn gone(note: &GoneMessage) -> Self {
        Self {
            folder: NameView::new(&note.folder),
            delivered: note.delivered.as_deref().map(minute).unwrap_or_default(),
            place: note.name.clone(),
            why: String::new(),
        }
    }
}
