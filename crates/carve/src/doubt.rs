//! Messages that file systems lead to, on a disk on which bits turned.
//!
//! Where the base64 of several messages shows that bits turned, others did where nothing shows them. A body
//! hash tells of them, and which one it was; a long message without one has likely one.

use mail::Proof;
use mail::record::Repair;
use mail::turned::{Base64, TurnedByte};

use crate::device::mend::BROKEN;
use crate::reader::Reader;
use crate::repair::{Broken, Outcome};
use crate::turned::DOUBT;

/// What fewer bytes show says no more than what so many would.
const LEAST_BYTES: u64 = 1 << 20;

/// How many bits of messages turned, and in how many bytes that would show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedBits {
    /// With as many that turned unseen as were seen: half of those in base64 give another character of it.
    bits: u64,
    bytes: u64,
    /// Messages that show one.
    messages: usize,
}

impl TurnedBits {
    /// So many messages must show a turned bit for anything to follow: one alone may have been sent so.
    pub const LEAST_SHOWN: usize = 2;

    /// What a message shows, as it is read: if its body hash verifies, it was sent so.
    pub fn of(content: &[u8]) -> Self {
        if read(content).verifies() {
            return Self {
                bytes: content.len() as u64,
                ..Self::default()
            };
        }
        let base64 = Base64::of(content);
        Self {
            bits: (base64.turned.len() as u64).saturating_mul(2),
            bytes: base64.bytes,
            messages: usize::from(!base64.turned.is_empty()),
        }
    }

    /// What both show.
    pub fn and(self, other: Self) -> Self {
        Self {
            bits: self.bits.saturating_add(other.bits),
            bytes: self.bytes.saturating_add(other.bytes),
            messages: self.messages.saturating_add(other.messages),
        }
    }

    /// The same with a message of so many bytes, of which a body hash shows that one bit turned.
    pub fn with_mended(self, bytes: u64) -> Self {
        self.and(Self {
            bits: 1,
            bytes,
            messages: 0,
        })
    }

    /// Whether too few messages show a bit for others to follow.
    const fn is_alone(self) -> bool {
        self.messages < Self::LEAST_SHOWN
    }

    /// How many bits turned in a byte.
    fn rate(self) -> f64 {
        if self.is_alone() {
            return 0.0;
        }
        self.bits as f64 / self.bytes.max(LEAST_BYTES) as f64
    }

    /// Looks for the one bit with which the body hash of a message verifies that does not.
    pub fn search(self, content: &[u8]) -> Search {
        let reader = read(content);
        if !reader.is_signed() || reader.verifies() {
            return Search::Needless;
        }
        // A list is the likelier reason.
        let listed = if reader.is_from_list() { BROKEN } else { 1.0 };
        let body = reader.body_start();
        let signatures = reader.signatures();
        let broken = body
            .and_then(|body| usize::try_from(body).ok())
            .and_then(|body| Broken::new(content, body, &signatures));
        let Some(broken) = broken else {
            return Search::Nothing;
        };
        let odd = broken.odd().map(Outcome::Mended);
        match odd.unwrap_or_else(|| broken.any(self.rate() * listed)) {
            Outcome::Mended(repair) => Search::Found(repair),
            Outcome::Nothing => Search::Nothing,
            Outcome::Untried => Search::Untried,
        }
    }

    /// What they make of a message of which the base64 shows that these bytes `turned`, and whose hash was
    /// searched with this result.
    pub fn judge(self, content: &[u8], turned: &[TurnedByte], search: Search) -> Option<Doubt> {
        if let Search::Found(repair) = search {
            return Some(Doubt::Mended(vec![repair], Some(Proof::BodyHash)));
        }
        if read(content).verifies() {
            return None;
        }
        let repairs = repairs(turned);
        let mut mended = content.to_vec();
        Repair::put_in(repairs.as_deref().unwrap_or_default(), &mut mended);
        let reader = read(&mended);
        if let Some(repairs) = repairs.as_ref().filter(|_| reader.verifies()) {
            return Some(Doubt::Mended(repairs.clone(), Some(Proof::BodyHash)));
        }
        let is_enough = turned.is_empty() || !self.is_alone();
        let Some(repairs) = repairs.filter(|_| is_enough) else {
            let at = turned.first().map_or(0, |byte| byte.at);
            let why = format!(
                "byte {at} is hardly as it was sent: an encoded attachment has no such byte"
            );
            return Some(Doubt::Doubted(why));
        };
        if self.likely(&reader, content.len(), search) > DOUBT {
            let why = if reader.is_signed() {
                "its text is not the one that was signed, and a fault of the disk changed single bytes of messages"
            } else {
                "a fault of the disk changed single bytes of messages: of one so long likely one, too"
            };
            return Some(Doubt::Doubted(why.to_owned()));
        }
        (!repairs.is_empty()).then_some(Doubt::Mended(repairs, None))
    }

    /// How likely a bit has turned in a message of `length` bytes whose body hash does not verify.
    fn likely(self, reader: &Reader, length: usize, search: Search) -> f64 {
        let turned = self.rate() * length as f64;
        if !reader.is_signed() {
            return 1.0 - (-turned).exp();
        }
        // Where no one bit is wrong, two may be.
        let unseen = match search {
            Search::Nothing => turned * turned / 2.0,
            _ => turned,
        };
        let broken = if reader.is_from_list() { 1.0 } else { BROKEN };
        unseen / (unseen + broken)
    }
}

/// What came of the search for the bit that a body hash shows to have turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// It verifies, or there is none.
    Needless,
    /// With this byte it verifies.
    Found(Repair),
    /// With none.
    Nothing,
    /// It was not worth it to try all bits.
    Untried,
}

/// What turned bits make of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// These bytes are known to have been others; by what all of it is proven then, if by anything.
    Mended(Vec<Repair>, Option<Proof>),
    /// Likely a bit of it has turned, for this reason.
    Doubted(String),
}

fn read(content: &[u8]) -> Reader {
    let mut reader = Reader::new();
    reader.feed(content);
    reader
}

/// What puts bytes right in which a bit has turned; `None` if that is not known of one.
fn repairs(turned: &[TurnedByte]) -> Option<Vec<Repair>> {
    let repair = |turned: &TurnedByte| {
        Some(Repair {
            at: turned.at,
            read: turned.read,
            stored: turned.stored?,
        })
    };
    turned.iter().map(repair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk shows on which one bit in a million bytes turned.
    const BITS: TurnedBits = TurnedBits {
        bits: 9,
        bytes: 9_000_000,
        messages: 2,
    };

    fn judged(content: &[u8]) -> Option<Doubt> {
        let turned = Base64::of(content).turned;
        BITS.judge(content, &turned, BITS.search(content))
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
        assert_eq!(judged(&signed("Hi.\n")), None);
        let wrong = signed("Hm.\n");
        let repair = Repair {
            at: wrong.len() as u64 - 3,
            read: b'm',
            stored: b'i',
        };
        let mended = Doubt::Mended(vec![repair], Some(Proof::BodyHash));
        assert_eq!(judged(&wrong), Some(mended));
        // Whatever broke this signature, it was not one bit.
        assert_eq!(judged(&signed("Hello.\n")), None);
    }

    #[test]
    fn a_long_message_without_a_hash_is_doubted() {
        let message = |lines: usize| {
            let mut text = b"From: a@b\n\n".to_vec();
            text.extend(b"The shelf in the cellar holds one more.\n".repeat(lines));
            text
        };
        assert_eq!(judged(&message(1000)), None);
        let doubt = judged(&message(5000));
        assert!(matches!(doubt, Some(Doubt::Doubted(_))), "{doubt:?}");
    }

    #[test]
    fn base64_is_put_right_and_what_may_have_been_either_is_not() {
        let lines = format!("{}\n", "QUJDabcd0123+/xyZabQ".repeat(4)).repeat(40);
        let text = format!("From: a@b\nContent-Transfer-Encoding: base64\n\n{lines}").into_bytes();
        assert_eq!(judged(&text), None);
        let at = text.len() - 81 * 10;
        let mut known = text.clone();
        known[at] |= 0x80;
        let repair = Repair {
            at: at as u64,
            read: known[at],
            stored: text[at],
        };
        assert_eq!(judged(&known), Some(Doubt::Mended(vec![repair], None)));
        // Nothing else says that bits turn here.
        let turned = Base64::of(&known).turned;
        let alone = TurnedBits::default().judge(&known, &turned, Search::Needless);
        assert!(matches!(alone, Some(Doubt::Doubted(_))));
        let one = TurnedBits::of(&known);
        assert!(one.is_alone() && !one.and(one).is_alone());
        let mut open = text;
        open[at] = 0x7F;
        assert!(matches!(judged(&open), Some(Doubt::Doubted(_))));
    }

    #[test]
    fn a_small_sample_does_not_doubt_everything() {
        let few = TurnedBits {
            bits: 4,
            bytes: 5000,
            messages: 2,
        };
        let note = b"From: a@b\n\nA note.\n";
        assert_eq!(few.judge(note, &[], Search::Needless), None);
        assert!(few.with_mended(7000).rate() < 1e-5);
    }
}
