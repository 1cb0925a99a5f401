//! Epochs: which regions of a group's members are still the group's.
//!
//! A group whose disks were wiped in part, or taken for another aggregate, still has most of its
//! rows. What was written over is found by the group's own parity, without a label:
//!
//! 1. `survey`: one pass over all members; what each row of blocks says, as runs.
//! 2. `zeroed`: zeros that were written over the members, by where rows disagree.
//! 3. `code`: of rows that disagree without zeros, which member is wrong: by both parities of
//!    RAID-6, or by what a member would have to be (`content`).
//! 4. `mirrored`: of groups that keep copies, where one has zeros and another one does not.
//! 5. `statement`: a member that is wrong all over is stale; the rest become regions.
//!
//! [`detect`] does all that and [`disagrees`] looks at a sample first. What nothing decides is
//! [`crate::document::Epoch::Unknown`]: read, and suspect.
//!
//! What it cannot see: two members of one row that were changed by the same amount (data and P of
//! a newer array over the same disks) still agree.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod code;
mod content;
mod mirrored;
mod statement;
mod survey;
mod view;
mod zeroed;

use std::collections::BTreeSet;

use evidence::{ByteOffset, GapCause, Gaps, Loss};

use self::code::Code;
use self::survey::{Run, fronts, has_contents, leading_zeros, sample_fails, survey};
use self::zeroed::Wiped;
use crate::build::{build, on_devices};
use crate::document::{Aggregate, DeviceName, Group, Region};
use crate::raid::{Members, open_member};
use crate::{Devices, Disk, Error};

pub use self::view::{ParityState, PieceView, RowView, row_at};

/// Rows of blocks that [`disagrees`] looks at.
const SAMPLE: u64 = 16384;

/// All members must be zero for so long from their start before that alone is a wipe.
const LEAST_WIPE: u64 = 64 << 10;

/// What the members of a group say of each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// The group as it is to be read: stale members are left out, single wrong sectors are bad.
    pub group: Group,
    /// Regions that are not the group's, or of which that is unknown; by device and place.
    pub regions: Vec<Region>,
    /// What a person should know.
    pub losses: Vec<Loss>,
}

/// Whether rows of a bounded sample contradict `group`, or its members begin with zeros where
/// even labels should be: then [`detect`] is worth its pass over all members. What `stated` says is not
/// the group's is not looked at.
pub fn disagrees(group: &Group, devices: &Devices, stated: &[Region]) -> bool {
    let members = open(group, devices, stated);
    let front = fronts(&members, LEAST_WIPE);
    let bare = bare(group, devices);
    let Some(code) = Code::over(group, devices) else {
        let mut wiped = front.iter().zip(&bare);
        return group.geometry.copies_at(0).is_some()
            && wiped.any(|(zeros, bare)| *bare && *zeros >= LEAST_WIPE);
    };
    sample_fails(&code, &members, SAMPLE) || wiped_from_start(&members, &front, &bare)
}

/// Whether every member that is there is zero from the start of its device on, for long enough
/// that this is no chance.
fn wiped_from_start(members: &Members, front: &[u64], bare: &[bool]) -> bool {
    (0..members.count())
        .filter(|role| members.present(*role))
        .all(|role| {
            let zeros = front.get(role).copied().unwrap_or(0);
            zeros >= LEAST_WIPE && bare.get(role).is_some_and(|bare| *bare)
        })
}

/// Works out the epochs of the members of `group`, on devices that are there already.
///
/// Members are read once, and once more if zeros were found and RAID-6 can still test what is
/// left. Of a group that keeps copies only the zeros at the start of its members are judged; one
/// without redundancy has no regions.
///
/// What `stated` says is not the group's is taken as missing.
pub fn detect(group: &Group, devices: &Devices, stated: &[Region]) -> Detected {
    let mut detected = Detected {
        group: group.clone(),
        regions: Vec::new(),
        losses: Vec::new(),
    };
    let Some(code) = Code::over(group, devices) else {
        detected.regions = wiped_copies(group, devices);
        return detected;
    };
    // Each round leaves a stale member out, or is the last.
    for _ in 0..=code.redundancy() {
        let (runs, wiped) = examine(&code, &detected.group, devices, stated);
        if let Some((role, why)) = statement::stale(&code, &runs, &wiped, &detected.group) {
            statement::leave_out(&mut detected.group, role, why);
            continue;
        }
        statement::state(&code, &runs, &wiped, &mut detected);
        break;
    }
    detected
}

/// Adds the epochs of every group of `aggregate` of which no region is stated but for pieces, lower groups
/// before those that lie on them.
///
/// Errors are those of [`build`]: a statement that cannot be true.
pub fn complete(aggregate: &mut Aggregate, disks: &[Disk]) -> Result<(), Error> {
    let mut done: BTreeSet<DeviceName> = BTreeSet::new();
    loop {
        let devices = build(aggregate, disks)?;
        let ready: Vec<usize> = (0..aggregate.groups.len())
            .filter(|index| {
                let group = aggregate.groups.get(*index);
                group.is_some_and(|group| {
                    !done.contains(&DeviceName::group(&group.name))
                        && below(aggregate, group).is_subset(&done)
                })
            })
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        for index in ready {
            let Some(group) = aggregate.groups.get(index) else {
                continue;
            };
            done.insert(DeviceName::group(&group.name));
            let of_group = |region: &&Region| {
                let mut on = group.members.iter().flat_map(|member| &member.device);
                on.any(|device| region.concerns(&group.name, device))
            };
            let stated = aggregate.epochs.iter().filter(of_group);
            let stated: Vec<Region> = stated.cloned().collect();
            // What a newer array took for its parity says nothing of the rest.
            let is_whole = |region: &Region| region.pieces.is_none();
            if stated.iter().any(is_whole) || !disagrees(group, &devices, &stated) {
                continue;
            }
            let detected = detect(group, &devices, &stated);
            detected.put(aggregate, index);
        }
    }
}

/// The groups that `group` lies on.
fn below(aggregate: &Aggregate, group: &Group) -> BTreeSet<DeviceName> {
    let mut seen = BTreeSet::new();
    let members = group.members.iter();
    let mut next: Vec<DeviceName> = members.filter_map(|m| m.device.clone()).collect();
    while let Some(device) = next.pop() {
        if !seen.insert(device.clone()) {
            continue;
        }
        for volume in aggregate.volumes.iter().filter(|v| v.device == device) {
            next.extend(on_devices(volume).into_iter().cloned());
        }
        for group in aggregate.groups.iter() {
            if DeviceName::group(&group.name) == device {
                next.extend(group.members.iter().filter_map(|m| m.device.clone()));
            }
        }
    }
    seen.retain(|device| device.0.starts_with("group:"));
    seen
}

impl Detected {
    /// Puts it in place of the group number `index` of `aggregate`.
    fn put(self, aggregate: &mut Aggregate, index: usize) {
        if let Some(group) = aggregate.groups.get_mut(index) {
            *group = self.group;
        }
        aggregate.epochs.extend(self.regions);
        aggregate.epochs.sort();
        aggregate.losses.extend(self.losses);
    }
}

/// The regions of a group that keeps copies in which zeros were written over its members.
fn wiped_copies(group: &Group, devices: &Devices) -> Vec<Region> {
    if group.geometry.copies_at(0).is_none() {
        return Vec::new();
    }
    let members = open(group, devices, &[]);
    let front = fronts(&members, group.geometry.bytes);
    let bare = bare(group, devices);
    let wiped = mirrored::wiped(&group.geometry, &members, &front, &bare);
    let mut regions: Vec<Region> = wiped
        .iter()
        .flat_map(|wipe| statement::zeroed(group, wipe))
        .collect();
    regions.sort();
    regions
}

/// Surveys the group, and what is left of it where zeros were written.
fn examine(
    code: &Code,
    group: &Group,
    devices: &Devices,
    stated: &[Region],
) -> (Vec<Run>, Vec<Wiped>) {
    let members = open(group, devices, stated);
    let front = fronts(&members, code.extent);
    let bare = bare(group, devices);
    let from_start = wiped_from_start(&members, &front, &bare);
    let runs = survey(code, &members, &front);
    let block = code.block as u64;
    let mut wiped = zeroed::frontiers(&runs, &front, &bare, from_start, block);
    let inner = zeroed::within(&runs, &wiped, members.count(), block, |role, at| {
        has_contents(&members, role, at, code.block)
    });
    wiped.extend(inner);
    if wiped.is_empty() {
        return (runs, wiped);
    }
    let regions = wiped.iter();
    let regions: Vec<Region> = regions
        .flat_map(|wipe| statement::zeroed(group, wipe))
        .chain(stated.iter().cloned())
        .collect();
    let members = open(group, devices, &regions);
    (survey(code, &members, &front), wiped)
}

/// The members as a reader of the group sees them.
fn open(group: &Group, devices: &Devices, epochs: &[Region]) -> Members {
    let count = usize::try_from(group.geometry.members()).unwrap_or(0);
    let open = |role: usize| {
        let mut members = group.members.iter();
        let member = members.find(|member| usize::try_from(member.role) == Ok(role))?;
        let name = member.device.as_ref()?;
        let device = devices.get(name)?;
        let regions = epochs.iter();
        open_member(
            &device,
            member,
            regions.filter(|region| region.concerns(&group.name, name)),
        )
    };
    Members::new((0..count).map(open).collect())
}

/// Of each member, whether its device has an area before the data, and it is zero: no label is
/// there.
fn bare(group: &Group, devices: &Devices) -> Vec<bool> {
    let count = usize::try_from(group.geometry.members()).unwrap_or(0);
    let mut all = vec![false; count];
    for member in &group.members {
        let place = usize::try_from(member.role).ok();
        let place = place.and_then(|role| all.get_mut(role));
        let device = member.device.as_ref().and_then(|name| devices.get(name));
        let (Some(place), Some(device)) = (place, device) else {
            continue;
        };
        let before = member.data_offset.min(device.len());
        let read = |at, buf: &mut [u8]| {
            let whole = 0..buf.len();
            let lost = |_| Gaps::one(whole, GapCause::BeyondEnd);
            device
                .read_at(ByteOffset::new(at), buf)
                .unwrap_or_else(lost)
        };
        *place = before > 0 && leading_zeros(before, read) == before;
    }
    all
}
