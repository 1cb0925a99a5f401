//! Records of a dbox that lie somewhere on a device, outside of any file that is known.

use std::ops::Range;

use evidence::ReadAt;

use super::known_of;
use super::record::{self, MAGIC_POST, MAGIC_PRE, Record};
use crate::store::{Known, without_prefix};

/// What the header of a message begins with; it may begin at any byte.
pub const HEADER: &[u8] = MAGIC_PRE;
/// What the metadata behind a message begins with.
pub const METADATA: &[u8] = MAGIC_POST;

/// Whether a file of a dbox begins here.
pub fn begins(head: &[u8]) -> bool {
    record::begins(head.get(..MOST_LINE.min(head.len())).unwrap_or_default())
}

/// The first line of a file is no longer.
const MOST_LINE: usize = 256;

/// A message with the header before it, as far as it goes where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Where the header begins, in bytes from the start of the device.
    pub header: u64,
    /// Where the message lies by its size, if its file goes on without a break.
    pub message: Range<u64>,
    /// What stands behind it, if it is where the size says.
    pub metadata: Option<Metadata>,
}

/// What stands behind a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Where it begins.
    pub at: u64,
    /// Where what is behind it begins.
    pub end: u64,
    /// What it says of the message.
    pub known: Known,
    /// The folder that the message was first saved to, with `.` between levels.
    pub folder: Option<String>,
}

impl Metadata {
    fn of(at: u64, record: &Record, end: u64) -> Self {
        let folder = record.metadata.get(&b'B').map(|name| {
            let separator = if name.contains('/') { b'/' } else { b'.' };
            without_prefix(name.as_bytes(), separator)
        });
        Self {
            at,
            end,
            known: known_of(record),
            folder,
        }
    }
}

/// The message whose header is at `at`; `None` if none is, or it says that it is longer than the
/// device.
pub fn message_at(device: &dyn ReadAt, at: u64) -> Option<Loose> {
    let (record, next) = record::record_at(device, at)?;
    let is_closed = next > record.message.end;
    let metadata = is_closed.then(|| Metadata::of(record.message.end, &record, next));
    Some(Loose {
        header: at,
        message: record.message,
        metadata,
    })
}

/// The metadata that begins at `at`, if it is whole.
pub fn metadata_at(device: &dyn ReadAt, at: u64) -> Option<Metadata> {
    let found = record::metadata_at(device, at)?;
    let record = Record {
        metadata: found.lines,
        ..Record::default()
    };
    Some(Metadata::of(at, &record, found.next?))
}
