//! Leaves of the extent trees of ext4.
//!
//! Source: the kernel's documentation of ext4, "Extent Tree": `struct ext4_extent_header` and `struct ext4_extent`. A
//! node fills its block, so that `eh_max` says how large blocks are.

use std::collections::BTreeMap;

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};

use super::{Mapped, Run};

/// How a node begins: `eh_magic`.
pub(crate) const MAGIC: [u8; 2] = [0x0A, 0xF3];
/// Bytes of the header of a node, and of an entry.
const HEADER: usize = 12;
const ENTRY: usize = 12;
/// The largest block of ext4.
const MOST_BLOCK: u64 = 64 << 10;
/// An `ee_len` above this is that of an extent that was reserved and not written.
const MOST_WRITTEN: u64 = 1 << 15;

/// What a leaf says: from which block of its file on, and where these blocks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaf {
    block: u64,
    logical: u64,
    runs: Vec<Run>,
}

impl Leaf {
    fn read(device: &dyn ReadAt, at: u64) -> Option<Self> {
        let head = device.read_whole(ByteOffset::new(at), HEADER)?;
        let fields = Fields::new(&head);
        let (entries, most) = (fields.le_u16(2)?, fields.le_u16(4)?);
        let block = block_of(most)?;
        if entries == 0 || entries > most || fields.le_u16(6)? != 0 {
            return None;
        }
        let length = usize::from(entries).checked_mul(ENTRY)?;
        let from = at.checked_add(HEADER as u64)?;
        let bytes = device.read_whole(ByteOffset::new(from), length)?;
        let mut leaf = Self {
            block,
            logical: 0,
            runs: Vec::new(),
        };
        let mut next = None;
        for entry in bytes.chunks_exact(ENTRY) {
            let entry = Fields::new(entry);
            let logical = u64::from(entry.le_u32(0)?);
            let count = u64::from(entry.le_u16(4)?);
            let first = u64::from(entry.le_u16(6)?) << 32 | u64::from(entry.le_u32(8)?);
            if count == 0 || first == 0 {
                return None;
            }
            // Mail has no holes, and nothing behind what was written of it.
            if count > MOST_WRITTEN || next.is_some_and(|next| next != logical) {
                break;
            }
            if next.is_none() {
                leaf.logical = logical;
            }
            next = logical.checked_add(count);
            leaf.runs.push(Run { first, count });
        }
        (!leaf.runs.is_empty()).then_some(leaf)
    }

    /// The block of the file behind its last.
    fn end(&self) -> u64 {
        let counts = self.runs.iter().map(|run| run.count);
        counts.fold(self.logical, u64::saturating_add)
    }
}

/// The size of the blocks in which a node has room for so many entries.
fn block_of(most: u16) -> Option<u64> {
    let sizes = std::iter::successors(Some(1024_u64), |size| size.checked_mul(2));
    let mut sizes = sizes.take_while(|size| *size <= MOST_BLOCK);
    sizes.find(|size| (size - HEADER as u64) / ENTRY as u64 == u64::from(most))
}

/// The files that leaves at `places` are of: those that begin where another one ends are joined, if no other one
/// does either.
pub(super) fn files(device: &dyn ReadAt, places: &[u64]) -> Vec<Mapped> {
    // Of copies in a journal, and of those from before a file grew, the longest.
    let mut longest: BTreeMap<(u64, u64, Option<Run>), Leaf> = BTreeMap::new();
    for leaf in places.iter().filter_map(|at| Leaf::read(device, *at)) {
        let first = leaf.runs.first().map(|run| Run { count: 0, ..*run });
        let key = (leaf.block, leaf.logical, first);
        if longest
            .get(&key)
            .is_none_or(|other| leaf.end() > other.end())
        {
            longest.insert(key, leaf);
        }
    }
    let leaves: Vec<Leaf> = longest.into_values().collect();
    let mut ends: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut begins: BTreeMap<(u64, u64), Vec<&Leaf>> = BTreeMap::new();
    for leaf in &leaves {
        *ends.entry((leaf.block, leaf.end())).or_default() += 1;
        begins
            .entry((leaf.block, leaf.logical))
            .or_default()
            .push(leaf);
    }
    let next = |at: (u64, u64)| match (ends.get(&at), begins.get(&at).map(Vec::as_slice)) {
        (Some(1), Some([next])) => Some(*next),
        _ => None,
    };
    let is_first = |leaf: &&Leaf| leaf.logical == 0 || next((leaf.block, leaf.logical)).is_none();
    let files = leaves.iter().filter(is_first).flat_map(|leaf| {
        let alone = Mapped {
            block: leaf.block,
            runs: leaf.runs.clone(),
        };
        let mut joined = alone.clone();
        let mut last = leaf;
        while let Some(leaf) = next((last.block, last.end())) {
            joined.runs.extend(&leaf.runs);
            last = leaf;
        }
        // What goes on may be another file's: then its blocks are none that are free.
        [joined, alone]
    });
    files.collect()
}
