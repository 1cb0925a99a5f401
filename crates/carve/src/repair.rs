//! The one wrong bit of a message whose body hash would verify without it.
//!
//! A trial costs what is behind the bit in the canonical body: the hash up to the line that it lies in is
//! known, and what a line is in canonical form depends on nothing else (RFC 6376, section 3.4). Bytes that
//! no message has are tried in every one. All others are tried where it is likely enough that a bit turned
//! for what that costs: most signatures that do not verify were broken on their way. A repair is never
//! made without the hash as its proof, and is kept as a record of what was read and what was put in its
//! place.

use mail::record::Repair;
use mail::turned::is_base64_byte;
use rayon::prelude::*;

use crate::dkim::{BodySignature, Canonical, Hasher};
use crate::turned::is_among_base64;

/// Bytes that may be hashed for each message that is likely mended by it: some forty minutes of a core.
const WORTH: f64 = (1_u64 << 42) as f64;
/// Bytes that may be hashed for one message.
const MOST: f64 = (16_u64 << 30) as f64;
/// The block of both hashes.
const STEP: usize = 64;

/// What came of the search for one wrong bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Without it the hash verifies.
    Mended(Repair),
    /// There is none.
    Nothing,
    /// It was not worth it to try all bits.
    Untried,
}

/// A message whose body hash does not verify.
pub(crate) struct Broken<'a> {
    text: &'a [u8],
    /// Where the body begins in the message.
    body: usize,
    trials: Vec<Trial<'a>>,
}

impl<'a> Broken<'a> {
    /// The message that is `content`, with a body from `body` on; `None` if no hash is over all of it.
    pub(crate) fn new(
        content: &'a [u8],
        body: usize,
        signatures: &'a [BodySignature],
    ) -> Option<Self> {
        let text = content.get(body..)?;
        let mut trials: Vec<Trial<'_>> = Vec::new();
        for signature in signatures.iter().filter(|one| !one.is_partial()) {
            match trials.iter_mut().find(|trial| trial.serves(signature)) {
                Some(trial) => trial.signatures.push(signature),
                None => trials.push(Trial::new(text, signature)),
            }
        }
        (!trials.is_empty()).then_some(Self { text, body, trials })
    }

    /// Tries the bytes that no message has.
    pub(crate) fn odd(&self) -> Option<Repair> {
        let affordable = |trial: &&Trial<'_>| trial.cost(Tried::Odd) <= MOST;
        let mut trials = self.trials.iter().filter(affordable);
        trials.find_map(|trial| self.repair(trial.among(Tried::Odd)?))
    }

    /// Tries all others, if that is worth it where so many bits turn in a byte.
    pub(crate) fn any(&self, rate: f64) -> Outcome {
        let turned = rate * self.text.len() as f64;
        let most = MOST.min(turned * (-turned).exp() * WORTH);
        let mut outcome = Outcome::Nothing;
        for trial in &self.trials {
            if trial.cost(Tried::Plain) > most || trial.cost(Tried::Odd) > MOST {
                outcome = Outcome::Untried;
                continue;
            }
            let found = trial.among(Tried::Plain);
            if let Some(repair) = found.and_then(|found| self.repair(found)) {
                return Outcome::Mended(repair);
            }
        }
        outcome
    }

    /// The record of a bit that is turned back at a place in the text.
    fn repair(&self, (at, bit): (usize, u8)) -> Option<Repair> {
        let read = self.text.get(at).copied()?;
        Some(Repair {
            at: (self.body as u64).checked_add(at as u64)?,
            read,
            stored: read ^ bit,
        })
    }
}

/// Which bits of a body are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// Those of bytes that no message has, or no line of base64.
    Odd,
    /// All others.
    Plain,
}

/// A body in one canonical form.
struct Trial<'a> {
    text: &'a [u8],
    /// Those whose hash is over this form.
    signatures: Vec<&'a BodySignature>,
    form: Canonical,
    /// Without the empty lines at the end.
    canonical: Vec<u8>,
    lines: Vec<Line>,
    /// The hash before each step of the canonical form.
    states: Vec<Hasher>,
    /// Which bytes it has.
    has: [bool; 256],
    /// Whether it has several that are not ASCII.
    is_eight_bit: bool,
}

/// A line of a body.
#[derive(Clone, Copy)]
struct Line {
    /// Where it begins in the text.
    start: usize,
    /// Where it begins in the canonical form.
    canonical: usize,
    /// Whether it is base64, but for a turned bit, and next to a line of it that is as long.
    is_base64: bool,
}

impl<'a> Trial<'a> {
    fn new(text: &'a [u8], signature: &'a BodySignature) -> Self {
        let form = signature.canonical();
        let (canonical, lines) = canonical(text, form);
        let mut state = signature.hasher();
        let mut states = vec![state.clone()];
        for step in canonical.chunks(STEP) {
            state.update(step);
            states.push(state.clone());
        }
        let mut has = [false; 256];
        text.iter().for_each(|byte| {
            if let Some(has) = has.get_mut(usize::from(*byte)) {
                *has = true;
            }
        });
        Self {
            text,
            signatures: vec![signature],
            form,
            canonical,
            lines,
            states,
            has,
            is_eight_bit: text.iter().filter(|byte| !byte.is_ascii()).count() > 1,
        }
    }

    /// Whether the hash of another signature is over the same bytes, by the same algorithm.
    fn serves(&self, other: &BodySignature) -> bool {
        let mut own = self.signatures.iter();
        own.any(|one| one.canonical() == other.canonical() && one.is_sha1() == other.is_sha1())
    }

    /// How many bytes are hashed to try all bits that are `tried`.
    fn cost(&self, tried: Tried) -> f64 {
        let all = self.canonical.len();
        let cost = |(index, line): (usize, &Line)| {
            let places = line.start..self.start(index.saturating_add(1));
            let bits = places.map(|at| self.bits(line, at, tried).count());
            // Behind the last lines nothing is known that needs not be made anew.
            let behind = self.lines.get(index.saturating_add(2));
            let is_known = behind.is_some_and(|behind| behind.canonical < all);
            let known = if is_known { line.canonical } else { 0 };
            bits.sum::<usize>() as f64 * all.saturating_sub(known) as f64
        };
        self.lines.iter().enumerate().map(cost).sum()
    }

    /// Where a line begins in the text, or that ends.
    fn start(&self, index: usize) -> usize {
        self.lines
            .get(index)
            .map_or(self.text.len(), |line| line.start)
    }

    /// The place in the text and the bit that must be turned.
    fn among(&self, tried: Tried) -> Option<(usize, u8)> {
        self.lines
            .par_iter()
            .enumerate()
            .find_map_first(|(index, line)| {
                let mut places = line.start..self.start(index.saturating_add(1));
                places.find_map(|at| {
                    let mut bits = self.bits(line, at, tried);
                    let bit = bits.find(|bit| self.verifies(index, at, *bit))?;
                    Some((at, bit))
                })
            })
    }

    /// The bits of a byte of a line that may have turned.
    fn bits(&self, line: &Line, at: usize, tried: Tried) -> impl Iterator<Item = u8> {
        let byte = self.text.get(at).copied().unwrap_or(0);
        let is_odd = match byte {
            b'\t' | b'\n' | b'\r' | 0x0C | 0x1B => false,
            _ if line.is_base64 && !is_base64_byte(byte) => true,
            _ => byte.is_ascii_control() || !byte.is_ascii() && !self.is_eight_bit,
        };
        (0..8).map(|bit| 1_u8 << bit).filter(move |bit| {
            is_odd == (tried == Tried::Odd) && self.may_be(byte ^ bit, line.is_base64)
        })
    }

    /// Whether a byte may be one of the body: one of base64 or a line's end, or one that mail is made of or
    /// the body has elsewhere.
    fn may_be(&self, byte: u8, in_base64: bool) -> bool {
        let is_there = self.has.get(usize::from(byte)).is_some_and(|has| *has);
        if in_base64 {
            return is_base64_byte(byte) || byte == b'\r' && is_there;
        }
        matches!(byte, b' '..=b'~' | b'\t') || is_there || self.is_eight_bit && !byte.is_ascii()
    }

    /// Whether a hash verifies with a bit turned at a place in the text, in the line `index`.
    fn verifies(&self, index: usize, at: usize, bit: u8) -> bool {
        // A line end that turned has made one line into two.
        let is_end = self.text.get(at) == Some(&b'\n');
        let next = index.saturating_add(1).saturating_add(usize::from(is_end));
        let start = self.start(index);
        let mut changed = self
            .text
            .get(start..self.start(next))
            .unwrap_or_default()
            .to_vec();
        if let Some(byte) = changed.get_mut(at.saturating_sub(start)) {
            *byte ^= bit;
        }
        let (Some(line), Some(behind)) = (self.lines.get(index), self.lines.get(next)) else {
            return self.verifies_at_end(index, &changed);
        };
        let Some(behind) = self
            .canonical
            .get(behind.canonical..)
            .filter(|it| !it.is_empty())
        else {
            return self.verifies_at_end(index, &changed);
        };
        let step = line.canonical / STEP;
        let before = self
            .canonical
            .get(step.saturating_mul(STEP)..line.canonical);
        let Some((mut hash, before)) = self.states.get(step).cloned().zip(before) else {
            return false;
        };
        hash.update(before);
        let changed = changed.strip_suffix(b"\n").unwrap_or(&changed);
        for line in changed.split(|byte| *byte == b'\n') {
            hash.update(&self.form.of(without_cr(line)));
            hash.update(b"\r\n");
        }
        hash.update(behind);
        self.is_one(hash)
    }

    /// As [`verifies`](Self::verifies), where nothing but empty lines is behind those that are changed.
    fn verifies_at_end(&self, index: usize, changed: &[u8]) -> bool {
        let start = self.start(index);
        let end = start.saturating_add(changed.len());
        let parts = [self.text.get(..start), Some(changed), self.text.get(end..)];
        let text: Vec<u8> = parts.into_iter().flatten().flatten().copied().collect();
        let mut hash = self.states.first().cloned();
        let (canonical, _) = canonical(&text, self.form);
        hash.iter_mut().for_each(|hash| hash.update(&canonical));
        hash.is_some_and(|hash| self.is_one(hash))
    }

    /// Whether the hash is one that was signed.
    fn is_one(&self, hash: Hasher) -> bool {
        let hash = hash.finish();
        self.signatures.iter().any(|one| one.is(&hash))
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The canonical form of a body, and its lines.
fn canonical(text: &[u8], form: Canonical) -> (Vec<u8>, Vec<Line>) {
    let mut bytes = Vec::with_capacity(text.len());
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut places = Vec::with_capacity(lines.len());
    // What is behind the last line that is not empty is dropped.
    let mut kept = 0_usize;
    let mut start = 0_usize;
    for (index, line) in lines.iter().enumerate() {
        places.push(Line {
            start,
            canonical: bytes.len(),
            is_base64: is_among_base64(&lines, index),
        });
        let line_in_form = form.of(without_cr(line));
        bytes.extend_from_slice(&line_in_form);
        bytes.extend_from_slice(b"\r\n");
        if !line_in_form.is_empty() {
            kept = bytes.len();
        }
        start = start.saturating_add(line.len()).saturating_add(1);
    }
    bytes.truncate(kept);
    if bytes.is_empty() && form == Canonical::Simple {
        bytes.extend_from_slice(b"\r\n");
    }
    (bytes, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::BodyHash;
    use sha2::{Digest, Sha256};

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

    /// Bits turn often enough that anything is worth trying.
    fn mended(content: &[u8], body: usize, signature: &BodySignature) -> Option<Repair> {
        let broken = Broken::new(content, body, std::slice::from_ref(signature)).unwrap();
        broken.odd().or_else(|| match broken.any(0.01) {
            Outcome::Mended(repair) => Some(repair),
            Outcome::Nothing | Outcome::Untried => None,
        })
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
                    let found = mended(&wrong, 9, &signature).unwrap();
                    let mut mended = wrong.clone();
                    mended[usize::try_from(found.at).unwrap()] = found.stored;
                    let (mended, _) = canonical(&mended[9..], signature.canonical());
                    let (sound, _) = canonical(BODY, signature.canonical());
                    assert_eq!(mended, sound, "{form} {at} {bit}");
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
        assert_eq!(mended(&wrong, 0, &signature), None);
    }

    #[test]
    fn a_line_end_that_became_a_letter_is_found_and_so_is_one_that_a_letter_became() {
        let signature = signature("simple", BODY);
        for (at, stored) in [(3, b'\n'), (29, b'o')] {
            assert_eq!(BODY[at], stored);
            for bit in [0x40, 0x08, 0x02, 0x01] {
                let mut wrong = BODY.to_vec();
                wrong[at] ^= bit;
                let found = mended(&wrong, 0, &signature).map(|it| (it.at, it.stored));
                assert_eq!(found, Some((at as u64, stored)), "{at} {bit}");
            }
        }
        let mut text = BODY.to_vec();
        let letter = text.iter().position(|byte| *byte == b'J').unwrap();
        text[letter] = b'\n';
        assert_eq!(mended(&text, 0, &signature).map(|it| it.stored), Some(b'J'));
    }

    #[test]
    fn with_crlf_the_byte_that_turned_is_found_and_no_other() {
        let body = b"Hi.\t\r\n\r\nWe lost the  game.\r\n\r\nJoe.\r\n\r\n";
        for form in ["simple", "relaxed"] {
            let signature = signature(form, body);
            for (at, bit) in [
                (1, 0x40),
                (4, 1),
                (8, 0x20),
                (9, 0x02),
                (24, 0x20),
                (32, 0x80),
            ] {
                let mut wrong = body.to_vec();
                wrong[at] ^= bit;
                let found = mended(&wrong, 0, &signature).map(|it| (it.at, it.stored));
                assert_eq!(found, Some((at as u64, body[at])), "{form} {at}");
            }
        }
    }

    #[test]
    fn lines_without_text_at_the_end_cost_what_they_cost() {
        let mut body = b"x\n".to_vec();
        body.resize(200_000, b'\n');
        let signature = signature("simple", b"y\n");
        let broken = Broken::new(&body, 0, std::slice::from_ref(&signature)).unwrap();
        assert_eq!(broken.odd(), None);
        let text = format!("{}{}", "x\n".repeat(60_000), " \n".repeat(60_000));
        let broken = Broken::new(text.as_bytes(), 0, std::slice::from_ref(&signature)).unwrap();
        assert_eq!(broken.any(1.0), Outcome::Untried);
    }

    #[test]
    fn in_base64_only_base64_is_tried() {
        let line = "QUJDabcd0123+/xyZabQ".repeat(4)[..76].to_owned();
        let body = format!("{line}\n{line}\n{line}\n");
        let signature = signature("simple", body.as_bytes());
        let text = Trial::new(body.as_bytes(), &signature);
        let line = text.lines[1];
        let bits: Vec<u8> = text.bits(&line, line.start, Tried::Plain).collect();
        // Of those of `Q` all but three make a letter: `P`, `S`, `U`, `Y`, `A`, `q`.
        assert_eq!(bits, [0x01, 0x02, 0x04, 0x08, 0x10, 0x20]);
        // A byte that is no base64 is tried first.
        let mut wrong = body.clone().into_bytes();
        wrong[100] ^= 0x80;
        let broken = Broken::new(&wrong, 0, std::slice::from_ref(&signature)).unwrap();
        assert_eq!(broken.odd().map(|it| it.at), Some(100));
    }

    #[test]
    fn bits_are_tried_where_they_turn_often_enough_for_what_it_costs() {
        let body = "The shelf in the cellar holds one more.\n".repeat(1000);
        let signature = signature("simple", body.as_bytes());
        let mut wrong = body.into_bytes();
        wrong[39_000] ^= 2;
        let broken = Broken::new(&wrong, 0, std::slice::from_ref(&signature)).unwrap();
        assert_eq!(broken.any(1e-9), Outcome::Untried);
        assert!(matches!(broken.any(1e-6), Outcome::Mended(repair) if repair.at == 39_000));
    }
}
