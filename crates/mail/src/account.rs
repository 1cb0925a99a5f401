//! Whose mail it is: accounts and the evidence for them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::maildir::is_placeholder;

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
    /// The domain is turned to lower case, in which DNS compares.
    pub fn new(local: &str, domain: &str) -> Option<Self> {
        (is_domain(domain) && is_local(local)).then(|| Self {
            domain: domain.to_ascii_lowercase(),
            local: local.to_owned(),
        })
    }

    /// Reads `local@domain`, split at the last `@`.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        Self::new(local, domain)
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        &self.local
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
        && !text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '@'))
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

/// An account and what says that something is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The account.
    pub account: Address,
    /// The evidence, in words.
    pub evidence: String,
}

/// How the path of a mail store names its account.
///
/// A pattern is the end of a path, such as `{domain}/{local}/Maildir`. `{domain}`, `{local}`
/// and `{account}` (both, with `@`) each stand for a whole name, `*` for any name, and `{store}`
/// for those that servers give to the directory of a mailbox (`Maildir`, `mdbox`, `mail`, …).
/// `{local}-{time}` is a local part with the time behind it at which iRedMail made the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Domain,
    Local,
    /// `{local}-{time}`: the local part, a dash, and year to second with dots.
    LocalAndTime,
    Account,
    Any,
    Store,
    Name(String),
}

impl Part {
    const fn names_account(&self) -> bool {
        matches!(
            self,
            Self::Domain | Self::Local | Self::LocalAndTime | Self::Account
        )
    }
}

/// What stands before `-2014.06.01.10.11.12`.
fn without_time(name: &str) -> Option<&str> {
    let (local, time) = name.rsplit_once('-')?;
    let numbers: Vec<&str> = time.split('.').collect();
    let is_number = |(number, length): (&&str, usize)| {
        number.len() == length && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_time = numbers.len() == 6 && numbers.iter().zip([4, 2, 2, 2, 2, 2]).all(is_number);
    is_time.then_some(local)
}

/// What servers call the directory of a mailbox.
const STORE_DIRECTORIES: [&str; 11] = [
    "Maildir", "maildir", ".maildir", ".Maildir", "mdbox", "sdbox", "dbox", "mail", "Mail",
    ".mail", "mbox",
];

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a path pattern: {why}. An example: {{domain}}/{{local}}/Maildir")]
pub struct PatternError {
    pattern: String,
    why: &'static str,
}

impl PathPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let error = |why| PatternError {
            pattern: text.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty()) {
            parts.push(match name {
                "{domain}" => Part::Domain,
                "{local}" => Part::Local,
                "{local}-{time}" => Part::LocalAndTime,
                "{account}" => Part::Account,
                "{store}" => Part::Store,
                "*" => Part::Any,
                other if other.contains(['{', '}', '*']) => {
                    return Err(error("a placeholder must be a whole name"));
                }
                other => Part::Name(other.to_owned()),
            });
        }
        let count = |part: &Part| {
            let same = |other: &&Part| match (part, other) {
                (Part::Local, Part::LocalAndTime) => true,
                (part, other) => part == *other,
            };
            parts.iter().filter(same).count()
        };
        match (
            count(&Part::Account),
            count(&Part::Local),
            count(&Part::Domain),
        ) {
            (1, 0, 0) | (0, 1, 0 | 1) => Ok(Self {
                text: text.to_owned(),
                parts,
            }),
            _ => Err(error(
                "it needs {account}, or {local} with or without {domain}, each once",
            )),
        }
    }

    /// The account that the end of `path` names, and which name of the path is the first that
    /// names it.
    fn matches(&self, path: &[&str], default_domain: Option<&str>) -> Option<(Address, usize)> {
        let start = path.len().checked_sub(self.parts.len())?;
        let (mut domain, mut local, mut account) = (default_domain, None, None);
        let mut first = None;
        for (index, (part, name)) in self.parts.iter().zip(path.get(start..)?).enumerate() {
            if part.names_account() {
                first.get_or_insert(start.saturating_add(index));
            }
            let is_lost = is_placeholder(name.as_bytes());
            match part {
                // A name that is lost is nobody's.
                part if part.names_account() && is_lost => return None,
                Part::Domain => domain = Some(*name),
                Part::Local => local = Some(*name),
                Part::LocalAndTime => local = Some(without_time(name)?),
                Part::Account => account = Some(*name),
                Part::Any => {}
                Part::Store => STORE_DIRECTORIES.contains(name).then_some(())?,
                Part::Name(wanted) => (wanted == name).then_some(())?,
            }
        }
        let address = match account {
            Some(account) => Address::parse(account),
            None => Address::new(local?, domain?),
        };
        Some((address?, first?))
    }
}

/// The rules that give mail to accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRules {
    patterns: Vec<PathPattern>,
    /// Whether a person gave the patterns.
    given: bool,
    default_domain: Option<String>,
}

impl Default for AccountRules {
    fn default() -> Self {
        Self::new(&[], None).unwrap_or(Self {
            patterns: Vec::new(),
            given: false,
            default_domain: None,
        })
    }
}

impl AccountRules {
    /// The patterns that are tried when none are given, in this order.
    ///
    /// With the first ones go Dovecot's and Courier's usual places (`/var/vmail`, `/var/mail/vhosts`
    /// of Postfix's virtual(8)), Plesk's `/var/qmail/mailnames/DOMAIN/LOCAL/Maildir` and cPanel's
    /// `/home/USER/mail/DOMAIN/LOCAL`. iRedMail hashes: `DOMAIN/a/d/a/ada-2014.06.01.10.11.12`.
    /// Those that name no domain serve with a default one: users of the system, whose mail lies in
    /// `/home` or `/var/mail`, on a Synology in `/volume1/homes`.
    pub const PATTERNS: [&'static str; 14] = [
        "{domain}/*/*/*/{local}-{time}/{store}",
        "{domain}/*/*/{local}-{time}/{store}",
        "{domain}/*/{local}-{time}/{store}",
        "{domain}/{local}-{time}/{store}",
        "{domain}/{local}/{store}",
        "{account}/{store}",
        "{domain}/{local}",
        "{account}",
        "home/{local}/{store}",
        "homes/{local}/{store}",
        "home/{local}",
        "homes/{local}",
        "var/mail/{local}",
        "spool/mail/{local}",
    ];

    /// Rules with `patterns` ([`Self::PATTERNS`] if there are none); paths that name only a
    /// local part belong to `default_domain`.
    pub fn new(patterns: &[String], default_domain: Option<&str>) -> Result<Self, PatternError> {
        let parsed: Result<Vec<_>, _> = if patterns.is_empty() {
            Self::PATTERNS
                .iter()
                .map(|p| PathPattern::parse(p))
                .collect()
        } else {
            patterns.iter().map(|p| PathPattern::parse(p)).collect()
        };
        if let Some(domain) = default_domain
            && !is_domain(domain)
        {
            return Err(PatternError {
                pattern: domain.to_owned(),
                why: "the domain is not a host name",
            });
        }
        Ok(Self {
            patterns: parsed?,
            given: !patterns.is_empty(),
            default_domain: default_domain.map(str::to_owned),
        })
    }

    /// The owner of the mail store in the directory at `path`, by the first pattern that fits.
    ///
    /// Patterns that name an account with its domain go before those that take the default one.
    pub fn owner_of(&self, path: &[Vec<u8>]) -> Option<Owner> {
        self.find(path).map(|(owner, _)| owner)
    }

    /// The account that a store itself names: `local` in `domain`, or in the default one.
    pub(crate) fn named(&self, local: &str, domain: Option<&str>) -> Option<Address> {
        Address::parse(local)
            .or_else(|| Address::new(local, domain.or(self.default_domain.as_deref())?))
    }

    /// The owner of a mail store that lies inside a mailbox whose owner is not known, `depth`
    /// names below the root.
    ///
    /// The folder `clients/acme.example/bob` of somebody's mailbox is not Bob's account: the
    /// path must begin to name the account at or above the mailbox. Patterns that a person gave
    /// are believed.
    pub fn owner_inside(&self, path: &[Vec<u8>], depth: usize) -> Option<Owner> {
        let (owner, first) = self.find(path)?;
        (self.given || first < depth).then_some(owner)
    }

    fn find(&self, path: &[Vec<u8>]) -> Option<(Owner, usize)> {
        let names: Option<Vec<&str>> = path
            .iter()
            .map(|name| std::str::from_utf8(name).ok())
            .collect();
        let names = names?;
        [None, self.default_domain.as_deref()]
            .into_iter()
            .find_map(|domain| {
                self.patterns.iter().find_map(|pattern| {
                    let (account, first) = pattern.matches(&names, domain)?;
                    let evidence = format!("path /{} fits {}", names.join("/"), pattern.text);
                    Some((Owner { account, evidence }, first))
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(rules: &AccountRules, path: &str) -> Option<String> {
        let names: Vec<Vec<u8>> = path.split('/').map(|n| n.as_bytes().to_vec()).collect();
        rules.owner_of(&names).map(|o| o.account.to_string())
    }

    #[test]
    fn default_patterns_name_the_usual_stores() {
        let rules = AccountRules::default();
        let table = [
            (
                "srv/vmail/Lindenhof.Example/ada/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "lindenhof.example/o'neill/Maildir",
                Some("o'neill@lindenhof.example"),
            ),
            (
                "vmail/lindenhof.example/john.smith/Maildir",
                Some("john.smith@lindenhof.example"),
            ),
            (
                "vmail/lindenhof.example/john.smith",
                Some("john.smith@lindenhof.example"),
            ),
            ("vmail/ada@lindenhof.example", Some("ada@lindenhof.example")),
            (
                "mail/lindenhof.example/ada/mail",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/vmail/vmail1/lindenhof.example/m/a/r/mary-ann-2014.06.01.10.11.12/Maildir",
                Some("mary-ann@lindenhof.example"),
            ),
            (
                "vmail1/lindenhof.example/ada-2014.06.01.10.11.12/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/qmail/mailnames/lindenhof.example/ada/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "home/lindenho/mail/lindenhof.example/ada",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/mail/vhosts/lindenhof.example/ada",
                Some("ada@lindenhof.example"),
            ),
            (
                "srv/lindenhof.example/ada/mdbox",
                Some("ada@lindenhof.example"),
            ),
            ("home/john.smith/Maildir", None),
            ("volume1/homes/ada/.Maildir", None),
            ("backup/2014.01/ada", None),
            ("lindenhof.example/ada/Maildir/cur", None),
            ("lindenhof.example/.hidden/Maildir", None),
            ("lindenhof.example/a b/Maildir", None),
            ("x/ImapMail/imap.acme.example/INBOX", None),
            ("Maildir", None),
        ];
        for (path, want) in table {
            assert_eq!(owner(&rules, path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn a_default_domain_serves_paths_that_name_none() {
        let rules = AccountRules::new(&[], Some("saltmarsh.example")).unwrap();
        assert_eq!(
            owner(&rules, "home/ada/Maildir").as_deref(),
            Some("ada@saltmarsh.example")
        );
        for path in [
            "volume1/homes/ada/.Maildir",
            "home/ada",
            "var/mail/ada",
            "var/spool/mail/ada",
        ] {
            let want = Some("ada@saltmarsh.example");
            assert_eq!(owner(&rules, path).as_deref(), want, "{path}");
        }
        assert_eq!(
            owner(&rules, "x/quarry.example/ada/Maildir").as_deref(),
            Some("ada@quarry.example")
        );
    }

    #[test]
    fn patterns_that_say_too_little_or_too_much_are_refused() {
        for bad in [
            "",
            "Maildir",
            "{local}/{local}",
            "{account}/{local}",
            "u-{local}",
            "{domain}",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        let rules = AccountRules::new(&["{domain}/*/{local}".to_owned()], None).unwrap();
        assert_eq!(
            owner(&rules, "a.example/x/eve").as_deref(),
            Some("eve@a.example")
        );
    }
}
