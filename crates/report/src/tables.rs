//! The tables, for spreadsheets: CSV after RFC 4180 in UTF-8.

use std::io::Write;

use case::Case;
use csv::{QuoteStyle, Writer, WriterBuilder};
use mail::Message;
use mail::record::{FileNote, Record};
use restore::Outcome;

use crate::account::delivered;
use crate::damage::reasons;
use crate::facts::{Account, Facts, Folder};
use crate::index::records;
use crate::sort::{Sorted, Sorter, Status, name_of, place_of};
use crate::text::cell;
use crate::write::Failure;
use crate::{utf7, words};

pub(crate) fn writer<W: Write>(out: W) -> Writer<W> {
    WriterBuilder::new()
        .quote_style(QuoteStyle::NonNumeric)
        .from_writer(out)
}

/// Writes a row whose cells are all harmless.
fn row<W: Write>(out: &mut Writer<W>, cells: &[&str]) -> Result<(), Failure> {
    for text in cells {
        out.write_field(cell(text).as_ref())?;
    }
    // An empty record ends the row of fields.
    out.write_record(None::<&[u8]>)?;
    Ok(())
}

/// A row an account.
pub(crate) fn accounts(facts: &Facts, out: impl Write) -> Result<(), Failure> {
    let mut out = writer(out);
    row(
        &mut out,
        &[
            "account",
            "expected",
            "whole",
            "damaged",
            "lost",
            "rejected",
            "duplicates",
            "listed_but_gone",
            "handed_over",
            "already_live",
            "waiting",
            "whole_bytes",
            "damaged_bytes",
            "first_delivered",
            "last_delivered",
            "last_handed_over",
            "folders",
            "deleted",
            "in_snapshots",
        ],
    )?;
    for account in &facts.accounts {
        account_row(&mut out, account)?;
    }
    out.flush()?;
    Ok(())
}

fn account_row<W: Write>(out: &mut Writer<W>, account: &Account) -> Result<(), Failure> {
    let counts = &account.counts;
    let numbers = [
        counts.expected,
        counts.whole,
        counts.damaged,
        counts.lost,
        counts.rejected,
        counts.duplicates,
        counts.listed_but_gone,
        counts.handed_over,
        counts.already_live,
        counts.waiting,
        counts.whole_bytes,
        counts.damaged_bytes,
    ]
    .map(|number| number.to_string());
    let folders = account.folders.len().to_string();
    let former = [counts.deleted, counts.in_snapshots].map(|number| number.to_string());
    let mut cells = vec![account.address.as_str()];
    cells.extend(numbers.iter().map(String::as_str));
    cells.extend([
        account.first_delivered.as_deref().unwrap_or_default(),
        account.last_delivered.as_deref().unwrap_or_default(),
        account.last_handed_over.as_deref().unwrap_or_default(),
        &folders,
    ]);
    cells.extend(former.iter().map(String::as_str));
    row(out, &cells)
}

/// A row a folder.
pub(crate) fn folders(facts: &Facts, out: impl Write) -> Result<(), Failure> {
    let mut out = writer(out);
    row(
        &mut out,
        &[
            "account",
            "folder",
            "shown",
            "expected",
            "whole",
            "damaged",
            "lost",
            "listed_but_gone",
            "bytes",
            "first_delivered",
            "last_delivered",
            "places",
            "deleted",
        ],
    )?;
    for account in &facts.accounts {
        for folder in &account.folders {
            folder_row(&mut out, &account.address, folder)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn folder_row<W: Write>(
    out: &mut Writer<W>,
    account: &str,
    folder: &Folder,
) -> Result<(), Failure> {
    let numbers = [
        folder.expected,
        folder.whole,
        folder.damaged,
        folder.lost,
        folder.listed_but_gone,
        folder.bytes,
    ]
    .map(|number| number.to_string());
    let shown = folder.shown.as_deref().unwrap_or(&folder.name);
    let mut cells = vec![account, &folder.name, shown];
    cells.extend(numbers.iter().map(String::as_str));
    let places = folder.places.join("; ");
    let deleted = folder.deleted.to_string();
    cells.extend([
        folder.first_delivered.as_deref().unwrap_or_default(),
        folder.last_delivered.as_deref().unwrap_or_default(),
        &places,
        &deleted,
    ]);
    row(out, &cells)
}

/// Columns of `messages.csv`.
const COLUMNS: usize = 15;

/// One row of `messages.csv`.
#[derive(Default)]
struct MessageRow<'a> {
    account: &'a str,
    folder: &'a str,
    status: &'a str,
    delivered: &'a str,
    subject: &'a str,
    from: &'a str,
    bytes: &'a str,
    grade: &'a str,
    why: &'a str,
    handed_over: &'a str,
    id: &'a str,
    device: &'a str,
    path: &'a str,
    state: &'a str,
}

impl MessageRow<'_> {
    const HEAD: [&'static str; COLUMNS] = [
        "account",
        "folder",
        "folder_shown",
        "status",
        "delivered",
        "subject",
        "from",
        "bytes",
        "grade",
        "why",
        "handed_over",
        "id",
        "device",
        "path",
        "state",
    ];

    fn write<W: Write>(&self, out: &mut Writer<W>) -> Result<(), Failure> {
        let shown = utf7::decode(self.folder);
        let cells: [&str; COLUMNS] = [
            self.account,
            self.folder,
            shown.as_deref().unwrap_or(self.folder),
            self.status,
            self.delivered,
            self.subject,
            self.from,
            self.bytes,
            self.grade,
            self.why,
            self.handed_over,
            self.id,
            self.device,
            self.path,
            self.state,
        ];
        row(out, &cells)
    }
}

/// A row a find, in the order of the message index; then the messages that only an index lists.
pub(crate) fn messages(facts: &Facts, case: &Case, out: impl Write) -> Result<(), Failure> {
    let mut out = writer(out);
    row(&mut out, &MessageRow::HEAD)?;
    let mut sorter = Sorter::new(&facts.known);
    for record in records(case)? {
        match record? {
            Record::Message(message) => {
                let place = place_of(message.owner.as_ref());
                let sorted = sorter.message(&place, &message);
                message_row(&mut out, &name_of(&place), &message, &sorted)?;
            }
            Record::Lost(note) => {
                let sorted = sorter.lost(&note);
                let why = match (sorted.status, sorted.copy) {
                    (_, Some(copy)) => format!("{}; it was found at {copy}", note.why),
                    (Status::Duplicate, None) => format!("{}; counted already", note.why),
                    _ => note.why.clone(),
                };
                note_row(&mut out, &note, sorted.status, &why)?;
            }
            Record::Rejected(note) => {
                note_row(&mut out, &note, Status::Rejected, &note.why)?;
            }
            Record::Folder(_) | Record::Loss(_) => {}
        }
    }
    for account in &facts.accounts {
        for gone in &account.gone_messages {
            MessageRow {
                account: &account.address,
                folder: &gone.folder,
                status: "listed-but-gone",
                delivered: gone.delivered.as_deref().unwrap_or_default(),
                why: "its folder's index lists it and it is not there: deleted, or lost",
                path: &gone.name,
                ..MessageRow::default()
            }
            .write(&mut out)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn message_row<W: Write>(
    out: &mut Writer<W>,
    account: &str,
    message: &Message,
    sorted: &Sorted<'_>,
) -> Result<(), Failure> {
    let mut why = reasons(message);
    if sorted.status == Status::Duplicate {
        why.push("counted already: the same message was met before".to_owned());
    }
    if let Some(copy) = sorted.copy {
        why.push(format!("it was found whole at {copy}"));
    }
    MessageRow {
        account,
        folder: &message.folder,
        status: sorted.status.name(),
        delivered: &words::iso(message.delivered.seconds),
        subject: &message.summary.subject,
        from: &message.summary.from,
        bytes: &message.bytes.to_string(),
        grade: message.grade.name(),
        why: &why.join("; "),
        handed_over: match sorted.handed {
            Some(Outcome::Restored) => "handed over",
            Some(Outcome::AlreadyLive) => "in the account already",
            None => "",
        },
        id: message.id.as_str(),
        device: &message.origin.device,
        path: &message.origin.path,
        state: &message.state(),
    }
    .write(out)
}

fn note_row<W: Write>(
    out: &mut Writer<W>,
    note: &FileNote,
    status: Status,
    why: &str,
) -> Result<(), Failure> {
    let delivered = delivered(note).map(words::iso);
    MessageRow {
        account: &name_of(&place_of(note.owner.as_ref())),
        folder: &note.folder,
        status: status.name(),
        delivered: delivered.as_deref().unwrap_or_default(),
        bytes: &note
            .bytes
            .map(|bytes| bytes.to_string())
            .unwrap_or_default(),
        why,
        device: &note.device,
        path: &note.path,
        ..MessageRow::default()
    }
    .write(out)
}
