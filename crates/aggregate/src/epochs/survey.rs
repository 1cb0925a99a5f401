//! One pass over the members of a group: what each row of blocks says, as runs.

use evidence::Gaps;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::code::{Code, Roles, Sums, Verdict, is_zero};
use crate::raid::Members;

/// Bytes of all members together that one thread looks at at a time.
const WINDOW_BYTES: u64 = 8 << 20;
/// Windows whose runs are joined at a time.
const BATCH: u64 = 256;
/// Most runs that are kept: past that, what is finer is one run.
const MOST_RUNS: usize = 1 << 20;

/// Consecutive rows of blocks that say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Where it begins in the members' data areas, in bytes.
    pub(super) start: u64,
    /// The byte after its last.
    pub(super) end: u64,
    pub(super) verdict: Verdict,
    /// The members that are zero here: all of them where a relation fails, otherwise only those
    /// that are zero from the start of their data to here.
    pub(super) zeros: Roles,
    /// The members that may be wrong alone, where the only relation there is fails.
    pub(super) suspects: Roles,
}

impl Run {
    pub(super) const fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether a relation fails here.
    pub(super) const fn fails(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::Fails | Verdict::Wrong(_) | Verdict::Odd(..) | Verdict::Silent(..)
        )
    }
}

/// How many bytes of each member are zero from the start of its data on, up to `extent`.
pub(super) fn fronts(members: &Members, extent: u64) -> Vec<u64> {
    let roles = (0..members.count()).into_par_iter();
    roles
        .map(|role| leading_zeros(extent, |at, buf| members.read(role, at, buf)))
        .collect()
}

/// Whether there is something in the block of `role` at `at`.
pub(super) fn has_contents(members: &Members, role: usize, at: u64, block: usize) -> bool {
    let mut bytes = vec![0; block];
    let gaps = members.read(role, at, &mut bytes);
    gaps.is_empty() && !is_zero(&bytes)
}

/// How many of the first `most` bytes are zero; a gap ends them.
pub(super) fn leading_zeros(most: u64, read: impl Fn(u64, &mut [u8]) -> Gaps) -> u64 {
    const STEP: usize = 256 << 10;
    let mut buf = vec![0; STEP];
    let mut at = 0_u64;
    while at < most {
        let length = usize::try_from(most.saturating_sub(at)).map_or(STEP, |rest| rest.min(STEP));
        let part = buf.get_mut(..length).unwrap_or_default();
        let gaps = read(at, part);
        let gap = gaps.iter().next().map(|gap| gap.range.start);
        let byte = part.iter().position(|byte| *byte != 0);
        if let Some(stop) = gap.into_iter().chain(byte).min() {
            return at.saturating_add(stop as u64);
        }
        at = at.saturating_add(length as u64);
    }
    at
}

/// Looks at every row of blocks of the group once. `front` is how many bytes of each member
/// are zero from the start of its data on.
pub(super) fn survey(code: &Code, members: &Members, front: &[u64]) -> Vec<Run> {
    let block = code.block as u64;
    let each = WINDOW_BYTES / code.members().max(1) as u64;
    let window = (each / block).clamp(1, 256).saturating_mul(block);
    let windows = code.extent.div_ceil(window);
    let mut runs = Vec::new();
    let mut first = 0;
    while first < windows {
        let batch = first..first.saturating_add(BATCH).min(windows);
        first = batch.end;
        let found: Vec<Vec<Run>> = batch
            .into_par_iter()
            .map(|number| {
                let start = number.saturating_mul(window);
                let end = start.saturating_add(window).min(code.extent);
                look(code, members, front, start, end)
            })
            .collect();
        for run in found.into_iter().flatten() {
            join(&mut runs, run);
        }
    }
    runs
}

/// Whether a relation fails in any of a bounded number of rows, spread over the whole group.
pub(super) fn sample_fails(code: &Code, members: &Members, most: u64) -> bool {
    let block = code.block as u64;
    let blocks = code.extent / block;
    let step = blocks.div_ceil(most.max(1)).max(1);
    (0..blocks.div_ceil(step)).into_par_iter().any(|number| {
        // A fixed scatter within each step: an even grid would meet the same place of every
        // chunk only.
        let inside = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let at = number.saturating_mul(step).saturating_add(inside % step);
        let start = at.min(blocks.saturating_sub(1)).saturating_mul(block);
        let end = start.saturating_add(block);
        let runs = look(code, members, &[], start, end);
        runs.iter().any(Run::fails)
    })
}

/// Adds a run to those before it.
fn join(runs: &mut Vec<Run>, run: Run) {
    let full = runs.len() >= MOST_RUNS;
    match runs.last_mut() {
        Some(last)
            if last.verdict == run.verdict
                && last.zeros == run.zeros
                && last.suspects == run.suspects =>
        {
            last.end = run.end;
        }
        Some(last) if full => {
            if run.fails() || last.fails() {
                last.verdict = Verdict::Fails;
                last.zeros = Roles::NONE;
                last.suspects = Roles::NONE;
            }
            last.end = run.end;
        }
        _ => runs.push(run),
    }
}

/// The runs of one window.
fn look(code: &Code, members: &Members, front: &[u64], start: u64, end: u64) -> Vec<Run> {
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
    let read: Vec<(Vec<u8>, Gaps)> = (0..members.count())
        .map(|role| {
            let mut bytes = vec![0; length];
            let gaps = members.read(role, start, &mut bytes);
            (bytes, gaps)
        })
        .collect();
    let mut sums = code.sums();
    let mut runs = Vec::new();
    for from in (0..length).step_by(code.block) {
        let at = start.saturating_add(from as u64);
        let run = judge(code, &read, at, from, front, &mut sums);
        join(&mut runs, run);
    }
    runs
}

/// What the row of blocks at `at`, which lies at `from` of what was read, says.
fn judge(
    code: &Code,
    read: &[(Vec<u8>, Gaps)],
    at: u64,
    from: usize,
    front: &[u64],
    sums: &mut Sums,
) -> Run {
    let range = from..from.saturating_add(code.block);
    let blocks: Vec<Option<&[u8]>> = read
        .iter()
        .map(|(bytes, gaps)| (!gaps.touch(range.clone())).then(|| bytes.get(range.clone()))?)
        .collect();
    let verdict = code.test(at, &blocks, sums);
    let end = at.saturating_add(code.block as u64);
    let mut run = Run {
        start: at,
        end,
        verdict,
        zeros: Roles::NONE,
        suspects: sums.suspects,
    };
    let fails = run.fails();
    let counts = |role: usize| fails || front.get(role).is_some_and(|zeros| *zeros >= end);
    run.zeros = blocks
        .iter()
        .enumerate()
        .filter(|(role, block)| counts(*role) && block.is_some_and(is_zero))
        .map(|(role, _)| role)
        .collect();
    if run.verdict == Verdict::Open && run.zeros != Roles::NONE {
        run.verdict = code.made_of_the_rest(at, &blocks, sums);
    }
    run
}
