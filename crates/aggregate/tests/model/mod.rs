//! Groups that a test builds byte by byte from the definition of their level, and reads back.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test takes what it needs"
)]

use std::sync::Arc;

use aggregate::raid::{Geometry, GroupReader};
use evidence::view::Memory;
use evidence::{ByteOffset, Gaps, ReadAt, ReadAtExt};

/// Numbers that look random and are the same in each run (a linear congruence).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// A group and what its members and itself hold.
pub(crate) struct Built {
    pub(crate) geometry: Geometry,
    pub(crate) disks: Vec<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
}

impl Built {
    /// The reader over all members but the `missing`, with `gaps` in some of the others.
    pub(crate) fn open(&self, missing: &[usize], gaps: &[(usize, Gaps)]) -> GroupReader {
        let members = self.disks.iter().enumerate().map(|(member, disk)| {
            let mut memory = Memory::new(disk.clone());
            if let Some((_, gaps)) = gaps.iter().find(|(on, _)| *on == member) {
                memory = memory.with_gaps(gaps);
            }
            let there = !missing.contains(&member);
            there.then(|| Arc::new(memory) as Arc<dyn ReadAt>)
        });
        GroupReader::new(self.geometry.clone(), members.collect()).unwrap()
    }

    /// Reads the group whole, and ranges from one byte to `most`, without the `missing` members,
    /// and compares.
    pub(crate) fn reads_without(&self, missing: &[usize], most: usize, numbers: &mut Numbers) {
        let group = self.open(missing, &[]);
        let total = self.bytes.len();
        assert_eq!(group.len(), total as u64);
        let (whole, gaps) = group.read_vec(ByteOffset::new(0), total).unwrap();
        assert!(
            gaps.is_empty(),
            "{:?} without {missing:?}: {gaps:?}",
            self.geometry
        );
        let wrong = whole
            .iter()
            .zip(&self.bytes)
            .position(|(got, want)| got != want);
        assert_eq!(wrong, None, "{:?} without {missing:?}", self.geometry);
        for round in 0..12 {
            let length = if round == 0 {
                1
            } else {
                1 + numbers.below(most.min(total))
            };
            let at = numbers.below(total - length + 1);
            let (part, gaps) = group.read_vec(ByteOffset::new(at as u64), length).unwrap();
            assert!(
                gaps.is_empty(),
                "{:?} without {missing:?}: {gaps:?}",
                self.geometry
            );
            assert!(
                part == self.bytes[at..at + length],
                "{:?} without {missing:?}: {length} bytes at {at}",
                self.geometry
            );
        }
    }
}

/// Multiplication in GF(2^8) of RAID-6, as on paper.
pub(crate) fn times(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 == 1 {
            sum ^= a;
        }
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1d };
        b >>= 1;
    }
    sum
}

/// 2 to the power `exponent` in GF(2^8).
pub(crate) fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |product, _| times(product, 2))
}
