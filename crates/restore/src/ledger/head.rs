//! How a ledger was left: what its file began with then, so that a later look can tell whether it
//! only grew.

use serde::{Deserialize, Serialize};

/// The whole lines of a ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// Their length in bytes.
    pub bytes: u64,
    /// Their BLAKE3, in hexadecimal.
    pub blake3: String,
}

impl Default for LedgerHead {
    /// A ledger that nothing was written to.
    fn default() -> Self {
        Self::of(&[])
    }
}

/// What became of a ledger since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Nothing.
    None,
    /// So many lines came, the last of them perhaps not whole.
    Lines(u64),
    /// It does not begin with what it held: a line was changed or removed.
    Changed,
}

impl LedgerHead {
    /// The whole lines of `text`.
    pub(super) fn of(text: &[u8]) -> Self {
        let last = text.iter().rposition(|byte| *byte == b'\n');
        let whole = last.and_then(|last| text.get(..=last)).unwrap_or_default();
        Self {
            bytes: whole.len() as u64,
            blake3: blake3::hash(whole).to_hex().to_string(),
        }
    }

    /// What became of the ledger that had this head and is `text` now.
    pub(super) fn growth(&self, text: &[u8]) -> Growth {
        let split = usize::try_from(self.bytes)
            .ok()
            .and_then(|bytes| text.split_at_checked(bytes));
        let Some((before, since)) = split else {
            return Growth::Changed;
        };
        if blake3::hash(before).to_hex().as_str() != self.blake3 {
            return Growth::Changed;
        }
        match since.split_inclusive(|byte| *byte == b'\n').count() {
            0 => Growth::None,
            lines => Growth::Lines(lines as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_came_are_told_from_lines_that_were_changed() {
        let head = LedgerHead::of(b"one\ntwo\nhal");
        assert_eq!(head.bytes, 8);
        assert_eq!(head.growth(b"one\ntwo\n"), Growth::None);
        assert_eq!(head.growth(b"one\ntwo\nthree\nfo"), Growth::Lines(2));
        for changed in ["one\n", "one\nTwo\nthree\n", "one\n\ntwo\n", ""] {
            assert_eq!(head.growth(changed.as_bytes()), Growth::Changed);
        }
        assert_eq!(LedgerHead::default().growth(b""), Growth::None);
        assert_eq!(LedgerHead::default().growth(b"a\n"), Growth::Lines(1));
        let far = LedgerHead {
            bytes: u64::MAX,
            ..head
        };
        assert_eq!(far.growth(b"one\n"), Growth::Changed);
    }
}
