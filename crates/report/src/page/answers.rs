//! The four questions that people ask of their mail, answered in words.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::facts::Account;
use crate::words::{bytes, counted, number, percent};

/// A question and its answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    pub(super) question: &'static str,
    pub(super) lines: Vec<String>,
}

/// The answers for one account.
pub(super) fn answers(account: &Account, is_searched: bool) -> [Answer; 4] {
    let answer = |question, lines| Answer { question, lines };
    [
        answer("Is mail lost?", lost(account)),
        answer("How much came back?", back(account)),
        answer("Why can one not be opened?", broken(account)),
        answer("When is it finished?", finished(account, is_searched)),
    ]
}

fn lost(account: &Account) -> Vec<String> {
    let counts = &account.counts;
    let mut lines = vec![match (counts.expected, counts.lost, counts.damaged) {
        (0, _, _) => "No message of this account is known.".to_owned(),
        (_, 0, 0) => {
            "No. Every message that is known to have been there came back whole.".to_owned()
        }
        (_, 0, damaged) => format!(
            "No message is lost altogether; {} came back damaged.",
            number(damaged)
        ),
        (expected, lost, _) => format!(
            "Yes: {} of {}. The reasons are listed below.",
            number(lost),
            counted(expected, "message", "messages"),
        ),
    }];
    if counts.encrypted > 0 {
        lines.push(format!(
            "{} encrypted by the mail system: what is stored is there, and cannot be read without \
             the key that it was stored with. Ask whoever runs the mail system for that key.",
            counted(counts.encrypted, "message is", "messages are"),
        ));
    }
    let lists = account.folders.iter().filter_map(|folder| {
        let count = counted(folder.counted_by_list?, "message", "messages");
        let name = folder.shown.as_ref().unwrap_or(&folder.name);
        Some(format!("{name} ({count})"))
    });
    let lists: Vec<String> = lists.collect();
    if !lists.is_empty() {
        lines.push(format!(
            "Of these folders only the server's list is left, and which messages were in them is \
             not known: {}.",
            lists.join(", ")
        ));
    }
    if counts.listed_but_gone > 0 {
        lines.push(format!(
            "Besides, the folders' own lists name {} that {} not there: deleted after the list \
             was last written, or lost. The disks do not tell which, so {} not counted.",
            counted(counts.listed_but_gone, "message", "messages"),
            if counts.listed_but_gone == 1 {
                "is"
            } else {
                "are"
            },
            if counts.listed_but_gone == 1 {
                "it is"
            } else {
                "they are"
            },
        ));
    }
    lines
}

fn back(account: &Account) -> Vec<String> {
    let counts = &account.counts;
    if counts.expected == 0 {
        return vec!["Nothing is known that could come back.".to_owned()];
    }
    let mut line = format!(
        "{} of {} whole ({}), {}",
        number(counts.whole),
        counted(counts.expected, "message", "messages"),
        percent(counts.whole, counts.expected),
        bytes(counts.whole_bytes),
    );
    if counts.damaged > 0 {
        line += &format!(", and {} with damage", number(counts.damaged));
    }
    let mut lines = vec![line + "."];
    if counts.deleted > 0 {
        lines.push(format!(
            "{} among them, and recovered. Throw away again what you do not want.",
            counted(
                counts.deleted,
                "message that had been deleted is",
                "messages that had been deleted are"
            ),
        ));
    }
    if counts.in_snapshots > 0 {
        lines.push(format!(
            "{} in a snapshot only: it was gone from the folders when the disks stopped.",
            counted(counts.in_snapshots, "message was", "messages were"),
        ));
    }
    if let (Some(first), Some(last)) = (&account.first_delivered, &account.last_delivered) {
        lines.push(format!("Delivered from {} to {}.", day(first), day(last)));
    }
    lines
}

/// The day of a time; all of it if it has none.
pub(super) fn day(time: &str) -> &str {
    time.split_once('T').map_or(time, |(day, _)| day)
}

fn broken(account: &Account) -> Vec<String> {
    let counts = &account.counts;
    if counts.damaged == 0 {
        return vec!["None is damaged.".to_owned()];
    }
    let into = if account.is_unattributed() {
        "Damaged"
    } else {
        "restored_emails, Damaged"
    };
    let mut lines = vec![format!(
        "{} damaged; what is left of {} is in the folder {into}.",
        counted(counts.damaged, "message is", "messages are"),
        if counts.damaged == 1 { "it" } else { "them" },
    )];
    // One cause a message is enough here: the first hole, or the first contradiction.
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for message in &account.damaged_messages {
        let cause = match (message.holes.first(), message.contradictions.first()) {
            (Some(hole), _) => hole.why.as_str(),
            (None, Some(_)) => "what was stored is not the whole message",
            (None, None) => "its beginning is missing",
        };
        let count = causes.entry(cause).or_default();
        *count = count.saturating_add(1);
    }
    let causes = causes
        .iter()
        .map(|(cause, count)| format!("{} × {cause}", number(*count)));
    lines.extend(causes);
    lines
}

fn finished(account: &Account, is_searched: bool) -> Vec<String> {
    let counts = &account.counts;
    let all = counts.whole.saturating_add(counts.damaged);
    let mut done = Vec::new();
    if counts.handed_over > 0 {
        done.push(format!("{} handed over", number(counts.handed_over)));
    }
    if counts.already_live > 0 {
        done.push(format!(
            "{} in the account already",
            number(counts.already_live)
        ));
    }
    let when = account
        .last_handed_over
        .as_deref()
        .map(|time| format!("Last handed over {}.", minute(time)));
    let line = match (all, counts.waiting, done.is_empty()) {
        (0, _, _) => "There is nothing to hand over.".to_owned(),
        (_, 0, _) if is_searched => format!("It is: {}.", done.join(", ")),
        (_, 0, _) => format!("Not yet: {} so far.", done.join(", ")),
        (_, waiting, true) => format!(
            "Not yet: {} to be handed over.",
            counted(waiting, "message waits", "messages wait"),
        ),
        (_, waiting, false) => {
            format!("Not yet: {}, {} waiting.", done.join(", "), number(waiting))
        }
    };
    let more = (!is_searched).then(|| {
        "The parts of the disks that no file system explains were not searched yet; there may be more."
            .to_owned()
    });
    std::iter::once(line).chain(when).chain(more).collect()
}

/// A time without its seconds, with its zone in words.
pub(super) fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16), time.ends_with('Z')) {
        (Some(day), Some(minute), true) => format!("{day} {minute} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Counts;

    fn account(whole: u64, damaged: u64, lost: u64, waiting: u64) -> Account {
        Account {
            counts: Counts {
                expected: whole + damaged + lost,
                whole,
                damaged,
                lost,
                waiting,
                handed_over: (whole + damaged).saturating_sub(waiting),
                ..Counts::default()
            },
            last_handed_over: Some("2026-01-02T03:04:05Z".to_owned()),
            ..Account::default()
        }
    }

    #[test]
    fn every_state_has_its_own_words() {
        let first =
            |account: &Account, question: usize| answers(account, true)[question].lines[0].clone();
        assert_eq!(
            first(&account(2, 0, 0, 0), 0),
            "No. Every message that is known to have been there came back whole."
        );
        assert_eq!(
            first(&account(2, 1, 0, 0), 0),
            "No message is lost altogether; 1 came back damaged."
        );
        assert_eq!(
            first(&account(1999, 0, 1, 0), 0),
            "Yes: 1 of 2,000 messages. The reasons are listed below."
        );
        assert_eq!(
            first(&account(1999, 0, 1, 0), 1),
            "1,999 of 2,000 messages whole (99.9\u{a0}%), 0 bytes."
        );
        assert_eq!(first(&account(2, 0, 0, 0), 3), "It is: 2 handed over.");
        assert_eq!(
            first(&account(2, 0, 0, 1), 3),
            "Not yet: 1 handed over, 1 waiting."
        );
        assert_eq!(
            first(&account(2, 0, 0, 2), 3),
            "Not yet: 2 messages wait to be handed over."
        );
        assert_eq!(
            first(&account(0, 0, 0, 0), 3),
            "There is nothing to hand over."
        );
        assert_eq!(minute("2026-01-02T03:04:05Z"), "2026-01-02 03:04 UTC");
    }
}
