//! What would bring more: tried, not guessed.
//!
//! Every disk of which something could not be read, and every member that is missing, is put into
//! the aggregate once more as one that can be *mended*: its gaps are read as if they were there. Then
//! each damaged message is read with one of them mended at a time. Which message would be whole
//! again does not depend on what its missing bytes are, only on whether they can be had; so the
//! answer is that of the arrays' own arithmetic, whatever lies between message and disk.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aggregate::Disk;
use aggregate::document::{Aggregate, Area, DeviceName, Group, Member, SegmentMap};
use anyhow::Result;
use case::Case;
use evidence::{ByteOffset, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};
use filesystem::{Extent, File, Place};
use mail::codec::MAX_MESSAGE_BYTES;
use mail::proof::HoleCause;
use mail::record::Needs;
use mail::{Message, Record};
use report::{Facts, Wanted};

use crate::commands::sync::views_of;
use crate::session::{Session, open_disks, stated};

/// So many damaged messages are tried, and so many places of file systems.
const MOST_TRIED: usize = 20_000;
/// The least that a disk loses.
const SECTOR: u64 = 512;

/// What would bring more of the mail that `facts` calls damaged; `None` before `assemble`.
pub(super) fn wanted(case: &Case, facts: &Facts) -> Result<Option<Vec<Wanted>>> {
    if facts.aggregate.is_none() {
        return Ok(None);
    }
    let mut aggregate = stated(case)?;
    let (disks, sources) = with_sources(&mut aggregate, open_disks(case)?);
    if sources.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let session = Session::build(aggregate, &disks)?;
    let views = views_of(case, &session)?;
    let mut trial = Trial {
        tried: sources.iter().map(Tried::new).collect(),
        sources,
    };
    let mut damaged = damaged(facts);
    let mut lost = lost(facts);
    for record in report::records(case)? {
        match record? {
            Record::Message(message)
                if is_candidate(&message) && damaged.remove(message.id.as_str()) =>
            {
                let origin = &message.origin;
                let view = views.get(&origin.device);
                let read = || view.is_some_and(|view| is_readable(view, &origin.pieces));
                trial.of(read, Need::Message(message.bytes));
            }
            Record::Lost(note) if lost.remove(&place(&note.device, &note.path)) => {
                let view = views.get(&note.device);
                let (pieces, need) = match note.needs {
                    Some(Needs::Contents(pieces)) => {
                        let bytes = note.bytes.unwrap_or_else(|| length(&pieces));
                        (pieces, Need::Message(bytes))
                    }
                    Some(Needs::Inode(at)) => (vec![sector(at)], Need::Place),
                    None => continue,
                };
                trial.of(|| view.is_some_and(|view| is_readable(view, &pieces)), need);
            }
            _ => {}
        }
    }
    for loss in facts.losses.iter().take(MOST_TRIED) {
        let Ok((_, device)) = session.device(&loss.source) else {
            continue;
        };
        let at = ByteOffset::new(loss.offset);
        let length = SECTOR.min(device.len().saturating_sub(loss.offset));
        let length = usize::try_from(length).unwrap_or(0);
        trial.of(|| can_be_had(device.read_vec(at, length)), Need::Place);
    }
    Ok(Some(trial.finish()))
}

/// The damaged messages that no whole copy makes up for.
fn damaged(facts: &Facts) -> BTreeSet<&str> {
    let all = facts.accounts.iter();
    all.flat_map(|account| &account.damaged_messages)
        .filter(|message| message.whole_copy.is_none())
        .map(|message| message.id.as_str())
        .take(MOST_TRIED)
        .collect()
}

/// The lost messages, by their devices and paths.
fn lost(facts: &Facts) -> BTreeSet<String> {
    let all = facts.accounts.iter();
    all.flat_map(|account| &account.lost_messages)
        .map(|message| place(&message.device, &message.path))
        .take(MOST_TRIED)
        .collect()
}

fn place(device: &str, path: &str) -> String {
    format!("{device}:{path}")
}

/// Whether it is worth to try a message: it has holes that a disk could fill.
fn is_candidate(message: &Message) -> bool {
    let by_disk = |cause: &HoleCause| matches!(cause, HoleCause::Gap(_) | HoleCause::DoesNotDecode);
    message.holes.iter().any(|hole| by_disk(&hole.why))
}

/// The first sector of what lies at `at`.
const fn sector(at: u64) -> Extent {
    Extent {
        file_offset: 0,
        length: SECTOR,
        place: Place::At(ByteOffset::new(at)),
    }
}

fn length(pieces: &[Extent]) -> u64 {
    let lengths = pieces.iter().map(|piece| piece.length);
    lengths.fold(0, u64::saturating_add)
}

/// Whether all that lies in `pieces` can be read, right or wrong.
fn is_readable(view: &Arc<dyn ReadAt>, pieces: &[Extent]) -> bool {
    let bytes = length(pieces);
    if bytes > MAX_MESSAGE_BYTES {
        return false;
    }
    let file = File::from_pieces(Arc::clone(view), bytes, pieces.to_vec());
    let bytes = usize::try_from(bytes).ok();
    file.zip(bytes)
        .is_some_and(|(file, bytes)| can_be_had(file.read_vec(ByteOffset::ZERO, bytes)))
}

/// Whether a read has no gap but those that stand-ins for missing bytes make: what is mended fits
/// no checksum.
fn can_be_had<E>(read: Result<(Vec<u8>, Gaps), E>) -> bool {
    let stood_in = |cause| matches!(cause, GapCause::ChecksumMismatch | GapCause::DoesNotDecode);
    read.is_ok_and(|(_, gaps)| gaps.iter().all(|gap| stood_in(gap.cause)))
}

/// Something that could be had one day: a disk, or what could not be read of it.
struct Source {
    what: String,
    disk: Arc<Mendable>,
}

/// A disk whose gaps can be read as if they were there.
struct Mendable {
    /// What is there of it; nothing of a disk that is missing.
    disk: Option<Arc<dyn ReadAt>>,
    bytes: u64,
    is_mended: AtomicBool,
    /// What was asked for and could not be read since this was last looked at.
    missed: Mutex<Vec<Range<u64>>>,
}

impl Mendable {
    fn new(disk: Option<Arc<dyn ReadAt>>, bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            disk,
            bytes,
            is_mended: AtomicBool::new(false),
            missed: Mutex::default(),
        })
    }

    fn take_missed(&self) -> Vec<Range<u64>> {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *missed)
    }

    fn mend(&self, is_mended: bool) {
        self.is_mended.store(is_mended, Ordering::Relaxed);
    }

    /// What of a read is there, and the gaps in it.
    fn read_there(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let length = buf.len();
        let Some(disk) = &self.disk else {
            buf.fill(0);
            return Ok(Gaps::one(0..length, GapCause::MemberMissing));
        };
        let there = usize::try_from(disk.len().saturating_sub(at.get())).unwrap_or(usize::MAX);
        let (inside, beyond) = buf.split_at_mut(there.min(length));
        let mut gaps = match inside.is_empty() {
            true => Gaps::none(),
            false => disk.read_at(at, inside)?,
        };
        beyond.fill(0);
        gaps.add(inside.len()..length, GapCause::BeyondEnd);
        Ok(gaps)
    }
}

impl ReadAt for Mendable {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let gaps = self.read_there(at, buf)?;
        if self.is_mended.load(Ordering::Relaxed) {
            return Ok(Gaps::none());
        }
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        missed.extend(gaps.iter().map(|gap| {
            let start = at.get().saturating_add(gap.range.start as u64);
            start..start.saturating_add(gap.range.len() as u64)
        }));
        Ok(gaps)
    }
}

/// Puts a source into `aggregate` for everything that is missing, and into `disks` for everything
/// that could not be read.
fn with_sources(aggregate: &mut Aggregate, disks: Vec<Disk>) -> (Vec<Disk>, Vec<Source>) {
    let mut sources = Vec::new();
    let mut all = Vec::new();
    for (name, disk) in disks {
        let needed = needed(aggregate, &DeviceName::disk(&name)).max(disk.len());
        let what = match (disk.known_gaps(), needed > disk.len()) {
            (0, false) => {
                all.push((name, disk));
                continue;
            }
            (0, true) => format!("the end of disk:{name}, whose image is cut short"),
            (_, false) => format!("the areas of disk:{name} that could not be read"),
            (_, true) => format!("what is not there of disk:{name}"),
        };
        let disk = Mendable::new(Some(disk), needed);
        sources.push(Source {
            what,
            disk: Arc::clone(&disk),
        });
        all.push((name, disk as Arc<dyn ReadAt>));
    }
    let mut missing = |what: String, bytes: u64| {
        let name = format!("missing-{}", all.len());
        let disk = Mendable::new(None, bytes);
        sources.push(Source {
            what,
            disk: Arc::clone(&disk),
        });
        all.push((name.clone(), disk as Arc<dyn ReadAt>));
        DeviceName::disk(&name)
    };
    for group in &mut aggregate.groups {
        let bytes = member_bytes(group);
        for member in &mut group.members {
            if member.device.is_none() {
                let (role, name) = (member.role, &group.name);
                let what = format!("the missing member in role {role} of group:{name}");
                member.device = Some(missing(what, bytes));
                (member.data_offset, member.data_size) = (0, bytes);
            }
        }
    }
    for volume in &mut aggregate.volumes {
        let what = format!("the missing device of {}", volume.device);
        let ends = volume.segments.iter_mut().flat_map(|segment| {
            let bytes = segment.bytes;
            areas(&mut segment.map)
                .iter_mut()
                .filter(|area| area.device.is_none())
                .map(move |area| (area.offset.saturating_add(bytes), area))
        });
        let mut ends: Vec<(u64, &mut Area)> = ends.collect();
        let Some(bytes) = ends.iter().map(|(end, _)| *end).max() else {
            continue;
        };
        let device = missing(what, bytes);
        for (_, area) in &mut ends {
            area.device = Some(device.clone());
        }
    }
    (all, sources)
}

/// How many bytes the members on `device` need of it.
fn needed(aggregate: &Aggregate, device: &DeviceName) -> u64 {
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    let on_it = members.filter(|member| member.device.as_ref() == Some(device));
    let end = |member: &Member| member.data_offset.saturating_add(member.data_size);
    on_it.map(end).max().unwrap_or(0)
}

/// How long the data of a member of `group` are, by those that are there.
fn member_bytes(group: &Group) -> u64 {
    let sizes = group.members.iter().map(|member| member.data_size);
    sizes.max().unwrap_or(0)
}

/// The areas of a segment that may lie on a missing device.
fn areas(map: &mut SegmentMap) -> &mut [Area] {
    match map {
        SegmentMap::Linear(area) | SegmentMap::Framed { area, .. } => std::slice::from_mut(area),
        SegmentMap::Striped { areas, .. } | SegmentMap::Mirrored { areas } => areas,
        SegmentMap::Snapshot { .. }
        | SegmentMap::Thin { .. }
        | SegmentMap::Zero
        | SegmentMap::Missing { .. } => &mut [],
    }
}

/// What is tried.
#[derive(Clone, Copy)]
enum Need {
    /// A message of so many bytes.
    Message(u64),
    /// A place of a file system.
    Place,
}

/// What came of a source so far.
struct Tried {
    wanted: Wanted,
    /// The ranges that each thing that needs it needs.
    needs: Vec<Vec<Range<u64>>>,
}

impl Tried {
    fn new(source: &Source) -> Self {
        Self {
            wanted: Wanted {
                what: source.what.clone(),
                ..Wanted::default()
            },
            needs: Vec::new(),
        }
    }

    fn brings(&mut self, need: Need, alone: bool) {
        let (count, bytes) = match (need, alone) {
            (Need::Message(bytes), true) => (&mut self.wanted.messages, bytes),
            (Need::Message(_), false) => (&mut self.wanted.with_others, 0),
            (Need::Place, true) => (&mut self.wanted.places, 0),
            (Need::Place, false) => return,
        };
        *count = count.saturating_add(1);
        self.wanted.bytes = self.wanted.bytes.saturating_add(bytes);
    }
}

/// The sources, and what came of each.
struct Trial {
    sources: Vec<Source>,
    tried: Vec<Tried>,
}

impl Trial {
    /// Tries which sources make `read` succeed.
    fn of(&mut self, read: impl Fn() -> bool, need: Need) {
        for source in &self.sources {
            drop(source.disk.take_missed());
        }
        if read() {
            return;
        }
        let missed: Vec<(usize, Vec<Range<u64>>)> = self
            .sources
            .iter()
            .map(|source| source.disk.take_missed())
            .enumerate()
            .filter(|(_, missed)| !missed.is_empty())
            .collect();
        let touched: Vec<usize> = missed.iter().map(|(index, _)| *index).collect();
        let mut brings: Vec<usize> = touched
            .iter()
            .copied()
            .filter(|index| self.with_mended(&[*index], &read))
            .collect();
        let alone = !brings.is_empty();
        if !alone && touched.len() > 1 && self.with_mended(&touched, &read) {
            brings = touched;
        }
        for (index, ranges) in missed {
            if brings.contains(&index)
                && let Some(tried) = self.tried.get_mut(index)
            {
                tried.brings(need, alone);
                tried.needs.push(ranges);
            }
        }
    }

    /// What `read` says while the sources in `mended` are.
    fn with_mended(&self, mended: &[usize], read: impl Fn() -> bool) -> bool {
        let sources = || mended.iter().filter_map(|index| self.sources.get(*index));
        sources().for_each(|source| source.disk.mend(true));
        let outcome = read();
        sources().for_each(|source| source.disk.mend(false));
        outcome
    }

    fn finish(self) -> Vec<Wanted> {
        let tried = self.tried.into_iter();
        let wanted = tried.map(|mut tried| {
            tried.wanted.set_regions(&tried.needs);
            tried.wanted
        });
        report::ranked(wanted.collect())
    }
}
