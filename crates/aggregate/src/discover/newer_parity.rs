//! What newer arrays, which labels state, wrote on the members of a group that was worked out: their parity, as
//! far as they were synchronised.

use evidence::SECTOR_BYTES;

use crate::document::{Epoch, Group, Pieces, Region};
use crate::md::Found;
use crate::raid::{Level, ParityDelay, ParityLayout};

use super::Discovery;

impl Discovery<'_> {
    /// The regions of the members of `group` that hold the parity of arrays which labels state, and say how
    /// far they were synchronised.
    ///
    /// A sync that did not end left the label with the place up to which it went: up to there each row has that
    /// array's parity, whatever the group had at these places.
    pub(super) fn parity_of_newer(&self, group: &Group) -> Vec<Region> {
        let stated = self.aggregate.groups.iter();
        let stated = stated.filter(|one| self.added_stated.contains(&one.name));
        let regions = stated.flat_map(|newer| {
            let synced = self.synced_bytes(newer).unwrap_or(0);
            parity_regions(newer, synced)
        });
        let on = group.devices();
        let regions = regions.filter(|region| on.contains(&region.device));
        let regions = regions.map(|region| Region {
            group: Some(group.name.clone()),
            ..region
        });
        regions.collect()
    }

    /// How much of each member of an array was synchronised, where its newest label says that it is not all.
    fn synced_bytes(&self, array: &Group) -> Option<u64> {
        let devices = array.devices();
        let is_own = |label: &&Found| {
            let members = u64::from(array.geometry.members());
            label.fault.is_none()
                && devices.contains(&label.device)
                && u64::from(label.superblock.raid_disks) == members
        };
        let labels = self.md.iter().filter(is_own);
        let newest: &Found = labels.max_by_key(|label| label.superblock.events)?;
        newest.superblock.resync_offset?.checked_mul(SECTOR_BYTES)
    }
}

/// More members than any array has.
const MOST_MEMBERS: u32 = 4096;

/// Where an array has parity in the first `bytes` of its members, as pieces that repeat.
fn parity_regions(array: &Group, bytes: u64) -> Vec<Region> {
    let (layout, chunk, members) = match array.geometry.level {
        Level::Raid4 {
            chunk_bytes,
            members,
        } => (ParityLayout::Raid4, chunk_bytes, members),
        Level::Raid5 {
            layout,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        } => (ParityLayout::Raid5(layout), chunk_bytes, members),
        Level::Raid6 {
            layout,
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        } => (ParityLayout::Raid6(layout), chunk_bytes, members),
        _ => return Vec::new(),
    };
    let parity = |row: u64| {
        let row = layout.row(row, members);
        (row.p, row.q)
    };
    if members > MOST_MEMBERS {
        return Vec::new();
    }
    // Where parity goes around, it does so over all members, or over all but one.
    let all = u64::from(members);
    let repeats =
        |period: &u64| (0..all).all(|row| parity(row) == parity(row.saturating_add(*period)));
    let period = (1..=all).find(repeats).unwrap_or(all);
    let every = period.saturating_mul(chunk);
    let members = array.members.iter().filter_map(|member| {
        let role = usize::try_from(member.role).ok()?;
        Some((role, member.data_offset, member.device.as_ref()?))
    });
    let pieces = members.flat_map(|(role, data_offset, device)| {
        let own = (0..period).filter(move |row| {
            let (p, q) = parity(*row);
            p == role || q == Some(role)
        });
        own.filter_map(move |row| {
            let start = row.checked_mul(chunk)?;
            let left = bytes.checked_sub(start).filter(|left| *left > 0)?;
            Some(Region {
                device: device.clone(),
                start: data_offset.checked_add(start)?,
                bytes: left,
                epoch: Epoch::New,
                pieces: Some(Pieces {
                    bytes: chunk,
                    every,
                }),
                group: None,
                evidence: format!(
                    "{chunk} bytes of every {every} are parity of {}, which was synchronised up to here by its label",
                    array.name
                ),
            })
        })
    });
    pieces.collect()
}
