//! Which zeros were written over a member, and which are what the group stored.

use std::ops::Range;

use super::code::{Roles, Verdict};
use super::survey::Run;

/// Blocks that must disagree for zeros within a member to be taken for a wipe.
const LEAST_BLOCKS: u64 = 16;

/// A stretch of a member's data area that zeros were written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wiped {
    pub(super) role: usize,
    pub(super) range: Range<u64>,
    /// Up to where rows that disagree show it; past that, all that is known is that it is zero
    /// and that nothing contradicts.
    pub(super) shown: u64,
}

/// The zeros that lie before a frontier, from the start of each member's data on.
///
/// `front` is how many bytes of each member are zero there. `from_start` says that every member
/// is, and that the devices are zero before their data too, where labels should be: then zeros
/// that no row decides are counted as written, since nothing shows that they were stored.
///
/// `bare` says of each member that its device is zero before its data.
///
/// A row that disagrees and in which a member is zero speaks for the frontier to lie behind it, a
/// row that agrees and is not all zeros for it to lie before it. Of rows that nothing tests, those do so that make
/// noise, or text, of what is missing. The frontier is where the fewest speak against it.
pub(super) fn frontiers(
    runs: &[Run],
    front: &[u64],
    bare: &[bool],
    from_start: bool,
    block: u64,
) -> Vec<Wiped> {
    let least = LEAST_BLOCKS.saturating_mul(block);
    let mut wiped = Vec::new();
    for (role, zeros) in front.iter().copied().enumerate().filter(|(_, z)| *z > 0) {
        let within: Vec<&Run> = runs.iter().take_while(|run| run.start < zeros).collect();
        let shown = change_point(&within, role);
        let disagree: u64 = within
            .iter()
            .filter(|run| run.end <= shown && speaks_for(run, role))
            .map(|run| run.bytes())
            .sum();
        let bare = bare.get(role).copied().unwrap_or(false);
        let shown = if disagree >= least || bare { shown } else { 0 };
        let end = if from_start || (shown > 0 && ends_at(&within, zeros, shown, block)) {
            let agree = within
                .iter()
                .find(|run| run.start >= shown && speaks_against(run, role));
            agree.map_or(zeros, |run| run.start)
        } else {
            shown
        };
        // Sectors are what is written: zeros that reach into the next one belong to its contents.
        let end = if end == zeros { end - end % 512 } else { end };
        if end > 0 {
            wiped.push(Wiped {
                role,
                range: 0..end,
                shown: shown.min(end),
            });
        }
    }
    wiped
}

/// Whether the disagreement goes on to the very block in which the zeros end.
fn ends_at(within: &[&Run], zeros: u64, shown: u64, block: u64) -> bool {
    zeros.saturating_sub(shown) < block && within.last().is_some_and(|run| run.end >= shown)
}

fn speaks_for(run: &Run, role: usize) -> bool {
    match run.verdict {
        Verdict::Fails => run.zeros.has(role),
        Verdict::Wrong(wrong) | Verdict::Odd(wrong, _) | Verdict::Silent(wrong, _) => {
            wrong == role && run.zeros.has(role)
        }
        Verdict::Unlikely => run.zeros.has(role),
        Verdict::Zero | Verdict::Open | Verdict::Likely | Verdict::Holds => false,
    }
}

fn speaks_against(run: &Run, role: usize) -> bool {
    matches!(run.verdict, Verdict::Holds | Verdict::Likely) && run.zeros.has(role)
}

/// Where the fewest rows speak against a frontier; of equals the last.
fn change_point(within: &[&Run], role: usize) -> u64 {
    let total: u64 = within
        .iter()
        .filter(|run| speaks_for(run, role))
        .map(|run| run.bytes())
        .sum();
    let (mut best, mut place) = (total, 0);
    let mut cost = total;
    for run in within {
        if speaks_for(run, role) {
            cost = cost.saturating_sub(run.bytes());
            if cost <= best {
                (best, place) = (cost, run.end);
            }
        } else if speaks_against(run, role) {
            cost = cost.saturating_add(run.bytes());
        }
    }
    place
}

/// Wipes within the data: stretches in which a member is zero and every row that says anything
/// disagrees, and that begin and end with the member's zeros. `has_contents` tells whether
/// there is something in a member's block.
pub(super) fn within(
    runs: &[Run],
    known: &[Wiped],
    members: usize,
    block: u64,
    has_contents: impl Fn(usize, u64) -> bool,
) -> Vec<Wiped> {
    let extent = runs.last().map_or(0, |run| run.end);
    let mut wiped = Vec::new();
    for role in 0..members {
        let begin = known
            .iter()
            .filter(|wipe| wipe.role == role)
            .map(|wipe| wipe.range.end)
            .max();
        let begin = begin.unwrap_or(0);
        for (range, disagree) in stretches(runs, known, role, begin) {
            let before = range.start.checked_sub(block);
            let starts = before.is_none_or(|at| has_contents(role, at));
            let ends = range.end >= extent || has_contents(role, range.end);
            if disagree >= LEAST_BLOCKS.saturating_mul(block) && starts && ends {
                wiped.push(Wiped {
                    role,
                    shown: range.end,
                    range,
                });
            }
        }
    }
    wiped
}

/// Stretches from `begin` on in which `role` is zero wherever rows disagree, and none agrees,
/// with how many bytes of them disagree.
fn stretches(runs: &[Run], known: &[Wiped], role: usize, begin: u64) -> Vec<(Range<u64>, u64)> {
    let mut all: Vec<(Range<u64>, u64)> = Vec::new();
    let mut open = false;
    for run in runs.iter().filter(|run| run.start >= begin) {
        // Where another member is known to be wiped, that is why the row disagrees.
        let explained = wiped_at(known, run.start) != Roles::NONE;
        let silent = explained
            || matches!(
                run.verdict,
                Verdict::Zero | Verdict::Open | Verdict::Likely | Verdict::Unlikely
            );
        if speaks_for(run, role) && !explained {
            match all.last_mut().filter(|_| open) {
                Some((range, disagree)) => {
                    range.end = run.end;
                    *disagree = disagree.saturating_add(run.bytes());
                }
                None => all.push((run.start..run.end, run.bytes())),
            }
            open = true;
        } else if !silent {
            open = false;
        }
    }
    all
}

/// The members that are wiped at `at`.
pub(super) fn wiped_at(wiped: &[Wiped], at: u64) -> Roles {
    wiped
        .iter()
        .filter(|wipe| wipe.range.contains(&at))
        .map(|wipe| wipe.role)
        .collect()
}
