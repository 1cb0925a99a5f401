//! Members that were not written any more while their group was, where no other device shows it.
//!
//! What such a member holds was right once, so its rows agree until the others were written anew; since
//! then nothing in them is related. In those rows each member in turn is rebuilt from the others: of the one
//! that lags text comes out where it has none, and of any other one noise takes the place of its text.

use evidence::{ByteOffset, ReadAtExt};

use super::algebra::Predicted;
use super::contents::Texture;
use super::hypothesis::Hypothesis;
use super::relations::Set;
use super::sample::{BLOCK, Candidate, Row, fronts};
use super::verify;

/// Fewer rows in which nothing is related say nothing.
const LEAST_ROWS: usize = 32;

/// So many blocks more that are text must come out of the member that lags than it has, and so many times
/// as many as of any other one.
const LEAST_TEXTS: i64 = 8;
const TIMES: i64 = 4;

/// A member that lags behind the others of its group.
pub(super) struct Lagging {
    pub(super) device: usize,
    /// The rows that show it.
    pub(super) rows: usize,
}

/// The member that lags behind the others, if one does and it can be rebuilt.
pub(super) fn lagging(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    rows: &[Row],
) -> Option<Lagging> {
    let set: Set = hypothesis.devices().collect();
    let (map, fronts) = (hypothesis.map(), fronts(rows));
    let predicted = Predicted::of(&map);
    let is_unrelated = |row: &&Row| {
        let is_related = row.relations.iter().any(|own| set.holds(own.set()));
        !is_related && !row.may_be_wiped(set, &fronts) && predicted.agrees(row) == Some(false)
    };
    let changed: Vec<&Row> = rows.iter().filter(is_unrelated).collect();
    if changed.len() < LEAST_ROWS || hypothesis.missing() >= hypothesis.shape.parities() {
        return None;
    }
    let block = usize::try_from(BLOCK).ok()?;
    let gain = |role: usize, device: usize| {
        let kept = |other: usize| other != role;
        let rebuilt = verify::open(hypothesis, candidates, hypothesis.row_0, &kept)?;
        let text = |row: &&&Row| {
            let at = map.position(device, row.at);
            let at = at.and_then(|at| u64::try_from(at).ok());
            let read = at.and_then(|at| rebuilt.read_whole(ByteOffset::new(at), block));
            read.is_some_and(|bytes| Texture::of(&bytes).is_text())
        };
        // What it holds as parity is no text of its own.
        let has_text = |row: &&&Row| {
            let is_data = map.position(device, row.at).is_some();
            is_data && row.textures.get(device).is_some_and(Texture::is_text)
        };
        let count = |texts: usize| i64::try_from(texts).unwrap_or(i64::MAX);
        let texts = count(changed.iter().filter(text).count());
        let own = count(changed.iter().filter(has_text).count());
        Some((texts.saturating_sub(own), device))
    };
    let roles = hypothesis.roles.iter().enumerate();
    let there = roles.filter_map(|(role, device)| gain(role, (*device)?));
    let mut gains: Vec<(i64, usize)> = there.collect();
    gains.sort_unstable();
    let (best, device) = gains.pop()?;
    let next = gains.pop().map_or(0, |(next, _)| next.max(0));
    // A stranger was never related to the others by what it holds.
    let was_member = |row: &&Row| {
        let mut parts = row.parts.iter();
        parts.any(|part| part.has(device) && set.holds(*part) && part.count() > 2)
    };
    let is_member = rows.iter().filter(was_member).take(LEAST_ROWS).count() == LEAST_ROWS;
    let stands_out = best >= LEAST_TEXTS && best >= next.saturating_mul(TIMES);
    (is_member && stands_out).then_some(Lagging {
        device,
        rows: changed.len(),
    })
}
