//! What the catalogue keeps of a unit.

use evidence::ByteOffset;
use serde::{Deserialize, Serialize};

use crate::{Class, Find, RunningSha256, Unit, UnitHash, UnitResult};

/// One line of a catalogue segment: the unit first, then its finds by offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum CatalogueRecord {
    /// The unit itself.
    Unit(UnitRecord),
    /// Something that was recognised in it.
    Find(Find),
}

/// A scanned unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// The name of the evidence.
    pub evidence: String,
    /// Where the unit begins, in bytes.
    pub start: ByteOffset,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// How many of its bytes could not be read.
    pub unread: u64,
    /// Its [`UnitHash`] in hexadecimal.
    pub blake3: String,
    /// The state of SHA-256 after it, in hexadecimal, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_state: Option<String>,
    /// A letter for the class of each cell.
    pub cells: String,
}

impl CatalogueRecord {
    /// The segment of a unit of `evidence`: the unit and its finds.
    pub fn segment(evidence: &str, unit: Unit, result: &UnitResult) -> Vec<Self> {
        let record = UnitRecord {
            evidence: evidence.to_owned(),
            start: unit.start,
            bytes: unit.bytes,
            unread: result.unread,
            blake3: to_hex(&result.hash),
            sha256_state: result.sha256.as_ref().map(|state| to_hex(&state.save())),
            cells: result.cells.iter().map(|class| class.letter()).collect(),
        };
        let finds = result.finds.iter().cloned().map(Self::Find);
        std::iter::once(Self::Unit(record)).chain(finds).collect()
    }
}

impl UnitRecord {
    /// The hash of the unit; `None` if a person spoilt it.
    pub fn hash(&self) -> Option<UnitHash> {
        from_hex(&self.blake3)?.try_into().ok()
    }

    /// The state of SHA-256 after the unit, if it was asked for.
    pub fn sha256(&self) -> Option<RunningSha256> {
        RunningSha256::load(&from_hex(self.sha256_state.as_deref()?)?)
    }

    /// The class of each cell.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        self.cells.chars().filter_map(Class::from_letter)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
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
    use crate::{ScanOptions, scan_unit, units};
    use evidence::view::Memory;

    #[test]
    fn a_unit_comes_back_from_its_record() {
        let disk = Memory::new(vec![7; 3000]);
        let unit = units(&disk).next().unwrap();
        let sha = Some(RunningSha256::new());
        let result = scan_unit(&disk, unit, &[], &ScanOptions::default(), sha, &|_| ()).unwrap();
        let segment = CatalogueRecord::segment("disk-a", unit, &result);
        let [CatalogueRecord::Unit(record)] = segment.as_slice() else {
            panic!("{segment:?}");
        };
        assert_eq!(record.hash(), Some(result.hash));
        assert_eq!(record.classes().collect::<Vec<_>>(), result.cells);
        assert_eq!(
            record.sha256().unwrap().finish(),
            result.sha256.unwrap().finish()
        );
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("abc"), None);
    }
}
