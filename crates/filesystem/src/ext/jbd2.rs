//! The structures of the journal.
//!
//! Source: Linux `Documentation/filesystems/ext4/journal.rst`. All numbers are big-endian. The
//! checksums of versions 2 and 3 begin with that of the journal's UUID.

use evidence::Fields;

use super::checksum::crc32c;

const H_MAGIC: u32 = 0xC03B_3998;
/// The length of `struct journal_header_s`.
const HEADER_BYTES: usize = 12;
/// The length of the journal's superblock.
const SUPERBLOCK_BYTES: usize = 1024;
/// The length of `struct jbd2_journal_block_tail`.
const TAIL_BYTES: usize = 4;
/// Where `h_chksum` lies in a commit block.
const H_CHKSUM_AT: usize = 0x10;
/// Where `blocks` lies in a revocation block.
const R_BLOCKS_AT: usize = 0x10;
/// The length of a UUID after a tag.
const UUID_BYTES: usize = 16;

/// `JBD2_FEATURE_COMPAT_CHECKSUM`.
const COMPAT_CHECKSUM: u32 = 0x1;
/// `JBD2_FEATURE_INCOMPAT_64BIT`.
const INCOMPAT_64BIT: u32 = 0x2;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V2`.
const INCOMPAT_CSUM_V2: u32 = 0x8;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V3`.
const INCOMPAT_CSUM_V3: u32 = 0x10;
/// `JBD2_FEATURE_INCOMPAT_FAST_COMMIT`.
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// Those, and `REVOKE` (0x1) and `ASYNC_COMMIT` (0x4), which change nothing for a reader.
const INCOMPAT_KNOWN: u32 = 0x3F;
/// `s_checksum_type` and `h_chksum_type` of CRC-32C and CRC-32.
const CHECKSUM_CRC32C: u8 = 4;
const CHECKSUM_CRC32: u8 = 1;
/// `JBD2_DEFAULT_FAST_COMMIT_BLOCKS`, for `s_num_fc_blks` 0.
const DEFAULT_FC_BLOCKS: u32 = 256;
/// `JBD2_MIN_JOURNAL_BLOCKS`: fast commits leave at least this much to the journal.
const MIN_JOURNAL_BLOCKS: u32 = 1024;

/// `JBD2_FLAG_ESCAPE`.
const FLAG_ESCAPE: u16 = 0x1;
/// `JBD2_FLAG_SAME_UUID`.
const FLAG_SAME_UUID: u16 = 0x2;
/// `JBD2_FLAG_LAST_TAG`.
const FLAG_LAST_TAG: u16 = 0x8;

/// How descriptor, commit and revocation blocks are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksums {
    /// Not at all.
    None,
    /// `COMPAT_CHECKSUM`: a CRC-32 over the transaction in its commit block.
    Commit,
    /// `CSUM_V2`: CRC-32C in every block; 16 bits of it for each data block.
    V2 {
        /// That of the UUID.
        seed: u32,
    },
    /// `CSUM_V3`: the same with 32 bits.
    V3 {
        /// That of the UUID.
        seed: u32,
    },
}

impl Checksums {
    /// The seed of the checksums in every block, where there are some.
    const fn seed(self) -> Option<u32> {
        match self {
            Self::V2 { seed } | Self::V3 { seed } => Some(seed),
            Self::None | Self::Commit => None,
        }
    }
}

/// `struct journal_superblock_s`, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalSuperblock {
    /// `s_first`: the first block of the log.
    pub(super) first: u32,
    /// The first block after the log: `s_maxlen`, or where the fast commits begin.
    pub(super) end: u32,
    /// `s_maxlen`: the first block after the journal.
    pub(super) maxlen: u32,
    /// `s_sequence`: the number of the first transaction that is expected.
    pub(super) sequence: u32,
    /// `s_start`: where it begins; 0 if nothing is to be replayed.
    pub(super) start: u32,
    /// `s_errno`: why the kernel gave up on the journal.
    pub(super) errno: i32,
    /// How blocks are checked.
    pub(super) checksums: Checksums,
    /// Whether block numbers have 64 bits.
    wide: bool,
    /// Whether fast commits may follow the log.
    pub(super) fast_commit: bool,
}

impl JournalSuperblock {
    /// Reads the first block of a journal of `blocks` blocks of `block_bytes`.
    pub(super) fn parse(bytes: &[u8], block_bytes: u32, blocks: u64) -> Result<Self, String> {
        let f = Fields::new(bytes);
        let cut = "its superblock is cut short";
        let kind = f.be_u32(0x4).ok_or(cut)?;
        if f.be_u32(0x0) != Some(H_MAGIC) || !(3..=4).contains(&kind) {
            return Err("its superblock is not there".to_owned());
        }
        let v2 = kind == 4;
        let feature = |at: usize| {
            let bits = f.be_u32(at).filter(|_| v2);
            bits.unwrap_or(0)
        };
        let incompat = feature(0x28);
        if incompat & !INCOMPAT_KNOWN != 0 {
            return Err(format!("its features {incompat:#x} are not all known here"));
        }
        let checksums = checksums(f, feature(0x24), incompat)?;
        if let Some(stored) = f.be_u32(0xFC).filter(|_| checksums.seed().is_some()) {
            let whole = f.slice(0, SUPERBLOCK_BYTES).ok_or(cut)?;
            if with_hole(!0, whole, 0xFC) != Some(stored) {
                return Err("the checksum of its superblock is wrong".to_owned());
            }
        }
        let (s_blocksize, maxlen) = (f.be_u32(0xC).ok_or(cut)?, f.be_u32(0x10).ok_or(cut)?);
        let first = f.be_u32(0x14).ok_or(cut)?;
        let fast_commit = incompat & INCOMPAT_FAST_COMMIT != 0;
        let end = match (fast_commit, f.be_u32(0x54).ok_or(cut)?) {
            (false, _) => maxlen,
            (true, 0) => log_end(maxlen, DEFAULT_FC_BLOCKS),
            (true, count) => log_end(maxlen, count),
        };
        let start = f.be_u32(0x1C).ok_or(cut)?;
        let fits = s_blocksize == block_bytes
            && u64::from(maxlen) <= blocks
            && first > 0
            && first < end
            && (start == 0 || (first..end).contains(&start));
        if !fits {
            return Err(format!(
                "its superblock does not fit: {maxlen} blocks of {s_blocksize} bytes, the log \
                 from {first} on, replay from {start} on"
            ));
        }
        Ok(Self {
            first,
            end,
            maxlen,
            sequence: f.be_u32(0x18).ok_or(cut)?,
            start,
            errno: f.be_i32(0x20).ok_or(cut)?,
            checksums,
            wide: incompat & INCOMPAT_64BIT != 0,
            fast_commit,
        })
    }

    /// A journal whose superblock is gone, as a kernel sets it up: with checksums of version 3 that
    /// begin with `seed`, or none, and block numbers of 64 bits if `wide`.
    pub(super) fn likely(seed: Option<u32>, wide: bool) -> Self {
        Self {
            first: 1,
            end: u32::MAX,
            maxlen: u32::MAX,
            sequence: 0,
            start: 0,
            errno: 0,
            checksums: seed.map_or(Checksums::None, |seed| Checksums::V3 { seed }),
            wide,
            fast_commit: false,
        }
    }

    /// The block of the log that follows `block`, `count` further on, around its end.
    pub(super) fn after(&self, block: u32, count: u32) -> u32 {
        let length = self.end.saturating_sub(self.first).max(1);
        let inside = u64::from(block.saturating_sub(self.first)).saturating_add(count.into());
        let inside = inside.checked_rem(length.into()).unwrap_or(0);
        u32::try_from(inside)
            .unwrap_or(0)
            .saturating_add(self.first)
    }

    /// The tags of a descriptor block.
    pub(super) fn tags(&self, bytes: &[u8]) -> Vec<Tag> {
        let v3 = matches!(self.checksums, Checksums::V3 { .. });
        let length = match self.checksums {
            Checksums::V3 { .. } => 16,
            // The tag of version 2 is two bytes longer than what is in it.
            Checksums::V2 { .. } => 10_usize,
            Checksums::None | Checksums::Commit => 8,
        };
        let length = if self.wide && !v3 {
            length.saturating_add(4)
        } else {
            length
        };
        let tail = self.checksums.seed().map_or(0, |_| TAIL_BYTES);
        let end = bytes.len().saturating_sub(tail);
        let mut tags = Vec::new();
        let mut at = HEADER_BYTES;
        while at.saturating_add(length) <= end {
            let Some((tag, flags)) = Fields::new(bytes).from(at).and_then(|f| self.tag(f, v3))
            else {
                break;
            };
            tags.push(tag);
            at = at.saturating_add(length);
            if flags & FLAG_SAME_UUID == 0 {
                at = at.saturating_add(UUID_BYTES);
            }
            if flags & FLAG_LAST_TAG != 0 {
                break;
            }
        }
        tags
    }

    fn tag(&self, f: Fields<'_>, v3: bool) -> Option<(Tag, u16)> {
        let t_flags = f.be_u16(0x6)?;
        let high = if self.wide { f.be_u32(0x8)? } else { 0 };
        let tag = Tag {
            block: u64::from(high) << 32 | u64::from(f.be_u32(0x0)?),
            escaped: t_flags & FLAG_ESCAPE != 0,
            checksum: if v3 {
                f.be_u32(0xC)?
            } else {
                f.be_u16(0x4)?.into()
            },
        };
        Some((tag, t_flags))
    }

    /// The block numbers of a revocation block; `None` if its count does not fit.
    pub(super) fn revoked(&self, bytes: &[u8]) -> Option<Vec<u64>> {
        let tail = self.checksums.seed().map_or(0, |_| TAIL_BYTES);
        let f = Fields::new(bytes);
        let r_count = usize::try_from(f.be_u32(0xC)?).ok()?;
        if r_count > bytes.len().checked_sub(tail)? {
            return None;
        }
        let length = if self.wide { 8 } else { 4 };
        let numbers = (R_BLOCKS_AT..r_count)
            .step_by(length)
            .filter(|at| at.saturating_add(length) <= r_count);
        if self.wide {
            numbers.map(|at| f.be_u64(at)).collect()
        } else {
            numbers.map(|at| f.be_u32(at).map(u64::from)).collect()
        }
    }

    /// Whether the checksum at the end of a descriptor or revocation block is right.
    pub(super) fn block_holds(&self, bytes: &[u8]) -> bool {
        let Some(seed) = self.checksums.seed() else {
            return true;
        };
        let Some(at) = bytes.len().checked_sub(TAIL_BYTES) else {
            return false;
        };
        let stored = Fields::new(bytes).be_u32(at);
        stored.is_some() && stored == with_hole(seed, bytes, at)
    }

    /// Whether the checksum of a data block, as it stands in the journal, is that of its tag.
    pub(super) fn data_holds(&self, tag: &Tag, sequence: u32, bytes: &[u8]) -> bool {
        let sum = |seed| crc32c(crc32c(seed, &sequence.to_be_bytes()), bytes);
        match self.checksums {
            Checksums::None | Checksums::Commit => true,
            Checksums::V2 { seed } => sum(seed) & 0xFFFF == tag.checksum,
            Checksums::V3 { seed } => sum(seed) == tag.checksum,
        }
    }

    /// Whether the checksum of a commit block is right. `transaction` is the CRC-32 over the
    /// descriptors and data that it commits.
    pub(super) fn commit_holds(&self, bytes: &[u8], transaction: u32) -> bool {
        let f = Fields::new(bytes);
        let stored = f.be_u32(H_CHKSUM_AT);
        match self.checksums {
            Checksums::None => true,
            Checksums::Commit => {
                let form = (f.u8(0xC), f.u8(0xD));
                stored == Some(transaction) && form == (Some(CHECKSUM_CRC32), Some(4))
                    || stored == Some(0) && form == (Some(0), Some(0))
            }
            Checksums::V2 { seed } | Checksums::V3 { seed } => {
                stored.is_some() && stored == with_hole(seed, bytes, H_CHKSUM_AT)
            }
        }
    }
}

fn checksums(f: Fields<'_>, compat: u32, incompat: u32) -> Result<Checksums, String> {
    let (v2, v3) = (
        incompat & INCOMPAT_CSUM_V2 != 0,
        incompat & INCOMPAT_CSUM_V3 != 0,
    );
    let seed = || {
        if f.u8(0x50) != Some(CHECKSUM_CRC32C) {
            return Err("its checksums are of an unknown kind".to_owned());
        }
        let uuid: [u8; 16] = f.array(0x30).ok_or("its superblock is cut short")?;
        Ok(crc32c(!0, &uuid))
    };
    match (v2, v3) {
        (true, true) => Err("it has two kinds of checksums at once".to_owned()),
        (true, false) => Ok(Checksums::V2 { seed: seed()? }),
        (false, true) => Ok(Checksums::V3 { seed: seed()? }),
        (false, false) if compat & COMPAT_CHECKSUM != 0 => Ok(Checksums::Commit),
        (false, false) => Ok(Checksums::None),
    }
}

/// The end of the log in a journal that ends with `fast` blocks of fast commits.
fn log_end(maxlen: u32, fast: u32) -> u32 {
    match maxlen.checked_sub(fast) {
        Some(end) if end >= MIN_JOURNAL_BLOCKS => end,
        _ => maxlen,
    }
}

/// The CRC-32C of `bytes` with four zero bytes at `at`.
fn with_hole(seed: u32, bytes: &[u8], at: usize) -> Option<u32> {
    let sum = crc32c(seed, bytes.get(..at)?);
    Some(crc32c(
        crc32c(sum, &[0; 4]),
        bytes.get(at.checked_add(4)?..)?,
    ))
}

/// `struct journal_block_tag_s` or `journal_block_tag3_s`: where a data block belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// `t_blocknr`.
    pub(super) block: u64,
    /// Whether the first four bytes were the magic number, and are zeros in the journal.
    pub(super) escaped: bool,
    /// `t_checksum`.
    pub(super) checksum: u32,
}

impl Tag {
    /// The contents of the block, given its bytes in the journal.
    pub(super) fn unescape(self, bytes: &mut [u8]) {
        if let Some(head) = bytes.first_chunk_mut::<4>().filter(|_| self.escaped) {
            *head = H_MAGIC.to_be_bytes();
        }
    }
}

/// What a block of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Tags, then the data blocks that they are for.
    Descriptor,
    /// The end of a transaction, with `h_commit_sec`.
    Commit {
        /// Seconds since 1970.
        seconds: u64,
    },
    /// Blocks of which older copies must not be replayed.
    Revoke,
}

/// `h_blocktype` of a descriptor block.
pub(super) const DESCRIPTOR: u32 = 1;
/// `h_blocktype` of a commit block.
pub(super) const COMMIT: u32 = 2;
/// `h_blocktype` of a superblock of version 2; version 1 has one less.
pub(super) const SUPERBLOCK_V2: u32 = 4;

/// `h_blocktype` and `h_sequence` of a block of a journal; `None` if it is none.
pub(super) fn header(bytes: &[u8]) -> Option<(u32, u32)> {
    let f = Fields::new(bytes);
    let kind = f.be_u32(0x4)?;
    (f.be_u32(0x0)? == H_MAGIC && (1..=5).contains(&kind)).then_some(())?;
    Some((kind, f.be_u32(0x8)?))
}

/// The kind of block and its `h_sequence`; `None` if it is not a block of the log.
pub(super) fn block_kind(bytes: &[u8]) -> Option<(BlockKind, u32)> {
    let f = Fields::new(bytes);
    (f.be_u32(0x0)? == H_MAGIC).then_some(())?;
    let kind = match f.be_u32(0x4)? {
        1 => BlockKind::Descriptor,
        2 => BlockKind::Commit {
            seconds: f.be_u64(0x30)?,
        },
        5 => BlockKind::Revoke,
        _ => return None,
    };
    Some((kind, f.be_u32(0x8)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn with(checksums: Checksums, wide: bool) -> JournalSuperblock {
        JournalSuperblock {
            first: 1,
            end: 100,
            maxlen: 100,
            sequence: 1,
            start: 1,
            errno: 0,
            checksums,
            wide,
            fast_commit: false,
        }
    }

    #[test]
    fn tags_have_the_sizes_that_the_features_give_them() {
        let v2 = Checksums::V2 { seed: 0 };
        let v3 = Checksums::V3 { seed: 0 };
        for (checksums, wide, length) in [
            (Checksums::None, false, 8),
            (Checksums::Commit, true, 12),
            (v2, false, 10),
            (v2, true, 14),
            (v3, false, 16),
            (v3, true, 16),
        ] {
            let mut bytes = vec![0; 1024];
            for (number, flags) in [(7_u32, 2_u16), (8, 3), (9, 10)].iter().enumerate() {
                let at = 12 + number * length;
                bytes[at..at + 4].copy_from_slice(&flags.0.to_be_bytes());
                bytes[at + 6..at + 8].copy_from_slice(&flags.1.to_be_bytes());
            }
            let tags = with(checksums, wide).tags(&bytes);
            let got: Vec<(u64, bool)> = tags.iter().map(|tag| (tag.block, tag.escaped)).collect();
            assert_eq!(
                got,
                [(7, false), (8, true), (9, false)],
                "{checksums:?} {wide}"
            );
        }
    }

    #[test]
    fn the_log_goes_around_its_end() {
        let sb = with(Checksums::None, false);
        assert_eq!(sb.after(99, 1), 1);
        assert_eq!(sb.after(98, 5), 4);
        assert_eq!(sb.after(5, 99), 5);
    }

    #[test]
    fn a_count_past_the_block_revokes_nothing() {
        let mut bytes = vec![0; 64];
        bytes[0xC..0x10].copy_from_slice(&24_u32.to_be_bytes());
        bytes[0x13] = 5;
        bytes[0x17] = 6;
        let sb = with(Checksums::None, false);
        assert_eq!(sb.revoked(&bytes), Some(vec![5, 6]));
        bytes[0xC..0x10].copy_from_slice(&65_u32.to_be_bytes());
        assert_eq!(sb.revoked(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..1200),
            wide in any::<bool>(),
            which in 0..4,
            superblock in any::<bool>(),
        ) {
            let checksums = match which {
                0 => Checksums::None,
                1 => Checksums::Commit,
                2 => Checksums::V2 { seed: 1 },
                _ => Checksums::V3 { seed: 1 },
            };
            let sb = with(checksums, wide);
            let tags = sb.tags(&bytes);
            assert!(tags.len() * 8 <= bytes.len());
            let _ = (sb.revoked(&bytes), sb.block_holds(&bytes), sb.commit_holds(&bytes, 0));
            if bytes.len() > 0x60 {
                bytes[..4].copy_from_slice(&H_MAGIC.to_be_bytes());
                bytes[4..8].copy_from_slice(&[0, 0, 0, 4]);
                if superblock {
                    bytes[0x24..0x30].fill(0);
                    bytes[0xC..0x20].fill(0);
                    bytes[0xE] = 4;
                    bytes[0x13] = 200;
                    bytes[0x17] = 1;
                }
            }
            let _ = (block_kind(&bytes), JournalSuperblock::parse(&bytes, 1024, 4096));
        }
    }
}
