//! Body hashes of DKIM (RFC 6376) and ARC (RFC 8617): what proves a message without its metadata,
//! and without any key.
//!
//! The `bh=` of a signature is a hash over the body in a canonical form. It says nothing if it
//! does not verify: lists and gateways add to bodies. If it does, every byte of the canonical body
//! is the one that was signed. Both canonical forms (RFC 6376, section 3.4) work line by line, so
//! a [`BodyHash`] can be copied at any border and go on with either of two blocks.

use std::borrow::Cow;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// How a body is made canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canonical {
    /// Only empty lines at the end are dropped.
    Simple,
    /// White space at the ends of lines is dropped too, and reduced to one space inside.
    Relaxed,
}

impl Canonical {
    /// What a line, without its end, is in this form.
    pub(crate) fn of(self, line: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Relaxed if !is_relaxed(line) => relax(line).into(),
            Self::Simple | Self::Relaxed => line.into(),
        }
    }
}

/// What a signature says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodySignature {
    canonical: Canonical,
    is_sha1: bool,
    /// `bh=`.
    wanted: Arc<[u8]>,
    /// `l=`: so many canonical bytes were signed.
    limit: Option<u64>,
}

impl BodySignature {
    /// What the value of a `DKIM-Signature` or `ARC-Message-Signature` field says; `None` if it
    /// has no body hash that can be computed.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut canonical = Canonical::Simple;
        let (mut is_sha1, mut wanted, mut limit) = (false, None, None);
        for tag in value.split(|byte| *byte == b';') {
            let Some(equals) = memchr::memchr(b'=', tag) else {
                continue;
            };
            let (name, text) = tag.split_at(equals);
            let text: Vec<u8> = text
                .iter()
                .skip(1)
                .copied()
                .filter(|b| !b.is_ascii_whitespace())
                .collect();
            match name.trim_ascii() {
                b"c" => {
                    let body = text.splitn(2, |byte| *byte == b'/').nth(1);
                    if body.is_some_and(|body| body.eq_ignore_ascii_case(b"relaxed")) {
                        canonical = Canonical::Relaxed;
                    }
                }
                b"a" => is_sha1 = text.to_ascii_lowercase().ends_with(b"-sha1"),
                b"bh" => wanted = decode_base64(&text),
                b"l" => limit = std::str::from_utf8(&text).ok()?.parse().ok(),
                _ => {}
            }
        }
        let wanted = wanted?;
        let length = if is_sha1 { 20 } else { 32 };
        (wanted.len() == length).then_some(Self {
            canonical,
            is_sha1,
            wanted: wanted.into(),
            limit,
        })
    }

    /// How the body is made canonical.
    pub(crate) const fn canonical(&self) -> Canonical {
        self.canonical
    }

    /// Whether the hash is SHA-1; SHA-256 if not.
    pub(crate) const fn is_sha1(&self) -> bool {
        self.is_sha1
    }

    /// Its hash before the first byte.
    pub(crate) fn hasher(&self) -> Hasher {
        if self.is_sha1 {
            Hasher::Sha1(Sha1::new())
        } else {
            Hasher::Sha256(Sha256::new())
        }
    }

    /// Whether `hash` is the one that was signed.
    pub(crate) fn is(&self, hash: &[u8]) -> bool {
        *self.wanted == *hash
    }

    /// Whether only a part of the body was signed.
    pub(crate) const fn is_partial(&self) -> bool {
        self.limit.is_some()
    }
}

/// A hash over the lines of a body.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// The body hash of one signature, computed line by line.
#[derive(Clone)]
pub(crate) struct BodyHash {
    signature: BodySignature,
    hasher: Hasher,
    /// Canonical bytes so far, of which those within `l=` are hashed.
    length: u64,
    /// Empty lines that count only if another line follows.
    empty_lines: u64,
}

impl BodyHash {
    /// The hash before the first line of the body.
    pub(crate) fn new(signature: BodySignature) -> Self {
        Self {
            hasher: signature.hasher(),
            signature,
            length: 0,
            empty_lines: 0,
        }
    }

    /// The signature that it is computed for.
    pub(crate) const fn signature(&self) -> &BodySignature {
        &self.signature
    }

    /// Takes a line of the body, without its end.
    pub(crate) fn line(&mut self, line: &[u8]) {
        let line = self.signature.canonical.of(line);
        if line.is_empty() {
            self.empty_lines = self.empty_lines.saturating_add(1);
            return;
        }
        self.take_empty_lines();
        self.update(&line);
        self.update(b"\r\n");
    }

    /// Takes the empty lines that another line follows.
    fn take_empty_lines(&mut self) {
        for _ in 0..std::mem::take(&mut self.empty_lines) {
            self.update(b"\r\n");
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        let room = self
            .signature
            .limit
            .map(|limit| limit.saturating_sub(self.length));
        let taken = room.map_or(bytes.len(), |room| {
            usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())
        });
        if let Some(bytes) = bytes.get(..taken) {
            self.hasher.update(bytes);
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// Whether all canonical bytes so far are signed, and no more are.
    fn covers_all(&self) -> bool {
        self.signature
            .limit
            .is_none_or(|limit| self.length == limit)
    }

    /// Behind how many bytes of the next line, which begins with `start` and goes on with `rest`, the body
    /// verifies if it ends there: within `rest`, so that the line has no end of its own. Not before white space,
    /// of which a hash does not say whose it is.
    pub(crate) fn ends_within(&self, start: &[u8], rest: &[u8]) -> Option<usize> {
        let is_relaxed = self.signature.canonical == Canonical::Relaxed;
        let is_space = |byte: &u8| is_relaxed && matches!(byte, b' ' | b'\t');
        let mut this = self.clone();
        let mut spaced = false;
        let mut take = |this: &mut Self, byte: &u8| {
            if is_space(byte) {
                spaced = true;
                return;
            }
            this.take_empty_lines();
            if std::mem::take(&mut spaced) {
                this.update(b" ");
            }
            this.update(std::slice::from_ref(byte));
        };
        start.iter().for_each(|byte| take(&mut this, byte));
        let pairs = (1..).zip(rest.iter().zip(rest.iter().skip(1)));
        let mut ends = pairs.filter(|(_, (byte, next))| {
            take(&mut this, byte);
            let may_end = !is_space(byte) && !is_space(next) && this.covers_with_line_end();
            may_end && this.verifies_with_line_end()
        });
        ends.next().map(|(end, _)| start.len().saturating_add(end))
    }

    /// Whether all canonical bytes so far and the end of a line are signed, and no more are.
    fn covers_with_line_end(&self) -> bool {
        let length = self.length.saturating_add(2);
        self.signature.limit.is_none_or(|limit| length == limit)
    }

    /// Whether the body verifies with the end of a line behind what was taken.
    fn verifies_with_line_end(&self) -> bool {
        let mut ended = self.clone();
        ended.update(b"\r\n");
        ended.signature.is(&ended.hasher.finish())
    }

    /// Whether the body, or the first part of it that is signed, verifies if it ends here; `unended` is its
    /// last line if that has no end.
    pub(crate) fn verifies(&self, unended: &[u8]) -> bool {
        let this = self.ended(unended);
        let limit = this.signature.limit;
        let complete = limit.is_none_or(|limit| this.length >= limit);
        complete && this.signature.is(&this.hasher.finish())
    }

    /// As [`verifies`](Self::verifies), and no more of the body is there than is signed.
    pub(crate) fn verifies_all(&self, unended: &[u8]) -> bool {
        let this = self.ended(unended);
        this.covers_all() && this.signature.is(&this.hasher.finish())
    }

    /// The hash over a body that ends here, with `unended` as its last line if that has no end.
    fn ended(&self, unended: &[u8]) -> Self {
        let mut this = self.clone();
        if !unended.is_empty() {
            this.line(unended);
        }
        // A body without lines is one empty line (RFC 6376, section 3.4.3), or nothing (3.4.4).
        if this.length == 0 && this.signature.canonical == Canonical::Simple {
            this.update(b"\r\n");
        }
        this
    }
}

/// Whether a line is in relaxed form as it stands.
fn is_relaxed(line: &[u8]) -> bool {
    let pairs = line.iter().zip(line.iter().skip(1));
    let is_reduced = |(one, next): (&u8, &u8)| (*one != b'\t') & ((*one != b' ') | (*next != b' '));
    let others = pairs.fold(0, |others, pair| others | u8::from(!is_reduced(pair)));
    others == 0 && !line.ends_with(b" ") && !line.ends_with(b"\t")
}

/// A line in relaxed form: white space reduced, and dropped at the end.
fn relax(line: &[u8]) -> Vec<u8> {
    let mut relaxed = Vec::with_capacity(line.len());
    for byte in line {
        let is_space = matches!(byte, b' ' | b'\t');
        if !is_space {
            relaxed.push(*byte);
        } else if relaxed.last() != Some(&b' ') {
            relaxed.push(b' ');
        }
    }
    if relaxed.last() == Some(&b' ') {
        relaxed.pop();
    }
    relaxed
}

/// Decodes base64 (RFC 4648, section 4); `None` if a byte is none of its alphabet.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let (mut bits, mut value) = (0_u32, 0_u32);
    for byte in text.iter().filter(|byte| **byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        value = (value << 6 | u32::from(digit)) & 0xFFFF;
        bits = bits.wrapping_add(6);
        if bits >= 8 {
            bits = bits.wrapping_sub(8);
            decoded.push((value >> bits) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: &str, lines: &[&str], unended: &str) -> bool {
        let mut hash = BodyHash::new(BodySignature::parse(value.as_bytes()).unwrap());
        for line in lines {
            hash.line(line.as_bytes());
        }
        hash.verifies(unended.as_bytes())
    }

    /// The hashes of empty bodies stand in RFC 6376, sections 3.4.3 and 3.4.4.
    #[test]
    fn empty_bodies_have_the_hashes_of_the_specification() {
        for (value, lines) in [
            (
                "a=rsa-sha256; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=",
                &[][..],
            ),
            (
                "a=rsa-sha1; c=simple/simple; bh=uoq1oCgLlTqpdDX/iUbLy7J1Wic=",
                &["", ""],
            ),
            (
                "a=rsa-sha256; c=relaxed/relaxed; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                &[" ", ""],
            ),
            (
                "a=rsa-sha1; c=simple/relaxed; bh=2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
                &[],
            ),
        ] {
            assert!(hash(value, lines, ""), "{value}");
        }
    }

    /// The signed message of RFC 6376, appendix A.2.
    #[test]
    fn the_example_of_the_specification_verifies() {
        let value = "v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n c=simple/simple; q=dns/txt;\
                     bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AuUoFEf";
        let body = [
            "Hi.",
            "",
            "We lost the game. Are you hungry yet?",
            "",
            "Joe.",
        ];
        assert!(hash(value, &body, ""));
        assert!(hash(value, &body[..4], "Joe."));
        assert!(!hash(value, &body[..4], ""));
        let relaxed = value.replace("c=simple/simple", "c=simple/relaxed");
        let spaced = [
            "Hi. ",
            "",
            "We lost  the game. Are you hungry yet?",
            "",
            "Joe.",
            "",
            " ",
        ];
        assert!(!hash(value, &spaced, ""));
        assert!(!hash(&relaxed, &["Hi."], ""));
    }

    #[test]
    fn what_has_no_body_hash_is_no_signature() {
        for value in [
            "",
            "bh=!!!!",
            "bh=AAAA",
            "a=rsa-sha256; c=relaxed/relaxed; b=xx",
            "=;=;bh",
        ] {
            assert_eq!(BodySignature::parse(value.as_bytes()), None, "{value}");
        }
    }
}
