//! What a log says of each inode and each block of metadata, last change last.

use std::collections::{BTreeMap, HashMap};

use evidence::Fields;

use super::items::{self, BufferItem, CHUNK, ILOG_DBROOT, InodeItem, Item};
use super::records::Transaction;
use crate::xfs::inode::{LITERAL_V2, LITERAL_V3, XFS_DINODE_MAGIC};

/// Metadata blocks are no longer than this.
const MAX_BUFFER: usize = 65536;
/// `XFS_BTREE_LBLOCK_LEN`, `XFS_BTREE_LBLOCK_CRC_LEN`: the header of a root in memory.
const ROOT_HEADER_V4: usize = 24;
const ROOT_HEADER_V5: usize = 72;
/// `struct xfs_bmdr_block`: the header of a root on the disk.
const ROOT_HEADER: usize = 4;
/// `XFS_DIFLAG2_BIGTIME`.
const DIFLAG2_BIGTIME: u64 = 0x8;

/// An inode as the log leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// The LSN of the change.
    pub(super) lsn: u64,
    /// The inode as it would stand on the disk; its checksum is not made.
    pub(super) raw: Vec<u8>,
    /// Whether the data fork in `raw` belongs to the core there.
    pub(super) fork_known: bool,
    /// Whether it comes from a whole transaction; else changes before it may be missing.
    pub(super) whole: bool,
}

impl Version {
    pub(super) fn mode(&self) -> u16 {
        Fields::new(&self.raw).be_u16(2).unwrap_or(0)
    }

    /// `di_gen`: another one, another file.
    pub(super) fn generation(&self) -> u32 {
        generation(&self.raw)
    }

    fn size(&self) -> u64 {
        Fields::new(&self.raw).be_u64(56).unwrap_or(0)
    }

    pub(super) fn links(&self) -> u32 {
        Fields::new(&self.raw).be_u32(16).unwrap_or(0)
    }

    /// Whether its contents can be read from it.
    fn is_full(&self) -> bool {
        self.mode() != 0 && self.fork_known && self.size() > 0
    }
}

/// `di_gen` of an inode.
pub(super) fn generation(raw: &[u8]) -> u32 {
    Fields::new(raw).be_u32(92).unwrap_or(0)
}

/// `di_nblocks`, `di_nextents` and `di_format` of an inode; of one that holds its contents itself
/// the size, too.
fn counts(raw: &[u8]) -> (Option<u64>, Option<u32>, Option<u8>, Option<u64>) {
    let fields = Fields::new(raw);
    let local = fields.u8(5) == Some(1);
    let size = fields.be_u64(56).filter(|_| local);
    (fields.be_u64(64), fields.be_u32(76), fields.u8(5), size)
}

/// All that a log says of one inode.
#[derive(Clone, Debug)]
pub(super) struct LoggedInode {
    pub(super) now: Version,
    /// The last state in which it had contents.
    pub(super) full: Option<Version>,
}

impl LoggedInode {
    /// The state before it was deleted or used for another file.
    pub(super) fn former(&self) -> Option<&Version> {
        let full = self.full.as_ref()?;
        let gone = self.now.mode() == 0
            || self.now.generation() != full.generation()
            || (self.now.links() == 0 && !self.now.is_full());
        gone.then_some(full)
    }
}

/// A block as the log leaves it: the parts that it was changed in.
#[derive(Clone, Debug)]
pub(super) struct LoggedBuffer {
    pub(super) lsn: u64,
    pub(super) length: usize,
    /// Whether all its changes come from whole transactions.
    pub(super) whole: bool,
    /// Its bytes by chunk.
    pub(super) chunks: BTreeMap<usize, Box<[u8]>>,
}

/// Everything that a log says.
#[derive(Default)]
pub(super) struct Logged {
    pub(super) inodes: BTreeMap<u64, LoggedInode>,
    /// By their addresses in units of 512 bytes.
    pub(super) buffers: HashMap<u64, LoggedBuffer>,
}

impl Logged {
    /// Adds what `transaction` changed; `disk` gives an inode as it stands on the disk, `size` is
    /// the length of inodes.
    pub(super) fn take(
        &mut self,
        transaction: &Transaction,
        size: usize,
        disk: &impl Fn(u64) -> Option<Vec<u8>>,
    ) {
        for item in items::items(transaction) {
            match item {
                Item::Inode(item) => self.inode(&item, transaction, size, disk),
                Item::Buffer(item) => self.buffer(&item, transaction),
            }
        }
    }

    fn inode(
        &mut self,
        item: &InodeItem<'_>,
        transaction: &Transaction,
        size: usize,
        disk: &impl Fn(u64) -> Option<Vec<u8>>,
    ) {
        let Some(core) = core(item.core) else {
            return;
        };
        let before = self.inodes.get(&item.ino);
        let base = match before {
            Some(logged) => Some((logged.now.raw.clone(), logged.now.fork_known)),
            None => disk(item.ino).map(|raw| {
                let used = Fields::new(&raw).be_u16(2) != Some(0);
                (raw, used)
            }),
        };
        let base = base.filter(|(raw, _)| generation(raw) == generation(&core));
        // A change of the fork that is missing shows in the counts of extents and blocks.
        let base = base.map(|(raw, known)| {
            let same = counts(&raw) == counts(&core);
            (raw, known && same)
        });
        let Some(now) = version(item, &core, transaction, size, base) else {
            return;
        };
        let full = if now.is_full() {
            Some(now.clone())
        } else {
            before.and_then(|logged| logged.full.clone())
        };
        self.inodes.insert(item.ino, LoggedInode { now, full });
    }

    fn buffer(&mut self, item: &BufferItem<'_>, transaction: &Transaction) {
        let lsn = transaction.lsn;
        if item.cancel {
            self.buffers.remove(&item.blkno);
            return;
        }
        if item.length > MAX_BUFFER || item.parts.is_empty() {
            return;
        }
        let buffer = self.buffers.entry(item.blkno).or_insert(LoggedBuffer {
            lsn,
            length: item.length,
            whole: true,
            chunks: BTreeMap::new(),
        });
        buffer.whole &= transaction.whole;
        if buffer.length != item.length {
            // Another use of the same place.
            buffer.chunks.clear();
            buffer.length = item.length;
        }
        buffer.lsn = lsn;
        for (at, part) in &item.parts {
            let first = at / CHUNK;
            for (index, chunk) in part.chunks(CHUNK).enumerate() {
                let number = first.saturating_add(index);
                buffer.chunks.insert(number, chunk.into());
            }
        }
    }
}

/// The inode that `item` makes of `base`, the state before it of the same file and whether its
/// fork is known.
fn version(
    item: &InodeItem<'_>,
    core: &[u8],
    transaction: &Transaction,
    size: usize,
    base: Option<(Vec<u8>, bool)>,
) -> Option<Version> {
    let fields = Fields::new(core);
    let (mut raw, known) = base.unwrap_or_default();
    raw.resize(size, 0);
    raw.get_mut(..core.len())?.copy_from_slice(core);
    let is_empty = fields.be_u32(76) == Some(0) && fields.u8(5) == Some(2);
    let mut fork_known = known || is_empty;
    if let Some(data) = item.data {
        let fork_at = if fields.u8(4)? == 3 {
            LITERAL_V3
        } else {
            LITERAL_V2
        };
        let forkoff = usize::from(fields.u8(82)?).checked_mul(8)?;
        let end = match forkoff {
            0 => size,
            _ => fork_at.checked_add(forkoff)?.min(size),
        };
        let fork = raw.get_mut(fork_at..end)?;
        fork_known = if item.ilf_fields & ILOG_DBROOT != 0 {
            root(data, fork, fields.u8(4)? == 3).is_some()
        } else {
            let room = data.len().min(fork.len());
            let target = fork.get_mut(..room)?;
            target.copy_from_slice(data.get(..room)?);
            true
        };
    }
    Some(Version {
        lsn: transaction.lsn,
        raw,
        fork_known,
        whole: transaction.whole,
    })
}

/// Writes the root of an extent tree into `fork` as it stands on the disk: in memory it has the
/// header of a block (`xfs_bmbt_to_bmdr`).
fn root(data: &[u8], fork: &mut [u8], crc: bool) -> Option<()> {
    let header = if crc { ROOT_HEADER_V5 } else { ROOT_HEADER_V4 };
    let from = Fields::new(data);
    let count = usize::from(from.be_u16(6)?);
    let room = |length: usize, header: usize| Some(length.checked_sub(header)? / 16);
    let (before, after) = (room(data.len(), header)?, room(fork.len(), ROOT_HEADER)?);
    if count > before || count > after {
        return None;
    }
    let list = count.checked_mul(8)?;
    let mut put = |at: usize, bytes: &[u8]| {
        let target = fork.get_mut(at..at.checked_add(bytes.len())?)?;
        target.copy_from_slice(bytes);
        Some(())
    };
    put(0, from.slice(4, 4)?)?;
    put(ROOT_HEADER, from.slice(header, list)?)?;
    let pointers = header.checked_add(before.checked_mul(8)?)?;
    let target = ROOT_HEADER.checked_add(after.checked_mul(8)?)?;
    put(target, from.slice(pointers, list)?)
}

/// The core of an inode as it stands on the disk, out of `struct xfs_log_dinode`.
fn core(log: &[u8]) -> Option<Vec<u8>> {
    let fields = Fields::new(log);
    if fields.le_u16(0)? != XFS_DINODE_MAGIC {
        return None;
    }
    let v3 = fields.u8(4)? == 3;
    let length = if v3 { LITERAL_V3 } else { 96 };
    let mut core = log.get(..length)?.to_vec();
    let bigtime = v3 && fields.le_u64(120)? & DIFLAG2_BIGTIME != 0;
    let mut swap = |at: usize, width: usize| {
        if let Some(number) = core.get_mut(at..at.saturating_add(width)) {
            number.reverse();
        }
    };
    for at in [0, 2, 6, 20, 22, 80, 88, 90] {
        swap(at, 2);
    }
    for at in [8, 12, 16, 72, 76, 84, 92] {
        swap(at, 4);
    }
    for at in [56, 64] {
        swap(at, 8);
    }
    let times: &[usize] = if v3 {
        &[32, 40, 48, 144]
    } else {
        &[32, 40, 48]
    };
    for at in times {
        if bigtime {
            swap(*at, 8);
        } else {
            swap(*at, 4);
            swap(at.saturating_add(4), 4);
        }
    }
    if v3 {
        for at in [24, 104, 112, 120, 152] {
            swap(at, 8);
        }
        swap(128, 4);
    } else {
        swap(30, 2);
    }
    Some(core)
}
