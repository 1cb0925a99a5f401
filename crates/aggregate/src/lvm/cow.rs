//! The store of a snapshot: which chunks of the origin were saved, or written to the snapshot.
//!
//! The store is cut into chunks. The first holds the header; then come areas: a chunk of
//! exceptions, and the chunks that these speak of. An exception says which chunk of the origin
//! which chunk of the store stands for; the first one that names chunk 0 of the store, where the
//! header is, ends the list. All numbers are little endian.
//!
//! Source: the kernel's `drivers/md/dm-snap-persistent.c` (`struct disk_header`, `struct
//! disk_exception`) and Documentation/admin-guide/device-mapper/snapshot.rst.

use std::num::NonZeroU64;

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use crate::chunks::ChunkMap;

/// `SNAP_MAGIC`: "SnAp".
const SNAP_MAGIC: u32 = 0x7041_6E53;
/// `SNAPSHOT_DISK_VERSION`.
const VERSION: u32 = 1;
/// The length of a `struct disk_exception`.
const EXCEPTION_BYTES: usize = 16;
/// LVM makes chunks of 4 to 512 KiB.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 512..=16 << 20;

/// What a store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    /// `chunk_size` in bytes.
    pub(crate) chunk_bytes: NonZeroU64,
    /// Which chunks of the snapshot are on the store.
    pub(crate) map: ChunkMap,
    /// Why not all of them may be listed: then what is not listed may have been changed since.
    pub(crate) incomplete: Option<&'static str>,
}

impl Store {
    /// Reads the store of a snapshot; `None` if there is no header.
    pub(crate) fn read(store: &dyn ReadAt) -> Option<Self> {
        let header = store.read_whole(ByteOffset::ZERO, 16)?;
        let fields = Fields::new(&header);
        if fields.le_u32(0)? != SNAP_MAGIC || fields.le_u32(8)? != VERSION {
            return None;
        }
        let is_valid = fields.le_u32(4)? != 0;
        let chunk_bytes = u64::from(fields.le_u32(12)?).checked_mul(SECTOR_BYTES)?;
        if !CHUNK_BYTES.contains(&chunk_bytes) || !chunk_bytes.is_power_of_two() {
            return None;
        }
        let (pairs, ended) = exceptions(store, chunk_bytes);
        let incomplete = match (is_valid, ended) {
            (false, _) => {
                Some("it ran over, so what was written to its origin since was not saved")
            }
            (true, false) => Some("its list of saved chunks cannot be read to the end"),
            (true, true) => None,
        };
        let lost = incomplete.map(|_| 0..u64::MAX).into_iter().collect();
        Some(Self {
            chunk_bytes: NonZeroU64::new(chunk_bytes)?,
            map: ChunkMap::new(pairs, lost),
            incomplete,
        })
    }
}

/// The exceptions of all areas, as chunks of the origin and of the store, and whether the list was
/// read to its end.
fn exceptions(store: &dyn ReadAt, chunk_bytes: u64) -> (Vec<(u64, u64)>, bool) {
    let mut pairs = Vec::new();
    let chunks = store.len().checked_div(chunk_bytes).unwrap_or(0);
    let Ok(length) = usize::try_from(chunk_bytes) else {
        return (pairs, false);
    };
    let of_area = (length / EXCEPTION_BYTES) as u64;
    // `NUM_SNAPSHOT_HDR_CHUNKS` is one; an area is its exceptions and as many chunks.
    let mut area = 1_u64;
    while area < chunks {
        let at = area.checked_mul(chunk_bytes).map(ByteOffset::new);
        let Some(bytes) = at.and_then(|at| store.read_whole(at, length)) else {
            return (pairs, false);
        };
        for exception in bytes.chunks_exact(EXCEPTION_BYTES) {
            let fields = Fields::new(exception);
            let (Some(old_chunk), Some(new_chunk)) = (fields.le_u64(0), fields.le_u64(8)) else {
                return (pairs, false);
            };
            if new_chunk == 0 {
                return (pairs, true);
            }
            if new_chunk >= chunks {
                return (pairs, false);
            }
            pairs.push((old_chunk, new_chunk));
        }
        area = area.saturating_add(of_area).saturating_add(1);
    }
    // A full store has no exception that ends the list.
    (pairs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    fn store(valid: u32, exceptions: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 16 * 512];
        for (at, number) in [(0, SNAP_MAGIC), (4, valid), (8, 1), (12, 1)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        for (index, (old, new)) in exceptions.iter().enumerate() {
            let at = 512 + index * 16;
            bytes[at..at + 8].copy_from_slice(&old.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&new.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn exceptions_are_read_up_to_the_one_that_ends_them() {
        let read = Store::read(&Memory::new(store(1, &[(7, 2), (9, 3)]))).unwrap();
        assert_eq!(read.map, ChunkMap::new(vec![(7, 2), (9, 3)], Vec::new()));
        assert_eq!((read.chunk_bytes.get(), read.incomplete), (512, None));
    }

    #[test]
    fn of_a_snapshot_that_ran_over_only_the_saved_chunks_are_known() {
        let read = Store::read(&Memory::new(store(0, &[(7, 2)]))).unwrap();
        assert!(read.incomplete.is_some());
        let want = ChunkMap::new(vec![(7, 2)], std::iter::once(0..u64::MAX).collect());
        assert_eq!(read.map, want);
        // So it is with a list that leads past the end of the store.
        let read = Store::read(&Memory::new(store(1, &[(7, 2), (8, 16)]))).unwrap();
        assert!(read.incomplete.is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_store_makes_it_panic(
            chunk in 0_u32..70_000,
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 16..4000),
        ) {
            let mut bytes = bytes;
            bytes[..16].copy_from_slice(&store(1, &[])[..16]);
            bytes[12..16].copy_from_slice(&chunk.to_le_bytes());
            let _ = Store::read(&Memory::new(bytes));
        }
    }
}
