//! `cyrus.header`: the mailbox's name, where it has one, and the names of its user flags.
//!
//! Three lines of magic; then up to version 3.4 a line with the quota root and the unique id, one
//! with user flags, and one with the ACL; since then a list of keys and values. Source: Cyrus
//! IMAP's `mailbox_read_header` and `mailbox_commit_header` in `imap/mailbox.c`.

/// The first line of `MAILBOX_HEADER_MAGIC`.
const MAGIC: &[u8] = b"\xa1\x02\x8b\x0dCyrus mailbox header\n";

/// What the header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The name of the mailbox as Cyrus has it inside, such as `example.org!user.ada.Sent`.
    pub(super) name: Option<String>,
    /// The names of user flags, by number.
    pub(super) user_flags: Vec<String>,
}

/// Reads the header; `None` if it is none.
pub(super) fn parse(text: &[u8]) -> Option<Header> {
    text.strip_prefix(MAGIC)?;
    let rest = text.splitn(4, |byte| *byte == b'\n').nth(3)?;
    if rest.starts_with(b"%(") {
        return Some(of_list(rest));
    }
    let mut lines = rest.split(|byte| *byte == b'\n');
    let flags = lines.nth(1).unwrap_or_default();
    Some(Header {
        name: None,
        user_flags: words(flags),
    })
}

fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text)
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The header as a list: `%(I ID N NAME … F (FLAG FLAG) …)`.
fn of_list(text: &[u8]) -> Header {
    let mut header = Header::default();
    let mut tokens = Tokens {
        rest: text.get(2..).unwrap_or_default(),
    };
    while let Some(key) = tokens.next() {
        let value = tokens.next();
        match (key.as_slice(), value) {
            (b"N", Some(value)) => header.name = Some(String::from_utf8_lossy(&value).into_owned()),
            (b"U" | b"F", Some(value)) if value.starts_with(b"(") => {
                let inside = value.get(1..value.len().saturating_sub(1));
                header.user_flags = words(inside.unwrap_or_default());
            }
            (_, Some(_)) => {}
            (_, None) => break,
        }
    }
    header
}

/// The tokens of a list: atoms, quoted strings, literals, and lists as they stand.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl Iterator for Tokens<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.rest.trim_ascii_start();
        let (token, length) = match rest {
            [] | [b')', ..] => return None,
            [b'"', tail @ ..] => {
                let end = memchr::memchr(b'"', tail)?;
                (tail.get(..end)?.to_vec(), end.checked_add(2)?)
            }
            [b'{', tail @ ..] => {
                let end = memchr::memchr(b'\n', tail)?;
                let digits: Vec<u8> = tail
                    .iter()
                    .copied()
                    .take_while(u8::is_ascii_digit)
                    .collect();
                let size: usize = std::str::from_utf8(&digits).ok()?.parse().ok()?;
                let start = end.checked_add(2)?;
                let stop = start.checked_add(size)?;
                (rest.get(start..stop)?.to_vec(), stop)
            }
            _ => {
                let mut depth = 0_usize;
                let end = rest.iter().position(|byte| match byte {
                    b'(' => {
                        depth = depth.saturating_add(1);
                        false
                    }
                    b')' if depth == 0 => true,
                    b')' => {
                        depth = depth.saturating_sub(1);
                        false
                    }
                    byte => depth == 0 && byte.is_ascii_whitespace(),
                });
                let end = end.unwrap_or(rest.len());
                (rest.get(..end)?.to_vec(), end)
            }
        };
        self.rest = rest.get(length..).unwrap_or_default();
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_header_are_read() {
        let magic = [MAGIC, b"\"The best thing\"\n\t--Jim\n"].concat();
        let old = [
            &magic[..],
            b"user.ada\t1234abcd\n$Forwarded invoice\nada\tlrswi\t\n",
        ]
        .concat();
        let header = parse(&old).unwrap();
        assert_eq!(header.user_flags, ["$Forwarded", "invoice"]);
        let new = [
            &magic[..],
            b"%(I 1234 N x.example!user.ada T e A %(ada lrs anyone \"\") F (a b) Q {3}\nq z)",
        ];
        let header = parse(&new.concat()).unwrap();
        assert_eq!(header.name.as_deref(), Some("x.example!user.ada"));
        assert_eq!(header.user_flags, ["a", "b"]);
        assert_eq!(parse(b"x"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let text = [MAGIC, b"a\nb\n%(", &bytes].concat();
            let _ = parse(&text);
        }
    }
}
