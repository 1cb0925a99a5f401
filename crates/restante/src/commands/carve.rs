//! `carve`: phase 2, messages from blocks, without metadata.

mod compact;
mod explain;
mod explained;
mod searched;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use aggregate::document::{Aggregate, DeviceName};
use anyhow::Result;
use case::log::Effort;
use case::{Case, MAILBOXES, MESSAGES};
use evidence::ReadAt;
use evidence::view::BitShifted;
use filesystem::{Standing, View};
use mail::account::Accounts;
use mail::carved::{Attributed, Candidate, Names, attribute};
use mail::record::FileNote;
use mail::{Layer, MessageId, Proof, Record};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::args::{Carve, Common};
use crate::output::{Output, bytes, table};
use crate::progress;
use crate::session::Session;
use crate::usage::Usage;
use explain::Story;
use searched::Searched;

/// What was carved, kept beside the message index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct CarveState {
    /// BLAKE3 of all that decides the outcome.
    made_from: String,
    /// The devices that messages were found on, by the name that their origins have.
    views: BTreeMap<String, View>,
    /// What was found, by device.
    devices: BTreeMap<String, Counts>,
}

/// What was found on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    /// Bytes that the file system that was there gave to a file at once, and where the first begin.
    block_bytes: u64,
    first_block: u64,
    whole: u64,
    /// Of the whole ones: those that a body hash proves.
    by_body_hash: u64,
    damaged: u64,
    /// Messages that the file systems gave already.
    known: u64,
    unattributed: u64,
    /// Bytes of text that no message was made of.
    unclaimed: u64,
}

impl CarveState {
    /// Adds what was carved out of `bytes`, which are called `name` and had again by `view`; reads the
    /// messages.
    fn add(
        &mut self,
        name: &str,
        view: View,
        bytes: &Arc<dyn ReadAt>,
        carved: carve::Carved,
    ) -> Vec<(Candidate, Story)> {
        let counts = Counts {
            block_bytes: carved.grid.cluster,
            first_block: carved.grid.first_cluster,
            unclaimed: carved.unclaimed,
            ..Counts::default()
        };
        self.devices.insert(name.to_owned(), counts);
        self.views.insert(origin_name(name), view);
        candidates(name, bytes, carved.messages)
    }
}

/// What is taken of a device with the whole messages that were carved out of it.
fn taken_with(mut taken: Vec<Range<u64>>, carved: &carve::Carved) -> Vec<Range<u64>> {
    let pieces = carved.whole().flat_map(|one| &one.found.pieces);
    taken.extend(pieces.map(|(at, length)| *at..at.saturating_add(*length)));
    evidence::merged(taken)
}

/// Where [`CarveState`] lies in the case.
fn state_name() -> String {
    format!("{MESSAGES}/carved.json")
}

/// How the blocks are read again that carved messages lie in.
pub(crate) fn views(case: &Case) -> Result<BTreeMap<String, View>> {
    let state: Option<CarveState> = case.read_json(&state_name())?;
    Ok(state.map(|state| state.views).unwrap_or_default())
}

/// What is behind the name of a device in the origins of carved messages.
const BLOCKS: &str = "#blocks";

/// The name that the blocks of a device have in origins: what a file system on it is called means
/// the addresses of that.
fn origin_name(device: &str) -> String {
    format!("{device}{BLOCKS}")
}

/// Runs the command.
pub(crate) fn run(args: &Carve, common: &Common) -> Result<Output> {
    if let Some(id) = &args.explain {
        return explain::run(&Case::open_to_read(&args.case)?, id);
    }
    let case = Case::open(&args.case)?;
    let asked = Asked {
        all: args.all,
        devices: &args.devices,
        bit_offsets: args.bit_offsets,
    };
    carve(&case, &asked, common)
}

/// What to carve.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Asked<'a> {
    /// Also the blocks of files that are in use.
    all: bool,
    /// These devices, if any are named.
    devices: &'a [String],
    /// Also streams whose bits are shifted.
    bit_offsets: bool,
}

/// Carves what the file systems of `case` do not explain, or all of it.
pub(crate) fn carve(case: &Case, asked: &Asked<'_>, common: &Common) -> Result<Output> {
    let Some(index) = super::rebuild::finished(case)? else {
        return Err(Usage::error(
            "the case has no message index yet; run `restante rebuild` on it: what the file \
             systems explain need not be searched",
        ));
    };
    let session = Session::open(case)?;
    let made_from = blake3::hash(&serde_json::to_vec(&json!([index, asked]))?);
    let made_from = made_from.to_hex().to_string();
    let state: Option<CarveState> = case.read_json(&state_name())?;
    let state = match state.filter(|state| state.made_from == made_from) {
        Some(state) => state,
        None => {
            let start = Instant::now();
            let (state, bytes) = make(case, &session, asked, made_from, common)?;
            case.log(
                "carve",
                json!(asked),
                json!({ "made_from": state.made_from }),
                json!({ "devices": state.devices, "index": super::rebuild::index_digest(case)? }),
                Some(Effort::since(start, bytes)),
            )?;
            // Last of all: a run that is killed before carves and logs again.
            case.write_json(&state_name(), &state)?;
            state
        }
    };
    Ok(Output::new(json!(state.devices), text(&state)))
}

/// Whether what the command says it did includes mail, whole or damaged.
pub(crate) fn found_mail(said: &Value) -> bool {
    let devices = said
        .as_object()
        .into_iter()
        .flat_map(|devices| devices.values());
    let mut counts = devices.flat_map(|device| [&device["whole"], &device["damaged"]]);
    counts.any(|count| count.as_u64().is_some_and(|count| count > 0))
}

/// Carves all devices anew; says how many bytes they have.
fn make(
    case: &Case,
    session: &Session,
    asked: &Asked<'_>,
    made_from: String,
    common: &Common,
) -> Result<(CarveState, u64)> {
    case.remove_segments(MESSAGES, PREFIX)?;
    let known = Known::of(case)?;
    let mut state = CarveState {
        made_from,
        ..CarveState::default()
    };
    let mut carved = Vec::new();
    let mut bytes = 0_u64;
    for searched in searched::wanted(session, asked, common)? {
        let bar = progress::bar(common, "carve", searched.reach(), progress::Unit::Bytes);
        let (found, read) = searched.carve(&|bytes| bar.inc(bytes));
        bar.finish_and_clear();
        bytes = bytes.saturating_add(read);
        carved.push((searched, found));
    }
    doubt_within_groups(&session.aggregate, &mut carved);
    let mut found = Vec::new();
    for (searched, carved) in carved {
        let (name, device) = (searched.name, searched.bytes);
        // What a file system placed lies at whole bytes.
        if asked.bit_offsets && searched.compact.is_none() {
            let taken = taken_with(searched.taken, &carved);
            let bar = progress::bar(common, "shifted", device.len(), progress::Unit::Bytes);
            let streams = carve::carve_shifted(&device, &taken, &|bytes| bar.inc(bytes));
            bar.finish_and_clear();
            for carve::Shifted { bits, carved } in streams {
                let stream: Arc<dyn ReadAt> = Arc::new(BitShifted::new(Arc::clone(&device), bits));
                let view = View::BitShifted {
                    device: name.clone(),
                    bits,
                };
                let name = format!("{name}+{bits}bits");
                found.extend(state.add(&name, view, &stream, carved));
            }
        }
        if searched.is_left_over && carved.messages.is_empty() && carved.unclaimed == 0 {
            continue;
        }
        found.extend(state.add(&name, searched.view, &device, carved));
    }
    let (candidates, stories): (Vec<Candidate>, Vec<Story>) = found.into_iter().unzip();
    let Attributed {
        messages,
        mailboxes,
    } = attribute(candidates, &known.names, &known.accounts);
    case.write_segment(MAILBOXES, "carved", &mailboxes)?;
    let present = present(case, session)?;
    write(case, &known, &present, &mut state, messages, &stories)?;
    Ok((state, bytes))
}

/// Doubts what lies across ends of chunks on disks of groups that are not decided, by all that was carved
/// out of the disks of each, and on copies of disks of those that are.
fn doubt_within_groups(aggregate: &Aggregate, carved: &mut [(Searched, carve::Carved)]) {
    for group in &aggregate.undecided {
        let own = carved.iter_mut().filter(|(searched, _)| {
            searched.compact.is_none() && group.contains(&DeviceName(searched.name.clone()))
        });
        let mut own: Vec<&mut carve::Carved> = own.map(|(_, carved)| carved).collect();
        carve::doubt_ends_of_chunks(&mut own);
    }
    for unused in &aggregate.unused {
        let groups = aggregate.groups.iter();
        let chunks = groups.filter_map(|group| {
            let mut members = group.members.iter();
            let of = members
                .find(|member| member.device.is_some() && member.device == unused.copy_of)?;
            Some((group.geometry.chunk_bytes()?, of.data_offset))
        });
        let chunks: Vec<(u64, u64)> = chunks.collect();
        let mut own = carved.iter_mut();
        let own = own.find(|(searched, _)| searched.name == unused.device.0);
        if let Some((_, carved)) = own.filter(|(searched, _)| searched.compact.is_none()) {
            for (length, first) in chunks {
                carve::doubt_across_chunks(carved, length, first);
            }
        }
    }
}

/// The beginning of the names of segments with carved messages.
const PREFIX: &str = "carved-";
/// So many messages make a segment.
const BATCH: usize = 4096;

/// Reads the messages that were carved out of a device.
fn candidates(
    name: &str,
    device: &Arc<dyn ReadAt>,
    carvings: Vec<carve::Carving>,
) -> Vec<(Candidate, Story)> {
    let origin = origin_name(name);
    let read = |carving: &carve::Carving| {
        let candidate = Candidate::read(device, &origin, &carving.found)?;
        let story = Story::of(candidate.id(), name, carving);
        Some((candidate, story))
    };
    let read: Vec<Option<(Candidate, Story)>> = carvings.par_iter().map(read).collect();
    read.into_iter().flatten().collect()
}

/// What the file systems gave.
struct Known {
    whole: BTreeSet<MessageId>,
    accounts: Accounts,
    names: Names,
}

impl Known {
    fn of(case: &Case) -> Result<Self> {
        let mut known = Self {
            whole: BTreeSet::new(),
            accounts: Accounts::new(&crate::account_rules::kept(case)?),
            names: Names::default(),
        };
        for record in case.read_segments::<Record>(MESSAGES)? {
            let owner = match record? {
                Record::Message(message) if message.layer != Layer::Carved => {
                    if message.grade.is_whole() {
                        known.whole.insert(message.id);
                    }
                    message.owner
                }
                Record::Folder(folder) => {
                    known.names.add_folder(&folder);
                    folder.owner
                }
                Record::Lost(note) | Record::Rejected(note) => {
                    let owner = note.owner.clone();
                    known.names.add(note);
                    owner
                }
                Record::Message(_) | Record::Loss(_) => None,
            };
            if let Some(owner) = owner {
                known.accounts.add(owner.account);
            }
        }
        Ok(known)
    }
}

/// The devices whose file system is there, and no other on them, or whose volumes are all known: mail in
/// blocks that none of them uses was deleted.
fn present(case: &Case, session: &Session) -> Result<BTreeSet<String>> {
    let mut present = of_one_filesystem(&super::rebuild::views(case)?);
    let groups = session.aggregate.volume_groups.iter();
    let physical = groups.flat_map(|group| &group.physical_volumes);
    present.extend(physical.filter_map(|volume| Some(volume.device.as_ref()?.0.clone())));
    Ok(present)
}

/// The devices of file systems that are there, and beside which nothing is left of another: what such a one
/// had, nobody deleted. `views` are those of all file systems, by their names.
fn of_one_filesystem(views: &BTreeMap<String, View>) -> BTreeSet<String> {
    let (own, others): (Vec<_>, Vec<_>) = views
        .iter()
        .partition(|(name, view)| view.devices().contains(&name.as_str()));
    let others: BTreeSet<&str> = others.iter().flat_map(|(_, view)| view.devices()).collect();
    let mut devices = BTreeSet::new();
    for (_, view) in own {
        if view.devices().iter().all(|device| !others.contains(device)) {
            devices.extend(view.devices().into_iter().map(str::to_owned));
            devices.extend(view.spread().map(|spread| spread.name));
        }
    }
    devices
}

/// What is kept of a message that was deleted from a file system that is there. Nobody misses its
/// remains: they are accounted for, and not handed over.
fn of_deleted(mut message: mail::Message) -> Record {
    message.standing = Standing::Deleted;
    if message.grade.is_whole() {
        return Record::Message(Box::new(message));
    }
    Record::Rejected(FileNote {
        device: message.origin.device,
        path: message.origin.path,
        owner: message.owner,
        folder: message.folder,
        delivered: Some(message.delivered),
        bytes: None,
        standing: Standing::Deleted,
        is_encrypted: false,
        why: format!(
            "it was deleted, and only a part of it is left: {}",
            message.contradictions.join("; ")
        ),
        needs: None,
    })
}

/// Writes what is new into the message index, and counts all.
fn write(
    case: &Case,
    known: &Known,
    present: &BTreeSet<String>,
    state: &mut CarveState,
    messages: Vec<mail::Message>,
    stories: &[Story],
) -> Result<()> {
    let mut records = Vec::new();
    for message in messages {
        let device = message.origin.device.strip_suffix(BLOCKS);
        let device = device.unwrap_or(&message.origin.device).to_owned();
        let Some(counts) = state.devices.get_mut(&device) else {
            continue;
        };
        if known.whole.contains(&message.id) {
            counts.known += 1;
            continue;
        }
        let is_whole = message.grade.is_whole();
        counts.whole += u64::from(is_whole);
        counts.damaged += u64::from(!is_whole);
        counts.by_body_hash += u64::from(is_whole && message.proofs.contains(&Proof::BodyHash));
        counts.unattributed += u64::from(message.owner.is_none());
        records.push(if present.contains(&device) {
            of_deleted(message)
        } else {
            Record::Message(Box::new(message))
        });
    }
    for (number, batch) in records.chunks(BATCH).enumerate() {
        case.write_segment(MESSAGES, &format!("{PREFIX}{number:06}"), batch)?;
    }
    explain::write(case, stories)
}

/// What a person reads.
fn text(state: &CarveState) -> String {
    let mut rows = vec![
        [
            "device",
            "block",
            "whole",
            "by body hash",
            "damaged",
            "known already",
            "without account",
            "text left",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (name, counts) in &state.devices {
        rows.push(vec![
            name.clone(),
            bytes(counts.block_bytes),
            counts.whole.to_string(),
            counts.by_body_hash.to_string(),
            counts.damaged.to_string(),
            counts.known.to_string(),
            counts.unattributed.to_string(),
            bytes(counts.unclaimed),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_in_free_blocks_was_deleted_only_where_no_other_file_system_was() {
        let opened = |name: &str| (name.to_owned(), View::Opened(name.to_owned()));
        let older = (
            "disk:b#ext4-00000400".to_owned(),
            View::Device("disk:b".to_owned()),
        );
        let views = [opened("disk:a"), opened("disk:b"), older];
        let found = of_one_filesystem(&views.into_iter().collect());
        assert_eq!(found, BTreeSet::from(["disk:a".to_owned()]));
    }
}
