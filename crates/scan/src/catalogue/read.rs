//! Reading a segment.

use std::borrow::Cow;
use std::fs::File;

use bytes::Bytes;
use evidence::ByteOffset;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};

use super::column::{Values, from_hex};
use super::schema::{BLOCKS, COLUMNS, FIND, UNIT, schema};
use super::{Segment, SegmentError, UnitRecord};
use crate::{Class, Find, Run};

/// The rows of one kind.
struct Rows {
    columns: Vec<Values>,
    count: usize,
}

impl Segment {
    /// Reads the bytes of a segment's file.
    ///
    /// # Errors
    ///
    /// A file that is damaged, or none of ours.
    pub fn decode(file: Bytes) -> Result<Self, SegmentError> {
        let reader = open(file)?;
        let (mut unit, mut runs, mut finds) = (None, Vec::new(), Vec::new());
        for number in 0..reader.num_row_groups() {
            let rows = Rows::read(reader.get_row_group(number)?.as_ref())?;
            match rows.text("record", 0) {
                Some(UNIT) => unit = rows.unit(),
                Some(BLOCKS) => runs.extend(rows.all("a class is none", Rows::run)?),
                Some(FIND) => finds.extend(rows.all("a find is none", Rows::find)?),
                _ => return Err(SegmentError::NotASegment("it has other records")),
            }
        }
        Ok(Self {
            unit: unit.ok_or(SegmentError::NotASegment("it has no unit"))?,
            runs,
            finds,
        })
    }
}

impl UnitRecord {
    /// Reads the unit alone from a segment's file.
    ///
    /// # Errors
    ///
    /// A file that is damaged, or none of ours.
    pub fn read(file: File) -> Result<Self, SegmentError> {
        Self::first(file)
    }

    /// Reads the unit alone from the bytes of a segment's file.
    ///
    /// # Errors
    ///
    /// A file that is damaged, or none of ours.
    pub fn decode(file: Bytes) -> Result<Self, SegmentError> {
        Self::first(file)
    }

    fn first(file: impl ChunkReader + 'static) -> Result<Self, SegmentError> {
        let reader = open(file)?;
        if reader.num_row_groups() == 0 {
            return Err(SegmentError::NotASegment("it has no unit"));
        }
        let rows = Rows::read(reader.get_row_group(0)?.as_ref())?;
        rows.unit()
            .ok_or(SegmentError::NotASegment("it has no unit"))
    }
}

fn open<F: ChunkReader + 'static>(file: F) -> Result<SerializedFileReader<F>, SegmentError> {
    let reader = SerializedFileReader::new(file)?;
    let found = reader.metadata().file_metadata().schema();
    if *found != *schema()? {
        return Err(SegmentError::NotASegment("it has other columns"));
    }
    Ok(reader)
}

impl Rows {
    fn read(group: &dyn RowGroupReader) -> Result<Self, SegmentError> {
        let count = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let columns: Result<Vec<Values>, SegmentError> = (0..COLUMNS.len())
            .map(|index| values(group.get_column_reader(index)?, count))
            .collect();
        Ok(Self {
            columns: columns?,
            count,
        })
    }

    fn column(&self, name: &str) -> Option<&Values> {
        let index = COLUMNS.iter().position(|column| column.name == name)?;
        self.columns.get(index)
    }

    fn text(&self, name: &str, row: usize) -> Option<&str> {
        self.column(name)?.text(row)
    }

    fn number(&self, name: &str, row: usize) -> Option<u64> {
        self.column(name)?.number(row)
    }

    /// What each row says; rows that say nothing make `what` the error.
    fn all<T>(
        &self,
        what: &'static str,
        read: fn(&Self, usize) -> Option<T>,
    ) -> Result<Vec<T>, SegmentError> {
        let all: Option<Vec<T>> = (0..self.count).map(|row| read(self, row)).collect();
        all.ok_or(SegmentError::NotASegment(what))
    }

    fn unit(&self) -> Option<UnitRecord> {
        let hash = self.text("blake3", 0).map(from_hex);
        // A hash that is none is no reason to believe that there was never one.
        let blake3 = match hash {
            Some(hash) => Some(hash?.try_into().ok()?),
            None => None,
        };
        Some(UnitRecord {
            evidence: self.text("evidence", 0)?.to_owned(),
            start: ByteOffset::new(self.number("start", 0)?),
            bytes: self.number("bytes", 0)?,
            unread: self.number("unread", 0)?,
            blake3,
            sha256_state: self.text("sha256_state", 0).and_then(from_hex),
        })
    }

    fn run(&self, row: usize) -> Option<Run> {
        Some(Run {
            start: ByteOffset::new(self.number("start", row)?),
            bytes: self.number("bytes", row)?,
            class: Class::from_name(self.text("what", row)?)?,
        })
    }

    fn find(&self, row: usize) -> Option<Find> {
        Some(Find {
            offset: ByteOffset::new(self.number("start", row)?),
            what: Cow::Owned(self.text("what", row)?.to_owned()),
            bytes: self.number("bytes", row),
            number: self.number("number", row),
            owner: self.number("owner", row),
            part_of: self.text("part_of", row).map(str::to_owned),
        })
    }
}

/// The values of one column, `None` where a row has none.
fn values(reader: ColumnReader, count: usize) -> Result<Values, SegmentError> {
    // What the file says of its length is not believed before the rows are there.
    let room = count.min(1 << 16);
    match reader {
        ColumnReader::ByteArrayColumnReader(mut reader) => {
            let (mut there, mut levels) = (Vec::<ByteArray>::with_capacity(room), Vec::new());
            reader.read_records(count, Some(&mut levels), None, &mut there)?;
            let texts = there.into_iter().map(Ok);
            Ok(Values::Text(spread(texts, &levels)?))
        }
        ColumnReader::Int64ColumnReader(mut reader) => {
            let (mut there, mut levels) = (Vec::<i64>::with_capacity(room), Vec::new());
            reader.read_records(count, Some(&mut levels), None, &mut there)?;
            let numbers = there.into_iter().map(|number| Ok(number.cast_unsigned()));
            Ok(Values::Numbers(spread(numbers, &levels)?))
        }
        _ => Err(SegmentError::NotASegment("a column has another type")),
    }
}

/// Puts values into the rows that have one: those whose level is not 0. A column in which every
/// row has one has no levels.
fn spread<T>(
    mut there: impl Iterator<Item = Result<T, SegmentError>>,
    levels: &[i16],
) -> Result<Vec<Option<T>>, SegmentError> {
    if levels.is_empty() {
        return there.map(|value| value.map(Some)).collect();
    }
    let rows = levels.iter().map(|level| match level {
        0 => Ok(None),
        _ => there.next().transpose(),
    });
    rows.collect()
}
