//! Whether what a hypothesis rebuilds looks like what lies beside it.
//!
//! Where as many members are missing as there is parity, no relation is left that could be
//! wrong. But with wrong factors, or the wrong member for parity, noise comes out; with the
//! right ones the text of the chunk before goes on.

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use super::contents::{Contents, Texture};
use super::hypothesis::Hypothesis;
use super::sample::{BLOCK, Candidate, Row};
use super::verify;

/// Rows of chunks that are looked at.
const MOST_ROWS: usize = 192;

/// How much what is rebuilt of the missing members speaks for a hypothesis, in nats; nothing
/// where none is missing, or more than can be rebuilt.
pub(super) fn plausibility(
    hypothesis: &Hypothesis,
    candidates: &[Candidate],
    rows: &[Row],
    contents: &Contents<'_>,
) -> f64 {
    let missing = hypothesis.missing();
    if missing == 0 || missing > hypothesis.shape.parities() {
        return 0.0;
    }
    let Some(group) = verify::open(hypothesis, candidates, hypothesis.row_0, &|_| true) else {
        return 0.0;
    };
    let chunk = hypothesis.chunk;
    let later = rows.iter().filter(|row| row.at >= hypothesis.row_0);
    let mut numbers: Vec<u64> = later
        .map(|row| (row.at - hypothesis.row_0) / chunk)
        .collect();
    numbers.dedup();
    let step = numbers.len().div_ceil(MOST_ROWS).max(1);
    let width = hypothesis.shape.width();
    let mut sum = 0.0;
    for number in numbers.into_iter().step_by(step) {
        for (index, role) in (0..).zip(hypothesis.shape.row(number).data) {
            if hypothesis.device(role).is_some() {
                continue;
            }
            // From text into what is rebuilt, and out of it into text: noise goes on in noise.
            let start = (number * width + index) * chunk;
            sum += pair(&group, start, contents, true).unwrap_or(0.0);
            sum += pair(&group, start + chunk, contents, false).unwrap_or(0.0);
        }
    }
    sum
}

/// How much the block before a place speaks for being continued by the one there, if the one
/// that is not rebuilt is text.
fn pair(group: &dyn ReadAt, edge: u64, contents: &Contents<'_>, is_into: bool) -> Option<f64> {
    let block = usize::try_from(BLOCK).ok()?;
    let pair = group.read_whole(ByteOffset::new(edge.checked_sub(BLOCK)?), 2 * block)?;
    let (tail, head) = pair.split_at_checked(block)?;
    let (tail, head) = (Texture::of(tail), Texture::of(head));
    let known = if is_into { &tail } else { &head };
    known.is_text().then(|| contents.weigh(&tail, &head))
}
