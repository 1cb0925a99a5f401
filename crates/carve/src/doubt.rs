//! Messages that file systems lead to, on a disk on which bits turned.
//!
//! Where base64 shows that bits turned, others did where nothing shows them. A body hash tells of them, and
//! which one it was; a long message without one has likely one.

use mail::record::Repair;

use crate::device::mend::BROKEN;
use crate::reader::Reader;
use crate::repair::{Broken, Outcome};
use crate::turned::{DOUBT, Turned};

/// The bits that messages show to have turned, and the bytes in which they would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedBits {
    turned: Turned,
    /// Bytes of messages whose body hash verifies.
    hashed: u64,
}

/// What turned bits make of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Its body hash verifies with this byte.
    Mended(Repair),
    /// Likely a bit of it has turned, for this reason.
    Doubted(String),
}

impl TurnedBits {
    /// What a message shows of which so many bits were turned back, since they could be seen.
    pub fn of(content: &[u8], back: usize) -> Self {
        let verifies = read(content).verifies();
        Self {
            turned: Turned::in_text(content).with(back),
            hashed: if verifies { content.len() as u64 } else { 0 },
        }
    }

    /// What both show.
    pub fn and(self, other: Self) -> Self {
        Self {
            turned: self.turned.and(other.turned),
            hashed: self.hashed.saturating_add(other.hashed),
        }
    }

    /// What they make of a message.
    pub fn doubt(self, content: &[u8]) -> Option<Doubt> {
        let reader = read(content);
        if reader.verifies() {
            return None;
        }
        let rate = self.turned.rate(0, self.hashed);
        let turned = rate * content.len() as f64;
        let likely = if reader.is_signed() {
            // A list is the likelier reason.
            let is_from_list = reader.is_from_list();
            let rate = if is_from_list { rate * BROKEN } else { rate };
            let unseen = match mend(content, &reader, rate) {
                Outcome::Mended(repair) => return Some(Doubt::Mended(repair)),
                Outcome::Nothing => turned * turned / 2.0,
                Outcome::Untried => turned,
            };
            unseen / (unseen + if is_from_list { 1.0 } else { BROKEN })
        } else {
            1.0 - (-turned).exp()
        };
        (likely > DOUBT).then(|| {
            let why = if reader.is_signed() {
                "the hash of its body does not verify, and "
            } else {
                ""
            };
            Doubt::Doubted(format!(
                "{why}bits turned on this device, one in some {:.0} bytes: likely one of this message",
                1.0 / rate
            ))
        })
    }
}

fn read(content: &[u8]) -> Reader {
    let mut reader = Reader::new();
    reader.feed(content);
    reader
}

/// What comes of the search for one bit with which the body hash of a message verifies, where so many turn in a
/// byte.
fn mend(content: &[u8], reader: &Reader, rate: f64) -> Outcome {
    let body = reader.body_start();
    let signatures = reader.signatures();
    let broken = body
        .and_then(|body| usize::try_from(body).ok())
        .and_then(|body| Broken::new(content, body, &signatures));
    broken.map_or(Outcome::Nothing, |broken| {
        let odd = broken.odd().map(Outcome::Mended);
        odd.unwrap_or_else(|| broken.any(rate))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk shows on which one bit in a million bytes turned.
    fn bits() -> TurnedBits {
        TurnedBits {
            turned: Turned::default().with(4),
            hashed: 9_000_000,
        }
    }

    /// `Hi.`, signed as the one line of a message (`printf 'Hi.\r\n' | openssl dgst -sha256 -binary | base64`).
    fn signed(body: &str) -> Vec<u8> {
        let hash = "UrA8rmgY3eNBotmDWtzAmHyn5RyZv8Gea45sNGsP0zw=";
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; bh={hash}\nFrom: a@b\n\n{body}"
        )
        .into_bytes()
    }

    #[test]
    fn a_body_hash_shows_which_bit_turned() {
        assert_eq!(bits().doubt(&signed("Hi.\n")), None);
        let wrong = signed("Hm.\n");
        let at = wrong.len() as u64 - 3;
        let repair = Repair {
            at,
            read: b'm',
            stored: b'i',
        };
        assert_eq!(bits().doubt(&wrong), Some(Doubt::Mended(repair)));
        // Whatever broke this signature, it was not one bit.
        assert_eq!(bits().doubt(&signed("Hello.\n")), None);
    }

    #[test]
    fn a_long_message_without_a_hash_is_doubted() {
        let message = |lines: usize| {
            let mut text = b"From: a@b\n\n".to_vec();
            text.extend(b"The shelf in the cellar holds one more.\n".repeat(lines));
            text
        };
        assert_eq!(bits().doubt(&message(1000)), None);
        let doubt = bits().doubt(&message(5000));
        assert!(matches!(doubt, Some(Doubt::Doubted(_))), "{doubt:?}");
        assert_eq!(TurnedBits::default().and(bits()), bits());
    }
}
