//! The catalogue: what a scan keeps of a unit, as one Parquet file.
//!
//! A [`Segment`] is the unit, the classes of its blocks and its finds. [`Segment::encode`] gives
//! the bytes of its file and [`Segment::decode`] reads them again. The file has three row groups,
//! one a kind of record, each sorted by place, so that [`UnitRecord::decode`] reads one row and
//! a query over finds reads finds alone. The columns are described in `docs/case-format.md`;
//! tools that know Parquet read them without this program.

mod column;
mod read;
mod schema;
mod write;

use evidence::ByteOffset;

use crate::{Find, Run, RunningSha256, Unit, UnitHash, UnitResult};

/// What a segment's file is called after a dot.
pub const SEGMENT_EXTENSION: &str = "parquet";

/// A scanned unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitRecord {
    /// The name of the evidence.
    pub evidence: String,
    /// Where the unit begins, in bytes.
    pub start: ByteOffset,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// How many of its bytes could not be read.
    pub unread: u64,
    /// Its [`UnitHash`]; `None` if the scan was asked not to hash.
    pub blake3: Option<UnitHash>,
    /// The saved state of SHA-256 after it, if that was asked for.
    pub sha256_state: Option<Vec<u8>>,
}

impl UnitRecord {
    /// The state of SHA-256 after the unit, if it was asked for.
    pub fn sha256(&self) -> Option<RunningSha256> {
        RunningSha256::load(self.sha256_state.as_deref()?)
    }
}

/// All that is kept of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The unit itself.
    pub unit: UnitRecord,
    /// The classes of its blocks, in order, without a gap between them.
    pub runs: Vec<Run>,
    /// What was found, sorted.
    pub finds: Vec<Find>,
}

impl Segment {
    /// What is kept of a unit of `evidence`.
    pub fn new(evidence: &str, unit: Unit, result: UnitResult) -> Self {
        Self {
            unit: UnitRecord {
                evidence: evidence.to_owned(),
                start: unit.start,
                bytes: unit.bytes,
                unread: result.unread,
                blake3: result.hash,
                sha256_state: result.sha256.as_ref().map(RunningSha256::save),
            },
            runs: result.runs,
            finds: result.finds,
        }
    }

    /// The class of the block that `offset` lies in; `None` outside the unit.
    pub fn class_at(&self, offset: u64) -> Option<crate::Class> {
        let after = self.runs.partition_point(|run| run.start.get() <= offset);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let inside = offset.saturating_sub(run.start.get()) < run.bytes;
        inside.then_some(run.class)
    }
}

/// The name of the file of a unit of `evidence`, without its extension: made from the evidence and
/// the unit's range alone, so that whoever scans it writes the same file.
pub fn segment_name(evidence: &str, unit: Unit) -> String {
    format!("{evidence}@{:016x}-{:016x}", unit.start.get(), unit.end())
}

/// Why a segment could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It is no Parquet file, or a damaged one.
    #[error("{0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// It is one, and not ours.
    #[error("it is no catalogue segment: {0}")]
    NotASegment(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Family};

    fn segment(finds: usize) -> Segment {
        let start = 64 << 20;
        let run = |at: u64, bytes, class| Run {
            start: ByteOffset::new(start + at),
            bytes,
            class,
        };
        let find = |number: u64| Find {
            offset: ByteOffset::new(start + number * 512),
            what: if number.is_multiple_of(3) {
                "message"
            } else {
                "xfs-inode"
            }
            .into(),
            bytes: number.is_multiple_of(2).then_some(number + 100),
            number: number.is_multiple_of(5).then_some(u64::MAX - number),
            owner: None,
            part_of: number.is_multiple_of(7).then(|| format!("{number:032x}")),
        };
        Segment {
            unit: UnitRecord {
                evidence: "disk-ä".to_owned(),
                start: ByteOffset::new(start),
                bytes: 1 << 20,
                unread: 512,
                blake3: Some([0xA5; 32]),
                sha256_state: Some(vec![1, 2, 3]),
            },
            runs: vec![
                run(0, 4096, Class::Unread),
                run(4096, 8192, Class::Metadata(Family::Ext)),
                run(12_288, (1 << 20) - 12_288, Class::Zero),
            ],
            finds: (0..finds as u64).map(find).collect(),
        }
    }

    #[test]
    fn a_segment_comes_back_from_its_file() {
        for finds in [0, 1, 2000] {
            let segment = segment(finds);
            let file = segment.encode().unwrap();
            assert_eq!(Segment::decode(file.clone()).unwrap(), segment);
            assert_eq!(UnitRecord::decode(file.clone()).unwrap(), segment.unit);
            assert_eq!(segment.encode().unwrap(), file, "the same bytes again");
        }
        let mut bare = segment(1);
        bare.unit.blake3 = None;
        bare.unit.sha256_state = None;
        let file = bare.encode().unwrap();
        assert_eq!(Segment::decode(file).unwrap(), bare);
    }

    #[test]
    fn rows_are_kept_in_few_bytes() {
        let file = segment(20_000).encode().unwrap();
        assert!(file.len() < 20_000 * 12, "{} bytes", file.len());
    }

    #[test]
    fn the_class_of_a_place_is_that_of_its_run() {
        let segment = segment(0);
        let at = |at: u64| segment.class_at((64 << 20) + at);
        assert_eq!(at(0), Some(Class::Unread));
        assert_eq!(at(4095), Some(Class::Unread));
        assert_eq!(at(4096), Some(Class::Metadata(Family::Ext)));
        assert_eq!(at((1 << 20) - 1), Some(Class::Zero));
        assert_eq!(at(1 << 20), None);
        assert_eq!(segment.class_at(0), None);
    }

    #[test]
    fn what_is_no_segment_is_an_error() {
        let file = segment(10).encode().unwrap();
        for cut in [0, 3, 100, file.len() - 1] {
            assert!(Segment::decode(file.slice(..cut)).is_err(), "{cut}");
        }
        let mut other = file.to_vec();
        for at in (4..other.len()).step_by(97) {
            other[at] ^= 0x55;
            // An error or another segment, but no panic.
            let _ = Segment::decode(other.clone().into());
            other[at] ^= 0x55;
        }
    }
}
