//! Where the bytes of a RAID group lie on its members, as a statement that a person can edit.

use evidence::SECTOR_BYTES;
use serde::{Deserialize, Serialize};

use super::diagonal::Code;
use super::parity_layout::{ParityLayout, Raid5Layout, Raid6Layout};
use super::raid10::{Placement, Raid10Layout};
use super::rows::{ParityDelay, Rows};
use super::table::{Cell, QRule, Table};
use super::zones::Zones;

/// Most members that a group may have: as many as an md 1.x label has room for.
pub const MAX_MEMBERS: u32 = 1920;

/// Most members of a RAID-6 group: the coefficients of Q repeat after 255 disks.
pub const MAX_RAID6_MEMBERS: u32 = 255;

/// The longest chunk that is believed: 1 TiB, far above what any array has.
const MAX_CHUNK_BYTES: u64 = 1 << 40;

/// The longest stripe of a row-diagonal code on one member that is believed: a repair keeps
/// three of them in memory.
const MAX_STRIPE_BYTES: u64 = 16 << 20;

/// The largest prime of a row-diagonal code that is believed.
const MAX_PRIME: u32 = 65537;

/// The longest group that is believed: 4 EiB, so that no sum of positions overflows.
const MAX_GROUP_BYTES: u64 = 1 << 62;

/// How the bytes of a RAID group lie on its members.
///
/// In `aggregate.json` it is one flat object:
///
/// ```
/// use aggregate::raid::Geometry;
///
/// let geometry: Geometry = serde_json::from_str(
///     r#"{"level": "raid5", "layout": "left-symmetric", "chunk_bytes": 65536,
///         "members": 4, "bytes": 3145728}"#,
/// )?;
/// assert_eq!(geometry.members(), 4);
/// assert_eq!(geometry.redundancy(), 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// The level, with what only this level has.
    #[serde(flatten)]
    pub level: Level,
    /// The length of the group in bytes.
    pub bytes: u64,
}

/// A RAID level, with the layout parameters that it needs. Chunks are a multiple of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "level")]
pub enum Level {
    /// One member after the other.
    Linear {
        /// How many bytes each member gives, by role.
        member_bytes: Vec<u64>,
    },
    /// Chunks in turns over the members, without redundancy.
    Raid0 {
        /// How chunks are counted where members differ in size.
        #[serde(default)]
        layout: Raid0Layout,
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many bytes each member gives, by role; what is more than whole chunks is unused.
        member_bytes: Vec<u64>,
    },
    /// The same on every member.
    Raid1 {
        /// How many copies there are.
        members: u32,
    },
    /// Chunks in turns, with parity on the last member.
    Raid4 {
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many members there are, with the one for parity.
        members: u32,
    },
    /// Chunks in turns, with one chunk of parity in each row.
    Raid5 {
        /// Where parity and data lie in each row.
        layout: Raid5Layout,
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many members there are.
        members: u32,
        /// For how many rows parity stays where it is: `parity_delay` and `first_delay`.
        #[serde(flatten)]
        delay: ParityDelay,
    },
    /// Chunks in turns, with P and Q in each row.
    Raid6 {
        /// Where P, Q and data lie in each row, and in what order Q counts the data.
        layout: Raid6Layout,
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many members there are.
        members: u32,
        /// For how many rows P and Q stay where they are: `parity_delay` and `first_delay`.
        #[serde(flatten)]
        delay: ParityDelay,
    },
    /// Chunks in turns, each on several members.
    Raid10 {
        /// How many copies there are and where they lie.
        layout: Raid10Layout,
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many members there are.
        members: u32,
        /// How many bytes of each member the group uses: far copies begin at an equal part of it.
        member_bytes: u64,
    },
    /// Row-diagonal parity, as RAID-DP: data in turns as in RAID-4, then a member of row parity,
    /// then one of diagonal parity.
    RaidDp {
        /// Bytes on one member before the next one's turn.
        chunk_bytes: u64,
        /// How many members there are, with the two for parity.
        members: u32,
        /// The prime of the code: a stripe has one row fewer, and there are at most as many data
        /// members as rows.
        prime: u32,
        /// Bytes of one row of a stripe on one member.
        sub_block_bytes: u64,
    },
    /// Chunks as a table lists them, row by row, and again from its first row after the last.
    Table {
        /// Bytes of one cell of the table.
        chunk_bytes: u64,
        /// What each member holds in each row: `rows[row][role]`.
        rows: Vec<Vec<Cell>>,
        /// What Q multiplies the data of its row with.
        #[serde(default)]
        q_rule: QRule,
    },
}

/// How md counts the chunks of a RAID-0 group whose members differ in size (the zones past the
/// end of the smaller members); the same for members of equal size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Raid0Layout {
    /// From the start of the group: Linux before 3.14, `RAID0_ORIG_LAYOUT`.
    Original,
    /// From the start of the zone: Linux since 3.14, `RAID0_ALT_MULTIZONE_LAYOUT`.
    #[default]
    Alternate,
}

/// A geometry that contradicts itself, or is not what its members are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The chunk is not a multiple of 512 bytes, or zero.
    #[error("a chunk of {chunk_bytes} bytes: chunks are a multiple of 512 bytes")]
    Chunk {
        /// The chunk's size in bytes.
        chunk_bytes: u64,
    },
    /// More or fewer members than this level can have.
    #[error("{level} of {members} members: it takes {least} to {most}")]
    Members {
        /// The level's name.
        level: &'static str,
        /// How many members there are.
        members: u64,
        /// The fewest that the level can have.
        least: u32,
        /// The most that the level can have.
        most: u32,
    },
    /// Numbers of copies that this many members cannot hold.
    #[error("RAID-10 with {near} near and {far} far copies does not fit {members} members")]
    Copies {
        /// Copies beside each other.
        near: u32,
        /// Copies further down.
        far: u32,
        /// How many members there are.
        members: u32,
    },
    /// Numbers that no row-diagonal code has.
    #[error(
        "prime {prime} and sub-blocks of {sub_block_bytes} bytes: it takes a prime from 3 to 65537, and (prime - 1) sub-blocks of at most 16 MiB together"
    )]
    Code {
        /// What should be a prime.
        prime: u32,
        /// The size of a sub-block in bytes.
        sub_block_bytes: u64,
    },
    /// A table of rows that cannot be.
    #[error("row {row} of the table: {what}")]
    Table {
        /// The row, from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The group is said to be longer than its members can hold.
    #[error("a group of {bytes} bytes does not fit its members, which hold {room}")]
    TooLong {
        /// The length of the group.
        bytes: u64,
        /// What its members hold.
        room: u64,
    },
    /// Another number of members was given than the geometry has.
    #[error("the geometry has {geometry} members, {given} were given")]
    MemberCount {
        /// Members by the geometry.
        geometry: u32,
        /// Members given.
        given: usize,
    },
}

impl Geometry {
    /// How many members the group has, with missing ones.
    pub fn members(&self) -> u32 {
        match &self.level {
            Level::Linear { member_bytes } | Level::Raid0 { member_bytes, .. } => {
                u32::try_from(member_bytes.len()).unwrap_or(u32::MAX)
            }
            Level::Raid1 { members }
            | Level::Raid4 { members, .. }
            | Level::Raid5 { members, .. }
            | Level::Raid6 { members, .. }
            | Level::Raid10 { members, .. }
            | Level::RaidDp { members, .. } => *members,
            Level::Table { rows, .. } => {
                u32::try_from(rows.first().map_or(0, Vec::len)).unwrap_or(u32::MAX)
            }
        }
    }

    /// How many bytes of data a row has, where that is the same in every row.
    pub(crate) fn row_bytes(&self) -> Option<u64> {
        let parities = match self.level {
            Level::Raid0 { .. } => 0,
            Level::Raid4 { .. } | Level::Raid5 { .. } => 1,
            Level::Raid6 { .. } => 2,
            _ => return None,
        };
        let data = self.members().checked_sub(parities)?;
        self.chunk_bytes()?.checked_mul(u64::from(data))
    }

    /// How many members may be missing, whichever they are, with every byte still to be had.
    pub fn redundancy(&self) -> u32 {
        match &self.level {
            Level::Linear { .. } | Level::Raid0 { .. } => 0,
            Level::Raid1 { members } => members.saturating_sub(1),
            Level::Raid4 { .. } | Level::Raid5 { .. } => 1,
            Level::Raid6 { .. } | Level::RaidDp { .. } => 2,
            Level::Raid10 { layout, .. } => layout.copies().saturating_sub(1),
            Level::Table { rows, q_rule, .. } => {
                Table::new(rows, q_rule).map_or(0, |table| table.redundancy())
            }
        }
    }

    /// The size of a chunk in bytes, for levels that have chunks.
    pub const fn chunk_bytes(&self) -> Option<u64> {
        match &self.level {
            Level::Linear { .. } | Level::Raid1 { .. } => None,
            Level::Raid0 { chunk_bytes, .. }
            | Level::Raid4 { chunk_bytes, .. }
            | Level::Raid5 { chunk_bytes, .. }
            | Level::Raid6 { chunk_bytes, .. }
            | Level::Raid10 { chunk_bytes, .. }
            | Level::RaidDp { chunk_bytes, .. }
            | Level::Table { chunk_bytes, .. } => Some(*chunk_bytes),
        }
    }

    /// The geometry of a group of `level` that fills members of `member_bytes` each, rounded as
    /// md rounds: to whole chunks, to whole rows. Linear and RAID-0 groups know the size of
    /// each member already and fill all of it.
    pub fn filling(level: Level, member_bytes: u64) -> Result<Self, GeometryError> {
        let mut geometry = Self { level, bytes: 0 };
        let members = geometry.members();
        geometry.check()?;
        geometry.bytes = match &geometry.level {
            Level::Raid1 { .. } => member_bytes,
            Level::Raid4 { chunk_bytes, .. }
            | Level::Raid5 { chunk_bytes, .. }
            | Level::Raid6 { chunk_bytes, .. } => {
                let data = u64::from(members.saturating_sub(geometry.redundancy()));
                (member_bytes - member_bytes % chunk_bytes).saturating_mul(data)
            }
            Level::RaidDp {
                chunk_bytes,
                prime,
                sub_block_bytes,
                ..
            } => {
                let code = code(*prime, *sub_block_bytes, members)?;
                let whole = member_bytes - member_bytes % code.stripe();
                (whole - whole % chunk_bytes).saturating_mul(u64::from(code.data))
            }
            Level::Table {
                chunk_bytes,
                rows,
                q_rule,
            } => {
                let table = Table::new(rows, q_rule)?;
                let chunks = table.chunks_in(member_bytes / chunk_bytes);
                chunks.saturating_mul(*chunk_bytes)
            }
            Level::Linear { .. } | Level::Raid0 { .. } | Level::Raid10 { .. } => {
                geometry.level.map(members)?.1
            }
        };
        geometry.check()?;
        Ok(geometry)
    }

    /// Whether every byte of the group can be had where these members are `present`, by role.
    pub fn survives(&self, present: &[bool]) -> bool {
        let is_present = |member: usize| present.get(member).copied().unwrap_or(false);
        let missing = (0..self.members())
            .filter(|member| !usize::try_from(*member).is_ok_and(is_present))
            .count();
        match self.map() {
            // Where copies lie repeats after as many chunks as there are members.
            Ok(Map::Copies(chunk, placement)) => (0..u64::from(self.members())).all(|number| {
                let mut copies = Vec::new();
                placement.copies(number * chunk, &mut copies);
                copies.iter().any(|(member, _)| is_present(*member))
            }),
            Ok(Map::Parity(Rows::Table(table), _)) => table.survives(is_present),
            _ => u32::try_from(missing).is_ok_and(|missing| missing <= self.redundancy()),
        }
    }

    /// Whether the geometry makes sense in itself; [`super::GroupReader::new`] checks the same.
    pub fn check(&self) -> Result<(), GeometryError> {
        self.map().map(drop)
    }

    /// Where the byte at `position` lies, of a group that keeps copies of all: members and offsets in
    /// their data areas, and for how many bytes from there on that holds.
    pub(crate) fn copies_at(&self, position: u64) -> Option<(Vec<(usize, u64)>, u64)> {
        match self.map().ok()? {
            Map::Mirror => {
                let members = usize::try_from(self.members()).ok()?;
                let copies = (0..members).map(|member| (member, position)).collect();
                Some((copies, self.bytes.saturating_sub(position)))
            }
            Map::Copies(chunk, places) => {
                let mut copies = Vec::new();
                places.copies(position, &mut copies);
                Some((copies, chunk.saturating_sub(position % chunk.max(1))))
            }
            Map::Zones(_) | Map::Parity(..) | Map::Diagonal(..) => None,
        }
    }

    /// What the reader looks positions up in. Everything that it divides by is not zero, and
    /// no position below `bytes` overflows in it.
    pub(super) fn map(&self) -> Result<Map, GeometryError> {
        let (least, most) = self.level.limits();
        let members = self.members();
        if members < least || members > most {
            return Err(GeometryError::Members {
                level: self.level.name(),
                members: u64::from(members),
                least,
                most,
            });
        }
        if let Some(chunk_bytes) = self.chunk_bytes() {
            let whole = chunk_bytes % SECTOR_BYTES == 0;
            if chunk_bytes == 0 || !whole || chunk_bytes > MAX_CHUNK_BYTES {
                return Err(GeometryError::Chunk { chunk_bytes });
            }
        }
        let (map, room) = self.level.map(members)?;
        let room = room.min(MAX_GROUP_BYTES);
        if self.bytes > room {
            return Err(GeometryError::TooLong {
                bytes: self.bytes,
                room,
            });
        }
        Ok(map)
    }
}

/// Where positions of a group are looked up.
pub(super) enum Map {
    /// Linear and RAID-0.
    Zones(Zones),
    /// RAID-1.
    Mirror,
    /// RAID-4, RAID-5, RAID-6 and tables: the rows and the chunk.
    Parity(Rows, u64),
    /// RAID-DP: the code and the chunk.
    Diagonal(Code, u64),
    /// RAID-10: the chunk and the places.
    Copies(u64, Placement),
}

impl Level {
    /// The level's name as people write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Raid0 { .. } => "RAID-0",
            Self::Raid1 { .. } => "RAID-1",
            Self::Raid4 { .. } => "RAID-4",
            Self::Raid5 { .. } => "RAID-5",
            Self::Raid6 { .. } => "RAID-6",
            Self::Raid10 { .. } => "RAID-10",
            Self::RaidDp { .. } => "RAID-DP",
            Self::Table { .. } => "a table",
        }
    }

    /// The fewest and the most members that the level can have.
    const fn limits(&self) -> (u32, u32) {
        match self {
            Self::Linear { .. } | Self::Raid0 { .. } | Self::Raid1 { .. } | Self::Table { .. } => {
                (1, MAX_MEMBERS)
            }
            Self::Raid4 { .. } | Self::Raid5 { .. } | Self::Raid10 { .. } => (2, MAX_MEMBERS),
            Self::Raid6 { .. } => (3, MAX_RAID6_MEMBERS),
            Self::RaidDp { prime, .. } => {
                let most = prime.saturating_add(1);
                (
                    3,
                    if most < MAX_MEMBERS {
                        most
                    } else {
                        MAX_MEMBERS
                    },
                )
            }
        }
    }

    /// The map of a group of so many members, and how many bytes it can have at most.
    fn map(&self, members: u32) -> Result<(Map, u64), GeometryError> {
        let zones = |zones: Option<Zones>| {
            let zones = zones.ok_or(GeometryError::TooLong {
                bytes: u64::MAX,
                room: MAX_GROUP_BYTES,
            })?;
            let room = zones.capacity();
            Ok((Map::Zones(zones), room))
        };
        let turning = |layout, delay, chunk| {
            let rows = Rows::turning(layout, delay, members);
            (Map::Parity(rows, chunk), u64::MAX)
        };
        match self {
            Self::Linear { member_bytes } => zones(Zones::linear(member_bytes)),
            Self::Raid0 {
                layout,
                chunk_bytes,
                member_bytes,
            } => zones(Zones::raid0(*layout, *chunk_bytes, member_bytes)),
            Self::Raid1 { .. } => Ok((Map::Mirror, u64::MAX)),
            Self::Raid4 { chunk_bytes, .. } => Ok(turning(
                ParityLayout::Raid4,
                ParityDelay::NONE,
                *chunk_bytes,
            )),
            Self::Raid5 {
                layout,
                chunk_bytes,
                delay,
                ..
            } => Ok(turning(ParityLayout::Raid5(*layout), *delay, *chunk_bytes)),
            Self::Raid6 {
                layout,
                chunk_bytes,
                delay,
                ..
            } => Ok(turning(ParityLayout::Raid6(*layout), *delay, *chunk_bytes)),
            Self::RaidDp {
                chunk_bytes,
                prime,
                sub_block_bytes,
                ..
            } => {
                let code = code(*prime, *sub_block_bytes, members)?;
                Ok((Map::Diagonal(code, *chunk_bytes), u64::MAX))
            }
            Self::Table {
                chunk_bytes,
                rows,
                q_rule,
            } => {
                let table = Table::new(rows, q_rule)?;
                // A table may have far more rows than data: member positions stay small too.
                let room = MAX_GROUP_BYTES / table.period();
                Ok((Map::Parity(Rows::Table(table), *chunk_bytes), room))
            }
            Self::Raid10 {
                layout,
                chunk_bytes,
                member_bytes,
                ..
            } => {
                let unfit = GeometryError::Copies {
                    near: layout.near,
                    far: layout.far,
                    members,
                };
                let placement = layout
                    .fit(*chunk_bytes, members, *member_bytes)
                    .ok_or(unfit)?;
                Ok((Map::Copies(*chunk_bytes, placement), placement.capacity))
            }
        }
    }
}

/// The numbers of a row-diagonal code over so many members, if there is such a code.
fn code(prime: u32, sub_block_bytes: u64, members: u32) -> Result<Code, GeometryError> {
    let wrong = GeometryError::Code {
        prime,
        sub_block_bytes,
    };
    let is_prime = (3..=MAX_PRIME).contains(&prime)
        && (2..prime)
            .take_while(|factor| factor * factor <= prime)
            .all(|factor| !prime.is_multiple_of(factor));
    let stripe = sub_block_bytes.checked_mul(u64::from(prime).saturating_sub(1));
    if !is_prime || !stripe.is_some_and(|bytes| (1..=MAX_STRIPE_BYTES).contains(&bytes)) {
        return Err(wrong);
    }
    Ok(Code {
        prime,
        sub_block: sub_block_bytes,
        data: members.saturating_sub(2),
    })
}
