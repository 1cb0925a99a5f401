//! Addresses of accounts, in the one form in which they are compared.

use std::borrow::Cow;
use std::fmt;

use idna::AsciiDenyList;
use serde::{Deserialize, Serialize};

/// A mail account: `local@domain`. Both parts are safe as names of directories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    domain: String,
    local: String,
}

impl Address {
    /// The account `local` in `domain`; `None` unless the domain is a host name of two labels
    /// or more and the local part is printable, without `/`, and no special directory name.
    ///
    /// A domain has one form: lower case, in which DNS compares, international names as DNS has
    /// them (`xn--bcher-kva.example`), without the dot of the root.
    pub fn new(local: &str, domain: &str) -> Option<Self> {
        let domain = domain_of(domain)?;
        is_local(local).then(|| Self {
            domain,
            local: local.to_owned(),
        })
    }

    /// Reads `local@domain`, split at the last `@`; quotes around a local part that needs none are
    /// no part of it (RFC 5321, section 4.1.2).
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let bare = local
            .strip_prefix('"')
            .and_then(|local| local.strip_suffix('"'));
        Self::new(bare.unwrap_or(local), domain)
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The address without what stands behind the first `delimiter` in its local part.
    pub(super) fn until(&self, at: usize) -> Option<Self> {
        Self::new(self.local.get(..at)?, &self.domain)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not an account like local@domain"))
    }
}

/// The one form of a domain; `None` for what is no host name of two labels or more.
pub(super) fn domain_of(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let ascii: Cow<'_, str> = if text.is_ascii() {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        // Whether the rest may be in a host name is asked below, for all alike.
        idna::domain_to_ascii_cow(text.as_bytes(), AsciiDenyList::EMPTY).ok()?
    };
    is_domain(&ascii).then(|| ascii.into_owned())
}

/// A host name (RFC 1123, section 2.1) of at least two labels whose last is not a number.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= 253
        && text.split('.').all(label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_local(text: &str) -> bool {
    // 64 octets are RFC 5321's limit; a directory name may hold more, and stores do.
    (1..=200).contains(&text.len())
        && !text.starts_with('.')
        && !text.chars().any(|c| {
            // `<` and `>` enclose addresses in headers: what holds one was cut at a wrong place.
            c.is_control()
                || c.is_whitespace()
                || matches!(c, '/' | '\\' | '@' | '"' | '<' | '>' | '\u{FFFD}')
        })
        && !is_store_directory(text)
}

/// Names that stores give to directories of their own, which no account is called.
fn is_store_directory(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "Maildir",
        "maildir",
        "mdbox",
        "sdbox",
        "cur",
        "new",
        "tmp",
        "mailboxes",
        // Folders, as clients that keep their own maildirs name them below a server's name.
        "INBOX",
        "Inbox",
        "Drafts",
        "Sent",
        "Trash",
        "Junk",
        "Templates",
        "Archives",
    ];
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_form() {
        let table = [
            ("ada@X.Example", Some("ada@x.example")),
            ("ada@x.example.", Some("ada@x.example")),
            // The form of the IDNA tables: https://www.unicode.org/reports/tr46/
            ("ada@b\u{fc}cher.example", Some("ada@xn--bcher-kva.example")),
            ("ada@B\u{dc}CHER.example", Some("ada@xn--bcher-kva.example")),
            // As a Mac writes it: the letter, then its dots.
            (
                "ada@bu\u{308}cher.example",
                Some("ada@xn--bcher-kva.example"),
            ),
            (
                "ada@XN--BCHER-KVA.example",
                Some("ada@xn--bcher-kva.example"),
            ),
            (
                "zo\u{eb}@b\u{fc}cher.example",
                Some("zo\u{eb}@xn--bcher-kva.example"),
            ),
            ("\"ada.l\"@x.example", Some("ada.l@x.example")),
            ("\"ada l\"@x.example", None),
            ("\"a@b\"@x.example", None),
            ("ada@localhost", None),
            ("ada@[192.0.2.1]", None),
            ("ada@x..example", None),
            ("ada@x.example..", None),
            ("ada@\u{202e}x.example", None),
            ("@x.example", None),
            ("ad\u{1b}[31ma@x.example", None),
        ];
        for (text, want) in table {
            let got = Address::parse(text).map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_form_of_an_address_is_read_as_the_same_address(text in "\\PC{0,12}@\\PC{0,12}\\.example\\.?") {
            if let Some(address) = Address::parse(&text) {
                proptest::prop_assert_eq!(Address::parse(&address.to_string()), Some(address));
            }
        }
    }
}
