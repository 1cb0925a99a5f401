//! Where a group that was worked out begins: not behind the start of a file system that lies on it alone.
//!
//! The start of a group is often lost with its labels, and the place where md usually lets data begin is taken.
//! What lies on it says more once its blocks are read as the group has them.

use std::collections::{BTreeMap, BTreeSet};

use super::Discovery;
use super::newer_parity::Rotation;
use crate::document::{DeviceName, Group, Region};
use crate::infer::{self, Source};

/// So many blocks of different addresses must agree on where their file system begins, be it that journals name
/// these, or so many that state them themselves.
const LEAST_BLOCKS: usize = 8;
const LEAST_STATED: usize = 3;
/// Groups begin this near to the start of their disks; what would begin further on is a volume that comes from
/// another group.
const MOST_OFFSET: u64 = 8 << 20;
/// They must be such a part of all addresses that are there, and reach further than stripes do.
const LEAST_PERCENT: usize = 75;
const LEAST_REACH: u64 = 8 << 20;

impl Discovery<'_> {
    /// Groups as they begin by the file systems on them: on the disks beneath the partitions that they were worked
    /// out on, if these were made over them. What is stated of these in `regions` is then of the disks.
    pub(super) fn begun(&self, groups: Vec<Group>, regions: &mut [Region]) -> Vec<Group> {
        let begun = groups.into_iter().map(|group| {
            let begun = self.begun_earlier(&group).unwrap_or(group);
            for region in regions.iter_mut() {
                if let Some((disk, start)) = self.disk_beneath(&region.device)
                    && begun.devices().contains(&disk)
                {
                    region.device = disk;
                    region.start = region.start.saturating_add(start);
                }
            }
            begun
        });
        let begun: Vec<Group> = begun.collect();
        // What was worked out on partitions that lie on such disks is a part of the same.
        let is_part = |group: &&Group| {
            let devices = group.devices();
            let beneath = |name| self.disk_beneath(name).map(|(disk, _)| disk);
            let disks: Option<BTreeSet<DeviceName>> = devices.iter().map(beneath).collect();
            disks.is_some_and(|disks| begun.iter().any(|one| disks.is_subset(&one.devices())))
        };
        begun.iter().filter(|one| !is_part(one)).cloned().collect()
    }

    /// A group with parity as it is if a file system on it begins before it.
    fn begun_earlier(&self, group: &Group) -> Option<Group> {
        let rotation = Rotation::of(&group.geometry.level)?;
        let before = self.first_begin(group).filter(|begin| *begin < 0)?;
        let rows = before.unsigned_abs().div_ceil(rotation.row_bytes()?);
        let turns = rows.div_ceil(rotation.period().max(1));
        let rows = turns.checked_mul(rotation.period())?;
        if let Some(group) = earlier(group, rows, &rotation) {
            return Some(group);
        }
        // What is stated on partitions may be newer than the group, but what lies across partitions of which nothing
        // is stated is a volume on several groups.
        let disk = |name: &DeviceName| self.disk_beneath(name).map(|(disk, _)| disk);
        let disks: BTreeSet<DeviceName> =
            group.devices().iter().map(disk).collect::<Option<_>>()?;
        disks.is_subset(&self.explained_disks()).then_some(())?;
        earlier(&self.lowered(group, &disks), rows, &rotation)
    }

    /// Where the first file system on a group begins by its blocks, in bytes from the group's start, if nothing
    /// shows that the group itself begins there.
    fn first_begin(&self, group: &Group) -> Option<i64> {
        let device = self.devices.open_group(group, &[]).ok()?;
        if infer::begins_something(&*device) {
            return None;
        }
        let named = [(DeviceName::group(&group.name), device)];
        let mut begins: BTreeMap<Source, BTreeMap<i64, BTreeMap<u64, bool>>> = BTreeMap::new();
        for anchor in infer::survey(&named, &mut |_, _, _| ()) {
            let at = i64::try_from(anchor.at).ok();
            let begin = at.and_then(|at| at.checked_sub_unsigned(anchor.address));
            if let Some(begin) = begin
                && anchor.source.is_direct()
            {
                let of = begins.entry(anchor.source).or_default();
                let addresses = of.entry(begin).or_default();
                *addresses.entry(anchor.address).or_default() |= anchor.is_certain();
            }
        }
        let agreed = begins.values().filter_map(|of| {
            // Copies in journals state all the same address.
            let all: BTreeSet<u64> = of.values().flat_map(|own| own.keys().copied()).collect();
            let (begin, own) = of.iter().max_by_key(|(_, own)| own.len())?;
            let stated = own.values().filter(|is_certain| **is_certain).count();
            let many = own.len() >= LEAST_BLOCKS || stated >= LEAST_STATED;
            let most = own.len().saturating_mul(100) >= all.len().saturating_mul(LEAST_PERCENT);
            let (first, _) = own.first_key_value()?;
            let (last, _) = own.last_key_value()?;
            let reach = last.saturating_sub(*first);
            (many && most && reach >= LEAST_REACH).then_some(*begin)
        });
        agreed.min()
    }
}

/// A group that begins so many rows earlier on its members, if they have room for that.
fn earlier(group: &Group, rows: u64, rotation: &Rotation) -> Option<Group> {
    let back = rows.checked_mul(rotation.chunk)?;
    let more = rows.checked_mul(rotation.row_bytes()?)?;
    let mut group = group.clone();
    group.geometry.bytes = group.geometry.bytes.checked_add(more)?;
    for member in group.members.iter_mut().filter(|one| one.device.is_some()) {
        let offset = member.data_offset.checked_sub(back)?;
        (offset <= MOST_OFFSET).then_some(())?;
        member.data_offset = offset;
        member.data_size = member.data_size.checked_add(back)?;
    }
    group.evidence.push(format!(
        "a file system on it begins before the place that was taken for its start: it is taken to begin {back} bytes earlier on its members"
    ));
    Some(group)
}
