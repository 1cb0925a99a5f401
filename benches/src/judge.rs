//! Compares what `aggregate` made of the disks with what was laid out on them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use aggregate::document::{Aggregate, DeviceName, Group, SegmentMap};
use evidence::{ByteOffset, ReadAt};

use crate::random::Random;

/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

/// Blocks by which a group that begins elsewhere is aligned with the content: offsets and chunks
/// are multiples of them.
const BLOCK: usize = 4096;

/// How far into a group its content is looked for: further than any data offset, on each of as
/// many members as hold data.
const MOST_BEFORE: u64 = 14 * (132 << 20);

/// Places that are read once more without some members, and how much at each.
const DEGRADED_READS: usize = 24;
const DEGRADED_BYTES: usize = 16 << 10;

/// How an answer stands to the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One group of all the disks, every byte of the content in its place, and the same when
    /// any of the members that may be missing are rebuilt.
    Exact,
    /// As exact, but the group begins in another row than the content: it says so.
    StartUnknown,
    /// What reads, reads right; disks or the end of the content are left out.
    Partial(String),
    /// No group, and losses that name every disk.
    Tie,
    /// No group, and no loss says so of every disk.
    Silent,
    /// Something false.
    Wrong(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::StartUnknown => f.write_str("exact but for its start"),
            Self::Partial(why) => write!(f, "in part: {why}"),
            Self::Tie => f.write_str("a loss"),
            Self::Silent => f.write_str("nothing is said"),
            Self::Wrong(why) => write!(f, "WRONG: {why}"),
        }
    }
}

/// What was laid out.
pub struct Truth<'a> {
    /// What the group holds from its first byte on.
    pub content: &'a [u8],
    /// The names of its disks that are there.
    pub disks: BTreeSet<DeviceName>,
    /// Sets of them that may be taken away with every byte still to be had.
    pub spare: Vec<BTreeSet<DeviceName>>,
    /// Whether a disk alone holds what the group does: a volume may lie on it.
    pub is_mirror: bool,
}

/// Judges what `aggregate` says of one group.
pub fn judge(aggregate: &Aggregate, disks: &[aggregate::Disk], truth: &Truth<'_>) -> Verdict {
    let volume = match on_bare_disks(aggregate, disks, truth) {
        Err(why) => return Verdict::Wrong(why),
        Ok(volume) => volume,
    };
    let own: Vec<&Group> = aggregate
        .groups
        .iter()
        .filter(|group| members(group).any(|name| truth.disks.contains(name)))
        .collect();
    let mut verdict = None;
    for group in &own {
        match judge_group(group, disks, truth) {
            wrong @ Verdict::Wrong(_) => return wrong,
            other => verdict = Some(other),
        }
    }
    match verdict {
        Some(_) if own.len() > 1 => Verdict::Partial(format!("{} groups", own.len())),
        Some(verdict) => verdict,
        None if let Some(verdict) = volume => verdict,
        None if truth.is_mirror && is_on_each(aggregate, disks, truth) => Verdict::Exact,
        None if losses_name_all(aggregate, truth) => Verdict::Tie,
        None => Verdict::Silent,
    }
}

/// The devices of a group that are there.
pub fn members(group: &Group) -> impl Iterator<Item = &DeviceName> {
    group
        .members
        .iter()
        .filter_map(|member| member.device.as_ref())
}

/// Judges the volumes that were put on disks which are members: a linear group is one after all,
/// whoever says so, and the answer if it lies on all of them.
fn on_bare_disks(
    aggregate: &Aggregate,
    disks: &[aggregate::Disk],
    truth: &Truth<'_>,
) -> Result<Option<Verdict>, String> {
    let Some(devices) = aggregate::build(aggregate, disks)
        .ok()
        .filter(|_| !truth.is_mirror)
    else {
        return Ok(None);
    };
    let mut best = None;
    for volume in &aggregate.volumes {
        let on: BTreeSet<&DeviceName> = volume
            .segments
            .iter()
            .flat_map(|segment| match &segment.map {
                SegmentMap::Linear(area) => std::slice::from_ref(area),
                SegmentMap::Striped { areas, .. } | SegmentMap::Mirrored { areas } => areas,
                _ => &[],
            })
            .filter_map(|area| area.device.as_ref())
            .filter(|name| truth.disks.contains(name))
            .collect();
        if on.is_empty() {
            continue;
        }
        let name = &volume.device;
        let device = devices.get(name);
        let device = device.ok_or_else(|| format!("{name} cannot be read"))?;
        let shift = align(&*device, truth.content);
        let compared = compare(&*device, truth.content, shift);
        if compared.differs.is_some() {
            let what = compared.describe(truth.content.len());
            return Err(format!("{name} lies on bare members, and {what}"));
        }
        if on.len() == truth.disks.len() {
            best = Some(match (compared.gaps, shift) {
                (0, 0) if compared.same == truth.content.len() => Verdict::Exact,
                (0, shift) if shift > 0 && compared.same >= truth.content.len() / 2 => {
                    Verdict::StartUnknown
                }
                (gaps, _) => Verdict::Partial(format!("{gaps} bytes of {name} cannot be read")),
            });
        }
    }
    Ok(best)
}

/// Whether the content lies from the start on each disk that is not left out, and is seen there: what
/// reads a disk that is no group finds it.
fn is_on_each(aggregate: &Aggregate, disks: &[aggregate::Disk], truth: &Truth<'_>) -> bool {
    let holds = |name: &DeviceName| {
        let disk = disks.iter().find(|(own, _)| DeviceName::disk(own) == *name);
        disk.is_some_and(|(_, device)| {
            let compared = compare(&**device, truth.content, 0);
            compared.differs.is_none() && compared.same == truth.content.len()
        })
    };
    truth.disks.iter().all(|name| {
        let copy = aggregate.unused.iter().any(|unused| unused.device == *name);
        let seen = aggregate.filesystems.iter().any(|fs| fs.device == *name);
        copy || (seen && holds(name))
    })
}

fn losses_name_all(aggregate: &Aggregate, truth: &Truth<'_>) -> bool {
    let text: String = aggregate
        .losses
        .iter()
        .map(|loss| format!("{loss}\n"))
        .collect();
    truth.disks.iter().all(|name| text.contains(&name.0))
}

/// Judges one group that has disks of the truth.
fn judge_group(group: &Group, disks: &[aggregate::Disk], truth: &Truth<'_>) -> Verdict {
    if let Some(other) = members(group).find(|name| !truth.disks.contains(name)) {
        return Verdict::Wrong(format!("{other} is no member of this group"));
    }
    let Some(device) = open(group, disks) else {
        return Verdict::Wrong("the document refuses its own group".to_owned());
    };
    let mut shift = 0;
    let mut compared = compare(&*device, truth.content, shift);
    if compared.differs.is_some() {
        let first = compared.clone();
        shift = align(&*device, truth.content);
        compared = compare(&*device, truth.content, shift);
        if shift == 0 || compared.differs.is_some() {
            return Verdict::Wrong(first.describe(truth.content.len()));
        }
    }
    if let Some(why) = degraded(group, disks, truth, shift) {
        return Verdict::Wrong(why);
    }
    let left_out = truth.disks.len() - members(group).count();
    if left_out > 0 {
        return Verdict::Partial(format!("{left_out} members are left out"));
    }
    if compared.gaps > 0 {
        return Verdict::Partial(format!("{} bytes cannot be read", compared.gaps));
    }
    // What begins later has lost its start; more than half must be there still.
    let least = if shift > 0 {
        truth.content.len() / 2
    } else {
        truth.content.len()
    };
    if compared.same < least {
        return Verdict::Partial(format!("{} bytes of it are there", compared.same));
    }
    match shift {
        0 => Verdict::Exact,
        _ => Verdict::StartUnknown,
    }
}

/// The device of a group alone.
fn open(group: &Group, disks: &[aggregate::Disk]) -> Option<std::sync::Arc<dyn ReadAt>> {
    let alone = Aggregate {
        version: aggregate::document::VERSION,
        groups: vec![group.clone()],
        ..Aggregate::default()
    };
    let devices = aggregate::build(&alone, disks).ok()?;
    devices.get(&DeviceName::group(&group.name))
}

/// How a device stands to the content.
#[derive(Clone, Debug, Default)]
struct Compared {
    /// Where in the content the first byte differs, and how many pieces do.
    differs: Option<usize>,
    pieces: usize,
    /// How many bytes are the same, and how many could not be read.
    same: usize,
    gaps: usize,
}

impl Compared {
    fn describe(&self, length: usize) -> String {
        format!(
            "byte {} differs, and with it {} of {} MiB",
            self.differs.unwrap_or(0),
            self.pieces,
            length.div_ceil(PIECE)
        )
    }
}

/// Compares byte `at + shift` of the content with byte `at` of the device, as far as both go.
fn compare(device: &dyn ReadAt, content: &[u8], shift: i64) -> Compared {
    let mut compared = Compared::default();
    let start = shift.max(0) as usize;
    for from in (start..content.len()).step_by(PIECE) {
        let piece = &content[from..(from + PIECE).min(content.len())];
        let at = (from as i64 - shift) as u64;
        let there = device.len().saturating_sub(at).min(piece.len() as u64) as usize;
        let mut read = vec![0; there];
        let Ok(gaps) = device.read_at(ByteOffset::new(at), &mut read) else {
            break;
        };
        for gap in gaps.iter() {
            read[gap.range.clone()].copy_from_slice(&piece[gap.range.clone()]);
        }
        compared.gaps += gaps.bytes();
        match read.iter().zip(piece).position(|(a, b)| a != b) {
            Some(place) => {
                compared.differs.get_or_insert(from + place);
                compared.pieces += 1;
            }
            None => compared.same += there,
        }
    }
    compared
}

/// By how much the content is ahead of the device, by the blocks that both have once.
fn align(device: &dyn ReadAt, content: &[u8]) -> i64 {
    let mut places: HashMap<&[u8], Option<usize>> = HashMap::new();
    for (number, block) in content.chunks_exact(BLOCK).enumerate() {
        let place = places.entry(block).or_insert(Some(number));
        if *place != Some(number) {
            *place = None;
        }
    }
    let mut votes: HashMap<i64, u32> = HashMap::new();
    let mut block = [0; BLOCK];
    let length = device.len().min(content.len() as u64 + MOST_BEFORE);
    for at in (0..length.saturating_sub(BLOCK as u64)).step_by(BLOCK) {
        let gaps = device.read_at(ByteOffset::new(at), &mut block);
        if gaps.is_ok_and(|gaps| gaps.is_empty())
            && let Some(Some(number)) = places.get(&block[..])
        {
            *votes
                .entry((number * BLOCK) as i64 - at as i64)
                .or_default() += 1;
        }
    }
    let most = votes
        .into_iter()
        .max_by_key(|(shift, votes)| (*votes, -shift));
    most.map_or(0, |(shift, _)| shift)
}

/// What reads otherwise when members are taken away that need not be there.
fn degraded(
    group: &Group,
    disks: &[aggregate::Disk],
    truth: &Truth<'_>,
    shift: i64,
) -> Option<String> {
    let mut random = Random::new(truth.content.len() as u64);
    for gone in &truth.spare {
        let mut less = group.clone();
        for member in &mut less.members {
            if member
                .device
                .as_ref()
                .is_some_and(|name| gone.contains(name))
            {
                member.device = None;
            }
        }
        let Some(device) = open(&less, disks).filter(|_| less != *group) else {
            continue;
        };
        for _ in 0..DEGRADED_READS {
            let last = truth.content.len().saturating_sub(DEGRADED_BYTES);
            let from = random.below(last / 512 + 1) * 512;
            let piece = &truth.content[from..(from + DEGRADED_BYTES).min(truth.content.len())];
            let Ok(at) = u64::try_from(from as i64 - shift) else {
                continue;
            };
            let mut read = vec![0; piece.len()];
            let Ok(gaps) = device.read_at(ByteOffset::new(at), &mut read) else {
                continue;
            };
            let differs = |place: &usize| read[*place] != piece[*place];
            let place = (0..piece.len())
                .filter(differs)
                .find(|place| !gaps.touch(*place..place + 1));
            if let Some(place) = place {
                return Some(format!(
                    "byte {} differs when {gone:?} are rebuilt",
                    from + place
                ));
            }
        }
    }
    None
}
