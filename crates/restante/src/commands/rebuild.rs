//! `rebuild`: phase 1, messages through the metadata of the file systems.

mod doubt;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use aggregate::coverage;
use aggregate::document::DeviceName;
use anyhow::Result;
use case::log::Effort;
use case::{AccountPaths, Case, MAILBOXES, MESSAGES};
use evidence::{Loss, ReadAt, merged};
use filesystem::{Filesystem, Found, FsPath, InodeNumber, Standing, View, find_all, in_use};
use mail::account::AccountRules;
use mail::attribution::{Local, Place, attribute};
use mail::carved::MailboxRecord;
use mail::claims::Claims;
use mail::content::{examine_among, examine_listed, examine_loose};
use mail::store::{MailFile, find};
use mail::{Grade, Layer, Record};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::account_rules::Said;
use crate::args::{Common, Rebuild};
use crate::output::{Output, bytes, shown, table};
use crate::progress;
use crate::session::Session;

/// So many messages make a segment: enough to keep all threads busy, few enough to lose.
const BATCH: usize = 4096;

/// What the message index was made from; kept beside it as `messages/index.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IndexState {
    /// BLAKE3 of all that decides what is in the index.
    made_from: String,
    /// Whether all of it is there.
    finished: bool,
    /// The file systems that messages were found in, by name, and how to read them again.
    #[serde(default)]
    filesystems: BTreeMap<String, View>,
}

/// How to read again the file systems that the messages of `case` were found in.
pub(crate) fn views(case: &Case) -> Result<BTreeMap<String, View>> {
    let state: Option<IndexState> = case.read_json(&state_name())?;
    Ok(state.map(|state| state.filesystems).unwrap_or_default())
}

/// What the message index was made from, if all of it is there.
pub(super) fn finished(case: &Case) -> Result<Option<String>> {
    let state: Option<IndexState> = case.read_json(&state_name())?;
    Ok(state
        .filter(|state| state.finished)
        .map(|state| state.made_from))
}

/// Where [`IndexState`] lies in the case.
fn state_name() -> String {
    format!("{MESSAGES}/index.json")
}

/// Runs the command.
pub(crate) fn run(args: &Rebuild, common: &Common) -> Result<Output> {
    let said = Said::check(&args.accounts, &args.case)?;
    let case = Case::open(&args.case)?;
    rebuild(&case, &said, common)
}

/// The digest of the message index, and of what carving tells of mailboxes in it, if that is anything: whose
/// a message is stands there alone.
pub(crate) fn index_digest(case: &Case) -> Result<String> {
    let messages = case.segments_digest(MESSAGES)?;
    let mut mailboxes = case.read_segments::<MailboxRecord>(MAILBOXES)?;
    if mailboxes.next().is_none() {
        return Ok(messages);
    }
    let both = [messages, case.segments_digest(MAILBOXES)?].concat();
    Ok(blake3::hash(both.as_bytes()).to_hex().to_string())
}

/// Makes the message index of the case, or goes on with it.
pub(crate) fn rebuild(case: &Case, said: &Said, common: &Common) -> Result<Output> {
    let (options, rules) = said.rules(case)?;
    let session = Session::open(case)?;
    let made_from = made_from(case, &session, &options)?;
    let state: Option<IndexState> = case.read_json(&state_name())?;
    let same = state.as_ref().is_some_and(|s| s.made_from == made_from);
    if !same {
        // Another geometry or other rules: what was found with the old ones does not count.
        case.remove_segments(MESSAGES, "")?;
        case.remove_segments(MAILBOXES, "")?;
        let state = IndexState {
            made_from: made_from.clone(),
            finished: false,
            filesystems: BTreeMap::new(),
        };
        case.write_json(&state_name(), &state)?;
    }
    if !same || !state.is_some_and(|s| s.finished) {
        let start = Instant::now();
        let (found, losses) = find_filesystems(&session, common)?;
        let losses: Vec<Record> = losses.into_iter().map(Record::Loss).collect();
        case.write_segment(MESSAGES, "filesystems", &losses)?;
        let filesystems = rebuild_filesystems(case, &session, found, &rules, common)?;
        let state = IndexState {
            made_from: made_from.clone(),
            finished: true,
            filesystems,
        };
        let mut output = json!(Counts::of(case)?);
        output["index"] = index_digest(case)?.into();
        case.log(
            "rebuild",
            json!(options),
            json!({ "made_from": made_from }),
            output,
            Some(Effort::since(start, looked_at(&session)?)),
        )?;
        // Last of all: a run that is killed before makes and logs the index again.
        case.write_json(&state_name(), &state)?;
    }
    let counts = Counts::of(case)?;
    let mut text = counts.text();
    if common.verbose {
        text.push_str(&details(case)?);
    }
    Ok(Output::new(json!(counts), text))
}

/// Finds all file systems on the devices of the case, in one pass over each.
pub(super) fn find_filesystems(
    session: &Session,
    common: &Common,
) -> Result<(Vec<Found>, Vec<Loss>)> {
    let devices = session.devices_with_filesystems()?;
    let total = devices.iter().map(|device| device.bytes.len()).sum();
    let bar = progress::bar(common, "look", total, progress::Unit::Bytes);
    let (mut found, losses) = find_all(&devices, &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    // Remains of others on an array that was begun over another one are that one's, out of order.
    let begun_over = coverage::begun_over(&session.aggregate);
    found.retain(|one| {
        let device = DeviceName(before_hash(&one.name).to_owned());
        !(is_remains(one) && begun_over.contains(&device))
    });
    Ok((found, losses))
}

/// How many bytes were looked through for file systems.
fn looked_at(session: &Session) -> Result<u64> {
    let devices = session.devices_with_filesystems()?;
    Ok(devices.iter().map(|device| device.bytes.len()).sum())
}

/// Everything that is not whole, a line each.
fn details(case: &Case) -> Result<String> {
    let mut text = String::new();
    let mut line = |what: &str, of: &str, why: &str| {
        text.push_str(&shown(&format!("{what} {of}: {why}").replace('\n', " ")));
        text.push('\n');
    };
    for record in case.read_segments::<Record>(MESSAGES)? {
        match record? {
            Record::Message(message) if !message.grade.is_whole() => {
                let why = report::reasons(&message);
                line(message.grade.name(), &message.origin.path, &why.join("; "));
            }
            Record::Rejected(note) => line("rejected", &note.path, &note.why),
            Record::Lost(note) => line("lost", &note.path, &note.why),
            Record::Loss(loss) => {
                let why = format!("{} ({})", loss.cause, loss.origin);
                line("lost", &loss.what, &why);
            }
            Record::Message(_) | Record::Folder(_) => {}
        }
    }
    Ok(text)
}

/// The digest of all that the message index depends on.
fn made_from(case: &Case, session: &Session, options: &AccountPaths) -> Result<String> {
    let file = case.file()?;
    let evidence: Vec<_> = file
        .evidence
        .iter()
        .map(|(name, record)| {
            let gaps = (record.unread, &record.not_rescued_digest);
            (name, &record.blake3, record.bytes, gaps)
        })
        .collect();
    let text = serde_json::to_vec(&json!({
        "program": env!("CARGO_PKG_VERSION"),
        "evidence": evidence,
        "aggregate": session.aggregate,
        "accounts": options,
    }))?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

/// Writes the messages of all file systems; whose they are can depend on what is in the others.
fn rebuild_filesystems(
    case: &Case,
    session: &Session,
    found: Vec<Found>,
    rules: &AccountRules,
    common: &Common,
) -> Result<BTreeMap<String, View>> {
    let inferred = coverage::inferred(&session.aggregate);
    let claims = |one| {
        let is_inferred = inferred.contains(&DeviceName(device_of(one).to_owned()));
        claims_of(one, &found, is_inferred)
    };
    let replaced: Vec<Claims> = found.iter().map(claims).collect();
    let mut places: Vec<Place<'_>> = found
        .iter()
        .map(|found| Place {
            device: &found.name,
            fs: found.fs.as_ref(),
            stores: find(found.fs.as_ref(), rules),
        })
        .collect();
    let local = attribute(&mut places, rules);
    // Of what has a checksum of its own no bit turns unseen.
    let summed = found.iter().map(|one| matches!(one.view, View::Btrfs(_)));
    for ((place, claims), is_summed) in places.into_iter().zip(replaced).zip(summed) {
        let layer = layer(session, place.device);
        rebuild_filesystem(case, place, (layer, claims, is_summed), &local, common)?;
    }
    let views = found.into_iter().map(|found| (found.name, found.view));
    Ok(views.collect())
}

/// What `one` must count with: another file system that was made on its device, and what that has
/// of it; or, if its group `is_inferred`, one of which nothing is known.
fn claims_of(one: &Found, all: &[Found], is_inferred: bool) -> Claims {
    let device = device_of(one);
    let mut others = all
        .iter()
        .filter(|other| other.name != one.name && device_of(other) == device)
        .peekable();
    if one.name == device || others.peek().is_none() {
        return if is_inferred {
            Claims::of_replaced(Vec::new())
        } else {
            Claims::default()
        };
    }
    // Which of two that lost their heads is the newer one is not known.
    let newer = others.find(|other| other.name == device);
    let ranges = newer.map_or_else(Vec::new, |newer| {
        let own = in_use(newer.fs.as_ref());
        let places = newer.view.places(&own).into_iter();
        let here = places.filter(|(name, _)| *name == device);
        merged(here.map(|(_, range)| range).collect())
    });
    Claims::of_replaced(ranges)
}

/// The device that a file system lies on; the first one, of a btrfs.
fn device_of(found: &Found) -> &str {
    match &found.view {
        View::Opened(device) | View::Device(device) | View::BitShifted { device, .. } => device,
        View::Btrfs(_) => before_hash(&found.name),
    }
}

/// Whether a file system is not the one that its device has now.
pub(super) fn is_remains(found: &Found) -> bool {
    found.name != before_hash(&found.name)
}

/// The device in the name of a file system: that, or all before `#`, the format and more.
fn before_hash(name: &str) -> &str {
    name.rsplit_once('#').map_or(name, |(device, _)| device)
}

/// Which of the states of its device a file system is.
fn layer(session: &Session, name: &str) -> Layer {
    let volumes = &session.aggregate.volumes;
    // What a container holds is a state of what the container is.
    let container = |device: &str| {
        let mut encrypted = session.aggregate.encrypted.iter();
        let is_in = |one: &DeviceName| one.0 == device;
        let found = encrypted.find(|one| one.opened.as_ref().is_some_and(is_in))?;
        Some(found.device.0.clone())
    };
    let snapshot = |device: &str| {
        let below = container(device);
        let device = below.as_deref().unwrap_or(device);
        let volume = volumes.iter().find(|volume| volume.device.0 == device)?;
        volume.snapshot_of.as_ref()?;
        let bare = device.strip_prefix("volume:").unwrap_or(device);
        Some(Layer::Snapshot(bare.to_owned()))
    };
    let is_device = session.devices.get(&DeviceName(name.to_owned())).is_some();
    // What is left of a further file system is called by its device, `#` and more.
    let device = if is_device { name } else { before_hash(name) };
    snapshot(device).unwrap_or(if is_device {
        Layer::Present
    } else {
        Layer::Further
    })
}

fn rebuild_filesystem(
    case: &Case,
    place: Place<'_>,
    (layer, replaced, is_summed): (Layer, Claims, bool),
    local: &Local,
    common: &Common,
) -> Result<()> {
    let Place { device, fs, stores } = place;
    let mut writer = Writer {
        case,
        device,
        fs,
        layer,
        replaced,
        local,
        next: 0,
        files: Vec::new(),
        deleted: Vec::new(),
        records: stores.losses.into_iter().map(Record::Loss).collect(),
    };
    let steps = stores.folders.len() as u64;
    let bar = progress::bar(common, "rebuild", steps, progress::Unit::Items);
    for folder in &stores.folders {
        let contents = folder.list(fs, device);
        let lost = folder.lost_folders(fs, device, &stores.folders);
        let folders = contents.folders.into_iter().chain(lost);
        writer.records.extend(folders.map(Record::Folder));
        let rejected = contents.rejected.into_iter().map(Record::Rejected);
        writer.records.extend(rejected);
        let lost = contents.lost.into_iter().map(Record::Lost);
        writer.records.extend(lost);
        let losses = contents.losses.into_iter().map(Record::Loss);
        writer.records.extend(losses);
        for file in contents.files {
            writer.add(file)?;
        }
        bar.inc(1);
    }
    writer.write()?;
    let claims = writer.claims(&stores.deleted);
    writer.write_deleted(&claims)?;
    writer.write_loose(&stores.loose, &claims)?;
    let names: Vec<String> = (0..writer.next)
        .map(|number| segment_name(device, number))
        .collect();
    if !is_summed {
        doubt::of_turned_bits(case, fs, &names)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Writes the messages of a file system in segments of [`BATCH`], which depend on the file system
/// alone: a run that goes on after a kill finds those that are done by their names.
struct Writer<'a> {
    case: &'a Case,
    device: &'a str,
    fs: &'a dyn Filesystem,
    layer: Layer,
    /// What a newer file system on the device claims.
    replaced: Claims,
    /// The accounts that messages may be given to which no name leads to.
    local: &'a Local,
    next: usize,
    files: Vec<MailFile>,
    /// Deleted files, which are judged when it is known what all of them claim.
    deleted: Vec<MailFile>,
    records: Vec<Record>,
}

impl Writer<'_> {
    fn add(&mut self, file: MailFile) -> Result<()> {
        let inode = self.fs.inode(file.inode);
        if inode.is_ok_and(|inode| inode.standing == Standing::Deleted) {
            self.deleted.push(file);
            return Ok(());
        }
        self.files.push(file);
        if self.files.len() == BATCH {
            self.write()?;
        }
        Ok(())
    }

    /// Writes the files that were added.
    fn write(&mut self) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        let (fs, device) = (self.fs, self.device);
        let (claims, local) = (self.replaced.clone(), self.local);
        self.write_batch(&files, |file| {
            Some(examine_listed(fs, device, file, &claims, local))
        })
    }

    /// What all deleted files claim: those that may be messages, and `others`.
    fn claims(&self, others: &[InodeNumber]) -> Claims {
        let mut claims = self.replaced.clone();
        // Several messages may lie in one file.
        let files = self.deleted.iter().map(|file| file.inode);
        let files: BTreeSet<InodeNumber> = files.chain(others.iter().copied()).collect();
        for number in files {
            if let Ok(inode) = self.fs.inode(number) {
                claims.add(&inode, &self.fs.extents(&inode).pieces);
            }
        }
        claims.sorted()
    }

    /// Writes the messages whose files were deleted.
    fn write_deleted(&mut self, claims: &Claims) -> Result<()> {
        let files = std::mem::take(&mut self.deleted);
        let (fs, device) = (self.fs, self.device);
        for batch in files.chunks(BATCH) {
            self.write_batch(batch, |file| Some(examine_among(fs, device, file, claims)))?;
        }
        Ok(())
    }

    /// Writes the messages among the files that lost their directory and their name.
    fn write_loose(&mut self, loose: &[(FsPath, InodeNumber)], claims: &Claims) -> Result<()> {
        let (fs, device, local) = (self.fs, self.device, self.local);
        for batch in loose.chunks(BATCH) {
            self.write_batch(batch, |(path, inode)| {
                examine_loose(fs, device, path, *inode, claims, local)
            })?;
        }
        Ok(())
    }

    /// Writes a segment with the records of `items` and those that are waiting.
    fn write_batch<T: Sync>(
        &mut self,
        items: &[T],
        examine: impl Fn(&T) -> Option<Record> + Sync + Send,
    ) -> Result<()> {
        let name = self.segment_name();
        self.next += 1;
        let mut records = std::mem::take(&mut self.records);
        if self.case.has_segment(MESSAGES, &name) {
            return Ok(());
        }
        let messages: Vec<Option<Record>> = items.par_iter().map(examine).collect();
        records.extend(messages.into_iter().flatten().map(|record| match record {
            Record::Message(mut message) => {
                message.layer = self.layer.clone();
                Record::Message(message)
            }
            other => other,
        }));
        Ok(self.case.write_segment(MESSAGES, &name, &records)?)
    }

    fn segment_name(&self) -> String {
        segment_name(self.device, self.next)
    }
}

/// The name of a segment of the message index.
pub(super) fn segment_name(device: &str, number: usize) -> String {
    let plain: String = device
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
                c
            } else {
                '_'
            }
        })
        .collect();
    // Two devices may look alike once their names fit a file name.
    let digest = blake3::hash(device.as_bytes()).to_hex();
    let digest = digest.get(..8).unwrap_or_default();
    format!("{plain}-{digest}-{number:06}")
}

/// What the message index holds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    folders: u64,
    messages: u64,
    proven: u64,
    complete: u64,
    damaged: u64,
    fragments: u64,
    lost: u64,
    /// Of the lost ones: those that are there, encrypted by the mail system.
    encrypted: u64,
    rejected: u64,
    unattributed: u64,
    /// Of the messages: those that had been deleted.
    deleted: u64,
    /// Of the messages: those in use in a snapshot.
    in_snapshots: u64,
    bytes: u64,
    losses: u64,
}

impl Counts {
    /// Counts what is in the index of `case`.
    pub(crate) fn of(case: &Case) -> Result<Self> {
        let mut counts = Self::default();
        for record in case.read_segments::<Record>(MESSAGES)? {
            match record? {
                Record::Message(message) => {
                    counts.messages += 1;
                    counts.bytes += message.bytes;
                    counts.unattributed += u64::from(message.owner.is_none());
                    counts.deleted += u64::from(message.is_deleted());
                    counts.in_snapshots += u64::from(message.snapshot().is_some());
                    match message.grade {
                        Grade::Proven => counts.proven += 1,
                        Grade::Complete => counts.complete += 1,
                        Grade::Damaged => counts.damaged += 1,
                        Grade::Fragment => counts.fragments += 1,
                    }
                }
                Record::Rejected(_) => counts.rejected += 1,
                Record::Lost(note) => {
                    counts.lost += 1;
                    counts.encrypted += u64::from(note.is_encrypted);
                }
                Record::Folder(_) => counts.folders += 1,
                Record::Loss(_) => counts.losses += 1,
            }
        }
        Ok(counts)
    }

    fn text(&self) -> String {
        let rows = [
            ("folders", self.folders.to_string()),
            (
                "messages",
                format!("{} ({})", self.messages, bytes(self.bytes)),
            ),
            ("  proven", self.proven.to_string()),
            ("  complete", self.complete.to_string()),
            ("  damaged", self.damaged.to_string()),
            ("  fragments", self.fragments.to_string()),
            ("  of them without account", self.unattributed.to_string()),
            ("  of them deleted, and recovered", self.deleted.to_string()),
            ("  of them in snapshots", self.in_snapshots.to_string()),
            ("lost messages", self.lost.to_string()),
            (
                "  of them encrypted by Dovecot's mail_crypt",
                self.encrypted.to_string(),
            ),
            ("files that are no messages", self.rejected.to_string()),
            ("places of file systems lost", self.losses.to_string()),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(what, count)| vec![what.to_owned(), count])
            .collect();
        table(&rows)
    }
}
