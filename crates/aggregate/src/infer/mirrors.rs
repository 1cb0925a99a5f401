//! Mirrors: devices with equal contents, and what begins on one of them.
//!
//! To everything else a mirror is one device, which the first of its members stands for: RAID-10
//! with near copies reads as a RAID-0 over mirrors. What begins on a device and is no longer
//! than the rest of it makes that a RAID-1, of as many members as have the same contents.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt};

use super::anchored::distinct;
use super::anchors::{Anchor, Source};
use super::sample::Candidate;
use super::start::{is_confirmed, start};
use crate::document::{Group, Member};
use crate::raid::{Geometry, Level};

/// Where the data of a mirror may begin: at each multiple of [`STEP`] up to [`NEAR`], and where
/// mdadm lets it begin on large members.
const STEP: u64 = 4096;
const NEAR: u64 = 8 << 20;
const USUAL: [u64; 2] = [132_736 * 512, 264_192 * 512];

/// Places that state their address which make a file system lie in one piece, and how far apart
/// the first and the last of them must be: more than any chunk.
const LEAST_ANCHORS: usize = 8;
const LEAST_REACH: u64 = 8 << 20;

/// Sets of devices of which each two neighbours are `pairs`.
pub(super) fn classes(pairs: &[[usize; 2]]) -> Vec<Vec<usize>> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for pair in pairs {
        let mut joined = pair.to_vec();
        classes.retain(|class| {
            let apart = !class.iter().any(|device| pair.contains(device));
            if !apart {
                joined.extend(class);
            }
            apart
        });
        joined.sort_unstable();
        joined.dedup();
        classes.push(joined);
    }
    classes.sort_unstable();
    classes
}

/// A mirror, and whether it was made over a group of an older array.
pub(super) struct Mirror {
    pub(super) group: Group,
    /// Whether blocks of another file system lie where its own does, in pieces that go on on other devices.
    pub(super) is_over_another: bool,
}

/// The RAID-1 of the devices in `class`, if something begins on them and ends there too, or if a
/// file system lies on them in one piece.
pub(super) fn mirror(
    class: &[usize],
    candidates: &[Candidate],
    anchors: &[Anchor],
) -> Option<Mirror> {
    let members: Vec<&Candidate> = class.iter().filter_map(|d| candidates.get(*d)).collect();
    let shortest = members.iter().map(|member| member.device.len()).min()?;
    let first = *class.first()?;
    let found =
        find(&members.first()?.device, shortest, &begins(class, anchors)).or_else(|| {
            let piece = in_one_piece(first, anchors)?;
            (!piece.goes_on).then_some(())?;
            Some(Found {
                offset: u64::try_from(piece.begin).ok()?,
                why: piece.why,
                filesystem: Some(piece.reach),
            })
        })?;
    let own = found.filesystem.as_ref();
    let is_over_another = own.is_some_and(|own| has_pieces_within(first, own, anchors));
    Some(Mirror {
        group: group(&members, found.offset, found.why, 0.95)?,
        is_over_another,
    })
}

/// The RAID-1 of the devices in `class`, if they are several: that they are equal makes them one, whatever
/// lies on it.
pub(super) fn of_equals(class: &[usize], candidates: &[Candidate]) -> Option<Group> {
    let members: Vec<&Candidate> = class.iter().filter_map(|d| candidates.get(*d)).collect();
    let why = "where it begins is not known: the start of the devices is taken, and what lies on it is found by its own addresses; if others are missing it may be a part of a RAID-10, and if one disk was added twice it is none";
    (members.len() > 1).then(|| group(&members, 0, why.to_owned(), 0.8))?
}

/// The RAID-1 of `members`, on which data begins at `offset`.
fn group(members: &[&Candidate], offset: u64, why: String, confidence: f64) -> Option<Group> {
    let shortest = members.iter().map(|member| member.device.len()).min()?;
    let level = Level::Raid1 {
        members: u32::try_from(members.len()).ok()?,
    };
    let bytes = shortest.checked_sub(offset)?;
    let copies = match members.len() {
        1 => "no label, and no other device with the same contents: the rest of a mirror, or a plain device".to_owned(),
        count => format!("no label: the contents of these {count} devices are equal"),
    };
    Some(Group {
        name: String::new(),
        geometry: Geometry::filling(level, bytes).ok()?,
        members: (0..)
            .zip(members)
            .map(|(role, member)| Member {
                role,
                device: Some(member.name.clone()),
                data_offset: offset.saturating_add(member.shift),
                data_size: bytes,
                left_out: None,
                bad_blocks: Vec::new(),
            })
            .collect(),
        evidence: vec![copies, why],
        confidence,
        over: Vec::new(),
    })
}

/// Whether blocks of a file system lie within a part of a device, and elsewhere, and not in one piece.
fn has_pieces_within(device: usize, part: &Range<u64>, anchors: &[Anchor]) -> bool {
    let within = |anchor: &&Anchor| anchor.device == device && part.contains(&anchor.at);
    let certain = anchors
        .iter()
        .filter(|one| one.source.is_direct() && one.is_certain());
    let sources: BTreeSet<Source> = certain.filter(within).map(|one| one.source).collect();
    sources.into_iter().any(|source| {
        let on = |device: &usize| distinct(anchors, source, &[*device]);
        let devices: BTreeSet<usize> = anchors.iter().map(|anchor| anchor.device).collect();
        let many = devices
            .iter()
            .filter(|device| on(device).len() >= LEAST_ANCHORS);
        let own = on(&device)
            .into_iter()
            .filter(|anchor| part.contains(&anchor.at));
        let own: Vec<&Anchor> = own.collect();
        let most = most_begin(&own).map_or(0, |(_, count)| count);
        own.len() >= LEAST_ANCHORS && most * 2 < own.len() && many.count() > 1
    })
}

/// Where file systems would begin on a mirror by the blocks on it, if there are copies: a device alone
/// may hold a part of what they say.
fn begins(class: &[usize], anchors: &[Anchor]) -> BTreeSet<u64> {
    let first = class.first().filter(|_| class.len() > 1);
    let own = |anchor: &&Anchor| {
        Some(&anchor.device) == first && anchor.source.is_direct() && anchor.is_certain()
    };
    let own = anchors.iter().filter(own);
    own.filter_map(|anchor| anchor.at.checked_sub(anchor.address))
        .collect()
}

/// What begins on a mirror.
struct Found {
    offset: u64,
    why: String,
    /// Where it lies, if it is a file system.
    filesystem: Option<Range<u64>>,
}

/// The first place at which something begins that fits before `end`: a usual one, or one `more`.
fn find(device: &Arc<dyn ReadAt>, end: u64, more: &BTreeSet<u64>) -> Option<Found> {
    let near = (0..=NEAR / STEP).map(|number| number * STEP);
    let places = near.chain(USUAL).chain(more.iter().copied());
    let mut places = places.filter(|offset| *offset < end);
    places.find_map(|offset| {
        let room = end.checked_sub(offset)?;
        let rest = Slice::new(Arc::clone(device), ByteOffset::new(offset), room);
        let begins = start(&rest)?;
        (!begins.is_filesystem || is_confirmed(&rest)).then_some(())?;
        let bytes = begins.bytes.filter(|bytes| *bytes > 0 && *bytes <= room)?;
        let why = format!(
            "{} begins {offset} bytes into it, and is no longer than what is left there",
            begins.what
        );
        let own = offset..offset.saturating_add(bytes);
        Some(Found {
            offset,
            why,
            filesystem: begins.is_filesystem.then_some(own),
        })
    })
}

/// A file system, or a part of one, that lies on a device in one piece.
pub(super) struct InOnePiece {
    /// Where on the device the file system begins, or would begin.
    begin: i64,
    /// Whether other devices hold blocks of it too.
    pub(super) goes_on: bool,
    pub(super) why: String,
    /// From its first place to its last.
    reach: Range<u64>,
}

/// Where on a device the file system of some places there would begin by most of them, and by how many.
fn most_begin(anchors: &[&Anchor]) -> Option<(i64, usize)> {
    let mut begins: BTreeMap<i64, usize> = BTreeMap::new();
    for anchor in anchors {
        let at = i64::try_from(anchor.at).ok();
        if let Some(begin) = at.and_then(|at| at.checked_sub_unsigned(anchor.address)) {
            *begins.entry(begin).or_default() += 1;
        }
    }
    begins.into_iter().max_by_key(|(_, count)| *count)
}

/// The file system whose blocks lie on the device at a constant distance from their addresses: they
/// are not spread over several devices in chunks.
pub(super) fn in_one_piece(device: usize, anchors: &[Anchor]) -> Option<InOnePiece> {
    let own = anchors.iter().filter(|anchor| anchor.device == device);
    let own = own.filter(|anchor| anchor.source.is_direct());
    let sources: BTreeSet<Source> = own.map(|anchor| anchor.source).collect();
    sources.into_iter().find_map(|source| {
        let goes_on = anchors.iter().any(|a| a.source == source && a.device != device);
        let anchors = distinct(anchors, source, &[device]);
        let (begin, count) = most_begin(&anchors)?;
        let addresses = anchors.iter().map(|anchor| anchor.address);
        let reach = addresses.clone().max()? - addresses.min()?;
        let most = count >= LEAST_ANCHORS && count * 10 >= anchors.len() * 9;
        let places = anchors.iter().map(|anchor| anchor.at);
        let last = places.clone().max()?;
        let first = places.min()?;
        (most && reach >= LEAST_REACH).then(|| InOnePiece {
            begin,
            goes_on,
            reach: first..last,
            why: format!(
                "a file system lies on it in one piece from {begin} on: {count} of {} places state so",
                anchors.len()
            ),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_share_a_device_are_one_mirror() {
        assert_eq!(classes(&[[0, 4], [1, 2], [2, 4]]), [vec![0, 1, 2, 4]]);
        assert_eq!(classes(&[[0, 1], [2, 3]]), [vec![0, 1], vec![2, 3]]);
    }
}
