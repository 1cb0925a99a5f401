//! Messages of a file system on whose disk bits turned.

use std::collections::HashMap;

use anyhow::Result;
use carve::{Doubt, Search, TurnedBits};
use case::{Case, CaseError, MESSAGES};
use filesystem::Filesystem;
use mail::content::{Content, reread};
use mail::record::FileOrigin;
use mail::{Message, Record};
use rayon::prelude::*;

/// Messages that are longer are looked at one at a time: what is searched takes several times its length in
/// memory.
const LONG: u64 = 1 << 20;

/// Where messages in the segments `names` of a file system show that bits turned on its disk, looks at all of
/// them for what that makes of each, and writes them again.
///
/// A run that was killed while it wrote is done again with the same result: everything is worked out from what
/// is read, without what was put right, and a message that was judged stays as it is.
pub(super) fn of_turned_bits(case: &Case, fs: &dyn Filesystem, names: &[String]) -> Result<()> {
    let mut shown = 0_usize;
    for name in names {
        let records = records(case, name)?;
        let all = messages(&records);
        let turned = all.filter(|message| !message.turned.is_empty());
        shown = shown.saturating_add(turned.count());
    }
    if shown == 0 {
        return Ok(());
    }
    let is_alone = shown < TurnedBits::LEAST_SHOWN;
    let is_wanted = |message: &Message| !is_alone || !message.turned.is_empty();
    let mut bits = TurnedBits::default();
    for name in names.iter().filter(|_| !is_alone) {
        let of = |_, message: &Message| Some(TurnedBits::of(&as_read(fs, message)?.bytes));
        let shown = each(&records(case, name)?, of);
        bits = shown.into_iter().fold(bits, |bits, (_, own)| bits.and(own));
    }
    let mut searches: HashMap<(usize, usize), Search> = HashMap::new();
    let mut all_bits = bits;
    for (segment, name) in names.iter().enumerate() {
        let search = |_, message: &Message| {
            if !is_wanted(message) || !message.grade.is_whole() {
                return None;
            }
            let content = as_read(fs, message)?;
            Some((bits.search(&content.bytes), message.bytes))
        };
        for (number, (search, length)) in each(&records(case, name)?, search) {
            searches.insert((segment, number), search);
            if matches!(search, Search::Found(_)) {
                all_bits = all_bits.with_mended(length);
            }
        }
    }
    for (segment, name) in names.iter().enumerate() {
        let mut records = records(case, name)?;
        let judge = |number, message: &Message| {
            // One that was put right, or doubted, was judged.
            let is_open = message.grade.is_whole() && message.origin.repairs.is_empty();
            if !is_wanted(message) || !is_open {
                return None;
            }
            let content = as_read(fs, message)?;
            let search = searches.get(&(segment, number)).copied();
            let search = search.unwrap_or(Search::Needless);
            all_bits.judge(&content.bytes, &message.turned, search)
        };
        let judged = each(&records, judge);
        if judged.is_empty() {
            continue;
        }
        for (number, doubt) in judged {
            if let Some(Record::Message(message)) = records.get_mut(number) {
                take(message, doubt, fs);
            }
        }
        case.write_segment(MESSAGES, name, &records)?;
    }
    Ok(())
}

/// Takes what turned bits make of a message.
fn take(message: &mut Message, doubt: Doubt, fs: &dyn Filesystem) {
    match doubt {
        Doubt::Mended(repairs, proof) => {
            if let Some(content) = as_read(fs, message) {
                message.mend(content, repairs, proof);
            }
        }
        Doubt::Doubted(why) => message.doubt(why),
    }
}

/// The bytes of a message as they are read, without what was put right, if bits of it may have turned and all
/// are there.
fn as_read(fs: &dyn Filesystem, message: &Message) -> Option<Content> {
    if !message.may_have_turned_bits() {
        return None;
    }
    let as_read = FileOrigin {
        repairs: Vec::new(),
        ..message.origin.clone()
    };
    reread(fs.view(), &as_read).filter(|content| content.holes.is_empty())
}

/// What a look at the messages among records gives, by their number: at long ones one at a time.
fn each<T: Send>(
    records: &[Record],
    look: impl Fn(usize, &Message) -> Option<T> + Sync,
) -> Vec<(usize, T)> {
    let all = records.iter().enumerate();
    let all = all.filter_map(|(number, record)| match record {
        Record::Message(message) => Some((number, message.as_ref())),
        _ => None,
    });
    let (long, short): (Vec<_>, Vec<_>) = all.partition(|(_, message)| message.bytes > LONG);
    let one = |(number, message): &(usize, &Message)| Some((*number, look(*number, message)?));
    let mut found: Vec<(usize, T)> = short.par_iter().filter_map(one).collect();
    found.extend(long.iter().filter_map(one));
    found
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
