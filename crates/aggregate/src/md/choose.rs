//! Which device fills which role of an array: the newest labels decide, as in mdadm.

use std::collections::BTreeMap;

use super::superblock::{Found, Role, Superblock};
use crate::document::DeviceName;

/// By how many events a member may be behind and still count as current: a crash can come
/// between the writing of two labels (mdadm's `event_margin`, the kernel's `ev1 + 1`).
const EVENT_MARGIN: u64 = 1;

/// The member that fills a role, or that would if it were newer.
pub(super) struct Chosen<'a> {
    pub(super) found: &'a Found,
    /// Why it is not read.
    pub(super) left_out: Option<String>,
}

/// What the labels of one array amount to.
pub(super) struct Choice<'a> {
    /// The newest label.
    pub(super) newest: &'a Found,
    /// Members by role.
    pub(super) members: BTreeMap<u32, Chosen<'a>>,
    /// Devices that fill no role, and why.
    pub(super) unused: Vec<(&'a Found, String)>,
}

/// How good a device is for its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It holds what was written last.
    Current,
    /// So it does up to this sector of its data.
    Rebuilt(u64),
    /// It holds an older state, or none.
    Behind,
}

struct Candidate<'a> {
    found: &'a Found,
    standing: Standing,
    why: String,
}

/// Chooses members among the labels of one array; `None` if there are no labels.
pub(super) fn choose<'a>(labels: &[&'a Found]) -> Option<Choice<'a>> {
    let mut labels = labels.to_vec();
    labels.sort_by(|a, b| {
        let events = |found: &Found| found.superblock.events;
        (events(b), &a.device, a.at).cmp(&(events(a), &b.device, b.at))
    });
    let newest = *labels.first()?;
    let mut unused = Vec::new();
    let mut candidates: BTreeMap<u32, Vec<Candidate<'a>>> = BTreeMap::new();
    for found in labels {
        match found.superblock.role {
            Role::Active(role) if role < newest.superblock.raid_disks => {
                let (standing, why) = standing(found, newest, role);
                candidates.entry(role).or_default().push(Candidate {
                    found,
                    standing,
                    why,
                });
            }
            Role::Active(role) => {
                let disks = newest.superblock.raid_disks;
                unused.push((
                    found,
                    format!("has role {role} of an array that has {disks}"),
                ));
            }
            Role::Spare => unused.push((found, "a spare: it holds no data of the array".into())),
            Role::Faulty => {
                unused.push((
                    found,
                    "faulty by its own label: its data is old or torn".into(),
                ));
            }
            Role::Journal => unused.push((found, journal(newest))),
        }
    }
    let members = candidates
        .into_iter()
        .filter_map(|(role, candidates)| Some((role, best(role, candidates, &mut unused)?)))
        .collect();
    Some(Choice {
        newest,
        members,
        unused,
    })
}

fn journal(newest: &Found) -> String {
    let state = match newest.superblock.resync_offset {
        None => "the array was stopped in order, so nothing in it is missing on the members",
        Some(_) => {
            "the array was not stopped in order: writes that only the journal holds are not \
             replayed, and what they replaced is shown"
        }
    };
    format!("the write journal of the array; {state}")
}

/// How good `found` is for `role`, and in words why it is no better.
fn standing(found: &Found, newest: &Found, role: u32) -> (Standing, String) {
    let (own, best) = (&found.superblock, &newest.superblock);
    let behind = best.events.saturating_sub(own.events);
    if behind > EVENT_MARGIN {
        let why = format!(
            "stale: its label counts {} events, the newest ({}) counts {}; what was written \
             since is not on it",
            own.events, newest.device, best.events
        );
        return (Standing::Behind, why);
    }
    let listed = best.role_of(own.dev_number);
    if listed != Role::Active(role) {
        let why = format!(
            "the newest label ({}, events {}) lists it as {listed}; its own, events {}, as role \
             {role}",
            newest.device, best.events, own.events
        );
        return (Standing::Behind, why);
    }
    if let Some(what) = contradiction(own, best) {
        let why = format!(
            "its label contradicts the newest ({}): {what}",
            newest.device
        );
        return (Standing::Behind, why);
    }
    match own.recovery_offset {
        None => (Standing::Current, String::new()),
        Some(0) => (Standing::Behind, "its rebuild had not begun".to_owned()),
        Some(sectors) => (Standing::Rebuilt(sectors), String::new()),
    }
}

/// The first field in which two labels of one array differ that must not.
fn contradiction(own: &Superblock, newest: &Superblock) -> Option<String> {
    let fields = [
        ("level", i128::from(own.level), i128::from(newest.level)),
        ("layout", i128::from(own.layout), i128::from(newest.layout)),
        (
            "chunk sectors",
            i128::from(own.chunksize),
            i128::from(newest.chunksize),
        ),
        (
            "members",
            i128::from(own.raid_disks),
            i128::from(newest.raid_disks),
        ),
        (
            "used sectors",
            i128::from(own.size),
            i128::from(newest.size),
        ),
    ];
    fields
        .into_iter()
        .find(|(_, own, newest)| own != newest)
        .map(|(name, own, newest)| format!("{name} {own} and not {newest}"))
}

/// The best candidate for a role; the others are unused.
fn best<'a>(
    role: u32,
    mut candidates: Vec<Candidate<'a>>,
    unused: &mut Vec<(&'a Found, String)>,
) -> Option<Chosen<'a>> {
    candidates.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut rest = candidates.into_iter();
    let first = rest.next()?;
    for other in rest {
        if same_bytes(&first.found.device, &other.found.device) {
            continue;
        }
        let why = if other.standing == Standing::Behind {
            format!("role {role} of the array, not read: {}", other.why)
        } else if other.found.superblock.replacement {
            format!("a replacement for role {role} that was not finished")
        } else {
            duplicate(role, first.found, other.found)
        };
        unused.push((other.found, why));
    }
    Some(Chosen {
        found: first.found,
        left_out: (first.standing == Standing::Behind).then_some(first.why),
    })
}

/// What candidates for one role are ordered by, the best first: current before rebuilt before
/// old; the newer; the one that was rebuilt further; the one with fewer gaps; the one whose device fits its label best;
/// and, so that nothing depends on the order of the evidence, the first by name.
fn rank<'a>(candidate: &Candidate<'a>) -> impl Ord + use<'a> {
    let (class, rebuilt) = match candidate.standing {
        Standing::Current => (0, u64::MAX),
        Standing::Rebuilt(sectors) => (1, sectors),
        Standing::Behind => (2, 0),
    };
    let found = candidate.found;
    (
        class,
        std::cmp::Reverse((found.superblock.events, rebuilt)),
        found.known_gaps,
        found.slack().unwrap_or(u64::MAX),
        &found.device,
        found.at,
    )
}

/// Whether one device is the other's partition, so that they share the label that both show.
fn same_bytes(a: &DeviceName, b: &DeviceName) -> bool {
    let of = |part: &DeviceName, whole: &DeviceName| {
        let inside = part
            .0
            .strip_prefix("partition:")
            .and_then(|name| name.rsplit_once('/'));
        let outer = whole.0.split_once(':').map(|(_, name)| name);
        inside.is_some_and(|(inside, _)| Some(inside) == outer)
    };
    of(a, b) || of(b, a)
}

fn duplicate(role: u32, first: &Found, other: &Found) -> String {
    let same = first.superblock.device_uuid == other.superblock.device_uuid
        && first.superblock.dev_number == other.superblock.dev_number;
    let what = if same {
        "a second image of"
    } else {
        "another device that claims"
    };
    let unread = |found: &Found| match found.known_gaps {
        0 => String::new(),
        bytes => format!(", {bytes} bytes not rescued"),
    };
    format!(
        "{what} role {role} (events {}{}); {} (events {}{}) is read",
        other.superblock.events,
        unread(other),
        first.device,
        first.superblock.events,
        unread(first)
    )
}
