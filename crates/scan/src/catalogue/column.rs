//! Rows as columns: what each column holds of the rows of one kind.

use parquet::data_type::ByteArray;

/// The values of one column; rows without one have `None`.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Of a column of text.
    Text(Vec<Option<ByteArray>>),
    /// Of a column of numbers.
    Numbers(Vec<Option<u64>>),
}

impl Values {
    /// The text in row `row`.
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(values) => std::str::from_utf8(values.get(row)?.as_ref()?.data()).ok(),
            Self::Numbers(_) => None,
        }
    }

    /// The number in row `row`.
    pub(super) fn number(&self, row: usize) -> Option<u64> {
        match self {
            Self::Text(_) => None,
            Self::Numbers(values) => *values.get(row)?,
        }
    }
}

/// Bytes in hexadecimal, as every tool shows them.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_both_ways() {
        assert_eq!(
            from_hex(&to_hex(&[0, 0x7F, 0xFF])),
            Some(vec![0, 0x7F, 0xFF])
        );
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("abc"), None);
    }
}
