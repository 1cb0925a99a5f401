//! Cases of one group each, drawn by number from the space of all geometries.

use std::fmt;
use std::io;
use std::sync::Arc;

use evidence::ReadAt;

use crate::arrays::{Array, Level, RAID5, RAID6};
use crate::contents::{Contents, Kind};
use crate::disk::Disk;
use crate::random::Random;

/// A place in the list of levels: those with parity come twice, since they have most layouts.
#[derive(Clone, Copy)]
enum Family {
    Linear,
    Stripes,
    Mirror,
    Four,
    Five,
    Six,
    Copies,
}

const FAMILIES: [Family; 10] = [
    Family::Five,
    Family::Six,
    Family::Copies,
    Family::Stripes,
    Family::Four,
    Family::Five,
    Family::Six,
    Family::Copies,
    Family::Mirror,
    Family::Linear,
];

/// RAID-10 as (near, far, whether far copies lie in the next row).
const COPIES: [(usize, usize, bool); 4] =
    [(2, 1, false), (3, 1, false), (1, 2, false), (1, 2, true)];

/// Chunks that are no power of two, in KiB.
const ODD_CHUNKS: [usize; 5] = [12, 24, 48, 96, 160];

/// Chunks that mail hosts are likely to have, in KiB.
const USUAL_CHUNKS: [usize; 4] = [64, 128, 256, 512];

/// Where data begins, in bytes: old labels, mdadm's defaults through the years (2048, 132736
/// and 264192 sectors), and what controllers take.
const OFFSETS: [u64; 8] = [
    0,
    64 << 10,
    1 << 20,
    1 << 20,
    4 << 20,
    8 << 20,
    132_736 * 512,
    264_192 * 512,
];

/// A content fills at least so many rows of chunks for each member: real arrays have far more.
const ROWS_EACH: usize = 2;

/// How many members are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// None.
    None,
    /// Fewer than may be.
    Some,
    /// As many as may be missing with every byte still to be had.
    Most,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its number among the cases of a seed.
    pub number: u64,
    /// How the content lies on the members.
    pub array: Array,
    /// What lies on it.
    pub kind: Kind,
    /// How much of that.
    pub bytes: usize,
    /// Where data begins on each member, by role.
    pub offsets: Vec<u64>,
    /// The roles that are not there.
    pub missing: Vec<usize>,
    /// The name of each disk, by role.
    pub names: Vec<String>,
    /// Bytes of an earlier use right before the data, and zeros behind it.
    pub leftovers: usize,
    /// How many bytes each disk has behind its data.
    pub tail: usize,
}

/// A disk with its name.
pub type Named = (String, Arc<Disk>);

impl Case {
    /// Case `number` of `seed`. Levels, contents and missing members take turns, the rest is
    /// drawn.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::of_case(seed, number);
        let turn = number as usize;
        let kinds = Kind::ALL.len();
        // Each level meets each content before the third dimension turns.
        let family = FAMILIES[turn % FAMILIES.len()];
        let kind = Kind::ALL[(turn / FAMILIES.len() + turn) % kinds];
        let share = turn / (FAMILIES.len() * kinds) + turn / FAMILIES.len();
        let bytes = kind.bytes();
        let array = array(&mut random, family, bytes);
        let missing = missing(&mut random, &array, share % 3);
        let mut order: Vec<usize> = (0..array.members).collect();
        random.shuffle(&mut order);
        Self {
            number,
            kind,
            bytes,
            offsets: offsets(&mut random, array.members),
            missing,
            names: order
                .iter()
                .map(|place| format!("disk-{place:02}"))
                .collect(),
            leftovers: if random.percent(20) {
                random.below(256) * 4096
            } else {
                0
            },
            tail: if random.percent(50) {
                random.below(200) * 4096
            } else {
                0
            },
            array,
        }
    }

    /// How many members are missing, as the table's columns have it.
    pub fn how_many_missing(&self) -> Missing {
        if self.missing.is_empty() {
            return Missing::None;
        }
        let more = |role: usize| {
            !self.missing.contains(&role) && {
                let mut all = self.missing.clone();
                all.push(role);
                self.array.survives(&all)
            }
        };
        match (0..self.array.members).any(more) && self.present() > 2 {
            true => Missing::Some,
            false => Missing::Most,
        }
    }

    /// How many members are there.
    pub fn present(&self) -> usize {
        self.array.members - self.missing.len()
    }

    /// Whether it is what a mail host is likely to have: RAID-5, RAID-6 or RAID-10 with copies
    /// beside each other, of four to twelve disks that all begin alike, in the chunks of
    /// controllers and of mdadm through the years, with one disk missing at most.
    pub fn is_usual(&self) -> bool {
        let is_level = match self.array.level {
            Level::Raid5(_) | Level::Raid6(_) => true,
            Level::Raid10 { near, far, .. } => {
                (near, far) == (2, 1) && self.array.members.is_multiple_of(2)
            }
            _ => false,
        };
        is_level
            && (4..=12).contains(&self.array.members)
            && USUAL_CHUNKS.contains(&(self.array.chunk >> 10))
            && !matches!(self.kind, Kind::Gzip | Kind::Random)
            && self.missing.len() <= 1
            && self.offsets.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// The content as it lies on the array.
    pub fn content(&self, contents: &Contents) -> io::Result<Vec<u8>> {
        let content = contents.get(self.kind)?;
        Ok(content[..self.bytes.min(content.len())].to_vec())
    }

    /// The disks that are there, by name.
    pub fn disks(&self, content: &[u8]) -> Vec<Named> {
        let data = self.array.lay_out(content).into_iter().enumerate();
        let mut disks: Vec<Named> = data
            .filter(|(role, _)| !self.missing.contains(role))
            .map(|(role, data)| (self.names[role].clone(), Arc::new(self.disk(role, data))))
            .collect();
        disks.sort_by(|a, b| a.0.cmp(&b.0));
        disks
    }

    /// The disk that has `data` as member `role`.
    pub fn disk(&self, role: usize, data: Vec<u8>) -> Disk {
        let offset = self.offsets[role];
        let leftovers = (self.leftovers as u64).min(offset);
        let mut random = Random::of_case(offset, role as u64);
        let mut bytes = random.bytes(leftovers as usize);
        bytes.extend(data);
        bytes.resize(bytes.len() + self.tail, 0);
        Disk::new(offset - leftovers, bytes)
    }
}

/// The disks as `aggregate` takes them.
pub fn readable(disks: &[Named]) -> Vec<aggregate::Disk> {
    disks
        .iter()
        .map(|(name, disk)| (name.clone(), Arc::clone(disk) as Arc<dyn ReadAt>))
        .collect()
}

fn array(random: &mut Random, family: Family, bytes: usize) -> Array {
    let chunk = match random.percent(20) {
        true => *random.pick(&ODD_CHUNKS) << 10,
        false => 4096 << random.below(9),
    };
    let (level, members) = match family {
        Family::Linear => (Level::Linear, random.within(2..=6)),
        Family::Stripes => (Level::Raid0, random.within(2..=14)),
        Family::Mirror => (Level::Raid1, random.within(2..=8)),
        Family::Four => (Level::Raid4, random.within(3..=14)),
        Family::Five => (Level::Raid5(random.pick(&RAID5).0), random.within(3..=14)),
        Family::Six => (Level::Raid6(random.pick(&RAID6).0), random.within(4..=14)),
        Family::Copies => {
            let (near, far, offset) = *random.pick(&COPIES);
            let least = (near * far).max(3);
            (
                Level::Raid10 { near, far, offset },
                random.within(least..=8),
            )
        }
    };
    let mut array = Array {
        level,
        members,
        chunk,
    };
    while array.row_bytes() * ROWS_EACH * members > bytes {
        array.chunk /= 2;
    }
    array
}

/// None, as many as may be, or any number between; two members are always left.
fn missing(random: &mut Random, array: &Array, share: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..array.members).collect();
    random.shuffle(&mut order);
    let most = array
        .level
        .redundancy(array.members)
        .min(array.members.saturating_sub(2));
    let count = match share {
        0 => 0,
        1 => most,
        _ => random.within(most.min(1)..=most),
    };
    let mut missing: Vec<usize> = order[..count].to_vec();
    // More than the level promises may be missing where no chunk loses all of its copies.
    if let (Level::Raid10 { .. }, 1) = (array.level, share) {
        for role in &order[count..] {
            missing.push(*role);
            if !array.survives(&missing) || missing.len() + 2 > array.members {
                missing.pop();
            }
        }
    }
    missing.sort_unstable();
    missing
}

fn offsets(random: &mut Random, members: usize) -> Vec<u64> {
    let base = match random.percent(75) {
        true => *random.pick(&OFFSETS),
        false => random.below(2048) as u64 * 4096,
    };
    let differ = random.percent(15);
    let offset = |_| match differ {
        true => base + random.below(64) as u64 * 4096,
        false => base,
    };
    (0..members).map(offset).collect()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "case {}: {} with {} MiB of {}, without {:?}",
            self.number,
            self.array,
            self.bytes >> 20,
            self.kind.name(),
            self.missing
        )?;
        let first = self.offsets.first().copied().unwrap_or(0);
        match self.offsets.iter().all(|offset| *offset == first) {
            true => write!(f, ", data at {} KiB", first >> 10)?,
            false => write!(f, ", data at {:?}", self.offsets)?,
        }
        if self.leftovers > 0 {
            write!(f, ", leftovers before it")?;
        }
        Ok(())
    }
}
