//! Arrays made by hand, what was done to them, and what comes out of them again.

use std::ops::Range;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, Epoch, Group, Member, Region, VERSION};
use aggregate::epochs::{Detected, detect};
use aggregate::raid::{Geometry, Level, ParityDelay, Raid5Layout, Raid6Layout, Raid10Layout};
use aggregate::{Devices, Disk, build};
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};

pub(crate) const CHUNK: usize = 16 << 10;
pub(crate) const BLOCK: usize = 4096;
pub(crate) const OFFSET: usize = 64 << 10;

/// A generator whose numbers are the same everywhere (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 24) as u8).collect()
    }

    pub(crate) fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < length {
            let word = 1 + self.below(9);
            text.extend((0..word).map(|_| b'a' + self.below(26) as u8));
            text.push(if self.below(12) == 0 { b'\n' } else { b' ' });
        }
        text.truncate(length);
        text
    }
}

/// What the blocks of a group hold.
#[derive(Clone, Copy)]
pub(crate) enum Fill {
    Data,
    Text,
    /// Data, text and zeros, in stretches.
    Mixed,
}

/// An array as it was stored, and its members as they are now.
pub(crate) struct Array {
    pub(crate) level: u32,
    pub(crate) members: usize,
    pub(crate) stored: Vec<u8>,
    pub(crate) disks: Vec<Option<Vec<u8>>>,
}

pub(crate) fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1d } else { 0 };
        b >>= 1;
    }
    sum
}

impl Array {
    /// Left-symmetric RAID-5 or RAID-6 of so many rows of chunks.
    pub(crate) fn new(
        level: u32,
        members: usize,
        rows: usize,
        fill: Fill,
        random: &mut Random,
    ) -> Self {
        let parities = if level == 6 { 2 } else { 1 };
        let width = members - parities;
        let bytes = rows * width * CHUNK;
        let mut stored = Vec::new();
        while stored.len() < bytes {
            let length = (1 + random.below(12)) * BLOCK;
            match fill {
                Fill::Data => stored.extend(random.bytes(length)),
                Fill::Text => stored.extend(random.text(length)),
                Fill::Mixed => match random.below(4) {
                    0 => stored.extend(vec![0; length]),
                    1 => stored.extend(random.bytes(length)),
                    _ => stored.extend(random.text(length)),
                },
            }
        }
        stored.truncate(bytes);
        let mut array = Self {
            level,
            members,
            stored,
            disks: Vec::new(),
        };
        array.disks = array.lay().into_iter().map(Some).collect();
        array
    }

    /// The members that hold `stored`.
    pub(crate) fn lay(&self) -> Vec<Vec<u8>> {
        let (n, parities) = (self.members, if self.level == 6 { 2 } else { 1 });
        let width = n - parities;
        let rows = self.stored.len() / width / CHUNK;
        let mut disks = vec![vec![0_u8; OFFSET + rows * CHUNK]; n];
        for row in 0..rows {
            let p = n - 1 - row % n;
            let mut sums = [vec![0_u8; CHUNK], vec![0_u8; CHUNK]];
            let mut factor = 1_u8;
            let at = OFFSET + row * CHUNK;
            for i in 0..width {
                let from = (row * width + i) * CHUNK;
                let chunk = &self.stored[from..from + CHUNK];
                disks[(p + parities + i) % n][at..at + CHUNK].copy_from_slice(chunk);
                for (place, byte) in chunk.iter().enumerate() {
                    sums[0][place] ^= byte;
                    sums[1][place] ^= product(factor, *byte);
                }
                factor = product(factor, 2);
            }
            disks[p][at..at + CHUNK].copy_from_slice(&sums[0]);
            if parities == 2 {
                disks[(p + 1) % n][at..at + CHUNK].copy_from_slice(&sums[1]);
            }
        }
        for disk in &mut disks {
            // A label, which is what tells a live disk from one that was wiped from its start.
            disk[4096..4100].copy_from_slice(b"LABL");
        }
        disks
    }

    pub(crate) fn disk(&mut self, role: usize) -> &mut Vec<u8> {
        self.disks[role].as_mut().unwrap()
    }

    pub(crate) fn zero(&mut self, role: usize, range: Range<usize>) {
        self.disk(role)[range].fill(0);
    }

    pub(crate) fn write(&mut self, role: usize, at: usize, bytes: &[u8]) {
        self.disk(role)[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn group(&self) -> Group {
        let (chunk_bytes, members) = (CHUNK as u64, self.members as u32);
        let level = if self.level == 6 {
            let layout = Raid6Layout::LeftSymmetric;
            Level::Raid6 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            }
        } else {
            let layout = Raid5Layout::LeftSymmetric;
            Level::Raid5 {
                layout,
                chunk_bytes,
                members,
                delay: ParityDelay::NONE,
            }
        };
        let length = self.disks.iter().flatten().map(Vec::len).max().unwrap();
        let mut group = group(level, length - OFFSET, self.stored.len());
        for (member, disk) in group.members.iter_mut().zip(&self.disks) {
            member.device.take_if(|_| disk.is_none());
        }
        group
    }

    pub(crate) fn evidence(&self) -> Vec<Disk> {
        evidence(&self.disks)
    }

    pub(crate) fn devices(&self) -> Devices {
        build(&document(self.group(), Vec::new()), &self.evidence()).unwrap()
    }

    pub(crate) fn detect(&self) -> Detected {
        detect(&self.group(), &self.devices(), &[])
    }

    /// Reads the whole group as it is after detection.
    pub(crate) fn read(&self, detected: &Detected) -> Read {
        read(detected, &self.evidence(), self.stored.len())
    }
}

/// Reads all `length` bytes of a group as it is after detection.
pub(crate) fn read(detected: &Detected, evidence: &[Disk], length: usize) -> Read {
    let aggregate = document(detected.group.clone(), detected.regions.clone());
    let devices = build(&aggregate, evidence).unwrap();
    let group = devices.get(&DeviceName::group("g")).unwrap();
    let (bytes, gaps) = group.read_vec(ByteOffset::ZERO, length).unwrap();
    let mut sure = vec![true; bytes.len()];
    let lost: usize = gaps.bytes();
    for gap in gaps.iter() {
        sure[gap.range.clone()].fill(false);
    }
    for range in gaps.suspects() {
        sure[range].fill(false);
    }
    // Read in small pieces, it says the same.
    let mut random = Random(7);
    for _ in 0..200 {
        let from = random.below(bytes.len() - 1);
        let to = (from + 1 + random.below(3 * CHUNK)).min(bytes.len());
        let (part, gaps) = group
            .read_vec(ByteOffset::new(from as u64), to - from)
            .unwrap();
        assert_eq!(part, bytes[from..to]);
        let doubt = gaps.suspects();
        for (index, sure) in sure[from..to].iter().enumerate() {
            let doubtful = doubt.iter().any(|range| range.contains(&index));
            assert_eq!(!(doubtful || gaps.touch(index..index + 1)), *sure);
        }
    }
    Read { bytes, sure, lost }
}

pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sure: Vec<bool>,
    pub(crate) lost: usize,
}

impl Read {
    /// Everything that is handed out as sure is what was stored.
    pub(crate) fn nothing_false(&self, array: &Array) {
        let wrong =
            (0..self.bytes.len()).find(|at| self.sure[*at] && self.bytes[*at] != array.stored[*at]);
        assert_eq!(
            wrong, None,
            "a byte that is handed out is not the one that was stored"
        );
    }

    pub(crate) fn unsure(&self) -> usize {
        self.sure.iter().filter(|sure| !**sure).count()
    }
}

pub(crate) fn name(role: usize) -> DeviceName {
    DeviceName::disk(&format!("d{role}"))
}

pub(crate) fn document(group: Group, epochs: Vec<Region>) -> Aggregate {
    Aggregate {
        version: VERSION,
        groups: vec![group],
        epochs,
        ..Aggregate::default()
    }
}

/// The regions of a kind on a member, joined.
pub(crate) fn regions(detected: &Detected, role: usize, epoch: Epoch) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    for region in &detected.regions {
        if region.device != name(role) || region.epoch != epoch {
            continue;
        }
        let range = region.start as usize..region.end() as usize;
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all
}

/// Bytes of the group that lie in rows where more than `most` members lack something.
pub(crate) fn hopeless(array: &Array, damage: &[(usize, Range<usize>)], most: usize) -> usize {
    let gone = |role: usize, at: usize| {
        array.disks[role].is_none()
            || damage
                .iter()
                .any(|(r, range)| *r == role && range.contains(&at))
    };
    let parities = if array.level == 6 { 2 } else { 1 };
    let (n, width) = (array.members, array.members - parities);
    let mut bytes = 0;
    for row in 0..array.stored.len() / width / CHUNK {
        let p = n - 1 - row % n;
        for inside in (0..CHUNK).step_by(512) {
            let at = OFFSET + row * CHUNK + inside;
            if (0..n).filter(|role| gone(*role, at)).count() > most {
                bytes += 512
                    * (0..width)
                        .filter(|i| gone((p + parities + i) % n, at))
                        .count();
            }
        }
    }
    bytes
}

/// The disks that are there, by role.
pub(crate) fn evidence(disks: &[Option<Vec<u8>>]) -> Vec<Disk> {
    let disks = disks.iter().enumerate();
    disks
        .filter_map(|(role, disk)| {
            let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(disk.clone()?));
            Some((format!("d{role}"), disk))
        })
        .collect()
}

/// A mirror, or stripes over pairs of them.
pub(crate) fn copies(level: u32, count: usize, data_size: usize, bytes: usize) -> Group {
    let members = count as u32;
    let level = if level == 1 {
        Level::Raid1 { members }
    } else {
        Level::Raid10 {
            layout: Raid10Layout::near(2),
            chunk_bytes: CHUNK as u64,
            members,
            member_bytes: data_size as u64,
        }
    };
    group(level, data_size, bytes)
}

/// A group of which all members are there.
fn group(level: Level, data_size: usize, bytes: usize) -> Group {
    let geometry = Geometry {
        level,
        bytes: bytes as u64,
    };
    let member = |role: u32| Member {
        role,
        device: Some(name(role as usize)),
        data_offset: OFFSET as u64,
        data_size: data_size as u64,
        left_out: None,
        bad_blocks: Vec::new(),
    };
    Group {
        name: "g".to_owned(),
        members: (0..geometry.members()).map(member).collect(),
        geometry,
        evidence: Vec::new(),
        confidence: 1.0,
        over: Vec::new(),
    }
}
