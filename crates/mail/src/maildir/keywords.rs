//! `dovecot-keywords`: what the letters `a` to `z` in file names stand for.
//!
//! Lines of `number name`, where 0 stands for `a` (Dovecot, "Maildir keywords").

use std::collections::{BTreeMap, BTreeSet};

/// The keywords of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keywords {
    names: BTreeMap<u8, String>,
}

impl Keywords {
    /// Reads the file. Lines that are not `number name` are left out.
    pub fn parse(text: &[u8]) -> Self {
        let names = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let (number, name) = std::str::from_utf8(line).ok()?.split_once(' ')?;
                let number: u8 = number.parse().ok().filter(|n| *n < 26)?;
                is_keyword(name).then(|| (b'a'.saturating_add(number), name.to_owned()))
            })
            .collect();
        Self { names }
    }

    /// The names of `letters`, sorted. A letter that the file does not name has none.
    pub fn named(&self, letters: &BTreeSet<u8>) -> Vec<String> {
        let names: BTreeSet<&String> = letters.iter().filter_map(|l| self.names.get(l)).collect();
        names.into_iter().cloned().collect()
    }

    /// The letter of `name`.
    pub fn letter(&self, name: &str) -> Option<char> {
        let (letter, _) = self.names.iter().find(|(_, known)| *known == name)?;
        Some(char::from(*letter))
    }
}

/// Whether `name` is an atom that IMAP takes for a keyword (RFC 3501, section 9).
pub(crate) fn is_keyword(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.chars().all(|c| {
            !c.is_control() && !matches!(c, ' ' | '(' | ')' | '{' | '%' | '*' | '"' | '\\')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_named_by_their_number() {
        let keywords = Keywords::parse(b"0 invoice\n1 $Forwarded\nx y\n26 z\n3 a b\n");
        let letters = BTreeSet::from([b'b', b'a', b'd']);
        assert_eq!(keywords.named(&letters), ["$Forwarded", "invoice"]);
        assert_eq!(keywords.letter("invoice"), Some('a'));
        assert_eq!(keywords.letter("a b"), None);
    }
}
