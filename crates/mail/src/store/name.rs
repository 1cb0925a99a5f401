//! Names of folders.
//!
//! A folder is named as Maildir++ names it: levels joined by `.`, each in the modified UTF-7 of
//! IMAP (RFC 3501, section 5.1.3), `INBOX` for the mailbox itself. What is written otherwise on
//! the disk (in UTF-8, with other separators, below a prefix of a namespace) is turned into that.
//! Names of special folders stay in the language that they have.

/// What the mailbox itself is called as a folder.
pub(crate) const INBOX: &str = "INBOX";

/// The name of the folder at `below`, relative to its mailbox: `.Archive.2014` in Maildir++,
/// `Archive/2014` where directories are nested.
pub(crate) fn folder_name(below: &[Vec<u8>]) -> String {
    let levels: Vec<String> = below
        .iter()
        .map(|name| {
            // A dot in the name of a nested directory stays: in Maildir++ it reads as one more
            // level, but the name can still be recognised.
            level(name.strip_prefix(b".").unwrap_or(name))
        })
        .collect();
    levels.join(".")
}

/// One level of a folder's name as it stands on the disk, in modified UTF-7 (RFC 3501, section
/// 5.1.3): as it is if it is that already. What is no text becomes `_`.
pub fn level(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name)
        .chars()
        .map(|c| {
            if c.is_control() || c == char::REPLACEMENT_CHARACTER {
                '_'
            } else {
                c
            }
        })
        .collect();
    if is_modified_utf7(&text) {
        text
    } else {
        to_modified_utf7(&text)
    }
}

/// A name that a store wrote down, with `separator` between levels, as a name here.
///
/// A namespace whose prefix is `INBOX` and a separator puts it before every folder but the inbox.
pub(crate) fn without_prefix(name: &[u8], separator: u8) -> String {
    let levels: Vec<&[u8]> = name.split(|byte| *byte == separator).collect();
    match levels.as_slice() {
        [first, rest @ ..] if first.eq_ignore_ascii_case(b"INBOX") => {
            let rest: Vec<String> = rest.iter().map(|name| level(name)).collect();
            if rest.is_empty() {
                INBOX.to_owned()
            } else {
                rest.join(".")
            }
        }
        levels => {
            let levels: Vec<String> = levels.iter().map(|name| level(name)).collect();
            levels.join(".")
        }
    }
}

/// Whether a text is printable ASCII in which every `&` begins Base64 that ends.
fn is_modified_utf7(text: &str) -> bool {
    text.is_ascii()
        && text.split('&').skip(1).all(|part| {
            part.split_once('-').is_some_and(|(shifted, _)| {
                shifted
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b','))
            })
        })
}

/// A text in modified UTF-7.
fn to_modified_utf7(text: &str) -> String {
    let mut out = String::new();
    let mut shifted: Vec<u16> = Vec::new();
    for c in text.chars() {
        if c.is_ascii() {
            flush(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            shifted.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        }
    }
    flush(&mut shifted, &mut out);
    out
}

/// Writes UTF-16 as `&`, Base64 with `,` for `/` and without padding, and `-`.
fn flush(shifted: &mut Vec<u16>, out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    if shifted.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut push = |bits: u32| {
        let digit = usize::try_from(bits & 63).unwrap_or_default();
        out.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'A')));
    };
    for byte in shifted.drain(..).flat_map(u16::to_be_bytes) {
        bits = (bits << 8) | u32::from(byte);
        count = count.saturating_add(8);
        while count >= 6 {
            count = count.saturating_sub(6);
            push(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        push(bits << 6_u32.saturating_sub(count));
    }
    out.push('-');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_maildir() {
        let table: [(&[u8], &str); 9] = [
            (b"Entw&APw-rfe", "Entw&APw-rfe"),
            ("Entw\u{fc}rfe".as_bytes(), "Entw&APw-rfe"),
            ("\u{7530}\u{4e2d}".as_bytes(), "&dTBOLQ-"),
            // RFC 3501's own example.
            ("\u{53f0}\u{5317}".as_bytes(), "&U,BTFw-"),
            ("\u{1f333} wood".as_bytes(), "&2DzfMw- wood"),
            (b"R&D", "R&-D"),
            (b"R&-D", "R&-D"),
            (b"a\x07b\xFF", "a_b_"),
            (b"Gesendet", "Gesendet"),
        ];
        for (disk, want) in table {
            assert_eq!(level(disk), want);
        }
    }

    #[test]
    fn prefixes_and_separators_of_namespaces_are_undone() {
        let table: [(&[u8], u8, &str); 6] = [
            (b"INBOX", b'/', "INBOX"),
            (b"INBOX/Sent", b'/', "Sent"),
            (b"INBOX.Archive.2014", b'.', "Archive.2014"),
            (b"Archive/2014", b'/', "Archive.2014"),
            (b"INBOXes/x", b'/', "INBOXes.x"),
            ("Entw\u{fc}rfe/a".as_bytes(), b'/', "Entw&APw-rfe.a"),
        ];
        for (name, separator, want) in table {
            assert_eq!(without_prefix(name, separator), want);
        }
    }
}
