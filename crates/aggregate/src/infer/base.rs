//! Where a group begins: a file system on it need not lie at its start.

use std::collections::BTreeMap;

use evidence::ReadAt;

use super::hypothesis::Hypothesis;
use super::sample::Candidate;
use super::verify;
use crate::{lvm, partition};

/// Rows in which the group's start is looked for.
const MOST_ROWS: i64 = 1 << 16;

/// A hypothesis with the offset at which its members' data begins.
pub(super) struct Based<'a> {
    pub(super) hypothesis: &'a Hypothesis,
    /// In bytes, the same on every member.
    pub(super) offset: u64,
    /// What says so.
    pub(super) evidence: String,
}

/// Finds the start of the group.
///
/// The notations claim the same of the file system, but begin at different members. Row 0 is
/// the one at which LVM's label or metadata area, or a partition table, lies as its format
/// wants it. Without either the file system itself must be what the group begins with.
pub(super) fn find<'a>(
    notations: &'a [Hypothesis],
    candidates: &[Candidate],
) -> Result<Based<'a>, String> {
    let mut found: BTreeMap<(u64, Vec<Option<usize>>), Based<'a>> = BTreeMap::new();
    for hypothesis in notations {
        for (rows, offset) in starts(hypothesis) {
            let is_direct = rows == 0 && hypothesis.before == 0;
            if is_direct || !hypothesis.shape.begins_at(hypothesis.turn, rows) {
                continue;
            }
            if let Some(what) = begins_with(hypothesis, candidates, offset) {
                let key = (offset, hypothesis.roles.clone());
                found.entry(key).or_insert(Based {
                    hypothesis,
                    offset,
                    evidence: format!(
                        "the group begins with {what}, {offset} bytes into its members"
                    ),
                });
            }
        }
    }
    if found.len() > 1 {
        let offsets: Vec<String> = found.keys().map(|(at, _)| at.to_string()).collect();
        return Err(format!(
            "its geometry is known, but it may begin at several places of its members: {} bytes",
            offsets.join(", ")
        ));
    }
    if let Some(based) = found.into_values().next() {
        return Ok(based);
    }
    let direct = notations.iter().find_map(|hypothesis| {
        let begins = hypothesis.before == 0 && hypothesis.shape.begins_at(hypothesis.turn, 0);
        Some((
            hypothesis,
            u64::try_from(hypothesis.start).ok().filter(|_| begins)?,
        ))
    });
    let (hypothesis, offset) = direct.ok_or_else(|| {
        let known = notations.first().map(Hypothesis::describe);
        format!(
            "its geometry is known ({}), but not where it begins: its file system lies somewhere in it, and neither LVM metadata nor a partition table says where",
            known.unwrap_or_default()
        )
    })?;
    Ok(Based {
        hypothesis,
        offset,
        evidence: format!("the group begins with its file system, {offset} bytes into its members"),
    })
}

/// Where the group may begin, with how many rows lie between that and the file system's first
/// row: at a whole number of chunks from there, and not behind any block of the file system.
fn starts(hypothesis: &Hypothesis) -> impl Iterator<Item = (i64, u64)> {
    let (start, lowest) = (hypothesis.start, hypothesis.lowest);
    let chunk = i64::try_from(hypothesis.chunk).unwrap_or(i64::MAX);
    (0..MOST_ROWS)
        .map(move |row| {
            start
                .rem_euclid(chunk)
                .saturating_add(row.saturating_mul(chunk))
        })
        .map_while(move |offset| {
            let at = u64::try_from(offset).ok().filter(|at| *at <= lowest)?;
            Some(((start - offset) / chunk, at))
        })
}

/// What lies at the start of the group if its members' data begins at `offset`, of the things
/// that lie below file systems.
fn begins_with(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    offset: u64,
) -> Option<&'static str> {
    let group = verify::open(hypothesis, candidates, offset, &|_| true)?;
    let group: &dyn ReadAt = &group;
    if lvm::Label::read(group).is_some() {
        Some("a physical volume's label")
    } else if lvm::begins_with_metadata_area(group) {
        Some("a metadata area of LVM")
    } else if partition::read(group).is_some_and(|t| t.kind == partition::TableKind::Gpt) {
        Some("a partition table")
    } else {
        None
    }
}
