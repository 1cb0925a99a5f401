//! Modified UTF-7, in which IMAP servers store the names of folders (RFC 3501, section 5.1.3).

/// The name that `stored` stands for; `None` if it is not modified UTF-7, or stands for itself.
pub(crate) fn decode(stored: &str) -> Option<String> {
    let mut out = String::with_capacity(stored.len());
    let mut rest = stored;
    while let Some((before, after)) = rest.split_once('&') {
        let (shifted, tail) = after.split_once('-')?;
        push_plain(before, &mut out)?;
        if shifted.is_empty() {
            out.push('&');
        } else {
            out.push_str(&decode_shifted(shifted)?);
        }
        rest = tail;
    }
    push_plain(rest, &mut out)?;
    (out != stored).then_some(out)
}

/// Outside of shifts only printable ASCII stands.
fn push_plain(text: &str, out: &mut String) -> Option<()> {
    text.bytes()
        .all(|byte| (0x20..=0x7E).contains(&byte))
        .then(|| out.push_str(text))
}

/// Base64 with `,` for `/` and without padding, over UTF-16 in network order.
fn decode_shifted(text: &str) -> Option<String> {
    let mut units = Vec::new();
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.bytes() {
        bits = (bits << 6) | u32::from(sextet(byte)?);
        count = count.saturating_add(6);
        if let Some(left) = count.checked_sub(16) {
            units.push(u16::try_from((bits >> left) & 0xFFFF).ok()?);
            count = left;
            bits &= !(u32::MAX << left);
        }
    }
    // What is left fills the last sextet: less than six bits, all zero.
    if count >= 6 || bits != 0 {
        return None;
    }
    String::from_utf16(&units)
        .ok()
        .filter(|text| !text.is_empty())
}

const fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte.wrapping_sub(b'A')),
        b'a'..=b'z' => Some(byte.wrapping_sub(b'a').wrapping_add(26)),
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0').wrapping_add(52)),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_as_the_rfc_shows() {
        for (stored, shown) in [
            ("Entw&APw-rfe", "Entw\u{fc}rfe"),
            (
                "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
                "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}",
            ),
            ("Q&-A", "Q&A"),
            ("&2D3eAA-", "\u{1f600}"),
        ] {
            assert_eq!(decode(stored).as_deref(), Some(shown), "{stored}");
        }
    }

    #[test]
    fn what_is_no_modified_utf7_is_left_alone() {
        for stored in [
            "INBOX",
            "",
            "a&b",
            "&A-",
            "&!!!-",
            "&2D0-",
            "Entw\u{fc}rfe&APw-",
            "&APw",
        ] {
            assert_eq!(decode(stored), None, "{stored}");
        }
    }
}
