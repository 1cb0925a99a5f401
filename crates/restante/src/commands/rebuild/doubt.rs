//! Messages of a file system on whose disk bits turned.

use anyhow::Result;
use carve::{Doubt, TurnedBits};
use case::{Case, CaseError, MESSAGES};
use filesystem::Filesystem;
use mail::content::reread;
use mail::{Message, Record};
use rayon::prelude::*;

/// Where a message in the segments `names` of a file system shows that bits turned on its disk, looks at all of
/// them for what that makes of each, and writes them again.
///
/// It is the same after a run that was killed while it wrote: what it turned back counts as seen, and what it
/// doubted shows as much as before.
pub(super) fn of_turned_bits(case: &Case, fs: &dyn Filesystem, names: &[String]) -> Result<()> {
    let mut bits = TurnedBits::default();
    let mut shown = false;
    for name in names {
        let records = records(case, name)?;
        shown |= messages(&records).any(Message::shows_turned_bits);
    }
    if !shown {
        return Ok(());
    }
    for name in names {
        let records = records(case, name)?;
        let all: Vec<&Message> = messages(&records).collect();
        let of = |message: &&Message| {
            let content = reread(fs.view(), &message.origin)?;
            Some(TurnedBits::of(&content.bytes, message.origin.repairs.len()))
        };
        let own = all.par_iter().filter_map(of);
        bits = bits.and(own.reduce(TurnedBits::default, TurnedBits::and));
    }
    for name in names {
        let mut records = records(case, name)?;
        records.par_iter_mut().for_each(|record| {
            if let Record::Message(message) = record {
                judge(message, fs, bits);
            }
        });
        case.write_segment(MESSAGES, name, &records)?;
    }
    Ok(())
}

/// Mends or doubts a message, if these bits make that of it.
fn judge(message: &mut Message, fs: &dyn Filesystem, bits: TurnedBits) {
    if !message.may_have_turned_bits() {
        return;
    }
    let Some(content) = reread(fs.view(), &message.origin) else {
        return;
    };
    match bits.doubt(&content.bytes) {
        Some(Doubt::Mended(repair)) => message.mend(content, repair),
        Some(Doubt::Doubted(why)) => message.doubt(why),
        None => {}
    }
}

/// The records of a segment.
fn records(case: &Case, name: &str) -> Result<Vec<Record>, CaseError> {
    case.read_segment(MESSAGES, name)?.collect()
}

/// The messages among records.
fn messages(records: &[Record]) -> impl Iterator<Item = &Message> {
    records.iter().filter_map(|record| match record {
        Record::Message(message) => Some(message.as_ref()),
        _ => None,
    })
}
