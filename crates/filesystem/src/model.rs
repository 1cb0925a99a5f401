//! What every file system gives, whatever its structures on disk are.

use std::fmt;
use std::sync::Arc;

use evidence::{ByteOffset, Loss, ReadAt};
use serde::{Deserialize, Serialize};

use crate::decompress::Codec;

/// A file system that is open for reading.
///
/// Everything it gives is checked against the bounds of the volume; nothing that stands on
/// the disk makes it panic, loop, or allocate more than the volume is long.
pub trait Filesystem: Send + Sync {
    /// What it is and how it was left.
    fn info(&self) -> &Info;

    /// The bytes that [`Place::At`] points into: the volume, with a dirty journal's newer
    /// blocks laid over it in memory.
    fn view(&self) -> &Arc<dyn ReadAt>;

    /// The inode of the root directory.
    fn root(&self) -> InodeNumber;

    /// The inode with this number; a [`Loss`] if it cannot be read, is not in use, or contradicts itself.
    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss>;

    /// What a directory lists, without `.` and `..`.
    fn entries(&self, dir: &Inode) -> Listing;

    /// Where the contents of a file (or the target of a symbolic link) lie.
    ///
    /// The extents are ordered by file offset, do not overlap, and end at `size`. Ranges of
    /// the file that no extent covers are holes of a sparse file, and are named as such; ranges
    /// whose map was lost are in `losses` and have [`Place::Lost`].
    fn extents(&self, file: &Inode) -> Extents;
}

/// Which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The second extended file system: no journal.
    Ext2,
    /// The third: a journal, indirect blocks.
    Ext3,
    /// The fourth: extents.
    Ext4,
    /// XFS, versions 4 and 5.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext2 => "ext2",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Xfs => "XFS",
            Self::Btrfs => "btrfs",
        })
    }
}

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The format.
    pub kind: Kind,
    /// The version of the format and the features that matter for reading, in words.
    pub version: String,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// Its label.
    pub label: String,
    /// Bytes in a block.
    pub block_bytes: u32,
    /// The length of the file system in bytes, by its own superblock.
    pub bytes: u64,
    /// Things that a person should know before trusting what is read: a journal that was
    /// replayed, a log that was not, an error flag, a volume shorter than the file system.
    pub notes: Vec<String>,
}

/// The number of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InodeNumber(pub u64);

impl fmt::Display for InodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of thing an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device node, a FIFO or a socket: it has no contents.
    Special,
}

impl FileKind {
    /// The kind that the upper four bits of a POSIX mode name.
    pub const fn from_mode(mode: u16) -> Option<Self> {
        match mode & 0xF000 {
            0x8000 => Some(Self::Regular),
            0x4000 => Some(Self::Directory),
            0xA000 => Some(Self::Symlink),
            0x1000 | 0x2000 | 0x6000 | 0xC000 => Some(Self::Special),
            _ => None,
        }
    }
}

/// A point in time: seconds since 1970 and the nanoseconds after them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp {
    /// Seconds since the start of 1970, UTC.
    pub seconds: i64,
    /// Nanoseconds after that second, below 10^9.
    pub nanoseconds: u32,
}

/// How an inode stands in its file system.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In use when the file system was last written.
    #[default]
    InUse,
    /// Deleted before that. What is given is what it was, and what it held was free to be
    /// written over: extents that were are [`Place::Lost`].
    Deleted,
}

/// One inode, checked: its kind is known, its size fits the format's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub number: InodeNumber,
    /// Whether it was in use.
    pub standing: Standing,
    /// What it is.
    pub kind: FileKind,
    /// The POSIX mode, with the kind in the upper bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// The length of its contents in bytes.
    pub size: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the contents: for Maildir, the delivery.
    pub modified: Timestamp,
    /// Last change of the inode.
    pub changed: Timestamp,
    /// Creation, where the format keeps it.
    pub created: Option<Timestamp>,
    /// Where the inode lies in the view.
    pub place: ByteOffset,
    /// The inode as it stands on the disk, whole.
    pub raw: Vec<u8>,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name: bytes, never empty, without `/` and NUL, and neither `.` nor `..`.
    pub name: Vec<u8>,
    /// The inode it stands for.
    pub inode: InodeNumber,
}

/// What a directory lists, and what of it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries, sorted by name.
    pub entries: Vec<DirEntry>,
    /// Blocks that could not be read or contradict themselves.
    pub losses: Vec<Loss>,
}

/// Where a piece of a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "at")]
pub enum Place {
    /// In the view, at this offset.
    At(ByteOffset),
    /// In the view, compressed together with other pieces.
    Compressed {
        /// Where what is stored begins.
        at: ByteOffset,
        /// How many bytes are stored.
        stored: u64,
        /// How they are compressed.
        codec: Codec,
        /// How many of the decoded bytes come before this piece.
        skip: u64,
    },
    /// Nowhere: a hole of a sparse file reads as zeros.
    Hole,
    /// Allocated but never written: reads as zeros.
    Unwritten,
    /// The map that said where was lost.
    Lost,
}

impl Place {
    /// The place of what lies `bytes` behind the beginning of this one.
    pub fn skip(self, bytes: u64) -> Self {
        match self {
            Self::At(at) => at.checked_add(bytes).map_or(Self::Lost, Self::At),
            Self::Compressed {
                at,
                stored,
                codec,
                skip,
            } => Self::Compressed {
                at,
                stored,
                codec,
                skip: skip.saturating_add(bytes),
            },
            Self::Hole | Self::Unwritten | Self::Lost => self,
        }
    }
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where in the file it begins, in bytes.
    pub file_offset: u64,
    /// How long it is, in bytes. Inline contents may have any length.
    pub length: u64,
    /// Where its bytes are.
    pub place: Place,
}

/// The map of a file, and what of it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// The pieces by file offset, from 0 to the size of the file without a break.
    pub pieces: Vec<Extent>,
    /// Parts of the map that could not be read or contradict themselves.
    pub losses: Vec<Loss>,
}

/// A path in a file system: the names from the root on, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsPath(Vec<Vec<u8>>);

impl FsPath {
    /// The root.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_vec());
        Self(names)
    }

    /// The names, from the root on.
    pub fn names(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The last name; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.last().map(Vec::as_slice)
    }

    /// The directory it is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, names) = self.0.split_last()?;
        Some(Self(names.to_vec()))
    }
}

impl fmt::Display for FsPath {
    /// As text: bytes that are not UTF-8, and control characters, are shown as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for name in &self.0 {
            f.write_str("/")?;
            for chunk in name.utf8_chunks() {
                for c in chunk.valid().chars() {
                    if c.is_control() || c == '\\' {
                        let mut utf8 = [0; 4];
                        for byte in c.encode_utf8(&mut utf8).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    } else {
                        write!(f, "{c}")?;
                    }
                }
                for byte in chunk.invalid() {
                    write!(f, "\\x{byte:02x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_no_control_characters() {
        let path = FsPath::root().join(b"a\x1b[2J").join(&[b'b', 0xFF]);
        assert_eq!(path.to_string(), "/a\\x1b[2J/b\\xff");
        assert_eq!(path.parent().unwrap().name(), Some(&b"a\x1b[2J"[..]));
        assert_eq!(FsPath::root().to_string(), "/");
    }
}
