//! Messages that the plugin mail_crypt encrypted: recognised, and the key named that opens them.
//!
//! ```text
//! 43 52 59 50 54 45 44 03 07   magic
//! 02                           version
//! flags, length of the header  big-endian, as all numbers are
//! cipher, hash                 object identifiers in DER
//! rounds, length of the key
//! number of keys; of each: its kind, and the SHA-256 of the public key, which names it
//! ```
//! Version 1 has the length of the header, and then the ephemeral key and the name of the key, each
//! behind its length.
//!
//! Source: Dovecot's `src/lib-dcrypt/istream-decrypt.c` and `dcrypt-iostream.h`.

use evidence::Fields;

/// `IOSTREAM_CRYPT_MAGIC`.
pub const MAGIC: &[u8] = b"CRYPTED\x03\x07";
/// Enough of a file for its header up to the names of a few keys.
pub(crate) const HEAD_BYTES: usize = 1024;
/// A name has that many bytes.
const DIGEST_BYTES: usize = 32;
/// The object identifiers are shorter.
const MOST_OID: usize = 64;

/// A message that is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The digest of the public key whose private key opens it, in hexadecimal; `None` if the
    /// header is damaged.
    pub key: Option<String>,
}

impl Encrypted {
    /// Why it cannot be handed over, and what it would need.
    pub fn why(&self) -> String {
        let key = match &self.key {
            Some(key) => format!("key digest {key}"),
            None => "its header is damaged, so that its key is not known".to_owned(),
        };
        format!(
            "encrypted with Dovecot's mail_crypt, {key}; it cannot be read without the private key \
             of the user or the server"
        )
    }
}

/// What a file is that begins with `head`; `None` if it is not encrypted.
pub fn recognise(head: &[u8]) -> Option<Encrypted> {
    let rest = head.strip_prefix(MAGIC)?;
    let fields = Fields::new(rest);
    let digest = match fields.u8(0)? {
        1 => digest_v1(fields),
        2 => digest_v2(fields),
        _ => return None,
    };
    Some(Encrypted {
        key: digest.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    })
}

fn digest_v1(fields: Fields<'_>) -> Option<&[u8]> {
    let ephemeral = usize::from(fields.be_u16(3)?);
    let at = ephemeral.checked_add(5)?;
    let length = usize::from(fields.be_u16(at)?);
    (length == DIGEST_BYTES).then_some(())?;
    fields.slice(at.checked_add(2)?, length)
}

fn digest_v2(fields: Fields<'_>) -> Option<&[u8]> {
    let cipher = oid(fields, 9)?;
    let hash = oid(fields, cipher)?;
    let keys = hash.checked_add(8)?;
    if fields.u8(keys)? == 0 {
        return None;
    }
    fields.slice(keys.checked_add(2)?, DIGEST_BYTES)
}

/// Where what is behind the object identifier at `at` begins.
fn oid(fields: Fields<'_>, at: usize) -> Option<usize> {
    let length = usize::from(fields.u8(at.checked_add(1)?)?);
    let is_one = fields.u8(at)? == 6 && (1..=MOST_OID).contains(&length);
    is_one
        .then(|| at.checked_add(2)?.checked_add(length))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_cut_or_damaged_names_no_key() {
        let mut whole = MAGIC.to_vec();
        whole.extend([2, 0, 0, 0, 2, 0, 0, 0, 0xFF, 6, 2, 1, 2, 6, 1, 3]);
        whole.extend([0, 0, 8, 0, 0, 0, 0, 0xCF, 1, 2]);
        whole.extend([0xAB; 32]);
        let key = |bytes: &[u8]| recognise(bytes).map(|found| found.key);
        assert_eq!(key(&whole), Some(Some("ab".repeat(32))));
        for length in 10..whole.len() {
            assert_eq!(key(&whole[..length]), Some(None), "{length}");
        }
        assert_eq!(key(&whole[..9]), None);
        for at in [18, 22] {
            let mut damaged = whole.clone();
            damaged[at] = 0xFF;
            assert_eq!(key(&damaged), Some(None), "{at}");
        }
        assert_eq!(key(b"CRYPTED\x03\x07\x03"), None);
        assert_eq!(key(b"CRYPTED is how this text begins"), None);
    }
}
