//! Chunks: which places on which devices a range of logical addresses has (`struct btrfs_chunk`).

use std::ops::Range;

use evidence::Fields;
use serde::{Deserialize, Serialize};

/// `BTRFS_BLOCK_GROUP_DATA`.
pub(super) const DATA: u64 = 1;
/// `BTRFS_BLOCK_GROUP_SYSTEM` and `BTRFS_BLOCK_GROUP_METADATA`.
const STRUCTURES: u64 = 2 | 4;
const PROFILES: u64 = 0x7F8;
const RAID0: u64 = 1 << 3;
const RAID1: u64 = 1 << 4;
const DUP: u64 = 1 << 5;
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
const RAID1C3: u64 = 1 << 9;
const RAID1C4: u64 = 1 << 10;

/// How many bytes of a chunk item stand before its stripes.
const STRIPES_AT: usize = 48;
/// `sizeof(struct btrfs_stripe)`.
const STRIPE_BYTES: usize = 32;
/// `BTRFS_STRIPE_LEN`: no other was ever written.
pub(super) const STRIPE_LEN: u64 = 64 << 10;

/// How a chunk lies on its stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Profile {
    /// Each stripe holds all of it: single, dup, raid1, raid1c3, raid1c4.
    Copies,
    /// Striped, each piece once.
    Raid0,
    /// Striped over groups of `sub_stripes` copies.
    Raid10,
    /// Striped with one parity.
    Raid5,
    /// Striped with two.
    Raid6,
}

impl Profile {
    /// The profile that the type of a block group names.
    pub(super) fn of(block_group_type: u64) -> Option<Self> {
        match block_group_type & PROFILES {
            0 | DUP | RAID1 | RAID1C3 | RAID1C4 => Some(Self::Copies),
            RAID0 => Some(Self::Raid0),
            RAID10 => Some(Self::Raid10),
            RAID5 => Some(Self::Raid5),
            RAID6 => Some(Self::Raid6),
            _ => None,
        }
    }

    /// How many stripes of a row are parity.
    const fn parities(self) -> usize {
        match self {
            Self::Copies | Self::Raid0 | Self::Raid10 => 0,
            Self::Raid5 => 1,
            Self::Raid6 => 2,
        }
    }
}

/// Where a stripe of a chunk lies: `struct btrfs_stripe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stripe {
    pub(super) devid: u64,
    pub(super) offset: u64,
}

/// A chunk, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// Its first logical address.
    pub(super) start: u64,
    pub(super) length: u64,
    /// `type`: what it holds and its profile.
    pub(super) block_group_type: u64,
    pub(super) profile: Profile,
    pub(super) sub_stripes: u16,
    pub(super) stripes: Vec<Stripe>,
}

/// Where an address lies in the rows of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The stripe that holds it; for copies the first of those.
    pub(super) stripe: usize,
    /// Of how many copies, which follow in `stripes`.
    pub(super) copies: usize,
    /// Where in each stripe it lies.
    pub(super) within: u64,
    /// How many bytes follow that lie in the same stripe.
    pub(super) run: u64,
    /// Where the row's data stripes begin, counted around, and which of them this one is.
    pub(super) rotation: usize,
    pub(super) data: usize,
}

impl Chunk {
    /// The chunk item of `start`; `None` if it contradicts itself.
    pub(super) fn parse(start: u64, item: &[u8]) -> Option<Self> {
        let fields = Fields::new(item);
        let num_stripes = usize::from(fields.le_u16(44)?);
        let stripes = (0..num_stripes)
            .map(|number| {
                let at = number.checked_mul(STRIPE_BYTES)?.checked_add(STRIPES_AT)?;
                Some(Stripe {
                    devid: fields.le_u64(at)?,
                    offset: fields.le_u64(at.checked_add(8)?)?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let block_group_type = fields.le_u64(24)?;
        let stripe_len = fields.le_u64(16)?;
        let chunk = Self::new(
            start,
            fields.le_u64(0)?,
            block_group_type,
            fields.le_u16(46)?,
            stripes,
        )?;
        (chunk.profile == Profile::Copies || stripe_len == STRIPE_LEN).then_some(chunk)
    }

    /// A chunk of these fields, if they can be.
    pub(super) fn new(
        start: u64,
        length: u64,
        block_group_type: u64,
        sub_stripes: u16,
        stripes: Vec<Stripe>,
    ) -> Option<Self> {
        let profile = Profile::of(block_group_type)?;
        let count = stripes.len();
        let fits = match profile {
            Profile::Copies | Profile::Raid0 => count >= 1,
            Profile::Raid10 => {
                sub_stripes >= 1 && count >= 1 && count.is_multiple_of(sub_stripes.into())
            }
            Profile::Raid5 => (2..=255).contains(&count),
            Profile::Raid6 => (3..=255).contains(&count),
        };
        let end = start.checked_add(length)?;
        (fits && length > 0 && end < u64::MAX / 2).then_some(Self {
            start,
            length,
            block_group_type,
            profile,
            sub_stripes,
            stripes,
        })
    }

    /// The first address behind it.
    pub(super) const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether it holds nodes of trees, and no data.
    pub(super) const fn is_of_structures(&self) -> bool {
        self.block_group_type & STRUCTURES != 0 && self.block_group_type & DATA == 0
    }

    /// Where the addresses of `range` that are its own lie: each copy, without parity.
    pub(super) fn places(&self, range: &Range<u64>) -> Vec<(u64, Range<u64>)> {
        let mut places = Vec::new();
        let mut at = range.start.max(self.start);
        let end = range.end.min(self.end());
        while at < end {
            let Some(spot) = self.spot(at).filter(|spot| spot.run > 0) else {
                break;
            };
            let run = spot.run.min(end.saturating_sub(at));
            for stripe in self.stripes.iter().skip(spot.stripe).take(spot.copies) {
                let start = stripe.offset.saturating_add(spot.within);
                places.push((stripe.devid, start..start.saturating_add(run)));
            }
            at = at.saturating_add(run);
        }
        places
    }

    /// How many stripes of a row hold data that differ.
    fn data_stripes(&self) -> u64 {
        let count = self.stripes.len();
        let data = match self.profile {
            Profile::Copies => 1,
            Profile::Raid0 => count,
            Profile::Raid10 => count
                .checked_div(self.sub_stripes.into())
                .unwrap_or_default(),
            Profile::Raid5 | Profile::Raid6 => count.saturating_sub(self.profile.parities()),
        };
        (data as u64).max(1)
    }

    /// How many data stripes a row has: those that a parity is the sum of.
    pub(super) fn row(&self) -> usize {
        self.stripes.len().saturating_sub(self.profile.parities())
    }

    /// The length of each stripe, in bytes: that of a device extent.
    pub(super) fn stripe_bytes(&self) -> u64 {
        self.length.div_ceil(self.data_stripes())
    }

    /// The length of a chunk of such a type over `stripes` device extents of `bytes` each.
    pub(super) fn length_of(block_group_type: u64, stripes: usize, bytes: u64) -> Option<u64> {
        let data = match Profile::of(block_group_type)? {
            Profile::Copies => 1,
            Profile::Raid0 => stripes,
            Profile::Raid10 => stripes / 2,
            Profile::Raid5 => stripes.checked_sub(1)?,
            Profile::Raid6 => stripes.checked_sub(2)?,
        };
        bytes.checked_mul(data as u64)
    }

    /// How many copies of each byte there must be for such a type; `None` where any number may be.
    pub(super) const fn copies_of(block_group_type: u64) -> Option<usize> {
        match block_group_type & PROFILES {
            0 => Some(1),
            DUP | RAID1 => Some(2),
            RAID1C3 => Some(3),
            RAID1C4 => Some(4),
            _ => None,
        }
    }

    /// Where `logical`, which is in the chunk, lies.
    pub(super) fn spot(&self, logical: u64) -> Option<Spot> {
        let offset = logical.checked_sub(self.start)?;
        let rest = self.length.checked_sub(offset).filter(|rest| *rest > 0)?;
        if self.profile == Profile::Copies {
            return Some(Spot {
                stripe: 0,
                copies: self.stripes.len(),
                within: offset,
                run: rest,
                rotation: 0,
                data: 0,
            });
        }
        let number = offset / STRIPE_LEN;
        let inside = offset % STRIPE_LEN;
        let columns = self.data_stripes();
        let row = number.checked_div(columns)?;
        let column = usize::try_from(number.checked_rem(columns)?).ok()?;
        let count = self.stripes.len();
        let copies = match self.profile {
            Profile::Raid10 => usize::from(self.sub_stripes),
            _ => 1,
        };
        // The parity goes around with the rows.
        let rotation = match self.profile {
            Profile::Raid5 | Profile::Raid6 => {
                usize::try_from(row.checked_rem(count as u64)?).ok()?
            }
            _ => 0,
        };
        let first = column.checked_mul(copies)?.checked_add(rotation)?;
        Some(Spot {
            stripe: first.checked_rem(count)?,
            copies,
            within: row.checked_mul(STRIPE_LEN)?.checked_add(inside)?,
            run: rest.min(STRIPE_LEN.saturating_sub(inside)),
            rotation,
            data: column,
        })
    }

    /// The stripe number `index` of the row that begins at `rotation`: data first, then P, then Q.
    pub(super) fn in_row(&self, rotation: usize, index: usize) -> Option<&Stripe> {
        let index = rotation.checked_add(index)?;
        self.stripes.get(index.checked_rem(self.stripes.len())?)
    }

    /// How many ways there are to have the bytes of an address.
    pub(super) fn variants(&self) -> usize {
        match self.profile {
            Profile::Copies => self.stripes.len(),
            Profile::Raid0 => 1,
            Profile::Raid10 => self.sub_stripes.into(),
            Profile::Raid5 => 2,
            // As they are; with P; with Q; with both, for each other stripe that may be wrong.
            Profile::Raid6 => self.row().saturating_add(2),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A chunk of `length` bytes at `start` over devices 1, 2, … at 1 MiB each.
    pub(in crate::btrfs) fn chunk(start: u64, length: u64, kind: u64, stripes: u64) -> Chunk {
        let stripes = (1..=stripes)
            .map(|devid| Stripe {
                devid,
                offset: 1 << 20,
            })
            .collect();
        Chunk::new(start, length, kind, 2, stripes).unwrap()
    }

    #[test]
    fn striped_addresses_go_around_and_parity_with_them() {
        let raid0 = chunk(0, 4 * STRIPE_LEN, DATA | RAID0, 2);
        let spots: Vec<(usize, u64)> = (0..4)
            .map(|n| raid0.spot(n * STRIPE_LEN + 5).unwrap())
            .map(|spot| (spot.stripe, spot.within))
            .collect();
        let row = STRIPE_LEN + 5;
        assert_eq!(spots, [(0, 5), (1, 5), (0, row), (1, row)]);
        let raid5 = chunk(0, 6 * STRIPE_LEN, DATA | RAID5, 3);
        let stripes: Vec<usize> = (0..6)
            .map(|n| raid5.spot(n * STRIPE_LEN).unwrap().stripe)
            .collect();
        assert_eq!(stripes, [0, 1, 1, 2, 2, 0]);
        let raid10 = chunk(0, 4 * STRIPE_LEN, DATA | RAID10, 4);
        assert_eq!(raid10.spot(STRIPE_LEN).unwrap().stripe, 2);
        assert_eq!(raid10.stripe_bytes(), 2 * STRIPE_LEN);
    }

    #[test]
    fn a_range_lies_where_each_of_its_copies_does() {
        let mirrored = chunk(1 << 20, 1 << 20, RAID1, 2);
        let of_first = [0, 1].map(|stripe| mirrored.stripes[stripe].offset);
        assert_eq!(
            mirrored.places(&((1 << 20) + 4096..(1 << 20) + 8192)),
            [
                (1, of_first[0] + 4096..of_first[0] + 8192),
                (2, of_first[1] + 4096..of_first[1] + 8192)
            ]
        );
        // From the end of one stripe into the next, and no further than the chunk.
        let striped = chunk(1 << 20, 2 * STRIPE_LEN, RAID0, 2);
        let (first, second) = (striped.stripes[0].offset, striped.stripes[1].offset);
        assert_eq!(
            striped.places(&((1 << 20) + STRIPE_LEN - 512..u64::MAX)),
            [
                (1, first + STRIPE_LEN - 512..first + STRIPE_LEN),
                (2, second..second + STRIPE_LEN)
            ]
        );
        assert_eq!(striped.places(&(0..1 << 20)), []);
    }

    #[test]
    fn chunks_that_cannot_be_are_none() {
        let stripe = Stripe {
            devid: 1,
            offset: 0,
        };
        assert!(Chunk::new(0, 0, DATA, 1, vec![stripe]).is_none());
        assert!(Chunk::new(u64::MAX, 2, DATA, 1, vec![stripe]).is_none());
        assert!(Chunk::new(0, 9, DATA | RAID0 | RAID1, 1, vec![stripe]).is_none());
        assert!(Chunk::new(0, 9, DATA | RAID10, 2, vec![stripe]).is_none());
        assert!(Chunk::new(0, 9, DATA | RAID6, 1, vec![stripe; 2]).is_none());
        assert!(Chunk::new(0, 9, DATA, 1, Vec::new()).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(item in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(chunk) = Chunk::parse(4096, &item) {
                prop_assert!(chunk.spot(4096).is_some());
                prop_assert!(chunk.spot(chunk.end()).is_none());
            }
        }

        #[test]
        fn no_two_addresses_share_a_place(kind in prop::sample::select(vec![0, RAID0, RAID10, RAID5, RAID6])) {
            let chunk = chunk(0, 24 * STRIPE_LEN, DATA | kind, 4);
            let mut places = std::collections::HashSet::new();
            for number in 0..24 {
                let spot = chunk.spot(number * STRIPE_LEN).unwrap();
                prop_assert!(places.insert((spot.stripe, spot.within)));
                prop_assert!(spot.within < chunk.stripe_bytes());
            }
        }
    }
}
