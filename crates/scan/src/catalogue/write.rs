//! Writing a segment.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::column::{Values, to_hex};
use super::schema::{BLOCKS, COLUMNS, Declared, FIND, UNIT, schema};
use super::{Segment, SegmentError};

type Writer = SerializedFileWriter<Vec<u8>>;

impl Segment {
    /// The bytes of its file. They are the same for the same segment.
    ///
    /// # Errors
    ///
    /// What the Parquet writer refuses; none of it can come from a scanned unit.
    pub fn encode(&self) -> Result<Bytes, SegmentError> {
        let mut writer = Writer::new(Vec::new(), schema()?, Arc::new(properties()?))?;
        // The kind of row is the row group: whoever wants one kind reads no other.
        write_rows(&mut writer, 1, |column| self.unit_column(column))?;
        write_rows(&mut writer, self.runs.len(), |column| {
            self.runs_column(column)
        })?;
        write_rows(&mut writer, self.finds.len(), |column| {
            self.finds_column(column)
        })?;
        Ok(writer.into_inner()?.into())
    }

    fn unit_column(&self, column: &Declared) -> Values {
        let unit = &self.unit;
        match column.name {
            "record" => text(UNIT, 1),
            "evidence" => text(&unit.evidence, 1),
            "start" => Values::Numbers(vec![Some(unit.start.get())]),
            "bytes" => Values::Numbers(vec![Some(unit.bytes)]),
            "unread" => Values::Numbers(vec![Some(unit.unread)]),
            "blake3" => Values::Text(vec![unit.blake3.as_ref().map(|hash| owned(to_hex(hash)))]),
            "sha256_state" => Values::Text(vec![
                unit.sha256_state
                    .as_deref()
                    .map(|state| owned(to_hex(state))),
            ]),
            _ => nothing(column, 1),
        }
    }

    fn runs_column(&self, column: &Declared) -> Values {
        let runs = self.runs.iter();
        match column.name {
            "record" => text(BLOCKS, self.runs.len()),
            "evidence" => text(&self.unit.evidence, self.runs.len()),
            "start" => Values::Numbers(runs.map(|run| Some(run.start.get())).collect()),
            "bytes" => Values::Numbers(runs.map(|run| Some(run.bytes)).collect()),
            "what" => Values::Text(runs.map(|run| Some(named(run.class.name()))).collect()),
            _ => nothing(column, self.runs.len()),
        }
    }

    fn finds_column(&self, column: &Declared) -> Values {
        let finds = self.finds.iter();
        match column.name {
            "record" => text(FIND, self.finds.len()),
            "evidence" => text(&self.unit.evidence, self.finds.len()),
            "start" => Values::Numbers(finds.map(|find| Some(find.offset.get())).collect()),
            "bytes" => Values::Numbers(finds.map(|find| find.bytes).collect()),
            "what" => Values::Text(finds.map(|find| Some(kind(&find.what))).collect()),
            "number" => Values::Numbers(finds.map(|find| find.number).collect()),
            "owner" => Values::Numbers(finds.map(|find| find.owner).collect()),
            "part_of" => Values::Text(finds.map(|find| find.part_of.clone().map(owned)).collect()),
            _ => nothing(column, self.finds.len()),
        }
    }
}

/// The same text in every row.
fn text(text: &str, rows: usize) -> Values {
    Values::Text(vec![Some(owned(text.to_owned())); rows])
}

fn owned(text: String) -> ByteArray {
    ByteArray::from(text.into_bytes())
}

/// A name that the program has anyway is not copied for each row.
fn named(name: &'static str) -> ByteArray {
    ByteArray::from(Bytes::from_static(name.as_bytes()))
}

#[expect(
    clippy::ptr_arg,
    reason = "a borrowed name lives on, and is not copied"
)]
fn kind(what: &Cow<'static, str>) -> ByteArray {
    match what {
        Cow::Borrowed(name) => named(name),
        Cow::Owned(name) => owned(name.clone()),
    }
}

/// A column that rows of this kind have nothing in.
fn nothing(column: &Declared, rows: usize) -> Values {
    if column.is_text {
        Values::Text(vec![None; rows])
    } else {
        Values::Numbers(vec![None; rows])
    }
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let start = COLUMNS.iter().position(|column| column.name == "start");
    let sorted = SortingColumn {
        column_idx: i32::try_from(start.unwrap_or(0)).unwrap_or(0),
        descending: false,
        nulls_first: false,
    };
    let start = ColumnPath::from("start");
    Ok(WriterProperties::builder()
        // The level that is fastest for what it saves: segments are written during the scan.
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_created_by("restante".to_owned())
        .set_sorting_columns(Some(vec![sorted]))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Places only grow: their distances take few bits.
        .set_column_dictionary_enabled(start.clone(), false)
        .set_column_encoding(start, Encoding::DELTA_BINARY_PACKED)
        .build())
}

/// Writes a row group of `rows` rows, unless there are none.
fn write_rows(
    writer: &mut Writer,
    rows: usize,
    values: impl Fn(&Declared) -> Values,
) -> Result<(), ParquetError> {
    if rows == 0 {
        return Ok(());
    }
    let mut group = writer.next_row_group()?;
    for column in &COLUMNS {
        let Some(mut chunk) = group.next_column()? else {
            break;
        };
        write_column(chunk.untyped(), column, values(column))?;
        chunk.close()?;
    }
    group.close()?;
    Ok(())
}

fn write_column(
    writer: &mut ColumnWriter<'_>,
    column: &Declared,
    values: Values,
) -> Result<(), ParquetError> {
    let levels: Option<Vec<i16>> = column.is_optional.then(|| match &values {
        Values::Text(values) => values
            .iter()
            .map(|value| i16::from(value.is_some()))
            .collect(),
        Values::Numbers(values) => values
            .iter()
            .map(|value| i16::from(value.is_some()))
            .collect(),
    });
    match (writer, values) {
        (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
            let there: Vec<ByteArray> = values.into_iter().flatten().collect();
            writer.write_batch(&there, levels.as_deref(), None)?;
        }
        (ColumnWriter::Int64ColumnWriter(writer), Values::Numbers(values)) => {
            // Parquet keeps unsigned numbers in signed ones of the same bits.
            let there: Vec<i64> = values.into_iter().flatten().map(u64::cast_signed).collect();
            writer.write_batch(&there, levels.as_deref(), None)?;
        }
        _ => {
            return Err(ParquetError::General(
                "a column has another type".to_owned(),
            ));
        }
    }
    Ok(())
}
