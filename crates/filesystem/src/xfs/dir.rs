//! Directories, whatever their form.
//!
//! A short one stands in the inode. All others keep their entries in data blocks below
//! `XFS_DIR2_LEAF_OFFSET`; what lies above is for looking names up (`leaf.rs`) and is not
//! needed to list. So block, leaf, node and B+tree directories are one case here.
//! Specification: *Directories*; kernel: `libxfs/xfs_da_format.h`.

use std::collections::HashSet;
use std::ops::Range;

use evidence::{ByteOffset, Cause, Fields, Gaps, ReadAtExt};

use super::checksum::{self, DIR3_DATA, Doubt};
use super::data::{self, RawEntry};
use super::extent::{self, Map, Record};
use super::inode::{Dinode, Format};
use super::leaf::{self, Address};
use super::volume::{Volume, corrupt};
use crate::{DirEntry, FileKind, Inode, InodeNumber, Listing};

/// `XFS_DIR2_BLOCK_MAGIC`, `XFS_DIR3_BLOCK_MAGIC`: the only data block of a directory, with
/// the leaf at its end.
const BLOCK_MAGICS: [u32; 2] = [0x5844_3242, 0x5844_4233];
/// `XFS_DIR2_DATA_MAGIC`, `XFS_DIR3_DATA_MAGIC`: one of several.
const DATA_MAGICS: [u32; 2] = [0x5844_3244, 0x5844_4433];
/// `struct xfs_dir2_data_hdr`, `struct xfs_dir3_data_hdr`: where the entries begin.
const HEADER_V4: usize = 16;
const HEADER_V5: usize = 64;

/// What the directory `dir` lists.
pub(super) fn list(volume: &Volume, dir: &Inode) -> Listing {
    let mut list = List {
        volume,
        dir,
        listing: Listing::default(),
        index: None,
    };
    match Dinode::parse(&dir.raw, volume.sb.version) {
        Err(why) => list.lose("directory", dir.place, Cause::Corrupt(why)),
        Ok(_) if dir.kind != FileKind::Directory => {
            list.lose("directory", dir.place, corrupt("it is no directory"));
        }
        Ok(dinode) if dinode.format == Format::Local => list.short_form(&dinode),
        Ok(dinode) => list.blocks(&dinode),
    }
    list.listing.entries.sort();
    list.listing.entries.dedup();
    list.listing
}

/// Where the data blocks of the directory `dir` begin, by its map.
pub(super) fn places(volume: &Volume, dir: &Inode) -> Vec<ByteOffset> {
    let Ok(dinode) = Dinode::parse(&dir.raw, volume.sb.version) else {
        return Vec::new();
    };
    let map = extent::map(volume, dir, &dinode);
    let numbers = data_blocks(&map.records, volume).into_iter().flatten();
    let place = |number: u64| {
        let block = number.checked_shl(volume.sb.sb_dirblklog.into())?;
        place_of(&map.records, block, volume)
    };
    // No directory has more blocks than the device.
    let most = volume.view.len().checked_div(volume.sb.block.get().into());
    let most = usize::try_from(most.unwrap_or(0)).unwrap_or(usize::MAX);
    numbers.take(most).filter_map(place).collect()
}

/// The data block at `place`, read without its directory, and where in it the entries lie.
pub(super) fn loose(volume: &Volume, place: ByteOffset) -> Option<(Vec<u8>, Range<usize>)> {
    let bytes = volume.cache.read(place, volume.sb.dirblock_bytes()).ok()?;
    let magic = Fields::new(&bytes).be_u32(0)?;
    let version = usize::from(volume.sb.has_crc());
    let is = |magics: [u32; 2]| magics.get(version) == Some(&magic);
    let start = match volume.sb.has_crc() {
        true => HEADER_V5,
        false => HEADER_V4,
    };
    let end = if is(BLOCK_MAGICS) {
        leaf::tail(&bytes)?.start
    } else if is(DATA_MAGICS) {
        bytes.len()
    } else {
        return None;
    };
    Some((bytes, start..end))
}

/// The inode of the directory that `dir` is in, as `..` says.
pub(super) fn parent(volume: &Volume, dir: &Inode) -> Option<InodeNumber> {
    let dinode = Dinode::parse(&dir.raw, volume.sb.version).ok()?;
    if dinode.format == Format::Local {
        let fields = Fields::new(dinode.fork);
        let number = match fields.u8(1)? {
            0 => fields.be_u32(2)?.into(),
            _ => fields.be_u64(2)?,
        };
        return Some(InodeNumber(number));
    }
    let first = *places(volume, dir).first()?;
    let (bytes, within) = loose(volume, first)?;
    let own = data::entry(&bytes, within.start, within.end, false)?;
    let above = data::entry(&bytes, own.range.end, within.end, false)?;
    let fits = own.name == b"." && own.inumber == dir.number && above.name == b"..";
    fits.then_some(above.inumber)
}

/// A directory block as it was read.
struct Block {
    at: ByteOffset,
    bytes: Vec<u8>,
    /// What of it could not be read.
    gaps: Gaps,
}

/// A listing while it is made.
struct List<'a> {
    volume: &'a Volume,
    dir: &'a Inode,
    listing: Listing,
    /// What the leaf blocks say, once it is needed.
    index: Option<Vec<Address>>,
}

impl List<'_> {
    fn lose(&mut self, what: &str, at: ByteOffset, cause: Cause) {
        let what = format!("{what} of inode {}", self.dir.number);
        self.listing.losses.push(self.volume.loss(what, at, cause));
    }

    /// Adds an entry; `false` if it has a name that no file can have.
    fn add(&mut self, entry: RawEntry<'_>) -> bool {
        match entry.name {
            b"." | b".." => true,
            name if name.is_empty() || name.contains(&b'/') || name.contains(&0) => false,
            name => {
                self.listing.entries.push(DirEntry {
                    name: name.to_vec(),
                    inode: entry.inumber,
                });
                true
            }
        }
    }

    /// `struct xfs_dir2_sf_hdr` and its entries, in the inode.
    fn short_form(&mut self, dinode: &Dinode<'_>) {
        let size = usize::try_from(self.dir.size).unwrap_or(usize::MAX);
        let fork = dinode.fork.get(..size).unwrap_or(dinode.fork);
        let (entries, complete) = data::short_form(fork, self.volume.sb.features.ftype);
        let mut fits = complete;
        for entry in entries {
            fits &= self.add(entry);
        }
        if !fits {
            let cause = corrupt("an entry does not fit into it");
            self.lose("short directory", self.dir.place, cause);
        }
    }

    /// All data blocks, in order.
    fn blocks(&mut self, dinode: &Dinode<'_>) {
        let mut map = extent::map(self.volume, self.dir, dinode);
        self.listing.losses.append(&mut map.losses);
        self.drop_shared(&mut map);
        let numbers = data_blocks(&map.records, self.volume);
        if map.lost.is_empty() && map.records.first().is_none_or(|r| r.br_startoff > 0) {
            let cause = corrupt("its first block is not in its map");
            self.lose("directory", self.dir.place, cause);
        }
        for number in numbers.into_iter().flatten() {
            match read(self.volume, &map, number) {
                Ok(block) => self.block(&map, number, &block),
                Err((at, cause)) => {
                    self.lose("directory block", at.unwrap_or(self.dir.place), cause);
                }
            }
        }
    }

    /// Drops runs that share blocks with another: listed again and again, a few blocks could
    /// fill all memory.
    fn drop_shared(&mut self, map: &mut Map) {
        let block = u64::from(self.volume.sb.block.get());
        let mut by_place: Vec<&Record> = map.records.iter().collect();
        by_place.sort_by_key(|record| record.at);
        let mut end = 0;
        let mut shared: Vec<Record> = Vec::new();
        for record in by_place {
            let length = record.br_blockcount.saturating_mul(block);
            if record.at.get() < end {
                shared.push(*record);
            }
            end = end.max(record.at.get().saturating_add(length));
        }
        let dropped: HashSet<u64> = shared.iter().map(|record| record.br_startoff).collect();
        map.records
            .retain(|record| !dropped.contains(&record.br_startoff));
        for record in shared {
            let cause = corrupt("another block of the directory lies in the same place");
            self.lose("directory block", record.at, cause);
        }
    }

    /// Takes the entries of one block.
    fn block(&mut self, map: &Map, number: u64, block: &Block) {
        if !self.is_ours(block) {
            return;
        }
        let entries = self.parse(map, number, block);
        if self.is_stray(number, &entries) {
            let cause = corrupt("its first entry is not the directory itself");
            return self.lose("directory block", block.at, cause);
        }
        let mut bad_names = 0_u32;
        for entry in entries {
            if !block.gaps.touch(entry.range.clone()) && !self.add(entry) {
                bad_names = bad_names.saturating_add(1);
            }
        }
        if bad_names > 0 {
            let why = format!("{bad_names} entries have names that no file can have");
            self.lose("directory block", block.at, Cause::Corrupt(why));
        }
    }

    /// Whether the entries of a block can be taken. What is still to be read in the right
    /// block is given, and a loss warns of it.
    fn is_ours(&mut self, block: &Block) -> bool {
        let doubt = self.doubt(block);
        let cause = match (block.gaps.iter().next(), &doubt) {
            (Some(gap), _) => Some(Cause::Gap(gap.cause)),
            (None, Some(doubt)) => Some(Cause::Corrupt(doubt.clone().describe())),
            (None, None) => None,
        };
        if let Some(cause) = cause {
            self.lose("directory block", block.at, cause);
        }
        !matches!(doubt, Some(Doubt::Foreign(_)))
    }

    /// The entries of a block: one after the other, and behind damage those that the index
    /// names.
    fn parse<'b>(&mut self, map: &Map, number: u64, block: &'b Block) -> Vec<RawEntry<'b>> {
        let bytes = &block.bytes;
        let ftype = self.volume.sb.features.ftype;
        let start = match self.volume.sb.has_crc() {
            true => HEADER_V5,
            false => HEADER_V4,
        };
        let magic = Fields::new(bytes).be_u32(0).unwrap_or(0);
        let single = BLOCK_MAGICS.contains(&magic);
        let tail = single.then(|| leaf::tail(bytes)).flatten();
        let end = tail.as_ref().map_or(bytes.len(), |tail| tail.start);
        let (mut entries, stopped) = data::parse(bytes, start..end, ftype);
        let Some(stopped) = stopped else {
            return entries;
        };
        if block.gaps.is_empty() {
            let why = format!("the entries from byte {stopped} on are damaged");
            self.lose("directory block", block.at, Cause::Corrupt(why));
        }
        let rest = stopped..end;
        if single {
            let addresses = tail.map(|tail| tail.addresses).unwrap_or_default();
            entries.extend(named(bytes, &addresses, 0, rest, ftype));
        } else {
            let addresses = match self.index.take() {
                Some(index) => index,
                None => leaf::index(self.volume, self.dir.number, map),
            };
            entries.extend(named(bytes, &addresses, number, rest, ftype));
            self.index = Some(addresses);
        }
        entries
    }

    /// What speaks against the block being a data block of this directory.
    fn doubt(&self, block: &Block) -> Option<Doubt> {
        let magic = Fields::new(&block.bytes).be_u32(0).unwrap_or(0);
        let version = usize::from(self.volume.sb.has_crc());
        let magics = [BLOCK_MAGICS, DATA_MAGICS];
        if !magics.iter().any(|m| m.get(version) == Some(&magic)) {
            return Some(Doubt::Foreign("it is no directory block".to_owned()));
        }
        if !self.volume.sb.has_crc() {
            return None;
        }
        let expected = self.volume.expected(block.at, self.dir.number);
        checksum::check(&block.bytes, DIR3_DATA, expected).err()
    }

    /// Whether a version 4 block says that it is another directory's: the first block of each
    /// begins with `.`, and that is all that version 4 says of whose a block is.
    fn is_stray(&self, number: u64, entries: &[RawEntry<'_>]) -> bool {
        let itself = entries.first().filter(|entry| entry.name == b".");
        number == 0
            && !self.volume.sb.has_crc()
            && itself.is_some_and(|entry| entry.inumber != self.dir.number)
    }
}

/// The numbers of the directory blocks that `records` map, in order, each once.
fn data_blocks(records: &[Record], volume: &Volume) -> Vec<Range<u64>> {
    let per_block = volume.sb.dirblock_blocks();
    let leaf_offset = volume.sb.leaf_offset();
    let mut next = 0;
    let mut all = Vec::new();
    for record in records {
        let covers = record.range();
        let stop = covers.end.min(leaf_offset).div_ceil(per_block);
        let first = covers.start.checked_div(per_block).unwrap_or(0).max(next);
        if first < stop {
            all.push(first..stop);
            next = stop;
        }
    }
    all
}

/// The record that covers the block `block` of the file.
fn record_at(records: &[Record], block: u64) -> Option<&Record> {
    let next = records.partition_point(|record| record.range().end <= block);
    let found = records.get(next)?;
    (found.br_startoff <= block && !found.unwritten).then_some(found)
}

/// Where the block `block` of the file lies.
fn place_of(records: &[Record], block: u64, volume: &Volume) -> Option<ByteOffset> {
    let record = record_at(records, block)?;
    let inside = block.checked_sub(record.br_startoff)?;
    record
        .at
        .checked_add(inside.checked_mul(volume.sb.block.get().into())?)
}

/// Reads the directory block `number`: as many file-system blocks as `sb_dirblklog` says.
///
/// Where it should have been is given with the cause, if its map says so.
fn read(volume: &Volume, map: &Map, number: u64) -> Result<Block, (Option<ByteOffset>, Cause)> {
    let length = volume.sb.block.len();
    let first = number
        .checked_shl(volume.sb.sb_dirblklog.into())
        .unwrap_or(u64::MAX);
    let count = volume.sb.dirblock_blocks();
    let mut whole: Option<Block> = None;
    for block in first..first.saturating_add(count) {
        let start = whole.as_ref().map(|whole| whole.at);
        let place = place_of(&map.records, block, volume);
        let place = place.ok_or_else(|| (start, corrupt("a part of it is not in the map")))?;
        let (bytes, gaps) = lenient(volume, place, length).map_err(|cause| (Some(place), cause))?;
        let whole = whole.get_or_insert_with(|| Block {
            at: place,
            bytes: Vec::new(),
            gaps: Gaps::none(),
        });
        whole.gaps.add_all_at(whole.bytes.len(), &gaps);
        whole.bytes.extend_from_slice(&bytes);
    }
    whole.ok_or_else(|| (None, corrupt("it has no blocks")))
}

/// `length` bytes at `at`, with what of them could not be read; an error if none could.
fn lenient(volume: &Volume, at: ByteOffset, length: usize) -> Result<(Vec<u8>, Gaps), Cause> {
    let cause = match volume.cache.read(at, length) {
        Ok(bytes) => return Ok((bytes, Gaps::none())),
        Err(cause) => cause,
    };
    match volume.view.read_vec(at, length) {
        Ok((bytes, gaps)) if gaps.bytes() < length => Ok((bytes, gaps)),
        _ => Err(cause),
    }
}

/// The entries of the block `number` that lie in `rest` and that `addresses` name, with the
/// hash of their names: what no longer follows on the entry before it is found again so, and
/// no deleted entry with it.
fn named<'a>(
    block: &'a [u8],
    addresses: &[Address],
    number: u64,
    rest: Range<usize>,
    ftype: bool,
) -> Vec<RawEntry<'a>> {
    let base = number.saturating_mul(block.len() as u64);
    let inside = |address: &Address| {
        let offset = address.offset.checked_sub(base)?;
        usize::try_from(offset).ok().filter(|at| rest.contains(at))
    };
    let from = addresses.partition_point(|address| address.offset < base);
    let end = base.saturating_add(block.len() as u64);
    addresses
        .iter()
        .skip(from)
        .take_while(|address| address.offset < end)
        .filter_map(|address| {
            let entry = data::entry(block, inside(address)?, rest.end, ftype)?;
            (leaf::hash(entry.name) == address.hash).then_some(entry)
        })
        .collect()
}

#[cfg(test)]
mod tests;
