//! The message index as it is reported.

use case::{Case, CaseError, MAILBOXES, MESSAGES};
use mail::carved::{MailboxRecord, Mailboxes};
use mail::record::Record;

/// All lines of the message index of `case`, in their order, each with its owner, also where only carving
/// tells whose the mailbox is.
pub fn records(
    case: &Case,
) -> Result<impl Iterator<Item = Result<Record, CaseError>> + use<>, CaseError> {
    let mailboxes = case.read_segments::<MailboxRecord>(MAILBOXES)?;
    let mailboxes: Mailboxes = mailboxes.collect::<Result<_, _>>()?;
    let lines = case.read_segments::<Record>(MESSAGES)?;
    Ok(lines.map(move |line| Ok(mailboxes.settled(line?))))
}
