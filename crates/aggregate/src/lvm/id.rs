//! UUIDs as LVM writes them.

use std::fmt;

/// The UUID of a physical volume, a volume group or a logical volume: 32 letters and digits,
/// shown in groups of 6-4-4-4-4-4-6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

/// Before which letters a dash stands.
const DASHES: [usize; 6] = [6, 10, 14, 18, 22, 26];

impl Id {
    /// The UUID of these letters, if LVM could have written them (`id_valid`).
    pub fn new(letters: [u8; 32]) -> Option<Self> {
        letters
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'!' | b'#'))
            .then_some(Self(letters))
    }

    /// The UUID in `text`, with dashes or without.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: Vec<u8> = text.bytes().filter(|c| *c != b'-').collect();
        Self::new(letters.try_into().ok()?)
    }

    /// Its first six letters, to tell namesakes apart.
    pub fn short(&self) -> String {
        self.0.iter().take(6).map(|c| char::from(*c)).collect()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, letter) in self.0.iter().enumerate() {
            if DASHES.contains(&place) {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_come_and_go() {
        let text = "Gu4eWQ-0DE4-e878-culN-1Zsk-gnft-mkbrkc";
        let id = Id::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(Id::parse(&text.replace('-', "")), Some(id));
        assert_eq!(id.short(), "Gu4eWQ");
        assert_eq!(Id::parse("Gu4eWQ"), None);
        assert_eq!(Id::new([b'/'; 32]), None);
    }
}
