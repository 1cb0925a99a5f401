//! Inodes: `struct btrfs_inode_item`.

use evidence::{ByteOffset, Fields};

use crate::{FileKind, Inode, InodeNumber, Standing, Timestamp};

/// `BTRFS_INODE_NODATASUM`.
const NODATASUM: u64 = 1;

/// An inode item, as far as [`Inode`] does not keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extra {
    /// How many bytes its extents have, without holes.
    pub(super) nbytes: u64,
    /// Whether its data has no checksums.
    pub(super) nodatasum: bool,
}

impl Extra {
    /// What the item `raw` says besides.
    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        let fields = Fields::new(raw);
        Some(Self {
            nbytes: fields.le_u64(24)?,
            nodatasum: fields.le_u64(64)? & NODATASUM != 0,
        })
    }
}

/// Reads an inode item that lies at `place`; the text says what contradicts the format.
pub(super) fn parse(
    raw: &[u8],
    number: InodeNumber,
    standing: Standing,
    place: ByteOffset,
) -> Result<Inode, String> {
    let fields = Fields::new(raw);
    let short = || "it is cut short".to_owned();
    let mode = fields.le_u32(52).ok_or_else(short)?;
    let mode = u16::try_from(mode).map_err(|_| format!("its mode {mode:o} is impossible"))?;
    let kind = FileKind::from_mode(mode)
        .ok_or_else(|| format!("its mode {mode:o} names no kind of file"))?;
    let size = match kind {
        FileKind::Special => 0,
        _ => fields.le_u64(16).ok_or_else(short)?,
    };
    if i64::try_from(size).is_err() {
        return Err(format!("its size {size} is impossible"));
    }
    let created = timestamp(fields, 148).ok_or_else(short)?;
    Ok(Inode {
        number,
        standing,
        kind,
        mode,
        uid: fields.le_u32(44).unwrap_or(0),
        gid: fields.le_u32(48).unwrap_or(0),
        links: fields.le_u32(40).unwrap_or(0),
        size,
        accessed: timestamp(fields, 112).unwrap_or_default(),
        modified: timestamp(fields, 136).unwrap_or_default(),
        changed: timestamp(fields, 124).unwrap_or_default(),
        created: Some(created),
        place,
        raw: raw.to_vec(),
    })
}

/// `struct btrfs_timespec` at `at`.
fn timestamp(fields: Fields<'_>, at: usize) -> Option<Timestamp> {
    let seconds = i64::from_le_bytes(fields.array(at)?);
    let nanoseconds = fields.le_u32(at.checked_add(8)?)?;
    Some(Timestamp {
        seconds,
        nanoseconds: nanoseconds.min(999_999_999),
    })
}

/// A directory of which nothing but its number is known.
pub(super) fn nameless_directory(number: InodeNumber, standing: Standing) -> Inode {
    Inode {
        number,
        standing,
        kind: FileKind::Directory,
        mode: 0o40_755,
        uid: 0,
        gid: 0,
        links: 1,
        size: 0,
        accessed: Timestamp::default(),
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        created: None,
        place: ByteOffset::ZERO,
        raw: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_inode_needs_a_kind_a_size_and_all_its_bytes() {
        let mut raw = vec![0; 160];
        raw[52..56].copy_from_slice(&0o100_644_u32.to_le_bytes());
        raw[16] = 77;
        raw[136..144].copy_from_slice(&(-3_i64).to_le_bytes());
        let read = |raw: &[u8]| parse(raw, InodeNumber(257), Standing::InUse, ByteOffset::ZERO);
        let inode = read(&raw).unwrap();
        assert_eq!((inode.size, inode.modified.seconds), (77, -3));
        assert!(read(&raw[..159]).is_err());
        raw[23] = 0x80;
        assert!(read(&raw).unwrap_err().contains("size"));
        raw[54] = 1;
        assert!(read(&raw).unwrap_err().contains("mode"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&raw, InodeNumber(1), Standing::InUse, ByteOffset::ZERO);
            let _ = Extra::parse(&raw);
        }
    }
}
