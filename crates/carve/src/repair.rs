//! The one wrong bit of a message whose body hash would verify without it.
//!
//! Every bit of the canonical body is tried: the hash up to the 64 bytes that it lies in is known,
//! so that each trial costs what is behind it. A repair is never made without that proof, and is
//! kept as a record of what was read and what was put in its place.

use mail::record::Repair;
use rayon::prelude::*;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::dkim::{BodySignature, Canonical};

/// Bytes that are hashed to repair one message: a body of some 100 KB can be tried.
const BUDGET: u64 = 12 << 30;
/// The block of both hashes.
const STEP: usize = 64;

/// Finds the one bit of `message` that must be turned for a body hash to verify; the body begins
/// at `body`.
pub(crate) fn repair(message: &[u8], body: usize, signatures: &[BodySignature]) -> Option<Repair> {
    let text = message.get(body..)?;
    signatures
        .iter()
        .filter(|signature| !signature.is_partial())
        .find_map(|signature| {
            let found = if signature.is_sha1() {
                Trial::<Sha1>::new(text, signature).run()
            } else {
                Trial::<Sha256>::new(text, signature).run()
            };
            let (at, bit) = found?;
            let read = text.get(at).copied()?;
            Some(Repair {
                at: (body as u64).checked_add(at as u64)?,
                read,
                stored: read ^ bit,
            })
        })
}

/// Whether every bit of a body of so many bytes is tried.
pub(crate) const fn tries_all(bytes: u64) -> bool {
    bytes.saturating_mul(bytes).saturating_mul(3) <= BUDGET
}

/// A body in canonical form, and the state of its hash at each step.
struct Trial<'a, H> {
    text: &'a [u8],
    signature: &'a BodySignature,
    canonical: Vec<u8>,
    /// Where in the text each canonical byte is from; `None` for line ends.
    from: Vec<Option<usize>>,
    states: Vec<H>,
}

impl<'a, H: Digest + Clone + Send + Sync> Trial<'a, H> {
    fn new(text: &'a [u8], signature: &'a BodySignature) -> Self {
        let (canonical, from) = canonical(text, signature.canonical());
        let mut state = H::new();
        let mut states = Vec::with_capacity(canonical.len() / STEP + 1);
        for step in canonical.chunks(STEP) {
            states.push(state.clone());
            state.update(step);
        }
        Self {
            text,
            signature,
            canonical,
            from,
            states,
        }
    }

    /// The byte of the text and the bit that must be turned.
    fn run(&self) -> Option<(usize, u8)> {
        if !tries_all(self.canonical.len() as u64) {
            return self.among(&|byte| !is_plain(byte));
        }
        self.among(&|byte| !is_plain(byte))
            .or_else(|| self.among(&is_plain))
    }

    /// Tries the bytes that are `tried`.
    fn among(&self, tried: &(dyn Fn(u8) -> bool + Sync)) -> Option<(usize, u8)> {
        (0..self.canonical.len())
            .into_par_iter()
            .find_map_first(|position| {
                let byte = self
                    .canonical
                    .get(position)
                    .copied()
                    .filter(|byte| tried(*byte))?;
                let at = self.from.get(position).copied().flatten()?;
                let bits = (0..8).map(|bit| 1_u8 << bit);
                bits.filter(|bit| is_plain(byte ^ bit) || byte ^ bit == b'\n')
                    .find(|bit| self.verifies(position, at, byte ^ bit))
                    .map(|bit| (at, bit))
            })
    }

    /// Whether the hash verifies with another byte at `position`, which is `at` in the text.
    fn verifies(&self, position: usize, at: usize, byte: u8) -> bool {
        if is_space(byte) || is_space(self.canonical.get(position).copied().unwrap_or(0)) {
            return self.verifies_anew(at, byte);
        }
        let step = position / STEP;
        let Some(mut hash) = self.states.get(step).cloned() else {
            return false;
        };
        let start = step.saturating_mul(STEP);
        let end = start.saturating_add(STEP).min(self.canonical.len());
        let mut block = [0; STEP];
        let own = self.canonical.get(start..end).unwrap_or_default();
        let Some(block) = block.get_mut(..own.len()) else {
            return false;
        };
        block.copy_from_slice(own);
        if let Some(turned) = block.get_mut(position.saturating_sub(start)) {
            *turned = byte;
        }
        hash.update(&block);
        hash.update(self.canonical.get(end..).unwrap_or_default());
        self.signature.is(&hash.finalize())
    }

    /// As [`verifies`](Self::verifies), where the canonical form is another one with the byte.
    fn verifies_anew(&self, at: usize, byte: u8) -> bool {
        let mut text = self.text.to_vec();
        if let Some(turned) = text.get_mut(at) {
            *turned = byte;
        }
        let (canonical, _) = canonical(&text, self.signature.canonical());
        self.signature.is(&H::digest(&canonical))
    }
}

/// Whether a byte is one that mail is made of.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The canonical form of a body, and where each of its bytes is from.
fn canonical(text: &[u8], form: Canonical) -> (Vec<u8>, Vec<Option<usize>>) {
    let (mut bytes, mut from) = (
        Vec::with_capacity(text.len()),
        Vec::with_capacity(text.len()),
    );
    // What is behind the last line that is not empty is dropped.
    let mut kept = 0_usize;
    let mut start = 0_usize;
    for line in text.split(|byte| *byte == b'\n') {
        let next = start.saturating_add(line.len()).saturating_add(1);
        let is_last = next > text.len();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let before = bytes.len();
        for (index, byte) in line.iter().enumerate() {
            let is_space = matches!(byte, b' ' | b'\t');
            let (byte, skip) = match form {
                Canonical::Relaxed if is_space => {
                    (b' ', bytes.len() > before && bytes.last() == Some(&b' '))
                }
                _ => (*byte, false),
            };
            if !skip {
                bytes.push(byte);
                from.push(Some(start.saturating_add(index)));
            }
        }
        if form == Canonical::Relaxed && bytes.len() > before && bytes.last() == Some(&b' ') {
            bytes.pop();
            from.pop();
        }
        let is_empty = bytes.len() == before;
        if !(is_last && is_empty) {
            bytes.extend_from_slice(b"\r\n");
            from.extend([None, None]);
        }
        if !is_empty {
            kept = bytes.len();
        }
        start = next;
    }
    bytes.truncate(kept);
    from.truncate(kept);
    if bytes.is_empty() && form == Canonical::Simple {
        bytes.extend_from_slice(b"\r\n");
        from.extend([None, None]);
    }
    (bytes, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::BodyHash;

    const BODY: &[u8] = b"Hi.\n\nWe lost the game.  Are you hungry yet? \n\nJoe.\n\n";

    fn signature(form: &str, body: &[u8]) -> BodySignature {
        let canonical_form = if form == "relaxed" {
            Canonical::Relaxed
        } else {
            Canonical::Simple
        };
        let (bytes, _) = canonical(body, canonical_form);
        let hash = Sha256::digest(&bytes);
        let base64 = base64(&hash);
        BodySignature::parse(format!("a=rsa-sha256; c=simple/{form}; bh={base64}").as_bytes())
            .unwrap()
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        bytes
            .chunks(3)
            .map(|three| {
                let value = three
                    .iter()
                    .fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
                    << (8 * (3 - three.len()));
                (0..=three.len())
                    .map(|n| DIGITS[(value >> (18 - 6 * n) & 63) as usize] as char)
                    .collect::<String>()
            })
            .collect()
    }

    #[test]
    fn any_wrong_bit_of_the_text_is_found() {
        for form in ["simple", "relaxed"] {
            let signature = signature(form, BODY);
            let mut hash = BodyHash::new(signature.clone());
            let lines = BODY.split(|byte| *byte == b'\n');
            lines.for_each(|line| hash.line(line));
            assert!(
                hash.verifies(b""),
                "{form}: both ways to a hash are the same"
            );
            for at in [0, 1, 8, 20, 44] {
                for bit in 0..7 {
                    let mut wrong = b"From: x\n\n".to_vec();
                    wrong.extend_from_slice(BODY);
                    wrong[9 + at] ^= 1 << bit;
                    let found = repair(&wrong, 9, std::slice::from_ref(&signature)).unwrap();
                    let mut mended = wrong.clone();
                    mended[usize::try_from(found.at).unwrap()] = found.stored;
                    let mended = canonical(&mended[9..], signature.canonical());
                    assert_eq!(
                        mended,
                        canonical(BODY, signature.canonical()),
                        "{form} {at} {bit}"
                    );
                }
            }
        }
    }

    #[test]
    fn two_wrong_bits_are_not_mended() {
        let signature = signature("simple", BODY);
        let mut wrong = BODY.to_vec();
        wrong[1] ^= 1;
        wrong[20] ^= 2;
        assert_eq!(repair(&wrong, 0, &[signature]), None);
    }
}
