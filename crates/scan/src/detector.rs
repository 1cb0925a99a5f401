//! Those who recognise something, and what they are shown.

use std::borrow::Cow;
use std::num::NonZeroU64;

use evidence::ByteOffset;

use crate::Family;

/// Something that was recognised on a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// Where on the disk its first byte is.
    pub offset: ByteOffset,
    /// What it is: `md-superblock`, `ext-directory`, `message`.
    pub what: Cow<'static, str>,
    /// How long it is, in bytes, if its structure or its checksum shows that.
    pub bytes: Option<u64>,
    /// The number that it states of itself: of an inode, a place, a sequence.
    pub number: Option<u64>,
    /// The number of what it says it belongs to: an inode, a tree.
    pub owner: Option<u64>,
    /// The UUID or GUID, in hexadecimal, of the whole that it says it is a part of.
    pub part_of: Option<String>,
}

/// What a detector says of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// See [`Find::what`].
    pub what: &'static str,
    /// See [`Find::bytes`].
    pub bytes: Option<u64>,
    /// See [`Find::number`].
    pub number: Option<u64>,
    /// See [`Find::owner`].
    pub owner: Option<u64>,
    /// See [`Find::part_of`].
    pub part_of: Option<String>,
    /// Whose metadata it is: the blocks that it covers get that class.
    pub family: Option<Family>,
}

impl Found {
    /// Something called `what`, of which nothing more is known.
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }

    /// The find at `offset`.
    pub(crate) fn at(self, offset: ByteOffset) -> Find {
        Find {
            offset,
            what: Cow::Borrowed(self.what),
            bytes: self.bytes,
            number: self.number,
            owner: self.owner,
            part_of: self.part_of,
        }
    }
}

/// What makes a detector look at a place.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    /// These bytes (two at least), `at` bytes behind a multiple of `align`.
    Aligned {
        /// The place is a multiple of this many bytes of the disk; itself one of
        /// [`SECTOR`](crate::SECTOR_ALIGN).
        align: NonZeroU64,
        /// How far behind it the bytes stand.
        at: usize,
        /// The bytes.
        magic: &'static [u8],
    },
    /// Every multiple of `align`: for what has no bytes that are always the same. The detector
    /// should turn away most places at a glance.
    Every {
        /// The place is a multiple of this many bytes of the disk; itself one of
        /// [`SECTOR`](crate::SECTOR_ALIGN).
        align: NonZeroU64,
    },
    /// These bytes, anywhere.
    Needle(&'static [u8]),
    /// Four letters or hyphens behind a byte that is no text, anywhere.
    NameAfterOther,
}

/// A place that a detector looks at.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Where on the disk it is.
    pub offset: ByteOffset,
    /// The byte before it; `None` at the beginning of a unit, or if it could not be read.
    pub before: Option<u8>,
    /// The bytes from it on: as many as the detector's reach, or less where the disk ends or a
    /// gap begins.
    pub bytes: &'a [u8],
}

/// Recognises one kind of thing.
///
/// It is shown one place at a time, and sees of the disk [`Detector::reach`] bytes from there
/// on and one byte before. What it says cannot depend on anything else, so windows can be cut
/// anywhere. A unit begins at a place that is a multiple of everything: there the byte before is
/// not shown, and so a unit's finds depend on no other unit.
pub trait Detector: Send + Sync {
    /// What makes it look.
    fn triggers(&self) -> Vec<Trigger>;

    /// How many bytes of a place it wants to see, at most.
    fn reach(&self) -> usize;

    /// Looks at a place that one of its triggers named.
    fn examine(&self, place: &Place<'_>) -> Option<Found>;
}
