//! The columns of a segment, declared once for those who write and those who read.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

/// What a row is.
pub(super) const UNIT: &str = "unit";
/// A run of blocks of one class.
pub(super) const BLOCKS: &str = "blocks";
/// Something that was recognised.
pub(super) const FIND: &str = "find";

/// A column's name, whether it is text, and whether rows may have nothing in it.
pub(super) struct Declared {
    pub(super) name: &'static str,
    pub(super) is_text: bool,
    pub(super) is_optional: bool,
}

const fn text(name: &'static str, is_optional: bool) -> Declared {
    Declared {
        name,
        is_text: true,
        is_optional,
    }
}

const fn number(name: &'static str, is_optional: bool) -> Declared {
    Declared {
        name,
        is_text: false,
        is_optional,
    }
}

/// The columns, in their order.
pub(super) const COLUMNS: [Declared; 11] = [
    text("record", false),
    text("evidence", false),
    number("start", false),
    number("bytes", true),
    text("what", true),
    number("number", true),
    number("owner", true),
    text("part_of", true),
    number("unread", true),
    text("blake3", true),
    text("sha256_state", true),
];

/// The schema that they make.
pub(super) fn schema() -> Result<TypePtr, ParquetError> {
    let fields: Result<Vec<TypePtr>, ParquetError> = COLUMNS.iter().map(field).collect();
    Ok(Arc::new(
        Type::group_type_builder("segment")
            .with_fields(fields?)
            .build()?,
    ))
}

fn field(column: &Declared) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = if column.is_text {
        (PhysicalType::BYTE_ARRAY, LogicalType::String)
    } else {
        (PhysicalType::INT64, LogicalType::integer(64, false))
    };
    let repetition = if column.is_optional {
        Repetition::OPTIONAL
    } else {
        Repetition::REQUIRED
    };
    let field = Type::primitive_type_builder(column.name, physical)
        .with_logical_type(Some(logical))
        .with_repetition(repetition)
        .build()?;
    Ok(Arc::new(field))
}
