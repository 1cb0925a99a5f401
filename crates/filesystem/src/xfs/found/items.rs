//! Log items: what a transaction changed.
//!
//! Kernel: `struct xfs_inode_log_format`, `struct xfs_log_dinode`, `struct xfs_buf_log_format` in
//! `libxfs/xfs_log_format.h`. Items are written in the byte order of the machine; only those of
//! little-endian ones are read. Forks and buffers are as they stand on the disk.

use evidence::Fields;

use super::records::Transaction;

/// `XFS_LI_INODE`, `XFS_LI_BUF`.
const XFS_LI_INODE: u16 = 0x123B;
const XFS_LI_BUF: u16 = 0x123C;
/// `XFS_TRANS_HEADER_MAGIC`: `TRAN`.
const TRANS_HEADER_MAGIC: u32 = 0x5452_414E;
/// The types of items that there are: the first region of each begins with one.
const ITEM_TYPES: std::ops::RangeInclusive<u16> = 0x1236..=0x1250;
/// `XFS_BLF_CHUNK`: a bit of a buffer's map is so many bytes.
pub(super) const CHUNK: usize = 128;
/// `XFS_BLF_INODE_BUF`, `XFS_BLF_CANCEL`, of `blf_flags`.
const BLF_INODE_BUF: u16 = 0x1;
const BLF_CANCEL: u16 = 0x2;
/// `XFS_ILOG_DDATA`, `_DEXT`, `_DBROOT`: which form of the data fork follows.
const ILOG_DDATA: u32 = 0x02;
const ILOG_DEXT: u32 = 0x04;
pub(super) const ILOG_DBROOT: u32 = 0x08;

/// A change of an inode.
pub(super) struct InodeItem<'a> {
    pub(super) ino: u64,
    pub(super) ilf_fields: u32,
    /// `struct xfs_log_dinode`, in the order of the machine.
    pub(super) core: &'a [u8],
    /// The data fork, if it was changed.
    pub(super) data: Option<&'a [u8]>,
}

/// A change of a block of metadata.
pub(super) struct BufferItem<'a> {
    /// Where it lies, in units of 512 bytes.
    pub(super) blkno: u64,
    pub(super) length: usize,
    /// It was freed: what it held before must not be written any more.
    pub(super) cancel: bool,
    /// What was written, by offset.
    pub(super) parts: Vec<(usize, &'a [u8])>,
}

/// One change.
pub(super) enum Item<'a> {
    Inode(InodeItem<'a>),
    Buffer(BufferItem<'a>),
}

/// The changes of `transaction` that are understood, in order.
pub(super) fn items(transaction: &Transaction) -> Vec<Item<'_>> {
    let mut all = Vec::new();
    let mut regions = transaction.regions.iter().map(Vec::as_slice).peekable();
    let is_header = |region: &&[u8]| Fields::new(region).le_u32(0) == Some(TRANS_HEADER_MAGIC);
    regions.next_if(is_header);
    while let Some(first) = regions.next() {
        let fields = Fields::new(first);
        let kind = fields.le_u16(0).filter(|kind| ITEM_TYPES.contains(kind));
        let (Some(kind), Some(count)) = (kind, fields.le_u16(2)) else {
            // Out of step. In a part of a transaction the first regions belong to an item whose
            // start is missing; nothing in a whole one is to be trusted any more.
            if transaction.whole {
                break;
            }
            continue;
        };
        // What is taken too much for one item is only looked at again.
        let rest: Vec<&[u8]> = regions
            .clone()
            .take(usize::from(count).saturating_sub(1))
            .collect();
        let item = match kind {
            XFS_LI_INODE => inode(fields, &rest, count).map(Item::Inode),
            XFS_LI_BUF => buffer(fields, &rest, count).map(Item::Buffer),
            _ => None,
        };
        if item.is_some() || transaction.whole {
            for _ in &rest {
                regions.next();
            }
        }
        all.extend(item);
    }
    all
}

/// `struct xfs_inode_log_format` and its regions.
fn inode<'a>(fields: Fields<'_>, rest: &[&'a [u8]], count: u16) -> Option<InodeItem<'a>> {
    if rest.len().checked_add(1) != Some(count.into()) {
        return None;
    }
    let ilf_fields = fields.le_u32(4)?;
    let ino_at = match fields.bytes().len() {
        // `struct xfs_inode_log_format_32` has no padding before the number.
        52 => 12,
        _ => 16,
    };
    let (core, forks) = rest.split_first()?;
    let has_data = ilf_fields & (ILOG_DDATA | ILOG_DEXT | ILOG_DBROOT) != 0;
    let size = usize::from(fields.le_u16(10)?);
    let data = forks.first().copied().filter(|_| has_data);
    // A fork that became empty is named and has no region.
    let data = match (has_data, size) {
        (true, 0) => Some(&[][..]),
        _ => data,
    };
    Some(InodeItem {
        ino: fields.le_u64(ino_at)?,
        ilf_fields,
        core,
        data,
    })
}

/// `struct xfs_buf_log_format` and its regions.
fn buffer<'a>(fields: Fields<'_>, rest: &[&'a [u8]], count: u16) -> Option<BufferItem<'a>> {
    if rest.len().checked_add(1) != Some(count.into()) {
        return None;
    }
    let blf_flags = fields.le_u16(4)?;
    let length = usize::from(fields.le_u16(6)?).checked_mul(512)?;
    let mut item = BufferItem {
        blkno: fields.le_u64(8)?,
        length,
        cancel: blf_flags & BLF_CANCEL != 0,
        parts: Vec::new(),
    };
    // Of inode buffers only the list of unlinked inodes is logged.
    if item.cancel || blf_flags & BLF_INODE_BUF != 0 {
        return item.cancel.then_some(item);
    }
    let words = usize::try_from(fields.le_u32(16)?).ok()?;
    let map = fields.slice(20, words.checked_mul(4)?)?;
    let is_set = |bit: usize| {
        let byte = map.get(bit / 8).copied().unwrap_or(0);
        u32::try_from(bit % 8).is_ok_and(|bit| byte.checked_shr(bit).unwrap_or(0) & 1 == 1)
    };
    let bits = map.len().saturating_mul(8);
    let mut bit = 0;
    for region in rest {
        while bit < bits && !is_set(bit) {
            bit = bit.saturating_add(1);
        }
        let start = bit;
        // A run may be cut into regions; each is as long as it is.
        let most = start.saturating_add(region.len().div_ceil(CHUNK));
        while bit < bits && bit < most && is_set(bit) {
            bit = bit.saturating_add(1);
        }
        let at = start.checked_mul(CHUNK)?;
        let room = bit.saturating_sub(start).saturating_mul(CHUNK);
        let part = region.get(..region.len().min(room))?;
        if at.checked_add(part.len())? > length {
            return None;
        }
        item.parts.push((at, part));
    }
    Some(item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer_format(map: u32, regions: u16) -> Vec<u8> {
        let mut bytes = XFS_LI_BUF.to_le_bytes().to_vec();
        bytes.extend(regions.to_le_bytes());
        bytes.extend(0_u16.to_le_bytes());
        bytes.extend(8_u16.to_le_bytes());
        bytes.extend(4711_u64.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(map.to_le_bytes());
        bytes
    }

    #[test]
    fn runs_of_a_buffer_lie_where_its_map_says() {
        let regions = vec![buffer_format(0b1100_0001, 3), vec![1; 128], vec![2; 256]];
        let transaction = Transaction {
            lsn: 1,
            regions,
            ..Transaction::default()
        };
        let all = items(&transaction);
        let [Item::Buffer(item)] = all.as_slice() else {
            panic!("{} items", all.len());
        };
        assert_eq!((item.blkno, item.length), (4711, 4096));
        let parts: Vec<(usize, usize)> = item.parts.iter().map(|(at, p)| (*at, p.len())).collect();
        assert_eq!(parts, [(0, 128), (768, 256)]);
    }

    proptest! {
        #[test]
        fn any_regions_are_read_without_panic(
            mut regions in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            kinds in prop::collection::vec((0_u16..4, 0_u16..5), 0..6),
        ) {
            for (region, (kind, count)) in regions.iter_mut().zip(kinds) {
                if let Some(head) = region.get_mut(..4) {
                    head[..2].copy_from_slice(&(XFS_LI_INODE + kind).to_le_bytes());
                    head[2..].copy_from_slice(&count.to_le_bytes());
                }
            }
            for whole in [false, true] {
                let regions = regions.clone();
                let _ = items(&Transaction { regions, whole, ..Transaction::default() });
            }
        }
    }
}
