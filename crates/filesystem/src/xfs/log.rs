//! The log: whether it holds changes that were not replayed.
//!
//! It is a ring of blocks of 512 bytes. Each carries the number of the lap in which it was
//! written, its cycle, so the newest record ends where the cycle falls by one. A file system
//! that was unmounted has the unmount record there. Nothing is replayed.
//! Specification: *Journaling Log*; kernel: `libxfs/xfs_log_format.h`, `xfs_log_recover.c`.

use evidence::{ByteOffset, Cause, Fields};

use super::ag::FsBlock;
use super::volume::{Volume, corrupt};

/// `BBSIZE`: the log counts in these.
const BLOCK: u64 = 512;
/// `XLOG_HEADER_MAGIC_NUM`.
const XLOG_HEADER_MAGIC: u32 = 0xFEED_BABE;
/// `XLOG_VERSION_2`: records longer than [`HEADER_CYCLE_SIZE`] have several header blocks.
const XLOG_VERSION_2: u32 = 2;
/// `XLOG_HEADER_CYCLE_SIZE`: how much of a record one header block describes.
const HEADER_CYCLE_SIZE: u64 = 32 * 1024;
/// `XLOG_MAX_RECORD_BSIZE`.
const MAX_RECORD: u64 = 256 * 1024;
/// The newest record begins at most this far before the end of what was written: eight
/// buffers are in flight at a time (`XLOG_MAX_ICLOGS`).
const MAX_IN_FLIGHT: u64 = 8 * (MAX_RECORD + 8 * BLOCK) / BLOCK;
/// `XLOG_UNMOUNT_TRANS`, of `oh_flags`.
const XLOG_UNMOUNT_TRANS: u8 = 0x20;

/// How the log was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The file system was unmounted, or never mounted.
    Clean,
    /// There are changes that were not replayed.
    Dirty {
        /// In how many records, if they can be counted.
        records: Option<u64>,
    },
    /// It is on another device.
    External,
    /// It could not be read.
    Unknown(Cause),
}

impl State {
    /// What a person should know of it.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::Clean => None,
            Self::Dirty { records } => {
                let count = match records {
                    Some(1) => "1 record".to_owned(),
                    Some(records) => format!("{records} records"),
                    None => "an unknown number of records".to_owned(),
                };
                Some(format!(
                    "the log holds changes that were not replayed: {count}; \
                     what is read is what is on disk"
                ))
            }
            Self::External => Some(
                "the log is on another device: whether it holds changes that were not replayed \
                 is not known"
                    .to_owned(),
            ),
            Self::Unknown(cause) => Some(format!(
                "whether the log holds changes that were not replayed is not known: {cause}"
            )),
        }
    }
}

/// How the log on `volume` was left.
pub(super) fn state(volume: &Volume) -> State {
    let sb = &volume.sb;
    if sb.sb_logstart == 0 {
        return State::External;
    }
    let blocks = u64::from(sb.sb_logblocks).saturating_mul(u64::from(sb.block.get()) / BLOCK);
    let start = sb.run(FsBlock(sb.sb_logstart), sb.sb_logblocks.into());
    let found = match start {
        Some(start) if blocks > 0 => Log {
            volume,
            start,
            blocks,
        }
        .state(),
        _ => Err(corrupt("it lies outside the file system")),
    };
    found.unwrap_or_else(State::Unknown)
}

/// `struct xlog_rec_header`, as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    h_cycle: u32,
    /// The first block of the record that is still needed, and its cycle.
    h_tail_lsn: u64,
    h_num_logops: u32,
    /// How many header blocks it has.
    header_blocks: u64,
    /// How many blocks come behind these.
    data_blocks: u64,
}

impl Header {
    /// The header in `block`, if one is there that says that it lies at `position`.
    fn parse(block: &[u8], position: u64) -> Option<Self> {
        let fields = Fields::new(block);
        let h_cycle = fields.be_u32(4)?;
        let h_version = fields.be_u32(8)?;
        let h_len = u64::from(fields.be_u32(12)?);
        let h_lsn = fields.be_u64(16)?;
        let fits = fields.be_u32(0)? == XLOG_HEADER_MAGIC
            && h_lsn == u64::from(h_cycle) << 32 | position
            && h_len <= MAX_RECORD;
        let h_size = u64::from(fields.be_u32(320)?).min(MAX_RECORD);
        let header_blocks = match h_version & XLOG_VERSION_2 {
            0 => 1,
            _ => h_size.div_ceil(HEADER_CYCLE_SIZE).max(1),
        };
        fits.then_some(Self {
            h_cycle,
            h_tail_lsn: fields.be_u64(24)?,
            h_num_logops: fields.be_u32(40)?,
            header_blocks,
            data_blocks: h_len.div_ceil(BLOCK),
        })
    }

    /// All its blocks.
    fn blocks(&self) -> u64 {
        self.header_blocks.saturating_add(self.data_blocks)
    }
}

/// The ring of blocks.
struct Log<'a> {
    volume: &'a Volume,
    start: ByteOffset,
    /// Its length, never zero.
    blocks: u64,
}

impl Log<'_> {
    fn state(&self) -> Result<State, Cause> {
        let Some(head) = self.head()? else {
            return Ok(State::Clean);
        };
        let Some((position, newest)) = self.newest_before(head)? else {
            return Err(corrupt("no record was found in it"));
        };
        let end = self.wrap(position.saturating_add(newest.blocks()));
        if newest.h_num_logops == 1 && end == self.wrap(head) && self.unmounts(position, newest)? {
            return Ok(State::Clean);
        }
        Ok(State::Dirty {
            records: self.count(newest, position),
        })
    }

    /// `position`, which may be up to one lap too far, inside the ring.
    fn wrap(&self, position: u64) -> u64 {
        position.checked_rem(self.blocks).unwrap_or(0)
    }

    fn block(&self, position: u64) -> Result<Vec<u8>, Cause> {
        let inside = self.wrap(position).saturating_mul(BLOCK);
        let at = self.start.checked_add(inside);
        let at = at.ok_or_else(|| corrupt("it lies outside the volume"))?;
        self.volume.cache.read(at, 512)
    }

    /// The cycle in which a block was written: `xlog_get_cycle`.
    fn cycle(&self, position: u64) -> Result<u32, Cause> {
        let block = self.block(position)?;
        let fields = Fields::new(&block);
        Ok(match fields.be_u32(0) {
            Some(XLOG_HEADER_MAGIC) => fields.be_u32(4),
            first => first,
        }
        .unwrap_or(0))
    }

    /// Where the next record would be written: the first block of the last lap; `None` if
    /// nothing was ever written.
    fn head(&self) -> Result<Option<u64>, Cause> {
        let first = self.cycle(0)?;
        let mut high = self.blocks.saturating_sub(1);
        let last = self.cycle(high)?;
        match (first, last) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(corrupt("its first block was never written")),
            _ if first == last => return Ok(Some(self.blocks)),
            _ => {}
        }
        // The cycles fall once on the way. Between `low` and `high` it happens.
        let mut low = 0;
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            if self.cycle(middle)? == last {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(Some(high))
    }

    /// The last record that begins before `head`, and where.
    fn newest_before(&self, head: u64) -> Result<Option<(u64, Header)>, Cause> {
        for back in 1..=MAX_IN_FLIGHT.min(self.blocks) {
            let position = self.wrap(head.saturating_add(self.blocks).saturating_sub(back));
            if let Some(header) = Header::parse(&self.block(position)?, position) {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }

    /// Whether the first operation of the record at `position` says that the file system was
    /// unmounted (`struct xlog_op_header`).
    fn unmounts(&self, position: u64, header: Header) -> Result<bool, Cause> {
        let block = self.block(position.saturating_add(header.header_blocks))?;
        let oh_flags = Fields::new(&block).u8(9).unwrap_or(0);
        Ok(oh_flags & XLOG_UNMOUNT_TRANS != 0)
    }

    /// How many records there are from the tail that `newest` names up to itself, at `last`.
    fn count(&self, newest: Header, last: u64) -> Option<u64> {
        let mut position = newest.h_tail_lsn & 0xFFFF_FFFF;
        if position >= self.blocks {
            return None;
        }
        let mut records = 1_u64;
        let mut passed = 0_u64;
        while position != last {
            let header = Header::parse(&self.block(position).ok()?, position)?;
            records = records.saturating_add(1);
            passed = passed.saturating_add(header.blocks());
            // Older than a lap, or past the newest: this is no chain of records.
            let age = newest.h_cycle.checked_sub(header.h_cycle)?;
            if passed >= self.blocks || age > 1 {
                return None;
            }
            position = self.wrap(position.saturating_add(header.blocks()));
        }
        Some(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfs::superblock::tests::superblock;
    use evidence::view::Memory;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A log of 64 blocks of 512 bytes, at block 100 of the file system.
    struct Ring(Vec<u8>);

    impl Ring {
        fn new() -> Self {
            Self(vec![0; 64 * 512])
        }

        /// Writes a record of `data` blocks at `position` in `cycle`; each block its cycle.
        fn write(
            &mut self,
            mut position: usize,
            cycle: u32,
            tail: u64,
            data: usize,
            flags: u8,
        ) -> usize {
            let lsn = u64::from(cycle) << 32 | position as u64;
            let mut header = vec![0; 512];
            header[..4].copy_from_slice(&XLOG_HEADER_MAGIC.to_be_bytes());
            header[4..8].copy_from_slice(&cycle.to_be_bytes());
            header[8..12].copy_from_slice(&2_u32.to_be_bytes());
            header[12..16].copy_from_slice(&(data as u32 * 512).to_be_bytes());
            header[16..24].copy_from_slice(&lsn.to_be_bytes());
            header[24..32].copy_from_slice(&tail.to_be_bytes());
            header[40..44].copy_from_slice(&1_u32.to_be_bytes());
            header[320..324].copy_from_slice(&32768_u32.to_be_bytes());
            self.put(position, &header);
            for _ in 0..data {
                position += 1;
                let lap = cycle + (position / 64) as u32;
                let mut block = vec![0; 512];
                block[..4].copy_from_slice(&lap.to_be_bytes());
                block[9] = flags;
                self.put(position % 64, &block);
            }
            position + 1
        }

        fn put(&mut self, position: usize, block: &[u8]) {
            self.0[position * 512..(position + 1) * 512].copy_from_slice(block);
        }

        fn state(&self) -> State {
            let mut sb = superblock();
            sb.sb_logstart = 100;
            sb.sb_logblocks = 8;
            let mut bytes = vec![0; 100 * 4096];
            bytes.extend_from_slice(&self.0);
            state(&Volume::new(
                "volume:test",
                sb,
                Arc::new(Memory::new(bytes)),
            ))
        }
    }

    #[test]
    fn a_log_that_ends_with_the_unmount_record_is_clean() {
        assert_eq!(Ring::new().state(), State::Clean);
        let mut ring = Ring::new();
        let next = ring.write(0, 1, 1 << 32, 3, 0);
        ring.write(next, 1, 1 << 32 | next as u64, 1, XLOG_UNMOUNT_TRANS);
        assert_eq!(ring.state(), State::Clean);
        assert_eq!(ring.state().note(), None);
    }

    #[test]
    fn records_from_the_tail_on_are_counted() {
        let mut ring = Ring::new();
        let second = ring.write(0, 1, 1 << 32, 3, 0);
        let third = ring.write(second, 1, 1 << 32, 1, XLOG_UNMOUNT_TRANS);
        ring.write(third, 1, 1 << 32 | second as u64, 5, 0);
        let dirty = State::Dirty { records: Some(2) };
        assert_eq!(ring.state(), dirty);
        assert!(dirty.note().unwrap().contains("2 records"));
    }

    #[test]
    fn a_record_that_wraps_is_found() {
        let mut ring = Ring::new();
        let mut next = 0;
        while next < 60 {
            next = ring.write(next, 1, 1 << 32, 3, 0);
        }
        ring.write(60, 1, 1 << 32 | 56, 7, 0);
        assert_eq!(ring.state(), State::Dirty { records: Some(2) });
        ring.write(4, 2, 2 << 32 | 4, 1, XLOG_UNMOUNT_TRANS);
        assert_eq!(ring.state(), State::Clean);
    }

    #[test]
    fn blocks_behind_the_unmount_record_make_the_log_dirty() {
        let mut ring = Ring::new();
        let next = ring.write(0, 1, 1 << 32, 1, XLOG_UNMOUNT_TRANS);
        let mut block = vec![0; 512];
        block[3] = 1;
        ring.put(next, &block);
        assert!(matches!(ring.state(), State::Dirty { .. }));
    }

    proptest! {
        #[test]
        fn any_log_is_read_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            writes in prop::collection::vec((0_usize..60, 0_u32..4, any::<u64>(), 0_usize..8), 0..8),
        ) {
            let mut ring = Ring::new();
            for (position, cycle, tail, data) in writes {
                ring.write(position, cycle, tail, data.min(63 - position), 0x20);
            }
            for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| *byte % 8 == 0) {
                ring.0[at] = *byte;
            }
            let _ = ring.state().note();
        }
    }
}
