//! Where a group begins: a file system on it need not lie at its start.

use std::collections::BTreeMap;

use evidence::ReadAt;

use super::hypothesis::Hypothesis;
use super::sample::Candidate;
use super::verify;
use crate::{lvm, partition};

/// Rows before the file system's first in which the group's start is looked for.
const MOST_ROWS: u64 = 1 << 16;

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
        for row in 0..=(hypothesis.start / hypothesis.chunk).min(MOST_ROWS) {
            // A layout repeats, so the number of the row is known but for whole turns.
            let begins = hypothesis.shape.begins_at(hypothesis.turn, row);
            if !begins || (row == 0 && hypothesis.before == 0) {
                continue;
            }
            let offset = hypothesis.start - row * hypothesis.chunk;
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
    let direct = |h: &&Hypothesis| h.before == 0 && h.shape.begins_at(h.turn, 0);
    let hypothesis = notations.iter().find(direct).ok_or_else(|| {
        format!(
            "its geometry is known ({}), but not where it begins: its file system lies somewhere in it, and neither LVM metadata nor a partition table says where",
            notations.first().map(Hypothesis::describe).unwrap_or_default()
        )
    })?;
    Ok(Based {
        hypothesis,
        offset: hypothesis.start,
        evidence: format!(
            "the group begins with its file system, {} bytes into its members",
            hypothesis.start
        ),
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
