//! Rows that a newer RAID-6 wrote over older groups, by both of its parities.
//!
//! Where a row of the newer array is mostly zeros, its parities are multiples of the little that is there:
//! relations between members of that array, which say nothing of the older groups and tie their members together
//! wrongly. Both parities hold by no chance, so these rows are told apart and not looked at. One parity would not
//! do: a RAID-5 on the same disks has the same sum, however its chunks are laid.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use evidence::{ByteOffset, ReadAt, ReadAtExt, merged};

use super::newer_parity::Rotation;
use crate::document::{DeviceName, Group};
use crate::infer::{Named, WINDOW, windows};
use crate::raid::{Row, parity};

/// Rows are looked at in blocks of this size.
const BLOCK: usize = 4096;

/// Of the rows with contents at least one in so many must not be the array's: one that holds in more is no newer
/// array, but what is looked for itself.
const MOST_PART: usize = 2;

/// Where on `devices` the array `group` has rows in which both of its parities hold, in the parts of the devices that
/// are looked at for groups. Members that are missing count as zeros.
pub(super) fn written_rows(group: &Group, devices: &[Named]) -> Vec<(DeviceName, Range<u64>)> {
    let array = Rotation::of(&group.geometry.level)
        .and_then(|rotation| Array::new(group, rotation, devices));
    let Some(array) = array else {
        return Vec::new();
    };
    let mut rows = Rows::default();
    for start in array.windows() {
        array.look(start, &mut rows);
    }
    if rows.written.len().saturating_mul(MOST_PART) > rows.telling {
        return Vec::new();
    }
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    let runs = rows.written.iter().map(|at| *at..at.saturating_add(block));
    let runs = merged(runs.collect());
    let members = array.members.iter().flatten();
    let places = members.flat_map(|member| {
        runs.iter().map(|run| {
            let place = |at: u64| at.saturating_add(member.data_offset);
            (member.name.clone(), place(run.start)..place(run.end))
        })
    });
    places.collect()
}

/// What was seen of the rows of an array.
#[derive(Default)]
struct Rows {
    /// How many have something in several members.
    telling: usize,
    /// Where those are in which both parities hold, in the members' data.
    written: Vec<u64>,
}

/// A RAID-6 with the members of it that are there.
struct Array {
    rotation: Rotation,
    members: Vec<Option<Member>>,
}

struct Member {
    name: DeviceName,
    device: Arc<dyn ReadAt>,
    data_offset: u64,
    data_size: u64,
}

impl Array {
    fn new(group: &Group, rotation: Rotation, devices: &[Named]) -> Option<Self> {
        let block = u64::try_from(BLOCK).ok()?;
        let is_whole = rotation.chunk.is_multiple_of(block) && rotation.chunk > 0;
        (is_whole && rotation.row(0).q.is_some()).then_some(())?;
        let mut members: Vec<Option<Member>> = Vec::new();
        for role in 0..group.geometry.members() {
            let own = group.members.iter().find(|member| member.role == role);
            members.push(own.and_then(|member| {
                let name = member.device.as_ref()?;
                let (_, device) = devices.iter().find(|(other, _)| other == name)?;
                Some(Member {
                    name: name.clone(),
                    device: Arc::clone(device),
                    data_offset: member.data_offset,
                    data_size: member.data_size,
                })
            }));
        }
        Some(Self { rotation, members })
    }

    /// Where in the members' data the windows begin that are looked at on one of the devices.
    fn windows(&self) -> BTreeSet<u64> {
        let members = self.members.iter().flatten();
        let longest = members.clone().map(|member| member.device.len()).max();
        let windows = windows(longest.unwrap_or(0));
        let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
        members
            .flat_map(|member| {
                let inside = windows
                    .iter()
                    .map(|start| start.saturating_sub(member.data_offset));
                let inside = inside.filter(|start| *start < member.data_size);
                inside.map(|start| start.saturating_sub(start.checked_rem(block).unwrap_or(0)))
            })
            .collect()
    }

    /// Looks at the rows of the window at `start`.
    fn look(&self, start: u64, rows: &mut Rows) {
        let read = |member: &Option<Member>| {
            let member = member.as_ref()?;
            let left = member.data_size.saturating_sub(start).min(WINDOW);
            let at = ByteOffset::new(member.data_offset.checked_add(start)?);
            let (bytes, _) = member
                .device
                .read_vec(at, usize::try_from(left).ok()?)
                .ok()?;
            Some(bytes)
        };
        let windows: Vec<Vec<u8>> = self
            .members
            .iter()
            .map(|one| read(one).unwrap_or_default())
            .collect();
        let longest = windows.iter().map(Vec::len).max().unwrap_or(0);
        for inside in (0..longest).step_by(BLOCK) {
            let blocks = windows.iter().map(|bytes| {
                let block = bytes.get(inside..inside.saturating_add(BLOCK))?;
                block.iter().any(|byte| *byte != 0).then_some(block)
            });
            let blocks: Vec<Option<&[u8]>> = blocks.collect();
            if blocks.iter().flatten().count() < 2 {
                continue;
            }
            rows.telling = rows.telling.saturating_add(1);
            let at = start.saturating_add(u64::try_from(inside).unwrap_or(u64::MAX));
            let row = at
                .checked_div(self.rotation.chunk)
                .map(|row| self.rotation.row(row));
            if row.is_some_and(|row| self.holds(&row, &blocks)) {
                rows.written.push(at);
            }
        }
    }

    /// Whether both parities hold in a row: they must be there.
    fn holds(&self, row: &Row, blocks: &[Option<&[u8]>]) -> bool {
        let Some(q) = row.q else {
            return false;
        };
        let is_there = |role: usize| self.members.get(role).is_some_and(Option::is_some);
        if !is_there(row.p) || !is_there(q) {
            return false;
        }
        let full = || {
            let full = blocks.iter().enumerate();
            full.filter_map(|(role, block)| Some((role, (*block)?)))
        };
        let mut sum = [0; BLOCK];
        for (_, block) in full().filter(|(role, _)| *role != q) {
            parity::xor(&mut sum, block);
        }
        if sum.iter().any(|byte| *byte != 0) {
            return false;
        }
        for (role, block) in full().filter(|(role, _)| *role != row.p) {
            if role == q {
                parity::xor(&mut sum, block);
            } else {
                parity::subtract_q(&mut sum, block, row.coefficient(role));
            }
        }
        sum.iter().all(|byte| *byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    const CHUNK: usize = 64 << 10;

    fn group() -> Group {
        let member = |role: usize| match role {
            1 => serde_json::json!({"role": 1, "device": null}),
            _ => serde_json::json!({
                "role": role, "device": format!("disk:{role}"), "data_offset": BLOCK, "data_size": 8 * CHUNK,
            }),
        };
        let members: Vec<serde_json::Value> = (0..5).map(member).collect();
        let group = serde_json::json!({
            "name": "newer",
            "geometry": {
                "level": "raid6", "layout": "left-symmetric", "chunk_bytes": CHUNK, "members": 5, "bytes": 24 * CHUNK,
            },
            "members": members,
        });
        serde_json::from_value(group).unwrap()
    }

    /// In the first row P is the last member and Q the first one, and member 2 has the coefficient 2.
    #[test]
    fn a_row_is_the_arrays_where_both_parities_hold_and_most_are_not() {
        for (is_held, others) in [(true, 3), (false, 3), (true, 0)] {
            let mut disks = vec![vec![0; BLOCK + 8 * CHUNK]; 5];
            let mut write = |disk: usize, at: usize, value: u8| {
                disks[disk][BLOCK + at..][..BLOCK].fill(value);
            };
            write(2, 0, 0x91);
            write(4, 0, 0x91);
            // Twice 0x91, modulo x^8 + x^4 + x^3 + x^2 + 1.
            write(0, 0, if is_held { 0x22 ^ 0x1d } else { 0x22 });
            for number in 0..others {
                write(2, BLOCK * (1 + number), 7);
                write(3, BLOCK * (1 + number), 9);
            }
            let devices = disks.into_iter().enumerate().map(|(number, bytes)| {
                let device = Arc::new(Memory::new(bytes)) as Arc<dyn ReadAt>;
                (DeviceName::disk(&number.to_string()), device)
            });
            let devices: Vec<Named> = devices.filter(|(name, _)| name.0 != "disk:1").collect();
            let block = BLOCK as u64;
            let expected = devices
                .iter()
                .map(|(name, _)| (name.clone(), block..2 * block));
            let expected: Vec<(DeviceName, Range<u64>)> = match is_held && others > 0 {
                true => expected.collect(),
                false => Vec::new(),
            };
            let case = format!("held {is_held}, {others} others");
            assert_eq!(written_rows(&group(), &devices), expected, "{case}");
        }
    }
}
