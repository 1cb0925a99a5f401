//! Where on its members a group begins: what lies on it need not lie at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::hypothesis::Hypothesis;
use super::relations::Set;
use super::sample::{Candidate, Row};
use super::score::Answer;
use super::start::{Start, start};
use super::verify;

/// Rows in which the group's start is looked for.
const MOST_ROWS: u64 = 1 << 16;

/// Where mdadm lets data begin on members of some hundred megabytes and more: taken if nothing
/// says where a group begins and its rows allow it.
pub(super) const USUAL: u64 = 1 << 20;

/// A group begins this near to the start of its members, or where mdadm lets it begin on large
/// ones: a file system further behind, with zeros before it, may be one of several volumes.
pub(super) const NEAR: u64 = 8 << 20;
pub(super) const FAR: [u64; 2] = [132_736 * 512, 264_192 * 512];

/// Rows with contents before a place: with so many a group does not begin with the file system
/// there. Labels and bitmaps of arrays fill fewer, and lie in the first [`LABELS`] bytes.
const ROWS_BEFORE: usize = 32;
const LABELS: u64 = 64 << 10;

/// By so many bytes labels and tables are told apart: with LVM's comes the header of a metadata area.
const HEAD: usize = 8192;

/// A hypothesis with the offset at which its members' data begins.
pub(super) struct Based<'a> {
    pub(super) hypothesis: &'a Hypothesis,
    /// In bytes, the same on every member.
    pub(super) offset: u64,
    /// How long the group is by what it begins with, in bytes.
    pub(super) bytes: Option<u64>,
    /// What says so.
    pub(super) evidence: String,
}

/// Finds the start of the group.
///
/// The notations claim the same, but number the rows from different ones. Row 0 is the one at
/// which LVM's label or metadata area, or a partition table, lies as its format wants it; or a
/// file system, if nothing of the group lies before that. Without any of these the group is
/// taken to begin as far in front as its rows go: what lies on it is found by its own address.
///
/// A file system is none that it begins with if its blocks say that they lie elsewhere
/// (`is_contradicted`): then it lies in stripes over this group and others. Nor does it begin with what
/// half of its anchors lie before: another group begins there, on some of these devices; or with a file
/// system within which another one begins: that one is of a newer array, on one of its members. Where several
/// members begin with labels or tables of their own, these were written over the group.
pub(super) fn find<'a>(
    answer: &'a Answer,
    candidates: &[Candidate],
    rows: &[Row],
    is_contradicted: bool,
) -> Result<Based<'a>, String> {
    let notations = &answer.notations;
    let mut below: BTreeMap<u64, Based<'a>> = BTreeMap::new();
    let mut filesystem: BTreeMap<u64, Based<'a>> = BTreeMap::new();
    for hypothesis in notations {
        let before = |offset: &u64| answer.middle.is_none_or(|middle| *offset <= middle);
        for offset in starts(hypothesis, candidates).take_while(before) {
            let Some(group) = verify::open(hypothesis, candidates, offset, &|_| true) else {
                continue;
            };
            let Some(Start {
                what,
                is_filesystem,
                bytes,
            }) = start(&group)
            else {
                continue;
            };
            let is_of_group = bytes.is_some_and(|bytes| bytes > shortest(hypothesis, candidates));
            if !is_filesystem && !is_of_group && begin_each(hypothesis, candidates, offset) {
                continue;
            }
            let own = 1..bytes.unwrap_or(0);
            let behind: Vec<u64> = answer.starts_behind(offset).collect();
            let is_confirmed = behind.contains(&0);
            if is_filesystem && !is_confirmed && behind.iter().any(|at| own.contains(at)) {
                continue;
            }
            let found = if is_filesystem {
                &mut filesystem
            } else {
                &mut below
            };
            found.entry(offset).or_insert_with(|| Based {
                hypothesis,
                offset,
                bytes: bytes.filter(|_| !is_filesystem),
                evidence: format!("the group begins with {what}, {offset} bytes into its members"),
            });
        }
    }
    if below.len() > 1 {
        let offsets: Vec<String> = below.keys().map(u64::to_string).collect();
        return Err(format!(
            "its geometry is known, but it may begin at several places of its members: {} bytes",
            offsets.join(", ")
        ));
    }
    let first = filesystem.into_values().next();
    let first = first.filter(|based| {
        let is_usual = based.offset <= NEAR || FAR.contains(&based.offset);
        is_usual && !is_contradicted && !has_contents_before(based, rows)
    });
    below
        .into_values()
        .next()
        .or(first)
        .or_else(|| somewhere(notations))
        .ok_or_else(|| "no row of it lies on the devices".to_owned())
}

/// Where rows of number 0 lie.
fn starts(hypothesis: &Hypothesis, candidates: &[Candidate]) -> impl Iterator<Item = u64> {
    let step = hypothesis
        .shape
        .period()
        .saturating_mul(hypothesis.chunk)
        .max(1);
    let shortest = shortest(hypothesis, candidates);
    let first = hypothesis.row_0;
    let count = MOST_ROWS / hypothesis.shape.period().max(1);
    (0..count)
        .map(move |number| first.saturating_add(number.saturating_mul(step)))
        .take_while(move |offset| *offset < shortest)
}

/// How long the shortest of its devices is.
fn shortest(hypothesis: &Hypothesis, candidates: &[Candidate]) -> u64 {
    let devices = hypothesis.devices().filter_map(|d| candidates.get(d));
    devices.map(|c| c.device.len()).min().unwrap_or(0)
}

/// Whether several devices begin each with a label or a table of its own at `offset`: parity may be a copy of one.
fn begin_each(hypothesis: &Hypothesis, candidates: &[Candidate], offset: u64) -> bool {
    let devices = hypothesis.devices().filter_map(|d| candidates.get(d));
    let heads: BTreeSet<Vec<u8>> = devices
        .filter_map(|candidate| {
            let device = &candidate.device;
            let room = device.len().checked_sub(offset)?;
            let rest = Slice::new(Arc::clone(device), ByteOffset::new(offset), room);
            start(&rest).filter(|start| !start.is_filesystem)?;
            rest.read_whole(ByteOffset::ZERO, HEAD)
        })
        .collect();
    heads.len() > 1
}

/// Whether the members have contents before a place.
fn has_contents_before(based: &Based<'_>, rows: &[Row]) -> bool {
    let set: Set = based.hypothesis.devices().collect();
    let before = rows.iter().take_while(|row| row.at < based.offset);
    let full = before.filter(|row| row.at >= LABELS && row.full.touches(set));
    full.count() >= ROWS_BEFORE
}

/// The start that is taken where nothing tells it.
fn somewhere(notations: &[Hypothesis]) -> Option<Based<'_>> {
    let step = |h: &Hypothesis| h.shape.period().saturating_mul(h.chunk).max(1);
    let usual = notations
        .iter()
        .find(|h| h.row_0 <= USUAL && (USUAL.saturating_sub(h.row_0)).is_multiple_of(step(h)));
    let first = notations.iter().min_by_key(|h| h.row_0)?;
    let (hypothesis, offset) = usual.map_or((first, first.row_0), |h| (h, USUAL));
    Some(Based {
        hypothesis,
        offset,
        bytes: None,
        evidence: format!(
            "where the group begins is not known, since nothing that lies at the start of groups is left: {offset} bytes into its members is taken, and what lies on it is found by its own addresses"
        ),
    })
}
