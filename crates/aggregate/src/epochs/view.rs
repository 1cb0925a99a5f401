//! One row of a group for a person's eyes: what each member is, and whether parity holds.

use evidence::{ByteOffset, Gaps, ReadAt};
use serde::Serialize;

use super::code::{Code, Verdict};
use super::open;
use crate::Devices;
use crate::document::{DeviceName, Epoch, Group, Region};

/// A row of blocks of a group with parity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowView {
    /// The number of the row of chunks.
    pub row: u64,
    /// Its members, by role.
    pub pieces: Vec<PieceView>,
    /// Whether parity holds between those that are there and not known to be written over.
    pub parity: ParityState,
}

/// The block of one member in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceView {
    /// The member's role.
    pub role: u32,
    /// The device; `None` if it is missing.
    pub device: Option<DeviceName>,
    /// Where on the device the block begins, in bytes.
    pub offset: u64,
    /// What it is: `data 0`, `P`, `Q`.
    pub part: String,
    /// Which epoch is stated of it.
    pub epoch: Epoch,
    /// Whether the member as a whole is left out.
    pub left_out: bool,
    /// Its bytes as they are on the device.
    pub bytes: Vec<u8>,
    /// Which of them could not be read.
    pub gaps: Gaps,
}

/// What parity says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParityState {
    /// It holds.
    Holds,
    /// All that is there is zero.
    AllZero,
    /// Too much is missing to tell.
    NotKnown,
    /// It does not hold, and this role is shown to be wrong.
    Wrong(u32),
    /// It does not hold.
    Fails,
}

impl ParityState {
    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Holds => "parity holds".to_owned(),
            Self::AllZero => "all that is there is zero, which says nothing".to_owned(),
            Self::NotKnown => "too much is missing to test parity".to_owned(),
            Self::Wrong(role) => format!("parity does not hold: role {role} is wrong"),
            Self::Fails => {
                "parity does not hold, and nothing shows which member is wrong".to_owned()
            }
        }
    }
}

/// The row of blocks in which byte `offset` of `group` lies; `None` if the group has no parity or
/// no such byte.
pub fn row_at(group: &Group, epochs: &[Region], devices: &Devices, offset: u64) -> Option<RowView> {
    let code = Code::of(&group.geometry).filter(|_| offset < group.geometry.bytes)?;
    let block = code.block as u64;
    let width = code.members().checked_sub(code.redundancy())? as u64;
    let row = offset.checked_div(code.chunk.checked_mul(width)?)?;
    let inside = offset.checked_rem(code.chunk)?;
    let at = row
        .checked_mul(code.chunk)?
        .checked_add(inside - inside % block)?;
    let members = open(group, devices, epochs);
    let mut blocks = Vec::new();
    for role in 0..code.members() {
        let mut bytes = vec![0; code.block];
        let gaps = members.read(role, at, &mut bytes);
        blocks.push(gaps.is_empty().then_some(bytes));
    }
    let read: Vec<Option<&[u8]>> = blocks.iter().map(Option::as_deref).collect();
    let parity = match code.test(at, &read, &mut code.sums()) {
        Verdict::Zero => ParityState::AllZero,
        Verdict::Open | Verdict::Likely | Verdict::Unlikely => ParityState::NotKnown,
        Verdict::Holds => ParityState::Holds,
        Verdict::Wrong(role) | Verdict::Silent(role, _) => {
            ParityState::Wrong(u32::try_from(role).unwrap_or(u32::MAX))
        }
        Verdict::Odd(..) | Verdict::Fails => ParityState::Fails,
    };
    let mut members: Vec<_> = group.members.iter().collect();
    members.sort_by_key(|member| member.role);
    let pieces = members.into_iter().map(|member| {
        let offset = member.data_offset.saturating_add(at);
        let device = member.device.as_ref().and_then(|name| devices.get(name));
        let (bytes, gaps) =
            device.map_or_else(Default::default, |d| block_of(&d, offset, code.block));
        let regions = epochs.iter().filter(|region| {
            let device = member.device.as_ref();
            let end = offset.saturating_add(block);
            region.extent().within(offset, end).next().is_some()
                && device.is_some_and(|device| region.concerns(&group.name, device))
        });
        PieceView {
            role: member.role,
            device: member.device.clone(),
            offset,
            part: part(&code, at, member.role),
            epoch: regions
                .map(|region| region.epoch)
                .max()
                .unwrap_or(Epoch::Old),
            left_out: member.left_out.is_some(),
            bytes,
            gaps,
        }
    });
    Some(RowView {
        row,
        pieces: pieces.collect(),
        parity,
    })
}

/// What a member is at `at` of its data area.
fn part(code: &Code, at: u64, role: u32) -> String {
    let row = code.row(at);
    let role = usize::try_from(role).unwrap_or(usize::MAX);
    if role == row.p {
        return "P".to_owned();
    }
    if row.q == Some(role) {
        return "Q".to_owned();
    }
    let width = code.members().saturating_sub(code.redundancy()) as u64;
    let number = (0..width).find(|number| row.data(*number) == role);
    number.map_or_else(String::new, |number| format!("data {number}"))
}

/// As much of a block as its device has.
fn block_of(device: &dyn ReadAt, offset: u64, length: usize) -> (Vec<u8>, Gaps) {
    let there = usize::try_from(device.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(there)];
    let gaps = device.read_at(ByteOffset::new(offset), &mut bytes);
    (bytes, gaps.unwrap_or_default())
}
