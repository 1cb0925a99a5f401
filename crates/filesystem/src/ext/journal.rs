//! The journal, replayed in memory.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`; for when replay stops, the three
//! passes of `fs/jbd2/recovery.c`. The log is followed from `s_start` on, transaction by
//! transaction, up to the first one that has no commit block. Then the newest copy of each block
//! is laid over the volume, unless a revocation is as new. Nothing is written.
//!
//! Where the kernel refuses to mount (a checksum in the log is wrong), what comes before is
//! replayed all the same, and a note says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use evidence::view::Overlay;
use evidence::{ByteOffset, GapCause, ReadAtExt};

use super::checksum::crc32_be;
use super::fast_commit::{self, Change};
use super::features::INCOMPAT_RECOVER;
use super::inode::{EXTENTS_FL, I_BLOCK_AT};
use super::jbd2::{BlockKind, Checksums, JournalSuperblock, Tag, block_kind};
use super::superblock::JournalPlace;
use super::volume::Volume;
use crate::{Extent, File, FileKind, Inode, InodeNumber, Place, Standing, Timestamp};

/// What became of the journal.
#[derive(Default)]
pub(super) struct Recovery {
    /// The volume with the newer blocks over it; `None` if there are none.
    pub(super) overlay: Option<Overlay>,
    /// What fast commits changed after that.
    pub(super) changes: Vec<Change>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

impl Recovery {
    fn note(text: impl Into<String>) -> Self {
        Self {
            notes: vec![text.into()],
            ..Self::default()
        }
    }
}

/// Replays the journal of `volume`, if it is dirty.
pub(super) fn recover(volume: &Volume) -> Recovery {
    let dirty = volume.sb.features.incompat(INCOMPAT_RECOVER);
    let Some(place) = &volume.sb.journal else {
        return if dirty {
            Recovery::note("the superblock asks for recovery, but there is no journal")
        } else {
            Recovery::default()
        };
    };
    let newest = if dirty {
        "the newest changes, which are only in it, are missing"
    } else {
        "it was not needed"
    };
    if place.inode == 0 {
        let uuid: String = place.uuid.iter().map(|b| format!("{b:02x}")).collect();
        return Recovery::note(format!(
            "the journal is on another volume (UUID {uuid}) and was not read; {newest}"
        ));
    }
    match Log::open(volume, place) {
        Ok(log) => log.recover(dirty),
        Err(why) => Recovery::note(format!("the journal cannot be read ({why}); {newest}")),
    }
}

/// Where the journal of `volume` lies, by its inode or the copy of that in the superblock.
pub(super) fn pieces(volume: &Volume) -> Option<Vec<Extent>> {
    let place = volume.sb.journal.as_ref().filter(|place| place.inode != 0)?;
    let inode = volume.inode(InodeNumber(place.inode)).ok();
    let inode = inode.filter(|inode| inode.kind == FileKind::Regular);
    let inode = inode.or_else(|| backup_inode(volume, place))?;
    Some(volume.map(&inode).pieces)
}

/// A journal that is open for reading.
struct Log<'a> {
    volume: &'a Volume,
    file: File,
    sb: JournalSuperblock,
}

/// A block that is to be laid over the volume.
struct Write {
    tag: Tag,
    /// The number of its transaction.
    sequence: u32,
    /// Where in the log it stands.
    at: u32,
}

/// What the log holds up to its end.
#[derive(Default)]
struct Contents {
    transactions: u32,
    writes: Vec<Write>,
    /// Blocks with the newest transaction that revoked them.
    revoked: HashMap<u64, u32>,
    /// The number of the transaction after the last complete one.
    end: u32,
    /// Why the log ends where it should not.
    trouble: Option<String>,
}

/// A transaction whose commit block was not met yet.
struct Open {
    writes: Vec<Write>,
    revoked: Vec<u64>,
    /// For [`Checksums::Commit`].
    checksum: u32,
    /// Whether a descriptor or revocation block had a wrong checksum. It may be left from an
    /// older use of the log, which the time in the commit block will tell.
    doubtful: bool,
}

impl Open {
    const fn new() -> Self {
        Self {
            writes: Vec::new(),
            revoked: Vec::new(),
            checksum: !0,
            doubtful: false,
        }
    }
}

impl<'a> Log<'a> {
    fn open(volume: &'a Volume, place: &JournalPlace) -> Result<Self, String> {
        let inode = match volume.inode(InodeNumber(place.inode)) {
            Ok(inode) => inode,
            Err(loss) => backup_inode(volume, place).ok_or_else(|| loss.to_string())?,
        };
        if inode.kind != FileKind::Regular {
            return Err(format!("inode {} is no journal", place.inode));
        }
        let map = volume.map(&inode);
        let file = File::from_pieces(Arc::clone(&volume.view), inode.size, map.pieces);
        let file = file.ok_or("its map has breaks")?;
        let block = volume.sb.block;
        let head = file
            .read_whole(ByteOffset::ZERO, block.len())
            .ok_or("its superblock cannot be read")?;
        let blocks = inode.size.checked_div(block.get().into()).unwrap_or(0);
        let sb = JournalSuperblock::parse(&head, block.get(), blocks)?;
        Ok(Self { volume, file, sb })
    }

    fn recover(&self, dirty: bool) -> Recovery {
        let mut notes = Vec::new();
        if self.sb.errno != 0 {
            notes.push(format!(
                "the kernel had given up on the journal (s_errno {})",
                self.sb.errno
            ));
        }
        if self.sb.start == 0 {
            return Recovery {
                notes,
                ..Recovery::default()
            };
        }
        let contents = self.contents();
        if let Some(trouble) = &contents.trouble {
            notes.push(format!(
                "the journal ends early: {trouble}; what came after is missing"
            ));
        }
        let fast = self.fast_commits(&contents);
        if !dirty {
            notes.push(
                "the superblock did not ask for recovery, but the journal held transactions"
                    .to_owned(),
            );
        }
        let mut overlay = self.replay(&contents, &mut notes);
        if fast.commits > 0 {
            notes.push(format!(
                "{} fast commits were applied on top; directories that they changed keep the \
                 times and sizes from before",
                fast.commits
            ));
            overlay.get_or_insert_with(|| Overlay::new(Arc::clone(&self.volume.view)));
        }
        Recovery {
            overlay,
            changes: fast.changes,
            notes,
        }
    }

    /// The bytes of block `number` of the journal.
    fn block(&self, number: u32) -> Option<Vec<u8>> {
        let block = self.volume.sb.block;
        let at = u64::from(number).checked_mul(block.get().into())?;
        // A hole in the journal reads as zeros and so ends the log; nothing is in it.
        self.file.read_whole(ByteOffset::new(at), block.len())
    }

    /// Follows the log to its end.
    fn contents(&self) -> Contents {
        let mut contents = Contents {
            end: self.sb.sequence,
            ..Contents::default()
        };
        let mut open = Open::new();
        let mut at = self.sb.start;
        let mut last_commit = 0_u64;
        // A log is never longer than once around; damage could make it endless.
        let mut left = self.sb.end.saturating_sub(self.sb.first);
        while left > 0 {
            let Some(bytes) = self.block(at) else {
                contents.trouble = Some(format!("its block {at} cannot be read"));
                break;
            };
            let Some((kind, _)) = block_kind(&bytes).filter(|(_, seq)| *seq == contents.end) else {
                break;
            };
            let mut used = 1_u32;
            match kind {
                BlockKind::Descriptor => {
                    used =
                        used.saturating_add(self.descriptor(&bytes, at, contents.end, &mut open));
                }
                BlockKind::Revoke => self.revocation(&bytes, &mut open),
                BlockKind::Commit { seconds } => {
                    if open.doubtful || !self.sb.commit_holds(&bytes, open.checksum) {
                        // Older than the last commit: left from an earlier turn of the log.
                        if seconds >= last_commit {
                            contents.trouble = Some(format!(
                                "a checksum in transaction {} is wrong",
                                contents.end
                            ));
                        }
                        break;
                    }
                    last_commit = seconds;
                    contents.commit(std::mem::replace(&mut open, Open::new()));
                }
            }
            at = self.sb.after(at, used);
            left = left.saturating_sub(used);
        }
        contents
    }

    /// Takes over the tags of a descriptor block at `at`; says how many data blocks follow it.
    fn descriptor(&self, bytes: &[u8], at: u32, sequence: u32, open: &mut Open) -> u32 {
        open.doubtful |= !self.sb.block_holds(bytes);
        let sums = self.sb.checksums == Checksums::Commit;
        if sums {
            open.checksum = crc32_be(open.checksum, bytes);
        }
        let mut count = 0_u32;
        for tag in self.sb.tags(bytes) {
            count = count.saturating_add(1);
            let at = self.sb.after(at, count);
            if sums {
                match self.block(at) {
                    Some(data) => open.checksum = crc32_be(open.checksum, &data),
                    None => open.doubtful = true,
                }
            }
            open.writes.push(Write { tag, sequence, at });
        }
        count
    }

    fn revocation(&self, bytes: &[u8], open: &mut Open) {
        match self.sb.revoked(bytes) {
            Some(blocks) if self.sb.block_holds(bytes) => open.revoked.extend(blocks),
            _ => open.doubtful = true,
        }
    }

    /// The fast commits that follow the last transaction. On a log that ends in damage they would
    /// not fit.
    fn fast_commits(&self, contents: &Contents) -> fast_commit::Log {
        if !self.sb.fast_commit || contents.trouble.is_some() {
            return fast_commit::Log::default();
        }
        let first = self.sb.end.saturating_add(1);
        let blocks = (first..self.sb.maxlen).map_while(|number| self.block(number));
        fast_commit::read(blocks, contents.end)
    }

    /// Lays the newest copy of each block over the volume.
    fn replay(&self, contents: &Contents, notes: &mut Vec<String>) -> Option<Overlay> {
        let mut overlay = Overlay::new(Arc::clone(&self.volume.view));
        let mut laid = BTreeSet::new();
        let (mut revoked, mut failed, mut outside) = (0_u64, 0_u64, 0_u64);
        // From the newest on, so that a block with many copies is read once.
        for write in contents.writes.iter().rev() {
            let block = write.tag.block;
            if laid.contains(&block) {
                continue;
            }
            let by = contents.revoked.get(&block);
            if by.is_some_and(|by| not_newer(write.sequence, *by)) {
                revoked = revoked.saturating_add(1);
                continue;
            }
            if block >= self.volume.sb.blocks {
                outside = outside.saturating_add(1);
                continue;
            }
            let data = self
                .block(write.at)
                .filter(|data| self.sb.data_holds(&write.tag, write.sequence, data));
            match data {
                Some(mut data) => {
                    write.tag.unescape(&mut data);
                    overlay.lay(self.volume.nominal(block), &data);
                    laid.insert(block);
                }
                None => {
                    // What the volume has there is older than what the file system says it is.
                    let length = self.volume.sb.block.len();
                    overlay.lay_gap(self.volume.nominal(block), length, GapCause::NewerDamaged);
                    laid.insert(block);
                    failed = failed.saturating_add(1);
                }
            }
        }
        let damage = failed.saturating_add(outside);
        if damage > 0 {
            notes.push(format!(
                "{damage} blocks of the journal were damaged and not replayed; what they held is \
                 lost"
            ));
        }
        notes.push(format!(
            "the journal was replayed in memory: {} transactions, {} blocks ({revoked} revoked)",
            contents.transactions,
            laid.len()
        ));
        (!laid.is_empty()).then_some(overlay)
    }
}

impl Contents {
    fn commit(&mut self, open: Open) {
        for block in open.revoked {
            // Transactions come in order, so the last one is the newest.
            self.revoked.insert(block, self.end);
        }
        self.writes.extend(open.writes);
        self.transactions = self.transactions.saturating_add(1);
        self.end = self.end.wrapping_add(1);
    }
}

/// Whether transaction `a` is `b` or an earlier one; the numbers go around.
const fn not_newer(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

/// The inode of the journal as the superblock keeps it, for when the inode itself is damaged.
fn backup_inode(volume: &Volume, place: &JournalPlace) -> Option<Inode> {
    let (i_block, size) = place.backup?;
    let mut raw = vec![0; volume.sb.inode_bytes];
    let extents = i_block.starts_with(&[0x0A, 0xF3]);
    let flags = if extents { EXTENTS_FL } else { 0 };
    raw.get_mut(0x20..0x24)?
        .copy_from_slice(&flags.to_le_bytes());
    let end = I_BLOCK_AT.checked_add(i_block.len())?;
    raw.get_mut(I_BLOCK_AT..end)?.copy_from_slice(&i_block);
    let inode = Inode {
        number: InodeNumber(place.inode),
        standing: Standing::InUse,
        kind: FileKind::Regular,
        mode: 0o100_600,
        uid: 0,
        gid: 0,
        links: 1,
        size,
        accessed: Timestamp::default(),
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        created: None,
        place: super::superblock::SUPERBLOCK_AT,
        raw,
    };
    // With nothing mapped, the copy is as lost as the inode.
    let map = volume.map(&inode);
    let found = |place: &Place| matches!(place, Place::At(_));
    map.pieces.iter().any(|p| found(&p.place)).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_go_around() {
        assert!(not_newer(5, 5));
        assert!(not_newer(4, 5));
        assert!(!not_newer(6, 5));
        assert!(not_newer(u32::MAX, 2));
        assert!(!not_newer(2, u32::MAX));
    }
}
