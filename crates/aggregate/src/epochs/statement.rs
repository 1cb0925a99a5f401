//! From what rows say to statements of the document.

use std::collections::BTreeMap;
use std::ops::Range;

use evidence::{ByteOffset, Cause, Loss, Origin};

use super::Detected;
use super::code::{Code, Roles, Verdict};
use super::survey::Run;
use super::zeroed::{Wiped, wiped_at};
use crate::document::{BadBlocks, DeviceName, Epoch, Group, Member, Region};

/// Regions of one kind and member that are stated at most; more are joined to coarser ones.
const MOST_REGIONS: usize = 1024;
/// Wrong sectors that are stated one by one at most.
const MOST_SECTORS: usize = 1024;

/// A member is stale if it may be the wrong one in so many blocks, in this share of all blocks where
/// somebody is, and in so many of sixteen equal parts of the group; and if every other member may be in
/// no more than a smaller share: where the rest of a row is zeros, any of it may. What a newer
/// aggregate writes lies on all members, and in few places.
const STALE_BLOCKS: u64 = 16;
const STALE_PERCENT: u64 = 95;
const OTHERS_PERCENT: u64 = 85;
const STALE_PARTS: u32 = 3;
/// The same where rows would be lost without it, which it may be right in.
const COSTLY_PARTS: u32 = 6;

/// The stale member of the group, if there is one, and what shows it.
pub(super) fn stale(
    code: &Code,
    runs: &[Run],
    wiped: &[Wiped],
    group: &Group,
) -> Option<(usize, String)> {
    let there = |member: &&Member| member.device.is_some() && member.left_out.is_none();
    let missing = code
        .members()
        .checked_sub(group.members.iter().filter(there).count())?;
    if missing >= code.redundancy() {
        return None;
    }
    let blame = Blame::of(code, runs, wiped);
    let (role, explained) = blame
        .explained
        .iter()
        .copied()
        .enumerate()
        .max_by_key(|(_, bytes)| *bytes)?;
    let others = blame.explained.iter().enumerate();
    let others = others.filter(|(other, _)| *other != role);
    let next = others.map(|(_, bytes)| *bytes).max().unwrap_or(0);
    if next.saturating_mul(100) >= blame.all.saturating_mul(OTHERS_PERCENT) {
        return None;
    }
    let (bytes, parts) = blame.own.get(role).copied()?;
    let blocks = bytes / code.block as u64;
    let share = explained.saturating_mul(100) / blame.all.max(1);
    let is_needed = |run: &Run| {
        let gone = wiped_at(wiped, run.start);
        let others = (0..code.members()).filter(|other| gone.has(*other));
        let left = code.redundancy().checked_sub(missing);
        run.verdict != Verdict::Zero && !gone.has(role) && left == Some(others.count())
    };
    let least = if runs.iter().any(is_needed) {
        COSTLY_PARTS
    } else {
        STALE_PARTS
    };
    (blocks >= STALE_BLOCKS && share >= STALE_PERCENT && parts.count_ones() >= least).then(
        || {
            let why = format!(
                "stale: in {blocks} blocks all over the group the other members make sense without it and \
                 not with it"
            );
            (role, why)
        },
    )
}

/// Who is to blame how much, but for zeros.
struct Blame {
    /// Of each member, the bytes in which it may be the wrong one and is no parity, and the sixteenths
    /// of the group that they lie in.
    own: Vec<(u64, u16)>,
    /// Of each member, the bytes that are explained if it alone is wrong: with one relation, a
    /// stale parity looks as if the data that changed since were.
    explained: Vec<u64>,
    all: u64,
}

impl Blame {
    fn of(code: &Code, runs: &[Run], wiped: &[Wiped]) -> Self {
        let mut blame = Self {
            own: vec![(0, 0); code.members()],
            explained: vec![0; code.members()],
            all: 0,
        };
        for run in runs {
            let suspects = match run.verdict {
                Verdict::Wrong(role) => Roles::NONE.with(role),
                Verdict::Odd(..) | Verdict::Fails => run.suspects,
                _ => Roles::NONE,
            };
            let zeros = wiped_at(wiped, run.start);
            let is_blamed = |role: &usize| suspects.has(*role) && !zeros.has(*role);
            let blamed: Vec<usize> = (0..code.members()).filter(is_blamed).collect();
            if !blamed.is_empty() {
                blame.add(code, run, &blamed);
            }
        }
        blame
    }

    fn add(&mut self, code: &Code, run: &Run, blamed: &[usize]) {
        let mut at = run.start;
        while at < run.end {
            let next = (at / code.chunk).saturating_add(1);
            let end = next.saturating_mul(code.chunk).min(run.end);
            let bytes = end.saturating_sub(at);
            let row = code.row(at);
            let part = (at / (code.extent / 16).max(1)).min(15);
            let part = u32::try_from(part)
                .ok()
                .and_then(|part| 1_u16.checked_shl(part));
            for role in blamed {
                if let Some(sum) = self.explained.get_mut(*role) {
                    *sum = sum.saturating_add(bytes);
                }
                let is_parity = *role == row.p || row.q == Some(*role);
                let shown = !is_parity || matches!(run.verdict, Verdict::Wrong(_));
                if let Some((sum, parts)) = self.own.get_mut(*role).filter(|_| shown) {
                    *sum = sum.saturating_add(bytes);
                    *parts |= part.unwrap_or(0);
                }
            }
            self.all = self.all.saturating_add(bytes);
            at = end;
        }
    }
}

/// States that a member is not to be read.
pub(super) fn leave_out(group: &mut Group, role: usize, why: String) {
    let mut members = group.members.iter_mut();
    if let Some(member) = members.find(|member| usize::try_from(member.role) == Ok(role)) {
        member.left_out = Some(why);
    }
}

/// States all that was found out.
pub(super) fn state(code: &Code, runs: &[Run], wiped: &[Wiped], detected: &mut Detected) {
    let group = detected.group.clone();
    let mut regions: Vec<Region> = wiped.iter().flat_map(|wipe| zeroed(&group, wipe)).collect();
    let mut overwritten: BTreeMap<(usize, bool), Vec<Range<u64>>> = BTreeMap::new();
    let mut unknown: Vec<Range<u64>> = Vec::new();
    let mut doubtful: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
    // Where the members were wiped, something came after the group: what it wrote is more likely
    // than parity that the group did not update, unless what is there could be the group's.
    let reused = !wiped.is_empty();
    let mut sectors = 0_usize;
    for run in runs {
        match run.verdict {
            Verdict::Wrong(role) => {
                let kind = (role, run.zeros.has(role));
                overwritten
                    .entry(kind)
                    .or_default()
                    .push(run.start..run.end);
            }
            Verdict::Odd(role, text) if reused && !text => {
                let kind = (role, run.zeros.has(role));
                overwritten
                    .entry(kind)
                    .or_default()
                    .push(run.start..run.end);
            }
            // The other members are right either way.
            Verdict::Odd(role, _) => doubtful.entry(role).or_default().push(run.start..run.end),
            Verdict::Silent(role, mask) if sectors < MOST_SECTORS => {
                sectors = sectors.saturating_add(1);
                mark_bad(code, &mut detected.group, role, run, mask);
            }
            Verdict::Silent(role, _) => {
                let kind = (role, false);
                overwritten
                    .entry(kind)
                    .or_default()
                    .push(run.start..run.end);
            }
            Verdict::Fails => unknown.push(run.start..run.end),
            Verdict::Zero
            | Verdict::Open
            | Verdict::Likely
            | Verdict::Unlikely
            | Verdict::Holds => {}
        }
    }
    for ((role, zero), ranges) in overwritten {
        let epoch = if zero { Epoch::Zeroed } else { Epoch::New };
        let why = "the other members agree without it and not with it";
        // Coarser regions are erasures of sound rows too: the redundancy gives those back.
        regions.extend(joined(ranges).into_iter().filter_map(|range| {
            let member = member(&group, role)?;
            region(&group, member, range, epoch, why.to_owned())
        }));
    }
    for (role, ranges) in doubtful {
        let why = "something was written over it, or parity was not updated";
        regions.extend(joined(ranges).into_iter().filter_map(|range| {
            let member = member(&group, role)?;
            region(&group, member, range, Epoch::Unknown, why.to_owned())
        }));
    }
    for range in joined(unknown) {
        let why = "the members disagree, and nothing shows which of them is wrong";
        regions.extend(group.members.iter().filter_map(|member| {
            member.left_out.is_none().then_some(())?;
            region(
                &group,
                member,
                range.clone(),
                Epoch::Unknown,
                why.to_owned(),
            )
        }));
    }
    regions.sort();
    regions.dedup();
    detected.regions = regions;
    detected.losses.extend(doubt(runs, &group));
}

/// Says that single sectors of a member are wrong, which both parities show.
fn mark_bad(code: &Code, group: &mut Group, role: usize, run: &Run, mask: u8) {
    let mut members = group.members.iter_mut();
    let Some(member) = members.find(|member| usize::try_from(member.role) == Ok(role)) else {
        return;
    };
    let block = code.block as u64;
    let blocks = run.bytes() / block.max(1);
    for number in 0..blocks {
        let at = run.start.saturating_add(number.saturating_mul(block));
        for sector in (0..8_u64).filter(|sector| mask >> sector & 1 == 1) {
            member.bad_blocks.push(BadBlocks {
                start: at.saturating_add(sector.saturating_mul(512)),
                bytes: 512,
            });
        }
    }
    group.evidence.push(format!(
        "role {role}: a silent error at byte {} of its data, shown by both parities; it is not read and rebuilt",
        run.start
    ));
}

/// A loss if the members disagree in most rows that say anything.
fn doubt(runs: &[Run], group: &Group) -> Option<Loss> {
    let sum = |test: fn(&Run) -> bool| -> u64 {
        runs.iter().filter(|run| test(run)).map(Run::bytes).sum()
    };
    let fails = sum(|run| run.verdict == Verdict::Fails);
    let holds = sum(|run| run.verdict == Verdict::Holds);
    (fails > holds).then(|| {
        let name = DeviceName::group(&group.name).0;
        Loss {
            what: format!("the parity of {name}"),
            origin: Origin::new(name, ByteOffset::ZERO),
            cause: Cause::Corrupt(
                "the members disagree in most rows: the geometry may be wrong, or parity was never written; all of these rows are suspect".to_owned(),
            ),
        }
    })
}

/// The regions of a wipe: the part that rows show, and the part behind it.
pub(super) fn zeroed(group: &Group, wipe: &Wiped) -> impl Iterator<Item = Region> {
    let parts = [
        (
            wipe.range.start..wipe.shown,
            "zeros with which the rows disagree",
        ),
        (
            wipe.shown..wipe.range.end,
            "zeros from the start of the device to here, and no row shows that they were stored",
        ),
    ];
    let member = member(group, wipe.role);
    parts.into_iter().filter_map(move |(range, why)| {
        region(group, member?, range, Epoch::Zeroed, why.to_owned())
    })
}

fn member(group: &Group, role: usize) -> Option<&Member> {
    let mut members = group.members.iter();
    members.find(|member| usize::try_from(member.role) == Ok(role))
}

/// A range of a member's data area as a region of its device; `None` if it is empty.
fn region(
    group: &Group,
    member: &Member,
    range: Range<u64>,
    epoch: Epoch,
    evidence: String,
) -> Option<Region> {
    let bytes = range
        .end
        .checked_sub(range.start)
        .filter(|bytes| *bytes > 0)?;
    Some(Region {
        device: member.device.clone()?,
        start: member.data_offset.checked_add(range.start)?,
        bytes,
        epoch,
        pieces: None,
        group: Some(group.name.clone()),
        evidence,
    })
}

/// Ranges in order, joined where they meet; and where those are too many, across small gaps.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut reach = 0_u64;
    loop {
        let mut all: Vec<Range<u64>> = Vec::new();
        for range in &ranges {
            match all.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(reach) => {
                    last.end = last.end.max(range.end);
                }
                _ => all.push(range.clone()),
            }
        }
        if all.len() <= MOST_REGIONS {
            return all;
        }
        ranges = all;
        reach = reach.saturating_mul(2).max(4096);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_meet_and_too_many_become_coarse() {
        assert_eq!(joined(vec![4..8, 0..4, 10..12]), [0..8, 10..12]);
        let many = (0..5000_u64).map(|i| i * 8192..i * 8192 + 512).collect();
        let few = joined(many);
        assert!(few.len() <= MOST_REGIONS);
        assert_eq!(few.last().unwrap().end, 4999 * 8192 + 512);
    }
}
