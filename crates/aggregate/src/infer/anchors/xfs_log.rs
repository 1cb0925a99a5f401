//! What the log of XFS says of places: version 4 has no addresses in its blocks, but its log
//! keeps copies of inodes and pieces of blocks, and says where they belong.
//!
//! Source: the kernel's `fs/xfs/libxfs/xfs_log_format.h` and `xfs_format.h`, by their names.
//! Items are written in the host's order of bytes: only little-endian hosts are read.
//!
//! Items are found without the records that hold them, so a record cut by a chunk's end loses
//! only what lies behind it. The first four bytes of each sector of the log are its cycle number
//! and not contents; what needs them is not used.

use std::collections::{BTreeSet, HashMap};

use evidence::Fields;

use super::Logs;

const SECTOR: usize = 512;

/// `xlog_op_header`: `oh_tid`, `oh_len`, `oh_clientid`, `oh_flags`, `oh_res2`.
const OP_HEADER: usize = 12;
/// `XFS_TRANSACTION`.
const CLIENT: u8 = 0x69;

/// `XFS_LI_INODE` and `XFS_LI_BUF`.
const ITEM_INODE: u16 = 0x123B;
const ITEM_BUFFER: u16 = 0x123C;

/// `sizeof(struct xfs_inode_log_format)`, also as 32-bit hosts write it.
const INODE_FORMAT: usize = 56;
const INODE_FORMAT_32: usize = 52;
/// A logged inode up to `di_next_unlinked`.
const LOGGED_INODE: usize = 96;
/// `XFS_DINODE_MAGIC`.
const INODE: u16 = 0x494E;
/// Inodes begin at multiples of this.
const INODE_STEP: usize = 256;

/// `XFS_BLF_CHUNK`: the unit in which changes of buffers are logged.
pub(super) const PIECE: usize = 128;
/// `XFS_BLF_INODE_BUF` and `XFS_BLF_CANCEL`: only links of inodes are valid, or nothing.
const BUFFER_NOT_CONTENTS: u16 = 0x3;
/// `XFS_MAX_BLOCKSIZE` in pieces: larger buffers are not logged.
const MOST_PIECES: usize = 65536 / PIECE;

/// Fewer bytes that are not zero tell nothing about where a piece belongs.
const LEAST_BYTES: usize = 32;

/// A hash of something in the log that should be found once outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Content {
    Inode(u64),
    Piece(u64),
}

/// Something in the log with the place where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    /// Where its description begins, and where its contents end: on the device.
    pub(super) from: u64,
    pub(super) to: u64,
    /// Where in the file system it belongs.
    pub(super) address: u64,
    pub(super) content: Content,
}

/// `h_fs_uuid` if a record of the log begins here (`xlog_rec_header`).
pub(super) fn record(bytes: Fields<'_>) -> Option<[u8; 16]> {
    let header = bytes.be_u32(0)? == 0xFEED_BABE && matches!(bytes.be_u32(8)?, 1 | 2);
    let sound = header && bytes.be_u32(12)? <= 1 << 20 && bytes.be_u32(300)? <= 4;
    sound.then_some(bytes.array(304)?)
}

/// An inode that the log names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where the log does so, on the device.
    pub(super) from: u64,
    pub(super) number: u64,
    /// Where in the file system it lies.
    pub(super) address: u64,
}

/// The items in `bytes`, which begin on a device at `start`, and the inodes that are `named`.
pub(super) fn items(start: u64, bytes: &[u8], found: &mut Vec<Item>, named: &mut Vec<Named>) {
    for (number, word) in bytes.chunks_exact(4).enumerate() {
        let &[kind, 0x12, count, 0] = word else {
            continue;
        };
        let kind = u16::from_le_bytes([kind, 0x12]);
        if !(2..=16).contains(&count) || !matches!(kind, ITEM_INODE | ITEM_BUFFER) {
            continue;
        }
        let at = number.saturating_mul(4);
        let Some(header) = at.checked_sub(OP_HEADER) else {
            continue;
        };
        let region = Regions::new(start, bytes, header);
        match kind {
            ITEM_INODE => found.extend(inode(region, named)),
            // What stands before a break in a buffer's regions is kept.
            _ => _ = buffer(region, found),
        }
    }
}

/// The regions of an item, one after the other, each behind an `xlog_op_header`.
struct Regions<'a> {
    start: u64,
    bytes: &'a [u8],
    from: usize,
    next: usize,
    tid: Option<u32>,
}

/// A region: where its contents lie in the bytes.
struct Region<'a> {
    at: usize,
    fields: Fields<'a>,
}

impl<'a> Regions<'a> {
    const fn new(start: u64, bytes: &'a [u8], header: usize) -> Self {
        Self {
            start,
            bytes,
            from: header,
            next: header,
            tid: None,
        }
    }

    /// The next region of the same transaction; `None` where it does not go on whole.
    fn region(&mut self) -> Option<Region<'a>> {
        let header = Fields::new(self.bytes).from(self.next)?;
        let tid = header.be_u32(0).filter(|_| !self.is_torn(self.next, 4));
        let length = header.be_u32(4)?;
        let client = header.u8(8)?;
        let (len_lost, client_lost) = (
            self.is_torn(self.next.checked_add(4)?, 4),
            self.is_torn(self.next.checked_add(8)?, 4),
        );
        let same = match (self.tid, tid) {
            (Some(first), Some(this)) => first == this,
            _ => true,
        };
        // Flags of a region that is continued elsewhere, or from there.
        let whole = header.u8(9)? & 0xC == 0 && header.le_u16(10)? == 0 && client == CLIENT;
        if len_lost || !same || !(client_lost || whole) || length % 4 != 0 {
            return None;
        }
        self.tid = self.tid.or(tid);
        let at = self.next.checked_add(OP_HEADER)?;
        let length = usize::try_from(length).ok()?;
        let contents = header.slice(OP_HEADER, length)?;
        self.next = at.checked_add(length)?;
        Some(Region {
            at,
            fields: Fields::new(contents),
        })
    }

    /// Whether a cycle number lies in these bytes.
    fn is_torn(&self, at: usize, length: usize) -> bool {
        // Windows begin at sectors.
        let first = at % SECTOR;
        first < 4 || first.saturating_add(length) > SECTOR
    }

    fn place(&self, at: usize) -> u64 {
        self.start.saturating_add(at as u64)
    }

    fn item(&self, to: usize, address: u64, content: Content) -> Item {
        Item {
            from: self.place(self.from),
            to: self.place(to),
            address,
            content,
        }
    }
}

/// An inode: `xfs_inode_log_format`, and the core in the next region.
fn inode(mut regions: Regions<'_>, named: &mut Vec<Named>) -> Option<Item> {
    let format = regions.region()?;
    // ilf_ino, ilf_blkno, ilf_boffset.
    let (number, block, offset) = match format.fields.bytes().len() {
        INODE_FORMAT => (16_usize, 40_usize, 52_usize),
        INODE_FORMAT_32 => (12, 36, 48),
        _ => return None,
    };
    let torn = |at: usize, length: usize| {
        let at = format.at.saturating_add(at);
        regions.is_torn(at, length)
    };
    if torn(block, 8) || torn(offset, 4) {
        return None;
    }
    let number = (!torn(number, 8)).then(|| format.fields.le_u64(number));
    let block = format.fields.le_u64(block)?;
    let offset = u64::from(format.fields.le_u32(offset)?);
    let sound = offset.is_multiple_of(INODE_STEP as u64) && offset < 1 << 20;
    sound.then_some(())?;
    let address = block.checked_mul(SECTOR as u64)?.checked_add(offset)?;
    named.extend(number.flatten().map(|number| Named {
        from: regions.place(regions.from),
        number,
        address,
    }));
    let core = regions.region()?;
    let bytes = core.fields.slice(0, LOGGED_INODE)?;
    let used = |range: &[usize; 2]| {
        let at = core.at.saturating_add(range[0]);
        regions.is_torn(at, range[1])
    };
    if KEY_FIELDS.iter().any(used) {
        return None;
    }
    let key = inode_key(&big_endian(bytes)?)?;
    let to = core.at.saturating_add(LOGGED_INODE);
    Some(regions.item(to, address, Content::Inode(key)))
}

/// What tells an inode apart, as offset and length: `di_mode`; `di_version`, `di_format`;
/// `di_uid`, `di_gid`, `di_nlink`; `di_mtime`, `di_ctime`, `di_size`, `di_nblocks`, `di_extsize`,
/// `di_nextents`, `di_anextents`, `di_forkoff`; `di_gen`. A whole chunk of inodes begins with
/// one `di_gen`, so that alone would not do.
const KEY_FIELDS: [[usize; 2]; 5] = [[2, 2], [4, 2], [8, 12], [40, 43], [92, 4]];

/// Where the numbers of an inode are, as offset and width, that are more than a byte.
const NUMBERS: [[usize; 2]; 20] = [
    [0, 2],
    [2, 2],
    [8, 4],
    [12, 4],
    [16, 4],
    [20, 2],
    [22, 2],
    [32, 4],
    [36, 4],
    [40, 4],
    [44, 4],
    [48, 4],
    [52, 4],
    [56, 8],
    [64, 8],
    [72, 4],
    [76, 4],
    [80, 2],
    [90, 2],
    [92, 4],
];

/// A logged inode in the order of bytes of the disk.
fn big_endian(logged: &[u8]) -> Option<[u8; LOGGED_INODE]> {
    let mut bytes: [u8; LOGGED_INODE] = logged.try_into().ok()?;
    for [at, width] in NUMBERS {
        let number = bytes.get_mut(at..at.checked_add(width)?)?;
        number.reverse();
    }
    Some(bytes)
}

/// The key of an inode of version 1 or 2 that is in use.
pub(super) fn inode_key(disk: &[u8]) -> Option<u64> {
    let fields = Fields::new(disk);
    let sound = fields.be_u16(0)? == INODE
        && fields.be_u16(2)? != 0
        && matches!(fields.u8(4)?, 1 | 2)
        && fields.u8(5)? <= 4;
    sound.then_some(())?;
    KEY_FIELDS.iter().try_fold(0, |key, [at, length]| {
        Some(mixed(key, fields.slice(*at, *length)?))
    })
}

/// A buffer: `xfs_buf_log_format`, and a region for each run of pieces that changed.
fn buffer(mut regions: Regions<'_>, found: &mut Vec<Item>) -> Option<()> {
    let format = regions.region()?;
    let length = format.fields.bytes().len();
    // blf_flags, blf_blkno, blf_map_size, blf_data_map. A long map may lose a word.
    let flags = format.fields.le_u16(4)?;
    let block = format.fields.le_u64(8)?;
    let words = usize::try_from(format.fields.le_u32(16)?).ok()?;
    let map = format.fields.slice(20, words.checked_mul(4)?)?;
    if regions.is_torn(format.at, length)
        || words > MOST_PIECES.div_ceil(32)
        || flags & BUFFER_NOT_CONTENTS != 0
    {
        return None;
    }
    let start = block.checked_mul(SECTOR as u64)?;
    let bits = map
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    let changed: Vec<usize> = (0..)
        .zip(bits)
        .filter(|(_, bit)| *bit)
        .map(|(n, _)| n)
        .collect();
    for run in changed.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let region = regions.region()?;
        let bytes = region.fields.bytes();
        if bytes.len() != run.len().checked_mul(PIECE)? {
            return None;
        }
        for ((content, piece), number) in bytes.chunks_exact(PIECE).zip(run).zip(0_usize..) {
            let at = region.at.checked_add(number.checked_mul(PIECE)?)?;
            let address = start.checked_add(piece.checked_mul(PIECE)? as u64)?;
            if let Some(key) = piece_key(content).filter(|_| !regions.is_torn(at, PIECE)) {
                let to = at.saturating_add(PIECE);
                found.push(regions.item(to, address, Content::Piece(key)));
            }
        }
    }
    Some(())
}

/// The key of a piece that has contents enough to be told apart.
pub(super) fn piece_key(content: &[u8]) -> Option<u64> {
    let (words, _) = content.as_chunks::<8>();
    // Most pieces are ruled out here, without counting each byte.
    let empty = words.iter().filter(|word| **word == [0; 8]).count();
    let first = content.first().copied();
    if empty > 12 || content.iter().all(|byte| Some(*byte) == first) {
        return None;
    }
    let bytes = content.iter().filter(|byte| **byte != 0).count();
    (bytes >= LEAST_BYTES).then(|| mixed(0, content))
}

/// Mixes bytes into a hash, eight at a time. It need not resist an adversary: whoever can
/// write the disk can as well write anchors.
fn mixed(seed: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(seed, |state, chunk| {
        let word = chunk
            .iter()
            .fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let product = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        product ^ product >> 29
    })
}

/// The number of the sector of a place.
const fn sector(at: u64) -> u64 {
    at >> SECTOR.trailing_zeros()
}

/// Where the contents in `logs` lie outside of the log: each place once, `None` for contents
/// that lie at several.
pub(super) struct Homes<'a> {
    wanted: HashMap<Content, Option<(usize, &'a Item)>>,
    inside: BTreeSet<(usize, u64)>,
    places: HashMap<Content, Option<(usize, u64)>>,
}

impl<'a> Homes<'a> {
    pub(super) fn new(logs: &'a Logs) -> Self {
        let mut wanted: HashMap<Content, Option<(usize, &Item)>> = HashMap::new();
        let mut inside = BTreeSet::new();
        for (device, item) in &logs.items {
            let sectors = sector(item.from)..=sector(item.to);
            inside.extend(sectors.map(|sector| (*device, sector)));
            // One content that belongs at two places says nothing.
            wanted
                .entry(item.content)
                .and_modify(|known| *known = known.filter(|(_, k)| k.address == item.address))
                .or_insert(Some((*device, item)));
        }
        Self {
            wanted,
            inside,
            places: HashMap::new(),
        }
    }

    /// Looks for the contents in a window of a device.
    pub(super) fn look(&mut self, device: usize, start: u64, bytes: &[u8]) {
        for (number, piece) in bytes.chunks_exact(PIECE).enumerate() {
            let inside = number.saturating_mul(PIECE);
            let at = start.saturating_add(inside as u64);
            if let Some(key) = piece_key(piece) {
                self.note(Content::Piece(key), device, at);
            }
            let inode = piece.first_chunk() == Some(&INODE.to_be_bytes());
            if inode
                && inside.is_multiple_of(INODE_STEP)
                && let Some(key) = inode_key(piece)
            {
                self.note(Content::Inode(key), device, at);
            }
        }
    }

    fn note(&mut self, content: Content, device: usize, at: u64) {
        let Some(Some((_, item))) = self.wanted.get(&content) else {
            return;
        };
        // Sectors are whole wherever they lie.
        let aligned = at.abs_diff(item.address).is_multiple_of(SECTOR as u64);
        if !aligned || self.inside.contains(&(device, sector(at))) {
            return;
        }
        self.places
            .entry(content)
            .and_modify(|place| *place = place.filter(|p| *p == (device, at)))
            .or_insert(Some((device, at)));
    }

    /// The items whose contents lie at one place: the device of the log, the item, the place.
    pub(super) fn found(self) -> impl Iterator<Item = (usize, &'a Item, usize, u64)> {
        let wanted = self.wanted;
        self.places.into_iter().filter_map(move |(content, place)| {
            let (of, item) = (*wanted.get(&content)?)?;
            let (device, at) = place?;
            Some((of, item, device, at))
        })
    }
}

#[cfg(test)]
mod tests;
