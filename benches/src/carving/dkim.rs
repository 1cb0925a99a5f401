//! Body hashes as DKIM and ARC write them (RFC 6376, sections 3.4.3, 3.4.4 and 3.7), and headers
//! that state them.
//!
//! Only `bh=` can be verified without the DNS, so only it is right: what stands in `b=` is noise.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::encoding::{base64, lines_of};
use crate::random::Random;

/// How a body is brought into shape before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canon {
    /// As it is, but for empty lines at its end.
    Simple,
    /// White space counts for one space, and at the end of a line for nothing.
    Relaxed,
}

/// `rsa-sha1` or `rsa-sha256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `rsa-sha1`, which was allowed until 2018.
    Sha1,
    /// `rsa-sha256`.
    Sha256,
}

/// What of a message a signature of it still proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signature {
    /// There is none.
    None,
    /// The whole body.
    Whole,
    /// The body's first bytes, by `l=`; something was added after them.
    Start,
    /// Nothing: the body was changed after signing.
    Broken,
}

impl Signature {
    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Whole => "whole",
            Self::Start => "start",
            Self::Broken => "broken",
        }
    }
}

/// The canonical form of `body`, whose lines end in LF or CRLF.
pub fn canonical(body: &[u8], canon: Canon) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 32);
    let mut empty_lines = 0;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = match canon {
            Canon::Simple => line.to_vec(),
            Canon::Relaxed => relaxed_line(line),
        };
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        out.extend(b"\r\n".repeat(empty_lines));
        empty_lines = 0;
        out.extend(line);
        out.extend(b"\r\n");
    }
    if out.is_empty() && canon == Canon::Simple {
        out.extend(b"\r\n");
    }
    out
}

fn relaxed_line(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut space = false;
    for &byte in line {
        if byte == b' ' || byte == b'\t' {
            space = true;
        } else {
            if space {
                out.push(b' ');
            }
            space = false;
            out.push(byte);
        }
    }
    out
}

/// The hash in base64 of the first `length` bytes of a canonical body.
pub fn body_hash(canonical: &[u8], length: usize, algorithm: Algorithm) -> String {
    let hashed = canonical.get(..length).unwrap_or(canonical);
    match algorithm {
        Algorithm::Sha1 => base64(&Sha1::digest(hashed)),
        Algorithm::Sha256 => base64(&Sha256::digest(hashed)),
    }
}

/// A `DKIM-Signature` or `ARC-Message-Signature` of `body` by `domain`, with LF line ends.
///
/// With `states_length` it has an `l=` of the whole body.
pub(super) fn signature_field(
    random: &mut Random,
    domain: &str,
    body: &[u8],
    states_length: bool,
) -> String {
    let algorithm = *random.pick(&[Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha256]);
    let canon = *random.pick(&[Canon::Simple, Canon::Relaxed]);
    let canonical = canonical(body, canon);
    let hash = body_hash(&canonical, canonical.len(), algorithm);
    let mut tags = vec![
        format!(
            "a={}",
            match algorithm {
                Algorithm::Sha1 => "rsa-sha1",
                Algorithm::Sha256 => "rsa-sha256",
            }
        ),
        format!("d={domain}"),
        format!("s={}", random.pick(&["mail", "k1", "2013", "default"])),
        "h=from:to:subject:date:message-id".to_owned(),
        format!("bh={}", folded_hash(random, &hash)),
    ];
    tags.extend(canon_tag(random, canon));
    if states_length {
        tags.push(format!("l={}", canonical.len()));
    }
    if random.percent(40) {
        tags.push("q=dns/txt".to_owned());
    }
    random.shuffle(&mut tags);
    let arc = random.percent(12);
    let (name, first) = if arc {
        ("ARC-Message-Signature", "i=1")
    } else {
        ("DKIM-Signature", "v=1")
    };
    tags.insert(0, first.to_owned());
    let noise = base64(&random.bytes(128));
    let signature = lines_of(&noise, 64, "\n\t ");
    tags.push(format!("b={}", signature.trim_end()));
    let end = if random.percent(20) { ";" } else { "" };
    let joint = *random.pick(&["; ", ";\n\t", ";\n    "]);
    format!("{name}: {}{end}\n", tags.join(joint))
}

/// `c=`; what is left out means simple.
fn canon_tag(random: &mut Random, body: Canon) -> Option<String> {
    let header = *random.pick(&["simple", "relaxed"]);
    match body {
        Canon::Relaxed => Some(format!("c={header}/relaxed")),
        Canon::Simple => match random.below(4) {
            0 => None,
            1 => Some(format!("c={header}")),
            _ => Some(format!("c={header}/simple")),
        },
    }
}

/// White space may stand anywhere in a hash.
fn folded_hash(random: &mut Random, hash: &str) -> String {
    if !random.percent(15) {
        return hash.to_owned();
    }
    let (start, end) = hash.split_at(random.within(4..=20));
    format!("{start}\n\t{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(body: &[u8], canon: Canon, algorithm: Algorithm) -> String {
        let body = canonical(body, canon);
        body_hash(&body, body.len(), algorithm)
    }

    #[test]
    fn the_hashes_of_empty_bodies_are_those_of_rfc_6376() {
        let simple = |algorithm| hash(b"", Canon::Simple, algorithm);
        let relaxed = |algorithm| hash(b"", Canon::Relaxed, algorithm);
        assert_eq!(simple(Algorithm::Sha1), "uoq1oCgLlTqpdDX/iUbLy7J1Wic=");
        assert_eq!(
            simple(Algorithm::Sha256),
            "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
        );
        assert_eq!(relaxed(Algorithm::Sha1), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(
            relaxed(Algorithm::Sha256),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn the_example_of_rfc_6376_comes_out() {
        // Appendix A: the body of the signed example, stored with LF.
        let body = b"Hi.\n\nWe lost the game. Are you hungry yet?\n\nJoe.\n";
        assert_eq!(
            hash(body, Canon::Simple, Algorithm::Sha256),
            "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
        );
    }

    #[test]
    fn bodies_are_brought_into_shape_as_in_section_3_4_5() {
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(canonical(body, Canon::Relaxed), b" C\r\nD E\r\n");
        assert_eq!(canonical(body, Canon::Simple), b" C \r\nD \t E\r\n");
        assert_eq!(canonical(b"no end", Canon::Simple), b"no end\r\n");
    }
}
