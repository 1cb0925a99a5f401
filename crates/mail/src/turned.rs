//! Bits that turned on a disk, where base64 shows them.
//!
//! Base64 has 65 of 256 characters (RFC 2045, section 6.8), in lines of one length. One byte in such a line that is
//! none of these, and is with one bit turned, no program wrote. If it is none that text has either, and only one bit
//! makes it base64, it is known what was stored.

use serde::{Deserialize, Serialize};

/// Lines of base64 are so long at least.
pub const LEAST_LINE: usize = 60;
/// Of a message that has more of such bytes than a few, and one among fewer lines than many, they belong to its
/// alphabet; so does one among few lines.
const FEW: usize = 2;
const MANY_LINES: usize = 1024;
const LEAST_LINES: usize = 16;

/// Whether a byte is a character of base64. It does not branch, so that many can be looked at at once.
pub const fn is_base64_byte(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    letter | digit | (byte == b'+') | (byte == b'/') | (byte == b'=')
}

/// Whether a line, which may have a CR at its end, is base64.
pub fn is_base64(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_other = |byte: &u8| u8::from(!is_base64_byte(*byte));
    let others = line.iter().fold(0, |others, byte| others | is_other(byte));
    !line.is_empty() && others == 0
}

/// A byte in which a bit seems to have turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedByte {
    /// Where it is, in bytes.
    pub at: u64,
    /// What it is.
    pub read: u8,
    /// What it was, if no text has it and only one bit makes it a character of base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u8>,
}

/// The one byte of a line that is no base64, and is with one bit turned.
pub fn turned_byte(line: &[u8]) -> Option<TurnedByte> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut others = (0_usize..)
        .zip(line)
        .filter(|(_, byte)| !is_base64_byte(**byte));
    let (at, read) = others.next().filter(|_| others.next().is_none())?;
    let ways = (0..8).map(|bit| read ^ (1 << bit));
    let mut ways = ways.filter(|byte| is_base64_byte(*byte));
    let first = ways.next()?;
    // What can be typed somebody may have.
    let is_of_text = matches!(*read, b'\t' | b'\r' | b' '..=b'~');
    let is_known = ways.next().is_none() && !is_of_text;
    Some(TurnedByte {
        at: at as u64,
        read: *read,
        stored: is_known.then_some(first),
    })
}

/// What the base64 of a text shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64 {
    /// The bytes in which a bit seems to have turned.
    pub turned: Vec<TurnedByte>,
    /// Bytes of the lines in which one would show.
    pub bytes: u64,
    /// Of those lines, the ones that are base64.
    sound: usize,
}

impl Base64 {
    /// What the base64 of a message shows, if what is none in it is not of its alphabet.
    pub fn of(content: &[u8]) -> Self {
        let found = Self::between_lines(content);
        let count = found.turned.len();
        let least = if count <= FEW {
            LEAST_LINES
        } else {
            MANY_LINES
        };
        if count.saturating_mul(least) > found.sound {
            return Self::default();
        }
        found
    }

    /// What the lines of a text show that have lines of base64 before and behind them.
    pub fn between_lines(content: &[u8]) -> Self {
        let mut next = 0_usize;
        let lines = content.split(|byte| *byte == b'\n').map(|line| {
            let behind = next.saturating_add(line.len()).saturating_add(1);
            (std::mem::replace(&mut next, behind), line)
        });
        let mut found = Self::default();
        let (mut above, mut start, mut line): (&[u8], usize, &[u8]) = (b"", 0, b"");
        for (behind_start, behind) in lines {
            let is_long = line.len() >= LEAST_LINE && line.len() == above.len();
            if is_long && is_base64(above) && is_base64(behind) {
                let turned = turned_byte(line).map(|turned| TurnedByte {
                    at: (start as u64).saturating_add(turned.at),
                    ..turned
                });
                found.bytes = found.bytes.saturating_add(line.len() as u64);
                found.sound = found.sound.saturating_add(usize::from(is_base64(line)));
                found.turned.extend(turned);
            }
            (above, start, line) = (line, behind_start, behind);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the body of the message begins.
    const BODY: usize = 45;

    /// Forty lines of base64 behind a header.
    fn message() -> Vec<u8> {
        let mut text = b"From: a@b\nContent-Transfer-Encoding: base64\n\n".to_vec();
        for _ in 0..40 {
            text.extend_from_slice(&b"QUJDabcd0123+/xyZabQ".repeat(4)[..76]);
            text.push(b'\n');
        }
        text
    }

    fn turned(text: &[u8]) -> Vec<TurnedByte> {
        Base64::of(text).turned
    }

    #[test]
    fn a_byte_that_no_base64_has_is_known_if_one_bit_alone_makes_it_one() {
        let sound = Base64::of(&message());
        assert_eq!((sound.turned.len(), sound.bytes), (0, 38 * 76));
        let at = BODY + 77 * 20 + 1;
        // From `w` or `o`; a comma, which only `l` becomes with one bit; another character of base64.
        for (bit, stored) in [(0x80, Some(b'U')), (0x2A, None), (0x79, None), (0x01, None)] {
            let mut text = message();
            assert_eq!(text[at], b'U');
            text[at] ^= bit;
            let read = text[at];
            let seen = TurnedByte {
                at: at as u64,
                read,
                stored,
            };
            let want = if is_base64_byte(read) {
                vec![]
            } else {
                vec![seen]
            };
            assert_eq!(turned(&text), want, "{bit:#x}");
        }
    }

    #[test]
    fn what_a_message_has_again_and_again_is_of_its_alphabet() {
        let mut text = message();
        for line in [4, 9, 15] {
            text[BODY + 77 * line + 10] = b'-';
        }
        assert_eq!(turned(&text), []);
        // Among few lines one may be anything.
        let mut short = message()[..BODY + 77 * 10].to_vec();
        short[BODY + 77 * 5] |= 0x80;
        assert_eq!(turned(&short), []);
        // In a long message there may be several.
        let mut long = [message(), message()[BODY..].repeat(90)].concat();
        for line in [4, 900, 1500] {
            long[BODY + 77 * line] |= 0x80;
        }
        assert_eq!(turned(&long).len(), 3);
    }
}
