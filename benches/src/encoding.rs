//! How mail writes bytes as lines of text: base64 and quoted-printable (RFC 2045, sections 6.7
//! and 6.8).

/// Characters of a line of base64.
const BASE64_LINE: usize = 76;
/// Characters of a line of quoted-printable, without the `=` of a soft break.
const QUOTED_LINE: usize = 75;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `bytes` in base64, in one line without an end.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..group.len()].copy_from_slice(group);
        let bits = u32::from(word[0]) << 16 | u32::from(word[1]) << 8 | u32::from(word[2]);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place) & 63) as usize;
            out.push(if place <= group.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    out
}

/// `bytes` in base64, in lines of 76 characters, each with its LF.
pub fn base64_lines(bytes: &[u8]) -> String {
    lines_of(&base64(bytes), BASE64_LINE, "\n")
}

/// `text` of ASCII in pieces of `width`, each with `end` after it.
pub fn lines_of(text: &str, width: usize, end: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / width + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(width.min(rest.len()));
        out.push_str(line);
        out.push_str(end);
        rest = more;
    }
    out
}

/// Text with LF line ends in quoted-printable, its line ends kept.
pub fn quoted_printable(text: &[u8]) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (at, &byte) in text.iter().enumerate() {
        let ends_line = text.get(at + 1).is_none_or(|&next| next == b'\n');
        let piece = match byte {
            b'\n' => "\n".to_owned(),
            // Relays take white space off the ends of lines.
            b' ' if ends_line => "=20".to_owned(),
            b' '..=b'<' | b'>'..=b'~' => char::from(byte).to_string(),
            _ => format!("={byte:02X}"),
        };
        if byte != b'\n' && column + piece.len() > QUOTED_LINE {
            out.push_str("=\n");
            column = 0;
        }
        column = if byte == b'\n' {
            0
        } else {
            column + piece.len()
        };
        out.push_str(&piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_come_out() {
        for (plain, encoded) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        let lines = base64_lines(&[7; 500]);
        assert!(lines.lines().rev().skip(1).all(|line| line.len() == 76));
    }

    #[test]
    fn quoted_printable_keeps_short_lines_and_no_space_at_their_ends() {
        let coded = quoted_printable("-- \nkäse = gut\n".as_bytes());
        assert_eq!(coded, "--=20\nk=C3=A4se =3D gut\n");
        let long = quoted_printable(&[b'x'; 200]);
        assert!(long.lines().all(|line| line.len() <= 76));
    }
}
