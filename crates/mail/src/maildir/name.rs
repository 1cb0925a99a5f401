//! The names of Maildir files.
//!
//! `UNIQUE[,S=BYTES][,W=BYTES][:2,FLAGS]`: the part before the colon identifies the message for
//! as long as it exists, flags after it change. Sources: cr.yp.to/proto/maildir.html, Dovecot's
//! "Maildir filename" documentation.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The flags of a message, in the letters of Maildir, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Flags(String);

impl Flags {
    /// The system flags in `letters`: `D`raft, `F`lagged, `P`assed, `R`eplied, `S`een, `T`rashed.
    /// Other letters are left out.
    pub fn new(letters: &str) -> Self {
        let known: BTreeSet<char> = letters.chars().filter(|c| "DFPRST".contains(*c)).collect();
        Self(known.into_iter().collect())
    }

    /// The letters.
    pub fn letters(&self) -> &str {
        &self.0
    }
}

/// The parts of a Maildir file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaildirName<'a> {
    /// What identifies the message: all before the flags.
    pub base: &'a [u8],
    /// When the message was delivered, in seconds since 1970, if a server made the name.
    pub delivered: Option<i64>,
    /// `S=`: the message's length in bytes, uncompressed.
    pub size: Option<u64>,
    /// `W=`: its length with every line ended by CR LF.
    pub virtual_size: Option<u64>,
    /// The system flags.
    pub flags: Flags,
    /// The letters of its keywords, `a` to `z`, which the folder's keywords file names.
    pub keywords: BTreeSet<u8>,
}

impl<'a> MaildirName<'a> {
    /// Reads a file name. Every name is one: the parts that are not there are empty.
    pub fn parse(name: &'a [u8]) -> Self {
        // Dovecot writes a colon; servers on file systems without colons use `;` or `!`.
        let info = name
            .windows(3)
            .rposition(|w| matches!(w, [b':' | b';' | b'!', b'2', b',']));
        let (base, letters) = match info.and_then(|at| name.split_at_checked(at)) {
            Some((base, info)) => (base, info.get(3..).unwrap_or_default()),
            None => (name, &[][..]),
        };
        let flags: String = letters.iter().map(|byte| char::from(*byte)).collect();
        Self {
            base,
            delivered: delivered(base),
            size: field(base, b"S="),
            virtual_size: field(base, b"W="),
            flags: Flags::new(&flags),
            keywords: letters
                .iter()
                .copied()
                .filter(u8::is_ascii_lowercase)
                .collect(),
        }
    }
}

/// The time that a name of a server's begins with: seconds, a dot, what makes it unique, a dot.
fn delivered(base: &[u8]) -> Option<i64> {
    let mut parts = base.splitn(3, |byte| *byte == b'.');
    let seconds = std::str::from_utf8(parts.next()?).ok()?;
    let plausible =
        (9..=10).contains(&seconds.len()) && seconds.bytes().all(|b| b.is_ascii_digit());
    let unique = parts.next().is_some_and(|text| !text.is_empty());
    let host = parts.next().is_some_and(|text| !text.is_empty());
    (plausible && unique && host).then_some(())?;
    seconds.parse().ok()
}

/// The number after `,key`, which must end the base or stand before the next comma.
fn field(base: &[u8], key: &[u8]) -> Option<u64> {
    base.split(|byte| *byte == b',').skip(1).find_map(|part| {
        let digits = part.strip_prefix(key)?;
        std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_of_a_dovecot_name_are_read() {
        let name = MaildirName::parse(b"1795475709.M641657P10729.vm,S=1034,W=1058:2,Sab");
        assert_eq!(name.base, b"1795475709.M641657P10729.vm,S=1034,W=1058");
        assert_eq!(name.delivered, Some(1_795_475_709));
        assert_eq!((name.size, name.virtual_size), (Some(1034), Some(1058)));
        assert_eq!(name.flags.letters(), "S");
        assert_eq!(name.keywords.iter().copied().collect::<Vec<_>>(), b"ab");
    }

    #[test]
    fn names_without_flags_or_with_odd_fields_are_names_too() {
        let fresh = MaildirName::parse(b"1795475709.M1P1.vm");
        assert_eq!((fresh.size, fresh.flags), (None, Flags::default()));
        let odd = MaildirName::parse(b"1.x,S=12a,S=+7,W=99999999999999999999:2,TSZS\xFF");
        assert_eq!((odd.size, odd.virtual_size), (None, None));
        assert_eq!(odd.flags.letters(), "ST");
        assert_eq!(MaildirName::parse(b":2,").base, b"");
        for other in [
            &b"1.x"[..],
            b"12345678901.a.b",
            b"123456789.a",
            b"123456789..b",
        ] {
            assert_eq!(MaildirName::parse(other).delivered, None);
        }
    }
}
