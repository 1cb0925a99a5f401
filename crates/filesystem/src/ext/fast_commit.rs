//! Fast commits: what changed after the last transaction of the journal, said in few words.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`, “Fast commits”, and the structures
//! `ext4_fc_*` of `fs/ext4/fast_commit.h`; all numbers are little-endian. A commit says that an
//! inode is now so, that blocks of a file are now there, that a name is there or gone. Inodes are
//! laid over the volume like journaled blocks; blocks and names are kept as a [`Patch`].
//!
//! Not said is when a directory was changed last: its time and size stay the older ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{Fields, ReadAt};

use super::checksum::crc32c;
use super::extent::EMPTY_ROOT;
use super::inode::{EXTENTS_FL, I_BLOCK_AT, I_BLOCK_BYTES, INLINE_DATA_FL, OLD_BYTES, RawInode};
use super::volume::Volume;
use crate::{DirEntry, Extent, Extents, InodeNumber, Listing, Place};

/// The length of `struct ext4_fc_tl`.
const TL_BYTES: usize = 4;
const TAG_ADD_RANGE: u16 = 1;
const TAG_DEL_RANGE: u16 = 2;
const TAG_CREAT: u16 = 3;
const TAG_LINK: u16 = 4;
const TAG_UNLINK: u16 = 5;
const TAG_INODE: u16 = 6;
const TAG_PAD: u16 = 7;
const TAG_TAIL: u16 = 8;
const TAG_HEAD: u16 = 9;
/// An `ee_len` above this is that of an unwritten extent, plus this.
const EXT_INIT_MAX_LEN: u16 = 32768;

/// One change that a fast commit speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The inode is now so, but for its map. `EXT4_FC_TAG_INODE`.
    Inode {
        /// `fc_ino`.
        number: u64,
        /// `fc_raw_inode`.
        raw: Vec<u8>,
    },
    /// Blocks of a file are elsewhere. `EXT4_FC_TAG_ADD_RANGE`, `EXT4_FC_TAG_DEL_RANGE`.
    Range {
        /// `fc_ino`.
        number: u64,
        /// What changed.
        range: Range,
    },
    /// A directory lists a name or does not. `EXT4_FC_TAG_CREAT`, `_LINK`, `_UNLINK`.
    Name {
        /// `fc_parent_ino`.
        parent: u64,
        /// What changed.
        name: Name,
    },
}

/// Where blocks of a file are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u64,
    count: u64,
    to: To,
}

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Block(u64),
    Unwritten,
    Hole,
}

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    name: Vec<u8>,
    inode: u64,
    what: u16,
}

/// The fast commits after a transaction.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The changes of complete commits, in order.
    pub(super) changes: Vec<Change>,
    /// How many commits.
    pub(super) commits: u32,
}

/// Reads the blocks after the log, as far as they are complete commits on top of transaction `tid`.
pub(super) fn read(blocks: impl Iterator<Item = Vec<u8>>, tid: u32) -> Log {
    let mut log = Log::default();
    let mut open = Vec::new();
    let mut sum = 0_u32;
    let mut begun = false;
    for block in blocks {
        let f = Fields::new(&block);
        let mut at = 0_usize;
        while let (Some(tag), Some(length)) = (f.le_u16(at), f.le_u16(at.saturating_add(2))) {
            let start = at.saturating_add(TL_BYTES);
            let Some(value) = f.slice(start, length.into()) else {
                return log;
            };
            let head = f.slice(at, TL_BYTES).unwrap_or_default();
            let v = Fields::new(value);
            match tag {
                TAG_HEAD if v.le_u32(0) == Some(0) && v.le_u32(4) == Some(tid) => begun = true,
                TAG_TAIL if begun => {
                    // The checksum covers the tail up to itself.
                    let covered = crc32c(crc32c(sum, head), v.slice(0, 4).unwrap_or_default());
                    if v.le_u32(0) != Some(tid) || v.le_u32(4) != Some(covered) {
                        return log;
                    }
                    log.changes.append(&mut open);
                    log.commits = log.commits.saturating_add(1);
                    sum = 0;
                    at = start.saturating_add(length.into());
                    continue;
                }
                TAG_PAD if begun => {}
                _ => match change(tag, v) {
                    Some(change) if begun => open.push(change),
                    _ => return log,
                },
            }
            sum = crc32c(crc32c(sum, head), value);
            at = start.saturating_add(length.into());
        }
    }
    log
}

fn change(tag: u16, v: Fields<'_>) -> Option<Change> {
    let first = u64::from(v.le_u32(0)?);
    match tag {
        TAG_INODE => {
            let raw = v.from(4)?.bytes();
            (raw.len() >= OLD_BYTES).then(|| Change::Inode {
                number: first,
                raw: raw.to_vec(),
            })
        }
        TAG_ADD_RANGE => {
            // A struct ext4_extent.
            let ee_len = v.le_u16(8)?;
            let start = u64::from(v.le_u16(10)?) << 32 | u64::from(v.le_u32(12)?);
            let unwritten = ee_len > EXT_INIT_MAX_LEN;
            let count = if unwritten {
                ee_len.saturating_sub(EXT_INIT_MAX_LEN)
            } else {
                ee_len
            };
            let to = if unwritten {
                To::Unwritten
            } else {
                To::Block(start)
            };
            Some(range(first, v.le_u32(4)?, count.into(), to))
        }
        TAG_DEL_RANGE => Some(range(first, v.le_u32(4)?, v.le_u32(8)?.into(), To::Hole)),
        TAG_CREAT | TAG_LINK | TAG_UNLINK => Some(Change::Name {
            parent: first,
            name: Name {
                inode: v.le_u32(4)?.into(),
                name: v.from(8)?.bytes().to_vec(),
                what: tag,
            },
        }),
        _ => None,
    }
}

fn range(number: u64, first: u32, count: u64, to: To) -> Change {
    let range = Range {
        first: first.into(),
        count,
        to,
    };
    Change::Range { number, range }
}

/// What fast commits changed beside inodes.
#[derive(Default)]
pub(super) struct Patch {
    /// Inodes that were laid over the volume: in use, whatever their group says.
    pub(super) inodes: HashSet<u64>,
    ranges: HashMap<u64, Vec<Range>>,
    names: HashMap<u64, Vec<Name>>,
    /// Inodes whose first name came with a fast commit.
    created: HashSet<u64>,
}

/// Lays the changed inodes over the volume, whose journaled blocks are in `overlay`, and gives
/// the view with them and the rest of the changes.
pub(super) fn apply(
    volume: &Volume,
    mut overlay: Overlay,
    changes: Vec<Change>,
) -> (Arc<dyn ReadAt>, Patch) {
    let mut patch = Patch::default();
    let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Inode { number, raw } => {
                let before = inodes
                    .remove(&number)
                    .or_else(|| volume.raw_inode(InodeNumber(number)));
                let after = before.and_then(|before| merge(volume, number, before, &raw));
                if let Some(after) = after {
                    inodes.insert(number, after);
                }
            }
            Change::Range { number, range } => {
                patch.ranges.entry(number).or_default().push(range);
            }
            Change::Name { parent, name } => {
                if name.what == TAG_CREAT {
                    patch.created.insert(name.inode);
                }
                patch.names.entry(parent).or_default().push(name);
            }
        }
    }
    for (number, raw) in inodes {
        if let Some(at) = volume.place_of_inode(InodeNumber(number)) {
            overlay.lay(at, &raw);
            patch.inodes.insert(number);
        }
    }
    (Arc::new(overlay), patch)
}

/// The inode `before` with all of `after` but the map, which the ranges tell.
fn merge(volume: &Volume, number: u64, mut before: Vec<u8>, after: &[u8]) -> Option<Vec<u8>> {
    let i_block = I_BLOCK_AT..I_BLOCK_AT.checked_add(I_BLOCK_BYTES)?;
    let kept = before.get(i_block.clone())?.to_vec();
    let length = after.len().min(before.len());
    before
        .get_mut(..length)?
        .copy_from_slice(after.get(..length)?);
    let inode = RawInode::parse(&before)?;
    let map = before.get_mut(i_block)?;
    if inode.has(EXTENTS_FL) && !kept.starts_with(&EMPTY_ROOT[..2]) {
        map.fill(0);
        map.get_mut(..EMPTY_ROOT.len())?
            .copy_from_slice(&EMPTY_ROOT);
    } else if !inode.has(INLINE_DATA_FL) {
        map.copy_from_slice(&kept);
    }
    volume.seal_inode(InodeNumber(number), &mut before)?;
    Some(before)
}

impl Patch {
    /// Changes the map of a file.
    pub(super) fn map(&self, volume: &Volume, file: InodeNumber, size: u64, map: &mut Extents) {
        let Some(ranges) = self.ranges.get(&file.0) else {
            return;
        };
        let mut pieces: BTreeMap<u64, (u64, Place)> = map
            .pieces
            .iter()
            .map(|p| (p.file_offset, (p.length, p.place)))
            .collect();
        let block = u64::from(volume.sb.block.get());
        for range in ranges {
            let start = range.first.saturating_mul(block);
            let end = range
                .first
                .saturating_add(range.count)
                .saturating_mul(block)
                .min(size);
            let place = match range.to {
                To::Block(at) => volume
                    .place_of(at, range.count)
                    .map_or(Place::Lost, Place::At),
                To::Unwritten => Place::Unwritten,
                To::Hole => Place::Hole,
            };
            if start < end {
                cut(&mut pieces, start);
                cut(&mut pieces, end);
                let hidden: Vec<u64> = pieces.range(start..end).map(|(at, _)| *at).collect();
                for at in hidden {
                    pieces.remove(&at);
                }
                pieces.insert(start, (end.saturating_sub(start), place));
            }
        }
        map.pieces = pieces
            .into_iter()
            .map(|(file_offset, (length, place))| Extent {
                file_offset,
                length,
                place,
            })
            .collect();
    }

    /// Whether a directory was made by a fast commit, so that none of its blocks were written.
    pub(super) fn made(&self, dir: InodeNumber) -> bool {
        self.created.contains(&dir.0)
    }

    /// Changes what a directory lists.
    pub(super) fn list(&self, dir: InodeNumber, listing: &mut Listing) {
        let Some(names) = self.names.get(&dir.0) else {
            return;
        };
        let entries = std::mem::take(&mut listing.entries);
        let mut entries: BTreeMap<Vec<u8>, InodeNumber> = entries
            .into_iter()
            .map(|entry| (entry.name, entry.inode))
            .collect();
        for change in names.iter().filter(|change| is_name(&change.name)) {
            if change.what == TAG_UNLINK {
                entries.remove(&change.name);
            } else {
                // A name that is there already stays, as it does when the kernel applies this.
                entries
                    .entry(change.name.clone())
                    .or_insert(InodeNumber(change.inode));
            }
        }
        listing.entries = entries
            .into_iter()
            .map(|(name, inode)| DirEntry { name, inode })
            .collect();
    }
}

fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Cuts the piece that holds `at` in two there.
fn cut(pieces: &mut BTreeMap<u64, (u64, Place)>, at: u64) {
    let Some((start, (length, place))) = pieces.range(..at).next_back().map(|(s, p)| (*s, *p))
    else {
        return;
    };
    let head = at.saturating_sub(start);
    if head >= length {
        return;
    }
    let moved = match place {
        Place::At(from) => from.checked_add(head).map_or(Place::Lost, Place::At),
        other => other,
    };
    pieces.insert(start, (head, place));
    pieces.insert(at, (length.saturating_sub(head), moved));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn tlv(tag: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn commit(first: bool, changes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if first {
            bytes.extend(tlv(TAG_HEAD, &words(&[0, 7])));
        }
        bytes.extend(changes.concat());
        let mut tail = tlv(TAG_TAIL, &words(&[7, 0]));
        let sum = crc32c(crc32c(0, &bytes), &tail[..8]);
        tail[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn only_complete_commits_of_this_transaction_count() {
        let unlink = tlv(TAG_UNLINK, b"\x02\0\0\0\x0C\0\0\0name");
        let first = commit(true, std::slice::from_ref(&unlink));
        let second = commit(false, &[tlv(TAG_DEL_RANGE, &words(&[12, 3, 4])), unlink]);
        let blocks = || [first.clone(), second.clone()].into_iter();
        let log = read(blocks(), 7);
        assert_eq!((log.commits, log.changes.len()), (2, 3));
        assert_eq!(read(blocks(), 8).commits, 0);
        let mut torn = second.clone();
        torn[8] ^= 1;
        let log = read([first.clone(), torn].into_iter(), 7);
        assert_eq!((log.commits, log.changes.len()), (1, 1));
    }

    #[test]
    fn cutting_a_piece_keeps_its_bytes() {
        let at = evidence::ByteOffset::new;
        let mut pieces = BTreeMap::from([(0, (10, Place::At(at(100))))]);
        cut(&mut pieces, 4);
        cut(&mut pieces, 4);
        cut(&mut pieces, 10);
        let want = [(0, (4, Place::At(at(100)))), (4, (6, Place::At(at(104))))];
        assert_eq!(pieces.into_iter().collect::<Vec<_>>(), want);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            tag in 0..10_u16,
        ) {
            let mut block = tlv(TAG_HEAD, &words(&[0, 7]));
            block.extend(tlv(tag, &bytes));
            block.extend(&bytes);
            let _ = read([block, bytes].into_iter(), 7);
        }
    }
}
