//! Tree blocks: leaves with items, nodes with pointers (`struct btrfs_header`, `btrfs_item`,
//! `btrfs_key_ptr`).

use std::ops::Range;

use evidence::Fields;

use super::key::Key;

/// `sizeof(struct btrfs_header)`.
pub(super) const HEADER_BYTES: usize = 101;
/// `sizeof(struct btrfs_item)`.
const ITEM_BYTES: usize = 25;
/// `sizeof(struct btrfs_key_ptr)`.
const PTR_BYTES: usize = 33;
/// `BTRFS_MAX_LEVEL`.
const MAX_LEVEL: u8 = 8;

/// What a tree block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fsid: [u8; 16],
    /// Its own logical address.
    pub(super) bytenr: u64,
    pub(super) generation: u64,
    /// The tree that it was written for.
    pub(super) owner: u64,
    pub(super) nritems: u32,
    pub(super) level: u8,
}

impl Header {
    /// Reads a header; `None` if no tree block begins so.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let fields = Fields::new(block);
        let flags = fields.le_u64(56)?;
        let header = Self {
            fsid: fields.array(32)?,
            bytenr: fields.le_u64(48)?,
            generation: fields.le_u64(80)?,
            owner: fields.le_u64(88)?,
            nritems: fields.le_u32(96)?,
            level: fields.u8(100)?,
        };
        // `BTRFS_HEADER_FLAG_WRITTEN`, with or without `_RELOC`, and `BTRFS_MIXED_BACKREF_REV` in the upper byte.
        let written = flags & !2 == 1 | 1 << 56;
        let can_be = header.bytenr.is_multiple_of(4096)
            && header.bytenr > 0
            && header.generation > 0
            && header.owner != 0
            && header.level < MAX_LEVEL
            && header.nritems <= 65536 / 25;
        (written && can_be).then_some(header)
    }
}

/// A pointer to a tree block one level below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) key: Key,
    pub(super) blockptr: u64,
    pub(super) generation: u64,
}

/// An item of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) key: Key,
    /// Where in the block its data stands; `None` if that is lost.
    pub(super) data: Option<Range<usize>>,
}

/// A tree block.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) header: Header,
    pub(super) bytes: Vec<u8>,
    /// Parts of the block that are lost, in order. If there are none, its checksum fits.
    pub(super) lost: Vec<Range<usize>>,
}

impl Node {
    /// Whether `range` of the block was not lost.
    fn has(&self, range: &Range<usize>) -> bool {
        range.end <= self.bytes.len()
            && !self
                .lost
                .iter()
                .any(|lost| lost.start < range.end && range.start < lost.end)
    }

    /// The ranges of the entries of `size` bytes behind the header, each if it is there.
    fn entries(&self, size: usize) -> impl Iterator<Item = Option<usize>> {
        (0..self.header.nritems as usize).map_while(move |number| {
            let at = number.checked_mul(size)?.checked_add(HEADER_BYTES)?;
            let range = at..at.checked_add(size)?;
            if range.end > self.bytes.len() {
                return None;
            }
            Some(self.has(&range).then_some(at))
        })
    }

    /// The items of a leaf by ascending keys, and whether an item in front of each is lost; and
    /// whether one behind the last is.
    ///
    /// Items out of order are left out: no tree has them.
    pub(super) fn items(&self) -> (Vec<(bool, Item)>, bool) {
        let fields = Fields::new(&self.bytes);
        let mut items: Vec<(bool, Item)> = Vec::new();
        let mut skipped = !self.is_plausible();
        if self.header.level != 0 {
            return (items, true);
        }
        for entry in self.entries(ITEM_BYTES) {
            let item = entry.and_then(|at| {
                let key = Key::parse(fields, at)?;
                let offset = fields.le_u32(at.checked_add(17)?)? as usize;
                let size = fields.le_u32(at.checked_add(21)?)? as usize;
                let start = offset.checked_add(HEADER_BYTES)?;
                let data = start..start.checked_add(size)?;
                let sorted = items.last().is_none_or(|(_, last)| last.key < key);
                (sorted && data.end <= self.bytes.len()).then(|| Item {
                    key,
                    data: self.has(&data).then_some(data),
                })
            });
            match item {
                Some(item) => items.push((std::mem::take(&mut skipped), item)),
                None => skipped = true,
            }
        }
        (items, skipped)
    }

    /// The pointers of a node by ascending keys.
    pub(super) fn pointers(&self) -> Vec<Pointer> {
        let fields = Fields::new(&self.bytes);
        let mut pointers: Vec<Pointer> = Vec::new();
        if self.header.level == 0 {
            return pointers;
        }
        for at in self.entries(PTR_BYTES).flatten() {
            let pointer = || {
                Some(Pointer {
                    key: Key::parse(fields, at)?,
                    blockptr: fields.le_u64(at.checked_add(17)?)?,
                    generation: fields.le_u64(at.checked_add(25)?)?,
                })
            };
            let last = pointers.last().map(|last| last.key);
            pointers.extend(pointer().filter(|new| last.is_none_or(|last| last < new.key)));
        }
        pointers
    }

    /// The keys of the first and the last entry.
    pub(super) fn bounds(&self) -> Option<(Key, Key)> {
        if self.header.level == 0 {
            let (items, _) = self.items();
            Some((items.first()?.1.key, items.last()?.1.key))
        } else {
            let pointers = self.pointers();
            Some((pointers.first()?.key, pointers.last()?.key))
        }
    }

    /// Whether the number of entries can be, and something of them is there.
    pub(super) fn is_plausible(&self) -> bool {
        let size = if self.header.level == 0 {
            ITEM_BYTES
        } else {
            PTR_BYTES
        };
        let count = self.header.nritems as usize;
        let end = count.saturating_mul(size).saturating_add(HEADER_BYTES);
        end <= self.bytes.len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A leaf of `size` bytes with `items`, and its checksum.
    pub(in crate::btrfs) fn leaf(
        size: usize,
        bytenr: u64,
        generation: u64,
        owner: u64,
        items: &[(Key, &[u8])],
    ) -> Vec<u8> {
        let mut block = vec![0; size];
        let mut put = |at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(32, &[7; 16]);
        put(48, &bytenr.to_le_bytes());
        put(56, &(1_u64 | 1 << 56).to_le_bytes());
        put(80, &generation.to_le_bytes());
        put(88, &owner.to_le_bytes());
        put(96, &(items.len() as u32).to_le_bytes());
        let mut end = size - HEADER_BYTES;
        for (number, (key, data)) in items.iter().enumerate() {
            end -= data.len();
            let at = HEADER_BYTES + number * ITEM_BYTES;
            put(at, &key.objectid.to_le_bytes());
            put(at + 8, &[key.item_type]);
            put(at + 9, &key.offset.to_le_bytes());
            put(at + 17, &(end as u32).to_le_bytes());
            put(at + 21, &(data.len() as u32).to_le_bytes());
            put(HEADER_BYTES + end, data);
        }
        let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
        block[..4].copy_from_slice(&sum);
        block
    }

    #[test]
    fn what_lies_in_a_lost_part_is_lost_and_the_rest_is_not() {
        let keys = [Key::new(1, 1, 0), Key::new(1, 2, 0), Key::new(2, 1, 0)];
        let items = [
            (keys[0], &[1; 500][..]),
            (keys[1], &[2; 10][..]),
            (keys[2], &[3; 10][..]),
        ];
        let bytes = leaf(1024, 4096, 5, 5, &items);
        let header = Header::parse(&bytes).unwrap();
        let node = |lost: Option<Range<usize>>| Node {
            header,
            bytes: bytes.clone(),
            lost: lost.into_iter().collect(),
        };
        let whole = node(None);
        assert_eq!(whole.bounds(), Some((keys[0], keys[2])));
        let [first, second, third] = whole.items().0.try_into().unwrap();
        assert_eq!(first.1.data, Some(524..1024));
        let holed = node(Some(600..700)).items().0;
        assert_eq!(holed[0].1.data, None);
        assert_eq!(holed[1..], [second, third.clone()]);
        let headless = node(Some(126..127)).items().0;
        assert_eq!(headless, [first, (true, third.1)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 101..600), level in 0_u8..2) {
            bytes[48..64].copy_from_slice(&[0, 16, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
            bytes[98..101].copy_from_slice(&[0, 0, level]);
            if let Some(header) = Header::parse(&bytes) {
                let node = Node { header, bytes, lost: std::iter::once(200..210).collect() };
                for (_, item) in node.items().0 {
                    if let Some(data) = item.data {
                        prop_assert!(data.end <= node.bytes.len());
                    }
                }
                let _ = (node.pointers(), node.bounds(), node.is_plausible());
            }
        }
    }
}
