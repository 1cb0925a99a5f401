//! The log applied to metadata in memory.
//!
//! A state of the log is laid over the disk's where it is newer: in version 5 by LSN, as the
//! kernel decides at recovery; in version 4 if the log was left dirty and the record is behind
//! its tail. It is also laid over a block or inode that is unreadable, wiped or damaged on the
//! disk: then it is the newest that there is. Only what is read as metadata comes from here.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, Fields, ReadAt};

use super::items::CHUNK;
use super::logged::{Logged, LoggedBuffer, LoggedInode, Version as State, generation};
use super::records::{self, Tail};
use super::seen::SeenRecord;
use crate::InodeNumber;
use crate::cache::read_whole;
use crate::xfs::checksum::{crc_fits, seal};
use crate::xfs::inode::{DI_CRC_AT, Dinode};
use crate::xfs::superblock::Version;
use crate::xfs::volume::Volume;

/// Where `di_lsn` stands.
const DI_LSN_AT: usize = 112;
/// Where `di_flushiter` stands in version 2 of the inode.
const DI_FLUSHITER_AT: usize = 30;

/// What the log gave.
pub(super) struct Replayed {
    /// The view, with newer metadata laid over it.
    pub(super) metadata: Arc<dyn ReadAt>,
    /// Inodes in use that were laid over the disk's.
    pub(super) laid: Vec<u64>,
    /// States of inodes before they were deleted or used again, by number.
    pub(super) former: BTreeMap<u64, State>,
    /// How many blocks and inodes were laid over the disk's.
    pub(super) count: usize,
}

/// Reads the log whose records are in `seen` and lays it over `mended`, which is the view of
/// `volume` with mended blocks over it and what `volume` reads metadata from.
pub(super) fn replay(volume: &Volume, mended: Overlay, seen: &[SeenRecord]) -> Replayed {
    let mut logged = Logged::default();
    let size = usize::from(volume.sb.sb_inodesize);
    let disk = |ino: u64| {
        let place = volume.sb.inode_place(InodeNumber(ino))?;
        let raw = volume.cache.read(place, size).ok()?;
        is_sound(volume, InodeNumber(ino), &raw).then_some(raw)
    };
    let tail = records::transactions(&volume.view, seen, |transaction| {
        logged.take(transaction, size, &disk);
    });
    let mut replay = Replay {
        volume,
        tail,
        overlay: mended,
        laid: Vec::new(),
        count: 0,
    };
    for (blkno, buffer) in &logged.buffers {
        replay.buffer(*blkno, buffer);
    }
    for (ino, inode) in &logged.inodes {
        replay.inode(*ino, inode, disk(*ino));
    }
    let former = |(ino, inode): (&u64, &LoggedInode)| Some((*ino, inode.former()?.clone()));
    Replayed {
        metadata: Arc::new(replay.overlay),
        laid: replay.laid,
        former: logged.inodes.iter().filter_map(former).collect(),
        count: replay.count,
    }
}

/// Whether `raw` is the inode `number`, in use or free, as far as can be told.
fn is_sound(volume: &Volume, number: InodeNumber, raw: &[u8]) -> bool {
    let fields = Fields::new(raw);
    match volume.sb.version {
        Version::V5 => {
            crc_fits(raw, DI_CRC_AT)
                && fields.be_u64(152) == Some(number.0)
                && fields.array(160) == Some(volume.sb.meta_uuid)
        }
        Version::V4 => {
            raw.starts_with(b"IN")
                && (fields.be_u16(2) == Some(0) || Dinode::parse(raw, Version::V4).is_ok())
        }
    }
}

/// The overlay while it is made.
struct Replay<'a> {
    volume: &'a Volume,
    tail: Option<Tail>,
    overlay: Overlay,
    laid: Vec<u64>,
    count: usize,
}

impl Replay<'_> {
    /// Whether a change at `lsn` may not have reached the disk.
    fn is_active(&self, lsn: u64) -> bool {
        let from = self.tail.and_then(|tail| tail.dirty_from);
        from.is_some_and(|from| lsn >= from)
    }

    fn lay(&mut self, at: ByteOffset, bytes: &[u8]) {
        self.overlay.lay(at, bytes);
        self.count = self.count.saturating_add(1);
    }

    fn inode(&mut self, ino: u64, logged: &LoggedInode, disk: Option<Vec<u8>>) {
        let state = &logged.now;
        let Some(place) = self.volume.sb.inode_place(InodeNumber(ino)) else {
            return;
        };
        let newer = match &disk {
            Some(disk) => self.is_newer(state, disk),
            // What is not known of a fork is not made up.
            None => state.fork_known || state.mode() == 0,
        };
        if !newer {
            return;
        }
        let mut raw = state.raw.clone();
        if self.volume.sb.has_crc() {
            put(&mut raw, DI_LSN_AT, &state.lsn.to_be_bytes());
            seal(&mut raw, DI_CRC_AT);
        }
        if is_sound(self.volume, InodeNumber(ino), &raw) {
            self.lay(place, &raw);
            self.laid.push(ino);
        }
    }

    /// Whether `state` comes after what stands on the disk.
    fn is_newer(&self, state: &State, disk: &[u8]) -> bool {
        if !state.whole {
            return false;
        }
        let field = |raw: &[u8]| Fields::new(raw).be_u16(DI_FLUSHITER_AT);
        match self.volume.sb.version {
            Version::V5 => Fields::new(disk)
                .be_u64(DI_LSN_AT)
                .is_some_and(|lsn| lsn < state.lsn),
            // A count of writes to the disk decides, as at recovery, but only for the same file.
            Version::V4 => {
                let older =
                    generation(disk) == state.generation() && field(disk) > field(&state.raw);
                self.is_active(state.lsn) && !older
            }
        }
    }

    fn buffer(&mut self, blkno: u64, logged: &LoggedBuffer) {
        let Some(inside) = blkno.checked_mul(512) else {
            return;
        };
        let Some(at) = inside.checked_add_signed(self.volume.sb.base) else {
            return;
        };
        let at = ByteOffset::new(at);
        let crc = self.volume.sb.has_crc();
        let disk = read_whole(&self.overlay, at, logged.length).ok();
        let sound = disk.filter(|block| match own(block, crc) {
            Some(own) => !crc || crc_fits(block, own.crc),
            None => false,
        });
        let newer = match &sound {
            Some(_) if !logged.whole => false,
            Some(block) if crc => own(block, crc)
                .and_then(|own| Fields::new(block).be_u64(own.lsn))
                .is_some_and(|lsn| lsn < logged.lsn),
            Some(_) => self.is_active(logged.lsn),
            None => true,
        };
        // The length was bounded when the item was taken; memory is one block's.
        let whole = logged.chunks.len() >= logged.length.div_ceil(CHUNK);
        let was_sound = sound.is_some();
        let mut block = sound.unwrap_or_else(|| vec![0; logged.length]);
        for (chunk, bytes) in &logged.chunks {
            put(&mut block, chunk.saturating_mul(CHUNK), bytes);
        }
        let Some(own) = own(&block, crc).filter(|_| newer) else {
            return;
        };
        // Parts of a directory or a list of extents are worth having; of the rest, they mislead.
        if !was_sound && !whole && !own.partly {
            return;
        }
        if crc {
            let says = own.blkno.and_then(|at| Fields::new(&block).be_u64(at));
            if own.blkno.is_some() && says != Some(blkno) {
                return;
            }
            put(&mut block, own.lsn, &logged.lsn.to_be_bytes());
            seal(&mut block, own.crc);
        }
        self.lay(at, &block);
    }
}

/// Where a kind of block keeps what is needed here.
struct Own {
    crc: usize,
    lsn: usize,
    blkno: Option<usize>,
    /// Whether a part of it is of use without the rest.
    partly: bool,
}

/// What kind of block `block` is; in version 4 only the kind matters.
fn own(block: &[u8], crc: bool) -> Option<Own> {
    let (at_crc, lsn, blkno, partly) = match (crc, block.first_chunk::<4>()?) {
        (true, b"XDB3" | b"XDD3") => (4, 16, Some(8), true),
        (true, b"BMA3") => (64, 32, Some(24), true),
        (true, b"IAB3" | b"FIB3" | b"AB3B" | b"AB3C" | b"RMB3" | b"R3FC") => {
            (52, 24, Some(16), false)
        }
        (true, b"XAGI") => (312, 320, None, false),
        (true, b"XAGF") => (216, 208, None, false),
        (false, b"XD2B" | b"XD2D" | b"BMAP") => (0, 0, None, true),
        (false, b"IABT" | b"ABTB" | b"ABTC" | b"XAGI" | b"XAGF") => (0, 0, None, false),
        (_, _) => {
            let magic = Fields::new(block).be_u16(8)?;
            let v5 = matches!(magic, 0x3DF1 | 0x3DFF) && crc;
            let v4 = matches!(magic, 0xD2F1 | 0xD2FF) && !crc;
            (v5 || v4).then_some((12, 24, v5.then_some(16), false))?
        }
    };
    Some(Own {
        crc: at_crc,
        lsn,
        blkno,
        partly,
    })
}

/// Writes `bytes` at `at`, as far as there is room.
fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = block.get_mut(at..at.saturating_add(bytes.len())) {
        target.copy_from_slice(bytes);
    }
}
