//! An account on a server: what it holds, and adding to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use mail::{Address, Message, MessageId};

use super::append::has_plain_header;
use super::credentials::Login;
use super::error::ImapError;
use super::folders::Naming;
use super::session::{Part, Session};
use super::target::ImapTarget;
use super::wire::Value;
use crate::maildir::Live;
use crate::plan::destination;
use crate::{Entry, Ledger, Outcome, Place, RestoreError, Room};

/// What passes is waited for so long, each time twice as long as before.
const WAITS: [u64; 5] = [1, 2, 4, 8, 16];
/// A server may still be storing what it was sent when a run was killed, for so many seconds.
const SETTLE: u64 = 3;
/// Messages whose contents are asked for at a time, and their bytes.
const MOST_AT_ONCE: usize = 200;
const MOST_BYTES_AT_ONCE: u64 = 32 << 20;

/// An account on a server.
pub struct Mailbox<'t> {
    target: &'t ImapTarget,
    login: Login,
    session: Option<Session>,
}

/// A message on the server, as far as its folder tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    uid: u64,
    bytes: u64,
    /// INTERNALDATE in seconds since 1970.
    time: i64,
}

/// What a message on the server is known by: its contents without regard to what servers change
/// ([`MessageId::normalised`]), and when it was delivered.
pub(super) type Identity = (MessageId, i64);

/// A message of the server that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// What it is.
    pub(super) identity: Identity,
    /// How long it is, as the server says.
    bytes: u64,
    /// Whether its header has no byte beyond ASCII.
    pub(super) has_plain_header: bool,
}

/// A message that may be on the server, and where it belongs.
struct Wanted<'m> {
    directory: String,
    name: String,
    message: &'m Message,
}

impl<'t> Mailbox<'t> {
    /// The account `account` on `target`; nothing is asked of the server yet.
    pub fn new(target: &'t ImapTarget, account: &Address) -> Result<Self, RestoreError> {
        Ok(Self {
            target,
            login: target.login(account)?,
            session: None,
        })
    }

    /// What the account holds of `messages`, all of which are of `place`.
    ///
    /// Sizes come first; the contents are asked for only of messages that have the size of one that
    /// is to be restored. No folder is opened to be written, and nothing is marked as seen.
    pub fn live(&mut self, place: &Place, messages: &[Message]) -> Result<Live, RestoreError> {
        self.patiently(|session| read_live(session, place, messages))
    }

    /// What the account's quota leaves (RFC 9208).
    pub fn room(&mut self) -> Result<Room, RestoreError> {
        self.patiently(read_room)
    }

    /// Finds out what became of messages that were on their way when a run ended, and notes those that
    /// are there. A server may still be storing them: it is given a moment.
    pub fn settle(
        &mut self,
        place: &Place,
        messages: &[Message],
        ledger: &mut Ledger,
    ) -> Result<(), RestoreError> {
        for open in ledger.unsettled() {
            if let Some(left) = SETTLE.checked_sub(open.age()) {
                sleep(Duration::from_secs(left));
            }
            let names: HashSet<&str> = open.names.iter().map(String::as_str).collect();
            let sent: Vec<(&Message, String)> = messages
                .iter()
                .map(|message| (message, destination(place, message)))
                .filter(|(_, (folder, name))| {
                    *folder == open.sending && names.contains(name.as_str())
                })
                .map(|(message, (_, name))| (message, name))
                .collect();
            let found = self.patiently(|session| {
                let folder = naming(session).folder(&open.sending);
                let messages: Vec<&Message> = sent.iter().map(|(message, _)| *message).collect();
                match newcomers(session, &folder, open.from, &messages) {
                    // The folder was never made, or is gone.
                    Err(ImapError::Refused { .. }) => Ok(None),
                    found => found.map(Some),
                }
            })?;
            let Some(found) = found else {
                continue;
            };
            let pairs: Vec<(&Message, bool)> =
                sent.iter().map(|(message, _)| (*message, true)).collect();
            let there = landed(&pairs, found, true);
            let entries = sent.iter().zip(there).filter(|(_, there)| *there);
            let entries = entries.map(|((message, name), _)| {
                Entry::now(&open.sending, name, message.id.as_str(), Outcome::Restored)
            });
            ledger.append(entries.collect())?;
        }
        Ok(())
    }

    /// Runs `task` in a session, and again in a new one after what passes.
    pub(super) fn patiently<T>(
        &mut self,
        mut task: impl FnMut(&mut Session) -> Result<T, ImapError>,
    ) -> Result<T, RestoreError> {
        let mut waits = WAITS.iter();
        loop {
            let result = match self.session() {
                Ok(session) => task(session),
                Err(error) => Err(error),
            };
            match result {
                Ok(done) => return Ok(done),
                Err(error) if error.is_passing() => {
                    self.session = None;
                    let is_there = !matches!(error, ImapError::Connect(_));
                    let wait = waits
                        .next()
                        .filter(|_| is_there || !self.target.reach().is_given_up());
                    let Some(wait) = wait else {
                        if !is_there {
                            self.target.reach().note_waited();
                        }
                        return Err(self.failed(error));
                    };
                    sleep(Duration::from_secs(*wait));
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// The session, opened if there is none.
    pub(super) fn session(&mut self) -> Result<&mut Session, ImapError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = Session::open(self.target, &self.login)?;
                self.target.reach().note_reached();
                session
            }
        };
        Ok(self.session.insert(session))
    }

    /// Gives the session up: it was lost, or nobody knows what it is at.
    pub(super) fn hang_up(&mut self) {
        self.session = None;
    }

    /// What went wrong, with the server's name.
    pub(super) fn failed(&self, error: ImapError) -> RestoreError {
        RestoreError::Server {
            server: self.target.to_string(),
            error,
        }
    }
}

/// How the server of a session names folders.
pub(super) fn naming(session: &Session) -> Naming {
    Naming {
        prefix: session.prefix.clone(),
        separator: session.separator,
    }
}

/// The time of delivery that a message has on the server: whole seconds from 1970 to 9999.
pub(super) fn time_of(message: &Message) -> i64 {
    let latest = Timestamp::MAX.as_second();
    message.delivered.seconds.clamp(0, latest)
}

fn read_live(
    session: &mut Session,
    place: &Place,
    messages: &[Message],
) -> Result<Live, ImapError> {
    let wanted: Vec<Wanted<'_>> = messages
        .iter()
        .map(|message| {
            let (directory, name) = destination(place, message);
            Wanted {
                directory,
                name,
                message,
            }
        })
        .collect();
    let sizes: HashSet<u64> = messages.iter().map(|m| m.virtual_bytes).collect();
    let naming = naming(session);
    let ours: HashMap<String, &str> = wanted
        .iter()
        .map(|wanted| (naming.folder(&wanted.directory), wanted.directory.as_str()))
        .collect();
    let mut live = Live::default();
    for folder in folders(session)? {
        match session.run(
            "EXAMINE",
            &[Part::Text("EXAMINE "), Part::Name(&folder)],
            &mut |_| (),
        ) {
            Ok(_) => {}
            // A folder that the account may see and not open.
            Err(ImapError::Refused { .. }) => continue,
            Err(error) => return Err(error),
        }
        let listed = list_messages(session, 1)?;
        let candidates: Vec<Listed> = listed
            .into_iter()
            .filter(|message| sizes.contains(&message.bytes))
            .collect();
        let found = identify(session, &candidates)?;
        let directory = ours
            .get(&folder)
            .map(|directory| (*directory).to_owned())
            .or_else(|| naming.directory(&folder));
        match directory {
            Some(directory) => take_restored(
                &mut live,
                &directory,
                found.into_values().map(|seen| seen.identity),
                &wanted,
            ),
            None => {
                for seen in found.into_values() {
                    live.add_message(seen.identity.0);
                }
            }
        }
    }
    Ok(live)
}

/// Names what was found in the restored folder `directory`: by the messages that belong there first,
/// then by those that belong elsewhere, which somebody moved.
fn take_restored(
    live: &mut Live,
    directory: &str,
    found: impl Iterator<Item = Identity>,
    wanted: &[Wanted<'_>],
) {
    let mut counts: BTreeMap<Identity, usize> = BTreeMap::new();
    for identity in found {
        let count = counts.entry(identity).or_default();
        *count = count.saturating_add(1);
    }
    let mut names: HashMap<Identity, Vec<(bool, &str)>> = HashMap::new();
    for wanted in wanted {
        let identity = (wanted.message.normalised().clone(), time_of(wanted.message));
        let is_elsewhere = wanted.directory != directory;
        let entry = names.entry(identity).or_default();
        entry.push((is_elsewhere, wanted.name.as_str()));
    }
    for (identity, count) in counts {
        let Some(names) = names.get_mut(&identity) else {
            // Contents that are wanted with another time: the account has the message.
            live.add_message(identity.0);
            continue;
        };
        names.sort_unstable();
        names.dedup();
        for (_, name) in names.iter().take(count) {
            live.add_restored(directory, (*name).to_owned());
        }
    }
}

/// All folders of the account that can be opened.
pub(super) fn folders(session: &mut Session) -> Result<Vec<String>, ImapError> {
    let mut names = Vec::new();
    let pattern = session.prefix.clone();
    let mut patterns = vec!["*".to_owned()];
    // Where the account's folders have a prefix, `*` alone would list those of others too.
    if !pattern.is_empty() {
        patterns = vec!["INBOX".to_owned(), format!("{pattern}*")];
    }
    for pattern in patterns {
        let parts = [Part::Text("LIST \"\" "), Part::Name(&pattern)];
        session.run("LIST", &parts, &mut |data| {
            let [word, attributes, _, name, ..] = data else {
                return;
            };
            let closed = attributes
                .list()
                .iter()
                .any(|attribute| attribute.is("\\Noselect") || attribute.is("\\NonExistent"));
            if let (true, false, Some(name)) = (word.is("LIST"), closed, name.bytes()) {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        })?;
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The messages of the open folder from a UID on.
fn list_messages(session: &mut Session, from: u64) -> Result<Vec<Listed>, ImapError> {
    let mut listed = Vec::new();
    let command = format!("UID FETCH {from}:* (UID RFC822.SIZE INTERNALDATE)");
    session.run("FETCH", &[Part::Text(&command)], &mut |data| {
        let items = Items::of(data);
        let (uid, bytes) = (items.number("UID"), items.number("RFC822.SIZE"));
        let time = items.get("INTERNALDATE").and_then(Value::bytes);
        if let (Some(uid), Some(bytes), Some(time)) = (uid, bytes, time.and_then(parse_date))
            // `n:*` always names the last one.
            && uid >= from
        {
            listed.push(Listed { uid, bytes, time });
        }
    })?;
    Ok(listed)
}

/// What the messages `listed` of the open folder are, by UID.
fn identify(session: &mut Session, listed: &[Listed]) -> Result<BTreeMap<u64, Seen>, ImapError> {
    let known: HashMap<u64, &Listed> = listed.iter().map(|m| (m.uid, m)).collect();
    let mut found = BTreeMap::new();
    let mut rest = listed;
    while !rest.is_empty() {
        let mut bytes = 0_u64;
        let fits = |message: &&Listed| {
            bytes = bytes.saturating_add(message.bytes);
            bytes <= MOST_BYTES_AT_ONCE
        };
        let count = rest.iter().take(MOST_AT_ONCE).take_while(fits).count();
        let (now, later) = rest.split_at(count.max(1).min(rest.len()));
        rest = later;
        let set: Vec<String> = now.iter().map(|m| m.uid.to_string()).collect();
        let command = format!("UID FETCH {} (UID BODY.PEEK[])", set.join(","));
        session.run("FETCH", &[Part::Text(&command)], &mut |data| {
            let items = Items::of(data);
            let content = items.get("BODY[]").and_then(Value::bytes);
            if let (Some(uid), Some(content)) = (items.number("UID"), content)
                && let Some(listed) = known.get(&uid)
            {
                let seen = Seen {
                    identity: (MessageId::normalised(content), listed.time),
                    bytes: listed.bytes,
                    has_plain_header: has_plain_header(content),
                };
                found.insert(uid, seen);
            }
        })?;
    }
    Ok(found)
}

/// What came into a folder since some UID.
pub(super) struct Newcomers {
    /// Those whose size and time are those of a message that was sent.
    pub(super) alike: Vec<Seen>,
    /// How many came and are gone again.
    pub(super) gone: u64,
}

/// The messages of `folder` from UID `from` on.
pub(super) fn newcomers(
    session: &mut Session,
    folder: &str,
    from: u64,
    sent: &[&Message],
) -> Result<Newcomers, ImapError> {
    let like: HashSet<(u64, i64)> = sent
        .iter()
        .map(|message| (message.virtual_bytes, time_of(message)))
        .collect();
    let next = next_uid(session, folder)?;
    let parts = [Part::Text("EXAMINE "), Part::Name(folder)];
    session.run("EXAMINE", &parts, &mut |_| ())?;
    let all = list_messages(session, from)?;
    let there = all.iter().filter(|message| message.uid < next).count() as u64;
    let gone = next.saturating_sub(from).saturating_sub(there);
    let listed: Vec<Listed> = all
        .into_iter()
        .filter(|message| like.contains(&(message.bytes, message.time)))
        .collect();
    let alike = identify(session, &listed)?.into_values().collect();
    Ok(Newcomers { alike, gone })
}

/// Which of the messages that were `sent` by one command (`at_once`) or one after the other are in the
/// folder, by what came since.
///
/// A message that the server may have changed (`odd`) is known by its size and time alone: it came to
/// this folder, after it was sent. One that is gone again was moved or deleted by somebody. Of a
/// command that appends several all are there, or none.
pub(super) fn landed(sent: &[(&Message, bool)], mut found: Newcomers, at_once: bool) -> Vec<bool> {
    let mut there: Vec<bool> = sent
        .iter()
        .map(|(message, odd)| {
            let identity = (message.normalised().clone(), time_of(message));
            let is_same = |seen: &Seen| seen.identity == identity;
            let is_alike =
                |seen: &Seen| seen.identity.1 == identity.1 && seen.bytes == message.virtual_bytes;
            let at = found.alike.iter().position(is_same);
            let at = at.or_else(|| found.alike.iter().position(is_alike).filter(|_| *odd));
            at.is_some_and(|at| {
                found.alike.swap_remove(at);
                true
            })
        })
        .collect();
    let missing = there.iter().filter(|is_there| !**is_there).count() as u64;
    let proves_all = at_once && there.contains(&true);
    if missing > 0 && (proves_all || found.gone >= missing) {
        there.fill(true);
    }
    there
}

/// The UID that the next message of `folder` gets.
pub(super) fn next_uid(session: &mut Session, folder: &str) -> Result<u64, ImapError> {
    let mut next = None;
    let parts = [
        Part::Text("STATUS "),
        Part::Name(folder),
        Part::Text(" (UIDNEXT)"),
    ];
    session.run("STATUS", &parts, &mut |data| {
        if let [word, _, values] = data
            && word.is("STATUS")
        {
            next = Items(values.list()).number("UIDNEXT");
        }
    })?;
    next.ok_or_else(|| ImapError::Nonsense("STATUS without UIDNEXT".to_owned()))
}

fn read_room(session: &mut Session) -> Result<Room, ImapError> {
    let mut room = Room::default();
    if !session.can("QUOTA") {
        return Ok(room);
    }
    let least = |known: Option<u64>, left: u64| Some(known.map_or(left, |known| known.min(left)));
    let done = session.run(
        "GETQUOTAROOT",
        &[Part::Text("GETQUOTAROOT INBOX")],
        &mut |data| {
            let [word, _, limits] = data else {
                return;
            };
            if !word.is("QUOTA") {
                return;
            }
            for limit in limits.list().chunks(3) {
                let [resource, used, most] = limit else {
                    continue;
                };
                let (Some(used), Some(most)) = (used.number(), most.number()) else {
                    continue;
                };
                let left = most.saturating_sub(used);
                if resource.is("STORAGE") {
                    room.bytes = least(room.bytes, left.saturating_mul(1024));
                } else if resource.is("MESSAGE") {
                    room.messages = least(room.messages, left);
                }
            }
        },
    );
    match done {
        Ok(_) => Ok(room),
        // No quota is set for it.
        Err(ImapError::Refused { .. }) => Ok(Room::default()),
        Err(error) => Err(error),
    }
}

/// Names and values in turn.
struct Items<'a>(&'a [Value]);

impl<'a> Items<'a> {
    /// The items of `12 FETCH (...)`; none of anything else.
    fn of(data: &'a [Value]) -> Self {
        match data {
            [_, word, items, ..] if word.is("FETCH") => Self(items.list()),
            _ => Self(&[]),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        let mut pairs = self.0.chunks(2);
        pairs.find_map(|pair| match pair {
            [word, value] if word.is(name) => Some(value),
            _ => None,
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.number()
    }
}

/// An INTERNALDATE in seconds since 1970.
fn parse_date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let parsed = jiff::fmt::strtime::parse("%d-%b-%Y %H:%M:%S %z", text).ok()?;
    Some(parsed.to_timestamp().ok()?.as_second())
}

/// What [`time_of`] gives as an INTERNALDATE.
pub(super) fn format_date(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%d-%b-%Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildir::tests::message;

    #[test]
    fn dates_are_written_and_read_as_the_protocol_has_them() {
        for (seconds, text) in [
            (0, "01-Jan-1970 00:00:00 +0000"),
            (1_325_376_000, "01-Jan-2012 00:00:00 +0000"),
            (253_402_160_400, "30-Dec-9999 09:00:00 +0000"),
        ] {
            assert_eq!(format_date(seconds), text);
        }
        assert_eq!(parse_date(b" 7-Jul-1996 02:44:25 -0700"), Some(836_732_665));
        assert_eq!(parse_date(b"17-Jul-1996 02:44:25 +0000"), Some(837_571_465));
        assert_eq!(parse_date(b"never"), None);
    }

    #[test]
    fn copies_on_the_server_are_named_as_what_belongs_there_first() {
        let place = Place::Account(Address::parse("ada@x.example").unwrap());
        let all = [
            message(b"a\n", "INBOX"),
            message(b"a\r\n", "INBOX"),
            message(b"a\n", "Sent"),
        ];
        let wanted: Vec<Wanted<'_>> = all
            .iter()
            .map(|message| {
                let (directory, name) = destination(&place, message);
                Wanted {
                    directory,
                    name,
                    message,
                }
            })
            .collect();
        let identity = (all[0].normalised().clone(), time_of(&all[0]));
        let mut live = Live::default();
        let found = vec![identity.clone(); 2].into_iter();
        take_restored(&mut live, ".restored_emails", found, &wanted);
        for wanted in &wanted {
            let is_there = live.has_restored(&wanted.directory, &wanted.name);
            assert_eq!(is_there, wanted.directory == ".restored_emails");
        }
        // In a folder where none belongs it is one that was moved.
        let mut live = Live::default();
        let found = std::iter::once(identity.clone());
        take_restored(&mut live, ".restored_emails.Mine", found, &wanted);
        assert_eq!(live.restored().count(), 1);
        // With another time it is a message that the account has.
        let mut live = Live::default();
        let other = (identity.0.clone(), 7);
        take_restored(
            &mut live,
            ".restored_emails",
            std::iter::once(other),
            &wanted,
        );
        assert!(live.has_message(&identity.0));
    }
}
