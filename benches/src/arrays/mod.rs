//! Arrays of every level, laid out from nothing but their description.
//!
//! The formulas are those of mdadm (`restripe.c: geo_map`) and of Linux
//! (`raid10.c: __raid10_find_phys`); Q is computed byte by byte. A level of another family, such as one with two
//! diagonals of parity, would be a variant of [`Level`] with a file of its own beside
//! `parity` and `copies`.

mod copies;
mod parity;

use std::fmt;

/// The numbers that md gives the layouts of RAID-5, with mdadm's names.
pub const RAID5: [(u32, &str); 6] = [
    (0, "left-asymmetric"),
    (1, "right-asymmetric"),
    (2, "left-symmetric"),
    (3, "right-symmetric"),
    (4, "parity-first"),
    (5, "parity-last"),
];

/// The numbers that md gives the layouts of RAID-6, with mdadm's names.
pub const RAID6: [(u32, &str); 14] = [
    (0, "left-asymmetric"),
    (1, "right-asymmetric"),
    (2, "left-symmetric"),
    (3, "right-symmetric"),
    (4, "parity-first"),
    (5, "parity-last"),
    (8, "ddf-zero-restart"),
    (9, "ddf-N-restart"),
    (10, "ddf-N-continue"),
    (16, "left-asymmetric-6"),
    (17, "right-asymmetric-6"),
    (18, "left-symmetric-6"),
    (19, "right-symmetric-6"),
    (20, "parity-first-6"),
];

/// A level with its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One member after the other.
    Linear,
    /// Chunks in turns.
    Raid0,
    /// The same on all members.
    Raid1,
    /// Parity on the last member.
    Raid4,
    /// One chunk of parity a row, by md's number of the layout.
    Raid5(u32),
    /// Two chunks of parity a row, by md's number of the layout.
    Raid6(u32),
    /// Copies of each chunk.
    Raid10 {
        /// Copies beside each other.
        near: usize,
        /// Copies further down.
        far: usize,
        /// Whether those lie in the next row.
        offset: bool,
    },
}

impl Level {
    /// How many members may be missing, whichever they are.
    pub const fn redundancy(self, members: usize) -> usize {
        match self {
            Self::Linear | Self::Raid0 => 0,
            Self::Raid1 => members - 1,
            Self::Raid4 | Self::Raid5(_) => 1,
            Self::Raid6(_) => 2,
            Self::Raid10 { near, far, .. } => near * far - 1,
        }
    }

    /// The level without its layout, as the table's rows name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Raid0 => "RAID-0",
            Self::Raid1 => "RAID-1",
            Self::Raid4 => "RAID-4",
            Self::Raid5(_) => "RAID-5",
            Self::Raid6(_) => "RAID-6",
            Self::Raid10 { .. } => "RAID-10",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |list: &[(u32, &'static str)], layout: u32| {
            let found = list.iter().find(|(number, _)| *number == layout);
            found.map_or("", |(_, name)| name)
        };
        f.write_str(self.name())?;
        match *self {
            Self::Raid5(layout) => write!(f, " {}", named(&RAID5, layout)),
            Self::Raid6(layout) => write!(f, " {}", named(&RAID6, layout)),
            Self::Raid10 { near, far, offset } if far > 1 => {
                let kind = if offset { "offset" } else { "far" };
                write!(f, " near {near} {kind} {far}")
            }
            Self::Raid10 { near, .. } => write!(f, " near {near}"),
            _ => Ok(()),
        }
    }
}

/// An array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The level and layout.
    pub level: Level,
    /// How many members it has.
    pub members: usize,
    /// Bytes on one member before the next one's turn; linear and RAID-1 have none and
    /// disregard it.
    pub chunk: usize,
}

impl Array {
    /// How many bytes of content fill one row: the chunks at one place of all members.
    pub fn row_bytes(&self) -> usize {
        let data = match self.level {
            Level::Linear | Level::Raid0 => self.members,
            Level::Raid1 => 1,
            Level::Raid4 | Level::Raid5(_) => self.members - 1,
            Level::Raid6(_) => self.members - 2,
            // Parts of chunks where copies do not fit the members evenly.
            Level::Raid10 { near, far, .. } => self.members.div_ceil(near * far),
        };
        data * self.chunk
    }

    /// What each member holds, from where its data begins, if `content` fills the array; zeros
    /// fill the last row.
    pub fn lay_out(&self, content: &[u8]) -> Vec<Vec<u8>> {
        match self.level {
            Level::Linear => {
                // Members of unequal length, in whole blocks of 4 KiB.
                let blocks = content.len().div_ceil(4096);
                let shares: Vec<usize> = (0..self.members).map(|role| 5 + role % 3).collect();
                let total: usize = shares.iter().sum();
                let mut rest = content;
                let mut disks = Vec::new();
                for (role, share) in shares.iter().enumerate() {
                    let length = (blocks * share / total * 4096).min(rest.len());
                    let last = role + 1 == self.members;
                    let (own, after) = rest.split_at(if last { rest.len() } else { length });
                    disks.push(own.to_vec());
                    rest = after;
                }
                disks
            }
            Level::Raid1 => vec![content.to_vec(); self.members],
            Level::Raid10 { near, far, offset } => {
                copies::lay_out(self, near, far, offset, content)
            }
            Level::Raid0 | Level::Raid4 | Level::Raid5(_) | Level::Raid6(_) => {
                parity::lay_out(self, content)
            }
        }
    }

    /// Whether every byte can be had without the members `missing`.
    pub fn survives(&self, missing: &[usize]) -> bool {
        match self.level {
            Level::Raid10 { near, far, .. } => {
                // Where copies lie repeats after as many chunks as there are members.
                (0..self.members).all(|number| {
                    let places = copies::members(self.members, near, far, number);
                    places.iter().any(|member| !missing.contains(member))
                })
            }
            level => missing.len() <= level.redundancy(self.members),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.level, self.members)?;
        match self.level {
            Level::Linear | Level::Raid1 => Ok(()),
            _ => write!(f, ", chunk {} KiB", self.chunk >> 10),
        }
    }
}
