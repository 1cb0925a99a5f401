//! Zeros that were written over members of which others hold copies.
//!
//! A copy that is there shows what was stored where another one has nothing but zeros from the
//! start of its device on. Copies that differ otherwise are not judged: nothing says which of them
//! is the newer.

use super::LEAST_WIPE;
use super::survey::has_contents;
use super::zeroed::Wiped;
use crate::raid::{Geometry, Members};

/// The zeros from the start of each member's data on that were written over it.
///
/// `front` is how many bytes of each member are zero there, `bare` whether its device is zero before
/// its data too. Where all copies are so, the zeros are counted as written, since nothing shows that
/// they were stored.
pub(super) fn wiped(
    geometry: &Geometry,
    members: &Members,
    front: &[u64],
    bare: &[bool],
) -> Vec<Wiped> {
    let is_bare = |role: usize| bare.get(role).copied().unwrap_or(false);
    let zeros = |role: usize, at: u64| {
        let front = front.get(role).copied().unwrap_or(0);
        front.saturating_sub(at)
    };
    let furthest = front.iter().copied().max().unwrap_or(0);
    let mut all: Vec<Wiped> = (0..front.len())
        .map(|role| Wiped {
            role,
            range: 0..0,
            shown: 0,
        })
        .collect();
    let mut position = 0_u64;
    while let Some((copies, run)) = geometry.copies_at(position) {
        if position >= geometry.bytes || copies.iter().all(|(_, at)| *at >= furthest) {
            break;
        }
        let left = geometry.bytes.saturating_sub(position);
        let run = run.min(LEAST_WIPE).min(left);
        let mut present = copies.iter().filter(|(role, _)| members.present(*role));
        let all_bare = present.all(|(role, at)| is_bare(*role) && zeros(*role, *at) > 0);
        for (role, at) in copies.iter().filter(|(role, _)| is_bare(*role)) {
            let zeros = zeros(*role, *at).min(run);
            let end = at.saturating_add(zeros);
            let length = usize::try_from(zeros).unwrap_or(0);
            let mut others = copies.iter().filter(|(other, _)| other != role);
            let shows =
                length > 0 && others.any(|(other, at)| has_contents(members, *other, *at, length));
            if let Some(wiped) = all.get_mut(*role).filter(|_| length > 0) {
                if shows {
                    wiped.shown = wiped.shown.max(end);
                }
                if shows || all_bare {
                    wiped.range.end = wiped.range.end.max(end);
                }
            }
        }
        position = position.saturating_add(run.max(1));
    }
    for wiped in &mut all {
        // Sectors are what is written: zeros that reach into the next one belong to its contents.
        wiped.range.end -= wiped.range.end % 512;
        wiped.shown = wiped.shown.min(wiped.range.end);
    }
    all.retain(|wiped| !wiped.range.is_empty());
    all
}
