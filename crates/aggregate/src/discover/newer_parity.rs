//! What newer arrays, which labels state, wrote on the members of a group that was worked out: their parity, as
//! far as they were synchronised.

use evidence::SECTOR_BYTES;

use crate::document::{Epoch, Group, Pieces, Region};
use crate::md::Found;
use crate::raid::{Level, ParityDelay, ParityLayout, Row};

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
        let on = group.devices();
        let regions = stated.flat_map(|newer| {
            let synced = self.synced_bytes(newer).unwrap_or(0);
            parity_regions(&self.lowered(newer, &on), synced)
        });
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

/// How the parity of an array goes around.
pub(super) struct Rotation {
    layout: ParityLayout,
    pub(super) chunk: u64,
    members: u32,
}

impl Rotation {
    /// That of a level with parity which is written at once.
    pub(super) fn of(level: &Level) -> Option<Self> {
        let (layout, chunk, members) = match *level {
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
            _ => return None,
        };
        (members <= MOST_MEMBERS).then_some(Self {
            layout,
            chunk,
            members,
        })
    }

    /// What the members are in a row.
    pub(super) fn row(&self, row: u64) -> Row {
        self.layout.row(row, self.members)
    }

    /// The members that have parity in a row.
    fn parity(&self, row: u64) -> (usize, Option<usize>) {
        let row = self.row(row);
        (row.p, row.q)
    }

    /// After how many rows it begins anew: it goes around over all members, or over all but one.
    pub(super) fn period(&self) -> u64 {
        let all = u64::from(self.members);
        let repeats = |period: &u64| {
            (0..all).all(|row| self.parity(row) == self.parity(row.saturating_add(*period)))
        };
        (1..=all).find(repeats).unwrap_or(all)
    }

    /// How much data a row has, in bytes.
    pub(super) fn row_bytes(&self) -> Option<u64> {
        let data = self.members.checked_sub(self.layout.parities())?;
        self.chunk
            .checked_mul(data.into())
            .filter(|bytes| *bytes > 0)
    }
}

/// Where an array has parity in the first `bytes` of its members, as pieces that repeat.
fn parity_regions(array: &Group, bytes: u64) -> Vec<Region> {
    let Some(rotation) = Rotation::of(&array.geometry.level) else {
        return Vec::new();
    };
    let (chunk, period) = (rotation.chunk, rotation.period());
    let rotation = &rotation;
    let every = period.saturating_mul(chunk);
    let members = array.members.iter().filter_map(|member| {
        let role = usize::try_from(member.role).ok()?;
        Some((role, member.data_offset, member.device.as_ref()?))
    });
    let pieces = members.flat_map(|(role, data_offset, device)| {
        let own = (0..period).filter(move |row| {
            let (p, q) = rotation.parity(*row);
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
