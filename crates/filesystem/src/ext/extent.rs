//! Extent trees: a file's map since ext4.
//!
//! Source: Linux `Documentation/filesystems/ext4/ifork.rst`, “Extent Tree”: `ext4_extent_header`,
//! `ext4_extent_idx`, `ext4_extent`, `ext4_extent_tail`. A node that contradicts itself loses the
//! range that its parent gave it; an extent that leads out of the file system only its own.

use std::ops::Range;

use evidence::{ByteOffset, Cause, Fields};

use super::checksum::{crc32c, mended};
use super::inode::{I_BLOCK_AT, RawInode};
use super::map::Map;
use super::volume::{Volume, corrupt};
use crate::{Inode, Place};

const EH_MAGIC: u16 = 0xF30A;
/// Trees are never deeper: four levels of the widest nodes hold more than a file can be long.
const MAX_DEPTH: u16 = 5;
/// The length of the header, of an index entry and of an extent alike.
const ENTRY_BYTES: usize = 12;
/// An `ee_len` above this is that of an unwritten extent, plus this.
const EXT_INIT_MAX_LEN: u16 = 32768;

/// The header of an empty tree in an inode: `eh_magic`, no entries, room for four, depth 0.
pub(super) const EMPTY_ROOT: [u8; ENTRY_BYTES] = [0x0A, 0xF3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// `struct ext4_extent_header`.
#[derive(Clone, Copy, Debug)]
struct Header {
    eh_entries: u16,
    eh_max: u16,
    eh_depth: u16,
}

/// `struct ext4_extent` or `struct ext4_extent_idx`.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// `ee_start` blocks of the volume, or where unwritten, none that mean anything.
    Extent {
        ee_block: u64,
        length: u64,
        ee_start: u64,
        unwritten: bool,
    },
    /// `ei_leaf`, a node below.
    Index { ei_block: u64, ei_leaf: u64 },
}

impl Entry {
    const fn first(self) -> u64 {
        match self {
            Self::Extent { ee_block, .. } => ee_block,
            Self::Index { ei_block, .. } => ei_block,
        }
    }
}

/// Reads a node, whose depth must be `depth` if the parent has said so.
///
/// Its entries are in order, apart from each other and inside `range`.
fn parse_node(
    bytes: &[u8],
    depth: Option<u16>,
    range: &Range<u64>,
) -> Result<(Header, Vec<Entry>), String> {
    let f = Fields::new(bytes);
    let header = parse_header(f).ok_or("it has no extent header")?;
    let room = bytes.len().saturating_div(ENTRY_BYTES).saturating_sub(1);
    if usize::from(header.eh_max) > room || header.eh_entries > header.eh_max {
        return Err(format!(
            "eh_entries is {}, eh_max {}, and there is room for {room}",
            header.eh_entries, header.eh_max
        ));
    }
    if header.eh_depth > MAX_DEPTH || depth.is_some_and(|depth| depth != header.eh_depth) {
        return Err(format!("eh_depth is {}", header.eh_depth));
    }
    let mut entries = Vec::with_capacity(header.eh_entries.into());
    let mut end = range.start;
    for index in 1..=usize::from(header.eh_entries) {
        let at = index.saturating_mul(ENTRY_BYTES);
        let entry = parse_entry(f, at, header.eh_depth).ok_or("it is cut short")?;
        let first = entry.first();
        let length = match entry {
            Entry::Extent { length, .. } => length,
            Entry::Index { .. } => 1,
        };
        let stop = first.saturating_add(length);
        if first < end || stop > range.end || length == 0 {
            return Err(format!("the entry for block {first} is out of order"));
        }
        end = stop;
        entries.push(entry);
    }
    Ok((header, entries))
}

fn parse_header(f: Fields<'_>) -> Option<Header> {
    (f.le_u16(0x0)? == EH_MAGIC).then_some(())?;
    Some(Header {
        eh_entries: f.le_u16(0x2)?,
        eh_max: f.le_u16(0x4)?,
        eh_depth: f.le_u16(0x6)?,
    })
}

fn parse_entry(f: Fields<'_>, at: usize, depth: u16) -> Option<Entry> {
    let f = f.from(at)?;
    let first = u64::from(f.le_u32(0x0)?);
    if depth > 0 {
        return Some(Entry::Index {
            ei_block: first,
            ei_leaf: u64::from(f.le_u16(0x8)?) << 32 | u64::from(f.le_u32(0x4)?),
        });
    }
    let ee_len = f.le_u16(0x4)?;
    let unwritten = ee_len > EXT_INIT_MAX_LEN;
    let length = if unwritten {
        ee_len.saturating_sub(EXT_INIT_MAX_LEN)
    } else {
        ee_len
    };
    Some(Entry::Extent {
        ee_block: first,
        length: length.into(),
        ee_start: u64::from(f.le_u16(0x6)?) << 32 | u64::from(f.le_u32(0x8)?),
        unwritten,
    })
}

/// A tree being read.
struct Tree<'a> {
    volume: &'a Volume,
    file: &'a Inode,
    /// The seed of its blocks' checksums.
    seed: Option<u32>,
    map: Map,
}

impl Volume {
    /// The map of a file that has an extent tree.
    pub(super) fn extent_map(&self, file: &Inode, raw: &RawInode) -> Map {
        let mut tree = Tree {
            volume: self,
            file,
            seed: self.inode_seed(file.number, raw.i_generation),
            map: Map::new(self.sb.block.get(), file.size),
        };
        let at = file.place.checked_add(I_BLOCK_AT as u64);
        let all = 0..u64::from(u32::MAX).saturating_add(1);
        tree.node(&raw.i_block, at.unwrap_or(file.place), None, &all);
        tree.map
    }
}

impl Tree<'_> {
    /// Goes through a node that lies at `at` and is to map `range` of the file.
    fn node(&mut self, bytes: &[u8], at: ByteOffset, depth: Option<u16>, range: &Range<u64>) {
        let (header, entries) = match parse_node(bytes, depth, range) {
            Ok(node) => node,
            Err(what) => return self.lose(at, range, corrupt(what)),
        };
        for (index, entry) in entries.iter().enumerate() {
            match *entry {
                Entry::Extent {
                    ee_block,
                    length,
                    ee_start,
                    unwritten,
                } => self.extent(at, ee_block, length, ee_start, unwritten),
                Entry::Index { ei_block, ei_leaf } => {
                    let next = entries.get(index.saturating_add(1));
                    let stop = next.map_or(range.end, |entry| entry.first());
                    self.child(ei_leaf, header.eh_depth, ei_block..stop);
                }
            }
        }
    }

    fn extent(&mut self, at: ByteOffset, first: u64, length: u64, start: u64, unwritten: bool) {
        if unwritten {
            return self.map.push(first, length, Place::Unwritten);
        }
        match self.volume.place_of(start, length) {
            Some(place) => self.map.push(first, length, Place::At(place)),
            None => {
                let cause = corrupt(format!(
                    "an extent of {length} blocks at block {start} leads out of the file system"
                ));
                self.lose(at, &(first..first.saturating_add(length)), cause);
            }
        }
    }

    fn child(&mut self, block: u64, parent_depth: u16, range: Range<u64>) {
        let at = self.volume.nominal(block);
        if range.start >= self.map.blocks() {
            return;
        }
        if !self.map.first_use(block) {
            let cause = corrupt(format!("block {block} is used twice in one extent tree"));
            return self.lose(at, &range, cause);
        }
        let depth = parent_depth.checked_sub(1);
        match self.read(block, depth, &range) {
            Ok(bytes) => self.node(&bytes, at, depth, &range),
            Err(cause) => self.lose(at, &range, cause),
        }
    }

    /// The bytes of a node outside the inode: as it is there, or if that cannot be, as the
    /// journal still has it.
    fn read(
        &mut self,
        block: u64,
        depth: Option<u16>,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, Cause> {
        let there = self
            .volume
            .block(block)
            .and_then(|bytes| self.check(bytes, depth, range));
        there.or_else(|cause| {
            self.map.former_state();
            let former = self.volume.former_blocks(block);
            let mut former = former.filter_map(|bytes| self.check(bytes, depth, range).ok());
            former.next().ok_or(cause)
        })
    }

    /// The bytes of a node if it fits and its checksum is right.
    fn check(
        &self,
        bytes: Vec<u8>,
        depth: Option<u16>,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, Cause> {
        let Some(seed) = self.seed else {
            parse_node(&bytes, depth, range).map_err(corrupt)?;
            return Ok(bytes);
        };
        // `ext4_extent_tail` follows the last place for an entry.
        let f = Fields::new(&bytes);
        let eh_max = f.le_u16(0x4).unwrap_or(0);
        let tail = ENTRY_BYTES.saturating_mul(usize::from(eh_max).saturating_add(1));
        let stored = f.le_u32(tail);
        let computed = f.slice(0, tail).map(|covered| crc32c(seed, covered));
        if stored.is_some() && stored == computed {
            parse_node(&bytes, depth, range).map_err(corrupt)?;
            return Ok(bytes);
        }
        let mended = stored.zip(computed).and_then(|(stored, computed)| {
            let covered = mended(f.slice(0, tail)?, stored, computed)?;
            parse_node(&covered, depth, range).ok()?;
            Some(covered)
        });
        mended.ok_or_else(|| corrupt("the checksum of the extent block is wrong"))
    }

    fn lose(&mut self, at: ByteOffset, range: &Range<u64>, cause: Cause) {
        let what = format!(
            "map of inode {} from block {} on",
            self.file.number, range.start
        );
        let loss = self.volume.loss(what, at, cause);
        let count = range.end.saturating_sub(range.start);
        self.map.lose(range.start, count, loss);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    /// A node of `depth` with the given entries: (first block, length, start).
    pub(in crate::ext) fn node(depth: u16, room: usize, entries: &[(u32, u16, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [
            EH_MAGIC,
            entries.len() as u16,
            (room / ENTRY_BYTES - 1) as u16,
            depth,
            0,
            0,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        for (first, length, start) in entries {
            bytes.extend(first.to_le_bytes());
            if depth == 0 {
                bytes.extend(length.to_le_bytes());
                bytes.extend([0; 2]);
                bytes.extend(start.to_le_bytes());
            } else {
                bytes.extend(start.to_le_bytes());
                bytes.extend([0; 4]);
            }
        }
        bytes.resize(room, 0);
        bytes
    }

    const ALL: Range<u64> = 0..1 << 32;

    #[test]
    fn long_lengths_are_unwritten_extents() {
        let bytes = node(0, 60, &[(0, 32_768, 100), (32_768, 32_769, 0)]);
        let (_, entries) = parse_node(&bytes, Some(0), &ALL).unwrap();
        let got: Vec<(u64, bool)> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Extent {
                    length, unwritten, ..
                } => (*length, *unwritten),
                Entry::Index { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(got, [(32_768, false), (1, true)]);
    }

    #[test]
    fn a_node_out_of_order_or_of_the_wrong_depth_is_refused() {
        let fine = node(0, 60, &[(5, 2, 100), (7, 1, 300)]);
        assert!(parse_node(&fine, None, &(5..8)).is_ok());
        assert!(parse_node(&fine, None, &(6..8)).is_err());
        assert!(parse_node(&fine, None, &(5..7)).is_err());
        assert!(parse_node(&fine, Some(1), &ALL).is_err());
        let overlap = node(0, 60, &[(5, 3, 100), (7, 1, 300)]);
        assert!(parse_node(&overlap, None, &ALL).is_err());
        assert!(parse_node(&node(6, 60, &[]), None, &ALL).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            entries in 0..20_u16,
            depth in 0..6_u16,
        ) {
            if bytes.len() >= 8 {
                bytes[..2].copy_from_slice(&EH_MAGIC.to_le_bytes());
                bytes[2..4].copy_from_slice(&entries.to_le_bytes());
                bytes[6..8].copy_from_slice(&depth.to_le_bytes());
            }
            let _ = parse_node(&bytes, None, &ALL);
        }
    }
}
