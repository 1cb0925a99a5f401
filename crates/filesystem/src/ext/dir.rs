//! Directories: `struct ext4_dir_entry_2` in the blocks of a directory file.
//!
//! Source: Linux `Documentation/filesystems/ext4/directory.rst`. Directories with a hash tree are
//! read like the others, from the first block to the last: the blocks of the tree look like blocks
//! with one unused entry, which is how the format stays readable to ext2.
//!
//! A path is evidence of whose mail a file is, so a block must belong to this directory: where
//! there are checksums they prove it, else the entry `.` in the first block has to name it.

use std::collections::HashSet;
use std::ops::Range;

use evidence::{ByteOffset, Cause, Fields, Gaps, Loss, ReadAtExt};

use super::checksum::{crc32c, crc32c_seed, mended};
use super::features::INCOMPAT_FILETYPE;
use super::inline;
use super::inode::{ENCRYPT_FL, INLINE_DATA_FL, RawInode};
use super::volume::{BEYOND_END, Volume, corrupt};
use crate::cache::gap_in;
use crate::{DirEntry, Extent, FileKind, Inode, InodeNumber, Listing, Place};

/// How much of a directory is read at a time, at least one block.
const READ_BYTES: u64 = 64 * 1024;
/// The length of an entry without its name.
const HEADER_BYTES: usize = 8;
/// The length of `struct ext4_dir_entry_tail`.
const TAIL_BYTES: usize = 12;
/// `det_reserved_ft`.
const TAIL_FILE_TYPE: u8 = 0xDE;
/// An entry for a name of one byte: none is shorter.
const SHORTEST_ENTRY: usize = 12;
/// `struct dx_root_info` follows the entries `.` and `..`, both 12 bytes long.
const DX_ROOT_INFO_AT: usize = 24;
/// The length of `struct dx_entry`.
const DX_ENTRY_BYTES: usize = 8;

/// How entries are laid out in this file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// With the filetype feature the length of a name has one byte, else two.
    pub(super) file_type: bool,
    /// Blocks of 64 KiB keep lengths in a form of their own.
    pub(super) huge_blocks: bool,
}

/// One entry in use, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// Where in the block it begins.
    pub(super) at: usize,
    /// `inode`.
    pub(super) inode: u64,
    /// `name`.
    pub(super) name: Vec<u8>,
}

/// The entries in use of one block, and where it stops to make sense.
pub(super) struct Parsed {
    /// What is in use.
    pub(super) entries: Vec<Raw>,
    /// Where the block stops to make sense, and why.
    pub(super) fault: Option<(usize, String)>,
}

/// The inodes that `.` and `..` stand for in the first block of a directory; `None` if it is not.
pub(super) fn own_numbers(bytes: &[u8]) -> Option<(u32, u32)> {
    let f = Fields::new(bytes);
    let (dot, dotdot) = (f.from(0)?, f.from(SHORTEST_ENTRY)?);
    let is = |f: Fields<'_>, name: &[u8; 4], length: u8| {
        let kind = f.u8(0x7)?;
        (f.u8(0x6)? == length && f.array(0x8)? == *name && (kind == 2 || kind == 0)).then_some(())
    };
    is(dot, b".\0\0\0", 1)?;
    is(dotdot, b"..\0\0", 2)?;
    let (own, parent) = (dot.le_u32(0x0)?, dotdot.le_u32(0x0)?);
    (dot.le_u16(0x4)? == 12 && own > 1 && parent > 1).then_some((own, parent))
}

/// Whether all of a block parses as entries, up to its end.
pub(super) fn is_whole(bytes: &[u8], form: Form) -> bool {
    parse_entries(bytes, form).fault.is_none()
}

/// Whether a block that is not the first of a directory parses as one, to its end, and has at
/// least one name.
pub(super) fn is_continuation(bytes: &[u8], form: Form) -> bool {
    let f = Fields::new(bytes);
    // Most blocks are ruled out by their first eight bytes.
    let (Some(length), Some(name)) = (f.le_u16(0x4), f.u8(0x6)) else {
        return false;
    };
    if name == 0 || !length.is_multiple_of(4) || length < 12 || usize::from(length) > bytes.len() {
        return false;
    }
    let parsed = parse_entries(bytes, form);
    parsed.fault.is_none()
        && !parsed.entries.is_empty()
        && parsed.entries.iter().all(|entry| is_name(&entry.name))
}

/// Whether bytes can be the name of a file that is neither `.` nor `..`.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Entries that are not in use any more, in the room that those in use leave behind them.
///
/// Whoever deletes an entry makes the one before it longer; until kernel 5.13 nothing else.
pub(super) fn slack_entries(bytes: &[u8], form: Form) -> Vec<Raw> {
    let f = Fields::new(bytes);
    let mut found = Vec::new();
    let mut at = 0_usize;
    while at < bytes.len() {
        let Ok((entry, length)) = parse_entry(bytes, at, form) else {
            return found;
        };
        let end = at.saturating_add(length);
        let mut inside = match entry {
            Some(entry) => at.saturating_add(needed(entry.name.len())),
            None => at,
        };
        while inside.saturating_add(SHORTEST_ENTRY) <= end {
            let kind = f.u8(inside.saturating_add(0x7)).unwrap_or(0);
            let raw = parse_entry(bytes, inside, form)
                .ok()
                .and_then(|(raw, _)| raw);
            let fits = |raw: &Raw| {
                is_name(&raw.name)
                    && (!form.file_type || (1..=7).contains(&kind))
                    && inside.saturating_add(needed(raw.name.len())) <= end
            };
            match raw.filter(fits) {
                Some(raw) => {
                    inside = inside.saturating_add(needed(raw.name.len()));
                    found.push(raw);
                }
                None => inside = inside.saturating_add(4),
            }
        }
        at = end;
    }
    found
}

/// The length of an entry with a name of `length` bytes.
const fn needed(length: usize) -> usize {
    HEADER_BYTES.saturating_add(length).next_multiple_of(4)
}

/// Goes through the entries of a block; `.` and `..` are among them.
pub(super) fn parse_entries(bytes: &[u8], form: Form) -> Parsed {
    let mut entries = Vec::new();
    let mut at = 0_usize;
    while at < bytes.len() {
        match parse_entry(bytes, at, form) {
            Ok((entry, rec_len)) => {
                entries.extend(entry);
                at = at.saturating_add(rec_len);
            }
            Err(what) => {
                return Parsed {
                    entries,
                    fault: Some((at, what)),
                };
            }
        }
    }
    Parsed {
        entries,
        fault: None,
    }
}

/// The entry at `at` if it is in use, and its `rec_len`.
fn parse_entry(bytes: &[u8], at: usize, form: Form) -> Result<(Option<Raw>, usize), String> {
    let cut = "a directory entry is cut short";
    let f = Fields::new(bytes).from(at).ok_or(cut)?;
    let rec_len = rec_len(f.le_u16(0x4).ok_or(cut)?, form, bytes.len());
    let name_len = if form.file_type {
        f.u8(0x6).map(u16::from)
    } else {
        f.le_u16(0x6)
    };
    let name_len = usize::from(name_len.ok_or(cut)?);
    let needed = HEADER_BYTES.saturating_add(name_len).next_multiple_of(4);
    let room = bytes.len().saturating_sub(at);
    if !rec_len.is_multiple_of(4) || rec_len < needed.max(SHORTEST_ENTRY) || rec_len > room {
        return Err(format!("a directory entry has the length {rec_len}"));
    }
    let inode = f.le_u32(0x0).ok_or(cut)?;
    let name = f.slice(HEADER_BYTES, name_len).ok_or(cut)?;
    if inode == 0 {
        return Ok((None, rec_len));
    }
    let raw = Raw {
        at,
        inode: inode.into(),
        name: name.to_vec(),
    };
    Ok((Some(raw), rec_len))
}

/// The length of an entry in bytes. In a block of 64 KiB, whose length two bytes cannot hold,
/// 0 and 65535 stand for it, and else the lowest two bits are the highest.
fn rec_len(raw: u16, form: Form, block: usize) -> usize {
    match raw {
        0 | u16::MAX if form.huge_blocks => block,
        raw if form.huge_blocks => usize::from(raw & 3) << 16 | usize::from(raw & !3),
        raw => raw.into(),
    }
}

/// Whether the checksum of a block of a directory is right. `seed` is that of its inode.
pub(super) fn checksum_holds(bytes: &[u8], form: Form, seed: u32) -> bool {
    // What is left of the tail of a leaf may stand in a block of the tree, so the tree comes first.
    node_checksum(bytes, form, seed)
        .or_else(|| leaf_checksum(bytes, seed))
        .is_some_and(|(stored, computed)| stored == computed)
}

/// The seed with which the checksum of a block is right, which is that of its directory's inode.
pub(super) fn seed_of(bytes: &[u8], form: Form) -> Option<u32> {
    if let Some((stored, covered)) = node_covered(bytes, form) {
        return Some(crc32c_seed(stored, &covered));
    }
    let at = bytes.len().checked_sub(TAIL_BYTES)?;
    let (stored, _) = leaf_checksum(bytes, 0)?;
    Some(crc32c_seed(stored, bytes.get(..at)?))
}

/// A block with entries, with the one bit turned back that its checksum says has turned.
fn mended_block(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let (stored, computed) = leaf_checksum(bytes, seed)?;
    let at = bytes.len().checked_sub(TAIL_BYTES)?;
    let mut whole = mended(bytes.get(..at)?, stored, computed)?;
    whole.extend_from_slice(bytes.get(at..)?);
    Some(whole)
}

/// The checksum of a block with entries, from the fake entry at its end.
fn leaf_checksum(bytes: &[u8], seed: u32) -> Option<(u32, u32)> {
    let at = bytes.len().checked_sub(TAIL_BYTES)?;
    let tail = Fields::new(bytes).from(at)?;
    let looks = tail.le_u32(0x0)? == 0
        && tail.le_u16(0x4)? == 12
        && tail.u8(0x6)? == 0
        && tail.u8(0x7)? == TAIL_FILE_TYPE;
    looks.then_some(())?;
    Some((tail.le_u32(0x8)?, crc32c(seed, bytes.get(..at)?)))
}

/// The checksum of a block of the hash tree, from the `dx_tail` after its last place for an entry.
fn node_checksum(bytes: &[u8], form: Form, seed: u32) -> Option<(u32, u32)> {
    let (stored, covered) = node_covered(bytes, form)?;
    Some((stored, crc32c(seed, &covered)))
}

/// What the `dx_tail` of a block of the hash tree says its checksum is, and the bytes that this covers.
fn node_covered(bytes: &[u8], form: Form) -> Option<(u32, Vec<u8>)> {
    let f = Fields::new(bytes);
    let first = rec_len(f.le_u16(0x4)?, form, bytes.len());
    let count_at = if first == bytes.len() {
        HEADER_BYTES
    } else {
        // dx_root: `.`, then `..` up to the end of the block, and the tree behind their names.
        let rest = rec_len(f.le_u16(0x10)?, form, bytes.len());
        let hidden = first == 12 && rest == bytes.len().checked_sub(12)?;
        let info_length = f.u8(DX_ROOT_INFO_AT.checked_add(5)?)?;
        (hidden && f.le_u32(DX_ROOT_INFO_AT)? == 0 && info_length == 8).then_some(())?;
        DX_ROOT_INFO_AT.checked_add(8)?
    };
    let places = |at: usize| Some(usize::from(f.le_u16(at)?).saturating_mul(DX_ENTRY_BYTES));
    let limit = places(count_at)?;
    let count = places(count_at.checked_add(2)?)?;
    let covered = f.slice(0, count_at.checked_add(count)?)?;
    let tail = f.from(count_at.checked_add(limit)?)?;
    // The checksum's own place counts as zeros.
    let covered = [covered, tail.slice(0x0, 4)?, &[0; 4]].concat();
    Some((tail.le_u32(0x4)?, covered))
}

/// A directory being read.
struct Reader<'a> {
    volume: &'a Volume,
    dir: &'a Inode,
    form: Form,
    seed: Option<u32>,
    /// Whether the entry `.` named another directory, or was missing.
    doubtful: bool,
    /// Blocks read: one that comes twice is damage, and may come without end.
    used: HashSet<u64>,
    listing: Listing,
}

impl Volume {
    /// How directories are laid out in this file system.
    pub(super) fn directory_form(&self) -> Form {
        Form {
            file_type: self.sb.features.incompat(INCOMPAT_FILETYPE),
            huge_blocks: self.sb.block.get() == 65536,
        }
    }

    /// What `dir` lists.
    pub(super) fn list(&self, dir: &Inode) -> Listing {
        let mut reader = Reader {
            volume: self,
            dir,
            form: self.directory_form(),
            seed: None,
            doubtful: false,
            used: HashSet::new(),
            listing: Listing::default(),
        };
        reader.read();
        let mut listing = reader.listing;
        self.patch.list(dir.number, &mut listing);
        listing.entries.sort();
        listing.entries.dedup();
        listing
    }
}

impl Reader<'_> {
    fn read(&mut self) {
        let place = self.dir.place;
        if self.dir.kind != FileKind::Directory {
            return self.lose("entries", place, corrupt("it is not a directory"));
        }
        let Some(raw) = RawInode::parse(&self.dir.raw) else {
            return self.lose("entries", place, corrupt("the inode is cut short"));
        };
        if raw.has(ENCRYPT_FL) {
            let what = "names encrypted by fscrypt; they cannot be read without its key";
            return self.lose("entries", place, Cause::Unsupported(what.to_owned()));
        }
        if raw.has(INLINE_DATA_FL) {
            return self.inline(&raw);
        }
        self.seed = self.volume.inode_seed(self.dir.number, raw.i_generation);
        if self.volume.patch.made(self.dir.number) {
            return;
        }
        let map = self.volume.map(self.dir);
        self.listing.losses.extend(map.losses);
        for piece in &map.pieces {
            self.piece(piece);
        }
    }

    /// An inline directory: the number of the parent, then entries, then entries in the attribute.
    fn inline(&mut self, raw: &RawInode) {
        let regions = match inline::regions(&self.dir.raw, raw) {
            Ok(regions) => regions,
            Err(what) => return self.lose("inline entries", self.dir.place, corrupt(what)),
        };
        let [first, second] = regions;
        let first = first.start.saturating_add(4)..first.end;
        for region in [first, second] {
            let bytes = self.dir.raw.get(region.clone()).unwrap_or_default();
            let at = self.dir.place.checked_add(region.start as u64);
            let parsed = parse_entries(bytes, self.form);
            self.take(parsed, at.unwrap_or(self.dir.place));
        }
    }

    fn piece(&mut self, piece: &Extent) {
        match piece.place {
            Place::At(at) => self.run(at, piece),
            Place::Hole | Place::Unwritten => {
                let what = format!("entries from byte {} on", piece.file_offset);
                let cause = corrupt("the directory has a hole");
                self.lose(&what, self.dir.place, cause);
            }
            // The map has said so already; ext compresses nothing.
            Place::Lost | Place::Compressed { .. } => {}
        }
    }

    /// Reads the blocks of one piece, several at a time.
    fn run(&mut self, start: ByteOffset, piece: &Extent) {
        let block = self.volume.sb.block.len();
        let step = READ_BYTES.max(block as u64);
        let mut done = 0_u64;
        while done < piece.length {
            let length = piece.length.saturating_sub(done).min(step);
            let Some(at) = start.checked_add(done) else {
                return;
            };
            // Of a volume that was cut off, what is there is read.
            let there = self.volume.view.len().saturating_sub(at.get()).min(length);
            let there = usize::try_from(there).unwrap_or(0);
            let Ok((bytes, gaps)) = self.volume.view.read_vec(at, there) else {
                return;
            };
            if (there as u64) < length {
                let what = format!("entries from byte {} on", piece.file_offset);
                self.lose(&what, at, BEYOND_END);
            }
            for (index, bytes) in bytes.chunks(block).enumerate() {
                let inside = index.saturating_mul(block);
                let offset = done.saturating_add(inside as u64);
                let Some(at) = start.checked_add(offset) else {
                    return;
                };
                let range = inside..inside.saturating_add(bytes.len());
                let first = piece.file_offset.saturating_add(offset) == 0;
                self.block(at, bytes, &gaps, range, first);
            }
            if (there as u64) < length {
                return;
            }
            done = done.saturating_add(length);
        }
    }

    /// Reads one block, which is `range` of what was read with `gaps`.
    fn block(
        &mut self,
        at: ByteOffset,
        bytes: &[u8],
        gaps: &Gaps,
        range: Range<usize>,
        first: bool,
    ) {
        if !self.used.insert(at.get()) {
            let cause = corrupt("the block is used twice in one directory");
            return self.lose("directory block", at, cause);
        }
        let gap = gap_in(gaps, range.start, range.end);
        let mut checked = self.seed.map(|seed| checksum_holds(bytes, self.form, seed));
        let mended = match (gap, checked, self.seed) {
            (None, Some(false), Some(seed)) => mended_block(bytes, seed),
            _ => None,
        };
        if mended.is_some() {
            checked = Some(true);
        }
        let bytes = mended.as_deref().unwrap_or(bytes);
        if let Some(cause) = gap {
            self.lose("directory block", at, Cause::Gap(cause));
        } else if bytes.len() < self.volume.sb.block.len() {
            let cause = corrupt("the size of the directory ends inside a block");
            self.lose("directory block", at, cause);
        } else if checked == Some(false) {
            let cause = corrupt("the checksum of the directory block is wrong");
            self.lose("directory block", at, cause);
        }
        // What lies before the first gap is as good as ever.
        let readable = gaps
            .iter()
            .filter(|gap| gap.range.end > range.start)
            .map(|gap| gap.range.start.saturating_sub(range.start))
            .next()
            .unwrap_or(bytes.len())
            .min(bytes.len());
        let mut parsed = parse_entries(bytes, self.form);
        if gap.is_some() {
            parsed.entries.retain(|entry| {
                let end = entry.at.saturating_add(HEADER_BYTES);
                end.saturating_add(entry.name.len()) <= readable
            });
            parsed.fault = None;
        }
        if first && !self.names_itself(&parsed) {
            // A block that is gone says nothing of the others. One with other contents says that
            // the inode may be out of date, and its blocks in use elsewhere.
            if gap.is_some() {
                return;
            }
            self.doubtful = bytes.iter().any(|byte| *byte != 0);
            let cause = corrupt("its first block is not that of this directory");
            return self.lose("entries", at, cause);
        }
        if self.doubtful && checked != Some(true) {
            let cause = corrupt("nothing proves that the block belongs to this directory");
            return self.lose("directory block", at, cause);
        }
        self.take(parsed, at);
    }

    fn names_itself(&self, parsed: &Parsed) -> bool {
        let dot = parsed.entries.first();
        dot.is_some_and(|entry| entry.name == b"." && entry.inode == self.dir.number.0)
    }

    /// Takes over the entries of a block that lies at `at`.
    fn take(&mut self, parsed: Parsed, at: ByteOffset) {
        let place = |inside: usize| at.checked_add(inside as u64).unwrap_or(at);
        for entry in parsed.entries {
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            if !is_name(&entry.name) {
                let cause = corrupt("its name is empty or holds a slash or a zero byte");
                self.lose("directory entry", place(entry.at), cause);
                continue;
            }
            self.listing.entries.push(DirEntry {
                name: entry.name,
                inode: InodeNumber(entry.inode),
            });
        }
        if let Some((inside, what)) = parsed.fault {
            self.lose("rest of a directory block", place(inside), corrupt(what));
        }
    }

    fn lose(&mut self, what: &str, at: ByteOffset, cause: Cause) {
        let what = format!("{what} of directory inode {}", self.dir.number);
        let loss: Loss = self.volume.loss(what, at, cause);
        self.listing.losses.push(loss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    const FORM: Form = Form {
        file_type: true,
        huge_blocks: false,
    };

    fn entry(inode: u32, rec_len: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend(rec_len.to_le_bytes());
        bytes.extend([name.len() as u8, 1]);
        bytes.extend(name);
        bytes.resize(rec_len.into(), 0);
        bytes
    }

    #[test]
    fn deleted_entries_are_skipped_and_a_wrong_length_ends_the_block() {
        let mut bytes = entry(11, 12, b"a");
        bytes.extend(entry(0, 16, b"gone"));
        bytes.extend(entry(12, 16, b"there"));
        bytes.extend(entry(13, 14, b"x"));
        let parsed = parse_entries(&bytes, FORM);
        let names: Vec<&[u8]> = parsed.entries.iter().map(|e| e.name.as_slice()).collect();
        assert_eq!(names, [&b"a"[..], b"there"]);
        assert_eq!(parsed.fault.unwrap().0, 44);
    }

    #[test]
    fn without_file_types_the_length_of_a_name_has_two_bytes() {
        let form = Form {
            file_type: false,
            ..FORM
        };
        let mut bytes = entry(11, 12, b"a");
        assert!(parse_entries(&bytes, form).fault.is_some());
        bytes[7] = 0;
        assert_eq!(parse_entries(&bytes, form).entries[0].name, b"a");
    }

    #[test]
    fn blocks_of_64_kib_have_lengths_of_their_own() {
        let form = Form {
            huge_blocks: true,
            ..FORM
        };
        assert_eq!(rec_len(0, form, 65536), 65536);
        assert_eq!(rec_len(u16::MAX, form, 65536), 65536);
        assert_eq!(rec_len(0xFFF4, form, 65536), 0xFFF4);
        assert_eq!(rec_len(0xFFF4, FORM, 4096), 0xFFF4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            file_type in any::<bool>(),
            huge_blocks in any::<bool>(),
        ) {
            let form = Form { file_type, huge_blocks };
            let parsed = parse_entries(&bytes, form);
            assert!(parsed.entries.len() * SHORTEST_ENTRY <= bytes.len());
            let _ = checksum_holds(&bytes, form, 0);
        }

        #[test]
        fn entries_come_back_as_they_were_written(
            names in prop::collection::vec(prop::collection::vec(1..=255_u8, 1..60), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (number, name) in names.iter().enumerate() {
                let rec_len = (8 + name.len()).next_multiple_of(4) as u16;
                bytes.extend(entry(number as u32 + 1, rec_len, name));
            }
            let parsed = parse_entries(&bytes, FORM);
            assert!(parsed.fault.is_none());
            let got: Vec<_> = parsed.entries.into_iter().map(|e| e.name).collect();
            assert_eq!(got, names);
        }
    }
}
