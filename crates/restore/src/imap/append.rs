//! Adding what was planned to an account on a server.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use mail::Message;
use mail::record::header_length;

use super::error::ImapError;
use super::mailbox::{Mailbox, format_date, landed, naming, newcomers, next_uid, time_of};
use super::session::{Part, Session};
use super::wire::Value;
use crate::ledger::Sending;
use crate::plan::{Add, FolderPlan, Plan};
use crate::{Applied, Entry, Ledger, Outcome, RestoreError, Warning};

/// Messages, and their bytes, that one command appends at most.
const MOST_AT_ONCE: usize = 100;
const MOST_BYTES_AT_ONCE: usize = 8 << 20;
/// A server may still be storing what it was sent when the connection is lost: it is looked at after
/// so many seconds, and after more when that comes again with nothing added in between.
const SETTLING: [u64; 5] = [1, 2, 4, 8, 16];

/// A message on its way.
struct Item<'p> {
    add: &'p Add<'p>,
    /// As IMAP has it, with every line ended by CR LF.
    wire: Vec<u8>,
    flags: String,
    keywords_left_out: u64,
    /// A server may store it otherwise than it is.
    is_odd: bool,
    /// Its header has no byte beyond ASCII.
    has_plain_header: bool,
}

/// Why an account is left.
enum Stop {
    /// The folder cannot be used; others may.
    Folder(RestoreError),
    /// Nothing more can be added to the account.
    Account(RestoreError),
}

/// A folder that is added to.
struct Folder<'f> {
    /// Its directory in a Maildir, which the ledger files it under.
    directory: &'f str,
    /// Its name on the server.
    name: String,
    /// The keywords that it takes; `None` for any.
    keywords: Option<Vec<String>>,
}

impl Mailbox<'_> {
    /// Carries out `plan`; `content` gives the bytes of a message.
    ///
    /// The ledger learns of messages when the server has said that it has them. Where it could not
    /// say so, because the connection was lost, what came since is looked at, and only what is not
    /// there is sent again.
    pub fn apply(
        &mut self,
        plan: &Plan<'_>,
        ledger: &mut Ledger,
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    ) -> Applied {
        let mut applied = Applied::default();
        // Nothing is added of which the ledger could not learn: it would come back when deleted.
        if let Err(error) = ledger.append(plan.notes.clone()) {
            applied.failed.push(error);
            return applied;
        }
        for (directory, folder) in &plan.folders {
            match self.add_folder(directory, folder, ledger, content, &mut applied) {
                Ok(()) => {}
                Err(Stop::Folder(error)) => applied.failed.push(error),
                Err(Stop::Account(error)) => {
                    applied.failed.push(error);
                    return applied;
                }
            }
        }
        self.subscribe(plan, ledger, &mut applied);
        applied
    }

    fn add_folder(
        &mut self,
        directory: &str,
        plan: &FolderPlan<'_>,
        ledger: &mut Ledger,
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
        applied: &mut Applied,
    ) -> Result<(), Stop> {
        let folder = self.open_folder(directory)?;
        let limit = self
            .patiently(|session| Ok(session.limit("APPENDLIMIT")))
            .map_err(Stop::Account)?;
        let mut rest = plan.adds.as_slice();
        while !rest.is_empty() {
            let mut items = Vec::new();
            let mut bytes = 0_usize;
            while let Some((add, later)) = rest.split_first() {
                if items.len() >= MOST_AT_ONCE || bytes >= MOST_BYTES_AT_ONCE {
                    break;
                }
                rest = later;
                match content(add.message).and_then(|bytes| item(add, &bytes, &folder, limit)) {
                    Ok(item) => {
                        bytes = bytes.saturating_add(item.wire.len());
                        items.push(item);
                    }
                    Err(error) => applied.failed.push(error),
                }
            }
            self.add_batch(&folder, items, ledger, applied)?;
        }
        Ok(())
    }

    /// Makes a folder if it is not there, and learns which keywords it takes.
    fn open_folder<'f>(&mut self, directory: &'f str) -> Result<Folder<'f>, Stop> {
        let opened = self.patiently(|session| {
            let name = naming(session).folder(directory);
            let keywords = match select(session, &name) {
                Err(ImapError::Refused { .. }) => {
                    let parts = [Part::Text("CREATE "), Part::Name(&name)];
                    session.run("CREATE", &parts, &mut |_| ())?;
                    select(session, &name)?
                }
                selected => selected?,
            };
            Ok((name, keywords))
        });
        let (name, keywords) = opened.map_err(Stop::Folder)?;
        Ok(Folder {
            directory,
            name,
            keywords,
        })
    }

    /// Adds messages, and notes in the ledger those that are there.
    fn add_batch(
        &mut self,
        folder: &Folder<'_>,
        items: Vec<Item<'_>>,
        ledger: &mut Ledger,
        applied: &mut Applied,
    ) -> Result<(), Stop> {
        let mut done = Vec::new();
        let number = items.len();
        let mut left = items;
        let mut one_by_one = false;
        let mut lost = SETTLING.iter();
        let mut stop = None;
        while !left.is_empty() && stop.is_none() {
            let from = match self.patiently(|session| next_uid(session, &folder.name)) {
                Ok(from) => from,
                Err(error) => {
                    stop = Some(Stop::Folder(error));
                    break;
                }
            };
            let multi = self.session().map(|session| session.can("MULTIAPPEND"));
            one_by_one |= multi.is_ok_and(|multi| !multi);
            let count = if one_by_one { 1 } else { left.len() };
            let sent = left.get(..count).unwrap_or_default();
            // If this run ends before it learns what became of them, the next one looks.
            if let Err(error) = ledger.append_sending(sending(folder, sent, from)) {
                stop = Some(Stop::Account(error));
                break;
            }
            let result = self
                .session()
                .and_then(|session| append(session, &folder.name, sent));
            match result {
                Ok(()) => {
                    lost = SETTLING.iter();
                    let later = left.split_off(count.min(left.len()));
                    let sent = std::mem::replace(&mut left, later);
                    self.prove(folder, from, &sent, applied);
                    done.extend(sent);
                }
                Err(error) if error.is_passing() => {
                    match self.find(folder, from, sent, lost.next(), error) {
                        Ok(landed) => {
                            if landed.contains(&true) {
                                lost = SETTLING.iter();
                            }
                            let mut landed = landed.into_iter();
                            let (there, missing): (Vec<_>, Vec<_>) = left
                                .into_iter()
                                .partition(|_| landed.next().unwrap_or(false));
                            done.extend(there);
                            left = missing;
                        }
                        Err(error) => stop = Some(Stop::Account(error)),
                    }
                }
                Err(error) if error.is("OVERQUOTA") => {
                    stop = Some(Stop::Account(self.failed(error)));
                }
                // One of them is refused, and all with it: each is asked for by itself.
                Err(ImapError::Refused { .. } | ImapError::Nonsense(_))
                    if left.len() > 1 && !one_by_one =>
                {
                    self.hang_up();
                    one_by_one = true;
                }
                Err(error @ ImapError::Refused { .. }) => {
                    let refused = left.remove(0);
                    applied
                        .failed
                        .push(refused_message(refused.add, error.to_string()));
                }
                Err(error) => stop = Some(Stop::Folder(self.failed(error))),
            }
        }
        let refused = done.len() < number && stop.is_none();
        let entries = done.iter().map(|item| {
            let id = item.add.message.id.as_str();
            Entry::now(folder.directory, &item.add.name, id, Outcome::Restored)
        });
        let noted = ledger.append(entries.collect()).and_then(|()| {
            // What was refused is on its way no longer.
            let none = sending(folder, &[], 0);
            if refused {
                ledger.append_sending(none)
            } else {
                Ok(())
            }
        });
        for item in &done {
            applied.added = applied.added.saturating_add(1);
            applied.bytes = applied.bytes.saturating_add(item.add.message.bytes);
            applied.keywords_left_out = applied
                .keywords_left_out
                .saturating_add(item.keywords_left_out);
        }
        noted.map_err(Stop::Account)?;
        stop.map_or(Ok(()), Err)
    }

    /// Which of `items`, that were sent when `error` came, are in the folder from UID `from` on.
    /// Waits so many seconds before it looks; without any it has waited long enough.
    fn find(
        &mut self,
        folder: &Folder<'_>,
        from: u64,
        items: &[Item<'_>],
        wait: Option<&u64>,
        error: ImapError,
    ) -> Result<Vec<bool>, RestoreError> {
        self.hang_up();
        let Some(wait) = wait else {
            return Err(self.failed(error));
        };
        sleep(Duration::from_secs(*wait));
        let messages: Vec<&Message> = items.iter().map(|item| item.add.message).collect();
        let found = self.patiently(|session| newcomers(session, &folder.name, from, &messages))?;
        let sent: Vec<(&Message, bool)> = items
            .iter()
            .map(|item| (item.add.message, item.is_odd))
            .collect();
        Ok(landed(&sent, found, items.len() > 1))
    }

    /// Reads messages that a server may have stored otherwise than they are, and says which it did.
    fn prove(&mut self, folder: &Folder<'_>, from: u64, items: &[Item<'_>], applied: &mut Applied) {
        let odd: Vec<&Item<'_>> = items.iter().filter(|item| item.is_odd).collect();
        if odd.is_empty() {
            return;
        }
        let messages: Vec<&Message> = odd.iter().map(|item| item.add.message).collect();
        let found = self.patiently(|session| newcomers(session, &folder.name, from, &messages));
        match found {
            Ok(found) => {
                for item in odd {
                    let add = item.add;
                    let identity = (add.message.normalised().clone(), time_of(add.message));
                    let mut same = found.alike.iter().filter(|seen| seen.identity == identity);
                    // Only the header tells the message from what a server made of it.
                    if !same.any(|seen| seen.has_plain_header == item.has_plain_header) {
                        applied.failed.push(refused_message(
                            add,
                            "the server took it and stores it changed, or a client was quicker \
                             than this look at it"
                                .to_owned(),
                        ));
                    }
                }
            }
            Err(error) => applied.failed.push(error),
        }
    }

    /// Subscribes folders once: after that they are the user's to unsubscribe.
    fn subscribe(&mut self, plan: &Plan<'_>, ledger: &mut Ledger, applied: &mut Applied) {
        let wanted = crate::plan::to_subscribe(plan, ledger);
        let mut subscribed = Vec::new();
        for directory in wanted {
            let done = self.patiently(|session| {
                let name = naming(session).folder(&directory);
                let parts = [Part::Text("SUBSCRIBE "), Part::Name(&name)];
                session.run("SUBSCRIBE", &parts, &mut |_| ())
            });
            match done {
                Ok(_) => subscribed.push(directory),
                Err(error) => applied.warnings.push(Warning::NotSubscribed(error)),
            }
        }
        if let Err(error) = ledger.append_subscribed(subscribed) {
            applied.warnings.push(Warning::NotSubscribed(error));
        }
    }
}

/// Opens a folder to be written: the keywords that it takes, `None` for any.
fn select(session: &mut Session, name: &str) -> Result<Option<Vec<String>>, ImapError> {
    let mut keywords = Some(Vec::new());
    let parts = [Part::Text("SELECT "), Part::Name(name)];
    session.run("SELECT", &parts, &mut |data| {
        if let [word, flags] = data
            && word.is("PERMANENTFLAGS")
        {
            let words: Vec<String> = flags
                .list()
                .iter()
                .filter_map(Value::bytes)
                .map(|bytes| String::from_utf8_lossy(bytes).to_ascii_lowercase())
                .collect();
            keywords = (!words.iter().any(|word| word == "\\*")).then_some(words);
        }
    })?;
    Ok(keywords)
}

/// Appends messages by one command.
fn append(session: &mut Session, folder: &str, items: &[Item<'_>]) -> Result<(), ImapError> {
    let heads: Vec<String> = items
        .iter()
        .map(|item| {
            format!(
                " ({}) \"{}\" ",
                item.flags,
                format_date(time_of(item.add.message))
            )
        })
        .collect();
    let mut parts = vec![Part::Text("APPEND "), Part::Name(folder)];
    for (head, item) in heads.iter().zip(items) {
        parts.push(Part::Text(head));
        parts.push(Part::Bytes(&item.wire));
    }
    session.run("APPEND", &parts, &mut |_| ()).map(|_| ())
}

/// The ledger's line about messages that are sent to a folder whose next UID is `from`.
fn sending(folder: &Folder<'_>, items: &[Item<'_>], from: u64) -> Sending {
    let names = items.iter().map(|item| item.add.name.clone());
    Sending::now(folder.directory, names.collect(), from)
}

/// What is sent of a message.
fn item<'p>(
    add: &'p Add<'p>,
    content: &[u8],
    folder: &Folder<'_>,
    limit: Option<u64>,
) -> Result<Item<'p>, RestoreError> {
    let wire = with_crlf(content);
    if memchr::memchr(0, &wire).is_some() {
        return Err(refused_message(
            add,
            "it holds NUL bytes, which IMAP servers do not keep as they are: hand it back into a \
             Maildir"
                .to_owned(),
        ));
    }
    if let Some(limit) = limit.filter(|limit| wire.len() as u64 > *limit) {
        let bytes = wire.len();
        let why = format!("it has {bytes} bytes, and the server takes {limit} at most");
        return Err(refused_message(add, why));
    }
    let mut flags: Vec<&str> = add
        .message
        .flags
        .letters()
        .chars()
        .filter_map(|letter| match letter {
            'D' => Some("\\Draft"),
            'F' => Some("\\Flagged"),
            'R' => Some("\\Answered"),
            'S' => Some("\\Seen"),
            'T' => Some("\\Deleted"),
            _ => None,
        })
        .collect();
    let passed = add.message.flags.letters().contains('P');
    let forwarded = passed.then_some("$Forwarded");
    let mut keywords_left_out = 0;
    let own = add.message.keywords.iter().map(String::as_str);
    for keyword in own.chain(forwarded) {
        if folder.takes(keyword) {
            flags.push(keyword);
        } else {
            keywords_left_out += 1;
        }
    }
    Ok(Item {
        add,
        flags: flags.join(" "),
        keywords_left_out,
        is_odd: is_odd(&wire),
        has_plain_header: has_plain_header(&wire),
        wire,
    })
}

impl Folder<'_> {
    /// Whether it takes a keyword, which must be a word of the protocol (an atom).
    fn takes(&self, keyword: &str) -> bool {
        let is_atom = !keyword.is_empty()
            && keyword
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte));
        let known = |known: &Vec<String>| known.contains(&keyword.to_ascii_lowercase());
        is_atom && self.keywords.as_ref().is_none_or(known)
    }
}

fn refused_message(add: &Add<'_>, why: String) -> RestoreError {
    RestoreError::NotTaken {
        id: add.message.id.to_string(),
        name: add.name.clone(),
        why,
    }
}

/// A message with every line ended by CR LF, as IMAP has it.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len().saturating_add(content.len() / 32));
    let mut rest = content;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, tail) = rest.split_at(end);
        wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
        rest = tail.get(1..).unwrap_or_default();
    }
    wire.extend_from_slice(rest);
    wire
}

/// Whether servers are known to change such a message: one with a CR by itself, or with letters
/// beyond ASCII in its header.
fn is_odd(wire: &[u8]) -> bool {
    let bare =
        memchr::memchr_iter(b'\r', wire).any(|at| wire.get(at.saturating_add(1)) != Some(&b'\n'));
    bare || !has_plain_header(wire)
}

/// Whether the header of a message has no byte beyond ASCII.
pub(super) fn has_plain_header(content: &[u8]) -> bool {
    let (header, _) = content.split_at(header_length(content));
    header.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_the_protocol_wants_and_nothing_else_changes() {
        for (stored, wire) in [
            (b"a\nb\n".as_slice(), b"a\r\nb\r\n".as_slice()),
            (b"a\r\nb\n", b"a\r\nb\r\n"),
            (b"a\rb\n\r\n", b"a\rb\r\n\r\n"),
            (b"a", b"a"),
            (b"", b""),
        ] {
            assert_eq!(with_crlf(stored), wire);
            let size = mail::proof::virtual_size(stored);
            assert_eq!(size, wire.len() as u64);
            let id = mail::MessageId::normalised;
            assert_eq!(id(stored), id(wire));
        }
    }

    #[test]
    fn what_servers_change_is_odd() {
        for (wire, odd) in [
            (b"Subject: a\r\n\r\n\xC3\xA4\r\n".as_slice(), false),
            (b"Subject: \xC3\xA4\r\n\r\na\r\n", true),
            (b"Subject: a\r\n\r\na\rb\r\n", true),
        ] {
            assert_eq!(is_odd(wire), odd);
        }
    }

    #[test]
    fn keywords_are_words_that_the_folder_takes() {
        let folder = |keywords: Option<&[&str]>| Folder {
            directory: "",
            name: String::new(),
            keywords: keywords.map(|all| all.iter().map(|&word| word.to_owned()).collect()),
        };
        assert!(folder(None).takes("$Forwarded"));
        for odd in ["", "two words", "a(b", "a\"", "ä", "a]"] {
            assert!(!folder(None).takes(odd), "{odd}");
        }
        assert!(folder(Some(&["$forwarded"])).takes("$Forwarded"));
        assert!(!folder(Some(&[])).takes("invoice"));
    }
}
