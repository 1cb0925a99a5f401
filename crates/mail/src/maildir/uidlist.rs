//! `dovecot-uidlist`: the folder's own list of its messages, the denominator of "N of M".
//!
//! Version 3: a header line `3 V… N… G…`, then lines `UID [fields] :NAME` (Dovecot,
//! "Maildir UID list"); version 1, also of Courier's `courierimapuiddb`: `1 UIDVALIDITY NEXTUID`,
//! then `UID NAME`.

use std::collections::BTreeMap;

/// The messages that a folder's list names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uidlist {
    /// The base names (without flags), which identify messages, with their UIDs.
    pub names: BTreeMap<Vec<u8>, u32>,
    /// `G`: what the server knows the folder by, wherever it lies.
    pub guid: Option<String>,
    /// Lines that could not be read.
    pub unreadable_lines: usize,
}

impl Uidlist {
    /// Reads the file; `None` if it is not a list of a known version.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let header = lines.next()?;
        let version = match header {
            [b'3', b' ', ..] => 3,
            [b'1', b' ', ..] => 1,
            _ => return None,
        };
        let mut list = Self {
            guid: guid_of(header).filter(|_| version == 3),
            ..Self::default()
        };
        for line in lines.filter(|line| !line.is_empty()) {
            match name_of(line, version) {
                Some((uid, name)) => {
                    list.names.insert(name.to_vec(), uid);
                }
                None => list.unreadable_lines = list.unreadable_lines.saturating_add(1),
            }
        }
        Some(list)
    }

    /// The UID of the message with this base name.
    pub fn uid(&self, base: &[u8]) -> Option<u32> {
        self.names.get(base).copied()
    }
}

/// The folder's GUID in the header of a list: 128 bits in hexadecimal.
fn guid_of(header: &[u8]) -> Option<String> {
    let mut fields = header.split(|byte| *byte == b' ');
    let guid = fields.find_map(|field| field.strip_prefix(b"G"))?;
    let guid = std::str::from_utf8(guid.trim_ascii_end()).ok()?;
    let is_guid = guid.len() == 32 && guid.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_guid.then(|| guid.to_ascii_lowercase())
}

/// The UID and the base name in a line.
fn name_of(line: &[u8], version: u8) -> Option<(u32, &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (uid, rest) = line.split_at_checked(space)?;
    let uid = std::str::from_utf8(uid).ok()?.parse().ok()?;
    let name = if version == 3 {
        let colon = rest.windows(2).position(|window| window == b" :")?;
        rest.get(colon.checked_add(2)?..)?
    } else {
        rest.get(1..)?
    };
    let base = super::MaildirName::parse(name).base;
    (!base.is_empty()).then_some((uid, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_both_versions() {
        let three = b"3 V1325376000 N4 G0123\n1 :a.b,S=1\n2 W12 S3 :c.d:2,S\nx\n";
        let list = Uidlist::parse(three).unwrap();
        let want: BTreeMap<Vec<u8>, u32> = [(b"a.b,S=1".to_vec(), 1), (b"c.d".to_vec(), 2)].into();
        assert_eq!(list.guid, None);
        let guid = "0123456789abcdef0123456789abcdef";
        let with = Uidlist::parse(format!("3 V1 N4 G{guid}\n").as_bytes()).unwrap();
        assert_eq!(with.guid.as_deref(), Some(guid));
        assert_eq!((list.names, list.unreadable_lines), (want, 1));
        let one = Uidlist::parse(b"1 1325376000 3\n1 a.b\n2 c.d\n").unwrap();
        assert_eq!(one.names.len(), 2);
        assert_eq!(Uidlist::parse(b"hello"), None);
    }
}
