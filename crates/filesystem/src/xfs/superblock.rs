//! The superblock: `struct xfs_dsb`, in sector 0 of every allocation group.
//!
//! Only the first is read. The offsets are those of the specification's table
//! ("XFS Algorithms & Data Structures", *Superblocks*; kernel: `libxfs/xfs_format.h`).

use evidence::{BlockSize, Error, Fields, Origin};

use super::checksum::crc_fits;
use super::features::{self, Features};

/// `XFS_SB_MAGIC`: `XFSB`.
const XFS_SB_MAGIC: u32 = 0x5846_5342;
/// The part of the superblock that every version has.
const SB_BYTES: usize = 272;
/// Where `sb_crc` stands.
const SB_CRC_AT: usize = 224;
/// A directory block is at most this long: `XFS_MAX_BLOCKSIZE_LOG`.
const MAX_DIRBLOCK_LOG: u8 = 16;

/// `XFS_DIR2_LEAF_OFFSET`: where in a directory the data blocks end and the index begins, in
/// bytes.
const LEAF_OFFSET: u64 = 1 << 35;

/// Which of the two layouts of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Metadata without checksums.
    V4,
    /// Metadata with checksums, which says where it lies and whose it is.
    V5,
}

/// A superblock whose numbers agree with each other.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) version: Version,
    /// Where in the view the file system begins. Not 0 only where it was found without its first
    /// superblock; below 0 if the view begins in the middle of it.
    pub(super) base: i64,
    /// `sb_blocksize`.
    pub(super) block: BlockSize,
    pub(super) sb_blocklog: u8,
    /// The blocks of the data device.
    pub(super) sb_dblocks: u64,
    /// The blocks of the realtime device.
    pub(super) sb_rblocks: u64,
    pub(super) sb_uuid: [u8; 16],
    /// The UUID that metadata carries: `sb_meta_uuid` where that feature is on.
    pub(super) meta_uuid: [u8; 16],
    /// The first block of the log; 0 if it is on another device.
    pub(super) sb_logstart: u64,
    pub(super) sb_logblocks: u32,
    pub(super) sb_rootino: u64,
    /// The blocks of an allocation group; the last may have fewer. Never zero.
    pub(super) sb_agblocks: u32,
    /// How many allocation groups there are. Never zero.
    pub(super) sb_agcount: u32,
    /// How many low bits of a block number count inside an allocation group.
    pub(super) sb_agblklog: u8,
    pub(super) sb_sectsize: u16,
    pub(super) sb_inodesize: u16,
    /// How many low bits of an inode number count inside a block.
    pub(super) sb_inopblog: u8,
    /// The label.
    pub(super) sb_fname: [u8; 12],
    /// How many file-system blocks a directory block has, as a power of two.
    pub(super) sb_dirblklog: u8,
    pub(super) features: Features,
    /// What a person should know of it.
    pub(super) notes: Vec<String>,
}

impl Superblock {
    /// Whether metadata carries checksums.
    pub(super) fn has_crc(&self) -> bool {
        self.version == Version::V5
    }

    /// Where in a directory the data blocks end and the index begins, in blocks.
    pub(super) fn leaf_offset(&self) -> u64 {
        LEAF_OFFSET
            .checked_shr(self.sb_blocklog.into())
            .unwrap_or(0)
    }

    /// How many file-system blocks a directory block has, at least one.
    pub(super) fn dirblock_blocks(&self) -> u64 {
        1_u64.checked_shl(self.sb_dirblklog.into()).unwrap_or(1)
    }

    /// The bytes of a directory block.
    pub(super) fn dirblock_bytes(&self) -> usize {
        self.block
            .len()
            .checked_shl(self.sb_dirblklog.into())
            .unwrap_or(0)
    }
}

/// Reads the superblock out of the first bytes of a volume; `None` if it is not one.
///
/// `head` is the first sector of the medium, up to the largest that there are. A number that
/// contradicts another is [`Error::Corrupt`]; a feature that is not understood is
/// [`Error::Unsupported`]. A checksum that does not fit is a note only: the numbers hold each
/// other, and the rest of the file system carries checksums of its own.
pub(super) fn parse(head: &[u8], origin: &Origin) -> Result<Option<Superblock>, Error> {
    let fields = Fields::new(head);
    if fields.be_u32(0) != Some(XFS_SB_MAGIC) {
        return Ok(None);
    }
    let corrupt =
        |what: String| Error::corrupt(format!("the XFS superblock: {what}"), origin.clone());
    if head.len() < SB_BYTES {
        return Err(corrupt("it is cut short".to_owned()));
    }
    let versionnum = fields.be_u16(100).unwrap_or(0);
    let version = match versionnum & 0xF {
        4 => Version::V4,
        5 => Version::V5,
        other => {
            let what = format!(
                "XFS version {other} (versions 4 and 5 are; kernels before 2.6 can copy the files off)"
            );
            return Err(Error::unsupported(what, origin.clone()));
        }
    };
    let mut sb = numbers(fields, version)
        .ok_or_else(|| corrupt("it is cut short or its block size is impossible".to_owned()))?;
    geometry(fields, &sb).map_err(corrupt)?;
    let checksum_fits = head
        .get(..sb.sb_sectsize.into())
        .is_some_and(|sector| crc_fits(sector, SB_CRC_AT));
    if version == Version::V5 && !checksum_fits {
        sb.notes.push(
            "the superblock's checksum does not fit; its numbers agree with each other and are used"
                .to_owned(),
        );
    }
    sb.features = features::read(fields, version, origin).map_err(|error| match error {
        // Bits that were flipped are no feature of a later format.
        Error::Unsupported { what, .. } if version == Version::V5 && !checksum_fits => {
            corrupt(format!("its checksum does not fit, and it asks for {what}"))
        }
        other => other,
    })?;
    sb.notes.append(&mut sb.features.notes());
    if fields.u8(126) != Some(0) {
        sb.notes.push(
            "sb_inprogress is set: mkfs.xfs or xfs_copy did not finish this file system".to_owned(),
        );
    }
    if sb.features.meta_uuid {
        sb.meta_uuid = fields.array(248).unwrap_or(sb.sb_uuid);
    }
    Ok(Some(sb))
}

/// The fields, not compared with each other yet.
fn numbers(fields: Fields<'_>, version: Version) -> Option<Superblock> {
    let sb_uuid = fields.array(32)?;
    Some(Superblock {
        version,
        base: 0,
        block: BlockSize::new(fields.be_u32(4)?)?,
        sb_dblocks: fields.be_u64(8)?,
        sb_rblocks: fields.be_u64(16)?,
        sb_uuid,
        meta_uuid: sb_uuid,
        sb_logstart: fields.be_u64(48)?,
        sb_rootino: fields.be_u64(56)?,
        sb_agblocks: fields.be_u32(84)?,
        sb_agcount: fields.be_u32(88)?,
        sb_logblocks: fields.be_u32(96)?,
        sb_sectsize: fields.be_u16(102)?,
        sb_inodesize: fields.be_u16(104)?,
        sb_fname: fields.array(108)?,
        sb_blocklog: fields.u8(120)?,
        sb_inopblog: fields.u8(123)?,
        sb_agblklog: fields.u8(124)?,
        sb_dirblklog: fields.u8(192)?,
        features: Features::default(),
        notes: Vec::new(),
    })
}

/// Whether the numbers agree with each other, as `xfs_validate_sb_common` asks.
fn geometry(fields: Fields<'_>, sb: &Superblock) -> Result<(), String> {
    let check = |fits: bool, what: &str| if fits { Ok(()) } else { Err(what.to_owned()) };
    let log_of = |value: u32| value.is_power_of_two().then(|| value.trailing_zeros());
    check(
        log_of(sb.block.get()) == Some(sb.sb_blocklog.into()),
        "sb_blocksize and sb_blocklog contradict each other",
    )?;
    check(
        (512..=32768).contains(&sb.sb_sectsize)
            && log_of(sb.sb_sectsize.into()) == fields.u8(121).map(u32::from),
        "sb_sectsize and sb_sectlog contradict each other",
    )?;
    let inodelog = fields.u8(122).unwrap_or(0);
    check(
        (256..=2048).contains(&sb.sb_inodesize)
            && log_of(sb.sb_inodesize.into()) == Some(inodelog.into()),
        "sb_inodesize and sb_inodelog contradict each other",
    )?;
    check(
        sb.sb_blocklog.checked_sub(inodelog) == Some(sb.sb_inopblog)
            && fields.be_u16(106).map(u32::from) == 1_u32.checked_shl(sb.sb_inopblog.into()),
        "sb_inopblock, sb_inopblog and the sizes of blocks and inodes contradict each other",
    )?;
    check(
        sb.sb_agblocks > 0
            && sb
                .sb_agblocks
                .checked_next_power_of_two()
                .map(u32::trailing_zeros)
                == Some(sb.sb_agblklog.into()),
        "sb_agblocks and sb_agblklog contradict each other",
    )?;
    let whole = u64::from(sb.sb_agcount).saturating_mul(sb.sb_agblocks.into());
    let all_but_one = whole.saturating_sub(sb.sb_agblocks.into());
    check(
        sb.sb_dblocks > all_but_one && sb.sb_dblocks <= whole,
        "sb_dblocks, sb_agblocks and sb_agcount contradict each other",
    )?;
    check(
        sb.sb_blocklog.saturating_add(sb.sb_dirblklog) <= MAX_DIRBLOCK_LOG,
        "sb_dirblklog makes directory blocks that are too long",
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::xfs::checksum::tests::seal;
    use evidence::ByteOffset;
    use proptest::prelude::*;

    pub(in crate::xfs) fn origin() -> Origin {
        Origin::new("volume:test", ByteOffset::ZERO)
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// A version 5 superblock of 4 groups of 1000 blocks of 4 KiB, the last of 500.
    pub(in crate::xfs) fn sector() -> Vec<u8> {
        let mut sb = vec![0; 512];
        put(&mut sb, 0, b"XFSB");
        put(&mut sb, 4, &4096_u32.to_be_bytes());
        put(&mut sb, 8, &3500_u64.to_be_bytes());
        put(&mut sb, 32, &[7; 16]);
        put(&mut sb, 56, &128_u64.to_be_bytes());
        put(&mut sb, 84, &1000_u32.to_be_bytes());
        put(&mut sb, 88, &4_u32.to_be_bytes());
        put(&mut sb, 100, &0xB4A5_u16.to_be_bytes());
        put(&mut sb, 102, &512_u16.to_be_bytes());
        put(&mut sb, 104, &512_u16.to_be_bytes());
        put(&mut sb, 106, &8_u16.to_be_bytes());
        put(&mut sb, 108, b"mail\0");
        put(&mut sb, 120, &[12, 9, 9, 3, 10]);
        put(&mut sb, 216, &3_u32.to_be_bytes());
        seal(&mut sb, SB_CRC_AT);
        sb
    }

    /// The superblock of [`sector`].
    pub(in crate::xfs) fn superblock() -> Superblock {
        parse(&sector(), &origin()).unwrap().unwrap()
    }

    #[test]
    fn other_bytes_are_no_superblock() {
        assert!(parse(&[0; 512], &origin()).unwrap().is_none());
        assert!(parse(b"XFS", &origin()).unwrap().is_none());
        assert!(matches!(
            parse(b"XFSB1234", &origin()),
            Err(Error::Corrupt { .. })
        ));
    }

    #[test]
    fn a_wrong_checksum_is_a_note_and_a_contradiction_an_error() {
        assert!(superblock().notes.is_empty());
        let mut sb = sector();
        sb[130] ^= 1;
        let parsed = parse(&sb, &origin()).unwrap().unwrap();
        assert!(parsed.notes[0].contains("checksum"));
        for at in [5, 13, 85, 88, 102, 104, 106, 120, 121, 122, 123, 124, 192] {
            let mut sb = sector();
            sb[at] ^= 0x20;
            assert!(
                matches!(parse(&sb, &origin()), Err(Error::Corrupt { .. })),
                "byte {at}"
            );
        }
    }

    #[test]
    fn features_that_are_not_understood_are_refused_by_name() {
        let mut sb = sector();
        put(&mut sb, 216, &0x8000_0100_u32.to_be_bytes());
        assert!(matches!(parse(&sb, &origin()), Err(Error::Corrupt { .. })));
        seal(&mut sb, SB_CRC_AT);
        let error = parse(&sb, &origin()).err().unwrap().to_string();
        assert!(
            error.contains("METADIR") && error.contains("bit 31"),
            "{error}"
        );
        let mut sb = sector();
        sb[101] = 0xA3;
        assert!(matches!(
            parse(&sb, &origin()),
            Err(Error::Unsupported { .. })
        ));
    }

    #[test]
    fn metadata_carries_the_other_uuid_where_that_feature_is_on() {
        let mut sb = sector();
        put(&mut sb, 216, &7_u32.to_be_bytes());
        put(&mut sb, 248, &[9; 16]);
        let parsed = parse(&sb, &origin()).unwrap().unwrap();
        assert_eq!((parsed.sb_uuid, parsed.meta_uuid), ([7; 16], [9; 16]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes, &origin());
            let mut sb = sector();
            for (at, byte) in bytes.iter().enumerate().skip(4).take(500) {
                if byte % 16 == 0 {
                    sb[at] = *byte;
                }
            }
            let _ = parse(&sb, &origin());
        }
    }
}
