//! Inodes: `struct xfs_dinode`.
//!
//! Specification: *On-disk Inode*; kernel: `libxfs/xfs_format.h`, `xfs_inode_buf.c`.

use evidence::{ByteOffset, Cause, Fields, Loss};

use super::checksum::crc_fits;
use super::superblock::{Superblock, Version};
use super::volume::{Volume, corrupt};
use crate::{FileKind, Inode, InodeNumber, Standing, Timestamp};

/// `XFS_DINODE_MAGIC`: `IN`.
pub(super) const XFS_DINODE_MAGIC: u16 = 0x494E;
/// Where the forks begin in versions 1 and 2 of the inode.
pub(super) const LITERAL_V2: usize = 100;
/// Where the forks begin in version 3: `sizeof(struct xfs_dinode)`.
pub(super) const LITERAL_V3: usize = 176;
/// Where `di_crc` stands.
pub(super) const DI_CRC_AT: usize = 100;
/// `XFS_DIFLAG_REALTIME`.
const DIFLAG_REALTIME: u16 = 0x1;
/// `XFS_DIFLAG2_BIGTIME`.
const DIFLAG2_BIGTIME: u64 = 0x8;
/// `XFS_DIFLAG2_NREXT64`.
const DIFLAG2_NREXT64: u64 = 0x10;
/// Times with bigtime count from here: `XFS_BIGTIME_EPOCH_OFFSET` seconds before 1970.
const BIGTIME_EPOCH: i64 = 1 << 31;
const NANOSECONDS: u64 = 1_000_000_000;

/// `enum xfs_dinode_fmt`: how the data fork is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `XFS_DINODE_FMT_DEV`: a device number.
    Dev,
    /// `XFS_DINODE_FMT_LOCAL`: the contents themselves.
    Local,
    /// `XFS_DINODE_FMT_EXTENTS`: the extents.
    Extents,
    /// `XFS_DINODE_FMT_BTREE`: the root of a tree of extents.
    Btree,
}

/// An inode's bytes, checked so far that its data fork can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dinode<'a> {
    fields: Fields<'a>,
    /// 1 to 3.
    di_version: u8,
    pub(super) format: Format,
    /// How many extents the data fork has.
    pub(super) di_nextents: u64,
    /// Whether the contents lie on the realtime device.
    pub(super) realtime: bool,
    /// Where in the inode the data fork begins.
    pub(super) fork_at: usize,
    /// The data fork.
    pub(super) fork: &'a [u8],
    kind: FileKind,
}

impl<'a> Dinode<'a> {
    /// Reads the bytes of an inode; the text says what contradicts the format.
    pub(super) fn parse(raw: &'a [u8], version: Version) -> Result<Self, String> {
        let fields = Fields::new(raw);
        if fields.be_u16(0) != Some(XFS_DINODE_MAGIC) {
            return Err("its magic is not IN".to_owned());
        }
        let di_version = fields.u8(4).unwrap_or(0);
        match (version, di_version) {
            (Version::V4, 1 | 2) | (Version::V5, 3) => {}
            _ => return Err(format!("inodes of version {di_version} have no place here")),
        }
        let di_mode = fields.be_u16(2).unwrap_or(0);
        if di_mode == 0 {
            return Err("it is not in use".to_owned());
        }
        let kind = FileKind::from_mode(di_mode)
            .ok_or_else(|| format!("its mode {di_mode:o} names no kind of file"))?;
        let format = format_of(fields.u8(5), kind)?;
        let fork_at = if di_version == 3 {
            LITERAL_V3
        } else {
            LITERAL_V2
        };
        let literal = raw.get(fork_at..).unwrap_or_default();
        let forkoff = usize::from(fields.u8(82).unwrap_or(0)).saturating_mul(8);
        let fork = match forkoff {
            0 => Some(literal),
            _ => literal.get(..forkoff),
        };
        let fork = fork.ok_or("its attribute fork begins behind its end")?;
        let flags2 = di_flags2(fields, di_version);
        let di_nextents = if flags2 & DIFLAG2_NREXT64 == 0 {
            fields.be_u32(76).map(u64::from)
        } else {
            fields.be_u64(24)
        };
        Ok(Self {
            fields,
            di_version,
            format,
            di_nextents: di_nextents.unwrap_or(0),
            realtime: kind == FileKind::Regular
                && fields.be_u16(90).unwrap_or(0) & DIFLAG_REALTIME != 0,
            fork_at,
            fork,
            kind,
        })
    }

    fn timestamp(&self, at: usize) -> Timestamp {
        let flags2 = di_flags2(self.fields, self.di_version);
        timestamp(self.fields, at, flags2 & DIFLAG2_BIGTIME != 0)
    }

    /// `di_size`: the length of the contents.
    fn size(&self) -> Result<u64, String> {
        let size = match self.kind {
            FileKind::Special => 0,
            _ => self.fields.be_u64(56).unwrap_or(0),
        };
        if i64::try_from(size).is_err() {
            return Err(format!("its size {size} is impossible"));
        }
        if self.format == Format::Local && size > self.fork.len() as u64 {
            return Err(format!("its size {size} does not fit into the inode"));
        }
        Ok(size)
    }
}

/// `di_flags2`, which only version 3 has.
fn di_flags2(fields: Fields<'_>, di_version: u8) -> u64 {
    match di_version {
        3 => fields.be_u64(120).unwrap_or(0),
        _ => 0,
    }
}

/// `di_format`, if a data fork of that kind of file can be kept so.
fn format_of(di_format: Option<u8>, kind: FileKind) -> Result<Format, String> {
    match (di_format, kind) {
        (Some(0), FileKind::Special) => Ok(Format::Dev),
        (Some(1), FileKind::Directory | FileKind::Symlink) => Ok(Format::Local),
        (Some(2), FileKind::Regular | FileKind::Directory | FileKind::Symlink) => {
            Ok(Format::Extents)
        }
        (Some(3), FileKind::Regular | FileKind::Directory | FileKind::Symlink) => Ok(Format::Btree),
        (Some(other), _) => Err(format!("its data fork cannot have the format {other}")),
        (None, _) => Err("it is cut short".to_owned()),
    }
}

/// `xfs_timestamp_t` at `at`: seconds and nanoseconds, or with bigtime one count of nanoseconds.
fn timestamp(fields: Fields<'_>, at: usize, bigtime: bool) -> Timestamp {
    if bigtime {
        let count = fields.be_u64(at).unwrap_or(0);
        let seconds = i64::try_from(count / NANOSECONDS).unwrap_or(i64::MAX);
        return Timestamp {
            seconds: seconds.saturating_sub(BIGTIME_EPOCH),
            nanoseconds: u32::try_from(count % NANOSECONDS).unwrap_or(0),
        };
    }
    let seconds = fields.be_i32(at).unwrap_or(0);
    let nanoseconds = fields.be_u32(at.saturating_add(4)).unwrap_or(0);
    Timestamp {
        seconds: seconds.into(),
        nanoseconds: nanoseconds.min(999_999_999),
    }
}

/// What version 5 inodes say of themselves.
pub(super) fn self_description(
    raw: &[u8],
    number: InodeNumber,
    sb: &Superblock,
) -> Result<(), String> {
    let fields = Fields::new(raw);
    if !crc_fits(raw, DI_CRC_AT) {
        return Err("its checksum does not fit".to_owned());
    }
    match fields.be_u64(152) {
        Some(di_ino) if di_ino == number.0 => {}
        other => {
            let other = other.unwrap_or(0);
            return Err(format!("it says that it is inode {other}"));
        }
    }
    if fields.array::<16>(160) != Some(sb.meta_uuid) {
        return Err("it carries the UUID of another file system".to_owned());
    }
    Ok(())
}

/// Reads the inode `number`.
pub(super) fn read(volume: &Volume, number: InodeNumber) -> Result<Inode, Loss> {
    let sb = &volume.sb;
    let what = || format!("inode {number}");
    let Some(place) = sb.inode_place(number) else {
        let cause = corrupt("the file system has no inode of that number");
        return Err(volume.loss(what(), ByteOffset::ZERO, cause));
    };
    let loss = |cause: Cause| volume.loss(what(), place, cause);
    let raw = volume
        .cache
        .read(place, sb.sb_inodesize.into())
        .map_err(loss)?;
    // What is not in use says so before anything else.
    let inode = of_raw(sb.version, number, place, raw).map_err(|why| loss(Cause::Corrupt(why)))?;
    if sb.has_crc() {
        self_description(&inode.raw, number, sb).map_err(|why| loss(Cause::Corrupt(why)))?;
    }
    Ok(inode)
}

/// The inode that `raw`, found at `place`, makes; the text says what contradicts the format.
pub(super) fn of_raw(
    version: Version,
    number: InodeNumber,
    place: ByteOffset,
    raw: Vec<u8>,
) -> Result<Inode, String> {
    let dinode = Dinode::parse(&raw, version)?;
    let size = dinode.size()?;
    let fields = dinode.fields;
    let links = match dinode.di_version {
        // Version 1 counts names in what is `di_onlink` later.
        1 => fields.be_u16(6).map(u32::from),
        _ => fields.be_u32(16),
    };
    Ok(Inode {
        number,
        standing: Standing::InUse,
        kind: dinode.kind,
        mode: fields.be_u16(2).unwrap_or(0),
        uid: fields.be_u32(8).unwrap_or(0),
        gid: fields.be_u32(12).unwrap_or(0),
        links: links.unwrap_or(0),
        size,
        accessed: dinode.timestamp(32),
        modified: dinode.timestamp(40),
        changed: dinode.timestamp(48),
        created: (dinode.di_version == 3).then(|| dinode.timestamp(144)),
        place,
        raw,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::xfs::checksum::tests::seal;
    use crate::xfs::volume::tests::volume;
    use proptest::prelude::*;

    /// The number of the inode that [`image`] makes; it lies at 256 × 512.
    pub(in crate::xfs) const NUMBER: InodeNumber = InodeNumber(256);

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// A version 3 inode with `fork` in the format `di_format`.
    pub(in crate::xfs) fn image(
        mode: u16,
        di_format: u8,
        nextents: u32,
        size: u64,
        fork: &[u8],
    ) -> Vec<u8> {
        let mut raw = vec![0; 512];
        put(&mut raw, 0, b"IN");
        put(&mut raw, 2, &mode.to_be_bytes());
        put(&mut raw, 4, &[3, di_format]);
        put(&mut raw, 16, &1_u32.to_be_bytes());
        put(&mut raw, 56, &size.to_be_bytes());
        put(&mut raw, 76, &nextents.to_be_bytes());
        put(&mut raw, 152, &NUMBER.0.to_be_bytes());
        put(&mut raw, 160, &[7; 16]);
        put(&mut raw, LITERAL_V3, fork);
        seal(&mut raw, DI_CRC_AT);
        raw
    }

    fn read_back(raw: &[u8]) -> Result<Inode, Loss> {
        read(&volume(&[(NUMBER.0 * 512, raw)]), NUMBER)
    }

    #[test]
    fn an_inode_is_believed_only_whole_and_in_its_place() {
        let good = image(0o100_644, 2, 0, 0, &[]);
        assert_eq!(read_back(&good).unwrap().mode, 0o100_644);
        for (at, why) in [(0, "magic"), (4, "version"), (300, "checksum")] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let loss = read_back(&bad).unwrap_err().to_string();
            assert!(loss.contains(why), "{loss}");
        }
        for (at, why) in [
            (159, "inode 257"),
            (160, "another file system"),
            (2, "not in use"),
        ] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            if at == 2 {
                bad[2..4].fill(0);
            }
            seal(&mut bad, DI_CRC_AT);
            let loss = read_back(&bad).unwrap_err().to_string();
            assert!(loss.contains(why), "{loss}");
        }
    }

    #[test]
    fn local_contents_must_fit_into_the_inode() {
        assert!(read_back(&image(0o120_777, 1, 0, 336, b"target")).is_ok());
        assert!(read_back(&image(0o120_777, 1, 0, 337, b"target")).is_err());
        let mut forked = image(0o120_777, 1, 0, 17, b"target");
        forked[82] = 2;
        seal(&mut forked, DI_CRC_AT);
        assert!(read_back(&forked).is_err());
        forked[82] = 43;
        seal(&mut forked, DI_CRC_AT);
        assert!(read_back(&forked).is_err());
    }

    #[test]
    fn times_before_1970_and_after_2038_are_kept() {
        let mut raw = [0; 16];
        put(&mut raw, 0, &(-5_i32).to_be_bytes());
        put(&mut raw, 4, &7_u32.to_be_bytes());
        let big = (3_u64 << 31) * NANOSECONDS + 9;
        put(&mut raw, 8, &big.to_be_bytes());
        let fields = Fields::new(&raw);
        let want = |seconds, nanoseconds| Timestamp {
            seconds,
            nanoseconds,
        };
        assert_eq!(timestamp(fields, 0, false), want(-5, 7));
        assert_eq!(timestamp(fields, 8, true), want(2 << 31, 9));
        let none = Fields::new(&[0; 8]);
        assert_eq!(timestamp(none, 0, true), want(-(1 << 31), 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut raw in prop::collection::vec(any::<u8>(), 0..700)) {
            for magic in [false, true] {
                if magic && raw.len() > 6 {
                    put(&mut raw, 0, b"IN\x81\xA4\x03\x02");
                }
                for version in [Version::V4, Version::V5] {
                    if let Ok(dinode) = Dinode::parse(&raw, version) {
                        let _ = dinode.size();
                    }
                }
            }
        }
    }
}
